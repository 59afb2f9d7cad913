//! The same value in both databases is the same to a rule, whatever the connectors make of it on the way: each type that
//! both can keep, through real Debezium in each of its modes and in each format.
//!
//! Every value stands in three rows: one that was there before the connectors, which a snapshot reads, one that is
//! inserted, and one that is updated. Beside them stand rows that differ in one column each, by as little as they can;
//! of all rules exactly those of these columns must find these rows.

mod altered;
mod columns;
mod odd;
mod pairs;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use self::columns::{Column, columns};
use self::pairs::{Pair, pairs};
use super::binary::Shipped;
use super::product::instant;
use super::watch::Watch;
use super::{Result, Source, Stack};

const PARTITIONS: usize = 2;
const LIMIT: Duration = Duration::from_secs(120);

/// By key, the rules that find it.
type Open = BTreeMap<String, BTreeSet<String>>;

/// How a row comes to its topic; each has ids of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Snapshot,
    Insert,
    Update,
}

impl Way {
    const ALL: [Way; 3] = [Way::Snapshot, Way::Insert, Way::Update];

    fn first(self) -> usize {
        10_000 * (self as usize + 1)
    }
}

/// Ids of rows that differ in a column begin here.
const TWINS: usize = 1_000;

/// A row's literals for one side.
type Row = Vec<String>;

/// The rows of a side by id: those that are equal, then those that are not.
fn rows(columns: &[Column], side: usize) -> (BTreeMap<usize, Row>, BTreeMap<usize, Row>) {
    let count = columns.iter().map(|column| column.equal.len()).max().unwrap_or_default();
    let row = |number: usize| {
        columns.iter().map(|column| column.equal[number % column.equal.len()][side].clone()).collect()
    };
    let twin = |different: usize| {
        let mut row: Row = row(0);
        row[different] = columns[different].unequal[side].clone();
        row
    };
    (
        (0..count).map(|number| (number, row(number))).collect(),
        (0..columns.len()).map(|number| (TWINS + number, twin(number))).collect(),
    )
}

fn insert(table: &str, first: usize, rows: &BTreeMap<usize, Row>) -> String {
    let rows: Vec<String> = rows.iter().map(|(id, row)| format!("({}, {})", first + id, row.join(", "))).collect();
    format!("insert into {table} values {}", rows.join(", "))
}

/// What brings a side's rows into its table in one way.
fn statements(columns: &[Column], side: usize, way: Way) -> Vec<String> {
    let table = ["shop.types", "pay.types"][side];
    let (equal, twins) = rows(columns, side);
    let all: BTreeMap<usize, Row> = equal.into_iter().chain(twins).collect();
    if way != Way::Update {
        return vec![insert(table, way.first(), &all)];
    }
    // They begin as NULLs, and differ from nothing.
    let bare = all.keys().map(|id| (*id, vec!["null".to_owned(); columns.len()])).collect();
    let mut statements = vec![insert(table, way.first(), &bare)];
    for (id, row) in &all {
        let set: Vec<String> =
            columns.iter().zip(row).map(|(column, value)| format!("{} = {value}", column.name)).collect();
        statements.push(format!("update {table} set {} where id = {}", set.join(", "), way.first() + id));
    }
    statements
}

fn create(columns: &[Column], side: usize) -> String {
    let lines: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {} {}", column.name, column.types[side], column.rest[side]))
        .collect();
    let key = "id bigint primary key";
    format!("create table {} ({key}, {})", ["shop.types", "pay.types"][side], lines.join(", "))
}

/// Both databases in zones that are not UTC, for those that connect from now on; as they were once it is dropped.
struct Zones<'s>(&'s Stack);

impl Zones<'_> {
    fn set(stack: &Stack) -> Result<Zones<'_>> {
        let zones = Zones(stack);
        stack.pg("alter role postgres set timezone = 'Asia/Kolkata'")?;
        stack.maria("set global time_zone = '+05:30'")?;
        Ok(zones)
    }
}

impl Drop for Zones<'_> {
    fn drop(&mut self) {
        let reset =
            [self.0.pg("alter role postgres reset timezone"), self.0.maria("set global time_zone = '+00:00'")];
        assert!(std::thread::panicking() || reset.iter().all(Result::is_ok), "the zones are reset");
    }
}

/// Writes rows in one way to both databases.
fn write(stack: &Stack, columns: &[Column], way: Way) -> Result {
    let (mut shop, mut pay) = (stack.pg_session()?, stack.maria_session()?);
    shop.query("set timezone = 'Asia/Kolkata'")?;
    pay.query("set time_zone = '+05:30'")?;
    for statement in statements(columns, 0, way) {
        shop.query(&statement)?;
    }
    for statement in statements(columns, 1, way) {
        pay.query(&statement)?;
    }
    odd::write(stack, way)
}

/// Starts connectors beside each other.
fn start(stack: &Stack, sources: &[&Source]) -> Result {
    std::thread::scope(|scope| {
        let starts: Vec<_> = sources.iter().map(|source| scope.spawn(|| stack.start_source(source))).collect();
        starts.into_iter().try_for_each(|start| start.join().expect("starting a source does not panic"))
    })
}

