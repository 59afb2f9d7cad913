//! One row's JSON into values of the declared types.
//!
//! Must not know: envelopes, units of time (`temporal`). A value that does not fit its declared type is refused with
//! the column's name.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::envelope::{Text, told};
use super::scalar::{Unfit, scalar, text};
use super::schema::{Encoding, Encodings};
use super::shape::{ConnectorKind, DecimalMode, SourceShape};
use super::{Refusal, temporal};
use crate::domain::value::{Type, Value};

/// What an event says of one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Value(Value),
    /// A TOAST placeholder: the stored value stays.
    Unchanged,
    /// The event does not have the column.
    Missing,
}

impl Cell {
    pub fn into_value(self) -> Value {
        match self {
            Cell::Value(value) => value,
            Cell::Unchanged | Cell::Missing => Value::Unknown,
        }
    }
}

/// Which columns of a row are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// What tells which row it was, and under which key: nothing else of a `before` is ever used. Where images are not
    /// full the rest is invented, such as "" where a uuid stood.
    Identity,
}

impl Part {
    fn has(self, shape: &SourceShape, column: usize) -> bool {
        match self {
            Part::Whole => true,
            Part::Identity => shape.primary_key.contains(&column) || (shape.full_before && column == shape.key),
        }
    }
}

/// Decodes the kept columns of a row.
pub fn row(
    shape: &SourceShape,
    schema: Option<&Encodings>,
    part: Part,
    raw: &RawValue,
) -> Result<Vec<Cell>, Refusal> {
    let mut reader = serde_json::Deserializer::from_str(raw.get());
    let seed = RowSeed { shape, schema, part };
    match seed.deserialize(&mut reader) {
        Ok(row) => row,
        Err(error) => Err(Refusal::new("bad_row", told(&error, shape.shows_all()))),
    }
}

struct RowSeed<'s> {
    shape: &'s SourceShape,
    schema: Option<&'s Encodings>,
    part: Part,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = Result<Vec<Cell>, Refusal>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = Result<Vec<Cell>, Refusal>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row, which is a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut cells = vec![Cell::Missing; self.shape.columns.len()];
        let mut refusal = None;
        while let Some(Text(name)) = map.next_key()? {
            let column = self.shape.columns.iter().position(|column| column.name == name);
            let wanted = |column: &usize| refusal.is_none() && self.part.has(self.shape, *column);
            let Some(column) = column.filter(wanted) else {
                map.next_value::<serde::de::IgnoredAny>()?;
                continue;
            };
            let raw: &RawValue = map.next_value()?;
            match cell(self.shape, self.schema, column, raw.get()) {
                Ok(cell) => cells[column] = cell,
                Err(unfit) => {
                    let unfit = unfit.told(self.shape.shows(column));
                    let detail = format!("column \"{name}\" as {}: {unfit}", self.shape.columns[column].ty);
                    refusal = Some(Refusal::new("bad_value", detail));
                }
            }
        }
        Ok(refusal.map_or(Ok(cells), Err))
    }
}

fn cell(shape: &SourceShape, schema: Option<&Encodings>, column: usize, raw: &str) -> Result<Cell, Unfit> {
    if raw == "null" {
        return Ok(Cell::Value(Value::Null));
    }
    let encoding = schema.map(|encodings| encodings[column].unwrap_or(Encoding::Plain));
    let value = match shape.columns[column].ty {
        Type::Bool => boolean(raw)?,
        Type::Int => Value::Int(integer(raw)?),
        Type::Decimal { scale } => decimal(shape, encoding, scale, shape.precisions[column], raw)?,
        Type::Timestamp { precision } => temporal::moment(encoding, Some(precision), raw)?,
        Type::TimestampTz => temporal::moment(encoding, None, raw)?,
        Type::Date => temporal::date(encoding, raw)?,
        Type::Time { precision } => temporal::time(shape.connector, encoding, precision, raw)?,
        Type::Uuid => {
            let text = text(raw)?;
            let uuid = uuid::Uuid::parse_str(&text).map_err(|_| Unfit::text("expected a UUID", &text))?;
            Value::Uuid(*uuid.as_bytes())
        }
        Type::Text | Type::Json | Type::Bytes => return large(shape, shape.columns[column].ty, &text(raw)?),
    };
    Ok(Cell::Value(value))
}

/// A value of a type that PostgreSQL may store out of line. An update that did not touch it carries Debezium's
/// placeholder instead, in a `bytea` as bytes; even in a JSON column it is no JSON.
fn large(shape: &SourceShape, ty: Type, text: &str) -> Result<Cell, Unfit> {
    if ty == Type::Bytes {
        let bytes = base64(text)?;
        return Ok(if stands_in(shape, &bytes) { Cell::Unchanged } else { Cell::Value(Value::Bytes(bytes.into())) });
    }
    if stands_in(shape, text.as_bytes()) {
        return Ok(Cell::Unchanged);
    }
    Ok(Cell::Value(if ty == Type::Json { json(text)? } else { Value::text(text) }))
}

/// The placeholder may be given as hexadecimal octets.
fn stands_in(shape: &SourceShape, bytes: &[u8]) -> bool {
    let octet = |hex: &[u8]| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok();
    shape.connector == ConnectorKind::Postgresql
        && match shape.placeholder.strip_prefix("hex:") {
            None => bytes == shape.placeholder.as_bytes(),
            Some(hex) => hex.as_bytes().chunks(2).map(octet).eq(bytes.iter().copied().map(Some)),
        }
}

