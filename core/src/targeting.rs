//! Whether a condition holds for a context. Never an error and never a panic: what is missing or of another type does
//! not match.

use serde_json::Value;

use crate::{
    bucketing::{bucket, hash_input},
    condition::{AttributeCondition, Bucket, Condition, Operator},
    context::{EvaluationContext, TARGETING_KEY},
    evaluate::EnvironmentView,
    key::SegmentKey,
    limits::SEGMENT_DEPTH_MAX,
};

/// Whether the condition holds. `segments_left` bounds how many segments deep it may go, so that even a catalog
/// with a cycle, which `apply` refuses, could not hang an evaluation.
pub(crate) fn matches(
    view: &EnvironmentView<'_>,
    condition: &Condition,
    context: &EvaluationContext,
    segments_left: usize,
) -> bool {
    match condition {
        Condition::All(inner) => {
            inner.iter().all(|condition| matches(view, condition, context, segments_left))
        }
        Condition::Any(inner) => {
            inner.iter().any(|condition| matches(view, condition, context, segments_left))
        }
        Condition::Not(inner) => !matches(view, inner, context, segments_left),
        Condition::Segment(key) => is_member(view, key, context, segments_left),
        Condition::Bucket(bucket) => is_in_bucket(bucket, context),
        Condition::Attribute(attribute) => attribute_matches(attribute, context),
    }
}

/// Whether a rule's or the default's condition holds; none at all holds for everyone.
pub(crate) fn applies(
    view: &EnvironmentView<'_>,
    when: Option<&Condition>,
    context: &EvaluationContext,
) -> bool {
    when.is_none_or(|condition| matches(view, condition, context, SEGMENT_DEPTH_MAX))
}

fn is_member(
    view: &EnvironmentView<'_>,
    key: &SegmentKey,
    context: &EvaluationContext,
    segments_left: usize,
) -> bool {
    let Some(segments_left) = segments_left.checked_sub(1) else { return false };
    let Some(stored) = view.project.segments.get(key) else { return false };
    let listed = context
        .get(TARGETING_KEY)
        .and_then(hash_input)
        .and_then(|key| stored.segment.lists(view.environment, &key));
    listed.unwrap_or_else(|| {
        let when = stored.segment.when(view.environment);
        when.is_some_and(|condition| matches(view, condition, context, segments_left))
    })
}

fn is_in_bucket(range: &Bucket, context: &EvaluationContext) -> bool {
    let Some(value) = context.get(&range.by).and_then(hash_input) else { return false };
    (range.from..range.to).contains(&bucket(&range.seed, &value, range.of))
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
                let attribute = attribute.to_lowercase();
                values.any(|value| compare(&attribute, &value.to_lowercase()))
            } else {
                values.any(|value| compare(attribute, value))
            }
        })
    };
    let number = |is_match: fn(std::cmp::Ordering) -> bool| {
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
        Operator::Lt => number(std::cmp::Ordering::is_lt),
        Operator::Lte => number(std::cmp::Ordering::is_le),
        Operator::Gt => number(std::cmp::Ordering::is_gt),
        Operator::Gte => number(std::cmp::Ordering::is_ge),
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
        (Value::Number(_), Value::Number(_)) => {
            compare_numbers(one, other).is_some_and(std::cmp::Ordering::is_eq)
        }
        (Value::String(one), Value::String(other)) => one == other,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        _ => false,
    }
}

/// Compares two numbers exactly where both are integers, else as doubles.
fn compare_numbers(one: &Value, other: &Value) -> Option<std::cmp::Ordering> {
    let integer = |value: &Value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}
