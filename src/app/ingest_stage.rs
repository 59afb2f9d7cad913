//! The ingest stage: reads the sources' topics, writes the changes log. One thread; several processes share the work
//! as a consumer group.
//!
//! Must not know: rules, states. What it decides is decided in `task::ingest`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Moment};

use metrics::{counter, gauge};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use regex::Regex;

use super::StageError;
use super::input::Input;
use super::settings::{HeartbeatSettings, Settings, TopicSelection};
use crate::adapters::clock::now;
use crate::adapters::debezium::{Decoder, Event, NO_BEFORE, RUN_HEADER, Refusal, blot, run_of};
use crate::adapters::kafka::changes::{ChangesWriter, Reading, TopicReader};
use crate::adapters::kafka::group::{Member, Movement};
use crate::adapters::kafka::offsets::Offsets;
use crate::adapters::kafka::{KafkaFailure, Properties, TICK, passing};
use crate::adapters::telemetry;
use crate::domain::change::{Operation, Reject, SourceIndex, TopicPartition, Topology};
use crate::domain::instant::Instant;
use crate::task::ingest::{Ingest, Reading as Read};
use crate::task::wire::block;

/// How often topics and partition counts are looked up where no promise waits for it.
const LOOK_UP: Duration = Duration::from_secs(2);

/// How often end offsets may be asked for, and topics looked up that promises wait for.
const ASK: Duration = Duration::from_millis(200);

/// Looking up may take no more than one part in so many of the time, for a cluster may have many topics; though it is
/// never put off for longer than that.
const LOOK_UP_SHARE: u32 = 10;
const LOOK_UP_LATEST: Duration = Duration::from_secs(5);

/// How often offsets are committed. What a restart reads again is dropped by its offset.
const COMMIT: Duration = Duration::from_secs(1);

/// How often metrics are set that nothing else sets.
const REPORT: Duration = Duration::from_secs(5);

/// Rounds that may be on their way to the changes log; then reading waits.
const ROUNDS_IN_FLIGHT: usize = 8;

pub struct IngestStage {
    settings: Arc<Settings>,
    member: Member,
    offsets: Offsets,
    writer: ChangesWriter,
    ingest: Ingest,
    decoders: Vec<Decoder>,
    /// For each connector with a heartbeat table whose topic exists, who reads it.
    heartbeats: Vec<Option<HeartbeatReader>>,
    /// The topics read, each with its source and partition count.
    topics: BTreeMap<Arc<str>, (SourceIndex, i32)>,
    input: Input,
    /// For each round that is on its way, how far the sources are read once it is acknowledged.
    to_commit: VecDeque<(u64, Vec<(TopicPartition, i64)>)>,
    /// What the last acknowledged round allows to commit, until it is.
    acknowledged: Option<Vec<(TopicPartition, i64)>>,
    bytes_taken: usize,
    /// Sources of which updates came without their before images since this was last said.
    incomplete: BTreeSet<SourceIndex>,
    /// The topics that the configuration names and that do not exist yet, by what waits for them.
    missing: BTreeMap<String, Vec<String>>,
    /// True from when topics could not be looked up, which was said, until they are.
    is_blind: bool,
}

/// Reads every partition of a heartbeat topic. A table of one row has its rows in one of them.
struct HeartbeatReader {
    reader: TopicReader,
    partitions: i32,
    decoder: Decoder,
}

impl IngestStage {
    pub fn start(settings: Arc<Settings>) -> Result<IngestStage, StageError> {
        let properties = Properties::new(settings.kafka.clone());
        let commit_time = settings.connectors.iter().map(|connector| connector.commit_time).collect();
        let key_may_change = settings.sources.iter().map(|source| source.key_may_change).collect();
        let partitions = settings.topics.partitions;
        let plan = Arc::clone(&settings.plan);
        let ingest = Ingest::new(plan, partitions, commit_time, key_may_change, settings.patience);
        let group = &settings.topics.ingest_group;
        let member = Member::join(&properties, group, settings.limits.fetch_bytes / 2)?;
        let offsets = Offsets::new(&properties, group)?;
        let changes: Vec<_> = (0..partitions).map(|partition| (settings.topics.changes.clone(), partition)).collect();
        let mut stage = IngestStage {
            writer: ChangesWriter::new(&properties, &settings.topics.changes)?,
            decoders: settings.sources.iter().map(|_| Decoder::new()).collect(),
            heartbeats: settings.connectors.iter().map(|_| None).collect(),
            topics: BTreeMap::new(),
            input: Input::new(&offsets, group, &changes)?,
            to_commit: VecDeque::new(),
            acknowledged: None,
            bytes_taken: 0,
            incomplete: BTreeSet::new(),
            missing: BTreeMap::new(),
            is_blind: false,
            member,
            offsets,
            ingest,
            settings,
        };
        stage.look_up()?;
        Ok(stage)
    }

