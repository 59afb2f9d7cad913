//! From a parsed SELECT to a block: FROM, joins on the key, grouping, output columns.
//!
//! Must not know: how expressions are typed (`bind`).

use sqlparser::ast::{
    self, Distinct, GroupByExpr, JoinConstraint, JoinOperator, SelectItem, SetExpr, Spanned, TableFactor,
};

use super::bind::{Binder, Grouped};
use super::block::{Block, Grouping, Item, Join};
use super::error::SqlError;
use super::expr::{Comparison, Expr};
use super::scope::{Merged, Named, Scope, ScopeItem, fold, nearest};
use super::shape;
use super::types::{Typed, unify};
use crate::domain::catalog::{Catalog, Column};
use crate::domain::value::{Type, Value};

/// A compiled SELECT and what it gives.
#[derive(Clone)]
pub struct Compiled {
    pub block: Block,
    pub columns: Vec<Column>,
    /// The output column that holds the reconciliation key, if one does.
    pub key: Option<usize>,
}

/// Deeper nesting of subqueries is refused.
const DEPTH: usize = 8;

/// More tables and subqueries are refused. What WITH names is put in wherever it is named: of names of names of names there
/// could be more than memory holds.
const PARTS: usize = 128;

/// Compiles queries over a catalog.
pub struct Compiler<'c> {
    pub catalog: &'c Catalog,
    /// Named subqueries of WITH.
    pub named: Vec<(String, Compiled)>,
    pub errors: Vec<SqlError>,
    pub depth: usize,
}

