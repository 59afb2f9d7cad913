//! What is promised when: leaders that were away, clocks at fault, heartbeats of several partitions.

use std::sync::Arc;

use super::{Decoded, Feed, Ingest, Patience, Reading};
use crate::domain::catalog::{Catalog, Column, SourceTable};
use crate::domain::change::{
    Change, End, Entry, Key, Operation, Origin, Position, Proof, RunId, SourceTopic, TopicPartition, Topology,
};
use crate::domain::instant::Instant;
use crate::domain::rule::{Plan, SourcePlan};
use crate::domain::value::{Type, Value};

const SECOND: i64 = 1_000_000;

/// One source, of a connector whose times are commit times, or not.
pub fn plan(commit_time: bool) -> Arc<Plan> {
    let columns = vec![Column { name: "order_id".to_owned(), ty: Type::Int }];
    let table = SourceTable { name: "orders".to_owned(), columns, key: 0, primary_key: vec![0] };
    Arc::new(Plan {
        reconciliation: "test".into(),
        catalog: Catalog { sources: vec![table], lookups: Vec::new() },
        sources: vec![SourcePlan { connector: 0, commit_time, find_rows: false, partial_history: false }],
        rules: Vec::new(),
        heartbeat_us: SECOND,
    })
}

/// A change in a transaction of its own; a row that an incremental snapshot read is in none.
pub fn decoded(offset: i64, source_time: i64, incremental: bool) -> Decoded {
    let position = Position { transaction: source_time as u128, row: 1 };
    let change = Change {
        topic_partition: 0,
        offset,
        source_time: Instant(source_time),
        position: (!incremental).then_some(position),
        fingerprint: 0,
        origin: 0,
        run: RunId::default(),
        transaction: 0,
        key: Some(Key("1".into())),
        key_before: None,
        operation: Operation::Upsert { columns: [Value::Int(1)].into(), unchanged: [].into(), row_before: None },
        requeued: None,
    };
    Decoded { change: change.into(), origin: Origin::Lsn, streamed: !incremental, incremental, incomplete: false }
}

/// The source with one topic-partition.
struct Stage {
    ingest: Ingest,
    lane: TopicPartition,
}

fn stage(commit_time: bool) -> Stage {
    let patience = Patience { slack_us: 2 * SECOND, stall_after_us: 60 * SECOND };
    let mut ingest = Ingest::new(plan(commit_time), 1, vec![false], patience);
    let lane = TopicPartition { topic: "orders".into(), partition: 0 };
    ingest.assign(Feed::Source(0), lane.clone(), 0, Instant(0));
    Stage { ingest, lane }
}

impl Stage {
    fn heartbeat(&mut self, at: i64, stand: (i32, i64)) {
        let proof = Proof { position: Position { transaction: at as u128, row: 0 }, run: RunId::default() };
        self.ingest.heartbeat(0, (Instant(at), proof), stand, Instant(at));
    }

    /// Asks for the end offset, and gets it or not.
    fn ask(&mut self, at: i64, end: Option<i64>) {
        let wanted = self.ingest.wants_ends(Instant(at));
        let ends: Vec<_> = wanted.into_iter().zip(end).collect();
        self.ingest.ends(Instant(at), &ends);
    }

    fn take(&mut self, offset: i64, source_time: i64, now: i64, incremental: bool) {
        let reading = Reading::Change(decoded(offset, source_time, incremental));
        self.ingest.take(Feed::Source(0), &self.lane, (offset, reading), Instant(now));
    }

    fn learn(&mut self, partitions: i32) {
        self.ingest
            .learn([Topology { source: 0, topics: vec![SourceTopic { name: "orders".into(), partitions, id: 0 }] }]);
    }

    /// The marks, and the source times of the changes, of a round before which the topics were looked up.
    fn round(&mut self, now: i64) -> (Vec<i64>, Vec<i64>) {
        self.learn(1);
        self.collect(now)
    }

