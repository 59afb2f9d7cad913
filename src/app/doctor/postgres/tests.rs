//! Each thing that can be wrong with a PostgreSQL database, once.

use serde_json::json;

use super::*;
use crate::adapters::debezium::shape::ConnectorKind;
use crate::app::doctor::finding::Level;
use crate::app::doctor::given::{self, case, column, line, shape};
use crate::domain::value::Type;

fn tables(full_before: bool) -> Vec<Table> {
    let columns = ["order_id", "note"].map(|name| column(name, Type::Text, None)).to_vec();
    vec![Table { full_before, ..given::table("orders", "shop.orders", columns) }]
}

fn answers() -> Answers {
    let column = |not_null: bool, storage: &str| json!({"not_null": not_null, "default": false, "storage": storage, "generated": "", "type": "bigint"});
    let table = json!({
        "identity": "d", "persistence": "p", "key": true,
        "columns": {"order_id": column(true, "p"), "note": column(false, "p")},
    });
    let settings = [("wal_level", "logical"), ("server_encoding", "UTF8"), ("max_slot_wal_keep_size", "-1")];
    let slot = json!({"active": true, "wal_status": "reserved", "invalidation_reason": null, "lag": 4096});
    let publication = json!({"pubinsert": true, "pubupdate": true, "pubdelete": true, "pubtruncate": true});
    let published =
        json!({"schemaname": "shop", "tablename": "orders", "rowfilter": null, "attnames": ["order_id", "note"]});
    Answers {
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        slot: Some(("shop".to_owned(), Some(slot))),
        publication: Some(("shop".to_owned(), Some(publication))),
        published: vec![published],
        tables: [("shop.orders".to_owned(), Some(table))].into(),
    }
}

fn told_of(answers: &Answers, full_before: bool) -> String {
    let shape = shape(ConnectorKind::Postgresql);
    let case = Case { has_heartbeat: false, ..case("shop", &shape, tables(full_before)) };
    let found = judge(&case, answers);
    let bad = found.iter().filter(|one| one.level > Level::Note);
    for one in bad {
        assert!(!one.why.is_empty() || one.level == Level::Unknown, "{one:?}");
        assert!(!one.mends.is_empty() || one.level == Level::Unknown, "{one:?}");
    }
    line(&found)
}

fn told(alter: impl FnOnce(&mut Answers)) -> String {
    let mut answers = answers();
    alter(&mut answers);
    told_of(&answers, false)
}

fn setting(name: &str, value: &str) -> String {
    told(|answers| drop(answers.settings.insert(name.to_owned(), value.to_owned())))
}

fn of_table(path: &[&str], value: Value) -> String {
    told(|answers| {
        let table = answers.tables.get_mut("shop.orders").and_then(Option::as_mut).expect("it is there");
        let place = path.iter().fold(table, |place, name| &mut place[*name]);
        *place = value;
    })
}

fn of_slot(name: &str, value: Value) -> String {
    told(|answers| {
        let slot = answers.slot.as_mut().and_then(|(_, slot)| slot.as_mut()).expect("it is there");
        slot[name] = value;
    })
}

#[test]
fn a_sound_database_passes() {
    assert_eq!(told(|_| {}), "");
}

#[test]
fn settings_of_the_server_are_judged() {
    assert_eq!(setting("wal_level", "replica"), "FAIL wal_level");
    assert_eq!(setting("server_encoding", "LATIN1"), "WARN server_encoding");
    assert_eq!(setting("max_slot_wal_keep_size", "1024"), "WARN max_slot_wal_keep_size");
    assert_eq!(setting("idle_replication_slot_timeout", "0"), "");
    assert_eq!(setting("idle_replication_slot_timeout", "86400"), "WARN idle_replication_slot_timeout");
    assert_eq!(told(|answers| answers.settings.clear()), "UNKNOWN wal_level; UNKNOWN server_encoding");
}

#[test]
fn the_slot_is_judged() {
    assert_eq!(of_slot("active", json!(false)), "FAIL slot");
    assert_eq!(of_slot("wal_status", json!("extended")), "");
    assert_eq!(of_slot("wal_status", json!("unreserved")), "WARN slot wal_status");
    assert_eq!(of_slot("wal_status", json!("lost")), "FAIL slot wal_status");
    assert_eq!(of_slot("invalidation_reason", json!("idle_timeout")), "FAIL slot wal_status");
    assert_eq!(of_slot("lag", json!(2_u64 << 30)), "WARN slot lag");
    assert_eq!(told(|answers| answers.slot = Some(("shop".to_owned(), None))), "FAIL slot");
    assert_eq!(told(|answers| answers.slot = None), "UNKNOWN slot");
}

#[test]
fn the_publication_is_judged() {
    let publication = |name: &str| {
        told(|answers| {
            let row = answers.publication.as_mut().and_then(|(_, row)| row.as_mut()).expect("it is there");
            row[name] = json!(false);
        })
    };
    assert_eq!(publication("pubdelete"), "FAIL publication publish");
    assert_eq!(publication("pubtruncate"), "", "it is noted");
    assert_eq!(told(|answers| answers.publication = Some(("shop".to_owned(), None))), "FAIL publication");
    assert_eq!(told(|answers| answers.published.clear()), "FAIL shop.orders is published");
    let published = |name: &str, value: Value| told(|answers| answers.published[0][name] = value);
    assert_eq!(published("rowfilter", json!("(order_id > 5)")), "FAIL shop.orders is published");
    assert_eq!(published("attnames", json!(["order_id"])), "FAIL shop.orders is published");
    assert_eq!(published("attnames", Value::Null), "", "PostgreSQL 14 has no lists");
}

#[test]
fn tables_are_judged() {
    assert_eq!(of_table(&["identity"], json!("f")), "", "it is noted");
    assert_eq!(of_table(&["identity"], json!("i")), "FAIL shop.orders identity");
    assert_eq!(of_table(&["identity"], json!("n")), "FAIL shop.orders identity");
    assert_eq!(told_of(&answers(), true), "FAIL shop.orders identity", "full is configured");
    assert_eq!(of_table(&["key"], json!(false)), "FAIL shop.orders primary key");
    assert_eq!(of_table(&["persistence"], json!("u")), "FAIL shop.orders persistence");
    assert_eq!(of_table(&["columns", "note"], Value::Null), "FAIL shop.orders columns");
    assert_eq!(of_table(&["columns", "note", "generated"], json!("s")), "FAIL shop.orders columns");
    assert_eq!(of_table(&["columns", "note", "storage"], json!("x")), "", "it is noted");
    assert_eq!(told(|answers| drop(answers.tables.insert("shop.orders".to_owned(), None))), "FAIL table shop.orders");
}

#[test]
fn columns_that_a_default_stands_in_for_are_found() {
    let with = |not_null: bool, default: bool| {
        let mut answers = answers();
        let table = answers.tables.get_mut("shop.orders").and_then(Option::as_mut).expect("it is there");
        table["columns"]["note"]["not_null"] = json!(not_null);
        table["columns"]["note"]["default"] = json!(default);
        answers.nullable_defaults(&tables(false))
    };
    assert_eq!(with(false, true), ["shop.orders.note"]);
    assert!(with(true, true).is_empty() && with(false, false).is_empty());
}

#[test]
fn names_are_quoted_in_questions() {
    assert!(table("a'b.c").contains("= 'a''b.c' AND"), "{}", table("a'b.c"));
}
