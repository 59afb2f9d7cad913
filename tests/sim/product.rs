//! The deployment under simulation: processes, each a member of both groups, that come, go, sleep and die; and the groups
//! that give them their share. What the processes do is the product's own code.

use std::cell::{Ref, RefMut};
use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel::domain::change::{Block, Entry, Key, TopicPartition, Unseen};
use evenkeel::domain::instant::Instant;
use evenkeel::domain::routing::partition_of;
use evenkeel::domain::rule::Plan;
use evenkeel::task::intake::Movement;
use evenkeel::task::reconcile::Limits;
use evenkeel::task::wire::block;
use evenkeel::task::worker::{Bounds, Tenure};

use super::delivery::{Delivery, HEARTBEATS, Lane, Record, TRANSACTIONS};
use super::operator::Operator;
use super::oracle::Line;
use super::outside::{Group, Happened, Hazards, Log, Logged, Outlet, Outside, Shared, shared};
use super::process::{Counted, Process};
use super::published;
use super::seat::Fault;
use super::world::{BEGIN, Cell, Cells, Micros, SECOND, World};
use crate::support::dice::Dice;

pub const SLACK: Micros = 2 * SECOND;
pub const STALL_AFTER: Micros = 45 * SECOND;

/// Partitions of the changes log.
const LOG: i32 = 3;

/// How many processes there are.
const PROCESSES: usize = 2;

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
    /// Retention deletes blocks of the changes log that a checkpoint makes up for.
    pub retention: u64,
    /// Retention deletes records of a source's topic, read or not.
    pub gaps: u64,
    /// Somebody begins to requeue what a topic-partition has in quarantine.
    pub requeues: u64,
    /// Somebody says what has become of the rows that a snapshot has not seen.
    pub confirms: u64,
}

pub struct Product {
    outside: Shared<Outside>,
    processes: Vec<Process>,
    /// For each partition of the changes log, which process the group has given it to.
    seats: Vec<usize>,
    /// Partitions that a process holds which slept when the group took them away.
    overslept: Vec<(usize, usize)>,
    /// The lanes that the group knows of.
    joined: Vec<bool>,
    pub faults: Faults,
    pub disturbances: u64,
    /// How many partitions were added.
    pub grown: u64,
    operators: Vec<Operator>,
    /// For each lane, below which offset all is requeued that was in quarantine, and since when.
    requeued: Vec<(usize, Micros)>,
}

impl Product {
    /// The plans differ in their rules only.
    pub fn new(
        dice: &mut Dice,
        plans: &[Arc<Plan>],
        (world, delivery): (World, Delivery),
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
            .take(TRANSACTIONS)
            .chain(
                ["shop.transaction", "pay.transaction"]
                    .map(|topic| (None, TopicPartition { topic: topic.into(), partition: 0 })),
            )
            .collect();
        let limits =
            Limits { memory_bytes: dice.pick(&[0, 1000, 20_000, 1 << 20]), step: dice.pick(&[1, 3, 20, 4096]) };
        let bounds = Bounds { task: limits, flush_us: dice.pick(&[0, SECOND, 10 * SECOND]) };
        let lanes = topics.len();
        let joined: Vec<bool> = delivery.lanes.iter().map(|lane| lane.exists).collect();
        let outside = shared(Outside {
            plans: plans.to_vec(),
            world: shared(world),
            delivery: shared(delivery),
            group: Group {
                topics,
                owners: (0..lanes).map(|lane| lane % PROCESSES).collect(),
                committed: vec![None; lanes],
                beats: [0, 0],
                movements: vec![Vec::new(); PROCESSES],
            },
            dice: Dice::new(dice.next()),
            hazards,
            now: BEGIN,
            log: (0..LOG).map(|_| Log::default()).collect(),
            outlets: (0..LOG).map(|_| Outlet::default()).collect(),
            vault: vec![Vec::new(); LOG as usize],
            happened: Happened::default(),
        });
        let mut product = Product {
            processes: (0..PROCESSES).map(|number| Process::start(&outside, number, bounds)).collect(),
            seats: (0..LOG as usize).map(|partition| partition % PROCESSES).collect(),
            overslept: Vec::new(),
            joined,
            outside,
            faults,
            disturbances: 0,
            grown: 0,
            operators: Vec::new(),
            requeued: vec![(0, Micros::MIN); lanes],
        };
        for lane in (0..lanes).filter(|lane| product.joined[*lane]) {
            product.assign(lane, lane % PROCESSES);
        }
        for (partition, process) in product.seats.iter().enumerate() {
            product.processes[*process].assign(partition, BEGIN);
        }
        product
    }

