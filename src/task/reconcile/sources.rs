//! What a task says of its sources: that one stands still, that something of it was lost, that a topic has grown.
//!
//! Must not know: rules, keys.

use std::sync::Arc;

use super::Task;
use crate::domain::change::{Gap, GapCause, Mark, SourceIndex, SourceTopic, TopicNews, TopicPartition, Topology};
use crate::domain::instant::Instant;
use crate::domain::record::{Content, SourceNews, SourceNotice};
use crate::domain::routing::partition_of;
use crate::domain::timeline::LaneIndex;
use crate::task::store::Store;
use crate::task::telling::Outbox;

impl<S: Store> Task<S> {
    /// The topic-partitions whose promises are not believed, each with what was lost of it.
    pub fn halted(&self) -> impl Iterator<Item = (SourceIndex, &TopicPartition, Gap)> {
        let halted = self.timeline.lanes.iter().filter(|lane| lane.halted.is_some());
        halted.filter_map(|lane| Some((lane.source, &lane.topic_partition, lane.gap?)))
    }

    pub(super) fn learn(&mut self, topology: &Topology, decided_at: Instant, out: &mut Outbox) {
        for (topic, news) in self.timeline.learn(topology) {
            match news {
                TopicNews::Widened { before } => {
                    let news = SourceNews::Widened { topic: topic.name, before, after: topic.partitions };
                    self.tell(topology.source, news, decided_at, out);
                }
                TopicNews::Another { .. } => self.begin_anew(topology.source, &topic, decided_at, out),
            }
        }
    }

    /// A topic is another one under the old name: what it had is lost, read or not.
    fn begin_anew(&mut self, source: SourceIndex, topic: &SourceTopic, decided_at: Instant, out: &mut Outbox) {
        let gap = Gap { topic_partition: 0, cause: GapCause::Recreated, expected: -1, found: 0, topic_id: topic.id };
        for partition in 0..topic.partitions {
            let id = TopicPartition { topic: Arc::clone(&topic.name), partition };
            let lane = self.timeline.lane(source, &id);
            self.lose(lane, gap, decided_at, out);
        }
    }

    pub(super) fn lose(&mut self, lane: LaneIndex, gap: Gap, decided_at: Instant, out: &mut Outbox) {
        if self.timeline.gap(lane, &gap) {
            let (source, topic_partition) = self.named(lane);
            self.tell(source, SourceNews::Gap { topic_partition, gap }, decided_at, out);
        }
    }

    pub(super) fn promise(&mut self, lane: LaneIndex, mark: &Mark, decided_at: Instant, out: &mut Outbox) {
        let before = self.timeline.lanes[lane].mark;
        if self.timeline.mark(lane, mark) {
            self.begin_epoch(lane);
        }
        self.see_promise(lane, before, mark.proof);
        self.see_mark(lane, mark);
        self.recover(lane, decided_at, out);
    }

    /// What was said to stand still may have gone on.
    fn recover(&mut self, lane: LaneIndex, decided_at: Instant, out: &mut Outbox) {
        if let Some(after_us) = self.stalled[lane] {
            self.set_stalled(lane, after_us, decided_at, out);
        }
    }

    pub(super) fn acknowledge(&mut self, lane: LaneIndex, decided_at: Instant, out: &mut Outbox) {
        let (before, withheld) = (self.timeline.lanes[lane].mark, self.timeline.lanes[lane].halted.flatten());
        if let Some(is_new_epoch) = self.timeline.acknowledge(lane) {
            if is_new_epoch {
                self.begin_epoch(lane);
            }
            self.see_promise(lane, before, withheld.and_then(|mark| mark.proof));
            let (source, topic_partition) = self.named(lane);
            self.tell(source, SourceNews::Acknowledged { topic_partition }, decided_at, out);
            self.recover(lane, decided_at, out);
        }
    }

    /// A lane stands still where its promise is too old; a member that was away may say so of one that others have gone
    /// on with.
    pub(super) fn set_stalled(&mut self, lane: LaneIndex, after_us: i64, decided_at: Instant, out: &mut Outbox) {
        let source = self.timeline.lanes[lane].source;
        let age_us = self.timeline.lanes[lane].mark.map(|mark| decided_at.since(mark));
        let any = |task: &Task<S>| {
            task.timeline
                .lanes
                .iter()
                .zip(&task.stalled)
                .any(|(lane, stalled)| lane.source == source && stalled.is_some())
        };
        let before = any(self);
        self.stalled[lane] = age_us.is_none_or(|age_us| age_us > after_us).then_some(after_us);
        let after = any(self);
        if before != after {
            let news = if after { SourceNews::Stalled } else { SourceNews::Recovered };
            self.tell(source, news, decided_at, out);
        }
    }

    fn named(&self, lane: LaneIndex) -> (SourceIndex, TopicPartition) {
        let lane = &self.timeline.lanes[lane];
        (lane.source, lane.topic_partition.clone())
    }

    /// One partition of the changes log speaks for a source, so that what becomes of it is said once.
    fn tell(&self, source: SourceIndex, news: SourceNews, decided_at: Instant, out: &mut Outbox) {
        let name = self.plan.catalog.sources[source].name.as_bytes();
        if partition_of(name, self.ownership.partitions) == self.ownership.partition {
            let frontier = self.timeline.frontier(source);
            out.say(Content::Source(SourceNotice { source, news, frontier, decided_at }));
        }
    }
}
