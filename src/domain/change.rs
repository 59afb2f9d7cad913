//! What the changes log says: normalised changes of rows, and progress marks, with where each came from.
//!
//! Must not know: how a block is laid out in bytes (`task::wire`), how an event was decoded (`adapters::debezium`).

use std::sync::Arc;

use compact_str::CompactString;

use super::hash::fnv1a;
use super::instant::Instant;
use super::numbers::Numbers;
use super::rule::RuleSet;
use super::value::Value;

/// The reconciliation key as canonical text: `42` for the integer 42, the text itself for text.
/// One key, whatever encoding either side used. It is the key of every record that leaves the process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub CompactString);

/// Index of a source in the reconciliation's declaration.
pub type SourceIndex = usize;

/// One partition of one source topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

/// Where a change stands in its database's commit order. Rises along a source topic-partition, except for replays.
///
/// * PostgreSQL: `transaction` is the LSN of the last commit before this transaction (`source.sequence[0]`; where
///   that is null, the row's own LSN), `row` is the row's LSN. Rows of one COPY page share one.
/// * MariaDB, MySQL: `transaction` is the number of the GTID and `row` 0, since another server's binlog has the
///   transaction elsewhere; without GTIDs, the binlog's file number and position.
/// * SQL Server: the commit's LSN; the change's LSN, and 16 bits of what shares it.
/// * Oracle: the commit's SCN; the transaction's id, and 64 bits of its rows' order.
/// * MongoDB: the cluster's time, seconds and 32 bits of their order.
///
/// Only positions of one connector and one epoch compare. [`Change::fingerprint`] tells apart what shares one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub transaction: u128,
    pub row: u128,
}

/// Whose run of a connector wrote an event, and whose positions it tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RunId {
    /// Of Debezium's `runId`, new at each start: its first eight bytes where it is a UUID of version 7 (RFC 9562), else a hash
    /// that has another version where they have theirs; 0 where it is unknown.
    pub number: u64,
    /// The [`Origin::family`] of its positions.
    pub family: u32,
}

impl RunId {
    /// True where two events are surely of one run of their connector, which sends nothing twice.
    pub fn is_same_start(self, other: RunId) -> bool {
        self.number == other.number && self.number != 0
    }

    /// True where this run surely began before another: a UUID of version 7 begins with the moment.
    pub fn began_before(self, other: RunId) -> bool {
        self.began_ms().zip(other.began_ms()).is_some_and(|(this, other)| this < other)
    }

    /// True where it is known when it began.
    pub fn is_dated(self) -> bool {
        self.began_ms().is_some()
    }

    /// When it began, by the clock of its Kafka Connect worker, milliseconds since the epoch.
    fn began_ms(self) -> Option<u64> {
        (self.number & RunId::VERSION == 0x7000).then_some(self.number >> 16)
    }

    /// Where a UUID's first eight bytes have its version.
    pub const VERSION: u64 = 0xF000;
}

/// Hash of the source transaction's id; 0 where the event belongs to none (snapshot rows).
pub type TransactionId = u64;

/// What happened to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The row is now as in `columns` (the source's kept columns, in declared order). Columns whose index is in
    /// `unchanged` carry no value in this event (a TOAST placeholder) and keep the stored one. `row_before` is the
    /// primary key that the row had before, where this event changed it.
    Upsert { columns: Box<[Value]>, unchanged: Box<[u16]>, row_before: Option<Box<[Value]>> },
    /// The row with this primary key (its values in declared order) is gone.
    Delete { row: Box<[Value]> },
}

impl Operation {
    /// The columns of an upsert that its event does not have at all: indexes among the kept ones.
    pub fn missing(&self) -> impl Iterator<Item = usize> {
        let (columns, unchanged): (&[Value], &[u16]) = match self {
            Operation::Upsert { columns, unchanged, .. } => (columns, unchanged),
            Operation::Delete { .. } => (&[], &[]),
        };
        let unknown = columns.iter().enumerate().filter(|(_, value)| value.is_unknown()).map(|(index, _)| index);
        unknown.filter(|index| !unchanged.contains(&(*index as u16)))
    }
}

