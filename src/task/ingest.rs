//! Ingest's decisions: what may be promised when.
//!
//! Takes decoded records, heartbeats, end offsets and the machine's time as arguments; gives blocks to write.
//! Must not know: Kafka, JSON, threads. It keeps no state that a restart would miss.
//!
//! # Promises
//!
//! * *Data*, of commit-time connectors only: having read a change committed at `c`, everything of the same
//!   topic-partition committed before `c` has been read.
//! * *A captured heartbeat table*: a row `at = T` proves that the connector has read its log up to there. Its topic
//!   is another partition than the data's, whose records may become visible later. So the promise for a data partition
//!   is given when a change of the same run at or after the heartbeat's position has been read there: a connector writes
//!   in commit order. A partition where none comes is promised by its end offset: asked for after a slack, and reached,
//!   if nothing that was sent before the heartbeat came within that slack.
//!
//! A promise is about topic-partitions that are known. One that was added, or a topic that a pattern came to match, may
//! hold what was committed before; so each promise waits until the brokers have been asked, after it could be given,
//! which there are.

mod lane;
#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use self::lane::{Lane, Seen, Target};
use super::router::Router;
use crate::domain::change::{
    Block, Change, End, Entry, Gap, Operation, Origin, Position, Proof, Reject, SourceIndex, TopicPartition,
    Topology, TransactionId, learn_topic,
};
use crate::domain::instant::Instant;
use crate::domain::rule::{ConnectorIndex, Plan};
use crate::domain::timeline::AHEAD_US;

/// How patient ingest is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between seeing a heartbeat and asking for end offsets, microseconds.
    pub slack_us: i64,
    /// How long a promise may stand still before its source is said to be stalled, microseconds.
    pub stall_after_us: i64,
}

/// A change as decoded, before it has a place in a block: `change.topic_partition` and `change.origin` are set here.
#[derive(Clone, Debug)]
pub struct Decoded {
    pub change: Box<Change>,
    pub origin: Origin,
    /// True for changes that were streamed from the database's log: those of a commit-time connector prove progress.
    /// Snapshot rows prove nothing.
    pub streamed: bool,
    /// True where the source time is a clock's that is behind the database's log: of a row that an incremental snapshot
    /// read in between, of a delete that is only a tombstone.
    pub incremental: bool,
    /// True for an update that does not say what its row was before, though its source should.
    pub incomplete: bool,
}

impl Decoded {
    /// True for a row that was read by a snapshot of all that its connector captures, or while its stream stood still.
    fn is_snapshot(&self) -> bool {
        !self.streamed && !self.incremental && matches!(self.change.operation, Operation::Upsert { .. })
    }
}

/// What a topic is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feed {
    /// A source's changes.
    Source(SourceIndex),
    /// What a connector says of its transactions.
    Transactions(ConnectorIndex),
}

/// What was read from a topic-partition.
#[derive(Clone, Debug)]
pub enum Reading {
    Change(Decoded),
    /// `reject.topic_partition` is set here.
    Reject(Box<Reject>),
    /// The end of a transaction; tables are named as the connector names them. `partition` is set here.
    Ended(End<Box<str>>),
    /// A record that says nothing about a row: a tombstone, a transaction marker.
    Nothing,
}

/// One heartbeat on its way to becoming promises.
struct Beat {
    connector: ConnectorIndex,
    time: Instant,
    proof: Proof,
    seen_at: Instant,
}

/// Blocks to write, and how far the sources have been read once all of them are written.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// `(changes-log partition, block)`; at most one block a partition, none of them empty.
    pub blocks: Vec<(i32, Block)>,
    /// For each topic-partition read, the offset to commit.
    pub read_to: Vec<(TopicPartition, i64)>,
}

/// How a source stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How far its least promise lies behind the clock, microseconds.
    pub frontier_age_us: i64,
    pub stalled: bool,
}

/// A connector's heartbeats that wait for their slack; further ones replace the newest.
const BEATS: usize = 64;

/// Heartbeats of a connector that are remembered for changes yet to be read; of more, every other one is forgotten.
const SEEN: usize = 256;

/// Rounds that lie further apart, microseconds, were kept apart by something other than the sources.
const PAUSE_US: i64 = 5_000_000;

