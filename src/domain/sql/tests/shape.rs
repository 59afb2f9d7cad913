//! What the parser knows and rules don't is refused, never passed over.

use super::answer;

/// Holds what is said of each case, put into a query, against what it must contain.
fn are_refused(query: &str, cases: &[(&str, &str)]) {
    for (case, expected) in cases {
        let answer = answer(&query.replace("{}", case), "", "");
        assert!(answer.contains(expected), "{case}\n{answer}");
    }
}

#[test]
fn parts_that_rules_do_not_know_are_refused() {
    let cases = [
        ("SELECT DISTINCT ON (order_id) order_id FROM orders", "1:21 DISTINCT ON is not supported"),
        ("SELECT order_id FROM orders TABLESAMPLE BERNOULLI (10)", "1:22 TABLESAMPLE has no meaning"),
        ("SELECT x.order_id FROM (SELECT order_id FROM orders) x TABLESAMPLE SYSTEM (10)", "TABLESAMPLE has no"),
        ("SELECT order_id FROM orders QUALIFY order_id > 1", "1:37 QUALIFY is not supported"),
        ("SELECT order_id FROM orders WINDOW w AS (PARTITION BY order_id)", "WINDOW is not supported"),
        ("SELECT p.order_id FROM payments p(order_id, id)", "1:33 column names after a table's alias"),
        ("SELECT x.order_id FROM (SELECT order_id FROM orders) x(a)", "column names after a table's alias"),
        ("WITH x(a, b) AS (SELECT order_id, total FROM orders) SELECT x.order_id FROM x", "column names after"),
        ("WITH RECURSIVE x AS (SELECT order_id FROM orders) SELECT order_id FROM x", "RECURSIVE is not supported"),
        (
            "WITH x AS (SELECT order_id FROM orders), x AS (SELECT order_id FROM payments) SELECT order_id FROM x",
            "WITH names \"x\" twice",
        ),
        ("SELECT order_id FROM orders WITH ORDINALITY", "WITH ORDINALITY is not supported"),
        ("SELECT order_id FROM orders WITH (NOLOCK)", "WITH after a table is not supported"),
        ("SELECT order_id INTO t FROM orders", "1:22 INTO has no meaning"),
        ("SELECT TOP 1 order_id FROM orders", "TOP has no meaning"),
        ("SELECT order_id FROM orders LATERAL VIEW explode(x) t AS y", "LATERAL VIEW is not supported"),
        ("SELECT x.order_id FROM LATERAL (SELECT order_id FROM orders) x", "LATERAL is not supported"),
        ("SELECT order_id FROM orders CONNECT BY PRIOR order_id = order_id", "CONNECT BY is not supported"),
        ("SELECT order_id FROM orders CLUSTER BY order_id", "CLUSTER BY is not supported"),
        ("SELECT order_id FROM orders DISTRIBUTE BY order_id", "DISTRIBUTE BY is not supported"),
        ("SELECT order_id FROM orders SORT BY order_id", "SORT BY is not supported"),
        ("SELECT order_id FROM orders FOR UPDATE", "FOR UPDATE and FOR SHARE have no meaning"),
        ("SELECT order_id FROM orders FOR JSON AUTO", "FOR is not supported"),
        (
            "SELECT o.order_id FROM orders o GLOBAL JOIN payments p ON p.order_id = o.order_id",
            "GLOBAL JOIN is not supported",
        ),
        ("SELECT o.order_id FROM orders o LEFT JOIN allowed", "a join needs ON or USING"),
        (
            "SELECT p.id FROM orders o, allowed a RIGHT JOIN payments p ON p.order_id = o.order_id",
            "a join after a comma is not supported",
        ),
        ("SELECT order_id, COUNT(*) AS n FROM payments GROUP BY order_id, 2", "1:65 a literal in GROUP BY"),
        ("SELECT order_id, COUNT(*) AS n FROM payments GROUP BY order_id, ('a')", "a literal in GROUP BY"),
    ];
    are_refused("{}", &cases);
}

#[test]
fn parts_of_expressions_that_rules_do_not_know_are_refused() {
    let cases = [
        ("CEIL(total, 1)", "`CEIL(total, 1)` is not supported"),
        ("FLOOR(total TO DAY)", "`FLOOR(total TO DAY)` is not supported"),
        ("CAST(total AS text FORMAT 'x')", "is not supported"),
        ("CAST(total AS text ARRAY)", "is not supported"),
        ("total::int(11)", "this type is not supported"),
        ("{fn ABS(order_id)}", "only plain arguments of abs are supported"),
        ("{d '2024-01-01'}", "is not supported"),
        ("ABS(ALL order_id)", "DISTINCT, ALL and FILTER have no meaning"),
        ("5L", "is not supported"),
        ("payment_status LIKE ANY ('a', 'b')", "is not supported"),
        ("payment_status IN UNNEST(x)", "is not supported"),
        ("EXTRACT(YEAR FROM updated_at)", "is not supported"),
    ];
    are_refused("SELECT {} AS x FROM orders", &cases);
    let aggregates = [
        ("COUNT(DISTINCT *)", "DISTINCT has no meaning in COUNT(*)"),
        ("COUNT()", "count takes one argument"),
        ("SUM(id, id)", "sum takes one argument"),
        ("COUNT(*, id)", "only plain arguments of count are supported"),
        ("MAX(id ORDER BY id)", "only plain arguments of max are supported"),
        ("MAX(id) IGNORE NULLS", "only plain arguments of max are supported"),
        ("MAX(id) WITHIN GROUP (ORDER BY id)", "only plain arguments of max are supported"),
        ("MAX(id) OVER ()", "window functions are not supported"),
    ];
    are_refused("SELECT order_id, {} AS x FROM payments GROUP BY order_id", &aggregates);
}
