//! Where each change stands on the timeline, and how far history is complete.
//!
//! Takes changes and marks in log order; gives back settled changes in timeline order. Must not know: keys' states,
//! rules, stores.
//!
//! # The law
//!
//! Transactions of one connector have one commit order, which their positions tell. A change's `at` is the greatest
//! of: the source times of its transaction, the `at` of every transaction of its connector before it, the instant
//! after its topic-partition's mark when it came, and the instant after the time of any mark of its connector that
//! was proved before the transaction began. From the last follows that a transaction is never shown by halves: if
//! `at <= settled`, every topic-partition's mark reaches `at`, so none was proved before the transaction began, so
//! each promised all of it. (A mark of the change's own topic-partition alone would not do: statement times lie
//! before the commit, and the other half may come through another partition.)
//!
//! A snapshot's row is in no transaction, and its time is not when it changed. Its `at` is the instant after its
//! topic-partition's mark, and no earlier than that of what came before it there; before the first mark, when it was read.

mod merge;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use self::merge::Merge;
use super::change::{
    Change, Gap, GapCause, Mark, Position, RunId, SourceIndex, SourceTopic, TopicNews, TopicPartition, Topology,
    learn_topic,
};
use super::flow::{Around, Flow, Place, Told};
use super::instant::Instant;
use super::queue::{Queue, Waiting};
use super::rule::{ConnectorIndex, SourcePlan};
use super::transactions::{Past, Table};

/// Index of a topic-partition in a timeline, in order of first sight.
pub type LaneIndex = usize;

/// What became of a change that came from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It waits to be settled.
    Taken,
    /// It waits to be settled, though a mark already given had promised that it could not come.
    Late,
    /// It waits to be settled, and its connector's positions begin anew with it.
    NewEpoch,
    /// It waits to be settled, though its source time lies in the future, and is not believed.
    Ahead,
    /// Its offset was taken before: the log's writer repeated itself.
    Repeated,
    /// Its position was passed before: the connector sent it again.
    Replayed,
    /// It waits to be settled, requeued from quarantine: its offset and position have been passed.
    Requeued,
    /// Its offset was taken before, though it is a change that was not: the topic was deleted and created anew. Told only
    /// where the brokers do not say topics' ids.
    Foreign,
}

/// A change whose place on the timeline is known and final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub at: Instant,
    pub late: bool,
    pub lane: LaneIndex,
    pub change: Box<Change>,
}

/// A stretch of the timeline: everything up to `until` that was not settled before. Before the baseline, where nothing
/// is judged, it may also hold a part of what happens in the instant after, so that a first snapshot, whose rows all
/// share one instant, need not be settled at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stride {
    pub until: Instant,
    /// In timeline order: by `at`, then by connector, then in commit order.
    pub changes: Vec<Settled>,
}

impl Stride {
    /// The last instant of which it holds something.
    pub fn touches(&self) -> Instant {
        self.changes.last().map_or(self.until, |last| last.at.max(self.until))
    }
}

/// What is remembered of one topic-partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    pub source: SourceIndex,
    pub topic_partition: TopicPartition,
    /// The last offset taken; -1 before the first.
    pub last_offset: i64,
    /// The greatest place taken.
    pub place: Place,
    /// Fingerprints of the changes taken at `place`, oldest first; bounded by [`SHARED_KEPT`].
    pub shared: VecDeque<u32>,
    /// The greatest source time taken of what was streamed. When a row was read tells nothing of how far the stream has come.
    pub latest: Instant,
    pub last_run: RunId,
    /// The promise: everything committed at or before is known. `None` before the first.
    pub mark: Option<Instant>,
    /// A change at a place before this one breaks the promise.
    pub proved: Place,
    /// Where judging may begin as far as this lane is concerned: its first mark, or the last change before that. Before its
    /// first mark, the last row that was read.
    pub baseline: Option<Instant>,
    /// What was last lost of it.
    pub gap: Option<Gap>,
    /// While a gap waits to be acknowledged, the best promise that was not believed.
    pub halted: Option<Option<Mark>>,
}

impl Lane {
    /// Where what has no position stands: behind the transaction that its lane has come to, and all that a promise speaks of.
    /// What the lane's mark was proved by, and what came after, is no earlier than the instant after the mark: nothing waits for
    /// what stands here at that instant.
    fn behind(&self) -> Place {
        let last = Position { row: u128::MAX, ..self.place.position };
        let proof = self.proved.position;
        let before = proof.transaction.checked_sub(1).map(|transaction| Position { transaction, row: u128::MAX });
        let promised = Place { position: before.unwrap_or_default(), ..self.proved };
        promised.max(Place { position: last, ..self.place })
    }

