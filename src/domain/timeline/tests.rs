//! What the simulator does not come upon: topics that begin anew, clocks at fault, snapshots larger than a step.

use std::convert::Infallible;

use super::{Admission, Timeline};
use crate::domain::change::{
    Change, Gap, GapCause, Key, Mark, Operation, Position, Proof, RunId, SourceTopic, TopicNews, TopicPartition,
    Topology,
};
use crate::domain::instant::Instant;
use crate::domain::rule::SourcePlan;
use crate::domain::value::Value;

fn lane(partition: i32) -> TopicPartition {
    TopicPartition { topic: "orders".into(), partition }
}

/// A change at an offset; `at` is its source time, its transaction its own. The upper half of `run` is its family.
fn change(offset: i64, at: i64, position: Option<u64>, run: u64) -> Change {
    Change {
        topic_partition: 0,
        offset,
        source_time: Instant(at),
        position: position.map(|transaction| Position { transaction: transaction.into(), row: 0 }),
        fingerprint: position.unwrap_or(0) as u32 * 10 + at as u32,
        origin: 0,
        run: RunId { number: run & 0xFFFF_FFFF, family: (run >> 32) as u32 },
        transaction: position.unwrap_or(0),
        key: Some(Key("1".into())),
        key_before: None,
        operation: Operation::Delete { row: [Value::Int(offset)].into() },
        requeued: None,
    }
}

fn topology(partitions: i32, id: u64) -> Topology {
    Topology { source: 0, topics: vec![SourceTopic { name: "orders".into(), partitions, id }] }
}

/// One source, one connector, with so many partitions.
fn timeline(partitions: i32) -> Timeline {
    let mut timeline =
        Timeline::new(&[SourcePlan { connector: 0, commit_time: false, find_rows: false, partial_history: false }]);
    timeline.learn(&topology(partitions, 0));
    (0..partitions).for_each(|partition| assert_eq!(timeline.lane(0, &lane(partition)), partition as usize));
    timeline
}

const CEILING: Instant = Instant(1_000);

fn admit(timeline: &mut Timeline, changes: &[(i64, i64, Option<u64>, u64)]) -> Vec<Admission> {
    let admit = |(offset, at, position, run): &(i64, i64, Option<u64>, u64)| {
        timeline.admit(0, change(*offset, *at, *position, *run).into(), CEILING)
    };
    changes.iter().map(admit).collect()
}

fn mark(timeline: &mut Timeline, lane: usize, time: i64) {
    timeline.mark(lane, &Mark { topic_partition: lane, time: Instant(time), proof: None, counted: false });
}

/// `(until, at of each change)` of every stride.
fn strides(timeline: &mut Timeline, limit: usize) -> Vec<(i64, Vec<i64>)> {
    let mut strides = Vec::new();
    let nothing_is_away = |_: usize, _: u64| -> Result<_, Infallible> { Ok(Vec::new()) };
    while let Ok(Some(stride)) = timeline.stride(limit, nothing_is_away) {
        strides.push((stride.until.0, stride.changes.iter().map(|settled| settled.at.0).collect()));
    }
    strides
}

#[test]
fn what_was_taken_before_is_repeated_and_what_was_not_is_foreign() {
    use Admission::{Foreign, Repeated, Taken};
    let mut timeline = timeline(1);
    let told =
        [(0, 10, Some(1), 7), (1, 20, Some(2), 7), (0, 10, Some(1), 7), (1, 20, Some(2), 7), (1, 21, Some(9), 8)];
    assert_eq!(admit(&mut timeline, &told), [Taken, Taken, Repeated, Repeated, Foreign]);
}

