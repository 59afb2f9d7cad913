//! One row's atoms into values of the declared types.
//!
//! Must not know: formats, envelopes, units of time (`temporal`). A value that does not fit its declared type is refused
//! with the column's name.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bigdecimal::BigDecimal;

use super::atom::{Atom, Atoms, Unfit};
use super::schema::{Encoding, Encodings};
use super::shape::{BinaryMode, ConnectorKind, SourceShape};
use super::{Refusal, decimal, mongodb, temporal};
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
        Type::Int => Value::Int(integer(encoding, atom)?),
        Type::Decimal { scale } => decimal::value(&shape.connector, encoding, (scale, shape.details[column]), atom)?,
        Type::Timestamp { .. } | Type::TimestampTz | Type::Date | Type::Time { .. }
            if encoding.is_none() && atom.is_number() && !shape.connector.kind.has_known_units() =>
        {
            return Err("a number, and without a schema it is not known what it counts: let the converter send schemas, or set \
                        time.precision.mode to isostring"
                .into());
        }
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
        Type::Text if shape.details[column].is_padded => Value::text(text(atom)?.trim_end_matches(' ')),
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

/// An unsigned one may come as a decimal.
fn integer(encoding: Option<Encoding>, atom: &Atom<'_>) -> Result<i64, Unfit> {
    let number = match encoding {
        Some(Encoding::Decimal { scale: 0 }) => decimal::whole(atom)?,
        _ => atom.integer(),
    };
    number.ok_or_else(|| Unfit::found("expected an integer of 64 bits", atom))
}

fn json(atom: &Atom<'_>) -> Result<Value, Unfit> {
    document(text(atom)?).ok_or_else(|| Unfit::found("expected JSON", atom))
}

/// JSON as canonical text: `serde_json` keeps objects in key order, numbers are written as shortly as they can be.
pub fn document(text: &str) -> Option<Value> {
    let mut document = serde_json::from_str(text).ok()?;
    shorten(&mut document);
    Some(Value::Json(document.to_string().into()))
}

/// Databases keep a number as it was written, without zeros at its end, or as its nearest double.
fn shorten(document: &mut serde_json::Value) {
    match document {
        serde_json::Value::Number(number) => {
            if let Some(short) = shortest(&number.to_string()) {
                *number = short;
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(shorten),
        serde_json::Value::Object(members) => members.values_mut().for_each(shorten),
        _ => {}
    }
}

/// Longer numbers in JSON stay as they are written.
const LONG: usize = 1000;

/// One way to write a number; `None` where it is written so, or too long to look.
fn shortest(text: &str) -> Option<serde_json::Number> {
    if text.len() > LONG || !text.contains(['.', 'e', 'E']) && text != "-0" {
        return None;
    }
    let number = BigDecimal::from_str(text).ok()?.normalized();
    let short = match number.fractional_digit_count().unsigned_abs() > LONG as u64 {
        true => {
            let (digits, scale) = number.into_bigint_and_exponent();
            format!("{digits}e{}", -i128::from(scale))
        }
        false => number.to_plain_string(),
    };
    short.parse().ok()
}
