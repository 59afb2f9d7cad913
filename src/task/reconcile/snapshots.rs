//! Snapshots that connectors take anew: when what they read is settled, every key is judged anew; rows that they have not seen
//! are unconfirmed, counted, and taken away where an operator says that they are gone.
//!
//! Must not know: how a snapshot is told from others (`task::ingest`), what doubt does to a rule (`domain::key_state`).

use std::sync::Arc;

use super::Task;
use crate::domain::change::{Key, Operation, Proof, RunId, SourceIndex, Unseen};
use crate::domain::hash::continue_fnv1a;
use crate::domain::instant::Instant;
use crate::domain::key_state::{Effect, KeyState};
use crate::domain::record::{Content, SourceNews, SourceNotice};
use crate::domain::rule::{ConnectorIndex, Plan};
use crate::domain::snapshots::{Generation, Snapshots};
use crate::domain::timeline::LaneIndex;
use crate::task::cache::StateError;
use crate::task::store::{Batch, SNAPSHOTS_KEY, Space, Store};
use crate::task::telling::Outbox;
use crate::task::wire::snapshots::{decode_snapshots, encode_snapshots};

/// What is remembered of snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confirming {
    pub known: Arc<Snapshots>,
    /// How often every key was to be judged anew.
    pub looks: u64,
    /// By source.
    pub rests: Vec<Rest>,
}

/// What a source has of rows that its connector's last snapshot has not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// What an operator has said of the rows that a snapshot has not seen, before it was settled.
    pub asked: Option<(Generation, Unseen)>,
    /// Rows of earlier generations are being taken away; 0 where none are.
    pub leaving: Generation,
    /// How many were taken away so far.
    pub left: u64,
    /// Rows of earlier generations are counted; 0 where none are.
    pub counted: Generation,
    /// How many there are.
    pub rows: i64,
}

impl Confirming {
    pub(super) fn new(plan: &Plan) -> Confirming {
        let sources = plan.sources.len();
        let known = Arc::new(Snapshots::new(sources, plan.connectors()));
        Confirming { known, looks: 0, rests: vec![Rest::default(); sources] }
    }
}

impl<S: Store> Task<S> {
    pub(super) fn restore_snapshots(&mut self) -> Result<(), StateError<S::Error>> {
        if let Some(bytes) = self.store.get(Space::Memory, SNAPSHOTS_KEY).map_err(StateError::Store)? {
            decode_snapshots(&bytes, &mut self.confirming)?;
            for (connector, flow) in self.timeline.flows.iter_mut().enumerate() {
                flow.anew = self.confirming.known.anew(connector);
            }
        }
        Ok(())
    }

    pub(super) fn flush_snapshots(&mut self, batch: &mut Batch) {
        if self.confirming != Confirming::new(&self.plan) {
            batch.put(Space::Memory, SNAPSHOTS_KEY.to_vec(), encode_snapshots(&self.confirming));
        }
    }

    /// For each source, how many of its rows its connector's last snapshot has not seen.
    pub fn unconfirmed(&self) -> impl Iterator<Item = i64> {
        self.confirming.rests.iter().map(|rest| rest.rows)
    }

    pub(super) fn connector_of(&self, lane: LaneIndex) -> ConnectorIndex {
        self.plan.sources[self.timeline.lanes[lane].source].connector
    }

    fn lanes_of(&self, connector: ConnectorIndex) -> impl Iterator<Item = LaneIndex> {
        (0..self.timeline.lanes.len()).filter(move |lane| self.connector_of(*lane) == connector)
    }

    /// A lane goes on with a snapshot that a run of its connector took.
    pub(super) fn begin_snapshot(&mut self, lane: LaneIndex, run: RunId) {
        let connector = self.connector_of(lane);
        let is_first = self.lanes_of(connector).all(|lane| {
            let stands = &self.timeline.lanes[lane];
            let is_promised = stands.mark.is_some() && !self.confirming.known.promised_by(lane).is_same_start(run);
            !is_promised && (stands.last_run == RunId::default() || stands.last_run.is_same_start(run))
        });
        let mark = self.timeline.lanes[lane].mark;
        let flow = &mut self.timeline.flows[connector];
        let known = Arc::make_mut(&mut self.confirming.known);
        known.begin((connector, lane), run, mark, is_first, || flow.begin_anew(run));
    }

