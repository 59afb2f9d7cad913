//! Debezium's part: connectors that read the databases' logs, and topics that they fill with some delay, again after
//! a crash, or not at all for a while.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::world::{Cells, DATABASE, Micros, SECOND, Transaction, World};
use crate::support::dice::Dice;

/// What stands at an offset of a topic-partition.
#[derive(Clone, Copy, Debug)]
pub enum Record {
    /// Index into the database's snapshot.
    Snapshot(usize),
    /// A row that a connector read anew: indexes into the snapshots taken, and into the rows of that.
    Reread {
        snapshot: usize,
        row: usize,
    },
    /// Indexes of a transaction and of one of its edits, and the connector's run.
    Edit {
        transaction: usize,
        edit: usize,
        run: u64,
    },
    Heartbeat {
        transaction: usize,
        run: u64,
    },
    Tombstone,
    /// The end of a transaction, in its connector's transaction topic.
    End {
        transaction: usize,
    },
    /// Something that nobody understands.
    Garbage,
}

/// A topic-partition. Heartbeat tables have a lane each, of no source, and so have connectors' transactions.
#[derive(Debug)]
pub struct Lane {
    pub database: usize,
    pub source: Option<usize>,
    pub partition: i32,
    /// False for a partition that may be added and was not yet.
    pub exists: bool,
    /// Those that can be read, and those that could once.
    pub records: Vec<Record>,
    /// The first offset that retention has left.
    pub start: usize,
    visible: Micros,
}

struct Flight {
    number: u64,
    lane: usize,
    record: Record,
    at: Micros,
}

/// What may go wrong, and by how much.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    /// Most microseconds until a record can be read; less than ingest's slack, or promises break.
    pub delay: Micros,
    /// Once in so many steps a connector crashes; 0 is never.
    pub crashes: u64,
    /// True where a crash may lose what came before a heartbeat that was delivered, until it is sent again.
    pub breaks_promises: bool,
    /// From when to when a connector stands still.
    pub stall: Option<(usize, Micros, Micros)>,
    /// From when to when a topic-partition can't be read.
    pub blind: Option<(usize, Micros, Micros)>,
    /// For each table, true where its topics begin in the middle of history: without the rows that were there before.
    pub without_snapshot: [bool; 3],
    /// Once in so many edits nobody understands what tells of it, whenever it is sent; 0 is never.
    pub poison: u64,
    /// True where connectors tell of their transactions.
    pub counts: bool,
    /// Once in so many stretches of time a lane's records wait in the producer, though other lanes' do not; 0 is never.
    pub backlogs: u64,
    /// How long the producer then pauses between two of a lane, microseconds; less than ingest's slack.
    pub pause: Micros,
    /// Once in so many crashes a connector loses its place in the log, and takes a new snapshot; 0 is never.
    pub losses: u64,
    /// Once in so many edits an operator has the connector read a table in between, as a blocking snapshot does; 0 is never.
    pub readings: u64,
    /// Once in so many edits what tells of it is lost between the connector, which counts it, and its topic; 0 is never.
    pub drops: u64,
}

/// What a producer holds of a lane is sent within this time.
const HELD: Micros = 15 * SECOND;

/// For how long a lane's records go on waiting, or not.
const STRETCH: Micros = 8 * SECOND;

pub struct Connector {
    database: usize,
    run: u64,
    epoch: u32,
    /// The first transaction of the epoch: what lies before can't be read any more.
    first: usize,
    /// The next transaction and edit to send.
    next: (usize, usize),
    /// Sent, though not to be read yet.
    flying: VecDeque<Flight>,
    sent: u64,
    /// The number of the last heartbeat that can be read.
    told: u64,
    down_until: Micros,
    lag: Micros,
    /// How many failovers' first signs it has met.
    disturbed: u32,
    /// True where it does not know any more how far it had come.
    is_lost: bool,
    /// What it has left to send of a snapshot.
    rereads: VecDeque<Record>,
    /// Where it was when an operator had it read a table.
    read_at: (usize, usize),
}

/// A snapshot that a connector took since it began.
#[derive(Debug)]
pub struct Reread {
    /// True where the connector had lost its place; false for what an operator asked for.
    pub is_anew: bool,
    pub run: u64,
    /// What the database's clock said.
    pub time: Micros,
    /// The rows that there were: `(table, id, cells)`.
    pub rows: Vec<(usize, i64, Cells)>,
}

