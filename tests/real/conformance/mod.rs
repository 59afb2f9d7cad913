//! What a rule's SQL means is what PostgreSQL says: queries by chance over rows by chance, asked there and here.
//!
//! `EVENKEEL_SEED` and `EVENKEEL_QUERIES` choose others.

mod forms;
mod queries;

use std::collections::BTreeMap;

use evenkeel::domain::catalog::{Catalog, Column, LookupTable, SourceTable};
use evenkeel::domain::sql::{Cause, Query, parse_value, to_text};
use evenkeel::domain::value::{Type, Value};

use super::{Result, Stack};
use crate::support::dice::Dice;

/// Each key is a row set of its own.
const KEYS: i64 = 40;

const QUERIES: u64 = 400;

const DECIMAL: Type = Type::Decimal { scale: Some(2) };

fn catalog() -> Catalog {
    let columns = |all: &[(&str, Type)]| -> Vec<Column> {
        all.iter().map(|(name, ty)| Column { name: (*name).to_owned(), ty: *ty }).collect()
    };
    let orders = [
        ("order_id", Type::Int),
        ("status", Type::Text),
        ("total", DECIMAL),
        ("currency", Type::Text),
        ("quantity", Type::Int),
        ("paid", Type::Bool),
        ("at", Type::TimestampTz),
    ];
    let payments = [
        ("id", Type::Int),
        ("order_id", Type::Int),
        ("kind", Type::Text),
        ("amount", DECIMAL),
        ("fee", Type::Decimal { scale: Some(4) }),
        ("quantity", Type::Int),
        ("done", Type::Bool),
        ("at", Type::TimestampTz),
    ];
    let refunds = [
        ("id", Type::Int),
        ("order_id", Type::Int),
        ("kind", Type::Text),
        ("amount", Type::Int),
        ("quantity", Type::Int),
        ("at", Type::TimestampTz),
        ("day", Type::Date),
    ];
    let source = |name: &str, all: &[(&str, Type)], key| SourceTable {
        name: name.to_owned(),
        columns: columns(all),
        key,
        primary_key: vec![0],
    };
    let limits = LookupTable {
        name: "limits".to_owned(),
        columns: columns(&[("currency", Type::Text), ("kind", Type::Text), ("most", DECIMAL)]),
        rows: [
            ("EUR", "CAPTURE", "10.00"),
            ("EUR", "REFUND", "5.50"),
            ("USD", "CAPTURE", "0.00"),
            ("EUR", "CAPTURE", "7.25"),
        ]
        .map(|(currency, kind, most)| {
            vec![Value::text(currency), Value::text(kind), parse_value(most, DECIMAL).expect("a decimal")]
        })
        .into(),
    };
    Catalog {
        sources: vec![source("orders", &orders, 0), source("payments", &payments, 1), source("refunds", &refunds, 1)],
        lookups: vec![limits],
    }
}

/// A value by chance, often NULL, from few enough that they meet.
fn value(dice: &mut Dice, ty: Type) -> Option<String> {
    if dice.once_in(4) {
        return None;
    }
    let texts = ["PAID", "PENDING", "CAPTURE", "REFUND", "", "10%", "Größe", " a b"];
    let text = match ty {
        Type::Int => dice.between(-3, 12).to_string(),
        Type::Bool => dice.pick(&["t", "f"]).to_owned(),
        Type::TimestampTz => dice
            .pick(&[
                "2026-01-02 03:04:05.678901+00",
                "2026-02-28 22:00:00+00",
                "2025-12-31 23:59:59.5+00",
                "1999-12-31 23:59:58.5+00",
                "9999-12-31 23:59:59+00",
                "infinity",
            ])
            .to_owned(),
        Type::Date => dice.pick(&["2026-01-02", "2026-03-01", "9999-12-31", "-infinity"]).to_owned(),
        Type::Decimal { scale: Some(4) } => format!("{}.{:04}", dice.between(-2, 3), dice.below(10_000)),
        Type::Decimal { .. } => dice.pick(&["0.00", "10.00", "5.50", "-2.50", "3.33", "100.10", "7.25"]).to_owned(),
        _ => dice.pick(&texts).to_owned(),
    };
    Some(text)
}

type Texts = Vec<Option<String>>;

