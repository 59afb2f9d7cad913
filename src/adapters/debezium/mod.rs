//! Debezium's change events, decoded into the domain's changes.
pub mod shape;
