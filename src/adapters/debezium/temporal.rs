//! Moments, dates and times of day. What a number counts is known from the event's schema, else only from the
//! connector's `time.precision.mode`.
//!
//! Must not know: rows. Without a schema the connector's default mode is assumed. PostgreSQL's `adaptive` counts
//! milliseconds where the column's precision is at most 3, else microseconds. MySQL and MariaDB, which refuse
//! `adaptive`, have `adaptive_time_microseconds`: the same for moments, but a time is always microseconds. ISO 8601
//! text, as `isostring` writes it, needs no assumption. Numbers of the modes `connect`, `microseconds` and
//! `nanoseconds` look alike: such a connector must send schemas. They are refused where the database could not hold
//! what they would mean, which milliseconds taken for microseconds escape. Sources: Debezium's
//! `TemporalPrecisionMode`, `BinlogConnectorConfig.validateTimePrecisionMode`.

use std::ops::RangeInclusive;

use super::atom::{Atom, Unfit};
use super::schema::{Encoding, Unit};
use super::shape::ConnectorKind;
use crate::domain::value::Value;

/// PostgreSQL's infinity is to Debezium these microseconds; without fractions also as many milliseconds.
const INFINITY: i64 = 9_223_372_036_825_200_000;
const MINUS_INFINITY: i64 = -9_223_372_036_832_400_000;

/// From PostgreSQL's first moment, in 4713 BC, to the end of the year 9999, in microseconds. PostgreSQL can hold later
/// ones, but a number that seems so late is rather one of another unit.
const LIKELY: RangeInclusive<i64> = -210_866_803_200_000_000..=253_402_300_799_999_999;

const WRONG_MODE: &str =
    "without a schema this number is no likely value; does the connector keep the default time.precision.mode?";

impl Unit {
    /// The unit of `adaptive`.
    fn adaptive(precision: u8) -> Unit {
        if precision <= 3 { Unit::Millis } else { Unit::Micros }
    }

    fn micros(self, number: i64) -> Option<i64> {
        match self {
            Unit::Millis => number.checked_mul(1000),
            Unit::Micros => Some(number),
            Unit::Nanos => Some(number.div_euclid(1000)),
        }
    }
}

/// A `timestamp` of this precision, or a `timestamptz` where there is none. The latter is text in every mode.
pub fn moment(encoding: Option<Encoding>, precision: Option<u8>, atom: &Atom<'_>) -> Result<Value, Unfit> {
    if let Some(text) = atom.text() {
        return moment_text(text).ok_or_else(|| Unfit::found("expected an ISO 8601 moment", atom));
    }
    let number = number(atom, "expected a moment")?;
    let unit = match (encoding, precision) {
        (Some(Encoding::Moment(unit)), _) => unit,
        (Some(_), _) => return Err("a number, of which the event's schema does not say that it is a moment".into()),
        (None, Some(precision)) => Unit::adaptive(precision),
        (None, None) => return Err("a number, where connectors write ISO 8601 text".into()),
    };
    if let Some(infinite) = infinite(unit, number) {
        return Ok(Value::Timestamp(infinite));
    }
    let micros = unit.micros(number).ok_or_else(|| Unfit::found("a moment beyond the calendar", atom))?;
    if encoding.is_none() && !LIKELY.contains(&micros) {
        return Err(Unfit::found(WRONG_MODE, atom));
    }
    Ok(Value::Timestamp(micros))
}

fn infinite(unit: Unit, number: i64) -> Option<i64> {
    let (after, before) = match unit {
        Unit::Millis => (INFINITY / 1000, MINUS_INFINITY / 1000),
        Unit::Micros => (INFINITY, MINUS_INFINITY),
        Unit::Nanos => (i64::MAX, i64::MIN),
    };
    match number {
        INFINITY | i64::MAX => Some(i64::MAX),
        MINUS_INFINITY | i64::MIN => Some(i64::MIN),
        _ if number == after => Some(i64::MAX),
        _ if number == before => Some(i64::MIN),
        _ => None,
    }
}

