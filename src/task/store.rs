//! What a task needs of a store: ordered spaces of bytes and one atomic batch.
//!
//! Two real implementations: [`MemoryStore`] here, RocksDB in `adapters::rocksdb`.

use std::collections::BTreeMap;
use std::convert::Infallible;

/// A keyspace of the store. Keys of different spaces don't meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Order key → state of the key.
    Keys,
    /// Due instant (big-endian, sign flipped), order key → nothing.
    Deadlines,
    /// Source index (big-endian u16), encoded primary key → order key. Only of sources that must find rows.
    Rows,
    /// Lane (big-endian u32), number of its first change (big-endian u64) → a chunk of waiting changes.
    Waiting,
    /// The task's memory, under [`MEMORY_KEY`], the rules in force, under [`RULES_KEY`], what is counted of transactions, under
    /// [`LEDGERS_KEY`], and what is known of snapshots, under [`SNAPSHOTS_KEY`].
    Memory,
}

impl Space {
    pub const ALL: [Space; 5] = [Space::Keys, Space::Deadlines, Space::Rows, Space::Waiting, Space::Memory];

    pub fn name(self) -> &'static str {
        match self {
            Space::Keys => "keys",
            Space::Deadlines => "deadlines",
            Space::Rows => "rows",
            Space::Waiting => "waiting",
            Space::Memory => "memory",
        }
    }
}

pub const MEMORY_KEY: &[u8] = b"memory";

pub const RULES_KEY: &[u8] = b"rules";

pub const LEDGERS_KEY: &[u8] = b"transactions";

pub const SNAPSHOTS_KEY: &[u8] = b"snapshots";

/// Writes that happen together or not at all; `None` deletes. Later writes to a key win.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub writes: Vec<(Space, Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    pub fn put(&mut self, space: Space, key: Vec<u8>, value: Vec<u8>) {
        self.writes.push((space, key, Some(value)));
    }

    pub fn delete(&mut self, space: Space, key: Vec<u8>) {
        self.writes.push((space, key, None));
    }
}

/// A key and its value, as a scan gives them.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Ordered spaces of bytes.
pub trait Store {
    type Error: std::error::Error + Send + Sync + 'static;

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Pairs with `from <= key`, and `key < until` where given, in key order, `limit` at most.
    fn scan(&self, space: Space, from: &[u8], until: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, Self::Error>;

    /// All of the batch or nothing. Durable against the end of the process; after a power cut the store may be
    /// older, never torn.
    fn write(&mut self, batch: Batch) -> Result<(), Self::Error>;
}

/// A store in memory: for rule tests, the simulator and whoever has no disk to spare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStore {
    spaces: BTreeMap<Space, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Store for MemoryStore {
    type Error = Infallible;

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.spaces.get(&space).and_then(|space| space.get(key)).cloned())
    }

    fn scan(&self, space: Space, from: &[u8], until: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, Infallible> {
        let Some(space) = self.spaces.get(&space) else { return Ok(Vec::new()) };
        let pairs =
            space.range(from.to_vec()..).take_while(|(key, _)| until.is_none_or(|until| key.as_slice() < until));
        Ok(pairs.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn write(&mut self, batch: Batch) -> Result<(), Infallible> {
        for (space, key, value) in batch.writes {
            let space = self.spaces.entry(space).or_default();
            match value {
                Some(value) => space.insert(key, value),
                None => space.remove(&key),
            };
        }
        Ok(())
    }
}
