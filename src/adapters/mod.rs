//! One outside thing each: Kafka, RocksDB, Debezium's formats, JSON records, HTTP, telemetry.

pub mod debezium;
