//! The parts of a change event that are used, whatever format and shape carried them, and what they are called where.
//!
//! Must not know: columns and their types (`value`), what a position means (`position`), bytes.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::Refusal;
use super::atom::{Atom, Atoms, Fields, Format, IfText, Name};
use super::shape::{Part, SourceShape};

/// Debezium's envelope; rows are what was asked for of them.
pub struct Envelope<'a> {
    pub op: Cow<'a, str>,
    pub before: Option<Atoms<'a>>,
    pub after: Option<Atoms<'a>>,
    pub source: Source<'a>,
}

impl<'a> Envelope<'a> {
    /// Of Debezium's own envelope.
    pub fn of<N>(parts: Parts<'a, N>) -> Result<Envelope<'a>, Refusal> {
        let (Some(Atom::Text(op)), Some(source)) = (parts.op, parts.source) else {
            return Err(Refusal::new("not_debezium", NOT_DEBEZIUM));
        };
        let mut source = Source(source);
        let [id, order] = parts.transaction;
        source.0[Field::TransactionId as usize] = id;
        source.0[Field::CollectionOrder as usize] = order;
        Ok(Envelope { op, before: parts.before, after: parts.after, source })
    }

    /// Of rows within a CloudEvent, of which the attributes tell what is in `source` else, as text.
    pub fn within(mut source: Source<'a>, [before, after]: [Option<Atoms<'a>>; 2]) -> Result<Envelope<'a>, Refusal> {
        match source.0[Field::Op as usize].take() {
            Some(Atom::Text(op)) => Ok(Envelope { op, before, after, source }),
            _ => Err(Refusal::new("no_op", NO_OP)),
        }
    }
}

pub const NOT_DEBEZIUM: &str = "a change event has \"op\" and \"source\"; is this another producer's topic? If the connector \
    flattens its events (ExtractNewRecordState), say so with flattened";

const NO_OP: &str = "a CloudEvent without \"iodebeziumop\": with extension.attributes.enable=false nothing tells what \
    happened, and when; set it to true";

/// The fields that are used of an event beside its rows. Those of `source` differ between connectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    Op,
    /// Of flattened events: the text `true` where the row is gone.
    Deleted,
    TransactionId,
    /// The event's number among those of its transaction and table.
    CollectionOrder,
    TsMs,
    TsUs,
    Snapshot,
    Sequence,
    TxId,
    Lsn,
    Gtid,
    File,
    Pos,
    Row,
    CommitLsn,
    ChangeLsn,
    EventSerialNo,
    CommitScn,
    Scn,
    TxSeq,
    Ord,
}

impl Field {
    /// As `add.fields` names it.
    pub fn name(self) -> &'static str {
        match self {
            Field::Op => "op",
            Field::Deleted => "__deleted",
            Field::TransactionId => "transaction.id",
            Field::CollectionOrder => "transaction.data_collection_order",
            Field::TsMs => "source.ts_ms",
            Field::TsUs => "source.ts_us",
            Field::Snapshot => "source.snapshot",
            Field::Sequence => "source.sequence",
            Field::TxId => "source.txId",
            Field::Lsn => "source.lsn",
            Field::Gtid => "source.gtid",
            Field::File => "source.file",
            Field::Pos => "source.pos",
            Field::Row => "source.row",
            Field::CommitLsn => "source.commit_lsn",
            Field::ChangeLsn => "source.change_lsn",
            Field::EventSerialNo => "source.event_serial_no",
            Field::CommitScn => "source.commit_scn",
            Field::Scn => "source.scn",
            Field::TxSeq => "source.txSeq",
            Field::Ord => "source.ord",
        }
    }
}

/// How many fields there are.
const FIELDS: usize = Field::Ord as usize + 1;

impl Field {
    /// Of the `source` block.
    pub fn of_source(name: &str) -> Option<Field> {
        Some(match name {
            "ts_ms" => Field::TsMs,
            "ts_us" => Field::TsUs,
            "snapshot" => Field::Snapshot,
            "sequence" => Field::Sequence,
            "txId" => Field::TxId,
            "lsn" => Field::Lsn,
            "gtid" => Field::Gtid,
            "file" => Field::File,
            "pos" => Field::Pos,
            "row" => Field::Row,
            "commit_lsn" => Field::CommitLsn,
            "change_lsn" => Field::ChangeLsn,
            "event_serial_no" => Field::EventSerialNo,
            "commit_scn" => Field::CommitScn,
            "scn" => Field::Scn,
            "txSeq" => Field::TxSeq,
            "ord" => Field::Ord,
            _ => return None,
        })
    }

