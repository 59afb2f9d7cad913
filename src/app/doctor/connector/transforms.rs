//! Single message transforms: what they take away or rename, and whether what flattens events is described to Evenkeel.

use std::collections::BTreeSet;

use super::{convert, hidden, setting};
use crate::adapters::debezium::envelope::Field;
use crate::adapters::debezium::position::{lacking, needed};
use crate::adapters::debezium::shape::ConnectorKind;
use crate::app::config::added_fields;
use crate::app::doctor::finding::Finding;
use crate::app::doctor::seen::{Case, Config, Said, items};

pub fn judge(case: &Case<'_>, config: &Config) -> Vec<Finding> {
    if config.said("transforms") == Said::Hidden {
        return vec![hidden("transforms")];
    }
    let names = config.list("transforms");
    let mut found: Vec<Finding> = names.iter().flat_map(|name| transform(case, config, name)).collect();
    let flattens = |name: &&str| matches!(config.said(&format!("transforms.{name}.type")), Said::Is(class) if class.contains("ExtractNew"));
    if case.shape.flattened.is_some() && !names.iter().any(flattens) {
        found.push(
            Finding::fail("transforms", "none flattens events")
                .why("The configuration says that events are flattened; Debezium's own envelope is not understood then.")
                .ours(format!("connectors.{}.flattened: (remove it)", case.name)),
        );
    }
    if found.is_empty() {
        found.push(Finding::pass("transforms", "none"));
    }
    found
}

fn transform(case: &Case<'_>, config: &Config, name: &str) -> Vec<Finding> {
    let at = |part: &str| format!("transforms.{name}.{part}");
    let class = match config.said(&at("type")) {
        Said::Is(class) => class,
        Said::Hidden => return vec![hidden(at("type"))],
        Said::Absent => return vec![Finding::unknown(at("type"), "not set")],
    };
    let check = format!("transforms.{name}");
    let short = class.rsplit('.').next().unwrap_or(class).to_owned();
    let has_predicate = config.said(&at("predicate")) != Said::Absent;
    vec![match short.split('$').next().unwrap_or(&short) {
        "ExtractNewRecordState" => return flattening(case, config, name),
        "Filter" if case.transactions.is_some() => Finding::fail(check, short)
            .why("What it drops was counted by the connector: each transaction of it is said to be incomplete.")
            .advice("Take the transform away, or transactions out of the connector's section of the configuration."),
        "Filter" => Finding::warn(check, short)
            .why("What its condition does not let through never comes, and nothing tells.")
            .advice("Make sure that it drops no row of the compared tables, and none of the heartbeat table."),
        "ContentBasedRouter" | "ByLogicalTableRouter" | "RegexRouter" | "TimestampRouter" => Finding::warn(check, short)
            .why("Records may go to topics that no source names; a table's name does not tell its topic.")
            .advice("Make sure that the sources' topics (or topic_pattern) name every topic that it writes to."),
        "PartitionRouting" => Finding::warn(check, short)
            .why("A delete's tombstone keeps its own partition; changes of one row keep their order only where the routing field never changes.")
            .advice("Leave records in the partitions of their primary key: Evenkeel routes by the order itself."),
        "HeaderToValue" => Finding::warn(check, short)
            .why("It alters the envelope.")
            .advice("See below whether the last records were understood."),
        "ReplaceField" => replace_field(case, config, name, &check, &short),
        "MaskField" => mask_field(case, config, name, &check, &short),
        _ if has_predicate => Finding::note(check, format!("{short}, where its predicate says so")),
        _ => Finding::note(check, short).why("It is not known what it does: see below whether the last records were understood."),
    }]
}

/// What Debezium's envelope cannot do without.
const ENVELOPE: [&str; 4] = ["op", "source", "before", "after"];

/// The fields that must be there: of the envelope, or of the row where events are flattened.
fn read_fields<'c>(case: &'c Case<'_>) -> BTreeSet<&'c str> {
    match &case.shape.flattened {
        None => ENVELOPE.into(),
        Some(flattened) => {
            let columns = case.columns().map(|(_, column)| column.name.as_str());
            columns.chain(flattened.fields.keys().map(String::as_str).filter(|name| *name != "__deleted")).collect()
        }
    }
}

fn replace_field(case: &Case<'_>, config: &Config, name: &str, check: &str, short: &str) -> Finding {
    let list = |parts: [&str; 2]| -> Vec<&str> {
        parts.iter().flat_map(|part| config.list(&format!("transforms.{name}.{part}"))).collect()
    };
    let (excluded, included) = (list(["exclude", "blacklist"]), list(["include", "whitelist"]));
    let renamed: Vec<&str> =
        list(["renames", ""]).into_iter().filter_map(|pair| Some(pair.split_once(':')?.0)).collect();
    let needed = read_fields(case);
    let gone = needed.iter().filter(|field| {
        let is_left_out = !included.is_empty() && !included.contains(field);
        excluded.contains(field) || renamed.contains(field) || is_left_out
    });
    let gone: Vec<&str> = gone.copied().collect();
    if short.ends_with("$Key") || gone.is_empty() {
        return Finding::note(check, format!("{short}, nothing that is needed"));
    }
    Finding::fail(check, format!("{short}: {}", gone.join(", ")))
        .why("It removes or renames what Evenkeel reads.")
        .advice(format!("Take {} out of transforms.{name}, or the transform out of transforms.", gone.join(", ")))
}

