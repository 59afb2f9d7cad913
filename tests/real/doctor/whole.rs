//! Connectors as people run them: sound ones, ones that were set to lose something, and the mending.

use std::process::Command;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, TopicPartitionList};

use super::super::anew::{delete, widen};
use super::super::binary::{Binary, Shipped};
use super::super::overtaken::delete_below;
use super::super::product::{capture, pg_order};
use super::super::shipped::sources;
use super::super::{AvroIds, Result, Source, Stack, create_topics, wait_until};
use super::{Found, Ledger, SECRET};

const LIMIT: Duration = Duration::from_secs(60);

/// The shipped configuration with Kafka Connect and both databases.
fn configured(stack: &Stack, name: &str, shop: &Source, pay: &Source) -> Result<Shipped> {
    let postgres = format!("postgres://postgres:{SECRET}@127.0.0.1:{}/postgres", stack.pg_port());
    let mariadb = format!("mysql://evenkeel:evenkeel@127.0.0.1:{}", stack.maria_port());
    let told = |kind: &str, source: &Source, url: &str| {
        format!("    kind: {kind}\n    name_in_connect: {}\n    database: {url}\n", source.prefix)
    };
    let connect = format!("\nconnect: {{url: \"{}\"}}\nslack: 1s\n", stack.connect_url());
    Ok(Shipped::read("evenkeel.yaml", name, shop, pay)?
        .replace("    kind: postgresql\n", &told("postgresql", shop, &postgres))
        .replace("    kind: mariadb\n", &told("mariadb", pay, &mariadb))
        .replace("\nslack: 1s\n", &connect))
}

/// Some of everything: a snapshot's row, inserts, updates, a delete.
fn live(stack: &Stack, from: i64) -> Result {
    for order in from..from + 3 {
        stack.pg(&pg_order(order, "PENDING", "3.00"))?;
        stack.maria(&capture(order, &order.to_string(), "CAPTURED", "3.00"))?;
    }
    stack.pg(&format!("update shop.orders set payment_status = 'PAID' where order_id = {from}"))?;
    stack.pg(&format!("delete from shop.orders where order_id = {from} + 2"))?;
    Ok(())
}

pub fn sound(stack: &Stack, ledger: &mut Ledger) -> Result {
    let folder = tempfile::tempdir()?;
    let (shop, pay) = sources(stack, "well")?;
    let shop = shop.set("database.password", SECRET).set("offset.mismatch.strategy", "trust_offset");
    let pay = pay.with_connector_tick();
    stack.start_source(&shop)?;
    stack.start_source(&pay)?;
    live(stack, 1)?;
    stack.wait_tick(&shop)?;
    stack.wait_tick(&pay)?;
    let binary = configured(stack, "well", &shop, &pay)?.binary(stack, folder.path())?;
    let (is_sound, text) = binary.doctor(&[])?;
    eprintln!("{text}");
    assert!(!text.contains(SECRET), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "it fits a terminal");
    let found = Found::by(&binary, ledger)?;
    assert_eq!(found.of_level("FAIL"), [""; 0]);
    assert!(is_sound);
    let orders = shop.topic("orders");
    found.has(&[
        "WARN shop: debezium/dbz#1554",
        "WARN shop: skipped.operations",
        "WARN shop: signals",
        "PASS shop: errors.tolerance",
        "PASS shop: connector state",
        "PASS shop: task 0 state",
        "PASS shop: wal_level",
        "PASS shop: slot",
        "PASS shop: shop.orders is published",
        "PASS shop: shop.orders identity",
        "PASS pay: binlog_row_image",
        "PASS pay: gtid_strict_mode",
        "PASS pay: version",
        "PASS pay: pay.payments columns",
        "PASS pay: schema.history.internal.kafka.topic",
        &format!("PASS {orders}: understood"),
        &format!("PASS {orders}: decimals"),
        // MariaDB's payments were only inserted.
        &format!("NOTE {}: before image", pay.topic("payments")),
    ]);
    let (_, hints) = binary.doctor(&["--fix-hints"])?;
    assert!(!hints.contains(SECRET), "{hints}");
    // Once it was read, what becomes of a topic is said.
    binary.start()?;
    let said = |level: &str, check: &str| format!("{level} {orders}: {check}");
    let mut until = |what: String| {
        wait_until(&what, LIMIT, || Ok(Found::by(&binary, ledger)?.0.contains_key(&what).then_some(())))
    };
    until(said("PASS", "since it was read"))?;
    binary.stop()?;
    widen(stack, &orders, 5)?;
    until(said("WARN", "since it was read"))?;
    live(stack, 50)?;
    stack.wait_tick(&shop)?;
    delete_below(stack, &orders, stack.topic_end_offsets(&orders)?)?;
    until(said("FAIL", "log start"))?;
    // What stands still is said.
    stack.stop_connector(&pay.prefix)?;
    Found::by(&binary, ledger)?.has(&["FAIL pay: connector state", "FAIL pay: task state"]);
    stack.remove_source(&shop)?;
    stack.remove_source(&pay)?;
    restore_offsets(stack, "evenkeel.well.ingest", &orders)?;
    Found::by(&binary, ledger)?.has(&[&said("FAIL", "since it was read")]);
    Ok(())
}

/// Makes a topic of four partitions anew. Its brokers forget what a group had read of it; who keeps groups' offsets elsewhere
/// brings them back.
fn restore_offsets(stack: &Stack, group: &str, topic: &str) -> Result {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", stack.bootstrap()).set("group.id", group).create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, 3);
    let kept = consumer.committed_offsets(list, LIMIT)?;
    delete(stack, topic)?;
    create_topics(&stack.bootstrap(), &[(topic.to_owned(), 4)])?;
    Ok(consumer.commit(&kept, CommitMode::Sync)?)
}

