//! Values as people and databases write them: what was read is written and read as the same.

use evenkeel::app::config;
use evenkeel::domain::sql::{parse_value, to_text};
use evenkeel::domain::value::{Type, Value};

const TYPES: [Type; 11] = [
    Type::Bool,
    Type::Int,
    Type::Decimal { scale: None },
    Type::Decimal { scale: Some(2) },
    Type::Text,
    Type::Bytes,
    Type::Timestamp { precision: 6 },
    Type::TimestampTz,
    Type::Date,
    Type::Time { precision: 3 },
    Type::Uuid,
];

/// The first byte chooses the type.
pub fn values(input: &[u8]) {
    let Some((chosen, text)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let ty = TYPES[usize::from(*chosen) % TYPES.len()];
    if let Ok(value) = parse_value(text, ty) {
        let written = to_text(&value);
        // Years before Christ, and those after 9999, which rounding leads to, are written and not read.
        if !written.ends_with(" BC") && !written.starts_with("10000-") {
            assert_eq!(parse_value(&written, ty), Ok(value.clone()), "{text:?} is written as {written:?}");
        }
        let _ = value.hash_onto(0);
    }
    for day in [None, Some(jiff_day())] {
        if let Ok(value) = config::parse_value(text, ty, day) {
            let _ = (to_text(&value), value.hash_onto(0), value == Value::Null);
        }
        let _ = config::moment(text, day);
    }
    if let Ok(micros) = config::duration(text) {
        assert_eq!(config::duration(&config::duration_text(micros)), Ok(micros), "{text:?}");
    }
}

fn jiff_day() -> jiff::civil::Date {
    jiff::civil::date(2026, 1, 1)
}