    pub fn outside(&self) -> Ref<'_, Outside> {
        self.outside.borrow()
    }

    fn group(&self) -> RefMut<'_, Group> {
        RefMut::map(self.outside.borrow_mut(), |outside| &mut outside.group)
    }

    /// Some time after a partition was added the group gives it to a member.
    fn join(&mut self, dice: &mut Dice) {
        for lane in 0..self.joined.len() {
            let exists = self.outside().delivery.borrow().lanes[lane].exists;
            if exists && !self.joined[lane] && dice.once_in(10) {
                self.joined[lane] = true;
                self.grown += 1;
                self.assign(lane, lane % PROCESSES);
            }
        }
    }

    /// The group gives a lane to a process. Whoever had it hears of that when it is awake.
    fn assign(&self, lane: usize, process: usize) {
        let mut group = self.group();
        let id = group.topics[lane].1.clone();
        if group.is_shared(lane) {
            group.owners[lane] = process;
            group.movements[process].push(Movement::Assigned(id));
        }
    }

    fn move_lane(&mut self, lane: usize) {
        let mut group = self.group();
        let (owner, id) = (group.owners[lane], group.topics[lane].1.clone());
        if group.is_shared(lane) {
            group.movements[owner].push(Movement::Revoked(id));
        }
        drop(group);
        self.assign(lane, 1 - owner);
    }

    pub fn partition_of(key: i64) -> usize {
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

    /// What the tasks of a partition have counted.
    pub fn counted(&self, partition: usize) -> Counted {
        self.processes.iter().map(|process| process.counted[partition]).fold(Counted::default(), Counted::plus)
    }

    /// One step of everything.
    pub fn step(&mut self, dice: &mut Dice, now: Micros) {
        self.outside.borrow_mut().now = now;
        if self.is_warm() {
            self.disturb(dice, now);
        }
        self.join(dice);
        for process in 0..PROCESSES {
            if now >= self.processes[process].asleep_until {
                self.work(dice, process, now);
            }
        }
    }

    /// A database whose times are those of statements may be restored: its positions fall, and nothing else tells. Whoever
    /// hears of what came after it first, and then of what was before, cannot know. So where that is to come, all partitions
    /// of the log hear of the database once before processes fail.
    fn is_warm(&self) -> bool {
        let outside = self.outside();
        let is_to_come = outside.world.borrow().databases[1].failover.is_some_and(|failover| !failover.moves);
        let has_heard =
            |log: &Log| log.blocks.iter().flat_map(|block| &block.lines).any(|line| line.is_proof_of_payments());
        !is_to_come || outside.log.iter().all(has_heard)
    }

    /// From now on nothing goes wrong any more.
    pub fn calm(&mut self) {
        self.faults = Faults::default();
        self.outside.borrow_mut().hazards = Hazards::default();
        for process in &mut self.processes {
            process.spare();
            process.asleep_until = Micros::MIN;
        }
        self.acknowledge();
    }

    fn work(&mut self, dice: &mut Dice, process: usize, now: Micros) {
        self.wake(dice, process);
        for _ in 0..=dice.below(3) {
            match self.processes[process].step(dice) {
                Ok(()) => {}
                Err(Fault::Crash | Fault::Brokers(_) | Fault::Vault) => return self.restart(dice, process, now),
                Err(Fault::State(error)) => panic!("{error}"),
                Err(fault) => panic!("{fault:?}"),
            }
        }
    }

    /// A process that slept hears after a while what was taken from it. Until then it goes on as if nothing had been.
    fn wake(&mut self, dice: &mut Dice, process: usize) {
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
            let plans = self.outside().plans.len();
            self.processes[process].plan = dice.below(plans as u64) as usize;
            if now >= self.processes[process].asleep_until {
                // What fails on the way is as if it had been killed.
                let _ = self.processes[process].end();
            }
            self.restart(dice, process, now);
        }
        if strikes(dice, self.faults.moves) {
            let lane = dice.below(TRANSACTIONS as u64) as usize;
            // Those of heartbeats stand for those of transactions.
            let lane = if lane < HEARTBEATS { lane } else { lane + 2 };
            if self.joined[lane] {
                self.disturbances += 1;
                self.move_lane(lane);
            }
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
        if strikes(dice, self.faults.gaps) {
            let lane = dice.below(HEARTBEATS as u64) as usize;
            self.forget(dice, lane);
        }
        if self.faults.gaps > 0 && dice.once_in(30) {
            self.acknowledge();
        }
    }

    /// Retention deletes a source's records, mostly such as are read.
    fn forget(&mut self, dice: &mut Dice, lane: usize) {
        let outside = self.outside.borrow_mut();
        // What was deleted before anybody began is nobody's loss.
        if outside.group.committed.iter().all(Option::is_none) {
            return;
        }
        let read = outside.group.committed[lane].unwrap_or(0) as usize;
        let mut delivery = outside.delivery.borrow_mut();
        let unread = if dice.once_in(2) { 0 } else { dice.below(6) as usize };
        let from = (read + unread).min(delivery.lanes[lane].records.len());
        delivery.retain(lane, from);
    }

    /// Somebody says that whatever was lost does not matter.
    pub fn acknowledge(&mut self) {
        let mut outside = self.outside.borrow_mut();
        let topics = outside.group.topics.iter();
        let all: Vec<_> = topics.filter_map(|(source, id)| Some(((*source)?, id.clone()))).collect();
        let lines: Vec<Line> = (0..all.len()).map(|lane| Line::Acknowledge { lane }).collect();
        let block = Block::of_each(all, outside.log.len() as i32, Instant(outside.now), |topic_partition| {
            Entry::Acknowledge { topic_partition }
        });
        let bytes = block::encode(&block, &outside.plans[0].catalog);
        for log in &mut outside.log {
            log.blocks.push(Logged { bytes: bytes.clone(), lines: lines.clone() });
        }
    }

    /// Somebody says what has become of the rows of a table that a snapshot has not seen.
    pub fn confirm(&mut self, dice: &mut Dice) {
        if self.faults.confirms == 0 || !dice.once_in(self.faults.confirms) {
            return;
        }
        let mut outside = self.outside.borrow_mut();
        let (table, are_gone) = (dice.below(3) as usize, !dice.once_in(4));
        let unseen = if are_gone { Unseen::Gone } else { Unseen::Kept };
        let topic = outside.group.topics.iter().find(|(source, _)| *source == Some(table));
        let id = topic.expect("every source has a topic").1.clone();
        let entry = |topic_partition| Entry::Confirm { topic_partition, unseen };
        let block = Block::of_each(vec![(table, id)], outside.log.len() as i32, Instant(outside.now), entry);
        let bytes = block::encode(&block, &outside.plans[0].catalog);
        for log in &mut outside.log {
            let lines = vec![Line::Confirm { table, are_gone }];
            log.blocks.push(Logged { bytes: bytes.clone(), lines });
        }
    }

    /// Operators go on; maybe another one begins.
    pub fn requeue(&mut self, dice: &mut Dice) {
        let outside = &mut *self.outside.borrow_mut();
        if self.faults.requeues > 0 && dice.once_in(self.faults.requeues) {
            let lane = dice.below(HEARTBEATS as u64) as usize;
            self.operators.extend(Operator::begin(outside, lane));
        }
        let requeued = &mut self.requeued;
        self.operators.retain_mut(|operator| {
            let is_done = dice.once_in(2) && operator.step(outside);
            if is_done {
                requeued[operator.lane] = (operator.wants_to, outside.now);
            }
            !is_done
        });
    }

    /// Whatever can be requeued and is not, somebody begins to requeue. True where nothing is left, and all of it is settled.
    pub fn requeue_all(&mut self) -> bool {
        let mut is_done = self.operators.is_empty();
        let outside = &*self.outside.borrow();
        let mut last = Micros::MIN;
        for (lane, (below, at)) in self.requeued.iter().enumerate() {
            let delivery = outside.delivery.borrow();
            let Lane { source, records, start, .. } = &delivery.lanes[lane];
            let is_poisonous = |record: &Record| delivery.is_poisonous(lane, *record);
            if source.is_none() || *start > 0 || !records.iter().skip(*below).any(is_poisonous) {
                last = last.max(*at);
                continue;
            }
            is_done = false;
            drop(delivery);
            if self.operators.iter().all(|operator| operator.lane != lane) {
                self.operators.extend(Operator::begin(outside, lane));
            }
        }
        is_done && self.has_settled(last + SECOND)
    }

    /// The rows that are known, each with its order.
    pub fn rows(&self) -> BTreeMap<(usize, i64), (i64, Cells)> {
        let orders = self.outside().world.borrow().orders;
        let mut rows = BTreeMap::new();
        for key in 0..=orders + 1 {
            let partition = Product::partition_of(key);
            let worker = self.processes[self.seats[partition]].worker(partition).expect("it is worked on");
            let state = worker.task().look(&Key(key.to_string().into())).expect("a store that does not fail");
            for (table, known) in state.into_iter().flat_map(|state| state.rows.into_iter().enumerate()) {
                for row in known {
                    let cells = published::cells(&row.columns);
                    let Cell::Int(id) = cells[0] else { panic!("{cells:?} has no primary key") };
                    let other = rows.insert((table, id), (key, cells));
                    assert_eq!(other, None, "a row is of one order: {table} {id} {key}");
                }
            }
        }
        rows
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
            // The whole machine slept, the coordinator with it, maybe for longer than a source may.
            let longer = if dice.once_in(4) { STALL_AFTER } else { 0 };
            self.processes[process].asleep_until += longer;
            return;
        }
        for lane in 0..self.joined.len() {
            if self.joined[lane] && self.outside().group.owners[lane] == process {
                self.move_lane(lane);
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
        self.processes[process].restart(dice, self.faults.disks);
        self.group().movements[process].clear();
        for lane in 0..self.joined.len() {
            if self.joined[lane] && self.outside().group.owners[lane] == process {
                // A member that comes back soon keeps what it had.
                let keeps = if lane < TRANSACTIONS { dice.once_in(2) } else { now % 2 == 0 };
                self.assign(lane, if keeps { process } else { 1 - process });
            }
        }
        self.overslept.retain(|(sleeper, _)| *sleeper != process);
        for partition in 0..self.seats.len() {
            if self.seats[partition] == process {
                let next = if dice.once_in(2) { process } else { 1 - process };
                self.take_seat(dice, partition, next, now);
            }
        }
    }

    /// Everything that is in the topics is read, and everything that is in the log applied and published.
    pub fn finish(&mut self, dice: &mut Dice, now: Micros) {
        for step in 1..20_000 {
            if self.is_done() {
                return;
            }
            let now = now + step * SECOND / 10;
            self.outside.borrow_mut().now = now;
            for process in 0..PROCESSES {
                self.work(dice, process, now);
            }
        }
        panic!("what is in the topics is never read and judged whole");
    }

    fn is_done(&self) -> bool {
        let outside = self.outside();
        let delivery = outside.delivery.borrow();
        let mut lanes = delivery.lanes.iter().zip(&outside.group.committed).filter(|(lane, _)| lane.source.is_some());
        let are_read = lanes.all(|(lane, read)| !lane.exists || *read == Some(lane.records.len() as i64));
        are_read
            && self.seats.iter().enumerate().all(|(partition, process)| {
                let end = outside.log[partition].blocks.len() as i64;
                self.processes[*process].worker(partition).is_some_and(|worker| worker.task().next_offset() == end)
            })
    }

    /// Begins to work on a partition where it lay last, once everything was stopped; until there is nothing to read.
    pub fn begin_again(&mut self, dice: &mut Dice, partition: usize) -> Result<(), Fault> {
        let process = &mut self.processes[self.seats[partition]];
        process.assign(partition, BEGIN);
        (0..100).try_for_each(|_| process.reconcile(dice))
    }

    /// What can be changed behind its back.
    pub fn outside_mut(&mut self) -> RefMut<'_, Outside> {
        self.outside.borrow_mut()
    }

    /// Everything is stopped in order.
    pub fn end(&mut self) {
        for process in &mut self.processes {
            process.forget_sources();
            process.end().expect("nothing goes wrong any more");
        }
    }
}
