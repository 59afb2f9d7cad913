//! FNV-1a, 64 bits: a hash that is the same everywhere and always, for names and fingerprints. Not for secrets.

/// The hash of `bytes`.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    continue_fnv1a(0xcbf2_9ce4_8422_2325, bytes)
}

/// The hash of what `hash` was the hash of, followed by `bytes`.
pub fn continue_fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
