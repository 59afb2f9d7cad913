//! An operator who has mended a configuration takes back what was in quarantine, as `evenkeel quarantine requeue` does: while
//! everything goes on, in the changes log.

use std::collections::BTreeSet;

use evenkeel::domain::change::Block;
use evenkeel::domain::instant::Instant;
use evenkeel::task::ingest::Reading;
use evenkeel::task::requeue::Requeue;
use evenkeel::task::router::Router;
use evenkeel::task::wire::block;

use super::events::understand;
use super::feed::lines;
use super::outside::{Logged, Outside};

/// Whoever requeues what a lane has in quarantine.
pub struct Operator {
    pub lane: usize,
    requeue: Requeue,
    wanted: BTreeSet<usize>,
    /// Whatever was in quarantine below is wanted.
    pub wants_to: usize,
    /// What is below was shown to them.
    seen: usize,
}

impl Operator {
    /// Begins with what is in quarantine now; `None` where that is nothing, or nobody could say what has followed.
    pub fn begin(outside: &Outside, lane: usize) -> Option<Operator> {
        let delivery = outside.delivery.borrow();
        let committed = outside.group.committed[lane]?;
        let until = committed as usize;
        let records = delivery.lanes[lane].records.iter().take(until).enumerate();
        let poisonous = records.filter(|(_, record)| delivery.is_poisonous(lane, **record));
        let wanted: BTreeSet<usize> = poisonous.map(|(offset, _)| offset).collect();
        if delivery.lanes[lane].start > 0 || wanted.is_empty() {
            return None;
        }
        let (source, id) = &outside.group.topics[lane];
        let requeue = Requeue::new(outside.plans[0].clone(), (*source)?, id, committed);
        let mut operator = Operator { lane, requeue, wanted, wants_to: until, seen: 0 };
        drop(delivery);
        operator.look(outside, until);
        Some(operator)
    }

    /// True where they are done.
    pub fn step(&mut self, outside: &mut Outside) -> bool {
        if outside.delivery.borrow().lanes[self.lane].start > self.seen {
            // Retention was faster: the row has to be read anew.
            return true;
        }
        if outside.group.committed[self.lane].is_none_or(|committed| committed < self.requeue.until()) {
            return false;
        }
        self.write(outside);
        let end = outside.delivery.borrow().lanes[self.lane].records.len();
        self.look(outside, end);
        self.requeue.is_done()
    }

    /// Looks on up to an offset.
    fn look(&mut self, outside: &Outside, until: usize) {
        let (world, delivery) = (outside.world.borrow(), outside.delivery.borrow());
        for offset in self.seen..until {
            let record = delivery.lanes[self.lane].records[offset];
            if let Reading::Change(decoded) = understand(&world, &delivery, self.lane, record, offset as i64) {
                self.requeue.see(offset as i64, decoded, self.wanted.contains(&offset));
            }
        }
        self.seen = until;
    }

    fn write(&self, outside: &mut Outside) {
        outside.happened.requeued += 1;
        let plan = outside.plans[0].clone();
        let (source, id) = outside.group.topics[self.lane].clone();
        let mut router = Router::new(plan.clone(), outside.log.len() as i32, vec![true, false, false]);
        let source = source.expect("it is no heartbeats' lane");
        for part in self.requeue.parts(2) {
            part.into_iter().for_each(|decoded| router.route(source, &id, decoded));
            for (partition, block) in router.take() {
                let block = Block { written_at: Instant(outside.now), ..block };
                let logged = Logged { lines: lines(outside, &block), bytes: block::encode(&block, &plan.catalog) };
                outside.log[partition as usize].blocks.push(logged);
            }
        }
    }
}
