//! What a checkpoint is made of, as JSON, format 1 (`schemas/checkpoint.schema.json`).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::hex;
use crate::domain::instant::Instant;

const FORMAT: u32 = 1;

/// A file of a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
}

/// Where the state stands.
#[derive(Clone, Copy, Debug)]
pub struct About {
    pub next_offset: i64,
    pub settled: Option<Instant>,
    pub written_at: Instant,
}

/// Whose state it is: it belongs to one changes log of one Kafka cluster, whose offsets it speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub reconciliation: String,
    /// Kafka's own id of the cluster.
    pub cluster: String,
    /// The changes log, and its partition count.
    pub topic: String,
    pub partitions: i32,
}

impl Identity {
    /// Short, for a path.
    pub fn hash(&self) -> String {
        let text = serde_json::to_vec(self).expect("an identity is JSON");
        hex(&Sha256::digest(text)[..6])
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    #[serde(flatten)]
    pub identity: Identity,
    pub partition: i32,
    /// The changes-log offset that the state goes on at.
    pub next_offset: i64,
    pub settled: Option<String>,
    pub written_at: String,
    /// The format of what is in the files.
    pub state_version: u32,
    pub files: Vec<File>,
}

/// Why a checkpoint is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("{file} is not there any more")]
    Gone { file: String },
    #[error("{file} is not what was written")]
    Damaged { file: String },
    #[error("{what} has format {found}, newer than {known}, the newest that this evenkeel knows; upgrade it")]
    Newer { what: &'static str, found: u32, known: u32 },
    #[error("it is of {found}, not of {expected}")]
    Foreign { found: String, expected: String },
    #[error(
        "it cannot be opened here: {why}; another evenkeel may be able to; {} remembers it, and without that file it is \
         tried again",
        remembered.display()
    )]
    Unopened { why: String, remembered: PathBuf },
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

impl Manifest {
    pub fn new(identity: &Identity, partition: i32, state_version: u32, about: &About, files: Vec<File>) -> Manifest {
        Manifest {
            format: FORMAT,
            identity: identity.clone(),
            partition,
            next_offset: about.next_offset,
            settled: about.settled.map(|settled| settled.to_string()),
            written_at: about.written_at.to_string(),
            state_version,
            files,
        }
    }

    /// Its name, and its text.
    pub fn encode(&self) -> (String, Vec<u8>) {
        let text = serde_json::to_vec_pretty(self).expect("a manifest is JSON");
        (name(self.next_offset, &text), text)
    }

    /// Reads what stands under a name, which says what it must be.
    pub fn decode(name_given: &str, text: &[u8]) -> Result<Manifest, Unfit> {
        let damaged = || Unfit::Damaged { file: name_given.to_owned() };
        let offset = name_given.split_once('-').and_then(|(offset, _)| offset.parse().ok()).ok_or_else(damaged)?;
        if name(offset, text) != name_given {
            return Err(damaged());
        }
        let Head { format } = serde_json::from_slice(text).map_err(|_| damaged())?;
        match format {
            FORMAT => {
                let manifest: Manifest = serde_json::from_slice(text).map_err(|_| damaged())?;
                // They become names in a folder, and nowhere else.
                let is_plain = |file: &File| std::path::Path::new(&file.name).file_name() == Some(file.name.as_ref());
                if manifest.files.iter().all(is_plain) { Ok(manifest) } else { Err(damaged()) }
            }
            found => Err(Unfit::Newer { what: "it", found, known: FORMAT }),
        }
    }

    /// Refuses a state that this evenkeel cannot read.
    pub fn must_be_known(&self, known: u32) -> Result<(), Unfit> {
        let found = self.state_version;
        if found <= known { Ok(()) } else { Err(Unfit::Newer { what: "its state", found, known }) }
    }

    /// Refuses another reconciliation's, cluster's, changes log's, partition's, and what its name does not say.
    pub fn must_be(&self, identity: &Identity, partition: i32, next: i64) -> Result<(), Unfit> {
        let says = |of: &Identity, partition, next: i64| {
            let Identity { reconciliation, cluster, topic, partitions } = of;
            format!("{reconciliation}, cluster {cluster}, {topic}:{partition} of {partitions}, from offset {next}")
        };
        let found = says(&self.identity, self.partition, self.next_offset);
        let expected = says(identity, partition, next);
        if found == expected { Ok(()) } else { Err(Unfit::Foreign { found, expected }) }
    }
}

fn name(next_offset: i64, text: &[u8]) -> String {
    format!("{next_offset:020}-{}.json", hex(&Sha256::digest(text)))
}
