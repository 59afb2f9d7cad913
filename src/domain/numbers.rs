//! A set of small numbers, as of the events of a transaction.
//!
//! Must not know: what is numbered.

use std::collections::BTreeMap;

/// Numbers of events, each taken once however often it comes: a connector sends some again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// For each 64 numbers of which there is one, a bit for each.
    words: BTreeMap<u32, u64>,
}

/// Events of one table and transaction beyond so many are not told apart.
pub const NUMBERS_KEPT: u32 = 1 << 20;

impl Numbers {
    pub fn insert(&mut self, number: u32) {
        if number < NUMBERS_KEPT {
            *self.words.entry(number / 64).or_default() |= 1 << (number % 64);
        }
    }

    pub fn add(&mut self, other: &Numbers) {
        for (word, bits) in &other.words {
            *self.words.entry(*word).or_default() |= bits;
        }
    }

    /// How many of 1 to `last` there are.
    pub fn up_to(&self, last: u32) -> u32 {
        let count = |(word, bits): (&u32, &u64)| {
            let beyond = last.checked_sub(word * 64).map_or(0, |most| u64::MAX >> (63 - most.min(63)));
            let first = if *word == 0 { !1 } else { u64::MAX };
            (bits & beyond & first).count_ones()
        };
        self.words.iter().map(count).sum()
    }

    pub fn words(&self) -> &BTreeMap<u32, u64> {
        &self.words
    }

    pub fn of_words(words: impl IntoIterator<Item = (u32, u64)>) -> Numbers {
        Numbers { words: words.into_iter().filter(|(word, _)| *word < NUMBERS_KEPT / 64).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_counts_once_wherever_it_stands() {
        let mut numbers = Numbers::default();
        for number in [1, 63, 64, 65, 128, 200, 64, NUMBERS_KEPT, u32::MAX] {
            numbers.insert(number);
        }
        let mut others = Numbers::default();
        [0, 2, 64].into_iter().for_each(|number| others.insert(number));
        numbers.add(&others);
        let up_to = |last| numbers.up_to(last);
        assert_eq!([0, 1, 2, 63, 64, 65, 127, 128, 199, 200, u32::MAX].map(up_to), [0, 1, 2, 3, 4, 5, 5, 6, 6, 7, 7]);
        let again = Numbers::of_words(numbers.words().iter().map(|(word, bits)| (*word, *bits)));
        assert_eq!(again, numbers);
    }
}
