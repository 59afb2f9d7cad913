//! Checkpoints in a folder: what is written comes back to the byte, or is refused with a reason.

mod faults;
mod home;
mod toxic;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use sha2::{Digest, Sha256};

use self::toxic::{Fate, Request, Shelf, Toxic};
use super::digests::paths;
use super::home::clear;
use super::*;
use crate::domain::instant::Instant;

/// A folder's files and what they hold.
type Content = Vec<(String, String)>;

struct Place {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

static GO: AtomicBool = AtomicBool::new(false);

impl Place {
    fn new() -> Place {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Place { folder: folder(), runtime: runtime.expect("a runtime") }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn checkpoints(&self, partitions: i32) -> Checkpoints {
        let url = url::Url::from_directory_path(self.store()).expect("a path");
        let runtime = self.runtime.handle().clone();
        let store = Store::open(&url, &BTreeMap::new(), runtime).expect("it opens");
        Checkpoints::new(store, identity(partitions), VERSION, 2)
    }

    /// A state's files, as `(name, content)`, and one that says where it goes on.
    fn state(&self, next_offset: i64, files: &[(&str, &str)]) -> PathBuf {
        let state = self.folder.path().join("state");
        clear(&state).expect("it can be cleared");
        std::fs::create_dir(&state).expect("it can be made");
        for (name, content) in files {
            std::fs::write(state.join(name), content).expect("it can be written");
        }
        std::fs::write(state.join(NEXT), next_offset.to_string()).expect("it can be written");
        state
    }

    fn upload(&self, next_offset: i64, files: &[(&str, &str)]) -> Uploaded {
        let (state, digests) = (self.state(next_offset, files), &mut Digests::default());
        self.checkpoints(4).upload(1, &state, &about(next_offset), digests, &GO).expect("it is written")
    }

    /// Where it is restored to.
    fn home(&self) -> Arc<Home> {
        Arc::new(Home::lock(&self.folder.path().join("restored")).expect("nobody else works there"))
    }

    /// What is restored, and what was refused before.
    fn restore(&self, beyond: i64) -> (Option<(i64, Content)>, Vec<String>) {
        let home = self.home();
        let (fetched, refused) = self.checkpoints(4).fetch(1, beyond, &home, &GO, opens);
        let manifest = fetched.map(|fetched| fetched.install().expect("it can be renamed"));
        (manifest.map(|manifest| (manifest.next_offset, content(home.folder()))), refused.reasons())
    }

    /// Where the store has what is of partition 1.
    fn partition(&self) -> PathBuf {
        self.store().join("shop").join(identity(4).hash()).join("1")
    }

    fn objects(&self) -> Vec<PathBuf> {
        let all = ["files", "checkpoints"].map(|kind| paths(&self.partition().join(kind)).expect("it is there"));
        all.concat()
    }
}

fn identity(partitions: i32) -> Identity {
    let [reconciliation, cluster, topic] = ["shop", "kafka-1", "changes"].map(str::to_owned);
    Identity { reconciliation, cluster, topic, partitions }
}

/// Where there is one, in memory: every file is synced.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    folder.expect("a folder")
}

fn about(next_offset: i64) -> About {
    About { next_offset, settled: Some(Instant(5)), written_at: Instant(7) }
}

/// What RocksDB and the task do in earnest.
fn opens(folder: &Path) -> Result<i64, String> {
    let next = std::fs::read_to_string(folder.join(NEXT)).map_err(|error| error.to_string())?;
    next.parse().map_err(|_| format!("{next} is not an offset"))
}

/// All but where it goes on.
fn content(folder: &Path) -> Content {
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).expect("it can be read"))
    };
    paths(folder).expect("it is there").into_iter().map(read).filter(|(name, _)| name != NEXT).collect()
}

fn owned(files: &[(&str, &str)]) -> Content {
    files.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect()
}

const VERSION: u32 = 3;
const NEXT: &str = "NEXT";
const FIRST: [(&str, &str); 2] = [("000001.sst", "one"), ("CURRENT", "MANIFEST-1")];
const SECOND: [(&str, &str); 3] = [("000001.sst", "one"), ("000002.sst", "two"), ("CURRENT", "MANIFEST-2")];

