//! JSON scalars as text, and what is said of one that does not fit its column.
//!
//! Must not know: types, encodings.

use std::borrow::Cow;

use super::envelope::Text;

/// Why a value does not fit its column. What was found is kept apart: a masked column's may not be said.
#[derive(Debug)]
pub struct Unfit {
    why: &'static str,
    found: Option<String>,
}

impl Unfit {
    /// Names the JSON that was found.
    pub fn found(why: &'static str, json: &str) -> Unfit {
        Unfit { why, found: Some(shortened(json).into_owned()) }
    }

    /// Names the text that was found.
    pub fn text(why: &'static str, text: &str) -> Unfit {
        Unfit { why, found: Some(format!("\"{}\"", shortened(text))) }
    }

    /// What is said of it; `shows` is false where the column is masked.
    pub fn told(&self, shows: bool) -> Cow<'static, str> {
        match &self.found {
            None => self.why.into(),
            Some(found) if shows => format!("{}, found {found}", self.why).into(),
            Some(_) => format!("{}; the column is masked, so what was found is not said", self.why).into(),
        }
    }
}

impl From<&'static str> for Unfit {
    fn from(why: &'static str) -> Unfit {
        Unfit { why, found: None }
    }
}

pub fn text(raw: &str) -> Result<Cow<'_, str>, Unfit> {
    let text: Result<Text<'_>, _> = serde_json::from_str(raw);
    text.map(|text| text.0).map_err(|_| Unfit::found("expected a string", raw))
}

/// A scalar's text: of a string its content, of a number its digits.
pub fn scalar(raw: &str) -> Result<Cow<'_, str>, Unfit> {
    if raw.starts_with('"') { text(raw) } else { Ok(Cow::Borrowed(raw)) }
}

fn shortened(raw: &str) -> Cow<'_, str> {
    match raw.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", &raw[..at]).into(),
        None => raw.into(),
    }
}
