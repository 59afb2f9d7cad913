//! The binary formats: golden files, round trips, and what damaged bytes do.

use std::collections::BTreeMap;

use bigdecimal::BigDecimal;

use super::block::{decode, encode};
use super::rules::{decode_rules, encode_rules};
use super::snapshots::{decode_snapshots, encode_snapshots};
use super::state::{
    Layouts, TaskMemory, decode_chunk, decode_key, decode_memory, encode_chunk, encode_key, encode_memory,
};
use super::transactions::{decode_ledgers, encode_ledgers};
use super::{Reader, WireError, Writer};
use crate::domain::catalog::{Catalog, Column, LookupTable, SourceTable};
use crate::domain::change::{
    Block, Change, End, Entry, Gap, GapCause, Header, Key, Mark, Operation, Origin, Position, Proof, Reject, RunId,
    SourceTopic, TopicPartition, Topology, Unseen,
};
use crate::domain::flow::{Flow, Place};
use crate::domain::instant::Instant;
use crate::domain::key_state::{Episode, KeyState, Memory, Phase, Provenance, Reason, Row};
use crate::domain::numbers::Numbers;
use crate::domain::queue::Waiting;
use crate::domain::rule::{Definition, Escalation, RuleSet};
use crate::domain::snapshots::{Promised, Snapshot, Snapshots, Stage};
use crate::domain::timeline::Lane;
use crate::domain::transactions::{Ledger, Ledgers, Table, Unchecked};
use crate::domain::value::{Type, Value};
use crate::task::reconcile::{Confirming, Rest};

fn catalog(columns: &[&str]) -> Catalog {
    let column = |name: &&str| Column { name: (*name).to_owned(), ty: Type::Text };
    let table = |name: &str| SourceTable {
        name: name.to_owned(),
        columns: columns.iter().map(column).collect(),
        key: 0,
        primary_key: vec![0],
    };
    Catalog { sources: vec![table("orders"), table("payments")], lookups: Vec::new() }
}

fn every_value() -> Box<[Value]> {
    let huge: BigDecimal = "-123456789012345678901234567890.12".parse().expect("a decimal");
    [
        Value::Unknown,
        Value::Null,
        Value::Bool(true),
        Value::Bool(false),
        Value::Int(i64::MIN),
        Value::decimal("12.30".parse().expect("a decimal")),
        Value::decimal(huge),
        Value::text("né"),
        Value::Bytes([0, 255].into()),
        Value::Timestamp(i64::MAX),
        Value::Date(-1),
        Value::Time(86_399_999_999),
        Value::Uuid([7; 16]),
        Value::Json("{}".into()),
    ]
    .into()
}

fn columns() -> Vec<String> {
    (0..every_value().len()).map(|index| format!("c{index}")).collect()
}

fn change(offset: i64, operation: Operation) -> Change {
    Change {
        topic_partition: 1,
        offset,
        source_time: Instant(1_795_455_030_712_860 + offset),
        position: Some(Position { transaction: 22_234_720, row: 22_234_824 + offset as u128 }),
        fingerprint: 0xDEAD_BEEF,
        origin: 1,
        run: run(99),
        transaction: 5,
        key: Some(Key("42".into())),
        key_before: None,
        operation,
        requeued: None,
    }
}

