//! What the last records of a topic look like: the one thing that needs no rights beside those to read.
//!
//! Must not know: how they were read. Values of columns are looked at, never kept.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::finding::Finding;
use super::seen::Table;
use crate::adapters::debezium::frame::{self, Frame, Half};
use crate::adapters::debezium::shape::{ConnectorShape, DecimalMode, Format};
use crate::adapters::debezium::{Event, RUN_HEADER, Record, Refusal};
use crate::domain::value::Type;

/// What was counted over the last records of a topic.
#[derive(Clone, Debug, Default)]
pub struct Bytes {
    pub records: u64,
    pub tombstones: u64,
    /// By how a value is written, such as `JSON without schema`.
    pub shapes: BTreeMap<&'static str, u64>,
    pub ops: BTreeMap<String, u64>,
    /// Of updates: with a whole image of before, with none or a part of one.
    pub before: [u64; 2],
    /// Records with a value that stands for one that was not sent.
    pub placeholders: u64,
    pub null_keys: u64,
    /// Of `source.snapshot`, where it is not a streamed row's.
    pub snapshots: BTreeMap<String, u64>,
    /// Of `source.version`, `source.connector` and `source.name`.
    pub versions: BTreeSet<String>,
    pub connectors: BTreeSet<String>,
    pub prefixes: BTreeSet<String>,
    /// Source times by what they are whole of: microseconds, milliseconds, seconds.
    pub whole_of: [u64; 3],
    /// Records whose source time is before that of the one above them in their partition.
    pub out_of_order: u64,
    /// Change records that name no run of the connector.
    pub without_run: u64,
    pub with_transaction: u64,
    /// Rows that were looked into, and in how many of them each column stands.
    pub rows: u64,
    pub present: BTreeMap<String, u64>,
    /// Decimals of kept columns by how they are written: text, number, bytes.
    pub decimals: [u64; 3],
    /// Records that Evenkeel would send to quarantine, by reason, with the detail of one.
    pub refused: BTreeMap<&'static str, (u64, String)>,
    /// Updates that do not say what was before, though the configuration says that they do.
    pub incomplete: u64,
}

/// What Avro says beside rows; `op` is Debezium's own envelope's.
#[derive(Deserialize)]
pub struct Outline {
    #[serde(default)]
    op: Option<String>,
    #[serde(default)]
    source: Value,
    #[serde(default)]
    before: Option<IgnoredAny>,
    #[serde(default)]
    transaction: Option<IgnoredAny>,
}

/// Shapes whose values are typed by a schema.
const WITH_SCHEMA: [&str; 2] = ["JSON with schema", "Avro with a schema id"];

impl Bytes {
    /// Takes a record in; `decoded` is what Evenkeel makes of it, `outline` what it says where it is Avro, `above`
    /// the source time of the one above it.
    pub fn take(
        &mut self,
        table: &Table,
        shape: &ConnectorShape,
        record: Record<'_>,
        decoded: &Result<Event, Refusal>,
        outline: Option<Outline>,
        above: &mut Option<i64>,
    ) {
        self.records += 1;
        match decoded {
            Ok(Event::Change(decoded)) if decoded.incomplete => self.incomplete += 1,
            Ok(_) => {}
            Err(refusal) => {
                self.refused.entry(refusal.reason).or_insert_with(|| (0, refusal.detail.clone())).0 += 1;
            }
        }
        let Some(value) = record.value else {
            self.tombstones += 1;
            return;
        };
        self.null_keys += u64::from(record.key.is_none_or(|key| key == b"null"));
        self.without_run += u64::from((record.headers)(RUN_HEADER).is_none());
        let json = match frame::of(Format::Auto, Half::Value, value, record.headers) {
            Ok(Frame::Json(bytes)) => serde_json::from_slice::<Value>(bytes).ok(),
            Ok(Frame::Schema(_, datum)) => {
                // Of a JSON Schema: it says no more than JSON without a schema.
                if let Ok(json @ Value::Object(_)) = serde_json::from_slice(datum) {
                    return self.json(table, shape, &json, above);
                }
                self.count_shape("Avro with a schema id");
                if let Some(Outline { op: Some(op), source, before, transaction }) = outline {
                    // By its schema, every image that is there is whole.
                    self.envelope(&op, before.is_some(), transaction.is_some(), &source, above);
                }
                return;
            }
            Err(_) => None,
        };
        match json {
            Some(json) => self.json(table, shape, &json, above),
            None => self.count_shape("neither JSON nor Avro"),
        }
    }

