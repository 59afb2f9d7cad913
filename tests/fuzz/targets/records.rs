//! What Evenkeel itself has written and reads again: records of its topics, copies of them, checkpoints.

use evenkeel::adapters::checkpoints::Manifest;
use evenkeel::adapters::copy::{CopyReader, path_of};
use evenkeel::adapters::debezium::run_of;
use evenkeel::adapters::records::avro::{self, Kind, Naming};
use evenkeel::adapters::records::{chain, read_cause};
use evenkeel::app::quarantine::{Listed, Rejected};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// The first byte chooses what is read.
pub fn records(input: &[u8]) {
    let Some((chosen, bytes)) = input.split_first() else { return };
    match chosen {
        4 => published(bytes),
        chosen => own(chosen % 4, bytes),
    }
}

/// A published body in Avro; the first byte chooses which schema it is said to have.
fn published(input: &[u8]) {
    let Some((chosen, bytes)) = input.split_first() else { return };
    let kind = usize::from(*chosen).checked_sub(1).and_then(|index| Kind::ALL.get(index));
    let schema = format!("urn:evenkeel:avro:1:{}", kind.map_or("discrepancies", |kind| kind.document().name));
    let Some(body) = avro::read(&schema, bytes) else { return };
    // Which branch of a union it is, only the bytes know.
    if kind.is_some() {
        let again = Naming::RecordName.form(&[7; 4]).write(kind.copied(), &body);
        assert_eq!(avro::read(&schema, &again), Some(body), "it is read as it was written");
    }
}

fn own(chosen: u8, bytes: &[u8]) {
    match chosen {
        0 => headers(bytes),
        1 => {
            let rejected: Result<Rejected, _> = serde_json::from_slice(bytes);
            if let Ok(rejected) = rejected {
                let mut listed = Listed::default();
                listed.add(rejected.clone());
                listed.add(rejected);
                let _ = (listed.to_string(), listed.json());
            }
        }
        2 => {
            let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            let name = format!("{:020}-{digest}.json", 7);
            if let Ok(manifest) = Manifest::decode(&name, bytes) {
                let (name, again) = manifest.encode();
                assert!(Manifest::decode(&name, &again).is_ok(), "a manifest is read as it was written");
            }
        }
        _ => copy(bytes),
    }
}

fn headers(bytes: &[u8]) {
    let _ = run_of(Some(bytes));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(cause) = read_cause(text) {
        assert_eq!(read_cause(&format!("{}:{}", cause.offset, cause.number)), Some(cause));
    }
}

/// A copy whose digest is right, whatever is in it: who alters one can do that, too.
fn copy(bytes: &[u8]) {
    FOLDER.with(|folder| {
        let path = path_of(folder.path(), "t", 0);
        std::fs::write(path, [bytes, &Sha256::digest(bytes)].concat()).expect("it can be written");
        let Ok(mut reader) = CopyReader::open(folder.path(), "t", 0) else { return };
        while let Ok(Some(stored)) = reader.read() {
            let _ = chain::hash_of(&stored);
        }
    });
}

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("a temporary folder");
}
