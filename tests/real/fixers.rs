//! The consumers of deploy/consumers beside records that Evenkeel has published, as JSON and as Avro.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use serde_json::Value;

use super::binary::Shipped;
use super::process::{Service, User};
use super::product::{capture, pg_order};
use super::shipped::sources;
use super::watch::Watch;
use super::{Record, Result, Stack};

const LIMIT: Duration = Duration::from_secs(90);

const PARTITIONS: i32 = 2;

/// A rule that escalates within a test's patience.
const LOUD: &str = "
rules:
  - id: huge
    sql: SELECT order_id, total AS amount_at_risk, currency FROM orders WHERE total > 1000000
    grace: 1s
    escalate: [{after: 3s, severity: critical}]
    labels: {severity: high}
";

/// What a fixer is to print of an event; `None` where it leaves it alone.
fn line(body: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let is_flapping = body["flap_count"].as_i64() > Some(0);
    let (amount, currency) = (text(&body["amount_at_risk"]), text(&body["currency"]));
    let [kind, rule, key, id] = [&body["type"], &body["rule"]["id"], &body["key"], &body["id"]].map(text);
    (!is_flapping).then(|| format!("{kind} {rule} {key} {amount} {currency} {id}/{}", body["revision"]))
}

/// Writes real records to another topic as consumers may come upon them: all of them twice over. The last of each partition
/// comes once, at the end: who has said it has read everything before.
fn repeat(stack: &Stack, records: &[Record], topic: &str, last: impl Fn(&Record) -> bool) -> Result {
    super::create_topics(&stack.bootstrap(), &[(topic.to_owned(), PARTITIONS)])?;
    let producer: ThreadedProducer<_> = ClientConfig::new().set("bootstrap.servers", stack.bootstrap()).create()?;
    for partition in 0..PARTITIONS {
        let own: Vec<&Record> = records.iter().filter(|record| record.partition == partition).collect();
        let end = own.iter().rposition(|record| last(record)).expect("each partition has something to say");
        let twice = own[..end].iter().flat_map(|record| [record, record]);
        for record in twice.chain(&own[..end]).chain([&own[end]]) {
            let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: value.as_deref() })
            });
            let mut copy = BaseRecord::to(topic).partition(partition).headers(headers);
            copy = match record.key.as_deref() {
                Some(key) => copy.key(key),
                None => copy,
            };
            copy = match record.value.as_deref() {
                Some(value) => copy.payload(value),
                None => copy,
            };
            producer.send(copy).map_err(|(error, _)| error)?;
        }
    }
    Ok(producer.flush(LIMIT)?)
}

