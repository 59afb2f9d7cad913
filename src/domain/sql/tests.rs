//! What rules' SQL means, and what is refused. A row of a test is written as its values; `?` is unknown.

mod casts;
mod joins;
mod limits;
mod shape;
mod typing;

use super::{Cause, Query, parse_value, to_text};
use crate::domain::catalog::{Catalog, Column, LookupTable, SourceTable};
use crate::domain::value::{Type, Value};

fn catalog() -> Catalog {
    let columns = |list: &[(&str, Type)]| {
        list.iter().map(|(name, ty)| Column { name: (*name).to_owned(), ty: *ty }).collect::<Vec<_>>()
    };
    let money = Type::Decimal { scale: Some(2) };
    let orders = [
        ("order_id", Type::Int),
        ("payment_status", Type::Text),
        ("total", money),
        ("updated_at", Type::TimestampTz),
    ];
    let payments =
        [("id", Type::Int), ("order_id", Type::Int), ("kind", Type::Text), ("status", Type::Text), ("amount", money)];
    let refunds = [("id", Type::Int), ("order_id", Type::Int), ("payment_id", Type::Int), ("amount", Type::Int)];
    let statuses = [("order_status", Type::Text), ("payment_status", Type::Text)];
    Catalog {
        sources: vec![
            SourceTable { name: "orders".to_owned(), columns: columns(&orders), key: 0, primary_key: vec![0] },
            SourceTable { name: "payments".to_owned(), columns: columns(&payments), key: 1, primary_key: vec![0] },
            SourceTable { name: "refunds".to_owned(), columns: columns(&refunds), key: 1, primary_key: vec![0] },
        ],
        lookups: vec![LookupTable {
            name: "allowed".to_owned(),
            columns: columns(&statuses),
            rows: vec![
                vec![Value::text("PAID"), Value::text("CAPTURED")],
                vec![Value::text("PENDING"), Value::text("FAILED")],
            ],
        }],
    }
}

/// Rows as `a, b; c, d`.
fn rows(columns: &[Column], text: &str) -> Vec<Vec<Value>> {
    let value = |(column, text): (&Column, &str)| match text.trim() {
        "null" => Value::Null,
        "?" => Value::Unknown,
        text => parse_value(text, column.ty).expect("a value of the column's type"),
    };
    let row = |text: &str| columns.iter().zip(text.split(',')).map(value).collect();
    text.split(';').filter(|text| !text.trim().is_empty()).map(row).collect()
}

fn answer(sql: &str, orders: &str, payments: &str) -> String {
    answer_of(sql, [orders, payments, ""])
}

/// Of orders, payments and refunds.
fn answer_of(sql: &str, sources: [&str; 3]) -> String {
    let catalog = catalog();
    let query = match Query::compile(sql, &catalog) {
        Ok(query) => query,
        Err(errors) => {
            let one = |error: &super::SqlError| {
                let hint = error.hint.as_ref().map_or(String::new(), |hint| format!(" ({hint})"));
                format!("{}:{} {}{hint}", error.start.line, error.start.column, error.message)
            };
            return errors.iter().map(one).collect::<Vec<_>>().join("\n");
        }
    };
    let tables = [0, 1, 2].map(|source| rows(&catalog.sources[source].columns, sources[source]));
    let slices: Vec<Vec<&[Value]>> = tables.iter().map(|rows| rows.iter().map(Vec::as_slice).collect()).collect();
    let tables: Vec<&[&[Value]]> = slices.iter().map(Vec::as_slice).collect();
    let answer = query.evaluate(&tables);
    let shown = |value: &Value| if value.is_null() { "null".to_owned() } else { to_text(value) };
    let row = |row: &[Value]| row.iter().map(shown).collect::<Vec<_>>().join(", ");
    let rows = answer.rows.iter().map(|one| row(one)).collect::<Vec<_>>().join("; ");
    match answer.cannot_compare {
        None => rows,
        Some(Cause::Unknown | Cause::Unconfirmed) => format!("{rows} cannot compare"),
        Some(Cause::Error(error)) => format!("{rows} error: {error}"),
    }
}

fn check(sql: &str, orders: &str, payments: &str, expected: &str) {
    assert_eq!(answer(sql, orders, payments), expected, "\n{sql}\norders: {orders}\npayments: {payments}");
}

const T: &str = "2026-11-23 12:00:00Z";

/// The design's detection query.
const DETECTION: &str = "
    SELECT o.order_id, o.payment_status, p.status
    FROM orders o LEFT JOIN payments p ON o.order_id = p.order_id
    WHERE o.payment_status != p.status
       OR (o.payment_status = 'PAID' AND p.id IS NULL)";

