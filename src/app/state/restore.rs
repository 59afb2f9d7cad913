//! `evenkeel state restore`: puts a checkpoint in the place of this disk's state.
//!
//! Must not know: the command line. A member does the same by itself where a checkpoint goes further than its disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{Bounds, Desk, StateFailure, offsets, pick};
use crate::adapters::checkpoints::{Checkpoints, Fetched, Home, Listed, Manifest};

/// What was done.
pub struct Restored {
    pub manifest: Manifest,
    /// Where the state that was there went on; why it could not be read; `None` where there was none.
    pub before: Result<Option<i64>, String>,
    /// The furthest checkpoint, where it goes further than what was restored: a member that begins takes it.
    pub furthest: Option<Listed>,
}

/// `wanted` names a checkpoint by its offset or its name; without it the furthest is taken, if it goes further than the
/// state that is there.
pub fn restore(desk: &Desk<'_>, partition: i32, wanted: Option<&str>) -> Result<Restored, StateFailure> {
    let (changes, checkpoints) = desk.ask().known()?;
    let bounds = changes[partition as usize];
    let stop = desk.told_to_stop();
    let home = Arc::new(Home::lock(&desk.settings.state_folder(partition))?);
    let before = match desk.on_disk(partition) {
        Ok(state) => Ok(state.map(|state| state.next_offset)),
        Err(error) => Err(error.to_string()),
    };
    let listed = checkpoints.list(partition, &stop)?;
    let order =
        Order { desk, partition, bounds, checkpoints: &checkpoints, listed: &listed, home: &home, stop: &stop };
    let fetched = match wanted {
        Some(wanted) => order.fetch_this(wanted)?,
        // What cannot be read is no further than anything.
        None => order.fetch_furthest(before.clone().unwrap_or_default())?,
    };
    let manifest = fetched.install()?;
    let furthest = listed.into_iter().next().filter(|listed| listed.next_offset > manifest.next_offset);
    Ok(Restored { manifest, before, furthest })
}

struct Order<'o> {
    desk: &'o Desk<'o>,
    partition: i32,
    bounds: Bounds,
    checkpoints: &'o Checkpoints,
    listed: &'o [Listed],
    home: &'o Arc<Home>,
    stop: &'o AtomicBool,
}

impl Order<'_> {
    fn fetch_this(&self, wanted: &str) -> Result<Fetched, StateFailure> {
        let listed = pick(self.partition, self.listed, wanted)?;
        self.desk.must_go_on(self.partition, listed.next_offset, self.bounds)?;
        let opens = |folder: &Path| self.desk.opens(self.partition, folder);
        Ok(self.checkpoints.fetch_this(self.partition, listed, self.home, self.stop, opens)?)
    }

    /// `before` is where the state that is there goes on.
    fn fetch_furthest(&self, before: Option<i64>) -> Result<Fetched, StateFailure> {
        let partition = self.partition;
        let furthest = self.listed.first().ok_or(StateFailure::NoneOf { partition })?;
        if let Some(next) = before.filter(|next| furthest.next_offset <= *next) {
            return Err(StateFailure::NotFurther { partition, next, there: offsets(self.listed) });
        }
        self.desk.must_go_on(partition, furthest.next_offset, self.bounds)?;
        let beyond = before.unwrap_or(-1).max(self.bounds.0 - 1);
        let opens = |folder: &Path| self.desk.opens(partition, folder);
        let (fetched, refused) = self.checkpoints.fetch(partition, beyond, self.home, self.stop, opens);
        fetched.ok_or_else(|| StateFailure::Refused { partition, reasons: refused.reasons() })
    }
}