/// Of Avro the doctor sees as much as of JSON.
pub fn avro(stack: &Stack, ledger: &mut Ledger) -> Result {
    let folder = tempfile::tempdir()?;
    let (shop, pay) = sources(stack, "dense")?;
    let registry = stack.registry()?;
    let [shop, pay] = [shop, pay].map(|source| source.with_avro(registry, AvroIds::Confluent));
    live(stack, 1)?;
    stack.start_source(&shop)?;
    stack.start_source(&pay)?;
    live(stack, 11)?;
    stack.wait_tick(&shop)?;
    let shipped = configured(stack, "dense", &shop, &pay)?;
    let told = format!("\nregistry: {{url: \"{}\"}}\nslack: 1s\n", registry.native(2));
    let binary = shipped.replace("\nslack: 1s\n", &told).binary(stack, folder.path())?;
    let found = Found::by(&binary, ledger)?;
    let saw =
        |check: &str| found.0.get(&format!("NOTE {}: {check}", shop.topic("orders"))).map_or("", String::as_str);
    assert!(saw("content").starts_with("operations c 3, d 1, r 2, u 1; snapshot markers "), "{}", saw("content"));
    assert_eq!(saw("written by"), "postgresql 3.6.3.Final");
    assert!(saw("source time").starts_with("in microseconds; 0 of "), "{}", saw("source time"));
    found.has(&["PASS access: schema registry", &format!("PASS {}: understood", shop.topic("orders"))]);
    stack.remove_source(&shop)?;
    stack.remove_source(&pay)
}

pub fn ill(stack: &Stack, ledger: &mut Ledger) -> Result {
    let folder = tempfile::tempdir()?;
    let (shop, pay) = sources(stack, "ill")?;
    let shop = shop
        .set("database.password", SECRET)
        .set("errors.tolerance", "all")
        .set("snapshot.mode", "no_data")
        .set("heartbeat.interval.ms", "0")
        .set("decimal.handling.mode", "double")
        .set("extended.headers.enabled", "false")
        .set("skipped.operations", "d,t")
        .set("column.include.list", r"shop\.orders\.(order_id|total|currency),shop\.heartbeat\..*");
    let pay = pay
        .set("table.include.list", "pay.heartbeat")
        .set("message.key.columns", "pay.payments:order_id")
        .set("schema.history.internal.skip.unparseable.ddl", "true");
    for source in [&shop, &pay] {
        let topics: Vec<(&str, i32)> = source.topics().iter().map(|(name, count)| (name.as_str(), *count)).collect();
        stack.create_topics(&topics)?;
        stack.register_connector(&source.prefix, &source.config)?;
    }
    // Its first event says that it streams, as it has no heartbeat.
    let orders = shop.topic("orders");
    let mut reader = stack.reader(&orders)?;
    let mut order = 100;
    wait_until("the connector streams", Duration::from_secs(60), || {
        order += 1;
        stack.pg(&pg_order(order, "PAID", "3.50"))?;
        Ok(reader.until(Duration::from_secs(1), |records| !records.is_empty()).ok().map(|_| ()))
    })?;
    let binary = configured(stack, "ill", &shop, &pay)?.binary(stack, folder.path())?;
    let (is_sound, text) = binary.doctor(&[])?;
    eprintln!("{text}");
    assert!(!is_sound && !text.contains(SECRET), "{text}");
    Found::by(&binary, ledger)?.has(&[
        "FAIL shop: errors.tolerance",
        "FAIL shop: decimal.handling.mode",
        "FAIL shop: skipped.operations",
        "FAIL shop: column.include.list, exclude.list",
        "FAIL pay: table is captured",
        // What is skipped, Debezium also takes out of its publication.
        "FAIL shop: publication publish",
        &format!("FAIL {orders}: columns"),
        &format!("FAIL {orders}: decimals"),
        "WARN shop: snapshot.mode",
        "WARN shop: heartbeat.interval.ms",
        "WARN shop: extended.headers.enabled",
        "WARN pay: schema.history.internal.skip.unparseable.ddl",
        "WARN pay: message.key.columns",
        &format!("WARN {orders}: run header"),
    ]);
    mend(stack, &binary, &shop, ledger)?;
    stack.remove_source(&shop)?;
    stack.remove_source(&pay)
}

/// What is printed to mend the connectors is run, and mends them.
fn mend(stack: &Stack, binary: &Binary, shop: &Source, ledger: &mut Ledger) -> Result {
    let (_, hints) = binary.doctor(&["--fix-hints"])?;
    assert!(!hints.contains(SECRET), "{hints}");
    let pipes = hints.split("\n\n").filter(|chapter| chapter.starts_with("# connector"));
    let script: String = pipes.map(|chapter| format!("{chapter}\n")).collect();
    let status = Command::new("sh").args(["-euc", &script]).status()?;
    assert!(status.success(), "curl and jq do as they are told: {script}");
    stack.wait_running(&shop.prefix)?;
    let wrong = Found::by(binary, ledger)?;
    let mended = [
        "shop: errors.tolerance",
        "shop: decimal.handling.mode",
        "shop: skipped.operations",
        "shop: column.include.list, exclude.list",
        "pay: table is captured",
    ];
    for one in mended {
        assert!(!wrong.0.contains_key(&format!("FAIL {one}")), "{one} was mended: {:?}", wrong.0);
    }
    Ok(())
}
