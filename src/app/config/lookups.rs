//! Lookup tables: small constant tables that rules may join.
//!
//! Must not know: rules.

use super::node::{Content, Node};
use super::reader::Context;
use super::sources::Partly;
use super::types::{parse_type, parse_value};
use super::{Named, named, reference};
use crate::adapters::debezium::shape::ConnectorKind;
use crate::app::diagnostic::Kind;
use crate::domain::catalog::{Column, LookupTable};
use crate::domain::value::Value;

/// A lookup table without faults.
pub type Lookup = LookupTable;

/// More rows than this belong in a table of a database.
const ROWS: usize = 10_000;

/// The lookup tables of all files; `None` for those with faults. Names are unique over lookups and sources.
pub fn read<'n>(
    context: &'n Context<'n>,
    nodes: Vec<&'n Node>,
    sources: &[Named<'n, Partly>],
) -> Vec<Named<'n, Option<Lookup>>> {
    let mut all: Vec<Named<'n, Option<Lookup>>> = Vec::new();
    for node in nodes {
        for lookup in named(context, node, "lookup", super::is_sql_name, table) {
            let taken = all.iter().any(|known| known.name == lookup.name);
            let source = sources.iter().any(|source| source.name == lookup.name);
            if taken || source {
                let other = if source { "a source" } else { "another lookup table" };
                let message = format!("lookup \"{}\" has the name of {other}", lookup.name);
                context.report(lookup.at.fault(Kind::Duplicate, message).hint("Rules could not tell them apart."));
            }
            all.push(lookup);
        }
    }
    all
}

fn table<'n>(context: &'n Context<'n>, name: &str, node: &'n Node) -> Option<Lookup> {
    let what = format!("lookup \"{name}\"");
    let section = context.section(node, &reference::LOOKUP, &what)?;
    let columns = section.require("columns").and_then(|node| columns(context, &what, node));
    let rows = context.list(section.require("rows")?, &section.path("rows"))?;
    let columns = columns?;
    if rows.len() > ROWS {
        let message = format!("{what} has more than {ROWS} rows");
        context
            .report(node.fault(Kind::BadValue, message).hint("So large a table belongs in a database, as a source."));
        return None;
    }
    let rows: Vec<Option<Vec<Value>>> = rows.iter().map(|node| row(context, &what, &columns, node)).collect();
    Some(LookupTable { name: name.to_owned(), columns, rows: rows.into_iter().collect::<Option<_>>()? })
}

fn columns<'n>(context: &'n Context<'n>, what: &str, node: &'n Node) -> Option<Vec<Column>> {
    let entries = context.map(node, &format!("{what}: columns"))?;
    let column = |(name, node): &(&super::Name, &Node)| {
        let what = format!("{what} column \"{}\"", name.text);
        let parsed = context.read(node, &what, |text| parse_type(text, ConnectorKind::Postgresql))?;
        Some(Column { name: name.text.clone(), ty: parsed.ty })
    };
    let columns: Vec<Option<Column>> = entries.iter().map(column).collect();
    columns.into_iter().collect()
}

fn row(context: &Context<'_>, what: &str, columns: &[Column], node: &Node) -> Option<Vec<Value>> {
    let cells = context.list(node, &format!("{what}: a row"))?;
    if cells.len() != columns.len() {
        let message = format!("{what}: a row of {} values for {} columns", cells.len(), columns.len());
        context.report(
            node.fault(Kind::BadValue, message).hint("Give a value for each column, in their order; ~ is NULL."),
        );
        return None;
    }
    let value = |(column, node): (&Column, &Node)| match node.content {
        Content::Null => Some(Value::Null),
        _ => context
            .read(node, &format!("{what} column \"{}\"", column.name), |text| parse_value(text, column.ty, None)),
    };
    let values: Vec<Option<Value>> = columns.iter().zip(cells).map(value).collect();
    values.into_iter().collect()
}
