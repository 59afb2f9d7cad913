//! The real world of an ingest member: Kafka, Debezium's records, the clock.
//!
//! Must not know: what is made of what is read (`task::intake`), rules, states.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Moment};

use metrics::counter;
use rdkafka::message::Message;

use super::StageError;
use super::allowance::Allowance;
use super::heartbeats::HeartbeatReader;
use super::selection::{claimed_twice, missing, named, select};
use super::settings::{HeartbeatSettings, Settings, SourceSettings};
use super::understand::understand;
use crate::adapters::clock::now;
use crate::adapters::debezium::frame::SchemaId;
use crate::adapters::debezium::{Decoder, Found, NO_COLUMN, NoRegistry, Registry};
use crate::adapters::kafka::changes::ChangesWriter;
use crate::adapters::kafka::group::{self, Member};
use crate::adapters::kafka::offsets::{Commit, Offsets};
use crate::adapters::kafka::reader::Reader;
use crate::adapters::kafka::topics::Description;
use crate::adapters::kafka::{KafkaFailure, Properties, TICK, insist};
use crate::adapters::registry::RemoteRegistry;
use crate::adapters::telemetry;
use crate::domain::change::{Block, SourceIndex, SourceTopic, TopicPartition, Topology};
use crate::domain::instant::Instant;
use crate::domain::rule::ConnectorIndex;
use crate::task::ingest::Reading as Read;
use crate::task::intake::{Beat, Committed, Movement, Sources, Taken};
use crate::task::wire::block;

pub struct KafkaSources {
    settings: Arc<Settings>,
    began: Moment,
    stop: Arc<AtomicBool>,
    /// Knows what is to be read here.
    member: Member,
    reader: Reader,
    pub offsets: Offsets,
    writer: ChangesWriter,
    registry: Arc<dyn Registry>,
    decoders: Vec<Decoder>,
    /// Topic-partitions whose next record cannot be taken yet, and that record's offset.
    waiting: BTreeMap<(String, i32), (i64, Lack)>,
    /// What may be quarantined.
    allowance: Allowance,
    /// Sources of which more was refused than may be quarantined, which was said.
    flooded: BTreeSet<SourceIndex>,
    /// For each connector with a heartbeat table whose topic exists, who reads it.
    heartbeats: Vec<Option<HeartbeatReader>>,
    /// The topics read, each with its source.
    topics: BTreeMap<Arc<str>, SourceIndex>,
    /// Sources of which updates came without their before images since this was last asked.
    incomplete: BTreeSet<SourceIndex>,
    /// Kept columns that an event did not have, which was said.
    missing_columns: BTreeSet<(SourceIndex, usize)>,
    /// The topics that the configuration names and that do not exist yet, by what waits for them.
    missing: BTreeMap<String, Vec<String>>,
    /// True from when topics could not be looked up, which was said, until they are.
    is_blind: bool,
}

/// What a record waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Lack {
    /// Its schema.
    Schema(SchemaId),
    /// It is refused, and no more may be quarantined now.
    Allowance,
}

impl KafkaSources {
    pub fn join(settings: &Arc<Settings>, stop: &Arc<AtomicBool>) -> Result<KafkaSources, StageError> {
        let properties = Properties::new(settings.kafka.clone());
        let group = &settings.topics.ingest_group;
        let registry = registry(settings)?;
        Ok(KafkaSources {
            began: Moment::now(),
            stop: Arc::clone(stop),
            member: Member::join(&properties, group)?,
            reader: Reader::open(&properties, settings.limits.fetch_bytes / 2)?,
            offsets: Offsets::new(&properties, group)?,
            writer: ChangesWriter::new(&properties, &settings.topics.changes)?,
            decoders: settings.sources.iter().map(|_| Decoder::new(Arc::clone(&registry))).collect(),
            registry,
            waiting: BTreeMap::new(),
            allowance: Allowance::new(settings.limits.quarantine_bytes),
            flooded: BTreeSet::new(),
            heartbeats: settings.connectors.iter().map(|_| None).collect(),
            topics: BTreeMap::new(),
            incomplete: BTreeSet::new(),
            missing_columns: BTreeSet::new(),
            missing: BTreeMap::new(),
            is_blind: false,
            settings: Arc::clone(settings),
        })
    }

