//! The oracle's view of snapshots that connectors took anew: what is in doubt when, and which rows were not seen.

use super::delivery::Lane;
use super::law::LaneLaw;
use super::world::{DATABASE, Micros};

/// A snapshot that a connector took anew, as far as the log has told.
#[derive(Clone, Debug)]
pub struct Snap {
    run: u64,
    /// Whatever happened up to here was promised before it, and all that it has read stands no later than here.
    after: Micros,
    until: Micros,
    is_settled: bool,
    /// True where every key was judged anew since, and for one that was the first.
    is_compared: bool,
}

/// What is not sure since connectors took snapshots anew.
#[derive(Clone, Debug, Default)]
pub struct Doubts {
    /// By database. A row's generation is how many came before what told of it.
    snaps: [Vec<Snap>; 2],
    /// By table, up to which generation rows that were not seen are as they were.
    kept: [usize; 3],
    /// By table, what an operator has said of rows that a snapshot has not seen: whether they are gone.
    asked: [Option<(usize, bool)>; 3],
}

impl Doubts {
    pub fn generation(&self, database: usize, run: u64) -> usize {
        self.snaps[database].iter().filter(|snap| snap.run <= run).count()
    }

    /// The number of the last snapshot that was not the first.
    fn last(&self, database: usize, is_settled: bool) -> usize {
        let is_it = |snap: &Snap| {
            (snap.is_settled || !is_settled && !snap.is_compared) && (!snap.is_compared || snap.after < Micros::MAX)
        };
        self.snaps[database].iter().rposition(is_it).map_or(0, |index| index + 1)
    }

    pub fn begin(&mut self, database: usize, lane: usize, run: u64, lanes: &[LaneLaw], of: &[Lane]) {
        if lanes[lane].promised_by >= run || self.snaps[database].last().is_some_and(|last| last.run > run) {
            return;
        }
        let mark = lanes[lane].mark.unwrap_or(Micros::MIN);
        if let Some(last) = self.snaps[database].last_mut().filter(|last| last.run == run) {
            last.after = if last.is_settled { last.after } else { last.after.min(mark) };
            return;
        }
        let is_new = |(law, lane): (&LaneLaw, &Lane)| {
            let is_promised = law.mark.is_some() && law.promised_by != run;
            lane.database != database || !is_promised && (law.told_by == 0 || law.told_by == run)
        };
        let is_first = self.snaps[database].is_empty() && lanes.iter().zip(of).all(is_new);
        let (after, until) = (if is_first { Micros::MAX } else { mark }, Micros::MIN);
        self.snaps[database].push(Snap { run, after, until, is_settled: is_first, is_compared: is_first });
    }

    /// A lane was promised up to `before`, and is up to `time` now, by a run.
    pub fn promise(&mut self, database: usize, law: &mut LaneLaw, run: u64, before: Option<Micros>, time: Micros) {
        let known = law.generation;
        law.promised_by = run;
        law.generation = self.generation(database, run).max(known);
        for snap in self.snaps[database][..law.generation].iter_mut().skip(known).filter(|snap| !snap.is_settled) {
            snap.after = snap.after.min(before.unwrap_or(Micros::MIN));
            snap.until = snap.until.max(time).max(law.latest);
        }
    }

    /// True where nothing is known of a table at an instant, or a row of one of these generations is not sure.
    pub fn is_doubtful(&self, table: usize, at: Micros, generations: impl Iterator<Item = usize>) -> bool {
        let snaps = &self.snaps[DATABASE[table]];
        let Some(last) = snaps.iter().rposition(|snap| snap.after < at) else { return false };
        self.is_whole(DATABASE[table], at)
            || self.kept[table] <= last && generations.into_iter().any(|generation| generation <= last)
    }

    /// True where nothing is known of a database at an instant.
    pub fn is_whole(&self, database: usize, at: Micros) -> bool {
        self.snaps[database].iter().any(|snap| snap.after < at && !snap.is_settled)
    }

    /// True where keys may have been judged in doubt, and not since.
    pub fn are_open(&self, at: Micros) -> bool {
        self.snaps.iter().flatten().any(|snap| !snap.is_compared && snap.after < at)
    }

    /// From when on the history of a table is known, up to an instant.
    pub fn began(&self, table: usize, at: Micros) -> Micros {
        let known = self.snaps[DATABASE[table]].iter().filter(|snap| snap.after < at && snap.is_settled);
        known.map(|snap| snap.until).max().unwrap_or(Micros::MIN)
    }

    pub fn confirm(&mut self, table: usize, are_gone: bool) {
        let last = self.last(DATABASE[table], false);
        if last > self.kept[table] {
            self.asked[table] = Some((last, are_gone));
        }
    }

    /// Every key is judged anew.
    pub fn compare(&mut self) {
        self.snaps.iter_mut().flatten().for_each(|snap| snap.is_compared = snap.is_settled);
    }

    /// At the end of a block: which snapshots are known whole by now, and what operators have said of them. Gives what is to
    /// be done in the next block: judge anew, without each table's rows of earlier generations.
    pub fn settle(&mut self, lanes: &[LaneLaw], of: &[Lane], settled: Option<Micros>) -> Option<[usize; 3]> {
        let mut look = None;
        for (database, snaps) in self.snaps.iter_mut().enumerate() {
            let promising =
                lanes.iter().zip(of).filter(|(law, lane)| lane.database == database && law.mark.is_some());
            let whole = promising.map(|(law, _)| law.generation).min().unwrap_or(0);
            for snap in snaps.iter_mut().take(whole) {
                if !snap.is_settled && Some(snap.until) <= settled {
                    snap.is_settled = true;
                    look.get_or_insert([0; 3]);
                }
            }
        }
        for table in 0..3 {
            let last = self.last(DATABASE[table], true);
            if let Some((generation, are_gone)) = self.asked[table].take_if(|(generation, _)| *generation <= last) {
                let leaving = look.get_or_insert([0; 3]);
                match are_gone {
                    true => leaving[table] = generation,
                    false => self.kept[table] = generation,
                }
            }
        }
        look
    }
}
