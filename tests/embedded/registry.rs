//! A schema registry that is away: what needs it waits, and nothing else does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use evenkeel::adapters::clock::now;
use evenkeel::app::demo::connector::{ORDERS, SHOP_HEARTBEAT};
use evenkeel::app::demo::settings::{FILE, settings_of};
use evenkeel::domain::change::{Entry, Mark};
use evenkeel::task::wire::block;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use crate::support::product::Product;
use crate::support::registry::Registry;
use crate::support::theatre::{TOPICS, cluster};

const EVENTS: &str = include_str!("../fixtures/debezium/orders.avro-hex.jsonl");
const SCHEMAS: &str = include_str!("../fixtures/debezium/avro-schemas.json");

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
}

/// What the changes log says of the orders.
struct Log {
    consumer: BaseConsumer,
    catalog: evenkeel::domain::catalog::Catalog,
    /// Of records: `change` or `reject`.
    lines: Vec<&'static str>,
    /// The partitions of the orders' topic of which something is promised.
    promised: BTreeSet<i32>,
}

impl Log {
    /// Reads on until `done`, which is asked now and then; `meanwhile` happens about every second.
    fn until(&mut self, what: &str, mut meanwhile: impl FnMut(), done: impl Fn(&Log) -> bool) {
        let began = Instant::now();
        let mut ticks = 0;
        while !done(self) {
            let elapsed = began.elapsed();
            assert!(elapsed < Duration::from_secs(60), "{what}: {:?} {:?}", self.lines, self.promised);
            if elapsed.as_secs() >= ticks {
                ticks += 1;
                meanwhile();
            }
            let Some(message) = self.consumer.poll(Duration::from_millis(50)) else { continue };
            let message = message.expect("the changes log can be read");
            let block = block::decode(message.payload().expect("a block"), &self.catalog).expect("a block");
            for entry in &block.entries {
                match entry {
                    Entry::Change(_) => self.lines.push("change"),
                    Entry::Reject(_) => self.lines.push("reject"),
                    Entry::Mark(Mark { topic_partition, .. }) => {
                        let (_, id) = &block.topic_partitions[*topic_partition];
                        self.promised.extend((&*id.topic == ORDERS).then_some(id.partition));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// A row of the orders' heartbeat table, of now: beyond everything else in the database's log.
fn heartbeat() -> String {
    let now = now();
    let position = 30_000_000 + now.0 / 1000;
    serde_json::json!({
        "op": "u", "before": null, "after": {"id": 1, "at": now.to_string(), "n": 1},
        "source": {"ts_us": now.0, "lsn": position, "sequence": format!("[\"{position}\",\"{position}\"]"), "txId": 9, "snapshot": "false"},
    })
    .to_string()
}

#[test]
fn embedded_records_wait_for_a_registry_that_is_away() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = cluster(&TOPICS);
    let bootstrap = cluster.bootstrap_servers();
    let answers = Arc::new(AtomicBool::new(false));
    let registry = {
        let answers = Arc::clone(&answers);
        let schemas: serde_json::Value = serde_json::from_str(SCHEMAS).expect("schemas are JSON");
        Registry::start(move |id, _| match answers.load(Ordering::SeqCst) {
            true => (200, serde_json::json!({"schema": schemas[id].to_string()}).to_string()),
            false => (503, String::new()),
        })
    };
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
    let mut log = Log { consumer, catalog, lines: Vec::new(), promised: BTreeSet::new() };

    let beat = || {
        let row = heartbeat();
        producer
            .send(BaseRecord::to(SHOP_HEARTBEAT).key("{}").payload(&row))
            .map_err(|(error, _)| error)
            .expect("sent");
    };

    let product = Product::start(settings);
    log.until("what needs no registry is read and promised, and it is asked again and again", beat, |log| {
        log.lines == ["reject"] && log.promised.len() == 3 && registry.asked() >= 3
    });
    assert_eq!(log.promised, [1, 2, 3].into(), "of what waits nothing is promised, though heartbeats lie beyond it");
    answers.store(true, Ordering::SeqCst);
    log.until("what waited is read and promised", beat, |log| log.lines.len() >= 5 && log.promised.contains(&0));
    assert_eq!(
        log.lines,
        ["reject", "change", "change", "change", "change"],
        "nothing was lost, nothing quarantined"
    );
    product.stop().expect("it stops cleanly");
    assert!(folder.path().join("demo/schemas").read_dir().expect("schemas are kept").next().is_some());
}
