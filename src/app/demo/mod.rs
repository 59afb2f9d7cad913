//! `evenkeel demo`: the whole product on an embedded Kafka, over two simulated databases with injected faults.
//!
//! Runs the real `run` path. Ends with a summary that is right or wrong: everything injected was found, nothing else.

pub mod connector;
mod ending;
pub mod judge;
mod lines;
mod pace;
pub mod screen;
pub mod settings;
mod stage;
pub mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rdkafka::mocking::MockCluster;
use tokio::runtime::Handle;

use self::ending::Ending;
use self::judge::Summary;
use self::stage::{Stage, TOPICS};
use super::StageError;
use super::reconcile_stage::ReconcileStatus;
use super::run::{Runtime, Stages, run};
use super::settings::Settings;
use crate::adapters::kafka::{Context, KafkaFailure};

/// How the demo is to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// `None` runs until it is ended by hand.
    pub seconds: Option<u64>,
    pub json: bool,
}

/// Why the demo could not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Kafka(#[from] KafkaFailure),
    #[error("the product stopped: {0}")]
    Product(#[from] StageError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Runs the demo and prints its summary.
pub fn demo(options: Options) -> Result<Summary, DemoError> {
    let runtime = Runtime::start()?;
    // From here on an end is in order: it cleans up what is made below.
    let ending = Ending::listen(&runtime)?;
    let cluster = MockCluster::new(1).context(|| "starting the embedded Kafka".to_owned())?;
    let folder = StateFolder::create()?;
    let settings = Arc::new(settings::settings(&cluster.bootstrap_servers(), &folder.0));
    let topics = &settings.topics;
    let own = [&topics.changes, &topics.discrepancies, &topics.open, &topics.quarantine];
    let own = own.map(|name| (name.as_str(), topics.partitions));
    for (topic, partitions) in TOPICS.into_iter().chain(own) {
        cluster.create_topic(topic, partitions, 1).context(|| format!("creating {topic}"))?;
    }
    let status = Arc::new(ReconcileStatus::default());
    let product = Product::start(runtime.handle(), &settings, &status);
    let stage = Stage::open(&settings, &cluster.bootstrap_servers(), status, ending, options)?;
    let summary = stage.play(|| product.has_ended());
    product.end()?;
    summary
}

/// The product at work, on threads of its own. However the demo is left, it is stopped first.
struct Product {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), StageError>>>,
}

impl Product {
    fn start(runtime: &Handle, settings: &Arc<Settings>, status: &Arc<ReconcileStatus>) -> Product {
        let stop = Arc::new(AtomicBool::new(false));
        let given = (Arc::clone(settings), Arc::clone(&stop), Arc::clone(status));
        let runtime = runtime.clone();
        let thread = std::thread::spawn(move || {
            let (settings, stop, status) = given;
            let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
            runtime.block_on(run(settings, Stages::Both, stop, status, metrics))
        });
        Product { stop, thread: Some(thread) }
    }

    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn end(mut self) -> Result<(), StageError> {
        self.stop_and_wait()
    }

    fn stop_and_wait(&mut self) -> Result<(), StageError> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        ended.unwrap_or(Ok(Ok(()))).unwrap_or(Err(StageError::Panicked { partition: -1 }))
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        // Where it matters how it ended, it was asked before.
        let _ = self.stop_and_wait();
    }
}

/// The product's state, which nobody needs afterwards.
struct StateFolder(PathBuf);

impl StateFolder {
    fn create() -> std::io::Result<StateFolder> {
        let path = std::env::temp_dir().join(format!("evenkeel-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(StateFolder(path))
    }
}

impl Drop for StateFolder {
    fn drop(&mut self) {
        // What cannot be removed now is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
