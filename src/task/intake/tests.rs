//! What the simulator's brokers do not do: partitions without a leader at the very start, topics that are created anew, that
//! are truncated, that have no id.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::{Beat, Committed, Found, Intake, Movement, Rounds, Sources, Taken};
use crate::domain::change::{Block, Entry, GapCause, SourceTopic, TopicPartition, Topology};
use crate::domain::instant::Instant;
use crate::domain::rule::ConnectorIndex;
use crate::task::ingest::tests::plan;
use crate::task::ingest::{Feed, Ingest, Patience, Reading};

/// Brokers with one topic, as a member sees them.
#[derive(Default)]
struct Brokers {
    now: i64,
    movements: Vec<Movement>,
    topic: Option<SourceTopic>,
    /// Start and end of each partition that has a leader.
    bounds: BTreeMap<i32, (i64, i64)>,
    committed: BTreeMap<i32, Committed>,
    /// Commits that are to be waited for are refused.
    refuses: bool,
    /// Partition and offset of what is read next.
    records: Vec<(i32, i64)>,
    begun: Vec<(i32, i64)>,
    /// Cause, partition, expected and found offset of each gap that was written.
    gaps: Vec<(GapCause, i32, i64, i64)>,
    rounds: u64,
    looks: usize,
    /// How long the first look takes, microseconds.
    first_look_us: i64,
}

fn id(partition: i32) -> TopicPartition {
    TopicPartition { topic: "orders".into(), partition }
}

impl Sources for Brokers {
    type Error = Infallible;

    fn clock_us(&mut self) -> i64 {
        self.now
    }

    fn now(&mut self) -> Instant {
        Instant(self.now)
    }

    fn is_stopped(&mut self) -> bool {
        false
    }

    fn movements(&mut self) -> Result<Vec<Movement>, Infallible> {
        Ok(std::mem::take(&mut self.movements))
    }

    fn go_on(&mut self, from: &[(TopicPartition, i64)]) -> Result<(), Infallible> {
        self.begun.extend(from.iter().map(|(id, offset)| (id.partition, *offset)));
        Ok(())
    }

    fn read(&mut self, _: i64) -> Result<Option<Taken>, Infallible> {
        let next = (!self.records.is_empty()).then(|| self.records.remove(0));
        let taken = |(partition, offset)| Taken {
            feed: Feed::Source(0),
            counted: None,
            topic_partition: id(partition),
            offset,
            reading: Reading::Nothing,
            bytes: 1,
        };
        Ok(next.map(taken))
    }

    fn positions(&mut self) -> Result<Vec<(TopicPartition, i64)>, Infallible> {
        Ok(Vec::new())
    }

    fn beats(&mut self) -> Result<Vec<Beat>, Infallible> {
        Ok(Vec::new())
    }

    fn committed(&mut self, of: &[TopicPartition]) -> Result<Vec<Committed>, Infallible> {
        Ok(of.iter().filter_map(|id| self.committed.get(&id.partition).cloned()).collect())
    }

    fn bounds(&mut self, of: &[TopicPartition]) -> Result<Vec<(TopicPartition, i64, i64)>, Infallible> {
        assert!(!of.is_empty(), "librdkafka refuses to be asked for nothing");
        let known =
            |id: &TopicPartition| self.bounds.get(&id.partition).map(|(start, end)| (id.clone(), *start, *end));
        Ok(of.iter().filter_map(known).collect())
    }

    fn ends(&mut self, _: &[TopicPartition]) -> Vec<(TopicPartition, i64)> {
        Vec::new()
    }

    fn look_up(&mut self) -> Result<Option<Found>, Infallible> {
        self.looks += 1;
        self.now += if self.looks == 1 { self.first_look_us } else { 0 };
        let sources = vec![Topology { source: 0, topics: self.topic.iter().cloned().collect() }];
        Ok(Some(Found { sources, ..Found::default() }))
    }

    fn write(&mut self, round: &[(i32, Block)]) -> Result<u64, Infallible> {
        for (_, block) in round {
            for entry in &block.entries {
                if let Entry::Gap(gap) = entry {
                    let partition = block.topic_partitions[gap.topic_partition].1.partition;
                    self.gaps.push((gap.cause, partition, gap.expected, gap.found));
                }
            }
        }
        self.rounds += 1;
        Ok(self.rounds)
    }

    fn written(&mut self, _: bool) -> Result<Option<u64>, Infallible> {
        Ok(Some(self.rounds))
    }

    fn in_flight(&mut self) -> usize {
        0
    }

    fn commit(&mut self, read: &[Committed], _: &[(ConnectorIndex, i32, i64)]) {
        self.committed.extend(read.iter().map(|one| (one.topic_partition.partition, one.clone())));
    }

    fn commit_first(&mut self, begin: &[Committed]) -> Result<bool, Infallible> {
        if !self.refuses {
            self.commit(begin, &[]);
        }
        Ok(!self.refuses)
    }
}

fn intake(brokers: Brokers) -> Intake<Brokers> {
    let ingest = Ingest::new(plan(true), 1, vec![false], Patience { slack_us: 1, stall_after_us: 60_000_000 });
    let begun = Intake::begin(brokers, ingest, Rounds { linger_us: 1, bytes: 1 << 20 }, false);
    begun.unwrap_or_else(|never| match never {})
}

