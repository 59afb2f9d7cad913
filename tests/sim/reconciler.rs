//! One partition's task under simulation, and what it published. The code is the product's own; only the disk and the
//! output topics are played.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evenkeel::domain::catalog::Catalog;
use evenkeel::domain::change::{Key, TopicPartition};
use evenkeel::domain::key_state::{Event as Said_, Reason};
use evenkeel::domain::record::{Cause, Content, Discrepancy, Record, SideRow};
use evenkeel::domain::routing::Ownership;
use evenkeel::domain::rule::Plan;
use evenkeel::domain::value::Value;
use evenkeel::task::reconcile::{Limits, Task};
use evenkeel::task::store::MemoryStore;
use evenkeel::task::wire::block;

use super::life::{Event, Said, Sided};
use super::product::Logged;
use super::rules;
use super::world::{Cell, Cells, Micros};

/// The topic-partitions that lanes stand for, each with its source.
pub type Topics = [(Option<usize>, TopicPartition)];

pub struct Reconciler {
    plan: Arc<Plan>,
    ownership: Ownership,
    limits: Limits,
    task: Task<MemoryStore>,
    pub published: Vec<Record>,
    unpublished: Vec<Record>,
    pub repeated: u64,
    pub replayed: u64,
    pub epochs: u64,
    /// How often it died; what it had counted may have been counted again.
    pub deaths: u64,
}

impl Reconciler {
    /// The rules of the plan do not matter.
    pub fn open(plan: &Arc<Plan>, ownership: Ownership, limits: Limits) -> Reconciler {
        let task = Task::open(Arc::clone(plan), ownership, MemoryStore::default(), limits);
        Reconciler {
            plan: Arc::clone(plan),
            ownership,
            limits,
            task: task.expect("an empty store can be opened"),
            published: Vec::new(),
            unpublished: Vec::new(),
            repeated: 0,
            replayed: 0,
            epochs: 0,
            deaths: 0,
        }
    }

    pub fn settled(&self) -> Option<Micros> {
        self.task.settled().map(|settled| settled.0)
    }

    pub fn count(&mut self) {
        let counts = self.task.counts();
        self.repeated += counts.repeated;
        self.replayed += counts.replayed;
        self.epochs += counts.epochs;
    }

    /// Takes a step of a block, or the next block. False at the end of the log.
    pub fn apply(&mut self, log: &[Logged], catalog: &Catalog) -> bool {
        if self.task.is_settling() {
            self.unpublished.extend(self.task.proceed().expect("a store in memory does not fail"));
            return true;
        }
        let offset = self.task.next_offset();
        let Some(logged) = log.get(offset as usize) else { return false };
        let block = block::decode(&logged.bytes, catalog).expect("what was encoded can be decoded");
        self.unpublished.extend(self.task.apply(offset, block).expect("a store in memory does not fail"));
        true
    }

    /// What was published before the task died is not published again: the output's tail says how far it came.
    pub fn publish(&mut self) {
        let tail: Option<Cause> = self.published.last().map(|record| record.cause);
        let new = self.unpublished.drain(..).filter(|record| tail.is_none_or(|tail| record.cause > tail));
        self.published.extend(new);
    }

    pub fn has_published(&self) -> bool {
        self.unpublished.is_empty()
    }

    pub fn flush(&mut self) {
        self.task.flush().expect("a store in memory does not fail");
    }

    pub fn kill(&mut self) {
        self.count();
        self.deaths += 1;
        self.unpublished.clear();
        let open = |store| Task::open(Arc::clone(&self.plan), self.ownership, store, self.limits);
        let nothing = open(MemoryStore::default()).expect("an empty store can be opened");
        let store = std::mem::replace(&mut self.task, nothing).into_store();
        self.task = open(store).expect("what was written can be read");
    }

    /// What was said of each order, in order.
    pub fn said(&self, topics: &Topics) -> BTreeMap<i64, Vec<Said>> {
        let mut said: BTreeMap<i64, Vec<Said>> = BTreeMap::new();
        for record in &self.published {
            if let Content::Discrepancy(discrepancy) = &record.content {
                let one = translate(topics, record.cause, discrepancy);
                said.entry(one.key).or_default().push(one);
            }
        }
        said
    }

    /// What is open by the last record of each order on the open topic.
    pub fn open_now(&self) -> BTreeSet<(i64, &'static str, Cells)> {
        let mut last: BTreeMap<i64, Vec<(&'static str, Cells)>> = BTreeMap::new();
        for record in &self.published {
            if let Content::Open { key, open, .. } = &record.content {
                let each = open.iter().map(|one| (rules::id(&one.rule), cells(&one.identity)));
                last.insert(number(key), each.collect());
            }
        }
        let each = |(key, open): (i64, Vec<(&'static str, Cells)>)| {
            open.into_iter().map(move |(rule, identity)| (key, rule, identity))
        };
        last.into_iter().flat_map(each).collect()
    }
}

fn translate(topics: &Topics, cause: Cause, told: &Discrepancy) -> Said {
    let side = |row: &SideRow| Sided {
        cells: cells(&row.columns),
        time: row.source_time.0,
        position: row.position.clone(),
        lane: topics
            .iter()
            .position(|(_, known)| known.topic == row.topic && known.partition == row.partition)
            .expect("it is a lane"),
        offset: row.offset,
    };
    let sides: Vec<Vec<Sided>> = told.sides.iter().map(|rows| rows.iter().map(side).collect()).collect();
    Said {
        key: number(&told.key),
        cause: cause.offset,
        event: match told.event {
            Said_::Opened => Event::Opened,
            Said_::Updated => Event::Updated,
            Said_::Escalated => Event::Escalated,
            Said_::Resolved(Reason::Converged) => Event::Converged,
            Said_::Resolved(Reason::Deleted) => Event::Deleted,
            Said_::Resolved(Reason::LateArrival) => Event::Late,
            Said_::Resolved(Reason::RuleRemoved) => Event::Removed,
        },
        rule: rules::id(&told.rule),
        identity: cells(&told.identity),
        since: told.since.0,
        lineage: told.lineage.0,
        at: told.at.0,
        settled: told.settled.0,
        revision: told.revision,
        flap_count: told.flap_count,
        escalated: told.escalated,
        evidence: told.evidence.iter().map(|row| cells(row)).collect(),
        sides: sides.try_into().expect("there are three sources"),
    }
}

fn number(key: &Key) -> i64 {
    key.0.parse().expect("orders have numbers")
}

fn cells(values: &[Value]) -> Cells {
    let cell = |value: &Value| match value {
        Value::Unknown => Cell::Unknown,
        Value::Null => Cell::Null,
        Value::Int(number) => Cell::Int(*number),
        Value::Decimal(decimal) => Cell::Int(decimal.to_plain_string().parse().expect("sums of integers")),
        Value::Text(text) => Cell::Text(text.to_string()),
        other => panic!("{other:?} is not simulated"),
    };
    values.iter().map(cell).collect()
}
