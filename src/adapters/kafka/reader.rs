//! Reads partitions of many topics, each from an offset that it is told, outside any group: who reads what is a group
//! member's to know, which itself reads nothing.
//!
//! Must not know: groups. A member that paused what it was assigned and resumed it later would be simpler, but librdkafka
//! may lose a resume that crosses the start of a fetch, and the partition is never read then.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};

use super::offsets::offsets_of;
use super::{Context, KafkaFailure, Properties, Quiet, passing_of_source, whole};

pub struct Reader {
    consumer: BaseConsumer<Quiet>,
    assigned: BTreeSet<(String, i32)>,
}

impl Reader {
    /// `fetch_bytes` bounds what is fetched ahead, over all partitions.
    pub fn open(properties: &Properties, fetch_bytes: usize) -> Result<Reader, KafkaFailure> {
        let fetch_kbytes = (fetch_bytes / 1024).max(64).to_string();
        let answer_bytes = (fetch_bytes / 2).max(1 << 20).to_string();
        let config = properties.with(&[
            // librdkafka asks for a group even where none is joined.
            ("group.id", "evenkeel-reader"),
            ("enable.auto.commit", "false"),
            // Where retention was faster; the offsets tell.
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_committed"),
            ("queued.max.messages.kbytes", &fetch_kbytes),
            // One answer of a broker may hold this much, whatever the queue has room for.
            ("fetch.max.bytes", &answer_bytes),
            // How long a full queue is left alone; the default of a second starves the reader.
            ("fetch.queue.backoff.ms", "20"),
            ("allow.auto.create.topics", "false"),
        ]);
        let consumer = config.create_with_context(Quiet).context(|| "consumer of the sources".to_owned())?;
        Ok(Reader { consumer, assigned: BTreeSet::new() })
    }

    /// Reads these partitions from these offsets on, beside others that it reads.
    pub fn go_on(&mut self, from: &[(String, i32, i64)]) -> Result<(), KafkaFailure> {
        let what = || format!("beginning to read {from:?}");
        let known: Vec<(String, i32)> =
            from.iter().map(|(topic, partition, _)| (topic.clone(), *partition)).collect();
        self.leave(&known)?;
        let mut list = TopicPartitionList::new();
        for (topic, partition, offset) in from {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).context(what)?;
        }
        self.consumer.incremental_assign(&list).context(what)?;
        self.assigned.extend(known);
        Ok(())
    }

    /// Reads these no more. What was fetched of them is not given any more, either.
    pub fn leave(&mut self, partitions: &[(String, i32)]) -> Result<(), KafkaFailure> {
        let mut list = TopicPartitionList::new();
        for one in partitions.iter().filter(|one| self.assigned.contains(*one)) {
            list.add_partition(&one.0, one.1);
        }
        if list.count() > 0 {
            self.consumer.incremental_unassign(&list).context(|| format!("leaving {partitions:?}"))?;
            self.assigned.retain(|known| !partitions.contains(known));
        }
        Ok(())
    }

    /// The next message, if one comes in time.
    pub fn poll(&self, timeout: Duration) -> Result<Option<BorrowedMessage<'_>>, KafkaFailure> {
        match self.consumer.poll(whole(timeout)) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => Ok(None),
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(error)) if passing_of_source(&error) => {
                tracing::warn!(%error, "reading the sources was disturbed");
                Ok(None)
            }
            Some(Err(error)) => Err(KafkaFailure::new("reading the sources", error)),
        }
    }

    /// How far each partition has been handed out: behind its last message, or behind the transaction marker that follows
    /// it, which is never handed out.
    pub fn positions(&self) -> Result<Vec<(String, i32, i64)>, KafkaFailure> {
        let positions = self.consumer.position().context(|| "asking for the positions".to_owned())?;
        Ok(offsets_of(&positions))
    }
}
