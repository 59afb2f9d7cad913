//! The shipped rules and their stories; and that a story which is not true fails readably.

use std::path::{Path, PathBuf};

use super::{Outcome, test_file, text_report};
use crate::app::diagnostic::render_all;

fn story_files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("tests/golden").expect("the folder is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    paths
}

fn tell(path: &Path, restarts: bool) -> Vec<Outcome> {
    test_file(path, restarts).unwrap_or_else(|faults| panic!("{}", render_all(&faults, false)))
}

#[test]
fn every_story_is_true() {
    let mut outcomes = Vec::new();
    for path in story_files() {
        outcomes.extend(tell(&path, false));
    }
    assert!(outcomes.iter().all(|outcome| outcome.failures.is_empty()), "{}", text_report(&outcomes));
}

/// What a task remembers on disk is all that it needs.
#[test]
fn every_story_is_true_when_the_task_starts_anew_after_each_step() {
    for path in story_files() {
        assert_eq!(tell(&path, true), tell(&path, false), "{}", path.display());
    }
}

#[test]
fn a_story_that_is_not_true_says_what_differs() {
    let folder = Path::new("tests/golden/false");
    let report = text_report(&tell(&folder.join("stories.yaml"), false));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(folder.join("stories.txt"), &report).expect("it can be written");
    }
    let expected = std::fs::read_to_string(folder.join("stories.txt")).unwrap_or_default();
    assert!(report == expected, "UPDATE_GOLDEN=1 accepts what follows\n{report}");
}
