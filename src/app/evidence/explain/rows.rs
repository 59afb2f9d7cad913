//! The rows of one order, as its changes leave them.
//!
//! Must not know: when a change takes effect.

use std::collections::BTreeMap;

use crate::domain::catalog::Column;
use crate::domain::change::{Operation, SourceIndex};
use crate::domain::rule::Plan;
use crate::domain::value::Value;

pub type Row = Box<[Value]>;

/// By source and primary key.
#[derive(Clone, Debug, Default)]
pub struct Rows(BTreeMap<(SourceIndex, Row), Row>);

impl Rows {
    pub fn put(&mut self, plan: &Plan, source: SourceIndex, row: Row) {
        self.0.insert((source, plan.catalog.sources[source].row_id(&row)), row);
    }

    /// Does to the rows what an operation does to an order's; gives the row as it was and as it is.
    pub fn apply(&mut self, plan: &Plan, source: SourceIndex, operation: Operation) -> (Option<Row>, Option<Row>) {
        match operation {
            Operation::Delete { row } => (self.0.remove(&(source, row)), None),
            Operation::Upsert { mut columns, unchanged, row_before } => {
                let moved = row_before.and_then(|row| self.0.remove(&(source, row)));
                let place = (source, plan.catalog.sources[source].row_id(&columns));
                let before = self.0.remove(&place).or(moved);
                for column in unchanged {
                    let column = usize::from(column);
                    columns[column] = before.as_ref().map_or(Value::Unknown, |row| row[column].clone());
                }
                self.0.insert(place, columns.clone());
                (before, Some(columns))
            }
        }
    }
}

/// The names of the columns that are others than before.
pub fn changed(columns: &[Column], before: Option<&[Value]>, after: Option<&[Value]>) -> Vec<String> {
    let (Some(before), Some(after)) = (before, after) else { return Vec::new() };
    let values = columns.iter().zip(before.iter().zip(after));
    values.filter(|(_, (before, after))| before != after).map(|(column, _)| column.name.clone()).collect()
}
