//! Test files as YAML: stories of steps, read and typed against the configuration that they test.
//!
//! Must not know: how a story is driven.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use crate::app::config::{Content, Context, Name, Node, Section, moment, parse_value, reference, suggestion};
use crate::app::diagnostic::{Diagnostic, Kind, SourceText};
use crate::app::settings::Settings;
use crate::domain::catalog::{Column, SourceTable};
use crate::domain::instant::Instant;
use crate::domain::value::{Type, Value};

/// A place that faults and failures can point to.
#[derive(Clone, Debug)]
pub struct Place {
    source: Rc<SourceText>,
    span: Range<usize>,
}

impl Place {
    fn of(node: &Node) -> Place {
        Place { source: Rc::clone(&node.source), span: node.span.clone() }
    }

    pub fn line(&self) -> usize {
        self.source.place(self.span.start).0
    }

    pub fn fault(&self, message: impl Into<String>) -> Diagnostic {
        let fault = self.source.fault_at(&self.span, Kind::BadValue, message);
        fault.hint("docs/rules.md shows how rule tests are written.")
    }
}

#[derive(Clone, Debug)]
pub struct Story {
    pub name: String,
    pub place: Place,
    pub snapshot: Vec<RowChange>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub place: Place,
    pub at: Option<Instant>,
    pub late: bool,
    /// One transaction for each connector.
    pub changes: Vec<RowChange>,
    pub complete: Vec<(usize, Instant)>,
    pub expect: Option<Vec<Expected>>,
    pub expect_open: Option<Vec<Expected>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Insert,
    Update,
    Delete,
}

/// A change of one row as told: the named columns only.
#[derive(Clone, Debug)]
pub struct RowChange {
    pub place: Place,
    pub source: usize,
    pub verb: Verb,
    pub columns: Vec<Option<Value>>,
}

/// A record that must be said. `None` and empty: not compared.
#[derive(Clone, Debug)]
pub struct Expected {
    pub place: Place,
    pub key: String,
    /// Fields whose published text is compared: type, rule, severity, reason, revision, flap_count, currency.
    pub texts: BTreeMap<&'static str, String>,
    pub since: Option<Instant>,
    pub at: Option<Instant>,
    pub amount: Option<Value>,
    pub identity: Option<Vec<Value>>,
    pub evidence: Vec<Vec<(String, Value)>>,
    /// True where `evidence` has every row.
    pub all_evidence: bool,
    pub annotations: BTreeMap<String, String>,
}

/// Times of day in stories are of this day.
pub const DAY: jiff::civil::Date = jiff::civil::date(2026, 1, 1);

/// Reads the stories of a test file.
pub fn read(context: &Context<'_>, tests: &Node, settings: &Settings) -> Vec<Story> {
    let reader = StoryReader { context, settings };
    let nodes = context.list(tests, "tests").unwrap_or_default();
    nodes.iter().filter_map(|node| reader.story(node)).collect()
}

struct StoryReader<'c> {
    context: &'c Context<'c>,
    settings: &'c Settings,
}

