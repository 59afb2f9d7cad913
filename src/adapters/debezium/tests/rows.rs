//! Which row an event is about, what happened to it, under which keys, and where that stands in its database's log.

use super::super::Event;
use super::super::envelope::NOT_DEBEZIUM;
use super::super::shape::{ConnectorKind, SourceShape};
use super::{Reader, check, orders, payments, record, shape, told};
use crate::domain::change::Position;
use crate::domain::value::Type;

/// A table of payments in PostgreSQL.
fn ledger(full_before: bool) -> SourceShape {
    let columns = [("id", Type::Int), ("order_id", Type::Int), ("status", Type::Text), ("token", Type::Uuid)];
    SourceShape { full_before, ..shape(ConnectorKind::Postgresql, &columns, 1) }
}

const TOKEN: &str = "3f2504e0-4f89-11d3-9a0c-0305e82c3301";
const LSN: &str = r#"{"ts_ms":1000,"snapshot":"false","sequence":"[\"23\",\"24\"]","txId":7,"lsn":24}"#;
const GTID: &str = r#"{"ts_ms":1000,"snapshot":"false","gtid":"0-1-7","file":"bin.000001","pos":4,"row":0}"#;

fn event(op: &str, before: &str, after: &str, source: &str) -> String {
    record(&format!(r#"{{"before":{before},"after":{after},"source":{source},"op":"{op}","ts_ms":2000}}"#))
}

fn row(id: &str, order: &str) -> String {
    format!(r#"{{"id":{id},"order_id":{order},"status":"PAID","token":"{TOKEN}"}}"#)
}

/// An event told without what is the same in all of them.
fn brief(shape: &SourceShape, event: &str) -> String {
    let told = told(shape, event);
    told.trim().replace("1970-01-01T00:00:01.000000Z ", "").replace(&format!(", {TOKEN}"), "")
}

#[test]
fn with_full_images_an_update_says_where_its_row_came_from() {
    let update = |before: &str, after: &str| brief(&ledger(true), &event("u", before, after, LSN));
    let upsert = "upsert 1, 100, 'PAID'";
    assert_eq!(update(&row("1", "100"), &row("1", "100")), format!("@0/18 key 100 {upsert}"));
    assert_eq!(update(&row("1", "99"), &row("1", "100")), format!("@0/18 key 100 (was 99) {upsert}"));
    assert_eq!(update(&row("1", "null"), &row("1", "100")), format!("@0/18 key 100 {upsert}"));
    assert_eq!(update(&row("1", "99"), &row("1", "null")), "@0/18 key - (was 99) upsert 1, Null, 'PAID'");
    assert_eq!(update(&row("2", "100"), &row("1", "100")), format!("@0/18 key 100 {upsert} replacing 2"));
    assert_eq!(update("null", &row("1", "100")), format!("@0/18 key 100 {upsert}"));
}

#[test]
fn a_moved_payment_says_both_keys_and_an_unassigned_one_none() {
    let update = |before: &str, after: &str| {
        let row =
            |order: &str| format!(r#"{{"id":1,"order_id":{order},"status":"x","amount":"1","captured_at":null}}"#);
        brief(&payments(), &event("u", &row(before), &row(after), GTID))
    };
    assert_eq!(update("1003", "1004"), "@0-1-7 key 1004 (was 1003) upsert 1, 1004, 'x', 1, Null");
    assert_eq!(update("1003", "null"), "@0-1-7 key - (was 1003) upsert 1, Null, 'x', 1, Null");
    assert_eq!(update("null", "1004"), "@0-1-7 key 1004 upsert 1, 1004, 'x', 1, Null");
    assert_eq!(update("\"1004\"", "1004"), "@0-1-7 key 1004 upsert 1, 1004, 'x', 1, Null", "one key, two encodings");
}

#[test]
fn with_full_images_a_delete_says_its_key() {
    assert_eq!(brief(&ledger(true), &event("d", &row("1", "100"), "null", LSN)), "@0/18 key 100 delete 1");
    assert_eq!(brief(&ledger(true), &event("d", &row("1", "null"), "null", LSN)), "@0/18 key - delete 1");
}

/// Of a `before` under REPLICA IDENTITY DEFAULT everything but the primary key is invented: 0, "", the epoch.
#[test]
fn without_full_images_only_the_primary_key_of_a_delete_is_believed() {
    let invented = r#"{"id":1,"order_id":0,"status":"NEW","token":""}"#;
    assert_eq!(brief(&ledger(false), &event("d", invented, "null", LSN)), "@0/18 key - delete 1");
    let update = event("u", invented, &row("2", "100"), LSN);
    assert_eq!(brief(&ledger(false), &update), "@0/18 key 100 upsert 2, 100, 'PAID' replacing 1");
    let composite = SourceShape { primary_key: vec![0, 1], ..ledger(false) };
    let delete = event("d", r#"{"id":1,"order_id":100,"status":"NEW","token":""}"#, "null", LSN);
    assert_eq!(brief(&composite, &delete), "@0/18 key 100 delete 1, 100");
    let moved = event("u", r#"{"id":1,"order_id":99,"status":null,"token":""}"#, &row("1", "100"), LSN);
    assert_eq!(brief(&composite, &moved), "@0/18 key 100 (was 99) upsert 1, 100, 'PAID' replacing 1, 99");
}

#[test]
fn a_row_that_does_not_say_which_it_is_is_refused() {
    let refused = |shape: &SourceShape, op: &str, row: &str| {
        let (before, after) = if op == "d" { (row, "null") } else { ("null", row) };
        brief(shape, &event(op, before, after, LSN))
    };
    let no_row = "refused no_primary_key: the event does not say the primary key column \"id\"";
    assert_eq!(refused(&ledger(true), "c", r#"{"order_id":1,"status":"x"}"#), no_row);
    assert_eq!(refused(&ledger(true), "d", r#"{"id":null,"order_id":1}"#), no_row);
    let no_key = "refused no_key: the event does not say the value of the key \"order_id\"";
    assert_eq!(refused(&ledger(true), "c", r#"{"id":1,"status":"x"}"#), no_key);
    let keyed_by_text = SourceShape { key: 2, ..ledger(true) };
    let unchanged = r#"{"id":1,"order_id":1,"status":"__debezium_unavailable_value"}"#;
    let told = refused(&keyed_by_text, "u", unchanged);
    assert_eq!(told, "refused no_key: the event does not say the value of the key \"status\"");
    let told = refused(&ledger(true), "c", "[1]");
    assert!(told.starts_with("refused not_debezium: invalid type: sequence, expected an object"), "{told}");
}

#[test]
fn one_key_has_one_text_whatever_its_encoding() {
    let key = |schema: Option<&str>, ty: Type, json: &str| {
        let shape = shape(ConnectorKind::Postgresql, &[("order_id", ty)], 0);
        let event = format!(r#"{{"after":{{"order_id":{json}}},"source":{LSN},"op":"c"}}"#);
        let field = |schema: &str| format!(r#"{{"type":"struct","field":"after","fields":[{schema}]}}"#);
        let event = match schema {
            None => event,
            Some(schema) => {
                format!(r#"{{"schema":{{"type":"struct","fields":[{}]}},"payload":{event}}}"#, field(schema))
            }
        };
        let told = brief(&shape, &record(&event));
        told.split_once("key ")
            .and_then(|(_, rest)| rest.split_once(' '))
            .map_or(told.clone(), |(key, _)| key.to_owned())
    };
    let decimal = Type::Decimal { scale: None };
    let connect = r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"},"field":"order_id"}"#;
    assert_eq!(key(None, Type::Int, "42"), "42");
    assert_eq!(key(None, Type::Int, "\"42\""), "42");
    assert_eq!(key(Some(r#"{"type":"int64","optional":false,"field":"order_id"}"#), Type::Int, "42"), "42");
    assert_eq!(key(Some(r#"{"type":"int32","field":"order_id","default":0}"#), Type::Int, "42"), "42");
    assert_eq!(key(None, Type::Text, "\"42\""), "42");
    assert_eq!(key(None, decimal, "\"42.00\""), "42");
    assert_eq!(key(Some(connect), decimal, "\"EGg=\""), "42");
    assert_eq!(key(None, Type::Int, "9007199254740993"), "9007199254740993");
    assert_eq!(key(None, Type::Uuid, &format!("\"{}\"", TOKEN.to_uppercase())), TOKEN);
}

#[test]
fn operations() {
    let after = row("1", "100");
    let told = |op: &str, before: &str, after: &str| brief(&ledger(true), &event(op, before, after, LSN));
    assert_eq!(told("c", "null", &after), "@0/18 key 100 upsert 1, 100, 'PAID'");
    assert_eq!(told("u", "null", &after), "@0/18 key 100 upsert 1, 100, 'PAID'");
    assert_eq!(told("r", "null", &after), "@- (snapshot) key 100 upsert 1, 100, 'PAID'");
    let truncate = "refused truncate: the table was truncated; its rows are not named";
    assert_eq!(told("t", "null", "null"), truncate);
    // A logical message has neither before nor after.
    let message = record(&format!(r#"{{"op":"m","source":{LSN},"message":{{"prefix":"foo","content":"YQ=="}}}}"#));
    assert_eq!(brief(&ledger(true), &message), "nothing");
    assert_eq!(told("x", "null", &after), "refused unknown_op: op \"x\"");
    assert_eq!(told("c", "null", "null"), "refused no_row: op \"c\" without \"after\"");
    assert_eq!(told("d", "null", "null"), "refused no_row: op \"d\" without \"before\"");
    let tombstone = r#"{"headers":{},"value":null}"#;
    assert_eq!(brief(&ledger(true), tombstone), "nothing");
}

/// `snapshot` is a string enum; older versions wrote a boolean, and replace.null.with.default=false writes null.
#[test]
fn rows_of_a_snapshot_are_not_streamed() {
    let told = |snapshot: &str| {
        let source = format!(r#"{{"ts_ms":1000{snapshot},"sequence":"[null,\"24\"]","lsn":24}}"#);
        brief(&ledger(true), &event("c", "null", &row("1", "100"), &source))
    };
    let streamed = "@0/18 key 100 upsert 1, 100, 'PAID'";
    for snapshot in ["", r#","snapshot":null"#, r#","snapshot":false"#, r#","snapshot":"false""#] {
        assert_eq!(told(snapshot), streamed, "{snapshot}");
    }
    let read = "@- (snapshot) key 100 upsert 1, 100, 'PAID'";
    assert_eq!(told(r#","snapshot":true"#), read);
    let markers = ["true", "first", "first_in_data_collection", "last_in_data_collection", "last", "incremental"];
    for marker in markers {
        assert_eq!(told(&format!(r#","snapshot":"{marker}""#)), read, "{marker}");
    }
}

/// An incremental snapshot's rows have no LSN of their own; a row of any snapshot may lack every position.
#[test]
fn a_row_without_a_position_is_taken_from_a_snapshot_only() {
    let told =
        |shape: &SourceShape, op: &str, source: &str| brief(shape, &event(op, "null", &row("1", "100"), source));
    let read = "@- (snapshot) key 100 upsert 1, 100, 'PAID'";
    let incremental =
        r#"{"ts_ms":1000,"snapshot":"incremental","sequence":"[\"23\",\"24\"]","txId":null,"lsn":null}"#;
    assert_eq!(told(&ledger(true), "r", incremental), read);
    assert_eq!(told(&ledger(true), "r", r#"{"ts_ms":1000,"snapshot":"true"}"#), read);
    let refused = "refused no_position: \"source\" names no position in the database's log";
    assert_eq!(told(&ledger(true), "c", r#"{"ts_ms":1000}"#), refused);
    assert_eq!(told(&payments(), "c", r#"{"ts_ms":1000,"file":"bin.000001"}"#), refused);
    let timeless = "refused no_source_time: \"source\" has neither ts_us nor ts_ms";
    assert_eq!(told(&ledger(true), "c", r#"{"lsn":24}"#), timeless);
}

/// Where a `source` stands.
fn position(shape: &SourceShape, source: &str) -> Result<(String, Position), String> {
    let columns: Vec<String> = shape.columns.iter().map(|column| format!("\"{}\":null", column.name)).collect();
    let after = format!("{{{}}}", columns.join(",").replacen("null", "1", 1));
    let event = format!(r#"{{"after":{after},"source":{source},"op":"c"}}"#);
    match Reader::new().value(shape, Some(event.as_bytes()), None) {
        Ok(Event::Change(decoded)) => {
            let position = decoded.change.position.expect("it is streamed");
            Ok((decoded.origin.label(position), position))
        }
        Ok(Event::Nothing) => Err("nothing".to_owned()),
        Err(refusal) => Err(format!("{}: {}", refusal.reason, refusal.detail)),
    }
}

#[test]
fn positions_of_mysql_and_mariadb() {
    let at = |place: &str| position(&payments(), &format!(r#"{{"ts_ms":1000,{place}}}"#));
    let mysql = "24bc7850-2c16-11e6-a073-0242ac110002";
    let cases = [
        (r#""gtid":"0-223344-9""#.to_owned(), "0-223344-9".to_owned(), 9, 0),
        (format!(r#""gtid":"{mysql}:17""#), format!("{mysql}:17"), 17, 0),
        (format!(r#""gtid":"{mysql}:eu_west:18""#), format!("{mysql}:eu_west:18"), 18, 0),
        (r#""gtid":null,"file":"mysql-bin.000003","pos":154"#.to_owned(), "mysql-bin.000003:154".to_owned(), 3, 154),
        (r#""file":"host.name-bin.1000000","pos":4"#.to_owned(), "host.name-bin.1000000:4".to_owned(), 1_000_000, 4),
    ];
    for (place, label, transaction, row) in cases {
        assert_eq!(at(&place), Ok((label, Position { transaction, row })), "{place}");
    }
    let file = |name: &str| at(&format!(r#""file":"{name}","pos":4"#)).expect("it has a number").1;
    assert!(file("mysql-bin.999999") < file("mysql-bin.1000000"), "a file's number is a number");
    let refused = [
        (r#""gtid":"nonsense""#, "bad_position: source.gtid \"nonsense\" is no GTID"),
        (r#""gtid":"0-1-x""#, "bad_position: source.gtid \"0-1-x\" is no GTID"),
        (r#""file":"mysql-bin","pos":4"#, "bad_position: source.file \"mysql-bin\" has no number"),
    ];
    for (place, told) in refused {
        assert_eq!(at(place), Err(told.to_owned()), "{place}");
    }
}

#[test]
fn positions_of_postgresql() {
    let at = |place: &str| position(&orders(), &format!(r#"{{"ts_ms":1000,{place}}}"#));
    let stands = |transaction, row| Ok((format!("0/{row:X}"), Position { transaction, row }));
    assert_eq!(at(r#""lsn":24,"sequence":"[\"16\",\"24\"]""#), stands(16, 24));
    assert_eq!(at(r#""lsn":24,"sequence":"[null,\"24\"]""#), stands(24, 24), "before the first commit");
    assert_eq!(at(r#""lsn":24"#), stands(24, 24));
    assert_eq!(at(r#""lsn":null,"sequence":"[\"16\",\"24\"]""#), stands(16, 24));
    let told = "bad_position: source.sequence is not two LSNs: [24]";
    assert_eq!(at(r#""lsn":24,"sequence":"[24]""#), Err(told.to_owned()));
    let told = "bad_position: \"0/18\" in source.sequence is no LSN";
    assert_eq!(at(r#""lsn":24,"sequence":"[\"0/18\",null]""#), Err(told.to_owned()));
}

#[test]
fn a_columns_name_may_need_escaping_in_a_schema() {
    let shape = shape(ConnectorKind::Postgresql, &[("id", Type::Int), ("a\"b", Type::Date)], 0);
    let schema = r#"{"type":"struct","fields":[{"type":"struct","field":"after","fields":[{"type":"int64","field":"id"},{"type":"int32","name":"io.debezium.time.Date","field":"a\"b"}]}]}"#;
    let event = format!(r#"{{"schema":{schema},"payload":{{"after":{{"id":1,"a\"b":0}},"source":{LSN},"op":"c"}}}}"#);
    assert_eq!(brief(&shape, &record(&event)), "@0/18 key 1 upsert 1, Date(0)");
    // Of a column that the schema does not have, nobody knows what its number counts.
    let told = brief(&shape, &record(&event.replacen("a\\\"b", "other", 1)));
    assert!(told.starts_with("refused bad_value: column \"a\"b\" as date: a number, of which"), "{told}");
}

/// A pattern of topics may match those that a connector writes beside its tables'.
#[test]
fn what_else_a_connector_writes_is_refused_by_its_name() {
    let shape = orders();
    let cases = [
        (
            r#"{"source":{"server":"pay"},"databaseName":"pay","ddl":"ALTER TABLE t ADD x int","tableChanges":[]}"#,
            "a schema change",
        ),
        (
            r#"{"status":"END","id":"7:1","event_count":2,"data_collections":[],"ts_ms":1}"#,
            "a transaction's beginning or end",
        ),
        (
            r#"{"status":"BEGIN","id":"7:1","event_count":null,"data_collections":null,"ts_ms":1}"#,
            "a transaction's beginning or end",
        ),
        (r#"{"id":"1","aggregate_type":"Initial Snapshot","type":"STARTED"}"#, "a notification"),
        (r#"{"ts_ms":1795441211059}"#, "a heartbeat of the connector's own"),
        (r#"{"id":1,"ts_ms":1795441211059}"#, "another producer's topic"),
    ];
    for (value, what) in cases {
        for value in [value.to_owned(), format!(r#"{{"schema":null,"payload":{value}}}"#)] {
            let told = brief(&shape, &record(&value));
            assert!(told.starts_with("refused not_debezium: ") && told.contains(what), "{told}");
        }
    }
}

#[test]
fn what_is_no_change_event_is_refused_with_a_reason() {
    let nowhere = format!("not_debezium: {NOT_DEBEZIUM}");
    let cases: [(&[u8], &str); 11] = [
        (
            b"\0\0\0\0\x05abc",
            "no_registry: it was written with a schema registry, and the configuration has none: set registry.url",
        ),
        (
            b"\x01\x86\xe1\x05",
            "short_frame: it begins like Avro with a schema registry, and ends within the schema's id",
        ),
        (
            b"Struct{id=1}",
            "struct_text: it is a Java Struct printed by StringConverter, of which the types are lost: use JsonConverter or Avro",
        ),
        (br#"{"op":"c","#, "not_json: EOF while parsing a value at line 1 column 10"),
        (b"{\"op\":\"c\",\xff}", "not_json: invalid utf-8 sequence of 1 bytes from index 10"),
        (br#"{"id":5,"__op":"u"}"#, &nowhere),
        (br#"{"schema":null,"payload":{"id":5}}"#, &nowhere),
        (
            br#""Struct{id=1}""#,
            "not_debezium: invalid type: string \"Struct{id=1}\", expected a change event, which is an object at line 1 column 14",
        ),
        (br#"{"specversion":"1.0","source":"/debezium/postgresql/orders"}"#, "no_row: a CloudEvent without \"data\""),
        (
            br#"{"specversion":"1.0","source":"/debezium/postgresql/orders","data":{"before":null,"after":{}}}"#,
            "no_op: a CloudEvent without \"iodebeziumop\": with extension.attributes.enable=false nothing tells what happened, and when; set it to true",
        ),
        (
            br#"{"schema":{"type":"struct"},"payload":{"op":"c","source":{}}}"#,
            "bad_schema: the schema has neither \"after\" nor \"before\"",
        ),
    ];
    for (bytes, expected) in cases {
        let told = match Reader::new().value(&payments(), Some(bytes), None) {
            Err(refusal) => format!("{}: {}", refusal.reason, refusal.detail),
            Ok(event) => format!("{event:?}"),
        };
        assert_eq!(told, expected);
    }
}

/// A PostgreSQL key change is a delete and a create, and the create may lean on what the old key stored.
#[test]
fn a_changed_message_key_is_a_delete_and_a_create() {
    let source = r#"{"ts_ms":1000,"lsn":24}"#;
    let delete = event("d", r#"{"order_id":5,"payment_status":"NEW","total":"0.00","note":null}"#, "null", source);
    let create = event(
        "c",
        "null",
        r#"{"order_id":50,"payment_status":"PAID","total":"1.00","note":"__debezium_unavailable_value"}"#,
        source,
    );
    check(
        &orders(),
        &format!("{delete}\n{create}"),
        "1970-01-01T00:00:01.000000Z @0/18 key 5 delete 5
         1970-01-01T00:00:01.000000Z @0/18 key 50 upsert 50, 'PAID', 1.00, Unknown, Unknown keeping [3]",
    );
}

fn decoded(shape: &SourceShape, event: &str, run: &str) -> crate::task::ingest::Decoded {
    let record: serde_json::Value = serde_json::from_str(event).expect("a record is JSON");
    match Reader::new().value(shape, record["value"].as_str().map(str::as_bytes), Some(run)) {
        Ok(Event::Change(decoded)) => decoded,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_update_without_its_before_image_is_told_where_images_should_be_complete() {
    let incomplete = |full: bool, op: &str, before: &str| {
        decoded(&ledger(full), &event(op, before, &row("1", "100"), LSN), "1").incomplete
    };
    assert!(incomplete(true, "u", "null"));
    assert!(!incomplete(true, "u", &row("1", "99")));
    assert!(!incomplete(true, "c", "null") && !incomplete(false, "u", "null"));
}

#[test]
fn rows_of_an_incremental_snapshot_are_told_from_those_of_a_first_one() {
    let incremental = |snapshot: &str| {
        let source = LSN.replace("\"false\"", snapshot);
        decoded(&ledger(true), &event("r", "null", &row("1", "100"), &source), "1").incremental
    };
    assert_eq!(["\"incremental\"", "\"true\"", "\"last\"", "null"].map(incremental), [true, false, false, false]);
}

/// Debezium's run ids are UUIDs of version 7, which tell which of two runs began first; of others nothing is known.
#[test]
fn runs_are_in_the_order_of_their_starts() {
    let run = |header: Option<&str>| {
        let number = crate::adapters::debezium::run_of(header.map(str::as_bytes));
        crate::domain::change::RunId { number, family: 1 }
    };
    let first = run(Some("01a20975-2479-768c-9044-912a8e0c26a3"));
    let second = run(Some("01a20975-2c57-74d6-9076-90c9db9316e4"));
    let others = [Some("b68a35a7-17ad-45b3-af2a-ae46edb4545a"), Some("x"), Some(""), None].map(run);
    assert!(first.began_before(second) && !second.began_before(first) && !first.began_before(first));
    for other in others {
        assert!(!other.began_before(first) && !first.began_before(other), "{other:?}");
    }
    assert!(first.is_same_start(first) && others[1].is_same_start(others[1]) && !others[3].is_same_start(others[3]));
}

/// Positions of different GTID domains (MariaDB), servers (MySQL) and binlogs do not compare: their runs differ.
#[test]
fn a_run_says_whose_positions_its_events_have() {
    let run = |source: &str| {
        let row = r#"{"id":1,"order_id":1,"status":"x","amount":"1","captured_at":null}"#;
        decoded(&payments(), &event("c", "null", row, source), "7").change.run
    };
    let gtid = |gtid: &str| run(&GTID.replace("0-1-7", gtid));
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    assert_eq!(gtid("0-1-7"), gtid("0-2-8"), "numbers of a MariaDB domain rise whoever wrote them");
    let runs = [gtid("0-1-7"), gtid("1-1-7"), gtid(&format!("{uuid}:7")), gtid(&format!("{uuid}:tag:7"))];
    let without = run(r#"{"ts_ms":1000,"snapshot":"false","file":"mysql-bin.000001","pos":4,"row":0}"#);
    let mut families: Vec<u32> = runs.iter().chain([&without]).map(|run| run.family).collect();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), 5);
    assert!(runs.iter().all(|run| run.number == runs[0].number && run.number != 0));
}

/// A heartbeat proves what lies before its transaction; of a binlog without GTIDs, what lies before its row.
#[test]
fn heartbeats_prove_by_the_beginning_of_their_transaction() {
    let columns = [("id", Type::Int), ("at", Type::Timestamp { precision: 6 })];
    let beat = |kind: ConnectorKind, source: &str, at: i64| {
        let event = event("u", "null", &format!(r#"{{"id":1,"at":{at}}}"#), source);
        let record: serde_json::Value = serde_json::from_str(&event).expect("a record is JSON");
        let value = record["value"].as_str().map(str::as_bytes);
        let beat = Reader::new().heartbeat(&shape(kind, &columns, 1), value);
        beat.map(|beat| beat.expect("it is streamed").proof.position).map_err(|refusal| refusal.reason)
    };
    let position = |transaction, row| Ok(Position { transaction, row });
    assert_eq!(beat(ConnectorKind::Postgresql, LSN, 999_000), position(23, 0));
    assert_eq!(beat(ConnectorKind::Mariadb, GTID, 1_900_000), position(7, 0));
    let binlog = r#"{"ts_ms":1000,"snapshot":"false","file":"mysql-bin.000005","pos":9000,"row":0}"#;
    assert_eq!(beat(ConnectorKind::Mysql, binlog, 999_000), position(5, 9000));
    let local = 1_000_000 + 2 * 3_600_000_000;
    assert_eq!(beat(ConnectorKind::Mariadb, GTID, local), Err("heartbeat_ahead"), "a clock in local time");
}

/// Without GTIDs only Debezium's transaction metadata tells which rows were committed together.
#[test]
fn rows_of_a_binlog_transaction_are_told_by_its_metadata() {
    let source = r#"{"ts_ms":1000,"snapshot":"false","file":"mysql-bin.000005","pos":9000,"row":0}"#;
    let transaction = |metadata: &str| {
        let row = r#"{"id":1,"order_id":1,"status":"x","amount":"1","captured_at":null}"#;
        let event = format!(r#"{{"before":null,"after":{row},"source":{source},"transaction":{metadata},"op":"c"}}"#);
        decoded(&payments(), &record(&event), "7").change.transaction
    };
    let first = transaction(r#"{"id":"file=mysql-bin.000005,pos=8900","total_order":1,"data_collection_order":1}"#);
    let other = transaction(r#"{"id":"file=mysql-bin.000005,pos=9900","total_order":1,"data_collection_order":1}"#);
    assert_eq!((transaction("null"), first == other, first == 0), (0, false, false));
}
