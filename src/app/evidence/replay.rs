//! `evenkeel replay`: what the pure function says of the changes log, by the rules of the time or by others, beside what was
//! published.
//!
//! Must not know: how a partition is replayed (`player`), how records are compared (`difference`).

use std::collections::BTreeSet;
use std::fmt;

use super::EvidenceError;
use super::desk::Desk;
use super::difference::{Comparison, Difference, Kind, Said};
use super::player::{Player, Step};
use crate::adapters::records::{Message, Output};
use crate::app::config::moment;
use crate::app::pen::Pen;
use crate::app::settings::Settings;
use crate::domain::instant::Instant;
use crate::domain::record::Content;
use crate::domain::rule::RuleSet;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Question {
    /// Records that happen at or after this.
    pub from: Instant,
    /// And before this.
    pub to: Instant,
    /// In the place of those that the changes log says.
    pub rules: Option<RuleSet>,
    /// Only how they differ from what was published.
    pub diff: bool,
}

impl Question {
    fn asks_for(&self, at: Instant) -> bool {
        self.from <= at && at < self.to
    }
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub partitions: usize,
    pub blocks: u64,
    pub lines: u64,
    /// Records in the time that was asked for, without heartbeats, and those.
    pub records: u64,
    pub heartbeats: u64,
    /// Of a comparison: records that are the same, and those that are not.
    pub compared: Option<Compared>,
    /// Partitions whose beginning is gone: each with the offset that it was replayed from.
    pub cut: Vec<(i32, i64)>,
    /// Rules that could not be asked, because they name what the configuration's sources do not have.
    pub left_out: BTreeSet<Box<str>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub same: u64,
    pub missing: u64,
    pub additional: u64,
    pub different: u64,
    pub unpublished: u64,
}

impl Summary {
    /// True where nothing differs.
    pub fn is_same(&self) -> bool {
        self.compared.is_none_or(|all| all.missing + all.additional + all.different == 0)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { partitions, blocks, lines, records, heartbeats, .. } = self;
        let s = if *partitions == 1 { "" } else { "s" };
        writeln!(f, "replayed {blocks} blocks, {lines} lines of {partitions} partition{s} of the changes log")?;
        writeln!(f, "{records} records in the time that was asked for, and {heartbeats} heartbeats")?;
        for (partition, began) in &self.cut {
            writeln!(
                f,
                "partition {partition} was replayed from the state at offset {began}: what came before is as that state has it"
            )?;
        }
        for rule in &self.left_out {
            writeln!(f, "rule {rule} was not asked: it names what the configuration's sources do not have")?;
        }
        if let Some(Compared { same, missing, additional, different, unpublished }) = self.compared {
            write!(f, "{same} as published, {missing} missing, {additional} additional, {different} different")?;
            let later =
                if unpublished > 0 { format!("; still to be published: {unpublished}") } else { String::new() };
            writeln!(f, "{later}")?;
        }
        Ok(())
    }
}

/// Replays every partition, or those given; `print` takes the result line by line.
pub fn replay(
    desk: &Desk,
    question: &Question,
    mut print: impl FnMut(&str) -> Result<(), EvidenceError>,
) -> Result<Summary, EvidenceError> {
    let mut summary = Summary::default();
    for partition in 0..desk.settings.topics.partitions {
        // What was said is bounded before what it was said of.
        let published = desk.archive.records(&desk.settings.topics.discrepancies, partition)?;
        let player = desk.player(partition, question.rules.clone())?;
        let comparison = match question.diff {
            true => Some(listen(published, question, player.began)?),
            false => None,
        };
        summary.partitions += 1;
        if player.began > 0 {
            summary.cut.push((partition, player.began));
        }
        Rehearsal { question, player, pen: Pen::new(&desk.settings), comparison, summary: &mut summary }
            .play(&mut print)?;
    }
    Ok(summary)
}

