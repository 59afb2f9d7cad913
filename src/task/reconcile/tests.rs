//! Bounds that the simulator's small worlds do not reach: memory while a source stands still, and while it catches up.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Limits, StateError, Task};
use crate::domain::catalog::{Catalog, Column, SourceTable};
use crate::domain::change::{
    Block, Change, Entry, GapCause, Key, Mark, Operation, Origin, Position, Proof, RunId, SourceTopic,
    TopicPartition, Topology,
};
use crate::domain::instant::Instant;
use crate::domain::key_state::Event;
use crate::domain::record::{Content, SourceNews};
use crate::domain::routing::Ownership;
use crate::domain::rule::{Definition, Plan, Rule, SourcePlan};
use crate::domain::sql::Query;
use crate::domain::value::{Type, Value};
use crate::task::store::MemoryStore;

const PAID_WITHOUT_PAYMENT: &str = "SELECT o.order_id, o.status FROM orders o LEFT JOIN payments p ON p.order_id = \
     o.order_id WHERE o.status LIKE 'PAID%' AND p.id IS NULL";

pub fn plan() -> Plan {
    let column = |name: &str, ty| Column { name: name.to_owned(), ty };
    let orders = vec![column("order_id", Type::Int), column("status", Type::Text)];
    let payments = vec![column("id", Type::Int), column("order_id", Type::Int)];
    let table = |name: &str, columns, key| SourceTable { name: name.to_owned(), columns, key, primary_key: vec![0] };
    let catalog =
        Catalog { sources: vec![table("orders", orders, 0), table("payments", payments, 1)], lookups: Vec::new() };
    let definition = Definition {
        id: "paid-without-payment".into(),
        version: "1".into(),
        sql: PAID_WITHOUT_PAYMENT.into(),
        grace_us: 0,
        escalations: Vec::new(),
        keep_open_for_us: 0,
        flap_window_us: 0,
        identity: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    };
    let query = Query::compile(PAID_WITHOUT_PAYMENT, &catalog).expect("the query is sound");
    let source =
        |connector| SourcePlan { connector, commit_time: connector == 0, find_rows: false, partial_history: false };
    Plan {
        reconciliation: "test".into(),
        catalog,
        sources: vec![source(0), source(1)],
        rules: vec![Rule { definition, query }],
        heartbeat_us: 1_000_000,
    }
}

/// A block in which both sources have one topic-partition each.
pub fn block(entries: Vec<Entry>) -> Block {
    let lane = |topic: &str| TopicPartition { topic: topic.into(), partition: 0 };
    let topology = |source, topic: &str| Topology {
        source,
        topics: vec![SourceTopic { name: topic.into(), partitions: 1, id: 0 }],
    };
    Block {
        written_at: Instant::MAX,
        partitions: 1,
        topologies: vec![topology(0, "orders"), topology(1, "payments")],
        topic_partitions: vec![(0, lane("orders")), (1, lane("payments"))],
        origins: vec![Origin::Lsn],
        entries,
    }
}

pub fn mark(topic_partition: usize, time: i64) -> Entry {
    let proof = Proof { position: Position { transaction: time as u128 + 1, row: 0 }, run: RunId::default() };
    Entry::Mark(Mark { topic_partition, time: Instant(time), proof: Some(proof), counted: false })
}

/// The number-th order: paid at that instant.
pub fn paid(number: i64) -> Entry {
    let columns = [Value::Int(number), Value::text(format!("PAID {}", "x".repeat(100)))].into();
    Entry::Change(Box::new(Change {
        topic_partition: 0,
        offset: number,
        source_time: Instant(number),
        position: Some(Position { transaction: number as u128, row: 1 }),
        fingerprint: 0,
        origin: 0,
        run: RunId::default(),
        transaction: number as u64,
        key: Some(Key(number.to_string().into())),
        key_before: None,
        operation: Operation::Upsert { columns, unchanged: [].into(), row_before: None },
        requeued: None,
    }))
}

/// A task that is flushed when it asks for it, and what it took.
struct Watched {
    task: Task<MemoryStore>,
    offset: i64,
    most_bytes: usize,
    most_records: usize,
    opened: u64,
}

impl Watched {
    fn apply(&mut self, block: Block) {
        let mut records = self.task.apply(self.offset, block).expect("a store in memory does not fail");
        self.offset += 1;
        loop {
            self.most_bytes = self.most_bytes.max(self.task.memory_bytes());
            self.most_records = self.most_records.max(records.len());
            let opened =
                |content: &Content| matches!(content, Content::Discrepancy(one) if one.event == Event::Opened);
            self.opened += records.iter().filter(|record| opened(&record.content)).count() as u64;
            if self.task.wants_flush() {
                self.task.flush().expect("a store in memory does not fail");
            }
            if !self.task.is_settling() {
                return;
            }
            records = self.task.proceed().expect("a store in memory does not fail");
        }
    }
}