    /// A lane is promised further than `before`, on what the proof rests on.
    pub(super) fn see_promise(&mut self, lane: LaneIndex, before: Option<Instant>, proof: Option<Proof>) {
        let stands = &self.timeline.lanes[lane];
        if let (Some(mark), Some(Proof { run, .. })) = (stands.mark.filter(|_| stands.mark > before), proof) {
            let known = Arc::make_mut(&mut self.confirming.known);
            let connector = self.plan.sources[stands.source].connector;
            let latest = stands.baseline.map_or(stands.latest, |read| read.max(stands.latest));
            known.promise((connector, lane), run, before, (mark, latest));
        }
    }

    /// An operator says what has become of the rows that the last snapshot has not seen.
    pub(super) fn confirm(&mut self, lane: LaneIndex, unseen: Unseen) {
        let source = self.timeline.lanes[lane].source;
        let generation = self.confirming.known.last(self.connector_of(lane));
        if generation > self.confirming.known.confirmed[source] {
            self.confirming.rests[source].asked = Some((generation, unseen));
        }
    }

    /// At the end of a block: what is settled by now, and what follows of that in the next.
    pub(super) fn settle_snapshots(&mut self, out: &mut Outbox) {
        let judged = self.lived.filter(|lived| self.timeline.baseline().is_some_and(|baseline| *lived >= baseline));
        let Some(lived) = judged.filter(|_| !self.confirming.known.is_empty()) else { return };
        let mut is_news = false;
        for connector in 0..self.plan.connectors() {
            let promising = self.lanes_of(connector).filter(|lane| self.timeline.lanes[*lane].mark.is_some());
            let promising: Vec<LaneIndex> = promising.collect();
            is_news |= Arc::make_mut(&mut self.confirming.known).settle(connector, lived, promising.into_iter());
        }
        for source in 0..self.plan.sources.len() {
            let settled = self.confirming.known.settled(self.plan.sources[source].connector);
            let rest = &mut self.confirming.rests[source];
            let rows = rest.rows as u64;
            match rest.asked.take_if(|(generation, _)| *generation <= settled) {
                Some((generation, Unseen::Gone)) => {
                    rest.leaving = generation;
                    is_news = true;
                }
                Some((generation, Unseen::Kept)) => {
                    Arc::make_mut(&mut self.confirming.known).confirmed[source] = generation;
                    self.tell_unconfirmed(source, SourceNews::Confirmed { rows, unseen: Unseen::Kept }, out);
                    is_news = true;
                }
                None => {}
            }
        }
        self.confirming.looks += u64::from(is_news);
    }

    /// Tells apart under what every key was judged.
    pub(super) fn judged_by(&self) -> u64 {
        let rules = self.plan.fingerprint();
        match self.confirming.looks {
            0 => rules,
            looks => continue_fnv1a(rules, &looks.to_le_bytes()),
        }
    }

    /// Every key is going to be looked at.
    pub(super) fn begin_look(&mut self) {
        let Confirming { known, rests, .. } = &mut self.confirming;
        for (source, rest) in rests.iter_mut().enumerate() {
            let settled = known.settled(self.plan.sources[source].connector);
            rest.counted = if settled > known.confirmed[source] { settled } else { 0 };
            (rest.rows, rest.left) = (0, 0);
        }
    }

