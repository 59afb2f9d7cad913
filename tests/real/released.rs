//! Partitions that are paused when they are assigned and resumed when there is an offset to begin at, as a member of a
//! group holds and releases them: whether all of them are read then. With librdkafka 2.12.1 they are not, always.
//!
//! Each of its operations on a partition takes a version, then is put into a queue; one that comes out behind a later
//! version is dropped as outdated, without an error (`rd_kafka_toppar_op_serve`). A resume takes place while the main
//! thread, the committed offsets having arrived, starts the fetcher. Where the two cross, the resume is dropped, and the
//! partition is paused for ever; or the start is, and no second resume helps.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, TopicPartitionList};

use super::{Broker, Result};
use crate::support::dice::Dice;

const PARTITIONS: i32 = 100;

/// Longer than a broker takes to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Nothing comes any more.
const SILENCE: Duration = Duration::from_secs(3);

/// Long enough for some hundred rounds; it takes a few hundred to lose one.
const TIME: Duration = Duration::from_secs(90);

/// One record in each partition of a topic.
fn write_one_each(bootstrap: &str, topic: &str) -> Result {
    super::create_topics(bootstrap, &[(topic.to_owned(), PARTITIONS)])?;
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    for partition in 0..PARTITIONS {
        let record = BaseRecord::<(), str>::to(topic).partition(partition).payload("one");
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(PATIENCE)?)
}

/// The partitions of which nothing comes for a while.
fn never_read(consumer: &BaseConsumer, mut missing: BTreeSet<i32>) -> BTreeSet<i32> {
    let mut end = Instant::now() + SILENCE;
    while !missing.is_empty() && Instant::now() < end {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) {
            missing.remove(&message.partition());
            end = Instant::now() + SILENCE;
        }
    }
    missing
}

fn list(partitions: impl IntoIterator<Item = i32>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition("many", partition);
    }
    list
}

/// Assigns, holds, and releases about when the committed offsets arrive and the fetchers start. Gives how many
/// partitions a resume did not reach, and of these a second one.
fn assign_again_and_again(consumer: &BaseConsumer) -> Result<(usize, usize)> {
    let (all, mut dice) = (list(0..PARTITIONS), Dice::new(1));
    let (mut lost, mut lost_again) = (0, 0);
    let end = Instant::now() + TIME;
    while Instant::now() < end {
        consumer.incremental_assign(&all)?;
        consumer.pause(&all)?;
        let released = Instant::now() + Duration::from_micros(dice.below(7000));
        while Instant::now() < released {
            std::hint::spin_loop();
        }
        consumer.resume(&all)?;
        let missing = never_read(consumer, (0..PARTITIONS).collect());
        if !missing.is_empty() {
            lost += missing.len();
            consumer.resume(&list(missing.iter().copied()))?;
            lost_again += never_read(consumer, missing).len();
        }
        consumer.incremental_unassign(&all)?;
    }
    Ok((lost, lost_again))
}

fn on_busy_cores() -> Result<(usize, usize)> {
    let broker = Broker::start()?;
    write_one_each(&broker.bootstrap(), "many")?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("group.id", "many")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "20")
        .create()?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Threads are interrupted anywhere.
        let spin = || {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        (0..3).for_each(|_| drop(scope.spawn(spin)));
        let lost = assign_again_and_again(&consumer);
        stop.store(true, Ordering::Relaxed);
        lost
    })
}

#[test]
#[ignore = "fails: librdkafka loses a resume, or the start of a fetcher, once in some ten thousand"]
fn released_partitions_are_read() {
    let (lost, lost_again) = on_busy_cores().expect("the broker works");
    assert_eq!((lost, lost_again), (0, 0), "partitions of which nothing came after a resume, and after a second one");
}
