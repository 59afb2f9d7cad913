//! Source topics that change under the reader: deleted and created anew, given more partitions.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;

use super::binary::{Binary, Shipped};
use super::overtaken::delete_below;
use super::product::{instant, pg_order};
use super::shipped::{compare, end, sell, sources, start};
use super::watch::Watch;
use super::{Result, Source, Stack, wait_until};

const LIMIT: Duration = Duration::from_secs(90);

pub fn admin(stack: &Stack) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", stack.bootstrap()).create()?)
}

/// Deletes a topic, and waits until it is gone.
pub fn delete(stack: &Stack, topic: &str) -> Result {
    let admin = admin(stack)?;
    tokio::runtime::Runtime::new()?.block_on(admin.delete_topics(&[topic], &AdminOptions::new()))?;
    wait_until("the topic to be gone", LIMIT, || {
        let all = admin.inner().fetch_metadata(None, LIMIT)?;
        Ok(all.topics().iter().all(|one| one.name() != topic).then_some(()))
    })
}

/// Deletes the orders' topic and makes it anew, with newer orders in it. Its connector notices nothing.
fn make_anew(stack: &Stack, shop: &Source, while_it_is_gone: impl FnOnce() -> Result) -> Result {
    stack.stop_connector(&shop.prefix)?;
    delete(stack, &shop.topic("orders"))?;
    while_it_is_gone()?;
    super::create_topics(&stack.bootstrap(), shop.topics())?;
    stack.resume_connector(&shop.prefix)?;
    sell(stack, 100)
}

/// A configuration, and a binary that has read some orders with it.
fn begin(stack: &Stack, name: &str, folder: &std::path::Path) -> Result<(Source, Source, Shipped, Binary, Watch)> {
    let (shop, pay) = sources(stack, name)?;
    // So that clients hear soon of partitions that are added, and of topics that are gone.
    let soon = [("topic.metadata.refresh.interval.ms", "1000"), ("topic.metadata.propagation.max.ms", "100")];
    let soon = soon.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let shipped = Shipped::read("evenkeel.yaml", name, &shop, &pay)?.with_kafka(&soon);
    let binary = shipped.binary(stack, folder)?;
    let mut watch = start(stack, [&shop, &pay], &binary, name)?;
    (1..41).try_for_each(|order| stack.pg(&pg_order(order, "CANCELLED", "1.00")).map(drop))?;
    let written = instant(stack, 0)?;
    watch.until("it has read them", LIMIT, |watch| watch.has_settled(2, &written))?;
    Ok((shop, pay, shipped, binary, watch))
}

/// Waits until the gap is said of each partition of the orders' topic, and that nothing is judged from then on. Acknowledges
/// it, and waits until all is judged.
fn acknowledge(
    stack: &Stack,
    (shop, shipped, binary): (&Source, &Shipped, &Binary),
    watch: &mut Watch,
    gap: &str,
) -> Result {
    let partitions = stack.topic_end_offsets(&shop.topic("orders"))?.len();
    watch.until("the gap is said", LIMIT, |watch| watch.notices == vec![gap; partitions])?;
    let metrics = binary.metrics()?;
    let mut counted = metrics.lines().filter(|line| line.starts_with("evenkeel_source_notices_total{"));
    let said = format!(" {partitions}");
    assert!(counted.any(|line| line.contains("source_gap\"") && line.ends_with(&said)), "{metrics}");
    let before = watch.settled.clone();
    sell(stack, 200)?;
    let heard = watch.events.len();
    let said = binary.acknowledge("orders")?;
    assert!(said.contains(&format!("{}:0", shop.topic("orders"))), "{said}");
    watch.until("it is acknowledged", LIMIT, |watch| watch.notices.len() == 2 * partitions)?;
    assert!(
        watch.notices[partitions..].iter().all(|one| one == "source_gap_acknowledged orders"),
        "{:?} {:?}",
        watch.notices,
        watch.events
    );
    compare(stack, shipped, binary, watch)?;
    assert!(watch.events.len() > heard && watch.settled != before, "{:?} {:?}", watch.notices, watch.events);
    Ok(())
}

