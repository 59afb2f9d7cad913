//! The deployment under simulation: processes, each a member of both groups, that come, go, sleep and die; and the groups
//! that give them their share. The code of ingest and reconcile is the product's own.

use std::sync::Arc;

use evenkeel::domain::change::{Block, Entry, TopicPartition, Topology};
use evenkeel::domain::instant::Instant;
use evenkeel::domain::record::Content;
use evenkeel::domain::routing::partition_of;
use evenkeel::domain::rule::Plan;
use evenkeel::task::ingest::{Ingest, Patience};
use evenkeel::task::reconcile::Limits;
use evenkeel::task::wire::block;
use evenkeel::task::worker::{Bounds, Tenure};

use super::delivery::{Delivery, PARTITIONS, Record};
use super::events::{proof, read, run_of};
use super::oracle::{self, Line};
use super::outside::{Happened, Hazards, Log, Logged, Outlet, Outside, Shared, shared};
use super::process::{Counted, Process};
use super::seat::Fault;
use super::world::{BEGIN, DATABASE, LINES, Micros, ORDERS, PAYMENTS, SECOND, World};
use crate::support::dice::Dice;

pub const SLACK: Micros = 2 * SECOND;
pub const STALL_AFTER: Micros = 45 * SECOND;

/// Partitions of the changes log.
const LOG: i32 = 3;

/// Once in so many steps; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A process dies.
    pub deaths: u64,
    /// A disk is gone, or older, when a process comes back.
    pub disks: u64,
    /// A process is suspended for a while.
    pub sleeps: u64,
    /// A topic-partition, or a partition of the changes log, moves to another member.
    pub moves: u64,
    /// A process is stopped, and started with other rules.
    pub rules: u64,
    /// The brokers say which partitions there are; 0 is whenever they are asked.
    pub look_up: u64,
    /// Retention deletes blocks of the changes log that a checkpoint makes up for.
    pub retention: u64,
}

struct Member {
    ingest: Ingest,
    /// Which plan it was started with.
    plan: usize,
    /// For each connector, the next heartbeat to read.
    heartbeats: [usize; 2],
}

pub struct Product {
    plans: Vec<Arc<Plan>>,
    pub topics: Vec<(Option<usize>, TopicPartition)>,
    members: Vec<Member>,
    /// For each lane, which member reads it, and its next offset there.
    owners: Vec<(usize, usize)>,
    /// The lanes that the group knows of.
    joined: Vec<bool>,
    committed: Vec<i64>,
    /// Where each database's heartbeats are read from after a restart.
    heartbeats: [i64; 2],
    outside: Shared<Outside>,
    processes: Vec<Process>,
    /// For each partition of the changes log, which process the group has given it to.
    seats: Vec<usize>,
    /// Partitions that a process holds which slept when the group took them away.
    overslept: Vec<(usize, usize)>,
    /// The same for topic-partitions of sources.
    overslept_lanes: Vec<(usize, usize, TopicPartition)>,
    pub faults: Faults,
    pub disturbances: u64,
    /// How many partitions were added.
    pub grown: u64,
}