pub struct Delivery {
    /// Rows from this id on go to all partitions of their topics, those before to what was there in the beginning.
    added_from: i64,
    pub lanes: Vec<Lane>,
    pub connectors: [Connector; 2],
    pub trouble: Trouble,
    /// Which epoch of its database each run read.
    pub epochs: BTreeMap<u64, u32>,
    /// Database, transaction and edit of records that retention deleted, perhaps before they were read.
    pub lost: BTreeSet<(usize, usize, usize)>,
    /// Snapshots that were taken anew.
    pub rereads: Vec<Reread>,
    /// Database, transaction and edit of what no connector has sent, as it took a new snapshot behind it.
    pub skipped: BTreeSet<(usize, usize, usize)>,
}

/// Partitions of the topics of lines, orders and payments, those included that may be added.
pub const PARTITIONS: [i32; 3] = [3, 2, 4];

/// The first lane of heartbeats, and the first of transactions; those of sources stand before.
pub const HEARTBEATS: usize = (PARTITIONS[0] + PARTITIONS[1] + PARTITIONS[2]) as usize;
pub const TRANSACTIONS: usize = HEARTBEATS + 2;

/// How many may be added: where ids rise, so that no row goes from one partition to another.
const ADDED: [i32; 3] = [1, 0, 1];

impl Delivery {
    pub fn new(dice: &mut Dice, world: &World, trouble: Trouble) -> Delivery {
        let mut lanes = Vec::new();
        for (source, partitions) in PARTITIONS.into_iter().enumerate() {
            for partition in 0..partitions {
                let exists = partition < PARTITIONS[source] - ADDED[source];
                lanes.push(Lane { exists, ..lane(DATABASE[source], Some(source), partition) });
            }
        }
        // Of heartbeats, then of transactions.
        lanes.extend((0..4).map(|number| lane(number % 2, None, 0)));
        let mut connector = |database| Connector {
            database,
            run: 1000 * (database as u64 + 1),
            epoch: 0,
            first: 0,
            next: (0, 0),
            flying: VecDeque::new(),
            sent: 0,
            told: 0,
            down_until: 0,
            lag: dice.between(1, 3 * SECOND),
            disturbed: 0,
            is_lost: false,
            rereads: VecDeque::new(),
            read_at: (0, 0),
        };
        let connectors = [connector(0), connector(1)];
        let epochs = connectors.iter().map(|connector| (connector.run, 0)).collect();
        let added_from = dice.pick(&[104, 110, 120, i64::MAX]);
        let (lost, skipped, rereads) = Default::default();
        let mut delivery = Delivery { added_from, connectors, lanes, trouble, epochs, lost, rereads, skipped };
        for database in 0..2 {
            for (index, (table, id, _)) in world.databases[database].snapshot.iter().enumerate() {
                if !trouble.without_snapshot[*table] {
                    let lane = delivery.lane_of(*table, *id);
                    delivery.lanes[lane].exists = true;
                    delivery.lanes[lane].records.push(Record::Snapshot(index));
                }
            }
        }
        delivery
    }

    /// Debezium's topics are keyed by the primary key.
    pub fn lane_of(&self, table: usize, id: i64) -> usize {
        let before: i32 = PARTITIONS[..table].iter().sum();
        let partitions = PARTITIONS[table] - if id < self.added_from { ADDED[table] } else { 0 };
        (before + (id % i64::from(partitions)) as i32) as usize
    }

    /// True for an edit that is not understood for now.
    pub fn is_poisoned(&self, edit: (usize, usize, usize)) -> bool {
        self.trouble.poison > 0 && mixed(7, edit).is_multiple_of(self.trouble.poison)
    }

    /// True for an edit of which no topic ever hears.
    pub fn is_dropped(&self, edit: (usize, usize, usize)) -> bool {
        self.trouble.drops > 0 && mixed(11, edit).is_multiple_of(self.trouble.drops)
    }

    /// True for an edit that nobody hears of for now, though no gap says so.
    pub fn is_kept_back(&self, edit: (usize, usize, usize)) -> bool {
        self.is_poisoned(edit) || self.is_dropped(edit) || self.skipped.contains(&edit)
    }

    /// True for a record of an edit that is not understood.
    pub fn is_poisonous(&self, lane: usize, record: Record) -> bool {
        let Record::Edit { transaction, edit, .. } = record else { return false };
        self.is_poisoned((self.lanes[lane].database, transaction, edit))
    }

    pub fn can_be_read(&self, lane: usize, now: Micros) -> bool {
        !self.trouble.blind.is_some_and(|(blind, from, until)| blind == lane && from <= now && now < until)
    }