/// The synchronous heart of an ingest member.
pub struct Ingest {
    plan: Arc<Plan>,
    patience: Patience,
    topologies: Vec<Option<Topology>>,
    /// For each partition of the changes log and each source, the topology last written there.
    told: Vec<Vec<Option<Topology>>>,
    lanes: BTreeMap<(SourceIndex, TopicPartition), Lane>,
    /// The connectors whose events are counted by transaction.
    counts: BTreeSet<ConnectorIndex>,
    /// How far the topic-partitions are read that promise nothing: those of transactions.
    asides: BTreeMap<TopicPartition, i64>,
    beats: VecDeque<Beat>,
    /// For each connector of the plan, its last heartbeats, in the order in which they came.
    seen: Vec<VecDeque<Seen>>,
    router: Router,
    /// The machine's time at the end of the last round.
    collected_at: Option<Instant>,
}

impl Ingest {
    /// `partitions` is the changes log's partition count.
    pub fn new(plan: Arc<Plan>, partitions: i32, key_may_change: Vec<bool>, patience: Patience) -> Ingest {
        let mut router = Router::new(Arc::clone(&plan), partitions, key_may_change);
        // The rules go in front, so that whoever reads the log knows by which it is to be judged.
        router.tell(&Entry::Rules(plan.rule_set()));
        Ingest {
            topologies: vec![None; plan.sources.len()],
            told: vec![vec![None; plan.sources.len()]; partitions as usize],
            lanes: BTreeMap::new(),
            counts: BTreeSet::new(),
            asides: BTreeMap::new(),
            beats: VecDeque::new(),
            seen: vec![VecDeque::new(); plan.connectors()],
            router,
            collected_at: None,
            plan,
            patience,
        }
    }

    /// The same, where events of these connectors are counted by transaction.
    pub fn counting(self, counts: BTreeSet<ConnectorIndex>) -> Ingest {
        Ingest { counts, ..self }
    }

    /// True where a promise waits for [`Ingest::learn`].
    pub fn wants_topologies(&self) -> bool {
        self.lanes.values().any(Lane::waits)
    }

    /// Learns every source's topics and their partition counts, which were asked for after all that was taken so far.
    pub fn learn(&mut self, topologies: impl IntoIterator<Item = Topology>) {
        for topology in topologies {
            let source = topology.source;
            match &mut self.topologies[source] {
                Some(known) => {
                    for topic in &topology.topics {
                        learn_topic(&mut known.topics, topic);
                    }
                }
                unknown => *unknown = Some(topology),
            }
        }
        for lane in self.lanes.values_mut() {
            lane.confirm();
        }
    }

    /// Begins to read a topic-partition at an offset.
    pub fn assign(&mut self, feed: Feed, topic_partition: TopicPartition, offset: i64, now: Instant) {
        match feed {
            Feed::Source(source) => {
                let id = (source, topic_partition.clone());
                let lane = Lane::begin(source, topic_partition, offset, now);
                let is_counted = self.counts.contains(&self.plan.sources[source].connector);
                self.lanes.insert(id, if is_counted { lane.counted(now) } else { lane });
            }
            Feed::Transactions(_) => drop(self.asides.insert(topic_partition, offset)),
        }
    }

    /// Stops reading a topic-partition. What was read of it may still be written: it is true.
    pub fn revoke(&mut self, feed: Feed, topic_partition: &TopicPartition) {
        match feed {
            Feed::Source(source) => drop(self.lanes.remove(&(source, topic_partition.clone()))),
            Feed::Transactions(_) => drop(self.asides.remove(topic_partition)),
        }
    }

    /// Records of a topic-partition were lost; it is read on from where the gap ends. Nothing that was known of it before
    /// proves anything for what comes. Transactions whose end was lost are not checked.
    pub fn lose(&mut self, feed: Feed, topic_partition: &TopicPartition, gap: Gap, now: Instant) {
        if let Feed::Source(source) = feed {
            self.router.tell_of(source, topic_partition, &Entry::Gap(gap));
        }
        self.assign(feed, topic_partition.clone(), gap.found, now);
    }

