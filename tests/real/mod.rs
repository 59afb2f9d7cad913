//! The real stack: PostgreSQL, MariaDB, Kafka and Debezium in Kafka Connect, started as plain processes on
//! free loopback ports in a temporary folder, gone when the test process is. `install.sh` puts the programs there.
//!
//! Every test here is named `real_…` and ignored by default: `cargo test --test it -- --ignored real_`.
//! A test begins with `let stack = real::stack();`, which starts the stack on first use and gives the tests
//! their turn one after another. EVENKEEL_KEEP_STACK=1 keeps the folder with the logs.

// Tests of other suites use parts of this; what only they will use is not dead.
#![allow(dead_code, unused_imports, reason = "a harness offers more than its own test uses")]

mod anew;
mod binary;
mod chaos;
mod conformance;
mod connect;
mod counted;
mod doctor;
mod error;
mod fixers;
mod jvm;
mod kafka;
mod lost;
mod lost_place;
mod mariadb;
mod members;
mod overtaken;
mod postgres;
mod process;
mod product;
mod publishing;
mod registry;
mod requeued;
mod schemas;
mod selftest;
mod shipped;
mod source;
mod stack;
mod topics;
mod transactional;
mod truth;
mod types;
mod watch;

pub use error::{Error, Result, wait_until};
pub use kafka::Broker;
pub use source::{AvroIds, Source};
pub use stack::{Stack, StackOptions, Turn, stack};
pub use topics::{Record, TopicReader, create as create_topics};
