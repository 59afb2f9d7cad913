//! What a query may not contain. Every part of it that means something and has no place in a rule is refused here, so
//! that none is passed over in silence.
//!
//! Must not know: what the rest means (`select`, `bind`). The parser's nodes are taken apart without `..`, so that a
//! part that a later version of the parser adds cannot be overlooked.

use sqlparser::ast::{
    Cte, Distinct, Join, Query, Select, SelectFlavor, Spanned, TableAlias, TableFactor, WildcardAdditionalOptions,
    With,
};
use sqlparser::tokenizer::Span;

use super::error::SqlError;

/// Errors about one node.
struct Refusals {
    at: Span,
    errors: Vec<SqlError>,
}

impl Refusals {
    fn of(node: &impl Spanned) -> Refusals {
        Refusals { at: node.span(), errors: Vec::new() }
    }

    /// Refuses what is there.
    fn part(&mut self, is_there: bool, what: &str) {
        if is_there {
            self.errors.push(SqlError::new(self.at, format!("{what} is not supported")));
        }
    }

    /// Refuses what is there, at its place, with a way out.
    fn refuse(&mut self, place: Option<Span>, message: &str, hint: &str) {
        self.errors.extend(place.map(|place| SqlError::new(place, message).hint(hint)));
    }
}

/// The node's place where it is there.
fn place(node: Option<&impl Spanned>) -> Option<Span> {
    node.map(Spanned::span)
}

pub fn query(query: &Query) -> Vec<SqlError> {
    let Query {
        with,
        body: _,
        order_by,
        limit_clause,
        fetch,
        locks,
        for_clause,
        settings,
        format_clause,
        pipe_operators,
    } = query;
    let mut refusals = Refusals::of(query);
    refusals.refuse(
        place(order_by.as_ref()),
        "ORDER BY has no meaning in a rule",
        "The rows are evidence; their order says nothing. Leave it out.",
    );
    let limits = limit_clause.is_some() || fetch.is_some();
    refusals.refuse(
        limits.then_some(refusals.at),
        "LIMIT has no meaning in a rule",
        "A disagreement that is left out would be missed.",
    );
    refusals.refuse(
        (!locks.is_empty()).then_some(refusals.at),
        "FOR UPDATE and FOR SHARE have no meaning in a rule",
        "A rule changes nothing and waits for nobody. Leave it out.",
    );
    refusals.part(for_clause.is_some(), "FOR");
    refusals.part(settings.is_some(), "SETTINGS");
    refusals.part(format_clause.is_some(), "FORMAT");
    refusals.part(!pipe_operators.is_empty(), "|>");
    let mut errors = refusals.errors;
    errors.extend(with.iter().flat_map(named_subqueries));
    errors
}

fn named_subqueries(with: &With) -> Vec<SqlError> {
    let With { with_token: _, recursive, cte_tables } = with;
    let mut refusals = Refusals::of(with);
    refusals.part(*recursive, "WITH RECURSIVE");
    refusals.errors.into_iter().chain(cte_tables.iter().flat_map(named_subquery)).collect()
}

fn named_subquery(subquery: &Cte) -> Vec<SqlError> {
    // MATERIALIZED says how, not what.
    let Cte { alias, query: _, from, materialized: _, closing_paren_token: _ } = subquery;
    let mut refusals = Refusals::of(alias);
    refusals.part(from.is_some(), "FROM after a subquery of WITH");
    refusals.errors.into_iter().chain(table_alias(alias)).collect()
}

fn table_alias(alias: &TableAlias) -> Vec<SqlError> {
    let TableAlias { explicit: _, name: _, columns, at } = alias;
    let mut refusals = Refusals::of(alias);
    refusals.refuse(
        (!columns.is_empty()).then_some(refusals.at),
        "column names after a table's alias are not supported",
        "Name the columns with AS in a SELECT list.",
    );
    refusals.part(at.is_some(), "AT after a table's alias");
    refusals.errors
}

