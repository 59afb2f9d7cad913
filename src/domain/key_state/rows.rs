//! A key's rows, and what a change does to them.
//!
//! Must not know: rules, episodes.

use crate::domain::change::{Operation, Position, SourceIndex};
use crate::domain::instant::Instant;
use crate::domain::snapshots::Generation;
use crate::domain::value::Value;

/// A kept row and where its last change came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The source's kept columns, in declared order.
    pub columns: Box<[Value]>,
    pub provenance: Provenance,
}

/// Where a row's last change came from. `lane` and `origin` index the task's own tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provenance {
    pub source_time: Instant,
    pub position: Position,
    pub origin: usize,
    pub lane: usize,
    pub offset: i64,
    pub generation: Generation,
}

/// What a change does to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    pub at: Instant,
    pub late: bool,
    pub source: SourceIndex,
    pub operation: Operation,
    pub provenance: Provenance,
    /// See [`Change::requeued`](crate::domain::change::Change::requeued).
    pub requeued: Option<i64>,
}

impl Effect {
    /// True where it is requeued, and its row is known from further on than where all that followed on it was looked for.
    /// Another topic-partition's offsets tell nothing; source times do.
    fn is_overtaken(&self, rows: &[Row], primary_key: &[usize]) -> bool {
        let Some(until) = self.requeued else { return false };
        let place = match &self.operation {
            Operation::Delete { row } => find(rows, primary_key, row.iter()),
            Operation::Upsert { columns, .. } => {
                find(rows, primary_key, primary_key.iter().map(|column| &columns[*column]))
            }
        };
        place.is_ok_and(|index| {
            let known = rows[index].provenance;
            match known.lane == self.provenance.lane {
                true => known.offset >= until,
                false => known.source_time > self.provenance.source_time,
            }
        })
    }
}

/// Does to a source's rows, which stand in order of primary key, what a change does.
pub fn apply(rows: &mut Vec<Row>, primary_key: &[usize], effect: Effect) {
    if effect.is_overtaken(rows, primary_key) {
        return;
    }
    match effect.operation {
        Operation::Delete { row } => {
            if let Ok(index) = find(rows, primary_key, row.iter()) {
                rows.remove(index);
            }
        }
        Operation::Upsert { mut columns, unchanged, row_before } => {
            let before = row_before.and_then(|row| find(rows, primary_key, row.iter()).ok());
            let mut replaced = before.map(|index| rows.remove(index));
            let place = find(rows, primary_key, primary_key.iter().map(|column| &columns[*column]));
            if let Ok(index) = place {
                replaced = Some(rows.remove(index));
            }
            if let Some(mut replaced) = replaced {
                for column in unchanged {
                    let column = usize::from(column);
                    columns[column] = std::mem::replace(&mut replaced.columns[column], Value::Unknown);
                }
            }
            let (Ok(index) | Err(index)) = place;
            rows.insert(index, Row { columns, provenance: effect.provenance });
        }
    }
}

/// Where the row with a primary key stands among a source's rows, or where it would.
fn find<'v>(
    rows: &'v [Row],
    primary_key: &[usize],
    row: impl Iterator<Item = &'v Value> + Clone,
) -> Result<usize, usize> {
    rows.binary_search_by(|known| primary_key.iter().map(|column| &known.columns[*column]).cmp(row.clone()))
}