impl Compiler<'_> {
    fn fail<T>(&mut self, error: SqlError) -> Option<T> {
        self.errors.push(error);
        None
    }

    pub fn query(&mut self, query: &ast::Query) -> Option<Compiled> {
        if self.depth >= DEPTH {
            return self.fail(SqlError::new(query.span(), format!("subqueries are nested more than {DEPTH} deep")));
        }
        self.depth += 1;
        self.errors.extend(shape::query(query));
        let named = self.named.len();
        if let Some(with) = &query.with {
            for table in &with.cte_tables {
                let name = fold(&table.alias.name);
                if self.named[named..].iter().any(|(known, _)| *known == name) {
                    self.errors.push(SqlError::new(table.alias.span(), format!("WITH names \"{name}\" twice")));
                }
                if let Some(compiled) = self.query(&table.query) {
                    self.named.push((name, compiled));
                }
            }
        }
        let compiled = match &*query.body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(inner) => self.query(inner),
            SetExpr::SetOperation { .. } => {
                let error = SqlError::new(query.body.span(), "UNION, INTERSECT and EXCEPT are not supported");
                self.fail(error.hint("Write two rules: each has a grace and an identity of its own."))
            }
            _ => self.fail(SqlError::new(query.body.span(), "a rule is a SELECT")),
        };
        self.named.truncate(named);
        self.depth -= 1;
        compiled
    }

    fn select(&mut self, select: &ast::Select) -> Option<Compiled> {
        self.errors.extend(shape::select(select));
        let mut scope = Scope::default();
        let mut items = Vec::new();
        let mut joins = Vec::new();
        let mut sound = true;
        for (index, from) in select.from.iter().enumerate() {
            sound &= self.add_item(&from.relation, &mut scope, &mut items).is_some();
            if index > 0 && sound {
                let lookup = scope.items.last().is_some_and(|item| item.key.is_none());
                if !lookup {
                    let error = SqlError::new(from.relation.span(), "tables are joined with JOIN … ON the key");
                    return self.fail(error.hint("A comma would pair every order with every payment."));
                }
                joins.push(Join::new(false, false, Expr::Constant(Value::Bool(true)), joins.len() + 1));
            }
            if let Some(join) = from.joins.first().filter(|_| index > 0) {
                let error = SqlError::new(join.span(), "a join after a comma is not supported");
                return self.fail(error.hint("It would bind closer than the comma. Write CROSS JOIN for the comma."));
            }
            for join in &from.joins {
                let added = self.add_item(&join.relation, &mut scope, &mut items).is_some();
                sound &= added;
                if added && let Some(join) = self.join(join, &mut scope) {
                    joins.push(join);
                } else {
                    sound = false;
                }
            }
        }
        if !sound {
            return None;
        }
        if scope.items.iter().all(|item| item.key.is_none()) {
            let names: Vec<&str> = self.catalog.sources.iter().map(|source| source.name.as_str()).collect();
            let error = SqlError::new(select.span(), "the query reads no source");
            return self.fail(error.hint(format!("The sources are: {}.", names.join(", "))));
        }
        if scope.items[0].key.is_none() {
            let error = SqlError::new(select.from[0].relation.span(), "a lookup table cannot come first in FROM");
            return self.fail(error.hint("Begin with a source and join the lookup table to it."));
        }
        let mut binder = Binder::new(&scope);
        let filter = select.selection.as_ref().map(|filter| binder.condition(filter, "WHERE"));
        let grouping = group(select, &mut binder);
        // Without a sound GROUP BY, what stands after it cannot be judged.
        let output = if grouping.is_some() { output(select, &mut binder) } else { None };
        let having = select.having.as_ref().filter(|_| grouping.is_some());
        let having = having.map(|having| binder.condition(having, "HAVING"));
        let aggregates = binder.grouped.take().map(|grouped| grouped.aggregates).unwrap_or_default();
        self.errors.append(&mut binder.errors);
        let filter = sequence(filter)?;
        let having = sequence(having)?;
        let (grouping, output) = (grouping?, output?);
        let key = output.iter().position(|(typed, _)| is_key(&typed.expr, &scope, grouping.as_deref()));
        let columns = output.iter().map(|(typed, name)| Column { name: name.clone(), ty: typed.settled() }).collect();
        let grouping = grouping.map(|keys| Grouping {
            keys: keys.into_iter().map(|key| key.expr).collect(),
            aggregates,
            having,
        });
        let distinct = matches!(select.distinct, Some(Distinct::Distinct));
        let output = output.into_iter().map(|(typed, _)| typed.expr).collect();
        let longest = scope.items.iter().map(|item| item.columns.len()).max().unwrap_or(0);
        let unknown_row = vec![Value::Unknown; longest].into();
        let block = Block { items, joins, filter, grouping, output, distinct, unknown_row };
        Some(Compiled { block, columns, key })
    }

    fn add_item(&mut self, factor: &TableFactor, scope: &mut Scope, items: &mut Vec<Item>) -> Option<()> {
        self.errors.extend(shape::table(factor));
        let (item, mut described) = match factor {
            TableFactor::Table { name, alias, .. } => self.table(factor, name, alias.as_ref())?,
            TableFactor::Derived { subquery, alias, .. } => {
                let compiled = self.query(subquery)?;
                let Some(alias) = alias else {
                    return self.fail(SqlError::new(factor.span(), "a subquery in FROM needs a name"));
                };
                self.derived(factor, compiled, fold(&alias.name))?
            }
            other => return self.fail(SqlError::new(other.span(), "only tables and subqueries can stand in FROM")),
        };
        if scope.items.iter().any(|item| item.alias == described.alias) {
            let message = format!("\"{}\" stands in FROM twice", described.alias);
            return self.fail(SqlError::new(factor.span(), message).hint("Give each its own alias."));
        }
        described.columns.shrink_to_fit();
        scope.items.push(described);
        items.push(item);
        if items.iter().map(Item::parts).sum::<usize>() > PARTS {
            let message =
                format!("more than {PARTS} tables and subqueries, once each name of WITH stands for its own");
            return self.fail(SqlError::new(factor.span(), message).hint("Write several rules."));
        }
        Some(())
    }

    fn table(
        &mut self,
        factor: &TableFactor,
        name: &ast::ObjectName,
        alias: Option<&ast::TableAlias>,
    ) -> Option<(Item, ScopeItem)> {
        let text = simple_name(name);
        let alias = alias.map_or(text.clone(), |alias| fold(&alias.name));
        if let Some((_, compiled)) = self.named.iter().rev().find(|(known, _)| *known == text) {
            let compiled = compiled.clone();
            return self.derived(factor, compiled, alias);
        }
        if let Some(source) = self.catalog.sources.iter().position(|source| source.name == text) {
            let table = &self.catalog.sources[source];
            let (columns, primary_key) = (table.columns.clone(), table.primary_key.clone());
            return Some((Item::Source(source), ScopeItem { alias, columns, key: Some(table.key), primary_key }));
        }
        if let Some(lookup) = self.catalog.lookups.iter().find(|lookup| lookup.name == text) {
            let rows = lookup.rows.iter().map(|row| row.clone().into()).collect();
            let columns = lookup.columns.clone();
            return Some((Item::Lookup(rows), ScopeItem { alias, columns, key: None, primary_key: Vec::new() }));
        }
        let sources = self.catalog.sources.iter().map(|source| source.name.as_str());
        let names: Vec<&str> =
            sources.chain(self.catalog.lookups.iter().map(|lookup| lookup.name.as_str())).collect();
        let error = SqlError::new(name.span(), format!("table \"{text}\" is neither a source nor a lookup table"));
        self.fail(error.hint(nearest(&text, &names)))
    }

    fn derived(&mut self, factor: &TableFactor, compiled: Compiled, alias: String) -> Option<(Item, ScopeItem)> {
        let Compiled { block, columns, key } = compiled;
        if key.is_none() {
            let error = SqlError::new(factor.span(), format!("the subquery \"{alias}\" does not give the key"));
            return self.fail(error.hint("Add the reconciliation key to its SELECT list, and join on it."));
        }
        Some((Item::Derived(Box::new(block)), ScopeItem { alias, columns, key, primary_key: Vec::new() }))
    }

    /// The join of the scope's last item to those before it.
    fn join(&mut self, join: &ast::Join, scope: &mut Scope) -> Option<Join> {
        use JoinOperator as J;
        self.errors.extend(shape::join(join));
        let (keep_left, keep_right, constraint) = match &join.join_operator {
            J::Join(constraint) | J::Inner(constraint) => (false, false, constraint),
            J::Left(constraint) | J::LeftOuter(constraint) => (true, false, constraint),
            J::Right(constraint) | J::RightOuter(constraint) => (false, true, constraint),
            J::FullOuter(constraint) => (true, true, constraint),
            J::CrossJoin(constraint @ JoinConstraint::None) => (false, false, constraint),
            _ => return self.fail(SqlError::new(join.span(), "this kind of join is not supported")),
        };
        let last = scope.items.len() - 1;
        let is_lookup = scope.items[last].key.is_none();
        if is_lookup && keep_right {
            let error = SqlError::new(join.span(), "a lookup table's rows cannot be kept without a match");
            return self.fail(error.hint("They would come up for every key. Use LEFT JOIN or JOIN."));
        }
        let on = match constraint {
            JoinConstraint::On(on) => {
                let mut binder = Binder::new(scope);
                let on = binder.condition(on, "ON");
                self.errors.append(&mut binder.errors);
                on?
            }
            JoinConstraint::Using(names) => self.using(join, names, (keep_left, keep_right), scope)?,
            JoinConstraint::None if is_lookup && matches!(join.join_operator, J::CrossJoin(_)) => {
                Expr::Constant(Value::Bool(true))
            }
            _ => return self.fail(SqlError::new(join.span(), "a join needs ON or USING with the key")),
        };
        if !is_lookup && !joins_on_key(&on, scope, last) {
            let item = &scope.items[last];
            let column = |item: &ScopeItem| item.key.map(|key| format!("{}.{}", item.alias, item.columns[key].name));
            let own = column(item).unwrap_or_default();
            let others: Vec<String> = scope.items[..last].iter().filter_map(column).collect();
            let message = format!("\"{}\" is not joined on the reconciliation key", item.alias);
            let hint = format!("Add {own} = {}: a rule sees one key's rows at a time.", others.join(" or "));
            return self.fail(SqlError::new(join.span(), message).hint(hint));
        }
        Some(Join::new(keep_left, keep_right, on, last))
    }

    fn using(
        &mut self,
        join: &ast::Join,
        names: &[ast::ObjectName],
        keeps: (bool, bool),
        scope: &mut Scope,
    ) -> Option<Expr> {
        let mut on: Option<Expr> = None;
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return self.fail(SqlError::new(name.span(), format!("USING names {name} twice")));
            }
            let equal = self.merge(join, name, keeps, scope)?;
            on = Some(match on {
                Some(on) => Expr::And(Box::new(on), Box::new(equal)),
                None => equal,
            });
        }
        on
    }

    /// Merges a column of the scope's last item with the one of that name to its left; gives their equality.
    fn merge(
        &mut self,
        join: &ast::Join,
        name: &ast::ObjectName,
        keeps: (bool, bool),
        scope: &mut Scope,
    ) -> Option<Expr> {
        let last = scope.items.len() - 1;
        let text = simple_name(name);
        let (own, left): (Vec<_>, Vec<_>) = scope
            .named(&text)
            .into_iter()
            .partition(|named| matches!(named, Named::Column(item, _) if *item == last));
        if left.len() > 1 {
            let message = format!("column \"{text}\" stands more than once to the left of the join");
            let hint = format!("Join with ON, and say which is meant: {}.", scope.qualified(&left));
            return self.fail(SqlError::new(name.span(), message).hint(hint));
        }
        let ([Named::Column(_, own)], [left]) = (own.as_slice(), left.as_slice()) else {
            return self.fail(SqlError::new(join.span(), format!("column \"{text}\" is not on both sides")));
        };
        let mut columns = match left {
            Named::Column(item, column) => vec![(*item, *column)],
            Named::Merged(merged) => merged.columns.clone(),
        };
        columns.push((last, *own));
        let mut sides = [scope.typed(*left), scope.column(last, *own)];
        let ty = match unify(&mut sides) {
            Ok(Type::Json) => return self.fail(SqlError::new(name.span(), "json values are not compared")),
            Ok(ty) => ty,
            Err((left, right)) => {
                return self.fail(SqlError::new(name.span(), format!("cannot compare {left} with {right}")));
            }
        };
        let [left, right] = sides;
        let equal = Expr::Compare(Comparison::Equal, Box::new(left.expr.clone()), Box::new(right.expr.clone()));
        let expr = match keeps {
            (_, false) => left.expr,
            (false, true) => right.expr,
            (true, true) => Expr::Coalesce(vec![left.expr, right.expr]),
        };
        scope.merged.retain(|merged| merged.name != text);
        scope.merged.push(Merged { name: text, typed: Typed::known(expr, ty), columns });
        Some(equal)
    }
}