    /// Counts a key that is looked at. Gives what takes away the rows that are gone, at an instant.
    pub(super) fn look_at(&mut self, key: &Key, state: &KeyState, at: Instant) -> Result<Vec<Effect>, S::Error> {
        self.count_unseen(state, 1);
        let mut effects = Vec::new();
        for source in 0..self.confirming.rests.len() {
            let table = &self.plan.catalog.sources[source];
            let Rest { leaving, left, .. } = &mut self.confirming.rests[source];
            for row in state.rows[source].iter().filter(|row| row.provenance.generation < *leaving) {
                *left += 1;
                let id = table.row_id(&row.columns);
                if self.plan.sources[source].find_rows {
                    self.rows.forget(source, &id, key, &self.store)?;
                }
                let operation = Operation::Delete { row: id };
                let provenance = row.provenance;
                effects.push(Effect { at, late: false, source, operation, provenance, requeued: None });
            }
        }
        Ok(effects)
    }

    /// Adds a key's rows that were not seen to those that are counted, or takes them away.
    pub(super) fn count_unseen(&mut self, state: &KeyState, change: i64) {
        let rests = self.confirming.rests.iter_mut().zip(&state.rows).filter(|(rest, _)| rest.counted > 0);
        for (rest, rows) in rests {
            let unseen = rows.iter().filter(|row| row.provenance.generation < rest.counted).count();
            rest.rows += change * unseen as i64;
        }
    }

    /// Every key was looked at.
    pub(super) fn end_look(&mut self, out: &mut Outbox) {
        let compared = self.confirming.known.uncompared();
        Arc::make_mut(&mut self.confirming.known).compared();
        for source in 0..self.confirming.rests.len() {
            let rest = &mut self.confirming.rests[source];
            rest.leaving = 0;
            let (left, rows) = (std::mem::take(&mut rest.left), rest.rows as u64);
            if left > 0 {
                self.tell_unconfirmed(source, SourceNews::Confirmed { rows: left, unseen: Unseen::Gone }, out);
            }
            if rows > 0 && compared.contains(&self.plan.sources[source].connector) {
                self.tell_unconfirmed(source, SourceNews::Unconfirmed { rows }, out);
            }
        }
    }

