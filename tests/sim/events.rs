//! What the decoder would make of a record: the simulated connectors' events as the product takes them.

use evenkeel::domain::change::{Change, Key, Operation, Origin, Position, Proof, Reject, RunId};
use evenkeel::domain::instant::Instant;
use evenkeel::domain::value::Value;
use evenkeel::task::ingest::{Decoded, Reading};

use super::delivery::{Delivery, Record, Reread};
use super::transactions;
use super::world::{BEGIN, Cell, Cells, Edit, LINES, Micros, Transaction, World};

fn values(cells: &Cells) -> Box<[Value]> {
    let value = |cell: &Cell| match cell {
        Cell::Unknown => Value::Unknown,
        Cell::Null => Value::Null,
        Cell::Int(number) => Value::Int(*number),
        Cell::Text(text) => Value::text(text.as_str()),
    };
    cells.iter().map(value).collect()
}

/// A record as the decoder gives it.
pub fn read(world: &World, delivery: &Delivery, lane: usize, record: Record, offset: i64) -> Reading {
    let record = if delivery.is_poisonous(lane, record) { Record::Garbage } else { record };
    understand(world, delivery, lane, record, offset)
}

/// A record as the decoder would give it, had it always understood it.
pub fn understand(world: &World, delivery: &Delivery, lane: usize, record: Record, offset: i64) -> Reading {
    let database = delivery.lanes[lane].database;
    match record {
        Record::Snapshot(index) => {
            read_row(&world.databases[database].snapshot[index], (database, offset), BEGIN, RunId::default())
        }
        Record::Reread { snapshot, row } => {
            let Reread { run, time, rows, .. } = &delivery.rereads[snapshot];
            // It has no GTID where streamed rows have one.
            read_row(&rows[row], (database, offset), *time, run_id(*run, &Origin::None))
        }
        Record::Edit { transaction, edit, run } => {
            let transaction = &world.databases[database].log[transaction];
            let origin = origin(database, transaction);
            let run = run_id(run, &origin);
            let change = change(&transaction.edits[edit], database, transaction.number, run, offset);
            Reading::Change(Decoded {
                change: change.into(),
                origin,
                streamed: true,
                incremental: false,
                incomplete: false,
            })
        }
        Record::Tombstone | Record::Heartbeat { .. } => Reading::Nothing,
        Record::End { transaction } => Reading::Ended(transactions::end(world, database, transaction)),
        Record::Garbage => Reading::Reject(Box::new(Reject {
            topic_partition: 0,
            offset,
            timestamp: Instant(BEGIN),
            key: None,
            value: Some([0xFF, lane as u8].into()),
            headers: Vec::new(),
            masked: false,
            reason: "not_json".into(),
            detail: "it is garbage".into(),
        })),
    }
}

/// A row as a snapshot tells of it.
fn read_row(
    (table, id, cells): &(usize, i64, Cells),
    (database, offset): (usize, i64),
    time: Micros,
    run: RunId,
) -> Reading {
    let edit = Edit {
        table: *table,
        id: *id,
        before: None,
        after: Some(cells.clone()),
        time,
        note_left_out: false,
        position: (0, 0),
        ordinal: 0,
    };
    let change = Change { position: None, transaction: 0, ..change(&edit, database, 0, run, offset) };
    Reading::Change(Decoded {
        change: change.into(),
        origin: Origin::None,
        streamed: false,
        incremental: false,
        incomplete: false,
    })
}

/// What the decoder makes of a heartbeat's transaction and the run that told of it.
pub fn proof(database: usize, transaction: &Transaction, run: u64) -> Proof {
    let (number, row) = transaction.begin;
    let position = Position { transaction: number.into(), row: row.into() };
    Proof { position, run: run_id(run, &origin(database, transaction)) }
}

fn origin(database: usize, transaction: &Transaction) -> Origin {
    match database {
        0 => Origin::Lsn,
        _ => Origin::Gtid(format!("{}-1-", transaction.domain).into()),
    }
}

fn run_id(run: u64, origin: &Origin) -> RunId {
    RunId { number: run << 16 | 0x7000, family: origin.family() }
}

/// The connector's own number of a run: the later, the greater, as Debezium's are.
pub fn run_of(run: RunId) -> u64 {
    run.number >> 16
}

/// Lines have no before image; payments have a whole one; an order's key is its primary key.
fn change(edit: &Edit, database: usize, transaction: u64, run: RunId, offset: i64) -> Change {
    let [before, after] = edit.keys().map(|key| key.map(|key| Key(key.to_string().into())));
    let (key, key_before) = match (edit.table, edit.after.is_some()) {
        (LINES, true) => (after, None),
        (LINES, false) => (None, None),
        (_, true) => (after.clone(), before.filter(|before| Some(before) != after.as_ref())),
        (_, false) => (before, None),
    };
    let operation = match &edit.after {
        None => Operation::Delete { row: [Value::Int(edit.id)].into() },
        Some(cells) => {
            let mut columns = values(cells);
            let unchanged: &[u16] = if edit.note_left_out { &[3] } else { &[] };
            unchanged.iter().for_each(|column| columns[usize::from(*column)] = Value::Unknown);
            Operation::Upsert { columns, unchanged: unchanged.into(), row_before: None }
        }
    };
    let (number, row) = edit.position;
    Change {
        topic_partition: 0,
        offset,
        source_time: Instant(edit.time),
        position: Some(Position { transaction: number.into(), row: row.into() }),
        fingerprint: edit.ordinal,
        origin: 0,
        run,
        transaction: transaction * 2 + database as u64,
        key,
        key_before,
        operation,
        requeued: None,
    }
}
