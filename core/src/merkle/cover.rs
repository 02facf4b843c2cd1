//! Which perfect subtrees a range of leaves consists of.

use std::ops::Range;

/// The largest perfect subtrees that together cover exactly the leaves in `range`, from left to right, each as
/// `(level, index)`. At most two of each level.
pub fn cover(range: Range<u64>) -> impl Iterator<Item = (u8, u64)> {
    let Range { start: mut from, end: to } = range;
    std::iter::from_fn(move || {
        let left = to.checked_sub(from)?;
        // As large as fits before the end, and as the alignment of the start allows: 0 is aligned to everything.
        let level = left.checked_ilog2()?.min(from.trailing_zeros());
        let index = from.checked_shr(level)?;
        from = from.saturating_add(1_u64.checked_shl(level)?);
        Some((u8::try_from(level).ok()?, index))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subtrees_touch_and_none_could_be_larger() {
        for to in 0..70_u64 {
            for from in 0..=to {
                let parts: Vec<(u8, u64)> = cover(from..to).collect();
                let mut at = from;
                for (level, index) in &parts {
                    assert_eq!(index << level, at, "{from}..{to}");
                    at += 1 << level;
                }
                assert_eq!(at, to, "{from}..{to}");
                for pair in parts.windows(2) {
                    let [(left, index), (right, _)] = pair else { unreachable!("a window of two") };
                    assert!(left != right || index % 2 == 1, "{from}..{to}: two halves of one subtree");
                }
            }
        }
    }

    #[test]
    fn the_longest_log_is_covered_and_an_empty_or_inverted_range_is_not() {
        assert_eq!(
            cover(0..u64::MAX).map(|(level, _)| level).collect::<Vec<_>>(),
            (0..64).rev().collect::<Vec<_>>()
        );
        assert_eq!(cover(u64::MAX - 1..u64::MAX).collect::<Vec<_>>(), [(0, u64::MAX - 1)]);
        assert_eq!(cover(7..7).next(), None);
        #[expect(clippy::reversed_empty_ranges, reason = "that is the case")]
        let inverted = 7..3;
        assert_eq!(cover(inverted).next(), None);
    }
}
