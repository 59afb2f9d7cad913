//! Judges one connector: its state, its settings, and whether they agree with Evenkeel's configuration.
//!
//! Must not know: who was asked. Each check is a function from what was seen to findings.

mod capture;
mod convert;
mod liveness;
mod loss;
mod mysql;
mod postgres;
#[cfg(test)]
mod tests;
mod transforms;

pub use self::mysql::HISTORY;
use super::finding::Finding;
use super::seen::{Case, Config, Said};
use crate::adapters::debezium::shape::ConnectorKind;

/// A check of a connector's settings.
type Check = fn(&Case<'_>, &Config) -> Vec<Finding>;

const CHECKS: [Check; 7] =
    [loss::judge, convert::judge, transforms::judge, capture::judge, postgres::judge, mysql::judge, liveness::judge];

/// Everything that can be said of one connector.
pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let mut found = super::defects::judge(case.kind(), case.version.as_deref(), case.config.as_ref());
    let Some(config) = &case.config else { return found };
    found.extend(state(case));
    found.push(class(case, config));
    found.extend(CHECKS.iter().flat_map(|check| check(case, config)));
    found
}

/// Silence is not absence: a connector that stands still sends nothing.
fn state(case: &Case<'_>) -> Vec<Finding> {
    const WHY: &str = "A connector that stands still sends nothing, which looks like nothing having happened.";
    let Some(status) = &case.status else { return vec![Finding::unknown("state", "Kafka Connect does not tell")] };
    let path = |verb: &str| format!("connectors/{}/{verb}", case.name_in_connect);
    let mut found = Vec::new();
    let restart = |finding: Finding, state: &str| match state {
        "PAUSED" | "STOPPED" => finding.mend(super::finding::Mend::Rest { method: "PUT", path: path("resume") }),
        _ => {
            let path = path("restart?includeTasks=true&onlyFailed=true");
            finding.mend(super::finding::Mend::Rest { method: "POST", path })
        }
    };
    found.push(match &*status.connector {
        "RUNNING" => Finding::pass("connector state", "RUNNING"),
        state => restart(Finding::fail("connector state", state).why(WHY), state),
    });
    if status.tasks.is_empty() {
        found.push(restart(Finding::fail("task state", "there is no task").why(WHY), &status.connector));
    }
    for (number, (state, trace)) in status.tasks.iter().enumerate() {
        let saw = if trace.is_empty() { state.clone() } else { format!("{state}: {trace}") };
        found.push(match &**state {
            "RUNNING" => Finding::pass(format!("task {number} state"), saw),
            _ => restart(Finding::fail(format!("task {number} state"), saw).why(WHY), state),
        });
    }
    found
}

fn class(case: &Case<'_>, config: &Config) -> Finding {
    const CHECK: &str = "connector.class";
    let Some(class) = config.or(CHECK, "") else { return hidden(CHECK) };
    let wanted = match case.shape.kind {
        ConnectorKind::Postgresql => "io.debezium.connector.postgresql.PostgresConnector",
        ConnectorKind::Mysql => "io.debezium.connector.mysql.MySqlConnector",
        ConnectorKind::Mariadb => "io.debezium.connector.mariadb.MariaDbConnector",
        ConnectorKind::Sqlserver => "io.debezium.connector.sqlserver.SqlServerConnector",
        ConnectorKind::Oracle => "io.debezium.connector.oracle.OracleConnector",
        ConnectorKind::Mongodb => "io.debezium.connector.mongodb.MongoDbConnector",
    };
    let short = class.rsplit('.').next().unwrap_or(class);
    let version = case.version.as_deref().unwrap_or("of unknown version");
    if class == wanted || Some(short) == wanted.rsplit('.').next() || short == "PostgreSQL" && case.is_postgres() {
        return Finding::pass(CHECK, format!("{short} {version}"));
    }
    Finding::fail(CHECK, short)
        .why(format!("The configuration says kind: {}. MySQL's connector does not read MariaDB's GTIDs; another kind's positions do not compare.", case.kind()))
        .advice(format!("Name the right connector in name_in_connect, correct kind, or create the connector anew with {wanted}."))
}

