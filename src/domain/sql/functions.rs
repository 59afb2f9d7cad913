//! The scalar functions that rules may call: pure ones only.
//!
//! Must not know: expressions. NULL and unknown arguments were dealt with by the caller: all of them are strict.

use std::borrow::Cow;

use bigdecimal::{BigDecimal, RoundingMode};

use super::error::EvalError;
use super::numeric::{round, to_decimal};
use crate::domain::value::Value;

/// A scalar function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Abs,
    Round,
    Trunc,
    Ceil,
    Floor,
    Upper,
    Lower,
    Trim,
    Length,
}

/// The functions by name, with the least and greatest number of arguments, and whether they take numbers (else text).
pub const FUNCTIONS: [(&str, Function, usize, usize, bool); 10] = [
    ("abs", Function::Abs, 1, 1, true),
    ("round", Function::Round, 1, 2, true),
    ("trunc", Function::Trunc, 1, 2, true),
    ("ceil", Function::Ceil, 1, 1, true),
    ("ceiling", Function::Ceil, 1, 1, true),
    ("floor", Function::Floor, 1, 1, true),
    ("upper", Function::Upper, 1, 1, false),
    ("lower", Function::Lower, 1, 1, false),
    ("btrim", Function::Trim, 1, 1, false),
    ("length", Function::Length, 1, 1, false),
];

/// Calls a function with arguments that are there.
pub fn call(function: Function, arguments: &[Cow<'_, Value>]) -> Result<Value, EvalError> {
    let first = &*arguments[0];
    if let Value::Text(text) = first {
        return Ok(match function {
            Function::Upper => Value::text(by_letter(text, char::to_uppercase)),
            Function::Lower => Value::text(by_letter(text, char::to_lowercase)),
            Function::Trim => Value::text(text.trim_matches(' ')),
            _ => Value::Int(i64::try_from(text.chars().count()).map_err(|_| EvalError::OutOfRange("length"))?),
        });
    }
    if let (Value::Int(number), Function::Abs) = (first, function) {
        return number.checked_abs().map(Value::Int).ok_or(EvalError::OutOfRange("bigint"));
    }
    let decimal = to_decimal(first).expect("the function was bound to numbers");
    let scale = match arguments.get(1).map(|scale| &**scale) {
        Some(Value::Int(scale)) => (*scale).clamp(-2000, 2000),
        _ => 0,
    };
    Ok(Value::decimal(at_least_integral(match function {
        Function::Abs => decimal.abs(),
        Function::Trunc => decimal.with_scale_round(scale, RoundingMode::Down),
        Function::Ceil => decimal.with_scale_round(0, RoundingMode::Ceiling),
        Function::Floor => decimal.with_scale_round(0, RoundingMode::Floor),
        _ => round(&decimal, scale),
    })))
}

/// Letter by letter, as the C library's locales do it: what would become several letters stays.
fn by_letter<M: ExactSizeIterator<Item = char>>(text: &str, map: impl Fn(char) -> M) -> String {
    let one = |letter: char| {
        let mut mapped = map(letter);
        if mapped.len() == 1 { mapped.next().unwrap_or(letter) } else { letter }
    };
    text.chars().map(one).collect()
}

/// A scale below 0 rounds before the point; what is shown has scale 0.
fn at_least_integral(decimal: BigDecimal) -> BigDecimal {
    if decimal.fractional_digit_count() < 0 { decimal.with_scale(0) } else { decimal }
}
