//! What a store keeps, as bytes, version 1: a key's state, the task's memory, chunks of waiting changes.
//!
//! Must not know: which store. Every value begins with its version and the number of the column layout it was
//! written under; the memory lists the layouts, so that a column may be added or dropped without rewriting state.

use std::collections::VecDeque;

use super::block::{
    Last, is_change, read_change, read_column, read_gap, read_origin, read_partition, read_proof, read_run_id,
    read_topics, write_change, write_column, write_gap, write_origin, write_proof, write_run_id, write_topics,
};
use super::source_map::SourceMap;
use super::{Reader, WireError, Writer};
use crate::domain::catalog::{Catalog, Column};
use crate::domain::change::{Key, Mark, Origin, Position, SourceTopic, TopicPartition};
use crate::domain::flow::{Flow, Place};
use crate::domain::instant::Instant;
use crate::domain::key_state::{Episode, KeyState, Memory, Phase, Provenance, Reason, Row};
use crate::domain::queue::Waiting;
use crate::domain::timeline::Lane;

/// The format of what a store keeps.
pub const VERSION: u8 = 1;
const STATE: &str = "the state";
const KEY_STATE: &str = "key state";
const TASK_MEMORY: &str = "task memory";
const CHUNK: &str = "chunk of waiting changes";
const MAGIC: &[u8] = b"EKM";

/// What rows were written as: for each source, its name and its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout(pub Vec<(String, Vec<Column>)>);

impl Layout {
    pub fn of(catalog: &Catalog) -> Layout {
        Layout(catalog.sources.iter().map(|table| (table.name.clone(), table.columns.clone())).collect())
    }
}

/// Translates rows of every layout ever written into the current one, which is the last.
pub struct Layouts {
    layouts: Vec<Layout>,
    maps: Vec<Vec<SourceMap>>,
}

impl Layouts {
    /// `known` as the memory lists them; the catalog's own is appended unless it is the last already.
    pub fn new(mut known: Vec<Layout>, catalog: &Catalog) -> Result<Layouts, WireError> {
        let current = Layout::of(catalog);
        if known.last() != Some(&current) {
            known.push(current);
        }
        let map = |(name, columns): &(String, Vec<Column>)| SourceMap::new(STATE, name, columns, catalog);
        let maps = known.iter().map(|layout| layout.0.iter().map(map).collect()).collect::<Result<_, _>>()?;
        Ok(Layouts { layouts: known, maps })
    }

    pub fn list(&self) -> &[Layout] {
        &self.layouts
    }

    fn current(&self) -> usize {
        self.layouts.len() - 1
    }

    fn read<'m>(&'m self, reader: &mut Reader<'_>) -> Result<&'m [SourceMap], WireError> {
        let number: usize = reader.narrow()?;
        let maps = self.maps.get(number).ok_or_else(|| reader.damaged("its column layout is not listed"))?;
        Ok(maps)
    }
}

/// `due` is the deadline under which the store lists the key.
pub fn encode_key(state: &KeyState, due: Option<Instant>, layouts: &Layouts) -> Vec<u8> {
    let mut writer = Writer { bytes: Vec::with_capacity(256) };
    writer.byte(VERSION);
    writer.length(layouts.current());
    writer.option(due, Writer::instant);
    writer.instant(state.first_seen);
    writer.byte(u8::from(state.judged));
    for rows in &state.rows {
        writer.length(rows.len());
        for row in rows {
            writer.values(&row.columns);
            writer.signed(row.provenance.source_time.since(state.first_seen));
            let Position { transaction, row: within } = row.provenance.position;
            writer.wide(transaction);
            writer.wide_signed(within.wrapping_sub(transaction) as i128);
            writer.length(row.provenance.origin);
            writer.length(row.provenance.lane);
            writer.signed(row.provenance.offset);
        }
    }
    writer.length(state.episodes.len());
    for episode in &state.episodes {
        write_episode(&mut writer, episode);
    }
    writer.length(state.memories.len());
    for memory in &state.memories {
        writer.text(&memory.rule);
        writer.values(&memory.identity);
        writer.instant(memory.resolved_at);
        writer.instant(memory.lineage);
        writer.unsigned(u64::from(memory.flap_count));
    }
    // Most keys know of no snapshot that was taken anew.
    let generations = || state.rows.iter().flatten().map(|row| row.provenance.generation);
    if generations().any(|generation| generation > 0) {
        generations().for_each(|generation| writer.unsigned(u64::from(generation)));
    }
    writer.bytes
}