#[test]
fn the_furthest_checkpoint_comes_back_and_only_what_is_new_was_written() {
    let place = Place::new();
    assert_eq!(place.restore(0), (None, vec![]));
    assert_eq!(place.upload(10, &FIRST).new_files, 3);
    let second = place.upload(20, &SECOND);
    assert_eq!((second.files, second.new_files, second.new_bytes), (4, 3, 15), "one file was there");
    assert_eq!(place.restore(0), (Some((20, owned(&SECOND))), vec![]));
    assert_eq!(place.restore(19), (Some((20, owned(&SECOND))), vec![]));
    assert_eq!(place.restore(20), (None, vec![]), "whoever is as far needs none");
}

#[test]
fn a_manifest_is_what_its_schema_says() {
    let place = Place::new();
    place.upload(10, &FIRST);
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../schemas/checkpoint.schema.json")).expect("it is JSON");
    let manifest = std::fs::read(place.objects().pop().expect("it is there")).expect("it can be read");
    let manifest = serde_json::from_slice(&manifest).expect("it is JSON");
    jsonschema::validate(&schema, &manifest).expect("it is what the schema says");
}

#[test]
fn a_changed_byte_anywhere_is_found_and_the_older_checkpoint_taken() {
    let place = Place::new();
    place.upload(10, &FIRST);
    let older = place.objects();
    place.upload(20, &SECOND);
    for path in place.objects().into_iter().filter(|path| !older.contains(path)) {
        let whole = std::fs::read(&path).expect("it can be read");
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            // A damaged file was removed, and stays so until it is written again.
            std::fs::write(&path, &changed).expect("it can be written");
            let (restored, refused) = place.restore(0);
            assert_eq!(restored, Some((10, owned(&FIRST))), "{} at {at}", path.display());
            assert!(refused.len() == 1 && refused[0].contains("is not what was written"), "{refused:?}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).expect("it can be written");
        assert_eq!(place.restore(0).0, Some((10, owned(&FIRST))), "{} cut", path.display());
        let _ = std::fs::remove_file(&path);
        assert_eq!(place.restore(0).0, Some((10, owned(&FIRST))), "{} gone", path.display());
        std::fs::write(&path, &whole).expect("it can be written");
    }
    assert_eq!(place.restore(0).0, Some((20, owned(&SECOND))));
}

/// A file that several checkpoints share would spoil them all.
#[test]
fn a_damaged_file_is_written_again() {
    let place = Place::new();
    place.upload(10, &FIRST);
    place.upload(20, &SECOND);
    let shared = place.partition().join("files").join(hex(&Sha256::digest("one")));
    std::fs::write(&shared, "two").expect("it can be written");
    let (restored, refused) = place.restore(0);
    assert!(restored.is_none() && refused.len() == 2, "{restored:?} {refused:?}");
    assert_eq!(place.upload(30, &SECOND).new_files, 2);
    assert_eq!(place.restore(0), (Some((30, owned(&SECOND))), vec![]));
    std::fs::write(&shared, "on").expect("it can be written");
    assert_eq!(place.upload(40, &SECOND).new_files, 2, "its size tells");
    assert_eq!(place.restore(0), (Some((40, owned(&SECOND))), vec![]));
}

/// Until it is known to open.
#[test]
fn what_was_there_before_stays_where_it_is() {
    let place = Place::new();
    std::fs::write(place.home().folder().join("own"), "own").expect("it can be written");
    place.upload(10, &FIRST);
    let home = place.home();
    let asked = |folder: &Path| {
        assert_eq!((content(home.folder()), content(folder)), (owned(&[("own", "own")]), owned(&FIRST)));
        opens(folder)
    };
    let (fetched, refused) = place.checkpoints(4).fetch(1, 0, &home, &GO, asked);
    assert_eq!(refused.reasons(), [""; 0]);
    assert_eq!(content(home.folder()), owned(&[("own", "own")]));
    fetched.expect("it is whole").install().expect("it can be renamed");
    assert_eq!(content(home.folder()), owned(&FIRST));
}

/// Its bytes are right, so only opening it tells.
#[test]
fn one_that_cannot_be_opened_is_refused_once_and_the_older_one_taken() {
    let place = Place::new();
    place.upload(10, &FIRST);
    place.upload(20, &SECOND);
    let mut tried = Vec::new();
    let mut fetch = || {
        let home = place.home();
        let picky = |folder: &Path| {
            let next = opens(folder)?;
            tried.push(next);
            if next == 20 { Err("Corruption: it is torn".to_owned()) } else { Ok(next) }
        };
        let (fetched, refused) = place.checkpoints(4).fetch(1, 0, &home, &GO, picky);
        let fetched = fetched.map(|fetched| fetched.install().expect("it can be renamed").next_offset);
        let [refused] = &refused.reasons()[..] else { panic!("{refused:?}") };
        assert!(
            fetched == Some(10) && refused.contains("cannot be opened here: Corruption: it is torn"),
            "{refused}"
        );
        place.folder.path().join("restored.refused")
    };
    let remembered = fetch();
    fetch();
    let text = std::fs::read_to_string(&remembered).expect("it is there");
    let others = text.replace(env!("CARGO_PKG_VERSION"), "0.0.9");
    std::fs::write(&remembered, others).expect("it can be written");
    fetch();
    std::fs::write(&remembered, "torn").expect("it can be written");
    fetch();
    assert_eq!(tried, [20, 10, 10, 20, 10, 20, 10], "again by another evenkeel, or by one that does not remember");
}

#[test]
fn one_that_goes_on_elsewhere_than_it_says_is_refused() {
    let place = Place::new();
    place.upload(10, &FIRST);
    let home = place.home();
    let (fetched, refused) = place.checkpoints(4).fetch(1, 0, &home, &GO, |_| Ok::<_, String>(11));
    assert!(fetched.is_none() && refused.reasons()[0].contains("it goes on at offset 11"), "{refused:?}");
}

#[test]
fn a_state_that_only_a_newer_evenkeel_can_read_is_refused_before_it_is_fetched() {
    let place = Place::new();
    place.upload(10, &FIRST);
    let mut older = place.checkpoints(4);
    older.state_version = VERSION - 1;
    clear(&place.partition().join("files")).expect("it can be cleared");
    let home = place.home();
    let (fetched, refused) = older.fetch(1, 0, &home, &GO, opens);
    let [reason] = &refused.reasons()[..] else { panic!("{refused:?}") };
    assert!(fetched.is_none() && reason.contains("its state has format 3, newer than 2"), "{reason}");
    assert!(reason.contains("upgrade it"), "{reason}");
}

/// What is torn stays so; what is newer may be had by an upgrade.
#[test]
fn there_is_hope_where_a_checkpoint_may_be_had_later() {
    let place = Place::new();
    place.upload(10, &FIRST);
    place.upload(20, &SECOND);
    let hope = |checkpoints: &Checkpoints, offset| {
        let home = place.home();
        let (fetched, refused) = checkpoints.fetch(1, 0, &home, &GO, opens);
        assert!(fetched.is_none(), "{refused:?}");
        refused.hope(offset).map(|error| error.to_string())
    };
    let mut older = place.checkpoints(4);
    older.state_version = VERSION - 1;
    assert!(hope(&older, 15).is_some_and(|why| why.contains("upgrade it")));
    assert!(hope(&older, 20).is_some());
    assert_eq!(hope(&older, 21), None, "it would not go far enough");
    clear(&place.partition().join("files")).expect("it can be cleared");
    assert_eq!(hope(&place.checkpoints(4), 0), None, "what is gone is gone");
    clear(&place.partition()).expect("it can be cleared");
    std::fs::write(place.partition(), "not a folder").expect("it can be written");
    assert!(hope(&place.checkpoints(4), i64::MAX).is_some_and(|why| why.contains("the checkpoint store")));
}

#[test]
fn what_is_half_written_is_not_there() {
    let place = Place::new();
    place.upload(10, &FIRST);
    let (stop, state) = (AtomicBool::new(true), place.state(20, &SECOND));
    let stopped = place.checkpoints(4).upload(1, &state, &about(20), &mut Digests::default(), &stop);
    assert!(matches!(stopped, Err(CheckpointError::Stopped)), "{stopped:?}");
    assert_eq!(place.restore(0), (Some((10, owned(&FIRST))), vec![]));
}

/// Also where the store answers at once.
#[test]
fn a_restore_ends_when_it_is_told_to() {
    let place = Place::new();
    place.upload(10, &FIRST);
    let home = place.home();
    let (fetched, refused) = place.checkpoints(4).fetch(1, 0, &home, &AtomicBool::new(true), opens);
    assert!(fetched.is_none() && refused.reasons() == ["told to stop"], "{refused:?}");
    assert_eq!(refused.hope(0).map(|error| error.to_string()), None);
    assert!(!home.fresh().exists());
}

/// A large state has many tables, of which a checkpoint adds few.
#[test]
fn a_table_is_read_once() {
    let place = Place::new();
    let state = place.state(10, &FIRST);
    let mut digests = Digests::default();
    let mut upload = |next| place.checkpoints(4).upload(1, &state, &about(next), &mut digests, &GO).expect("written");
    assert_eq!(upload(10).new_files, 3);
    // Nobody changes a table so: the name, the place on the disk, the size and the time stay.
    let rewrite = |name: &str| {
        let path = state.join(name);
        let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("it is there");
        let content = std::fs::read_to_string(&path).expect("it can be read");
        std::fs::write(&path, content.to_uppercase().replace('1', "2")).expect("it can be written");
        std::fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(modified)).expect("set");
    };
    rewrite("000001.sst");
    assert_eq!(upload(11).new_files, 0, "it was not read again");
    rewrite("CURRENT");
    assert_eq!(upload(12).new_files, 1, "whatever is no table is");
    let table = std::fs::File::options().write(true).open(state.join("000001.sst")).expect("it is there");
    table.set_modified(SystemTime::UNIX_EPOCH).expect("set");
    assert_eq!(upload(13).new_files, 1, "so is a table that is another");
}

