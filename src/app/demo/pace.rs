//! How fast the demo goes: measured over the last seconds, not assumed.
//!
//! Must not know: what is counted, clocks.

use std::collections::VecDeque;
use std::time::{Duration, Instant as Moment};

/// Over how long a rate is measured.
const WINDOW: Duration = Duration::from_secs(5);

/// A counter's readings of the last seconds.
#[derive(Default)]
pub struct Pace {
    readings: VecDeque<(Moment, u64)>,
}

impl Pace {
    /// Takes a reading of the counter; forgets those that the window does not need any more.
    pub fn read(&mut self, now: Moment, count: u64) {
        self.readings.push_back((now, count));
        while self.readings.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.readings.pop_front();
        }
    }

    /// A second, between the first and the last reading of the window.
    pub fn per_second(&self) -> f64 {
        let (Some((first, before)), Some((last, after))) = (self.readings.front(), self.readings.back()) else {
            return 0.0;
        };
        let seconds = last.duration_since(*first).as_secs_f64();
        // A counter falls when a partition leaves or starts anew.
        if seconds > 0.0 { after.saturating_sub(*before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_seconds() {
        let (began, mut pace) = (Moment::now(), Pace::default());
        assert_eq!(pace.per_second(), 0.0);
        let mut count = 0;
        for second in 0..20 {
            pace.read(began + Duration::from_secs(second), count);
            count += if second < 10 { 50 } else { 20 };
        }
        assert_eq!(pace.per_second(), 20.0, "what was before the window does not count");
        pace.read(began + Duration::from_secs(40), count);
        assert!(pace.per_second() < 2.0, "silence slows it: {}", pace.per_second());
        pace.read(began + Duration::from_secs(41), 0);
        assert_eq!(pace.per_second(), 0.0, "a counter that starts anew is no pace");
    }
}
