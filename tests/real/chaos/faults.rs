//! What is done to members, broker, Debezium and the checkpoint store: four lanes of faults at a time, each a plan from
//! a seed, and for each fault how long until all history up to it was judged.
//!
//! Must not know: what is wrong in the databases, what is said of it.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::PARTITIONS;
use super::crew::{Crew, GUEST, Member, SMALL};
use super::ear::Ear;
use crate::real::{Result, Stack};
use crate::support::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    KillMember,
    FreezeMember,
    RestartMember,
    EraseDisk,
    FillDisk,
    AddMember,
    RemoveMember,
    KillBroker,
    KillDebezium,
    BreakStore,
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Fault::KillMember => "member: kill -9",
            Fault::FreezeMember => "member: SIGSTOP, SIGCONT",
            Fault::RestartMember => "member: SIGTERM, started",
            Fault::EraseDisk => "member: kill -9, disk erased",
            Fault::FillDisk => "member: disk full",
            Fault::AddMember => "member added",
            Fault::RemoveMember => "member removed",
            Fault::KillBroker => "broker: kill -9",
            Fault::KillDebezium => "Debezium: kill -9",
            Fault::BreakStore => "checkpoint store fails",
        }
    }

    /// What lasts is measured from its end, what strikes from its beginning.
    pub fn measured_from(self) -> &'static str {
        match self {
            Fault::FreezeMember | Fault::FillDisk | Fault::BreakStore => "its end",
            _ => "its beginning",
        }
    }
}

/// Faults that come one after the other, and how long, in milliseconds, they let the others alone in between.
pub struct Lane {
    /// As they are dealt, again and again: every kind comes before any comes too often.
    deck: &'static [Fault],
    /// Whom its members' faults may befall.
    members: &'static [usize],
    pause: (i64, i64),
}

pub const LANES: [Lane; 4] = [
    // Two lanes of members' faults, so that two members may fail at once, though never one in two ways.
    Lane {
        deck: &[
            Fault::KillMember,
            Fault::KillMember,
            Fault::KillMember,
            Fault::FreezeMember,
            Fault::FreezeMember,
            Fault::RestartMember,
            Fault::EraseDisk,
            Fault::EraseDisk,
            Fault::FillDisk,
        ],
        members: &[0, SMALL],
        pause: (50, 1500),
    },
    Lane {
        deck: &[
            Fault::KillMember,
            Fault::KillMember,
            Fault::FreezeMember,
            Fault::RestartMember,
            Fault::EraseDisk,
            Fault::AddMember,
            Fault::AddMember,
        ],
        members: &[1],
        pause: (50, 1500),
    },
    // Without the broker nothing goes on: the others would see little else.
    Lane { deck: &[Fault::KillBroker, Fault::KillDebezium], members: &[0], pause: (8_000, 16_000) },
    Lane { deck: &[Fault::BreakStore], members: &[0], pause: (200, 3000) },
];

/// One fault to come.
#[derive(Clone, Copy, Debug)]
struct Planned {
    fault: Fault,
    member: usize,
    pause: Duration,
    hold: Duration,
}

/// A lane's plan: the same for the same seed.
pub struct Plan {
    dice: Dice,
    lane: &'static Lane,
    dealt: Vec<Fault>,
}

impl Plan {
    pub fn new(seed: u64, lane: &'static Lane) -> Plan {
        Plan { dice: Dice::new(seed), lane, dealt: Vec::new() }
    }

    fn deal(&mut self) -> Planned {
        if self.dealt.is_empty() {
            let mut left = self.lane.deck.to_vec();
            while !left.is_empty() {
                self.dealt.push(left.swap_remove(self.dice.below(left.len() as u64) as usize));
            }
        }
        let fault = self.dealt.pop().expect("it was just filled");
        let milliseconds = |dice: &mut Dice, low, high| Duration::from_millis(dice.between(low, high).unsigned_abs());
        Planned {
            fault,
            member: self.dice.pick(self.lane.members),
            pause: milliseconds(&mut self.dice, self.lane.pause.0, self.lane.pause.1),
            // A session lasts three seconds.
            hold: milliseconds(&mut self.dice, 3500, 8000),
        }
    }
}