    fn collect(&mut self, now: i64) -> (Vec<i64>, Vec<i64>) {
        let (mut marks, mut times) = (Vec::new(), Vec::new());
        for (_, block) in self.ingest.collect(Instant(now)).blocks {
            for entry in block.entries {
                match entry {
                    Entry::Mark(mark) => marks.push(mark.time.0),
                    Entry::Change(change) => times.push(change.source_time.0),
                    _ => {}
                }
            }
        }
        (marks, times)
    }
}

/// While a leader is away its connector's records wait in the producer, though heartbeats go on elsewhere: the first end
/// that is told again may lie before them.
#[test]
fn an_end_offset_proves_nothing_until_a_slack_after_the_leader_is_back() {
    let mut stage = stage(false);
    stage.heartbeat(10 * SECOND, (0, 1));
    stage.ask(12 * SECOND, Some(0));
    stage.heartbeat(12 * SECOND, (0, 2));
    stage.ask(14 * SECOND, Some(0));
    assert_eq!(stage.round(14 * SECOND).0, [12 * SECOND], "it has answered for a slack");
    for second in 15..25 {
        stage.heartbeat(second * SECOND, (0, second));
        stage.ask(second * SECOND, None);
    }
    stage.ask(25 * SECOND, Some(0));
    assert_eq!(stage.round(25 * SECOND).0, [0; 0], "what the producer holds may not be there yet");
    stage.heartbeat(25 * SECOND, (0, 25));
    stage.ask(27 * SECOND, Some(3));
    assert_eq!(stage.round(27 * SECOND).0, [0; 0], "three records are to be read");
    for offset in 0..3 {
        stage.take(offset, 20 * SECOND, 28 * SECOND, false);
    }
    assert_eq!(stage.round(28 * SECOND).0, [20 * SECOND], "more of what the producer held may follow them");
    stage.ask(30 * SECOND, Some(3));
    assert_eq!(stage.round(30 * SECOND).0, [25 * SECOND]);
}

/// A producer holds megabytes of one topic-partition while it sends others' records at once. What it holds then comes one
/// upon the other, for longer than any slack.
#[test]
fn an_end_offset_proves_nothing_while_what_was_sent_before_the_heartbeat_still_comes() {
    let mut stage = stage(false);
    stage.heartbeat(5 * SECOND, (0, 0));
    stage.ask(7 * SECOND, Some(0));
    stage.heartbeat(10 * SECOND, (0, 1));
    stage.ask(9 * SECOND, Some(0));
    assert_eq!(stage.round(9 * SECOND).0, [5 * SECOND], "nothing comes");
    for second in 10..20 {
        stage.take(second - 10, 8 * SECOND, second * SECOND, false);
        stage.ask(second * SECOND, Some(second - 9));
        assert_eq!(stage.round(second * SECOND).0, [0; 0], "something came at {second} s");
    }
    assert_eq!(stage.ingest.wants_ends(Instant(21 * SECOND - 1)), []);
    stage.ask(21 * SECOND, Some(12));
    stage.take(10, 8 * SECOND, 21 * SECOND, false);
    stage.take(11, 11 * SECOND, 21 * SECOND, false);
    assert_eq!(stage.round(21 * SECOND).0, [10 * SECOND], "what was sent behind it has come");
    stage.heartbeat(22 * SECOND, (0, 2));
    stage.ask(24 * SECOND, None);
    stage.ask(27 * SECOND, Some(12));
    stage.ask(29 * SECOND, Some(12));
    assert_eq!(stage.round(29 * SECOND).0, [22 * SECOND]);
}

