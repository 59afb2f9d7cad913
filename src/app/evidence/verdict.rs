//! How an order stands, in plain sentences: open, pending, held, halted, cannot be compared, or fine, and why.
//!
//! Must not know: how it came to that (`explain`).

use serde_json::{Value as Json, json};

use super::account::{Block, Standing, in_line};
use crate::app::config::duration_text;
use crate::domain::change::GapCause;
use crate::domain::instant::Instant;

/// Everything that a verdict rests on.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// As of when, where that was asked.
    pub at: Option<Instant>,
    /// False where no change of the order was seen.
    pub is_known: bool,
    pub is_judged: bool,
    pub settled: Option<Instant>,
    pub last_block: Option<Block>,
    /// How many changes wait.
    pub waiting: usize,
    pub standings: Vec<Standing>,
    /// Rules that could not say when they were last asked, and why.
    pub unsure: Vec<(String, String)>,
    /// Rules that are not asked at all.
    pub left_out: Vec<String>,
    pub halts: Vec<Halt>,
    /// Who has promised least.
    pub holder: Option<Holder>,
    /// How far history may lag behind before that is worth a word, microseconds.
    pub stall_after_us: i64,
}

/// A source whose history is known least far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub source: String,
    pub topic: String,
    pub partition: i32,
    pub frontier: Option<Instant>,
    /// The block with which the source's frontier moved last.
    pub since: Option<Block>,
}

/// A topic-partition whose promises are not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    pub source: String,
    pub topic: String,
    pub partition: i32,
    pub cause: GapCause,
    pub expected: i64,
    pub found: i64,
}

/// How an order stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The first of these that applies: unknown, halted, held, open, ending, pending, waiting, cannot_compare, fine.
    pub state: &'static str,
    pub sentences: Vec<String>,
}

impl Verdict {
    pub fn to_json(&self) -> Json {
        json!({"state": self.state, "sentences": self.sentences})
    }

    /// In order of what an operator must know first.
    pub fn of(facts: &Facts) -> Verdict {
        let mut verdict = Verdict::default();
        if let (Some(at), true) = (facts.at, facts.is_known) {
            let how = match facts.settled.is_some_and(|settled| settled >= at) {
                true => "as far as the changes log tells".to_owned(),
                false => format!("history is known up to {} only", or_never(facts.settled)),
            };
            verdict.sentences.push(format!("As of {at}: {how}."));
        }
        if !facts.is_known {
            verdict.say("unknown", "No change of this order is in what was read.".to_owned());
        } else if facts.settled.is_none() {
            let what = "Nothing was judged yet: every source must have finished its first snapshot before.";
            verdict.say("held", what.to_owned());
        }
        facts.standings.iter().for_each(|standing| verdict.add(standing, facts));
        verdict.tell_rest(facts);
        verdict
    }

    fn say(&mut self, state: &'static str, sentence: String) {
        let rank = |state: &str| STATES.iter().position(|known| *known == state);
        if self.state.is_empty() || rank(state) < rank(self.state) {
            self.state = state;
        }
        self.sentences.push(sentence);
    }

    fn add(&mut self, standing: &Standing, facts: &Facts) {
        let Standing { rule, phase, since, due, evidence } = standing;
        let rows: Vec<String> = evidence.iter().map(in_line).collect();
        let returns = if rows.is_empty() { "a disagreement".to_owned() } else { rows.join("; ") };
        let until = or_never(*due);
        match *phase {
            "open" => self.say("open", format!("Open since {since}: {rule} returns {returns}.")),
            "ending" => {
                let sentence = format!(
                    "Open since {since}, though {rule} returns nothing any more: it resolves at {until} unless it returns."
                );
                self.say("ending", sentence);
            }
            _ if is_overdue(*due, facts) => {
                let sentence = format!(
                    "Held: since {since} {rule} returns {returns}. It would open at {until}, if history were known so far."
                );
                self.say("held", sentence);
            }
            _ => {
                let sentence = format!(
                    "Pending since {since}: {rule} returns {returns}. It opens at {until} unless that ends before."
                );
                self.say("pending", sentence);
            }
        }
    }

