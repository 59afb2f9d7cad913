//! Stories as a deployment would leave them: their changes log and what was published of it, in a copy. For tests.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::account::Account;
use super::desk::Desk;
use super::explain::{Question, explain};
use super::replay::{self, Summary, replay};
use crate::adapters::copy::{About, CopyReader, CopyWriter, Stored, VERSION};
use crate::adapters::records::chain::{self, PREVIOUS_HEADER};
use crate::adapters::records::{Message, Output};
use crate::adapters::rocksdb::{RocksStore, SharedMemory};
use crate::app::pen::Pen;
use crate::app::rule_tests::as_logs;
use crate::app::settings::Settings;
use crate::domain::change::{Block, Entry, Key};
use crate::domain::instant::Instant;
use crate::domain::routing::Ownership;
use crate::domain::rule::RuleSet;
use crate::task::reconcile::{Limits, Task};
use crate::task::store::MemoryStore;
use crate::task::wire::block;

/// A member writes a block so long after what it tells happened, microseconds.
const DELAY_US: i64 = 1_500_000;

/// One deployment's changes log and discrepancy topic, of one partition each.
pub struct Deployment {
    pub settings: Settings,
    pub blocks: Vec<Block>,
    folder: TempDir,
}

/// The deployment of each story of a file, by name.
pub fn deployments(path: &Path) -> Vec<(String, Deployment)> {
    let (settings, logs) = as_logs(path);
    logs.into_iter().map(|(name, blocks)| (name, Deployment::new(settings.clone(), blocks))).collect()
}

impl Deployment {
    pub fn new(mut settings: Settings, mut blocks: Vec<Block>) -> Deployment {
        settings.topics.partitions = 1;
        let mut clock = Instant::MIN;
        for block in &mut blocks {
            let told = block.entries.iter().filter_map(|entry| match entry {
                Entry::Change(change) => Some(change.source_time),
                Entry::Mark(mark) => Some(mark.time),
                _ => None,
            });
            clock = told.max().map_or(clock, |told| clock.max(told.plus(DELAY_US)));
            block.written_at = clock;
        }
        let deployment = Deployment { settings, blocks, folder: tempfile::tempdir().expect("a temporary folder") };
        deployment.write_log(0);
        deployment.publish(&published(&deployment.settings, &deployment.blocks));
        deployment
    }

    /// Writes the changes log; retention has removed what lies before `start`.
    pub fn write_log(&self, start: usize) {
        let catalog = &self.settings.plan.catalog;
        let record = |(offset, one): (usize, &Block)| Stored {
            offset: offset as i64,
            value: Some(block::encode(one, catalog)),
            ..Stored::default()
        };
        let all: Vec<Stored> = self.blocks.iter().enumerate().skip(start).map(record).collect();
        self.write(&self.settings.topics.changes, start as i64, &all);
    }

    /// Writes the discrepancy topic.
    pub fn publish(&self, records: &[Stored]) {
        self.write(&self.settings.topics.discrepancies, 0, records);
    }

    fn write(&self, topic: &str, start: i64, records: &[Stored]) {
        let end = records.last().map_or(start, |last| last.offset + 1);
        let about = About {
            evenkeel_copy: VERSION,
            cluster: "stories".into(),
            topic: topic.to_owned(),
            partition: 0,
            start,
            end,
        };
        let mut writer = CopyWriter::create(self.folder.path(), &about).expect("a copy can be written");
        records.iter().for_each(|record| writer.add(record).expect("it can be written"));
        writer.end().expect("it can be ended");
    }

    /// What stands in the discrepancy topic.
    pub fn published(&self) -> Vec<Stored> {
        let topic = &self.settings.topics.discrepancies;
        let mut reader = CopyReader::open(self.folder.path(), topic, 0).expect("it is whole");
        let mut records = Vec::new();
        while let Some(record) = reader.read().expect("it can be read") {
            records.push(record);
        }
        records
    }

    pub fn desk(&self, state: Option<&Path>) -> Desk {
        let desk = Desk::open(self.settings.clone(), Some(self.folder.path()), state);
        desk.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The state after so many blocks, as a folder of states.
    pub fn state(&self, blocks: usize) -> TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = RocksStore::open(&folder.path().join("0"), &SharedMemory::new(1 << 20)).expect("it opens");
        let mut task = Task::open(Arc::clone(&self.settings.plan), Ownership::WHOLE, store, Limits::memory(1 << 20))
            .expect("it is empty");
        for (offset, block) in self.blocks.iter().enumerate().take(blocks) {
            task.apply(offset as i64, block.clone()).expect("it applies");
            assert!(!task.is_settling(), "stories are short");
        }
        task.flush().expect("it is written");
        folder
    }

    pub fn explain(&self, key: &str, at: Option<Instant>, rule: Option<&str>) -> Account {
        let question = Question { key: Key(key.into()), at, rule: rule.map(str::to_owned) };
        explain(&self.desk(None), &question).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What a replay prints, and its summary.
    pub fn replay(&self, rules: Option<RuleSet>, diff: bool) -> (Vec<String>, Summary) {
        let question = replay::Question { from: Instant::MIN, to: Instant::MAX, rules, diff };
        ask(&self.desk(None), &question)
    }
}

/// What a replay prints, and its summary.
pub fn ask(desk: &Desk, question: &replay::Question) -> (Vec<String>, Summary) {
    let mut lines = Vec::new();
    let summary = replay(desk, question, |line| {
        lines.push(line.to_owned());
        Ok(())
    });
    (lines, summary.unwrap_or_else(|error| panic!("{error}")))
}

/// What the product publishes of a log, as its topic has it: every fourth offset is a transaction's end.
fn published(settings: &Settings, blocks: &[Block]) -> Vec<Stored> {
    let plan = Arc::clone(&settings.plan);
    let limits = Limits::memory(1 << 20);
    let mut task = Task::open(plan, Ownership::WHOLE, MemoryStore::default(), limits).expect("it is empty");
    let mut pen = Pen::new(settings);
    let mut records: Vec<Stored> = Vec::new();
    for (offset, block) in blocks.iter().enumerate() {
        let mut said = task.apply(offset as i64, block.clone()).expect("a store in memory does not fail");
        while task.is_settling() {
            said.extend(task.proceed().expect("a store in memory does not fail"));
        }
        for record in said {
            let message = pen.message(task.plan(), 0, &record);
            if message.output == Output::Discrepancies {
                let offset = records.last().map_or(0, |last| last.offset + 1 + last.offset % 4 / 3);
                records.push(chained(message, offset, records.last()));
            }
        }
    }
    records
}

fn chained(message: Message, offset: i64, before: Option<&Stored>) -> Stored {
    let text = |(name, value): (&'static str, String)| (name.to_owned(), Some(value.into_bytes()));
    let mut headers: Vec<_> = message.headers.into_iter().map(text).collect();
    headers.extend(before.map(chain::hash_of).map(|hash| (PREVIOUS_HEADER.to_owned(), Some(hash.into_bytes()))));
    Stored { offset, key: message.key.map(String::into_bytes), value: message.body, headers }
}