fn moment_text(text: &str) -> Option<Value> {
    match text {
        "infinity" => return Some(Value::Timestamp(i64::MAX)),
        "-infinity" => return Some(Value::Timestamp(i64::MIN)),
        _ => {}
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(timestamp) => Some(Value::Timestamp(timestamp.as_microsecond())),
        Err(_) => far_moment(text),
    }
}

/// A moment without an offset, which is read as if UTC, or in the last two days of the year 9999, which are a common
/// "never" and which jiff's timestamp has not.
fn far_moment(text: &str) -> Option<Value> {
    let pieces = jiff::fmt::temporal::Pieces::parse(text).ok()?;
    let civil = pieces.date().to_datetime(pieces.time()?);
    let since = civil.duration_since(jiff::civil::date(1970, 1, 1).to_datetime(jiff::civil::Time::midnight()));
    let offset = pieces.to_numeric_offset().unwrap_or(jiff::tz::Offset::UTC);
    let micros = since.as_micros() - i128::from(offset.seconds()) * 1_000_000;
    i64::try_from(micros).ok().map(Value::Timestamp)
}

pub fn date(encoding: Option<Encoding>, atom: &Atom<'_>) -> Result<Value, Unfit> {
    if let Some(text) = atom.text() {
        return date_text(text).ok_or_else(|| Unfit::found("expected an ISO 8601 date", atom));
    }
    if !matches!(encoding, None | Some(Encoding::Days)) {
        return Err("a number, of which the event's schema does not say that it is a date".into());
    }
    let days: i32 = atom.integer().ok_or_else(|| Unfit::found("expected days", atom))?;
    // PostgreSQL's infinity and -infinity are next to each other to Debezium up to 3.6, which wrote the one into the
    // year 5877611 BC. As the greatest and the least date they compare as they do in PostgreSQL.
    Ok(Value::Date(match days {
        -2_147_472_692 | 2_146_033_979 => i32::MAX,
        -2_147_472_691 => i32::MIN,
        days => days,
    }))
}

fn date_text(text: &str) -> Option<Value> {
    // Debezium's IsoDate ends with its offset, UTC.
    let date: jiff::civil::Date = text.trim_end_matches('Z').parse().ok()?;
    let span = date.since(jiff::civil::date(1970, 1, 1)).ok()?;
    Some(Value::Date(span.get_days()))
}

pub fn time(
    connector: ConnectorKind,
    encoding: Option<Encoding>,
    precision: u8,
    atom: &Atom<'_>,
) -> Result<Value, Unfit> {
    if let Some(text) = atom.text() {
        return time_text(text).ok_or_else(|| Unfit::found("expected an ISO 8601 time", atom));
    }
    let number = number(atom, "expected a time")?;
    let postgresql = connector == ConnectorKind::Postgresql;
    let unit = match encoding {
        Some(Encoding::TimeOfDay(unit)) => unit,
        Some(_) => return Err("a number, of which the event's schema does not say that it is a time".into()),
        None if postgresql => Unit::adaptive(precision),
        None => Unit::Micros,
    };
    // PostgreSQL has 24:00:00; MySQL's and MariaDB's TIME is up to 838:59:59.999999 either way.
    let possible = if postgresql { 0..=86_400_000_000 } else { -3_020_399_999_999..=3_020_399_999_999 };
    match unit.micros(number).filter(|micros| possible.contains(micros)) {
        Some(micros) => Ok(Value::Time(micros)),
        None if encoding.is_none() => Err(Unfit::found(WRONG_MODE, atom)),
        None => Err(Unfit::found("a time that the database cannot hold", atom)),
    }
}

fn time_text(text: &str) -> Option<Value> {
    // Debezium's IsoTime ends with its offset, UTC.
    let time: jiff::civil::Time = text.trim_end_matches('Z').parse().ok()?;
    let span = time.duration_since(jiff::civil::Time::midnight());
    Some(Value::Time(span.as_micros() as i64))
}

fn number(atom: &Atom<'_>, expected: &'static str) -> Result<i64, Unfit> {
    atom.integer().ok_or_else(|| Unfit::found(expected, atom))
}
