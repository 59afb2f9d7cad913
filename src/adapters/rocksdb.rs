//! The task's store on RocksDB: one database per partition, one column family per space.
//!
//! Must not know: what the bytes mean. All databases of a process share one block cache and one write-buffer budget.

use std::path::{Path, PathBuf};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, Direction, IteratorMode,
    Options, ReadOptions, WriteBatch, WriteBufferManager, WriteOptions,
};

use crate::task::store::{Batch, Pair, Space, Store};

/// What all databases of the process share.
#[derive(Clone)]
pub struct SharedMemory {
    cache: Cache,
    write_buffers: WriteBufferManager,
}

impl SharedMemory {
    /// `bytes` is divided between block cache and write buffers. A full write budget begins a flush and halts nobody:
    /// who holds the memory may be a database that has nothing to write, so a halted writer could wait for ever.
    pub fn new(bytes: usize) -> SharedMemory {
        let cache = Cache::new_lru_cache(bytes);
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(bytes / 2, false, cache.clone());
        SharedMemory { cache, write_buffers }
    }
}

/// A partition's database.
pub struct RocksStore {
    db: DB,
    path: PathBuf,
}

/// Why a database cannot be worked on, and the folder that it is in.
#[derive(Debug, thiserror::Error)]
pub enum RocksError {
    #[error("RocksDB at {}: {source}", path.display())]
    Rocks { path: PathBuf, source: rocksdb::Error },
    #[error("RocksDB at {} is written to faster than it can be opened; try again", path.display())]
    Restless { path: PathBuf },
}

/// How often a database is opened anew that somebody has rearranged while it was being opened.
const OPENINGS: usize = 10;

impl RocksStore {
    /// Opens the database in a folder, made where it is missing.
    pub fn open(path: &Path, memory: &SharedMemory) -> Result<RocksStore, RocksError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_write_buffer_manager(&memory.write_buffers);
        options.set_max_open_files(256);
        options.set_keep_log_file_num(2);
        options.set_max_total_wal_size(64 << 20);
        // It is copied whole with every checkpoint.
        options.set_max_manifest_file_size(1 << 20);
        let db = DB::open_cf_descriptors(&options, path, families(memory));
        opened(path, db)
    }

    /// True where a folder holds a database, in whatever state it is.
    pub fn is_in(path: &Path) -> bool {
        path.join(CURRENT).exists()
    }

    /// Opens what a folder holds as it is at this moment, also while another process writes to it. Nothing can be written
    /// through it; no lock is taken, and nothing in the folder changes.
    pub fn open_to_read(path: &Path, memory: &SharedMemory) -> Result<RocksStore, RocksError> {
        let mut options = Options::default();
        // Whoever writes to it removes tables; those that were opened stay readable.
        options.set_max_open_files(-1);
        for _ in 0..OPENINGS {
            let before = arrangement(path);
            let db = DB::open_cf_descriptors_read_only(&options, path, families(memory), false);
            // Where tables have come or gone meanwhile, something may have been seen in neither a table nor a log.
            if arrangement(path) == before {
                return opened(path, db);
            }
        }
        Err(RocksError::Restless { path: path.to_owned() })
    }

    /// What the state takes on disk, bytes; an estimate of RocksDB's.
    pub fn disk_bytes(&self) -> u64 {
        self.sum("rocksdb.total-sst-files-size")
    }

    /// How many keys are held; an estimate of RocksDB's.
    pub fn keys(&self) -> u64 {
        let count = self.db.property_int_value_cf(self.family(Space::Keys), "rocksdb.estimate-num-keys");
        count.ok().flatten().unwrap_or(0)
    }

    /// Makes a folder that holds the state as it is now, its files hard links where they can be. There must be none.
    pub fn checkpoint(&self, folder: &Path) -> Result<(), RocksError> {
        let made = Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(folder));
        made.map_err(|source| RocksError::Rocks { path: folder.to_owned(), source })
    }

    fn sum(&self, property: &str) -> u64 {
        let of = |space| self.db.property_int_value_cf(self.family(space), property).ok().flatten().unwrap_or(0);
        Space::ALL.into_iter().map(of).sum()
    }

    fn family(&self, space: Space) -> &ColumnFamily {
        self.db.cf_handle(space.name()).expect("every space's column family was opened")
    }

    fn error(&self, source: rocksdb::Error) -> RocksError {
        RocksError::Rocks { path: self.path.clone(), source }
    }
}

/// Names the manifest in force.
const CURRENT: &str = "CURRENT";

/// Which manifest is in force, and how long it is: it grows with each table that comes or goes. `None` where that cannot
/// be seen.
fn arrangement(path: &Path) -> Option<(String, u64)> {
    let current = std::fs::read_to_string(path.join(CURRENT)).ok()?;
    let manifest = std::fs::metadata(path.join(current.trim_end())).ok()?;
    Some((current, manifest.len()))
}

fn opened(path: &Path, db: Result<DB, rocksdb::Error>) -> Result<RocksStore, RocksError> {
    match db {
        Ok(db) => Ok(RocksStore { db, path: path.to_owned() }),
        Err(source) => Err(RocksError::Rocks { path: path.to_owned(), source }),
    }
}

fn families(memory: &SharedMemory) -> [ColumnFamilyDescriptor; 5] {
    Space::ALL.map(|space| ColumnFamilyDescriptor::new(space.name(), family_options(space, memory)))
}

fn family_options(space: Space, memory: &SharedMemory) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&memory.cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    if matches!(space, Space::Keys | Space::Rows) {
        table.set_bloom_filter(10.0, false);
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(16 << 20);
    // What every family of every partition takes at least, so that many of them fit into a small budget.
    options.set_arena_block_size(128 << 10);
    options
}

