//! Puts what happened to keys into records, each with its cause.
//!
//! Must not know: why it happened, how a record is written.

use crate::domain::change::{Key, Origin};
use crate::domain::instant::Instant;
use crate::domain::key_state::{Happening, KeyState, Provenance, Row};
use crate::domain::record::{Cause, Content, Discrepancy, Record, SideRow};
use crate::domain::rule::Plan;
use crate::domain::timeline::Timeline;

/// Records that one changes-log offset causes.
pub struct Outbox {
    pub offset: i64,
    /// How many it has caused, with those of the steps before.
    pub said: u32,
    pub records: Vec<Record>,
}

impl Outbox {
    pub fn say(&mut self, content: Content) {
        self.records.push(Record { cause: Cause { offset: self.offset, number: self.said }, content });
        self.said = self.said.checked_add(1).expect("a block causes fewer than four billion records");
    }
}

/// What a record tells beside what happened.
pub struct Teller<'t> {
    pub timeline: &'t Timeline,
    pub origins: &'t [Origin],
    /// As far as the block lets the settled time come.
    pub settled: Instant,
}

impl Teller<'_> {
    pub fn discrepancy(&self, key: &Key, happening: Happening) -> Discrepancy {
        let Happening { event, at, rule, episode, rows } = happening;
        Discrepancy {
            event,
            key: key.clone(),
            rule: episode.rule,
            rule_index: rule,
            identity: episode.identity,
            since: episode.since,
            lineage: episode.lineage,
            at,
            settled: self.settled,
            revision: episode.revision,
            flap_count: episode.flap_count,
            escalated: episode.escalated,
            evidence: episode.evidence,
            sides: rows.into_iter().map(|rows| rows.into_iter().map(|row| self.side(row)).collect()).collect(),
        }
    }

    fn side(&self, row: Row) -> SideRow {
        let Provenance { source_time, position, origin, lane, offset, .. } = row.provenance;
        let lane = &self.timeline.lanes[lane].topic_partition;
        SideRow {
            columns: row.columns,
            source_time,
            position: self.origins[origin].label(position),
            topic: lane.topic.clone(),
            partition: lane.partition,
            offset,
        }
    }

    /// What is open of a key now.
    pub fn open(&self, plan: &Plan, key: &Key, state: &KeyState) -> Content {
        let open = state.open(plan).map(|happening| self.discrepancy(key, happening)).collect();
        Content::Open { key: key.clone(), settled: self.settled, open }
    }
}
