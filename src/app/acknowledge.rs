//! `evenkeel acknowledge`: says in the changes log that the gaps of a source are made good or do not matter.
//!
//! Must not know: which gaps there are. What is not halted is not touched by it.

use super::StageError;
use super::selection::select;
use super::settings::Settings;
use crate::adapters::clock::now;
use crate::adapters::kafka::Properties;
use crate::adapters::kafka::admin::Admin;
use crate::adapters::kafka::changes::ChangesWriter;
use crate::domain::change::{Block, SourceIndex, TopicPartition};
use crate::task::wire::block;

/// Acknowledges whatever was lost of a source before now. Gives its topic-partitions.
pub fn acknowledge(settings: &Settings, source: SourceIndex) -> Result<Vec<TopicPartition>, StageError> {
    let properties = Properties::new(settings.kafka.clone());
    let topics = &settings.topics;
    let present = Admin::new(&properties)?.topics()?;
    let found = present.get(&topics.changes).copied().unwrap_or(0);
    if found != topics.partitions {
        let topic = topics.changes.clone();
        return Err(StageError::PartitionCount { topic, found, wanted: topics.partitions });
    }
    let of_source = select(settings, &present).swap_remove(source);
    let ids: Vec<TopicPartition> = of_source
        .into_iter()
        .flat_map(|(topic, partitions)| {
            let topic: std::sync::Arc<str> = topic.into();
            (0..partitions).map(move |partition| TopicPartition { topic: topic.clone(), partition })
        })
        .collect();
    let block = Block::acknowledge(ids.iter().map(|id| (source, id.clone())).collect(), topics.partitions, now());
    let bytes = block::encode(&block, &settings.plan.catalog);
    let mut writer = ChangesWriter::new(&properties, &topics.changes)?;
    writer.write(&(0..topics.partitions).map(|partition| (partition, bytes.clone())).collect::<Vec<_>>())?;
    writer.drain()?;
    writer.acknowledged(std::time::Duration::ZERO)?;
    Ok(ids)
}
