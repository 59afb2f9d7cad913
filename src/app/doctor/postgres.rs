//! Judges what a PostgreSQL database says of itself: its log, the slot, the publication, the tables.
//!
//! Must not know: how it was asked; the questions stand here, beside what their answers mean.

use std::collections::BTreeMap;

use serde_json::Value;

use super::finding::Finding;
use super::seen::{Case, Table};
use crate::adapters::databases::literal;

/// Settings of the server, by name.
pub const SETTINGS: &str = "SELECT name, setting FROM pg_settings WHERE name IN \
    ('wal_level', 'max_slot_wal_keep_size', 'idle_replication_slot_timeout', 'server_encoding')";

/// Rows as JSON, so that a column that an older server does not have is simply not there.
pub fn slot(name: &str) -> String {
    format!(
        "SELECT to_jsonb(s) || jsonb_build_object('lag', pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN \
         pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, s.confirmed_flush_lsn)) \
         FROM pg_replication_slots s WHERE slot_name = {}",
        literal(true, name)
    )
}

pub fn publication(name: &str) -> String {
    format!("SELECT to_jsonb(p) FROM pg_publication p WHERE pubname = {}", literal(true, name))
}

pub fn published(name: &str) -> String {
    format!("SELECT to_jsonb(t) FROM pg_publication_tables t WHERE pubname = {}", literal(true, name))
}

pub fn table(name: &str) -> String {
    format!(
        "SELECT jsonb_build_object('identity', c.relreplident, 'persistence', c.relpersistence, 'key', EXISTS (SELECT FROM \
         pg_index i WHERE i.indrelid = c.oid AND i.indisprimary), 'columns', (SELECT jsonb_object_agg(a.attname, \
         jsonb_build_object('not_null', a.attnotnull, 'default', a.atthasdef, 'storage', a.attstorage, 'generated', \
         a.attgenerated, 'type', format_type(a.atttypid, a.atttypmod))) FROM pg_attribute a WHERE a.attrelid = c.oid AND \
         a.attnum > 0 AND NOT a.attisdropped)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE \
         n.nspname || '.' || c.relname = {} AND c.relkind IN ('r', 'p')",
        literal(true, name)
    )
}

/// The answers.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    pub settings: BTreeMap<String, String>,
    /// Its name and row; `None` where its name is not known.
    pub slot: Option<(String, Option<Value>)>,
    pub publication: Option<(String, Option<Value>)>,
    pub published: Vec<Value>,
    /// By `schema.table`.
    pub tables: BTreeMap<String, Option<Value>>,
}

impl Answers {
    /// Kept columns that may be NULL and have a default.
    pub fn nullable_defaults(&self, tables: &[Table]) -> Vec<String> {
        let mut found = Vec::new();
        for (table, name) in tables.iter().flat_map(|table| table.names.iter().map(move |name| (table, name))) {
            let Some(Some(told)) = self.tables.get(name) else { continue };
            for column in &table.columns {
                let told = &told["columns"][&column.name];
                if told["not_null"] == false && told["default"] == true && told["generated"] == "" {
                    found.push(format!("{name}.{}", column.name));
                }
            }
        }
        found
    }
}

pub fn judge(case: &Case<'_>, answers: &Answers) -> Vec<Finding> {
    let mut found = server(answers);
    found.extend(slot_found(answers));
    found.extend(publication_found(case, answers));
    for (table, name) in case.tables.iter().flat_map(|table| table.names.iter().map(move |name| (table, name))) {
        match answers.tables.get(name) {
            Some(Some(told)) => found.extend(table_found(table, name, told)),
            Some(None) => found.push(
                Finding::fail(format!("table {name}"), "does not exist")
                    .why("Nothing ever comes of it.")
                    .advice("Correct the source's topic, or ask another database."),
            ),
            None => {}
        }
    }
    found
}

fn server(answers: &Answers) -> Vec<Finding> {
    let get = |name: &str| answers.settings.get(name).map(String::as_str);
    let mut found = Vec::new();
    found.push(match get("wal_level") {
        Some("logical") => Finding::pass("wal_level", "logical"),
        Some(level) => Finding::fail("wal_level", level)
            .why("Changes cannot be read from the log.")
            .sql("ALTER SYSTEM SET wal_level = logical; -- then restart the server"),
        None => Finding::unknown("wal_level", "not told"),
    });
    found.push(match get("server_encoding") {
        Some("UTF8") => Finding::pass("server_encoding", "UTF8"),
        Some(other) => Finding::warn("server_encoding", other)
            .why("Text that is not UTF-8 is converted on the way, where it can be.")
            .advice("An encoding is a database's for ever: dump and restore it into one with UTF8."),
        None => Finding::unknown("server_encoding", "not told"),
    });
    for (name, off) in [("max_slot_wal_keep_size", "-1"), ("idle_replication_slot_timeout", "0")] {
        found.extend(match get(name) {
            None => None,
            Some(value) if value == off => Some(Finding::pass(name, "no limit")),
            Some(value) => Some(
                Finding::warn(name, value)
                    .why("A connector that stands still for long loses its slot, and with it what it had not read.")
                    .sql(format!("ALTER SYSTEM SET {name} = '{off}'; SELECT pg_reload_conf();")),
            ),
        });
    }
    found
}

