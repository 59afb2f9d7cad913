//! Where an event stands in its database's commit order.
//!
//! Must not know: rows. Sources: Debezium's `source` block of each connector.

use super::Refusal;
use super::envelope::{Envelope, Source, Text, Transaction};
use super::shape::ConnectorKind;
use crate::domain::change::{Origin, Position, TransactionId};
use crate::domain::hash::fnv1a;

/// Position, how to write it, and the transaction.
pub struct Stand {
    pub position: Option<Position>,
    pub origin: Origin,
    pub transaction: TransactionId,
}

pub fn of(connector: ConnectorKind, envelope: &Envelope<'_>) -> Result<Stand, Refusal> {
    match connector {
        ConnectorKind::Postgresql => postgresql(&envelope.source),
        ConnectorKind::Mysql | ConnectorKind::Mariadb => binlog(&envelope.source, envelope.transaction.as_ref()),
    }
}

/// `sequence` is `["last commit LSN", "LSN"]`, a JSON array in a string. The first is null until the connector has
/// seen a commit: then the row's own LSN stands in for it, which lies below every later commit's.
fn postgresql(source: &Source<'_>) -> Result<Stand, Refusal> {
    let sequence: [Option<Text<'_>>; 2] = match &source.sequence {
        Some(Text(text)) => serde_json::from_str(text)
            .map_err(|_| Refusal::new("bad_position", format!("source.sequence is not two LSNs: {text}")))?,
        None => [None, None],
    };
    let number = |Text(text): &Text<'_>| {
        text.parse::<u64>()
            .map_err(|_| Refusal::new("bad_position", format!("\"{text}\" in source.sequence is no LSN")))
    };
    let [commit, lsn] = sequence;
    let lsn = match (source.lsn, lsn) {
        (Some(lsn), _) => Some(lsn),
        (None, Some(text)) => Some(number(&text)?),
        (None, None) => None,
    };
    let commit = commit.as_ref().map(number).transpose()?;
    let position = lsn.map(|row| Position { transaction: commit.unwrap_or(row), row });
    let transaction = source.tx_id.map_or(0, |id| fnv1a(&id.to_le_bytes()));
    Ok(Stand { position, origin: if lsn.is_some() { Origin::Lsn } else { Origin::None }, transaction })
}

/// A GTID is `domain-server-number` (MariaDB) or `uuid:number`, `uuid:tag:number` (MySQL). Without one, only Debezium's
/// transaction metadata tells which rows were committed together.
fn binlog(source: &Source<'_>, transaction: Option<&Transaction<'_>>) -> Result<Stand, Refusal> {
    if let Some(Text(gtid)) = &source.gtid {
        let split = gtid.rfind([':', '-']).map(|at| gtid.split_at(at + 1));
        let parts = split.and_then(|(prefix, number)| Some((prefix, number.parse::<u64>().ok()?)));
        let (prefix, number) =
            parts.ok_or_else(|| Refusal::new("bad_position", format!("source.gtid \"{gtid}\" is no GTID")))?;
        return Ok(Stand {
            position: Some(Position { transaction: number, row: 0 }),
            origin: Origin::Gtid(prefix.into()),
            transaction: fnv1a(gtid.as_bytes()),
        });
    }
    let (Some(Text(file)), Some(pos)) = (&source.file, source.pos) else {
        return Ok(Stand { position: None, origin: Origin::None, transaction: 0 });
    };
    let split = file.rfind('.').map(|at| file.split_at(at + 1));
    let parts = split.and_then(|(prefix, number)| Some((prefix, number.parse::<u64>().ok()?)));
    let (prefix, number) =
        parts.ok_or_else(|| Refusal::new("bad_position", format!("source.file \"{file}\" has no number")))?;
    Ok(Stand {
        position: Some(Position { transaction: number, row: pos }),
        origin: Origin::Binlog(prefix.into()),
        transaction: transaction.map_or(0, |transaction| fnv1a(transaction.id.as_bytes())),
    })
}