    /// Works until told to stop; then writes and commits what was read.
    pub fn run(mut self, stop: &AtomicBool) -> Result<(), StageError> {
        let linger = Duration::from_millis(self.settings.limits.linger_ms);
        let [mut round, mut ask, mut commit, mut look_up, mut report] = [Moment::now(); 5];
        let mut look_up_took = Duration::ZERO;
        while !stop.load(Ordering::Relaxed) {
            self.follow_movements()?;
            let wait = linger.saturating_sub(round.elapsed()).min(Duration::from_millis(20));
            self.read(wait)?;
            self.read_heartbeats()?;
            if ask.elapsed() >= ASK {
                ask = Moment::now();
                self.follow_positions()?;
                self.ask_ends()?;
            }
            if commit.elapsed() >= COMMIT {
                commit = Moment::now();
                self.commit();
            }
            let pause = if self.ingest.wants_topologies() { ASK } else { LOOK_UP };
            if look_up.elapsed() >= pause.max((look_up_took * LOOK_UP_SHARE).min(LOOK_UP_LATEST)) {
                let begun = Moment::now();
                self.look_up()?;
                look_up = Moment::now();
                look_up_took = look_up - begun;
            }
            if report.elapsed() >= REPORT {
                report = Moment::now();
                self.report();
            }
            if round.elapsed() >= linger || self.bytes_taken >= self.settings.limits.block_bytes {
                round = Moment::now();
                self.write_round()?;
            }
            self.hear(Duration::ZERO)?;
            while self.writer.in_flight() > ROUNDS_IN_FLIGHT && !stop.load(Ordering::Relaxed) {
                self.hear(TICK)?;
            }
        }
        self.write_round()?;
        self.writer.drain()?;
        self.hear(Duration::ZERO)?;
        self.commit();
        Ok(())
    }

    /// Reads what has come, for as long as a round may take.
    fn read(&mut self, wait: Duration) -> Result<(), StageError> {
        let mut timeout = wait;
        while self.bytes_taken < self.settings.limits.block_bytes {
            // The message borrows the member, so the rest of the stage is borrowed beside it.
            let IngestStage {
                member,
                offsets,
                ingest,
                decoders,
                settings,
                topics,
                input,
                bytes_taken,
                incomplete,
                ..
            } = self;
            match member.poll(timeout) {
                None => return Ok(()),
                Some(Ok(message)) => {
                    let known = topics.get_key_value(message.topic());
                    let (topic, (source, _)) = known.expect("nothing is read of a topic that is not known");
                    let id = TopicPartition { topic: Arc::clone(topic), partition: message.partition() };
                    input.follow(offsets, &id, message.offset())?;
                    *bytes_taken += message.payload_len() + message.key_len();
                    let reading = understand(settings, *source, &mut decoders[*source], &message);
                    if matches!(&reading, Read::Change(decoded) if decoded.incomplete) {
                        incomplete.insert(*source);
                    }
                    ingest.take(*source, &id, (message.offset(), reading), now());
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) if passing(&error) => tracing::warn!(%error, "reading the sources was disturbed"),
                Some(Err(error)) => {
                    return Err(KafkaFailure::new("reading the sources", error).into());
                }
            }
            timeout = Duration::ZERO;
        }
        Ok(())
    }

    fn follow_movements(&mut self) -> Result<(), StageError> {
        let mut assigned = Vec::new();
        for movement in self.member.movements() {
            match movement {
                Movement::Assigned { topic, partition } => assigned.push((topic, partition)),
                Movement::Revoked { topic, partition, .. } => {
                    assigned.retain(|(name, number)| *name != topic || *number != partition);
                    let (source, _) = self.topics[&*topic];
                    let id = TopicPartition { topic: topic.into(), partition };
                    self.ingest.revoke(source, &id);
                    self.input.leave(&id);
                }
            }
        }
        if assigned.is_empty() { Ok(()) } else { self.begin(&assigned) }
    }

