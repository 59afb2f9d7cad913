//! One partition's reconciliation: blocks of the changes log in, records out. The pure function of the design.
//!
//! Must not know: Kafka, RocksDB, clocks, randomness. The same code runs in `run`, `demo`, `test` and the simulator.

mod admission;
mod audit;
mod rules;
mod snapshots;
mod sources;
#[cfg(test)]
mod tests;
mod transactions;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::audit::{Audit, Fault};
pub use self::snapshots::{Confirming, Rest};
use self::transactions::Counting;
use self::watch::Watch;
pub use self::watch::{Placed, Sight};
use super::cache::{KeyCache, StateError};
use super::rows::RowIndex;
use super::store::{Batch, MEMORY_KEY, RULES_KEY, Space, Store};
use super::telling::{Outbox, Teller};
use super::waiting::WaitingRoom;
use super::wire::rules::{decode_rules, encode_rules};
use super::wire::state::{Layout, Layouts, TaskMemory, decode_memory, encode_memory};
use crate::domain::change::{Block, Entry, Key, Origin, SourceIndex, TopicPartition};
use crate::domain::instant::Instant;
use crate::domain::key_state::{Effect, Happening, KeyState, Phase, Window};
use crate::domain::queue::Queue;
use crate::domain::record::{Content, Record};
use crate::domain::routing::Ownership;
use crate::domain::rule::{Plan, RuleSet};
use crate::domain::timeline::{AHEAD_US, LaneIndex, Timeline};

/// What a task has counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub changes: u64,
    pub late: u64,
    pub replayed: u64,
    pub repeated: u64,
    /// Taken again from quarantine.
    pub requeued: u64,
    pub epochs: u64,
    pub ahead: u64,
    pub rejects: u64,
    /// Source transactions that were checked for all of them having come.
    pub transactions: u64,
    /// Tables of a transaction of which not all has come.
    pub incomplete: u64,
    pub judged: u64,
}

impl Counts {
    /// Every change that was taken, in whatever way.
    pub fn taken(&self) -> u64 {
        self.changes + self.late + self.ahead
    }
}

/// How many disagreements of a rule there are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub pending: i64,
    pub open: i64,
}

/// What a task may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Memory for key states and waiting changes together, bytes. What was touched since the last flush stays.
    pub memory_bytes: usize,
    /// Changes settled and keys looked at in one step.
    pub step: usize,
}

impl Limits {
    /// `memory_bytes` in steps of a usual size.
    pub fn memory(memory_bytes: usize) -> Limits {
        Limits { memory_bytes, step: 4096 }
    }
}

/// The reconciliation of one partition of the changes log.
pub struct Task<S: Store> {
    /// With the rules in force.
    plan: Arc<Plan>,
    rule_set: RuleSet,
    /// True where the store does not know the rule set yet.
    rules_are_news: bool,
    /// Rules in force that name what the sources do not have.
    left_out: Vec<Box<str>>,
    ownership: Ownership,
    store: S,
    layouts: Layouts,
    timeline: Timeline,
    waiting: WaitingRoom,
    origins: Vec<Origin>,
    /// For each lane that stands still, how old a promise may be that ends it, microseconds.
    stalled: Vec<Option<i64>>,
    cache: KeyCache,
    rows: RowIndex,
    limits: Limits,
    next_offset: i64,
    /// Tells the bytes of the block before `next_offset` from another's, where they were known.
    fingerprint: Option<u64>,
    /// How many records the block at `next_offset` has caused so far.
    said: u32,
    /// True where the block at `next_offset` was applied in part.
    is_settling: bool,
    /// Tells under what every key was last judged.
    rules: u64,
    /// Where the rules have changed, or a snapshot was taken anew: what tells so, and the last key that was judged anew.
    sweep: Option<(u64, Key)>,
    /// The settled time up to which every key has lived.
    lived: Option<Instant>,
    heartbeat: Option<Instant>,
    counting: Counting,
    confirming: Confirming,
    /// When the block that is being applied was written.
    written_at: Instant,
    counts: Counts,
    /// By rule id.
    tallies: BTreeMap<Box<str>, Tally>,
    /// By rule id, how often its answer was uncertain since the task was opened.
    cannot_compare: BTreeMap<Box<str>, u64>,
    /// Of a key whose life somebody asks about.
    watch: Option<Box<Watch>>,
}

