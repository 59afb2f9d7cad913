//! What is to be said again of rows whose records were in quarantine: such a record, and everything that its
//! topic-partition has said of the row since. Applied in that order, at once, it leaves the row as it would be had the
//! record been understood when it came.
//!
//! Must not know: where records come from, who writes.

use std::collections::{BTreeMap, BTreeSet};

use super::ingest::Decoded;
use crate::domain::change::Operation;
use crate::domain::value::Value;

/// A row, by its primary key's values.
type RowId = Box<[Value]>;

/// The rows of one topic-partition that are to be said again. It is to be shown the topic-partition from the first of the
/// records on.
pub struct Requeue {
    primary_key: Vec<usize>,
    /// Offsets of records that were in quarantine.
    records: BTreeSet<i64>,
    said: BTreeMap<RowId, Vec<(i64, Decoded)>>,
}

impl Requeue {
    /// `primary_key` are indexes among a row's columns, `records` the offsets of those that were in quarantine.
    pub fn new(primary_key: Vec<usize>, records: BTreeSet<i64>) -> Requeue {
        Requeue { primary_key, records, said: BTreeMap::new() }
    }

    /// Where to begin to read.
    pub fn begins(&self) -> Option<i64> {
        self.records.first().copied()
    }

    /// True where the record at an offset is one that was in quarantine.
    pub fn wants(&self, offset: i64) -> bool {
        self.records.contains(&offset)
    }

    /// Shows the change at an offset, each once, in order. True where it speaks of a row that is to be said again.
    pub fn see(&mut self, offset: i64, decoded: &Decoded) -> bool {
        let row = self.row_of(&decoded.change.operation);
        if !self.wants(offset) && !self.said.contains_key(&row) {
            return false;
        }
        let mut decoded = decoded.clone();
        decoded.change.offset = offset;
        self.said.entry(row).or_default().push((offset, decoded));
        true
    }

    fn row_of(&self, operation: &Operation) -> RowId {
        match operation {
            Operation::Delete { row } => row.clone(),
            Operation::Upsert { columns, .. } => {
                self.primary_key.iter().map(|column| columns[*column].clone()).collect()
            }
        }
    }

    /// For each row, what is to be said of it, in order. Everything below `until` was shown.
    pub fn rows(&self, until: i64) -> impl Iterator<Item = impl Iterator<Item = Decoded>> {
        self.said.values().map(move |changes| {
            changes.iter().map(move |(_, decoded)| {
                let mut decoded = decoded.clone();
                decoded.change.requeued = Some(until);
                decoded
            })
        })
    }
}
