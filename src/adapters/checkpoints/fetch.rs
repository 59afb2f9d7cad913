//! The way back: the furthest checkpoint that is whole, fits and can be opened, put beside the state that it replaces.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use object_store::path::Path as Key;

use super::home::{DiskError, Home, disk_error, sync};
use super::manifest::{File, Manifest, Unfit};
use super::{CHECKPOINTS, CheckpointError, Checkpoints, Listed, RESTORING};

/// A state that is whole and can be opened. It has not taken its place yet.
#[must_use]
pub struct Fetched {
    home: Arc<Home>,
    manifest: Manifest,
}

impl Fetched {
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Leaves everything as it was.
    pub fn discard(self) -> Result<(), DiskError> {
        self.home.clear_fresh()
    }

    /// Puts it in the place of the state that is there, which must be closed.
    pub fn install(self) -> Result<Manifest, DiskError> {
        self.home.install()?;
        Ok(self.manifest)
    }
}

/// What was not taken, the furthest first: where it goes on, and why. What could not even be listed may go anywhere.
#[derive(Debug, Default)]
pub struct Refused(pub(super) Vec<(i64, CheckpointError)>);

impl Refused {
    /// Why a state that goes on at `offset` or later cannot be had now, where it may be later: with another evenkeel, or
    /// when a store answers again. `None` where nothing is to be hoped for.
    pub fn hope(self, offset: i64) -> Option<CheckpointError> {
        let is_lost = |error: &CheckpointError| match error {
            CheckpointError::Unfit { why, .. } => !matches!(why, Unfit::Newer { .. } | Unfit::Unopened { .. }),
            CheckpointError::Store { .. } | CheckpointError::Silent { .. } | CheckpointError::Disk(_) => false,
            CheckpointError::Stopped => true,
        };
        let mut hopes = self.0.into_iter().filter(|(next_offset, error)| *next_offset >= offset && !is_lost(error));
        hopes.next().map(|(_, error)| error)
    }

    /// Each, as text.
    pub fn reasons(&self) -> Vec<String> {
        self.0.iter().map(|(_, error)| error.to_string()).collect()
    }

    fn add(&mut self, partition: i32, next_offset: i64, error: CheckpointError) {
        if !matches!(error, CheckpointError::Stopped) {
            tracing::warn!(partition, %error, "a checkpoint is refused");
        }
        self.0.push((next_offset, error));
    }
}

/// While it is there, nobody collects what its checkpoint names.
struct Lease<'c> {
    checkpoints: &'c Checkpoints,
    key: Key,
    renewed: SystemTime,
}

impl<'c> Lease<'c> {
    fn take(
        checkpoints: &'c Checkpoints,
        partition: i32,
        name: &str,
        stop: &AtomicBool,
    ) -> Result<Lease<'c>, CheckpointError> {
        let leases = checkpoints.folder(partition, RESTORING).join(name);
        let key = leases.join(uuid::Uuid::new_v4().to_string());
        let lease = Lease { checkpoints, key, renewed: SystemTime::now() };
        lease.put(stop)?;
        Ok(lease)
    }

    /// Long before it is forgotten; whoever asks often writes seldom.
    fn renew(&mut self, stop: &AtomicBool) -> Result<(), CheckpointError> {
        let renew_after = self.checkpoints.patience / 4;
        if self.renewed.elapsed().is_ok_and(|age| age < renew_after) {
            return Ok(());
        }
        self.renewed = SystemTime::now();
        self.put(stop)
    }

    fn put(&self, stop: &AtomicBool) -> Result<(), CheckpointError> {
        self.checkpoints.store.put(&self.key, Vec::new(), stop)
    }

    /// Where it cannot be given back it is forgotten after a while.
    fn give_back(self, stop: &AtomicBool) {
        let _ = self.checkpoints.store.delete(&self.key, stop);
    }
}

impl Checkpoints {
    /// Looks for the furthest checkpoint that goes beyond an offset, is whole, fits, and can be opened: `opens` does it, and
    /// says where the state goes on. Whatever is wrong with one, the next older is tried. Nothing of the state that is
    /// there is touched.
    pub fn fetch<E: Display>(
        &self,
        partition: i32,
        beyond: i64,
        home: &Arc<Home>,
        stop: &AtomicBool,
        opens: impl FnMut(&Path) -> Result<i64, E>,
    ) -> (Option<Fetched>, Refused) {
        let choose = |mut listed: Vec<Listed>| {
            listed.retain(|listed| listed.next_offset > beyond);
            listed
        };
        self.fetch_first(partition, choose, home, stop, opens)
    }