/// Times of one run rise, whatever families its positions are of; those of another may be of a database that was restored.
#[test]
fn what_another_run_or_a_snapshot_has_sent_was_sent_before_a_heartbeat() {
    let promised = |run: RunId, is_read: bool, source_time: i64| {
        let mut stage = stage(false);
        stage.heartbeat(5 * SECOND, (0, 0));
        stage.ask(7 * SECOND, Some(0));
        stage.heartbeat(10 * SECOND, (0, 1));
        let mut decoded = decoded(0, source_time, false);
        (decoded.change.run, decoded.streamed) = (run, !is_read);
        stage.ingest.take(Feed::Source(0), &stage.lane, (0, Reading::Change(decoded)), Instant(11 * SECOND));
        stage.ask(12 * SECOND, Some(1));
        let at_once = stage.round(12 * SECOND).0.contains(&(10 * SECOND));
        stage.ask(13 * SECOND, Some(1));
        assert!(at_once != stage.round(13 * SECOND).0.contains(&(10 * SECOND)), "a slack after it in any case");
        at_once
    };
    let (same, other) = (RunId { number: 0, family: 7 }, RunId { number: 1, family: 0 });
    assert!(promised(same, false, 10 * SECOND + 1));
    assert!(!promised(same, false, 10 * SECOND));
    assert!(!promised(other, false, 10 * SECOND + 1));
    assert!(!promised(same, true, 10 * SECOND + 1));
}

/// A partition that was added may hold what was committed before; so a promise tells of it, or waits until it can.
#[test]
fn a_promise_waits_until_it_is_known_which_partitions_there_are() {
    let mut stage = stage(true);
    stage.learn(1);
    stage.take(0, 10 * SECOND, 10 * SECOND, false);
    assert!(stage.ingest.wants_topologies());
    assert_eq!(stage.collect(10 * SECOND), (vec![], vec![10 * SECOND]));
    stage.learn(2);
    assert!(!stage.ingest.wants_topologies());
    stage.take(1, 11 * SECOND, 11 * SECOND, false);
    let blocks = stage.ingest.collect(Instant(11 * SECOND)).blocks;
    let marks = blocks[0].1.entries.iter().filter_map(|entry| match entry {
        Entry::Mark(mark) => Some(mark.time.0),
        _ => None,
    });
    assert_eq!(marks.collect::<Vec<_>>(), [10 * SECOND - 1], "what was read since waits for the next look");
    assert_eq!(blocks[0].1.topologies[0].topics[0].partitions, 2);
}

/// Else a member that takes over would not know of the promise, and it might be the last.
#[test]
fn what_a_waiting_promise_rests_on_is_read_again_after_a_restart() {
    let mut stage = stage(true);
    let read_to = |stage: &mut Stage, at| stage.ingest.collect(Instant(at)).read_to[0].1;
    stage.take(0, 10 * SECOND, 10 * SECOND, false);
    assert_eq!(read_to(&mut stage, 10 * SECOND), 0, "its promise waits");
    stage.learn(1);
    assert_eq!(read_to(&mut stage, 10 * SECOND), 1, "it is given with this round");
    stage.take(1, 11 * SECOND, 11 * SECOND, false);
    stage.take(2, 10 * SECOND, 11 * SECOND, false);
    assert_eq!(read_to(&mut stage, 11 * SECOND), 1);
    stage.learn(1);
    stage.take(3, 11 * SECOND, 11 * SECOND, false);
    assert_eq!(read_to(&mut stage, 12 * SECOND), 4, "a change that promises nothing more waits for nothing");
}

/// A broker that has not heard of a partition takes nothing back, and what was told is not told with every block.
#[test]
fn topologies_only_grow_and_are_told_once() {
    let mut stage = stage(true);
    let told = |stage: &mut Stage, partitions, second: i64| {
        stage.learn(partitions);
        stage.take(second, second * SECOND, second * SECOND, false);
        let blocks = stage.ingest.collect(Instant(second * SECOND)).blocks;
        blocks[0].1.topologies.iter().map(|topology| topology.topics[0].partitions).collect::<Vec<_>>()
    };
    assert_eq!(told(&mut stage, 2, 1), [2]);
    assert_eq!(told(&mut stage, 1, 2), [0; 0]);
    assert_eq!(told(&mut stage, 3, 3), [3]);
}