pub fn select(select: &Select) -> Vec<SqlError> {
    let Select {
        select_token: _,
        // Comments.
        optimizer_hints: _,
        distinct,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection: _,
        exclude,
        into,
        from: _,
        lateral_views,
        prewhere,
        selection: _,
        connect_by,
        group_by: _,
        cluster_by,
        distribute_by,
        sort_by,
        having: _,
        named_window,
        qualify,
        window_before_qualify: _,
        value_table_mode,
        flavor,
    } = select;
    let mut refusals = Refusals::of(select);
    let distinct_on = match distinct {
        Some(Distinct::On(columns)) => columns.first(),
        Some(Distinct::Distinct | Distinct::All) | None => None,
    };
    refusals.refuse(
        place(distinct_on),
        "DISTINCT ON is not supported",
        "Which row it keeps depends on an order. Use GROUP BY with MIN or MAX.",
    );
    refusals.refuse(
        top.as_ref().map(|_| refusals.at),
        "TOP has no meaning in a rule",
        "A disagreement that is left out would be missed.",
    );
    let into = into.as_ref().map(|into| &into.name);
    refusals.refuse(place(into), "INTO has no meaning in a rule", "What the query selects is the evidence.");
    refusals.refuse(
        place(qualify.as_ref()),
        "QUALIFY is not supported",
        "Rules have no window functions. Use HAVING.",
    );
    refusals.part(!named_window.is_empty(), "WINDOW");
    refusals.part(!lateral_views.is_empty(), "LATERAL VIEW");
    refusals.part(prewhere.is_some(), "PREWHERE");
    refusals.part(!connect_by.is_empty(), "CONNECT BY");
    refusals.part(!cluster_by.is_empty(), "CLUSTER BY");
    refusals.part(!distribute_by.is_empty(), "DISTRIBUTE BY");
    refusals.part(!sort_by.is_empty(), "SORT BY");
    refusals.part(exclude.is_some(), "EXCLUDE");
    refusals.part(select_modifiers.is_some(), "a modifier of SELECT");
    refusals.part(value_table_mode.is_some(), "SELECT AS");
    refusals.part(!matches!(flavor, SelectFlavor::Standard), "FROM before SELECT");
    refusals.errors
}

/// Of what stands in FROM, `select` itself refuses all but tables and subqueries.
pub fn table(factor: &TableFactor) -> Vec<SqlError> {
    let mut refusals = Refusals::of(factor);
    let (alias, sample) = match factor {
        TableFactor::Table {
            name: _,
            alias,
            args,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
        } => {
            refusals.part(args.is_some(), "a function in FROM");
            refusals.part(!with_hints.is_empty(), "WITH after a table");
            refusals.part(version.is_some(), "a table's version");
            refusals.part(*with_ordinality, "WITH ORDINALITY");
            refusals.part(!partitions.is_empty(), "PARTITION");
            refusals.part(json_path.is_some(), "a path after a table");
            refusals.part(!index_hints.is_empty(), "an index hint");
            (alias, sample)
        }
        TableFactor::Derived { lateral, subquery: _, alias, sample } => {
            refusals.part(*lateral, "LATERAL");
            (alias, sample)
        }
        _ => return Vec::new(),
    };
    refusals.refuse(
        sample.as_ref().map(|_| refusals.at),
        "TABLESAMPLE has no meaning in a rule",
        "It would give another answer on each replay. A rule sees all rows of a key.",
    );
    refusals.errors.into_iter().chain(alias.iter().flat_map(table_alias)).collect()
}

pub fn join(join: &Join) -> Vec<SqlError> {
    let Join { relation: _, global, join_operator: _ } = join;
    let mut refusals = Refusals::of(join);
    refusals.part(*global, "GLOBAL JOIN");
    refusals.errors
}

pub fn wildcard(options: &WildcardAdditionalOptions) -> Vec<SqlError> {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    let mut refusals = Refusals::of(options);
    let changed = opt_exclude.is_some() || opt_except.is_some() || opt_replace.is_some() || opt_rename.is_some();
    refusals.part(changed || opt_ilike.is_some() || opt_alias.is_some(), "what stands after *");
    refusals.errors
}
