//! The rules under simulation, twice: as SQL for the product, and as plain Rust for the oracle.

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel::domain::catalog::{Catalog, Column, SourceTable};
use evenkeel::domain::rule::{Definition, Escalation, Plan, Rule, SourcePlan};
use evenkeel::domain::sql::Query;
use evenkeel::domain::value::Type;

use super::world::{Cell, Cells, DATABASE, KEY, LINES, Micros, ORDERS, PAYMENTS, SECOND};
use crate::support::dice::Dice;

/// How patient a rule is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    pub grace: Micros,
    pub escalations: Vec<Micros>,
    pub keep_open_for: Micros,
    pub flap_window: Micros,
}

/// One key's rows, by table, in order of primary key.
pub type Rows<'r> = [Vec<&'r Cells>; 3];

/// What a rule asks.
pub struct Meaning {
    pub id: &'static str,
    sql: &'static str,
    pub identity: &'static [usize],
    /// The tables that it reads.
    pub reads: &'static [usize],
    pub answer: fn(&Rows<'_>) -> Answer,
}

/// What a rule says of one key.
pub struct Answer {
    pub rows: Vec<Cells>,
    /// True where there may be more, for all that is known.
    pub is_unsure: bool,
}

fn sure(rows: Vec<Cells>) -> Answer {
    Answer { rows, is_unsure: false }
}

/// A rule as configured.
#[derive(Clone)]
pub struct Asked {
    pub meaning: &'static Meaning,
    pub patience: Patience,
}

/// The rules of one configuration, in order of id.
pub type Book = Vec<Asked>;

/// In order of id. Where several share one, the first is the usual one and the others are what it may be changed to.
static MEANINGS: [Meaning; 10] = [
    Meaning {
        id: "a-missing",
        sql: "SELECT o.id, o.status FROM orders o
              LEFT JOIN payments p ON p.order_id = o.id AND p.status = 'CAPTURED'
              WHERE o.status = 'PAID' AND p.id IS NULL",
        identity: &[],
        reads: &[ORDERS, PAYMENTS],
        answer: missing,
    },
    Meaning {
        id: "a-missing",
        sql: "SELECT o.id, o.status FROM orders o
              LEFT JOIN payments p ON p.order_id = o.id AND p.status = 'CAPTURED' WHERE p.id IS NULL",
        identity: &[],
        reads: &[ORDERS, PAYMENTS],
        answer: never_captured,
    },
    Meaning {
        id: "b-amount",
        sql: "SELECT o.id, o.total, SUM(p.amount) AS captured FROM orders o JOIN payments p ON o.id = p.order_id
              WHERE p.status = 'CAPTURED' GROUP BY o.id, o.total HAVING SUM(p.amount) <> o.total",
        identity: &[],
        reads: &[ORDERS, PAYMENTS],
        answer: amount,
    },
    Meaning {
        id: "b-amount",
        sql: "SELECT o.id, SUM(p.amount) AS captured FROM orders o JOIN payments p ON o.id = p.order_id
              WHERE p.status = 'CAPTURED' GROUP BY o.id, o.total HAVING SUM(p.amount) > o.total",
        identity: &[],
        reads: &[ORDERS, PAYMENTS],
        answer: too_much,
    },
    Meaning {
        id: "c-orphan",
        sql: "SELECT p.id, p.amount FROM payments p LEFT JOIN orders o ON o.id = p.order_id
              WHERE o.id IS NULL AND p.status = 'CAPTURED'",
        identity: &[0],
        reads: &[PAYMENTS, ORDERS],
        answer: orphan,
    },
    Meaning {
        id: "c-orphan",
        sql: "SELECT p.id, p.amount FROM payments p LEFT JOIN orders o ON o.id = p.order_id
              WHERE o.id IS NULL AND p.status = 'CAPTURED'",
        identity: &[],
        reads: &[PAYMENTS, ORDERS],
        answer: orphan,
    },
    Meaning {
        id: "d-lines",
        sql: "SELECT o.id, o.total, COALESCE(SUM(l.amount), 0) AS lines FROM orders o
              LEFT JOIN lines l ON l.order_id = o.id WHERE o.status = 'PAID'
              GROUP BY o.id, o.total HAVING COALESCE(SUM(l.amount), 0) <> o.total",
        identity: &[],
        reads: &[ORDERS, LINES],
        answer: lines,
    },
    Meaning {
        id: "d-lines",
        sql: "SELECT l.id, l.amount FROM lines l LEFT JOIN orders o ON o.id = l.order_id
              WHERE l.amount = 15 OR o.note = 'worse'",
        identity: &[],
        reads: &[LINES, ORDERS],
        answer: bad_lines,
    },
    Meaning {
        id: "e-note",
        sql: "SELECT note FROM orders WHERE note <> 'fine'",
        identity: &[],
        reads: &[ORDERS],
        answer: note,
    },
    Meaning {
        id: "e-note",
        sql: "SELECT total, note FROM orders WHERE status = 'PAID' AND (total = 15 OR note = 'worse')",
        identity: &[1],
        reads: &[ORDERS],
        answer: paid_badly,
    },
];

/// A rule's id.
pub fn id(id: &str) -> &'static str {
    MEANINGS.iter().find(|meaning| meaning.id == id).expect("it is a rule").id
}

