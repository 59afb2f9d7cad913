//! Listens to everything that is published, as a consumer of committed records: each record once, in order, with the
//! revisions that follow each other; and how far each partition has looked.
//!
//! Must not know: what was done to the databases or to the members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use crate::real::{Result, wait_until};
use crate::support::schemas::{Schemas, Topic};

/// Rule and key.
pub type Pair = (String, String);

/// What was heard. Whatever must never be is in `wrong`, in words.
#[derive(Default)]
pub struct Heard {
    /// For each rule and key, the types of its records in order.
    pub said: BTreeMap<Pair, Vec<String>>,
    /// What was opened and not resolved, by id.
    pub standing: BTreeMap<String, Pair>,
    /// For each key, the rules open now, as the open topic says.
    pub open: BTreeMap<String, BTreeSet<String>>,
    /// For each partition, the settled time of its last heartbeat.
    pub settled: BTreeMap<i64, jiff::Timestamp>,
    /// For each source, what was said of its feed, in order.
    pub stalls: BTreeMap<String, Vec<String>>,
    pub repeated: Vec<String>,
    pub wrong: Vec<String>,
    pub records: usize,
    /// The last revision of each id.
    pub(super) revisions: BTreeMap<String, u64>,
    /// The last cause in each partition of each topic.
    pub(super) causes: BTreeMap<(String, i32), (i64, i64)>,
    /// The next offset of each partition of each topic.
    pub(super) next: BTreeMap<(String, i32), i64>,
}

impl Heard {
    fn hear(&mut self, topic: Topic, message: &BorrowedMessage<'_>, schemas: &Schemas) {
        let at = (message.topic().to_owned(), message.partition());
        self.next.insert(at.clone(), message.offset() + 1);
        self.records += 1;
        let place = format!("{}/{}/{}", at.0, at.1, message.offset());
        let cause = cause_of(message);
        if let Some(before) = self.causes.insert(at, cause).filter(|before| *before >= cause) {
            self.repeated.push(format!("{place}: cause {cause:?} after {before:?}"));
        }
        let key = message.key().map(|key| String::from_utf8_lossy(key).into_owned()).unwrap_or_default();
        let body: Option<Value> = message.payload().map(|body| serde_json::from_slice(body).expect("JSON"));
        if let Some(body) = &body {
            schemas.check(topic, body);
        }
        match (topic, body) {
            (Topic::Open, body) => self.hear_open(key, body.as_ref()),
            (Topic::Quarantine, body) => self.wrong.push(format!("{place}: quarantined: {body:?}")),
            (Topic::Discrepancies, Some(body)) => self.hear_discrepancy(&place, &key, &body),
            (Topic::Discrepancies, None) => self.wrong.push(format!("{place}: a null")),
        }
    }

    fn hear_open(&mut self, key: String, body: Option<&Value>) {
        let open = body.into_iter().flat_map(|body| body["open"].as_array().into_iter().flatten());
        let rules = open.filter_map(|one| one["rule"]["id"].as_str().map(str::to_owned)).collect();
        self.open.insert(key, rules);
    }

    fn hear_discrepancy(&mut self, place: &str, key: &str, body: &Value) {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        match text("type").as_str() {
            "heartbeat" => self.hear_heartbeat(place, body),
            stall @ ("source_stalled" | "source_recovered") => {
                self.stalls.entry(text("source")).or_default().push(stall.to_owned());
            }
            event => {
                let pair = (body["rule"]["id"].as_str().unwrap_or_default().to_owned(), text("key"));
                if pair.1 != key {
                    self.wrong.push(format!("{place}: of key {} under key {key}", pair.1));
                }
                self.follow(place, &text("id"), body["revision"].as_u64().unwrap_or(0), event, &pair);
                self.said.entry(pair).or_default().push(event.to_owned());
            }
        }
    }

    fn hear_heartbeat(&mut self, place: &str, body: &Value) {
        let partition = body["partition"].as_i64().expect("a partition");
        let settled = body["settled_time"].as_str().and_then(|text| text.parse().ok()).expect("a moment");
        if let Some(before) = self.settled.insert(partition, settled).filter(|before| *before > settled) {
            self.wrong.push(format!("{place}: settled {settled} after {before}"));
        }
    }

    /// An id begins with revision 1 as opened, goes on by one, and ends resolved.
    fn follow(&mut self, place: &str, id: &str, revision: u64, event: &str, pair: &Pair) {
        let before = self.revisions.insert(id.to_owned(), revision).unwrap_or(0);
        if revision <= before {
            self.repeated.push(format!("{place}: {event} {pair:?} {id}/{revision} after revision {before}"));
        } else if revision != before + 1 || (revision == 1) != (event == "opened") {
            self.wrong.push(format!("{place}: {event} {pair:?} {id}/{revision} after revision {before}"));
        }
        match event {
            "opened" => drop(self.standing.insert(id.to_owned(), pair.clone())),
            "resolved" if self.standing.remove(id).is_none() => {
                self.wrong.push(format!("{place}: {pair:?} {id} is resolved, though not open"));
            }
            _ => {}
        }
    }
}

