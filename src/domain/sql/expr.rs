//! Typed expressions and their meaning over one tuple of rows: SQL's three-valued logic, and a fourth value.
//!
//! Must not know: how an expression was written (`bind`). `Unknown` is a value that the source could not give: an
//! operator over it is unknown unless its result is certain, so that no disagreement rests on it.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::convert::{Target, cast};
use super::error::EvalError;
use super::functions::{Function, call};
use super::numeric::{Operator, decimals, integers, to_decimal};
use super::truth::{Compared, Truth, compared};
use crate::domain::value::{Type, Value};

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A typed expression; operands have been brought to types that fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    Constant(Value),
    /// A column of one of the tuple's rows; NULL where an outer join has no row.
    Column {
        item: usize,
        column: usize,
    },
    /// A value of the group: first the grouping expressions', then the aggregates'.
    Grouped(usize),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    /// IS DISTINCT FROM, or IS NOT DISTINCT FROM.
    Distinct {
        left: Box<Expr>,
        right: Box<Expr>,
        negated: bool,
    },
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Arithmetic(Operator, Box<Expr>, Box<Expr>),
    Negate(Box<Expr>),
    Concat(Box<Expr>, Box<Expr>),
    IsNull {
        operand: Box<Expr>,
        negated: bool,
    },
    /// IS [NOT] TRUE, FALSE; `truth: None` is IS [NOT] UNKNOWN.
    IsTruth {
        operand: Box<Expr>,
        truth: Option<bool>,
        negated: bool,
    },
    In {
        operand: Box<Expr>,
        list: Vec<Expr>,
        negated: bool,
    },
    Like {
        operand: Box<Expr>,
        pattern: Box<Expr>,
        escape: Option<char>,
        insensitive: bool,
        negated: bool,
    },
    Case {
        branches: Vec<(Expr, Expr)>,
        otherwise: Box<Expr>,
    },
    Coalesce(Vec<Expr>),
    NullIf(Box<Expr>, Box<Expr>),
    Extreme {
        greatest: bool,
        list: Vec<Expr>,
    },
    Cast {
        operand: Box<Expr>,
        from: Type,
        to: Target,
    },
    Call(Function, Vec<Expr>),
}

/// What an expression can see.
#[derive(Clone, Copy)]
pub struct Tuple<'a> {
    /// One row for each item of FROM; `None` where an outer join found none.
    pub items: &'a [Option<&'a [Value]>],
    pub group: &'a [Value],
}

impl<'a> Tuple<'a> {
    /// Outside a group.
    pub fn of(items: &'a [Option<&'a [Value]>]) -> Tuple<'a> {
        Tuple { items, group: &[] }
    }

    /// A column of a row; NULL where an outer join found no row.
    pub fn column(self, item: usize, column: usize) -> Cow<'a, Value> {
        Cow::Borrowed(self.items[item].map_or(NULL, |row| &row[column]))
    }
}

/// Longer texts are not put together, bytes: twice as long at each step, they would soon be longer than memory.
const LONGEST_TEXT: usize = 16 << 20;

type Evaluated<'a> = Result<Cow<'a, Value>, EvalError>;

const NULL: &Value = &Value::Null;
const UNKNOWN: &Value = &Value::Unknown;

