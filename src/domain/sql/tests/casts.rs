//! Casts and literals: what text stands for what value, within which limits.

use super::value;

#[test]
fn decimals_are_read_within_postgresqls_limits() {
    let cases = [
        ("'1e3'::numeric", "1000"),
        ("' -1.50e1 '::numeric", "-15.0"),
        ("'+.5'::numeric", "0.5"),
        ("'5.'::numeric", "5"),
        ("'0e-3'::numeric", "0.000"),
        ("1.5E3", "1500"),
        ("LENGTH('1e131071'::numeric::text)", "131072"),
        ("LENGTH('1e-16383'::numeric::text)", "16385"),
    ];
    for (expr, expected) in cases {
        assert_eq!(value(expr), expected, "{expr}");
    }
    for text in ["1e131072", "1e-16384", "1e99999999999", "-1e-99999999999", "1e2147483648", "1e99999999999999999999"]
    {
        assert_eq!(value(&format!("'{text}'::numeric")), "1:8 numeric out of range", "{text}");
        let late = format!("CAST(LOWER('{text}') AS numeric)");
        assert_eq!(value(&late), " error: numeric out of range", "{text}");
        assert!(value(&text.to_lowercase()).ends_with("numeric out of range"), "{text}");
    }
    for text in ["", ".", "e5", "5e", "5e+", "1_000", "0x10", "1 2", "--1", "1.2.3", "1e1.5"] {
        assert_eq!(value(&format!("'{text}'::numeric")), format!("1:8 \"{text}\" is no numeric"));
    }
    assert_eq!(value("'1e131071'::numeric * '1e131071'::numeric"), " error: numeric out of range");
    assert_eq!(value("'1e-9000'::numeric * '1e-9000'::numeric"), " error: numeric out of range");
}

#[test]
fn casts_round_to_the_digits_that_they_name() {
    let cases = [
        ("'2024-01-01 12:00:00.5'::timestamp(0)", "2024-01-01 12:00:01"),
        ("'2024-01-01 12:00:00.555'::timestamp(2)", "2024-01-01 12:00:00.56"),
        ("'1969-12-31 23:59:58.5'::timestamp(0)", "1969-12-31 23:59:58"),
        ("'1999-12-31 23:59:59.4'::timestamp(0)", "1999-12-31 23:59:59"),
        ("'2024-01-01 12:00:00.5Z'::timestamptz(0)", "2024-01-01 12:00:01"),
        ("timestamp(0) '2024-01-01 12:00:00.5'", "2024-01-01 12:00:01"),
        ("LOWER('2024-01-01 12:00:00.123456')::timestamp::timestamp(3)", "2024-01-01 12:00:00.123"),
        ("'12:00:00.5'::time(0)", "12:00:01"),
        ("'12:00:00.1239'::time(3)", "12:00:00.124"),
        ("'23:59:59.5'::time(0)", "24:00:00"),
        ("'2024-01-01 12:00:00.123456'::timestamp(9)", "2024-01-01 12:00:00.123456"),
        ("9.994::numeric(3,2)", "9.99"),
        ("9.995::numeric(3,2)", " error: numeric out of range"),
        ("'99.96'::numeric(3,1)", "1:8 numeric out of range"),
        ("0::numeric(1,1)", "0.0"),
        ("12345.678::numeric(5)", "12346"),
        ("total::numeric(0)", "1:8 cast to NUMERIC(0): a precision is from 1 to 1000"),
    ];
    for (expr, expected) in cases {
        assert_eq!(value(expr), expected, "{expr}");
    }
}

#[test]
fn text_is_a_boolean_by_any_prefix_that_is_one_words_own() {
    for text in ["t", "tru", " TRUE ", "y", "ye", "on", "1"] {
        assert_eq!(value(&format!("LOWER('{text}')::bool")), "true", "{text}");
    }
    for text in ["f", "fals", "n", "NO", "of", "off", "0"] {
        assert_eq!(value(&format!("LOWER('{text}')::bool")), "false", "{text}");
    }
    assert_eq!(value("'o'::bool"), "1:8 \"o\" is no boolean");
}

/// Literals take the type of what they meet; what is made of literals alone is text.
#[test]
fn what_is_made_of_literals_is_text() {
    assert_eq!(value("CASE WHEN payment_status = 'PAID' THEN '1' ELSE '0' END = payment_status"), "false");
    assert_eq!(value("COALESCE(NULL, '1') || '2'"), "12");
    let made = [
        "CASE WHEN payment_status = 'PAID' THEN '1' ELSE '0' END",
        "COALESCE('1', '2')",
        "GREATEST('1', '2')",
        "NULLIF('1', '2')",
    ];
    for made in made {
        let refused = value(&format!("{made} <> order_id"));
        assert!(refused.contains("cannot compare") && refused.contains("text"), "{made}: {refused}");
    }
}

/// PostgreSQL makes a double of an integer there; half of it is no integer.
#[test]
fn rounding_an_integer_makes_a_decimal() {
    for function in ["FLOOR", "CEIL", "ROUND", "TRUNC"] {
        assert_eq!(value(&format!("{function}(3) / 2")), "1.5000000000000000", "{function}");
    }
    assert_eq!(value("ABS(-3) / 2"), "1");
}
