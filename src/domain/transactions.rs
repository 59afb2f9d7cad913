//! Whether all of a source transaction has come: what was read of it, held against what its connector says that it sent.
//!
//! Must not know: rows, keys, what a promise rests on. Debezium counts a transaction's events by table and says so at its
//! end (`provide.transaction.metadata`); each event carries its number. A number that is missing once its topic is complete
//! past the transaction was lost between the connector and here. What the connector itself has lost, it does not count.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::change::{End, Position, SourceIndex, TransactionId};
use super::instant::Instant;
use super::numbers::{NUMBERS_KEPT, Numbers};
use super::rule::ConnectorIndex;

/// One topic of a source: what a connector counts together.
pub type Table = (SourceIndex, Arc<str>);

/// A transaction of which not all has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    pub table: Table,
    pub id: Box<str>,
    pub time: Instant,
    pub sent: u32,
    pub arrived: u32,
}

/// A transaction that was not checked yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unchecked {
    /// How far its connector's history was known when it was first heard of, or first was after that.
    pub since: Option<Instant>,
    pub arrived: BTreeMap<Table, Numbers>,
    pub end: Option<End<Table>>,
}

/// One connector's transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Transactions that ended no later are not checked: some of them may have been read before anybody counted.
    pub from: Instant,
    /// For each partition of the transaction topic, the latest time of an end, and the position of the last.
    pub last: BTreeMap<i32, (Instant, Position)>,
    pub unchecked: BTreeMap<TransactionId, Unchecked>,
}

/// What is known of a table: everything that was committed by this time and before this position. `None` where a partition
/// of its topic has promised nothing.
pub type Past = Option<(Instant, Position)>;

/// An end that comes later after its transaction than this is not waited for, microseconds of the timeline.
const PATIENCE_US: i64 = 600_000_000;

/// Databases' clocks are no further ahead of the machine's, microseconds.
const AHEAD_US: i64 = 10_000_000;

/// What may wait for its end, in transactions and 64 numbers of their events; of more, none of it is checked.
const UNCHECKED_KEPT: usize = 1 << 17;

impl Ledger {
    /// Nothing that was committed before `now`, the machine's time, is checked: records of it were not counted, or lost.
    pub fn begin(&mut self, now: Instant) {
        self.from = self.from.max(now.plus(AHEAD_US));
    }

    /// Takes the numbers of events that were read. `since` is how far the connector's history is known.
    pub fn read(&mut self, table: Table, transaction: TransactionId, numbers: &Numbers, since: Option<Instant>) {
        self.unchecked(transaction, since).arrived.entry(table).or_default().add(numbers);
    }

    /// Takes the end of a transaction, once: connectors and the log's writers repeat themselves.
    pub fn end(&mut self, end: End<Table>, since: Option<Instant>) {
        let last = self.last.entry(end.partition).or_insert((Instant::MIN, Position::default()));
        // Where positions begin anew, after a failover, the time rises.
        if end.position <= last.1 && end.time <= last.0 {
            return;
        }
        *last = (last.0.max(end.time), end.position);
        let transaction = end.transaction;
        self.unchecked(transaction, since).end = Some(end);
    }

    fn unchecked(&mut self, transaction: TransactionId, since: Option<Instant>) -> &mut Unchecked {
        self.unchecked.entry(transaction).or_insert_with(|| Unchecked { since, ..Unchecked::default() })
    }

    /// Checks what has ended and of which nothing more can come; gives how many that were, and what lacks events. `now` is
    /// the machine's time, `reach` how far the connector's history is known.
    pub fn check(&mut self, now: Instant, reach: Option<Instant>, past: &BTreeMap<Table, Past>) -> (u64, Vec<Short>) {
        let (mut checked, mut short) = (0, Vec::new());
        let is_past = |end: &End<Table>, table: &Table| {
            let known = past.get(table).copied().flatten();
            known.is_some_and(|(time, position)| time >= end.time && position >= end.position)
        };
        self.unchecked.retain(|_, one| {
            let Some(end) = &one.end else { return true };
            if !end.sent.iter().all(|(table, _)| is_past(end, table)) {
                return true;
            }
            if end.time > self.from {
                checked += 1;
                short.extend(one.lacking(end));
            }
            false
        });
        if self.unchecked.values().map(Unchecked::size).sum::<usize>() > UNCHECKED_KEPT {
            self.unchecked.clear();
            self.begin(now);
        }
        let Some(reach) = reach else { return (checked, short) };
        let before = self.unchecked.len();
        self.unchecked.retain(|_, one| reach.since(*one.since.get_or_insert(reach)) <= PATIENCE_US);
        if self.unchecked.len() < before {
            self.from = self.from.max(reach);
        }
        (checked, short)
    }
}

impl Unchecked {
    fn size(&self) -> usize {
        1 + self.arrived.values().map(|numbers| numbers.words().len()).sum::<usize>()
    }

    /// The tables of which not all has come.
    fn lacking(&self, end: &End<Table>) -> Vec<Short> {
        let mut short = Vec::new();
        for (table, sent) in &end.sent {
            let arrived = self.arrived.get(table).map_or(0, |numbers| numbers.up_to(*sent));
            if arrived < *sent && *sent < NUMBERS_KEPT {
                let (table, id, time) = (table.clone(), end.id.clone(), end.time);
                short.push(Short { table, id, time, sent: *sent, arrived });
            }
        }
        short
    }
}