impl Expr {
    pub fn evaluate<'a>(&'a self, tuple: Tuple<'a>) -> Evaluated<'a> {
        let of = |expr: &'a Expr| -> Evaluated<'a> { expr.evaluate(tuple) };
        match self {
            Expr::Constant(value) => Ok(Cow::Borrowed(value)),
            Expr::Column { item, column } => Ok(tuple.column(*item, *column)),
            Expr::Grouped(index) => Ok(Cow::Borrowed(&tuple.group[*index])),
            Expr::Compare(..)
            | Expr::Distinct { .. }
            | Expr::And(..)
            | Expr::Or(..)
            | Expr::Not(_)
            | Expr::IsNull { .. }
            | Expr::IsTruth { .. }
            | Expr::In { .. }
            | Expr::Like { .. } => self.truth(tuple).map(|truth| Cow::Owned(truth.into())),
            Expr::Arithmetic(operator, left, right) => {
                let (left, right) = (of(left)?, of(right)?);
                arithmetic(*operator, &left, &right).map(Cow::Owned)
            }
            Expr::Negate(operand) => match &*of(operand)? {
                Value::Int(number) => {
                    number.checked_neg().map(|n| Cow::Owned(Value::Int(n))).ok_or(EvalError::OutOfRange("bigint"))
                }
                Value::Decimal(decimal) => Ok(Cow::Owned(Value::decimal(-(**decimal).clone()))),
                other => Ok(Cow::Owned(other.clone())),
            },
            Expr::Concat(left, right) => Ok(match (&*of(left)?, &*of(right)?) {
                (Value::Null, _) | (_, Value::Null) => Cow::Borrowed(NULL),
                (Value::Text(left), Value::Text(right)) if left.len() + right.len() > LONGEST_TEXT => {
                    return Err(EvalError::OutOfRange("text"));
                }
                (Value::Text(left), Value::Text(right)) => Cow::Owned(Value::text(format!("{left}{right}"))),
                _ => Cow::Borrowed(UNKNOWN),
            }),
            Expr::Case { branches, otherwise } => {
                for (condition, result) in branches {
                    match condition.truth(tuple)? {
                        Truth::True => return of(result),
                        Truth::Unknown => return Ok(Cow::Borrowed(UNKNOWN)),
                        Truth::False | Truth::Null => {}
                    }
                }
                of(otherwise)
            }
            Expr::Coalesce(list) => {
                for expr in list {
                    let value = of(expr)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Ok(Cow::Borrowed(NULL))
            }
            Expr::NullIf(left, right) => {
                let (left, right) = (of(left)?, of(right)?);
                Ok(match compared(&left, &right) {
                    Compared::Ordered(Ordering::Equal) => Cow::Borrowed(NULL),
                    Compared::Unknown => Cow::Borrowed(UNKNOWN),
                    _ => left,
                })
            }
            Expr::Extreme { greatest, list } => extreme(*greatest, list, tuple),
            Expr::Cast { operand, from, to } => {
                let value = of(operand)?;
                if value.is_null() || value.is_unknown() {
                    Ok(value)
                } else {
                    cast(&value, *from, *to).map(Cow::Owned)
                }
            }
            Expr::Call(function, arguments) => {
                let values: Result<Vec<_>, _> = arguments.iter().map(of).collect();
                let values = values?;
                if values.iter().any(|value| value.is_null()) {
                    return Ok(Cow::Borrowed(NULL));
                }
                if values.iter().any(|value| value.is_unknown()) {
                    return Ok(Cow::Borrowed(UNKNOWN));
                }
                call(*function, &values).map(Cow::Owned)
            }
        }
    }
}

impl Expr {
    /// The expressions that it is made of.
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Expr::Constant(_) | Expr::Column { .. } | Expr::Grouped(_) => Vec::new(),
            Expr::Not(operand)
            | Expr::Negate(operand)
            | Expr::IsNull { operand, .. }
            | Expr::IsTruth { operand, .. }
            | Expr::Cast { operand, .. } => vec![operand],
            Expr::Compare(_, left, right)
            | Expr::Distinct { left, right, .. }
            | Expr::And(left, right)
            | Expr::Or(left, right)
            | Expr::Arithmetic(_, left, right)
            | Expr::Concat(left, right)
            | Expr::NullIf(left, right)
            | Expr::Like { operand: left, pattern: right, .. } => vec![left, right],
            Expr::In { operand, list, .. } => list.iter().chain([&**operand]).collect(),
            Expr::Case { branches, otherwise } => {
                branches.iter().flat_map(|(condition, result)| [condition, result]).chain([&**otherwise]).collect()
            }
            Expr::Coalesce(list) | Expr::Extreme { list, .. } | Expr::Call(_, list) => list.iter().collect(),
        }
    }
}

fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Result<Value, EvalError> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
        (Value::Unknown, _) | (_, Value::Unknown) => Ok(Value::Unknown),
        (Value::Int(left), Value::Int(right)) => integers(operator, *left, *right).map(Value::Int),
        (Value::Date(i32::MIN | i32::MAX), Value::Date(_)) | (Value::Date(_), Value::Date(i32::MIN | i32::MAX)) => {
            Err(EvalError::OutOfRange("date"))
        }
        (Value::Date(i32::MIN | i32::MAX), Value::Int(_)) => Ok(left.clone()),
        (Value::Date(left), Value::Date(right)) => Ok(Value::Int(i64::from(*left) - i64::from(*right))),
        (Value::Date(date), Value::Int(days)) => {
            let days = if operator == Operator::Subtract { days.checked_neg() } else { Some(*days) };
            let moved = days.and_then(|days| i64::from(*date).checked_add(days));
            let moved = moved.and_then(|date| i32::try_from(date).ok());
            moved.map(Value::Date).ok_or(EvalError::OutOfRange("date"))
        }
        _ => {
            let (left, right) = to_decimal(left).zip(to_decimal(right)).expect("operands were typed as numbers");
            decimals(operator, &left, &right).map(Value::decimal)
        }
    }
}

/// GREATEST and LEAST ignore NULLs, as PostgreSQL does.
fn extreme<'a>(greatest: bool, list: &'a [Expr], tuple: Tuple<'a>) -> Evaluated<'a> {
    let mut best: Option<Cow<'a, Value>> = None;
    for expr in list {
        let value = expr.evaluate(tuple)?;
        if value.is_unknown() {
            return Ok(Cow::Borrowed(UNKNOWN));
        }
        let wanted = if greatest { Ordering::Greater } else { Ordering::Less };
        let better = best.as_ref().is_none_or(|best| compared(&value, best) == Compared::Ordered(wanted));
        if !value.is_null() && better {
            best = Some(value);
        }
    }
    Ok(best.unwrap_or(Cow::Borrowed(NULL)))
}
