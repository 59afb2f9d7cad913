//! Conditions: SQL's three truth values, and a fourth for what rests on a value that the source could not give.
//!
//! Must not know: how other values are computed (`expr`). Conditions are most of what rules do, so no value is made
//! for them.

use std::cmp::Ordering;

use super::error::EvalError;
use super::expr::{Comparison, Expr, Tuple};
use super::like::like;
use super::numeric::to_decimal;
use crate::domain::value::Value;

/// A text is not held against a pattern where that could take more steps than this, about a second.
const LIKE_STEPS: usize = 1 << 28;

/// What a condition comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    Null,
    Unknown,
}

impl Truth {
    /// Of a value of type boolean.
    fn of(value: &Value) -> Truth {
        match value {
            Value::Bool(truth) => Truth::from(*truth),
            Value::Unknown => Truth::Unknown,
            _ => Truth::Null,
        }
    }

    /// Whether it surely holds; `None` where that is unknown.
    pub fn holds(self) -> Option<bool> {
        match self {
            Truth::True => Some(true),
            Truth::False | Truth::Null => Some(false),
            Truth::Unknown => None,
        }
    }
}

impl From<bool> for Truth {
    fn from(truth: bool) -> Truth {
        if truth { Truth::True } else { Truth::False }
    }
}

impl From<Truth> for Value {
    fn from(truth: Truth) -> Value {
        match truth {
            Truth::True => Value::Bool(true),
            Truth::False => Value::Bool(false),
            Truth::Null => Value::Null,
            Truth::Unknown => Value::Unknown,
        }
    }
}

impl Expr {
    /// What an expression of type boolean comes to.
    pub fn truth(&self, tuple: Tuple<'_>) -> Result<Truth, EvalError> {
        Ok(match self {
            Expr::And(left, right) => connective(left, right, tuple, Truth::False)?,
            Expr::Or(left, right) => connective(left, right, tuple, Truth::True)?,
            Expr::Not(operand) => match operand.truth(tuple)? {
                Truth::True => Truth::False,
                Truth::False => Truth::True,
                other => other,
            },
            Expr::Compare(comparison, left, right) => {
                match compared(&*left.evaluate(tuple)?, &*right.evaluate(tuple)?) {
                    Compared::Ordered(ordering) => comparison.holds(ordering).into(),
                    Compared::Null => Truth::Null,
                    Compared::Unknown => Truth::Unknown,
                }
            }
            Expr::Distinct { left, right, negated } => {
                distinct(&*left.evaluate(tuple)?, &*right.evaluate(tuple)?, *negated)
            }
            Expr::IsNull { operand, negated } => match &*operand.evaluate(tuple)? {
                Value::Unknown => Truth::Unknown,
                value => Truth::from(value.is_null() != *negated),
            },
            Expr::IsTruth { operand, truth, negated } => match operand.truth(tuple)? {
                Truth::Unknown => Truth::Unknown,
                Truth::Null => Truth::from(truth.is_none() != *negated),
                known => Truth::from((Some(known == Truth::True) == *truth) != *negated),
            },
            Expr::In { operand, list, negated } => within(&*operand.evaluate(tuple)?, list, tuple, *negated)?,
            Expr::Like { operand, pattern, escape, insensitive, negated } => {
                match (&*operand.evaluate(tuple)?, &*pattern.evaluate(tuple)?) {
                    (Value::Null, _) | (_, Value::Null) => Truth::Null,
                    (Value::Text(text), Value::Text(pattern)) => {
                        if text.len().saturating_mul(pattern.len()) > LIKE_STEPS {
                            return Err(EvalError::OutOfRange("text of LIKE"));
                        }
                        Truth::from(like(text, pattern, *escape, *insensitive) != *negated)
                    }
                    _ => Truth::Unknown,
                }
            }
            other => Truth::of(&*other.evaluate(tuple)?),
        })
    }
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Comparison::Equal => ordering.is_eq(),
            Comparison::NotEqual => ordering.is_ne(),
            Comparison::Less => ordering.is_lt(),
            Comparison::LessOrEqual => ordering.is_le(),
            Comparison::Greater => ordering.is_gt(),
            Comparison::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// What a condition that may be left out comes to.
pub fn truth_of(condition: Option<&Expr>, tuple: Tuple<'_>) -> Result<Truth, EvalError> {
    condition.map_or(Ok(Truth::True), |condition| condition.truth(tuple))
}

/// How two values compare. NULL is certain whatever an unknown value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    Ordered(Ordering),
    Null,
    Unknown,
}

/// Compares values of types that fit: numbers of either kind as numbers, text by code point (collation "C").
///
/// Binding brings both sides to one type. Values of two kinds can only be of a row that was kept from before its column
/// was declared anew: nothing is known of them then.
pub fn compared(left: &Value, right: &Value) -> Compared {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Compared::Null,
        (Value::Unknown, _) | (_, Value::Unknown) => Compared::Unknown,
        (Value::Int(_), Value::Decimal(_)) | (Value::Decimal(_), Value::Int(_)) => {
            Compared::Ordered(to_decimal(left).cmp(&to_decimal(right)))
        }
        _ if std::mem::discriminant(left) != std::mem::discriminant(right) => Compared::Unknown,
        _ => Compared::Ordered(left.cmp(right)),
    }
}

fn distinct(left: &Value, right: &Value, negated: bool) -> Truth {
    let distinct = match (left, right) {
        (Value::Unknown, _) | (_, Value::Unknown) => return Truth::Unknown,
        (Value::Null, Value::Null) => false,
        (Value::Null, _) | (_, Value::Null) => true,
        _ => match compared(left, right) {
            Compared::Ordered(ordering) => ordering.is_ne(),
            Compared::Null | Compared::Unknown => return Truth::Unknown,
        },
    };
    Truth::from(distinct != negated)
}

/// AND, which FALSE decides, and OR, which TRUE decides. The right side is not looked at where the left decides.
fn connective(left: &Expr, right: &Expr, tuple: Tuple<'_>, decisive: Truth) -> Result<Truth, EvalError> {
    let left = left.truth(tuple)?;
    if left == decisive {
        return Ok(left);
    }
    let right = right.truth(tuple)?;
    Ok(match (left, right) {
        (_, right) if right == decisive => right,
        (Truth::Unknown, _) | (_, Truth::Unknown) => Truth::Unknown,
        (Truth::Null, _) | (_, Truth::Null) => Truth::Null,
        (left, _) => left,
    })
}

fn within(operand: &Value, list: &[Expr], tuple: Tuple<'_>, negated: bool) -> Result<Truth, EvalError> {
    let mut otherwise = Truth::from(negated);
    for expr in list {
        match compared(operand, &*expr.evaluate(tuple)?) {
            Compared::Ordered(Ordering::Equal) => return Ok(Truth::from(!negated)),
            Compared::Ordered(_) => {}
            Compared::Null if otherwise == Truth::Unknown => {}
            Compared::Null => otherwise = Truth::Null,
            Compared::Unknown => otherwise = Truth::Unknown,
        }
    }
    Ok(otherwise)
}
