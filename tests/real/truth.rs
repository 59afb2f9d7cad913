//! What PostgreSQL itself says of both databases' rows: each rule's SQL, run as it stands over copies of the tables.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel::domain::catalog::LookupTable;
use evenkeel::domain::value::Value;
use serde_json::Value as Json;

use super::{Result, Stack};

/// For each rule, the keys for which it returns rows now.
pub type Truth = BTreeMap<String, BTreeSet<String>>;

/// Copies both sides into a schema of PostgreSQL and asks every rule of some rule files.
pub fn truth(stack: &Stack, files: &[Json], lookups: &[LookupTable]) -> Result<Truth> {
    stack.pg("drop schema if exists truth cascade; create schema truth;
        create table truth.orders as select * from shop.orders;
        alter table truth.orders add primary key (order_id);
        create table truth.payments(id bigint primary key, order_id bigint, kind text, status text, amount numeric(12,2), currency text);
        create table truth.lines (line_id bigint, order_id bigint, amount numeric(12,2));
        do $$ begin if to_regclass('shop.lines') is not null then
            insert into truth.lines select * from shop.lines; end if; end $$")?;
    let quoted = |value: &Option<String>| match value {
        Some(text) => format!("'{}'", text.replace('\'', "''")),
        None => "null".to_owned(),
    };
    for rows in stack.maria("select id, order_id, kind, status, amount, currency from pay.payments")?.chunks(1000) {
        let row = |row: &Vec<Option<String>>| format!("({})", row.iter().map(quoted).collect::<Vec<_>>().join(", "));
        let values: Vec<String> = rows.iter().map(row).collect();
        stack.pg(&format!("insert into truth.payments values {}", values.join(", ")))?;
    }
    stack.pg("create index on truth.payments (order_id); analyze truth.orders; analyze truth.payments")?;
    for LookupTable { name, columns, rows } in lookups {
        let columns: Vec<String> = columns.iter().map(|column| format!("{} {}", column.name, column.ty)).collect();
        stack.pg(&format!("create table truth.{name} ({})", columns.join(", ")))?;
        for row in rows {
            let values: Vec<String> = row.iter().map(literal).collect();
            stack.pg(&format!("insert into truth.{name} values ({})", values.join(", ")))?;
        }
    }
    let mut truth = Truth::new();
    for rule in files.iter().flat_map(|file| file["rules"].as_array().into_iter().flatten()) {
        let (id, sql) = (rule["id"].as_str().expect("an id"), rule["sql"].as_str().expect("a query"));
        let asked =
            format!("set search_path = truth; select distinct order_id from ({sql}) rule where order_id is not null");
        let rows = stack.pg(&asked)?;
        let keys = rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
        truth.insert(id.to_owned(), keys);
    }
    stack.pg("set search_path = public; drop schema truth cascade")?;
    Ok(truth)
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Decimal(decimal) => decimal.to_plain_string(),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        other => panic!("{other:?} stands in no lookup table of these tests"),
    }
}
