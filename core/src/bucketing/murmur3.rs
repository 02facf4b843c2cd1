//! MurmurHash3 x86 32-bit by Austin Appleby, who placed it in the public domain.

/// A hash under way. It is twelve bytes, so one that has taken in a seed is copied for each value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Murmur3 {
    hash: u32,
    /// The bytes that make no whole word yet, the first one lowest. How many they are, `length` tells.
    tail: u32,
    /// Bytes taken in, modulo 2^32.
    length: u32,
}

impl Murmur3 {
    /// A hash of nothing yet, under the algorithm's own seed, which is a number.
    pub(crate) fn new(seed: u32) -> Self {
        Self { hash: seed, tail: 0, length: 0 }
    }

    /// Takes in more bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let waiting = self.length % 4;
        let shift = waiting.wrapping_mul(8);
        // The algorithm mixes in the length modulo 2^32.
        #[expect(clippy::cast_possible_truncation, reason = "the length counts modulo 2^32")]
        let length = bytes.len() as u32;
        self.length = self.length.wrapping_add(length);

        let (words, rest) = bytes.as_chunks::<4>();
        for word in words {
            self.push(u32::from_le_bytes(*word), shift);
        }
        let last = rest.iter().rev().fold(0, |word, byte| (word << 8) | u32::from(*byte));
        if rest.len().saturating_add(waiting as usize) >= 4 {
            self.push(last, shift);
        } else {
            self.tail |= last.wrapping_shl(shift);
        }
    }

    /// Mixes in the word that the waiting bytes and the first ones of `next` make; the others wait.
    fn push(&mut self, next: u32, shift: u32) {
        let both = u64::from(self.tail) | u64::from(next).wrapping_shl(shift);
        #[expect(clippy::cast_possible_truncation, reason = "the lower half, then the upper one")]
        let (word, tail) = (both as u32, (both >> 32) as u32);
        self.hash = (self.hash ^ scramble(word)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
        self.tail = tail;
    }

    /// The hash of all that was taken in.
    pub(crate) fn finish(self) -> u32 {
        // Without a tail this is `^ 0`.
        let mut hash = self.hash ^ scramble(self.tail) ^ self.length;
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
        hash ^ (hash >> 16)
    }
}

fn scramble(word: u32) -> u32 {
    word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn murmur3(parts: &[&[u8]], seed: u32) -> u32 {
        let mut hash = Murmur3::new(seed);
        for part in parts {
            hash.write(part);
        }
        hash.finish()
    }

    #[test]
    fn published_vectors() {
        // From the SMHasher test program and the collections of vectors that implementations share.
        for (text, seed, hash) in [
            ("", 0, 0),
            ("", 1, 0x514e_28b7),
            ("", 0xffff_ffff, 0x81f1_6f39),
            ("test", 0, 0xba6b_d213),
            ("test", 0x9747_b28c, 0x704b_81dc),
            ("Hello, world!", 0, 0xc036_3e43),
            ("Hello, world!", 0x9747_b28c, 0x2488_4cba),
            ("The quick brown fox jumps over the lazy dog", 0, 0x2e4f_f723),
            ("The quick brown fox jumps over the lazy dog", 0x9747_b28c, 0x2fa8_26cd),
            ("aaa", 0x9747_b28c, 0x283e_0130),
            ("aa", 0x9747_b28c, 0x5d21_1726),
            ("a", 0x9747_b28c, 0x7fa0_9ea6),
        ] {
            assert_eq!(murmur3(&[text.as_bytes()], seed), hash, "{text:?} {seed:#x}");
        }
    }

    /// SMHasher's own check of an implementation: the hashes of `[]`, `[0]`, `[0, 1]` to `[0, .., 254]`, each under the
    /// seed 256 less its length, hashed in turn.
    #[test]
    fn the_verification_value_of_smhasher() {
        let all: Vec<u8> = (0..=255).collect();
        let hashes: Vec<u8> = (0..256_u32)
            .flat_map(|length| murmur3(&[&all[..length as usize]], 256 - length).to_le_bytes())
            .collect();
        assert_eq!(murmur3(&[&hashes], 0), 0xb0f5_7ee3);
    }

    proptest! {
        #[test]
        fn what_comes_in_parts_hashes_as_one(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9), seed: u32) {
            let whole = parts.concat();
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(murmur3(&parts, seed), murmur3(&[&whole], seed));
        }

        #[test]
        fn every_split_in_two_hashes_as_one(whole in prop::collection::vec(any::<u8>(), 0..40), seed: u32) {
            for at in 0..=whole.len() {
                let (before, after) = whole.split_at(at);
                prop_assert_eq!(murmur3(&[before, after], seed), murmur3(&[&whole], seed));
            }
        }
    }
}
