//! Records as Kafka messages: bodies in JSON or Avro with CloudEvents 1.0 headers in binary content mode.
//!
//! Must not know: Kafka's client, when a record is published. `schemas/` holds the schemas of every body. The
//! headers are those of the Kafka protocol binding for CloudEvents, version 1.0.2, §3.2.

pub mod avro;
pub mod chain;
#[cfg(test)]
mod tests;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value as Json, json};
use sha2::Sha256;

use self::avro::{Form, Kind};
use super::debezium::shape::Mask;
use crate::domain::catalog::Column;
use crate::domain::change::{TopicPartition, Unseen};
use crate::domain::instant::Instant;
use crate::domain::key_state::{Event, Reason};
use crate::domain::record::{Cause, Content, Discrepancy, Quarantined, Record, SideRow, SourceNews, SourceNotice};
use crate::domain::rule::{Plan, Rule};
use crate::domain::value::Value;

/// Carries a record's cause, `offset:number`; what lies at or below the last one published is not published again.
pub const CAUSE_HEADER: &str = "evenkeel-cause";

/// What a record's [`CAUSE_HEADER`] says; `None` where it says nothing of the kind.
pub fn read_cause(text: &str) -> Option<Cause> {
    let (offset, number) = text.split_once(':')?;
    Some(Cause { offset: offset.parse().ok()?, number: number.parse().ok()? })
}

/// Which output topic a message goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Discrepancies,
    Open,
    Quarantine,
}

/// A message without its partition, which is that of the changes log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub output: Output,
    pub key: Option<String>,
    /// `None` is a null: nothing is open for the key any more.
    pub body: Option<Vec<u8>>,
    pub headers: Vec<(&'static str, String)>,
}

/// Writes a plan's records.
pub struct Renderer {
    /// For each source, how each kept column leaves the process.
    masks: Vec<Vec<Mask>>,
    /// For each rule, how each evidence column leaves the process: as the strictest of what it is made of.
    evidence_masks: Vec<Vec<Mask>>,
    mask_key: Box<[u8]>,
    form: Form,
}

impl Renderer {
    /// `masks[source][column]`; `mask_key` keys the hashes of hashed columns.
    pub fn new(plan: &Plan, masks: Vec<Vec<Mask>>, mask_key: Box<[u8]>) -> Renderer {
        let strictest = |origins: Vec<(usize, usize)>| {
            origins.into_iter().map(|(source, column)| masks[source][column]).max().unwrap_or(Mask::Show)
        };
        let of_rule = |rule: &Rule| rule.query.origins().into_iter().map(strictest).collect();
        let evidence_masks = plan.rules.iter().map(of_rule).collect();
        Renderer { masks, evidence_masks, mask_key, form: Form::Json }
    }

    /// Bodies in another form than JSON.
    pub fn in_form(self, form: Form) -> Renderer {
        Renderer { form, ..self }
    }

    /// The message of a record of one partition.
    pub fn message(&self, plan: &Plan, partition: i32, record: &Record) -> Message {
        let (output, key, body, mut headers) = match &record.content {
            Content::Discrepancy(discrepancy) => {
                let id = episode_id(plan, discrepancy, discrepancy.since);
                let kind = format!("evenkeel.discrepancy.{}", event_name(discrepancy.event));
                let headers = cloud_event(
                    plan,
                    format!("{id}/{}", discrepancy.revision),
                    kind,
                    discrepancy.at,
                    &discrepancy.key.0,
                );
                let body = self.event(plan, discrepancy);
                (Output::Discrepancies, Some(discrepancy.key.0.to_string()), Some(body), headers)
            }
            Content::Open { key, settled, open } => {
                let bodies: Vec<Json> = open.iter().map(|one| self.discrepancy(plan, one, "open").into()).collect();
                let body = json!({"reconciliation": &*plan.reconciliation, "key": &*key.0, "open": bodies});
                let id = causal_id(plan, partition, record.cause);
                let headers = cloud_event(plan, id, "evenkeel.open".into(), *settled, &key.0);
                (Output::Open, Some(key.0.to_string()), (!open.is_empty()).then_some(body), headers)
            }
            Content::Heartbeat { settled } => {
                let body = json!({
                    "type": "heartbeat",
                    "reconciliation": &*plan.reconciliation,
                    "partition": partition,
                    "settled_time": settled.to_string(),
                });
                let id = causal_id(plan, partition, record.cause);
                let headers = cloud_event(plan, id, "evenkeel.heartbeat".into(), *settled, &partition.to_string());
                (Output::Discrepancies, None, Some(body), headers)
            }
            Content::Source(notice) => {
                let (body, kind) = source_notice(plan, notice);
                let name = &plan.catalog.sources[notice.source].name;
                let headers =
                    cloud_event(plan, causal_id(plan, partition, record.cause), kind, notice.decided_at, name);
                (Output::Discrepancies, None, Some(body), headers)
            }
            Content::Quarantine(quarantined) => {
                let place = format!("{}:{}:{}", quarantined.topic, quarantined.partition, quarantined.offset);
                let id = causal_id(plan, partition, record.cause);
                let headers = cloud_event(plan, id, "evenkeel.quarantined".into(), quarantined.timestamp, &place);
                (Output::Quarantine, Some(place), Some(quarantine(plan, quarantined)), headers)
            }
        };
        let kind = kind(&record.content);
        headers.extend(self.form.headers(kind));
        headers.push((CAUSE_HEADER, format!("{}:{}", record.cause.offset, record.cause.number)));
        let body = body.map(|body| self.form.write(kind, &body));
        Message { output, key, body, headers }
    }

