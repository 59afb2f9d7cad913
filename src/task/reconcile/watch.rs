//! What becomes of one key, told to whoever asks why. Nothing comes out otherwise than without a watch, and nobody pays for
//! it who has none.
//!
//! Must not know: who asks, how it is shown.

use super::Task;
use crate::domain::change::{Change, Key, Operation, Position, SourceIndex, TopicPartition};
use crate::domain::instant::Instant;
use crate::domain::key_state::{Effect, KeyState, Told};
use crate::domain::timeline::{Admission, LaneIndex};
use crate::domain::witness::{Moment, Witness};
use crate::task::cache::StateError;
use crate::task::store::Store;

/// A key that is watched, and what was seen of it since it was last asked.
pub(super) struct Watch {
    key: Key,
    sights: Vec<Sight>,
}

impl Watch {
    pub(super) fn is_named_by(&self, change: &Change) -> bool {
        change.key.as_ref() == Some(&self.key) || change.key_before.as_ref() == Some(&self.key)
    }
}

/// Something that happened to a watched key, in the order of the changes log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// A change that names the key came.
    Came { source: SourceIndex, topic_partition: TopicPartition, offset: i64, admission: Admission },
    /// A change took its place on the timeline.
    Settled(Box<Placed>),
    /// The key was judged, or a deadline of its passed.
    Lived(Moment),
}

/// A change on the timeline, with both its positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub at: Instant,
    pub late: bool,
    pub source: SourceIndex,
    /// What it did to this key: a row that moves to another key is gone from this one.
    pub operation: Operation,
    pub source_time: Instant,
    /// LSN, GTID, or file and position; empty where unknown.
    pub position: String,
    pub topic_partition: TopicPartition,
    pub offset: i64,
}

impl<S: Store> Task<S> {
    /// Watches a key from now on.
    pub fn watch(&mut self, key: Key) {
        self.watch = Some(Box::new(Watch { key, sights: Vec::new() }));
    }

    /// What was seen of the watched key since it was last asked.
    pub fn seen(&mut self) -> Vec<Sight> {
        self.watch.as_mut().map(|watch| std::mem::take(&mut watch.sights)).unwrap_or_default()
    }

    /// Everything that is remembered of a key; `None` where it was never seen.
    pub fn look(&self, key: &Key) -> Result<Option<KeyState>, StateError<S::Error>> {
        self.cache.look(key, &self.store, &self.layouts)
    }

    pub(super) fn see_come(&mut self, lane: LaneIndex, offset: i64, admission: Admission) {
        let lane = &self.timeline.lanes[lane];
        let (source, topic_partition) = (lane.source, lane.topic_partition.clone());
        if let Some(watch) = &mut self.watch {
            watch.sights.push(Sight::Came { source, topic_partition, offset, admission });
        }
    }

    /// Where a key is watched, sees what is about to be done to it, and calls a witness of how it lives through that.
    pub(super) fn call_witness(&mut self, key: &Key, effects: &[Effect]) -> Told {
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.key == *key) else { return Told::default() };
        for effect in effects {
            let provenance = effect.provenance;
            watch.sights.push(Sight::Settled(Box::new(Placed {
                at: effect.at,
                late: effect.late,
                source: effect.source,
                operation: effect.operation.clone(),
                source_time: provenance.source_time,
                position: match provenance.position == Position::default() {
                    true => String::new(),
                    false => self.origins[provenance.origin].label(provenance.position),
                },
                topic_partition: self.timeline.lanes[provenance.lane].topic_partition.clone(),
                offset: provenance.offset,
            })));
        }
        Told { witness: Some(Box::new(Witness::default())), ..Told::default() }
    }

    /// Hears the witness, if one was called.
    pub(super) fn hear_witness(&mut self, witness: Option<Box<Witness>>) {
        if let (Some(watch), Some(witness)) = (&mut self.watch, witness) {
            watch.sights.extend(witness.moments.into_iter().map(Sight::Lived));
        }
    }
}
