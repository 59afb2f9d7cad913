//! Members that lost their disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

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