/// Where heartbeats end, as when a backlog is read whose connector stands still, the last one is good all the same.
#[test]
fn the_last_heartbeat_is_not_lost() {
    let mut stage = stage(false);
    stage.heartbeat(10 * SECOND, (0, 1));
    stage.ask(12 * SECOND, Some(0));
    assert_eq!(stage.round(12 * SECOND).0, [0; 0], "the broker has only begun to answer");
    stage.ask(13 * SECOND, Some(0));
    stage.ask(14 * SECOND, Some(0));
    assert_eq!(stage.round(14 * SECOND).0, [10 * SECOND]);
    assert_eq!(stage.ingest.wants_ends(Instant(20 * SECOND)), [], "nothing is left to ask");
}

/// A row or a heartbeat more than a minute ahead of the clock proves nothing; the next sane one does.
#[test]
fn times_in_the_future_promise_nothing() {
    let mut stage = stage(true);
    stage.take(0, 10 * SECOND, 10 * SECOND, false);
    stage.take(1, 1_000_000 * SECOND, 11 * SECOND, false);
    assert_eq!(stage.round(11 * SECOND).0, [10 * SECOND - 1]);
    stage.take(2, 12 * SECOND, 12 * SECOND, false);
    assert_eq!(stage.round(12 * SECOND).0, [12 * SECOND - 1]);
    let far = Proof { position: Position::default(), run: RunId::default() };
    stage.ingest.heartbeat(0, (Instant(1_000_000 * SECOND), far), (0, 1), Instant(12 * SECOND));
    stage.ask(15 * SECOND, Some(3));
    stage.ask(18 * SECOND, Some(3));
    assert_eq!(stage.round(18 * SECOND).0, [0; 0]);
}

/// A row of an incremental snapshot is as the stream has come to know it, whatever the connector's clock says.
#[test]
fn rows_of_an_incremental_snapshot_stand_where_the_stream_is() {
    let mut stage = stage(true);
    stage.take(0, 10 * SECOND, 500 * SECOND, false);
    stage.take(1, 500 * SECOND, 500 * SECOND, true);
    stage.take(2, 11 * SECOND, 500 * SECOND, false);
    assert_eq!(stage.round(500 * SECOND).1, [10 * SECOND, 10 * SECOND, 11 * SECOND]);
}

/// After a restart each partition of the heartbeat topic is read from the first heartbeat that may still be needed.
#[test]
fn heartbeats_are_read_again_from_where_they_are_needed() {
    let mut stage = stage(false);
    for (second, stand) in [(10, (2, 7)), (11, (0, 3)), (12, (2, 8)), (13, (0, 4))] {
        stage.heartbeat(second * SECOND, stand);
    }
    assert_eq!(stage.ingest.heartbeats_from(0), [(0, 3), (2, 7)].into());
    stage.ask(12 * SECOND, Some(0));
    stage.ask(14 * SECOND, Some(0));
    assert_eq!(stage.round(14 * SECOND).0, [12 * SECOND]);
    assert_eq!(stage.ingest.heartbeats_from(0), [(0, 4), (2, 8)].into(), "the last one promised is kept");
}

/// What another has read, who did not count, nobody can check; nor what does not say which of its transaction's it is.
#[test]
fn a_promise_says_whether_all_that_it_speaks_of_was_counted() {
    let mut stage = stage(true);
    stage.ingest = stage.ingest.counting([0].into());
    stage.ingest.assign(Feed::Source(0), stage.lane.clone(), 0, Instant(0));
    let mut counted = |second: i64, event: Option<(u64, u32)>| {
        let now = Instant(second * SECOND);
        let reading = Reading::Change(decoded(second, now.0, false));
        stage.ingest.count(0, &stage.lane, (event, &reading), now);
        stage.ingest.take(Feed::Source(0), &stage.lane, (second, reading), now);
        stage.learn(1);
        let mut told = (0, false);
        for entry in stage.ingest.collect(now).blocks.remove(0).1.entries {
            match entry {
                Entry::Counted { numbers, .. } => told.0 += numbers.up_to(9),
                Entry::Mark(mark) => told.1 = mark.counted,
                _ => {}
            }
        }
        told
    };
    let event = Some((7, 1));
    assert_eq!(counted(1, event), (1, false));
    assert_eq!(counted(11, event), (1, false), "the first beyond ten seconds says from when on");
    assert_eq!(counted(12, event), (1, true));
    assert_eq!(counted(13, None), (0, false));
    assert_eq!([22, 23, 24, 25].map(|second| counted(second, event).1), [false, false, false, true]);
}

