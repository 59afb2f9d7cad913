//! `evenkeel state`: what there is of each partition, on this disk and in the checkpoint store, and what may be done to it
//! by hand.
//!
//! Must not know: the command line. Whoever only looks changes nothing; whoever changes something holds the state's lock,
//! and leaves what was there or what is to be, never half of it.

pub mod drop;
pub mod restore;
pub mod show;
pub(in crate::app) mod table;
pub mod verify;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::StageError;
use super::checkpointer::open_checkpoints;
use super::run::{Runtime, stop_on_signal};
use super::settings::Settings;
use crate::adapters::checkpoints::{CheckpointError, Checkpoints, DiskError, Home, HomeError, Listed, bytes_in};
use crate::adapters::kafka::offsets::Offsets;
use crate::adapters::kafka::{KafkaFailure, Properties};
use crate::adapters::rocksdb::{RocksStore, SharedMemory};
use crate::domain::change::{Gap, TopicPartition};
use crate::domain::instant::Instant;
use crate::domain::routing::Ownership;
use crate::task::cache::StateError;
use crate::task::reconcile::{Limits, Task};
use crate::task::wire::WireError;

/// What opening a state may take of memory, bytes.
const MEMORY: usize = 32 << 20;

/// Why something is not known, or was not done.
#[derive(Debug, thiserror::Error)]
pub enum StateFailure {
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error("no broker of {servers} answers: {failure}")]
    Silent { servers: String, failure: KafkaFailure },
    #[error("which checkpoints are this changes log's, its cluster has to say, and no broker answers")]
    Unfiled,
    #[error("the changes log {topic} does not exist")]
    NoChanges { topic: String },
    #[error("no checkpoints are configured")]
    NoCheckpoints,
    #[error("there is no checkpoint of partition {partition}")]
    NoneOf { partition: i32 },
    #[error("there is no checkpoint {wanted} of partition {partition}; there are: {there}")]
    NotThere { partition: i32, wanted: String, there: String },
    #[error("there are several checkpoints {wanted} of partition {partition}, name one: {there}")]
    Ambiguous { partition: i32, wanted: String, there: String },
    #[error(
        "a state that goes on at offset {next} could not go on: changes log {topic}:{partition} holds offsets {start} to {end}"
    )]
    Unfit { topic: String, partition: i32, next: i64, start: i64, end: i64 },
    #[error(
        "no checkpoint of partition {partition} goes further than this disk's state, which goes on at offset {next}; an older \
         one must be named with --checkpoint: {there}"
    )]
    NotFurther { partition: i32, next: i64, there: String },
    #[error("no checkpoint of partition {partition} can be used: {}", .reasons.join("; "))]
    Refused { partition: i32, reasons: Vec<String> },
    #[error("there is no state of partition {partition} in {folder}")]
    NoState { partition: i32, folder: String },
    #[error("{question}\n{answer}\n{advice}")]
    Unconsented { question: String, answer: String, advice: &'static str },
}

impl From<KafkaFailure> for StateFailure {
    fn from(failure: KafkaFailure) -> StateFailure {
        StateFailure::Stage(failure.into())
    }
}

impl From<CheckpointError> for StateFailure {
    fn from(error: CheckpointError) -> StateFailure {
        StateFailure::Stage(error.into())
    }
}

impl From<HomeError> for StateFailure {
    fn from(error: HomeError) -> StateFailure {
        StateFailure::Stage(error.into())
    }
}

impl From<DiskError> for StateFailure {
    fn from(error: DiskError) -> StateFailure {
        StateFailure::Stage(error.into())
    }
}

/// Offsets of a partition of the changes log: of the first block that is still there, and the one behind the last.
pub type Bounds = (i64, i64);

