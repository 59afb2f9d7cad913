//! YAML as a tree whose every node knows where it stands.
//!
//! Must not know: what a field means. Types are not guessed: a scalar is its text, so that `10.00` keeps its digits.

use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

use crate::app::diagnostic::{Diagnostic, Kind, SourceText};

/// A piece of a YAML text.
#[derive(Clone, Debug)]
pub struct Node {
    pub source: Rc<SourceText>,
    /// Bytes of the text.
    pub span: Range<usize>,
    pub content: Content,
}

#[derive(Clone, Debug)]
pub enum Content {
    Null,
    Scalar(String),
    List(Vec<Node>),
    /// In written order; names may repeat.
    Map(Vec<(Name, Node)>),
}

/// The name of a map's entry.
#[derive(Clone, Debug)]
pub struct Name {
    pub text: String,
    pub source: Rc<SourceText>,
    pub span: Range<usize>,
}

/// Longer files are refused, bytes.
const LONGEST: usize = 4 << 20;

/// What aliases may stand for in all, as YAML's events: a few lines of aliases of aliases could stand for more than memory
/// holds. The library bounds how deep a document is nested, 64, and of how many nodes it is, 250,000.
const REPLAYED: usize = 100_000;

impl Node {
    /// Reads one YAML document. An empty text is an empty node.
    pub fn parse(source: &Rc<SourceText>) -> Result<Node, Diagnostic> {
        if source.text.len() > LONGEST {
            let message = format!("not read: it is longer than {} MiB", LONGEST >> 20);
            return Err(Diagnostic::of_file(&source.name, Kind::Yaml, message).hint("Write it as several files."));
        }
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            with_snippet: false,
            alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: REPLAYED },
        };
        let raw: Option<Spanned<Raw>> =
            serde_saphyr::from_str_with_options(&source.text, options).map_err(|error| syntax(source, &error))?;
        match raw {
            Some(raw) => Ok(build(source, raw)),
            None => Ok(Node { source: Rc::clone(source), span: 0..0, content: Content::Null }),
        }
    }

    /// What the user wrote there, for messages.
    pub fn kind_name(&self) -> &'static str {
        match self.content {
            Content::Null => "nothing",
            Content::Scalar(_) => "a single value",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    pub fn fault(&self, kind: Kind, message: impl Into<String>) -> Diagnostic {
        self.source.fault_at(&self.span, kind, message)
    }

    /// The entry of a map.
    pub fn entry(&self, name: &str) -> Option<&Node> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|(known, _)| known.text == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The first scalar with this text, here or below.
    pub fn find(&self, text: &str) -> Option<&Node> {
        match &self.content {
            Content::Null => None,
            Content::Scalar(known) => (known == text).then_some(self),
            Content::List(items) => items.iter().find_map(|item| item.find(text)),
            Content::Map(entries) => entries.iter().find_map(|(_, node)| node.find(text)),
        }
    }

    /// The text of a scalar as written, before environment variables are filled in.
    pub fn scalar(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(text) => Some(text),
            _ => None,
        }
    }
}

impl Name {
    pub fn fault(&self, kind: Kind, message: impl Into<String>) -> Diagnostic {
        self.source.fault_at(&self.span, kind, message)
    }
}

fn syntax(source: &Rc<SourceText>, error: &serde_saphyr::Error) -> Diagnostic {
    let text = error.to_string();
    let message = text.lines().next().unwrap_or("not YAML").trim_start_matches("error: ");
    let message = match message.split_once(": ") {
        Some((place, rest)) if place.starts_with("line ") => rest,
        _ => message,
    };
    let message = format!("not valid YAML: {message}");
    match error.location() {
        Some(location) if location.line() > 0 => {
            let place = (location.line() as usize, location.column() as usize);
            let fault = source.fault(place, 1, Kind::Yaml, message);
            let line = source.line(place.0);
            match line.contains("${") && line.contains('{') {
                true => fault.hint("Between { } and [ ], put ${…} in quotes."),
                false => fault,
            }
        }
        _ => Diagnostic::of_file(&source.name, Kind::Yaml, message),
    }
}

fn build(source: &Rc<SourceText>, raw: Spanned<Raw>) -> Node {
    let span = bytes(&raw);
    let content = match raw.value {
        Raw::Null => Content::Null,
        Raw::Plain => {
            let text = source.text.get(span.clone()).unwrap_or_default().trim().to_owned();
            Content::Scalar(text)
        }
        Raw::Text(text) => Content::Scalar(text),
        Raw::List(items) => Content::List(items.into_iter().map(|item| build(source, item)).collect()),
        Raw::Map(entries) => {
            let entry = |(name, node): (Spanned<String>, Spanned<Raw>)| {
                let span = bytes(&name);
                (Name { text: name.value, source: Rc::clone(source), span }, build(source, node))
            };
            Content::Map(entries.into_iter().map(entry).collect())
        }
    };
    Node { source: Rc::clone(source), span, content }
}

fn bytes<T>(spanned: &Spanned<T>) -> Range<usize> {
    let span = spanned.referenced.span();
    let start = span.byte_offset().unwrap_or_default() as usize;
    start..start + span.byte_len().unwrap_or_default() as usize
}

/// A node before its scalars are cut from the text.
enum Raw {
    Null,
    /// Something that YAML takes for a number or a boolean.
    Plain,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(node: &Node, out: &mut String) {
        use std::fmt::Write;
        let (line, column) = node.source.place(node.span.start);
        let _ = write!(out, "{line}:{column} ");
        match &node.content {
            Content::Null => out.push_str("null\n"),
            Content::Scalar(text) => {
                let _ = writeln!(out, "{text:?}");
            }
            Content::List(items) => {
                out.push_str("list\n");
                items.iter().for_each(|item| outline(item, out));
            }
            Content::Map(entries) => {
                out.push_str("map\n");
                for (name, node) in entries {
                    let (line, column) = name.source.place(name.span.start);
                    let _ = write!(out, "{line}:{column} {} = ", name.text);
                    outline(node, out);
                }
            }
        }
    }

    #[test]
    fn every_node_knows_its_place_and_scalars_keep_their_text() {
        let yaml = "# ä\na: 10.00\nb:\n  - x\n  - \"y\"\n  - yes\nsql: |\n  SELECT\n    1\na: ~\nc: {d: 0x1F, e: é, f: true}\ng:\n";
        let source = SourceText::new("t.yaml", yaml);
        let mut out = String::new();
        outline(&Node::parse(&source).expect("it is YAML"), &mut out);
        let expected = "\
2:1 map
2:1 a = 2:4 \"10.00\"
3:1 b = 4:3 list
4:5 \"x\"
5:5 \"y\"
6:5 \"yes\"
7:1 sql = 8:3 \"SELECT\\n  1\\n\"
10:1 a = 10:4 null
11:1 c = 11:4 map
11:5 d = 11:8 \"0x1F\"
11:14 e = 11:17 \"é\"
11:20 f = 11:23 \"true\"
12:1 g = 12:2 null
";
        assert_eq!(out, expected, "got:\n{out}");
    }
}
