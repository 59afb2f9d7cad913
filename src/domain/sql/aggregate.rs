//! Aggregates over a group's rows.
//!
//! Must not know: how groups are made. Over an input that is unknown an aggregate is unknown, unless it is certain.

use std::borrow::Cow;
use std::cmp::Ordering;

use bigdecimal::BigDecimal;

use super::error::EvalError;
use super::expr::{Expr, Tuple};
use super::numeric::{Operator, bounded, decimals, to_decimal};
use super::truth::{Compared, compared, truth_of};
use crate::domain::value::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// COUNT(*): the argument is not looked at.
    CountRows,
    Count,
    Sum,
    Min,
    Max,
    Avg,
    BoolOr,
    BoolAnd,
}

/// One aggregate call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    pub kind: Kind,
    pub argument: Expr,
    pub distinct: bool,
    pub filter: Option<Expr>,
}

/// The aggregate's value over a group's tuples.
pub fn accumulate<'a>(
    aggregate: &Aggregate,
    tuples: impl Iterator<Item = &'a [Option<&'a [Value]>]>,
) -> Result<Value, EvalError> {
    let mut inputs: Vec<Value> = Vec::new();
    let (mut unknown, mut rows) = (false, 0);
    for items in tuples {
        let tuple = Tuple::of(items);
        match truth_of(aggregate.filter.as_ref(), tuple)?.holds() {
            Some(true) => {}
            Some(false) => continue,
            None => {
                unknown = true;
                continue;
            }
        }
        rows += 1;
        let value = aggregate.argument.evaluate(tuple).map(Cow::into_owned)?;
        match value {
            Value::Null => {}
            Value::Unknown if aggregate.kind != Kind::CountRows => unknown = true,
            value => inputs.push(value),
        }
    }
    if aggregate.distinct {
        inputs.sort();
        inputs.dedup();
    }
    let decisive = |truth: bool| inputs.contains(&Value::Bool(truth));
    match aggregate.kind {
        Kind::BoolOr if decisive(true) => Ok(Value::Bool(true)),
        Kind::BoolAnd if decisive(false) => Ok(Value::Bool(false)),
        _ if unknown => Ok(Value::Unknown),
        Kind::CountRows => Ok(Value::Int(rows)),
        Kind::Count => Ok(Value::Int(inputs.len() as i64)),
        _ if inputs.is_empty() => Ok(Value::Null),
        Kind::BoolOr => Ok(Value::Bool(false)),
        Kind::BoolAnd => Ok(Value::Bool(true)),
        Kind::Min => Ok(best(inputs, Ordering::Less)),
        Kind::Max => Ok(best(inputs, Ordering::Greater)),
        Kind::Sum => bounded(sum(&inputs)).map(Value::decimal),
        Kind::Avg => {
            let count = BigDecimal::from(inputs.len() as i64);
            decimals(Operator::Divide, &sum(&inputs), &count).map(Value::decimal)
        }
    }
}

fn best(inputs: Vec<Value>, wanted: Ordering) -> Value {
    let better = |best: Value, value: Value| match compared(&value, &best) == Compared::Ordered(wanted) {
        true => value,
        false => best,
    };
    inputs.into_iter().reduce(better).unwrap_or(Value::Null)
}

fn sum(inputs: &[Value]) -> BigDecimal {
    let add = |sum: BigDecimal, value: BigDecimal| {
        let scale = sum.fractional_digit_count().max(value.fractional_digit_count());
        (sum + value).with_scale(scale)
    };
    inputs.iter().filter_map(to_decimal).reduce(add).unwrap_or_default()
}