/// The key's state, and the deadline under which the store lists it.
pub fn decode_key(bytes: &[u8], layouts: &Layouts) -> Result<(KeyState, Option<Instant>), WireError> {
    let mut reader = Reader::new(KEY_STATE, bytes);
    reader.head(b"", VERSION)?;
    let maps = layouts.read(&mut reader)?;
    let due = reader.option(Reader::instant)?;
    let first_seen = reader.instant()?;
    let mut state = KeyState::new(layouts.maps[layouts.current()].len(), first_seen);
    state.judged = reader.byte()? == 1;
    let mut written = Vec::new();
    for map in maps {
        for _ in 0..reader.length()? {
            let row = read_row(&mut reader, map, first_seen)?;
            written.push(map.source.map(|source| (source, state.rows[source].len())));
            if let Some(source) = map.source {
                state.rows[source].push(row);
            }
        }
    }
    state.episodes = reader.list(read_episode)?;
    state.memories = reader.list(|reader| {
        Ok(Memory {
            rule: reader.text()?.into(),
            identity: reader.values()?,
            resolved_at: reader.instant()?,
            lineage: reader.instant()?,
            flap_count: reader.narrow()?,
        })
    })?;
    for place in if reader.is_empty() { Vec::new() } else { written } {
        let generation = reader.narrow()?;
        if let Some((source, row)) = place {
            state.rows[source][row].provenance.generation = generation;
        }
    }
    reader.end()?;
    Ok((state, due))
}

fn read_row(reader: &mut Reader<'_>, map: &SourceMap, first_seen: Instant) -> Result<Row, WireError> {
    let columns = map.row(reader.list(Reader::value)?);
    let columns = columns.ok_or_else(|| reader.damaged("a row has another number of columns than its layout"))?;
    let source_time = first_seen.plus(reader.signed()?);
    let transaction = reader.wide()?;
    let row = transaction.wrapping_add(reader.wide_signed()? as u128);
    let provenance = Provenance {
        source_time,
        position: Position { transaction, row },
        origin: reader.narrow()?,
        lane: reader.narrow()?,
        offset: reader.signed()?,
        generation: 0,
    };
    Ok(Row { columns, provenance })
}

fn write_episode(writer: &mut Writer, episode: &Episode) {
    writer.text(&episode.rule);
    writer.values(&episode.identity);
    match episode.phase {
        Phase::Pending => writer.byte(0),
        Phase::Open => writer.byte(1),
        Phase::Ending { until, reason } => {
            writer.byte(2);
            writer.instant(until);
            writer.byte(match reason {
                Reason::Converged => 0,
                Reason::Deleted => 1,
                Reason::LateArrival => 2,
                Reason::RuleRemoved => 3,
            });
        }
    }
    writer.instant(episode.since);
    writer.instant(episode.lineage);
    writer.unsigned(u64::from(episode.revision));
    writer.unsigned(u64::from(episode.flap_count));
    writer.unsigned(u64::from(episode.escalated));
    writer.length(episode.evidence.len());
    for row in &episode.evidence {
        writer.values(row);
    }
}

