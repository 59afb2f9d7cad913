//! Where records are read from: the topics of a live deployment as they stand, or a copy of them.
//!
//! Must not know: what a record means.

use std::path::{Path, PathBuf};

use super::EvidenceError;
use crate::adapters::copy::{CopyReader, Stored};
use crate::adapters::kafka::Properties;
use crate::adapters::kafka::admin::Admin;
use crate::adapters::kafka::stretch::Stretch;
use crate::app::settings::Settings;

/// What is fetched ahead, bytes.
const FETCH: usize = 16 << 20;

/// The topics of one reconciliation.
pub enum Archive {
    Live(Properties),
    Copy(PathBuf),
}

impl Archive {
    /// The copy in a folder, or where there is none the brokers' topics, which must be what the configuration says.
    pub fn open(settings: &Settings, copy: Option<&Path>) -> Result<Archive, EvidenceError> {
        if let Some(folder) = copy {
            return Ok(Archive::Copy(folder.to_owned()));
        }
        let properties = Properties::new(settings.kafka.clone());
        let present = Admin::new(&properties)?.topics()?;
        let wanted = settings.topics.partitions;
        for topic in [&settings.topics.changes, &settings.topics.discrepancies] {
            let found = present.get(topic).copied().unwrap_or(0);
            if found != wanted {
                return Err(EvidenceError::PartitionCount { topic: topic.clone(), found, wanted });
            }
        }
        Ok(Archive::Live(properties))
    }

    /// The records of a topic-partition, from the first that is there up to where it ends now.
    pub fn records(&self, topic: &str, partition: i32) -> Result<Records, EvidenceError> {
        Ok(match self {
            Archive::Live(properties) => Records::Live(Stretch::open(properties, topic, partition, FETCH)?),
            Archive::Copy(folder) => {
                Records::Copy { reader: CopyReader::open(folder, topic, partition)?, from: i64::MIN }
            }
        })
    }
}

/// One topic-partition's records.
pub enum Records {
    Live(Stretch),
    Copy { reader: CopyReader, from: i64 },
}

impl Records {
    /// The offset of the first record that is there, and the one behind the last.
    pub fn bounds(&self) -> (i64, i64) {
        match self {
            Records::Live(stretch) => stretch.bounds(),
            Records::Copy { reader, .. } => (reader.about.start, reader.about.end),
        }
    }

    /// Leaves out what lies before an offset.
    pub fn skip_to(&mut self, offset: i64) -> Result<(), EvidenceError> {
        match self {
            Records::Live(stretch) => stretch.seek(offset),
            Records::Copy { from, .. } => *from = offset,
        }
        Ok(())
    }

    /// The next record; `None` after the last.
    pub fn read(&mut self) -> Result<Option<Stored>, EvidenceError> {
        match self {
            Records::Live(stretch) => Ok(stretch.read()?),
            Records::Copy { reader, from } => loop {
                match reader.read()? {
                    Some(record) if record.offset < *from => {}
                    other => return Ok(other),
                }
            },
        }
    }
}
