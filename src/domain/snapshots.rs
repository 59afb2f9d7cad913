//! Snapshots that a connector takes anew, having lost its place in the database's log: how long what it says is in doubt, and
//! which rows it has not seen again.
//!
//! Must not know: keys, stores, what is done about a row that was not seen.
//!
//! A snapshot reads every row that there is, and tells of none that is gone (Debezium's documentation of `snapshot.mode`). What
//! was committed between the last promise before it and its end is told by it alone, as rows that stand at its end:
//!
//! ```text
//!    promised by runs before        in doubt: nothing is known          known, but for rows
//!                                   of when, or whether                 that it has not seen
//!   ────────────────────────▶ after ──────────────────────────▶ settled ────────────────────▶
//! ```

#[cfg(test)]
mod tests;

use super::change::RunId;
use super::instant::Instant;
use super::rule::ConnectorIndex;
use super::timeline::LaneIndex;

/// How many snapshots that were broken off are told apart, of one connector that fails again and again.
const MOST_BROKEN_OFF: usize = 16;

/// How many snapshots of its connector a row's event has come after: 0 before the first that was heard of.
pub type Generation = u32;

/// A run of a connector that began with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub generation: Generation,
    pub run: RunId,
    /// See [`Flow::anew`](super::flow::Flow::anew).
    pub epoch: u32,
    /// Everything up to here was promised before any of it came. `Instant::MAX` for a first one.
    pub after: Instant,
    /// All that it has read stands no later than here.
    pub until: Instant,
    pub stage: Stage,
}

impl Snapshot {
    /// True while nothing rests on it, as on one that was broken off.
    fn is_bare(&self) -> bool {
        self.stage == Stage::Begun && self.until == Instant::MIN
    }

    /// False for a first one, which leaves no doubt.
    fn is_new(&self) -> bool {
        self.after != Instant::MAX
    }

    /// True where it was begun when a run sent anything.
    fn has_come_by(&self, run: RunId) -> bool {
        self.run.is_same_start(run) || self.run.began_before(run)
    }
}

/// What has become of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It is being read.
    Begun,
    /// All of it is settled.
    Settled,
    /// And every key was judged anew since.
    Compared,
}

/// What is remembered of one topic-partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promised {
    /// Whose log the last promise rests on.
    pub by: RunId,
    /// The last snapshot that it has come after.
    pub generation: Generation,
}

/// What is known of the snapshots of all connectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshots {
    /// By connector, oldest first. Those that no judgement can need any more are left out.
    pub taken: Vec<Vec<Snapshot>>,
    /// By lane.
    pub lanes: Vec<Promised>,
    /// By source, up to which of its connector's snapshots rows are as they were that these have not seen.
    pub confirmed: Vec<Generation>,
}

/// How a source stands at an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubt {
    /// True where nothing is known of it.
    pub is_whole: bool,
    /// Rows of an earlier one are unconfirmed.
    pub generation: Generation,
}

impl Snapshots {
    pub fn new(sources: usize, connectors: usize) -> Snapshots {
        Snapshots { taken: vec![Vec::new(); connectors], lanes: Vec::new(), confirmed: vec![0; sources] }
    }

    /// True where there has been no snapshot but first ones.
    pub fn is_empty(&self) -> bool {
        !self.taken.iter().flatten().any(Snapshot::is_new)
    }

    /// Whose log the last promise of a lane rests on.
    pub fn promised_by(&self, lane: LaneIndex) -> RunId {
        self.lanes.get(lane).map_or(RunId::default(), |promised| promised.by)
    }

    /// A run of a connector begins a lane, promised up to `mark`, with rows of a snapshot. `is_first` where nothing is known of
    /// the connector that was told before. What a run reads after its promises is no such snapshot: an operator's, of some
    /// tables, that skips nothing. `epoch` gives the epoch of its connector's positions that one begins which was not heard of.
    pub fn begin(
        &mut self,
        (connector, lane): (ConnectorIndex, LaneIndex),
        run: RunId,
        mark: Option<Instant>,
        is_first: bool,
        epoch: impl FnOnce() -> u32,
    ) {
        let by = self.promised_by(lane);
        let taken = &mut self.taken[connector];
        if !run.is_dated() || by.is_same_start(run) || run.began_before(by) {
            return;
        }
        let is_first = is_first && taken.is_empty();
        let (stage, after) = match is_first {
            true => (Stage::Compared, Instant::MAX),
            false => (Stage::Begun, mark.unwrap_or(Instant::MIN)),
        };
        match taken.last_mut() {
            Some(last) if last.run.is_same_start(run) && last.stage == Stage::Begun => {
                last.after = last.after.min(after)
            }
            Some(last) if last.run.is_same_start(run) || !last.run.began_before(run) => {}
            last => {
                let generation = last.map_or(0, |last| last.generation) + 1;
                taken.push(Snapshot {
                    generation,
                    run,
                    epoch: if is_first { 0 } else { epoch() },
                    after,
                    until: Instant::MIN,
                    stage,
                });
            }
        }
        let bare = taken.iter().filter(|snapshot| snapshot.is_bare()).count();
        if let (true, [.., left_out, last]) = (bare > MOST_BROKEN_OFF, &mut taken[..]) {
            // What it has read is taken for what the one before it has.
            last.after = last.after.min(left_out.after);
            taken.swap_remove(taken.len() - 2);
        }
    }