/// The rows of each source.
type Sides<Row> = [Vec<Row>; 3];

/// What PostgreSQL says of one key, or the error that it raises.
type Answer = std::result::Result<Vec<Texts>, String>;

/// For each key, the rows of each source as PostgreSQL's text.
fn rows(dice: &mut Dice, catalog: &Catalog) -> BTreeMap<i64, Sides<Texts>> {
    let mut next_id = 0;
    let mut row = |dice: &mut Dice, source: usize, key: i64| -> Texts {
        let table = &catalog.sources[source];
        let cell = |(index, column): (usize, &Column)| match (column.name.as_str(), index == table.key) {
            (_, true) => Some(key.to_string()),
            ("id", _) => {
                next_id += 1;
                Some(next_id.to_string())
            }
            ("currency", _) => Some(dice.pick(&["EUR", "USD", "CHF"]).to_owned()),
            ("kind", _) if dice.once_in(2) => Some(dice.pick(&["CAPTURE", "REFUND"]).to_owned()),
            _ => value(dice, column.ty),
        };
        table.columns.iter().enumerate().map(cell).collect()
    };
    let mut of = |dice: &mut Dice, key: i64| {
        let (orders, payments) = (dice.pick(&[0, 1, 1, 1]), dice.below(5));
        let orders = (0..orders).map(|_| row(dice, 0, key)).collect();
        let payments = (0..payments).map(|_| row(dice, 1, key)).collect();
        [orders, payments, (0..dice.below(3)).map(|_| row(dice, 2, key)).collect()]
    };
    (1..=KEYS).map(|key| (key, of(dice, key))).collect()
}

fn literal(text: &Option<String>) -> String {
    text.as_ref().map_or("null".to_owned(), |text| format!("'{}'", text.replace('\'', "''")))
}

