//! Numbers, compared by what they are worth. Exact: no integer is rounded to a double for it.

use std::cmp::Ordering;

use serde_json::Value;

/// A JSON number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    /// A whole number that JSON has written as one: at most 65 bits.
    Integer(i128),
    /// Anything else; finite, for JSON has no other.
    Double(f64),
}

impl Number {
    /// The number that a value is, if it is one.
    pub fn of(value: &Value) -> Option<Self> {
        let number = value.as_number()?;
        if let Some(integer) = number.as_i64() {
            return Some(Self::Integer(integer.into()));
        }
        if let Some(integer) = number.as_u64() {
            return Some(Self::Integer(integer.into()));
        }
        number.as_f64().filter(|double| double.is_finite()).map(Self::Double)
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(one), Self::Integer(other)) => one.cmp(other),
            (Self::Integer(one), Self::Double(other)) => compare_with_double(*one, *other),
            (Self::Double(one), Self::Integer(other)) => compare_with_double(*other, *one).reverse(),
            // Both are finite, so they do compare; and unlike in `total_cmp` the two zeros are equal.
            (Self::Double(one), Self::Double(other)) => one.partial_cmp(other).unwrap_or(Ordering::Equal),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number {}

fn compare_with_double(integer: i128, double: f64) -> Ordering {
    let floor = double.floor();
    // The integer has at most 65 bits, and this conversion saturates at 127: what is beyond stays beyond.
    #[expect(clippy::cast_possible_truncation, reason = "whole, and saturating is right")]
    let whole = floor as i128;
    match integer.cmp(&whole) {
        Ordering::Equal if double > floor => Ordering::Less,
        ordering => ordering,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_compare_by_what_they_are_worth() {
        for (one, other, expected) in [
            (json!(1), json!(1.0), Ordering::Equal),
            (json!(0), json!(-0.0), Ordering::Equal),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992.0), Ordering::Greater),
            (json!(-1), json!(-0.5), Ordering::Less),
            (json!(0.5), json!(0), Ordering::Greater),
            (json!(u64::MAX), json!(1e300), Ordering::Less),
            (json!(u64::MAX), json!(18_446_744_073_709_551_616.0), Ordering::Less),
            (json!(i64::MIN), json!(-1e300), Ordering::Greater),
            (json!(u64::MAX), json!(i64::MAX), Ordering::Greater),
            (json!(0.1), json!(0.2), Ordering::Less),
            (json!(0.0), json!(-0.0), Ordering::Equal),
        ] {
            let (one, other) = (Number::of(&one).expect("a number"), Number::of(&other).expect("a number"));
            assert_eq!(one.cmp(&other), expected, "{one:?} {other:?}");
            assert_eq!(other.cmp(&one), expected.reverse(), "{other:?} {one:?}");
        }
        assert_eq!(Number::of(&json!("1")), None);
    }

    proptest! {
        #[test]
        fn comparing_is_antisymmetric(one in any::<i64>(), other in any::<f64>()) {
            prop_assume!(other.is_finite());
            let (one, other) = (Number::Integer(one.into()), Number::Double(other));
            prop_assert_eq!(one.cmp(&other), other.cmp(&one).reverse());
        }
    }
}