impl Store for RocksStore {
    type Error = RocksError;

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, RocksError> {
        self.db.get_cf(self.family(space), key).map_err(|error| self.error(error))
    }

    fn scan(&self, space: Space, from: &[u8], until: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, RocksError> {
        let mut options = ReadOptions::default();
        if let Some(until) = until {
            options.set_iterate_upper_bound(until);
        }
        let start = IteratorMode::From(from, Direction::Forward);
        let iterator = self.db.iterator_cf_opt(self.family(space), options, start);
        let mut pairs = Vec::new();
        for pair in iterator.take(limit) {
            let (key, value) = pair.map_err(|error| self.error(error))?;
            pairs.push((key.into_vec(), value.into_vec()));
        }
        Ok(pairs)
    }

    /// The write-ahead log reaches the operating system, not the disk: it survives the process, and after a power cut
    /// RocksDB restores a consistent older state from which replay goes on.
    fn write(&mut self, batch: Batch) -> Result<(), RocksError> {
        let mut writes = WriteBatch::default();
        for (space, key, value) in &batch.writes {
            match value {
                Some(value) => writes.put_cf(self.family(*space), key, value),
                None => writes.delete_cf(self.family(*space), key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(false);
        self.db.write_opt(writes, &options).map_err(|error| self.error(error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::SystemTime;

    use super::*;

    /// Names, sizes and times of what a folder holds.
    fn listing(folder: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
        let entries = std::fs::read_dir(folder).expect("it is there").map(|entry| {
            let entry = entry.expect("an entry");
            let metadata = entry.metadata().expect("it is there");
            (entry.path(), metadata.len(), metadata.modified().expect("it is known"))
        });
        let mut listing: Vec<_> = entries.collect();
        listing.sort();
        listing
    }

    fn put(store: &mut RocksStore, key: &str, value: &[u8]) {
        let mut batch = Batch::default();
        batch.put(Space::Keys, key.into(), value.into());
        store.write(batch).expect("it is written");
    }

    #[test]
    fn what_somebody_writes_to_can_be_read_and_is_not_touched() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = SharedMemory::new(8 << 20);
        let mut writer = RocksStore::open(folder.path(), &memory).expect("it opens");
        put(&mut writer, "a", b"table");
        writer.db.flush_cf(writer.family(Space::Keys)).expect("it is flushed");
        put(&mut writer, "b", b"log");
        let before = listing(folder.path());
        let mut reader = RocksStore::open_to_read(folder.path(), &memory).expect("it opens");
        put(&mut writer, "c", b"too late");
        let read = reader.scan(Space::Keys, b"", None, 9).expect("it can be read");
        assert_eq!(read, [(b"a".to_vec(), b"table".to_vec()), (b"b".to_vec(), b"log".to_vec())]);
        assert!(reader.write(Batch { writes: vec![(Space::Keys, b"d".to_vec(), None)] }).is_err());
        drop(reader);
        let after = listing(folder.path());
        let names =
            |listing: &[(PathBuf, u64, SystemTime)]| listing.iter().map(|one| one.0.clone()).collect::<Vec<_>>();
        assert_eq!(names(&after), names(&before));
        let changed: Vec<_> = after.iter().filter(|one| !before.contains(one)).map(|one| one.0.extension()).collect();
        assert_eq!(changed, [Some("log".as_ref())], "its writer's log alone has grown");
    }

    /// Each batch writes two keys to two families: whoever sees them differ has seen half of the history.
    #[test]
    fn a_reader_sees_one_moment_while_tables_come_and_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = SharedMemory::new(8 << 20);
        let mut writer = RocksStore::open(folder.path(), &memory).expect("it opens");
        let mut write = |number: u64| {
            let mut batch = Batch::default();
            batch.put(Space::Keys, b"k".to_vec(), number.to_be_bytes().to_vec());
            batch.put(Space::Memory, b"m".to_vec(), number.to_be_bytes().to_vec());
            writer.write(batch).expect("it is written");
            writer.db.flush_cf(writer.family(Space::Keys)).expect("it is flushed");
            writer.db.flush_cf(writer.family(Space::Memory)).expect("it is flushed");
        };
        write(0);
        let tries = AtomicUsize::new(0);
        let read = || {
            let mut reads = 0;
            while reads < 50 {
                tries.fetch_add(1, Ordering::Relaxed);
                let reader = match RocksStore::open_to_read(folder.path(), &memory) {
                    Err(RocksError::Restless { .. }) => continue,
                    reader => reader.expect("it opens"),
                };
                let [k, m] = [(Space::Keys, b"k"), (Space::Memory, b"m")]
                    .map(|(space, key)| reader.get(space, key).expect("it can be read"));
                assert!(k.is_some() && k == m, "{k:?} {m:?}");
                reads += 1;
            }
        };
        std::thread::scope(|scope| {
            let reader = scope.spawn(read);
            let mut number = 0;
            while !reader.is_finished() {
                number += 1;
                write(number);
                // Whoever writes without a pause is never seen at rest.
                let tried = tries.load(Ordering::Relaxed);
                while !reader.is_finished() && tries.load(Ordering::Relaxed) < tried + 2 {
                    std::thread::yield_now();
                }
            }
        });
    }

    #[test]
    fn what_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = SharedMemory::new(8 << 20);
        assert!(!RocksStore::is_in(folder.path()));
        let error = RocksStore::open_to_read(folder.path(), &memory).err().expect("it is refused").to_string();
        assert!(error.starts_with("RocksDB at "), "{error}");
        assert_eq!(listing(folder.path()), []);
    }
}
