//! Values of MongoDB's documents, which are Extended JSON: types that JSON has not are objects with one `$` field.
//!
//! Must not know: columns' types. Source: MongoDB Extended JSON v2, both its relaxed and its canonical form, and v1's
//! `$date` in milliseconds, which Debezium writes.

use serde_json::Value as Json;

use super::atom::Atom;
use super::schema::{Encoding, Unit};

/// What a value is without its wrapper, and how it is encoded where that is known from the wrapper.
pub fn plain(atom: &Atom<'_>) -> Option<(Atom<'static>, Option<Encoding>)> {
    let Atom::Other(raw) = atom else { return None };
    let Ok(Json::Object(fields)) = serde_json::from_str(raw) else { return None };
    let (name, value) = fields.iter().next().filter(|_| fields.len() == 1)?;
    let text = || value.as_str().map(|text| Atom::Text(text.to_owned().into()));
    let number = |value: &Json| match value {
        Json::Number(number) => Some(Atom::Number(number.to_string().into())),
        Json::String(text) => Some(Atom::Number(text.clone().into())),
        _ => None,
    };
    let atom = match name.as_str() {
        "$oid" | "$uuid" | "$symbol" => text()?,
        "$numberLong" | "$numberInt" | "$numberDecimal" | "$numberDouble" => number(value)?,
        "$date" => match value {
            Json::String(_) => text()?,
            Json::Object(inner) => {
                return Some((number(inner.get("$numberLong")?)?, Some(Encoding::Moment(Unit::Millis))));
            }
            _ => return Some((number(value)?, Some(Encoding::Moment(Unit::Millis)))),
        },
        "$binary" => match value {
            Json::Object(inner) => Atom::Text(inner.get("base64")?.as_str()?.to_owned().into()),
            _ => return None,
        },
        _ => return None,
    };
    let encoding = if name == "$binary" { Encoding::Bytes } else { Encoding::Plain };
    Some((atom, Some(encoding)))
}
