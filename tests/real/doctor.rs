//! `evenkeel doctor` on the real stack: sound connectors, connectors that were set to lose something, and the mending.

use std::collections::BTreeSet;
use std::process::Command;

use super::anew::widen;
use super::binary::{Binary, Shipped};
use super::product::{capture, pg_order};
use super::shipped::sources;
use super::{Result, Source, Stack};

/// Stands in a connector's configuration and in a URL; nothing may show it.
const SECRET: &str = "hush-hush";

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

/// What was found of a level, each as `name: check`.
fn found(binary: &Binary, level: &str) -> Result<BTreeSet<String>> {
    let (is_sound, text) = binary.doctor(&["--json"])?;
    assert!(!text.contains(SECRET), "a secret is shown: {text}");
    let told: serde_json::Value = serde_json::from_str(&text)?;
    assert_eq!(told["ok"], is_sound, "the exit code says the same");
    let findings = told["findings"].as_array().expect("a list").iter();
    let of_level = findings.filter(|one| one["level"] == level);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(of_level.map(|one| format!("{}: {}", text(&one["name"]), text(&one["check"]))).collect())
}

fn has(found: &BTreeSet<String>, expected: &[&str]) {
    for one in expected {
        assert!(found.contains(*one), "{one} is not among {found:#?}");
    }
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

fn sound(stack: &Stack) -> Result {
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
    assert_eq!(found(&binary, "fail")?, BTreeSet::new());
    assert!(is_sound);
    has(&found(&binary, "warn")?, &["shop: debezium/dbz#1554", "shop: skipped.operations", "shop: signals"]);
    let orders = shop.topic("orders");
    let passed = [
        "shop: errors.tolerance",
        "shop: connector state",
        "shop: task 0 state",
        "shop: wal_level",
        "shop: slot",
        "shop: shop.orders is published",
        "shop: shop.orders identity",
        "pay: binlog_row_image",
        "pay: gtid_strict_mode",
        "pay: version",
        "pay: pay.payments columns",
        "pay: schema.history.internal.kafka.topic",
        &format!("{orders}: understood"),
        &format!("{orders}: decimals"),
        &format!("{}: before image", pay.topic("payments")),
    ];
    // MariaDB's payments were only inserted.
    let known: BTreeSet<String> = found(&binary, "pass")?.union(&found(&binary, "note")?).cloned().collect();
    has(&known, &passed);
    let (_, hints) = binary.doctor(&["--fix-hints"])?;
    assert!(!hints.contains(SECRET), "{hints}");
    // Once it was read, what becomes of a topic is said.
    binary.start()?;
    let read = format!("{orders}: since it was read");
    let limit = std::time::Duration::from_secs(60);
    super::wait_until("it has committed", limit, || Ok(found(&binary, "pass")?.contains(&read).then_some(())))?;
    binary.stop()?;
    widen(stack, &orders, 5)?;
    super::wait_until("more partitions", limit, || Ok(found(&binary, "warn")?.contains(&read).then_some(())))?;
    // What stands still is said.
    stack.stop_connector(&pay.prefix)?;
    has(&found(&binary, "fail")?, &["pay: connector state", "pay: task state"]);
    stack.pg("alter table shop.orders replica identity nothing")?;
    let bare = found(&binary, "fail");
    stack.pg("alter table shop.orders replica identity default")?;
    has(&bare?, &["shop: shop.orders identity"]);
    stack.remove_source(&shop)?;
    stack.remove_source(&pay)
}

fn ill(stack: &Stack) -> Result {
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
    super::wait_until("the connector streams", std::time::Duration::from_secs(60), || {
        order += 1;
        stack.pg(&pg_order(order, "PAID", "3.50"))?;
        Ok(reader.until(std::time::Duration::from_secs(1), |records| !records.is_empty()).ok().map(|_| ()))
    })?;
    let binary = configured(stack, "ill", &shop, &pay)?.binary(stack, folder.path())?;
    let (is_sound, text) = binary.doctor(&[])?;
    eprintln!("{text}");
    assert!(!is_sound && !text.contains(SECRET), "{text}");
    let failed = [
        "shop: errors.tolerance",
        "shop: decimal.handling.mode",
        "shop: skipped.operations",
        "shop: column.include.list, exclude.list",
        "pay: table is captured",
        // What is skipped, Debezium also takes out of its publication.
        "shop: publication publish",
        &format!("{orders}: columns"),
        &format!("{orders}: decimals"),
    ];
    has(&found(&binary, "fail")?, &failed);
    let doubtful = [
        "shop: snapshot.mode",
        "shop: heartbeat.interval.ms",
        "shop: extended.headers.enabled",
        "pay: schema.history.internal.skip.unparseable.ddl",
        "pay: message.key.columns",
        &format!("{orders}: run header"),
    ];
    has(&found(&binary, "warn")?, &doubtful);
    mend(stack, &binary, &shop)?;
    stack.remove_source(&shop)?;
    stack.remove_source(&pay)
}

/// What is printed to mend the connectors is run, and mends them.
fn mend(stack: &Stack, binary: &Binary, shop: &Source) -> Result {
    let (_, hints) = binary.doctor(&["--fix-hints"])?;
    assert!(!hints.contains(SECRET), "{hints}");
    let pipes = hints.split("\n\n").filter(|chapter| chapter.starts_with("# connector"));
    let script: String = pipes.map(|chapter| format!("{chapter}\n")).collect();
    let status = Command::new("sh").args(["-euc", &script]).status()?;
    assert!(status.success(), "curl and jq do as they are told: {script}");
    stack.wait_running(&shop.prefix)?;
    let failed = found(binary, "fail")?;
    for mended in
        ["errors.tolerance", "decimal.handling.mode", "skipped.operations", "column.include.list, exclude.list"]
    {
        assert!(!failed.contains(&format!("shop: {mended}")), "{mended} was mended: {failed:?}");
    }
    assert!(!failed.contains("pay: table is captured"), "{failed:?}");
    Ok(())
}

#[test]
#[ignore = "real stack"]
fn real_doctor_finds_what_connectors_are_set_to_lose() {
    let stack = super::stack();
    sound(&stack).and_then(|()| ill(&stack)).expect("the stack works");
}