impl<S: Store> Task<S> {
    /// Opens the task over what its store remembers. The rules of `plan` do not matter: those in force stand in the
    /// changes log.
    pub fn open(
        plan: Arc<Plan>,
        ownership: Ownership,
        store: S,
        limits: Limits,
    ) -> Result<Task<S>, StateError<S::Error>> {
        let memory = store.get(Space::Memory, MEMORY_KEY).map_err(StateError::Store)?;
        let rules = store.get(Space::Memory, RULES_KEY).map_err(StateError::Store)?;
        let rule_set = rules.map_or(Ok(RuleSet::default()), |bytes| decode_rules(&bytes))?;
        let (plan, left_out) = plan.with_rules(&rule_set);
        let mut task = Task {
            layouts: Layouts::new(Vec::new(), &plan.catalog)?,
            timeline: Timeline::new(&plan.sources),
            waiting: WaitingRoom::default(),
            origins: Vec::new(),
            stalled: Vec::new(),
            cache: KeyCache::new(limits.memory_bytes / 2),
            rows: RowIndex::default(),
            limits,
            next_offset: 0,
            fingerprint: None,
            said: 0,
            is_settling: false,
            rules: plan.fingerprint(),
            sweep: None,
            lived: None,
            heartbeat: None,
            counting: Counting::default(),
            confirming: Confirming::new(&plan),
            written_at: Instant::MIN,
            counts: Counts::default(),
            tallies: BTreeMap::new(),
            cannot_compare: BTreeMap::new(),
            watch: None,
            plan: Arc::new(plan),
            rule_set,
            rules_are_news: false,
            left_out,
            ownership,
            store,
        };
        if let Some(bytes) = memory {
            task.restore(decode_memory(&bytes)?)?;
            task.restore_counting()?;
            task.restore_snapshots()?;
        }
        Ok(task)
    }

    fn restore(&mut self, memory: TaskMemory) -> Result<(), StateError<S::Error>> {
        let names = |layout: &Layout| layout.0.iter().map(|(source, _)| source.clone()).collect::<Vec<_>>();
        let stored = memory.layouts.last().map(names).unwrap_or_default();
        let configured = names(&Layout::of(&self.plan.catalog));
        if stored != configured {
            return Err(StateError::OtherSources { stored, configured });
        }
        self.check_partitions(memory.partitions)?;
        self.layouts = Layouts::new(memory.layouts, &self.plan.catalog)?;
        self.timeline = Timeline::restore(
            &self.plan.sources,
            memory.flows,
            memory.lanes,
            (memory.topologies, memory.former),
            memory.settled,
            memory.baseline,
        );
        self.waiting = WaitingRoom::restore(memory.waiting, &mut self.timeline, &self.store)?;
        self.origins = memory.origins;
        self.stalled = memory.stalled;
        self.next_offset = memory.next_offset;
        self.fingerprint = memory.fingerprint;
        self.said = memory.said;
        self.rules = memory.rules;
        self.sweep = memory.sweep;
        self.lived = memory.lived;
        self.heartbeat = memory.heartbeat;
        let tally = |(rule, pending, open)| (rule, Tally { pending, open });
        self.tallies = memory.tallies.into_iter().map(tally).collect();
        Ok(())
    }

    fn check_partitions(&self, written: i32) -> Result<(), StateError<S::Error>> {
        let configured = self.ownership.partitions;
        if written == configured { Ok(()) } else { Err(StateError::OtherPartitions { written, configured }) }
    }

    /// The changes-log offset to apply next.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Keeps what tells the bytes of the last block from another's, once it was applied whole.
    pub fn remember(&mut self, fingerprint: u64) {
        self.fingerprint = Some(fingerprint);
    }

    /// What was kept of the block before [`Task::next_offset`].
    pub fn fingerprint(&self) -> Option<u64> {
        self.fingerprint
    }

    pub fn settled(&self) -> Option<Instant> {
        self.timeline.settled()
    }

    /// For each source of the plan, how far its history is known.
    pub fn frontiers(&self) -> Vec<Option<Instant>> {
        (0..self.plan.sources.len()).map(|source| self.timeline.frontier(source)).collect()
    }

