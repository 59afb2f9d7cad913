//! Every metric, declared once with its help text, and how the process logs.
//!
//! Must not know: who counts. Names are `evenkeel_<noun>_<unit>[_total]`; labels are bounded, never an order key.
//! `docs/metrics.md` is generated from [`METRICS`].

use std::convert::Infallible;
use std::io::IsTerminal;
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use tracing_subscriber::EnvFilter;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A metric's declaration.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident $name:literal $kind:ident $labels:tt $help:literal)*) => {
        $(pub const $constant: &str = $name;)*
        /// Every metric that the process can expose.
        pub const METRICS: &[Metric] =
            &[$(Metric { name: $name, kind: Kind::$kind, labels: &$labels, help: $help }),*];
        /// The names of their constants, in the same order.
        pub const CONSTANTS: &[&str] = &[$(stringify!($constant)),*];
    };
}

metrics! {
    RECONCILIATION_LAG "evenkeel_reconciliation_lag_seconds" Gauge ["partition"]
        "How far the settled time lies behind the clock: verdicts are about history up to there"
    FRONTIER_AGE "evenkeel_source_frontier_age_seconds" Gauge ["source"]
        "How far the least promise of the source's topic-partitions read here lies behind the clock; of several processes take the most"
    SOURCE_STALLED "evenkeel_source_stalled" Gauge ["source"]
        "1 while a topic-partition of the source read here has made no promise for longer than stall_after; of several processes take the most"
    SOURCE_NOTICES "evenkeel_source_notices_total" Counter ["source", "type"]
        "Records published about a source, each by one process: that it stalled, recovered, lost something, was widened"
    HALTED "evenkeel_halted_topic_partitions" Gauge ["partition"]
        "Topic-partitions whose promises are not believed, since something of them was lost and nobody has acknowledged it"
    INGEST_LAG "evenkeel_ingest_consumer_lag_records" Gauge ["source"]
        "Records of the source's topics that ingest has not read yet"
    CHANGES_LAG "evenkeel_reconcile_consumer_lag_blocks" Gauge ["partition"]
        "Blocks of the changes log that reconcile has not read yet"
    CHANGES "evenkeel_changes_total" Counter ["partition"]
        "Changes taken from the changes log; those dropped as repeated or replayed are not among them"
    LATE "evenkeel_late_changes_total" Counter ["partition"]
        "Changes that a promise already given had excluded"
    REPLAYED "evenkeel_replayed_changes_total" Counter ["partition"]
        "Changes dropped because their connector had sent them before"
    TRANSACTIONS "evenkeel_checked_transactions_total" Counter ["partition"]
        "Source transactions of which all events were counted that their connector says to have sent"
    INCOMPLETE_TRANSACTIONS "evenkeel_incomplete_transactions_total" Counter ["partition"]
        "Of these, such as lack events of a source (one for each topic)"
    REPEATED "evenkeel_repeated_changes_total" Counter ["partition"]
        "Changes dropped because ingest had written them before"
    REQUEUED "evenkeel_requeued_changes_total" Counter ["partition"]
        "Changes taken from quarantine, and what their topic-partition says of their rows since"
    AHEAD "evenkeel_future_changes_total" Counter ["partition"]
        "Changes whose source time lay more than a minute ahead of the clock, and was not believed"
    EPOCHS "evenkeel_position_epochs_total" Counter ["partition"]
        "Times that a connector's positions began anew: a failover or a restore"
    QUARANTINED "evenkeel_quarantined_records_total" Counter ["source", "reason"]
        "Source records that could not be understood"
    HELD "evenkeel_waiting_partitions" Gauge ["reason"]
        "Source topic-partitions whose next record cannot be taken yet, for want of its schema (schema), or because more records are refused than limits.quarantine lets pass (quarantine)"
    HEARTBEATS_REFUSED "evenkeel_refused_heartbeats_total" Counter ["connector", "reason"]
        "Rows of a heartbeat table that could not be understood: they promise nothing"
    TRANSACTIONS_REFUSED "evenkeel_refused_transactions_total" Counter ["connector", "reason"]
        "Records of a connector's transaction topic that could not be understood: these transactions are not checked"
    REGISTRY_ERRORS "evenkeel_registry_errors_total" Counter ["reason"]
        "Times that the schema registry gave no answer of use; it is asked again, and what needs it waits: records to be read, or to be published as Avro"
    UNASSIGNED "evenkeel_unassigned_changes_total" Counter ["source"]
        "Changes of rows whose key is NULL and was NULL before: they belong to no order"
    INCOMPLETE "evenkeel_incomplete_updates_total" Counter ["source"]
        "Updates without a before image, though the source is said to have complete ones: moves and deletes may be missed"
    OPENED "evenkeel_discrepancies_opened_total" Counter ["rule"]
        "Discrepancies opened"
    RESOLVED "evenkeel_discrepancies_resolved_total" Counter ["rule"]
        "Discrepancies resolved"
    ESCALATED "evenkeel_discrepancies_escalated_total" Counter ["rule"]
        "Escalations said"
    OPEN "evenkeel_discrepancies_open" Gauge ["rule", "partition"]
        "Discrepancies open now"
    PENDING "evenkeel_disagreements_pending" Gauge ["rule", "partition"]
        "Disagreements younger than their grace"
    UNCONFIRMED "evenkeel_unconfirmed_rows" Gauge ["source", "partition"]
        "Rows that a new snapshot of their connector has not seen: what rests on them is not judged until an operator says what has become of them"
    CANNOT_COMPARE "evenkeel_cannot_compare_total" Counter ["rule", "partition"]
        "Judgements that rested on a value which the source could not give, or on an evaluation error"
    WAITING "evenkeel_waiting_changes" Gauge ["partition"]
        "Changes that wait for the settled time to reach them"
    KEYS "evenkeel_keys" Gauge ["partition"]
        "Keys whose state is held (an estimate of RocksDB's)"
    STATE_BYTES "evenkeel_state_bytes" Gauge ["partition"]
        "State on disk (an estimate of RocksDB's)"
    CACHE_BYTES "evenkeel_cache_bytes" Gauge ["partition"]
        "Key states in memory, roughly"
    CHECKPOINT_AGE "evenkeel_checkpoint_age_seconds" Gauge ["partition"]
        "Time since the partition's last checkpoint was written, or since it was opened here"
    CHECKPOINT_BYTES "evenkeel_checkpoint_uploaded_bytes_total" Counter ["partition"]
        "Bytes written to the checkpoint store; files that it holds already are not written again"
    CHECKPOINT_FAILURES "evenkeel_checkpoint_failures_total" Counter ["partition"]
        "Checkpoints that could not be written; the next one is due as ever"
    SETTLE_SECONDS "evenkeel_settle_seconds" Histogram []
        "Time to apply and settle one batch of blocks"
    PUBLISH_SECONDS "evenkeel_publish_seconds" Histogram []
        "Time of one output transaction"
    FLUSH_SECONDS "evenkeel_flush_seconds" Histogram []
        "Time to write changed state to the store"
}

