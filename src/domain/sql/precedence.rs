//! What binds closer: the parser takes all that follows IS DISTINCT FROM for its right side, also what AND and OR join
//! to it. Here such conditions are put together as PostgreSQL reads them.
//!
//! Must not know: what conditions mean.

use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator};

/// A condition as it is read from left to right.
#[derive(Clone, Copy)]
enum Word<'e> {
    Join(&'e BinaryOperator),
    Not,
    /// `left IS [NOT] DISTINCT FROM`
    Distinct {
        left: &'e Expr,
        negated: bool,
    },
    Operand(&'e Expr),
}

/// The condition put together anew, where the parser's reading is not PostgreSQL's.
pub fn regrouped(expr: &Expr) -> Option<Expr> {
    let words = words(expr);
    let swallowed = words.iter().any(|word| matches!(word, Word::Distinct { .. }));
    if !swallowed {
        return None;
    }
    let regrouped = grouped(words);
    (regrouped != *expr).then_some(regrouped)
}

fn words(expr: &Expr) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = vec![Word::Operand(expr)];
    while let Some(word) = rest.pop() {
        match word {
            Word::Operand(Expr::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right }) => {
                rest.extend([Word::Operand(right), Word::Join(op), Word::Operand(left)]);
            }
            Word::Operand(Expr::UnaryOp { op: UnaryOperator::Not, expr }) => {
                rest.extend([Word::Operand(expr), Word::Not]);
            }
            Word::Operand(Expr::IsDistinctFrom(left, right)) => {
                rest.extend([Word::Operand(right), Word::Distinct { left, negated: false }]);
            }
            Word::Operand(Expr::IsNotDistinctFrom(left, right)) => {
                rest.extend([Word::Operand(right), Word::Distinct { left, negated: true }]);
            }
            word => words.push(word),
        }
    }
    words
}

/// OR joins what AND has joined, AND what NOT and IS DISTINCT FROM begin.
fn grouped(words: Vec<Word<'_>>) -> Expr {
    let (mut alternatives, mut all) = (None, None);
    let mut prefixes = Vec::new();
    for word in words {
        match word {
            Word::Operand(operand) => {
                let operand = prefixes.drain(..).rev().fold(operand.clone(), prefixed);
                all = Some(joined(all.take(), BinaryOperator::And, operand));
            }
            Word::Join(BinaryOperator::Or) => {
                alternatives = all.take().map(|all| joined(alternatives.take(), BinaryOperator::Or, all));
            }
            Word::Join(_) => {}
            prefix => prefixes.push(prefix),
        }
    }
    let all = all.expect("a condition ends with an operand");
    joined(alternatives, BinaryOperator::Or, all)
}

fn joined(left: Option<Expr>, op: BinaryOperator, right: Expr) -> Expr {
    match left {
        Some(left) => Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) },
        None => right,
    }
}

fn prefixed(operand: Expr, prefix: Word<'_>) -> Expr {
    let operand = Box::new(operand);
    match prefix {
        Word::Distinct { left, negated: false } => Expr::IsDistinctFrom(Box::new(left.clone()), operand),
        Word::Distinct { left, negated: true } => Expr::IsNotDistinctFrom(Box::new(left.clone()), operand),
        _ => Expr::UnaryOp { op: UnaryOperator::Not, expr: operand },
    }
}