fn read_episode(reader: &mut Reader<'_>) -> Result<Episode, WireError> {
    let rule = reader.text()?.into();
    let identity = reader.values()?;
    let phase = match reader.byte()? {
        0 => Phase::Pending,
        1 => Phase::Open,
        2 => {
            let until = reader.instant()?;
            let reason = match reader.byte()? {
                0 => Reason::Converged,
                1 => Reason::Deleted,
                2 => Reason::LateArrival,
                3 => Reason::RuleRemoved,
                _ => return Err(reader.damaged("a reason has an unknown tag")),
            };
            Phase::Ending { until, reason }
        }
        _ => return Err(reader.damaged("a phase has an unknown tag")),
    };
    Ok(Episode {
        rule,
        identity,
        phase,
        since: reader.instant()?,
        lineage: reader.instant()?,
        revision: reader.narrow()?,
        flap_count: reader.narrow()?,
        escalated: reader.narrow()?,
        evidence: reader.list(Reader::values)?,
    })
}

/// What a task remembers besides its keys. Written in the same batch as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskMemory {
    /// The changes-log offset to read next.
    pub next_offset: i64,
    /// Among how many partitions of the changes log keys are shared.
    pub partitions: i32,
    /// Tells the bytes of the block before it from another's, where they were known.
    pub fingerprint: Option<u64>,
    /// How many records that block has caused already: it was applied in part.
    pub said: u32,
    /// Fingerprint of the rules under which every key was last judged.
    pub rules: u64,
    /// Where the rules have changed: the fingerprint of those under which keys are being judged anew, and the last one
    /// that was.
    pub sweep: Option<(u64, Key)>,
    /// The settled time at which the last heartbeat record was said.
    pub heartbeat: Option<Instant>,
    pub layouts: Vec<Layout>,
    pub origins: Vec<Origin>,
    pub flows: Vec<Flow>,
    pub lanes: Vec<Lane>,
    /// For each lane that stands still, how old a promise may be that ends it, microseconds.
    pub stalled: Vec<Option<i64>>,
    /// For each lane, the numbers of its first waiting change and of the one after the last.
    pub waiting: Vec<(u64, u64)>,
    pub topologies: Vec<Vec<SourceTopic>>,
    /// Ids of topics whose names others have.
    pub former: VecDeque<u64>,
    pub settled: Option<Instant>,
    /// The settled time up to which every key has lived.
    pub lived: Option<Instant>,
    pub baseline: Option<Instant>,
    /// For each rule with any, its id and its disagreements pending and open.
    pub tallies: Vec<(Box<str>, i64, i64)>,
}

pub fn encode_memory(memory: &TaskMemory) -> Vec<u8> {
    let mut writer = Writer::begin(MAGIC, VERSION);
    writer.signed(memory.next_offset);
    writer.unsigned(u64::from(memory.partitions.unsigned_abs()));
    writer.option(memory.fingerprint, Writer::fixed);
    writer.unsigned(u64::from(memory.said));
    writer.fixed(memory.rules);
    writer.option(memory.sweep.as_ref(), |writer, (rules, key)| {
        writer.fixed(*rules);
        writer.text(&key.0);
    });
    writer.option(memory.heartbeat, Writer::instant);
    writer.length(memory.layouts.len());
    for layout in &memory.layouts {
        writer.length(layout.0.len());
        for (source, columns) in &layout.0 {
            writer.text(source);
            writer.length(columns.len());
            columns.iter().for_each(|column| write_column(&mut writer, column));
        }
    }
    writer.length(memory.origins.len());
    memory.origins.iter().for_each(|origin| write_origin(&mut writer, origin));
    writer.length(memory.flows.len());
    memory.flows.iter().for_each(|flow| write_flow(&mut writer, flow));
    writer.length(memory.lanes.len());
    for (index, lane) in memory.lanes.iter().enumerate() {
        write_lane(&mut writer, lane);
        writer.option(memory.stalled[index], Writer::signed);
        writer.unsigned(memory.waiting[index].0);
        writer.unsigned(memory.waiting[index].1);
    }
    writer.length(memory.topologies.len());
    for topics in &memory.topologies {
        write_topics(&mut writer, topics);
    }
    writer.length(memory.former.len());
    memory.former.iter().for_each(|id| writer.fixed(*id));
    writer.option(memory.settled, Writer::instant);
    writer.option(memory.lived, Writer::instant);
    writer.option(memory.baseline, Writer::instant);
    writer.length(memory.tallies.len());
    for (rule, pending, open) in &memory.tallies {
        writer.text(rule);
        writer.signed(*pending);
        writer.signed(*open);
    }
    writer.bytes
}

