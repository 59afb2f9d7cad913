//! A worker: reads one partition of the changes log, lets the task judge, publishes what it says, keeps its state.
//!
//! Must not know: sources, formats, the group. It publishes first and flushes its state after, so that nothing that was
//! said is forgotten and what is said again on replay is dropped by its cause.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::time::{Duration, Instant as Moment};

use metrics::{counter, gauge, histogram};
use rdkafka::message::Message as _;

use super::StageError;
use super::checkpointer::Checkpointer;
use super::settings::Settings;
use crate::adapters::checkpoints::{About, Checkpoints, Home, Manifest, Refused};
use crate::adapters::clock::now;
use crate::adapters::kafka::Properties;
use crate::adapters::kafka::changes::{Reading, TopicReader};
use crate::adapters::kafka::publisher::{OutputPartition, OutputTopics, Publisher};
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

/// How long a worker gathers blocks before it publishes.
const GATHER: Duration = Duration::from_millis(50);

/// One partition's progress.
pub struct PartitionStatus {
    /// 0 restoring, 1 caught up once.
    pub phase: AtomicU8,
    pub settled: AtomicI64,
    pub frontiers: Vec<AtomicI64>,
    pub changes: AtomicI64,
    /// The changes-log offset at which it began, by its own disk's state or a checkpoint's.
    pub began: AtomicI64,
    /// The next changes-log offset to apply.
    pub next: AtomicI64,
}

/// What a worker is given.
pub struct Seat {
    pub settings: Arc<Settings>,
    pub properties: Properties,
    pub memory: SharedMemory,
    pub checkpoints: Option<Checkpoints>,
    pub partition: i32,
    pub status: Arc<PartitionStatus>,
    pub stop: Arc<AtomicBool>,
    /// The next changes-log offset, as flushed.
    pub flushed: Arc<AtomicI64>,
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

/// Opens the partition's state: this disk's, or a checkpoint's where that goes further. Also gives those that were refused.
fn open_furthest(seat: &Seat, home: &Home) -> Result<(Task<RocksStore>, Refused), StageError> {
    let Seat { settings, partition, stop, .. } = seat;
    let open = |folder: &Path| {
        let store = RocksStore::open(folder, &seat.memory)?;
        let share = settings.limits.cache_bytes / settings.topics.partitions.max(1) as usize;
        let ownership = Ownership { partition: *partition, partitions: settings.topics.partitions };
        Ok::<_, StageError>(Task::open(Arc::clone(&settings.plan), ownership, store, Limits::memory(share))?)
    };
    let task = open(home.folder())?;
    let (began, own) = (Moment::now(), task.next_offset());
    let Some(checkpoints) = &seat.checkpoints else { return Ok((task, Refused::default())) };
    let opens = |folder: &Path| open(folder).map(|task| task.next_offset());
    let (fetched, refused) = checkpoints.fetch(*partition, own, home, stop, opens);
    let Some(fetched) = fetched else { return Ok((task, refused)) };
    drop(task);
    let Manifest { next_offset, files, .. } = fetched.install()?;
    let (bytes, took) = (files.iter().map(|file| file.bytes).sum::<u64>(), began.elapsed());
    tracing::info!(partition, own, next_offset, bytes, ?took, "state restored from a checkpoint");
    Ok((open(home.folder())?, refused))
}

/// One partition's work.
pub struct Worker {
    seat: Seat,
    task: Task<RocksStore>,
    reader: TopicReader,
    publisher: Publisher,
    checkpointer: Option<Checkpointer>,
    /// Writes records about the rules of `plan`.
    renderer: Renderer,
    plan: Arc<Plan>,
    /// Dropped after all that works in it.
    _home: Arc<Home>,
    counted: Counts,
    /// By rule id, how often its answer had been uncertain when it was last reported.
    uncertain: BTreeMap<Box<str>, u64>,
    complained: Moment,
}

impl Worker {
    /// Opens the partition's state and takes its output over; `None` where it was told to stop before.
    pub fn open(seat: Seat) -> Result<Option<Worker>, StageError> {
        let Seat { settings, properties, partition, .. } = &seat;
        let topics = &settings.topics;
        let path = settings.state_dir.join(&*settings.plan.reconciliation).join(partition.to_string());
        let home = Arc::new(Home::lock(&path)?);
        let (task, refused) = open_furthest(&seat, &home)?;
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
        if next < start {
            let (topic, partition) = (topics.changes.clone(), *partition);
            return Err(match refused.hope(start) {
                Some(why) => StageError::ChangesOvertakenHere { topic, partition, next, start, why },
                None => StageError::ChangesOvertaken { topic, partition, next, start },
            });
        }
        if next > end {
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
        let checkpointer = seat.checkpoints.clone().zip(settings.checkpoints.as_ref()).map(|(checkpoints, given)| {
            let every = Duration::from_millis(given.every_ms);
            Checkpointer::begin(checkpoints, *partition, every, (Arc::clone(&home), next))
        });
        let worker = Worker {
            checkpointer,
            uncertain: task.cannot_compare().clone(),
            renderer: renderer(settings, task.plan()),
            plan: Arc::clone(task.plan()),
            _home: home,
            counted: Counts::default(),
            complained: Moment::now(),
            seat,
            task,
            reader,
            publisher,
        };
        worker.seat.status.began.store(next, Ordering::Relaxed);
        worker.show_progress();
        Ok(Some(worker))
    }

    /// Works until told to stop; then flushes.
    pub fn run(mut self) -> Result<(), StageError> {
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
            if let (false, Some(checkpointer)) = (dirty, &mut self.checkpointer) {
                let (next_offset, settled) = (self.task.next_offset(), self.task.settled());
                checkpointer.tend(self.task.store(), About { next_offset, settled, written_at: now() });
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
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.report();
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