/// A name of one part as SQL folds it; one of several parts stands for nothing that there is.
fn simple_name(name: &ast::ObjectName) -> String {
    match name.0.as_slice() {
        [ast::ObjectNamePart::Identifier(name)] => fold(name),
        _ => name.to_string(),
    }
}

fn sequence<T>(option: Option<Option<T>>) -> Option<Option<T>> {
    match option {
        Some(inner) => inner.map(Some),
        None => Some(None),
    }
}

/// True where one of the conditions that must all hold equates the item's key with that of earlier items.
fn joins_on_key(on: &Expr, scope: &Scope, last: usize) -> bool {
    let own = |expr: &Expr| matches!(expr, Expr::Column { item, .. } if *item == last) && is_key(expr, scope, None);
    match on {
        Expr::And(left, right) => joins_on_key(left, scope, last) || joins_on_key(right, scope, last),
        Expr::Compare(Comparison::Equal, left, right) => {
            own(left) && is_earlier_key(right, scope, last) || own(right) && is_earlier_key(left, scope, last)
        }
        _ => false,
    }
}

/// True for an earlier item's key, or the first of several that is there, as USING merges them.
fn is_earlier_key(expr: &Expr, scope: &Scope, last: usize) -> bool {
    match expr {
        Expr::Column { item, .. } => *item < last && is_key(expr, scope, None),
        Expr::Coalesce(list) => list.iter().all(|expr| is_earlier_key(expr, scope, last)),
        _ => false,
    }
}

