//! Which partitions of the changes log a line goes to; the blocks that come of it.
//!
//! Must not know: what may be promised, who writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ingest::Decoded;
use crate::domain::change::{
    Block, Change, End, Entry, Gap, Key, Mark, Operation, Origin, Reject, SourceIndex, TopicPartition, TransactionId,
};
use crate::domain::numbers::Numbers;
use crate::domain::routing::partition_of;
use crate::domain::rule::Plan;
use crate::domain::transactions::Table;
use crate::domain::value::Value;

/// Blocks in the making, one for each partition of the changes log.
pub struct Router {
    plan: Arc<Plan>,
    /// For each source, whether its updates may move a row to another key without saying from which.
    key_may_change: Vec<bool>,
    blocks: Vec<Builder>,
}

impl Router {
    /// `partitions` is the changes log's partition count.
    pub fn new(plan: Arc<Plan>, partitions: i32, key_may_change: Vec<bool>) -> Router {
        let blocks = (0..partitions).map(|_| Builder::default()).collect();
        Router { plan, key_may_change, blocks }
    }

    pub fn partitions(&self) -> i32 {
        self.blocks.len() as i32
    }

    /// A line of no topic-partition, for every partition.
    pub fn tell(&mut self, entry: &Entry) {
        for builder in &mut self.blocks {
            builder.block.entries.push(entry.clone());
        }
    }

    /// A line about a topic-partition, for every partition; its index is set here.
    pub fn tell_of(&mut self, source: SourceIndex, topic_partition: &TopicPartition, entry: &Entry) {
        for builder in &mut self.blocks {
            let topic_partition = builder.lane(source, topic_partition);
            builder.block.entries.push(at_lane(entry.clone(), topic_partition));
        }
    }

    /// What could not be understood goes to one partition, always the same for its topic-partition.
    pub fn reject(&mut self, source: SourceIndex, topic_partition: &TopicPartition, reject: Reject) {
        let name = format!("{}:{}", topic_partition.topic, topic_partition.partition);
        let partition = partition_of(name.as_bytes(), self.partitions());
        let builder = &mut self.blocks[partition as usize];
        let topic_partition = builder.lane(source, topic_partition);
        builder.block.entries.push(Entry::Reject(Reject { topic_partition, ..reject }));
    }

    /// All of a transaction is counted in one partition: an event by its number among those of its table.
    pub fn count(
        &mut self,
        source: SourceIndex,
        topic_partition: &TopicPartition,
        (transaction, number): (TransactionId, u32),
    ) {
        let partition = partition_of(&transaction.to_le_bytes(), self.partitions());
        let builder = &mut self.blocks[partition as usize];
        let lane = builder.lane(source, topic_partition);
        builder.counted.entry((lane, transaction)).or_default().insert(number);
    }

    /// And its end.
    pub fn end(&mut self, end: End<Table>) {
        let partition = partition_of(&end.transaction.to_le_bytes(), self.partitions());
        let builder = &mut self.blocks[partition as usize];
        let mut lanes = Vec::new();
        for ((source, topic), _) in &end.sent {
            lanes.push(builder.lane(*source, &TopicPartition { topic: Arc::clone(topic), partition: 0 }));
        }
        let sent = lanes.into_iter().zip(end.sent.iter().map(|(_, count)| *count)).collect();
        let End { partition, id, transaction, time, position, .. } = end;
        builder.block.entries.push(Entry::Ended(End { partition, id, transaction, time, position, sent }));
    }

    /// A change goes where its key is, and where its row was before; everywhere, where that is not known.
    pub fn route(&mut self, source: SourceIndex, topic_partition: &TopicPartition, decoded: Decoded) {
        let partitions = self.partitions();
        let of = |key: &Option<Key>| key.as_ref().map(|key| partition_of(key.0.as_bytes(), partitions));
        let change = &decoded.change;
        let (owner, before) = (of(&change.key), of(&change.key_before));
        let find = self.plan.sources[source].find_rows;
        let anywhere = match &change.operation {
            Operation::Delete { .. } => change.key.is_none(),
            Operation::Upsert { row_before, .. } => row_before.is_some() || self.key_may_change[source],
        };
        if find && anywhere {
            let row = self.row_before(source, change);
            for partition in (0..partitions).filter(|partition| Some(*partition) != owner) {
                let operation = Operation::Delete { row: row.clone() };
                let gone = Change { key: None, key_before: None, operation, ..(**change).clone() };
                self.blocks[partition as usize].push(source, topic_partition, gone.into(), &decoded.origin);
            }
        } else if let Some(before) = before.filter(|before| Some(*before) != owner) {
            self.blocks[before as usize].push(source, topic_partition, change.clone(), &decoded.origin);
        }
        if let Some(owner) = owner {
            self.blocks[owner as usize].push(source, topic_partition, decoded.change, &decoded.origin);
        }
    }

    fn row_before(&self, source: SourceIndex, change: &Change) -> Box<[Value]> {
        match &change.operation {
            Operation::Delete { row } | Operation::Upsert { row_before: Some(row), .. } => row.clone(),
            Operation::Upsert { columns, .. } => self.plan.catalog.sources[source].row_id(columns),
        }
    }

    /// The blocks that have lines, each with its partition; begins new ones. When they are written, and with which
    /// topologies, is for the caller to say.
    pub fn take(&mut self) -> Vec<(i32, Block)> {
        let partitions = self.partitions();
        let blocks = self.blocks.iter_mut().map(|builder| Block { partitions, ..std::mem::take(builder).finish() });
        (0..).zip(blocks).filter(|(_, block)| !block.entries.is_empty()).collect()
    }
}

fn at_lane(entry: Entry, topic_partition: usize) -> Entry {
    match entry {
        Entry::Mark(mark) => Entry::Mark(Mark { topic_partition, ..mark }),
        Entry::Stall { after_us, .. } => Entry::Stall { topic_partition, after_us },
        Entry::Gap(gap) => Entry::Gap(Gap { topic_partition, ..gap }),
        Entry::Snapshot { run, .. } => Entry::Snapshot { topic_partition, run },
        other => other,
    }
}

/// A block in the making.
#[derive(Default)]
struct Builder {
    block: Block,
    lanes: BTreeMap<(SourceIndex, TopicPartition), usize>,
    /// Events that were counted, by topic-partition and transaction.
    counted: BTreeMap<(usize, TransactionId), Numbers>,
}

impl Builder {
    fn finish(self) -> Block {
        let Builder { mut block, counted, .. } = self;
        let line =
            |((topic_partition, transaction), numbers)| Entry::Counted { topic_partition, transaction, numbers };
        block.entries.extend(counted.into_iter().map(line));
        block
    }

    fn lane(&mut self, source: SourceIndex, topic_partition: &TopicPartition) -> usize {
        let id = (source, topic_partition.clone());
        if let Some(index) = self.lanes.get(&id) {
            return *index;
        }
        let index = self.block.topic_partitions.len();
        self.block.topic_partitions.push(id.clone());
        self.lanes.insert(id, index);
        index
    }

    fn push(
        &mut self,
        source: SourceIndex,
        topic_partition: &TopicPartition,
        mut change: Box<Change>,
        origin: &Origin,
    ) {
        change.origin = match self.block.origins.iter().position(|known| known == origin) {
            Some(index) => index,
            None => {
                self.block.origins.push(origin.clone());
                self.block.origins.len() - 1
            }
        };
        change.topic_partition = self.lane(source, topic_partition);
        self.block.entries.push(Entry::Change(change));
    }
}
