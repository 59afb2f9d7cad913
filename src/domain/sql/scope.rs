//! What names mean inside one SELECT.
//!
//! Must not know: how expressions are bound (`bind`).

use sqlparser::ast::Ident;

use super::error::SqlError;
use super::expr::Expr;
use super::types::Typed;
use crate::domain::catalog::Column;

/// A table in FROM.
#[derive(Clone, Debug)]
pub struct ScopeItem {
    pub alias: String,
    pub columns: Vec<Column>,
    /// The column that holds the reconciliation key; `None` for lookup tables.
    pub key: Option<usize>,
    /// The primary key of a source; empty otherwise.
    pub primary_key: Vec<usize>,
}

/// The tables of one FROM, in order.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub items: Vec<ScopeItem>,
    pub merged: Vec<Merged>,
}

/// Columns that USING has merged into one.
#[derive(Clone, Debug)]
pub struct Merged {
    pub name: String,
    /// What the name stands for: the column of the side whose rows are all there, or the first that is not NULL.
    pub typed: Typed,
    /// The columns that were merged, as item and column. Without a table's name none of them is meant.
    pub columns: Vec<(usize, usize)>,
}

/// What a name without a table's can stand for.
#[derive(Clone, Copy, Debug)]
pub enum Named<'s> {
    /// Item and column.
    Column(usize, usize),
    Merged(&'s Merged),
}

impl Scope {
    /// All that an unqualified name can stand for; merged columns count once.
    pub fn named(&self, text: &str) -> Vec<Named<'_>> {
        let merged: Vec<&Merged> = self.merged.iter().filter(|merged| merged.name == text).collect();
        let alone = |place: &(usize, usize)| !merged.iter().any(|merged| merged.columns.contains(place));
        let columns = self.items.iter().enumerate().filter_map(|(item, table)| {
            table.columns.iter().position(|column| column.name == text).map(|column| (item, column))
        });
        let columns: Vec<(usize, usize)> = columns.filter(alone).collect();
        let merged = merged.into_iter().map(Named::Merged);
        merged.chain(columns.into_iter().map(|(item, column)| Named::Column(item, column))).collect()
    }

    /// What an unqualified name stands for.
    pub fn find(&self, name: &Ident) -> Result<Typed, SqlError> {
        let text = fold(name);
        let found = self.named(&text);
        match found.as_slice() {
            [one] => Ok(self.typed(*one)),
            [] => Err(self.unknown_column(name, &text)),
            _ => {
                let error = SqlError::new(name.span, format!("column \"{text}\" is ambiguous"));
                Err(error.hint(format!("Write {}.", self.qualified(&found))))
            }
        }
    }

    pub fn typed(&self, named: Named<'_>) -> Typed {
        match named {
            Named::Column(item, column) => self.column(item, column),
            Named::Merged(merged) => merged.typed.clone(),
        }
    }

    pub fn column(&self, item: usize, column: usize) -> Typed {
        Typed::known(Expr::Column { item, column }, self.items[item].columns[column].ty)
    }

    /// The columns' names with their tables', for a hint.
    pub fn qualified(&self, found: &[Named<'_>]) -> String {
        let places = found.iter().flat_map(|named| match named {
            Named::Column(item, column) => vec![(*item, *column)],
            Named::Merged(merged) => merged.columns.clone(),
        });
        let name = |(item, column): (usize, usize)| {
            let table = &self.items[item];
            format!("{}.{}", table.alias, table.columns[column].name)
        };
        places.map(name).collect::<Vec<_>>().join(" or ")
    }

    /// The place of a qualified name.
    pub fn find_in(&self, table: &Ident, name: &Ident) -> Result<(usize, usize), SqlError> {
        let item = self.table(table)?;
        let text = fold(name);
        let columns = &self.items[item].columns;
        match columns.iter().position(|column| column.name == text) {
            Some(column) => Ok((item, column)),
            None => {
                let alias = &self.items[item].alias;
                let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
                let error = SqlError::new(name.span, format!("column \"{text}\" is not in \"{alias}\""));
                Err(error.hint(nearest(&text, &names)))
            }
        }
    }

    pub fn table(&self, table: &Ident) -> Result<usize, SqlError> {
        let text = fold(table);
        self.items.iter().position(|item| item.alias == text).ok_or_else(|| {
            let names: Vec<&str> = self.items.iter().map(|item| item.alias.as_str()).collect();
            SqlError::new(table.span, format!("\"{text}\" is not in FROM")).hint(nearest(&text, &names))
        })
    }

    fn unknown_column(&self, name: &Ident, text: &str) -> SqlError {
        let names: Vec<&str> =
            self.items.iter().flat_map(|item| item.columns.iter().map(|column| column.name.as_str())).collect();
        let tables: Vec<String> = self.items.iter().map(|item| format!("\"{}\"", item.alias)).collect();
        let error = SqlError::new(name.span, format!("column \"{text}\" is not in {}", tables.join(" or ")));
        error.hint(nearest(text, &names))
    }
}

/// An identifier as SQL folds it: to lower case unless it is quoted.
pub fn fold(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

/// Longer names are not compared with others: it takes memory for each pair of letters.
const LONGEST_NAME: usize = 100;

/// A hint that names the nearest of the names that there are, or all of them.
pub fn nearest(text: &str, names: &[&str]) -> String {
    let short = names.iter().filter(|name| text.len().max(name.len()) <= LONGEST_NAME);
    let near = short.map(|name| (strsim::damerau_levenshtein(text, name), *name)).min();
    match near {
        Some((distance, name)) if distance <= 1 + text.len() / 3 => format!("Did you mean \"{name}\"?"),
        _ if names.is_empty() => "There are none.".to_owned(),
        _ => format!("There are: {}.", names.join(", ")),
    }
}
