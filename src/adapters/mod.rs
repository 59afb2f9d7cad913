//! One outside thing each: Kafka, RocksDB, Debezium's formats, JSON records, HTTP, telemetry.

pub mod checkpoints;
pub mod clock;
pub mod debezium;
pub mod kafka;
pub mod records;
pub mod rocksdb;
pub mod telemetry;
