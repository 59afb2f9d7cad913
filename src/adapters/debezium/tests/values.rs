//! What each type's JSON decodes to: with and without a schema, of each connector, in each mode that it can be in.

use super::super::Event;
use super::super::shape::{ConnectorKind, DecimalMode, Detail, SourceShape};
use super::{Reader, one, orders, shape, with_connector};
use crate::domain::change::Operation;
use crate::domain::value::{Type, Value};

const POSTGRESQL: ConnectorKind = ConnectorKind::Postgresql;
const MYSQL: ConnectorKind = ConnectorKind::Mysql;
const MARIADB: ConnectorKind = ConnectorKind::Mariadb;

fn of(connector: ConnectorKind, ty: Type) -> SourceShape {
    shape(connector, &[("id", Type::Int), ("v", ty)], 0)
}

/// Decodes each line's JSON as column `v`. A line is: the schema of its field or `-`, JSON or nothing where the event
/// has no such column, what comes of it.
#[track_caller]
fn check(shape: &SourceShape, lines: &str) {
    let mut got = Vec::new();
    let mut expected = Vec::new();
    for line in lines.trim().lines() {
        let mut parts = line.split(" | ").map(str::trim);
        let mut part = || parts.next().expect("a line has three parts");
        let (schema, json, wanted) = (part(), part(), part());
        got.push(format!("{schema} | {json} | {}", decoded(shape, schema, json)));
        expected.push(format!("{schema} | {json} | {wanted}"));
    }
    assert_eq!(got, expected, "\n{}", got.join("\n"));
}

