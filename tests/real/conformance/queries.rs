//! Queries by chance, well typed, within what rules support.

use super::forms::{bare, literals};
use crate::support::dice::Dice;

/// What an expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ty {
    Int,
    Dec,
    Text,
    Bool,
    Time,
}

/// Columns that can be named where an expression stands.
pub struct Scope {
    pub columns: Vec<(String, Ty)>,
}

const ORDERS: [(&str, Ty); 6] = [
    ("status", Ty::Text),
    ("total", Ty::Dec),
    ("currency", Ty::Text),
    ("quantity", Ty::Int),
    ("paid", Ty::Bool),
    ("at", Ty::Time),
];
const PAYMENTS: [(&str, Ty); 6] = [
    ("kind", Ty::Text),
    ("amount", Ty::Dec),
    ("fee", Ty::Dec),
    ("quantity", Ty::Int),
    ("done", Ty::Bool),
    ("at", Ty::Time),
];

const REFUNDS: [(&str, Ty); 4] = [("kind", Ty::Text), ("amount", Ty::Int), ("quantity", Ty::Int), ("at", Ty::Time)];

/// A source's name, alias and columns.
type Table = (&'static str, &'static str, &'static [(&'static str, Ty)]);

const TABLES: [Table; 3] = [("orders", "o", &ORDERS), ("payments", "p", &PAYMENTS), ("refunds", "r", &REFUNDS)];

fn columns(alias: &str, of: &[(&str, Ty)]) -> Vec<(String, Ty)> {
    of.iter().map(|(name, ty)| (format!("{alias}.{name}"), *ty)).collect()
}

/// A query whose first column is the key.
pub fn query(dice: &mut Dice) -> String {
    match dice.below(14) {
        0..=6 => plain(dice),
        7..=9 => grouped(dice),
        10 => summed(dice),
        11 => single(dice),
        12 => formed(dice, bare),
        _ => formed(dice, literals),
    }
}

/// Two or three sources, joined in every way, at times with a lookup table.
fn plain(dice: &mut Dice) -> String {
    let (from, key, scope) = if dice.once_in(2) { joined(dice) } else { chained(dice) };
    let filter = condition(dice, &scope, 3);
    // Of equal decimals with different scales either may be the one that DISTINCT keeps.
    if dice.once_in(6) {
        let items = items(dice, &scope, &[Ty::Int, Ty::Text, Ty::Bool]);
        return format!("SELECT DISTINCT {key} AS k, {items} FROM {from} WHERE {filter}");
    }
    let mut items = items(dice, &scope, &EVERY);
    // Elsewhere PostgreSQL may leave out what nobody asks for, or work out constants early, errors included.
    if dice.once_in(8) {
        let decimal = expr(dice, &scope, Ty::Dec, 1);
        let risky = if dice.once_in(2) {
            format!("{decimal} / p.quantity")
        } else {
            format!("CAST(p.amount + {decimal} AS {})", dice.pick(&["numeric(4,2)", "numeric(2)", "numeric(1,1)"]))
        };
        items = format!("{items}, {risky} AS d");
    }
    format!("SELECT {key} AS k, {items} FROM {from} WHERE {filter}")
}

const KINDS: [&str; 4] = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"];

