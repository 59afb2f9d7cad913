//! A member's work on one partition of the changes log: takes it over, applies its blocks, publishes what they cause,
//! keeps the state. Exactly once rests on the order in which that is done.
//!
//! Must not know: Kafka, RocksDB, object stores, clocks, threads. All of them are its [`World`]'s, of which there are two:
//! the real one (`app::seat`), and the simulator's.

use std::sync::Arc;

use super::cache::StateError;
use super::reconcile::{Limits, Task};
use super::store::Store;
use crate::domain::change::Block;
use crate::domain::instant::Instant;
use crate::domain::key_state::Event;
use crate::domain::record::{Cause, Content, Record, SourceNotice};
use crate::domain::routing::Ownership;
use crate::domain::rule::Plan;

/// How often a transaction is tried that fails for a reason which does not pass by itself, as far as is known.
const TRIES: usize = 3;

/// Blocks applied before their records are published together.
const BATCH: usize = 256;

/// How long blocks are gathered before their records are published, microseconds.
const GATHER_US: i64 = 50_000;

/// What a worker does all its work with.
pub trait World {
    type Store: Store;
    /// A record as it is published.
    type Message;
    type Error: From<StateError<<Self::Store as Store>::Error>>;

    /// Microseconds since any moment; never runs backwards.
    fn clock_us(&mut self) -> i64;

    /// Whether the partition is still this member's.
    fn tenure(&mut self) -> Tenure;

    /// The state that the disk holds; an empty one where it holds none.
    fn open(&mut self) -> Result<Self::Store, Self::Error>;

    /// Looks for the furthest checkpoint beyond an offset that `opens` takes, which gives where its state goes on. True where
    /// one lies ready; the disk's state is as it was.
    fn fetch(
        &mut self,
        beyond: i64,
        opens: impl FnMut(Self::Store) -> Result<i64, Self::Error>,
    ) -> Result<bool, Self::Error>;

    /// Puts what lies ready in the place of the disk's state, which must be closed.
    fn install(&mut self) -> Result<(), Self::Error>;

    /// Hears of a state that was just flushed, or still is as it was flushed: a checkpoint may be made of it.
    fn flushed(&mut self, store: &Self::Store, standing: Standing);

    /// The changes-log offset of the first block that is still there, and the one behind the last.
    fn bounds(&mut self) -> Result<(i64, i64), Self::Error>;

    /// Goes on with the changes log at an offset.
    fn seek(&mut self, offset: i64) -> Result<(), Self::Error>;

    /// The next block, if one comes; waits for it a moment where told.
    fn read(&mut self, wait: bool) -> Result<Reading, Self::Error>;

    /// Fences whoever published before, and says what the last record is that readers can see.
    fn take_over(&mut self) -> Result<Option<Cause>, Self::Error>;

    /// Writes a record for whoever reads it; `plan` has the rules that it is about.
    fn message(&mut self, plan: &Arc<Plan>, record: &Record) -> Self::Message;

    /// Publishes messages in one transaction. Returns when readers can see them.
    fn publish(&mut self, messages: &[(Cause, Self::Message)]) -> Result<(), Self::Error>;

    /// Waits a little before an output that failed is taken over, again.
    fn pause(&mut self, failure: &Self::Error);

    fn severity(failure: &Self::Error) -> Severity;

    /// Why the state, the changes log and the output are not each other's. A state that is overtaken may be so because a
    /// checkpoint could not be read.
    fn misfit(&mut self, misfit: Misfit) -> Self::Error;
}

/// Whether a partition is a member's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenure {
    Held,
    /// It is to be given up in order.
    Revoked,
    /// It was taken away, most likely because the group had not heard of this member for too long: somebody else may
    /// have it already.
    Lost,
}

/// What a poll brought.
pub enum Reading {
    /// `fingerprint` tells its bytes from another block's.
    Block {
        offset: i64,
        block: Block,
        fingerprint: u64,
    },
    Nothing,
}

/// What a failure to publish means for the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It may pass by itself: brokers that do not answer.
    Passing,
    Unknown,
    /// Trying again cannot help: somebody else has taken the output over, or the brokers refuse.
    Final,
}

/// How far a state goes.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub next_offset: i64,
    pub settled: Option<Instant>,
}

/// A state, a changes log and an output that are not each other's. Offsets are the changes log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The changes log begins behind where the state goes on: retention deleted what lies between.
    Overtaken { next: i64, start: i64 },
    /// The changes log ends before the state goes on.
    Gap { next: i64, start: i64, end: i64 },
    /// What stands in the changes log is not what the state was made of.
    Another { offset: i64 },
    /// The changes log ends before what was published.
    OutputAhead { published: i64, end: i64 },
}

