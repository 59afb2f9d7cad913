//! Checkpoints in a folder: what is written comes back to the byte, or is refused with a reason.

use std::path::Path;
use std::sync::atomic::AtomicBool;

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
        Place { folder: tempfile::tempdir().expect("a folder"), runtime: runtime.expect("a runtime") }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn checkpoints(&self, partitions: i32) -> Checkpoints {
        let url = url::Url::from_directory_path(self.store()).expect("a path");
        let runtime = self.runtime.handle().clone();
        Checkpoints::new(&url, &BTreeMap::new(), of(partitions), 2, runtime).expect("it opens")
    }

    /// A state's files, as `(name, content)`.
    fn state(&self, files: &[(&str, &str)]) -> PathBuf {
        let state = self.folder.path().join("state");
        clear(&state).expect("it can be cleared");
        std::fs::create_dir(&state).expect("it can be made");
        for (name, content) in files {
            std::fs::write(state.join(name), content).expect("it can be written");
        }
        state
    }

    fn upload(&self, next_offset: i64, files: &[(&str, &str)]) -> Uploaded {
        let about = About { next_offset, settled: Some(Instant(5)), written_at: Instant(7) };
        self.checkpoints(4).upload(1, &self.state(files), &about, &GO).expect("it is written")
    }

    /// What is restored, and what was refused before.
    fn restore(&self, beyond: i64) -> (Option<(i64, Content)>, Vec<String>) {
        let folder = self.folder.path().join("restored");
        clear(&folder).expect("it can be cleared");
        let mut refused = Vec::new();
        let said = |error: &CheckpointError| refused.push(error.to_string());
        let manifest = self.checkpoints(4).restore(1, beyond, &folder, &GO, said).expect("the store works");
        keep(&folder).expect("it can be cleared");
        (manifest.map(|manifest| (manifest.next_offset, content(&folder))), refused)
    }

    /// Where the store has what is of partition 1.
    fn partition(&self) -> PathBuf {
        self.store().join("shop").join(of(4).hash()).join("1")
    }

    fn objects(&self) -> Vec<PathBuf> {
        let all = ["files", "checkpoints"].map(|kind| paths(&self.partition().join(kind)).expect("it is there"));
        all.concat()
    }
}

fn of(partitions: i32) -> Identity {
    let [reconciliation, cluster, topic] = ["shop", "kafka-1", "changes"].map(str::to_owned);
    Identity { reconciliation, cluster, topic, partitions }
}

fn content(folder: &Path) -> Content {
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).expect("it can be read"))
    };
    paths(folder).expect("it is there").into_iter().map(read).collect()
}

fn owned(files: &[(&str, &str)]) -> Content {
    files.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect()
}

const FIRST: [(&str, &str); 2] = [("000001.sst", "one"), ("CURRENT", "MANIFEST-1")];
const SECOND: [(&str, &str); 3] = [("000001.sst", "one"), ("000002.sst", "two"), ("CURRENT", "MANIFEST-2")];

#[test]
fn the_furthest_checkpoint_comes_back_and_only_what_is_new_was_written() {
    let place = Place::new();
    assert_eq!(place.restore(0), (None, vec![]));
    assert_eq!(place.upload(10, &FIRST).new_files, 2);
    let second = place.upload(20, &SECOND);
    assert_eq!((second.files, second.new_files, second.new_bytes), (3, 2, 13), "one file was there");
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
    assert_eq!(place.upload(30, &SECOND).new_files, 1);
    assert_eq!(place.restore(0), (Some((30, owned(&SECOND))), vec![]));
    std::fs::write(&shared, "on").expect("it can be written");
    assert_eq!(place.upload(40, &SECOND).new_files, 1, "its size tells");
    assert_eq!(place.restore(0), (Some((40, owned(&SECOND))), vec![]));
}

/// A state that was laid aside comes back, whether what was restored was not good or the process was killed.
#[test]
fn what_was_there_before_is_kept_until_it_is_known_to_be_worse() {
    let place = Place::new();
    place.upload(10, &FIRST);
    let folder = place.folder.path().join("restored");
    let restore = || {
        clear(&folder).expect("it can be cleared");
        std::fs::create_dir(&folder).expect("it can be made");
        std::fs::write(folder.join("own"), "own").expect("it can be written");
        let restored = place.checkpoints(4).restore(1, 0, &folder, &GO, |_| ());
        assert!(restored.is_ok_and(|manifest| manifest.is_some()) && content(&folder) == owned(&FIRST));
    };
    restore();
    undo(&folder).expect("it can be undone");
    assert_eq!(content(&folder), owned(&[("own", "own")]));
    restore();
    std::fs::remove_dir_all(&folder).expect("it can be lost");
    recover(&folder).expect("it is brought back");
    assert_eq!(content(&folder), owned(&[("own", "own")]));
    restore();
    keep(&folder).expect("it can be kept");
    clear(&folder).expect("it can be lost");
    recover(&folder).expect("there is nothing to do");
    assert!(!folder.exists());
}

#[test]
fn what_is_half_written_is_not_there() {
    let place = Place::new();
    place.upload(10, &FIRST);
    let stop = AtomicBool::new(true);
    let about = About { next_offset: 20, settled: None, written_at: Instant(7) };
    let stopped = place.checkpoints(4).upload(1, &place.state(&SECOND), &about, &stop);
    assert!(matches!(stopped, Err(CheckpointError::Stopped)), "{stopped:?}");
    assert_eq!(place.restore(0), (Some((10, owned(&FIRST))), vec![]));
}

/// Also where the store answers at once.
#[test]
fn a_restore_ends_when_it_is_told_to() {
    let place = Place::new();
    place.upload(10, &FIRST);
    let folder = place.folder.path().join("restored");
    let stopped = place.checkpoints(4).restore(1, 0, &folder, &AtomicBool::new(true), |_| ());
    assert!(matches!(stopped, Err(CheckpointError::Stopped)), "{stopped:?}");
    assert!(!folder.exists() && !beside(&folder, FRESH).exists());
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
    assert_eq!(files().len(), 5, "files that nobody names are kept for a while");
    files().iter().for_each(|path| age(path));
    age(&lease);
    upload(50);
    assert_eq!(offsets(&place), [50, 40], "a lease ends");
    assert!(!lease.exists());
    assert_eq!(files().len(), 3, "shared, and two of their own");
    assert_eq!(place.restore(0).0.map(|(next, files)| (next, files.len())), Some((50, 2)));
}
