//! Rules: their files, their settings, their compiled queries.
//!
//! Must not know: sources beyond the catalog. A fault of SQL is shown at its own line and column of the YAML file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::node::{Content, Node};
use super::reader::{Context, Section};
use super::units::{self, Problem, suggestion};
use super::{is_dashed_name, reference};
use crate::adapters::debezium::shape::Mask;
use crate::app::diagnostic::{Diagnostic, Kind, SourceText};
use crate::domain::catalog::Catalog;
use crate::domain::hash::{continue_fnv1a, fnv1a};
use crate::domain::rule::{Definition, Escalation, Rule};
use crate::domain::sql::{Query, SqlError};

/// Reads the rule files that a configuration names, in order of name where a `*` stands for several.
pub fn files(context: &Context<'_>, root: &Node, base: &Path) -> Vec<Node> {
    let Some(named) = root.entry("rule_files").filter(|node| !matches!(node.content, Content::Null)) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for (text, node) in context.texts(named, "rule_files") {
        match matching(&base.join(&text)) {
            Ok(found) if found.is_empty() => {
                let fault = node.fault(Kind::File, format!("rule_files: no file matches \"{text}\""));
                context.report(fault.hint(format!("Files are looked for in {}.", shown(base))));
            }
            Ok(found) => {
                paths.extend(found.into_iter().filter(|path| !paths.contains(path)).collect::<Vec<_>>());
            }
            Err(problem) => context.problem(node, "rule_files", problem),
        }
    }
    let mut files = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => match Node::parse(&SourceText::new(name, text)) {
                Ok(node) => files.push(node),
                Err(fault) => context.report(fault),
            },
            Err(error) => {
                context.report(named.fault(Kind::File, format!("rule file {name} cannot be read: {error}")));
            }
        }
    }
    files
}

fn shown(folder: &Path) -> String {
    if folder.as_os_str().is_empty() { "the current folder".to_owned() } else { folder.display().to_string() }
}

/// The files that a path with `*` in its last part stands for; a path without one stands for itself, if it is there.
fn matching(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    let last = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = path.parent().unwrap_or(Path::new(""));
    if folder.to_string_lossy().contains('*') {
        return Err(Problem::new("a * may stand in the last part of a path only"));
    }
    if !last.contains('*') {
        return Ok(if path.is_file() { vec![path.to_owned()] } else { Vec::new() });
    }
    let read = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(read) else { return Ok(Vec::new()) };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.filter(|name| matches(&last, name)).collect();
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).filter(|path| path.is_file()).collect())
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            let Some(rest) = name.strip_prefix(before) else { return false };
            (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(after, &rest[at..]))
        }
    }
}

/// What a rule may name.
pub struct Known<'k> {
    pub catalog: &'k Catalog,
    /// For each source of the catalog, its columns' masks.
    pub masks: Vec<&'k [Mask]>,
    /// Tables that are declared, though something is wrong with them.
    pub unsound: Vec<&'k str>,
}

/// The rules of all files in order of id. SQL is checked where every table that it names is sound.
pub fn read<'n>(context: &'n Context<'n>, nodes: Vec<&'n Node>, known: &Known<'_>) -> Option<Vec<Rule>> {
    let mut ids: Vec<(String, &Node)> = Vec::new();
    let mut rules: Vec<Option<Rule>> = Vec::new();
    for list in nodes {
        for (index, node) in context.list(list, "rules").unwrap_or_default().iter().enumerate() {
            let written = node.entry("id").and_then(Node::scalar);
            let what = match written {
                Some(id) => format!("rule \"{id}\""),
                None => format!("rule {}", index + 1),
            };
            let Some(section) = context.section(node, &reference::RULE, what) else {
                rules.push(None);
                continue;
            };
            if let (Some(id), Some(at)) = (written, section.get("id")) {
                match ids.iter().find(|(known, _)| known == id) {
                    Some((_, first)) => {
                        let line = first.source.place(first.span.start).0;
                        let fault = at.fault(Kind::Duplicate, format!("rule \"{id}\" is declared twice"));
                        context.report(fault.hint(format!("It first stands in {}, line {line}.", first.source.name)));
                    }
                    None => ids.push((id.to_owned(), at)),
                }
            }
            rules.push(rule(&section, known));
        }
    }
    let mut rules: Vec<Rule> = rules.into_iter().collect::<Option<_>>()?;
    rules.sort_by(|a, b| a.id.cmp(&b.id));
    Some(rules)
}

