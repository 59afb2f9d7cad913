//! Several members on a real broker: they join, leave and die, and what is said is said once.

use std::collections::BTreeSet;
use std::time::Duration;

use super::binary::{Binary, Shipped};
use super::shipped::{compare, end, sell, sources, start, unpaid};
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
    let mut watch = start(&stack, [&shop, &pay], &first, "members")?;
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

/// A member that was suspended for longer than its session lasts wakes to find its partition taken, and says nothing more of
/// it; and says what it is given again.
fn sleeps() -> Result {
    let stack = super::stack();
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    let (shop, pay) = sources(&stack, "sleeps")?;
    let shipped = Shipped::read("evenkeel.yaml", "sleeps", &shop, &pay)?;
    let [first, second] = [shipped.binary(&stack, folders[0].path())?, shipped.binary(&stack, folders[1].path())?];
    stack.start_source(&shop)?;
    stack.start_source(&pay)?;
    first.start()?;
    second.start()?;
    let mut watch = Watch::begin(&stack, "evenkeel.sleeps")?;
    let mut expected = BTreeSet::new();
    wait_at_work(&second)?;
    for round in 1..4 {
        second.signal("STOP")?;
        sell(&stack, 10 * round)?;
        expected.extend(unpaid(10 * round));
        // Only the first can say it, and of both partitions.
        let said = expected.clone();
        watch.until("the other says it all", LIMIT, move |watch| watch.ever_opened() == said)?;
        second.signal("CONT")?;
        sell(&stack, 100 * round)?;
        expected.extend(unpaid(100 * round));
        let said = expected.clone();
        watch.until("it goes on", LIMIT, move |watch| watch.ever_opened() == said)?;
        wait_at_work(&second)?;
    }
    compare(&stack, &shipped, &first, &mut watch)?;
    assert_eq!(watch.events.len(), expected.len(), "each once, and nothing else: {:?}", watch.events);
    assert_eq!(watch.stalls, [""; 0], "nobody but a member slept");
    second.stop()?;
    end(&stack, &first, [&shop, &pay])
}

/// A member with a name of its own that is killed and comes back has its partitions at once, long before the group would have
/// given it up.
fn returns() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay) = sources(&stack, "returns")?;
    let shipped = Shipped::read("evenkeel.yaml", "returns", &shop, &pay)?
        .with_kafka(&[("group.instance.id".to_owned(), "one".to_owned())])
        .replace("session.timeout.ms: \"3000\"", "session.timeout.ms: \"120000\"");
    let member = shipped.binary(&stack, folder.path())?;
    let mut watch = start(&stack, [&shop, &pay], &member, "returns")?;
    sell(&stack, 10)?;
    let said: BTreeSet<_> = unpaid(10).collect();
    watch.until("it says it", LIMIT, |watch| watch.ever_opened() == said)?;
    member.kill()?;
    sell(&stack, 20)?;
    let killed = std::time::Instant::now();
    member.start()?;
    let said: BTreeSet<_> = unpaid(10).chain(unpaid(20)).collect();
    watch.until("it goes on", LIMIT, |watch| watch.ever_opened() == said)?;
    assert!(killed.elapsed() < Duration::from_secs(100), "it did not wait until its session was over");
    compare(&stack, &shipped, &member, &mut watch)?;
    end(&stack, &member, [&shop, &pay])
}

#[test]
#[ignore = "real stack"]
fn real_member_that_slept_beyond_its_session_says_nothing_that_others_said() {
    sleeps().expect("the stack works");
}

#[test]
#[ignore = "real stack"]
fn real_member_with_a_name_is_back_before_its_session_is_over() {
    returns().expect("the stack works");
}

#[test]
#[ignore = "real stack"]
fn real_members_join_leave_and_die_and_all_is_said_once() {
    come_and_go().expect("the stack works");
}