/// Three sources in any order: all by USING, or each ON a key to its left.
fn chained(dice: &mut Dice) -> (String, &'static str, Scope) {
    let order = dice.pick(&[[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]);
    let using = dice.once_in(2).then(|| dice.pick(&["order_id", "order_id", "order_id, quantity"]));
    let [(name, alias, of), second, third] = order.map(|table| TABLES[table]);
    let mut from = format!("{name} {alias}");
    let mut all = columns(alias, of);
    let mut keys = vec![format!("{alias}.order_id")];
    for (name, alias, of) in [second, third] {
        let kind = dice.pick(&KINDS);
        all.extend(columns(alias, of));
        let on = match using {
            Some(names) => format!("USING ({names})"),
            None => format!("ON {alias}.order_id = {}{}", earlier(dice, &keys), further(dice, &all, kind)),
        };
        from = format!("{from} {kind} {name} {alias} {on}");
        keys.push(format!("{alias}.order_id"));
    }
    if using.is_some_and(|names| names.ends_with("quantity")) {
        all.push(("quantity".to_owned(), Ty::Int));
    }
    let key = if using.is_some() { "order_id" } else { "COALESCE(o.order_id, p.order_id, r.order_id)" };
    (from, key, Scope { columns: all })
}

/// The key of one of the sources to the left, or the first that is there.
fn earlier(dice: &mut Dice, keys: &[String]) -> String {
    match dice.below(3) {
        0 if keys.len() > 1 => format!("COALESCE({})", keys.join(", ")),
        1 => keys[0].clone(),
        _ => keys[keys.len() - 1].clone(),
    }
}

/// A further condition of ON, at times; PostgreSQL itself refuses most of a FULL JOIN.
fn further(dice: &mut Dice, columns: &[(String, Ty)], kind: &str) -> String {
    if kind == "FULL JOIN" || !dice.once_in(3) {
        return String::new();
    }
    let scope = Scope { columns: columns.to_vec() };
    format!(" AND {}", condition(dice, &scope, 1))
}

/// Expressions of a form of their own over one source.
fn formed(dice: &mut Dice, form: fn(&mut Dice, &Scope) -> String) -> String {
    let scope = Scope { columns: columns("p", &PAYMENTS) };
    format!("SELECT p.order_id AS k, {} AS c FROM payments p", form(dice, &scope))
}

fn joined(dice: &mut Dice) -> (String, &'static str, Scope) {
    let kind = dice.pick(&KINDS);
    let mut all = [columns("o", &ORDERS), columns("p", &PAYMENTS)].concat();
    let mut on = "p.order_id = o.order_id".to_owned();
    // PostgreSQL itself refuses most further conditions of a FULL JOIN.
    if kind != "FULL JOIN" && dice.once_in(2) {
        let scope = Scope { columns: all.clone() };
        on = format!("{on} AND {}", condition(dice, &scope, 1));
    }
    let using = dice.once_in(4);
    let mut from = match using {
        true => format!("orders o {kind} payments p USING (order_id)"),
        false => format!("orders o {kind} payments p ON {on}"),
    };
    if dice.once_in(3) {
        from = format!("{from} LEFT JOIN limits l ON l.currency = o.currency AND l.kind = p.kind");
        all.push(("l.most".to_owned(), Ty::Dec));
        all.push(("l.kind".to_owned(), Ty::Text));
    }
    (from, "COALESCE(o.order_id, p.order_id)", Scope { columns: all })
}

fn grouped(dice: &mut Dice) -> String {
    let kind = dice.pick(&["JOIN", "LEFT JOIN"]);
    let rows = Scope { columns: [columns("o", &ORDERS), columns("p", &PAYMENTS)].concat() };
    let by = dice.pick(&["o.order_id", "o.order_id, o.status", "o.order_id, p.kind, p.done"]);
    let (items, having) = (aggregates(dice, &rows, 3), aggregate(dice, &rows, Ty::Bool, 2));
    let filter = if dice.once_in(2) { format!("WHERE {}", condition(dice, &rows, 1)) } else { String::new() };
    let having = if dice.once_in(2) { format!("HAVING {having}") } else { String::new() };
    format!(
        "SELECT o.order_id AS k, {items} FROM orders o {kind} payments p ON p.order_id = o.order_id {filter} \
         GROUP BY {by} {having}"
    )
}

/// A sum of one side in WITH or FROM, joined to the other.
fn summed(dice: &mut Dice) -> String {
    let rows = Scope { columns: columns("p", &PAYMENTS) };
    let (sum, count) = (aggregate(dice, &rows, Ty::Dec, 1), aggregate(dice, &rows, Ty::Int, 1));
    let inner = format!("SELECT p.order_id, {sum} AS s, {count} AS n FROM payments p GROUP BY p.order_id");
    let mut all = columns("o", &ORDERS);
    all.extend([("m.s".to_owned(), Ty::Dec), ("m.n".to_owned(), Ty::Int)]);
    let scope = Scope { columns: all };
    let (items, filter) = (items(dice, &scope, &EVERY), condition(dice, &scope, 2));
    if dice.once_in(2) {
        format!(
            "WITH m AS ({inner}) SELECT o.order_id AS k, {items} FROM orders o LEFT JOIN m ON m.order_id = o.order_id \
             WHERE {filter}"
        )
    } else {
        format!(
            "SELECT o.order_id AS k, {items} FROM orders o JOIN ({inner}) m ON m.order_id = o.order_id WHERE {filter}"
        )
    }
}

fn single(dice: &mut Dice) -> String {
    let scope = Scope { columns: columns("p", &PAYMENTS) };
    format!(
        "SELECT p.order_id AS k, {} FROM payments p WHERE {}",
        items(dice, &scope, &EVERY),
        condition(dice, &scope, 3)
    )
}

const EVERY: [Ty; 5] = [Ty::Int, Ty::Dec, Ty::Dec, Ty::Text, Ty::Bool];

fn items(dice: &mut Dice, scope: &Scope, of: &[Ty]) -> String {
    let count = 1 + dice.below(3);
    let items: Vec<String> = (0..count)
        .map(|number| {
            let ty = dice.pick(of);
            format!("{} AS c{number}", expr(dice, scope, ty, 3))
        })
        .collect();
    items.join(", ")
}

fn aggregates(dice: &mut Dice, scope: &Scope, count: usize) -> String {
    let items: Vec<String> = (0..count)
        .map(|number| {
            let ty = dice.pick(&[Ty::Int, Ty::Dec, Ty::Text, Ty::Bool]);
            format!("{} AS c{number}", aggregate(dice, scope, ty, 2))
        })
        .collect();
    items.join(", ")
}

/// An expression over aggregates.
fn aggregate(dice: &mut Dice, scope: &Scope, ty: Ty, depth: u32) -> String {
    let row = Scope { columns: scope.columns.clone() };
    let filter =
        if dice.once_in(3) { format!(" FILTER (WHERE {})", condition(dice, &row, 1)) } else { String::new() };
    let distinct = if dice.once_in(4) { "DISTINCT " } else { "" };
    if depth > 0 && dice.once_in(3) {
        let inner = |dice: &mut Dice, ty| aggregate(dice, scope, ty, depth - 1);
        return match ty {
            Ty::Bool => {
                let of = dice.pick(&[Ty::Int, Ty::Dec, Ty::Text]);
                format!("({} {} {})", inner(dice, of), comparison(dice), inner(dice, of))
            }
            Ty::Int | Ty::Dec => format!("({} {} {})", inner(dice, ty), dice.pick(&["+", "-", "*"]), inner(dice, ty)),
            _ => format!("COALESCE({}, 'none')", inner(dice, Ty::Text)),
        };
    }
    let of = |dice: &mut Dice, ty| expr(dice, &row, ty, 1);
    match ty {
        Ty::Int if dice.once_in(3) => format!("COUNT(*){filter}"),
        Ty::Int if dice.once_in(2) => {
            let ty = dice.pick(&[Ty::Int, Ty::Dec, Ty::Text, Ty::Bool]);
            format!("COUNT({distinct}{}){filter}", of(dice, ty))
        }
        Ty::Int => format!("{}({}){filter}", dice.pick(&["MIN", "MAX"]), of(dice, Ty::Int)),
        Ty::Dec => {
            let name = dice.pick(&["SUM", "SUM", "AVG"]);
            // A literal is of 32 bits there, and its sum of another type than a column's.
            let of = if dice.once_in(4) { "p.quantity".to_owned() } else { of(dice, Ty::Dec) };
            format!("{name}({distinct}{of}){filter}")
        }
        Ty::Bool => format!("{}({}){filter}", dice.pick(&["BOOL_OR", "BOOL_AND"]), of(dice, Ty::Bool)),
        _ => format!("{}({}){filter}", dice.pick(&["MIN", "MAX"]), of(dice, Ty::Text)),
    }
}

pub fn comparison(dice: &mut Dice) -> &'static str {
    dice.pick(&["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"])
}