fn block() -> Block {
    let upsert =
        Operation::Upsert { columns: every_value(), unchanged: [0].into(), row_before: Some([Value::Int(1)].into()) };
    let lane = |topic: &str, partition| TopicPartition { topic: topic.into(), partition };
    let snapshot = Change {
        position: None,
        fingerprint: 0,
        run: run(0),
        transaction: 0,
        key_before: Some(Key("7".into())),
        ..change(9, upsert.clone())
    };
    Block {
        written_at: Instant(7),
        partitions: 6,
        topologies: vec![Topology { source: 1, topics: vec![topic("pay.pay.payments", 3)] }],
        topic_partitions: vec![(0, lane("shop.shop.orders", 3)), (1, lane("pay.pay.payments", 2))],
        origins: vec![
            Origin::None,
            Origin::Lsn,
            Origin::Gtid("0-1-".into()),
            Origin::Binlog("mysql-bin.".into()),
            Origin::SqlServer,
            Origin::Scn,
            Origin::ClusterTime,
        ],
        entries: vec![
            Entry::Change(snapshot.into()),
            Entry::Change(change(10, upsert).into()),
            Entry::Change(change(12, Operation::Delete { row: [Value::Int(1)].into() }).into()),
            Entry::Mark(Mark { topic_partition: 0, time: Instant(5), proof: None, counted: false }),
            Entry::Mark(Mark {
                topic_partition: 1,
                time: Instant(6),
                proof: Some(Proof { position: Position { transaction: u128::MAX, row: 0 }, run: run(98) }),
                counted: false,
            }),
            Entry::Gap(Gap { topic_partition: 0, cause: GapCause::Retention, expected: -1, found: 9, topic_id: 0 }),
            Entry::Acknowledge { topic_partition: 0 },
            Entry::Stall { topic_partition: 0, after_us: 60_000_000 },
            Entry::Reject(Reject {
                topic_partition: 1,
                offset: 13,
                timestamp: Instant(8),
                key: None,
                value: Some([1, 2].into()),
                headers: vec![
                    Header { name: "run".into(), value: Some([3].into()) },
                    Header { name: "none".into(), value: None },
                ],
                masked: false,
                reason: "not_json".into(),
                detail: "because".into(),
            }),
        ],
    }
}

fn state() -> KeyState {
    let mut state = KeyState::new(2, Instant(1000));
    state.judged = true;
    let provenance = Provenance {
        source_time: Instant(900),
        position: Position { transaction: 3, row: 2 },
        origin: 1,
        lane: 0,
        offset: 12,
        generation: 0,
    };
    state.rows[1].push(Row { columns: every_value(), provenance });
    let episode = |phase| Episode {
        rule: "paid".into(),
        identity: [Value::Int(4)].into(),
        phase,
        since: Instant(1001),
        lineage: Instant(999),
        revision: 2,
        flap_count: 1,
        escalated: 1,
        evidence: vec![[Value::Null].into()],
    };
    let ending = Phase::Ending { until: Instant(2000), reason: Reason::LateArrival };
    state.episodes = vec![episode(Phase::Pending), episode(Phase::Open), episode(ending)];
    state.memories = vec![Memory {
        rule: "paid".into(),
        identity: [].into(),
        resolved_at: Instant(5),
        lineage: Instant(4),
        flap_count: 3,
    }];
    state
}

fn run(number: u64) -> RunId {
    RunId { number, family: u32::MAX }
}

fn topic(name: &str, partitions: i32) -> SourceTopic {
    SourceTopic { name: name.into(), partitions, id: 1 << 63 }
}

fn memory(layouts: &Layouts) -> TaskMemory {
    let place = Place { epoch: 1, position: Position { transaction: 2, row: 3 } };
    TaskMemory {
        next_offset: 17,
        partitions: 6,
        fingerprint: Some(u64::MAX),
        said: 33,
        rules: 18,
        sweep: Some((34, Key("4711".into()))),
        heartbeat: Some(Instant(19)),
        layouts: layouts.list().to_vec(),
        origins: vec![Origin::Gtid("0-1-".into())],
        flows: vec![Flow {
            reached: Instant(20),
            epoch: 1,
            runs: vec![(run(21), 0), (run(22), 1)],
            anew: None,
            proofs: [(place, Instant(23))].into(),
        }],
        lanes: vec![Lane {
            gap: Some(Gap {
                topic_partition: 0,
                cause: GapCause::Recreated,
                expected: 70,
                found: 0,
                topic_id: 1 << 63,
            }),
            halted: Some(Some(Mark {
                topic_partition: 0,
                time: Instant(5),
                proof: Some(Proof { position: Position { transaction: 7, row: 0 }, run: run(3) }),
                counted: false,
            })),
            source: 1,
            topic_partition: TopicPartition { topic: "pay.pay.payments".into(), partition: 2 },
            last_offset: 24,
            place,
            shared: [27, 28].into(),
            latest: Instant(25),
            last_run: run(26),
            mark: Some(Instant(27)),
            proved: Place::default(),
            baseline: None,
        }],
        stalled: vec![Some(60_000_000)],
        waiting: vec![(28, 29)],
        topologies: vec![vec![topic("shop.shop.orders", 4)], vec![]],
        former: [u64::MAX, 5].into(),
        settled: Some(Instant(30)),
        lived: Some(Instant(35)),
        baseline: None,
        tallies: vec![("paid".into(), 1, 2)],
    }
}

