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
