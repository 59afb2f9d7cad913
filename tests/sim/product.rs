//! The product under simulation: members of the ingest group, the changes log, and a task for each of its partitions.
//! The code is the product's own; only Kafka and the disk are played.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evenkeel::domain::change::{Block, Entry, Key, Position, Proof, TopicPartition, Topology};
use evenkeel::domain::instant::Instant;
use evenkeel::domain::key_state::{Event as Said_, Reason};
use evenkeel::domain::record::{Cause, Content, Discrepancy, Record as Output, SideRow};
use evenkeel::domain::routing::{Ownership, partition_of};
use evenkeel::domain::rule::Plan;
use evenkeel::domain::value::Value;
use evenkeel::task::ingest::{Ingest, Patience};
use evenkeel::task::reconcile::{Limits, Task};
use evenkeel::task::store::MemoryStore;
use evenkeel::task::wire::block;

use super::delivery::{Delivery, PARTITIONS, Record};
use super::events::read;
use super::oracle::{Event, Line, Said, Sided};
use super::rules::RULES;
use super::world::{BEGIN, Cell, Cells, DATABASE, LINES, Micros, ORDERS, PAYMENTS, SECOND, World};
use crate::support::dice::Dice;

pub const SLACK: Micros = 2 * SECOND;
pub const STALL_AFTER: Micros = 45 * SECOND;

/// Partitions of the changes log.
const LOG: i32 = 3;

/// Once in so many steps; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A member of the ingest group dies.
    pub ingest: u64,
    /// A task dies.
    pub task: u64,
    /// A topic-partition moves to another member.
    pub moves: u64,
}

/// One record of the changes log: its bytes, and what the oracle is shown of it.
pub struct Logged {
    bytes: Vec<u8>,
    pub lines: Vec<Line>,
}

struct Member {
    ingest: Ingest,
    /// For each connector, the next heartbeat to read.
    heartbeats: [usize; 2],
}

/// A task and what it published.
pub struct Reconciler {
    ownership: Ownership,
    task: Task<MemoryStore>,
    published: Vec<Output>,
    unpublished: Vec<Output>,
    pub repeated: u64,
    pub replayed: u64,
}

impl Reconciler {
    pub fn settled(&self) -> Option<Micros> {
        self.task.settled().map(|settled| settled.0)
    }

    fn count(&mut self) {
        let counts = self.task.counts();
        self.repeated += counts.repeated;
        self.replayed += counts.replayed;
    }
}

pub struct Product {
    plan: Arc<Plan>,
    limits: Limits,
    topics: Vec<(Option<usize>, TopicPartition)>,
    members: Vec<Member>,
    /// For each lane, which member reads it, and its next offset there.
    owners: Vec<(usize, usize)>,
    committed: Vec<i64>,
    /// Where each database's heartbeats are read from after a restart.
    heartbeats: [i64; 2],
    pub log: Vec<Vec<Logged>>,
    pub reconcilers: Vec<Reconciler>,
    pub faults: Faults,
    pub disturbances: u64,
}

impl Product {
    pub fn new(dice: &mut Dice, plan: Arc<Plan>, delivery: &Delivery, faults: Faults) -> Product {
        let names = ["shop.lines", "shop.orders", "pay.payments"];
        let topics: Vec<_> = delivery
            .lanes
            .iter()
            .map(|lane| {
                let topic = lane.source.map_or("heartbeat", |source| names[source]).into();
                (lane.source, TopicPartition { topic, partition: lane.partition })
            })
            .collect();
        let limits =
            Limits { memory_bytes: dice.pick(&[0, 1000, 20_000, 1 << 20]), step: dice.pick(&[1, 3, 20, 4096]) };
        let open = |partition| {
            let ownership = Ownership { partition, partitions: LOG };
            let task = Task::open(Arc::clone(&plan), ownership, MemoryStore::default(), limits);
            let task = task.expect("an empty store can be opened");
            Reconciler { ownership, task, published: Vec::new(), unpublished: Vec::new(), repeated: 0, replayed: 0 }
        };
        let reconcilers = (0..LOG).map(open).collect();
        let mut product = Product {
            limits,
            members: Vec::new(),
            owners: topics.iter().map(|_| (0, 0)).collect(),
            committed: vec![0; topics.len()],
            heartbeats: [0, 0],
            log: (0..LOG).map(|_| Vec::new()).collect(),
            reconcilers,
            faults,
            disturbances: 0,
            topics,
            plan,
        };
        for member in 0..2 {
            let new = product.member();
            product.members.push(new);
            for lane in (0..product.topics.len()).filter(|lane| lane % 2 == member) {
                product.assign(lane, member, BEGIN);
            }
        }
        product
    }

