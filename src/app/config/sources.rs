//! The `sources` section: which tables are compared, what is kept of them and how their events decode.
//!
//! Must not know: rules.

use std::sync::Arc;

use super::connectors::Connector;
use super::node::{Content, Node};
use super::reader::{Context, Section};
use super::types::{ColumnType, parse_type};
use super::units::{Problem, suggestion};
use super::{Named, named, reference, topics};
use crate::adapters::debezium::can_be_key;
use crate::adapters::debezium::shape::{ConnectorKind, DecimalMode, Mask, SourceShape};
use crate::app::diagnostic::Kind;
use crate::app::settings::SourceSettings;
use crate::domain::catalog::{Column, SourceTable};
use crate::domain::rule::SourcePlan;
use crate::domain::value::Type;

/// A source without faults.
#[derive(Clone, Debug)]
pub struct Source {
    pub table: SourceTable,
    pub plan: SourcePlan,
    pub settings: SourceSettings,
}

/// A source as far as it could be read.
#[derive(Clone, Debug)]
pub struct Partly {
    /// Where its columns, keys and types are sound, though something else may not be.
    pub table: Option<SourceTable>,
    pub source: Option<Source>,
    /// Where the topics were named, and which, for the search of overlaps.
    pub topics: Option<crate::app::settings::TopicSelection>,
    /// For each of the table's columns, where they could be read.
    pub masks: Vec<Mask>,
}

impl Partly {
    pub fn whole(self) -> Option<Source> {
        self.source
    }
}

type Connectors<'n> = [Named<'n, Option<Connector>>];

/// Names that a step of a rule test already uses.
const RESERVED: [&str; 5] = ["at", "late", "complete", "expect", "expect_open"];

/// The sources in order of name.
pub fn read<'n>(context: &'n Context<'n>, node: &'n Node, connectors: &Connectors<'n>) -> Vec<Named<'n, Partly>> {
    let sources = named(context, node, "source", super::is_sql_name, |context, name, node| {
        source(context, name, node, connectors)
    });
    for source in sources.iter().filter(|source| RESERVED.contains(&&*source.name)) {
        let fault = source.at.fault(Kind::BadValue, format!("\"{}\" cannot be the name of a source", source.name));
        context.report(fault.hint("The word has a meaning in rule tests."));
    }
    same_key_type(context, node, &sources);
    sources
}

fn source<'n>(context: &'n Context<'n>, name: &str, node: &'n Node, connectors: &Connectors<'n>) -> Partly {
    let mut partly = Partly { table: None, source: None, topics: None, masks: Vec::new() };
    let Some(section) = context.section(node, &reference::SOURCE, format!("source \"{name}\"")) else {
        return partly;
    };
    let index = connector_index(&section, connectors);
    let connector = index.and_then(|index| connectors[index].value.as_ref());
    partly.topics = topics::selection(&section);
    let faults = context.count();
    let columns = columns(&section, connector);
    let primary_key = primary_key(&section, columns.as_deref());
    let key = key(&section, columns.as_deref());
    let sound = context.count() == faults;
    let identity = section.choice("replica_identity", &[("default", false), ("full", true)]);
    let key_may_change = section.boolean("key_may_change");
    let partial_history = section.choice("history", &[("complete", false), ("partial", true)]);
    let (Some(columns), Some(primary_key), Some(key)) = (columns, primary_key, key) else { return partly };
    partly.masks = columns.iter().map(|column| column.mask).collect();
    let catalog_columns: Vec<Column> =
        columns.iter().map(|column| Column { name: column.name.clone(), ty: column.ty.ty }).collect();
    let table = SourceTable { name: name.to_owned(), columns: catalog_columns, key, primary_key };
    partly.table = (sound && connector.is_some()).then(|| table.clone());
    let (Some(index), Some(connector)) = (index, connector) else { return partly };
    for column in &columns {
        exactness(&section, connector, column);
    }
    let kind = connector.shape.kind;
    let postgresql = kind == ConnectorKind::Postgresql;
    if let Some(node) = section.get("replica_identity").filter(|_| !postgresql) {
        let fault =
            node.fault(Kind::Conflict, format!("{} is only for postgresql", section.path("replica_identity")));
        context.report(fault.hint("Remove it: binlog_row_image=FULL gives complete rows."));
    }
    // What Debezium flattened has no image of what was before.
    let full_before = connector.shape.flattened.is_none() && (kind.has_full_before() || identity == Some(true));
    let find_rows = !full_before && !table.primary_key.contains(&key);
    if let Some(node) = section.get("key_may_change").filter(|_| key_may_change == Some(true) && !find_rows) {
        let message =
            format!("{}: updates of this source say which key their row had", section.path("key_may_change"));
        context.report(node.fault(Kind::Conflict, message).hint("Remove it: moves are followed exactly as it is."));
    }
    let (Some(key_may_change), Some(partial_history), Some(_)) = (key_may_change, partial_history, identity) else {
        return partly;
    };
    let Some(topics) = partly.topics.clone() else { return partly };
    let shape = SourceShape {
        connector: connector.shape.clone(),
        columns: table.columns.clone(),
        masks: partly.masks.clone(),
        primary_key: table.primary_key.clone(),
        key,
        details: columns.iter().map(|column| column.ty.detail).collect(),
        full_before,
    };
    let settings = SourceSettings { name: name.to_owned(), topics, shape: Arc::new(shape), key_may_change };
    let plan =
        SourcePlan { connector: index, commit_time: connector.settings.commit_time, find_rows, partial_history };
    partly.source = Some(Source { table, plan, settings });
    partly
}

