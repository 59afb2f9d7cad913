//! The binary with the shipped configurations and rules, on the real stack.

use std::collections::BTreeSet;
use std::time::Duration;

use super::binary::{BEYOND_GRACES, Binary, Shipped};
use super::product::{capture, instant, pairs, pg_order, play};
use super::truth::truth;
use super::watch::Watch;
use super::{Result, Source, Stack, wait_until};

const PARTITIONS: usize = 2;
const LIMIT: Duration = Duration::from_secs(90);

pub fn sources(stack: &Stack, name: &str) -> Result<(Source, Source)> {
    stack.pg("delete from shop.orders")?;
    stack.maria("delete from pay.payments")?;
    Ok((Source::shop(stack, &format!("shop{name}")), Source::pay(stack, &format!("pay{name}"))))
}

/// Starts both connectors and the binary; watches what is published under a name.
pub fn start(stack: &Stack, sources: [&Source; 2], binary: &Binary, name: &str) -> Result<Watch> {
    sources.iter().try_for_each(|source| stack.start_source(source))?;
    binary.start()?;
    Watch::begin(stack, &format!("evenkeel.{name}"))
}

pub fn end(stack: &Stack, binary: &Binary, sources: [&Source; 2]) -> Result {
    binary.stop()?;
    sources.iter().try_for_each(|source| stack.remove_source(source))
}

/// Waits until everything written so far is beyond every grace, then holds what is open against PostgreSQL.
pub fn compare(stack: &Stack, shipped: &Shipped, binary: &Binary, watch: &mut Watch) -> Result {
    let beyond = instant(stack, BEYOND_GRACES)?;
    watch.until("settling beyond every grace", LIMIT, |watch| watch.has_settled(PARTITIONS, &beyond))?;
    let truth = truth(stack, &shipped.rule_files(), &binary.lookups())?;
    watch.compare(&truth);
    Ok(())
}

/// Takes six orders, and the money of some.
pub fn sell(stack: &Stack, from: i64) -> Result {
    for order in from..from + 6 {
        stack.pg(&pg_order(order, "PAID", "3.00"))?;
        if order % 3 > 0 {
            stack.maria(&capture(order, &order.to_string(), "CAPTURED", "3.00"))?;
        }
    }
    Ok(())
}

/// What is to be said of the six.
pub fn unpaid(from: i64) -> impl Iterator<Item = (String, String)> {
    let unpaid = (from..from + 6).filter(|order| order % 3 == 0);
    unpaid.map(|order| ("paid-without-payment".to_owned(), order.to_string()))
}

/// Text too long and too disorderly to be stored in its row: later events carry a placeholder instead of it.
const LONG_TEXT: &str = "(select string_agg(md5(n::text), '') from generate_series(1, 400) n)";

const NOTE_RULE: &str = "
rules:
  - id: fraud-note
    sql: SELECT order_id, payment_status FROM orders WHERE note LIKE 'fraud%'
    grace: 4s
";

