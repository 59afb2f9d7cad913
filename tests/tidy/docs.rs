//! The documents: what is generated is up to date, what is quoted is real, examples work, links lead somewhere.

use std::path::Path;

use evenkeel::adapters::records::Message;
use evenkeel::adapters::telemetry;
use evenkeel::app::config::{self, reference};
use evenkeel::app::diagnostic::render_all;
use evenkeel::app::rule_tests;

use super::{files, root};

/// Holds the generated part of a document against what the code says; `UPDATE_DOCS=1` writes it.
fn generated(document: &str, name: &str, table: &str) {
    let path = root().join(document);
    let text = std::fs::read_to_string(&path).expect("the document is there");
    let (begin, end) = (format!("<!-- {name}: generated -->\n"), format!("<!-- {name}: end -->"));
    let (head, rest) = text.split_once(&begin).expect("the document says where the generated part begins");
    let (known, tail) = rest.split_once(&end).expect("the document says where the generated part ends");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}{begin}{table}{end}{tail}")).expect("the document can be written");
        return;
    }
    assert_eq!(known, table, "{document} is out of date: run make docs");
}

#[test]
fn tidy_generated_parts_are_up_to_date() {
    generated("docs/metrics.md", "metrics", &telemetry::table());
    generated("docs/configuration.md", "configuration", &reference::markdown(&reference::SECTIONS));
    generated("docs/records.md", "example", &example());
    generated("docs/rules.md", "stories", &reference::markdown(&reference::TEST_SECTIONS));
}

/// Everything that the golden stories say, each message with its story's name.
pub fn told() -> Vec<(String, Message)> {
    let mut told = Vec::new();
    for (name, _) in files("tests/golden", &[".yaml"]).into_iter().filter(|(name, _)| name.matches('/').count() == 2)
    {
        let outcomes = rule_tests::test_file(&root().join(name), false);
        for outcome in outcomes.unwrap_or_else(|faults| panic!("{}", render_all(&faults, false))) {
            told.extend(outcome.messages.into_iter().map(|message| (outcome.name.clone(), message)));
        }
    }
    told
}

/// The first record that the shipped stories open a discrepancy with, as it is published.
fn example() -> String {
    let is_opened =
        |message: &Message| message.headers.iter().any(|(_, value)| value == "evenkeel.discrepancy.opened");
    let (_, message) = told().into_iter().find(|(_, message)| is_opened(message)).expect("something is opened");
    let body: serde_json::Value = serde_json::from_slice(&message.body.expect("it has a body")).expect("JSON");
    let headers: String = message.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let key = message.key.unwrap_or_default();
    format!("```text\nkey: {key}\n{headers}\n{body:#}\n```\n")
}

/// The documents that users read, with their text.
fn documents() -> Vec<(String, String)> {
    let mut all = files(".", &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]);
    all.extend(files("docs", &[".md"]));
    all
}

/// The blocks of a document in a language, each with the line above it.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<(&'t str, &'t str)> {
    let fence = format!("\n```{language}\n");
    let starts = text.match_indices(&fence).map(|(start, _)| start);
    starts
        .map(|start| {
            let above = text[..start].lines().next_back().unwrap_or_default();
            let inside = &text[start + fence.len()..];
            (above, &inside[..inside.find("```").expect("a block ends")])
        })
        .collect()
}

#[test]
fn tidy_what_is_quoted_is_real() {
    let mut quotes = 0;
    for (name, text) in documents() {
        for (above, block) in blocks(&text, "text") {
            let Some(file) = above.strip_prefix("<!-- from: ").and_then(|rest| rest.strip_suffix(" -->")) else {
                continue;
            };
            let real = std::fs::read_to_string(root().join(file)).expect("the quoted file is there");
            // Quotes that follow one another in the file stand apart by an ellipsis.
            for quote in block.split("\n…\n") {
                assert!(real.contains(quote.trim_end()), "{name}: {file} does not say\n{quote}");
            }
            quotes += 1;
        }
    }
    assert!(quotes >= 3);
}

/// Rules and stories in the documents are about the sources of deploy/evenkeel.yaml.
#[test]
fn tidy_examples_work() {
    let example = std::fs::read_to_string(root().join("deploy/evenkeel.yaml")).expect("the example is there");
    let (before, after) = example.split_once("rule_files:\n").expect("it has rule files");
    let rest: String =
        after.lines().skip_while(|line| line.starts_with("  - ")).map(|line| format!("{line}\n")).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut rules, mut stories) = (0, 0);
    for (name, text) in documents() {
        let blocks = blocks(&text, "yaml");
        for (number, (_, block)) in blocks.iter().enumerate() {
            let path = folder.path().join(format!("{}-{number}.yaml", name.replace('/', "-")));
            if block.starts_with("config: ") {
                let config = std::fs::canonicalize(root().join("deploy/evenkeel.yaml")).expect("it is there");
                let told = block.replace("../deploy/evenkeel.yaml", &config.display().to_string());
                std::fs::write(&path, told).expect("it can be written");
                let outcomes = rule_tests::test_file(&path, false);
                let outcomes = outcomes.unwrap_or_else(|faults| panic!("{name}: {}", render_all(&faults, false)));
                let failures: Vec<_> = outcomes.iter().flat_map(|story| &story.failures).collect();
                assert!(failures.is_empty(), "{name}: {failures:?}");
                stories += outcomes.len();
            } else if block.contains("rules:\n") {
                let rules_path = path.with_extension("rules.yaml");
                std::fs::write(&rules_path, block).expect("it can be written");
                let files = format!("rule_files: {}\n", rules_path.display());
                std::fs::write(&path, format!("{before}{files}{rest}")).expect("it can be written");
                let loaded = config::load(&path);
                let settings = loaded.unwrap_or_else(|faults| panic!("{name}: {}", render_all(&faults, false)));
                rules += settings.plan.rules.len();
            }
        }
    }
    assert!(rules >= 3 && stories >= 1, "{rules} rules, {stories} stories");
}

#[test]
fn tidy_documents_point_at_files_that_exist() {
    let mut missing = Vec::new();
    for (name, text) in documents() {
        let folder = Path::new(&name).parent().unwrap_or(Path::new("")).to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or(link);
            if !target.is_empty() && !target.contains("://") && !root().join(&folder).join(target).exists() {
                missing.push(format!("{name} → {link}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
