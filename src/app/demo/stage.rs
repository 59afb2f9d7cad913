//! Everything around the product: both databases live, their connectors write, what comes out is watched and shown.
//!
//! Must not know: how the product and its Kafka were started.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as Moment};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use super::connector::{Connector, Database, ORDERS, Outgoing, PAY_HEARTBEAT, PAYMENTS, SHOP_HEARTBEAT};
use super::ending::Ending;
use super::judge::{Judge, Summary};
use super::lines::{self, Lines};
use super::pace::Pace;
use super::screen::{Screen, SourceLine, View};
use super::world::{self, Logged, Micros, World};
use super::{DemoError, Options};
use crate::adapters::clock::now;
use crate::adapters::kafka::Context;
use crate::app::reconcile_stage::ReconcileStatus;
use crate::app::settings::Settings;

/// Topics and partitions of the two databases' change logs.
pub const TOPICS: [(&str, i32); 4] = [(ORDERS, 4), (PAYMENTS, 3), (SHOP_HEARTBEAT, 1), (PAY_HEARTBEAT, 1)];

/// How long nothing new is injected at the end, so that what was injected can be found.
const LAST_SECONDS: u64 = 12;

/// How long the end may take beyond the asked-for time.
const PATIENCE: Duration = Duration::from_secs(40);

/// How long the payments connector stands still, microseconds.
const STALL: Micros = 12_000_000;

const TICK: Duration = Duration::from_millis(10);

/// How often a customer comes, microseconds.
const ARRIVAL: Micros = 20_000;

/// Counts the events that Kafka has taken.
#[derive(Default)]
struct Written(AtomicU64);

impl ClientContext for Written {}

impl ProducerContext for Written {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => _ = self.0.fetch_add(1, Ordering::Relaxed),
            Err((error, _)) => tracing::error!(%error, "an event of the demo was lost"),
        }
    }
}

/// Where the demo tells what happens.
enum Display {
    Screen(Screen),
    Lines(Lines),
    /// Only the summary is wanted, for a script.
    Nothing,
}

/// The demo under way.
pub struct Stage {
    settings: Arc<Settings>,
    status: Arc<ReconcileStatus>,
    options: Options,
    ending: Ending,
    producer: ThreadedProducer<Written>,
    consumer: BaseConsumer,
    world: World,
    connectors: [Connector; 2],
    judge: Judge,
    display: Display,
    began: Micros,
    injected: usize,
    next_arrival: Micros,
    stall: Option<(Micros, Micros)>,
    written: Pace,
    read: Pace,
}

