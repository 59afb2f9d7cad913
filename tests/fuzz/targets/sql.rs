//! Rules' SQL: compiled, and asked of a few rows with the values that are easily forgotten.

use std::sync::LazyLock;

use evenkeel::domain::catalog::{Catalog, Column, LookupTable, SourceTable};
use evenkeel::domain::sql::{Query, to_text};
use evenkeel::domain::value::{Type, Value};

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let table = |name: &str, columns: &[(&str, Type)], key| {
        let column = |(name, ty): &(&str, Type)| Column { name: (*name).to_owned(), ty: *ty };
        let columns = columns.iter().map(column).collect();
        SourceTable { name: name.to_owned(), columns, key, primary_key: vec![0] }
    };
    let money = Type::Decimal { scale: Some(2) };
    let orders = [
        ("order_id", Type::Int),
        ("payment_status", Type::Text),
        ("total", money),
        ("currency", Type::Text),
        ("updated_at", Type::TimestampTz),
        ("d", Type::Date),
        ("t", Type::Time { precision: 6 }),
        ("u", Type::Uuid),
        ("j", Type::Json),
        ("f", Type::Bool),
        ("b", Type::Bytes),
        ("ts", Type::Timestamp { precision: 6 }),
    ];
    let payments = [
        ("id", Type::Int),
        ("order_id", Type::Int),
        ("kind", Type::Text),
        ("status", Type::Text),
        ("amount", money),
        ("currency", Type::Text),
    ];
    let column = |name: &str| Column { name: name.to_owned(), ty: Type::Text };
    Catalog {
        sources: vec![table("orders", &orders, 0), table("payments", &payments, 1)],
        lookups: vec![LookupTable {
            name: "allowed".to_owned(),
            columns: vec![column("order_status"), column("payment_status")],
            rows: vec![vec![Value::text("PAID"), Value::text("CAPTURED")], vec![Value::text("PENDING"), Value::Null]],
        }],
    }
});

fn decimal(text: &str) -> Value {
    Value::decimal(text.parse().expect("a decimal"))
}

/// The rows of one key: ordinary ones, extremes, NULLs, what is unknown.
static ROWS: LazyLock<[Vec<Vec<Value>>; 2]> = LazyLock::new(|| {
    let order = |status: Value, total: Value, moment: i64, day: i32, time: i64| {
        vec![
            Value::Int(1),
            status,
            total,
            Value::text("EUR"),
            Value::Timestamp(moment),
            Value::Date(day),
            Value::Time(time),
            Value::Uuid([7; 16]),
            Value::Json("{\"a\":[1,2]}".into()),
            Value::Bool(true),
            Value::Bytes([0, 255].into()),
            Value::Timestamp(moment),
        ]
    };
    let payment = |id: i64, status: Value, amount: Value| {
        vec![Value::Int(id), Value::Int(1), Value::text("CAPTURE"), status, amount, Value::Null]
    };
    let orders = vec![
        order(Value::text("PAID"), decimal("12.30"), 1_795_000_000_000_000, 20_000, 43_200_000_000),
        order(Value::text("né%_\\"), decimal("-1e2000"), i64::MAX - 1, i32::MAX - 1, -1),
        order(Value::Null, decimal("1e-2000"), i64::MIN + 1, i32::MIN + 1, 3_020_399_999_999),
        order(Value::Unknown, Value::Unknown, i64::MAX, i32::MIN, 86_400_000_000),
    ];
    let payments = vec![
        payment(i64::MAX, Value::text("CAPTURED"), decimal("0")),
        payment(i64::MIN, Value::text(""), decimal("99999999999999999999999999.999999999999")),
        payment(0, Value::Unknown, Value::Null),
    ];
    [orders, payments]
});

pub fn query(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let query = match Query::compile(text, &CATALOG) {
        Ok(query) => query,
        Err(errors) => return assert!(!errors.is_empty(), "a query that does not compile has an error"),
    };
    assert_eq!(query.origins().len(), query.columns().len());
    let [orders, payments] = &*ROWS;
    let rows = |rows: &'static [Vec<Value>]| rows.iter().map(Vec::as_slice).collect::<Vec<&[Value]>>();
    for (orders, payments) in [(&orders[..], &payments[..]), (&orders[..1], &payments[..2]), (&orders[..1], &[])] {
        let answer = query.evaluate(&[&rows(orders), &rows(payments)]);
        for row in &answer.rows {
            assert_eq!(row.len(), query.columns().len());
            let _ = row.iter().map(to_text).map(|text| text.len()).sum::<usize>();
            let _ = row.iter().fold(0, |hash, value| value.hash_onto(hash));
        }
    }
}
