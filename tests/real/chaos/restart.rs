//! How long a member with a million live orders on its disk is away after kill -9: from the kill until all partitions
//! have looked beyond it. Events are published as Debezium does it, without databases: their speed is no matter here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use evenkeel::adapters::clock::now;
use evenkeel::app::demo::connector::{
    Connector, Database, ORDERS, Outgoing, PAY_HEARTBEAT, PAYMENTS, SHOP_HEARTBEAT,
};
use evenkeel::app::demo::world::{Logged, Order, Payment};
use evenkeel::domain::routing::partition_of;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::ear::Ear;
use super::{kafka, setting};
use crate::real::binary::{Binary, Shipped};
use crate::real::{Broker, Result, wait_until};

pub const TOPICS: [(&str, i32); 4] = [(ORDERS, 4), (PAYMENTS, 3), (SHOP_HEARTBEAT, 1), (PAY_HEARTBEAT, 1)];

/// As many as a configuration has that does not say.
const PARTITIONS: usize = 8;

const LIMIT: Duration = Duration::from_secs(180);

const ROUNDS: usize = 3;

/// Between two orders on the databases' clocks while the past is written, microseconds.
const ARRIVAL: i64 = 50;

/// Orders a second while the member is killed.
const ORDERS_A_SECOND: i64 = 200;

/// Both databases' connectors.
struct Feed {
    producer: ThreadedProducer<DefaultProducerContext>,
    connectors: [Connector; 2],
    next: i64,
}

impl Feed {
    fn begin(bootstrap: &str, at: i64) -> Result<Feed> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("compression.type", "lz4").set("linger.ms", "20");
        Ok(Feed {
            producer: config.create()?,
            connectors: [Connector::new(Database::Shop, at), Connector::new(Database::Pay, at)],
            next: 1,
        })
    }

    /// An order that is paid, and its payment. It lives for ever.
    fn sell(&mut self, at: i64) {
        let order_id = self.next;
        self.next += 1;
        let (total_cents, updated_at) = (500 + order_id % 9000, at);
        let order = Order { order_id, customer_id: order_id % 5000, payment_status: "PAID", total_cents, updated_at };
        let payment = Payment {
            id: order_id,
            order_id,
            kind: "CAPTURE",
            status: "CAPTURED",
            amount_cents: total_cents,
            captured_at: Some(at),
            updated_at,
        };
        self.connectors[0].log(at, &Logged::Order { before: None, after: order });
        self.connectors[1].log(at, &Logged::Payment { before: None, after: payment });
    }

    /// Sends what was logged, and heartbeats where they are due.
    fn send(&mut self, at: i64) -> Result {
        for connector in &mut self.connectors {
            connector.heartbeat(at);
            for outgoing in connector.drain(i64::MAX) {
                publish(&self.producer, &outgoing)?;
            }
        }
        Ok(())
    }

    /// So many orders, long ago.
    fn write_past(&mut self, orders: i64, began: i64) -> Result {
        for order in 0..orders {
            let at = began + order * ARRIVAL;
            self.sell(at);
            if order % 100 == 0 {
                self.send(at)?;
            }
        }
        self.send(began + orders * ARRIVAL)?;
        Ok(self.producer.flush(LIMIT)?)
    }

    /// Goes on at the clock's pace until told to stop.
    fn go_on(&mut self, stop: &AtomicBool) -> Result {
        let (began, mut sold) = (now().0, 0);
        while !stop.load(Ordering::Relaxed) {
            let at = now().0;
            let due = (at - began) * ORDERS_A_SECOND / 1_000_000;
            (sold..due).for_each(|_| self.sell(at));
            sold = due;
            self.send(at)?;
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(())
    }
}

fn publish(producer: &ThreadedProducer<DefaultProducerContext>, outgoing: &Outgoing) -> Result {
    let (_, count) = TOPICS.iter().find(|(topic, _)| *topic == outgoing.topic).expect("it is one of them");
    let partition = partition_of(&outgoing.id.to_le_bytes(), *count);
    let mut record = BaseRecord::to(outgoing.topic).partition(partition).key(&outgoing.key).payload(&outgoing.value);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                record = returned;
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// After a kill: until all partitions have looked beyond the kill, and until the member says that it is ready, if it
/// does by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Away {
    caught_up: Duration,
    ready: Option<Duration>,
}

