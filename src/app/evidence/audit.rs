//! `evenkeel audit`: is what stands in the discrepancy topic what was published, all of it, in its order?
//!
//! Must not know: what a record says. Every record of ours carries the hash of the one of ours before it. Whoever may write
//! to the topic could still put a whole new chain in the place of this one, or cut its end off: against that, an auditor
//! keeps what an earlier audit printed, and has the next one look for it.

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::EvidenceError;
use super::archive::Archive;
use crate::adapters::copy::Stored;
use crate::adapters::records::chain::{self, PREVIOUS_HEADER};
use crate::adapters::records::{CAUSE_HEADER, read_cause};
use crate::app::settings::Settings;
use crate::domain::record::Cause;

/// So many findings of a partition are told one by one; all are counted.
const TOLD: usize = 20;

/// Something that should not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A record does not carry the hash of the one before: something was removed, put in, altered or moved there. `None`
    /// is no hash, as the first record of all has none.
    Broken { offset: i64, expected: Option<String>, found: Option<String> },
    /// A record that is not Evenkeel's: it has no cause.
    Foreign { offset: i64 },
    /// A record's cause does not lie above the one before: the same was said again.
    Repeated { offset: i64, before: Cause, cause: Cause },
    /// What an earlier audit saw last is not what stands there now.
    Rewritten { offset: i64, expected: String, found: Option<String> },
}

impl Finding {
    fn to_json(&self) -> Json {
        let cause = |cause: &Cause| format!("{}:{}", cause.offset, cause.number);
        match self {
            Finding::Broken { offset, expected, found } => {
                json!({"kind": "broken", "offset": offset, "expected": expected, "found": found})
            }
            Finding::Foreign { offset } => json!({"kind": "foreign", "offset": offset}),
            Finding::Repeated { offset, before, cause: own } => {
                json!({"kind": "repeated", "offset": offset, "before": cause(before), "cause": cause(own)})
            }
            Finding::Rewritten { offset, expected, found } => {
                json!({"kind": "rewritten", "offset": offset, "expected": expected, "found": found})
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |hash: &Option<String>| hash.clone().unwrap_or_else(|| "none".to_owned());
        match self {
            Finding::Broken { offset, expected, found } => write!(
                f,
                "broken at offset {offset}: something was removed, put in, altered or moved there\n  \
                 the record before is     {}\n  this one says that it is {}",
                or_none(expected),
                or_none(found)
            ),
            Finding::Foreign { offset } => write!(f, "the record at offset {offset} is not Evenkeel's"),
            Finding::Repeated { offset, before, cause } => write!(
                f,
                "the record at offset {offset} repeats: its cause {}:{} does not lie above {}:{}",
                cause.offset, cause.number, before.offset, before.number
            ),
            Finding::Rewritten { offset, expected, found } => write!(
                f,
                "the record at offset {offset} is not the one that the earlier audit saw last\n  it saw   {expected}\n  \
                 now is   {}",
                or_none(found)
            ),
        }
    }
}

/// The last record of a partition: what an auditor keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub offset: i64,
    pub hash: String,
}

/// What was found of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    pub partition: i32,
    /// Those that are Evenkeel's.
    pub records: u64,
    pub first: Option<i64>,
    pub last: Option<Head>,
    /// True where retention removed the beginning: the chain begins at the first record that is left.
    pub is_cut: bool,
    /// True where what the earlier audit saw last was removed by retention, so that it cannot be looked for.
    pub is_out_of_reach: bool,
    /// The first of them.
    pub findings: Vec<Finding>,
    /// How many there are.
    pub found: usize,
}

impl Audited {
    fn to_json(&self) -> Json {
        let findings: Vec<Json> = self.findings.iter().map(Finding::to_json).collect();
        json!({"partition": self.partition, "ok": self.found == 0, "records": self.records, "first_offset": self.first,
            "last": self.last, "beginning_removed": self.is_cut, "earlier_out_of_reach": self.is_out_of_reach,
            "findings": findings, "found": self.found})
    }

    fn verdict(&self) -> String {
        let reach = if self.is_out_of_reach { "; what the earlier audit saw last is gone" } else { "" };
        match (self.found, self.records, self.is_cut) {
            (1, ..) => "BROKEN".to_owned(),
            (2.., ..) => format!("BROKEN ({} findings)", self.found),
            (0, 0, _) => "empty".to_owned(),
            (0, _, false) => format!("ok{reach}"),
            (0, _, true) => format!("ok from there on, retention removed what was before{reach}"),
        }
    }
}

/// Looks at one partition's records, in order.
struct Auditor {
    audited: Audited,
    /// True where the first record of all is there.
    is_whole: bool,
    cause: Option<Cause>,
    /// What an earlier audit saw last, until its offset was passed.
    earlier: Option<Head>,
}

impl Auditor {
    /// `start` is the offset of the first record that the partition still has.
    fn begin(partition: i32, start: i64, earlier: Option<Head>) -> Auditor {
        let is_out_of_reach = earlier.as_ref().is_some_and(|head| head.offset < start);
        let audited = Audited { partition, is_out_of_reach, ..Audited::default() };
        let earlier = earlier.filter(|_| !is_out_of_reach);
        Auditor { audited, is_whole: start == 0, cause: None, earlier }
    }

