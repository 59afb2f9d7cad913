//! Source topics that change under the reader: deleted and created anew, given more partitions.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;

use super::binary::{Binary, Shipped};
use super::product::{instant, pg_order};
use super::shipped::{compare, end, sell, sources};
use super::watch::Watch;
use super::{Result, Source, Stack, wait_until};

const LIMIT: Duration = Duration::from_secs(90);

fn admin(stack: &Stack) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", stack.bootstrap()).create()?)
}

/// Deletes the orders' topic and makes it anew, with newer orders in it. Its connector notices nothing.
fn make_anew(stack: &Stack, shop: &Source) -> Result {
    let topic = shop.topic("orders");
    stack.stop_connector(&shop.prefix)?;
    let admin = admin(stack)?;
    tokio::runtime::Runtime::new()?.block_on(admin.delete_topics(&[&topic], &AdminOptions::new()))?;
    wait_until("the topic to be gone", LIMIT, || {
        let all = admin.inner().fetch_metadata(None, LIMIT)?;
        Ok(all.topics().iter().all(|one| one.name() != topic).then_some(()))
    })?;
    super::create_topics(&stack.bootstrap(), shop.topics())?;
    stack.resume_connector(&shop.prefix)?;
    sell(stack, 100)
}

/// A configuration, and a binary that has read some orders with it.
fn begin(stack: &Stack, name: &str, folder: &std::path::Path) -> Result<(Source, Source, Shipped, Binary, Watch)> {
    let (shop, pay) = sources(stack, name)?;
    let shipped = Shipped::read("evenkeel.yaml", name, &shop, &pay)?;
    let binary = shipped.binary(stack, folder)?;
    stack.start_source(&shop)?;
    stack.start_source(&pay)?;
    binary.start()?;
    let mut watch = Watch::begin(stack, &format!("evenkeel.{name}"))?;
    (1..41).try_for_each(|order| stack.pg(&pg_order(order, "CANCELLED", "1.00")).map(drop))?;
    let written = instant(stack, 0)?;
    watch.until("it has read them", LIMIT, |watch| watch.has_settled(2, &written))?;
    Ok((shop, pay, shipped, binary, watch))
}

fn created_anew(name: &str, while_it_runs: bool) -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay, _, binary, _) = begin(&stack, name, folder.path())?;
    let failure = match while_it_runs {
        true => {
            make_anew(&stack, &shop)?;
            binary.failure()
        }
        false => {
            binary.stop()?;
            make_anew(&stack, &shop)?;
            binary.run_until_it_fails()?
        }
    };
    let said = failure.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_default();
    for part in ["input gap: ", &shop.topic("orders"), "created anew", "Re-snapshot the table"] {
        assert!(said.contains(part), "{part} is not in {said}\n{failure}");
    }
    stack.remove_source(&shop)?;
    stack.remove_source(&pay)
}

#[test]
#[ignore = "real stack"]
fn real_source_topic_created_anew_while_nobody_looked_is_an_error() {
    created_anew("anew", false).expect("the stack works");
}

#[test]
#[ignore = "real stack"]
fn real_source_topic_created_anew_under_the_reader_is_an_error() {
    created_anew("anewer", true).expect("the stack works");
}

/// A source topic is given more partitions while it is read.
fn more_partitions() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay, shipped, binary, mut watch) = begin(&stack, "wider", folder.path())?;
    let topic = shop.topic("orders");
    let more = [NewPartitions::new(&topic, 6)];
    tokio::runtime::Runtime::new()?.block_on(admin(&stack)?.create_partitions(&more, &AdminOptions::new()))?;
    // Its producer looks for partitions as it starts.
    stack.stop_connector(&shop.prefix)?;
    stack.resume_connector(&shop.prefix)?;
    (10..20).try_for_each(|round| sell(&stack, 10 * round))?;
    compare(&stack, &shipped, &binary, &mut watch)?;
    let ends = stack.topic_end_offsets(&topic)?;
    assert!(ends.len() == 6 && ends.values().all(|end| *end > 0), "every partition is used: {ends:?}");
    assert_eq!(watch.ever_opened().len(), 20, "{:?}", watch.events);
    end(&stack, &binary, [&shop, &pay])
}

#[test]
#[ignore = "real stack"]
fn real_partition_that_is_added_to_a_source_topic_is_read() {
    more_partitions().expect("the stack works");
}
