//! Questions about topics and offsets, asked by a client of its own: a consumer's question waits behind its fetches,
//! which a broker holds back for `fetch.wait.max.ms` where nothing comes, and a group member's behind its rebalances.
//!
//! Must not know: who reads.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::metadata::MetadataBroker;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::admin::ANSWER;
use super::topics::{self, Description};
use super::{Context, KafkaFailure, Properties, Quiet};
use crate::adapters::clock::now;
use crate::domain::instant::Instant;

/// How long a question may take that is asked again and again.
const SOON: Duration = Duration::from_secs(5);

/// Asks the brokers about offsets.
pub struct Offsets {
    client: BaseConsumer<Quiet>,
    group: String,
    /// Who is asked which topics there are. By itself librdkafka would ask the controller, whoever that is.
    broker: Cell<Option<i32>>,
}

impl Offsets {
    /// `group` is whose committed offsets are asked for.
    pub fn new(properties: &Properties, group: &str) -> Result<Offsets, KafkaFailure> {
        let config = properties.with(&[
            ("group.id", group),
            ("enable.auto.commit", "false"),
            ("isolation.level", "read_committed"),
            ("allow.auto.create.topics", "false"),
        ]);
        let client = config.create_with_context(Quiet).context(|| "client that asks for offsets".to_owned())?;
        Ok(Offsets { client, group: group.to_owned(), broker: Cell::new(None) })
    }

    /// The names of all topics that exist.
    pub fn names(&self) -> Result<Vec<String>, KafkaFailure> {
        let metadata = self.client.fetch_metadata(None, SOON).context(|| "listing the topics".to_owned())?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }

    /// Those of the topics that exist. What was created before this call is among them, as soon as the broker that is asked
    /// has heard of it.
    pub fn describe(&self, topics: &[&str]) -> Result<BTreeMap<String, Description>, KafkaFailure> {
        let Some(first) = topics.first() else { return Ok(BTreeMap::new()) };
        let broker = match self.broker.get() {
            Some(broker) => broker,
            None => self.some_broker(first)?,
        };
        let described = topics::describe(self.client.client(), topics, broker, SOON);
        // Where it does not answer, another one may.
        self.broker.set(described.as_ref().ok().map(|_| broker));
        described
    }

    /// One of the brokers that are there.
    fn some_broker(&self, topic: &str) -> Result<i32, KafkaFailure> {
        let what = || "listing the brokers".to_owned();
        let metadata = self.client.fetch_metadata(Some(topic), SOON).context(what)?;
        let brokers: Vec<i32> = metadata.brokers().iter().map(MetadataBroker::id).collect();
        let none = || KafkaFailure::new(what(), KafkaError::MetadataFetch(RDKafkaErrorCode::AllBrokersDown));
        // Not the same for all, nor the one that was just asked in vain.
        let nth = usize::try_from(now().0).unwrap_or(0) % brokers.len().max(1);
        brokers.get(nth).copied().ok_or_else(none)
    }

    /// The group's committed offsets of some partitions, each with what was committed with it; partitions without one are
    /// left out.
    pub fn committed(&self, partitions: &[(String, i32)]) -> Result<Vec<Commit>, KafkaFailure> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        let committed = self.client.committed_offsets(list, ANSWER);
        let committed = committed.context(|| format!("reading the offsets that {} has committed", self.group))?;
        let commit = |one: &TopicPartitionListElem<'_>| match one.offset() {
            Offset::Offset(offset) => {
                let (topic, metadata) = (one.topic().to_owned(), one.metadata().to_owned());
                Some(Commit { topic, partition: one.partition(), offset, metadata })
            }
            _ => None,
        };
        Ok(committed.elements().iter().filter_map(commit).collect())
    }

    /// The offsets behind the last message of each partition, as a read-committed reader sees them.
    pub fn ends(&self, partitions: &[(String, i32)]) -> Result<Vec<(String, i32, i64)>, KafkaFailure> {
        self.at(partitions, Offset::End)
    }

    /// The offset of the first message that each partition still has.
    pub fn starts(&self, partitions: &[(String, i32)]) -> Result<Vec<(String, i32, i64)>, KafkaFailure> {
        self.at(partitions, Offset::Beginning)
    }

    /// The first offset of a partition whose Kafka timestamp is no earlier than an instant; `None` where none is.
    pub fn since(&self, (topic, partition): (&str, i32), instant: Instant) -> Result<Option<i64>, KafkaFailure> {
        let what = || format!("asking from where {topic}:{partition} goes on since {instant}");
        let mut list = TopicPartitionList::new();
        let millis = Offset::Offset(instant.0.div_euclid(1000).max(0));
        list.add_partition_offset(topic, partition, millis).context(what)?;
        let offsets = self.client.offsets_for_times(list, SOON).context(what)?;
        Ok(offsets_of(&offsets).first().map(|(.., offset)| *offset))
    }

    fn at(&self, partitions: &[(String, i32)], place: Offset) -> Result<Vec<(String, i32, i64)>, KafkaFailure> {
        let what = || format!("asking for the bounds of {partitions:?}");
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition_offset(topic, *partition, place).context(what)?;
        }
        let offsets = self.client.offsets_for_times(list, SOON).context(what)?;
        Ok(offsets_of(&offsets))
    }
}

/// What a group has committed of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub metadata: String,
}

/// Those elements of a list that have an offset.
pub fn offsets_of(list: &TopicPartitionList) -> Vec<(String, i32, i64)> {
    let offset = |one: &TopicPartitionListElem<'_>| match one.offset() {
        Offset::Offset(offset) => Some((one.topic().to_owned(), one.partition(), offset)),
        _ => None,
    };
    list.elements().iter().filter_map(offset).collect()
}
