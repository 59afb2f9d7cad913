//! Asks the brokers, Kafka Connect, the registry and the databases, and puts down what they say. Changes nothing anywhere.
//!
//! Must not know: what an answer is worth.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use rdkafka::message::Message;
use serde_json::Value;

use super::bytes::Bytes;
use super::connector::HISTORY;
use super::finding::Finding;
use super::seen::{Case, Config, Known, Said, Status, Table, Topic};
use super::{mysql, postgres};
use crate::adapters::connect::{Connect, ConnectError};
use crate::adapters::databases::{Database, DatabaseError, DatabaseUrl};
use crate::adapters::debezium::{Decoder, NoRegistry, Registry};
use crate::adapters::kafka::admin::Admin;
use crate::adapters::kafka::changes::{Reading, TopicReader};
use crate::adapters::kafka::offsets::Offsets;
use crate::adapters::kafka::{KafkaFailure, Properties};
use crate::adapters::registry::{Client, RemoteRegistry};
use crate::app::selection::select;
use crate::app::settings::{ConnectorSettings, Settings};
use crate::app::understand::with_record;

/// Records that are read of each partition's end.
const LAST: i64 = 200;

/// How long a partition's last records may take to come, and a schema.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a database said.
pub enum Answers {
    Postgres(postgres::Answers),
    Mysql(mysql::Answers),
}

/// One connector, as Kafka Connect tells of it.
#[derive(Default)]
struct Told {
    config: Option<Config>,
    status: Option<Status>,
    version: Option<String>,
}

/// The brokers' answers.
struct Brokers {
    properties: Properties,
    admin: Admin,
    present: BTreeMap<String, (i32, usize)>,
}

/// Everything that was asked.
pub struct Asked<'s> {
    /// Who answered, and who did not.
    pub access: Vec<Finding>,
    pub cases: Vec<Case<'s>>,
    /// By connector; none where it has no database, or that did not answer.
    pub databases: BTreeMap<&'s str, Answers>,
}

pub fn ask(settings: &Settings) -> Asked<'_> {
    let mut access = Vec::new();
    let brokers = brokers(settings, &mut access);
    let registry = RegistryOfOwn::open(settings, &mut access);
    let told = connect(settings, &mut access);
    let counts: BTreeMap<String, i32> = brokers
        .iter()
        .flat_map(|brokers| &brokers.present)
        .map(|(topic, (count, _))| (topic.clone(), *count))
        .collect();
    let selected = select(settings, &counts);
    let mut cases = Vec::new();
    for (index, (connector, told)) in settings.connectors.iter().zip(told).enumerate() {
        let prefix = told.config.as_ref().and_then(|config| config.or("topic.prefix", "")).map(str::to_owned);
        let mut tables = Vec::new();
        for ((source, plan), topics) in settings.sources.iter().zip(&settings.plan.sources).zip(&selected) {
            if plan.connector == index {
                let topics = topics.iter().map(|(topic, _)| topic.clone()).collect();
                let table = Table::new(&source.name, topics, prefix.as_deref(), &source.shape);
                tables.push(Table { partial_history: plan.partial_history, ..table });
            }
        }
        tables.extend(connector.heartbeat.iter().map(|heartbeat| {
            let table = Table::new("heartbeat", vec![heartbeat.topic.clone()], prefix.as_deref(), &heartbeat.shape);
            Table { is_heartbeat: true, ..table }
        }));
        cases.push(case(settings, connector, told, tables));
    }
    if let Some(brokers) = &brokers {
        look(settings, brokers, &mut cases, &mut access);
        let registry = registry.shared();
        cases.iter_mut().for_each(|case| read(settings, brokers, &registry, case, &mut access));
    }
    let databases = databases(settings, &mut cases, &mut access);
    Asked { access, cases, databases }
}

fn case<'s>(settings: &Settings, connector: &'s ConnectorSettings, told: Told, tables: Vec<Table>) -> Case<'s> {
    Case {
        name: &connector.name,
        name_in_connect: &connector.name_in_connect,
        shape: &connector.shape,
        commit_time: connector.commit_time,
        has_registry: settings.registry.is_some(),
        has_heartbeat: connector.heartbeat.is_some(),
        transactions: connector.transactions.as_ref().map(|transactions| transactions.topic.as_str()),
        config: told.config,
        status: told.status,
        version: told.version,
        tables,
        topics: BTreeMap::new(),
        bytes: BTreeMap::new(),
        nullable_defaults: None,
    }
}

