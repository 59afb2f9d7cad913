//! The reconcile stage: a member of a consumer group over the changes log, a worker thread for each of its partitions.
//!
//! Must not know: sources, formats. A worker publishes first and flushes its state after, so that nothing that was said
//! is forgotten and what is said again on replay is dropped by its cause.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Moment};

use metrics::{counter, gauge, histogram};
use rdkafka::message::Message as _;

use super::StageError;
use super::settings::Settings;
use crate::adapters::clock::now;
use crate::adapters::kafka::changes::{Reading, TopicReader};
use crate::adapters::kafka::group::{Member, Movement};
use crate::adapters::kafka::offsets::Offsets;
use crate::adapters::kafka::publisher::{OutputPartition, OutputTopics, Publisher};
use crate::adapters::kafka::{KafkaFailure, Properties, passing};
use crate::adapters::records::{Message, Renderer};
use crate::adapters::rocksdb::{RocksStore, SharedMemory};
use crate::adapters::telemetry;
use crate::domain::change::TopicPartition;
use crate::domain::key_state::Event;
use crate::domain::record::{Cause, Content, Record};
use crate::domain::routing::Ownership;
use crate::domain::rule::Plan;
use crate::task::reconcile::{Counts, Limits, Task};
use crate::task::wire::block;

/// Blocks applied before their records are published together.
const BATCH: usize = 256;

/// How often it is said who holds verdicts back.
const COMPLAIN: Duration = Duration::from_secs(60);

/// How often metrics are set.
const REPORT: Duration = Duration::from_secs(1);

/// How long a fenced partition is left to whoever took it, if it is not revoked: the group may have moved it, and the
/// news be on its way; or a former owner fenced the new one with its last breath.
const YIELD: Duration = Duration::from_secs(5);

/// How long a worker gathers blocks before it publishes.
const GATHER: Duration = Duration::from_millis(50);

/// What the stage tells of itself, for `/readyz` and the demo.
#[derive(Default)]
pub struct ReconcileStatus {
    partitions: Mutex<BTreeMap<i32, Arc<PartitionStatus>>>,
    joined: AtomicBool,
}