fn slot_found(answers: &Answers) -> Vec<Finding> {
    let Some((name, slot)) = &answers.slot else {
        return vec![Finding::unknown("slot", "its name is not known: Kafka Connect was not asked, or hides it")];
    };
    let Some(slot) = slot else {
        return vec![
            Finding::fail("slot", format!("{name} does not exist"))
                .why("What was committed since it went is lost, if the connector ran before.")
                .advice("If it never ran, start it. Else: re-snapshot the tables after it has made a new slot."),
        ];
    };
    let mut found = Vec::new();
    found.push(match slot["active"] == true {
        true => Finding::pass("slot", format!("{name} is read")),
        false => Finding::fail("slot", format!("{name} is not read"))
            .why("No connector is connected: nothing comes, and the server keeps its log.")
            .advice("See the connector's state above, and whether it is set to this database and slot."),
    });
    let status = slot["wal_status"].as_str().unwrap_or("?");
    let invalid = slot["invalidation_reason"].as_str();
    found.push(match (status, invalid) {
        ("reserved" | "extended" | "?", None) => Finding::pass("slot wal_status", status),
        (_, Some(reason)) => lost_slot(format!("{status}: {reason}")),
        ("unreserved", None) => Finding::warn("slot wal_status", status)
            .why("The server is about to remove log that was not read.")
            .advice("Let the connector catch up now, or raise max_slot_wal_keep_size."),
        (other, None) => lost_slot(other.to_owned()),
    });
    if let Some(lag) = slot["lag"].as_i64().or_else(|| slot["lag"].as_f64().map(|lag| lag as i64)) {
        let saw = format!("{} MiB behind", lag >> 20);
        found.push(match lag < 1 << 30 {
            true => Finding::pass("slot lag", saw),
            false => Finding::warn("slot lag", saw)
                .why("So much log was not confirmed: the connector lags, or nothing moves the slot while its tables are quiet.")
                .set("heartbeat.interval.ms", "5000"),
        });
    }
    found
}

fn lost_slot(saw: String) -> Finding {
    Finding::fail("slot wal_status", saw)
        .why("Log that was not read is gone: changes are lost for ever.")
        .advice("Drop the slot, let the connector make a new one, re-snapshot the tables, then: evenkeel acknowledge -c FILE SOURCE")
}

fn publication_found(case: &Case<'_>, answers: &Answers) -> Vec<Finding> {
    let Some((name, publication)) = &answers.publication else { return Vec::new() };
    let Some(publication) = publication else {
        return vec![
            Finding::fail("publication", format!("{name} does not exist"))
                .why("The connector cannot read on.")
                .sql(format!("CREATE PUBLICATION \"{name}\" FOR TABLE {};", names(case).join(", "))),
        ];
    };
    let mut found = Vec::new();
    let silent: Vec<&str> = ["insert", "update", "delete"]
        .into_iter()
        .filter(|kind| publication[format!("pub{kind}")] == false)
        .collect();
    let all = "insert, update, delete, truncate";
    found.push(match (silent.is_empty(), publication["pubtruncate"] == false) {
        (false, _) => Finding::fail("publication publish", format!("without {}", silent.join(", ")))
            .why("Changes of these kinds never come.")
            .sql(format!("ALTER PUBLICATION \"{name}\" SET (publish = '{all}');")),
        (true, true) => Finding::note("publication publish", "without truncate")
            .why("A TRUNCATE is not sent: rows that are gone stay.")
            .sql(format!("ALTER PUBLICATION \"{name}\" SET (publish = '{all}');")),
        (true, false) => Finding::pass("publication publish", all),
    });
    for (table, full) in case.tables.iter().flat_map(|table| table.names.iter().map(move |name| (table, name))) {
        found.push(published_table(name, table, full, answers));
    }
    found
}

fn names(case: &Case<'_>) -> Vec<String> {
    case.tables.iter().flat_map(|table| table.names.clone()).collect()
}

