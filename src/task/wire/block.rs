//! A block of the changes log as bytes, version 1.
//!
//! Must not know: what the lines mean. Sources and columns are written by name, so that a reader with another
//! configuration (a column more, a source less) still reads what it keeps. Values of a column that has another type now
//! are unknown: they would meet rules that were compiled for others. A key's or a primary key's column is refused.

use super::rules::{decode_rules, encode_rules, read_type, write_type};
use super::source_map::SourceMap;
use super::transactions::{read_end, read_numbers, write_end, write_numbers};
use super::{Reader, WireError, Writer};
use crate::domain::catalog::{Catalog, Column};
use crate::domain::change::{
    Block, Change, Entry, Gap, GapCause, Header, Key, Mark, Operation, Origin, Position, Proof, Reject, RunId,
    SourceIndex, SourceTopic, TopicPartition, Topology, Unseen,
};
use crate::domain::hash::{continue_fnv1a, fnv1a};
use crate::domain::instant::Instant;

const WHAT: &str = "changes-log block";
const MAGIC: &[u8] = b"EKB";
const VERSION: u8 = 1;

const UPSERT: u8 = 1;
const DELETE: u8 = 2;
const MARK: u8 = 3;
const STALL: u8 = 4;
const REJECT: u8 = 5;
const RULES: u8 = 6;
const GAP: u8 = 7;
const ACKNOWLEDGE: u8 = 8;
const REQUEUED_UPSERT: u8 = 9;
const REQUEUED_DELETE: u8 = 10;
const COUNTED: u8 = 11;
const ENDED: u8 = 12;
const COUNTED_MARK: u8 = 13;
const SNAPSHOT: u8 = 14;
const CONFIRM: u8 = 15;

/// Writes a block whose sources are those of `catalog`.
pub fn encode(block: &Block, catalog: &Catalog) -> Vec<u8> {
    let mut writer = Writer { bytes: Vec::with_capacity(256 + 96 * block.entries.len()) };
    writer.bytes.extend_from_slice(MAGIC);
    writer.byte(VERSION);
    writer.instant(block.written_at);
    writer.unsigned(u64::from(block.partitions.unsigned_abs()));
    let mut used: Vec<SourceIndex> = block.topologies.iter().map(|topology| topology.source).collect();
    used.extend(block.topic_partitions.iter().map(|(source, _)| *source));
    used.sort_unstable();
    used.dedup();
    writer.length(used.len());
    for source in &used {
        let table = &catalog.sources[*source];
        writer.text(&table.name);
        writer.length(table.columns.len());
        for column in &table.columns {
            write_column(&mut writer, column);
        }
    }
    let local = |source: SourceIndex| used.binary_search(&source).expect("every source was listed");
    writer.length(block.topologies.len());
    for topology in &block.topologies {
        writer.length(local(topology.source));
        write_topics(&mut writer, &topology.topics);
    }
    writer.length(block.topic_partitions.len());
    for (source, topic_partition) in &block.topic_partitions {
        writer.length(local(*source));
        writer.text(&topic_partition.topic);
        writer.unsigned(u64::from(topic_partition.partition.unsigned_abs()));
    }
    writer.length(block.origins.len());
    for origin in &block.origins {
        write_origin(&mut writer, origin);
    }
    writer.length(block.entries.len());
    let mut last = Last::new(block.topic_partitions.len());
    for entry in &block.entries {
        write_entry(&mut writer, entry, &mut last);
    }
    writer.bytes
}

pub(super) fn write_topics(writer: &mut Writer, topics: &[SourceTopic]) {
    writer.length(topics.len());
    for SourceTopic { name, partitions, id } in topics {
        writer.text(name);
        writer.unsigned(u64::from(partitions.unsigned_abs()));
        writer.fixed(*id);
    }
}

pub(super) fn read_topics(reader: &mut Reader<'_>) -> Result<Vec<SourceTopic>, WireError> {
    reader.list(|reader| {
        Ok(SourceTopic { name: reader.text()?.into(), partitions: read_partition(reader)?, id: reader.fixed()? })
    })
}

/// What numbers are written relative to: most changes follow closely on the one before.
pub(super) struct Last {
    offsets: Vec<i64>,
    time: i64,
    position: Position,
    run: RunId,
}

impl Last {
    pub(super) fn new(topic_partitions: usize) -> Last {
        Last { offsets: vec![0; topic_partitions], time: 0, position: Position::default(), run: RunId::default() }
    }
}

