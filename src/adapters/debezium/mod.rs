//! Debezium's change events in Connect JSON, with and without schema, decoded into the domain's changes.
//!
//! Must not know: Kafka's client, the changes log. What cannot be understood comes back as a [`Refusal`], never as a
//! guess. The contract is Debezium's documentation of each connector's data change events.

mod envelope;
mod position;
mod scalar;
mod schema;
pub mod shape;
mod temporal;
#[cfg(test)]
mod tests;
mod value;

use compact_str::{ToCompactString, format_compact};
use serde_json::value::RawValue;

use self::envelope::{Envelope, Payload, Source};
use self::schema::SchemaCache;
use self::shape::SourceShape;
use self::value::{Cell, Part};
use crate::domain::change::{Change, Key, Operation, Origin, Position, Proof, RunId};
use crate::domain::hash::{continue_fnv1a, fnv1a};
use crate::domain::instant::Instant;
use crate::domain::value::{Type, Value};
use crate::task::ingest::Decoded;

/// Why an event was not understood. `reason` is one of a few words, good as a metric's label. `detail` never holds a
/// masked column's value: it is published with the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: &'static str,
    pub detail: String,
}

impl Refusal {
    fn new(reason: &'static str, detail: impl Into<String>) -> Refusal {
        Refusal { reason, detail: detail.into() }
    }
}

/// What an event turned out to be.
#[derive(Clone, Debug)]
pub enum Event {
    Change(Decoded),
    /// Nothing about a row: a tombstone, a logical message.
    Nothing,
}

/// A streamed row of a heartbeat table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub time: Instant,
    pub proof: Proof,
}

/// The header that tells a connector's runs apart, new at each start (Debezium's `extended.headers.enabled`).
pub const RUN_HEADER: &str = "__debezium.context.runId";

/// The number of an event's [`RunId`]; 0 where it has no such header.
pub fn run_of(header: Option<&[u8]>) -> u64 {
    let Some(header) = header else { return 0 };
    match uuid::Uuid::try_parse_ascii(header.trim_ascii()) {
        Ok(uuid) if uuid.get_version_num() == 7 => uuid.as_u64_pair().0,
        _ => (fnv1a(header) & !RunId::VERSION).max(1),
    }
}

/// Decodes the events of one source. Remembers the last schema seen, so that equal ones are parsed once.
pub struct Decoder {
    schemas: SchemaCache,
}

impl Decoder {
    pub fn new() -> Decoder {
        Decoder { schemas: SchemaCache::default() }
    }

    /// Decodes a record's value; `None` is a tombstone. `topic_partition`, `origin` and `offset` of the change are
    /// left for the caller.
    pub fn decode(&mut self, shape: &SourceShape, value: Option<&[u8]>, run: u64) -> Result<Event, Refusal> {
        let Some(bytes) = value else { return Ok(Event::Nothing) };
        let Payload { schema, envelope } = envelope::parse(bytes, shape.shows_all())?;
        let schema = match schema {
            Some(schema) => Some(self.schemas.get(schema, shape)?),
            None => None,
        };
        let row = |part: Part| move |raw: &RawValue| value::row(shape, schema, part, raw);
        let operation = match (&*envelope.op, envelope.before, envelope.after) {
            ("m", _, _) => return Ok(Event::Nothing),
            ("t", _, _) => return Err(Refusal::new("truncate", "the table was truncated; its rows are not named")),
            ("c" | "r" | "u", before, Some(after)) => {
                let before = before.map(row(Part::Identity)).transpose()?;
                upsert(shape, before, row(Part::Whole)(after)?)?
            }
            ("d", Some(before), _) => delete(shape, row(Part::Identity)(before)?)?,
            ("c" | "r" | "u" | "d", _, _) => {
                let missing = if &*envelope.op == "d" { "before" } else { "after" };
                return Err(Refusal::new("no_row", format!("op \"{}\" without \"{missing}\"", envelope.op)));
            }
            (other, _, _) => {
                // Debezium's are single letters: what this is, nobody knows.
                let other = if shape.shows_all() { other } else { "?" };
                return Err(Refusal::new("unknown_op", format!("op \"{other}\"")));
            }
        };
        change(shape, &envelope, operation, run).map(Event::Change)
    }