/// An id that was not heard of tells of another topic, however many partitions that has; one of before tells nothing.
#[test]
fn topics_are_told_apart_by_their_ids() {
    let mut timeline = timeline(2);
    let mut learn = |partitions, id| -> Vec<TopicNews> {
        timeline.learn(&topology(partitions, id)).into_iter().map(|(_, news)| news).collect()
    };
    assert_eq!(learn(2, 7), [], "now it is known");
    assert_eq!(learn(3, 0), [TopicNews::Widened { before: 2 }]);
    assert_eq!(learn(1, 8), [TopicNews::Another { before: 7 }]);
    assert_eq!(learn(3, 7), [], "a member that is behind");
    assert_eq!(learn(1, 8), []);
    assert_eq!(learn(2, 9), [TopicNews::Another { before: 8 }]);
    mark(&mut timeline, 0, 100);
    assert_eq!(timeline.frontier(0), None, "it has two partitions now");
    mark(&mut timeline, 1, 100);
    assert_eq!(timeline.frontier(0), Some(Instant(100)));
}

/// The id tells that a topic was created anew; whoever reads it tells from where it is read on.
#[test]
fn a_topic_that_was_created_anew_is_one_gap() {
    use Admission::{Repeated, Taken};
    let mut timeline = timeline(1);
    assert_eq!(admit(&mut timeline, &[(8, 10, Some(1), 7), (9, 20, Some(2), 7)]), [Taken, Taken]);
    let gap =
        |expected, found, topic_id| Gap { topic_partition: 0, cause: GapCause::Recreated, expected, found, topic_id };
    assert!(timeline.gap(0, &gap(-1, 0, 5)));
    assert_eq!(admit(&mut timeline, &[(9, 20, Some(2), 7), (10, 30, Some(3), 7)]), [Admission::Replayed, Taken]);
    assert!(!timeline.gap(0, &gap(10, 2, 5)), "its reader, which had not seen it at once");
    assert_eq!(admit(&mut timeline, &[(2, 40, Some(4), 7)]), [Taken]);
    assert!(!timeline.gap(0, &gap(8, 0, 5)), "a reader that died before it committed said it again");
    assert_eq!(admit(&mut timeline, &[(2, 40, Some(4), 7)]), [Repeated]);
    mark(&mut timeline, 0, 100);
    assert_eq!((timeline.frontier(0), timeline.acknowledge(0)), (None, Some(false)));
    assert_eq!(timeline.frontier(0), Some(Instant(100)));
    assert!(timeline.gap(0, &gap(3, 0, 6)));
}

/// Its brokers lost what they had acknowledged: that may happen again, and is said again.
#[test]
fn a_topic_that_is_truncated_twice_is_two_gaps() {
    let mut timeline = timeline(1);
    let gap = |expected| Gap { topic_partition: 0, cause: GapCause::Truncated, expected, found: 0, topic_id: 5 };
    for (expected, position) in [(4, 1), (6, 2)] {
        assert_eq!(
            admit(&mut timeline, &[(expected - 1, position * 10, Some(position as u64), 7)]),
            [Admission::Taken]
        );
        assert!(timeline.gap(0, &gap(expected)));
        assert!(!timeline.gap(0, &gap(expected)), "it is said again");
        assert_eq!(timeline.acknowledge(0), Some(false));
    }
}

/// Where the brokers say topics' ids, they say that a topic is another one: what is written again is only that, whatever its
/// time.
#[test]
fn nothing_is_foreign_where_ids_tell() {
    let mut timeline = timeline(1);
    timeline.learn(&topology(1, 5));
    let ahead = change(0, 2_000, Some(1), 7);
    assert_eq!(timeline.admit(0, ahead.clone().into(), CEILING), Admission::Ahead);
    assert_eq!(timeline.admit(0, ahead.into(), Instant(3_000)), Admission::Repeated);
}

#[test]
fn a_time_beyond_the_ceiling_is_not_believed() {
    let mut timeline = timeline(1);
    let told = [(0, 10, Some(1), 7), (1, 9_999_999, Some(2), 7), (2, 30, Some(3), 7), (1, 9_999_999, Some(2), 7)];
    use Admission::{Ahead, Repeated, Taken};
    assert_eq!(admit(&mut timeline, &told), [Taken, Ahead, Taken, Repeated]);
    mark(&mut timeline, 0, 1_000);
    assert_eq!(
        strides(&mut timeline, 100),
        [(1_000, vec![10, 1_000, 1_000])],
        "what lies behind it is not held longer"
    );
}