fn published_table(publication: &str, table: &Table, full: &str, answers: &Answers) -> Finding {
    let check = format!("{full} is published");
    let is_it = |row: &&Value| {
        let part = |name: &str| row[name].as_str().unwrap_or_default();
        format!("{}.{}", part("schemaname"), part("tablename")) == full
    };
    let Some(row) = answers.published.iter().find(is_it) else {
        return Finding::fail(check, format!("not by {publication}"))
            .why("Its changes never come.")
            .sql(format!("ALTER PUBLICATION \"{publication}\" ADD TABLE {full};"));
    };
    let again = format!(
        "ALTER PUBLICATION \"{publication}\" DROP TABLE {full}; ALTER PUBLICATION \"{publication}\" ADD TABLE {full};"
    );
    if let Some(filter) = row["rowfilter"].as_str() {
        return Finding::fail(check, format!("only rows where {filter}"))
            .why("Other rows never come, and look missing.")
            .sql(again);
    }
    let listed: Option<Vec<&str>> =
        row["attnames"].as_array().map(|names| names.iter().filter_map(Value::as_str).collect());
    let lacking = |listed: &Vec<&str>| {
        let kept = table.columns.iter().map(|column| column.name.as_str()).filter(|name| !listed.contains(name));
        kept.map(str::to_owned).collect::<Vec<_>>()
    };
    match listed.map(|listed| lacking(&listed)).unwrap_or_default() {
        lacking if lacking.is_empty() => Finding::pass(check, "whole"),
        lacking => Finding::fail(check, format!("without {}", lacking.join(", ")))
            .why("Rules compare columns that never come.")
            .sql(again),
    }
}

fn table_found(table: &Table, name: &str, told: &Value) -> Vec<Finding> {
    let mut found = Vec::new();
    let check = |what: &str| format!("{name} {what}");
    let full = format!("ALTER TABLE {name} REPLICA IDENTITY FULL;");
    found.push(match (told["identity"].as_str().unwrap_or("?"), table.full_before) {
        ("f", true) => Finding::pass(check("identity"), "FULL"),
        ("f", false) if !table.is_heartbeat => Finding::note(check("identity"), "FULL")
            .why("Moves and deletes can be followed exactly and more cheaply.")
            .ours(format!("sources.{}.replica_identity: full", table.source)),
        ("f" | "d", false) => {
            Finding::pass(check("identity"), if told["identity"] == "f" { "FULL" } else { "DEFAULT" })
        }
        ("d", true) => Finding::fail(check("identity"), "DEFAULT")
            .why(
                "The configuration says full, and images of before are made up: moves and deletes go to a wrong key.",
            )
            .sql(full)
            .ours(format!("sources.{}.replica_identity: default", table.source)),
        ("i", _) => Finding::fail(check("identity"), "USING INDEX")
            .why("Deletes and changes of the key carry the index's columns alone; the message key becomes 0.")
            .sql(full),
        (_, _) => Finding::fail(check("identity"), "NOTHING")
            .why("Updates and deletes are refused, or never come.")
            .sql(full),
    });
    found.push(match told["key"] == true {
        true => Finding::pass(check("primary key"), "there is one"),
        false => Finding::fail(check("primary key"), "none")
            .why("Records have no key: changes of one row stand in no order; under REPLICA IDENTITY DEFAULT updates are refused.")
            .sql(format!("ALTER TABLE {name} ADD PRIMARY KEY ({});", table.primary_key.join(", "))),
    });
    if told["persistence"] == "u" {
        found.push(
            Finding::fail(check("persistence"), "UNLOGGED")
                .why("Its changes are not in the log at all.")
                .sql(format!("ALTER TABLE {name} SET LOGGED;")),
        );
    }
    found.extend(columns_found(table, name, told));
    found
}

fn columns_found(table: &Table, name: &str, told: &Value) -> Vec<Finding> {
    let check = format!("{name} columns");
    let columns = &told["columns"];
    let kept = || table.columns.iter().map(|column| column.name.as_str());
    let list =
        |is: &dyn Fn(&Value) -> bool| kept().filter(|column| is(&columns[column])).collect::<Vec<_>>().join(", ");
    let missing = list(&Value::is_null);
    let generated = list(&|column| column["generated"].as_str().is_some_and(|how| !how.is_empty()));
    let mut found = Vec::new();
    for (columns, what, why) in [
        (missing, "are not in the table", "Rules compare columns that never come."),
        (generated, "are generated", "pgoutput does not send generated columns."),
    ] {
        if !columns.is_empty() {
            found.push(
                Finding::fail(check.clone(), format!("{columns} {what}"))
                    .why(why)
                    .advice("Take them out of the source's columns, or compare others."),
            );
        }
    }
    let large = list(&|column| {
        matches!(column["storage"].as_str(), Some("x" | "e")) && {
            let ty = column["type"].as_str().unwrap_or_default();
            !ty.starts_with("numeric") && !ty.starts_with("character(")
        }
    });
    if !large.is_empty() && !table.full_before && !table.is_heartbeat {
        found.push(
            Finding::note(check.clone(), format!("{large} may be stored apart"))
                .why("An update that does not touch a large value does not send it; Evenkeel keeps the one before."),
        );
    }
    if found.is_empty() {
        found.push(Finding::pass(check, "all are there"));
    }
    found
}

#[cfg(test)]
mod tests;