    /// Something in a discrepancy's life: the discrepancy, and when and why it happened.
    fn event(&self, plan: &Plan, discrepancy: &Discrepancy) -> Json {
        let mut body = self.discrepancy(plan, discrepancy, event_name(discrepancy.event));
        body.insert("at".to_owned(), discrepancy.at.to_string().into());
        let age = discrepancy.at.since(discrepancy.since) as f64 / 1e6;
        body.insert("age_seconds".to_owned(), json!(age));
        if let Event::Resolved(reason) = discrepancy.event {
            body.insert("reason".to_owned(), reason_name(reason).into());
        }
        body.into()
    }

    fn discrepancy(&self, plan: &Plan, discrepancy: &Discrepancy, kind: &str) -> Map<String, Json> {
        let mut body = Map::new();
        let mut put = |name: &str, value: Json| body.insert(name.to_owned(), value);
        let evidence = Evidence { renderer: self, plan, discrepancy };
        let rule = evidence.rule();
        put("id", episode_id(plan, discrepancy, discrepancy.since).into());
        put("revision", discrepancy.revision.into());
        put("type", kind.into());
        put("reconciliation", (*plan.reconciliation).into());
        put("rule", json!({"id": &*discrepancy.rule, "version": rule.map(|rule| &*rule.version)}));
        put("key", (*discrepancy.key.0).into());
        put("since", discrepancy.since.to_string().into());
        put("settled_time", discrepancy.settled.to_string().into());
        put("severity", evidence.severity().into());
        put("flap_count", discrepancy.flap_count.into());
        put("lineage", episode_id(plan, discrepancy, discrepancy.lineage).into());
        for name in ["amount_at_risk", "currency"] {
            if let Some(value) = evidence.named(name).filter(|value| !value.is_null()) {
                put(name, value);
            }
        }
        put("evidence", evidence.rows());
        put("evidence_types", evidence.types());
        let sides = plan.catalog.sources.iter().zip(&discrepancy.sides).enumerate();
        let side = |(source, (table, rows)): (usize, (&crate::domain::catalog::SourceTable, &Vec<SideRow>))| {
            let rows: Json = rows.iter().map(|row| self.side(source, &table.columns, row)).collect();
            (table.name.clone(), rows)
        };
        put("sides", Json::Object(sides.map(side).collect()));
        if let Some(rule) = rule {
            put("labels", json!(rule.labels));
            let filled = |(name, text): (&String, &String)| (name.clone(), evidence.fill(text).into());
            put("annotations", Json::Object(rule.annotations.iter().map(filled).collect()));
        }
        put("resolution_proposal", Json::Null);
        body
    }

    fn side(&self, source: usize, columns: &[Column], row: &SideRow) -> Json {
        json!({
            "columns": self.row(source, columns, &row.columns),
            "source_time": row.source_time.to_string(),
            "position": row.position,
            "topic": &*row.topic,
            "partition": row.partition,
            "offset": row.offset,
        })
    }

    /// A source's row as it may be shown, by the names of its columns.
    pub fn row(&self, source: usize, columns: &[Column], row: &[Value]) -> Map<String, Json> {
        shown(columns, row, |index, value| self.masked(&self.masks[source][index], value))
    }

    /// A row that a rule of the plan returned, as it may be shown.
    pub fn answer(&self, plan: &Plan, rule: usize, row: &[Value]) -> Map<String, Json> {
        let masks = &self.evidence_masks[rule];
        shown(plan.rules[rule].query.columns(), row, |index, value| self.masked(&masks[index], value))
    }

    /// A value as it may be shown; `None` where its column is dropped.
    fn masked(&self, mask: &Mask, value: &Value) -> Option<Json> {
        match mask {
            Mask::Show => Some(to_json(value)),
            Mask::Drop => None,
            _ if matches!(value, Value::Null | Value::Unknown) => Some(to_json(value)),
            Mask::Hide => Some("***".into()),
            Mask::Hash => {
                let mut hmac: Hmac<Sha256> =
                    Hmac::new_from_slice(&self.mask_key).expect("HMAC takes keys of every length");
                hmac.update(text_of(value).as_bytes());
                let digest = hmac.finalize().into_bytes();
                Some(
                    format!("hmac:{}", digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>())
                        .into(),
                )
            }
        }
    }
}

