//! SQL Server, Oracle, MongoDB: events as Debezium's documentation of each connector has them.

use super::super::shape::{ConnectorKind, DecimalMode, SourceShape};
use super::{Reader, line_of, shape, with_connector};
use crate::domain::change::{Origin, Position};
use crate::domain::value::Type;

fn of(kind: ConnectorKind) -> SourceShape {
    shape(kind, &[("id", Type::Int), ("order_id", Type::Int)], 1)
}

fn event(source: &str) -> String {
    format!(r#"{{"before":null,"after":{{"id":5,"order_id":7}},"source":{{"ts_ms":1000,{source}}},"op":"c"}}"#)
}

/// What an event tells of where it stands: its position, and how that is written.
fn stand(kind: ConnectorKind, source: &str) -> Result<(Position, String), String> {
    match Reader::new().value(&of(kind), Some(event(source).as_bytes()), None) {
        Ok(super::Event::Change(decoded)) => {
            let position = decoded.change.position.expect("it was streamed");
            Ok((position, decoded.origin.label(position)))
        }
        Ok(super::Event::Nothing) => Err("nothing".to_owned()),
        Err(refusal) => Err(format!("{}: {}", refusal.reason, refusal.detail)),
    }
}

#[test]
fn sqlservers_positions_are_its_log_sequence_numbers() {
    let at = |commit: &str, change: &str, serial: u16| {
        let source = format!(r#""commit_lsn":"{commit}","change_lsn":"{change}","event_serial_no":{serial}"#);
        stand(ConnectorKind::Sqlserver, &source)
    };
    let (first, label) = at("00000027:00000758:0005", "00000027:00000758:0003", 2).expect("it has a position");
    assert_eq!(label, "00000027:00000758:0005/00000027:00000758:0003");
    let position = |commit, change, serial| at(commit, change, serial).expect("it has a position").0;
    let later = [
        position("00000027:00000758:0005", "00000027:00000758:0004", 1),
        position("00000027:00000758:0006", "00000026:00000001:0001", 1),
        position("00000027:00000759:0001", "00000026:00000001:0001", 1),
        position("00000028:00000001:0001", "00000026:00000001:0001", 1),
    ];
    assert!(position("00000027:00000758:0005", "00000027:00000758:0003", 1) < first && first < later[0]);
    assert!(later.is_sorted() && later[0] < later[1]);
    for bad in ["27", "00000027:00000758", "00000027:00000758:0005:1", "x:0:0", "100000000:0:0", ""] {
        let told = at(bad, "00000027:00000758:0003", 1).expect_err("it is no LSN");
        assert!(told.starts_with("bad_position: source.commit_lsn"), "{bad}: {told}");
    }
    let told = stand(ConnectorKind::Sqlserver, r#""commit_lsn":null,"change_lsn":null"#).expect_err("it has none");
    assert!(told.starts_with("no_position"), "{told}");
}

/// SCNs are text, for they outgrow what Java's integers hold; as text they would not compare.
#[test]
fn oracles_positions_are_its_system_change_numbers() {
    let at = |commit: &str, transaction: &str, seq: &str| {
        let source = format!(r#""commit_scn":"{commit}","txId":"{transaction}","scn":"{commit}"{seq}"#);
        stand(ConnectorKind::Oracle, &source)
    };
    let position = |commit, transaction, seq| at(commit, transaction, seq).expect("it has a position").0;
    let all = [
        position("999", "0a00140012340000", r#","txSeq":7"#),
        position("1000", "0a00140012340000", r#","txSeq":1"#),
        position("1000", "0a00140012340000", r#","txSeq":2"#),
        position("1000", "0a00140012350000", r#","txSeq":1"#),
        position("99999999999999999999", "0a00140012340000", r#","txSeq":1"#),
    ];
    assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
    assert_eq!(at("1000", "0a", "").expect("an older connector has no txSeq").1, "1000");
    assert!(at("1e3", "0a", "").expect_err("it is no SCN").starts_with("bad_position: source.commit_scn"));
    assert!(
        stand(ConnectorKind::Oracle, r#""scn":"5""#)
            .expect_err("when it was committed is not said")
            .starts_with("no_p")
    );
}

#[test]
fn mongodbs_positions_are_the_clusters_time() {
    let at = |millis: u64, ord: u32| {
        let event = event(&format!(r#""ord":{ord}"#)).replace("1000", &millis.to_string());
        match Reader::new().value(&of(ConnectorKind::Mongodb), Some(event.as_bytes()), None) {
            Ok(super::Event::Change(decoded)) => {
                assert_eq!(decoded.origin, Origin::ClusterTime);
                decoded.change.position.expect("it was streamed")
            }
            other => panic!("{other:?}"),
        }
    };
    let all = [at(1_795_000_000_000, 9), at(1_795_000_001_000, 1), at(1_795_000_001_000, 2)];
    assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
    assert_eq!(Origin::ClusterTime.label(all[2]), "1795000001.2");
}

#[test]
fn mongodbs_documents_are_extended_json_within_a_text() {
    let columns = [
        ("_id", Type::Text),
        ("order_id", Type::Int),
        ("amount", Type::Decimal { scale: None }),
        ("at", Type::TimestampTz),
        ("raw", Type::Bytes),
        ("status", Type::Text),
    ];
    let shape = with_connector(shape(ConnectorKind::Mongodb, &columns, 1), |connector| {
        connector.decimal_mode = Some(DecimalMode::String);
    });
    let told = |key: Option<&str>, value: &str| {
        let bytes = [key.map(str::as_bytes), Some(value.as_bytes())];
        line_of(Reader::new().record(&shape, bytes, &[]).map_err(|undecoded| match undecoded {
            super::Undecoded::Refused(refusal) => refusal,
            super::Undecoded::Waits(id) => panic!("{id:?}"),
        }))
    };
    let document = |order: &str, date: &str| {
        let document = format!(
            r#"{{"_id": {{"$oid": "596e275826f08b2730779e1f"}}, "order_id": {order}, "amount": {{"$numberDecimal": "12.50"}}, "at": {{"$date": {date}}}, "raw": {{"$binary": {{"base64": "3q2+7w==", "subType": "00"}}}}, "status": "PAID"}}"#
        );
        serde_json::Value::String(document)
    };
    let source = r#""source":{"ts_ms":1000,"ord":3}"#;
    let expected = "1970-01-01T00:00:01.000000Z @1.3 key 7 upsert '596e275826f08b2730779e1f', 7, 12.50, \
                    2026-11-18T11:06:40.000000Z, Bytes([222, 173, 190, 239]), 'PAID'\n";
    for (order, date) in [
        ("7", "1795000000000"),
        (r#"{"$numberLong": "7"}"#, r#"{"$numberLong": "1795000000000"}"#),
        (r#"{"$numberInt": "7"}"#, r#""2026-11-18T11:06:40Z""#),
    ] {
        let event = format!(r#"{{"before":null,"after":{},{source},"op":"u"}}"#, document(order, date));
        assert_eq!(told(None, &event), expected);
    }
    let short = format!(r#"{{"before":null,"after":"{{\"_id\": 5, \"order_id\": 7}}",{source},"op":"c"}}"#);
    assert_eq!(
        told(None, &short).trim_end(),
        "refused bad_value: column \"_id\" as text: expected a string, found 5"
    );
    let short = short.replace(r#"\"_id\": 5"#, r#"\"_id\": \"x\""#);
    assert!(told(None, &short).ends_with("upsert 'x', 7, Null, Null, Null, Null\n"), "{}", told(None, &short));
    // Without a pre-image, the key alone says which document is gone.
    let gone = format!(r#"{{"before":null,"after":null,{source},"op":"d"}}"#);
    let key = r#"{"id":"{\"$oid\": \"596e275826f08b2730779e1f\"}"}"#;
    let deleted = "1970-01-01T00:00:01.000000Z @1.3 key - delete '596e275826f08b2730779e1f'\n";
    assert_eq!(told(Some(key), &gone), deleted);
    assert!(told(None, &gone).starts_with("refused no_row"));
    let update = format!(r#"{{"before":null,"after":null,"updateDescription":{{}},{source},"op":"u"}}"#);
    assert!(told(Some(key), &update).starts_with("refused no_row: op \"u\" without \"after\""));
}

/// What a number counts is known from the schema alone; text, as `isostring` writes it, says it itself.
#[test]
fn moments_of_sqlserver_and_oracle_need_a_schema_or_are_text() {
    let columns = [
        ("id", Type::Int),
        ("at", Type::Timestamp { precision: 3 }),
        ("d", Type::Date),
        ("t", Type::Time { precision: 3 }),
    ];
    let row = |at: &str, d: &str, t: &str| format!(r#"{{"id":5,"at":{at},"d":{d},"t":{t}}}"#);
    for kind in [ConnectorKind::Sqlserver, ConnectorKind::Oracle] {
        let shape = shape(kind, &columns, 0);
        let told = |schema: &str, row: &str| {
            let source = r#"{"ts_ms":1000,"commit_lsn":"0:0:1","change_lsn":"0:0:1","event_serial_no":1,"commit_scn":"1","txId":"0a"}"#;
            let event = format!(
                r#"{{"schema":{schema},"payload":{{"before":null,"after":{row},"source":{source},"op":"c"}}}}"#
            );
            line_of(Reader::new().value(&shape, Some(event.as_bytes()), None))
        };
        let numbers = row("1700000000123", "19000", "45296123");
        for (at, d, t) in [("1700000000123", "null", "null"), ("null", "19000", "null"), ("null", "null", "45296123")]
        {
            let told = told("null", &row(at, d, t));
            assert!(told.contains("without a schema it is not known what it counts"), "{kind:?}: {told}");
        }
        let field = |name: &str, ty: &str, of: &str| {
            format!(r#"{{"type":"{ty}","field":"{name}","name":"io.debezium.time.{of}"}}"#)
        };
        let fields =
            [field("at", "int64", "Timestamp"), field("d", "int32", "Date"), field("t", "int32", "Time")].join(",");
        let schema = format!(
            r#"{{"type":"struct","fields":[{{"type":"struct","field":"after","fields":[{{"type":"int64","field":"id"}},{fields}]}}]}}"#
        );
        let wanted = "2023-11-14T22:13:20.123000Z, Date(19000), Time(45296123000)";
        let with_schema = told(&schema, &numbers);
        assert!(with_schema.contains(wanted), "{with_schema}");
        let text = told("null", &row("\"2023-11-14T22:13:20.123Z\"", "\"2022-01-08Z\"", "\"12:34:56.123Z\""));
        assert!(text.contains(wanted), "{text}");
    }
}
