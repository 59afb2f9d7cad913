//! One key's rows and episodes, and their life along the timeline.
//!
//! Must not know: other keys, where the state is kept, how a record is written.
//!
//! ```text
//!            grace over         gone                  keep_open_for over
//!   pending ───────────▶ open ────────▶ ending ──────────────────────────▶ resolved
//!      │ gone             ▲    returned   │                                    │
//!      ▼                  └───────────────┘                                    ▼
//!   forgotten                                     a memory for the flap window: what returns
//!                                                 within it continues the lineage
//! ```

mod rows;

pub use self::rows::{Effect, Provenance, Row};
use super::change::{Operation, SourceIndex};
use super::instant::Instant;
use super::rule::{Plan, Rule};
use super::snapshots::Snapshots;
use super::sql::{Answer, Cause};
use super::value::Value;
use super::witness::Witness;

/// Why an episode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The sides agree.
    Converged,
    /// A row was deleted.
    Deleted,
    /// A change that a promise had excluded came after all.
    LateArrival,
    /// The rule is no longer configured.
    RuleRemoved,
}

/// Where an episode stands in its life; see the module's drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Open,
    /// Open, though the disagreement has gone; resolves at `until` unless it returns.
    Ending {
        until: Instant,
        reason: Reason,
    },
}

/// The rows that a rule returned: what the disagreement rests on.
pub type Evidence = Vec<Box<[Value]>>;

/// One uninterrupted stretch of disagreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    pub rule: Box<str>,
    /// Values of the rule's identity columns; empty without them.
    pub identity: Box<[Value]>,
    pub phase: Phase,
    pub since: Instant,
    /// `since` of the first episode of the lineage.
    pub lineage: Instant,
    pub revision: u32,
    pub flap_count: u32,
    /// Escalations already said.
    pub escalated: u32,
    pub evidence: Evidence,
}

/// That a discrepancy was resolved not long ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    pub rule: Box<str>,
    pub identity: Box<[Value]>,
    pub resolved_at: Instant,
    pub lineage: Instant,
    pub flap_count: u32,
}

/// Everything remembered of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// The `at` of its first change.
    pub first_seen: Instant,
    /// False until the key was judged once, at the baseline or later.
    pub judged: bool,
    /// For each source, its rows in order of primary key.
    pub rows: Vec<Vec<Row>>,
    /// In order of rule id, then identity.
    pub episodes: Vec<Episode>,
    /// Resolved discrepancies whose rule has a flap window, in no order.
    pub memories: Vec<Memory>,
}

/// The published life of a discrepancy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Opened,
    Updated,
    Escalated,
    Resolved(Reason),
}

/// One record to publish about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    pub event: Event,
    pub at: Instant,
    /// Index into the plan's rules; `None` where the rule is no longer configured.
    pub rule: Option<usize>,
    pub episode: Episode,
    /// The key's rows at `at`, by source.
    pub rows: Vec<Vec<Row>>,
}

impl KeyState {
    pub fn new(sources: usize, first_seen: Instant) -> KeyState {
        KeyState {
            first_seen,
            judged: false,
            rows: vec![Vec::new(); sources],
            episodes: Vec::new(),
            memories: Vec::new(),
        }
    }

    /// When the key next needs attention without a change; `Instant::MIN` before its first judgement.
    pub fn due(&self, plan: &Plan) -> Option<Instant> {
        if !self.judged {
            return Some(Instant::MIN);
        }
        self.episodes.iter().filter_map(|episode| episode.due(plan)).min()
    }