/// What came of a fault.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub fault: Fault,
    pub who: &'static str,
    /// None where it could not be done here.
    pub recovery: Option<Duration>,
    pub note: Option<String>,
}

/// What faults are done to, and what came of them.
pub struct Ground<'a> {
    pub stack: &'a Stack,
    pub connectors: [String; 2],
    pub crew: &'a Crew,
    pub ear: &'a Ear,
    /// The folder that is the checkpoint store.
    pub store: PathBuf,
    pub no_small_disk: Option<String>,
    pub stop: &'a AtomicBool,
    pub outcomes: Mutex<Vec<Outcome>>,
}

/// Nothing may take longer to recover from.
const LIMIT: Duration = Duration::from_secs(120);

/// A member that works must notice within this time that its disk is full.
const NOTICED: Duration = Duration::from_secs(15);

impl Ground<'_> {
    /// Does one fault after the other until told to stop.
    pub fn run(&self, mut plan: Plan) -> Result {
        while !self.is_over() {
            let planned = plan.deal();
            self.linger(planned.pause);
            if !self.is_over() {
                let outcome = self.strike(planned).map_err(|error| error.during(planned.fault.name()))?;
                eprintln!("chaos: {}", told(&outcome));
                self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Lets a fault last.
    fn linger(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.is_over() {
            std::thread::park_timeout(Duration::from_millis(25));
        }
    }

    fn strike(&self, planned: Planned) -> Result<Outcome> {
        let member = &self.crew.members[planned.member];
        match planned.fault {
            Fault::KillMember => self.kill_member(member),
            Fault::FreezeMember => self.freeze(member, planned.hold),
            Fault::RestartMember => self.restart(member),
            Fault::EraseDisk => self.erase(member),
            Fault::FillDisk => self.fill_disk(planned.hold),
            Fault::AddMember | Fault::RemoveMember => self.add_or_remove(&self.crew.members[GUEST]),
            Fault::KillBroker => self.kill_broker(),
            Fault::KillDebezium => self.kill_debezium(),
            Fault::BreakStore => self.break_store(planned.hold),
        }
    }

    fn kill_member(&self, member: &Member) -> Result<Outcome> {
        let at = jiff::Timestamp::now();
        member.kill()?;
        self.recovered(Fault::KillMember, member.name, at, || Ok(member.binary.is_alive()))
    }

    fn freeze(&self, member: &Member, hold: Duration) -> Result<Outcome> {
        member.binary.signal("STOP")?;
        self.linger(hold);
        member.binary.signal("CONT")?;
        self.recovered(Fault::FreezeMember, member.name, jiff::Timestamp::now(), || Ok(member.binary.is_alive()))
    }

    fn restart(&self, member: &Member) -> Result<Outcome> {
        let at = jiff::Timestamp::now();
        member.stop()?;
        member.want();
        self.recovered(Fault::RestartMember, member.name, at, || Ok(member.binary.is_alive()))
    }

    fn erase(&self, member: &Member) -> Result<Outcome> {
        let at = jiff::Timestamp::now();
        member.dismiss()?;
        member.binary.erase()?;
        member.want();
        self.recovered(Fault::EraseDisk, member.name, at, || Ok(member.binary.is_alive()))
    }

    fn fill_disk(&self, hold: Duration) -> Result<Outcome> {
        let member = &self.crew.members[SMALL];
        let Some(disk) = &member.disk else {
            let note = self.no_small_disk.clone();
            return Ok(Outcome { fault: Fault::FillDisk, who: member.name, recovery: None, note });
        };
        let before = self.crew.count_ends();
        // Room that was set aside before lasts for a while.
        let noticed = Instant::now() + NOTICED;
        while self.crew.ends_since(before, member.name) == 0 && Instant::now() < noticed && !self.is_over() {
            disk.fill()?;
            std::thread::park_timeout(Duration::from_millis(25));
        }
        let end = Instant::now() + hold;
        while Instant::now() < end && !self.is_over() {
            disk.fill()?;
            std::thread::park_timeout(Duration::from_millis(25));
        }
        disk.make_room()?;
        let at = jiff::Timestamp::now();
        let ends = self.crew.ends_since(before, member.name);
        let outcome = self.recovered(Fault::FillDisk, member.name, at, || Ok(member.binary.is_alive()))?;
        Ok(Outcome { note: Some(format!("it ended {ends} times meanwhile")), ..outcome })
    }

    /// Whoever is not there is added, whoever is there is removed.
    fn add_or_remove(&self, guest: &Member) -> Result<Outcome> {
        let at = jiff::Timestamp::now();
        if guest.is_wanted() {
            guest.stop()?;
            return self.recovered(Fault::RemoveMember, guest.name, at, || Ok(true));
        }
        guest.want();
        self.recovered(Fault::AddMember, guest.name, at, || Ok(guest.binary.is_alive()))
    }

    fn kill_broker(&self) -> Result<Outcome> {
        let at = jiff::Timestamp::now();
        self.stack.kill_kafka()?;
        self.stack.start_kafka()?;
        self.mended(Fault::KillBroker, "broker", at)
    }

    fn kill_debezium(&self) -> Result<Outcome> {
        let at = jiff::Timestamp::now();
        self.stack.kill_connect()?;
        self.stack.start_connect()?;
        self.mended(Fault::KillDebezium, "Debezium", at)
    }

    /// Waits for recovery as an operator does: connectors that gave up are started again.
    fn mended(&self, fault: Fault, who: &'static str, at: jiff::Timestamp) -> Result<Outcome> {
        let (mut restarts, mut looked) = (0, Instant::now());
        let outcome = self.recovered(fault, who, at, || {
            if looked.elapsed() > Duration::from_secs(2) {
                looked = Instant::now();
                for connector in &self.connectors {
                    if self.stack.connector_has_failed(connector)? {
                        restarts += 1;
                        self.stack.restart_connector(connector)?;
                    }
                }
            }
            Ok(true)
        })?;
        let note = (restarts > 0).then(|| format!("connectors gave up and were started again: {restarts}"));
        Ok(Outcome { note, ..outcome })
    }

    /// A file stands where the store's folder was. Recovered means: all partitions have a newer checkpoint, too.
    fn break_store(&self, hold: Duration) -> Result<Outcome> {
        let away = self.store.with_extension("away");
        fs::rename(&self.store, &away)?;
        // Who was about to write makes the folder anew: it must go, too.
        while fs::File::create_new(&self.store).is_err() {
            if self.store.is_dir() {
                fs::remove_dir_all(&self.store)?;
            }
        }
        self.linger(hold);
        fs::remove_file(&self.store)?;
        while fs::rename(&away, &self.store).is_err() {
            fs::remove_dir_all(&self.store)?;
        }
        let (at, ended) = (jiff::Timestamp::now(), Instant::now());
        self.recovered(Fault::BreakStore, "store", at, || self.crew.has_checkpoints_since(ended, PARTITIONS))
    }

    fn recovered(
        &self,
        fault: Fault,
        who: &'static str,
        at: jiff::Timestamp,
        also: impl FnMut() -> Result<bool>,
    ) -> Result<Outcome> {
        self.ear.wait_settled(&format!("recovery of {who}"), at, LIMIT, also)?;
        let recovery = Duration::try_from(jiff::Timestamp::now().duration_since(at)).unwrap_or_default();
        Ok(Outcome { fault, who, recovery: Some(recovery), note: None })
    }
}

fn told(outcome: &Outcome) -> String {
    let time = outcome.recovery.map_or("skipped".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
    let note = outcome.note.iter().map(|note| format!(" ({note})")).collect::<String>();
    format!("{}, {}: {time}{note}", outcome.fault.name(), outcome.who)
}
