//! `evenkeel demo`: the whole product on an embedded Kafka, over two simulated databases with injected faults.
//!
//! Runs the real `run` path. Ends with a summary that is right or wrong: everything injected was found, nothing else.

pub mod connector;
pub mod judge;
pub mod screen;
pub mod settings;
pub mod world;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Moment};

use ratatui::crossterm::event::{self, KeyCode, KeyModifiers};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use self::connector::{Connector, Database, ORDERS, Outgoing, PAY_HEARTBEAT, PAYMENTS, SHOP_HEARTBEAT};
use self::judge::{Judge, Summary};
use self::screen::{Screen, SourceLine, View};
use self::world::{Logged, Micros, World};
use super::StageError;
use super::reconcile_stage::ReconcileStatus;
use super::run::{Stages, run};
use super::settings::Settings;
use crate::adapters::clock::now;
use crate::adapters::kafka::{Context, KafkaFailure};

/// How the demo is to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// `None` runs until it is ended by hand.
    pub seconds: Option<u64>,
    pub json: bool,
}

/// Why the demo could not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Kafka(#[from] KafkaFailure),
    #[error("the product stopped: {0}")]
    Product(#[from] StageError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Topics and partitions of the two databases' change logs.
const TOPICS: [(&str, i32); 4] = [(ORDERS, 4), (PAYMENTS, 3), (SHOP_HEARTBEAT, 1), (PAY_HEARTBEAT, 1)];

/// How long nothing new is injected at the end, so that what was injected can be found.
const LAST_SECONDS: u64 = 12;

/// How long the end may take beyond the asked-for time.
const PATIENCE: Duration = Duration::from_secs(40);

/// How long the payments connector stands still, microseconds.
const STALL: Micros = 12_000_000;

const TICK: Duration = Duration::from_millis(10);

/// How often a customer comes, microseconds.
const ARRIVAL: Micros = 20_000;

/// Runs the demo and prints its summary.
pub fn demo(options: Options) -> Result<Summary, DemoError> {
    let cluster = MockCluster::new(1).context(|| "starting the embedded Kafka".to_owned())?;
    let folder = std::env::temp_dir().join(format!("evenkeel-demo-{}", std::process::id()));
    let settings = Arc::new(settings::settings(&cluster.bootstrap_servers(), &folder));
    let topics = &settings.topics;
    let own = [&topics.changes, &topics.discrepancies, &topics.open, &topics.quarantine];
    let own = own.map(|name| (name.as_str(), topics.partitions));
    for (topic, partitions) in TOPICS.into_iter().chain(own) {
        cluster.create_topic(topic, partitions, 1).context(|| format!("creating {topic}"))?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let status = Arc::new(ReconcileStatus::default());
    let product = {
        let (settings, stop, status) = (Arc::clone(&settings), Arc::clone(&stop), Arc::clone(&status));
        std::thread::spawn(move || -> Result<(), DemoError> {
            let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            Ok(runtime.block_on(run(settings, Stages::Both, stop, status, metrics))?)
        })
    };
    let shown = Stage::open(&settings, &cluster, status, options)?.play(|| product.is_finished());
    stop.store(true, Ordering::Relaxed);
    let ended = product.join().unwrap_or(Err(StageError::Panicked { partition: -1 }.into()));
    // The folder is the demo's own; what cannot be removed now is the system's to clean.
    let _ = std::fs::remove_dir_all(&folder);
    ended?;
    shown
}

/// Everything around the product.
struct Stage {
    settings: Arc<Settings>,
    status: Arc<ReconcileStatus>,
    options: Options,
    producer: ThreadedProducer<DefaultProducerContext>,
    consumer: BaseConsumer,
    world: World,
    connectors: [Connector; 2],
    judge: Judge,
    screen: Option<Screen>,
    began: Micros,
    injected: usize,
    next_arrival: Micros,
    stall: Option<(Micros, Micros)>,
    plain_lines: usize,
    plain_resolved: usize,
    stalls_said: (u32, u32),
}

impl Stage {
    fn open(
        settings: &Arc<Settings>,
        cluster: &MockCluster<'_, rdkafka::producer::DefaultProducerContext>,
        status: Arc<ReconcileStatus>,
        options: Options,
    ) -> Result<Stage, DemoError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers());
        let producer = config.create().context(|| "the demo's producer".to_owned())?;
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
        let screen = if std::io::stdout().is_terminal() && !options.json { Some(Screen::open()?) } else { None };
        let began = now().0;
        Ok(Stage {
            settings: Arc::clone(settings),
            world: World::new(began as u64),
            connectors: [Connector::new(Database::Shop, began), Connector::new(Database::Pay, began)],
            judge: Judge::default(),
            injected: 0,
            next_arrival: began,
            stall: None,
            plain_lines: 0,
            plain_resolved: 0,
            stalls_said: (0, 0),
            status,
            options,
            producer,
            consumer,
            screen,
            began,
        })
    }

    fn play(mut self, product_ended: impl Fn() -> bool) -> Result<Summary, DemoError> {
        let mut drawn = Moment::now();
        let mut asked_to_end = None;
        loop {
            let at = now().0;
            let elapsed = Duration::from_micros((at - self.began).max(0) as u64);
            let length = self.options.seconds.map(Duration::from_secs);
            let ending = asked_to_end.is_some()
                || length.is_some_and(|length| elapsed + Duration::from_secs(LAST_SECONDS) >= length);
            self.live(at, ending);
            self.listen();
            if drawn.elapsed() >= Duration::from_millis(200) {
                drawn = Moment::now();
                self.show(at)?;
            }
            if self.screen.is_some() && wants_to_end()? {
                asked_to_end = asked_to_end.or(Some(elapsed));
            }
            let due = asked_to_end.or(length);
            let complete = ending && self.world.is_quiet() && self.judge.is_complete() && self.stall.is_none();
            let over = due.is_some_and(|due| elapsed >= due);
            if (over && complete) || due.is_some_and(|due| elapsed >= due + PATIENCE) || product_ended() {
                break;
            }
            std::thread::park_timeout(TICK);
        }
        self.flush();
        drop(self.screen.take());
        let summary = self.judge.summary();
        if self.options.json {
            println!("{}", summary.to_json());
        } else {
            println!("{summary}");
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
                self.judge.held = Some((at, Micros::MAX));
                self.connectors[1].stopped = true;
            }
            Some((began, until)) if at >= until => {
                self.stall = None;
                self.connectors[1].stopped = false;
                self.judge.held = Some((began, at + 2_000_000));
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

    fn show(&mut self, at: Micros) -> std::io::Result<()> {
        let view = self.view(at);
        match &mut self.screen {
            Some(screen) => screen.draw(&view),
            None if self.options.json => Ok(()),
            None => {
                self.plain(&view);
                Ok(())
            }
        }
    }

    /// Without a terminal: a line for whatever is new.
    fn plain(&mut self, view: &View) {
        for seen in &view.seen[self.plain_lines..] {
            let screen::Shown { since, rule, order, evidence } = screen::shown(seen);
            println!("{since} opened    order {order:<6} {rule:<22} {evidence}");
        }
        self.plain_lines = view.seen.len();
        let resolved = view.seen.iter().filter(|seen| seen.resolved.is_some()).count();
        if resolved > self.plain_resolved {
            println!("{} resolved  {} in all", screen::clock(view.now), resolved);
            self.plain_resolved = resolved;
        }
        let said = (self.judge.stalls_reported, self.judge.recoveries_reported);
        if said != self.stalls_said {
            let what =
                if said.0 > self.stalls_said.0 { "source stalled: payments" } else { "source recovered: payments" };
            println!("{} {what}", screen::clock(view.now));
            self.stalls_said = said;
        }
    }

    fn view(&self, at: Micros) -> View {
        let partitions = self.status.partitions();
        let least = |values: Vec<Micros>| values.into_iter().min().filter(|least| *least > i64::MIN);
        let settled = least(partitions.iter().map(|(_, status)| status.settled.load(Ordering::Relaxed)).collect());
        let sources = self.settings.sources.iter().enumerate().map(|(index, source)| {
            let frontiers = partitions.iter().map(|(_, status)| status.frontiers[index].load(Ordering::Relaxed));
            let detail = if source.name == "orders" { "PostgreSQL, 4 partitions" } else { "MariaDB, 3 partitions" };
            let stalled = self.judge.stalls_reported > self.judge.recoveries_reported;
            SourceLine {
                name: source.name.clone(),
                detail: detail.to_owned(),
                frontier: least(frontiers.collect()),
                held: source.name == "payments" && stalled,
            }
        });
        let summary = self.judge.summary();
        let note = match self.stall {
            Some(_) => "the payments connector was stopped: orders go on, payments are silent",
            None if self.judge.stalls_injected == 0 => "soon the payments connector will be stopped for 12 s",
            None => "the payments connector is running",
        };
        let changes = partitions.iter().map(|(_, status)| status.changes.load(Ordering::Relaxed)).sum();
        View {
            now: at,
            elapsed_s: ((at - self.began) / 1_000_000) as u64,
            length_s: self.options.seconds,
            settled,
            sources: sources.collect(),
            orders_per_second: 1e6 / ARRIVAL as f64,
            changes,
            injected: summary.injected(),
            found: summary.found(),
            false_alarms: summary.false_alarms.len(),
            note: note.to_owned(),
            seen: self.judge.seen.clone(),
        }
    }

    fn flush(&self) {
        if let Err(error) = self.producer.flush(Duration::from_secs(5)) {
            tracing::warn!(%error, "the demo's last events were not all written");
        }
    }
}

fn header(message: &BorrowedMessage<'_>, name: &str) -> String {
    let value = message.headers().and_then(|headers| headers.iter().find(|header| header.key == name)?.value);
    value.map_or_else(String::new, |value| String::from_utf8_lossy(value).into_owned())
}

/// True where the person at the terminal has pressed q or Ctrl-C.
fn wants_to_end() -> std::io::Result<bool> {
    if !event::poll(Duration::ZERO)? {
        return Ok(false);
    }
    Ok(match event::read()? {
        event::Event::Key(key) => {
            key.code == KeyCode::Char('q')
                || (key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL))
        }
        _ => false,
    })
}
