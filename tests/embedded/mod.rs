//! The product on librdkafka's mock cluster: the real stages, consumers and producers, without a broker to install.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Moment};

use evenkeel::adapters::clock::now;
use evenkeel::adapters::debezium::shape::{ConnectorKind, DecimalMode, Mask, SourceShape};
use evenkeel::app::demo::connector::{Connector, Database, Outgoing};
use evenkeel::app::demo::world::World;
use evenkeel::app::reconcile_stage::ReconcileStatus;
use evenkeel::app::run::{Stages, run};
use evenkeel::app::settings::{
    ConnectorSettings, HeartbeatSettings, Limits, Settings, SourceSettings, TopicSelection, TopicSettings,
};
use evenkeel::domain::catalog::{Catalog, Column, SourceTable};
use evenkeel::domain::rule::{Plan, SourcePlan};
use evenkeel::domain::value::Type;
use evenkeel::task::ingest::Patience;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

fn shape(connector: ConnectorKind, columns: &[(&str, Type)], key: usize) -> Arc<SourceShape> {
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

fn settings(bootstrap: &str, state_dir: &std::path::Path) -> Settings {
    let orders = shape(
        ConnectorKind::Postgresql,
        &[("order_id", Type::Int), ("payment_status", Type::Text), ("total", Type::Decimal { scale: Some(2) })],
        0,
    );
    let payments = shape(
        ConnectorKind::Mariadb,
        &[
            ("id", Type::Int),
            ("order_id", Type::Int),
            ("status", Type::Text),
            ("amount", Type::Decimal { scale: Some(2) }),
        ],
        1,
    );
    let table = |name: &str, shape: &SourceShape| SourceTable {
        name: name.to_owned(),
        columns: shape.columns.clone(),
        key: shape.key,
        primary_key: shape.primary_key.clone(),
    };
    let source = |connector| SourcePlan { connector, find_rows: false, partial_history: false };
    let plan = Plan {
        reconciliation: "demo".into(),
        catalog: Catalog { sources: vec![table("orders", &orders), table("payments", &payments)], lookups: vec![] },
        sources: vec![source(1), source(0)],
        rules: vec![],
        heartbeat_us: 1_000_000,
    };
    let beat = |kind| shape(kind, &[("id", Type::Int), ("at", Type::TimestampTz)], 1);
    let connector = |name: &str, commit_time, topic: &str, kind| ConnectorSettings {
        name: name.to_owned(),
        commit_time,
        heartbeat: Some(HeartbeatSettings { topic: topic.to_owned(), shape: beat(kind) }),
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
            connector("pay", false, "pay.pay.heartbeat", ConnectorKind::Mariadb),
            connector("shop", true, "shop.shop.heartbeat", ConnectorKind::Postgresql),
        ],
        sources: vec![named("orders", "shop.shop.orders", orders), named("payments", "pay.pay.payments", payments)],
        kafka: BTreeMap::from([("bootstrap.servers".to_owned(), bootstrap.to_owned())]),
        topics: TopicSettings {
            changes: "e.changes".to_owned(),
            discrepancies: "e.discrepancies".to_owned(),
            open: "e.open".to_owned(),
            quarantine: "e.quarantine".to_owned(),
            partitions: 2,
            replication_factor: 1,
            ingest_group: "e-ingest".to_owned(),
            reconcile_group: "e-reconcile".to_owned(),
            transactional_id: "e".to_owned(),
        },
        state_dir: state_dir.to_owned(),
        limits: Limits {
            cache_bytes: 16 << 20,
            rocksdb_bytes: 16 << 20,
            fetch_bytes: 16 << 20,
            block_bytes: 256 << 10,
            linger_ms: 50,
            flush_ms: 500,
        },
        http: None,
        patience: Patience { slack_us: 300_000, stall_after_us: 5_000_000 },
        mask_key: Box::default(),
    }
}

#[test]
fn embedded_settled_time_moves_and_heartbeats_come_out() {
    let cluster = MockCluster::new(1).expect("a mock cluster starts");
    let topics =
        [("shop.shop.orders", 4), ("pay.pay.payments", 3), ("shop.shop.heartbeat", 1), ("pay.pay.heartbeat", 1)];
    let outputs = [("e.changes", 2), ("e.discrepancies", 2), ("e.open", 2), ("e.quarantine", 2)];
    for (topic, partitions) in topics.into_iter().chain(outputs) {
        cluster.create_topic(topic, partitions, 1).expect("a topic is created");
    }
    let bootstrap = cluster.bootstrap_servers();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = Arc::new(settings(&bootstrap, folder.path()));
    let stop = Arc::new(AtomicBool::new(false));
    let status = Arc::new(ReconcileStatus::default());
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
    let product = {
        let (stop, status) = (Arc::clone(&stop), Arc::clone(&status));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(run(settings, Stages::Both, stop, status, metrics))
        })
    };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &bootstrap);
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = config.create().expect("a producer");
    let consumer: BaseConsumer =
        config.clone().set("group.id", "t").set("auto.offset.reset", "earliest").create().expect("a consumer");
    consumer.subscribe(&["e.discrepancies"]).expect("subscribed");
    let mut world = World::new(1);
    let began = now().0;
    let mut connectors = [Connector::new(Database::Shop, began), Connector::new(Database::Pay, began)];
    let mut heartbeats = Vec::new();
    let deadline = Moment::now() + Duration::from_secs(30);
    while heartbeats.len() < 4 && Moment::now() < deadline {
        let at = now().0;
        world.arrive(at, false);
        for (when, logged) in world.advance(at) {
            let is_order = matches!(logged, evenkeel::app::demo::world::Logged::Order { .. });
            connectors[usize::from(!is_order)].log(when, &logged);
        }
        for connector in &mut connectors {
            connector.heartbeat(at);
            for Outgoing { topic, key, value, .. } in connector.drain(at) {
                producer.send(BaseRecord::to(topic).key(&key).payload(&value)).map_err(|(e, _)| e).expect("sent");
            }
        }
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) {
            heartbeats.push(String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned());
        }
    }
    stop.store(true, Ordering::Relaxed);
    producer.flush(Duration::from_secs(5)).expect("flushed");
    product.join().expect("no panic").expect("no failure");
    assert!(heartbeats.len() >= 4, "{heartbeats:?}");
    assert!(heartbeats.iter().all(|body| body.contains("\"type\":\"heartbeat\"")), "{heartbeats:?}");
    assert!(status.partitions().iter().any(|(_, status)| status.changes.load(Ordering::Relaxed) > 10));
}
