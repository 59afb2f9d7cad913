//! Which partition of the changes log a key belongs to.
//!
//! Kafka's own default partitioner (murmur2 over the key's bytes, `org.apache.kafka.common.utils.Utils.murmur2`), so
//! that any Java producer or consumer that knows the key finds the same partition.

use super::change::Key;

/// The part of the keys that one partition of the changes log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    pub partition: i32,
    /// How many partitions the changes log has; at least 1.
    pub partitions: i32,
}

impl Ownership {
    /// One partition that holds every key.
    pub const WHOLE: Ownership = Ownership { partition: 0, partitions: 1 };

    pub fn owns(&self, key: &Key) -> bool {
        partition_of(key.0.as_bytes(), self.partitions) == self.partition
    }
}

/// The partition of `bytes` among `partitions` (at least 1).
pub fn partition_of(bytes: &[u8], partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has at least one partition");
    (murmur2(bytes) & 0x7FFF_FFFF) as i32 % partitions
}

fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().expect("chunks are of four bytes")).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::murmur2;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_kafkas() {
        let vectors: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (text, hash) in vectors {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }
}
