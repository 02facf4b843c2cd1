//! JsonLogic's expressions taken apart: operators, attributes, constants, and the numbers that texts count as.

use serde_json::{Value, json};

use super::{Translated, refuse};

/// What a `var` may name.
pub(super) enum Variable<'a> {
    Attribute(&'a str),
    /// The key of the flag itself.
    FlagKey,
}

/// The one operator of a JsonLogic object, and what it is given.
pub(super) fn operation(expression: &Value) -> Translated<(&str, &Value)> {
    let Some(object) = expression.as_object() else { return refuse(format!("the constant {expression}")) };
    let mut entries = object.iter();
    match (entries.next(), entries.next()) {
        (Some((name, arguments)), None) => Ok((name, arguments)),
        _ => refuse("an object that is not one operator"),
    }
}

pub(super) fn only<'a>(name: &str, arguments: &'a Value) -> Translated<&'a Value> {
    match arguments {
        Value::Array(list) => match list.as_slice() {
            [argument] => Ok(argument),
            _ => refuse(format!("`{name}` without exactly one operand")),
        },
        argument => Ok(argument),
    }
}

pub(super) fn pair<'a, T>(name: &str, operands: &'a [T]) -> Translated<(&'a T, &'a T)> {
    match operands {
        [left, right] => Ok((left, right)),
        _ => refuse(format!("`{name}` without two operands")),
    }
}

/// What a name in a `var` stands for.
pub(super) fn variable(name: &str) -> Translated<Variable<'_>> {
    match name {
        "" => return refuse("the whole context as a value"),
        "$flagd.flagKey" => return Ok(Variable::FlagKey),
        "$flagd.timestamp" => {
            return refuse(
                "flagd's own attribute \"$flagd.timestamp\": no evaluation here depends on the time; change the flag when \
                 the time has come, or have callers send the time as an attribute and compare that with `before` and `after`",
            );
        }
        _ if name == "$flagd" || name.starts_with("$flagd.") => {
            return refuse(format!("flagd's own attribute \"{name}\""));
        }
        _ => {}
    }
    if name.split('.').any(|part| part.is_empty() || part.bytes().all(|b| b.is_ascii_digit())) {
        return refuse(format!("the path \"{name}\", which goes into a list"));
    }
    Ok(Variable::Attribute(name))
}

/// The number that a text counts as; `None` where it counts as none.
///
/// JavaScript's rules and Go's agree on decimal numbers and on what is far from any; a text that only one of
/// the two reads as a number is refused.
pub(super) fn spelled(text: &str) -> Translated<Option<f64>> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(Some(0.0));
    }
    let digits = trimmed.trim_start_matches(['+', '-']);
    let starts_as_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let decimal = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    match trimmed.parse::<f64>() {
        Ok(number) if starts_as_number && decimal && trimmed == text => {
            Ok(Some(number).filter(|n| n.is_finite()))
        }
        Ok(_) if starts_as_number => {
            refuse(format!("{text:?} as a number, which flagd's engines read differently"))
        }
        // No attribute is infinite or not a number.
        Ok(_) => Ok(None),
        Err(_) if ["0x", "0X", "0b", "0B", "0o", "0O"].iter().any(|p| digits.starts_with(p)) => {
            refuse(format!("{text:?} as a number, which flagd's engines read differently"))
        }
        Err(_) => Ok(None),
    }
}

/// The number as JSON writes it: without a fraction where it has none.
pub(super) fn plain(number: f64) -> Value {
    // Within +-2^53 every whole number is exact in both.
    if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
        #[allow(clippy::cast_possible_truncation)] // checked just above
        return json!(number as i64);
    }
    json!(number)
}