    /// Begins to read topic-partitions.
    fn begin(&mut self, assigned: &[(String, i32)]) -> Result<(), StageError> {
        // The group may know of partitions that were just added before this stage does.
        if assigned.iter().any(|(topic, partition)| *partition >= self.topics[&**topic].1) {
            self.look_up()?;
        }
        let all =
            self.topics.iter().flat_map(|(topic, (_, count))| (0..*count).map(|number| (topic.to_string(), number)));
        // Nor is it sure that the brokers have just told of them.
        let all: BTreeSet<_> = all.chain(assigned.iter().cloned()).collect();
        let begun = self.input.begin(&self.offsets, assigned, &all.into_iter().collect::<Vec<_>>())?;
        let new = begun.iter().filter(|(.., is_new)| *is_new);
        let new: Vec<_> = new.map(|(id, offset, _)| (id.topic.to_string(), id.partition, *offset)).collect();
        self.member.commit_now(&new);
        for (id, offset, _) in begun {
            let (source, _) = self.topics[&id.topic];
            self.ingest.assign(source, id, offset, now());
        }
        Ok(self.member.release(assigned)?)
    }

    fn read_heartbeats(&mut self) -> Result<(), StageError> {
        for (connector, reader) in self.heartbeats.iter_mut().enumerate() {
            let (Some(HeartbeatReader { reader, decoder, .. }), Some(heartbeat)) =
                (reader, &self.settings.connectors[connector].heartbeat)
            else {
                continue;
            };
            while let Reading::Message(message) = reader.poll(Duration::ZERO)? {
                match decoder.heartbeat(&heartbeat.shape, message.payload(), run(&message)) {
                    Ok(Some(beat)) => {
                        let stand = (message.partition(), message.offset());
                        self.ingest.heartbeat(connector, (beat.time, beat.proof), stand, now());
                    }
                    Ok(None) => {}
                    Err(Refusal { reason, detail }) => {
                        let connector = self.settings.connectors[connector].name.clone();
                        counter!(telemetry::HEARTBEATS_REFUSED, "connector" => connector, "reason" => reason)
                            .increment(1);
                        tracing::warn!(topic = heartbeat.topic, reason, detail, "a heartbeat row was not understood");
                    }
                }
            }
        }
        Ok(())
    }

    /// A topic that is written in transactions ends with a marker that nobody is given.
    fn follow_positions(&mut self) -> Result<(), StageError> {
        for (topic, partition, position) in self.member.positions()? {
            let Some((topic, (source, _))) = self.topics.get_key_value(&*topic) else { continue };
            let id = TopicPartition { topic: Arc::clone(topic), partition };
            self.input.follow_to(&self.offsets, &id, position)?;
            self.ingest.reached_end(*source, &id, position);
        }
        Ok(())
    }

    fn ask_ends(&mut self) -> Result<(), StageError> {
        let asked_at = now();
        let wanted = self.ingest.wants_ends(asked_at);
        if wanted.is_empty() {
            return Ok(());
        }
        let list: Vec<(String, i32)> = wanted.iter().map(|(_, id)| (id.topic.to_string(), id.partition)).collect();
        match self.offsets.ends(&list) {
            Ok(ends) => {
                let answer = |(source, id): &(SourceIndex, TopicPartition)| {
                    let end =
                        ends.iter().find(|(topic, partition, _)| **topic == *id.topic && *partition == id.partition);
                    end.map(|(_, _, offset)| ((*source, id.clone()), *offset))
                };
                let ends: Vec<_> = wanted.iter().filter_map(answer).collect();
                self.ingest.ends(asked_at, &ends);
            }
            Err(failure) => {
                tracing::warn!(%failure, "end offsets are not known; promises wait for the next heartbeat");
                self.ingest.ends(asked_at, &[]);
            }
        }
        Ok(())
    }