/// How each consumer is started, by its language.
fn commands(stack: &Stack) -> Result<[(&'static str, Command); 3]> {
    let parts = stack.parts();
    let target = Path::new(env!("CARGO_BIN_EXE_evenkeel")).parent().expect("it lies in a folder");
    let rust = target.join("examples/fixer");
    assert!(rust.exists(), "{} is missing: cargo build --example fixer", rust.display());
    let mut python = User::OURS.command(&parts.python, "KILL");
    python.arg("deploy/consumers/python/fixer.py");
    let mut java = parts.java_alone("128m");
    java.arg("-cp").arg(class_path(&parts.lib, &parts.registry)?).arg("deploy/consumers/java/Fixer.java");
    Ok([("rust", User::OURS.command(&rust, "KILL")), ("python", python), ("java", java)])
}

/// The jars that the program names, in the versions that it names, and what they need.
fn class_path(kafka: &Path, registry: &Path) -> Result<std::ffi::OsString> {
    let converter = registry.join("plugins/converter");
    let text = std::fs::read_to_string("deploy/consumers/java/Fixer.java")?;
    let named = text.lines().filter_map(|line| line.strip_prefix("//DEPS "));
    let mut jars: Vec<PathBuf> = Vec::new();
    for dependency in named {
        let (artifact, version) =
            dependency.split_once(':').and_then(|(_, rest)| rest.split_once(':')).expect("as Maven has it");
        let jar = format!("{artifact}-{version}.jar");
        let found = [kafka, &converter].into_iter().map(|folder| folder.join(&jar)).find(|jar| jar.exists());
        jars.push(found.unwrap_or_else(|| panic!("{jar} is not what the stack has")));
    }
    assert_eq!(jars.len(), 3);
    jars.push(kafka.join("*"));
    Ok(std::env::join_paths(jars)?)
}

/// A consumer at work.
struct Fixer {
    language: &'static str,
    service: Service,
    log: PathBuf,
}

impl Fixer {
    /// The lines that it has printed of discrepancies.
    fn said(&self) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(&self.log)?;
        let kinds = ["opened ", "updated ", "escalated ", "resolved "];
        Ok(text.lines().filter(|line| kinds.iter().any(|kind| line.starts_with(kind))).map(str::to_owned).collect())
    }

    /// Waits until it has said the last of each partition, and holds all that it said against what it should say.
    fn must_say(&self, expected: &[String], last: &[String]) -> Result {
        self.service.wait_ready(LIMIT, || {
            let said = self.said()?;
            Ok(last.iter().all(|line| said.contains(line)))
        })?;
        let (mut said, mut expected) = (self.said()?, expected.to_vec());
        said.sort();
        expected.sort();
        assert_eq!(said, expected, "{} says each once, and nothing else", self.language);
        Ok(())
    }
}

/// One form's records, and who read them.
fn consume(
    stack: &Stack,
    form: &'static str,
    watch: &Watch,
    folder: &Path,
) -> Result<(Vec<Fixer>, Vec<String>, Vec<String>)> {
    let expected: Vec<String> = watch.bodies.iter().filter_map(line).collect();
    let topic = format!("repeated.{form}");
    let of_record = |record: &Record| -> Option<String> {
        let id = record.header("ce_id")?;
        expected.iter().find(|line| line.ends_with(&format!(" {id}"))).cloned()
    };
    repeat(stack, watch.discrepancies(), &topic, |record| of_record(record).is_some())?;
    let mut last = Vec::new();
    for partition in 0..PARTITIONS {
        let own = watch.discrepancies().iter().filter(|record| record.partition == partition);
        last.extend(own.rev().find_map(of_record));
    }
    let mut fixers = Vec::new();
    for (language, mut command) in commands(stack)? {
        let log = folder.join(format!("{language}-{form}.log"));
        command.args([&stack.bootstrap(), &topic, &format!("{language}-{form}"), &stack.registry()?.confluent()]);
        let service = Service::new(language, log.clone());
        service.start(command)?;
        fixers.push(Fixer { language, service, log });
    }
    Ok((fixers, expected, last))
}

/// Opened, updated, escalated, resolved, and coming back.
fn play(stack: &Stack, watch: &mut Watch) -> Result {
    for order in 1..=6 {
        stack.pg(&pg_order(order, "PAID", "12.30"))?;
    }
    stack.pg(&pg_order(7, "CANCELLED", "1234567.89"))?;
    stack.pg(&pg_order(8, "PAID", "5.00"))?;
    stack.maria(&capture(108, "8", "CAPTURED", "3.00"))?;
    let has = |watch: &Watch, kind: &str, rule: &str, key: &str| {
        watch.events.contains(&(kind.to_owned(), rule.to_owned(), key.to_owned()))
    };
    watch.until("all are opened", LIMIT, |watch| {
        let unpaid = (1..=6).map(|order| ("paid-without-payment", order.to_string()));
        let all = unpaid.chain([("huge", "7".to_owned()), ("captured-amount", "8".to_owned())]);
        all.into_iter().all(|(rule, key)| has(watch, "opened", rule, &key))
    })?;
    watch.until("it escalates", LIMIT, |watch| has(watch, "escalated", "huge", "7"))?;
    stack.maria("update pay.payments set amount = 4 where id = 108")?;
    stack.maria(&capture(101, "1", "CAPTURED", "12.30"))?;
    watch.until("evidence changes", LIMIT, |watch| has(watch, "updated", "captured-amount", "8"))?;
    watch.until("it is paid", LIMIT, |watch| has(watch, "resolved", "paid-without-payment", "1"))?;
    stack.maria("delete from pay.payments where id = 101")?;
    watch.until("it flaps", LIMIT, |watch| watch.bodies.iter().any(|body| body["flap_count"] == 1))?;
    stack.pg("update shop.orders set payment_status = 'CANCELLED' where order_id in (2, 3)")?;
    watch.until("the others end", LIMIT, |watch| {
        ["2", "3"].into_iter().all(|key| has(watch, "resolved", "paid-without-payment", key))
    })
}

