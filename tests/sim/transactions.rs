//! What connectors say of their transactions, records that are lost after they were counted, and what must be said of them.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel::domain::change::{End, Position, TransactionId};
use evenkeel::domain::instant::Instant;
use evenkeel::domain::record::{Content, SourceNews};

use super::delivery::{Delivery, Record};
use super::product::{Product, SLACK};
use super::world::{BEGIN, Micros, SECOND, Transaction, World};

const TABLES: [&str; 3] = ["lines", "orders", "payments"];

/// As the decoder makes it of a transaction's id.
fn hash(database: usize, transaction: &Transaction) -> TransactionId {
    transaction.number * 2 + database as u64
}

fn id(database: usize, transaction: &Transaction) -> String {
    format!("{database}-{}-{}", transaction.epoch, transaction.number)
}

/// How many of a transaction's edits are of a table, up to one of them.
fn count(transaction: &Transaction, table: usize, edits: usize) -> u32 {
    transaction.edits[..edits].iter().filter(|edit| edit.table == table).count() as u32
}

/// What an event says of its transaction, where connectors say so.
pub fn counted(world: &World, delivery: &Delivery, lane: usize, record: Record) -> Option<(TransactionId, u32)> {
    let Record::Edit { transaction, edit, .. } = record else { return None };
    let database = delivery.lanes[lane].database;
    let transaction = &world.databases[database].log[transaction];
    let number = count(transaction, transaction.edits[edit].table, edit + 1);
    delivery.trouble.counts.then(|| (hash(database, transaction), number))
}

/// What stands in a transaction topic.
pub fn end(world: &World, database: usize, index: usize) -> End<Box<str>> {
    let transaction = &world.databases[database].log[index];
    let sent = (0..3).map(|table| (table, count(transaction, table, transaction.edits.len())));
    let sent = sent.filter(|(_, count)| *count > 0).map(|(table, count)| (TABLES[table].into(), count));
    let next = u128::from(transaction.number) + 1;
    let position = Position { transaction: if database == 0 { next * 1000 } else { next }, row: 0 };
    End {
        partition: 0,
        id: id(database, transaction).into(),
        transaction: hash(database, transaction),
        time: ended(transaction),
        position,
        sent: sent.collect(),
    }
}

fn ended(transaction: &Transaction) -> Instant {
    let millis = transaction.edits.last().map_or(0, |edit| edit.time).div_euclid(1000);
    Instant(millis * 1000 + 999)
}

/// Transactions of which something was lost, by id and table: when it ended, how much was sent, how much has arrived.
fn lost(world: &World, delivery: &Delivery) -> BTreeMap<(String, usize), (Instant, u32, u32)> {
    let mut all = BTreeMap::new();
    for (database, of) in world.databases.iter().enumerate() {
        for (index, transaction) in of.log.iter().enumerate() {
            for table in 0..3 {
                let edits = (0..transaction.edits.len()).filter(|edit| transaction.edits[*edit].table == table);
                let edits: Vec<usize> = edits.collect();
                let lost = edits.iter().filter(|edit| delivery.is_dropped((database, index, **edit))).count() as u32;
                if lost > 0 {
                    let sent = edits.len() as u32;
                    all.insert((id(database, transaction), table), (ended(transaction), sent, sent - lost));
                }
            }
        }
    }
    all
}

/// Transactions that a new snapshot stands for, of which something may have been sent and lost, by id and table.
fn skipped(world: &World, delivery: &Delivery) -> BTreeSet<(String, usize)> {
    let skipped = delivery.skipped.iter().map(|(database, index, edit)| {
        let transaction = &world.databases[*database].log[*index];
        (id(*database, transaction), transaction.edits[*edit].table)
    });
    skipped.collect()
}

impl Product {
    /// Of what was lost on the way from a connector each is said once; of what was not, nothing. Where members come and go, not
    /// all is checked.
    pub fn check_transactions(&self, until: Micros) -> u64 {
        let outside = self.outside();
        let (world, delivery) = (outside.world.borrow(), outside.delivery.borrow());
        let (lost, skipped) = (lost(&world, &delivery), skipped(&world, &delivery));
        let (mut told, mut missing, mut firsts) = (0, 0, BTreeSet::new());
        for record in outside.outlets.iter().flat_map(|outlet| &outlet.visible) {
            let Content::Source(notice) = &record.content else { continue };
            let SourceNews::Incomplete { transactions, missing: rows, first } = &notice.news else { continue };
            let of = (first.id.to_string(), first.table.0);
            if skipped.contains(&of) {
                continue;
            }
            let known = lost.get(&of);
            assert_eq!(known, Some(&(first.time, first.sent, first.arrived)), "{first:?} is said to lack something");
            assert!(firsts.insert(of), "{first:?} is said twice");
            told += transactions;
            missing += rows;
        }
        let lacks = |(_, sent, arrived): &(Instant, u32, u32)| u64::from(sent - arrived);
        assert!(told <= lost.len() as u64 && missing <= lost.values().map(lacks).sum(), "more is said than was lost");
        let is_steady = world
            .databases
            .iter()
            .all(|of| of.failover.is_none() && of.clock_step.is_none() && of.log.iter().all(|one| one.epoch == 0));
        let is_steady =
            is_steady && skipped.is_empty() && delivery.trouble.stall.is_none() && delivery.trouble.blind.is_none();
        let is_undisturbed =
            is_steady && self.disturbances + self.grown + outside.happened.gaps + outside.happened.stuck == 0;
        // Nothing is checked that ended soon after the beginning.
        let from = BEGIN + 30 * SECOND + SLACK;
        let must = lost.values().filter(|(ended, ..)| is_undisturbed && ended.0 > from && ended.0 < until);
        assert!(told >= must.clone().count() as u64, "{told} said, not {:?}", must.collect::<Vec<_>>());
        told
    }
}
