//! From parsed calls to typed ones: aggregates over a group's rows, pure scalar functions.
//!
//! Must not know: FROM and joins (`select`).

use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::aggregate::{Aggregate, Kind};
use super::bind::{Binder, VOLATILE};
use super::error::SqlError;
use super::expr::Expr;
use super::functions::FUNCTIONS;
use super::scope::nearest;
use super::types::{Ty, Typed, bring};
use crate::domain::value::{Type, Value};
use sqlparser::ast::Spanned;

impl Binder<'_> {
    pub(super) fn function(&mut self, at: &ast::Expr, function: &ast::Function) -> Option<Typed> {
        let ast::Function { name, uses_odbc_syntax, parameters, args, filter, null_treatment, over, within_group } =
            function;
        let called = name.to_string().to_lowercase();
        if VOLATILE.contains(&called.as_str()) {
            return self.clock(at, &called);
        }
        if over.is_some() {
            let error = SqlError::new(at.span(), "window functions are not supported");
            return self.fail(
                error.hint("An aggregate with GROUP BY of the key, in a subquery, can be joined to the rows."),
            );
        }
        let FunctionArguments::List(list) = args else {
            return self.refuse(at, format!("{called} is called with arguments in parentheses"));
        };
        let ast::FunctionArgumentList { duplicate_treatment, args, clauses } = list;
        let plain = !*uses_odbc_syntax && matches!(parameters, FunctionArguments::None) && clauses.is_empty();
        if !plain || !within_group.is_empty() || null_treatment.is_some() {
            return self.refuse(at, format!("only plain arguments of {called} are supported"));
        }
        let distinct = matches!(duplicate_treatment, Some(ast::DuplicateTreatment::Distinct));
        if matches!(args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]) && called == "count" {
            if distinct {
                return self.refuse(at, "DISTINCT has no meaning in COUNT(*)");
            }
            return self.aggregate(at, Kind::CountRows, &[], false, filter.as_deref());
        }
        let mut arguments = Vec::new();
        for argument in args {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => arguments.push(expr),
                _ => return self.refuse(at, format!("only plain arguments of {called} are supported")),
            }
        }
        if let Some(kind) = aggregate_kind(&called, arguments.len()) {
            return self.aggregate(at, kind, &arguments, distinct, filter.as_deref());
        }
        if duplicate_treatment.is_some() || filter.is_some() {
            return self.refuse(at, format!("{called} is no aggregate: DISTINCT, ALL and FILTER have no meaning"));
        }
        self.call(at, &called, &arguments)
    }

    fn aggregate(
        &mut self,
        at: &ast::Expr,
        kind: Kind,
        arguments: &[&ast::Expr],
        distinct: bool,
        filter: Option<&ast::Expr>,
    ) -> Option<Typed> {
        let Some(mut grouped) = self.grouped.take() else {
            let error = SqlError::new(at.span(), "an aggregate needs GROUP BY of the key, and cannot stand here");
            return self.fail(
                error.hint("Add GROUP BY with the reconciliation key; conditions on aggregates go to HAVING."),
            );
        };
        // What an aggregate takes is bound row by row, without the grouping.
        let argument = match arguments.first() {
            Some(argument) => self.bind(argument),
            None => Some(Typed::known(Expr::Constant(Value::Bool(true)), Type::Bool)),
        };
        let filter = filter.map(|filter| self.condition(filter, "FILTER"));
        let typed = argument.and_then(|argument| {
            let filter = match filter {
                Some(filter) => Some(filter?),
                None => None,
            };
            let ty = self.aggregate_type(at, kind, &argument)?;
            let aggregate = Aggregate { kind, argument: argument.expr, distinct, filter };
            let place = grouped.aggregates.iter().position(|known| *known == aggregate).unwrap_or_else(|| {
                grouped.aggregates.push(aggregate);
                grouped.aggregates.len() - 1
            });
            Some(Typed::known(Expr::Grouped(grouped.keys.len() + place), ty))
        });
        self.grouped = Some(grouped);
        typed
    }

    fn aggregate_type(&mut self, at: &ast::Expr, kind: Kind, argument: &Typed) -> Option<Type> {
        let fits = match kind {
            Kind::CountRows | Kind::Count | Kind::Min | Kind::Max => true,
            Kind::Sum | Kind::Avg => argument.is_number(),
            Kind::BoolOr | Kind::BoolAnd => argument.ty == Ty::Known(Type::Bool),
        };
        if !fits {
            let message = format!("{} has no {kind:?}", argument.name()).to_lowercase();
            self.refuse(at, message);
            return None;
        }
        Some(match kind {
            Kind::CountRows | Kind::Count => Type::Int,
            Kind::Sum | Kind::Avg => Type::Decimal { scale: None },
            Kind::Min | Kind::Max => argument.settled(),
            Kind::BoolOr | Kind::BoolAnd => Type::Bool,
        })
    }

    pub(super) fn call(&mut self, at: &ast::Expr, called: &str, arguments: &[&ast::Expr]) -> Option<Typed> {
        match (called, arguments) {
            ("coalesce", [_, ..]) => {
                let (list, ty) = self.together(at, arguments, "COALESCE cannot give both")?;
                let list = list.into_iter().map(|typed| typed.expr).collect();
                return Some(Typed::known(Expr::Coalesce(list), ty));
            }
            ("greatest" | "least", [_, ..]) => {
                let (list, ty) = self.comparable(at, arguments)?;
                let list = list.into_iter().map(|typed| typed.expr).collect();
                return Some(Typed::known(Expr::Extreme { greatest: called == "greatest", list }, ty));
            }
            ("nullif", [left, right]) => {
                let (left, right, ty) = self.pair(at, left, right)?;
                return Some(Typed::known(Expr::NullIf(left, right), ty));
            }
            _ => {}
        }
        if aggregate_kind(called, 1).is_some() {
            return self.refuse(at, format!("{called} takes one argument"));
        }
        let Some((_, function, least, most, numeric)) = FUNCTIONS.iter().find(|known| known.0 == called) else {
            let mut names: Vec<&str> = FUNCTIONS.iter().map(|known| known.0).collect();
            names.extend([
                "coalesce", "nullif", "greatest", "least", "count", "sum", "min", "max", "avg", "bool_or", "bool_and",
            ]);
            let error = SqlError::new(at.span(), format!("function {called} is not supported"));
            return self.fail(error.hint(nearest(called, &names)));
        };
        if arguments.len() < *least || arguments.len() > *most {
            return self.refuse(at, format!("{called} takes {least} to {most} arguments, not {}", arguments.len()));
        }
        let bound: Vec<Option<Typed>> = arguments.iter().map(|argument| self.bind(argument)).collect();
        let mut bound: Vec<Typed> = bound.into_iter().collect::<Option<_>>()?;
        let first = &bound[0];
        let fits = if *numeric { first.is_number() } else { first.is_text() };
        if !fits || bound.get(1).is_some_and(|scale| scale.ty != Ty::Known(Type::Int)) {
            let types: Vec<String> = bound.iter().map(Typed::name).collect();
            return self.refuse(at, format!("{called} does not take {}", types.join(", ")));
        }
        let ty = match (called, first.ty) {
            ("length", _) | ("abs", Ty::Known(Type::Int)) => Type::Int,
            // Of an integer too: half of FLOOR(3) is 1.5, as where PostgreSQL makes a double of it.
            _ if *numeric => Type::Decimal { scale: None },
            _ => Type::Text,
        };
        if let Type::Decimal { .. } = ty {
            bring(&mut bound[0], ty).ok()?;
        }
        Some(Typed::known(Expr::Call(*function, bound.into_iter().map(|typed| typed.expr).collect()), ty))
    }
}

fn aggregate_kind(called: &str, arguments: usize) -> Option<Kind> {
    Some(match (called, arguments) {
        ("count", 1) => Kind::Count,
        ("sum", 1) => Kind::Sum,
        ("min", 1) => Kind::Min,
        ("max", 1) => Kind::Max,
        ("avg", 1) => Kind::Avg,
        ("bool_or", 1) => Kind::BoolOr,
        ("bool_and" | "every", 1) => Kind::BoolAnd,
        _ => return None,
    })
}