/// How long a gauge is shown that is not set any more.
const GAUGE_EXPIRES: Duration = Duration::from_secs(60);

const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the recorder of metrics; its handle renders them in Prometheus' text format. Every one carries the
/// reconciliation's name as a label.
pub fn install_metrics(reconciliation: &str) -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    const BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
    // A partition that has moved to another member is no longer told of here.
    let handle = PrometheusBuilder::new()
        .add_global_label("reconciliation", reconciliation)
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS)?
        .idle_timeout(MetricKindMask::GAUGE, Some(GAUGE_EXPIRES))
        .install_recorder()?;
    for metric in METRICS {
        let unit = if metric.name.contains("_seconds") { Unit::Seconds } else { Unit::Count };
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, unit, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, unit, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, unit, metric.help),
        }
    }
    Ok(handle)
}

/// Sums up, for ever, what histograms have taken in; else it would pile up where nobody asks for it.
pub async fn upkeep(handle: PrometheusHandle) -> Infallible {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

/// Logs to stderr: for people on a terminal, JSON otherwise. `RUST_LOG` filters, `info` by default.
pub fn install_logs() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = if std::io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().try_init()
    };
    if let Err(error) = installed {
        eprintln!("logs go where they went before: {error}");
    }
}

/// The table of metrics for the docs, in Markdown.
pub fn table() -> String {
    let mut table = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for metric in METRICS {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        table += &format!("| `{}` | {kind} | {} | {} |\n", metric.name, metric.labels.join(", "), metric.help);
    }
    table
}
