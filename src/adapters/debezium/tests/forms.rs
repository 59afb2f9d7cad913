//! The same real events in every form that a converter gives them: what they say must be the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::envelope::Field;
use super::super::frame::SchemaId;
use super::super::shape::{ConnectorKind, DecimalMode, Flattened, SourceShape};
use super::super::{Found, Refusal, Registry, Undecoded};
use super::{Reader, line_of, orders, payments, shape, with_connector};
use crate::domain::value::Type;

const FORMS: &str = include_str!("../../../../tests/fixtures/debezium/forms.jsonl");
const SCHEMAS: &str = include_str!("../../../../tests/fixtures/debezium/forms.schemas.json");

/// A registry that knows schemas by `capture-number`, of one capture.
struct Known {
    schemas: BTreeMap<String, serde_json::Value>,
    capture: &'static str,
}

impl Known {
    fn new(schemas: &str, capture: &'static str) -> Arc<Known> {
        Arc::new(Known { schemas: serde_json::from_str(schemas).expect("schemas are JSON"), capture })
    }
}

/// The id of a JSON Schema.
const OF_JSON: u32 = 7777;

impl Registry for Known {
    fn find(&self, id: &SchemaId) -> Found {
        let SchemaId::Number(id) = id else { panic!("{id:?}") };
        if *id == u64::from(OF_JSON) {
            return Found::Json;
        }
        match self.schemas.get(&format!("{}{id}", self.capture)) {
            Some(schema) => Found::Avro(schema.to_string().into()),
            None => Found::Useless(Refusal::new("unknown_schema", id.to_string())),
        }
    }

    fn wait(&self, _: &SchemaId, _: std::time::Duration) -> Option<String> {
        None
    }
}

fn every_type() -> SourceShape {
    let columns = [
        ("id", Type::Int),
        ("customer_id", Type::Int),
        ("amount", Type::Decimal { scale: Some(2) }),
        ("fx", Type::Decimal { scale: None }),
        ("status", Type::Text),
        ("meta", Type::Json),
        ("note", Type::Text),
        ("created_at", Type::Timestamp { precision: 6 }),
        ("updated_at", Type::TimestampTz),
        ("d", Type::Date),
        ("t", Type::Time { precision: 6 }),
        ("uid", Type::Uuid),
        ("m", Type::Decimal { scale: Some(2) }),
        ("b", Type::Bytes),
        ("flag", Type::Bool),
        ("ips", Type::Text),
    ];
    with_connector(shape(ConnectorKind::Postgresql, &columns, 0), |connector| {
        connector.decimal_mode = Some(DecimalMode::Precise);
    })
}

fn unhex(hex: &str) -> Vec<u8> {
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal");
    hex.as_bytes().chunks(2).map(octet).collect()
}

/// What a form of each event of a topic says, a line each.
fn told(shape: &SourceShape, [capture, topic]: [&'static str; 2], form: &str) -> Vec<String> {
    let prefix: &'static str = match capture {
        "pg1" => "pg1-",
        "pg3" => "pg3-",
        _ => "my1-",
    };
    let mut reader = Reader::of(Known::new(SCHEMAS, prefix));
    let mut lines = Vec::new();
    for line in FORMS.lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("fixtures are JSON lines");
        let Some(text) = record[form].as_str().filter(|_| record["capture"] == capture && record["topic"] == topic)
        else {
            continue;
        };
        if text == "null" {
            continue;
        }
        let bytes = if form.starts_with("avro") { unhex(text) } else { text.as_bytes().to_vec() };
        lines.push(line_of(reader.value(shape, Some(&bytes), None)));
    }
    lines
}

#[test]
fn real_events_say_the_same_in_every_form() {
    let shape = every_type();
    let topic = ["pg1", "orders.shop.orders"];
    let with_schema = told(&shape, topic, "value_schema");
    assert_eq!(with_schema.len(), 4, "{with_schema:?}");
    assert!(with_schema.iter().all(|line| !line.contains("refused")), "{with_schema:#?}");
    for form in ["value", "avro", "cloud", "cloud_schema"] {
        assert_eq!(told(&shape, topic, form), with_schema, "{form}");
    }
    assert_eq!(
        with_schema[0].trim_end(),
        "2026-11-23T13:43:50.864884Z @- (snapshot) key 1 upsert 1, 7, 12.34, 1.5, 'NEW', \
         Json(\"{\\\"k\\\":1}\"), 'n', 2026-11-23T13:43:49.216347Z, 2026-11-23T13:43:49.216347Z, Date(19782), \
         Time(45296123456), 2b1c8c58-7a8b-4f6a-8c7b-0f3d6a1b2c3d, 9.99, Bytes([222, 173, 190, 239]), Bool(true), \
         '10.0.0.1'"
    );
}

