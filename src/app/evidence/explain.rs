//! `evenkeel explain`: replays an order's partition and keeps what happened to it.
//!
//! Must not know: how it looks. The whole partition is replayed, other orders and all: a change's place on the timeline
//! depends on all that its connector sent before.

mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::rows::Rows;
use super::EvidenceError;
use super::account::{Account, Answered, Arrival, Block, Changed, Event, Judged, Promise, Shown, Standing, What};
use super::desk::Desk;
use super::player::{Player, Step};
use super::verdict::{Facts, Halt, Holder, Verdict};
use crate::adapters::records::event_name;
use crate::app::pen::Pen;
use crate::app::settings::Settings;
use crate::domain::change::{Key, SourceIndex, TopicPartition};
use crate::domain::instant::Instant;
use crate::domain::key_state::{Episode, Phase};
use crate::domain::record::{Content, Record};
use crate::domain::routing::partition_of;
use crate::domain::rule::Plan;
use crate::domain::sql::{Cause, EvalError};
use crate::domain::timeline::Admission;
use crate::domain::witness::Moment;
use crate::task::reconcile::{Placed, Sight};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    pub key: Key,
    /// How it stood then; `None` is how it stands.
    pub at: Option<Instant>,
    /// Only what this rule says.
    pub rule: Option<String>,
}

/// Finds out why an order is where it is.
pub fn explain(desk: &Desk, question: &Question) -> Result<Account, EvidenceError> {
    let partition = partition_of(question.key.0.as_bytes(), desk.settings.topics.partitions);
    let mut player = desk.player(partition, None)?;
    player.task.watch(question.key.clone());
    let mut inquiry = Inquiry::begin(desk, question, &player)?;
    while let Some(step) = player.step()? {
        inquiry.hear(&step, &mut player);
        if inquiry.is_over(&player) {
            break;
        }
    }
    inquiry.must_know_rule()?;
    Ok(inquiry.conclude(&player))
}

/// An account under way.
struct Inquiry<'q> {
    desk: &'q Desk,
    question: &'q Question,
    pen: Pen<&'q Settings>,
    plan: Arc<Plan>,
    rows: Rows,
    account: Account,
    /// Changes that came and did not settle yet, in log order.
    arrivals: Vec<(TopicPartition, Arrival)>,
    /// For each source, how far its history was known before the block under way, and is known now.
    before: Vec<Option<Instant>>,
    now: Vec<Option<Instant>>,
    episodes: Vec<Episode>,
    /// By rule, why it could not say when it was last asked; `None` where it could.
    unsure: BTreeMap<Box<str>, Option<String>>,
    /// The ids of all that were in force at any time.
    rules: BTreeSet<Box<str>>,
    is_known: bool,
    is_judged: bool,
}

