//! The members and their supervisor, which starts whoever should run and does not, as systemd or Kubernetes would.
//!
//! Must not know: why a member ended.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::disk::SmallDisk;
use crate::real::binary::{Binary, Shipped};
use crate::real::{Result, Stack, wait_until};

/// A member, and whether it should run.
pub struct Member {
    pub name: &'static str,
    pub binary: Binary,
    wanted: AtomicBool,
    /// Held by whoever starts it, or sees to it that it does not run.
    turn: Mutex<()>,
    /// The disk of its state, where it is a small one.
    pub disk: Option<SmallDisk>,
}

impl Member {
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// From now on it runs: the supervisor sees to it.
    pub fn want(&self) {
        self.wanted.store(true, Ordering::Release);
    }

    /// kill -9. The supervisor starts it again, unless it is not wanted.
    pub fn kill(&self) -> Result {
        self.binary.kill()
    }

    /// kill -9, and it is not started again until it is wanted.
    pub fn dismiss(&self) -> Result {
        let _turn = self.take_turn();
        self.wanted.store(false, Ordering::Release);
        self.binary.kill()
    }

    /// SIGTERM, and not started again until it is wanted. How it ends is the supervisor's to note.
    pub fn stop(&self) -> Result {
        self.wanted.store(false, Ordering::Release);
        self.binary.signal("TERM")?;
        wait_until(&format!("the end of the {} member", self.name), STOPPING, || {
            Ok(self.binary.is_idle().then_some(()))
        })
    }

    fn take_turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Crew {
    pub members: Vec<Member>,
    /// Who ended by itself, and with which words.
    pub ends: Mutex<Vec<(&'static str, String)>>,
}

/// The member with the small disk.
pub const SMALL: usize = 2;

/// The member that comes and goes.
pub const GUEST: usize = 3;

const SIZE_OF_SMALL_DISK: &str = "384m";

/// Between two starts of a member.
const PAUSE: Duration = Duration::from_millis(250);

/// Longer than a member waits for brokers that do not answer while it stops.
const STOPPING: Duration = Duration::from_secs(40);

impl Crew {
    /// Three members and one that comes and goes. The reason why none has a small disk, if none has.
    pub fn muster(stack: &Stack, shipped: &Shipped, folder: &Path) -> Result<(Crew, Option<String>)> {
        let mut skipped = None;
        let mut members = Vec::new();
        for (index, name) in ["first", "second", "third", "guest"].into_iter().enumerate() {
            let mut binary = shipped.binary(stack, &folder.join(name))?;
            let mut disk = None;
            if index == SMALL {
                let mount = folder.join(name).join("state");
                match SmallDisk::mount(&mount, SIZE_OF_SMALL_DISK) {
                    Ok(mounted) => disk = Some(mounted),
                    Err(error) => skipped = Some(error.to_string()),
                }
                binary = binary.with_state(mount);
            }
            members.push(Member {
                name,
                binary,
                wanted: AtomicBool::new(index != GUEST),
                turn: Mutex::default(),
                disk,
            });
        }
        Ok((Crew { members, ends: Mutex::default() }, skipped))
    }

    /// Starts whoever should run and does not, until told to stop.
    pub fn supervise(&self, stop: &AtomicBool) -> Result {
        while !stop.load(Ordering::Relaxed) {
            for member in &self.members {
                self.look_after(member)?;
            }
            std::thread::park_timeout(PAUSE);
        }
        Ok(())
    }

    fn look_after(&self, member: &Member) -> Result {
        let _turn = member.take_turn();
        if let Some(status) = member.binary.ended()? {
            if !status.success() || member.is_wanted() {
                let words = member.binary.last_error().unwrap_or_else(|| "it said nothing".to_owned());
                self.note(member.name, format!("{status}: {words}"));
            }
        } else if member.is_wanted() && member.binary.is_idle() {
            member.binary.launch()?;
        }
        Ok(())
    }

    fn note(&self, name: &'static str, words: String) {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).push((name, words));
    }

    /// How often members have ended by themselves so far.
    pub fn count_ends(&self) -> usize {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How often one member has, since a count of all.
    pub fn ends_since(&self, count: usize, name: &str) -> usize {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends[count..].iter().filter(|(who, _)| *who == name).count()
    }

    /// True where each partition's last checkpoint was written since a moment. Who has lost a partition shows its age for
    /// a while still, so the least counts.
    pub fn has_checkpoints_since(&self, moment: Instant, partitions: usize) -> Result<bool> {
        let mut ages: BTreeMap<String, f64> = BTreeMap::new();
        for member in self.members.iter().filter(|member| member.is_wanted()) {
            let metrics = member.binary.metrics()?;
            let told = metrics.lines().filter_map(|line| line.strip_prefix("evenkeel_checkpoint_age_seconds"));
            for (labels, age) in told.filter_map(|line| line.rsplit_once(' ')) {
                let least = ages.entry(labels.to_owned()).or_insert(f64::MAX);
                *least = least.min(age.parse()?);
            }
        }
        let since = moment.elapsed().as_secs_f64();
        Ok(ages.len() == partitions && ages.values().all(|age| *age < since))
    }

    /// Waits until all who should run are ready.
    pub fn wait_ready(&self, limit: Duration) -> Result {
        for member in self.members.iter().filter(|member| member.is_wanted()) {
            wait_until(&format!("the {} member to be ready", member.name), limit, || {
                Ok(member.binary.is_ready().then_some(()))
            })?;
        }
        Ok(())
    }
}
