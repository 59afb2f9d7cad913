//! The whole stack as one value: started in parallel, asked by tests, torn down when dropped. `stack()` is the
//! one that all tests of the process share.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::connect::{Config, Connect};
use super::error::{Error, Result};
use super::jvm::{Jars, LOG_SETTINGS};
use super::kafka::Kafka;
use super::mariadb::{MariaSession, Mariadb};
use super::postgres::{PgSession, Postgres, Rows};
use super::process::Folder;
use super::registry::Registry;
use super::source::Source;
use super::topics::{self, Record, TopicReader};

#[derive(Clone, Debug)]
pub struct StackOptions {
    pub kafka_heap: String,
    pub connect_heap: String,
}

impl Default for StackOptions {
    fn default() -> Self {
        StackOptions { kafka_heap: "512m".into(), connect_heap: "768m".into() }
    }
}

/// Fields are dropped in order: the servers first, then their folder.
pub struct Stack {
    registry: OnceLock<Registry>,
    mysql: OnceLock<Mariadb>,
    is_paid_by_mysql: AtomicBool,
    connect: Connect,
    kafka: Kafka,
    mariadb: Mariadb,
    postgres: Postgres,
    jars: Jars,
    folder: Folder,
}

/// Payments are MySQL's as long as this lives.
pub struct PaidByMysql<'s>(&'s Stack);

impl PaidByMysql<'_> {
    /// Turns GTIDs on or off, one step at a time, as the server wants it.
    pub fn use_gtids(&self, are_used: bool) -> Result {
        let steps = ["ON", "ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"];
        let set = |mode: &&str| self.0.maria(&format!("set global gtid_mode = {mode}")).map(drop);
        if are_used { steps.iter().rev().try_for_each(set) } else { steps.iter().try_for_each(set) }
    }
}

impl Drop for PaidByMysql<'_> {
    fn drop(&mut self) {
        self.0.is_paid_by_mysql.store(false, Ordering::Relaxed);
    }
}

/// A test's turn with the shared stack.
pub struct Turn {
    stack: &'static Stack,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Turn {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        self.stack
    }
}

/// The stack that all tests share. It starts on first use and lives until the process ends; the tests have it
/// one at a time, because they stop connectors and count records.
pub fn stack() -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    static STACK: OnceLock<std::result::Result<Stack, String>> = OnceLock::new();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let stack = STACK.get_or_init(|| Stack::start(&StackOptions::default()).map_err(|error| error.to_string()));
    match stack {
        Ok(stack) => Turn { stack, _turn: turn },
        Err(error) => panic!("the real stack did not start\n{error}"),
    }
}

/// What starts when it is first asked for.
fn started<T>(cell: &OnceLock<T>, start: impl FnOnce() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(it) => Ok(it),
        None => {
            let it = start()?;
            Ok(cell.get_or_init(|| it))
        }
    }
}

impl Stack {
    /// Starts everything, each part as soon as it can, and returns when all of it answers.
    pub fn start(options: &StackOptions) -> Result<Stack> {
        let began = Instant::now();
        let jars = Jars::find()?;
        let folder = Folder::create()?;
        let path = folder.path();
        let log_settings = path.join("log4j2.properties");
        fs::write(&log_settings, LOG_SETTINGS)?;

        // The JVMs start first, Connect before Kafka answers: it has its own start-up to do and then tries again.
        let kafka = Kafka::launch(&jars, path, &log_settings, &options.kafka_heap)?;
        let connect = Connect::launch(&jars, path, &log_settings, &options.connect_heap, &kafka.bootstrap())?;
        let (postgres, mariadb, times) = std::thread::scope(|scope| {
            let postgres = scope.spawn(|| Postgres::start(path).map(|it| (it, began.elapsed())));
            let mariadb = scope.spawn(|| Mariadb::start(path).map(|it| (it, began.elapsed())));
            // Connect waits for Kafka a long time: when Kafka fails, that is what to say, and at once.
            kafka.wait_ready()?;
            let kafka_time = began.elapsed();
            connect.wait_ready()?;
            let connect_time = began.elapsed();
            let ((postgres, postgres_time), (mariadb, mariadb_time)) = (joined(postgres)?, joined(mariadb)?);
            Ok::<_, Error>((postgres, mariadb, [postgres_time, mariadb_time, kafka_time, connect_time]))
        })?;
        let [postgres_s, mariadb_s, kafka_s, connect_s] = times.map(|time| time.as_secs_f64());
        eprintln!(
            "real stack: ready after postgres {postgres_s:.1} s, mariadb {mariadb_s:.1} s, kafka {kafka_s:.1} s, \
             connect {connect_s:.1} s; in {}",
            path.display()
        );
        let (registry, mysql, is_paid_by_mysql) = Default::default();
        Ok(Stack { registry, mysql, is_paid_by_mysql, connect, kafka, mariadb, postgres, jars, folder })
    }

