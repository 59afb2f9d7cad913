//! One partition's checkpoints: written beside its work, brought back where they go further than its own disk.
//!
//! Must not know: records, the group. A checkpoint that fails delays the next, nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Moment};

use metrics::{counter, gauge};

use super::StageError;
use crate::adapters::checkpoints::{About, CheckpointError, Checkpoints, Uploaded, clear};
use crate::adapters::rocksdb::RocksStore;
use crate::adapters::telemetry;

pub struct Checkpointer {
    checkpoints: Checkpoints,
    partition: i32,
    every: Duration,
    /// Where the state is held fast while it is copied: beside the state itself, so that files can be linked.
    folder: PathBuf,
    stop: Arc<AtomicBool>,
    begun: Moment,
    written: Moment,
    /// The changes-log offset of the last one.
    offset: i64,
    running: Option<JoinHandle<Result<Uploaded, CheckpointError>>>,
}

impl Checkpointer {
    /// `state` is the folder of the partition's state, `offset` where it goes on.
    pub fn begin(
        checkpoints: Checkpoints,
        partition: i32,
        every: Duration,
        (state, offset): (&Path, i64),
    ) -> Checkpointer {
        let stop = Arc::default();
        let folder = state.with_file_name(format!("{partition}.checkpoint"));
        let [begun, written] = [Moment::now(); 2];
        Checkpointer { checkpoints, partition, every, folder, stop, begun, written, offset, running: None }
    }

    /// Begins a checkpoint of a state that was just flushed, if one is due; hears how the last one went.
    pub fn tend(&mut self, store: &RocksStore, about: About) {
        if self.running.as_ref().is_some_and(JoinHandle::is_finished) {
            self.hear();
        }
        if self.running.is_some() || self.begun.elapsed() < self.every {
            return;
        }
        self.begun = Moment::now();
        if about.next_offset == self.offset {
            // There is nothing that the last one lacks.
            self.written = self.begun;
            return;
        }
        self.offset = about.next_offset;
        let cleared = clear(&self.folder).map_err(StageError::from);
        if let Err(error) = cleared.and_then(|()| Ok(store.checkpoint(&self.folder)?)) {
            self.failed(&error);
            return;
        }
        let (checkpoints, partition) = (self.checkpoints.clone(), self.partition);
        let (folder, stop) = (self.folder.clone(), Arc::clone(&self.stop));
        let work = move || checkpoints.upload(partition, &folder, &about, &stop);
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
            Ok(Ok(uploaded)) => {
                self.written = self.begun;
                tracing::info!(partition, offset = self.offset, ?uploaded, "checkpoint written");
                counter!(telemetry::CHECKPOINT_BYTES, "partition" => partition.to_string())
                    .increment(uploaded.new_bytes);
            }
            Ok(Err(CheckpointError::Stopped)) => {}
            Ok(Err(error)) => self.failed(&error),
            Err(_) => self.failed(&"its thread panicked; the message stands above"),
        }
        if let Err(error) = clear(&self.folder) {
            tracing::warn!(partition, %error, "a checkpoint's folder cannot be removed");
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
