//! Asks a registry over HTTP.
//!
//! Must not know: when, how often.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig, parse_pem};
use url::Url;

use super::{Credentials, RegistrySettings, UseId};
use crate::adapters::debezium::frame::SchemaId;
use crate::adapters::debezium::{Found, Refusal};

/// Schemas of Debezium's events are a few kilobytes; those of very wide tables may be some hundreds.
const LARGEST: u64 = 16 << 20;

const PATIENCE: Duration = Duration::from_secs(10);

/// Why a registry gave no answer that is of use.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{url}: {source}")]
    Away { url: String, source: ureq::Error },
    #[error("{url}: the registry answered {status}")]
    Status { url: String, status: u16 },
    #[error("{url}: the answer is not what a schema registry says: {detail}")]
    Strange { url: String, detail: String },
    #[error("{}: {source}", path.display())]
    Certificates { path: PathBuf, source: io::Error },
    #[error("the thread that asks the registry cannot be started: {0}")]
    Thread(io::Error),
}

impl ClientError {
    /// One of a few words, good as a metric's label.
    pub fn name(&self) -> &'static str {
        match self {
            ClientError::Away { .. } => "unreachable",
            ClientError::Status { status: 401 | 403, .. } => "unauthorized",
            ClientError::Status { .. } => "status",
            ClientError::Strange { .. } => "strange",
            ClientError::Certificates { .. } | ClientError::Thread(_) => "local",
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
    agent: Agent,
    url: Url,
    kind: Kind,
    use_id: UseId,
    authorization: Option<String>,
}

impl Client {
    pub fn new(settings: &RegistrySettings) -> Result<Client, ClientError> {
        let roots = match &settings.ca_file {
            None => RootCerts::PlatformVerifier,
            Some(path) => {
                let bad = |source| ClientError::Certificates { path: path.clone(), source };
                let pem = std::fs::read(path).map_err(bad)?;
                let items: Result<Vec<_>, _> = parse_pem(&pem).collect();
                let items = items.map_err(|error| bad(io::Error::other(error)))?;
                let certificates: Vec<_> = items.into_iter().filter_map(certificate).collect();
                if certificates.is_empty() {
                    return Err(bad(io::Error::other("it holds no certificate in PEM")));
                }
                RootCerts::Specific(Arc::new(certificates))
            }
        };
        let agent = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .user_agent(concat!("evenkeel/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let authorization = settings.credentials.as_ref().map(|credentials| match credentials {
            Credentials::Basic { username, password } => {
                format!("Basic {}", BASE64.encode(format!("{username}:{password}")))
            }
            Credentials::Bearer(token) => format!("Bearer {token}"),
        });
        let path = settings.url.path().trim_end_matches('/');
        let kind = match path.rsplit_once("/apis/registry/v") {
            Some((_, "2")) => Kind::Apicurio(2),
            Some((_, "3")) => Kind::Apicurio(3),
            _ => Kind::Confluent,
        };
        Ok(Client { agent, url: settings.url.clone(), kind, use_id: settings.use_id, authorization })
    }

    /// The schema with an id; `None` where the registry says that it has none.
    pub fn fetch(&self, id: &SchemaId) -> Result<Option<Found>, ClientError> {
        let path = match (self.kind, id, self.use_id) {
            (Kind::Confluent, SchemaId::Number(id), _) => format!("schemas/ids/{id}"),
            (Kind::Confluent, SchemaId::Guid(guid), _) => {
                format!("schemas/guids/{}", uuid::Uuid::from_bytes(*guid).hyphenated())
            }
            (Kind::Apicurio(_), SchemaId::Global(id), _)
            | (Kind::Apicurio(_), SchemaId::Number(id), UseId::GlobalId) => format!("ids/globalIds/{id}"),
            (Kind::Apicurio(_), SchemaId::Content(id), _)
            | (Kind::Apicurio(_), SchemaId::Number(id), UseId::ContentId) => format!("ids/contentIds/{id}"),
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
        let Some((url, kind, text)) = self.get(&path)? else { return Ok(None) };
        match self.kind {
            Kind::Confluent => confluent(&url, &text).map(Some),
            Kind::Apicurio(_) => Ok(Some(found(kind.as_deref().unwrap_or_default(), text))),
        }
    }

    /// Asks for anything at all, to see that the registry answers.
    pub fn ping(&self) -> Result<(), ClientError> {
        let path = match self.kind {
            Kind::Confluent => "subjects",
            Kind::Apicurio(_) => "system/info",
        };
        self.get(path).map(drop)
    }

    /// The URL asked, Apicurio's kind of artifact, and what it is; `None` where there is no such thing.
    fn get(&self, path: &str) -> Result<Option<(String, Option<String>, String)>, ClientError> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        let url = url.to_string();
        let away = |source| ClientError::Away { url: url.clone(), source };
        let mut request = self.agent.get(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.call().map_err(away)?;
        match response.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            status => return Err(ClientError::Status { url, status }),
        }
        let kind = response.headers().get("x-registry-artifacttype").or(response.headers().get("x-artifacttype"));
        let kind = kind.and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let text = response.body_mut().with_config().limit(LARGEST).read_to_string().map_err(away)?;
        Ok(Some((url, kind, text)))
    }
}

fn certificate(item: ureq::tls::PemItem<'static>) -> Option<ureq::tls::Certificate<'static>> {
    if let ureq::tls::PemItem::Certificate(certificate) = item { Some(certificate) } else { None }
}

/// Confluent's answer.
fn confluent(url: &str, text: &str) -> Result<Found, ClientError> {
    #[derive(Deserialize)]
    struct Answer {
        schema: String,
        #[serde(rename = "schemaType")]
        kind: Option<String>,
        #[serde(default)]
        references: Option<Vec<serde_json::Value>>,
    }
    let answer: Answer = serde_json::from_str(text)
        .map_err(|error| ClientError::Strange { url: url.to_owned(), detail: error.to_string() })?;
    if answer.references.is_some_and(|references| !references.is_empty()) {
        let detail = "its schema refers to other schemas of the registry, which no Debezium converter writes";
        return Ok(Found::Useless(Refusal::new("schema_references", detail)));
    }
    Ok(found(answer.kind.as_deref().unwrap_or("AVRO"), answer.schema))
}

/// Apicurio of older versions does not say what an artifact is.
fn found(kind: &str, text: String) -> Found {
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