    /// The schema registry, which starts when it is first asked for.
    pub fn registry(&self) -> Result<&Registry> {
        started(&self.registry, || Registry::start(&self.jars, self.folder.path()))
    }

    /// While this is held payments are MySQL's; its server starts when it is first asked for. `None` where install.sh could
    /// not fetch one.
    pub fn paid_by_mysql(&self) -> Result<Option<PaidByMysql<'_>>> {
        if !self.jars.mysql.exists() {
            eprintln!("MySQL's server could not be fetched (tests/real/install.sh says why): it is not tested");
            return Ok(None);
        }
        started(&self.mysql, || Mariadb::start_mysql(self.folder.path(), &self.jars.mysql))?;
        self.is_paid_by_mysql.store(true, Ordering::Relaxed);
        Ok(Some(PaidByMysql(self)))
    }

    /// True where payments are MySQL's, and not MariaDB's.
    pub fn is_paid_by_mysql(&self) -> bool {
        self.is_paid_by_mysql.load(Ordering::Relaxed)
    }

    fn payments(&self) -> &Mariadb {
        self.mysql.get().filter(|_| self.is_paid_by_mysql()).unwrap_or(&self.mariadb)
    }

    /// What install.sh has fetched.
    pub fn parts(&self) -> &Jars {
        &self.jars
    }

    /// Where the logs are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn log(&self, part: &str) -> PathBuf {
        self.folder().join(format!("{part}.log"))
    }

    pub fn bootstrap(&self) -> String {
        self.kafka.bootstrap()
    }

    pub fn pg_port(&self) -> u16 {
        self.postgres.port()
    }

    pub fn maria_port(&self) -> u16 {
        self.payments().port()
    }

    /// Kafka Connect's REST interface.
    pub fn connect_url(&self) -> String {
        self.connect.address()
    }

    /// Runs statements on PostgreSQL, each call committed on its own; rows as text.
    pub fn pg(&self, sql: &str) -> Result<Rows> {
        self.postgres.query(sql)
    }

    pub fn pg_session(&self) -> Result<PgSession> {
        self.postgres.session()
    }

    /// Runs statements on the payments' server, each committed on its own; rows as text.
    pub fn maria(&self, sql: &str) -> Result<Rows> {
        self.payments().query(sql)
    }

    pub fn maria_session(&self) -> Result<MariaSession> {
        self.payments().session()
    }
}

/// Connectors.
impl Stack {
    /// Makes the source's topics, registers its connector and waits for a row of the heartbeat table that was
    /// streamed. Registering what already runs unchanged only waits for the next such row.
    pub fn start_source(&self, source: &Source) -> Result {
        topics::create(&self.bootstrap(), source.topics())?;
        if self.connect.config(&source.prefix)?.as_ref() != Some(&with_name(source)) {
            self.connect.put_config(&source.prefix, &source.config)?;
        }
        self.wait_tick(source)
    }

    /// Waits for the next streamed row of the source's heartbeat table. The status may be out of date, this is not.
    pub fn wait_tick(&self, source: &Source) -> Result {
        let mut ticks = self.reader_from_now(&source.heartbeat_topic())?;
        ticks
            .until(Duration::from_secs(60), |records| {
                // Where the format does not show what a record is, a snapshot's row is followed by one that was streamed.
                records.iter().any(|record| record.op().as_deref() == Some("u")) || records.len() > 1
            })
            .map(|_| ())
            .map_err(|error| error.during(&format!("connector {:?} does not stream", source.prefix)))
    }

