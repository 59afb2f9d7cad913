//! One row's JSON into values of the declared types.
//!
//! Must not know: envelopes. A value that does not fit its declared type is refused with the column's name.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Refusal;
use super::envelope::Text;
use super::schema::{Encoding, Encodings};
use super::shape::{ConnectorKind, DecimalMode, SourceShape};
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

/// Decodes the kept columns of a row.
pub fn row(shape: &SourceShape, schema: Option<&Encodings>, raw: &RawValue) -> Result<Vec<Cell>, Refusal> {
    let mut reader = serde_json::Deserializer::from_str(raw.get());
    let seed = RowSeed { shape, schema };
    match seed.deserialize(&mut reader) {
        Ok(row) => row,
        Err(error) => Err(Refusal::new("bad_row", error.to_string())),
    }
}

struct RowSeed<'s> {
    shape: &'s SourceShape,
    schema: Option<&'s Encodings>,
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
            let Some(column) = column.filter(|_| refusal.is_none()) else {
                map.next_value::<serde::de::IgnoredAny>()?;
                continue;
            };
            let raw: &RawValue = map.next_value()?;
            match cell(self.shape, self.schema, column, raw.get()) {
                Ok(cell) => cells[column] = cell,
                Err(reason) => {
                    let detail = format!("column \"{name}\" as {}: {reason}", self.shape.columns[column].ty);
                    refusal = Some(Refusal::new("bad_value", detail));
                }
            }
        }
        Ok(refusal.map_or(Ok(cells), Err))
    }
}

fn cell(shape: &SourceShape, schema: Option<&Encodings>, column: usize, raw: &str) -> Result<Cell, String> {
    if raw == "null" {
        return Ok(Cell::Value(Value::Null));
    }
    let encoding = schema.map(|encodings| encodings[column].unwrap_or(Encoding::Plain));
    let ty = shape.columns[column].ty;
    if shape.connector == ConnectorKind::Postgresql && is_placeholder(shape, ty, raw) {
        return Ok(Cell::Unchanged);
    }
    let value = match ty {
        Type::Bool => boolean(raw)?,
        Type::Int => Value::Int(integer(raw)?),
        Type::Decimal { scale } => decimal(shape, encoding, scale, shape.precisions[column], raw)?,
        Type::Text => Value::text(text(raw)?),
        Type::Bytes => Value::Bytes(base64(&text(raw)?)?.into()),
        Type::Timestamp { precision } => moment(encoding, Some(precision), raw)?,
        Type::TimestampTz => moment(encoding, None, raw)?,
        Type::Date => date(raw)?,
        Type::Time { precision } => time(encoding, precision, raw)?,
        Type::Uuid => {
            let text = text(raw)?;
            Value::Uuid(*uuid::Uuid::parse_str(&text).map_err(|error| error.to_string())?.as_bytes())
        }
        Type::Json => json(&text(raw)?)?,
    };
    Ok(Cell::Value(value))
}

/// Debezium's stand-in for a TOASTed column that the update did not touch: the placeholder itself, for `bytea` its
/// base64.
fn is_placeholder(shape: &SourceShape, ty: Type, raw: &str) -> bool {
    let bare = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
    match ty {
        Type::Text | Type::Json => bare == Some(shape.placeholder.as_str()),
        Type::Bytes => bare == Some(BASE64.encode(&shape.placeholder).as_str()),
        _ => false,
    }
}

fn text(raw: &str) -> Result<Cow<'_, str>, String> {
    let text: Result<Text<'_>, _> = serde_json::from_str(raw);
    text.map(|text| text.0).map_err(|_| format!("expected a string, found {}", shortened(raw)))
}

/// A scalar's text: of a string its content, of a number its digits.
fn scalar(raw: &str) -> Result<Cow<'_, str>, String> {
    if raw.starts_with('"') { text(raw) } else { Ok(Cow::Borrowed(raw)) }
}

fn shortened(raw: &str) -> Cow<'_, str> {
    match raw.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", &raw[..at]).into(),
        None => raw.into(),
    }
}

fn boolean(raw: &str) -> Result<Value, String> {
    match raw {
        "true" | "1" | "\"true\"" => Ok(Value::Bool(true)),
        "false" | "0" | "\"false\"" => Ok(Value::Bool(false)),
        other => Err(format!("expected a boolean, found {}", shortened(other))),
    }
}

fn integer(raw: &str) -> Result<i64, String> {
    let text = scalar(raw)?;
    text.parse().map_err(|_| format!("expected an integer of 64 bits, found {}", shortened(raw)))
}

