//! The world of an ingest member, played: topics, the group over them, the changes log's writer.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use evenkeel::domain::change::{Block, Entry, SourceIndex, SourceTopic, TopicPartition, Topology, Unseen};
use evenkeel::domain::instant::Instant;
use evenkeel::domain::rule::ConnectorIndex;
use evenkeel::task::ingest::Feed;
use evenkeel::task::intake::{Beat, Committed, Found, Movement, Sources, Taken};
use evenkeel::task::wire::block;

use super::delivery::{Record, TRANSACTIONS};
use super::events::{proof, read, run_of};
use super::oracle::{self, Line};
use super::outside::{Crash, Fuse, Logged, Outside, Shared};
use super::seat::Fault;
use super::transactions;
use super::world::{Micros, SECOND};

/// A block on its way to the changes log.
struct Flying {
    round: u64,
    partition: usize,
    logged: Logged,
}

pub struct SimSources {
    outside: Shared<Outside>,
    fuse: Rc<Fuse>,
    process: usize,
    /// Lanes that are read, each with the next offset.
    reading: BTreeMap<usize, usize>,
    /// For each database, the next heartbeat.
    beats: [usize; 2],
    /// False until it knows of any topic to subscribe to.
    subscribed: bool,
    flying: VecDeque<Flying>,
    rounds: u64,
    /// Rounds below are written.
    written: u64,
    /// Until then its blocks reach no broker.
    stuck_until: Micros,
}

impl SimSources {
    pub fn join(outside: &Shared<Outside>, fuse: &Rc<Fuse>, process: usize) -> SimSources {
        let beats = outside.borrow().group.beats.map(|offset| offset as usize);
        SimSources {
            outside: Rc::clone(outside),
            fuse: Rc::clone(fuse),
            process,
            reading: BTreeMap::new(),
            beats,
            subscribed: false,
            flying: VecDeque::new(),
            rounds: 0,
            written: 0,
            stuck_until: Micros::MIN,
        }
    }
}

impl SimSources {
    /// What a connector says of its transactions, now and then: no dice tell when, so that all else is as it would be without.
    fn read_aside(&mut self) -> Option<Taken> {
        let outside = self.outside.borrow();
        let (world, delivery) = (outside.world.borrow(), outside.delivery.borrow());
        let mut asides = self.reading.range_mut(TRANSACTIONS..);
        let (lane, next) = asides.find(|(lane, next)| {
            let left = delivery.lanes[**lane].records.len().saturating_sub(**next);
            left > 0 && (outside.now / 1000 + **next as Micros) % 3 != 0
        })?;
        let (offset, record) = (*next as i64, delivery.lanes[*lane].records[*next]);
        *next += 1;
        Some(Taken {
            feed: Feed::Transactions(lane - TRANSACTIONS),
            topic_partition: outside.group.topics[*lane].1.clone(),
            offset,
            reading: read(&world, &delivery, *lane, record, offset),
            counted: None,
            bytes: 100,
        })
    }
}

impl Sources for SimSources {
    type Error = Fault;

    fn clock_us(&mut self) -> i64 {
        self.outside.borrow().now
    }

    fn now(&mut self) -> Instant {
        Instant(self.outside.borrow().now)
    }

    fn is_stopped(&mut self) -> bool {
        false
    }

    fn movements(&mut self) -> Result<Vec<Movement>, Fault> {
        let outside = &mut *self.outside.borrow_mut();
        if !self.subscribed || outside.dice.once_in(3) {
            return Ok(Vec::new());
        }
        let movements = std::mem::take(&mut outside.group.movements[self.process]);
        for movement in &movements {
            if let Movement::Revoked(id) = movement {
                self.reading.remove(&outside.group.lane(id));
            }
        }
        Ok(movements)
    }

    fn go_on(&mut self, from: &[(TopicPartition, i64)]) -> Result<(), Fault> {
        let outside = self.outside.borrow();
        let lanes = from.iter().map(|(id, offset)| (outside.group.lane(id), *offset as usize));
        Ok(self.fuse.call(|| self.reading.extend(lanes))?)
    }

    fn read(&mut self, _: i64) -> Result<Option<Taken>, Fault> {
        if let Some(taken) = self.read_aside() {
            return Ok(self.fuse.call(|| Some(taken))?);
        }
        let outside = &mut *self.outside.borrow_mut();
        let (world, delivery) = (outside.world.borrow(), outside.delivery.borrow());
        let has_more = |(lane, next): &(&usize, &mut usize)| {
            **next < delivery.lanes[**lane].records.len() && delivery.can_be_read(**lane, outside.now)
        };
        let of_sources = self.reading.range_mut(..TRANSACTIONS);
        let mut ready: Vec<_> = of_sources.filter(has_more).collect();
        if ready.is_empty() || outside.dice.once_in(8) {
            return Ok(None);
        }
        let (lane, next) = ready.swap_remove(outside.dice.below(ready.len() as u64) as usize);
        let offset = (*next).max(delivery.lanes[*lane].start);
        let record = delivery.lanes[*lane].records.get(offset).copied();
        *next = offset;
        // Retention may have left nothing.
        let Some(record) = record else { return Ok(None) };
        *next = offset + 1;
        let (source, id) = outside.group.topics[*lane].clone();
        let source = source.expect("nobody subscribes to heartbeats");
        let reading = read(&world, &delivery, *lane, record, offset as i64);
        let counted = transactions::counted(&world, &delivery, *lane, record);
        let feed = Feed::Source(source);
        let taken = Taken { feed, topic_partition: id, offset: offset as i64, reading, counted, bytes: 100 };
        Ok(self.fuse.call(|| Some(taken))?)
    }