pub(super) fn write_origin(writer: &mut Writer, origin: &Origin) {
    match origin {
        Origin::None => writer.byte(0),
        Origin::Lsn => writer.byte(1),
        Origin::Gtid(prefix) => {
            writer.byte(2);
            writer.text(prefix);
        }
        Origin::Binlog(prefix) => {
            writer.byte(3);
            writer.text(prefix);
        }
        Origin::SqlServer => writer.byte(4),
        Origin::Scn => writer.byte(5),
        Origin::ClusterTime => writer.byte(6),
    }
}

pub(super) fn read_origin(reader: &mut Reader<'_>) -> Result<Origin, WireError> {
    Ok(match reader.byte()? {
        0 => Origin::None,
        1 => Origin::Lsn,
        2 => Origin::Gtid(reader.text()?.into()),
        3 => Origin::Binlog(reader.text()?.into()),
        4 => Origin::SqlServer,
        5 => Origin::Scn,
        6 => Origin::ClusterTime,
        _ => return Err(reader.damaged("an origin has an unknown tag")),
    })
}

fn write_entry(writer: &mut Writer, entry: &Entry, last: &mut Last) {
    match entry {
        Entry::Change(change) => write_change(writer, change.topic_partition, change, last),
        Entry::Mark(mark) => {
            writer.byte(if mark.counted { COUNTED_MARK } else { MARK });
            writer.length(mark.topic_partition);
            write_time(writer, mark.time, last);
            writer.option(mark.proof, |writer, proof| write_proof(writer, proof, last));
        }
        Entry::Stall { topic_partition, after_us } => {
            writer.byte(STALL);
            writer.length(*topic_partition);
            writer.signed(*after_us);
        }
        Entry::Gap(gap) => {
            writer.byte(GAP);
            writer.length(gap.topic_partition);
            write_gap(writer, gap);
        }
        Entry::Acknowledge { topic_partition } => {
            writer.byte(ACKNOWLEDGE);
            writer.length(*topic_partition);
        }
        Entry::Snapshot { topic_partition, run } => {
            writer.byte(SNAPSHOT);
            writer.length(*topic_partition);
            write_run_id(writer, *run);
        }
        Entry::Confirm { topic_partition, unseen } => {
            writer.byte(CONFIRM);
            writer.length(*topic_partition);
            write_unseen(writer, *unseen);
        }
        Entry::Reject(reject) => {
            writer.byte(REJECT);
            writer.length(reject.topic_partition);
            write_offset(writer, reject.topic_partition, reject.offset, last);
            writer.instant(reject.timestamp);
            writer.option(reject.key.as_deref(), Writer::slice);
            writer.option(reject.value.as_deref(), Writer::slice);
            writer.length(reject.headers.len());
            for header in &reject.headers {
                writer.text(&header.name);
                writer.option(header.value.as_deref(), Writer::slice);
            }
            writer.byte(u8::from(reject.masked));
            writer.text(&reject.reason);
            writer.text(&reject.detail);
        }
        Entry::Rules(set) => {
            writer.byte(RULES);
            writer.slice(&encode_rules(set));
        }
        Entry::Counted { topic_partition, transaction, numbers } => {
            writer.byte(COUNTED);
            writer.length(*topic_partition);
            writer.fixed(*transaction);
            write_numbers(writer, numbers);
        }
        Entry::Ended(end) => {
            writer.byte(ENDED);
            write_end(writer, end, last, |writer, topic_partition| writer.length(*topic_partition));
        }
    }
}

/// `lane` is the topic-partition's place among those of `last`.
pub(super) fn write_change(writer: &mut Writer, lane: usize, change: &Change, last: &mut Last) {
    writer.byte(match (&change.operation, change.requeued) {
        (Operation::Upsert { .. }, None) => UPSERT,
        (Operation::Delete { .. }, None) => DELETE,
        (Operation::Upsert { .. }, Some(_)) => REQUEUED_UPSERT,
        (Operation::Delete { .. }, Some(_)) => REQUEUED_DELETE,
    });
    writer.length(lane);
    write_offset(writer, lane, change.offset, last);
    if let Some(until) = change.requeued {
        writer.signed(until);
    }
    write_time(writer, change.source_time, last);
    writer.option(change.position, |writer, position| {
        write_position(writer, position, last);
        writer.word(change.fingerprint);
    });
    writer.length(change.origin);
    write_run(writer, change.run, last);
    writer.option((change.transaction != 0).then_some(change.transaction), Writer::fixed);
    writer.option(change.key.as_ref(), |writer, key| writer.text(&key.0));
    writer.option(change.key_before.as_ref(), |writer, key| writer.text(&key.0));
    match &change.operation {
        Operation::Delete { row } => writer.values(row),
        Operation::Upsert { columns, unchanged, row_before } => {
            writer.values(columns);
            writer.length(unchanged.len());
            for column in unchanged {
                writer.unsigned(u64::from(*column));
            }
            writer.option(row_before.as_deref(), Writer::values);
        }
    }
}

