//! How many records are in quarantine, and why.
//!
//! Must not know: what a record holds.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value as Json, json};

use super::{Filter, Rejected, each};
use crate::app::StageError;
use crate::app::settings::Settings;
use crate::app::state::table::{aligned, count};

/// Records of one topic that were refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    records: i64,
    /// Kafka's timestamps of the first and the last record, RFC 3339.
    first: String,
    last: String,
    /// Where the last one came from, and what was said of it.
    place: String,
    detail: String,
}

/// What is in quarantine, by source, topic and reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed(BTreeMap<[String; 3], Group>);

pub fn list(settings: &Settings, filter: &Filter) -> Result<Listed, StageError> {
    let mut listed = Listed::default();
    each(settings, |rejected| {
        if filter.wants(&rejected) {
            listed.add(rejected);
        }
    })?;
    Ok(listed)
}

impl Listed {
    pub fn add(&mut self, rejected: Rejected) {
        let place = rejected.place();
        let Rejected { source, topic, reason, timestamp, detail, .. } = rejected;
        let group = self.0.entry([source, topic, reason]).or_insert_with(|| Group {
            records: 0,
            first: timestamp.clone(),
            last: String::new(),
            place: String::new(),
            detail: String::new(),
        });
        group.records += 1;
        if timestamp < group.first {
            group.first.clone_from(&timestamp);
        }
        if timestamp >= group.last {
            (group.last, group.place, group.detail) = (timestamp, place, detail);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn json(&self) -> Json {
        let group = |([source, topic, reason], group): (&[String; 3], &Group)| {
            json!({
                "source": source, "topic": topic, "reason": reason, "records": group.records,
                "first": group.first, "last": group.last, "place": group.place, "detail": group.detail,
            })
        };
        self.0.iter().map(group).collect()
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "nothing is in quarantine");
        }
        let row = |([source, _, reason], group): (&[String; 3], &Group)| {
            let seconds = |instant: &str| instant.get(..19).unwrap_or(instant).to_owned();
            let cells = [count(group.records), seconds(&group.first), seconds(&group.last), group.place.clone()];
            [source.clone(), reason.clone()].into_iter().chain(cells).collect()
        };
        let head = ["source", "reason", "records", "first", "last", "the last one"];
        let left = ["source", "reason", "first", "last", "the last one"];
        f.write_str(&aligned(&head, &left, &self.0.iter().map(row).collect::<Vec<Vec<String>>>()))?;
        for ([source, _, reason], group) in &self.0 {
            write!(f, "\n{source} {reason}: {}\n", group.detail)?;
        }
        Ok(())
    }
}
