//! One record of the quarantine, whole, and what the configuration makes of it now.
//!
//! Must not know: why it was refused.

use std::fmt;

use serde_json::{Value as Json, json};

use super::{PATIENCE, Rejected, bytes, each, tell};
use crate::adapters::debezium::{Decoder, Event, Record, Refusal};
use crate::app::StageError;
use crate::app::settings::Settings;
use crate::app::sources::registry;

/// A record, and what is made of it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    rejected: Rejected,
    now: Now,
}

/// What the configuration makes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Now {
    Understood(String),
    Refused {
        reason: String,
        detail: String,
    },
    /// It is not whole, or its source is no more.
    Unknown(&'static str),
}

/// The record that came from a place such as `pay.pay.payments:1:42`; `None` where it is not in quarantine.
pub fn show(settings: &Settings, place: &str) -> Result<Option<Shown>, StageError> {
    let mut found = None;
    each(settings, |rejected| {
        if rejected.place() == place {
            found = Some(rejected);
        }
    })?;
    let Some(rejected) = found else { return Ok(None) };
    let now = judge(settings, &rejected)?;
    Ok(Some(Shown { rejected, now }))
}

fn judge(settings: &Settings, rejected: &Rejected) -> Result<Now, StageError> {
    if rejected.masked {
        return Ok(Now::Unknown("masked columns were blotted out of it; read it where it came from"));
    }
    let Some(source) = settings.sources.iter().find(|source| source.name == rejected.source) else {
        return Ok(Now::Unknown("the configuration has no such source any more"));
    };
    let (key, value) = (bytes(rejected.key_base64.as_ref()), bytes(rejected.value_base64.as_ref()));
    let headers: Vec<(&str, Vec<u8>)> = rejected
        .headers
        .iter()
        .filter_map(|header| Some((header.name.as_str(), bytes(header.value_base64.as_ref())?)))
        .collect();
    let find = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_slice());
    let timestamp = rejected.timestamp();
    let record = Record { key: key.as_deref(), value: value.as_deref(), timestamp, headers: &find };
    Ok(match Decoder::new(registry(settings)?).decode_in(&source.shape, record, PATIENCE) {
        Ok(Event::Nothing) => Now::Understood("it says nothing of a row".to_owned()),
        Ok(Event::Change(decoded)) => Now::Understood(tell(&source.shape, &decoded)),
        Err(Refusal { reason, detail }) => Now::Refused { reason: reason.to_owned(), detail },
    })
}

impl Shown {
    pub fn json(&self) -> Json {
        let Rejected { source, topic, partition, offset, timestamp, reason, detail, masked, .. } = &self.rejected;
        let now = match &self.now {
            Now::Understood(what) => json!({ "understood": what }),
            Now::Refused { reason, detail } => json!({ "reason": reason, "detail": detail }),
            Now::Unknown(why) => json!({ "unknown": why }),
        };
        let headers = self.rejected.headers.iter();
        let headers: Vec<Json> =
            headers.map(|header| json!({"name": header.name, "value_base64": header.value_base64})).collect();
        json!({
            "source": source, "topic": topic, "partition": partition, "offset": offset, "timestamp": timestamp,
            "reason": reason, "detail": detail, "masked": masked, "key_base64": self.rejected.key_base64,
            "value_base64": self.rejected.value_base64, "headers": headers, "now": now,
        })
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rejected = &self.rejected;
        writeln!(f, "{}, {}, source {}", rejected.place(), rejected.timestamp, rejected.source)?;
        writeln!(f, "{}: {}\n", rejected.reason, rejected.detail)?;
        writeln!(f, "key    {}", told(rejected.key_base64.as_ref()))?;
        writeln!(f, "value  {}", told(rejected.value_base64.as_ref()))?;
        for header in &rejected.headers {
            writeln!(f, "header {} {}", header.name, told(header.value_base64.as_ref()))?;
        }
        match &self.now {
            Now::Understood(what) => writeln!(f, "\nunderstood now: {what}"),
            Now::Refused { reason, detail } => writeln!(f, "\nrefused now: {reason}: {detail}"),
            Now::Unknown(why) => writeln!(f, "\nwhat is made of it now is not known: {why}"),
        }
    }
}

/// Text as it is, other bytes in hexadecimal, sixteen a line.
fn told(base64: Option<&String>) -> String {
    let Some(bytes) = bytes(base64) else { return "(none)".to_owned() };
    match std::str::from_utf8(&bytes) {
        Ok(text) if !text.contains(|c: char| c.is_control() && !c.is_whitespace()) => text.to_owned(),
        _ => {
            let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
            let lines: Vec<String> = bytes.chunks(16).map(line).collect();
            format!("{} bytes\n       {}", bytes.len(), lines.join("\n       "))
        }
    }
}
