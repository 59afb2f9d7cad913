//! The demo's two databases and their connectors, played against any broker, and everything that came out, checked.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant as Moment};

use evenkeel::adapters::clock::now;
use evenkeel::app::demo::connector::{
    Connector, Database, ORDERS, Outgoing, PAY_HEARTBEAT, PAYMENTS, SHOP_HEARTBEAT,
};
use evenkeel::app::demo::judge::{Judge, Seen};
use evenkeel::app::demo::settings::settings;
use evenkeel::app::demo::world::{Logged, World};
use evenkeel::app::settings::Settings;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::Value;

use super::audience::{Audience, Said};
use super::product::Product;
use super::schemas::Topic;

/// The topics that must be there, with their partition counts.
pub const TOPICS: [(&str, i32); 8] = [
    (ORDERS, 4),
    (PAYMENTS, 3),
    (SHOP_HEARTBEAT, 1),
    (PAY_HEARTBEAT, 1),
    ("evenkeel.demo.changes", 2),
    ("evenkeel.demo.discrepancies", 2),
    ("evenkeel.demo.open", 2),
    ("evenkeel.demo.quarantine", 2),
];

/// A mock cluster with topics, each with its partition count.
pub fn cluster(topics: &[(&str, i32)]) -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).expect("a mock cluster starts");
    for (topic, partitions) in topics {
        cluster.create_topic(topic, *partitions, 1).expect("a topic is created");
    }
    cluster
}

/// How long a broker may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Both databases, their connectors, and everything that came out.
pub struct Theatre {
    bootstrap: String,
    pub producer: ThreadedProducer<DefaultProducerContext>,
    /// True where what the connectors write at a time is one transaction.
    transactions: bool,
    /// Where the connectors write what: to the table's one topic, unless told otherwise.
    pub topic_of: fn(&Outgoing) -> String,
    pub audience: Audience,
    world: World,
    connectors: [Connector; 2],
    pub judge: Judge,
    injected: usize,
    next_arrival: i64,
    /// For each key, what the open topic last said of it.
    pub open: BTreeMap<String, Option<Value>>,
    pub quarantined: Vec<Value>,
}

impl Theatre {
    /// `connectors` are more librdkafka properties of their producer.
    pub fn new(bootstrap: &str, connectors: &[(&str, &str)]) -> Theatre {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap);
        for (name, value) in connectors {
            config.set(*name, *value);
        }
        let producer: ThreadedProducer<_> = config.create().expect("a producer");
        let transactions = config.get("transactional.id").is_some();
        if transactions {
            producer.init_transactions(ANSWER).expect("transactions");
        }
        let began = now().0;
        Theatre {
            bootstrap: bootstrap.to_owned(),
            producer,
            transactions,
            topic_of: |outgoing| outgoing.topic.to_owned(),
            audience: Audience::new(bootstrap),
            world: World::new(7),
            connectors: [Connector::new(Database::Shop, began), Connector::new(Database::Pay, began)],
            judge: Judge::default(),
            injected: 0,
            next_arrival: began,
            open: BTreeMap::new(),
            quarantined: Vec::new(),
        }
    }

    pub fn product(&self, state: &Path) -> Product {
        Product::start(self.settings(state))
    }

    pub fn settings(&self, state: &Path) -> Settings {
        let mut settings = settings(&self.bootstrap, state);
        // The mock cluster lets a rebalance last as long as a session may.
        for (name, value) in [("session.timeout.ms", "3000"), ("heartbeat.interval.ms", "500")] {
            settings.kafka.insert(name.to_owned(), value.to_owned());
        }
        settings
    }

    /// Lets time pass until a condition holds; `customers` come or not.
    pub fn play(&mut self, customers: bool, limit: Duration, mut until: impl FnMut(&Theatre) -> bool) {
        let deadline = Moment::now() + limit;
        while !until(self) {
            assert!(Moment::now() < deadline, "it did not happen in {limit:?}:\n{}", self.judge.summary());
            self.tick(customers);
        }
    }

    /// True where the open topic last said that a discrepancy's rule is open for its order.
    pub fn is_open(&self, seen: &Seen) -> bool {
        let said = self.open.get(&seen.order).and_then(Option::as_ref);
        let mut open = said.into_iter().flat_map(|body| body["open"].as_array().into_iter().flatten());
        open.any(|open| open["rule"]["id"].as_str() == Some(&seen.rule))
    }

    /// One more change, committed now.
    pub fn commit(&mut self, logged: &Logged) {
        self.connectors[usize::from(matches!(logged, Logged::Payment { .. }))].log(now().0, logged);
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
            send(&self.producer, self.transactions, self.topic_of, &connector.drain(at));
        }
        for said in self.audience.listen(Duration::from_millis(10)) {
            self.hear(said);
        }
    }

    fn hear(&mut self, said: Said) {
        let Said { topic, id, key, body } = said;
        match topic {
            Topic::Discrepancies => {
                let body = body.expect("it has one");
                assert_eq!(key.as_deref(), body["key"].as_str(), "the record's key is the order's");
                self.judge.hear(&id, &body, now().0);
            }
            Topic::Open => {
                self.open.insert(key.expect("the open topic is keyed"), body);
            }
            Topic::Quarantine => self.quarantined.push(body.expect("it has one")),
        }
    }
}

fn send(
    producer: &ThreadedProducer<DefaultProducerContext>,
    transactions: bool,
    topic_of: fn(&Outgoing) -> String,
    all: &[Outgoing],
) {
    let is_transaction = transactions && !all.is_empty();
    if is_transaction {
        producer.begin_transaction().expect("begun");
    }
    for outgoing in all {
        let topic = topic_of(outgoing);
        let sent = producer.send(BaseRecord::to(&topic).key(&outgoing.key).payload(&outgoing.value));
        sent.map_err(|(error, _)| error).expect("sent");
    }
    if is_transaction {
        producer.commit_transaction(ANSWER).expect("committed");
    }
}
