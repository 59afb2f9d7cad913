//! What a reconciliation says: the records of its output topics, as values.
//!
//! Must not know: JSON, Avro, CloudEvents, Kafka.

use std::sync::Arc;

use super::change::{Gap, Header, Key, TopicPartition, Unseen};
use super::instant::Instant;
use super::key_state::{Event, Evidence};
use super::transactions::Short;
use super::value::Value;

/// Why a record was said: the `number`-th record that the changes-log offset caused. Rises along an output
/// partition; on takeover, what lies at or below the last one published is not published again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause {
    pub offset: i64,
    pub number: u32,
}

/// One record of one output topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub cause: Cause,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// To the discrepancy topic: something in a discrepancy's life.
    Discrepancy(Box<Discrepancy>),
    /// To the open topic: everything that is open for a key now; null when nothing is.
    Open { key: Key, settled: Instant, open: Vec<Discrepancy> },
    /// To the discrepancy topic: nothing but how far the partition has looked.
    Heartbeat { settled: Instant },
    /// To the discrepancy topic: a source holds verdicts back, or no longer does.
    Source(SourceNotice),
    /// To the quarantine topic.
    Quarantine(Box<Quarantined>),
}

/// One revision of a discrepancy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discrepancy {
    pub event: Event,
    pub key: Key,
    pub rule: Box<str>,
    /// Index into the plan's rules; `None` where the rule is no longer configured.
    pub rule_index: Option<usize>,
    /// Tells apart the disagreements of one rule on one key; empty without identity columns.
    pub identity: Box<[Value]>,
    pub since: Instant,
    /// `since` of the first episode of the lineage.
    pub lineage: Instant,
    pub at: Instant,
    pub settled: Instant,
    pub revision: u32,
    pub flap_count: u32,
    /// How many escalations have been said.
    pub escalated: u32,
    pub evidence: Evidence,
    /// For each source of the reconciliation, the key's rows at `at`.
    pub sides: Vec<Vec<SideRow>>,
}

/// A kept row with its provenance in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideRow {
    pub columns: Box<[Value]>,
    pub source_time: Instant,
    /// LSN, GTID, or file and position; empty where unknown.
    pub position: String,
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceNotice {
    /// Index into the plan's sources.
    pub source: usize,
    pub news: SourceNews,
    /// How far the source's history is known; `None` where a topic-partition never promised anything.
    pub frontier: Option<Instant>,
    /// The machine's clock where it was decided.
    pub decided_at: Instant,
}

/// What became of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceNews {
    Stalled,
    Recovered,
    /// Records were lost; its promises are not believed until somebody acknowledges it.
    Gap {
        topic_partition: TopicPartition,
        gap: Gap,
    },
    Acknowledged {
        topic_partition: TopicPartition,
    },
    /// A topic has more partitions than it had.
    Widened {
        topic: Arc<str>,
        before: i32,
        after: i32,
    },
    /// Of transactions, not all that the connector says to have sent has come.
    Incomplete {
        /// How many, each table of one counted by itself.
        transactions: u64,
        /// How many of their events have not come.
        missing: u64,
        /// The first of them.
        first: Short,
    },
    /// Rows of this partition's keys that the connector's new snapshot has not seen.
    Unconfirmed {
        rows: u64,
    },
    /// What has become of them, an operator has said.
    Confirmed {
        rows: u64,
        unseen: Unseen,
    },
}

impl SourceNews {
    pub const NAMES: [&str; 8] = [
        "source_stalled",
        "source_recovered",
        "source_gap",
        "source_gap_acknowledged",
        "source_widened",
        "source_incomplete",
        "source_unconfirmed",
        "source_confirmed",
    ];

    /// The `type` of its record.
    pub fn name(&self) -> &'static str {
        let index = match self {
            SourceNews::Stalled => 0,
            SourceNews::Recovered => 1,
            SourceNews::Gap { .. } => 2,
            SourceNews::Acknowledged { .. } => 3,
            SourceNews::Widened { .. } => 4,
            SourceNews::Incomplete { .. } => 5,
            SourceNews::Unconfirmed { .. } => 6,
            SourceNews::Confirmed { .. } => 7,
        };
        SourceNews::NAMES[index]
    }
}

/// A source record that could not be understood, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    pub source: usize,
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Instant,
    pub key: Option<Box<[u8]>>,
    pub value: Option<Box<[u8]>>,
    pub headers: Vec<Header>,
    pub masked: bool,
    pub reason: Box<str>,
    pub detail: Box<str>,
}
