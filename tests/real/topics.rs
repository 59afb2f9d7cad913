//! Topics as a test sees them: made beforehand, read from the beginning with read_committed, measured.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use super::error::{Error, Result, wait_until};

const REQUEST: Duration = Duration::from_secs(15);

/// How long an election may take.
const LEADER: Duration = Duration::from_secs(20);

/// One record as it lies on the topic.
#[derive(Clone, Debug)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// The key's JSON, without a schema around it. Null when there is none or it is not JSON.
    pub fn key_json(&self) -> Value {
        payload(self.key.as_deref())
    }

    /// The value's JSON, without a schema around it. Null for a tombstone.
    pub fn event(&self) -> Value {
        payload(self.value.as_deref())
    }

    /// Debezium's operation: c, u, d, r; none for a tombstone.
    pub fn op(&self) -> Option<String> {
        self.event()["op"].as_str().map(str::to_owned)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }

    fn of(message: &BorrowedMessage<'_>) -> Record {
        let headers = message.headers().map(|headers| {
            headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
        });
        Record {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
        }
    }
}

fn payload(bytes: Option<&[u8]>) -> Value {
    let json: Value = bytes.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    match json {
        Value::Object(mut fields) if fields.len() == 2 && fields.contains_key("schema") => {
            fields.remove("payload").unwrap_or_default()
        }
        other => other,
    }
}

/// Reads all partitions of one topic and keeps what it has read.
pub struct TopicReader {
    topic: String,
    consumer: BaseConsumer,
    records: Vec<Record>,
}

impl TopicReader {
    pub fn from_start(bootstrap: &str, topic: &str) -> Result<TopicReader> {
        TopicReader::at(bootstrap, topic, |_| Offset::Beginning)
    }

    /// Only what comes after this call returned.
    pub fn from_now(bootstrap: &str, topic: &str) -> Result<TopicReader> {
        let ends = end_offsets(bootstrap, topic)?;
        TopicReader::at(bootstrap, topic, |partition| {
            ends.get(&partition).copied().map_or(Offset::End, Offset::Offset)
        })
    }

    fn at(bootstrap: &str, topic: &str, offset: impl Fn(i32) -> Offset) -> Result<TopicReader> {
        let consumer = consumer(bootstrap)?;
        let mut assignment = TopicPartitionList::new();
        for partition in partitions(&consumer, topic)? {
            assignment.add_partition_offset(topic, partition, offset(partition))?;
        }
        consumer.assign(&assignment)?;
        Ok(TopicReader { topic: topic.to_owned(), consumer, records: Vec::new() })
    }

    /// How many records the topic holds now.
    pub fn count_all(bootstrap: &str, topic: &str) -> Result<usize> {
        let mut config = reading(bootstrap);
        let reader: BaseConsumer = config.set("enable.partition.eof", "true").create()?;
        let mut unread = partitions(&reader, topic)?;
        let mut assignment = TopicPartitionList::new();
        for partition in &unread {
            assignment.add_partition_offset(topic, *partition, Offset::Beginning)?;
        }
        reader.assign(&assignment)?;
        let (end, mut count) = (Instant::now() + LEADER, 0);
        while !unread.is_empty() && Instant::now() < end {
            match reader.poll(Duration::from_millis(200)) {
                Some(Err(KafkaError::PartitionEOF(partition))) => unread.retain(|one| *one != partition),
                Some(message) => count += usize::from(message.is_ok_and(|message| message.topic() == topic)),
                None => {}
            }
        }
        if unread.is_empty() { Ok(count) } else { Err(Error::new(format!("the end of {topic:?} is not reached"))) }
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// All that was read so far, in order within each partition.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Reads on until `done` likes what has been read since the reader began, and returns all of it.
    pub fn until(&mut self, limit: Duration, done: impl Fn(&[Record]) -> bool) -> Result<&[Record]> {
        let end = Instant::now() + limit;
        while !done(&self.records) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.disappointment(limit));
            }
            if let Some(message) = self.consumer.poll(left.min(Duration::from_millis(200))) {
                self.records.push(Record::of(&message?));
            }
        }
        Ok(&self.records)
    }

    fn disappointment(&self, limit: Duration) -> Error {
        let last: Vec<String> = self
            .records
            .iter()
            .rev()
            .take(5)
            .rev()
            .map(|record| {
                format!("  {}/{} {} {}", record.partition, record.offset, record.key_json(), record.event())
            })
            .collect();
        Error::new(format!(
            "waited {:.0} s in vain on topic {:?}: {} records so far, the last:\n{}",
            limit.as_secs_f64(),
            self.topic,
            self.records.len(),
            last.join("\n")
        ))
    }
}

/// Makes topics with this many partitions each; one that exists stays as it is.
pub fn create(bootstrap: &str, topics: &[(String, i32)]) -> Result {
    let admin: AdminClient<_> = client(bootstrap).create()?;
    let new: Vec<NewTopic<'_>> =
        topics.iter().map(|(name, count)| NewTopic::new(name, *count, TopicReplication::Fixed(1))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = AdminOptions::new().operation_timeout(Some(REQUEST)).request_timeout(Some(REQUEST));
    for outcome in runtime.block_on(admin.create_topics(&new, &options))? {
        match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(Error::new(format!("topic {topic:?} was not created: {code}"))),
        }
    }
    Ok(())
}

/// For each partition, the offset after its last committed record.
pub fn end_offsets(bootstrap: &str, topic: &str) -> Result<BTreeMap<i32, i64>> {
    let consumer = consumer(bootstrap)?;
    // A broker that has just come back may not lead its partitions yet.
    wait_until(&format!("the end offsets of {topic}"), LEADER, || {
        let partitions = partitions(&consumer, topic)?.into_iter();
        let ends =
            partitions.map(|partition| Ok((partition, consumer.fetch_watermarks(topic, partition, REQUEST)?.1)));
        Ok(Some(ends.collect::<Result<_>>()?))
    })
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST)?;
    let partitions: Vec<i32> =
        metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
    if partitions.is_empty() { Err(Error::new(format!("there is no topic {topic:?}"))) } else { Ok(partitions) }
}

fn consumer(bootstrap: &str) -> Result<BaseConsumer> {
    Ok(reading(bootstrap).create()?)
}

fn reading(bootstrap: &str) -> ClientConfig {
    let mut config = client(bootstrap);
    config.set("group.id", "evenkeel-real-reader").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("auto.offset.reset", "earliest");
    config.set("fetch.wait.max.ms", "50");
    config
}

fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set_log_level(RDKafkaLogLevel::Error);
    config
}
