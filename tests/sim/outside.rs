//! What processes meet outside of themselves: the changes log, the output, the checkpoint store. Kafka and the object store
//! are played; a fault is a turn of the dice.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use evenkeel::domain::change::TopicPartition;
use evenkeel::domain::record::{Cause, Record};
use evenkeel::domain::rule::Plan;
use evenkeel::task::intake::Movement;
use evenkeel::task::store::{Batch, MemoryStore, Pair, Space, Store};

use super::delivery::{Delivery, TRANSACTIONS};
use super::oracle::Line;
use super::world::{Micros, World};
use crate::support::dice::Dice;

pub type Shared<T> = Rc<RefCell<T>>;

pub fn shared<T>(value: T) -> Shared<T> {
    Rc::new(RefCell::new(value))
}

/// One record of the changes log: its bytes, and what the oracle is shown of it.
pub struct Logged {
    pub bytes: Vec<u8>,
    pub lines: Vec<Line>,
}

/// A partition of the changes log.
#[derive(Default)]
pub struct Log {
    /// Offset of the first block that can still be read.
    pub start: usize,
    /// All that were ever written.
    pub blocks: Vec<Logged>,
}

/// A partition of the output topics.
#[derive(Default)]
pub struct Outlet {
    /// Who published last: each that takes over fences those before.
    pub epoch: u64,
    /// What read-committed readers see.
    pub visible: Vec<Record>,
    /// A transaction of which nobody knows yet whether it was committed.
    pub in_doubt: Vec<Record>,
}

impl Outlet {
    pub fn tail(&self) -> Option<Cause> {
        self.visible.last().map(|record| record.cause)
    }

    /// A commit that was on its way arrives, or does not.
    pub fn decide(&mut self, is_committed: bool) {
        let in_doubt = std::mem::take(&mut self.in_doubt);
        if is_committed {
            self.visible.extend(in_doubt);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Whole,
    /// A byte of it has changed, or a file is missing.
    Damaged,
    /// It says that it goes on elsewhere than it does.
    Mislabelled,
}

/// A state in the checkpoint store.
#[derive(Clone)]
pub struct Checkpoint {
    pub next_offset: i64,
    pub health: Health,
    pub state: MemoryStore,
}

/// Once in so many times; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hazards {
    /// Brokers do not answer, or what they answer is lost.
    pub brokers: u64,
    /// The checkpoint store does not answer.
    pub vault: u64,
    /// A checkpoint is begun where one may be.
    pub checkpoints: u64,
    /// A checkpoint is not what was written.
    pub damage: u64,
    /// A write to a disk is kept in mind, to come back as the whole disk later.
    pub disks: u64,
    /// The brokers say which partitions there are; 0 is whenever they are asked.
    pub look_up: u64,
}

/// The group that shares the sources' topics out, and what is committed of it.
pub struct Group {
    /// The topic-partition that each lane is, with its source; heartbeats are of none.
    pub topics: Vec<(Option<usize>, TopicPartition)>,
    /// For each lane, which process it was given to.
    pub owners: Vec<usize>,
    pub committed: Vec<Option<i64>>,
    /// Where each database's heartbeats are read from after a restart.
    pub beats: [i64; 2],
    /// For each process, what it has not heard yet.
    pub movements: Vec<Vec<Movement>>,
}

impl Group {
    /// True for lanes that members share out: not for heartbeats, of which each reads all.
    pub fn is_shared(&self, lane: usize) -> bool {
        self.topics[lane].0.is_some() || lane >= TRANSACTIONS
    }

    pub fn lane(&self, id: &TopicPartition) -> usize {
        self.topics.iter().position(|(_, known)| known == id).expect("it is a lane")
    }
}

/// One for all processes.
pub struct Outside {
    /// They differ in their rules only.
    pub plans: Vec<Arc<Plan>>,
    pub world: Shared<World>,
    pub delivery: Shared<Delivery>,
    pub group: Group,
    pub dice: Dice,
    pub hazards: Hazards,
    pub now: Micros,
    pub log: Vec<Log>,
    pub outlets: Vec<Outlet>,
    /// For each partition, its checkpoints, oldest first.
    pub vault: Vec<Vec<Checkpoint>>,
    pub happened: Happened,
}

/// What went wrong so far, so that it can be seen to have happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Happened {
    pub crashes: u64,
    /// Transactions of those who had lost their partition.
    pub fenced: u64,
    /// Commits of which nobody heard whether they were made.
    pub in_doubt: u64,
    /// States that were begun from a checkpoint.
    pub restored: u64,
    /// Checkpoints that were not taken.
    pub refused: u64,
    pub lost_disks: u64,
    /// How often retention deleted blocks of the changes log.
    pub retained: u64,
    /// How often something of a source was found lost.
    pub gaps: u64,
    /// How often blocks on their way to the changes log were held up.
    pub stuck: u64,
    /// How often rows were said again that had been in quarantine.
    pub requeued: u64,
}