    /// Deletes the connector, its position, and what it keeps in the database. Its topics stay.
    pub fn remove_source(&self, source: &Source) -> Result {
        self.connect.delete_connector(&source.prefix)?;
        if source.is_postgres() {
            self.postgres.drop_slot(&source.slot(), &source.publication())?;
        }
        Ok(())
    }

    pub fn register_connector(&self, name: &str, config: &Config) -> Result {
        self.connect.put_config(name, config)
    }

    pub fn create_stopped(&self, name: &str, config: &Config) -> Result {
        self.connect.create_stopped(name, config)
    }

    pub fn wait_running(&self, name: &str) -> Result {
        self.connect.wait_state(name, "RUNNING")
    }

    pub fn stop_connector(&self, name: &str) -> Result {
        self.connect.stop_connector(name)
    }

    pub fn resume_connector(&self, name: &str) -> Result {
        self.connect.resume_connector(name)
    }

    pub fn restart_connector(&self, name: &str) -> Result {
        self.connect.restart_connector(name)
    }

    /// What Connect's REST interface says of a connector and its tasks.
    pub fn connector_status(&self, name: &str) -> Result<serde_json::Value> {
        self.connect.status(name).map(Option::unwrap_or_default)
    }

    pub fn connector_has_failed(&self, name: &str) -> Result<bool> {
        self.connect.has_failed(name)
    }

    pub fn delete_connector(&self, name: &str) -> Result {
        self.connect.delete_connector(name)
    }

    /// Stops a connector, and has Connect forget where it was.
    pub fn forget_offsets(&self, name: &str) -> Result {
        self.connect.forget_offsets(name)
    }

    pub fn connector_offsets(&self, name: &str) -> Result<serde_json::Value> {
        self.connect.offsets(name)
    }

    pub fn drop_slot(&self, slot: &str, publication: &str) -> Result {
        self.postgres.drop_slot(slot, publication)
    }
}

/// Topics.
impl Stack {
    pub fn create_topics(&self, topics: &[(&str, i32)]) -> Result {
        let topics: Vec<(String, i32)> = topics.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        topics::create(&self.bootstrap(), &topics)
    }

    /// Reads the topic from its beginning until `done` likes all that was read.
    pub fn consume(&self, topic: &str, done: impl Fn(&[Record]) -> bool, limit: Duration) -> Result<Vec<Record>> {
        let mut reader = self.reader(topic)?;
        reader.until(limit, done).map(<[Record]>::to_vec)
    }

    pub fn reader(&self, topic: &str) -> Result<TopicReader> {
        TopicReader::from_start(&self.bootstrap(), topic)
    }

    pub fn reader_from_now(&self, topic: &str) -> Result<TopicReader> {
        TopicReader::from_now(&self.bootstrap(), topic)
    }

    pub fn topic_end_offsets(&self, topic: &str) -> Result<BTreeMap<i32, i64>> {
        topics::end_offsets(&self.bootstrap(), topic)
    }
}

/// Trouble.
impl Stack {
    /// kill -9 of the Connect worker, with all its connectors.
    pub fn kill_connect(&self) -> Result {
        self.connect.kill()
    }

    /// SIGTERM, as a rolling restart does it.
    pub fn stop_connect(&self) -> Result {
        self.connect.stop()
    }

    pub fn start_connect(&self) -> Result {
        self.connect.start(&self.jars)?;
        self.connect.wait_ready()
    }

    pub fn kill_kafka(&self) -> Result {
        self.kafka.kill()
    }

    pub fn stop_kafka(&self) -> Result {
        self.kafka.stop()
    }

    pub fn start_kafka(&self) -> Result {
        self.kafka.start(&self.jars)?;
        self.kafka.wait_ready()
    }
}

/// Connect adds the name to what it was given.
fn with_name(source: &Source) -> Config {
    let mut config = source.config.clone();
    config.insert("name".into(), source.prefix.clone());
    config
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
