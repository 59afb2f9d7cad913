//! `evenkeel state` and its verbs, on states and checkpoints that are made here, and brokers that hold offsets only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use evenkeel::adapters::checkpoints::{About, Checkpoints, Digests, Home, Identity, Store};
use evenkeel::adapters::clock::now;
use evenkeel::adapters::kafka::Properties;
use evenkeel::adapters::kafka::admin::Admin;
use evenkeel::adapters::rocksdb::{RocksStore, SharedMemory};
use evenkeel::app::demo::settings::{FILE, settings};
use evenkeel::app::run::Runtime;
use evenkeel::domain::change::{Block, Entry, Gap, GapCause, TopicPartition};
use evenkeel::domain::instant::Instant;
use evenkeel::domain::routing::Ownership;
use evenkeel::task::reconcile::{Limits, Task};
use evenkeel::task::store::{Batch, Space, Store as _};
use evenkeel::task::wire::state;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use serde_json::{Value, json};

use super::{Ended, command};

const CHANGES: &str = "evenkeel.demo.changes";

static GO: AtomicBool = AtomicBool::new(false);

/// Brokers with a changes log of two partitions, and a folder with a configuration, states and a checkpoint store.
struct Yard {
    /// `None` once they are gone.
    cluster: Option<MockCluster<'static, DefaultProducerContext>>,
    bootstrap: String,
    folder: tempfile::TempDir,
    memory: SharedMemory,
}

impl Yard {
    fn new() -> Yard {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let checkpoints = format!("\ncheckpoints: {{url: {}}}\n", folder.path().join("store").display());
        std::fs::write(folder.path().join("evenkeel.yaml"), format!("{FILE}{checkpoints}")).expect("written");
        let cluster = MockCluster::new(1).expect("a mock cluster starts");
        cluster.create_topic(CHANGES, 2, 1).expect("a topic is created");
        let bootstrap = cluster.bootstrap_servers();
        Yard { cluster: Some(cluster), bootstrap, folder, memory: SharedMemory::new(16 << 20) }
    }

    fn config(&self) -> String {
        self.folder.path().join("evenkeel.yaml").display().to_string()
    }

    fn state(&self, partition: i32) -> PathBuf {
        self.folder.path().join("state").join("demo").join(partition.to_string())
    }

    /// `evenkeel state` with arguments; `verb` may be empty.
    fn command(&self, verb: &str, more: &[&str]) -> Command {
        let mut asked: Command = command(&["state"]);
        asked.args((!verb.is_empty()).then_some(verb)).args(["-c", &self.config()]).args(more);
        asked.env("DEMO_BOOTSTRAP", &self.bootstrap).env("DEMO_STATE", self.folder.path().join("state"));
        asked
    }