fn configuration(stack: &Stack, name: &str, columns: &[Column], pairs: &[Pair]) -> Result<String> {
    let mut text = format!(
        "reconciliation: {name}\nkafka: {{bootstrap.servers: \"${{KAFKA_BOOTSTRAP_SERVERS}}\"}}\nregistry: {{url: \"{}\"}}\n\
         slack: 1s\nstall_after: 60s\nheartbeat_interval: 1s\ntopics: {{partitions: {PARTITIONS}, replication_factor: 1}}\n\
         state: {{dir: \"${{EVENKEEL_STATE:-/nowhere}}\"}}\n",
        stack.registry()?.native(2)
    );
    let (mut connectors, mut sources, mut rules) = (String::new(), String::new(), String::new());
    for pair in pairs {
        for side in 0..2 {
            pair.declare(side, &mut connectors);
            let types =
                columns.iter().filter(|column| pair.keeps(column)).map(|column| (column.name, column.declared[side]));
            pair.source(side, "types", types, &mut sources);
            pair.source(side, "odd", odd::declared(side), &mut sources);
            for (rule, sql) in odd::rules(pair, side) {
                writeln!(rules, "  - {{id: {rule}, grace: 1s, sql: \"{sql}\"}}")?;
            }
        }
        for column in columns.iter().filter(|column| pair.keeps(column)) {
            writeln!(
                rules,
                "  - id: {}\n    grace: 1s\n    sql: SELECT a.id FROM {} a JOIN {} b ON b.id = a.id WHERE {} IS DISTINCT FROM {}",
                pair.rule(column.name),
                pair.name(0, "types"),
                pair.name(1, "types"),
                column.compared("a"),
                column.compared("b")
            )?;
        }
    }
    write!(text, "connectors:\n{connectors}sources:\n{sources}rules:\n{rules}")?;
    Ok(text)
}

/// What must be open once rows have come in all ways, and of which sources' columns records must be in quarantine.
fn expected(columns: &[Column], pairs: &[Pair]) -> (Open, Vec<(String, String)>) {
    let (mut open, mut refused) = (Open::new(), Vec::new());
    let (equal, _) = rows(columns, 0);
    for (pair, way) in pairs.iter().flat_map(|pair| Way::ALL.map(|way| (pair, way))) {
        for (number, column) in columns.iter().enumerate().filter(|(_, column)| pair.keeps(column)) {
            let twin = pair.tells(column).then_some(TWINS + number);
            let value = |row: &usize| &column.equal[row % column.equal.len()][0];
            let lost = equal.keys().filter(|row| pair.loses(column, value(row))).copied();
            for row in twin.into_iter().chain(lost) {
                open.entry((way.first() + row).to_string()).or_default().insert(pair.rule(column.name));
            }
        }
        odd::expected(pair, way, &mut open, &mut refused);
    }
    refused.sort();
    (open, refused)
}

/// Of which sources' columns records are in quarantine.
fn refused(watch: &Watch) -> Vec<(String, String)> {
    let of = |record: &serde_json::Value| {
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(text("reason"), "bad_value", "{record}");
        let detail = text("detail");
        (text("source"), detail.split('"').nth(1).unwrap_or_default().to_owned())
    };
    let mut all: Vec<(String, String)> = watch.quarantined.iter().map(of).collect();
    all.sort();
    all
}

/// Reads until all that was written so far is beyond the rules' grace, and all that was said of it.
fn settle(stack: &Stack, watch: &mut Watch) -> Result {
    let beyond = instant(stack, 2)?;
    watch.until("settling", LIMIT, |watch| watch.has_settled(PARTITIONS, &beyond))?;
    watch.read_all(stack, LIMIT)
}

fn differences(got: &Open, expected: &Open) -> String {
    let mut told = String::new();
    let pairs = |open: &Open| -> BTreeSet<(String, String)> {
        open.iter().flat_map(|(key, rules)| rules.iter().map(move |rule| (rule.clone(), key.clone()))).collect()
    };
    let (got, expected) = (pairs(got), pairs(expected));
    for (rule, key) in expected.difference(&got) {
        let _ = writeln!(told, "{rule} does not find {key}");
    }
    for (rule, key) in got.difference(&expected) {
        let _ = writeln!(told, "{rule} finds {key}");
    }
    told
}

fn types(stack: &Stack, name: &str) -> Result {
    let folder = tempfile::tempdir()?;
    let (mut columns, pairs) = (columns(), pairs(stack, name)?);
    // MySQL has no such type.
    columns.retain(|column| column.types[1] != "uuid" || !stack.is_paid_by_mysql());
    let _zones = Zones::set(stack)?;
    stack.pg("drop table if exists shop.types")?;
    stack.pg("drop type if exists shop.kind")?;
    stack.pg("create type shop.kind as enum ('NEW', 'PAID', 'in part')")?;
    stack.pg(&create(&columns, 0))?;
    stack.maria(&create(&columns, 1))?;
    odd::create(stack)?;
    write(stack, &columns, Way::Snapshot)?;
    let binary = Shipped::of(configuration(stack, name, &columns, &pairs)?).binary(stack, folder.path())?;
    let sources: Vec<&Source> = pairs.iter().flat_map(|pair| &pair.sources).collect();
    start(stack, &sources)?;
    binary.start()?;
    let mut watch = Watch::begin(stack, &format!("evenkeel.{name}"))?;
    write(stack, &columns, Way::Insert)?;
    write(stack, &columns, Way::Update)?;
    settle(stack, &mut watch)?;
    let (open, quarantined) = expected(&columns, &pairs);
    let differences = differences(&watch.open, &open);
    assert!(differences.is_empty(), "{differences}");
    assert_eq!(refused(&watch), quarantined, "{:?}", watch.quarantined);
    binary.stop()?;
    sources.iter().try_for_each(|source| stack.remove_source(source))
}

#[test]
#[ignore = "real stack"]
fn real_types_mean_the_same_in_both_databases() {
    types(&super::stack(), "types").expect("the stack works");
}

#[test]
#[ignore = "real stack"]
fn real_types_mean_the_same_in_mysql() {
    let stack = super::stack();
    let mysql = stack.paid_by_mysql().expect("MySQL starts");
    if mysql.is_some() {
        types(&stack, "mytypes").expect("the stack works");
    }
}
