//! How values are encoded, as an event's schema says; Connect's JSON schema reduced to that (Avro's: `avro`).
//!
//! Must not know: values. Semantic types: Debezium's `io.debezium.time.*`, Kafka Connect's
//! `org.apache.kafka.connect.data.*`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::shape::SourceShape;
use super::{Refusal, json};

/// How a column's value is encoded, as its schema says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The schema says nothing beyond the type that the format has itself.
    Plain,
    /// Bytes, which in JSON are base64.
    Bytes,
    /// Connect's Decimal: base64 of big-endian two's complement with this scale, or a JSON number.
    Decimal {
        /// Negative where PostgreSQL rounds before the point.
        scale: i32,
    },
    /// Debezium's `{"scale": …, "value": base64}`.
    VariableScaleDecimal,
    /// A JSON number from a binary floating point column.
    Double,
    /// Since the epoch.
    Moment(Unit),
    /// Since midnight.
    TimeOfDay(Unit),
    /// Since the epoch.
    Days,
}

/// What a number of a moment or of a time of day counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// For each kept column, its encoding; `None` where nobody says: then it is what the connector's default settings make it.
pub type Encodings = Vec<Option<Encoding>>;

/// The last schema seen, which is nearly always the next one too.
#[derive(Default)]
pub struct SchemaCache {
    text: Box<str>,
    encodings: Encodings,
}

#[derive(Deserialize)]
struct Node<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    field: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    #[serde(default)]
    fields: Vec<Node<'a>>,
}

impl SchemaCache {
    pub fn get(&mut self, schema: &RawValue, shape: &SourceShape) -> Result<&Encodings, Refusal> {
        if *self.text != *schema.get() {
            self.text = Box::default();
            self.encodings = read(schema.get(), shape)?;
            self.text = schema.get().into();
        }
        Ok(&self.encodings)
    }
}

fn read(text: &str, shape: &SourceShape) -> Result<Encodings, Refusal> {
    let root: Node<'_> = serde_json::from_str(text).map_err(|error| {
        Refusal::new("bad_schema", format!("in schema: {}", json::told(&error, shape.shows_all())))
    })?;
    let rows = ["after", "before"];
    let row = rows.iter().find_map(|name| root.fields.iter().find(|node| node.field.as_deref() == Some(name)));
    let row = match (&shape.connector.flattened, row) {
        (Some(_), _) => &root,
        (None, Some(row)) => row,
        (None, None) => return Err(Refusal::new("bad_schema", "the schema has neither \"after\" nor \"before\"")),
    };
    let find = |name: &str| row.fields.iter().find(|node| node.field.as_deref() == Some(name));
    let encoding = |name: &str| find(name).map_or(Ok(Encoding::Plain), of_node).map(Some);
    shape.columns.iter().map(|column| encoding(&column.name)).collect()
}

fn of_node(node: &Node<'_>) -> Result<Encoding, Refusal> {
    let scale = || node.parameters.get("scale").and_then(|scale| scale.parse().ok());
    encoding(node.name.as_deref(), &node.kind, scale)
}

/// Of a semantic type's name, the format's own type, and a decimal's scale.
pub fn encoding(name: Option<&str>, kind: &str, scale: impl Fn() -> Option<i32>) -> Result<Encoding, Refusal> {
    Ok(match (name.unwrap_or_default(), kind) {
        ("org.apache.kafka.connect.data.Decimal", _) => {
            let scale = scale().ok_or_else(|| Refusal::new("bad_schema", "a Decimal without a usable scale"))?;
            Encoding::Decimal { scale }
        }
        ("io.debezium.data.VariableScaleDecimal", _) => Encoding::VariableScaleDecimal,
        ("io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp", _) => {
            Encoding::Moment(Unit::Millis)
        }
        ("io.debezium.time.MicroTimestamp", _) => Encoding::Moment(Unit::Micros),
        ("io.debezium.time.NanoTimestamp", _) => Encoding::Moment(Unit::Nanos),
        ("io.debezium.time.Time" | "org.apache.kafka.connect.data.Time", _) => Encoding::TimeOfDay(Unit::Millis),
        ("io.debezium.time.MicroTime", _) => Encoding::TimeOfDay(Unit::Micros),
        ("io.debezium.time.NanoTime", _) => Encoding::TimeOfDay(Unit::Nanos),
        ("io.debezium.time.Date" | "org.apache.kafka.connect.data.Date", _) => Encoding::Days,
        ("", "double" | "float") => Encoding::Double,
        ("", "bytes") => Encoding::Bytes,
        _ => Encoding::Plain,
    })
}
