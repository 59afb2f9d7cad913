//! Decoding of real captured events, and of what connectors are known to write.

mod forms;
mod others;
mod privacy;
mod rows;
mod transactions;
mod values;

use std::fmt::Write;
use std::sync::Arc;

use super::shape::{BinaryMode, ConnectorKind, ConnectorShape, DecimalMode, Detail, Format, Mask, SourceShape};
use super::{Decoder, Event, Heartbeat, NoRegistry, RUN_HEADER, Record, Refusal, Registry, Undecoded};
use crate::domain::catalog::Column;
use crate::domain::change::Operation;
use crate::domain::instant::Instant;
use crate::domain::value::{Type, Value};

fn shape(connector: ConnectorKind, columns: &[(&str, Type)], key: usize) -> SourceShape {
    let column = |(name, ty): &(&str, Type)| Column { name: (*name).to_owned(), ty: *ty };
    SourceShape {
        connector: ConnectorShape {
            kind: connector,
            format: Format::Auto,
            flattened: None,
            decimal_mode: Some(DecimalMode::String),
            binary_mode: BinaryMode::Bytes,
            placeholder: "__debezium_unavailable_value".to_owned(),
            is_counted: false,
        },
        columns: columns.iter().map(column).collect(),
        masks: vec![Mask::Show; columns.len()],
        primary_key: vec![0],
        key,
        details: vec![Detail { digits: Some(12), ..Detail::default() }; columns.len()],
        full_before: connector != ConnectorKind::Postgresql,
    }
}

/// The same of a connector with other settings.
fn with_connector(mut shape: SourceShape, set: impl FnOnce(&mut ConnectorShape)) -> SourceShape {
    set(&mut shape.connector);
    shape
}

/// Decodes records with their headers, keys, values.
struct Reader {
    decoder: Decoder,
}

impl Reader {
    fn new() -> Reader {
        Reader::of(Arc::new(NoRegistry))
    }

    fn of(registry: Arc<dyn Registry>) -> Reader {
        Reader { decoder: Decoder::new(registry) }
    }

    fn record(
        &mut self,
        shape: &SourceShape,
        [key, value]: [Option<&[u8]>; 2],
        headers: &[(&str, &[u8])],
    ) -> Result<Event, Undecoded> {
        let find = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        self.decoder.decode(shape, Record { key, value, timestamp: Instant(NOW), headers: &find })
    }

    /// Of a record with a value alone, and the run that its header tells.
    fn value(&mut self, shape: &SourceShape, value: Option<&[u8]>, run: Option<&str>) -> Result<Event, Refusal> {
        let headers: Vec<_> = run.map(|run| (RUN_HEADER, run.as_bytes())).into_iter().collect();
        self.record(shape, [None, value], &headers).map_err(|undecoded| match undecoded {
            Undecoded::Refused(refusal) => refusal,
            Undecoded::Waits(id) => panic!("it waits for {id:?}"),
        })
    }

    fn heartbeat(&mut self, shape: &SourceShape, value: Option<&[u8]>) -> Result<Option<Heartbeat>, Refusal> {
        super::heartbeat(shape, self.value(shape, value, Some("seven"))?)
    }
}

/// Kafka's timestamp of every record.
const NOW: i64 = 1_795_000_000_000_000;

fn orders() -> SourceShape {
    let columns = [
        ("order_id", Type::Int),
        ("payment_status", Type::Text),
        ("total", Type::Decimal { scale: Some(2) }),
        ("note", Type::Text),
        ("updated_at", Type::TimestampTz),
    ];
    shape(ConnectorKind::Postgresql, &columns, 0)
}

fn payments() -> SourceShape {
    let columns = [
        ("id", Type::Int),
        ("order_id", Type::Int),
        ("status", Type::Text),
        ("amount", Type::Decimal { scale: Some(2) }),
        ("captured_at", Type::Timestamp { precision: 6 }),
    ];
    shape(ConnectorKind::Mariadb, &columns, 1)
}

fn shown(values: &[Value]) -> String {
    values.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn one(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Text(text) => format!("'{text}'"),
        Value::Decimal(decimal) => decimal.to_plain_string(),
        Value::Timestamp(i64::MAX) => "infinity".to_owned(),
        Value::Timestamp(i64::MIN) => "-infinity".to_owned(),
        Value::Timestamp(micros) => Instant(*micros).to_string(),
        Value::Uuid(bytes) => uuid::Uuid::from_bytes(*bytes).hyphenated().to_string(),
        other => format!("{other:?}"),
    }
}

/// A record of a fixture with this value.
fn record(value: &str) -> String {
    serde_json::json!({"headers": {}, "value": value}).to_string()
}

/// One line an event.
fn told(shape: &SourceShape, lines: &str) -> String {
    let mut reader = Reader::new();
    let mut told = String::new();
    for line in lines.lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("fixtures are JSON lines");
        let run = record["headers"][RUN_HEADER].as_str();
        told.push_str(&line_of(reader.value(shape, record["value"].as_str().map(str::as_bytes), run)));
    }
    told
}

