//! The `connectors` section: which Debezium connectors there are, and what their events prove.
//!
//! Must not know: sources.

use std::sync::Arc;

use super::node::Node;
use super::reader::{Context, Section};
use super::types::parse_type;
use super::units::Problem;
use super::{Named, named, reference};
use crate::adapters::debezium::shape::{ConnectorKind, DecimalMode, Mask, SourceShape};
use crate::app::diagnostic::Kind;
use crate::app::settings::{ConnectorSettings, HeartbeatSettings};
use crate::domain::catalog::Column;
use crate::domain::value::Type;

/// A connector, and what its sources need of it.
#[derive(Clone, Debug)]
pub struct Connector {
    pub kind: ConnectorKind,
    pub decimal_mode: Option<DecimalMode>,
    pub placeholder: String,
    pub settings: ConnectorSettings,
}

/// The connectors in order of name; `None` for those with faults.
pub fn read<'n>(context: &'n Context<'n>, node: &'n Node) -> Vec<Named<'n, Option<Connector>>> {
    named(context, node, "connector", super::is_dashed_name, connector)
}

fn connector<'n>(context: &'n Context<'n>, name: &str, node: &'n Node) -> Option<Connector> {
    let section = context.section(node, &reference::CONNECTOR, format!("connector \"{name}\""))?;
    section.require("kind");
    let kind = section.choice(
        "kind",
        &[
            ("postgresql", ConnectorKind::Postgresql),
            ("mysql", ConnectorKind::Mysql),
            ("mariadb", ConnectorKind::Mariadb),
        ],
    );
    let decimal_mode = section.choice(
        "decimal_handling_mode",
        &[("precise", DecimalMode::Precise), ("string", DecimalMode::String), ("double", DecimalMode::Double)],
    );
    let gtids = section.boolean("gtids");
    let placeholder = section.text("unavailable_value_placeholder");
    let placeholder =
        placeholder.or_else(|| section.read("unavailable_value_placeholder", |text| Ok(text.to_owned())));
    let kind = kind?;
    if let Some(node) = section.get("gtids").filter(|_| kind != ConnectorKind::Mysql) {
        let message = format!("{} is only for mysql", section.path("gtids"));
        context.report(
            node.fault(Kind::Conflict, message)
                .hint("Remove it: postgresql always gives commit times, mariadb never does."),
        );
    }
    let heartbeat = heartbeat(&section, kind, placeholder.clone()?);
    let commit_time = kind == ConnectorKind::Postgresql || (kind == ConnectorKind::Mysql && gtids?);
    if !commit_time && section.get("heartbeat").is_none() {
        let message = format!("{} has no heartbeat, and its change events alone prove no progress", section.what);
        context.report(section.start_fault(Kind::MissingField, message).hint(
            "Its events carry the time of the statement, not of the commit. Capture a heartbeat table and name its \
             topic, as in heartbeat: {topic: pay.pay.heartbeat, column: at}.",
        ));
    }
    let settings = ConnectorSettings { name: name.to_owned(), commit_time, heartbeat };
    Some(Connector { kind, decimal_mode, placeholder: placeholder?, settings })
}

fn heartbeat(section: &Section<'_>, kind: ConnectorKind, placeholder: String) -> Option<HeartbeatSettings> {
    let what = format!("{} heartbeat", section.what);
    let section = section.context.section(section.get("heartbeat")?, &reference::HEARTBEAT, what)?;
    let topic = section.require("topic").and_then(|_| section.read("topic", super::topics::topic_name));
    let column = section.read("column", |text| Ok(text.to_owned()));
    let ty = section.read("type", |text| {
        let parsed = parse_type(text, kind)?;
        match parsed.ty {
            Type::Timestamp { .. } | Type::TimestampTz => Ok(parsed.ty),
            other => Err(Problem::new(format!("a heartbeat's column is a moment, not {other}"))
                .hint("Declare it as the table does: timestamptz, timestamp(6) or datetime(6).")),
        }
    });
    let shape = SourceShape {
        connector: kind,
        columns: vec![Column { name: column?, ty: ty? }],
        masks: vec![Mask::Show],
        primary_key: Vec::new(),
        key: 0,
        decimal_mode: None,
        precisions: vec![None],
        placeholder,
        full_before: kind != ConnectorKind::Postgresql,
    };
    Some(HeartbeatSettings { topic: topic?, shape: Arc::new(shape) })
}