fn write_offset(writer: &mut Writer, topic_partition: usize, offset: i64, last: &mut Last) {
    writer.signed(offset.wrapping_sub(last.offsets[topic_partition]));
    last.offsets[topic_partition] = offset;
}

pub(super) fn write_time(writer: &mut Writer, time: Instant, last: &mut Last) {
    writer.signed(time.0.wrapping_sub(last.time));
    last.time = time.0;
}

pub(super) fn write_position(writer: &mut Writer, position: Position, last: &mut Last) {
    writer.wide_signed(position.transaction.wrapping_sub(last.position.transaction) as i128);
    writer.wide_signed(position.row.wrapping_sub(last.position.row) as i128);
    last.position = position;
}

fn write_run(writer: &mut Writer, run: RunId, last: &mut Last) {
    writer.option((run != last.run).then_some(run), write_run_id);
    last.run = run;
}

pub(super) fn write_run_id(writer: &mut Writer, run: RunId) {
    writer.fixed(run.number);
    writer.word(run.family);
}

pub(super) fn read_run_id(reader: &mut Reader<'_>) -> Result<RunId, WireError> {
    Ok(RunId { number: reader.fixed()?, family: reader.word()? })
}

/// Tells a block from every other that may come to stand at its offset, by its length, its beginning and its end: when it
/// was written stands in the first of them.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    const PART: usize = 256;
    let length = fnv1a(&(bytes.len() as u64).to_le_bytes());
    let head = continue_fnv1a(length, &bytes[..bytes.len().min(PART)]);
    continue_fnv1a(head, &bytes[bytes.len().saturating_sub(PART)..])
}

/// Reads a block. Lines of sources that `catalog` does not have are left out; columns that the writer did not have
/// are unknown.
pub fn decode(bytes: &[u8], catalog: &Catalog) -> Result<Block, WireError> {
    let mut reader = Reader::new(WHAT, bytes);
    reader.head(MAGIC, VERSION)?;
    let (written_at, partitions) = (reader.instant()?, read_partition(&mut reader)?);
    let mut block = Block { written_at, partitions, ..Block::default() };
    let maps = reader.list(|reader| read_source(reader, catalog))?;
    for _ in 0..reader.length()? {
        let local: usize = reader.narrow()?;
        let topics = read_topics(&mut reader)?;
        let map = maps.get(local).ok_or_else(|| reader.damaged("a source is not listed"))?;
        if let Some(source) = map.source {
            block.topologies.push(Topology { source, topics });
        }
    }
    // The writer's topic-partitions, and where each stands among those that the reader keeps.
    let mut lanes: Vec<(usize, Option<usize>)> = Vec::new();
    for _ in 0..reader.length()? {
        let local: usize = reader.narrow()?;
        let topic_partition =
            TopicPartition { topic: reader.text()?.into(), partition: read_partition(&mut reader)? };
        let map = maps.get(local).ok_or_else(|| reader.damaged("a source is not listed"))?;
        lanes.push((local, map.source.map(|_| block.topic_partitions.len())));
        if let Some(source) = map.source {
            block.topic_partitions.push((source, topic_partition));
        }
    }
    block.origins = reader.list(read_origin)?;
    let mut last = Last::new(lanes.len());
    for _ in 0..reader.length()? {
        let entry = read_entry(&mut reader, &maps, &lanes, block.origins.len(), &mut last)?;
        block.entries.extend(entry);
    }
    reader.end()?;
    Ok(block)
}

fn read_source(reader: &mut Reader<'_>, catalog: &Catalog) -> Result<SourceMap, WireError> {
    let name = reader.text()?;
    let written = reader.list(read_column)?;
    SourceMap::new(WHAT, name, &written, catalog)
}

pub(super) fn write_column(writer: &mut Writer, column: &Column) {
    writer.text(&column.name);
    write_type(writer, column.ty);
}

