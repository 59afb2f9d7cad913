//! Which of the topics that exist are a source's.
//!
//! Must not know: Kafka, when it is asked.

use std::collections::BTreeMap;

use regex::Regex;

use super::settings::{Settings, TopicSelection};
use crate::domain::change::SourceIndex;

/// The topics that the configuration names and that do not exist, by what waits for them.
pub fn missing(
    settings: &Settings,
    present: &BTreeMap<String, i32>,
    selected: &[Selected],
) -> BTreeMap<String, Vec<String>> {
    let sources = settings.sources.iter().zip(selected).map(|(source, selected)| {
        let topics = match &source.topics {
            TopicSelection::List(topics) => topics.clone(),
            TopicSelection::Pattern(pattern) if selected.is_empty() => vec![format!("matching {pattern}")],
            TopicSelection::Pattern(_) => Vec::new(),
        };
        (format!("source {}", source.name), topics)
    });
    let heartbeats = settings.connectors.iter().filter_map(|connector| {
        let topic = connector.heartbeat.as_ref()?.topic.clone();
        Some((format!("heartbeat of connector {}", connector.name), vec![topic]))
    });
    let transactions = settings.connectors.iter().filter_map(|connector| {
        let topic = connector.transactions.as_ref()?.topic.clone();
        Some((format!("transactions of connector {}", connector.name), vec![topic]))
    });
    let all = sources.chain(heartbeats).chain(transactions).map(|(of, mut topics)| {
        topics.retain(|topic| !present.contains_key(topic));
        (of, topics)
    });
    all.filter(|(_, topics)| !topics.is_empty()).collect()
}

/// Every topic that the configuration names; `None` where a pattern stands for some.
pub fn named(settings: &Settings) -> Option<Vec<&str>> {
    let mut named = Vec::new();
    for source in &settings.sources {
        match &source.topics {
            TopicSelection::List(topics) => named.extend(topics.iter().map(String::as_str)),
            TopicSelection::Pattern(_) => return None,
        }
    }
    named.extend(asides(settings));
    Some(named)
}

/// The topics that connectors write beside those of tables.
pub fn asides(settings: &Settings) -> impl Iterator<Item = &str> {
    settings.connectors.iter().flat_map(|one| {
        let heartbeat = one.heartbeat.as_ref().map(|heartbeat| heartbeat.topic.as_str());
        heartbeat.into_iter().chain(one.transactions.as_ref().map(|transactions| transactions.topic.as_str()))
    })
}

/// A topic that two sources select, and the two.
pub fn claimed_twice(selected: &[Selected]) -> Option<(&str, [SourceIndex; 2])> {
    let mut claimed = BTreeMap::new();
    let all =
        selected.iter().enumerate().flat_map(|(source, topics)| topics.iter().map(move |topic| (source, topic)));
    for (source, (topic, _)) in all {
        if let Some(other) = claimed.insert(topic.as_str(), source) {
            return Some((topic, [other, source]));
        }
    }
    None
}

/// Topics, each with its partition count.
pub type Selected = Vec<(String, i32)>;

/// For each source, its topics among those that exist.
pub fn select(settings: &Settings, present: &BTreeMap<String, i32>) -> Vec<Selected> {
    settings.sources.iter().map(|source| matching(&source.topics, present)).collect()
}

/// The topics of a source among those that exist. A listed topic that does not exist counts as one that has made no
/// promise yet.
fn matching(selection: &TopicSelection, present: &BTreeMap<String, i32>) -> Selected {
    match selection {
        TopicSelection::List(topics) => {
            topics.iter().map(|topic| (topic.clone(), present.get(topic).copied().unwrap_or(1))).collect()
        }
        TopicSelection::Pattern(pattern) => match Regex::new(&format!("^(?:{pattern})$")) {
            Ok(regex) => {
                let matching = present.iter().filter(|(topic, _)| regex.is_match(topic));
                matching.map(|(topic, count)| (topic.clone(), *count)).collect()
            }
            Err(_) => Vec::new(),
        },
    }
}
