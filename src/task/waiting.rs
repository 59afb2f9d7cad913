//! Keeps waiting changes in the store: each is written once, in chunks, and chunks go when all in them are settled.
//!
//! Must not know: when a change settles (`domain::timeline`).

use super::cache::StateError;
use super::store::{Batch, Space, Store};
use super::wire::state::{Layouts, decode_chunk, encode_chunk};
use crate::domain::timeline::{LaneIndex, Timeline};

/// Numbers of one lane's waiting changes: they count from 0 since the lane was first seen.
#[derive(Clone, Debug, Default)]
struct Shelf {
    /// For each chunk in the store, the number of its first change and of the one after its last.
    chunks: Vec<(u64, u64)>,
    /// The number of the first waiting change.
    first: u64,
    /// The number after the last written change.
    written: u64,
}

/// What the store holds of the waiting changes.
#[derive(Clone, Debug, Default)]
pub struct WaitingRoom {
    shelves: Vec<Shelf>,
}

/// More changes than this do not share a chunk.
const CHUNK: usize = 4096;

impl WaitingRoom {
    /// Puts the stored waiting changes back into the timeline. `numbers[lane]` as [`WaitingRoom::numbers`] gave them.
    pub fn restore<S: Store>(
        numbers: Vec<(u64, u64)>,
        timeline: &mut Timeline,
        store: &S,
        layouts: &Layouts,
    ) -> Result<WaitingRoom, StateError<S::Error>> {
        let mut room = WaitingRoom::default();
        for (lane, (first, written)) in numbers.into_iter().enumerate() {
            let mut shelf = Shelf { chunks: Vec::new(), first, written };
            let source = timeline.lanes[lane].source;
            let until = chunk_key(lane + 1, 0);
            let chunks = store.scan(Space::Waiting, &chunk_key(lane, 0), Some(&until), usize::MAX);
            for (key, bytes) in chunks.map_err(StateError::Store)? {
                let begin = u64::from_be_bytes(key[4..].try_into().expect("chunk keys have twelve bytes"));
                let waiting = decode_chunk(&bytes, source, lane, layouts)?;
                let end = begin + waiting.len() as u64;
                for (number, one) in (begin..end).zip(waiting) {
                    if number >= first {
                        timeline.restore_waiting(lane, one);
                    }
                }
                shelf.chunks.push((begin, end));
            }
            room.shelves.push(shelf);
        }
        Ok(room)
    }

    /// For each lane, the number of its first waiting change and of the one after the last written.
    pub fn numbers(&self) -> Vec<(u64, u64)> {
        self.shelves.iter().map(|shelf| (shelf.first, shelf.written)).collect()
    }

    /// Writes what came and still waits since the last call, drops chunks of which nothing waits any more.
    /// `settled[lane]` changes have left the front of each lane since the last call.
    pub fn flush(&mut self, timeline: &Timeline, settled: &[u64], batch: &mut Batch, layouts: &Layouts) {
        self.shelves.resize(timeline.lanes.len(), Shelf::default());
        for (lane, shelf) in self.shelves.iter_mut().enumerate() {
            shelf.first += settled.get(lane).copied().unwrap_or(0);
            shelf.written = shelf.written.max(shelf.first);
            let first = shelf.first;
            shelf.chunks.retain(|(begin, end)| {
                if *end <= first {
                    batch.delete(Space::Waiting, chunk_key(lane, *begin));
                }
                *end > first
            });
            write_new(lane, shelf, timeline, batch, layouts);
        }
    }
}

fn write_new(lane: LaneIndex, shelf: &mut Shelf, timeline: &Timeline, batch: &mut Batch, layouts: &Layouts) {
    let waiting = &timeline.waiting[lane];
    let mut from = usize::try_from(shelf.written - shelf.first).expect("fewer changes wait than memory can hold");
    while from < waiting.len() {
        let until = waiting.len().min(from + CHUNK);
        let begin = shelf.written;
        let end = begin + (until - from) as u64;
        batch.put(Space::Waiting, chunk_key(lane, begin), encode_chunk(waiting.range(from..until), layouts));
        shelf.chunks.push((begin, end));
        shelf.written = end;
        from = until;
    }
}

fn chunk_key(lane: LaneIndex, begin: u64) -> Vec<u8> {
    let lane = u32::try_from(lane).expect("a reconciliation has fewer than four billion topic-partitions");
    [lane.to_be_bytes().as_slice(), &begin.to_be_bytes()].concat()
}