    fn stand(&mut self, place: Place, fingerprint: u32) {
        if place != self.place {
            self.shared.clear();
            self.place = place;
        }
        if self.shared.len() >= SHARED_KEPT {
            self.shared.pop_front();
        }
        self.shared.push_back(fingerprint);
    }
}

/// A source time may run so far ahead of the machine's clock, microseconds. What lies further ahead (a clock at fault, a
/// session's `SET timestamp`) would hold back everything behind it, and proves nothing.
pub const AHEAD_US: i64 = 60_000_000;

/// PostgreSQL reads the clock a little before a commit takes its place in the log, so that of two that meet the first may
/// have the later time, microseconds.
const COMMIT_ORDER_US: i64 = 1_000;

/// Changes of one lane and position beyond so many are not all told from their replays. A replay that is taken again
/// says nothing new, unless its row changed again within the same transaction.
const SHARED_KEPT: usize = 1024;

/// Whoever tells of a topic that is gone longer than so many others is taken for one who tells news.
const FORMER_KEPT: usize = 64;

/// The state of one changes-log partition's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// For each source, its connector.
    connector_of: Vec<ConnectorIndex>,
    /// For each source, whether its source times are the moment of the commit.
    commit_time: Vec<bool>,
    pub flows: Vec<Flow>,
    pub lanes: Vec<Lane>,
    lane_of: BTreeMap<(SourceIndex, TopicPartition), LaneIndex>,
    /// For each source, its topics, as far as the log has said.
    pub topologies: Vec<Vec<SourceTopic>>,
    /// Ids of topics that others have taken the names of, the newest last; bounded by [`FORMER_KEPT`].
    pub former: VecDeque<u64>,
    /// For each lane, the changes that wait, in log order.
    pub waiting: Vec<Queue>,
    settled: Option<Instant>,
    baseline: Option<Instant>,
}

impl Timeline {
    pub fn new(sources: &[SourcePlan]) -> Timeline {
        let connector_of: Vec<ConnectorIndex> = sources.iter().map(|source| source.connector).collect();
        let connectors = connector_of.iter().max().map_or(0, |last| last + 1);
        Timeline {
            flows: vec![Flow::default(); connectors],
            lanes: Vec::new(),
            lane_of: BTreeMap::new(),
            topologies: vec![Vec::new(); connector_of.len()],
            former: VecDeque::new(),
            waiting: Vec::new(),
            settled: None,
            baseline: None,
            commit_time: sources.iter().map(|source| source.commit_time).collect(),
            connector_of,
        }
    }

    /// A timeline as it was remembered; its queues are for the caller to fill.
    pub fn restore(
        sources: &[SourcePlan],
        mut flows: Vec<Flow>,
        lanes: Vec<Lane>,
        (topologies, former): (Vec<Vec<SourceTopic>>, VecDeque<u64>),
        settled: Option<Instant>,
        baseline: Option<Instant>,
    ) -> Timeline {
        let mut timeline = Timeline::new(sources);
        flows.resize(timeline.flows.len(), Flow::default());
        timeline.flows = flows;
        timeline.topologies = topologies;
        timeline.topologies.resize(timeline.connector_of.len(), Vec::new());
        timeline.former = former;
        timeline.settled = settled;
        timeline.baseline = baseline;
        for lane in lanes {
            timeline.add_lane(lane);
        }
        timeline
    }

    /// The lane of a topic-partition, made at first sight.
    pub fn lane(&mut self, source: SourceIndex, topic_partition: &TopicPartition) -> LaneIndex {
        if let Some(lane) = self.lane_of.get(&(source, topic_partition.clone())) {
            return *lane;
        }
        self.add_lane(Lane {
            source,
            topic_partition: topic_partition.clone(),
            last_offset: -1,
            place: Place::default(),
            shared: VecDeque::new(),
            latest: Instant::MIN,
            last_run: RunId::default(),
            mark: None,
            proved: Place::default(),
            baseline: None,
            gap: None,
            halted: None,
        })
    }

    fn add_lane(&mut self, lane: Lane) -> LaneIndex {
        let index = self.lanes.len();
        self.lane_of.insert((lane.source, lane.topic_partition.clone()), index);
        self.lanes.push(lane);
        self.waiting.push(Queue::default());
        index
    }