/// Compares with the golden file, or writes it where it does not exist yet; it is never rewritten.
fn golden(name: &str, bytes: &[u8]) {
    let path = std::path::Path::new("schemas/golden").join(name);
    if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).expect("the golden file can be written");
    }
    let known = std::fs::read(&path).expect("the golden file is there");
    assert!(known == bytes, "{name}: it is not written as it was; a changed format needs a new version");
}

#[test]
fn blocks_are_written_as_ever_and_read_back() {
    let names = columns();
    let catalog = catalog(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let bytes = encode(&ruled(), &catalog);
    golden("block-1.bin", &bytes);
    assert_eq!(decode(&bytes, &catalog), Ok(ruled()));
}

/// Lines that came later than others: whoever does not know them says that a line has an unknown tag.
#[test]
fn requeued_changes_are_written_as_ever_and_read_back() {
    let names = columns();
    let catalog = catalog(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut requeued = block();
    for entry in &mut requeued.entries {
        if let Entry::Change(change) = entry {
            change.requeued = Some(change.offset + 5);
        }
    }
    let bytes = encode(&requeued, &catalog);
    golden("block-1-requeued.bin", &bytes);
    assert_eq!(decode(&bytes, &catalog), Ok(requeued));
}

/// What is counted of transactions came later, too.
#[test]
fn counts_of_transactions_have_lines_and_a_memory_of_their_own() {
    let names = columns();
    let catalog = catalog(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut block = block();
    let numbers = Numbers::of_words([(0, 0b110), (3, 1)]);
    let end = |sent| End {
        partition: 1,
        id: "835:24689152".into(),
        transaction: 7,
        time: Instant(999),
        position: Position { transaction: 24_689_152, row: 0 },
        sent,
    };
    block.entries = vec![
        Entry::Counted { topic_partition: 1, transaction: 7, numbers: numbers.clone() },
        Entry::Mark(Mark { topic_partition: 0, time: Instant(5), proof: None, counted: true }),
        Entry::Ended(end(vec![(0, 3), (1, 70)])),
    ];
    let bytes = encode(&block, &catalog);
    assert_eq!(decode(&bytes, &catalog), Ok(block));
    golden("block-1-transactions.bin", &bytes);

    let table: Table = (1, "pay.pay.payments".into());
    let end = end(vec![]).of(|_: usize| Some((0, "shop.shop.orders".into())));
    let end = End { sent: vec![(table.clone(), 70)], ..end };
    let one = Unchecked { since: Some(Instant(4)), arrived: [(table, numbers)].into(), end: Some(end) };
    let last = [(1, (Instant(999), Position { transaction: 24_689_152, row: 9 }))].into();
    let ledger = Ledger { from: Instant(3), last, unchecked: [(7, one), (8, Unchecked::default())].into() };
    let ledgers = Ledgers::from([(1, ledger), (2, Ledger::default())]);
    let bytes = encode_ledgers(12, &ledgers, &catalog);
    assert_eq!(decode_ledgers(&bytes, &catalog), Ok((12, ledgers)));
    golden("transactions-1.bin", &bytes);
}

/// And what is known of snapshots.
#[test]
fn snapshots_have_lines_and_a_memory_of_their_own() {
    let names = columns();
    let catalog = catalog(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut block = block();
    block.entries = vec![
        Entry::Snapshot { topic_partition: 1, run: run(98) },
        Entry::Confirm { topic_partition: 0, unseen: Unseen::Gone },
        Entry::Confirm { topic_partition: 1, unseen: Unseen::Kept },
    ];
    let bytes = encode(&block, &catalog);
    assert_eq!(decode(&bytes, &catalog), Ok(block));
    golden("block-1-snapshots.bin", &bytes);

    let snapshot = |generation, stage| Snapshot {
        generation,
        epoch: 65_537,
        run: run(generation.into()),
        after: Instant(5),
        until: Instant::MAX,
        stage,
    };
    let taken =
        vec![vec![], vec![snapshot(3, Stage::Compared), snapshot(4, Stage::Settled), snapshot(5, Stage::Begun)]];
    let lanes = vec![Promised { by: run(7), generation: 3 }, Promised::default()];
    let known = Snapshots { taken, lanes, confirmed: vec![2, 0] };
    let rest = Rest { asked: Some((4, Unseen::Kept)), leaving: 3, left: 7, counted: 4, rows: -1 };
    let confirming = Confirming { known: known.into(), looks: 9, rests: vec![rest, Rest::default()] };
    let bytes = encode_snapshots(&confirming);
    let mut read =
        Confirming { known: Snapshots::new(2, 2).into(), rests: vec![Rest::default(); 2], ..Confirming::default() };
    assert_eq!((decode_snapshots(&bytes, &mut read), &read), (Ok(()), &confirming));
    golden("snapshots-1.bin", &bytes);

    let layouts = Layouts::new(Vec::new(), &catalog).expect("it is the catalog's own");
    let mut state = state();
    let row = state.rows[1][0].clone();
    state.rows[0].push(row);
    state.rows[1][0].provenance.generation = 300;
    let bytes = encode_key(&state, None, &layouts);
    assert_eq!(decode_key(&bytes, &layouts), Ok((state, None)));
    golden("key-1-snapshots.bin", &bytes);
}

fn ruled() -> Block {
    let mut block = block();
    block.entries.insert(0, Entry::Rules(rules()));
    block
}

fn rules() -> RuleSet {
    let types = [
        Type::Bool,
        Type::Int,
        Type::Decimal { scale: None },
        Type::Decimal { scale: Some(2) },
        Type::Text,
        Type::Bytes,
        Type::Timestamp { precision: 3 },
        Type::TimestampTz,
        Type::Date,
        Type::Time { precision: 0 },
        Type::Uuid,
        Type::Json,
    ];
    let columns = types.iter().map(|ty| Column { name: ty.to_string(), ty: *ty }).collect();
    let lookup = LookupTable { name: "lookup".to_owned(), columns, rows: vec![every_value().into_vec()] };
    let texts = |name: &str, text: &str| BTreeMap::from([(name.to_owned(), text.to_owned())]);
    let rule = Definition {
        id: "a-rule".into(),
        version: "0123".into(),
        sql: "SELECT 1".into(),
        grace_us: 300_000_000,
        escalations: vec![Escalation { after_us: 600_000_000, severity: "high".into() }],
        keep_open_for_us: 1,
        flap_window_us: 2,
        identity: vec![0, 3],
        labels: texts("team", "payments"),
        annotations: texts("summary", "{{order_id}}"),
    };
    RuleSet { lookups: vec![lookup], rules: vec![rule] }
}

#[test]
fn state_is_written_as_ever_and_read_back() {
    let names = columns();
    let catalog = catalog(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let layouts = Layouts::new(Vec::new(), &catalog).expect("nothing was written before");
    let key = encode_key(&state(), Some(Instant(31)), &layouts);
    golden("key-1.bin", &key);
    assert_eq!(decode_key(&key, &layouts), Ok((state(), Some(Instant(31)))));
    let set = encode_rules(&rules());
    golden("rules-1.bin", &set);
    assert_eq!(decode_rules(&set), Ok(rules()));
    let task = encode_memory(&memory(&layouts));
    golden("memory-1.bin", &task);
    assert_eq!(decode_memory(&task), Ok(memory(&layouts)));
    let upsert = Operation::Upsert { columns: every_value(), unchanged: [].into(), row_before: None };
    let waiting =
        vec![Waiting { place: Place::default(), floor: Instant(32), late: true, change: change(3, upsert).into() }];
    let chunk = encode_chunk(waiting.iter(), &layouts);
    golden("chunk-1.bin", &chunk);
    assert_eq!(decode_chunk(&chunk, 0, 1, &layouts), Ok(waiting));
}

#[test]
fn columns_may_come_and_go() {
    let wrote = catalog(&["c0", "c1"]);
    let upsert = |values: [Value; 2], unchanged: u16| Operation::Upsert {
        columns: values.into(),
        unchanged: [unchanged].into(),
        row_before: None,
    };
    let mut small = block();
    small.entries = vec![Entry::Change(change(1, upsert([Value::Int(1), Value::Int(2)], 1)).into())];
    let reads = catalog(&["c1", "new"]);
    let read = decode(&encode(&small, &wrote), &reads).expect("another configuration reads it");
    small.entries = vec![Entry::Change(change(1, upsert([Value::Int(2), Value::Unknown], 0)).into())];
    assert_eq!(read, small);

    let mut kept = state();
    kept.rows[1][0].columns = [Value::Int(1), Value::Int(2)].into();
    let before = Layouts::new(Vec::new(), &wrote).expect("nothing was written before");
    let bytes = encode_key(&kept, None, &before);
    let after = Layouts::new(before.list().to_vec(), &reads).expect("the types are the same");
    kept.rows[1][0].columns = [Value::Int(2), Value::Unknown].into();
    assert_eq!(decode_key(&bytes, &after), Ok((kept, None)));
}

/// Else its values would meet rules that were compiled for others.
#[test]
fn values_of_a_column_that_has_another_type_now_are_unknown() {
    let wrote = catalog(&["c0", "c1"]);
    let mut reads = wrote.clone();
    reads.sources[0].columns[1].ty = Type::Decimal { scale: None };
    reads.sources[1].columns[1].ty = Type::Decimal { scale: None };
    let mut kept = state();
    kept.rows[1][0].columns = [Value::text("1"), Value::text("2")].into();
    let before = Layouts::new(Vec::new(), &wrote).expect("nothing was written before");
    let bytes = encode_key(&kept, None, &before);
    let after = Layouts::new(before.list().to_vec(), &reads).expect("it is no key");
    kept.rows[1][0].columns = [Value::text("1"), Value::Unknown].into();
    assert_eq!(decode_key(&bytes, &after), Ok((kept, None)));

    reads.sources[0].columns[1].ty = Type::Text;
    reads.sources[1].columns[1].ty = Type::Text;
    let again = Layouts::new(after.list().to_vec(), &reads).expect("it is no key");
    assert_eq!(again.list().len(), 3, "what was written in between is known for what it is");
}

#[test]
fn a_key_column_that_is_declared_anew_with_another_type_is_refused() {
    let wrote = catalog(&["c0", "c1"]);
    let mut reads = wrote.clone();
    reads.sources[1].columns[0].ty = Type::Decimal { scale: None };
    let before = Layouts::new(Vec::new(), &wrote).expect("nothing was written before");
    let kept = Layouts::new(before.list().to_vec(), &reads).err();
    let sent = decode(&encode(&block(), &wrote), &reads).err();
    for (what, refused) in [("the state", kept), ("changes-log block", sent)] {
        let said = refused.map(|error| error.to_string()).unwrap_or_default();
        let expected = format!("{what} holds c0 of source payments as text, the configuration declares it numeric;");
        assert!(said.starts_with(&expected), "{said}");
    }
    let mut scaled = reads.clone();
    scaled.sources[1].columns[0].ty = Type::Decimal { scale: Some(2) };
    let before = Layouts::new(Vec::new(), &reads).expect("nothing was written before");
    let kept = Layouts::new(before.list().to_vec(), &scaled).err();
    assert_eq!(kept, None, "a scale is how it is read, not what it is");
}

#[test]
fn a_source_that_is_gone_is_left_out() {
    let both = catalog(&["c0"]);
    let mut one = catalog(&["c0"]);
    one.sources.remove(0);
    let mut lines = block();
    lines.entries.retain(|entry| !matches!(entry, Entry::Change(_)));
    let read = decode(&encode(&lines, &both), &one).expect("it reads");
    assert_eq!(read.topic_partitions.len(), 1);
    assert_eq!(read.entries.len(), 2, "the mark and the reject of payments: {read:?}");
}

/// Every format refuses bytes that are cut, and a version that it does not know, in words.
#[test]
fn newer_foreign_and_damaged_bytes_are_refused() {
    let names = columns();
    let catalog = catalog(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let layouts = Layouts::new(Vec::new(), &catalog).expect("nothing was written before");
    let upsert = Operation::Upsert { columns: every_value(), unchanged: [].into(), row_before: None };
    let waiting =
        Waiting { place: Place::default(), floor: Instant(0), late: false, change: change(10, upsert).into() };
    type Read<'r> = Box<dyn Fn(&[u8]) -> Option<WireError> + 'r>;
    let formats: [(&str, usize, Vec<u8>, Read<'_>); 5] = [
        ("changes-log block", 3, encode(&ruled(), &catalog), Box::new(|bytes| decode(bytes, &catalog).err())),
        ("key state", 0, encode_key(&state(), None, &layouts), Box::new(|bytes| decode_key(bytes, &layouts).err())),
        ("task memory", 3, encode_memory(&memory(&layouts)), Box::new(|bytes| decode_memory(bytes).err())),
        (
            "chunk of waiting changes",
            0,
            encode_chunk([waiting].iter(), &layouts),
            Box::new(|bytes| decode_chunk(bytes, 1, 0, &layouts).err()),
        ),
        ("rule set", 3, encode_rules(&rules()), Box::new(|bytes| decode_rules(bytes).err())),
    ];
    for (what, version_at, mut bytes, error) in formats {
        assert_eq!(error(&bytes), None, "{what}");
        for cut in 0..bytes.len() {
            assert!(error(&bytes[..cut]).is_some(), "{what} cut at {cut}");
        }
        let known = bytes[version_at];
        bytes[version_at] = known + 1;
        let said = error(&bytes).map(|error| error.to_string()).unwrap_or_default();
        let expected = format!("format version {}, newer than {known}", known + 1);
        assert!(said.contains(what) && said.contains(&expected), "{what}: {said}");
    }
    assert_eq!(decode(b"{}", &catalog), Err(WireError::Foreign { what: "changes-log block" }));
}

/// A few bytes could say more digits than memory holds.
#[test]
fn decimals_that_stand_for_too_much_are_refused() {
    let read = |scale: i64| {
        let mut writer = Writer::default();
        writer.value(&Value::decimal(BigDecimal::new(7.into(), scale)));
        Reader::new("it", &writer.bytes).value()
    };
    for scale in [1_000_000, -1_000_000] {
        assert!(read(scale).is_ok(), "{scale}");
    }
    for scale in [1_000_001, -1_000_001, i64::MAX, i64::MIN] {
        assert_eq!(
            read(scale).expect_err("it is refused").to_string().split_once(": ").expect("a reason").1,
            "a decimal's scale is out of range"
        );
    }
}