/// How a position is written for people: the part that its numbers do not carry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// No position is known.
    None,
    /// PostgreSQL: `Position::row` is the LSN.
    Lsn,
    /// The GTID without its number: `0-223344-` (MariaDB) or `3e11fa47-71ca-11e1-9e33-c80aa9429562:` (MySQL).
    Gtid(Box<str>),
    /// The binlog file's name without its number: `mysql-bin.`. The number's digits are six or more.
    Binlog(Box<str>),
    /// SQL Server: LSNs.
    SqlServer,
    /// Oracle: SCNs.
    Scn,
    /// MongoDB's cluster time.
    ClusterTime,
}

impl Origin {
    /// Tells apart positions that do not compare: those of another GTID domain (MariaDB), of another server's or tag's
    /// GTIDs (MySQL), of a binlog with another name.
    pub fn family(&self) -> u32 {
        let name: &str = match self {
            Origin::None => return 0,
            Origin::Lsn => "lsn",
            Origin::SqlServer => "sqlserver",
            Origin::Scn => "scn",
            Origin::ClusterTime => "cluster time",
            Origin::Gtid(prefix) if prefix.ends_with(':') => prefix,
            Origin::Gtid(prefix) => prefix.split('-').next().unwrap_or_default(),
            Origin::Binlog(prefix) => prefix,
        };
        let hash = fnv1a(name.as_bytes());
        (hash ^ (hash >> 32)) as u32
    }

    /// The position as the database's own tools write it.
    pub fn label(&self, position: Position) -> String {
        match self {
            Origin::None => String::new(),
            Origin::Lsn => format!("{:X}/{:X}", position.row >> 32, position.row & 0xFFFF_FFFF),
            Origin::Gtid(prefix) => format!("{prefix}{}", position.transaction),
            Origin::Binlog(prefix) => format!("{prefix}{:06}:{}", position.transaction, position.row),
            Origin::SqlServer => {
                let lsn =
                    |lsn: u128| format!("{:08x}:{:08x}:{:04x}", lsn >> 48, lsn >> 16 & 0xFFFF_FFFF, lsn & 0xFFFF);
                format!("{}/{}", lsn(position.transaction), lsn(position.row >> 16))
            }
            Origin::Scn => position.transaction.to_string(),
            Origin::ClusterTime => format!("{}.{}", position.transaction >> 32, position.transaction & 0xFFFF_FFFF),
        }
    }
}

/// One change of one row of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Index into the block's topic-partitions.
    pub topic_partition: usize,
    pub offset: i64,
    /// What the event says about when. See the connector's kind for what that means.
    pub source_time: Instant,
    /// `None` for snapshot rows: they are never replays, and stand behind what came before them.
    pub position: Option<Position>,
    /// Tells apart the changes that share a position: equal only for the same change, sent again by the same server.
    pub fingerprint: u32,
    /// Index into the block's origins.
    pub origin: usize,
    pub run: RunId,
    pub transaction: TransactionId,
    /// The key that the row belongs to after the change (for a delete: before it). `None` where the event cannot
    /// say: then the partition that holds the row knows.
    pub key: Option<Key>,
    /// The key that the row belonged to before, where the event says so and it differs.
    pub key_before: Option<Key>,
    pub operation: Operation,
    /// Where it is requeued from quarantine: the offset below which its topic-partition was looked through for what else it
    /// says of the row, all of which comes behind it, in order. A row that is known from there or beyond is left as it is.
    pub requeued: Option<i64>,
}

impl Change {
    /// Roughly what the change takes in memory beside itself, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let values = |values: &[Value]| values.iter().map(Value::bytes).sum::<usize>();
        let rows = match &self.operation {
            Operation::Delete { row } => values(row),
            Operation::Upsert { columns, unchanged, row_before } => {
                values(columns) + 2 * unchanged.len() + row_before.as_deref().map_or(0, values)
            }
        };
        let keys = [&self.key, &self.key_before];
        rows + keys.into_iter().flatten().map(|key| key.0.len() + 8).sum::<usize>()
    }
}

