//! Sound connectors, to be spoilt in one place.

use std::collections::BTreeMap;

use super::super::*;
use crate::adapters::debezium::shape::ConnectorShape;
use crate::app::doctor::finding::Level;
pub use crate::app::doctor::given::line;
use crate::app::doctor::given::{case, column, shape, table};
use crate::app::doctor::seen::{Status, Table, Topic};
use crate::domain::value::Type;

const PG: [(&str, &str); 23] = [
    ("connector.class", "io.debezium.connector.postgresql.PostgresConnector"),
    ("topic.prefix", "shop"),
    ("database.hostname", "db"),
    ("database.port", "5432"),
    ("database.password", "hush"),
    ("errors.tolerance", "none"),
    ("event.converting.failure.handling.mode", "fail"),
    ("key.converter", "org.apache.kafka.connect.json.JsonConverter"),
    ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
    ("value.converter.schemas.enable", "false"),
    ("value.converter.replace.null.with.default", "false"),
    ("decimal.handling.mode", "string"),
    ("plugin.name", "pgoutput"),
    ("slot.name", "shop"),
    ("publication.name", "shop"),
    ("publication.autocreate.mode", "filtered"),
    ("table.include.list", r"shop\.orders,shop.heartbeat"),
    ("skipped.operations", "none"),
    ("heartbeat.interval.ms", "5000"),
    ("heartbeat.action.query", "update shop.heartbeat set n = n + 1"),
    ("provide.transaction.metadata", "true"),
    ("signal.data.collection", "shop.signals"),
    ("notification.enabled.channels", "sink"),
];

const PG_MORE: [(&str, &str); 2] = [("offset.mismatch.strategy", "trust_offset"), ("slot.failover", "true")];

const MARIA: [(&str, &str); 4] = [
    ("connector.class", "io.debezium.connector.mariadb.MariaDbConnector"),
    ("database.server.id", "5400"),
    ("bigint.unsigned.handling.mode", "precise"),
    ("schema.history.internal.kafka.topic", "history"),
];

fn orders() -> Table {
    let columns = vec![
        column("order_id", Type::Int, None),
        column("total", Type::Decimal { scale: Some(2) }, Some(12)),
        column("placed", Type::Timestamp { precision: 6 }, None),
        column("blob", Type::Bytes, None),
    ];
    Table { topics: vec!["shop.shop.orders".to_owned()], ..table("orders", "shop.orders", columns) }
}

fn heartbeat() -> Table {
    Table {
        topics: vec!["shop.shop.heartbeat".to_owned()],
        primary_key: Vec::new(),
        is_heartbeat: true,
        ..table("heartbeat", "shop.heartbeat", vec![column("at", Type::TimestampTz, None)])
    }
}

/// What is judged, before it borrows.
pub struct Given {
    pub shape: ConnectorShape,
    pub settings: BTreeMap<String, String>,
    pub tables: Vec<Table>,
    pub topics: BTreeMap<String, Topic>,
    pub status: Option<Status>,
    pub version: Option<String>,
    pub nullable_defaults: Option<Vec<String>>,
    pub has_registry: bool,
    pub has_heartbeat: bool,
    pub transactions: Option<&'static str>,
    pub name: &'static str,
}

impl Given {
    pub fn new(kind: ConnectorKind, settings: &[&[(&str, &str)]]) -> Given {
        let history = Topic { partitions: 1, settings: kept_for_ever(), ..Topic::default() };
        let data = Topic { partitions: 4, replicas: 3, ..Topic::default() };
        Given {
            shape: shape(kind),
            settings: settings
                .concat()
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            tables: vec![orders(), heartbeat()],
            topics: [("history", history), ("shop.shop.orders", data)]
                .map(|(name, topic)| (name.to_owned(), topic))
                .into(),
            status: Some(running(&["RUNNING"])),
            version: Some("3.7.1.Final".to_owned()),
            nullable_defaults: None,
            has_registry: false,
            has_heartbeat: true,
            transactions: None,
            name: "shop",
        }
    }

    pub fn postgres() -> Given {
        Given::new(ConnectorKind::Postgresql, &[&PG, &PG_MORE])
    }

    pub fn mariadb() -> Given {
        let mut given = Given::new(ConnectorKind::Mariadb, &[&PG, &MARIA]);
        for name in ["plugin.name", "slot.name", "publication.name", "publication.autocreate.mode"] {
            given.settings.remove(name);
        }
        given
    }

    pub fn set(mut self, name: &str, value: &str) -> Given {
        match value {
            "" => self.settings.remove(name),
            value => self.settings.insert(name.to_owned(), value.to_owned()),
        };
        self
    }

    pub fn with(mut self, alter: impl FnOnce(&mut Given)) -> Given {
        alter(&mut self);
        self
    }

    pub fn case(&self) -> Case<'_> {
        let settings: Vec<(&str, &str)> =
            self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Case {
            name_in_connect: "Shop",
            has_registry: self.has_registry,
            has_heartbeat: self.has_heartbeat,
            transactions: self.transactions,
            config: Some(Config::of(&settings)),
            status: self.status.clone(),
            version: self.version.clone(),
            topics: self.topics.clone(),
            nullable_defaults: self.nullable_defaults.clone(),
            ..case(self.name, &self.shape, self.tables.clone())
        }
    }

    /// What is not as it should be, in a line.
    pub fn told(&self) -> String {
        let found = judge(&self.case());
        for finding in &found {
            let quoted = format!("{finding:?}");
            assert!(!quoted.contains("hush"), "{quoted}");
            assert!(finding.level < Level::Warn || !finding.why.is_empty(), "it is said why: {quoted}");
            assert!(finding.level < Level::Fail || !finding.mends.is_empty(), "what failed can be mended: {quoted}");
        }
        line(&found)
    }
}

pub fn running(tasks: &[&str]) -> Status {
    let tasks = tasks.iter().map(|state| ((*state).to_owned(), String::new())).collect();
    Status { connector: "RUNNING".to_owned(), tasks }
}

fn kept_for_ever() -> BTreeMap<String, String> {
    let settings = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}
