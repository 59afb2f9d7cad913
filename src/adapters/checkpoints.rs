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

mod manifest;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use object_store::path::Path as Key;
use object_store::{Error as StoreError, ObjectMeta};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

pub use self::manifest::{About, File, Identity, Manifest, Unfit};
use self::store::Store;
pub use self::store::refused_store;

/// Files that no manifest names are kept for so long: somebody may be about to name them. So are leases.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How much of a file is in memory at once.
const PIECE: usize = 1 << 20;

/// A checkpoint that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("the checkpoint store: {what}: {source}")]
    Store { what: String, source: StoreError },
    #[error("the checkpoint store does not answer: {what}")]
    Silent { what: String },
    #[error("{}: {source}", path.display())]
    Disk { path: PathBuf, source: std::io::Error },
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

/// What an upload came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uploaded {
    pub files: usize,
    /// Files that the store did not have.
    pub new_files: usize,
    pub new_bytes: u64,
}

/// All checkpoints of one reconciliation.
#[derive(Clone)]
pub struct Checkpoints {
    store: Store,
    root: Key,
    identity: Arc<Identity>,
    /// How many checkpoints of a partition are kept.
    keep: usize,
}

impl Checkpoints {
    /// `options` are those of the `object_store` crate for the URL's scheme. Connects to nothing yet.
    pub fn new(
        url: &url::Url,
        options: &BTreeMap<String, String>,
        identity: Identity,
        keep: usize,
        runtime: Handle,
    ) -> Result<Checkpoints, CheckpointError> {
        let (store, root) = Store::open(url, options, runtime)?;
        let root = root.join(identity.reconciliation.as_str()).join(identity.hash());
        Ok(Checkpoints { store, root, identity: Arc::new(identity), keep })
    }

    /// The checkpoints of a partition, the one that goes furthest first.
    pub fn list(&self, partition: i32, stop: &AtomicBool) -> Result<Vec<Listed>, CheckpointError> {
        let listed = self.store.list(&self.folder(partition, CHECKPOINTS), stop)?;
        let mut checkpoints: Vec<Listed> = listed.iter().filter_map(listed_as).collect();
        checkpoints.sort_by(|a, b| b.cmp(a));
        Ok(checkpoints)
    }

