//! One connector's commit order: how positions of several epochs compare, and what is proved of their commits.
//!
//! Must not know: topic-partitions, changes that wait.
//!
//! A failover or a restore begins positions anew, and the connector that reads on from there is another run of it: an
//! epoch belongs to runs. Topic-partitions are read one ahead of another, so what an old run told may come after what
//! a new one did. A run that was not heard of is of the epoch that its topic-partition has come to, or that was proved
//! to have begun before the time of which it tells; or it begins the next one, where it tells news, and its positions are
//! of another family or stand below what was proved for an earlier time. Where it is known which of two runs began first,
//! its epoch is no earlier than theirs that began before it, and no later than theirs that began after.

use std::collections::VecDeque;

use super::change::{Position, RunId};
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
    /// The newest; 0 before any was heard of.
    pub epoch: u32,
    /// The runs that were heard of and their epochs, in order of learning; bounded by [`RUNS_KEPT`].
    pub runs: Vec<(RunId, u32)>,
    /// The last run that began with a new snapshot, and the epoch that begins with it: it sends nothing again, and nothing that
    /// was committed before what others sent.
    pub anew: Option<(RunId, u32)>,
    /// `(place, instant)`: every transaction at or after the place has an `at` no earlier than the instant.
    /// Both rise.
    pub proofs: VecDeque<(Place, Instant)>,
}

/// Proofs pile up while another source holds the settled time back; of more, older ones are thinned out.
const PROOFS_KEPT: usize = 1024;

/// The first epoch that is heard of: such as are older may be heard of later, from topic-partitions that are behind.
const FIRST: u32 = 1 << 16;

/// Runs beyond so many are taken for such as were not heard of.
const RUNS_KEPT: usize = 64;

/// What a run tells of an instant of its database.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    pub run: RunId,
    pub position: Position,
    pub time: Instant,
    /// Where the time is the moment of the commit, what was taken of other moments.
    pub exact: Option<Around>,
}

/// What was taken of a commit-time connector around a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around {
    /// The greatest place of what was committed before.
    pub before: Option<Place>,
    /// The least of the last places, each topic-partition's, that were committed after.
    pub after: Option<Place>,
}

impl Default for Flow {
    fn default() -> Flow {
        Flow { reached: Instant::MIN, epoch: 0, runs: Vec::new(), anew: None, proofs: VecDeque::new() }
    }
}

impl Flow {
    /// Where something stands that was told in a topic-partition which has come to epoch `own`. It is news where nothing
    /// tells that it was sent before.
    pub fn place_of(&self, told: Told, own: u32, is_news: bool) -> Place {
        let Told { run, position, .. } = told;
        if let Some(epoch) = self.epoch_of_run(run) {
            return Place { epoch, position };
        }
        let (earliest, latest) = self.epochs_around(run);
        let proved = self.proved(told);
        let place = Place { epoch: proved.epoch.max(own), position };
        let epoch = self.epoch_of(told, place, proved, is_news);
        Place { epoch: epoch.clamp(earliest.min(latest), latest), position }
    }

    /// The last place that is known of a time before.
    fn proved(&self, told: Told) -> Place {
        let oldest = self.runs.iter().map(|(_, epoch)| *epoch).min().unwrap_or(FIRST);
        let proved = self.proved_before(told.time).max(told.exact.and_then(|around| around.before));
        proved.unwrap_or_default().max(Place { epoch: oldest, ..Place::default() })
    }

    /// Of which epochs a run can be: no earlier than those that began before it, no later than those that began after. What was
    /// proved before a new snapshot tells nothing of what comes after.
    fn epochs_around(&self, run: RunId) -> (u32, u32) {
        let before = self.runs.iter().filter(|(known, _)| known.began_before(run)).map(|(_, epoch)| *epoch);
        let before = before.chain(self.anew_before(run));
        (before.max().unwrap_or(0), self.latest_of(run))
    }

    /// The epoch that a run is no later than: that of the runs which began after it.
    pub fn latest_of(&self, run: RunId) -> u32 {
        let after = self.runs.iter().filter(|(known, _)| run.began_before(*known)).map(|(_, epoch)| *epoch);
        after.min().unwrap_or(u32::MAX)
    }

    /// The epoch that began with the last new snapshot, where that was begun when a run was.
    fn anew_before(&self, run: RunId) -> Option<u32> {
        let anew = self.anew.filter(|(known, _)| known.is_same_start(run) || known.began_before(run));
        anew.map(|(_, epoch)| epoch)
    }

    /// A run begins with a new snapshot. Gives the epoch that it begins; or that of it, or of a later run, which another
    /// topic-partition has told of already.
    pub fn begin_anew(&mut self, run: RunId) -> u32 {
        let since = self.runs.iter().filter(|(known, _)| known.is_same_start(run) || run.began_before(*known));
        let epoch = since.map(|(_, epoch)| *epoch).min();
        let epoch = epoch.unwrap_or(self.epoch + u32::from(self.epoch > 0));
        self.epoch = self.epoch.max(epoch);
        self.anew = Some((run, epoch));
        epoch
    }

