//! Events that Debezium's `ExtractNewRecordState` has flattened: a row, and what `add.fields` adds to it.
//!
//! Must not know: formats, columns' types.

use super::atom::{Atom, Atoms, Fields};
use super::envelope::{Envelope, Source};
use super::shape::{Part, SourceShape};

/// Reads the row twice: what happened first, since of a row that is gone only its identity is believed. Without `op`
/// what is there is taken for an update, which says of a row the same as an insert. Gives `None` where there is no row: in
/// mode `tombstone` a delete keeps its value's schema, so that JSON's converter writes the text `null`.
pub fn change<'a, F, E>(
    shape: &SourceShape,
    read: impl Fn(Fields<'_, F>) -> Result<Option<Atoms<'a>>, E>,
) -> Result<Option<Envelope<'a>>, E> {
    let flattened = shape.connector.flattened.as_ref();
    let place = |name: &str| Some(*flattened?.fields.get(name)? as usize);
    let Some(source) = read(Source::fields(&place))? else { return Ok(None) };
    let mut source = Source::new(source);
    let op = if source.is_deleted() { "d".into() } else { source.take_op().unwrap_or("u".into()) };
    let part = if op == "d" { Part::Identity } else { Part::Whole };
    let row = read(Fields::new(shape.columns.len(), &|name| shape.column(part, name)))?;
    let (before, after) = if op == "d" { (row, None) } else { (None, row) };
    Ok(Some(Envelope { op, before, after, source }))
}

/// A header's value as Kafka Connect's `SimpleHeaderConverter` writes it: a text bare, all else as JSON.
pub fn header(bytes: &[u8]) -> Option<Atom<'_>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let json = serde_json::from_str::<&serde_json::value::RawValue>(text).ok();
    json.and_then(|raw| Atom::json(raw.get()).ok()).or(Some(Atom::Text(text.into())))
}