fn connector_index(section: &Section<'_>, connectors: &Connectors<'_>) -> Option<usize> {
    let name = section.required_text("connector")?;
    let index = connectors.iter().position(|connector| connector.name == name);
    if let (None, Some(node)) = (index, section.get("connector")) {
        let fault = node.fault(Kind::UnknownName, format!("{}: there is no connector \"{name}\"", section.what));
        let hint = suggestion(&name, connectors.iter().map(|connector| connector.name.as_str()));
        section.context.report(match hint {
            Some(hint) => fault.hint(hint),
            None => fault.hint("Declare it under connectors."),
        });
    }
    index
}

struct KeptColumn<'n> {
    name: String,
    node: &'n Node,
    ty: ColumnType,
    mask: Mask,
}

fn columns<'n>(section: &Section<'n>, connector: Option<&Connector>) -> Option<Vec<KeptColumn<'n>>> {
    let node = section.require("columns")?;
    let entries = section.context.map(node, &section.path("columns"))?;
    if entries.is_empty() {
        let fault = node.fault(Kind::MissingField, format!("{} is empty", section.path("columns")));
        section.context.report(fault.hint("Name at least the key and the primary key."));
        return None;
    }
    // Without a sound connector the dialect is unknown; PostgreSQL's reads most names.
    let dialect = connector.map_or(ConnectorKind::Postgresql, |connector| connector.shape.kind);
    let mut kept = Vec::new();
    for (name, node) in &entries {
        let what = format!("{} column \"{}\"", section.what, name.text);
        let (ty, mask) = match &node.content {
            Content::Map(_) => match section.context.section(node, &reference::COLUMN, &what) {
                Some(column) => (column.require("type"), mask(&column)),
                None => (None, None),
            },
            _ => (Some(*node), Some(Mask::Show)),
        };
        let ty = ty.and_then(|ty| section.context.read(ty, &what, |text| parse_type(text, dialect)));
        // What is wrong was said; the column's name is still good for checking who names it.
        let ty = ty.unwrap_or(ColumnType::plain(Type::Text));
        kept.push(KeptColumn { name: name.text.clone(), node, ty, mask: mask.unwrap_or(Mask::Show) });
    }
    Some(kept)
}

fn mask(column: &Section<'_>) -> Option<Mask> {
    column.read("mask", |text| match text {
        "show" => Ok(Mask::Show),
        "hide" => Ok(Mask::Hide),
        "hash" => Ok(Mask::Hash),
        "drop" => Ok(Mask::Drop),
        _ => Err(Problem::new(format!("\"{text}\" is not a mask")).hint("Write show, hide, hash or drop.")),
    })
}

fn find(section: &Section<'_>, node: &Node, field: &str, name: &str, columns: &[KeptColumn<'_>]) -> Option<usize> {
    let index = columns.iter().position(|column| column.name == name);
    if index.is_none() {
        let message = format!("{}: column \"{name}\" is not among the kept columns", section.path(field));
        let fault = node.fault(Kind::UnknownName, message);
        let hint = super::nearest(name, columns.iter().map(|column| column.name.as_str()));
        section.context.report(match hint {
            Some(near) => fault.hint(format!("Did you mean \"{near}\"?")),
            None => fault.hint(format!("Add it under columns, as in {name}: bigint.")),
        });
    }
    index
}

