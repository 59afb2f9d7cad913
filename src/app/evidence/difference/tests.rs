//! What is replayed beside what was published: by the same rules nothing differs, whatever is altered is found, and other
//! rules say what they would have said.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::adapters::copy::Stored;
use crate::app::evidence::archive::Archive;
use crate::app::evidence::audit::audit;
use crate::app::evidence::desk::Desk;
use crate::app::evidence::replay::{Compared, Question};
use crate::app::evidence::stories::{Deployment, ask, deployments};
use crate::domain::instant::Instant;
use crate::domain::rule::RuleSet;

const PAID: &str = "tests/golden/paid-without-payment.yaml";

fn story_files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("tests/golden").expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

/// The first story: an order opens at 12:05 and escalates at 12:30.
fn opened() -> Deployment {
    deployments(Path::new(PAID)).swap_remove(0).1
}

fn kinds(lines: &[String]) -> Vec<(String, String)> {
    let parsed = lines.iter().map(|line| serde_json::from_str::<Json>(line).expect("JSON"));
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let one = |line: Json| {
        let said = if line["replayed"].is_null() { &line["published"] } else { &line["replayed"] };
        (text(&line["difference"]), text(&said["body"]["type"]))
    };
    parsed.map(one).collect()
}

fn differences(deployment: &Deployment) -> Vec<(String, String)> {
    kinds(&deployment.replay(None, true).0)
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(kind, event)| ((*kind).to_owned(), (*event).to_owned())).collect()
}

fn rules(deployment: &Deployment, change: impl Fn(&mut RuleSet)) -> RuleSet {
    let mut rules = deployment.settings.plan.rule_set();
    change(&mut rules);
    rules
}

/// That what was published is a function of the changes log.
#[test]
fn a_replay_of_every_story_says_what_was_published() {
    let mut same = 0;
    for path in story_files() {
        for (name, deployment) in deployments(&path) {
            let (lines, summary) = deployment.replay(None, true);
            assert!(lines.is_empty() && summary.is_same(), "{name}: {lines:?}");
            let compared = summary.compared.unwrap_or_default();
            assert_eq!(compared.same, deployment.published().len() as u64, "{name}: {summary}");
            same += compared.same;
        }
    }
    assert!(same > 100, "the stories say little: {same}");
}

#[test]
fn what_was_published_otherwise_is_told() {
    let deployment = opened();
    let sound = deployment.published();
    let is = |record: &Stored, kind: &str| record.header("ce_type").is_some_and(|known| known.ends_with(kind));
    let place = |kind: &str| sound.iter().position(|record| is(record, kind)).expect("it was published");

    let mut removed = sound.clone();
    removed.remove(place("opened"));
    deployment.publish(&removed);
    assert_eq!(differences(&deployment), pairs(&[("additional", "opened")]));

    let mut altered = sound.clone();
    altered[place("opened")].value = Some(b"{\"type\":\"opened\"}".to_vec());
    deployment.publish(&altered);
    assert_eq!(differences(&deployment), pairs(&[("different", "opened")]));

    let mut forged = sound.clone();
    let id = forged[place("opened")].headers.iter_mut().find(|(name, _)| name == "ce_id").expect("it has one");
    id.1 = Some(b"another".to_vec());
    deployment.publish(&forged);
    assert_eq!(differences(&deployment), pairs(&[("additional", "opened"), ("missing", "opened")]));

    // What comes last may still be on its way.
    let opened = place("opened");
    deployment.publish(&sound[..opened]);
    let (lines, summary) = deployment.replay(None, true);
    let expected =
        Compared { same: opened as u64, unpublished: (sound.len() - opened) as u64, ..Compared::default() };
    assert_eq!((lines, summary.compared), (Vec::new(), Some(expected)));
}

#[test]
fn other_rules_are_rehearsed_on_what_has_happened() {
    let deployment = opened();
    assert_eq!(kinds(&deployment.replay(Some(rules(&deployment, |_| {})), true).0), []);
    let later = rules(&deployment, |rules| {
        rules.rules[0].grace_us = 600_000_000;
        rules.rules[0].version = "later".into();
    });
    let (lines, summary) = deployment.replay(Some(later), true);
    assert_eq!(kinds(&lines), pairs(&[("different", "opened")]), "{lines:?}");
    assert!(!summary.is_same());
    let without = rules(&deployment, |rules| rules.rules.clear());
    let (lines, _) = deployment.replay(Some(without), true);
    assert_eq!(kinds(&lines), pairs(&[("missing", "opened"), ("missing", "escalated")]));
    let another = rules(&deployment, |rules| {
        let mut rule = rules.rules[0].clone();
        rule.id = "another".into();
        rules.rules.push(rule);
    });
    let (lines, _) = deployment.replay(Some(another), true);
    assert_eq!(kinds(&lines), pairs(&[("additional", "opened"), ("additional", "escalated")]));
    let strange = rules(&deployment, |rules| rules.rules[0].sql = "SELECT order_id FROM shipments".into());
    let (_, summary) = deployment.replay(Some(strange), true);
    assert!(summary.to_string().contains("rule paid-without-payment was not asked"), "{summary}");
}

