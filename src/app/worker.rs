//! A worker's thread: steps it until told to stop, and shows how far it is.
//!
//! Must not know: how a step is done (`task::worker`), the group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant as Moment};

use metrics::{counter, gauge, histogram};

use super::StageError;
use super::seat::{Given, Seat};
use crate::adapters::clock::now;
use crate::adapters::telemetry;
use crate::domain::change::{Gap, TopicPartition};
use crate::domain::key_state::Event;
use crate::domain::record::SourceNews;
use crate::domain::routing::Ownership;
use crate::domain::rule::Plan;
use crate::task::reconcile::{Counts, Limits};
use crate::task::worker::{Bounds, Step, Tenure, Worker};

/// How often it is said who holds verdicts back.
const COMPLAIN: Duration = Duration::from_secs(60);

/// How often metrics are set.
const REPORT: Duration = Duration::from_secs(1);

/// Works on a partition until told to stop.
pub fn work(given: Given) -> Result<(), StageError> {
    let settings = Arc::clone(&given.settings);
    let topics = &settings.topics;
    let ownership = Ownership { partition: given.partition, partitions: topics.partitions };
    let share = settings.limits.cache_bytes / topics.partitions.max(1) as usize;
    let flush_us = i64::try_from(settings.limits.flush_ms * 1000).unwrap_or(i64::MAX);
    let bounds = Bounds { task: Limits::memory(share), flush_us };
    let leave = Arc::clone(&given.leave);
    match Worker::begin(Seat::take(given)?, &settings.plan, ownership, bounds) {
        Ok(Some(worker)) => Bench::begin(worker).work(),
        Ok(None) => Ok(()),
        // Told to stop before anything was begun.
        Err(StageError::SchemaAwaited { .. }) if leave.tenure() != Tenure::Held => Ok(()),
        Err(error) => Err(error),
    }
}

/// A worker, and what was last told of it.
struct Bench {
    worker: Worker<Seat>,
    plan: Arc<Plan>,
    counted: Counts,
    /// By rule id, how often its answer had been uncertain when it was last reported.
    uncertain: BTreeMap<Box<str>, u64>,
    complained: Moment,
}

impl Bench {
    fn begin(mut worker: Worker<Seat>) -> Bench {
        let (next, published) = (worker.task().next_offset(), worker.published());
        let seat = worker.world();
        seat.keep_checkpoints(next);
        seat.given.status.began.store(next, Ordering::Relaxed);
        tracing::info!(partition = seat.given.partition, next, ?published, "partition opened");
        let mut bench = Bench {
            uncertain: worker.task().cannot_compare().clone(),
            plan: Arc::clone(worker.task().plan()),
            counted: Counts::default(),
            complained: Moment::now(),
            worker,
        };
        bench.show_progress();
        // What is there from the beginning can be watched for its rise.
        let sources = bench.worker.world().given.settings.sources.iter();
        for (source, kind) in sources.flat_map(|source| SourceNews::NAMES.map(|kind| (source, kind))) {
            counter!(telemetry::SOURCE_NOTICES, "source" => source.name.clone(), "type" => kind).increment(0);
        }
        bench
    }

    fn work(mut self) -> Result<(), StageError> {
        let mut reported = Moment::now();
        while self.worker.world().given.leave.tenure() == Tenure::Held {
            let step = self.worker.step()?;
            self.tell(step);
            // Also where nothing comes: that is when a lag is of interest.
            if reported.elapsed() >= REPORT {
                reported = Moment::now();
                self.worker.world().output.tend();
                self.report();
            }
        }
        self.worker.end().map(drop)
    }

