//! Where a replay works: the archive that it reads, the state that it begins with, a temporary folder that goes with it.
//!
//! Must not know: what is replayed for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::EvidenceError;
use super::archive::Archive;
use super::player::Player;
use crate::adapters::checkpoints::{Checkpoints, Home};
use crate::adapters::kafka::Properties;
use crate::adapters::rocksdb::{RocksStore, SharedMemory};
use crate::app::reconcile_stage::checkpoints;
use crate::app::run::{Runtime, stop_on_signal};
use crate::app::settings::Settings;
use crate::domain::routing::Ownership;
use crate::domain::rule::RuleSet;
use crate::task::reconcile::{Limits, Task};

/// Everything that a replay needs.
pub struct Desk {
    pub settings: Settings,
    pub archive: Archive,
    /// A copy of states, a folder for each partition.
    state: Option<PathBuf>,
    checkpoints: Option<Checkpoints>,
    scratch: Scratch,
    memory: SharedMemory,
    pub stop: Arc<AtomicBool>,
    /// Speaks with the checkpoint store and listens for signals.
    _runtime: Runtime,
}

impl Desk {
    /// `copy` is a folder with copies of the topics, `state` one with copies of the partitions' states.
    pub fn open(settings: Settings, copy: Option<&Path>, state: Option<&Path>) -> Result<Desk, EvidenceError> {
        let scratch = Scratch::create()?;
        let started = |source| EvidenceError::Scratch { path: scratch.0.clone(), source };
        let runtime = Runtime::start().map_err(started)?;
        let stop = Arc::new(AtomicBool::new(false));
        runtime.spawn(stop_on_signal(Arc::clone(&stop)));
        let archive = Archive::open(&settings, copy)?;
        let checkpoints = match &archive {
            Archive::Live(properties) => own_checkpoints(&settings, properties, &runtime)?,
            Archive::Copy(_) => None,
        };
        let memory = SharedMemory::new(settings.limits.rocksdb_bytes);
        let state = state.map(Path::to_owned);
        Ok(Desk { settings, archive, state, checkpoints, scratch, memory, stop, _runtime: runtime })
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Begins to replay a partition; `rules` stand in the place of those that the changes log says.
    pub fn player(&self, partition: i32, rules: Option<RuleSet>) -> Result<Player<'_>, EvidenceError> {
        let mut records = self.archive.records(&self.settings.topics.changes, partition)?;
        let bounds = records.bounds();
        let folder = self.scratch.0.join(partition.to_string());
        // Of a replay of the same partition before.
        let _ = std::fs::remove_dir_all(&folder);
        self.bring_state(partition, bounds, &folder)?;
        let task = self.open_state(partition, &folder)?;
        let (next, (start, end)) = (task.next_offset(), bounds);
        if next < start || next > end {
            return Err(EvidenceError::OtherState { folder, next, start, end });
        }
        records.skip_to(next)?;
        Ok(Player::new(self, partition, task, records, rules))
    }

    fn open_state(&self, partition: i32, folder: &Path) -> Result<Task<RocksStore>, EvidenceError> {
        let store = RocksStore::open(folder, &self.memory)?;
        let ownership = Ownership { partition, partitions: self.settings.topics.partitions };
        // One partition is replayed at a time.
        let limits = Limits::memory(self.settings.limits.cache_bytes);
        Ok(Task::open(Arc::clone(&self.settings.plan), ownership, store, limits)?)
    }

    /// Puts the state that a partition's replay begins with into a folder; none where the changes log has its beginning.
    fn bring_state(&self, partition: i32, (start, _): (i64, i64), folder: &Path) -> Result<(), EvidenceError> {
        if let Some(states) = &self.state {
            let given = states.join(partition.to_string());
            let Some(_guard) = Home::guard(&given) else {
                return Err(EvidenceError::Taken { folder: given });
            };
            return copy_files(&given, folder);
        }
        if start == 0 {
            return Ok(());
        }
        let Some(checkpoints) = &self.checkpoints else {
            return Err(EvidenceError::NoBeginning { partition, start, why: None });
        };
        let home = Arc::new(Home::lock(folder)?);
        let opens = |folder: &Path| Ok::<_, EvidenceError>(self.open_state(partition, folder)?.next_offset());
        let (fetched, refused) = checkpoints.fetch_earliest(partition, start, &home, &self.stop, opens);
        let Some(fetched) = fetched else {
            let why = refused.reasons().join("; ");
            let why = if why.is_empty() { "nor a checkpoint; give one with --state".to_owned() } else { why };
            return Err(EvidenceError::NoBeginning { partition, start, why: Some(why) });
        };
        fetched.install()?;
        Ok(())
    }
}

fn own_checkpoints(
    settings: &Settings,
    properties: &Properties,
    runtime: &Runtime,
) -> Result<Option<Checkpoints>, EvidenceError> {
    Ok(checkpoints(settings, properties, runtime.handle().clone())?)
}

/// RocksDB writes to what it opens, so it is given files of its own.
fn copy_files(from: &Path, to: &Path) -> Result<(), EvidenceError> {
    let fault = |source| EvidenceError::File { path: from.to_owned(), source };
    std::fs::create_dir_all(to).map_err(fault)?;
    for entry in std::fs::read_dir(from).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        if entry.path().is_file() && entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), to.join(entry.file_name())).map_err(fault)?;
        }
    }
    Ok(())
}

/// A folder that goes when nobody needs it any more.
struct Scratch(PathBuf);

impl Scratch {
    fn create() -> Result<Scratch, EvidenceError> {
        let path = std::env::temp_dir().join(format!("evenkeel-replay-{}", uuid::Uuid::new_v4()));
        match std::fs::create_dir_all(&path) {
            Ok(()) => Ok(Scratch(path)),
            Err(source) => Err(EvidenceError::Scratch { path, source }),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