    /// Learns which topics a source has, besides those that it is known to have, and what is news of those.
    pub fn learn(&mut self, topology: &Topology) -> Vec<(SourceTopic, TopicNews)> {
        let mut news = Vec::new();
        // An ingest member may be behind, and tell of a topic that is no more.
        for topic in topology.topics.iter().filter(|topic| !self.former.contains(&topic.id)) {
            let one = learn_topic(&mut self.topologies[topology.source], topic);
            news.extend(one.map(|one| (topic.clone(), one)));
        }
        for (_, one) in &news {
            if let TopicNews::Another { before } = one {
                self.former.push_back(*before);
            }
        }
        while self.former.len() > FORMER_KEPT {
            self.former.pop_front();
        }
        news
    }

    /// Something of a lane was lost: its promises are not believed from now on. False where that is known: an ingest member
    /// that dies before it commits says it again, and that a topic was created anew both its id and whoever reads it tell.
    pub fn gap(&mut self, lane: LaneIndex, gap: &Gap) -> bool {
        let lane = &mut self.lanes[lane];
        let gap = Gap { topic_partition: 0, ..*gap };
        let is_anew = gap.cause == GapCause::Recreated && gap.topic_id != 0;
        let told = lane.gap.filter(|known| is_anew && (known.cause, known.topic_id) == (gap.cause, gap.topic_id));
        if lane.gap == Some(gap) || told.is_some_and(|known| known.expected >= 0) {
            return false;
        }
        lane.gap = Some(gap);
        if matches!(gap.cause, GapCause::Recreated | GapCause::Truncated) {
            lane.last_offset = gap.found - 1;
        }
        if told.is_none() {
            lane.halted = lane.halted.or(Some(None));
        }
        told.is_none()
    }

    /// A lane's promises are believed again; `None` where they were. Gives what [`Timeline::mark`] gives of the best one.
    pub fn acknowledge(&mut self, lane: LaneIndex) -> Option<bool> {
        let withheld = self.lanes[lane].halted.take()?;
        Some(withheld.is_some_and(|mark| self.mark(lane, &mark)))
    }

    /// True where the offset was not taken before; takes it.
    pub fn take_offset(&mut self, lane: LaneIndex, offset: i64) -> bool {
        let lane = &mut self.lanes[lane];
        let new = offset > lane.last_offset;
        lane.last_offset = lane.last_offset.max(offset);
        new
    }

    /// True where the brokers say which topic it is: then they also say where it is another one.
    fn has_id(&self, lane: LaneIndex) -> bool {
        let Lane { source, topic_partition, .. } = &self.lanes[lane];
        self.topologies[*source].iter().any(|topic| topic.name == topic_partition.topic && topic.id != 0)
    }

    /// Takes the next change of a lane, in log order. A source time beyond `ceiling` is taken for that.
    pub fn admit(&mut self, lane_index: LaneIndex, mut change: Box<Change>, ceiling: Instant) -> Admission {
        if change.requeued.is_some() {
            change.source_time = change.source_time.min(ceiling);
            self.admit_requeued(lane_index, change);
            return Admission::Requeued;
        }
        let is_repeated = !self.take_offset(lane_index, change.offset);
        let time = change.source_time.min(ceiling);
        let exact = change.position.and_then(|_| self.committed_around(lane_index, change.run, time));
        let lane = &mut self.lanes[lane_index];
        let flow = &mut self.flows[self.connector_of[lane.source]];
        let is_ahead = change.source_time > ceiling;
        change.source_time = change.source_time.min(ceiling);
        if is_repeated {
            // What was taken is no later than the latest.
            let is_later = change.position.is_some() && change.source_time > lane.latest;
            let is_foreign = !is_ahead && is_later && !self.has_id(lane_index);
            return if is_foreign { Admission::Foreign } else { Admission::Repeated };
        }
        let mut admission = if is_ahead { Admission::Ahead } else { Admission::Taken };
        if let Some(position) = change.position {
            let told = Told { run: change.run, position, time: change.source_time, exact };
            let other_family = lane.last_run != RunId::default() && change.run.family != lane.last_run.family;
            // What was sent before is no later than the latest; and within one run nothing is sent twice.
            let is_news = change.source_time > lane.latest
                || other_family && (change.run.is_same_start(lane.last_run) || !flow.knows_family(change.run));
            let mut place = flow.place_of(told, lane.place.max(lane.proved).epoch, is_news);
            if place < lane.place && is_news {
                // Where something of the lane was lost, what was sent before may be later than the latest.
                place.epoch = (lane.place.epoch + 1).min(flow.latest_of(change.run));
            }
            if place < lane.place {
                return Admission::Replayed;
            }
            if place == lane.place && lane.shared.contains(&change.fingerprint) {
                return Admission::Replayed;
            }
            if flow.learn(change.run, place.epoch) {
                admission = Admission::NewEpoch;
            }
            if place < lane.proved {
                admission = Admission::Late;
            }
            lane.stand(place, change.fingerprint);
            lane.last_run = change.run;
            lane.latest = lane.latest.max(change.source_time);
        } else if lane.mark.is_none() {
            lane.baseline = lane.baseline.max(Some(change.source_time));
        }
        let late = admission == Admission::Late;
        let (place, after) = match change.position {
            Some(_) => (lane.place, lane.mark),
            // Of a topic-partition that was added nothing is promised yet.
            None => (lane.behind(), lane.mark.or(self.settled)),
        };
        let floor = after.map_or(Instant::MIN, Instant::next);
        self.waiting[lane_index].push(Waiting { place, floor, late, change });
        admission
    }