/// Base64 in JSON, as `data.serializer.type=avro` has it; and JSON behind the id of a JSON Schema, which says no types.
#[test]
fn real_events_say_the_same_in_a_cloud_event_as_avro_and_behind_an_id_as_json() {
    use base64::Engine;
    let shape = every_type();
    let mut reader = Reader::of(Known::new(SCHEMAS, "pg1-"));
    let mut count = 0;
    for line in FORMS.lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("fixtures are JSON lines");
        let form = |name: &str| record[name].as_str().filter(|text| *text != "null");
        let (Some(plain), Some(avro), Some(cloud), "orders.shop.orders", "pg1") = (
            form("value"),
            form("avro"),
            form("cloud"),
            record["topic"].as_str().expect("a topic"),
            record["capture"].as_str().expect("a capture"),
        ) else {
            continue;
        };
        let wanted = line_of(reader.value(&shape, Some(plain.as_bytes()), None));
        let mut event: serde_json::Value = serde_json::from_str(cloud).expect("it is JSON");
        event["data"] = base64::engine::general_purpose::STANDARD.encode(unhex(avro)).into();
        assert_eq!(line_of(reader.value(&shape, Some(event.to_string().as_bytes()), None)), wanted);
        let framed = [&[0], &OF_JSON.to_be_bytes()[..], plain.as_bytes()].concat();
        assert_eq!(line_of(reader.value(&shape, Some(&framed), None)), wanted);
        count += 1;
    }
    assert_eq!(count, 4);
}

#[test]
fn real_events_of_mariadb_say_the_same_in_every_form() {
    let columns = [
        ("id", Type::Int),
        ("order_id", Type::Int),
        ("amount", Type::Decimal { scale: Some(2) }),
        ("currency", Type::Text),
        ("status", Type::Text),
    ];
    let shape = with_connector(shape(ConnectorKind::Mariadb, &columns, 1), |connector| {
        connector.decimal_mode = Some(DecimalMode::Precise);
    });
    let topic = ["my1", "payments.pay.payments"];
    let with_schema = told(&shape, topic, "value_schema");
    assert_eq!(with_schema.len(), 3, "{with_schema:?}");
    assert!(with_schema.iter().all(|line| !line.contains("refused")), "{with_schema:#?}");
    assert_eq!(told(&shape, topic, "avro"), with_schema);
    // The scale changed in between: a schema tells it, a declaration made before does not.
    assert!(with_schema[0].contains(" 12.34, ") && with_schema[1].contains(" 12.34, "), "{with_schema:#?}");
}

fn flattened(tombstones_delete: bool) -> Flattened {
    let fields = [
        ("__op", Field::Op),
        ("__deleted", Field::Deleted),
        ("__source_lsn", Field::Lsn),
        ("__source_ts_ms", Field::TsMs),
        ("__source_sequence", Field::Sequence),
        ("__source_snapshot", Field::Snapshot),
    ];
    let fields = fields.map(|(name, field)| (name.to_owned(), field)).into();
    Flattened { fields, headers: BTreeMap::new(), tombstones_delete }
}

#[test]
fn real_flattened_events_say_the_same_in_every_form() {
    let mut shape = with_connector(every_type(), |connector| {
        connector.flattened = Some(flattened(false));
        connector.decimal_mode = Some(DecimalMode::Double);
    });
    // A double's scale must be declared.
    shape.columns[3].ty = Type::Decimal { scale: Some(2) };
    let topic = ["pg3", "orders.shop.orders"];
    let with_schema = told(&shape, topic, "value_schema");
    assert_eq!(with_schema.len(), 4, "{with_schema:?}");
    assert!(with_schema.iter().all(|line| !line.contains("refused")), "{with_schema:#?}");
    for form in ["value", "avro"] {
        assert_eq!(told(&shape, topic, form), with_schema, "{form}");
    }
    assert!(
        with_schema[0].starts_with("2026-11-23T13:42:42.990000Z @- (snapshot) key 1 upsert 1, 7, 12.34, 1.50, 'NEW'"),
        "{}",
        with_schema[0]
    );
}

