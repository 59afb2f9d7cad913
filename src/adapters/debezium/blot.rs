//! Records without what may not be seen of them.
//!
//! Must not know: what a record means.

use super::shape::{ConnectorKind, SourceShape};

/// The bytes of an event with the values of masked columns blotted out, or `None` where nothing is masked. What is no
/// JSON object is blotted out whole: nobody can say where in it a masked value stands.
pub fn blot(shape: &SourceShape, bytes: &[u8]) -> Option<Vec<u8>> {
    if shape.shows_all() {
        return None;
    }
    let masked = (0..).zip(&shape.columns).filter(|(column, _)| !shape.shows(*column));
    let masked: Vec<&str> = masked.map(|(_, column)| column.name.as_str()).collect();
    let document = serde_json::from_slice::<serde_json::Value>(bytes).ok().filter(serde_json::Value::is_object);
    let Some(mut document) = document else {
        return Some(
            format!("({} bytes that are no JSON object, withheld: the source has masked columns)", bytes.len())
                .into(),
        );
    };
    // A bare key within the envelope of its schema, as ExtractField$Key leaves it.
    document.get_mut("payload").filter(|payload| !payload.is_object()).map(hide);
    // MySQL's and MariaDB's statement, values and all, where the connector has include.query=true.
    for place in ["/source/query", "/payload/source/query", "/iodebeziumquery", "/payload/iodebeziumquery"] {
        document.pointer_mut(place).map(hide);
    }
    // What another format wrote into a CloudEvent.
    for place in ["/data", "/payload/data"] {
        document.pointer_mut(place).filter(|data| data.is_string()).map(hide);
    }
    blot_in(&mut document, &masked);
    if shape.connector.kind == ConnectorKind::Mongodb {
        blot_texts(&mut document, &masked);
    }
    Some(document.to_string().into_bytes())
}

/// MongoDB's documents are JSON within texts; one that is none is withheld.
fn blot_texts(document: &mut serde_json::Value, masked: &[&str]) {
    match document {
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|value| blot_texts(value, masked)),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| blot_texts(item, masked)),
        serde_json::Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            match serde_json::from_str(text) {
                Ok(mut inner) => {
                    blot_in(&mut inner, masked);
                    *text = inner.to_string();
                }
                Err(_) => hide(document),
            }
        }
        _ => {}
    }
}

fn hide(value: &mut serde_json::Value) {
    if !value.is_null() {
        *value = "***".into();
    }
}

fn blot_in(document: &mut serde_json::Value, masked: &[&str]) {
    match document {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                if masked.contains(&name.as_str()) { hide(value) } else { blot_in(value, masked) }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| blot_in(item, masked)),
        _ => {}
    }
}