fn rule(section: &Section<'_>, known: &Known<'_>) -> Option<Rule> {
    section.require("id");
    let id = section.read("id", |text| match is_dashed_name(text) {
        true => Ok(text.to_owned()),
        false => Err(Problem::new(format!("\"{text}\" is not a name"))
            .hint("Use a-z, 0-9 and -, beginning with a letter, as in paid-without-payment.")),
    });
    let sql = section.require("sql").and_then(|node| Some((node, node.scalar().map(str::to_owned)?)));
    section.require("grace");
    let grace_us = section.duration("grace");
    let escalations = escalations(section, grace_us);
    let keep_open_for_us = section.duration("keep_open_for");
    let flap_window_us = section.duration("flap_window");
    let labels = texts(section, "labels");
    let annotations = texts(section, "annotations");
    let (node, sql) = match sql {
        Some(sql) => sql,
        None => {
            if let Some(node) = section.get("sql") {
                let message = format!("{}: expected a query, found {}", section.path("sql"), node.kind_name());
                section.context.report(node.fault(Kind::BadValue, message));
            }
            return None;
        }
    };
    if known.unsound.iter().any(|table| mentions(&sql, table)) {
        return None;
    }
    let query = match Query::compile(&sql, known.catalog) {
        Ok(query) => query,
        Err(errors) => {
            for error in errors {
                section.context.report(sql_fault(section, node, &sql, &error));
            }
            return None;
        }
    };
    let identity = identity(section, &query, &known.masks);
    templates(section, &query);
    let mut definition = Definition {
        id: id?.into(),
        version: "".into(),
        sql: sql.into(),
        grace_us: grace_us?,
        escalations: escalations?,
        keep_open_for_us: keep_open_for_us?,
        flap_window_us: flap_window_us?,
        identity: identity?,
        labels: labels?,
        annotations: annotations?,
    };
    definition.version = version(&definition, known.catalog);
    Some(Rule { definition, query })
}

fn escalations(section: &Section<'_>, grace_us: Option<i64>) -> Option<Vec<Escalation>> {
    let Some(node) = section.get("escalate") else { return Some(Vec::new()) };
    let context = section.context;
    let mut steps: Vec<Option<Escalation>> = Vec::new();
    let mut least = grace_us;
    for node in context.list(node, &section.path("escalate"))? {
        let what = section.path("escalate");
        let Some(step) = context.section(node, &reference::ESCALATION, what) else {
            steps.push(None);
            continue;
        };
        step.require("after");
        let after = step.duration("after");
        let severity = step.required_text("severity");
        if let (Some(after), Some(known), Some(node)) = (after, least, step.get("after"))
            && after <= known
        {
            let than = if steps.is_empty() { "the grace" } else { "the step before" };
            let known = units::duration_text(known);
            let message = format!(
                "{}: {} is not more than {than}, {known}",
                section.path("escalate"),
                units::duration_text(after)
            );
            context.report(node.fault(Kind::Conflict, message).hint(
                "Ages are counted from the beginning of the disagreement; each step must be later than what is before it.",
            ));
        }
        least = after.or(least);
        steps
            .push(after.zip(severity).map(|(after_us, severity)| Escalation { after_us, severity: severity.into() }));
    }
    steps.into_iter().collect()
}

fn texts(section: &Section<'_>, field: &str) -> Option<BTreeMap<String, String>> {
    let Some(node) = section.get(field) else { return Some(BTreeMap::new()) };
    let what = section.path(field);
    let entries = section.context.map(node, &what)?;
    let text = |(name, node): &(&super::Name, &Node)| {
        Some((name.text.clone(), section.context.text(node, &format!("{what} {}", name.text))?))
    };
    let texts: Vec<Option<(String, String)>> = entries.iter().map(text).collect();
    texts.into_iter().collect()
}

fn identity(section: &Section<'_>, query: &Query, masks: &[&[Mask]]) -> Option<Vec<usize>> {
    let Some(node) = section.get("identity") else { return Some(Vec::new()) };
    let names = section.context.texts(node, &section.path("identity"));
    let origins = query.origins();
    let index = |(name, node): &(String, &Node)| {
        let index = query.columns().iter().position(|column| column.name == *name);
        if index.is_none() {
            let message = format!("{}: the query selects no column \"{name}\"", section.path("identity"));
            section.context.report(unknown_output(node.fault(Kind::UnknownName, message), name, query));
        }
        let is_shown = |(source, column): &(usize, usize)| masks[*source][*column] == Mask::Show;
        if index.is_some_and(|index| !origins[index].iter().all(is_shown)) {
            let message = format!("{}: \"{name}\" is made of a masked column", section.path("identity"));
            let fault = node.fault(Kind::Conflict, message);
            section
                .context
                .report(fault.hint("Its value would go into the discrepancy's id. Choose another column."));
        }
        index
    };
    let indexes: Vec<Option<usize>> = names.iter().map(index).collect();
    indexes.into_iter().collect()
}