/// kill -9, again and again, while both databases change: nothing is lost, nothing is said twice.
fn killed_in_mid_stream() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay) = sources(&stack, "killed")?;
    let shipped = Shipped::read("evenkeel.yaml", "killed", &shop, &pay)?
        .replace("      currency: text\n", "      currency: text\n      note: text\n")
        .replace("\nslack: 1s\n", &format!("{NOTE_RULE}\nslack: 1s\n"));
    let binary = shipped.binary(&stack, folder.path())?;
    stack.pg(&format!("{} {}", pg_order(1, "PAID", "10.00"), pg_order(2, "PAID", "20.00")))?;
    stack.pg(&format!("update shop.orders set note = 'fraud' || {LONG_TEXT} where order_id = 2"))?;
    stack.maria(&capture(101, "1", "CAPTURED", "10.00"))?;
    stack.start_source(&shop)?;
    stack.start_source(&pay)?;
    binary.start()?;
    let (sound, said) = binary.check_live()?;
    assert!(sound, "{said}");
    let mut watch = Watch::begin(&stack, "evenkeel.killed")?;
    play(&stack)?;
    for round in 0..4 {
        sell(&stack, 200 + 10 * round)?;
        // The placeholder of the long text must not be taken for a change of it.
        stack.pg(&format!("update shop.orders set total = total + {round} where order_id = 2"))?;
        let heard = watch.events.len();
        binary.kill()?;
        binary.start()?;
        watch.until("it goes on", LIMIT, |watch| watch.events.len() > heard)?;
    }
    compare(&stack, &shipped, &binary, &mut watch)?;
    let mut expected = pairs(&[
        ("paid-without-payment", "2"),
        ("paid-without-payment", "12"),
        ("captured-amount", "5"),
        ("captured-amount", "6"),
        ("captured-amount", "8"),
        ("duplicate-capture", "6"),
        ("payment-without-order", "7"),
        ("status-matrix", "16"),
        ("stuck-pending", "9"),
        ("fraud-note", "2"),
    ]);
    expected.extend((0..4).flat_map(|round| unpaid(200 + 10 * round)));
    assert_eq!(watch.ever_opened(), expected, "{:?}", watch.events);
    let finding: BTreeSet<String> = expected.into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(finding, shipped.rules(), "every rule of the configuration was shown to find something");
    assert_eq!(watch.stalls, Vec::<String>::new());
    // Gauges are set once a second.
    for metric in
        ["evenkeel_discrepancies_opened_total", "evenkeel_reconciliation_lag_seconds", "evenkeel_discrepancies_open{"]
    {
        wait_until(metric, LIMIT, || Ok(binary.metrics()?.contains(metric).then_some(())))?;
    }
    end(&stack, &binary, [&shop, &pay])
}

#[test]
#[ignore = "real stack"]
fn real_kills_lose_nothing_and_repeat_nothing() {
    killed_in_mid_stream().expect("the stack works");
}

/// The seventh rule: one payment an order, one vocabulary.
fn one_payment() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay) = sources(&stack, "one")?;
    let shipped = Shipped::read("one-payment.yaml", "one", &shop, &pay)?;
    let binary = shipped.binary(&stack, folder.path())?;
    let mut watch = start(&stack, [&shop, &pay], &binary, "one")?;
    for (order, ours, theirs) in [(1, "PAID", "PAID"), (2, "PAID", "PENDING"), (3, "REFUNDED", "PAID")] {
        stack.pg(&pg_order(order, ours, "5.00"))?;
        stack.maria(&capture(order, &order.to_string(), theirs, "5.00"))?;
    }
    stack.pg(&format!("{} {}", pg_order(4, "PAID", "5.00"), pg_order(5, "PENDING", "5.00")))?;
    compare(&stack, &shipped, &binary, &mut watch)?;
    let expected = pairs(&[("payment-status", "2"), ("payment-status", "3"), ("payment-status", "4")]);
    assert_eq!(watch.ever_opened(), expected, "{:?}", watch.events);
    end(&stack, &binary, [&shop, &pay])
}

#[test]
#[ignore = "real stack"]
fn real_detection_query_of_one_payment_an_order() {
    one_payment().expect("the stack works");
}

/// Nothing happens in one database, then nothing in the other: verdicts come all the same.
fn idle_databases() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay) = sources(&stack, "idle")?;
    let shipped = Shipped::read("evenkeel.yaml", "idle", &shop, &pay)?;
    let binary = shipped.binary(&stack, folder.path())?;
    let mut watch = start(&stack, [&shop, &pay], &binary, "idle")?;
    stack.pg(&pg_order(1, "PAID", "5.00"))?;
    let missing = |watch: &Watch| watch.ever_opened() == pairs(&[("paid-without-payment", "1")]);
    watch.until("the payments' database is idle", LIMIT, missing)?;
    stack.maria(&capture(2, "2", "CAPTURED", "5.00"))?;
    let orphan = |watch: &Watch| watch.ever_opened().contains(&("payment-without-order".to_owned(), "2".to_owned()));
    watch.until("the orders' database is idle", LIMIT, orphan)?;
    compare(&stack, &shipped, &binary, &mut watch)?;
    end(&stack, &binary, [&shop, &pay])
}

#[test]
#[ignore = "real stack"]
fn real_idle_databases_hold_nothing_back() {
    idle_databases().expect("the stack works");
}

