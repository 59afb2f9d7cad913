//! An ingest member's work: reads its share of the sources' topics, writes the changes log, commits what is safe there.
//! Finds out what was lost on the way.
//!
//! Must not know: Kafka, formats, clocks, threads. All of them are its [`Sources`]', of which there are two: the real ones
//! (`app::sources`), and the simulator's.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::ingest::{Feed, Ingest, Reading};
use crate::domain::change::{
    Block, Gap, GapCause, Proof, SourceIndex, SourceTopic, TopicNews, TopicPartition, Topology, TransactionId,
};
use crate::domain::instant::Instant;
use crate::domain::rule::ConnectorIndex;

/// How often topics and partition counts are looked up where no promise waits for it, microseconds.
const LOOK_UP_US: i64 = 2_000_000;

/// How often end offsets may be asked for, and topics looked up that promises wait for, microseconds.
const ASK_US: i64 = 200_000;

/// Looking up may take no more than one part in so many of the time, for a cluster may have many topics; though it is
/// never put off for longer than that, microseconds.
const LOOK_UP_SHARE: i64 = 10;
const LOOK_UP_LATEST_US: i64 = 5_000_000;

/// How often offsets are committed, microseconds. What a restart reads again is dropped by its offset.
const COMMIT_US: i64 = 1_000_000;

/// How long is waited for a record where there is none, microseconds.
const WAIT_US: i64 = 20_000;

/// Rounds that may be on their way to the changes log; then reading waits.
const ROUNDS_IN_FLIGHT: usize = 8;

/// What an ingest member does all its work with.
pub trait Sources {
    type Error;

    /// Microseconds since any moment; never runs backwards.
    fn clock_us(&mut self) -> i64;

    /// The machine's time.
    fn now(&mut self) -> Instant;

    fn is_stopped(&mut self) -> bool;

    /// Topic-partitions that the group has given to this member or taken from it since this was last asked, in order.
    fn movements(&mut self) -> Result<Vec<Movement>, Self::Error>;

    /// Begins to read topic-partitions, or goes on with them, from these offsets.
    fn go_on(&mut self, from: &[(TopicPartition, i64)]) -> Result<(), Self::Error>;

    /// The next record of what was begun, if one comes in time.
    fn read(&mut self, wait_us: i64) -> Result<Option<Taken>, Self::Error>;

    /// How far each topic-partition has been handed out: behind its last record, or behind the transaction marker that
    /// follows it, which is never handed out.
    fn positions(&mut self) -> Result<Vec<(TopicPartition, i64)>, Self::Error>;

    /// The heartbeats that have come.
    fn beats(&mut self) -> Result<Vec<Beat>, Self::Error>;

    /// What the group has committed; topic-partitions of which it has nothing are left out.
    fn committed(&mut self, of: &[TopicPartition]) -> Result<Vec<Committed>, Self::Error>;

    /// The offset of the first record that each has, and the one behind the last; those that are not known now, as while a
    /// partition has no leader, are left out.
    fn bounds(&mut self, of: &[TopicPartition]) -> Result<Vec<(TopicPartition, i64, i64)>, Self::Error>;

    /// The offsets behind the last records; those that are not known now are left out.
    fn ends(&mut self, of: &[TopicPartition]) -> Vec<(TopicPartition, i64)>;

    /// The topics as the brokers tell of them now; `None` where they do not answer.
    fn look_up(&mut self) -> Result<Option<Found>, Self::Error>;

    /// Hands a round of blocks, each with its partition, to whoever writes them; each partition's in order, none left out
    /// before a later one. Gives its number.
    fn write(&mut self, round: &[(i32, Block)]) -> Result<u64, Self::Error>;

    /// The last round up to which everything is written, where that is news; waits for news a moment where told.
    fn written(&mut self, wait: bool) -> Result<Option<u64>, Self::Error>;

    /// How many rounds are on their way.
    fn in_flight(&mut self) -> usize;

    /// Commits how far the sources are read, and from where heartbeats are still needed: connector, partition, offset.
    /// Does not wait for it.
    fn commit(&mut self, read: &[Committed], beats: &[(ConnectorIndex, i32, i64)]);

    /// Commits where topic-partitions begin, and waits until that is done. False where it was not.
    fn commit_first(&mut self, begin: &[Committed]) -> Result<bool, Self::Error>;
}

