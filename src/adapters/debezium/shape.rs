//! What is known beforehand of a source's events: its connector, its kept columns, how values are encoded.
//!
//! Must not know: topics, where the configuration comes from.

use crate::domain::catalog::Column;

/// Which Debezium connector writes the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectorKind {
    Postgresql,
    Mysql,
    Mariadb,
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

/// Everything that decoding a source's events needs.
#[derive(Clone, Debug)]
pub struct SourceShape {
    pub connector: ConnectorKind,
    /// The kept columns, as in the catalog.
    pub columns: Vec<Column>,
    pub masks: Vec<Mask>,
    /// Indexes into `columns`.
    pub primary_key: Vec<usize>,
    /// Index into `columns` of the reconciliation key.
    pub key: usize,
    /// `None`: only events with a schema can carry decimals.
    pub decimal_mode: Option<DecimalMode>,
    /// Total digits of each declared decimal, where declared.
    pub precisions: Vec<Option<u32>>,
    /// Debezium's `unavailable.value.placeholder`, as the connector's configuration writes it.
    pub placeholder: String,
    /// True where `before` images are complete: MySQL and MariaDB with `binlog_row_image=FULL`, PostgreSQL with
    /// REPLICA IDENTITY FULL. Otherwise only the primary key of a `before` is believed.
    pub full_before: bool,
}

impl SourceShape {
    /// True where a column's values may be quoted.
    pub fn shows(&self, column: usize) -> bool {
        self.masks[column] == Mask::Show
    }

    /// True where no column is masked: only then may text be quoted of which nobody knows whose value it is.
    pub fn shows_all(&self) -> bool {
        self.masks.iter().all(|mask| *mask == Mask::Show)
    }
}