fn unknown_output(fault: Diagnostic, name: &str, query: &Query) -> Diagnostic {
    match suggestion(name, query.columns().iter().map(|column| column.name.as_str())) {
        Some(hint) => fault.hint(hint),
        None => fault.hint("Add it to the query's SELECT list."),
    }
}

/// Every `{{column}}` of an annotation must be selected.
fn templates(section: &Section<'_>, query: &Query) {
    let Some(Content::Map(entries)) = section.get("annotations").map(|node| &node.content) else { return };
    for (name, node) in entries {
        let mut rest = node.scalar().unwrap_or_default();
        while let Some((_, after)) = rest.split_once("{{") {
            let what = format!("{} {}", section.path("annotations"), name.text);
            let Some((column, tail)) = after.split_once("}}") else {
                let fault = node.fault(Kind::BadValue, format!("{what}: a {{{{ without its }}}}"));
                section.context.report(fault.hint("Write {{column}} for a selected column's value."));
                break;
            };
            let column = column.trim();
            if !query.columns().iter().any(|known| known.name == column) {
                let message = format!("{what}: the query selects no column \"{column}\"");
                section.context.report(unknown_output(node.fault(Kind::UnknownName, message), column, query));
            }
            rest = tail;
        }
    }
}

/// A fault of SQL at its place in the YAML file: exact where the query's line can be found as it is, as in a block
/// (`|`) and in one line; else at the query's beginning.
fn sql_fault(section: &Section<'_>, node: &Node, sql: &str, error: &SqlError) -> Diagnostic {
    let message = format!("{}: {}", section.what, error.message);
    let width = match error.end.line == error.start.line {
        true => (error.end.column.saturating_sub(error.start.column)).max(1) as usize,
        false => usize::MAX,
    };
    let place = place_of(node, sql, error.start.line as usize, error.start.column as usize);
    let fault = match place {
        Some(place) => node.source.fault(place, width, Kind::Sql, message),
        None => node.fault(Kind::Sql, format!("{message} (line {} of the query)", error.start.line)),
    };
    match &error.hint {
        Some(hint) => fault.hint(hint),
        None => fault,
    }
}

/// In a longer line no place is looked for, bytes.
const LONGEST_LINE: usize = 10_000;

/// Where a line and column (from 1) of the query stand in the file.
fn place_of(node: &Node, sql: &str, line: usize, column: usize) -> Option<(usize, usize)> {
    let wanted = sql.lines().nth(line.checked_sub(1)?).unwrap_or_default();
    let skipped = sql.lines().take_while(|line| line.trim().is_empty()).count();
    let (first_line, first_column) = node.source.place(node.span.start);
    let file_line = (first_line + line).checked_sub(skipped + 1)?;
    let text = node.source.line(file_line);
    if text.len() > LONGEST_LINE {
        return None;
    }
    let text: Vec<char> = text.chars().collect();
    let quotes = usize::from(matches!(text.get(first_column - 1), Some('"' | '\'')));
    let indents = [first_column - 1, first_column - 1 + if line == 1 { quotes } else { 0 }];
    let wanted: Vec<char> = wanted.chars().collect();
    let indent =
        indents.into_iter().find(|indent| text.get(*indent..).is_some_and(|rest| rest.starts_with(&wanted)))?;
    Some((file_line, indent + column))
}

/// True where the query has the word; quotes and comments are not told apart, which is on the safe side.
fn mentions(sql: &str, word: &str) -> bool {
    let lower = sql.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

/// A hash of everything that the rule's verdicts depend on: its text, its patience, its labels, and the shape of what
/// it names. Annotations are for people and don't count.
fn version(rule: &Definition, catalog: &Catalog) -> Box<str> {
    let mut text = format!(
        "{}\n{}\n{}\n{}\n{:?}\n{:?}\n{:?}\n",
        rule.sql.trim(),
        rule.grace_us,
        rule.keep_open_for_us,
        rule.flap_window_us,
        rule.escalations,
        rule.identity,
        rule.labels
    );
    let mut hash = fnv1a(text.as_bytes());
    for source in catalog.sources.iter().filter(|source| mentions(&rule.sql, &source.name)) {
        text = format!("{source:?}\n");
        hash = continue_fnv1a(hash, text.as_bytes());
    }
    for lookup in catalog.lookups.iter().filter(|lookup| mentions(&rule.sql, &lookup.name)) {
        text = format!("{lookup:?}\n");
        hash = continue_fnv1a(hash, text.as_bytes());
    }
    format!("{hash:016x}").into()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, expected) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yml", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
