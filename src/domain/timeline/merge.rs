//! A connector's lanes, merged in commit order: transaction by transaction, each whole, with its place on the timeline.
//!
//! Must not know: marks, other connectors.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{LaneIndex, Settled, Timeline};
use crate::domain::flow::Place;
use crate::domain::instant::Instant;
use crate::domain::queue::Waiting;
use crate::domain::rule::ConnectorIndex;

/// The changes of one connector that share a transaction, next in commit order.
pub struct Group {
    pub at: Instant,
    /// Their lanes, in commit order; of each lane they are the first that wait.
    lanes: Vec<LaneIndex>,
}

/// Merges a connector's lanes in commit order.
pub struct Merge {
    connector: ConnectorIndex,
    /// For each lane, the place, the floor and the number of its first change that is in no group yet.
    heads: BinaryHeap<Reverse<(Place, Instant, LaneIndex, u64)>>,
    pub group: Option<Group>,
}

impl Merge {
    pub fn begin<E>(
        timeline: &mut Timeline,
        connector: ConnectorIndex,
        fetch: &mut impl FnMut(LaneIndex, u64) -> Result<Vec<Waiting>, E>,
    ) -> Result<Merge, E> {
        let mut merge = Merge { connector, heads: BinaryHeap::new(), group: None };
        for lane in 0..timeline.lanes.len() {
            if timeline.connector_of[timeline.lanes[lane].source] == connector {
                let first = timeline.waiting[lane].first();
                merge.push(timeline, lane, first, fetch)?;
            }
        }
        merge.advance(timeline, fetch)?;
        Ok(merge)
    }

    fn push<E>(
        &mut self,
        timeline: &mut Timeline,
        lane: LaneIndex,
        number: u64,
        fetch: &mut impl FnMut(LaneIndex, u64) -> Result<Vec<Waiting>, E>,
    ) -> Result<(), E> {
        if let Some(next) = timeline.waiting[lane].get(number, |from| fetch(lane, from))? {
            self.heads.push(Reverse((next.place, next.floor, lane, number)));
        }
        Ok(())
    }

    /// Finds the next group.
    pub fn advance<E>(
        &mut self,
        timeline: &mut Timeline,
        fetch: &mut impl FnMut(LaneIndex, u64) -> Result<Vec<Waiting>, E>,
    ) -> Result<(), E> {
        self.group = None;
        let Some(Reverse((place, ..))) = self.heads.peek().copied() else { return Ok(()) };
        let mut group = Group { at: timeline.flows[self.connector].reached, lanes: Vec::new() };
        let (mut transaction, mut is_lifted) = (None, false);
        while let Some(Reverse((next_place, _, lane, number))) = self.heads.peek().copied() {
            let next = timeline.waiting[lane].get(number, |from| fetch(lane, from))?;
            let next = next.expect("a head is a change that waits");
            let (own, is_requeued) = (next.change.transaction, next.change.requeued.is_some());
            // What is requeued must not part what it stands in.
            let of_any = transaction.is_some_and(|known| known != 0);
            let is_placed = next.change.position.is_some();
            let joins = of_any && is_requeued && is_placed && own == 0 && group.lanes.contains(&lane);
            let same = transaction.is_none_or(|known| known != 0 && known == own);
            if !(joins || same && next_place.epoch == place.epoch) {
                break;
            }
            transaction = transaction.or(Some(own));
            // Proofs may be forgotten that would have lifted what is requeued: it falls into no settled instant as it is.
            if !is_requeued && !is_lifted {
                is_lifted = true;
                group.at = group.at.max(timeline.flows[self.connector].lift(next_place));
            }
            let is_read = !is_placed && next.floor > Instant::MIN;
            let time = if is_read { next.floor } else { next.change.source_time };
            group.at = group.at.max(time).max(next.floor);
            group.lanes.push(lane);
            self.heads.pop();
            self.push(timeline, lane, number + 1, fetch)?;
        }
        self.group = Some(group);
        Ok(())
    }

    /// Takes the group out of the lanes' queues.
    pub fn take(&mut self, timeline: &mut Timeline, settled: &mut Vec<Settled>) {
        let Some(Group { at, lanes }) = self.group.take() else { return };
        timeline.flows[self.connector].reached = at;
        for lane in lanes {
            let Waiting { late, change, .. } = timeline.waiting[lane].pop().expect("a group is of changes that wait");
            settled.push(Settled { at, late, lane, change });
        }
    }
}
