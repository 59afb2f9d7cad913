//! Rules' SQL: compiled once to a typed program over one key's rows, evaluated as PostgreSQL would.
//!
//! Must not know: where rows come from, what becomes of an answer. The meaning is PostgreSQL's on the same rows, with
//! one value more than SQL has: `Unknown`, which never equals and never differs.

mod aggregate;
mod bind;
mod block;
mod call;
mod compare;
mod convert;
mod dialect;
mod error;
mod expr;
mod functions;
mod like;
mod moment;
mod numeric;
mod precedence;
mod scope;
mod select;
mod shape;
mod truth;
mod types;

#[cfg(test)]
mod tests;

use sqlparser::ast::{Spanned, Statement};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer};

pub use convert::{parse as parse_value, to_text};
pub use error::{EvalError, Location, SqlError};

use self::block::Block;
use self::dialect::Bounded;
use self::select::{Compiled, Compiler};
use super::catalog::{Catalog, Column};
use super::value::Value;

/// A compiled query.
#[derive(Clone, Debug)]
pub struct Query {
    block: Block,
    columns: Vec<Column>,
    sources: Vec<usize>,
}

/// What a query says of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// In order of their values.
    pub rows: Vec<Box<[Value]>>,
    /// `Some` where a row may be missing from `rows`.
    pub cannot_compare: Option<Cause>,
}

/// Why a query cannot say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It rests on a value that the source could not give.
    Unknown,
    /// A connector has taken a new snapshot, which has not told of it, or not yet.
    Unconfirmed,
    Error(EvalError),
}

impl Query {
    /// Parses, resolves and type-checks a query; gives all errors that can be found at once.
    pub fn compile(sql: &str, catalog: &Catalog) -> Result<Query, Vec<SqlError>> {
        let dialect = Bounded::new();
        let tokens = words(&dialect, sql).map_err(|error| vec![error])?;
        let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
        let statements = parser.parse_statements().map_err(|error| vec![syntax(&error)])?;
        let query = match statements.as_slice() {
            [Statement::Query(query)] => query,
            [] => return Err(vec![SqlError::new(Span::empty(), "the query is empty")]),
            [other] => return Err(vec![SqlError::new(other.span(), "a rule is a SELECT")]),
            [_, second, ..] => return Err(vec![SqlError::new(second.span(), "a rule is one SELECT, not several")]),
        };
        let mut compiler = Compiler { catalog, named: Vec::new(), errors: Vec::new(), depth: 0 };
        let compiled = compiler.query(query);
        match (compiled, compiler.errors.is_empty()) {
            (Some(Compiled { block, columns, .. }), true) => {
                let mut sources = Vec::new();
                block.add_sources(&mut sources);
                sources.sort_unstable();
                sources.dedup();
                Ok(Query { block, columns, sources })
            }
            (None, true) => Err(vec![SqlError::new(query.span(), "the query is not supported")]),
            (_, false) => Err(compiler.errors),
        }
    }

    /// The output columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// For each output column, the columns of catalog sources that its value is made of: `(source, column)`, ascending.
    pub fn origins(&self) -> Vec<Vec<(usize, usize)>> {
        self.block.origins()
    }

    /// The catalog sources that it reads, ascending.
    pub fn sources(&self) -> &[usize] {
        &self.sources
    }

    /// Answers for one key: `tables[i]` are its rows of catalog source `i`, each in declared column order.
    pub fn evaluate(&self, tables: &[&[&[Value]]]) -> Answer {
        match self.block.evaluate(tables) {
            Ok(mut rows) => {
                rows.rows.sort();
                Answer { rows: rows.rows, cannot_compare: rows.unsure.then_some(Cause::Unknown) }
            }
            Err(error) => Answer { rows: Vec::new(), cannot_compare: Some(Cause::Error(error)) },
        }
    }
}

/// A longer text is refused, bytes.
const LONGEST: usize = 256 << 10;

/// More words and operators than this are refused; values and the commas between them don't count. What the parser puts one
/// within another without end, such as `a + a + …`, could exhaust the stack of whoever looks at it.
const WORDS: usize = 5000;

/// A query's words.
fn words(dialect: &Bounded, sql: &str) -> Result<Vec<TokenWithSpan>, SqlError> {
    const HINT: &str = "Write several rules, and put long lists of values into a lookup table.";
    if sql.len() > LONGEST {
        return Err(
            SqlError::new(Span::empty(), format!("the query is longer than {} KiB", LONGEST >> 10)).hint(HINT)
        );
    }
    let tokens = Tokenizer::new(dialect, sql).tokenize_with_location();
    let tokens = tokens.map_err(|error| syntax(&ParserError::from(error)))?;
    let is_word = |token: &&TokenWithSpan| {
        !matches!(token.token, Token::Whitespace(_) | Token::Comma | Token::Number(..) | Token::SingleQuotedString(_))
    };
    match tokens.iter().filter(is_word).nth(WORDS) {
        Some(token) => {
            Err(SqlError::new(token.span, format!("the query has more than {WORDS} words and operators")).hint(HINT))
        }
        None => Ok(tokens),
    }
}

/// sqlparser says places in words: `… at Line: 2, Column: 5`.
fn syntax(error: &ParserError) -> SqlError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => "the query is nested too deeply",
    };
    let (message, place) = text.rsplit_once(" at Line: ").unwrap_or((text, ""));
    let mut numbers = place.split(", Column: ").map(|number| number.trim().parse::<u64>().unwrap_or(1));
    let start =
        sqlparser::tokenizer::Location { line: numbers.next().unwrap_or(1), column: numbers.next().unwrap_or(1) };
    SqlError::new(Span { start, end: start }, format!("syntax: {message}"))
        .hint("Rules are written in PostgreSQL's SQL; docs/rules.md lists what they may use.")
}
