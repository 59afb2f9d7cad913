//! Settings of the connectors of MySQL and MariaDB alone: GTIDs, the server's id, the schema history.

use super::{hidden, setting, shown};
use crate::app::doctor::finding::Finding;
use crate::app::doctor::seen::{Case, Config, Said};

pub fn judge(case: &Case<'_>, config: &Config) -> Vec<Finding> {
    if !case.is_mysql() {
        return Vec::new();
    }
    let mut found = gtids(config);
    found.extend([server_id(config), unparseable(config), captured_only(config), locking(config)]);
    found.push(history(case, config));
    found
}

fn gtids(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    for name in ["gtid.source.includes", "gtid.source.excludes"] {
        found.extend(match config.said(name) {
            Said::Absent => None,
            Said::Hidden => Some(hidden(name)),
            Said::Is(value) => Some(
                Finding::warn(name, value)
                    .why("Transactions of the other servers are left out when the connector finds its place again.")
                    .unset(name),
            ),
        });
    }
    if config.is_true("gtid.ignore", false) == Some(true) {
        let why = "A failover to another replica cannot be followed: files and positions are a server's own.";
        found.push(Finding::warn("gtid.ignore", "true").why(why).unset("gtid.ignore"));
    }
    if found.is_empty() {
        found.push(Finding::pass("gtid.*", "nothing that leaves transactions out"));
    }
    found
}

fn server_id(config: &Config) -> Finding {
    const NAME: &str = "database.server.id";
    setting(config, NAME, "", |value| match value {
        "" => Finding::unknown(NAME, "not set"),
        _ => Finding::pass(NAME, value),
    })
}

fn unparseable(config: &Config) -> Finding {
    const NAME: &str = "schema.history.internal.skip.unparseable.ddl";
    setting(config, NAME, "false", |value| match value.eq_ignore_ascii_case("true") {
        false => Finding::pass(NAME, shown(config, NAME, value)),
        true => Finding::warn(NAME, value)
            .why("Rows after a DDL that was skipped may be decoded by the columns of before.")
            .set(NAME, "false"),
    })
}

fn captured_only(config: &Config) -> Finding {
    const NAME: &str = "schema.history.internal.store.only.captured.tables.ddl";
    setting(config, NAME, "false", |value| match value.eq_ignore_ascii_case("true") {
        false => Finding::pass(NAME, shown(config, NAME, value)),
        true => Finding::note(NAME, value)
            .why("A table that is added to the lists later needs a snapshot of its schema first."),
    })
}

fn locking(config: &Config) -> Finding {
    const NAME: &str = "snapshot.locking.mode";
    setting(config, NAME, "minimal", |value| match value {
        "none" => Finding::warn(NAME, value)
            .why("A schema that changes during the snapshot leaves rows missing or wrong.")
            .set(NAME, "minimal"),
        _ => Finding::pass(NAME, shown(config, NAME, value)),
    })
}

/// A century.
const AGES_MS: i64 = 100 * 365 * 86_400_000;

/// The topic of the schema history, without which a connector cannot start again.
pub const HISTORY: &str = "schema.history.internal.kafka.topic";

fn history(case: &Case<'_>, config: &Config) -> Finding {
    let Some(name) = config.or(HISTORY, "") else { return hidden(HISTORY) };
    if case.topics.is_empty() {
        return Finding::unknown(HISTORY, format!("{name}: the brokers were not asked"));
    }
    let Some(topic) = case.topics.get(name) else {
        return Finding::warn(HISTORY, format!("{name} is not on these brokers"))
            .why("Without it the connector does not start again, or must learn all schemas anew.")
            .advice("If the history is kept on other brokers, look there: 1 partition, cleanup.policy=delete, retention.ms=-1.");
    };
    let setting = |name: &str| topic.settings.get(name).map_or("?", String::as_str);
    let mut wrong = Vec::new();
    if topic.partitions != 1 {
        wrong.push(format!("{} partitions", topic.partitions));
    }
    if topic.is_compacted() {
        wrong.push("compacted".to_owned());
    }
    for limit in ["retention.ms", "retention.bytes"] {
        // Debezium itself creates it with the greatest number there is.
        let is_limit = setting(limit).parse().is_ok_and(|limit: i64| (0..AGES_MS).contains(&limit));
        if is_limit {
            wrong.push(format!("{limit}={}", setting(limit)));
        }
    }
    if wrong.is_empty() {
        return Finding::pass(HISTORY, format!("{name}: 1 partition, kept for ever"));
    }
    Finding::fail(HISTORY, format!("{name}: {}", wrong.join(", ")))
        .why("A part of the history that is lost keeps the connector from starting again.")
        .advice(format!("kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config cleanup.policy=delete,retention.ms=-1,retention.bytes=-1 (more than one partition: make it anew)"))
}