fn brokers(settings: &Settings, access: &mut Vec<Finding>) -> Option<Brokers> {
    let properties = Properties::new(settings.kafka.clone());
    let asked = Admin::new(&properties).and_then(|admin| Ok((admin.layout()?, admin)));
    match asked {
        Ok((present, admin)) => {
            access.push(Finding::pass("Kafka", format!("answers, {} topics", present.len())));
            Some(Brokers { properties, admin, present })
        }
        Err(failure) => {
            let finding = Finding::fail("Kafka", failure.to_string()).why("Nothing can be read.");
            access.push(finding.advice("Check kafka.bootstrap.servers, and the security settings beside it."));
            None
        }
    }
}

/// The registry with a folder of its own, so that nothing is written into the state's.
struct RegistryOfOwn {
    registry: Option<Arc<dyn Registry>>,
    folder: PathBuf,
}

impl RegistryOfOwn {
    fn open(settings: &Settings, access: &mut Vec<Finding>) -> RegistryOfOwn {
        let folder = std::env::temp_dir().join(format!("evenkeel-doctor-{}", std::process::id()));
        let Some(registry) = &settings.registry else { return RegistryOfOwn { registry: None, folder } };
        let answer = Client::new(registry).and_then(|client| client.ping());
        let opened = answer.and_then(|()| RemoteRegistry::open(registry, folder.clone()));
        match opened {
            Ok(opened) => {
                access.push(Finding::pass("schema registry", "answers"));
                RegistryOfOwn { registry: Some(Arc::new(opened)), folder }
            }
            Err(error) => {
                let finding = Finding::fail("schema registry", error.to_string());
                access.push(
                    finding.why("Records whose schema is not known yet wait.").advice("Look at what registry says."),
                );
                RegistryOfOwn { registry: None, folder }
            }
        }
    }

    fn shared(&self) -> Arc<dyn Registry> {
        self.registry.clone().unwrap_or_else(|| Arc::new(NoRegistry))
    }
}