    /// How many connectors there are.
    pub fn connectors(&self) -> usize {
        self.seen.len()
    }

    /// Takes the next record of a topic-partition.
    pub fn take(
        &mut self,
        feed: Feed,
        topic_partition: &TopicPartition,
        (offset, reading): (i64, Reading),
        now: Instant,
    ) {
        match feed {
            Feed::Source(source) => self.take_of_source(source, topic_partition, (offset, reading), now),
            Feed::Transactions(connector) => {
                self.asides.insert(topic_partition.clone(), offset + 1);
                if let Reading::Ended(end) = reading {
                    self.end(connector, End { partition: topic_partition.partition, ..end });
                }
            }
        }
    }

    /// Takes the number of an event among those of its transaction and table, whatever became of the event else. Where it has
    /// none, though it was streamed, what it belongs to cannot be checked.
    pub fn count(
        &mut self,
        source: SourceIndex,
        topic_partition: &TopicPartition,
        (event, reading): (Option<(TransactionId, u32)>, &Reading),
        now: Instant,
    ) {
        let is_streamed = matches!(reading, Reading::Change(decoded) if decoded.streamed);
        match event {
            Some(event) => self.router.count(source, topic_partition, event),
            None if is_streamed => {
                let lane = self.lanes.get_mut(&(source, topic_partition.clone()));
                lane.expect("what comes is of a topic-partition that is assigned").leave_uncounted(now);
            }
            None => {}
        }
    }

    /// A connector's names of tables end those of its topics, unless somebody has renamed these.
    fn end(&mut self, connector: ConnectorIndex, end: End<Box<str>>) {
        let sources = (0..).zip(&self.plan.sources).filter(|(_, source)| source.connector == connector);
        let topics: Vec<(SourceIndex, Arc<str>)> = sources
            .filter_map(|(source, _)| Some((source, self.topologies[source].as_ref()?)))
            .flat_map(|(source, known)| known.topics.iter().map(move |topic| (source, Arc::clone(&topic.name))))
            .collect();
        let is_of = |topic: &str, table: &str| topic.strip_suffix(table).is_some_and(|prefix| prefix.ends_with('.'));
        let end = end.of(|table| topics.iter().find(|(_, topic)| is_of(topic, &table)).cloned());
        if !end.sent.is_empty() {
            self.router.end(end);
        }
    }

    fn take_of_source(
        &mut self,
        source: SourceIndex,
        topic_partition: &TopicPartition,
        (offset, reading): (i64, Reading),
        now: Instant,
    ) {
        let lane = self.lanes.get_mut(&(source, topic_partition.clone()));
        let lane = lane.expect("what comes is of a topic-partition that is assigned");
        lane.read_to = offset + 1;
        let commit_time = self.plan.sources[source].commit_time;
        match reading {
            Reading::Nothing | Reading::Ended(_) => {}
            Reading::Reject(reject) => self.router.reject(source, topic_partition, *reject),
            Reading::Change(mut decoded) => {
                if let Some(run) = lane.begins_with_snapshot(&decoded) {
                    self.router.tell_of(source, topic_partition, &Entry::Snapshot { topic_partition: 0, run });
                }
                let (is_snapshot, run) = (decoded.is_snapshot(), decoded.change.run);
                let time = &mut decoded.change.source_time;
                if decoded.incremental {
                    // The row is as the stream has come to know it, which may lie far behind the connector's clock.
                    *time = lane.latest.or(lane.promised).unwrap_or_default().min(*time);
                } else if decoded.streamed && *time <= now.plus(AHEAD_US) {
                    lane.latest = lane.latest.max(Some(*time));
                    lane.come(run, *time, now);
                } else if is_snapshot {
                    lane.come(run, Instant::MIN, now);
                }
                if let (true, Some(position)) = (decoded.streamed, decoded.change.position) {
                    if !commit_time {
                        lane.last = Some(Proof { position, run });
                        lane.pass(&self.seen[self.plan.sources[source].connector]);
                    } else if decoded.change.source_time <= now.plus(AHEAD_US) {
                        let begin = Position { transaction: position.transaction, row: 0 };
                        let time = decoded.change.source_time.previous();
                        lane.offer(time, Some(Proof { position: begin, run }));
                    }
                }
                lane.reach();
                self.router.route(source, topic_partition, decoded);
                return;
            }
        }
        lane.reach();
    }