impl Happened {
    pub fn add(&mut self, other: &Happened) {
        self.crashes += other.crashes;
        self.fenced += other.fenced;
        self.in_doubt += other.in_doubt;
        self.restored += other.restored;
        self.refused += other.refused;
        self.lost_disks += other.lost_disks;
        self.retained += other.retained;
        self.gaps += other.gaps;
        self.stuck += other.stuck;
        self.requeued += other.requeued;
    }
}

impl Outside {
    pub fn strikes(&mut self, once_in: u64) -> bool {
        once_in > 0 && self.dice.once_in(once_in)
    }

    /// The furthest checkpoint that can be relied on.
    pub fn safe_from(&self, partition: usize) -> usize {
        let whole = self.vault[partition].iter().filter(|checkpoint| checkpoint.health == Health::Whole);
        whole.map(|checkpoint| checkpoint.next_offset as usize).max().unwrap_or(0)
    }

    /// Adds a checkpoint; of those that are whole, few are kept.
    pub fn put(&mut self, partition: usize, checkpoint: Checkpoint) {
        let vault = &mut self.vault[partition];
        vault.push(checkpoint);
        vault.sort_by_key(|checkpoint| checkpoint.next_offset);
        let whole = vault.iter().filter(|checkpoint| checkpoint.health == Health::Whole).count();
        if whole > 2 {
            let oldest = vault.iter().position(|checkpoint| checkpoint.health == Health::Whole);
            vault.remove(oldest.expect("it was counted"));
        }
    }
}

/// A process that is gone: it does nothing any more.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the process was killed")]
pub struct Crash;

/// Kills its process at one of its next calls to the outside, before or after what the call does.
#[derive(Default)]
pub struct Fuse {
    left: Cell<Option<u32>>,
    after: Cell<bool>,
    burnt: Cell<bool>,
}

impl Fuse {
    pub fn light(&self, calls: u32, after: bool) {
        self.left.set(Some(calls));
        self.after.set(after);
    }

    pub fn put_out(&self) {
        self.left.set(None);
    }

    pub fn is_burnt(&self) -> bool {
        self.burnt.get()
    }

    /// A call to the outside.
    pub fn call<T>(&self, effect: impl FnOnce() -> T) -> Result<T, Crash> {
        if self.burnt.get() {
            return Err(Crash);
        }
        match self.left.get() {
            None => Ok(effect()),
            Some(0) => {
                self.burnt.set(true);
                if self.after.get() {
                    effect();
                }
                Err(Crash)
            }
            Some(left) => {
                self.left.set(Some(left - 1));
                Ok(effect())
            }
        }
    }
}

/// A disk's state of one partition.
#[derive(Clone, Default)]
pub struct Disk {
    pub state: MemoryStore,
    /// As it was before some write.
    pub older: Option<MemoryStore>,
}

/// A state as a task sees it.
pub struct SimStore {
    pub disk: Shared<Disk>,
    pub fuse: Rc<Fuse>,
    pub outside: Shared<Outside>,
}

impl Store for SimStore {
    type Error = Crash;

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Crash> {
        self.fuse.call(|| self.disk.borrow().state.get(space, key).expect("memory does not fail"))
    }

    fn scan(&self, space: Space, from: &[u8], until: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, Crash> {
        self.fuse.call(|| self.disk.borrow().state.scan(space, from, until, limit).expect("memory does not fail"))
    }

    fn write(&mut self, batch: Batch) -> Result<(), Crash> {
        let mut outside = self.outside.borrow_mut();
        let once_in = outside.hazards.disks;
        let remembers = outside.strikes(once_in);
        self.fuse.call(|| {
            let mut disk = self.disk.borrow_mut();
            if remembers {
                disk.older = Some(disk.state.clone());
            }
            disk.state.write(batch).expect("memory does not fail");
        })
    }
}
