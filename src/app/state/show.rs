//! `evenkeel state`: each partition's state on this disk, the changes log beside it, its checkpoints, and what of that calls
//! for somebody.
//!
//! Must not know: the command line. Nothing is changed, and nobody is waited for but brokers and stores.

use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use serde_json::{Value as Json, json};

use super::table::{NONE, aligned, count, size, span};
use super::{Bounds, Desk, Halted, OnDisk, Outside, StateFailure, is_damaged};
use crate::adapters::checkpoints::{CheckpointError, Checkpoints, Home, Listed, Manifest, Unfit};
use crate::adapters::clock::now;
use crate::app::StageError;
use crate::domain::instant::Instant;

/// All that can be seen from here.
pub struct Report {
    reconciliation: String,
    state_dir: String,
    /// Where checkpoints are, logins left out; `None` where there are to be none.
    store: Option<String>,
    now: Instant,
    partitions: Vec<Partition>,
    /// What calls for somebody.
    notes: Vec<Note>,
}

/// One partition.
#[derive(Default)]
struct Partition {
    partition: i32,
    disk: Option<OnDisk>,
    /// `None` where that cannot be seen.
    is_held: Option<bool>,
    /// `None` where nobody says.
    bounds: Option<Bounds>,
    /// `None` where nobody says. The furthest first.
    checkpoints: Option<Vec<Kept>>,
}

/// A checkpoint in the store.
struct Kept {
    name: String,
    next_offset: i64,
    /// By the store's clock.
    written_at: Instant,
    /// `None` where the manifest cannot be used.
    manifest: Option<Manifest>,
}

impl Kept {
    fn bytes(&self) -> Option<u64> {
        Some(self.manifest.as_ref()?.files.iter().map(|file| file.bytes).sum())
    }
}

/// Something that calls for somebody.
#[derive(Debug, PartialEq, Eq)]
struct Note {
    partition: Option<i32>,
    message: String,
    /// A sentence: what to do.
    hint: String,
}

/// Looks at everything. `config` is the configuration's name as the user gave it, for what is to be done next.
pub fn look(desk: &Desk<'_>, config: &str) -> Report {
    let settings = desk.settings;
    let store = settings.checkpoints.as_ref().map(|given| {
        let (url, host) = (&given.url, given.url.host_str().unwrap_or_default());
        format!("{}://{host}{}", url.scheme(), url.path())
    });
    let mut report = Report {
        reconciliation: settings.plan.reconciliation.to_string(),
        state_dir: settings.state_dir.join(&*settings.plan.reconciliation).display().to_string(),
        store,
        now: now(),
        partitions: Vec::new(),
        notes: Vec::new(),
    };
    let mut all: Vec<Partition> = Vec::new();
    for partition in 0..settings.topics.partitions {
        let mut seen = Partition { partition, ..Partition::default() };
        report.look_at_disk(desk, &mut seen, config);
        all.push(seen);
    }
    // Asked after that, so that a state at work does not seem to go further than the changes log.
    let Outside { changes, checkpoints } = desk.ask();
    for mut seen in all {
        seen.bounds = changes.as_ref().ok().map(|changes| changes[seen.partition as usize]);
        if let Ok(checkpoints) = &checkpoints {
            report.look_at_store(checkpoints, &mut seen, config);
        }
        report.notes.extend(notes(&seen, &settings.topics.changes, config));
        report.partitions.push(seen);
    }
    report.tell_unknown(changes.err(), checkpoints.err());
    report.now = now();
    report
}

impl Report {
    fn look_at_disk(&mut self, desk: &Desk<'_>, seen: &mut Partition, config: &str) {
        let partition = seen.partition;
        match Home::is_held(&desk.settings.state_folder(partition)) {
            Ok(is_held) => seen.is_held = Some(is_held),
            Err(error) => self.note(
                Some(partition),
                format!("whether a process works on this disk's state cannot be seen: {error}"),
                "Run this as the user who runs evenkeel.",
            ),
        }
        match desk.on_disk(partition) {
            Ok(state) => seen.disk = state,
            Err(error) => {
                let message = format!("this disk's state cannot be read: {error}");
                self.note(Some(partition), message, unreadable(&error, partition, config));
            }
        }
    }