/// What a step came to.
#[derive(Debug, Default)]
pub struct Step {
    /// Blocks that were applied.
    pub blocks: usize,
    /// How long judging took, publishing, and writing the state, microseconds; 0 for what was not done.
    pub settled_us: i64,
    pub published_us: i64,
    pub flushed_us: i64,
    /// What was published of discrepancies: whose rule, and what.
    pub events: Vec<(Box<str>, Event)>,
    /// What was published of sources.
    pub notices: Vec<SourceNotice>,
}

/// One partition's work.
pub struct Worker<W: World> {
    /// Before the world, so that its store is closed before the world lets go of it.
    task: Task<W::Store>,
    world: W,
    /// The cause of the last record that readers can see.
    published: Option<Cause>,
    outgoing: Vec<(Cause, W::Message)>,
    flush_us: i64,
    flushed_at: i64,
    /// True where the task is further than its store.
    is_dirty: bool,
    /// True once the partition was lost with something unpublished: nothing may be kept that rests on it.
    is_void: bool,
    /// The block before the first one to apply, where it is to be looked at: its offset and fingerprint.
    before: Option<(i64, u64)>,
    /// Where the changes log ended when it began.
    end: i64,
}

/// What a worker may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub task: Limits,
    /// How often the state is written, microseconds.
    pub flush_us: i64,
}

impl<W: World> Worker<W> {
    /// Opens the furthest state that there is, of the disk or a checkpoint, and takes the partition's output over; `None`
    /// where it was told to stop before that.
    pub fn begin(
        mut world: W,
        plan: &Arc<Plan>,
        ownership: Ownership,
        bounds: Bounds,
    ) -> Result<Option<Worker<W>>, W::Error> {
        let task = open_furthest(&mut world, plan, ownership, bounds.task)?;
        // Whoever was given the partition since must not be fenced by one who has lost it.
        if world.tenure() != Tenure::Held {
            return Ok(None);
        }
        let published = take_over(&mut world)?;
        let (start, end) = world.bounds()?;
        let next = task.next_offset();
        if let Some(misfit) = misfit(next, (start, end), published) {
            return Err(world.misfit(misfit));
        }
        let before = task.fingerprint().filter(|_| next > start).map(|fingerprint| (next - 1, fingerprint));
        world.seek(before.map_or(next, |(offset, _)| offset))?;
        let flushed_at = world.clock_us();
        Ok(Some(Worker {
            task,
            published,
            outgoing: Vec::new(),
            flush_us: bounds.flush_us,
            flushed_at,
            is_dirty: false,
            is_void: false,
            before,
            end,
            world,
        }))
    }

    pub fn task(&self) -> &Task<W::Store> {
        &self.task
    }

    pub fn world(&mut self) -> &mut W {
        &mut self.world
    }

    /// True once everything is applied that was in the changes log when it began.
    pub fn has_caught_up(&self) -> bool {
        self.task.next_offset() >= self.end
    }

    /// The cause of the last record that readers can see.
    pub fn published(&self) -> Option<Cause> {
        self.published
    }

    /// Applies the blocks that have come, publishes what they cause, and writes the state where it is time. After an
    /// error the worker must be dropped.
    pub fn step(&mut self) -> Result<Step, W::Error> {
        let mut step = Step::default();
        self.gather(&mut step)?;
        self.publish(&mut step)?;
        if self.is_dirty && !self.is_void {
            let is_due = self.world.clock_us() - self.flushed_at >= self.flush_us;
            if is_due || self.task.wants_flush() {
                self.flush(&mut step)?;
            }
        }
        if !self.is_dirty {
            let standing = Standing { next_offset: self.task.next_offset(), settled: self.task.settled() };
            self.world.flushed(self.task.store(), standing);
        }
        Ok(step)
    }

    /// Gives the partition up: keeps what it may. Gives the world back.
    pub fn end(mut self) -> Result<W, W::Error> {
        // Between steps there is nothing unpublished.
        if self.is_dirty && !self.is_void {
            self.flush(&mut Step::default())?;
        }
        Ok(self.world)
    }

    /// Applies the blocks that have come.
    fn gather(&mut self, step: &mut Step) -> Result<(), W::Error> {
        let began = self.world.clock_us();
        while step.blocks < BATCH && (step.blocks == 0 || self.world.clock_us() - began < GATHER_US) {
            match self.world.read(step.blocks == 0)? {
                Reading::Block { offset, block, fingerprint } => {
                    if offset < self.task.next_offset() {
                        self.compare(offset, fingerprint)?;
                        continue;
                    }
                    step.blocks += 1;
                    self.apply(offset, block, step)?;
                    self.task.remember(fingerprint);
                    self.is_dirty = true;
                    if self.is_void || self.task.wants_flush() {
                        break;
                    }
                }
                Reading::Nothing => break,
            }
        }
        Ok(())
    }

