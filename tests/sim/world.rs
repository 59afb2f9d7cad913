//! Two databases as they truly are: their transactions, in commit order. Nothing here is late, lost or repeated.

use std::collections::BTreeMap;

use crate::support::dice::Dice;

pub type Micros = i64;

pub const LINES: usize = 0;
pub const ORDERS: usize = 1;
pub const PAYMENTS: usize = 2;

/// Index of the key column of each table; the primary key is column 0.
pub const KEY: [usize; 3] = [1, 0, 1];

/// The database of each table: 0 is the shop (commit times), 1 the payments (statement times).
pub const DATABASE: [usize; 3] = [0, 0, 1];

pub const SECOND: Micros = 1_000_000;

/// Where a database begins to number its transactions, and where it does after a failover: what falls by less than is in
/// flight may not be seen to fall.
const NUMBERS: [u64; 2] = [20_000, 0];

/// When the databases begin; their first rows are there by then.
pub const BEGIN: Micros = 1_000 * SECOND;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// Nobody has said it: the database knows better.
    Unknown,
    Null,
    Int(i64),
    Text(String),
}

pub type Cells = Vec<Cell>;

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

/// One row's change.
#[derive(Clone, Debug)]
pub struct Edit {
    pub table: usize,
    pub id: i64,
    pub before: Option<Cells>,
    pub after: Option<Cells>,
    /// What the connector will say about when: the commit (shop) or the statement (payments).
    pub time: Micros,
    /// True where the event carries a placeholder instead of the order's note.
    pub note_left_out: bool,
    pub position: (u64, u64),
    /// Its number in its transaction.
    pub ordinal: u32,
}

impl Edit {
    pub fn key_of(table: usize, cells: &Option<Cells>) -> Option<i64> {
        match cells.as_ref()?[KEY[table]] {
            Cell::Int(key) => Some(key),
            _ => None,
        }
    }

    pub fn keys(&self) -> [Option<i64>; 2] {
        [Edit::key_of(self.table, &self.before), Edit::key_of(self.table, &self.after)]
    }
}

#[derive(Clone, Debug)]
pub struct Transaction {
    pub number: u64,
    pub commit: Micros,
    pub edits: Vec<Edit>,
    /// The heartbeat table's row, where this is a heartbeat: the database's clock at the statement.
    pub heartbeat: Option<Micros>,
    /// A promise of this instant or a later one is a promise of it: the commit by the database's clock, or what was told
    /// before where that was set back.
    pub stands: Micros,
    /// Where it begins, in commit order.
    pub begin: (u64, u64),
    /// How many failovers came before it: each begins positions anew.
    pub epoch: u32,
    /// The GTID domain.
    pub domain: u32,
}

/// A restore from a backup, or a move to another server.
#[derive(Clone, Copy, Debug)]
pub struct Failover {
    pub at: Micros,
    /// True where positions go on in another GTID domain, not lower in the same.
    pub moves: bool,
}

/// One database.
#[derive(Clone, Debug)]
pub struct Database {
    pub log: Vec<Transaction>,
    /// The rows that were there before the log: `(table, id, cells)`.
    pub snapshot: Vec<(usize, i64, Cells)>,
    next_commit: Micros,
    next_heartbeat: Micros,
    /// When it is restored from a backup or moved to another server, and begins its positions anew. Not more than once:
    /// where a topic-partition hears nothing of the time between two failovers, what others hear of it comes too late.
    pub failover: Option<Failover>,
    /// When its clock is set, and by how much. Not beside a failover: positions that fall while the clock does are taken for
    /// what was sent before.
    pub clock_step: Option<(Micros, Micros)>,
    /// What was told of the time so far.
    stands: Micros,
    /// When the clock was last read for a heartbeat.
    beaten: Micros,
    /// Statements began no earlier.
    began: Micros,
    epoch: u32,
    domain: u32,
    /// The number of the last transaction.
    number: u64,
}

impl Database {
    /// What its clock says at a moment.
    pub fn told(&self, moment: Micros) -> Micros {
        moment + self.clock_step.filter(|(at, _)| moment >= *at).map_or(0, |(_, by)| by)
    }

    fn commit(&mut self, transaction: Transaction) {
        self.number = transaction.number;
        let statements = transaction.edits.iter().map(|edit| edit.time);
        self.stands = statements.fold(self.stands.max(self.told(transaction.commit)), Micros::max);
        self.log.push(Transaction { epoch: self.epoch, domain: self.domain, stands: self.stands, ..transaction });
    }
}

/// One that changes nothing, at its place.
fn transaction(number: u64, commit: Micros, begin: (u64, u64)) -> Transaction {
    Transaction { number, commit, edits: Vec::new(), heartbeat: None, stands: 0, begin, epoch: 0, domain: 0 }
}

