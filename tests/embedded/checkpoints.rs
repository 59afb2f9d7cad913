//! Members that lost their disk, and checkpoints that are of no use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evenkeel::adapters::checkpoints::{About, Checkpoints, Identity};
use evenkeel::adapters::clock::now;
use evenkeel::adapters::kafka::Properties;
use evenkeel::adapters::kafka::admin::Admin;
use evenkeel::app::run::Runtime;
use evenkeel::app::settings::CheckpointSettings;

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

#[test]
fn embedded_a_member_that_lost_its_disk_begins_from_a_checkpoint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (state, store) = (folder.path().join("state"), folder.path().join("store"));
    let cluster = cluster(&TOPICS);
    let mut theatre = Theatre::new(&cluster.bootstrap_servers(), &[]);
    let mut settings = theatre.settings(&state);
    let url = url::Url::from_directory_path(&store).expect("it is a path");
    settings.checkpoints = Some(CheckpointSettings { url, options: BTreeMap::new(), every_ms: 500, keep: 2 });
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

/// A checkpoint whose every byte is what was written, and which RocksDB cannot open all the same.
#[test]
fn embedded_a_checkpoint_that_cannot_be_opened_costs_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (state, store) = (folder.path().join("state"), folder.path().join("store"));
    let cluster = cluster(&TOPICS);
    let mut theatre = Theatre::new(&cluster.bootstrap_servers(), &[]);
    let mut settings = theatre.settings(&state);
    let product = Product::start(settings.clone());
    theatre.play(true, LIMIT, |theatre| theatre.judge.seen.len() >= 2);
    product.stop().expect("it stops cleanly");

    let url = url::Url::from_directory_path(&store).expect("it is a path");
    settings.checkpoints =
        Some(CheckpointSettings { url: url.clone(), options: BTreeMap::new(), every_ms: 3_600_000, keep: 2 });
    let identity = Identity {
        reconciliation: "demo".to_owned(),
        cluster: Admin::new(&Properties::new(settings.kafka.clone()))
            .and_then(|admin| admin.cluster())
            .expect("it has one"),
        topic: settings.topics.changes.clone(),
        partitions: settings.topics.partitions,
    };
    let runtime = Runtime::start().expect("a runtime");
    let checkpoints =
        Checkpoints::new(&url, &BTreeMap::new(), identity, 2, runtime.handle().clone()).expect("it opens");
    let junk = folder.path().join("junk");
    std::fs::create_dir(&junk)
        .and_then(|()| std::fs::write(junk.join("CURRENT"), "junk"))
        .expect("it can be written");
    let about = About { next_offset: 1_000_000, settled: None, written_at: now() };
    checkpoints.upload(0, &junk, &about, &AtomicBool::new(false)).expect("it is written");

    let product = Product::start(settings);
    theatre.play(true, LIMIT, |_| product.status.is_ready());
    let began: BTreeMap<_, _> = product.status.partitions().into_iter().collect();
    let began = began[&0].began.load(Ordering::Relaxed);
    assert!(began > 0 && began < 1_000_000, "its own disk's state goes on, not {began}");
    theatre.play(false, LIMIT, |theatre| theatre.judge.is_complete());
    product.stop().expect("it stops cleanly");
    let summary = theatre.judge.summary();
    assert!(summary.is_right() && summary.injected() >= 2, "{summary}");
}
