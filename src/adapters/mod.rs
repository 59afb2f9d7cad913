//! One outside thing each: Kafka, copies of its topics, RocksDB, Debezium's formats, a schema registry, JSON records, HTTP, telemetry;
//! and, to be looked at only, Kafka Connect and the databases.

pub mod checkpoints;
pub mod clock;
pub mod connect;
pub mod copy;
pub mod databases;
pub mod debezium;
pub mod http;
pub mod kafka;
pub mod records;
pub mod registry;
pub mod rocksdb;
pub mod telemetry;
