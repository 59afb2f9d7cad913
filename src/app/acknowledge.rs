//! What an operator says of a source in the changes log: that its gaps are made good or do not matter, what has become of rows that
//! a new snapshot has not seen.
//!
//! Must not know: which gaps and which rows there are. What is not halted, and what is confirmed, is not touched by it.

use std::sync::Arc;

use super::StageError;
use super::by_hand::ByHand;
use super::selection::select;
use super::settings::Settings;
use crate::adapters::clock::now;
use crate::domain::change::{Block, Entry, SourceIndex, TopicPartition, Unseen};

/// Acknowledges whatever was lost of a source before now. Gives its topic-partitions.
pub fn acknowledge(settings: &Settings, source: SourceIndex) -> Result<Vec<TopicPartition>, StageError> {
    say(settings, source, |topic_partition| Entry::Acknowledge { topic_partition })
}

/// Says what has become of the rows of a source that its connector's last snapshot has not seen. False where the source has no
/// topic.
pub fn confirm(settings: &Settings, source: SourceIndex, unseen: Unseen) -> Result<bool, StageError> {
    let said = say(settings, source, |topic_partition| Entry::Confirm { topic_partition, unseen })?;
    Ok(!said.is_empty())
}

/// Says something of each of a source's topic-partitions, to every partition of the changes log.
fn say(
    settings: &Settings,
    source: SourceIndex,
    entry: impl Fn(usize) -> Entry,
) -> Result<Vec<TopicPartition>, StageError> {
    let mut hand = ByHand::open(settings)?;
    let of_source = select(settings, &hand.present).swap_remove(source);
    let ids = of_source.into_iter().flat_map(|(topic, partitions)| {
        let topic: Arc<str> = topic.into();
        (0..partitions).map(move |partition| TopicPartition { topic: Arc::clone(&topic), partition })
    });
    let ids: Vec<TopicPartition> = ids.collect();
    let partitions = settings.topics.partitions;
    let block = Block::of_each(ids.iter().map(|id| (source, id.clone())).collect(), partitions, now(), entry);
    if !ids.is_empty() {
        hand.write((0..partitions).map(|partition| (partition, block.clone())).collect(), now())?;
    }
    Ok(ids)
}
