//! What a reconciliation's rules can name: the sources' kept columns and the lookup tables.
//!
//! Must not know: topics, connectors, formats.

use super::value::{Type, Value};

/// A kept or looked-up column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub ty: Type,
}

/// A source as a rule sees it: a table of one key's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTable {
    pub name: String,
    /// In declared order; a row's values stand in this order.
    pub columns: Vec<Column>,
    /// Index into `columns` of the reconciliation key (the order id).
    pub key: usize,
    /// Indexes into `columns` of the primary key.
    pub primary_key: Vec<usize>,
}

impl SourceTable {
    /// True for a column that says which row it is, or whose.
    pub fn identifies(&self, column: usize) -> bool {
        column == self.key || self.primary_key.contains(&column)
    }

    /// The primary key's values of a row, in declared order: which row it is.
    pub fn row_id(&self, columns: &[Value]) -> Box<[Value]> {
        self.primary_key.iter().map(|column| columns[*column].clone()).collect()
    }
}

/// A small constant table from the configuration. May be joined on any column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupTable {
    pub name: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Value>>,
}

/// Every table that a rule of one reconciliation can name. Names are unique over both kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    pub sources: Vec<SourceTable>,
    pub lookups: Vec<LookupTable>,
}
