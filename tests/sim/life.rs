//! The oracle's second half: a key's life along its timeline, and what must be said of it.

use std::collections::{BTreeMap, BTreeSet};

use super::doubts::Doubts;
use super::oracle::Verdict;
use super::rules::{Answer, Asked, Book, Rows};
use super::world::{Cell, Cells, Micros};

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
    /// Resolved, as its rule is no more.
    Removed,
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

/// What happened to one key at one instant.
#[derive(Default)]
pub struct Moment {
    pub edits: Vec<Touch>,
    pub late: bool,
}

/// What became of a row.
pub struct Touch {
    pub table: usize,
    pub id: i64,
    /// `None` where it has left the key.
    pub row: Option<Sided>,
    /// How many snapshots of its connector came before what told of it.
    pub generation: usize,
    /// True where the event did not say the order's note.
    pub note_left_out: bool,
    /// Where it is said again: what is known from this offset on stays.
    pub requeued: Option<i64>,
}

/// A block of a partition's log from which on the rules are others, or snapshots known. Every key is judged anew there.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Which book the rules are of from here on.
    pub book: usize,
    /// The block; it causes what is said of it.
    pub cause: i64,
    /// Up to where every key has lived; `None` where nothing is settled.
    pub lived: Option<Micros>,
    /// By table, rows of earlier generations are taken away.
    pub leaving: [usize; 3],
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

/// What one key's life depends on.
pub struct Life<'l> {
    pub key: i64,
    pub books: &'l [Book],
    pub turns: &'l [Turn],
    /// When the key was first heard of.
    pub began: Micros,
    /// For each table, whether its history is known in part only.
    pub partial: [bool; 3],
    pub baseline: Micros,
    pub until: Micros,
    /// For each block, how far its partition was settled by it.
    pub settled_by: &'l [Option<Micros>],
    /// And what was in doubt then.
    pub doubts_by: &'l [Doubts],
}

type Id = (&'static str, Cells);

/// Before the log says anything.
static NO_RULES: Book = Book::new();

struct Story<'l> {
    book: &'l Book,
    rows: BTreeMap<(usize, i64), Sided>,
    generations: BTreeMap<(usize, i64), usize>,
    episodes: BTreeMap<Id, Episode>,
    /// When it was last resolved, its lineage, its flap count.
    memories: BTreeMap<Id, (Micros, Micros, u32)>,
    /// The block that causes what is said now, where that is not the one that settles it.
    cause: Option<i64>,
    said: Vec<Said>,
    /// How often something stayed open because nobody could say whether it was over.
    held: u64,
}

impl Story<'_> {
    fn asked(&self, rule: &str) -> Option<&Asked> {
        self.book.iter().find(|asked| asked.meaning.id == rule)
    }

    fn patience(&self, rule: &str) -> &super::rules::Patience {
        &self.asked(rule).expect("episodes of other rules have ended").patience
    }
}