    /// The topic-partition that has promised least, and what.
    pub fn least_promised(&self) -> Option<(SourceIndex, TopicPartition, Option<Instant>)> {
        self.timeline.least_promised()
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// By rule id, how many disagreements there are now.
    pub fn tallies(&self) -> &BTreeMap<Box<str>, Tally> {
        &self.tallies
    }

    /// By rule id, how often its answer was uncertain since the task was opened.
    pub fn cannot_compare(&self) -> &BTreeMap<Box<str>, u64> {
        &self.cannot_compare
    }

    /// The plan with the rules in force: those that the records of the last step are about.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Rules in force that cannot be asked, because they name what the sources of the configuration do not have.
    pub fn left_out(&self) -> &[Box<str>] {
        &self.left_out
    }

    /// How many changes wait for the settled time to reach them.
    pub fn waiting(&self) -> u64 {
        self.timeline.waiting.iter().map(Queue::len).sum()
    }

    /// Roughly what key states and waiting changes take in memory, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.cache.bytes() + self.waiting_bytes()
    }

    fn waiting_bytes(&self) -> usize {
        self.timeline.waiting.iter().map(Queue::bytes).sum()
    }

    /// True where memory calls for a [`Task::flush`].
    pub fn wants_flush(&self) -> bool {
        self.cache.is_full() || self.waiting_bytes() > self.limits.memory_bytes / 2
    }

    pub fn store(&self) -> &S {
        &self.store
    }

    /// Ends the task and gives its store back; what was not flushed is lost, as by a crash.
    pub fn into_store(self) -> S {
        self.store
    }

    /// Applies the block at a changes-log offset; gives what is to be published, in order. A block below
    /// [`Task::next_offset`] was applied before and gives nothing. While [`Task::is_settling`], [`Task::proceed`] is
    /// to be called before the next block. After an error the task must be dropped.
    pub fn apply(&mut self, offset: i64, block: Block) -> Result<Vec<Record>, StateError<S::Error>> {
        if offset < self.next_offset {
            return Ok(Vec::new());
        }
        assert!(!self.is_settling, "the block before is not finished");
        if offset > self.next_offset {
            self.next_offset = offset;
            self.said = 0;
        }
        self.is_settling = true;
        self.check_partitions(block.partitions)?;
        let mut out = self.outbox();
        let written_at = block.written_at;
        self.written_at = written_at;
        for topology in &block.topologies {
            self.learn(topology, written_at, &mut out);
        }
        let lanes: Vec<LaneIndex> =
            block.topic_partitions.iter().map(|(source, id)| self.timeline.lane(*source, id)).collect();
        self.stalled.resize(self.timeline.lanes.len(), None);
        let origins: Vec<usize> = block.origins.into_iter().map(|origin| self.intern(origin)).collect();
        for entry in block.entries {
            match entry {
                Entry::Change(mut change) => {
                    let lane = lanes[change.topic_partition];
                    change.topic_partition = lane;
                    change.origin = origins[change.origin];
                    self.admit(lane, change, written_at.plus(AHEAD_US))?;
                }
                Entry::Mark(mark) => self.promise(lanes[mark.topic_partition], &mark, written_at, &mut out),
                Entry::Stall { topic_partition, after_us } => {
                    self.set_stalled(lanes[topic_partition], after_us, written_at, &mut out);
                }
                Entry::Gap(gap) => self.lose(lanes[gap.topic_partition], gap, written_at, &mut out),
                Entry::Acknowledge { topic_partition } => {
                    self.acknowledge(lanes[topic_partition], written_at, &mut out);
                }
                Entry::Snapshot { topic_partition, run } => self.begin_snapshot(lanes[topic_partition], run),
                Entry::Confirm { topic_partition, unseen } => self.confirm(lanes[topic_partition], unseen),
                Entry::Reject(reject) => self.reject(lanes[reject.topic_partition], reject, &mut out),
                Entry::Rules(set) => self.take_rules(set),
                Entry::Counted { topic_partition, transaction, numbers } => {
                    self.count(lanes[topic_partition], transaction, &numbers, written_at);
                }
                Entry::Ended(end) => {
                    self.end_transaction(end.of(|topic_partition| Some(lanes[topic_partition])), written_at);
                }
            }
        }
        self.check_transactions(written_at, &mut out);
        self.step(out)
    }

