//! From parsed expressions to typed ones: names are resolved, types are checked, literals take their types.
//!
//! Must not know: FROM and joins (`select`). Every error is pushed, so that all of a query's can be shown at once.

use sqlparser::ast::{self, BinaryOperator, CastKind, CeilFloorKind, DateTimeField, Spanned, UnaryOperator};

use super::aggregate::Aggregate;
use super::compare::is_comparison;
use super::convert::{Target, can_cast, parse, parse_as};
use super::error::SqlError;
use super::expr::{Comparison, Expr};
use super::numeric::Operator;
use super::precedence::regrouped;
use super::scope::Scope;
use super::types::{Ty, Typed, bring, from_sql, name};
use crate::domain::value::{Type, Value};

/// Deeper expressions are refused, so that none can exhaust the stack.
const DEPTH: usize = 100;

/// Binds the expressions of one SELECT.
pub struct Binder<'s> {
    pub scope: &'s Scope,
    pub errors: Vec<SqlError>,
    /// `Some` while what is bound stands after GROUP BY.
    pub grouped: Option<Grouped>,
    depth: usize,
}

/// What may be named after GROUP BY.
#[derive(Default)]
pub struct Grouped {
    pub keys: Vec<Typed>,
    pub aggregates: Vec<Aggregate>,
    /// Items whose primary key is grouped by: their other columns follow from it.
    pub determined: Vec<usize>,
}

impl Grouped {
    /// True where all columns of an expression follow from what is grouped by.
    fn determines(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Column { item, .. } => self.determined.contains(item),
            other => other.children().into_iter().all(|child| self.determines(child)),
        }
    }
}

/// Functions that read a clock or roll dice.
pub(super) const VOLATILE: [&str; 12] = [
    "now",
    "current_timestamp",
    "current_date",
    "current_time",
    "localtime",
    "localtimestamp",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
    "timeofday",
    "random",
    "gen_random_uuid",
];

/// CEIL and FLOOR without what other databases have after their operand.
const PLAIN: CeilFloorKind = CeilFloorKind::DateTimeField(DateTimeField::NoDateTime);