fn primary_key(section: &Section<'_>, columns: Option<&[KeptColumn<'_>]>) -> Option<Vec<usize>> {
    let node = section.require("primary_key")?;
    let names = section.context.texts(node, &section.path("primary_key"));
    let columns = columns?;
    let indexes: Vec<Option<usize>> =
        names.iter().map(|(name, node)| find(section, node, "primary_key", name, columns)).collect();
    if indexes.is_empty() {
        section
            .context
            .report(node.fault(Kind::BadValue, format!("{} names no column", section.path("primary_key"))));
        return None;
    }
    for (index, (name, node)) in names.iter().enumerate() {
        if names[..index].iter().any(|(before, _)| before == name) {
            let message = format!("{}: column \"{name}\" is named twice", section.path("primary_key"));
            section.context.report(node.fault(Kind::Duplicate, message));
        }
    }
    indexes.into_iter().collect()
}

fn key(section: &Section<'_>, columns: Option<&[KeptColumn<'_>]>) -> Option<usize> {
    let node = section.require("key")?;
    let name = section.context.text(node, &section.path("key"))?;
    let columns = columns?;
    let index = find(section, node, "key", &name, columns)?;
    let column = &columns[index];
    if !can_be_key(column.ty.ty) {
        let message = format!("{}: a column of type {} cannot be the key", section.path("key"), column.ty.ty);
        section
            .context
            .report(node.fault(Kind::BadValue, message).hint("A key is an integer, text, uuid or numeric."));
    }
    if column.mask != Mask::Show {
        let message = format!("{}: the key's column cannot be masked", section.path("key"));
        let hint = "The key is the key of every record that leaves. Use a key that is not personal.";
        section.context.report(column.node.fault(Kind::Conflict, message).hint(hint));
    }
    Some(index)
}

/// Says where a decimal could not be read exactly.
fn exactness(section: &Section<'_>, connector: &Connector, column: &KeptColumn<'_>) {
    let Type::Decimal { scale } = column.ty.ty else { return };
    if column.ty.detail.is_unsigned {
        return;
    }
    // Of a numeric without a scale each value carries its own.
    let has_scales = matches!(connector.shape.kind, ConnectorKind::Postgresql | ConnectorKind::Oracle);
    let what = format!("{} column \"{}\"", section.what, column.name);
    let problem = match connector.shape.decimal_mode {
        Some(DecimalMode::Double) if column.ty.detail.digits.is_none_or(|digits| digits > 15) => Problem::new(
            "decimal_handling_mode double is exact only up to 15 declared digits",
        )
        .hint(
            "Set decimal.handling.mode=string in the connector and decimal_handling_mode: string here; or declare \
                 numeric(p,s) with p up to 15 if that is what the table has.",
        ),
        Some(DecimalMode::Precise) if scale.is_none() && !has_scales => {
            Problem::new("decimal_handling_mode precise needs the scale, which events without a schema don't carry")
                .hint(
                    "Declare it as the table does, as in numeric(12,2). Where events carry a schema, leave \
                     decimal_handling_mode out.",
                )
        }
        _ => return,
    };
    section.context.problem(column.node, &what, problem);
}

/// All sources must have the same type of key, or one key would have two texts.
fn same_key_type<'n>(context: &Context<'n>, node: &Node, sources: &[Named<'n, Partly>]) {
    let mut first: Option<(&str, Type)> = None;
    for source in sources {
        let Some(table) = &source.value.table else { continue };
        let ty = table.columns[table.key].ty;
        match first {
            None => first = Some((&source.name, ty)),
            Some((name, known)) if std::mem::discriminant(&known) != std::mem::discriminant(&ty) => {
                let message = format!("source \"{}\": its key is {ty}, that of \"{name}\" is {known}", source.name);
                let place = node.entry(&source.name).and_then(|source| source.entry("key")).unwrap_or(node);
                let hint = "One key must have one type everywhere. Declare both columns with the same type.";
                context.report(place.fault(Kind::Conflict, message).hint(hint));
            }
            Some(_) => {}
        }
    }
}
