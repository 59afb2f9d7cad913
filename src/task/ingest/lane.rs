//! What a source topic-partition may promise, and when.
//!
//! Must not know: the changes log, other topic-partitions.

use std::collections::VecDeque;

use super::Decoded;
use crate::domain::change::{Entry, Mark, Proof, RunId, SourceIndex, TopicPartition};
use crate::domain::instant::Instant;

/// A heartbeat lane waits for no more end offsets than this; further ones replace the newest.
const TARGETS: usize = 16;

/// A heartbeat that was seen.
#[derive(Clone, Copy)]
pub struct Seen {
    pub time: Instant,
    pub proof: Proof,
    /// Partition of the heartbeat topic, and offset.
    pub stand: (i32, i64),
}

/// A promise that is given when everything below `end` has been read, unless more may follow that was sent before.
pub struct Target {
    pub end: i64,
    pub time: Instant,
    pub proof: Proof,
    /// The machine's time a slack before the end was asked for.
    pub since: Instant,
}

/// A change of the stream, or of a snapshot that stands before it.
#[derive(Clone, Copy)]
struct Came {
    run: u64,
    /// When its database says that it was made; at the beginning of time for a snapshot's.
    time: Instant,
    /// The machine's time.
    at: Instant,
}

/// One topic-partition as it is read.
pub struct Lane {
    pub source: SourceIndex,
    pub topic_partition: TopicPartition,
    /// Everything below has been read.
    pub read_to: i64,
    targets: VecDeque<Target>,
    /// The last run of its connector that began here, of those that are told one from another.
    run: RunId,
    /// Where the last streamed change stood.
    pub last: Option<Proof>,
    came: Option<Came>,
    /// The greatest source time of streamed changes.
    pub latest: Option<Instant>,
    /// The best promise that can be given once it is known which other topic-partitions there are.
    promise: Option<(Instant, Option<Proof>)>,
    /// The best promise that can be given now, and how far had been read when it became so.
    confirmed: Option<(Instant, Option<Proof>)>,
    confirmed_to: i64,
    pub promised: Option<Instant>,
    /// Since when the broker has answered each time that it was asked for the end offset.
    pub answering_since: Option<Instant>,
    /// The machine's time when the promise last moved, or the lane was assigned.
    pub moved_at: Instant,
    /// True where it was said to stand still.
    pub stalled: bool,
    /// Where its events are counted: what was committed by then may have been read before, by somebody who did not count.
    counted_from: Option<Instant>,
}

/// Databases' clocks are no further ahead of the machine's, microseconds, when it is said from when on events are counted.
const AHEAD_US: i64 = 10_000_000;

impl Lane {
    /// Begins to be read at an offset.
    pub fn begin(source: SourceIndex, topic_partition: TopicPartition, offset: i64, now: Instant) -> Lane {
        Lane {
            source,
            topic_partition,
            read_to: offset,
            targets: VecDeque::new(),
            run: RunId::default(),
            last: None,
            came: None,
            latest: None,
            promise: None,
            confirmed: None,
            confirmed_to: offset,
            promised: None,
            answering_since: None,
            moved_at: now,
            stalled: false,
            counted_from: None,
        }
    }

    /// The same, its events counted from `now` on.
    pub fn counted(self, now: Instant) -> Lane {
        Lane { counted_from: Some(now.plus(AHEAD_US)), ..self }
    }

    /// Not what came up to `now`.
    pub fn leave_uncounted(&mut self, now: Instant) {
        self.counted_from = self.counted_from.map(|_| now.plus(AHEAD_US));
    }

    /// The run of its connector that begins with a change, where that is a snapshot's.
    pub fn begins_with_snapshot(&mut self, decoded: &Decoded) -> Option<RunId> {
        let run = decoded.change.run;
        let begins = run.is_dated() && (!self.run.is_dated() || self.run.began_before(run));
        self.run = if begins { run } else { self.run };
        (begins && decoded.is_snapshot()).then_some(run)
    }

    /// True where the promise is not known to be about all topic-partitions that there are.
    pub fn waits(&self) -> bool {
        self.promise != self.confirmed
    }

    /// Which topic-partitions there are was asked for after all that was taken so far.
    pub fn confirm(&mut self) {
        self.confirmed = self.promise;
        self.confirmed_to = self.read_to;
    }

