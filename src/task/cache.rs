//! The write-back cache of key states: recently touched keys live here and reach the store in one batch.
//!
//! Must not know: what a state means. Four events of one order cost one write and mostly no read.

use std::collections::{BTreeSet, HashMap, hash_map};

use super::store::{Batch, Space, Store};
use super::wire::WireError;
use super::wire::state::{Layouts, decode_key, encode_key};
use crate::domain::change::Key;
use crate::domain::instant::Instant;
use crate::domain::key_state::KeyState;
use crate::domain::rule::Plan;

struct Entry {
    state: KeyState,
    dirty: bool,
    /// The deadline under which the store lists the key.
    stored_due: Option<Instant>,
    /// When it was last used, counted in uses of the cache.
    used: u64,
    bytes: usize,
}

/// Key states between the task and the store.
pub struct KeyCache {
    entries: HashMap<Key, Entry>,
    /// The keys of dirty entries, each once.
    dirty: Vec<Key>,
    /// Deadlines of dirty keys; the store's list is out of date for them.
    due: BTreeSet<(Instant, Key)>,
    /// No key in the store is due before this.
    stored_due_from: Instant,
    uses: u64,
    bytes: usize,
    budget: usize,
}

/// A failure of the store or of what it kept.
#[derive(Debug, thiserror::Error)]
pub enum StateError<E: std::error::Error> {
    #[error("the state store failed: {0}")]
    Store(#[source] E),
    #[error("the state store holds what cannot be read: {0}")]
    Wire(#[from] WireError),
    #[error(
        "the state was written for the sources {stored:?}, the configuration has {configured:?}; give the \
         reconciliation a new name: it begins anew from what the sources' topics hold"
    )]
    OtherSources { stored: Vec<String>, configured: Vec<String> },
    #[error(
        "keys were shared among {written} partitions of the changes log, now it is {configured}: a key's changes would be \
         looked for where they are not. Take the change back, or give the reconciliation a new name: it begins anew from what \
         the sources' topics hold"
    )]
    OtherPartitions { written: i32, configured: i32 },
    #[error(
        "input gap: offset {offset} of {topic}:{partition} was taken before, yet what stands there now was not: the topic \
         was deleted and created anew. Re-snapshot the table, then give the reconciliation a new name"
    )]
    TopicBeganAnew { topic: String, partition: i32, offset: i64 },
}

/// How many keys are read at once.
const PAGE: usize = 4096;

/// What an entry takes beside its state: the key, thrice, and the map's own.
const ENTRY_OVERHEAD: usize = 192;

impl KeyCache {
    /// `budget` bounds the entries, in bytes; dirty ones beyond it stay until they are flushed.
    pub fn new(budget: usize) -> KeyCache {
        KeyCache {
            entries: HashMap::new(),
            dirty: Vec::new(),
            due: BTreeSet::new(),
            stored_due_from: Instant::MIN,
            uses: 0,
            bytes: 0,
            budget,
        }
    }

    /// Takes a key's state out for work; `None` where the key was never seen. Must come back through
    /// [`KeyCache::put`].
    pub fn take<S: Store>(
        &mut self,
        key: &Key,
        store: &S,
        layouts: &Layouts,
        plan: &Plan,
    ) -> Result<Option<KeyState>, StateError<S::Error>> {
        let entry = match self.entries.entry(key.clone()) {
            hash_map::Entry::Occupied(entry) => entry.into_mut(),
            hash_map::Entry::Vacant(vacant) => {
                let Some(bytes) = store.get(Space::Keys, key.0.as_bytes()).map_err(StateError::Store)? else {
                    return Ok(None);
                };
                let (state, stored_due) = decode_key(&bytes, layouts)?;
                let bytes = state.heap_bytes() + ENTRY_OVERHEAD;
                self.bytes += bytes;
                vacant.insert(Entry { state, dirty: false, stored_due, used: self.uses, bytes })
            }
        };
        if let Some(due) = entry.state.due(plan) {
            self.due.remove(&(due, key.clone()));
        }
        Ok(Some(std::mem::replace(&mut entry.state, KeyState::new(0, Instant::MIN))))
    }

    /// A key's state as it is now, for whoever only looks.
    pub fn look<S: Store>(
        &self,
        key: &Key,
        store: &S,
        layouts: &Layouts,
    ) -> Result<Option<KeyState>, StateError<S::Error>> {
        if let Some(entry) = self.entries.get(key) {
            return Ok(Some(entry.state.clone()));
        }
        let stored = store.get(Space::Keys, key.0.as_bytes()).map_err(StateError::Store)?;
        Ok(stored.map(|bytes| decode_key(&bytes, layouts)).transpose()?.map(|(state, _)| state))
    }

    /// Puts a state back, changed.
    pub fn put(&mut self, key: &Key, state: KeyState, plan: &Plan) {
        self.uses += 1;
        let bytes = state.heap_bytes() + ENTRY_OVERHEAD;
        if let Some(due) = state.due(plan) {
            self.due.insert((due, key.clone()));
        }
        match self.entries.get_mut(key) {
            Some(entry) => {
                if !entry.dirty {
                    self.dirty.push(key.clone());
                }
                self.bytes = self.bytes + bytes - entry.bytes;
                entry.bytes = bytes;
                entry.state = state;
                entry.dirty = true;
                entry.used = self.uses;
            }
            None => {
                self.dirty.push(key.clone());
                self.bytes += bytes;
                let entry = Entry { state, dirty: true, stored_due: None, used: self.uses, bytes };
                self.entries.insert(key.clone(), entry);
            }
        }
    }

