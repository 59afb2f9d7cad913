//! What the files of a state are: their names, sizes and SHA-256. What was read before is not read again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use super::home::disk_error;
use super::{CheckpointError, File, hex};

/// How much of a file is in memory at once.
pub(super) const PIECE: usize = 1 << 20;

/// By what a file is known again. Where a name does not come back to another file, neither does this.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Stamp {
    name: OsString,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

/// The SHA-256 of the tables of one RocksDB, which are written once and never renamed. A large state has many, and few are new.
#[derive(Default)]
pub struct Digests(BTreeMap<Stamp, String>);

impl Digests {
    /// The files of a folder, by name. Forgets what is not there any more.
    pub(super) fn files(
        &mut self,
        folder: &Path,
        stop: &AtomicBool,
    ) -> Result<Vec<(PathBuf, File)>, CheckpointError> {
        let mut seen = BTreeSet::new();
        let mut files = Vec::new();
        for path in paths(folder)? {
            let stamp = stamp(&path)?;
            let name = stamp.name.to_string_lossy().into_owned();
            let (sha256, bytes) = match self.0.get(&stamp) {
                Some(sha256) => (sha256.clone(), stamp.bytes),
                None => digest(&path, stop)?,
            };
            if path.extension().is_some_and(|extension| extension == "sst") {
                self.0.insert(stamp.clone(), sha256.clone());
                seen.insert(stamp);
            }
            files.push((path, File { name, bytes, sha256 }));
        }
        self.0.retain(|stamp, _| seen.contains(stamp));
        Ok(files)
    }
}

fn stamp(path: &Path) -> Result<Stamp, CheckpointError> {
    let metadata = std::fs::metadata(path).map_err(|source| disk_error(path, source))?;
    Ok(Stamp {
        name: path.file_name().unwrap_or_default().to_owned(),
        inode: metadata.ino(),
        bytes: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

/// The files of a folder, by name.
pub(super) fn paths(folder: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
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
pub(super) fn pieces(
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