    /// How it ended.
    fn state_verb(&self, verb: &str, more: &[&str]) -> Ended {
        let output = self.command(verb, more).output().expect("the binary starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// What it says of a partition.
    fn seen(&self, partition: usize) -> Value {
        let ended = self.state_verb("", &["--json"]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
        ended.json()["partitions"][partition].clone()
    }

    /// Puts records into partition 0 of the changes log. The mock cluster keeps 5 MiB of them.
    fn write(&self, records: usize, bytes: usize) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("batch.num.messages", "1");
        let producer: BaseProducer = config.create().expect("a producer");
        let value = vec![b'x'; bytes];
        for _ in 0..records {
            let record = BaseRecord::<(), [u8]>::to(CHANGES).partition(0).payload(&value);
            producer.send(record).map_err(|(error, _)| error).expect("sent");
        }
        producer.flush(std::time::Duration::from_secs(10)).expect("written");
    }

    /// Brings the state of partition 0 forward, to go on at an offset.
    fn advance(&self, next_offset: i64, entries: Vec<Entry>) -> Task<RocksStore> {
        let store = RocksStore::open(&self.state(0), &self.memory).expect("it opens");
        let plan = settings(&self.bootstrap, self.folder.path()).plan;
        let ownership = Ownership { partition: 0, partitions: 2 };
        let mut task = Task::open(plan, ownership, store, Limits::memory(1 << 20)).expect("it opens");
        let topic_partitions = vec![(0, TopicPartition { topic: "shop.shop.orders".into(), partition: 3 })];
        let block = Block { written_at: Instant(1), partitions: 2, topic_partitions, entries, ..Block::default() };
        task.apply(next_offset - 1, block).expect("it is applied");
        task.flush().expect("it is written");
        assert_eq!(task.next_offset(), next_offset);
        task
    }

    fn make_state(&self, next_offset: i64) {
        std::fs::create_dir_all(self.state(0)).expect("it can be made");
        drop(self.advance(next_offset, Vec::new()));
    }

    fn with_checkpoints<T>(&self, work: impl FnOnce(Checkpoints) -> T) -> T {
        let runtime = Runtime::start().expect("a runtime");
        let settings = settings(&self.bootstrap, self.folder.path());
        let admin = Admin::new(&Properties::new(settings.kafka.clone())).expect("a client");
        let identity = Identity {
            reconciliation: "demo".to_owned(),
            cluster: admin.cluster().expect("it has one"),
            topic: CHANGES.to_owned(),
            partitions: 2,
        };
        let url = url::Url::from_directory_path(self.store()).expect("a path");
        let store = Store::open(&url, &BTreeMap::new(), runtime.handle().clone()).expect("it opens");
        work(Checkpoints::new(store, identity, state::VERSION.into(), 3))
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Where the store has the files of partition 0.
    fn files(&self) -> PathBuf {
        let mut whose = std::fs::read_dir(self.store().join("demo")).expect("it is there");
        whose.next().expect("there is one").expect("an entry").path().join("0").join("files")
    }

    /// Makes a state of partition 0, and a checkpoint of it.
    fn make_checkpoint(&self, next_offset: i64) {
        self.make_state(next_offset);
        let copy = self.folder.path().join("copy");
        let store = RocksStore::open(&self.state(0), &self.memory).expect("it opens");
        store.checkpoint(&copy).expect("it is copied");
        let about = About { next_offset, settled: Some(Instant(7)), written_at: now() };
        self.with_checkpoints(|checkpoints| {
            let uploaded = checkpoints.upload(0, &copy, &about, &mut Digests::default(), &GO);
            uploaded.expect("it is written");
        });
        std::fs::remove_dir_all(&copy).expect("it can be removed");
    }

    /// The changes-log offsets of the checkpoints of partition 0, the furthest first.
    fn checkpoints(&self) -> Vec<i64> {
        let listed = self.with_checkpoints(|checkpoints| checkpoints.list(0, &GO).expect("they can be listed"));
        listed.iter().map(|listed| listed.next_offset).collect()
    }

    fn next_offset(&self) -> Value {
        self.seen(0)["state"]["next_offset"].clone()
    }
}

fn check(ended: &Ended, code: i32, says: &[&str]) {
    let told = format!("--- stdout\n{}\n--- stderr\n{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(code), "{told}");
    let plain = told.replace('\n', " ");
    for part in says {
        assert!(plain.contains(part), "{part} is missing from\n{told}");
    }
}

/// Turns a byte of the largest file with such a name around.
fn damage(folder: &Path, ending: &str) {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("it is there").map(|one| one.expect("one").path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort_by_key(|path| path.metadata().expect("it is there").len());
    let path = files.pop().expect("there is one");
    let mut bytes = std::fs::read(&path).expect("it can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&path, bytes).expect("it can be written");
}

#[test]
fn cli_state_shows_what_there_is() {
    let yard = Yard::new();
    yard.write(12, 10);
    yard.make_checkpoint(5);
    let text = yard.state_verb("", &[]);
    println!("{}", text.stdout);
    check(&text, 0, &["states of reconciliation demo in ", "checkpoints in file:///", "0 to 12"]);
    let seen = yard.seen(0);
    let bounds = json!({"start_offset": 0, "end_offset": 12});
    let told = (&seen["changes_log"], &seen["behind"], &seen["overtaken"], &seen["held"]);
    assert_eq!(told, (&bounds, &json!(7), &json!(false), &json!(false)), "{seen:#}");
    let state = &seen["state"];
    assert_eq!((&state["next_offset"], &state["settled"], &state["keys"]), (&json!(5), &Value::Null, &json!(0)));
    assert!(state["bytes"].as_u64().is_some_and(|bytes| bytes > 1_000), "{seen:#}");
    let [checkpoint] = &seen["checkpoints"].as_array().expect("a list")[..] else { panic!("{seen:#}") };
    assert_eq!(
        (&checkpoint["next_offset"], &checkpoint["settled"]),
        (&json!(5), &json!("1970-01-01T00:00:00.000007Z"))
    );
    assert!(checkpoint["bytes"].as_u64().is_some_and(|bytes| bytes > 1_000), "{seen:#}");
    assert!(checkpoint["age_seconds"].as_f64().is_some_and(|age| (0.0..600.0).contains(&age)), "{seen:#}");
    let other = yard.seen(1);
    assert_eq!((&other["state"], &other["checkpoints"], &other["held"]), (&Value::Null, &json!([]), &json!(false)));
}

/// Of a state that somebody works on all is seen that was flushed, and nothing is changed.
#[test]
fn cli_state_is_shown_while_a_process_works_on_it_and_without_brokers() {
    let mut yard = Yard::new();
    let home = Arc::new(Home::lock(&yard.state(0)).expect("it is free"));
    let gap = Gap { topic_partition: 0, cause: GapCause::Retention, expected: 3, found: 9, topic_id: 0 };
    let task = yard.advance(5, vec![Entry::Gap(gap)]);
    yard.cluster = None;
    let ended = yard.state_verb("", &["--json"]);
    check(&ended, 0, &[]);
    let report = ended.json();
    let seen = &report["partitions"][0];
    assert_eq!((&seen["held"], &seen["state"]["next_offset"]), (&json!(true), &json!(5)), "{report:#}");
    assert_eq!((&seen["changes_log"], &seen["checkpoints"]), (&Value::Null, &Value::Null), "{report:#}");
    let halted = json!([{
        "source": "orders", "topic": "shop.shop.orders", "partition": 3, "cause": "retention", "expected_offset": 3,
        "found_offset": 9,
    }]);
    assert_eq!(seen["state"]["halted"], halted, "{report:#}");
    let text = yard.state_verb("", &[]);
    let hint = format!("evenkeel acknowledge -c {} orders", yard.config());
    check(&text, 0, &["works on it", "no broker of 127.0.0.1:", "which checkpoints are", &hint, "not known"]);
    for (verb, more) in [("restore", &["--partition", "0"][..]), ("drop", &["--partition", "0", "--yes"])] {
        let refused = yard.state_verb(verb, more);
        check(&refused, 1, &[if verb == "drop" { "is worked on by another process" } else { "no broker of" }]);
    }
    let verified = yard.state_verb("verify", &[]);
    check(&verified, 1, &["this disk's state that goes on at offset 5 is whole", "the checkpoints were not read"]);
    drop((task, home));
    assert_eq!(yard.advance(6, Vec::new()).next_offset(), 6, "nobody was disturbed");
}

#[test]
fn cli_state_says_what_retention_has_overtaken() {
    let yard = Yard::new();
    yard.make_checkpoint(2);
    yard.write(12, 900_000);
    let begins = "begins at offset";
    let text = yard.state_verb("", &[]);
    check(&text, 0, &[begins, "and every checkpoint", "Give the reconciliation a new name"]);
    assert_eq!(yard.seen(0)["overtaken"], true);
    check(&yard.state_verb("restore", &["--partition", "0", "--checkpoint", "2"]), 1, &["could not go on"]);
    yard.make_checkpoint(11);
    std::fs::remove_dir_all(yard.state(0)).expect("it can be lost");
    yard.make_state(3);
    check(&yard.state_verb("", &[]), 0, &[begins, "A start takes the checkpoint that goes on at offset 11"]);
    std::fs::remove_dir_all(yard.state(0)).expect("it can be lost");
    yard.make_state(13);
    check(&yard.state_verb("", &[]), 0, &["ends at offset 12", "one of them is not the other's"]);
}

#[test]
fn cli_state_verify_reads_every_byte() {
    let yard = Yard::new();
    yard.write(12, 10);
    yard.make_checkpoint(5);
    let whole = yard.state_verb("verify", &["--json"]);
    check(&whole, 0, &[]);
    let report = whole.json();
    assert_eq!((&report["ok"], &report["errors"]), (&json!(true), &json!([])), "{report:#}");
    let kinds: Vec<bool> =
        report["whole"].as_array().expect("a list").iter().map(|one| one["checkpoint"].is_null()).collect();
    assert_eq!(kinds, [true, false], "{report:#}");
    check(&yard.state_verb("verify", &["--partition", "1"]), 0, &[]);

    damage(&yard.files(), "");
    damage(&yard.state(0), ".sst");
    let found = yard.state_verb("verify", &[]);
    let restore = "evenkeel state restore -c ";
    let dropping = "--partition 0 --checkpoint 5";
    check(&found, 1, &["is not what was written", restore, dropping, "2 errors found"]);
    let report = yard.state_verb("verify", &["--partition", "0", "--json"]);
    check(&report, 1, &[]);
    let report = report.json();
    let errors = report["errors"].as_array().expect("a list");
    assert!(errors.len() == 2 && errors.iter().all(|error| error["kind"] == "state"), "{report:#}");
    assert_eq!(errors[0]["file"], yard.state(0).display().to_string(), "{report:#}");
}

/// What opening a state does not read is read.
#[test]
fn cli_state_verify_looks_into_every_space() {
    let yard = Yard::new();
    let write = |pairs: &mut dyn Iterator<Item = (Space, Vec<u8>, Vec<u8>)>| {
        let mut store = RocksStore::open(&yard.state(0), &yard.memory).expect("it opens");
        let writes = pairs.map(|(space, key, value)| (space, key, Some(value))).collect();
        store.write(Batch { writes }).expect("it is written");
        // A checkpoint has everything in tables.
        let copy = yard.folder.path().join("copy");
        store.checkpoint(&copy).expect("it is copied");
        std::fs::remove_dir_all(&copy).expect("it can be removed");
    };
    let verify = || yard.state_verb("verify", &["--partition", "0"]);
    yard.make_state(5);
    let row = |number: u32| [&[0, 0][..], &number.to_be_bytes()].concat();
    write(&mut (0..5_000).map(|number| (Space::Rows, row(number), number.to_string().into_bytes())));
    check(&verify(), 0, &["0 keys, 5,00"]);
    write(&mut [(Space::Keys, b"42".to_vec(), b"junk".to_vec())].into_iter());
    check(&verify(), 1, &["partition 0: keys \"42\": key state has format version 106", "1 error found"]);
    damage(&yard.state(0), ".sst");
    check(&verify(), 1, &["partition 0: rows: RocksDB at ", "Corruption", "2 errors found"]);
}

#[test]
fn cli_state_restore_puts_a_checkpoint_in_its_place() {
    let yard = Yard::new();
    yard.write(12, 10);
    let restore = |more: &[&str]| yard.state_verb("restore", &[&["--partition", "0"], more].concat());
    check(&restore(&[]), 1, &["there is no checkpoint of partition 0"]);
    yard.make_checkpoint(5);
    yard.make_checkpoint(8);
    check(
        &restore(&[]),
        1,
        &["goes further than this disk's state, which goes on at offset 8", "--checkpoint: 8, 5"],
    );
    check(&restore(&["--checkpoint", "6"]), 1, &["there is no checkpoint 6", "there are: 8, 5"]);
    assert_eq!(yard.next_offset(), 8);

    let home = Home::lock(&yard.state(0)).expect("it is free");
    check(&restore(&["--checkpoint", "5"]), 1, &["is worked on by another process"]);
    drop(home);
    let older = restore(&["--checkpoint", "5"]);
    check(
        &older,
        0,
        &["goes on at offset 5", "went on at offset 8", "the furthest checkpoint, which goes on at offset 8"],
    );
    assert_eq!(yard.next_offset(), 5);
    check(&restore(&[]), 0, &["goes on at offset 8", "went on at offset 5"]);
    assert_eq!(yard.next_offset(), 8);

    // As a process leaves it that was killed while a state took its place.
    std::fs::rename(yard.state(0), yard.state(0).with_file_name("0.stale")).expect("it can be renamed");
    std::fs::create_dir(yard.state(0).with_file_name("0.fresh")).expect("it can be made");
    assert_eq!(yard.next_offset(), 8, "it is seen where it lies");
    let name = yard.seen(0)["checkpoints"][1]["name"].as_str().expect("it has one").to_owned();
    check(&restore(&["--checkpoint", &name]), 0, &["goes on at offset 5", "went on at offset 8"]);

    std::fs::write(yard.state(0).join("CURRENT"), "torn").expect("it can be written");
    check(&yard.state_verb("", &[]), 0, &["this disk's state cannot be read", "evenkeel state verify"]);
    check(&restore(&[]), 0, &["goes on at offset 8", "could not be read"]);
    std::fs::remove_dir_all(yard.state(0)).expect("it can be lost");
    check(&restore(&[]), 0, &["goes on at offset 8", "there was none before"]);
    check(&yard.state_verb("verify", &[]), 0, &[]);
    let left = std::fs::read_dir(yard.state(0).parent().expect("it has one")).expect("it is there");
    let mut left: Vec<_> = left.map(|one| one.expect("one").file_name()).collect();
    left.sort();
    assert_eq!(left, ["0", "0.lock"], "nothing else stays");
}

/// Wherever it is killed, the state that was there is there, or the one that was to be.
#[test]
fn cli_state_restore_that_is_killed_leaves_one_state_whole() {
    let yard = Yard::new();
    yard.write(12, 10);
    yard.make_checkpoint(5);
    yard.make_checkpoint(8);
    let fresh = yard.state(0).with_file_name("0.fresh");
    for looks in [0, 10, 30, 100, 300, 1_000] {
        let mut restore = yard.command("restore", &["--partition", "0", "--checkpoint", "5"]);
        let mut restore = restore.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
        while !fresh.exists() && restore.try_wait().expect("its state is known").is_none() {
            std::thread::yield_now();
        }
        for _ in 0..looks {
            std::hint::black_box(fresh.exists());
        }
        restore.kill().expect("it can be killed");
        restore.wait().expect("it ends");
        let next = yard.next_offset();
        assert!(next == 5 || next == 8, "{next}");
        check(&yard.state_verb("verify", &["--partition", "0"]), 0, &["this disk's state that goes on at offset "]);
    }
    check(&yard.state_verb("restore", &["--partition", "0", "--checkpoint", "5"]), 0, &["goes on at offset 5"]);
    assert!(!fresh.exists());
}

/// Whatever is not whole is passed over, and what is there stays.
#[test]
fn cli_state_restore_takes_nothing_that_is_damaged() {
    let yard = Yard::new();
    yard.write(12, 10);
    yard.make_checkpoint(5);
    std::fs::remove_dir_all(yard.state(0)).expect("it can be lost");
    yard.make_state(3);
    damage(&yard.files(), "");
    check(&yard.state_verb("restore", &["--partition", "0"]), 1, &["can be used", "is not what was written"]);
    assert_eq!(yard.next_offset(), 3);
}

#[test]
fn cli_state_drop_removes_what_can_be_made_up_for() {
    let yard = Yard::new();
    yard.write(12, 10);
    let drop_it = |more: &[&str]| yard.state_verb("drop", &[&["--partition", "0"], more].concat());
    check(&drop_it(&["--yes"]), 1, &["there is no state of partition 0 in "]);
    yard.make_checkpoint(5);
    yard.make_checkpoint(8);
    let asked = drop_it(&[]);
    check(&asked, 1, &["goes on at offset 8", "from its beginning, offsets 0 to 12", "Say --yes"]);
    check(&drop_it(&["--checkpoint", "5"]), 1, &["from its beginning", "Say --yes"]);
    assert_eq!((yard.next_offset(), yard.checkpoints()), (json!(8), vec![8, 5]), "nothing was removed");
    let home = Home::lock(&yard.state(0)).expect("it is free");
    check(&drop_it(&["--yes"]), 1, &["is worked on by another process"]);
    drop(home);
    check(&drop_it(&["--yes"]), 0, &["removed the state in ", "can be made up for"]);
    assert_eq!(yard.seen(0)["state"], Value::Null);
    assert!(!yard.state(0).exists() && !yard.state(0).with_file_name("0.dropped").exists());
    check(&drop_it(&["--checkpoint", "5", "--yes"]), 0, &["removed checkpoint ", "-"]);
    assert_eq!(yard.checkpoints(), [8]);
}

#[test]
fn cli_state_drop_keeps_what_nothing_can_make_up_for() {
    let mut yard = Yard::new();
    let drop_it = |yard: &Yard, more: &[&str]| yard.state_verb("drop", &[&["--partition", "0"], more].concat());
    yard.write(12, 900_000);
    yard.make_state(11);
    let lost = ["NOTHING CAN MAKE UP FOR IT", "--yes --lose-it"];
    check(&drop_it(&yard, &[]), 1, &lost);
    check(&drop_it(&yard, &["--yes"]), 1, &lost);
    yard.make_checkpoint(12);
    check(&drop_it(&yard, &["--checkpoint", "12"]), 1, &["this disk's state goes on at offset 12", "Say --yes"]);
    check(&drop_it(&yard, &["--yes"]), 0, &["a checkpoint is whole that goes on at offset 12"]);
    assert!(!yard.state(0).with_file_name("0.fresh").exists(), "what was fetched to be looked at");
    check(&drop_it(&yard, &["--checkpoint", "12", "--yes"]), 1, &lost);
    assert_eq!(yard.checkpoints(), [12]);

    damage(&yard.files(), "");
    yard.make_state(11);
    check(&drop_it(&yard, &["--yes"]), 1, &["no checkpoint can be used", "is not what was written", lost[0]]);
    assert_eq!(yard.next_offset(), 11, "it is there still");
    std::fs::remove_dir_all(yard.state(0)).expect("it can be lost");
    check(&drop_it(&yard, &["--checkpoint", "12", "--yes"]), 0, &["Nothing is lost: ", "is not "]);
    assert_eq!(yard.checkpoints(), [0_i64; 0]);

    yard.make_state(11);
    yard.cluster = None;
    check(&drop_it(&yard, &["--yes"]), 1, &["no broker of", lost[0]]);
    check(&drop_it(&yard, &["--yes", "--lose-it"]), 0, &["removed the state in ", lost[0]]);
    assert!(!yard.state(0).exists());
}

#[test]
fn cli_state_wrong_use_is_said() {
    let yard = Yard::new();
    let none = yard.state_verb("restore", &["--partition", "2"]);
    check(&none, 2, &["there is no partition 2; the changes log has partitions 0 to 1"]);
    let config = yard.config();
    for wrong in [
        &["state"][..],
        &["state", "restore", "-c", &config],
        &["state", "drop", "-c", &config],
        &["state", "drop", "-c", &config, "--partition", "0", "--lose-it"],
        &["state", "-c", &config, "verify", "-c", &config],
    ] {
        let ended = super::check(wrong, 2, "stderr");
        assert!(ended.stderr.contains("Usage: evenkeel"), "{wrong:?}: {}", ended.stderr);
    }
}
