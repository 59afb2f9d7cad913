//! One row's atoms into values of the declared types.
//!
//! Must not know: formats, envelopes, units of time (`temporal`). A value that does not fit its declared type is refused
//! with the column's name.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;

use super::atom::{Atom, Atoms, Unfit};
use super::schema::{Encoding, Encodings};
use super::shape::{BinaryMode, ConnectorKind, DecimalMode, SourceShape};
use super::{Refusal, mongodb, temporal};
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
pub fn row(shape: &SourceShape, encodings: Option<&Encodings>, atoms: &Atoms<'_>) -> Result<Vec<Cell>, Refusal> {
    let cell = |(column, atom): (usize, &Option<Atom<'_>>)| {
        let Some(atom) = atom else { return Ok(Cell::Missing) };
        let encoding = encodings.and_then(|encodings| encodings[column]);
        cell(shape, encoding, column, atom).map_err(|unfit| {
            let unfit = unfit.told(shape.shows(column));
            let column = &shape.columns[column];
            Refusal::new("bad_value", format!("column \"{}\" as {}: {unfit}", column.name, column.ty))
        })
    };
    atoms.iter().enumerate().map(cell).collect()
}

fn cell(shape: &SourceShape, encoding: Option<Encoding>, column: usize, atom: &Atom<'_>) -> Result<Cell, Unfit> {
    let unwrapped = (shape.connector.kind == ConnectorKind::Mongodb).then(|| mongodb::plain(atom)).flatten();
    let (atom, encoding) = unwrapped.as_ref().map_or((atom, encoding), |(atom, encoding)| (atom, *encoding));
    if *atom == Atom::Null {
        return Ok(Cell::Value(Value::Null));
    }
    let value = match shape.columns[column].ty {
        Type::Bool => boolean(atom)?,
        Type::Int => Value::Int(integer(atom)?),
        Type::Decimal { scale } => decimal(shape, encoding, scale, shape.precisions[column], atom)?,
        Type::Timestamp { precision } => temporal::moment(encoding, Some(precision), atom)?,
        Type::TimestampTz => temporal::moment(encoding, None, atom)?,
        Type::Date => temporal::date(encoding, atom)?,
        Type::Time { precision } => temporal::time(shape.connector.kind, encoding, precision, atom)?,
        Type::Uuid => {
            let uuid = uuid::Uuid::parse_str(text(atom)?).map_err(|_| Unfit::found("expected a UUID", atom))?;
            Value::Uuid(*uuid.as_bytes())
        }
        Type::Bytes => {
            let bytes = bytes(shape, encoding, atom)?;
            return Ok(if stands_in(shape, &bytes) {
                Cell::Unchanged
            } else {
                Cell::Value(Value::Bytes(bytes.into()))
            });
        }
        // A value of a type that PostgreSQL may store out of line. An update that did not touch it carries Debezium's
        // placeholder instead; even in a JSON column it is no JSON.
        Type::Text | Type::Json if stands_in(shape, text(atom)?.as_bytes()) => return Ok(Cell::Unchanged),
        Type::Text => Value::text(text(atom)?),
        Type::Json => json(atom)?,
    };
    Ok(Cell::Value(value))
}

fn text<'a>(atom: &'a Atom<'_>) -> Result<&'a str, Unfit> {
    atom.text().ok_or_else(|| Unfit::found("expected a string", atom))
}

/// By the schema, else as the connector's `binary.handling.mode` says.
fn bytes(shape: &SourceShape, encoding: Option<Encoding>, atom: &Atom<'_>) -> Result<Vec<u8>, Unfit> {
    let mode = if encoding == Some(Encoding::Bytes) { BinaryMode::Bytes } else { shape.connector.binary_mode };
    match (atom, mode) {
        (Atom::Bytes(bytes), _) => Ok(bytes.to_vec()),
        (_, BinaryMode::Bytes | BinaryMode::Base64) => {
            STANDARD.decode(text(atom)?).map_err(|_| Unfit::found("expected base64", atom))
        }
        (_, BinaryMode::Base64UrlSafe) => {
            URL_SAFE.decode(text(atom)?).map_err(|_| Unfit::found("expected URL-safe base64", atom))
        }
        (_, BinaryMode::Hex) => octets(text(atom)?).ok_or_else(|| Unfit::found("expected hexadecimal octets", atom)),
    }
}

fn octets(hex: &str) -> Option<Vec<u8>> {
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    hex.len().is_multiple_of(2).then(|| hex.as_bytes().chunks(2).map(octet).collect())?
}

