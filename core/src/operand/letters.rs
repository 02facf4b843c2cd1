//! Texts without their case.

use smallvec::SmallVec;

/// Texts up to this many bytes are lowered without an allocation.
const INLINE_BYTES: usize = 256;

/// A text in lower case.
pub(crate) struct LowerCase(SmallVec<[u8; INLINE_BYTES]>);

impl LowerCase {
    /// Letter by letter: unlike `str::to_lowercase` it never looks at a letter's neighbours, so that a part of a text
    /// stays a part of it (a Greek final sigma would not).
    pub fn of(text: &str) -> Self {
        let mut lower = SmallVec::new();
        for letter in text.chars() {
            if letter.is_ascii() {
                // One byte, as every ASCII letter.
                lower.extend(u8::try_from(letter.to_ascii_lowercase()));
            } else {
                for letter in letter.to_lowercase() {
                    lower.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
        Self(lower)
    }

    /// Whether a text may have no more than so many bytes in lower case: a letter has at most four, and at least one in
    /// lower case. So that a long text need not be lowered to be compared with short ones.
    pub fn may_have_at_most(text: &str, bytes: u32) -> bool {
        text.len().div_ceil(4) <= usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Made of whole letters: it is text.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_part_of_a_text_stays_a_part_without_its_case() {
        // `"ΟΔΟΣ".to_lowercase()` ends in another sigma than `"Σ".to_lowercase()`: it would not contain it.
        assert!(LowerCase::of("ΟΔΟΣ").as_str().contains(LowerCase::of("Σ").as_str()));
        assert_eq!(LowerCase::of("ÀÉ ß I").as_str(), "àé ß i");
    }

    proptest! {
        #[test]
        fn it_is_what_the_letters_are(text in ".*") {
            let letters: String = text.chars().flat_map(char::to_lowercase).collect();
            let lower = LowerCase::of(&text);
            prop_assert_eq!(lower.as_str(), &letters);
            prop_assert!(LowerCase::may_have_at_most(&text, u32::try_from(letters.len()).expect("short")));
        }
    }
}
