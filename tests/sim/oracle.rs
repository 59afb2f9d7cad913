//! What must be said, worked out anew from the true histories.
//!
//! It sees what really happened, which record of which topic stands for what, and the changes log only as
//! coordinates and promises. It shares no code with `domain` or `task`: the law of the timeline, the life of an
//! episode and the rules' meaning are written here a second time, as plainly as can be and without regard to cost.

use std::collections::{BTreeMap, BTreeSet};

use super::delivery::{Lane, Record};
use super::rules::{Patience, RULES, Rows};
use super::world::{Cell, Cells, DATABASE, Edit, Micros, World};

/// A line of the changes log as the oracle sees it.
#[derive(Clone, Debug)]
pub enum Line {
    Change { lane: usize, offset: i64 },
    Mark { lane: usize, time: Micros, proof: Option<(u64, u64)> },
}

/// A row with where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sided {
    pub cells: Cells,
    pub time: Micros,
    pub position: String,
    pub lane: usize,
    pub offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Opened,
    Updated,
    Escalated,
    Converged,
    Deleted,
    Late,
}

/// One discrepancy record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub key: i64,
    /// Offset of the block that causes it.
    pub cause: i64,
    pub event: Event,
    pub rule: &'static str,
    pub identity: Cells,
    pub since: Micros,
    pub lineage: Micros,
    pub at: Micros,
    pub settled: Micros,
    pub revision: u32,
    pub flap_count: u32,
    pub escalated: u32,
    pub evidence: Vec<Cells>,
    pub sides: [Vec<Sided>; 3],
}

/// What one partition of the changes log must come to.
#[derive(Debug, Default)]
pub struct Verdict {
    /// By key; each key's in order.
    pub said: BTreeMap<i64, Vec<Said>>,
    /// `(key, rule, identity)` of what is open at the end.
    pub open: BTreeSet<(i64, &'static str, Cells)>,
    pub settled: Option<Micros>,
    pub late: u64,
    /// True where some change's place on the timeline is not what its database says.
    pub lifted: bool,
}

pub struct Oracle<'o> {
    pub world: &'o World,
    pub lanes: &'o [Lane],
    pub patience: &'o [Patience],
    /// The changes-log partition of each key.
    pub partition_of: &'o dyn Fn(i64) -> usize,
    pub partition: usize,
}

struct Taken {
    lane: usize,
    offset: i64,
    record: Record,
    floor: Micros,
    late: bool,
}

#[derive(Default)]
struct LaneLaw {
    offset: i64,
    place: (u64, u64),
    latest: Micros,
    mark: Option<Micros>,
    proved: (u64, u64),
    baseline: Option<Micros>,
    taken: BTreeSet<(usize, usize)>,
}

/// What happened to one key at one instant.
#[derive(Default)]
struct Moment {
    edits: Vec<(usize, i64, Option<Sided>)>,
    late: bool,
}

type Lives = BTreeMap<i64, BTreeMap<Micros, Moment>>;