impl Product {
    /// The plans differ in their rules only.
    pub fn new(
        dice: &mut Dice,
        plans: &[Arc<Plan>],
        delivery: &Delivery,
        (faults, hazards): (Faults, Hazards),
    ) -> Product {
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
        let bounds = Bounds { task: limits, flush_us: dice.pick(&[0, SECOND, 10 * SECOND]) };
        let outside = shared(Outside {
            plan: Arc::clone(&plans[0]),
            dice: Dice::new(dice.next()),
            hazards,
            now: BEGIN,
            log: (0..LOG).map(|_| Log::default()).collect(),
            outlets: (0..LOG).map(|_| Outlet::default()).collect(),
            vault: vec![Vec::new(); LOG as usize],
            happened: Happened::default(),
        });
        let mut product = Product {
            members: Vec::new(),
            owners: topics.iter().map(|_| (0, 0)).collect(),
            joined: delivery.lanes.iter().map(|lane| lane.exists).collect(),
            committed: vec![0; topics.len()],
            heartbeats: [0, 0],
            processes: (0..2).map(|_| Process::start(&outside, bounds)).collect(),
            seats: (0..LOG as usize).map(|partition| partition % 2).collect(),
            overslept: Vec::new(),
            overslept_lanes: Vec::new(),
            outside,
            faults,
            disturbances: 0,
            grown: 0,
            topics,
            plans: plans.to_vec(),
        };
        for member in 0..2 {
            let new = product.member(0);
            product.members.push(new);
            for lane in (0..product.topics.len()).filter(|lane| lane % 2 == member) {
                if product.joined[lane] {
                    product.assign(lane, member, BEGIN);
                }
            }
        }
        for (partition, process) in product.seats.iter().enumerate() {
            product.processes[*process].assign(partition, BEGIN);
        }
        product
    }

    fn member(&self, plan: usize) -> Member {
        let patience = Patience { slack_us: SLACK, stall_after_us: STALL_AFTER };
        let rules = Arc::clone(&self.plans[plan]);
        let ingest = Ingest::new(rules, LOG, vec![true, false], vec![true, false, false], patience);
        Member { ingest, plan, heartbeats: self.heartbeats.map(|offset| offset as usize) }
    }

    /// Asks the brokers which partitions there are.
    fn look_up(&mut self, dice: &mut Dice, delivery: &Delivery, member: usize) {
        let ingest = &mut self.members[member].ingest;
        if !ingest.wants_topologies() || self.faults.look_up > 0 && !dice.once_in(self.faults.look_up) {
            return;
        }
        ingest.learn((0..PARTITIONS.len()).map(|source| {
            let (_, id) = self.topics.iter().find(|(of, _)| *of == Some(source)).expect("every source has a topic");
            let there = delivery.lanes.iter().filter(|lane| lane.source == Some(source) && lane.exists);
            Topology { source, topics: vec![(id.topic.clone(), there.count() as i32)] }
        }));
    }

    /// Some time after a partition was added the group gives it to a member.
    fn join(&mut self, dice: &mut Dice, delivery: &Delivery, now: Micros) {
        for (lane, there) in delivery.lanes.iter().enumerate() {
            if there.exists && !self.joined[lane] && dice.once_in(10) {
                self.joined[lane] = true;
                self.grown += 1;
                self.assign(lane, lane % 2, now);
            }
        }
    }

    fn assign(&mut self, lane: usize, member: usize, now: Micros) {
        let offset = self.committed[lane];
        self.owners[lane] = (member, offset as usize);
        let id = &self.topics[lane].1;
        self.overslept_lanes.retain(|(sleeper, _, known)| *sleeper != member || known != id);
        if let (Some(source), topic_partition) = &self.topics[lane] {
            self.members[member].ingest.assign(*source, topic_partition.clone(), offset, Instant(now));
        }
    }

    pub fn partition_of(&self, key: i64) -> usize {
        partition_of(key.to_string().as_bytes(), LOG) as usize
    }

    pub fn settled(&self) -> Vec<Option<Micros>> {
        let worker = |(partition, process): (usize, &usize)| self.processes[*process].worker(partition);
        let workers = self.seats.iter().enumerate().map(worker);
        workers.map(|worker| worker?.task().settled().map(|settled| settled.0)).collect()
    }

    pub fn has_settled(&self, until: Micros) -> bool {
        self.settled().iter().all(|settled| settled.is_some_and(|settled| settled >= until))
    }