/// What a discrepancy rests on, as it may be shown. Nothing of a rule that is no longer configured: nobody can say
/// which of its columns were masked.
struct Evidence<'r> {
    renderer: &'r Renderer,
    plan: &'r Plan,
    discrepancy: &'r Discrepancy,
}

impl<'r> Evidence<'r> {
    fn rule(&self) -> Option<&'r Rule> {
        self.discrepancy.rule_index.map(|index| &self.plan.rules[index])
    }

    fn masks(&self) -> &'r [Mask] {
        self.discrepancy.rule_index.map_or(&[], |index| &*self.renderer.evidence_masks[index])
    }

    /// The output columns that may be shown in some way, each with its index.
    fn columns(&self) -> impl Iterator<Item = (usize, &'r Column)> {
        let columns = self.rule().map_or(&[][..], |rule| rule.query.columns());
        let masks = self.masks();
        columns.iter().enumerate().filter(|(index, _)| masks[*index] != Mask::Drop)
    }

    fn rows(&self) -> Json {
        let rows = self.discrepancy.rule_index.into_iter();
        let rows = rows.flat_map(|rule| self.discrepancy.evidence.iter().map(move |row| (rule, row)));
        rows.map(|(rule, row)| Json::Object(self.renderer.answer(self.plan, rule, row))).collect()
    }

    fn types(&self) -> Json {
        let ty = |(_, column): (usize, &Column)| (column.name.clone(), column.ty.to_string().into());
        Json::Object(self.columns().map(ty).collect())
    }

    /// The first row's value of a column.
    fn named(&self, name: &str) -> Option<Json> {
        let (index, _) = self.columns().find(|(_, column)| column.name == name)?;
        self.renderer.masked(&self.masks()[index], &self.discrepancy.evidence.first()?[index])
    }

    /// The loudest that applies: the last escalation said, else the evidence's own `severity`, else the rule's label.
    fn severity(&self) -> Option<String> {
        let rule = self.rule()?;
        let said = (self.discrepancy.escalated as usize).checked_sub(1).and_then(|step| rule.escalations.get(step));
        let own = || Some(self.named("severity")?.as_str()?.to_owned());
        said.map(|step| step.severity.to_string()).or_else(own).or_else(|| rule.labels.get("severity").cloned())
    }

    /// Fills `{{column}}` with the first row's values.
    fn fill(&self, template: &str) -> String {
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("{{") {
            text.push_str(before);
            let Some((name, tail)) = after.split_once("}}") else {
                text.push_str("{{");
                rest = after;
                continue;
            };
            match self.named(name.trim()) {
                Some(Json::String(shown)) => text.push_str(&shown),
                Some(shown) => text.push_str(&shown.to_string()),
                None => {}
            }
            rest = tail;
        }
        text + rest
    }
}

/// The values of a row that may be shown, by name.
fn shown(columns: &[Column], row: &[Value], mask: impl Fn(usize, &Value) -> Option<Json>) -> Map<String, Json> {
    let values = columns.iter().zip(row).enumerate();
    values.filter_map(|(index, (column, value))| Some((column.name.clone(), mask(index, value)?))).collect()
}

/// What a body's Avro schema is; `None` of what is always JSON.
fn kind(content: &Content) -> Option<Kind> {
    match content {
        Content::Discrepancy(_) => Some(Kind::Discrepancy),
        Content::Open { .. } => Some(Kind::Open),
        Content::Heartbeat { .. } => Some(Kind::Heartbeat),
        Content::Source(_) => Some(Kind::SourceNotice),
        Content::Quarantine(_) => None,
    }
}