#[test]
fn a_transaction_is_counted_and_ended_in_one_partition_by_the_topics_of_its_tables() {
    let mut stage = stage(true);
    let topics = ["shop.shop.orders", "shop.shop.reorders", "orders"].map(|name| name.into());
    let topics = topics.map(|name| SourceTopic { name, partitions: 1, id: 0 }).to_vec();
    stage.ingest.learn([Topology { source: 0, topics }]);
    let id = TopicPartition { topic: "shop.transaction".into(), partition: 3 };
    stage.ingest.assign(Feed::Transactions(0), id.clone(), 5, Instant(0));
    let end = |sent: &[(&str, u32)]| End {
        partition: 0,
        id: "7:1".into(),
        transaction: 7,
        time: Instant(5),
        position: Position::default(),
        sent: sent.iter().map(|(table, count)| ((*table).into(), *count)).collect(),
    };
    let none = end(&[("shop.payments", 3)]);
    let mut take = |offset, end| {
        stage.ingest.take(Feed::Transactions(0), &id, (offset, Reading::Ended(end)), Instant(0));
    };
    take(5, end(&[("shop.orders", 2), ("shop.payments", 3)]));
    take(6, none);
    let round = stage.ingest.collect(Instant(0));
    assert!(round.read_to.contains(&(id.clone(), 7)), "what is not ours is passed, too");
    assert!(stage.ingest.holds(&id));
    let block = &round.blocks[0].1;
    let mut ends = block.entries.iter().filter_map(|entry| match entry {
        Entry::Ended(end) => Some((end.partition, &end.sent[..])),
        _ => None,
    });
    let (partition, sent) = ends.next().expect("it is told");
    assert_eq!((partition, sent.len(), ends.next()), (3, 1, None));
    assert_eq!(&*block.topic_partitions[sent[0].0].1.topic, "shop.shop.orders");
    stage.ingest.revoke(Feed::Transactions(0), &id);
    assert!(!stage.ingest.holds(&id));
}

/// Once for each topic-partition, in front of the first row; not of what a run reads after its stream has begun.
#[test]
fn that_a_run_begins_with_a_snapshot_is_said_once() {
    let mut stage = stage(true);
    stage.learn(1);
    let mut told = |run: u64, offset: i64, is_read: bool, incremental: bool| -> Vec<String> {
        let mut decoded = decoded(offset, offset * SECOND, is_read);
        decoded.incremental = incremental;
        decoded.change.run = RunId { number: (run * 1000) << 16 | 0x7000, family: 0 };
        stage.ingest.take(Feed::Source(0), &stage.lane, (offset, Reading::Change(decoded)), Instant(offset * SECOND));
        let blocks = stage.ingest.collect(Instant(offset * SECOND)).blocks;
        let line = |entry: &Entry| match entry {
            Entry::Snapshot { topic_partition: 0, run } => Some(format!("snapshot of {}", run.number >> 16)),
            Entry::Change(change) => Some(format!("change {}", change.offset)),
            _ => None,
        };
        blocks.iter().flat_map(|(_, block)| &block.entries).filter_map(line).collect()
    };
    assert_eq!(told(1, 0, true, false), ["snapshot of 1000", "change 0"]);
    assert_eq!(told(1, 1, true, false), ["change 1"]);
    assert_eq!(told(1, 2, false, false), ["change 2"]);
    assert_eq!(told(2, 3, false, false), ["change 3"]);
    assert_eq!(told(2, 4, true, false), ["change 4"], "an operator's, in the midst of the stream");
    assert_eq!(told(3, 5, true, true), ["change 5"], "an incremental one is none");
    assert_eq!(told(4, 6, true, false), ["snapshot of 4000", "change 6"]);
    assert_eq!(told(3, 7, true, false), ["change 7"], "another task's, that began before");
}
