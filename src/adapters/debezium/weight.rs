//! Avro schemas that stand for more than they say.
//!
//! Must not know: what a schema is for. What takes no byte of a datum (a null, a record of nulls) takes time all the same, also
//! where a schema is made ready: a record that holds another twice, which holds another twice, and so on, is soon read for
//! years. No converter writes what is refused here: what may be null is a union, which takes a byte.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// More parts that take no byte are refused in one record; it is one itself, and so is each record that it holds.
const FREE: u64 = 64;

/// What reading one thing comes to.
#[derive(Clone, Copy)]
struct Weight {
    /// Parts that are read without a byte.
    free: u64,
    takes_bytes: bool,
}

/// Whatever begins with a byte, or is weighed by itself.
const OPAQUE: Weight = Weight { free: 0, takes_bytes: true };

/// What takes no byte.
const NOTHING: Weight = Weight { free: 1, takes_bytes: false };

/// Refuses a schema that stands for too much; gives why.
pub fn bounded(document: &Json) -> Result<(), &'static str> {
    let mut scale = Scale::default();
    scale.name(document);
    scale.walk(document)
}

#[derive(Default)]
struct Scale<'s> {
    /// Named types by the last part of their names: where two namespaces share one, the heavier counts.
    named: BTreeMap<&'s str, Vec<&'s Json>>,
    /// Records that were weighed, by where they stand.
    known: BTreeMap<*const Json, Weight>,
}

/// The types that a type is made of, each with whether it is a list's item.
fn parts(node: &Json) -> impl Iterator<Item = (&Json, bool)> {
    let branches = node.as_array().into_iter().flatten();
    let fields =
        node.get("fields").and_then(Json::as_array).into_iter().flatten().filter_map(|field| field.get("type"));
    let inner = ["type", "values"].into_iter().filter_map(|part| node.get(part)).filter(|part| !part.is_string());
    let items = node.get("items").into_iter().map(|items| (items, true));
    branches.chain(fields).chain(inner).map(|part| (part, false)).chain(items)
}

impl<'s> Scale<'s> {
    fn name(&mut self, node: &'s Json) {
        if let Some(name) = node.get("name").and_then(Json::as_str) {
            self.named.entry(last(name)).or_default().push(node);
        }
        parts(node).for_each(|(part, _)| self.name(part));
    }

    fn walk(&mut self, node: &'s Json) -> Result<(), &'static str> {
        if self.weigh(node, 0)?.free > FREE {
            return Err("a record of it has too many parts that take no bytes");
        }
        for (part, is_item) in parts(node) {
            if is_item && !self.weigh(part, 0)?.takes_bytes {
                return Err("the items of an array of it take no bytes");
            }
            self.walk(part)?;
        }
        Ok(())
    }

    /// `depth` is how many records it is within.
    fn weigh(&mut self, node: &'s Json, depth: u64) -> Result<Weight, &'static str> {
        let kind = if node.is_string() { node } else { &node["type"] };
        match kind.as_str() {
            Some("null") => Ok(NOTHING),
            Some("fixed") if node["size"].as_u64() == Some(0) => Ok(NOTHING),
            Some("record") if node.is_object() => self.weigh_record(node, depth),
            Some("boolean" | "int" | "long" | "float" | "double" | "bytes" | "string" | "fixed" | "enum") => {
                Ok(OPAQUE)
            }
            Some(name) => {
                let mut heaviest = OPAQUE;
                for named in self.named.get(last(name)).cloned().unwrap_or_default() {
                    let weight = self.weigh(named, depth + 1)?;
                    heaviest.free = heaviest.free.max(weight.free);
                    heaviest.takes_bytes &= weight.takes_bytes;
                }
                Ok(heaviest)
            }
            None if kind.is_object() => self.weigh(kind, depth + 1),
            None => Ok(OPAQUE),
        }
    }

    fn weigh_record(&mut self, record: &'s Json, depth: u64) -> Result<Weight, &'static str> {
        if let Some(weight) = self.known.get(&(record as *const Json)) {
            return Ok(*weight);
        }
        if depth > FREE {
            return Err("its records are nested too deeply, or hold themselves");
        }
        let mut weight = NOTHING;
        for field in record["fields"].as_array().into_iter().flatten() {
            let part = self.weigh(&field["type"], depth + 1)?;
            weight.free = weight.free.saturating_add(part.free);
            weight.takes_bytes |= part.takes_bytes;
        }
        self.known.insert(record, weight);
        Ok(weight)
    }
}

fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::bounded;

    fn told(schema: &str) -> Result<(), &'static str> {
        bounded(&serde_json::from_str(schema).expect("a schema is JSON"))
    }

    #[test]
    fn what_stands_for_too_much_is_refused() {
        let record = |name: &str, fields: &str| format!(r#"{{"type":"record","name":"{name}","fields":[{fields}]}}"#);
        let mut bomb = record("a.r0", r#"{"name":"a","type":"null"}"#);
        for depth in 1..8 {
            let fields = format!(r#"{{"name":"a","type":{bomb}}},{{"name":"b","type":"r{}"}}"#, depth - 1);
            bomb = record(&format!("a.r{depth}"), &fields);
        }
        let too_many = Err("a record of it has too many parts that take no bytes");
        assert_eq!(told(&bomb), too_many);
        let wide = record("w", &[r#"{"name":"a","type":"null"}"#; 70].join(","));
        let nulls = format!(r#"{{"name":"n","type":["null",{wide}]}}"#);
        assert_eq!(told(&record("r", &nulls)), too_many, "also where it may be left out");
        let itself = Err("its records are nested too deeply, or hold themselves");
        assert_eq!(told(&record("r", r#"{"name":"a","type":"r"}"#)), itself);
        let empty = Err("the items of an array of it take no bytes");
        for item in [
            r#""null""#,
            r#"{"type":"fixed","size":0,"name":"f"}"#,
            &record("e", ""),
            &record("n", r#"{"name":"a","type":"null"}"#),
        ] {
            assert_eq!(told(&format!(r#"{{"type":"array","items":{item}}}"#)), empty, "{item}");
        }
        let apart = r#"{"name":"a","type":{"type":"fixed","size":0,"name":"f"}},{"name":"b","type":{"type":"array","items":"f"}}"#;
        assert_eq!(told(&record("r", apart)), empty, "also where its name stands for it");
    }

    #[test]
    fn what_converters_write_is_not() {
        let list = r#"{"type":"record","name":"r","fields":[{"name":"a","type":{"type":"array","items":"r"}}]}"#;
        assert_eq!(told(list), Ok(()), "a list of itself takes a byte for each");
        for file in [
            include_str!("../../../tests/fixtures/debezium/forms.schemas.json"),
            include_str!("../../../tests/fixtures/debezium/avro-schemas.json"),
        ] {
            let schemas: serde_json::Map<String, serde_json::Value> = serde_json::from_str(file).expect("JSON");
            for (id, schema) in &schemas {
                assert_eq!(bounded(schema), Ok(()), "{id}");
            }
        }
    }
}
