//! One partition's checkpoints: written beside its work, brought back where they go further than its own disk.
//!
//! Must not know: records, the group. A checkpoint that fails delays the next, nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Moment};

use metrics::{counter, gauge};
use tokio::runtime::Handle;

use super::StageError;
use super::settings::Settings;
use crate::adapters::checkpoints::{
    About, CheckpointError, Checkpoints, Digests, Home, Identity, Store, Turn, Uploaded,
};
use crate::adapters::kafka::Properties;
use crate::adapters::kafka::admin::Admin;
use crate::adapters::rocksdb::RocksStore;
use crate::adapters::telemetry;
use crate::task::wire::state;

/// All checkpoints of a reconciliation; `None` where it is to have none. The brokers are asked for the cluster's id, to which
/// they belong; `runtime` speaks with the store.
pub fn open_checkpoints(
    settings: &Settings,
    properties: &Properties,
    runtime: Handle,
) -> Result<Option<Checkpoints>, StageError> {
    let Some(given) = &settings.checkpoints else { return Ok(None) };
    let identity = Identity {
        reconciliation: settings.plan.reconciliation.to_string(),
        cluster: Admin::new(properties)?.cluster()?,
        topic: settings.topics.changes.clone(),
        partitions: settings.topics.partitions,
    };
    let store = Store::open(&given.url, &given.options, runtime)?;
    Ok(Some(Checkpoints::new(store, identity, state::VERSION.into(), given.keep)))
}

pub struct Checkpointer {
    checkpoints: Checkpoints,
    partition: i32,
    every: Duration,
    /// Locked as long as a checkpoint may be on its way.
    home: Arc<Home>,
    stop: Arc<AtomicBool>,
    due: Moment,
    begun: Moment,
    written: Moment,
    /// The changes-log offset of the last one.
    offset: i64,
    /// Lent to whoever writes.
    digests: Digests,
    running: Option<JoinHandle<(Result<Uploaded, CheckpointError>, Digests)>>,
}

/// When a partition's first checkpoint is due. All partitions begin together, and must not write together for ever: by the
/// golden ratio each falls into the widest gap that those before it have left, however many they are.
fn first_due(every: Duration, partition: i32) -> Duration {
    every.mul_f64((f64::from(partition + 1) * 0.618_033_988_749_895).fract())
}

impl Checkpointer {
    /// `offset` is where the state goes on.
    pub fn begin(
        checkpoints: Checkpoints,
        partition: i32,
        every: Duration,
        (home, offset): (Arc<Home>, i64),
    ) -> Checkpointer {
        let [begun, written] = [Moment::now(); 2];
        let due = begun + first_due(every, partition);
        let (stop, digests) = (Arc::default(), Digests::default());
        let running = None;
        Checkpointer { checkpoints, partition, every, home, stop, due, begun, written, offset, digests, running }
    }

    /// Begins a checkpoint of a state that was just flushed, if one is due and it is this partition's turn; hears how the
    /// last one went.
    pub fn tend(&mut self, store: &RocksStore, about: About) {
        if self.running.as_ref().is_some_and(JoinHandle::is_finished) {
            self.hear();
        }
        let now = Moment::now();
        if self.running.is_some() || now < self.due {
            return;
        }
        if about.next_offset == self.offset {
            // There is nothing that the last one lacks.
            (self.written, self.due) = (now, now + self.every);
            return;
        }
        let Some(turn) = self.checkpoints.turn() else { return };
        (self.begun, self.due) = (now, now + self.every);
        self.offset = about.next_offset;
        let cleared = self.home.clear_checkpoint().map_err(StageError::from);
        match cleared.and_then(|()| Ok(store.checkpoint(&self.home.checkpoint())?)) {
            Ok(()) => self.write(about, turn),
            Err(error) => self.failed(&error),
        }
    }

