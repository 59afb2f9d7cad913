//! What the oracle knows of one topic-partition.

use std::collections::BTreeSet;

use super::oracle::Proof;
use super::world::Micros;

/// Commit order: how many failovers came before, and the position since.
pub type Place = (u32, (u64, u64));

#[derive(Default)]
pub struct LaneLaw {
    /// The run that last told of an edit, and the one that the mark rests on.
    pub told_by: u64,
    pub promised_by: u64,
    /// After how many snapshots of its connector the mark was given.
    pub generation: usize,
    pub offset: i64,
    pub place: Place,
    /// The greatest place at which anything of it stands, and floor.
    pub last: (Place, Micros),
    pub latest: Micros,
    pub mark: Option<Micros>,
    pub proved: Place,
    pub baseline: Option<Micros>,
    pub taken: BTreeSet<(usize, usize)>,
    pub gap: Option<(i64, i64)>,
    /// While its promises are not believed, the best of them.
    pub halted: Option<Option<(Micros, Option<Proof>)>>,
}

impl LaneLaw {
    /// What comes stands no earlier than what came before.
    pub fn comes(&mut self, order: (Place, Micros)) -> (Place, Micros) {
        self.last = self.last.max(order);
        self.last
    }

    /// Behind the transaction that the lane has come to, and all that is promised.
    pub fn behind(&self) -> Place {
        let (epoch, (transaction, _)) = self.place;
        let (proved_epoch, (proved, _)) = self.proved;
        let promised = if proved > 0 { (proved - 1, u64::MAX) } else { (0, 0) };
        (epoch, (transaction, u64::MAX)).max((proved_epoch, promised))
    }
}