/// What this disk holds of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDisk {
    /// The changes-log offset that it goes on at.
    pub next_offset: i64,
    pub settled: Option<Instant>,
    pub halted: Vec<Halted>,
    /// Sources with rows that the last snapshot of their connector has not seen, and how many.
    pub unconfirmed: Vec<(String, i64)>,
    /// Order keys; an estimate of RocksDB's.
    pub keys: u64,
    pub bytes: u64,
}

/// A topic-partition whose promises are not believed, because something of it was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halted {
    pub source: String,
    pub topic_partition: TopicPartition,
    pub gap: Gap,
}

/// What others say; each part may be unknown.
pub struct Outside {
    /// By partition.
    pub changes: Result<Vec<Bounds>, StateFailure>,
    pub checkpoints: Result<Checkpoints, StateFailure>,
}

impl Outside {
    /// Both, where both must be known.
    fn known(self) -> Result<(Vec<Bounds>, Checkpoints), StateFailure> {
        Ok((self.changes?, self.checkpoints?))
    }
}

/// One reconciliation's states, and whoever can be asked about them.
pub struct Desk<'s> {
    settings: &'s Settings,
    properties: Properties,
    memory: SharedMemory,
    runtime: Runtime,
}

impl<'s> Desk<'s> {
    pub fn new(settings: &'s Settings) -> std::io::Result<Desk<'s>> {
        let properties = Properties::new(settings.kafka.clone());
        Ok(Desk { settings, properties, memory: SharedMemory::new(MEMORY), runtime: Runtime::start()? })
    }

    /// Set on SIGTERM or SIGINT from now on, which then do not end the process any more.
    fn told_to_stop(&self) -> Arc<AtomicBool> {
        let stop = Arc::new(AtomicBool::new(false));
        self.runtime.spawn(stop_on_signal(Arc::clone(&stop)));
        stop
    }

    /// Asks the brokers, which may take a while where they do not answer, and makes the checkpoint store ready.
    fn ask(&self) -> Outside {
        let changes = self.changes();
        let checkpoints = match &changes {
            // Its id would be waited for, for long.
            Err(StateFailure::Silent { .. }) if self.settings.checkpoints.is_some() => Err(StateFailure::Unfiled),
            _ => self.checkpoints(),
        };
        Outside { changes, checkpoints }
    }

    fn checkpoints(&self) -> Result<Checkpoints, StateFailure> {
        let opened = open_checkpoints(self.settings, &self.properties, self.runtime.handle().clone())?;
        opened.ok_or(StateFailure::NoCheckpoints)
    }

    fn changes(&self) -> Result<Vec<Bounds>, StateFailure> {
        let topics = &self.settings.topics;
        let (topic, wanted) = (topics.changes.clone(), topics.partitions);
        let offsets = Offsets::new(&self.properties, &topics.reconcile_group)?;
        let silent = |failure| {
            let servers = self.settings.kafka.get("bootstrap.servers").cloned().unwrap_or_default();
            StateFailure::Silent { servers, failure }
        };
        if !offsets.names().map_err(silent)?.contains(&topic) {
            return Err(StateFailure::NoChanges { topic });
        }
        let found = offsets.describe(&[&topic])?.get(&topic).map_or(0, |described| described.partitions);
        if found != wanted {
            return Err(StageError::PartitionCount { topic, found, wanted }.into());
        }
        let all: Vec<(String, i32)> = (0..wanted).map(|partition| (topic.clone(), partition)).collect();
        let [starts, ends] = [offsets.starts(&all)?, offsets.ends(&all)?];
        let of = |list: &[(String, i32, i64)], partition| {
            list.iter().find(|(_, known, _)| *known == partition).map(|(.., offset)| *offset)
        };
        let bounds = |partition| Some((of(&starts, partition)?, of(&ends, partition)?));
        let bounds: Option<Vec<Bounds>> = (0..wanted).map(bounds).collect();
        bounds.ok_or_else(|| {
            StageError::PartitionCount { topic, found: starts.len().min(ends.len()) as i32, wanted }.into()
        })
    }

    /// What this disk holds of a partition, as it is at this moment; `None` where it holds nothing.
    fn on_disk(&self, partition: i32) -> Result<Option<OnDisk>, StageError> {
        let Some(task) = self.opened(partition)? else { return Ok(None) };
        let named = |(source, topic_partition, gap): (usize, &TopicPartition, Gap)| {
            let source = self.settings.sources[source].name.clone();
            Halted { source, topic_partition: topic_partition.clone(), gap }
        };
        let names = self.settings.sources.iter().map(|source| source.name.clone());
        let folder = Home::find(&self.settings.state_folder(partition));
        Ok(Some(OnDisk {
            next_offset: task.next_offset(),
            settled: task.settled(),
            halted: task.halted().map(named).collect(),
            unconfirmed: names.zip(task.unconfirmed()).filter(|(_, rows)| *rows > 0).collect(),
            keys: task.store().keys(),
            bytes: folder.map_or(Ok(0), |folder| bytes_in(&folder))?,
        }))
    }

    /// The same, opened to be read.
    fn opened(&self, partition: i32) -> Result<Option<Task<RocksStore>>, StageError> {
        match Home::find(&self.settings.state_folder(partition)).filter(|folder| RocksStore::is_in(folder)) {
            Some(folder) => Ok(Some(self.task(partition, RocksStore::open_to_read(&folder, &self.memory)?)?)),
            None => Ok(None),
        }
    }

    /// Opens a state as a process does that is to work on it; gives where it goes on.
    fn opens(&self, partition: i32, folder: &Path) -> Result<i64, StageError> {
        Ok(self.task(partition, RocksStore::open(folder, &self.memory)?)?.next_offset())
    }

    fn task(&self, partition: i32, store: RocksStore) -> Result<Task<RocksStore>, StageError> {
        let ownership = Ownership { partition, partitions: self.settings.topics.partitions };
        Ok(Task::open(Arc::clone(&self.settings.plan), ownership, store, Limits::memory(MEMORY))?)
    }

    /// Refuses an offset that a state could not go on from.
    fn must_go_on(&self, partition: i32, next: i64, (start, end): Bounds) -> Result<(), StateFailure> {
        let topic = self.settings.topics.changes.clone();
        match (start..=end).contains(&next) {
            true => Ok(()),
            false => Err(StateFailure::Unfit { topic, partition, next, start, end }),
        }
    }
}

/// True where a state cannot be opened because of its bytes; false where it does not fit who opens it.
fn is_damaged(error: &StageError) -> bool {
    match error {
        StageError::Store(_) | StageError::State(StateError::Store(_)) => true,
        StageError::State(StateError::Wire(wire)) => {
            matches!(wire, WireError::Damaged { .. } | WireError::Foreign { .. })
        }
        _ => false,
    }
}

/// The checkpoint that somebody means by its offset or its name.
fn pick<'l>(partition: i32, listed: &'l [Listed], wanted: &str) -> Result<&'l Listed, StateFailure> {
    let is_meant = |listed: &&Listed| listed.name == wanted || wanted.parse() == Ok(listed.next_offset);
    let meant: Vec<&Listed> = listed.iter().filter(is_meant).collect();
    let wanted = wanted.to_owned();
    match meant[..] {
        [one] => Ok(one),
        [] if listed.is_empty() => Err(StateFailure::NoneOf { partition }),
        [] => Err(StateFailure::NotThere { partition, wanted, there: offsets(listed) }),
        _ => {
            let names: Vec<&str> = meant.iter().map(|listed| &*listed.name).collect();
            Err(StateFailure::Ambiguous { partition, wanted, there: names.join(", ") })
        }
    }
}

fn offsets(listed: &[Listed]) -> String {
    let offsets: Vec<String> = listed.iter().map(|listed| listed.next_offset.to_string()).collect();
    offsets.join(", ")
}
