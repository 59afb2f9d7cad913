//! What is wrong with something that the user wrote: where, why, and what to do instead.
//!
//! Must not know: YAML, SQL, what is being checked. Every verb that finds fault says so with these.

use std::cell::Cell;
use std::fmt::Write;
use std::rc::Rc;

use annotate_snippets::{AnnotationKind, Level as Title, Renderer, Snippet};
use serde_json::{Value as Json, json};

/// What sort of fault it is. The names are stable: scripts may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file cannot be read.
    File,
    /// The text is not YAML.
    Yaml,
    UnknownField,
    MissingField,
    /// Said twice.
    Duplicate,
    BadValue,
    /// A name that stands for nothing.
    UnknownName,
    /// Two settings exclude each other.
    Conflict,
    /// An environment variable is not set.
    Environment,
    Sql,
    /// What runs differs from what is configured.
    Live,
    /// What is kept is not what was written, or cannot be read.
    State,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Yaml => "yaml",
            Kind::UnknownField => "unknown_field",
            Kind::MissingField => "missing_field",
            Kind::Duplicate => "duplicate",
            Kind::BadValue => "bad_value",
            Kind::UnknownName => "unknown_name",
            Kind::Conflict => "conflict",
            Kind::Environment => "environment",
            Kind::Sql => "sql",
            Kind::Live => "live",
            Kind::State => "state",
        }
    }

    /// What helps where nothing more is known about a fault.
    fn hint(self) -> &'static str {
        match self {
            Kind::File => "Check its name, and that the user who runs evenkeel may read it.",
            Kind::Yaml => "Look at the brackets, quotes and indentation before this place.",
            Kind::UnknownField | Kind::MissingField => "docs/configuration.md lists every field.",
            Kind::Duplicate | Kind::Conflict => "Keep one of them.",
            Kind::BadValue => "docs/configuration.md says what may stand here.",
            Kind::UnknownName => "Names must be the same to the letter.",
            Kind::Environment => "Set it for the process that runs evenkeel.",
            Kind::Sql => "docs/rules.md lists the SQL that rules may use.",
            Kind::Live => "Compare what runs with what the configuration says.",
            Kind::State => "docs/operations.md says what a state and its checkpoints are.",
        }
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// As the user named it; empty where the fault is not in a file.
    pub file: String,
    /// From 1; 0 where the fault concerns no line.
    pub line: usize,
    /// From 1, in characters; 0 where the fault concerns no line.
    pub column: usize,
    pub kind: Kind,
    /// In lower case, naming the object.
    pub message: String,
    /// A sentence: what to do instead.
    pub hint: String,
    excerpt: Option<Excerpt>,
}

/// The line of the fault, and how many of its characters are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    line: String,
    width: usize,
}

impl Diagnostic {
    /// A fault that has no place in a file.
    pub fn general(kind: Kind, message: impl Into<String>) -> Diagnostic {
        let (file, message, hint) = (String::new(), message.into(), kind.hint().to_owned());
        Diagnostic { file, line: 0, column: 0, kind, message, hint, excerpt: None }
    }

    /// A fault of a whole file.
    pub fn of_file(file: impl Into<String>, kind: Kind, message: impl Into<String>) -> Diagnostic {
        Diagnostic { file: file.into(), ..Diagnostic::general(kind, message) }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hint = hint.into();
        self
    }

    /// For scripts. `excerpt` is the whole line, without secrets; null where the fault concerns no line.
    pub fn to_json(&self) -> Json {
        json!({
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "excerpt": self.excerpt.as_ref().map(|excerpt| &excerpt.line),
            "kind": self.kind.name(),
            "message": self.message,
            "hint": self.hint,
        })
    }

    /// As text for people: the message, the place, the line itself and the hint.
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let title = Title::ERROR.primary_title(&self.message);
        let origin = match self.line {
            0 => self.file.clone(),
            line => format!("{}:{line}:{}", self.file, self.column),
        };
        let mut group = match &self.excerpt {
            Some(excerpt) => {
                let start = byte_of(&excerpt.line, self.column.saturating_sub(1));
                let end = byte_of(&excerpt.line, self.column.saturating_sub(1) + excerpt.width);
                let mark = AnnotationKind::Primary.span(start..end);
                let snippet = Snippet::source(&excerpt.line).line_start(self.line).path(&self.file).annotation(mark);
                title.element(snippet)
            }
            None if self.file.is_empty() => annotate_snippets::Group::with_title(title),
            None => title.element(annotate_snippets::Origin::path(&origin)),
        };
        group = group.element(Title::HELP.message(&self.hint));
        renderer.render(&[group])
    }
}

/// All of them as text, an empty line between two, and a last line that counts them.
pub fn render_all(diagnostics: &[Diagnostic], colours: bool) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        let _ = writeln!(text, "{}\n", diagnostic.render(colours));
    }
    let s = if diagnostics.len() == 1 { "" } else { "s" };
    let _ = writeln!(text, "{} error{s} found", diagnostics.len());
    text
}

