//! `evenkeel test`: stories about rules, told to the very function that judges in production.
//!
//! Must not know: Kafka, disks, clocks.

mod compare;
mod drive;
mod story;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use self::compare::Said;
use self::drive::Driver;
use self::story::{Step, Story};
use super::config::{self, Context, Node, reference};
use super::diagnostic::{Diagnostic, Kind, SourceText, render_all};
use super::settings::Settings;
use crate::adapters::records::{Message, Renderer};
use crate::domain::rule::Plan;

/// What became of one story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub file: String,
    pub line: usize,
    pub name: String,
    /// Empty where the story is true.
    pub failures: Vec<Failure>,
    /// Everything that was said, as it would be published.
    pub messages: Vec<Message>,
}

/// A step after which something else was said than expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub line: usize,
    /// `- expected` and `+ got`, with headings.
    pub difference: Vec<String>,
}

/// Runs test files; prints what failed and a summary.
pub fn run(files: &[std::path::PathBuf], as_json: bool, colours: bool) -> ExitCode {
    let mut outcomes = Vec::new();
    let mut faults = Vec::new();
    for file in files {
        match test_file(file, false) {
            Ok(told) => outcomes.extend(told),
            Err(found) => faults.extend(found),
        }
    }
    if as_json {
        println!("{}", as_report(&outcomes, &faults));
    } else {
        // Where no file could be read as stories, there is nothing to report but that.
        if faults.is_empty() || !outcomes.is_empty() {
            print!("{}", text_report(&outcomes));
        }
        if !faults.is_empty() {
            eprint!("{}", render_all(&faults, colours));
        }
    }
    match (faults.is_empty(), all_true(&outcomes)) {
        (false, _) => ExitCode::from(2),
        (true, false) => ExitCode::from(1),
        (true, true) => ExitCode::SUCCESS,
    }
}

/// Tells every story of a file. With `restarts`, the task forgets and remembers everything after each step, which must
/// make no difference.
pub fn test_file(path: &Path, restarts: bool) -> Result<Vec<Outcome>, Vec<Diagnostic>> {
    test_source(&read_file(path)?, folder_of(path), restarts)
}

/// Tells every story of a text; the configuration that it names is looked for in `base`.
pub fn test_source(source: &Rc<SourceText>, base: &Path, restarts: bool) -> Result<Vec<Outcome>, Vec<Diagnostic>> {
    with_stories(source, base, |settings, stories, file| {
        let masks = settings.sources.iter().map(|source| source.shape.masks.clone()).collect();
        let renderer = Renderer::new(&settings.plan, masks, settings.mask_key.clone());
        stories.iter().map(|story| live(settings, &renderer, story, file, restarts)).collect()
    })
}

/// Every story of a file as the changes log would hold it, by name: for tests of what reads the log.
#[cfg(test)]
pub fn as_logs(path: &Path) -> (Settings, Vec<(String, Vec<crate::domain::change::Block>)>) {
    let source = read_file(path).unwrap_or_else(|faults| panic!("{}", render_all(&faults, false)));
    let told = with_stories(&source, folder_of(path), |settings, stories, _| {
        let log = |story: &Story| {
            let mut driver = Driver::begin(settings, &settings.plan, story, false)?;
            story.steps.iter().try_for_each(|step| driver.step(step))?;
            Ok((story.name.clone(), driver.blocks))
        };
        Ok((settings.clone(), stories.iter().map(log).collect::<Result<_, Diagnostic>>()?))
    });
    told.unwrap_or_else(|faults| panic!("{}", render_all(&faults, false)))
}

fn read_file(path: &Path) -> Result<Rc<SourceText>, Vec<Diagnostic>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![Diagnostic::of_file(&name, Kind::File, format!("{name} cannot be read: {error}"))])?;
    Ok(SourceText::new(name, text))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Reads a text's stories, and has something done with them.
fn with_stories<T>(
    source: &Rc<SourceText>,
    base: &Path,
    what: impl FnOnce(&Settings, &[Story], &str) -> Result<T, Diagnostic>,
) -> Result<T, Vec<Diagnostic>> {
    let root = Node::parse(source).map_err(|fault| vec![fault])?;
    let environment = |_: &str| None;
    let context = Context::new(&environment);
    let read = read(&context, &root, base);
    let faults = context.into_faults();
    match read {
        Some((settings, stories)) if faults.is_empty() => {
            what(&settings, &stories, &root.source.name).map_err(|fault| vec![fault])
        }
        _ => Err(faults),
    }
}