    fn member(&self) -> Member {
        let patience = Patience { slack_us: SLACK, stall_after_us: STALL_AFTER };
        let mut ingest =
            Ingest::new(Arc::clone(&self.plan), LOG, vec![true, false], vec![true, false, false], patience);
        for source in 0..PARTITIONS.len() {
            ingest.learn(self.topology(source));
        }
        Member { ingest, heartbeats: self.heartbeats.map(|offset| offset as usize) }
    }

    fn topology(&self, source: usize) -> Topology {
        let lane = self.topics.iter().find(|(of, _)| *of == Some(source)).expect("every source has a topic");
        Topology { source, topics: vec![(lane.1.topic.clone(), PARTITIONS[source])] }
    }

    fn assign(&mut self, lane: usize, member: usize, now: Micros) {
        let offset = self.committed[lane];
        self.owners[lane] = (member, offset as usize);
        if let (Some(source), topic_partition) = &self.topics[lane] {
            self.members[member].ingest.assign(*source, topic_partition.clone(), offset, Instant(now));
        }
    }

    pub fn partition_of(&self, key: i64) -> usize {
        partition_of(key.to_string().as_bytes(), LOG) as usize
    }

    pub fn settled(&self) -> Vec<Option<Micros>> {
        self.reconcilers.iter().map(Reconciler::settled).collect()
    }

    pub fn has_settled(&self, until: Micros) -> bool {
        self.settled().iter().all(|settled| settled.is_some_and(|settled| settled >= until))
    }

    /// One step of everything.
    pub fn step(&mut self, dice: &mut Dice, world: &World, delivery: &Delivery, now: Micros) {
        self.move_lanes(dice, now);
        for member in 0..self.members.len() {
            self.read(dice, world, delivery, member, now);
            self.beat(world, delivery, member, now);
            self.ask_ends(dice, delivery, member, now);
            if dice.once_in(2) {
                self.write(dice, member, now);
            }
        }
        for partition in 0..self.reconcilers.len() {
            self.reconcile(dice, partition);
        }
    }

    fn move_lanes(&mut self, dice: &mut Dice, now: Micros) {
        if self.faults.ingest > 0 && dice.once_in(self.faults.ingest) {
            let member = dice.below(2) as usize;
            self.restart(member, now);
        }
        if self.faults.moves > 0 && dice.once_in(self.faults.moves) {
            let lane = dice.below(self.topics.len() as u64) as usize;
            let (owner, _) = self.owners[lane];
            if let (Some(source), topic_partition) = self.topics[lane].clone() {
                self.disturbances += 1;
                self.members[owner].ingest.revoke(source, &topic_partition);
                self.assign(lane, 1 - owner, now);
            }
        }
    }

    /// A member dies and comes back with what is committed.
    fn restart(&mut self, member: usize, now: Micros) {
        self.disturbances += 1;
        self.members[member] = self.member();
        for lane in 0..self.topics.len() {
            if self.owners[lane].0 == member {
                self.assign(lane, member, now);
            }
        }
    }