    /// Of which epoch a run is, by what it tells.
    fn epoch_of(&self, told: Told, place: Place, proved: Place, is_news: bool) -> u32 {
        let run = told.run;
        if let Some(epoch) = self.epoch_before(told, place) {
            return epoch;
        }
        let is_kin = |(known, _): &&(RunId, u32)| known.family == run.family;
        match is_news {
            true if self.runs.iter().any(|known| known.1 == place.epoch && !is_kin(&known)) => place.epoch + 1,
            true if place < proved => place.epoch + 1,
            true => place.epoch,
            false => {
                let kin = self.runs.iter().filter(is_kin).map(|(_, epoch)| *epoch);
                kin.filter(|epoch| *epoch <= place.epoch).max().unwrap_or(place.epoch)
            }
        }
    }

    /// A topic-partition that is ahead may have told of a failover first. What tells of a time before one that was proved
    /// is no later than that proof's epoch, since a database that begins anew begins later. It is of an earlier one where
    /// its positions are of another family; or where its time is the moment of its commit, though its place lies above
    /// that of the proof, or of what was taken of a later moment.
    fn epoch_before(&self, told: Told, place: Place) -> Option<u32> {
        let index = self.proofs.partition_point(|(_, instant)| *instant <= told.time);
        let proved = self.proofs.get(index).map(|(known, _)| *known).filter(|known| {
            let is_other = |(run, epoch): &(RunId, u32)| *epoch == known.epoch && run.family != told.run.family;
            told.exact.is_some() && place >= *known || self.runs.iter().any(is_other)
        });
        let taken = told.exact.and_then(|around| around.after).filter(|taken| place >= *taken);
        proved.into_iter().chain(taken).map(|known| known.epoch - 1).min()
    }

    /// The last place that was proved for a time before an instant.
    fn proved_before(&self, time: Instant) -> Option<Place> {
        let index = self.proofs.partition_point(|(_, instant)| *instant < time);
        index.checked_sub(1).map(|index| self.proofs[index].0)
    }

    /// True where it is known of which epoch a run is.
    pub fn knows(&self, run: RunId) -> bool {
        self.epoch_of_run(run).is_some()
    }

    /// Of which epoch a run is, where that is known.
    pub fn epoch_of_run(&self, run: RunId) -> Option<u32> {
        self.runs.iter().find(|(known, _)| *known == run).map(|(_, epoch)| *epoch)
    }

    /// True where positions of the run's family have been seen.
    pub fn knows_family(&self, run: RunId) -> bool {
        self.runs.iter().any(|(known, _)| known.family == run.family)
    }

