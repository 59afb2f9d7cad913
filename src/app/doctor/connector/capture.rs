//! What is captured: tables, columns, operations, keys, snapshots; and what is masked on the way.

use super::{hidden, setting, shown};
use crate::app::doctor::finding::Finding;
use crate::app::doctor::seen::{Case, Config, Said, Table, items, matches};

pub fn judge(case: &Case<'_>, config: &Config) -> Vec<Finding> {
    let mut found = vec![topics(case, config)];
    found.extend(lists(case, config));
    found.extend(columns(case, config));
    found.extend(masks(case, config));
    found.extend(keys(case, config));
    found.extend([operations(config), unchanged(config), tombstones(case, config), snapshot(case, config)]);
    found
}

/// The topics that the sources name are those that the connector writes.
fn topics(case: &Case<'_>, config: &Config) -> Finding {
    const NAME: &str = "topic.prefix";
    setting(config, NAME, "", |prefix| {
        let is_renamed =
            !config.list("transforms").is_empty() || config.said("topic.naming.strategy") != Said::Absent;
        let begins = |topic: &&String| topic.starts_with(&format!("{prefix}."));
        let others = case.tables.iter().flat_map(|table| &table.topics).filter(|topic| !begins(topic));
        let others: Vec<&str> = others.map(String::as_str).collect();
        match (others.is_empty(), is_renamed) {
            (true, _) => Finding::pass(NAME, prefix),
            (false, true) => Finding::note(NAME, format!("{prefix}; {} named otherwise", others.join(", ")))
                .why("Transforms or a naming strategy rename topics; which table stands behind one cannot be told."),
            (false, false) => Finding::fail(NAME, format!("{prefix}, but a source reads {}", others.join(", ")))
                .why("Nothing that this connector writes goes there: the prefix was changed, or the source names another connector's topic.")
                .advice("Correct the source's topic or connector, or name_in_connect. A prefix is never changed in place: the connector begins anew."),
        }
    })
}

/// The lists that say which things are captured, and which are not.
fn is_captured(config: &Config, kind: &str, name: &str) -> Result<bool, &'static str> {
    let [include, exclude] = ["include", "exclude"].map(|way| config.said(&format!("{kind}.{way}.list")));
    let matched = |list| matches(list, name).ok_or("an expression that only Java reads");
    match (include, exclude) {
        (Said::Hidden, _) | (_, Said::Hidden) => Err("a placeholder"),
        (Said::Is(list), _) => matched(list),
        (Said::Absent, Said::Is(list)) => matched(list).map(|is| !is),
        (Said::Absent, Said::Absent) => Ok(true),
    }
}

fn lists(case: &Case<'_>, config: &Config) -> Vec<Finding> {
    let outer = if case.is_postgres() { "schema" } else { "database" };
    if !case.is_postgres() && !case.is_mysql() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (table, name) in case.tables.iter().flat_map(|table| table.names.iter().map(move |name| (table, name))) {
        let check = format!("{} is captured", if table.is_heartbeat { "heartbeat table" } else { "table" });
        let schema = name.split('.').next().unwrap_or(name);
        let [outer_captured, captured] = [is_captured(config, outer, schema), is_captured(config, "table", name)];
        let add = |finding: Finding, list: String| {
            let known = config.list(&list).join(",");
            match known.is_empty() {
                true => finding.advice(format!("Take {name} out of {}.", list.replace("include", "exclude"))),
                false => {
                    finding.set(&list, format!("{known},{}", if list.starts_with("table") { name } else { schema }))
                }
            }
        };
        found.push(match (outer_captured, captured) {
            (Ok(true), Ok(true)) => Finding::pass(check, name),
            (Ok(false), _) => add(not_captured(&check, table, name), format!("{outer}.include.list")),
            (_, Ok(false)) => add(not_captured(&check, table, name), "table.include.list".to_owned()),
            (Err(why), _) | (_, Err(why)) => Finding::unknown(check, format!("{name}: the lists hold {why}")),
        });
    }
    found
}

fn not_captured(check: &str, table: &Table, name: &str) -> Finding {
    let why = if table.is_heartbeat {
        "Without its rows nothing proves how far the connector has read."
    } else {
        "Its changes never come."
    };
    Finding::fail(check, format!("{name} is not")).why(why)
}