    fn count_shape(&mut self, shape: &'static str) {
        *self.shapes.entry(shape).or_default() += 1;
    }

    fn json(&mut self, table: &Table, shape: &ConnectorShape, json: &Value, above: &mut Option<i64>) {
        let (payload, has_schema) = match (json.get("schema"), json.get("payload")) {
            (Some(schema), Some(payload)) => (payload, !schema.is_null()),
            _ => (json, false),
        };
        let is_cloud_event = payload.get("specversion").is_some();
        let is_envelope = payload.get("op").is_some() && payload.get("source").is_some();
        self.count_shape(match (is_cloud_event, is_envelope, has_schema) {
            (true, ..) => "CloudEvents",
            (_, true, true) => "JSON with schema",
            (_, true, false) => "JSON without schema",
            (_, false, true) => "flattened JSON with schema",
            (_, false, false) => "flattened JSON without schema",
        });
        if !shape.placeholder.is_empty() && payload.to_string().contains(&shape.placeholder) {
            self.placeholders += 1;
        }
        let after = if is_envelope { &payload["after"] } else { payload };
        self.columns(table, after);
        self.decimals(table, after);
        if !is_envelope {
            return;
        }
        let is_whole = match (payload["before"].as_object(), payload["after"].as_object()) {
            (Some(before), Some(after)) => before.len() == after.len(),
            _ => false,
        };
        let op = payload["op"].as_str().unwrap_or("?");
        self.envelope(op, is_whole, payload["transaction"].is_object(), &payload["source"], above);
    }

    fn envelope(
        &mut self,
        op: &str,
        has_before: bool,
        has_transaction: bool,
        source: &Value,
        above: &mut Option<i64>,
    ) {
        *self.ops.entry(op.to_owned()).or_default() += 1;
        if op == "u" {
            self.before[usize::from(!has_before)] += 1;
        }
        self.with_transaction += u64::from(has_transaction);
        self.source(source, above);
    }

    fn source(&mut self, source: &Value, above: &mut Option<i64>) {
        let text = |name: &str| source[name].as_str().map(str::to_owned);
        self.versions.extend(text("version"));
        self.connectors.extend(text("connector"));
        self.prefixes.extend(text("name"));
        let is_snapshot = match &source["snapshot"] {
            Value::String(word) if word != "false" => Some(word.clone()),
            Value::Bool(true) => Some("true".to_owned()),
            _ => None,
        };
        if let Some(word) = &is_snapshot {
            *self.snapshots.entry(word.clone()).or_default() += 1;
        }
        let milliseconds = source["ts_ms"].as_i64();
        let Some(micros) = source["ts_us"].as_i64().or_else(|| milliseconds?.checked_mul(1000)) else { return };
        if is_snapshot.is_none() {
            let whole_of = if micros % 1000 != 0 { 0 } else { 1 + usize::from(micros % 1_000_000 == 0) };
            self.whole_of[whole_of] += 1;
        }
        self.out_of_order += u64::from(above.is_some_and(|above| micros < above));
        *above = Some(micros);
    }

    fn columns(&mut self, table: &Table, row: &Value) {
        let Some(row) = row.as_object() else { return };
        self.rows += 1;
        for column in table.columns.iter().filter(|column| row.contains_key(&column.name)) {
            *self.present.entry(column.name.clone()).or_default() += 1;
        }
    }

    fn decimals(&mut self, table: &Table, row: &Value) {
        let kept = table.columns.iter().filter(|column| matches!(column.ty, Type::Decimal { .. }));
        for column in kept {
            let form = match row.get(&column.name) {
                Some(Value::String(text))
                    if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) =>
                {
                    0
                }
                Some(Value::Number(_)) => 1,
                Some(Value::String(_) | Value::Object(_)) => 2,
                _ => continue,
            };
            self.decimals[form] += 1;
        }
    }

    /// Whether values come with a schema; `None` where nothing was seen.
    pub fn has_schema(&self) -> Option<bool> {
        let values: u64 = self.shapes.values().sum();
        let with = |name: &&str| self.shapes.get(*name).copied().unwrap_or(0);
        let flattened = self.shapes.get("flattened JSON with schema").copied().unwrap_or(0);
        (values > 0).then(|| WITH_SCHEMA.iter().map(with).sum::<u64>() + flattened == values)
    }

    /// As in `c 12, u 188`.
    fn mix(counts: &BTreeMap<String, u64>) -> String {
        counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    }
}

