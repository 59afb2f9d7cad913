//! What was expected beside what was said, as a difference that a person can read.
//!
//! Must not know: how a story is driven.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::story::{DAY, Expected};
use crate::adapters::records::{Output, Renderer};
use crate::domain::instant::Instant;
use crate::domain::key_state::Event;
use crate::domain::record::{Cause, Content, Discrepancy, Record};
use crate::domain::rule::Plan;
use crate::domain::sql::to_text;
use crate::domain::value::Value;

/// A record as it is compared: the value, and the body that would be published.
pub struct Said {
    discrepancy: Discrepancy,
    body: Json,
}

impl Said {
    /// `None` for records that are not about a discrepancy.
    pub fn of(renderer: &Renderer, plan: &Plan, record: &Record) -> Option<Said> {
        let Content::Discrepancy(discrepancy) = &record.content else { return None };
        let message = renderer.message(plan, 0, record);
        debug_assert_eq!(message.output, Output::Discrepancies);
        let body = message.body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
        Some(Said { discrepancy: (**discrepancy).clone(), body })
    }

    /// Something that is open now.
    pub fn of_open(renderer: &Renderer, plan: &Plan, open: &Discrepancy) -> Option<Said> {
        let content = Content::Discrepancy(Box::new(Discrepancy { event: Event::Opened, ..open.clone() }));
        Said::of(renderer, plan, &Record { cause: Cause { offset: 0, number: 0 }, content })
    }

    fn text(&self, field: &str) -> String {
        let value = match field {
            "rule" => &self.body["rule"]["id"],
            other => &self.body[other],
        };
        match value {
            Json::String(text) => text.clone(),
            Json::Null => "none".to_owned(),
            other => other.to_string(),
        }
    }

    /// One line for people.
    fn describe(&self, plan: &Plan) -> String {
        let discrepancy = &self.discrepancy;
        let mut text = format!(
            "{} {} since {} at {}, revision {}",
            self.text("type"),
            discrepancy.rule,
            clock(discrepancy.since),
            clock(discrepancy.at),
            discrepancy.revision
        );
        for field in ["severity", "reason"] {
            if !self.body[field].is_null() {
                text.push_str(&format!(", {field} {}", self.text(field)));
            }
        }
        let columns = discrepancy.rule_index.map(|rule| plan.rules[rule].query.columns()).unwrap_or_default();
        for row in &discrepancy.evidence {
            let cells: Vec<String> =
                columns.iter().zip(row).map(|(column, value)| format!("{}: {}", column.name, shown(value))).collect();
            text.push_str(&format!(", evidence {{{}}}", cells.join(", ")));
        }
        text
    }
}

/// A time of the stories' day as such, any other instant in full.
fn clock(instant: Instant) -> String {
    let text = instant.to_string();
    match text.strip_prefix(&format!("{DAY}T")) {
        Some(time) => time.trim_end_matches('Z').trim_end_matches(".000000").to_owned(),
        None => text,
    }
}

fn shown(value: &Value) -> String {
    if value.is_null() { "null".to_owned() } else { to_text(value) }
}

/// The lines of the difference; none where everything is as expected. Keys are compared one by one, each in order.
pub fn in_order(plan: &Plan, expected: &[Expected], said: &[Said]) -> Vec<String> {
    let mut keys: BTreeMap<&str, (Vec<&Expected>, Vec<&Said>)> = BTreeMap::new();
    for one in expected {
        keys.entry(&one.key).or_default().0.push(one);
    }
    for one in said {
        keys.entry(&one.discrepancy.key.0).or_default().1.push(one);
    }
    let mut lines = Vec::new();
    for (key, (expected, said)) in keys {
        for index in 0..expected.len().max(said.len()) {
            let place = format!("key {key}, record {}", index + 1);
            compare(plan, &place, expected.get(index).copied(), said.get(index).copied(), &mut lines);
        }
    }
    lines
}