    /// Takes a change whose offset has been passed: behind all that was taken of its topic-partition, before all that will be.
    /// It falls into no settled instant, and stands where it stood in its connector's order; or, where its topic-partition has
    /// gone on since, with the last that was taken of that.
    fn admit_requeued(&mut self, lane_index: LaneIndex, mut change: Box<Change>) {
        let lane = &mut self.lanes[lane_index];
        let epoch = self.flows[self.connector_of[lane.source]].epoch_of_run(change.run);
        match change.position.zip(epoch).map(|(position, epoch)| Place { epoch, position }) {
            Some(own) if own >= lane.place => {
                lane.stand(own, change.fingerprint);
                lane.latest = lane.latest.max(change.source_time);
            }
            _ => change.transaction = 0,
        }
        let late = self.settled.is_some_and(|settled| change.source_time <= settled);
        let (place, after) = match change.position {
            Some(_) => (lane.place, self.settled),
            None => (lane.behind(), self.settled.max(lane.mark)),
        };
        let floor = after.map_or(Instant::MIN, Instant::next);
        self.waiting[lane_index].push(Waiting { place, floor, late, change });
    }

    /// Takes a promise. One that says less than what was promised before is ignored. True where its connector's
    /// positions begin anew with it.
    pub fn mark(&mut self, lane_index: LaneIndex, mark: &Mark) -> bool {
        let lane = &mut self.lanes[lane_index];
        if lane.mark.is_some_and(|known| mark.time <= known) {
            return false;
        }
        if let Some(withheld) = &mut lane.halted {
            if withheld.is_none_or(|known| mark.time > known.time) {
                *withheld = Some(*mark);
            }
            return false;
        }
        let mut is_new_epoch = false;
        let run = mark.proof.map_or(RunId::default(), |proof| proof.run);
        let exact = self.committed_around(lane_index, run, mark.time.next());
        let lane = &mut self.lanes[lane_index];
        if let Some(proof) = mark.proof {
            let flow = &mut self.flows[self.connector_of[lane.source]];
            let told = Told { run: proof.run, position: proof.position, time: mark.time.next(), exact };
            // What it tells of may lie before changes that were read meanwhile.
            let place = flow.place_of(told, lane.proved.epoch, true);
            is_new_epoch = flow.learn(proof.run, place.epoch);
            lane.proved = lane.proved.max(place);
            flow.prove(place, mark.time.next());
        }
        if lane.mark.replace(mark.time).is_none() {
            lane.baseline = lane.baseline.max(Some(mark.time.max(lane.latest)));
        }
        is_new_epoch
    }

    /// What was taken of a commit-time connector's changes around an instant; `None` for others. Of a run that is known
    /// nobody needs it.
    fn committed_around(&self, lane: LaneIndex, run: RunId, time: Instant) -> Option<Around> {
        let source = self.lanes[lane].source;
        let connector = self.connector_of[source];
        if !self.commit_time[source] || self.flows[connector].knows(run) {
            return None;
        }
        let of_connector = self.lanes.iter().filter(|lane| self.connector_of[lane.source] == connector);
        let streamed = of_connector.filter(|lane| lane.place != Place::default());
        let (before, after) = (time.plus(-COMMIT_ORDER_US), time.plus(COMMIT_ORDER_US));
        Some(Around {
            before: streamed.clone().filter(|lane| lane.latest < before).map(|lane| lane.place).max(),
            after: streamed.filter(|lane| lane.latest > after).map(|lane| lane.place).min(),
        })
    }

    /// The least mark over a source's topic-partitions; `None` until each has one.
    pub fn frontier(&self, source: SourceIndex) -> Option<Instant> {
        let least = self.promises().filter(|(of, ..)| *of == source).map(|(.., mark)| mark).min();
        least.flatten()
    }

    /// The topic-partition that has promised least, and what: the settled time cannot pass it.
    pub fn least_promised(&self) -> Option<(SourceIndex, TopicPartition, Option<Instant>)> {
        self.promises().min_by_key(|(.., mark)| *mark)
    }

