//! What was seen of one connector and all that belongs to it, beside what Evenkeel's configuration says: values that are
//! judged.
//!
//! Must not know: who was asked.

use std::collections::BTreeMap;

use regex::RegexBuilder;
use serde_json::Value;

use super::bytes::Bytes;
use super::version::Version;
use crate::adapters::debezium::shape::{ConnectorKind, ConnectorShape, Detail, SourceShape};
use crate::domain::value::Type;

/// A connector's settings, as Kafka Connect has them.
#[derive(Clone, Default)]
pub struct Config(BTreeMap<String, String>);

/// What a setting says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// It is not set: the connector's default holds.
    Absent,
    /// It holds a placeholder such as `${file:…}`, which the worker resolves and tells nobody.
    Hidden,
    Is(&'a str),
}

impl Config {
    pub fn read(answer: &Value) -> Config {
        let entries = answer.as_object().into_iter().flatten();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Config(entries.map(|(name, value)| (name.clone(), text(value))).collect())
    }

    #[cfg(test)]
    pub fn of(settings: &[(&str, &str)]) -> Config {
        Config(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    pub fn said(&self, name: &str) -> Said<'_> {
        match self.0.get(name).map(|value| value.trim()) {
            None | Some("") => Said::Absent,
            Some(value) if value.contains("${") => Said::Hidden,
            Some(value) => Said::Is(value),
        }
    }

    /// What holds, given the connector's default; `None` where that is hidden.
    pub fn or<'a>(&'a self, name: &str, default: &'a str) -> Option<&'a str> {
        match self.said(name) {
            Said::Absent => Some(default),
            Said::Hidden => None,
            Said::Is(value) => Some(value),
        }
    }

    pub fn is_true(&self, name: &str, default: bool) -> Option<bool> {
        self.or(name, if default { "true" } else { "false" }).map(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The settings whose names begin so, with what they say.
    pub fn beginning<'a>(&'a self, prefix: &str) -> impl Iterator<Item = (&'a str, Said<'a>)> {
        let names = self.0.keys().filter(move |name| name.starts_with(prefix)).collect::<Vec<_>>();
        names.into_iter().map(|name| (name.as_str(), self.said(name)))
    }

    /// The parts of a list between commas.
    pub fn list(&self, name: &str) -> Vec<&str> {
        match self.said(name) {
            Said::Is(value) => items(value),
            Said::Absent | Said::Hidden => Vec::new(),
        }
    }

    /// Values that must not be shown, whatever quotes them.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let words = ["password", "secret", "token", "jaas", "credential", "key.pem", "user.info"];
        let is_secret = move |name: &str| words.iter().any(|word| name.to_ascii_lowercase().contains(word));
        let secret = self.0.iter().filter(move |(name, value)| is_secret(name) && value.len() > 2);
        secret.map(|(_, value)| value.as_str())
    }
}

/// The parts of a list between commas.
pub fn items(list: &str) -> Vec<&str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// Whether a list of Debezium's regular expressions, which match whole names whatever their case, has one that matches;
/// `None` where an expression is one that only Java reads.
pub fn matches(list: &str, name: &str) -> Option<bool> {
    let mut is_matched = false;
    for item in items(list) {
        let regex = RegexBuilder::new(&format!("^(?:{item})$")).case_insensitive(true).build().ok()?;
        is_matched |= regex.is_match(name);
    }
    Some(is_matched)
}

/// A column that Evenkeel keeps.
#[derive(Clone, Debug)]
pub struct KeptColumn {
    pub name: String,
    pub ty: Type,
    pub detail: Detail,
}

/// A table that Evenkeel reads through a connector.
#[derive(Clone, Debug)]
pub struct Table {
    /// The source's name; of a heartbeat table `heartbeat`.
    pub source: String,
    pub topics: Vec<String>,
    /// `schema.table` or `database.table`, as the topics' names tell; none where they are named otherwise.
    pub names: Vec<String>,
    pub columns: Vec<KeptColumn>,
    pub primary_key: Vec<String>,
    pub full_before: bool,
    pub partial_history: bool,
    pub is_heartbeat: bool,
}

impl Table {
    pub fn new(source: &str, topics: Vec<String>, prefix: Option<&str>, shape: &SourceShape) -> Table {
        let column = |(place, column): (usize, &crate::domain::catalog::Column)| KeptColumn {
            name: column.name.clone(),
            ty: column.ty,
            detail: shape.details[place],
        };
        let named = |topic: &String| Some(topic.strip_prefix(prefix?)?.strip_prefix('.')?.to_owned());
        let name = |place: &usize| shape.columns[*place].name.clone();
        Table {
            source: source.to_owned(),
            names: topics.iter().filter_map(named).collect(),
            topics,
            columns: shape.columns.iter().enumerate().map(column).collect(),
            primary_key: shape.primary_key.iter().map(name).collect(),
            full_before: shape.full_before,
            partial_history: false,
            is_heartbeat: false,
        }
    }
}

/// A topic, as the brokers have it.
#[derive(Clone, Debug, Default)]
pub struct Topic {
    pub partitions: i32,
    /// The least of its partitions.
    pub replicas: usize,
    /// What holds, defaults of the brokers included; empty where they may not be asked.
    pub settings: BTreeMap<String, String>,
    /// What Evenkeel's group remembers of it.
    pub known: Known,
}

/// What a consumer group's commits tell of a topic.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Partitions of which something is committed.
    pub partitions: i32,
    /// Partitions whose first record that is left lies beyond what is committed.
    pub lost: Vec<i32>,
    /// True where another topic had the name when it was committed.
    pub is_another: bool,
}

