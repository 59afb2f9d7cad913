//! `evenkeel check --live`: is what runs what the configuration says?
//!
//! Must not know: how the configuration was read. Only asks; changes nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant as Moment};

use rdkafka::Offset;
use rdkafka::message::Message;

use super::config::suggestion;
use super::diagnostic::{Diagnostic, Kind};
use super::ingest_stage::matching;
use super::settings::{ConnectorSettings, Settings, SourceSettings, TopicSelection};
use crate::adapters::debezium::{Decoder, Refusal};
use crate::adapters::kafka::admin::Admin;
use crate::adapters::kafka::changes::{PartitionReader, Reading};
use crate::adapters::kafka::{KafkaFailure, Properties};

/// How long a topic's last record may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

type Topics = BTreeMap<String, i32>;

/// Compares a configuration with the brokers, the topics, and the last records of each.
pub fn live(settings: &Settings) -> Vec<Diagnostic> {
    let properties = Properties::new(settings.kafka.clone());
    let present = match Admin::new(&properties).and_then(|admin| admin.topics()) {
        Ok(present) => present,
        Err(failure) => return vec![unreachable(settings, &failure)],
    };
    let mut faults = Vec::new();
    for source in &settings.sources {
        let topics = there(source, &present, &mut faults);
        for (topic, partitions) in topics {
            faults.extend(last_records(&properties, source, &topic, partitions));
        }
    }
    for connector in &settings.connectors {
        faults.extend(heartbeat(&properties, connector, &present));
    }
    faults.extend(written(settings, &present));
    faults
}

fn fault(message: String) -> Diagnostic {
    Diagnostic::general(Kind::Live, message)
}

fn unreachable(settings: &Settings, failure: &KafkaFailure) -> Diagnostic {
    let servers = settings.kafka.get("bootstrap.servers").map_or("", String::as_str);
    fault(format!("no broker of {servers} answers: {failure}"))
        .hint("Check kafka.bootstrap.servers, and the security settings beside it.")
}

/// The source's topics that exist; the others are faults.
fn there(source: &SourceSettings, present: &Topics, faults: &mut Vec<Diagnostic>) -> Vec<(String, i32)> {
    match &source.topics {
        TopicSelection::List(topics) => {
            for topic in topics.iter().filter(|topic| !present.contains_key(*topic)) {
                faults.push(missing(&format!("source {}", source.name), topic, present));
            }
        }
        TopicSelection::Pattern(pattern) => {
            if matching(&source.topics, present).is_empty() {
                faults.push(fault(format!("source {}: no topic matches {pattern}", source.name)));
            }
        }
    }
    let topics = matching(&source.topics, present);
    topics.into_iter().filter(|(topic, _)| present.contains_key(topic)).collect()
}

fn missing(of: &str, topic: &str, present: &Topics) -> Diagnostic {
    let fault = fault(format!("{of}: topic {topic} does not exist"));
    match suggestion(topic, present.keys().map(String::as_str)) {
        Some(hint) => fault.hint(hint),
        None => fault.hint("Debezium creates it with the table's first event, where the broker lets it."),
    }
}

/// The first record among the last ones of each partition that is not understood.
fn last_records(
    properties: &Properties,
    source: &SourceSettings,
    topic: &str,
    partitions: i32,
) -> Option<Diagnostic> {
    let mut decoder = Decoder::new();
    for partition in 0..partitions {
        let refusal = last_record(properties, topic, partition, |value| {
            decoder.decode(&source.shape, value, 0).map(|_| ()).err()
        });
        match refusal {
            Ok(None) => {}
            Ok(Some((offset, refusal))) => return Some(refused(&source.name, topic, partition, offset, &refusal)),
            Err(failure) => return Some(fault(format!("source {}: {failure}", source.name))),
        }
    }
    None
}

fn refused(of: &str, topic: &str, partition: i32, offset: i64, refusal: &Refusal) -> Diagnostic {
    let Refusal { reason, detail } = refusal;
    fault(format!("{of}: {topic}:{partition}, offset {offset} is not understood ({reason}): {detail}"))
        .hint("Such records go to quarantine. Compare the source's columns and their types with the record.")
}

/// Reads a partition's last record, if it has one, and gives its offset with what `judge` finds wrong.
fn last_record(
    properties: &Properties,
    topic: &str,
    partition: i32,
    mut judge: impl FnMut(Option<&[u8]>) -> Option<Refusal>,
) -> Result<Option<(i64, Refusal)>, KafkaFailure> {
    let reader = PartitionReader::open(properties, topic, partition, 1 << 20)?;
    let (start, end) = reader.bounds()?;
    if start == end {
        return Ok(None);
    }
    reader.seek(Offset::Offset(start.max(end - 2)))?;
    let deadline = Moment::now() + PATIENCE;
    while Moment::now() < deadline {
        match reader.poll(Duration::from_millis(100))? {
            Reading::Message(message) => {
                if let Some(refusal) = judge(message.payload()) {
                    return Ok(Some((message.offset(), refusal)));
                }
            }
            Reading::End => break,
            Reading::Nothing => {}
        }
    }
    Ok(None)
}

fn heartbeat(properties: &Properties, connector: &ConnectorSettings, present: &Topics) -> Option<Diagnostic> {
    let heartbeat = connector.heartbeat.as_ref()?;
    let of = format!("heartbeat of connector {}", connector.name);
    let Some(partitions) = present.get(&heartbeat.topic) else {
        return Some(missing(&of, &heartbeat.topic, present));
    };
    if *partitions != 1 {
        let message = format!("{of}: topic {} has {partitions} partitions", heartbeat.topic);
        return Some(fault(message).hint("Create it with one: the order of heartbeats is what they prove."));
    }
    let mut decoder = Decoder::new();
    let refusal = last_record(properties, &heartbeat.topic, 0, |value| {
        decoder.heartbeat(&heartbeat.shape, value, 0).map(|_| ()).err()
    });
    match refusal {
        Ok(None) => None,
        Ok(Some((offset, refusal))) => Some(refused(&of, &heartbeat.topic, 0, offset, &refusal)),
        Err(failure) => Some(fault(format!("{of}: {failure}"))),
    }
}

/// Evenkeel's own topics may be missing; those that exist must have the partitions that the configuration says.
fn written(settings: &Settings, present: &Topics) -> Vec<Diagnostic> {
    let topics = &settings.topics;
    let own = [&topics.changes, &topics.discrepancies, &topics.open, &topics.quarantine];
    let differing = own.into_iter().filter_map(|topic| {
        let found = *present.get(topic)?;
        let wanted = topics.partitions;
        (found != wanted).then(|| {
            fault(format!("topic {topic} has {found} partitions, the configuration says {wanted}"))
                .hint("A key's partition depends on the count, so it is fixed with the first start.")
        })
    });
    differing.collect()
}