#[test]
fn only_what_happened_in_the_time_asked_for_is_told() {
    let deployment = opened();
    let moment = |text: &str| Instant(crate::app::config::moment(text, None).expect("an instant"));
    let told = |from: &str, to: &str| {
        let question = Question { from: moment(from), to: moment(to), rules: None, diff: false };
        let (lines, summary) = ask(&deployment.desk(None), &question);
        assert_eq!(summary.records, lines.len() as u64);
        let kind =
            |line: &String| serde_json::from_str::<Json>(line).expect("JSON")["type"].as_str().map(str::to_owned);
        lines.iter().filter_map(kind).collect::<Vec<_>>()
    };
    assert_eq!(told("2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z"), ["opened", "escalated"]);
    assert_eq!(told("2026-01-01T12:05:00Z", "2026-01-01T12:30:00Z"), ["opened"], "from is in, to is not");
    assert_eq!(told("2026-01-01T12:05:00.000001Z", "2026-01-01T12:30:00.000001Z"), ["escalated"]);
    assert_eq!(told("2026-01-01T12:05:00.000001Z", "2026-01-01T12:30:00Z"), Vec::<String>::new());
}

#[test]
fn where_the_beginning_is_gone_a_state_stands_for_it() {
    let deployment = opened();
    deployment.write_log(2);
    let refused = deployment.desk(None).player(0, None).map(|_| ()).expect_err("nobody knows what was before");
    assert!(refused.to_string().contains("retention removed what was before"), "{refused}");
    for begins in [2, 3] {
        let state = deployment.state(begins);
        let question = Question { from: Instant::MIN, to: Instant::MAX, rules: None, diff: true };
        let (lines, summary) = ask(&deployment.desk(Some(state.path())), &question);
        assert!(lines.is_empty() && summary.is_same(), "{lines:?}");
        assert_eq!(summary.cut, [(0, begins as i64)]);
        assert!(summary.compared.is_some_and(|compared| compared.same > 0), "{summary}");
    }
    // A state was judged by the rules of its time: others begin where it ends.
    let another = rules(&deployment, |rules| {
        let mut rule = rules.rules[0].clone();
        rule.id = "another".into();
        rules.rules = vec![rule];
    });
    let state = deployment.state(3);
    let question = Question { from: Instant::MIN, to: Instant::MAX, rules: Some(another), diff: true };
    let (lines, _) = ask(&deployment.desk(Some(state.path())), &question);
    assert_eq!(kinds(&lines), pairs(&[("additional", "opened"), ("missing", "opened"), ("missing", "escalated")]));
    let state = deployment.state(1);
    let refused = deployment.desk(Some(state.path())).player(0, None).map(|_| ()).expect_err("it is of before");
    assert!(refused.to_string().contains("goes on at offset 1, the changes log holds offsets 2"), "{refused}");
}

/// A state may be given while nobody works on it only: RocksDB's files change under a copy.
#[test]
fn a_state_that_somebody_works_on_is_refused() {
    let deployment = opened();
    let state = deployment.state(2);
    let home = crate::adapters::checkpoints::Home::lock(&state.path().join("0")).expect("nobody has it");
    let desk = deployment.desk(Some(state.path()));
    let refused = desk.player(0, None).map(|_| ()).expect_err("somebody works on it");
    assert!(refused.to_string().contains("a process works on the state"), "{refused}");
    drop(home);
    assert!(desk.player(0, None).is_ok());
}

/// What people are shown is as it was looked at; UPDATE_GOLDEN=1 rewrites it.
fn golden(name: &str, told: &str) {
    let path = Path::new("tests/golden/explain").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, told).expect("it can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(told == expected, "UPDATE_GOLDEN=1 accepts what follows\n{told}");
}

#[test]
fn a_story_as_it_was_published_passes_the_audit() {
    let deployment = opened();
    let Desk { archive, settings, .. } = &deployment.desk(None);
    assert!(matches!(archive, Archive::Copy(_)));
    let sound = audit(settings, archive, None).expect("it can be read");
    assert!(sound.is_sound(), "{sound}");
    let mut records = deployment.published();
    records.remove(1);
    deployment.publish(&records);
    let broken = audit(settings, archive, None).expect("it can be read");
    assert!(!broken.is_sound());
    golden("audit.txt", &format!("{sound}\n{broken}"));
}

#[test]
fn a_rehearsal_says_what_would_have_been_said() {
    let deployment = opened();
    let later = rules(&deployment, |rules| {
        rules.rules[0].grace_us = 3_600_000_000;
        rules.rules[0].version = "later".into();
    });
    let (lines, summary) = deployment.replay(Some(later), true);
    golden("replay.txt", &format!("{}\n\n{summary}", lines.join("\n")));
}