    fn look_at_store(&mut self, checkpoints: &Checkpoints, seen: &mut Partition, config: &str) {
        let (partition, go) = (seen.partition, AtomicBool::new(false));
        let listed = match checkpoints.list(partition, &go) {
            Ok(listed) => listed,
            Err(error) => {
                return self.note(
                    Some(partition),
                    error,
                    "Look at checkpoints: {url, options} of the configuration.",
                );
            }
        };
        let kept = listed.into_iter().filter_map(|listed| {
            let manifest = checkpoints.manifest(partition, &listed, &go);
            // It was collected while this looked.
            let is_gone =
                |error: &CheckpointError| matches!(error, CheckpointError::Unfit { why: Unfit::Gone { .. }, .. });
            if manifest.as_ref().is_err_and(is_gone) {
                return None;
            }
            if let Err(error) = &manifest {
                let hint = format!(
                    "evenkeel state verify -c {config} --partition {partition} reads every checkpoint whole."
                );
                self.note(Some(partition), error, hint);
            }
            let Listed { next_offset, name, written_at } = listed;
            Some(Kept { name, next_offset, written_at: instant(written_at), manifest: manifest.ok() })
        });
        seen.checkpoints = Some(kept.collect());
    }

    fn tell_unknown(&mut self, changes: Option<StateFailure>, checkpoints: Option<StateFailure>) {
        if let Some(error) = changes {
            let hint = match &error {
                StateFailure::Silent { .. } => "What is on this disk is shown all the same.",
                StateFailure::NoChanges { .. } => "The first start of a member creates it.",
                _ => "How far behind it a state is cannot be said.",
            };
            self.note(None, error, hint);
        }
        match checkpoints {
            None | Some(StateFailure::NoCheckpoints) => {}
            Some(error) => self.note(None, error, "What the checkpoint store has is not shown."),
        }
    }

    fn note(&mut self, partition: Option<i32>, message: impl ToString, hint: impl Into<String>) {
        self.notes.push(Note { partition, message: message.to_string(), hint: hint.into() });
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = format!("states of reconciliation {} in {}\n\n", self.reconciliation, self.state_dir);
        text += &self.states();
        match &self.store {
            None => text += "\nno checkpoints are configured\n",
            Some(store) => text += &format!("\ncheckpoints in {store}\n\n{}", self.checkpoints()),
        }
        for Note { partition, message, hint } in &self.notes {
            let whose = partition.map_or(String::new(), |partition| format!("partition {partition}: "));
            text += &format!("\n! {whose}{message}\n  {hint}\n");
        }
        text
    }

    fn states(&self) -> String {
        let head = ["partition", "next offset", "changes log", "behind", "settled", "age", "keys", "size", "process"];
        let rows = self.partitions.iter().map(|seen| {
            let of_disk = |text: &dyn Fn(&OnDisk) -> Option<String>| seen.disk.as_ref().and_then(text);
            let settled = |state: &OnDisk| state.settled;
            let cells = [
                Some(seen.partition.to_string()),
                of_disk(&|state| Some(count(state.next_offset))),
                seen.bounds.map(|(start, end)| format!("{} to {}", count(start), count(end))),
                seen.behind().map(count),
                of_disk(&|state| settled(state).map(|settled| settled.to_string())),
                of_disk(&|state| settled(state).map(|settled| span(self.seconds_since(settled)))),
                of_disk(&|state| Some(count(i64::try_from(state.keys).unwrap_or(i64::MAX)))),
                of_disk(&|state| Some(size(state.bytes))),
                seen.is_held.map(|is_held| if is_held { "works on it" } else { "none" }.to_owned()),
            ];
            cells.map(|cell| cell.unwrap_or(NONE.to_owned())).to_vec()
        });
        aligned(&head, &["settled", "process"], &rows.collect::<Vec<_>>())
    }