fn base64(text: &str) -> Result<Vec<u8>, String> {
    BASE64.decode(text).map_err(|error| format!("expected base64: {error}"))
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
) -> Result<Value, String> {
    if raw.starts_with('{') {
        let scaled: Scaled<'_> = serde_json::from_str(raw).map_err(|error| error.to_string())?;
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
            Ok(Value::decimal(digits(raw)?.with_scale_round(i64::from(scale), bigdecimal::RoundingMode::HalfEven)))
        }
        DecimalMode::Precise | DecimalMode::String => Ok(Value::decimal(digits(&scalar(raw)?)?)),
    }
}

fn unscaled(base64_digits: &str, scale: i64) -> Result<Value, String> {
    let digits = BigInt::from_signed_bytes_be(&base64(base64_digits)?);
    Ok(Value::decimal(BigDecimal::new(digits, scale)))
}

/// Longer decimals than any database's are refused before they cost time.
const DIGITS: usize = 140_000;

fn digits(text: &str) -> Result<BigDecimal, String> {
    if text.len() > DIGITS {
        return Err("a decimal with too many digits".to_owned());
    }
    let decimal = BigDecimal::from_str(text).map_err(|_| format!("expected a decimal, found {}", shortened(text)))?;
    if decimal.fractional_digit_count().unsigned_abs() > DIGITS as u64 {
        return Err("a decimal with too large an exponent".to_owned());
    }
    Ok(decimal)
}

fn moment(encoding: Option<Encoding>, precision: Option<u8>, raw: &str) -> Result<Value, String> {
    if raw.starts_with('"') {
        return moment_text(&text(raw)?);
    }
    let number: i64 = raw.parse().map_err(|_| format!("expected a moment, found {}", shortened(raw)))?;
    let micros = match (encoding, precision) {
        (Some(Encoding::Millis), _) | (None, Some(0..=3)) => number.checked_mul(1000),
        (Some(Encoding::Micros), _) | (None, Some(_)) => Some(number),
        (Some(Encoding::Nanos), _) => Some(number.div_euclid(1000)),
        _ => return Err("a number whose unit is unknown: the event's schema does not name it".to_owned()),
    };
    // Debezium writes PostgreSQL's infinity as 9223372036825200000.
    let micros = micros.ok_or("beyond the calendar")?;
    Ok(Value::Timestamp(if micros >= 9_223_372_036_825_200_000 { i64::MAX } else { micros }))
}

fn moment_text(text: &str) -> Result<Value, String> {
    match text {
        "infinity" => return Ok(Value::Timestamp(i64::MAX)),
        "-infinity" => return Ok(Value::Timestamp(i64::MIN)),
        _ => {}
    }
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Ok(Value::Timestamp(timestamp.as_microsecond()));
    }
    let civil: jiff::civil::DateTime =
        text.parse().map_err(|_| format!("expected an ISO 8601 moment, found {}", shortened(text)))?;
    let timestamp = jiff::tz::Offset::UTC.to_timestamp(civil).map_err(|error| error.to_string())?;
    Ok(Value::Timestamp(timestamp.as_microsecond()))
}

fn date(raw: &str) -> Result<Value, String> {
    if !raw.starts_with('"') {
        return raw.parse().map(Value::Date).map_err(|_| format!("expected days, found {}", shortened(raw)));
    }
    let text = text(raw)?;
    let date: jiff::civil::Date = text
        .trim_end_matches('Z')
        .parse()
        .map_err(|_| format!("expected an ISO 8601 date, found {}", shortened(raw)))?;
    let span = date.since(jiff::civil::date(1970, 1, 1)).map_err(|error| error.to_string())?;
    Ok(Value::Date(span.get_days()))
}

fn time(encoding: Option<Encoding>, precision: u8, raw: &str) -> Result<Value, String> {
    if raw.starts_with('"') {
        let text = text(raw)?;
        let time: jiff::civil::Time =
            text.trim_end_matches('Z').parse().map_err(|_| format!("expected a time, found {}", shortened(raw)))?;
        let span = time.duration_since(jiff::civil::Time::midnight());
        return Ok(Value::Time(span.as_micros() as i64));
    }
    let number: i64 = raw.parse().map_err(|_| format!("expected a time, found {}", shortened(raw)))?;
    let micros = match encoding {
        Some(Encoding::Millis) => number.checked_mul(1000),
        Some(Encoding::Micros) => Some(number),
        Some(Encoding::Nanos) => Some(number.div_euclid(1000)),
        _ if precision <= 3 => number.checked_mul(1000),
        _ => Some(number),
    };
    micros.map(Value::Time).ok_or_else(|| "out of range".to_owned())
}

/// Canonical text: `serde_json` keeps objects in key order and numbers as they are written.
fn json(text: &str) -> Result<Value, String> {
    let document: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("expected JSON: {error}"))?;
    Ok(Value::Json(document.to_string().into()))
}