impl<'s> Binder<'s> {
    pub fn new(scope: &'s Scope) -> Binder<'s> {
        Binder { scope, errors: Vec::new(), grouped: None, depth: 0 }
    }

    pub(super) fn fail(&mut self, error: SqlError) -> Option<Typed> {
        self.errors.push(error);
        None
    }

    pub(super) fn refuse(&mut self, at: &impl Spanned, message: impl Into<String>) -> Option<Typed> {
        self.fail(SqlError::new(at.span(), message))
    }

    /// Binds a condition.
    pub fn condition(&mut self, expr: &ast::Expr, clause: &str) -> Option<Expr> {
        let typed = self.bind(expr)?;
        match typed.ty {
            Ty::Known(Type::Bool) | Ty::Null => Some(typed.expr),
            _ => {
                let message = format!("{clause} must be a condition, but this is {}", typed.name());
                self.refuse(expr, message);
                None
            }
        }
    }

    pub fn bind(&mut self, expr: &ast::Expr) -> Option<Typed> {
        if let Some(expr) = regrouped(expr) {
            return self.bind(&expr);
        }
        if self.depth >= DEPTH {
            return self.refuse(expr, format!("the expression is nested more than {DEPTH} deep"));
        }
        self.depth += 1;
        let typed = match self.as_group_key(expr) {
            Some(typed) => Some(typed),
            None => self.bind_node(expr),
        };
        self.depth -= 1;
        typed
    }

    /// After GROUP BY, an expression that is grouped by is one value for the group.
    fn as_group_key(&mut self, expr: &ast::Expr) -> Option<Typed> {
        let grouped = self.grouped.take()?;
        let mut plain = Binder { scope: self.scope, errors: Vec::new(), grouped: None, depth: self.depth };
        let bound = match expr {
            ast::Expr::Value(_) => None,
            other => plain.bind(other),
        };
        let place = bound.and_then(|bound| grouped.keys.iter().position(|key| key.expr == bound.expr));
        let typed = place.map(|place| Typed { expr: Expr::Grouped(place), ty: grouped.keys[place].ty });
        self.grouped = Some(grouped);
        typed
    }

    fn bind_node(&mut self, expr: &ast::Expr) -> Option<Typed> {
        use ast::Expr as E;
        match expr {
            E::Nested(inner) => self.bind(inner),
            E::Identifier(name) => {
                let text = name.value.to_lowercase();
                if name.quote_style.is_none() && VOLATILE.contains(&text.as_str()) {
                    return self.clock(expr, &text);
                }
                match self.scope.find(name) {
                    Ok(typed) => self.column(expr, typed),
                    Err(error) => self.fail(error),
                }
            }
            E::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, name] => match self.scope.find_in(table, name) {
                    Ok((item, column)) => self.column(expr, self.scope.column(item, column)),
                    Err(error) => self.fail(error),
                },
                _ => self.refuse(expr, "a column is named as column or table.column"),
            },
            E::Value(value) => self.literal(value),
            E::TypedString(typed) if !typed.uses_odbc_syntax => {
                match (from_sql(&typed.data_type), &typed.value.value) {
                    (Ok(ty), ast::Value::SingleQuotedString(text)) => self.parsed(expr, text, ty),
                    (Err((why, hint)), _) => self.fail(SqlError::new(expr.span(), why).hint(hint)),
                    _ => self.refuse(expr, "expected a quoted value"),
                }
            }
            E::IsNull(inner) => self.is_null(inner, false),
            E::IsNotNull(inner) => self.is_null(inner, true),
            E::IsTrue(inner) => self.is_truth(inner, Some(true), false),
            E::IsNotTrue(inner) => self.is_truth(inner, Some(true), true),
            E::IsFalse(inner) => self.is_truth(inner, Some(false), false),
            E::IsNotFalse(inner) => self.is_truth(inner, Some(false), true),
            E::IsUnknown(inner) => self.is_truth(inner, None, false),
            E::IsNotUnknown(inner) => self.is_truth(inner, None, true),
            E::IsDistinctFrom(left, right) => self.distinct(expr, left, right, false),
            E::IsNotDistinctFrom(left, right) => self.distinct(expr, left, right, true),
            E::UnaryOp { op, expr: operand } => self.unary(expr, *op, operand),
            E::BinaryOp { left, op, right } => self.binary(expr, left, op, right),
            E::Between { expr: operand, negated, low, high } => self.between(expr, operand, low, high, *negated),
            E::InList { expr: operand, list, negated } => self.within(expr, operand, list, *negated),
            E::Like { negated, any: false, expr: operand, pattern, escape_char } => {
                self.like(expr, operand, pattern, escape_char.as_ref(), (false, *negated))
            }
            E::ILike { negated, any: false, expr: operand, pattern, escape_char } => {
                self.like(expr, operand, pattern, escape_char.as_ref(), (true, *negated))
            }
            E::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
                self.case(expr, operand.as_deref(), conditions, else_result.as_deref())
            }
            E::Cast {
                kind: CastKind::Cast | CastKind::DoubleColon,
                expr: operand,
                data_type,
                array: false,
                format: None,
            } => self.cast(expr, operand, data_type),
            E::Ceil { expr: operand, field: PLAIN } => self.call(expr, "ceil", &[operand]),
            E::Floor { expr: operand, field: PLAIN } => self.call(expr, "floor", &[operand]),
            E::Trim { expr: operand, trim_where: None, trim_what: None, trim_characters: None } => {
                self.call(expr, "btrim", &[operand])
            }
            E::Function(function) => self.function(expr, function),
            E::Interval(_) => {
                let error = SqlError::new(expr.span(), "intervals are not supported");
                self.fail(error.hint("How long a disagreement may last is said by grace, beside the query."))
            }
            E::Exists { .. } | E::InSubquery { .. } | E::Subquery(_) => {
                let error = SqlError::new(expr.span(), "subqueries are supported in FROM and WITH only");
                self.fail(error.hint("Write a LEFT JOIN on the key with IS NULL or IS NOT NULL instead."))
            }
            other => self.refuse(other, format!("`{other}` is not supported")),
        }
    }

    /// What a column's name stands for, where it may stand.
    fn column(&mut self, at: &ast::Expr, typed: Typed) -> Option<Typed> {
        if self.grouped.as_ref().is_some_and(|grouped| !grouped.determines(&typed.expr)) {
            return self.refuse(at, format!("column \"{at}\" must stand in GROUP BY or in an aggregate"));
        }
        Some(typed)
    }

    fn literal(&mut self, value: &ast::ValueWithSpan) -> Option<Typed> {
        match &value.value {
            ast::Value::Number(text, false) => {
                if let Ok(number) = text.parse::<i64>() {
                    return Some(Typed::known(Expr::Constant(Value::Int(number)), Type::Int));
                }
                match parse(text, Type::Decimal { scale: None }) {
                    Ok(value) => Some(Typed::known(Expr::Constant(value), Type::Decimal { scale: None })),
                    Err(error) => self.refuse(value, error.to_string()),
                }
            }
            ast::Value::SingleQuotedString(text) => {
                Some(Typed { expr: Expr::Constant(Value::text(text.as_str())), ty: Ty::Literal })
            }
            ast::Value::Boolean(truth) => Some(Typed::known(Expr::Constant(Value::Bool(*truth)), Type::Bool)),
            ast::Value::Null => Some(Typed { expr: Expr::Constant(Value::Null), ty: Ty::Null }),
            other => self.refuse(value, format!("`{other}` is not supported")),
        }
    }

    fn parsed(&mut self, at: &ast::Expr, text: &str, to: Target) -> Option<Typed> {
        match parse_as(text, to) {
            Ok(value) => Some(Typed::known(Expr::Constant(value), to.ty)),
            Err(error) => self.refuse(at, error.to_string()),
        }
    }

    fn is_null(&mut self, inner: &ast::Expr, negated: bool) -> Option<Typed> {
        let operand = Box::new(self.bind(inner)?.expr);
        Some(Typed::known(Expr::IsNull { operand, negated }, Type::Bool))
    }

    fn is_truth(&mut self, inner: &ast::Expr, truth: Option<bool>, negated: bool) -> Option<Typed> {
        let operand = Box::new(self.condition(inner, "the operand of IS")?);
        Some(Typed::known(Expr::IsTruth { operand, truth, negated }, Type::Bool))
    }

    fn unary(&mut self, at: &ast::Expr, op: UnaryOperator, operand: &ast::Expr) -> Option<Typed> {
        match op {
            UnaryOperator::Not => {
                let operand = self.condition(operand, "the operand of NOT")?;
                Some(Typed::known(Expr::Not(Box::new(operand)), Type::Bool))
            }
            UnaryOperator::Minus | UnaryOperator::Plus => {
                let typed = self.bind(operand)?;
                if !typed.is_number() {
                    return self.refuse(at, format!("the sign of {} has no meaning", typed.name()));
                }
                let negate = op == UnaryOperator::Minus;
                let expr = if negate { Expr::Negate(Box::new(typed.expr)) } else { typed.expr };
                Some(Typed { expr, ty: typed.ty })
            }
            other => self.refuse(at, format!("operator `{other}` is not supported")),
        }
    }

    fn binary(&mut self, at: &ast::Expr, left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr) -> Option<Typed> {
        let comparison = match op {
            BinaryOperator::Eq => Comparison::Equal,
            BinaryOperator::NotEq => Comparison::NotEqual,
            BinaryOperator::Lt => Comparison::Less,
            BinaryOperator::LtEq => Comparison::LessOrEqual,
            BinaryOperator::Gt => Comparison::Greater,
            BinaryOperator::GtEq => Comparison::GreaterOrEqual,
            BinaryOperator::And | BinaryOperator::Or => {
                let left = self.condition(left, "each side of AND and OR");
                let right = self.condition(right, "each side of AND and OR");
                let (left, right) = (Box::new(left?), Box::new(right?));
                let both = *op == BinaryOperator::And;
                let expr = if both { Expr::And(left, right) } else { Expr::Or(left, right) };
                return Some(Typed::known(expr, Type::Bool));
            }
            BinaryOperator::StringConcat => return self.concat(at, left, right),
            BinaryOperator::Plus => return self.arithmetic(at, left, Operator::Add, right),
            BinaryOperator::Minus => return self.arithmetic(at, left, Operator::Subtract, right),
            BinaryOperator::Multiply => return self.arithmetic(at, left, Operator::Multiply, right),
            BinaryOperator::Divide => return self.arithmetic(at, left, Operator::Divide, right),
            BinaryOperator::Modulo => return self.arithmetic(at, left, Operator::Modulo, right),
            other => return self.refuse(at, format!("operator `{other}` is not supported")),
        };
        if is_comparison(left) || is_comparison(right) {
            let error = SqlError::new(at.span(), "a comparison of a comparison needs parentheses");
            return self.fail(error.hint("As in (a = b) = c."));
        }
        let (left, right, _) = self.pair(at, left, right)?;
        Some(Typed::known(Expr::Compare(comparison, left, right), Type::Bool))
    }

    fn concat(&mut self, at: &ast::Expr, left: &ast::Expr, right: &ast::Expr) -> Option<Typed> {
        let (left, right) = (self.bind(left), self.bind(right));
        let (left, right) = (left?, right?);
        if !left.is_text() && !right.is_text() {
            return self.refuse(at, format!("`||` joins texts, not {} and {}", left.name(), right.name()));
        }
        let as_text = |typed: Typed| match typed.is_text() {
            true => Box::new(typed.expr),
            false => {
                let from = typed.settled();
                Box::new(Expr::Cast { operand: Box::new(typed.expr), from, to: Target::of(Type::Text) })
            }
        };
        Some(Typed::known(Expr::Concat(as_text(left), as_text(right)), Type::Text))
    }

    fn arithmetic(
        &mut self,
        at: &ast::Expr,
        left: &ast::Expr,
        operator: Operator,
        right: &ast::Expr,
    ) -> Option<Typed> {
        let (left, right) = (self.bind(left), self.bind(right));
        let (mut left, mut right) = (left?, right?);
        let (left_ty, right_ty) = (left.ty, right.ty);
        for (one, other) in [(&mut left, right_ty), (&mut right, left_ty)] {
            if let (Ty::Literal, Ty::Known(ty)) = (one.ty, other)
                && let Err((wanted, found)) = bring(one, ty)
            {
                return self.refuse(at, format!("{found} is no {wanted}"));
            }
        }
        let days = matches!(operator, Operator::Add | Operator::Subtract);
        let ty = match (left.ty, right.ty) {
            (Ty::Known(Type::Int), Ty::Known(Type::Int)) => Type::Int,
            (Ty::Known(Type::Date), Ty::Known(Type::Date)) if operator == Operator::Subtract => Type::Int,
            (Ty::Known(Type::Date), Ty::Known(Type::Int)) if days => Type::Date,
            (Ty::Null, Ty::Known(ty @ (Type::Int | Type::Decimal { .. })))
            | (Ty::Known(ty @ (Type::Int | Type::Decimal { .. })), Ty::Null) => ty,
            _ if left.is_number() && right.is_number() => Type::Decimal { scale: None },
            _ => {
                let message = format!("arithmetic on {} and {} is not supported", left.name(), right.name());
                return self.refuse(at, message);
            }
        };
        Some(Typed::known(Expr::Arithmetic(operator, Box::new(left.expr), Box::new(right.expr)), ty))
    }

    fn cast(&mut self, at: &ast::Expr, operand: &ast::Expr, data_type: &ast::DataType) -> Option<Typed> {
        let operand = self.bind(operand);
        let to = match from_sql(data_type) {
            Ok(to) => to,
            Err((why, hint)) => {
                return self.fail(SqlError::new(at.span(), format!("cast to {data_type}: {why}")).hint(hint));
            }
        };
        let operand = operand?;
        if let (Ty::Literal, Expr::Constant(Value::Text(text))) = (operand.ty, &operand.expr) {
            return self.parsed(at, &text.clone(), to);
        }
        if let Ty::Known(from) = operand.ty
            && !can_cast(from, to.ty)
        {
            return self.refuse(at, format!("{} cannot be cast to {}", name(from), name(to.ty)));
        }
        let from = operand.settled();
        Some(Typed::known(Expr::Cast { operand: Box::new(operand.expr), from, to }, to.ty))
    }

    pub(super) fn clock(&mut self, at: &ast::Expr, function: &str) -> Option<Typed> {
        let what = if matches!(function, "random" | "gen_random_uuid") { "roll dice" } else { "read a clock" };
        let message = format!("rules cannot {what}: {function} would give another answer on each replay");
        let hint = "\"stuck for an hour\" is WHERE status = 'PENDING' with grace: 1h beside the query.";
        self.fail(SqlError::new(at.span(), message).hint(hint))
    }
}