    fn checkpoints(&self) -> String {
        let mut rows = Vec::new();
        for seen in &self.partitions {
            let kept = seen.checkpoints.iter().flatten();
            rows.extend(kept.map(|one| {
                vec![
                    seen.partition.to_string(),
                    count(one.next_offset),
                    span(self.seconds_since(one.written_at)),
                    one.bytes().map_or(NONE.to_owned(), size),
                ]
            }));
        }
        match rows.is_empty() {
            true if self.partitions.iter().all(|seen| seen.checkpoints.is_some()) => "there are none\n".to_owned(),
            true => "not known\n".to_owned(),
            false => aligned(&["partition", "next offset", "age", "size"], &[], &rows),
        }
    }

    /// For scripts; its shape stands in docs/operations.md.
    pub fn to_json(&self) -> Json {
        let partitions: Vec<Json> = self.partitions.iter().map(|seen| self.partition_json(seen)).collect();
        let note = |note: &Note| json!({"partition": note.partition, "message": note.message, "hint": note.hint});
        json!({
            "reconciliation": self.reconciliation,
            "state_dir": self.state_dir,
            "partitions": partitions,
            "notes": self.notes.iter().map(note).collect::<Vec<_>>(),
        })
    }

    fn partition_json(&self, seen: &Partition) -> Json {
        let halted = |halted: &Halted| {
            let Halted { source, topic_partition, gap } = halted;
            json!({
                "source": source,
                "topic": *topic_partition.topic,
                "partition": topic_partition.partition,
                "cause": gap.cause.name(),
                "expected_offset": gap.expected,
                "found_offset": gap.found,
            })
        };
        let unconfirmed = |(source, rows): &(String, i64)| json!({"source": source, "rows": rows});
        let state = seen.disk.as_ref().map(|state| {
            json!({
                "next_offset": state.next_offset,
                "settled": state.settled.map(|settled| settled.to_string()),
                "keys": state.keys,
                "bytes": state.bytes,
                "halted": state.halted.iter().map(halted).collect::<Vec<_>>(),
                "unconfirmed": state.unconfirmed.iter().map(unconfirmed).collect::<Vec<_>>(),
            })
        });
        let kept = |kept: &Kept| {
            json!({
                "name": kept.name,
                "next_offset": kept.next_offset,
                "settled": kept.manifest.as_ref().and_then(|manifest| manifest.settled.clone()),
                "age_seconds": self.seconds_since(kept.written_at),
                "bytes": kept.bytes(),
            })
        };
        json!({
            "partition": seen.partition,
            "state": state,
            "held": seen.is_held,
            "changes_log": seen.bounds.map(|(start, end)| json!({"start_offset": start, "end_offset": end})),
            "behind": seen.behind(),
            "overtaken": seen.is_overtaken(),
            "checkpoints": seen.checkpoints.as_ref().map(|all| all.iter().map(kept).collect::<Vec<_>>()),
        })
    }

    fn seconds_since(&self, instant: Instant) -> f64 {
        self.now.since(instant) as f64 / 1e6
    }
}

impl Partition {
    /// How many offsets of the changes log this disk's state has not seen; `None` where that is not known.
    fn behind(&self) -> Option<i64> {
        Some((self.bounds?.1 - self.disk.as_ref()?.next_offset).max(0))
    }

    /// True where retention has deleted what this disk's state goes on with.
    fn is_overtaken(&self) -> Option<bool> {
        Some(self.disk.as_ref()?.next_offset < self.bounds?.0)
    }
}