/// One partition's progress.
pub struct PartitionStatus {
    /// 0 restoring, 1 caught up once.
    phase: AtomicU8,
    pub settled: AtomicI64,
    pub frontiers: Vec<AtomicI64>,
    pub changes: AtomicI64,
    /// The next changes-log offset to apply.
    next: AtomicI64,
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
    stop: Arc<AtomicBool>,
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
    pub fn start(settings: Arc<Settings>, status: Arc<ReconcileStatus>) -> Result<ReconcileStage, StageError> {
        let properties = Properties::new(settings.kafka.clone());
        let mut member = Member::join(&properties, &settings.topics.reconcile_group, 64 << 10)?;
        member.subscribe(vec![&settings.topics.changes])?;
        let offsets = Offsets::new(&properties, &settings.topics.reconcile_group)?;
        Ok(ReconcileStage {
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
            running.stop.store(true, Ordering::Relaxed);
        }
        self.commit();
        let all = std::mem::take(&mut self.running).into_iter().chain(std::mem::take(&mut self.stopping));
        let results: Vec<_> = all.map(|(partition, running)| join(partition, running)).collect();
        results.into_iter().fold(result, Result::and)
    }

    fn work(&mut self, stop: &AtomicBool) -> Result<(), StageError> {
        let mut committed = Moment::now();
        while !stop.load(Ordering::Relaxed) {
            // Partitions are held, not read: what is polled here are only rebalances and errors.
            match self.member.poll(Duration::from_millis(100)) {
                Some(Err(error)) if passing(&error) => tracing::warn!(%error, "the group was disturbed"),
                Some(Err(error)) => {
                    let group = &self.settings.topics.reconcile_group;
                    return Err(KafkaFailure::new(format!("member of group {group}"), error).into());
                }
                _ => {}
            }
            self.follow_movements();
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

    fn follow_movements(&mut self) {
        for movement in self.member.movements() {
            match movement {
                Movement::Assigned { partition, .. } => self.wanted.push(partition),
                Movement::Revoked { partition, .. } => {
                    self.wanted.retain(|wanted| *wanted != partition);
                    self.fenced.retain(|(fenced, _)| *fenced != partition);
                    self.status.lock().remove(&partition);
                    if let Some(running) = self.running.remove(&partition) {
                        running.stop.store(true, Ordering::Relaxed);
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
    }

    fn begin(&self, partition: i32) -> Running {
        let sources = self.settings.sources.len();
        let status = Arc::new(PartitionStatus {
            phase: AtomicU8::new(0),
            settled: AtomicI64::new(i64::MIN),
            frontiers: (0..sources).map(|_| AtomicI64::new(i64::MIN)).collect(),
            changes: AtomicI64::new(0),
            next: AtomicI64::new(0),
        });
        self.status.lock().insert(partition, Arc::clone(&status));
        let (stop, flushed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(-1)));
        let seat = Seat {
            settings: Arc::clone(&self.settings),
            properties: self.properties.clone(),
            memory: self.memory.clone(),
            partition,
            status,
            stop: Arc::clone(&stop),
            flushed: Arc::clone(&flushed),
        };
        let name = format!("partition-{partition}");
        let work = move || Worker::open(seat)?.map_or(Ok(()), Worker::run);
        let thread = std::thread::Builder::new().name(name).spawn(work);
        Running { stop, flushed, thread: thread.expect("the system can start another thread") }
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
            (offset >= 0).then(|| (topic.clone(), *partition, offset))
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

/// What a worker is given.
struct Seat {
    settings: Arc<Settings>,
    properties: Properties,
    memory: SharedMemory,
    partition: i32,
    status: Arc<PartitionStatus>,
    stop: Arc<AtomicBool>,
    flushed: Arc<AtomicI64>,
}

/// What is to be published together.
#[derive(Default)]
struct Outgoing {
    messages: Vec<(Cause, Message)>,
    /// For the metrics: what happens, by rule.
    events: Vec<(Box<str>, Event)>,
}

fn renderer(settings: &Settings, plan: &Plan) -> Renderer {
    let masks = settings.sources.iter().map(|source| source.shape.masks.clone()).collect();
    Renderer::new(plan, masks, settings.mask_key.clone())
}

/// One partition's work.
struct Worker {
    seat: Seat,
    task: Task<RocksStore>,
    reader: TopicReader,
    publisher: Publisher,
    /// Writes records about the rules of `plan`.
    renderer: Renderer,
    plan: Arc<Plan>,
    counted: Counts,
    /// By rule id, how often its answer had been uncertain when it was last reported.
    uncertain: BTreeMap<Box<str>, u64>,
    complained: Moment,
}

impl Worker {
    /// Opens the partition's state and takes its output over; `None` where it was told to stop before.
    fn open(seat: Seat) -> Result<Option<Worker>, StageError> {
        let Seat { settings, properties, partition, .. } = &seat;
        let topics = &settings.topics;
        let path: PathBuf = settings.state_dir.join(&*settings.plan.reconciliation).join(partition.to_string());
        let create = std::fs::create_dir_all(&path);
        create.map_err(|source| StageError::StateFolder { path: path.clone(), source })?;
        let store = RocksStore::open(&path, &seat.memory)?;
        let share = settings.limits.cache_bytes / topics.partitions.max(1) as usize;
        let ownership = Ownership { partition: *partition, partitions: topics.partitions };
        let task = Task::open(Arc::clone(&settings.plan), ownership, store, Limits::memory(share))?;
        let outputs = OutputTopics {
            discrepancies: topics.discrepancies.clone(),
            open: topics.open.clone(),
            quarantine: topics.quarantine.clone(),
        };
        // Whoever was given the partition since must not be fenced by one who has lost it.
        if seat.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let publisher = Publisher::take_over(OutputPartition {
            properties: properties.clone(),
            topics: outputs,
            partition: *partition,
            transactional_id: format!("{}-{partition}", topics.transactional_id),
            stop: Arc::clone(&seat.stop),
        })?;
        let fetch = settings.limits.fetch_bytes / 2 / topics.partitions.max(1) as usize;
        let reader = TopicReader::open(properties, &topics.changes, fetch)?;
        let (start, end) = reader.bounds(*partition)?;
        let next = task.next_offset();
        if next < start || next > end {
            return Err(StageError::ChangesGap {
                topic: topics.changes.clone(),
                partition: *partition,
                next,
                start,
                end,
            });
        }
        if let Some(published) = publisher.published().filter(|published| published.offset >= end) {
            let (topic, partition, published) = (topics.changes.clone(), *partition, published.offset);
            return Err(StageError::OutputAhead { topic, partition, published, end });
        }
        reader.seek(&[(*partition, next)])?;
        tracing::info!(partition, next, end, published = ?publisher.published(), "partition opened");
        let worker = Worker {
            uncertain: task.cannot_compare().clone(),
            renderer: renderer(settings, task.plan()),
            plan: Arc::clone(task.plan()),
            counted: Counts::default(),
            complained: Moment::now(),
            seat,
            task,
            reader,
            publisher,
        };
        worker.show_progress();
        Ok(Some(worker))
    }

    fn run(mut self) -> Result<(), StageError> {
        let flush_every = Duration::from_millis(self.seat.settings.limits.flush_ms);
        let [mut flushed, mut reported] = [Moment::now(); 2];
        let mut dirty = false;
        while !self.seat.stop.load(Ordering::Relaxed) {
            let outgoing = self.gather()?;
            dirty |= outgoing.is_some();
            if let Some(outgoing) = outgoing {
                self.publish(outgoing)?;
                self.show_progress();
            }
            // Also where nothing comes: that is when a lag is of interest.
            if reported.elapsed() >= REPORT {
                reported = Moment::now();
                self.publisher.tend();
                self.report();
            }
            if dirty && (flushed.elapsed() >= flush_every || self.task.wants_flush()) {
                self.flush()?;
                flushed = Moment::now();
                dirty = false;
            }
        }
        self.flush()
    }

    /// Applies the blocks that have come; `None` where there were none.
    fn gather(&mut self) -> Result<Option<Outgoing>, StageError> {
        let mut outgoing = Outgoing::default();
        let mut blocks = 0;
        let mut timeout = Duration::from_millis(100);
        let began = Moment::now();
        let mut settling = Duration::ZERO;
        while blocks < BATCH && (blocks == 0 || began.elapsed() < GATHER) {
            match self.reader.poll(timeout)? {
                Reading::Message(message) => {
                    let payload = message.payload().unwrap_or_default();
                    let block = block::decode(payload, &self.seat.settings.plan.catalog);
                    let offset = message.offset();
                    let partition = self.seat.partition;
                    let block = block.map_err(|source| StageError::Block { partition, offset, source })?;
                    let clock = Moment::now();
                    let records = self.task.apply(offset, block)?;
                    settling += clock.elapsed();
                    self.render(records, &mut outgoing);
                    blocks += 1;
                    while self.task.is_settling() {
                        if self.task.wants_flush() {
                            self.publish(std::mem::take(&mut outgoing))?;
                            self.flush()?;
                        }
                        let clock = Moment::now();
                        let records = self.task.proceed()?;
                        settling += clock.elapsed();
                        self.render(records, &mut outgoing);
                    }
                    if self.task.wants_flush() {
                        break;
                    }
                }
                Reading::End => {
                    self.seat.status.phase.store(1, Ordering::Relaxed);
                    break;
                }
                Reading::Nothing => break,
            }
            timeout = Duration::ZERO;
        }
        if blocks == 0 {
            return Ok(None);
        }
        histogram!(telemetry::SETTLE_SECONDS).record(settling.as_secs_f64());
        Ok(Some(outgoing))
    }

    /// Writes the last step's records as messages, those left out that the output already holds.
    fn render(&mut self, records: Vec<Record>, outgoing: &mut Outgoing) {
        let Seat { settings, partition, .. } = &self.seat;
        if !Arc::ptr_eq(&self.plan, self.task.plan()) {
            self.plan = Arc::clone(self.task.plan());
            self.renderer = renderer(settings, &self.plan);
            let rules: Vec<&str> = self.plan.rules.iter().map(|rule| &*rule.id).collect();
            tracing::info!(partition, ?rules, "the changes log says new rules");
            for rule in self.task.left_out() {
                tracing::error!(partition, %rule, "a rule is not judged: it names what this configuration's sources do not have");
            }
        }
        let published = self.publisher.published();
        for record in records.iter().filter(|record| published.is_none_or(|published| record.cause > published)) {
            outgoing.messages.push((record.cause, self.renderer.message(&self.plan, *partition, record)));
            if let Content::Discrepancy(discrepancy) = &record.content {
                outgoing.events.push((discrepancy.rule.clone(), discrepancy.event));
            }
        }
    }

    fn publish(&mut self, outgoing: Outgoing) -> Result<(), StageError> {
        if outgoing.messages.is_empty() {
            return Ok(());
        }
        let began = Moment::now();
        self.publisher.publish(&outgoing.messages)?;
        histogram!(telemetry::PUBLISH_SECONDS).record(began.elapsed().as_secs_f64());
        outgoing.events.into_iter().for_each(|(rule, event)| count(rule, event));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StageError> {
        let began = Moment::now();
        self.task.flush()?;
        histogram!(telemetry::FLUSH_SECONDS).record(began.elapsed().as_secs_f64());
        self.seat.flushed.store(self.task.next_offset(), Ordering::Relaxed);
        Ok(())
    }

    fn show_progress(&self) {
        let status = &self.seat.status;
        if let Some(settled) = self.task.settled() {
            status.settled.store(settled.0, Ordering::Relaxed);
        }
        for (cell, frontier) in status.frontiers.iter().zip(self.task.frontiers()) {
            cell.store(frontier.map_or(i64::MIN, |frontier| frontier.0), Ordering::Relaxed);
        }
        status.next.store(self.task.next_offset(), Ordering::Relaxed);
        status.changes.store(self.task.counts().taken() as i64, Ordering::Relaxed);
    }

    /// Says who holds verdicts back.
    fn complain(&self) {
        if let Some((source, TopicPartition { topic, partition: number }, promised)) = self.task.least_promised() {
            let (partition, promised) = (self.seat.partition, promised.map(|promised| promised.to_string()));
            let source = &self.seat.settings.sources[source].name;
            tracing::warn!(partition, source, %topic, number, promised, "verdicts are held: this topic-partition has promised least");
        }
    }

    fn report(&mut self) {
        let partition = self.seat.partition.to_string();
        let counts = self.task.counts();
        let before = std::mem::replace(&mut self.counted, counts);
        let add = |name: &'static str, after: u64, before: u64| {
            counter!(name, "partition" => partition.clone()).increment(after - before);
        };
        add(telemetry::CHANGES, counts.taken(), before.taken());
        add(telemetry::LATE, counts.late, before.late);
        add(telemetry::REPLAYED, counts.replayed, before.replayed);
        add(telemetry::REPEATED, counts.repeated, before.repeated);
        add(telemetry::EPOCHS, counts.epochs, before.epochs);
        for (rule, tally) in self.task.tallies() {
            let labels = [("rule", rule.to_string()), ("partition", partition.clone())];
            gauge!(telemetry::PENDING, &labels).set(tally.pending as f64);
            gauge!(telemetry::OPEN, &labels).set(tally.open as f64);
        }
        add(telemetry::AHEAD, counts.ahead, before.ahead);
        if counts.ahead > before.ahead {
            tracing::warn!(
                partition,
                "changes say a source time that lies in the future; the clock was taken instead"
            );
        }
        if counts.epochs > before.epochs {
            tracing::warn!(partition, "a connector's positions began anew, as after a failover or a restore");
        }
        for (rule, uncertain) in self.task.cannot_compare() {
            let before = self.uncertain.insert(rule.clone(), *uncertain).unwrap_or_default();
            let labels = [("rule", rule.to_string()), ("partition", partition.clone())];
            counter!(telemetry::CANNOT_COMPARE, &labels).increment(uncertain - before);
        }
        let set = |name: &'static str, value: f64| gauge!(name, "partition" => partition.clone()).set(value);
        if let Some(settled) = self.task.settled() {
            let lag_us = now().since(settled);
            set(telemetry::RECONCILIATION_LAG, lag_us as f64 / 1e6);
            if lag_us > self.seat.settings.patience.stall_after_us && self.complained.elapsed() >= COMPLAIN {
                self.complained = Moment::now();
                self.complain();
            }
        }
        set(telemetry::WAITING, self.task.waiting() as f64);
        set(telemetry::CACHE_BYTES, self.task.memory_bytes() as f64);
        set(telemetry::KEYS, self.task.store().keys() as f64);
        set(telemetry::STATE_BYTES, self.task.store().disk_bytes() as f64);
    }
}

fn count(rule: Box<str>, event: Event) {
    let metric = match event {
        Event::Opened => telemetry::OPENED,
        Event::Resolved(_) => telemetry::RESOLVED,
        Event::Escalated => telemetry::ESCALATED,
        Event::Updated => return,
    };
    counter!(metric, "rule" => rule.into_string()).increment(1);
}