/// Two partitions whose first records are gone already, both assigned to the member.
fn brokers() -> Brokers {
    Brokers {
        topic: Some(SourceTopic { name: "orders".into(), partitions: 2, id: 7 }),
        bounds: [(0, (10, 20)), (1, (30, 40))].into(),
        movements: vec![Movement::Assigned(id(0)), Movement::Assigned(id(1))],
        ..Brokers::default()
    }
}

impl Intake<Brokers> {
    fn later(&mut self) {
        self.sources().now += 10_000_000;
        self.step().unwrap_or_else(|never| match never {});
        self.sources().now += 10_000_000;
        self.step().unwrap_or_else(|never| match never {});
    }
}

/// Promises wait for looks, and a slow one puts the next off.
#[test]
fn what_the_first_look_takes_puts_no_other_off() {
    let mut intake = intake(Brokers { first_look_us: 1_000_000, ..brokers() });
    for looks in 2..5 {
        intake.sources().now += 2_500_000;
        intake.step().unwrap_or_else(|never| match never {});
        assert_eq!(intake.sources().looks, looks);
    }
}

/// Whoever is the first says for all partitions where they begin, or for none: one that nobody has said anything of was
/// added, and begins at its first record that ever was.
#[test]
fn the_first_member_begins_once_all_partitions_have_a_leader_and_that_is_committed() {
    let mut intake = intake(Brokers { bounds: [(0, (10, 20))].into(), ..brokers() });
    intake.later();
    assert_eq!(intake.sources().begun, []);
    intake.sources().bounds.insert(1, (30, 40));
    intake.sources().refuses = true;
    intake.later();
    assert_eq!(intake.sources().begun, [], "the group is about to share them anew");
    intake.sources().refuses = false;
    intake.later();
    assert_eq!(intake.sources().begun, [(0, 10), (1, 30)]);
    assert_eq!(intake.sources().gaps, []);
    assert_eq!(intake.sources().committed.len(), 2);
}

#[test]
fn a_partition_without_a_leader_is_begun_once_it_has_one() {
    let committed =
        [0, 1].map(|partition| (partition, Committed { topic_partition: id(partition), offset: 30, topic_id: 7 }));
    let mut intake = intake(Brokers { bounds: [(1, (30, 40))].into(), committed: committed.into(), ..brokers() });
    intake.later();
    assert_eq!(intake.sources().begun, [(1, 30)]);
    intake.sources().bounds.insert(0, (35, 40));
    intake.later();
    assert_eq!(intake.sources().begun[1..], [(0, 35)]);
    assert_eq!(intake.sources().gaps, [(GapCause::Retention, 0, 30, 35)]);
}

/// What lies between may be what retention has deleted.
#[test]
fn what_is_jumped_over_while_nobody_can_say_why_is_looked_at_later() {
    let mut intake = intake(brokers());
    intake.sources().records = vec![(0, 10)];
    intake.later();
    intake.sources().bounds.remove(&0);
    intake.sources().records = vec![(0, 15), (0, 16), (1, 30)];
    intake.later();
    assert_eq!(intake.sources().gaps, []);
    intake.sources().bounds.insert(0, (15, 20));
    intake.later();
    assert_eq!(intake.sources().begun[2..], [(0, 15)], "it was committed that 10 was read");
    assert_eq!(intake.sources().gaps, [(GapCause::Retention, 0, 11, 15)]);
}

/// A member without any partition of the topic must not end by it.
#[test]
fn a_topic_that_is_created_anew_is_read_from_its_beginning_by_whoever_has_it() {
    for assigned in [vec![], brokers().movements] {
        let count = assigned.len();
        let mut intake = intake(Brokers { movements: assigned, ..brokers() });
        intake.later();
        intake.sources().topic.as_mut().expect("there is a topic").id = 8;
        intake.sources().bounds = [(0, (0, 3))].into();
        intake.later();
        intake.sources().bounds.insert(1, (0, 0));
        intake.later();
        let expected = [(GapCause::Recreated, 0, 10, 0), (GapCause::Recreated, 1, 30, 0)];
        assert_eq!(intake.sources().gaps, expected[..count]);
        assert_eq!(intake.sources().begun[count..], [(0, 0), (1, 0)][..count]);
    }
}

#[test]
fn a_topic_that_ends_before_what_was_read_is_truncated_or_another_one() {
    for (topic_id, cause) in [(7, GapCause::Truncated), (0, GapCause::Recreated)] {
        let topic = Some(SourceTopic { name: "orders".into(), partitions: 2, id: topic_id });
        let mut intake = intake(Brokers { topic: topic.clone(), ..brokers() });
        intake.later();
        intake.sources().records = vec![(0, 10), (0, 11), (0, 4)];
        intake.later();
        assert_eq!(intake.sources().gaps, [(cause, 0, 12, 4)], "while it is read");
        let committed = Committed { topic_partition: id(0), offset: 50, topic_id };
        let again = Brokers { topic, committed: [(0, committed)].into(), ..brokers() };
        let mut intake = self::intake(Brokers { movements: vec![Movement::Assigned(id(0))], ..again });
        intake.later();
        assert_eq!(intake.sources().gaps, [(cause, 0, 50, 10)], "while it was not");
    }
}
