//! Avro records, read by the schema that they were written with: Debezium's envelope, within a CloudEvent, or flattened;
//! and keys.
//!
//! Must not know: columns' types, registries. The decoder ignores logical types (of decimals it knows no more than 28
//! digits), so they are taken out of the schema and applied here, as are Kafka Connect's `connect.name`s, which say what
//! Avro does not. Sources: the Avro specification 1.12, Confluent's `AvroData`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Error};
use serde_avro_fast::Schema;
use serde_avro_fast::de::read::SliceRead;
use serde_avro_fast::de::{DeError, DeserializerConfig, DeserializerState};
use serde_json::Value as Json;

use super::atom::{Atoms, Avro, Bytes, Fields};
use super::envelope::{Envelope, Parts, PartsSeed, Source};
use super::schema::{self, Encoding, Encodings};
use super::shape::SourceShape;
use super::{Refusal, flattened, weight};

/// More elements than any array or map of a row has; each takes time, though it may take no bytes.
const ELEMENTS: usize = 1 << 20;

/// A schema, ready to decode with.
pub struct Writer {
    schema: Schema,
    /// How the fields of a row are encoded, by name.
    fields: BTreeMap<String, Option<Encoding>>,
}

/// A record's value, taken apart.
pub enum Body<'a> {
    Change(Envelope<'a>),
    /// Of flattened events: no row.
    Gone,
    /// A CloudEvent's data, as another schema wrote it.
    Wrapped {
        source: Source<'a>,
        data: Cow<'a, [u8]>,
    },
}

impl Writer {
    /// Reads a schema's JSON.
    pub fn parse(text: &str) -> Result<Writer, Refusal> {
        let bad = |error: String| Refusal::new("bad_schema", format!("the registry's Avro schema: {error}"));
        let mut document: Json = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        weight::bounded(&document).map_err(|why| bad(why.to_owned()))?;
        let mut names = Names::default();
        names.collect(&document, "");
        let root = names.fields_of(&document, "");
        let namespace = namespace(&document, "");
        // Where the converter leaves Connect's own words out, their absence says nothing.
        let has_names = text.contains("\"connect.name\"");
        // Rows are within an envelope, or are all there is.
        let row = root.iter().find(|field| field["name"] == "before");
        let row = row
            .map(|before| names.fields_of(&before["type"], namespace))
            .filter(|row| !row.is_empty())
            .unwrap_or(root);
        let mut fields = BTreeMap::new();
        for field in row {
            let Some(name) = field["name"].as_str() else { continue };
            fields.insert(name.to_owned(), names.encoding(&field["type"], has_names)?);
        }
        strip(&mut document);
        let schema = document
            .to_string()
            .parse()
            .map_err(|error: serde_avro_fast::schema::SchemaError| bad(error.to_string()))?;
        Ok(Writer { schema, fields })
    }

    /// How a source's columns are encoded.
    pub fn encodings(&self, shape: &SourceShape) -> Encodings {
        let encoding = |name: &String| self.fields.get(name).copied().unwrap_or(Some(Encoding::Plain));
        shape.columns.iter().map(|column| encoding(&column.name)).collect()
    }

    /// Decodes a record's value.
    pub fn event<'a>(&self, shape: &SourceShape, datum: &'a [u8]) -> Result<Body<'a>, Refusal> {
        if shape.connector.flattened.is_some() {
            let read = |fields: Fields<'_, Avro>| self.read(datum, fields, shape.shows_all());
            let envelope = flattened::change(shape, read)?;
            return Ok(envelope.map_or(Body::Gone, Body::Change));
        }
        let parts = self.parts(shape, datum)?;
        if !parts.is_cloud_event {
            return Envelope::of(parts).map(Body::Change);
        }
        let source = Source::new(parts.attributes);
        match parts.data {
            Some(Bytes(data)) => Ok(Body::Wrapped { source, data }),
            None => Err(Refusal::new("no_row", "a CloudEvent without \"data\"")),
        }
    }

    /// Decodes the data of a CloudEvent, which has rows alone.
    pub fn rows<'a>(&self, shape: &SourceShape, datum: &'a [u8]) -> Result<[Option<Atoms<'a>>; 2], Refusal> {
        let parts = self.parts(shape, datum)?;
        Ok([parts.before, parts.after])
    }

    fn parts<'a>(&self, shape: &SourceShape, datum: &'a [u8]) -> Result<Parts<'a, Bytes<'a>>, Refusal> {
        self.read(datum, PartsSeed::<Avro>::new(shape), shape.shows_all())
    }

    /// The fields of a key that `place` knows; a bare value is at the place `bare`.
    pub fn key<'a>(
        &self,
        datum: &'a [u8],
        places: usize,
        place: &dyn Fn(&str) -> Option<usize>,
        bare: usize,
    ) -> Result<Option<Atoms<'a>>, Refusal> {
        if self.fields.is_empty() {
            let mut atoms = vec![None; places];
            atoms[bare] = Some(self.read(datum, Avro, false)?);
            return Ok(Some(atoms));
        }
        self.read(datum, Fields::<Avro>::new(places, place), false)
    }

    /// A record of a connector's own: nothing of it is masked.
    pub fn own<'a, T: Deserialize<'a>>(&self, datum: &'a [u8]) -> Result<T, Refusal> {
        self.read(datum, PhantomData, true)
    }

    /// Reads all of a datum. `quote` says whether a refusal may quote it.
    fn read<'a, S: DeserializeSeed<'a>>(&self, datum: &'a [u8], seed: S, quote: bool) -> Result<S::Value, Refusal> {
        let damaged = |error: DeError| {
            let error = if quote { format!(": {error}") } else { String::new() };
            Refusal::new("bad_avro", format!("it does not fit its schema{error}"))
        };
        let mut config = DeserializerConfig::new(&self.schema);
        config.max_seq_size = ELEMENTS;
        let mut state = DeserializerState::with_config(SliceRead::new(datum), config);
        let value = seed.deserialize(state.deserializer()).map_err(damaged)?;
        // It would fit by chance only, as where an id of eight bytes is taken for one of four.
        match state.into_reader().fill_buf() {
            Ok([]) => Ok(value),
            _ => Err(damaged(DeError::custom("bytes are left over"))),
        }
    }
}