/// The reader sees that the topic is gone, and that it is another one.
fn created_anew_under_the_reader() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay, shipped, binary, mut watch) = begin(&stack, "anewer", folder.path())?;
    make_anew(&stack, &shop, || binary.wait_logged("a topic does not exist"))?;
    acknowledge(&stack, (&shop, &shipped, &binary), &mut watch, "source_gap orders recreated")?;
    end(&stack, &binary, [&shop, &pay])
}

/// The brokers forget what was committed of a topic that is deleted; its id tells whoever has heard of the one before.
fn created_anew_while_nobody_looked() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay, shipped, binary, mut watch) = begin(&stack, "anew", folder.path())?;
    binary.stop()?;
    make_anew(&stack, &shop, || Ok(()))?;
    binary.start()?;
    acknowledge(&stack, (&shop, &shipped, &binary), &mut watch, "source_gap orders recreated")?;
    end(&stack, &binary, [&shop, &pay])
}

#[test]
#[ignore = "real stack"]
fn real_source_topic_created_anew_while_nobody_looked_is_a_gap() {
    created_anew_while_nobody_looked().expect("the stack works");
}

#[test]
#[ignore = "real stack"]
fn real_source_topic_created_anew_under_the_reader_is_a_gap() {
    created_anew_under_the_reader().expect("the stack works");
}

/// Retention deletes records that were not read. What they said comes again with the next update of their rows.
fn overtaken() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay, shipped, binary, mut watch) = begin(&stack, "overtaken", folder.path())?;
    binary.stop()?;
    let topic = shop.topic("orders");
    let before = stack.topic_end_offsets(&topic)?;
    (100..150).try_for_each(|order| stack.pg(&pg_order(order, "PENDING", "1.00")).map(drop))?;
    wait_until("all partitions have more", LIMIT, || {
        let ends = stack.topic_end_offsets(&topic)?;
        Ok(ends.iter().all(|(partition, end)| *end > before[partition]).then_some(()))
    })?;
    delete_below(&stack, &topic, stack.topic_end_offsets(&topic)?)?;
    binary.start()?;
    stack.pg("update shop.orders set payment_status = 'CANCELLED' where payment_status = 'PENDING'")?;
    acknowledge(&stack, (&shop, &shipped, &binary), &mut watch, "source_gap orders retention")?;
    end(&stack, &binary, [&shop, &pay])
}

#[test]
#[ignore = "real stack"]
fn real_retention_that_overtakes_the_reader_is_a_gap() {
    overtaken().expect("the stack works");
}

pub fn widen(stack: &Stack, topic: &str, partitions: usize) -> Result {
    let more = [NewPartitions::new(topic, partitions)];
    tokio::runtime::Runtime::new()?.block_on(admin(stack)?.create_partitions(&more, &AdminOptions::new()))?;
    Ok(())
}

/// A source topic is given more partitions while it is read. The changes log may not be.
fn more_partitions() -> Result {
    let stack = super::stack();
    let folder = tempfile::tempdir()?;
    let (shop, pay, shipped, binary, mut watch) = begin(&stack, "wider", folder.path())?;
    let topic = shop.topic("orders");
    widen(&stack, &topic, 6)?;
    // Its producer looks for partitions as it starts.
    stack.stop_connector(&shop.prefix)?;
    stack.resume_connector(&shop.prefix)?;
    (10..20).try_for_each(|round| sell(&stack, 10 * round))?;
    compare(&stack, &shipped, &binary, &mut watch)?;
    let ends = stack.topic_end_offsets(&topic)?;
    assert!(ends.len() == 6 && ends.values().all(|end| *end > 0), "every partition is used: {ends:?}");
    assert_eq!(watch.ever_opened().len(), 20, "{:?}", watch.events);
    assert_eq!(watch.notices, ["source_widened orders"], "once");
    let changes = "evenkeel.wider.changes";
    widen(&stack, changes, 3)?;
    let failure = binary.failure();
    assert!(failure.contains(&format!("topic {changes} has 3 partitions")), "{failure}");
    [&shop, &pay].into_iter().try_for_each(|source| stack.remove_source(source))
}

#[test]
#[ignore = "real stack"]
fn real_partition_that_is_added_to_a_source_topic_is_read() {
    more_partitions().expect("the stack works");
}
