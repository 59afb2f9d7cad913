//! Checkpoints in S3, as another implementation of its protocol understands it: signatures, lists in pages, uploads in parts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use evenkeel::adapters::checkpoints::{About, Checkpoints, Digests, Home, Identity, Store, Uploaded};
use evenkeel::adapters::clock::now;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};

/// Both short: the server keeps what it knows of an object in a file that is named after both, and the object's key.
const BUCKET: &str = "state";
const PREFIX: &str = "a/b";

static GO: AtomicBool = AtomicBool::new(false);

/// A server, and a state that is copied to it.
struct Place {
    folder: tempfile::TempDir,
    endpoint: String,
    runtime: tokio::runtime::Runtime,
}

async fn answer(service: S3Service, request: Request) -> Response {
    match service.call(request.map(s3s::Body::http_body_unsync)).await {
        Ok(response) => response.map(Body::new),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")).into_response(),
    }
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let bucket = folder.path().join("server").join(BUCKET);
        std::fs::create_dir_all(&bucket).expect("it can be made");
        std::fs::create_dir(folder.path().join("state")).expect("it can be made");
        let files = s3s_fs::FileSystem::new(folder.path().join("server")).expect("a folder");
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single("evenkeel", "secret"));
        let service = service.build();
        let router = axum::Router::new().fallback(move |request| answer(service.clone(), request));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        // Else each answer waits for what the client sends next.
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a socket takes options"));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Place { folder, endpoint, runtime }
    }

    fn checkpoints(&self, secret: &str) -> Checkpoints {
        let options = [
            ("aws_endpoint", self.endpoint.as_str()),
            ("aws_allow_http", "true"),
            ("aws_region", "eu-central-1"),
            ("aws_access_key_id", "evenkeel"),
            ("aws_secret_access_key", secret),
        ];
        let options: BTreeMap<_, _> = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let url = url::Url::parse(&format!("s3://{BUCKET}/{PREFIX}")).expect("a URL");
        let store = Store::open(&url, &options, self.runtime.handle().clone()).expect("it is a store");
        let [reconciliation, cluster, topic] = ["shop", "kafka-1", "changes"].map(str::to_owned);
        Checkpoints::new(store, Identity { reconciliation, cluster, topic, partitions: 1 }, 1, 2)
    }

    fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.folder.path().join("state").join(name), content).expect("it can be written");
    }

    fn upload(&self, next_offset: i64) -> Uploaded {
        self.write("NEXT", next_offset.to_string().as_bytes());
        let about = About { next_offset, settled: None, written_at: now() };
        let state = self.folder.path().join("state");
        let uploaded = self.checkpoints("secret").upload(0, &state, &about, &mut Digests::default(), &GO);
        uploaded.expect("it is written")
    }

    /// What is brought back, and why others were not.
    fn restore(&self) -> (BTreeMap<String, Vec<u8>>, Vec<String>) {
        let home = Arc::new(Home::lock(&self.folder.path().join("home")).expect("it is free"));
        let (fetched, refused) = self.checkpoints("secret").fetch(0, 0, &home, &GO, next_offset);
        let fetched = fetched.unwrap_or_else(|| panic!("none is fit: {refused:?}"));
        fetched.install().expect("it can be renamed");
        (content(home.folder()), refused.reasons())
    }

    /// The server's own files of the only partition.
    fn objects(&self, kind: &str) -> Vec<PathBuf> {
        let prefix = self.folder.path().join("server").join(BUCKET).join(PREFIX).join("shop");
        let whose = std::fs::read_dir(prefix).expect("it is there").next().expect("there is one").expect("a folder");
        let entries = std::fs::read_dir(whose.path().join("0").join(kind)).into_iter().flatten();
        entries.map(|entry| entry.expect("a file").path()).collect()
    }
}

fn next_offset(folder: &Path) -> Result<i64, String> {
    let text = std::fs::read_to_string(folder.join("NEXT")).map_err(|error| error.to_string())?;
    text.parse().map_err(|_| text)
}

fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("it is there");
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read(&path).expect("it can be read"))
    };
    entries.map(|entry| read(entry.expect("a file").path())).collect()
}