    /// Retention deletes a lane's records below an offset.
    pub fn retain(&mut self, lane: usize, from: usize) {
        let Lane { database, records, start, .. } = &mut self.lanes[lane];
        for record in &records[*start..from.max(*start)] {
            if let Record::Edit { transaction, edit, .. } = record {
                self.lost.insert((*database, *transaction, *edit));
            }
        }
        *start = from.max(*start);
    }

    pub fn heartbeats(&self, database: usize) -> &Lane {
        &self.lanes[HEARTBEATS + database]
    }

    /// Lets both connectors and the brokers work up to an instant.
    pub fn advance(&mut self, dice: &mut Dice, world: &World, now: Micros) {
        for database in 0..2 {
            self.arrive(database, now);
            let stalled = self
                .trouble
                .stall
                .is_some_and(|(which, from, until)| which == database && from <= now && now < until);
            if stalled || now < self.connectors[database].down_until {
                continue;
            }
            if self.connectors[database].is_lost || self.is_asked_to_read(database) {
                self.reread(world, database, now);
            }
            // What ends a database often disturbs its connector first, once: a short run comes last.
            let connector = &mut self.connectors[database];
            let later = world.databases[database].log.get(connector.next.0 + 6);
            let is_ending = later.is_some_and(|later| later.epoch > connector.disturbed);
            let often = if is_ending { self.trouble.crashes.min(6) } else { self.trouble.crashes };
            if often > 0 && dice.once_in(often) {
                connector.disturbed += u32::from(is_ending);
                self.crash(dice, world, database, now);
                continue;
            }
            self.send(dice, world, database, now);
            self.arrive(database, now);
        }
    }

    /// A connector that has lost its place reads all rows that there are, and goes on behind that. One that has not reads a table,
    /// and goes on where it was.
    fn reread(&mut self, world: &World, database: usize, now: Micros) {
        let of = &world.databases[database];
        let log = &of.log;
        let mut rows: BTreeMap<(usize, i64), Cells> =
            of.snapshot.iter().map(|(table, id, cells)| ((*table, *id), cells.clone())).collect();
        for edit in log.iter().flat_map(|transaction| &transaction.edits) {
            match &edit.after {
                Some(cells) => drop(rows.insert((edit.table, edit.id), cells.clone())),
                None => drop(rows.remove(&(edit.table, edit.id))),
            }
        }
        let rows = rows.into_iter().map(|((table, id), cells)| (table, id, cells));
        let connector = &mut self.connectors[database];
        let is_anew = std::mem::take(&mut connector.is_lost);
        let rows: Vec<_> = rows.filter(|(table, ..)| is_anew || *table == connector.next.0 % 3).collect();
        let (run, snapshot) = (connector.run, self.rereads.len());
        connector.rereads = (0..rows.len()).map(|row| Record::Reread { snapshot, row }).collect();
        self.rereads.push(Reread { is_anew, run, time: of.told(now), rows });
        if !is_anew {
            return;
        }
        let (first, from) = connector.next;
        for (index, transaction) in log.iter().enumerate().skip(first) {
            let edits = if index == first { from } else { 0 }..transaction.edits.len();
            self.skipped.extend(edits.map(|edit| (database, index, edit)));
        }
        connector.epoch = log.last().map_or(connector.epoch, |last| last.epoch);
        (connector.first, connector.next) = (log.len(), (log.len(), 0));
        self.epochs.insert(run, connector.epoch);
    }

    /// No dice tell, so that all else is as it would be without.
    fn is_asked_to_read(&mut self, database: usize) -> bool {
        let Connector { run, next, rereads, read_at, .. } = &mut self.connectors[database];
        let (index, edit) = *next;
        // What a run reads before anything rests on it is taken for a new snapshot.
        let is_first = run.is_multiple_of(1000);
        is_first
            && rereads.is_empty()
            && edit == 0
            && self.trouble.readings > 0
            && std::mem::replace(read_at, *next) != *next
            && mixed(19, (database, index, 0)).is_multiple_of(self.trouble.readings)
    }

    /// When a record that is sent now can be read, at `soonest` as a rule. A producer that cannot keep up sends a lane's one by
    /// one, the last of them long after that; it holds so many and no more.
    fn visible_at(&mut self, lane: usize, soonest: Micros, now: Micros, is_dropped: bool) -> Micros {
        // No dice tell, so that all else is as it would be without.
        let is_slow = self.trouble.backlogs > 0
            && !is_dropped
            && self.lanes[lane].visible < now + HELD
            && self.lanes[lane].source.is_some()
            && mixed(23, (lane, (now / STRETCH) as usize, 0)).is_multiple_of(self.trouble.backlogs);
        let pause = if is_slow { self.trouble.pause } else { 0 };
        let visible = &mut self.lanes[lane].visible;
        *visible = soonest.max(*visible + pause);
        *visible
    }

