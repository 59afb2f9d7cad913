//! The demo: the whole product on an embedded Kafka, over two simulated databases.

pub mod connector;
pub mod judge;
pub mod screen;
pub mod world;
