//! `evenkeel acknowledge`: says in the changes log that the gaps of a source are made good or do not matter.
//!
//! Must not know: which gaps there are. What is not halted is not touched by it.

use super::StageError;
use super::by_hand::ByHand;
use super::selection::select;
use super::settings::Settings;
use crate::adapters::clock::now;
use crate::domain::change::{Block, SourceIndex, TopicPartition};

/// Acknowledges whatever was lost of a source before now. Gives its topic-partitions.
pub fn acknowledge(settings: &Settings, source: SourceIndex) -> Result<Vec<TopicPartition>, StageError> {
    let mut hand = ByHand::open(settings)?;
    let of_source = select(settings, &hand.present).swap_remove(source);
    let ids: Vec<TopicPartition> = of_source
        .into_iter()
        .flat_map(|(topic, partitions)| {
            let topic: std::sync::Arc<str> = topic.into();
            (0..partitions).map(move |partition| TopicPartition { topic: topic.clone(), partition })
        })
        .collect();
    let partitions = settings.topics.partitions;
    let block = Block::acknowledge(ids.iter().map(|id| (source, id.clone())).collect(), partitions, now());
    hand.write((0..partitions).map(|partition| (partition, block.clone())).collect(), now())?;
    Ok(ids)
}