#[test]
fn memory_is_bounded_however_long_a_source_stands_still() {
    const BLOCKS: i64 = 50;
    const CHANGES: i64 = 1_000;
    let plan = Arc::new(plan());
    let limits = Limits { memory_bytes: 1 << 20, step: 512 };
    let task = Task::open(Arc::clone(&plan), Ownership::WHOLE, MemoryStore::default(), limits);
    let task = task.expect("an empty store can be opened");
    let mut watched = Watched { task, offset: 0, most_bytes: 0, most_records: 0, opened: 0 };
    watched.apply(block(vec![Entry::Rules(plan.rule_set()), mark(0, 0), mark(1, 0)]));
    for number in 0..BLOCKS {
        let changes = (1 + number * CHANGES..=(number + 1) * CHANGES).map(paid);
        watched.apply(block(changes.chain([mark(0, (number + 1) * CHANGES)]).collect()));
    }
    assert_eq!(watched.opened, 0, "the payments' history is not known");
    assert_eq!(watched.task.waiting(), (BLOCKS * CHANGES) as u64);
    let while_waiting = std::mem::take(&mut watched.most_bytes);
    watched.apply(block(vec![mark(1, BLOCKS * CHANGES)]));
    assert_eq!((watched.opened, watched.task.waiting()), ((BLOCKS * CHANGES) as u64, 0));
    // All of it would take some 20 MiB. Beside the limit there may be one block, and a chunk of each topic-partition.
    for (when, most) in [("while it waits", while_waiting), ("while it catches up", watched.most_bytes)] {
        assert!(most < 3 << 20, "{when}: {most} bytes");
    }
    // What one step may say: of each of its keys an opening and what is open, and a heartbeat.
    assert!(watched.most_records <= 2 * (2 * 512 + 1), "{} records in one step", watched.most_records);
}

/// While nobody read it a topic was deleted and created anew, and the brokers forgot how far it had been read: its id tells.
#[test]
fn a_topic_that_was_created_anew_is_told_by_its_id() {
    let plan = Arc::new(plan());
    let limits = Limits { memory_bytes: 1 << 20, step: 512 };
    let task = Task::open(Arc::clone(&plan), Ownership::WHOLE, MemoryStore::default(), limits);
    let mut task = task.expect("an empty store can be opened");
    let mut offset = 0;
    let mut apply = |id: u64, entries: Vec<Entry>| -> Vec<SourceNews> {
        let mut block = block(entries);
        block.topologies[0].topics[0].id = id;
        offset += 1;
        let mut records = task.apply(offset, block).expect("it can be applied");
        while task.is_settling() {
            records.extend(task.proceed().expect("a store in memory does not fail"));
        }
        let news = records.into_iter().filter_map(|record| match record.content {
            Content::Source(notice) => Some(notice.news),
            _ => None,
        });
        news.collect()
    };
    assert_eq!(apply(1, (1..50).map(paid).chain([mark(0, 50), mark(1, 50)]).collect()), []);
    let anew = |number| match paid(number) {
        Entry::Change(change) => Entry::Change(Box::new(Change { offset: change.offset - 60, ..*change })),
        other => other,
    };
    let said = apply(2, (60..70).map(anew).chain([mark(0, 70), mark(1, 70)]).collect());
    let [SourceNews::Gap { topic_partition, gap }] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!((&*topic_partition.topic, gap.cause, gap.topic_id), ("orders", GapCause::Recreated, 2));
    assert_eq!(apply(1, vec![mark(1, 80)]), [], "a member that is behind");
    assert_eq!(task.settled(), Some(Instant(50)), "its promises are not believed");
    assert_eq!(task.counts().changes, 49 + 10, "what came since was taken");
}

/// Whoever shares keys among another number of partitions would look for a key's changes where they are not.
#[test]
fn another_number_of_partitions_is_refused() {
    let plan = Arc::new(plan());
    let limits = Limits { memory_bytes: 1 << 20, step: 512 };
    let wider = Ownership { partition: 0, partitions: 2 };
    let mut task =
        Task::open(Arc::clone(&plan), Ownership::WHOLE, MemoryStore::default(), limits).expect("it is empty");
    let block = |partitions| Block { partitions, ..block(vec![mark(0, 1), mark(1, 1)]) };
    task.apply(0, block(1)).expect("it is one of its own");
    let refused = task.apply(1, block(2));
    assert!(matches!(refused, Err(StateError::OtherPartitions { written: 2, configured: 1 })), "{refused:?}");
    task.flush().expect("a store in memory does not fail");
    let refused = Task::open(plan, wider, task.store().clone(), limits).map(drop);
    assert!(matches!(refused, Err(StateError::OtherPartitions { written: 1, configured: 2 })), "{refused:?}");
}
