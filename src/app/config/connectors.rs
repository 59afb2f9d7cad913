//! The `connectors` section: which Debezium connectors there are, and what their events prove.
//!
//! Must not know: sources.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::Node;
use super::reader::{Context, Section};
use super::types::parse_type;
use super::units::Problem;
use super::{Named, named, reference};
use crate::adapters::databases::{DatabaseUrl, NO_URL};
use crate::adapters::debezium::envelope::Field;
use crate::adapters::debezium::position::lacking;
use crate::adapters::debezium::shape::{
    BinaryMode, ConnectorKind, ConnectorShape, DecimalMode, Detail, Flattened, Format, Mask, SourceShape,
};
use crate::adapters::debezium::transaction::can_be_counted;
use crate::app::diagnostic::Kind;
use crate::app::settings::{ConnectorSettings, HeartbeatSettings, TransactionSettings};
use crate::domain::catalog::Column;
use crate::domain::value::Type;

/// A connector, and what its sources need of it.
#[derive(Clone, Debug)]
pub struct Connector {
    pub shape: ConnectorShape,
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
            ("sqlserver", ConnectorKind::Sqlserver),
            ("oracle", ConnectorKind::Oracle),
            ("mongodb", ConnectorKind::Mongodb),
        ],
    );
    let format = format(&section);
    let flattened = match section.get("flattened") {
        None => Some(None),
        Some(node) => flattened(context, node, &section.path("flattened"), kind).map(Some),
    };
    let binary_mode = section.choice(
        "binary_handling_mode",
        &[
            ("bytes", BinaryMode::Bytes),
            ("base64", BinaryMode::Base64),
            ("base64-url-safe", BinaryMode::Base64UrlSafe),
            ("hex", BinaryMode::Hex),
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
    let shape = ConnectorShape {
        kind,
        format: format?,
        flattened: flattened?,
        decimal_mode,
        binary_mode: binary_mode?,
        placeholder: placeholder?,
        is_counted: section.get("transactions").is_some(),
    };
    let heartbeat = heartbeat(&section, &shape);
    let transactions = transactions(&section, &shape);
    let commit_time = kind == ConnectorKind::Postgresql || (kind == ConnectorKind::Mysql && gtids?);
    if !commit_time && section.get("heartbeat").is_none() {
        let message = format!("{} has no heartbeat, and its change events alone prove no progress", section.what);
        context.report(section.start_fault(Kind::MissingField, message).hint(
            "Its events carry the time of the statement, not of the commit. Capture a heartbeat table and name its \
             topic, as in heartbeat: {topic: pay.pay.heartbeat, column: at}.",
        ));
    }
    let name_in_connect = section.text("name_in_connect").unwrap_or_else(|| name.to_owned());
    let database = database(&section, kind);
    let name = name.to_owned();
    let settings = ConnectorSettings {
        name,
        commit_time,
        heartbeat,
        transactions,
        shape: shape.clone(),
        name_in_connect,
        database,
    };
    Some(Connector { shape, settings })
}

/// The URL of a connector's database. It holds a password, so no fault may quote it.
fn database(section: &Section<'_>, kind: ConnectorKind) -> Option<DatabaseUrl> {
    let text = section.text("database")?;
    let is_postgres = match kind {
        ConnectorKind::Postgresql => true,
        ConnectorKind::Mysql | ConnectorKind::Mariadb => false,
        ConnectorKind::Sqlserver | ConnectorKind::Oracle | ConnectorKind::Mongodb => {
            let node = section.get("database")?;
            let message = format!("{} is only for postgresql, mysql and mariadb", section.path("database"));
            section
                .context
                .report(node.fault(Kind::Conflict, message).hint("Remove it: such a database is not asked."));
            return None;
        }
    };
    let url = DatabaseUrl::parse(&text);
    let url = url.and_then(|url| if url.is_postgres() == is_postgres { Ok(url) } else { Err(NO_URL.to_owned()) });
    if let (Err(fault), Some(node)) = (&url, section.get("database")) {
        let form = if is_postgres {
            "postgres://reader:${PASSWORD}@db:5432/shop?sslmode=verify-full"
        } else {
            "mysql://reader:${PASSWORD}@db:3306?ssl-mode=VERIFY_IDENTITY"
        };
        let fault = node.fault(Kind::BadValue, format!("{}: {fault}", section.path("database")));
        section.context.report(fault.hint(format!("As in {form}.")));
    }
    url.ok()
}

fn format(section: &Section<'_>) -> Option<Format> {
    let format = section.choice(
        "format",
        &[("auto", Format::Auto), ("json", Format::Json), ("avro", Format::Avro { id_bytes: None })],
    );
    let id_bytes = section.choice("schema_id_bytes", &[("4", Some(4)), ("8", Some(8)), ("auto", None)]);
    let (format, id_bytes) = (format?, id_bytes?);
    match (format, section.get("schema_id_bytes")) {
        (Format::Avro { .. }, _) => Some(Format::Avro { id_bytes }),
        (_, None) => Some(format),
        (_, Some(node)) => {
            let message = format!("{} is only for format: avro", section.path("schema_id_bytes"));
            section.context.report(node.fault(Kind::Conflict, message).hint("Add format: avro, or remove it."));
            None
        }
    }
}

/// Reads what the connector's `transforms.….add.fields` and its companions say, as they say it.
fn flattened<'n>(
    context: &'n Context<'n>,
    node: &'n Node,
    what: &str,
    kind: Option<ConnectorKind>,
) -> Option<Flattened> {
    let section = context.section(node, &reference::FLATTENED, what)?;
    let added = |list: &str, prefix: &str| {
        let prefix = section.read(prefix, |text| Ok(text.to_owned()))?;
        section.read(list, |text| Ok(added(text, &prefix)))
    };
    let mut fields = added("add_fields", "add_fields_prefix")?;
    let headers = added("add_headers", "add_headers_prefix")?;
    // Of the modes that rewrite, whatever the prefix is.
    fields.insert("__deleted".to_owned(), Field::Deleted);
    let tombstones_delete = section.choice(
        "delete_tombstone_handling_mode",
        &[
            ("tombstone", true),
            ("delete-to-tombstone", true),
            ("rewrite", false),
            ("rewrite-with-tombstone", false),
            ("drop", false),
        ],
    )?;
    let flattened = Flattened { fields, headers, tombstones_delete };
    let lacking = kind.map(|kind| lacking(kind, |field| flattened.adds(field))).unwrap_or_default();
    if !lacking.is_empty() {
        let place = section.get("add_fields").unwrap_or(node);
        let fault = place.fault(Kind::MissingField, format!("{what}: add_fields lacks {}", lacking.join(", ")));
        context.report(fault.hint(
            "Add it to the connector's add.fields and here: without it nothing tells what was sent again from what is new.",
        ));
    }
    Some(flattened)
}

