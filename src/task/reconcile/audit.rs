//! Reads all that a task's store holds, and says what does not fit together.
//!
//! Must not know: which store, what a rule means. Of a task that has just been opened: it changes nothing, and what was
//! not flushed is not seen.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::{Tally, Task};
use crate::domain::change::Key;
use crate::domain::key_state::{KeyState, Phase};
use crate::task::cache::deadline;
use crate::task::store::{Space, Store};
use crate::task::wire::state::{decode_chunk, decode_key};

/// How many pairs are read at once. A chunk of waiting changes may be large.
const PAGE: usize = 64;

/// Where everything is wrong, the first faults say what.
const FAULTS: usize = 20;

/// Something in a store that is not what was written, or is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub space: Space,
    /// The key of the pair, as text where it is; `None` where the whole space is meant.
    pub key: Option<String>,
    pub why: String,
}

/// What a store was found to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Order keys.
    pub keys: u64,
    /// Pairs of all spaces, and the bytes of their keys and values.
    pub pairs: u64,
    pub bytes: u64,
    pub faults: Vec<Fault>,
    /// Faults beside those.
    pub more_faults: u64,
}

struct Auditor<'t, S: Store> {
    task: &'t Task<S>,
    audit: Audit,
    /// Deadlines that keys have, and that are listed.
    due: u64,
    listed: u64,
    tallies: BTreeMap<Box<str>, Tally>,
    /// For each lane, its chunks: the number of the first change, and of the one after the last.
    chunks: BTreeMap<usize, Vec<(u64, u64)>>,
}

impl<S: Store> Task<S> {
    /// Reads the store whole.
    pub fn audit(&self) -> Audit {
        let audit = Audit::default();
        let (tallies, chunks) = (BTreeMap::new(), BTreeMap::new());
        let mut auditor = Auditor { task: self, audit, due: 0, listed: 0, tallies, chunks };
        auditor.each(Space::Keys, Auditor::look_at_key);
        auditor.each(Space::Deadlines, Auditor::look_at_deadline);
        auditor.each(Space::Rows, Auditor::look_at_row);
        auditor.each(Space::Waiting, Auditor::look_at_chunk);
        // What it holds was decoded when the task was opened.
        auditor.each(Space::Memory, |_, _, _| {});
        auditor.compare();
        auditor.audit
    }
}

