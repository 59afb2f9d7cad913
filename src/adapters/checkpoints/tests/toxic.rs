//! An object store that asks what is to become of each request, and whose objects are as old as the test says.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display, Formatter};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What the store holds, and how old it is.
#[derive(Default)]
pub struct Shelf {
    objects: InMemory,
    /// The time, and when each object was written.
    clock: Mutex<(Duration, BTreeMap<Key, Duration>)>,
}

impl Shelf {
    pub fn pass(&self, time: Duration) {
        self.clock.lock().expect("nobody panics with it").0 += time;
    }

    /// What there is, in order.
    pub fn keys(&self) -> Vec<Key> {
        let all = self.objects.list(None).map_ok(|meta| meta.location).try_collect::<Vec<_>>();
        let mut keys = all.now_or_never().expect("memory answers at once").expect("it works");
        keys.sort();
        keys
    }

    pub fn read(&self, key: &Key) -> Option<Vec<u8>> {
        let got = async { self.objects.get(key).await.ok()?.bytes().await.ok() };
        Some(got.now_or_never().expect("memory answers at once")?.to_vec())
    }

    pub fn remove(&self, key: &Key) {
        let _ = self.objects.delete(key).now_or_never().expect("memory answers at once");
    }

    fn begin_to_age(&self, key: &Key) {
        let mut clock = self.clock.lock().expect("nobody panics with it");
        let now = clock.0;
        clock.1.insert(key.clone(), now);
    }

    async fn write(&self, key: &Key, payload: PutPayload) -> Result<PutResult> {
        self.begin_to_age(key);
        self.objects.put(key, payload).await
    }

    fn aged(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let clock = self.clock.lock().expect("nobody panics with it");
        let age = clock.0 - clock.1.get(&meta.location).copied().unwrap_or_default();
        meta.last_modified = (SystemTime::now() - age).into();
        meta
    }
}

pub enum Request<'r> {
    Put(&'r Key),
    Get(&'r Key),
    Delete(&'r Key),
    List,
}

pub enum Fate {
    Served,
    Refused,
    /// It is served, and nobody hears of it.
    Unheard,
    /// Half of it is served.
    Torn,
    /// It is acknowledged, and nothing happens.
    Lost,
}

type Ask = dyn Fn(Request<'_>) -> Fate + Send + Sync;

pub struct Toxic {
    shelf: Arc<Shelf>,
    ask: Box<Ask>,
}

impl Toxic {
    pub fn new(shelf: &Arc<Shelf>, ask: impl Fn(Request<'_>) -> Fate + Send + Sync + 'static) -> Toxic {
        Toxic { shelf: Arc::clone(shelf), ask: Box::new(ask) }
    }

    async fn delete_one(shelf: &Shelf, fate: &Fate, key: Key) -> Result<Key> {
        match fate {
            Fate::Lost => Ok(key),
            Fate::Served => shelf.objects.delete(&key).await.map(|()| key),
            Fate::Unheard => shelf.objects.delete(&key).await.and(Err(fault())),
            Fate::Refused | Fate::Torn => Err(fault()),
        }
    }
}

fn fault() -> Error {
    Error::Generic { store: "toxic", source: "a fault of the test".into() }
}

impl Debug for Toxic {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        Display::fmt(self, formatter)
    }
}

impl Display for Toxic {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Toxic")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Toxic {
    async fn put_opts(&self, key: &Key, payload: PutPayload, _: PutOptions) -> Result<PutResult> {
        match (self.ask)(Request::Put(key)) {
            Fate::Refused => Err(fault()),
            Fate::Unheard => self.shelf.write(key, payload).await.and(Err(fault())),
            Fate::Torn => {
                let bytes: Vec<u8> = payload.iter().flat_map(|part| part.to_vec()).collect();
                let half = bytes[..bytes.len() / 2].to_vec();
                self.shelf.write(key, half.into()).await.and(Err(fault()))
            }
            Fate::Served | Fate::Lost => self.shelf.write(key, payload).await,
        }
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        match (self.ask)(Request::Get(key)) {
            Fate::Refused | Fate::Unheard => Err(fault()),
            Fate::Torn => {
                let mut got = self.shelf.objects.get_opts(key, options).await?;
                let begin = self.shelf.read(key).map(|bytes| bytes[..bytes.len() / 2].to_vec()).unwrap_or_default();
                let pieces = [Ok(begin.into()), Err(fault())];
                got.payload = GetResultPayload::Stream(futures_util::stream::iter(pieces).boxed());
                Ok(got)
            }
            Fate::Served | Fate::Lost => self.shelf.objects.get_opts(key, options).await,
        }
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Key>>) -> BoxStream<'static, Result<Key>> {
        let keys: Vec<Result<Key>> = keys.collect().now_or_never().expect("they are known");
        let fates = keys.into_iter().map(|key| key.map(|key| ((self.ask)(Request::Delete(&key)), key)));
        let (shelf, fates) = (Arc::clone(&self.shelf), fates.collect::<Vec<_>>());
        let delete = move |fated: Result<(Fate, Key)>| {
            let shelf = Arc::clone(&shelf);
            async move {
                let (fate, key) = fated?;
                Toxic::delete_one(&shelf, &fate, key).await
            }
        };
        futures_util::stream::iter(fates).then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        match (self.ask)(Request::List) {
            Fate::Served | Fate::Lost => {
                let shelf = Arc::clone(&self.shelf);
                self.shelf.objects.list(prefix).map_ok(move |meta| shelf.aged(meta)).boxed()
            }
            _ => futures_util::stream::iter([Err(fault())]).boxed(),
        }
    }

    async fn put_multipart_opts(&self, _: &Key, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented { operation: "put_multipart".into(), implementer: "toxic".into() })
    }

    async fn list_with_delimiter(&self, _: Option<&Key>) -> Result<ListResult> {
        Err(Error::NotImplemented { operation: "list_with_delimiter".into(), implementer: "toxic".into() })
    }

    async fn copy_opts(&self, _: &Key, _: &Key, _: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copy".into(), implementer: "toxic".into() })
    }
}