    fn take(&mut self, record: &Stored) {
        let offset = record.offset;
        let Some(cause) = record.header(CAUSE_HEADER).and_then(read_cause) else {
            return self.find(Finding::Foreign { offset });
        };
        self.check_chain(record);
        if let Some(before) = self.cause.filter(|before| *before >= cause) {
            self.find(Finding::Repeated { offset, before, cause });
        }
        self.cause = Some(cause);
        let hash = chain::hash_of(record);
        self.look_back(offset, Some(&hash));
        self.audited.records += 1;
        self.audited.first.get_or_insert(offset);
        self.audited.last = Some(Head { offset, hash });
    }

    fn check_chain(&mut self, record: &Stored) {
        let found = record.header(PREVIOUS_HEADER).map(str::to_owned);
        let expected = match &self.audited.last {
            Some(last) => Some(last.hash.clone()),
            None if self.is_whole => None,
            None => {
                // Nobody knows what was before.
                self.audited.is_cut = found.is_some();
                return;
            }
        };
        if expected != found {
            self.find(Finding::Broken { offset: record.offset, expected, found });
        }
    }

    /// Where an offset was reached that the earlier audit knows, or passed, what stands there must be what it saw.
    fn look_back(&mut self, offset: i64, hash: Option<&str>) {
        let Some(Head { offset: place, hash: expected }) = self.earlier.take_if(|head| head.offset <= offset) else {
            return;
        };
        let found = hash.filter(|_| place == offset).map(str::to_owned);
        if found.as_ref() != Some(&expected) {
            self.find(Finding::Rewritten { offset: place, expected, found });
        }
    }

    fn find(&mut self, finding: Finding) {
        self.audited.found += 1;
        if self.audited.findings.len() < TOLD {
            self.audited.findings.push(finding);
        }
    }

    fn end(mut self) -> Audited {
        self.look_back(i64::MAX, None);
        self.audited
    }
}

/// What was found of a discrepancy topic.
pub struct Report {
    pub topic: String,
    pub partitions: Vec<Audited>,
}

impl Report {
    pub fn is_sound(&self) -> bool {
        self.partitions.iter().all(|audited| audited.found == 0)
    }

    pub fn to_json(&self) -> Json {
        let partitions: Vec<Json> = self.partitions.iter().map(Audited::to_json).collect();
        json!({"ok": self.is_sound(), "topic": self.topic, "partitions": partitions})
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.topic)?;
        writeln!(
            f,
            "{:>9}  {:>9}  {:>9}  {:>9}  {:<64}  verdict",
            "partition", "records", "first", "last", "hash of the last"
        )?;
        let or_dash = |offset: Option<i64>| offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
        for audited in &self.partitions {
            let (first, last) = (or_dash(audited.first), or_dash(audited.last.as_ref().map(|head| head.offset)));
            let hash = audited.last.as_ref().map_or("-", |head| &head.hash);
            let (partition, records, verdict) = (audited.partition, audited.records, audited.verdict());
            writeln!(f, "{partition:>9}  {records:>9}  {first:>9}  {last:>9}  {hash:<64}  {verdict}")?;
        }
        for audited in self.partitions.iter().filter(|audited| audited.found > 0) {
            for finding in &audited.findings {
                writeln!(f, "\npartition {}: {finding}", audited.partition)?;
            }
            let untold = audited.found - audited.findings.len();
            if untold > 0 {
                writeln!(f, "\npartition {}: {untold} more", audited.partition)?;
            }
        }
        Ok(())
    }
}

/// What an earlier audit printed with `--json`, as far as it is looked for.
#[derive(Deserialize)]
struct Earlier {
    partitions: Vec<EarlierPartition>,
}

#[derive(Deserialize)]
struct EarlierPartition {
    partition: i32,
    last: Option<Head>,
}

/// Reads the discrepancy topic whole; `earlier` is a file with an earlier audit.
pub fn audit(settings: &Settings, archive: &Archive, earlier: Option<&Path>) -> Result<Report, EvidenceError> {
    let earlier = earlier.map_or(Ok(Vec::new()), read_earlier)?;
    let topic = settings.topics.discrepancies.clone();
    let mut partitions = Vec::new();
    for partition in 0..settings.topics.partitions {
        let mut records = archive.records(&topic, partition)?;
        let head = earlier.iter().find(|earlier| earlier.partition == partition).and_then(|known| known.last.clone());
        let mut auditor = Auditor::begin(partition, records.bounds().0, head);
        while let Some(record) = records.read()? {
            auditor.take(&record);
        }
        partitions.push(auditor.end());
    }
    Ok(Report { topic, partitions })
}

fn read_earlier(path: &Path) -> Result<Vec<EarlierPartition>, EvidenceError> {
    let text = std::fs::read(path).map_err(|source| EvidenceError::File { path: path.to_owned(), source })?;
    let earlier: Result<Earlier, _> = serde_json::from_slice(&text);
    Ok(earlier.map_err(|_| EvidenceError::NoAudit { path: path.to_owned() })?.partitions)
}
