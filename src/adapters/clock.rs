//! The machine's clock. The only place that reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::instant::Instant;

/// Now, as an instant of the same axis as the timeline's. For ingest's patience and for metrics, never for a verdict.
pub fn now() -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Instant(since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX)))
}
