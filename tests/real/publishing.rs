//! What only a real broker shows: fencing, topics as they are made, gaps in the input, rules edited over a kill.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::adapters::kafka::Properties;
use evenkeel::adapters::kafka::publisher::{OutputPartition, OutputTopics};
use evenkeel::adapters::records::{CAUSE_HEADER, Message, Output};
use evenkeel::app::StageError;
use evenkeel::app::check::live;
use evenkeel::app::demo::settings::settings;
use evenkeel::app::run::create_topics;
use evenkeel::domain::record::Cause;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::binary::Shipped;
use super::error::Error;
use super::product::{capture, instant, pairs, pg_order};
use super::shipped::{end, sources, start};
use super::watch::Watch;
use super::{Result, wait_until};

const LIMIT: Duration = Duration::from_secs(90);

fn message(offset: i64, text: &str) -> (Cause, Message) {
    let cause = Cause { offset, number: 0 };
    let headers = vec![(CAUSE_HEADER, format!("{offset}:0"))];
    (cause, Message { output: Output::Discrepancies, key: Some("1".to_owned()), body: Some(text.into()), headers })
}

/// A publisher that is taken over publishes nothing more, not even what it had begun; who took over sees what had been.
#[test]
#[ignore = "real stack"]
fn real_a_publisher_that_was_taken_over_publishes_nothing() {
    let stack = super::stack();
    let name = |of: &str| format!("fenced.{of}");
    let topics =
        OutputTopics { discrepancies: name("discrepancies"), open: name("open"), quarantine: name("quarantine") };
    let all = [&topics.discrepancies, &topics.open, &topics.quarantine].map(|topic| (topic.clone(), 1));
    super::create_topics(&stack.bootstrap(), &all).expect("the topics are created");
    let properties = Properties::new([("bootstrap.servers".to_owned(), stack.bootstrap())].into());
    let take_over = || {
        let mut output = OutputPartition::new(&properties, topics.clone(), 0, "fenced-0".to_owned());
        let published = output.take_over().expect("it takes over");
        (output, published)
    };
    let (mut first, published) = take_over();
    assert_eq!(published, None);
    first.publish(&[message(1, "first")]).expect("it is published");
    let (mut second, published) = take_over();
    assert_eq!(published, Some(Cause { offset: 1, number: 0 }));
    let fenced = first.publish(&[message(2, "a zombie's")]).expect_err("it was taken over");
    assert!(fenced.is_fenced(), "{fenced}");
    second.publish(&[message(2, "second")]).expect("it is published");
    let seen = stack.consume(&topics.discrepancies, |records| records.len() >= 2, LIMIT).expect("they are read");
    let bodies: Vec<String> = seen
        .iter()
        .map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into())
        .collect();
    assert_eq!(bodies, ["first", "second"]);
}

fn configured(runtime: &tokio::runtime::Runtime, admin: &Admin, topic: &str, name: &str) -> String {
    let asked = [ResourceSpecifier::Topic(topic)];
    let told = runtime.block_on(admin.describe_configs(&asked, &AdminOptions::new())).expect("the broker answers");
    let topic = told.into_iter().next().expect("one answer").expect("the topic is there");
    topic.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default()
}

type Admin = AdminClient<DefaultClientContext>;

