//! One partition's work: synchronous; knows a Store trait and values.
//!
//! Must not know: Kafka, RocksDB, clocks, threads.

pub mod cache;
pub mod ingest;
pub mod intake;
pub mod reconcile;
pub mod requeue;
pub mod router;
pub mod rows;
pub mod store;
mod telling;
pub mod waiting;
pub mod wire;
pub mod worker;
