//! Tables that are altered in mid-stream: columns are given more digits, renamed, dropped, added. What is not there any
//! more is unknown, and said once; no value is read by what its column was before.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::pairs::Converter;
use super::{Open, PARTITIONS, differences, settle, start};
use crate::real::binary::Shipped;
use crate::real::watch::Watch;
use crate::real::{AvroIds, Result, Source, Stack};

const NAMES: [&str; 2] = ["shop", "pay"];
const COLUMNS: [(&str, &str); 5] =
    [("amount", "numeric(12,2)"), ("many", "int"), ("gone", "text"), ("former", "text"), ("added", "text")];

/// Connectors that say how they write decimals, and one that does not; of each the two sides' modes.
const PAIRS: [(Converter, [&str; 2]); 3] = [
    (Converter::JsonWithSchemas, ["precise", "string"]),
    (Converter::Avro, ["double", "precise"]),
    (Converter::Json, ["string", "string"]),
];

fn source(stack: &Stack, number: usize, side: usize) -> Result<Source> {
    let (converter, modes) = PAIRS[number];
    let prefix = format!("altered{}{number}", NAMES[side]);
    let source = if side == 0 { Source::shop(stack, &prefix) } else { Source::pay(stack, &prefix) };
    let source = source.with_table("altered", 1).set("decimal.handling.mode", modes[side]);
    // Of a NaN, precise makes the end of the connector.
    let source = if side == 0 && modes[side] != "precise" { source.with_table("nan", 1) } else { source };
    Ok(match converter {
        Converter::Json => source,
        Converter::JsonWithSchemas => source.with_schemas(),
        Converter::Avro => source.with_avro(stack.registry()?, AvroIds::Confluent),
    })
}

fn configuration(stack: &Stack, sources: &[[Source; 2]]) -> Result<String> {
    let (mut connectors, mut tables, mut rules) = (String::new(), String::new(), String::new());
    for (number, (pair, (converter, modes))) in sources.iter().zip(PAIRS).enumerate() {
        for (side, source) in pair.iter().enumerate() {
            let (kind, heartbeat) = [("postgresql", "timestamptz"), ("mariadb", "timestamp(6)")][side];
            let mode = match converter {
                Converter::Json => format!(", decimal_handling_mode: {}", modes[side]),
                _ => String::new(),
            };
            let (name, beat) = (NAMES[side], source.heartbeat_topic());
            writeln!(
                connectors,
                "  {name}{number}: {{kind: {kind}, heartbeat: {{topic: {beat}, type: {heartbeat}}}{mode}}}"
            )?;
            let columns = COLUMNS.map(|(name, ty)| format!("{name}: \"{ty}\"")).join(", ");
            let mut table = |table: &str, columns: &str| {
                let topic = source.topic(table);
                writeln!(
                    tables,
                    "  {name}{number}_{table}: {{connector: {name}{number}, topic: {topic}, primary_key: id, key: id, \
                     columns: {{id: bigint, {columns}}}}}"
                )
            };
            table("altered", &columns)?;
            if source.topics().iter().any(|(topic, _)| *topic == source.topic("nan")) {
                table("nan", "amount: \"numeric(12,2)\"")?;
            }
        }
        for (column, _) in COLUMNS {
            writeln!(
                rules,
                "  - {{id: p{number}-{column}, grace: 1s, sql: \"SELECT a.id FROM shop{number}_altered a \
                 JOIN pay{number}_altered b ON b.id = a.id WHERE a.{column} IS DISTINCT FROM b.{column}\"}}"
            )?;
        }
    }
    let registry = stack.registry()?.confluent();
    Ok(format!(
        "reconciliation: altered\nkafka: {{bootstrap.servers: \"${{KAFKA_BOOTSTRAP_SERVERS}}\"}}\n\
         registry: {{url: \"{registry}\"}}\nslack: 1s\nstall_after: 60s\nheartbeat_interval: 1s\n\
         topics: {{partitions: {PARTITIONS}, replication_factor: 1}}\n\
         state: {{dir: \"${{EVENKEEL_STATE:-/nowhere}}\"}}\n\
         connectors:\n{connectors}sources:\n{tables}rules:\n{rules}"
    ))
}

/// Rows 1 and 3 are equal, 2 is not.
const BEFORE: [&str; 2] = [
    "(1, 12.34, 7, 'a', 'b'), (2, 12.34, 7, 'a', 'b'), (3, 12.34, 7, 'a', 'b')",
    "(1, 12.34, 7, 'a', 'b'), (2, 12.35, 8, 'x', 'y'), (3, 12.34, 7, 'a', 'b')",
];

const ALTER: [&str; 2] = [
    "alter table shop.altered alter amount type numeric(14,4), alter many type bigint, drop gone, add added text default 'n';
     alter table shop.altered rename former to latter",
    "alter table pay.altered modify amount decimal(14,4), modify many bigint, drop gone, add added varchar(9) default 'n';
     alter table pay.altered change former latter varchar(9)",
];

