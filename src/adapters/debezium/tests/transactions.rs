//! What connectors say of their transactions.

use serde_json::{Value as Json, json};

use super::*;
use crate::domain::change::End;

fn end(kind: ConnectorKind, value: &str) -> Result<Option<End<Box<str>>>, Undecoded> {
    let record = Record { key: None, value: Some(value.as_bytes()), timestamp: Instant(NOW), headers: &|_| None };
    Reader::new().decoder.end(&shape(kind, &[], 0), record)
}

/// An end with the id, of one event.
fn marker(id: &str) -> Json {
    let collections = json!([{"data_collection": "shop.orders", "event_count": 1}]);
    json!({"status": "END", "id": id, "event_count": 1, "data_collections": collections, "ts_ms": 5})
}

fn refused(kind: ConnectorKind, value: &str) -> &'static str {
    match end(kind, value) {
        Err(Undecoded::Refused(refusal)) => refusal.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn captured_ends_tell_how_much_was_sent_and_what_comes_behind() {
    let mut told = Vec::new();
    for line in include_str!("../../../../tests/fixtures/debezium/transactions.jsonl").lines() {
        let record: Json = serde_json::from_str(line).expect("fixtures are JSON lines");
        let kind = match record["topic"].as_str() {
            Some("shop.transaction") => ConnectorKind::Postgresql,
            _ => ConnectorKind::Mariadb,
        };
        let value = record["value"].as_str().expect("it has a value");
        let plain = end(kind, value);
        let with_schema = json!({"schema": {}, "payload": serde_json::from_str::<Json>(value).expect("JSON")});
        assert_eq!(end(kind, &with_schema.to_string()), plain);
        if let Some(End { id, time, position, sent, .. }) = plain.expect("it is understood") {
            let sent: Vec<String> = sent.iter().map(|(table, count)| format!("{table} {count}")).collect();
            told.push(format!("{id} {time} {} {}", position.transaction, sent.join(" ")));
        }
    }
    assert_eq!(
        told,
        [
            "0-223344-1396 2026-11-23T18:28:23.000999Z 1397 pay.heartbeat 1 pay.payments 2",
            "3256:719422520 2026-11-23T18:28:23.311999Z 719422520 shop.heartbeat 1 shop.orders 2",
        ]
    );
}

#[test]
fn each_database_has_ids_of_its_own() {
    let behind = |kind, id: &str| {
        let position = end(kind, &marker(id).to_string()).expect("understood").expect("an end").position;
        (position.transaction, position.row)
    };
    let mysql = "3e11fa47-71ca-11e1-9e33-c80aa9429562:tag:23";
    assert_eq!(behind(ConnectorKind::Mysql, mysql), (24, 0));
    assert_eq!(behind(ConnectorKind::Mysql, "file=mysql-bin.000012,pos=197"), (12, 198));
    assert_eq!(behind(ConnectorKind::Sqlserver, "00000027:00000758:0005"), (0x27 << 48 | 0x758 << 16 | 6, 0));
    for (kind, id) in [
        (ConnectorKind::Postgresql, "835"),
        (ConnectorKind::Mariadb, "file=x"),
        (ConnectorKind::Sqlserver, "27"),
        (ConnectorKind::Oracle, "06002000"),
    ] {
        assert_eq!(refused(kind, &marker(id).to_string()), "bad_position", "{id}");
    }
    assert_eq!(refused(ConnectorKind::Mariadb, "{}"), "not_debezium");
    let count = marker("0-1-5").to_string().replace("\"event_count\":1}", "\"event_count\":-1}");
    assert_eq!(refused(ConnectorKind::Mariadb, &count), "bad_count");
    let nothing = json!({"status": "END", "id": "835:1", "event_count": 0, "data_collections": [], "ts_ms": 5});
    assert_eq!(end(ConnectorKind::Postgresql, &nothing.to_string()), Ok(None), "a truncate that is not sent");
}

/// An event and its transaction's end name the same transaction, though PostgreSQL's ids of them differ.
#[test]
fn events_have_the_number_that_their_end_counts() {
    let mut reader = Reader::new();
    let event = |transaction: Json| {
        json!({
            "op": "c", "before": null,
            "after": {"order_id": 1, "payment_status": "PAID", "total": "3.00", "note": null, "updated_at": null},
            "source": {"ts_us": 5, "lsn": 27628800, "sequence": "[null,\"27628800\"]", "txId": 1010, "snapshot": "false"},
            "transaction": transaction,
        })
    };
    let shape = with_connector(orders(), |connector| connector.is_counted = true);
    let mut counted = |event: Json| {
        let read = reader.value(&shape, Some(event.to_string().as_bytes()), None);
        (read.is_ok(), reader.decoder.counted())
    };
    let transaction = json!({"id": "1010:27628800", "total_order": 7, "data_collection_order": 2});
    let id = end(ConnectorKind::Postgresql, &marker("1010:27630712").to_string()).expect("understood");
    let id = id.expect("an end").transaction;
    assert_eq!(counted(event(transaction.clone())), (true, Some((id, 2))));
    assert_eq!(counted(event(Json::Null)), (true, None));
    let mut refused = event(transaction.clone());
    refused["op"] = "t".into();
    assert_eq!(counted(refused), (false, Some((id, 2))), "it has come, whatever it says");
    assert_eq!(counted(json!({"op": 7})), (false, None));
    assert!(reader.value(&orders(), Some(event(transaction).to_string().as_bytes()), None).is_ok());
    assert_eq!(reader.decoder.counted(), None, "nobody wants it");
}
