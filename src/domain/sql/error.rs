//! What is wrong with a rule's SQL, and what can go wrong while it is evaluated.
//!
//! Must not know: files; a location is within the SQL text.

use sqlparser::tokenizer::Span;

/// A place in the SQL text, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    pub line: u64,
    pub column: u64,
}

/// An error in a query, with its place, its reason and a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    pub start: Location,
    /// Exclusive.
    pub end: Location,
    pub message: String,
    pub hint: Option<String>,
}

impl SqlError {
    pub(super) fn new(span: Span, message: impl Into<String>) -> SqlError {
        let place = |location: sqlparser::tokenizer::Location| Location {
            line: location.line.max(1),
            column: location.column.max(1),
        };
        SqlError { start: place(span.start), end: place(span.end), message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> SqlError {
        self.hint = Some(hint.into());
        self
    }
}

/// Why a query has no answer for a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    #[error("division by zero")]
    DivisionByZero,
    #[error("{0} out of range")]
    OutOfRange(&'static str),
    #[error("the joined rows are too many")]
    TooManyRows,
    #[error("\"{}\" is no {ty}", shortened(text))]
    BadCast { text: String, ty: String },
}

/// What a text says that it is no value of, shortened: it is published.
fn shortened(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(100) {
        Some((at, _)) => format!("{}…", &text[..at]).into(),
        None => text.into(),
    }
}