pub struct World {
    pub databases: [Database; 2],
    /// The rows that there are now.
    pub rows: BTreeMap<(usize, i64), Cells>,
    /// There are no other orders than up to this one, and the next.
    pub orders: i64,
    next_id: i64,
    /// Commits are so far apart, or a multiple. A coarse grain makes instants meet: changes, promises, deadlines.
    grain: Micros,
    /// No changes beyond, only heartbeats.
    pub quiet_from: Micros,
}

impl World {
    pub fn new(dice: &mut Dice) -> World {
        let grain = dice.pick(&[1, 1_000, SECOND / 2]);
        let mut database = |index| Database {
            log: Vec::new(),
            snapshot: Vec::new(),
            next_commit: BEGIN,
            next_heartbeat: BEGIN,
            failover: dice.once_in(4).then(|| {
                let moves = index == 1 && dice.once_in(2);
                let earliest = if index == 0 || moves { 10 } else { 25 };
                Failover { at: BEGIN + dice.between(earliest, 50) * SECOND + 1, moves }
            }),
            clock_step: dice.once_in(4).then(|| {
                let by = dice.between(1, 8 * SECOND / grain) * grain;
                (BEGIN + dice.between(5, 50) * SECOND, if dice.once_in(2) { by } else { -by })
            }),
            stands: Micros::MIN,
            beaten: Micros::MIN,
            began: BEGIN - 15 * SECOND,
            epoch: 0,
            domain: 0,
            number: NUMBERS[0],
        };
        let mut world = World {
            databases: [database(0), database(1)],
            rows: BTreeMap::new(),
            orders: dice.between(2, 7),
            next_id: 100,
            grain,
            quiet_from: BEGIN + dice.between(20, 60) * SECOND,
        };
        for _ in 0..dice.below(8) {
            let table = dice.below(3) as usize;
            if let Some((id, cells)) = world.invented(dice, table) {
                world.rows.insert((table, id), cells.clone());
                world.databases[DATABASE[table]].snapshot.push((table, id, cells));
            }
        }
        for database in &mut world.databases {
            database.clock_step = database.clock_step.filter(|_| database.failover.is_none());
            database.next_commit += dice.between(1, 1 + SECOND / world.grain) * world.grain;
            database.next_heartbeat += dice.between(1, SECOND);
        }
        world
    }

    /// Lets both databases live up to an instant.
    pub fn advance(&mut self, dice: &mut Dice, until: Micros) {
        for database in 0..2 {
            loop {
                let Database { next_commit, next_heartbeat, .. } = self.databases[database];
                if next_commit.min(next_heartbeat) > until {
                    break;
                }
                let failover = self.databases[database].failover;
                if let Some(failover) = failover.filter(|failover| failover.at <= next_commit.min(next_heartbeat)) {
                    self.fail_over(dice, database, failover);
                    continue;
                }
                if next_heartbeat <= next_commit {
                    self.beat(dice, database, next_heartbeat);
                } else {
                    self.transact(dice, database, next_commit);
                }
            }
        }
    }

    /// Everything that was committed is there, but nothing is committed for a while, and positions begin anew: lower, or
    /// in another domain.
    fn fail_over(&mut self, dice: &mut Dice, index: usize, Failover { at, moves }: Failover) {
        let outage = dice.between(1, 6 * SECOND / self.grain) * self.grain;
        let database = &mut self.databases[index];
        database.failover = None;
        database.began = at;
        database.epoch += 1;
        if moves {
            database.domain += 1;
            database.number = (database.number + dice.below(100)).saturating_sub(50);
        } else {
            database.number = NUMBERS[1] + dice.below(100);
        }
        database.next_commit = database.next_commit.max(at + outage);
        database.next_heartbeat = database.next_heartbeat.max(at + outage);
    }

    fn beat(&mut self, dice: &mut Dice, database: usize, commit: Micros) {
        let number = self.databases[database].number + 1;
        let begin = begin_of(database, number);
        let before = self.databases[database].log.last().map_or(0, |transaction| transaction.commit);
        // The clock is read before the commit, at times in the very instant of the commit before.
        let database = &mut self.databases[database];
        let may_meet = before < commit && before > database.began && database.beaten < before;
        let clock = if may_meet && dice.once_in(2) { before } else { commit - dice.between(1, 20) };
        database.beaten = clock.max(database.began + 1);
        let heartbeat = database.told(database.beaten);
        database.commit(Transaction { heartbeat: Some(heartbeat), ..transaction(number, commit, begin) });
        database.stands = database.stands.max(heartbeat + 1);
        database.next_heartbeat += dice.between(SECOND / 2, 2 * SECOND);
        database.next_commit = commit.max(database.next_commit);
    }

