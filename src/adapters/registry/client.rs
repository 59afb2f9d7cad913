//! Asks a registry over HTTP.
//!
//! Must not know: when, how often.

use std::io;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::subjects::Said;
use super::{RegistrySettings, UseId, Wanted};
use crate::adapters::debezium::frame::SchemaId;
use crate::adapters::debezium::{Found, Refusal};
use crate::adapters::http::{Answer, HttpError, Server};

/// Why a registry gave no answer that is of use.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{url}: the answer is not what a schema registry says: {detail}")]
    Strange { url: String, detail: String },
    #[error("the thread that asks the registry cannot be started: {0}")]
    Thread(io::Error),
}

impl ClientError {
    /// One of a few words, good as a metric's label.
    pub fn name(&self) -> &'static str {
        match self {
            ClientError::Http(HttpError::Away { .. }) => "unreachable",
            ClientError::Http(HttpError::Status { status: 401 | 403, .. }) => "unauthorized",
            ClientError::Http(HttpError::Status { .. }) => "status",
            ClientError::Strange { .. } => "strange",
            ClientError::Http(HttpError::Certificates { .. }) | ClientError::Thread(_) => "local",
        }
    }
}

/// Whose interface a registry has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Confluent,
    /// Apicurio's own, of this version.
    Apicurio(u8),
}

pub struct Client {
    server: Server,
    /// Confluent's interface, which subjects are asked for and registered by.
    subjects: Server,
    kind: Kind,
    use_id: UseId,
}

impl Client {
    pub fn new(settings: &RegistrySettings) -> Result<Client, ClientError> {
        let server = Server::new(&settings.url, settings.credentials.as_ref(), settings.ca_file.as_deref())?;
        let path = settings.url.path().trim_end_matches('/');
        let kind = match path.rsplit_once("/apis/registry/v") {
            Some((_, "2")) => Kind::Apicurio(2),
            Some((_, "3")) => Kind::Apicurio(3),
            _ => Kind::Confluent,
        };
        let mut url = settings.url.clone();
        if let (Kind::Apicurio(_), Some((before, _))) = (kind, path.rsplit_once("/apis/registry/v")) {
            // Apicurio serves both side by side.
            url.set_path(&format!("{before}/apis/ccompat/v7"));
        }
        Ok(Client { subjects: server.at(url), server, kind, use_id: settings.use_id })
    }

    /// Why a schema could not be written with, where that is so. Nothing is registered.
    pub fn objection(&self, wanted: &Wanted) -> Result<Option<String>, ClientError> {
        #[derive(Deserialize)]
        struct Judged {
            is_compatible: bool,
        }
        match self.id_of(&Wanted { registers: false, ..wanted.clone() })? {
            Said::Id(_) => return Ok(None),
            Said::Refused(why) => return Ok(Some(why)),
            Said::Unknown if !wanted.registers => return Ok(Some("it is not registered".to_owned())),
            Said::Unknown => {}
        }
        let path = ["compatibility", "subjects", &wanted.subject, "versions", "latest"];
        let answer = self.subjects.post(&path, &serde_json::json!({"schema": wanted.schema}))?;
        match answer.status {
            200 => {
                let judged: Judged = read(answer)?;
                Ok((!judged.is_compatible).then(|| "it is not compatible with the subject's latest one".to_owned()))
            }
            // A new subject takes any.
            404 => Ok(None),
            400 | 409 | 422 => Ok(Some(why(&answer))),
            status => Err(HttpError::Status { url: answer.url, status }.into()),
        }
    }

    /// The id of a schema in its subject, which is registered where that is allowed.
    pub fn id_of(&self, wanted: &Wanted) -> Result<Said, ClientError> {
        #[derive(Deserialize)]
        struct Given {
            id: u32,
        }
        let path = ["subjects", &wanted.subject, "versions"];
        let path = if wanted.registers { &path[..] } else { &path[..2] };
        let answer = self.subjects.post(path, &serde_json::json!({"schema": wanted.schema}))?;
        match answer.status {
            200 | 201 => read(answer).map(|given: Given| Said::Id(given.id)),
            404 => Ok(Said::Unknown),
            400 | 409 | 422 => Ok(Said::Refused(why(&answer))),
            status => Err(HttpError::Status { url: answer.url, status }.into()),
        }
    }

