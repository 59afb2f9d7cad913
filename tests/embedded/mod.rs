//! The product on librdkafka's mock cluster: real stages, consumers, producers and stores, without a broker to install.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant as Moment};

use evenkeel::adapters::clock::now;
use evenkeel::app::demo::connector::{
    Connector, Database, ORDERS, Outgoing, PAY_HEARTBEAT, PAYMENTS, SHOP_HEARTBEAT,
};
use evenkeel::app::demo::judge::Judge;
use evenkeel::app::demo::settings::settings;
use evenkeel::app::demo::world::{Logged, World};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use crate::support::product::Product;
use crate::support::schemas::{Schemas, Topic};

const SOURCES: [(&str, i32); 4] = [(ORDERS, 4), (PAYMENTS, 3), (SHOP_HEARTBEAT, 1), (PAY_HEARTBEAT, 1)];

const OUTPUTS: [(&str, Topic); 3] = [
    ("evenkeel.demo.discrepancies", Topic::Discrepancies),
    ("evenkeel.demo.open", Topic::Open),
    ("evenkeel.demo.quarantine", Topic::Quarantine),
];

/// Both databases, their connectors, and everything that came out.
struct Theatre {
    bootstrap: String,
    producer: ThreadedProducer<DefaultProducerContext>,
    watcher: BaseConsumer,
    schemas: Schemas,
    world: World,
    connectors: [Connector; 2],
    judge: Judge,
    injected: usize,
    next_arrival: i64,
    /// For each key, what the open topic last said of it.
    open: BTreeMap<String, Option<Value>>,
    quarantined: Vec<Value>,
    causes: BTreeMap<(String, i32), (i64, u32)>,
    _cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Theatre {
    fn new() -> Theatre {
        let cluster = MockCluster::new(1).expect("a mock cluster starts");
        let own = OUTPUTS.iter().map(|(topic, _)| (*topic, 2)).chain([("evenkeel.demo.changes", 2)]);
        for (topic, partitions) in SOURCES.into_iter().chain(own) {
            cluster.create_topic(topic, partitions, 1).expect("a topic is created");
        }
        let bootstrap = cluster.bootstrap_servers();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &bootstrap);
        let producer = config.create().expect("a producer");
        let watcher: BaseConsumer = config.set("group.id", "watcher").create().expect("a consumer");
        let mut all = TopicPartitionList::new();
        for (topic, partition) in OUTPUTS.iter().flat_map(|(topic, _)| [(topic, 0), (topic, 1)]) {
            all.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        watcher.assign(&all).expect("assigned");
        let began = now().0;
        Theatre {
            bootstrap,
            producer,
            watcher,
            schemas: Schemas::load(),
            world: World::new(7),
            connectors: [Connector::new(Database::Shop, began), Connector::new(Database::Pay, began)],
            judge: Judge::default(),
            injected: 0,
            next_arrival: began,
            open: BTreeMap::new(),
            quarantined: Vec::new(),
            causes: BTreeMap::new(),
            _cluster: cluster,
        }
    }

    fn product(&self, state: &Path) -> Product {
        let mut settings = settings(&self.bootstrap, state);
        // The mock cluster lets a rebalance last as long as a session may.
        for (name, value) in [("session.timeout.ms", "3000"), ("heartbeat.interval.ms", "500")] {
            settings.kafka.insert(name.to_owned(), value.to_owned());
        }
        Product::start(settings)
    }

    /// Lets time pass until a condition holds; `customers` come or not.
    fn play(&mut self, customers: bool, limit: Duration, mut until: impl FnMut(&Theatre) -> bool) {
        let deadline = Moment::now() + limit;
        while !until(self) {
            assert!(Moment::now() < deadline, "it did not happen in {limit:?}:\n{}", self.judge.summary());
            self.tick(customers);
        }
    }

    fn tick(&mut self, customers: bool) {
        let at = now().0;
        while self.next_arrival <= at {
            if customers {
                self.world.arrive(self.next_arrival, true);
            }
            self.next_arrival += 10_000;
        }
        for injected in &self.world.injected[self.injected..] {
            self.judge.inject(injected);
        }
        self.injected = self.world.injected.len();
        for (when, logged) in self.world.advance(at) {
            self.connectors[usize::from(matches!(logged, Logged::Payment { .. }))].log(when, &logged);
        }
        for connector in &mut self.connectors {
            connector.heartbeat(at);
            for Outgoing { topic, key, value, .. } in connector.drain(at) {
                let sent = self.producer.send(BaseRecord::to(topic).key(&key).payload(&value));
                sent.map_err(|(error, _)| error).expect("sent");
            }
        }
        let mut timeout = Duration::from_millis(10);
        while let Some(polled) = self.watcher.poll(timeout) {
            let message = polled.expect("the watcher reads").detach();
            self.hear(&message);
            timeout = Duration::ZERO;
        }
    }

    fn hear(&mut self, message: &rdkafka::message::OwnedMessage) {
        let (_, topic) = OUTPUTS.iter().find(|(name, _)| *name == message.topic()).expect("an output topic");
        let header = |name: &str| {
            let headers = message.headers().expect("every record has headers");
            let found = headers.iter().find(|header| header.key == name).and_then(|header| header.value);
            String::from_utf8(found.unwrap_or_else(|| panic!("no header {name}")).to_vec()).expect("text")
        };
        assert_eq!((header("ce_specversion").as_str(), header("content-type").as_str()), ("1.0", "application/json"));
        let cause = header("evenkeel-cause");
        let (offset, number) = cause.split_once(':').expect("offset:number");
        let cause = (offset.parse().expect("a number"), number.parse().expect("a number"));
        let last = self.causes.insert((message.topic().to_owned(), message.partition()), cause);
        assert!(last.is_none_or(|last| last < cause), "causes rise along a partition: {last:?}, then {cause:?}");
        let body: Option<Value> = message.payload().map(|body| serde_json::from_slice(body).expect("JSON"));
        if let Some(body) = &body {
            self.schemas.check(*topic, body);
        }
        let key = message.key().map(|key| String::from_utf8(key.to_vec()).expect("text"));
        match topic {
            Topic::Discrepancies => {
                let body = body.expect("the discrepancy topic has no nulls");
                assert_eq!(key.as_deref(), body["key"].as_str(), "the record's key is the order's");
                self.judge.hear(&header("ce_id"), &body, now().0);
            }
            Topic::Open => {
                self.open.insert(key.expect("the open topic is keyed"), body);
            }
            Topic::Quarantine => self.quarantined.push(body.expect("the quarantine topic has no nulls")),
        }
    }
}

#[test]
fn embedded_faults_are_found_once_while_members_come_and_go() {
    evenkeel::adapters::telemetry::install_logs();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut theatre = Theatre::new();
    let first = theatre.product(&folder.path().join("first"));
    theatre.play(true, Duration::from_secs(40), |theatre| theatre.judge.seen.len() >= 3);
    let garbage = BaseRecord::<str, str>::to(PAYMENTS).key("{}").payload("{\"op\":\"c\"}");
    theatre.producer.send(garbage).map_err(|(error, _)| error).expect("sent");

    let second = theatre.product(&folder.path().join("second"));
    theatre
        .play(true, Duration::from_secs(40), |_| second.status.is_ready() && !second.status.partitions().is_empty());
    let before = theatre.judge.seen.len();
    theatre.play(true, Duration::from_secs(40), |theatre| theatre.judge.seen.len() >= before + 3);

    first.stop().expect("the first member stops cleanly");
    theatre.play(true, Duration::from_secs(40), |_| second.status.partitions().len() == 2);
    theatre.play(false, Duration::from_secs(60), |theatre| theatre.judge.is_complete());
    assert!(second.is_running());
    second.stop().expect("the second member stops cleanly");
    theatre.producer.flush(Duration::from_secs(5)).expect("flushed");

    let summary = theatre.judge.summary();
    assert!(summary.is_right(), "{summary}");
    assert!(summary.injected() >= 6, "{summary}");
    let reasons: Vec<&str> = theatre.quarantined.iter().filter_map(|body| body["reason"].as_str()).collect();
    assert_eq!(reasons, ["not_debezium"]);
    for seen in &theatre.judge.seen {
        let open = theatre.open.get(&seen.order).unwrap_or_else(|| panic!("nothing open for {}", seen.order));
        let rules: Vec<&str> = open
            .iter()
            .flat_map(|body| body["open"].as_array().into_iter().flatten())
            .filter_map(|open| open["rule"]["id"].as_str())
            .collect();
        assert_eq!(rules.contains(&seen.rule.as_str()), seen.resolved.is_none(), "{seen:?}: {open:?}");
    }
}
