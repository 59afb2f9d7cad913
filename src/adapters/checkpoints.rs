//! Checkpoints of partitions' states in an object store: a folder, S3, Google Cloud Storage, Azure.
//!
//! Must not know: what a state means, Kafka. Below the configured URL, for each reconciliation (its name, and a hash of
//! whose changes log it has) and partition:
//!
//! * `files/<SHA-256>`: a file of a state, written once, never changed;
//! * `checkpoints/<next changes-log offset>-<SHA-256 of what it holds>.json`: a manifest of files, written last;
//! * `restoring/<manifest>/<anything>`: somebody is restoring it; nobody collects it.
//!
//! Every name but a lease's says what is in it, so that a byte that has changed is found, and two writers cannot spoil
//! each other's: a state is a function of the changes log, whoever writes it down.

mod digests;
mod fetch;
mod home;
mod manifest;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use object_store::path::Path as Key;
use object_store::{Error as StoreError, ObjectMeta};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::digests::Digests;
pub use self::fetch::{Fetched, Refused};
pub use self::home::{DiskError, Home, HomeError, bytes_in};
pub use self::manifest::{About, File, Identity, Manifest, Unfit};
pub use self::store::{Store, refused_store};

/// Files that no manifest names are kept for so long: somebody may be about to name them. So are leases.
const PATIENCE: Duration = Duration::from_secs(3600);

/// So many checkpoints of one process are written at once: all of its partitions share its network and its disk.
const AT_ONCE: usize = 2;

/// A checkpoint that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("the checkpoint store: {what}: {source}")]
    Store { what: String, source: StoreError },
    #[error("the checkpoint store does not answer: {what}")]
    Silent { what: String },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("checkpoint {name} cannot be used: {why}")]
    Unfit { name: String, why: Unfit },
    #[error("told to stop")]
    Stopped,
}

/// A checkpoint as the store lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The changes-log offset that its state goes on at.
    pub next_offset: i64,
    /// The manifest's name.
    pub name: String,
    pub written_at: SystemTime,
}

impl Listed {
    fn unfit(&self, why: Unfit) -> CheckpointError {
        CheckpointError::Unfit { name: self.name.clone(), why }
    }
}

/// What an upload came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uploaded {
    pub files: usize,
    /// Files that the store did not have.
    pub new_files: usize,
    pub new_bytes: u64,
}

/// Leave to write a checkpoint, until it is dropped.
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

/// All checkpoints of one reconciliation.
#[derive(Clone)]
pub struct Checkpoints {
    store: Store,
    root: Key,
    identity: Arc<Identity>,
    /// The format of the states that are written here, and the newest that can be read.
    state_version: u32,
    /// How many checkpoints of a partition are kept.
    keep: usize,
    patience: Duration,
    turns: Arc<Semaphore>,
}

impl Checkpoints {
    /// Clones share their turns.
    pub fn new(store: Store, identity: Identity, state_version: u32, keep: usize) -> Checkpoints {
        let root = store.root.clone().join(identity.reconciliation.as_str()).join(identity.hash());
        let (identity, turns) = (Arc::new(identity), Arc::new(Semaphore::new(AT_ONCE)));
        Checkpoints { store, root, identity, state_version, keep, patience: PATIENCE, turns }
    }

    /// `None` while as many checkpoints as may be are being written: ask again later.
    pub fn turn(&self) -> Option<Turn> {
        let permit = Arc::clone(&self.turns).try_acquire_owned().ok()?;
        Some(Turn { _permit: permit })
    }

    /// The checkpoints of a partition, the one that goes furthest first.
    pub fn list(&self, partition: i32, stop: &AtomicBool) -> Result<Vec<Listed>, CheckpointError> {
        let listed = self.store.list(&self.folder(partition, CHECKPOINTS), stop)?;
        let mut checkpoints: Vec<Listed> = listed.iter().filter_map(listed_as).collect();
        checkpoints.sort_by(|a, b| b.cmp(a));
        Ok(checkpoints)
    }

    /// Writes what lies in a folder as a checkpoint: files that the store lacks, then the manifest. Then collects what is
    /// too old. `stop` ends it early with nothing visible. `digests` are those of the uploads before, of the same state.
    pub fn upload(
        &self,
        partition: i32,
        folder: &Path,
        about: &About,
        digests: &mut Digests,
        stop: &AtomicBool,
    ) -> Result<Uploaded, CheckpointError> {
        let (sources, files): (Vec<_>, Vec<_>) = digests.files(folder, stop)?.into_iter().unzip();
        let mut uploaded = Uploaded { files: files.len(), ..Uploaded::default() };
        self.put_lacking(partition, &files, &sources, &mut uploaded, stop)?;
        let manifest = Manifest::new(&self.identity, partition, self.state_version, about, files);
        let (name, text) = manifest.encode();
        self.store.put(&self.folder(partition, CHECKPOINTS).join(name.as_str()), text, stop)?;
        // Nothing named them before, so somebody may have collected some of them meanwhile.
        self.put_lacking(partition, &manifest.files, &sources, &mut uploaded, stop)?;
        match self.collect(partition, stop) {
            Err(error @ (CheckpointError::Store { .. } | CheckpointError::Silent { .. })) => {
                tracing::warn!(partition, %error, "old checkpoints were not collected");
            }
            collected => collected?,
        }
        Ok(uploaded)
    }

