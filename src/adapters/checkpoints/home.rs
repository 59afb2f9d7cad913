//! The home of a partition's state on this disk: its folder, and what lies beside it.
//!
//! Must not know: object stores, what a state means. Beside the folder `<partition>` lie:
//!
//! * `<partition>.lock`: locked by whoever works on the partition, for as long as it does;
//! * `<partition>.fresh`: a state that was fetched and has not taken its place yet;
//! * `<partition>.stale`: the state that was there before, while a fresh one takes its place;
//! * `<partition>.dropped`: a state that is being removed;
//! * `<partition>.checkpoint`: the state as it is copied;
//! * `<partition>.refused`: checkpoints that cannot be opened here, and why.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What the operating system said of a file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct DiskError {
    pub path: PathBuf,
    pub source: std::io::Error,
}

/// Why a partition cannot be worked on here.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error(
        "the state in {} is worked on by another process; end it, or give each process a state.dir of its own",
        folder.display()
    )]
    Taken { folder: PathBuf },
    #[error("the state folder cannot be made ready: {0}")]
    Disk(#[from] DiskError),
}

/// Nobody else works on the state as long as this value lives.
pub struct Home {
    folder: PathBuf,
    /// Not in the folder, which is replaced as a whole. It goes with the process, however that ends.
    _lock: File,
}

/// Nobody works on a state that is read as long as this value lives. A copy has no lock that somebody could take.
pub struct Guard {
    _lock: Option<File>,
}

/// What `<partition>.refused` holds. Another evenkeel may be able to open what this one cannot.
#[derive(Default, Serialize, Deserialize)]
struct Remembered {
    evenkeel: String,
    /// By the manifest's name, why.
    refused: BTreeMap<String, String>,
}

impl Home {
    /// Makes the folder ready where it is missing, and clears up after a process that was killed.
    pub fn lock(folder: &Path) -> Result<Home, HomeError> {
        let parent = folder.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(|source| disk_error(parent, source))?;
        let path = beside(folder, "lock");
        let lock = File::create(&path).map_err(|source| disk_error(&path, source))?;
        if !take(&lock).map_err(|source| disk_error(&path, source))? {
            return Err(HomeError::Taken { folder: folder.to_owned() });
        }
        let home = Home { folder: folder.to_owned(), _lock: lock };
        home.recover()?;
        Ok(home)
    }

