//! Values in, values out: timeline, rows, SQL rules, episodes.
//!
//! Must not know: I/O, clocks, randomness, async, hash-map order, serde.

pub mod catalog;
pub mod change;
pub mod flow;
pub mod hash;
pub mod instant;
pub mod key_state;
pub mod numbers;
pub mod queue;
pub mod record;
pub mod routing;
pub mod rule;
pub mod snapshots;
pub mod sql;
pub mod timeline;
pub mod transactions;
pub mod value;
pub mod witness;
