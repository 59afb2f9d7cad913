//! Chains of joins: columns that USING merges, and what an unknown condition leaves open.

use super::{T, answer, answer_of};

fn check(sql: &str, [orders, payments, refunds]: [&str; 3], expected: &str) {
    assert_eq!(answer_of(sql, [orders, payments, refunds]), expected, "{sql}");
}

#[test]
fn using_goes_on_with_the_merged_column() {
    let order = &format!("1, PAID, 10.00, {T}");
    let (payment, refund) = ("7, 1, CAPTURE, CAPTURED, 10.00", "9, 1, 7, 10");
    let missing = "SELECT p.id FROM orders o RIGHT JOIN payments p USING (order_id) \
        LEFT JOIN refunds r USING (order_id) WHERE r.id IS NULL";
    check(missing, ["", payment, refund], "");
    check(missing, ["", payment, ""], "7");
    let full = "SELECT order_id, o.total, p.id AS p, r.id AS r FROM orders o FULL JOIN payments p USING (order_id) \
        FULL JOIN refunds r USING (order_id)";
    check(full, ["", payment, refund], "1, null, 7, 9");
    check(full, [order, "", refund], "1, 10.00, null, 9");
    check(full, ["", "", refund], "1, null, null, 9");
    let left = "SELECT order_id, r.id FROM orders o LEFT JOIN payments p USING (order_id) \
        RIGHT JOIN refunds r USING (order_id)";
    check(left, [order, "", refund], "1, 9");
    check(left, ["", payment, refund], "1, 9");
}

#[test]
fn a_merged_column_stands_for_the_side_that_is_all_there() {
    let payment = "7, 1, CAPTURE, CAPTURED, 10.00";
    let right = "SELECT order_id, o.order_id AS o FROM orders o RIGHT JOIN payments p USING (order_id)";
    check(right, ["", payment, ""], "1, null");
    let grouped = "SELECT order_id, COUNT(*) AS n FROM orders o LEFT JOIN payments p USING (order_id) \
        GROUP BY o.order_id";
    check(grouped, [&format!("1, PAID, 10.00, {T}"), payment, ""], "1, 1");
}

#[test]
fn using_brings_types_together() {
    let sql = "SELECT p.id FROM payments p JOIN refunds r USING (order_id, amount)";
    check(sql, ["", "7, 1, CAPTURE, CAPTURED, 10.00", "9, 1, 7, 10"], "7");
    check(sql, ["", "7, 1, CAPTURE, CAPTURED, 10.01", "9, 1, 7, 10"], "");
}

#[test]
fn using_refuses_names_that_are_not_one_column() {
    let cases = [
        (
            "SELECT r.id FROM orders o JOIN payments p ON p.order_id = o.order_id JOIN refunds r USING (order_id)",
            "1:92 column \"order_id\" stands more than once to the left of the join (Join with ON, and say which is \
             meant: o.order_id or p.order_id.)",
        ),
        (
            "SELECT p.id FROM orders o JOIN payments p USING (order_id, status)",
            "1:32 column \"status\" is not on both sides",
        ),
        ("SELECT p.id FROM orders o JOIN payments p USING (order_id, order_id)", "1:60 USING names order_id twice"),
        (
            "SELECT order_id FROM orders o JOIN payments p USING (order_id) JOIN refunds r ON r.order_id = p.order_id",
            "1:8 column \"order_id\" is ambiguous (Write o.order_id or p.order_id or r.order_id.)",
        ),
        (
            "SELECT r.id FROM (SELECT order_id, status AS amount FROM payments) p JOIN refunds r USING (order_id, amount)",
            "1:102 cannot compare text with bigint",
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(answer(sql, "", ""), expected, "{sql}");
    }
}

#[test]
fn an_unknown_condition_invents_no_row() {
    // Whether the order is the payment's is unknown, so that the refund may have one, too.
    let sql = "SELECT r.id FROM orders o JOIN payments p ON p.order_id = o.order_id AND p.status = o.payment_status \
        RIGHT JOIN refunds r ON r.order_id = o.order_id WHERE o.order_id IS NULL";
    let (order, refund) = (format!("1, PAID, 10.00, {T}"), "9, 1, 7, 10");
    check(sql, [&order, "7, 1, CAPTURE, ?, 10.00", refund], " cannot compare");
    check(sql, [&order, "7, 1, CAPTURE, FAILED, 10.00", refund], "9");
    check(sql, [&order, "7, 1, CAPTURE, PAID, 10.00", refund], "");
    let full = sql.replace("RIGHT", "FULL");
    check(&full, [&order, "7, 1, CAPTURE, ?, 10.00", refund], " cannot compare");
}