fn number(cell: &Cell) -> i64 {
    match cell {
        Cell::Int(number) => *number,
        other => panic!("{other:?} is no number"),
    }
}

fn is(cell: &Cell, text: &str) -> bool {
    matches!(cell, Cell::Text(known) if known == text)
}

fn captured<'r>(rows: &'r Rows<'_>) -> impl Iterator<Item = &'r Cells> {
    rows[PAYMENTS].iter().copied().filter(|payment| is(&payment[2], "CAPTURED"))
}

fn missing(rows: &Rows<'_>) -> Answer {
    let paid = rows[ORDERS].iter().filter(|order| is(&order[1], "PAID") && captured(rows).next().is_none());
    sure(paid.map(|order| order[..2].to_vec()).collect())
}

fn never_captured(rows: &Rows<'_>) -> Answer {
    let lacking = rows[ORDERS].iter().filter(|_| captured(rows).next().is_none());
    sure(lacking.map(|order| order[..2].to_vec()).collect())
}

fn amount(rows: &Rows<'_>) -> Answer {
    let sum: i64 = captured(rows).map(|payment| number(&payment[3])).sum();
    let any = captured(rows).next().is_some();
    let wrong = rows[ORDERS].iter().filter(|order| any && number(&order[2]) != sum);
    sure(wrong.map(|order| vec![order[0].clone(), order[2].clone(), Cell::Int(sum)]).collect())
}

fn too_much(rows: &Rows<'_>) -> Answer {
    let sum: i64 = captured(rows).map(|payment| number(&payment[3])).sum();
    let wrong = rows[ORDERS].iter().filter(|order| sum > number(&order[2]));
    sure(wrong.map(|order| vec![order[0].clone(), Cell::Int(sum)]).collect())
}

fn orphan(rows: &Rows<'_>) -> Answer {
    let lost = captured(rows).filter(|_| rows[ORDERS].is_empty());
    sure(lost.map(|payment| vec![payment[0].clone(), payment[3].clone()]).collect())
}

fn lines(rows: &Rows<'_>) -> Answer {
    let sum: i64 = rows[LINES].iter().map(|line| number(&line[2])).sum();
    let wrong = rows[ORDERS].iter().filter(|order| is(&order[1], "PAID") && number(&order[2]) != sum);
    sure(wrong.map(|order| vec![order[0].clone(), order[2].clone(), Cell::Int(sum)]).collect())
}

/// Some lines may be in it for sure, others perhaps.
fn bad_lines(rows: &Rows<'_>) -> Answer {
    let mut answer = sure(Vec::new());
    let note = rows[ORDERS].first().map_or(&Cell::Null, |order| &order[3]);
    for line in &rows[LINES] {
        if number(&line[2]) == 15 || is(note, "worse") {
            answer.rows.push(vec![line[0].clone(), line[2].clone()]);
        } else {
            answer.is_unsure |= *note == Cell::Unknown;
        }
    }
    answer
}

fn note(rows: &Rows<'_>) -> Answer {
    let bad = rows[ORDERS].iter().map(|order| &order[3]).filter(|note| **note != Cell::Unknown && !is(note, "fine"));
    let is_unsure = rows[ORDERS].iter().any(|order| order[3] == Cell::Unknown);
    Answer { rows: bad.map(|note| vec![note.clone()]).collect(), is_unsure }
}