    /// As [`Checkpoints::fetch`], but looks for the earliest checkpoint that goes on at an offset or behind it.
    pub fn fetch_earliest<E: Display>(
        &self,
        partition: i32,
        from: i64,
        home: &Arc<Home>,
        stop: &AtomicBool,
        opens: impl FnMut(&Path) -> Result<i64, E>,
    ) -> (Option<Fetched>, Refused) {
        let choose = |mut listed: Vec<Listed>| {
            listed.retain(|listed| listed.next_offset >= from);
            listed.reverse();
            listed
        };
        self.fetch_first(partition, choose, home, stop, opens)
    }

    /// Fetches the first of those chosen that can be had.
    fn fetch_first<E: Display>(
        &self,
        partition: i32,
        choose: impl FnOnce(Vec<Listed>) -> Vec<Listed>,
        home: &Arc<Home>,
        stop: &AtomicBool,
        mut opens: impl FnMut(&Path) -> Result<i64, E>,
    ) -> (Option<Fetched>, Refused) {
        let mut refused = Refused::default();
        let listed = match self.list(partition, stop) {
            Ok(listed) => listed,
            Err(error) => {
                refused.add(partition, i64::MAX, error);
                return (None, refused);
            }
        };
        let mut unopened = home.refused();
        unopened.retain(|name, _| listed.iter().any(|listed| listed.name == *name));
        for listed in choose(listed) {
            let fetched = self.fetch_one(partition, &listed, home, &unopened, &mut opens, stop);
            let error = match fetched {
                Ok(manifest) => return (Some(Fetched { home: Arc::clone(home), manifest }), refused),
                Err(error) => error,
            };
            if let CheckpointError::Unfit { why: Unfit::Unopened { why, .. }, .. } = &error {
                unopened.insert(listed.name.clone(), why.clone());
                if let Err(error) = home.refuse(unopened.clone()) {
                    tracing::warn!(partition, %error, "it is not remembered that a checkpoint cannot be opened");
                }
            }
            let is_hopeless = matches!(error, CheckpointError::Disk(_) | CheckpointError::Stopped);
            refused.add(partition, listed.next_offset, error);
            if is_hopeless {
                break;
            }
        }
        (None, refused)
    }

    /// Fetches this one and no other, wherever it goes on, also where it could not be opened here before.
    pub fn fetch_this<E: Display>(
        &self,
        partition: i32,
        listed: &Listed,
        home: &Arc<Home>,
        stop: &AtomicBool,
        mut opens: impl FnMut(&Path) -> Result<i64, E>,
    ) -> Result<Fetched, CheckpointError> {
        let manifest = self.fetch_one(partition, listed, home, &BTreeMap::new(), &mut opens, stop)?;
        Ok(Fetched { home: Arc::clone(home), manifest })
    }

    fn fetch_one<E: Display>(
        &self,
        partition: i32,
        listed: &Listed,
        home: &Home,
        unopened: &BTreeMap<String, String>,
        opens: &mut impl FnMut(&Path) -> Result<i64, E>,
        stop: &AtomicBool,
    ) -> Result<Manifest, CheckpointError> {
        let cannot_be_opened = |why: String| {
            let remembered = home.refused_path();
            CheckpointError::Unfit { name: listed.name.clone(), why: Unfit::Unopened { why, remembered } }
        };
        if let Some(why) = unopened.get(&listed.name) {
            return Err(cannot_be_opened(why.clone()));
        }
        let mut lease = Lease::take(self, partition, &listed.name, stop)?;
        let fetched = self.fetch_files(partition, listed, home, &mut lease, stop);
        lease.give_back(stop);
        let opened = fetched.and_then(|manifest| match opens(&home.fresh()) {
            Ok(next_offset) if next_offset == manifest.next_offset => Ok(manifest),
            Ok(next_offset) => Err(cannot_be_opened(format!("it goes on at offset {next_offset}"))),
            Err(error) => Err(cannot_be_opened(error.to_string())),
        });
        if opened.is_err() {
            home.clear_fresh()?;
        }
        opened
    }

