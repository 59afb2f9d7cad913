//! A process of the deployment: a member of both groups, with a disk of its own. What it does is the product's code.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use evenkeel::domain::routing::Ownership;
use evenkeel::task::ingest::{Ingest, Patience};
use evenkeel::task::intake::{Intake, Rounds};
use evenkeel::task::worker::{Bounds, Tenure, Worker};

use super::feed::SimSources;
use super::outside::{Disk, Fuse, Outside, Shared, shared};
use super::product::{SLACK, STALL_AFTER};
use super::seat::{Fault, SimSeat, Upload};
use super::world::{Micros, SECOND};
use crate::support::dice::Dice;

/// How long a partition is left alone that another member has fenced.
const YIELD: Micros = 5 * SECOND;

/// A partition as the process has it.
enum Work {
    /// To be begun, not before an instant.
    Wanted {
        from: Micros,
    },
    Running(Box<Worker<SimSeat>>),
}

struct Held {
    work: Work,
    tenure: Rc<Cell<Tenure>>,
}

/// What tasks have counted, of one partition.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub repeated: u64,
    pub replayed: u64,
    pub epochs: u64,
    /// How often it was opened; what was counted before may be counted again.
    pub opened: u64,
}

impl Counted {
    pub fn plus(self, other: Counted) -> Counted {
        Counted {
            repeated: self.repeated + other.repeated,
            replayed: self.replayed + other.replayed,
            epochs: self.epochs + other.epochs,
            opened: self.opened + other.opened,
        }
    }
}

pub struct Process {
    outside: Shared<Outside>,
    number: usize,
    bounds: Bounds,
    /// Which plan it is started with.
    pub plan: usize,
    intake: Option<Intake<SimSources>>,
    fuse: Rc<Fuse>,
    disks: Vec<Shared<Option<Shared<Disk>>>>,
    uploads: Shared<Vec<Upload>>,
    held: BTreeMap<usize, Held>,
    /// Told to give up their partitions.
    leaving: Vec<(usize, Held)>,
    /// Suspended, as by SIGSTOP, until then.
    pub asleep_until: Micros,
    pub counted: Vec<Counted>,
}

impl Process {
    pub fn start(outside: &Shared<Outside>, number: usize, bounds: Bounds) -> Process {
        let partitions = outside.borrow().log.len();
        Process {
            outside: Rc::clone(outside),
            number,
            bounds,
            plan: 0,
            intake: None,
            fuse: Rc::default(),
            disks: (0..partitions).map(|_| shared(None)).collect(),
            uploads: shared(Vec::new()),
            held: BTreeMap::new(),
            leaving: Vec::new(),
            asleep_until: Micros::MIN,
            counted: vec![Counted::default(); partitions],
        }
    }

    /// True once it was killed; it must be restarted before it does anything.
    pub fn is_dead(&self) -> bool {
        self.fuse.is_burnt()
    }

    /// It is to be killed at one of its next calls to the outside.
    pub fn kill(&mut self, dice: &mut Dice) {
        self.fuse.light(dice.below(60) as u32, dice.once_in(2));
    }

    pub fn spare(&mut self) {
        self.fuse.put_out();
    }

    /// Comes back with nothing but its disk, which may be gone, or be older: all of it, or one partition's.
    pub fn restart(&mut self, dice: &mut Dice, loses_disks: u64) {
        for (partition, held) in std::mem::take(&mut self.held).into_iter().chain(std::mem::take(&mut self.leaving)) {
            self.count(partition, &held.work);
        }
        self.fuse = Rc::default();
        self.intake = None;
        self.uploads = shared(Vec::new());
        for slot in &self.disks {
            if loses_disks > 0 && dice.once_in(loses_disks) {
                let older = slot.borrow().as_ref().and_then(|disk| disk.borrow_mut().older.take());
                let older = older.filter(|_| dice.once_in(2));
                slot.replace(older.map(|state| shared(Disk { state, older: None })));
                self.outside.borrow_mut().happened.lost_disks += 1;
            } else if let Some(disk) = slot.borrow_mut().as_mut() {
                // Whoever had it open is gone.
                let held = disk.borrow().clone();
                *disk = shared(held);
            }
        }
    }

    pub fn assign(&mut self, partition: usize, from: Micros) {
        let held = Held { work: Work::Wanted { from }, tenure: Rc::new(Cell::new(Tenure::Held)) };
        self.held.insert(partition, held);
    }

    /// The group takes a partition away.
    pub fn revoke(&mut self, partition: usize, tenure: Tenure) {
        if let Some(held) = self.held.remove(&partition) {
            held.tenure.set(tenure);
            self.leaving.push((partition, held));
        }
    }

    pub fn worker(&self, partition: usize) -> Option<&Worker<SimSeat>> {
        match &self.held.get(&partition)?.work {
            Work::Running(worker) => Some(worker),
            Work::Wanted { .. } => None,
        }
    }

    /// Lets its stages do something, or not.
    pub fn step(&mut self, dice: &mut Dice) -> Result<(), Fault> {
        let now = self.outside.borrow().now;
        match &mut self.intake {
            Some(intake) => intake.step()?,
            None => self.intake = Some(self.join()?),
        }
        self.upload(now)?;
        self.reconcile(dice)
    }

