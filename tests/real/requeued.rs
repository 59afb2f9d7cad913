//! A configuration that misreads a column sends a whole table to quarantine; mended, what was in quarantine is requeued while the
//! databases go on, and what is said is what PostgreSQL says.

use std::time::Duration;

use super::Result;
use super::binary::Shipped;
use super::product::{capture, pg_order};
use super::shipped::{compare, end, sell, sources, unpaid};
use super::watch::Watch;

const LIMIT: Duration = Duration::from_secs(90);

fn requeued() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay) = sources(&stack, "requeued")?;
    let mended = Shipped::read("evenkeel.yaml", "requeued", &shop, &pay)?;
    let misread = Shipped::read("evenkeel.yaml", "requeued", &shop, &pay)?
        .replace("      amount: decimal(12,2)\n", "      amount: bigint\n");
    stack.start_source(&shop)?;
    stack.start_source(&pay)?;
    let binary = misread.binary(&stack, folder.path())?;
    binary.start()?;
    let mut watch = Watch::begin(&stack, "evenkeel.requeued")?;
    sell(&stack, 10)?;
    // An order whose payment goes back and forth: its states stand in quarantine one after another.
    stack.pg(&pg_order(30, "PAID", "3.00"))?;
    stack.maria(&capture(30, "30", "PENDING", "3.00"))?;
    for status in ["CAPTURED", "PENDING", "CAPTURED"] {
        stack.maria(&format!("update pay.payments set status = '{status}' where id = 30"))?;
    }
    // One that is gone again, and one that moves to another order.
    stack.pg(&format!("{} {}", pg_order(31, "PAID", "3.00"), pg_order(32, "PAID", "3.00")))?;
    stack.maria(&capture(31, "31", "CAPTURED", "3.00"))?;
    stack.maria("delete from pay.payments where id = 31")?;
    stack.maria(&capture(32, "32", "CAPTURED", "3.00"))?;
    stack.maria("update pay.payments set order_id = 31 where id = 32")?;
    let inserted_and_updated = 4 + 1 + 3 + 2 + 1;
    watch.until("they are in quarantine", LIMIT, |watch| watch.quarantined.len() >= inserted_and_updated)?;
    binary.stop()?;

    let binary = mended.binary(&stack, folder.path())?;
    binary.start()?;
    // What is newer than quarantine, of a row that is there.
    stack.maria("update pay.payments set status = 'PENDING' where id = 30")?;
    stack.maria("update pay.payments set status = 'CAPTURED' where id = 30")?;
    sell(&stack, 20)?;
    let (is_all, said) = binary.requeue(&["--all", "--dry-run"])?;
    assert!(is_all, "{said}");
    let (is_all, said) = binary.requeue(&["--all"])?;
    assert!(is_all, "{said}");
    compare(&stack, &mended, &binary, &mut watch)?;
    let open = |key: &str| watch.open.get(key).is_some_and(|rules| rules.contains("paid-without-payment"));
    assert!(open("32") && !open("30") && !open("31"), "{:?}", watch.open);
    assert!(unpaid(10).chain(unpaid(20)).all(|(_, key)| open(&key)), "{:?}", watch.open);
    // Once more does no harm.
    let events = watch.events.len();
    assert!(binary.requeue(&["--all"])?.0);
    compare(&stack, &mended, &binary, &mut watch)?;
    assert_eq!(watch.events.len(), events, "{:?}", watch.events);
    end(&stack, &binary, [&shop, &pay])
}

#[test]
#[ignore = "real stack"]
fn real_what_was_misread_is_requeued_and_nothing_older_undoes_anything_newer() {
    requeued().expect("the stack works");
}
