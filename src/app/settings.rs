//! The whole configuration, checked and resolved: what the running product needs, with every default filled in.
//!
//! Must not know: YAML (`app::config` reads it into this).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use crate::adapters::connect::ConnectSettings;
use crate::adapters::databases::DatabaseUrl;
use crate::adapters::debezium::shape::{ConnectorShape, SourceShape};
use crate::adapters::records::avro::Naming;
use crate::adapters::registry::RegistrySettings;
use crate::domain::rule::Plan;
use crate::task::ingest::Patience;

/// One file is one reconciliation.
#[derive(Clone, Debug)]
pub struct Settings {
    pub plan: Arc<Plan>,
    /// By the plan's connector index, in order of name.
    pub connectors: Vec<ConnectorSettings>,
    /// By the plan's source index, in order of name.
    pub sources: Vec<SourceSettings>,
    /// librdkafka properties, passed through as they are.
    pub kafka: BTreeMap<String, String>,
    pub topics: TopicSettings,
    /// `None` where no connector's converter uses one, nor the output.
    pub registry: Option<RegistrySettings>,
    /// How records leave as Avro; `None` is JSON.
    pub avro: Option<AvroSettings>,
    /// Kafka Connect's REST interface, which only `evenkeel doctor` asks.
    pub connect: Option<ConnectSettings>,
    pub state_dir: PathBuf,
    /// `None` makes none.
    pub checkpoints: Option<CheckpointSettings>,
    pub limits: Limits,
    /// Where `/metrics`, `/livez` and `/readyz` are served; `None` serves nothing.
    pub http: Option<SocketAddr>,
    pub patience: Patience,
    /// Keys the hashes of hashed columns; empty where no column is hashed.
    pub mask_key: Box<[u8]>,
}

impl Settings {
    /// Where a partition's state is.
    pub fn state_folder(&self, partition: i32) -> PathBuf {
        self.state_dir.join(&*self.plan.reconciliation).join(partition.to_string())
    }

    /// Where the registry's schemas are kept.
    pub fn schemas_folder(&self) -> PathBuf {
        self.state_dir.join(&*self.plan.reconciliation).join("schemas")
    }
}

/// How records leave as Avro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvroSettings {
    pub naming: Naming,
    /// False where somebody else registers the schemas.
    pub registers: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSettings {
    pub url: Url,
    /// Of the `object_store` crate, for the URL's scheme.
    pub options: BTreeMap<String, String>,
    /// How often, milliseconds.
    pub every_ms: u64,
    /// How many of a partition are kept.
    pub keep: usize,
}

#[derive(Clone, Debug)]
pub struct ConnectorSettings {
    pub name: String,
    /// True where source times are the moment of the commit (PostgreSQL; MySQL with GTIDs).
    pub commit_time: bool,
    pub heartbeat: Option<HeartbeatSettings>,
    pub transactions: Option<TransactionSettings>,
    pub shape: ConnectorShape,
    /// What Kafka Connect calls it.
    pub name_in_connect: String,
    /// Its database, which only `evenkeel doctor` asks.
    pub database: Option<DatabaseUrl>,
}

/// A captured heartbeat table.
#[derive(Clone, Debug)]
pub struct HeartbeatSettings {
    pub topic: String,
    /// How its rows decode: the one kept column is the instant on the database's clock.
    pub shape: Arc<SourceShape>,
}

/// Where a connector tells of its transactions.
#[derive(Clone, Debug)]
pub struct TransactionSettings {
    pub topic: String,
    /// Of no columns: its records are the connector's own.
    pub shape: Arc<SourceShape>,
}

#[derive(Clone, Debug)]
pub struct SourceSettings {
    pub name: String,
    pub topics: TopicSelection,
    pub shape: Arc<SourceShape>,
    /// True where the order key of a row may change (PostgreSQL with REPLICA IDENTITY DEFAULT).
    pub key_may_change: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicSelection {
    List(Vec<String>),
    /// A regular expression that the whole topic name must match.
    Pattern(String),
}

/// The topics that Evenkeel writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    pub changes: String,
    pub discrepancies: String,
    pub open: String,
    pub quarantine: String,
    /// Partition count of the changes log and so of all output topics.
    pub partitions: i32,
    /// -1 is the broker's default.
    pub replication_factor: i32,
    /// Consumer groups: ingest, reconcile.
    pub ingest_group: String,
    pub reconcile_group: String,
    /// Prefix of the transactional ids.
    pub transactional_id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clean key states in memory, bytes over all partitions.
    pub cache_bytes: usize,
    /// RocksDB's block cache and write buffers, bytes over all partitions.
    pub rocksdb_bytes: usize,
    /// librdkafka's fetch queues, bytes over all consumers.
    pub fetch_bytes: usize,
    /// A block of the changes log is closed at this size.
    pub block_bytes: usize,
    /// A block of the changes log is closed after this time, milliseconds.
    pub linger_ms: u64,
    /// The state is flushed to disk this often, milliseconds.
    pub flush_ms: u64,
    /// What may be quarantined, bytes a second.
    pub quarantine_bytes: usize,
}