    fn send_reread(&mut self, dice: &mut Dice, database: usize, now: Micros) {
        for _ in 0..1 + dice.below(40) {
            let Some(record) = self.connectors[database].rereads.pop_front() else { return };
            let Record::Reread { snapshot, row } = record else { unreachable!("only those are left to send") };
            let (table, id, _) = self.rereads[snapshot].rows[row];
            let lane = self.lane_of(table, id);
            let at = self.visible_at(lane, now + dice.between(0, self.trouble.delay), now, false);
            self.lanes[lane].exists = true;
            let connector = &mut self.connectors[database];
            connector.sent += 1;
            connector.flying.push_back(Flight { number: connector.sent, lane, record, at });
        }
    }

    fn send(&mut self, dice: &mut Dice, world: &World, database: usize, now: Micros) {
        if !self.connectors[database].rereads.is_empty() {
            return self.send_reread(dice, database, now);
        }
        let log = &world.databases[database].log;
        let mut budget = 1 + dice.below(40);
        loop {
            let connector = &self.connectors[database];
            let (index, edit) = connector.next;
            let Some(transaction) = log.get(index).filter(|t| t.commit + connector.lag <= now) else { return };
            if budget == 0 {
                return;
            }
            if transaction.epoch != connector.epoch {
                // Many a connector goes down with its database.
                if connector.flying.is_empty() {
                    self.follow(dice, database, transaction.epoch, now);
                } else if self.trouble.crashes > 0 && dice.once_in(20) {
                    self.crash(dice, world, database, now);
                }
                return;
            }
            budget -= 1;
            let (lane, record, tombstone) = match transaction.heartbeat {
                Some(_) => {
                    (HEARTBEATS + database, Record::Heartbeat { transaction: index, run: connector.run }, false)
                }
                None => {
                    let change = &transaction.edits[edit];
                    let record = Record::Edit { transaction: index, edit, run: connector.run };
                    (self.lane_of(change.table, change.id), record, change.after.is_none())
                }
            };
            let is_dropped = matches!(record, Record::Edit { .. }) && self.is_dropped((database, index, edit));
            let at = self.visible_at(lane, now + dice.between(0, self.trouble.delay), now, is_dropped);
            self.lanes[lane].exists = true;
            // When it can be read no dice tell, so that all else is as it would be without.
            let told_at = now + (mixed(13, (database, index, 0)) as Micros % self.trouble.delay.max(1));
            let is_last = self.trouble.counts && edit + 1 == transaction.edits.len();
            let connector = &mut self.connectors[database];
            connector.sent += 1;
            if !is_dropped {
                connector.flying.push_back(Flight { number: connector.sent, lane, record, at });
            }
            if is_last {
                let (number, record) = (connector.sent, Record::End { transaction: index });
                let lane = TRANSACTIONS + database;
                let at = self.lanes[lane].visible.max(told_at);
                self.lanes[lane].visible = at;
                connector.flying.push_back(Flight { number, lane, record, at });
            }
            if tombstone && !is_dropped {
                connector.flying.push_back(Flight { number: connector.sent, lane, record: Record::Tombstone, at });
            }
            if dice.once_in(100) && self.lanes[lane].source.is_some() {
                connector.flying.push_back(Flight { number: connector.sent, lane, record: Record::Garbage, at });
            }
            connector.next = following(transaction, connector.next);
        }
    }

    /// After a failover the connector is started anew, once all that it had sent is safe.
    fn follow(&mut self, dice: &mut Dice, database: usize, epoch: u32, now: Micros) {
        let connector = &mut self.connectors[database];
        connector.epoch = epoch;
        connector.first = connector.next.0;
        connector.run += 1;
        connector.down_until = now + dice.between(0, 2 * SECOND);
        self.epochs.insert(connector.run, epoch);
    }

    fn arrive(&mut self, database: usize, now: Micros) {
        let connector = &mut self.connectors[database];
        let mut flying = VecDeque::new();
        for flight in connector.flying.drain(..) {
            if flight.at > now {
                flying.push_back(flight);
                continue;
            }
            if matches!(flight.record, Record::Heartbeat { .. }) {
                connector.told = connector.told.max(flight.number);
            }
            self.lanes[flight.lane].records.push(flight.record);
        }
        connector.flying = flying;
    }

