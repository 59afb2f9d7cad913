//! What leaves the process of columns that are masked: in evidence, whatever it was made of, in rows, in texts.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{Message, Renderer};
use crate::adapters::debezium::shape::Mask;
use crate::domain::catalog::{Catalog, Column, SourceTable};
use crate::domain::change::Key;
use crate::domain::instant::Instant;
use crate::domain::key_state::{Event, Reason};
use crate::domain::record::{Cause, Content, Discrepancy, Record, SideRow};
use crate::domain::rule::{Definition, Plan, Rule, SourcePlan};
use crate::domain::sql::Query;
use crate::domain::value::{Type, Value};

const MASKS: [Mask; 5] = [Mask::Show, Mask::Show, Mask::Hash, Mask::Hide, Mask::Drop];

fn row() -> Box<[Value]> {
    [Value::Int(42), Value::text("PAID"), Value::text("ann@home"), Value::text("likes cats"), Value::text("4711")]
        .into()
}

fn plan(sql: &str) -> Plan {
    let columns = [("order_id", Type::Int), ("status", Type::Text), ("email", Type::Text), ("note", Type::Text)];
    let columns = columns.into_iter().chain([("card", Type::Text)]);
    let columns = columns.map(|(name, ty)| Column { name: name.to_owned(), ty }).collect();
    let source = SourceTable { name: "orders".to_owned(), columns, key: 0, primary_key: vec![0] };
    let catalog = Catalog { sources: vec![source], lookups: Vec::new() };
    let definition = Definition {
        id: "masks".into(),
        version: "1".into(),
        sql: sql.into(),
        grace_us: 0,
        escalations: Vec::new(),
        keep_open_for_us: 0,
        flap_window_us: 0,
        identity: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::from([("summary".to_owned(), "{{order_id}}: {{who}}, {{severity}}".to_owned())]),
    };
    let rule = Rule { definition, query: Query::compile(sql, &catalog).expect("the query is sound") };
    Plan {
        reconciliation: "test".into(),
        catalog,
        sources: vec![SourcePlan { connector: 0, commit_time: true, find_rows: false, partial_history: false }],
        rules: vec![rule],
        heartbeat_us: 1,
    }
}

/// The message of a discrepancy whose evidence is what the query makes of the one row.
fn message(sql: &str, event: Event) -> Message {
    let plan = plan(sql);
    let columns = row();
    let evidence = plan.rules[0].query.evaluate(&[&[&columns]]).rows;
    assert_eq!(evidence.len(), 1, "the rule returns the row");
    let discrepancy = Discrepancy {
        event,
        key: Key("42".into()),
        rule: "masks".into(),
        rule_index: (event != Event::Resolved(Reason::RuleRemoved)).then_some(0),
        identity: Box::default(),
        since: Instant(0),
        lineage: Instant(0),
        at: Instant(1),
        settled: Instant(2),
        revision: 1,
        flap_count: 0,
        escalated: 0,
        evidence,
        sides: vec![vec![SideRow {
            columns,
            source_time: Instant(0),
            position: String::new(),
            topic: "shop.orders".into(),
            partition: 0,
            offset: 0,
        }]],
    };
    let record =
        Record { cause: Cause { offset: 7, number: 0 }, content: Content::Discrepancy(Box::new(discrepancy)) };
    let renderer = Renderer::new(&plan, vec![MASKS.to_vec()], b"a key that is long enough"[..].into());
    renderer.message(&plan, 0, &record)
}

fn body(sql: &str, event: Event) -> Json {
    let message = message(sql, event);
    let bytes = message.body.expect("a discrepancy has a body");
    let text = String::from_utf8(bytes).expect("JSON is text");
    let headers: String = message.headers.iter().map(|(name, value)| format!("{name}={value};")).collect();
    for secret in ["ann@home", "likes cats", "4711"] {
        assert!(!text.contains(secret) && !headers.contains(secret), "{secret} is told: {headers} {text}");
    }
    serde_json::from_str(&text).expect("a body is JSON")
}

const HASH: &str = "hmac:";

#[test]
fn evidence_is_masked_as_what_it_is_made_of() {
    let sql = "SELECT order_id, email AS who, upper(email) AS loud, note AS severity, email || note AS both, card,
               status || card AS mixed, CASE WHEN card = '4711' THEN 'known' ELSE 'new' END AS told, status
               FROM orders";
    let body = body(sql, Event::Opened);
    let evidence = body["evidence"][0].as_object().expect("a row is an object");
    let names: Vec<&str> = evidence.keys().map(String::as_str).collect();
    assert_eq!(names, ["both", "loud", "order_id", "severity", "status", "who"], "what is made of card is left out");
    assert!(["who", "loud"].iter().all(|name| evidence[*name].as_str().is_some_and(|text| text.starts_with(HASH))));
    assert_ne!(evidence["who"], evidence["loud"]);
    assert_eq!(
        (&evidence["severity"], &evidence["both"], &evidence["status"]),
        (&"***".into(), &"***".into(), &"PAID".into())
    );
    assert_eq!(body["severity"], "***");
    let summary = body["annotations"]["summary"].as_str().expect("it is text");
    assert_eq!(summary, format!("42: {}, ***", evidence["who"].as_str().expect("a hash")));
    assert_eq!(body["evidence_types"]["order_id"], "bigint");
    assert!(body["evidence_types"].get("card").is_none());
}

#[test]
fn masks_reach_through_subqueries_and_groups() {
    let sql = "SELECT g.order_id, g.longest, g.status FROM
               (SELECT order_id, MAX(email) AS longest, MIN(status) AS status FROM orders GROUP BY order_id) g";
    let body = body(sql, Event::Updated);
    assert!(body["evidence"][0]["longest"].as_str().is_some_and(|text| text.starts_with(HASH)), "{body}");
    assert_eq!(body["evidence"][0]["status"], "PAID");
}

#[test]
fn rows_are_masked() {
    let body = body("SELECT order_id FROM orders", Event::Escalated);
    let columns = &body["sides"]["orders"][0]["columns"];
    let hash = columns["email"].as_str().expect("a hash");
    assert!(hash.starts_with(HASH));
    assert_eq!(*columns, json!({"order_id": 42, "status": "PAID", "email": hash, "note": "***"}));
}

/// Nobody knows any more which of its columns were masked.
#[test]
fn evidence_of_a_removed_rule_is_left_out() {
    let body = body("SELECT order_id, note AS who FROM orders", Event::Resolved(Reason::RuleRemoved));
    assert_eq!((&body["evidence"], &body["reason"]), (&json!([]), &"rule_removed".into()));
}

/// Databases hold moments, dates and times that the calendar has not: MySQL's times, PostgreSQL's years, its infinity.
#[test]
fn what_the_calendar_has_not_is_shown_all_the_same() {
    for (value, shown) in [
        (Value::Date(20_000), "2024-10-04"),
        (Value::Date(i32::MAX), "infinity"),
        (Value::Date(i32::MIN), "-infinity"),
        (Value::Date(i32::MAX - 1), "2147483646 days"),
        (Value::Date(7_304_485), "7304485 days"),
        (Value::Date(-7_304_485), "-7304485 days"),
        (Value::Timestamp(i64::MAX), "infinity"),
        (Value::Timestamp(i64::MAX - 1), "9223372036854775806us"),
        (Value::Time(i64::MIN), "-9223372036854775808us"),
        (Value::Time(86_400_000_000), "86400000000us"),
    ] {
        assert_eq!(super::to_json(&value), shown, "{value:?}");
    }
}
