//! The world of a worker, played.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use evenkeel::domain::record::{Cause, Record};
use evenkeel::domain::rule::Plan;
use evenkeel::task::cache::StateError;
use evenkeel::task::wire::block;
use evenkeel::task::worker::{Misfit, Reading, Severity, Standing, Tenure, World};

use super::outside::{Checkpoint, Crash, Disk, Fuse, Health, Outside, Shared, SimStore, shared};
use super::world::{Micros, SECOND};

/// What may go wrong for a worker.
#[derive(Debug)]
pub enum Fault {
    Crash,
    Fenced,
    /// What was asked of the brokers may have been done, or not.
    Brokers(Severity),
    Vault,
    Misfit(Misfit),
    State(StateError<Crash>),
}

impl From<Crash> for Fault {
    fn from(_: Crash) -> Fault {
        Fault::Crash
    }
}

impl From<StateError<Crash>> for Fault {
    fn from(error: StateError<Crash>) -> Fault {
        match error {
            StateError::Store(Crash) => Fault::Crash,
            error => Fault::State(error),
        }
    }
}

/// A checkpoint on its way.
pub struct Upload {
    pub partition: usize,
    pub due: Micros,
    pub checkpoint: Checkpoint,
}

/// A partition's place in a process.
pub struct SimSeat {
    pub outside: Shared<Outside>,
    pub fuse: Rc<Fuse>,
    /// What the process's disk holds of the partition.
    pub disk: Shared<Option<Shared<Disk>>>,
    pub uploads: Shared<Vec<Upload>>,
    pub partition: usize,
    pub tenure: Rc<Cell<Tenure>>,
    /// A checkpoint that lies ready.
    pub fresh: Option<Shared<Disk>>,
    /// True where a checkpoint could not be read for now.
    pub is_unread: bool,
    /// By which it may publish.
    pub epoch: Option<u64>,
    pub next: usize,
}

impl SimSeat {
    fn store(&self, disk: &Shared<Disk>) -> SimStore {
        SimStore { disk: Rc::clone(disk), fuse: Rc::clone(&self.fuse), outside: Rc::clone(&self.outside) }
    }

    fn vault_fails(&self) -> bool {
        let mut outside = self.outside.borrow_mut();
        let once_in = outside.hazards.vault;
        outside.strikes(once_in)
    }

    /// True where the brokers do not do, or do not answer, what they are asked.
    fn brokers_fail(&self) -> Option<Severity> {
        let mut outside = self.outside.borrow_mut();
        let once_in = outside.hazards.brokers;
        outside.strikes(once_in).then(|| outside.dice.pick(&[Severity::Passing, Severity::Unknown]))
    }
}

impl World for SimSeat {
    type Store = SimStore;
    type Message = Record;
    type Error = Fault;

    fn clock_us(&mut self) -> i64 {
        self.outside.borrow().now
    }

    fn tenure(&mut self) -> Tenure {
        self.tenure.get()
    }

    fn open(&mut self) -> Result<SimStore, Fault> {
        let disk =
            self.fuse.call(|| Rc::clone(self.disk.borrow_mut().get_or_insert_with(|| shared(Disk::default()))))?;
        Ok(self.store(&disk))
    }

    fn fetch(&mut self, beyond: i64, mut opens: impl FnMut(SimStore) -> Result<i64, Fault>) -> Result<bool, Fault> {
        let candidates = self.fuse.call(|| self.outside.borrow().vault[self.partition].clone())?;
        for checkpoint in candidates.into_iter().rev().take_while(|checkpoint| checkpoint.next_offset > beyond) {
            let is_silent = self.vault_fails();
            self.is_unread |= is_silent;
            if is_silent || checkpoint.health == Health::Damaged {
                self.outside.borrow_mut().happened.refused += 1;
                continue;
            }
            let fresh = self.fuse.call(|| shared(Disk { state: checkpoint.state, older: None }))?;
            match opens(self.store(&fresh)) {
                Ok(next) if next == checkpoint.next_offset => {
                    self.fresh = Some(fresh);
                    return Ok(true);
                }
                Err(Fault::Crash) => return Err(Fault::Crash),
                _ => self.outside.borrow_mut().happened.refused += 1,
            }
        }
        Ok(false)
    }

