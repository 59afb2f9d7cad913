//! `evenkeel check --live`: is what runs what the configuration says?
//!
//! Must not know: how the configuration was read. Only asks; changes nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant as Moment};

use rdkafka::message::Message;

use super::config::suggestion;
use super::diagnostic::{Diagnostic, Kind};
use super::ingest_stage::{matching, missing};
use super::settings::{ConnectorSettings, Settings};
use crate::adapters::debezium::{Decoder, Event, NO_BEFORE, Refusal};
use crate::adapters::kafka::admin::Admin;
use crate::adapters::kafka::changes::{Reading, TopicReader};
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
    let missing = missing(settings, &present);
    let each = |(of, topics): (&String, &Vec<String>)| {
        topics.iter().map(|topic| does_not_exist(of, topic, &present)).collect::<Vec<_>>()
    };
    let mut faults: Vec<Diagnostic> = missing.iter().flat_map(each).collect();
    for source in &settings.sources {
        let topics = matching(&source.topics, &present);
        let topics = topics.into_iter().filter(|(topic, _)| present.contains_key(topic));
        let mut decoder = Decoder::new();
        for (topic, partitions) in topics {
            let judge = |value: Option<&[u8]>| match decoder.decode(&source.shape, value, 0) {
                Ok(Event::Change(decoded)) if decoded.incomplete => {
                    Some(Refusal { reason: "no_before", detail: NO_BEFORE.to_owned() })
                }
                Ok(_) => None,
                Err(refusal) => Some(refusal),
            };
            faults.extend(last_records(&properties, &source.name, (&topic, partitions), judge));
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

fn does_not_exist(of: &str, topic: &str, present: &Topics) -> Diagnostic {
    let fault = fault(format!("{of}: topic {topic} does not exist"));
    match suggestion(topic, present.keys().map(String::as_str)) {
        Some(hint) => fault.hint(hint),
        None => fault.hint("Debezium creates it with the table's first event, where the broker lets it."),
    }
}

/// The first record among the last ones of each partition that is not understood.
fn last_records(
    properties: &Properties,
    of: &str,
    (topic, partitions): (&str, i32),
    mut judge: impl FnMut(Option<&[u8]>) -> Option<Refusal>,
) -> Option<Diagnostic> {
    (0..partitions).find_map(|partition| match last_record(properties, topic, partition, &mut judge) {
        Ok(None) => None,
        Ok(Some((offset, refusal))) => Some(refused(of, topic, partition, offset, &refusal)),
        Err(failure) => Some(fault(format!("{of}: {failure}"))),
    })
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
    let reader = TopicReader::open(properties, topic, 1 << 20)?;
    let (start, end) = reader.bounds(partition)?;
    if start == end {
        return Ok(None);
    }
    reader.seek(&[(partition, start.max(end - 2))])?;
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
    let partitions = present.get(&heartbeat.topic)?;
    let mut decoder = Decoder::new();
    let topic = (heartbeat.topic.as_str(), *partitions);
    last_records(properties, &of, topic, |value| decoder.heartbeat(&heartbeat.shape, value, 0).map(|_| ()).err())
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