#[test]
fn the_detection_query() {
    check(DETECTION, &format!("1, PAID, 10.00, {T}"), "", "1, PAID, null");
    check(DETECTION, &format!("1, PENDING, 10.00, {T}"), "", "");
    check(DETECTION, &format!("1, PAID, 10.00, {T}"), "7, 1, CAPTURE, PAID, 10.00", "");
    check(DETECTION, &format!("1, PAID, 10.00, {T}"), "7, 1, CAPTURE, FAILED, 10.00", "1, PAID, FAILED");
    check(DETECTION, &format!("1, ?, 10.00, {T}"), "7, 1, CAPTURE, FAILED, 10.00", " cannot compare");
    check(DETECTION, "", "7, 1, CAPTURE, FAILED, 10.00", "");
}

#[test]
fn sums_over_several_captures_and_refunds() {
    let sql = "
        SELECT o.order_id, o.total, COALESCE(SUM(p.amount) FILTER (WHERE p.kind = 'CAPTURE' AND p.status = 'CAPTURED'), 0)
             - COALESCE(SUM(p.amount) FILTER (WHERE p.kind = 'REFUND'), 0) AS captured
        FROM orders o JOIN payments p ON p.order_id = o.order_id
        GROUP BY o.order_id
        HAVING o.total <> COALESCE(SUM(p.amount) FILTER (WHERE p.kind = 'CAPTURE' AND p.status = 'CAPTURED'), 0)
             - COALESCE(SUM(p.amount) FILTER (WHERE p.kind = 'REFUND'), 0)";
    let order = format!("1, PAID, 10.00, {T}");
    check(sql, &order, "1, 1, CAPTURE, CAPTURED, 4.00; 2, 1, CAPTURE, CAPTURED, 6.00", "");
    check(sql, &order, "1, 1, CAPTURE, CAPTURED, 4.00; 2, 1, CAPTURE, FAILED, 6.00", "1, 10.00, 4.00");
    check(sql, &order, "1, 1, CAPTURE, CAPTURED, 12.00; 2, 1, REFUND, REFUNDED, 2.00", "");
    check(sql, &order, "1, 1, CAPTURE, CAPTURED, ?", " cannot compare");
    check(sql, &order, "1, 1, CAPTURE, ?, 10.00", " cannot compare");
    check(sql, &order, "", "");
}

#[test]
fn subqueries_in_from_and_with() {
    let with = "
        WITH captured AS (SELECT order_id, SUM(amount) AS amount FROM payments WHERE status = 'CAPTURED' GROUP BY order_id)
        SELECT o.order_id, c.amount FROM orders o LEFT JOIN captured c ON c.order_id = o.order_id
        WHERE o.total <> COALESCE(c.amount, 0)";
    let order = format!("1, PAID, 10.00, {T}");
    check(with, &order, "1, 1, CAPTURE, CAPTURED, 4.00; 2, 1, CAPTURE, CAPTURED, 5.00", "1, 9.00");
    check(with, &order, "1, 1, CAPTURE, FAILED, 4.00", "1, null");
    let unsure = "1, 1, CAPTURE, ?, 4.00";
    check(with, &order, unsure, " cannot compare");
}

#[test]
fn outer_joins_and_lookups() {
    let orphan = "SELECT p.id FROM orders o RIGHT JOIN payments p USING (order_id) WHERE o.order_id IS NULL";
    check(orphan, "", "7, 1, CAPTURE, CAPTURED, 1", "7");
    check(orphan, &format!("1, PAID, 10.00, {T}"), "7, 1, CAPTURE, CAPTURED, 1", "");
    let full = "SELECT order_id, o.total, p.amount FROM orders o FULL JOIN payments p USING (order_id)";
    check(full, &format!("1, PAID, 10.00, {T}"), "", "1, 10.00, null");
    check(full, "", "7, 1, CAPTURE, CAPTURED, 1", "1, null, 1.00");
    let matrix = "
        SELECT o.order_id, p.id FROM orders o JOIN payments p ON p.order_id = o.order_id
        LEFT JOIN allowed a ON a.order_status = o.payment_status AND a.payment_status = p.status
        WHERE a.order_status IS NULL";
    check(matrix, &format!("1, PAID, 10.00, {T}"), "7, 1, CAPTURE, CAPTURED, 1; 8, 1, CAPTURE, FAILED, 1", "1, 8");
    check(matrix, &format!("1, PAID, 10.00, {T}"), "7, 1, CAPTURE, ?, 1", " cannot compare");
}

#[test]
fn duplicates_by_group() {
    let sql = "
        SELECT order_id, amount, COUNT(*) AS times, MIN(id) AS first FROM payments
        WHERE kind = 'CAPTURE' AND status = 'CAPTURED' GROUP BY order_id, amount HAVING COUNT(*) > 1";
    let payments = "7, 1, CAPTURE, CAPTURED, 1.00; 8, 1, CAPTURE, CAPTURED, 1; 9, 1, CAPTURE, CAPTURED, 2";
    check(sql, "", payments, "1, 1.00, 2, 7");
}