/// Judges what was counted of a topic.
pub fn judge(table: &Table, shape: &ConnectorShape, has_schemas: Option<bool>, bytes: &Bytes) -> Vec<Finding> {
    if bytes.records == 0 {
        return vec![Finding::note("records", "none is there yet")];
    }
    let mut found = vec![shapes(bytes), understood(bytes), before(table, bytes), keys(bytes), runs(shape, bytes)];
    found.extend([content(bytes), times(bytes)]);
    found.extend(columns(table, bytes));
    found.extend(decimals(shape, has_schemas, bytes));
    found.extend(origins(bytes));
    found
}

fn shapes(bytes: &Bytes) -> Finding {
    let shapes: Vec<String> = bytes.shapes.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let mut saw = if shapes.is_empty() { "no values".to_owned() } else { shapes.join(", ") };
    if bytes.tombstones > 0 {
        saw += &format!(", {} tombstones", bytes.tombstones);
    }
    match bytes.shapes.len() {
        0 | 1 => Finding::pass("shape", saw),
        _ => Finding::warn("shape", saw)
            .why("Records of several shapes stand in one topic: converters were changed, or two connectors write it.")
            .advice("Look which connectors write this topic, and when their converters were changed."),
    }
}

fn understood(bytes: &Bytes) -> Finding {
    let refused: u64 = bytes.refused.values().map(|(count, _)| count).sum();
    if refused == 0 {
        return Finding::pass("understood", format!("all of the last {}", bytes.records));
    }
    let reasons = bytes.refused.iter().map(|(reason, (count, _))| format!("{reason} {count}"));
    let reasons = reasons.collect::<Vec<_>>().join(", ");
    let detail = bytes.refused.values().next().map_or("", |(_, detail)| detail);
    Finding::fail("understood", format!("{refused} of {} are not: {reasons}", bytes.records))
        .why(format!("Such records go to quarantine, and verdicts about their keys lack them. One says: {detail}"))
        .advice("Compare the source's columns, their types and the connector's fields in the configuration with the records.")
}

fn before(table: &Table, bytes: &Bytes) -> Finding {
    let [whole, part] = bytes.before;
    let saw = format!("of {} updates {whole} have a whole one", whole + part);
    if bytes.incomplete > 0 {
        return Finding::fail("before image", format!("{} updates lack it", bytes.incomplete))
            .why("The configuration says that images are whole; a row that moves to another key then stays with the old one, too.")
            .advice("Set REPLICA IDENTITY FULL (PostgreSQL) or binlog_row_image=FULL in every session (MySQL, MariaDB), or leave replica_identity: full out.");
    }
    match (whole, part, table.full_before) {
        (0, 0, _) => Finding::note("before image", "no update among the records"),
        (_, 0, false) => Finding::note("before image", saw)
            .why(
                "If the table has REPLICA IDENTITY FULL, moves and deletes can be followed exactly and more cheaply.",
            )
            .ours(format!("sources.{}.replica_identity: full", table.source)),
        _ => Finding::pass("before image", saw),
    }
}

fn keys(bytes: &Bytes) -> Finding {
    match bytes.null_keys {
        0 => Finding::pass("key", "never null"),
        count => Finding::warn("key", format!("{count} of {} are null", bytes.records))
            .why("Without a key, changes of one row may stand in several partitions, and in no order.")
            .advice("Give the table a primary key, or name a unique one in message.key.columns."),
    }
}

fn runs(shape: &ConnectorShape, bytes: &Bytes) -> Finding {
    let changes = bytes.records - bytes.tombstones;
    match bytes.without_run {
        0 => Finding::pass("run header", "on every change"),
        count if shape.flattened.is_some() => Finding::note("run header", format!("missing on {count} of {changes}")),
        count => Finding::warn("run header", format!("missing on {count} of {changes}"))
            .why("It tells a connector's restart from a failover of its database. Debezium before 3.1 has none.")
            .set("extended.headers.enabled", "true"),
    }
}

