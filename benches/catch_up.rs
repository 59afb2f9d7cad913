//! Catching up with a backlog on a real broker, beside the bare floor: reading and decoding the same topics, and
//! nothing else. Both in one run, in processes of their own, in turns; what counts is the ratio of their CPU time.
//!
//! `EVENKEEL_BENCH_EVENTS` is how many events there are (300,000), `EVENKEEL_BENCH_ROUNDS` how often each is measured (3).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use evenkeel::app::demo::connector::{Connector, Database, ORDERS, PAY_HEARTBEAT, PAYMENTS, SHOP_HEARTBEAT};
use evenkeel::app::demo::judge::rules_of;
use evenkeel::app::demo::settings::FILE;
use evenkeel::app::demo::world::{Logged, World};
use evenkeel::domain::routing::partition_of;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde::Deserialize;

use self::real::{Error, Result};

#[path = "../tests/real/mod.rs"]
mod real;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/support/mod.rs"]
mod support;

const TOPICS: [(&str, i32); 4] = [(ORDERS, 4), (PAYMENTS, 3), (SHOP_HEARTBEAT, 1), (PAY_HEARTBEAT, 1)];

/// Between two customers on the databases' clocks, microseconds: 500 orders a second.
const ARRIVAL: i64 = 2_000;

/// Partitions of the changes log.
const PARTITIONS: usize = 4;

fn main() -> Result {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("floor") => floor(&args[1]),
        _ => bench(),
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What one process cost.
#[derive(Clone, Copy, Default)]
struct Cost {
    cpu: Duration,
    wall: Duration,
    peak_rss: u64,
    state: u64,
    opened: usize,
}

fn bench() -> Result {
    let events = setting("EVENKEEL_BENCH_EVENTS", 300_000);
    let rounds = setting("EVENKEEL_BENCH_ROUNDS", 3);
    let broker = real::Broker::start()?;
    let backlog = Backlog::write(&broker.bootstrap(), events)?;
    println!(
        "{} events of {} bytes on average, {} orders",
        backlog.events,
        backlog.bytes / backlog.events,
        backlog.orders
    );
    let (mut floors, mut products) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        floors.push(run_floor(&broker.bootstrap(), backlog.events)?);
        products.push(run_product(&broker.bootstrap(), round, &backlog)?);
        println!(
            "round {}: {} / {}",
            round + 1,
            told(&floors[round as usize], &backlog),
            told(&products[round as usize], &backlog)
        );
    }
    report(&backlog, median(floors), median(products));
    Ok(())
}

fn told(cost: &Cost, backlog: &Backlog) -> String {
    format!(
        "{:.2} µs CPU an event, {:.1} s",
        cost.cpu.as_secs_f64() * 1e6 / backlog.events as f64,
        cost.wall.as_secs_f64()
    )
}

fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by_key(|cost| cost.cpu);
    costs[costs.len() / 2]
}

fn report(backlog: &Backlog, floor: Cost, product: Cost) {
    let per_second = |cost: Cost| backlog.events as f64 / cost.cpu.as_secs_f64();
    let micros = |cost: Cost| cost.cpu.as_secs_f64() * 1e6 / backlog.events as f64;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!();
    println!("| | floor: consume and decode | evenkeel, end to end |");
    println!("|---|---|---|");
    println!("| events per CPU-second | {:.0} | {:.0} |", per_second(floor), per_second(product));
    println!("| CPU per event | {:.2} µs | {:.2} µs |", micros(floor), micros(product));
    println!("| CPU, as a multiple of the floor | 1 | {:.2} |", micros(product) / micros(floor));
    println!("| wall time | {:.1} s | {:.1} s |", floor.wall.as_secs_f64(), product.wall.as_secs_f64());
    println!("| peak resident memory | {:.0} MiB | {:.0} MiB |", mib(floor.peak_rss), mib(product.peak_rss));
    println!(
        "| state on disk | | {:.1} MiB, {:.0} bytes an order |",
        mib(product.state),
        product.state as f64 / backlog.orders as f64
    );
    println!("| discrepancies opened | | {} of {} injected |", product.opened, backlog.expected);
}