#[test]
fn what_is_left_over_does_not_fit_its_schema() {
    let shape = every_type();
    let record = FORMS.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON lines"));
    let record = record.into_iter().find(|record| record["topic"] == "orders.shop.orders").expect("an order");
    let mut bytes = unhex(record["avro"].as_str().expect("it is there in Avro"));
    let mut reader = Reader::of(Known::new(SCHEMAS, "pg1-"));
    let mut told = |bytes: &[u8]| line_of(reader.value(&shape, Some(bytes), None));
    assert!(told(&bytes).contains("upsert 1, 7, 12.34"));
    for length in 5..bytes.len() {
        assert!(told(&bytes[..length]).starts_with("refused bad_avro: it does not fit its schema"), "{length}");
    }
    bytes.push(0);
    assert_eq!(told(&bytes), "refused bad_avro: it does not fit its schema: bytes are left over\n");
}

#[test]
fn records_that_are_written_otherwise_than_before_are_noticed() {
    let mut reader = Reader::of(Known::new(SCHEMAS, "pg1-"));
    let record = FORMS.lines().next().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let record = record.expect("JSON lines");
    let mut noticed = Vec::new();
    for form in ["value", "value", "value_schema", "avro", "cloud", "cloud_schema", "avro", "value"] {
        let text = record[form].as_str().expect("every form is there");
        let bytes = if form == "avro" { unhex(text) } else { text.as_bytes().to_vec() };
        reader.value(&every_type(), Some(&bytes), None).expect("it decodes");
        noticed.extend(reader.decoder.went_over().map(|[_, now]| now.to_string()));
    }
    let avro = "Avro with its schema's id in front";
    assert_eq!(noticed, ["JSON with a schema", avro, "CloudEvents", avro, "JSON without a schema"]);
}

/// Captured through a real registry, with a key schema each.
#[test]
fn events_from_a_real_registry_hold_the_same_rows_as_json() {
    let schemas = include_str!("../../../../tests/fixtures/debezium/avro-schemas.json");
    let rows = |shape: &SourceShape, lines: &str| -> Vec<String> {
        let mut reader = Reader::of(Known::new(schemas, ""));
        let event = |line: &str| {
            let record: serde_json::Value = serde_json::from_str(line).expect("fixtures are JSON lines");
            let value = record["value_hex"].as_str().map(unhex);
            let told = line_of(reader.value(shape, value.as_deref(), None));
            told.split_once(" key ").map_or(told.clone(), |(_, rest)| rest.to_owned())
        };
        lines.lines().map(event).collect()
    };
    let avro = rows(&orders(), include_str!("../../../../tests/fixtures/debezium/orders.avro-hex.jsonl"));
    let mut sorted: Vec<&str> = avro.iter().map(|line| &line[..line.len().min(40)]).collect();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "3 upsert 3, 'PAID', 12.30, 'first', 2026",
            "3 upsert 3, 'PENDING', 12.30, 'first', 2",
            "4 delete 4\n",
            "4 upsert 4, 'PENDING', 99.99, Null, 2026",
            "nothing\n"
        ]
    );
    let avro = rows(&payments(), include_str!("../../../../tests/fixtures/debezium/payments.avro-hex.jsonl"));
    assert_eq!(avro.iter().filter(|line| line.contains("refused")).count(), 0, "{avro:#?}");
}