fn decoded(shape: &SourceShape, schema: &str, json: &str) -> String {
    let column = if json.is_empty() { String::new() } else { format!(r#","v":{json}"#) };
    let source = r#"{"ts_ms":1000,"lsn":7,"gtid":"0-1-7"}"#;
    let mut event = format!(r#"{{"before":null,"after":{{"id":1{column}}},"source":{source},"op":"c"}}"#);
    if schema != "-" {
        event = format!(r#"{{"schema":{},"payload":{event}}}"#, schema_of(schema));
    }
    match Reader::new().value(shape, Some(event.as_bytes()), None) {
        Ok(Event::Change(decoded)) => match &decoded.change.operation {
            Operation::Upsert { unchanged, .. } if unchanged.contains(&1) => "unchanged".to_owned(),
            Operation::Upsert { columns, .. } => told(&columns[1]),
            Operation::Delete { .. } => "a delete".to_owned(),
        },
        Ok(Event::Nothing) => "nothing".to_owned(),
        Err(refusal) => format!("{} {}", refusal.reason, refusal.detail),
    }
}

fn told(value: &Value) -> String {
    match value {
        Value::Date(i32::MAX) => "infinity".to_owned(),
        Value::Date(i32::MIN) => "-infinity".to_owned(),
        Value::Date(_) | Value::Time(_) | Value::Uuid(_) | Value::Bytes(_) | Value::Json(_) | Value::Bool(_) => {
            crate::domain::sql::to_text(value)
        }
        other => one(other),
    }
}

/// An envelope's schema around the field's: a type, a logical name, `name=value` parameters.
fn schema_of(field: &str) -> String {
    let mut words = field.split(' ');
    let mut node = serde_json::json!({"type": words.next(), "optional": true, "field": "v"});
    for word in words {
        match word.split_once('=') {
            Some((name, value)) => node["parameters"] = serde_json::json!({ name: value }),
            None => node["name"] = word.into(),
        }
    }
    let id = serde_json::json!({"type": "int64", "optional": false, "field": "id"});
    let row = |name: &str| serde_json::json!({"type": "struct", "field": name, "fields": [id, node]});
    serde_json::json!({"type": "struct", "fields": [row("before"), row("after")]}).to_string()
}

/// MySQL's and MariaDB's connectors refuse `adaptive`: their times are microseconds whatever the precision.
#[test]
fn a_time_without_schema_is_in_the_unit_of_its_connectors_default_mode() {
    for precision in 0..=6 {
        for connector in [MYSQL, MARIADB] {
            check(&of(connector, Type::Time { precision }), "- | 45296500000 | 12:34:56.5");
        }
    }
    for precision in 0..=3 {
        check(&of(POSTGRESQL, Type::Time { precision }), "- | 45296500 | 12:34:56.5");
    }
    for precision in 4..=6 {
        check(&of(POSTGRESQL, Type::Time { precision }), "- | 45296500000 | 12:34:56.5");
    }
}

#[test]
fn a_time_with_schema_is_in_the_unit_of_its_name() {
    let lines = r#"
        int32 io.debezium.time.Time | 45296500 | 12:34:56.5
        int32 org.apache.kafka.connect.data.Time | 45296500 | 12:34:56.5
        int64 io.debezium.time.MicroTime | 45296500000 | 12:34:56.5
        int64 io.debezium.time.NanoTime | 45296500000000 | 12:34:56.5
        string io.debezium.time.IsoTime | "12:34:56.5Z" | 12:34:56.5
        - | "12:34:56.5Z" | 12:34:56.5
        - | null | Null
        -  |  | Unknown
        string | "noon" | bad_value column "v" as time(PRECISION): expected an ISO 8601 time, found "noon"
        - | true | bad_value column "v" as time(PRECISION): expected a time, found true
        int64 | 45296500000 | bad_value column "v" as time(PRECISION): a number, of which the event's schema does not say that it is a time
        int64 io.debezium.time.Timestamp | 1000 | bad_value column "v" as time(PRECISION): a number, of which the event's schema does not say that it is a time"#;
    for connector in [POSTGRESQL, MYSQL, MARIADB] {
        for precision in [0, 3, 6] {
            let lines = lines.replace("PRECISION", &precision.to_string());
            check(&of(connector, Type::Time { precision }), &lines);
        }
    }
}

#[test]
fn a_time_beyond_what_its_database_holds_is_refused() {
    check(
        &of(POSTGRESQL, Type::Time { precision: 3 }),
        "- | 86400000 | 24:00:00
         int64 io.debezium.time.MicroTime | -1 | bad_value column \"v\" as time(3): a time that the database cannot hold, found -1
         - | 45296500000 | bad_value column \"v\" as time(3): without a schema this number is no likely value; does the connector keep the default time.precision.mode?, found 45296500000",
    );
    check(
        &of(MYSQL, Type::Time { precision: 0 }),
        "- | -3020399000000 | -838:59:59
         - | 3020400000000 | bad_value column \"v\" as time(0): without a schema this number is no likely value; does the connector keep the default time.precision.mode?, found 3020400000000",
    );
}

#[test]
fn a_timestamp_is_in_the_unit_of_its_schema_or_of_its_precision() {
    for connector in [POSTGRESQL, MYSQL, MARIADB] {
        for precision in 0..=3 {
            check(&of(connector, Type::Timestamp { precision }), "- | 1709210096123 | 2024-02-29T12:34:56.123000Z");
        }
        for precision in 4..=6 {
            let line = "- | 1709210096123456 | 2024-02-29T12:34:56.123456Z";
            check(&of(connector, Type::Timestamp { precision }), line);
        }
        for precision in [0, 3, 6] {
            let lines = r#"
                int64 io.debezium.time.Timestamp | 1709210096123 | 2024-02-29T12:34:56.123000Z
                int64 org.apache.kafka.connect.data.Timestamp | 1709210096123 | 2024-02-29T12:34:56.123000Z
                int64 io.debezium.time.MicroTimestamp | 1709210096123456 | 2024-02-29T12:34:56.123456Z
                int64 io.debezium.time.NanoTimestamp | 1709210096123456000 | 2024-02-29T12:34:56.123456Z
                int64 io.debezium.time.NanoTimestamp | -1000 | 1969-12-31T23:59:59.999999Z
                string io.debezium.time.IsoTimestamp | "2024-02-29T12:34:56.123456Z" | 2024-02-29T12:34:56.123456Z
                - | "2024-02-29T12:34:56.123456Z" | 2024-02-29T12:34:56.123456Z
                - | "2024-02-29T12:34:56" | 2024-02-29T12:34:56.000000Z
                - | "2024-02-29" | bad_value column "v" as timestamp(PRECISION): expected an ISO 8601 moment, found "2024-02-29"
                - | 0 | 1970-01-01T00:00:00.000000Z
                - | null | Null
                - |  | Unknown"#;
            check(&of(connector, Type::Timestamp { precision }), &lines.replace("PRECISION", &precision.to_string()));
        }
    }
}

#[test]
fn a_timestamp_that_seems_to_be_of_another_mode_is_refused() {
    check(
        &of(POSTGRESQL, Type::Timestamp { precision: 3 }),
        "- | 253402300799999 | 253402300799999000us
         - | 1709210096123456 | bad_value column \"v\" as timestamp(3): without a schema this number is no likely value; does the connector keep the default time.precision.mode?, found 1709210096123456
         - | 1709210096123456000 | bad_value column \"v\" as timestamp(3): a moment beyond the calendar, found 1709210096123456000
         int64 io.debezium.time.MicroTimestamp | 253402300800000000 | 253402300800000000us
         int64 | 1709210096123 | bad_value column \"v\" as timestamp(3): a number, of which the event's schema does not say that it is a moment
         int32 io.debezium.time.Date | 19782 | bad_value column \"v\" as timestamp(3): a number, of which the event's schema does not say that it is a moment
         - | {\"epoch\":1} | bad_value column \"v\" as timestamp(3): expected a moment, found {\"epoch\":1}",
    );
    check(
        &of(POSTGRESQL, Type::Timestamp { precision: 6 }),
        "- | 1709210096123456000 | bad_value column \"v\" as timestamp(6): without a schema this number is no likely value; does the connector keep the default time.precision.mode?, found 1709210096123456000",
    );
}

/// As PostgreSQL's connector writes them; see `temporal`.
#[test]
fn infinite_moments_and_dates_stay_infinite() {
    check(
        &of(POSTGRESQL, Type::TimestampTz),
        "- | \"infinity\" | infinity
         string io.debezium.time.ZonedTimestamp | \"-infinity\" | -infinity",
    );
    check(
        &of(POSTGRESQL, Type::Timestamp { precision: 6 }),
        "- | 9223372036825200000 | infinity
         - | -9223372036832400000 | -infinity
         int64 io.debezium.time.MicroTimestamp | 9223372036825200000 | infinity
         int64 io.debezium.time.MicroTimestamp | -9223372036832400000 | -infinity
         int64 io.debezium.time.NanoTimestamp | 9223372036854775807 | infinity
         int64 io.debezium.time.NanoTimestamp | -9223372036854775808 | -infinity",
    );
    check(
        &of(POSTGRESQL, Type::Timestamp { precision: 3 }),
        "- | 9223372036825200 | infinity
         - | -9223372036832400 | -infinity
         int64 io.debezium.time.Timestamp | 9223372036825200 | infinity
         int64 io.debezium.time.Timestamp | 9223372036825200000 | infinity",
    );
    check(
        &of(POSTGRESQL, Type::Date),
        "- | -2147472692 | infinity
         - | 2146033979 | infinity
         - | -622191234 | infinity
         - | -625821272 | -infinity
         int32 io.debezium.time.Date | -2147472691 | -infinity
         string io.debezium.time.IsoDate | \"+292278994-08-16Z\" | infinity
         string io.debezium.time.IsoDate | \"+292269055-12-02Z\" | -infinity
         - | \"-5877611-06-21Z\" | infinity
         - | \"-5877611-06-22Z\" | -infinity",
    );
    check(
        &of(POSTGRESQL, Type::Timestamp { precision: 6 }),
        "string io.debezium.time.IsoTimestamp | \"+294247-01-10T04:00:25.2Z\" | infinity
         - | \"-290308-12-21T19:59:27.6Z\" | -infinity",
    );
}

/// What PostgreSQL keeps of before the year 1 and of after 9999; and what 64 bits of microseconds do not.
#[test]
fn moments_and_dates_far_away() {
    check(
        &of(POSTGRESQL, Type::Date),
        "- | -735160 | 0044-03-15 BC
         - | \"-0043-03-15Z\" | 0044-03-15 BC
         - | 2145042905 | 5874897-12-31
         - | \"+5874897-12-31Z\" | 5874897-12-31
         - | -2440588 | 4714-11-24 BC
         - | -2440589 | bad_value column \"v\" as date: a date beyond the calendar, found -2440589
         - | \"+99999999-01-01Z\" | bad_value column \"v\" as date: a date beyond the calendar, found \"+99999999-01-01Z\"",
    );
    check(
        &of(POSTGRESQL, Type::TimestampTz),
        "- | \"-0043-03-15T12:00:00.123456Z\" | -000043-03-15T12:00:00.123456Z
         - | \"+12024-02-29T12:34:56Z\" | 317278730096000000us
         - | \"+294276-12-31T23:59:59.999999Z\" | bad_value column \"v\" as timestamptz: a moment beyond the calendar, found \"+294276-12-31T23:59:59.999999Z\"",
    );
    check(
        &of(POSTGRESQL, Type::Timestamp { precision: 6 }),
        "int64 io.debezium.time.MicroTimestamp | -210866803200000000 | -004713-11-24T00:00:00.000000Z
         int64 io.debezium.time.MicroTimestamp | -9223372036853775810 | bad_value column \"v\" as timestamp(6): a moment beyond the calendar, found -9223372036853775810
         int64 io.debezium.time.Timestamp | 9224318015999999 | bad_value column \"v\" as timestamp(6): a moment beyond the calendar, found 9224318015999999",
    );
}

#[test]
fn a_timestamptz_is_text_in_every_mode() {
    check(
        &of(MARIADB, Type::TimestampTz),
        r#"
        - | "2024-02-29T10:34:56Z" | 2024-02-29T10:34:56.000000Z
        string io.debezium.time.ZonedTimestamp | "2024-02-29T10:34:56.5Z" | 2024-02-29T10:34:56.500000Z
        - | "9999-12-31T23:59:59.999999Z" | 253402300799999999us
        - | "9999-12-31T22:59:59-01:00" | 253402300799000000us
        - | "2024-02-29T12:34:56.123456+02:00" | 2024-02-29T10:34:56.123456Z
        - | "yesterday" | bad_value column "v" as timestamptz: expected an ISO 8601 moment, found "yesterday"
        int64 io.debezium.time.Timestamp | 1709210096123 | 2024-02-29T12:34:56.123000Z
        - | 1709210096123 | bad_value column "v" as timestamptz: a number, where connectors write ISO 8601 text"#,
    );
}

#[test]
fn dates() {
    check(
        &of(MYSQL, Type::Date),
        r#"
        - | 19782 | 2024-02-29
        - | -1 | 1969-12-31
        int32 io.debezium.time.Date | 19782 | 2024-02-29
        int32 org.apache.kafka.connect.data.Date | 19782 | 2024-02-29
        string io.debezium.time.IsoDate | "2024-02-29Z" | 2024-02-29
        - | "2024-02-29" | 2024-02-29
        - | "2023-02-29" | bad_value column "v" as date: expected an ISO 8601 date, found "2023-02-29"
        int64 io.debezium.time.Timestamp | 19782 | bad_value column "v" as date: a number, of which the event's schema does not say that it is a date
        - | 1.5 | bad_value column "v" as date: expected days, found 1.5"#,
    );
}

#[test]
fn what_an_update_did_not_touch_is_unchanged() {
    let with = |placeholder: &str, ty| {
        with_connector(of(POSTGRESQL, ty), |connector| connector.placeholder = placeholder.to_owned())
    };
    for ty in [Type::Text, Type::Json] {
        let schema = if ty == Type::Json { "string io.debezium.data.Json" } else { "string" };
        check(&of(POSTGRESQL, ty), r#"- | "__debezium_unavailable_value" | unchanged"#);
        check(&of(POSTGRESQL, ty), &format!(r#"{schema} | "__debezium_unavailable_value" | unchanged"#));
        check(&with("gone", ty), r#"- | "gone" | unchanged"#);
        check(&with("g\"\n", ty), r#"- | "g\"\n" | unchanged"#);
        check(&with("hex:676f6E65", ty), r#"- | "gone" | unchanged"#);
        check(&of(POSTGRESQL, ty), "- | null | Null");
        check(&of(POSTGRESQL, ty), "- |  | Unknown");
    }
    check(&with("gone", Type::Text), r#"- | "__debezium_unavailable_value" | '__debezium_unavailable_value'"#);
    check(&with("hex:676f6e65", Type::Text), r#"- | "gone " | 'gone '"#);
    check(&of(MARIADB, Type::Text), r#"- | "__debezium_unavailable_value" | '__debezium_unavailable_value'"#);
    check(&of(POSTGRESQL, Type::Bytes), r#"- | "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==" | unchanged"#);
    check(&with("gone", Type::Bytes), r#"bytes | "Z29uZQ==" | unchanged"#);
    check(&with("hex:00ff", Type::Bytes), r#"- | "AP8=" | unchanged"#);
    check(&with("hex:00ff", Type::Bytes), r#"- | "AP8A" | \x00ff00"#);
}

#[test]
fn null_is_a_fact_and_a_missing_column_is_unknown() {
    let types = [
        Type::Bool,
        Type::Int,
        Type::Decimal { scale: Some(2) },
        Type::Text,
        Type::Bytes,
        Type::Timestamp { precision: 6 },
        Type::TimestampTz,
        Type::Date,
        Type::Time { precision: 6 },
        Type::Uuid,
        Type::Json,
    ];
    for ty in types {
        for connector in [POSTGRESQL, MYSQL, MARIADB] {
            check(&of(connector, ty), "- | null | Null\n- |  | Unknown");
        }
    }
}

#[test]
fn booleans_integers_and_identifiers() {
    check(
        &of(MYSQL, Type::Bool),
        r#"
        - | true | true
        - | 0 | false
        int16 | 1 | true
        - | 2 | bad_value column "v" as boolean: expected a boolean, found 2"#,
    );
    // An unsigned one is a decimal, where that is asked for.
    check(
        &of(MYSQL, Type::Int),
        r#"
        bytes org.apache.kafka.connect.data.Decimal scale=0 | "AMA=" | 192
        bytes org.apache.kafka.connect.data.Decimal scale=0 | "AP//////////" | bad_value column "v" as bigint: expected an integer of 64 bits, found "AP//////////"
        bytes org.apache.kafka.connect.data.Decimal scale=2 | "BNI=" | bad_value column "v" as bigint: expected an integer of 64 bits, found "BNI=""#,
    );
    check(
        &of(POSTGRESQL, Type::Int),
        r#"
        - | 9007199254740993 | 9007199254740993
        - | "9007199254740993" | 9007199254740993
        int64 | -9223372036854775808 | -9223372036854775808
        - | 1.5 | bad_value column "v" as bigint: expected an integer of 64 bits, found 1.5
        - | 9223372036854775808 | bad_value column "v" as bigint: expected an integer of 64 bits, found 9223372036854775808"#,
    );
    check(
        &of(POSTGRESQL, Type::Uuid),
        r#"
        - | "3F2504E0-4F89-11D3-9A0C-0305E82C3301" | 3f2504e0-4f89-11d3-9a0c-0305e82c3301
        string io.debezium.data.Uuid | "3f2504e0-4f89-11d3-9a0c-0305e82c3301" | 3f2504e0-4f89-11d3-9a0c-0305e82c3301
        - | "" | bad_value column "v" as uuid: expected a UUID, found """#,
    );
}

#[test]
fn text_bytes_and_json() {
    check(
        &of(POSTGRESQL, Type::Text),
        r#"
        - | "a\u00e9\"" | 'aé"'
        string io.debezium.data.Enum allowed=A,B | "A" | 'A'
        - | 42 | bad_value column "v" as text: expected a string, found 42
        - | "ab  " | 'ab  '"#,
    );
    let padded = |shape| detailed(shape, Detail { is_padded: true, ..Detail::default() });
    check(
        &padded(of(POSTGRESQL, Type::Text)),
        r#"
        - | "ab  " | 'ab'
        - | " a b" | ' a b'
        - | "    " | ''
        - | "__debezium_unavailable_value" | unchanged"#,
    );
    check(
        &of(MYSQL, Type::Bytes),
        r#"
        - | "AAH/" | \x0001ff
        bytes | "" | \x
        - | "AAH" | bad_value column "v" as bytea: expected base64, found "AAH""#,
    );
    check(
        &of(POSTGRESQL, Type::Json),
        r#"
        - | "{\"b\":  1.50, \"a\": [1, {\"d\":null,\"c\":\"\\u00e9\"}]}" | {"a":[1,{"c":"é","d":null}],"b":1.5}
        string io.debezium.data.Json | "{\"a\": 1, \"b\": 12345678901234567890123}" | {"a":1,"b":12345678901234567890123}
        - | "[1.0, 1.50, 1e2, 1.5E-1, -0, -0.10, 0.00, 1e-3000]" | [1,1.5,100,0.15,0,-0.1,0,1e-3000]
        - | "{\"a\":" | bad_value column "v" as json: expected JSON, found "{"a":"
        - | {"a":1} | bad_value column "v" as json: expected a string, found {"a":1}"#,
    );
}

/// With what is declared of column `v` beyond its type.
fn detailed(shape: SourceShape, detail: Detail) -> SourceShape {
    SourceShape { details: vec![Detail::default(), detail], ..shape }
}

fn numeric(mode: Option<DecimalMode>, digits: Option<u32>, scale: Option<u32>) -> SourceShape {
    let shape = detailed(of(POSTGRESQL, Type::Decimal { scale }), Detail { digits, ..Detail::default() });
    with_connector(shape, |connector| connector.decimal_mode = mode)
}

/// In `long` the same 64 bits with a sign; `precise` is bytes whatever `decimal.handling.mode` is.
#[test]
fn an_unsigned_integer_is_what_it_is_in_both_modes() {
    let detail = Detail { digits: Some(20), is_unsigned: true, ..Detail::default() };
    for mode in [None, Some(DecimalMode::Precise), Some(DecimalMode::String), Some(DecimalMode::Double)] {
        let shape = detailed(of(MARIADB, Type::Decimal { scale: Some(0) }), detail);
        check(
            &with_connector(shape, |connector| connector.decimal_mode = mode),
            r#"
            - | -1 | 18446744073709551615
            - | -9223372036854775808 | 9223372036854775808
            - | 7 | 7
            - | 18446744073709551615 | 18446744073709551615
            bytes org.apache.kafka.connect.data.Decimal scale=0 | 18446744073709551615 | 18446744073709551615
            int64 | -1 | 18446744073709551615
            - | "AP//////////" | 18446744073709551615
            bytes org.apache.kafka.connect.data.Decimal scale=0 | "AP//////////" | 18446744073709551615
            bytes org.apache.kafka.connect.data.Decimal scale=0 | "/w==" | bad_value column "v" as numeric(_,0): expected an unsigned integer of 64 bits, found "/w=="
            - | "AQAAAAAAAAAA" | bad_value column "v" as numeric(_,0): expected an unsigned integer of 64 bits, found "AQAAAAAAAAAA"
            - | 7.0 | bad_value column "v" as numeric(_,0): expected an unsigned integer of 64 bits, found 7.0"#,
        );
    }
    let refused = "bad_value column \"v\" as numeric(_,0): a negative integer, which may be one beyond 2^63: declare the \
                   column as the table does, bigint or bigint unsigned, found -1";
    let lines = format!("- | -1 | {refused}\nint64 | -1 | {refused}\nint64 | 7 | 7");
    check(&of(MARIADB, Type::Decimal { scale: Some(0) }), &lines);
}

/// Whatever the configuration says of events without one.
#[test]
fn a_decimal_with_schema_is_as_the_schema_says() {
    let lines = r#"
        bytes org.apache.kafka.connect.data.Decimal scale=2 | "BNI=" | 12.34
        bytes org.apache.kafka.connect.data.Decimal scale=2 | "/w==" | -0.01
        bytes org.apache.kafka.connect.data.Decimal scale=4 | "AeII" | 12.3400
        bytes org.apache.kafka.connect.data.Decimal scale=-2 | "AQ==" | 100
        bytes org.apache.kafka.connect.data.Decimal scale=0 | "AP//////////" | 18446744073709551615
        bytes org.apache.kafka.connect.data.Decimal scale=2 | 12.34 | 12.34
        bytes org.apache.kafka.connect.data.Decimal | "BNI=" | bad_schema a Decimal without a usable scale
        bytes org.apache.kafka.connect.data.Decimal scale=2 | "" | bad_value column "v" as NUMERIC: a decimal without digits or with too many
        struct io.debezium.data.VariableScaleDecimal | {"scale":1,"value":"Dw=="} | 1.5
        struct io.debezium.data.VariableScaleDecimal | {"scale":3,"value":"/w=="} | -0.001
        struct io.debezium.data.VariableScaleDecimal | {"scale":999999999,"value":"Dw=="} | bad_value column "v" as NUMERIC: a decimal without digits or with too many
        string | "12.30" | 12.30
        string | "NaN" | bad_value column "v" as NUMERIC: expected a decimal, found "NaN"
        int64 | -1 | -1"#;
    for mode in [None, Some(DecimalMode::Precise), Some(DecimalMode::String), Some(DecimalMode::Double)] {
        check(&numeric(mode, Some(12), Some(2)), &lines.replace("NUMERIC", "numeric(_,2)"));
        check(&numeric(mode, None, None), &lines.replace("NUMERIC", "numeric"));
    }
}

#[test]
fn a_decimal_without_schema_is_as_the_configuration_says() {
    check(
        &numeric(Some(DecimalMode::String), None, None),
        r#"
        - | "12.30" | 12.30
        - | "-0.00000000000000000001" | -0.00000000000000000001
        - | 18446744073709551615 | 18446744073709551615
        - | 12.3 | bad_value column "v" as numeric: a number where decimal.handling.mode=string writes text; if the mode is double, its digits may be wrong, found 12.3
        - | "BNI=" | bad_value column "v" as numeric: expected a decimal, found "BNI="
        - | "1e999999999" | bad_value column "v" as numeric: a decimal with too large an exponent"#,
    );
    check(
        &numeric(Some(DecimalMode::Precise), Some(12), Some(2)),
        r#"
        - | "BNI=" | 12.34
        - | "/w==" | -0.01
        - | 12.34 | 12.34
        - | "AOjUpQ//" | 9999999999.99
        - | "AOjUpRAA" | bad_value column "v" as numeric(_,2): a decimal of more digits than are declared, found "AOjUpRAA"
        - | {"scale":1,"value":"Dw=="} | 1.5"#,
    );
    check(
        &numeric(Some(DecimalMode::Precise), None, None),
        r#"
        - | {"scale":1,"value":"Dw=="} | 1.5
        - | "BNI=" | bad_value column "v" as numeric: precise without a schema: declare the scale, as in numeric(12,2)"#,
    );
    check(
        &numeric(None, Some(12), Some(2)),
        r#"- | "12.30" | bad_value column "v" as numeric(_,2): the event carries no schema: set the connector's decimal_handling_mode to Debezium's decimal.handling.mode"#,
    );
}

/// Fifteen digits survive a double: rounded to the declared scale it is the number that the database has.
#[test]
fn a_double_is_exact_up_to_fifteen_declared_digits() {
    for schema in ["-", "double"] {
        let refused = "bad_value column \"v\" as NUMERIC: a double is exact only as numeric(p,s) with p up to 15";
        for digits in [5, 15] {
            let shape = numeric(Some(DecimalMode::Double), Some(digits), Some(2));
            check(&shape, &format!("{schema} | 100.1 | 100.10\n{schema} | -0.01 | -0.01\n{schema} | 1.0E-2 | 0.01"));
            let text = "bad_value column \"v\" as numeric(_,2): expected a number, found \"NaN\"";
            check(&shape, &format!("{schema} | \"NaN\" | {text}"));
        }
        let exact = numeric(Some(DecimalMode::Double), Some(15), Some(2));
        check(&exact, &format!("{schema} | 9999999999999.99 | 9999999999999.99"));
        // The column was given more places, or more digits: rounded it would be another number.
        let more = "bad_value column \"v\" as numeric(_,2): a number of more digits than are declared, found";
        for number in ["12.3456", "1.234567890123456E14"] {
            check(&exact, &format!("{schema} | {number} | {more} {number}"));
        }
        let wide = numeric(Some(DecimalMode::Double), Some(16), Some(2));
        check(&wide, &format!("{schema} | 100.1 | {}", refused.replace("NUMERIC", "numeric(_,2)")));
        let unsaid = numeric(Some(DecimalMode::Double), None, Some(2));
        check(&unsaid, &format!("{schema} | 100.1 | {}", refused.replace("NUMERIC", "numeric(_,2)")));
        let free = numeric(Some(DecimalMode::Double), None, None);
        check(&free, &format!("{schema} | 100.1 | {}", refused.replace("NUMERIC", "numeric")));
    }
}

/// What is said of a record is published beside it, and must not be as long again.
#[test]
fn what_a_refusal_quotes_is_cut() {
    let long = "ä".repeat(1 << 20);
    for event in [
        format!(r#"{{"op":"{long}","source":{{"ts_ms":1}}}}"#),
        format!(r#"{{"op":"c","after":{{"order_id":1}},"source":{{"ts_ms":1,"sequence":"{long}"}}}}"#),
        format!(r#"{{"op":"c","after":"{long}","source":{{"ts_ms":1}}}}"#),
    ] {
        let refusal = Reader::new().value(&orders(), Some(event.as_bytes()), None).expect_err("it is refused");
        assert!(refusal.detail.len() <= 1003 && refusal.detail.ends_with('…'), "{refusal:?}");
    }
}
