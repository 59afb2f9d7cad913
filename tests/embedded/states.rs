//! `evenkeel state` beside the product at work: it is seen as it is, and nobody is disturbed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use evenkeel::app::demo::settings::FILE;
use evenkeel::app::settings::CheckpointSettings;
use serde_json::Value;

use crate::support::theatre::{TOPICS, Theatre, cluster};

const LIMIT: Duration = Duration::from_secs(60);

/// `evenkeel state` with arguments, on the demo's configuration with checkpoints: its exit code and what it says.
fn state(folder: &Path, bootstrap: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let config = folder.join("evenkeel.yaml");
    let checkpoints = format!("checkpoints: {{url: {}}}", folder.join("store").display());
    std::fs::write(&config, format!("{FILE}\n{checkpoints}\n")).expect("it can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    command.arg("state").args(arguments).arg("-c").arg(&config).arg("--json");
    command.env("DEMO_BOOTSTRAP", bootstrap).env("DEMO_STATE", folder.join("state"));
    let output = command.output().expect("the binary starts");
    let said = serde_json::from_slice(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said.unwrap_or_else(|error| panic!("{error}: {complaint}")))
}

/// Keys, deadlines, disagreements and changes that wait fit together at every moment, and the disk's state is never behind
/// for long.
#[test]
fn embedded_a_state_is_seen_whole_while_the_product_works_on_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = cluster(&TOPICS);
    let bootstrap = cluster.bootstrap_servers();
    let mut theatre = Theatre::new(&bootstrap, &[]);
    let mut settings = theatre.settings(&folder.path().join("state"));
    let url = url::Url::from_directory_path(folder.path().join("store")).expect("it is a path");
    settings.checkpoints = Some(CheckpointSettings { url, options: BTreeMap::new(), every_ms: 500, keep: 2 });
    settings.limits.flush_ms = 100;
    let product = crate::support::product::Product::start(settings);
    theatre.play(true, LIMIT, |theatre| theatre.judge.seen.len() >= 4);
    for _ in 0..5 {
        let before = theatre.judge.seen.len();
        theatre.play(true, LIMIT, |theatre| theatre.judge.seen.len() > before);
        let (code, verified) = state(folder.path(), &bootstrap, &["verify"]);
        assert_eq!(code, Some(0), "{verified:#}");
        let whole = verified["whole"].as_array().expect("a list");
        assert_eq!(whole.iter().filter(|one| one["checkpoint"].is_null()).count(), 2, "{verified:#}");
        assert!(whole.len() > 2, "{verified:#}");
    }
    let (code, report) = state(folder.path(), &bootstrap, &[]);
    assert_eq!((code, report["notes"].as_array().map(Vec::len)), (Some(0), Some(0)), "{report:#}");
    for seen in report["partitions"].as_array().expect("a list") {
        assert_eq!(seen["held"], true, "{report:#}");
        assert!(seen["state"]["settled"].is_string(), "{report:#}");
        assert!(seen["state"]["keys"].as_u64().is_some_and(|keys| keys > 10), "{report:#}");
        assert!(seen["behind"].as_i64().is_some_and(|behind| behind < 200), "{report:#}");
        let checkpoints = seen["checkpoints"].as_array().expect("a list");
        assert!(!checkpoints.is_empty() && checkpoints.iter().all(|one| one["bytes"].is_u64()), "{report:#}");
    }
    theatre.play(false, LIMIT, |theatre| theatre.judge.is_complete());
    product.stop().expect("it stops cleanly");
    let summary = theatre.judge.summary();
    assert!(summary.is_right() && summary.injected() >= 4, "{summary}");
}