    /// Writes those files that the store does not have whole.
    fn put_lacking(
        &self,
        partition: i32,
        files: &[File],
        sources: &[PathBuf],
        uploaded: &mut Uploaded,
        stop: &AtomicBool,
    ) -> Result<(), CheckpointError> {
        let known = self.files(partition, stop)?;
        let mut known: BTreeSet<(&str, u64)> = known.iter().map(|(name, meta)| (name.as_str(), meta.size)).collect();
        for (file, source) in files.iter().zip(sources) {
            if known.insert((&file.sha256, file.bytes)) {
                self.store.put_file(source, &self.file(partition, file), stop)?;
                uploaded.new_files += 1;
                uploaded.new_bytes += file.bytes;
            }
        }
        Ok(())
    }

    /// Removes a checkpoint. Its files go with the next collection.
    pub fn drop(&self, partition: i32, listed: &Listed, stop: &AtomicBool) -> Result<(), CheckpointError> {
        self.store.delete(&self.folder(partition, CHECKPOINTS).join(listed.name.as_str()), stop)
    }

    /// Removes checkpoints beyond those that are kept, and files that none names any more.
    fn collect(&self, partition: i32, stop: &AtomicBool) -> Result<(), CheckpointError> {
        let began = SystemTime::now();
        // Listed first: what is named later than it was listed is not among them.
        let files = self.files(partition, stop)?;
        let leased = self.leased(partition, began, stop)?;
        let (mut kept, mut named) = (BTreeSet::new(), BTreeSet::new());
        for listed in self.list(partition, stop)? {
            if kept.len() >= self.keep && !leased.contains(&listed.name) {
                self.drop(partition, &listed, stop)?;
                continue;
            }
            match self.manifest(partition, &listed, stop) {
                Ok(manifest) => {
                    named.extend(manifest.files.into_iter().map(|file| file.sha256));
                    kept.insert(listed.name);
                }
                Err(CheckpointError::Unfit { why: Unfit::Damaged { .. } | Unfit::Gone { .. }, .. }) => {
                    self.drop(partition, &listed, stop)?;
                }
                // What it names is not known, so no file is collected.
                Err(CheckpointError::Unfit { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // Whoever leased one before it was dropped has read what it names, and needs it still.
        if !self.leased(partition, began, stop)?.is_subset(&kept) {
            return Ok(());
        }
        for (_, meta) in files.iter().filter(|(name, meta)| !named.contains(name) && !self.is_young(meta, began)) {
            // Whoever was suspended for long does not know any more what others name.
            if began.elapsed().is_ok_and(|took| took > self.patience / 4) {
                break;
            }
            self.store.delete(&meta.location, stop)?;
        }
        Ok(())
    }

    /// The names of the checkpoints that somebody is restoring. Leases that were forgotten are removed.
    fn leased(
        &self,
        partition: i32,
        now: SystemTime,
        stop: &AtomicBool,
    ) -> Result<BTreeSet<String>, CheckpointError> {
        let folder = self.folder(partition, RESTORING);
        let mut leased = BTreeSet::new();
        for lease in self.store.list(&folder, stop)? {
            match self.is_young(&lease, now) {
                true => leased.extend(lease.location.as_ref().rsplit('/').nth(1).map(str::to_owned)),
                false => self.store.delete(&lease.location, stop)?,
            }
        }
        Ok(leased)
    }

    /// A clock that runs ahead of this one makes nothing older.
    fn is_young(&self, meta: &ObjectMeta, now: SystemTime) -> bool {
        now.duration_since(meta.last_modified.into()).map_or(true, |age| age < self.patience)
    }

    fn files(&self, partition: i32, stop: &AtomicBool) -> Result<Vec<(String, ObjectMeta)>, CheckpointError> {
        let listed = self.store.list(&self.folder(partition, FILES), stop)?.into_iter();
        Ok(listed.filter_map(|meta| Some((meta.location.filename()?.to_owned(), meta))).collect())
    }

    fn file(&self, partition: i32, file: &File) -> Key {
        self.folder(partition, FILES).join(file.sha256.as_str())
    }

    fn folder(&self, partition: i32, kind: &str) -> Key {
        self.root.clone().join(partition.to_string()).join(kind)
    }
}

const FILES: &str = "files";
const CHECKPOINTS: &str = "checkpoints";
const RESTORING: &str = "restoring";

fn listed_as(meta: &ObjectMeta) -> Option<Listed> {
    let name = meta.location.filename()?.to_owned();
    let next_offset = name.split_once('-')?.0.parse().ok()?;
    Some(Listed { next_offset, name, written_at: meta.last_modified.into() })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