    fn write_round(&mut self) -> Result<(), StageError> {
        self.bytes_taken = 0;
        let round = self.ingest.collect(now());
        let catalog = &self.settings.plan.catalog;
        let blocks: Vec<(i32, Vec<u8>)> =
            round.blocks.iter().map(|(partition, block)| (*partition, block::encode(block, catalog))).collect();
        let number = self.writer.write(&blocks)?;
        self.to_commit.push_back((number, round.read_to));
        Ok(())
    }

    fn hear(&mut self, wait: Duration) -> Result<(), StageError> {
        let Some(acknowledged) = self.writer.acknowledged(wait)? else { return Ok(()) };
        while self.to_commit.front().is_some_and(|(round, _)| *round <= acknowledged) {
            self.acknowledged = self.to_commit.pop_front().map(|(_, offsets)| offsets);
        }
        Ok(())
    }

    fn commit(&mut self) {
        let Some(offsets) = self.acknowledged.take() else { return };
        let held = offsets.into_iter().filter(|(id, _)| self.ingest.holds(id));
        let mut offsets: Vec<_> = held.map(|(id, offset)| (id.topic.to_string(), id.partition, offset)).collect();
        for (connector, settings) in self.settings.connectors.iter().enumerate() {
            if let Some(heartbeat) = &settings.heartbeat {
                let from = self.ingest.heartbeats_from(connector).into_iter();
                offsets.extend(from.map(|(partition, offset)| (heartbeat.topic.clone(), partition, offset)));
            }
        }
        self.member.commit(&offsets);
    }

    /// Finds the sources' topics, the heartbeat tables', and their partition counts.
    fn look_up(&mut self) -> Result<(), StageError> {
        let present = match self.offsets.topics(named(&self.settings).as_deref()) {
            Ok(present) => present,
            Err(failure) => {
                if !self.is_blind {
                    tracing::warn!(%failure, "which topics there are is not known; promises wait");
                }
                self.is_blind = true;
                return Ok(());
            }
        };
        self.is_blind = false;
        let selected = select(&self.settings, &present);
        if let Some((topic, sources)) = claimed_twice(&selected) {
            let [one, other] = sources.map(|source| self.settings.sources[source].name.clone());
            return Err(StageError::ClaimedTwice { topic: topic.to_owned(), one, other });
        }
        let missing = missing(&self.settings, &present, &selected);
        self.watch_heartbeats(&present)?;
        let mut topologies = Vec::new();
        for (source, selected) in selected.into_iter().enumerate() {
            for (topic, partitions) in &selected {
                let (_, known) = self.topics.entry(topic.as_str().into()).or_insert((source, 0));
                *known = (*known).max(*partitions);
            }
            let topics = selected.into_iter().map(|(topic, count)| (topic.into(), count)).collect();
            topologies.push(Topology { source, topics });
        }
        self.ingest.learn(topologies);
        self.member.subscribe(self.topics.keys().map(|topic| &**topic).collect())?;
        for (of, topics) in missing.iter().filter(|(of, topics)| self.missing.get(*of) != Some(*topics)) {
            tracing::warn!(?topics, "{of}: a topic does not exist yet; verdicts are held");
        }
        self.missing = missing;
        Ok(())
    }

    /// Begins to read heartbeat topics that have appeared, or whose partitions have become more.
    fn watch_heartbeats(&mut self, present: &BTreeMap<String, i32>) -> Result<(), StageError> {
        for (connector, settings) in self.settings.connectors.iter().enumerate() {
            let Some(HeartbeatSettings { topic, .. }) = &settings.heartbeat else { continue };
            let Some(partitions) = present.get(topic).copied() else { continue };
            if self.heartbeats[connector].as_ref().is_some_and(|known| known.partitions == partitions) {
                continue;
            }
            let reader = TopicReader::open(&Properties::new(self.settings.kafka.clone()), topic, 1 << 20)?;
            let all: Vec<(String, i32)> = (0..partitions).map(|partition| (topic.clone(), partition)).collect();
            let committed = self.offsets.committed(&all)?;
            let mut from = Vec::new();
            for partition in 0..partitions {
                let (start, end) = reader.bounds(partition)?;
                let known = committed.iter().find(|(_, of, _)| *of == partition);
                from.push((partition, known.map_or(start, |(_, _, offset)| (*offset).clamp(start, end))));
            }
            reader.seek(&from)?;
            self.heartbeats[connector] = Some(HeartbeatReader { reader, partitions, decoder: Decoder::new() });
        }
        Ok(())
    }

