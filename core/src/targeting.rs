//! Whether a condition holds for a context. Never an error and never a panic: what is missing or of another type does
//! not match.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use crate::{
    bucketing::{BucketRange, HashInput},
    condition::{AttributeCondition, Bucket, Condition, Operator},
    context::{EvaluationContext, TARGETING_KEY},
    evaluate::Evaluation,
    key::SegmentKey,
    limits::SEGMENT_DEPTH_MAX,
};

/// Whether a rule's condition holds; none at all holds for everyone.
pub(crate) fn applies<'a>(evaluation: &mut Evaluation<'a, '_>, when: Option<&'a Condition>) -> bool {
    when.is_none_or(|condition| matches(evaluation, condition, SEGMENT_DEPTH_MAX))
}

/// `segments_left` bounds how many segments deep it may go, and with it the stack, as `apply` bounds it too.
fn matches<'a>(evaluation: &mut Evaluation<'a, '_>, condition: &'a Condition, segments_left: usize) -> bool {
    match condition {
        Condition::All(inner) => inner.iter().all(|condition| matches(evaluation, condition, segments_left)),
        Condition::Any(inner) => inner.iter().any(|condition| matches(evaluation, condition, segments_left)),
        Condition::Not(inner) => !matches(evaluation, inner, segments_left),
        Condition::Segment(key) => is_member(evaluation, key, segments_left),
        Condition::Bucket(bucket) => is_in_bucket(bucket, evaluation.context),
        Condition::Attribute(attribute) => attribute_matches(attribute, evaluation.context),
    }
}

fn is_member<'a>(evaluation: &mut Evaluation<'a, '_>, key: &'a SegmentKey, segments_left: usize) -> bool {
    if let Some(is_member) = evaluation.members.get(key) {
        return *is_member;
    }
    evaluation.members.insert(key, false);
    let is_member = work_out_member(evaluation, key, segments_left);
    evaluation.members.insert(key, is_member);
    is_member
}

fn work_out_member(evaluation: &mut Evaluation<'_, '_>, key: &SegmentKey, segments_left: usize) -> bool {
    let view = evaluation.view;
    let Some(segments_left) = segments_left.checked_sub(1) else { return false };
    let Some(stored) = view.project.segments.get(key) else { return false };
    let listed = evaluation
        .context
        .get(TARGETING_KEY)
        .and_then(HashInput::of)
        .and_then(|key| stored.segment.lists(view.environment, key.as_str()));
    listed.unwrap_or_else(|| {
        let when = stored.segment.when(view.environment);
        when.is_some_and(|condition| matches(evaluation, condition, segments_left))
    })
}

fn is_in_bucket(range: &Bucket, context: &EvaluationContext) -> bool {
    let Some(value) = context.get(&range.by).and_then(HashInput::of) else { return false };
    BucketRange::new(&range.seed, range.from..range.to, range.of).holds(value.as_str())
}

fn attribute_matches(condition: &AttributeCondition, context: &EvaluationContext) -> bool {
    let Some(attribute) = context.get(&condition.attribute) else { return false };
    if condition.op == Operator::Exists {
        return true;
    }
    match attribute {
        // An array matches when any of its elements does.
        Value::Array(elements) => elements.iter().any(|element| value_matches(condition, element)),
        _ => value_matches(condition, attribute),
    }
}

fn value_matches(condition: &AttributeCondition, attribute: &Value) -> bool {
    let text = |compare: fn(&str, &str) -> bool| {
        attribute.as_str().is_some_and(|attribute| {
            let mut values = condition.values.iter().filter_map(Value::as_str);
            if condition.ignore_case {
                let attribute = lower_case(attribute);
                values.any(|value| compare(&attribute, &lower_case(value)))
            } else {
                values.any(|value| compare(attribute, value))
            }
        })
    };
    let number = |is_match: fn(Ordering) -> bool| {
        condition.values.iter().any(|value| compare_numbers(attribute, value).is_some_and(is_match))
    };
    match condition.op {
        Operator::In | Operator::Eq if condition.ignore_case && attribute.is_string() => {
            text(|attribute, value| attribute == value)
        }
        Operator::In | Operator::Eq => condition.values.iter().any(|value| equals(attribute, value)),
        Operator::StartsWith => text(|attribute, value| attribute.starts_with(value)),
        Operator::EndsWith => text(|attribute, value| attribute.ends_with(value)),
        Operator::Contains => text(|attribute, value| attribute.contains(value)),
        Operator::Lt => number(Ordering::is_lt),
        Operator::Lte => number(Ordering::is_le),
        Operator::Gt => number(Ordering::is_gt),
        Operator::Gte => number(Ordering::is_ge),
        Operator::Exists => true,
        // Refused when proposed: a catalog holds none of them.
        Operator::Matches
        | Operator::Before
        | Operator::After
        | Operator::SemverEq
        | Operator::SemverLt
        | Operator::SemverLte
        | Operator::SemverGt
        | Operator::SemverGte
        | Operator::Cidr => false,
    }
}

/// Equality strict by type, but for numbers: 1 equals 1.0.
fn equals(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(_), Value::Number(_)) => compare_numbers(one, other).is_some_and(Ordering::is_eq),
        (Value::String(one), Value::String(other)) => one == other,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        _ => false,
    }
}

/// Letter by letter: unlike `str::to_lowercase` it never looks at a letter's neighbours, so that a part of a text
/// stays a part of it (a Greek final sigma would not).
fn lower_case(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Compares two numbers by what they are worth. Exact: no integer is rounded to a double for it.
fn compare_numbers(one: &Value, other: &Value) -> Option<Ordering> {
    let integer =
        |number: &Number| number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    let (one, other) = (one.as_number()?, other.as_number()?);
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        (Some(one), None) => compare_with_double(one, other.as_f64()?),
        (None, Some(other)) => compare_with_double(other, one.as_f64()?).map(Ordering::reverse),
        (None, None) => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

fn compare_with_double(integer: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    let floor = double.floor();
    // The integer has at most 65 bits, and this conversion saturates at 127: what is beyond stays beyond.
    #[expect(clippy::cast_possible_truncation, reason = "whole, and saturating is right")]
    let whole = floor as i128;
    match integer.cmp(&whole) {
        Ordering::Equal if double > floor => Some(Ordering::Less),
        ordering => Some(ordering),
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
        ] {
            assert_eq!(compare_numbers(&one, &other), Some(expected), "{one} {other}");
            assert_eq!(compare_numbers(&other, &one), Some(expected.reverse()), "{other} {one}");
        }
        assert_eq!(compare_numbers(&json!("1"), &json!(1)), None);
    }

    #[test]
    fn a_part_of_a_text_stays_a_part_without_its_case() {
        // `"ΟΔΟΣ".to_lowercase()` ends in another sigma than `"Σ".to_lowercase()`: it would not contain it.
        assert!(lower_case("ΟΔΟΣ").contains(&lower_case("Σ")));
        assert_eq!(lower_case("ÀÉ ß I"), "àé ß i");
    }

    proptest! {
        #[test]
        fn comparing_is_total_and_antisymmetric(one in any::<i64>(), other in any::<f64>()) {
            prop_assume!(other.is_finite());
            let (one, other) = (json!(one), json!(other));
            let ordering = compare_numbers(&one, &other);
            prop_assert!(ordering.is_some());
            prop_assert_eq!(ordering, compare_numbers(&other, &one).map(Ordering::reverse));
        }
    }
}