    /// Roughly what the state takes in memory, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let values = |values: &[Value]| values.iter().map(Value::bytes).sum::<usize>();
        let rows: usize = self.rows.iter().flatten().map(|row| size_of::<Row>() + values(&row.columns)).sum();
        let evidence = |episode: &Episode| episode.evidence.iter().map(|row| values(row)).sum::<usize>();
        let episodes: usize = self.episodes.iter().map(|one| size_of::<Episode>() + evidence(one)).sum();
        let lists = self.rows.len() * size_of::<Vec<Row>>();
        size_of::<KeyState>() + lists + rows + episodes + self.memories.len() * size_of::<Memory>()
    }

    /// What is open now, each as if it had just been said.
    pub fn open(&self, plan: &Plan) -> impl Iterator<Item = Happening> {
        let said = self.episodes.iter().filter(|episode| episode.phase != Phase::Pending);
        said.map(|episode| {
            let rule = plan.rules.iter().position(|rule| rule.id == episode.rule);
            self.happening(Event::Opened, episode.since, rule, episode)
        })
    }

    /// Lives through the key's timeline up to and including `window.until`. `effects` are its settled changes in
    /// timeline order.
    pub fn advance(&mut self, plan: &Plan, effects: Vec<Effect>, window: Window<'_>, out: &mut Told) {
        let mut effects = effects.into_iter().peekable();
        loop {
            let change = effects.peek().map(|effect| effect.at);
            let due = self.due(plan).map(|due| due.max(window.from));
            let now = match (change, due) {
                (Some(change), Some(due)) => change.min(due),
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => return,
            };
            if now > window.until {
                assert!(change.is_none_or(|change| change > now), "a settled change lies beyond the settled time");
                return;
            }
            let mut touched = Touched::default();
            while let Some(effect) = effects.next_if(|effect| effect.at == now) {
                touched.late |= effect.late;
                touched.deleted |= matches!(effect.operation, Operation::Delete { .. });
                touched.sources |= bit(effect.source);
                let primary_key = &plan.catalog.sources[effect.source].primary_key;
                rows::apply(&mut self.rows[effect.source], primary_key, effect);
            }
            if now < window.baseline {
                continue;
            }
            if !self.judged {
                self.judged = true;
                touched.sources = u64::MAX;
            }
            let is_due = || self.due(plan).is_some_and(|due| due <= now);
            if self.is_unsure(plan, window, now) && (touched.sources != 0 || is_due()) {
                touched.sources = u64::MAX;
            }
            if touched.sources != 0 {
                self.judge(plan, now, window, &touched, out);
            }
            self.pass(plan, now, out);
            if let Some(witness) = &mut out.witness {
                witness.see(now, &self.episodes);
            }
        }
    }

    /// Asks every rule that reads what was touched and brings the episodes in line with the answers.
    fn judge(&mut self, plan: &Plan, now: Instant, window: Window<'_>, touched: &Touched, out: &mut Told) {
        let reason = touched.reason();
        self.end_removed_rules(plan, now, out);
        let mut answers = Vec::new();
        {
            let slices: Vec<Vec<&[Value]>> =
                self.rows.iter().map(|rows| rows.iter().map(|row| &*row.columns).collect()).collect();
            let tables: Vec<&[&[Value]]> = slices.iter().map(Vec::as_slice).collect();
            for (index, rule) in plan.rules.iter().enumerate() {
                if rule.query.sources().iter().all(|source| touched.sources & bit(*source) == 0) {
                    continue;
                }
                let none = |cause| Answer { rows: Vec::new(), cannot_compare: Some(cause) };
                let answer = match rule.query.sources().iter().any(|s| self.in_doubt(plan, *s, window, now)) {
                    true => none(Cause::Unconfirmed),
                    false if self.absence_unsure(plan, rule, window, now) => none(Cause::Unknown),
                    false => identified(rule, rule.query.evaluate(&tables)),
                };
                if let Some(witness) = &mut out.witness {
                    witness.hear(now, &rule.id, &answer);
                }
                if answer.cannot_compare.is_some() {
                    out.cannot_compare.push(index);
                }
                if !answer.rows.is_empty() || self.episodes.iter().any(|episode| episode.rule == rule.id) {
                    answers.push((index, answer));
                }
            }
        }
        for (index, answer) in answers {
            self.confront(plan, index, answer, Judgement { now, reason }, out);
        }
    }

    /// True where what a source's connector has not said yet, or a row that it has not seen again, may change what is known.
    fn in_doubt(&self, plan: &Plan, source: SourceIndex, window: Window<'_>, now: Instant) -> bool {
        let Some(doubt) = window.snapshots.doubt(plan.sources[source].connector, now) else { return false };
        let is_confirmed = window.snapshots.confirmed[source] >= doubt.generation;
        let is_unseen = |row: &Row| row.provenance.generation < doubt.generation;
        doubt.is_whole || !is_confirmed && self.rows[source].iter().any(is_unseen)
    }

    /// True where some rule may be unable to say what it said at another instant, or said it while it was not.
    fn is_unsure(&self, plan: &Plan, window: Window<'_>, now: Instant) -> bool {
        !window.snapshots.is_empty()
            && (window.snapshots.is_open(now)
                || (0..self.rows.len()).any(|source| self.in_doubt(plan, source, window, now)))
    }

    /// True where a source whose history is known only in part has no row of a key that may be older than it.
    fn absence_unsure(&self, plan: &Plan, rule: &Rule, window: Window<'_>, now: Instant) -> bool {
        rule.query.sources().iter().any(|source| {
            let began = || window.snapshots.began(plan.sources[*source].connector, now).unwrap_or(Instant::MIN);
            let is_partial = plan.sources[*source].partial_history && self.rows[*source].is_empty();
            is_partial && self.first_seen <= window.baseline.max(began())
        })
    }

    fn end_removed_rules(&mut self, plan: &Plan, now: Instant, out: &mut Told) {
        let removed = |rule: &str| !plan.rules.iter().any(|known| &*known.id == rule);
        let (ended, kept) = std::mem::take(&mut self.episodes).into_iter().partition(|e| removed(&e.rule));
        self.episodes = kept;
        self.memories.retain(|memory| !removed(&memory.rule));
        let ended: Vec<Episode> = ended;
        for mut episode in ended.into_iter().filter(|episode| episode.phase != Phase::Pending) {
            episode.revision += 1;
            out.happenings.push(self.happening(Event::Resolved(Reason::RuleRemoved), now, None, &episode));
        }
    }

    /// Brings one rule's episodes in line with its answer.
    fn confront(&mut self, plan: &Plan, index: usize, answer: Answer, judgement: Judgement, out: &mut Told) {
        let rule = &plan.rules[index];
        let known = answer.cannot_compare.is_none();
        let mut groups = group(rule, answer.rows);
        let mut kept = Vec::with_capacity(self.episodes.len());
        for mut episode in std::mem::take(&mut self.episodes) {
            if episode.rule != rule.id {
                kept.push(episode);
                continue;
            }
            let returned = groups.iter().position(|(identity, _)| *identity == episode.identity);
            let fate = match returned.map(|at| groups.remove(at).1) {
                Some(evidence) => episode.returned(evidence, known),
                None => episode.absent(rule, known, judgement),
            };
            if let Fate::Says(event) | Fate::Ends(event) = fate {
                out.happenings.push(self.happening(event, judgement.now, Some(index), &episode));
            }
            match fate {
                Fate::Lives | Fate::Says(_) => kept.push(episode),
                Fate::Ends(_) => self.remember(rule, &episode, judgement.now),
                Fate::Vanishes => {}
            }
        }
        for (identity, evidence) in groups {
            kept.push(self.begin(rule, identity, evidence, judgement.now));
        }
        kept.sort_by(|a, b| (&a.rule, &a.identity).cmp(&(&b.rule, &b.identity)));
        self.episodes = kept;
    }

    fn begin(&self, rule: &Rule, identity: Box<[Value]>, evidence: Evidence, now: Instant) -> Episode {
        let memory = self.memories.iter().find(|memory| {
            memory.rule == rule.id
                && memory.identity == identity
                && now <= memory.resolved_at.plus(rule.flap_window_us)
        });
        Episode {
            rule: rule.id.clone(),
            phase: Phase::Pending,
            since: now,
            lineage: memory.map_or(now, |memory| memory.lineage),
            flap_count: memory.map_or(0, |memory| memory.flap_count + 1),
            revision: 0,
            escalated: 0,
            identity,
            evidence,
        }
    }

    fn remember(&mut self, rule: &Rule, episode: &Episode, now: Instant) {
        let current = |memory: &Memory| {
            let same = memory.rule == episode.rule && memory.identity == episode.identity;
            let old = memory.rule == rule.id && now > memory.resolved_at.plus(rule.flap_window_us);
            !same && !old
        };
        self.memories.retain(current);
        if rule.flap_window_us > 0 {
            self.memories.push(Memory {
                rule: episode.rule.clone(),
                identity: episode.identity.clone(),
                resolved_at: now,
                lineage: episode.lineage,
                flap_count: episode.flap_count,
            });
        }
    }

    /// Lets every deadline up to `now` happen.
    fn pass(&mut self, plan: &Plan, now: Instant, out: &mut Told) {
        let mut index = 0;
        while index < self.episodes.len() {
            if self.episodes[index].due(plan).is_none_or(|due| due > now) {
                index += 1;
                continue;
            }
            let rule = plan.rules.iter().position(|rule| rule.id == self.episodes[index].rule);
            let rule = rule.expect("only a configured rule's episode is due");
            let event = self.episodes[index].fall_due();
            out.happenings.push(self.happening(event, now, Some(rule), &self.episodes[index]));
            if let Event::Resolved(_) = event {
                let episode = self.episodes.remove(index);
                self.remember(&plan.rules[rule], &episode, now);
            }
        }
    }

    fn happening(&self, event: Event, at: Instant, rule: Option<usize>, episode: &Episode) -> Happening {
        Happening { event, at, rule, episode: episode.clone(), rows: self.rows.clone() }
    }
}

