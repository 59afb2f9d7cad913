//! Where each source partition is read on from, and that nothing is left out on the way.
//!
//! Must not know: what is read.

use std::collections::BTreeMap;

use super::StageError;
use crate::adapters::kafka::KafkaFailure;
use crate::adapters::kafka::offsets::Offsets;
use crate::domain::change::TopicPartition;

/// How far the assigned source partitions were read.
pub struct Input {
    group: String,
    /// True where the changes log held something before this process wrote to it: the group has committed offsets then,
    /// since each member commits where it begins before it writes.
    has_history: bool,
    /// Where each partition is expected to go on.
    expected: BTreeMap<TopicPartition, i64>,
}

impl Input {
    /// `changes` are the partitions of the changes log.
    pub fn new(offsets: &Offsets, group: &str, changes: &[(String, i32)]) -> Result<Input, KafkaFailure> {
        let has_history = offsets.ends(changes)?.iter().any(|(.., end)| *end > 0);
        Ok(Input { group: group.to_owned(), has_history, expected: BTreeMap::new() })
    }

    /// From where newly assigned partitions are read: what the group has committed, or the first record that is there;
    /// true for the latter. `all` are the partitions of all sources.
    pub fn begin(
        &mut self,
        offsets: &Offsets,
        assigned: &[(String, i32)],
        all: &[(String, i32)],
    ) -> Result<Vec<(TopicPartition, i64, bool)>, StageError> {
        let committed = offsets.committed(all)?;
        tracing::info!(partitions = assigned.len(), committed = committed.len(), "source partitions assigned");
        let mut begun = Vec::new();
        for (topic, partition) in assigned {
            let id = TopicPartition { topic: topic.as_str().into(), partition: *partition };
            let known = committed.iter().find(|(name, number, _)| name == topic && number == partition);
            let offset = match known {
                Some((.., offset)) => {
                    self.expected.insert(id.clone(), *offset);
                    *offset
                }
                None => {
                    let start = offsets.start(topic, *partition)?;
                    if self.has_history && committed.is_empty() && start > 0 {
                        let (group, topic, partition) = (self.group.clone(), topic.clone(), *partition);
                        return Err(StageError::InputForgotten { group, topic, partition, start });
                    }
                    start
                }
            };
            begun.push((id, offset, known.is_none()));
        }
        Ok(begun)
    }

    /// Checks that an offset is what comes next. Offsets may jump over control records and compacted ones, never over
    /// what retention has deleted; and they never fall within a topic's life.
    pub fn follow(&mut self, offsets: &Offsets, id: &TopicPartition, offset: i64) -> Result<(), StageError> {
        let Some(next) = self.expected.get_mut(id) else {
            self.expected.insert(id.clone(), offset + 1);
            return Ok(());
        };
        if offset < *next {
            let (topic, partition, expected) = (id.topic.to_string(), id.partition, *next);
            return Err(StageError::InputBeganAnew { topic, partition, expected, found: offset });
        }
        if offset > *next {
            let start = offsets.start(&id.topic, id.partition)?;
            if start > *next {
                let (topic, partition, next) = (id.topic.to_string(), id.partition, *next);
                return Err(StageError::InputGap { topic, partition, expected: next, start });
            }
        }
        *next = offset + 1;
        Ok(())
    }

    /// Checks a position behind the last record or the transaction marker that follows it.
    pub fn follow_to(&mut self, offsets: &Offsets, id: &TopicPartition, position: i64) -> Result<(), StageError> {
        match self.expected.get(id) {
            Some(next) if position <= *next => Ok(()),
            _ => self.follow(offsets, id, position - 1),
        }
    }

    /// A partition is read by somebody else now.
    pub fn leave(&mut self, id: &TopicPartition) {
        self.expected.remove(id);
    }
}
