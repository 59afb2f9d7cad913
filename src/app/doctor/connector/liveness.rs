//! What proves that a connector reads on, and what lets a table be read again: heartbeats, transactions, signals.

use super::{hidden, setting, shown};
use crate::app::doctor::finding::Finding;
use crate::app::doctor::seen::{Case, Config, Said};

pub fn judge(case: &Case<'_>, config: &Config) -> Vec<Finding> {
    vec![
        interval(case, config),
        action(case, config),
        transactions(case, config),
        headers(config),
        signals(case, config),
    ]
}

fn interval(case: &Case<'_>, config: &Config) -> Finding {
    const NAME: &str = "heartbeat.interval.ms";
    setting(config, NAME, "0", |value| {
        let saw = shown(config, NAME, value);
        match value.parse::<u64>() {
            Ok(0) => Finding::warn(NAME, saw)
                .why(if case.is_postgres() {
                    "While its tables are quiet nothing shows that the connector reads on, and the slot keeps the server's log."
                } else {
                    "While its tables are quiet nothing shows that the connector reads on, unless the database itself ticks."
                })
                .set(NAME, "5000"),
            Ok(interval) if interval > 60_000 => Finding::warn(NAME, saw)
                .why("Verdicts wait for the next heartbeat wherever a table is quiet.")
                .set(NAME, "5000"),
            Ok(_) => Finding::pass(NAME, saw),
            Err(_) => Finding::unknown(NAME, saw),
        }
    })
}

fn action(case: &Case<'_>, config: &Config) -> Finding {
    const NAME: &str = "heartbeat.action.query";
    let is_set = match config.said(NAME) {
        Said::Hidden => return hidden(NAME),
        said => said != Said::Absent,
    };
    match (is_set, case.has_heartbeat) {
        (true, true) => Finding::pass(NAME, "set"),
        (true, false) => Finding::note(NAME, "set, but the configuration names no heartbeat table")
            .why("If it writes a captured table, that table proves progress while others are quiet.")
            .ours(format!("connectors.{}.heartbeat: {{topic: …, column: at}}", case.name)),
        (false, true) if case.is_mysql() => {
            Finding::note(NAME, "not set").why("The database's own scheduler must tick then, see docs/operations.md.")
        }
        (false, true) => Finding::warn(NAME, "not set")
            .why("Nobody writes the heartbeat table, unless something else does.")
            .set(NAME, format!("update {} set n = n + 1, at = clock_timestamp() where id = 1", beating(case))),
        (false, false) => Finding::warn(NAME, "not set, and no heartbeat table")
            .why("While its tables are quiet nothing is known of them, and verdicts wait.")
            .ours(format!("connectors.{}.heartbeat: {{topic: …, column: at}}", case.name)),
    }
}

/// The heartbeat table's name.
fn beating<'c>(case: &'c Case<'_>) -> &'c str {
    let table = case.tables.iter().find(|table| table.is_heartbeat);
    table.and_then(|table| table.names.first()).map_or("heartbeat", String::as_str)
}

fn transactions(case: &Case<'_>, config: &Config) -> Finding {
    const NAME: &str = "provide.transaction.metadata";
    setting(config, NAME, "false", |value| {
        let saw = shown(config, NAME, value);
        match (value.eq_ignore_ascii_case("true"), case.transactions) {
            (true, Some(topic)) => transaction_topic(config, topic).unwrap_or_else(|| Finding::pass(NAME, saw)),
            (true, None) => Finding::pass(NAME, saw),
            (false, Some(topic)) => Finding::fail(NAME, saw)
                .why(format!("{topic} is to tell how many events a transaction has: nothing is written to it, and nothing is checked."))
                .set(NAME, "true"),
            (false, None) if case.kind() == "mysql" && !case.commit_time => Finding::warn(NAME, saw)
                .why("Without GTIDs nothing else says which rows were committed together.")
                .set(NAME, "true"),
            (false, None) => Finding::note(NAME, saw)
                .why("With it, and with transactions in its section of the configuration, each transaction is checked for events that were lost on the way.")
                .set(NAME, "true"),
        }
    })
}

/// A connector may be told of another name for its transactions' topic than the configuration has.
fn transaction_topic(config: &Config, topic: &str) -> Option<Finding> {
    const NAME: &str = "topic.transaction";
    let (Said::Is(prefix), last) = (config.said("topic.prefix"), config.said(NAME)) else { return None };
    let last = match last {
        Said::Is(last) => last,
        Said::Absent => "transaction",
        Said::Hidden => return None,
    };
    let written = format!("{prefix}.{last}");
    (written != topic).then(|| {
        Finding::fail(NAME, format!("{written}, and transactions: {topic}"))
            .why("Its transactions are told elsewhere: none is checked.")
            .advice(format!("Write transactions: {written} into the configuration."))
    })
}

fn headers(config: &Config) -> Finding {
    const NAME: &str = "extended.headers.enabled";
    setting(config, NAME, "true", |value| match value.eq_ignore_ascii_case("true") {
        true => Finding::pass(NAME, shown(config, NAME, value)),
        false => Finding::warn(NAME, value)
            .why("Without its run's id a connector's restart cannot be told from a failover of its database.")
            .set(NAME, "true"),
    })
}

/// An incremental snapshot brings back what was lost, if the connector can be told to make one.
fn signals(case: &Case<'_>, config: &Config) -> Finding {
    const CHECK: &str = "signals";
    let has_table = config.said("signal.data.collection") != Said::Absent;
    let channels = config.or("signal.enabled.channels", "source").map(crate::app::doctor::seen::items);
    let Some(channels) = channels else { return hidden("signal.enabled.channels") };
    let by_kafka = channels.contains(&"kafka");
    let read_only = config.is_true("read.only", false) == Some(true) && by_kafka;
    let notifies = config.list("notification.enabled.channels").contains(&"sink");
    if let (true, Said::Is(topic)) = (by_kafka, config.said("signal.kafka.topic"))
        && let Some(seen) = case.topics.get(topic)
        && seen.partitions != 1
    {
        return Finding::warn(CHECK, format!("{topic} has {} partitions", seen.partitions))
            .why("A signal topic has one partition: signals of others are not read in order.")
            .advice("Make the topic anew with one partition.");
    }
    match (has_table || read_only, notifies) {
        (true, true) => Finding::pass(CHECK, if has_table { "by a table" } else { "by Kafka" }),
        (true, false) => Finding::note(CHECK, "there are, but no notification topic")
            .why("That a snapshot ended, and what it found, only a notification says.")
            .set("notification.enabled.channels", "sink")
            .set("notification.sink.topic.name", format!("{}.notifications", config.or("topic.prefix", case.name).unwrap_or(case.name))),
        (false, _) => Finding::warn(CHECK, "none: no incremental snapshot can be asked for")
            .why("What was lost, only a new connector with a new snapshot brings back.")
            .advice("Create a signal table, capture it, and name it in signal.data.collection (Debezium: Sending signals)."),
    }
}
