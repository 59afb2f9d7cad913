//! A fixer to begin with: follows the discrepancy topic and prints what a real one would do.
//!
//! cargo add rdkafka@0.39 serde_json@1 serde_avro_fast@2 serde@1 --features serde/derive && cargo add ureq@3 --features json

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use serde::Deserialize;
use serde_avro_fast::{Schema, from_datum_slice};
use serde_json::Value;

type Failure = Box<dyn Error>;

/// What a fixer needs of a discrepancy. Of a heartbeat or a source's notice only the type is there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    revision: i64,
    rule: Rule,
    key: String,
    flap_count: i64,
    amount_at_risk: Value,
    currency: Value,
}

#[derive(Debug, Default, Deserialize)]
struct Rule {
    id: String,
}

/// Reads Avro in Confluent's framing: a zero byte, the schema's id in four bytes, the datum.
struct Schemas {
    registry: String,
    known: HashMap<u32, Schema>,
}

impl Schemas {
    fn read(&mut self, value: &[u8]) -> Result<Event, Failure> {
        let [0, a, b, c, d, datum @ ..] = value else {
            return Err("not framed as Confluent's serializers do".into());
        };
        let id = u32::from_be_bytes([*a, *b, *c, *d]);
        if !self.known.contains_key(&id) {
            let url = format!("{}/schemas/ids/{id}", self.registry);
            let answer: Value = ureq::get(&url).call()?.body_mut().read_json()?;
            self.known.insert(id, answer["schema"].as_str().ok_or("the answer has no schema")?.parse()?);
        }
        Ok(from_datum_slice(datum, &self.known[&id])?)
    }
}

/// Decides what to do. A real one keeps the revisions in its own database, beside what it did.
#[derive(Default)]
struct Fixer {
    revisions: HashMap<String, i64>,
}

impl Fixer {
    fn hear(&mut self, event: Event) {
        let is_known = matches!(event.kind.as_str(), "opened" | "updated" | "escalated" | "resolved");
        let last = self.revisions.get(&event.id).copied().unwrap_or(0);
        if !is_known || event.revision <= last {
            return;
        }
        self.revisions.insert(event.id.clone(), event.revision);
        if event.flap_count == 0 {
            act(&event);
        }
    }
}

fn act(event: &Event) {
    let Event { kind, rule, key, id, revision, .. } = event;
    let [amount, currency] = [&event.amount_at_risk, &event.currency].map(|value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    });
    println!("{kind} {} {key} {amount} {currency} {id}/{revision}", rule.id);
}

fn read(message: &BorrowedMessage<'_>, schemas: &mut Schemas) -> Result<Event, Failure> {
    let value = message.payload().ok_or("the discrepancy topic has no nulls")?;
    let header = message.headers().and_then(|headers| headers.iter().find(|header| header.key == "content-type"));
    match header.and_then(|header| header.value) {
        Some(b"application/json") => Ok(serde_json::from_slice(value)?),
        Some(b"application/avro") => schemas.read(value),
        other => Err(format!("content-type {other:?} cannot be read").into()),
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, group, rest @ ..] = &arguments[..] else {
        return Err("fixer BOOTSTRAP TOPIC GROUP [REGISTRY]".into());
    };
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        // An offset is committed once its record was acted upon.
        .set("enable.auto.offset.store", "false")
        .create()?;
    consumer.subscribe(&[topic])?;
    let registry = rest.first().cloned().unwrap_or_else(|| "http://localhost:8081".to_owned());
    let (mut fixer, mut schemas) = (Fixer::default(), Schemas { registry, known: HashMap::new() });
    loop {
        let Some(message) = consumer.poll(Duration::from_secs(1)) else { continue };
        let message = message?;
        fixer.hear(read(&message, &mut schemas)?);
        consumer.store_offset_from_message(&message)?;
    }
}
