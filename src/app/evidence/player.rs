//! Runs the pure function over one partition of the changes log again.
//!
//! Must not know: what is done with what it says. Nothing is published.

use super::EvidenceError;
use super::archive::Records;
use super::desk::Desk;
use crate::adapters::rocksdb::RocksStore;
use crate::domain::change::{Block, Entry};
use crate::domain::instant::Instant;
use crate::domain::record::Record;
use crate::domain::rule::RuleSet;
use crate::task::reconcile::Task;
use crate::task::wire::block;

/// The state is written after so many lines of the log, so that what is not counted as memory stays small, too.
const FLUSH: usize = 100_000;

/// What a step came to.
pub struct Step {
    /// The changes-log offset of its block, and the machine's clock when that was written.
    pub offset: i64,
    pub written_at: Instant,
    pub records: Vec<Record>,
}

/// One partition under replay.
pub struct Player<'d> {
    desk: &'d Desk,
    pub partition: i32,
    pub task: Task<RocksStore>,
    records: Records,
    rules: Option<RuleSet>,
    /// The offset that it began at: 0 with the first block ever, else with a state of what was before.
    pub began: i64,
    /// The block under way.
    block: (i64, Instant),
    /// Lines since the state was written.
    unwritten: usize,
    pub blocks: u64,
    pub lines: u64,
}

impl<'d> Player<'d> {
    pub fn new(
        desk: &'d Desk,
        partition: i32,
        task: Task<RocksStore>,
        records: Records,
        rules: Option<RuleSet>,
    ) -> Player<'d> {
        let began = task.next_offset();
        let block = (began, Instant::MIN);
        Player { desk, partition, task, records, rules, began, block, unwritten: 0, blocks: 0, lines: 0 }
    }

    /// Where the changes log begins and ends.
    pub fn bounds(&self) -> (i64, i64) {
        self.records.bounds()
    }

    /// Applies the next block, or more of one that settles much; `None` after the last.
    pub fn step(&mut self) -> Result<Option<Step>, EvidenceError> {
        if self.desk.is_stopped() {
            return Err(EvidenceError::Stopped);
        }
        if self.task.wants_flush() || self.unwritten > FLUSH {
            self.task.flush()?;
            self.unwritten = 0;
        }
        let records = match self.task.is_settling() {
            true => self.task.proceed()?,
            false => match self.next_block()? {
                Some(block) => self.task.apply(self.block.0, block)?,
                None => return Ok(None),
            },
        };
        let (offset, written_at) = self.block;
        Ok(Some(Step { offset, written_at, records }))
    }

    fn next_block(&mut self) -> Result<Option<Block>, EvidenceError> {
        let Some(record) = self.records.read()? else { return Ok(None) };
        let bytes = record.value.unwrap_or_default();
        let (partition, offset) = (self.partition, record.offset);
        let mut block = block::decode(&bytes, &self.desk.settings.plan.catalog)
            .map_err(|source| EvidenceError::Block { partition, offset, source })?;
        if let Some(rules) = &self.rules {
            block.entries.retain(|entry| !matches!(entry, Entry::Rules(_)));
            if self.blocks == 0 {
                block.entries.insert(0, Entry::Rules(rules.clone()));
            }
        }
        self.block = (offset, block.written_at);
        self.blocks += 1;
        self.lines += block.entries.len() as u64;
        self.unwritten += block.entries.len();
        Ok(Some(block))
    }
}
