//! Types: what literals come to, and what does not fit.

use super::{answer, have_values, value};

const CAST: &str = "(Cast one of them, or declare the column with the type that it has.)";

#[test]
fn only_literals_together_are_text() {
    let cases = [
        ("CASE WHEN TRUE THEN 'a' ELSE 'b' END > 1", "text with bigint"),
        ("COALESCE('1', '2') = order_id", "text with bigint"),
        ("COALESCE(NULL, NULL) = order_id", "text with bigint"),
        ("NULLIF('a', 'b') < total", "text with numeric"),
        ("GREATEST('a', 'b') < total", "text with numeric"),
        ("COALESCE('2024-01-01', NULL) > DATE '2023-01-01'", "text with date"),
        ("order_id IN (1, COALESCE('a', 'b'))", "bigint with text"),
        ("order_id BETWEEN LEAST('a') AND 2", "bigint with text"),
        ("CASE CASE WHEN TRUE THEN '1' END WHEN 1 THEN 1 END", "text with bigint"),
        ("CASE '1' WHEN order_id THEN 1 END", "text with bigint"),
        ("CASE NULL WHEN total THEN 1 END", "text with numeric"),
        ("CASE WHEN FALSE THEN NULL END IS DISTINCT FROM 1", "text with bigint"),
    ];
    for (expr, expected) in cases {
        let said = value(expr);
        assert!(said.ends_with(&format!("cannot compare {expected} {CAST}")), "{expr}\n{said}");
    }
    let cases = [
        ("CASE WHEN TRUE THEN 'a' ELSE 'b' END || 1", "a1"),
        ("UPPER(COALESCE(NULL, 'a'))", "A"),
        ("GREATEST('b', 'a')", "b"),
        ("NULLIF('a', 'a')", "null"),
        ("'a' < 'b'", "true"),
        ("COALESCE(order_id, '5')", "1"),
        ("1 IN ('1', 2.5)", "true"),
        ("'1' BETWEEN 0 AND 2", "true"),
        ("NULL + 1", "null"),
    ];
    have_values(&cases);
    let condition = answer("SELECT order_id FROM orders WHERE COALESCE(NULL, NULL)", "", "");
    assert_eq!(condition, "1:35 WHERE must be a condition, but this is text");
    assert_eq!(value("NULL + payment_status"), "1:8 arithmetic on NULL and text is not supported");
}

#[test]
fn comparisons_do_not_chain() {
    let hint = "(As in (a = b) = c.)";
    assert_eq!(value("TRUE = FALSE = TRUE"), format!("1:8 a comparison of a comparison needs parentheses {hint}"));
    assert_eq!(value("(1 = 2) = FALSE"), "true");
}

#[test]
fn is_distinct_from_binds_closer_than_and_and_or() {
    let cases = [
        ("FALSE IS DISTINCT FROM TRUE AND FALSE", "false"),
        ("TRUE IS NOT DISTINCT FROM FALSE OR TRUE", "true"),
        ("NOT TRUE IS DISTINCT FROM FALSE AND FALSE", "false"),
        ("NOT FALSE IS NOT DISTINCT FROM FALSE OR TRUE", "true"),
        ("FALSE AND TRUE IS DISTINCT FROM FALSE OR TRUE", "true"),
        ("order_id IS DISTINCT FROM 1 + 1 AND payment_status IS NOT DISTINCT FROM 'PAID'", "true"),
        ("TRUE IS DISTINCT FROM (TRUE AND FALSE)", "true"),
    ];
    have_values(&cases);
    let said = value("order_id IS DISTINCT FROM payment_status IS NULL");
    assert!(said.contains("what follows IS DISTINCT FROM needs parentheses"), "{said}");
}

#[test]
fn json_is_not_compared_in_any_form() {
    let json = "CAST(LOWER('{}') AS json)";
    let forms = [
        "J = J",
        "J IS DISTINCT FROM J",
        "J IN (J)",
        "J BETWEEN J AND J",
        "NULLIF(J, J)",
        "GREATEST(J, J)",
        "CASE J WHEN J THEN 1 END",
    ];
    for form in forms {
        let said = value(&form.replace('J', json));
        assert!(said.contains("json values are not compared"), "{form}\n{said}");
    }
}

#[test]
fn values_of_two_kinds_are_not_compared() {
    use super::super::truth::{Compared, compared};
    use crate::domain::value::Value;
    assert_eq!(compared(&Value::Int(1), &Value::text("1")), Compared::Unknown);
    assert_eq!(compared(&Value::Date(1), &Value::Timestamp(1)), Compared::Unknown);
}
