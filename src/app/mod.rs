//! The verbs of the command line, the configuration, and the wiring of everything below.

mod acknowledge;
mod allowance;
mod by_hand;
pub mod check;
mod checkpointer;
pub mod cli;
pub mod config;
pub mod demo;
pub mod diagnostic;
pub mod doctor;
pub mod evidence;
mod forms;
mod heartbeats;
pub mod http;
pub mod ingest_stage;
mod pen;
pub mod quarantine;
pub mod reconcile_stage;
pub mod rule_tests;
pub mod run;
mod seat;
mod selection;
pub mod settings;
mod sources;
pub mod state;
mod understand;
mod worker;

use std::time::Duration;

use crate::adapters::checkpoints::{CheckpointError, DiskError, HomeError};
use crate::adapters::kafka::KafkaFailure;
use crate::adapters::registry::ClientError;
use crate::adapters::rocksdb::RocksError;
use crate::task::cache::StateError;
use crate::task::wire::WireError;

/// How long the stages may take to stop: a little less than what Kubernetes waits before it kills.
const STOP_WITHIN: Duration = Duration::from_secs(25);

/// Why a stage stopped. Everything that could be retried was.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error(transparent)]
    Kafka(#[from] KafkaFailure),
    #[error(transparent)]
    Store(#[from] RocksError),
    #[error(transparent)]
    State(#[from] StateError<RocksError>),
    #[error(transparent)]
    Registry(#[from] ClientError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("changes log, partition {partition}, offset {offset}: {source}")]
    Block { partition: i32, offset: i64, source: WireError },
    #[error(
        "changes log {topic}:{partition} holds offsets {start} to {end}, the state goes on at {next}: one of them is not \
         the other's. Give the reconciliation a new name: it begins anew from what the sources' topics hold"
    )]
    ChangesGap { topic: String, partition: i32, next: i64, start: i64, end: i64 },
    #[error(
        "changes log {topic}:{partition} begins at offset {start} now, but the furthest state that there is, on this disk or \
         in the checkpoint store, goes on at {next}: retention deleted what lies between. Give the reconciliation a new name: \
         it begins anew from what the sources' topics hold; and keep the changes log for longer than checkpoints may fail"
    )]
    ChangesOvertaken { topic: String, partition: i32, next: i64, start: i64 },
    #[error(
        "changes log {topic}:{partition} holds another block at offset {offset} than the state was made of: the topic was \
         deleted and created anew, or its brokers lost what they had acknowledged. Give the reconciliation a new name: it \
         begins anew from what the sources' topics hold"
    )]
    ChangesOfAnother { topic: String, partition: i32, offset: i64 },
    #[error(
        "changes log {topic}:{partition} begins at offset {start} now, this disk's state goes on at {next}, and a checkpoint \
         that may go further was not taken: {why}. Nothing is lost: mend that, then start again"
    )]
    ChangesOvertakenHere { topic: String, partition: i32, next: i64, start: i64, why: CheckpointError },
    #[error(
        "changes log {topic}:{partition} ends at offset {end}, but what follows from offset {published} was published: the \
         topic was deleted and created anew, or its brokers lost what they had acknowledged. Give the reconciliation a new \
         name: it begins anew from what the sources' topics hold"
    )]
    OutputAhead { topic: String, partition: i32, published: i64, end: i64 },
    #[error("the id of subject {subject} is waited for: the schema registry does not answer: {why}")]
    SchemaAwaited { subject: String, why: String },
    #[error(
        "the schema registry refuses the schema of subject {subject}: {why}. Nothing was published. Give the subject a \
         compatibility that takes both, look whether something else writes to it, or have records named otherwise \
         (output.subject_name_strategy)"
    )]
    SchemaRefused { subject: String, why: String },
    #[error(
        "the schema registry has no such schema under subject {subject}: {why}. Nothing was published. Register the file of \
         schemas/avro there, or set output.auto_register: true"
    )]
    SchemaUnregistered { subject: String, why: String },
    #[error("the worker of partition {partition} panicked; its message stands above")]
    Panicked { partition: i32 },
    #[error(
        "told to stop, and not done after {} s: the brokers most likely do not answer. Nothing is lost: what was not \
         acknowledged is done again at the next start", STOP_WITHIN.as_secs()
    )]
    Unfinished,
    #[error("topic {topic} has {found} partitions, the configuration says {wanted}; a changed count would move keys")]
    PartitionCount { topic: String, found: i32, wanted: i32 },
    #[error("topic {topic} is selected by both sources {one} and {other}; make their topics or patterns narrower")]
    ClaimedTwice { topic: String, one: String, other: String },
    #[error("{address} cannot be listened on: {source}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
}