impl Drop for RegistryOfOwn {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What Kafka Connect tells of each connector of the configuration.
fn connect(settings: &Settings, access: &mut Vec<Finding>) -> Vec<Told> {
    const CHECK: &str = "Kafka Connect";
    let nothing = || settings.connectors.iter().map(|_| Told::default()).collect();
    let Some(told) = &settings.connect else {
        let finding = Finding::unknown(CHECK, "not asked: the configuration has no connect");
        access.push(finding.why("Connectors' settings are not known.").ours("connect: {url: http://connect:8083}"));
        return nothing();
    };
    let asked = Connect::new(told).and_then(|connect| Ok((connect.worker()?, connect)));
    let (worker, connect) = match asked {
        Ok(asked) => asked,
        Err(error) => {
            let finding = Finding::fail(CHECK, error.to_string()).why("Connectors' settings are not known.");
            access.push(finding.advice("Check connect.url, and username and password beside it."));
            return nothing();
        }
    };
    access
        .push(Finding::pass(CHECK, format!("answers, version {}", worker["version"].as_str().unwrap_or("unknown"))));
    let plugins = connect.plugins().unwrap_or_default();
    let one = |connector: &ConnectorSettings| match told_of(&connect, &plugins, &connector.name_in_connect) {
        Ok(told) => {
            if told.config.is_none() {
                access.push(no_connector(&connect, connector));
            }
            told
        }
        Err(error) => {
            access.push(Finding::fail(format!("connector {}", connector.name), error.to_string()));
            Told::default()
        }
    };
    settings.connectors.iter().map(one).collect()
}

fn no_connector(connect: &Connect, connector: &ConnectorSettings) -> Finding {
    let names = connect.connectors().unwrap_or_default().join(", ");
    Finding::fail(
        format!("connector {}", connector.name),
        format!("Kafka Connect has no {}", connector.name_in_connect),
    )
    .why("It was deleted, or has another name there.")
    .advice(format!("Set connectors.{}.name_in_connect. There are: {names}", connector.name))
}

fn told_of(connect: &Connect, plugins: &[Value], name: &str) -> Result<Told, ConnectError> {
    let Some(config) = connect.config(name)? else { return Ok(Told::default()) };
    let config = Config::read(&config);
    let answer = connect.status(name)?;
    let status = answer.as_ref().map(|answer| status(answer, &config));
    // Kafka Connect 4.1 says which of several versions runs (KIP-891).
    let running = answer.as_ref().and_then(|answer| answer["connector"]["version"].as_str().map(str::to_owned));
    let version = running.or_else(|| plugin_version(plugins, config.or("connector.class", "")?));
    Ok(Told { version, status, config: Some(config) })
}

/// The version of a class, or of the last part of its name, where there is but one.
fn plugin_version(plugins: &[Value], class: &str) -> Option<String> {
    let is_it = |plugin: &&Value| {
        let known = plugin["class"].as_str().unwrap_or_default();
        known == class || known.rsplit('.').next() == Some(class)
    };
    let versions: BTreeSet<&str> =
        plugins.iter().filter(is_it).filter_map(|plugin| plugin["version"].as_str()).collect();
    if versions.len() == 1 { versions.first().map(|version| (*version).to_owned()) } else { None }
}

fn status(answer: &Value, config: &Config) -> Status {
    let state = |of: &Value| of["state"].as_str().unwrap_or("UNKNOWN").to_owned();
    let task = |task: &Value| (state(task), first_line(task["trace"].as_str().unwrap_or_default(), config));
    let tasks = answer["tasks"].as_array().into_iter().flatten().map(task).collect();
    Status { connector: state(&answer["connector"]), tasks }
}

/// What a task said first when it failed, without what must not be shown.
fn first_line(trace: &str, config: &Config) -> String {
    let mut line = trace.lines().next().unwrap_or_default().to_owned();
    for secret in config.secrets() {
        line = line.replace(secret, "***");
    }
    line.chars().take(240).collect()
}

/// How topics are laid out and set, and whether something of them is gone that was not read.
fn look(settings: &Settings, brokers: &Brokers, cases: &mut [Case<'_>], access: &mut Vec<Finding>) {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for case in cases.iter() {
        names.extend(case.tables.iter().flat_map(|table| table.topics.iter().cloned()));
        for setting in [HISTORY, "signal.kafka.topic"] {
            if let Some(Said::Is(topic)) = case.config.as_ref().map(|config| config.said(setting)) {
                names.insert(topic.to_owned());
            }
        }
    }
    let present: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| brokers.present.contains_key(*name)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the system can make a runtime");
    // Who may not ask how topics are set may still check the rest.
    let mut set = runtime.block_on(brokers.admin.settings(&present)).unwrap_or_default();
    let mut known = known(settings, brokers, &present).unwrap_or_else(|failure| {
        access.push(Finding::unknown("committed offsets", failure.to_string()));
        BTreeMap::new()
    });
    let all: BTreeMap<String, Topic> = present
        .iter()
        .map(|name| {
            let (partitions, replicas) = brokers.present[*name];
            let settings = set.remove(*name).unwrap_or_default();
            let known = known.remove(*name).unwrap_or_default();
            ((*name).to_owned(), Topic { partitions, replicas, settings, known })
        })
        .collect();
    cases.iter_mut().for_each(|case| case.topics = all.clone());
}

/// What Evenkeel's group has committed of topics, held against what they are now.
fn known(settings: &Settings, brokers: &Brokers, topics: &[&str]) -> Result<BTreeMap<String, Known>, KafkaFailure> {
    let offsets = Offsets::new(&brokers.properties, &settings.topics.ingest_group)?;
    let partitions: Vec<(String, i32)> = topics
        .iter()
        .flat_map(|topic| (0..brokers.present[*topic].0).map(move |partition| ((*topic).to_owned(), partition)))
        .collect();
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (starts, described) = (offsets.starts(&partitions)?, offsets.describe(topics)?);
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    for commit in offsets.committed(&partitions)? {
        let of = known.entry(commit.topic.clone()).or_default();
        of.partitions += 1;
        let start =
            starts.iter().find(|(topic, partition, _)| *topic == commit.topic && *partition == commit.partition);
        if start.is_some_and(|(.., start)| commit.offset < *start) {
            of.lost.push(commit.partition);
        }
        // Ingest commits the topic's id with each offset; 0 where nobody says it.
        let before = u64::from_str_radix(&commit.metadata, 16).unwrap_or(0);
        let now = described.get(&commit.topic).map_or(0, |description| description.id);
        of.is_another |= before != 0 && now != 0 && before != now;
    }
    Ok(known)
}

/// Reads the last records of each topic of a connector.
fn read(
    settings: &Settings,
    brokers: &Brokers,
    registry: &Arc<dyn Registry>,
    case: &mut Case<'_>,
    access: &mut Vec<Finding>,
) {
    let mut all = BTreeMap::new();
    for table in case.sources() {
        let source = settings.sources.iter().find(|source| source.name == table.source);
        let source = source.expect("a table is a source's");
        for topic in table.topics.iter().filter(|topic| case.topics.contains_key(*topic)) {
            let mut decoder = Decoder::new(Arc::clone(registry));
            let mut bytes = Bytes::default();
            for partition in 0..case.topics[topic].partitions {
                let mut above = None;
                let read = last_records(&brokers.properties, topic, partition, |message| {
                    with_record(message, |record| {
                        let decoded = decoder.decode_in(&source.shape, record, PATIENCE);
                        let outline = decoder.outline(&source.shape, record);
                        bytes.take(table, case.shape, record, &decoded, outline, &mut above);
                    });
                });
                if let Err(failure) = read {
                    let finding = Finding::fail(format!("reading {topic}"), failure.to_string());
                    access.push(
                        finding
                            .why("What cannot be read cannot be compared.")
                            .advice("Allow this user to read the topic."),
                    );
                    break;
                }
            }
            all.insert(topic.clone(), bytes);
        }
    }
    case.bytes = all;
    if case.version.is_none() {
        let versions: BTreeSet<&String> = case.bytes.values().flat_map(|bytes| &bytes.versions).collect();
        case.version = versions.first().filter(|_| versions.len() == 1).map(|version| (*version).clone());
    }
}

fn last_records(
    properties: &Properties,
    topic: &str,
    partition: i32,
    mut take: impl FnMut(&rdkafka::message::BorrowedMessage<'_>),
) -> Result<(), KafkaFailure> {
    let reader = TopicReader::hurried(properties, topic, 1 << 20)?;
    let (start, end) = reader.bounds(partition)?;
    if start == end {
        return Ok(());
    }
    reader.seek(&[(partition, start.max(end - LAST))])?;
    let deadline = Moment::now() + PATIENCE;
    while Moment::now() < deadline {
        match reader.poll(Duration::from_millis(100))? {
            Reading::Message(message) => {
                take(&message);
                // What comes in meanwhile is not waited for.
                if message.offset() + 1 >= end {
                    break;
                }
            }
            Reading::End => break,
            Reading::Nothing => {}
        }
    }
    Ok(())
}

fn databases<'s>(
    settings: &'s Settings,
    cases: &mut [Case<'s>],
    access: &mut Vec<Finding>,
) -> BTreeMap<&'s str, Answers> {
    let mut all = BTreeMap::new();
    for (connector, case) in settings.connectors.iter().zip(cases) {
        let Some(url) = &connector.database else { continue };
        let check = format!("database of {}", connector.name);
        match answers(url, case) {
            Ok(answers) => {
                access.push(Finding::pass(check, format!("answers at {url}")));
                case.nullable_defaults = Some(match &answers {
                    Answers::Postgres(answers) => answers.nullable_defaults(&case.tables),
                    Answers::Mysql(answers) => answers.nullable_defaults(&case.tables),
                });
                all.insert(connector.name.as_str(), answers);
            }
            Err(error) => {
                let finding = Finding::fail(check, error.to_string()).why("The database's side is not known.");
                access.push(finding.advice("Check connectors.<name>.database: a login that may connect and read the catalog is enough; and sslmode or ssl-mode, where the server wants TLS."));
            }
        }
    }
    all
}

fn answers(url: &DatabaseUrl, case: &Case<'_>) -> Result<Answers, DatabaseError> {
    let mut database = Database::open(url)?;
    let names: Vec<&String> = case.tables.iter().flat_map(|table| &table.names).collect();
    if !url.is_postgres() {
        let mut answers = mysql::Answers { variables: pairs(database.rows(mysql::VARIABLES)?), ..Default::default() };
        answers.variables = answers.variables.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        for name in names {
            let rows = database.rows(&mysql::columns(name))?;
            let columns = rows.iter().filter_map(|row| mysql::Answers::column(row)).collect();
            answers.tables.insert(name.clone(), columns);
        }
        return Ok(Answers::Mysql(answers));
    }
    let mut answers = postgres::Answers { settings: pairs(database.rows(postgres::SETTINGS)?), ..Default::default() };
    let of =
        |setting, default| case.config.as_ref().and_then(|config| config.or(setting, default)).map(str::to_owned);
    if let Some(name) = of("slot.name", "debezium") {
        answers.slot = Some((name.clone(), values(database.rows(&postgres::slot(&name))?).pop()));
    }
    if let Some(name) = of("publication.name", "dbz_publication") {
        answers.publication = Some((name.clone(), values(database.rows(&postgres::publication(&name))?).pop()));
        answers.published = values(database.rows(&postgres::published(&name))?);
    }
    for name in names {
        answers.tables.insert(name.clone(), values(database.rows(&postgres::table(name))?).pop());
    }
    Ok(Answers::Postgres(answers))
}

/// Rows of a name and what it is.
fn pairs(rows: Vec<Vec<Option<String>>>) -> BTreeMap<String, String> {
    let pair = |row: Vec<Option<String>>| {
        let mut columns = row.into_iter();
        Some((columns.next()??, columns.next()?.unwrap_or_default()))
    };
    rows.into_iter().filter_map(pair).collect()
}

/// Rows of one column with JSON.
fn values(rows: Vec<Vec<Option<String>>>) -> Vec<Value> {
    let first = rows.into_iter().filter_map(|row| row.into_iter().next()?);
    first.filter_map(|text| serde_json::from_str(&text).ok()).collect()
}

#[cfg(test)]
mod tests;