/// A setting that the worker resolves and does not tell.
pub fn hidden(name: impl Into<String>) -> Finding {
    Finding::unknown(name, "a placeholder stands there, which only the worker resolves")
}

/// Judges one setting, given its default.
pub fn setting(config: &Config, name: &str, default: &str, judge: impl FnOnce(&str) -> Finding) -> Finding {
    config.or(name, default).map_or_else(|| hidden(name), judge)
}

/// What a setting says, with a word about where it comes from.
pub fn shown(config: &Config, name: &str, value: &str) -> String {
    match config.said(name) {
        Said::Absent if value.is_empty() => "not set".to_owned(),
        Said::Absent => format!("{value} (default)"),
        Said::Is(_) | Said::Hidden => value.to_owned(),
    }
}

/// What can only be seen by comparing connectors.
pub fn compare(cases: &[Case<'_>]) -> Vec<(String, Finding)> {
    let mut found = Vec::new();
    for (place, case) in cases.iter().enumerate() {
        for other in &cases[..place] {
            let (Some(config), Some(others)) = (&case.config, &other.config) else { continue };
            found
                .extend(pair(case, config, other, others).into_iter().map(|finding| (case.name.to_owned(), finding)));
        }
    }
    found
}

fn pair(case: &Case<'_>, config: &Config, other: &Case<'_>, others: &Config) -> Vec<Finding> {
    let same = |name: &str, default: &str| match (config.or(name, default), others.or(name, default)) {
        (Some(one), Some(two)) if one == two => Some(one.to_owned()),
        _ => None,
    };
    let host = |config: &Config| config.or("database.hostname", "").map(str::to_owned);
    let one_server = host(config).is_some() && host(config) == host(others) && same("database.port", "").is_some();
    let with = format!("also connector {}'s", other.name);
    let mut found = Vec::new();
    if let Some(prefix) = same("topic.prefix", "").filter(|prefix| !prefix.is_empty()) {
        found.push(
            Finding::fail("topic.prefix", format!("{prefix}, {with}"))
                .why("Topics, heartbeats and schema histories of both mix, and positions of two databases stand in one topic.")
                .advice("Create one of the connectors anew with a topic.prefix of its own."),
        );
    }
    if case.is_postgres() && other.is_postgres() && one_server {
        if let Some(slot) = same("slot.name", "debezium") {
            found.push(
                Finding::fail("slot.name", format!("{slot}, {with}"))
                    .why("A slot gives each change to one reader only: the other one never sees it.")
                    .set("slot.name", format!("{slot}_{}", case.name.replace('-', "_"))),
            );
        }
        if let Some(publication) = same("publication.name", "dbz_publication") {
            found.push(
                Finding::warn("publication.name", format!("{publication}, {with}"))
                    .why("With publication.autocreate.mode=filtered each of them sets the publication's tables to its own.")
                    .set("publication.name", format!("{publication}_{}", case.name.replace('-', "_"))),
            );
        }
    }
    if let Some(id) = same("database.server.id", "").filter(|id| !id.is_empty() && case.is_mysql() && one_server) {
        found.push(
            Finding::fail("database.server.id", format!("{id}, {with}"))
                .why("A server sends its log to one replica of an id only: the two throw each other out.")
                .advice("Give each connector a database.server.id of its own."),
        );
    }
    let key = |config: &Config| config.or("key.converter", "").map(str::to_owned);
    if key(config) != key(others) {
        let saw = format!("another than connector {}'s", other.name);
        found.push(Finding::note("key.converter", saw).why("Evenkeel routes by the decoded key itself and needs no equal bytes; other readers that join by the key may."));
    }
    found
}
