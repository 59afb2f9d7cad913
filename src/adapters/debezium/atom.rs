//! The values of a record's fields as its format carries them, JSON's and Avro's alike, and what is said of one that does
//! not fit its column.
//!
//! Must not know: columns' types, logical encodings, envelopes.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::value::RawValue;

/// One value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Atom<'a> {
    Null,
    Bool(bool),
    /// An integer of Avro.
    Int(i64),
    /// A number of JSON, as it is written.
    Number(Cow<'a, str>),
    /// A binary floating point number of Avro.
    Float(f64),
    Text(Cow<'a, str>),
    /// Bytes of Avro; JSON has them as text.
    Bytes(Cow<'a, [u8]>),
    /// Debezium's VariableScaleDecimal: digits in big-endian two's complement.
    Scaled {
        scale: i64,
        digits: Cow<'a, [u8]>,
    },
    /// An array, a map, another record: its JSON, or what it is.
    Other(Cow<'a, str>),
}

impl<'a> Atom<'a> {
    /// Of a value's JSON text.
    pub fn json(raw: &'a str) -> Result<Atom<'a>, serde_json::Error> {
        Ok(match raw.as_bytes()[0] {
            b'n' => Atom::Null,
            b't' => Atom::Bool(true),
            b'f' => Atom::Bool(false),
            b'"' => Atom::Text(serde_json::from_str::<Text<'a>>(raw)?.0),
            b'{' => scaled(raw).unwrap_or(Atom::Other(Cow::Borrowed(raw))),
            b'[' => Atom::Other(Cow::Borrowed(raw)),
            _ => Atom::Number(Cow::Borrowed(raw)),
        })
    }

    /// The content of a text, the digits of a number.
    pub fn scalar(&self) -> Option<Cow<'_, str>> {
        match self {
            Atom::Text(text) | Atom::Number(text) => Some(Cow::Borrowed(text)),
            Atom::Int(number) => Some(number.to_string().into()),
            Atom::Float(number) => Some(number.to_string().into()),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        if let Atom::Text(text) = self { Some(text) } else { None }
    }

    /// An integer, also one that is written as text.
    pub fn integer<T: std::str::FromStr + TryFrom<i64>>(&self) -> Option<T> {
        match self {
            Atom::Int(number) => T::try_from(*number).ok(),
            Atom::Text(text) | Atom::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub fn into_owned(self) -> Atom<'static> {
        let text = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        let bytes = |bytes: Cow<'a, [u8]>| Cow::Owned(bytes.into_owned());
        match self {
            Atom::Null => Atom::Null,
            Atom::Bool(value) => Atom::Bool(value),
            Atom::Int(number) => Atom::Int(number),
            Atom::Float(number) => Atom::Float(number),
            Atom::Number(number) => Atom::Number(text(number)),
            Atom::Text(content) => Atom::Text(text(content)),
            Atom::Bytes(content) => Atom::Bytes(bytes(content)),
            Atom::Scaled { scale, digits } => Atom::Scaled { scale, digits: bytes(digits) },
            Atom::Other(content) => Atom::Other(text(content)),
        }
    }

    pub fn is_number(&self) -> bool {
        matches!(self, Atom::Int(_) | Atom::Number(_) | Atom::Float(_))
    }

    /// As it would stand in JSON, shortened.
    fn told(&self) -> Cow<'_, str> {
        match self {
            Atom::Null => "null".into(),
            Atom::Bool(value) => value.to_string().into(),
            Atom::Int(number) => number.to_string().into(),
            Atom::Float(number) => number.to_string().into(),
            Atom::Number(text) | Atom::Other(text) => shortened(text),
            Atom::Text(text) => format!("\"{}\"", shortened(text)).into(),
            Atom::Bytes(bytes) => format!("{} bytes", bytes.len()).into(),
            Atom::Scaled { scale, digits } => format!("{} bytes of digits at scale {scale}", digits.len()).into(),
        }
    }
}

/// `{"scale": …, "value": base64}`.
fn scaled(raw: &str) -> Option<Atom<'_>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Scaled<'a> {
        scale: i64,
        #[serde(borrow)]
        value: Text<'a>,
    }
    let Scaled { scale, value } = serde_json::from_str(raw).ok()?;
    Some(Atom::Scaled { scale, digits: BASE64.decode(&*value.0).ok()?.into() })
}

fn shortened(raw: &str) -> Cow<'_, str> {
    match raw.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", &raw[..at]).into(),
        None => raw.into(),
    }
}

/// A string, borrowed unless it has escapes.
#[derive(Debug, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// Why a value does not fit its column. What was found is kept apart: a masked column's may not be said.
#[derive(Debug)]
pub struct Unfit {
    why: &'static str,
    found: Option<String>,
}

impl Unfit {
    /// Names what was found.
    pub fn found(why: &'static str, atom: &Atom<'_>) -> Unfit {
        Unfit { why, found: Some(atom.told().into_owned()) }
    }

    /// What is said of it; `shows` is false where the column is masked.
    pub fn told(&self, shows: bool) -> Cow<'static, str> {
        match &self.found {
            None => self.why.into(),
            Some(found) if shows => format!("{}, found {found}", self.why).into(),
            Some(_) => format!("{}; the column is masked, so what was found is not said", self.why).into(),
        }
    }
}

impl From<&'static str> for Unfit {
    fn from(why: &'static str) -> Unfit {
        Unfit { why, found: None }
    }
}

