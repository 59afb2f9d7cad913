//! What must be said, worked out anew from the true histories.
//!
//! It sees what really happened, which record of which topic stands for what, and the changes log only as
//! coordinates and promises. It shares no code with `domain` or `task`: the law of the timeline, the life of an
//! episode and the rules' meaning are written here a second time, as plainly as can be and without regard to cost.

use std::collections::{BTreeMap, BTreeSet};

use super::delivery::{Delivery, Lane, PARTITIONS, Record};
use super::doubts::Doubts;
use super::law::{LaneLaw, Place};
use super::life::{Life, Moment, Said, Sided, Touch, Turn};
use super::rules::Book;
use super::world::{Cells, DATABASE, Edit, LINES, Micros, PAYMENTS, Transaction, World};

/// A line of the changes log as the oracle sees it.
#[derive(Clone, Debug)]
pub enum Line {
    Change {
        lane: usize,
        offset: i64,
    },
    /// A change that is requeued from quarantine; `until` is how far was looked for what followed.
    Requeued {
        lane: usize,
        offset: i64,
        until: i64,
    },
    Mark {
        lane: usize,
        time: Micros,
        proof: Option<Proof>,
    },
    Rules {
        book: usize,
    },
    /// What the members know from here on: all topic-partitions of a table.
    Topics {
        table: usize,
        partitions: i32,
    },
    /// Records of a lane were lost: expected and found offset.
    Gap {
        lane: usize,
        gap: (i64, i64),
    },
    Acknowledge {
        lane: usize,
    },
    /// A run begins a lane with a snapshot.
    Snapshot {
        lane: usize,
        run: u64,
    },
    /// What an operator says of the rows of a table that a snapshot has not seen: whether they are gone.
    Confirm {
        table: usize,
        are_gone: bool,
    },
}

impl Line {
    pub fn is_proof_of_payments(&self) -> bool {
        matches!(self, Line::Mark { lane, proof: Some(_), .. } if *lane >= PARTITIONS[..PAYMENTS].iter().sum::<i32>() as usize)
    }
}

/// Where the transaction begins that proves a promise, and the connector's run that read it.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    pub begin: (u64, u64),
    pub run: u64,
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
    /// How often a database's positions began anew, as far as the log has heard.
    pub epochs: u64,
    /// How often something stayed open because nobody could say whether it was over.
    pub held: u64,
    /// How often the rules were said when something was settled.
    pub turns: u64,
    /// True where some change's place on the timeline is not what its database says.
    pub lifted: bool,
    /// True where something was requeued of a run that was not heard of.
    pub unplaced: bool,
    /// What was not there, in whatever partition, when it was said to be settled.
    pub lacking: Vec<String>,
}

pub struct Oracle<'o> {
    pub world: &'o World,
    pub delivery: &'o Delivery,
    pub books: &'o [Book],
    /// For each table, whether its history is said to be known in part only.
    pub partial: [bool; 3],
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
    requeued: Option<i64>,
    /// Where it stands in commit order.
    place: Place,
    /// The greatest place of its lane so far, and floor: what a snapshot read stands behind what came before it.
    order: (Place, Micros),
    /// True where its lane has gone on since it was to be taken: it stands with the last of it.
    joins: bool,
}

/// What the log has told so far.
#[derive(Default)]
struct Heard {
    settled: Option<Micros>,
    runs: BTreeSet<u64>,
}

/// What happened to each key, by instant.
type Lives = BTreeMap<i64, BTreeMap<Micros, Moment>>;

