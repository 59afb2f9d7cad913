//! Values in, values out: timeline, rows, SQL rules, episodes.
//!
//! Must not know: I/O, clocks, randomness, async, hash-map order, serde.

pub mod catalog;
pub mod value;
