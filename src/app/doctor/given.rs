//! What the doctor's tests begin with.

use std::collections::BTreeMap;

use super::finding::{Finding, Level};
use super::seen::{Case, KeptColumn, Table};
use crate::adapters::debezium::shape::{BinaryMode, ConnectorKind, ConnectorShape, DecimalMode, Detail, Format};
use crate::domain::value::Type;

pub fn column(name: &str, ty: Type, digits: Option<u32>) -> KeptColumn {
    KeptColumn { name: name.to_owned(), ty, detail: Detail { digits, ..Detail::default() } }
}

/// A source's table, of which the first column is the primary key.
pub fn table(source: &str, name: &str, columns: Vec<KeptColumn>) -> Table {
    Table {
        source: source.to_owned(),
        topics: Vec::new(),
        names: vec![name.to_owned()],
        primary_key: columns.iter().take(1).map(|column| column.name.clone()).collect(),
        columns,
        full_before: false,
        partial_history: false,
        is_heartbeat: false,
    }
}

pub fn shape(kind: ConnectorKind) -> ConnectorShape {
    ConnectorShape {
        kind,
        format: Format::Auto,
        flattened: None,
        decimal_mode: Some(DecimalMode::String),
        binary_mode: BinaryMode::Bytes,
        placeholder: "__debezium_unavailable_value".to_owned(),
        is_counted: false,
    }
}

/// A connector of which nothing was seen.
pub fn case<'c>(name: &'c str, shape: &'c ConnectorShape, tables: Vec<Table>) -> Case<'c> {
    Case {
        name,
        name_in_connect: name,
        shape,
        commit_time: shape.kind == ConnectorKind::Postgresql,
        has_registry: false,
        has_heartbeat: true,
        transactions: None,
        config: None,
        status: None,
        version: None,
        tables,
        topics: BTreeMap::new(),
        bytes: BTreeMap::new(),
        nullable_defaults: None,
    }
}

/// What is not as it should be, in a line.
pub fn line(found: &[Finding]) -> String {
    let bad = found.iter().filter(|one| one.level >= Level::Unknown);
    bad.map(|one| format!("{} {}", one.level.name(), one.check)).collect::<Vec<_>>().join("; ")
}