/// One expression over an order `(1, PAID, 10.00, T)`.
fn value(expr: &str) -> String {
    answer(&format!("SELECT {expr} AS x FROM orders"), &format!("1, PAID, 10.00, {T}"), "")
}

/// Holds each expression against its value.
fn have_values(cases: &[(&str, &str)]) {
    for (expr, expected) in cases {
        assert_eq!(value(expr), *expected, "{expr}");
    }
}

#[test]
fn expressions_mean_what_postgresql_says() {
    let cases = [
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("-7 % 3", "-1"),
        ("7 / 2.0", "3.5000000000000000"),
        ("10 / 3.00", "3.3333333333333333"),
        ("1 / 3.0 * 3", "0.99999999999999999999"),
        ("12.30 + 1", "13.30"),
        ("1.5 * 1.50", "2.250"),
        ("ROUND(2.345, 2)", "2.35"),
        ("ROUND(-2.5)", "-3"),
        ("TRUNC(-2.55, 1)", "-2.5"),
        ("CEIL(2.1)", "3"),
        ("FLOOR(-2.1)", "-3"),
        ("ABS(-5)", "5"),
        ("total::bigint", "10"),
        ("CAST(2.5 AS bigint)", "3"),
        ("'12.345'::numeric(12,2)", "12.35"),
        ("NULL = NULL", "null"),
        ("NULL IS DISTINCT FROM 1", "true"),
        ("1 IN (2, NULL)", "null"),
        ("1 IN (1, NULL)", "true"),
        ("1 NOT IN (2, 3)", "true"),
        ("NULL AND FALSE", "false"),
        ("NULL OR TRUE", "true"),
        ("(NULL = 1) IS UNKNOWN", "true"),
        ("payment_status LIKE 'P%D'", "true"),
        ("payment_status LIKE 'p_id'", "false"),
        ("payment_status ILIKE 'p_id'", "true"),
        ("'a%' LIKE 'a\\%'", "true"),
        ("payment_status || '-' || order_id", "PAID-1"),
        ("CASE payment_status WHEN 'PAID' THEN 1 ELSE 2.5 END", "1"),
        ("CASE WHEN order_id = 0 THEN 1 / (order_id - 1) ELSE 5 END", "5"),
        ("COALESCE(NULL, total)", "10.00"),
        ("NULLIF(order_id, 1)", "null"),
        ("GREATEST(1, NULL, 3)", "3"),
        ("LEAST(total, 3)", "3"),
        ("UPPER(TRIM('  a '))", "A"),
        ("LENGTH('né')", "2"),
        ("order_id BETWEEN 0 AND 1", "true"),
        ("total = '10.0'", "true"),
        ("updated_at > DATE '2026-11-23'", "true"),
        ("updated_at = '2026-11-23T13:00:00+01:00'", "true"),
        ("DATE '2026-11-23' - DATE '2026-11-01'", "22"),
        ("9223372036854775807 + 1", " error: bigint out of range"),
        ("1 / (order_id - 1)", " error: division by zero"),
        ("payment_status::bigint", " error: \"PAID\" is no bigint"),
    ];
    have_values(&cases);
}

#[test]
fn unknown_neither_equals_nor_differs() {
    let of = |expr: &str| answer(&format!("SELECT {expr} AS x FROM orders"), "1, ?, 10.00, null", "");
    let cases = [
        ("payment_status = 'PAID'", "unknown"),
        ("payment_status <> 'PAID'", "unknown"),
        ("payment_status IS NULL", "unknown"),
        ("payment_status = NULL", "null"),
        ("payment_status = 'A' AND order_id = 2", "false"),
        ("payment_status = 'A' OR order_id = 1", "true"),
        ("payment_status = 'A' OR order_id = 2", "unknown"),
        ("NOT payment_status = 'A'", "unknown"),
        ("COALESCE(payment_status, 'x')", "unknown"),
        ("CASE WHEN payment_status = 'A' THEN 1 ELSE 2 END", "unknown"),
        ("payment_status IN ('A', 'B')", "unknown"),
        ("payment_status IS DISTINCT FROM 'A'", "unknown"),
        ("UPPER(payment_status)", "unknown"),
    ];
    for (expr, expected) in cases {
        assert_eq!(of(expr), expected, "{expr}");
    }
    check("SELECT order_id FROM orders WHERE payment_status = 'A'", "1, ?, 1, null", "", " cannot compare");
    let count = "SELECT order_id, COUNT(*) AS n FROM payments WHERE status = 'CAPTURED' GROUP BY order_id";
    check(count, "", "1, 1, CAPTURE, CAPTURED, 1; 2, 1, CAPTURE, ?, 1", " cannot compare");
}

