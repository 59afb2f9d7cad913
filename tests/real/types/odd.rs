//! Values that only one of the databases has, held against what each is as text; and those of which Debezium makes
//! another, so that nobody can tell any more.

use super::pairs::Pair;
use super::{Open, Way};
use crate::real::{Result, Stack};

/// A column of a side's table: its name, its DDL, as it is declared.
type Odd = (&'static str, &'static str, &'static str);

const SHOP: [Odd; 4] = [
    ("day", "date", "date"),
    ("ts3", "timestamp(3)", "timestamp(3)"),
    ("ts6", "timestamp(6)", "timestamp(6)"),
    ("tz6", "timestamptz", "timestamptz"),
];

const PAY: [Odd; 6] = [
    ("day", "date null", "date"),
    ("dayn", "date not null", "date"),
    ("ts3", "datetime(3) null", "datetime(3)"),
    ("ts6", "datetime(6) null", "datetime(6)"),
    ("tz6", "timestamp(6) null default null", "timestamp(6)"),
    ("t6", "time(6) null", "time(6)"),
];

/// A value of a column: its literal, and what it is as text.
type Value = (&'static str, &'static str, Option<&'static str>);

/// The last of each column is said to be something else: its rule must find it.
const SHOP_VALUES: [Value; 22] = [
    ("day", "'infinity'", Some("infinity")),
    ("day", "'-infinity'", Some("-infinity")),
    ("day", BEFORE_CHRIST, Some("0044-03-15 BC")),
    ("day", LEFT_OUT, Some("1582-10-10")),
    ("day", "'0001-01-01'", Some("0001-01-01")),
    ("day", "'5874897-12-31'", Some("5874897-12-31")),
    ("day", "'2024-02-29'", Some(WRONG)),
    ("ts3", "'infinity'", Some("infinity")),
    ("ts3", "'-infinity'", Some("-infinity")),
    ("ts3", "'2024-02-29 12:34:56.789'", Some(WRONG)),
    ("ts6", "'infinity'", Some("infinity")),
    ("ts6", "'-infinity'", Some("-infinity")),
    ("ts6", "'0044-03-15 12:00:00 BC'", Some("0044-03-15 12:00:00 BC")),
    ("ts6", "'0001-01-01 00:00:00'", Some("0001-01-01 00:00:00")),
    ("ts6", LAST, Some("294276-12-31 23:59:59.999999")),
    ("ts6", "'2024-02-29 12:34:56.789'", Some(WRONG)),
    ("tz6", "'infinity'", Some("infinity")),
    ("tz6", "'-infinity'", Some("-infinity")),
    ("tz6", "'0044-03-15 12:00:00+00 BC'", Some("0044-03-15 12:00:00+00 BC")),
    ("tz6", "'0001-01-01 00:00:00+00'", Some("0001-01-01 00:00:00+00")),
    ("tz6", LAST, Some("294276-12-31 23:59:59.999999+00")),
    ("tz6", "'2024-02-29 12:34:56+00'", Some(WRONG)),
];

const PAY_VALUES: [Value; 17] = [
    ("day", ZERO, None),
    ("day", "'2024-00-00'", None),
    ("day", "'0001-01-01'", Some("0001-01-01")),
    ("day", "'2024-02-29'", Some(WRONG)),
    // A zero that may not be NULL is the epoch.
    ("dayn", ZERO, Some("1970-01-01")),
    ("dayn", "'2024-02-29'", Some(WRONG)),
    ("ts3", ZERO, None),
    ("ts3", "'2024-02-29 12:34:56'", Some(WRONG)),
    ("ts6", ZERO, None),
    ("ts6", "'2024-02-29 12:34:56'", Some(WRONG)),
    ("tz6", ZERO, None),
    ("tz6", "'2024-02-29 12:34:56'", Some(WRONG)),
    ("t6", "'-838:59:59'", Some("-838:59:59")),
    ("t6", "'838:59:58.999999'", Some("838:59:58.999999")),
    ("t6", "'-00:00:01.5'", Some("-00:00:01.5")),
    ("t6", "'-12:34:56'", Some("-12:34:56")),
    ("t6", "'12:34:56'", Some(WRONG)),
];

const WRONG: &str = "something else";
const ZERO: &str = "'0000-00-00'";
const BEFORE_CHRIST: &str = "'0044-03-15 BC'";
/// Of the days that the calendar left out.
const LEFT_OUT: &str = "'1582-10-10'";
/// Of PostgreSQL, beyond 64 bits of microseconds.
const LAST: &str = "'294276-12-31 23:59:59.999999+00'";

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Read,
    /// Its record is quarantined.
    Refused,
    /// What arrives is another value, or NULL, and does not show it.
    Other,
}

fn fate(pair: &Pair, side: usize, way: Way, (column, literal, said): Value) -> Fate {
    let mode = pair.modes[side].time;
    let is_infinite = literal.contains("infinity");
    match (side, column) {
        _ if said == Some(WRONG) => Fate::Other,
        // To JDBC a date has no era, and the calendar of its time.
        (0, "day") if way == Way::Snapshot && [BEFORE_CHRIST, LEFT_OUT].contains(&literal) => Fate::Other,
        // Nanoseconds are of the years 1677 to 2262: Debezium logs a warning and writes NULL.
        (0, "ts6") if mode == "nanoseconds" && !is_infinite => Fate::Other,
        (0, _) if literal == LAST => Fate::Refused,
        // Years of two digits are taken for those of our time.
        (1, "day") if literal == "'0001-01-01'" && !pair.keeps_years => Fate::Other,
        // Though it could be NULL.
        (1, "tz6") if literal == ZERO && way != Way::Snapshot => Fate::Other,
        // These two have no times beyond a day: again a warning and NULL.
        (1, "t6") if ["connect", "isostring"].contains(&mode) => Fate::Other,
        _ => Fate::Read,
    }
}

fn odds(side: usize) -> &'static [Odd] {
    if side == 0 { &SHOP } else { &PAY }
}

