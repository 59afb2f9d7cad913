//! JSON records: Debezium's envelope with and without Connect's schema, within a CloudEvent, or flattened; and keys.
//!
//! Must not know: columns' types, what a position means. Sources: Kafka Connect's `JsonConverter`, Debezium's
//! `CloudEventsConverter` and `ExtractNewRecordState`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny};
use serde_json::value::RawValue;

use super::atom::{Atom, Atoms, Fields, Json, Text};
use super::envelope::{Envelope, PartsSeed, Source};
use super::shape::SourceShape;
use super::{Refusal, flattened};

/// A record's value, taken apart as far as JSON alone allows it.
pub struct Event<'a> {
    pub schema: Option<&'a RawValue>,
    pub is_cloud_event: bool,
    pub body: Body<'a>,
}

pub enum Body<'a> {
    Change(Envelope<'a>),
    /// Of flattened events: no row.
    Gone,
    /// A CloudEvent whose data is base64 of what another format wrote.
    Wrapped {
        source: Source<'a>,
        data: Cow<'a, str>,
    },
}

/// Parses a record's value.
pub fn event<'a>(shape: &SourceShape, bytes: &'a [u8]) -> Result<Event<'a>, Refusal> {
    let quote = shape.shows_all();
    let text = text(bytes)?;
    if shape.connector.flattened.is_some() {
        let (schema, row) = unwrapped(text);
        let read = |fields: Fields<'_, Json>| whole(row, fields);
        let envelope = flattened::change(shape, read).map_err(|error| not_debezium(&error, quote))?;
        return Ok(Event { schema, is_cloud_event: false, body: envelope.map_or(Body::Gone, Body::Change) });
    }
    let parts = parts(shape, text).map_err(|error| not_debezium(&error, quote))?;
    let (schema, parts) = match parts.payload {
        Some(payload) => (parts.schema, within(shape, "payload", payload)?),
        None => (None, parts),
    };
    if parts.is_cloud_event {
        return cloud_event(shape, parts);
    }
    let envelope = Envelope::of(parts).map_err(|refusal| by_name(text, refusal))?;
    Ok(Event { schema, is_cloud_event: false, body: Body::Change(envelope) })
}

/// What is no change event may be another record of Debezium's, as where a pattern of topics matches too many.
fn by_name(text: &str, refusal: Refusal) -> Refusal {
    let Ok(fields) = serde_json::from_str::<BTreeMap<&str, IgnoredAny>>(unwrapped(text).1) else { return refusal };
    let has = |name: &str| fields.contains_key(name);
    let what = if has("ddl") || has("tableChanges") {
        "a schema change"
    } else if has("status") && (has("event_count") || has("data_collections")) {
        "a transaction's beginning or end; its topic belongs into the connector's transactions"
    } else if has("aggregate_type") {
        "a notification"
    } else if has("ts_ms") && fields.len() == 1 {
        "a heartbeat of the connector's own, which proves nothing"
    } else {
        return refusal;
    };
    Refusal::new("not_debezium", format!("no change event, but {what}: does topic_pattern match too many topics?"))
}

/// The fields of a key that `place` knows. A bare value, as `ExtractField$Key` leaves it, is at the place `bare`.
pub fn key<'a>(
    bytes: &'a [u8],
    places: usize,
    place: &dyn Fn(&str) -> Option<usize>,
    bare: usize,
) -> Result<(Option<&'a RawValue>, Option<Atoms<'a>>), Refusal> {
    let (schema, key) = unwrapped(text(bytes)?);
    let bad = |error| not_debezium(&error, false);
    if !key.trim_start().starts_with('{') {
        let raw: &RawValue = serde_json::from_str(key).map_err(bad)?;
        let mut atoms = vec![None; places];
        atoms[bare] = Some(Atom::json(raw.get()).map_err(bad)?);
        return Ok((schema, Some(atoms)));
    }
    let fields = Fields::<Json>::new(places, place);
    Ok((schema, whole(key, fields).map_err(bad)?))
}

fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|error| Refusal::new("not_json", error.to_string()))
}

fn not_debezium(error: &serde_json::Error, quote: bool) -> Refusal {
    // What parses, but into something else, is JSON.
    let reason = if error.is_data() { "not_debezium" } else { "not_json" };
    Refusal::new(reason, told(error, quote))
}

/// A record of a connector's own: nothing of it is masked.
pub fn own<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Refusal> {
    let (_, own) = unwrapped(text(bytes)?);
    serde_json::from_str(own).map_err(|error| not_debezium(&error, true))
}

/// What stands beside its schema, where that is all there is.
fn unwrapped(text: &str) -> (Option<&RawValue>, &str) {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wrapper<'a> {
        #[serde(borrow)]
        schema: &'a RawValue,
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    match serde_json::from_str::<Wrapper<'_>>(text) {
        Ok(Wrapper { schema, payload }) => (present(schema), payload.get()),
        Err(_) => (None, text),
    }
}

fn within<'a>(shape: &SourceShape, what: &str, raw: &'a RawValue) -> Result<Parts<'a>, Refusal> {
    parts(shape, raw.get())
        .map_err(|error| Refusal::new("not_debezium", format!("in {what}: {}", told(&error, shape.shows_all()))))
}

/// Debezium writes what would be in `source` into attributes, as text.
fn cloud_event<'a>(shape: &SourceShape, parts: Parts<'a>) -> Result<Event<'a>, Refusal> {
    let source = Source::new(parts.attributes);
    let Some(data) = parts.data else { return Err(Refusal::new("no_row", "a CloudEvent without \"data\"")) };
    if data.get().starts_with('"') {
        let text: Text<'_> =
            serde_json::from_str(data.get()).map_err(|error| not_debezium(&error, shape.shows_all()))?;
        return Ok(Event { schema: None, is_cloud_event: true, body: Body::Wrapped { source, data: text.0 } });
    }
    let mut inner = within(shape, "data", data)?;
    let mut schema = None;
    if let Some(payload) = inner.payload {
        schema = inner.schema;
        inner = within(shape, "data's payload", payload)?;
    }
    let envelope = Envelope::within(source, [inner.before, inner.after])?;
    Ok(Event { schema, is_cloud_event: true, body: Body::Change(envelope) })
}

/// The parser's words. About a value of a wrong type they quote the value, so where that may not be they are not used.
pub fn told(error: &serde_json::Error, quote: bool) -> String {
    if quote || !error.is_data() {
        return error.to_string();
    }
    format!("something has another type than expected at line {} column {}", error.line(), error.column())
}

type Parts<'a> = super::envelope::Parts<'a, &'a RawValue>;

fn parts<'a>(shape: &SourceShape, text: &'a str) -> Result<Parts<'a>, serde_json::Error> {
    whole(text, PartsSeed::<Json>::new(shape))
}

/// Reads all of a text.
fn whole<'a, S: DeserializeSeed<'a>>(text: &'a str, seed: S) -> Result<S::Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

fn present(raw: &RawValue) -> Option<&RawValue> {
    (raw.get() != "null").then_some(raw)
}
