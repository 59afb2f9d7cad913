//! Reads the demo's output topics and holds the form of every record against what is promised: headers, causes, schema.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel::adapters::records::avro;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use super::schemas::{Schemas, Topic};

pub const JSON: &str = "application/json";
pub const AVRO: &str = "application/avro";

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
    /// In which forms discrepancies and what is open may come.
    pub forms: &'static [&'static str],
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
        Audience { consumer, forms: &[JSON], schemas: Schemas::load(), causes: BTreeMap::new() }
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

    fn read(&self, topic: Topic, header: &dyn Fn(&str) -> String, body: &[u8]) -> Value {
        let form = header("content-type");
        let forms = if topic == Topic::Quarantine { &[JSON] } else { self.forms };
        assert!(forms.contains(&form.as_str()), "{form} where {forms:?} should be");
        match form == AVRO {
            true => avro::read(&header("ce_dataschema"), body).expect("it is as its schema says"),
            false => serde_json::from_slice(body).expect("JSON"),
        }
    }

    fn hear(&mut self, message: &OwnedMessage) -> Said {
        let (_, topic) = *OUTPUTS.iter().find(|(name, _)| *name == message.topic()).expect("an output topic");
        let header = |name: &str| {
            let headers = message.headers().expect("every record has headers");
            let found = headers.iter().find(|header| header.key == name).and_then(|header| header.value);
            String::from_utf8(found.unwrap_or_else(|| panic!("no header {name}")).to_vec()).expect("text")
        };
        assert_eq!(header("ce_specversion"), "1.0");
        let cause = header("evenkeel-cause");
        let (offset, number) = cause.split_once(':').expect("offset:number");
        let cause = (offset.parse().expect("a number"), number.parse().expect("a number"));
        let last = self.causes.insert((message.topic().to_owned(), message.partition()), cause);
        assert!(last.is_none_or(|last| last < cause), "causes rise along a partition: {last:?}, then {cause:?}");
        let body = message.payload().map(|body| self.read(topic, &header, body));
        if let Some(body) = &body {
            self.schemas.check(topic, body);
        }
        assert!(body.is_some() || topic == Topic::Open, "the {topic:?} topic has no nulls");
        let key = message.key().map(|key| String::from_utf8(key.to_vec()).expect("text"));
        Said { topic, id: header("ce_id"), key, body }
    }
}
