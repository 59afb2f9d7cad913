//! What is counted of records, and what is said of it.

use super::*;
use crate::adapters::debezium::NO_BEFORE;
use crate::adapters::debezium::shape::ConnectorKind;
use crate::app::doctor::finding::Level;
use crate::app::doctor::given::{self, column};
use crate::domain::instant::Instant;

fn table() -> Table {
    let columns = vec![column("order_id", Type::Int, None), column("total", Type::Decimal { scale: Some(2) }, None)];
    let topics = vec!["shop.shop.orders".to_owned()];
    Table { topics, names: Vec::new(), ..given::table("orders", "", columns) }
}

fn shape() -> ConnectorShape {
    given::shape(ConnectorKind::Postgresql)
}

/// Counts values of one partition, all of them understood, each with a key and a run.
fn counted(values: &[&str]) -> Bytes {
    let mut bytes = Bytes::default();
    let mut above = None;
    for value in values {
        take(&mut bytes, Some(b"{\"order_id\":1}"), Some(value.as_bytes()), true, &Ok(Event::Nothing), &mut above);
    }
    bytes
}

fn take(
    bytes: &mut Bytes,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    has_run: bool,
    decoded: &Result<Event, Refusal>,
    above: &mut Option<i64>,
) {
    let run: &[u8] = b"run";
    let headers = |name: &str| (has_run && name == RUN_HEADER).then_some(run);
    let record = Record { key, value, timestamp: Instant(0), headers: &headers };
    bytes.take(&table(), &shape(), record, decoded, None, above);
}

fn event(op: &str, before: &str, ts_us: i64, more: &str) -> String {
    format!(
        r#"{{"before":{before},"after":{{"order_id":1,"total":"1.50"}},"op":"{op}","source":{{"version":"3.6.3.Final","connector":"postgresql","name":"shop","ts_ms":{},"ts_us":{ts_us},"snapshot":"false"{more}}}}}"#,
        ts_us / 1000
    )
}

fn told(bytes: &Bytes) -> String {
    judged(&table(), &shape(), Some(false), bytes)
}

fn judged(table: &Table, shape: &ConnectorShape, has_schemas: Option<bool>, bytes: &Bytes) -> String {
    let found = judge(table, shape, has_schemas, bytes);
    let bad = found.iter().filter(|one| one.level > Level::Note);
    bad.map(|one| format!("{} {}", one.level.name(), one.check)).collect::<Vec<_>>().join("; ")
}

