//! Judges what a MySQL or MariaDB server says of itself: its binary log and the tables.
//!
//! Must not know: how it was asked; the questions stand here, beside what their answers mean.

use std::collections::BTreeMap;

use super::finding::Finding;
use super::seen::{Case, Table};
use crate::adapters::databases::literal;
use crate::adapters::debezium::shape::ConnectorKind;

/// Settings of the server, by name.
pub const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'log_bin', 'binlog_format', \
    'binlog_row_image', 'binlog_row_value_options', 'binlog_expire_logs_seconds', 'expire_logs_days', 'gtid_mode', \
    'gtid_strict_mode', 'log_slave_updates', 'log_replica_updates', 'sql_mode', 'time_zone', 'system_time_zone', \
    'replica_preserve_commit_order', 'slave_preserve_commit_order', 'replica_parallel_workers', 'slave_parallel_workers')";

/// A table's columns: name, type, whether it may be NULL, its default, and `PRI` where it is of the primary key.
pub fn columns(name: &str) -> String {
    let (database, table) = name.split_once('.').unwrap_or(("", name));
    format!(
        "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, COLUMN_KEY FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        literal(false, database),
        literal(false, table)
    )
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    pub ty: String,
    pub is_nullable: bool,
    pub has_default: bool,
    pub is_key: bool,
}

/// The answers.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Names in small letters.
    pub variables: BTreeMap<String, String>,
    /// By `database.table`; without columns where there is no such table, or no right to see it.
    pub tables: BTreeMap<String, BTreeMap<String, Column>>,
}

impl Answers {
    pub fn column(row: &[Option<String>]) -> Option<(String, Column)> {
        let text = |place: usize| row.get(place).cloned().flatten();
        // MariaDB writes a default of NULL as a word.
        let has_default = text(3).is_some_and(|default| default != "NULL");
        let is_nullable = text(2).as_deref() == Some("YES");
        let is_key = text(4).as_deref() == Some("PRI");
        Some((text(0)?, Column { ty: text(1)?.to_lowercase(), is_nullable, has_default, is_key }))
    }

    /// Kept columns that may be NULL and have a default.
    pub fn nullable_defaults(&self, tables: &[Table]) -> Vec<String> {
        let named = tables.iter().flat_map(|table| table.names.iter().map(move |name| (table, name)));
        let each = named.flat_map(|(table, name)| table.columns.iter().map(move |column| (name, &column.name)));
        let is_both = |name: &str, column: &str| {
            let column = self.tables.get(name).and_then(|columns| columns.get(column));
            column.is_some_and(|column| column.is_nullable && column.has_default)
        };
        each.filter(|(name, column)| is_both(name, column)).map(|(name, column)| format!("{name}.{column}")).collect()
    }
}

pub fn judge(case: &Case<'_>, answers: &Answers) -> Vec<Finding> {
    let mut found = log(answers);
    found.push(kind(case, answers));
    found.extend(gtids(case, answers));
    found.extend(habits(answers));
    let longs =
        case.config.as_ref().is_none_or(|config| config.or("bigint.unsigned.handling.mode", "long") == Some("long"));
    for (table, name) in case.tables.iter().flat_map(|table| table.names.iter().map(move |name| (table, name))) {
        found.extend(table_found(table, name, answers.tables.get(name), longs));
    }
    found
}

/// Settings that must be so, else changes are not in the log, or not whole.
const NEEDED: [(&str, &str, &str); 3] = [
    ("log_bin", "ON", "There is no log to read changes from. Set log-bin in the server's file and restart it."),
    ("binlog_format", "ROW", "The log holds statements, not rows."),
    (
        "binlog_row_image",
        "FULL",
        "Images of rows are not whole: the connector stops, or moves and deletes go to a wrong key.",
    ),
];

