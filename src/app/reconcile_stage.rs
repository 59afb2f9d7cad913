//! The reconcile stage: a member of a consumer group over the changes log, a worker thread for each of its partitions.
//!
//! Must not know: sources, formats, what a worker does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Moment};

use metrics::gauge;

use tokio::runtime::Handle;

use super::StageError;
use super::checkpointer::open_checkpoints;
use super::forms::Forms;
use super::seat::{Given, Leave, PartitionStatus};
use super::settings::Settings;
use crate::adapters::checkpoints::Checkpoints;
use crate::adapters::kafka::Properties;
use crate::adapters::kafka::group::{Member, Movement};
use crate::adapters::kafka::offsets::{Commit, Offsets};
use crate::adapters::rocksdb::SharedMemory;
use crate::adapters::telemetry;

/// How long a fenced partition is left to whoever took it, if it is not revoked: the group may have moved it, and the
/// news be on its way; or a former owner fenced the new one with its last breath.
const YIELD: Duration = Duration::from_secs(5);

/// What the stage tells of itself, for `/readyz` and the demo.
#[derive(Default)]
pub struct ReconcileStatus {
    partitions: Mutex<BTreeMap<i32, Arc<PartitionStatus>>>,
    joined: AtomicBool,
}

impl ReconcileStatus {
    /// True once the group has given an assignment and each partition of it has caught up with the changes log once.
    pub fn is_ready(&self) -> bool {
        self.joined.load(Ordering::Acquire)
            && self.lock().values().all(|status| status.phase.load(Ordering::Relaxed) == 1)
    }