/// Puts a manifest under the name that its text asks for.
fn forge(place: &Place, next_offset: i64, change: impl Fn(&str) -> String) {
    let folder = place.partition().join("checkpoints");
    let last = paths(&folder).expect("it is there").pop().expect("there is one");
    let text = change(&std::fs::read_to_string(last).expect("it can be read"));
    let name = format!("{next_offset:020}-{}.json", hex(&Sha256::digest(&text)));
    std::fs::write(folder.join(name), text).expect("it can be written");
}

#[test]
fn newer_foreign_and_wayward_checkpoints_are_refused_in_words() {
    let forged = |next: i64, from: &'static str, to: &'static str| {
        let place = Place::new();
        place.upload(10, &FIRST);
        forge(&place, next, |text| text.replacen(from, to, 1).replace("\"next_offset\": 10", "\"next_offset\": 30"));
        let (restored, refused) = place.restore(0);
        assert_eq!(restored, Some((10, owned(&FIRST))), "{to}");
        refused.concat()
    };
    let newer = forged(30, "\"format\": 1", "\"format\": 2");
    assert!(newer.contains("format 2, newer than 1"), "{newer}");
    let foreign = forged(30, "\"partition\": 1", "\"partition\": 2");
    assert!(
        foreign.contains("changes:2 of 4, from offset 30, not of shop, cluster kafka-1, changes:1 of 4"),
        "{foreign}"
    );
    let moved = forged(30, "\"kafka-1\"", "\"kafka-2\"");
    assert!(
        moved.contains("cluster kafka-2, changes:1 of 4, from offset 30, not of shop, cluster kafka-1"),
        "{moved}"
    );
    let resized = forged(30, "\"partitions\": 4", "\"partitions\": 8");
    assert!(resized.contains("changes:1 of 8"), "{resized}");
    let moved = forged(40, "\"partition\": 1", "\"partition\": 1");
    assert!(
        moved.contains("from offset 30, not of shop, cluster kafka-1, changes:1 of 4, from offset 40"),
        "{moved}"
    );
    let wayward = forged(30, "\"CURRENT\"", "\"../../CURRENT\"");
    assert!(wayward.contains("is not what was written"), "{wayward}");
}

