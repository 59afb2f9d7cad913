//! Records' bodies in Avro, as Confluent's serializers frame them: a zero byte, the schema's id in four bytes, the datum.
//!
//! Must not know: registries, topics' contents. What is written is the JSON body, each field under the same name, so that
//! both forms say the same and one reader serves both. `schemas/avro/` holds the schemas; each record says in the header
//! `ce_dataschema` which of them it was written with, so that whoever has this program needs no registry to read it. Sources:
//! Confluent's wire format and `SubjectNameStrategy`; CloudEvents 1.0.2, `dataschema`.

mod shape;
#[cfg(test)]
mod tests;

use std::io::BufRead;
use std::sync::{Arc, LazyLock};

use serde::de::DeserializeSeed;
use serde_avro_fast::Schema;
use serde_avro_fast::de::read::SliceRead;
use serde_avro_fast::de::{DeserializerConfig, DeserializerState};
use serde_avro_fast::ser::SerializerConfig;
use serde_json::Value as Json;

use self::shape::{Shape, Written};
use crate::adapters::copy::Stored;

/// Says which schema a body was written with.
const SCHEMA_HEADER: &str = "ce_dataschema";
const TYPE_HEADER: &str = "content-type";

const JSON_TYPE: &str = "application/json";
const AVRO_TYPE: &str = "application/avro";

/// Begins what `ce_dataschema` says; the schemas' version and name follow.
const URN: &str = "urn:evenkeel:avro:1:";

/// More elements than any array or map of a record has; each takes time, though it may take no bytes.
const ELEMENTS: usize = 1 << 20;

/// What a body is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Discrepancy,
    Heartbeat,
    SourceNotice,
    Open,
}

/// A file of `schemas/avro/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document {
    /// Without its ending.
    pub name: &'static str,
    /// As it is registered.
    pub text: &'static str,
}

macro_rules! document {
    ($name:literal) => {
        Document { name: $name, text: include_str!(concat!("../../../schemas/avro/1/", $name, ".avsc")) }
    };
}

/// Of the discrepancy topic: a union of what comes there, in the order of [`Kind`].
const DISCREPANCIES: Document = document!("discrepancies");

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Discrepancy, Kind::Heartbeat, Kind::SourceNotice, Kind::Open];

    pub fn document(self) -> Document {
        match self {
            Kind::Discrepancy => document!("discrepancy"),
            Kind::Heartbeat => document!("heartbeat"),
            Kind::SourceNotice => document!("source_notice"),
            Kind::Open => document!("open"),
        }
    }

    /// The record's full name.
    fn name(self) -> &'static str {
        match self {
            Kind::Discrepancy => "evenkeel.v1.Discrepancy",
            Kind::Heartbeat => "evenkeel.v1.Heartbeat",
            Kind::SourceNotice => "evenkeel.v1.SourceNotice",
            Kind::Open => "evenkeel.v1.Open",
        }
    }

    fn compiled(self) -> &'static Compiled {
        static ALL: LazyLock<[Compiled; 4]> = LazyLock::new(|| Kind::ALL.map(Compiled::of));
        &ALL[self as usize]
    }
}

/// A schema, ready to write and read with.
struct Compiled {
    schema: Schema,
    shape: Shape,
}

impl Compiled {
    fn of(kind: Kind) -> Compiled {
        let text = kind.document().text;
        let document: Json = serde_json::from_str(text).expect("our schemas are JSON");
        Compiled { schema: text.parse().expect("our schemas are Avro"), shape: Shape::of(&document) }
    }
}

/// How a registry's subjects are named: Confluent's strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    TopicName,
    RecordName,
    TopicRecordName,
}

/// What a registry must know before anything is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub name: String,
    pub schema: Document,
}

impl Naming {
    /// The subjects of the two topics.
    pub fn subjects(self, discrepancies: &str, open: &str) -> Vec<Subject> {
        let topic = |kind| if kind == Kind::Open { open } else { discrepancies };
        let of_kind = |kind: Kind| match self {
            Naming::TopicName => format!("{}-value", topic(kind)),
            Naming::RecordName => kind.name().to_owned(),
            Naming::TopicRecordName => format!("{}-{}", topic(kind), kind.name()),
        };
        let kinds = match self {
            Naming::TopicName => {
                let discrepancies = Subject { name: of_kind(Kind::Discrepancy), schema: DISCREPANCIES };
                return vec![discrepancies, Subject { name: of_kind(Kind::Open), schema: Kind::Open.document() }];
            }
            Naming::RecordName | Naming::TopicRecordName => Kind::ALL.into_iter(),
        };
        kinds.map(|kind| Subject { name: of_kind(kind), schema: kind.document() }).collect()
    }