/// What calls for somebody in what was seen of a partition.
fn notes(seen: &Partition, topic: &str, config: &str) -> Vec<Note> {
    let mut notes = Vec::new();
    let partition = seen.partition;
    let mut note = |message: String, hint: String| notes.push(Note { partition: Some(partition), message, hint });
    for Halted { source, topic_partition, gap } in seen.disk.iter().flat_map(|state| &state.halted) {
        let (topic, number) = (&topic_partition.topic, topic_partition.partition);
        note(
            format!(
                "verdicts are held: records of source {source} were lost ({}), {topic}:{number} goes on at offset {}",
                gap.cause.name(),
                gap.found
            ),
            format!(
                "Re-snapshot the table, wait until the snapshot is through, then: evenkeel acknowledge -c {config} {source}"
            ),
        );
    }
    for (source, rows) in seen.disk.iter().flat_map(|state| &state.unconfirmed) {
        note(
            format!(
                "the last snapshot of source {source} has not seen {rows} rows that were there: what rests on them is not judged"
            ),
            format!("Say what has become of them: evenkeel confirm -c {config} {source} gone, or kept"),
        );
    }
    let Some((start, end)) = seen.bounds else { return notes };
    let furthest = seen.checkpoints.as_ref().map(|all| all.first().map_or(-1, |furthest| furthest.next_offset));
    let anew = "Give the reconciliation a new name: it begins anew from what the sources' topics hold.".to_owned();
    match &seen.disk {
        Some(state) if state.next_offset > end => note(
            format!(
                "changes log {topic}:{partition} ends at offset {end}, this disk's state goes on at {}: one of them is not \
                 the other's",
                state.next_offset
            ),
            anew,
        ),
        Some(state) if state.next_offset >= start => {}
        state => note_overtaken((topic, partition, start), state.as_ref(), furthest, anew, note),
    }
    notes
}

/// Of a changes log that begins behind this disk's state, or where there is none. `furthest` is where the furthest checkpoint
/// goes on, -1 where there is none, `None` where that is not known.
fn note_overtaken(
    (topic, partition, start): (&str, i32, i64),
    state: Option<&OnDisk>,
    furthest: Option<i64>,
    anew: String,
    mut note: impl FnMut(String, String),
) {
    let begins = format!("changes log {topic}:{partition} begins at offset {start} now");
    match (state, furthest) {
        (None, _) if start == 0 => {}
        (None, Some(furthest)) if furthest < start => note(
            format!("{begins}, and no checkpoint goes on there or later"),
            "Only a disk that has this partition's state can go on: keep it, and see to it that checkpoints are written."
                .to_owned(),
        ),
        (None, _) => {}
        (Some(state), Some(furthest)) if furthest >= start => note(
            format!("{begins}: retention has overtaken this disk's state, which goes on at {}", state.next_offset),
            format!("A start takes the checkpoint that goes on at offset {furthest}."),
        ),
        (Some(state), Some(_)) => note(
            format!(
                "{begins}: retention has overtaken this disk's state, which goes on at {}, and every checkpoint",
                state.next_offset
            ),
            anew,
        ),
        (Some(state), None) => note(
            format!("{begins}: retention has overtaken this disk's state, which goes on at {}", state.next_offset),
            "Only a checkpoint can go on; none is known of here.".to_owned(),
        ),
    }
}

/// What helps where a state cannot be read.
fn unreadable(error: &StageError, partition: i32, config: &str) -> String {
    match is_damaged(error) {
        true => format!(
            "What can be put in its place is said by: evenkeel state verify -c {config} --partition {partition}"
        ),
        false => "A process that starts with this configuration says the same.".to_owned(),
    }
}

