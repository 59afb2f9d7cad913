//! One column's value and its declared type, the same for every database that it can come from.
//!
//! Must not know: how a connector encoded it (`adapters::debezium`) or what a rule does with it (`domain::sql`).

use std::cmp::Ordering;
use std::fmt;

use bigdecimal::BigDecimal;
use compact_str::CompactString;

use super::hash::continue_fnv1a;

/// A declared column type. Two columns with the same type hold comparable values, whatever database each came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    Bool,
    /// Any integer up to 64 bits, signed. `smallint` and `integer` are declared as this too.
    Int,
    /// Exact decimal. `scale` is known where it was declared: `numeric(12,2)`.
    Decimal {
        scale: Option<u32>,
    },
    Text,
    Bytes,
    /// A moment without a zone, microseconds since 1970-01-01T00:00:00, read as if UTC.
    /// `precision` (0 to 6) tells milliseconds from microseconds where the event carries no schema.
    Timestamp {
        precision: u8,
    },
    /// A moment, microseconds since the Unix epoch.
    TimestampTz,
    /// Days since the Unix epoch.
    Date,
    /// Microseconds since midnight.
    Time {
        precision: u8,
    },
    Uuid,
    /// JSON as canonical text: object keys sorted, no insignificant space.
    Json,
}

impl fmt::Display for Type {
    /// SQL's name of the type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Bool => f.write_str("boolean"),
            Type::Int => f.write_str("bigint"),
            Type::Decimal { scale: None } => f.write_str("numeric"),
            Type::Decimal { scale: Some(scale) } => write!(f, "numeric(_,{scale})"),
            Type::Text => f.write_str("text"),
            Type::Bytes => f.write_str("bytea"),
            Type::Timestamp { precision } => write!(f, "timestamp({precision})"),
            Type::TimestampTz => f.write_str("timestamptz"),
            Type::Date => f.write_str("date"),
            Type::Time { precision } => write!(f, "time({precision})"),
            Type::Uuid => f.write_str("uuid"),
            Type::Json => f.write_str("json"),
        }
    }
}

/// One value. `Null` is SQL's NULL, a fact; `Unknown` is a value that the source could not give
/// (a TOAST placeholder, a column that is missing from the event): it never equals and never differs.
#[derive(Clone, Debug)]
pub enum Value {
    Unknown,
    Null,
    Bool(bool),
    Int(i64),
    Decimal(Box<BigDecimal>),
    /// Up to 24 bytes, as most are, it takes no memory of its own.
    Text(CompactString),
    Bytes(Box<[u8]>),
    /// Microseconds since the epoch, for `timestamp` and `timestamptz` alike.
    /// `i64::MAX` and `i64::MIN` are PostgreSQL's `infinity` and `-infinity`.
    Timestamp(i64),
    /// Days since the epoch.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    Uuid([u8; 16]),
    Json(Box<str>),
}

impl Value {
    pub fn text(text: impl Into<CompactString>) -> Value {
        Value::Text(text.into())
    }

    pub fn decimal(decimal: BigDecimal) -> Value {
        Value::Decimal(Box::new(decimal))
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub fn is_unknown(&self) -> bool {
        matches!(self, Value::Unknown)
    }

    /// Roughly what the value takes in memory, in bytes.
    pub fn bytes(&self) -> usize {
        // Allocators round up: to sixteen bytes, or so.
        let apart = match self {
            Value::Text(text) if !text.is_heap_allocated() => 0,
            Value::Text(text) => text.len() + 8,
            Value::Json(text) => text.len() + 8,
            Value::Bytes(bytes) => bytes.len() + 8,
            Value::Decimal(_) => size_of::<BigDecimal>() + 24,
            _ => 0,
        };
        size_of::<Value>() + apart
    }

    /// Continues a hash with this value; equal values give equal hashes.
    pub fn hash_onto(&self, hash: u64) -> u64 {
        let hash = continue_fnv1a(hash, &[self.rank()]);
        match self {
            Value::Unknown | Value::Null => hash,
            Value::Bool(value) => continue_fnv1a(hash, &[u8::from(*value)]),
            Value::Int(number) | Value::Timestamp(number) | Value::Time(number) => {
                continue_fnv1a(hash, &number.to_le_bytes())
            }
            Value::Decimal(decimal) => continue_fnv1a(hash, decimal.normalized().to_plain_string().as_bytes()),
            Value::Text(text) => continue_fnv1a(hash, text.as_bytes()),
            Value::Json(text) => continue_fnv1a(hash, text.as_bytes()),
            Value::Bytes(bytes) => continue_fnv1a(hash, bytes),
            Value::Date(days) => continue_fnv1a(hash, &days.to_le_bytes()),
            Value::Uuid(bytes) => continue_fnv1a(hash, bytes),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Value::Unknown => 0,
            Value::Null => 1,
            Value::Bool(_) => 2,
            Value::Int(_) => 3,
            Value::Decimal(_) => 4,
            Value::Text(_) => 5,
            Value::Bytes(_) => 6,
            Value::Timestamp(_) => 7,
            Value::Date(_) => 8,
            Value::Time(_) => 9,
            Value::Uuid(_) => 10,
            Value::Json(_) => 11,
        }
    }
}

/// A total order for storing and comparing evidence; not SQL's comparison, which `domain::sql` defines.
/// Decimals compare as numbers: `12.3` and `12.30` are equal.
impl Ord for Value {
    fn cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
            (Value::Date(a), Value::Date(b)) => a.cmp(b),
            (Value::Time(a), Value::Time(b)) => a.cmp(b),
            (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
            (Value::Json(a), Value::Json(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}
