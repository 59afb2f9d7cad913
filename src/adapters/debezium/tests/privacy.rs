//! What is masked does not leave in a refusal: neither in its words nor in the bytes that are published with it.

use std::sync::Arc;

use super::super::envelope::NOT_DEBEZIUM;
use super::super::frame::{STRUCT_TEXT, SchemaId};
use super::super::shape::{ConnectorKind, Mask, SourceShape};
use super::super::{Found, Registry, blot};
use super::{Reader, orders, shape};
use crate::domain::value::Type;

const SECRET: &str = "s3cr3t";

fn customers(mask: Mask) -> SourceShape {
    let columns = [
        ("id", Type::Int),
        ("text", Type::Text),
        ("bool", Type::Bool),
        ("int", Type::Int),
        ("decimal", Type::Decimal { scale: Some(2) }),
        ("bytes", Type::Bytes),
        ("timestamp", Type::Timestamp { precision: 6 }),
        ("timestamptz", Type::TimestampTz),
        ("date", Type::Date),
        ("time", Type::Time { precision: 6 }),
        ("uuid", Type::Uuid),
        ("json", Type::Json),
    ];
    let mut shape = shape(ConnectorKind::Postgresql, &columns, 0);
    shape.masks[1..].fill(mask);
    shape
}

fn detail(shape: &SourceShape, value: &str) -> String {
    let refusal = Reader::new().value(shape, Some(value.as_bytes()), None).expect_err("it is refused");
    format!("{}: {}", refusal.reason, refusal.detail)
}

/// Values that no type takes, each with the secret in it.
fn unfit() -> [String; 6] {
    [
        format!("\"{SECRET}\""),
        format!("{{\"{SECRET}\":\"{SECRET}\"}}"),
        format!("[\"{SECRET}\"]"),
        format!("{{\"scale\":\"{SECRET}\",\"value\":\"{SECRET}\"}}"),
        format!("{{\"scale\":2,\"value\":\"{SECRET}\"}}"),
        format!("\"\\\"{SECRET}\""),
    ]
}

