//! A compiled SELECT and its evaluation over one key's rows.
//!
//! Must not know: SQL text. Nested loops: one key has few rows.

use std::borrow::Cow;

use super::aggregate::{Aggregate, accumulate};
use super::error::EvalError;
use super::expr::{Comparison, Expr, Tuple};
use super::truth::{Compared, Truth, compared, truth_of};
use crate::domain::value::Value;

/// A row of output.
pub type OutputRow = Box<[Value]>;

/// One SELECT.
#[derive(Clone, Debug)]
pub struct Block {
    pub items: Vec<Item>,
    /// One for each item after the first.
    pub joins: Vec<Join>,
    pub filter: Option<Expr>,
    pub grouping: Option<Grouping>,
    pub output: Vec<Expr>,
    pub distinct: bool,
    /// A row of unknown values, as long as the longest of the items'.
    pub unknown_row: OutputRow,
}

/// Something that FROM names.
#[derive(Clone, Debug)]
pub enum Item {
    /// Index into the catalog's sources.
    Source(usize),
    Lookup(Vec<OutputRow>),
    Derived(Box<Block>),
}

impl Item {
    /// How many tables and subqueries it is made of.
    pub fn parts(&self) -> usize {
        match self {
            Item::Source(_) | Item::Lookup(_) => 1,
            Item::Derived(block) => 1 + block.items.iter().map(Item::parts).sum::<usize>(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Join {
    /// Rows of the left side without a match are kept.
    pub keep_left: bool,
    /// Rows of the right side without a match are kept.
    pub keep_right: bool,
    on: Expr,
    /// Columns that `on` wants equal: a row in which two of them surely differ is passed over without asking `on`.
    probes: Vec<Probe>,
}

/// A column of an earlier item and one of the joined row.
#[derive(Clone, Copy, Debug)]
struct Probe {
    item: usize,
    left: usize,
    right: usize,
}

#[derive(Clone, Debug)]
pub struct Grouping {
    pub keys: Vec<Expr>,
    pub aggregates: Vec<Aggregate>,
    pub having: Option<Expr>,
}

/// What a block gave. `unsure` is true where a row may be missing because something is unknown.
#[derive(Default)]
pub struct Rows {
    pub rows: Vec<OutputRow>,
    pub unsure: bool,
}

/// One row for each item of FROM.
type Items<'a> = [Option<&'a [Value]>];

/// More joined rows than this, times the tables that they are joined of, are no answer but an error: 16 MiB.
const CELLS: usize = 1 << 20;

/// More pairs of rows than this are not compared for one join, about a second.
const PAIRS: usize = 1 << 25;

/// Joined rows, one after another.
type Tuples<'a> = Vec<Option<&'a [Value]>>;

impl Block {
    pub fn evaluate(&self, tables: &[&[&[Value]]]) -> Result<Rows, EvalError> {
        let mut first = Vec::new();
        if let Item::Source(source) = self.items[0] {
            first.extend(tables[source].iter().copied().filter(|row| self.may_pass(row)));
            // Nothing comes of nothing, whatever would be joined to it.
            if first.is_empty() && !self.joins.iter().any(|join| join.keep_right) {
                return Ok(Rows { rows: Vec::new(), unsure: false });
            }
        }
        // By item; as long as the last that is derived needs.
        let mut derived: Vec<Rows> = Vec::new();
        for (index, item) in self.items.iter().enumerate() {
            if let Item::Derived(block) = item {
                let rows = block.evaluate(tables)?;
                if rows.unsure {
                    return Ok(Rows { rows: Vec::new(), unsure: true });
                }
                derived.resize_with(index, Rows::default);
                derived.push(rows);
            }
        }
        let rows_of = |index: usize| -> Vec<&[Value]> {
            match &self.items[index] {
                Item::Source(source) => tables[*source].to_vec(),
                Item::Lookup(rows) => rows.iter().map(|row| &**row).collect(),
                Item::Derived(_) => derived[index].rows.iter().map(|row| &**row).collect(),
            }
        };
        if !matches!(self.items[0], Item::Source(_)) {
            first = rows_of(0);
            first.retain(|row| self.may_pass(row));
        }
        let width = self.items.len();
        let mut tuples: Tuples<'_> = vec![None; first.len() * width];
        tuples.chunks_exact_mut(width).zip(first).for_each(|(items, row)| items[0] = Some(row));
        let mut unsure = false;
        for (index, join) in self.joins.iter().enumerate() {
            tuples = join.apply(tuples, &rows_of(index + 1), index + 1, width, &mut unsure)?;
        }
        let mut kept = Vec::with_capacity(tuples.len() / width);
        for items in tuples.chunks_exact(width) {
            match truth_of(self.filter.as_ref(), Tuple::of(items))?.holds() {
                Some(true) => kept.push(items),
                Some(false) => {}
                None => unsure = true,
            }
        }
        let mut rows = match &self.grouping {
            Some(_) if unsure => Vec::new(),
            Some(grouping) => self.grouped(grouping, &kept, &mut unsure)?,
            None => kept.iter().map(|items| self.output_row(Tuple::of(items))).collect::<Result<_, _>>()?,
        };
        if self.distinct {
            rows.sort();
            rows.dedup();
        }
        Ok(Rows { rows, unsure })
    }

    /// False where WHERE rejects a row of the first item whatever is joined to it: the joined values are taken for
    /// unknown, and an unknown value never decides. Most rows of most keys need no join at all then.
    fn may_pass(&self, row: &[Value]) -> bool {
        let Some(filter) = self.filter.as_ref().filter(|_| !self.joins.iter().any(|join| join.keep_right)) else {
            return true;
        };
        let mut items = [Some(&*self.unknown_row); 8];
        items[0] = Some(row);
        let Some(items) = items.get(..self.items.len()) else { return true };
        !matches!(filter.truth(Tuple::of(items)), Ok(Truth::False | Truth::Null))
    }

    fn output_row(&self, tuple: Tuple<'_>) -> Result<OutputRow, EvalError> {
        self.output.iter().map(|expr| expr.evaluate(tuple).map(Cow::into_owned)).collect()
    }

    fn grouped(
        &self,
        grouping: &Grouping,
        tuples: &[&Items<'_>],
        unsure: &mut bool,
    ) -> Result<Vec<OutputRow>, EvalError> {
        let mut groups: Vec<(Vec<Value>, Vec<&Items<'_>>)> = Vec::new();
        // The groups by their keys, ascending.
        let mut known: Vec<usize> = Vec::new();
        for items in tuples {
            let tuple = Tuple::of(items);
            let key: Result<Vec<Value>, EvalError> =
                grouping.keys.iter().map(|key| key.evaluate(tuple).map(Cow::into_owned)).collect();
            let key = key?;
            if key.iter().any(Value::is_unknown) {
                *unsure = true;
                return Ok(Vec::new());
            }
            match known.binary_search_by(|group| groups[*group].0.cmp(&key)) {
                Ok(place) => groups[known[place]].1.push(items),
                Err(place) => {
                    known.insert(place, groups.len());
                    groups.push((key, vec![items]));
                }
            }
        }
        let mut rows = Vec::new();
        for (mut group, members) in groups {
            for aggregate in &grouping.aggregates {
                group.push(accumulate(aggregate, members.iter().copied())?);
            }
            let tuple = Tuple { items: members[0], group: &group };
            match truth_of(grouping.having.as_ref(), tuple)?.holds() {
                Some(true) => rows.push(self.output_row(tuple)?),
                Some(false) => {}
                None => *unsure = true,
            }
        }
        Ok(rows)
    }

    /// For each output column, the columns of catalog sources that its value is made of: `(source, column)`, each once,
    /// ascending.
    pub fn origins(&self) -> Vec<Vec<(usize, usize)>> {
        let derived: Vec<Vec<Vec<(usize, usize)>>> = self
            .items
            .iter()
            .map(|item| match item {
                Item::Derived(block) => block.origins(),
                Item::Source(_) | Item::Lookup(_) => Vec::new(),
            })
            .collect();
        let of = |expr: &Expr| {
            let mut found = Vec::new();
            self.add_origins(expr, &derived, &mut found);
            found.sort_unstable();
            found.dedup();
            found
        };
        self.output.iter().map(of).collect()
    }

    fn add_origins(&self, expr: &Expr, derived: &[Vec<Vec<(usize, usize)>>], found: &mut Vec<(usize, usize)>) {
        match expr {
            Expr::Column { item, column } => match &self.items[*item] {
                Item::Source(source) => found.push((*source, *column)),
                Item::Derived(_) => found.extend(&derived[*item][*column]),
                Item::Lookup(_) => {}
            },
            Expr::Grouped(place) => {
                let grouping = self.grouping.as_ref().expect("only a grouped block has values of a group");
                match place.checked_sub(grouping.keys.len()) {
                    None => self.add_origins(&grouping.keys[*place], derived, found),
                    Some(place) => {
                        let aggregate = &grouping.aggregates[place];
                        let parts = aggregate.filter.iter().chain([&aggregate.argument]);
                        parts.for_each(|part| self.add_origins(part, derived, found));
                    }
                }
            }
            other => other.children().into_iter().for_each(|child| self.add_origins(child, derived, found)),
        }
    }

    /// Adds the catalog sources that the block reads.
    pub fn add_sources(&self, sources: &mut Vec<usize>) {
        for item in &self.items {
            match item {
                Item::Source(source) => sources.push(*source),
                Item::Derived(block) => block.add_sources(sources),
                Item::Lookup(_) => {}
            }
        }
    }
}

impl Join {
    /// Joins the item at place `at` to those before it.
    pub fn new(keep_left: bool, keep_right: bool, on: Expr, at: usize) -> Join {
        let mut probes = Vec::new();
        add_probes(&on, at, &mut probes);
        Join { keep_left, keep_right, on, probes }
    }

    fn apply<'a>(
        &self,
        left: Tuples<'a>,
        right: &[&'a [Value]],
        at: usize,
        width: usize,
        unsure: &mut bool,
    ) -> Result<Tuples<'a>, EvalError> {
        if (left.len() / width).saturating_mul(right.len()) > PAIRS {
            return Err(EvalError::TooManyRows);
        }
        let mut joined = Vec::with_capacity(left.len());
        // A row to the left that an earlier join could not settle may have been the match of any row to the right.
        let keep_right = self.keep_right && !*unsure;
        // For each right row, whether it surely matched, and whether it may have.
        let mut right_state = vec![(false, false); if keep_right { right.len() } else { 0 }];
        let mut left = left;
        for items in left.chunks_exact_mut(width) {
            let (mut matched, mut doubtful) = (false, false);
            for (number, row) in right.iter().enumerate() {
                if self.probes.iter().any(|probe| probe.differs(items, row)) {
                    continue;
                }
                items[at] = Some(row);
                let verdict = self.on.truth(Tuple::of(items))?.holds();
                if let Some((matched, doubtful)) = right_state.get_mut(number) {
                    *matched |= verdict == Some(true);
                    *doubtful |= verdict.is_none();
                }
                match verdict {
                    Some(true) => {
                        matched = true;
                        joined.extend_from_slice(items);
                        must_fit(&joined)?;
                    }
                    Some(false) => {}
                    None => {
                        doubtful = true;
                        *unsure = true;
                    }
                }
            }
            if self.keep_left && !matched && !doubtful {
                items[at] = None;
                joined.extend_from_slice(items);
            }
            must_fit(&joined)?;
        }
        if keep_right {
            for (row, (matched, doubtful)) in right.iter().zip(right_state) {
                if !matched && !doubtful {
                    let begin = joined.len();
                    joined.resize(begin + width, None);
                    joined[begin + at] = Some(row);
                }
            }
        }
        Ok(joined)
    }
}

fn must_fit(joined: &Tuples<'_>) -> Result<(), EvalError> {
    if joined.len() > CELLS { Err(EvalError::TooManyRows) } else { Ok(()) }
}

impl Probe {
    fn differs(&self, items: &Items<'_>, row: &[Value]) -> bool {
        let compared = items[self.item].map(|left| compared(&left[self.left], &row[self.right]));
        matches!(compared, Some(Compared::Ordered(ordering)) if ordering.is_ne())
    }
}

fn add_probes(on: &Expr, at: usize, probes: &mut Vec<Probe>) {
    match on {
        Expr::And(left, right) => {
            add_probes(left, at, probes);
            add_probes(right, at, probes);
        }
        Expr::Compare(Comparison::Equal, left, right) => match (&**left, &**right) {
            (Expr::Column { item, column: left }, Expr::Column { item: own, column: right })
            | (Expr::Column { item: own, column: right }, Expr::Column { item, column: left })
                if *own == at && *item != at =>
            {
                probes.push(Probe { item: *item, left: *left, right: *right });
            }
            _ => {}
        },
        _ => {}
    }
}
