//! An account for people, on a terminal.
//!
//! Must not know: how it was found out.

use std::fmt::{self, Display, Formatter};

use super::account::{Account, Answered, Arrival, Changed, Event, Judged, Standing, What, in_line, plain};

/// As wide as an instant and what kind of thing happened.
const MARGIN: &str = "                                         ";

impl Display for Account {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Account { key, reconciliation, partition, partitions, began, end, .. } = self;
        writeln!(
            f,
            "{key} of {reconciliation}: partition {partition} of {partitions}, changes log from offset {began} to {end}"
        )?;
        if *began > 0 {
            writeln!(f, "what came before offset {began} is known as the state there has it")?;
        }
        for (source, row) in &self.known_before {
            writeln!(f, "  {source} {}", in_line(row))?;
        }
        writeln!(f)?;
        let (mut last, mut told) = (None, None);
        for event in &self.events {
            let at = if last == Some(event.at) { String::new() } else { event.at.to_string() };
            last = Some(event.at);
            // What a block completed is said once.
            let block = if let What::Judged(judged) = &event.what { Some(judged.block) } else { told };
            let is_news = block != std::mem::replace(&mut told, block);
            write_event(f, &at, event, is_news)?;
        }
        for arrival in &self.waiting {
            write_arrival(f, "waits", arrival)?;
        }
        for arrival in &self.dropped {
            write_arrival(f, "dropped", arrival)?;
        }
        if !self.events.is_empty() || !self.waiting.is_empty() || !self.dropped.is_empty() {
            writeln!(f)?;
        }
        self.verdict.sentences.iter().try_for_each(|sentence| writeln!(f, "{sentence}"))
    }
}

/// The first line of something, with its instant and its kind.
fn head(f: &mut Formatter<'_>, at: &str, kind: &str, text: impl Display) -> fmt::Result {
    writeln!(f, "{at:<27}  {kind:<10}  {text}")
}

/// A further line of it.
fn more(f: &mut Formatter<'_>, text: impl Display) -> fmt::Result {
    writeln!(f, "{MARGIN}{text}")
}

/// `is_news` where it was judged with another block than what was judged before it.
fn write_event(f: &mut Formatter<'_>, at: &str, event: &Event, is_news: bool) -> fmt::Result {
    match &event.what {
        What::Changed(changed) => write_change(f, at, event, changed),
        What::Judged(judged) => write_judged(f, at, judged, is_news),
        What::Said { cause, kind, body } => {
            let revision = &body["revision"];
            let reason = body["reason"].as_str().map_or_else(String::new, |reason| format!(": {reason}"));
            let rule = body["rule"]["id"].as_str().unwrap_or_default();
            head(f, at, "published", format_args!("{rule} {kind}{reason} (revision {revision}, cause {cause})"))
        }
        What::Rules { ids } => head(f, at, "rules", format_args!("from here on: {}", ids.join(", "))),
    }
}

fn write_change(f: &mut Formatter<'_>, at: &str, event: &Event, changed: &Changed) -> fmt::Result {
    let Changed { source, position, topic, partition, offset, source_time, .. } = changed;
    head(f, at, changed.verb(), format_args!("{source} {}", difference(changed)))?;
    let position = if position.is_empty() { "of a snapshot" } else { position };
    let came = changed.came.map_or_else(String::new, |block| format!(", came with block {}", block.offset));
    more(f, format_args!("  {position}, {topic}:{partition} offset {offset}{came}"))?;
    if changed.late {
        more(f, "  late: a promise had excluded it")?;
    }
    match event.at == *source_time {
        true => Ok(()),
        false => more(f, format_args!("  its source time is {source_time}")),
    }
}

fn difference(changed: &Changed) -> String {
    match (&changed.before, &changed.after) {
        (Some(before), Some(after)) => {
            let was = |name: &String| before.get(name).map(plain).unwrap_or_default();
            let is = |name: &String| after.get(name).map(plain).unwrap_or_default();
            let all: Vec<String> =
                changed.changed.iter().map(|name| format!("{name}: {} → {}", was(name), is(name))).collect();
            if all.is_empty() { format!("{} (as before)", in_line(after)) } else { all.join(", ") }
        }
        (None, Some(row)) | (Some(row), None) => in_line(row),
        (None, None) => "a row that is not known here".to_owned(),
    }
}

fn write_judged(f: &mut Formatter<'_>, at: &str, judged: &Judged, is_news: bool) -> fmt::Result {
    let block = judged.block.offset;
    match &judged.promise {
        Some(promise) if is_news => {
            let (sources, after) = (promise.sources.join(" and "), promise.after);
            let text = format!("with block {block}: history is complete up to {after}, by the promise of {sources}");
            head(f, at, "judged", text)?;
        }
        _ => head(f, at, "judged", format_args!("with block {block}"))?,
    }
    let quiet =
        |answered: &&Answered| answered.rows.is_empty() && answered.cannot_compare.is_none() && !answered.is_over;
    let silent = judged.answers.iter().filter(quiet).count();
    for answered in judged.answers.iter().filter(|answered| !quiet(answered)) {
        write_answer(f, answered)?;
    }
    if silent > 0 {
        let returns = if silent == 1 { "rule returns" } else { "rules return" };
        let other = if silent < judged.answers.len() { "other " } else { "" };
        more(f, format_args!("  {silent} {other}{returns} nothing"))?;
    }
    judged.episodes.iter().try_for_each(|standing| write_standing(f, standing))
}

fn write_answer(f: &mut Formatter<'_>, answered: &Answered) -> fmt::Result {
    let rule = &answered.rule;
    for row in &answered.rows {
        more(f, format_args!("  {rule} returns {}", in_line(row)))?;
    }
    match &answered.cannot_compare {
        Some(why) => more(f, format_args!("  {rule} cannot compare: {why}")),
        None if answered.is_over => more(f, format_args!("  {rule} returns nothing any more")),
        None => Ok(()),
    }
}

fn write_standing(f: &mut Formatter<'_>, standing: &Standing) -> fmt::Result {
    let Standing { rule, phase, since, due, .. } = standing;
    let then = match (*phase, due) {
        ("pending", Some(due)) => format!(", opens at {due}"),
        ("open", Some(due)) => format!(", escalates at {due}"),
        ("ending", Some(due)) => format!(", resolves at {due}"),
        _ => String::new(),
    };
    more(f, format_args!("  → {rule} is {phase} since {since}{then}"))
}

fn write_arrival(f: &mut Formatter<'_>, kind: &str, arrival: &Arrival) -> fmt::Result {
    let Arrival { source, topic, partition, offset, came } = arrival;
    let why = if kind == "waits" { "until history is known so far" } else { "it had come before" };
    head(
        f,
        "",
        kind,
        format_args!("{source} {topic}:{partition} offset {offset}, came with block {}: {why}", came.offset),
    )
}
