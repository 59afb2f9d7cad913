//! An object store as a thread uses it: each question waits, though not for ever, and not once it was told to stop.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Moment};

use futures_util::{StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::digests::{PIECE, pieces};
use super::{CheckpointError, hex};

/// How long one question may take. The store's client tries again by itself in the meantime.
const WITHIN: Duration = Duration::from_secs(60);

/// How often a question that waits looks whether it was told to stop.
const TICK: Duration = Duration::from_millis(100);

/// Of a large file so many parts are on their way at once, each of so many bytes.
const PARTS: usize = 2;
const PART: usize = 5 << 20;

/// A store, and where in it everything is.
#[derive(Clone)]
pub struct Store {
    store: Arc<dyn ObjectStore>,
    pub(super) root: Key,
    runtime: Handle,
}

impl Store {
    /// The store that a URL names. `options` are those of the `object_store` crate for its scheme. Connects to nothing yet.
    pub fn open(
        url: &url::Url,
        options: &BTreeMap<String, String>,
        runtime: Handle,
    ) -> Result<Store, CheckpointError> {
        let (store, root) = parsed(url, options).map_err(|source| store_error("its URL", source))?;
        let store: Arc<dyn ObjectStore> = match url.scheme() {
            "file" => Arc::new(LocalFileSystem::new().with_fsync(true)),
            _ => Arc::from(store),
        };
        Ok(Store { store, root, runtime })
    }

    /// A store that is there already.
    #[cfg(test)]
    pub(super) fn of(store: Arc<dyn ObjectStore>, runtime: Handle) -> Store {
        Store { store, root: Key::default(), runtime }
    }

    pub(super) fn list(&self, folder: &Key, stop: &AtomicBool) -> Result<Vec<ObjectMeta>, CheckpointError> {
        self.wait(folder, stop, self.store.list(Some(folder)).try_collect())
    }

    pub(super) fn put(&self, key: &Key, content: Vec<u8>, stop: &AtomicBool) -> Result<(), CheckpointError> {
        self.wait(key, stop, self.store.put(key, content.into())).map(drop)
    }

    /// What an object holds; `None` where there is none.
    pub(super) fn get(&self, key: &Key, stop: &AtomicBool) -> Result<Option<Vec<u8>>, CheckpointError> {
        self.wait(key, stop, async {
            match self.store.get(key).await {
                Err(StoreError::NotFound { .. }) => Ok(None),
                got => got?.bytes().await.map(|bytes| Some(bytes.to_vec())),
            }
        })
    }

    /// Removes an object, if it is there.
    pub(super) fn delete(&self, key: &Key, stop: &AtomicBool) -> Result<(), CheckpointError> {
        self.wait(key, stop, async {
            match self.store.delete(key).await {
                Err(StoreError::NotFound { .. }) => Ok(()),
                deleted => deleted,
            }
        })
    }

    pub(super) fn put_file(&self, path: &Path, key: &Key, stop: &AtomicBool) -> Result<(), CheckpointError> {
        let mut writer =
            BufWriter::with_capacity(Arc::clone(&self.store), key.clone(), PART).with_max_concurrency(PARTS);
        let put = pieces(path, stop, |piece| self.wait(key, stop, writer.put(piece.to_vec().into())));
        if let Err(error) = put {
            // What is half there is nothing; a store that does not answer forgets it by itself.
            let _ = self.wait(key, &AtomicBool::new(true), writer.abort());
            return Err(error);
        }
        self.wait(key, stop, async {
            let ended = tokio::io::AsyncWriteExt::shutdown(&mut writer).await;
            ended.map_err(|source| StoreError::Generic { store: "upload", source: source.into() })
        })
    }

    /// Gives an object of at most `most` bytes piece by piece, then its size and SHA-256; `None` where there is none. A
    /// larger one is cut behind the limit.
    pub(super) fn get_file(
        &self,
        key: &Key,
        most: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), CheckpointError>,
        stop: &AtomicBool,
    ) -> Result<Option<(u64, String)>, CheckpointError> {
        let got = self.wait(key, stop, async {
            match self.store.get(key).await {
                Err(StoreError::NotFound { .. }) => Ok(None),
                got => got.map(Some),
            }
        })?;
        let Some(got) = got else { return Ok(None) };
        let mut stream = got.into_stream();
        let (mut sha256, mut bytes) = (Sha256::new(), 0);
        while let Some(piece) = self.wait(key, stop, async { stream.next().await.transpose() })? {
            // A store that answers at once never waits.
            if stop.load(Ordering::Relaxed) {
                return Err(CheckpointError::Stopped);
            }
            sha256.update(&piece);
            bytes += piece.len() as u64;
            take(&piece)?;
            // An object that shrinks while it is read gives empty pieces for ever.
            if bytes > most || piece.is_empty() {
                break;
            }
        }
        Ok(Some((bytes, hex(&sha256.finalize()))))
    }

    fn wait<T>(
        &self,
        what: &Key,
        stop: &AtomicBool,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, CheckpointError> {
        let began = Moment::now();
        self.runtime.block_on(async {
            tokio::pin!(work);
            loop {
                match tokio::time::timeout(TICK, &mut work).await {
                    Ok(result) => return result.map_err(|source| store_error(what, source)),
                    Err(_) if stop.load(Ordering::Relaxed) => return Err(CheckpointError::Stopped),
                    Err(_) if began.elapsed() >= WITHIN => {
                        return Err(CheckpointError::Silent { what: what.to_string() });
                    }
                    Err(_) => {}
                }
            }
        })
    }
}

fn parsed(url: &url::Url, options: &BTreeMap<String, String>) -> Result<(Box<dyn ObjectStore>, Key), StoreError> {
    object_store::parse_url_opts(url, options.iter().map(|(name, value)| (name, value.as_str())))
}

/// Why a URL and its options cannot be a store; `None` where they can. Connects to nothing.
pub fn refused_store(url: &url::Url, options: &BTreeMap<String, String>) -> Option<String> {
    Some(parsed(url, options).err()?.to_string())
}

fn store_error(what: impl ToString, source: StoreError) -> CheckpointError {
    CheckpointError::Store { what: what.to_string(), source }
}

const _: () = assert!(PIECE <= PART);