fn boolean(raw: &str) -> Result<Value, Unfit> {
    match raw {
        "true" | "1" | "\"true\"" => Ok(Value::Bool(true)),
        "false" | "0" | "\"false\"" => Ok(Value::Bool(false)),
        other => Err(Unfit::found("expected a boolean", other)),
    }
}

fn integer(raw: &str) -> Result<i64, Unfit> {
    scalar(raw)?.parse().map_err(|_| Unfit::found("expected an integer of 64 bits", raw))
}

fn base64(text: &str) -> Result<Vec<u8>, Unfit> {
    BASE64.decode(text).map_err(|_| Unfit::text("expected base64", text))
}

#[derive(Deserialize)]
struct Scaled<'a> {
    scale: i64,
    #[serde(borrow)]
    value: Text<'a>,
}

fn decimal(
    shape: &SourceShape,
    encoding: Option<Encoding>,
    scale: Option<u32>,
    precision: Option<u32>,
    raw: &str,
) -> Result<Value, Unfit> {
    if raw.starts_with('{') {
        let scaled: Scaled<'_> =
            serde_json::from_str(raw).map_err(|_| Unfit::found("expected a decimal with its scale", raw))?;
        return unscaled(&scaled.value.0, scaled.scale);
    }
    let is_string = raw.starts_with('"');
    let mode = match encoding {
        Some(Encoding::Decimal { scale }) if is_string => return unscaled(&text(raw)?, i64::from(scale)),
        Some(Encoding::Double) => DecimalMode::Double,
        Some(_) => DecimalMode::String,
        None => shape.decimal_mode.ok_or(
            "the event carries no schema: set the connector's decimal_handling_mode to Debezium's decimal.handling.mode",
        )?,
    };
    match mode {
        DecimalMode::Precise if is_string => {
            let scale = scale.ok_or("precise without a schema: declare the scale, as in numeric(12,2)")?;
            unscaled(&text(raw)?, i64::from(scale))
        }
        DecimalMode::Double => {
            let scale = scale.filter(|_| precision.is_some_and(|precision| precision <= 15));
            let scale = scale.ok_or("a double is exact only as numeric(p,s) with p up to 15")?;
            if is_string {
                return Err(Unfit::found("expected a number", raw));
            }
            Ok(Value::decimal(digits(raw)?.with_scale_round(i64::from(scale), bigdecimal::RoundingMode::HalfEven)))
        }
        DecimalMode::Precise | DecimalMode::String => Ok(Value::decimal(digits(raw)?)),
    }
}

/// Longer decimals than any database's are refused before they cost time.
const DIGITS: usize = 140_000;

fn unscaled(base64_digits: &str, scale: i64) -> Result<Value, Unfit> {
    let bytes = base64(base64_digits)?;
    if bytes.is_empty() || bytes.len() > DIGITS / 2 || scale.unsigned_abs() > DIGITS as u64 {
        return Err("a decimal without digits or with too many".into());
    }
    Ok(Value::decimal(BigDecimal::new(BigInt::from_signed_bytes_be(&bytes), scale)))
}

fn digits(raw: &str) -> Result<BigDecimal, Unfit> {
    let text = scalar(raw)?;
    if let Some(decimal) = short(&text) {
        return Ok(decimal);
    }
    if text.len() > DIGITS {
        return Err("a decimal with too many digits".into());
    }
    let decimal = BigDecimal::from_str(&text).map_err(|_| Unfit::found("expected a decimal", raw))?;
    if decimal.fractional_digit_count().unsigned_abs() > DIGITS as u64 {
        return Err("a decimal with too large an exponent".into());
    }
    Ok(decimal)
}

/// What nearly every amount is, such as `-12.50`, without the general way's three allocations; `None` for all else.
fn short(text: &str) -> Option<BigDecimal> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    if unsigned.len() > 18 || !unsigned.ends_with(|last: char| last.is_ascii_digit()) {
        return None;
    }
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digit = |number: i64, byte: u8| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0'));
    let number = whole.bytes().chain(fraction.bytes()).try_fold(0, digit).filter(|_| !whole.is_empty())?;
    let number = if text.len() > unsigned.len() { -number } else { number };
    Some(BigDecimal::new(number.into(), fraction.len() as i64))
}

/// Canonical text: `serde_json` keeps objects in key order and numbers as they are written.
fn json(text: &str) -> Result<Value, Unfit> {
    let document: serde_json::Value = serde_json::from_str(text).map_err(|_| Unfit::text("expected JSON", text))?;
    Ok(Value::Json(document.to_string().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_decimals_are_what_they_are_in_the_general_way() {
        for text in ["0", "-0.00", "12.50", "-7", "007.10", "123456789012345678", "-1234567.1234567890"] {
            let general = BigDecimal::from_str(text).expect("a decimal");
            assert_eq!(
                short(text).map(BigDecimal::into_bigint_and_exponent),
                Some(general.into_bigint_and_exponent())
            );
        }
        for text in ["", "-", ".", "5.", ".5", "--5", "+5", "1e3", "1.2.3", "1 ", "NaN", "1234567890123456789"] {
            assert_eq!(short(text), None, "{text}");
        }
    }
}