    /// True where the changes log holds something.
    pub fn has_history(&self) -> Result<bool, StageError> {
        let topics = &self.settings.topics;
        let all: Vec<_> = (0..topics.partitions).map(|partition| (topics.changes.clone(), partition)).collect();
        Ok(self.insist(|offsets| offsets.ends(&all))?.iter().any(|(.., end)| *end > 0))
    }

    /// Sources of which updates came without their before images since this was last asked.
    pub fn take_incomplete(&mut self) -> BTreeSet<SourceIndex> {
        std::mem::take(&mut self.incomplete)
    }

    /// Begins to read heartbeat topics that have appeared, or whose partitions have become more.
    fn watch_heartbeats(&mut self, present: &BTreeMap<String, i32>) -> Result<(), KafkaFailure> {
        for (connector, settings) in self.settings.connectors.iter().enumerate() {
            let Some(HeartbeatSettings { topic, .. }) = &settings.heartbeat else { continue };
            let Some(partitions) = present.get(topic).copied() else { continue };
            if self.heartbeats[connector].as_ref().is_some_and(|known| known.partitions == partitions) {
                continue;
            }
            let properties = Properties::new(self.settings.kafka.clone());
            let reader = HeartbeatReader::begin(&properties, (topic, partitions), &self.offsets, &self.registry)?;
            self.heartbeats[connector] = Some(reader);
        }
        Ok(())
    }

    /// How many topic-partitions wait with a record: for its schema; for what may be quarantined.
    pub fn waiting(&self) -> [usize; 2] {
        let schema = self.waiting.values().filter(|(_, lack)| *lack != Lack::Allowance).count();
        [schema, self.waiting.len() - schema]
    }

    /// Goes on with what waited for something that is there now.
    fn resume(&mut self) -> Result<(), KafkaFailure> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let may_go_on = self.allowance.may_go_on(clock_us(self.began));
        let registry = &self.registry;
        let ready = self.waiting.extract_if(.., |_, (_, lack)| match lack {
            Lack::Schema(id) => registry.find(id) != Found::Asked,
            Lack::Allowance => may_go_on,
        });
        let from: Vec<_> = ready.map(|((topic, partition), (offset, _))| (topic, partition, offset)).collect();
        if from.is_empty() { Ok(()) } else { self.reader.go_on(&from) }
    }

    fn say_flood(&mut self, source: SourceIndex) {
        if self.flooded.insert(source) {
            tracing::error!(
                source = self.settings.sources[source].name,
                "more records are refused than limits.quarantine lets pass: their topic-partitions wait, and go on slowly; \
                 `evenkeel quarantine list` says why they are refused. With a mended configuration they go on from where \
                 they are"
            );
        }
    }

    /// What a look at the topics comes to that failed. A right that is missing does not pass by itself.
    fn see_nothing(&mut self, failure: KafkaFailure) -> Result<Option<Vec<Topology>>, StageError> {
        if failure.is_refused() {
            return Err(failure.into());
        }
        if !self.is_blind {
            tracing::warn!(%failure, "which topics there are is not known; promises wait");
        }
        self.is_blind = true;
        Ok(None)
    }

    fn describe(&self) -> Result<BTreeMap<String, Description>, KafkaFailure> {
        match named(&self.settings) {
            Some(named) => self.offsets.describe(&named),
            None => {
                let names = self.offsets.names()?;
                let all = names.iter().map(|name| (name.clone(), 1)).collect();
                let selected = select(&self.settings, &all).into_iter().flatten().map(|(topic, _)| topic);
                let heartbeats =
                    self.settings.connectors.iter().filter_map(|one| Some(one.heartbeat.as_ref()?.topic.clone()));
                let wanted: BTreeSet<String> = selected.chain(heartbeats).collect();
                self.offsets.describe(&wanted.iter().map(String::as_str).collect::<Vec<_>>())
            }
        }
    }

    /// Asks until the brokers answer, or it is told to stop.
    fn insist<T>(&self, ask: impl Fn(&Offsets) -> Result<T, KafkaFailure>) -> Result<T, StageError> {
        Ok(insist(|| self.stop.load(Ordering::Relaxed), || ask(&self.offsets))?)
    }

    fn id(&self, topic: &str, partition: i32) -> TopicPartition {
        let topic = self.topics.get_key_value(topic).map_or_else(|| topic.into(), |(topic, _)| Arc::clone(topic));
        TopicPartition { topic, partition }
    }
}