    /// True where the last block has more to give: a block may settle hours of changes, of which a task takes one step
    /// at a time, so that memory is bounded. Between steps the task may be flushed as it may between blocks; opened
    /// again, it takes the same block and goes on where it was.
    pub fn is_settling(&self) -> bool {
        self.is_settling
    }

    /// Goes on with the last block; gives what is to be published, in order.
    pub fn proceed(&mut self) -> Result<Vec<Record>, StateError<S::Error>> {
        let out = self.outbox();
        if self.is_settling { self.step(out) } else { Ok(Vec::new()) }
    }

    fn outbox(&self) -> Outbox {
        Outbox { offset: self.next_offset, said: self.said, records: Vec::new() }
    }

    fn step(&mut self, mut out: Outbox) -> Result<Vec<Record>, StateError<S::Error>> {
        let is_done = if self.sweeps() { self.sweep(&mut out)? } else { self.settle(&mut out)? };
        if is_done {
            self.settle_snapshots(&mut out);
        }
        self.said = out.said;
        if is_done {
            self.is_settling = false;
            self.next_offset += 1;
            self.fingerprint = None;
            self.said = 0;
        }
        Ok(out.records)
    }

    /// Moves the settled time on by a stride, or looks at more of the keys that are due in it. True where nothing is
    /// left to do.
    fn settle(&mut self, out: &mut Outbox) -> Result<bool, StateError<S::Error>> {
        let mut touched: BTreeMap<Key, Vec<Effect>> = BTreeMap::new();
        let mut touches = None;
        if self.lived == self.timeline.settled() {
            let Task { timeline, waiting, store, layouts, .. } = self;
            let sources: Vec<usize> = timeline.lanes.iter().map(|lane| lane.source).collect();
            let fetch = |lane: LaneIndex, number| waiting.fetch((lane, number), sources[lane], store, layouts);
            let Some(stride) = timeline.stride(self.limits.step, fetch)? else { return Ok(true) };
            touches = Some(stride.touches());
            for one in stride.changes {
                let source = self.timeline.lanes[one.lane].source;
                let connector = self.plan.sources[source].connector;
                let generation = self.confirming.known.generation_of(connector, one.change.run);
                let effects = self.rows.spread((one, generation), source, &self.plan, self.ownership, &self.store);
                for (key, effect) in effects.map_err(StateError::Store)?.into_iter().flatten() {
                    touched.entry(key).or_default().push(effect);
                }
            }
        }
        let (Some(until), Some(baseline)) = (self.timeline.settled(), self.timeline.baseline()) else {
            return Ok(true);
        };
        let mut are_all = true;
        if until >= baseline {
            let due = self.cache.due(until, self.limits.step, &self.store)?;
            are_all = due.len() < self.limits.step;
            for key in due {
                touched.entry(key).or_default();
            }
        }
        let from = self.lived.map_or(baseline, |lived| lived.max(baseline));
        self.advance_keys(touched, (baseline, from, touches.unwrap_or(until)), out)?;
        if !are_all {
            return Ok(false);
        }
        self.lived = Some(until);
        let is_done = self.timeline.reach() == Some(until);
        if is_done {
            self.beat(until, out);
        }
        Ok(is_done)
    }

