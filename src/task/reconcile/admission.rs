//! How the lines of a block that come from source topics are taken, and counted.
//!
//! Must not know: when a change settles, rules.

use super::Task;
use crate::domain::change::{Change, Origin, Reject, TopicPartition};
use crate::domain::instant::Instant;
use crate::domain::record::{Content, Quarantined};
use crate::domain::timeline::{Admission, LaneIndex};
use crate::task::cache::StateError;
use crate::task::store::Store;
use crate::task::telling::Outbox;

impl<S: Store> Task<S> {
    pub(super) fn intern(&mut self, origin: Origin) -> usize {
        match self.origins.iter().position(|known| *known == origin) {
            Some(index) => index,
            None => {
                self.origins.push(origin);
                self.origins.len() - 1
            }
        }
    }

    pub(super) fn admit(
        &mut self,
        lane: LaneIndex,
        change: Box<Change>,
        ceiling: Instant,
    ) -> Result<(), StateError<S::Error>> {
        let offset = change.offset;
        let is_watched = self.watch.as_ref().is_some_and(|watch| watch.is_named_by(&change));
        let admission = self.timeline.admit(lane, change, ceiling);
        if admission == Admission::NewEpoch {
            self.begin_epoch(lane);
        }
        if is_watched {
            self.see_come(lane, offset, admission);
        }
        let count = match admission {
            Admission::Taken | Admission::NewEpoch => &mut self.counts.changes,
            Admission::Late => &mut self.counts.late,
            Admission::Ahead => &mut self.counts.ahead,
            Admission::Repeated => &mut self.counts.repeated,
            Admission::Replayed => &mut self.counts.replayed,
            Admission::Requeued => &mut self.counts.requeued,
            Admission::Foreign => {
                let TopicPartition { topic, partition } = &self.timeline.lanes[lane].topic_partition;
                return Err(StateError::TopicBeganAnew { topic: topic.to_string(), partition: *partition, offset });
            }
        };
        *count += 1;
        Ok(())
    }

    pub(super) fn reject(&mut self, lane: LaneIndex, reject: Reject, out: &mut Outbox) {
        if !self.timeline.take_offset(lane, reject.offset) {
            self.counts.repeated += 1;
            return;
        }
        self.counts.rejects += 1;
        let lane = &self.timeline.lanes[lane];
        out.say(Content::Quarantine(Box::new(Quarantined {
            source: lane.source,
            topic: lane.topic_partition.topic.clone(),
            partition: lane.topic_partition.partition,
            offset: reject.offset,
            timestamp: reject.timestamp,
            key: reject.key,
            value: reject.value,
            headers: reject.headers,
            masked: reject.masked,
            reason: reject.reason,
            detail: reject.detail,
        })));
    }
}