    /// Some of what is flying is lost; the connector comes back with what was lost, and some of what was not.
    fn crash(&mut self, dice: &mut Dice, world: &World, database: usize, now: Micros) {
        let breaks = self.trouble.breaks_promises;
        let connector = &mut self.connectors[database];
        let honest = if breaks { 0 } else { connector.told };
        let cut = honest + dice.below(connector.sent.saturating_sub(honest) + 1);
        let mut resume = connector.next;
        let mut kept = VecDeque::new();
        let (sole, only_sole) = (dice.below(self.lanes.len() as u64) as usize, breaks && dice.once_in(2));
        for flight in connector.flying.drain(..) {
            let lost = flight.number > cut && (!only_sole || flight.lane == sole);
            match (lost, flight.record) {
                (false, _) => kept.push_back(flight),
                (true, Record::Edit { transaction, edit, .. }) => {
                    resume = resume.min((transaction, edit));
                    if transaction < connector.first {
                        self.skipped.insert((database, transaction, edit));
                    }
                }
                (true, Record::Heartbeat { transaction, .. }) => resume = resume.min((transaction, 0)),
                // A snapshot that was not finished is begun anew.
                (true, Record::Reread { snapshot, .. }) => connector.is_lost |= self.rereads[snapshot].is_anew,
                (true, Record::End { transaction }) => {
                    let edits = world.databases[database].log[transaction].edits.len();
                    resume = resume.min((transaction, edits - 1));
                }
                (true, _) => {}
            }
        }
        // What is lost keeps nobody waiting.
        for (number, lane) in self.lanes.iter_mut().enumerate().filter(|(_, lane)| lane.database == database) {
            let kept = kept.iter().filter(|flight| flight.lane == number).map(|flight| flight.at);
            lane.visible = kept.max().unwrap_or(lane.visible.min(now));
        }
        connector.flying = kept;
        let left = connector.rereads.drain(..).next();
        let is_anew = |record| matches!(record, Record::Reread { snapshot, .. } if self.rereads[snapshot].is_anew);
        connector.is_lost |= left.is_some_and(is_anew);
        // What fails over before a new snapshot is promised cannot be told from what did not.
        let may_be_lost = self.trouble.losses > 0 && world.databases[database].failover.is_none();
        connector.is_lost |=
            may_be_lost && mixed(17, (database, connector.run as usize, 0)).is_multiple_of(self.trouble.losses);
        for _ in 0..dice.below(8) {
            resume = preceding(&world.databases[database].log, resume);
        }
        connector.next = resume.max((connector.first, 0));
        connector.run += 1;
        self.epochs.insert(connector.run, connector.epoch);
        connector.down_until = now + dice.between(1, 6 * SECOND);
    }

    /// True once everything that the databases did up to an instant has been delivered; they must have come so far.
    pub fn is_done(&self, world: &World, until: Micros) -> bool {
        self.connectors.iter().all(|connector| {
            let log = &world.databases[connector.database].log;
            let flying = connector.flying.iter().filter_map(|flight| match flight.record {
                Record::Edit { transaction, .. } | Record::Heartbeat { transaction, .. } => Some(transaction),
                Record::Reread { .. } => Some(0),
                Record::End { .. } | Record::Snapshot(_) | Record::Tombstone | Record::Garbage => None,
            });
            if connector.is_lost || !connector.rereads.is_empty() {
                return false;
            }
            let mut left = flying.chain([connector.next.0]);
            left.all(|index| log.get(index).is_none_or(|transaction| transaction.commit > until))
        })
    }
}

/// A number that an edit always comes to.
fn mixed(salt: u64, edit: (usize, usize, usize)) -> u64 {
    let mix = |sum: u64, part: usize| (sum ^ part as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    [edit.0, edit.1, edit.2].into_iter().fold(salt, mix) >> 33
}

fn lane(database: usize, source: Option<usize>, partition: i32) -> Lane {
    Lane { database, source, partition, exists: true, records: Vec::new(), start: 0, visible: 0 }
}

fn following(transaction: &Transaction, (index, edit): (usize, usize)) -> (usize, usize) {
    if edit + 1 < transaction.edits.len() { (index, edit + 1) } else { (index + 1, 0) }
}

fn preceding(log: &[Transaction], (index, edit): (usize, usize)) -> (usize, usize) {
    match (index, edit) {
        (0, 0) => (0, 0),
        (index, 0) => (index - 1, log[index - 1].edits.len().saturating_sub(1)),
        (index, edit) => (index, edit - 1),
    }
}
