//! Reads fields out of YAML nodes and collects everything that is wrong with them, so that all of it is said at once.
//!
//! Must not know: what the fields are for. Which fields a section has, and their defaults, stand in `reference`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::node::{Content, Name, Node};
use super::reference::{FieldDoc, SectionDoc};
use super::units::{self, Problem, suggestion};
use crate::app::diagnostic::{Diagnostic, Kind};

/// Gives the value of an environment variable.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// How many faults are told at once.
const FAULTS: usize = 1000;

/// What reading needs: the environment, and a place for faults.
pub struct Context<'e> {
    environment: Environment<'e>,
    /// What a variable that is not set stands for; `None` makes it a fault.
    stand_in: Option<&'static str>,
    faults: RefCell<Vec<Diagnostic>>,
}

impl<'e> Context<'e> {
    pub fn new(environment: Environment<'e>) -> Context<'e> {
        Context { environment, stand_in: None, faults: RefCell::new(Vec::new()) }
    }

    /// Lets `text` stand for every variable that is not set.
    #[must_use]
    pub fn stand_in(self, text: &'static str) -> Context<'e> {
        Context { stand_in: Some(text), ..self }
    }

    /// Of more faults than anybody reads at a time the first are kept.
    pub fn report(&self, fault: Diagnostic) {
        if !self.is_full() {
            self.faults.borrow_mut().push(fault);
        }
    }

    /// True where further faults are not kept.
    fn is_full(&self) -> bool {
        self.count() >= FAULTS
    }

    /// How many faults were reported so far.
    pub fn count(&self) -> usize {
        self.faults.borrow().len()
    }

    /// Every fault: files in the order in which they first had one, within a file by place.
    pub fn into_faults(self) -> Vec<Diagnostic> {
        let mut faults = self.faults.into_inner();
        let mut files: Vec<String> = Vec::new();
        for fault in &faults {
            if !files.contains(&fault.file) {
                files.push(fault.file.clone());
            }
        }
        faults.sort_by_key(|fault| (files.iter().position(|f| *f == fault.file), fault.line, fault.column));
        faults
    }

    /// A scalar's text with its environment variables filled in.
    pub fn text(&self, node: &Node, what: &str) -> Option<String> {
        match &node.content {
            Content::Scalar(text) => self.fill_in(node, text),
            _ => {
                self.report(
                    node.fault(Kind::BadValue, format!("{what}: expected a value, found {}", node.kind_name()))
                        .hint("Write one value here."),
                );
                None
            }
        }
    }

    /// A scalar's text read as something. Messages quote what was written, never what an environment variable held.
    pub fn read<T>(&self, node: &Node, what: &str, parse: impl Fn(&str) -> Result<T, Problem>) -> Option<T> {
        let text = self.text(node, what)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(problem) => {
                let written = node.scalar().unwrap_or_default();
                let message = if text == written || text.is_empty() {
                    problem.message
                } else {
                    problem.message.replace(&text, written)
                };
                self.problem(node, what, Problem { message, hint: problem.hint });
                None
            }
        }
    }

    pub fn problem(&self, node: &Node, what: &str, problem: Problem) {
        let fault = node.fault(Kind::BadValue, format!("{what}: {}", problem.message));
        self.report(match problem.hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        });
    }

