//! What stands for more than it says: queries that are refused for it, answers that are errors.

use super::{T, answer, answer_of, check};

/// What a query that is refused is told, without its hint.
fn refused(sql: &str) -> String {
    let told = answer(sql, "", "");
    told.split(" (").next().unwrap_or_default().to_owned()
}

fn selected(expression: &str) -> String {
    format!("SELECT order_id, {expression} AS x FROM orders")
}

/// The parser reads what is nested in a function twice, and what is nested in that four times.
#[test]
fn what_is_nested_beyond_what_can_be_read_is_refused() {
    let within = |open: &str, depth: usize| selected(&format!("{}1{}", open.repeat(depth), ")".repeat(depth)));
    check(&within("abs(", 10), &format!("1, PAID, 10.00, {T}"), "", "1, 1");
    for open in ["abs(", "coalesce(1, "] {
        assert_eq!(refused(&within(open, 40)), "1:1 syntax: the query is nested too deeply", "{open}");
    }
}

#[test]
fn queries_that_go_on_without_end_are_refused() {
    let list = |length: usize| format!("SELECT order_id FROM orders WHERE order_id IN ({}1)", "1, ".repeat(length));
    check(&list(20_000), &format!("1, PAID, 10.00, {T}"), "", "1");
    assert_eq!(refused(&list(100_000)), "1:1 the query is longer than 256 KiB");
    let chain = selected(&format!("1{}", " + 1".repeat(10_000)));
    let told = refused(&chain);
    assert!(told.ends_with("the query has more than 5000 words and operators"), "{told}");
    let told = refused(&selected(&format!("1{}", " + 1".repeat(2_000))));
    assert!(told.ends_with("the expression is nested more than 100 deep"), "{told}");
}

/// Each name stands for the one before, twice.
fn doubled(begin: &str, step: &str, length: usize, end: &str) -> String {
    let mut sql = format!("WITH q0 AS ({begin})");
    for level in 1..length {
        sql.push_str(&format!(", q{level} AS ({})", step.replace("{q}", &format!("q{}", level - 1))));
    }
    format!("{sql} {}", end.replace("{q}", &format!("q{}", length - 1)))
}

#[test]
fn names_of_names_are_put_in_so_often_and_no_more() {
    let step = "SELECT a.order_id FROM {q} a JOIN {q} b ON a.order_id = b.order_id";
    let of = |length| doubled("SELECT order_id FROM orders", step, length, "SELECT order_id FROM {q}");
    check(&of(5), &format!("1, PAID, 10.00, {T}"), "", "1");
    let told = refused(&of(7));
    assert!(told.contains("more than 128 tables and subqueries"), "{told}");
}

#[test]
fn texts_do_not_grow_beyond_memory() {
    let step = "SELECT order_id, t || t AS t FROM {q}";
    let end = "SELECT order_id, length(t) AS x FROM {q}";
    let of = |length| doubled("SELECT order_id, payment_status AS t FROM orders", step, length, end);
    check(&of(20), &format!("1, PAID, 10.00, {T}"), "", "1, 2097152");
    check(&of(40), &format!("1, PAID, 10.00, {T}"), "", " error: text out of range");
    let (text, pattern) = ("a".repeat(1 << 20), "%a".repeat(1000));
    let like = format!("SELECT order_id FROM orders WHERE payment_status LIKE '{pattern}'");
    check(&like, &format!("1, {text}, 10.00, {T}"), "", " error: text of LIKE out of range");
}

/// A key whose rows are many is an error of its own, which holds up no other.
#[test]
fn rows_are_not_joined_beyond_memory() {
    let rows = |count: usize| (0..count).map(|id| format!("{id}, 1, CAPTURE, PAID, 1.00; ")).collect::<String>();
    let sql = "SELECT count(*) AS n FROM payments a JOIN payments b ON a.order_id = b.order_id GROUP BY a.order_id";
    check(sql, "", &rows(500), "250000");
    check(sql, "", &rows(1000), " error: the joined rows are too many");
    let refunds: String = (0..6000).map(|id| format!("{id}, 1, {id}, 1; ")).collect();
    let pairs = "SELECT p.id FROM payments p JOIN refunds r ON r.order_id = p.order_id AND r.payment_id = p.id";
    assert_eq!(answer_of(pairs, ["", &rows(6000), &refunds]), " error: the joined rows are too many");
}

#[test]
fn moments_at_the_end_of_time_are_not_rounded_beyond_it() {
    let sql = "SELECT order_id, updated_at::timestamp(0) AS x FROM orders";
    let catalog = super::catalog();
    let query = super::Query::compile(sql, &catalog).expect("it compiles");
    for (micros, told) in [(i64::MAX - 1, true), (i64::MIN + 1, false)] {
        let row = ["1", "PAID", "1.00"].map(super::Value::text);
        let row = [&row[..], &[super::Value::Timestamp(micros)]].concat();
        let answer = query.evaluate(&[&[&row], &[], &[]]);
        assert_eq!(answer.cannot_compare.is_some(), told, "{micros}: {answer:?}");
    }
}
