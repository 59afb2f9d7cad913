//! One connector's commit order: how positions of several epochs compare, and what is proved of their commits.
//!
//! Must not know: topic-partitions, changes that wait.

use std::collections::VecDeque;

use super::change::{Position, RunId, family_of};
use super::instant::Instant;

/// A position within its epoch: a failover or a restore may begin positions anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub epoch: u32,
    pub position: Position,
}

/// What is remembered of one connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The `at` of its last settled transaction.
    pub reached: Instant,
    pub epoch: u32,
    /// The runs that began an epoch, oldest first; bounded by [`RUNS_KEPT`].
    pub runs: Vec<(RunId, u32)>,
    /// `(place, instant)`: every transaction at or after the place has an `at` no earlier than the instant.
    /// Both rise.
    pub proofs: VecDeque<(Place, Instant)>,
}

/// Proofs pile up while another source holds the settled time back; of more, older ones are thinned out.
const PROOFS_KEPT: usize = 1024;

/// More failovers than this within the changes still in flight are not told apart.
const RUNS_KEPT: usize = 8;

impl Default for Flow {
    fn default() -> Flow {
        Flow { reached: Instant::MIN, epoch: 0, runs: Vec::new(), proofs: VecDeque::new() }
    }
}

impl Flow {
    pub fn epoch_of(&self, run: RunId) -> u32 {
        let mut latest = self.runs.iter().rev();
        let known = latest.clone().find(|(known, _)| *known == run);
        let known = known.or_else(|| latest.find(|(known, _)| family_of(*known) == family_of(run)));
        known.map_or(self.epoch, |(_, epoch)| *epoch)
    }

    /// True where positions of the run's family have been seen before an epoch began.
    pub fn knows_family(&self, run: RunId) -> bool {
        self.runs.iter().any(|(known, _)| family_of(*known) == family_of(run))
    }

    pub fn begin_epoch(&mut self, run: RunId, last_run: RunId) -> u32 {
        if !self.runs.iter().any(|(known, _)| *known == last_run) {
            self.runs.push((last_run, self.epoch));
        }
        self.epoch += 1;
        self.runs.push((run, self.epoch));
        if self.runs.len() > RUNS_KEPT {
            self.runs.remove(0);
        }
        self.epoch
    }

    pub fn prove(&mut self, place: Place, from: Instant) {
        let index = self.proofs.partition_point(|(known, _)| *known < place);
        if index > 0 && self.proofs[index - 1].1 >= from {
            return;
        }
        if self.proofs.len() >= PROOFS_KEPT {
            self.thin();
            return self.prove(place, from);
        }
        while let Some((known, instant)) = self.proofs.get(index) {
            if *instant > from && *known > place {
                break;
            }
            if *known == place && *instant >= from {
                return;
            }
            self.proofs.remove(index);
        }
        self.proofs.insert(index, (place, from));
    }

    /// Forgets every other one of the older half. Far below the newest promises all transactions are whole, so a proof
    /// there only says how near to its commit a change is lifted.
    fn thin(&mut self) {
        let mut number = 0;
        self.proofs.retain(|_| {
            number += 1;
            number > PROOFS_KEPT / 2 || number % 2 == 1
        });
    }

    /// True where a promise's place lies below that of an earlier one, though its time does not: a connector that
    /// reads its log again tells of the same times at the same places.
    pub fn has_fallen(&self, place: Place, time: Instant) -> bool {
        self.proofs.back().is_some_and(|(known, instant)| place < *known && time.next() > *instant)
    }

    pub fn lift(&self, place: Place) -> Instant {
        let index = self.proofs.partition_point(|(known, _)| *known <= place);
        if index == 0 { Instant::MIN } else { self.proofs[index - 1].1 }
    }

    /// Drops proofs that lift no transaction at or after a place, except the last of them.
    pub fn forget_below(&mut self, place: Place) {
        let needed = self.proofs.partition_point(|(known, _)| *known <= place).saturating_sub(1);
        self.proofs.drain(..needed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(transaction: u64) -> Place {
        Place { epoch: 0, position: Position { transaction, row: 0 } }
    }

    /// However long another source holds the settled time back, proofs stay bounded, in order, and the newest exact.
    #[test]
    fn proofs_are_bounded() {
        let mut flow = Flow::default();
        for number in 1..100_000 {
            flow.prove(place(number * 10), Instant(number as i64));
            assert!(flow.proofs.len() <= PROOFS_KEPT);
        }
        assert!(flow.proofs.iter().is_sorted_by(|a, b| a < b && a.1 < b.1));
        for number in 99_900..100_000 {
            assert_eq!(flow.lift(place(number * 10)), Instant(number as i64));
            assert_eq!(flow.lift(place(number * 10 - 1)), Instant(number as i64 - 1));
        }
        assert!(flow.lift(place(500_000)) <= Instant(50_000), "nothing is lifted further than was proved");
    }

    /// A restart within a family keeps its epoch; another family has its own, which its other runs share.
    #[test]
    fn epochs_are_told_by_run_and_family() {
        let run = |family: u64, run: u64| family << 32 | run;
        let mut flow = Flow::default();
        assert_eq!(flow.epoch_of(run(1, 7)), 0);
        assert_eq!(flow.begin_epoch(run(2, 8), run(1, 7)), 1);
        let epochs = [run(1, 7), run(1, 9), run(2, 8), run(2, 9), run(3, 9)].map(|run| flow.epoch_of(run));
        assert_eq!(epochs, [0, 0, 1, 1, 1]);
        assert!(flow.knows_family(run(1, 9)) && !flow.knows_family(run(3, 9)));
    }
}