    /// Writes what lies in a folder as a checkpoint: files that the store lacks, then the manifest. Then collects what is
    /// too old. `stop` ends it early with nothing visible.
    pub fn upload(
        &self,
        partition: i32,
        folder: &Path,
        about: &About,
        stop: &AtomicBool,
    ) -> Result<Uploaded, CheckpointError> {
        let mut uploaded = Uploaded::default();
        let (mut sources, mut files) = (Vec::new(), Vec::new());
        for path in paths(folder)? {
            let (sha256, bytes) = digest(&path, stop)?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            files.push(File { name, bytes, sha256 });
            sources.push(path);
        }
        uploaded.files = files.len();
        self.put_lacking(partition, &files, &sources, &mut uploaded, stop)?;
        let manifest = Manifest::new(&self.identity, partition, about, files);
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

    /// Puts the furthest checkpoint that is fit, and that goes further than `beyond`, into a folder. What was there is
    /// kept beside it until [`keep`] or [`undo`]. Each that is not fit, or cannot be read now, is said to `refused`; the
    /// next older one is taken then.
    pub fn restore(
        &self,
        partition: i32,
        beyond: i64,
        folder: &Path,
        stop: &AtomicBool,
        mut refused: impl FnMut(&CheckpointError),
    ) -> Result<Option<Manifest>, CheckpointError> {
        let candidates = self.list(partition, stop)?;
        let mut unread = None;
        for listed in candidates.iter().take_while(|listed| listed.next_offset > beyond) {
            let leases = self.folder(partition, RESTORING).join(listed.name.as_str());
            let lease = leases.join(uuid::Uuid::new_v4().to_string());
            let leased = self.store.put(&lease, Vec::new(), stop);
            let fetched = leased.and_then(|()| self.fetch(partition, listed, folder, stop));
            // Where it cannot be given back it is forgotten after a while.
            let _ = self.store.delete(&lease, stop);
            match fetched {
                Ok(manifest) => return Ok(Some(manifest)),
                Err(error @ (CheckpointError::Disk { .. } | CheckpointError::Stopped)) => return Err(error),
                Err(error) => {
                    refused(&error);
                    unread = unread.or((!matches!(error, CheckpointError::Unfit { .. })).then_some(error));
                }
            }
        }
        unread.map_or(Ok(None), Err)
    }

    /// Reads a checkpoint whole, every byte of it, and keeps nothing.
    pub fn verify(&self, partition: i32, listed: &Listed, stop: &AtomicBool) -> Result<Manifest, CheckpointError> {
        let manifest = self.manifest(partition, listed, stop)?;
        for file in &manifest.files {
            self.get_file(partition, listed, file, &mut std::io::sink(), stop)?;
        }
        Ok(manifest)
    }

    /// Removes a checkpoint. Its files go with the next collection.
    pub fn drop(&self, partition: i32, listed: &Listed, stop: &AtomicBool) -> Result<(), CheckpointError> {
        self.store.delete(&self.folder(partition, CHECKPOINTS).join(listed.name.as_str()), stop)
    }

    fn fetch(
        &self,
        partition: i32,
        listed: &Listed,
        folder: &Path,
        stop: &AtomicBool,
    ) -> Result<Manifest, CheckpointError> {
        let manifest = self.manifest(partition, listed, stop)?;
        let [fresh, stale] = [FRESH, STALE].map(|word| beside(folder, word));
        let fetched = self.fetch_files(partition, listed, &manifest, &fresh, stop);
        if let Err(error) = fetched {
            clear(&fresh)?;
            if let CheckpointError::Unfit { why: Unfit::Damaged { file }, .. } = &error {
                self.forget(partition, &manifest, file, stop);
            }
            return Err(error);
        }
        clear(&stale)?;
        // A process that is killed in between finds the one or the other again.
        if folder.exists() {
            std::fs::rename(folder, &stale).map_err(|source| disk_error(folder, source))?;
        }
        std::fs::rename(&fresh, folder).map_err(|source| disk_error(&fresh, source))?;
        Ok(manifest)
    }

    fn fetch_files(
        &self,
        partition: i32,
        listed: &Listed,
        manifest: &Manifest,
        fresh: &Path,
        stop: &AtomicBool,
    ) -> Result<(), CheckpointError> {
        clear(fresh)?;
        std::fs::create_dir_all(fresh).map_err(|source| disk_error(fresh, source))?;
        for file in &manifest.files {
            let path = fresh.join(&file.name);
            let created = std::fs::File::create(&path);
            let mut out = created.map_err(|source| disk_error(&path, source))?;
            self.get_file(partition, listed, file, &mut out, stop)?;
            out.sync_all().map_err(|source| disk_error(&path, source))?;
        }
        let folder = std::fs::File::open(fresh).and_then(|folder| folder.sync_all());
        folder.map_err(|source| disk_error(fresh, source))
    }

    /// Removes a file that is not what its name says, so that whoever has it still writes it again.
    fn forget(&self, partition: i32, manifest: &Manifest, name: &str, stop: &AtomicBool) {
        for file in manifest.files.iter().filter(|file| file.name == name) {
            if let Err(error) = self.store.delete(&self.file(partition, file), stop) {
                tracing::warn!(partition, %error, "a damaged file of a checkpoint stays");
            }
        }
    }

    fn manifest(&self, partition: i32, listed: &Listed, stop: &AtomicBool) -> Result<Manifest, CheckpointError> {
        let unfit = |why| CheckpointError::Unfit { name: listed.name.clone(), why };
        let text = self.store.get(&self.folder(partition, CHECKPOINTS).join(listed.name.as_str()), stop)?;
        let text = text.ok_or_else(|| unfit(Unfit::Gone { file: listed.name.clone() }))?;
        let manifest = Manifest::decode(&listed.name, &text).map_err(unfit)?;
        manifest.must_be(&self.identity, partition, listed.next_offset).map_err(unfit)?;
        Ok(manifest)
    }

    fn get_file(
        &self,
        partition: i32,
        listed: &Listed,
        file: &File,
        out: &mut dyn std::io::Write,
        stop: &AtomicBool,
    ) -> Result<(), CheckpointError> {
        let got = self.store.get_file(&self.file(partition, file), file.bytes, out, stop)?;
        let why = match got {
            Some((bytes, sha256)) if bytes == file.bytes && sha256 == file.sha256 => return Ok(()),
            Some(_) => Unfit::Damaged { file: file.name.clone() },
            None => Unfit::Gone { file: file.name.clone() },
        };
        Err(CheckpointError::Unfit { name: listed.name.clone(), why })
    }

    /// Removes checkpoints beyond those that are kept, and files that none names any more.
    fn collect(&self, partition: i32, stop: &AtomicBool) -> Result<(), CheckpointError> {
        let began = SystemTime::now();
        // Listed first: what is named later than it was listed is not among them.
        let files = self.files(partition, stop)?;
        let leases = self.store.list(&self.folder(partition, RESTORING), stop)?;
        let is_leased = |listed: &Listed| {
            let is_its = |lease: &ObjectMeta| lease.location.parts().any(|part| part.as_ref() == listed.name);
            leases.iter().any(|lease| is_its(lease) && is_young(lease, began))
        };
        let (mut named, mut kept) = (BTreeSet::new(), 0);
        for listed in self.list(partition, stop)? {
            if kept >= self.keep && !is_leased(&listed) {
                self.drop(partition, &listed, stop)?;
                continue;
            }
            match self.manifest(partition, &listed, stop) {
                Ok(manifest) => {
                    named.extend(manifest.files.into_iter().map(|file| file.sha256));
                    kept += 1;
                }
                Err(CheckpointError::Unfit { why: Unfit::Damaged { .. } | Unfit::Gone { .. }, .. }) => {
                    self.drop(partition, &listed, stop)?;
                }
                // What it names is not known, so no file is collected.
                Err(CheckpointError::Unfit { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        for lease in leases.iter().filter(|lease| !is_young(lease, began)) {
            self.store.delete(&lease.location, stop)?;
        }
        for (_, meta) in files.iter().filter(|(name, meta)| !named.contains(name) && !is_young(meta, began)) {
            // Whoever was suspended for long does not know any more what others name.
            if began.elapsed().is_ok_and(|took| took > PATIENCE / 4) {
                break;
            }
            self.store.delete(&meta.location, stop)?;
        }
        Ok(())
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

/// Before anything is opened: brings back what a process that was killed while it restored had laid aside.
pub fn recover(folder: &Path) -> Result<(), CheckpointError> {
    clear(&beside(folder, FRESH))?;
    let stale = beside(folder, STALE);
    match folder.exists() {
        true => clear(&stale),
        false if stale.exists() => std::fs::rename(&stale, folder).map_err(|source| disk_error(&stale, source)),
        false => Ok(()),
    }
}

/// What was restored is good: what was there before goes.
pub fn keep(folder: &Path) -> Result<(), CheckpointError> {
    clear(&beside(folder, STALE))
}

/// What was restored is not good: what was there before comes back.
pub fn undo(folder: &Path) -> Result<(), CheckpointError> {
    clear(folder)?;
    recover(folder)
}

const FRESH: &str = "fresh";
const STALE: &str = "stale";

const FILES: &str = "files";
const CHECKPOINTS: &str = "checkpoints";
const RESTORING: &str = "restoring";

fn listed_as(meta: &ObjectMeta) -> Option<Listed> {
    let name = meta.location.filename()?.to_owned();
    let next_offset = name.split_once('-')?.0.parse().ok()?;
    Some(Listed { next_offset, name, written_at: meta.last_modified.into() })
}

/// A clock that runs ahead of this one makes nothing older.
fn is_young(meta: &ObjectMeta, now: SystemTime) -> bool {
    now.duration_since(meta.last_modified.into()).map_or(true, |age| age < PATIENCE)
}

fn beside(folder: &Path, word: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{word}"));
    folder.with_file_name(name)
}

/// Removes a folder and what is in it, if it is there.
pub fn clear(folder: &Path) -> Result<(), CheckpointError> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(disk_error(folder, source)),
        _ => Ok(()),
    }
}

/// The files of a folder, by name.
fn paths(folder: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let entries = std::fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = entries.map_err(|source| disk_error(folder, source))?;
    paths.sort();
    Ok(paths)
}

fn digest(path: &Path, stop: &AtomicBool) -> Result<(String, u64), CheckpointError> {
    let (mut sha256, mut bytes) = (Sha256::new(), 0);
    pieces(path, stop, |piece| {
        sha256.update(piece);
        bytes += piece.len() as u64;
        Ok(())
    })?;
    Ok((hex(&sha256.finalize()), bytes))
}

/// Gives a file piece by piece.
fn pieces(
    path: &Path,
    stop: &AtomicBool,
    mut take: impl FnMut(&[u8]) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let mut file = std::fs::File::open(path).map_err(|source| disk_error(path, source))?;
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece).map_err(|source| disk_error(path, source))?;
        if read == 0 {
            return Ok(());
        }
        if stop.load(Ordering::Relaxed) {
            return Err(CheckpointError::Stopped);
        }
        take(&piece[..read])?;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn disk_error(path: &Path, source: std::io::Error) -> CheckpointError {
    CheckpointError::Disk { path: path.to_owned(), source }
}