impl Oracle<'_> {
    /// `log` is the partition's changes log, a list of lines for each block.
    pub fn judge(&self, log: &[Vec<Line>]) -> Verdict {
        let mut verdict = Verdict::default();
        let mut lanes: Vec<LaneLaw> =
            self.lanes.iter().map(|_| LaneLaw { offset: -1, ..LaneLaw::default() }).collect();
        let mut waiting: [Vec<Taken>; 2] = Default::default();
        let mut proofs: [Vec<((u64, u64), Micros)>; 2] = Default::default();
        let mut reached = [Micros::MIN; 2];
        let mut owners: BTreeMap<(usize, i64), i64> = BTreeMap::new();
        let mut lives = Lives::new();
        let mut baseline = None;
        let mut settled_by: Vec<Option<Micros>> = Vec::new();
        for lines in log {
            for line in lines {
                match line {
                    Line::Change { lane, offset } => {
                        if let Some(taken) = self.take(&mut lanes[*lane], *lane, *offset) {
                            verdict.late += u64::from(taken.late);
                            waiting[self.lanes[*lane].database].push(taken);
                        }
                    }
                    Line::Mark { lane, time, proof } => {
                        let law = &mut lanes[*lane];
                        if law.mark.is_some_and(|mark| mark >= *time) {
                            continue;
                        }
                        law.mark = Some(*time);
                        law.baseline = law.baseline.or(Some(law.latest.max(*time)));
                        if let Some(proof) = proof {
                            law.proved = law.proved.max(*proof);
                            proofs[self.lanes[*lane].database].push((*proof, time + 1));
                        }
                    }
                }
            }
            let marks = lanes.iter().zip(self.lanes).filter(|(_, lane)| lane.source.is_some());
            let settled = marks.clone().map(|(law, _)| law.mark).collect::<Option<Vec<_>>>();
            let settled = settled.and_then(|marks| marks.into_iter().min()).max(verdict.settled);
            if let Some(settled) = settled {
                baseline = baseline.or(marks.filter_map(|(law, _)| law.baseline).max());
                for database in 0..2 {
                    let waiting = &mut waiting[database];
                    let (proofs, reached) = (&proofs[database], &mut reached[database]);
                    while let Some((at, group)) = self.next_transaction(waiting, proofs, *reached, settled) {
                        *reached = at;
                        for taken in group {
                            self.happen(taken, at, &mut owners, &mut lives, &mut verdict);
                        }
                    }
                }
            }
            verdict.settled = settled;
            settled_by.push(settled);
        }
        let (Some(baseline), Some(settled)) = (baseline, verdict.settled) else { return verdict };
        for (key, life) in lives {
            Life { oracle: self, key, baseline, until: settled, settled_by: &settled_by }.live(life, &mut verdict);
        }
        verdict
    }

    fn edit(&self, lane: usize, transaction: usize, edit: usize) -> &Edit {
        &self.world.databases[self.lanes[lane].database].log[transaction].edits[edit]
    }

    fn take(&self, law: &mut LaneLaw, lane: usize, offset: i64) -> Option<Taken> {
        if offset <= law.offset {
            return None;
        }
        law.offset = offset;
        let record = self.lanes[lane].records[offset as usize];
        let floor = law.mark.map_or(Micros::MIN, |mark| mark + 1);
        let mut late = false;
        match record {
            Record::Edit { transaction, edit, .. } => {
                let change = self.edit(lane, transaction, edit);
                // The connector sends again what was lost, and what was not.
                if change.position < law.place || !law.taken.insert((transaction, edit)) {
                    return None;
                }
                law.place = change.position;
                law.latest = law.latest.max(change.time);
                late = change.position < law.proved;
            }
            Record::Snapshot(_) => law.latest = law.latest.max(super::world::BEGIN),
            other => panic!("{other:?} stands at {lane}:{offset}, no change"),
        }
        Some(Taken { lane, offset, record, floor, late })
    }

    /// The next transaction in commit order, if its place on the timeline is settled.
    fn next_transaction(
        &self,
        waiting: &mut Vec<Taken>,
        proofs: &[((u64, u64), Micros)],
        reached: Micros,
        settled: Micros,
    ) -> Option<(Micros, Vec<Taken>)> {
        let place = |taken: &Taken| match taken.record {
            Record::Edit { transaction, edit, .. } => self.edit(taken.lane, transaction, edit).position,
            _ => (0, 0),
        };
        let whole = |taken: &Taken| match taken.record {
            Record::Edit { transaction, .. } => Some(transaction),
            _ => None,
        };
        waiting.sort_by_key(|taken| (place(taken), taken.lane, taken.offset));
        let first = waiting.first()?;
        let (first_place, transaction) = (place(first), whole(first));
        let count = match transaction {
            None => 1,
            some => waiting.iter().take_while(|taken| whole(taken) == some).count(),
        };
        let mut at = reached;
        for taken in &waiting[..count] {
            let time = match taken.record {
                Record::Edit { transaction, edit, .. } => self.edit(taken.lane, transaction, edit).time,
                _ => super::world::BEGIN,
            };
            at = at.max(time).max(taken.floor);
        }
        for (proof, from) in proofs {
            if *proof <= first_place {
                at = at.max(*from);
            }
        }
        (at <= settled).then(|| (at, waiting.drain(..count).collect()))
    }

    fn happen(
        &self,
        taken: Taken,
        at: Micros,
        owners: &mut BTreeMap<(usize, i64), i64>,
        lives: &mut Lives,
        verdict: &mut Verdict,
    ) {
        let Taken { lane, offset, record, late, .. } = taken;
        let database = self.lanes[lane].database;
        let (table, id, after, time, position) = match record {
            Record::Edit { transaction, edit, .. } => {
                let change = self.edit(lane, transaction, edit);
                let commit = self.world.databases[database].log[transaction].commit;
                verdict.lifted |= !late && (at > commit || at < change.time || (database == 0 && at != commit));
                let (number, row) = change.position;
                let position = match database {
                    0 => format!("{:X}/{:X}", row >> 32, row & 0xFFFF_FFFF),
                    _ => format!("0-1-{number}"),
                };
                (change.table, change.id, change.after.clone(), change.time, position)
            }
            Record::Snapshot(index) => {
                let (table, id, cells) = &self.world.databases[database].snapshot[index];
                (*table, *id, Some(cells.clone()), super::world::BEGIN, String::new())
            }
            _ => unreachable!("only changes are taken"),
        };
        let owned = |key: &i64| (self.partition_of)(*key) == self.partition;
        let before = owners.remove(&(table, id));
        let key = Edit::key_of(table, &after).filter(owned);
        let mut moment = |key: i64, sided: Option<Sided>| {
            let moment = lives.entry(key).or_default().entry(at).or_default();
            moment.edits.push((table, id, sided));
            moment.late |= late;
        };
        if let Some(before) = before.filter(|before| Some(*before) != key) {
            moment(before, None);
        }
        if let (Some(key), Some(cells)) = (key, after) {
            owners.insert((table, id), key);
            moment(key, Some(Sided { cells, time, position, lane, offset }));
        }
    }

    /// Promises that the true history breaks: of each mark in a partition's log, whether every change that it speaks
    /// of stands above it.
    pub fn broken_promises(&self, log: &[Vec<Line>]) -> Vec<String> {
        let mut above: BTreeSet<(usize, usize, usize)> = BTreeSet::new();
        let mut broken = Vec::new();
        for line in log.iter().flatten() {
            match line {
                Line::Change { lane, offset } => {
                    if let Record::Edit { transaction, edit, .. } = self.lanes[*lane].records[*offset as usize] {
                        above.insert((self.lanes[*lane].database, transaction, edit));
                    }
                }
                Line::Mark { lane, time, .. } => broken.extend(self.breaks(*lane, *time, &above)),
            }
        }
        broken
    }

    fn breaks(&self, lane: usize, time: Micros, above: &BTreeSet<(usize, usize, usize)>) -> Option<String> {
        let database = self.lanes[lane].database;
        for (index, transaction) in self.world.databases[database].log.iter().enumerate() {
            for (number, edit) in transaction.edits.iter().enumerate() {
                let mine = edit.keys().into_iter().flatten().any(|key| (self.partition_of)(key) == self.partition);
                let here = Some(edit.table) == self.lanes[lane].source
                    && edit.id % i64::from(super::delivery::PARTITIONS[edit.table])
                        == i64::from(self.lanes[lane].partition);
                if transaction.commit <= time
                    && mine
                    && here
                    && !above.contains(&(DATABASE[edit.table], index, number))
                {
                    return Some(format!("{lane}: {time} is promised without {transaction:?}"));
                }
            }
        }
        None
    }
}