    /// One text, or a list of them.
    pub fn texts<'n>(&self, node: &'n Node, what: &str) -> Vec<(String, &'n Node)> {
        let items: Vec<&Node> = match &node.content {
            Content::List(items) => items.iter().collect(),
            _ => vec![node],
        };
        items.into_iter().filter_map(|item| Some((self.text(item, what)?, item))).collect()
    }

    pub fn list<'n>(&self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.content {
            Content::List(items) => Some(items),
            Content::Null => Some(&[]),
            _ => {
                self.report(
                    node.fault(Kind::BadValue, format!("{what}: expected a list, found {}", node.kind_name()))
                        .hint("Write it as in [a, b], or each entry in a line of its own behind a dash."),
                );
                None
            }
        }
    }

    /// A map's entries, without the repeated ones, which are reported.
    pub fn map<'n>(&self, node: &'n Node, what: &str) -> Option<Vec<(&'n Name, &'n Node)>> {
        let entries = match &node.content {
            Content::Map(entries) => entries.as_slice(),
            Content::Null => &[],
            _ => {
                self.report(
                    node.fault(Kind::BadValue, format!("{what}: expected a map, found {}", node.kind_name()))
                        .hint("Write it as in {name: value}, or each name in a line of its own, indented."),
                );
                return None;
            }
        };
        let mut known: Vec<(&Name, &Node)> = Vec::with_capacity(entries.len());
        let mut names: BTreeMap<&str, &Name> = BTreeMap::new();
        for (name, value) in entries {
            match names.get(name.text.as_str()) {
                Some(_) if self.is_full() => {}
                Some(before) => {
                    let line = before.source.place(before.span.start).0;
                    let message = format!("{what}: \"{}\" is said twice", name.text);
                    let hint = format!("It was first said in line {line}. Keep one of the two.");
                    self.report(name.fault(Kind::Duplicate, message).hint(hint));
                }
                None => {
                    names.insert(&name.text, name);
                    known.push((name, value));
                }
            }
        }
        Some(known)
    }

    /// A map whose fields are known beforehand; others are reported.
    pub fn section<'n>(
        &'n self,
        node: &'n Node,
        doc: &'static SectionDoc,
        what: impl Into<String>,
    ) -> Option<Section<'n>> {
        let what = what.into();
        let mut fields = self.map(node, &what)?;
        fields.retain(|(name, _)| {
            let known = doc.fields.iter().any(|field| field.name == name.text);
            if !known && !self.is_full() {
                let fault = name.fault(Kind::UnknownField, format!("{what}: unknown field \"{}\"", name.text));
                let names = doc.fields.iter().map(|field| field.name);
                self.report(match suggestion(&name.text, names) {
                    Some(hint) => fault.hint(hint),
                    None => fault,
                });
            }
            known
        });
        Some(Section { context: self, node, doc, what, fields })
    }

    fn fill_in(&self, node: &Node, text: &str) -> Option<String> {
        let mut filled = String::new();
        let mut rest = text;
        let mut whole = true;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                filled.push_str(&rest[..at]);
                filled.push('{');
                rest = &rest[at + 2..];
                continue;
            }
            filled.push_str(&rest[..at]);
            let Some(length) = rest[at..].find('}') else {
                let message = format!("\"{text}\" has a ${{ without its }}");
                self.report(node.fault(Kind::BadValue, message).hint("Write $${ for a plain ${."));
                return None;
            };
            let inside = &rest[at + 2..at + length];
            let (name, default) = match inside.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inside, None),
            };
            let set = (self.environment)(name).filter(|value| !value.is_empty());
            match set.or(default.or(self.stand_in).map(str::to_owned)) {
                Some(value) => filled.push_str(&value),
                None => {
                    self.missing_variable(node, name);
                    whole = false;
                }
            }
            rest = &rest[at + length + 1..];
        }
        filled.push_str(rest);
        whole.then_some(filled)
    }

    fn missing_variable(&self, node: &Node, name: &str) {
        let reference = format!("${{{name}");
        let raw = node.source.text.get(node.span.clone()).unwrap_or_default();
        let span = match raw.find(&reference) {
            Some(at) => node.span.start + at..node.span.start + at + reference.len() + 1,
            None => node.span.clone(),
        };
        let message = format!("environment variable \"{name}\" is not set");
        let fault = node.source.fault_at(&span, Kind::Environment, message);
        self.report(fault.hint(format!("Set it, or write a default, as in ${{{name}:-value}}.")));
    }
}

/// A map whose fields are known beforehand.
pub struct Section<'n> {
    pub context: &'n Context<'n>,
    pub node: &'n Node,
    pub doc: &'static SectionDoc,
    /// What it is, for messages: `source "orders"`.
    pub what: String,
    fields: Vec<(&'n Name, &'n Node)>,
}

impl<'n> Section<'n> {
    fn field(&self, name: &str) -> &'static FieldDoc {
        let field = self.doc.fields.iter().find(|field| field.name == name);
        field.expect("every field that is read stands in the reference")
    }

    /// The field as written. One that is there but empty counts as absent.
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        let field = self.field(name);
        let node = self.fields.iter().find(|(known, _)| known.text == field.name).map(|(_, node)| *node)?;
        (!matches!(node.content, Content::Null)).then_some(node)
    }

    /// The field; its absence is reported.
    pub fn require(&self, name: &str) -> Option<&'n Node> {
        let node = self.get(name);
        if node.is_none() {
            let field = self.field(name);
            let message = format!("{}: \"{name}\" is missing", self.what);
            let place = self.fields.iter().find(|(known, _)| known.text == field.name);
            let fault = match place {
                Some((known, _)) => known.fault(Kind::MissingField, message),
                None => self.start_fault(Kind::MissingField, message),
            };
            self.context.report(fault.hint(field.about));
        }
        node
    }

    /// A fault at the first field of the section.
    pub fn start_fault(&self, kind: Kind, message: impl Into<String>) -> Diagnostic {
        match self.fields.first() {
            Some((name, _)) => name.fault(kind, message),
            None => self.node.fault(kind, message),
        }
    }

    /// What a field is called in messages.
    pub fn path(&self, name: &str) -> String {
        format!("{}: {name}", self.what)
    }

    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|node| self.context.text(node, &self.path(name)))
    }

    pub fn required_text(&self, name: &str) -> Option<String> {
        self.require(name).and_then(|node| self.context.text(node, &self.path(name)))
    }

    /// A field, or its default, read as something. `None` where it has neither or what it has is wrong.
    pub fn read<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, Problem>) -> Option<T> {
        match self.get(name) {
            Some(node) => self.context.read(node, &self.path(name), parse),
            None => {
                let default = self.field(name).default?;
                Some(parse(default).unwrap_or_else(|problem| panic!("default of {name}: {}", problem.message)))
            }
        }
    }

    pub fn duration(&self, name: &str) -> Option<i64> {
        self.read(name, units::duration)
    }

    pub fn size(&self, name: &str) -> Option<usize> {
        self.read(name, units::size)
    }

    pub fn boolean(&self, name: &str) -> Option<bool> {
        self.read(name, units::boolean)
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        self.read(name, |text| {
            let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            found.ok_or_else(|| {
                let problem = Problem::new(format!("\"{text}\" is not one of its values"));
                match suggestion(text, choices.iter().map(|(word, _)| *word)) {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                }
            })
        })
    }
}
