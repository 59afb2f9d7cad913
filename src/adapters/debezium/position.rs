//! Where an event stands in its database's commit order.
//!
//! Must not know: rows. Sources: Debezium's `source` block of each connector.

use super::Refusal;
use super::envelope::{Field, Source};
use super::shape::ConnectorKind;
use crate::domain::change::{Origin, Position, TransactionId};
use crate::domain::hash::fnv1a;

/// Position, how to write it, and the transaction.
pub struct Stand {
    pub position: Option<Position>,
    pub origin: Origin,
    pub transaction: TransactionId,
}

const NOWHERE: Stand = Stand { position: None, origin: Origin::None, transaction: 0 };

pub fn of(connector: ConnectorKind, source: &Source<'_>) -> Result<Stand, Refusal> {
    match connector {
        ConnectorKind::Postgresql => postgresql(source),
        ConnectorKind::Mysql | ConnectorKind::Mariadb => binlog(source),
        ConnectorKind::Sqlserver => sqlserver(source),
        ConnectorKind::Oracle => oracle(source),
        ConnectorKind::Mongodb => mongodb(source),
    }
}

/// What flattened events must carry beside a time, so that what is sent again is known from what is new, and a snapshot's
/// rows from streamed ones: of a snapshot's nothing is promised. GTIDs, and `txSeq` of later Oracle connectors, come with
/// it where there are any.
pub fn needed(connector: ConnectorKind) -> &'static [Field] {
    match connector {
        ConnectorKind::Postgresql => &[Field::Lsn, Field::Sequence, Field::Snapshot],
        ConnectorKind::Mysql | ConnectorKind::Mariadb => &[Field::File, Field::Pos, Field::Row, Field::Snapshot],
        ConnectorKind::Sqlserver => &[Field::CommitLsn, Field::ChangeLsn, Field::EventSerialNo, Field::Snapshot],
        ConnectorKind::Oracle => &[Field::CommitScn, Field::TxId, Field::Snapshot],
        ConnectorKind::Mongodb => &[Field::Ord, Field::Snapshot],
    }
}

/// What is needed and not among what is added, as `add.fields` names it.
pub fn lacking(connector: ConnectorKind, is_added: impl Fn(Field) -> bool) -> Vec<&'static str> {
    let mut lacking: Vec<&str> =
        needed(connector).iter().filter(|field| !is_added(**field)).map(|field| field.name()).collect();
    if !is_added(Field::TsMs) && !is_added(Field::TsUs) {
        lacking.push(Field::TsMs.name());
    }
    lacking
}

fn bad(field: &str, found: &str) -> Refusal {
    Refusal::new("bad_position", format!("source.{field} \"{found}\" is no position"))
}

/// `sequence` is `["last commit LSN", "LSN"]`, a JSON array in a string. The first is null until the connector has
/// seen a commit: then the row's own LSN stands in for it, which lies below every later commit's.
fn postgresql(source: &Source<'_>) -> Result<Stand, Refusal> {
    let sequence: [Option<String>; 2] = match source.text(Field::Sequence) {
        Some(text) => serde_json::from_str(&text)
            .map_err(|_| Refusal::new("bad_position", format!("source.sequence is not two LSNs: {text}")))?,
        None => [None, None],
    };
    let number = |text: &String| {
        text.parse::<u64>()
            .map_err(|_| Refusal::new("bad_position", format!("\"{text}\" in source.sequence is no LSN")))
    };
    let [commit, lsn] = sequence;
    let lsn = match (source.number::<u64>(Field::Lsn)?, lsn) {
        (Some(lsn), _) => Some(lsn),
        (None, Some(text)) => Some(number(&text)?),
        (None, None) => None,
    };
    let commit = commit.as_ref().map(number).transpose()?;
    let position = lsn.map(|row| Position { transaction: commit.unwrap_or(row).into(), row: row.into() });
    let transaction = source.number::<u64>(Field::TxId)?.map_or(0, |id| fnv1a(&id.to_le_bytes()));
    Ok(Stand { position, origin: if lsn.is_some() { Origin::Lsn } else { Origin::None }, transaction })
}

/// A GTID without its number, and that.
pub fn gtid(gtid: &str) -> Option<(&str, u64)> {
    let (prefix, number) = gtid.split_at(gtid.rfind([':', '-'])? + 1);
    Some((prefix, number.parse().ok()?))
}

/// A binlog file's name without its number, and that.
pub fn binlog_file(file: &str) -> Option<(&str, u64)> {
    let (prefix, number) = file.split_at(file.rfind('.')? + 1);
    Some((prefix, number.parse().ok()?))
}