/// Proof behind a mark: the start of the transaction that proved it, in its connector's commit order. Every
/// transaction that starts before it is above the mark; every one at or after it was committed after the mark's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    pub position: Position,
    pub run: RunId,
}

/// A promise in the log: of this source topic-partition, every change committed at or before `time` is already
/// above this line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Index into the block's topic-partitions.
    pub topic_partition: usize,
    pub time: Instant,
    pub proof: Option<Proof>,
    /// True where every event that it speaks of was also counted, for whom it was not counted before.
    pub counted: bool,
}

/// What a connector says at the end of a transaction, of tables that are told apart by a `T`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End<T> {
    /// The partition of the connector's transaction topic, along which ends stand in commit order.
    pub partition: i32,
    /// As the connector writes it.
    pub id: Box<str>,
    pub transaction: TransactionId,
    /// The source time of its last event, at the end of the second or millisecond that it is told in.
    pub time: Instant,
    /// What is proved at or beyond it was committed after the transaction.
    pub position: Position,
    /// How many events of each table it had.
    pub sent: Vec<(T, u32)>,
}

impl<T> End<T> {
    /// The same of tables that are told apart by something else; those that `table` does not know are left out.
    pub fn of<U>(self, table: impl Fn(T) -> Option<U>) -> End<U> {
        let End { partition, id, transaction, time, position, sent } = self;
        let sent = sent.into_iter().filter_map(|(one, count)| Some((table(one)?, count))).collect();
        End { partition, id, transaction, time, position, sent }
    }
}

/// A Kafka record's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub name: Box<str>,
    pub value: Option<Box<[u8]>>,
}

/// A record that could not be understood, whole, on its way to the quarantine topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Index into the block's topic-partitions.
    pub topic_partition: usize,
    pub offset: i64,
    /// Kafka's timestamp of the record, microseconds since the epoch.
    pub timestamp: Instant,
    pub key: Option<Box<[u8]>>,
    pub value: Option<Box<[u8]>>,
    pub headers: Vec<Header>,
    /// True where `key`, `value` and `headers` are not the original bytes because masked columns were blotted out.
    pub masked: bool,
    pub reason: Box<str>,
    pub detail: Box<str>,
}

impl Reject {
    /// Of the record, in bytes.
    pub fn bytes(&self) -> usize {
        let halves = [&self.key, &self.value].into_iter().flatten().map(|half| half.len());
        let headers =
            self.headers.iter().map(|header| header.name.len() + header.value.as_ref().map_or(0, |v| v.len()));
        halves.chain(headers).sum()
    }
}

/// The topics of a source: its frontier needs a mark of each of their partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    pub source: SourceIndex,
    pub topics: Vec<SourceTopic>,
}

/// A topic as the brokers tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTopic {
    pub name: Arc<str>,
    pub partitions: i32,
    /// Tells it from others that had its name, or will (KIP-516, hashed); 0 where the brokers do not say.
    pub id: u64,
}

/// What is news about a topic that was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicNews {
    /// It has more partitions than it had.
    Widened { before: i32 },
    /// It is another one under the old name.
    Another { before: u64 },
}

impl SourceTopic {
    /// Learns what the brokers tell of it now. Counts of one topic only rise, and one that is gone stays, so that its marks
    /// keep holding verdicts until somebody has said that it may go.
    pub fn learn(&mut self, now: &SourceTopic) -> Option<TopicNews> {
        if self.id != 0 && now.id != 0 && self.id != now.id {
            return Some(TopicNews::Another { before: std::mem::replace(self, now.clone()).id });
        }
        self.id = self.id.max(now.id);
        let before = self.partitions;
        self.partitions = before.max(now.partitions);
        (self.partitions > before).then_some(TopicNews::Widened { before })
    }
}

