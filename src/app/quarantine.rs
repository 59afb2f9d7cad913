//! `evenkeel quarantine`: what could not be understood, counted by reason; each record whole, with what is made of it now; and
//! the way out for what is understood by now.
//!
//! Must not know: how a record comes into quarantine (`app::understand`).

mod list;
mod requeue;
mod show;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

pub use self::list::{Listed, list};
pub use self::requeue::{Outcome, Requeued, requeue};
pub use self::show::{Shown, show};
use super::StageError;
use super::settings::Settings;
use crate::adapters::debezium::shape::SourceShape;
use crate::adapters::kafka::Properties;
use crate::adapters::kafka::stretch::Stretch;
use crate::domain::change::Operation;
use crate::domain::instant::Instant;
use crate::domain::sql::to_text;
use crate::domain::value::Value;
use crate::task::ingest::Decoded;

/// What is fetched ahead, bytes.
const FETCH: usize = 4 << 20;

/// How long a schema registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A record of the quarantine topic (`schemas/quarantine.schema.json`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Rejected {
    pub source: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: String,
    pub reason: String,
    pub detail: String,
    pub masked: bool,
    pub key_base64: Option<String>,
    pub value_base64: Option<String>,
    #[serde(default)]
    pub headers: Vec<RejectedHeader>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RejectedHeader {
    pub name: String,
    pub value_base64: Option<String>,
}

impl Rejected {
    /// Where it came from, as in `pay.pay.payments:1:42`.
    pub fn place(&self) -> String {
        format!("{}:{}:{}", self.topic, self.partition, self.offset)
    }

    /// Kafka's; the epoch where it is none.
    fn timestamp(&self) -> Instant {
        Instant(self.timestamp.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_microsecond))
    }
}

/// Bytes of a field in base64.
fn bytes(base64: Option<&String>) -> Option<Vec<u8>> {
    BASE64.decode(base64?).ok()
}

/// What a change says, in a line; masked columns are not shown.
fn tell(shape: &SourceShape, decoded: &Decoded) -> String {
    let values = |columns: &[usize], values: &[Value]| {
        let told = |column: usize, value| if shape.shows(column) { to_text(value) } else { "***".to_owned() };
        let pairs = columns.iter().zip(values);
        let pairs = pairs.map(|(column, value)| format!("{}={}", shape.columns[*column].name, told(*column, value)));
        pairs.collect::<Vec<_>>().join(" ")
    };
    match &decoded.change.operation {
        Operation::Delete { row } => format!("a delete of {}", values(&shape.primary_key, row)),
        Operation::Upsert { columns, .. } => {
            format!("a row: {}", values(&(0..columns.len()).collect::<Vec<_>>(), columns))
        }
    }
}

/// Hands over every record that is in quarantine now, partition by partition, in order.
fn each(settings: &Settings, mut take: impl FnMut(Rejected)) -> Result<(), StageError> {
    let properties = Properties::new(settings.kafka.clone());
    for partition in 0..settings.topics.partitions {
        let mut stretch = Stretch::open(&properties, &settings.topics.quarantine, partition, FETCH)?;
        while let Some(stored) = stretch.read()? {
            let rejected = stored.value.and_then(|value| serde_json::from_slice(&value).ok());
            match rejected {
                Some(rejected) => take(rejected),
                None => {
                    tracing::warn!(partition, offset = stored.offset, "the quarantine topic holds something else")
                }
            }
        }
    }
    Ok(())
}

/// What may be left out of a list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub source: Option<Arc<str>>,
    pub reason: Option<Arc<str>>,
}

impl Filter {
    pub fn wants(&self, rejected: &Rejected) -> bool {
        self.source.as_deref().is_none_or(|source| source == rejected.source)
            && self.reason.as_deref().is_none_or(|reason| reason == rejected.reason)
    }
}
