//! What a full disk does: the product stops with a clear error, and nothing is lost.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use evenkeel::app::demo::settings::FILE;

use crate::support::theatre::{TOPICS, Theatre, cluster};

/// Starts the binary with the demo's configuration and a state that is written often. Where `blocks` is given, no file
/// may be larger than so many times 512 bytes: a write beyond fails, as on a full disk.
fn start(folder: &Path, bootstrap: &str, blocks: Option<u32>) -> Child {
    let config = folder.join("evenkeel.yaml");
    std::fs::write(&config, format!("{FILE}\nlimits: {{flush: 50ms}}\n")).expect("it can be written");
    let limit = blocks.map_or(String::new(), |blocks| format!("trap '' XFSZ; ulimit -f {blocks}; "));
    Command::new("sh")
        .arg("-c")
        .arg(format!("{limit}exec \"$0\" run -c \"$1\""))
        .arg(env!("CARGO_BIN_EXE_evenkeel"))
        .arg(&config)
        .env("DEMO_BOOTSTRAP", bootstrap)
        .env("DEMO_STATE", folder.join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("log")).expect("a log"))
        .spawn()
        .expect("the binary starts")
}

#[test]
fn embedded_a_full_disk_stops_it_with_a_clear_error_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cluster = cluster(&TOPICS);
    let mut theatre = Theatre::new(&cluster.bootstrap_servers(), &[]);
    let mut full = start(folder.path(), &cluster.bootstrap_servers(), Some(300));
    let mut ended = None;
    theatre.play(true, Duration::from_secs(60), |_| {
        ended = full.try_wait().expect("its state is known");
        ended.is_some()
    });
    let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
    assert_eq!(ended.and_then(|status| status.code()), Some(1), "{log}");
    let said = log.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(said.contains("RocksDB at ") && said.contains("File too large"), "{said}");

    let mut member = start(folder.path(), &cluster.bootstrap_servers(), None);
    let before = theatre.judge.seen.len();
    theatre.play(true, Duration::from_secs(60), |theatre| theatre.judge.seen.len() >= before + 3);
    theatre.play(false, Duration::from_secs(60), |theatre| theatre.judge.is_complete());
    member.kill().expect("it is running");
    member.wait().expect("it ends");
    let summary = theatre.judge.summary();
    assert!(summary.is_right(), "{summary}");
}
