//! Decimals, in each `decimal.handling.mode` and `bigint.unsigned.handling.mode`.
//!
//! Must not know: rows. What the event's schema says of the encoding goes before the configuration. Without a schema
//! nothing tells that a column's scale was altered: bytes without one are read by the declared scale. Sources:
//! Debezium's `DecimalMode`, `BigIntUnsignedMode`.

use std::borrow::Cow;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, RoundingMode, ToPrimitive};

use super::atom::{Atom, Unfit};
use super::schema::Encoding;
use super::shape::{ConnectorKind, ConnectorShape, DecimalMode, Detail};
use crate::domain::value::Value;

/// Decimal digits that a double keeps.
const EXACT: u32 = 15;

/// A declared decimal's value.
pub fn value(
    connector: &ConnectorShape,
    encoding: Option<Encoding>,
    (scale, detail): (Option<u32>, Detail),
    atom: &Atom<'_>,
) -> Result<Value, Unfit> {
    if let Atom::Scaled { scale, digits } = atom {
        return unscaled(digits, *scale).map(Value::decimal);
    }
    if detail.is_unsigned {
        return unsigned(encoding, atom).map(Value::decimal);
    }
    let mode = match (encoding, atom) {
        (Some(Encoding::Decimal { scale }), Atom::Bytes(_) | Atom::Text(_)) => {
            return unscaled(&octets(atom)?, i64::from(scale)).map(Value::decimal);
        }
        (Some(Encoding::Double), _) => DecimalMode::Double,
        (Some(_), _) => DecimalMode::String,
        (None, Atom::Bytes(_)) => DecimalMode::Precise,
        (None, _) => connector.decimal_mode.ok_or(
            "the event carries no schema: set the connector's decimal_handling_mode to Debezium's decimal.handling.mode",
        )?,
    };
    let decimal = match (mode, atom) {
        (DecimalMode::Precise, Atom::Text(_) | Atom::Bytes(_)) => {
            let scale = scale.ok_or("precise without a schema: declare the scale, as in numeric(12,2)")?;
            let decimal = unscaled(&octets(atom)?, i64::from(scale))?;
            // Whose scale was altered meanwhile it would be off by powers of ten.
            if detail.digits.is_some_and(|digits| decimal.digits() > u64::from(digits)) {
                return Err(Unfit::found("a decimal of more digits than are declared", atom));
            }
            decimal
        }
        (DecimalMode::Double, _) => double(scale, detail, atom)?,
        (DecimalMode::String, Atom::Number(text)) if encoding.is_none() && text.contains(['.', 'e', 'E']) => {
            return Err(Unfit::found(
                "a number where decimal.handling.mode=string writes text; if the mode is double, its digits may be wrong",
                atom,
            ));
        }
        (DecimalMode::Precise | DecimalMode::String, _) => digits(atom)?,
    };
    // Whoever writes decimals as text, or says that this is an integer, has written one of which the sign may be none.
    let is_integer = encoding == Some(Encoding::Plain) || encoding.is_none() && mode == DecimalMode::String;
    let is_mysql = matches!(connector.kind, ConnectorKind::Mysql | ConnectorKind::Mariadb);
    if is_mysql && is_integer && atom.is_number() && decimal.sign() == Sign::Minus {
        return Err(Unfit::found(
            "a negative integer, which may be one beyond 2^63: declare the column as the table does, bigint or bigint unsigned",
            atom,
        ));
    }
    Ok(Value::decimal(decimal))
}

/// A `bigint unsigned`. In `precise`, which has nothing to do with `decimal.handling.mode`, it is bytes; in `long` the
/// same 64 bits with a sign.
fn unsigned(encoding: Option<Encoding>, atom: &Atom<'_>) -> Result<BigDecimal, Unfit> {
    let unfit = || Unfit::found("expected an unsigned integer of 64 bits", atom);
    let number = match (encoding, atom) {
        (None | Some(Encoding::Decimal { scale: 0 }), Atom::Text(_) | Atom::Bytes(_)) => unscaled(&octets(atom)?, 0)?,
        // As a number also where the converter writes decimals so (`decimal.format=NUMERIC`).
        _ => {
            let number = atom.integer::<i64>().map(|number| number as u64).or_else(|| atom.integer());
            BigDecimal::from(number.ok_or_else(unfit)?)
        }
    };
    if number.to_u64().is_some() { Ok(number) } else { Err(unfit()) }
}

/// Of a decimal without places, the number, if it has no more than 64 bits.
pub fn whole(atom: &Atom<'_>) -> Result<Option<i64>, Unfit> {
    match atom {
        Atom::Text(_) | Atom::Bytes(_) => Ok(unscaled(&octets(atom)?, 0)?.to_i64()),
        _ => Ok(atom.integer()),
    }
}

/// Fifteen digits survive a double. Within them it must be a number that the declared type can hold: another was
/// written since the column was given more places, and rounding it would be guessing.
fn double(scale: Option<u32>, detail: Detail, atom: &Atom<'_>) -> Result<BigDecimal, Unfit> {
    let scale = scale.filter(|_| detail.digits.is_some_and(|digits| digits <= EXACT));
    let scale = scale.ok_or("a double is exact only as numeric(p,s) with p up to 15")?;
    if !atom.is_number() {
        return Err(Unfit::found("expected a number", atom));
    }
    let exact = digits(atom)?.with_prec(u64::from(EXACT)).normalized();
    let decimal = exact.with_scale_round(i64::from(scale), RoundingMode::HalfEven);
    if decimal != exact || detail.digits.is_some_and(|digits| decimal.digits() > u64::from(digits)) {
        return Err(Unfit::found("a number of more digits than are declared", atom));
    }
    Ok(decimal)
}

fn octets<'a>(atom: &'a Atom<'_>) -> Result<Cow<'a, [u8]>, Unfit> {
    match atom {
        Atom::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
        _ => match STANDARD.decode(atom.text().unwrap_or_default()) {
            Ok(bytes) => Ok(bytes.into()),
            Err(_) => Err(Unfit::found("expected base64", atom)),
        },
    }
}

/// Longer decimals than any database's are refused before they cost time.
const DIGITS: usize = 140_000;

/// Big-endian two's complement.
fn unscaled(digits: &[u8], scale: i64) -> Result<BigDecimal, Unfit> {
    if digits.is_empty() || digits.len() > DIGITS / 2 || scale.unsigned_abs() > DIGITS as u64 {
        return Err("a decimal without digits or with too many".into());
    }
    Ok(BigDecimal::new(BigInt::from_signed_bytes_be(digits), scale))
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
