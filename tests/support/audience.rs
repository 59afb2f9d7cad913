//! Reads the demo's output topics and holds the form of every record against what is promised: headers, causes, schema.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use super::schemas::{Schemas, Topic};

const OUTPUTS: [(&str, Topic); 3] = [
    ("evenkeel.demo.discrepancies", Topic::Discrepancies),
    ("evenkeel.demo.open", Topic::Open),
    ("evenkeel.demo.quarantine", Topic::Quarantine),
];

/// A record of an output topic.
pub struct Said {
    pub topic: Topic,
    /// The CloudEvent's.
    pub id: String,
    pub key: Option<String>,
    /// `None` only on the open topic.
    pub body: Option<Value>,
}

/// A reader of the output topics, from their beginning.
pub struct Audience {
    consumer: BaseConsumer,
    schemas: Schemas,
    causes: BTreeMap<(String, i32), (i64, u32)>,
}

impl Audience {
    pub fn new(bootstrap: &str) -> Audience {
        let mut config = ClientConfig::new();
        let consumer: BaseConsumer =
            config.set("bootstrap.servers", bootstrap).set("group.id", "watcher").create().expect("a consumer");
        let mut all = TopicPartitionList::new();
        for (topic, partition) in OUTPUTS.iter().flat_map(|(topic, _)| [(topic, 0), (topic, 1)]) {
            all.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&all).expect("assigned");
        Audience { consumer, schemas: Schemas::load(), causes: BTreeMap::new() }
    }

    /// What was said since, or is within a time.
    pub fn listen(&mut self, mut within: Duration) -> Vec<Said> {
        let mut heard = Vec::new();
        while let Some(polled) = self.consumer.poll(within) {
            let message = polled.expect("the watcher reads").detach();
            heard.push(self.hear(&message));
            within = Duration::ZERO;
        }
        heard
    }

    fn hear(&mut self, message: &OwnedMessage) -> Said {
        let (_, topic) = *OUTPUTS.iter().find(|(name, _)| *name == message.topic()).expect("an output topic");
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
            self.schemas.check(topic, body);
        }
        assert!(body.is_some() || topic == Topic::Open, "the {topic:?} topic has no nulls");
        let key = message.key().map(|key| String::from_utf8(key.to_vec()).expect("text"));
        Said { topic, id: header("ce_id"), key, body }
    }
}
