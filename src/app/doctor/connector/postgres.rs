//! Settings of PostgreSQL's connector alone: plugin, slot, publication, offsets.

use super::{setting, shown};
use crate::app::doctor::finding::Finding;
use crate::app::doctor::seen::{Case, Config};

pub fn judge(case: &Case<'_>, config: &Config) -> Vec<Finding> {
    if !case.is_postgres() {
        return Vec::new();
    }
    let mut found = vec![plugin(config), slot(config), publication(config), threads(case, config), failover(config)];
    found.extend([mismatch(case, config), flush(case, config)]);
    found
}

fn plugin(config: &Config) -> Finding {
    const NAME: &str = "plugin.name";
    setting(config, NAME, "decoderbufs", |value| match value {
        "pgoutput" => Finding::pass(NAME, value),
        _ => Finding::warn(NAME, shown(config, NAME, value))
            .why("PostgreSQL's own pgoutput is what Evenkeel is tested with; others must be installed in the server.")
            .advice("A connector keeps its plugin with its slot: create it anew with plugin.name=pgoutput."),
    })
}

fn slot(config: &Config) -> Finding {
    const NAME: &str = "slot.drop.on.stop";
    setting(config, NAME, "false", |value| match value.eq_ignore_ascii_case("true") {
        false => Finding::pass(NAME, shown(config, NAME, value)),
        true => Finding::fail(NAME, value)
            .why("What is committed while the connector stands still is lost.")
            .set(NAME, "false"),
    })
}

fn publication(config: &Config) -> Finding {
    const NAME: &str = "publication.autocreate.mode";
    setting(config, NAME, "all_tables", |value| {
        let saw = shown(config, NAME, value);
        match value {
            "filtered" => Finding::pass(NAME, saw),
            "all_tables" => Finding::note(NAME, saw)
                .why("Every table of the database is sent to the connector; UPDATE and DELETE on tables without a primary key are refused by PostgreSQL.")
                .set(NAME, "filtered"),
            _ => Finding::note(NAME, saw).why("Somebody else must keep the publication's tables: give the database's URL to have it looked at."),
        }
    })
}

fn mismatch(case: &Case<'_>, config: &Config) -> Finding {
    const NAME: &str = "offset.mismatch.strategy";
    if case.is_at_least("3.4.0.Alpha1") == Some(false) {
        return Finding::note(NAME, "this version does not have it")
            .why("Where the slot is ahead of the connector's offset, it goes on at the slot, and what lies between is lost.")
            .advice("Watch for a slot that was dropped and made anew; Debezium 3.4 has the setting.");
    }
    setting(config, NAME, "no_validation", |value| {
        match value {
        "trust_offset" => Finding::pass(NAME, value),
        _ => Finding::warn(NAME, shown(config, NAME, value))
            .why("Where the slot is ahead of the connector's offset, it goes on at the slot in silence, and what lies between is lost. trust_offset fails loudly.")
            .set(NAME, "trust_offset"),
    }
    })
}

fn flush(case: &Case<'_>, config: &Config) -> Finding {
    const WHY: &str = "The slot never moves on: the server keeps its log until the disk is full.";
    let name = if case.is_at_least("3.4.0.Alpha1") == Some(false) { "flush.lsn.source" } else { "lsn.flush.mode" };
    if config.is_true("flush.lsn.source", true) == Some(false) {
        return Finding::warn("flush.lsn.source", "false").why(WHY).set("flush.lsn.source", "true");
    }
    let default = if name == "lsn.flush.mode" { "connector" } else { "true" };
    setting(config, name, default, |value| match value {
        "manual" => Finding::warn(name, value).why(WHY).set(name, "connector"),
        _ => Finding::pass(name, shown(config, name, value)),
    })
}

fn failover(config: &Config) -> Finding {
    const NAME: &str = "slot.failover";
    setting(config, NAME, "false", |value| {
        match value.eq_ignore_ascii_case("true") {
        true => Finding::pass(NAME, value),
        false => Finding::note(NAME, shown(config, NAME, value))
            .why("Where a standby may take over (PostgreSQL 17), the slot must be synchronised to it; else what was not read is lost with the primary."),
    }
    })
}

fn threads(case: &Case<'_>, config: &Config) -> Finding {
    const NAME: &str = "snapshot.max.threads";
    setting(config, NAME, "1", |value| {
        match (value, case.is_at_least("3.7.0.Alpha2")) {
        ("1", _) | (_, Some(true)) => Finding::pass(NAME, shown(config, NAME, value)),
        _ => Finding::warn(NAME, value)
            .why("Threads of a parallel snapshot do not see one state of the database (dbz#2330, fixed in 3.7.0.Alpha2).")
            .set(NAME, "1"),
    }
    })
}
