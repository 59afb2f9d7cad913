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
use crate::app::checkpointer::open_checkpoints;
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
    Ok(open_checkpoints(settings, properties, runtime.handle().clone())?)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::adapters::checkpoints::{About, Digests, Identity, Store};
    use crate::app::evidence::replay::Question;
    use crate::app::evidence::stories::{Deployment, ask, deployments};
    use crate::domain::instant::Instant;
    use crate::task::wire::state;

    fn story() -> Deployment {
        deployments(Path::new("tests/golden/paid-without-payment.yaml")).swap_remove(0).1
    }

    /// A store of checkpoints in a folder, with the states after so many blocks.
    fn stored(desk: &Desk, deployment: &Deployment, folder: &Path, blocks: &[usize]) -> Checkpoints {
        let [reconciliation, cluster, topic] = ["stories", "stories", "changes"].map(str::to_owned);
        let url = url::Url::from_directory_path(folder).expect("a path");
        let store = Store::open(&url, &BTreeMap::new(), desk._runtime.handle().clone()).expect("it opens");
        let identity = Identity { reconciliation, cluster, topic, partitions: 1 };
        let checkpoints = Checkpoints::new(store, identity, state::VERSION.into(), 9);
        for next in blocks {
            let state = deployment.state(*next);
            let about = About { next_offset: *next as i64, settled: None, written_at: Instant(0) };
            let uploaded =
                checkpoints.upload(0, &state.path().join("0"), &about, &mut Digests::default(), &desk.stop);
            uploaded.expect("it can be written");
        }
        checkpoints
    }

    #[test]
    fn the_earliest_checkpoint_stands_for_a_beginning_that_is_gone() {
        let deployment = story();
        deployment.write_log(2);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut desk = deployment.desk(None);
        desk.checkpoints = Some(stored(&desk, &deployment, folder.path(), &[1, 3, 4]));
        let question = Question { from: Instant::MIN, to: Instant::MAX, rules: None, diff: true };
        for _ in 0..2 {
            let (lines, summary) = ask(&desk, &question);
            assert!(lines.is_empty() && summary.is_same(), "{lines:?}");
            assert_eq!(summary.cut, [(0, 3)], "a state of before does not fit, a later one tells less");
        }
        desk.checkpoints = Some(stored(&desk, &deployment, &folder.path().join("other"), &[1]));
        let refused = desk.player(0, None).map(|_| ()).expect_err("it is of before").to_string();
        assert!(refused.contains("nor a checkpoint; give one with --state"), "{refused}");
    }

    #[test]
    fn nothing_is_left_behind() {
        let deployment = story();
        let desk = deployment.desk(None);
        let folder = desk.scratch.0.clone();
        let mut player = desk.player(0, None).expect("it begins");
        while player.step().expect("it is replayed").is_some() {}
        player.task.flush().expect("it is written");
        drop(player);
        assert_eq!(desk.player(0, None).expect("it begins anew").began, 0);
        assert!(folder.join("0").exists());
        drop(desk);
        assert!(!folder.exists());
    }
}