    /// Of a CloudEvent's extension attributes, whose names have no underscores (Debezium's `CloudEventsConverter`).
    pub fn of_cloud_event(name: &str) -> Option<Field> {
        Some(match name.strip_prefix("iodebezium")? {
            "op" => Field::Op,
            // Not to be mistaken for txId, which is PostgreSQL's.
            "txid" => Field::TransactionId,
            "txdatacollectionorder" => Field::CollectionOrder,
            "tsms" => Field::TsMs,
            "tsus" => Field::TsUs,
            "commitlsn" => Field::CommitLsn,
            "changelsn" => Field::ChangeLsn,
            "eventserialno" => Field::EventSerialNo,
            "commitscn" => Field::CommitScn,
            name => return Field::of_source(name),
        })
    }

    /// As `add.fields` and `add.headers` of Debezium's `ExtractNewRecordState` name it, such as `source.ts_ms`. What is
    /// not qualified is of `source`, except `op`, the moments of the connector's clock and a transaction's fields.
    pub fn of_add_fields(name: &str) -> Option<Field> {
        match name {
            "op" => Some(Field::Op),
            "transaction.id" | "id" => Some(Field::TransactionId),
            "transaction.data_collection_order" | "data_collection_order" => Some(Field::CollectionOrder),
            "ts_ms" | "ts_us" => None,
            name => Field::of_source(name.strip_prefix("source.").unwrap_or(name)),
        }
    }
}

/// What was found of each [`Field`].
pub struct Source<'a>(Atoms<'a>);

impl<'a> Source<'a> {
    /// Of what [`Source::fields`] found.
    pub fn new(mut atoms: Atoms<'a>) -> Source<'a> {
        atoms.resize(FIELDS, None);
        Source(atoms)
    }

    /// Reads the fields for which `field` has a name.
    pub fn fields<'p, F>(field: &'p dyn Fn(&str) -> Option<usize>) -> Fields<'p, F> {
        Fields::new(FIELDS, field)
    }

    pub fn set(&mut self, field: Field, atom: Atom<'a>) {
        self.0[field as usize] = Some(atom);
    }

    fn get(&self, field: Field) -> Option<&Atom<'a>> {
        self.0[field as usize].as_ref().filter(|atom| **atom != Atom::Null)
    }

    /// True where the event has the field, be it null.
    pub fn has(&self, field: Field) -> bool {
        self.0[field as usize].is_some()
    }

    /// A text; also a number's digits, or what CloudEvents write as text.
    pub fn text(&self, field: Field) -> Option<Cow<'_, str>> {
        self.get(field).and_then(Atom::scalar)
    }

    /// What a flattened event says that happened.
    pub fn take_op(&mut self) -> Option<Cow<'a, str>> {
        match self.0[Field::Op as usize].take() {
            Some(Atom::Text(op)) => Some(op),
            _ => None,
        }
    }

    /// An integer, also as text.
    pub fn number<T: std::str::FromStr + TryFrom<i64>>(&self, field: Field) -> Result<Option<T>, Refusal> {
        let number = |atom: &Atom<'_>| {
            atom.integer().ok_or_else(|| Refusal::new("bad_source", format!("{} is no integer", field.name())))
        };
        self.get(field).map(number).transpose()
    }

    /// True for rows that an incremental snapshot read in between streamed ones.
    pub fn is_incremental(&self) -> bool {
        self.get(Field::Snapshot).and_then(Atom::text) == Some("incremental")
    }

    /// True for rows of a snapshot of any kind, incremental ones too. It is a string enum, though older versions wrote a
    /// boolean; null or missing where defaults are not written.
    pub fn is_snapshot(&self) -> bool {
        !matches!(self.get(Field::Snapshot), None | Some(Atom::Bool(false)))
            && self.get(Field::Snapshot).and_then(Atom::text) != Some("false")
    }

    pub fn is_deleted(&self) -> bool {
        matches!(self.get(Field::Deleted), Some(Atom::Bool(true)))
            || self.get(Field::Deleted).and_then(Atom::text) == Some("true")
    }
}