    fn read(&mut self, dice: &mut Dice, world: &World, delivery: &Delivery, member: usize, now: Micros) {
        for lane in 0..self.topics.len() {
            let (owner, mut next) = self.owners[lane];
            let (Some(source), topic_partition) = self.topics[lane].clone() else { continue };
            if owner != member || dice.once_in(3) {
                continue;
            }
            for _ in 0..dice.below(12) {
                let Some(record) = delivery.lanes[lane].records.get(next) else { break };
                let offset = next as i64;
                let reading = read(world, delivery, lane, *record, offset);
                self.members[member].ingest.take(source, &topic_partition, (offset, reading), Instant(now));
                next += 1;
            }
            self.owners[lane].1 = next;
        }
    }

    fn beat(&mut self, world: &World, delivery: &Delivery, member: usize, now: Micros) {
        for database in 0..2 {
            let records = &delivery.heartbeats(database).records;
            let next = &mut self.members[member].heartbeats[database];
            let from = std::mem::replace(next, records.len());
            for (offset, record) in (from as i64..).zip(&records[from..]) {
                let Record::Heartbeat { transaction, run } = *record else { continue };
                let transaction = &world.databases[database].log[transaction];
                let (number, row) = transaction.begin;
                let proof = Proof { position: Position { transaction: number, row: row + 1 }, run };
                let time = Instant(transaction.heartbeat.expect("it is a heartbeat"));
                self.members[member].ingest.heartbeat(database, (time, proof), (0, offset), Instant(now));
            }
        }
    }

    fn ask_ends(&mut self, dice: &mut Dice, delivery: &Delivery, member: usize, now: Micros) {
        let ingest = &mut self.members[member].ingest;
        let wanted = ingest.wants_ends(Instant(now));
        if wanted.is_empty() || dice.once_in(4) {
            return;
        }
        let mut ends = Vec::new();
        for (source, topic_partition) in wanted {
            let lane = self.topics.iter().position(|known| *known == (Some(source), topic_partition.clone()));
            let end = delivery.lanes[lane.expect("it is a lane")].records.len();
            if !dice.once_in(10) {
                ends.push(((source, topic_partition), end as i64));
            }
        }
        ingest.ends(Instant(now), &ends);
    }

    /// A member writes its round; it may die in the middle, or before it commits.
    fn write(&mut self, dice: &mut Dice, member: usize, now: Micros) {
        let round = self.members[member].ingest.collect(Instant(now));
        let dies = self.faults.ingest > 0 && dice.once_in(self.faults.ingest);
        let written = if dies { dice.below(round.blocks.len() as u64 + 1) as usize } else { round.blocks.len() };
        for (partition, block) in &round.blocks[..written] {
            let lines = self.lines(block);
            let bytes = block::encode(block, &self.plan.catalog);
            self.log[*partition as usize].push(Logged { bytes, lines });
        }
        if dies {
            self.restart(member, now);
            return;
        }
        for (topic_partition, offset) in round.read_to {
            let lane = self.topics.iter().position(|(_, known)| *known == topic_partition).expect("it is a lane");
            if self.owners[lane].0 == member {
                self.committed[lane] = offset;
            }
        }
        for database in 0..2 {
            if let Some(offset) = self.members[member].ingest.heartbeats_from(database).get(&0) {
                self.heartbeats[database] = *offset;
            }
        }
    }

    fn lines(&self, block: &Block) -> Vec<Line> {
        let lane = |index: usize| {
            let (source, topic_partition) = &block.topic_partitions[index];
            let known = self.topics.iter().position(|known| *known == (Some(*source), topic_partition.clone()));
            known.expect("it is a lane")
        };
        let line = |entry: &Entry| match entry {
            Entry::Change(change) => Some(Line::Change { lane: lane(change.topic_partition), offset: change.offset }),
            Entry::Mark(mark) => Some(Line::Mark {
                lane: lane(mark.topic_partition),
                time: mark.time.0,
                proof: mark.proof.map(|proof| (proof.position.transaction, proof.position.row)),
            }),
            _ => None,
        };
        block.entries.iter().filter_map(line).collect()
    }