impl<S: Store> Auditor<'_, S> {
    fn each(&mut self, space: Space, mut look: impl FnMut(&mut Self, &[u8], &[u8])) {
        let mut from = Vec::new();
        loop {
            let page = match self.task.store.scan(space, &from, None, PAGE) {
                Ok(page) => page,
                // What lies behind it cannot be reached.
                Err(error) => return self.fault(space, None, error),
            };
            for (key, value) in &page {
                self.audit.pairs += 1;
                self.audit.bytes += (key.len() + value.len()) as u64;
                look(self, key, value);
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE => from = [last.as_slice(), &[0]].concat(),
                _ => return,
            }
        }
    }

    fn fault(&mut self, space: Space, key: Option<&[u8]>, why: impl Display) {
        if self.audit.faults.len() < FAULTS {
            self.audit.faults.push(Fault { space, key: key.map(readable), why: why.to_string() });
        } else {
            self.audit.more_faults += 1;
        }
    }

    fn look_at_key(&mut self, stored: &[u8], value: &[u8]) {
        self.audit.keys += 1;
        let Some(key) = key_of(stored) else {
            return self.fault(Space::Keys, Some(stored), "it is not text");
        };
        if !self.task.ownership.owns(&key) {
            self.fault(Space::Keys, Some(stored), "it belongs to another partition");
        }
        let (state, due) = match decode_key(value, &self.task.layouts) {
            Ok(decoded) => decoded,
            Err(error) => return self.fault(Space::Keys, Some(stored), error),
        };
        self.tally(&state);
        let Some(due) = due else { return };
        self.due += 1;
        match self.task.store.get(Space::Deadlines, &deadline(due, &key)) {
            Ok(Some(_)) => {}
            Ok(None) => self.fault(Space::Keys, Some(stored), format!("its deadline, {due}, is not listed")),
            Err(error) => self.fault(Space::Deadlines, Some(stored), error),
        }
    }

    fn tally(&mut self, state: &KeyState) {
        for episode in &state.episodes {
            let tally = self.tallies.entry(episode.rule.clone()).or_default();
            match episode.phase {
                Phase::Pending => tally.pending += 1,
                Phase::Open | Phase::Ending { .. } => tally.open += 1,
            }
        }
    }

    fn look_at_deadline(&mut self, stored: &[u8], _: &[u8]) {
        self.listed += 1;
        if stored.split_first_chunk::<8>().is_none_or(|(_, key)| key_of(key).is_none()) {
            self.fault(Space::Deadlines, Some(stored), "it is not an instant and a key");
        }
    }

    fn look_at_row(&mut self, stored: &[u8], value: &[u8]) {
        let source = stored.split_first_chunk::<2>().map(|(source, _)| usize::from(u16::from_be_bytes(*source)));
        if source.is_none_or(|source| source >= self.task.plan.sources.len()) {
            self.fault(Space::Rows, Some(stored), "it is of no source");
        }
        if key_of(value).is_none() {
            self.fault(Space::Rows, Some(stored), "its key is not text");
        }
    }

    fn look_at_chunk(&mut self, stored: &[u8], value: &[u8]) {
        let place = stored.split_first_chunk::<4>().and_then(|(lane, begin)| {
            let (lane, begin) = (u32::from_be_bytes(*lane) as usize, u64::from_be_bytes(begin.try_into().ok()?));
            Some((lane, self.task.timeline.lanes.get(lane)?.source, begin))
        });
        let Some((lane, source, begin)) = place else {
            return self.fault(Space::Waiting, Some(stored), "it is of no topic-partition");
        };
        match decode_chunk(value, source, lane, &self.task.layouts) {
            Ok(waiting) => {
                self.chunks.entry(lane).or_default().push((begin, begin + waiting.len() as u64));
            }
            Err(error) => self.fault(Space::Waiting, Some(stored), error),
        }
    }

    /// Holds the spaces against one another, and against what the task remembers.
    fn compare(&mut self) {
        let (due, listed) = (self.due, self.listed);
        if due != listed {
            let why = format!("{listed} deadlines are listed, {due} keys have one");
            self.fault(Space::Deadlines, None, why);
        }
        let is_any = |tally: &Tally| *tally != Tally::default();
        let known: BTreeMap<_, _> = self.task.tallies.iter().filter(|(_, tally)| is_any(tally)).collect();
        if known != self.tallies.iter().collect() {
            self.fault(Space::Keys, None, "their disagreements are not as many as the task remembers");
        }
        for (lane, queue) in self.task.timeline.waiting.iter().enumerate() {
            let chunks = self.chunks.remove(&lane).unwrap_or_default();
            if !covers(&chunks, queue.first(), queue.end()) {
                let why = format!(
                    "changes {} to {} of {} wait, there are {chunks:?}",
                    queue.first(),
                    queue.end(),
                    self.task.timeline.lanes[lane].topic_partition.topic
                );
                self.fault(Space::Waiting, None, why);
            }
        }
    }
}

/// True where chunks follow one another without a gap, and hold everything from `first` to before `end`.
fn covers(chunks: &[(u64, u64)], first: u64, end: u64) -> bool {
    match (chunks.first(), chunks.last()) {
        (Some((begin, _)), Some((_, last))) => {
            *begin <= first && *last == end && chunks.windows(2).all(|pair| pair[0].1 == pair[1].0)
        }
        _ => first == end,
    }
}

fn key_of(stored: &[u8]) -> Option<Key> {
    Some(Key(std::str::from_utf8(stored).ok()?.into()))
}