/// The parts of an object that may be an event, or hold one.
pub struct Parts<'a, N> {
    pub schema: Option<N>,
    pub payload: Option<N>,
    pub op: Option<Atom<'a>>,
    pub before: Option<Atoms<'a>>,
    pub after: Option<Atoms<'a>>,
    pub source: Option<Atoms<'a>>,
    /// The transaction's id, and the event's number among those of its table.
    pub transaction: [Option<Atom<'a>>; 2],
    pub is_cloud_event: bool,
    /// A CloudEvent's extensions.
    pub attributes: Atoms<'a>,
    pub data: Option<N>,
}

impl<N> Default for Parts<'_, N> {
    fn default() -> Self {
        Parts {
            schema: None,
            payload: None,
            op: None,
            before: None,
            after: None,
            source: None,
            transaction: [None, None],
            is_cloud_event: false,
            attributes: Vec::new(),
            data: None,
        }
    }
}

/// Reads [`Parts`] in one pass.
pub struct PartsSeed<'s, F> {
    shape: &'s SourceShape,
    format: PhantomData<F>,
}

impl<'s, F> PartsSeed<'s, F> {
    pub fn new(shape: &'s SourceShape) -> PartsSeed<'s, F> {
        PartsSeed { shape, format: PhantomData }
    }
}

/// What a field of the outermost object is.
enum Place {
    Schema,
    Payload,
    Op,
    Row(Part),
    Source,
    Transaction,
    SpecVersion,
    Data,
    Attribute(Field),
    Other,
}

fn place(name: &str) -> Place {
    match name {
        "schema" => Place::Schema,
        "payload" => Place::Payload,
        "op" => Place::Op,
        "before" => Place::Row(Part::Identity),
        "after" => Place::Row(Part::Whole),
        "source" => Place::Source,
        "transaction" => Place::Transaction,
        "specversion" => Place::SpecVersion,
        "data" => Place::Data,
        name => Field::of_cloud_event(name).map_or(Place::Other, Place::Attribute),
    }
}

impl<'de, F: Format<'de>> DeserializeSeed<'de> for PartsSeed<'_, F> {
    type Value = Parts<'de, F::Nested>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: Format<'de>> Visitor<'de> for PartsSeed<'_, F> {
    type Value = Parts<'de, F::Nested>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a change event, which is an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut parts = Parts::default();
        while let Some(place) = map.next_key_seed(Name(&place))? {
            match place {
                Place::Schema => parts.schema = map.next_value()?,
                Place::Payload => parts.payload = map.next_value()?,
                Place::Data => parts.data = map.next_value()?,
                Place::Op => parts.op = Some(map.next_value_seed(F::default())?),
                Place::Row(part) => {
                    let column = |name: &str| self.shape.column(part, name);
                    let row = Fields::<F>::new(self.shape.columns.len(), &column);
                    let row = map.next_value_seed(row.if_text(self.shape.connector.kind.row_if_text()))?;
                    match part {
                        Part::Identity => parts.before = row,
                        Part::Whole => parts.after = row,
                    }
                }
                Place::Source => {
                    let field = |name: &str| Field::of_source(name).map(|field| field as usize);
                    // A CloudEvent's is a URI.
                    parts.source = map.next_value_seed(Source::fields::<F>(&field).if_text(IfText::Nothing))?;
                }
                Place::Transaction => {
                    let place = |name: &str| ["id", "data_collection_order"].iter().position(|known| *known == name);
                    if let Some(mut found) = map.next_value_seed(Fields::<F>::new(2, &place))? {
                        parts.transaction = [found[0].take(), found[1].take()];
                    }
                }
                Place::SpecVersion => {
                    map.next_value::<IgnoredAny>()?;
                    parts.is_cloud_event = true;
                }
                Place::Attribute(field) => {
                    parts.attributes.resize(FIELDS, None);
                    parts.attributes[field as usize] = Some(map.next_value_seed(F::default())?);
                }
                Place::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(parts)
    }
}
