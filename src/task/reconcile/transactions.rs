//! Whether all of each source transaction has come, as far as this partition is told of them.
//!
//! Must not know: keys, rules, what a shortfall means. Which partition a transaction is counted in, its id says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Task;
use crate::domain::change::{End, Mark, SourceIndex, TransactionId};
use crate::domain::instant::Instant;
use crate::domain::numbers::Numbers;
use crate::domain::record::{Content, SourceNews, SourceNotice};
use crate::domain::rule::ConnectorIndex;
use crate::domain::timeline::LaneIndex;
use crate::domain::transactions::{Ledger, Ledgers, Short, Table};
use crate::task::cache::StateError;
use crate::task::store::{Batch, LEDGERS_KEY, Space, Store};
use crate::task::telling::Outbox;
use crate::task::wire::transactions::{decode_ledgers, encode_ledgers};

/// What is counted of transactions.
#[derive(Debug, Default)]
pub(super) struct Counting {
    ledgers: Ledgers,
    /// The offset behind the last block whose lines were counted: one that was applied in part is applied again.
    next_offset: i64,
    /// True where the store does not know all of it.
    is_news: bool,
    /// Of the block that is being applied: how far each connector was known before it.
    reach: BTreeMap<ConnectorIndex, Option<Instant>>,
}

impl<S: Store> Task<S> {
    pub(super) fn restore_counting(&mut self) -> Result<(), StateError<S::Error>> {
        if let Some(bytes) = self.store.get(Space::Memory, LEDGERS_KEY).map_err(StateError::Store)? {
            (self.counting.next_offset, self.counting.ledgers) = decode_ledgers(&bytes, &self.plan.catalog)?;
        }
        Ok(())
    }

    pub(super) fn flush_counting(&mut self, batch: &mut Batch) {
        if std::mem::take(&mut self.counting.is_news) {
            let Counting { ledgers, next_offset, .. } = &self.counting;
            let bytes = encode_ledgers(*next_offset, ledgers, &self.plan.catalog);
            batch.put(Space::Memory, LEDGERS_KEY.to_vec(), bytes);
        }
    }

    /// What a promise speaks of that was not counted cannot be checked.
    pub(super) fn see_mark(&mut self, lane: LaneIndex, mark: &Mark) {
        let connector = self.connector_of(lane);
        if let Some(ledger) = self.counting.ledgers.get_mut(&connector).filter(|_| !mark.counted) {
            ledger.from = ledger.from.max(mark.time);
            self.counting.is_news = true;
        }
    }

    /// Where positions begin anew, a transaction may have the id of another that was counted before.
    pub(super) fn begin_epoch(&mut self, lane: LaneIndex) {
        let connector = self.connector_of(lane);
        self.counts.epochs += 1;
        if let Some(ledger) = self.counting.ledgers.get_mut(&connector) {
            ledger.unchecked.clear();
            ledger.begin(self.written_at);
            self.counting.is_news = true;
        }
    }

    /// A connector's ledger; one that is begun now.
    fn ledger(&mut self, connector: ConnectorIndex, now: Instant) -> &mut Ledger {
        self.counting.ledgers.entry(connector).or_insert_with(|| {
            let mut ledger = Ledger::default();
            ledger.begin(now);
            ledger
        })
    }

    /// True where the lines of the block at hand were counted before.
    fn is_counted(&self) -> bool {
        self.next_offset < self.counting.next_offset
    }

    pub(super) fn count(&mut self, lane: LaneIndex, transaction: TransactionId, numbers: &Numbers, now: Instant) {
        let lane = &self.timeline.lanes[lane];
        let table = (lane.source, Arc::clone(&lane.topic_partition.topic));
        let connector = self.plan.sources[lane.source].connector;
        if !self.is_counted() {
            let since = self.known_before(connector);
            self.ledger(connector, now).read(table, transaction, numbers, since);
        }
    }

    pub(super) fn end_transaction(&mut self, end: End<LaneIndex>, now: Instant) {
        let table = |lane: LaneIndex| {
            let lane = &self.timeline.lanes[lane];
            Some((lane.source, Arc::clone(&lane.topic_partition.topic)))
        };
        let end: End<Table> = end.of(table);
        let Some(((source, _), _)) = end.sent.first() else { return };
        let connector = self.plan.sources[*source].connector;
        if !self.is_counted() {
            let since = self.known_before(connector);
            self.ledger(connector, now).end(end, since);
        }
    }

    /// How far a connector's history was known before the block at hand.
    fn known_before(&mut self, connector: ConnectorIndex) -> Option<Instant> {
        if let Some(known) = self.counting.reach.get(&connector) {
            return *known;
        }
        let reach = self.reach_of(connector);
        self.counting.reach.insert(connector, reach);
        reach
    }

    fn reach_of(&self, connector: ConnectorIndex) -> Option<Instant> {
        let frontiers: Option<Vec<Instant>> =
            self.sources_of(connector).map(|source| self.timeline.frontier(source)).collect();
        frontiers?.into_iter().min()
    }

    fn sources_of(&self, connector: ConnectorIndex) -> impl Iterator<Item = SourceIndex> {
        let sources = self.plan.sources.iter().enumerate();
        sources.filter(move |(_, source)| source.connector == connector).map(|(source, _)| source)
    }

    /// Checks what can be checked by now, at the end of a block's lines.
    pub(super) fn check_transactions(&mut self, now: Instant, out: &mut Outbox) {
        self.counting.reach.clear();
        if self.is_counted() {
            return;
        }
        self.counting.next_offset = self.next_offset + 1;
        let connectors: Vec<ConnectorIndex> = self.counting.ledgers.keys().copied().collect();
        for connector in connectors {
            if self.counting.ledgers[&connector].unchecked.is_empty() {
                continue;
            }
            self.counting.is_news = true;
            let reach = self.reach_of(connector);
            let past = self.sources_of(connector).flat_map(|source| self.timeline.past(source)).collect();
            let (checked, short) = self.ledger(connector, now).check(now, reach, &past);
            self.counts.transactions += checked;
            self.tell_short(short, now, out);
        }
    }