/// The topics that there are.
#[derive(Debug, Default)]
pub struct Found {
    pub sources: Vec<Topology>,
    /// In which connectors tell of their transactions.
    pub transactions: Vec<(ConnectorIndex, SourceTopic)>,
}

/// A topic-partition that came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Movement {
    Assigned(TopicPartition),
    Revoked(TopicPartition),
}

/// A record as it was read.
#[derive(Debug)]
pub struct Taken {
    pub feed: Feed,
    pub topic_partition: TopicPartition,
    pub offset: i64,
    pub reading: Reading,
    /// The event's transaction, and its number among those of its table, where it says so.
    pub counted: Option<(TransactionId, u32)>,
    pub bytes: usize,
}

/// A streamed row of a connector's heartbeat table.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    pub connector: ConnectorIndex,
    pub time: Instant,
    pub proof: Proof,
    /// Partition of the heartbeat topic, and offset.
    pub stand: (i32, i64),
}

/// Where a group goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub topic_partition: TopicPartition,
    pub offset: i64,
    /// Of the topic that was read; 0 where it was not known.
    pub topic_id: u64,
}

/// How much is written at once.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    pub linger_us: i64,
    /// Bytes of what is read.
    pub bytes: usize,
}

/// When something was last done, by [`Sources::clock_us`].
#[derive(Default)]
struct Times {
    round: i64,
    ask: i64,
    commit: i64,
    look_up: i64,
    /// How long the last look took.
    look_up_took: i64,
}

/// An ingest member.
pub struct Intake<S: Sources> {
    sources: S,
    ingest: Ingest,
    rounds: Rounds,
    times: Times,
    topics: BTreeMap<Arc<str>, (Feed, SourceTopic)>,
    /// True where the changes log held something before this process wrote to it: the group has committed offsets then,
    /// since each member commits where it begins before it writes.
    has_history: bool,
    /// Topic-partitions that are assigned here and not begun yet.
    put_off: BTreeSet<TopicPartition>,
    /// For each topic-partition that was begun, the offset that comes next.
    expected: BTreeMap<TopicPartition, i64>,
    /// For each round that is on its way, how far the sources are read once it is written.
    to_commit: VecDeque<(u64, Vec<Committed>)>,
    /// What the last written round allows to commit, until it is.
    written: Option<Vec<Committed>>,
    bytes_taken: usize,
}

impl<S: Sources> Intake<S> {
    pub fn begin(mut sources: S, ingest: Ingest, rounds: Rounds, has_history: bool) -> Result<Intake<S>, S::Error> {
        let clock = sources.clock_us();
        let times = Times { round: clock, ask: clock, commit: clock, look_up: clock, look_up_took: 0 };
        let mut intake = Intake {
            sources,
            ingest,
            rounds,
            times,
            topics: BTreeMap::new(),
            has_history,
            put_off: BTreeSet::new(),
            expected: BTreeMap::new(),
            to_commit: VecDeque::new(),
            written: None,
            bytes_taken: 0,
        };
        intake.look_up()?;
        // Clients connect for the first look: what it takes says nothing of the next.
        intake.times.look_up_took = 0;
        Ok(intake)
    }

    pub fn ingest(&self) -> &Ingest {
        &self.ingest
    }

    pub fn sources(&mut self) -> &mut S {
        &mut self.sources
    }

    /// Reads what has come, and writes where it is time. After an error the member must be dropped.
    pub fn step(&mut self) -> Result<(), S::Error> {
        self.follow_movements()?;
        let waited_us = self.sources.clock_us() - self.times.round;
        self.read((self.rounds.linger_us - waited_us).clamp(0, WAIT_US))?;
        for Beat { connector, time, proof, stand } in self.sources.beats()? {
            let now = self.sources.now();
            self.ingest.heartbeat(connector, (time, proof), stand, now);
        }
        let clock = self.sources.clock_us();
        if clock - self.times.ask >= ASK_US {
            self.times.ask = clock;
            self.begin_assigned()?;
            self.follow_positions()?;
            self.ask_ends();
        }
        if clock - self.times.commit >= COMMIT_US {
            self.times.commit = clock;
            self.commit();
        }
        let pause = if self.ingest.wants_topologies() { ASK_US } else { LOOK_UP_US };
        if clock - self.times.look_up >= pause.max((self.times.look_up_took * LOOK_UP_SHARE).min(LOOK_UP_LATEST_US)) {
            self.look_up()?;
        }
        if clock - self.times.round >= self.rounds.linger_us || self.bytes_taken >= self.rounds.bytes {
            self.times.round = clock;
            self.write_round()?;
        }
        self.hear(false)?;
        while self.sources.in_flight() > ROUNDS_IN_FLIGHT && !self.sources.is_stopped() {
            self.hear(true)?;
        }
        Ok(())
    }

