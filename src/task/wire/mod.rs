//! The versioned binary formats: blocks of the changes log and what a store keeps. `schemas/` describes them.
//!
//! Must not know: Kafka, RocksDB. Numbers are LEB128 varints, signed ones zigzagged first (Protocol Buffers'
//! encoding); text and bytes carry their length in front.

pub mod block;
pub mod rules;
pub mod snapshots;
mod source_map;
pub mod state;
#[cfg(test)]
mod tests;
pub mod transactions;

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;

use crate::domain::instant::Instant;
use crate::domain::value::{Type, Value};

/// Why bytes could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("not {what}: it does not begin with its magic bytes")]
    Foreign { what: &'static str },
    #[error("{what} has format version {found}, newer than {known}, the newest that this evenkeel knows; upgrade it")]
    Newer { what: &'static str, found: u8, known: u8 },
    #[error("{what} is damaged at byte {at}: {reason}")]
    Damaged { what: &'static str, at: usize, reason: &'static str },
    #[error(
        "{what} holds {column} of source {source_name} as {was}, the configuration declares it {is}; give the reconciliation \
         a new name: it begins anew from what the sources' topics hold"
    )]
    Redeclared { what: &'static str, source_name: String, column: String, was: Type, is: Type },
}

/// No decimal that was decoded or computed has a scale so far from 0.
const SCALE: u64 = 1_000_000;

/// Appends to a byte vector.
#[derive(Default)]
pub struct Writer {
    pub bytes: Vec<u8>,
}

impl Writer {
    /// What [`Reader::head`] checks.
    pub fn begin(magic: &[u8], version: u8) -> Writer {
        let mut writer = Writer { bytes: magic.to_vec() };
        writer.byte(version);
        writer
    }

    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub fn unsigned(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// A number of up to 128 bits; a small one is written as by [`Writer::unsigned`].
    pub fn wide(&mut self, mut number: u128) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    pub fn wide_signed(&mut self, number: i128) {
        self.wide(((number << 1) ^ (number >> 127)) as u128);
    }

    pub fn signed(&mut self, number: i64) {
        self.unsigned(((number << 1) ^ (number >> 63)) as u64);
    }

    pub fn length(&mut self, length: usize) {
        self.unsigned(length as u64);
    }

    pub fn word(&mut self, number: u32) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    pub fn fixed(&mut self, number: u64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    pub fn slice(&mut self, slice: &[u8]) {
        self.length(slice.len());
        self.bytes.extend_from_slice(slice);
    }

    pub fn text(&mut self, text: &str) {
        self.slice(text.as_bytes());
    }

    pub fn instant(&mut self, instant: Instant) {
        self.signed(instant.0);
    }

    pub fn option<T>(&mut self, option: Option<T>, write: impl FnOnce(&mut Writer, T)) {
        self.byte(u8::from(option.is_some()));
        if let Some(value) = option {
            write(self, value);
        }
    }

    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Unknown => self.byte(0),
            Value::Null => self.byte(1),
            Value::Bool(false) => self.byte(2),
            Value::Bool(true) => self.byte(3),
            Value::Int(number) => {
                self.byte(4);
                self.signed(*number);
            }
            Value::Decimal(decimal) => {
                let (digits, scale) = decimal.as_bigint_and_scale();
                match i64::try_from(&*digits) {
                    Ok(digits) => {
                        self.byte(5);
                        self.signed(scale);
                        self.signed(digits);
                    }
                    Err(_) => {
                        self.byte(6);
                        self.signed(scale);
                        self.slice(&digits.to_signed_bytes_be());
                    }
                }
            }
            Value::Text(text) => {
                self.byte(7);
                self.text(text);
            }
            Value::Bytes(bytes) => {
                self.byte(8);
                self.slice(bytes);
            }
            Value::Timestamp(micros) => {
                self.byte(9);
                self.signed(*micros);
            }
            Value::Date(days) => {
                self.byte(10);
                self.signed(i64::from(*days));
            }
            Value::Time(micros) => {
                self.byte(11);
                self.signed(*micros);
            }
            Value::Uuid(bytes) => {
                self.byte(12);
                self.bytes.extend_from_slice(bytes);
            }
            Value::Json(text) => {
                self.byte(13);
                self.text(text);
            }
        }
    }

    pub fn values(&mut self, values: &[Value]) {
        self.length(values.len());
        for value in values {
            self.value(value);
        }
    }
}