/// One disagreement of one rule on one key.
#[derive(Clone, Debug)]
struct Episode {
    since: Micros,
    lineage: Micros,
    open: bool,
    ends: Option<(Micros, Event)>,
    revision: u32,
    flap_count: u32,
    escalated: u32,
    evidence: Vec<Cells>,
}

struct Life<'l, 'o> {
    oracle: &'l Oracle<'o>,
    key: i64,
    baseline: Micros,
    until: Micros,
    settled_by: &'l [Option<Micros>],
}

type Id = (usize, Cells);

#[derive(Default)]
struct Story {
    rows: BTreeMap<(usize, i64), Sided>,
    episodes: BTreeMap<Id, Episode>,
    /// When it was last resolved, its lineage, its flap count.
    memories: BTreeMap<Id, (Micros, Micros, u32)>,
    said: Vec<Said>,
}

impl Life<'_, '_> {
    fn live(&self, mut life: BTreeMap<Micros, Moment>, verdict: &mut Verdict) {
        if life.keys().next().is_some_and(|first| *first <= self.baseline) {
            life.entry(self.baseline).or_default();
        }
        let mut story = Story::default();
        for (at, moment) in life {
            if at > self.until {
                break;
            }
            self.fall_due(&mut story, Micros::MIN, at - 1);
            let deleted = self.apply(&mut story, &moment);
            if at >= self.baseline {
                let reason = if moment.late {
                    Event::Late
                } else if deleted {
                    Event::Deleted
                } else {
                    Event::Converged
                };
                self.confront(&mut story, at, reason);
                self.fall_due(&mut story, at, at);
            }
        }
        self.fall_due(&mut story, Micros::MIN, self.until);
        for ((rule, identity), episode) in story.episodes {
            if episode.open {
                verdict.open.insert((self.key, RULES[rule].id, identity));
            }
        }
        if !story.said.is_empty() {
            verdict.said.insert(self.key, story.said);
        }
    }

    /// True where a row has left the key.
    fn apply(&self, story: &mut Story, moment: &Moment) -> bool {
        for (table, id, sided) in &moment.edits {
            match sided {
                Some(sided) => story.rows.insert((*table, *id), sided.clone()),
                None => story.rows.remove(&(*table, *id)),
            };
        }
        moment.edits.iter().any(|(_, _, sided)| sided.is_none())
    }

