//! A schema registry that is away: what needs it waits, and nothing else does.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::Path;
use axum::http::StatusCode;
use evenkeel::app::demo::connector::ORDERS;
use evenkeel::app::demo::settings::{FILE, settings_of};
use evenkeel::domain::change::Entry;
use evenkeel::task::wire::block;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use crate::support::product::Product;
use crate::support::theatre::{TOPICS, cluster};

const EVENTS: &str = include_str!("../fixtures/debezium/orders.avro-hex.jsonl");
const SCHEMAS: &str = include_str!("../fixtures/debezium/avro-schemas.json");

/// A registry that answers only while it is told to.
struct Registry {
    url: String,
    answers: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl Registry {
    fn start() -> Registry {
        let (answers, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (told, counted) = (Arc::clone(&answers), Arc::clone(&asked));
        let schemas: serde_json::Value = serde_json::from_str(SCHEMAS).expect("schemas are JSON");
        let answer = move |Path(id): Path<String>| {
            counted.fetch_add(1, Ordering::SeqCst);
            let schema = schemas[&id].to_string();
            let body = serde_json::json!({ "schema": schema }).to_string();
            let is_there = told.load(Ordering::SeqCst);
            async move { if is_there { (StatusCode::OK, body) } else { (StatusCode::SERVICE_UNAVAILABLE, String::new()) } }
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        listener.set_nonblocking(true).expect("a listener can be");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let router = axum::Router::new().route("/schemas/ids/{id}", axum::routing::get(answer));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await
        });
        Registry { url, answers, asked, _runtime: runtime }
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
}

/// What the changes log says of records: `change` or `reject`.
struct Log {
    consumer: BaseConsumer,
    catalog: evenkeel::domain::catalog::Catalog,
    lines: Vec<&'static str>,
}

impl Log {
    /// Reads on until `done`, which is asked now and then.
    fn until(&mut self, what: &str, done: impl Fn(&[&'static str]) -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while !done(&self.lines) {
            assert!(std::time::Instant::now() < deadline, "{what}: {:?}", self.lines);
            let Some(message) = self.consumer.poll(Duration::from_millis(50)) else { continue };
            let message = message.expect("the changes log can be read");
            let block = block::decode(message.payload().expect("a block"), &self.catalog).expect("a block");
            self.lines.extend(block.entries.iter().filter_map(|entry| match entry {
                Entry::Change(_) => Some("change"),
                Entry::Reject(_) => Some("reject"),
                _ => None,
            }));
        }
    }
}

#[test]
fn embedded_records_wait_for_a_registry_that_is_away() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = cluster(&TOPICS);
    let bootstrap = cluster.bootstrap_servers();
    let registry = Registry::start();
    let producer: ThreadedProducer<_> =
        ClientConfig::new().set("bootstrap.servers", &bootstrap).create().expect("a producer");
    for line in EVENTS.lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("fixtures are JSON lines");
        let value = record["value_hex"].as_str().map(unhex);
        let key = unhex(record["key_hex"].as_str().expect("a key"));
        let mut written = BaseRecord::to(ORDERS).partition(0).key(&key);
        written = match &value {
            Some(value) => written.payload(value),
            None => written,
        };
        producer.send(written).map_err(|(error, _)| error).expect("sent");
    }
    // Of another partition, and plain JSON: it waits for nobody.
    producer
        .send(BaseRecord::to(ORDERS).partition(1).key("{}").payload("{\"op\":\"c\"}"))
        .map_err(|(error, _)| error)
        .expect("sent");
    producer.flush(Duration::from_secs(10)).expect("written");

    let file = format!("registry: {{url: \"{}\"}}\n{FILE}", registry.url);
    let settings = settings_of(&file, &bootstrap, folder.path());
    let catalog = settings.plan.catalog.clone();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &bootstrap)
        .set("group.id", "embedded-registry")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    consumer.subscribe(&["evenkeel.demo.changes"]).expect("subscribed");
    let mut log = Log { consumer, catalog, lines: Vec::new() };

    let product = Product::start(settings);
    log.until("what needs no registry is read, and it is asked again and again", |lines| {
        lines == ["reject"] && registry.asked.load(Ordering::SeqCst) >= 3
    });
    registry.answers.store(true, Ordering::SeqCst);
    log.until("what waited is read", |lines| lines.len() >= 5);
    assert_eq!(
        log.lines,
        ["reject", "change", "change", "change", "change"],
        "nothing was lost, nothing quarantined"
    );
    product.stop().expect("it stops cleanly");
    assert!(folder.path().join("demo/schemas").read_dir().expect("schemas are kept").next().is_some());
}
