//! Topics: which a source reads, which Evenkeel writes, and that no topic has two meanings.
//!
//! Must not know: Kafka.

use regex::Regex;

use super::Named;
use super::connectors::Connector;
use super::node::Name;
use super::reader::{Context, Section};
use super::reference;
use super::sources::Partly;
use super::units::Problem;
use crate::app::diagnostic::Kind;
use crate::app::settings::{TopicSelection, TopicSettings};

/// Checks a topic's name by Kafka's own rule.
pub fn topic_name(text: &str) -> Result<String, Problem> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > 249 || matches!(text, "." | "..") || !text.chars().all(legal) {
        return Err(Problem::new(format!("\"{text}\" is not a topic's name"))
            .hint("A topic's name has letters, digits, ., _ and -, at most 249 of them."));
    }
    Ok(text.to_owned())
}

fn pattern(text: &str) -> Result<Regex, Problem> {
    Regex::new(&format!("^(?:{text})$")).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Problem::new(format!("\"{text}\" is not a regular expression: {reason}"))
            .hint("It matches the whole name of a topic; write \\. for a dot.")
    })
}

/// The topics of a source.
pub fn selection(section: &Section<'_>) -> Option<TopicSelection> {
    let context = section.context;
    let given: Vec<&str> =
        ["topic", "topics", "topic_pattern"].into_iter().filter(|field| section.get(field).is_some()).collect();
    match given.as_slice() {
        [] => {
            let fault = section.start_fault(Kind::MissingField, format!("{}: \"topic\" is missing", section.what));
            context.report(fault.hint("Name the topic of the table's changes, as in topic: shop.shop.orders."));
            None
        }
        [_, second, ..] => {
            let node = section.get(second)?;
            let message = format!("{}: only one of {} may be given", section.what, given.join(" and "));
            context.report(node.fault(Kind::Conflict, message));
            None
        }
        ["topic_pattern"] => {
            section.read("topic_pattern", |text| pattern(text).map(|_| text.to_owned())).map(TopicSelection::Pattern)
        }
        [field] => {
            let node = section.get(field)?;
            let what = section.path(field);
            let texts = context.texts(node, &what);
            if texts.is_empty() {
                context.report(node.fault(Kind::BadValue, format!("{what} names no topic")));
            }
            let mut names = Vec::new();
            for (text, node) in &texts {
                match topic_name(text) {
                    Ok(name) if names.contains(&name) => {
                        context.report(node.fault(Kind::Duplicate, format!("{what}: \"{name}\" is named twice")));
                    }
                    Ok(name) => names.push(name),
                    Err(problem) => context.problem(node, &what, problem),
                }
            }
            (!names.is_empty() && names.len() == texts.len()).then_some(TopicSelection::List(names))
        }
    }
}

/// The topics that Evenkeel writes.
pub fn written(root: &Section<'_>, reconciliation: &str) -> Option<TopicSettings> {
    let context = root.context;
    let section = root.get("topics").map(|node| context.section(node, &reference::TOPICS, "topics"));
    let section = match section {
        Some(section) => Some(section?),
        None => None,
    };
    let name = |field: &str, default: String| match &section {
        Some(section) if section.get(field).is_some() => section.read(field, topic_name),
        _ => Some(default),
    };
    let default = format!("evenkeel.{reconciliation}");
    let given = name("prefix", default.clone());
    let prefix = given.clone().unwrap_or(default);
    let number = |field: &'static str, least: i32| {
        let parse = |text: &str| match text.parse::<i32>() {
            Ok(number) if number >= least && number != 0 => Ok(number),
            _ => {
                let or = if least < 0 { ", or -1 for the broker's default" } else { "" };
                let problem = Problem::new(format!("\"{text}\" is not a whole number from {}", least.max(1)));
                Err(problem.hint(format!("Write a whole number, as in 3{or}.")))
            }
        };
        match &section {
            Some(section) => section.read(field, parse),
            None => reference::TOPICS.fields.iter().find(|f| f.name == field)?.default?.parse().ok(),
        }
    };
    let named =
        ["changes", "discrepancies", "open", "quarantine"].map(|field| name(field, format!("{prefix}.{field}")));
    let (partitions, replication_factor) = (number("partitions", 1), number("replication_factor", -1));
    let [changes, discrepancies, open, quarantine] = named;
    let topics = TopicSettings {
        changes: changes?,
        discrepancies: discrepancies?,
        open: open?,
        quarantine: quarantine?,
        partitions: partitions?,
        replication_factor: replication_factor?,
        ingest_group: format!("{prefix}.ingest"),
        reconcile_group: format!("{prefix}.reconcile"),
        transactional_id: prefix,
    };
    let names = [&topics.changes, &topics.discrepancies, &topics.open, &topics.quarantine];
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            let message = format!("topics: \"{name}\" is to be written for two purposes");
            let node = root.get("topics").unwrap_or(root.node);
            context.report(node.fault(Kind::Conflict, message).hint("Give each its own name."));
        }
    }
    given.map(|_| topics)
}

/// Reports topics that would be read or written with two meanings.
pub fn overlaps<'n>(
    context: &Context<'n>,
    connectors: &[Named<'n, Option<Connector>>],
    sources: &[Named<'n, Partly>],
    written: Option<&TopicSettings>,
) {
    let mut users: Vec<(String, TopicSelection)> = Vec::new();
    let heartbeats = connectors.iter().filter_map(|connector| {
        let heartbeat = connector.value.as_ref()?.settings.heartbeat.as_ref()?;
        let what = format!("the heartbeat of connector \"{}\"", connector.name);
        Some((what, TopicSelection::List(vec![heartbeat.topic.clone()])))
    });
    users.extend(heartbeats);
    if let Some(topics) = written {
        let outputs = [&topics.changes, &topics.discrepancies, &topics.open, &topics.quarantine];
        users.push(("Evenkeel itself".to_owned(), TopicSelection::List(outputs.into_iter().cloned().collect())));
    }
    let mut claim = |what: String, at: &Name, topics: &TopicSelection| {
        for (other, theirs) in &users {
            if let Some(topic) = shared(topics, theirs) {
                let fault = at.fault(Kind::Conflict, format!("{what}: topic \"{topic}\" is also that of {other}"));
                context.report(fault.hint("A topic holds one table's changes and has one meaning."));
            }
        }
        users.push((what, topics.clone()));
    };
    for connector in connectors {
        let settings = connector.value.as_ref().map(|connector| &connector.settings);
        if let Some(transactions) = settings.and_then(|settings| settings.transactions.as_ref()) {
            let what = format!("the transactions of connector \"{}\"", connector.name);
            claim(what, connector.at, &TopicSelection::List(vec![transactions.topic.clone()]));
        }
    }
    for source in sources {
        if let Some(topics) = &source.value.topics {
            claim(format!("source \"{}\"", source.name), source.at, topics);
        }
    }
}

/// A topic that both select. Of two patterns only equal ones are found.
fn shared(ours: &TopicSelection, theirs: &TopicSelection) -> Option<String> {
    match (ours, theirs) {
        (TopicSelection::List(ours), TopicSelection::List(theirs)) => {
            ours.iter().find(|topic| theirs.contains(topic)).cloned()
        }
        (TopicSelection::Pattern(text), TopicSelection::List(topics))
        | (TopicSelection::List(topics), TopicSelection::Pattern(text)) => {
            let pattern = pattern(text).ok()?;
            topics.iter().find(|topic| pattern.is_match(topic)).cloned()
        }
        (TopicSelection::Pattern(ours), TopicSelection::Pattern(theirs)) => (ours == theirs).then(|| ours.clone()),
    }
}
