//! What can be shown afterwards: that nothing of the output was altered, what other rules would have said, why an order
//! is where it is. All of it is read from the topics as they stand, or from a copy of them; nothing is written to them.
//!
//! Must not know: groups, how the product runs.

pub mod account;
pub mod archive;
pub mod audit;
pub mod copy;
pub mod desk;
mod difference;
pub mod explain;
mod player;
pub mod replay;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod stories;
mod text;
mod verdict;

use std::path::PathBuf;

use super::StageError;
use crate::adapters::checkpoints::{DiskError, HomeError};
use crate::adapters::copy::CopyError;
use crate::adapters::kafka::KafkaFailure;
use crate::adapters::rocksdb::RocksError;
use crate::task::cache::StateError;
use crate::task::wire::WireError;

/// Why evidence could not be had.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error(transparent)]
    Kafka(#[from] KafkaFailure),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Store(#[from] RocksError),
    #[error(transparent)]
    State(#[from] StateError<RocksError>),
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: it is not what evenkeel audit --json prints", path.display())]
    NoAudit { path: PathBuf },
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error("the temporary folder {}: {source}", path.display())]
    Scratch { path: PathBuf, source: std::io::Error },
    #[error(
        "the changes log, partition {partition}, begins at offset {start}: retention removed what was before, and there is no \
         state that goes on there or later, {0}", why.as_deref().unwrap_or("nor a checkpoint store; give one with --state")
    )]
    NoBeginning { partition: i32, start: i64, why: Option<String> },
    #[error(
        "the state in {} goes on at offset {next}, the changes log holds offsets {start} to {end}: one of them is not the \
         other's", folder.display()
    )]
    OtherState { folder: PathBuf, next: i64, start: i64, end: i64 },
    #[error("a process works on the state in {}: stop it, or give a copy", folder.display())]
    Taken { folder: PathBuf },
    #[error("there is no rule {rule:?}, and was none; there are: {known}")]
    NoRule { rule: String, known: String },
    #[error("told to stop")]
    Stopped,
    #[error("the result cannot be written: {0}")]
    Print(std::io::Error),
    #[error("changes log, partition {partition}, offset {offset}: {source}")]
    Block { partition: i32, offset: i64, source: WireError },
    #[error("topic {topic} has {found} partitions, the configuration says {wanted}")]
    PartitionCount { topic: String, found: i32, wanted: i32 },
}