/// Learns of a topic among those that are known by name.
pub fn learn_topic(known: &mut Vec<SourceTopic>, topic: &SourceTopic) -> Option<TopicNews> {
    match known.iter_mut().find(|known| known.name == topic.name) {
        Some(known) => known.learn(topic),
        None => {
            known.push(topic.clone());
            None
        }
    }
}

/// Records of a source topic-partition that were not read, and never will be: nobody knows what they said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Index into the block's topic-partitions.
    pub topic_partition: usize,
    pub cause: GapCause,
    /// The offset that was to be read next; -1 where it is not known any more.
    pub expected: i64,
    /// The offset from which it is read on.
    pub found: i64,
    /// Tells the topic from others that had its name, or will; 0 where the brokers do not say.
    pub topic_id: u64,
}

/// How records came to be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// Retention deleted them before they were read.
    Retention,
    /// The topic was deleted and created anew; or its brokers lost what they had acknowledged, and do not say topics' ids.
    Recreated,
    /// The group's offset was forgotten: retention may have deleted some.
    OffsetForgotten,
    /// The topic's brokers lost what they had acknowledged: it ends before what was read of it.
    Truncated,
}

impl GapCause {
    pub fn name(self) -> &'static str {
        match self {
            GapCause::Retention => "retention",
            GapCause::Recreated => "recreated",
            GapCause::OffsetForgotten => "offset_forgotten",
            GapCause::Truncated => "truncated",
        }
    }
}

/// What has become of rows that a snapshot has not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// They were deleted.
    Gone,
    /// They are as they were: the snapshot was not to see them.
    Kept,
}

/// One line of the changes log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Change(Box<Change>),
    Mark(Mark),
    /// Ingest's verdict about a source topic-partition, an index into the block's: its promise has not moved for longer
    /// than `after_us` microseconds. It is over with the first promise that is no older than that, whoever gives it.
    Stall {
        topic_partition: usize,
        after_us: i64,
    },
    Reject(Reject),
    /// From here on no promise of the topic-partition is believed, until somebody says that it may be.
    Gap(Gap),
    /// An operator says that the gaps of a topic-partition, an index into the block's, are made good or do not matter.
    Acknowledge {
        topic_partition: usize,
    },
    /// A run of its connector begins a topic-partition, an index into the block's, with rows of a snapshot.
    Snapshot {
        topic_partition: usize,
        run: RunId,
    },
    /// An operator says what has become of the rows of a topic-partition's source that its connector's last snapshot has not
    /// seen again.
    Confirm {
        topic_partition: usize,
        unseen: Unseen,
    },
    /// From here on these are the rules.
    Rules(RuleSet),
    /// Events of a transaction that were read from a topic-partition, an index into the block's: their numbers among those
    /// of their table.
    Counted {
        topic_partition: usize,
        transaction: TransactionId,
        numbers: Numbers,
    },
    /// The end of a transaction; tables are indexes into the block's topic-partitions, any of their topic.
    Ended(End<usize>),
}

/// Many lines of the changes log for one partition: one Kafka record. What its lines share stands in front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The machine's clock when ingest ended the round.
    pub written_at: Instant,
    /// Among how many partitions of the changes log its writer shares the keys.
    pub partitions: i32,
    /// Of the sources that lines speak of, the topology that the writer has not told this partition of the log before.
    pub topologies: Vec<Topology>,
    pub topic_partitions: Vec<(SourceIndex, TopicPartition)>,
    pub origins: Vec<Origin>,
    /// In the order in which they were written.
    pub entries: Vec<Entry>,
}

impl Block {
    /// Says something of each topic-partition. To be written to every partition of the log.
    pub fn of_each(
        topic_partitions: Vec<(SourceIndex, TopicPartition)>,
        partitions: i32,
        written_at: Instant,
        entry: impl Fn(usize) -> Entry,
    ) -> Block {
        let entries = (0..topic_partitions.len()).map(entry).collect();
        Block { written_at, partitions, entries, topic_partitions, ..Block::default() }
    }
}
