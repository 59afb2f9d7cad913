//! The ingest stage: reads the sources' topics, writes the changes log. One thread; several processes share the work
//! as a consumer group.
//!
//! Must not know: rules, states, how it is done (`task::intake`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Moment};

use metrics::gauge;

use super::StageError;
use super::settings::Settings;
use super::sources::KafkaSources;
use crate::adapters::clock::now;
use crate::adapters::debezium::NO_BEFORE;
use crate::adapters::telemetry;
use crate::domain::change::SourceIndex;
use crate::task::ingest::Ingest;
use crate::task::intake::{Intake, Rounds};

/// How often metrics are set that nothing else sets.
const REPORT: Duration = Duration::from_secs(5);

pub struct IngestStage {
    settings: Arc<Settings>,
    intake: Intake<KafkaSources>,
    stop: Arc<AtomicBool>,
}

impl IngestStage {
    pub fn start(settings: Arc<Settings>, stop: &Arc<AtomicBool>) -> Result<IngestStage, StageError> {
        let key_may_change = settings.sources.iter().map(|source| source.key_may_change).collect();
        let partitions = settings.topics.partitions;
        let plan = Arc::clone(&settings.plan);
        let counted =
            settings.connectors.iter().enumerate().filter(|(_, connector)| connector.transactions.is_some());
        let counted = counted.map(|(connector, _)| connector).collect();
        let ingest = Ingest::new(plan, partitions, key_may_change, settings.patience).counting(counted);
        let sources = KafkaSources::join(&settings, stop)?;
        let has_history = sources.has_history()?;
        let linger_us = i64::try_from(settings.limits.linger_ms * 1000).unwrap_or(i64::MAX);
        let rounds = Rounds { linger_us, bytes: settings.limits.block_bytes };
        let intake = Intake::begin(sources, ingest, rounds, has_history)?;
        Ok(IngestStage { settings, intake, stop: Arc::clone(stop) })
    }

    /// Works until told to stop; then writes and commits what was read.
    pub fn run(mut self) -> Result<(), StageError> {
        let mut reported = Moment::now();
        while !self.stop.load(Ordering::Relaxed) {
            self.intake.step()?;
            if reported.elapsed() >= REPORT {
                reported = Moment::now();
                self.report();
            }
        }
        self.intake.end().map(drop)
    }

    fn report(&mut self) {
        for source in self.intake.sources().take_incomplete() {
            tracing::warn!(source = self.settings.sources[source].name, "{NO_BEFORE}");
        }
        for (reason, partitions) in ["schema", "quarantine"].into_iter().zip(self.intake.sources().waiting()) {
            gauge!(telemetry::HELD, "reason" => reason).set(partitions as f64);
        }
        for (source, standing) in self.intake.ingest().standing(now()) {
            let name = self.settings.sources[source].name.clone();
            gauge!(telemetry::FRONTIER_AGE, "source" => name.clone()).set(standing.frontier_age_us as f64 / 1e6);
            gauge!(telemetry::SOURCE_STALLED, "source" => name).set(f64::from(u8::from(standing.stalled)));
        }
        let lanes = self.intake.ingest().read_to();
        let lanes: Vec<_> =
            lanes.map(|(source, id, read_to)| (source, id.topic.to_string(), id.partition, read_to)).collect();
        let list: Vec<_> = lanes.iter().map(|(_, topic, partition, _)| (topic.clone(), *partition)).collect();
        // Where the brokers do not answer, the gauge keeps its value until it expires.
        let Ok(ends) = self.intake.sources().offsets.ends(&list) else { return };
        let mut lags: BTreeMap<SourceIndex, i64> = BTreeMap::new();
        for (source, topic, partition, read_to) in lanes {
            let end = ends.iter().find(|(other, number, _)| *other == topic && *number == partition);
            *lags.entry(source).or_default() += end.map_or(0, |(_, _, end)| (end - read_to).max(0));
        }
        for (source, lag) in lags {
            let name = self.settings.sources[source].name.clone();
            gauge!(telemetry::INGEST_LAG, "source" => name).set(lag as f64);
        }
    }
}