#[test]
fn kept_columns_that_never_come_fail() {
    let whole = event("c", "null", 1, "");
    let part = whole.replace(r#","total":"1.50""#, "");
    assert_eq!(told(&counted(&[&part, &part])), "FAIL columns");
    assert_eq!(told(&counted(&[&part, &whole])), "", "it was added");
    assert_eq!(saw(&counted(&[&part, &whole]), "columns"), "total: not in all of the last 2 rows");
    assert_eq!(saw(&counted(&[&whole]), "columns"), "every kept one is there");
    let gone = event("d", "null", 1, "").replace(r#"{"order_id":1,"total":"1.50"}"#, "null");
    assert_eq!(told(&counted(&[&gone])), "", "a delete has no row after it");
}

fn saw(bytes: &Bytes, check: &str) -> String {
    let found = judge(&table(), &shape(), Some(false), bytes);
    found.into_iter().find(|one| one.check == check).expect("it is checked").saw
}

/// JSON Schema gives no Connect types; `decimal.format=NUMERIC` writes numbers in `precise`, too.
#[test]
fn json_behind_an_id_says_no_more_than_json() {
    let whole = event("c", "null", 1, "");
    let mut bytes = Bytes::default();
    let framed = [b"\0\0\0\0\x07", whole.as_bytes()].concat();
    take(&mut bytes, Some(b"{\"order_id\":1}"), Some(&framed), true, &Ok(Event::Nothing), &mut None);
    assert_eq!(bytes.has_schema(), Some(false));
    assert_eq!(told(&bytes), "");
}

#[test]
fn numbers_are_what_precise_is_written_as_by_a_converter_that_is_told_so() {
    let bytes = counted(&[&event("c", "null", 1, "").replace("\"1.50\"", "1.50")]);
    assert_eq!(told(&bytes), "FAIL decimals", "the configuration says string");
    let precise = ConnectorShape { decimal_mode: Some(DecimalMode::Precise), ..shape() };
    assert_eq!(judged(&table(), &precise, Some(false), &bytes), "");
}

/// Events that were captured from Debezium itself.
#[test]
fn captured_events_are_counted() {
    let mut bytes = Bytes::default();
    let mut above = None;
    for line in include_str!("../../../../tests/fixtures/debezium/orders.json.jsonl").lines() {
        let record: Value = serde_json::from_str(line).expect("fixtures are JSON lines");
        let part = |name: &str| record[name].as_str().map(str::as_bytes);
        take(&mut bytes, part("key"), part("value"), true, &Ok(Event::Nothing), &mut above);
    }
    assert_eq!(told(&bytes), "");
    assert_eq!(saw(&bytes, "shape"), "4 JSON without schema, 1 tombstones");
    assert_eq!(saw(&bytes, "content"), "operations c 2, d 1, u 1; 4 with transaction metadata");
    assert_eq!(saw(&bytes, "written by"), "postgresql 3.6.3.Final");
    assert_eq!(saw(&bytes, "before image"), "of 1 updates 0 have a whole one");
    assert_eq!(saw(&bytes, "source time"), "in microseconds; 0 of 5 out of order");
    assert_eq!(bytes.decimals, [3, 0, 0]);
}

#[test]
fn captured_events_with_a_schema_are_told_from_those_without() {
    let of = |text: &'static str| {
        let values = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["value"].as_str().map(str::to_owned));
        let values: Vec<String> = values.flatten().collect();
        counted(&values.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let with = of(include_str!("../../../../tests/fixtures/debezium/payments.json-schema.jsonl"));
    assert_eq!(with.has_schema(), Some(true));
    let without = of(include_str!("../../../../tests/fixtures/debezium/payments.json.jsonl"));
    assert_eq!(without.has_schema(), Some(false));
    assert_eq!(saw(&without, "source time"), format!("in whole seconds; 0 of {} out of order", without.records));
    assert_eq!(without.before[1], 0, "MariaDB's images are whole: {:?}", without.before);
}

#[test]
fn a_topic_without_records_is_noted() {
    assert_eq!(told(&Bytes::default()), "");
    assert_eq!(saw(&Bytes::default(), "records"), "none is there yet");
    assert_eq!(Bytes::default().has_schema(), None);
}

#[test]
fn what_is_not_understood_fails() {
    let mut bytes = counted(&[&event("c", "null", 1_000_001, "")]);
    take(&mut bytes, Some(b"1"), Some(b"Struct{id=1}"), true, &Err(Refusal::new("struct_text", "a text")), &mut None);
    assert_eq!(told(&bytes), "WARN shape; FAIL understood");
    assert_eq!(saw(&bytes, "understood"), "1 of 2 are not: struct_text 1");
    assert!(!NO_BEFORE.is_empty());
}

#[test]
fn shapes_are_told_apart() {
    let shape_of = |value: &str| counted(&[value]).shapes.into_keys().next().expect("a shape");
    assert_eq!(shape_of(r#"{"order_id":1,"__op":"c"}"#), "flattened JSON without schema");
    assert_eq!(shape_of(r#"{"schema":{},"payload":{"order_id":1}}"#), "flattened JSON with schema");
    assert_eq!(shape_of(r#"{"specversion":"1.0","data":{}}"#), "CloudEvents");
    assert_eq!(
        shape_of(&format!(r#"{{"schema":{{}},"payload":{}}}"#, event("c", "null", 0, ""))),
        "JSON with schema"
    );
    assert_eq!(
        shape_of(&format!(r#"{{"schema":null,"payload":{}}}"#, event("c", "null", 0, ""))),
        "JSON without schema"
    );
    assert_eq!(shape_of("\0\0\0\0\u{5}avro"), "Avro with a schema id");
    assert_eq!(shape_of("garbage"), "neither JSON nor Avro");
}

#[test]
fn images_of_before_are_held_against_what_is_configured() {
    let whole = counted(&[&event("u", r#"{"order_id":1,"total":"1.00"}"#, 1, "")]);
    assert_eq!((told(&whole), whole.before), (String::new(), [1, 0]));
    let found = judge(&table(), &shape(), Some(false), &whole);
    assert!(found.iter().any(|one| one.check == "before image" && one.level == Level::Note), "it could say full");
    let part = counted(&[&event("u", r#"{"order_id":1}"#, 1, ""), &event("u", "null", 2, "")]);
    assert_eq!((told(&part), part.before), (String::new(), [0, 2]));
    let lacking = Bytes { incomplete: 1, ..part };
    assert_eq!(told(&lacking), "FAIL before image");
}

#[test]
fn keys_and_runs_that_are_missing_are_doubtful() {
    let value = event("c", "null", 1, "");
    for (key, has_run, expected) in [
        (None, true, "WARN key"),
        (Some(&b"null"[..]), true, "WARN key"),
        (Some(&b"1"[..]), false, "WARN run header"),
        (Some(&b"1"[..]), true, ""),
    ] {
        let mut bytes = Bytes::default();
        take(&mut bytes, key, Some(value.as_bytes()), has_run, &Ok(Event::Nothing), &mut None);
        assert_eq!(told(&bytes), expected);
    }
}

#[test]
fn decimals_are_held_against_what_is_configured() {
    let of = |total: &str| counted(&[&event("c", "null", 1, "").replace(r#""1.50""#, total)]);
    assert_eq!(told(&of(r#""-1e5""#)), "");
    assert_eq!(told(&of("1.5")), "FAIL decimals");
    assert_eq!(told(&of(r#""BNI=""#)), "FAIL decimals");
    assert_eq!(told(&of("null")), "", "nothing is told by NULL");
    assert_eq!(judged(&table(), &shape(), Some(true), &of("1.5")), "", "the schema tells");
    let double = ConnectorShape { decimal_mode: Some(DecimalMode::Double), ..shape() };
    assert_eq!(judged(&table(), &double, Some(false), &of("1.5")), "");
    let mixed = counted(&[&event("c", "null", 1, ""), &event("c", "null", 1, "").replace(r#""1.50""#, "1.5")]);
    assert_eq!(told(&mixed), "WARN decimals");
}

#[test]
fn two_connectors_on_one_topic_fail() {
    let one = event("c", "null", 1, "");
    assert_eq!(told(&counted(&[&one, &one.replace(r#""name":"shop""#, r#""name":"other""#)])), "FAIL one connector");
    assert_eq!(told(&counted(&[&one, &one])), "");
}

#[test]
fn markers_placeholders_and_times_are_counted() {
    let snapshot = event("r", "null", 5_000_000, "").replace(r#""snapshot":"false""#, r#""snapshot":"incremental""#);
    let unsent = event("u", "null", 4_000_000, "").replace("1.50", "__debezium_unavailable_value");
    let bytes = counted(&[&snapshot, &unsent, &event("c", "null", 4_001_000, "")]);
    assert_eq!(bytes.placeholders, 1);
    assert_eq!(bytes.out_of_order, 1);
    assert_eq!(bytes.whole_of, [0, 1, 1], "a snapshot's time is none of a change");
    let expected =
        "operations c 1, r 1, u 1; snapshot markers incremental 1; 1 with the placeholder of an unsent value";
    assert_eq!(saw(&bytes, "content"), expected);
}