    fn tell(&mut self, step: Step) {
        let seconds = |name: &'static str, micros: i64| {
            if micros > 0 {
                histogram!(name).record(micros as f64 / 1e6);
            }
        };
        seconds(telemetry::SETTLE_SECONDS, step.settled_us);
        seconds(telemetry::PUBLISH_SECONDS, step.published_us);
        seconds(telemetry::FLUSH_SECONDS, step.flushed_us);
        step.events.into_iter().for_each(|(rule, event)| count(rule, event));
        for notice in step.notices {
            let source = &self.worker.world().given.settings.sources[notice.source].name;
            tell_of_source(source, &notice.news);
        }
        if self.worker.has_caught_up() {
            self.worker.world().given.status.phase.store(1, Ordering::Relaxed);
        }
        if step.blocks > 0 {
            self.show_progress();
        }
        if !Arc::ptr_eq(&self.plan, self.worker.task().plan()) {
            self.plan = Arc::clone(self.worker.task().plan());
            self.tell_rules();
        }
    }

    fn tell_rules(&mut self) {
        let partition = self.worker.world().given.partition;
        let rules: Vec<&str> = self.plan.rules.iter().map(|rule| &*rule.id).collect();
        tracing::info!(partition, ?rules, "the changes log says new rules");
        for rule in self.worker.task().left_out() {
            tracing::error!(partition, %rule, "a rule is not judged: it names what this configuration's sources do not have");
        }
    }

    fn show_progress(&mut self) {
        let status = Arc::clone(&self.worker.world().given.status);
        let task = self.worker.task();
        if let Some(settled) = task.settled() {
            status.settled.store(settled.0, Ordering::Relaxed);
        }
        for (cell, frontier) in status.frontiers.iter().zip(task.frontiers()) {
            cell.store(frontier.map_or(i64::MIN, |frontier| frontier.0), Ordering::Relaxed);
        }
        status.next.store(task.next_offset(), Ordering::Relaxed);
        status.changes.store(task.counts().taken() as i64, Ordering::Relaxed);
    }

    /// Says who holds verdicts back.
    fn complain(&mut self) {
        let Some((source, TopicPartition { topic, partition: number }, promised)) =
            self.worker.task().least_promised()
        else {
            return;
        };
        let id = TopicPartition { topic: topic.clone(), partition: number };
        let is_halted = self.worker.task().halted().any(|(of, halted, _)| of == source && *halted == id);
        let promised = promised.map(|promised| promised.to_string());
        let given = &self.worker.world().given;
        let (partition, source) = (given.partition, &given.settings.sources[source].name);
        match is_halted {
            true => tracing::warn!(
                partition, source, %topic, number, promised,
                "verdicts are held: records of this topic-partition were lost. Re-snapshot the table, then say so: evenkeel acknowledge"
            ),
            false => tracing::warn!(
                partition, source, %topic, number, promised,
                "verdicts are held: this topic-partition has promised least"
            ),
        }
    }

    fn report(&mut self) {
        let given = &self.worker.world().given;
        let (partition, stall_after_us) = (given.partition.to_string(), given.settings.patience.stall_after_us);
        let task = self.worker.task();
        let counts = task.counts();
        let before = std::mem::replace(&mut self.counted, counts);
        let add = |name: &'static str, after: u64, before: u64| {
            counter!(name, "partition" => partition.clone()).increment(after - before);
        };
        add(telemetry::CHANGES, counts.taken(), before.taken());
        add(telemetry::LATE, counts.late, before.late);
        add(telemetry::REPLAYED, counts.replayed, before.replayed);
        add(telemetry::REPEATED, counts.repeated, before.repeated);
        add(telemetry::REQUEUED, counts.requeued, before.requeued);
        add(telemetry::EPOCHS, counts.epochs, before.epochs);
        add(telemetry::TRANSACTIONS, counts.transactions, before.transactions);
        add(telemetry::INCOMPLETE_TRANSACTIONS, counts.incomplete, before.incomplete);
        for (rule, tally) in task.tallies() {
            let labels = [("rule", rule.to_string()), ("partition", partition.clone())];
            gauge!(telemetry::PENDING, &labels).set(tally.pending as f64);
            gauge!(telemetry::OPEN, &labels).set(tally.open as f64);
        }
        for (source, rows) in task.plan().catalog.sources.iter().zip(task.unconfirmed()) {
            let labels = [("source", source.name.clone()), ("partition", partition.clone())];
            gauge!(telemetry::UNCONFIRMED, &labels).set(rows as f64);
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
        for (rule, uncertain) in task.cannot_compare() {
            let before = self.uncertain.insert(rule.clone(), *uncertain).unwrap_or_default();
            let labels = [("rule", rule.to_string()), ("partition", partition.clone())];
            counter!(telemetry::CANNOT_COMPARE, &labels).increment(uncertain - before);
        }
        let set = |name: &'static str, value: f64| gauge!(name, "partition" => partition.clone()).set(value);
        set(telemetry::HALTED, task.halted().count() as f64);
        set(telemetry::WAITING, task.waiting() as f64);
        set(telemetry::CACHE_BYTES, task.memory_bytes() as f64);
        set(telemetry::KEYS, task.store().keys() as f64);
        set(telemetry::STATE_BYTES, task.store().disk_bytes() as f64);
        if let Some(lag_us) = task.settled().map(|settled| now().since(settled)) {
            set(telemetry::RECONCILIATION_LAG, lag_us as f64 / 1e6);
            if lag_us > stall_after_us && self.complained.elapsed() >= COMPLAIN {
                self.complained = Moment::now();
                self.complain();
            }
        }
        if let Some(checkpointer) = &self.worker.world().checkpointer {
            checkpointer.report();
        }
    }
}

/// What was published of a source, for whoever reads the log.
fn tell_of_source(source: &str, news: &SourceNews) {
    counter!(telemetry::SOURCE_NOTICES, "source" => source.to_owned(), "type" => news.name()).increment(1);
    match news {
        SourceNews::Stalled => {
            tracing::warn!(source, "the source has stalled: nothing of it is known to be complete")
        }
        SourceNews::Recovered => tracing::info!(source, "the source has recovered"),
        SourceNews::Gap { topic_partition: TopicPartition { topic, partition }, gap } => {
            let Gap { cause, expected, found, .. } = *gap;
            tracing::error!(
                source, %topic, partition, cause = cause.name(), expected, found,
                "input gap: records were lost, and verdicts are held. Re-snapshot the table, then say so: evenkeel acknowledge"
            );
        }
        SourceNews::Acknowledged { topic_partition: TopicPartition { topic, partition } } => {
            tracing::info!(source, %topic, partition, "the input gap is acknowledged");
        }
        SourceNews::Widened { topic, before, after } => {
            tracing::info!(source, %topic, before, after, "the topic has more partitions than it had");
        }
        SourceNews::Incomplete { transactions, missing, first } => {
            let (topic, transaction, sent, arrived) = (&first.table.1, &first.id, first.sent, first.arrived);
            tracing::error!(
                source, transactions, missing, %topic, transaction, sent, arrived,
                "events of transactions have not come that the connector says to have sent. Re-snapshot the table"
            );
        }
        SourceNews::Unconfirmed { rows } => {
            tracing::warn!(
                source,
                rows,
                "the connector has taken a new snapshot, which has not seen these rows again: what rests on them is not judged. \
                 Say whether they are gone or kept: evenkeel confirm"
            );
        }
        SourceNews::Confirmed { rows, unseen } => {
            tracing::info!(source, rows, ?unseen, "rows that the new snapshot had not seen are confirmed");
        }
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
