//! The end of a run in two tables: faults and how long recovery took, and what was found.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::faults::{Fault, Outcome};
use super::verdict::Verdict;

/// The run in numbers.
pub struct Totals {
    pub seed: u64,
    pub lasted: Duration,
    pub changes: u64,
    pub wrongs: usize,
    pub doubtful: usize,
    pub records: usize,
    pub stalls: usize,
}

/// How many lines of one sort are printed.
const SAMPLES: usize = 12;

pub fn faults(outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "{:<28} {:>5} {:>8} {:>8}  {:<10} {}\n",
        "fault", "count", "p50", "max", "worst", "caught up, counted from"
    );
    let mut kinds: BTreeMap<Fault, Vec<(Duration, &str)>> = BTreeMap::new();
    for outcome in outcomes {
        let of = kinds.entry(outcome.fault).or_default();
        of.extend(outcome.recovery.map(|time| (time, outcome.who)));
    }
    let mut all = Vec::new();
    for (fault, mut times) in kinds {
        times.sort_unstable();
        all.extend_from_slice(&times);
        text.push_str(&row(fault.name(), &times, fault.measured_from()));
    }
    all.sort_unstable();
    text.push_str(&row("all", &all, ""));
    for skipped in outcomes.iter().filter(|outcome| outcome.recovery.is_none()) {
        let why = skipped.note.as_deref().unwrap_or_default();
        writeln!(text, "skipped: {}: {why}", skipped.fault.name()).expect("text takes text");
    }
    text
}

fn row(name: &str, times: &[(Duration, &str)], measured_from: &str) -> String {
    let Some((max, worst)) = times.last() else { return format!("{name:<28} {:>5}\n", 0) };
    let (p50, _) = times[times.len() / 2];
    let line = format!(
        "{name:<28} {:>5} {:>6.1} s {:>6.1} s  {worst:<10} {measured_from}",
        times.len(),
        p50.as_secs_f64(),
        max.as_secs_f64()
    );
    format!("{}\n", line.trim_end())
}

/// Members that ended though nobody made them, with their words.
pub fn ends(ends: &[(&'static str, String)]) -> String {
    let mut by_words: BTreeMap<String, usize> = BTreeMap::new();
    for (name, words) in ends {
        // The same but for a number is the same.
        let words = words.replace(|letter: char| letter.is_ascii_digit(), "#");
        *by_words.entry(format!("{name}, {words}")).or_default() += 1;
    }
    let mut text = format!("members that ended by themselves and were started again: {}\n", ends.len());
    for (words, count) in by_words {
        let words: String = words.chars().take(240).collect();
        writeln!(text, "  {count} times {words}").expect("text takes text");
    }
    text
}

pub fn totals(totals: &Totals, verdict: &Verdict) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| writeln!(text, "{name:<28} {value:>9}").expect("text takes text");
    line("seed", totals.seed.to_string());
    line("seconds under load", format!("{:.0}", totals.lasted.as_secs_f64()));
    line("changes", totals.changes.to_string());
    line("changes a second", format!("{:.0}", totals.changes as f64 / totals.lasted.as_secs_f64()));
    line("records heard", totals.records.to_string());
    line("feed stalls said", totals.stalls.to_string());
    line("orders gone wrong", totals.wrongs.to_string());
    line("  too slow to be certain", totals.doubtful.to_string());
    line("records expected", verdict.expected.to_string());
    line("  found", verdict.found.to_string());
    line("  lost", verdict.lost.len().to_string());
    line("  repeated", verdict.repeated.len().to_string());
    line("  false", verdict.false_alarms.len().to_string());
    line("otherwise wrong", verdict.wrong.len().to_string());
    for (name, list) in [
        ("lost", &verdict.lost),
        ("repeated", &verdict.repeated),
        ("false", &verdict.false_alarms),
        ("wrong", &verdict.wrong),
    ] {
        for one in list.iter().take(SAMPLES) {
            writeln!(text, "{name}: {one}").expect("text takes text");
        }
    }
    text
}
