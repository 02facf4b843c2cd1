//! Bucketing: which share of a rollout a user falls into. Integer arithmetic only; the values are frozen.

use std::borrow::Cow;

use serde_json::Value;

/// MurmurHash3 x86 32-bit by Austin Appleby, who placed it in the public domain.
pub fn murmur3_x86_32(bytes: &[u8], seed: u32) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let scramble = |word: u32| word.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);

    let mut hash = seed;
    let words = bytes.chunks_exact(4);
    let tail = words.remainder();
    for word in words {
        let word = word.iter().rev().fold(0, |word, byte| (word << 8) | u32::from(*byte));
        hash = (hash ^ scramble(word)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        let word = tail.iter().rev().fold(0, |word, byte| (word << 8) | u32::from(*byte));
        hash ^= scramble(word);
    }
    // The algorithm mixes in the length modulo 2^32.
    #[expect(clippy::cast_possible_truncation, reason = "the length counts modulo 2^32")]
    let length = bytes.len() as u32;
    hash ^= length;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// The bucket, from 0 to `total - 1`, of a value under a seed: `murmur3_x86_32(seed ":" value) * total >> 32`.
pub fn bucket(seed: &str, value: &str, total: u32) -> u32 {
    let hash = murmur3_x86_32(format!("{seed}:{value}").as_bytes(), 0);
    let scaled = u64::from(hash).saturating_mul(u64::from(total)) >> 32;
    // Smaller than `total`, as `hash` is smaller than 2^32.
    u32::try_from(scaled).unwrap_or(total)
}

/// The text that is hashed for an attribute's value: text as it is, integers in decimal, booleans by their names.
/// Anything else counts as missing. A double that is a whole number is one: `1.0` buckets as `1`.
pub fn hash_input(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        Value::Number(number) => number
            .as_i64()
            .map(|integer| integer.to_string())
            .or_else(|| number.as_u64().map(|integer| integer.to_string()))
            .or_else(|| whole(number.as_f64()?))
            .map(Cow::Owned),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn whole(double: f64) -> Option<String> {
    // Doubles beyond this are not told apart from their neighbours; within it the decimal form is exact.
    (double.fract() == 0.0 && double.abs() <= 9_007_199_254_740_991.0).then(|| format!("{:.0}", double + 0.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

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
            assert_eq!(murmur3_x86_32(text.as_bytes(), seed), hash, "{text:?} {seed:#x}");
        }
    }

    #[test]
    fn buckets_are_frozen() {
        let buckets: Vec<u32> = ["u1", "u2", "u3", "ünïcödé", ""]
            .iter()
            .map(|user| bucket("checkout-v2", user, 100_000))
            .collect();
        assert_eq!(buckets, [56_528, 36_104, 69_193, 47_110, 1_108]);
    }

    #[test]
    fn what_is_hashed() {
        for (value, input) in [
            (json!("a b"), Some("a b")),
            (json!(42), Some("42")),
            (json!(-1), Some("-1")),
            (json!(18_446_744_073_709_551_615_u64), Some("18446744073709551615")),
            (json!(42.0), Some("42")),
            (json!(-0.0), Some("0")),
            (json!(1.5), None),
            (json!(1e300), None),
            (json!(true), Some("true")),
            (json!(null), None),
            (json!(["a"]), None),
            (json!({"a": 1}), None),
        ] {
            assert_eq!(hash_input(&value).as_deref(), input, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_bucket_is_within_the_total(seed in ".*", value in ".*", total in 1..=u32::MAX) {
            prop_assert!(bucket(&seed, &value, total) < total);
        }

        /// Moving weight between two neighbours moves only the users on the moved boundary.
        #[test]
        fn only_the_users_that_must_move_do(users in prop::collection::vec("[a-z0-9]{1,12}", 1..200), at in 0..=100u32, to in 0..=100u32) {
            for user in &users {
                let bucket = bucket("ramp", user, 100);
                let moves = (bucket < at) != (bucket < to);
                prop_assert_eq!(moves, bucket >= at.min(to) && bucket < at.max(to));
            }
        }
    }
}
