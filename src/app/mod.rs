//! The verbs of the command line, the configuration, and the wiring of everything below.

pub mod settings;
