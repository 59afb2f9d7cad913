//! Lines of the changes log that an operator's command writes.
//!
//! Must not know: what they say.

use std::collections::BTreeMap;
use std::time::Duration;

use super::StageError;
use super::settings::Settings;
use crate::adapters::kafka::Properties;
use crate::adapters::kafka::admin::Admin;
use crate::adapters::kafka::changes::ChangesWriter;
use crate::domain::change::Block;
use crate::domain::instant::Instant;
use crate::task::wire::block;

pub struct ByHand<'s> {
    settings: &'s Settings,
    writer: ChangesWriter,
    /// Every topic and its partition count.
    pub present: BTreeMap<String, i32>,
}

impl<'s> ByHand<'s> {
    pub fn open(settings: &'s Settings) -> Result<ByHand<'s>, StageError> {
        let properties = Properties::new(settings.kafka.clone());
        let topics = &settings.topics;
        let present = Admin::new(&properties)?.topics()?;
        let found = present.get(&topics.changes).copied().unwrap_or(0);
        if found != topics.partitions {
            let topic = topics.changes.clone();
            return Err(StageError::PartitionCount { topic, found, wanted: topics.partitions });
        }
        let writer = ChangesWriter::new(&properties, &topics.changes)?;
        Ok(ByHand { settings, writer, present })
    }

    /// Writes blocks, each with its partition, and waits until they are written.
    pub fn write(&mut self, blocks: Vec<(i32, Block)>, written_at: Instant) -> Result<(), StageError> {
        let catalog = &self.settings.plan.catalog;
        let encode = |(partition, block)| (partition, block::encode(&Block { written_at, ..block }, catalog));
        self.writer.write(&blocks.into_iter().map(encode).collect::<Vec<_>>())?;
        self.writer.drain()?;
        self.writer.acknowledged(Duration::ZERO)?;
        Ok(())
    }
}