fn content(bytes: &Bytes) -> Finding {
    let mut said = vec![format!("operations {}", Bytes::mix(&bytes.ops))];
    if !bytes.snapshots.is_empty() {
        said.push(format!("snapshot markers {}", Bytes::mix(&bytes.snapshots)));
    }
    if bytes.placeholders > 0 {
        said.push(format!("{} with the placeholder of an unsent value", bytes.placeholders));
    }
    if bytes.with_transaction > 0 {
        said.push(format!("{} with transaction metadata", bytes.with_transaction));
    }
    if let (true, false) = (bytes.ops.is_empty(), bytes.shapes.is_empty()) {
        said[0] = "operations unknown".to_owned();
    }
    Finding::note("content", said.join("; "))
}

fn times(bytes: &Bytes) -> Finding {
    let resolution = match bytes.whole_of {
        [0, 0, 0] => return Finding::note("source time", "not seen"),
        [0, 0, _] => "whole seconds",
        [0, ..] => "milliseconds",
        _ => "microseconds",
    };
    Finding::note("source time", format!("in {resolution}; {} of {} out of order", bytes.out_of_order, bytes.records))
}

/// Whether rows have the columns that are kept.
fn columns(table: &Table, bytes: &Bytes) -> Option<Finding> {
    const CHECK: &str = "columns";
    let count = |name: &str| bytes.present.get(name).copied().unwrap_or(0);
    let list = |is: &dyn Fn(u64) -> bool| {
        let names = table.columns.iter().map(|column| column.name.as_str()).filter(|name| is(count(name)));
        names.collect::<Vec<_>>().join(", ")
    };
    let (never, seldom) = (list(&|count| count == 0), list(&|count| count < bytes.rows));
    let finding = match (bytes.rows, never.is_empty(), seldom.is_empty()) {
        (0, ..) => return None,
        (_, true, true) => Finding::pass(CHECK, "every kept one is there"),
        (_, false, _) => Finding::fail(CHECK, format!("without {never}"))
            .why("Rules compare columns that never come: what is not there never differs.")
            .advice("Look at the connector's column lists and transforms, and at the columns' names in the source."),
        (rows, ..) => Finding::note(CHECK, format!("{seldom}: not in all of the last {rows} rows"))
            .why("A column was added or left out a while ago: in rows from before it is unknown."),
    };
    Some(finding)
}

fn decimals(shape: &ConnectorShape, has_schemas: Option<bool>, bytes: &Bytes) -> Option<Finding> {
    const CHECK: &str = "decimals";
    let forms = [(DecimalMode::String, "text"), (DecimalMode::Double, "numbers"), (DecimalMode::Precise, "bytes")];
    let seen: Vec<_> =
        forms.iter().zip(bytes.decimals).filter(|(_, count)| *count > 0).map(|(form, _)| *form).collect();
    let words = seen.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(" and ");
    let [(mode, _)] = seen[..] else {
        return (!seen.is_empty()).then(|| {
            Finding::warn(CHECK, words)
                .why("decimal.handling.mode was changed in mid-stream; records without a schema do not say which it was.")
                .advice("Let the topic be re-snapshotted under one mode.")
        });
    };
    // With the converter's `decimal.format=NUMERIC`, `precise` writes numbers, too.
    let are_precise = mode == DecimalMode::Double && shape.decimal_mode == Some(DecimalMode::Precise);
    let is_told = has_schemas == Some(true) || shape.decimal_mode == Some(mode) || are_precise;
    let ours = match mode {
        DecimalMode::String => "string",
        DecimalMode::Double => "double",
        DecimalMode::Precise => "precise",
    };
    Some(match is_told {
        true => Finding::pass(CHECK, format!("written as {words}")),
        false => Finding::fail(CHECK, format!("written as {words}, which is {ours}"))
            .why("The configuration says otherwise, and the records carry no schema: amounts may be refused, or read wrongly.")
            .ours(format!("decimal_handling_mode: {ours}")),
    })
}

fn origins(bytes: &Bytes) -> Vec<Finding> {
    let mut found = Vec::new();
    let list = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    if !bytes.versions.is_empty() {
        let saw = format!("{} {}", list(&bytes.connectors), list(&bytes.versions));
        found.push(Finding::note("written by", saw));
    }
    if bytes.prefixes.len() > 1 || bytes.connectors.len() > 1 {
        found.push(
            Finding::fail("one connector", format!("source.name is {}", list(&bytes.prefixes)))
                .why("Several connectors write one topic: positions jump, and rows come twice.")
                .advice("Give each connector a topic.prefix of its own."),
        );
    }
    found
}

#[cfg(test)]
mod tests;