/// Another family's positions are no replays, however low; the first family's, sent again, are.
#[test]
fn positions_of_another_server_begin_an_epoch() {
    use Admission::{NewEpoch, Replayed, Taken};
    let run = |family: u64, run: u64| family << 32 | run;
    let mut timeline = timeline(1);
    let told = [
        (0, 10, Some(100), run(1, 7)),
        // The same connector run finds another server behind the same address, in the same second.
        (1, 10, Some(5), run(2, 7)),
        (2, 10, Some(6), run(2, 7)),
        // The connector is started again and sends what both had.
        (3, 10, Some(99), run(1, 8)),
        (4, 10, Some(5), run(2, 8)),
        (5, 11, Some(7), run(2, 8)),
    ];
    assert_eq!(admit(&mut timeline, &told), [Taken, NewEpoch, Taken, Replayed, Replayed, Taken]);
}

/// Within one run nothing is sent twice: positions that jump between families are no replays.
#[test]
fn domains_that_alternate_lose_nothing() {
    let run = |family: u64| family << 32 | 7;
    let mut timeline = timeline(1);
    let told: Vec<_> =
        (0..20).map(|n| (n, 10, Some(if n % 2 == 0 { 1_000 } else { 10 } + n as u64), run(n as u64 % 2))).collect();
    let admitted = admit(&mut timeline, &told);
    assert!(admitted.iter().all(|one| matches!(one, Admission::Taken | Admission::NewEpoch)), "{admitted:?}");
}

/// Restored positions: lower, though later than everything before, whether or not the connector says its run.
#[test]
fn positions_that_fall_while_time_rises_begin_an_epoch() {
    for run in [0, 7] {
        let mut timeline = timeline(1);
        let told = [(0, 10, Some(100), run), (1, 20, Some(5), run), (2, 21, Some(6), run), (3, 10, Some(4), run)];
        use Admission::{NewEpoch, Replayed, Taken};
        assert_eq!(admit(&mut timeline, &told), [Taken, NewEpoch, Taken, Replayed]);
    }
}

/// The first that was sent of 5 was lost, and with it how late it was: sent again behind 6, it tells of no failover, for a run
/// that began later goes on in the epoch of before.
#[test]
fn what_was_lost_and_is_sent_again_begins_no_epoch() {
    use Admission::{NewEpoch, Replayed, Taken};
    let run = |began: u64| (began << 16) | 0x7000;
    let told = |is_order_known: bool| {
        let mut timeline = timeline(2);
        let first = if is_order_known { run(3) } else { 9 };
        timeline.admit(1, change(0, 60, Some(7), first).into(), CEILING);
        admit(&mut timeline, &[(2, 20, Some(6), run(1)), (3, 50, Some(5), run(2)), (4, 20, Some(6), run(2))])
    };
    assert_eq!(told(true), [Taken, Replayed, Replayed]);
    assert_eq!(told(false), [Taken, NewEpoch, Taken], "nothing tells that it was sent before");
}

/// All rows of a first snapshot share one instant, and no step takes more than its limit; what is judged is whole.
#[test]
fn a_first_snapshot_is_settled_in_steps() {
    let mut timeline = timeline(2);
    let rows: Vec<_> = (0..10).map(|offset| (offset, 50, None, 0)).collect();
    admit(&mut timeline, &rows);
    let transaction: Vec<_> = (70..74).map(|at| (at - 60, at, Some(1), 7)).collect();
    admit(&mut timeline, &transaction);
    mark(&mut timeline, 0, 60);
    mark(&mut timeline, 1, 80);
    mark(&mut timeline, 0, 90);
    let strides = strides(&mut timeline, 3);
    let rows = |at: &[i64]| at.iter().filter(|at| **at == 50).count();
    let of_snapshot: Vec<_> = strides.iter().filter(|(_, at)| rows(at) > 0).collect();
    assert_eq!(of_snapshot.iter().map(|(_, at)| rows(at)).collect::<Vec<_>>(), [3, 3, 3, 1], "{strides:?}");
    assert!(of_snapshot[..3].iter().all(|(until, _)| *until == 49), "not settled before it is whole: {strides:?}");
    assert!(strides.iter().any(|(_, at)| at.ends_with(&[73; 4])), "a transaction stays whole: {strides:?}");
    assert_eq!(strides.last().map(|(until, _)| *until), Some(80));
}

