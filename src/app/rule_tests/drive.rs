//! Drives a story through the very function that judges in production, over a store in memory.
//!
//! Must not know: YAML, what is expected. Each source has one topic of one partition; each step is one block of the
//! changes log.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::story::{RowChange, Step, Story, Verb};
use crate::adapters::debezium::key_of;
use crate::adapters::debezium::shape::ConnectorKind;
use crate::app::diagnostic::Diagnostic;
use crate::app::settings::Settings;
use crate::domain::change::{
    Block, Change, Entry, Key, Mark, Operation, Origin, Position, Proof, RunId, SourceTopic, TopicPartition, Topology,
};
use crate::domain::instant::Instant;
use crate::domain::record::{Content, Discrepancy, Record};
use crate::domain::routing::Ownership;
use crate::domain::rule::Plan;
use crate::domain::value::Value;
use crate::task::reconcile::{Limits, Task};
use crate::task::store::MemoryStore;

/// Between two transactions' positions there is room for late ones.
const STRIDE: u64 = 1000;

/// The first known instant lies this much before the first step, microseconds.
const BEFORE: i64 = 1_000_000;

/// What a connector has told so far.
#[derive(Clone, Debug, Default)]
struct Teller {
    transaction: u64,
    late: u64,
    last: Option<Instant>,
}

/// A story under way.
pub struct Driver<'s> {
    settings: &'s Settings,
    plan: Arc<Plan>,
    task: Task<MemoryStore>,
    /// For each source, its rows by primary key.
    tables: Vec<BTreeMap<Vec<Value>, Box<[Value]>>>,
    /// For each source, the next offset of its topic.
    offsets: Vec<i64>,
    tellers: Vec<Teller>,
    complete: Vec<Instant>,
    next_block: i64,
    /// True where the task is closed and opened again after each step.
    restarts: bool,
    /// Said since the last [`Driver::said`].
    said: Vec<Record>,
    records: Vec<Record>,
    open: BTreeMap<Key, Vec<Discrepancy>>,
    #[cfg(test)]
    pub blocks: Vec<Block>,
}

