//! The account of one order: what came, what was judged, what was said, and how it stands. Everything in it may be shown.
//!
//! Must not know: how it was found out (`explain`), how it looks (`text`). Values are masked as they are in records.

use serde_json::{Map, Value as Json, json};

use super::verdict::Verdict;
use crate::domain::instant::Instant;

/// A row's or an answer's columns that may be shown.
pub type Shown = Map<String, Json>;

/// A place in the changes log: an offset, and the machine's clock when the block there was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub offset: i64,
    pub written_at: Instant,
}

impl Block {
    fn to_json(self) -> Json {
        json!({"offset": self.offset, "written_at": self.written_at.to_string()})
    }
}

/// Everything that is known of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    pub reconciliation: String,
    pub key: String,
    pub partition: i32,
    pub partitions: i32,
    /// The changes-log offset that it begins at; what was before is known as far as a state knew it.
    pub began: i64,
    /// What a state knew when it begins: its rows by source.
    pub known_before: Vec<(String, Shown)>,
    /// The offset after the last block that was read.
    pub end: i64,
    pub last_block: Option<Block>,
    pub settled: Option<Instant>,
    /// For each source, how far its history is known, and the block that said so.
    pub frontiers: Vec<(String, Option<Instant>, Option<Block>)>,
    /// In timeline order.
    pub events: Vec<Event>,
    /// Changes that came and wait for the settled time, in log order.
    pub waiting: Vec<Arrival>,
    /// Changes that came and were dropped, because they had come before.
    pub dropped: Vec<Arrival>,
    pub verdict: Verdict,
}

/// A change that came with a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub source: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub came: Block,
}

/// Something at an instant of the timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub at: Instant,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Changed(Box<Changed>),
    Judged(Box<Judged>),
    /// A record of the discrepancy topic.
    Said {
        cause: String,
        kind: String,
        body: Json,
    },
    /// From here on these are the rules.
    Rules {
        ids: Vec<String>,
    },
}

/// A change of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    pub source: String,
    pub before: Option<Shown>,
    pub after: Option<Shown>,
    /// Columns whose value is another one, among those that may be shown.
    pub changed: Vec<String>,
    pub late: bool,
    pub source_time: Instant,
    /// LSN, GTID, or file and position; empty for a row of a snapshot.
    pub position: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Where it was seen to come. `None` where it came before the account begins, or did not name the key.
    pub came: Option<Block>,
}

/// What the rules said of an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The promises that let it be judged: the last that were needed.
    pub promise: Option<Promise>,
    pub block: Block,
    pub answers: Vec<Answered>,
    pub episodes: Vec<Standing>,
}

/// How far history was complete before and after a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Those whose history was known least far before.
    pub sources: Vec<String>,
    pub before: Option<Instant>,
    pub after: Instant,
}

/// What a rule returned.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    pub rule: String,
    pub rows: Vec<Shown>,
    pub cannot_compare: Option<String>,
    /// True where it had returned something before, and now returns nothing.
    pub is_over: bool,
}

/// An episode after an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub rule: String,
    pub phase: &'static str,
    /// What the rule returned.
    pub evidence: Vec<Shown>,
    pub since: Instant,
    /// When something happens to it by the passing of time alone.
    pub due: Option<Instant>,
}

impl Account {
    pub fn to_json(&self) -> Json {
        let frontier = |(source, frontier, said): &(String, Option<Instant>, Option<Block>)| json!({"source": source, "frontier": text(*frontier), "said_by": said.map(Block::to_json)});
        let known = |(source, row): &(String, Shown)| json!({"source": source, "columns": row});
        json!({
            "reconciliation": self.reconciliation,
            "key": self.key,
            "partition": self.partition,
            "partitions": self.partitions,
            "changes_log": {"from": self.began, "to": self.end, "last_block": self.last_block.map(Block::to_json)},
            "known_before": self.known_before.iter().map(known).collect::<Vec<_>>(),
            "settled_time": text(self.settled),
            "frontiers": self.frontiers.iter().map(frontier).collect::<Vec<_>>(),
            "timeline": self.events.iter().map(Event::to_json).collect::<Vec<_>>(),
            "waiting": self.waiting.iter().map(Arrival::to_json).collect::<Vec<_>>(),
            "dropped": self.dropped.iter().map(Arrival::to_json).collect::<Vec<_>>(),
            "verdict": self.verdict.to_json(),
        })
    }
}

fn text(instant: Option<Instant>) -> Option<String> {
    instant.map(|instant| instant.to_string())
}

impl Arrival {
    fn to_json(&self) -> Json {
        json!({"source": self.source, "topic": self.topic, "partition": self.partition, "offset": self.offset,
            "came": self.came.to_json()})
    }
}

impl Event {
    fn to_json(&self) -> Json {
        let mut json = match &self.what {
            What::Changed(changed) => changed.to_json(),
            What::Judged(judged) => judged.to_json(),
            What::Said { cause, kind, body } => json!({"kind": "record", "cause": cause, "type": kind, "body": body}),
            What::Rules { ids } => json!({"kind": "rules", "rules": ids}),
        };
        json["at"] = self.at.to_string().into();
        json
    }
}

impl Changed {
    pub fn verb(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, Some(_)) => "insert",
            (_, None) => "delete",
            (Some(_), Some(_)) => "update",
        }
    }

    fn to_json(&self) -> Json {
        json!({"kind": "change", "source": self.source, "verb": self.verb(), "before": self.before, "after": self.after,
            "changed": self.changed, "late": self.late, "source_time": self.source_time.to_string(),
            "position": self.position, "topic": self.topic, "partition": self.partition, "offset": self.offset,
            "came": self.came.map(Block::to_json)})
    }
}

impl Judged {
    fn to_json(&self) -> Json {
        let promise = self.promise.as_ref().map(|promise| {
            json!({"sources": promise.sources, "before": text(promise.before), "after": promise.after.to_string()})
        });
        let answer = |answered: &Answered| json!({"rule": answered.rule, "rows": answered.rows, "cannot_compare": answered.cannot_compare});
        let standing = |one: &Standing| {
            json!({"rule": one.rule, "phase": one.phase, "since": one.since.to_string(), "due": text(one.due),
                "evidence": one.evidence})
        };
        json!({"kind": "judged", "promise": promise, "block": self.block.to_json(),
            "answers": self.answers.iter().map(answer).collect::<Vec<_>>(),
            "episodes": self.episodes.iter().map(standing).collect::<Vec<_>>()})
    }
}

/// A row in one line.
pub fn in_line(row: &Shown) -> String {
    row.iter().map(|(name, shown)| format!("{name}={}", plain(shown))).collect::<Vec<_>>().join(" ")
}

/// A value without JSON's quotes.
pub fn plain(shown: &Json) -> String {
    match shown {
        Json::String(text) => text.clone(),
        Json::Object(_) => "unknown".to_owned(),
        other => other.to_string(),
    }
}