/// More than one part of an upload, and no two parts alike.
fn large() -> Vec<u8> {
    (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn s3_what_is_uploaded_is_listed_and_comes_back() {
    let place = Place::new();
    place.write("000001.sst", &large());
    place.write("EMPTY", b"");
    let uploaded = place.upload(10);
    assert_eq!((uploaded.files, uploaded.new_files), (3, 3));
    place.write("000002.sst", b"another");
    let uploaded = place.upload(20);
    assert_eq!((uploaded.files, uploaded.new_files), (4, 2), "the large one is there");
    let listed = place.checkpoints("secret").list(0, &GO).expect("the store works");
    assert_eq!(listed.iter().map(|listed| listed.next_offset).collect::<Vec<_>>(), [20, 10]);
    place.checkpoints("secret").verify(0, &listed[1], &GO).expect("it is whole");
    let (restored, refused) = place.restore();
    assert!(restored == content(&place.folder.path().join("state")), "{:?}", restored.keys());
    assert_eq!(refused, [""; 0]);
    let leases = |checkpoint: &PathBuf| std::fs::read_dir(checkpoint).expect("a folder").count();
    assert_eq!(place.objects("restoring").iter().map(leases).collect::<Vec<_>>(), [0], "its lease was given back");
}

/// Has the server change what it holds of a large file, and says why it is not taken.
fn refused_after(change: impl Fn(&mut Vec<u8>)) -> String {
    let place = Place::new();
    place.write("000001.sst", b"one");
    place.upload(10);
    place.write("000002.sst", &large());
    place.upload(20);
    let is_large = |path: &&PathBuf| std::fs::metadata(path).expect("it is there").len() > 1 << 20;
    let path = place.objects("files").iter().find(is_large).expect("it is there").clone();
    let mut bytes = std::fs::read(&path).expect("it can be read");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("it can be written");
    let (restored, refused) = place.restore();
    assert_eq!(restored["NEXT"], b"10");
    place.upload(20);
    assert_eq!(place.restore().0["NEXT"], b"20", "whoever has it still writes it again");
    refused.concat()
}

#[test]
fn s3_what_is_torn_is_refused_and_the_older_one_taken() {
    let torn = refused_after(|bytes| bytes.truncate(7_000_000));
    assert!(torn.contains("000002.sst is not what was written"), "{torn}");
    let changed = refused_after(|bytes| bytes[11_000_000] ^= 1);
    assert!(changed.contains("000002.sst is not what was written"), "{changed}");
}

#[test]
fn s3_what_is_old_is_collected() {
    let place = Place::new();
    for next_offset in [10, 20, 30, 40] {
        place.upload(next_offset);
    }
    assert_eq!(place.objects("checkpoints").len(), 2);
    assert_eq!(place.objects("files").len(), 4, "somebody may be about to name them");
    let old = SystemTime::now() - Duration::from_secs(2 * 3600);
    for path in place.objects("files") {
        let file = std::fs::File::options().write(true).open(path).expect("it can be opened");
        file.set_modified(old).expect("it can be aged");
    }
    place.upload(50);
    assert_eq!(place.objects("files").len(), 2);
}

/// More than the server lists at once.
#[test]
fn s3_lists_have_pages() {
    let place = Place::new();
    for number in 0..1100 {
        place.write(&format!("{number}"), number.to_string().as_bytes());
    }
    assert_eq!(place.upload(10_000).new_files, 1101);
    assert_eq!(place.upload(10_000).new_files, 0);
    assert_eq!(place.restore().0.len(), 1101);
}

#[test]
fn s3_a_wrong_secret_is_said() {
    let place = Place::new();
    let home = Arc::new(Home::lock(&place.folder.path().join("home")).expect("it is free"));
    let (fetched, refused) = place.checkpoints("wrong").fetch(0, 0, &home, &GO, next_offset);
    assert!(fetched.is_none());
    let why = refused.hope(0).expect("it may be had with the right one").to_string();
    assert!(why.contains("the checkpoint store: ") && !why.contains("wrong"), "{why}");
}
