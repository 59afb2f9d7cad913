//! What is known of connectors' snapshots as a store keeps it, version 1.
//!
//! Must not know: what follows of it.

use std::sync::Arc;

use super::block::{read_run_id, read_unseen, write_run_id, write_unseen};
use super::{Reader, WireError, Writer};
use crate::domain::snapshots::{Promised, Snapshot, Snapshots, Stage};
use crate::task::reconcile::{Confirming, Rest};

const WHAT: &str = "what is known of snapshots";
const MAGIC: &[u8] = b"EKS";
const VERSION: u8 = 1;

pub fn encode_snapshots(confirming: &Confirming) -> Vec<u8> {
    let mut writer = Writer::begin(MAGIC, VERSION);
    let Snapshots { taken, lanes, confirmed } = &*confirming.known;
    writer.length(taken.len());
    for of_connector in taken {
        writer.length(of_connector.len());
        for snapshot in of_connector {
            writer.unsigned(u64::from(snapshot.generation));
            write_run_id(&mut writer, snapshot.run);
            writer.unsigned(u64::from(snapshot.epoch));
            writer.instant(snapshot.after);
            writer.instant(snapshot.until);
            writer.byte(match snapshot.stage {
                Stage::Begun => 0,
                Stage::Settled => 1,
                Stage::Compared => 2,
            });
        }
    }
    writer.length(lanes.len());
    for Promised { by, generation } in lanes {
        write_run_id(&mut writer, *by);
        writer.unsigned(u64::from(*generation));
    }
    writer.length(confirmed.len());
    confirmed.iter().for_each(|generation| writer.unsigned(u64::from(*generation)));
    writer.unsigned(confirming.looks);
    writer.length(confirming.rests.len());
    for Rest { asked, leaving, left, counted, rows } in &confirming.rests {
        writer.option(*asked, |writer, (generation, unseen)| {
            writer.unsigned(u64::from(generation));
            write_unseen(writer, unseen);
        });
        writer.unsigned(u64::from(*leaving));
        writer.unsigned(*left);
        writer.unsigned(u64::from(*counted));
        writer.signed(*rows);
    }
    writer.bytes
}

/// Reads what [`encode_snapshots`] wrote, of no more sources and connectors than there are in `confirming`.
pub fn decode_snapshots(bytes: &[u8], confirming: &mut Confirming) -> Result<(), WireError> {
    let mut reader = Reader::new(WHAT, bytes);
    reader.head(MAGIC, VERSION)?;
    let mut taken = reader.list(|reader| reader.list(read_snapshot))?;
    let lanes = reader.list(|reader| Ok(Promised { by: read_run_id(reader)?, generation: reader.narrow()? }))?;
    let mut confirmed = reader.list(Reader::narrow)?;
    confirming.looks = reader.unsigned()?;
    let mut rests = reader.list(|reader| {
        Ok(Rest {
            asked: reader.option(|reader| Ok((reader.narrow()?, read_unseen(reader)?)))?,
            leaving: reader.narrow()?,
            left: reader.unsigned()?,
            counted: reader.narrow()?,
            rows: reader.signed()?,
        })
    })?;
    reader.end()?;
    taken.resize(confirming.known.taken.len(), Vec::new());
    confirmed.resize(confirming.known.confirmed.len(), 0);
    rests.resize(confirming.rests.len(), Rest::default());
    (confirming.known, confirming.rests) = (Arc::new(Snapshots { taken, lanes, confirmed }), rests);
    Ok(())
}

fn read_snapshot(reader: &mut Reader<'_>) -> Result<Snapshot, WireError> {
    let generation = reader.narrow()?;
    if generation == 0 {
        return Err(reader.damaged("a snapshot has no generation"));
    }
    Ok(Snapshot {
        generation,
        run: read_run_id(reader)?,
        epoch: reader.narrow()?,
        after: reader.instant()?,
        until: reader.instant()?,
        stage: match reader.byte()? {
            0 => Stage::Begun,
            1 => Stage::Settled,
            2 => Stage::Compared,
            _ => return Err(reader.damaged("the stage of a snapshot has an unknown tag")),
        },
    })
}