impl<'s> Driver<'s> {
    /// Begins a story: its snapshot, then every source's history known up to just before the first step.
    pub fn begin(
        settings: &'s Settings,
        plan: &Arc<Plan>,
        story: &Story,
        restarts: bool,
    ) -> Result<Driver<'s>, Diagnostic> {
        let instants =
            story.steps.iter().flat_map(|step| step.at.into_iter().chain(step.complete.iter().map(|c| c.1)));
        let start = instants.min().unwrap_or(Instant(0)).plus(-BEFORE);
        let sources = plan.sources.len();
        let mut driver = Driver {
            settings,
            plan: Arc::clone(plan),
            task: open(plan, MemoryStore::default()),
            tables: vec![BTreeMap::new(); sources],
            offsets: vec![0; sources],
            tellers: vec![Teller::default(); settings.connectors.len()],
            complete: vec![start; sources],
            next_block: 0,
            restarts,
            said: Vec::new(),
            records: Vec::new(),
            open: BTreeMap::new(),
            #[cfg(test)]
            blocks: Vec::new(),
        };
        let mut block = driver.block();
        block.entries.push(Entry::Rules(plan.rule_set()));
        for row in &story.snapshot {
            let change = driver.change(row, start, None)?;
            block.entries.push(Entry::Change(Box::new(change)));
        }
        for topic_partition in 0..sources {
            block.entries.push(Entry::Mark(Mark { topic_partition, time: start, proof: None, counted: false }));
        }
        driver.apply(block);
        Ok(driver)
    }

    /// Lives through a step: its changes, then what becomes known.
    pub fn step(&mut self, step: &Step) -> Result<(), Diagnostic> {
        let mut block = self.block();
        if let Some(at) = step.at {
            self.changes(step, at, &mut block)?;
        }
        for (source, time) in &step.complete {
            if *time < self.complete[*source] {
                let name = &self.plan.catalog.sources[*source].name;
                let known = self.complete[*source];
                return Err(step.place.fault(format!("the history of \"{name}\" is already complete up to {known}")));
            }
            self.complete[*source] = *time;
            let connector = self.plan.sources[*source].connector;
            let proof = Proof { position: self.next_position(connector), run: RunId::default() };
            block.entries.push(Entry::Mark(Mark {
                topic_partition: *source,
                time: *time,
                proof: Some(proof),
                counted: false,
            }));
        }
        let replayed = self.task.counts().replayed;
        self.apply(block);
        if self.task.counts().replayed > replayed {
            let fault =
                step.place.fault("a late change comes after newer changes of its source, as a repetition would");
            return Err(fault.hint("Tell late changes before newer ones of the same source."));
        }
        Ok(())
    }

    /// What was said since it was last asked for, without heartbeats.
    pub fn said(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.said)
    }

    /// Every record of the story so far, of every kind.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// What is open now.
    pub fn open(&self) -> impl Iterator<Item = &Discrepancy> {
        self.open.values().flatten()
    }

    fn changes(&mut self, step: &Step, at: Instant, block: &mut Block) -> Result<(), Diagnostic> {
        let mut positions: BTreeMap<usize, Position> = BTreeMap::new();
        for (row, change) in (1..).zip(&step.changes) {
            let connector = self.plan.sources[change.source].connector;
            self.check_time(step, change, at)?;
            let position = match positions.get(&connector) {
                Some(position) => Position { row: position.transaction + row, ..*position },
                None if step.late => self.late_position(connector),
                None => self.next_position(connector),
            };
            positions.insert(connector, position);
            let change = self.change(change, at, Some(position))?;
            block.entries.push(Entry::Change(Box::new(change)));
        }
        for connector in positions.into_keys() {
            let teller = &mut self.tellers[connector];
            teller.last = teller.last.max(Some(at));
        }
        Ok(())
    }

    /// Commit times rise, and do not fall into history that is complete.
    fn check_time(&self, step: &Step, change: &RowChange, at: Instant) -> Result<(), Diagnostic> {
        let connector = self.plan.sources[change.source].connector;
        let settings = &self.settings.connectors[connector];
        let name = &self.plan.catalog.sources[change.source].name;
        let complete = self.complete[change.source];
        if step.late && at > complete {
            return Err(change
                .place
                .fault(format!("the change is not late: \"{name}\" is complete up to {complete} only")));
        }
        if step.late || !settings.commit_time {
            return Ok(());
        }
        if at <= complete {
            let fault = change.place.fault(format!("\"{name}\" is already complete up to {complete}"));
            return Err(fault.hint("Say late: true if the promise is to be broken."));
        }
        match self.tellers[connector].last {
            Some(last) if at < last => {
                let message =
                    format!("connector \"{}\" has already told of {last}: commit times rise", settings.name);
                Err(change.place.fault(message))
            }
            _ => Ok(()),
        }
    }

    fn next_position(&mut self, connector: usize) -> Position {
        let teller = &mut self.tellers[connector];
        teller.transaction += STRIDE;
        teller.late = 0;
        Position { transaction: teller.transaction.into(), row: teller.transaction.into() }
    }

    /// A position before the last promise's proof.
    fn late_position(&mut self, connector: usize) -> Position {
        let teller = &mut self.tellers[connector];
        teller.late += 1;
        let transaction = teller.transaction.saturating_sub(STRIDE) + teller.late;
        Position { transaction: transaction.into(), row: transaction.into() }
    }

    /// Changes the source's table, and says so as its connector would.
    fn change(&mut self, told: &RowChange, at: Instant, position: Option<Position>) -> Result<Change, Diagnostic> {
        let table = &self.plan.catalog.sources[told.source];
        let named = |column: &usize| told.columns[*column].clone().unwrap_or(Value::Null);
        let row: Vec<Value> = table.primary_key.iter().map(named).collect();
        let rows = &mut self.tables[told.source];
        let before = rows.get(&row).cloned();
        let find_rows = self.plan.sources[told.source].find_rows;
        let key_of_row = |columns: &[Value]| key_of(&columns[table.key]);
        let key_before = before.as_deref().and_then(key_of_row);
        let (operation, key, key_before) = match (told.verb, before) {
            (Verb::Insert, Some(_)) => {
                return Err(told.place.fault(format!("\"{}\" already has a row with this primary key", table.name)));
            }
            (Verb::Update | Verb::Delete, None) => {
                return Err(told.place.fault(format!("\"{}\" has no row with this primary key", table.name)));
            }
            (Verb::Delete, Some(_)) => {
                rows.remove(&row);
                let key = key_before.filter(|_| !find_rows);
                (Operation::Delete { row: row.into() }, key, None)
            }
            (Verb::Insert | Verb::Update, before) => {
                let mut columns = before.unwrap_or_else(|| vec![Value::Null; table.columns.len()].into());
                let mut unchanged = Vec::new();
                for (index, value) in (0..).zip(&told.columns) {
                    match value {
                        Some(Value::Unknown) if told.verb == Verb::Update => unchanged.push(index),
                        Some(value) => columns[usize::from(index)] = value.clone(),
                        None => {}
                    }
                }
                let key = key_of_row(&columns);
                rows.insert(row, columns.clone());
                for index in &unchanged {
                    columns[usize::from(*index)] = Value::Unknown;
                }
                let moved = key_before.filter(|before| Some(before) != key.as_ref() && !find_rows);
                (Operation::Upsert { columns, unchanged: unchanged.into(), row_before: None }, key, moved)
            }
        };
        let offset = self.offsets[told.source];
        self.offsets[told.source] += 1;
        Ok(Change {
            topic_partition: told.source,
            offset,
            source_time: at,
            position,
            fingerprint: 0,
            origin: told.source,
            run: RunId::default(),
            transaction: position.map_or(0, |position| position.transaction as u64),
            key,
            key_before,
            operation,
            requeued: None,
        })
    }

    fn block(&self) -> Block {
        let sources = &self.plan.catalog.sources;
        let topic = |source: usize| -> Arc<str> { format!("story.{}", sources[source].name).into() };
        let origin = |source: usize| match self.settings.sources[source].shape.connector.kind {
            ConnectorKind::Postgresql => Origin::Lsn,
            ConnectorKind::Mysql => Origin::Binlog("mysql-bin.".into()),
            ConnectorKind::Mariadb => Origin::Gtid("0-1-".into()),
            ConnectorKind::Sqlserver => Origin::SqlServer,
            ConnectorKind::Oracle => Origin::Scn,
            ConnectorKind::Mongodb => Origin::ClusterTime,
        };
        let indexes = 0..sources.len();
        Block {
            // A story has no clock that its source times could be ahead of.
            written_at: Instant::MAX,
            partitions: Ownership::WHOLE.partitions,
            topologies: indexes
                .clone()
                .map(|source| Topology {
                    source,
                    topics: vec![SourceTopic { name: topic(source), partitions: 1, id: 0 }],
                })
                .collect(),
            topic_partitions: indexes
                .clone()
                .map(|source| (source, TopicPartition { topic: topic(source), partition: 0 }))
                .collect(),
            origins: indexes.map(origin).collect(),
            entries: Vec::new(),
        }
    }

    fn apply(&mut self, block: Block) {
        #[cfg(test)]
        self.blocks.push(block.clone());
        let mut records = self.task.apply(self.next_block, block).expect("a store in memory does not fail");
        while self.task.is_settling() {
            records.extend(self.task.proceed().expect("a store in memory does not fail"));
        }
        self.next_block += 1;
        if self.restarts {
            self.task.flush().expect("a store in memory does not fail");
            let task = std::mem::replace(&mut self.task, open(&self.plan, MemoryStore::default()));
            self.task = open(&self.plan, task.into_store());
        }
        self.records.extend(records.iter().cloned());
        for record in records {
            match &record.content {
                Content::Open { key, open, .. } => {
                    self.open.insert(key.clone(), open.clone());
                }
                Content::Heartbeat { .. } => {}
                _ => self.said.push(record),
            }
        }
    }
}

fn open(plan: &Arc<Plan>, store: MemoryStore) -> Task<MemoryStore> {
    Task::open(Arc::clone(plan), Ownership::WHOLE, store, Limits::memory(1 << 20))
        .expect("the store was written for this plan")
}
