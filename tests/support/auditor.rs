//! Looks at what a product has left behind as the evidence verbs do.

use std::path::Path;

use evenkeel::app::evidence::account::Account;
use evenkeel::app::evidence::archive::Archive;
use evenkeel::app::evidence::audit::{Report, audit};
use evenkeel::app::evidence::desk::Desk;
use evenkeel::app::evidence::explain::{self, explain};
use evenkeel::app::evidence::replay::{self, Summary, replay};
use evenkeel::app::settings::Settings;
use evenkeel::domain::change::Key;
use evenkeel::domain::instant::Instant;
use evenkeel::domain::rule::RuleSet;

/// Looks at a product's topics, or at a copy of them.
pub struct Auditor<'a> {
    pub settings: &'a Settings,
    pub copy: Option<&'a Path>,
}

impl Auditor<'_> {
    pub fn audit(&self) -> Report {
        let archive = Archive::open(self.settings, self.copy).expect("the topics are there");
        audit(self.settings, &archive, None).expect("they can be read")
    }

    fn desk(&self) -> Desk {
        Desk::open(self.settings.clone(), self.copy, None).expect("the topics are there")
    }

    pub fn replay(&self, rules: Option<RuleSet>, diff: bool) -> (Vec<String>, Summary) {
        let mut lines = Vec::new();
        let question = replay::Question { from: Instant::MIN, to: Instant::MAX, rules, diff };
        let summary = replay(&self.desk(), &question, |line| {
            lines.push(line.to_owned());
            Ok(())
        });
        (lines, summary.expect("they can be replayed"))
    }

    pub fn explain(&self, key: &str) -> Account {
        let question = explain::Question { key: Key(key.into()), at: None, rule: None };
        explain(&self.desk(), &question).expect("the log can be replayed")
    }

    /// Nothing was altered, and what was published follows from the changes log.
    pub fn must_be_sound(&self) -> (Report, Summary) {
        let report = self.audit();
        assert!(report.is_sound(), "{report}");
        let (lines, summary) = self.replay(None, true);
        assert!(lines.is_empty() && summary.is_same(), "{summary}{lines:?}");
        (report, summary)
    }
}