    pub fn outside(&self) -> std::cell::Ref<'_, Outside> {
        self.outside.borrow()
    }

    /// What the tasks of a partition have counted.
    pub fn counted(&self, partition: usize) -> Counted {
        self.processes.iter().map(|process| process.counted[partition]).fold(Counted::default(), Counted::plus)
    }

    /// One step of everything.
    pub fn step(&mut self, dice: &mut Dice, world: &World, delivery: &Delivery, now: Micros) {
        self.outside.borrow_mut().now = now;
        self.disturb(dice, now);
        self.join(dice, delivery, now);
        for member in 0..self.members.len() {
            if now < self.processes[member].asleep_until {
                continue;
            }
            self.read(dice, world, delivery, member, now);
            self.beat(world, delivery, member, now);
            self.ask_ends(dice, delivery, member, now);
            self.look_up(dice, delivery, member);
            if dice.once_in(2) {
                self.write(dice, member, now);
            }
            self.reconcile(dice, member, now);
        }
    }

    /// From now on nothing goes wrong any more.
    pub fn calm(&mut self) {
        self.faults = Faults::default();
        self.outside.borrow_mut().hazards = Hazards::default();
        for process in &mut self.processes {
            process.spare();
            process.asleep_until = Micros::MIN;
        }
    }

    fn reconcile(&mut self, dice: &mut Dice, process: usize, now: Micros) {
        self.wake(dice, process);
        match self.processes[process].step(dice) {
            Ok(()) => {}
            Err(Fault::Crash | Fault::Brokers(_) | Fault::Vault) => self.restart(dice, process, now),
            Err(Fault::State(error)) => panic!("{error}"),
            Err(fault) => panic!("{fault:?}"),
        }
    }

    /// A process that slept hears after a while what was taken from it. Until then it writes what it had read.
    fn wake(&mut self, dice: &mut Dice, process: usize) {
        for (sleeper, source, id) in std::mem::take(&mut self.overslept_lanes) {
            if sleeper == process && dice.once_in(4) {
                self.members[process].ingest.revoke(source, &id);
            } else {
                self.overslept_lanes.push((sleeper, source, id));
            }
        }
        let overslept = std::mem::take(&mut self.overslept);
        for (sleeper, partition) in overslept {
            if sleeper == process && dice.once_in(4) {
                self.processes[process].revoke(partition, Tenure::Lost);
            } else {
                self.overslept.push((sleeper, partition));
            }
        }
    }

    fn disturb(&mut self, dice: &mut Dice, now: Micros) {
        let strikes = |dice: &mut Dice, once_in: u64| once_in > 0 && dice.once_in(once_in);
        if strikes(dice, self.faults.deaths) {
            let process = dice.below(2) as usize;
            self.processes[process].kill(dice);
        }
        if strikes(dice, self.faults.rules) {
            let process = dice.below(2) as usize;
            self.members[process].plan = dice.below(self.plans.len() as u64) as usize;
            self.restart(dice, process, now);
        }
        if strikes(dice, self.faults.moves) {
            self.move_lane(dice, now);
        }
        if strikes(dice, self.faults.moves) {
            let partition = dice.below(self.seats.len() as u64) as usize;
            self.move_seat(dice, partition, now);
        }
        if strikes(dice, self.faults.sleeps) {
            let process = dice.below(2) as usize;
            self.sleep(dice, process, now);
        }
        if strikes(dice, self.faults.retention) {
            let mut outside = self.outside.borrow_mut();
            let partition = dice.below(self.seats.len() as u64) as usize;
            let safe = outside.safe_from(partition);
            let start = outside.log[partition].start;
            outside.happened.retained += u64::from(safe > start);
            outside.log[partition].start = start.max(safe);
        }
    }

    fn move_lane(&mut self, dice: &mut Dice, now: Micros) {
        let lane = dice.below(self.topics.len() as u64) as usize;
        let (owner, _) = self.owners[lane];
        if let (Some(source), topic_partition, true) =
            (self.topics[lane].0, self.topics[lane].1.clone(), self.joined[lane])
        {
            self.disturbances += 1;
            self.members[owner].ingest.revoke(source, &topic_partition);
            self.assign(lane, 1 - owner, now);
        }
    }

    /// The group gives a partition of the changes log to the other process.
    fn move_seat(&mut self, dice: &mut Dice, partition: usize, now: Micros) {
        let from = self.seats[partition];
        if now < self.processes[from].asleep_until {
            self.overslept.push((from, partition));
        } else {
            self.processes[from].revoke(partition, Tenure::Revoked);
        }
        self.take_seat(dice, partition, 1 - from, now);
    }

    fn take_seat(&mut self, dice: &mut Dice, partition: usize, process: usize, now: Micros) {
        self.disturbances += 1;
        self.seats[partition] = process;
        // Whoever slept hears first that it had lost what it is given again.
        self.overslept.retain(|overslept| *overslept != (process, partition));
        self.processes[process].revoke(partition, Tenure::Lost);
        self.processes[process].assign(partition, now + dice.pick(&[0, SECOND, 5 * SECOND]));
    }

    /// A process is suspended, mostly for longer than the group waits for it.
    fn sleep(&mut self, dice: &mut Dice, process: usize, now: Micros) {
        self.disturbances += 1;
        let other = &self.processes[1 - process];
        if now < other.asleep_until {
            return;
        }
        self.processes[process].asleep_until = now + dice.between(SECOND, 20 * SECOND);
        if dice.once_in(4) {
            return;
        }
        for lane in 0..self.topics.len() {
            if let (Some(source), topic_partition, true) =
                (self.topics[lane].0, self.topics[lane].1.clone(), self.joined[lane])
                && self.owners[lane].0 == process
            {
                self.overslept_lanes.push((process, source, topic_partition));
                self.assign(lane, 1 - process, now);
            }
        }
        for partition in 0..self.seats.len() {
            if self.seats[partition] == process {
                self.move_seat(dice, partition, now);
            }
        }
    }

    /// A process dies, or ends, and comes back with what is committed.
    fn restart(&mut self, dice: &mut Dice, process: usize, now: Micros) {
        self.disturbances += 1;
        self.outside.borrow_mut().happened.crashes += u64::from(self.processes[process].is_dead());
        self.members[process] = self.member(self.members[process].plan);
        for lane in 0..self.topics.len() {
            if self.owners[lane].0 == process && self.joined[lane] {
                self.assign(lane, process, now);
            }
        }
        self.processes[process].restart(dice, self.faults.disks);
        self.overslept.retain(|(sleeper, _)| *sleeper != process);
        self.overslept_lanes.retain(|(sleeper, ..)| *sleeper != process);
        for partition in 0..self.seats.len() {
            if self.seats[partition] == process {
                // A member that comes back soon keeps what it had.
                let next = if dice.once_in(2) { process } else { 1 - process };
                self.take_seat(dice, partition, next, now);
            }
        }
    }

    fn read(&mut self, dice: &mut Dice, world: &World, delivery: &Delivery, member: usize, now: Micros) {
        for lane in 0..self.topics.len() {
            let (owner, mut next) = self.owners[lane];
            let (Some(source), topic_partition) = self.topics[lane].clone() else { continue };
            if owner != member || !self.joined[lane] || !delivery.can_be_read(lane, now) || dice.once_in(3) {
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
                let proof = proof(database, transaction, run);
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
            let lane = lane.expect("it is a lane");
            let end = delivery.lanes[lane].records.len();
            // Two answers on end are needed: if they are rarer, a source seems to stand still.
            if delivery.can_be_read(lane, now) && !dice.once_in(40) {
                ends.push(((source, topic_partition), end as i64));
            }
        }
        ingest.ends(Instant(now), &ends);
    }

    /// A member writes its round; it may die in the middle, or before it commits.
    fn write(&mut self, dice: &mut Dice, member: usize, now: Micros) {
        let round = self.members[member].ingest.collect(Instant(now));
        let dies = self.faults.deaths > 0 && dice.once_in(self.faults.deaths);
        let written = if dies { dice.below(round.blocks.len() as u64 + 1) as usize } else { round.blocks.len() };
        for (partition, block) in &round.blocks[..written] {
            let lines = self.lines(block);
            let bytes = block::encode(block, &self.plans[0].catalog);
            self.outside.borrow_mut().log[*partition as usize].blocks.push(Logged { bytes, lines });
        }
        if dies {
            self.restart(dice, member, now);
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
                proof: mark.proof.map(|proof| oracle::Proof {
                    begin: (proof.position.transaction, proof.position.row),
                    run: run_of(proof.run),
                }),
            }),
            Entry::Rules(set) => {
                let book = self.plans.iter().position(|plan| plan.rule_set() == *set);
                Some(Line::Rules { book: book.expect("it is a plan's") })
            }
            Entry::Stall { .. } | Entry::Reject(_) => None,
        };
        let topics = block.topologies.iter().map(|Topology { source, topics }| {
            let partitions = topics.iter().map(|(_, partitions)| *partitions).sum();
            Line::Topics { table: *source, partitions }
        });
        topics.chain(block.entries.iter().filter_map(line)).collect()
    }

    /// Everything that is in the log is applied and published.
    pub fn finish(&mut self, dice: &mut Dice, now: Micros) {
        for member in 0..self.members.len() {
            self.write(dice, member, now);
        }
        let is_done = |product: &Product| {
            product.seats.iter().enumerate().all(|(partition, process)| {
                let end = product.outside().log[partition].blocks.len() as i64;
                product.processes[*process].worker(partition).is_some_and(|worker| worker.task().next_offset() == end)
            })
        };
        for _ in 0..20_000 {
            if is_done(self) {
                return;
            }
            self.outside.borrow_mut().now += SECOND;
            for process in 0..self.processes.len() {
                self.reconcile(dice, process, now);
            }
        }
        panic!("what is in the log is never applied whole");
    }

    /// Everything is stopped in order.
    pub fn end(&mut self) {
        for process in &mut self.processes {
            process.end().expect("nothing goes wrong any more");
        }
    }

    /// Everything that was not understood is in quarantine, once.
    pub fn check_quarantine(&self, delivery: &Delivery) {
        let outside = self.outside();
        let published = outside.outlets.iter().flat_map(|outlet| &outlet.visible);
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
        let outside = self.outside();
        let records = outside.outlets.iter().flat_map(|outlet| &outlet.visible);
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
    /// once; no other source is. Where members are killed, or topic-partitions moved, their time begins anew: nobody may
    /// notice, or one topic-partition may be said to have stalled when the others have recovered.
    pub fn check_notices(&self, stall: Option<(usize, Micros, Micros)>) {
        let notices = self.notices();
        for source in [LINES, ORDERS, PAYMENTS] {
            let said: Vec<bool> =
                notices.iter().filter(|(of, _)| *of == source).map(|(_, stalled)| *stalled).collect();
            let long = |(database, from, until)| database == DATABASE[source] && until - from > STALL_AFTER;
            let expected: &[bool] = if stall.is_some_and(long) { &[true, false] } else { &[] };
            let outside = self.outside();
            let speaks = |outlet: &&Outlet| {
                let mut contents = outlet.visible.iter().map(|record| &record.content);
                contents.any(|content| matches!(content, Content::Source(notice) if notice.source == source))
            };
            assert!(outside.outlets.iter().filter(speaks).count() <= 1, "one partition speaks for source {source}");
            let disturbed = self.disturbances > 0 && !expected.is_empty();
            let in_pairs = said.chunks(2).all(|pair| pair == expected);
            assert!(
                said == expected || disturbed && in_pairs,
                "{said:?} was said of source {source}, not {expected:?}"
            );
        }
        for outlet in &self.outside().outlets {
            let settled = outlet.visible.iter().filter_map(|record| match record.content {
                Content::Heartbeat { settled } => Some(settled),
                _ => None,
            });
            let heartbeats: Vec<Instant> = settled.collect();
            assert!(heartbeats.is_sorted_by(|a, b| a < b), "heartbeats rise");
            assert!(!heartbeats.is_empty(), "an idle partition still says how far it has looked");
        }
    }
}