    /// Everything of a topic-partition below `offset` has been read, whatever the last record's offset was.
    pub fn reached_end(&mut self, feed: Feed, topic_partition: &TopicPartition, offset: i64) {
        let Feed::Source(source) = feed else {
            self.asides.entry(topic_partition.clone()).and_modify(|read_to| *read_to = offset.max(*read_to));
            return;
        };
        if let Some(lane) = self.lanes.get_mut(&(source, topic_partition.clone())) {
            lane.read_to = lane.read_to.max(offset);
            lane.reach();
        }
    }

    /// Takes a streamed row of a connector's heartbeat table: its instant, and where its transaction begins. `stand` is
    /// the partition of its topic and the offset.
    pub fn heartbeat(
        &mut self,
        connector: ConnectorIndex,
        (time, proof): (Instant, Proof),
        stand: (i32, i64),
        now: Instant,
    ) {
        if time > now.plus(AHEAD_US) {
            return;
        }
        for lane in self.lanes.values_mut().filter(|lane| self.plan.sources[lane.source].connector == connector) {
            if lane.has_passed(proof) {
                lane.offer(time, Some(proof));
            }
        }
        let seen = &mut self.seen[connector];
        // A connector that reads its log again tells of the same times again.
        if seen.back().is_some_and(|last| time <= last.time) {
            return;
        }
        seen.push_back(Seen { time, proof, stand });
        if seen.len() > SEEN {
            let mut number = 0;
            seen.retain(|_| {
                number += 1;
                number % 2 == 1
            });
        }
        if self.beats.iter().filter(|beat| beat.connector == connector).count() >= BEATS {
            let newest = self.beats.iter().rposition(|beat| beat.connector == connector);
            self.beats.remove(newest.expect("there are beats of the connector"));
        }
        self.beats.push_back(Beat { connector, time, proof, seen_at: now });
    }

    /// Where the reading of a connector's heartbeats is to begin after a restart, by partition of their topic: every
    /// later one may still be needed by a topic-partition that is behind. Partitions of which nothing is known are left
    /// out.
    pub fn heartbeats_from(&mut self, connector: ConnectorIndex) -> BTreeMap<i32, i64> {
        let lanes = self.lanes.values().filter(|lane| self.plan.sources[lane.source].connector == connector);
        let Some(promised) = lanes.map(|lane| lane.promised.unwrap_or(Instant::MIN)).min() else {
            return BTreeMap::new();
        };
        let seen = &mut self.seen[connector];
        while seen.get(1).is_some_and(|second| second.time <= promised) {
            seen.pop_front();
        }
        // The last one collected for a partition wins: its first heartbeat.
        seen.iter().rev().map(|seen| seen.stand).collect()
    }

    /// The topic-partitions whose end offsets are to be asked for now. The answers go to [`Ingest::ends`] together
    /// with `now` unchanged, all of them asked for after this call.
    pub fn wants_ends(&self, now: Instant) -> Vec<(SourceIndex, TopicPartition)> {
        let since = now.plus(-self.patience.slack_us);
        let ripe = |source: SourceIndex| self.ripe(self.plan.sources[source].connector, now).is_some();
        let lanes = self.lanes.iter().filter(|((source, _), lane)| ripe(*source) || lane.wants_end(since));
        lanes.map(|(id, _)| id.clone()).collect()
    }

    /// The newest heartbeat of a connector whose slack is over.
    fn ripe(&self, connector: ConnectorIndex, now: Instant) -> Option<&Beat> {
        let slack_us = self.patience.slack_us;
        let ripe = |beat: &&Beat| beat.connector == connector && now.since(beat.seen_at) >= slack_us;
        self.beats.iter().rev().find(ripe)
    }