fn condition(dice: &mut Dice, scope: &Scope, depth: u32) -> String {
    expr(dice, scope, Ty::Bool, depth)
}

fn column(dice: &mut Dice, scope: &Scope, ty: Ty) -> Option<String> {
    let fitting: Vec<&str> =
        scope.columns.iter().filter(|(_, of)| *of == ty).map(|(name, _)| name.as_str()).collect();
    if fitting.is_empty() { None } else { Some(dice.pick(&fitting).to_owned()) }
}

pub fn leaf(dice: &mut Dice, scope: &Scope, ty: Ty) -> String {
    if !dice.once_in(4)
        && let Some(column) = column(dice, scope, ty)
    {
        return column;
    }
    let literals: &[&str] = match ty {
        Ty::Int => &["0", "1", "2", "-3", "7", "100"],
        Ty::Dec => &["0.5", "10.00", "-2.5", "3.333", "0.00", "100.10"],
        Ty::Text => &["'PAID'", "'PENDING'", "'CAPTURE'", "''", "'a b '", "'Größe'", "'10%'"],
        Ty::Bool => &["TRUE", "FALSE", "CAST(' Ye' AS boolean)", "CAST('of' AS boolean)"],
        Ty::Time => &[
            "TIMESTAMPTZ '2026-01-02 03:04:05.678901+00'",
            "TIMESTAMPTZ '2026-03-01 00:00:00+02'",
            "TIMESTAMPTZ 'infinity'",
            "CAST(TIMESTAMP '2026-03-01 00:00:00.1234565+02' AS timestamptz)",
        ],
    };
    dice.pick(literals).to_owned()
}