const LINES: &str = "  lines:
    connector: shop
    topic: {topic}
    primary_key: line_id
    key: order_id
    key_may_change: true
    columns: {line_id: bigint, order_id: bigint, amount: \"numeric(12,2)\"}
";

const LINES_RULE: &str = "
rules:
  - id: lines
    sql: |
      SELECT o.order_id, o.total, COALESCE(SUM(l.amount), 0) AS lines
      FROM orders o LEFT JOIN lines l ON l.order_id = o.order_id
      GROUP BY o.order_id, o.total
      HAVING COALESCE(SUM(l.amount), 0) <> o.total
    grace: 0s
";

/// Every transaction changes two tables whose sums agree before and after it; the rule has no grace at all.
fn whole_transactions() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    stack.pg(
        "create table if not exists shop.lines (line_id bigint primary key, order_id bigint, amount numeric(12,2))",
    )?;
    stack.pg("delete from shop.lines")?;
    let (shop, pay) = sources(&stack, "whole")?;
    let shop = shop.with_table("lines", 3);
    let shipped = Shipped::read("evenkeel.yaml", "whole", &shop, &pay)?
        .replace(
            "  payments:\n    connector",
            &format!("{}  payments:\n    connector", LINES.replace("{topic}", &shop.topic("lines"))),
        )
        .replace("\nslack: 1s\n", &format!("{LINES_RULE}\nslack: 1s\n"));
    let binary = shipped.binary(&stack, folder.path())?;
    let mut watch = start(&stack, [&shop, &pay], &binary, "whole")?;
    for order in 1..40 {
        stack.pg(&format!(
            "begin; insert into shop.lines values ({order}, {order}, 2), ({order} + 1000, {order}, 3); {} commit",
            pg_order(order, "CANCELLED", "5.00")
        ))?;
        let before = order - 1;
        if order % 3 == 0 && before % 5 > 0 {
            // A line moves from the order before, and both totals with it.
            stack.pg(&format!(
                "begin; update shop.orders set total = total - 2 where order_id = {before};
                 update shop.lines set order_id = {order} where line_id = {before};
                 update shop.orders set total = total + 2 where order_id = {order}; commit"
            ))?;
        }
        if order % 5 == 0 {
            stack.pg(&format!(
                "begin; delete from shop.lines where order_id = {order}; delete from shop.orders where order_id = {order}; commit"
            ))?;
        }
    }
    compare(&stack, &shipped, &binary, &mut watch)?;
    assert_eq!(watch.events, Vec::new(), "no transaction is shown by halves");
    // The rule does find what is wrong.
    stack.pg("update shop.lines set amount = amount + 1 where line_id = 1")?;
    watch.until("the rule is awake", LIMIT, |watch| watch.ever_opened() == pairs(&[("lines", "1")]))?;
    compare(&stack, &shipped, &binary, &mut watch)?;
    end(&stack, &binary, [&shop, &pay])
}

#[test]
#[ignore = "real stack"]
fn real_transactions_are_never_shown_by_halves() {
    whole_transactions().expect("the stack works");
}

/// What is not understood goes to quarantine, once, and the rest goes on.
fn quarantine() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay) = sources(&stack, "odd")?;
    // Debezium leaves truncates out unless told otherwise.
    let shop = shop.set("skipped.operations", "none");
    let shipped = Shipped::read("evenkeel.yaml", "odd", &shop, &pay)?;
    let binary = shipped.binary(&stack, folder.path())?;
    let mut watch = start(&stack, [&shop, &pay], &binary, "odd")?;
    stack.pg("truncate shop.orders")?;
    watch.until("the truncate is quarantined", LIMIT, |watch| watch.quarantined.len() == 1)?;
    assert_eq!(watch.quarantined[0]["reason"], "truncate", "{:?}", watch.quarantined);
    // A counter is a process' own: the next one need not come upon the truncate again.
    wait_until("the metric", LIMIT, || {
        Ok(binary.metrics()?.contains("evenkeel_quarantined_records_total").then_some(()))
    })?;
    binary.kill()?;
    binary.start()?;
    stack.pg(&pg_order(1, "PAID", "5.00"))?;
    compare(&stack, &shipped, &binary, &mut watch)?;
    assert_eq!(watch.quarantined.len(), 1, "it is said once");
    end(&stack, &binary, [&shop, &pay])
}

#[test]
#[ignore = "real stack"]
fn real_truncate_is_quarantined_once() {
    quarantine().expect("the stack works");
}