impl Life<'_> {
    pub fn live(&self, mut life: BTreeMap<Micros, Moment>, verdict: &mut Verdict) {
        if self.began <= self.baseline {
            life.entry(self.baseline).or_default();
        }
        let mut story = Story {
            book: &NO_RULES,
            rows: BTreeMap::new(),
            generations: BTreeMap::new(),
            episodes: BTreeMap::new(),
            memories: BTreeMap::new(),
            cause: None,
            said: Vec::new(),
            held: 0,
        };
        let mut turns = self.turns.iter().peekable();
        for (at, moment) in life.into_iter().take_while(|(at, _)| *at <= self.until) {
            while let Some(turn) = turns.next_if(|turn| turn.lived.is_none_or(|lived| lived < at)) {
                self.turn(&mut story, turn);
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
        turns.for_each(|turn| self.turn(&mut story, turn));
        self.fall_due(&mut story, Micros::MIN, self.until);
        verdict.held += story.held;
        for ((rule, identity), episode) in story.episodes {
            if episode.open {
                verdict.open.insert((self.key, rule, identity));
            }
        }
        if !story.said.is_empty() {
            verdict.said.insert(self.key, story.said);
        }
    }

    /// The rules are exchanged: the old ones hold for everything that was settled, the new ones judge what is there
    /// now. What would be overdue by them falls due now.
    fn turn<'l>(&'l self, story: &mut Story<'l>, turn: &Turn) {
        let judged = turn.lived.filter(|lived| *lived >= self.baseline);
        if let Some(lived) = judged {
            self.fall_due(story, Micros::MIN, lived);
        }
        story.book = &self.books[turn.book];
        if let Some(lived) = judged.filter(|lived| self.began <= *lived) {
            story.cause = Some(turn.cause);
            let known = story.rows.len();
            let Story { rows, generations, .. } = &mut *story;
            rows.retain(|id, _| generations[id] >= turn.leaving[id.0]);
            self.end_removed_rules(story, lived);
            let reason = if story.rows.len() < known { Event::Deleted } else { Event::Converged };
            self.confront(story, lived, reason);
            self.fall_due(story, lived, lived);
            story.cause = None;
        }
    }

    fn end_removed_rules(&self, story: &mut Story<'_>, at: Micros) {
        let removed = |rule: &str| story.asked(rule).is_none();
        let ended: Vec<Id> = story.episodes.keys().filter(|(rule, _)| removed(rule)).cloned().collect();
        let forgotten: Vec<Id> = story.memories.keys().filter(|(rule, _)| removed(rule)).cloned().collect();
        for id in ended {
            let mut episode = story.episodes.remove(&id).expect("it was listed");
            if episode.open {
                self.say(story, &id, &mut episode, Event::Removed, at);
            }
        }
        for id in forgotten {
            story.memories.remove(&id);
        }
    }

    /// True where a row has left the key.
    fn apply(&self, story: &mut Story<'_>, moment: &Moment) -> bool {
        for Touch { table, id, row, generation, note_left_out, requeued } in &moment.edits {
            let known = story.rows.get(&(*table, *id));
            if known.is_some_and(|known| requeued.is_some_and(|until| known.offset >= until)) {
                continue;
            }
            let before = story.rows.remove(&(*table, *id));
            if let Some(mut row) = row.clone() {
                if *note_left_out {
                    row.cells[3] = before.map_or(Cell::Unknown, |before| before.cells[3].clone());
                }
                story.rows.insert((*table, *id), row);
                story.generations.insert((*table, *id), *generation);
            }
        }
        moment.edits.iter().any(|touch| touch.row.is_none())
    }

    /// The block that is applied when something is judged.
    fn block_of(&self, story: &Story<'_>, at: Micros) -> usize {
        let settles = || self.settled_by.partition_point(|settled| settled.is_none_or(|settled| settled < at));
        story.cause.map_or_else(settles, |cause| cause as usize)
    }

    fn is_doubtful(&self, story: &Story<'_>, table: usize, at: Micros) -> bool {
        let of_table = story.rows.keys().filter(|(of, _)| *of == table).map(|id| story.generations[id]);
        self.doubts_by[self.block_of(story, at)].is_doubtful(table, at, of_table)
    }

    /// What the rules say, and which of them cannot say whether that is all.
    fn answers(&self, story: &Story<'_>, at: Micros) -> (BTreeMap<Id, Vec<Cells>>, BTreeSet<&'static str>) {
        let mut rows: Rows<'_> = Default::default();
        for ((table, _), sided) in &story.rows {
            rows[*table].push(&sided.cells);
        }
        let mut answers: BTreeMap<Id, Vec<Cells>> = BTreeMap::new();
        let mut unsure = BTreeSet::new();
        let doubts = &self.doubts_by[self.block_of(story, at)];
        for Asked { meaning, .. } in story.book {
            if meaning.reads.iter().any(|table| self.is_doubtful(story, *table, at)) {
                unsure.insert(meaning.id);
                continue;
            }
            // Of a key that may be older than what is known of a table, the absence of rows says nothing.
            let lacks = |table: &usize| {
                let may_be_older = self.began <= self.baseline.max(doubts.began(*table, at));
                self.partial[*table] && rows[*table].is_empty() && may_be_older
            };
            if meaning.reads.iter().any(lacks) {
                unsure.insert(meaning.id);
                continue;
            }
            let Answer { rows, is_unsure } = (meaning.answer)(&rows);
            if is_unsure {
                unsure.insert(meaning.id);
            }
            for row in rows {
                let identity: Cells = meaning.identity.iter().map(|column| row[*column].clone()).collect();
                // Which disagreement it is cannot be said.
                if identity.contains(&Cell::Unknown) {
                    unsure.insert(meaning.id);
                    continue;
                }
                answers.entry((meaning.id, identity)).or_default().push(row);
            }
        }
        answers.values_mut().for_each(|rows| rows.sort());
        (answers, unsure)
    }

    fn confront(&self, story: &mut Story<'_>, at: Micros, reason: Event) {
        let (mut answers, unsure) = self.answers(story, at);
        for id in story.episodes.keys().cloned().collect::<Vec<_>>() {
            let mut episode = story.episodes.remove(&id).expect("it was listed");
            let keep_open_for = story.patience(id.0).keep_open_for;
            match answers.remove(&id) {
                // What may lack rows is no news.
                Some(_) if episode.open && unsure.contains(id.0) => {
                    episode.ends = None;
                    story.episodes.insert(id, episode);
                }
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
                None if episode.ends.is_some() || unsure.contains(id.0) => {
                    story.held += u64::from(episode.ends.is_none());
                    story.episodes.insert(id, episode);
                }
                None if keep_open_for > 0 => {
                    episode.ends = Some((at + keep_open_for, reason));
                    story.episodes.insert(id, episode);
                }
                None => self.resolve(story, &id, episode, reason, at),
            }
        }
        for (id, evidence) in answers {
            let flap_window = story.patience(id.0).flap_window;
            let memory = story.memories.get(&id).filter(|(resolved, _, _)| at <= resolved + flap_window);
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

    fn resolve(&self, story: &mut Story<'_>, id: &Id, mut episode: Episode, reason: Event, at: Micros) {
        self.say(story, id, &mut episode, reason, at);
        let flap_window = story.patience(id.0).flap_window;
        story.memories.remove(id);
        // By the window of another configuration, what is forgotten here might have been remembered.
        story.memories.retain(|(rule, _), (resolved, ..)| *rule != id.0 || at <= *resolved + flap_window);
        if flap_window > 0 {
            story.memories.insert(id.clone(), (at, episode.lineage, episode.flap_count));
        }
    }

    /// Everything that falls due by the passing of time, up to an instant. What fell due before `from`, while the
    /// episode was ending or the rules were others, is said then.
    fn fall_due(&self, story: &mut Story<'_>, from: Micros, until: Micros) {
        let mut confronted = None;
        loop {
            let due = |(id, episode): (&Id, &Episode)| {
                let patience = story.patience(id.0);
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
            // What is not sure any more does not fall due.
            let is_unsure = self.doubts_by[self.block_of(story, at)].are_open(at)
                || (0..3).any(|table| self.is_doubtful(story, table, at));
            if is_unsure && confronted.replace(at) != Some(at) {
                self.confront(story, at, Event::Converged);
                continue;
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

    fn say(&self, story: &mut Story<'_>, id: &Id, episode: &mut Episode, event: Event, at: Micros) {
        episode.revision += 1;
        let cause = self.block_of(story, at);
        let mut sides: [Vec<Sided>; 3] = Default::default();
        for ((table, _), sided) in &story.rows {
            sides[*table].push(sided.clone());
        }
        story.said.push(Said {
            key: self.key,
            cause: cause as i64,
            event,
            rule: id.0,
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
