//! What is known beforehand of a source's events: its connector, its kept columns, how values are encoded.
//!
//! Must not know: topics, where the configuration comes from.

use std::collections::BTreeMap;

use super::atom::IfText;
use super::envelope::Field;
use crate::domain::catalog::Column;

/// Which Debezium connector writes the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectorKind {
    Postgresql,
    Mysql,
    Mariadb,
    Sqlserver,
    Oracle,
    Mongodb,
}

impl ConnectorKind {
    /// What a text is that stands where a row could.
    pub fn row_if_text(self) -> IfText {
        if self == ConnectorKind::Mongodb { IfText::Document } else { IfText::Wrong }
    }

    /// True where events say all of what a row was before.
    pub fn has_full_before(self) -> bool {
        matches!(
            self,
            ConnectorKind::Mysql | ConnectorKind::Mariadb | ConnectorKind::Sqlserver | ConnectorKind::Oracle
        )
    }

    /// True where it was tried what numbers count that come without a schema for moments, dates and times of day.
    pub fn has_known_units(self) -> bool {
        !matches!(self, ConnectorKind::Sqlserver | ConnectorKind::Oracle)
    }

    /// True where large values that an update did not touch are replaced by a placeholder.
    pub fn has_placeholders(self) -> bool {
        matches!(self, ConnectorKind::Postgresql | ConnectorKind::Sqlserver | ConnectorKind::Oracle)
    }
}

/// Debezium's `decimal.handling.mode`. Events with a schema tell it themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalMode {
    /// Big-endian two's complement, base64 in JSON; the scale is in the schema, else in the declared type.
    Precise,
    /// A string that keeps the scale.
    String,
    /// A JSON number; exact only where the declared type has at most 15 digits.
    Double,
}

/// Debezium's `binary.handling.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryMode {
    /// Bytes, which in JSON are base64.
    Bytes,
    Base64,
    Base64UrlSafe,
    Hex,
}

/// What a column's declaration says beyond its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Total digits of a decimal, where declared.
    pub digits: Option<u32>,
    /// MySQL's and MariaDB's `bigint unsigned`: negative numbers stand for those from 2^63 on.
    pub is_unsigned: bool,
    /// `char(n)`, which one database fills up with blanks and the other strips of them: at the end they mean nothing.
    pub is_padded: bool,
}

/// How events were flattened by Debezium's `ExtractNewRecordState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flattened {
    /// What `add.fields` and `add.headers` add, by the name under which it stands in rows and in headers.
    pub fields: BTreeMap<String, Field>,
    pub headers: BTreeMap<String, Field>,
    /// True where a tombstone is what tells of a delete: nothing else does, or nothing else does in time.
    pub tombstones_delete: bool,
}

impl Flattened {
    /// True where a field is added to rows or to headers.
    pub fn adds(&self, field: Field) -> bool {
        self.fields.values().chain(self.headers.values()).any(|added| *added == field)
    }
}

/// How a connector's events are written: which of the formats that are known are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Each record shows by its first bytes and headers what it is.
    Auto,
    Json,
    /// Avro with a schema's id in front, of so many bytes where that is not left to the record.
    Avro {
        id_bytes: Option<u8>,
    },
}

/// What becomes of a column's value on the way out; later ones are stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mask {
    /// It may be shown.
    Show,
    /// It is replaced by a keyed hash, so that equal values can still be recognised.
    Hash,
    /// It is replaced by `***`.
    Hide,
    /// It is left out.
    Drop,
}

/// Which columns of a row are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// What tells which row it was, and under which key: nothing else of a `before` is ever used. Where images are not
    /// full the rest is invented, such as "" where a uuid stood.
    Identity,
}

/// What a connector's configuration says of all its events.
#[derive(Clone, Debug)]
pub struct ConnectorShape {
    pub kind: ConnectorKind,
    pub format: Format,
    /// `None` where events come in Debezium's own envelope.
    pub flattened: Option<Flattened>,
    /// `None`: only events with a schema can carry decimals.
    pub decimal_mode: Option<DecimalMode>,
    pub binary_mode: BinaryMode,
    /// Debezium's `unavailable.value.placeholder`, as the connector's configuration writes it.
    pub placeholder: String,
    /// True where each event's number in its transaction is wanted.
    pub is_counted: bool,
}

/// Everything that decoding a source's events needs.
#[derive(Clone, Debug)]
pub struct SourceShape {
    pub connector: ConnectorShape,
    /// The kept columns, as in the catalog.
    pub columns: Vec<Column>,
    pub masks: Vec<Mask>,
    /// Indexes into `columns`.
    pub primary_key: Vec<usize>,
    /// Index into `columns` of the reconciliation key.
    pub key: usize,
    /// Of each column.
    pub details: Vec<Detail>,
    /// True where `before` images are complete: MySQL and MariaDB with `binlog_row_image=FULL`, PostgreSQL with
    /// REPLICA IDENTITY FULL. Otherwise only the primary key of a `before` is believed.
    pub full_before: bool,
}

impl SourceShape {
    /// The index of a column that is read of a part of a row.
    pub fn column(&self, part: Part, name: &str) -> Option<usize> {
        let column = self.columns.iter().position(|column| column.name == name)?;
        let is_read = match part {
            Part::Whole => true,
            Part::Identity => self.primary_key.contains(&column) || (self.full_before && column == self.key),
        };
        is_read.then_some(column)
    }

    /// True where a column's values may be quoted.
    pub fn shows(&self, column: usize) -> bool {
        self.masks[column] == Mask::Show
    }

    /// True where no column is masked: only then may text be quoted of which nobody knows whose value it is.
    pub fn shows_all(&self) -> bool {
        self.masks.iter().all(|mask| *mask == Mask::Show)
    }
}