/// The tables in PostgreSQL, and a view of each that shows the rows of one key.
fn load(stack: &Stack, catalog: &Catalog, rows: &BTreeMap<i64, Sides<Texts>>) -> Result {
    stack.pg("drop schema if exists all_keys cascade; drop schema if exists one_key cascade;
        create schema all_keys; create schema one_key;
        create table all_keys.orders (order_id bigint primary key, status text, total numeric(12,2), currency text,
            quantity bigint, paid boolean, at timestamptz);
        create table all_keys.payments (id bigint primary key, order_id bigint, kind text, amount numeric(12,2),
            fee numeric(12,4), quantity bigint, done boolean, at timestamptz);
        create table all_keys.refunds (id bigint primary key, order_id bigint, kind text, amount bigint,
            quantity bigint, at timestamptz, day date);
        create table all_keys.limits (currency text, kind text, most numeric(12,2));
        create view one_key.limits as select * from all_keys.limits")?;
    for (source, table) in catalog.sources.iter().enumerate() {
        let name = &table.name;
        stack.pg(&format!(
            "create view one_key.{name} as select * from all_keys.{name} where order_id = current_setting('one.key')::bigint"
        ))?;
        for row in rows.values().flat_map(|sides| &sides[source]) {
            let values: Vec<String> = row.iter().map(literal).collect();
            stack.pg(&format!("insert into all_keys.{name} values ({})", values.join(", ")))?;
        }
    }
    for row in &catalog.lookups[0].rows {
        let values: Vec<String> = row.iter().map(|value| literal(&Some(to_text(value)))).collect();
        stack.pg(&format!("insert into all_keys.limits values ({})", values.join(", ")))?;
    }
    Ok(())
}

/// What PostgreSQL says for each key.
fn asked(stack: &Stack, sql: &str) -> BTreeMap<i64, Answer> {
    let mut answers: BTreeMap<i64, Answer> = (1..=KEYS).map(|key| (key, Ok(Vec::new()))).collect();
    let take = |row: &[Option<String>]| -> (i64, Texts) {
        let key = row[0].as_ref().expect("a row has a key").parse().expect("a key is a number");
        (key, row.to_vec())
    };
    if let Ok(rows) = stack.pg(&format!("set search_path = all_keys; {sql}")) {
        for row in &rows {
            let (key, row) = take(row);
            answers.get_mut(&key).expect("a known key").as_mut().expect("no error").push(row);
        }
        return answers;
    }
    for (key, answer) in &mut answers {
        let rows = stack.pg(&format!("set search_path = one_key; set one.key = '{key}'; {sql}"));
        *answer = rows.map(|rows| rows.iter().map(|row| take(row).1).collect()).map_err(|error| error.to_string());
    }
    answers
}

/// What a compiled query says of one key, as PostgreSQL's text.
fn answered(query: &Query, rows: &Sides<Vec<Value>>) -> Answer {
    let slices = rows.each_ref().map(|rows| rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let tables: Vec<&[&[Value]]> = slices.iter().map(Vec::as_slice).collect();
    let answer = query.evaluate(&tables);
    match answer.cannot_compare {
        Some(Cause::Error(error)) => return Err(error.to_string()),
        Some(Cause::Unknown | Cause::Unconfirmed) => panic!("nothing is unknown here"),
        None => {}
    }
    let text = |value: &Value| match value {
        Value::Null => None,
        // A result's booleans are shorter than those of a cast.
        Value::Bool(value) => Some(if *value { "t" } else { "f" }.to_owned()),
        other => Some(to_text(other)),
    };
    Ok(answer.rows.iter().map(|row| row.iter().map(text).collect()).collect())
}

fn conform(stack: &Stack, seed: u64, queries: u64) -> Result {
    let mut dice = Dice::new(seed);
    let catalog = catalog();
    let texts = rows(&mut dice, &catalog);
    load(stack, &catalog, &texts)?;
    let parse = |source: usize, row: &Texts| -> Vec<Value> {
        let columns = catalog.sources[source].columns.iter().zip(row);
        let value = |(column, text): (&Column, &Option<String>)| match text {
            Some(text) => parse_value(text, column.ty).unwrap_or_else(|_| panic!("{text} is a {}", column.ty)),
            None => Value::Null,
        };
        columns.map(value).collect()
    };
    let (mut pairs, mut refused, mut raised, mut wrong) = (0_u64, 0_u64, 0_u64, 0_u64);
    for number in 0..queries {
        let sql = queries::query(&mut dice);
        let replay = format!(
            "query {number}: EVENKEEL_SEED={seed} EVENKEEL_QUERIES={queries} cargo test --test it -- --ignored \
             --nocapture real_sql\n{sql}"
        );
        // What is no query there is none here.
        let there = stack.pg(&format!("set search_path = all_keys; prepare it as {sql}; deallocate it"));
        let query = match Query::compile(&sql, &catalog) {
            Ok(query) => {
                if let Err(error) = there {
                    panic!("{replay}\nPostgreSQL {error}\nEvenkeel   takes it");
                }
                query
            }
            Err(_) if there.is_err() => {
                wrong += 1;
                continue;
            }
            Err(errors) => {
                eprintln!("refused: {errors:?}\n{sql}");
                refused += 1;
                continue;
            }
        };
        for (key, expected) in asked(stack, &sql) {
            let sides = &texts[&key];
            let values =
                [0, 1, 2].map(|source| sides[source].iter().map(|row| parse(source, row)).collect::<Vec<_>>());
            let mut got = answered(&query, &values);
            let mut expected = expected;
            raised += u64::from(expected.is_err());
            got.iter_mut().chain(&mut expected).for_each(|rows| rows.sort());
            let equal = got == expected || (got.is_err() && expected.is_err());
            assert!(equal, "{replay}\nrows {sides:?}\nPostgreSQL {expected:?}\nEvenkeel   {got:?}");
            pairs += 1;
        }
    }
    eprintln!(
        "{pairs} pairs equal, of them {raised} errors in both; of {queries} queries {wrong} were wrong in both, \
         {refused} were refused"
    );
    assert!(queries < QUERIES || pairs >= 5_000, "{pairs} pairs are too few");
    assert!(refused * 100 <= queries, "{refused} of {queries} queries were refused");
    stack.pg("set search_path = public; drop schema one_key cascade; drop schema all_keys cascade")?;
    Ok(())
}

#[test]
#[ignore = "real stack"]
fn real_sql_means_what_postgresql_says() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let stack = super::stack();
    conform(&stack, number("EVENKEEL_SEED").unwrap_or(1), number("EVENKEEL_QUERIES").unwrap_or(QUERIES))
        .expect("the stack works");
}