    fn tell_rest(&mut self, facts: &Facts) {
        for (rule, why) in &facts.unsure {
            self.say("cannot_compare", format!("{rule} cannot compare: {why}."));
        }
        for rule in &facts.left_out {
            self.say(
                "cannot_compare",
                format!("{rule} is not asked: it names what the configuration's sources do not have."),
            );
        }
        if facts.waiting > 0 {
            let (many, wait) = if facts.waiting == 1 { ("One change", "waits") } else { ("Changes", "wait") };
            self.say("waiting", format!("{many} of it came and {wait} until history is known so far."));
        }
        if self.state.is_empty() && !facts.is_judged {
            self.say("waiting", "It was not judged yet.".to_owned());
        }
        if self.state.is_empty() {
            let settled = or_never(facts.settled);
            self.say("fine", format!("Fine: no rule returns a disagreement, as of {settled}."));
        }
        facts.halts.iter().for_each(|halt| self.tell_halt(halt));
        let lags = lags(facts);
        let asks_for_more = facts.at.is_some_and(|at| facts.settled.is_none_or(|settled| settled < at));
        let is_of_interest = lags || asks_for_more || matches!(self.state, "held" | "waiting");
        if let (true, true, Some(holder)) = (facts.halts.is_empty(), is_of_interest, &facts.holder) {
            let state = if lags && self.state != "fine" { "held" } else { self.state };
            self.say(state, wait(holder, facts));
        }
    }

    fn tell_halt(&mut self, halt: &Halt) {
        let Halt { source, topic, partition, cause, expected, found } = halt;
        let expected = if *expected < 0 { "an unknown offset".to_owned() } else { format!("offset {expected}") };
        let sentence = format!(
            "Halted by an input gap: records of {topic}:{partition}, from {expected} to {found}, were lost ({}). Re-snapshot \
             the table of {source}, wait until the snapshot is through, then: evenkeel acknowledge {source}.",
            cause.name()
        );
        self.say("halted", sentence);
    }
}

/// True where history is known so much less far than the log goes that it is worth a word.
fn lags(facts: &Facts) -> bool {
    match (facts.settled, facts.last_block) {
        (Some(settled), Some(last)) => last.written_at.since(settled) > facts.stall_after_us,
        _ => true,
    }
}

fn wait(holder: &Holder, facts: &Facts) -> String {
    let Holder { source, topic, partition, frontier, since } = holder;
    let behind = match (frontier, facts.last_block) {
        (Some(frontier), Some(last)) => {
            let seconds = last.written_at.since(*frontier).max(0) / 1_000_000 * 1_000_000;
            format!(", {} behind the log's last block", duration_text(seconds))
        }
        _ => String::new(),
    };
    let moved = since.map_or_else(String::new, |block| {
        format!(" It moved last at {}, with block {}.", block.written_at, block.offset)
    });
    let known = or_never(*frontier);
    format!("Verdicts wait for {source}: its history is known up to {known}{behind}, by {topic}:{partition}.{moved}")
}

/// The most urgent first.
const STATES: [&str; 9] =
    ["unknown", "halted", "open", "ending", "held", "pending", "waiting", "cannot_compare", "fine"];

fn is_overdue(due: Option<Instant>, facts: &Facts) -> bool {
    let is_past = |due: Instant| match facts.at {
        Some(at) => due <= at,
        None => facts.last_block.is_some_and(|last| due <= last.written_at),
    };
    due.is_some_and(|due| is_past(due) && facts.settled.is_none_or(|settled| settled < due))
}

fn or_never(instant: Option<Instant>) -> String {
    instant.map_or_else(|| "no instant yet".to_owned(), |instant| instant.to_string())
}