impl Topic {
    pub fn is_compacted(&self) -> bool {
        self.settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"))
    }
}

/// A connector's state, as Kafka Connect says it.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub connector: String,
    /// Each task's state, and where it failed, what it said first.
    pub tasks: Vec<(String, String)>,
}

/// One connector of the configuration, with everything that was seen of it.
pub struct Case<'a> {
    pub name: &'a str,
    pub name_in_connect: &'a str,
    pub shape: &'a ConnectorShape,
    pub commit_time: bool,
    pub has_registry: bool,
    pub has_heartbeat: bool,
    /// The topic in which it is said to tell of its transactions.
    pub transactions: Option<&'a str>,
    /// `None` where Kafka Connect was not asked, or has no such connector.
    pub config: Option<Config>,
    pub status: Option<Status>,
    /// Of its plugin; else of its records.
    pub version: Option<String>,
    pub tables: Vec<Table>,
    /// Those that exist, of the sources and of the connector itself.
    pub topics: BTreeMap<String, Topic>,
    pub bytes: BTreeMap<String, Bytes>,
    /// Kept columns that may be NULL and have a default, as `schema.table.column`; `None` where the database was not asked.
    pub nullable_defaults: Option<Vec<String>>,
}

impl Case<'_> {
    pub fn is_postgres(&self) -> bool {
        self.shape.kind == ConnectorKind::Postgresql
    }

    pub fn is_mysql(&self) -> bool {
        matches!(self.shape.kind, ConnectorKind::Mysql | ConnectorKind::Mariadb)
    }

    pub fn kind(&self) -> &'static str {
        match self.shape.kind {
            ConnectorKind::Postgresql => "postgresql",
            ConnectorKind::Mysql => "mysql",
            ConnectorKind::Mariadb => "mariadb",
            ConnectorKind::Sqlserver => "sqlserver",
            ConnectorKind::Oracle => "oracle",
            ConnectorKind::Mongodb => "mongodb",
        }
    }

    pub fn is_at_least(&self, version: &str) -> Option<bool> {
        let known = Version::parse(self.version.as_deref()?)?;
        Some(known >= Version::parse(version)?)
    }

    /// The tables that rules see.
    pub fn sources(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter().filter(|table| !table.is_heartbeat)
    }

    /// Kept columns of the sources, each with its table.
    pub fn columns(&self) -> impl Iterator<Item = (&Table, &KeptColumn)> {
        self.sources().flat_map(|table| table.columns.iter().map(move |column| (table, column)))
    }

    /// True where all events are known to carry a schema; `None` where that is the worker's to say and no bytes tell.
    pub fn has_schemas(&self) -> Option<bool> {
        let of_bytes = || {
            let mut seen = self.bytes.values().filter_map(Bytes::has_schema).peekable();
            seen.peek()?;
            Some(seen.all(|has| has))
        };
        let Some(config) = &self.config else { return of_bytes() };
        match config.said("value.converter") {
            Said::Absent | Said::Hidden => of_bytes(),
            Said::Is(class) if class.ends_with(".JsonConverter") => {
                config.is_true("value.converter.schemas.enable", true)
            }
            Said::Is(class) if class.contains("AvroConverter") => Some(true),
            Said::Is(_) => of_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_never_guessed() {
        let config = Config::of(&[("a", "${file:/x:a}"), ("b", " full "), ("c", "")]);
        assert_eq!(
            ["a", "b", "c", "d"].map(|name| config.said(name)),
            [Said::Hidden, Said::Is("full"), Said::Absent, Said::Absent]
        );
        assert_eq!((config.or("a", "x"), config.or("c", "x")), (None, Some("x")));
        assert_eq!(config.is_true("a", true), None);
    }

    #[test]
    fn lists_of_expressions_match_whole_names() {
        assert_eq!(matches(r"shop\.orders, shop\.lines.*", "Shop.LINES_2"), Some(true));
        assert_eq!(matches("shop.order", "shop.orders"), Some(false));
        assert_eq!(matches("(?!x)y", "y"), None, "only Java reads it");
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        let config = Config::of(&[
            ("database.password", "hush"),
            ("producer.override.sasl.jaas.config", "login"),
            ("value.converter.basic.auth.user.info", "me:too"),
            ("database.user", "reader"),
        ]);
        assert_eq!(config.secrets().collect::<Vec<_>>(), ["hush", "login", "me:too"]);
    }
}