/// The records of a schema by full name.
#[derive(Default)]
struct Names<'s>(BTreeMap<String, &'s Json>);

/// The namespace that a named type's fields are in.
fn namespace<'s>(node: &'s Json, outer: &'s str) -> &'s str {
    let name = node["name"].as_str().unwrap_or_default();
    match (name.rfind('.'), node["namespace"].as_str()) {
        (Some(at), _) => &name[..at],
        (None, Some(own)) => own,
        (None, None) => outer,
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

impl<'s> Names<'s> {
    fn collect(&mut self, node: &'s Json, outer: &'s str) {
        match node {
            Json::Array(branches) => branches.iter().for_each(|branch| self.collect(branch, outer)),
            Json::Object(_) => {
                let inner = namespace(node, outer);
                if let (Some("record"), Some(name)) = (node["type"].as_str(), node["name"].as_str()) {
                    self.0.insert(full_name(name, inner), node);
                }
                for field in node["fields"].as_array().into_iter().flatten() {
                    self.collect(&field["type"], inner);
                }
                for part in ["items", "values", "type"] {
                    if let Some(part) = node.get(part) {
                        self.collect(part, inner);
                    }
                }
            }
            _ => {}
        }
    }

    /// The fields of a record, which may be a branch of a union, or only be named.
    fn fields_of(&self, node: &'s Json, outer: &str) -> Vec<&'s Json> {
        match node {
            Json::Array(branches) => {
                let fields = branches.iter().map(|branch| self.fields_of(branch, outer));
                fields.into_iter().find(|fields| !fields.is_empty()).unwrap_or_default()
            }
            Json::Object(_) => node["fields"].as_array().into_iter().flatten().collect(),
            Json::String(name) => match self.0.get(&full_name(name, outer)) {
                Some(record) => record["fields"].as_array().into_iter().flatten().collect(),
                None => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// `None` where the schema does not say.
    fn encoding(&self, node: &Json, has_names: bool) -> Result<Option<Encoding>, Refusal> {
        match node {
            Json::Array(branches) => match branches.iter().find(|branch| *branch != "null") {
                Some(branch) => self.encoding(branch, has_names),
                None => Ok(Some(Encoding::Plain)),
            },
            Json::String(kind) if kind.ends_with("io.debezium.data.VariableScaleDecimal") => {
                Ok(Some(Encoding::VariableScaleDecimal))
            }
            Json::String(kind) => plain(kind, has_names),
            Json::Object(_) => {
                let kind = node["type"].as_str().unwrap_or_default();
                let logical = match node["logicalType"].as_str() {
                    Some("decimal") => Some("org.apache.kafka.connect.data.Decimal"),
                    Some("date") => Some("org.apache.kafka.connect.data.Date"),
                    Some("time-millis") => Some("org.apache.kafka.connect.data.Time"),
                    Some("timestamp-millis" | "local-timestamp-millis") => {
                        Some("org.apache.kafka.connect.data.Timestamp")
                    }
                    Some("time-micros") => Some("io.debezium.time.MicroTime"),
                    Some("timestamp-micros" | "local-timestamp-micros") => Some("io.debezium.time.MicroTimestamp"),
                    _ => None,
                };
                let Some(name) = logical.or(node["connect.name"].as_str()) else { return plain(kind, has_names) };
                let scale = || match &node["scale"] {
                    Json::Null => {
                        node["connect.parameters"]["scale"].as_str().map_or(Some(0), |scale| scale.parse().ok())
                    }
                    scale => scale.as_i64().and_then(|scale| i32::try_from(scale).ok()),
                };
                schema::encoding(Some(name), kind, scale).map(Some)
            }
            _ => Ok(Some(Encoding::Plain)),
        }
    }
}

/// A number without a name may be a moment all the same.
fn plain(kind: &str, has_names: bool) -> Result<Option<Encoding>, Refusal> {
    match kind {
        "int" | "long" if !has_names => Ok(None),
        kind => schema::encoding(None, kind, || None).map(Some),
    }
}

/// Takes logical types out of a schema.
fn strip(node: &mut Json) {
    match node {
        Json::Array(branches) => branches.iter_mut().for_each(strip),
        Json::Object(members) => {
            members.remove("logicalType");
            for part in ["type", "items", "values"] {
                if let Some(part) = members.get_mut(part) {
                    strip(part);
                }
            }
            for field in members.get_mut("fields").and_then(Json::as_array_mut).into_iter().flatten() {
                if let Some(ty) = field.get_mut("type") {
                    strip(ty);
                }
            }
        }
        _ => {}
    }
}