/// Rows 1 and 11 are equal, 3, 12 and 13 are not.
const AFTER: [[&str; 3]; 2] = [
    [
        "update shop.altered set amount = 12.5 where id = 1",
        "update shop.altered set amount = 12.3401 where id = 3",
        "insert into shop.altered (id, amount, many, latter, added) values (11, 12.3456, 5000000000, 'l', null), \
         (12, 12.3456, 5000000000, 'l', 'x'), (13, 1.50, 5000000000, 'l', 'x')",
    ],
    [
        "update pay.altered set amount = 12.50 where id = 1",
        "update pay.altered set amount = 12.3402 where id = 3",
        "insert into pay.altered (id, amount, many, latter, added) values (11, 12.3456, 5000000000, 'm', null), \
         (12, 12.3457, 5000000001, 'm', 'y'), (13, 1.51, 5000000001, 'm', 'y')",
    ],
];

/// What is open of the rows, a rule a column.
fn open(rows: &[(usize, &[usize], &[&str])]) -> Open {
    let mut open = Open::new();
    for (row, pairs, columns) in rows {
        let rules = pairs.iter().flat_map(|pair| columns.iter().map(move |column| format!("p{pair}-{column}")));
        open.entry(row.to_string()).or_default().extend(rules);
    }
    open
}

fn altered() -> Result {
    let stack = crate::real::stack();
    let stack: &Stack = &stack;
    let folder = tempfile::tempdir()?;
    let columns =
        |text: &str| format!("(id bigint primary key, amount decimal(12,2), many int, gone {text}, former {text})");
    stack.pg(&format!("create table shop.altered {}", columns("text")))?;
    stack.pg("create table shop.nan (id bigint primary key, amount numeric(12,2))")?;
    stack.maria(&format!("create table pay.altered {}", columns("varchar(9)")))?;
    let pair = |number| -> Result<[Source; 2]> { Ok([source(stack, number, 0)?, source(stack, number, 1)?]) };
    let sources = [pair(0)?, pair(1)?, pair(2)?];
    let all: Vec<&Source> = sources.iter().flatten().collect();
    let binary = Shipped::of(configuration(stack, &sources)?).binary(stack, folder.path())?;
    start(stack, &all)?;
    binary.start()?;
    let mut watch = Watch::begin(stack, "evenkeel.altered")?;
    let mut compare = |expected: Open| -> Result {
        settle(stack, &mut watch)?;
        let differences = differences(&watch.open, &expected);
        assert!(differences.is_empty(), "{differences}");
        Ok(())
    };
    let every: &[usize] = &[0, 1, 2];
    stack.pg(&format!("insert into shop.altered values {}", BEFORE[0]))?;
    stack.maria(&format!("insert into pay.altered values {}", BEFORE[1]))?;
    let was: (usize, &[usize], &[&str]) = (2, every, &["amount", "many", "gone", "former"]);
    compare(open(&[was]))?;

    stack.pg(ALTER[0])?;
    stack.maria(ALTER[1])?;
    for (shop, pay) in AFTER[0].iter().zip(AFTER[1]) {
        stack.pg(shop)?;
        stack.maria(pay)?;
    }
    stack.pg("insert into shop.nan values (21, 'NaN')")?;
    // A double of more places than are declared is not rounded: its rows are as they were, which is found, or not there.
    compare(open(&[
        was,
        (3, every, &["amount"]),
        (12, &[0, 2], &["amount", "many", "added"]),
        (13, every, &["amount", "many", "added"]),
    ]))?;
    let refused = |record: &serde_json::Value| format!("{} {}", record["source"], record["detail"]);
    let refused: BTreeSet<String> = watch.quarantined.iter().map(refused).collect();
    let column = "column \\\"amount\\\" as numeric(_,2):";
    let places = |number: &str| {
        format!("\"shop1_altered\" \"{column} a number of more digits than are declared, found {number}\"")
    };
    let nan = |pair: usize, why: &str| format!("\"shop{pair}_nan\" \"{column} {why}\"");
    let expected = [
        places("12.3401"),
        places("12.3456"),
        nan(1, "expected a decimal, found NaN"),
        nan(2, "expected a decimal, found \\\"NAN\\\""),
    ];
    assert_eq!(refused, expected.into(), "{:?}", watch.quarantined);

    // Three columns are not there: one not yet, two not any more.
    let log = std::fs::read_to_string(folder.path().join("evenkeel.log"))?;
    let said: Vec<&str> = log.lines().filter(|line| line.contains("events lack this kept column")).collect();
    let missing: BTreeSet<String> = said
        .iter()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .map(|line| format!("{} {}", line["fields"]["source"], line["fields"]["column"]))
        .collect();
    assert_eq!((said.len(), missing.len()), (18, 18), "each is said once: {said:#?}");
    binary.stop()?;
    all.iter().try_for_each(|source| stack.remove_source(source))
}

#[test]
#[ignore = "real stack"]
fn real_types_that_are_altered_in_mid_stream() {
    altered().expect("the stack works");
}
