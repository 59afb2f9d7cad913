//! Takes records out of quarantine that are understood by now: each is read again where it came from, with whatever its
//! topic-partition says of its row since, and all of that goes to the changes log at once (`task::requeue`).
//!
//! Must not know: why a record was refused, what becomes of its row.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant as Moment};

use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use serde_json::{Value as Json, json};

use super::{FETCH, PATIENCE, Rejected, bytes, each, tell};
use crate::adapters::clock::now;
use crate::adapters::debezium::{Decoder, Event, Refusal};
use crate::adapters::kafka::Properties;
use crate::adapters::kafka::offsets::Offsets;
use crate::adapters::kafka::stretch::Stretch;
use crate::app::StageError;
use crate::app::by_hand::ByHand;
use crate::app::settings::Settings;
use crate::app::sources::registry;
use crate::app::understand::{timestamp, with_record};
use crate::domain::change::{SourceIndex, TopicPartition};
use crate::task::requeue::{Requeue, Seen};
use crate::task::router::Router;

/// Changes that go into one block; a row's are never torn.
const BLOCK: usize = 1_000;

/// What a connector sends again after a restart is no older than this, microseconds: it commits what it has sent within minutes.
const SENT_AGAIN_US: i64 = 24 * 3600 * 1_000_000;

/// How long ingest may take to write what it has read.
const BEHIND: Duration = Duration::from_secs(30);

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What its row is said to be.
    Requeued(String),
    /// It is as little understood as it was.
    Refused { reason: String, detail: String },
    /// It cannot be requeued, for this reason.
    Not(String),
}

const NO_SOURCE: &str = "the configuration has no such source any more";
const GONE: &str = "it is not there any more: retention or compaction has deleted it, and maybe what was said of its row since. \
    Have the connector read the row again, by an incremental snapshot";
const ANOTHER: &str = "another record stands there now: the topic was created anew";
const NO_ROW: &str = "it says nothing of a row";
const REPLAYED: &str = "the connector had sent it before, and that counts; where that is in quarantine, requeue that";
const ASIDE: &str = "its key does not name its row, so another partition may hold what was said of it since. Have the connector \
    read the row again, by an incremental snapshot";
const EARLY: &str = "ingest has not committed so far: run it, or run this again when it has";

const OVERTAKEN: &str = "retention deleted what may have been said of its row while this looked: run it again";

const BEHIND_ITS_TOPIC: &str =
    "ingest has not committed what was said of its row since: run it, or run this again when it has";

fn not(why: &str) -> Outcome {
    Outcome::Not(why.to_owned())
}

/// What became of each record, by where it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requeued(BTreeMap<(String, i32, i64), Outcome>);

impl Requeued {
    /// True where every record was requeued, and there was one.
    pub fn is_all(&self) -> bool {
        let (requeued, all) = self.count();
        all > 0 && requeued == all
    }

    /// What became of a record that came from such a place; `None` where none was wanted.
    pub fn of(&self, place: &str) -> Option<&Outcome> {
        let is_it =
            |(topic, partition, offset): &(String, i32, i64)| format!("{topic}:{partition}:{offset}") == place;
        self.0.iter().find(|(known, _)| is_it(known)).map(|(_, outcome)| outcome)
    }

    /// How many were requeued, and of how many.
    pub fn count(&self) -> (usize, usize) {
        let requeued = self.0.values().filter(|outcome| matches!(outcome, Outcome::Requeued(_)));
        (requeued.count(), self.0.len())
    }

    pub fn json(&self) -> Json {
        let line = |((topic, partition, offset), outcome): (&(String, i32, i64), &Outcome)| {
            let (key, value) = match outcome {
                Outcome::Requeued(what) => ("requeued", json!(what)),
                Outcome::Refused { reason, detail } => ("refused", json!({"reason": reason, "detail": detail})),
                Outcome::Not(why) => ("not", json!(why)),
            };
            json!({"topic": topic, "partition": partition, "offset": offset, key: value})
        };
        self.0.iter().map(line).collect()
    }
}

impl fmt::Display for Requeued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((topic, partition, offset), outcome) in &self.0 {
            let place = format!("{topic}:{partition}:{offset}");
            match outcome {
                Outcome::Requeued(what) => writeln!(f, "{place}  {what}")?,
                Outcome::Refused { reason, detail } => writeln!(f, "{place}  still refused: {reason}: {detail}")?,
                Outcome::Not(why) => writeln!(f, "{place}  not requeued: {why}")?,
            }
        }
        if self.0.is_empty() { writeln!(f, "nothing of that is in quarantine") } else { Ok(()) }
    }
}