impl Oracle<'_> {
    /// `log` is the partition's changes log, a list of lines for each block.
    pub fn judge(&self, log: &[Vec<Line>]) -> Verdict {
        let mut verdict = Verdict::default();
        let mut lanes: Vec<LaneLaw> =
            self.lanes().iter().map(|_| LaneLaw { offset: -1, ..LaneLaw::default() }).collect();
        let mut waiting: [Vec<Taken>; 2] = Default::default();
        let mut proofs: [Vec<(Place, Micros)>; 2] = Default::default();
        let mut reached = [Micros::MIN; 2];
        // The key of each line, and the generation of what told of it.
        let mut owners: BTreeMap<i64, (i64, usize)> = BTreeMap::new();
        let mut doubts = Doubts::default();
        let mut doubts_by: Vec<Doubts> = Vec::new();
        // What is to be done in the next block: judge anew, and without a table's rows of earlier generations.
        let mut look: Option<[usize; 3]> = None;
        let mut lives = Lives::new();
        let mut baseline = None;
        let mut settled_by: Vec<Option<Micros>> = Vec::new();
        let mut turns: Vec<Turn> = Vec::new();
        // Whoever has heard of no other takes the first one for the beginning.
        let mut newest: [Option<u32>; 2] = [None; 2];
        let mut topics = [0; 3];
        let mut heard = Heard::default();
        let mut hear = |database: usize, (epoch, _): Place, verdict: &mut Verdict| {
            verdict.epochs += u64::from(newest[database].is_some_and(|newest| epoch > newest));
            newest[database] = newest[database].max(Some(epoch));
        };
        let mut promises: Vec<(usize, Micros, Option<Proof>)> = Vec::new();
        for (cause, lines) in (0..).zip(log) {
            let turned = turns.len();
            for line in lines {
                match line {
                    Line::Topics { table, partitions } => topics[*table] = topics[*table].max(*partitions),
                    Line::Rules { book } => {
                        turns.push(Turn { book: *book, cause, lived: verdict.settled, leaving: [0; 3] });
                    }
                    Line::Change { lane, offset } => {
                        if let Some(taken) = self.take(&mut lanes[*lane], (*lane, *offset), heard.settled) {
                            verdict.late += u64::from(taken.late);
                            if let Record::Edit { run, .. } = taken.record {
                                heard.runs.insert(run);
                                lanes[*lane].told_by = run;
                            }
                            // A snapshot's rows have no position.
                            if matches!(taken.record, Record::Edit { .. }) {
                                hear(self.lanes()[*lane].database, lanes[*lane].place, &mut verdict);
                            }
                            waiting[self.lanes()[*lane].database].push(taken);
                        }
                    }
                    Line::Requeued { lane, offset, until } => {
                        let one = self.take_again(&mut lanes[*lane], (*lane, *offset, *until), &heard);
                        // Where it stands is not known, and what stands behind it may be lifted.
                        verdict.unplaced |=
                            !matches!(one.record, Record::Edit { run, .. } if heard.runs.contains(&run));
                        waiting[self.lanes()[*lane].database].push(one);
                    }
                    Line::Mark { lane, time, proof } => promises.push((*lane, *time, *proof)),
                    Line::Gap { lane, gap } => {
                        let law = &mut lanes[*lane];
                        if law.gap != Some(*gap) {
                            law.gap = Some(*gap);
                            law.halted = law.halted.or(Some(None));
                        }
                    }
                    Line::Snapshot { lane, run } => {
                        doubts.begin(self.lanes()[*lane].database, *lane, *run, &lanes, self.lanes());
                    }
                    Line::Confirm { table, are_gone } => doubts.confirm(*table, *are_gone),
                    Line::Acknowledge { lane } => {
                        let withheld = lanes[*lane].halted.take().flatten();
                        promises.extend(withheld.map(|(time, proof)| (*lane, time, proof)));
                    }
                }
                for (lane, time, proof) in promises.drain(..) {
                    let law = &mut lanes[lane];
                    if law.mark.is_some_and(|mark| mark >= time) {
                        continue;
                    }
                    if let Some(withheld) = &mut law.halted {
                        if withheld.is_none_or(|(known, _)| known < time) {
                            *withheld = Some((time, proof));
                        }
                        continue;
                    }
                    let before = law.mark.replace(time);
                    law.baseline = law.baseline.or(Some(law.latest.max(time)));
                    if let Some(Proof { begin, run }) = proof {
                        heard.runs.insert(run);
                        doubts.promise(self.lanes()[lane].database, law, run, before, time);
                        let place = (self.delivery.epochs[&run], begin);
                        law.proved = law.proved.max(place);
                        hear(self.lanes()[lane].database, place, &mut verdict);
                        proofs[self.lanes()[lane].database].push((place, time + 1));
                    }
                }
            }
            if let Some(leaving) = look.take() {
                let book = turns.last().map_or(0, |turn| turn.book);
                match turns[turned..].last_mut() {
                    Some(turn) => turn.leaving = leaving,
                    None => turns.push(Turn { book, cause, lived: verdict.settled, leaving }),
                }
                owners.retain(|_, (_, generation)| *generation >= leaving[LINES]);
                doubts.compare();
            }
            doubts_by.push(doubts.clone());
            let known = |lane: &Lane| lane.source.is_some_and(|table| lane.partition < topics[table]);
            let marks = lanes.iter().zip(self.lanes()).filter(|(_, lane)| known(lane));
            let settled = marks.clone().map(|(law, _)| law.mark).collect::<Option<Vec<_>>>();
            let settled = settled.filter(|_| topics.iter().all(|partitions| *partitions > 0));
            let settled = settled.and_then(|marks| marks.into_iter().min()).max(verdict.settled);
            if let Some(settled) = settled {
                self.look_for(verdict.settled, settled, &lanes, &mut verdict.lacking);
                baseline = baseline.or(marks.filter_map(|(law, _)| law.baseline).max());
                for database in 0..2 {
                    let waiting = &mut waiting[database];
                    let (proofs, reached) = (&proofs[database], &mut reached[database]);
                    while let Some((at, group)) = self.next_transaction(waiting, proofs, *reached, settled) {
                        *reached = at;
                        for taken in group {
                            self.happen(taken, at, (&doubts, baseline), &mut owners, &mut lives, &mut verdict);
                        }
                    }
                }
            }
            (verdict.settled, heard.settled) = (settled, settled);
            if settled.zip(baseline).is_some_and(|(settled, baseline)| settled >= baseline) {
                look = doubts.settle(&lanes, self.lanes(), settled);
            }
            settled_by.push(settled);
        }
        verdict.turns = turns.iter().filter(|turn| turn.lived.is_some()).count() as u64;
        let (Some(baseline), Some(settled)) = (baseline, verdict.settled) else { return verdict };
        for (key, life) in lives {
            let (books, turns, settled_by, partial) = (self.books, &turns, &settled_by, self.partial);
            let doubts_by = &doubts_by;
            let began = *life.keys().next().expect("something has happened to it");
            let life_of = Life { key, books, turns, began, partial, baseline, until: settled, settled_by, doubts_by };
            life_of.live(life, &mut verdict);
        }
        verdict
    }

    /// Looks whether all of this partition's edits are there that were committed after `from`, up to `to`.
    fn look_for(&self, from: Option<Micros>, to: Micros, lanes: &[LaneLaw], lacking: &mut Vec<String>) {
        let each = self.world.databases.iter().enumerate();
        let each = each.flat_map(|(database, of)| of.log.iter().enumerate().map(move |one| (database, one)));
        for (database, (index, transaction)) in each {
            if from.is_some_and(|from| transaction.stands <= from) || transaction.stands > to {
                continue;
            }
            for (number, edit) in transaction.edits.iter().enumerate() {
                let mine = edit.keys().into_iter().flatten().any(|key| (self.partition_of)(key) == self.partition);
                let lane = self.delivery.lane_of(edit.table, edit.id);
                // What was lost is no more, though somebody must have said so.
                let lost = self.delivery.lost.contains(&(database, index, number)) && lanes[lane].gap.is_some();
                let lost = lost || self.delivery.is_kept_back((database, index, number));
                if mine && !lost && !lanes[lane].taken.contains(&(index, number)) {
                    lacking.push(format!("{to} is settled without {edit:?}, of {lane}"));
                }
            }
        }
    }

    fn lanes(&self) -> &[Lane] {
        &self.delivery.lanes
    }

    fn edit(&self, lane: usize, transaction: usize, edit: usize) -> (Place, &Edit) {
        let transaction = &self.world.databases[self.lanes()[lane].database].log[transaction];
        let edit = &transaction.edits[edit];
        ((transaction.epoch, edit.position), edit)
    }

    fn take(&self, law: &mut LaneLaw, (lane, offset): (usize, i64), settled: Option<Micros>) -> Option<Taken> {
        if offset <= law.offset {
            return None;
        }
        law.offset = offset;
        let record = self.lanes()[lane].records[offset as usize];
        let is_edit = matches!(record, Record::Edit { .. });
        let after = if is_edit { law.mark } else { law.mark.or(settled) };
        let floor = after.map_or(Micros::MIN, |mark| mark + 1);
        let mut late = false;
        match record {
            Record::Edit { transaction, edit, .. } => {
                let (place, change) = self.edit(lane, transaction, edit);
                // The connector sends again what was lost, and what was not.
                if place < law.place || !law.taken.insert((transaction, edit)) {
                    return None;
                }
                law.place = place;
                law.latest = law.latest.max(change.time);
                late = place < law.proved;
            }
            Record::Snapshot(_) => law.latest = law.latest.max(super::world::BEGIN),
            Record::Reread { snapshot, .. } if law.mark.is_none() => {
                law.latest = law.latest.max(self.delivery.rereads[snapshot].time);
            }
            Record::Reread { .. } => {}
            other => panic!("{other:?} stands at {lane}:{offset}, no change"),
        }
        let place = if is_edit { law.place } else { law.behind() };
        Some(Taken {
            lane,
            offset,
            record,
            floor,
            late,
            requeued: None,
            place,
            order: law.comes((place, floor)),
            joins: false,
        })
    }

    /// A change that is said again, whenever it was made: nothing that is settled changes by it. Where nobody has heard of its
    /// run, it stands with the last of its lane.
    fn take_again(&self, law: &mut LaneLaw, (lane, offset, until): (usize, i64, i64), heard: &Heard) -> Taken {
        let record = self.lanes()[lane].records[offset as usize];
        let is_edit = matches!(record, Record::Edit { .. });
        let after = if is_edit { heard.settled } else { heard.settled.max(law.mark) };
        let floor = after.map_or(Micros::MIN, |after| after + 1);
        let (joins, time) = match record {
            Record::Edit { transaction, edit, run } => {
                let (own, change) = self.edit(lane, transaction, edit);
                let joins = !heard.runs.contains(&run) || own < law.place;
                if !joins {
                    law.place = own;
                    law.latest = law.latest.max(change.time);
                    law.taken.insert((transaction, edit));
                }
                (joins, change.time)
            }
            Record::Reread { snapshot, .. } => (false, self.delivery.rereads[snapshot].time),
            other => panic!("{other:?} was requeued"),
        };
        let late = heard.settled.is_some_and(|settled| time <= settled);
        let place = if is_edit { law.place } else { law.behind() };
        let order = law.comes((place, floor));
        Taken { lane, offset, record, floor, late, requeued: Some(until), place, order, joins }
    }

    /// The next transaction in commit order, if its place on the timeline is settled.
    fn next_transaction(
        &self,
        waiting: &mut Vec<Taken>,
        proofs: &[(Place, Micros)],
        reached: Micros,
        settled: Micros,
    ) -> Option<(Micros, Vec<Taken>)> {
        let whole = |taken: &Taken| match taken.record {
            Record::Edit { transaction, .. } if !taken.joins => Some(transaction),
            _ => None,
        };
        // Of one lane, what came first stands first.
        waiting.sort_by_key(|taken| (taken.order, taken.lane));
        let transaction = whole(waiting.first()?);
        let of_it = |(index, taken): &(usize, &Taken)| {
            let is_behind = waiting[..*index].iter().any(|before| before.lane == taken.lane);
            *index == 0 || transaction.is_some() && (taken.joins && is_behind || whole(taken) == transaction)
        };
        let count = waiting.iter().enumerate().take_while(of_it).count();
        let first_place = waiting[..count].iter().find(|taken| taken.requeued.is_none()).map(|taken| taken.place);
        let mut at = reached;
        for taken in &waiting[..count] {
            let time = match taken.record {
                Record::Edit { transaction, edit, .. } => self.edit(taken.lane, transaction, edit).1.time,
                // When it was read is not when it changed.
                _ if taken.floor > Micros::MIN => taken.floor,
                Record::Reread { snapshot, .. } => self.delivery.rereads[snapshot].time,
                _ => super::world::BEGIN,
            };
            at = at.max(time).max(taken.floor);
        }
        for (proof, from) in proofs {
            if first_place.is_some_and(|first| *proof <= first) {
                at = at.max(*from);
            }
        }
        (at <= settled).then(|| (at, waiting.drain(..count).collect()))
    }

    fn happen(
        &self,
        taken: Taken,
        at: Micros,
        (doubts, baseline): (&Doubts, Option<Micros>),
        owners: &mut BTreeMap<i64, (i64, usize)>,
        lives: &mut Lives,
        verdict: &mut Verdict,
    ) {
        let Taken { lane, offset, record, late, requeued, .. } = taken;
        let database = self.lanes()[lane].database;
        let mut note_left_out = false;
        let run = match record {
            Record::Edit { run, .. } => run,
            Record::Reread { snapshot, .. } => self.delivery.rereads[snapshot].run,
            _ => 0,
        };
        let generation = doubts.generation(database, run);
        let (table, id, before, after, time, position) = match record {
            Record::Edit { transaction, edit, .. } => {
                let (_, change) = self.edit(lane, transaction, edit);
                let Transaction { stands, domain, .. } = self.world.databases[database].log[transaction];
                // Where a clock was set back, what was told before may not have been heard of.
                let is_exact = database == 0 && self.world.databases[database].clock_step.is_none();
                // Up to the baseline and in doubt nothing is judged, and what was read of a topic-partition that has promised nothing
                // may stand above what others were told before.
                let is_judged = Some(at) > baseline && !doubts.is_whole(database, at);
                verdict.lifted |= is_judged
                    && !late
                    && requeued.is_none()
                    && (at > stands || at < change.time || is_exact && at != stands);
                let (number, row) = change.position;
                let position = match database {
                    0 => format!("{:X}/{:X}", row >> 32, row & 0xFFFF_FFFF),
                    _ => format!("{domain}-1-{number}"),
                };
                note_left_out = change.note_left_out;
                let before = Edit::key_of(change.table, &change.before);
                (change.table, change.id, before, change.after.clone(), change.time, position)
            }
            Record::Snapshot(index) => {
                let (table, id, cells) = &self.world.databases[database].snapshot[index];
                (*table, *id, None, Some(cells.clone()), super::world::BEGIN, String::new())
            }
            Record::Reread { snapshot, row } => {
                let of = &self.delivery.rereads[snapshot];
                let (table, id, cells) = &of.rows[row];
                (*table, *id, None, Some(cells.clone()), of.time, String::new())
            }
            _ => unreachable!("only changes are taken"),
        };
        let owned = |key: &i64| (self.partition_of)(*key) == self.partition;
        // A line's event does not say whose it was.
        let before = if table == LINES { owners.remove(&id).map(|(key, _)| key) } else { before.filter(owned) };
        let key = Edit::key_of(table, &after).filter(owned);
        let mut moment = |key: i64, row: Option<Sided>| {
            let moment = lives.entry(key).or_default().entry(at).or_default();
            moment.edits.push(Touch { table, id, row, generation, note_left_out, requeued });
            moment.late |= late;
        };
        if let Some(before) = before.filter(|before| Some(*before) != key) {
            moment(before, None);
        }
        if let (Some(key), Some(cells)) = (key, after) {
            if table == LINES {
                owners.insert(id, (key, generation));
            }
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
                    if let Record::Edit { transaction, edit, .. } = self.lanes()[*lane].records[*offset as usize] {
                        above.insert((self.lanes()[*lane].database, transaction, edit));
                    }
                }
                Line::Mark { lane, time, .. } => broken.extend(self.breaks(*lane, *time, &above)),
                Line::Requeued { .. }
                | Line::Rules { .. }
                | Line::Topics { .. }
                | Line::Gap { .. }
                | Line::Snapshot { .. }
                | Line::Confirm { .. }
                | Line::Acknowledge { .. } => {}
            }
        }
        broken
    }

    fn breaks(&self, lane: usize, time: Micros, above: &BTreeSet<(usize, usize, usize)>) -> Option<String> {
        let database = self.lanes()[lane].database;
        for (index, transaction) in self.world.databases[database].log.iter().enumerate() {
            for (number, edit) in transaction.edits.iter().enumerate() {
                let mine = edit.keys().into_iter().flatten().any(|key| (self.partition_of)(key) == self.partition);
                let here = self.delivery.lane_of(edit.table, edit.id) == lane;
                let lost = self.delivery.lost.contains(&(database, index, number))
                    || self.delivery.is_kept_back((database, index, number));
                if transaction.stands <= time
                    && mine
                    && !lost
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
