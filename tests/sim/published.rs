//! What was published, as the oracle would say it.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel::domain::change::{Key, TopicPartition};
use evenkeel::domain::key_state::{Event as Said_, Reason};
use evenkeel::domain::record::{Cause, Content, Discrepancy, Record, SideRow};
use evenkeel::domain::value::Value;

use super::life::{Event, Said, Sided};
use super::rules;
use super::world::{Cell, Cells};

/// The topic-partitions that lanes stand for, each with its source.
pub type Topics = [(Option<usize>, TopicPartition)];

/// What was said of each order, in order.
pub fn said(published: &[Record], topics: &Topics) -> BTreeMap<i64, Vec<Said>> {
    let mut said: BTreeMap<i64, Vec<Said>> = BTreeMap::new();
    for record in published {
        if let Content::Discrepancy(discrepancy) = &record.content {
            let one = translate(topics, record.cause, discrepancy);
            said.entry(one.key).or_default().push(one);
        }
    }
    said
}

/// What is open by the last record of each order on the open topic.
pub fn open_now(published: &[Record]) -> BTreeSet<(i64, &'static str, Cells)> {
    let mut last: BTreeMap<i64, Vec<(&'static str, Cells)>> = BTreeMap::new();
    for record in published {
        if let Content::Open { key, open, .. } = &record.content {
            let each = open.iter().map(|one| (rules::id(&one.rule), cells(&one.identity)));
            last.insert(number(key), each.collect());
        }
    }
    let each = |(key, open): (i64, Vec<(&'static str, Cells)>)| {
        open.into_iter().map(move |(rule, identity)| (key, rule, identity))
    };
    last.into_iter().flat_map(each).collect()
}

fn translate(topics: &Topics, cause: Cause, told: &Discrepancy) -> Said {
    let side = |row: &SideRow| Sided {
        cells: cells(&row.columns),
        time: row.source_time.0,
        position: row.position.clone(),
        lane: topics
            .iter()
            .position(|(_, known)| known.topic == row.topic && known.partition == row.partition)
            .expect("it is a lane"),
        offset: row.offset,
    };
    let sides: Vec<Vec<Sided>> = told.sides.iter().map(|rows| rows.iter().map(side).collect()).collect();
    Said {
        key: number(&told.key),
        cause: cause.offset,
        event: match told.event {
            Said_::Opened => Event::Opened,
            Said_::Updated => Event::Updated,
            Said_::Escalated => Event::Escalated,
            Said_::Resolved(Reason::Converged) => Event::Converged,
            Said_::Resolved(Reason::Deleted) => Event::Deleted,
            Said_::Resolved(Reason::LateArrival) => Event::Late,
            Said_::Resolved(Reason::RuleRemoved) => Event::Removed,
        },
        rule: rules::id(&told.rule),
        identity: cells(&told.identity),
        since: told.since.0,
        lineage: told.lineage.0,
        at: told.at.0,
        settled: told.settled.0,
        revision: told.revision,
        flap_count: told.flap_count,
        escalated: told.escalated,
        evidence: told.evidence.iter().map(|row| cells(row)).collect(),
        sides: sides.try_into().expect("there are three sources"),
    }
}

fn number(key: &Key) -> i64 {
    key.0.parse().expect("orders have numbers")
}

pub fn cells(values: &[Value]) -> Cells {
    let cell = |value: &Value| match value {
        Value::Unknown => Cell::Unknown,
        Value::Null => Cell::Null,
        Value::Int(number) => Cell::Int(*number),
        Value::Decimal(decimal) => Cell::Int(decimal.to_plain_string().parse().expect("sums of integers")),
        Value::Text(text) => Cell::Text(text.to_string()),
        other => panic!("{other:?} is not simulated"),
    };
    values.iter().map(cell).collect()
}