    fn reconcile(&mut self, dice: &mut Dice, partition: usize) {
        for _ in 0..dice.below(6) {
            self.apply(partition);
            if self.faults.task > 0 && dice.once_in(self.faults.task) {
                self.kill(partition);
            }
            if dice.once_in(3) {
                self.publish(partition);
            }
            if dice.once_in(5) && self.reconcilers[partition].unpublished.is_empty() {
                self.flush(partition);
            }
        }
    }

    fn apply(&mut self, partition: usize) -> bool {
        let Reconciler { task, unpublished, .. } = &mut self.reconcilers[partition];
        if task.is_settling() {
            unpublished.extend(task.proceed().expect("a store in memory does not fail"));
            return true;
        }
        let offset = task.next_offset();
        let Some(logged) = self.log[partition].get(offset as usize) else { return false };
        let block = block::decode(&logged.bytes, &self.plan.catalog).expect("what was encoded can be decoded");
        unpublished.extend(task.apply(offset, block).expect("a store in memory does not fail"));
        true
    }

    /// What was published before the task died is not published again: the output's tail says how far it came.
    fn publish(&mut self, partition: usize) {
        let Reconciler { published, unpublished, .. } = &mut self.reconcilers[partition];
        let tail: Option<Cause> = published.last().map(|record| record.cause);
        published.extend(unpublished.drain(..).filter(|record| tail.is_none_or(|tail| record.cause > tail)));
    }

    fn flush(&mut self, partition: usize) {
        self.reconcilers[partition].task.flush().expect("a store in memory does not fail");
    }

    fn kill(&mut self, partition: usize) {
        self.disturbances += 1;
        let reconciler = &mut self.reconcilers[partition];
        reconciler.count();
        reconciler.unpublished.clear();
        let open = |store| Task::open(Arc::clone(&self.plan), reconciler.ownership, store, self.limits);
        let nothing = open(MemoryStore::default()).expect("an empty store can be opened");
        let store = std::mem::replace(&mut reconciler.task, nothing).into_store();
        reconciler.task = open(store).expect("what was written can be read");
    }

    /// Everything that is in the log is applied and published.
    pub fn finish(&mut self, dice: &mut Dice, now: Micros) {
        for member in 0..self.members.len() {
            self.write(dice, member, now);
        }
        for partition in 0..self.reconcilers.len() {
            while self.apply(partition) {}
            self.publish(partition);
            if dice.once_in(2) {
                self.flush(partition);
                self.kill(partition);
            }
            self.reconcilers[partition].count();
        }
    }

    /// What was said of each order, in order.
    pub fn said(&self, partition: usize) -> BTreeMap<i64, Vec<Said>> {
        let mut said: BTreeMap<i64, Vec<Said>> = BTreeMap::new();
        for record in &self.reconcilers[partition].published {
            if let Content::Discrepancy(discrepancy) = &record.content {
                let one = self.translate(record.cause, discrepancy);
                said.entry(one.key).or_default().push(one);
            }
        }
        said
    }

