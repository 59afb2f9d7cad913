//! The configuration file, read into [`Settings`] or into everything that is wrong with it, all of it at once.
//!
//! Must not know: how the product runs. `reference` names every field; the other files read one section each.

mod connectors;
mod lookups;
mod node;
mod reader;
pub mod reference;
mod rules;
mod running;
mod sources;
#[cfg(test)]
mod tests;
mod topics;
mod types;
mod units;

use std::path::Path;
use std::sync::Arc;

use self::connectors::Connector;
pub use self::connectors::added as added_fields;
use self::lookups::Lookup;
pub use self::node::{Content, Name, Node};
pub use self::reader::{Context, Environment, Section};
use self::sources::Source;
pub use self::types::{moment, parse_value};
pub use self::units::{Problem, boolean, suggestion};
pub use self::units::{duration, duration_text, nearest};
use super::diagnostic::{Diagnostic, Kind, SourceText};
use super::settings::Settings;
use crate::domain::catalog::Catalog;
use crate::domain::rule::{Plan, Rule, RuleSet};

/// Reads a configuration file. Environment variables are the process's own.
pub fn load(path: &Path) -> Result<Settings, Vec<Diagnostic>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![Diagnostic::of_file(&name, Kind::File, format!("{name} cannot be read: {error}"))])?;
    let base = path.parent().unwrap_or(Path::new(""));
    load_source(&SourceText::new(name, text), base, &|name| std::env::var(name).ok())
}

/// Reads a configuration from a text; rule files are looked for in `base`.
pub fn load_str(text: &str, base: &Path, environment: Environment<'_>) -> Result<Settings, Vec<Diagnostic>> {
    load_source(&SourceText::new("evenkeel.yaml", text), base, environment)
}

/// Reads a configuration to test its rules: environment variables that are not set stand for some text.
pub fn load_for_tests(path: &Path) -> Result<Settings, Vec<Diagnostic>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![Diagnostic::of_file(&name, Kind::File, format!("{name} cannot be read: {error}"))])?;
    let environment = |name: &str| std::env::var(name).ok();
    let context = Context::new(&environment).stand_in("0123456789abcdef");
    load_with(context, &SourceText::new(name, text), path.parent().unwrap_or(Path::new("")))
}

/// Reads a configuration with other rules in the place of its own: those of a rule file, or of another configuration.
pub fn load_rules(path: &Path, rules: &Path) -> Result<RuleSet, Vec<Diagnostic>> {
    let read = |path: &Path| {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![Diagnostic::of_file(&name, Kind::File, format!("{name} cannot be read: {error}"))]
        })?;
        Node::parse(&SourceText::new(name, text)).map_err(|fault| vec![fault])
    };
    let others = read(rules)?;
    if others.entry("reconciliation").is_some() {
        return Ok(load(rules)?.plan.rule_set());
    }
    let mut root = read(path)?;
    if let Content::Map(entries) = &mut root.content {
        entries.retain(|(name, _)| !["rules", "lookups", "rule_files"].contains(&name.text.as_str()));
    }
    let environment = |name: &str| std::env::var(name).ok();
    let context = Context::new(&environment);
    let files = [others];
    let settings = settings(&context, &root, &files);
    concluded(context, settings).map(|settings| settings.plan.rule_set())
}

/// Reads a configuration from a named text.
pub fn load_source(
    source: &std::rc::Rc<SourceText>,
    base: &Path,
    environment: Environment<'_>,
) -> Result<Settings, Vec<Diagnostic>> {
    load_with(Context::new(environment), source, base)
}

fn load_with(
    context: Context<'_>,
    source: &std::rc::Rc<SourceText>,
    base: &Path,
) -> Result<Settings, Vec<Diagnostic>> {
    let root = Node::parse(source).map_err(|fault| vec![fault])?;
    let files = rules::files(&context, &root, base);
    let settings = settings(&context, &root, &files);
    concluded(context, settings)
}

fn concluded(context: Context<'_>, settings: Option<Settings>) -> Result<Settings, Vec<Diagnostic>> {
    let faults = context.into_faults();
    match settings {
        Some(settings) if faults.is_empty() => Ok(settings),
        _ => {
            assert!(!faults.is_empty(), "a configuration that cannot be read has a fault");
            Err(faults)
        }
    }
}

