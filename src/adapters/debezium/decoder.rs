//! From a record to what it tells, with the schemas that it needs.
//!
//! Must not know: columns' types, what a position means. Waits for nothing: a record whose schema is not known yet is
//! given back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::atom::Atom;
use super::envelope::{Envelope, Source};
use super::frame::{Frame, Half, SchemaId};
use super::schema::{Encodings, SchemaCache};
use super::shape::{ConnectorKind, Format, Part, SourceShape};
use super::told::{Beside, event, gone};
use super::value::Cell;
use super::{
    Event, Found, Heartbeat, Record, Refusal, Registry, Undecoded, avro, frame, heartbeat, json, transaction, value,
};
use crate::domain::change::{End, TransactionId};
use crate::domain::value::Value;

/// A schema of the registry, ready to decode a source's records with.
enum Compiled {
    Avro { writer: avro::Writer, encodings: Encodings },
    Json,
}

/// Schemas that are kept ready for one source; a connector has a handful.
const COMPILED: usize = 64;

/// Decodes the events of one source. Remembers what schemas it has seen.
pub struct Decoder {
    registry: Arc<dyn Registry>,
    /// Of JSON records' values, and of their keys.
    schemas: [SchemaCache; 2],
    compiled: BTreeMap<SchemaId, Arc<Compiled>>,
    /// Of the last record that was a change.
    form: Option<Form>,
    /// The forms between which records went over, since this was last asked.
    went_over: Option<[Form; 2]>,
    /// Of the last record: its transaction, and its number among those of its table.
    counted: Option<(TransactionId, u32)>,
}

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    JsonWithSchema,
    /// Its schema's id stands in front, or in a header of Apicurio's.
    Avro {
        header: bool,
    },
    CloudEvent,
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Form::Json => "JSON without a schema",
            Form::JsonWithSchema => "JSON with a schema",
            Form::Avro { header: false } => "Avro with its schema's id in front",
            Form::Avro { header: true } => "Avro with its schema's id in a header",
            Form::CloudEvent => "CloudEvents",
        })
    }
}

impl Decoder {
    pub fn new(registry: Arc<dyn Registry>) -> Decoder {
        Decoder {
            registry,
            schemas: Default::default(),
            compiled: BTreeMap::new(),
            form: None,
            went_over: None,
            counted: None,
        }
    }

    /// Decodes a record. `topic_partition`, `origin` and `offset` of the change are left for the caller.
    pub fn decode(&mut self, shape: &SourceShape, record: Record<'_>) -> Result<Event, Undecoded> {
        self.counted = None;
        let Some(bytes) = record.value else { return self.tombstone(shape, record) };
        let identity = match shape.connector.kind {
            ConnectorKind::Mongodb => self.key_row(shape, record)?,
            _ => None,
        };
        let beside = Beside { record, identity };
        match frame::of(shape.connector.format, Half::Value, bytes, record.headers)? {
            Frame::Json(bytes) => self.json(shape, &beside, bytes),
            Frame::Schema(id, datum) => {
                let header = matches!(id, SchemaId::Global(_) | SchemaId::Content(_));
                match &*self.compiled(shape, id)? {
                    Compiled::Json => self.json(shape, &beside, datum),
                    Compiled::Avro { writer, encodings } => match writer.event(shape, datum)? {
                        avro::Body::Change(envelope) => {
                            self.see(Form::Avro { header });
                            self.count(shape, &envelope.source);
                            Ok(event(shape, envelope, Some(encodings), &beside)?)
                        }
                        avro::Body::Gone => self.tombstone(shape, record),
                        avro::Body::Wrapped { source, data } => self.wrapped(shape, &beside, source, &data),
                    },
                }
            }
        }
    }

    fn see(&mut self, form: Form) {
        if let Some(before) = self.form.replace(form).filter(|before| *before != form) {
            self.went_over = Some([before, form]);
        }
    }

    /// The forms between which records went over since this was last asked: someone has changed the connector.
    pub fn went_over(&mut self) -> Option<[Form; 2]> {
        self.went_over.take()
    }

    fn count(&mut self, shape: &SourceShape, source: &Source<'_>) {
        if shape.connector.is_counted {
            self.counted = transaction::counted(shape.connector.kind, source);
        }
    }

    /// The transaction of the last record, whatever became of it else, and its number among those of its table.
    pub fn counted(&self) -> Option<(TransactionId, u32)> {
        self.counted
    }

