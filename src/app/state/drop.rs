//! `evenkeel state drop`: removes this disk's state, or a checkpoint; never what nothing can make up for, unless told to.
//!
//! Must not know: the command line.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Bounds, Desk, OnDisk, Outside, StateFailure, pick};
use crate::adapters::checkpoints::{CheckpointError, Checkpoints, Home, Listed, Unfit, bytes_in};
use crate::app::StageError;

/// What the user has agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consent {
    /// Nothing is removed; it is said what would be lost.
    None,
    /// What can be made up for.
    Yes,
    /// Whatever it is.
    LoseIt,
}

/// What makes up for what is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Amends {
    /// Nobody could go on from it anyway; why.
    Worthless(String),
    /// The changes log is there from its beginning.
    ChangesLog(Bounds),
    /// This disk's state, which goes on at an offset.
    State(i64),
    /// A checkpoint that is whole, which goes on at an offset.
    Checkpoint(i64),
    /// Nothing; why.
    Nothing(String),
}

impl Amends {
    fn text(&self) -> String {
        match self {
            Amends::Worthless(why) => format!("Nothing is lost: {why}."),
            Amends::ChangesLog((start, end)) => {
                format!(
                    "It can be made up for: the changes log is there from its beginning, offsets {start} to {end}."
                )
            }
            Amends::State(next) => format!("It can be made up for: this disk's state goes on at offset {next}."),
            Amends::Checkpoint(next) => {
                format!("It can be made up for: a checkpoint is whole that goes on at offset {next}.")
            }
            Amends::Nothing(why) => format!("NOTHING CAN MAKE UP FOR IT: {why}."),
        }
    }
}

/// Removes this disk's state. Gives what was removed, and what makes up for it.
pub fn drop_state(desk: &Desk<'_>, partition: i32, consent: Consent) -> Result<String, StateFailure> {
    let folder = desk.settings.state_folder(partition);
    if Home::find(&folder).is_none() {
        return Err(StateFailure::NoState { partition, folder: folder.display().to_string() });
    }
    let home = Arc::new(Home::lock(&folder)?);
    let state = desk.on_disk(partition);
    let what = format!("the state in {}, {}", folder.display(), described(&state, bytes_in(&folder)?));
    let stop = desk.told_to_stop();
    let amends = match &state {
        Ok(None | Some(OnDisk { next_offset: 0, .. })) => Amends::Worthless("nothing was worked on yet".to_owned()),
        Ok(Some(state)) => for_state(desk, partition, Some(state.next_offset), &home, &stop),
        Err(_) => for_state(desk, partition, None, &home, &stop),
    };
    must_be_agreed(&what, &amends, consent)?;
    must_not_be_stopped(&stop)?;
    home.drop_state()?;
    Ok(format!("removed {what}\n{}", amends.text()))
}

/// Removes a checkpoint, named by its offset or its name. Gives what was removed, and what makes up for it.
pub fn drop_checkpoint(
    desk: &Desk<'_>,
    partition: i32,
    wanted: &str,
    consent: Consent,
) -> Result<String, StateFailure> {
    let Outside { changes, checkpoints } = desk.ask();
    let checkpoints = checkpoints?;
    let stop = desk.told_to_stop();
    let listed = checkpoints.list(partition, &stop)?;
    let this = pick(partition, &listed, wanted)?;
    let what = format!("checkpoint {} of partition {partition}", this.name);
    let amends = match changes {
        Ok(changes) => {
            let others = listed.iter().filter(|other| other.name != this.name);
            for_checkpoint(desk, partition, changes[partition as usize], this, others, &checkpoints, &stop)
        }
        Err(error) => Amends::Nothing(error.to_string()),
    };
    must_be_agreed(&what, &amends, consent)?;
    must_not_be_stopped(&stop)?;
    checkpoints.drop(partition, this, &stop)?;
    Ok(format!("removed {what}\n{}", amends.text()))
}

fn described(state: &Result<Option<OnDisk>, StageError>, bytes: u64) -> String {
    match state {
        Ok(Some(OnDisk { next_offset, settled, keys, .. })) => {
            let settled = settled.map_or("settled up to nothing yet".to_owned(), |at| format!("settled up to {at}"));
            format!("which goes on at offset {next_offset}, {settled}: about {keys} keys, {bytes} bytes")
        }
        Ok(None) => format!("which holds nothing yet: {bytes} bytes"),
        Err(error) => format!("which cannot be read ({error}): {bytes} bytes"),
    }
}