fn cause_of(message: &BorrowedMessage<'_>) -> (i64, i64) {
    let headers = message.headers().expect("every record has headers");
    let header = headers.iter().find(|header| header.key == "evenkeel-cause").and_then(|header| header.value);
    let text = String::from_utf8_lossy(header.expect("every record has a cause")).into_owned();
    let (offset, number) = text.split_once(':').expect("offset:number");
    (offset.parse().expect("an offset"), number.parse().expect("a number"))
}

/// What was heard so far, for all threads.
pub struct Ear {
    partitions: usize,
    topics: Vec<(Topic, String)>,
    consumer: BaseConsumer,
    heard: Mutex<Heard>,
}

impl Ear {
    /// Waits until the topics are there: who publishes makes them.
    pub fn begin(bootstrap: &str, prefix: &str, partitions: usize) -> Result<Ear> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set_log_level(RDKafkaLogLevel::Emerg);
        config.set("group.id", "chaos-ear").set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed").set("fetch.wait.max.ms", "50");
        // Brokers go and come back.
        config.set("reconnect.backoff.max.ms", "500");
        let consumer: BaseConsumer = config.create()?;
        let topics: Vec<(Topic, String)> =
            [(Topic::Discrepancies, "discrepancies"), (Topic::Open, "open"), (Topic::Quarantine, "quarantine")]
                .map(|(topic, name)| (topic, format!("{prefix}.{name}")))
                .into();
        let mut list = TopicPartitionList::new();
        for (_, topic) in &topics {
            wait_until(&format!("topic {topic}"), Duration::from_secs(60), || {
                let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(5))?;
                Ok((metadata.topics()[0].partitions().len() == partitions).then_some(()))
            })?;
            for partition in 0..partitions as i32 {
                list.add_partition_offset(topic, partition, Offset::Beginning)?;
            }
        }
        consumer.assign(&list)?;
        Ok(Ear { partitions, topics, consumer, heard: Mutex::default() })
    }

    /// Listens until told to stop.
    pub fn listen(&self, stop: &AtomicBool) {
        let schemas = Schemas::load();
        while !stop.load(Ordering::Relaxed) {
            // An error is a broker's that is away.
            let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(100)) else { continue };
            let (topic, _) = self.topics.iter().find(|(_, name)| name == message.topic()).expect("an output topic");
            self.with(|heard| heard.hear(*topic, &message, &schemas));
        }
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut Heard) -> T) -> T {
        look(&mut self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Up to where all partitions have looked.
    pub fn settled(&self) -> Option<jiff::Timestamp> {
        self.with(|heard| heard.settled.values().min().copied().filter(|_| heard.settled.len() == self.partitions))
    }

    /// How far the partition that is furthest behind is behind the clock.
    pub fn lag(&self) -> Option<Duration> {
        let settled = self.settled()?;
        Some(Duration::try_from(jiff::Timestamp::now().duration_since(settled)).unwrap_or_default())
    }

    /// Waits until every partition has looked beyond a moment and something else holds; gives how long that took.
    pub fn wait_settled(
        &self,
        what: &str,
        beyond: jiff::Timestamp,
        limit: Duration,
        mut also: impl FnMut() -> Result<bool>,
    ) -> Result<Duration> {
        let began = Instant::now();
        let waited = wait_until(what, limit, || {
            let is_settled = self.settled().is_some_and(|settled| settled > beyond);
            Ok((also()? && is_settled).then_some(()))
        });
        waited.map_err(|error| {
            let settled = self.with(|heard| format!("{:?}", heard.settled));
            error.during(&format!("wanted beyond {beyond}, settled {settled}"))
        })?;
        Ok(began.elapsed())
    }

    /// Waits until all is heard that is committed now.
    pub fn wait_heard(&self, limit: Duration) -> Result {
        let mut ends = BTreeMap::new();
        for (_, topic) in &self.topics {
            for partition in 0..self.partitions as i32 {
                let (_, end) = self.consumer.fetch_watermarks(topic, partition, Duration::from_secs(15))?;
                ends.insert((topic.clone(), partition), end);
            }
        }
        // The last record of a transaction is followed by its marker.
        wait_until("all to be heard", limit, || {
            let all = ends.iter().all(|(at, end)| self.with(|h| h.next.get(at).copied().unwrap_or(0)) >= end - 1);
            Ok(all.then_some(()))
        })
    }
}
