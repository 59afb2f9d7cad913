//! What operators write: the configuration, and stories about its rules.

use std::path::Path;

use evenkeel::app::config;
use evenkeel::app::diagnostic::{Diagnostic, SourceText, render_all};
use evenkeel::app::rule_tests;

/// A configuration, with what is wrong with it shown as it would be.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let nowhere = Path::new("/nonexistent");
    if let Err(faults) = config::load_str(text, nowhere, &|name| (name == "SET").then(|| "5".to_owned())) {
        are_shown(&faults);
    }
}

/// Stories, told as `evenkeel test` tells them.
pub fn stories(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = if folder.join("sources.yaml").exists() { folder.to_owned() } else { folder.join("tests/fuzz") };
    match rule_tests::test_source(&SourceText::new("stories.yaml", text), &folder, false) {
        Ok(outcomes) => drop(outcomes),
        Err(faults) => are_shown(&faults),
    }
}

fn are_shown(faults: &[Diagnostic]) {
    assert!(!faults.is_empty(), "what cannot be read has a fault");
    let _ = render_all(faults, false);
    let _ = faults.iter().map(Diagnostic::to_json).count();
}