    fn fetch_files(
        &self,
        partition: i32,
        listed: &Listed,
        home: &Home,
        lease: &mut Lease<'_>,
        stop: &AtomicBool,
    ) -> Result<Manifest, CheckpointError> {
        let manifest = self.manifest(partition, listed, stop)?;
        manifest.must_be_known(self.state_version).map_err(|why| listed.unfit(why))?;
        self.must_be_there(partition, listed, &manifest, stop)?;
        home.clear_fresh()?;
        let fresh = home.fresh();
        std::fs::create_dir_all(&fresh).map_err(|source| disk_error(&fresh, source))?;
        for file in &manifest.files {
            self.fetch_file(partition, listed, file, &fresh, lease, stop)?;
        }
        sync(&fresh)?;
        Ok(manifest)
    }

    /// A file that is not there would be missed only after those before it were read.
    fn must_be_there(
        &self,
        partition: i32,
        listed: &Listed,
        manifest: &Manifest,
        stop: &AtomicBool,
    ) -> Result<(), CheckpointError> {
        let there = self.files(partition, stop)?;
        let sizes: BTreeMap<&str, u64> = there.iter().map(|(name, meta)| (name.as_str(), meta.size)).collect();
        for file in &manifest.files {
            match sizes.get(file.sha256.as_str()) {
                Some(size) if *size == file.bytes => {}
                Some(_) => return Err(listed.unfit(Unfit::Damaged { file: file.name.clone() })),
                None => return Err(listed.unfit(Unfit::Gone { file: file.name.clone() })),
            }
        }
        Ok(())
    }

    fn fetch_file(
        &self,
        partition: i32,
        listed: &Listed,
        file: &File,
        folder: &Path,
        lease: &mut Lease<'_>,
        stop: &AtomicBool,
    ) -> Result<(), CheckpointError> {
        let path = folder.join(&file.name);
        let mut out = std::fs::File::create(&path).map_err(|source| disk_error(&path, source))?;
        let take = |piece: &[u8]| {
            out.write_all(piece).map_err(|source| disk_error(&path, source))?;
            lease.renew(stop)
        };
        let read = self.read_file(partition, listed, file, take, stop);
        if let Err(CheckpointError::Unfit { why: Unfit::Damaged { .. }, .. }) = &read {
            self.forget(partition, file, stop);
        }
        read?;
        Ok(out.sync_all().map_err(|source| disk_error(&path, source))?)
    }

    /// Removes a file that is not what its name says, so that whoever has it still writes it again.
    fn forget(&self, partition: i32, file: &File, stop: &AtomicBool) {
        if let Err(error) = self.store.delete(&self.file(partition, file), stop) {
            tracing::warn!(partition, %error, "a damaged file of a checkpoint stays");
        }
    }

    /// Reads a checkpoint whole, every byte of it, and keeps nothing.
    pub fn verify(&self, partition: i32, listed: &Listed, stop: &AtomicBool) -> Result<Manifest, CheckpointError> {
        let manifest = self.manifest(partition, listed, stop)?;
        manifest.must_be_known(self.state_version).map_err(|why| listed.unfit(why))?;
        for file in &manifest.files {
            self.read_file(partition, listed, file, |_| Ok(()), stop)?;
        }
        Ok(manifest)
    }

    /// What a checkpoint is made of, as its manifest says.
    pub fn manifest(&self, partition: i32, listed: &Listed, stop: &AtomicBool) -> Result<Manifest, CheckpointError> {
        let text = self.store.get(&self.folder(partition, CHECKPOINTS).join(listed.name.as_str()), stop)?;
        let text = text.ok_or_else(|| listed.unfit(Unfit::Gone { file: listed.name.clone() }))?;
        let manifest = Manifest::decode(&listed.name, &text).map_err(|why| listed.unfit(why))?;
        let fits = manifest.must_be(&self.identity, partition, listed.next_offset);
        fits.map_err(|why| listed.unfit(why))?;
        Ok(manifest)
    }

    fn read_file(
        &self,
        partition: i32,
        listed: &Listed,
        file: &File,
        take: impl FnMut(&[u8]) -> Result<(), CheckpointError>,
        stop: &AtomicBool,
    ) -> Result<(), CheckpointError> {
        match self.store.get_file(&self.file(partition, file), file.bytes, take, stop)? {
            Some((bytes, sha256)) if bytes == file.bytes && sha256 == file.sha256 => Ok(()),
            Some(_) => Err(listed.unfit(Unfit::Damaged { file: file.name.clone() })),
            None => Err(listed.unfit(Unfit::Gone { file: file.name.clone() })),
        }
    }
}
