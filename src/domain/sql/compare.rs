//! From parsed comparisons to typed ones: what is compared is brought to one type first.
//!
//! Must not know: FROM and joins (`select`).

use sqlparser::ast::{self, BinaryOperator, Spanned};

use super::bind::Binder;
use super::error::SqlError;
use super::expr::{Comparison, Expr};
use super::types::{Typed, unify};
use crate::domain::value::{Type, Value};

impl Binder<'_> {
    fn bind_all(&mut self, list: &[&ast::Expr]) -> Option<Vec<Typed>> {
        let bound: Vec<Option<Typed>> = list.iter().map(|expr| self.bind(expr)).collect();
        bound.into_iter().collect()
    }

    /// Binds expressions that must have one type.
    pub(super) fn together(
        &mut self,
        at: &ast::Expr,
        list: &[&ast::Expr],
        doing: &str,
    ) -> Option<(Vec<Typed>, Type)> {
        let bound = self.bind_all(list)?;
        self.unified(at, bound, doing)
    }

    fn unified(&mut self, at: &ast::Expr, mut bound: Vec<Typed>, doing: &str) -> Option<(Vec<Typed>, Type)> {
        match unify(&mut bound) {
            Ok(ty) => Some((bound, ty)),
            Err((left, right)) => {
                let error = SqlError::new(at.span(), format!("{doing} {left} with {right}"));
                let hint = "Cast one of them, or declare the column with the type that it has.";
                self.fail(error.hint(hint));
                None
            }
        }
    }

    /// Binds expressions whose values are compared.
    pub(super) fn comparable(&mut self, at: &ast::Expr, list: &[&ast::Expr]) -> Option<(Vec<Typed>, Type)> {
        let bound = self.bind_all(list)?;
        self.compared(at, bound)
    }

    fn compared(&mut self, at: &ast::Expr, bound: Vec<Typed>) -> Option<(Vec<Typed>, Type)> {
        let (bound, ty) = self.unified(at, bound, "cannot compare")?;
        if ty == Type::Json {
            let error = SqlError::new(at.span(), "json values are not compared");
            self.fail(error.hint("Cast both to text to compare their canonical text."));
            return None;
        }
        Some((bound, ty))
    }

    pub(super) fn pair(
        &mut self,
        at: &ast::Expr,
        left: &ast::Expr,
        right: &ast::Expr,
    ) -> Option<(Box<Expr>, Box<Expr>, Type)> {
        let (bound, ty) = self.comparable(at, &[left, right])?;
        let mut bound = bound.into_iter().map(|typed| Box::new(typed.expr));
        Some((bound.next()?, bound.next()?, ty))
    }

    pub(super) fn distinct(
        &mut self,
        at: &ast::Expr,
        left: &ast::Expr,
        right: &ast::Expr,
        negated: bool,
    ) -> Option<Typed> {
        if is_test(right) {
            let error = SqlError::new(at.span(), "what follows IS DISTINCT FROM needs parentheses");
            return self.fail(error.hint("As in a IS DISTINCT FROM (b IS NULL)."));
        }
        let (left, right, _) = self.pair(at, left, right)?;
        Some(Typed::known(Expr::Distinct { left, right, negated }, Type::Bool))
    }

    pub(super) fn between(
        &mut self,
        at: &ast::Expr,
        operand: &ast::Expr,
        low: &ast::Expr,
        high: &ast::Expr,
        negated: bool,
    ) -> Option<Typed> {
        let (bound, _) = self.comparable(at, &[operand, low, high])?;
        let [operand, low, high] = <[Typed; 3]>::try_from(bound).ok()?.map(|typed| Box::new(typed.expr));
        let above = Expr::Compare(Comparison::GreaterOrEqual, operand.clone(), low);
        let below = Expr::Compare(Comparison::LessOrEqual, operand, high);
        let within = Expr::And(Box::new(above), Box::new(below));
        Some(Typed::known(if negated { Expr::Not(Box::new(within)) } else { within }, Type::Bool))
    }

    pub(super) fn within(
        &mut self,
        at: &ast::Expr,
        operand: &ast::Expr,
        list: &[ast::Expr],
        negated: bool,
    ) -> Option<Typed> {
        let all: Vec<&ast::Expr> = std::iter::once(operand).chain(list).collect();
        let (mut bound, _) = self.comparable(at, &all)?;
        let operand = Box::new(bound.remove(0).expr);
        let list = bound.into_iter().map(|typed| typed.expr).collect();
        Some(Typed::known(Expr::In { operand, list, negated }, Type::Bool))
    }

    pub(super) fn like(
        &mut self,
        at: &ast::Expr,
        operand: &ast::Expr,
        pattern: &ast::Expr,
        escape: Option<&ast::ValueWithSpan>,
        (insensitive, negated): (bool, bool),
    ) -> Option<Typed> {
        let (operand, pattern) = (self.bind(operand), self.bind(pattern));
        let (operand, pattern) = (operand?, pattern?);
        if !operand.is_text() || !pattern.is_text() {
            return self.refuse(at, format!("LIKE compares text, not {} with {}", operand.name(), pattern.name()));
        }
        let escape = match escape.map(|escape| &escape.value) {
            None => Some('\\'),
            Some(ast::Value::SingleQuotedString(text)) if text.chars().count() <= 1 => text.chars().next(),
            Some(_) => return self.refuse(at, "ESCAPE takes one character"),
        };
        let (operand, pattern) = (Box::new(operand.expr), Box::new(pattern.expr));
        Some(Typed::known(Expr::Like { operand, pattern, escape, insensitive, negated }, Type::Bool))
    }

    pub(super) fn case(
        &mut self,
        at: &ast::Expr,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
    ) -> Option<Typed> {
        let operand = match operand {
            Some(operand) => Some(self.bind(operand)?),
            None => None,
        };
        let tests: Vec<Option<Expr>> = conditions
            .iter()
            .map(|when| match &operand {
                None => self.condition(&when.condition, "WHEN"),
                Some(operand) => self.equals(operand, &when.condition),
            })
            .collect();
        let results: Vec<&ast::Expr> = conditions.iter().map(|when| &when.result).chain(otherwise).collect();
        let (results, ty) = self.together(at, &results, "CASE cannot give both")?;
        let mut results = results.into_iter().map(|typed| typed.expr);
        let tests: Vec<Expr> = tests.into_iter().collect::<Option<_>>()?;
        let branches = tests.into_iter().zip(&mut results).collect();
        let otherwise = Box::new(results.next().unwrap_or(Expr::Constant(Value::Null)));
        Some(Typed::known(Expr::Case { branches, otherwise }, ty))
    }

    /// The test of a WHEN that names a value. As the operand of CASE, a literal is text whatever it is compared with.
    fn equals(&mut self, operand: &Typed, value: &ast::Expr) -> Option<Expr> {
        let operand = Typed::known(operand.expr.clone(), operand.settled());
        let bound = vec![operand, self.bind(value)?];
        let (bound, _) = self.compared(value, bound)?;
        let [left, right] = <[Typed; 2]>::try_from(bound).ok()?.map(|typed| Box::new(typed.expr));
        Some(Expr::Compare(Comparison::Equal, left, right))
    }
}

/// PostgreSQL refuses `a = b = c`, which the parser reads from the left.
pub(super) fn is_comparison(expr: &ast::Expr) -> bool {
    use BinaryOperator as O;
    matches!(expr, ast::Expr::BinaryOp { op: O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq, .. })
}

/// PostgreSQL refuses `a IS DISTINCT FROM b IS NULL`, which the parser reads from the right.
fn is_test(expr: &ast::Expr) -> bool {
    use ast::Expr as E;
    matches!(
        expr,
        E::IsNull(_)
            | E::IsNotNull(_)
            | E::IsTrue(_)
            | E::IsNotTrue(_)
            | E::IsFalse(_)
            | E::IsNotFalse(_)
            | E::IsUnknown(_)
            | E::IsNotUnknown(_)
            | E::IsDistinctFrom(..)
            | E::IsNotDistinctFrom(..)
    )
}