    /// Decodes a record of a connector's transaction topic; `None` for what is no end of one.
    pub fn end(&mut self, shape: &SourceShape, record: Record<'_>) -> Result<Option<End<Box<str>>>, Undecoded> {
        let Some(bytes) = record.value else { return Ok(None) };
        let marker = match frame::of(shape.connector.format, Half::Value, bytes, record.headers)? {
            Frame::Json(bytes) => json::own(bytes)?,
            Frame::Schema(id, datum) => match &*self.compiled(shape, id)? {
                Compiled::Json => json::own(datum)?,
                Compiled::Avro { writer, .. } => writer.own(datum)?,
            },
        };
        Ok(transaction::end(shape.connector.kind, marker)?)
    }

    /// Decodes a record, waiting for its schema for no longer than `patience`.
    pub fn decode_in(
        &mut self,
        shape: &SourceShape,
        record: Record<'_>,
        patience: Duration,
    ) -> Result<Event, Refusal> {
        self.wait_in(patience, |decoder| decoder.decode(shape, record))
    }

    /// The same of a record of a transaction topic.
    pub fn end_in(
        &mut self,
        shape: &SourceShape,
        record: Record<'_>,
        patience: Duration,
    ) -> Result<Option<End<Box<str>>>, Refusal> {
        self.wait_in(patience, |decoder| decoder.end(shape, record))
    }

    /// Some fields of a record's value, where that is Avro and its schema was met before.
    pub fn outline<T: DeserializeOwned>(&self, shape: &SourceShape, record: Record<'_>) -> Option<T> {
        let frame = frame::of(shape.connector.format, Half::Value, record.value?, record.headers).ok()?;
        let Frame::Schema(id, datum) = frame else { return None };
        match &**self.compiled.get(&id)? {
            Compiled::Avro { writer, .. } => writer.own(datum).ok(),
            Compiled::Json => None,
        }
    }

    fn wait_in<T>(
        &mut self,
        patience: Duration,
        decode: impl Fn(&mut Decoder) -> Result<T, Undecoded>,
    ) -> Result<T, Refusal> {
        let deadline = Moment::now() + patience;
        loop {
            let id = match decode(self) {
                Ok(decoded) => return Ok(decoded),
                Err(Undecoded::Refused(refusal)) => return Err(refusal),
                Err(Undecoded::Waits(id)) => id,
            };
            let left = deadline.saturating_duration_since(Moment::now());
            let away = self.registry.wait(&id, left);
            if left.is_zero() {
                let detail = away.unwrap_or_else(|| "the schema registry has not answered yet".to_owned());
                return Err(Refusal::new("registry_away", detail));
            }
        }
    }

    fn json(&mut self, shape: &SourceShape, beside: &Beside<'_>, bytes: &[u8]) -> Result<Event, Undecoded> {
        let json::Event { schema, is_cloud_event, body } = json::event(shape, bytes)?;
        match body {
            json::Body::Change(envelope) => {
                self.see(match (is_cloud_event, schema) {
                    (true, _) => Form::CloudEvent,
                    (false, Some(_)) => Form::JsonWithSchema,
                    (false, None) => Form::Json,
                });
                self.count(shape, &envelope.source);
                let encodings = schema.map(|schema| self.schemas[0].get(schema, shape)).transpose()?;
                Ok(event(shape, envelope, encodings, beside)?)
            }
            json::Body::Gone => self.tombstone(shape, beside.record),
            json::Body::Wrapped { source, data } => {
                let data = BASE64.decode(&*data).map_err(|_| Refusal::new("bad_data", "\"data\" is no base64"))?;
                self.wrapped(shape, beside, source, &data)
            }
        }
    }

    /// The data of a CloudEvent, which has its own schema.
    fn wrapped(
        &mut self,
        shape: &SourceShape,
        beside: &Beside<'_>,
        source: Source<'_>,
        data: &[u8],
    ) -> Result<Event, Undecoded> {
        let no_avro =
            || Refusal::new("bad_data", "a CloudEvent's \"data\" is neither JSON nor Avro with its schema's id");
        let Frame::Schema(id, datum) = frame::of(Format::Auto, Half::Value, data, &|_| None)? else {
            return Err(no_avro().into());
        };
        self.see(Form::CloudEvent);
        match &*self.compiled(shape, id)? {
            Compiled::Avro { writer, encodings } => {
                let envelope = Envelope::within(source, writer.rows(shape, datum)?)?;
                self.count(shape, &envelope.source);
                Ok(event(shape, envelope, Some(encodings), beside)?)
            }
            Compiled::Json => Err(no_avro().into()),
        }
    }