impl<'c> StoryReader<'c> {
    fn tables(&self) -> &'c [SourceTable] {
        &self.settings.plan.catalog.sources
    }

    fn story(&self, node: &'c Node) -> Option<Story> {
        let section = self.context.section(node, &reference::STORY, "a test")?;
        let name = section.required_text("name")?;
        let mut snapshot = Vec::new();
        if let Some(node) = section.get("snapshot") {
            for (source, node) in self.context.map(node, "snapshot").unwrap_or_default() {
                let Some(index) = self.source(source, &[]) else { continue };
                for row in self.context.list(node, "snapshot").unwrap_or_default() {
                    snapshot.extend(self.row(index, Verb::Insert, row));
                }
            }
        }
        let steps = self.context.list(section.require("steps")?, "steps")?;
        let steps = steps.iter().filter_map(|node| self.step(node)).collect();
        Some(Story { name, place: Place::of(node), snapshot, steps })
    }

    fn source(&self, name: &Name, others: &[&'static str]) -> Option<usize> {
        let index = self.tables().iter().position(|table| table.name == name.text);
        if index.is_none() {
            let fault = name.fault(Kind::UnknownName, format!("there is no source \"{}\"", name.text));
            let known = self.tables().iter().map(|table| table.name.as_str()).chain(others.iter().copied());
            self.context.report(match suggestion(&name.text, known) {
                Some(hint) => fault.hint(hint),
                None => fault,
            });
        }
        index
    }

    fn step(&self, node: &'c Node) -> Option<Step> {
        let mut step = Step {
            place: Place::of(node),
            at: None,
            late: false,
            changes: Vec::new(),
            complete: Vec::new(),
            expect: None,
            expect_open: None,
        };
        let names: Vec<&'static str> = reference::STEP.fields.iter().map(|field| field.name).collect();
        for (name, node) in self.context.map(node, "a step")? {
            match name.text.as_str() {
                "at" => step.at = self.instant(node, "at"),
                "late" => {
                    step.late = self.context.read(node, "late", crate::app::config::boolean).unwrap_or_default();
                }
                "complete" => step.complete = self.complete(node),
                "expect" => step.expect = self.expected_list(node, "expect"),
                "expect_open" => step.expect_open = self.expected_list(node, "expect_open"),
                _ => {
                    if let Some(source) = self.source(name, &names) {
                        step.changes.extend(self.changes(source, node));
                    }
                }
            }
        }
        if let (Some(change), None) = (step.changes.first(), step.at) {
            self.context
                .report(change.place.fault("the step has changes, but no \"at\" says when they were committed"));
        }
        Some(step)
    }

    fn instant(&self, node: &Node, what: &str) -> Option<Instant> {
        self.context.read(node, what, |text| match moment(text, Some(DAY)) {
            Some(micros) => Ok(Instant(micros)),
            None => Err(crate::app::config::Problem::new(format!("\"{text}\" is not an instant")).hint(
                "Write a time of day in quotes, as in \"12:00:05\", or a moment such as 2026-01-31T12:00:05Z.",
            )),
        })
    }

    fn complete(&self, node: &'c Node) -> Vec<(usize, Instant)> {
        if let Content::Scalar(_) = node.content {
            let instant = self.instant(node, "complete");
            return instant.map(|at| (0..self.tables().len()).map(|s| (s, at)).collect()).unwrap_or_default();
        }
        let entries = self.context.map(node, "complete").unwrap_or_default();
        let known = |(name, node): (&'c Name, &'c Node)| {
            let (source, at) = (self.source(name, &[]), self.instant(node, "complete"));
            source.zip(at)
        };
        entries.into_iter().filter_map(known).collect()
    }

    fn changes(&self, source: usize, node: &'c Node) -> Vec<RowChange> {
        let nodes = match &node.content {
            Content::List(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut changes = Vec::new();
        for node in nodes {
            for (name, row) in self.context.map(node, "a change").unwrap_or_default() {
                let verb = match name.text.as_str() {
                    "insert" => Verb::Insert,
                    "update" => Verb::Update,
                    "delete" => Verb::Delete,
                    other => {
                        let fault = name.fault(Kind::UnknownField, format!("\"{other}\" is not a change"));
                        self.context.report(fault.hint("Write {insert: {…}}, {update: {…}} or {delete: {…}}."));
                        continue;
                    }
                };
                changes.extend(self.row(source, verb, row));
            }
        }
        changes
    }

    fn row(&self, source: usize, verb: Verb, node: &'c Node) -> Option<RowChange> {
        let table = &self.tables()[source];
        let placeholder = &self.settings.sources[source].shape.connector.placeholder;
        let mut columns = vec![None; table.columns.len()];
        let entries = self.context.map(node, &format!("a row of \"{}\"", table.name))?;
        for (name, node) in &entries {
            let Some(index) = self.column(&table.columns, name, &format!("source \"{}\"", table.name)) else {
                continue;
            };
            columns[index] = match node.scalar() {
                Some(text) if text == placeholder => Some(Value::Unknown),
                _ => self.value(node, &table.columns[index]),
            };
        }
        for key in &table.primary_key {
            let column = &table.columns[*key];
            if !entries.iter().any(|(name, _)| name.text == column.name) {
                let what = format!("the row does not say its primary key, \"{}\"", column.name);
                self.context
                    .report(node.fault(Kind::MissingField, what).hint("Every change says which row it is of."));
            }
        }
        Some(RowChange { place: Place::of(node), source, verb, columns })
    }

    fn column(&self, columns: &[Column], name: &Name, of: &str) -> Option<usize> {
        let index = columns.iter().position(|column| column.name == name.text);
        if index.is_none() {
            let fault = name.fault(Kind::UnknownName, format!("{of} has no column \"{}\"", name.text));
            self.context.report(match suggestion(&name.text, columns.iter().map(|column| column.name.as_str())) {
                Some(hint) => fault.hint(hint),
                None => fault,
            });
        }
        index
    }

    fn value(&self, node: &Node, column: &Column) -> Option<Value> {
        match node.content {
            Content::Null => Some(Value::Null),
            _ => {
                let what = format!("column \"{}\"", column.name);
                self.context.read(node, &what, |text| parse_value(text, column.ty, Some(DAY)))
            }
        }
    }

    fn expected_list(&self, node: &'c Node, what: &str) -> Option<Vec<Expected>> {
        let nodes = self.context.list(node, what)?;
        let expected: Vec<Option<Expected>> =
            nodes.iter().map(|node| self.expected(node, what == "expect")).collect();
        expected.into_iter().collect()
    }

    fn expected(&self, node: &'c Node, typed: bool) -> Option<Expected> {
        let section = self.context.section(node, &reference::EXPECTED, "an expected record")?;
        let key = section.required_text("key");
        if typed && section.require("type").is_some() {
            section.choice("type", &["opened", "updated", "escalated", "resolved"].map(|word| (word, ())));
        }
        let mut texts = BTreeMap::new();
        for field in ["type", "rule", "severity", "reason", "revision", "flap_count", "currency"] {
            texts.extend(section.text(field).map(|text| (field, text)));
        }
        let rules = &self.settings.plan.rules;
        let rule = texts.get("rule").and_then(|id| rules.iter().find(|rule| &*rule.id == id.as_str()));
        if let (Some(id), None, Some(node)) = (texts.get("rule"), rule, section.get("rule")) {
            let fault = node.fault(Kind::UnknownName, format!("there is no rule \"{id}\" under test"));
            self.context.report(match suggestion(id, rules.iter().map(|rule| &*rule.id)) {
                Some(hint) => fault.hint(hint),
                None => fault,
            });
        }
        let rule = rule.or(if rules.len() == 1 { rules.first() } else { None });
        let columns = rule.map(|rule| rule.query.columns());
        let instant = |field: &str| section.get(field).and_then(|node| self.instant(node, field));
        let amount = section.get("amount_at_risk").and_then(|node| {
            let column = Column { name: "amount_at_risk".to_owned(), ty: Type::Decimal { scale: None } };
            self.value(node, &column)
        });
        let identity = section.get("identity").and_then(|node| {
            let columns: Vec<Column> = rule?
                .identity
                .iter()
                .map(|index| rule?.query.columns().get(*index).cloned())
                .collect::<Option<_>>()?;
            let nodes = match &node.content {
                Content::List(nodes) => nodes.as_slice(),
                _ => std::slice::from_ref(node),
            };
            Some(columns.iter().zip(nodes).filter_map(|(column, node)| self.value(node, column)).collect())
        });
        let (evidence, all_evidence) = self.evidence(&section, columns);
        Some(Expected {
            place: Place::of(node),
            key: key?,
            texts,
            since: instant("since"),
            at: instant("at"),
            amount,
            identity,
            evidence,
            all_evidence,
            annotations: self.annotations(&section),
        })
    }

    fn annotations(&self, section: &Section<'c>) -> BTreeMap<String, String> {
        let entries = section.get("annotations").and_then(|node| self.context.map(node, "annotations"));
        let text = |(name, node): (&Name, &Node)| Some((name.text.clone(), self.context.text(node, "annotations")?));
        entries.unwrap_or_default().into_iter().filter_map(text).collect()
    }

    fn evidence(&self, section: &Section<'c>, columns: Option<&[Column]>) -> (Vec<Vec<(String, Value)>>, bool) {
        let Some(node) = section.get("evidence") else { return (Vec::new(), false) };
        let Some(columns) = columns else {
            let fault = node.fault(Kind::MissingField, "evidence is compared, but no \"rule\" says whose it is");
            self.context.report(fault.hint("Say which, as in rule: paid-without-payment."));
            return (Vec::new(), false);
        };
        let (nodes, all) = match &node.content {
            Content::List(nodes) => (nodes.as_slice(), true),
            _ => (std::slice::from_ref(node), false),
        };
        let row = |node: &'c Node| {
            let entries = self.context.map(node, "evidence").unwrap_or_default();
            let cell = |(name, node): (&Name, &Node)| {
                let index = self.column(columns, name, "the rule's query")?;
                Some((name.text.clone(), self.value(node, &columns[index])?))
            };
            entries.into_iter().filter_map(cell).collect()
        };
        (nodes.iter().map(row).collect(), all)
    }
}