fn offsets(place: &Place) -> Vec<i64> {
    place.checkpoints(4).list(1, &GO).expect("the store works").iter().map(|listed| listed.next_offset).collect()
}

fn age(path: &Path) {
    let old = SystemTime::now() - 2 * PATIENCE;
    let file = std::fs::File::options().write(true).open(path).expect("it can be opened");
    file.set_modified(old).expect("it can be aged");
}

#[test]
fn old_checkpoints_are_collected_with_their_files_though_never_one_that_is_being_restored() {
    let place = Place::new();
    let state = |number: i64| format!("state {number}");
    let upload = |number: i64| {
        place.upload(number, &[("shared", "shared"), ("own", &state(number))]);
    };
    upload(10);
    let lease = place.partition().join("restoring");
    let first = lease.join(place.checkpoints(4).list(1, &GO).expect("the store works").remove(0).name);
    std::fs::create_dir_all(&first).expect("it can be made");
    let lease = first.join("somebody");
    std::fs::write(&lease, "").expect("it can be written");
    [20, 30, 40].into_iter().for_each(upload);
    assert_eq!(offsets(&place), [40, 30, 10], "two are kept, and the leased one");
    let files = || paths(&place.partition().join("files")).expect("it is there");
    assert_eq!(files().len(), 9, "files that nobody names are kept for a while");
    files().iter().for_each(|path| age(path));
    age(&lease);
    upload(50);
    assert_eq!(offsets(&place), [50, 40], "a lease ends");
    assert!(!lease.exists());
    assert_eq!(files().len(), 5, "shared, and four of their own");
    assert_eq!(place.restore(0).0.map(|(next, files)| (next, files.len())), Some((50, 2)));
}

