//! Several members on a real broker: they join, leave and die, and what is said is said once.

use std::collections::BTreeSet;
use std::time::Duration;

use super::binary::{Binary, Shipped};
use super::shipped::{compare, end, sell, sources, unpaid};
use super::watch::Watch;
use super::{Result, wait_until};

const LIMIT: Duration = Duration::from_secs(90);

/// Waits until a member has work of its own.
fn wait_at_work(member: &Binary) -> Result {
    let lag = "evenkeel_reconciliation_lag_seconds{";
    wait_until("a partition of its own", LIMIT, || Ok(member.metrics()?.contains(lag).then_some(())))
}

fn come_and_go() -> Result {
    let stack = super::stack();
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    let (shop, pay) = sources(&stack, "members")?;
    let shipped = Shipped::read("evenkeel.yaml", "members", &shop, &pay)?;
    let [first, second] = [shipped.binary(&stack, folders[0].path())?, shipped.binary(&stack, folders[1].path())?];
    stack.start_source(&shop)?;
    stack.start_source(&pay)?;
    first.start()?;
    let mut watch = Watch::begin(&stack, "evenkeel.members")?;
    // There are two partitions, so each member of two has one.
    let mut expected = BTreeSet::new();
    let mut go_on = |watch: &mut Watch, round: i64| -> Result {
        let heard = watch.ever_opened();
        sell(&stack, 10 * round)?;
        expected.extend(unpaid(10 * round));
        watch.until("it goes on", LIMIT, |watch| watch.ever_opened() != heard)
    };
    go_on(&mut watch, 1)?;
    second.start()?;
    go_on(&mut watch, 2)?;
    wait_at_work(&second)?;
    first.stop()?;
    go_on(&mut watch, 3)?;
    first.start()?;
    go_on(&mut watch, 4)?;
    wait_at_work(&first)?;
    second.kill()?;
    go_on(&mut watch, 5)?;
    compare(&stack, &shipped, &first, &mut watch)?;
    assert_eq!(watch.ever_opened(), expected, "{:?}", watch.events);
    assert_eq!(watch.events.len(), expected.len(), "each once, and nothing else: {:?}", watch.events);
    end(&stack, &first, [&shop, &pay])
}

#[test]
#[ignore = "real stack"]
fn real_members_join_leave_and_die_and_all_is_said_once() {
    come_and_go().expect("the stack works");
}
