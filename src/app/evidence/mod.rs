//! What can be shown afterwards: that nothing of the output was altered, what other rules would have said, why an order
//! is where it is. All of it is read from the topics as they stand, or from a copy of them; nothing is written to them.
//!
//! Must not know: groups, how the product runs.

pub mod archive;
pub mod audit;
pub mod copy;

use std::path::PathBuf;

use crate::adapters::checkpoints::{CheckpointError, DiskError, HomeError};
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
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: it is not what evenkeel audit --json prints", path.display())]
    NoAudit { path: PathBuf },
    #[error("the result cannot be written: {0}")]
    Print(std::io::Error),
    #[error("changes log, partition {partition}, offset {offset}: {source}")]
    Block { partition: i32, offset: i64, source: WireError },
    #[error("topic {topic} has {found} partitions, the configuration says {wanted}")]
    PartitionCount { topic: String, found: i32, wanted: i32 },
}
