//! What a schema makes of JSON: moments are numbers in Avro and texts in JSON, and a field that JSON leaves out is null in
//! Avro and has null for its default.
//!
//! Must not know: which schemas there are.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error, SerializeMap, SerializeSeq, Serializer};
use serde::{Serialize, ser};
use serde_json::{Map, Number, Value as Json};

use crate::domain::instant::Instant;

/// A type, as far as JSON cares.
#[derive(Clone, Debug)]
pub enum Shape {
    Null,
    Boolean,
    Whole,
    Double,
    Text,
    Instant,
    List(Box<Shape>),
    Map(Box<Shape>),
    Record(Arc<[Field]>),
    OneOf(Vec<Shape>),
}

#[derive(Clone, Debug)]
pub struct Field {
    name: String,
    shape: Shape,
    /// True where JSON leaves it out instead of saying null.
    may_be_absent: bool,
}

impl Shape {
    /// Reads one of our own schemas.
    pub fn of(document: &Json) -> Shape {
        parse(document, &mut BTreeMap::new())
    }

    /// Of several types the one that fits, else the type itself.
    fn that(&self, fits: impl Fn(&Shape) -> bool) -> Option<&Shape> {
        match self {
            Shape::OneOf(branches) => branches.iter().find(|branch| fits(branch)),
            shape => fits(shape).then_some(shape),
        }
    }

    fn fits(&self, json: &Json) -> bool {
        match json {
            Json::Null => matches!(self, Shape::Null),
            Json::Bool(_) => matches!(self, Shape::Boolean),
            Json::Number(_) => matches!(self, Shape::Whole | Shape::Double),
            Json::String(_) => matches!(self, Shape::Text | Shape::Instant),
            Json::Array(_) => matches!(self, Shape::List(_)),
            Json::Object(_) => matches!(self, Shape::Map(_) | Shape::Record(_)),
        }
    }
}

fn parse(node: &Json, known: &mut BTreeMap<String, Shape>) -> Shape {
    if let Some(branches) = node.as_array() {
        return Shape::OneOf(branches.iter().map(|branch| parse(branch, known)).collect());
    }
    let kind = node.as_str().or(node["type"].as_str()).expect("a type has a name");
    match kind {
        "null" => Shape::Null,
        "boolean" => Shape::Boolean,
        "long" if node["logicalType"] == "timestamp-micros" => Shape::Instant,
        "int" | "long" => Shape::Whole,
        "double" => Shape::Double,
        "string" => Shape::Text,
        "array" => Shape::List(Box::new(parse(&node["items"], known))),
        "map" => Shape::Map(Box::new(parse(&node["values"], known))),
        "record" => {
            let field = |field: &Json| Field {
                name: field["name"].as_str().expect("a field has a name").to_owned(),
                shape: parse(&field["type"], known),
                may_be_absent: field.get("default").is_some_and(Json::is_null),
            };
            let fields = node["fields"].as_array().expect("a record has fields");
            let record = Shape::Record(fields.iter().map(field).collect());
            known.insert(node["name"].as_str().expect("a record has a name").to_owned(), record.clone());
            record
        }
        name => known.get(name).unwrap_or_else(|| panic!("our schemas know {name}")).clone(),
    }
}

/// A JSON value, to be written as a type.
pub struct Written<'a>(pub &'a Shape, pub &'a Json);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let misfit = || S::Error::custom(format!("{} where {:?} should be", self.1, self.0));
        match (self.0.that(|shape| shape.fits(self.1)).ok_or_else(misfit)?, self.1) {
            (Shape::Boolean, Json::Bool(truth)) => serializer.serialize_bool(*truth),
            (Shape::Whole, Json::Number(number)) => serializer.serialize_i64(number.as_i64().ok_or_else(misfit)?),
            (Shape::Double, Json::Number(number)) => serializer.serialize_f64(number.as_f64().ok_or_else(misfit)?),
            (Shape::Text, Json::String(text)) => serializer.serialize_str(text),
            (Shape::Instant, Json::String(text)) => {
                let instant: Instant = text.parse().map_err(|()| misfit())?;
                serializer.serialize_i64(instant.0)
            }
            (Shape::List(item), Json::Array(items)) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|json| list.serialize_element(&Written(item, json)))?;
                list.end()
            }
            (Shape::Map(value), Json::Object(entries)) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(name, json)| map.serialize_entry(name, &Written(value, json)))?;
                map.end()
            }
            (Shape::Record(fields), Json::Object(entries)) => {
                let mut record = serializer.serialize_map(Some(fields.len()))?;
                for Field { name, shape, .. } in &**fields {
                    let json = entries.get(name).unwrap_or(&Json::Null);
                    record.serialize_entry(name, &Written(shape, json))?;
                }
                record.end()
            }
            _ => ser::Serialize::serialize(&(), serializer),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &Shape {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Shape {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Json, E> {
        Ok(truth.into())
    }

    fn visit_i32<E>(self, number: i32) -> Result<Json, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        let is_instant = self.that(|shape| matches!(shape, Shape::Instant)).is_some();
        Ok(if is_instant { Instant(number).to_string().into() } else { number.into() })
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Json, E> {
        Number::from_f64(number).map(Json::Number).ok_or_else(|| E::custom("JSON has no such number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let Some(Shape::List(item)) = self.that(|shape| matches!(shape, Shape::List(_))) else {
            return Err(serde::de::Error::custom("a list is not expected"));
        };
        let mut list = Vec::new();
        while let Some(json) = items.next_element_seed(&**item)? {
            list.push(json);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let shape = self.that(|shape| matches!(shape, Shape::Map(_) | Shape::Record(_)));
        let mut object = Map::new();
        while let Some(name) = entries.next_key::<Cow<'_, str>>()? {
            let (value, may_be_absent) = match shape {
                Some(Shape::Map(value)) => (&**value, false),
                Some(Shape::Record(fields)) => {
                    let field = fields.iter().find(|field| field.name == name);
                    let field = field.ok_or_else(|| serde::de::Error::custom("a field that is not known"))?;
                    (&field.shape, field.may_be_absent)
                }
                _ => return Err(serde::de::Error::custom("a record is not expected")),
            };
            let json = entries.next_value_seed(value)?;
            if !(may_be_absent && json.is_null()) {
                object.insert(name.into_owned(), json);
            }
        }
        Ok(object.into())
    }
}
