//! What names mean inside one SELECT.
//!
//! Must not know: expressions beyond columns.

use sqlparser::ast::Ident;

use super::error::SqlError;
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
    /// Columns merged by USING: their name, and where they stand.
    pub merged: Vec<(String, Vec<(usize, usize)>)>,
}

/// What a column's name stands for: one column, or several that USING has merged.
pub type Places = Vec<(usize, usize)>;

impl Scope {
    /// The place of an unqualified name.
    pub fn find(&self, name: &Ident) -> Result<Places, SqlError> {
        let text = fold(name);
        if let Some((_, places)) = self.merged.iter().find(|(merged, _)| *merged == text) {
            return Ok(places.clone());
        }
        let mut found = Vec::new();
        for (item, table) in self.items.iter().enumerate() {
            found.extend(table.columns.iter().position(|column| column.name == text).map(|column| (item, column)));
        }
        match found.len() {
            1 => Ok(found),
            0 => Err(self.unknown_column(name, &text)),
            _ => {
                let of = |(item, _): &(usize, usize)| format!("{}.{text}", self.items[*item].alias);
                let candidates: Vec<String> = found.iter().map(of).collect();
                let error = SqlError::new(name.span, format!("column \"{text}\" is ambiguous"));
                Err(error.hint(format!("Write {}.", candidates.join(" or "))))
            }
        }
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

/// A hint that names the nearest of the names that there are, or all of them.
pub fn nearest(text: &str, names: &[&str]) -> String {
    let near = names.iter().map(|name| (strsim::damerau_levenshtein(text, name), *name)).min();
    match near {
        Some((distance, name)) if distance <= 1 + text.len() / 3 => format!("Did you mean \"{name}\"?"),
        Some(_) => format!("There are: {}.", names.join(", ")),
        None => "There are none.".to_owned(),
    }
}
