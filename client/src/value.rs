//! The types that a flag's value may be asked for as.

use serde_json::{Map, Value};

/// A type of value.
pub(crate) trait FlagValue: Sized {
    /// What a flag must be for it.
    const WANTED: &'static str;

    /// The value, if it is of this type.
    fn of(value: &Value) -> Option<Self>;
}

impl FlagValue for bool {
    const WANTED: &'static str = "boolean";

    fn of(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl FlagValue for String {
    const WANTED: &'static str = "string";

    fn of(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl FlagValue for i64 {
    const WANTED: &'static str = "integer";

    fn of(value: &Value) -> Option<Self> {
        value.as_i64()
    }
}

impl FlagValue for f64 {
    // An integer flag's values are exact as doubles.
    const WANTED: &'static str = "number or integer";

    fn of(value: &Value) -> Option<Self> {
        value.as_f64()
    }
}

impl FlagValue for Map<String, Value> {
    const WANTED: &'static str = "object";

    fn of(value: &Value) -> Option<Self> {
        value.as_object().cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_read_as_its_own_type_and_an_integer_as_a_number_too() {
        assert_eq!(
            (bool::of(&json!(true)), bool::of(&json!("true")), bool::of(&json!(1))),
            (Some(true), None, None)
        );
        assert_eq!((i64::of(&json!(-3)), i64::of(&json!(3.0)), i64::of(&json!("3"))), (Some(-3), None, None));
        assert_eq!(
            (f64::of(&json!(1.5)), f64::of(&json!(2)), f64::of(&json!(null))),
            (Some(1.5), Some(2.0), None)
        );
        assert_eq!((String::of(&json!("a")), String::of(&json!(["a"]))), (Some("a".to_owned()), None));
        assert_eq!(Map::of(&json!({"a": 1})).map(|map| map.len()), Some(1));
        assert_eq!(Map::of(&json!([])), None);
    }
}