impl Sources for KafkaSources {
    type Error = StageError;

    fn clock_us(&mut self) -> i64 {
        clock_us(self.began)
    }

    fn now(&mut self) -> Instant {
        now()
    }

    fn is_stopped(&mut self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn movements(&mut self) -> Result<Vec<Movement>, StageError> {
        self.member.poll(Duration::ZERO)?;
        let movement = |movement| match movement {
            group::Movement::Assigned { topic, partition } => Movement::Assigned(self.id(&topic, partition)),
            group::Movement::Revoked { topic, partition, .. } => Movement::Revoked(self.id(&topic, partition)),
        };
        let movements: Vec<Movement> = self.member.movements().into_iter().map(movement).collect();
        let assigned = movements.iter().filter(|movement| matches!(movement, Movement::Assigned(_))).count();
        if assigned > 0 {
            tracing::info!(partitions = assigned, "source partitions assigned");
        }
        let revoked = movements.iter().filter_map(|movement| match movement {
            Movement::Revoked(id) => Some((id.topic.to_string(), id.partition)),
            Movement::Assigned(_) => None,
        });
        let revoked: Vec<_> = revoked.collect();
        self.waiting.retain(|stand, _| !revoked.contains(stand));
        self.reader.leave(&revoked)?;
        Ok(movements)
    }

    fn go_on(&mut self, from: &[(TopicPartition, i64)]) -> Result<(), StageError> {
        let from: Vec<_> = from.iter().map(|(id, offset)| (id.topic.to_string(), id.partition, *offset)).collect();
        self.waiting.retain(|(topic, partition), _| !from.iter().any(|one| one.0 == *topic && one.1 == *partition));
        Ok(self.reader.go_on(&from)?)
    }

    fn read(&mut self, wait_us: i64) -> Result<Option<Taken>, StageError> {
        self.resume()?;
        // The message borrows the reader, so the rest is borrowed beside it.
        let KafkaSources { reader, decoders, settings, topics, incomplete, missing_columns, allowance, .. } = self;
        let Some(message) = reader.poll(Duration::from_micros(wait_us.unsigned_abs()))? else { return Ok(None) };
        let known = topics.get_key_value(message.topic());
        let (topic, source) = known.expect("nothing is read of a topic that is not known");
        let reading = match understand(&settings.sources[*source], &mut decoders[*source], &message) {
            Ok(Read::Reject(_)) if !allowance.has_room(clock_us(self.began)) => Err(Lack::Allowance),
            Ok(reading) => Ok(reading),
            Err(id) => Err(Lack::Schema(id)),
        };
        let reading = match reading {
            Ok(reading) => reading,
            Err(lack) => {
                let (stand, source) = ((message.topic().to_owned(), message.partition()), *source);
                let offset = message.offset();
                drop(message);
                self.reader.leave(std::slice::from_ref(&stand))?;
                if lack == Lack::Allowance {
                    self.say_flood(source);
                }
                self.waiting.insert(stand, (offset, lack));
                return Ok(None);
            }
        };
        if let Read::Reject(reject) = &reading {
            let name = settings.sources[*source].name.clone();
            counter!(telemetry::QUARANTINED, "source" => name, "reason" => reject.reason.to_string()).increment(1);
            allowance.take(reject.bytes());
        }
        if let Some([before, now]) = decoders[*source].went_over() {
            let source = &settings.sources[*source].name;
            tracing::warn!(source, topic = &**topic, "records are {now} from here on, not {before}; both are read");
        }
        if let Read::Change(decoded) = &reading {
            if decoded.incomplete {
                incomplete.insert(*source);
            }
            for column in
                decoded.change.operation.missing().filter(|column| missing_columns.insert((*source, *column)))
            {
                let SourceSettings { name, shape, .. } = &settings.sources[*source];
                let column = &shape.columns[column].name;
                tracing::warn!(source = name, column, offset = message.offset(), "{NO_COLUMN}");
            }
        }
        Ok(Some(Taken {
            source: *source,
            topic_partition: TopicPartition { topic: Arc::clone(topic), partition: message.partition() },
            offset: message.offset(),
            reading,
            bytes: message.payload_len() + message.key_len(),
        }))
    }

    fn positions(&mut self) -> Result<Vec<(TopicPartition, i64)>, StageError> {
        let positions = self.reader.positions()?.into_iter();
        Ok(positions.map(|(topic, partition, offset)| (self.id(&topic, partition), offset)).collect())
    }

    fn beats(&mut self) -> Result<Vec<Beat>, StageError> {
        let mut beats = Vec::new();
        for (connector, known) in self.heartbeats.iter_mut().enumerate() {
            let settings = &self.settings.connectors[connector];
            let (Some(reader), Some(heartbeat)) = (known.as_mut(), &settings.heartbeat) else { continue };
            match reader.read(connector, settings, heartbeat, &mut beats) {
                Ok(()) => {}
                Err(failure) if failure.is_refused() => return Err(failure.into()),
                Err(failure) => {
                    // Its topic may have been deleted, or created anew: with the next look it is begun again.
                    tracing::warn!(%failure, topic = heartbeat.topic, "heartbeats cannot be read; promises wait");
                    *known = None;
                }
            }
        }
        Ok(beats)
    }

    fn committed(&mut self, of: &[TopicPartition]) -> Result<Vec<Committed>, StageError> {
        let list = list(of);
        let committed = self.insist(|offsets| offsets.committed(&list))?.into_iter();
        let committed = committed.map(|commit| Committed {
            topic_partition: self.id(&commit.topic, commit.partition),
            offset: commit.offset,
            // An offset that somebody reset by hand has none.
            topic_id: u64::from_str_radix(&commit.metadata, 16).unwrap_or(0),
        });
        Ok(committed.collect())
    }

    fn bounds(&mut self, of: &[TopicPartition]) -> Result<Vec<(TopicPartition, i64, i64)>, StageError> {
        let list = list(of);
        let asked = self.offsets.starts(&list).and_then(|starts| Ok((starts, self.offsets.ends(&list)?)));
        let (starts, ends) = match asked {
            Ok(asked) => asked,
            Err(failure) if failure.is_passing_of_source() => {
                tracing::warn!(%failure, "where a source's topic begins and ends is not known; it is asked again");
                return Ok(Vec::new());
            }
            Err(failure) => return Err(failure.into()),
        };
        // Of a partition without a leader one may be known and the other not.
        let bounds = |(topic, partition, start): (String, i32, i64)| {
            let (.., end) = ends.iter().find(|(other, number, _)| *other == topic && *number == partition)?;
            Some((self.id(&topic, partition), start, *end))
        };
        Ok(starts.into_iter().filter_map(bounds).collect())
    }

    fn ends(&mut self, of: &[TopicPartition]) -> Vec<(TopicPartition, i64)> {
        match self.offsets.ends(&list(of)) {
            Ok(ends) => ends.into_iter().map(|(topic, partition, end)| (self.id(&topic, partition), end)).collect(),
            Err(failure) => {
                tracing::warn!(%failure, "end offsets are not known; promises wait for the next heartbeat");
                Vec::new()
            }
        }
    }

    fn look_up(&mut self) -> Result<Option<Vec<Topology>>, StageError> {
        let described = match self.describe() {
            Ok(described) => described,
            Err(failure) => return self.see_nothing(failure),
        };
        let present = described.iter().map(|(topic, description)| (topic.clone(), description.partitions)).collect();
        if let Err(failure) = self.watch_heartbeats(&present) {
            return self.see_nothing(failure);
        }
        self.is_blind = false;
        let selected = select(&self.settings, &present);
        if let Some((topic, sources)) = claimed_twice(&selected) {
            let [one, other] = sources.map(|source| self.settings.sources[source].name.clone());
            return Err(StageError::ClaimedTwice { topic: topic.to_owned(), one, other });
        }
        let missing = missing(&self.settings, &present, &selected);
        for (of, topics) in missing.iter().filter(|(of, topics)| self.missing.get(*of) != Some(*topics)) {
            tracing::warn!(?topics, "{of}: a topic does not exist; verdicts are held");
        }
        self.missing = missing;
        let mut topologies = Vec::new();
        for (source, selected) in selected.into_iter().enumerate() {
            let mut topics = Vec::new();
            for (name, partitions) in selected {
                let id = described.get(&name).map_or(0, |description| description.id);
                let name: Arc<str> = name.into();
                self.topics.insert(Arc::clone(&name), source);
                topics.push(SourceTopic { name, partitions, id });
            }
            topologies.push(Topology { source, topics });
        }
        self.member.subscribe(self.topics.keys().map(|topic| &**topic).collect())?;
        Ok(Some(topologies))
    }

    fn write(&mut self, round: &[(i32, Block)]) -> Result<u64, StageError> {
        let catalog = &self.settings.plan.catalog;
        let encode = |(partition, block): &(i32, Block)| (*partition, block::encode(block, catalog));
        Ok(self.writer.write(&round.iter().map(encode).collect::<Vec<_>>())?)
    }

    fn written(&mut self, wait: bool) -> Result<Option<u64>, StageError> {
        Ok(self.writer.acknowledged(if wait { TICK } else { Duration::ZERO })?)
    }

    fn in_flight(&mut self) -> usize {
        self.writer.in_flight()
    }

    fn commit(&mut self, read: &[Committed], beats: &[(ConnectorIndex, i32, i64)]) {
        let beats = beats.iter().filter_map(|(connector, partition, offset)| {
            let topic = self.settings.connectors[*connector].heartbeat.as_ref()?.topic.clone();
            Some(Commit { topic, partition: *partition, offset: *offset, metadata: String::new() })
        });
        self.member.commit(&read.iter().map(commit).chain(beats).collect::<Vec<_>>());
    }

    fn commit_first(&mut self, begin: &[Committed]) -> Result<bool, StageError> {
        Ok(self.member.commit_now(&begin.iter().map(commit).collect::<Vec<_>>())?)
    }
}

/// Microseconds.
fn clock_us(began: Moment) -> i64 {
    i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX)
}

/// The registry that the configuration names, or none.
pub fn registry(settings: &Settings) -> Result<Arc<dyn Registry>, StageError> {
    Ok(match &settings.registry {
        Some(registry) => Arc::new(RemoteRegistry::open(registry, settings.schemas_folder())?),
        None => Arc::new(NoRegistry),
    })
}

fn list(of: &[TopicPartition]) -> Vec<(String, i32)> {
    of.iter().map(|id| (id.topic.to_string(), id.partition)).collect()
}

fn commit(committed: &Committed) -> Commit {
    Commit {
        topic: committed.topic_partition.topic.to_string(),
        partition: committed.topic_partition.partition,
        offset: committed.offset,
        metadata: format!("{:016x}", committed.topic_id),
    }
}