#[test]
#[ignore = "real stack"]
fn real_internal_topics_are_made_as_configured_and_never_altered() {
    let stack = super::stack();
    let state = tempfile::tempdir().expect("a folder");
    let mut settings = settings(&stack.bootstrap(), state.path());
    let topics = &mut settings.topics;
    for topic in [&mut topics.changes, &mut topics.discrepancies, &mut topics.open, &mut topics.quarantine] {
        *topic = topic.replace("evenkeel.demo", "evenkeel.made");
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let admin: Admin = ClientConfig::new().set("bootstrap.servers", stack.bootstrap()).create().expect("a client");
    let own =
        NewTopic::new("evenkeel.made.quarantine", 2, TopicReplication::Fixed(1)).set("retention.ms", "86400000");
    runtime.block_on(admin.create_topics(&[own], &AdminOptions::new())).expect("the operator's own topic");
    runtime.block_on(create_topics(&settings)).expect("the others are created");
    let of = |topic: &str, name: &str| configured(&runtime, &admin, &format!("evenkeel.made.{topic}"), name);
    let policies = ["changes", "discrepancies", "open", "quarantine"].map(|topic| of(topic, "cleanup.policy"));
    assert_eq!(policies, ["delete", "delete", "compact", "delete"]);
    let retention = ["changes", "discrepancies", "quarantine"].map(|topic| of(topic, "retention.ms"));
    assert_eq!(retention, ["-1", "-1", "86400000"], "what the operator made stays as it is");
    assert_eq!(of("open", "max.message.bytes"), "33554432");

    settings.topics.partitions = 3;
    let refused = runtime.block_on(create_topics(&settings)).expect_err("a changed count would move keys");
    assert!(matches!(refused, StageError::PartitionCount { found: 2, wanted: 3, .. }), "{refused}");
}

/// An operator's own topics may lose what Evenkeel builds on: `check --live` says so.
#[test]
#[ignore = "real stack"]
fn real_internal_topics_that_are_set_otherwise_are_found() {
    let stack = super::stack();
    let state = tempfile::tempdir().expect("a folder");
    let mut settings = settings(&stack.bootstrap(), state.path());
    settings.topics.changes = "evenkeel.set.changes".to_owned();
    settings.topics.open = "evenkeel.set.open".to_owned();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let admin: Admin = ClientConfig::new().set("bootstrap.servers", stack.bootstrap()).create().expect("a client");
    let own = |name, setting, value| NewTopic::new(name, 2, TopicReplication::Fixed(1)).set(setting, value);
    let topics = [
        own("evenkeel.set.changes", "retention.ms", "604800000"),
        own("evenkeel.set.open", "cleanup.policy", "compact,delete"),
    ];
    runtime.block_on(admin.create_topics(&topics, &AdminOptions::new())).expect("the operator's own topics");
    let told = || {
        let faults = live(&settings, std::path::Path::new("evenkeel.yaml"));
        faults.iter().map(|fault| fault.message.clone()).filter(|message| message.contains("it needs")).collect()
    };
    let told: Vec<String> =
        wait_until("the topics to be there", LIMIT, || Ok(Some(told()).filter(|told: &Vec<_>| told.len() == 2)))
            .expect("both are found");
    assert_eq!(
        told,
        [
            "topic evenkeel.set.changes has retention.ms=604800000, it needs -1",
            "topic evenkeel.set.open has cleanup.policy=compact,delete, it needs compact"
        ]
    );
}

/// Brokers forget what a group has committed that is away for a week; then it is not known what was not read.
fn forgotten() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay) = sources(&stack, "gap")?;
    let binary = Shipped::read("evenkeel.yaml", "gap", &shop, &pay)?.binary(&stack, folder.path())?;
    let mut watch = start(&stack, [&shop, &pay], &binary, "gap")?;
    let orders = |from: i64| -> Result {
        (from..from + 20).try_for_each(|order| stack.pg(&pg_order(order, "CANCELLED", "1.00")).map(drop))
    };
    orders(1)?;
    let written = instant(&stack, 0)?;
    watch.until("it has read them", LIMIT, |watch| watch.has_settled(2, &written))?;
    binary.stop()?;
    let before = stack.topic_end_offsets(&shop.topic("orders"))?;
    orders(100)?;
    let ends = wait_until("more orders on the topic", LIMIT, || {
        let ends = stack.topic_end_offsets(&shop.topic("orders"))?;
        Ok(ends.iter().all(|(partition, end)| *end > before[partition]).then_some(ends))
    })?;
    let mut list = rdkafka::TopicPartitionList::new();
    for (partition, end) in ends {
        list.add_partition_offset(&shop.topic("orders"), partition, rdkafka::Offset::Offset(end))?;
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let admin: Admin = ClientConfig::new().set("bootstrap.servers", stack.bootstrap()).create()?;
    runtime.block_on(admin.delete_records(&list, &AdminOptions::new()))?;
    for deleted in runtime.block_on(admin.delete_groups(&["evenkeel.gap.ingest"], &AdminOptions::new()))? {
        deleted.map_err(|(group, code)| Error::new(format!("{group}: {code}")))?;
    }
    binary.start()?;
    let gaps = vec!["source_gap orders offset_forgotten"; before.len()];
    watch.until("the gaps are said", LIMIT, |watch| watch.notices == gaps)?;
    binary.stop()?;
    stack.remove_source(&shop)?;
    stack.remove_source(&pay)
}

#[test]
#[ignore = "real stack"]
fn real_input_of_a_group_that_was_forgotten_is_a_gap() {
    forgotten().expect("the stack works");
}

/// Rules are edited while the member is dead, and its disk is lost besides: what was open of a rule that is gone is
/// resolved, what the new one finds is opened, each once.
fn rules_edited_over_a_kill() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay) = sources(&stack, "edited")?;
    let shipped = Shipped::read("evenkeel.yaml", "edited", &shop, &pay)?;
    let binary = shipped.binary(&stack, folder.path())?;
    let mut watch = start(&stack, [&shop, &pay], &binary, "edited")?;
    stack.pg(&format!("{} {}", pg_order(1, "PAID", "10.00"), pg_order(2, "PAID", "20.00")))?;
    stack.maria(&capture(2, "2", "CAPTURED", "20.00"))?;
    let before = pairs(&[("paid-without-payment", "1")]);
    watch.until("it is found", LIMIT, |watch| watch.ever_opened() == before)?;
    binary.kill()?;
    let new =
        "\nrules:\n  - id: large\n    sql: SELECT order_id, total FROM orders WHERE total > 15\n    grace: 0s\n";
    let edited = Shipped::read("evenkeel.yaml", "edited", &shop, &pay)?
        .replace("  - rules/paid-without-payment.yaml\n", "")
        .replace("\nslack: 1s\n", &format!("{new}\nslack: 1s\n"));
    let binary = edited.binary(&stack, folder.path())?;
    std::fs::remove_dir_all(folder.path().join("state"))?;
    binary.start()?;
    let after = pairs(&[("paid-without-payment", "1"), ("large", "2")]);
    watch.until("the new rule speaks", LIMIT, |watch| watch.ever_opened() == after)?;
    let is_resolved = |watch: &Watch| {
        let resolved = ("resolved".to_owned(), "paid-without-payment".to_owned(), "1".to_owned());
        watch.events.contains(&resolved)
    };
    watch.until("the old rule's discrepancy is resolved", LIMIT, is_resolved)?;
    assert_eq!(watch.events.len(), 3, "nothing is said twice: {:?}", watch.events);
    let is_open = |watch: &Watch| ["1", "2"].map(|key| watch.open.get(key).map(|rules| rules.len()));
    watch.until("the open topic says the same", LIMIT, |watch| is_open(watch) == [Some(0), Some(1)])?;
    end(&stack, &binary, [&shop, &pay])
}

#[test]
#[ignore = "real stack"]
fn real_rules_edited_over_a_kill_take_effect_once() {
    rules_edited_over_a_kill().expect("the stack works");
}