/// Only where the note decides does it matter that it is unknown.
fn paid_badly(rows: &Rows<'_>) -> Answer {
    let mut answer = sure(Vec::new());
    for order in rows[ORDERS].iter().filter(|order| is(&order[1], "PAID")) {
        if number(&order[2]) == 15 || is(&order[3], "worse") {
            answer.rows.push(order[2..].to_vec());
        } else {
            answer.is_unsure |= order[3] == Cell::Unknown;
        }
    }
    answer
}

fn patience(dice: &mut Dice) -> Patience {
    let grace = dice.pick(&[0, 1, 2 * SECOND, 5 * SECOND, 10 * SECOND]);
    let step = dice.between(1, 4) * SECOND;
    let escalations = [vec![], vec![grace + step], vec![grace + step, grace + 2 * step]];
    Patience {
        grace,
        escalations: escalations[dice.below(3) as usize].clone(),
        keep_open_for: dice.pick(&[0, 0, 3 * SECOND]),
        flap_window: dice.pick(&[0, 5 * SECOND, 30 * SECOND]),
    }
}

/// What the rules may be, by chance. The first book has them all, mostly the usual ones.
pub fn books(dice: &mut Dice) -> Vec<Book> {
    let mut usual: Book = Vec::new();
    for meaning in &MEANINGS {
        match usual.last_mut().filter(|last| last.meaning.id == meaning.id) {
            Some(last) if dice.once_in(3) => last.meaning = meaning,
            Some(_) => {}
            None => usual.push(Asked { meaning, patience: patience(dice) }),
        }
    }
    let changed: Vec<Book> =
        (0..3).map(|_| usual.iter().filter_map(|asked| another(dice, asked)).collect()).collect();
    [vec![usual], changed].concat()
}

/// A rule after a change of the configuration; `None` where it was removed.
fn another(dice: &mut Dice, asked: &Asked) -> Option<Asked> {
    let Asked { meaning, patience: kept } = asked.clone();
    let other = MEANINGS.iter().rfind(|other| other.id == meaning.id).unwrap_or(meaning);
    match dice.below(6) {
        0 | 1 => None,
        2 => Some(Asked { meaning: other, patience: kept }),
        3 => Some(Asked { meaning, patience: patience(dice) }),
        4 => Some(Asked { meaning: other, patience: patience(dice) }),
        _ => Some(Asked { meaning, patience: kept }),
    }
}

/// The product's plan. Lines come without before images; their rows must be found.
pub fn plan(book: &Book, partial: [bool; 3]) -> Arc<Plan> {
    let table = |name: &str, columns: &[(&str, Type)], source: usize| SourceTable {
        name: name.to_owned(),
        columns: columns.iter().map(|(name, ty)| Column { name: (*name).to_owned(), ty: *ty }).collect(),
        key: KEY[source],
        primary_key: vec![0],
    };
    let int = Type::Int;
    let catalog = Catalog {
        sources: vec![
            table("lines", &[("id", int), ("order_id", int), ("amount", int)], LINES),
            table("orders", &[("id", int), ("status", Type::Text), ("total", int), ("note", Type::Text)], ORDERS),
            table("payments", &[("id", int), ("order_id", int), ("status", Type::Text), ("amount", int)], PAYMENTS),
        ],
        lookups: Vec::new(),
    };
    let rules = book.iter().map(|Asked { meaning, patience }| {
        let step = |after_us: &Micros| Escalation { after_us: *after_us, severity: "high".into() };
        let definition = Definition {
            id: meaning.id.into(),
            version: format!("{} {:?} {patience:?}", meaning.sql, meaning.identity).into(),
            sql: meaning.sql.into(),
            grace_us: patience.grace,
            escalations: patience.escalations.iter().map(step).collect(),
            keep_open_for_us: patience.keep_open_for,
            flap_window_us: patience.flap_window,
            identity: meaning.identity.to_vec(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        };
        let query =
            Query::compile(meaning.sql, &catalog).unwrap_or_else(|errors| panic!("{}: {errors:?}", meaning.id));
        Rule { definition, query }
    });
    let rules = rules.collect();
    let source = |source: usize| SourcePlan {
        connector: DATABASE[source],
        commit_time: DATABASE[source] == 0,
        find_rows: source == LINES,
        partial_history: partial[source],
    };
    let sources = (0..partial.len()).map(source).collect();
    Arc::new(Plan { reconciliation: "simulated".into(), catalog, sources, rules, heartbeat_us: 10 * SECOND })
}