/// A large state takes longer to come than a lease lasts.
#[test]
fn a_lease_is_renewed_while_it_is_restored() {
    let place = Place::new();
    let shelf = Arc::new(Shelf::default());
    let of = |toxic: Toxic| {
        let store = Store::of(Arc::new(toxic), place.runtime.handle().clone());
        Checkpoints::new(store, identity(4), VERSION, 1)
    };
    let others = of(Toxic::new(&shelf, |_| Fate::Served));
    let write = |next_offset, files: &[(&str, &str)]| {
        let (state, digests) = (place.state(next_offset, files), &mut Digests::default());
        others.upload(1, &state, &about(next_offset), digests, &GO).map(|_| state).expect("it is written")
    };
    write(10, &SECOND);
    let (clock, writer) = (Arc::clone(&shelf), others.clone());
    let newer = place.state(20, &FIRST);
    // Before each file a newer checkpoint is written, and what is old collected; then the lease grows old.
    let meanwhile = move |request: Request<'_>| {
        if let Request::Get(key) = request
            && key.as_ref().contains("/files/")
        {
            let write = || writer.upload(1, &newer, &about(20), &mut Digests::default(), &GO).map(drop);
            std::thread::scope(|scope| scope.spawn(write).join().expect("it ends")).expect("it is written");
            clock.pass(2 * PATIENCE);
        }
        Fate::Served
    };
    let mut slow = of(Toxic::new(&shelf, meanwhile));
    // As though every piece took a quarter of it.
    slow.patience = Duration::ZERO;
    let home = place.home();
    let (fetched, refused) = slow.fetch(1, 0, &home, &GO, opens);
    assert_eq!(refused.reasons(), [""; 0]);
    assert_eq!(fetched.expect("it is whole").install().expect("it can be renamed").next_offset, 10);
    assert_eq!(content(home.folder()), owned(&SECOND));
    shelf.pass(2 * PATIENCE);
    write(30, &FIRST);
    assert!(shelf.keys().iter().all(|key| !key.as_ref().contains("/restoring/")), "it was given back");
}

/// For whoever replays what came after it: the earlier it goes on, the more it tells.
#[test]
fn the_earliest_that_still_fits_the_log_is_fetched() {
    let place = Place::new();
    place.upload(10, &[("000001.sst", "ten")]);
    place.upload(20, &[("000001.sst", "twenty")]);
    let fetch = |from: i64| {
        let (fetched, refused) = place.checkpoints(4).fetch_earliest(1, from, &place.home(), &GO, opens);
        assert_eq!(refused.reasons(), Vec::<String>::new());
        fetched.map(|fetched| fetched.install().expect("it can be renamed").next_offset)
    };
    assert_eq!([0, 10, 11, 20, 21].map(fetch), [Some(10), Some(10), Some(20), Some(20), None]);
}
