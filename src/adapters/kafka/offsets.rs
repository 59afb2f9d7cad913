//! Questions about topics and offsets, asked by a client of its own: a consumer's question waits behind its fetches,
//! which a broker holds back for `fetch.wait.max.ms` where nothing comes, and a group member's behind its rebalances.
//!
//! Must not know: who reads.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::admin::ANSWER;
use super::{Context, KafkaFailure, Properties, Quiet};

/// How long a question may take that is asked again and again.
const SOON: Duration = Duration::from_secs(5);

/// So many topics are asked for by name; where there are more, all of the cluster's are.
const ONE_BY_ONE: usize = 16;

/// Asks the brokers about offsets.
pub struct Offsets {
    client: BaseConsumer<Quiet>,
    group: String,
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
        Ok(Offsets { client, group: group.to_owned() })
    }

    /// The partition counts of the topics that exist: of those named, or of all. What was created before this call is
    /// among them, as soon as the broker that is asked has heard of it.
    pub fn topics(&self, named: Option<&[&str]>) -> Result<BTreeMap<String, i32>, KafkaFailure> {
        let named = named.filter(|named| named.len() <= ONE_BY_ONE);
        let asked: Vec<Option<&str>> = named.map_or(vec![None], |named| named.iter().copied().map(Some).collect());
        let mut counts = BTreeMap::new();
        for topic in asked {
            let what = || match topic {
                Some(topic) => format!("asking for the partitions of {topic}"),
                None => "listing the topics".to_owned(),
            };
            let metadata = self.client.fetch_metadata(topic, SOON).context(what)?;
            for topic in metadata.topics() {
                match topic.error().map(RDKafkaErrorCode::from) {
                    None => counts.insert(topic.name().to_owned(), topic.partitions().len() as i32),
                    Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => continue,
                    Some(code) => return Err(KafkaFailure::new(what(), KafkaError::MetadataFetch(code))),
                };
            }
        }
        counts.retain(|_, count| *count > 0);
        Ok(counts)
    }

    /// The group's committed offsets of some partitions; partitions without one are left out.
    pub fn committed(&self, partitions: &[(String, i32)]) -> Result<Vec<(String, i32, i64)>, KafkaFailure> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        let committed = self.client.committed_offsets(list, ANSWER);
        let committed = committed.context(|| format!("reading the offsets that {} has committed", self.group))?;
        Ok(offsets_of(&committed))
    }

    /// The offsets behind the last message of each partition, as a read-committed reader sees them.
    pub fn ends(&self, partitions: &[(String, i32)]) -> Result<Vec<(String, i32, i64)>, KafkaFailure> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            let added = list.add_partition_offset(topic, *partition, Offset::End);
            added.context(|| format!("asking for the end of {topic}:{partition}"))?;
        }
        let ends = self.client.offsets_for_times(list, ANSWER).context(|| "asking for end offsets".to_owned())?;
        Ok(offsets_of(&ends))
    }

    /// The offset of the first message that a partition still has.
    pub fn start(&self, topic: &str, partition: i32) -> Result<i64, KafkaFailure> {
        let what = || format!("asking for the bounds of {topic}:{partition}");
        let unknown = |error: &KafkaError| {
            matches!(
                error,
                KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownPartition | RDKafkaErrorCode::UnknownTopic)
            )
        };
        let asked = match self.client.fetch_watermarks(topic, partition, ANSWER) {
            // A partition that was just added is known to the group before this client hears of it by itself.
            Err(error) if unknown(&error) => {
                self.client.fetch_metadata(Some(topic), ANSWER).context(what)?;
                self.client.fetch_watermarks(topic, partition, ANSWER)
            }
            asked => asked,
        };
        Ok(asked.context(what)?.0)
    }
}

/// Those elements of a list that have an offset.
pub fn offsets_of(list: &TopicPartitionList) -> Vec<(String, i32, i64)> {
    let offset = |one: &TopicPartitionListElem<'_>| match one.offset() {
        Offset::Offset(offset) => Some((one.topic().to_owned(), one.partition(), offset)),
        _ => None,
    };
    list.elements().iter().filter_map(offset).collect()
}