    /// A block that was applied before must be the one that was.
    fn compare(&mut self, offset: i64, fingerprint: u64) -> Result<(), W::Error> {
        match self.before.take() {
            Some((before, known)) if before == offset && known != fingerprint => {
                Err(self.world.misfit(Misfit::Another { offset }))
            }
            _ => Ok(()),
        }
    }

    /// Applies a block whole. Where it settles much, what was caused so far is published and kept in between.
    fn apply(&mut self, offset: i64, block: Block, step: &mut Step) -> Result<(), W::Error> {
        let clock = self.world.clock_us();
        let records = self.task.apply(offset, block)?;
        step.settled_us += self.world.clock_us() - clock;
        self.write(&records, step);
        while self.task.is_settling() {
            if self.task.wants_flush() {
                self.publish(step)?;
                if self.is_void {
                    break;
                }
                self.flush(step)?;
            }
            let clock = self.world.clock_us();
            let records = self.task.proceed()?;
            step.settled_us += self.world.clock_us() - clock;
            self.write(&records, step);
        }
        Ok(())
    }

    /// Writes records as messages, those left out that the output already holds.
    fn write(&mut self, records: &[Record], step: &mut Step) {
        let plan = self.task.plan();
        for record in records.iter().filter(|record| self.published.is_none_or(|last| record.cause > last)) {
            self.outgoing.push((record.cause, self.world.message(plan, record)));
            match &record.content {
                Content::Discrepancy(discrepancy) => step.events.push((discrepancy.rule.clone(), discrepancy.event)),
                Content::Source(notice) => step.notices.push(notice.clone()),
                _ => {}
            }
        }
    }

    /// Publishes what is to be said. After a failure that leaves open whether readers can see it, the output is taken over
    /// anew, and its tail says.
    fn publish(&mut self, step: &mut Step) -> Result<(), W::Error> {
        let clock = self.world.clock_us();
        let mut tries = 0;
        loop {
            let published = self.published;
            self.outgoing.retain(|(cause, _)| published.is_none_or(|published| *cause > published));
            let Some(last) = self.outgoing.last().map(|(cause, _)| *cause) else { return Ok(()) };
            if self.world.tenure() == Tenure::Lost {
                self.is_void = true;
                self.outgoing.clear();
                step.events.clear();
                step.notices.clear();
                return Ok(());
            }
            let Err(failure) = self.world.publish(&self.outgoing) else {
                self.published = Some(last);
                self.outgoing.clear();
                step.published_us += self.world.clock_us() - clock;
                return Ok(());
            };
            let severity = W::severity(&failure);
            tries += usize::from(severity != Severity::Passing);
            // Whoever is told to stop tries nothing again: a successor would be fenced.
            let is_over = severity == Severity::Final || tries == TRIES;
            if is_over || self.world.tenure() != Tenure::Held {
                return Err(failure);
            }
            self.world.pause(&failure);
            self.published = take_over(&mut self.world)?;
        }
    }

    fn flush(&mut self, step: &mut Step) -> Result<(), W::Error> {
        let clock = self.world.clock_us();
        self.task.flush()?;
        self.is_dirty = false;
        self.flushed_at = self.world.clock_us();
        step.flushed_us += self.flushed_at - clock;
        Ok(())
    }
}

/// Opens the disk's state, or a checkpoint's where that goes further.
fn open_furthest<W: World>(
    world: &mut W,
    plan: &Arc<Plan>,
    ownership: Ownership,
    limits: Limits,
) -> Result<Task<W::Store>, W::Error> {
    let open = |store| Ok::<_, W::Error>(Task::open(Arc::clone(plan), ownership, store, limits)?);
    let task = open(world.open()?)?;
    if !world.fetch(task.next_offset(), |store| Ok(open(store)?.next_offset()))? {
        return Ok(task);
    }
    drop(task);
    world.install()?;
    open(world.open()?)
}

/// Fences all others. Waits for brokers that do not answer, unless it is told to stop.
fn take_over<W: World>(world: &mut W) -> Result<Option<Cause>, W::Error> {
    loop {
        match world.take_over() {
            Err(failure) if W::severity(&failure) == Severity::Passing && world.tenure() == Tenure::Held => {
                world.pause(&failure);
            }
            result => return result,
        }
    }
}

fn misfit(next: i64, (start, end): (i64, i64), published: Option<Cause>) -> Option<Misfit> {
    if next < start {
        return Some(Misfit::Overtaken { next, start });
    }
    if next > end {
        return Some(Misfit::Gap { next, start, end });
    }
    let published = published?.offset;
    (published >= end).then_some(Misfit::OutputAhead { published, end })
}