#[test]
fn a_flattened_delete_is_told_by_its_row_or_by_its_tombstone() {
    let shape = |tombstones| {
        let columns = [("id", Type::Int), ("order_id", Type::Int)];
        with_connector(shape(ConnectorKind::Postgresql, &columns, 1), |connector| {
            connector.flattened = Some(flattened(tombstones));
        })
    };
    let told = |shape: &SourceShape, key: Option<&str>, value: Option<&str>, headers: &[(&str, &[u8])]| {
        let bytes = [key, value].map(|text| text.map(str::as_bytes));
        match Reader::new().record(shape, bytes, headers) {
            Ok(event) => line_of(Ok(event)),
            Err(Undecoded::Refused(refusal)) => line_of(Err(refusal)),
            Err(Undecoded::Waits(id)) => panic!("{id:?}"),
        }
    };
    let meta =
        r#""__source_lsn":26,"__source_ts_ms":1000,"__source_sequence":"[\"20\",\"26\"]","__source_snapshot":null"#;
    let row = |rest: &str| format!(r#"{{"id":5,"order_id":7,{rest}{meta}}}"#);
    let rewritten = row(r#""__deleted":"true","__op":"d","#);
    assert_eq!(
        told(&shape(false), None, Some(&rewritten), &[]),
        "1970-01-01T00:00:01.000000Z @0/1A key - delete 5\n"
    );
    assert_eq!(told(&shape(false), Some(r#"{"id":5}"#), None, &[]), "nothing\n");
    let gone = "2026-11-18T11:06:40.000000Z @- (snapshot) key - delete 5\n";
    for key in [r#"{"id":5}"#, "5", r#"{"schema":{"type":"struct","fields":[]},"payload":{"id":5}}"#] {
        assert_eq!(told(&shape(true), Some(key), None, &[]), gone, "{key}");
    }
    for value in ["null", r#"{"schema":{"type":"struct","fields":[]},"payload":null}"#] {
        assert_eq!(told(&shape(true), Some("5"), Some(value), &[]), gone, "its schema is left: {value}");
        assert_eq!(told(&shape(false), Some("5"), Some(value), &[]), "nothing\n");
    }
    assert!(told(&shape(true), None, None, &[]).starts_with("refused no_primary_key"));
    assert!(told(&shape(true), Some(r#"{"other":5}"#), None, &[]).starts_with("refused no_primary_key"));
    let upsert = "1970-01-01T00:00:01.000000Z @0/1A key 7 upsert 5, 7\n";
    assert_eq!(told(&shape(true), None, Some(&row("")), &[]), upsert, "without op it is what is there");
    let with_header = with_connector(shape(true), |connector| {
        let flattened = connector.flattened.as_mut().expect("it is flattened");
        flattened.headers.insert("__op".to_owned(), Field::Op);
    });
    let told_by_header = told(&with_header, None, Some(&row("")), &[("__op", b"r")]);
    assert_eq!(told_by_header, "1970-01-01T00:00:01.000000Z @- (snapshot) key 7 upsert 5, 7\n");
    let no_time = row("").replace("__source_ts_ms", "ts");
    assert!(told(&shape(true), None, Some(&no_time), &[]).starts_with("refused no_source_time"));
    let no_position = row("").replace("__source_lsn", "lsn").replace("__source_sequence", "sequence");
    assert!(
        told(&shape(true), None, Some(&no_position), &[]).starts_with("refused no_position: the connector's add.f")
    );
    // Each of them alone would let a row be dropped as sent again, or a snapshot's be taken for a commit.
    for field in ["lsn", "sequence", "snapshot"] {
        let lacking = row("").replace(&format!("__source_{field}"), "other");
        let told = told(&shape(true), None, Some(&lacking), &[]);
        assert!(
            told.starts_with(&format!("refused no_position: the connector's add.fields lack source.{field},")),
            "{told}"
        );
    }
}

/// How long an event of 24 columns with both images takes to decode in each form, where five columns are kept.
///
/// cargo test --release --lib -- --ignored --nocapture decode_speed
#[test]
#[ignore = "a measurement"]
fn decode_speed() {
    let mut shape = every_type();
    shape.columns.truncate(5);
    shape.masks.truncate(5);
    shape.details.truncate(5);
    let mut all = Vec::new();
    for form in ["value", "value_schema", "avro", "cloud", "cloud_schema"] {
        let lines = FORMS.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON lines"));
        let wanted = |record: &serde_json::Value| {
            record["key"] == "{\"id\":1}" && record["value"].to_string().contains("\\\"op\\\":\\\"u\\\"")
        };
        let text =
            lines.filter(wanted).find_map(|record| Some(record[form].as_str()?.to_owned())).expect("an update");
        let bytes = if form == "avro" { unhex(&text) } else { text.into_bytes() };
        let mut reader = Reader::of(Known::new(SCHEMAS, "pg1-"));
        let mut rounds: Vec<f64> = (0..7)
            .map(|_| {
                let began = std::time::Instant::now();
                for _ in 0..10_000 {
                    std::hint::black_box(reader.value(&shape, Some(&bytes), None)).expect("it decodes");
                }
                began.elapsed().as_secs_f64() * 100.0
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        all.push((form, bytes.len(), rounds[3]));
    }
    for (form, bytes, micros) in &all {
        println!("{form:12} {bytes:6} bytes {micros:6.2} µs, {:.2} of plain JSON", micros / all[0].2);
    }
}
