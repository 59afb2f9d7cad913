//! What is said of an order: each story of tests/golden/explain/ with the account of order 1 beside it; UPDATE_GOLDEN=1
//! rewrites them. And what a story cannot tell.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::adapters::debezium::shape::Mask;
use crate::app::evidence::stories::{Deployment, deployments};
use crate::domain::change::{Entry, Gap, GapCause};
use crate::domain::rule::RuleSet;

const FOLDER: &str = "tests/golden/explain";

fn story(name: &str) -> Deployment {
    let all = deployments(&Path::new(FOLDER).join("stories.yaml"));
    all.into_iter().find(|(known, _)| known == name).expect("there is such a story").1
}

/// The story with more lines in its last block.
fn with(name: &str, entries: Vec<Entry>) -> Deployment {
    let Deployment { settings, mut blocks, .. } = story(name);
    blocks.last_mut().expect("it has blocks").entries.extend(entries);
    Deployment::new(settings, blocks)
}

fn moment(text: &str) -> Instant {
    Instant(crate::app::config::moment(text, None).expect("an instant"))
}

fn state(account: &Account) -> &'static str {
    account.verdict.state
}

#[test]
fn accounts_are_as_the_golden_ones() {
    let path = Path::new(FOLDER).join("stories.txt");
    let mut told = String::new();
    for (name, deployment) in deployments(&Path::new(FOLDER).join("stories.yaml")) {
        let account = deployment.explain("1", None, None);
        told.push_str(&format!("=== {name} ({})\n\n{account}\n", state(&account)));
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &told).expect("it can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(told == expected, "UPDATE_GOLDEN=1 accepts what follows\n{told}");
}

#[test]
fn as_of_an_instant_nothing_after_it_is_told() {
    let deployment = story("fine again, after a payment came");
    let as_of = |text: &str| deployment.explain("1", Some(moment(text)), None);
    let states: Vec<&str> = ["12:01:00", "12:05:00", "12:06:59.999999", "12:07:00"]
        .map(|time| state(&as_of(&format!("2026-01-01T{time}Z"))))
        .to_vec();
    assert_eq!(states, ["pending", "open", "open", "fine"]);
    let account = as_of("2026-01-01T12:05:00Z");
    assert!(account.events.iter().all(|event| event.at <= moment("2026-01-01T12:05:00Z")));
    assert!(account.verdict.sentences[0].starts_with("As of 2026-01-01T12:05:00"), "{account}");
    let beyond = as_of("2026-01-01T13:00:00Z");
    assert!(beyond.verdict.sentences[0].contains("history is known up to 2026-01-01T12:08:00"), "{beyond}");
    assert!(beyond.to_string().contains("Verdicts wait for"), "{beyond}");
}

#[test]
fn only_the_rule_that_is_asked_for_is_told() {
    let deployment = story("open, after an attempt that failed");
    let account = deployment.explain("1", None, Some("stuck-pending"));
    assert_eq!(state(&account), "fine");
    let told = account.to_string();
    assert!(told.contains("stuck-pending") && !told.contains("paid-without-payment"), "{told}");
    assert_eq!(state(&deployment.explain("1", None, Some("paid-without-payment"))), "open");
    let question = Question { key: Key("1".into()), at: None, rule: Some("stuck".into()) };
    let refused = explain(&deployment.desk(None), &question).expect_err("there is no such rule").to_string();
    assert!(refused.starts_with("there is no rule \"stuck\"") && refused.ends_with("stuck-pending"), "{refused}");
}

#[test]
fn an_input_gap_is_named_with_what_to_do() {
    let gap = Gap { topic_partition: 1, cause: GapCause::Retention, expected: 7, found: 9, topic_id: 1 };
    let account = with("pending", vec![Entry::Gap(gap)]).explain("1", None, None);
    let told = account.to_string();
    assert_eq!(state(&account), "halted", "{told}");
    for part in
        ["records of story.payments:0, from offset 7 to 9, were lost (retention)", "evenkeel acknowledge payments"]
    {
        assert!(told.contains(part), "{part} is missing from\n{told}");
    }
}

#[test]
fn a_rule_that_went_is_told_where_it_went() {
    let mut rules = story("pending").settings.plan.rule_set();
    rules.rules.retain(|rule| &*rule.id != "paid-without-payment");
    let account = with("open, after an attempt that failed", vec![Entry::Rules(rules)]).explain("1", None, None);
    let told = account.to_string();
    assert!(told.contains("from here on: captured-amount, stuck-pending"), "{told}");
    assert!(told.contains("paid-without-payment resolved: rule_removed"), "{told}");
}

#[test]
fn a_rule_that_cannot_be_asked_is_named() {
    let mut rules: RuleSet = story("pending").settings.plan.rule_set();
    rules.rules[0].sql = "SELECT nothing FROM nowhere".into();
    let account = with("pending", vec![Entry::Rules(rules)]).explain("1", None, None);
    assert!(account.to_string().contains("captured-amount is not asked"), "{account}");
}

#[test]
fn a_change_that_was_sent_again_is_told() {
    let again = story("pending");
    let change = again.blocks.iter().flat_map(|block| &block.entries).find(|entry| matches!(entry, Entry::Change(_)));
    let account = with("pending", vec![change.expect("it has a change").clone()]).explain("1", None, None);
    assert_eq!((account.dropped.len(), state(&account)), (1, "pending"));
    assert!(account.to_string().contains("it had come before"), "{account}");
}

/// What nobody may see of a record nobody sees here.
#[test]
fn masked_columns_are_masked() {
    let mut deployment = story("open, after an attempt that failed");
    let shape = &mut deployment.settings.sources[0].shape;
    let mut hidden = (**shape).clone();
    let total = hidden.columns.iter().position(|column| column.name == "total").expect("it is kept");
    let status = hidden.columns.iter().position(|column| column.name == "payment_status").expect("it is kept");
    (hidden.masks[total], hidden.masks[status]) = (Mask::Hide, Mask::Drop);
    *shape = Arc::new(hidden);
    let account = deployment.explain("1", None, None);
    for told in [account.to_string(), account.to_json().to_string()] {
        assert!(told.contains("***") && !told.contains("payment_status"), "{told}");
        let shown = told.replace("amount=25.00", "").replace("\"amount\":\"25.00\"", "");
        assert!(!shown.contains("25.00"), "{told}");
    }
}

/// Nothing comes out otherwise because somebody looks.
#[test]
fn the_account_says_what_was_published() {
    for (name, deployment) in deployments(Path::new("tests/golden/paid-without-payment.yaml")) {
        let account = deployment.explain("1", None, None);
        let said = account.events.iter().filter_map(|event| match &event.what {
            What::Said { body, .. } => Some(body.clone()),
            _ => None,
        });
        let published = deployment.published();
        let of_key = published.iter().filter(|record| record.key.as_deref() == Some(b"1"));
        let published = of_key.map(|record| {
            serde_json::from_slice::<serde_json::Value>(record.value.as_deref().expect("it has a body"))
                .expect("JSON")
        });
        assert_eq!(said.collect::<Vec<_>>(), published.collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn where_the_beginning_is_gone_the_account_begins_with_what_a_state_knew() {
    let deployment = story("fine again, after a payment came");
    let state = deployment.state(3);
    deployment.write_log(3);
    let question = Question { key: Key("1".into()), at: None, rule: None };
    let account = explain(&deployment.desk(Some(state.path())), &question).expect("there is a state");
    assert_eq!((account.began, account.known_before.len(), account.verdict.state), (3, 1, "fine"));
    assert!(account.to_string().contains("paid-without-payment returns nothing any more"), "{account}");
}