    /// Lists the deadlines of dirty keys anew: by other rules they are others.
    pub fn replan(&mut self, plan: &Plan) {
        let due = |key: &Key| Some((self.entries.get(key)?.state.due(plan)?, key.clone()));
        self.due = self.dirty.iter().filter_map(due).collect();
    }

    /// The first `limit` of the keys that are due at or before `until`, by deadline, then by key.
    pub fn due<S: Store>(
        &mut self,
        until: Instant,
        limit: usize,
        store: &S,
    ) -> Result<Vec<Key>, StateError<S::Error>> {
        let dirty = self.due.iter().take_while(|(due, _)| *due <= until).take(limit);
        let mut keys: BTreeSet<(Instant, Key)> = dirty.cloned().collect();
        if until >= self.stored_due_from {
            let next = self.add_stored_due(until, limit, store, &mut keys)?;
            // What was found beyond the limit is due still.
            let left = keys.iter().nth(limit).map_or(Instant::MAX, |(due, _)| *due);
            self.stored_due_from = next.min(left);
        }
        Ok(keys.into_iter().take(limit).map(|(_, key)| key).collect())
    }

    /// Adds up to `limit` keys; gives the least deadline of the store's that may be left.
    fn add_stored_due<S: Store>(
        &self,
        until: Instant,
        limit: usize,
        store: &S,
        keys: &mut BTreeSet<(Instant, Key)>,
    ) -> Result<Instant, StateError<S::Error>> {
        // Deadlines that are over leave tombstones behind, which a scan from the very first would walk through.
        let mut from = deadline(self.stored_due_from, &Key("".into()));
        let mut found = 0;
        let mut size = 16;
        loop {
            let page = store.scan(Space::Deadlines, &from, None, size).map_err(StateError::Store)?;
            for (listed, _) in &page {
                let (due, key) = read_deadline(listed);
                if due > until || found == limit {
                    return Ok(due);
                }
                if !self.entries.get(&key).is_some_and(|entry| entry.dirty) {
                    keys.insert((due, key));
                    found += 1;
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == size => from = [last.as_slice(), &[0]].concat(),
                _ => return Ok(Instant::MAX),
            }
            size = (size * 4).min(PAGE);
        }
    }

    /// The first `limit` keys after one, or of all, that the cache or the store knows; in key order.
    pub fn keys_after<S: Store>(
        &self,
        after: Option<&Key>,
        limit: usize,
        store: &S,
    ) -> Result<Vec<Key>, StateError<S::Error>> {
        let from = after.map_or(Vec::new(), |key| [key.0.as_bytes(), &[0]].concat());
        let stored = store.scan(Space::Keys, &from, None, limit).map_err(StateError::Store)?;
        let dirty = self.dirty.iter().filter(|key| after.is_none_or(|after| *key > after)).cloned();
        let mut keys: BTreeSet<Key> = dirty.collect();
        keys.extend(stored.iter().map(|(key, _)| Key(String::from_utf8_lossy(key).into())));
        Ok(keys.into_iter().take(limit).collect())
    }

    /// Adds every dirty key to the batch. The caller writes the batch or fails for good.
    pub fn flush(&mut self, batch: &mut Batch, layouts: &Layouts, plan: &Plan) {
        for key in std::mem::take(&mut self.dirty) {
            let entry = self.entries.get_mut(&key).expect("a dirty key has an entry");
            let due = entry.state.due(plan);
            let bytes = encode_key(&entry.state, due, layouts);
            batch.put(Space::Keys, key.0.as_bytes().to_vec(), bytes);
            self.stored_due_from = self.stored_due_from.min(due.unwrap_or(Instant::MAX));
            if due != entry.stored_due {
                if let Some(stored) = entry.stored_due {
                    batch.delete(Space::Deadlines, deadline(stored, &key));
                }
                if let Some(due) = due {
                    batch.put(Space::Deadlines, deadline(due, &key), Vec::new());
                }
                entry.stored_due = due;
            }
            entry.dirty = false;
        }
        self.due.clear();
        self.evict();
    }

    /// Drops the least recently used half when the budget is passed. Nothing is dirty when it is called.
    fn evict(&mut self) {
        if self.bytes <= self.budget {
            return;
        }
        let mut used: Vec<u64> = self.entries.values().map(|entry| entry.used).collect();
        let middle = used.len() / 2;
        let (_, pivot, _) = used.select_nth_unstable(middle);
        let pivot = *pivot;
        self.entries.retain(|_, entry| entry.used > pivot);
        self.bytes = self.entries.values().map(|entry| entry.bytes).sum();
    }

    /// Roughly what the cache holds, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True where the cache holds more than it may, and a flush would help.
    pub fn is_full(&self) -> bool {
        self.bytes > self.budget && !self.dirty.is_empty()
    }
}

/// Where the store lists a key's deadline.
pub fn deadline(due: Instant, key: &Key) -> Vec<u8> {
    let sortable = (due.0 as u64) ^ (1 << 63);
    [&sortable.to_be_bytes(), key.0.as_bytes()].concat()
}

fn read_deadline(listed: &[u8]) -> (Instant, Key) {
    let (due, key) = listed.split_at(8);
    let sortable = u64::from_be_bytes(due.try_into().expect("split at eight bytes"));
    let key = std::str::from_utf8(key).expect("deadlines are written from keys, which are text");
    (Instant((sortable ^ (1 << 63)) as i64), Key(key.into()))
}