/// What is told of an event, in a line.
fn line_of(event: Result<Event, Refusal>) -> String {
    let mut told = String::new();
    match event {
        Ok(Event::Nothing) => told.push_str("nothing\n"),
        Ok(Event::Change(decoded)) => {
            let change = &decoded.change;
            let position = change.position.map_or("-".to_owned(), |position| decoded.origin.label(position));
            let key = change.key.as_ref().map_or("-", |key| &key.0);
            let position = if decoded.streamed { position } else { format!("{position} (snapshot)") };
            write!(told, "{} @{position} key {key}", change.source_time).expect("a string takes everything");
            if let Some(before) = &change.key_before {
                write!(told, " (was {})", before.0).expect("a string takes everything");
            }
            match &change.operation {
                Operation::Delete { row } => writeln!(told, " delete {}", shown(row)),
                Operation::Upsert { columns, unchanged, row_before } => {
                    let mut rest = String::new();
                    if !unchanged.is_empty() {
                        rest = format!(" keeping {unchanged:?}");
                    }
                    if let Some(row) = row_before {
                        rest += &format!(" replacing {}", shown(row));
                    }
                    writeln!(told, " upsert {}{rest}", shown(columns))
                }
            }
            .expect("a string takes everything");
        }
        Err(refusal) => writeln!(told, "refused {}: {}", refusal.reason, refusal.detail).expect("takes all"),
    }
    told
}

fn check(shape: &SourceShape, lines: &str, expected: &str) {
    let told = told(shape, lines);
    let told: Vec<&str> = told.lines().map(str::trim).collect();
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(told, expected, "\n{}", told.join("\n"));
}

const ORDERS: &str = r#"
2026-11-23T17:30:30.712860Z @0/15346C8 key 1 upsert 1, 'PENDING', 12.30, 'first', 2026-11-23T17:30:30.711562Z
2026-11-23T17:30:30.712860Z @0/15347D8 key 2 upsert 2, 'PENDING', 99.99, Null, 2026-11-23T17:30:30.711562Z
2026-11-23T17:30:30.814898Z @0/15348B0 key 1 upsert 1, 'PAID', 12.30, 'first', 2026-11-23T17:30:30.813568Z
2026-11-23T17:30:30.814898Z @0/1534928 key 2 delete 2
nothing"#;

const PAYMENTS: &str = r#"
2026-11-23T17:30:30.000000Z @0-223344-9 key 1 upsert 1, 1, 'CAPTURED', 12.30, 2026-11-23T17:30:30.726933Z
2026-11-23T17:30:30.000000Z @0-223344-9 key 2 upsert 2, 2, 'PENDING', 99.99, Null
2026-11-23T17:30:30.000000Z @0-223344-11 key 1 upsert 1, 1, 'REFUNDED', 12.30, 2026-11-23T17:30:30.726933Z
2026-11-23T17:30:30.000000Z @0-223344-11 key 2 delete 2
nothing"#;

#[test]
fn captured_orders_without_schema() {
    check(&orders(), include_str!("../../../tests/fixtures/debezium/orders.json.jsonl"), ORDERS);
}

#[test]
fn captured_payments_without_schema() {
    check(&payments(), include_str!("../../../tests/fixtures/debezium/payments.json.jsonl"), PAYMENTS);
}

/// The same rows with a schema: values are equal, only the positions differ.
#[test]
fn captured_events_with_schema_hold_the_same_rows() {
    let rows = |told: &str| -> Vec<String> {
        told.lines().map(|line| line.split_once(" key ").map_or(line, |(_, rest)| rest).to_owned()).collect()
    };
    let with = told(&orders(), include_str!("../../../tests/fixtures/debezium/orders.json-schema.jsonl"));
    let without = told(&orders(), include_str!("../../../tests/fixtures/debezium/orders.json.jsonl"));
    assert_eq!(rows(&with).len(), rows(&without).len(), "{with}");
    assert!(with.contains("upsert 1, 'PENDING', 12.30, 'first', "), "{with}");
    let with = told(&payments(), include_str!("../../../tests/fixtures/debezium/payments.json-schema.jsonl"));
    assert!(with.contains("'REFUNDED', 12.30, 2026-"), "{with}");
    assert!(!with.contains("refused"), "{with}");
}

#[test]
fn heartbeat_rows_prove_progress_only_when_streamed() {
    let columns = [("id", Type::Int), ("at", Type::TimestampTz)];
    let shape = shape(ConnectorKind::Postgresql, &columns, 1);
    let mut reader = Reader::new();
    let mut seen = Vec::new();
    for line in include_str!("../../../tests/fixtures/debezium/heartbeats.jsonl").lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("fixtures are JSON lines");
        if record["topic"] == "shop.shop.heartbeat" {
            let value = record["value"].as_str().map(str::as_bytes);
            let heartbeat = reader.heartbeat(&shape, value).expect("a heartbeat row decodes");
            seen.push(heartbeat.map(|heartbeat| (heartbeat.time.to_string(), heartbeat.proof.position.transaction)));
        }
    }
    assert_eq!(seen, [None, Some(("2026-11-23T17:30:03.054070Z".to_owned(), 22_225_208))]);
}
