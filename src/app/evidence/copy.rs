//! `evenkeel copy`: the changes log and the discrepancy topic as they stand, in a folder.
//!
//! Must not know: what a record means.

use std::path::{Path, PathBuf};

use super::EvidenceError;
use super::archive::{Archive, Records};
use crate::adapters::copy::{About, CopyWriter, VERSION};
use crate::adapters::kafka::Properties;
use crate::adapters::kafka::admin::Admin;
use crate::app::settings::Settings;

/// A topic-partition that was copied.
pub struct Copied {
    pub path: PathBuf,
    pub records: u64,
    pub about: About,
}

/// Copies every partition of both topics. What was said is bounded before what it was said of, so that the copy holds the
/// cause of each record.
pub fn copy(settings: &Settings, folder: &Path) -> Result<Vec<Copied>, EvidenceError> {
    let archive = Archive::open(settings, None)?;
    let cluster = Admin::new(&Properties::new(settings.kafka.clone()))?.cluster()?;
    let mut copied = Vec::new();
    for topic in [&settings.topics.discrepancies, &settings.topics.changes] {
        for partition in 0..settings.topics.partitions {
            let records = archive.records(topic, partition)?;
            let (start, end) = records.bounds();
            let about = About {
                evenkeel_copy: VERSION,
                cluster: cluster.clone(),
                topic: topic.clone(),
                partition,
                start,
                end,
            };
            copied.push(copy_one(records, folder, about)?);
        }
    }
    Ok(copied)
}

fn copy_one(mut records: Records, folder: &Path, about: About) -> Result<Copied, EvidenceError> {
    let mut writer = CopyWriter::create(folder, &about)?;
    let mut count = 0;
    while let Some(record) = records.read()? {
        writer.add(&record)?;
        count += 1;
    }
    Ok(Copied { path: writer.end()?, records: count, about })
}
