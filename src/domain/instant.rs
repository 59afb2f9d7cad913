//! Instants of the timeline: microseconds on the databases' own clocks, never when something was processed.
//!
//! Must not know: the machine's clock.

use std::fmt;
use std::str::FromStr;

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

impl FromStr for Instant {
    type Err = ();

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Instant, ()> {
        if let Some(micros) = text.strip_suffix("us") {
            return micros.parse().map(Instant).map_err(drop);
        }
        text.parse::<jiff::Timestamp>().map(|timestamp| Instant(timestamp.as_microsecond())).map_err(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::Instant;

    #[test]
    fn what_is_written_is_read() {
        for instant in [0, 1, -1, 1_767_225_900_000_000, -62_135_596_800_000_001, i64::MIN, i64::MAX].map(Instant) {
            assert_eq!(instant.to_string().parse(), Ok(instant));
        }
        assert_eq!("noon".parse::<Instant>(), Err(()));
    }
}