    fn report(&mut self) {
        for source in std::mem::take(&mut self.incomplete) {
            tracing::warn!(source = self.settings.sources[source].name, "{NO_BEFORE}");
        }
        for (source, standing) in self.ingest.standing(now()) {
            let name = self.settings.sources[source].name.clone();
            gauge!(telemetry::FRONTIER_AGE, "source" => name.clone()).set(standing.frontier_age_us as f64 / 1e6);
            gauge!(telemetry::SOURCE_STALLED, "source" => name).set(f64::from(u8::from(standing.stalled)));
        }
        let lanes: Vec<_> = self.ingest.read_to().collect();
        let list: Vec<_> = lanes.iter().map(|(_, id, _)| (id.topic.to_string(), id.partition)).collect();
        // Where the brokers do not answer, the gauge keeps its value until it expires.
        let Ok(ends) = self.offsets.ends(&list) else { return };
        let mut lags: BTreeMap<SourceIndex, i64> = BTreeMap::new();
        for (source, id, read_to) in lanes {
            let end = ends.iter().find(|(topic, partition, _)| **topic == *id.topic && *partition == id.partition);
            *lags.entry(source).or_default() += end.map_or(0, |(_, _, end)| (end - read_to).max(0));
        }
        for (source, lag) in lags {
            let name = self.settings.sources[source].name.clone();
            gauge!(telemetry::INGEST_LAG, "source" => name).set(lag as f64);
        }
    }
}

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
    let all = sources.chain(heartbeats).map(|(of, mut topics)| {
        topics.retain(|topic| !present.contains_key(topic));
        (of, topics)
    });
    all.filter(|(_, topics)| !topics.is_empty()).collect()
}

/// Every topic that the configuration names; `None` where a pattern stands for some.
fn named(settings: &Settings) -> Option<Vec<&str>> {
    let mut named = Vec::new();
    for source in &settings.sources {
        match &source.topics {
            TopicSelection::List(topics) => named.extend(topics.iter().map(String::as_str)),
            TopicSelection::Pattern(_) => return None,
        }
    }
    named.extend(settings.connectors.iter().filter_map(|one| Some(one.heartbeat.as_ref()?.topic.as_str())));
    Some(named)
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

fn run(message: &BorrowedMessage<'_>) -> u64 {
    let headers = message.headers();
    run_of(headers.and_then(|headers| headers.iter().find(|header| header.key == RUN_HEADER)?.value))
}

fn understand(
    settings: &Settings,
    source: SourceIndex,
    decoder: &mut Decoder,
    message: &BorrowedMessage<'_>,
) -> Read {
    let shape = &settings.sources[source].shape;
    match decoder.decode(shape, message.payload(), run(message)) {
        Ok(Event::Nothing) => Read::Nothing,
        Ok(Event::Change(mut decoded)) => {
            decoded.change.offset = message.offset();
            if decoded.incomplete {
                counter!(telemetry::INCOMPLETE, "source" => settings.sources[source].name.clone()).increment(1);
            }
            let belongs = decoded.change.key.is_some() || decoded.change.key_before.is_some();
            if !belongs && matches!(decoded.change.operation, Operation::Upsert { .. }) {
                counter!(telemetry::UNASSIGNED, "source" => settings.sources[source].name.clone()).increment(1);
            }
            Read::Change(decoded)
        }
        Err(Refusal { reason, detail }) => {
            let name = settings.sources[source].name.clone();
            counter!(telemetry::QUARANTINED, "source" => name, "reason" => reason).increment(1);
            let bytes = |bytes: Option<&[u8]>| match bytes {
                Some(bytes) => match blot(shape, bytes) {
                    Some(blotted) => (Some(blotted.into_boxed_slice()), true),
                    None => (Some(bytes.into()), false),
                },
                None => (None, false),
            };
            let (key, key_masked) = bytes(message.key());
            let (value, value_masked) = bytes(message.payload());
            Read::Reject(Box::new(Reject {
                topic_partition: 0,
                offset: message.offset(),
                timestamp: Instant(message.timestamp().to_millis().unwrap_or(0).saturating_mul(1000)),
                key,
                value,
                masked: key_masked || value_masked,
                reason: reason.into(),
                detail: detail.into(),
            }))
        }
    }
}
