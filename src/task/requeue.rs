//! What is to be said again of rows whose records were in quarantine: such a record, and everything that its
//! topic-partition has said of the row since. Applied in that order, at once, it leaves the row as it would be had the
//! record been understood when it came.
//!
//! Must not know: where records come from, who writes.

use std::collections::BTreeMap;

use super::ingest::Decoded;
use crate::domain::change::{Operation, SourceIndex, TopicPartition};
use crate::domain::instant::Instant;
use crate::domain::rule::Plan;
use crate::domain::timeline::{Admission, LaneIndex, Timeline};
use crate::domain::value::Value;

/// A row, by its primary key's values.
type RowId = Box<[Value]>;

/// What a change is to whoever says rows again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is of another row.
    Aside,
    /// It is to be said again.
    Said,
    /// The connector had sent it before, and reconcile dropped it, or would have.
    Replayed,
}

/// The rows of one topic-partition that are to be said again. It is to be shown the topic-partition's changes from so far
/// before the first of the records on that what was sent again is known for that.
pub struct Requeue {
    /// Tells what was sent again, by the law by which reconcile does.
    timeline: Timeline,
    lane: LaneIndex,
    primary_key: Vec<usize>,
    said: BTreeMap<RowId, Vec<Decoded>>,
}

impl Requeue {
    pub fn new(plan: &Plan, source: SourceIndex, of: &TopicPartition) -> Requeue {
        let mut timeline = Timeline::new(&plan.sources);
        let lane = timeline.lane(source, of);
        let primary_key = plan.catalog.sources[source].primary_key.clone();
        Requeue { timeline, lane, primary_key, said: BTreeMap::new() }
    }

    /// Shows the change at an offset, each once, in order; with one that is wanted its row begins to be said again.
    pub fn see(&mut self, offset: i64, decoded: &Decoded, is_wanted: bool) -> Seen {
        let mut change = decoded.change.clone();
        change.offset = offset;
        match self.timeline.admit(self.lane, change, Instant::MAX) {
            Admission::Replayed | Admission::Repeated | Admission::Foreign => return Seen::Replayed,
            Admission::Taken | Admission::Late | Admission::NewEpoch | Admission::Ahead | Admission::Requeued => {}
        }
        let taken = self.timeline.waiting[self.lane].pop().expect("what was taken waits");
        let row = self.row_of(&taken.change.operation);
        if !is_wanted && !self.said.contains_key(&row) {
            return Seen::Aside;
        }
        self.said.entry(row).or_default().push(Decoded { change: taken.change, ..decoded.clone() });
        Seen::Said
    }

    fn row_of(&self, operation: &Operation) -> RowId {
        match operation {
            Operation::Delete { row } => row.clone(),
            Operation::Upsert { columns, .. } => {
                self.primary_key.iter().map(|column| columns[*column].clone()).collect()
            }
        }
    }

    /// What is to be said, in order, no row of it torn: for so many changes at a time, or more. Everything below `until` was
    /// shown.
    pub fn parts(&self, until: i64, size: usize) -> Vec<Vec<Decoded>> {
        let mut parts: Vec<Vec<Decoded>> = Vec::new();
        for row in self.said.values() {
            if parts.last().is_none_or(|last| last.len() >= size) {
                parts.push(Vec::new());
            }
            let last = parts.last_mut().expect("there is one");
            last.extend(row.iter().cloned());
        }
        for part in &mut parts {
            part.sort_by_key(|decoded| decoded.change.offset);
            part.iter_mut().for_each(|decoded| decoded.change.requeued = Some(until));
        }
        parts
    }
}