    /// The assigned partitions and how far each is.
    pub fn partitions(&self) -> Vec<(i32, Arc<PartitionStatus>)> {
        self.lock().iter().map(|(partition, status)| (*partition, Arc::clone(status))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Arc<PartitionStatus>>> {
        self.partitions.lock().expect("nobody panics while holding the map")
    }
}

struct Running {
    leave: Arc<Leave>,
    /// The next changes-log offset, as flushed.
    flushed: Arc<AtomicI64>,
    thread: JoinHandle<Result<(), StageError>>,
}

pub struct ReconcileStage {
    settings: Arc<Settings>,
    properties: Properties,
    member: Member,
    offsets: Offsets,
    memory: SharedMemory,
    checkpoints: Option<Checkpoints>,
    forms: Option<Arc<Forms>>,
    status: Arc<ReconcileStatus>,
    running: BTreeMap<i32, Running>,
    /// Workers that were told to stop and have not ended yet.
    stopping: Vec<(i32, Running)>,
    /// Partitions that wait for their last worker here to end.
    wanted: Vec<i32>,
    /// Partitions that another member has fenced, and when. They are still assigned here as far as this member knows.
    fenced: Vec<(i32, Moment)>,
}

impl ReconcileStage {
    /// `runtime` speaks with the checkpoint store.
    pub fn start(
        settings: Arc<Settings>,
        status: Arc<ReconcileStatus>,
        runtime: Handle,
    ) -> Result<ReconcileStage, StageError> {
        let properties = Properties::new(settings.kafka.clone());
        let checkpoints = open_checkpoints(&settings, &properties, runtime)?;
        let forms = Forms::open(&settings)?.map(Arc::new);
        let mut member = Member::join(&properties, &settings.topics.reconcile_group)?;
        member.subscribe(vec![&settings.topics.changes])?;
        let offsets = Offsets::new(&properties, &settings.topics.reconcile_group)?;
        Ok(ReconcileStage {
            checkpoints,
            forms,
            memory: SharedMemory::new(settings.limits.rocksdb_bytes),
            running: BTreeMap::new(),
            stopping: Vec::new(),
            wanted: Vec::new(),
            fenced: Vec::new(),
            properties,
            member,
            offsets,
            status,
            settings,
        })
    }

    /// Works until told to stop; then, or where something failed, lets every worker publish and flush.
    pub fn run(mut self, stop: &AtomicBool) -> Result<(), StageError> {
        let result = self.work(stop);
        for running in self.running.values() {
            running.leave.tell(false);
        }
        self.commit();
        let all = std::mem::take(&mut self.running).into_iter().chain(std::mem::take(&mut self.stopping));
        let results: Vec<_> = all.map(|(partition, running)| join(partition, running)).collect();
        results.into_iter().fold(result, Result::and)
    }

    fn work(&mut self, stop: &AtomicBool) -> Result<(), StageError> {
        let mut committed = Moment::now();
        while !stop.load(Ordering::Relaxed) {
            self.member.poll(Duration::from_millis(100))?;
            self.follow_movements()?;
            self.status.joined.store(self.member.has_joined(), Ordering::Release);
            self.reap()?;
            if committed.elapsed() > Duration::from_secs(1) {
                committed = Moment::now();
                self.commit();
                self.report();
            }
        }
        Ok(())
    }

    fn follow_movements(&mut self) -> Result<(), StageError> {
        for movement in self.member.movements() {
            match movement {
                Movement::Assigned { topic, partition } if partition >= self.settings.topics.partitions => {
                    let wanted = self.settings.topics.partitions;
                    return Err(StageError::PartitionCount { topic, found: partition + 1, wanted });
                }
                Movement::Assigned { partition, .. } => self.wanted.push(partition),
                Movement::Revoked { partition, is_lost, .. } => {
                    self.wanted.retain(|wanted| *wanted != partition);
                    self.fenced.retain(|(fenced, _)| *fenced != partition);
                    self.status.lock().remove(&partition);
                    if let Some(running) = self.running.remove(&partition) {
                        running.leave.tell(is_lost);
                        self.stopping.push((partition, running));
                    }
                }
            }
        }
        self.fenced.retain(|(partition, since)| {
            let is_over = since.elapsed() >= YIELD;
            self.wanted.extend(is_over.then_some(*partition));
            !is_over
        });
        let busy: Vec<i32> = self.stopping.iter().map(|(partition, _)| *partition).collect();
        let (later, ready) = std::mem::take(&mut self.wanted).into_iter().partition(|wanted| busy.contains(wanted));
        self.wanted = later;
        for partition in ready {
            let running = self.begin(partition);
            self.running.insert(partition, running);
        }
        Ok(())
    }

    fn begin(&self, partition: i32) -> Running {
        let sources = self.settings.sources.len();
        let status = Arc::new(PartitionStatus {
            phase: AtomicU8::new(0),
            settled: AtomicI64::new(i64::MIN),
            frontiers: (0..sources).map(|_| AtomicI64::new(i64::MIN)).collect(),
            changes: AtomicI64::new(0),
            began: AtomicI64::new(0),
            next: AtomicI64::new(0),
        });
        self.status.lock().insert(partition, Arc::clone(&status));
        let (leave, flushed) = (Arc::new(Leave::default()), Arc::new(AtomicI64::new(-1)));
        let given = Given {
            settings: Arc::clone(&self.settings),
            properties: self.properties.clone(),
            memory: self.memory.clone(),
            checkpoints: self.checkpoints.clone(),
            forms: self.forms.clone(),
            partition,
            status,
            leave: Arc::clone(&leave),
            flushed: Arc::clone(&flushed),
        };
        let name = format!("partition-{partition}");
        let thread = std::thread::Builder::new().name(name).spawn(|| super::worker::work(given));
        Running { leave, flushed, thread: thread.expect("the system can start another thread") }
    }

    /// Takes leave of workers that have ended; a failure ends the stage, but who is fenced may only have lost a race.
    fn reap(&mut self) -> Result<(), StageError> {
        let (ended, stopping) =
            std::mem::take(&mut self.stopping).into_iter().partition(|(_, r)| r.thread.is_finished());
        self.stopping = stopping;
        let ended: Vec<(i32, Running)> = ended;
        for (partition, running) in ended {
            match join(partition, running) {
                // Whoever has the partition now publishes it.
                Err(StageError::Kafka(failure)) => {
                    tracing::warn!(partition, %failure, "the partition was given up with something unpublished");
                }
                result => result?,
            }
        }
        let now = Moment::now();
        let ended: Vec<i32> =
            self.running.iter().filter(|(_, running)| running.thread.is_finished()).map(|(p, _)| *p).collect();
        for partition in ended {
            if let Some(running) = self.running.remove(&partition) {
                join(partition, running)?;
                // It was not told to stop.
                self.fenced.push((partition, now));
                if let Some(status) = self.status.lock().get(&partition) {
                    status.phase.store(0, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    fn report(&self) {
        let topic = &self.settings.topics.changes;
        let partitions = self.status.partitions();
        let list: Vec<_> = partitions.iter().map(|(partition, _)| (topic.clone(), *partition)).collect();
        // Where the brokers do not answer, the gauge keeps its value until it expires.
        for (_, partition, end) in self.offsets.ends(&list).unwrap_or_default() {
            if let Some((_, status)) = partitions.iter().find(|(known, _)| *known == partition) {
                let lag = (end - status.next.load(Ordering::Relaxed)).max(0);
                gauge!(telemetry::CHANGES_LAG, "partition" => partition.to_string()).set(lag as f64);
            }
        }
    }

    fn commit(&self) {
        let topic = &self.settings.topics.changes;
        let flushed = |(partition, running): (&i32, &Running)| {
            let offset = running.flushed.load(Ordering::Relaxed);
            let (topic, partition, metadata) = (topic.clone(), *partition, String::new());
            (offset >= 0).then_some(Commit { topic, partition, offset, metadata })
        };
        let offsets: Vec<_> = self.running.iter().filter_map(flushed).collect();
        self.member.commit(&offsets);
    }
}

fn join(partition: i32, running: Running) -> Result<(), StageError> {
    match running.thread.join() {
        Ok(Err(StageError::Kafka(failure))) if failure.is_fenced() => {
            tracing::warn!(partition, "another member has taken the partition over; nothing was published");
            Ok(())
        }
        Ok(result) => result,
        Err(_) => Err(StageError::Panicked { partition }),
    }
}