    /// Takes the end offsets that [`Ingest::wants_ends`] asked for at `asked_at`. A topic-partition without an answer
    /// gets its promise later: while its leader is away its connector's records wait in the producer, though heartbeats
    /// go on elsewhere, so a slack must pass after it is back.
    pub fn ends(&mut self, asked_at: Instant, ends: &[((SourceIndex, TopicPartition), i64)]) {
        let slack_us = self.patience.slack_us;
        let since = asked_at.plus(-slack_us);
        let mut waited_for = Vec::new();
        for id in self.wants_ends(asked_at) {
            let connector = self.plan.sources[id.0].connector;
            let ripe = self.ripe(connector, asked_at).map(|beat| (beat.time, beat.proof));
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            let end = ends.iter().find(|(known, _)| *known == id).map(|(_, end)| *end);
            lane.answering_since = end.and(lane.answering_since.or(Some(asked_at)));
            let is_back = lane.answering_since.is_some_and(|since| asked_at.since(since) >= slack_us);
            let Some(end) = end.filter(|_| is_back) else {
                waited_for.extend(ripe.map(|(time, _)| (connector, time)));
                continue;
            };
            lane.aim_again(end, since);
            if let Some((time, proof)) = ripe {
                lane.aim(Target { end, time, proof, since });
            }
        }
        // Where no other heartbeat comes, this one must do later.
        let is_waited_for = |beat: &Beat| waited_for.contains(&(beat.connector, beat.time));
        self.beats.retain(|beat| asked_at.since(beat.seen_at) < slack_us || is_waited_for(beat));
    }

    /// Ends a round: everything taken so far, with the promises that now hold, as blocks to write.
    pub fn collect(&mut self, now: Instant) -> Round {
        self.excuse(now);
        for lane in self.lanes.values_mut() {
            for entry in lane.say(now, self.patience.stall_after_us) {
                self.router.tell_of(lane.source, &lane.topic_partition, &entry);
            }
        }
        let mut round = Round::default();
        for (partition, block) in self.router.take() {
            let mut block = Block { written_at: now, ..block };
            let mut sources: Vec<SourceIndex> = block.topic_partitions.iter().map(|(source, _)| *source).collect();
            sources.sort_unstable();
            sources.dedup();
            // What this member has told a partition once, whoever reads it knows.
            let told = &mut self.told[partition as usize];
            let mut news = |source: &SourceIndex| {
                let known = self.topologies[*source].as_ref()?;
                (told[*source].as_ref() != Some(known)).then(|| told[*source].insert(known.clone()).clone())
            };
            block.topologies = sources.iter().filter_map(&mut news).collect();
            round.blocks.push((partition, block));
        }
        let read_to = self.lanes.values().map(|lane| (lane.topic_partition.clone(), lane.to_commit()));
        let asides = self.asides.iter().map(|(id, read_to)| (id.clone(), *read_to));
        round.read_to = read_to.chain(asides).collect();
        round
    }

    /// While this member did nothing, suspended or waiting for the changes log, nothing could be promised: that is no
    /// source's fault.
    fn excuse(&mut self, now: Instant) {
        let pause_us = now.since(self.collected_at.replace(now).unwrap_or(now));
        if pause_us > PAUSE_US {
            for lane in self.lanes.values_mut() {
                lane.moved_at = lane.moved_at.plus(pause_us).min(now);
            }
        }
    }

    /// True where a topic-partition is assigned here.
    pub fn holds(&self, topic_partition: &TopicPartition) -> bool {
        self.asides.contains_key(topic_partition) || self.lanes.keys().any(|(_, id)| id == topic_partition)
    }

    /// How each source stands, by the topic-partitions assigned here.
    pub fn standing(&self, now: Instant) -> BTreeMap<SourceIndex, Standing> {
        let mut standing: BTreeMap<SourceIndex, Standing> = BTreeMap::new();
        for lane in self.lanes.values() {
            let one = standing.entry(lane.source).or_default();
            // Before its first promise here, one that another member may have given is not known.
            one.frontier_age_us = one.frontier_age_us.max(now.since(lane.promised.unwrap_or(lane.moved_at)));
            one.stalled |= lane.stalled;
        }
        standing
    }

    /// How far each topic-partition assigned here has been read.
    pub fn read_to(&self) -> impl Iterator<Item = (SourceIndex, &TopicPartition, i64)> {
        self.lanes.values().map(|lane| (lane.source, &lane.topic_partition, lane.read_to))
    }
}