fn mask_field(case: &Case<'_>, config: &Config, name: &str, check: &str, short: &str) -> Finding {
    let needed = read_fields(case);
    let fields = config.list(&format!("transforms.{name}.fields"));
    let masked: Vec<&str> = fields.into_iter().filter(|field| needed.contains(field)).collect();
    match masked.is_empty() {
        true => Finding::note(check, format!("{short}, nothing that is needed")),
        false => Finding::fail(check, format!("{short}: {}", masked.join(", ")))
            .why("Masked values are equal or differ by chance.")
            .advice(format!("Take {} out of transforms.{name}.fields.", masked.join(", "))),
    }
}

fn flattening(case: &Case<'_>, config: &Config, name: &str) -> Vec<Finding> {
    let at = |part: &str| format!("transforms.{name}.{part}");
    let check = at("type");
    let Some(ours) = &case.shape.flattened else {
        return vec![
            Finding::fail(check, "ExtractNewRecordState")
                .why("Events are flattened, and the configuration does not say so: none is understood.")
                .ours(format!("connectors.{}.flattened: {{add_fields: \"op,source.ts_ms,…\"}}", case.name)),
        ];
    };
    let mut found = vec![Finding::pass(check, "ExtractNewRecordState")];
    let lists = [("add.fields", &ours.fields, "add_fields"), ("add.headers", &ours.headers, "add_headers")];
    let mut theirs = BTreeSet::new();
    for (part, known, our_name) in lists {
        let (Some(list), Some(prefix)) = (config.or(&at(part), ""), config.or(&at(&format!("{part}.prefix")), "__"))
        else {
            found.push(hidden(at(part)));
            continue;
        };
        let added = added_fields(list, prefix);
        theirs.extend(added.values().copied());
        let missing: Vec<&str> = known
            .iter()
            .filter(|(name, field)| **field != Field::Deleted && added.get(*name) != Some(*field))
            .map(|(name, _)| name.as_str())
            .collect();
        found.push(match (missing.is_empty(), added.iter().all(|(name, field)| known.get(name) == Some(field))) {
            (true, true) => Finding::pass(at(part), items(list).join(",")),
            (false, _) => Finding::fail(at(part), format!("without {}", missing.join(", ")))
                .why("The configuration names fields that the connector does not add.")
                .ours(format!("connectors.{}.flattened.{our_name}: \"{list}\"", case.name)),
            (true, false) => Finding::warn(at(part), items(list).join(","))
                .why("The connector adds fields that the configuration does not name, and that are not read therefore.")
                .ours(format!("connectors.{}.flattened.{our_name}: \"{list}\"", case.name)),
        });
    }
    found.push(positions(case, &at("add.fields"), &theirs));
    found.push(deletes(case, config, &at("delete.tombstone.handling.mode"), ours.tombstones_delete));
    // By default it does what converters do, before they come to it.
    found.push(convert::nulls(case, config, (&at("replace.null.with.default"), "false", "true")));
    found
}

/// A flattened event without time and position cannot be placed.
fn positions(case: &Case<'_>, check: &str, added: &BTreeSet<Field>) -> Finding {
    let kind = case.shape.kind;
    let lacking = lacking(kind, |field| added.contains(&field));
    if lacking.is_empty() {
        return Finding::pass(format!("{check} positions"), "times and positions are there");
    }
    let more = match kind {
        ConnectorKind::Mysql | ConnectorKind::Mariadb => Some(Field::Gtid),
        ConnectorKind::Oracle => Some(Field::TxSeq),
        _ => None,
    };
    let wanted = [Field::Op, Field::TsMs].iter().chain(needed(kind)).chain(&more).map(|field| field.name());
    Finding::warn(format!("{check} positions"), format!("without {}", lacking.join(", ")))
        .why("A row's place in the database's log is lost: what was sent again cannot be told from what is new.")
        .set(check, wanted.collect::<Vec<_>>().join(","))
}

fn deletes(case: &Case<'_>, config: &Config, name: &str, ours: bool) -> Finding {
    setting(config, name, "tombstone", |value| {
        let by_tombstone = ["tombstone", "delete-to-tombstone"].contains(&value);
        if value == "drop" {
            return Finding::fail(name, value)
                .why("Deletes are never heard of: rows that are gone stay.")
                .set(name, "rewrite");
        }
        match by_tombstone == ours {
            true => Finding::pass(name, value),
            false => Finding::fail(name, value)
                .why("The configuration says otherwise: deletes are missed, or taken twice.")
                .ours(format!("connectors.{}.flattened.delete_tombstone_handling_mode: {value}", case.name)),
        }
    })
}
