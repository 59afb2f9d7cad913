//! `evenkeel run`: ingest and reconcile in one process, until told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

use super::ingest_stage::IngestStage;
use super::reconcile_stage::{ReconcileStage, ReconcileStatus};
use super::settings::{Settings, TopicSettings};
use super::{STOP_WITHIN, StageError};
use crate::adapters::kafka::Properties;
use crate::adapters::kafka::admin::{Admin, TopicPlan};
use crate::adapters::telemetry;

/// Where stages run. Its end waits for nobody: what a client hangs in ends with the process.
pub struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    pub fn start() -> std::io::Result<Runtime> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Runtime(Some(runtime)))
    }
}

impl std::ops::Deref for Runtime {
    type Target = tokio::runtime::Runtime;

    fn deref(&self) -> &tokio::runtime::Runtime {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Which stages a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stages {
    Both,
    Ingest,
    Reconcile,
}

/// Runs the stages until `stop` is set or one of them fails; the others then stop in order, or are not waited for after
/// [`STOP_WITHIN`]. `status` tells how far reconcile is. It is asked over HTTP from the beginning, also while brokers are
/// waited for.
pub async fn run(
    settings: Arc<Settings>,
    stages: Stages,
    stop: Arc<AtomicBool>,
    status: Arc<ReconcileStatus>,
    metrics: PrometheusHandle,
) -> Result<(), StageError> {
    let reported = (stages != Stages::Ingest).then(|| Arc::clone(&status));
    let upkeep = telemetry::upkeep(metrics.clone());
    let serving = async {
        match settings.http {
            Some(address) => super::http::serve(address, metrics, reported).await,
            None => std::future::pending().await,
        }
    };
    let ended = work(&settings, stages, &stop, status);
    tokio::pin!(ended);
    tokio::select! {
        result = &mut ended => result,
        never = upkeep => match never {},
        result = serving => {
            stop.store(true, Ordering::Relaxed);
            result.and(ended.await)
        }
    }
}

/// Begins the stages, lets them work, and waits for their ends.
async fn work(
    settings: &Arc<Settings>,
    stages: Stages,
    stop: &Arc<AtomicBool>,
    status: Arc<ReconcileStatus>,
) -> Result<(), StageError> {
    const PANICKED: StageError = StageError::Panicked { partition: -1 };
    let (runtime, given, told_by) = (tokio::runtime::Handle::current(), Arc::clone(settings), Arc::clone(stop));
    let begun = tokio::select! {
        begun = tokio::task::spawn_blocking(move || begin(&runtime, &given, (stages, &told_by), status)) => {
            begun.unwrap_or(Err(PANICKED))?
        }
        // Nothing was done yet that would have to be finished.
        () = told(stop) => return Ok(()),
    };
    let threads: Vec<Thread> = begun.into_iter().map(|(name, stage)| spawn(name, Arc::clone(stop), stage)).collect();
    let joined = tokio::task::spawn_blocking(move || {
        let results: Vec<Result<(), StageError>> =
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err(PANICKED))).collect();
        results.into_iter().collect()
    });
    let overdue = async {
        told(stop).await;
        tokio::time::sleep(STOP_WITHIN).await;
    };
    tokio::select! {
        result = joined => result.unwrap_or(Err(PANICKED)),
        () = overdue => Err(StageError::Unfinished),
    }
}

/// What a stage does until it is told to stop.
type Stage = Box<dyn FnOnce(&AtomicBool) -> Result<(), StageError> + Send>;

/// Creates the topics that are missing and joins the groups.
fn begin(
    runtime: &tokio::runtime::Handle,
    settings: &Arc<Settings>,
    (stages, stop): (Stages, &Arc<AtomicBool>),
    status: Arc<ReconcileStatus>,
) -> Result<Vec<(&'static str, Stage)>, StageError> {
    runtime.block_on(create_topics(settings))?;
    let mut begun: Vec<(&'static str, Stage)> = Vec::new();
    if stages != Stages::Reconcile {
        let stage = IngestStage::start(Arc::clone(settings), stop)?;
        begun.push(("ingest", Box::new(move |_| stage.run())));
    }
    if stages != Stages::Ingest {
        let stage = ReconcileStage::start(Arc::clone(settings), status, runtime.clone())?;
        begun.push(("reconcile", Box::new(move |stop| stage.run(stop))));
    }
    Ok(begun)
}

/// Ends when the stages are told to stop.
async fn told(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

type Thread = std::thread::JoinHandle<Result<(), StageError>>;

/// Runs a stage on a thread; however it ends, the others are told to stop.
fn spawn(name: &str, stop: Arc<AtomicBool>, stage: Stage) -> Thread {
    let work = move || {
        let result = stage(&stop);
        stop.store(true, Ordering::Relaxed);
        if let Err(error) = &result {
            tracing::error!(%error, "a stage stopped");
        }
        result
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.expect("the system can start another thread")
}

/// Evenkeel's own topics.
pub fn own_topics(topics: &TopicSettings) -> [TopicPlan<'_>; 4] {
    // Blocks carry quarantined records whole, discrepancies all rows of a key: they may be larger than the sources'
    // largest record.
    const LARGE: (&str, &str) = ("max.message.bytes", "33554432");
    const POLICY: &str = "cleanup.policy";
    const RETENTION: &str = "retention.ms";
    let kept = &[(POLICY, "delete"), (RETENTION, "-1"), LARGE][..];
    let compacted = &[(POLICY, "compact"), LARGE][..];
    let plan = |name, settings, needed| TopicPlan {
        name,
        partitions: topics.partitions,
        replication_factor: topics.replication_factor,
        settings,
        needed,
    };
    [
        plan(&topics.changes, kept, &[POLICY, RETENTION]),
        // How long they are kept is their readers' business.
        plan(&topics.discrepancies, kept, &[POLICY]),
        plan(&topics.open, compacted, &[POLICY]),
        plan(&topics.quarantine, kept, &[POLICY]),
    ]
}

/// Creates the internal topics that are missing; refuses those whose partition count is another.
pub async fn create_topics(settings: &Settings) -> Result<(), StageError> {
    let topics = &settings.topics;
    let plans = own_topics(topics);
    let admin = Admin::new(&Properties::new(settings.kafka.clone()))?;
    let created = admin.create_missing(&plans).await?;
    if !created.is_empty() {
        tracing::info!(?created, "created topics");
    }
    let mut present = admin.topics()?;
    for _ in 0..50 {
        if plans.iter().all(|plan| present.contains_key(plan.name)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        present = admin.topics()?;
    }
    for plan in &plans {
        let found = present.get(plan.name).copied().unwrap_or(0);
        if found != topics.partitions {
            let topic = plan.name.to_owned();
            return Err(StageError::PartitionCount { topic, found, wanted: topics.partitions });
        }
    }
    Ok(())
}

/// Sets `stop` on SIGTERM or SIGINT.
pub async fn stop_on_signal(stop: Arc<AtomicBool>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.store(true, Ordering::Relaxed);
    Ok(())
}
