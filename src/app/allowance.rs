//! How much may be quarantined: a token bucket, so that where every record is refused neither the changes log nor the
//! quarantine topic fills the brokers' disks.
//!
//! Must not know: records, topics, clocks.

/// So many seconds' worth may be quarantined at once: a deployment that goes wrong is seen whole, a flood is not.
const BURST_S: i64 = 1024;

const SECOND_US: i64 = 1_000_000;

/// Bytes that may be quarantined now, and how they become more. Moments are microseconds that never run backwards.
#[derive(Debug)]
pub struct Allowance {
    bytes_per_second: i64,
    /// Bytes left; below zero where the last record took more than there was.
    left: i64,
    /// The moment up to which `left` was added to.
    until_us: i64,
}

impl Allowance {
    pub fn new(bytes_per_second: usize) -> Allowance {
        let bytes_per_second = i64::try_from(bytes_per_second).unwrap_or(i64::MAX / BURST_S).min(i64::MAX / BURST_S);
        Allowance { bytes_per_second, left: bytes_per_second * BURST_S, until_us: 0 }
    }

    /// True where another record may be quarantined: any at all, for its size is that of the source.
    pub fn has_room(&mut self, now_us: i64) -> bool {
        self.refill(now_us);
        self.left > 0
    }

    /// True where who waits for room may read on: to begin again costs a fetch, so a second's worth must be there.
    pub fn may_go_on(&mut self, now_us: i64) -> bool {
        self.refill(now_us);
        self.left >= self.bytes_per_second
    }

    fn refill(&mut self, now_us: i64) {
        let more = i128::from(self.bytes_per_second) * i128::from(now_us - self.until_us) / i128::from(SECOND_US);
        if more > 0 {
            self.until_us = now_us;
            self.left = (i128::from(self.left) + more).min(i128::from(self.bytes_per_second * BURST_S)) as i64;
        }
    }

    pub fn take(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_so_much_a_second() {
        let mut allowance = Allowance::new(100);
        let mut taken = 0;
        for now_us in (0..10_000 * SECOND_US).step_by(100_000) {
            // Never asked in vain, though no tenth of a second brings a whole record.
            while allowance.has_room(now_us) {
                allowance.take(70);
                taken += 70;
            }
            let most = 100 * (BURST_S + now_us / SECOND_US + 1) + 70;
            assert!(taken <= most, "{taken} bytes after {now_us} us");
        }
        assert!(taken >= 100 * (BURST_S + 9_990), "{taken} bytes: what is allowed is used");
    }

    #[test]
    fn a_record_larger_than_the_burst_is_taken_and_paid_for() {
        let mut allowance = Allowance::new(1);
        assert!(allowance.has_room(0));
        allowance.take(5_000);
        assert!(!allowance.has_room((5_000 - BURST_S) * SECOND_US));
        assert!(allowance.may_go_on((5_001 - BURST_S) * SECOND_US));
    }
}