/// A GTID is `domain-server-number` (MariaDB) or `uuid:number`, `uuid:tag:number` (MySQL). Without one, only Debezium's
/// transaction metadata tells which rows were committed together.
fn binlog(source: &Source<'_>) -> Result<Stand, Refusal> {
    let pos = source.number::<u64>(Field::Pos)?;
    if let Some(gtid) = source.text(Field::Gtid) {
        let (prefix, number) = self::gtid(&gtid)
            .ok_or_else(|| Refusal::new("bad_position", format!("source.gtid \"{gtid}\" is no GTID")))?;
        return Ok(Stand {
            position: Some(Position { transaction: number.into(), row: 0 }),
            origin: Origin::Gtid(prefix.into()),
            transaction: fnv1a(gtid.as_bytes()),
        });
    }
    let (Some(file), Some(pos)) = (source.text(Field::File), pos) else { return Ok(NOWHERE) };
    let (prefix, number) = binlog_file(&file)
        .ok_or_else(|| Refusal::new("bad_position", format!("source.file \"{file}\" has no number")))?;
    Ok(Stand {
        position: Some(Position { transaction: number.into(), row: pos.into() }),
        origin: Origin::Binlog(prefix.into()),
        transaction: source.text(Field::TransactionId).map_or(0, |id| fnv1a(id.as_bytes())),
    })
}

/// LSNs are written `virtual log file:block:slot`, in hexadecimal.
pub fn sqlserver_lsn(text: &str) -> Option<u128> {
    let mut parts = text.split(':');
    let mut part = |bits: u32| {
        let part = u128::from_str_radix(parts.next()?, 16).ok()?;
        (part >> bits == 0).then_some(part)
    };
    let ((file, block), slot) = part(32).zip(part(32)).zip(part(16))?;
    parts.next().is_none().then_some(file << 48 | block << 16 | slot)
}

/// `event_serial_no` tells apart what shares an LSN.
fn sqlserver(source: &Source<'_>) -> Result<Stand, Refusal> {
    let lsn = |field, name| {
        let lsn = |text: std::borrow::Cow<'_, str>| sqlserver_lsn(&text).ok_or_else(|| bad(name, &text));
        source.text(field).map(lsn).transpose()
    };
    let (Some(commit), Some(change)) = (lsn(Field::CommitLsn, "commit_lsn")?, lsn(Field::ChangeLsn, "change_lsn")?)
    else {
        return Ok(NOWHERE);
    };
    let serial = source.number::<u16>(Field::EventSerialNo)?.unwrap_or(0);
    Ok(Stand {
        position: Some(Position { transaction: commit, row: change << 16 | u128::from(serial) }),
        origin: Origin::SqlServer,
        transaction: fnv1a(&commit.to_le_bytes()),
    })
}

/// SCNs are decimal text. Transactions that share a commit's are told apart by their ids, rows of one by `txSeq`, or by
/// their own SCN where an older connector does not say it.
fn oracle(source: &Source<'_>) -> Result<Stand, Refusal> {
    let scn = |field, name| {
        let scn = |text: std::borrow::Cow<'_, str>| text.parse::<u128>().map_err(|_| bad(name, &text));
        source.text(field).map(scn).transpose()
    };
    let (Some(commit), Some(id)) = (scn(Field::CommitScn, "commit_scn")?, source.text(Field::TxId)) else {
        return Ok(NOWHERE);
    };
    let seq = match source.number::<u64>(Field::TxSeq)? {
        Some(seq) => seq,
        None => u64::try_from(scn(Field::Scn, "scn")?.unwrap_or(0)).unwrap_or(u64::MAX),
    };
    let transaction = u64::from_str_radix(&id, 16).unwrap_or_else(|_| fnv1a(id.as_bytes()));
    Ok(Stand {
        position: Some(Position { transaction: commit, row: u128::from(transaction) << 64 | u128::from(seq) }),
        origin: Origin::Scn,
        transaction: fnv1a(id.as_bytes()),
    })
}

/// The cluster's time: seconds, and the order within a second.
fn mongodb(source: &Source<'_>) -> Result<Stand, Refusal> {
    let (Some(millis), Some(ord)) = (source.number::<u64>(Field::TsMs)?, source.number::<u64>(Field::Ord)?) else {
        return Ok(NOWHERE);
    };
    let time = u128::from(millis / 1000) << 32 | u128::from(ord);
    Ok(Stand {
        position: Some(Position { transaction: time, row: 0 }),
        origin: Origin::ClusterTime,
        transaction: fnv1a(&time.to_le_bytes()),
    })
}
