//! What a connector says of transactions: in each event its number, and at the end how many there were.
//!
//! Must not know: rows, formats. Source: Debezium's transaction metadata (`provide.transaction.metadata=true`). PostgreSQL's
//! ids are `txId:LSN`, of which the LSN differs at the beginning, in each event and at the end; MySQL's and MariaDB's are
//! GTIDs, or `file=…,pos=…` without these; SQL Server's are the commit's LSN.

use serde::Deserialize;

use super::Refusal;
use super::envelope::{Field, Source};
use super::position;
use super::shape::ConnectorKind;
use crate::domain::change::{End, Position, TransactionId};
use crate::domain::hash::fnv1a;
use crate::domain::instant::Instant;

/// A record of a transaction topic.
#[derive(Debug, Deserialize)]
pub struct Marker {
    status: String,
    id: String,
    data_collections: Option<Vec<Collection>>,
    /// The source time of the last event.
    ts_ms: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Collection {
    data_collection: String,
    event_count: i64,
}

/// False where the kind's transactions have ids that tell no position, so that it is not known when all has come.
pub fn can_be_counted(kind: ConnectorKind) -> bool {
    match kind {
        ConnectorKind::Postgresql | ConnectorKind::Mysql | ConnectorKind::Mariadb | ConnectorKind::Sqlserver => true,
        ConnectorKind::Oracle | ConnectorKind::Mongodb => false,
    }
}

/// The transaction of an event, and its number among those of its table, where it says so.
pub fn counted(kind: ConnectorKind, source: &Source<'_>) -> Option<(TransactionId, u32)> {
    let number = source.number(Field::CollectionOrder).ok().flatten()?;
    Some((transaction(kind, &source.text(Field::TransactionId)?), number))
}

fn transaction(kind: ConnectorKind, id: &str) -> TransactionId {
    let id = match kind {
        ConnectorKind::Postgresql => id.split(':').next().unwrap_or(id),
        _ => id,
    };
    fnv1a(id.as_bytes())
}

/// The end of a transaction; `None` where a record tells of a beginning, or of a transaction without events.
pub fn end(kind: ConnectorKind, marker: Marker) -> Result<Option<End<Box<str>>>, Refusal> {
    let Marker { status, id, data_collections, ts_ms } = marker;
    let collections = data_collections.unwrap_or_default();
    if status != "END" || collections.is_empty() {
        return Ok(None);
    }
    let Some(millis) = ts_ms else {
        return Err(Refusal::new("no_source_time", "the end of a transaction without ts_ms"));
    };
    let bad = || Refusal::new("bad_position", format!("the transaction's id \"{id}\" names no position"));
    let position = behind(kind, &id).ok_or_else(bad)?;
    let count = |one: Collection| Some((one.data_collection.into(), u32::try_from(one.event_count).ok()?));
    let sent: Option<Vec<(Box<str>, u32)>> = collections.into_iter().map(count).collect();
    let sent = sent.ok_or_else(|| Refusal::new("bad_count", "the end of a transaction with a count out of range"))?;
    let time = Instant(millis.saturating_mul(1000).saturating_add(999));
    Ok(Some(End { partition: 0, transaction: transaction(kind, &id), id: id.into(), time, position, sent }))
}

/// The least position that what comes after a transaction can have. In PostgreSQL it is the LSN at its end, which the
/// events of the next one name as that of the commit before.
fn behind(kind: ConnectorKind, id: &str) -> Option<Position> {
    Some(match kind {
        ConnectorKind::Postgresql => {
            let (_, lsn) = id.split_once(':')?;
            Position { transaction: lsn.parse::<u64>().ok()?.into(), row: 0 }
        }
        ConnectorKind::Mysql | ConnectorKind::Mariadb => match id.strip_prefix("file=") {
            Some(rest) => {
                let (file, pos) = rest.split_once(",pos=")?;
                let (_, number) = position::binlog_file(file)?;
                Position { transaction: number.into(), row: u128::from(pos.parse::<u64>().ok()?) + 1 }
            }
            None => Position { transaction: u128::from(position::gtid(id)?.1) + 1, row: 0 },
        },
        ConnectorKind::Sqlserver => Position { transaction: position::sqlserver_lsn(id)? + 1, row: 0 },
        ConnectorKind::Oracle | ConnectorKind::Mongodb => return None,
    })
}