#[test]
fn refusals_say_where_and_why() {
    let cases = [
        (
            "SELECT order_id FROM ordrs",
            "1:22 table \"ordrs\" is neither a source nor a lookup table (Did you mean \"orders\"?)",
        ),
        ("SELECT totl FROM orders", "1:8 column \"totl\" is not in \"orders\" (Did you mean \"total\"?)"),
        ("SELECT o.totl FROM orders o", "1:10 column \"totl\" is not in \"o\" (Did you mean \"total\"?)"),
        (
            "SELECT order_id FROM orders JOIN payments ON orders.order_id = payments.order_id",
            "1:8 column \"order_id\" is ambiguous (Write orders.order_id or payments.order_id.)",
        ),
        (
            "SELECT order_id FROM orders WHERE total > 'abc'",
            "1:35 cannot compare numeric with 'abc' (Cast one of them, or declare the column with the type that it has.)",
        ),
        (
            "SELECT order_id FROM orders WHERE payment_status = 1",
            "1:35 cannot compare text with bigint (Cast one of them, or declare the column with the type that it has.)",
        ),
        (
            "SELECT COUNT(*) FROM orders",
            "1:8 an aggregate needs GROUP BY of the key, and cannot stand here (Add GROUP BY with the reconciliation key; conditions on aggregates go to HAVING.)",
        ),
        (
            "SELECT payment_status, COUNT(*) AS n FROM orders GROUP BY payment_status",
            "1:59 GROUP BY does not contain the reconciliation key (Add orders.order_id: a rule speaks of one key at a time.)",
        ),
        (
            "SELECT order_id, kind FROM payments GROUP BY order_id",
            "1:18 column \"kind\" must stand in GROUP BY or in an aggregate",
        ),
        (
            "SELECT total::float8 AS x FROM orders",
            "1:8 cast to FLOAT8: binary floating point would round money (Money is decimal: use numeric.)",
        ),
        (
            "SELECT order_id FROM orders ORDER BY order_id",
            "1:38 ORDER BY has no meaning in a rule (The rows are evidence; their order says nothing. Leave it out.)",
        ),
        (
            "SELECT order_id, total AS order_id FROM orders",
            "1:18 two output columns are named \"order_id\" (Give one of them another name with AS.)",
        ),
        ("DELETE FROM orders", "1:1 a rule is a SELECT"),
        (
            "SELECT order_status FROM allowed",
            "1:1 the query reads no source (The sources are: orders, payments, refunds.)",
        ),
        (
            "SELECT o.order_id FROM orders o, payments p",
            "1:34 tables are joined with JOIN … ON the key (A comma would pair every order with every payment.)",
        ),
        ("SELECT roundd(total) AS x FROM orders", "1:8 function roundd is not supported (Did you mean \"round\"?)"),
    ];
    for (sql, expected) in cases {
        assert_eq!(answer(sql, "", ""), expected, "{sql}");
    }
    let clock = answer("SELECT order_id FROM orders WHERE updated_at < now()", "", "");
    assert!(clock.starts_with("1:48 rules cannot read a clock: now would give"), "{clock}");
    assert!(clock.contains("grace: 1h"), "{clock}");
    let join = answer("SELECT o.order_id FROM orders o JOIN payments p ON o.order_id = p.id", "", "");
    assert!(join.contains("\"p\" is not joined on the reconciliation key (Add p.order_id = o.order_id:"), "{join}");
    let syntax = answer("SELECT order_id FROM orders\nWHERE AND", "", "");
    assert!(syntax.starts_with("2:"), "{syntax}");
    let both = answer("SELECT totl FROM orders WHERE now() > updated_at", "", "");
    assert_eq!(both.lines().count(), 2, "all errors at once: {both}");
    let deep = format!("SELECT {}1{} AS x FROM orders", "(".repeat(1000), ")".repeat(1000));
    assert!(answer(&deep, "", "").contains("nested too deeply"));
}

#[test]
fn a_zero_keeps_its_scale() {
    let sql = "SELECT order_id, (total - total) * 1 AS nothing, SUM(total) - SUM(total) AS sum FROM orders GROUP BY order_id, total";
    assert_eq!(answer(sql, "1, PAID, 10.00, null", ""), "1, 0.00, 0.00");
}

#[test]
fn letters_change_case_one_by_one() {
    let sql = "SELECT order_id, UPPER(payment_status) AS upper FROM orders";
    assert_eq!(answer(sql, "1, größe, 10.00, null", ""), "1, GRÖßE");
}
