//! ISO 8601 as Java writes it, of all years: `-0043-03-15` is in 44 BC, `+12024-02-29` after the last year that jiff has.
//!
//! Must not know: types of columns.

use jiff::civil::Time;
use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;

/// Days since 1970-01-01.
pub fn date(text: &str) -> Option<i64> {
    split(text).filter(|(_, rest)| rest.is_empty()).map(|(days, _)| days)
}

/// Microseconds since 1970-01-01T00:00:00Z. Without an offset it is read as if UTC.
pub fn moment(text: &str) -> Option<i128> {
    let (days, rest) = split(text)?;
    // The rest is read as that of a day which jiff has.
    let other = format!("1970-01-01{rest}");
    let pieces = Pieces::parse(&other).ok()?;
    let micros = pieces.time()?.duration_since(Time::midnight()).as_micros();
    let offset = pieces.to_numeric_offset().unwrap_or(Offset::UTC);
    Some(i128::from(days) * 86_400_000_000 + micros - i128::from(offset.seconds()) * 1_000_000)
}

/// The day that a text begins with, and what stands behind it.
fn split(text: &str) -> Option<(i64, &str)> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (year, rest) = unsigned.split_once('-')?;
    let number = |digits: &str| -> Option<i64> {
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let year = number(year).filter(|_| (4..=9).contains(&year.len()))?;
    let year = if text.starts_with('-') { -year } else { year };
    let (month, day) = (number(rest.get(..2)?)?, number(rest.get(3..5)?)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let is_date = rest.as_bytes()[2] == b'-' && (1..=last).contains(&day);
    is_date.then(|| (days(year, month, day), &rest[5..]))
}

/// Of the Gregorian calendar (Howard Hinnant's `days_from_civil`): years begin in March, so that the leap day is their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("2024-02-29", 19_782),
            ("1900-02-28", -25_509),
            ("0001-01-01", -719_162),
            ("0000-12-31", -719_163),
            ("-0043-03-15", -735_160),
            ("-4713-11-24", -2_440_588),
            ("+5874897-12-31", 2_145_042_905),
        ] {
            assert_eq!(date(text), Some(days), "{text}");
        }
        for text in [
            "",
            "-",
            "2024",
            "2024-02",
            "2024-2-29",
            "2023-02-29",
            "2024-13-01",
            "2024-04-31",
            "2024-02-29x",
            "99-01-01",
        ] {
            assert_eq!(date(text), None, "{text}");
        }
        for text in ["2024-02-é", "2024-é9-01", "1234567890-01-01", "--044-03-15", "2024-02+29"] {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn moments_are_those_of_jiff_and_go_beyond() {
        for text in ["1582-10-10T00:00:00Z", "2024-02-29T12:34:56.123456+05:30", "9999-12-30T00:00:00.5-01:00"] {
            let known: jiff::Timestamp = text.parse().expect("a moment");
            assert_eq!(moment(text), Some(known.as_microsecond().into()), "{text}");
        }
        assert_eq!(moment("-0043-03-15T12:00:00.123456Z"), Some(-63_517_780_799_876_544));
        assert_eq!(moment("+294247-01-10T04:00:25.2Z"), Some(9_223_372_036_825_200_000));
        assert_eq!(moment("1969-12-31T23:59:59"), Some(-1_000_000));
        for text in ["2024-02-29", "2024-02-29T", "2024-02-29T25:00:00Z", "infinity"] {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
