//! Settings by which records get lost in silence, or are sent carelessly.

use super::{hidden, setting, shown};
use crate::app::doctor::finding::Finding;
use crate::app::doctor::seen::{Case, Config, Said};

pub fn judge(case: &Case<'_>, config: &Config) -> Vec<Finding> {
    let mut found = vec![tolerance(config), processing(config), converting(config), delivery(config), tasks(config)];
    if case.is_mysql() {
        found.push(inconsistent(config));
    }
    found.extend(overrides(case, config));
    found
}

fn tolerance(config: &Config) -> Finding {
    const NAME: &str = "errors.tolerance";
    setting(config, NAME, "none", |value| match value {
        "none" => Finding::pass(NAME, shown(config, NAME, value)),
        _ => Finding::fail(NAME, value)
            .why("Records that cannot be converted or sent are dropped, and the task goes on (KIP-779).")
            .set(NAME, "none"),
    })
}

fn processing(config: &Config) -> Finding {
    const NAME: &str = "event.processing.failure.handling.mode";
    setting(config, NAME, "fail", |value| match value {
        "fail" => Finding::pass(NAME, shown(config, NAME, value)),
        _ => Finding::fail(NAME, value).why("Events that cannot be processed are skipped.").set(NAME, "fail"),
    })
}

fn converting(config: &Config) -> Finding {
    const NAME: &str = "event.converting.failure.handling.mode";
    setting(config, NAME, "warn", |value| match value {
        "fail" => Finding::pass(NAME, value),
        _ => Finding::warn(NAME, shown(config, NAME, value))
            .why("A value that cannot be converted arrives as NULL; nobody can tell it from one.")
            .set(NAME, "fail"),
    })
}

fn inconsistent(config: &Config) -> Finding {
    const NAME: &str = "inconsistent.schema.handling.mode";
    setting(config, NAME, "fail", |value| match value {
        "fail" => Finding::pass(NAME, shown(config, NAME, value)),
        _ => Finding::fail(NAME, value)
            .why("Events of tables that the connector's schema history does not know are skipped.")
            .set(NAME, "fail"),
    })
}

fn delivery(config: &Config) -> Finding {
    const NAME: &str = "exactly.once.support";
    setting(config, NAME, "requested", |value| match value {
        "required" => Finding::note(NAME, value)
            .why("Only readers of committed records see what is exact. Evenkeel reads committed records only."),
        _ => Finding::pass(NAME, shown(config, NAME, value)),
    })
}

fn tasks(config: &Config) -> Finding {
    const NAME: &str = "tasks.max";
    setting(config, NAME, "1", |value| match value {
        "1" => Finding::pass(NAME, shown(config, NAME, value)),
        _ => Finding::note(NAME, value)
            .why("Connectors of PostgreSQL, MySQL and MariaDB have one task, whatever is set."),
    })
}

/// What a connector changes of its worker's producer, which by itself waits for all replicas, for ever, and keeps order.
fn overrides(case: &Case<'_>, config: &Config) -> Vec<Finding> {
    const PREFIX: &str = "producer.override.";
    let is_idempotent = config.is_true("producer.override.enable.idempotence", false) == Some(true);
    let mut found = Vec::new();
    for (name, said) in config.beginning(PREFIX) {
        let value = match said {
            Said::Is(value) => value,
            Said::Hidden => {
                found.push(hidden(name));
                continue;
            }
            Said::Absent => continue,
        };
        let number = value.parse::<i64>().ok();
        let finding = match &name[PREFIX.len()..] {
            "acks" if !["all", "-1"].contains(&value) => {
                Finding::fail(name, value).why("A record is lost where its leader fails before others have it.")
            }
            "max.in.flight.requests.per.connection" if number.is_none_or(|number| number > 1) && !is_idempotent => {
                Finding::fail(name, value)
                    .why("A request that is sent again overtakes others: changes stand in a wrong order.")
            }
            "delivery.timeout.ms" if number.is_none_or(|number| number < i64::from(i32::MAX)) => {
                Finding::fail(name, value)
                    .why("A record that is not sent in time fails the task; Kafka Connect's own limit is none.")
            }
            "max.request.size" => {
                found.push(request_size(case, name, number));
                continue;
            }
            _ => continue,
        };
        found.push(finding.unset(name));
    }
    if found.is_empty() {
        found.push(Finding::pass("producer.override.*", "nothing that loses or reorders"));
    }
    found
}

fn request_size(case: &Case<'_>, name: &str, size: Option<i64>) -> Finding {
    let smaller = case.topics.iter().find_map(|(topic, seen)| {
        let most: i64 = seen.settings.get("max.message.bytes")?.parse().ok()?;
        (size? > most).then(|| format!("{topic} takes {most} bytes"))
    });
    let saw = size.map_or("no number".to_owned(), |size| size.to_string());
    match smaller {
        None => Finding::pass(name, saw),
        Some(smaller) => Finding::warn(name, format!("{saw}, but {smaller}"))
            .why("A record that its topic refuses as too large fails the task.")
            .advice("Raise the topic's max.message.bytes to the producer's max.request.size."),
    }
}