    fn transact(&mut self, dice: &mut Dice, database: usize, commit: Micros) {
        let number = self.databases[database].number + 1;
        let begin = begin_of(database, number);
        let mut edits = Vec::new();
        if commit <= self.quiet_from {
            for _ in 0..1 + dice.below(4) * dice.below(2) {
                self.edit(dice, database, &mut edits);
            }
        }
        // A COPY's rows share one position; every row of a GTID transaction does.
        let copied = dice.once_in(4);
        let length = if dice.once_in(4) { 15 * SECOND } else { 5_000 };
        let grain = self.grain;
        let earliest = self.databases[database].began + 1;
        let statement = |_| (commit - (dice.between(1, length) / grain * grain).max(1)).max(earliest);
        let mut times: Vec<Micros> = edits.iter().map(statement).collect();
        times.sort_unstable();
        for (index, (edit, statement)) in edits.iter_mut().zip(times).enumerate() {
            edit.time = self.databases[database].told(if database == 0 { commit } else { statement });
            edit.ordinal = index as u32 + 1;
            let row = if copied { 1 } else { 1 + index as u64 };
            edit.position = if database == 0 { (begin.0, number * 1000 + row) } else { begin };
        }
        let gap = if dice.once_in(6) { 0 } else { dice.between(1, 2 * SECOND / grain) * grain };
        let database = &mut self.databases[database];
        if !edits.is_empty() {
            database.commit(Transaction { edits, ..transaction(number, commit, begin) });
        }
        database.next_commit = commit + if database.next_commit > self.quiet_from { 3600 * SECOND } else { gap };
        database.next_heartbeat = database.next_heartbeat.max(commit);
    }

    /// One statement of a transaction: mostly one edit, two where a primary key changes.
    fn edit(&mut self, dice: &mut Dice, database: usize, edits: &mut Vec<Edit>) {
        let table = match database {
            0 if dice.once_in(2) => LINES,
            0 => ORDERS,
            _ => PAYMENTS,
        };
        let ids: Vec<i64> = self.rows.keys().filter(|(of, _)| *of == table).map(|(_, id)| *id).collect();
        if ids.is_empty() || dice.once_in(3) {
            if let Some((id, cells)) = self.invented(dice, table) {
                self.put(table, id, Some(cells), false, edits);
            }
            return;
        }
        let id = dice.pick(&ids);
        let mut cells = self.rows[&(table, id)].clone();
        match dice.below(12) {
            0 | 1 => self.put(table, id, None, false, edits),
            2 => {
                let new_id = if table == ORDERS { dice.between(1, self.orders) } else { self.fresh() };
                if !self.rows.contains_key(&(table, new_id)) {
                    self.put(table, id, None, false, edits);
                    cells[0] = Cell::Int(new_id);
                    self.put(table, new_id, Some(cells), false, edits);
                }
            }
            3 | 4 if table != ORDERS => {
                cells[1] = self.some_order(dice);
                self.put(table, id, Some(cells), false, edits);
            }
            _ => {
                let new = self.cells(dice, table, id);
                let from = if table == PAYMENTS && dice.once_in(3) { 3 } else { 2 };
                let keep_note = table == ORDERS && !dice.once_in(4);
                match table {
                    ORDERS => cells[1..3].clone_from_slice(&new[1..3]),
                    _ => cells[from..].clone_from_slice(&new[from..]),
                }
                if table == ORDERS && !keep_note {
                    cells[3] = new[3].clone();
                }
                self.put(table, id, Some(cells), keep_note, edits);
            }
        }
    }

    fn put(&mut self, table: usize, id: i64, after: Option<Cells>, note_left_out: bool, edits: &mut Vec<Edit>) {
        let before = match &after {
            Some(cells) => self.rows.insert((table, id), cells.clone()),
            None => self.rows.remove(&(table, id)),
        };
        edits.push(Edit { table, id, before, after, time: 0, note_left_out, position: (0, 0), ordinal: 0 });
    }

    /// A new row, unless there is no room for one.
    fn invented(&mut self, dice: &mut Dice, table: usize) -> Option<(i64, Cells)> {
        let id = if table == ORDERS { dice.between(1, self.orders) } else { self.fresh() };
        (!self.rows.contains_key(&(table, id))).then(|| (id, self.cells(dice, table, id)))
    }

    /// So many orders there may be at once.
    pub fn have_orders(&mut self, orders: i64) {
        self.orders = orders;
    }

    fn fresh(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    fn some_order(&self, dice: &mut Dice) -> Cell {
        if dice.once_in(6) { Cell::Null } else { Cell::Int(dice.between(1, self.orders + 1)) }
    }

    fn cells(&self, dice: &mut Dice, table: usize, id: i64) -> Cells {
        let id = Cell::Int(id);
        let amount = Cell::Int(dice.between(1, 3) * 5);
        match table {
            LINES => vec![id, self.some_order(dice), amount],
            ORDERS => {
                let status = text(dice.pick(&["PENDING", "PAID", "PAID"]));
                vec![id, status, amount, text(dice.pick(&["fine", "bad", "worse"]))]
            }
            _ => vec![id, self.some_order(dice), text(dice.pick(&["PENDING", "CAPTURED", "CAPTURED"])), amount],
        }
    }
}

/// Where a transaction begins in commit order: PostgreSQL's `(end of the commit before, LSN)`, or a GTID's number.
fn begin_of(database: usize, number: u64) -> (u64, u64) {
    if database == 0 { (number * 1000, 0) } else { (number, 0) }
}
