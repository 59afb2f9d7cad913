//! Which types fit each other, and how operands are brought together.
//!
//! Must not know: names, SQL text.

use sqlparser::ast::{DataType, ExactNumberInfo, TimezoneInfo};

use super::convert::{Target, parse};
use super::expr::Expr;
use crate::domain::value::{Type, Value};

/// The type of an expression while it is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ty {
    Known(Type),
    /// The literal NULL.
    Null,
    /// A string literal, which takes the type of what it meets.
    Literal,
}

/// An expression and its type.
#[derive(Clone, Debug)]
pub struct Typed {
    pub expr: Expr,
    pub ty: Ty,
}

impl Typed {
    pub fn known(expr: Expr, ty: Type) -> Typed {
        Typed { expr, ty: Ty::Known(ty) }
    }

    /// The type once nothing more is to be learnt of it.
    pub fn settled(&self) -> Type {
        match self.ty {
            Ty::Known(ty) => ty,
            Ty::Null | Ty::Literal => Type::Text,
        }
    }

    /// The type's name in messages.
    pub fn name(&self) -> String {
        match self.ty {
            Ty::Known(ty) => name(ty),
            Ty::Null => "NULL".to_owned(),
            Ty::Literal => "text".to_owned(),
        }
    }

    pub fn is_number(&self) -> bool {
        matches!(self.ty, Ty::Known(Type::Int | Type::Decimal { .. }))
    }

    pub fn is_text(&self) -> bool {
        matches!(self.ty, Ty::Known(Type::Text) | Ty::Literal | Ty::Null)
    }
}

/// A type's name without its modifiers.
pub fn name(ty: Type) -> String {
    let full = ty.to_string();
    full.split('(').next().unwrap_or(&full).to_owned()
}

/// Brings expressions to one type, or says why they do not fit: the two types' names. Where there are only literals,
/// strings and NULLs, it is text, as PostgreSQL resolves them.
pub fn unify(list: &mut [Typed]) -> Result<Type, (String, String)> {
    let mut common = None;
    for typed in list.iter() {
        common = match (common, typed.ty) {
            (None, Ty::Known(ty)) => Some(ty),
            (Some(left), Ty::Known(right)) => Some(together(left, right).ok_or_else(|| (name(left), name(right)))?),
            (common, Ty::Null | Ty::Literal) => common,
        };
    }
    let common = common.unwrap_or(Type::Text);
    for typed in list.iter_mut() {
        bring(typed, common)?;
    }
    Ok(common)
}

/// Gives an expression a type that [`unify`] has found it to fit.
pub fn bring(typed: &mut Typed, to: Type) -> Result<(), (String, String)> {
    match (&typed.ty, &typed.expr) {
        (Ty::Literal, Expr::Constant(Value::Text(text))) => {
            let to = if let Type::Decimal { .. } = to { Type::Decimal { scale: None } } else { to };
            let value = parse(text, to).map_err(|_| (name(to), format!("'{text}'")))?;
            *typed = Typed::known(Expr::Constant(value), to);
        }
        (Ty::Known(from @ Type::Date), _) if matches!(to, Type::Timestamp { .. } | Type::TimestampTz) => {
            *typed = cast(typed.expr.clone(), *from, to);
        }
        (Ty::Known(from @ Type::Int), _) if matches!(to, Type::Decimal { .. }) => {
            *typed = cast(typed.expr.clone(), *from, Type::Decimal { scale: None });
        }
        _ => {}
    }
    Ok(())
}

fn cast(operand: Expr, from: Type, to: Type) -> Typed {
    Typed::known(Expr::Cast { operand: Box::new(operand), from, to: Target::of(to) }, to)
}

fn together(left: Type, right: Type) -> Option<Type> {
    use Type as T;
    match (left, right) {
        (left, right) if left == right => Some(left),
        (T::Int | T::Decimal { .. }, T::Int | T::Decimal { .. }) => Some(T::Decimal { scale: None }),
        (T::Timestamp { .. } | T::TimestampTz | T::Date, T::Timestamp { .. } | T::TimestampTz | T::Date) => {
            if matches!(left, T::TimestampTz) || matches!(right, T::TimestampTz) {
                Some(T::TimestampTz)
            } else {
                Some(T::Timestamp { precision: 6 })
            }
        }
        (T::Time { .. }, T::Time { .. }) => Some(T::Time { precision: 6 }),
        _ => None,
    }
}

/// What is wrong with a type's name, and what to do instead.
pub type Refused = (&'static str, &'static str);

/// A SQL type's name as what a cast leads to.
pub fn from_sql(ty: &DataType) -> Result<Target, Refused> {
    const FLOAT: Refused = ("binary floating point would round money", "Money is decimal: use numeric.");
    let fraction = |digits: &Option<u64>| digits.map(|digits| digits.min(6) as u32);
    Ok(Target::of(match ty {
        DataType::Boolean | DataType::Bool => Type::Bool,
        DataType::SmallInt(None) | DataType::Int2(None) | DataType::Int(None) | DataType::Int4(None) => Type::Int,
        DataType::Integer(None) | DataType::BigInt(None) | DataType::Int8(None) => Type::Int,
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => return decimal(info),
        DataType::Text | DataType::Varchar(None) | DataType::CharacterVarying(None) => Type::Text,
        DataType::Varchar(_) | DataType::CharacterVarying(_) | DataType::Char(_) | DataType::Character(_) => {
            return Err(("lengths of text are not supported", "Use text."));
        }
        DataType::Timestamp(digits, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => {
            return Ok(Target { ty: Type::TimestampTz, digits: fraction(digits) });
        }
        DataType::Timestamp(digits, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            let digits = fraction(digits);
            return Ok(Target { ty: Type::Timestamp { precision: digits.unwrap_or(6) as u8 }, digits });
        }
        DataType::Date => Type::Date,
        DataType::Time(digits, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            let digits = fraction(digits);
            return Ok(Target { ty: Type::Time { precision: digits.unwrap_or(6) as u8 }, digits });
        }
        DataType::Uuid => Type::Uuid,
        DataType::JSON | DataType::JSONB => Type::Json,
        DataType::Bytea => Type::Bytes,
        DataType::Float(_) | DataType::Real | DataType::Float4 | DataType::Float8 | DataType::DoublePrecision => {
            return Err(FLOAT);
        }
        DataType::Double(_) => return Err(FLOAT),
        _ => return Err(("this type is not supported", "docs/rules.md lists the types that values can be cast to.")),
    }))
}

fn decimal(info: &ExactNumberInfo) -> Result<Target, Refused> {
    let (digits, scale) = match info {
        ExactNumberInfo::None => return Ok(Target::of(Type::Decimal { scale: None })),
        ExactNumberInfo::Precision(digits) => (*digits, 0),
        ExactNumberInfo::PrecisionAndScale(digits, scale) => (*digits, *scale),
    };
    match (digits, u32::try_from(scale)) {
        (1..=1000, Ok(scale @ 0..=1000)) => {
            Ok(Target { ty: Type::Decimal { scale: Some(scale) }, digits: Some(digits as u32) })
        }
        (1..=1000, _) => Err(("a scale is from 0 to 1000", "As in numeric(12,2).")),
        _ => Err(("a precision is from 1 to 1000", "As in numeric(12,2).")),
    }
}
