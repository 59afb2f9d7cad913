//! Casts and literals: what text stands for what value, within which limits.

use super::{have_values, value};

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
    have_values(&cases);
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
        ("total::numeric(0)", "1:8 cast to NUMERIC(0): a precision is from 1 to 1000 (As in numeric(12,2).)"),
    ];
    have_values(&cases);
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

#[test]
fn moments_are_read_and_written_as_postgresql_does() {
    let cases = [
        ("'2024-01-01 12:00+02'::timestamp", "2024-01-01 12:00:00"),
        ("'2024-01-01 12:00+02'::timestamptz", "2024-01-01 10:00:00"),
        ("'2024-01-01T12:00:00Z'::date", "2024-01-01"),
        ("'2024-01-01 12:00:00.1234567'::timestamp", "2024-01-01 12:00:00.123457"),
        ("'2024-01-01 12:00:00.1234565'::timestamp", "2024-01-01 12:00:00.123456"),
        ("'12:00:00.1234575'::time", "12:00:00.123458"),
        ("'9999-12-31 23:59:59'::timestamp", "9999-12-31 23:59:59"),
        ("'9999-12-31 23:59:59-01'::timestamptz", "10000-01-01 00:59:59"),
        ("updated_at < '9999-12-31 23:59:59'", "true"),
        ("updated_at < 'infinity' AND updated_at > '-Infinity'", "true"),
        ("updated_at::text", "2026-11-23 12:00:00+00"),
        ("payment_status || ' ' || updated_at", "PAID 2026-11-23 12:00:00+00"),
        ("updated_at::timestamp::text", "2026-11-23 12:00:00"),
        ("'infinity'::timestamptz::text", "infinity"),
        ("'infinity'::timestamp::date", "infinity"),
        ("'-infinity'::date::timestamptz::text", "-infinity"),
        ("'infinity'::timestamp::time", "null"),
        ("DATE 'infinity' + 1", "infinity"),
        ("DATE 'infinity' - DATE '2024-01-01'", " error: date out of range"),
        ("'infinity'::date > DATE '9999-12-31'", "true"),
        ("DATE '0001-01-01' - 1", "0001-12-31 BC"),
        ("(DATE '0001-01-01' - 1)::timestamptz::text", "0001-12-31 00:00:00+00 BC"),
        ("DATE '9999-12-31' + 1", "10000-01-01"),
        ("DATE '2024-02-28' + 1", "2024-02-29"),
        ("DATE '2023-12-31' + 60", "2024-02-29"),
        ("'24:00:00'::time", "24:00:00"),
        ("'2024-01-01 12:00'::time", "12:00:00"),
        ("DATE '2024-01-01' = '2024-01-01 12:00'", "true"),
    ];
    have_values(&cases);
    let bad = [
        ("12", "time(6)"),
        ("12:00:60", "time(6)"),
        ("2024-01-01 12:00:60", "timestamp(6)"),
        ("2024-02-30", "date"),
        ("inf", "timestamp(6)"),
        ("2024-01-01 12:00[Europe/Berlin]", "timestamptz"),
    ];
    for (text, ty) in bad {
        assert_eq!(value(&format!("'{text}'::{ty}")), format!("1:8 \"{text}\" is no {ty}"));
    }
}