fn readable(stored: &[u8]) -> String {
    match std::str::from_utf8(stored) {
        Ok(text) if !text.contains(char::is_control) => format!("{text:?}"),
        _ => stored.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::change::Entry;
    use crate::domain::routing::Ownership;
    use crate::task::reconcile::Limits;
    use crate::task::reconcile::tests::{block, mark, paid, plan};
    use crate::task::store::{Batch, MemoryStore, Pair};

    /// A state with keys that disagree, deadlines, rows and changes that wait.
    fn store() -> MemoryStore {
        let mut task = open(MemoryStore::default(), Ownership::WHOLE);
        let mut rules = plan().rule_set();
        rules.rules[0].grace_us = 1_000_000;
        let settled = (1..=100).map(paid).chain([mark(0, 200), mark(1, 150)]);
        let blocks = [
            vec![Entry::Rules(rules), mark(0, 0), mark(1, 0)],
            settled.collect(),
            (201..=300).map(paid).chain([mark(0, 300)]).collect(),
        ];
        for (offset, entries) in (0..).zip(blocks) {
            task.apply(offset, block(entries)).expect("a store in memory does not fail");
            while task.is_settling() {
                task.proceed().expect("a store in memory does not fail");
            }
            task.flush().expect("a store in memory does not fail");
        }
        let mut store = task.into_store();
        let mut batch = Batch::default();
        batch.put(Space::Rows, vec![0, 1, 1, 4, 2], b"1".to_vec());
        store.write(batch).expect("a store in memory does not fail");
        store
    }

    fn open(store: MemoryStore, ownership: Ownership) -> Task<MemoryStore> {
        Task::open(Arc::new(plan()), ownership, store, Limits::memory(1 << 20)).expect("it can be opened")
    }

    fn first(store: &MemoryStore, space: Space) -> Pair {
        store.scan(space, b"", None, 1).expect("a store in memory does not fail").remove(0)
    }

    /// How each begins that is found once the first pair of a space was changed.
    fn check(space: Space, change: impl FnOnce(&Pair) -> Vec<(Vec<u8>, Option<Vec<u8>>)>, expected: &[&str]) {
        let mut store = store();
        let writes = change(&first(&store, space)).into_iter().map(|(key, value)| (space, key, value));
        let batch = Batch { writes: writes.collect() };
        store.write(batch).expect("a store in memory does not fail");
        let audit = open(store, Ownership::WHOLE).audit();
        let said = |fault: &Fault| {
            let key = fault.key.as_ref().map_or(String::new(), |key| format!(" {key}"));
            format!("{}{key}: {}", fault.space.name(), fault.why)
        };
        let found: Vec<String> = audit.faults.iter().map(said).collect();
        let is_found = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| a.starts_with(b));
        assert!(is_found, "{found:#?}");
    }

    #[test]
    fn what_was_flushed_is_whole() {
        let store = store();
        let audit = open(store, Ownership::WHOLE).audit();
        assert_eq!(audit.faults, []);
        assert_eq!(audit.keys, 100);
        assert!(audit.pairs > 100 && audit.bytes > 10_000, "{audit:?}");
    }

    #[test]
    fn every_space_is_read() {
        let torn = |pair: &Pair| vec![(pair.0.clone(), Some(pair.1[..pair.1.len() / 2].to_vec()))];
        let gone = |pair: &Pair| vec![(pair.0.clone(), None)];
        let tallies = "keys: their disagreements are not as many as the task remembers";
        let fewer = "deadlines: 100 deadlines are listed, 99 keys have one";
        let damaged = "keys \"1\": key state is damaged at byte ";
        check(Space::Keys, torn, &[damaged, fewer, tallies]);
        check(Space::Keys, gone, &[fewer, tallies]);
        let unlisted = "keys \"1\": its deadline, 1970-01-01T00:00:01.000001Z, is not listed";
        check(Space::Deadlines, gone, &[unlisted, "deadlines: 99 deadlines are listed, 100 keys have one"]);
        check(
            Space::Deadlines,
            |_| vec![(vec![1], Some(Vec::new()))],
            &[
                "deadlines 01: it is not an instant and a key",
                "deadlines: 101 deadlines are listed, 100 keys have one",
            ],
        );
        let row = |_: &Pair| vec![(vec![0, 7, 1], Some(vec![0xFF]))];
        check(Space::Rows, row, &["rows 000701: it is of no source", "rows 000701: its key is not text"]);
        let missing = "waiting: changes 100 to 200 of orders wait, there are []";
        let damaged = "waiting 000000000000000000000064: chunk of waiting changes is damaged at byte ";
        check(Space::Waiting, torn, &[damaged, missing]);
        check(Space::Waiting, gone, &[missing]);
        let foreign = |pair: &Pair| vec![(vec![9; 12], Some(pair.1.clone()))];
        check(Space::Waiting, foreign, &["waiting 090909090909090909090909: it is of no topic-partition"]);
    }

    #[test]
    fn anothers_state_is_known() {
        let audit = open(store(), Ownership { partition: 1, ..Ownership::WHOLE }).audit();
        assert!(audit.faults.len() == FAULTS && audit.more_faults > 0, "{audit:?}");
        assert!(audit.faults.iter().all(|fault| fault.why == "it belongs to another partition"), "{audit:?}");
    }
}