    /// The schema with an id; `None` where the registry says that it has none.
    pub fn fetch(&self, id: &SchemaId) -> Result<Option<Found>, ClientError> {
        let path = match (self.kind, id, self.use_id) {
            (Kind::Confluent, SchemaId::Number(id), _) => ["schemas", "ids", &id.to_string()].map(str::to_owned),
            (Kind::Confluent, SchemaId::Guid(guid), _) => {
                ["schemas", "guids", &uuid::Uuid::from_bytes(*guid).to_string()].map(str::to_owned)
            }
            (Kind::Apicurio(_), SchemaId::Global(id), _)
            | (Kind::Apicurio(_), SchemaId::Number(id), UseId::GlobalId) => {
                ["ids", "globalIds", &id.to_string()].map(str::to_owned)
            }
            (Kind::Apicurio(_), SchemaId::Content(id), _)
            | (Kind::Apicurio(_), SchemaId::Number(id), UseId::ContentId) => {
                ["ids", "contentIds", &id.to_string()].map(str::to_owned)
            }
            (Kind::Confluent, SchemaId::Global(_) | SchemaId::Content(_), _) => {
                let detail = "Apicurio's ids in headers need Apicurio's own interface: set registry.url to its \
                              …/apis/registry/v3 (or v2)";
                return Ok(Some(Found::Useless(Refusal::new("other_registry", detail))));
            }
            (Kind::Apicurio(_), SchemaId::Guid(_), _) => {
                let detail = "a schema's GUID needs Confluent's interface: set registry.url to that";
                return Ok(Some(Found::Useless(Refusal::new("other_registry", detail))));
            }
        };
        let answer = self.server.ask(&path.each_ref().map(String::as_str))?;
        if answer.status == 404 {
            return self.denies(&answer).then_some(None).ok_or_else(|| not_found(answer));
        }
        match self.kind {
            Kind::Confluent => {
                let strange =
                    |error: serde_json::Error| ClientError::Strange { url: answer.url, detail: error.to_string() };
                read_answer(&answer.text).map(Some).map_err(strange)
            }
            Kind::Apicurio(_) => {
                let names = ["x-registry-artifacttype", "x-artifacttype"];
                let kind = names.iter().find_map(|name| answer.headers.get(*name)?.to_str().ok()).unwrap_or_default();
                Ok(Some(found(kind, &answer.text)))
            }
        }
    }

    /// True where it is the registry that says that it does not have what was asked for, and not somebody before it, nor of
    /// a path that it does not know. Confluent's and Karapace's error code is 40403; Apicurio says what was not found, of
    /// which `NotFoundException` alone is the path.
    fn denies(&self, answer: &Answer) -> bool {
        #[derive(Deserialize)]
        struct Denial {
            error_code: Option<u32>,
            name: Option<String>,
        }
        let Ok(Denial { error_code, name }) = serde_json::from_str(&answer.text) else { return false };
        match self.kind {
            Kind::Confluent => error_code == Some(40403),
            Kind::Apicurio(_) => {
                name.is_some_and(|name| name.ends_with("NotFoundException") && name != "NotFoundException")
            }
        }
    }

    /// Asks for anything at all, to see that the registry answers.
    pub fn ping(&self) -> Result<(), ClientError> {
        let path = match self.kind {
            Kind::Confluent => ["subjects"].as_slice(),
            Kind::Apicurio(_) => &["system", "info"],
        };
        match self.server.ask(path)? {
            Answer { status: 200, .. } => Ok(()),
            answer => Err(not_found(answer)),
        }
    }
}

fn not_found(answer: Answer) -> ClientError {
    let detail = "404, and not because it lacks the schema; is registry.url right?".to_owned();
    ClientError::Strange { url: answer.url, detail }
}

fn read<T: DeserializeOwned>(answer: Answer) -> Result<T, ClientError> {
    let strange = |error: serde_json::Error| ClientError::Strange { url: answer.url, detail: error.to_string() };
    serde_json::from_str(&answer.text).map_err(strange)
}

/// Why a registry has refused something, in its words.
fn why(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Refused {
        message: String,
    }
    let refused: Option<Refused> = serde_json::from_str(&answer.text).ok();
    let why = refused.map_or_else(|| "without a reason".to_owned(), |refused| refused.message);
    format!("{why} ({})", answer.status)
}

/// What a registry of Confluent's interface answers.
pub fn read_answer(text: &str) -> Result<Found, serde_json::Error> {
    #[derive(Deserialize)]
    struct Answer {
        schema: String,
        #[serde(rename = "schemaType")]
        kind: Option<String>,
        #[serde(default)]
        references: Option<Vec<serde_json::Value>>,
    }
    let answer: Answer = serde_json::from_str(text)?;
    if answer.references.is_some_and(|references| !references.is_empty()) {
        let detail = "its schema refers to other schemas of the registry, which no Debezium converter writes";
        return Ok(Found::Useless(Refusal::new("schema_references", detail)));
    }
    Ok(found(answer.kind.as_deref().unwrap_or("AVRO"), &answer.schema))
}

/// Apicurio of older versions does not say what an artifact is.
fn found(kind: &str, text: &str) -> Found {
    match kind {
        "PROTOBUF" => Found::Useless(Refusal::new(
            "protobuf",
            "it is Protobuf, which does not tell NULL from 0 or \"\" unless optional.for.nullables or wrapper.for.nullables \
             is set, and is not read: use Avro or JSON",
        )),
        "JSON" => Found::Json,
        _ if text.trim_start().starts_with(['{', '[', '"']) => Found::Avro(text.into()),
        _ => Found::Useless(Refusal::new("unknown_schema_type", "its schema is neither Avro nor JSON Schema")),
    }
}
