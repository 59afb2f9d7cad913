//! Membership in a consumer group: assignments come as events to be handled outside the rebalance callback.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, DefaultConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::offsets::Commit;
use super::{Context, KafkaFailure, Properties, passing_of_source, whole};

/// A partition given to this member or taken from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Movement {
    Assigned {
        topic: String,
        partition: i32,
    },
    /// `is_lost` where the group had given this member up: somebody else may have the partition already.
    Revoked {
        topic: String,
        partition: i32,
        is_lost: bool,
    },
}

#[derive(Default)]
struct GroupContext {
    movements: Mutex<Vec<Movement>>,
    /// True once the group has given an assignment, be it an empty one.
    joined: AtomicBool,
    /// True once the member is about to leave.
    leaving: AtomicBool,
}

impl ClientContext for GroupContext {
    fn error(&self, error: KafkaError, reason: &str) {
        super::say(&error, reason);
    }

    /// A commit that meets a rebalance is refused, and made good by the next.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match facility {
            "COMMITFAIL" => tracing::debug!(message, "an offset commit was refused"),
            _ => DefaultConsumerContext.log(level, facility, message),
        }
    }
}

impl ConsumerContext for GroupContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            let is_lost = consumer.assignment_lost();
            self.note(partitions, |topic, partition| Movement::Revoked { topic, partition, is_lost });
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            self.joined.store(true, Ordering::Relaxed);
            // A client that is being closed may wait for the answer for ever. What is read in spite of it is dropped.
            if !self.leaving.load(Ordering::Relaxed)
                && let Err(error) = consumer.pause(partitions)
            {
                tracing::warn!(%error, "newly assigned partitions could not be paused");
            }
            self.note(partitions, |topic, partition| Movement::Assigned { topic, partition });
        }
    }
}

impl GroupContext {
    fn note(&self, partitions: &TopicPartitionList, movement: impl Fn(String, i32) -> Movement) {
        let mut movements = self.movements.lock().expect("nobody panics while holding the list");
        movements.extend(partitions.elements().iter().map(|one| movement(one.topic().to_owned(), one.partition())));
    }
}

/// A member of a consumer group.
pub struct Member {
    consumer: BaseConsumer<GroupContext>,
    group: String,
    topics: Vec<String>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.consumer.context().leaving.store(true, Ordering::Relaxed);
    }
}

impl Member {
    /// A member of a group that joins with its first subscription. It holds its partitions and reads nothing of them.
    pub fn join(properties: &Properties, group: &str) -> Result<Member, KafkaFailure> {
        let config = properties.with(&[
            ("group.id", group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_committed"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("allow.auto.create.topics", "false"),
        ]);
        let consumer: BaseConsumer<GroupContext> =
            config.create_with_context(GroupContext::default()).context(|| format!("consumer of group {group}"))?;
        Ok(Member { consumer, group: group.to_owned(), topics: Vec::new() })
    }

    /// Takes its share of these topics, and of no others.
    pub fn subscribe(&mut self, topics: Vec<&str>) -> Result<(), KafkaFailure> {
        if topics.is_empty() || self.topics == topics {
            return Ok(());
        }
        let subscribed = self.consumer.subscribe(&topics);
        subscribed.context(|| format!("subscribing group {} to {topics:?}", self.group))?;
        self.topics = topics.into_iter().map(str::to_owned).collect();
        Ok(())
    }

    /// Takes part in the group's life, for as long as told. To be called again and again: who does not is taken for dead
    /// (`max.poll.interval.ms`).
    pub fn poll(&self, timeout: Duration) -> Result<(), KafkaFailure> {
        match self.consumer.poll(whole(timeout)) {
            // Whoever was away for longer than `max.poll.interval.ms` has lost its partitions, and joins again.
            Some(Err(error))
                if passing_of_source(&error)
                    || error.rdkafka_error_code() == Some(RDKafkaErrorCode::PollExceeded) =>
            {
                tracing::warn!(%error, group = self.group, "the group was disturbed")
            }
            Some(Err(error)) => return Err(KafkaFailure::new(format!("member of group {}", self.group), error)),
            // Partitions are held, not read: what is polled here are only rebalances and errors.
            _ => {}
        }
        Ok(())
    }

    /// Partitions that came and went since the last call, in order.
    pub fn movements(&self) -> Vec<Movement> {
        std::mem::take(&mut *self.consumer.context().movements.lock().expect("nobody panics while holding the list"))
    }

    /// True once the group has given this member an assignment, be it an empty one.
    pub fn has_joined(&self) -> bool {
        self.consumer.context().joined.load(Ordering::Relaxed)
    }

    /// Commits offsets without waiting: they are for the eyes of lag monitors, or safe to repeat.
    pub fn commit(&self, offsets: &[Commit]) {
        if let Err(failure) = self.try_commit(offsets, CommitMode::Async) {
            tracing::warn!(%failure, "offsets were not committed; they will be with the next round");
        }
    }

    /// Commits offsets, and waits until that is done. False where it was not, as within a rebalance.
    pub fn commit_now(&self, offsets: &[Commit]) -> Result<bool, KafkaFailure> {
        match self.try_commit(offsets, CommitMode::Sync) {
            Ok(()) => Ok(true),
            Err(failure) if failure.is_refused() => Err(failure),
            Err(failure) => {
                tracing::warn!(%failure, "offsets were not committed; it is tried again");
                Ok(false)
            }
        }
    }

    fn try_commit(&self, offsets: &[Commit], mode: CommitMode) -> Result<(), KafkaFailure> {
        let what = || format!("committing offsets of group {}", self.group);
        let mut list = TopicPartitionList::new();
        for Commit { topic, partition, offset, metadata } in offsets {
            let mut added = list.add_partition(topic, *partition);
            added.set_metadata(metadata.as_str());
            added.set_offset(Offset::Offset(*offset)).context(what)?;
        }
        if list.count() == 0 { Ok(()) } else { self.consumer.commit(&list, mode).context(what) }
    }
}