/// Requeues every record that is wanted; only says what would become of it where `dry`.
pub fn requeue(settings: &Settings, wants: impl Fn(&Rejected) -> bool, dry: bool) -> Result<Requeued, StageError> {
    let mut outcomes = Requeued::default();
    let mut found: BTreeMap<(SourceIndex, TopicPartition), BTreeMap<i64, Rejected>> = BTreeMap::new();
    let mut quarantined: BTreeMap<TopicPartition, BTreeSet<i64>> = BTreeMap::new();
    each(settings, |rejected| {
        let id = TopicPartition { topic: rejected.topic.as_str().into(), partition: rejected.partition };
        quarantined.entry(id.clone()).or_default().insert(rejected.offset);
        if wants(&rejected) {
            match settings.sources.iter().position(|source| source.name == rejected.source) {
                Some(source) => drop(found.entry((source, id)).or_default().insert(rejected.offset, rejected)),
                None => {
                    let place = (rejected.topic, rejected.partition, rejected.offset);
                    outcomes.0.insert(place, not(NO_SOURCE));
                }
            }
        }
    })?;
    if found.is_empty() {
        return Ok(outcomes);
    }
    let mut hand = ByHand::open(settings)?;
    for ((source, id), records) in found {
        let mut lane = Lane::begin(settings, source, &id, records)?;
        lane.is_single = hand.present.get(&*id.topic) == Some(&1);
        lane.quarantined = quarantined.remove(&id).unwrap_or_default();
        let told = lane.requeue(&mut hand, dry)?;
        let place = |offset| (id.topic.to_string(), id.partition, offset);
        outcomes.0.extend(told.into_iter().map(|(offset, outcome)| (place(offset), outcome)));
    }
    Ok(outcomes)
}

/// Why nobody can say what has followed on a record.
type Blind = String;

/// Records of one topic-partition.
struct Lane<'s> {
    settings: &'s Settings,
    source: SourceIndex,
    id: &'s TopicPartition,
    /// True where its topic has no other partition.
    is_single: bool,
    /// The offsets of all records that it has in quarantine, wanted or not.
    quarantined: BTreeSet<i64>,
    properties: Properties,
    offsets: Offsets,
    decoder: Decoder,
    requeue: Requeue,
    /// What is below was shown to it; `None` before the first look.
    looked: Option<i64>,
    records: BTreeMap<i64, Rejected>,
    outcomes: BTreeMap<i64, Outcome>,
}