/// A list such as `op,source.ts_ms,source.lsn:LSN`: the name under which each field that is used stands. Dots become
/// underscores; what follows a colon is the name in their place.
pub fn added(list: &str, prefix: &str) -> BTreeMap<String, Field> {
    let one = |item: &str| {
        let (name, alias) = item.split_once(':').map_or((item, None), |(name, alias)| (name, Some(alias)));
        let given = alias.map_or_else(|| name.replace('.', "_"), str::to_owned);
        Some((format!("{prefix}{given}"), Field::of_add_fields(name)?))
    };
    list.split(',').map(str::trim).filter(|item| !item.is_empty()).filter_map(one).collect()
}

fn transactions(section: &Section<'_>, connector: &ConnectorShape) -> Option<TransactionSettings> {
    let node = section.get("transactions")?;
    let topic = section.read("transactions", super::topics::topic_name)?;
    if !can_be_counted(connector.kind) {
        let fault =
            node.fault(Kind::Conflict, format!("{} is not for oracle and mongodb", section.path("transactions")));
        section.context.report(
            fault.hint(
                "Remove it: their transactions' ids tell no position, so nobody knows when all of one has come.",
            ),
        );
        return None;
    }
    if let Some(flattened) = &connector.flattened {
        let needed = [Field::TransactionId, Field::CollectionOrder].into_iter();
        let lacking: Vec<&str> = needed.filter(|field| !flattened.adds(*field)).map(Field::name).collect();
        if !lacking.is_empty() {
            let message = format!("{}: add_fields lacks {}", section.path("transactions"), lacking.join(", "));
            section.context.report(
                node.fault(Kind::MissingField, message)
                    .hint("Add it to the connector's add.fields and to add_fields: events are counted by it."),
            );
            return None;
        }
    }
    let shape = SourceShape {
        connector: connector.clone(),
        columns: Vec::new(),
        masks: Vec::new(),
        primary_key: Vec::new(),
        key: 0,
        details: Vec::new(),
        full_before: false,
    };
    Some(TransactionSettings { topic, shape: Arc::new(shape) })
}

fn heartbeat(section: &Section<'_>, connector: &ConnectorShape) -> Option<HeartbeatSettings> {
    let what = format!("{} heartbeat", section.what);
    let section = section.context.section(section.get("heartbeat")?, &reference::HEARTBEAT, what)?;
    let topic = section.require("topic").and_then(|_| section.read("topic", super::topics::topic_name));
    let column = section.read("column", |text| Ok(text.to_owned()));
    let ty = section.read("type", |text| {
        let parsed = parse_type(text, connector.kind)?;
        match parsed.ty {
            Type::Timestamp { .. } | Type::TimestampTz => Ok(parsed.ty),
            other => Err(Problem::new(format!("a heartbeat's column is a moment, not {other}"))
                .hint("Declare it as the table does: timestamptz, timestamp(6) or datetime(6).")),
        }
    });
    let shape = SourceShape {
        connector: connector.clone(),
        columns: vec![Column { name: column?, ty: ty? }],
        masks: vec![Mask::Show],
        primary_key: Vec::new(),
        key: 0,
        details: vec![Detail::default()],
        full_before: false,
    };
    Some(HeartbeatSettings { topic: topic?, shape: Arc::new(shape) })
}