    /// Decodes a row of a heartbeat table whose one kept column is the database's clock. `None` for what is not
    /// streamed or carries no instant: a snapshot row proves nothing. A clock that is ahead of the event's own source
    /// time would promise what has not happened yet, and is refused.
    pub fn heartbeat(
        &mut self,
        shape: &SourceShape,
        value: Option<&[u8]>,
        run: u64,
    ) -> Result<Option<Heartbeat>, Refusal> {
        let Event::Change(decoded) = self.decode(shape, value, run)? else { return Ok(None) };
        let (true, Operation::Upsert { columns, .. }) = (decoded.streamed, &decoded.change.operation) else {
            return Ok(None);
        };
        let (Value::Timestamp(micros), Some(position)) = (&columns[shape.key], decoded.change.position) else {
            return Ok(None);
        };
        let (time, source_time) = (Instant(*micros), decoded.change.source_time);
        if time > source_time.plus(HEARTBEAT_AHEAD_US) {
            let column = &shape.columns[shape.key].name;
            let detail = format!(
                "\"{column}\" is {time}, yet the row was written at {source_time}: the column must hold the database's \
                 clock in UTC, as a timestamp with time zone does"
            );
            return Err(Refusal::new("heartbeat_ahead", detail));
        }
        // Where its transaction begins: a binlog's file and position tell no more than where the row stands.
        let position = match decoded.origin {
            Origin::Binlog(_) => position,
            _ => Position { row: 0, ..position },
        };
        Ok(Some(Heartbeat { time, proof: Proof { position, run: decoded.change.run } }))
    }
}

/// MariaDB tells the start of the statement in whole seconds, so its clock may seem to be a second ahead.
const HEARTBEAT_AHEAD_US: i64 = 2_000_000;

/// What to do about an update that comes without its before image, though the source is said to have complete ones.
pub const NO_BEFORE: &str = "an update without its before image, though the source is said to have complete ones: a row \
    that moves or goes may stay with its former order. Set REPLICA IDENTITY FULL on the table (PostgreSQL) or \
    binlog_row_image=FULL in every session (MySQL, MariaDB), or leave replica_identity: full out";

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

struct Decided {
    operation: Operation,
    key: Option<Key>,
    key_before: Option<Key>,
}

fn change(shape: &SourceShape, envelope: &Envelope<'_>, decided: Decided, run: u64) -> Result<Decoded, Refusal> {
    let source = &envelope.source;
    let source_time = match (source.ts_us, source.ts_ms) {
        (Some(micros), _) => Instant(micros),
        (None, Some(millis)) => Instant(millis.saturating_mul(1000)),
        (None, None) => return Err(Refusal::new("no_source_time", "\"source\" has neither ts_us nor ts_ms")),
    };
    let streamed = !source.is_snapshot() && &*envelope.op != "r";
    let stand = position::of(shape.connector, envelope)?;
    if streamed && stand.position.is_none() {
        return Err(Refusal::new("no_position", "\"source\" names no position in the database's log"));
    }
    let change = Box::new(Change {
        topic_partition: 0,
        offset: 0,
        source_time,
        position: stand.position.filter(|_| streamed),
        fingerprint: fingerprint(shape, source, &decided.operation),
        origin: 0,
        run: RunId { number: run, family: stand.origin.family() },
        transaction: if streamed { stand.transaction } else { 0 },
        key: decided.key,
        key_before: decided.key_before,
        operation: decided.operation,
    });
    let incomplete = shape.full_before && &*envelope.op == "u" && envelope.before.is_none();
    Ok(Decoded { change, origin: stand.origin, streamed, incremental: source.is_incremental(), incomplete })
}

/// Rows of one COPY differ in their primary key, those of one GTID transaction in where the binlog has them.
fn fingerprint(shape: &SourceShape, source: &Source<'_>, operation: &Operation) -> u32 {
    let place = [source.pos.unwrap_or(0), source.row.unwrap_or(0)];
    let hash = place.iter().fold(fnv1a(&[]), |hash, number| continue_fnv1a(hash, &number.to_le_bytes()));
    let hash = match operation {
        Operation::Upsert { columns, .. } => {
            let row = shape.primary_key.iter().map(|column| &columns[*column]);
            row.fold(continue_fnv1a(hash, b"u"), |hash, value| value.hash_onto(hash))
        }
        Operation::Delete { row } => row.iter().fold(continue_fnv1a(hash, b"d"), |hash, value| value.hash_onto(hash)),
    };
    (hash ^ (hash >> 32)) as u32
}

