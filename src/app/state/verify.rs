//! `evenkeel state verify`: reads every byte of this disk's states and of every checkpoint.
//!
//! Must not know: the command line. Nothing is changed: what is damaged is said, with what to do.

use std::sync::atomic::AtomicBool;

use serde_json::{Value as Json, json};

use super::table::{count, size};
use super::{Desk, StateFailure, is_damaged};
use crate::adapters::checkpoints::{CheckpointError, Checkpoints, Home, Listed, Unfit};
use crate::app::StageError;
use crate::app::diagnostic::{Diagnostic, Kind};
use crate::task::reconcile::{Audit, Fault};

/// What was read.
#[derive(Default)]
pub struct Verified {
    whole: Vec<Whole>,
    pub faults: Vec<Diagnostic>,
}

/// Something that is what was written.
struct Whole {
    partition: i32,
    /// `None` for this disk's state.
    checkpoint: Option<String>,
    next_offset: i64,
    bytes: u64,
    /// For people.
    parts: String,
}

impl Verified {
    /// For people.
    pub fn to_text(&self) -> String {
        let line = |whole: &Whole| {
            let what = if whole.checkpoint.is_some() { "the checkpoint" } else { "this disk's state" };
            let Whole { partition, next_offset, bytes, parts, .. } = whole;
            let (next_offset, size) = (count(*next_offset), size(*bytes));
            format!("partition {partition}: {what} that goes on at offset {next_offset} is whole: {parts}, {size}\n")
        };
        self.whole.iter().map(line).collect()
    }

    /// For scripts; its shape stands in docs/operations.md.
    pub fn to_json(&self) -> Json {
        let whole = |whole: &Whole| {
            let Whole { partition, checkpoint, next_offset, bytes, .. } = whole;
            json!({"partition": partition, "checkpoint": checkpoint, "next_offset": next_offset, "bytes": bytes})
        };
        json!({
            "ok": self.faults.is_empty(),
            "whole": self.whole.iter().map(whole).collect::<Vec<_>>(),
            "errors": self.faults.iter().map(Diagnostic::to_json).collect::<Vec<_>>(),
        })
    }
}

/// Reads what there is of some partitions. `config` is the configuration's name as the user gave it.
pub fn verify(desk: &Desk<'_>, partitions: impl Iterator<Item = i32>, config: &str) -> Verified {
    let mut verified = Verified::default();
    // Nobody has to be asked about what is on this disk.
    let checkpoints = desk.settings.checkpoints.as_ref().map(|_| desk.ask().checkpoints);
    let checkpoints = match checkpoints.transpose() {
        Ok(checkpoints) => checkpoints,
        Err(error) => {
            let message = format!("the checkpoints were not read: {error}");
            let hint = "Check kafka.bootstrap.servers, and the security settings beside it.";
            verified.faults.push(Diagnostic::general(Kind::Live, message).hint(hint));
            None
        }
    };
    for partition in partitions {
        let examiner = Examiner { desk, partition, config };
        examiner.state(&mut verified);
        if let Some(checkpoints) = &checkpoints {
            examiner.checkpoints(checkpoints, &mut verified);
        }
    }
    verified
}

struct Examiner<'e> {
    desk: &'e Desk<'e>,
    partition: i32,
    config: &'e str,
}

impl Examiner<'_> {
    fn state(&self, verified: &mut Verified) {
        let folder = self.desk.settings.state_folder(self.partition);
        let place = Home::find(&folder).unwrap_or(folder).display().to_string();
        let task = match self.desk.opened(self.partition) {
            Ok(None) => return,
            Ok(Some(task)) => task,
            Err(error) => return verified.faults.push(self.unopened(place, &error)),
        };
        let Audit { keys, pairs, bytes, faults, more_faults } = task.audit();
        if faults.is_empty() {
            let keys = count(i64::try_from(keys).unwrap_or(i64::MAX));
            let parts = format!("{keys} keys, {} entries", count(i64::try_from(pairs).unwrap_or(i64::MAX)));
            let (partition, next_offset) = (self.partition, task.next_offset());
            return verified.whole.push(Whole { partition, checkpoint: None, next_offset, bytes, parts });
        }
        for Fault { space, key, why } in faults {
            let key = key.map_or(String::new(), |key| format!(" {key}"));
            let message = format!("partition {}: {}{key}: {why}", self.partition, space.name());
            verified.faults.push(Diagnostic::of_file(&place, Kind::State, message).hint(self.instead()));
        }
        if more_faults > 0 {
            let message = format!("partition {}: {more_faults} more faults in this disk's state", self.partition);
            verified.faults.push(Diagnostic::of_file(&place, Kind::State, message).hint(self.instead()));
        }
    }

    fn unopened(&self, place: String, error: &StageError) -> Diagnostic {
        let fault = Diagnostic::of_file(
            place,
            Kind::State,
            format!("partition {}: this disk's state cannot be opened: {error}", self.partition),
        );
        match is_damaged(error) {
            true => fault.hint(self.instead()),
            // The message says what to do.
            false => fault.hint("It may well be whole: this configuration, or this evenkeel, does not fit it."),
        }
    }

    /// What can be done about a damaged state.
    fn instead(&self) -> String {
        let Examiner { partition, config, desk } = self;
        match desk.settings.checkpoints {
            Some(_) => format!(
                "End its process, then put a checkpoint in its place: evenkeel state restore -c {config} --partition \
                 {partition} --checkpoint OFFSET"
            ),
            None => format!(
                "End its process, then remove it, and the next start makes it anew from the changes log: evenkeel state drop \
                 -c {config} --partition {partition}"
            ),
        }
    }

    fn checkpoints(&self, checkpoints: &Checkpoints, verified: &mut Verified) {
        let go = AtomicBool::new(false);
        let listed = match checkpoints.list(self.partition, &go) {
            Ok(listed) => listed,
            Err(error) => return verified.faults.push(self.unlisted(&error.into())),
        };
        for one in listed {
            match checkpoints.verify(self.partition, &one, &go) {
                Ok(manifest) => verified.whole.push(Whole {
                    partition: self.partition,
                    checkpoint: Some(one.name),
                    next_offset: manifest.next_offset,
                    bytes: manifest.files.iter().map(|file| file.bytes).sum(),
                    parts: format!("{} files", manifest.files.len()),
                }),
                // Newer ones may have been written meanwhile, and this one collected.
                Err(_) if checkpoints.list(self.partition, &go).is_ok_and(|now| !now.contains(&one)) => {}
                Err(error) => verified.faults.push(self.unfit(&one, &error)),
            }
        }
    }

    fn unlisted(&self, error: &StateFailure) -> Diagnostic {
        let message = format!("partition {}: the checkpoints were not read: {error}", self.partition);
        Diagnostic::general(Kind::State, message).hint("Look at checkpoints: {url, options} of the configuration.")
    }

    fn unfit(&self, listed: &Listed, error: &CheckpointError) -> Diagnostic {
        let Examiner { partition, config, .. } = self;
        let fault = Diagnostic::of_file(&listed.name, Kind::State, format!("partition {partition}: {error}"));
        match error {
            CheckpointError::Unfit { why: Unfit::Newer { .. }, .. } => fault.hint("A newer evenkeel can read it."),
            CheckpointError::Unfit { .. } => fault.hint(format!(
                "A restore passes it over. The next checkpoint writes damaged files again; to be rid of this one: evenkeel state \
                 drop -c {config} --partition {partition} --checkpoint {}",
                listed.next_offset
            )),
            _ => fault.hint("The store did not give it. Try again."),
        }
    }
}
