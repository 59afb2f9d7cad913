//! `evenkeel run`: ingest and reconcile in one process, until told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

use super::ingest_stage::IngestStage;
use super::reconcile_stage::{ReconcileStage, ReconcileStatus};
use super::settings::Settings;
use super::{STOP_WITHIN, StageError};
use crate::adapters::kafka::Properties;
use crate::adapters::kafka::admin::{Admin, TopicPlan};
use crate::adapters::telemetry;

/// Which stages a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stages {
    Both,
    Ingest,
    Reconcile,
}

/// Runs the stages until `stop` is set or one of them fails; the others then stop in order, or are not waited for after
/// [`STOP_WITHIN`]. `status` tells how far reconcile is.
pub async fn run(
    settings: Arc<Settings>,
    stages: Stages,
    stop: Arc<AtomicBool>,
    status: Arc<ReconcileStatus>,
    metrics: PrometheusHandle,
) -> Result<(), StageError> {
    create_topics(&settings).await?;
    let mut threads = Vec::new();
    if stages != Stages::Reconcile {
        let stage = IngestStage::start(Arc::clone(&settings))?;
        threads.push(spawn("ingest", Arc::clone(&stop), move |stop| stage.run(stop)));
    }
    if stages != Stages::Ingest {
        let stage = ReconcileStage::start(Arc::clone(&settings), Arc::clone(&status))?;
        threads.push(spawn("reconcile", Arc::clone(&stop), move |stop| stage.run(stop)));
    }
    let reported = (stages != Stages::Ingest).then_some(status);
    let upkeep = telemetry::upkeep(metrics.clone());
    let serving = async {
        match settings.http {
            Some(address) => super::http::serve(address, metrics, reported).await,
            None => std::future::pending().await,
        }
    };
    let work = tokio::task::spawn_blocking(move || {
        let results: Vec<Result<(), StageError>> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(StageError::Panicked { partition: -1 })))
            .collect();
        results.into_iter().collect()
    });
    let ended = async {
        tokio::select! {
            result = work => result.unwrap_or(Err(StageError::Panicked { partition: -1 })),
            () = overdue(&stop) => Err(StageError::Unfinished),
        }
    };
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

/// Ends when the stages were told to stop long enough ago.
async fn overdue(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(STOP_WITHIN).await;
}

type Stage = std::thread::JoinHandle<Result<(), StageError>>;

/// Runs a stage on a thread; however it ends, the others are told to stop.
fn spawn(
    name: &str,
    stop: Arc<AtomicBool>,
    stage: impl FnOnce(&AtomicBool) -> Result<(), StageError> + Send + 'static,
) -> Stage {
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

/// Creates the internal topics that are missing; refuses those whose partition count is another.
pub async fn create_topics(settings: &Settings) -> Result<(), StageError> {
    let topics = &settings.topics;
    let plan = |name, settings| TopicPlan {
        name,
        partitions: topics.partitions,
        replication_factor: topics.replication_factor,
        settings,
    };
    // Blocks carry quarantined records whole, discrepancies all rows of a key: they may be larger than the sources'
    // largest record.
    const LARGE: (&str, &str) = ("max.message.bytes", "33554432");
    let kept = &[("cleanup.policy", "delete"), ("retention.ms", "-1"), LARGE][..];
    let compacted = &[("cleanup.policy", "compact"), LARGE][..];
    let plans = [
        plan(&topics.changes, kept),
        plan(&topics.discrepancies, kept),
        plan(&topics.open, compacted),
        plan(&topics.quarantine, kept),
    ];
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