    fn advance_keys(
        &mut self,
        touched: BTreeMap<Key, Vec<Effect>>,
        (baseline, from, until): (Instant, Instant, Instant),
        out: &mut Outbox,
    ) -> Result<(), StateError<S::Error>> {
        let snapshots = Arc::clone(&self.confirming.known);
        let window = Window { baseline, from, until, snapshots: &snapshots };
        let settled = self.timeline.reach().unwrap_or(window.until);
        let mut said: Vec<(Key, Happening)> = Vec::new();
        let mut open: Vec<Content> = Vec::new();
        for (key, effects) in touched {
            let known = self.cache.take(&key, &self.store, &self.layouts, &self.plan)?;
            let mut state = match (known, effects.first()) {
                (Some(state), _) => state,
                (None, Some(first)) => {
                    let mut state = KeyState::new(self.plan.sources.len(), first.at);
                    state.judged = first.at > window.baseline;
                    state
                }
                (None, None) => continue,
            };
            let mut told = self.call_witness(&key, &effects);
            self.tally(&state, -1);
            self.count_unseen(&state, -1);
            state.advance(&self.plan, effects, window, &mut told);
            self.count_unseen(&state, 1);
            self.tally(&state, 1);
            self.hear_witness(told.witness.take());
            self.counts.judged += 1;
            for rule in told.cannot_compare {
                *self.cannot_compare.entry(self.plan.rules[rule].id.clone()).or_default() += 1;
            }
            if !told.happenings.is_empty() {
                open.push(self.teller(settled).open(&self.plan, &key, &state));
            }
            said.extend(told.happenings.into_iter().map(|happening| (key.clone(), happening)));
            self.cache.put(&key, state, &self.plan);
        }
        said.sort_by_key(|(_, happening)| happening.at);
        for (key, happening) in said {
            let discrepancy = self.teller(settled).discrepancy(&key, happening);
            out.say(Content::Discrepancy(Box::new(discrepancy)));
        }
        open.into_iter().for_each(|content| out.say(content));
        Ok(())
    }

    fn teller(&self, settled: Instant) -> Teller<'_> {
        Teller { timeline: &self.timeline, origins: &self.origins, settled }
    }

    /// Adds a key's episodes to the tallies, or takes them away.
    fn tally(&mut self, state: &KeyState, change: i64) {
        for episode in &state.episodes {
            let tally = match self.tallies.get_mut(&episode.rule) {
                Some(tally) => tally,
                None => self.tallies.entry(episode.rule.clone()).or_default(),
            };
            match episode.phase {
                Phase::Pending => tally.pending += change,
                Phase::Open | Phase::Ending { .. } => tally.open += change,
            }
        }
    }

    /// Says how far the partition has looked whenever the settled time enters another heartbeat interval.
    fn beat(&mut self, settled: Instant, out: &mut Outbox) {
        let interval = |instant: Instant| instant.0.div_euclid(self.plan.heartbeat_us);
        if self.heartbeat.is_none_or(|last| interval(settled) > interval(last)) {
            self.heartbeat = Some(settled);
            out.say(Content::Heartbeat { settled });
        }
    }

    /// Writes everything that has changed to the store, in one batch. To be called only once the records of every
    /// applied block are safely published.
    pub fn flush(&mut self) -> Result<(), StateError<S::Error>> {
        let mut batch = Batch::default();
        self.cache.flush(&mut batch, &self.layouts, &self.plan);
        self.rows.flush(&mut batch);
        self.waiting.flush(&self.timeline, &mut batch, &self.layouts);
        self.flush_counting(&mut batch);
        self.flush_snapshots(&mut batch);
        let memory = TaskMemory {
            next_offset: self.next_offset,
            partitions: self.ownership.partitions,
            fingerprint: self.fingerprint,
            said: self.said,
            rules: self.rules,
            sweep: self.sweep.clone(),
            heartbeat: self.heartbeat,
            layouts: self.layouts.list().to_vec(),
            origins: self.origins.clone(),
            flows: self.timeline.flows.clone(),
            lanes: self.timeline.lanes.clone(),
            stalled: self.stalled.clone(),
            waiting: WaitingRoom::numbers(&self.timeline),
            topologies: self.timeline.topologies.clone(),
            former: self.timeline.former.clone(),
            settled: self.timeline.settled(),
            lived: self.lived,
            baseline: self.timeline.baseline(),
            tallies: self.tallies.iter().map(|(rule, tally)| (rule.clone(), tally.pending, tally.open)).collect(),
        };
        batch.put(Space::Memory, MEMORY_KEY.to_vec(), encode_memory(&memory));
        if std::mem::take(&mut self.rules_are_news) {
            batch.put(Space::Memory, RULES_KEY.to_vec(), encode_rules(&self.rule_set));
        }
        self.store.write(batch).map_err(StateError::Store)?;
        WaitingRoom::put_away(&mut self.timeline, self.limits.memory_bytes / 2);
        Ok(())
    }
}