pub fn decode_memory(bytes: &[u8]) -> Result<TaskMemory, WireError> {
    let mut reader = Reader::new(TASK_MEMORY, bytes);
    reader.head(MAGIC, VERSION)?;
    let next_offset = reader.signed()?;
    let partitions = read_partition(&mut reader)?;
    let fingerprint = reader.option(Reader::fixed)?;
    let said = reader.narrow()?;
    let rules = reader.fixed()?;
    let sweep = reader.option(|reader| Ok((reader.fixed()?, Key(reader.text()?.into()))))?;
    let heartbeat = reader.option(Reader::instant)?;
    let layouts = reader.list(|reader| {
        let source = |reader: &mut Reader<'_>| Ok((reader.text()?.to_owned(), reader.list(read_column)?));
        Ok(Layout(reader.list(source)?))
    })?;
    let origins = reader.list(read_origin)?;
    let flows = reader.list(read_flow)?;
    let mut lanes = Vec::new();
    let mut stalled = Vec::new();
    let mut waiting = Vec::new();
    for _ in 0..reader.length()? {
        lanes.push(read_lane(&mut reader)?);
        stalled.push(reader.option(Reader::signed)?);
        waiting.push((reader.unsigned()?, reader.unsigned()?));
    }
    let topologies = reader.list(read_topics)?;
    let former = reader.list(Reader::fixed)?.into();
    let settled = reader.option(Reader::instant)?;
    let lived = reader.option(Reader::instant)?;
    let baseline = reader.option(Reader::instant)?;
    let tallies = reader.list(|reader| Ok((reader.text()?.into(), reader.signed()?, reader.signed()?)))?;
    reader.end()?;
    Ok(TaskMemory {
        next_offset,
        partitions,
        fingerprint,
        said,
        rules,
        sweep,
        heartbeat,
        layouts,
        origins,
        flows,
        lanes,
        stalled,
        waiting,
        topologies,
        former,
        settled,
        lived,
        baseline,
        tallies,
    })
}

fn write_place(writer: &mut Writer, place: Place) {
    writer.unsigned(u64::from(place.epoch));
    writer.wide(place.position.transaction);
    writer.wide(place.position.row);
}

fn read_place(reader: &mut Reader<'_>) -> Result<Place, WireError> {
    let epoch = reader.narrow()?;
    Ok(Place { epoch, position: Position { transaction: reader.wide()?, row: reader.wide()? } })
}

fn write_flow(writer: &mut Writer, flow: &Flow) {
    writer.instant(flow.reached);
    writer.unsigned(u64::from(flow.epoch));
    writer.length(flow.runs.len());
    for (run, epoch) in &flow.runs {
        write_run_id(writer, *run);
        writer.unsigned(u64::from(*epoch));
    }
    writer.length(flow.proofs.len());
    for (place, instant) in &flow.proofs {
        write_place(writer, *place);
        writer.instant(*instant);
    }
}

fn read_flow(reader: &mut Reader<'_>) -> Result<Flow, WireError> {
    Ok(Flow {
        reached: reader.instant()?,
        epoch: reader.narrow()?,
        runs: reader.list(|reader| Ok((read_run_id(reader)?, reader.narrow()?)))?,
        anew: None,
        proofs: reader.list(|reader| Ok((read_place(reader)?, reader.instant()?)))?.into(),
    })
}

