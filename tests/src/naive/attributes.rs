//! Finding an attribute, and the text that is hashed and listed for it.

use serde_json::Value;

use super::Context;

/// The attribute of that name, else what the dots in it lead to. `null` is nothing; one of exactly that name hides what
/// the dots lead to.
pub(super) fn find<'c>(context: &'c Context, name: &str) -> Option<&'c Value> {
    if let Some(value) = context.get(name) {
        return if value.is_null() { None } else { Some(value) };
    }
    let steps: Vec<&str> = name.split('.').collect();
    if steps.len() < 2 {
        return None;
    }
    let mut object = context;
    for step in &steps[..steps.len() - 1] {
        object = object.get(*step)?.as_object()?;
    }
    let value = object.get(steps[steps.len() - 1])?;
    if value.is_null() { None } else { Some(value) }
}

/// The text that is hashed for a value and looked for in lists; `None` where the value counts as missing.
pub(super) fn hash_input(value: &Value) -> Option<String> {
    const LARGEST_EXACT: f64 = 9_007_199_254_740_991.0;
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(true) => Some("true".to_owned()),
        Value::Bool(false) => Some("false".to_owned()),
        Value::Number(number) if number.is_f64() => {
            let double = number.as_f64()?;
            if double == double.trunc() && (-LARGEST_EXACT..=LARGEST_EXACT).contains(&double) {
                #[expect(clippy::cast_possible_truncation, reason = "whole, and within an i64")]
                let integer = double as i64;
                Some(integer.to_string())
            } else {
                None
            }
        }
        // An integer is written in decimal by itself.
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
