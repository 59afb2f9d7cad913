//! `evenkeel demo` as a script meets it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::command;
use super::run::Process;
use crate::support::audience::Audience;
use crate::support::schemas::Topic;

fn left_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn cli_demo_finds_what_was_injected_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut demo = command(&["demo", "--seconds", "30", "--json"]);
    let output = demo.env("TMPDIR", folder.path()).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let summary: Value = serde_json::from_slice(&output.stdout).expect("the summary is one JSON object");
    assert_eq!(output.status.code(), Some(0), "{summary:#}\n{said}");
    assert!(summary["injected"].as_u64() > Some(0), "{summary:#}");
    assert_eq!(summary["found"], summary["injected"], "{summary:#}");
    for (field, expected) in
        [("missed", 0), ("false_alarms", 0), ("stalls_injected", 1), ("stalls_reported", 1), ("repeated", 0)]
    {
        assert_eq!(summary[field], json!(expected), "{field} of {summary:#}");
    }
    assert_eq!(said, "");
    assert_eq!(left_in(folder.path()), Vec::<String>::new(), "its state is removed");
}

/// A demo without end, with its lines up to its first discrepancy: it is at work, and more was injected.
fn under_way(folder: &Path) -> (Process, impl Iterator<Item = String> + use<>) {
    let mut demo = command(&["demo", "--forever"]);
    demo.env("TMPDIR", folder);
    let mut process = Process::start(demo);
    let mut lines = process.stdout();
    let opened = lines.by_ref().any(|line| line.contains(" opened "));
    assert!(opened, "it ended without a discrepancy");
    assert_eq!(left_in(folder).len(), 1, "its state");
    (process, lines)
}

/// What the line of the table counts: injected, found, missed.
fn counts(told: &str) -> Vec<u32> {
    let all = told.lines().find(|line| line.starts_with("all ")).unwrap_or_default();
    all.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn cli_demo_without_end_waits_for_what_it_injected_when_told_to_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut process, lines) = under_way(folder.path());
    process.signal("TERM");
    let told = lines.collect::<Vec<_>>().join("\n");
    assert_eq!(process.exit_code(), Some(0), "{told}");
    assert!(matches!(counts(&told)[..], [injected, found, 0] if injected > 0 && injected == found), "{told}");
    assert!(told.contains("false alarms       0"), "{told}");
    let said: Vec<String> = process.stderr().collect();
    assert!(said.len() == 1 && said[0].starts_with("ending: "), "{said:?}");
    assert_eq!(left_in(folder.path()), Vec::<String>::new(), "its state is removed");
}

#[test]
fn cli_demo_ends_at_once_when_told_twice() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut process, lines) = under_way(folder.path());
    process.signal("INT");
    let mut said = process.stderr();
    assert!(said.next().is_some_and(|line| line.starts_with("ending: ")));
    process.signal("INT");
    let told = lines.collect::<Vec<_>>().join("\n");
    assert!(matches!(counts(&told)[..], [injected, found, missed] if injected == found + missed), "{told}");
    assert!(said.any(|line| line.starts_with("ended at once")), "it says that it did not wait");
    assert!(process.exit_code().is_some(), "it ends by itself");
    assert_eq!(left_in(folder.path()), Vec::<String>::new(), "its state is removed");
}

/// As in `evenkeel demo | head -1`.
#[test]
fn cli_demo_cleans_up_when_nobody_reads_it_any_more() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut process, lines) = under_way(folder.path());
    drop(lines);
    assert_eq!(process.exit_code(), Some(1));
    let said: Vec<String> = process.stderr().collect();
    assert!(said.iter().any(|line| line.contains("Broken pipe")), "{said:?}");
    assert_eq!(left_in(folder.path()), Vec::<String>::new(), "its state is removed");
}

/// From a snapshot to a stall and its end, on its own topics.
#[test]
fn cli_demo_writes_records_as_the_schemas_say() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut demo = command(&["demo", "--forever"]);
    demo.env("TMPDIR", folder.path());
    let mut process = Process::start(demo);
    let mut lines = process.stdout();
    let first = lines.next().expect("it says where its Kafka is");
    let mut audience = Audience::new(first.rsplit(' ').next().expect("an address"));
    let told = std::thread::spawn(move || lines.collect::<Vec<_>>().join("\n"));
    let deadline = Instant::now() + Duration::from_secs(180);
    let mut kinds = BTreeSet::new();
    let all = ["heartbeat", "open", "opened", "resolved", "shut", "source_recovered", "source_stalled"];
    while !all.iter().all(|kind| kinds.contains(*kind)) {
        assert!(Instant::now() < deadline, "of {all:?} only {kinds:?}");
        kinds.extend(audience.listen(Duration::from_millis(50)).iter().map(|said| match (said.topic, &said.body) {
            (Topic::Discrepancies, Some(body)) => body["type"].as_str().expect("a type").to_owned(),
            (Topic::Open, Some(_)) => "open".to_owned(),
            (Topic::Open, None) => "shut".to_owned(),
            (topic, body) => panic!("{topic:?}: {body:?}"),
        }));
    }
    process.signal("TERM");
    let told = told.join().expect("its lines are text");
    assert_eq!(process.exit_code(), Some(0), "{told}");
}