fn write_lane(writer: &mut Writer, lane: &Lane) {
    writer.length(lane.source);
    writer.text(&lane.topic_partition.topic);
    writer.unsigned(u64::from(lane.topic_partition.partition.unsigned_abs()));
    writer.signed(lane.last_offset);
    write_place(writer, lane.place);
    writer.length(lane.shared.len());
    lane.shared.iter().for_each(|fingerprint| writer.word(*fingerprint));
    writer.instant(lane.latest);
    write_run_id(writer, lane.last_run);
    writer.option(lane.mark, Writer::instant);
    write_place(writer, lane.proved);
    writer.option(lane.baseline, Writer::instant);
    writer.option(lane.gap.as_ref(), write_gap);
    writer.option(lane.halted, |writer, withheld| {
        writer.option(withheld, |writer, mark| {
            writer.instant(mark.time);
            writer.option(mark.proof, |writer, proof| write_proof(writer, proof, &mut Last::new(0)));
        });
    });
}

fn read_lane(reader: &mut Reader<'_>) -> Result<Lane, WireError> {
    let source = reader.narrow()?;
    let topic = reader.text()?.into();
    let partition: u32 = reader.narrow()?;
    Ok(Lane {
        source,
        topic_partition: TopicPartition { topic, partition: i32::try_from(partition).unwrap_or(i32::MAX) },
        last_offset: reader.signed()?,
        place: read_place(reader)?,
        shared: reader.list(Reader::word)?.into(),
        latest: reader.instant()?,
        last_run: read_run_id(reader)?,
        mark: reader.option(Reader::instant)?,
        proved: read_place(reader)?,
        baseline: reader.option(Reader::instant)?,
        gap: reader.option(read_gap)?,
        halted: reader.option(|reader| reader.option(read_withheld))?,
    })
}

fn read_withheld(reader: &mut Reader<'_>) -> Result<Mark, WireError> {
    let time = reader.instant()?;
    let proof = reader.option(|reader| read_proof(reader, &mut Last::new(0)))?;
    Ok(Mark { topic_partition: 0, time, proof, counted: false })
}

/// Writes consecutive waiting changes of one lane.
pub fn encode_chunk<'w>(waiting: impl ExactSizeIterator<Item = &'w Waiting>, layouts: &Layouts) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.byte(VERSION);
    writer.length(layouts.current());
    writer.length(waiting.len());
    let mut last = Last::new(1);
    for one in waiting {
        write_place(&mut writer, one.place);
        writer.instant(one.floor);
        writer.byte(u8::from(one.late));
        write_change(&mut writer, 0, &one.change, &mut last);
    }
    writer.bytes
}

/// Reads what [`encode_chunk`] wrote for a lane of `source` (its index in the current layout).
pub fn decode_chunk(bytes: &[u8], source: usize, lane: usize, layouts: &Layouts) -> Result<Vec<Waiting>, WireError> {
    let mut reader = Reader::new(CHUNK, bytes);
    reader.head(b"", VERSION)?;
    let maps = layouts.read(&mut reader)?;
    let map = maps.iter().find(|map| map.source == Some(source));
    let map = map.ok_or_else(|| reader.damaged("its source is not in its layout"))?;
    let mut last = Last::new(1);
    let waiting = reader.list(|reader| {
        let place = read_place(reader)?;
        let floor = reader.instant()?;
        let late = reader.byte()? == 1;
        let tag = reader.byte()?;
        if !is_change(tag) {
            return Err(reader.damaged("a line is not a change"));
        }
        let _lane: usize = reader.narrow()?;
        let mut change = read_change(reader, tag, 0, map, &mut last)?;
        change.topic_partition = lane;
        Ok(Waiting { place, floor, late, change: Box::new(change) })
    })?;
    reader.end()?;
    Ok(waiting)
}
