//! Connect's JSON schema of an event, reduced to what decoding each kept column needs.
//!
//! Must not know: values. Semantic types: Debezium's `io.debezium.time.*`, Kafka Connect's
//! `org.apache.kafka.connect.data.*`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::shape::SourceShape;
use super::{Refusal, envelope};

/// How a column's value is encoded, as its schema says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The schema says nothing beyond the JSON type.
    Plain,
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

/// For each kept column, its encoding; `None` where the schema does not have the column.
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
            self.encodings = read(schema.get(), shape)?;
            self.text = schema.get().into();
        }
        Ok(&self.encodings)
    }
}

fn read(text: &str, shape: &SourceShape) -> Result<Encodings, Refusal> {
    let root: Node<'_> = serde_json::from_str(text).map_err(|error| {
        Refusal::new("bad_schema", format!("in schema: {}", envelope::told(&error, shape.shows_all())))
    })?;
    let rows = ["after", "before"];
    let row = rows.iter().find_map(|name| root.fields.iter().find(|node| node.field.as_deref() == Some(name)));
    let row = row.ok_or_else(|| Refusal::new("bad_schema", "the schema has neither \"after\" nor \"before\""))?;
    let find = |name: &str| row.fields.iter().find(|node| node.field.as_deref() == Some(name));
    shape.columns.iter().map(|column| find(&column.name).map(encoding).transpose()).collect()
}

fn encoding(node: &Node<'_>) -> Result<Encoding, Refusal> {
    let Some(name) = node.name.as_deref() else {
        return Ok(if matches!(&*node.kind, "double" | "float") { Encoding::Double } else { Encoding::Plain });
    };
    Ok(match name {
        "org.apache.kafka.connect.data.Decimal" => {
            let scale = node.parameters.get("scale").and_then(|scale| scale.parse().ok());
            let scale = scale.ok_or_else(|| Refusal::new("bad_schema", "a Decimal without a usable scale"))?;
            Encoding::Decimal { scale }
        }
        "io.debezium.data.VariableScaleDecimal" => Encoding::VariableScaleDecimal,
        "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => Encoding::Moment(Unit::Millis),
        "io.debezium.time.MicroTimestamp" => Encoding::Moment(Unit::Micros),
        "io.debezium.time.NanoTimestamp" => Encoding::Moment(Unit::Nanos),
        "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" => Encoding::TimeOfDay(Unit::Millis),
        "io.debezium.time.MicroTime" => Encoding::TimeOfDay(Unit::Micros),
        "io.debezium.time.NanoTime" => Encoding::TimeOfDay(Unit::Nanos),
        "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" => Encoding::Days,
        _ => Encoding::Plain,
    })
}
