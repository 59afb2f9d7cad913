//! The changes of one topic-partition that wait to be settled, in log order.
//!
//! Must not know: when a change settles, where changes are kept that memory has no room for. They count from 0 since
//! the topic-partition was first seen. In the middle of a long queue there may be some that are kept elsewhere.

use std::collections::VecDeque;

use super::change::Change;
use super::flow::Place;
use super::instant::Instant;

/// A change that waits for the settled time to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub place: Place,
    /// No `at` before this: the instant after the lane's mark when the change came.
    pub floor: Instant,
    pub late: bool,
    pub change: Box<Change>,
}

impl Waiting {
    fn bytes(&self) -> usize {
        size_of::<Waiting>() + size_of::<Change>() + self.change.heap_bytes()
    }
}

/// A queue of waiting changes: a front in memory, a middle away, a back in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// The number of the first waiting change.
    first: u64,
    front: VecDeque<Waiting>,
    away: u64,
    back: VecDeque<Waiting>,
    bytes: usize,
}

impl Queue {
    /// A queue of the changes from number `first` to before number `end`, all of them away.
    pub fn away(first: u64, end: u64) -> Queue {
        Queue { first, away: end - first, ..Queue::default() }
    }

    /// The number of the first waiting change.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The number after the last waiting change.
    pub fn end(&self) -> u64 {
        self.first + self.len()
    }

    pub fn len(&self) -> u64 {
        (self.front.len() + self.back.len()) as u64 + self.away
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Roughly what the part in memory takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.bytes();
        let end = if self.away > 0 { &mut self.back } else { &mut self.front };
        end.push_back(waiting);
    }

    /// The first waiting change, if it is in memory.
    pub fn front(&self) -> Option<&Waiting> {
        self.front.front()
    }

    /// The change of a number. Where it is away, `fetch` brings it and some after it, given the least number that is
    /// away. `None` past the end.
    pub fn get<E>(
        &mut self,
        number: u64,
        mut fetch: impl FnMut(u64) -> Result<Vec<Waiting>, E>,
    ) -> Result<Option<&Waiting>, E> {
        let index = (number - self.first) as usize;
        while index >= self.front.len() && self.away > 0 {
            let fetched = fetch(self.first + self.front.len() as u64)?;
            assert!(!fetched.is_empty(), "what is away can be fetched");
            for waiting in fetched.into_iter().take(self.away as usize) {
                self.away -= 1;
                self.bytes += waiting.bytes();
                self.front.push_back(waiting);
            }
            if self.away == 0 {
                self.front.append(&mut self.back);
            }
        }
        Ok(self.front.get(index))
    }

    /// Takes the first waiting change, which must be in memory.
    pub fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.front.pop_front()?;
        self.first += 1;
        // Its share; to weigh it again would cost more than the answer is worth.
        self.bytes -= self.bytes / (self.front.len() + self.back.len() + 1);
        Some(waiting)
    }

    /// The changes from a number to the end, which must be in memory.
    pub fn since(&self, number: u64) -> impl Iterator<Item = &Waiting> {
        let skipped = (number - self.first) as usize;
        let (front, back) = match self.away {
            0 => (skipped, 0),
            away => (self.front.len(), skipped - self.front.len() - away as usize),
        };
        self.front.range(front.min(self.front.len())..).chain(self.back.range(back..))
    }

    /// Forgets all but the first `keep`: they are kept elsewhere from now on.
    pub fn put_away(&mut self, keep: usize) {
        let dropped = self.front.len().saturating_sub(keep) + self.back.len();
        self.front.truncate(keep);
        self.away += dropped as u64;
        self.back = VecDeque::new();
        self.front.shrink_to_fit();
        self.bytes = self.front.iter().map(Waiting::bytes).sum();
    }
}
