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

/// RocksDB's own error and the folder that it happened in.
#[derive(Debug, thiserror::Error)]
#[error("RocksDB at {}: {source}", path.display())]
pub struct RocksError {
    path: PathBuf,
    source: rocksdb::Error,
}

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
        let families =
            Space::ALL.map(|space| ColumnFamilyDescriptor::new(space.name(), family_options(space, memory)));
        let db = DB::open_cf_descriptors(&options, path, families);
        match db {
            Ok(db) => Ok(RocksStore { db, path: path.to_owned() }),
            Err(source) => Err(RocksError { path: path.to_owned(), source }),
        }
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
        made.map_err(|source| RocksError { path: folder.to_owned(), source })
    }

    fn sum(&self, property: &str) -> u64 {
        let of = |space| self.db.property_int_value_cf(self.family(space), property).ok().flatten().unwrap_or(0);
        Space::ALL.into_iter().map(of).sum()
    }

    fn family(&self, space: Space) -> &ColumnFamily {
        self.db.cf_handle(space.name()).expect("every space's column family was opened")
    }

    fn error(&self, source: rocksdb::Error) -> RocksError {
        RocksError { path: self.path.clone(), source }
    }
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