    fn positions(&mut self) -> Result<Vec<(TopicPartition, i64)>, Fault> {
        let outside = self.outside.borrow();
        let position = |(lane, next): (&usize, &usize)| (outside.group.topics[*lane].1.clone(), *next as i64);
        Ok(self.fuse.call(|| self.reading.iter().map(position).collect())?)
    }

    fn beats(&mut self) -> Result<Vec<Beat>, Fault> {
        let outside = self.outside.borrow();
        let (world, delivery) = (outside.world.borrow(), outside.delivery.borrow());
        let mut beats = Vec::new();
        for connector in 0..2 {
            let records = &delivery.heartbeats(connector).records;
            let from = std::mem::replace(&mut self.beats[connector], records.len());
            for (offset, record) in (from as i64..).zip(&records[from..]) {
                let Record::Heartbeat { transaction, run } = *record else { continue };
                let transaction = &world.databases[connector].log[transaction];
                let time = Instant(transaction.heartbeat.expect("it is a heartbeat"));
                beats.push(Beat { connector, time, proof: proof(connector, transaction, run), stand: (0, offset) });
            }
        }
        Ok(self.fuse.call(|| beats)?)
    }

    fn committed(&mut self, of: &[TopicPartition]) -> Result<Vec<Committed>, Fault> {
        let outside = self.outside.borrow();
        let committed = of.iter().filter_map(|id| {
            let offset = outside.group.committed[outside.group.lane(id)]?;
            Some(Committed { topic_partition: id.clone(), offset, topic_id: 1 })
        });
        Ok(self.fuse.call(|| committed.collect())?)
    }

    fn bounds(&mut self, of: &[TopicPartition]) -> Result<Vec<(TopicPartition, i64, i64)>, Fault> {
        let outside = &mut *self.outside.borrow_mut();
        let delivery = outside.delivery.borrow();
        // Partitions without a leader are left out.
        let once_in = outside.hazards.brokers * 4;
        let mut known = of.to_vec();
        let is_aside = |id: &TopicPartition| outside.group.lane(id) >= TRANSACTIONS;
        known.retain(|id| once_in == 0 || is_aside(id) || !outside.dice.once_in(once_in));
        let bounds = known.into_iter().map(|id| {
            let lane = &delivery.lanes[outside.group.lane(&id)];
            (id, lane.start as i64, lane.records.len() as i64)
        });
        Ok(self.fuse.call(|| bounds.collect())?)
    }

    fn ends(&mut self, of: &[TopicPartition]) -> Vec<(TopicPartition, i64)> {
        let outside = &mut *self.outside.borrow_mut();
        let delivery = outside.delivery.borrow();
        // What is not understood passes no heartbeat, so that promises rest on these answers more often.
        let is_silent = outside.dice.once_in(8) && delivery.trouble.poison == 0;
        if self.fuse.is_burnt() || is_silent {
            return Vec::new();
        }
        let mut ends = Vec::new();
        for id in of {
            let lane = outside.group.lane(id);
            // Each must answer for a slack on end: if they are rarer, a source seems to stand still.
            let is_silent = outside.dice.once_in(40) && delivery.trouble.poison == 0;
            if delivery.can_be_read(lane, outside.now) && !is_silent {
                ends.push((id.clone(), delivery.lanes[lane].records.len() as i64));
            }
        }
        ends
    }

    fn look_up(&mut self) -> Result<Option<Found>, Fault> {
        let outside = &mut *self.outside.borrow_mut();
        if outside.hazards.look_up > 0 && !outside.dice.once_in(outside.hazards.look_up) {
            return Ok(None);
        }
        let delivery = outside.delivery.borrow();
        let topic = |source: SourceIndex| {
            let known = outside.group.topics.iter().find(|(of, _)| *of == Some(source));
            let name = Arc::clone(&known.expect("every source has a topic").1.topic);
            let partitions = delivery.lanes.iter().filter(|lane| lane.source == Some(source) && lane.exists).count();
            let topic = SourceTopic { name, partitions: partitions as i32, id: 1 };
            Topology { source, topics: vec![topic] }
        };
        let aside = |connector: usize| {
            let name = Arc::clone(&outside.group.topics[TRANSACTIONS + connector].1.topic);
            (connector, SourceTopic { name, partitions: 1, id: 1 })
        };
        let transactions = (0..2).map(aside).collect();
        let found = self.fuse.call(|| Found { sources: (0..3).map(topic).collect(), transactions })?;
        self.subscribed = true;
        Ok(Some(found))
    }