fn source_notice(plan: &Plan, notice: &SourceNotice) -> (Json, String) {
    let kind = notice.news.name();
    let details = match &notice.news {
        SourceNews::Stalled | SourceNews::Recovered => json!({}),
        SourceNews::Gap { topic_partition: TopicPartition { topic, partition }, gap } => {
            let cause = gap.cause.name();
            let mut details =
                json!({"topic": &**topic, "partition": partition, "cause": cause, "found_offset": gap.found});
            if gap.expected >= 0 {
                details["expected_offset"] = gap.expected.into();
            }
            details
        }
        SourceNews::Acknowledged { topic_partition: TopicPartition { topic, partition } } => {
            json!({"topic": &**topic, "partition": partition})
        }
        SourceNews::Widened { topic, before, after } => {
            json!({"topic": &**topic, "partitions_before": before, "partitions": after})
        }
        SourceNews::Incomplete { transactions, missing, first } => {
            json!({"transactions": transactions, "missing": missing, "topic": &*first.table.1,
                "transaction": &*first.id, "ended_at": first.time.to_string(), "sent": first.sent,
                "arrived": first.arrived})
        }
        SourceNews::Unconfirmed { rows } => json!({"rows": rows}),
        SourceNews::Confirmed { rows, unseen } => json!({"rows": rows, "unseen": match unseen {
            Unseen::Gone => "gone",
            Unseen::Kept => "kept",
        }}),
    };
    let mut body = json!({
        "type": kind,
        "reconciliation": &*plan.reconciliation,
        "source": plan.catalog.sources[notice.source].name,
        "frontier": notice.frontier.map(|frontier| frontier.to_string()),
        "decided_at": notice.decided_at.to_string(),
    });
    if let (Some(body), Json::Object(details)) = (body.as_object_mut(), details) {
        body.extend(details);
    }
    (body, format!("evenkeel.{}", kind.replace('_', ".")))
}

fn quarantine(plan: &Plan, quarantined: &Quarantined) -> Json {
    use base64::Engine;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    json!({
        "reconciliation": &*plan.reconciliation,
        "source": plan.catalog.sources[quarantined.source].name,
        "topic": &*quarantined.topic,
        "partition": quarantined.partition,
        "offset": quarantined.offset,
        "timestamp": quarantined.timestamp.to_string(),
        "reason": &*quarantined.reason,
        "detail": &*quarantined.detail,
        "masked": quarantined.masked,
        "key_base64": quarantined.key.as_deref().map(encode),
        "value_base64": quarantined.value.as_deref().map(encode),
        "headers": quarantined.headers.iter().map(|header| json!({
            "name": &*header.name,
            "value_base64": header.value.as_deref().map(encode),
        })).collect::<Vec<_>>(),
    })
}

fn cloud_event(plan: &Plan, id: String, kind: String, time: Instant, subject: &str) -> Vec<(&'static str, String)> {
    vec![
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", id),
        ("ce_source", format!("/evenkeel/{}", plan.reconciliation)),
        ("ce_type", kind),
        ("ce_time", time.to_string()),
        ("ce_subject", subject.to_owned()),
    ]
}

fn causal_id(plan: &Plan, partition: i32, cause: Cause) -> String {
    format!("{}/{partition}/{}/{}", plan.reconciliation, cause.offset, cause.number)
}

/// An episode's id: a UUID (version 5) of what makes it the one that it is, so the same on every replay.
pub fn episode_id(plan: &Plan, discrepancy: &Discrepancy, since: Instant) -> String {
    let identity: Vec<String> = discrepancy.identity.iter().map(text_of).collect();
    let parts = [&*plan.reconciliation, &*discrepancy.rule, &*discrepancy.key.0, &identity.join("\0")];
    let name = format!("{}\0{}", parts.join("\0"), since.0);
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).to_string()
}

pub fn event_name(event: Event) -> &'static str {
    match event {
        Event::Opened => "opened",
        Event::Updated => "updated",
        Event::Escalated => "escalated",
        Event::Resolved(_) => "resolved",
    }
}

pub fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Converged => "converged",
        Reason::Deleted => "deleted",
        Reason::LateArrival => "late_arrival",
        Reason::RuleRemoved => "rule_removed",
    }
}

/// Integers are JSON numbers, decimals strings that keep every digit, moments RFC 3339.
fn to_json(value: &Value) -> Json {
    match value {
        Value::Unknown => json!({"unknown": true}),
        Value::Null => Json::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int(number) => (*number).into(),
        other => text_of(other).into(),
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Unknown => "unknown".to_owned(),
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Decimal(decimal) => decimal.to_plain_string(),
        Value::Text(text) => text.to_string(),
        Value::Json(text) => text.to_string(),
        Value::Bytes(bytes) => {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.encode(bytes)
        }
        Value::Timestamp(micros) => match *micros {
            i64::MAX => "infinity".to_owned(),
            i64::MIN => "-infinity".to_owned(),
            micros => Instant(micros).to_string(),
        },
        Value::Date(i32::MAX) => "infinity".to_owned(),
        Value::Date(i32::MIN) => "-infinity".to_owned(),
        Value::Date(days) => {
            let span = jiff::Span::new().try_days(*days);
            let date = span.and_then(|span| jiff::civil::date(1970, 1, 1).checked_add(span));
            date.map_or_else(|_| format!("{days} days"), |date| date.to_string())
        }
        Value::Time(micros) => {
            let time = jiff::civil::Time::midnight().checked_add(jiff::SignedDuration::from_micros(*micros));
            time.map_or_else(|_| format!("{micros}us"), |time| time.to_string())
        }
        Value::Uuid(bytes) => uuid::Uuid::from_bytes(*bytes).hyphenated().to_string(),
    }
}