fn restart(member: &Binary, ear: &Ear) -> Result<Away> {
    let (began, at) = (Instant::now(), jiff::Timestamp::now());
    member.kill()?;
    member.launch()?;
    let mut ready = None;
    ear.wait_settled("catching up", at, LIMIT, || {
        start_again_if_ended(member)?;
        ready = ready.or_else(|| member.is_ready().then(|| began.elapsed()));
        Ok(true)
    })?;
    Ok(Away { caught_up: began.elapsed(), ready })
}

/// As a supervisor does.
fn start_again_if_ended(member: &Binary) -> Result {
    if let Some(status) = member.ended()? {
        eprintln!("restart: the member ended ({status}): {}", member.last_error().unwrap_or_default());
        member.launch()?;
    }
    Ok(())
}

fn keys(member: &Binary) -> Result<f64> {
    let metrics = member.metrics()?;
    let keys = metrics.lines().filter(|line| line.starts_with("evenkeel_keys{"));
    Ok(keys.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

fn restarts(orders: i64) -> Result {
    let broker = Broker::start()?;
    let topics = TOPICS.map(|(topic, count)| (topic.to_owned(), count));
    crate::real::create_topics(&broker.bootstrap(), &topics)?;
    let folder = tempfile::tempdir()?;
    let shipped = Shipped::with_own_topics("evenkeel.yaml", "restart")?
        .with_kafka(&kafka())
        .replace("partitions: 2,", &format!("partitions: {PARTITIONS},"));
    let member = shipped.binary_at(&broker.bootstrap(), folder.path())?;
    let past = now().0 - orders * ARRIVAL - 2_000_000;
    let mut feed = Feed::begin(&broker.bootstrap(), past)?;
    feed.write_past(orders, past)?;
    member.launch()?;
    let ear = Ear::begin(&broker.bootstrap(), "evenkeel.restart", PARTITIONS)?;
    let stop = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let listener = scope.spawn(|| ear.listen(&stop));
        let feeder = scope.spawn(|| feed.go_on(&stop));
        let result = rounds(&member, &ear, orders);
        stop.store(true, Ordering::Relaxed);
        listener.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        feeder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(result)
    });
    if result.is_err() || std::env::var_os("EVENKEEL_KEEP_STACK").is_some() {
        eprintln!("restart: the member's folder is kept in {}", folder.keep().display());
    }
    result?;
    member.stop()
}

fn rounds(member: &Binary, ear: &Ear, orders: i64) -> Result {
    let began = Instant::now();
    let is_running = || start_again_if_ended(member).map(|()| true);
    ear.wait_settled("the past to be read", jiff::Timestamp::now(), LIMIT, is_running)?;
    let read = began.elapsed();
    // An estimate, set once a second; what was flushed last may be in memory tables yet.
    let live = wait_until("most orders to be held", LIMIT, || {
        Ok(Some(keys(member)?).filter(|keys| *keys > 0.9 * orders as f64))
    })?;
    println!("\n{live:.0} live orders in {PARTITIONS} partitions, read in {:.1} s", read.as_secs_f64());
    let mut times = Vec::new();
    for round in 1..=ROUNDS {
        let away = restart(member, ear)?;
        println!(
            "kill -9 and start {round}: caught up after {:.1} s, {}",
            away.caught_up.as_secs_f64(),
            away.ready.map_or("not ready by then".to_owned(), |it| format!("ready after {:.1} s", it.as_secs_f64()))
        );
        times.push(away);
    }
    times.sort_unstable();
    println!("from kill -9 to caught up, median: {:.1} s", times[ROUNDS / 2].caught_up.as_secs_f64());
    Ok(())
}

#[test]
#[ignore = "minutes: make chaos"]
fn full_chaos_restart_with_a_million_live_orders() {
    restarts(setting("EVENKEEL_CHAOS_ORDERS", 1_000_000).cast_signed()).expect("it catches up");
}
