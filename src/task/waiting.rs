//! Keeps waiting changes in the store: each is written once, in chunks, and chunks go when all in them are settled.
//!
//! Must not know: when a change settles (`domain::timeline`).

use std::collections::VecDeque;

use super::cache::StateError;
use super::store::{Batch, Space, Store};
use super::wire::state::{Layouts, decode_chunk, encode_chunk};
use crate::domain::queue::{Queue, Waiting};
use crate::domain::timeline::{LaneIndex, Timeline};

/// What the store holds of one lane's waiting changes.
#[derive(Clone, Debug, Default)]
struct Shelf {
    /// For each chunk in the store, the number of its first change and of the one after its last.
    chunks: VecDeque<(u64, u64)>,
    /// The number after the last written change.
    written: u64,
}

/// What the store holds of the waiting changes.
#[derive(Clone, Debug, Default)]
pub struct WaitingRoom {
    shelves: Vec<Shelf>,
}

/// More changes than this do not share a chunk.
const CHUNK: usize = 1024;

/// How many chunks are looked through at once when a task is opened.
const PAGE: usize = 16;

impl WaitingRoom {
    /// Finds the stored waiting changes again; the timeline's queues fetch them when they need them. `numbers[lane]` as
    /// [`WaitingRoom::numbers`] gave them.
    pub fn restore<S: Store>(
        numbers: Vec<(u64, u64)>,
        timeline: &mut Timeline,
        store: &S,
    ) -> Result<WaitingRoom, StateError<S::Error>> {
        let mut room = WaitingRoom::default();
        for (lane, (first, written)) in numbers.into_iter().enumerate() {
            timeline.waiting[lane] = Queue::away(first, written);
            let until = chunk_key(lane + 1, 0);
            let (mut begins, mut from) = (Vec::new(), chunk_key(lane, 0));
            loop {
                let page = store.scan(Space::Waiting, &from, Some(&until), PAGE).map_err(StateError::Store)?;
                begins.extend(page.iter().map(|(key, _)| number_of(key)));
                match page.last() {
                    Some((last, _)) if page.len() == PAGE => from = [last.as_slice(), &[0]].concat(),
                    _ => break,
                }
            }
            let ends = begins.iter().copied().skip(1).chain([written]);
            room.shelves.push(Shelf { chunks: begins.iter().copied().zip(ends).collect(), written });
        }
        Ok(room)
    }

    /// For each lane, the number of its first waiting change and of the one after the last.
    pub fn numbers(timeline: &Timeline) -> Vec<(u64, u64)> {
        timeline.waiting.iter().map(|queue| (queue.first(), queue.end())).collect()
    }

    /// Writes what came and still waits since the last call, drops chunks of which nothing waits any more.
    pub fn flush(&mut self, timeline: &Timeline, batch: &mut Batch, layouts: &Layouts) {
        self.shelves.resize(timeline.lanes.len(), Shelf::default());
        for (lane, (shelf, queue)) in self.shelves.iter_mut().zip(&timeline.waiting).enumerate() {
            shelf.written = shelf.written.max(queue.first());
            while let Some((begin, _)) = shelf.chunks.front().filter(|(_, end)| *end <= queue.first()) {
                batch.delete(Space::Waiting, chunk_key(lane, *begin));
                shelf.chunks.pop_front();
            }
            let new: Vec<&Waiting> = queue.since(shelf.written).collect();
            for chunk in new.chunks(CHUNK) {
                let (begin, end) = (shelf.written, shelf.written + chunk.len() as u64);
                batch.put(Space::Waiting, chunk_key(lane, begin), encode_chunk(chunk.iter().copied(), layouts));
                shelf.chunks.push_back((begin, end));
                shelf.written = end;
            }
        }
    }

    /// Forgets waiting changes until no more than `bytes` of them are in memory, or only the next chunk of each lane.
    /// All must have been flushed.
    pub fn put_away(timeline: &mut Timeline, bytes: usize) {
        if timeline.waiting.iter().map(Queue::bytes).sum::<usize>() > bytes {
            timeline.waiting.iter_mut().for_each(|queue| queue.put_away(CHUNK));
        }
    }

    /// Waiting changes of a lane from a number on, which the store holds.
    pub fn fetch<S: Store>(
        &self,
        (lane, number): (LaneIndex, u64),
        source: usize,
        store: &S,
        layouts: &Layouts,
    ) -> Result<Vec<Waiting>, StateError<S::Error>> {
        let chunks = &self.shelves[lane].chunks;
        let index = chunks.partition_point(|(_, end)| *end <= number);
        let Some((begin, _)) = chunks.get(index) else { return Ok(Vec::new()) };
        let bytes = store.get(Space::Waiting, &chunk_key(lane, *begin)).map_err(StateError::Store)?;
        let mut chunk = decode_chunk(&bytes.unwrap_or_default(), source, lane, layouts)?;
        Ok(chunk.split_off((number - begin) as usize))
    }
}

fn chunk_key(lane: LaneIndex, begin: u64) -> Vec<u8> {
    let lane = u32::try_from(lane).expect("a reconciliation has fewer than four billion topic-partitions");
    [lane.to_be_bytes().as_slice(), &begin.to_be_bytes()].concat()
}

fn number_of(key: &[u8]) -> u64 {
    u64::from_be_bytes(key[4..].try_into().expect("chunk keys have twelve bytes"))
}
