//! Instants of the timeline: microseconds on the databases' own clocks, never when something was processed.
//!
//! Must not know: the machine's clock.

use std::fmt;

/// A point on the timeline, microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub i64);

impl Instant {
    /// Before everything.
    pub const MIN: Instant = Instant(i64::MIN);
    /// After everything.
    pub const MAX: Instant = Instant(i64::MAX);

    /// The first instant after this one.
    #[must_use]
    pub fn next(self) -> Instant {
        Instant(self.0.saturating_add(1))
    }

    /// The last instant before this one.
    #[must_use]
    pub fn previous(self) -> Instant {
        Instant(self.0.saturating_sub(1))
    }

    /// This instant moved by a span of microseconds; stays within the ends of time.
    #[must_use]
    pub fn plus(self, span_us: i64) -> Instant {
        Instant(self.0.saturating_add(span_us))
    }

    /// Microseconds from `earlier` to this instant.
    #[must_use]
    pub fn since(self, earlier: Instant) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Instant {
    /// RFC 3339 in UTC with microseconds; instants beyond the calendar as raw microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp:.6}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}
