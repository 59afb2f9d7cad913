//! Change events and keys, in every format and of every connector, and what becomes of one that was understood.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use evenkeel::adapters::debezium::frame::{Half, SchemaId};
use evenkeel::adapters::debezium::shape::{ConnectorKind, Format};
use evenkeel::adapters::debezium::{
    Decoder, Event, Found, NoRegistry, Record, Refusal, Registry, Undecoded, blot, frame as framing, heartbeat,
};
use evenkeel::app::settings::SourceSettings;
use evenkeel::domain::change::{Block, Change, Entry, Operation, TopicPartition};
use evenkeel::domain::instant::Instant;
use evenkeel::domain::sql::to_text;
use evenkeel::domain::value::Value;
use evenkeel::task::ingest::Decoded;
use evenkeel::task::wire::block;

use super::setting::{setting, source};

/// Kafka's timestamp of every record.
const NOW: Instant = Instant(1_795_000_000_000_000);

/// More of a refusal's words than anybody reads, bytes; they are published with the record.
const WORDS: usize = 4096;

/// A value in JSON, of the source that the first byte chooses.
pub fn json(input: &[u8]) {
    let Some((chosen, value)) = input.split_first() else { return };
    let (index, source) = source(*chosen);
    let key = br#"{"id":7,"_id":"{\"$oid\": \"596e275826f08b2730779e1f\"}"}"#;
    judge(index, source, &mut Decoder::new(Arc::new(NoRegistry)), [Some(key), Some(value)]);
}

/// A key, of the source that the first byte chooses: of a tombstone, and of a delete of MongoDB's.
pub fn key(input: &[u8]) {
    let Some((chosen, key)) = input.split_first() else { return };
    let (index, source) = source(*chosen);
    let deleted = br#"{"before":null,"after":null,"source":{"ts_ms":1000,"ord":3},"op":"d"}"#;
    let value = (source.shape.connector.kind == ConnectorKind::Mongodb).then_some(&deleted[..]);
    judge(index, source, &mut Decoder::new(Arc::new(NoRegistry)), [Some(key), value]);
}