/// `None` where something was reported.
fn read<'n>(context: &'n Context<'n>, root: &'n Node, base: &Path) -> Option<(Settings, Vec<Story>)> {
    let section = context.section(root, &reference::TEST_FILE, "a test file")?;
    let config = base.join(section.required_text("config")?);
    let settings = match config::load_for_tests(&config) {
        Ok(settings) => settings,
        Err(faults) => {
            faults.into_iter().for_each(|fault| context.report(fault));
            return None;
        }
    };
    let settings = only(context, &section, settings)?;
    let stories = story::read(context, section.require("tests")?, &settings);
    (context.count() == 0).then_some((settings, stories))
}

/// The settings with only the rules under test.
fn only(context: &Context<'_>, section: &config::Section<'_>, settings: Settings) -> Option<Settings> {
    let Some(node) = section.get("rules") else { return Some(settings) };
    let wanted = context.texts(node, "rules");
    for (id, node) in &wanted {
        if !settings.plan.rules.iter().any(|rule| *rule.id == **id) {
            let fault = node.fault(Kind::UnknownName, format!("the configuration has no rule \"{id}\""));
            context.report(match config::suggestion(id, settings.plan.rules.iter().map(|rule| &*rule.id)) {
                Some(hint) => fault.hint(hint),
                None => fault,
            });
        }
    }
    let mut plan = Plan::clone(&settings.plan);
    plan.rules.retain(|rule| wanted.iter().any(|(id, _)| *rule.id == **id));
    Some(Settings { plan: Arc::new(plan), ..settings })
}

fn live(
    settings: &Settings,
    renderer: &Renderer,
    story: &Story,
    file: &str,
    restarts: bool,
) -> Result<Outcome, Diagnostic> {
    let plan = &settings.plan;
    let mut driver = Driver::begin(settings, plan, story, restarts)?;
    let mut failures = Vec::new();
    let mut fail = |step: &Step, difference: Vec<String>| {
        if !difference.is_empty() {
            failures.push(Failure { line: step.place.line(), difference });
        }
    };
    for step in &story.steps {
        driver.step(step)?;
        if let Some(expected) = &step.expect {
            let said: Vec<Said> =
                driver.said().iter().filter_map(|record| Said::of(renderer, plan, record)).collect();
            fail(step, compare::in_order(plan, expected, &said));
        }
        if let Some(expected) = &step.expect_open {
            let open = driver.open().filter_map(|open| Said::of_open(renderer, plan, open)).collect();
            fail(step, compare::in_any_order(plan, expected, open));
        }
    }
    if let Some(last) = story.steps.last() {
        let rest: Vec<Said> = driver.said().iter().filter_map(|record| Said::of(renderer, plan, record)).collect();
        let mut difference = compare::in_order(plan, &[], &rest);
        if !difference.is_empty() {
            difference.insert(0, "after the last expect:".to_owned());
        }
        fail(last, difference);
    }
    let messages = driver.records().iter().map(|record| renderer.message(plan, 0, record)).collect();
    Ok(Outcome { file: file.to_owned(), line: story.place.line(), name: story.name.clone(), failures, messages })
}

fn all_true(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| outcome.failures.is_empty())
}

/// What failed, then how many did.
fn text_report(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes.iter().filter(|outcome| !outcome.failures.is_empty()) {
        text.push_str(&format!("FAILED {}:{}: {}\n", outcome.file, outcome.line, outcome.name));
        for failure in &outcome.failures {
            text.push_str(&format!("  step of line {}\n", failure.line));
            for line in &failure.difference {
                let indent = if line.starts_with(['-', '+']) { "      " } else { "    " };
                text.push_str(&format!("{indent}{line}\n"));
            }
        }
        text.push('\n');
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.failures.is_empty()).count();
    let s = if outcomes.len() == 1 { "story" } else { "stories" };
    text + &format!("{} {s}, {failed} failed\n", outcomes.len())
}

fn as_report(outcomes: &[Outcome], faults: &[Diagnostic]) -> Json {
    let outcome = |outcome: &Outcome| {
        let failures: Vec<Json> = outcome
            .failures
            .iter()
            .map(|failure| json!({"line": failure.line, "difference": failure.difference}))
            .collect();
        json!({
            "file": outcome.file,
            "line": outcome.line,
            "name": outcome.name,
            "passed": failures.is_empty(),
            "failures": failures,
        })
    };
    json!({
        "ok": faults.is_empty() && all_true(outcomes),
        "stories": outcomes.iter().map(outcome).collect::<Vec<_>>(),
        "errors": faults.iter().map(Diagnostic::to_json).collect::<Vec<_>>(),
    })
}
