//! House-keeping as tests: the floors' arrows, the size of files, what may not be written, docs that are generated.

mod docs;
mod schemas;

use std::collections::BTreeSet;
use std::path::PathBuf;

use evenkeel::adapters::telemetry;

fn root() -> PathBuf {
    PathBuf::from(".")
}

/// Every file below a folder with one of these endings, with its text, in order.
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
                let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                found.push((name, std::fs::read_to_string(&path).expect("text")));
            }
        }
    }
    found.sort();
    found
}

/// Code without its unit tests, which stand at the end of a file or in one of their own.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

#[test]
fn tidy_arrows_only_point_down() {
    let floors = ["domain", "task", "adapters", "app"];
    let mut wrong = Vec::new();
    for (height, floor) in floors.iter().enumerate() {
        for (name, text) in files(&format!("src/{floor}"), &[".rs"]) {
            let grouped = text.lines().filter(|line| line.contains("crate::{"));
            wrong.extend(
                grouped.map(|line| format!("{name}: one floor an import, so that arrows can be seen: {line}")),
            );
            for above in &floors[height + 1..] {
                let up = text.lines().filter(|line| line.contains(&format!("crate::{above}")));
                wrong.extend(up.map(|line| format!("{name}: {}", line.trim())));
            }
        }
    }
    assert!(wrong.is_empty(), "a lower floor knows a higher one:\n{}", wrong.join("\n"));
}

#[test]
fn tidy_domain_and_task_are_pure() {
    let banned = [
        ("std::fs", "files"),
        ("std::net", "the network"),
        ("std::time", "a clock"),
        ("std::thread", "threads"),
        ("std::env", "the environment"),
        ("async fn", "async"),
        ("rdkafka", "Kafka"),
        ("rocksdb::", "RocksDB"),
        ("tracing::", "logs"),
        ("serde", "serialisers"),
    ];
    let mut wrong = Vec::new();
    let pure = files("src/domain", &[".rs"]).into_iter().chain(files("src/task", &[".rs"]));
    for (name, text) in pure.filter(|(name, _)| !name.ends_with("tests.rs")) {
        for line in code(&text).lines().filter(|line| !line.trim_start().starts_with("//")) {
            let found = banned.iter().filter(|(word, _)| line.contains(word));
            wrong.extend(found.map(|(_, what)| format!("{name} knows {what}: {}", line.trim())));
            if name.starts_with("src/domain") && line.contains("HashMap") {
                wrong.push(format!("{name} depends on a hash map's order: {}", line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn tidy_files_can_be_read_in_a_sitting() {
    let all = files("src", &[".rs"]).into_iter().chain(files("tests", &[".rs"]));
    let long = all.map(|(name, text)| (name, text.lines().count())).filter(|(_, lines)| *lines > 560);
    let long: Vec<String> = long.map(|(name, lines)| format!("{name}: {lines} lines")).collect();
    assert!(long.is_empty(), "look for the missing idea before splitting:\n{}", long.join("\n"));
}

#[test]
fn tidy_every_file_says_what_it_is_for() {
    let silent = files("src", &[".rs"]).into_iter().filter(|(_, text)| !text.starts_with("//!"));
    let silent: Vec<String> = silent.map(|(name, _)| name).collect();
    assert!(silent.is_empty(), "the first line of a file says what it is for: {silent:?}");
}

#[test]
fn tidy_nothing_panics_for_convenience() {
    let mut wrong = Vec::new();
    for (name, text) in files("src", &[".rs"]).into_iter().filter(|(name, _)| !name.ends_with("tests.rs")) {
        for line in code(&text).lines() {
            for word in [".unwrap()", "todo!(", "unimplemented!(", "#[allow(", "dbg!("] {
                if line.contains(word) {
                    wrong.push(format!("{name}: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "say why it holds with expect, or handle it:\n{}", wrong.join("\n"));
}

#[test]
fn tidy_metrics_are_declared_once() {
    for metric in telemetry::METRICS {
        assert!(metric.name.starts_with("evenkeel_"), "{}", metric.name);
        let counter = metric.kind == telemetry::Kind::Counter;
        assert_eq!(metric.name.ends_with("_total"), counter, "{}: counters end in _total", metric.name);
    }
    let others: Vec<_> =
        files("src", &[".rs"]).into_iter().filter(|(name, _)| name != "src/adapters/telemetry.rs").collect();
    for constant in telemetry::CONSTANTS {
        let used = others.iter().any(|(_, text)| text.contains(&format!("telemetry::{constant}")));
        assert!(used, "{constant} is declared, though nothing counts it");
    }
    for (name, text) in others {
        let literal = ["counter!(\"", "gauge!(\"", "histogram!(\""].iter().any(|word| text.contains(word));
        assert!(!literal, "{name} names a metric by itself; declare it in telemetry.rs");
    }
}

/// An oracle that shared code with what it predicts would share its faults.
#[test]
fn tidy_oracle_knows_nothing_of_what_it_predicts() {
    // What names or drives the product; `rules` is known for its meaning in plain Rust.
    let product = ["evenkeel::", "super::events", "super::product", "super::reconciler"];
    let mut wrong = Vec::new();
    for file in ["oracle.rs", "life.rs", "world.rs", "delivery.rs"] {
        let text = std::fs::read_to_string(root().join("tests/sim").join(file)).expect("it is there");
        let lines = text.lines().filter(|line| product.iter().any(|word| line.contains(word)));
        wrong.extend(lines.map(|line| format!("{file}: {line}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A mutation of a line that is gone would prove nothing, nor does one that nobody has tried.
#[test]
fn tidy_mutations_are_of_lines_that_exist() {
    let list = std::fs::read_to_string(root().join("tests/mutations.txt")).expect("the list is there");
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let tried = std::fs::read_to_string(root().join("docs/mutations.md")).expect("the table is there");
    let mut rows: BTreeSet<&str> = tried.lines().filter(|line| line.starts_with("| `")).collect();
    let mut wrong = Vec::new();
    for line in lines {
        let [file, from, to] = line.splitn(3, " | ").collect::<Vec<_>>()[..] else {
            panic!("{line}: file | from | to")
        };
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        let count = text.matches(from).count();
        wrong.extend((count != 1 || from == to).then(|| format!("{file}: {count} times: {from}")));
        let [from, to] = [from, to].map(|code| code.replace('|', "\\|"));
        let row = format!("| `{file}` | `{from}` | `{to}` | ");
        let before = rows.len();
        rows.retain(|line| !line.starts_with(&row));
        wrong.extend((rows.len() == before).then(|| format!("make mutate MUTATIONS=new: {line}")));
    }
    wrong.extend(rows.into_iter().map(|row| format!("docs/mutations.md has what is no mutation: {row}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn tidy_architecture_can_be_read_in_ten_minutes() {
    let lines = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there").lines().count();
    assert!(lines <= 150, "ARCHITECTURE.md has {lines} lines");
}