/// One value within an event that is otherwise sound: bytes choose the source, the column, whether it is JSON or a text, and
/// what the event's schema says of it.
pub fn cell(input: &[u8]) {
    let [chosen, column, kind, content @ ..] = input else { return };
    let Ok(content) = std::str::from_utf8(content) else { return };
    let (index, source) = source(*chosen);
    let shape = &source.shape;
    let column = &shape.columns[usize::from(*column) % shape.columns.len()].name;
    let text = if kind & 1 == 0 { content.to_owned() } else { serde_json::Value::from(content).to_string() };
    let row = format!(r#"{{"id":1,"order_id":2,"uid":"2b1c8c58-7a8b-4f6a-8c7b-0f3d6a1b2c3d","{column}":{text}}}"#);
    let about = r#""ts_ms":1000,"lsn":5,"txId":6,"gtid":"0-1-5","file":"b.1","pos":4,"row":0,"ord":1"#;
    let lsn = "00000027:00000758:0005";
    let source_block = format!(
        r#"{{{about},"commit_lsn":"{lsn}","change_lsn":"{lsn}","commit_scn":"5","scn":"5","snapshot":"false"}}"#
    );
    let event = format!(r#"{{"before":null,"after":{row},"source":{source_block},"op":"c"}}"#);
    let name = SEMANTIC[usize::from(kind >> 1) % SEMANTIC.len()];
    let event = match name {
        "" => event,
        name => {
            let node =
                format!(r#"{{"type":"bytes","field":"{column}","name":"{name}","parameters":{{"scale":"3"}}}}"#);
            let schema =
                format!(r#"{{"type":"struct","fields":[{{"type":"struct","field":"after","fields":[{node}]}}]}}"#);
            format!(r#"{{"schema":{schema},"payload":{event}}}"#)
        }
    };
    judge(index, source, &mut Decoder::new(Arc::new(NoRegistry)), [None, Some(event.as_bytes())]);
}

/// What schemas call types that JSON has not.
const SEMANTIC: [&str; 12] = [
    "",
    "none",
    "org.apache.kafka.connect.data.Decimal",
    "io.debezium.data.VariableScaleDecimal",
    "io.debezium.time.Timestamp",
    "io.debezium.time.MicroTimestamp",
    "io.debezium.time.NanoTimestamp",
    "io.debezium.time.Time",
    "io.debezium.time.MicroTime",
    "io.debezium.time.NanoTime",
    "io.debezium.time.Date",
    "io.debezium.data.Json",
];

/// The schemas that real events were written with.
static SCHEMAS: LazyLock<Vec<Arc<str>>> = LazyLock::new(|| {
    let files = [
        include_str!("../../fixtures/debezium/forms.schemas.json"),
        include_str!("../../fixtures/debezium/avro-schemas.json"),
    ];
    let schemas = files.iter().flat_map(|file| {
        let schemas: serde_json::Map<String, serde_json::Value> = serde_json::from_str(file).expect("JSON");
        schemas.into_iter().map(|(_, schema)| schema.to_string().into())
    });
    schemas.collect()
});

/// A registry that has one schema, or those of real events.
enum Schemas {
    Real,
    One(Arc<str>),
}

impl Registry for Schemas {
    fn find(&self, id: &SchemaId) -> Found {
        let SchemaId::Number(id) = id else {
            return Found::Useless(Refusal::new("unknown_schema", "it has no such id"));
        };
        Found::Avro(match self {
            Schemas::Real => Arc::clone(&SCHEMAS[*id as usize % SCHEMAS.len()]),
            Schemas::One(schema) => Arc::clone(schema),
        })
    }

    fn wait(&self, _: &SchemaId, _: Duration) -> Option<String> {
        None
    }
}

thread_local! {
    /// One for each source: making a schema ready takes longer than reading what was written with it.
    static READY: RefCell<Vec<Decoder>> =
        RefCell::new(setting().settings.sources.iter().map(|_| Decoder::new(Arc::new(Schemas::Real))).collect());
}

/// A datum of a real schema: bytes choose the source and the schema.
pub fn avro(input: &[u8]) {
    let [chosen, schema, datum @ ..] = input else { return };
    let (index, source) = source(*chosen);
    let value = [&[0, 0, 0, 1, schema % SCHEMAS.len() as u8], datum].concat();
    READY.with_borrow_mut(|ready| judge(index, source, &mut ready[index], [Some(&value), Some(&value)]));
}

/// A schema, a zero byte, a datum; the first byte chooses the source.
pub fn avro_schema(input: &[u8]) {
    let Some((chosen, rest)) = input.split_first() else { return };
    let at = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let Ok(schema) = std::str::from_utf8(&rest[..at]) else { return };
    let (index, source) = source(*chosen);
    let value = [&[0, 0, 0, 1, 0], rest.get(at + 1..).unwrap_or_default()].concat();
    let mut decoder = Decoder::new(Arc::new(Schemas::One(schema.into())));
    judge(index, source, &mut decoder, [Some(&value), Some(&value)]);
}

/// What frames a record: bytes choose which header it has, how long that is, and what is said of the format.
pub fn frame(input: &[u8]) {
    let [header, length, format, rest @ ..] = input else { return };
    let (value, bytes) = rest.split_at(usize::from(*length).min(rest.len()));
    const HEADERS: [&str; 7] = [
        "__value_schema_id",
        "__key_schema_id",
        "apicurio.value.globalId",
        "apicurio.key.globalId",
        "apicurio.value.contentId",
        "apicurio.key.contentId",
        "apicurio.value.encoding",
    ];
    let find = |name: &str| (HEADERS.get(usize::from(*header % 8)) == Some(&name)).then_some(value);
    let formats = [None, Some(4), Some(8)].map(|id_bytes| Format::Avro { id_bytes });
    let format = *[Format::Auto, Format::Json].iter().chain(&formats).nth(usize::from(*format % 5)).expect("of five");
    for half in [Half::Key, Half::Value] {
        match framing::of(format, half, bytes, &find) {
            Ok(framing::Frame::Json(left) | framing::Frame::Schema(_, left)) => assert!(left.len() <= bytes.len()),
            Err(refusal) => assert!(refusal.detail.len() <= WORDS, "{refusal:?}"),
        }
    }
}

/// Decodes a record, and does with it what the product does.
fn judge(index: usize, source: &SourceSettings, decoder: &mut Decoder, [key, value]: [Option<&[u8]>; 2]) {
    let shape = &source.shape;
    let record = Record { key, value, timestamp: NOW, headers: &|_| None };
    if let Err(Undecoded::Refused(refusal)) = decoder.end(shape, record) {
        assert!(refusal.detail.len() <= WORDS, "{}: words of {} bytes", refusal.reason, refusal.detail.len());
    }
    match decoder.decode(shape, record) {
        Ok(Event::Nothing) => {}
        Ok(Event::Change(decoded)) => {
            let _ = heartbeat(shape, Event::Change(decoded.clone()));
            travels(index, decoded);
        }
        Err(Undecoded::Waits(id)) => panic!("nobody is asked, and it waits for {id:?}"),
        Err(Undecoded::Refused(refusal)) => {
            assert!(refusal.detail.len() <= WORDS, "{}: words of {} bytes", refusal.reason, refusal.detail.len());
            let _ = [key, value].into_iter().flatten().filter_map(|bytes| blot(shape, bytes)).count();
        }
    }
}

/// What was understood comes through the changes log as it was, and can be shown.
fn travels(index: usize, mut decoded: Decoded) {
    if decoded.change.position.is_none() {
        // It tells apart what shares a position, and travels with it.
        decoded.change.fingerprint = 0;
    }
    let plan = &setting().settings.plan;
    let topic_partition = TopicPartition { topic: "topic".into(), partition: 0 };
    let written = Block {
        partitions: 1,
        topic_partitions: vec![(index, topic_partition)],
        origins: vec![decoded.origin],
        entries: vec![Entry::Change(decoded.change)],
        ..Block::default()
    };
    let read = block::decode(&block::encode(&written, &plan.catalog), &plan.catalog);
    assert_eq!(read.as_ref(), Ok(&written), "a block is read as it was written");
    let [Entry::Change(change)] = written.entries.as_slice() else { unreachable!("it has one change") };
    is_shown(index, change);
}

fn is_shown(index: usize, change: &Change) {
    let Operation::Upsert { columns, .. } = &change.operation else { return };
    let _ = columns.iter().map(to_text).map(|text| text.len()).sum::<usize>();
    let _ = columns.iter().fold(0, |hash, value: &Value| value.hash_onto(hash));
    let table = &setting().settings.plan.catalog.sources[index];
    let _ = setting().renderer.row(index, &table.columns, columns);
}