    /// Each partition speaks for its own rows.
    fn tell_unconfirmed(&self, source: SourceIndex, news: SourceNews, out: &mut Outbox) {
        let (frontier, decided_at) = (self.timeline.frontier(source), self.written_at);
        out.say(Content::Source(SourceNotice { source, news, frontier, decided_at }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{block, paid, plan};
    use super::super::{Limits, Task};
    use super::*;
    use crate::domain::change::{Change, Entry, Mark, Position};
    use crate::domain::key_state::Event;
    use crate::domain::record::Record;
    use crate::domain::routing::Ownership;
    use crate::domain::value::Value;
    use crate::task::store::MemoryStore;

    fn run(second: u64) -> RunId {
        RunId { number: (second * 1000) << 16 | 0x7000, family: 0 }
    }

    fn marks(time: i64, of_payments: u64) -> [Entry; 2] {
        let mark = |topic_partition, by| {
            let proof = Proof { position: Position { transaction: time as u128 + 1, row: 0 }, run: run(by) };
            Entry::Mark(Mark { topic_partition, time: Instant(time), proof: Some(proof), counted: false })
        };
        [mark(0, 1), mark(1, of_payments)]
    }

    /// A payment of an order, as a snapshot has read it.
    fn payment(offset: i64, id: i64, order: i64, by: u64) -> Entry {
        let Entry::Change(change) = paid(order) else { unreachable!() };
        let columns = [Value::Int(id), Value::Int(order)].into();
        let operation = Operation::Upsert { columns, unchanged: [].into(), row_before: None };
        let (run, source_time) = (run(by), Instant(1));
        let change = Change { topic_partition: 1, offset, run, source_time, position: None, operation, ..*change };
        Entry::Change(change.into())
    }

    struct Stage {
        task: Task<MemoryStore>,
        offset: i64,
    }

    impl Stage {
        /// What is said of a block, in steps of one key, over a task that is opened anew for each.
        fn apply(self, entries: Vec<Entry>) -> (Stage, Vec<String>) {
            let plan = Arc::clone(self.task.plan());
            let block = block(entries);
            let mut task = self.task;
            let mut records = task.apply(self.offset, block.clone()).expect("it can be applied");
            while task.is_settling() {
                task.flush().expect("it is in memory");
                let limits = Limits { memory_bytes: 1 << 20, step: 1 };
                task = Task::open(Arc::clone(&plan), Ownership::WHOLE, task.into_store(), limits)
                    .expect("it can be opened");
                records.extend(task.apply(self.offset, block.clone()).expect("it can be applied"));
            }
            let said = records.iter().filter_map(|record: &Record| match &record.content {
                Content::Discrepancy(one) => Some(match one.event {
                    Event::Opened => format!("{} at {}", one.key.0, one.at.0),
                    other => format!("{} {other:?}", one.key.0),
                }),
                Content::Source(notice) => Some(format!("{:?}", notice.news)),
                _ => None,
            });
            let said = said.collect();
            (Stage { task, offset: self.offset + 1 }, said)
        }
    }

    /// Three orders were paid. Then the payments' connector loses its place: of what it reads anew, one payment lacks.
    fn after_a_snapshot() -> Stage {
        let plan = Arc::new(plan());
        let limits = Limits { memory_bytes: 1 << 20, step: 1 };
        let task = Task::open(Arc::clone(&plan), Ownership::WHOLE, MemoryStore::default(), limits);
        let stage = Stage { task: task.expect("it can be opened"), offset: 0 };
        let mut entries = vec![Entry::Rules(plan.rule_set()), Entry::Snapshot { topic_partition: 1, run: run(1) }];
        entries.extend((1..4).flat_map(|order| [paid(order), payment(order, order * 10, order, 1)]));
        entries.extend(marks(10, 1));
        let (stage, said) = stage.apply(entries);
        assert_eq!(said, [""; 0], "a first snapshot is no news");
        // Paid while nothing was known of payments.
        let mut entries = vec![paid(50), Entry::Snapshot { topic_partition: 1, run: run(5) }];
        entries.extend([payment(5, 10, 1, 5), payment(6, 30, 3, 5)]);
        entries.extend(marks(100, 5));
        let (stage, said) = stage.apply(entries);
        assert_eq!(said, [""; 0], "nothing is judged in doubt");
        let (stage, said) = stage.apply(marks(110, 5).into());
        assert_eq!(
            said,
            ["50 at 100", "Unconfirmed { rows: 1 }"],
            "all is judged anew, but what rests on that payment"
        );
        assert_eq!(stage.task.unconfirmed().collect::<Vec<_>>(), [0, 1]);
        stage
    }

    fn confirm(unseen: Unseen) -> Vec<Entry> {
        [Entry::Confirm { topic_partition: 1, unseen }].into_iter().chain(marks(120, 5)).collect()
    }

    #[test]
    fn rows_that_a_new_snapshot_has_not_seen_are_taken_away_when_they_are_said_to_be_gone() {
        let (stage, said) = after_a_snapshot().apply(confirm(Unseen::Gone));
        assert_eq!(said, [""; 0]);
        let (stage, said) = stage.apply(marks(130, 5).into());
        assert_eq!(said, ["2 at 120", "Confirmed { rows: 1, unseen: Gone }"]);
        let (stage, said) = stage.apply(marks(140, 5).into());
        assert_eq!((said, stage.task.unconfirmed().sum::<i64>()), (vec![], 0));
    }

    #[test]
    fn or_they_are_as_they_were() {
        let (stage, said) = after_a_snapshot().apply(confirm(Unseen::Kept));
        assert_eq!(said, ["Confirmed { rows: 1, unseen: Kept }"]);
        let (stage, said) = stage.apply(marks(130, 5).into());
        assert_eq!((said, stage.task.unconfirmed().sum::<i64>()), (vec![], 0));
    }

    #[test]
    fn or_they_are_seen_after_all() {
        let entries = [payment(7, 20, 2, 5)].into_iter().chain(marks(120, 5)).collect();
        let (stage, said) = after_a_snapshot().apply(entries);
        assert_eq!((said, stage.task.unconfirmed().sum::<i64>()), (vec![], 0));
    }
}