/// The fields that were asked for, each at the place that it was asked for under; `None` where the object has none.
pub type Atoms<'a> = Vec<Option<Atom<'a>>>;

/// A format's way to read one value.
pub trait Format<'de>: DeserializeSeed<'de, Value = Atom<'de>> + Default {
    /// What is taken as it is, to be read by itself.
    type Nested: Deserialize<'de>;
}

/// JSON's.
#[derive(Default)]
pub struct Json;

impl<'de> Format<'de> for Json {
    type Nested = &'de RawValue;
}

impl<'de> DeserializeSeed<'de> for Json {
    type Value = Atom<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Atom<'de>, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Atom::json(raw.get()).map_err(D::Error::custom)
    }
}

/// Avro's.
#[derive(Default)]
pub struct Avro;

impl<'de> Format<'de> for Avro {
    type Nested = Bytes<'de>;
}

/// Bytes, borrowed.
#[derive(Debug, Deserialize)]
pub struct Bytes<'a>(#[serde(borrow)] pub Cow<'a, [u8]>);

impl<'de> DeserializeSeed<'de> for Avro {
    type Value = Atom<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Atom<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Avro {
    type Value = Atom<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's value")
    }

    fn visit_unit<E>(self) -> Result<Atom<'de>, E> {
        Ok(Atom::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Atom<'de>, E> {
        Ok(Atom::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Atom<'de>, E> {
        Ok(Atom::Int(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Atom<'de>, E> {
        Ok(Atom::Float(number))
    }

    fn visit_f32<E>(self, number: f32) -> Result<Atom<'de>, E> {
        // The shortest digits that tell it from its neighbours, as the database would print it.
        Ok(number.to_string().parse().map_or(Atom::Float(f64::from(number)), Atom::Float))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Atom<'de>, E> {
        Ok(Atom::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Atom<'de>, E> {
        Ok(Atom::Text(text.to_owned().into()))
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Atom<'de>, E> {
        Ok(Atom::Bytes(Cow::Borrowed(bytes)))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Atom<'de>, E> {
        Ok(Atom::Bytes(bytes.to_owned().into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Atom<'de>, A::Error> {
        let (mut scale, mut digits, mut is_other) = (None, None, false);
        let place = |name: &str| ["scale", "value"].iter().position(|known| *known == name);
        while let Some(place) = map.next_key_seed(Name(&place))? {
            match place {
                Some(0) if !is_other => scale = map.next_value_seed(Avro)?.integer(),
                Some(_) if !is_other => digits = Some(map.next_value_seed(Avro)?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    is_other = true;
                }
            }
        }
        Ok(match (scale, digits) {
            (Some(scale), Some(Atom::Bytes(digits))) if !is_other => Atom::Scaled { scale, digits },
            _ => Atom::Other("a record or a map".into()),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Atom<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Atom::Other("an array".into()))
    }
}

/// Reads the fields of an object whose names `place` knows, each into its place of so many. Gives `None` for null.
pub struct Fields<'p, F> {
    place: &'p dyn Fn(&str) -> Option<usize>,
    places: usize,
    text: IfText,
    format: PhantomData<F>,
}

/// What a text is that stands where an object could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfText {
    Wrong,
    /// It is something else of that name, and has no fields.
    Nothing,
    /// MongoDB's documents are JSON within a text.
    Document,
}

impl<'p, F> Fields<'p, F> {
    pub fn new(places: usize, place: &'p dyn Fn(&str) -> Option<usize>) -> Fields<'p, F> {
        Fields { place, places, text: IfText::Wrong, format: PhantomData }
    }

    pub fn if_text(self, text: IfText) -> Fields<'p, F> {
        Fields { text, ..self }
    }
}

impl<'de, F: Format<'de>> DeserializeSeed<'de> for Fields<'_, F> {
    type Value = Option<Atoms<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: Format<'de>> Visitor<'de> for Fields<'_, F> {
    type Value = Option<Atoms<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut atoms = vec![None; self.places];
        while let Some(place) = map.next_key_seed(Name(self.place))? {
            match place {
                Some(place) => atoms[place] = Some(map.next_value_seed(F::default())?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(atoms))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match self.text {
            IfText::Wrong => return Err(E::invalid_type(Unexpected::Str(text), &self)),
            IfText::Nothing => return Ok(None),
            IfText::Document => {}
        }
        let fields = Fields::<Json>::new(self.places, self.place);
        let atoms = fields.deserialize(&mut serde_json::Deserializer::from_str(text)).map_err(E::custom)?;
        Ok(atoms.map(|atoms| atoms.into_iter().map(|atom| atom.map(Atom::into_owned)).collect()))
    }
}

/// What is to be done with the field of a name, found without keeping the name.
pub struct Name<'p, T>(pub &'p dyn Fn(&str) -> T);

impl<'de, T> DeserializeSeed<'de> for Name<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<T> Visitor<'_> for Name<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<T, E> {
        Ok((self.0)(name))
    }
}
