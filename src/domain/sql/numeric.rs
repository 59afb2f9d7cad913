//! Arithmetic on integers and decimals as PostgreSQL defines it.
//!
//! Must not know: expressions. Rules of scale: PostgreSQL's `numeric.c` (`select_div_scale`, `numeric_round`).

use std::str::FromStr;

use bigdecimal::num_bigint::Sign;
use bigdecimal::{BigDecimal, RoundingMode, Zero};

use super::error::EvalError;
use crate::domain::value::Value;

/// An arithmetic operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

/// PostgreSQL's NUMERIC_MIN_SIG_DIGITS.
const SIGNIFICANT_DIGITS: i64 = 16;

/// PostgreSQL's DEC_DIGITS: its digits are in base 10000.
const DECIMAL_DIGITS: i64 = 4;

/// PostgreSQL's NUMERIC_MAX_DISPLAY_SCALE.
const MAX_SCALE: i64 = 1000;

/// PostgreSQL's limits of a numeric: digits before the point and after it.
const DIGITS_BEFORE: u64 = 131_072;
const DIGITS_AFTER: u64 = 16_383;

/// A number of either kind as a decimal.
pub fn to_decimal(value: &Value) -> Option<BigDecimal> {
    match value {
        Value::Int(number) => Some(BigDecimal::from(*number)),
        Value::Decimal(decimal) => Some((**decimal).clone()),
        _ => None,
    }
}

pub fn integers(operator: Operator, left: i64, right: i64) -> Result<i64, EvalError> {
    let result = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::Divide | Operator::Modulo if right == 0 => return Err(EvalError::DivisionByZero),
        Operator::Divide => left.checked_div(right),
        Operator::Modulo => Some(left.checked_rem(right).unwrap_or(0)),
    };
    result.ok_or(EvalError::OutOfRange("bigint"))
}

pub fn decimals(operator: Operator, left: &BigDecimal, right: &BigDecimal) -> Result<BigDecimal, EvalError> {
    let (left_scale, right_scale) = (left.fractional_digit_count(), right.fractional_digit_count());
    let greater = left_scale.max(right_scale);
    // The library forgets the scale of a zero.
    let result = match operator {
        Operator::Add => (left + right).with_scale(greater),
        Operator::Subtract => (left - right).with_scale(greater),
        Operator::Multiply => (left * right).with_scale(left_scale + right_scale),
        Operator::Divide | Operator::Modulo if right.is_zero() => return Err(EvalError::DivisionByZero),
        Operator::Divide => divide(left, right),
        Operator::Modulo => (left % right).with_scale(greater),
    };
    bounded(result)
}

/// The decimal, where PostgreSQL could hold it.
pub fn bounded(decimal: BigDecimal) -> Result<BigDecimal, EvalError> {
    let after = decimal.fractional_digit_count();
    let before = i64::try_from(decimal.digits()).unwrap_or(i64::MAX).saturating_sub(after);
    if after > DIGITS_AFTER as i64 || before > DIGITS_BEFORE as i64 {
        return Err(EvalError::OutOfRange("numeric"));
    }
    Ok(decimal)
}

/// Reads a decimal as PostgreSQL writes it in SQL and in text; `None` where it is none. Nothing is worked out before
/// the exponent is known to be within the limits: a few letters could say more digits than memory holds.
pub fn read(text: &str) -> Option<Result<BigDecimal, EvalError>> {
    const BEYOND: EvalError = EvalError::OutOfRange("numeric");
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(m, e)| (m, Some(e)));
    let unsigned = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if whole.len() + fraction.len() == 0 || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    if let Some(exponent) = exponent {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if digits.is_empty() || !are_digits(digits) {
            return None;
        }
        let within = exponent.parse::<i64>().is_ok_and(|exponent| exponent.unsigned_abs() <= DIGITS_BEFORE);
        if !within {
            return Some(Err(BEYOND));
        }
    }
    if whole.len() + fraction.len() > (DIGITS_BEFORE + DIGITS_AFTER) as usize {
        return Some(Err(BEYOND));
    }
    let decimal = BigDecimal::from_str(text).ok()?;
    Some(bounded(if decimal.fractional_digit_count() < 0 { decimal.with_scale(0) } else { decimal }))
}

fn are_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn divide(left: &BigDecimal, right: &BigDecimal) -> BigDecimal {
    let (weight_left, first_left) = leading(left);
    let (weight_right, first_right) = leading(right);
    let mut weight = weight_left - weight_right;
    if first_left <= first_right {
        weight -= 1;
    }
    let scale = (SIGNIFICANT_DIGITS - weight * DECIMAL_DIGITS)
        .max(left.fractional_digit_count())
        .max(right.fractional_digit_count())
        .clamp(0, MAX_SCALE);
    let (dividend, dividend_scale) = left.as_bigint_and_exponent();
    let (divisor, divisor_scale) = right.as_bigint_and_exponent();
    // dividend·10^-a / divisor·10^-b, scaled by 10^scale, is dividend·10^(scale+b-a) / divisor.
    let shift = scale + divisor_scale - dividend_scale;
    let power = |exponent: i64| bigdecimal::num_bigint::BigInt::from(10).pow(exponent.unsigned_abs() as u32);
    let (dividend, divisor) =
        if shift >= 0 { (dividend * power(shift), divisor) } else { (dividend, divisor * power(shift)) };
    let negative = (dividend.sign() == Sign::Minus) != (divisor.sign() == Sign::Minus);
    let (dividend, divisor) = (dividend.magnitude(), divisor.magnitude());
    let rounded = (dividend * 2_u32 + divisor) / (divisor * 2_u32);
    let sign = if rounded.is_zero() {
        Sign::NoSign
    } else if negative {
        Sign::Minus
    } else {
        Sign::Plus
    };
    BigDecimal::new(bigdecimal::num_bigint::BigInt::from_biguint(sign, rounded), scale)
}

/// The weight of the first digit in base 10000, and that digit; 0 and 0 for zero.
fn leading(decimal: &BigDecimal) -> (i64, u32) {
    if decimal.is_zero() {
        return (0, 0);
    }
    let (digits, scale) = decimal.as_bigint_and_exponent();
    let text = digits.magnitude().to_string();
    let exponent = text.len() as i64 - scale - 1;
    let weight = exponent.div_euclid(DECIMAL_DIGITS);
    let wanted = (exponent - weight * DECIMAL_DIGITS + 1) as usize;
    let digits = text.bytes().chain(std::iter::repeat(b'0')).take(wanted);
    (weight, digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

/// Rounds half away from zero, as PostgreSQL's `round(numeric, int)`.
pub fn round(decimal: &BigDecimal, scale: i64) -> BigDecimal {
    decimal.with_scale_round(scale, RoundingMode::HalfUp)
}

/// Rounds to an integer of 64 bits, half away from zero.
pub fn to_integer(decimal: &BigDecimal) -> Result<i64, EvalError> {
    let (digits, scale) = round(decimal, 0).as_bigint_and_exponent();
    assert!(scale == 0, "a decimal rounded to scale 0 has scale 0");
    i64::try_from(&digits).map_err(|_| EvalError::OutOfRange("bigint"))
}