/// Topics full of events, and what must come of them.
struct Backlog {
    events: u64,
    bytes: u64,
    orders: u64,
    /// `(order, rule)` that must be opened.
    expected: usize,
    /// The last heartbeat, RFC 3339.
    last: String,
}

impl Backlog {
    fn write(bootstrap: &str, events: u64) -> Result<Backlog> {
        let topics: Vec<(String, i32)> = TOPICS.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        real::create_topics(bootstrap, &topics)?;
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("compression.type", "lz4")
            .set("linger.ms", "50")
            .create()?;
        let orders = events / 4;
        let length = orders as i64 * ARRIVAL + 40_000_000;
        let began = evenkeel::adapters::clock::now().0 - length - 10_000_000;
        let mut world = World::new(7);
        let mut connectors = [Connector::new(Database::Shop, began), Connector::new(Database::Pay, began)];
        let mut backlog = Backlog { events: 0, bytes: 0, orders, expected: 0, last: String::new() };
        let mut next_arrival = began;
        let mut at = began;
        // What heals within a grace must have the time, and what does not must outlast the longest one.
        while at < began + length {
            at += 10_000;
            while next_arrival <= at && next_arrival < began + orders as i64 * ARRIVAL {
                world.arrive(next_arrival, true);
                next_arrival += ARRIVAL;
            }
            for (when, logged) in world.advance(at) {
                connectors[usize::from(matches!(logged, Logged::Payment { .. }))].log(when, &logged);
            }
            for connector in &mut connectors {
                connector.heartbeat(at);
                for outgoing in connector.drain(i64::MAX) {
                    let count =
                        TOPICS.iter().find(|(name, _)| *name == outgoing.topic).map_or(1, |(_, count)| *count);
                    backlog.events += 1;
                    backlog.bytes += outgoing.value.len() as u64;
                    send(
                        &producer,
                        outgoing.topic,
                        partition_of(&outgoing.id.to_le_bytes(), count),
                        &outgoing.key,
                        &outgoing.value,
                    )?;
                }
            }
        }
        producer.flush(Duration::from_secs(60))?;
        backlog.expected = world.injected.iter().map(|injected| rules_of(injected.fault).len()).sum();
        backlog.last = evenkeel::domain::instant::Instant(at - 3_000_000).to_string();
        Ok(backlog)
    }
}

fn send(
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    partition: i32,
    key: &str,
    value: &str,
) -> Result {
    let mut record = BaseRecord::to(topic).partition(partition).key(key).payload(value);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(rdkafka::types::RDKafkaErrorCode::QueueFull), returned)) => {
                record = returned;
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// A consumer of every partition of some topics, from their beginning.
fn consumer(bootstrap: &str, topics: &[(&str, i32)]) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "20")
        .create()?;
    let mut list = rdkafka::TopicPartitionList::new();
    for (topic, partitions) in topics {
        for partition in 0..*partitions {
            list.add_partition_offset(topic, partition, rdkafka::Offset::Beginning)?;
        }
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "decoding is the work")]
struct Event<Row> {
    op: String,
    before: Option<Row>,
    after: Option<Row>,
    source: Source,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "decoding is the work")]
struct Source {
    ts_us: i64,
    sequence: Option<String>,
    gtid: Option<String>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "decoding is the work")]
struct Order {
    order_id: i64,
    payment_status: String,
    total: String,
    currency: String,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "decoding is the work")]
struct Payment {
    id: i64,
    order_id: Option<i64>,
    kind: String,
    status: String,
    amount: String,
    currency: String,
}

/// Consumes and decodes everything, says how much, and waits until its input ends.
fn floor(bootstrap: &str) -> Result {
    let consumer = consumer(bootstrap, &TOPICS)?;
    let partitions: i32 = TOPICS.iter().map(|(_, count)| count).sum();
    let (mut ended, mut events) = (0, 0_u64);
    while ended < partitions {
        match consumer.poll(Duration::from_secs(10)) {
            Some(Ok(message)) => {
                let payload = message.payload().unwrap_or_default();
                match message.topic() {
                    ORDERS => drop(serde_json::from_slice::<Event<Order>>(payload)?),
                    PAYMENTS => drop(serde_json::from_slice::<Event<Payment>>(payload)?),
                    _ => {}
                }
                events += 1;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Error::new("nothing comes")),
        }
    }
    println!("{events}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn run_floor(bootstrap: &str, events: u64) -> Result<Cost> {
    let began = Instant::now();
    let mut child = Command::new(std::env::current_exe()?)
        .args(["floor", bootstrap])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line)?;
    let cost = cost_of(&child, began)?;
    drop(child.stdin.take());
    child.wait()?;
    assert_eq!(line.trim(), events.to_string(), "the floor reads everything");
    Ok(cost)
}

