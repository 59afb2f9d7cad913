//! Connectors that lose their place in the database's log and take a new snapshot: no false alarm comes of it, and rows that were
//! deleted meanwhile are unconfirmed until somebody says that they are gone.

use std::time::Duration;

use super::binary::{Binary, Shipped};
use super::product::{capture, instant, pairs, pg_order};
use super::shipped::{compare, end, sources, start};
use super::watch::Watch;
use super::{Result, wait_until};

const LIMIT: Duration = Duration::from_secs(120);

fn unconfirmed(binary: &Binary, source: &str) -> Result<f64> {
    binary.sum("evenkeel_unconfirmed_rows", &[&format!("source=\"{source}\"")])
}

/// How many rows of a source were said to be unconfirmed, or confirmed.
fn said(watch: &Watch, what: &str) -> u64 {
    let rows = watch.notices.iter().filter_map(|notice| notice.strip_prefix(what)?.trim().parse::<u64>().ok());
    rows.sum()
}

fn loses_its_place() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay) = sources(&stack, "place")?;
    let shipped = Shipped::read("evenkeel.yaml", "place", &shop, &pay)?;
    let binary = shipped.binary(&stack, folder.path())?;
    let mut watch = start(&stack, [&shop, &pay], &binary, "place")?;
    for order in 1..7 {
        stack.pg(&pg_order(order, "PAID", "5.00"))?;
        stack.maria(&capture(order, &order.to_string(), "CAPTURED", "5.00"))?;
    }
    let written = instant(&stack, 0)?;
    watch.until("it has read them", LIMIT, |watch| watch.has_settled(2, &written))?;

    // The orders' connector forgets where it was. Meanwhile an order goes with its payment, one alone, and others come.
    stack.forget_offsets(&shop.prefix)?;
    stack.pg("delete from shop.orders where order_id in (1, 2)")?;
    stack.maria("delete from pay.payments where id = 1")?;
    stack.pg(&format!("{} {}", pg_order(7, "PAID", "5.00"), pg_order(8, "PAID", "5.00")))?;
    stack.maria(&capture(8, "8", "CAPTURED", "5.00"))?;
    stack.resume_connector(&shop.prefix)?;
    let unpaid = pairs(&[("paid-without-payment", "7")]);
    watch.until("what is wrong is found", LIMIT, |watch| watch.ever_opened() == unpaid)?;
    watch.until("what is unconfirmed is said", LIMIT, |watch| said(watch, "source_unconfirmed orders") == 2)?;
    wait_until("both rows are counted", LIMIT, || Ok((unconfirmed(&binary, "orders")? == 2.0).then_some(())))?;
    let beyond = instant(&stack, 2)?;
    watch.until("more is settled", LIMIT, |watch| watch.has_settled(2, &beyond))?;
    assert_eq!(watch.ever_opened(), unpaid, "nobody knows whether orders 1 and 2 are still there");
    let printed = binary.confirm("orders", "gone")?;
    assert!(printed.contains("rows of source orders are gone"), "{printed}");
    watch.until("they are confirmed", LIMIT, |watch| said(watch, "source_confirmed orders gone") == 2)?;
    compare(&stack, &shipped, &binary, &mut watch)?;
    let expected = pairs(&[("paid-without-payment", "7"), ("payment-without-order", "2")]);
    assert_eq!(watch.ever_opened(), expected, "{:?}", watch.events);
    wait_until("no row is counted any more", LIMIT, || Ok((unconfirmed(&binary, "orders")? == 0.0).then_some(())))?;

    // The payments' connector, too.
    stack.forget_offsets(&pay.prefix)?;
    stack.maria("delete from pay.payments where id = 3")?;
    stack.maria(&capture(7, "7", "CAPTURED", "5.00"))?;
    stack.resume_connector(&pay.prefix)?;
    watch.until("what is unconfirmed is said", LIMIT, |watch| said(watch, "source_unconfirmed payments") == 1)?;
    assert_eq!(watch.ever_opened(), expected, "nobody knows whether payment 3 is still there");
    binary.confirm("payments", "gone")?;
    watch.until("it is confirmed", LIMIT, |watch| said(watch, "source_confirmed payments gone") == 1)?;
    compare(&stack, &shipped, &binary, &mut watch)?;
    assert!(watch.ever_opened().contains(&("paid-without-payment".to_owned(), "3".to_owned())), "{:?}", watch.events);
    end(&stack, &binary, [&shop, &pay])
}

#[test]
#[ignore = "real stack"]
fn real_connectors_that_lose_their_place_lead_to_no_false_alarm() {
    loses_its_place().expect("the stack works");
}