impl<'q> Inquiry<'q> {
    fn begin(desk: &'q Desk, question: &'q Question, player: &Player<'_>) -> Result<Inquiry<'q>, EvidenceError> {
        let plan = Arc::clone(player.task.plan());
        let frontiers = player.task.frontiers();
        let names = plan.catalog.sources.iter().map(|table| table.name.clone());
        let account = Account {
            reconciliation: plan.reconciliation.to_string(),
            key: question.key.0.to_string(),
            partition: player.partition,
            partitions: desk.settings.topics.partitions,
            began: player.began,
            known_before: Vec::new(),
            end: player.began,
            last_block: None,
            settled: None,
            frontiers: names.zip(&frontiers).map(|(name, frontier)| (name, *frontier, None)).collect(),
            events: Vec::new(),
            waiting: Vec::new(),
            dropped: Vec::new(),
            verdict: Verdict::default(),
        };
        let mut inquiry = Inquiry {
            desk,
            question,
            pen: Pen::new(&desk.settings),
            rows: Rows::default(),
            account,
            arrivals: Vec::new(),
            before: frontiers.clone(),
            now: frontiers,
            episodes: Vec::new(),
            unsure: BTreeMap::new(),
            rules: ids(&plan).collect(),
            is_known: false,
            is_judged: false,
            plan,
        };
        if let Some(state) = player.task.look(&question.key)? {
            inquiry.begin_with(state);
        }
        Ok(inquiry)
    }

    /// What a state knew of the order.
    fn begin_with(&mut self, state: crate::domain::key_state::KeyState) {
        self.is_known = true;
        self.is_judged = state.judged;
        self.episodes = state.episodes;
        for (source, rows) in state.rows.into_iter().enumerate() {
            let table = &self.plan.catalog.sources[source];
            for row in rows {
                let shown = self.pen.renderer(&self.plan).row(source, &table.columns, &row.columns);
                self.account.known_before.push((table.name.clone(), shown));
                self.rows.put(&self.plan, source, row.columns);
            }
        }
    }

    fn is_over(&self, player: &Player<'_>) -> bool {
        let settled = player.task.settled();
        self.question.at.is_some_and(|at| !player.task.is_settling() && settled.is_some_and(|settled| settled >= at))
    }

    fn hear(&mut self, step: &Step, player: &mut Player<'_>) {
        let block = Block { offset: step.offset, written_at: step.written_at };
        if self.account.last_block != Some(block) {
            self.before.clone_from(&self.now);
        }
        self.account.last_block = Some(block);
        self.account.end = step.offset + 1;
        self.look_at_sources(player, block);
        let mut events = Vec::new();
        self.hear_of_rules(player, &mut events);
        for sight in player.task.seen() {
            match sight {
                Sight::Came { source, topic_partition, offset, admission } => {
                    self.come(source, topic_partition, offset, admission, block);
                }
                Sight::Settled(placed) => events.push(self.settle(*placed)),
                Sight::Lived(moment) => events.extend(self.live(moment, block)),
            }
        }
        events.extend(step.records.iter().filter_map(|record| self.say(record)));
        let asked = self.question.at.unwrap_or(Instant::MAX);
        events.retain(|event| event.at <= asked);
        events.sort_by_key(|event| (event.at, rank(&event.what)));
        self.account.events.extend(events);
    }

    fn look_at_sources(&mut self, player: &Player<'_>, block: Block) {
        self.now = player.task.frontiers();
        for (known, now) in self.account.frontiers.iter_mut().zip(&self.now) {
            if known.1 != *now {
                (known.1, known.2) = (*now, Some(block));
            }
        }
    }

    fn hear_of_rules(&mut self, player: &Player<'_>, events: &mut Vec<Event>) {
        if Arc::ptr_eq(&self.plan, player.task.plan()) {
            return;
        }
        self.plan = Arc::clone(player.task.plan());
        self.rules.extend(ids(&self.plan));
        let (known, ids) = (self.is_known, self.plan.rules.iter().map(|rule| rule.id.to_string()).collect());
        if let (true, Some(at)) = (known, player.task.settled()) {
            events.push(Event { at, what: What::Rules { ids } });
        }
    }

    fn come(
        &mut self,
        source: SourceIndex,
        topic_partition: TopicPartition,
        offset: i64,
        admission: Admission,
        came: Block,
    ) {
        self.is_known = true;
        let arrival = Arrival {
            source: self.plan.catalog.sources[source].name.clone(),
            topic: topic_partition.topic.to_string(),
            partition: topic_partition.partition,
            offset,
            came,
        };
        match admission {
            Admission::Replayed | Admission::Repeated | Admission::Foreign => self.account.dropped.push(arrival),
            Admission::Taken | Admission::Late | Admission::NewEpoch | Admission::Ahead | Admission::Requeued => {
                self.arrivals.push((topic_partition, arrival));
            }
        }
    }

    fn settle(&mut self, placed: Placed) -> Event {
        self.is_known = true;
        let Placed { at, late, source, operation, source_time, position, topic_partition, offset } = placed;
        let is_it = |(id, arrival): &(TopicPartition, Arrival)| *id == topic_partition && arrival.offset == offset;
        let came = self.arrivals.iter().position(is_it).map(|index| self.arrivals.remove(index).1.came);
        let (before, after) = self.rows.apply(&self.plan, source, operation);
        let table = &self.plan.catalog.sources[source];
        let renderer = self.pen.renderer(&self.plan);
        let shown = |row: &Option<rows::Row>| row.as_ref().map(|row| renderer.row(source, &table.columns, row));
        let (shown_before, shown_after) = (shown(&before), shown(&after));
        let changed = rows::changed(&table.columns, before.as_deref(), after.as_deref());
        let is_shown = |name: &String| shown_after.as_ref().is_some_and(|row: &Shown| row.contains_key(name));
        let changed = changed.into_iter().filter(is_shown).collect();
        let changed = Changed {
            source: table.name.clone(),
            before: shown_before,
            after: shown_after,
            changed,
            late,
            source_time,
            position,
            topic: topic_partition.topic.to_string(),
            partition: topic_partition.partition,
            offset,
            came,
        };
        Event { at, what: What::Changed(Box::new(changed)) }
    }

    fn live(&mut self, moment: Moment, block: Block) -> Option<Event> {
        let Moment { at, answers, episodes } = moment;
        if self.question.at.is_some_and(|asked| at > asked) {
            return None;
        }
        self.is_judged = true;
        let mut answered = Vec::new();
        for (rule, answer) in answers {
            let cannot_compare = answer.cannot_compare.as_ref().map(reason);
            self.unsure.insert(rule.clone(), cannot_compare.clone());
            if !self.asks_for(&rule) {
                continue;
            }
            let index = self.plan.rules.iter().position(|known| known.id == rule).expect("it was just asked");
            let renderer = self.pen.renderer(&self.plan);
            let rows: Vec<Shown> = answer.rows.iter().map(|row| renderer.answer(&self.plan, index, row)).collect();
            let is_over = rows.is_empty() && self.episodes.iter().any(|episode| episode.rule == rule);
            answered.push(Answered { rule: rule.to_string(), rows, cannot_compare, is_over });
        }
        self.episodes = episodes;
        let judged = Judged { promise: self.promise(), block, answers: answered, episodes: self.standings() };
        Some(Event { at, what: What::Judged(Box::new(judged)) })
    }

    fn asks_for(&self, rule: &str) -> bool {
        self.question.rule.as_deref().is_none_or(|asked| asked == rule)
    }

    /// What the sources that had promised least before the block have promised with it.
    fn promise(&self) -> Option<Promise> {
        let before = *self.before.iter().min()?;
        let after = self.now.iter().min().copied().flatten().filter(|after| Some(*after) != before)?;
        let names = self.plan.catalog.sources.iter().map(|table| &table.name);
        let held = names.zip(&self.before).filter(|(_, frontier)| **frontier == before);
        Some(Promise { sources: held.map(|(name, _)| name.clone()).collect(), before, after })
    }

    fn standings(&mut self) -> Vec<Standing> {
        let renderer = self.pen.renderer(&self.plan);
        let evidence = |episode: &Episode| {
            let rule = self.plan.rules.iter().position(|rule| rule.id == episode.rule);
            let rows = rule.into_iter().flat_map(|rule| episode.evidence.iter().map(move |row| (rule, row)));
            rows.map(|(rule, row)| renderer.answer(&self.plan, rule, row)).collect()
        };
        let is_asked = |rule: &str| self.question.rule.as_deref().is_none_or(|asked| asked == rule);
        let asked = self.episodes.iter().filter(|episode| is_asked(&episode.rule));
        let standing = |episode: &Episode| Standing {
            rule: episode.rule.to_string(),
            evidence: evidence(episode),
            phase: match episode.phase {
                Phase::Pending => "pending",
                Phase::Open => "open",
                Phase::Ending { .. } => "ending",
            },
            since: episode.since,
            due: episode.due(&self.plan),
        };
        asked.map(standing).collect()
    }

    fn say(&mut self, record: &Record) -> Option<Event> {
        let Content::Discrepancy(discrepancy) = &record.content else { return None };
        if discrepancy.key != self.question.key || !self.asks_for(&discrepancy.rule) {
            return None;
        }
        let cause = format!("{}:{}", record.cause.offset, record.cause.number);
        let message = self.pen.message(&self.plan, self.account.partition, record);
        let body = serde_json::from_slice(&message.body.unwrap_or_default()).expect("a body is JSON");
        let kind = event_name(discrepancy.event).to_owned();
        Some(Event { at: discrepancy.at, what: What::Said { cause, kind, body } })
    }

    /// Of a rule that never was, it would be said that all is fine.
    fn must_know_rule(&self) -> Result<(), EvidenceError> {
        let Some(rule) = self.question.rule.as_ref().filter(|rule| !self.rules.contains(rule.as_str())) else {
            return Ok(());
        };
        let known = self.rules.iter().map(|known| &**known).collect::<Vec<_>>().join(", ");
        Err(EvidenceError::NoRule { rule: rule.clone(), known })
    }

    fn conclude(mut self, player: &Player<'_>) -> Account {
        let settled = player.task.settled();
        let standings = self.standings();
        let sources = &self.plan.catalog.sources;
        let holder = player.task.least_promised().map(|(source, id, frontier)| Holder {
            source: sources[source].name.clone(),
            topic: id.topic.to_string(),
            partition: id.partition,
            frontier,
            since: self.account.frontiers[source].2,
        });
        let halt = |(source, id, gap): (SourceIndex, &TopicPartition, crate::domain::change::Gap)| Halt {
            source: sources[source].name.clone(),
            topic: id.topic.to_string(),
            partition: id.partition,
            cause: gap.cause,
            expected: gap.expected,
            found: gap.found,
        };
        let unsure = self.unsure.iter().filter(|(rule, _)| self.asks_for(rule));
        let left_out = player.task.left_out().iter().filter(|rule| self.asks_for(rule));
        let facts = Facts {
            at: self.question.at,
            is_known: self.is_known,
            is_judged: self.is_judged,
            settled,
            last_block: self.account.last_block,
            waiting: self.arrivals.len(),
            standings,
            unsure: unsure.filter_map(|(rule, why)| Some((rule.to_string(), why.clone()?))).collect(),
            left_out: left_out.map(|rule| rule.to_string()).collect(),
            halts: player.task.halted().map(halt).collect(),
            holder,
            stall_after_us: self.desk.settings.patience.stall_after_us,
        };
        self.account.verdict = Verdict::of(&facts);
        self.account.settled = settled;
        self.account.waiting = self.arrivals.into_iter().map(|(_, arrival)| arrival).collect();
        self.account
    }
}

fn ids(plan: &Plan) -> impl Iterator<Item = Box<str>> {
    plan.rules.iter().map(|rule| rule.id.clone())
}

/// Of what happens at one instant, what comes first.
fn rank(what: &What) -> u8 {
    match what {
        What::Changed(_) => 0,
        What::Rules { .. } => 1,
        What::Judged(_) => 2,
        What::Said { .. } => 3,
    }
}

/// Without the value that it is about, which may be one that nobody is to see.
fn reason(cause: &Cause) -> String {
    match cause {
        Cause::Unknown => {
            "it rests on a value that the source could not give, or on the absence of a row that may be older than what is \
             known of its source"
                .to_owned()
        }
        Cause::Unconfirmed => {
            "its connector has taken a new snapshot, which has not told of it, or not yet (evenkeel confirm)".to_owned()
        }
        Cause::Error(EvalError::BadCast { ty, .. }) => format!("a value is no {ty}"),
        Cause::Error(error) => error.to_string(),
    }
}