fn upsert(shape: &SourceShape, before: Option<Vec<Cell>>, after: Vec<Cell>) -> Result<Decided, Refusal> {
    let row = primary_key(shape, &after)?;
    let key = match &after[shape.key] {
        Cell::Value(value) => key_of(value),
        Cell::Unchanged | Cell::Missing => {
            let column = &shape.columns[shape.key].name;
            return Err(Refusal::new("no_key", format!("the event does not say the value of the key \"{column}\"")));
        }
    };
    let mut key_before = None;
    let mut row_before = None;
    if let Some(before) = before {
        row_before = primary_key(shape, &before).ok().filter(|known| *known != row);
        if let Cell::Value(value) = &before[shape.key] {
            key_before = key_of(value).filter(|known| Some(known) != key.as_ref());
        }
    }
    let unchanged = (0..).zip(&after).filter(|(_, cell)| matches!(cell, Cell::Unchanged)).map(|(index, _)| index);
    let unchanged = unchanged.collect();
    let columns = after.into_iter().map(Cell::into_value).collect();
    Ok(Decided { operation: Operation::Upsert { columns, unchanged, row_before }, key, key_before })
}

fn delete(shape: &SourceShape, before: Vec<Cell>) -> Result<Decided, Refusal> {
    let row = primary_key(shape, &before)?;
    let key = match &before[shape.key] {
        Cell::Value(value) => key_of(value),
        _ => None,
    };
    Ok(Decided { operation: Operation::Delete { row }, key, key_before: None })
}

fn primary_key(shape: &SourceShape, row: &[Cell]) -> Result<Box<[Value]>, Refusal> {
    let value = |column: &usize| match &row[*column] {
        Cell::Value(Value::Null) | Cell::Missing | Cell::Unchanged => {
            let name = &shape.columns[*column].name;
            Err(Refusal::new("no_primary_key", format!("the event does not say the primary key column \"{name}\"")))
        }
        Cell::Value(value) => Ok(value.clone()),
    };
    shape.primary_key.iter().map(value).collect()
}

/// A key value as canonical text; `None` for NULL.
pub fn key_of(value: &Value) -> Option<Key> {
    Some(Key(match value {
        Value::Null | Value::Unknown => return None,
        Value::Text(text) => text.clone(),
        Value::Int(number) => number.to_compact_string(),
        Value::Decimal(decimal) => decimal.normalized().to_plain_string().into(),
        Value::Uuid(bytes) => uuid::Uuid::from_bytes(*bytes).hyphenated().to_compact_string(),
        other => format_compact!("{other:?}"),
    }))
}

/// True where a value of this type can be a reconciliation key.
pub fn can_be_key(ty: Type) -> bool {
    matches!(ty, Type::Int | Type::Text | Type::Uuid | Type::Decimal { .. })
}

/// The bytes of an event with the values of masked columns blotted out, or `None` where nothing is masked. What is no
/// JSON object is blotted out whole: nobody can say where in it a masked value stands.
pub fn blot(shape: &SourceShape, bytes: &[u8]) -> Option<Vec<u8>> {
    if shape.shows_all() {
        return None;
    }
    let masked = (0..).zip(&shape.columns).filter(|(column, _)| !shape.shows(*column));
    let masked: Vec<&str> = masked.map(|(_, column)| column.name.as_str()).collect();
    let document = serde_json::from_slice::<serde_json::Value>(bytes).ok().filter(serde_json::Value::is_object);
    let Some(mut document) = document else {
        return Some(
            format!("({} bytes that are no JSON object, withheld: the source has masked columns)", bytes.len())
                .into(),
        );
    };
    // A bare key within the envelope of its schema, as ExtractField$Key leaves it.
    document.get_mut("payload").filter(|payload| !payload.is_object()).map(hide);
    // MySQL's and MariaDB's statement, values and all, where the connector has include.query=true.
    for place in ["/source/query", "/payload/source/query"] {
        document.pointer_mut(place).map(hide);
    }
    blot_in(&mut document, &masked);
    Some(document.to_string().into_bytes())
}

fn hide(value: &mut serde_json::Value) {
    if !value.is_null() {
        *value = "***".into();
    }
}

fn blot_in(document: &mut serde_json::Value, masked: &[&str]) {
    match document {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                if masked.contains(&name.as_str()) { hide(value) } else { blot_in(value, masked) }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| blot_in(item, masked)),
        _ => {}
    }
}
