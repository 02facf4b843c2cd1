//! FNV-1a, 32-bit, by Glenn Fowler, Landon Curt Noll and Kiem-Phong Vo, who placed it in the public domain.

/// A hash under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fnv1a(u32);

impl Fnv1a {
    /// A hash of nothing yet.
    pub(crate) fn new() -> Self {
        Self(0x811c_9dc5)
    }

    /// Takes in more bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    }

    /// The hash of all that was taken in.
    pub(crate) fn finish(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fnv1a(parts: &[&str]) -> u32 {
        let mut hash = Fnv1a::new();
        for part in parts {
            hash.write(part.as_bytes());
        }
        hash.finish()
    }

    #[test]
    fn published_vectors() {
        // From the test program of its authors, and the last one from GO Feature Flag's `internal/utils/hash_test.go`.
        for (text, hash) in [
            ("", 0x811c_9dc5),
            ("a", 0xe40c_292c),
            ("ab", 0x4d25_05ca),
            ("foobar", 0xbf9c_f968),
            ("flagNameUserKey", 3_946_001_934),
        ] {
            assert_eq!(fnv1a(&[text]), hash, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_comes_in_parts_hashes_as_one(parts in prop::collection::vec(".{0,8}", 0..6)) {
            let whole = parts.concat();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            prop_assert_eq!(fnv1a(&parts), fnv1a(&[&whole]));
        }
    }
}