/// The byte at which the `column`-th character (from 0) begins, or the end.
fn byte_of(line: &str, column: usize) -> usize {
    line.char_indices().nth(column).map_or(line.len(), |(byte, _)| byte)
}

/// A text that faults can be pointed out in.
#[derive(Debug)]
pub struct SourceText {
    pub name: String,
    pub text: String,
    /// Where each line begins.
    lines: Vec<usize>,
    /// The place that was last asked for, as byte and column: most faults stand behind the one before, and in a line as long
    /// as the whole text it would take too long to count from its beginning again.
    last: Cell<(usize, usize)>,
}

/// Longer lines are not quoted, bytes.
const LONGEST_LINE: usize = 1000;

impl SourceText {
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Rc<SourceText> {
        let text = text.into();
        let lines = [0].into_iter().chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        Rc::new(SourceText { name: name.into(), text, lines, last: Cell::new((0, 1)) })
    }

    /// Line and column (from 1, in characters) of a byte.
    pub fn place(&self, byte: usize) -> (usize, usize) {
        let byte = self.text.floor_char_boundary(byte);
        let line = self.lines.partition_point(|start| *start <= byte);
        let start = self.lines[line - 1];
        let (known, column) =
            Some(self.last.get()).filter(|(at, _)| (start..=byte).contains(at)).unwrap_or((start, 1));
        let column = column + self.text[known..byte].chars().count();
        self.last.set((byte, column));
        (line, column)
    }

    /// A line (from 1) without its end; empty where there is none.
    pub fn line(&self, line: usize) -> &str {
        let Some(start) = line.checked_sub(1).and_then(|index| self.lines.get(index)) else { return "" };
        let end = self.lines.get(line).map_or(self.text.len(), |next| next - 1);
        self.text[*start..end].trim_end_matches('\r')
    }

    /// A fault at `line` and `column`, `width` characters wide.
    pub fn fault(&self, place: (usize, usize), width: usize, kind: Kind, message: impl Into<String>) -> Diagnostic {
        let (line, column) = place;
        let text = self.line(line);
        let excerpt = (text.len() <= LONGEST_LINE).then(|| {
            let rest = text.chars().count().saturating_sub(column.saturating_sub(1));
            Excerpt { line: without_secrets(text), width: width.min(rest).max(1) }
        });
        Diagnostic { line, column, excerpt, ..Diagnostic::of_file(self.name.clone(), kind, message) }
    }

    /// A fault at a range of bytes; only its first line is shown.
    pub fn fault_at(&self, span: &std::ops::Range<usize>, kind: Kind, message: impl Into<String>) -> Diagnostic {
        let meant = self.text.get(span.clone()).unwrap_or_default();
        let meant = meant.get(..meant.floor_char_boundary(LONGEST_LINE)).unwrap_or_default();
        let width = meant.lines().next().unwrap_or_default().trim_end().chars().count();
        self.fault(self.place(span.start), width, kind, message)
    }
}

/// Blots out what stands behind the colon of a line that looks like a secret, unless it is an environment variable.
fn without_secrets(line: &str) -> String {
    let Some((name, value)) = line.split_once(':') else { return line.to_owned() };
    let lower = name.to_lowercase();
    let secret =
        ["password", "secret", "mask_key", "sasl.jaas", "ssl.key", "token"].iter().any(|s| lower.contains(s));
    // As in https://user:password@host.
    let is_login =
        value.split_once("://").is_some_and(|(_, rest)| rest.split('/').next().unwrap_or("").contains('@'));
    match (secret || is_login)
        && !value.trim().is_empty()
        && !value.trim_start().trim_start_matches(['"', '\'']).starts_with("${")
    {
        true => format!("{name}: {}", "*".repeat(value.trim().chars().count())),
        false => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, SourceText};

    #[test]
    fn places_are_found_in_any_order() {
        let text = SourceText::new("t", "ä: b\r\n\nlänger: x, y\n");
        let expected = [(0, (1, 1)), (3, (1, 3)), (7, (2, 1)), (8, (3, 1)), (9, (3, 2)), (11, (3, 3)), (22, (4, 1))];
        for (byte, place) in expected.iter().chain(expected.iter().rev()) {
            assert_eq!(text.place(*byte), *place, "{byte}");
        }
        assert_eq!(text.place(1), (1, 1), "within a letter");
        assert_eq!(text.place(99), (4, 1), "beyond the end");
        let lines: Vec<&str> = (0..6).map(|line| text.line(line)).collect();
        assert_eq!(lines, ["", "ä: b", "", "länger: x, y", "", ""]);
        assert_eq!(text.fault_at(&(8..15), Kind::Yaml, "m").render(false).matches('^').count(), 6);
    }
}