impl Stage {
    pub fn open(
        settings: &Arc<Settings>,
        bootstrap: &str,
        status: Arc<ReconcileStatus>,
        ending: Ending,
        options: Options,
    ) -> Result<Stage, DemoError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap);
        let producer = config.create_with_context(Written::default()).context(|| "the demo's producer".to_owned())?;
        config.set("group.id", "evenkeel.demo.watcher").set("isolation.level", "read_committed");
        config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().context(|| "the demo's consumer".to_owned())?;
        let mut all = rdkafka::TopicPartitionList::new();
        for partition in 0..settings.topics.partitions {
            let added =
                all.add_partition_offset(&settings.topics.discrepancies, partition, rdkafka::Offset::Beginning);
            added.context(|| "watching the discrepancy topic".to_owned())?;
        }
        consumer.assign(&all).context(|| "watching the discrepancy topic".to_owned())?;
        let display = match (options.json, std::io::stdout().is_terminal()) {
            (true, _) => Display::Nothing,
            (false, true) => Display::Screen(Screen::open()?),
            (false, false) => Display::Lines(Lines::begin(bootstrap)?),
        };
        let began = now().0;
        Ok(Stage {
            settings: Arc::clone(settings),
            world: World::new(began as u64),
            connectors: [Connector::new(Database::Shop, began), Connector::new(Database::Pay, began)],
            judge: Judge::default(),
            injected: 0,
            next_arrival: began,
            stall: None,
            written: Pace::default(),
            read: Pace::default(),
            ending,
            status,
            options,
            producer,
            consumer,
            display,
            began,
        })
    }

    /// Plays to the end and prints how it went.
    pub fn play(mut self, product_ended: impl Fn() -> bool) -> Result<Summary, DemoError> {
        let mut shown = Moment::now();
        let mut asked_to_end = None;
        let waited = loop {
            let at = now().0;
            let elapsed = Duration::from_micros((at - self.began).max(0) as u64);
            let length = self.options.seconds.map(Duration::from_secs);
            let ending = asked_to_end.is_some()
                || length.is_some_and(|length| elapsed + Duration::from_secs(LAST_SECONDS) >= length);
            self.live(at, ending);
            self.listen();
            if shown.elapsed() >= Duration::from_millis(200) {
                shown = Moment::now();
                self.show(at, shown)?;
            }
            if self.is_asked_to_end()? && asked_to_end.is_none() {
                asked_to_end = Some(elapsed);
                self.say_that_it_ends();
            }
            let due = asked_to_end.or(length);
            let complete = ending && self.world.is_quiet() && self.judge.is_complete() && self.stall.is_none();
            let over = due.is_some_and(|due| elapsed >= due);
            let out_of_time = due.is_some_and(|due| elapsed >= due + PATIENCE);
            if (over && complete) || out_of_time || product_ended() {
                break true;
            }
            if self.ending.asked() > 1 {
                break false;
            }
            std::thread::park_timeout(TICK);
        };
        self.finish(waited)
    }

    fn is_asked_to_end(&mut self) -> std::io::Result<bool> {
        if matches!(self.display, Display::Screen(_)) {
            self.ending.read_keys()?;
        }
        Ok(self.ending.asked() > 0)
    }

    /// The screen has it in its last line. Elsewhere it is no result, so it goes to stderr.
    fn say_that_it_ends(&self) {
        if !matches!(self.display, Display::Screen(_)) {
            lines::remark("ending: what was injected so far is still waited for; a second signal ends at once");
        }
    }

    /// Leaves the screen, then says how it went.
    fn finish(self, waited: bool) -> Result<Summary, DemoError> {
        if let Err(error) = self.producer.flush(Duration::from_secs(5)) {
            tracing::warn!(%error, "the demo's last events were not all written");
        }
        // Lines went before, with which it is not to be confused; the screen is left.
        let gap = if matches!(self.display, Display::Lines(_)) { "\n" } else { "" };
        drop(self.display);
        let summary = self.judge.summary();
        if !waited {
            lines::remark("ended at once: what was not found yet counts as missed");
        }
        match self.options.json {
            true => lines::print(summary.to_json())?,
            false => lines::print(format_args!("{gap}{summary}"))?,
        }
        Ok(summary)
    }

    /// One tick of both databases and their connectors.
    fn live(&mut self, at: Micros, ending: bool) {
        while self.next_arrival <= at && !ending {
            self.world.arrive(self.next_arrival, true);
            self.next_arrival += ARRIVAL;
        }
        for injected in self.world.injected.iter().skip(self.injected) {
            self.judge.inject(injected);
        }
        self.mend(at);
        self.injected = self.world.injected.len();
        self.direct_stall(at, ending);
        for (when, logged) in self.world.advance(at) {
            let database = usize::from(matches!(logged, Logged::Payment { .. }));
            self.connectors[database].log(when, &logged);
        }
        for connector in &mut self.connectors {
            connector.heartbeat(at);
            for Outgoing { topic, id, key, value, .. } in connector.drain(at) {
                let partitions = TOPICS.iter().find(|(name, _)| *name == topic).map_or(1, |(_, count)| *count);
                let partition = crate::domain::routing::partition_of(&id.to_le_bytes(), partitions);
                let record = BaseRecord::to(topic).partition(partition).key(&key).payload(&value);
                if let Err((error, _)) = self.producer.send(record) {
                    tracing::error!(%error, "an event of the demo was lost");
                }
            }
        }
    }

    /// Every third fault is mended after it has been found, so that discrepancies are seen to resolve.
    fn mend(&mut self, at: Micros) {
        let due: Vec<world::Injected> = self
            .world
            .injected
            .iter()
            .filter(|injected| injected.order_id % 3 == 0 && at - injected.at > 22_000_000)
            .cloned()
            .collect();
        for injected in due {
            if self.judge.mended.insert(injected.order_id) {
                self.world.mend(&injected, at);
            }
        }
    }

    /// The payments connector stands still once, after a third of the time.
    fn direct_stall(&mut self, at: Micros, ending: bool) {
        let third = self.options.seconds.map_or(20, |seconds| seconds / 3) as Micros * 1_000_000;
        match self.stall {
            None if self.judge.stalls_injected == 0 && at - self.began > third && !ending => {
                self.stall = Some((at, at + STALL));
                self.judge.stalls_injected = 1;
                self.judge.held = Some((at - 4_000_000, Micros::MAX));
                self.connectors[1].stopped = true;
            }
            Some((began, until)) if at >= until => {
                self.stall = None;
                self.connectors[1].stopped = false;
                self.judge.held = Some((began - 4_000_000, at + 2_000_000));
            }
            _ => {}
        }
    }

    fn listen(&mut self) {
        while let Some(polled) = self.consumer.poll(Duration::ZERO) {
            match polled {
                Ok(message) => {
                    let id = header(&message, "ce_id");
                    let body = serde_json::from_slice(message.payload().unwrap_or_default()).unwrap_or_default();
                    self.judge.hear(&id, &body, now().0);
                }
                Err(KafkaError::PartitionEOF(_)) => {}
                Err(error) => tracing::warn!(%error, "watching the discrepancy topic was disturbed"),
            }
        }
    }

    fn show(&mut self, at: Micros, moment: Moment) -> std::io::Result<()> {
        self.written.read(moment, self.producer.client().context().0.load(Ordering::Relaxed));
        self.read.read(moment, self.changes().unsigned_abs());
        let mut display = std::mem::replace(&mut self.display, Display::Nothing);
        let result = match &mut display {
            Display::Screen(screen) => screen.draw(&self.view(at)),
            Display::Lines(lines) => lines.tell(&self.judge, at),
            Display::Nothing => Ok(()),
        };
        self.display = display;
        result
    }

    /// How many changes reconcile has read from the changes log.
    fn changes(&self) -> i64 {
        self.status.partitions().iter().map(|(_, status)| status.changes.load(Ordering::Relaxed)).sum()
    }

    fn view(&self, at: Micros) -> View<'_> {
        let partitions = self.status.partitions();
        let least = |values: Vec<Micros>| values.into_iter().min().filter(|least| *least > i64::MIN);
        let settled = least(partitions.iter().map(|(_, status)| status.settled.load(Ordering::Relaxed)).collect());
        let held = self.judge.stalls_reported > self.judge.recoveries_reported;
        let sources = self.settings.sources.iter().enumerate().map(|(index, source)| {
            let frontiers = partitions.iter().map(|(_, status)| status.frontiers[index].load(Ordering::Relaxed));
            let detail = if source.name == "orders" { "PostgreSQL, 4 partitions" } else { "MariaDB, 3 partitions" };
            SourceLine {
                name: &source.name,
                detail,
                frontier: least(frontiers.collect()),
                held: source.name == "payments" && held,
            }
        });
        let summary = self.judge.summary();
        View {
            now: at,
            elapsed_s: ((at - self.began) / 1_000_000) as u64,
            length_s: self.options.seconds,
            settled,
            sources: sources.collect(),
            written_per_second: self.written.per_second(),
            read_per_second: self.read.per_second(),
            changes: self.changes(),
            injected: summary.injected(),
            found: summary.found(),
            false_alarms: summary.false_alarms.len(),
            note: self.note(held),
            is_asked_to_end: self.ending.asked() > 0,
            seen: &self.judge.seen,
        }
    }

    fn note(&self, held: bool) -> &'static str {
        match self.stall {
            Some(_) if held => "the payments feed stands still: no order is accused of what may be on its way",
            Some(_) => "the payments connector was stopped: orders go on, payments are silent",
            None if self.judge.stalls_injected == 0 => "soon the payments connector will be stopped for 12 s",
            None if held => "the payments connector runs again and catches up",
            None => "the payments connector runs again",
        }
    }
}

fn header(message: &BorrowedMessage<'_>, name: &str) -> String {
    let value = message.headers().and_then(|headers| headers.iter().find(|header| header.key == name)?.value);
    value.map_or_else(String::new, |value| String::from_utf8_lossy(value).into_owned())
}