    /// A lane of a connector is promised up to `time` by a run; `before` is what was promised of it so far, `latest` the latest
    /// source time that has come of it.
    pub fn promise(
        &mut self,
        (connector, lane): (ConnectorIndex, LaneIndex),
        run: RunId,
        before: Option<Instant>,
        (time, latest): (Instant, Instant),
    ) {
        if !run.is_dated() {
            return;
        }
        if self.lanes.len() <= lane {
            self.lanes.resize(lane + 1, Promised::default());
        }
        let promised = &mut self.lanes[lane];
        promised.by = run;
        let known = promised.generation;
        let news = self.taken[connector].iter_mut().filter(|snapshot| snapshot.generation > known);
        for snapshot in news.filter(|snapshot| snapshot.has_come_by(run)) {
            promised.generation = snapshot.generation;
            if snapshot.stage == Stage::Begun {
                snapshot.after = snapshot.after.min(before.unwrap_or(Instant::MIN));
                snapshot.until = snapshot.until.max(time).max(latest);
            }
        }
    }

    /// The last run of a connector that began with a new snapshot, and the epoch that it began.
    pub fn anew(&self, connector: ConnectorIndex) -> Option<(RunId, u32)> {
        self.taken[connector].last().filter(|last| last.epoch > 0).map(|last| (last.run, last.epoch))
    }

    /// Of which generation an event is that a run of a connector sent.
    pub fn generation_of(&self, connector: ConnectorIndex, run: RunId) -> Generation {
        let taken = &self.taken[connector];
        let before = taken.iter().rev().find(|snapshot| snapshot.has_come_by(run));
        let oldest = taken.first().map_or(0, |first| first.generation - 1);
        before.map_or(oldest, |snapshot| snapshot.generation)
    }

    /// How a connector's sources stand at an instant; `None` where there is no doubt.
    pub fn doubt(&self, connector: ConnectorIndex, now: Instant) -> Option<Doubt> {
        let known = self.taken[connector].iter().filter(|snapshot| snapshot.after < now);
        known.fold(None, |doubt: Option<Doubt>, snapshot| {
            let is_whole = snapshot.stage == Stage::Begun || doubt.is_some_and(|doubt| doubt.is_whole);
            Some(Doubt { is_whole, generation: snapshot.generation })
        })
    }

    /// True where keys may have been judged while a snapshot was in doubt, and not since.
    pub fn is_open(&self, now: Instant) -> bool {
        self.taken.iter().flatten().any(|snapshot| snapshot.stage < Stage::Compared && snapshot.after < now)
    }

    /// The last instant up to `now` at which a connector's history began anew.
    pub fn began(&self, connector: ConnectorIndex, now: Instant) -> Option<Instant> {
        let known =
            self.taken[connector].iter().filter(|snapshot| snapshot.after < now && snapshot.stage > Stage::Begun);
        known.map(|snapshot| snapshot.until).max()
    }

    /// The generation of a connector's last snapshot that is settled, and was not the first.
    pub fn settled(&self, connector: ConnectorIndex) -> Generation {
        let settled = |snapshot: &&Snapshot| snapshot.stage > Stage::Begun && snapshot.is_new();
        self.taken[connector].iter().rev().find(settled).map_or(0, |snapshot| snapshot.generation)
    }

    /// The generation of a connector's last snapshot, where it was not the first.
    pub fn last(&self, connector: ConnectorIndex) -> Generation {
        self.taken[connector].last().filter(|last| last.is_new()).map_or(0, |last| last.generation)
    }

    /// The connectors of which a snapshot is settled, and keys were not judged since.
    pub fn uncompared(&self) -> Vec<ConnectorIndex> {
        let is_settled = |taken: &&Vec<Snapshot>| taken.iter().any(|snapshot| snapshot.stage == Stage::Settled);
        (0..).zip(&self.taken).filter(|(_, taken)| is_settled(taken)).map(|(connector, _)| connector).collect()
    }

    /// Settles what is read by `lived`; `lanes` are those of the connector that promise anything. Forgets what is of no use any
    /// more. True where something is settled by it.
    pub fn settle(
        &mut self,
        connector: ConnectorIndex,
        lived: Instant,
        lanes: impl Iterator<Item = LaneIndex>,
    ) -> bool {
        let generations = lanes.map(|lane| self.lanes.get(lane).map_or(0, |promised| promised.generation));
        let reached = generations.min().unwrap_or(0);
        let taken = &mut self.taken[connector];
        let mut is_news = false;
        for snapshot in taken.iter_mut().filter(|snapshot| snapshot.stage == Stage::Begun) {
            if snapshot.generation <= reached && snapshot.until <= lived {
                snapshot.stage = Stage::Settled;
                is_news = true;
            }
        }
        while taken.get(1).is_some_and(|second| second.stage == Stage::Compared && second.after < lived) {
            taken.remove(0);
        }
        is_news
    }

    /// Every key was judged anew.
    pub fn compared(&mut self) {
        for snapshot in self.taken.iter_mut().flatten().filter(|snapshot| snapshot.stage == Stage::Settled) {
            snapshot.stage = Stage::Compared;
        }
    }
}
