//! Moments, dates and times of day. What a number counts is known from the event's schema, else only from the
//! connector's `time.precision.mode`.
//!
//! Must not know: rows. Without a schema the connector's default mode is assumed. PostgreSQL's `adaptive` counts
//! milliseconds where the column's precision is at most 3, else microseconds. MySQL and MariaDB, which refuse
//! `adaptive`, have `adaptive_time_microseconds`: the same for moments, but a time is always microseconds. ISO 8601
//! text, as `isostring` writes it, needs no assumption. Of SQL Server and Oracle nothing is assumed (`value`). Numbers of
//! the modes `connect`, `microseconds` and `nanoseconds` look alike: such a connector must send schemas. They are refused
//! where the database could not hold what they would mean, which milliseconds taken for microseconds escape. Sources:
//! Debezium's `TemporalPrecisionMode`, `BinlogConnectorConfig.validateTimePrecisionMode`.

use std::ops::RangeInclusive;

use super::atom::{Atom, Unfit};
use super::iso;
use super::schema::{Encoding, Unit};
use super::shape::ConnectorKind;
use crate::domain::value::Value;

/// PostgreSQL's infinity is to Debezium these microseconds; without fractions also as many milliseconds.
const INFINITY: i64 = 9_223_372_036_825_200_000;
const MINUS_INFINITY: i64 = -9_223_372_036_832_400_000;

/// From PostgreSQL's first moment, in 4713 BC, to the end of the year 9999, in microseconds. PostgreSQL can hold later
/// ones, but a number that seems so late is rather one of another unit.
const LIKELY: RangeInclusive<i64> = -210_866_803_200_000_000..=253_402_300_799_999_999;

/// 4714-11-24 BC, before which no database has a day: what seems to be earlier has overflowed.
const FIRST_DAY: i64 = -2_440_588;

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
    let beyond = || Unfit::found("a moment beyond the calendar", atom);
    if let Some(text) = atom.text() {
        let micros = moment_text(text).ok_or_else(|| Unfit::found("expected an ISO 8601 moment", atom))?;
        let micros = i64::try_from(micros).ok().ok_or_else(beyond)?;
        let micros = infinite(Unit::Micros, micros).unwrap_or(micros);
        return Ok(Value::Timestamp(possible(micros).ok_or_else(beyond)?));
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
    let micros = unit.micros(number).ok_or_else(beyond)?;
    if encoding.is_none() && !LIKELY.contains(&micros) {
        return Err(Unfit::found(WRONG_MODE, atom));
    }
    Ok(Value::Timestamp(possible(micros).ok_or_else(beyond)?))
}

/// PostgreSQL's last 29 years are beyond 64 bits of microseconds, and arrive as if before its first.
fn possible(micros: i64) -> Option<i64> {
    (micros == i64::MIN || micros >= *LIKELY.start()).then_some(micros)
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

fn moment_text(text: &str) -> Option<i128> {
    match text {
        "infinity" => return Some(i64::MAX.into()),
        "-infinity" => return Some(i64::MIN.into()),
        _ => {}
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(timestamp) => Some(timestamp.as_microsecond().into()),
        Err(_) => iso::moment(text),
    }
}

pub fn date(encoding: Option<Encoding>, atom: &Atom<'_>) -> Result<Value, Unfit> {
    let days = match atom.text() {
        Some(text) => {
            // Debezium's IsoDate ends with its offset, UTC.
            let text = text.trim_end_matches('Z');
            // As below, but the era of the one in the year 292269055 BC is left out.
            if text == "+292269055-12-02" {
                return Ok(Value::Date(i32::MIN));
            }
            iso::date(text).ok_or_else(|| Unfit::found("expected an ISO 8601 date", atom))?
        }
        None if matches!(encoding, None | Some(Encoding::Days)) => {
            atom.integer().ok_or_else(|| Unfit::found("expected days", atom))?
        }
        None => return Err("a number, of which the event's schema does not say that it is a date".into()),
    };
    // PostgreSQL's infinity and -infinity are the last milliseconds of 64 bits to its snapshot. To its log they are next
    // to each other in the year 5877611 BC, later also where they belong. Of the days that these are there are 32 bits.
    // As the greatest and the least date they compare as they do in PostgreSQL.
    Ok(Value::Date(match days {
        106_751_991_166 | -622_191_234 | -2_147_472_692 | 2_146_033_979 => i32::MAX,
        -625_821_272 | -2_147_472_691 => i32::MIN,
        days => i32::try_from(days)
            .ok()
            .filter(|_| days >= FIRST_DAY)
            .ok_or_else(|| Unfit::found("a date beyond the calendar", atom))?,
    }))
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
