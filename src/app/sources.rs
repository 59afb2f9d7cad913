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
use super::selection::{asides, claimed_twice, missing, named, select};
use super::settings::{ConnectorSettings, HeartbeatSettings, Settings, SourceSettings, TransactionSettings};
use super::understand::{understand, understand_end};
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
use crate::task::ingest::{Feed, Reading as Read};
use crate::task::intake::{self, Beat, Committed, Movement, Sources, Taken};
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
    /// For each connector, who decodes what it says of its transactions.
    transaction_decoders: Vec<Decoder>,
    /// Why records of a connector's transactions were not understood, which was said.
    misread_ends: BTreeSet<(ConnectorIndex, &'static str)>,
    /// The topics read, each with what for.
    topics: BTreeMap<Arc<str>, Feed>,
    /// Sources of which updates came without their before images since this was last asked.
    incomplete: BTreeSet<SourceIndex>,
    /// Sources of which an event did not say which of its transaction's it is, which was said.
    uncounted: BTreeSet<SourceIndex>,
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
            transaction_decoders: settings.connectors.iter().map(|_| Decoder::new(Arc::clone(&registry))).collect(),
            registry,
            waiting: BTreeMap::new(),
            allowance: Allowance::new(settings.limits.quarantine_bytes),
            flooded: BTreeSet::new(),
            heartbeats: settings.connectors.iter().map(|_| None).collect(),
            topics: BTreeMap::new(),
            misread_ends: BTreeSet::new(),
            incomplete: BTreeSet::new(),
            uncounted: BTreeSet::new(),
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

    /// Leaves a topic-partition until what its next record lacks is there.
    fn put_off(&mut self, feed: Feed, id: TopicPartition, offset: i64, lack: Lack) -> Result<(), KafkaFailure> {
        if let (Lack::Allowance, Feed::Source(source)) = (&lack, feed) {
            self.say_flood(source);
        }
        let stand = (id.topic.to_string(), id.partition);
        self.reader.leave(std::slice::from_ref(&stand))?;
        self.waiting.insert(stand, (offset, lack));
        Ok(())
    }

    /// Says what is to be said of a record that was read.
    fn see(&mut self, source: SourceIndex, id: &TopicPartition, offset: i64, reading: &Read, is_counted: bool) {
        let SourceSettings { name, shape, .. } = &self.settings.sources[source];
        if let Some([before, now]) = self.decoders[source].went_over() {
            tracing::warn!(source = name, topic = %id.topic, "records are {now} from here on, not {before}; both are read");
        }
        match reading {
            Read::Reject(reject) => {
                let labels = [("source", name.clone()), ("reason", reject.reason.to_string())];
                counter!(telemetry::QUARANTINED, &labels).increment(1);
                self.allowance.take(reject.bytes());
            }
            Read::Change(decoded) => {
                let is_wanted = decoded.streamed && shape.connector.is_counted;
                if is_wanted && !is_counted && self.uncounted.insert(source) {
                    tracing::warn!(
                        source = name,
                        offset,
                        "events do not say which of their transaction's they are: these are not checked. Set \
                         provide.transaction.metadata=true, and let no transform take \"transaction\" away"
                    );
                }
                if decoded.incomplete {
                    self.incomplete.insert(source);
                }
                let missing = decoded.change.operation.missing();
                for column in missing.filter(|column| self.missing_columns.insert((source, *column))) {
                    let column = &shape.columns[column].name;
                    tracing::warn!(source = name, column, offset, "{NO_COLUMN}");
                }
            }
            Read::Ended(_) | Read::Nothing => {}
        }
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
    fn see_nothing(&mut self, failure: KafkaFailure) -> Result<Option<intake::Found>, StageError> {
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
                let wanted: BTreeSet<String> = selected.chain(asides(&self.settings).map(str::to_owned)).collect();
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
        let polled = self.reader.poll(Duration::from_micros(wait_us.unsigned_abs()))?;
        let Some(message) = polled else { return Ok(None) };
        let known = self.topics.get_key_value(message.topic());
        let (topic, feed) = known.expect("nothing is read of a topic that is not known");
        let stand = TopicPartition { topic: Arc::clone(topic), partition: message.partition() };
        // The message borrows the reader, so the rest is borrowed beside it.
        let understood = match *feed {
            Feed::Source(source) => {
                let reading = understand(&self.settings.sources[source], &mut self.decoders[source], &message);
                let counted = self.decoders[source].counted();
                match reading {
                    Ok(Read::Reject(_)) if !self.allowance.has_room(clock_us(self.began)) => Err(Lack::Allowance),
                    Ok(reading) => Ok((reading, counted)),
                    Err(id) => Err(Lack::Schema(id)),
                }
            }
            Feed::Transactions(connector) => {
                let ConnectorSettings { name, transactions, .. } = &self.settings.connectors[connector];
                let transactions = transactions.as_ref().expect("its topic is read");
                let decoder = &mut self.transaction_decoders[connector];
                let is_news = |reason| self.misread_ends.insert((connector, reason));
                let end = understand_end((name, transactions), decoder, &message, is_news);
                end.map(|reading| (reading, None)).map_err(Lack::Schema)
            }
        };
        let (feed, offset, bytes) = (*feed, message.offset(), message.payload_len() + message.key_len());
        drop(message);
        match understood {
            Ok((reading, counted)) => {
                if let Feed::Source(source) = feed {
                    self.see(source, &stand, offset, &reading, counted.is_some());
                }
                Ok(Some(Taken { feed, topic_partition: stand, offset, reading, counted, bytes }))
            }
            Err(lack) => {
                self.put_off(feed, stand, offset, lack)?;
                Ok(None)
            }
        }
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

    fn look_up(&mut self) -> Result<Option<intake::Found>, StageError> {
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
            tracing::warn!(?topics, "{of}: a topic does not exist; what needs it waits");
        }
        self.missing = missing;
        let mut found = intake::Found::default();
        for (source, selected) in selected.into_iter().enumerate() {
            let mut topics = Vec::new();
            for (name, partitions) in selected {
                let id = described.get(&name).map_or(0, |description| description.id);
                let name: Arc<str> = name.into();
                self.topics.insert(Arc::clone(&name), Feed::Source(source));
                topics.push(SourceTopic { name, partitions, id });
            }
            found.sources.push(Topology { source, topics });
        }
        for (connector, settings) in self.settings.connectors.iter().enumerate() {
            let Some(TransactionSettings { topic, .. }) = &settings.transactions else { continue };
            let Some(Description { partitions, id }) = described.get(topic).cloned() else { continue };
            let name: Arc<str> = topic.as_str().into();
            self.topics.insert(Arc::clone(&name), Feed::Transactions(connector));
            found.transactions.push((connector, SourceTopic { name, partitions, id }));
        }
        self.member.subscribe(self.topics.keys().map(|topic| &**topic).collect())?;
        Ok(Some(found))
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
