//! Debezium's change events, in whatever format and shape a connector's converter wrote them, decoded into the domain's
//! changes.
//!
//! Must not know: Kafka's client, the changes log, how a registry is asked. What cannot be understood comes back as a
//! [`Refusal`], never as a guess. The contract is Debezium's documentation of each connector's data change events.
//!
//! `frame` tells formats apart; `json` and `avro` take a record apart into an `envelope` of `atom`s; `value` makes typed
//! values of these, by the declared types and what the event's `schema` says of their encoding.

mod atom;
mod avro;
mod blot;
mod decimal;
mod decoder;
pub mod envelope;
mod flattened;
pub mod frame;
mod iso;
mod json;
mod mongodb;
pub mod position;
mod schema;
pub mod shape;
mod temporal;
#[cfg(test)]
mod tests;
mod told;
pub mod transaction;
mod value;
mod weight;

use std::sync::Arc;
use std::time::Duration;

pub use self::blot::blot;
pub use self::decoder::{Decoder, Form};
use self::frame::{Headers, SchemaId};
pub use self::told::{can_be_key, heartbeat, key_of};
pub use self::value::document;
use crate::domain::change::{Proof, RunId};
use crate::domain::hash::fnv1a;
use crate::domain::instant::Instant;
use crate::task::ingest::Decoded;

/// Why an event was not understood. `reason` is one of a few words, good as a metric's label. `detail` never holds a
/// masked column's value: it is published with the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: &'static str,
    pub detail: String,
}

/// Details are published beside the record itself: what they quote of it is cut to this, bytes.
const DETAIL: usize = 1000;

impl Refusal {
    pub fn new(reason: &'static str, detail: impl Into<String>) -> Refusal {
        let mut detail = detail.into();
        if detail.len() > DETAIL {
            detail.truncate(detail.floor_char_boundary(DETAIL));
            detail.push('…');
        }
        Refusal { reason, detail }
    }
}

/// Why a record was not decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undecoded {
    Refused(Refusal),
    /// Its schema is not known yet; the registry was asked.
    Waits(SchemaId),
}

impl From<Refusal> for Undecoded {
    fn from(refusal: Refusal) -> Undecoded {
        Undecoded::Refused(refusal)
    }
}

/// What an event turned out to be.
#[derive(Clone, Debug)]
pub enum Event {
    Change(Decoded),
    /// Nothing about a row: a tombstone, a logical message.
    Nothing,
}

/// A record as it lies in its topic.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Kafka's.
    pub timestamp: Instant,
    pub headers: Headers<'a>,
}

/// What a registry says of a schema's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An Avro schema's JSON.
    Avro(Arc<str>),
    /// A JSON Schema: the record is JSON.
    Json,
    /// Neither will be known soon: the registry does not have it, or it is of no use.
    Useless(Refusal),
    /// It is being asked.
    Asked,
}

/// Where schemas come from.
pub trait Registry: Send + Sync {
    /// Does not wait.
    fn find(&self, id: &SchemaId) -> Found;

    /// Waits for as long as an id is being asked for, at most for so long; gives why the registry does not answer, where
    /// that is so.
    fn wait(&self, id: &SchemaId, patience: Duration) -> Option<String>;
}

/// Where there is no registry.
pub struct NoRegistry;

impl Registry for NoRegistry {
    fn find(&self, _: &SchemaId) -> Found {
        let detail = "it was written with a schema registry, and the configuration has none: set registry.url";
        Found::Useless(Refusal::new("no_registry", detail))
    }

    fn wait(&self, _: &SchemaId, _: Duration) -> Option<String> {
        None
    }
}

/// A streamed row of a heartbeat table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub time: Instant,
    pub proof: Proof,
}

/// The header that tells a connector's runs apart, new at each start (Debezium's `extended.headers.enabled`).
pub const RUN_HEADER: &str = "__debezium.context.runId";

/// The number of an event's [`RunId`]; 0 where it has no such header.
pub fn run_of(header: Option<&[u8]>) -> u64 {
    let Some(header) = header else { return 0 };
    match uuid::Uuid::try_parse_ascii(header.trim_ascii()) {
        Ok(uuid) if uuid.get_version_num() == 7 => uuid.as_u64_pair().0,
        _ => (fnv1a(header) & !RunId::VERSION).max(1),
    }
}

/// What is meant by an event that lacks a kept column.
pub const NO_COLUMN: &str = "events lack this kept column: it is unknown there, so rules that need it never find anything. \
    Was it dropped or renamed, or is it kept back by column.include.list, column.exclude.list or a transform?";

/// What to do about an update that comes without its before image, though the source is said to have complete ones.
pub const NO_BEFORE: &str = "an update without its before image, though the source is said to have complete ones: a row \
    that moves or goes may stay with its former order. Set REPLICA IDENTITY FULL on the table (PostgreSQL) or \
    binlog_row_image=FULL in every session (MySQL, MariaDB), or leave replica_identity: full out";