/// As [`in_order`], for records without an order: each expected one takes the first that fits it.
pub fn in_any_order(plan: &Plan, expected: &[Expected], open: Vec<Said>) -> Vec<String> {
    let mut left = open;
    let mut lines = Vec::new();
    for one in expected {
        match left.iter().position(|said| differences(plan, one, said).is_empty()) {
            Some(index) => {
                left.remove(index);
            }
            None => compare(plan, &format!("key {}", one.key), Some(one), None, &mut lines),
        }
    }
    for said in &left {
        compare(plan, &format!("key {}", said.discrepancy.key.0), None, Some(said), &mut lines);
    }
    lines
}

fn compare(plan: &Plan, place: &str, expected: Option<&Expected>, said: Option<&Said>, lines: &mut Vec<String>) {
    match (expected, said) {
        (Some(expected), Some(said)) => {
            let differences = differences(plan, expected, said);
            if !differences.is_empty() {
                lines.push(format!("{place} differs from line {}:", expected.place.line()));
                for (field, wanted, got) in differences {
                    lines.push(format!("- {field}: {wanted}"));
                    lines.push(format!("+ {field}: {got}"));
                }
            }
        }
        (Some(expected), None) => {
            lines.push(format!("{place} of line {} is missing:", expected.place.line()));
            let fields: Vec<String> = expected.texts.iter().map(|(field, text)| format!("{field} {text}")).collect();
            let times = [("since", expected.since), ("at", expected.at)];
            let times = times.into_iter().filter_map(|(field, at)| Some(format!("{field} {}", clock(at?))));
            lines.push(format!("- {}", fields.into_iter().chain(times).collect::<Vec<_>>().join(", ")));
        }
        (None, Some(said)) => {
            lines.push(format!("{place} was not expected:"));
            lines.push(format!("+ {}", said.describe(plan)));
        }
        (None, None) => {}
    }
}

/// Field, expected, got.
fn differences(plan: &Plan, expected: &Expected, said: &Said) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut check = |field: &str, wanted: String, got: String| {
        if wanted != got {
            found.push((field.to_owned(), wanted, got));
        }
    };
    let discrepancy = &said.discrepancy;
    check("key", expected.key.clone(), discrepancy.key.0.to_string());
    for (field, wanted) in &expected.texts {
        check(field, wanted.clone(), said.text(field));
    }
    for (field, wanted, got) in [("since", expected.since, discrepancy.since), ("at", expected.at, discrepancy.at)] {
        if let Some(wanted) = wanted {
            check(field, clock(wanted), clock(got));
        }
    }
    if let Some(wanted) = &expected.identity {
        let list = |values: &[Value]| values.iter().map(shown).collect::<Vec<_>>().join(", ");
        if **wanted != *discrepancy.identity {
            check("identity", list(wanted), list(&discrepancy.identity));
        }
    }
    let columns = discrepancy.rule_index.map(|rule| plan.rules[rule].query.columns()).unwrap_or_default();
    let value = |row: usize, name: &str| {
        let index = columns.iter().position(|column| column.name == name)?;
        discrepancy.evidence.get(row).map(|row| &row[index])
    };
    for (index, row) in expected.evidence.iter().enumerate() {
        for (name, wanted) in row {
            let got = value(index, name);
            if got != Some(wanted) {
                let got = got.map_or("no such row".to_owned(), shown);
                check(&format!("evidence {} {name}", index + 1), shown(wanted), got);
            }
        }
    }
    if expected.all_evidence {
        check("rows of evidence", expected.evidence.len().to_string(), discrepancy.evidence.len().to_string());
    }
    if let Some(wanted) = &expected.amount {
        let got = value(0, "amount_at_risk");
        if got.map(to_text).and_then(|text| text.parse::<bigdecimal::BigDecimal>().ok()) != decimal(wanted) {
            check("amount_at_risk", shown(wanted), got.map_or("none".to_owned(), shown));
        }
    }
    for (name, wanted) in &expected.annotations {
        let got = said.body["annotations"][name].as_str().unwrap_or("none");
        check(&format!("annotation {name}"), wanted.clone(), got.to_owned());
    }
    found
}

fn decimal(value: &Value) -> Option<bigdecimal::BigDecimal> {
    match value {
        Value::Decimal(decimal) => Some((**decimal).clone()),
        _ => None,
    }
}