    /// True where everything before the proof's position has been read. Positions of different runs are not held
    /// against each other: a failover may lie between them.
    pub fn has_passed(&self, proof: Proof) -> bool {
        self.last.is_some_and(|last| last.run == proof.run && last.position >= proof.position)
    }

    /// How far whoever reads on may forget: what a promise rests on that was not given yet must be read again.
    pub fn to_commit(&self) -> i64 {
        if self.waits() { self.confirmed_to } else { self.read_to }
    }

    /// Takes the promise of the last heartbeat that has been passed. Those of another run are stepped over.
    pub fn pass(&mut self, seen: &VecDeque<Seen>) {
        let known = self.promise.map_or(Instant::MIN, |(time, _)| time);
        let later = seen.range(seen.partition_point(|seen| seen.time <= known)..);
        let run = self.last.map(|last| last.run);
        let passed = later.filter(|seen| Some(seen.proof.run) == run).take_while(|seen| self.has_passed(seen.proof));
        if let Some(Seen { time, proof, .. }) = passed.last().copied() {
            self.offer(time, Some(proof));
        }
    }

    pub fn offer(&mut self, time: Instant, proof: Option<Proof>) {
        if self.promise.is_none_or(|(best, _)| time > best) {
            self.promise = Some((time, proof));
        }
    }

    /// A change came that a run of the connector has sent in the order of the stream, made at `time`.
    pub fn come(&mut self, run: RunId, time: Instant, now: Instant) {
        self.came = Some(Came { run: run.number, time, at: now });
    }

    pub fn aim(&mut self, target: Target) {
        if self.targets.len() >= TARGETS {
            self.targets.pop_back();
        }
        self.targets.push_back(target);
        self.reach();
    }

    /// True where an end that was reached proved nothing, and another one would.
    pub fn wants_end(&self, since: Instant) -> bool {
        let is_spent = |target: &Target| target.end <= self.read_to && self.is_proved(&Target { since, ..*target });
        self.targets.front().is_some_and(is_spent)
    }

    /// Holds against a later end what an earlier one did not prove.
    pub fn aim_again(&mut self, end: i64, since: Instant) {
        for target in self.targets.iter_mut().filter(|target| target.end <= self.read_to) {
            (target.end, target.since) = (end, since);
        }
        self.reach();
    }

    pub fn reach(&mut self) {
        let is_reached = |lane: &Lane, target: &Target| target.end <= lane.read_to && lane.is_proved(target);
        while self.targets.front().is_some_and(|target| is_reached(self, target)) {
            let target = self.targets.pop_front().expect("there is a first");
            self.offer(target.time, Some(target.proof));
        }
    }

    /// False where what came last was sent before the heartbeat, and less than a slack before the end was asked for: more of
    /// that may be on its way. A producer sends a batch of each topic-partition at a time, so that a heartbeat is ahead of
    /// what it holds of others, which comes batch upon batch (Kafka's `RecordAccumulator.drain`).
    fn is_proved(&self, target: &Target) -> bool {
        self.came.is_none_or(|came| {
            let is_later = came.run == target.proof.run.number && came.time > target.time;
            came.at <= target.since || is_later || self.has_passed(target.proof)
        })
    }

    /// What there is to write about the lane now; indexes are not set.
    pub fn say(&mut self, now: Instant, stall_after_us: i64) -> Vec<Entry> {
        let mut entries = Vec::new();
        let news = self.confirmed.filter(|(time, _)| self.promised.is_none_or(|known| *time > known));
        if let Some((time, proof)) = news {
            self.moved_at = now;
            let before = self.promised.replace(time);
            // The first one of the kind says by its own time from when on.
            let counted = self.counted_from.zip(before).is_some_and(|(from, before)| before > from);
            entries.push(Entry::Mark(Mark { topic_partition: 0, time, proof, counted }));
        }
        let stands_still = now.since(self.moved_at) > stall_after_us;
        let is_recent = self.confirmed.is_some_and(|(time, _)| now.since(time) <= stall_after_us);
        if stands_still && !self.stalled {
            entries.push(Entry::Stall { topic_partition: 0, after_us: stall_after_us });
        }
        self.stalled = stands_still || self.stalled && !is_recent;
        entries
    }
}