fn columns(case: &Case<'_>, config: &Config) -> Option<Finding> {
    const CHECK: &str = "column.include.list, exclude.list";
    let is_set = ["column.include.list", "column.exclude.list"].map(|name| config.said(name) != Said::Absent);
    if is_set == [false, false] {
        return Some(Finding::pass(CHECK, "not set"));
    }
    let mut left_out = Vec::new();
    for table in &case.tables {
        for (name, column) in
            table.names.iter().flat_map(|name| table.columns.iter().map(move |column| (name, column)))
        {
            let full = format!("{name}.{}", column.name);
            match is_captured(config, "column", &full) {
                Ok(true) => {}
                Ok(false) => left_out.push(full),
                Err(why) => return Some(Finding::unknown(CHECK, format!("the lists hold {why}"))),
            }
        }
    }
    Some(match left_out.is_empty() {
        true => Finding::pass(CHECK, "every kept column is captured"),
        false => {
            let finding = Finding::fail(CHECK, format!("without {}", left_out.join(", ")))
                .why("Rules compare columns that never come.");
            let known = config.list("column.include.list").join(",");
            match known.is_empty() {
                true => finding.advice("Take them out of column.exclude.list."),
                false => finding.set("column.include.list", format!("{known},{}", left_out.join(","))),
            }
        }
    })
}

/// Settings that alter values; the rest of their names says how.
const MASKS: [&str; 3] = ["column.mask.hash.", "column.mask.with.", "column.truncate.to."];

fn masks(case: &Case<'_>, config: &Config) -> Vec<Finding> {
    let all: Vec<String> = case
        .tables
        .iter()
        .flat_map(|table| {
            table
                .names
                .iter()
                .flat_map(move |name| table.columns.iter().map(move |column| format!("{name}.{}", column.name)))
        })
        .collect();
    let mut found = Vec::new();
    for (name, said) in MASKS.iter().flat_map(|prefix| config.beginning(prefix)) {
        // Debezium also keeps a salt and such beside them.
        found.push(match said {
            Said::Hidden => hidden(kept_short(name)),
            Said::Absent => continue,
            Said::Is(list) => {
                let hit = all.iter().filter(|column| matches(list, column) == Some(true));
                let hit: Vec<&str> = hit.map(String::as_str).collect();
                match hit.is_empty() {
                    true => Finding::pass(kept_short(name), "no kept column"),
                    false => Finding::fail(kept_short(name), hit.join(", "))
                        .why("Values that are altered are equal or differ by chance. Evenkeel masks on the way out: mask: hash.")
                        .advice(format!("Take them out of {}.", kept_short(name))),
                }
            }
        });
    }
    if found.is_empty() {
        found.push(Finding::pass("column.mask.*, column.truncate.*", "not set"));
    }
    found
}

/// The name of a mask without the salt that stands in it.
fn kept_short(name: &str) -> String {
    name.split(".with.salt.").next().unwrap_or(name).to_owned()
}

fn keys(case: &Case<'_>, config: &Config) -> Vec<Finding> {
    const NAME: &str = "message.key.columns";
    let list = match config.said(NAME) {
        Said::Absent => return vec![Finding::pass(NAME, "not set: the primary key")],
        Said::Hidden => return vec![hidden(NAME)],
        Said::Is(list) => list,
    };
    let mut found = Vec::new();
    for table in &case.tables {
        let columns = table.names.iter().find_map(|name| {
            let of_table = |entry: &&str| {
                let expression = entry.split_once(':').map_or("", |(expression, _)| expression.trim());
                matches(expression, name) == Some(true)
            };
            let entry = list.split(';').find(of_table)?;
            Some(items(entry.split_once(':')?.1))
        });
        let Some(columns) = columns else { continue };
        found.push(key(case, config, table, &columns));
    }
    if found.is_empty() {
        found.push(Finding::pass(NAME, "no table that is kept"));
    }
    found
}