    fn install(&mut self) -> Result<(), Fault> {
        self.outside.borrow_mut().happened.restored += 1;
        let fresh = self.fresh.take();
        Ok(self.fuse.call(|| drop(self.disk.replace(fresh)))?)
    }

    fn flushed(&mut self, store: &SimStore, standing: Standing) {
        let mut outside = self.outside.borrow_mut();
        let (checkpoints, damage) = (outside.hazards.checkpoints, outside.hazards.damage);
        if self.fuse.is_burnt() || !outside.strikes(checkpoints) {
            return;
        }
        let health = match outside.strikes(damage) {
            true => outside.dice.pick(&[Health::Damaged, Health::Mislabelled]),
            false => Health::Whole,
        };
        let due = outside.now + outside.dice.pick(&[0, SECOND, 20 * SECOND]);
        let further = i64::from(health == Health::Mislabelled);
        let state = store.disk.borrow().state.clone();
        let checkpoint = Checkpoint { next_offset: standing.next_offset + further, health, state };
        self.uploads.borrow_mut().push(Upload { partition: self.partition, due, checkpoint });
    }

    fn bounds(&mut self) -> Result<(i64, i64), Fault> {
        let outside = self.outside.borrow();
        let log = &outside.log[self.partition];
        Ok(self.fuse.call(|| (log.start as i64, log.blocks.len() as i64))?)
    }

    fn seek(&mut self, offset: i64) -> Result<(), Fault> {
        self.next = offset as usize;
        Ok(())
    }

    fn read(&mut self, _: bool) -> Result<Reading, Fault> {
        let mut outside = self.outside.borrow_mut();
        if outside.dice.once_in(4) {
            return Ok(Reading::Nothing);
        }
        let log = &outside.log[self.partition];
        if self.next < log.start {
            // What librdkafka says where `auto.offset.reset` is `error`.
            return Err(Fault::Brokers(Severity::Unknown));
        }
        let Some(logged) = log.blocks.get(self.next) else { return Ok(Reading::Nothing) };
        let block = block::decode(&logged.bytes, &outside.plans[0].catalog).expect("what was encoded can be decoded");
        let reading =
            Reading::Block { offset: self.next as i64, block, fingerprint: block::fingerprint(&logged.bytes) };
        self.next += 1;
        Ok(self.fuse.call(|| reading)?)
    }

    fn take_over(&mut self) -> Result<Option<Cause>, Fault> {
        if let Some(severity) = self.brokers_fail() {
            return Err(Fault::Brokers(severity));
        }
        let outside = &mut *self.outside.borrow_mut();
        let outlet = &mut outside.outlets[self.partition];
        let is_committed = outside.dice.once_in(2);
        let epoch = self.fuse.call(|| {
            outlet.decide(is_committed);
            outlet.epoch += 1;
            outlet.epoch
        })?;
        self.epoch = Some(epoch);
        Ok(outlet.tail())
    }

    fn message(&mut self, _: &Arc<Plan>, record: &Record) -> Record {
        record.clone()
    }

    fn publish(&mut self, messages: &[(Cause, Record)]) -> Result<(), Fault> {
        let failure = self.brokers_fail();
        let outside = &mut *self.outside.borrow_mut();
        let outlet = &mut outside.outlets[self.partition];
        let epoch = self.epoch.take().expect("after a failure the output is taken over before anything is published");
        if epoch != outlet.epoch {
            outside.happened.fenced += 1;
            return Err(Fault::Fenced);
        }
        let records = messages.iter().map(|(_, record)| record.clone());
        let Some(severity) = failure else {
            self.fuse.call(|| outlet.visible.extend(records))?;
            self.epoch = Some(epoch);
            return Ok(());
        };
        match outside.dice.below(3) {
            0 => {}
            1 => self.fuse.call(|| outlet.visible.extend(records))?,
            _ => {
                outside.happened.in_doubt += 1;
                self.fuse.call(|| outlet.in_doubt.extend(records))?;
            }
        }
        Err(Fault::Brokers(severity))
    }

    fn pause(&mut self, _: &Fault) {}

    fn severity(failure: &Fault) -> Severity {
        match failure {
            Fault::Brokers(severity) => *severity,
            _ => Severity::Final,
        }
    }

    fn misfit(&mut self, misfit: Misfit) -> Fault {
        match misfit {
            Misfit::Overtaken { .. } if self.is_unread => Fault::Vault,
            misfit => Fault::Misfit(misfit),
        }
    }
}
