//! Members that lost their disk, and checkpoints that are of no use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evenkeel::adapters::checkpoints::{About, Checkpoints, Digests, Home, HomeError, Identity, Store};
use evenkeel::adapters::clock::now;
use evenkeel::adapters::kafka::Properties;
use evenkeel::adapters::kafka::admin::Admin;
use evenkeel::app::StageError;
use evenkeel::app::run::Runtime;
use evenkeel::app::settings::{CheckpointSettings, Settings};
use evenkeel::task::wire::state;

use crate::support::product::Product;
use crate::support::theatre::{TOPICS, Theatre, cluster};

const LIMIT: Duration = Duration::from_secs(60);

/// The names of a partition's checkpoints.
fn checkpoints(store: &Path, partition: i32) -> Vec<String> {
    let all = |folder: PathBuf| {
        std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
    };
    let whose = all(store.join("demo"));
    let checkpoints = whose.flat_map(|whose| all(whose.join(partition.to_string()).join("checkpoints")));
    checkpoints.map(|path| path.display().to_string()).collect()
}

/// Settings that keep so many checkpoints.
fn settings(theatre: &Theatre, state: &Path, store: &Path, keep: usize) -> Settings {
    let url = url::Url::from_directory_path(store).expect("it is a path");
    let checkpoints = CheckpointSettings { url, options: BTreeMap::new(), every_ms: 500, keep };
    Settings { checkpoints: Some(checkpoints), ..theatre.settings(state) }
}

#[test]
fn embedded_a_member_that_lost_its_disk_begins_from_a_checkpoint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (state, store) = (folder.path().join("state"), folder.path().join("store"));
    let cluster = cluster(&TOPICS);
    let mut theatre = Theatre::new(&cluster.bootstrap_servers(), &[]);
    let settings = settings(&theatre, &state, &store, 2);
    let partitions = settings.topics.partitions;
    let product = Product::start(settings.clone());
    theatre.play(true, LIMIT, |theatre| theatre.judge.seen.len() >= 4);
    let before: Vec<_> = (0..partitions).map(|partition| checkpoints(&store, partition)).collect();
    theatre.play(true, LIMIT, |_| {
        (0..partitions).zip(&before).all(|(partition, before)| checkpoints(&store, partition) != *before)
    });
    product.stop().expect("it stops cleanly");

    std::fs::remove_dir_all(&state).expect("it can be lost");
    let product = Product::start(settings);
    theatre.play(true, LIMIT, |_| product.status.is_ready());
    let began: Vec<_> =
        product.status.partitions().iter().map(|(_, status)| status.began.load(Ordering::Relaxed)).collect();
    assert!(began.len() == partitions as usize && began.iter().all(|offset| *offset > 0), "{began:?}");
    theatre.play(false, LIMIT, |theatre| theatre.judge.is_complete());
    product.stop().expect("it stops cleanly");
    let summary = theatre.judge.summary();
    assert!(summary.is_right() && summary.injected() >= 4, "{summary}");
}

/// Writes a checkpoint whose every byte is what was written, and which RocksDB cannot open all the same.
fn upload_junk(settings: &Settings, junk: &Path, next_offset: i64) {
    let runtime = Runtime::start().expect("a runtime");
    let given = settings.checkpoints.as_ref().expect("they are configured");
    let store = Store::open(&given.url, &given.options, runtime.handle().clone()).expect("it opens");
    let admin = Admin::new(&Properties::new(settings.kafka.clone())).expect("a client");
    let identity = Identity {
        reconciliation: "demo".to_owned(),
        cluster: admin.cluster().expect("it has one"),
        topic: settings.topics.changes.clone(),
        partitions: settings.topics.partitions,
    };
    let checkpoints = Checkpoints::new(store, identity, state::VERSION.into(), 3);
    std::fs::create_dir(junk).expect("it can be made");
    std::fs::write(junk.join("CURRENT"), "junk").expect("it can be written");
    let about = About { next_offset, settled: None, written_at: now() };
    let uploaded = checkpoints.upload(0, junk, &about, &mut Digests::default(), &AtomicBool::new(false));
    uploaded.expect("it is written");
}

/// The next older one is taken, though it is not the state that was there.
#[test]
fn embedded_a_checkpoint_that_cannot_be_opened_costs_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (state, store) = (folder.path().join("state"), folder.path().join("store"));
    let cluster = cluster(&TOPICS);
    let mut theatre = Theatre::new(&cluster.bootstrap_servers(), &[]);
    let mut settings = settings(&theatre, &state, &store, 3);
    let product = Product::start(settings.clone());
    theatre.play(true, LIMIT, |theatre| theatre.judge.seen.len() >= 2 && !checkpoints(&store, 0).is_empty());
    product.stop().expect("it stops cleanly");

    std::fs::remove_dir_all(&state).expect("it can be lost");
    upload_junk(&settings, &folder.path().join("junk"), 1_000_000);
    // No other checkpoint comes meanwhile.
    settings.checkpoints.as_mut().expect("they are configured").every_ms = 3_600_000;
    let product = Product::start(settings);
    theatre.play(true, LIMIT, |_| product.status.is_ready());
    let began: BTreeMap<_, _> = product.status.partitions().into_iter().collect();
    let began = began[&0].began.load(Ordering::Relaxed);
    assert!(began > 0 && began < 1_000_000, "an older checkpoint's state goes on, not {began}");
    assert!(state.join("demo").join("0.refused").exists(), "a restart does not fetch it again");
    theatre.play(false, LIMIT, |theatre| theatre.judge.is_complete());
    product.stop().expect("it stops cleanly");
    let summary = theatre.judge.summary();
    assert!(summary.is_right() && summary.injected() >= 2, "{summary}");
}

#[test]
fn embedded_a_state_that_another_process_works_on_is_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let other = Home::lock(&folder.path().join("demo").join("0")).expect("it is free");
    let cluster = cluster(&TOPICS);
    let mut theatre = Theatre::new(&cluster.bootstrap_servers(), &[]);
    let product = theatre.product(folder.path());
    theatre.play(true, LIMIT, |_| !product.is_running());
    match product.stop() {
        Err(StageError::Home(HomeError::Taken { folder })) => assert_eq!(folder, other.folder()),
        ended => panic!("{ended:?}"),
    }
}