/// The placeholder may be given as hexadecimal octets.
fn stands_in(shape: &SourceShape, bytes: &[u8]) -> bool {
    shape.connector.kind.has_placeholders()
        && match shape.connector.placeholder.strip_prefix("hex:") {
            None => bytes == shape.connector.placeholder.as_bytes(),
            Some(hex) => octets(hex).is_some_and(|octets| octets == bytes),
        }
}

fn boolean(atom: &Atom<'_>) -> Result<Value, Unfit> {
    match (atom, atom.scalar().as_deref()) {
        (Atom::Bool(value), _) => Ok(Value::Bool(*value)),
        (Atom::Text(_), Some("true")) | (Atom::Number(_) | Atom::Int(_), Some("1")) => Ok(Value::Bool(true)),
        (Atom::Text(_), Some("false")) | (Atom::Number(_) | Atom::Int(_), Some("0")) => Ok(Value::Bool(false)),
        _ => Err(Unfit::found("expected a boolean", atom)),
    }
}

fn integer(atom: &Atom<'_>) -> Result<i64, Unfit> {
    atom.integer().ok_or_else(|| Unfit::found("expected an integer of 64 bits", atom))
}

fn decimal(
    shape: &SourceShape,
    encoding: Option<Encoding>,
    scale: Option<u32>,
    precision: Option<u32>,
    atom: &Atom<'_>,
) -> Result<Value, Unfit> {
    if let Atom::Scaled { scale, digits } = atom {
        return unscaled(digits, *scale);
    }
    let base64 = |text: &str| STANDARD.decode(text).map_err(|_| Unfit::found("expected base64", atom));
    let mode = match (encoding, atom) {
        (Some(Encoding::Decimal { scale }), Atom::Bytes(digits)) => return unscaled(digits, i64::from(scale)),
        (Some(Encoding::Decimal { scale }), Atom::Text(text)) => return unscaled(&base64(text)?, i64::from(scale)),
        (Some(Encoding::Double), _) => DecimalMode::Double,
        (Some(_), _) => DecimalMode::String,
        (None, Atom::Bytes(_)) => DecimalMode::Precise,
        (None, _) => shape.connector.decimal_mode.ok_or(
            "the event carries no schema: set the connector's decimal_handling_mode to Debezium's decimal.handling.mode",
        )?,
    };
    let scale_of = || scale.ok_or("precise without a schema: declare the scale, as in numeric(12,2)");
    match (mode, atom) {
        (DecimalMode::Precise, Atom::Text(text)) => unscaled(&base64(text)?, i64::from(scale_of()?)),
        (DecimalMode::Precise, Atom::Bytes(digits)) => unscaled(digits, i64::from(scale_of()?)),
        (DecimalMode::Double, _) => {
            let scale = scale.filter(|_| precision.is_some_and(|precision| precision <= 15));
            let scale = scale.ok_or("a double is exact only as numeric(p,s) with p up to 15")?;
            if !atom.is_number() {
                return Err(Unfit::found("expected a number", atom));
            }
            Ok(Value::decimal(digits(atom)?.with_scale_round(i64::from(scale), bigdecimal::RoundingMode::HalfEven)))
        }
        (DecimalMode::String, Atom::Number(text)) if encoding.is_none() && text.contains(['.', 'e', 'E']) => {
            Err(Unfit::found(
                "a number where decimal.handling.mode=string writes text; if the mode is double, its digits may be wrong",
                atom,
            ))
        }
        (DecimalMode::Precise | DecimalMode::String, _) => Ok(Value::decimal(digits(atom)?)),
    }
}

/// Longer decimals than any database's are refused before they cost time.
const DIGITS: usize = 140_000;

fn unscaled(digits: &[u8], scale: i64) -> Result<Value, Unfit> {
    if digits.is_empty() || digits.len() > DIGITS / 2 || scale.unsigned_abs() > DIGITS as u64 {
        return Err("a decimal without digits or with too many".into());
    }
    Ok(Value::decimal(BigDecimal::new(BigInt::from_signed_bytes_be(digits), scale)))
}

fn digits(atom: &Atom<'_>) -> Result<BigDecimal, Unfit> {
    let text = atom.scalar().ok_or_else(|| Unfit::found("expected a decimal", atom))?;
    if let Some(decimal) = short(&text) {
        return Ok(decimal);
    }
    if text.len() > DIGITS {
        return Err("a decimal with too many digits".into());
    }
    let decimal = BigDecimal::from_str(&text).map_err(|_| Unfit::found("expected a decimal", atom))?;
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
fn json(atom: &Atom<'_>) -> Result<Value, Unfit> {
    let document: Result<serde_json::Value, _> = serde_json::from_str(text(atom)?);
    let document = document.map_err(|_| Unfit::found("expected JSON", atom))?;
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