    fn write(&mut self, round: &[(i32, Block)]) -> Result<u64, Fault> {
        let outside = &mut *self.outside.borrow_mut();
        let number = self.rounds;
        self.rounds += 1;
        for (partition, block) in round {
            let is_gap = |entry: &&Entry| matches!(entry, Entry::Gap(_));
            outside.happened.gaps += block.entries.iter().filter(is_gap).count() as u64;
            let logged =
                Logged { lines: lines(outside, block), bytes: block::encode(block, &outside.plans[0].catalog) };
            self.flying.push_back(Flying { round: number, partition: *partition as usize, logged });
        }
        Ok(number)
    }

    fn written(&mut self, wait: bool) -> Result<Option<u64>, Fault> {
        let outside = &mut *self.outside.borrow_mut();
        let is_stuck = outside.now < self.stuck_until;
        let count = if wait {
            self.flying.len()
        } else if is_stuck {
            0
        } else if outside.strikes(outside.hazards.brokers * 8) {
            // Some of them are written, then none for a while.
            outside.happened.stuck += 1;
            self.stuck_until = outside.now + outside.dice.between(SECOND, 8 * SECOND);
            outside.dice.below(self.flying.len() as u64 + 1) as usize
        } else if outside.dice.once_in(2) {
            self.flying.len()
        } else {
            outside.dice.below(3) as usize
        };
        for _ in 0..count.min(self.flying.len()) {
            let next = self.flying.pop_front().expect("there are so many");
            self.fuse.call(|| outside.log[next.partition].blocks.push(next.logged))?;
        }
        let before = self.written;
        self.written = self.flying.front().map_or(self.rounds, |next| next.round);
        Ok((self.written > before).then(|| self.written - 1))
    }

    fn in_flight(&mut self) -> usize {
        (self.rounds - self.written) as usize
    }

    fn commit(&mut self, read: &[Committed], beats: &[(ConnectorIndex, i32, i64)]) {
        let outside = &mut *self.outside.borrow_mut();
        if outside.dice.once_in(8) {
            return;
        }
        // Whether the process is still there, its next call will tell.
        let _: Result<(), Crash> = self.fuse.call(|| {
            for committed in read {
                let lane = outside.group.lane(&committed.topic_partition);
                // What comes from a member that was given up the coordinator does not take.
                if outside.group.owners[lane] == self.process {
                    outside.group.committed[lane] = Some(committed.offset);
                }
            }
            for (connector, _, offset) in beats {
                outside.group.beats[*connector] = *offset;
            }
        });
    }

    fn commit_first(&mut self, begin: &[Committed]) -> Result<bool, Fault> {
        let outside = &mut *self.outside.borrow_mut();
        let once_in = outside.hazards.brokers;
        // It may be refused; or done, and not heard of.
        if outside.strikes(once_in) {
            return Ok(false);
        }
        self.fuse.call(|| {
            for committed in begin {
                let lane = outside.group.lane(&committed.topic_partition);
                outside.group.committed[lane] = Some(committed.offset);
            }
        })?;
        Ok(!outside.strikes(once_in))
    }
}

/// What the oracle is shown of a block.
pub fn lines(outside: &Outside, block: &Block) -> Vec<Line> {
    let lane = |index: usize| outside.group.lane(&block.topic_partitions[index].1);
    let line = |entry: &Entry| match entry {
        Entry::Change(change) => {
            let (lane, offset) = (lane(change.topic_partition), change.offset);
            Some(match change.requeued {
                None => Line::Change { lane, offset },
                Some(until) => Line::Requeued { lane, offset, until },
            })
        }
        Entry::Mark(mark) => Some(Line::Mark {
            lane: lane(mark.topic_partition),
            time: mark.time.0,
            proof: mark.proof.map(|proof| oracle::Proof {
                begin: (proof.position.transaction as u64, proof.position.row as u64),
                run: run_of(proof.run),
            }),
        }),
        Entry::Rules(set) => {
            let book = outside.plans.iter().position(|plan| plan.rule_set() == *set);
            Some(Line::Rules { book: book.expect("it is a plan's") })
        }
        Entry::Gap(gap) => Some(Line::Gap { lane: lane(gap.topic_partition), gap: (gap.expected, gap.found) }),
        Entry::Acknowledge { topic_partition } => Some(Line::Acknowledge { lane: lane(*topic_partition) }),
        Entry::Snapshot { topic_partition, run } => {
            Some(Line::Snapshot { lane: lane(*topic_partition), run: run_of(*run) })
        }
        Entry::Confirm { topic_partition, unseen } => Some(Line::Confirm {
            table: block.topic_partitions[*topic_partition].0,
            are_gone: *unseen == Unseen::Gone,
        }),
        Entry::Stall { .. } | Entry::Reject(_) | Entry::Counted { .. } | Entry::Ended(_) => None,
    };
    let topics = block.topologies.iter().map(|Topology { source, topics }| {
        let partitions = topics.iter().map(|topic| topic.partitions).sum();
        Line::Topics { table: *source, partitions }
    });
    topics.chain(block.entries.iter().filter_map(line)).collect()
}
