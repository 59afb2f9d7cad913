//! Moments, dates and times of day as PostgreSQL reads and writes them (`timezone` UTC, `DateStyle` ISO).
//!
//! Must not know: casts (`convert`). jiff's timestamp ends two days before the year 9999 does, which is a common
//! "never"; its calendar does not.

use jiff::civil::{Date, Time, date};
use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;

use crate::domain::value::Value;

pub const DAY_US: i64 = 86_400_000_000;

const SECOND_US: i64 = 1_000_000;

/// A moment. Its offset counts only where the type has a zone: a `timestamp` does without it.
pub fn read_moment(text: &str, has_zone: bool) -> Option<Value> {
    if let Some(infinite) = infinite(text) {
        return Some(Value::Timestamp(if infinite { i64::MAX } else { i64::MIN }));
    }
    let pieces = pieces(text)?;
    let time = pieces.time().unwrap_or(Time::midnight());
    let offset = pieces.to_numeric_offset().filter(|_| has_zone).unwrap_or(Offset::UTC);
    let micros = i64::from(days(pieces.date())) * DAY_US + micros(time);
    Some(Value::Timestamp(micros - i64::from(offset.seconds()) * SECOND_US))
}

pub fn read_date(text: &str) -> Option<Value> {
    if let Some(infinite) = infinite(text) {
        return Some(Value::Date(if infinite { i32::MAX } else { i32::MIN }));
    }
    pieces(text).map(|pieces| Value::Date(days(pieces.date())))
}

pub fn read_time(text: &str) -> Option<Value> {
    if text == "24:00:00" {
        return Some(Value::Time(DAY_US));
    }
    let is_time = text.contains(':') && !has_leap_second(text);
    let time: Time = text.parse().ok().filter(|_| is_time)?;
    Some(Value::Time(micros(time)))
}

/// True for `infinity`, false for `-infinity`.
fn infinite(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "infinity" => Some(true),
        "-infinity" => Some(false),
        _ => None,
    }
}

fn pieces(text: &str) -> Option<Pieces<'_>> {
    let pieces = Pieces::parse(text).ok()?;
    let plain = pieces.time_zone_annotation().is_none() && !has_leap_second(text);
    plain.then_some(pieces)
}

/// jiff takes a second 60 for 59, PostgreSQL for the next minute.
fn has_leap_second(text: &str) -> bool {
    text.contains(":60")
}

fn days(day: Date) -> i32 {
    let since = day.duration_since(date(1970, 1, 1));
    i32::try_from(since.as_hours() / 24).expect("the calendar of jiff has fewer days")
}

/// Microseconds since midnight; half of one goes to the even.
fn micros(time: Time) -> i64 {
    let nanos = i64::from(time.subsec_nanosecond());
    let (fraction, rest) = (nanos / 1000, nanos % 1000);
    let up = rest > 500 || rest == 500 && fraction % 2 == 1;
    let seconds = i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
    seconds * SECOND_US + fraction + i64::from(up)
}

/// A moment, with the zone to say after it.
pub fn moment_text(micros: i64, zone: &str) -> String {
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        _ => {
            let (date, era) = day_text(micros.div_euclid(DAY_US));
            format!("{date} {}{zone}{era}", time_text(micros.rem_euclid(DAY_US)))
        }
    }
}

pub fn date_text(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        _ => {
            let (date, era) = day_text(i64::from(days));
            format!("{date}{era}")
        }
    }
}

/// Hours may be 24, as in PostgreSQL, or more, as in MySQL, whose times can be negative.
pub fn time_text(micros: i64) -> String {
    let (sign, micros) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    let (seconds, fraction) = (micros / 1_000_000, format!(".{:06}", micros % 1_000_000));
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!("{sign}{:02}:{:02}:{:02}{fraction}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A day and its era: there is no year 0, and jiff's calendar ends with 9999, which PostgreSQL's does not.
fn day_text(days: i64) -> (String, &'static str) {
    let (year, month, day) = civil(days);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    (format!("{year:04}-{month:02}-{day:02}"), era)
}

/// Year, month and day of days since 1970-01-01 in the Gregorian calendar (Howard Hinnant's `civil_from_days`): years
/// begin in March, so that the leap day is their last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}