#[test]
fn a_masked_columns_value_is_not_said() {
    let mut refused = 0;
    for (index, column) in customers(Mask::Show).columns.iter().enumerate().skip(1) {
        for json in unfit() {
            let event =
                format!(r#"{{"after":{{"id":1,"{}":{json}}},"source":{{"ts_ms":1,"lsn":2}},"op":"c"}}"#, column.name);
            if Reader::new().value(&customers(Mask::Show), Some(event.as_bytes()), None).is_ok() {
                continue;
            }
            refused += 1;
            let shown = detail(&customers(Mask::Show), &event);
            assert!(shown.contains(SECRET), "{shown}");
            for mask in [Mask::Hide, Mask::Hash, Mask::Drop] {
                let told = detail(&customers(mask), &event);
                assert!(!told.contains(SECRET), "{told}");
                let begins =
                    format!("bad_value: column \"{}\" as {}: ", column.name, customers(Mask::Show).columns[index].ty);
                assert!(told.starts_with(&begins), "{told}");
            }
        }
    }
    assert!(refused > 50, "{refused}");
    let event = r#"{"after":{"id":1,"int":"s3cr3t"},"source":{"ts_ms":1,"lsn":2},"op":"c"}"#;
    assert_eq!(
        detail(&customers(Mask::Hide), event),
        "bad_value: column \"int\" as bigint: expected an integer of 64 bits; the column is masked, so what was found is not said"
    );
}

/// One masked column does not silence the others.
#[test]
fn a_shown_columns_value_is_said_beside_masked_ones() {
    let mut shape = customers(Mask::Show);
    shape.masks[1] = Mask::Hide;
    let event = r#"{"after":{"id":"x1","text":"s3cr3t"},"source":{"ts_ms":1,"lsn":2},"op":"c"}"#;
    assert_eq!(
        detail(&shape, event),
        "bad_value: column \"id\" as bigint: expected an integer of 64 bits, found \"x1\""
    );
}

/// Where the JSON is not of the expected shape, the parser's words would quote whatever stands in the wrong place.
#[test]
fn the_parsers_words_quote_nothing_of_a_source_with_masks() {
    let source = r#""source":{"ts_ms":1,"lsn":2}"#;
    let other = "something has another type than expected";
    let cases = [
        (format!("\"{SECRET}\""), format!("not_debezium: {other}")),
        (format!(r#"{{"id":1,"source":["{SECRET}"]}}"#), format!("not_debezium: {other}")),
        (format!(r#"{{"op":{{"{SECRET}":1}}}}"#), format!("not_debezium: {NOT_DEBEZIUM}")),
        (format!(r#"{{"schema":{{}},"payload":"{SECRET}"}}"#), format!("not_debezium: in payload: {other}")),
        (format!(r#"{{"after":"{SECRET}",{source},"op":"c"}}"#), format!("not_debezium: {other}")),
        (
            format!(r#"{{"schema":{{"type":"struct","fields":"{SECRET}"}},"payload":{{{source},"op":"c"}}}}"#),
            format!("bad_schema: in schema: {other}"),
        ),
        (format!(r#"{{"after":{{}},{source},"op":"{SECRET}"}}"#), "unknown_op: op \"?\"".to_owned()),
        (format!(r#"{{"after":{{"text":"{SECRET}"}} "#), "not_json: EOF while parsing an object".to_owned()),
        (format!(r#"{{"text":{SECRET}}}"#), "not_json: expected value".to_owned()),
        (format!(r#"{{"text":"{SECRET}\x"}}"#), "not_json: invalid escape".to_owned()),
        (SECRET.to_owned(), "not_json: expected value".to_owned()),
        (format!("Struct{{text={SECRET}}}"), format!("struct_text: {STRUCT_TEXT}")),
    ];
    for (event, expected) in cases {
        let told = detail(&customers(Mask::Hide), &event);
        assert!(!told.contains(SECRET), "{told}");
        let (words, _place) = told.split_once(" at line 1 column ").unwrap_or((&told, ""));
        assert_eq!(words, expected, "{event}");
    }
    let told = detail(&customers(Mask::Show), &format!("\"{SECRET}\""));
    assert!(told.contains(SECRET), "without masks the words are the parser's: {told}");
}

/// Of Avro, too: here a text stands where a row should.
#[test]
fn avros_decoder_quotes_nothing_of_a_source_with_masks() {
    let schema = r#"{"type":"record","name":"Envelope","fields":[{"name":"op","type":"string"},
        {"name":"source","type":"string"},{"name":"after","type":"string"}]}"#;
    let datum = [&[0, 0, 0, 0, 7, 2, b'c', 2, b's', 12][..], SECRET.as_bytes()].concat();
    assert_eq!(SECRET.len(), 6);
    let told = |mask| match Reader::of(Arc::new(Only(schema))).value(&customers(mask), Some(&datum), None) {
        Err(refusal) => format!("{}: {}", refusal.reason, refusal.detail),
        Ok(event) => panic!("{event:?}"),
    };
    assert_eq!(told(Mask::Hide), "bad_avro: it does not fit its schema");
    assert!(told(Mask::Show).contains(SECRET), "without masks the words are the decoder's: {}", told(Mask::Show));
}

/// A registry with one schema.
struct Only(&'static str);

impl Registry for Only {
    fn find(&self, _: &SchemaId) -> Found {
        Found::Avro(self.0.into())
    }

    fn wait(&self, _: &SchemaId, _: std::time::Duration) -> Option<String> {
        None
    }
}

#[test]
fn masked_columns_are_blotted_out_at_any_depth() {
    let mut shape = orders();
    assert_eq!(blot(&shape, b"{}"), None);
    shape.masks[3] = Mask::Hide;
    let cases = [
        (
            r#"{"payload":{"after":{"order_id":1,"note":"s3cr3t"},"before":{"note":null}}}"#,
            r#"{"payload":{"after":{"note":"***","order_id":1},"before":{"note":null}}}"#,
        ),
        (r#"{"note":"s3cr3t"}"#, r#"{"note":"***"}"#),
        (r#"{"rows":[{"note":{"a":"s3cr3t"}}]}"#, r#"{"rows":[{"note":"***"}]}"#),
        // A key that ExtractField$Key made bare.
        (r#"{"schema":{"type":"string"},"payload":"s3cr3t"}"#, r#"{"payload":"***","schema":{"type":"string"}}"#),
        (r#""s3cr3t""#, "(8 bytes that are no JSON object, withheld: the source has masked columns)"),
        (r#"["s3cr3t"]"#, "(10 bytes that are no JSON object, withheld: the source has masked columns)"),
        ("{s3cr3t", "(7 bytes that are no JSON object, withheld: the source has masked columns)"),
        // The statement, with include.query=true; a column of that name is the table's own.
        (
            r#"{"source":{"query":"INSERT 's3cr3t'"},"after":{"query":"x"}}"#,
            r#"{"after":{"query":"x"},"source":{"query":"***"}}"#,
        ),
        (r#"{"payload":{"source":{"query":"s3cr3t"}}}"#, r#"{"payload":{"source":{"query":"***"}}}"#),
        (r#"{"source":{"query":null}}"#, r#"{"source":{"query":null}}"#),
        (
            r#"{"iodebeziumquery":"s3cr3t","data":{"after":{"note":"s3cr3t"}}}"#,
            r#"{"data":{"after":{"note":"***"}},"iodebeziumquery":"***"}"#,
        ),
        // What Avro has within a CloudEvent, in base64.
        (r#"{"specversion":"1.0","data":"AAAAAAlzM2NyM3Q="}"#, r#"{"data":"***","specversion":"1.0"}"#),
    ];
    for (bytes, expected) in cases {
        let blotted = blot(&shape, bytes.as_bytes()).expect("a column is masked");
        assert_eq!(String::from_utf8(blotted).expect("it is text"), expected);
    }
    shape.connector.kind = ConnectorKind::Mongodb;
    let cases = [
        (
            r#"{"after":"{\"_id\": 1, \"note\": \"s3cr3t\"}","op":"c"}"#,
            r#"{"after":"{\"_id\":1,\"note\":\"***\"}","op":"c"}"#,
        ),
        (r#"{"after":"{\"note\": \"s3cr3t"}"#, r#"{"after":"***"}"#),
    ];
    for (bytes, expected) in cases {
        let blotted = blot(&shape, bytes.as_bytes()).expect("a column is masked");
        assert_eq!(String::from_utf8(blotted).expect("it is text"), expected);
    }
}