fn instant(time: SystemTime) -> Instant {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    Instant(since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::change::{Gap, GapCause, TopicPartition};

    const NOW: i64 = 1_764_216_000_000_000;

    fn on_disk(next_offset: i64) -> OnDisk {
        let settled = Some(Instant(NOW - 1_250_000));
        OnDisk {
            next_offset,
            settled,
            halted: Vec::new(),
            unconfirmed: Vec::new(),
            keys: 1_203_311,
            bytes: 412 << 20,
        }
    }

    fn kept(next_offset: i64, age_seconds: i64) -> Kept {
        let written_at = Instant(NOW - age_seconds * 1_000_000);
        Kept { name: format!("{next_offset:020}-x.json"), next_offset, written_at, manifest: None }
    }

    fn seen(disk: Option<OnDisk>, bounds: Bounds, checkpoints: Option<Vec<Kept>>) -> Partition {
        Partition { partition: 1, disk, is_held: Some(false), bounds: Some(bounds), checkpoints }
    }

    fn messages(seen: &Partition) -> Vec<String> {
        notes(seen, "log", "c.yaml").into_iter().map(|note| format!("{} {}", note.message, note.hint)).collect()
    }

    #[test]
    fn rows_that_no_snapshot_has_seen_again_call_for_somebody() {
        let mut disk = on_disk(812_304);
        disk.unconfirmed = vec![("orders".to_owned(), 7)];
        let said = messages(&seen(Some(disk), (0, 812_310), Some(vec![kept(812_200, 12)])));
        let [one] = said.as_slice() else { panic!("{said:?}") };
        assert!(
            one.contains("source orders has not seen 7 rows") && one.contains("confirm -c c.yaml orders gone"),
            "{one}"
        );
    }

    #[test]
    fn people_read_it_at_a_glance() {
        let mut halted = on_disk(812_304);
        let topic_partition = TopicPartition { topic: "shop.orders".into(), partition: 3 };
        let gap = Gap { topic_partition: 0, cause: GapCause::Retention, expected: 9, found: 40, topic_id: 0 };
        halted.halted = vec![Halted { source: "orders".to_owned(), topic_partition, gap }];
        let mut all = vec![seen(Some(halted), (0, 812_310), Some(vec![kept(812_200, 12), kept(809_000, 240)]))];
        all.push(seen(None, (0, 0), Some(Vec::new())));
        all[0].is_held = Some(true);
        let report = Report {
            reconciliation: "shop".to_owned(),
            state_dir: "/state/shop".to_owned(),
            store: Some("s3://bucket/evenkeel".to_owned()),
            now: Instant(NOW),
            notes: all.iter().flat_map(|seen| notes(seen, "log", "c.yaml")).collect(),
            partitions: all,
        };
        let expected = "states of reconciliation shop in /state/shop

partition  next offset   changes log  behind  settled                        age       keys       size  process
        1      812,304  0 to 812,310       6  2025-11-27T03:59:58.750000Z  1.2 s  1,203,311  412.0 MiB  works on it
        1            -        0 to 0       -  -                                -          -          -  none

checkpoints in s3://bucket/evenkeel

partition  next offset    age  size
        1      812,200   12 s     -
        1      809,000  4 min     -

! partition 1: verdicts are held: records of source orders were lost (retention), shop.orders:3 goes on at offset 40
  Re-snapshot the table, wait until the snapshot is through, then: evenkeel acknowledge -c c.yaml orders
";
        assert_eq!(report.to_text(), expected);
    }

    /// Each as `(state, changes log, furthest checkpoint)`.
    #[test]
    fn what_cannot_go_on_is_said() {
        let check = |next: Option<i64>, bounds, furthest: Option<i64>, says: &[&str]| {
            let checkpoints = furthest.map(|furthest| vec![kept(furthest, 1)]);
            let said = messages(&seen(next.map(on_disk), bounds, checkpoints));
            assert_eq!(said.len(), usize::from(!says.is_empty()), "{said:?}");
            assert!(says.iter().all(|part| said.concat().contains(part)), "{said:?}");
        };
        check(Some(5), (0, 9), None, &[]);
        check(Some(5), (5, 5), Some(3), &[]);
        check(None, (0, 9), None, &[]);
        check(None, (4, 9), Some(4), &[]);
        check(None, (4, 9), Some(3), &["no checkpoint goes on there or later", "keep it"]);
        check(Some(3), (4, 9), Some(4), &["has overtaken this disk's state", "A start takes the checkpoint"]);
        check(Some(3), (4, 9), Some(3), &["and every checkpoint", "new name"]);
        check(Some(3), (4, 9), None, &["has overtaken this disk's state", "none is known of here"]);
        check(Some(10), (4, 9), Some(4), &["ends at offset 9", "new name"]);
    }
}
