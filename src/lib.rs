//! Evenkeel: a streaming, CDC-driven continuous reconciler.
//!
//! Four floors; arrows only point down. `app` wires, `adapters` speak to one outside thing each, `task` does
//! one partition's work, `domain` turns values into values. ARCHITECTURE.md draws the map.

pub mod adapters;
pub mod app;
pub mod domain;
pub mod task;
