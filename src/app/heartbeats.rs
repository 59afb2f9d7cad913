//! Reads a connector's heartbeat table.
//!
//! Must not know: what its rows promise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use rdkafka::message::Message;

use super::settings::{ConnectorSettings, HeartbeatSettings};
use super::understand::with_record;
use crate::adapters::debezium::frame::SchemaId;
use crate::adapters::debezium::{Decoder, Found, Refusal, Registry, Undecoded};
use crate::adapters::kafka::changes::{Reading, TopicReader};
use crate::adapters::kafka::offsets::Offsets;
use crate::adapters::kafka::{KafkaFailure, Properties};
use crate::adapters::telemetry;
use crate::domain::rule::ConnectorIndex;
use crate::task::intake::Beat;

/// Reads every partition of a heartbeat topic. A table of one row has its rows in one of them.
pub struct HeartbeatReader {
    reader: TopicReader,
    pub partitions: i32,
    decoder: Decoder,
    registry: Arc<dyn Registry>,
    /// For each partition, the offset to read on from.
    next: BTreeMap<i32, i64>,
    /// The schema that the next row needs, which is not known yet.
    waits: Option<SchemaId>,
}

impl HeartbeatReader {
    /// Begins where the group has committed.
    pub fn begin(
        properties: &Properties,
        (topic, partitions): (&str, i32),
        offsets: &Offsets,
        registry: &Arc<dyn Registry>,
    ) -> Result<HeartbeatReader, KafkaFailure> {
        let reader = TopicReader::open(properties, topic, 1 << 20)?;
        let all: Vec<(String, i32)> = (0..partitions).map(|partition| (topic.to_owned(), partition)).collect();
        let committed = offsets.committed(&all)?;
        let mut next = BTreeMap::new();
        for partition in 0..partitions {
            let (start, end) = reader.bounds(partition)?;
            let known = committed.iter().find(|commit| commit.partition == partition);
            next.insert(partition, known.map_or(start, |commit| commit.offset.clamp(start, end)));
        }
        let decoder = Decoder::new(Arc::clone(registry));
        let reader =
            HeartbeatReader { reader, partitions, decoder, registry: Arc::clone(registry), next, waits: None };
        reader.seek()?;
        Ok(reader)
    }

    fn seek(&self) -> Result<(), KafkaFailure> {
        self.reader.seek(&self.next.iter().map(|(partition, next)| (*partition, *next)).collect::<Vec<_>>())
    }

    /// Reads what has come.
    pub fn read(
        &mut self,
        connector: ConnectorIndex,
        settings: &ConnectorSettings,
        heartbeat: &HeartbeatSettings,
        beats: &mut Vec<Beat>,
    ) -> Result<(), KafkaFailure> {
        if self.waits.as_ref().is_some_and(|id| self.registry.find(id) == Found::Asked) {
            return Ok(());
        }
        self.waits = None;
        while let Reading::Message(message) = self.reader.poll(Duration::ZERO)? {
            match with_record(&message, |record| self.decoder.heartbeat(&heartbeat.shape, record)) {
                Ok(Some(beat)) => {
                    let stand = (message.partition(), message.offset());
                    beats.push(Beat { connector, time: beat.time, proof: beat.proof, stand });
                }
                Ok(None) => {}
                Err(Undecoded::Waits(id)) => {
                    self.waits = Some(id);
                    return self.seek();
                }
                Err(Undecoded::Refused(Refusal { reason, detail })) => {
                    let labels = [("connector", settings.name.clone()), ("reason", reason.to_owned())];
                    counter!(telemetry::HEARTBEATS_REFUSED, &labels).increment(1);
                    tracing::warn!(topic = heartbeat.topic, reason, detail, "a heartbeat row was not understood");
                }
            }
            self.next.insert(message.partition(), message.offset() + 1);
        }
        Ok(())
    }
}