    /// Writes and commits what was read. Gives the sources back.
    pub fn end(mut self) -> Result<S, S::Error> {
        self.write_round()?;
        while self.sources.in_flight() > 0 {
            self.hear(true)?;
        }
        self.hear(false)?;
        self.commit();
        Ok(self.sources)
    }

    /// Reads what has come, for as long as a round may take.
    fn read(&mut self, wait_us: i64) -> Result<(), S::Error> {
        let mut wait_us = wait_us;
        while self.bytes_taken < self.rounds.bytes {
            let Some(Taken { feed, topic_partition: id, offset, reading, counted, bytes }) =
                self.sources.read(wait_us)?
            else {
                break;
            };
            self.bytes_taken += bytes;
            wait_us = 0;
            if self.follow(&id, offset)? {
                let now = self.sources.now();
                if let Feed::Source(source) = feed {
                    self.ingest.count(source, &id, (counted, &reading), now);
                }
                self.ingest.take(feed, &id, (offset, reading), now);
            }
        }
        Ok(())
    }

    fn feed_of(&self, id: &TopicPartition) -> Feed {
        self.topic_of(id).0
    }

    fn topic_of(&self, id: &TopicPartition) -> &(Feed, SourceTopic) {
        self.topics.get(&id.topic).expect("nothing is read of a topic that is not known")
    }

    fn follow_movements(&mut self) -> Result<(), S::Error> {
        let movements = self.sources.movements()?;
        if movements.is_empty() {
            return Ok(());
        }
        for movement in movements {
            match movement {
                Movement::Assigned(id) => drop(self.put_off.insert(id)),
                Movement::Revoked(id) => {
                    self.leave(&id);
                    self.put_off.remove(&id);
                }
            }
        }
        self.begin_assigned()
    }

    fn leave(&mut self, id: &TopicPartition) {
        self.ingest.revoke(self.feed_of(id), id);
        self.expected.remove(id);
    }