    fn translate(&self, cause: Cause, told: &Discrepancy) -> Said {
        let side = |row: &SideRow| Sided {
            cells: cells(&row.columns),
            time: row.source_time.0,
            position: row.position.clone(),
            lane: self
                .topics
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
                Said_::Resolved(Reason::RuleRemoved) => panic!("no rule was removed"),
            },
            rule: rule(&told.rule),
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

    /// What is open by the last record of each order on the open topic.
    pub fn open(&self, partition: usize) -> BTreeSet<(i64, &'static str, Cells)> {
        let mut last: BTreeMap<i64, Vec<(&'static str, Cells)>> = BTreeMap::new();
        for record in &self.reconcilers[partition].published {
            if let Content::Open { key, open, .. } = &record.content {
                last.insert(number(key), open.iter().map(|one| (rule(&one.rule), cells(&one.identity))).collect());
            }
        }
        let each = |(key, open): (i64, Vec<(&'static str, Cells)>)| {
            open.into_iter().map(move |(rule, identity)| (key, rule, identity))
        };
        last.into_iter().flat_map(each).collect()
    }

    /// Everything that was not understood is in quarantine, once.
    pub fn check_quarantine(&self, delivery: &Delivery) {
        let published = self.reconcilers.iter().flat_map(|reconciler| &reconciler.published);
        let mut quarantined: Vec<(usize, i64)> = published
            .filter_map(|record| match &record.content {
                Content::Quarantine(one) => {
                    let is_it = |known: &TopicPartition| known.topic == one.topic && known.partition == one.partition;
                    let lane = self.topics.iter().position(|(_, known)| is_it(known));
                    Some((lane.expect("it is a lane"), one.offset))
                }
                _ => None,
            })
            .collect();
        quarantined.sort_unstable();
        let garbage = |(lane, records): (usize, &super::delivery::Lane)| {
            let records = records.records[..self.owners[lane].1].iter().enumerate();
            let offsets = records.filter(|(_, record)| matches!(record, Record::Garbage));
            offsets.map(|(offset, _)| (lane, offset as i64)).collect::<Vec<_>>()
        };
        let expected: Vec<(usize, i64)> = delivery.lanes.iter().enumerate().flat_map(garbage).collect();
        assert_eq!(quarantined, expected, "what is in quarantine");
    }

    fn notices(&self) -> Vec<(usize, bool)> {
        let records = self.reconcilers.iter().flat_map(|reconciler| &reconciler.published);
        let notices = records.filter_map(|record| match &record.content {
            Content::Source(notice) => Some((notice.source, notice.stalled)),
            _ => None,
        });
        notices.collect()
    }

    pub fn stalls(&self) -> u64 {
        self.notices().iter().filter(|(_, stalled)| *stalled).count() as u64
    }

    /// Each source that stood still for longer than the limit is said to have stalled once and to have recovered
    /// once; no other source is. Where members are
    /// killed, or topic-partitions moved, before the limit has passed, nobody may notice.
    pub fn check_notices(&self, stall: Option<(usize, Micros, Micros)>) {
        let notices = self.notices();
        for source in [LINES, ORDERS, PAYMENTS] {
            let said: Vec<bool> =
                notices.iter().filter(|(of, _)| *of == source).map(|(_, stalled)| *stalled).collect();
            let long = |(database, from, until)| database == DATABASE[source] && until - from > STALL_AFTER;
            let expected: &[bool] = if stall.is_some_and(long) { &[true, false] } else { &[] };
            let unnoticed = self.disturbances > 0 && said.is_empty();
            assert!(said == expected || unnoticed, "{said:?} was said of source {source}, not {expected:?}");
        }
        let heartbeats = |reconciler: &Reconciler| {
            let settled = reconciler.published.iter().filter_map(|record| match record.content {
                Content::Heartbeat { settled } => Some(settled),
                _ => None,
            });
            settled.collect::<Vec<_>>()
        };
        for reconciler in &self.reconcilers {
            let heartbeats = heartbeats(reconciler);
            assert!(heartbeats.is_sorted_by(|a, b| a < b), "heartbeats rise");
            assert!(!heartbeats.is_empty(), "an idle partition still says how far it has looked");
        }
    }
}

fn rule(id: &str) -> &'static str {
    RULES.iter().find(|rule| rule.id == id).expect("it is a rule").id
}

fn number(key: &Key) -> i64 {
    key.0.parse().expect("orders have numbers")
}

fn cells(values: &[Value]) -> Cells {
    let cell = |value: &Value| match value {
        Value::Null => Cell::Null,
        Value::Int(number) => Cell::Int(*number),
        Value::Decimal(decimal) => Cell::Int(decimal.to_plain_string().parse().expect("sums of integers")),
        Value::Text(text) => Cell::Text(text.to_string()),
        other => panic!("{other:?} is not simulated"),
    };
    values.iter().map(cell).collect()
}