fn must_be_agreed(what: &str, amends: &Amends, consent: Consent) -> Result<(), StateFailure> {
    let is_lossless = !matches!(amends, Amends::Nothing(_));
    let advice = match (is_lossless, consent) {
        (_, Consent::LoseIt) | (true, Consent::Yes) => return Ok(()),
        (true, Consent::None) => "Say --yes to remove it.",
        (false, Consent::None | Consent::Yes) => {
            "Say --yes --lose-it to remove it all the same. Unless another member has the state on its disk, the reconciliation \
             then needs a new name."
        }
    };
    Err(StateFailure::Unconsented { question: format!("this removes {what}"), answer: amends.text(), advice })
}

/// Whoever was told to stop while others were asked has not been agreed with any more.
fn must_not_be_stopped(stop: &AtomicBool) -> Result<(), StateFailure> {
    if stop.load(Ordering::Relaxed) { Err(CheckpointError::Stopped.into()) } else { Ok(()) }
}

/// `next` is where the state goes on, where that is known.
fn for_state(desk: &Desk<'_>, partition: i32, next: Option<i64>, home: &Arc<Home>, stop: &AtomicBool) -> Amends {
    let Outside { changes, checkpoints } = desk.ask();
    let (start, end) = match changes {
        Ok(changes) => changes[partition as usize],
        Err(error) => return Amends::Nothing(error.to_string()),
    };
    if let Some(next) = next.filter(|next| *next > end) {
        return Amends::Nothing(format!("it goes on at offset {next}, the changes log ends at {end}"));
    }
    if start == 0 {
        return Amends::ChangesLog((start, end));
    }
    let checkpoints = match checkpoints {
        Ok(checkpoints) => checkpoints,
        Err(error) => return Amends::Nothing(format!("the changes log begins at offset {start}, and {error}")),
    };
    // As it would be taken: fetched whole, and opened. Its bytes alone do not say that it can be.
    let opens = |folder: &Path| desk.opens(partition, folder);
    match checkpoints.fetch(partition, start - 1, home, stop, opens) {
        (Some(fetched), _) if fetched.manifest().next_offset <= end => {
            let next = fetched.manifest().next_offset;
            match fetched.discard() {
                Ok(()) => Amends::Checkpoint(next),
                Err(error) => Amends::Nothing(error.to_string()),
            }
        }
        (_, refused) => {
            let reasons = refused.reasons().iter().map(|reason| format!("; {reason}")).collect::<String>();
            Amends::Nothing(format!(
                "the changes log begins at offset {start}, and no checkpoint can be used that goes on there or later{reasons}"
            ))
        }
    }
}

fn for_checkpoint<'l>(
    desk: &Desk<'_>,
    partition: i32,
    (start, end): Bounds,
    this: &Listed,
    others: impl Iterator<Item = &'l Listed>,
    checkpoints: &Checkpoints,
    stop: &AtomicBool,
) -> Amends {
    let goes_on = |next: i64| (start..=end).contains(&next);
    if !goes_on(this.next_offset) {
        return Amends::Worthless(format!("the changes log holds offsets {start} to {end}"));
    }
    if start == 0 {
        return Amends::ChangesLog((start, end));
    }
    let state = desk.on_disk(partition).ok().flatten();
    if let Some(state) = state.filter(|state| goes_on(state.next_offset)) {
        return Amends::State(state.next_offset);
    }
    let mut others = others.filter(|other| goes_on(other.next_offset));
    if let Some(other) = others.find(|other| checkpoints.verify(partition, other, stop).is_ok()) {
        return Amends::Checkpoint(other.next_offset);
    }
    match checkpoints.verify(partition, this, stop) {
        Err(
            error @ CheckpointError::Unfit {
                why: Unfit::Gone { .. } | Unfit::Damaged { .. } | Unfit::Foreign { .. },
                ..
            },
        ) => Amends::Worthless(error.to_string()),
        _ => Amends::Nothing(format!(
            "the changes log begins at offset {start}, and neither this disk's state nor another checkpoint goes on there or \
             later"
        )),
    }
}
