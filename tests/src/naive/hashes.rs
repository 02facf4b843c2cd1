//! The hashes by which this and other systems divide users.

use sha1::{Digest as _, Sha1};

/// MurmurHash3, x86, 32 bit.
pub(super) fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    let mixed = |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut hash = seed;
    let mut at = 0;
    while at + 4 <= bytes.len() {
        let block = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        hash ^= mixed(block);
        hash = hash.rotate_left(13);
        hash = hash.wrapping_mul(5).wrapping_add(0xe654_6b64);
        at += 4;
    }
    let mut rest = [0; 4];
    rest[..bytes.len() - at].copy_from_slice(&bytes[at..]);
    // A rest of nothing mixes to zero, which changes nothing.
    hash ^= mixed(u32::from_le_bytes(rest));

    hash ^= u32::try_from(bytes.len()).expect("short");
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// The first fifteen hexadecimal digits of a text's SHA-1.
pub(super) fn sha1_first_15_digits(text: &str) -> u64 {
    let digits: String = Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    u64::from_str_radix(&digits[..15], 16).expect("fifteen digits")
}

/// CRC-32 as Ethernet and zip have it, bit by bit.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut remainder = u32::MAX;
    for byte in bytes {
        remainder ^= u32::from(*byte);
        for _ in 0..8 {
            remainder = if remainder & 1 == 1 { (remainder >> 1) ^ 0xedb8_8320 } else { remainder >> 1 };
        }
    }
    !remainder
}

/// FNV-1a, 32 bit.
pub(super) fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(2_166_136_261, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(16_777_619))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors() {
        for (text, seed, hash) in [
            ("", 0, 0),
            ("", 1, 0x514e_28b7),
            ("a", 0x9747_b28c, 0x7fa0_9ea6),
            ("aa", 0x9747_b28c, 0x5d21_1726),
            ("aaa", 0x9747_b28c, 0x283e_0130),
            ("test", 0, 0xba6b_d213),
            ("The quick brown fox jumps over the lazy dog", 0, 0x2e4f_f723),
        ] {
            assert_eq!(murmur3(text.as_bytes(), seed), hash, "{text:?} {seed:#x}");
        }
        // FIPS 180's "abc": a9993e36 4706816a ba3e2571...
        assert_eq!(sha1_first_15_digits("abc"), 0xa99_93e3_6470_6816);
        // The check value that every catalogue of CRCs has.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        // From the authors' own vectors.
        for (text, hash) in [("", 0x811c_9dc5), ("a", 0xe40c_292c), ("foobar", 0xbf9c_f968)] {
            assert_eq!(fnv1a(text.as_bytes()), hash, "{text}");
        }
    }
}