/// Reads from a byte slice; every method fails rather than reads beyond its end.
pub struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// `what` names the thing in errors: `changes-log block`.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Reader<'a> {
        Reader { what, bytes, at: 0 }
    }

    /// Checks the magic bytes and the version that follows them; gives the version.
    pub fn head(&mut self, magic: &[u8], known: u8) -> Result<u8, WireError> {
        let what = self.what;
        if !self.bytes[self.at..].starts_with(magic) {
            return Err(WireError::Foreign { what });
        }
        self.at += magic.len();
        match self.byte()? {
            found if found > known => Err(WireError::Newer { what, found, known }),
            0 => Err(self.damaged("version 0 was never written")),
            found => Ok(found),
        }
    }

    pub fn damaged(&self, reason: &'static str) -> WireError {
        WireError::Damaged { what: self.what, at: self.at, reason }
    }

    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Fails unless everything was read.
    pub fn end(&self) -> Result<(), WireError> {
        if self.is_empty() { Ok(()) } else { Err(self.damaged("bytes are left over")) }
    }

    pub fn byte(&mut self) -> Result<u8, WireError> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.damaged("it ends too early"))?;
        self.at += 1;
        Ok(byte)
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let slice = self.bytes[self.at..].get(..length).ok_or_else(|| self.damaged("it ends too early"))?;
        self.at += length;
        Ok(slice)
    }

    pub fn unsigned(&mut self) -> Result<u64, WireError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.damaged("a number has more than 64 bits"))
    }

    pub fn wide(&mut self) -> Result<u128, WireError> {
        let mut number = 0_u128;
        for shift in (0..128).step_by(7) {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7F);
            if shift == 126 && bits > 3 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.damaged("a number has more than 128 bits"))
    }

    pub fn wide_signed(&mut self) -> Result<i128, WireError> {
        let number = self.wide()?;
        Ok((number >> 1) as i128 ^ -((number & 1) as i128))
    }

    pub fn signed(&mut self) -> Result<i64, WireError> {
        let number = self.unsigned()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A count of things of which each takes at least one byte: so a lying count fails before it allocates.
    pub fn length(&mut self) -> Result<usize, WireError> {
        let length = self.unsigned()?;
        match usize::try_from(length) {
            Ok(length) if length <= self.bytes.len() - self.at => Ok(length),
            _ => Err(self.damaged("a length goes beyond the end")),
        }
    }

    pub fn narrow<T: TryFrom<u64>>(&mut self) -> Result<T, WireError> {
        T::try_from(self.unsigned()?).map_err(|_| self.damaged("a number is out of range"))
    }

    pub fn word(&mut self) -> Result<u32, WireError> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes were taken")))
    }

    pub fn fixed(&mut self) -> Result<u64, WireError> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
    }

    pub fn slice(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.length()?;
        self.take(length)
    }

    pub fn text(&mut self) -> Result<&'a str, WireError> {
        let slice = self.slice()?;
        std::str::from_utf8(slice).map_err(|_| self.damaged("text is not UTF-8"))
    }

    pub fn instant(&mut self) -> Result<Instant, WireError> {
        Ok(Instant(self.signed()?))
    }

    pub fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        match self.byte()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(self.damaged("a flag is neither 0 nor 1")),
        }
    }

    pub fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Reader<'a>) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let length = self.length()?;
        let mut list = Vec::with_capacity(length.min(1024));
        for _ in 0..length {
            list.push(read(self)?);
        }
        Ok(list)
    }

    pub fn value(&mut self) -> Result<Value, WireError> {
        Ok(match self.byte()? {
            0 => Value::Unknown,
            1 => Value::Null,
            2 => Value::Bool(false),
            3 => Value::Bool(true),
            4 => Value::Int(self.signed()?),
            5 => {
                let scale = self.scale()?;
                Value::decimal(BigDecimal::new(BigInt::from(self.signed()?), scale))
            }
            6 => {
                let scale = self.scale()?;
                Value::decimal(BigDecimal::new(BigInt::from_signed_bytes_be(self.slice()?), scale))
            }
            7 => Value::text(self.text()?),
            8 => Value::Bytes(self.slice()?.into()),
            9 => Value::Timestamp(self.signed()?),
            10 => {
                let days = self.signed()?;
                Value::Date(i32::try_from(days).map_err(|_| self.damaged("a date is out of range"))?)
            }
            11 => Value::Time(self.signed()?),
            12 => Value::Uuid(self.take(16)?.try_into().expect("sixteen bytes were taken")),
            13 => Value::Json(self.text()?.into()),
            _ => return Err(self.damaged("a value has an unknown tag")),
        })
    }

    /// A decimal's. Of a greater one a few bytes would say more digits than memory holds.
    fn scale(&mut self) -> Result<i64, WireError> {
        let scale = self.signed()?;
        match scale.unsigned_abs() {
            0..=SCALE => Ok(scale),
            _ => Err(self.damaged("a decimal's scale is out of range")),
        }
    }

    pub fn values(&mut self) -> Result<Box<[Value]>, WireError> {
        Ok(self.list(Reader::value)?.into())
    }
}