fn key(case: &Case<'_>, config: &Config, table: &Table, columns: &[&str]) -> Finding {
    const NAME: &str = "message.key.columns";
    let is_unique = table.primary_key.iter().all(|column| columns.contains(&column.as_str()));
    let is_primary = is_unique && columns.len() == table.primary_key.len();
    let saw = format!("{}: {}", table.source, columns.join(", "));
    if is_primary {
        return Finding::pass(NAME, saw);
    }
    if case.is_postgres() && !table.full_before {
        return Finding::fail(NAME, saw)
            .why("Under REPLICA IDENTITY DEFAULT deletes and moves do not carry these columns: they go to a wrong key, or to none.")
            .unset(NAME);
    }
    if is_unique {
        return Finding::note(NAME, saw)
            .why("The key is unique; rows that move change it, and come as delete and insert.");
    }
    let can_snapshot =
        config.said("signal.data.collection") != Said::Absent || config.is_true("read.only", false) != Some(false);
    let is_compacted =
        table.topics.iter().any(|topic| case.topics.get(topic).is_some_and(|topic| topic.is_compacted()));
    let tombstones = config.is_true("tombstones.on.delete", true) != Some(false);
    match (is_compacted && tombstones, can_snapshot) {
        (true, _) => Finding::fail(NAME, format!("{saw}, with tombstones on a compacted topic"))
            .why("The key is not unique: one row's tombstone erases all rows of the key."),
        (_, true) => Finding::fail(NAME, format!("{saw}, with signals")).why(
            "The key is not unique: an incremental snapshot sends one row of each key, and says that all went well.",
        ),
        _ => Finding::warn(NAME, saw)
            .why("The key is not unique: compaction and incremental snapshots keep one row of each key."),
    }
    .unset(NAME)
}

fn operations(config: &Config) -> Finding {
    const NAME: &str = "skipped.operations";
    setting(config, NAME, "t", |value| {
        let skipped = items(value);
        let saw = shown(config, NAME, value);
        if skipped.iter().any(|op| ["c", "u", "d"].contains(op)) {
            return Finding::fail(NAME, saw).why("Changes of these kinds never come.").set(NAME, "none");
        }
        match skipped.contains(&"t") {
            true => Finding::warn(NAME, saw)
                .why("A TRUNCATE is not sent: rows that are gone stay. Sent, it is quarantined and said.")
                .set(NAME, "none"),
            false => Finding::pass(NAME, saw),
        }
    })
}

fn unchanged(config: &Config) -> Finding {
    const NAME: &str = "skip.messages.without.change";
    setting(config, NAME, "false", |value| {
        match value.eq_ignore_ascii_case("true") {
        false => Finding::pass(NAME, shown(config, NAME, value)),
        true => Finding::warn(NAME, value)
            .why("Updates are left out by comparing images that may not be whole; a heartbeat of which no captured column changes is, too.")
            .set(NAME, "false"),
    }
    })
}

fn tombstones(case: &Case<'_>, config: &Config) -> Finding {
    const NAME: &str = "tombstones.on.delete";
    let by_tombstone = case.shape.flattened.as_ref().is_some_and(|flattened| flattened.tombstones_delete);
    setting(config, NAME, "true", |value| {
        let saw = shown(config, NAME, value);
        match (value.eq_ignore_ascii_case("true"), by_tombstone) {
            (false, true) => Finding::fail(NAME, saw)
                .why("Of a flattened delete nothing but the tombstone tells.")
                .set(NAME, "true"),
            (false, false) => Finding::note(NAME, saw).why("On a compacted topic, deletes then stay for ever."),
            (true, _) => Finding::pass(NAME, saw),
        }
    })
}

fn snapshot(case: &Case<'_>, config: &Config) -> Finding {
    const NAME: &str = "snapshot.mode";
    let is_partial = case.sources().next().is_some() && case.sources().all(|table| table.partial_history);
    setting(config, NAME, "initial", |value| {
        let saw = shown(config, NAME, value);
        match value {
            "initial" => Finding::pass(NAME, saw),
            "when_needed" => Finding::note(NAME, saw)
                .why("Where its place in the log is gone it takes a snapshot anew, which does not tell of rows deleted meanwhile."),
            "initial_only" => Finding::fail(NAME, saw)
                .why("It ends after the snapshot: no change ever comes.")
                .set(NAME, "initial"),
            "no_data" | "never" | "schema_only" if is_partial => {
                Finding::note(NAME, saw).why("The sources say history: partial, so a missing older row proves nothing.")
            }
            "no_data" | "never" | "schema_only" => Finding::warn(NAME, saw)
                .why("What was there before the connector's start is not known: rows that were never sent look missing.")
                .set(NAME, "initial")
                .ours("sources.<name>.history: partial"),
            "always" => Finding::warn(NAME, saw)
                .why("Each start sends all rows again, and does not tell of those deleted meanwhile.")
                .set(NAME, "initial"),
            _ => Finding::warn(NAME, saw)
                .why("A mode of recovery, or of one's own: what it leaves out cannot be told from here.")
                .set(NAME, "initial"),
        }
    })
}