    /// Every topic-partition that the sources are known to have, with its mark.
    fn promises(&self) -> impl Iterator<Item = (SourceIndex, TopicPartition, Option<Instant>)> {
        self.topologies.iter().enumerate().flat_map(move |(source, topics)| {
            let ids = topics.iter().flat_map(|topic| {
                (0..topic.partitions).map(|partition| TopicPartition { topic: Arc::clone(&topic.name), partition })
            });
            ids.map(move |id| {
                let lane = self.lane_of.get(&(source, id.clone()));
                (source, id, lane.and_then(|lane| self.lanes[*lane].mark))
            })
        })
    }

    /// How far each topic of a source is known: everything committed by a time and before a position. `None` where a
    /// partition of it has promised nothing, or its promises are not believed.
    pub fn past(&self, source: SourceIndex) -> Vec<(Table, Past)> {
        let past = |topic: &SourceTopic| {
            let stand = |partition| {
                let id = TopicPartition { topic: Arc::clone(&topic.name), partition };
                let lane = &self.lanes[*self.lane_of.get(&(source, id))?];
                Some((lane.mark.filter(|_| lane.halted.is_none())?, lane.proved.position))
            };
            let stands: Option<Vec<(Instant, Position)>> = (0..topic.partitions).map(stand).collect();
            let stands = stands.unwrap_or_default().into_iter();
            stands.reduce(|one, other| (one.0.min(other.0), one.1.min(other.1)))
        };
        self.topologies[source].iter().map(|topic| ((source, Arc::clone(&topic.name)), past(topic))).collect()
    }

    /// Up to here history is complete and cannot change. Never falls.
    pub fn settled(&self) -> Option<Instant> {
        self.settled
    }

    /// The instant at which judging begins: every source has finished its first snapshot by then.
    pub fn baseline(&self) -> Option<Instant> {
        self.baseline
    }

    /// As far as the marks let the settled time come; `None` until every topic-partition has one. Never falls.
    pub fn reach(&self) -> Option<Instant> {
        let frontiers: Option<Vec<Instant>> = (0..self.connector_of.len()).map(|s| self.frontier(s)).collect();
        frontiers?.into_iter().min().max(self.settled)
    }

    /// Moves the settled time on, over `limit` changes and the rest of the last one's instant, or as far as the marks
    /// allow; `None` where it is there. `fetch` brings waiting changes of a lane from a number on, of those that are
    /// away, one or more.
    pub fn stride<E>(
        &mut self,
        limit: usize,
        mut fetch: impl FnMut(LaneIndex, u64) -> Result<Vec<Waiting>, E>,
    ) -> Result<Option<Stride>, E> {
        let Some(reach) = self.reach().filter(|reach| self.settled.is_none_or(|known| *reach > known)) else {
            return Ok(None);
        };
        if self.baseline.is_none() {
            self.baseline =
                self.lanes.iter().filter(|lane| lane.mark.is_some()).filter_map(|lane| lane.baseline).max();
        }
        let mut merges = Vec::new();
        for connector in 0..self.flows.len() {
            merges.push(Merge::begin(self, connector, &mut fetch)?);
        }
        let mut changes: Vec<Settled> = Vec::new();
        let until = loop {
            let heads = merges.iter_mut().filter_map(|merge| Some((merge.group.as_ref()?.at, merge)));
            let next = heads.min_by_key(|(at, _)| *at).filter(|(at, _)| *at <= reach);
            let Some((at, merge)) = next else { break reach };
            if let Some(last) = changes.last().filter(|_| changes.len() >= limit) {
                if last.at < at {
                    break last.at;
                }
                if self.baseline.is_some_and(|baseline| at < baseline) {
                    break at.previous();
                }
            }
            merge.take(self, &mut changes);
            merge.advance(self, &mut fetch)?;
        };
        self.settled = Some(until);
        (0..self.flows.len()).for_each(|connector| self.forget_proofs(connector));
        Ok(Some(Stride { until, changes }))
    }

    /// Drops proofs that no change still to be settled can be lifted by, except the last of them.
    fn forget_proofs(&mut self, connector: ConnectorIndex) {
        let least = (0..self.lanes.len())
            .filter(|lane| self.connector_of[self.lanes[*lane].source] == connector)
            .map(|lane| match self.waiting[lane].front() {
                Some(first) => first.place,
                None => self.lanes[lane].place.max(self.lanes[lane].proved),
            })
            .min();
        if let Some(least) = least {
            self.flows[connector].forget_below(least);
        }
    }
}
