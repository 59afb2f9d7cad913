//! The chain of a discrepancy partition: each record carries the hash of the one before, so that nobody can take one out,
//! put one in or alter one without a reader seeing it.
//!
//! Must not know: Kafka. A record's hash is the SHA-256 of its key, its value, and each header's name and value, in their
//! order, each preceded by its length as eight bytes, big-endian; null has the length 2^64 - 1 and no bytes. The header that
//! carries the hash of the record before is one of them.

use sha2::{Digest, Sha256};

use crate::adapters::copy::Stored;

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

/// The hash of a record as its topic has it.
pub fn hash_of(record: &Stored) -> String {
    let headers = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    hash(record.key.as_deref(), record.value.as_deref(), headers)
}

#[cfg(test)]
mod tests {
    use super::hash;

    /// As docs/records.md has it, computed by another program (Python's hashlib).
    #[test]
    fn a_hash_is_as_others_compute_it() {
        let headers = [("ce_id", Some(&b"7/1"[..])), ("empty", Some(&b""[..])), ("null", None)];
        assert_eq!(
            hash(Some(b"42"), Some(b"{}"), headers),
            "e219028d78883cd42c2c82747c451a39ed4c2d57c0d0f4697c455dd6aad1110c"
        );
        assert_eq!(hash(None, None, []), "5ac6a5945f16500911219129984ba8b387a06f24fe383ce4e81a73294065461b");
    }
}