impl<'s> Lane<'s> {
    fn begin(
        settings: &'s Settings,
        source: SourceIndex,
        id: &'s TopicPartition,
        records: BTreeMap<i64, Rejected>,
    ) -> Result<Lane<'s>, StageError> {
        let properties = Properties::new(settings.kafka.clone());
        let offsets = Offsets::new(&properties, &settings.topics.ingest_group)?;
        let committed = committed(&offsets, id)?;
        let requeue = Requeue::new(settings.plan.clone(), source, id, committed);
        let decoder = Decoder::new(registry(settings)?);
        Ok(Lane {
            settings,
            source,
            id,
            is_single: false,
            quarantined: BTreeSet::new(),
            properties,
            offsets,
            decoder,
            requeue,
            looked: None,
            records,
            outcomes: BTreeMap::new(),
        })
    }

    fn requeue(mut self, hand: &mut ByHand<'_>, dry: bool) -> Result<BTreeMap<i64, Outcome>, StageError> {
        let committed = self.requeue.until();
        if let Err(blind) = self.look(Some(committed))? {
            return Ok(self.give_up(&blind));
        }
        for offset in self.records.keys() {
            let outcome = not(if *offset < committed { GONE } else { EARLY });
            self.outcomes.entry(*offset).or_insert(outcome);
        }
        let mut is_done = dry;
        while !is_done {
            if !self.wait_for(self.requeue.until())? {
                return Ok(self.give_up(BEHIND_ITS_TOPIC));
            }
            self.write(hand)?;
            if let Err(blind) = self.look(None)? {
                return Ok(self.give_up(&blind));
            }
            is_done = self.requeue.is_done();
        }
        Ok(self.outcomes)
    }

    /// The offset from which on it is known what was sent again.
    fn begins(&self) -> Result<i64, StageError> {
        let Some((offset, first)) = self.records.first_key_value() else { return Ok(0) };
        let since =
            self.offsets.since((&self.id.topic, self.id.partition), first.timestamp().plus(-SENT_AGAIN_US))?;
        Ok(since.map_or(*offset, |since| since.min(*offset)))
    }

    /// True once ingest has written so far; false where that takes too long.
    fn wait_for(&self, offset: i64) -> Result<bool, StageError> {
        let deadline = Moment::now() + BEHIND;
        while committed(&self.offsets, self.id)? < offset {
            if Moment::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(true)
    }

    /// Nothing that was or is to be requeued can be relied on.
    fn give_up(self, why: &str) -> BTreeMap<i64, Outcome> {
        let records = self.records.into_keys().map(|offset| (offset, not(why)));
        let known = self.outcomes.into_iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Requeued(_)));
        records.chain(known).collect()
    }

    /// Looks on through the topic-partition, up to an offset or its end now.
    fn look(&mut self, until: Option<i64>) -> Result<Result<(), Blind>, StageError> {
        let mut stretch = Stretch::open(&self.properties, &self.id.topic, self.id.partition, FETCH)?;
        let (start, end) = stretch.bounds();
        let until = until.map_or(end, |until| until.min(end));
        match self.looked.replace(until) {
            Some(looked) if looked < start => return Ok(Err(OVERTAKEN.to_owned())),
            Some(looked) => stretch.seek(looked),
            None => stretch.seek(self.begins()?.max(start)),
        }
        let first = self.records.keys().next().copied();
        let follows = |offset| first.is_some_and(|first| offset > first);
        while let Some(message) = stretch.message()?.filter(|message| message.offset() < until) {
            let offset = message.offset();
            let shape = &self.settings.sources[self.source].shape;
            let decoder = &mut self.decoder;
            let decoded = with_record(&message, |record| decoder.decode_in(shape, record, PATIENCE));
            let wanted = self.records.get(&offset);
            let obstacle = wanted.map(|rejected| match obstacle(rejected, &message, &decoded) {
                // Of a single partition there is no other.
                None if !self.is_single && !with_record(&message, |record| decoder.is_keyed(shape, record)) => {
                    Some(not(ASIDE))
                }
                known => known,
            });
            let is_wanted = obstacle == Some(None);
            let mut outcome = obstacle.flatten();
            match decoded {
                Ok(Event::Nothing) => {}
                Ok(Event::Change(decoded)) => {
                    let told = is_wanted.then(|| Outcome::Requeued(tell(shape, &decoded)));
                    outcome = match self.requeue.see(offset, decoded, is_wanted) {
                        Seen::Replayed if is_wanted => Some(not(REPLAYED)),
                        _ => told.or(outcome),
                    };
                }
                // It was understood when it came, and may be about a row that is to be said again.
                Err(Refusal { reason, detail }) if follows(offset) && !self.quarantined.contains(&offset) => {
                    let blind = format!("offset {offset}, which follows, is not understood now: {reason}: {detail}");
                    return Ok(Err(blind));
                }
                Err(_) => {}
            }
            self.outcomes.extend(outcome.map(|outcome| (offset, outcome)));
        }
        Ok(Ok(()))
    }

    /// Says every row again.
    fn write(&self, hand: &mut ByHand<'_>) -> Result<(), StageError> {
        let key_may_change = self.settings.sources.iter().map(|source| source.key_may_change).collect();
        let partitions = self.settings.topics.partitions;
        let mut router = Router::new(self.settings.plan.clone(), partitions, key_may_change);
        for part in self.requeue.parts(BLOCK) {
            part.into_iter().for_each(|decoded| router.route(self.source, self.id, decoded));
            hand.write(router.take(), now())?;
        }
        Ok(())
    }
}

/// How far ingest has written a topic-partition; 0 where it has committed nothing.
fn committed(offsets: &Offsets, id: &TopicPartition) -> Result<i64, StageError> {
    let committed = offsets.committed(&[(id.topic.to_string(), id.partition)])?;
    Ok(committed.first().map_or(0, |commit| commit.offset))
}

/// Why a record that is wanted cannot be requeued; `None` where it can.
fn obstacle(rejected: &Rejected, message: &BorrowedMessage<'_>, decoded: &Result<Event, Refusal>) -> Option<Outcome> {
    match decoded {
        _ if !is_same(rejected, message) => Some(not(ANOTHER)),
        Err(Refusal { reason, detail }) => {
            Some(Outcome::Refused { reason: (*reason).to_owned(), detail: detail.clone() })
        }
        Ok(Event::Nothing) => Some(not(NO_ROW)),
        Ok(Event::Change(_)) => None,
    }
}

/// True where a record is the one that was refused.
fn is_same(rejected: &Rejected, message: &BorrowedMessage<'_>) -> bool {
    let is = |base64: &Option<String>, now: Option<&[u8]>| bytes(base64.as_ref()).as_deref() == now;
    let is_then = rejected.timestamp() == timestamp(message);
    is_then
        && (rejected.masked
            || is(&rejected.key_base64, message.key()) && is(&rejected.value_base64, message.payload()))
}