    /// Learns of which epoch a run is. True where that is a new one.
    pub fn learn(&mut self, run: RunId, epoch: u32) -> bool {
        if !self.runs.contains(&(run, epoch)) {
            self.runs.retain(|(known, _)| *known != run);
            self.runs.push((run, epoch));
            if self.runs.len() > RUNS_KEPT {
                self.runs.remove(0);
            }
        }
        let is_new = self.epoch > 0 && epoch > self.epoch;
        self.epoch = self.epoch.max(epoch);
        is_new
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

    pub fn lift(&self, place: Place) -> Instant {
        let index = self.proofs.partition_point(|(known, _)| *known <= place);
        if index == 0 { Instant::MIN } else { self.proofs[index - 1].1 }
    }

    /// Drops proofs that lift no transaction at or after a place, except the last of them; and the last of each epoch,
    /// below which positions of the next one are seen to stand.
    pub fn forget_below(&mut self, place: Place) {
        let needed = self.proofs.partition_point(|(known, _)| *known <= place).saturating_sub(1);
        for index in (0..needed).rev() {
            if self.proofs[index].0.epoch == self.proofs[index + 1].0.epoch {
                self.proofs.remove(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(transaction: u64) -> Place {
        Place { epoch: FIRST, position: Position { transaction: transaction.into(), row: 0 } }
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

    /// What a run of a connector tells of a time: its family, the run's own number, a transaction.
    fn told(family: u32, number: u64, transaction: u64, time: i64) -> Told {
        let run = RunId { number, family };
        Told { run, position: place(transaction).position, time: Instant(time), exact: None }
    }

    /// A restart keeps its epoch; another family begins one, which its other runs share.
    #[test]
    fn epochs_are_told_by_run_and_family() {
        let mut flow = Flow::default();
        assert_eq!(flow.place_of(told(1, 7, 50, 10), FIRST, true).epoch, FIRST);
        assert!(!flow.learn(told(1, 7, 50, 10).run, FIRST));
        assert_eq!(flow.place_of(told(2, 8, 90, 20), FIRST, true).epoch, FIRST + 1);
        assert!(flow.learn(told(2, 8, 90, 20).run, FIRST + 1));
        let epoch = |told, own, is_news| flow.place_of(told, own, is_news).epoch;
        assert_eq!(
            epoch(told(1, 9, 60, 11), FIRST, true),
            FIRST,
            "a topic-partition that is behind tells of an old run"
        );
        assert_eq!(epoch(told(1, 9, 60, 11), FIRST + 1, false), FIRST, "what was sent before is sent again");
        assert_eq!(epoch(told(2, 9, 91, 21), FIRST + 1, true), FIRST + 1);
        assert_eq!(epoch(told(3, 9, 91, 21), FIRST + 1, true), FIRST + 2);
        let family = |family| RunId { number: 0, family };
        assert!(flow.knows_family(family(1)) && !flow.knows_family(family(3)));
    }

    /// Positions that fall begin an epoch if nothing like it was heard of at that time.
    #[test]
    fn epochs_are_told_by_what_was_proved() {
        let mut flow = Flow::default();
        flow.learn(told(1, 7, 50, 10).run, FIRST);
        flow.prove(place(50), Instant(11));
        assert_eq!(flow.place_of(told(1, 8, 20, 9), FIRST, true).epoch, FIRST, "of an earlier time");
        assert_eq!(flow.place_of(told(1, 8, 20, 12), FIRST, false).epoch, FIRST, "sent again");
        assert_eq!(flow.place_of(told(1, 8, 20, 12), FIRST, true).epoch, FIRST + 1, "restored");
        assert!(flow.learn(told(1, 8, 20, 12).run, FIRST + 1));
        flow.prove(Place { epoch: FIRST + 1, ..place(20) }, Instant(13));
        let epoch = |told, own| flow.place_of(told, own, true).epoch;
        assert_eq!(epoch(told(1, 9, 60, 14), FIRST), FIRST + 1, "a topic-partition that was silent for long");
        assert_eq!(epoch(told(1, 9, 55, 12), FIRST), FIRST, "one that is behind");
        assert_eq!(epoch(told(1, 9, 55, 12), FIRST + 1), FIRST + 1, "one that is not");
        flow.forget_below(Place { epoch: FIRST + 1, ..place(20) });
        assert_eq!(flow.place_of(told(1, 10, 25, 12), FIRST, true).epoch, FIRST + 1, "one that was added since");
    }

    /// Whatever else it tells: clocks may be set back, and positions fall by less than is in flight.
    #[test]
    fn a_run_is_of_no_epoch_that_ended_before_it_nor_of_one_that_began_after() {
        let run = |second: u64| told(1, (second * 1000) << 16 | 0x7000, 0, 0).run;
        let mut flow = Flow::default();
        flow.learn(run(10), FIRST);
        flow.learn(run(30), FIRST + 1);
        flow.prove(Place { epoch: FIRST + 1, ..place(20) }, Instant(100));
        let epoch = |second, transaction, time| {
            let exact = Some(Around::default());
            flow.place_of(Told { run: run(second), exact, ..told(1, 0, transaction, time) }, 0, true).epoch
        };
        assert_eq!(epoch(40, 50, 90), FIRST + 1, "the database's clock was set back");
        assert_eq!(epoch(5, 50, 110), FIRST, "a topic-partition that is behind tells of a time that lay ahead");
        assert_eq!(epoch(20, 50, 90), FIRST);
        assert_eq!(epoch(50, 10, 110), FIRST + 2);
    }

    /// Whoever begins to read a history with a failover in it may hear of what came after it first.
    #[test]
    fn epochs_before_the_first_one_heard_of_are_told_by_moments_of_commit() {
        let mut flow = Flow::default();
        assert!(!flow.learn(told(1, 8, 20, 30).run, FIRST));
        flow.prove(place(20), Instant(30));
        let exact = |told| Told { exact: Some(Around::default()), ..told };
        let epoch = |told| flow.place_of(told, 0, true).epoch;
        assert_eq!(epoch(exact(told(1, 7, 500, 12))), FIRST - 1, "committed before what stands below it");
        assert_eq!(epoch(told(1, 7, 500, 12)), FIRST, "a statement may begin long before its commit");
        assert_eq!(epoch(told(2, 7, 500, 12)), FIRST - 1, "positions of another family, of a time before");
        assert_eq!(epoch(exact(told(1, 9, 500, 31))), FIRST, "a run that came after");
        assert_eq!(epoch(exact(told(1, 9, 15, 12))), FIRST, "one that is behind");
        let taken = Some(Place { epoch: FIRST, ..place(700) });
        let falls = Told { exact: Some(Around { before: taken, after: None }), ..told(1, 9, 40, 31) };
        assert_eq!(epoch(falls), FIRST + 1, "positions that fall below what was taken of an earlier time");
        let mut unproved = Flow::default();
        unproved.learn(told(1, 8, 20, 30).run, FIRST);
        let around = Around { before: None, after: Some(Place { epoch: FIRST, ..place(20) }) };
        let epoch = |told| unproved.place_of(Told { exact: Some(around), ..told }, 0, true).epoch;
        assert_eq!(epoch(told(1, 7, 500, 12)), FIRST - 1, "committed before what was taken below it");
        assert_eq!(epoch(told(1, 7, 15, 12)), FIRST, "one that is behind");
    }
}