/// For each connector, its ledger.
pub type Ledgers = BTreeMap<ConnectorIndex, Ledger>;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn table(source: SourceIndex) -> Table {
        (source, "shop.shop.orders".into())
    }

    fn numbers(of: &[u32]) -> Numbers {
        let mut numbers = Numbers::default();
        of.iter().for_each(|number| numbers.insert(*number));
        numbers
    }

    fn position(transaction: u128) -> Position {
        Position { transaction, row: 0 }
    }

    fn end(transaction: u64, second: i64, sent: u32) -> End<Table> {
        End {
            partition: 0,
            id: transaction.to_string().into(),
            transaction,
            time: Instant(second * SECOND),
            position: position(u128::from(transaction) + 1),
            sent: vec![(table(0), sent)],
        }
    }

    /// A ledger that was begun 10 seconds before 100.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.begin(Instant(90 * SECOND));
        ledger
    }

    /// What is found where everything is known up to a second and a position.
    fn check(ledger: &mut Ledger, second: i64, at: u128) -> (u64, Vec<(u64, u32, u32)>) {
        let reach = Instant(second * SECOND);
        let past = [(table(0), Some((reach, position(at))))].into();
        let (checked, short) = ledger.check(reach, Some(reach), &past);
        let told = |one: Short| (one.id.parse().expect("a number"), one.sent, one.arrived);
        (checked, short.into_iter().map(told).collect())
    }

    #[test]
    fn what_was_sent_and_has_not_come_is_told_once_its_topic_is_known_past_it() {
        let mut ledger = ledger();
        let since = Some(Instant(100 * SECOND));
        ledger.read(table(0), 7, &numbers(&[1, 3]), since);
        ledger.end(end(7, 102, 3), since);
        ledger.read(table(0), 8, &numbers(&[1]), since);
        ledger.read(table(0), 8, &numbers(&[2]), since);
        ledger.end(end(8, 102, 2), since);
        assert_eq!(check(&mut ledger, 100, 20), (0, vec![]), "more may come");
        assert_eq!(check(&mut ledger, 103, 7), (0, vec![]), "a statement's time lies before the commit");
        assert_eq!(check(&mut ledger, 103, 9), (2, vec![(7, 3, 2)]));
        assert_eq!(check(&mut ledger, 103, 9), (0, vec![]), "it is told once");
        // A statement may begin before that of the transaction before.
        ledger.end(end(9, 101, 1), since);
        assert_eq!(check(&mut ledger, 104, 20), (1, vec![(9, 1, 0)]), "nothing of it has come");
        // A connector that crashed sends some of it again, and the ends.
        ledger.read(table(0), 7, &numbers(&[3]), since);
        [(7, 102), (8, 102), (9, 101)].into_iter().for_each(|(of, second)| ledger.end(end(of, second, 3), since));
        assert_eq!(check(&mut ledger, 105, 20), (0, vec![]));
    }

    #[test]
    fn what_nobody_may_have_counted_is_not_checked() {
        let mut ledger = ledger();
        ledger.end(end(7, 100, 3), None);
        ledger.end(end(8, 101, 3), None);
        assert_eq!(check(&mut ledger, 102, 20), (1, vec![(8, 3, 0)]), "it ended before the ledger was begun");
        // Without its end it is given up, and so is every other of that time.
        ledger.read(table(0), 9, &numbers(&[1]), Some(Instant(103 * SECOND)));
        ledger.read(table(0), 10, &numbers(&[1]), Some(Instant(800 * SECOND)));
        assert_eq!(check(&mut ledger, 800, 20), (0, vec![]));
        assert_eq!(ledger.unchecked.keys().copied().collect::<Vec<_>>(), [10]);
        ledger.end(end(9, 104, 3), Some(Instant(800 * SECOND)));
        assert_eq!(check(&mut ledger, 801, 20), (0, vec![]));
        // After a failover positions begin anew.
        ledger.end(end(2, 805, 2), Some(Instant(801 * SECOND)));
        assert_eq!(check(&mut ledger, 804, 20), (0, vec![]), "what was proved before says nothing of it");
        assert_eq!(check(&mut ledger, 806, 4), (1, vec![(2, 2, 0)]));
    }

    #[test]
    fn what_comes_before_anything_is_known_is_given_its_time() {
        let mut ledger = ledger();
        ledger.read(table(0), 7, &numbers(&[1]), None);
        assert_eq!(check(&mut ledger, 101, 5), (0, vec![]));
        ledger.end(end(7, 102, 2), None);
        assert_eq!(check(&mut ledger, 103, 9), (1, vec![(7, 2, 1)]));
    }

    #[test]
    fn memory_is_bounded() {
        let since = Some(Instant(100 * SECOND));
        let all = Numbers::of_words((0..NUMBERS_KEPT / 64).map(|word| (word, u64::MAX)));
        // Many transactions of an event each, or few of as many as are told apart.
        for (count, numbers) in [(UNCHECKED_KEPT as u64 / 2, numbers(&[1])), (7, all)] {
            let mut ledger = ledger();
            (0..count).for_each(|transaction| ledger.read(table(0), transaction, &numbers, since));
            ledger.check(Instant(100 * SECOND), since, &BTreeMap::new());
            assert_eq!(ledger.unchecked.len() as u64, count, "as many may wait");
            ledger.read(table(0), count, &numbers, since);
            assert_eq!(check(&mut ledger, 200, 0), (0, vec![]));
            assert!(ledger.unchecked.is_empty());
            ledger.end(end(5, 201, 2), since);
            assert_eq!(check(&mut ledger, 202, 20), (0, vec![]), "what was counted of it is forgotten");
        }
    }
}