/// What a key's life along a stretch of the timeline brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What is to be published, in timeline order.
    pub happenings: Vec<Happening>,
    /// Index of a rule for each time that its answer was uncertain.
    pub cannot_compare: Vec<usize>,
    /// `None` where nobody watches.
    pub witness: Option<Box<Witness>>,
}

/// The stretch of the timeline that a key lives through in one step.
#[derive(Clone, Copy, Debug)]
pub struct Window<'w> {
    /// Nothing before this is judged.
    pub baseline: Instant,
    /// A key that was not judged yet, or whose rules have changed, is judged here first: no earlier than the
    /// baseline, no earlier than the settled time before this step.
    pub from: Instant,
    /// The settled time.
    pub until: Instant,
    pub snapshots: &'w Snapshots,
}

#[derive(Default)]
struct Touched {
    /// A [`bit`] for each source.
    sources: u64,
    late: bool,
    deleted: bool,
}

/// A source's bit; those beyond the 63rd share one.
fn bit(source: SourceIndex) -> u64 {
    1 << source.min(63)
}

impl Touched {
    fn reason(&self) -> Reason {
        if self.late {
            Reason::LateArrival
        } else if self.deleted {
            Reason::Deleted
        } else {
            Reason::Converged
        }
    }
}

/// Without rows whose identity is unknown: which disagreement they are cannot be said.
fn identified(rule: &Rule, mut answer: Answer) -> Answer {
    let count = answer.rows.len();
    answer.rows.retain(|row| rule.identity.iter().all(|column| row[*column] != Value::Unknown));
    if answer.rows.len() < count {
        answer.cannot_compare.get_or_insert(Cause::Unknown);
    }
    answer
}