fn run_product(bootstrap: &str, round: u64, backlog: &Backlog) -> Result<Cost> {
    let folder = tempfile::tempdir()?;
    let name = format!("bench-{round}");
    let config = folder.path().join("evenkeel.yaml");
    let text = FILE
        .replace("reconciliation: demo", &format!("reconciliation: {name}"))
        .replace("prefix: evenkeel.demo", &format!("prefix: evenkeel.{name}"))
        .replace("partitions: 2", &format!("partitions: {PARTITIONS}"));
    let more = std::env::var("EVENKEEL_BENCH_CONFIG").unwrap_or_default();
    std::fs::write(&config, format!("{text}\nhttp: {{listen: \"127.0.0.1:0\"}}\n{more}\n"))?;
    let state = folder.path().join("state");
    let log = std::fs::File::create(folder.path().join("log"))?;
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["run", "-c"])
        .arg(&config)
        .env("DEMO_BOOTSTRAP", bootstrap)
        .env("DEMO_STATE", &state)
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()?;
    let opened = until_settled(bootstrap, &name, &backlog.last, &mut child);
    let cost = cost_of(&child, began);
    child.kill()?;
    child.wait()?;
    let opened = opened.map_err(|error| {
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        Error::new(format!("{error}\n{log}"))
    })?;
    assert_eq!(opened, backlog.expected, "what was opened is what was injected");
    Ok(Cost { state: size_of(&state)?, opened, ..cost? })
}

/// Waits until every partition has looked beyond an instant; gives how many discrepancies were opened.
fn until_settled(bootstrap: &str, name: &str, last: &str, child: &mut Child) -> Result<usize> {
    let topic = format!("evenkeel.{name}.discrepancies");
    let deadline = Instant::now() + Duration::from_secs(600);
    let exists = || -> Result<bool> {
        let probe: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
        let metadata = probe.fetch_metadata(None, Duration::from_secs(10))?;
        Ok(metadata.topics().iter().any(|known| known.name() == topic && !known.partitions().is_empty()))
    };
    while !exists()? {
        if let Some(status) = child.try_wait()? {
            return Err(Error::new(format!("the product ended: {status}")));
        }
        std::thread::park_timeout(Duration::from_millis(200));
    }
    let consumer = consumer(bootstrap, &[(&topic, PARTITIONS as i32)])?;
    let mut settled: BTreeMap<i32, String> = BTreeMap::new();
    let mut opened = 0;
    while settled.len() < PARTITIONS || settled.values().any(|settled| settled.as_str() < last) {
        if Instant::now() > deadline {
            return Err(Error::new(format!("not settled in time: {settled:?}, wanted {last}")));
        }
        if let Some(status) = child.try_wait()? {
            return Err(Error::new(format!("the product ended: {status}")));
        }
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) => {
                let body: serde_json::Value = serde_json::from_slice(message.payload().unwrap_or_default())?;
                match body["type"].as_str() {
                    Some("heartbeat") => {
                        let time = body["settled_time"].as_str().unwrap_or_default().to_owned();
                        settled.insert(message.partition(), time);
                    }
                    Some("opened") => opened += 1,
                    _ => {}
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) => return Err(error.into()),
        }
    }
    Ok(opened)
}

/// CPU time and peak memory of a living child.
fn cost_of(child: &Child, began: Instant) -> Result<Cost> {
    let wall = began.elapsed();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in hundredths of a second; the first two were cut off.
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0);
    Ok(Cost { cpu: Duration::from_millis(ticks * 10), wall, peak_rss: peak * 1024, ..Cost::default() })
}

fn size_of(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        size += if metadata.is_dir() { size_of(&entry.path())? } else { metadata.len() };
    }
    Ok(size)
}
