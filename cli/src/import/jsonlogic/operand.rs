//! JsonLogic's expressions taken apart: operators, attributes, constants, and the numbers that texts count as.

use serde_json::{Value, json};

use super::{Translated, refuse};

/// What an operator is given.
pub(super) enum Operand<'a> {
    Attribute(&'a str),
    Constant(&'a Value),
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

pub(super) fn pair<'a>(what: &str, arguments: &'a Value) -> Translated<(Operand<'a>, Operand<'a>)> {
    match arguments.as_array().map(Vec::as_slice) {
        Some([left, right]) => Ok((operand(left)?, operand(right)?)),
        _ => refuse(format!("{what} without two operands")),
    }
}

pub(super) fn operand(value: &Value) -> Translated<Operand<'_>> {
    if !value.is_object() {
        return Ok(Operand::Constant(value));
    }
    match operation(value)? {
        ("var", arguments) => attribute(arguments).map(Operand::Attribute),
        (name, _) => refuse(format!("`{name}` inside a comparison")),
    }
}

/// The attribute that a `var` names.
pub(super) fn attribute(arguments: &Value) -> Translated<&str> {
    let name = match arguments {
        Value::Array(list) => match list.as_slice() {
            [name] | [name, Value::Null] => name,
            [_, _] => return refuse("a `var` with a default"),
            _ => return refuse("a `var` that names no attribute"),
        },
        name => name,
    };
    let Some(name) = name.as_str() else { return refuse("a `var` that names no attribute") };
    if name.is_empty() {
        return refuse("the whole context as a value");
    }
    if name.starts_with("$flagd") {
        return refuse(format!("flagd's own attribute \"{name}\""));
    }
    if name.split('.').any(|part| part.is_empty() || part.bytes().all(|b| b.is_ascii_digit())) {
        return refuse(format!("the path \"{name}\", which goes into a list"));
    }
    Ok(name)
}

/// The number that a text counts as in `==`; `None` where it counts as none.
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
            refuse(format!("`==` with {text:?}, which flagd's engines read differently"))
        }
        // No attribute is infinite or not a number.
        Ok(_) => Ok(None),
        Err(_) if ["0x", "0X", "0b", "0B", "0o", "0O"].iter().any(|p| digits.starts_with(p)) => {
            refuse(format!("`==` with {text:?}, which flagd's engines read differently"))
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