fn expr(dice: &mut Dice, scope: &Scope, ty: Ty, depth: u32) -> String {
    if depth == 0 {
        return leaf(dice, scope, ty);
    }
    let sub = |dice: &mut Dice, ty| expr(dice, scope, ty, depth - 1);
    if dice.once_in(6) {
        return shared(dice, scope, ty, depth);
    }
    match ty {
        Ty::Bool => boolean(dice, scope, depth),
        Ty::Time => match dice.below(4) {
            0 => format!("CAST({} AS timestamptz({}))", sub(dice, Ty::Time), dice.below(7)),
            1 => format!("CAST(CAST({} AS timestamp({})) AS timestamptz)", sub(dice, Ty::Time), dice.below(7)),
            2 => format!("CAST(CAST({} AS date) AS timestamptz)", sub(dice, Ty::Time)),
            _ => leaf(dice, scope, ty),
        },
        Ty::Int => match dice.below(8) {
            0..=2 => format!("({} {} {})", sub(dice, Ty::Int), dice.pick(&["+", "-", "*"]), sub(dice, Ty::Int)),
            3 => format!("({} {} NULLIF({}, 0))", sub(dice, Ty::Int), dice.pick(&["/", "%"]), sub(dice, Ty::Int)),
            4 => format!("ABS({})", sub(dice, Ty::Int)),
            5 => format!("LENGTH({})", sub(dice, Ty::Text)),
            6 => format!("CAST({} AS bigint)", sub(dice, Ty::Dec)),
            _ => leaf(dice, scope, ty),
        },
        Ty::Dec => match dice.below(9) {
            0..=2 => format!("({} {} {})", sub(dice, Ty::Dec), dice.pick(&["+", "-", "*"]), sub(dice, Ty::Dec)),
            3 => format!("({} {} NULLIF({}, 0))", sub(dice, Ty::Dec), dice.pick(&["/", "%"]), sub(dice, Ty::Dec)),
            4 => format!("({} * {})", sub(dice, Ty::Dec), sub(dice, Ty::Int)),
            5 => format!("ROUND({}, {})", sub(dice, Ty::Dec), dice.pick(&["0", "1", "2", "-1"])),
            6 => format!("{}({})", dice.pick(&["ABS", "CEIL", "FLOOR", "TRUNC", "ROUND"]), sub(dice, Ty::Dec)),
            7 => format!("CAST({} AS numeric(12,3))", sub(dice, Ty::Int)),
            _ => leaf(dice, scope, ty),
        },
        Ty::Text => match dice.below(8) {
            0 | 1 => format!("({} || {})", sub(dice, Ty::Text), sub(dice, Ty::Text)),
            2 => format!("{}({})", dice.pick(&["UPPER", "LOWER", "BTRIM"]), sub(dice, Ty::Text)),
            3 => format!("CAST({} AS text)", sub(dice, Ty::Int)),
            4 => format!("CAST({} AS text)", sub(dice, Ty::Dec)),
            5 => format!("CAST({} AS text)", sub(dice, Ty::Time)),
            6 => {
                format!(
                    "CAST(CAST({} AS {}) AS text)",
                    sub(dice, Ty::Time),
                    dice.pick(&["timestamp", "date", "time(1)"])
                )
            }
            _ => leaf(dice, scope, ty),
        },
    }
}