fn fixed() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay) = sources(&stack, "fixers")?;
    let registry = stack.registry()?;
    let shipped = |name: &str, more: &str| -> Result<Shipped> {
        Ok(Shipped::read("evenkeel.yaml", name, &shop, &pay)?
            .replace("\nslack: 1s\n", &format!("{LOUD}{more}\nslack: 1s\n")))
    };
    // Apicurio's own interface, as its converters have it; the output uses the one beside it.
    let avro =
        |more: &str| format!("\nregistry: {{url: \"{}\"}}\noutput: {{format: avro{more}}}\n", registry.native(3));
    let all = [
        ("json", "fixjson", shipped("fixjson", "")?),
        ("union", "fixunion", shipped("fixunion", &avro(""))?),
        ("named", "fixnamed", shipped("fixnamed", &avro(", subject_name_strategy: topic_record_name"))?),
    ];
    stack.start_source(&shop)?;
    stack.start_source(&pay)?;
    let mut running = Vec::new();
    for (form, name, shipped) in &all {
        let own = folder.path().join(name);
        std::fs::create_dir(&own)?;
        let binary = shipped.binary(&stack, &own)?;
        binary.start()?;
        running.push((*form, binary, Watch::begin(&stack, &format!("evenkeel.{name}"))?));
    }
    play(&stack, &mut running[0].2)?;
    let told: BTreeSet<_> = running[0].2.events.iter().cloned().collect();
    for (form, _, watch) in &mut running[1..] {
        let what = format!("{form} says the same");
        watch.until(&what, LIMIT, |watch| told.iter().all(|event| watch.events.contains(event)))?;
    }
    let kinds: BTreeSet<&str> = told.iter().map(|(kind, _, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["escalated", "opened", "resolved", "updated"].into());

    let subjects = registry.subjects()?;
    let record = |name: &str| format!("evenkeel.fixnamed.discrepancies-evenkeel.v1.{name}");
    let expected = ["evenkeel.fixunion.discrepancies-value", "evenkeel.fixunion.open-value"].map(str::to_owned);
    let expected = expected.into_iter().chain(["Discrepancy", "Heartbeat", "SourceNotice"].map(record));
    let lacking: Vec<String> = expected.filter(|subject| !subjects.contains(subject)).collect();
    assert_eq!(lacking, Vec::<String>::new(), "{subjects:?}");

    let mut at_work = Vec::new();
    for (form, binary, watch) in &running {
        binary.stop()?;
        at_work.push(consume(&stack, form, watch, folder.path())?);
    }
    for (fixers, expected, last) in &at_work {
        for fixer in fixers {
            fixer.must_say(expected, last)?;
            if fixer.language != "rust" {
                fixer.service.stop("TERM", Duration::from_secs(20))?;
            }
        }
    }
    [&shop, &pay].into_iter().try_for_each(|source| stack.remove_source(source))
}

/// Each consumer says what it should of real records, each once, whatever comes again, and leaves alone what flaps.
#[test]
#[ignore = "real stack"]
fn real_consumers_act_on_each_discrepancy_once() {
    fixed().expect("the stack works");
}