/// Reads what was published of a partition.
fn listen(
    mut published: super::archive::Records,
    question: &Question,
    began: i64,
) -> Result<Comparison, EvidenceError> {
    let is_cut = published.bounds().0 > 0;
    let mut comparison = Comparison::new(question.rules.is_some(), is_cut, began);
    while let Some(record) = published.read()? {
        let at = record.header("ce_time").and_then(|text| moment(text, None)).map(Instant);
        if let Some(said) = Said::published(record) {
            comparison.publish(said, at.is_some_and(|at| question.asks_for(at)));
        }
    }
    Ok(comparison)
}

/// One partition's replay.
struct Rehearsal<'r, 'd> {
    question: &'r Question,
    player: Player<'d>,
    pen: Pen<&'d Settings>,
    comparison: Option<Comparison>,
    summary: &'r mut Summary,
}

impl Rehearsal<'_, '_> {
    fn play(mut self, print: &mut impl FnMut(&str) -> Result<(), EvidenceError>) -> Result<(), EvidenceError> {
        while let Some(step) = self.player.step()? {
            self.hear(&step, print)?;
            self.summary.left_out.extend(self.player.task.left_out().iter().cloned());
            if self.is_over(&step) {
                break;
            }
        }
        self.summary.blocks += self.player.blocks;
        self.summary.lines += self.player.lines;
        if let Some(mut comparison) = self.comparison.take() {
            for difference in comparison.end() {
                self.tell(&difference, print)?;
            }
            let compared = self.summary.compared.get_or_insert_default();
            compared.same += comparison.same;
            compared.unpublished += comparison.unpublished;
        }
        Ok(())
    }

    /// Nothing that happens before the end of the time that was asked for is said later.
    fn is_over(&self, step: &Step) -> bool {
        let to = self.question.to;
        !self.player.task.is_settling()
            && step.written_at >= to
            && self.player.task.settled().is_some_and(|settled| settled >= to)
    }

    fn hear(
        &mut self,
        step: &Step,
        print: &mut impl FnMut(&str) -> Result<(), EvidenceError>,
    ) -> Result<(), EvidenceError> {
        for record in &step.records {
            let at = match &record.content {
                Content::Discrepancy(discrepancy) => discrepancy.at,
                Content::Heartbeat { settled } => *settled,
                Content::Source(notice) => notice.decided_at,
                Content::Open { .. } | Content::Quarantine(_) => continue,
            };
            if !self.question.asks_for(at) {
                continue;
            }
            let is_heartbeat = matches!(record.content, Content::Heartbeat { .. });
            let message = self.pen.message(self.player.task.plan(), self.player.partition, record);
            assert_eq!(message.output, Output::Discrepancies, "these go to the discrepancy topic");
            self.summary.records += u64::from(!is_heartbeat);
            self.summary.heartbeats += u64::from(is_heartbeat);
            self.say(&message, is_heartbeat, print)?;
        }
        Ok(())
    }

    fn say(
        &mut self,
        message: &Message,
        is_heartbeat: bool,
        print: &mut impl FnMut(&str) -> Result<(), EvidenceError>,
    ) -> Result<(), EvidenceError> {
        if let Some(comparison) = &mut self.comparison {
            let said = Said::replayed(message).expect("every record has an id, a type and a cause");
            return match comparison.replay(said) {
                Some(difference) => self.tell(&difference, print),
                None => Ok(()),
            };
        }
        match &message.body {
            Some(body) if !is_heartbeat => print(&String::from_utf8_lossy(body)),
            _ => Ok(()),
        }
    }

    fn tell(
        &mut self,
        difference: &Difference,
        print: &mut impl FnMut(&str) -> Result<(), EvidenceError>,
    ) -> Result<(), EvidenceError> {
        let compared = self.summary.compared.get_or_insert_default();
        *match difference.kind {
            Kind::Missing => &mut compared.missing,
            Kind::Additional => &mut compared.additional,
            Kind::Different => &mut compared.different,
        } += 1;
        print(&difference.to_json(self.player.partition).to_string())
    }
}