    /// The form of records, by the ids of [`Naming::subjects`].
    pub fn form(self, ids: &[u32]) -> Form {
        let ids = match (self, ids) {
            (Naming::TopicName, [discrepancies, open]) => {
                Ids { in_union: true, of: [*discrepancies; 3], open: *open }
            }
            (_, [discrepancy, heartbeat, notice, open]) => {
                Ids { in_union: false, of: [*discrepancy, *heartbeat, *notice], open: *open }
            }
            _ => panic!("each subject has an id: {ids:?} of {self:?}"),
        };
        Form::Avro(Arc::new(ids))
    }
}

/// The ids of the schemas in their registry.
#[derive(Debug, PartialEq, Eq)]
pub struct Ids {
    /// True where the kinds of the discrepancy topic are one schema, a union.
    in_union: bool,
    /// Of the kinds of the discrepancy topic.
    of: [u32; 3],
    open: u32,
}

/// How bodies are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Json,
    Avro(Arc<Ids>),
}

impl Form {
    /// The headers that say in what form a body is.
    pub fn headers(&self, kind: Option<Kind>) -> Vec<(&'static str, String)> {
        match (self, kind) {
            (Form::Avro(ids), Some(kind)) => {
                let is_in_union = ids.in_union && kind != Kind::Open;
                let document = if is_in_union { DISCREPANCIES } else { kind.document() };
                vec![(TYPE_HEADER, AVRO_TYPE.to_owned()), (SCHEMA_HEADER, format!("{URN}{}", document.name))]
            }
            _ => vec![(TYPE_HEADER, JSON_TYPE.to_owned())],
        }
    }

    /// A body's bytes. What has no kind stays JSON.
    pub fn write(&self, kind: Option<Kind>, body: &Json) -> Vec<u8> {
        match (self, kind) {
            (Form::Avro(ids), Some(kind)) => ids.write(kind, body),
            _ => body.to_string().into_bytes(),
        }
    }
}

impl Ids {
    fn write(&self, kind: Kind, body: &Json) -> Vec<u8> {
        let id = if kind == Kind::Open { self.open } else { self.of[kind as usize] };
        let mut framed = vec![0];
        framed.extend(id.to_be_bytes());
        if self.in_union && kind != Kind::Open {
            framed.push(branch(kind));
        }
        let Compiled { schema, shape } = kind.compiled();
        let written = serde_avro_fast::to_datum(&Written(shape, body), framed, &mut SerializerConfig::new(schema));
        written.unwrap_or_else(|error| panic!("a body fits its schema: {error}: {body}"))
    }
}

/// What stands before a branch of a union: its index, zigzagged.
fn branch(kind: Kind) -> u8 {
    2 * kind as u8
}

/// A record as it would be had it been written in JSON. One that was, or that this version cannot read, stays as it is.
pub fn in_json(record: Stored) -> Stored {
    let header = |name: &str| record.header(name);
    if header(TYPE_HEADER) != Some(AVRO_TYPE) {
        return record;
    }
    let value = match (&record.value, header(SCHEMA_HEADER)) {
        (None, _) => None,
        (Some(value), Some(schema)) => match read(schema, value) {
            Some(body) => Some(body.to_string().into_bytes()),
            None => return record,
        },
        (Some(_), None) => return record,
    };
    let headers = record.headers.into_iter().filter(|(name, _)| name != SCHEMA_HEADER);
    let headers = headers.map(|(name, value)| match name == TYPE_HEADER {
        true => (name, Some(JSON_TYPE.as_bytes().to_vec())),
        false => (name, value),
    });
    Stored { headers: headers.collect(), value, ..record }
}

/// A body, by what its record's `ce_dataschema` says. `None` where it is none of this version.
pub fn read(schema: &str, value: &[u8]) -> Option<Json> {
    let name = schema.strip_prefix(URN)?;
    let [0, _, _, _, _, datum @ ..] = value else { return None };
    let (kind, datum) = match datum {
        [first, datum @ ..] if name == DISCREPANCIES.name => {
            (Kind::ALL.into_iter().find(|kind| *kind != Kind::Open && branch(*kind) == *first)?, datum)
        }
        datum => (Kind::ALL.into_iter().find(|kind| kind.document().name == name)?, datum),
    };
    let Compiled { schema, shape } = kind.compiled();
    let mut config = DeserializerConfig::new(schema);
    config.max_seq_size = ELEMENTS;
    let mut state = DeserializerState::with_config(SliceRead::new(datum), config);
    let mut body = shape.deserialize(state.deserializer()).ok()?;
    complete(&mut body);
    matches!(state.into_reader().fill_buf(), Ok([])).then_some(body)
}

/// Adds what the schemas have no field for, because it is always null.
fn complete(body: &mut Json) {
    if let Some(open) = body.get_mut("open").and_then(Json::as_array_mut) {
        open.iter_mut().for_each(complete);
    } else if let Some(body) = body.as_object_mut().filter(|body| body.contains_key("evidence")) {
        body.insert("resolution_proposal".to_owned(), Json::Null);
    }
}
