//! One partition's work: synchronous; knows a Store trait and values.
//!
//! Must not know: Kafka, RocksDB, clocks, threads.

pub mod store;
pub mod wire;
