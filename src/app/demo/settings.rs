//! The demo's configuration.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::connector::{ORDERS, PAY_HEARTBEAT, PAYMENTS, SHOP_HEARTBEAT};
use crate::adapters::debezium::shape::{ConnectorKind, DecimalMode, Mask, SourceShape};
use crate::app::settings::{
    ConnectorSettings, HeartbeatSettings, Limits, Settings, SourceSettings, TopicSelection, TopicSettings,
};
use crate::domain::catalog::{Catalog, Column, LookupTable, SourceTable};
use crate::domain::rule::{Plan, Rule, SourcePlan};
use crate::domain::sql::Query;
use crate::domain::value::{Type, Value};
use crate::task::ingest::Patience;

const RULES: [(&str, i64, &str, &[&str]); 6] = [
    (
        "paid-without-payment",
        4,
        "SELECT o.order_id, o.total AS amount_at_risk, o.currency FROM orders o LEFT JOIN payments p ON p.order_id = o.order_id AND p.status = 'CAPTURED' WHERE o.payment_status = 'PAID' AND p.id IS NULL",
        &[],
    ),
    (
        "captured-amount",
        4,
        "SELECT o.order_id, o.total, SUM(p.amount) FILTER (WHERE p.status = 'CAPTURED') AS captured FROM orders o JOIN payments p ON p.order_id = o.order_id AND p.status = 'CAPTURED' WHERE o.payment_status = 'PAID' GROUP BY o.order_id HAVING o.total <> COALESCE(SUM(p.amount) FILTER (WHERE p.status = 'CAPTURED'), 0)",
        &[],
    ),
    (
        "duplicate-capture",
        4,
        "SELECT order_id, amount AS amount_at_risk, COUNT(*) AS times FROM payments WHERE kind = 'CAPTURE' AND status = 'CAPTURED' GROUP BY order_id, amount HAVING COUNT(*) > 1",
        &["amount_at_risk"],
    ),
    (
        "payment-without-order",
        4,
        "SELECT p.order_id, p.id AS payment_id, p.amount AS amount_at_risk FROM orders o RIGHT JOIN payments p ON p.order_id = o.order_id WHERE o.order_id IS NULL AND p.status = 'CAPTURED'",
        &["payment_id"],
    ),
    (
        "status-matrix",
        4,
        "SELECT o.order_id, o.payment_status, COUNT(*) FILTER (WHERE p.kind = 'REFUND') AS refunds FROM orders o JOIN payments p ON p.order_id = o.order_id WHERE o.payment_status = 'CANCELLED' GROUP BY o.order_id HAVING COUNT(*) FILTER (WHERE p.kind = 'REFUND') = 0",
        &[],
    ),
    (
        "stuck-pending",
        15,
        "SELECT order_id, total AS amount_at_risk FROM orders WHERE payment_status = 'PENDING'",
        &[],
    ),
];

pub fn settings(bootstrap: &str, state_dir: &Path) -> Settings {
    let money = Type::Decimal { scale: Some(2) };
    let orders = shape(
        ConnectorKind::Postgresql,
        0,
        &[("order_id", Type::Int), ("payment_status", Type::Text), ("total", money), ("currency", Type::Text)],
    );
    let payments = shape(
        ConnectorKind::Mariadb,
        1,
        &[
            ("id", Type::Int),
            ("order_id", Type::Int),
            ("kind", Type::Text),
            ("status", Type::Text),
            ("amount", money),
        ],
    );
    let table = |name: &str, shape: &SourceShape| SourceTable {
        name: name.to_owned(),
        columns: shape.columns.clone(),
        key: shape.key,
        primary_key: shape.primary_key.clone(),
    };
    let catalog = Catalog {
        sources: vec![table("orders", &orders), table("payments", &payments)],
        lookups: Vec::<LookupTable>::new(),
    };
    let _ = Value::Null;
    let rule = |(id, grace, sql, identity): &(&str, i64, &str, &[&str])| {
        let query = Query::compile(sql, &catalog).expect("the demo's rules compile");
        let identity = identity
            .iter()
            .filter_map(|name| query.columns().iter().position(|column| column.name == *name))
            .collect();
        Rule {
            id: (*id).into(),
            version: "1".into(),
            query,
            grace_us: grace * 1_000_000,
            escalations: Vec::new(),
            keep_open_for_us: 0,
            flap_window_us: 60_000_000,
            identity,
            labels: BTreeMap::from([("severity".to_owned(), "high".to_owned())]),
            annotations: BTreeMap::new(),
        }
    };
    let source = |connector| SourcePlan { connector, find_rows: false, partial_history: false };
    let rules = RULES.iter().map(rule).collect();
    let plan = Plan {
        reconciliation: "demo".into(),
        rules,
        catalog,
        sources: vec![source(1), source(0)],
        heartbeat_us: 1_000_000,
    };
    let connector = |name: &str, commit_time, topic: &str, kind| ConnectorSettings {
        name: name.to_owned(),
        commit_time,
        heartbeat: Some(HeartbeatSettings {
            topic: topic.to_owned(),
            shape: shape(kind, 1, &[("id", Type::Int), ("at", Type::TimestampTz)]),
        }),
    };
    let named = |name: &str, topic: &str, shape| SourceSettings {
        name: name.to_owned(),
        topics: TopicSelection::List(vec![topic.to_owned()]),
        shape,
        key_may_change: false,
    };
    Settings {
        plan: Arc::new(plan),
        connectors: vec![
            connector("pay", false, PAY_HEARTBEAT, ConnectorKind::Mariadb),
            connector("shop", true, SHOP_HEARTBEAT, ConnectorKind::Postgresql),
        ],
        sources: vec![named("orders", ORDERS, orders), named("payments", PAYMENTS, payments)],
        kafka: BTreeMap::from([("bootstrap.servers".to_owned(), bootstrap.to_owned())]),
        topics: TopicSettings {
            changes: "evenkeel.demo.changes".to_owned(),
            discrepancies: "evenkeel.demo.discrepancies".to_owned(),
            open: "evenkeel.demo.open".to_owned(),
            quarantine: "evenkeel.demo.quarantine".to_owned(),
            partitions: 2,
            replication_factor: 1,
            ingest_group: "evenkeel.demo.ingest".to_owned(),
            reconcile_group: "evenkeel.demo.reconcile".to_owned(),
            transactional_id: "evenkeel.demo".to_owned(),
        },
        state_dir: state_dir.to_owned(),
        limits: Limits {
            cache_bytes: 64 << 20,
            rocksdb_bytes: 64 << 20,
            fetch_bytes: 16 << 20,
            block_bytes: 256 << 10,
            linger_ms: 100,
            flush_ms: 1000,
        },
        http: None,
        patience: Patience { slack_us: 1_000_000, stall_after_us: 5_000_000 },
        mask_key: Box::default(),
    }
}

fn shape(connector: ConnectorKind, key: usize, columns: &[(&str, Type)]) -> Arc<SourceShape> {
    Arc::new(SourceShape {
        connector,
        columns: columns.iter().map(|(name, ty)| Column { name: (*name).to_owned(), ty: *ty }).collect(),
        masks: vec![Mask::Show; columns.len()],
        primary_key: vec![0],
        key,
        decimal_mode: Some(DecimalMode::String),
        precisions: vec![Some(12); columns.len()],
        placeholder: "__debezium_unavailable_value".to_owned(),
        full_before: connector != ConnectorKind::Postgresql,
    })
}