/// A row of a snapshot comes through a topic-partition in which nothing else has come for long. What was promised is not held back
/// by it, nor lifted, nor is it parted.
#[test]
fn a_row_that_was_read_in_mid_stream_holds_nothing_back() {
    let mut timeline = timeline(2);
    let promise = |timeline: &mut Timeline, lane: usize, time: i64, transaction: u64| {
        let position = Position { transaction: transaction.into(), row: 0 };
        let proof = Some(Proof { position, run: RunId { number: 7, family: 0 } });
        timeline.mark(lane, &Mark { topic_partition: lane, time: Instant(time), proof, counted: false });
    };
    let admit = |timeline: &mut Timeline, lane: usize, one: (i64, i64, Option<u64>)| {
        timeline.admit(lane, change(one.0, one.1, one.2, 7).into(), CEILING)
    };
    admit(&mut timeline, 0, (0, 10, Some(1)));
    promise(&mut timeline, 0, 50, 6);
    promise(&mut timeline, 1, 20, 3);
    // What stands below the proof at 6 was committed by 50.
    admit(&mut timeline, 1, (0, 30, Some(4)));
    admit(&mut timeline, 1, (1, 40, Some(5)));
    // Read at 90, says the snapshot.
    admit(&mut timeline, 0, (1, 90, None));
    // A transaction of both, half of it before another row.
    admit(&mut timeline, 0, (2, 60, Some(7)));
    admit(&mut timeline, 0, (3, 95, None));
    admit(&mut timeline, 1, (2, 60, Some(7)));
    promise(&mut timeline, 1, 50, 6);
    assert_eq!(strides(&mut timeline, 99), [(50, vec![10, 30, 40])]);
    promise(&mut timeline, 0, 70, 8);
    promise(&mut timeline, 1, 70, 8);
    assert_eq!(strides(&mut timeline, 99), [(70, vec![51, 60, 60, 60])]);
}

/// A restored database tells of times that lie before one at which its rows were read: it is not sent again. Judging waits for rows
/// that were read before anything was promised.
#[test]
fn when_a_row_was_read_says_nothing_of_the_stream() {
    use Admission::{NewEpoch, Taken};
    for is_promised in [true, false] {
        let mut timeline = timeline(1);
        assert_eq!(admit(&mut timeline, &[(0, 10, Some(100), 7)]), [Taken]);
        if is_promised {
            mark(&mut timeline, 0, 20);
        }
        assert_eq!(admit(&mut timeline, &[(1, 90, None, 7), (2, 50, Some(5), 8)]), [Taken, NewEpoch]);
        mark(&mut timeline, 0, 60);
        strides(&mut timeline, 99);
        assert_eq!(timeline.baseline(), Some(Instant(if is_promised { 20 } else { 90 })));
    }
}

/// What is requeued was no earlier than its time says: what stands before it, sent again by a run that nobody has heard of, was not
/// committed later.
#[test]
fn what_is_requeued_makes_no_failover_of_what_is_sent_again() {
    let mut timeline = timeline(2);
    timeline.commit_time = vec![true];
    let mut admit = |lane: usize, change: Change| timeline.admit(lane, change.into(), Instant(1_000_000));
    assert_eq!(admit(1, change(0, 10_000, Some(1), 7)), Admission::Taken);
    let requeued = Change { requeued: Some(2), ..change(1, 60_000, Some(9), 7) };
    assert_eq!(admit(1, requeued), Admission::Requeued);
    assert_eq!(admit(0, change(0, 59_000, Some(8), 8)), Admission::Taken);
}