    /// Begins to read what is assigned here: where the group has committed, or at the first record that is there. What
    /// cannot be begun now is tried again.
    fn begin_assigned(&mut self) -> Result<(), S::Error> {
        if self.put_off.is_empty() {
            return Ok(());
        }
        let assigned: Vec<TopicPartition> = self.put_off.iter().cloned().collect();
        // The group may know of partitions that were just added before this member does.
        if assigned.iter().any(|id| id.partition >= self.topic_of(id).1.partitions) {
            self.look_up()?;
        }
        let all = self.topics.values().flat_map(|(_, topic)| {
            (0..topic.partitions).map(|partition| TopicPartition { topic: Arc::clone(&topic.name), partition })
        });
        // Nor is it sure that the brokers have just told of them.
        let mut all: Vec<TopicPartition> = all.chain(assigned.iter().cloned()).collect();
        all.sort_unstable();
        all.dedup();
        let committed = self.sources.committed(&all)?;
        // Whoever is the first says for all partitions where they begin: what is added later begins at its first record.
        let is_first = committed.is_empty();
        let known = |id: &TopicPartition| committed.iter().find(|committed| committed.topic_partition == *id);
        let (mut from, mut new, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
        let asked = if is_first { &all } else { &assigned };
        let bounds = self.sources.bounds(asked)?;
        if is_first && bounds.len() < asked.len() {
            return Ok(());
        }
        for (id, start, end) in bounds {
            let topic_id = self.topic_of(&id).1.id;
            // Of transactions that ended before anybody counted their end is of no use.
            let is_aside = matches!(self.feed_of(&id), Feed::Transactions(_));
            let gap = match known(&id) {
                None if is_aside => None,
                Some(committed) => lost_since(committed, topic_id, (start, end)),
                None if is_first && self.has_history && start > 0 => Some((GapCause::OffsetForgotten, -1)),
                None if !is_first && start > 0 => Some((GapCause::Retention, 0)),
                None => None,
            };
            let offset = match (gap, known(&id)) {
                (None, Some(committed)) => committed.offset,
                (_, None) if is_aside => end,
                _ => start,
            };
            // Not before what was lost stands in the changes log: whoever dies until then finds it again.
            if known(&id).is_none() && gap.is_none() {
                new.push(Committed { topic_partition: id.clone(), offset, topic_id });
            }
            if assigned.contains(&id) {
                gaps.extend(gap.map(|(cause, expected)| (id.clone(), cause, expected, offset)));
                from.push((id, offset));
            }
        }
        if !new.is_empty() && !self.sources.commit_first(&new)? {
            return Ok(());
        }
        for (id, offset) in &from {
            self.put_off.remove(id);
            let now = self.sources.now();
            self.ingest.assign(self.feed_of(id), id.clone(), *offset, now);
            self.expected.insert(id.clone(), *offset);
        }
        for (id, cause, expected, found) in gaps {
            self.lose(&id, cause, expected, found);
        }
        self.sources.go_on(&from)
    }

    /// Something of a topic-partition was lost. It is read on from `found`.
    fn lose(&mut self, id: &TopicPartition, cause: GapCause, expected: i64, found: i64) {
        let (feed, SourceTopic { id: topic_id, .. }) = *self.topic_of(id);
        let gap = Gap { topic_partition: 0, cause, expected, found, topic_id };
        let now = self.sources.now();
        self.ingest.lose(feed, id, gap, now);
        self.expected.insert(id.clone(), found);
    }

    /// Checks that an offset is what comes next. Offsets may jump over control records and compacted ones, never over
    /// what retention has deleted; and they never fall within a topic's life. False where it comes again, or too early.
    fn follow(&mut self, id: &TopicPartition, offset: i64) -> Result<bool, S::Error> {
        let Some(expected) = self.expected.get_mut(id) else { return Ok(false) };
        let next = *expected;
        if offset == next {
            *expected += 1;
            return Ok(true);
        }
        if offset < next {
            self.look_up()?;
            if self.expected.get(id) != Some(&next) {
                return Ok(false);
            }
            // The brokers do not say that it is another topic.
            let cause = truncation(self.topic_of(id).1.id);
            self.lose(id, cause, next, offset);
        } else if self.look_for_gaps(vec![id.clone()])?.is_empty() {
            // Nobody can say what was jumped over: it is begun again when somebody can.
            self.leave(id);
            self.put_off.insert(id.clone());
            return Ok(false);
        }
        self.expected.insert(id.clone(), offset + 1);
        Ok(true)
    }

    /// Where something was jumped over, it must not be what retention has deleted. Gives those of which that is known.
    fn look_for_gaps(&mut self, jumped: Vec<TopicPartition>) -> Result<Vec<TopicPartition>, S::Error> {
        let mut known = Vec::new();
        for (id, start, _) in self.sources.bounds(&jumped)? {
            let next = self.expected[&id];
            if start > next {
                self.lose(&id, GapCause::Retention, next, start);
            }
            known.push(id);
        }
        Ok(known)
    }

    /// A topic that is written in transactions ends with a marker that nobody is given.
    fn follow_positions(&mut self) -> Result<(), S::Error> {
        let mut positions = self.sources.positions()?;
        positions.retain(|(id, position)| self.expected.get(id).is_some_and(|next| position > next));
        if positions.is_empty() {
            return Ok(());
        }
        let known = self.look_for_gaps(positions.iter().map(|(id, _)| id.clone()).collect())?;
        for (id, position) in positions.into_iter().filter(|(id, _)| known.contains(id)) {
            let next = position.max(self.expected[&id]);
            self.expected.insert(id.clone(), next);
            self.ingest.reached_end(self.feed_of(&id), &id, position);
        }
        Ok(())
    }

    fn ask_ends(&mut self) {
        let asked_at = self.sources.now();
        let wanted = self.ingest.wants_ends(asked_at);
        if wanted.is_empty() {
            return;
        }
        let ids: Vec<TopicPartition> = wanted.iter().map(|(_, id)| id.clone()).collect();
        let ends = self.sources.ends(&ids);
        let answer = |(source, id): (SourceIndex, TopicPartition)| {
            let (_, end) = ends.iter().find(|(of, _)| *of == id)?;
            Some(((source, id), *end))
        };
        let ends: Vec<_> = wanted.into_iter().filter_map(answer).collect();
        self.ingest.ends(asked_at, &ends);
    }

    /// Learns which topics and partitions there are. A topic that is another one than before was created anew.
    fn look_up(&mut self) -> Result<(), S::Error> {
        let begun = self.sources.clock_us();
        let found = self.sources.look_up()?;
        self.times.look_up = self.sources.clock_us();
        self.times.look_up_took = self.times.look_up - begun;
        let Some(found) = found else { return Ok(()) };
        let mut anew = Vec::new();
        let of_source = |Topology { source, topics }: &Topology| {
            let source = Feed::Source(*source);
            topics.iter().map(move |topic| (source, topic.clone())).collect::<Vec<_>>()
        };
        let transactions = found.transactions.into_iter().map(|(of, topic)| (Feed::Transactions(of), topic));
        for (feed, topic) in found.sources.iter().flat_map(of_source).chain(transactions) {
            let (_, known) = self.topics.entry(Arc::clone(&topic.name)).or_insert_with(|| (feed, topic.clone()));
            if let Some(TopicNews::Another { .. }) = known.learn(&topic) {
                anew.push(topic.name);
            }
        }
        for topic in anew {
            self.begin_anew(&topic)?;
        }
        // Promises wait for this, so that none rests on a topic that is not the one it was.
        self.ingest.learn(found.sources);
        Ok(())
    }

    fn begin_anew(&mut self, topic: &Arc<str>) -> Result<(), S::Error> {
        let ids: Vec<TopicPartition> = self.expected.keys().filter(|id| id.topic == *topic).cloned().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let bounds = self.sources.bounds(&ids)?;
        let mut from = Vec::new();
        for id in ids {
            match bounds.iter().find(|(of, ..)| *of == id) {
                Some((_, start, _)) => {
                    self.lose(&id, GapCause::Recreated, self.expected[&id], *start);
                    from.push((id, *start));
                }
                None => {
                    self.leave(&id);
                    self.put_off.insert(id);
                }
            }
        }
        self.sources.go_on(&from)
    }

    fn write_round(&mut self) -> Result<(), S::Error> {
        self.bytes_taken = 0;
        let now = self.sources.now();
        let round = self.ingest.collect(now);
        let number = self.sources.write(&round.blocks)?;
        let committed = |(topic_partition, offset): (TopicPartition, i64)| {
            let topic_id = self.topic_of(&topic_partition).1.id;
            Committed { topic_partition, offset, topic_id }
        };
        self.to_commit.push_back((number, round.read_to.into_iter().map(committed).collect()));
        Ok(())
    }

    fn hear(&mut self, wait: bool) -> Result<(), S::Error> {
        let Some(written) = self.sources.written(wait)? else { return Ok(()) };
        while self.to_commit.front().is_some_and(|(round, _)| *round <= written) {
            self.written = self.to_commit.pop_front().map(|(_, offsets)| offsets);
        }
        Ok(())
    }

    fn commit(&mut self) {
        let Some(mut read) = self.written.take() else { return };
        read.retain(|committed| self.ingest.holds(&committed.topic_partition));
        let mut beats = Vec::new();
        for connector in 0..self.ingest.connectors() {
            let from = self.ingest.heartbeats_from(connector).into_iter();
            beats.extend(from.map(|(partition, offset)| (connector, partition, offset)));
        }
        self.sources.commit(&read, &beats);
    }
}

/// What was lost between a commit and now: why, and from which offset on.
fn lost_since(committed: &Committed, topic_id: u64, (start, end): (i64, i64)) -> Option<(GapCause, i64)> {
    let is_another = committed.topic_id != 0 && topic_id != 0 && committed.topic_id != topic_id;
    let cause = match committed.offset {
        _ if is_another => GapCause::Recreated,
        offset if offset > end => truncation(topic_id),
        offset if offset < start => GapCause::Retention,
        _ => return None,
    };
    Some((cause, committed.offset))
}

/// Why a topic ends before what was read of it, where nobody says that it is another one.
fn truncation(topic_id: u64) -> GapCause {
    if topic_id == 0 { GapCause::Recreated } else { GapCause::Truncated }
}
