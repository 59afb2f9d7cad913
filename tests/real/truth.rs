//! What PostgreSQL itself says of both databases' rows: each rule's SQL, run as it stands over copies of the tables.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel::app::demo::settings::FILE;
use serde_json::Value;

use super::{Result, Stack};

/// For each rule, the keys for which it returns rows now.
pub type Truth = BTreeMap<String, BTreeSet<String>>;

/// Copies both sides into a schema of PostgreSQL and asks every rule of the demo's configuration.
pub fn truth(stack: &Stack) -> Result<Truth> {
    let config: Value = serde_saphyr::from_str(FILE).expect("the demo's configuration is YAML");
    stack.pg("drop schema if exists truth cascade; create schema truth;
        create table truth.orders as select * from shop.orders;
        alter table truth.orders add primary key (order_id);
        create table truth.payments(id bigint primary key, order_id bigint, kind text, status text, amount numeric(12,2), currency text);
        create table truth.allowed_statuses(order_status text, payment_kind text, payment_status text)")?;
    let quoted = |value: &Option<String>| match value {
        Some(text) => format!("'{}'", text.replace('\'', "''")),
        None => "null".to_owned(),
    };
    for row in stack.maria("select id, order_id, kind, status, amount, currency from pay.payments")? {
        let values: Vec<String> = row.iter().map(quoted).collect();
        stack.pg(&format!("insert into truth.payments values ({})", values.join(", ")))?;
    }
    for row in config["lookups"]["allowed_statuses"]["rows"].as_array().expect("rows") {
        let values: Vec<String> =
            row.as_array().expect("a row").iter().map(|v| v.to_string().replace('"', "'")).collect();
        stack.pg(&format!("insert into truth.allowed_statuses values ({})", values.join(", ")))?;
    }
    let mut truth = Truth::new();
    for rule in config["rules"].as_array().expect("rules") {
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