    /// Lets its workers do something, or not.
    pub fn reconcile(&mut self, dice: &mut Dice) -> Result<(), Fault> {
        let now = self.outside.borrow().now;
        while let Some(at) = (0..self.leaving.len()).find(|_| dice.once_in(2)) {
            let (partition, held) = self.leaving.remove(at);
            self.leave(dice, partition, held)?;
        }
        let partitions: Vec<usize> = self.held.keys().copied().collect();
        for partition in partitions {
            for _ in 0..dice.below(4) {
                self.advance(partition, now)?;
            }
        }
        Ok(())
    }

    fn join(&self) -> Result<Intake<SimSources>, Fault> {
        let sources = SimSources::join(&self.outside, &self.fuse, self.number);
        let outside = self.outside.borrow();
        let patience = Patience { slack_us: SLACK, stall_after_us: STALL_AFTER };
        let plan = Arc::clone(&outside.plans[self.plan]);
        let ingest = Ingest::new(plan, outside.log.len() as i32, vec![true, false, false], patience);
        let counts = outside.delivery.borrow().trouble.counts;
        let ingest = if counts { ingest.counting([0, 1].into()) } else { ingest };
        let has_history = outside.log.iter().any(|log| !log.blocks.is_empty());
        drop(outside);
        Intake::begin(sources, ingest, Rounds { linger_us: SECOND / 20, bytes: 2000 }, has_history)
    }

    /// A worker that was told to go may be in the middle of something.
    fn leave(&mut self, dice: &mut Dice, partition: usize, mut held: Held) -> Result<(), Fault> {
        let Work::Running(worker) = &mut held.work else { return Ok(()) };
        let stepped = if dice.once_in(2) { worker.step().map(drop) } else { Ok(()) };
        self.count(partition, &held.work);
        let Work::Running(worker) = held.work else { return Ok(()) };
        let ended = stepped.and_then(|()| worker.end().map(drop));
        match ended {
            // Whoever has the partition now publishes it.
            Err(Fault::Fenced | Fault::Brokers(_)) => Ok(()),
            ended => ended,
        }
    }

    fn advance(&mut self, partition: usize, now: Micros) -> Result<(), Fault> {
        let is_busy = self.leaving.iter().any(|(leaving, _)| *leaving == partition);
        let Some(held) = self.held.get_mut(&partition) else { return Ok(()) };
        let result = match &mut held.work {
            Work::Wanted { from } if now < *from || is_busy => Ok(()),
            Work::Wanted { .. } => {
                let tenure = Rc::clone(&held.tenure);
                self.begin(partition, tenure)
            }
            Work::Running(worker) => worker.step().map(drop),
        };
        match result {
            Err(Fault::Fenced) => {
                let held = self.held.get_mut(&partition).expect("it was just there");
                let work = std::mem::replace(&mut held.work, Work::Wanted { from: now + YIELD });
                self.count(partition, &work);
                Ok(())
            }
            result => result,
        }
    }

    fn begin(&mut self, partition: usize, tenure: Rc<Cell<Tenure>>) -> Result<(), Fault> {
        let seat = SimSeat {
            outside: Rc::clone(&self.outside),
            fuse: Rc::clone(&self.fuse),
            disk: Rc::clone(&self.disks[partition]),
            uploads: Rc::clone(&self.uploads),
            partition,
            tenure,
            fresh: None,
            is_unread: false,
            epoch: None,
            next: 0,
        };
        let plan = Arc::clone(&self.outside.borrow().plans[0]);
        let ownership = Ownership { partition: partition as i32, partitions: self.disks.len() as i32 };
        if let Some(worker) = Worker::begin(seat, &plan, ownership, self.bounds)? {
            self.counted[partition].opened += 1;
            self.held.get_mut(&partition).expect("it is held").work = Work::Running(Box::new(worker));
        }
        Ok(())
    }

    fn upload(&mut self, now: Micros) -> Result<(), Fault> {
        let (due, later) = self.uploads.take().into_iter().partition(|upload| upload.due <= now);
        self.uploads.replace(later);
        let due: Vec<Upload> = due;
        for upload in due {
            self.fuse.call(|| self.outside.borrow_mut().put(upload.partition, upload.checkpoint))?;
        }
        Ok(())
    }

    /// Writes and commits nothing more.
    pub fn forget_sources(&mut self) {
        self.intake = None;
    }

    /// Everything is given up in order.
    pub fn end(&mut self) -> Result<(), Fault> {
        if let Some(intake) = self.intake.take() {
            intake.end()?;
        }
        while let Some((partition, held)) = self.held.pop_first() {
            self.count(partition, &held.work);
            if let Work::Running(worker) = held.work {
                worker.end()?;
            }
        }
        Ok(())
    }

    fn count(&mut self, partition: usize, work: &Work) {
        let Work::Running(worker) = work else { return };
        let counts = worker.task().counts();
        let counted = &mut self.counted[partition];
        counted.repeated += counts.repeated;
        counted.replayed += counts.replayed;
        counted.epochs += counts.epochs;
    }
}