fn settings<'n>(context: &'n Context<'n>, root: &'n Node, files: &'n [Node]) -> Option<Settings> {
    let section = context.section(root, &reference::ROOT, "the configuration")?;
    section.require("reconciliation");
    let reconciliation = section.read("reconciliation", |text| match is_dashed_name(text) {
        true => Ok(text.to_owned()),
        false => Err(Problem::new(format!("\"{text}\" is not a name"))
            .hint("Use a-z, 0-9 and -, beginning with a letter, as in orders-payments.")),
    });
    let kafka = section.require("kafka").and_then(|node| running::kafka(context, node));
    let connectors = section.require("connectors").map(|node| connectors::read(context, node)).unwrap_or_default();
    let sources = section.require("sources").map(|node| sources::read(context, node, &connectors));
    let sources = sources.unwrap_or_default();
    let topics = topics::written(&section, reconciliation.as_deref().unwrap_or("unnamed"));
    topics::overlaps(context, &connectors, &sources, topics.as_ref());
    let mask_key = running::mask_key(&section, &sources);
    let (lookups, rules) = catalog_and_rules(&section, files, &sources);
    let patience = running::patience(&section);
    let limits = running::limits(&section);
    let http = running::http(&section);
    let state_dir = running::state_dir(&section);
    let checkpoints = running::checkpoints(&section);
    let registry = running::registry(&section);
    let avro = running::output(&section);
    let connect = running::connect(&section);
    let heartbeat_us = section.duration("heartbeat_interval");
    if let (Some(0), Some(node)) = (heartbeat_us, section.get("heartbeat_interval")) {
        context.report(
            node.fault(Kind::BadValue, "heartbeat_interval must be more than 0").hint("Write a duration, as in 10s."),
        );
    }
    let sources: Option<Vec<Source>> = sources.into_iter().map(|source| source.value.whole()).collect();
    let sources = sources?;
    let plan = Plan {
        reconciliation: reconciliation?.into(),
        catalog: Catalog { sources: sources.iter().map(|source| source.table.clone()).collect(), lookups: lookups? },
        sources: sources.iter().map(|source| source.plan.clone()).collect(),
        rules: rules?,
        heartbeat_us: heartbeat_us?,
    };
    let connectors: Option<Vec<Connector>> = connectors.into_iter().map(|connector| connector.value).collect();
    Some(Settings {
        plan: Arc::new(plan),
        connectors: connectors?.into_iter().map(|connector| connector.settings).collect(),
        sources: sources.into_iter().map(|source| source.settings).collect(),
        kafka: kafka?,
        topics: topics?,
        registry: registry?,
        avro: avro?,
        connect: connect?,
        state_dir: state_dir?,
        checkpoints: checkpoints?,
        limits: limits?,
        http: http?,
        patience: patience?,
        mask_key: mask_key?,
    })
}

type Tables = Option<Vec<crate::domain::catalog::LookupTable>>;

/// The lookup tables and the rules of all files. Rules are compiled as far as the tables that they name are sound.
fn catalog_and_rules<'n>(
    section: &Section<'n>,
    files: &'n [Node],
    sources: &[Named<'n, sources::Partly>],
) -> (Tables, Option<Vec<Rule>>) {
    let context = section.context;
    let sections: Vec<Section<'n>> = files
        .iter()
        .filter_map(|file| context.section(file, &reference::RULE_FILE, format!("rule file {}", file.source.name)))
        .collect();
    let lookup_nodes =
        section.get("lookups").into_iter().chain(sections.iter().filter_map(|file| file.get("lookups")));
    let lookups: Vec<Named<'n, Option<Lookup>>> = lookups::read(context, lookup_nodes.collect(), sources);
    let mut unsound: Vec<&str> = Vec::new();
    unsound.extend(sources.iter().filter(|s| s.value.table.is_none()).map(|source| source.name.as_str()));
    unsound.extend(lookups.iter().filter(|l| l.value.is_none()).map(|lookup| lookup.name.as_str()));
    let sound = || sources.iter().map(|source| &source.value).filter(|source| source.table.is_some());
    let catalog = Catalog {
        sources: sound().filter_map(|source| source.table.clone()).collect(),
        lookups: lookups.iter().filter_map(|lookup| lookup.value.clone()).collect(),
    };
    let masks = sound().map(|source| source.masks.as_slice()).collect();
    let known = rules::Known { catalog: &catalog, masks, unsound };
    let rule_nodes = section.get("rules").into_iter().chain(sections.iter().filter_map(|file| file.get("rules")));
    let rules = rules::read(context, rule_nodes.collect(), &known);
    if rules.as_ref().is_some_and(Vec::is_empty) && section.get("rule_files").is_none() {
        let fault = section.start_fault(Kind::MissingField, "the configuration has no rules");
        context.report(fault.hint("Write them under rules, or name files under rule_files."));
    }
    (lookups.into_iter().map(|lookup| lookup.value).collect(), rules)
}

/// Something that a map gives a name to.
#[derive(Clone, Debug)]
pub struct Named<'n, T> {
    pub name: String,
    pub at: &'n Name,
    pub value: T,
}

/// Reads a map from names to things, in order of name. Names that are not names are reported.
fn named<'n, T>(
    context: &'n Context<'n>,
    node: &'n Node,
    what: &str,
    is_name: fn(&str) -> bool,
    read: impl Fn(&'n Context<'n>, &str, &'n Node) -> T,
) -> Vec<Named<'n, T>> {
    let entries = context.map(node, &format!("{what}s")).unwrap_or_default();
    if entries.is_empty() && context.count() == 0 {
        context.report(node.fault(Kind::MissingField, format!("no {what} is declared")));
    }
    let mut all: Vec<Named<'n, T>> = Vec::new();
    for (name, node) in entries {
        if !is_name(&name.text) {
            let fault = name.fault(Kind::BadValue, format!("\"{}\" cannot be the name of a {what}", name.text));
            context.report(fault.hint(if is_name("a-b") {
                "Use a-z, 0-9 and -, beginning with a letter."
            } else {
                "Use a-z, 0-9 and _, beginning with a letter: SQL must be able to say it without quotes."
            }));
        }
        all.push(Named { name: name.text.clone(), at: name, value: read(context, &name.text, node) });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Names of reconciliations, connectors and rules.
fn is_dashed_name(text: &str) -> bool {
    is_name(text, '-')
}

/// Names that SQL can say without quotes.
fn is_sql_name(text: &str) -> bool {
    is_name(text, '_')
}

fn is_name(text: &str, joiner: char) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == joiner;
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(inner) && text.len() <= 63
}
