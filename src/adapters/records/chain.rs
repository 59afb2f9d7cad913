//! The chain of a discrepancy partition: each record carries the hash of the one before, so that nobody can take one out,
//! put one in or alter one without a reader seeing it.
//!
//! Must not know: Kafka. A record's hash is the SHA-256 of its key, its value, and each header's name and value, in their
//! order, each preceded by its length as eight bytes, big-endian; null has the length 2^64 - 1 and no bytes. The header that
//! carries the hash of the record before is one of them.

use sha2::{Digest, Sha256};

/// The header that carries the hash of the record before, in hexadecimal; the first record has none.
pub const PREVIOUS_HEADER: &str = "evenkeel-previous";

/// A record's hash, in hexadecimal.
pub fn hash<'r>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl IntoIterator<Item = (&'r str, Option<&'r [u8]>)>,
) -> String {
    let mut sha256 = Sha256::new();
    let mut add = |part: Option<&[u8]>| {
        sha256.update(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
        sha256.update(part.unwrap_or_default());
    };
    add(key);
    add(value);
    for (name, value) in headers {
        add(Some(name.as_bytes()));
        add(value);
    }
    sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
