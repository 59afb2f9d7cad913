//! Where the columns of whoever wrote a row stand in the catalog of whoever reads it.
//!
//! Must not know: how a row is laid out in bytes.

use std::mem::discriminant;

use super::WireError;
use crate::domain::catalog::{Catalog, Column};
use crate::domain::change::SourceIndex;
use crate::domain::value::Value;

/// Where a writer's columns stand in the reader's catalog.
pub(super) struct SourceMap {
    /// `None` where the reader has no such source.
    pub(super) source: Option<SourceIndex>,
    /// For each column of the reader, its place in the writer's row.
    columns: Vec<Option<usize>>,
    written: usize,
}

impl SourceMap {
    /// `what` was written with these columns.
    pub(super) fn new(
        what: &'static str,
        name: &str,
        written: &[Column],
        catalog: &Catalog,
    ) -> Result<SourceMap, WireError> {
        let Some(source) = catalog.sources.iter().position(|table| table.name == name) else {
            return Ok(SourceMap { source: None, columns: Vec::new(), written: written.len() });
        };
        let table = &catalog.sources[source];
        let mut columns = Vec::new();
        for (index, column) in table.columns.iter().enumerate() {
            let place = written.iter().position(|known| known.name == column.name);
            // Scale and precision tell how to decode, not what a value is.
            let is_same = |place: &usize| discriminant(&written[*place].ty) == discriminant(&column.ty);
            if let Some(place) = place.filter(|place| !is_same(place) && table.identifies(index)) {
                let (source_name, was, is) = (name.to_owned(), written[place].ty, column.ty);
                return Err(WireError::Redeclared { what, source_name, column: column.name.clone(), was, is });
            }
            columns.push(place.filter(is_same));
        }
        Ok(SourceMap { source: Some(source), columns, written: written.len() })
    }

    /// A writer's row as the reader's: columns that the writer did not have are unknown.
    pub(super) fn row(&self, mut written: Vec<Value>) -> Option<Box<[Value]>> {
        if written.len() != self.written {
            return None;
        }
        let value = |place: &Option<usize>| match place {
            Some(place) => std::mem::replace(&mut written[*place], Value::Unknown),
            None => Value::Unknown,
        };
        Some(self.columns.iter().map(value).collect())
    }

    /// Where a column of the writer stands in the reader's row.
    pub(super) fn place_of(&self, written: usize) -> Option<usize> {
        self.columns.iter().position(|column| *column == Some(written))
    }
}
