//! What is to be said again of rows whose records were in quarantine: such a record, and everything that its
//! topic-partition has said of the row since. Applied in that order, at once, it leaves the row as it would be had the
//! record been understood when it came.
//!
//! Must not know: where records come from, who writes.
//!
//! Ingest goes on meanwhile. So what came until after the writing is shown as well; where that speaks of such a row, all is
//! written again, once ingest has written that.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ingest::Decoded;
use crate::domain::change::{Operation, SourceIndex, TopicPartition};
use crate::domain::instant::Instant;
use crate::domain::rule::Plan;
use crate::domain::timeline::{Admission, LaneIndex, Timeline};
use crate::domain::value::Value;

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
    plan: Arc<Plan>,
    source: SourceIndex,
    /// Tells what was sent again, by the law by which reconcile does.
    timeline: Timeline,
    lane: LaneIndex,
    /// By the row's primary key.
    said: BTreeMap<Box<[Value]>, Vec<Decoded>>,
    /// Behind the last of these.
    end: i64,
    until: i64,
}

impl Requeue {
    /// Ingest has written everything below `committed`, which is to be shown first.
    pub fn new(plan: Arc<Plan>, source: SourceIndex, of: &TopicPartition, committed: i64) -> Requeue {
        let mut timeline = Timeline::new(&plan.sources);
        let lane = timeline.lane(source, of);
        Requeue { plan, source, timeline, lane, said: BTreeMap::new(), end: 0, until: committed }
    }

    /// How far ingest must have written before this may be.
    pub fn until(&self) -> i64 {
        self.until
    }

    /// Shows the change at an offset, each once, in order; with one that is wanted its row begins to be said again.
    pub fn see(&mut self, offset: i64, decoded: Decoded, is_wanted: bool) -> Seen {
        let Decoded { mut change, origin, streamed, incremental, incomplete } = decoded;
        change.offset = offset;
        match self.timeline.admit(self.lane, change, Instant::MAX) {
            Admission::Replayed | Admission::Repeated | Admission::Foreign => return Seen::Replayed,
            Admission::Taken | Admission::Late | Admission::NewEpoch | Admission::Ahead | Admission::Requeued => {}
        }
        let change = self.timeline.waiting[self.lane].pop().expect("what was taken waits").change;
        let row = match &change.operation {
            Operation::Delete { row } => row.clone(),
            Operation::Upsert { columns, .. } => self.plan.catalog.sources[self.source].row_id(columns),
        };
        if !is_wanted && !self.said.contains_key(&row) {
            return Seen::Aside;
        }
        self.end = offset + 1;
        self.said.entry(row).or_default().push(Decoded { change, origin, streamed, incremental, incomplete });
        Seen::Said
    }

    /// What is to be written, in order, no row of it torn: for so many changes at a time, or more.
    pub fn parts(&self, size: usize) -> Vec<Vec<Decoded>> {
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
            part.iter_mut().for_each(|decoded| decoded.change.requeued = Some(self.until));
        }
        parts
    }

    /// To be asked once it was written, and shown what came until then. True where nothing of that speaks of its rows; else
    /// all is to be written again.
    pub fn is_done(&mut self) -> bool {
        let written = self.until;
        self.until = self.until.max(self.end);
        self.until == written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::ingest::tests::{decoded, plan};

    /// A change of a row, in a transaction of its own.
    fn of_row(offset: i64, row: i64) -> Decoded {
        let mut one = decoded(offset, offset, false);
        one.change.operation = Operation::Delete { row: [Value::Int(row)].into() };
        one
    }

    /// Ingest had written everything below 5. What comes at 5, and later, is of the row, so that all of it is written again.
    #[test]
    fn what_comes_of_a_row_while_it_is_written_is_written_again() {
        let of = TopicPartition { topic: "orders".into(), partition: 0 };
        let mut requeue = Requeue::new(plan(true), 0, &of, 5);
        let written = |requeue: &Requeue| -> Vec<(i64, Option<i64>)> {
            let parts = requeue.parts(9);
            parts.iter().flatten().map(|one| (one.change.offset, one.change.requeued)).collect()
        };
        assert_eq!(requeue.see(2, of_row(2, 1), true), Seen::Said);
        assert_eq!(requeue.see(3, of_row(3, 2), false), Seen::Aside);
        assert_eq!(requeue.see(4, of_row(2, 1), true), Seen::Replayed);
        assert_eq!(written(&requeue), [(2, Some(5))]);
        assert_eq!(requeue.see(5, of_row(5, 1), false), Seen::Said);
        assert_eq!((requeue.is_done(), requeue.until()), (false, 6));
        assert_eq!(written(&requeue), [(2, Some(6)), (5, Some(6))]);
        assert_eq!(requeue.see(6, of_row(6, 2), false), Seen::Aside);
        assert!(requeue.is_done(), "what came is of another row");
    }
}