    fn answers(&self, story: &Story) -> BTreeMap<Id, Vec<Cells>> {
        let mut rows: Rows<'_> = Default::default();
        for ((table, _), sided) in &story.rows {
            rows[*table].push(&sided.cells);
        }
        let mut answers: BTreeMap<Id, Vec<Cells>> = BTreeMap::new();
        for (rule, meaning) in RULES.iter().enumerate() {
            for row in (meaning.answer)(&rows) {
                let identity = meaning.identity.iter().map(|column| row[*column].clone()).collect();
                answers.entry((rule, identity)).or_default().push(row);
            }
        }
        answers.values_mut().for_each(|rows| rows.sort());
        answers
    }

    fn confront(&self, story: &mut Story, at: Micros, reason: Event) {
        let mut answers = self.answers(story);
        for id in story.episodes.keys().cloned().collect::<Vec<_>>() {
            let mut episode = story.episodes.remove(&id).expect("it was listed");
            let patience = &self.oracle.patience[id.0];
            match answers.remove(&id) {
                Some(evidence) => {
                    let differs = episode.evidence != evidence;
                    episode.evidence = evidence;
                    episode.ends = None;
                    if episode.open && differs {
                        self.say(story, &id, &mut episode, Event::Updated, at);
                    }
                    story.episodes.insert(id, episode);
                }
                None if !episode.open => {}
                None if episode.ends.is_some() => {
                    story.episodes.insert(id, episode);
                }
                None if patience.keep_open_for > 0 => {
                    episode.ends = Some((at + patience.keep_open_for, reason));
                    story.episodes.insert(id, episode);
                }
                None => self.resolve(story, &id, episode, reason, at),
            }
        }
        for (id, evidence) in answers {
            let memory = story.memories.get(&id);
            let memory = memory.filter(|(resolved, _, _)| at <= resolved + self.oracle.patience[id.0].flap_window);
            let (lineage, flap_count) = memory.map_or((at, 0), |(_, lineage, flaps)| (*lineage, flaps + 1));
            let begun = Episode {
                since: at,
                lineage,
                open: false,
                ends: None,
                revision: 0,
                flap_count,
                escalated: 0,
                evidence,
            };
            story.episodes.insert(id, begun);
        }
    }

    fn resolve(&self, story: &mut Story, id: &Id, mut episode: Episode, reason: Event, at: Micros) {
        self.say(story, id, &mut episode, reason, at);
        if self.oracle.patience[id.0].flap_window > 0 {
            story.memories.insert(id.clone(), (at, episode.lineage, episode.flap_count));
        }
    }

    /// Everything that falls due by the passing of time, up to an instant. What fell due before `from`, while the
    /// episode was ending, is said then.
    fn fall_due(&self, story: &mut Story, from: Micros, until: Micros) {
        loop {
            let due = |(id, episode): (&Id, &Episode)| {
                let patience = &self.oracle.patience[id.0];
                let due = match (episode.open, episode.ends) {
                    (false, _) => Some(episode.since + patience.grace),
                    (true, Some((ends, _))) => Some(ends),
                    (true, None) => {
                        patience.escalations.get(episode.escalated as usize).map(|after| episode.since + after)
                    }
                };
                due.map(|due| (due.max(from), id.clone()))
            };
            let Some((at, id)) = story.episodes.iter().filter_map(due).min() else { return };
            if at > until {
                return;
            }
            let mut episode = story.episodes.remove(&id).expect("it is due");
            match (episode.open, episode.ends) {
                (false, _) => {
                    episode.open = true;
                    self.say(story, &id, &mut episode, Event::Opened, at);
                    story.episodes.insert(id, episode);
                }
                (true, Some((_, reason))) => self.resolve(story, &id, episode, reason, at),
                (true, None) => {
                    episode.escalated += 1;
                    self.say(story, &id, &mut episode, Event::Escalated, at);
                    story.episodes.insert(id, episode);
                }
            }
        }
    }

    fn say(&self, story: &mut Story, id: &Id, episode: &mut Episode, event: Event, at: Micros) {
        episode.revision += 1;
        let cause = self.settled_by.iter().position(|settled| settled.is_some_and(|settled| settled >= at));
        let cause = cause.expect("it is settled in the end");
        let mut sides: [Vec<Sided>; 3] = Default::default();
        for ((table, _), sided) in &story.rows {
            sides[*table].push(sided.clone());
        }
        story.said.push(Said {
            key: self.key,
            cause: cause as i64,
            event,
            rule: RULES[id.0].id,
            identity: id.1.clone(),
            since: episode.since,
            lineage: episode.lineage,
            at,
            settled: self.settled_by[cause].expect("it is settled"),
            revision: episode.revision,
            flap_count: episode.flap_count,
            escalated: episode.escalated,
            evidence: episode.evidence.clone(),
            sides,
        });
    }
}

/// For people: a cell.
impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cell::Null => f.write_str("null"),
            Cell::Int(number) => write!(f, "{number}"),
            Cell::Text(text) => f.write_str(text),
        }
    }
}
