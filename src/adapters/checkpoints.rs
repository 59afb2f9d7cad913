//! Checkpoints of partitions' states in an object store: a folder, S3, Google Cloud Storage, Azure.
//!
//! Must not know: what a state means, Kafka. Below the configured URL, for each reconciliation and partition:
//!
//! * `files/<SHA-256>`: a file of a state, written once, never changed;
//! * `checkpoints/<next changes-log offset>-<SHA-256 of what it holds>.json`: a manifest of files, written last;
//! * `restoring/<manifest>`: somebody is restoring it; nobody collects it.
//!
//! Every name but a lease's says what is in it, so that a byte that has changed is found, and two writers cannot spoil
//! each other's: a state is a function of the changes log, whoever writes it down.

mod manifest;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use object_store::buffered::BufWriter;
use object_store::path::Path as Key;
use object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

pub use self::manifest::{About, File, Identity, Manifest, Unfit};

/// Files that no manifest names are kept for so long: somebody may be about to name them. So are leases.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How much of a file is in memory at once.
const PIECE: usize = 1 << 20;

/// A checkpoint that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("the checkpoint store: {what}: {source}")]
    Store { what: String, source: StoreError },
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
    store: Arc<dyn ObjectStore>,
    root: Key,
    runtime: Handle,
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
        let opened = object_store::parse_url_opts(url, options.iter().map(|(name, value)| (name, value.as_str())));
        let (store, root) = opened.map_err(|source| store_error("its URL", source))?;
        let root = root.join(identity.reconciliation.as_str());
        Ok(Checkpoints { store: Arc::from(store), root, runtime, identity: Arc::new(identity), keep })
    }

    /// The checkpoints of a partition, the one that goes furthest first.
    pub fn list(&self, partition: i32) -> Result<Vec<Listed>, CheckpointError> {
        let listed = self.listed(&self.folder(partition, CHECKPOINTS))?;
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
        let mut known: BTreeSet<String> = self.files(partition)?.into_iter().map(|(name, _)| name).collect();
        let mut uploaded = Uploaded::default();
        let mut files = Vec::new();
        for path in paths(folder)? {
            let (sha256, bytes) = digest(&path, stop)?;
            if known.insert(sha256.clone()) {
                self.put_file(&path, &self.folder(partition, FILES).join(sha256.as_str()), stop)?;
                uploaded.new_files += 1;
                uploaded.new_bytes += bytes;
            }
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            files.push(File { name, bytes, sha256 });
        }
        uploaded.files = files.len();
        let manifest = Manifest::new(&self.identity, partition, about, files);
        let (name, text) = manifest.encode();
        let key = self.folder(partition, CHECKPOINTS).join(name.as_str());
        self.wait(self.store.put(&key, text.into())).map_err(|source| store_error(&key, source))?;
        self.collect(partition)?;
        Ok(uploaded)
    }

    /// Puts the furthest checkpoint that is fit, and that goes further than `beyond`, into a folder, which it replaces.
    /// Each that is not fit is said to `refused`; the next older one is taken then.
    pub fn restore(
        &self,
        partition: i32,
        beyond: i64,
        folder: &Path,
        stop: &AtomicBool,
        mut refused: impl FnMut(&CheckpointError),
    ) -> Result<Option<Manifest>, CheckpointError> {
        let candidates = self.list(partition)?;
        for listed in candidates.iter().take_while(|listed| listed.next_offset > beyond) {
            let lease = self.folder(partition, RESTORING).join(listed.name.as_str());
            self.wait(self.store.put(&lease, Vec::new().into())).map_err(|source| store_error(&lease, source))?;
            let fetched = self.fetch(partition, listed, folder, stop);
            // Where it cannot be given back it is forgotten after a while.
            let _ = self.wait(self.store.delete(&lease));
            match fetched {
                Ok(manifest) => return Ok(Some(manifest)),
                Err(error @ CheckpointError::Unfit { .. }) => refused(&error),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Reads a checkpoint whole, every byte of it, and keeps nothing.
    pub fn verify(&self, partition: i32, listed: &Listed, stop: &AtomicBool) -> Result<Manifest, CheckpointError> {
        let manifest = self.manifest(partition, listed)?;
        for file in &manifest.files {
            self.get_file(partition, listed, file, &mut std::io::sink(), stop)?;
        }
        Ok(manifest)
    }

    /// Removes a checkpoint. Its files go with the next collection.
    pub fn drop(&self, partition: i32, listed: &Listed) -> Result<(), CheckpointError> {
        let key = self.folder(partition, CHECKPOINTS).join(listed.name.as_str());
        self.wait(self.store.delete(&key)).map_err(|source| store_error(&key, source))
    }

    fn fetch(
        &self,
        partition: i32,
        listed: &Listed,
        folder: &Path,
        stop: &AtomicBool,
    ) -> Result<Manifest, CheckpointError> {
        let manifest = self.manifest(partition, listed)?;
        let [fresh, stale] = ["fresh", "stale"].map(|word| beside(folder, word));
        clear(&fresh)?;
        clear(&stale)?;
        std::fs::create_dir_all(&fresh).map_err(|source| disk_error(&fresh, source))?;
        for file in &manifest.files {
            let path = fresh.join(&file.name);
            let created = std::fs::File::create(&path);
            let mut out = created.map_err(|source| disk_error(&path, source))?;
            self.get_file(partition, listed, file, &mut out, stop)?;
            out.sync_all().map_err(|source| disk_error(&path, source))?;
        }
        // A process that is killed in between finds no state and restores again.
        if folder.exists() {
            std::fs::rename(folder, &stale).map_err(|source| disk_error(folder, source))?;
        }
        std::fs::rename(&fresh, folder).map_err(|source| disk_error(&fresh, source))?;
        clear(&stale)?;
        Ok(manifest)
    }

    fn manifest(&self, partition: i32, listed: &Listed) -> Result<Manifest, CheckpointError> {
        let key = self.folder(partition, CHECKPOINTS).join(listed.name.as_str());
        let bytes = self.wait(async { self.store.get(&key).await?.bytes().await });
        let unfit = |why| CheckpointError::Unfit { name: listed.name.clone(), why };
        let bytes = match bytes {
            Err(StoreError::NotFound { .. }) => return Err(unfit(Unfit::Gone { file: listed.name.clone() })),
            bytes => bytes.map_err(|source| store_error(&key, source))?,
        };
        let manifest = Manifest::decode(&listed.name, &bytes).map_err(unfit)?;
        manifest.must_be(&self.identity, partition, listed.next_offset).map_err(unfit)?;
        Ok(manifest)
    }

    fn put_file(&self, path: &Path, key: &Key, stop: &AtomicBool) -> Result<(), CheckpointError> {
        let mut file = std::fs::File::open(path).map_err(|source| disk_error(path, source))?;
        let mut writer = BufWriter::new(Arc::clone(&self.store), key.clone());
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = (&mut file).take(PIECE as u64).read_to_end(&mut piece);
            if read.map_err(|source| disk_error(path, source))? == 0 {
                break;
            }
            if stop.load(Ordering::Relaxed) {
                let _ = self.wait(writer.abort());
                return Err(CheckpointError::Stopped);
            }
            self.wait(writer.put(piece.into())).map_err(|source| store_error(key, source))?;
        }
        let ended = self.wait(tokio::io::AsyncWriteExt::shutdown(&mut writer));
        ended.map_err(|source| store_error(key, StoreError::Generic { store: "upload", source: source.into() }))
    }

    fn get_file(
        &self,
        partition: i32,
        listed: &Listed,
        file: &File,
        out: &mut dyn Write,
        stop: &AtomicBool,
    ) -> Result<(), CheckpointError> {
        let key = self.folder(partition, FILES).join(file.sha256.as_str());
        let unfit = |why| CheckpointError::Unfit { name: listed.name.clone(), why };
        let got = match self.wait(self.store.get(&key)) {
            Err(StoreError::NotFound { .. }) => return Err(unfit(Unfit::Gone { file: file.name.clone() })),
            got => got.map_err(|source| store_error(&key, source))?,
        };
        let mut stream = got.into_stream();
        let (mut sha256, mut bytes) = (Sha256::new(), 0);
        while let Some(piece) = self.wait(futures_util::StreamExt::next(&mut stream)) {
            if stop.load(Ordering::Relaxed) {
                return Err(CheckpointError::Stopped);
            }
            let piece = piece.map_err(|source| store_error(&key, source))?;
            sha256.update(&piece);
            bytes += piece.len() as u64;
            out.write_all(&piece).map_err(|source| disk_error(Path::new(&file.name), source))?;
        }
        match bytes == file.bytes && hex(&sha256.finalize()) == file.sha256 {
            true => Ok(()),
            false => Err(unfit(Unfit::Damaged { file: file.name.clone() })),
        }
    }

    /// Removes checkpoints beyond those that are kept, and files that none names any more.
    fn collect(&self, partition: i32) -> Result<(), CheckpointError> {
        let checkpoints = self.list(partition)?;
        let leases = self.listed(&self.folder(partition, RESTORING))?;
        let is_leased = |listed: &Listed| {
            leases.iter().any(|lease| lease.location.filename() == Some(&listed.name) && is_young(lease))
        };
        let (kept, old): (Vec<_>, Vec<_>) =
            checkpoints.iter().enumerate().partition(|(number, listed)| *number < self.keep || is_leased(listed));
        let mut named = BTreeSet::new();
        for (_, listed) in kept {
            match self.manifest(partition, listed) {
                Ok(manifest) => named.extend(manifest.files.into_iter().map(|file| file.sha256)),
                // What it names is not known, so nothing is collected.
                Err(error) => return Err(error),
            }
        }
        for (_, listed) in old {
            self.drop(partition, listed)?;
        }
        for (name, meta) in self.files(partition)? {
            if !named.contains(&name) && !is_young(&meta) {
                self.wait(self.store.delete(&meta.location)).map_err(|source| store_error(&meta.location, source))?;
            }
        }
        Ok(())
    }

    fn files(&self, partition: i32) -> Result<Vec<(String, ObjectMeta)>, CheckpointError> {
        let listed = self.listed(&self.folder(partition, FILES))?.into_iter();
        Ok(listed.filter_map(|meta| Some((meta.location.filename()?.to_owned(), meta))).collect())
    }

    fn listed(&self, folder: &Key) -> Result<Vec<ObjectMeta>, CheckpointError> {
        let listed = self.wait(futures_util::TryStreamExt::try_collect(self.store.list(Some(folder))));
        listed.map_err(|source| store_error(folder, source))
    }

    fn folder(&self, partition: i32, kind: &str) -> Key {
        self.root.clone().join(partition.to_string()).join(kind)
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
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

fn is_young(meta: &ObjectMeta) -> bool {
    SystemTime::from(meta.last_modified).elapsed().is_ok_and(|age| age < PATIENCE)
}

fn beside(folder: &Path, word: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{word}"));
    folder.with_file_name(name)
}

fn clear(folder: &Path) -> Result<(), CheckpointError> {
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
    let mut file = std::fs::File::open(path).map_err(|source| disk_error(path, source))?;
    let (mut sha256, mut bytes, mut piece) = (Sha256::new(), 0, vec![0; PIECE]);
    loop {
        let read = file.read(&mut piece).map_err(|source| disk_error(path, source))?;
        if read == 0 {
            return Ok((hex(&sha256.finalize()), bytes));
        }
        if stop.load(Ordering::Relaxed) {
            return Err(CheckpointError::Stopped);
        }
        sha256.update(&piece[..read]);
        bytes += read as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn store_error(what: impl ToString, source: StoreError) -> CheckpointError {
    CheckpointError::Store { what: what.to_string(), source }
}

fn disk_error(path: &Path, source: std::io::Error) -> CheckpointError {
    CheckpointError::Disk { path: path.to_owned(), source }
}
