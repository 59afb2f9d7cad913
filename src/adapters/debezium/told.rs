//! What an envelope tells: which row is how, when, where in its database's commit order.
//!
//! Must not know: formats.

use compact_str::{ToCompactString, format_compact};

use super::envelope::{Envelope, Field, Source};
use super::schema::Encodings;
use super::shape::{ConnectorKind, SourceShape};
use super::value::Cell;
use super::{Event, Heartbeat, RUN_HEADER, Record, Refusal, flattened, position, run_of, value};
use crate::domain::change::{Change, Key, Operation, Origin, Position, Proof, RunId};
use crate::domain::hash::{continue_fnv1a, fnv1a};
use crate::domain::instant::Instant;
use crate::domain::value::{Type, Value};
use crate::task::ingest::Decoded;

/// What is known of an event beside its value.
pub struct Beside<'r> {
    pub record: Record<'r>,
    /// MongoDB's events of deletes say in their key alone which row is gone.
    pub identity: Option<Vec<Cell>>,
}

/// What a heartbeat table's event proves.
pub fn heartbeat(shape: &SourceShape, event: Event) -> Result<Option<Heartbeat>, Refusal> {
    let Event::Change(decoded) = event else { return Ok(None) };
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

/// MariaDB tells the start of the statement in whole seconds, so its clock may seem to be a second ahead.
const HEARTBEAT_AHEAD_US: i64 = 2_000_000;

/// What happened to a row, and whose it was.
struct Decided {
    operation: Operation,
    key: Option<Key>,
    key_before: Option<Key>,
}

/// What an envelope tells.
pub fn event(
    shape: &SourceShape,
    mut envelope: Envelope<'_>,
    encodings: Option<&Encodings>,
    beside: &Beside<'_>,
) -> Result<Event, Refusal> {
    let headers = beside.record.headers;
    if let Some(flattened) = &shape.connector.flattened {
        for (name, field) in &flattened.headers {
            if let Some(atom) = headers(name).and_then(flattened::header) {
                envelope.source.set(*field, atom.into_owned());
            }
        }
        if let Some(op) = envelope.source.take_op() {
            envelope.op = op;
        }
        let is_row_field = |field: &&Field| flattened.fields.values().any(|added| added == *field);
        let needed = position::needed(shape.connector.kind).iter().filter(is_row_field);
        let lacking: Vec<&str> =
            needed.filter(|field| !envelope.source.has(**field)).map(|field| field.name()).collect();
        if !lacking.is_empty() {
            let detail =
                format!("the connector's add.fields lack {}, which the configuration names", lacking.join(", "));
            return Err(Refusal::new("no_position", detail));
        }
    }
    let row = |atoms: &_| value::row(shape, encodings, atoms);
    let operation = match (&*envelope.op, &envelope.before, &envelope.after) {
        ("m", _, _) => return Ok(Event::Nothing),
        ("t", _, _) => return Err(Refusal::new("truncate", "the table was truncated; its rows are not named")),
        ("c" | "r" | "u", before, Some(after)) => upsert(shape, before.as_ref().map(row).transpose()?, row(after)?)?,
        ("d", Some(before), _) => delete(shape, row(before)?)?,
        ("d", None, _) if beside.identity.is_some() => delete(shape, beside.identity.clone().unwrap_or_default())?,
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
    change(shape, &envelope, operation, run_of(headers(RUN_HEADER))).map(Event::Change)
}

fn change(shape: &SourceShape, envelope: &Envelope<'_>, decided: Decided, run: u64) -> Result<Decoded, Refusal> {
    let source = &envelope.source;
    let source_time = match (source.number::<i64>(Field::TsUs)?, source.number::<i64>(Field::TsMs)?) {
        (Some(micros), _) => Instant(micros),
        (None, Some(millis)) => Instant(millis.saturating_mul(1000)),
        (None, None) if shape.connector.flattened.is_some() => {
            let detail = "neither source.ts_us nor source.ts_ms is among the connector's add.fields";
            return Err(Refusal::new("no_source_time", detail));
        }
        (None, None) => return Err(Refusal::new("no_source_time", "\"source\" has neither ts_us nor ts_ms")),
    };
    let streamed = !source.is_snapshot() && &*envelope.op != "r";
    let stand = position::of(shape.connector.kind, source)?;
    if streamed && stand.position.is_none() {
        return Err(Refusal::new("no_position", "\"source\" names no position in the database's log"));
    }
    let change = Box::new(Change {
        topic_partition: 0,
        offset: 0,
        source_time,
        position: stand.position.filter(|_| streamed),
        fingerprint: fingerprint(shape, source, &decided.operation)?,
        origin: 0,
        run: RunId { number: run, family: stand.origin.family() },
        transaction: if streamed { stand.transaction } else { 0 },
        key: decided.key,
        key_before: decided.key_before,
        operation: decided.operation,
        requeued: None,
    });
    let incomplete = shape.full_before && &*envelope.op == "u" && envelope.before.is_none();
    Ok(Decoded { change, origin: stand.origin, streamed, incremental: source.is_incremental(), incomplete })
}

/// A row that is gone, of which only a tombstone tells.
pub fn gone(shape: &SourceShape, row: Vec<Cell>, record: Record<'_>) -> Result<Event, Refusal> {
    let Decided { operation, key, key_before } = delete(shape, row)?;
    let change = Box::new(Change {
        topic_partition: 0,
        offset: 0,
        source_time: record.timestamp,
        position: None,
        fingerprint: 0,
        origin: 0,
        run: RunId { number: run_of((record.headers)(RUN_HEADER)), family: 0 },
        transaction: 0,
        key,
        key_before,
        operation,
        requeued: None,
    });
    // Its time is Kafka's, no earlier than the commit's.
    let incremental = true;
    Ok(Event::Change(Decoded { change, origin: Origin::None, streamed: false, incremental, incomplete: false }))
}

/// Rows of one COPY differ in their primary key, those of one GTID transaction in where the binlog has them.
fn fingerprint(shape: &SourceShape, source: &Source<'_>, operation: &Operation) -> Result<u32, Refusal> {
    let place = [source.number(Field::Pos)?.unwrap_or(0_u64), source.number(Field::Row)?.unwrap_or(0)];
    let hash = place.iter().fold(fnv1a(&[]), |hash, number| continue_fnv1a(hash, &number.to_le_bytes()));
    let hash = match operation {
        Operation::Upsert { columns, .. } => {
            let row = shape.primary_key.iter().map(|column| &columns[*column]);
            row.fold(continue_fnv1a(hash, b"u"), |hash, value| value.hash_onto(hash))
        }
        Operation::Delete { row } => row.iter().fold(continue_fnv1a(hash, b"d"), |hash, value| value.hash_onto(hash)),
    };
    Ok((hash ^ (hash >> 32)) as u32)
}

fn upsert(shape: &SourceShape, before: Option<Vec<Cell>>, mut after: Vec<Cell>) -> Result<Decided, Refusal> {
    if shape.connector.kind == ConnectorKind::Mongodb {
        // A document that lacks a field has none.
        for cell in after.iter_mut().filter(|cell| **cell == Cell::Missing) {
            *cell = Cell::Value(Value::Null);
        }
    }
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