/// Splits a rule's rows by identity; the rows of each, and the groups, in order.
fn group(rule: &Rule, mut rows: Evidence) -> Vec<(Box<[Value]>, Evidence)> {
    rows.sort();
    let mut groups: Vec<(Box<[Value]>, Evidence)> = Vec::new();
    for row in rows {
        let identity: Box<[Value]> = rule.identity.iter().map(|column| row[*column].clone()).collect();
        match groups.iter_mut().find(|(known, _)| *known == identity) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((identity, vec![row])),
        }
    }
    groups
}

impl Episode {
    /// The next instant at which something happens to the episode by the passing of time alone.
    pub fn due(&self, plan: &Plan) -> Option<Instant> {
        let rule = plan.rules.iter().find(|rule| rule.id == self.rule)?;
        match self.phase {
            Phase::Pending => Some(self.since.plus(rule.grace_us)),
            Phase::Open => rule.escalations.get(self.escalated as usize).map(|step| self.since.plus(step.after_us)),
            Phase::Ending { until, .. } => Some(until),
        }
    }

    fn fall_due(&mut self) -> Event {
        self.revision += 1;
        match self.phase {
            Phase::Pending => {
                self.phase = Phase::Open;
                Event::Opened
            }
            Phase::Open => {
                self.escalated += 1;
                Event::Escalated
            }
            Phase::Ending { reason, .. } => Event::Resolved(reason),
        }
    }

    /// The rule returned the disagreement; `known` is false where rows may be missing.
    fn returned(&mut self, evidence: Evidence, known: bool) -> Fate {
        if self.phase == Phase::Pending {
            self.evidence = evidence;
            return Fate::Lives;
        }
        self.phase = Phase::Open;
        let differs = known && self.evidence != evidence;
        if differs {
            self.evidence = evidence;
        }
        self.revision += u32::from(differs);
        if differs { Fate::Says(Event::Updated) } else { Fate::Lives }
    }

    /// The rule did not return the disagreement; `known` is false where it could not compare.
    fn absent(&mut self, rule: &Rule, known: bool, Judgement { now, reason }: Judgement) -> Fate {
        match self.phase {
            Phase::Pending => Fate::Vanishes,
            Phase::Ending { .. } => Fate::Lives,
            Phase::Open if !known => Fate::Lives,
            Phase::Open if rule.keep_open_for_us > 0 => {
                self.phase = Phase::Ending { until: now.plus(rule.keep_open_for_us), reason };
                Fate::Lives
            }
            Phase::Open => {
                self.revision += 1;
                Fate::Ends(Event::Resolved(reason))
            }
        }
    }
}

/// What becomes of an episode when its rule was asked.
#[derive(Clone, Copy)]
enum Fate {
    Lives,
    /// It lives on, and there is something to say.
    Says(Event),
    /// It was open and is over.
    Ends(Event),
    /// It was pending and is over: nobody heard of it.
    Vanishes,
}

#[derive(Clone, Copy)]
struct Judgement {
    now: Instant,
    reason: Reason,
}