    fn write(&mut self, about: About, turn: Turn) {
        let (checkpoints, partition) = (self.checkpoints.clone(), self.partition);
        let (folder, stop) = (self.home.checkpoint(), Arc::clone(&self.stop));
        let mut digests = std::mem::take(&mut self.digests);
        let work = move || {
            let uploaded = checkpoints.upload(partition, &folder, &about, &mut digests, &stop);
            drop(turn);
            (uploaded, digests)
        };
        let thread = std::thread::Builder::new().name(format!("checkpoint-{partition}")).spawn(work);
        self.running = Some(thread.expect("the system can start another thread"));
    }

    pub fn report(&self) {
        let age = self.written.elapsed().as_secs_f64();
        gauge!(telemetry::CHECKPOINT_AGE, "partition" => self.partition.to_string()).set(age);
    }

    fn hear(&mut self) {
        let Some(thread) = self.running.take() else { return };
        let partition = self.partition;
        match thread.join() {
            Ok((uploaded, digests)) => {
                self.digests = digests;
                self.heard(uploaded);
            }
            Err(_) => self.failed(&"its thread panicked; the message stands above"),
        }
        if let Err(error) = self.home.clear_checkpoint() {
            tracing::warn!(partition, %error, "a checkpoint's folder cannot be removed");
        }
    }

    fn heard(&mut self, uploaded: Result<Uploaded, CheckpointError>) {
        let partition = self.partition;
        match uploaded {
            Ok(uploaded) => {
                self.written = self.begun;
                tracing::info!(partition, offset = self.offset, ?uploaded, "checkpoint written");
                counter!(telemetry::CHECKPOINT_BYTES, "partition" => partition.to_string())
                    .increment(uploaded.new_bytes);
            }
            Err(CheckpointError::Stopped) => {}
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &dyn std::fmt::Display) {
        // The state is tried again, though it may not have changed by then.
        self.offset = -1;
        tracing::warn!(partition = self.partition, %error, "a checkpoint was not written; the next one will be tried as ever");
        counter!(telemetry::CHECKPOINT_FAILURES, "partition" => self.partition.to_string()).increment(1);
    }
}

impl Drop for Checkpointer {
    /// What is on its way is given up: whoever has the partition next writes its own.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.hear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::adapters::rocksdb::SharedMemory;
    use crate::domain::instant::Instant;

    #[test]
    fn first_checkpoints_are_spread() {
        for partitions in [2, 3, 8, 64] {
            let every = Duration::from_secs(60);
            let mut due: Vec<Duration> = (0..partitions).map(|partition| first_due(every, partition)).collect();
            due.sort();
            let gaps = due.windows(2).map(|pair| pair[1] - pair[0]);
            let least = gaps.min().expect("there are two");
            assert!(due.iter().all(|due| *due < every), "{due:?}");
            assert!(least >= every / (3 * partitions as u32), "{partitions} partitions: {least:?}");
        }
    }

    #[test]
    fn a_checkpoint_waits_for_its_turn() {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let url = url::Url::from_directory_path(folder.path().join("store")).expect("a path");
        let store = Store::open(&url, &BTreeMap::new(), runtime.handle().clone()).expect("it opens");
        let [reconciliation, cluster, topic] = ["shop", "kafka-1", "changes"].map(str::to_owned);
        let checkpoints = Checkpoints::new(store, Identity { reconciliation, cluster, topic, partitions: 1 }, 1, 2);
        let home = Arc::new(Home::lock(&folder.path().join("0")).expect("it is free"));
        let state = RocksStore::open(home.folder(), &SharedMemory::new(8 << 20)).expect("it opens");
        let mut checkpointer = Checkpointer::begin(checkpoints.clone(), 0, Duration::ZERO, (home, 0));
        let about = About { next_offset: 5, settled: None, written_at: Instant(7) };
        let turns: Vec<Turn> = std::iter::from_fn(|| checkpoints.turn()).collect();
        assert!(turns.len() < 4, "few are written at once");
        checkpointer.tend(&state, about);
        assert!(checkpointer.running.is_none());
        drop(turns);
        let listed = || checkpoints.list(0, &AtomicBool::new(false)).expect("the store works").len();
        while listed() == 0 {
            checkpointer.tend(&state, about);
            std::thread::yield_now();
        }
        drop(checkpointer);
        assert!(checkpoints.turn().is_some(), "it was given back");
    }
}
