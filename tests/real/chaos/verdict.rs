//! The oracle: what the book of the shop says must have been said, held against what was heard, record by record.
//!
//! Must not know: the product.

use std::collections::{BTreeMap, BTreeSet};

use super::ear::{Heard, Pair};
use super::shop::Book;
use crate::real::truth::Truth;

/// What was lost, repeated and false, each in words; nothing, if all is well.
#[derive(Debug, Default)]
pub struct Verdict {
    pub expected: usize,
    pub found: usize,
    pub lost: Vec<String>,
    pub repeated: Vec<String>,
    pub false_alarms: Vec<String>,
    /// Whatever else must not be: out of order, unlike the databases, quarantined.
    pub wrong: Vec<String>,
}

impl Verdict {
    pub fn is_right(&self) -> bool {
        [&self.lost, &self.repeated, &self.false_alarms, &self.wrong].iter().all(|list| list.is_empty())
    }
}

pub fn judge(book: &Book, heard: &Heard, truth: &Truth) -> Verdict {
    let doubtful = |key: &str| {
        let order = key.parse::<i64>().unwrap_or(-1);
        book.doubtful.iter().any(|range| range.contains(&order))
    };
    let mut expected: BTreeMap<Pair, &[&str]> = BTreeMap::new();
    for wrong in &book.wrongs {
        for rule in wrong.kind.rules() {
            expected.insert(((*rule).to_owned(), wrong.order.to_string()), wrong.fate.said());
        }
    }
    let mut verdict = Verdict { repeated: heard.repeated.clone(), wrong: heard.wrong.clone(), ..Verdict::default() };
    let pairs: BTreeSet<&Pair> = expected.keys().chain(heard.said.keys()).collect();
    for pair in pairs.into_iter().filter(|pair| !doubtful(&pair.1)) {
        let must = expected.get(pair).copied().unwrap_or_default();
        let said = heard.said.get(pair).map_or(&[][..], Vec::as_slice);
        let same = must.iter().zip(said).take_while(|(must, said)| *must == said).count();
        verdict.expected += must.len();
        verdict.found += same;
        let words = || format!("{} of order {}: must be {must:?}, was {said:?}", pair.0, pair.1);
        verdict.lost.extend((same < must.len()).then(words));
        verdict.false_alarms.extend((same < said.len()).then(words));
    }
    verdict.wrong.extend(unlike(truth, open_of(heard), "the open topic"));
    verdict.wrong.extend(unlike(truth, heard.standing.values().cloned().collect(), "the discrepancy topic"));
    verdict.wrong.extend(heard.stalls.iter().filter_map(|(source, said)| restless(source, said)));
    verdict
}

fn open_of(heard: &Heard) -> BTreeSet<Pair> {
    heard.open.iter().flat_map(|(key, rules)| rules.iter().map(move |rule| (rule.clone(), key.clone()))).collect()
}

/// Where what is open differs from what SQL says of both databases.
fn unlike(truth: &Truth, open: BTreeSet<Pair>, topic: &str) -> Vec<String> {
    let truth: BTreeSet<Pair> =
        truth.iter().flat_map(|(rule, keys)| keys.iter().map(move |key| (rule.clone(), key.clone()))).collect();
    let told = |pair: &Pair, what: &str| format!("{topic} {what} open: {} of order {}", pair.0, pair.1);
    let missing = truth.difference(&open).map(|pair| told(pair, "does not say"));
    missing.chain(open.difference(&truth).map(|pair| told(pair, "wrongly says"))).collect()
}

/// A feed stalls and recovers in turns, and flows at the end.
fn restless(source: &str, said: &[String]) -> Option<String> {
    let turns = ["source_stalled", "source_recovered"];
    let in_turns = said.iter().zip(turns.iter().cycle()).all(|(said, turn)| said == turn);
    (!in_turns || said.len() % 2 == 1).then(|| format!("feed of {source}: {said:?}"))
}

/// A verdict that never finds fault proves nothing.
#[test]
fn chaos_oracle_notices_what_is_lost_repeated_and_false() {
    use super::wrongs::{Fate, Kind, Wrong};
    let wrong = |order, kind, fate| Wrong { order, kind, fate };
    let book = Book {
        wrongs: vec![
            wrong(1, Kind::Missing, Fate::Healed),
            wrong(2, Kind::Short, Fate::Lasting),
            wrong(3, Kind::Orphan, Fate::Brief),
        ],
        doubtful: vec![7..8, 8..9],
        ..Book::default()
    };
    let pair = |rule: &str, key: &str| (rule.to_owned(), key.to_owned());
    let right = || {
        let said: [(Pair, Vec<String>); 2] = [
            (pair("paid-without-payment", "1"), vec!["opened".to_owned(), "resolved".to_owned()]),
            (pair("captured-amount", "2"), vec!["opened".to_owned()]),
        ];
        Heard {
            said: said.into(),
            standing: [("id".to_owned(), pair("captured-amount", "2"))].into(),
            open: [("2".to_owned(), ["captured-amount".to_owned()].into())].into(),
            ..Heard::default()
        }
    };
    let truth: Truth = [("captured-amount".to_owned(), ["2".to_owned()].into())].into();
    let judged = |change: fn(&mut Heard)| {
        let mut heard = right();
        change(&mut heard);
        let verdict = judge(&book, &heard, &truth);
        (verdict.lost.len(), verdict.repeated.len(), verdict.false_alarms.len(), verdict.wrong.len())
    };
    assert_eq!(judged(|_| {}), (0, 0, 0, 0));
    assert_eq!(judged(|heard| drop(heard.said.pop_first())), (1, 0, 0, 0), "one is lost");
    assert_eq!(judged(|heard| heard.repeated.push("one".to_owned())), (0, 1, 0, 0), "one is repeated");
    for (key, count) in [("3", 1), ("4", 1), ("7", 0)] {
        let mut heard = right();
        heard.said.insert(pair("payment-without-order", key), vec!["opened".to_owned()]);
        assert_eq!(judge(&book, &heard, &truth).false_alarms.len(), count, "order {key}");
    }
    assert_eq!(judged(|heard| heard.open.clear()), (0, 0, 0, 1), "the open topic lacks one");
    assert_eq!(judged(|heard| heard.standing.clear()), (0, 0, 0, 1), "the discrepancy topic lacks one");
    let stalled =
        |heard: &mut Heard| drop(heard.stalls.insert("orders".to_owned(), vec!["source_stalled".to_owned()]));
    assert_eq!(judged(stalled), (0, 0, 0, 1), "a feed that stalled has not recovered");
}