/// True where an expression is the reconciliation key: a key column, or the first of several that is there.
fn is_key(expr: &Expr, scope: &Scope, keys: Option<&[Typed]>) -> bool {
    match expr {
        Expr::Column { item, column } => scope.items[*item].key == Some(*column),
        Expr::Coalesce(list) => list.iter().all(|expr| is_key(expr, scope, keys)),
        Expr::Grouped(place) => {
            keys.and_then(|keys| keys.get(*place)).is_some_and(|key| is_key(&key.expr, scope, None))
        }
        _ => false,
    }
}

/// Binds GROUP BY and prepares the binder for what stands after it. `Some(None)` where there is none.
fn group(select: &ast::Select, binder: &mut Binder<'_>) -> Option<Option<Vec<Typed>>> {
    let GroupByExpr::Expressions(expressions, modifiers) = &select.group_by else {
        binder.errors.push(SqlError::new(select.group_by.span(), "GROUP BY ALL is not supported"));
        return None;
    };
    if !modifiers.is_empty() {
        binder.errors.push(SqlError::new(select.group_by.span(), "only plain GROUP BY is supported"));
        return None;
    }
    if expressions.is_empty() {
        if let Some(having) = &select.having {
            let error = SqlError::new(having.span(), "HAVING needs GROUP BY of the key");
            binder.errors.push(error.hint("Add GROUP BY with the reconciliation key."));
            return None;
        }
        return Some(None);
    }
    let keys: Vec<Option<Typed>> = expressions.iter().map(|expr| group_key(expr, binder)).collect();
    let keys: Vec<Typed> = keys.into_iter().collect::<Option<_>>()?;
    if !keys.iter().any(|key| is_key(&key.expr, binder.scope, None)) {
        let names: Vec<String> = binder
            .scope
            .items
            .iter()
            .filter_map(|item| item.key.map(|key| format!("{}.{}", item.alias, item.columns[key].name)))
            .collect();
        let error = SqlError::new(select.group_by.span(), "GROUP BY does not contain the reconciliation key");
        binder.errors.push(error.hint(format!("Add {}: a rule speaks of one key at a time.", names.join(" or "))));
        return None;
    }
    let grouped_column =
        |item: usize, column: usize| keys.iter().any(|key| key.expr == Expr::Column { item, column });
    let determined = |(index, item): (usize, &ScopeItem)| {
        let all =
            !item.primary_key.is_empty() && item.primary_key.iter().all(|column| grouped_column(index, *column));
        all.then_some(index)
    };
    let determined = binder.scope.items.iter().enumerate().filter_map(determined).collect();
    binder.grouped = Some(Grouped { keys: keys.clone(), aggregates: Vec::new(), determined });
    Some(Some(keys))
}