pub(super) fn read_column(reader: &mut Reader<'_>) -> Result<Column, WireError> {
    Ok(Column { name: reader.text()?.to_owned(), ty: read_type(reader)? })
}

pub(super) fn read_partition(reader: &mut Reader<'_>) -> Result<i32, WireError> {
    let partition: u32 = reader.narrow()?;
    i32::try_from(partition).map_err(|_| reader.damaged("a partition is out of range"))
}

fn read_entry(
    reader: &mut Reader<'_>,
    maps: &[SourceMap],
    lanes: &[(usize, Option<usize>)],
    origins: usize,
    last: &mut Last,
) -> Result<Option<Entry>, WireError> {
    let tag = reader.byte()?;
    if tag == RULES {
        return Ok(Some(Entry::Rules(decode_rules(reader.slice()?)?)));
    }
    if tag == ENDED {
        let lane = |reader: &mut Reader<'_>| {
            let written: usize = reader.narrow()?;
            let (_, lane) = *lanes.get(written).ok_or_else(|| reader.damaged("a topic-partition is not listed"))?;
            Ok(lane)
        };
        let end = read_end(reader, last, lane)?.of(|lane| lane);
        return Ok((!end.sent.is_empty()).then_some(Entry::Ended(end)));
    }
    let written: usize = reader.narrow()?;
    let (local, lane) = *lanes.get(written).ok_or_else(|| reader.damaged("a topic-partition is not listed"))?;
    let entry = match tag {
        tag if is_change(tag) => {
            let mut change = read_change(reader, tag, written, &maps[local], last)?;
            if change.origin >= origins {
                return Err(reader.damaged("an origin is not listed"));
            }
            change.topic_partition = lane.unwrap_or(0);
            Entry::Change(Box::new(change))
        }
        MARK | COUNTED_MARK => {
            let counted = tag == COUNTED_MARK;
            let time = read_time(reader, last)?;
            let proof = reader.option(|reader| read_proof(reader, last))?;
            Entry::Mark(Mark { topic_partition: lane.unwrap_or(0), time, proof, counted })
        }
        STALL => Entry::Stall { topic_partition: lane.unwrap_or(0), after_us: reader.signed()? },
        GAP => Entry::Gap(Gap { topic_partition: lane.unwrap_or(0), ..read_gap(reader)? }),
        ACKNOWLEDGE => Entry::Acknowledge { topic_partition: lane.unwrap_or(0) },
        SNAPSHOT => Entry::Snapshot { topic_partition: lane.unwrap_or(0), run: read_run_id(reader)? },
        CONFIRM => Entry::Confirm { topic_partition: lane.unwrap_or(0), unseen: read_unseen(reader)? },
        COUNTED => Entry::Counted {
            topic_partition: lane.unwrap_or(0),
            transaction: reader.fixed()?,
            numbers: read_numbers(reader)?,
        },
        REJECT => Entry::Reject(Reject {
            topic_partition: lane.unwrap_or(0),
            offset: read_offset(reader, written, last)?,
            timestamp: reader.instant()?,
            key: reader.option(Reader::slice)?.map(Into::into),
            value: reader.option(Reader::slice)?.map(Into::into),
            headers: reader.list(read_header)?,
            masked: reader.byte()? == 1,
            reason: reader.text()?.into(),
            detail: reader.text()?.into(),
        }),
        _ => return Err(reader.damaged("a line has an unknown tag")),
    };
    Ok(lane.map(|_| entry))
}

fn read_header(reader: &mut Reader<'_>) -> Result<Header, WireError> {
    Ok(Header { name: reader.text()?.into(), value: reader.option(Reader::slice)?.map(Into::into) })
}

/// Without its topic-partition.
pub(super) fn write_gap(writer: &mut Writer, gap: &Gap) {
    writer.byte(match gap.cause {
        GapCause::Retention => 0,
        GapCause::Recreated => 1,
        GapCause::OffsetForgotten => 2,
        GapCause::Truncated => 3,
    });
    writer.signed(gap.expected);
    writer.signed(gap.found);
    writer.fixed(gap.topic_id);
}

pub(super) fn read_gap(reader: &mut Reader<'_>) -> Result<Gap, WireError> {
    let cause = match reader.byte()? {
        0 => GapCause::Retention,
        1 => GapCause::Recreated,
        2 => GapCause::OffsetForgotten,
        3 => GapCause::Truncated,
        _ => return Err(reader.damaged("a gap has an unknown cause")),
    };
    let (expected, found, topic_id) = (reader.signed()?, reader.signed()?, reader.fixed()?);
    Ok(Gap { topic_partition: 0, cause, expected, found, topic_id })
}