fn log(answers: &Answers) -> Vec<Finding> {
    let get = |name: &str| answers.variables.get(name).map(String::as_str);
    let mut found = Vec::new();
    for (name, wanted, why) in NEEDED {
        found.push(match get(name) {
            None => Finding::unknown(name, "not told"),
            Some(value) if value.eq_ignore_ascii_case(wanted) => Finding::pass(name, wanted),
            Some(value) if name == "log_bin" => {
                Finding::fail(name, value).why(why).advice("log-bin=mysql-bin under [mysqld]")
            }
            Some(value) => Finding::fail(name, value)
                .why(why)
                .sql(format!("SET GLOBAL {name} = '{wanted}'; -- sessions that are open keep theirs")),
        });
    }
    if let Some(options) = get("binlog_row_value_options") {
        found.push(match options.to_ascii_uppercase().contains("PARTIAL_JSON") {
            true => Finding::fail("binlog_row_value_options", options)
                .why("Documents come in parts that the connector cannot put together.")
                .sql("SET GLOBAL binlog_row_value_options = '';"),
            false => Finding::pass("binlog_row_value_options", "whole values"),
        });
    }
    found.extend(expiry(get("binlog_expire_logs_seconds"), get("expire_logs_days")));
    found
}

/// Seconds that a log is kept for; none where it is for ever.
fn expiry(seconds: Option<&str>, days: Option<&str>) -> Option<Finding> {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok()).filter(|number| *number > 0.0);
    if seconds.is_none() && days.is_none() {
        return None;
    }
    let kept = number(seconds).or(number(days).map(|days| days * 86_400.0));
    Some(match kept {
        None => Finding::pass("binlog expiry", "never"),
        Some(kept) if kept < 259_200.0 => Finding::warn("binlog expiry", format!("{:.1} h", kept / 3600.0))
            .why("A connector that stands still for longer loses its place: tables must be read anew.")
            .sql("SET GLOBAL binlog_expire_logs_seconds = 604800;"),
        Some(kept) => Finding::pass("binlog expiry", format!("{:.1} d", kept / 86_400.0)),
    })
}

/// The server is of the kind that the configuration says.
fn kind(case: &Case<'_>, answers: &Answers) -> Finding {
    let version = answers.variables.get("version").map_or("?", String::as_str);
    let is_mariadb = version.to_lowercase().contains("mariadb");
    match is_mariadb == (case.shape.kind == ConnectorKind::Mariadb) {
        true => Finding::pass("version", version),
        false => Finding::fail("version", version)
            .why(format!("The configuration says kind: {}. GTIDs of the two are different things.", case.kind()))
            .advice("Use the connector of this server's kind, and correct kind."),
    }
}

fn gtids(case: &Case<'_>, answers: &Answers) -> Vec<Finding> {
    let get = |name: &str| answers.variables.get(name).map(|value| value.to_ascii_uppercase());
    if case.shape.kind == ConnectorKind::Mariadb {
        return vec![match get("gtid_strict_mode").as_deref() {
            Some("ON" | "1") => Finding::pass("gtid_strict_mode", "ON"),
            None => Finding::unknown("gtid_strict_mode", "not told"),
            Some(value) => Finding::warn("gtid_strict_mode", value)
                .why("Numbers of GTIDs may fall behind those before them: positions then do not compare.")
                .sql("SET GLOBAL gtid_strict_mode = ON;"),
        }];
    }
    let Some(mode) = get("gtid_mode") else { return vec![Finding::unknown("gtid_mode", "not told")] };
    vec![match (mode == "ON", case.commit_time) {
        (true, true) => Finding::pass("gtid_mode", mode),
        (true, false) => Finding::note("gtid_mode", mode)
            .why("Source times are commit times then, and need no heartbeat table.")
            .ours(format!("connectors.{}.gtids: true", case.name)),
        (false, true) => Finding::fail("gtid_mode", mode)
            .why("The configuration says gtids: true, and times are taken for commit times; they are those of statements.")
            .ours(format!("connectors.{}.gtids: false", case.name)),
        (false, false) => Finding::warn("gtid_mode", mode)
            .why("After a failover to a replica the connector cannot find its place.")
            .advice("Turn GTIDs on step by step: OFF_PERMISSIVE, ON_PERMISSIVE, ON."),
    }]
}