/// PostgreSQL takes a number for the place of an output column, and refuses other literals.
fn group_key(expr: &ast::Expr, binder: &mut Binder<'_>) -> Option<Typed> {
    match expr {
        ast::Expr::Nested(inner) => group_key(inner, binder),
        ast::Expr::Value(_) => {
            let error = SqlError::new(expr.span(), "a literal in GROUP BY is not supported");
            binder.errors.push(error.hint("Name the column instead of its place."));
            None
        }
        other => binder.bind(other),
    }
}

fn output(select: &ast::Select, binder: &mut Binder<'_>) -> Option<Vec<(Typed, String)>> {
    let mut output: Vec<(Typed, String)> = Vec::new();
    let mut sound = true;
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) => match binder.bind(expr) {
                Some(typed) => push(&mut output, typed, own_name(expr), item, binder),
                None => sound = false,
            },
            SelectItem::ExprWithAlias { expr, alias } => match binder.bind(expr) {
                Some(typed) => push(&mut output, typed, fold(alias), item, binder),
                None => sound = false,
            },
            SelectItem::Wildcard(options) => {
                binder.errors.extend(shape::wildcard(options));
                for table in 0..binder.scope.items.len() {
                    sound &= expand(&mut output, table, item, binder);
                }
            }
            SelectItem::QualifiedWildcard(kind, options) => {
                binder.errors.extend(shape::wildcard(options));
                let name = kind.to_string().to_lowercase();
                match binder.scope.table(&ast::Ident::with_span(item.span(), name)) {
                    Ok(table) => sound &= expand(&mut output, table, item, binder),
                    Err(error) => {
                        binder.errors.push(error);
                        sound = false;
                    }
                }
            }
            other => {
                binder.errors.push(SqlError::new(other.span(), "this is not supported in a SELECT list"));
                sound = false;
            }
        }
    }
    sound.then_some(output)
}

fn expand(output: &mut Vec<(Typed, String)>, table: usize, item: &SelectItem, binder: &mut Binder<'_>) -> bool {
    let scope = binder.scope;
    for column in &scope.items[table].columns {
        let parts = [&scope.items[table].alias, &column.name].map(|part| ast::Ident::with_span(item.span(), part));
        let Some(typed) = binder.bind(&ast::Expr::CompoundIdentifier(parts.to_vec())) else { return false };
        push(output, typed, column.name.clone(), item, binder);
    }
    true
}

fn push(output: &mut Vec<(Typed, String)>, typed: Typed, name: String, at: &SelectItem, binder: &mut Binder<'_>) {
    if output.iter().any(|(_, known)| *known == name) {
        let error = SqlError::new(at.span(), format!("two output columns are named \"{name}\""));
        binder.errors.push(error.hint("Give one of them another name with AS."));
    }
    output.push((typed, name));
}

/// The name that PostgreSQL gives an output column without an alias.
fn own_name(expr: &ast::Expr) -> String {
    match expr {
        ast::Expr::Identifier(name) => fold(name),
        ast::Expr::CompoundIdentifier(parts) => parts.last().map(fold).unwrap_or_default(),
        ast::Expr::Nested(inner) => own_name(inner),
        ast::Expr::Function(function) => function.name.to_string().to_lowercase(),
        ast::Expr::Cast { expr, .. } => own_name(expr),
        ast::Expr::Case { .. } => "case".to_owned(),
        _ => "?column?".to_owned(),
    }
}
