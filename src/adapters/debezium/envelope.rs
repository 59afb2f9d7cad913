//! The envelope of a change event: which parts it has, found in one pass over the JSON text.
//!
//! Must not know: columns and their types (`value`), what a position means (`position`).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Refusal;

/// A record's value: with `schemas.enable=true` the schema stands beside the payload.
pub struct Payload<'a> {
    pub schema: Option<&'a RawValue>,
    pub envelope: Envelope<'a>,
}

/// Debezium's envelope, rows still as text.
pub struct Envelope<'a> {
    pub op: Cow<'a, str>,
    pub before: Option<&'a RawValue>,
    pub after: Option<&'a RawValue>,
    pub source: Source<'a>,
    /// Which transaction the event belongs to, where `provide.transaction.metadata=true`.
    pub transaction: Option<Transaction<'a>>,
}

/// The part of the `transaction` block that is used.
#[derive(Deserialize)]
pub struct Transaction<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
}

/// The parts of the `source` block that are used. Fields differ between connectors.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Source<'a> {
    pub ts_ms: Option<i64>,
    pub ts_us: Option<i64>,
    /// A string enum, though older versions wrote a boolean; null where `replace.null.with.default=false`.
    #[serde(borrow)]
    pub snapshot: Option<&'a RawValue>,
    #[serde(borrow)]
    pub sequence: Option<Text<'a>>,
    #[serde(rename = "txId")]
    pub tx_id: Option<u64>,
    pub lsn: Option<u64>,
    #[serde(borrow)]
    pub gtid: Option<Text<'a>>,
    #[serde(borrow)]
    pub file: Option<Text<'a>>,
    pub pos: Option<u64>,
    pub row: Option<u64>,
}

impl Source<'_> {
    /// True for rows that an incremental snapshot read in between streamed ones.
    pub fn is_incremental(&self) -> bool {
        self.snapshot.is_some_and(|snapshot| snapshot.get() == "\"incremental\"")
    }

    /// True for rows of a snapshot of any kind, incremental ones too.
    pub fn is_snapshot(&self) -> bool {
        !matches!(self.snapshot.map(RawValue::get), None | Some("false" | "\"false\""))
    }
}

/// Parses a record's value. `quote` says whether a refusal may quote it.
pub fn parse(bytes: &[u8], quote: bool) -> Result<Payload<'_>, Refusal> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Refusal::new("not_json", format!("{error}{}", likeness(bytes))))?;
    let parts: Parts<'_> = serde_json::from_str(text).map_err(|error| {
        // What parses, but into something else, is JSON.
        let reason = if error.is_data() { "not_debezium" } else { "not_json" };
        Refusal::new(reason, format!("{}{}", told(&error, quote), likeness(bytes)))
    })?;
    let (schema, parts) = match parts.payload {
        Some(payload) => {
            let inner: Result<Parts<'_>, _> = serde_json::from_str(payload.get());
            let inner = inner
                .map_err(|error| Refusal::new("not_debezium", format!("in payload: {}", told(&error, quote))))?;
            (parts.schema, inner)
        }
        None => (None, parts),
    };
    let (Some(op), Some(source)) = (parts.op, parts.source) else {
        let reason = "a change event has \"op\" and \"source\"; is this topic flattened, or another producer's?";
        return Err(Refusal::new("not_debezium", reason));
    };
    Ok(Payload {
        schema,
        envelope: Envelope { op, before: parts.before, after: parts.after, source, transaction: parts.transaction },
    })
}

/// The parser's words. About a value of a wrong type they quote the value, so where that may not be they are not used.
pub fn told(error: &serde_json::Error, quote: bool) -> String {
    if quote || !error.is_data() {
        return error.to_string();
    }
    format!("something has another type than expected at line {} column {}", error.line(), error.column())
}

/// Says what the bytes look like instead.
fn likeness(bytes: &[u8]) -> &'static str {
    match bytes {
        [0 | 1, ..] => "; it begins like Avro or Protobuf with a schema registry: use JsonConverter",
        _ if bytes.starts_with(b"Struct{") => "; it is a Java Struct printed by StringConverter: use JsonConverter",
        _ if bytes.windows(13).any(|part| part == b"\"specversion\"") => {
            "; it looks like a CloudEvent: use JsonConverter"
        }
        _ => "",
    }
}

#[derive(Default)]
struct Parts<'a> {
    schema: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
    op: Option<Cow<'a, str>>,
    before: Option<&'a RawValue>,
    after: Option<&'a RawValue>,
    source: Option<Source<'a>>,
    transaction: Option<Transaction<'a>>,
}

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PartsVisitor)
    }
}

struct PartsVisitor;

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a change event, which is a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts<'de>, A::Error> {
        let mut parts = Parts::default();
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "schema" => parts.schema = present(map.next_value()?),
                "payload" => parts.payload = present(map.next_value()?),
                "before" => parts.before = present(map.next_value()?),
                "after" => parts.after = present(map.next_value()?),
                "op" => parts.op = map.next_value::<Option<Text<'de>>>()?.map(|op| op.0),
                "source" => parts.source = map.next_value()?,
                "transaction" => parts.transaction = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(parts)
    }
}

fn present(raw: &RawValue) -> Option<&RawValue> {
    (raw.get() != "null").then_some(raw)
}

/// A string, borrowed unless it has escapes.
#[derive(Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);