fn habits(answers: &Answers) -> Vec<Finding> {
    let get = |names: [&str; 2]| names.iter().find_map(|name| answers.variables.get(*name)).map(String::as_str);
    let mut found = Vec::new();
    if let Some(value) = get(["log_replica_updates", "log_slave_updates"]) {
        found.push(match value.eq_ignore_ascii_case("ON") || value == "1" {
            true => Finding::pass("log_slave_updates", value),
            false => Finding::note("log_slave_updates", value)
                .why("If this server is a replica, what it takes over is not in its own log: the connector sees none of it."),
        });
    }
    if let Some(mode) = get(["sql_mode", "sql_mode"]) {
        found.push(match mode.contains("NO_ZERO_DATE") || mode.contains("TRADITIONAL") {
            true => Finding::pass("sql_mode", "no zero dates"),
            false => Finding::note("sql_mode", "zero dates may be written")
                .why("0000-00-00 arrives as NULL, or as 1970-01-01 where the column is NOT NULL."),
        });
    }
    if let Some(zone) = get(["time_zone", "time_zone"]) {
        let zone = if zone == "SYSTEM" { get(["system_time_zone", "time_zone"]).unwrap_or(zone) } else { zone };
        found.push(match ["UTC", "+00:00", "GMT", "Etc/UTC"].contains(&zone) {
            true => Finding::pass("time_zone", zone),
            false => Finding::note("time_zone", zone)
                .why("DATETIME columns hold local time, and are read as if it were UTC; TIMESTAMP columns are not touched by it."),
        });
    }
    let workers = get(["replica_parallel_workers", "slave_parallel_workers"]);
    let order = get(["replica_preserve_commit_order", "slave_preserve_commit_order"]);
    if let (Some(workers), Some(order)) = (workers, order)
        && workers.parse::<u32>().is_ok_and(|workers| workers > 1)
        && !order.eq_ignore_ascii_case("ON")
    {
        found.push(
            Finding::note("replica_preserve_commit_order", order).why(
                "If this server is a replica with several workers, its log has another order than its primary's.",
            ),
        );
    }
    found
}

fn table_found(table: &Table, name: &str, columns: Option<&BTreeMap<String, Column>>, longs: bool) -> Vec<Finding> {
    let check = |what: &str| format!("{name} {what}");
    let Some(columns) = columns.filter(|columns| !columns.is_empty()) else {
        return vec![
            Finding::fail(format!("table {name}"), "does not exist, or may not be seen")
                .why("Nothing ever comes of it.")
                .advice("Correct the source's topic, or GRANT SELECT on the table to the login of database:."),
        ];
    };
    let mut found = Vec::new();
    found.push(match columns.values().any(|column| column.is_key) {
        true => Finding::pass(check("primary key"), "there is one"),
        false => Finding::fail(check("primary key"), "none")
            .why("Records have no key: changes of one row stand in no order.")
            .sql(format!("ALTER TABLE {name} ADD PRIMARY KEY ({});", table.primary_key.join(", "))),
    });
    let kept = || table.columns.iter().map(|column| column.name.as_str());
    let missing: Vec<&str> = kept().filter(|column| !columns.contains_key(*column)).collect();
    found.push(match missing.is_empty() {
        true => Finding::pass(check("columns"), "all are there"),
        false => Finding::fail(check("columns"), format!("{} are not in the table", missing.join(", ")))
            .why("Rules compare columns that never come.")
            .advice("Take them out of the source's columns, or compare others."),
    });
    // Declared as what it is, it is read as what it is.
    let is_unsigned = |column: &str| {
        let ty = columns.get(column).map_or("", |column| column.ty.as_str());
        ty.starts_with("bigint") && ty.contains("unsigned")
    };
    let other = table.columns.iter().filter(|column| !column.detail.is_unsigned).map(|column| column.name.as_str());
    let unsigned: Vec<&str> = other.filter(|name| is_unsigned(name)).collect();
    if longs && !unsigned.is_empty() {
        found.push(
            Finding::warn(check("unsigned"), unsigned.join(", "))
                .why("With bigint.unsigned.handling.mode=long numbers of 2^63 and more arrive as negative ones.")
                .ours(format!("sources.{}.columns.{}: bigint unsigned", table.source, unsigned[0])),
        );
    }
    found
}

#[cfg(test)]
mod tests;