/// Forms that every type has.
fn shared(dice: &mut Dice, scope: &Scope, ty: Ty, depth: u32) -> String {
    let sub = |dice: &mut Dice, ty| expr(dice, scope, ty, depth - 1);
    match dice.below(5) {
        0 => format!("COALESCE({}, {})", sub(dice, ty), sub(dice, ty)),
        1 => format!("NULLIF({}, {})", sub(dice, ty), sub(dice, ty)),
        2 => format!("CASE WHEN {} THEN {} ELSE {} END", sub(dice, Ty::Bool), sub(dice, ty), sub(dice, ty)),
        3 => {
            let of = dice.pick(&[Ty::Int, Ty::Text]);
            format!("CASE {} WHEN {} THEN {} END", sub(dice, of), sub(dice, of), sub(dice, ty))
        }
        _ if ty == Ty::Bool => sub(dice, ty),
        _ => format!("{}({}, {})", dice.pick(&["GREATEST", "LEAST"]), sub(dice, ty), sub(dice, ty)),
    }
}

fn boolean(dice: &mut Dice, scope: &Scope, depth: u32) -> String {
    let sub = |dice: &mut Dice, ty| expr(dice, scope, ty, depth - 1);
    let of = dice.pick(&[Ty::Int, Ty::Dec, Ty::Text, Ty::Time]);
    match dice.below(13) {
        0..=2 => format!("({} {} {})", sub(dice, of), comparison(dice), sub(dice, of)),
        3 => format!("({} {} {})", sub(dice, Ty::Bool), dice.pick(&["AND", "OR"]), sub(dice, Ty::Bool)),
        4 => format!("({} {} {})", sub(dice, Ty::Int), dice.pick(&["=", "<", ">="]), sub(dice, Ty::Dec)),
        5 => format!("(NOT {})", sub(dice, Ty::Bool)),
        6 => format!("({} IS {}NULL)", sub(dice, of), dice.pick(&["", "NOT "])),
        7 => format!(
            "({} IS {}{})",
            sub(dice, Ty::Bool),
            dice.pick(&["", "NOT "]),
            dice.pick(&["TRUE", "FALSE", "UNKNOWN"])
        ),
        8 => {
            let list = [sub(dice, of), leaf(dice, scope, of), "NULL".to_owned()];
            let count = 1 + dice.below(3) as usize;
            format!("({} {}IN ({}))", sub(dice, of), dice.pick(&["", "NOT "]), list[..count].join(", "))
        }
        9 => {
            format!("({} {}BETWEEN {} AND {})", sub(dice, of), dice.pick(&["", "NOT "]), sub(dice, of), sub(dice, of))
        }
        10 => format!(
            "({} {}{} {})",
            sub(dice, Ty::Text),
            dice.pick(&["", "NOT "]),
            dice.pick(&["LIKE", "ILIKE"]),
            dice.pick(&[
                "'P%'",
                "'%E%'",
                "'_a%'",
                "''",
                "'10\\%'",
                "'%ö_e'",
                "'%i!%d' ESCAPE '!'",
                "'%!_!!' ESCAPE '!'"
            ])
        ),
        // Of an integer it is a double there, so that the halves are compared only.
        11 => format!(
            "({}({}) / 2 {} 0.5)",
            dice.pick(&["CEIL", "FLOOR", "TRUNC", "ROUND"]),
            leaf(dice, scope, Ty::Int),
            comparison(dice)
        ),
        _ => leaf(dice, scope, Ty::Bool),
    }
}