pub(super) fn write_unseen(writer: &mut Writer, unseen: Unseen) {
    writer.byte(u8::from(unseen == Unseen::Kept));
}

pub(super) fn read_unseen(reader: &mut Reader<'_>) -> Result<Unseen, WireError> {
    match reader.byte()? {
        0 => Ok(Unseen::Gone),
        1 => Ok(Unseen::Kept),
        _ => Err(reader.damaged("what became of rows has an unknown tag")),
    }
}

pub(super) fn write_proof(writer: &mut Writer, proof: Proof, last: &mut Last) {
    write_position(writer, proof.position, last);
    write_run(writer, proof.run, last);
}

pub(super) fn read_proof(reader: &mut Reader<'_>, last: &mut Last) -> Result<Proof, WireError> {
    Ok(Proof { position: read_position(reader, last)?, run: read_run(reader, last)? })
}

/// True for the tags of changes.
pub(super) fn is_change(tag: u8) -> bool {
    matches!(tag, UPSERT | DELETE | REQUEUED_UPSERT | REQUEUED_DELETE)
}

pub(super) fn read_change(
    reader: &mut Reader<'_>,
    tag: u8,
    written: usize,
    map: &SourceMap,
    last: &mut Last,
) -> Result<Change, WireError> {
    let offset = read_offset(reader, written, last)?;
    let requeued = matches!(tag, REQUEUED_UPSERT | REQUEUED_DELETE).then(|| reader.signed()).transpose()?;
    let source_time = read_time(reader, last)?;
    let placed = reader.option(|reader| Ok((read_position(reader, last)?, reader.word()?)))?;
    let (position, fingerprint) = placed.map_or((None, 0), |(position, fingerprint)| (Some(position), fingerprint));
    let origin = reader.narrow()?;
    let run = read_run(reader, last)?;
    let transaction = reader.option(Reader::fixed)?.unwrap_or(0);
    let key = reader.option(Reader::text)?.map(|key| Key(key.into()));
    let key_before = reader.option(Reader::text)?.map(|key| Key(key.into()));
    let operation = match tag {
        DELETE | REQUEUED_DELETE => Operation::Delete { row: reader.values()? },
        _ => read_upsert(reader, map)?,
    };
    Ok(Change {
        topic_partition: 0,
        offset,
        source_time,
        position,
        fingerprint,
        origin,
        run,
        transaction,
        key,
        key_before,
        operation,
        requeued,
    })
}

fn read_upsert(reader: &mut Reader<'_>, map: &SourceMap) -> Result<Operation, WireError> {
    let columns = map.row(reader.list(Reader::value)?);
    let columns = columns.ok_or_else(|| reader.damaged("a row has another number of columns than its source"))?;
    let unchanged: Vec<usize> = reader.list(Reader::narrow)?;
    let place = |written: &usize| map.place_of(*written);
    let unchanged = unchanged.iter().filter_map(place).map(|index| index as u16).collect();
    let row_before = reader.option(Reader::values)?;
    Ok(Operation::Upsert { columns, unchanged, row_before })
}

fn read_offset(reader: &mut Reader<'_>, topic_partition: usize, last: &mut Last) -> Result<i64, WireError> {
    let offset = last.offsets[topic_partition].wrapping_add(reader.signed()?);
    last.offsets[topic_partition] = offset;
    Ok(offset)
}

pub(super) fn read_time(reader: &mut Reader<'_>, last: &mut Last) -> Result<Instant, WireError> {
    last.time = last.time.wrapping_add(reader.signed()?);
    Ok(Instant(last.time))
}

pub(super) fn read_position(reader: &mut Reader<'_>, last: &mut Last) -> Result<Position, WireError> {
    let transaction = last.position.transaction.wrapping_add(reader.wide_signed()? as u128);
    let row = last.position.row.wrapping_add(reader.wide_signed()? as u128);
    last.position = Position { transaction, row };
    Ok(last.position)
}

fn read_run(reader: &mut Reader<'_>, last: &mut Last) -> Result<RunId, WireError> {
    if let Some(run) = reader.option(read_run_id)? {
        last.run = run;
    }
    Ok(last.run)
}
