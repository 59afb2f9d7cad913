//! Casts between types, and values as PostgreSQL writes them.
//!
//! Must not know: expressions.

use super::error::EvalError;
use super::moment::{DAY_US, date_text, moment_text, read_date, read_moment, read_time, time_text};
use super::numeric::{read, round, to_decimal, to_integer};
use crate::domain::value::{Type, Value};

/// 2000-01-01T00:00:00.
const Y2000_US: i64 = 946_684_800_000_000;

/// True where PostgreSQL casts from one type to the other.
pub fn can_cast(from: Type, to: Type) -> bool {
    use Type as T;
    match (from, to) {
        (_, T::Text) | (T::Text, _) => true,
        (T::Int | T::Decimal { .. }, T::Int | T::Decimal { .. }) => true,
        (T::Bool, T::Int) | (T::Int, T::Bool) => true,
        (T::Timestamp { .. } | T::TimestampTz | T::Date, T::Timestamp { .. } | T::TimestampTz | T::Date) => true,
        (T::Timestamp { .. } | T::TimestampTz, T::Time { .. }) => true,
        (from, to) => std::mem::discriminant(&from) == std::mem::discriminant(&to),
    }
}

/// What a cast leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub ty: Type,
    /// As the type's argument says: all the digits of a decimal, or those of a second's fraction.
    pub digits: Option<u32>,
}

impl Target {
    /// A type without an argument.
    pub fn of(ty: Type) -> Target {
        Target { ty, digits: None }
    }

    /// Brings a value of the type to its digits.
    fn fit(self, value: Value) -> Result<Value, EvalError> {
        match (value, self.digits) {
            (Value::Decimal(decimal), Some(digits)) if decimal.digits() > u64::from(digits) => {
                Err(EvalError::OutOfRange("numeric"))
            }
            (infinite @ Value::Timestamp(i64::MIN | i64::MAX), _) => Ok(infinite),
            (Value::Timestamp(micros), Some(digits)) => {
                let rounded = round_micros(micros, Y2000_US, digits).ok_or(EvalError::OutOfRange("timestamp"))?;
                Ok(Value::Timestamp(rounded))
            }
            (Value::Time(micros), Some(digits)) => {
                round_micros(micros, 0, digits).map(Value::Time).ok_or(EvalError::OutOfRange("time"))
            }
            (value, _) => Ok(value),
        }
    }
}

/// Rounds to digits of a second's fraction, half away from the origin; PostgreSQL counts moments from the year 2000.
fn round_micros(micros: i64, origin: i64, digits: u32) -> Option<i64> {
    let step = 10_i64.pow(6_u32.saturating_sub(digits));
    let since = micros.saturating_sub(origin);
    let half = if since < 0 { -step / 2 } else { step / 2 };
    (since.saturating_add(half) / step * step).checked_add(origin)
}

/// Casts a value that is neither NULL nor unknown.
pub fn cast(value: &Value, from: Type, to: Target) -> Result<Value, EvalError> {
    to.fit(convert(value, from, to.ty)?)
}

/// Reads text as what a cast leads to.
pub fn parse_as(text: &str, to: Target) -> Result<Value, EvalError> {
    to.fit(parse(text, to.ty)?)
}

fn convert(value: &Value, from: Type, to: Type) -> Result<Value, EvalError> {
    match (value, to) {
        (Value::Timestamp(micros), Type::Text) if from == Type::TimestampTz => {
            Ok(Value::text(moment_text(*micros, "+00")))
        }
        (value, Type::Text) => Ok(Value::text(to_text(value))),
        (Value::Text(text), to) => parse(text, to),
        (Value::Int(_) | Value::Decimal(_), Type::Decimal { scale }) => {
            let decimal = to_decimal(value).expect("it is a number");
            Ok(Value::decimal(scale.map_or(decimal.clone(), |scale| round(&decimal, i64::from(scale)))))
        }
        (Value::Decimal(decimal), Type::Int) => to_integer(decimal).map(Value::Int),
        (Value::Bool(truth), Type::Int) => Ok(Value::Int(i64::from(*truth))),
        (Value::Int(number), Type::Bool) => Ok(Value::Bool(*number != 0)),
        (Value::Date(days), Type::Timestamp { .. } | Type::TimestampTz) => midnight(*days),
        (Value::Timestamp(micros), Type::Date) => day(*micros),
        // Of an infinite moment PostgreSQL has no time of day.
        (Value::Timestamp(i64::MIN | i64::MAX), Type::Time { .. }) => Ok(Value::Null),
        (Value::Timestamp(micros), Type::Time { .. }) => Ok(Value::Time(micros.rem_euclid(DAY_US))),
        (value, _) => Ok(value.clone()),
    }
}

fn midnight(days: i32) -> Result<Value, EvalError> {
    Ok(Value::Timestamp(match days {
        i32::MAX => i64::MAX,
        i32::MIN => i64::MIN,
        _ => i64::from(days).checked_mul(DAY_US).ok_or(EvalError::OutOfRange("timestamp"))?,
    }))
}

fn day(micros: i64) -> Result<Value, EvalError> {
    Ok(Value::Date(match micros {
        i64::MAX => i32::MAX,
        i64::MIN => i32::MIN,
        _ => i32::try_from(micros.div_euclid(DAY_US)).map_err(|_| EvalError::OutOfRange("date"))?,
    }))
}

/// Reads text as a type.
pub fn parse(text: &str, to: Type) -> Result<Value, EvalError> {
    let trimmed = text.trim_matches(|letter: char| matches!(letter, ' ' | '\t'..='\r'));
    let bad = || EvalError::BadCast { text: text.to_owned(), ty: to.to_string() };
    match to {
        Type::Text => Ok(Value::text(text)),
        Type::Int => trimmed.parse().map(Value::Int).map_err(|_| bad()),
        Type::Decimal { scale } => {
            let decimal = read(trimmed).ok_or_else(bad)??;
            Ok(Value::decimal(scale.map_or(decimal.clone(), |scale| round(&decimal, i64::from(scale)))))
        }
        Type::Bool => match trimmed.to_ascii_lowercase().as_str() {
            "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "on" | "1" => Ok(Value::Bool(true)),
            "f" | "fa" | "fal" | "fals" | "false" | "n" | "no" | "of" | "off" | "0" => Ok(Value::Bool(false)),
            _ => Err(bad()),
        },
        Type::Timestamp { .. } => read_moment(trimmed, false).ok_or_else(bad),
        Type::TimestampTz => read_moment(trimmed, true).ok_or_else(bad),
        Type::Date => read_date(trimmed).ok_or_else(bad),
        Type::Time { .. } => read_time(trimmed).ok_or_else(bad),
        Type::Uuid => {
            let hex: String = trimmed.chars().filter(|c| *c != '-').collect();
            let number = u128::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 32).ok_or_else(bad)?;
            Ok(Value::Uuid(number.to_be_bytes()))
        }
        Type::Bytes | Type::Json => Err(bad()),
    }
}

/// A value as PostgreSQL's text output writes it; a moment without a zone, which the value does not know.
pub fn to_text(value: &Value) -> String {
    match value {
        Value::Unknown => "unknown".to_owned(),
        Value::Null => String::new(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Decimal(decimal) => decimal.to_plain_string(),
        Value::Text(text) => text.to_string(),
        Value::Json(text) => text.to_string(),
        Value::Bytes(bytes) => format!("\\x{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        Value::Timestamp(micros) => moment_text(*micros, ""),
        Value::Date(days) => date_text(*days),
        Value::Time(micros) => time_text(*micros),
        Value::Uuid(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        }
    }
}