    fn compiled(&mut self, shape: &SourceShape, id: SchemaId) -> Result<Arc<Compiled>, Undecoded> {
        if let Some(compiled) = self.compiled.get(&id) {
            return Ok(Arc::clone(compiled));
        }
        let compiled = match self.registry.find(&id) {
            Found::Avro(text) => {
                let writer = avro::Writer::parse(&text)?;
                let encodings = writer.encodings(shape);
                Compiled::Avro { writer, encodings }
            }
            Found::Json => Compiled::Json,
            Found::Useless(refusal) => return Err(refusal.into()),
            Found::Asked => return Err(Undecoded::Waits(id)),
        };
        if self.compiled.len() >= COMPILED {
            self.compiled.clear();
        }
        let compiled = Arc::new(compiled);
        self.compiled.insert(id, Arc::clone(&compiled));
        Ok(compiled)
    }

    /// A tombstone follows a delete, and says nothing new; but of flattened events it may be all that is left of one.
    fn tombstone(&mut self, shape: &SourceShape, record: Record<'_>) -> Result<Event, Undecoded> {
        if !shape.connector.flattened.as_ref().is_some_and(|flattened| flattened.tombstones_delete) {
            return Ok(Event::Nothing);
        }
        let no_key = || Refusal::new("no_primary_key", "a tombstone without a key: of which row is not known");
        let row = self.key_row(shape, record)?.ok_or_else(no_key)?;
        Ok(gone(shape, row, record)?)
    }

    /// True where a record's key says which row it is about: all such records are in one partition of their topic.
    pub fn is_keyed(&mut self, shape: &SourceShape, record: Record<'_>) -> bool {
        let is_told = |cell: &Cell| matches!(cell, Cell::Value(value) if *value != Value::Null);
        let key = self.key_row(shape, record).ok().flatten();
        key.is_some_and(|row| shape.primary_key.iter().all(|column| is_told(&row[*column])))
    }

    /// What a record's key says of its row; `None` where it has none.
    fn key_row(&mut self, shape: &SourceShape, record: Record<'_>) -> Result<Option<Vec<Cell>>, Undecoded> {
        let (Some(bytes), Some(bare)) = (record.key, shape.primary_key.first().copied()) else { return Ok(None) };
        let is_mongodb = shape.connector.kind == ConnectorKind::Mongodb;
        let place = |name: &str| match is_mongodb {
            true => (name == "id").then_some(bare),
            false => shape.column(Part::Identity, name),
        };
        let places = shape.columns.len();
        let compiled;
        let (atoms, encodings) = match frame::of(shape.connector.format, Half::Key, bytes, record.headers)? {
            Frame::Json(bytes) => {
                let (schema, atoms) = json::key(bytes, places, &place, bare)?;
                let schema = schema.filter(|_| !is_mongodb);
                (atoms, schema.map(|schema| self.schemas[1].get(schema, shape)).transpose()?)
            }
            Frame::Schema(id, datum) => {
                compiled = self.compiled(shape, id)?;
                match &*compiled {
                    Compiled::Avro { writer, encodings } => {
                        (writer.key(datum, places, &place, bare)?, Some(encodings))
                    }
                    Compiled::Json => (json::key(datum, places, &place, bare)?.1, None),
                }
            }
        };
        let Some(mut atoms) = atoms else { return Ok(None) };
        if let (true, Some(Atom::Text(id))) = (is_mongodb, &atoms[bare]) {
            // It is Extended JSON within a text.
            let id = serde_json::from_str::<&RawValue>(id).ok().and_then(|raw| Atom::json(raw.get()).ok());
            atoms[bare] = id.map(Atom::into_owned);
        }
        Ok(Some(value::row(shape, encodings, &atoms)?))
    }

    /// Decodes a row of a heartbeat table whose one kept column is the database's clock. `None` for what is not
    /// streamed or carries no instant: a snapshot row proves nothing. A clock that is ahead of the event's own source
    /// time would promise what has not happened yet, and is refused.
    pub fn heartbeat(&mut self, shape: &SourceShape, record: Record<'_>) -> Result<Option<Heartbeat>, Undecoded> {
        Ok(heartbeat(shape, self.decode(shape, record)?)?)
    }
}