fn values(side: usize) -> &'static [Value] {
    if side == 0 { &SHOP_VALUES } else { &PAY_VALUES }
}

/// Beyond the ids of the equal rows and of the twins.
fn id(way: Way, side: usize, number: usize) -> usize {
    way.first() + 5_000 + 2_000 * side + number
}

pub fn declared(side: usize) -> impl Iterator<Item = (&'static str, &'static str)> {
    let columns = odds(side).iter().map(|(name, _, declared)| (*name, *declared));
    columns.chain([("odd", "text"), ("said", "text")])
}

pub fn create(stack: &Stack) -> Result {
    stack.pg("drop table if exists shop.odd")?;
    for (side, table) in ["shop.odd", "pay.odd"].iter().enumerate() {
        let columns: Vec<String> = odds(side).iter().map(|(name, ty, _)| format!("{name} {ty}")).collect();
        let sql =
            format!("create table {table} (id bigint primary key, {}, odd text, said text)", columns.join(", "));
        if side == 0 {
            stack.pg(&sql)?
        } else {
            stack.maria(&sql)?
        };
    }
    Ok(())
}

pub fn write(stack: &Stack, way: Way) -> Result {
    let mut pay = stack.maria_session()?;
    // Zero dates are taken only so.
    pay.query("set sql_mode = ''; set time_zone = '+00:00'")?;
    for (side, table) in ["shop.odd", "pay.odd"].iter().enumerate() {
        for (number, (column, literal, said)) in values(side).iter().enumerate() {
            let id = id(way, side, number);
            let said = said.map_or("null".to_owned(), |said| format!("'{said}'"));
            let sql = match way {
                Way::Snapshot | Way::Insert => format!(
                    "insert into {table} (id, {column}, odd, said) values ({id}, {literal}, '{column}', {said})"
                ),
                Way::Update => format!(
                    "insert into {table} (id) values ({id});
                     update {table} set {column} = {literal}, odd = '{column}', said = {said} where id = {id}"
                ),
            };
            if side == 0 {
                stack.pg(&sql)?
            } else {
                pay.query(&sql)?
            };
        }
    }
    Ok(())
}

fn rule(pair: &Pair, side: usize, column: &str) -> String {
    format!("{}-odd-{side}", pair.rule(column))
}

/// A rule a column.
pub fn rules(pair: &Pair, side: usize) -> impl Iterator<Item = (String, String)> {
    odds(side).iter().map(move |(name, _, _)| {
        let table = pair.name(side, "odd");
        let sql = format!("SELECT id FROM {table} WHERE odd = '{name}' AND {name}::text IS DISTINCT FROM said");
        (rule(pair, side, name), sql)
    })
}

/// What must be open, and by source and column the records that must be in quarantine.
pub fn expected(pair: &Pair, way: Way, open: &mut Open, refused: &mut Vec<(String, String)>) {
    for side in 0..2 {
        for (number, value) in values(side).iter().enumerate() {
            match fate(pair, side, way, *value) {
                Fate::Read => {}
                Fate::Refused => refused.push((pair.name(side, "odd"), value.0.to_owned())),
                Fate::Other => {
                    open.entry(id(way, side, number).to_string()).or_default().insert(rule(pair, side, value.0));
                }
            }
        }
    }
}