    /// Whether a process works on the state in a folder. Makes nothing, and is in nobody's way.
    pub fn is_held(folder: &Path) -> Result<bool, DiskError> {
        let path = beside(folder, "lock");
        let lock = match File::open(&path) {
            Err(source) if source.kind() == ErrorKind::NotFound => return Ok(false),
            lock => lock.map_err(|source| disk_error(&path, source))?,
        };
        match lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Ok(true),
            locked => locked.map(|()| false).map_err(|error| disk_error(&path, error.into())),
        }
    }

    /// Where the state of a folder lies at this moment; `None` where there is none. It lies beside the folder where a
    /// process was killed while a fresh one took its place, until somebody locks it.
    pub fn find(folder: &Path) -> Option<PathBuf> {
        [folder.to_owned(), beside(folder, "stale")].into_iter().find(|folder| folder.exists())
    }

    /// Keeps others from the state in a folder while it is read: nothing is made ready or cleared. `None` while a process
    /// works on it.
    pub fn guard(folder: &Path) -> Option<Guard> {
        let lock = File::open(beside(folder, "lock")).ok();
        let is_taken = lock.as_ref().is_some_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
        (!is_taken).then_some(Guard { _lock: lock })
    }

    /// Where the state is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the state is held fast while it is copied: beside it, so that files can be linked.
    pub fn checkpoint(&self) -> PathBuf {
        beside(&self.folder, "checkpoint")
    }

    pub fn clear_checkpoint(&self) -> Result<(), DiskError> {
        clear(&self.checkpoint())
    }

    /// Where a state is put together that is to take this one's place.
    pub(super) fn fresh(&self) -> PathBuf {
        beside(&self.folder, "fresh")
    }

    pub(super) fn clear_fresh(&self) -> Result<(), DiskError> {
        clear(&self.fresh())
    }

    /// Puts the fresh state in this one's place. A process that is killed on the way finds the one or the other again.
    pub(super) fn install(&self) -> Result<(), DiskError> {
        let stale = self.stale();
        clear(&stale)?;
        rename(&self.folder, &stale)?;
        rename(&self.fresh(), &self.folder)?;
        sync(self.folder.parent().unwrap_or(&self.folder))?;
        clear(&stale)
    }

    /// Removes the state, which must be closed. A process that is killed on the way leaves all of it or nothing.
    pub fn drop_state(&self) -> Result<(), DiskError> {
        let dropped = self.dropped();
        clear(&dropped)?;
        rename(&self.folder, &dropped)?;
        sync(self.folder.parent().unwrap_or(&self.folder))?;
        clear(&dropped)
    }

    /// Checkpoints that this evenkeel cannot open here: the manifest's name, and why.
    pub(super) fn refused(&self) -> BTreeMap<String, String> {
        let text = std::fs::read(self.refused_path()).unwrap_or_default();
        // Nothing is lost with what cannot be read: it is tried again.
        let remembered: Remembered = serde_json::from_slice(&text).unwrap_or_default();
        if remembered.evenkeel == env!("CARGO_PKG_VERSION") { remembered.refused } else { BTreeMap::new() }
    }

    /// Remembers them, so that a restart does not fetch them again.
    pub(super) fn refuse(&self, refused: BTreeMap<String, String>) -> Result<(), DiskError> {
        let remembered = Remembered { evenkeel: env!("CARGO_PKG_VERSION").to_owned(), refused };
        let text = serde_json::to_vec_pretty(&remembered).expect("names and reasons are JSON");
        let path = self.refused_path();
        std::fs::write(&path, text).map_err(|source| disk_error(&path, source))
    }

    pub(super) fn refused_path(&self) -> PathBuf {
        beside(&self.folder, "refused")
    }

    fn stale(&self) -> PathBuf {
        beside(&self.folder, "stale")
    }

    fn dropped(&self) -> PathBuf {
        beside(&self.folder, "dropped")
    }

    fn recover(&self) -> Result<(), DiskError> {
        self.clear_fresh()?;
        clear(&self.dropped())?;
        self.clear_checkpoint()?;
        if !self.folder.exists() && self.stale().exists() {
            return rename(&self.stale(), &self.folder);
        }
        clear(&self.stale())?;
        std::fs::create_dir_all(&self.folder).map_err(|source| disk_error(&self.folder, source))
    }
}

/// How often a lock is asked for that somebody only looks at.
const LOOKS: usize = 10_000;

/// Takes a lock for itself; false where somebody else has it. Whoever works on a state shares its lock with nobody; whoever
/// only looks shares it, for a moment.
fn take(lock: &File) -> std::io::Result<bool> {
    for _ in 0..LOOKS {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {}
            locked => return Ok(locked.map(|()| true)?),
        }
        match lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => return Ok(false),
            locked => locked?,
        }
        lock.unlock()?;
        std::thread::yield_now();
    }
    Ok(false)
}

/// What the files of a folder take on the disk, bytes; those left out that go meanwhile.
pub fn bytes_in(folder: &Path) -> Result<u64, DiskError> {
    let entries = std::fs::read_dir(folder).map_err(|source| disk_error(folder, source))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
    Ok(files.sum())
}

fn beside(folder: &Path, word: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{word}"));
    folder.with_file_name(name)
}

fn rename(from: &Path, to: &Path) -> Result<(), DiskError> {
    std::fs::rename(from, to).map_err(|source| disk_error(from, source))
}

/// Removes a folder and what is in it, if it is there.
pub(super) fn clear(folder: &Path) -> Result<(), DiskError> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(disk_error(folder, source)),
        _ => Ok(()),
    }
}

/// Has the names in a folder survive a power cut.
pub(super) fn sync(folder: &Path) -> Result<(), DiskError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| disk_error(folder, source))
}

pub(super) fn disk_error(path: &Path, source: std::io::Error) -> DiskError {
    DiskError { path: path.to_owned(), source }
}