    /// A filter behind the connector's count drops something of every transaction: one record says all that is found at once.
    fn tell_short(&mut self, short: Vec<Short>, decided_at: Instant, out: &mut Outbox) {
        let mut by_source: BTreeMap<SourceIndex, Vec<Short>> = BTreeMap::new();
        for one in short {
            by_source.entry(one.table.0).or_default().push(one);
        }
        for (source, mut short) in by_source {
            short.sort_by(|a, b| (a.time, &a.id, &a.table).cmp(&(b.time, &b.id, &b.table)));
            self.counts.incomplete += short.len() as u64;
            let missing = short.iter().map(|one| u64::from(one.sent - one.arrived)).sum();
            let transactions = short.len() as u64;
            let Some(first) = short.into_iter().next() else { continue };
            let news = SourceNews::Incomplete { transactions, missing, first };
            let frontier = self.timeline.frontier(source);
            out.say(Content::Source(SourceNotice { source, news, frontier, decided_at }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{block, mark, paid, plan};
    use super::super::{Limits, Task};
    use super::*;
    use crate::domain::change::{Block, Entry, Position};
    use crate::domain::routing::Ownership;
    use crate::task::store::MemoryStore;

    const SECOND: i64 = 1_000_000;

    fn counted_mark(topic_partition: usize, time: i64) -> Entry {
        match mark(topic_partition, time) {
            Entry::Mark(mark) => Entry::Mark(Mark { counted: true, ..mark }),
            other => other,
        }
    }

    /// Of a transaction of two events the first, and its end.
    fn one_of_two() -> [Entry; 2] {
        let numbers = Numbers::of_words([(0, 0b10)]);
        let end = End {
            partition: 0,
            id: "7".into(),
            transaction: 7,
            time: Instant(20 * SECOND),
            position: Position { transaction: 5, row: 0 },
            sent: vec![(0, 2)],
        };
        [Entry::Counted { topic_partition: 0, transaction: 7, numbers }, Entry::Ended(end)]
    }

    fn incomplete(records: &[crate::domain::record::Record]) -> usize {
        let is_it = |content: &Content| {
            matches!(content, Content::Source(SourceNotice { news: SourceNews::Incomplete { .. }, .. }))
        };
        records.iter().filter(|record| is_it(&record.content)).count()
    }

    /// What was said of it is not said again, and what was counted is not counted for another transaction.
    #[test]
    fn a_block_that_was_applied_in_part_is_counted_once() {
        let plan = Arc::new(plan());
        let limits = Limits { memory_bytes: 1 << 20, step: 1 };
        let open = |store| Task::open(Arc::clone(&plan), Ownership::WHOLE, store, limits).expect("it can be opened");
        let early = |entries| Block { written_at: Instant(0), ..block(entries) };
        let mut task = open(MemoryStore::default());
        let rules = Entry::Rules(plan.rule_set());
        task.apply(0, early(vec![rules, mark(0, 0), mark(1, 0)])).expect("it can be applied");
        let changes = (1..4).map(|number| paid(number * SECOND));
        let marks = [counted_mark(0, 30 * SECOND), counted_mark(1, 30 * SECOND)];
        let entries: Vec<Entry> = one_of_two().into_iter().chain(changes).chain(marks).collect();
        let said = task.apply(1, early(entries.clone())).expect("it can be applied");
        assert_eq!((incomplete(&said), task.counts().transactions), (1, 1));
        assert!(task.is_settling(), "it is applied in part");
        task.flush().expect("memory does not fail");

        let mut task = open(task.into_store());
        let mut said = task.apply(1, early(entries)).expect("it can be applied");
        while task.is_settling() {
            said.extend(task.proceed().expect("memory does not fail"));
        }
        assert_eq!((incomplete(&said), task.counts().transactions), (0, 0));
        assert!(task.counting.ledgers[&0].unchecked.is_empty(), "{:?}", task.counting);
        // Its connector sends it again.
        let again = task.apply(2, early(one_of_two().into())).expect("it can be applied");
        assert_eq!(incomplete(&again), 0);
    }

    /// A database that was restored may give an id twice: of what was counted before, nothing is held against what comes.
    #[test]
    fn what_was_counted_before_a_failover_is_not_checked() {
        let plan = Arc::new(plan());
        let limits = Limits { memory_bytes: 1 << 20, step: 1 << 10 };
        let said_of = |is_new_epoch| {
            let task = Task::open(Arc::clone(&plan), Ownership::WHOLE, MemoryStore::default(), limits);
            let mut task = task.expect("it can be opened");
            let at = |second: i64, entries| Block { written_at: Instant(second * SECOND), ..block(entries) };
            task.apply(0, at(5, vec![Entry::Rules(plan.rule_set()), mark(0, 0), mark(1, 0)]))
                .expect("it can be applied");
            let [counted, ended] = one_of_two();
            task.apply(1, at(5, vec![counted])).expect("it can be applied");
            task.apply(2, at(12, vec![])).expect("it can be applied");
            if is_new_epoch {
                task.begin_epoch(0);
            }
            let marks = [counted_mark(0, 30 * SECOND), counted_mark(1, 30 * SECOND)];
            let entries = [ended].into_iter().chain(marks).collect();
            incomplete(&task.apply(3, at(31, entries)).expect("it can be applied"))
        };
        assert_eq!([true, false].map(said_of), [0, 1]);
    }
}
