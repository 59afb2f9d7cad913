//! What is counted of source transactions, as bytes: in a block, and as a store keeps it, version 1.
//!
//! Must not know: what is checked.

use super::block::{Last, read_partition, read_position, read_time, write_position, write_time};
use super::{Reader, WireError, Writer};
use crate::domain::catalog::Catalog;
use crate::domain::change::End;
use crate::domain::numbers::Numbers;
use crate::domain::transactions::{Ledger, Ledgers, Table, Unchecked};

const WHAT: &str = "transactions' counts";
const MAGIC: &[u8] = b"EKT";
const VERSION: u8 = 1;

pub(super) fn write_numbers(writer: &mut Writer, numbers: &Numbers) {
    writer.length(numbers.words().len());
    for (word, bits) in numbers.words() {
        writer.unsigned(u64::from(*word));
        writer.unsigned(*bits);
    }
}

pub(super) fn read_numbers(reader: &mut Reader<'_>) -> Result<Numbers, WireError> {
    Ok(Numbers::of_words(reader.list(|reader| Ok((reader.narrow()?, reader.unsigned()?)))?))
}

pub(super) fn write_end<T>(writer: &mut Writer, end: &End<T>, last: &mut Last, table: impl Fn(&mut Writer, &T)) {
    writer.unsigned(u64::from(end.partition.unsigned_abs()));
    writer.text(&end.id);
    writer.fixed(end.transaction);
    write_time(writer, end.time, last);
    write_position(writer, end.position, last);
    writer.length(end.sent.len());
    for (one, count) in &end.sent {
        table(writer, one);
        writer.unsigned(u64::from(*count));
    }
}

pub(super) fn read_end<T>(
    reader: &mut Reader<'_>,
    last: &mut Last,
    table: impl Fn(&mut Reader<'_>) -> Result<T, WireError>,
) -> Result<End<T>, WireError> {
    Ok(End {
        partition: read_partition(reader)?,
        id: reader.text()?.into(),
        transaction: reader.fixed()?,
        time: read_time(reader, last)?,
        position: read_position(reader, last)?,
        sent: reader.list(|reader| Ok((table(reader)?, reader.narrow()?)))?,
    })
}

/// What a store keeps: the offset behind the last block that was counted, and the ledgers.
pub fn encode_ledgers(counted: i64, ledgers: &Ledgers, catalog: &Catalog) -> Vec<u8> {
    let mut writer = Writer::begin(MAGIC, VERSION);
    writer.signed(counted);
    let table = |writer: &mut Writer, (source, topic): &Table| {
        writer.text(&catalog.sources[*source].name);
        writer.text(topic);
    };
    writer.length(ledgers.len());
    for (connector, ledger) in ledgers {
        writer.length(*connector);
        writer.instant(ledger.from);
        writer.length(ledger.last.len());
        for (partition, (time, position)) in &ledger.last {
            writer.unsigned(u64::from(partition.unsigned_abs()));
            writer.instant(*time);
            write_position(&mut writer, *position, &mut Last::new(0));
        }
        writer.length(ledger.unchecked.len());
        for (transaction, one) in &ledger.unchecked {
            writer.fixed(*transaction);
            writer.option(one.since, Writer::instant);
            writer.length(one.arrived.len());
            for (of, numbers) in &one.arrived {
                table(&mut writer, of);
                write_numbers(&mut writer, numbers);
            }
            writer.option(one.end.as_ref(), |writer, end| write_end(writer, end, &mut Last::new(0), table));
        }
    }
    writer.bytes
}

/// Reads what [`encode_ledgers`] wrote. Tables of sources that `catalog` does not have are left out.
pub fn decode_ledgers(bytes: &[u8], catalog: &Catalog) -> Result<(i64, Ledgers), WireError> {
    let mut reader = Reader::new(WHAT, bytes);
    reader.head(MAGIC, VERSION)?;
    let counted = reader.signed()?;
    let table = |reader: &mut Reader<'_>| {
        let (name, topic) = (reader.text()?, reader.text()?);
        let source = catalog.sources.iter().position(|table| table.name == name);
        Ok(source.map(|source| -> Table { (source, topic.into()) }))
    };
    let ledgers = reader.list(|reader| {
        let connector: usize = reader.narrow()?;
        let from = reader.instant()?;
        let last = reader.list(|reader| {
            let partition = read_partition(reader)?;
            let stand = (reader.instant()?, read_position(reader, &mut Last::new(0))?);
            Ok((partition, stand))
        })?;
        let unchecked = reader.list(|reader| {
            let transaction = reader.fixed()?;
            let since = reader.option(Reader::instant)?;
            let arrived = reader.list(|reader| Ok((table(reader)?, read_numbers(reader)?)))?;
            let arrived = arrived.into_iter().filter_map(|(table, numbers)| Some((table?, numbers))).collect();
            let end = reader.option(|reader| read_end(reader, &mut Last::new(0), table))?;
            let end = end.map(|end| end.of(|table| table));
            Ok((transaction, Unchecked { since, arrived, end }))
        })?;
        let ledger = Ledger { from, last: last.into_iter().collect(), unchecked: unchecked.into_iter().collect() };
        Ok((connector, ledger))
    })?;
    reader.end()?;
    Ok((counted, ledgers.into_iter().collect()))
}
