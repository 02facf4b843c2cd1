//! Expressions of constants, worked out as JsonLogic does. Where the engines that flagd documents would not agree it is
//! refused.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::{
    Translated,
    operand::{plain, spelled},
    refuse,
};

/// Whether a constant counts as true.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(_) => true,
    }
}

/// `==`
pub(super) fn equal(one: &Value, other: &Value) -> Translated<bool> {
    match (one, other) {
        (Value::Null, other) | (other, Value::Null) => Ok(other.is_null()),
        (Value::String(one), Value::String(other)) => Ok(one == other),
        _ => match (number(one)?, number(other)?) {
            (Some(one), Some(other)) => Ok(one == other),
            _ => Ok(false),
        },
    }
}

/// `===`
pub(super) fn identical(one: &Value, other: &Value) -> Translated<bool> {
    match (one, other) {
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            refuse("a comparison of a list")
        }
        (Value::Number(one), Value::Number(other)) => Ok(one.as_f64() == other.as_f64()),
        _ => Ok(one == other),
    }
}

/// The order of two constants; `None` where they have none and every ordering is false.
pub(super) fn order(one: &Value, other: &Value) -> Translated<Option<Ordering>> {
    match (one, other) {
        (Value::String(one), Value::String(other)) => {
            let by_unit = one.encode_utf16().cmp(other.encode_utf16());
            match by_unit == one.cmp(other) {
                true => Ok(Some(by_unit)),
                false => refuse(format!(
                    "the order of {one:?} and {other:?}, which flagd's engines read differently"
                )),
            }
        }
        _ => Ok(number(one)?.zip(number(other)?).and_then(|(one, other)| one.partial_cmp(&other))),
    }
}

/// Whether an element is in a list, or a text in a text.
pub(super) fn contains(needle: &Value, haystack: &Value) -> Translated<bool> {
    match haystack {
        Value::String(text) => match needle {
            Value::String(part) => Ok(text.contains(part.as_str())),
            other => refuse(format!("`in` with {other} in a text")),
        },
        Value::Array(list) => {
            let mut found = false;
            for element in list {
                found |= identical(needle, element)?;
            }
            Ok(found)
        }
        _ => Ok(false),
    }
}

/// What an operator makes of constants alone.
pub(super) fn computed(name: &str, operands: &[Value]) -> Translated<Value> {
    match name {
        "cat" => operands.iter().map(text).collect::<Translated<String>>().map(Value::String),
        "substr" => substr(operands),
        "merge" => Ok(merge(operands)),
        _ => arithmetic(name, operands),
    }
}

/// The number that a constant counts as in a comparison; `None` for what is none.
fn number(value: &Value) -> Translated<Option<f64>> {
    match value {
        Value::Null => Ok(Some(0.0)),
        Value::Bool(truth) => Ok(Some(f64::from(u8::from(*truth)))),
        Value::Number(number) => Ok(number.as_f64()),
        Value::String(text) => spelled(text),
        Value::Array(_) | Value::Object(_) => refuse("a comparison of a list"),
    }
}

/// The text that `cat` makes of a constant.
pub(super) fn text(value: &Value) -> Translated<String> {
    match value {
        Value::Null => Ok(String::new()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => text_of(number.as_f64().unwrap_or(f64::NAN)),
        Value::Array(_) | Value::Object(_) => refuse("the text of a list"),
    }
}

/// The text of a number: without an exponent, where JavaScript writes none.
fn text_of(number: f64) -> Translated<String> {
    match number == 0.0 || (1e-6..1e21).contains(&number.abs()) {
        true => Ok((number + 0.0).to_string()),
        false => refuse(format!("the text of {number}, which flagd's engines read differently")),
    }
}

/// `substr`: the start may count from the end, and so may the end, which is else a length.
fn substr(operands: &[Value]) -> Translated<Value> {
    let (source, from, length) = match operands {
        [source, from] => (source, from, None),
        [source, from, length] => (source, from, Some(length)),
        _ => return refuse("`substr` without two or three operands"),
    };
    let letters: Vec<char> = text(source)?.chars().collect();
    let count = i64::try_from(letters.len()).unwrap_or(i64::MAX);
    let from = whole("substr", from)?;
    if letters.iter().any(|letter| letter.len_utf16() > 1) || from.abs() > count {
        return refuse(format!("`substr` of {source} from {from}, which flagd's engines read differently"));
    }
    let from = if from < 0 { count + from } else { from };
    let to = match length.map(|length| whole("substr", length)).transpose()? {
        None => count,
        Some(length) if length < 0 => count.saturating_add(length).max(from),
        Some(length) => from.saturating_add(length).min(count),
    };
    let part = letters
        .iter()
        .enumerate()
        .filter(|(at, _)| i64::try_from(*at).is_ok_and(|at| (from..to).contains(&at)));
    Ok(Value::String(part.map(|(_, letter)| letter).collect()))
}

/// A whole number that an operator asks for.
pub(super) fn whole(name: &str, value: &Value) -> Translated<i64> {
    match value.as_i64() {
        Some(number) => Ok(number),
        None => refuse(format!("`{name}` with {value} where a whole number is asked for")),
    }
}

/// Lists joined to one; what is no list becomes an element.
fn merge(operands: &[Value]) -> Value {
    let mut all = Vec::new();
    for operand in operands {
        match operand {
            Value::Array(list) => all.extend(list.iter().cloned()),
            other => all.push(other.clone()),
        }
    }
    Value::Array(all)
}

fn arithmetic(name: &str, operands: &[Value]) -> Translated<Value> {
    let numbers = operands.iter().map(|value| summand(name, value)).collect::<Translated<Vec<f64>>>()?;
    let result = match (name, numbers.as_slice()) {
        ("+", numbers) => numbers.iter().sum(),
        ("*", numbers) if !numbers.is_empty() => numbers.iter().product(),
        ("-", [number]) => -number,
        ("-", [one, other]) => one - other,
        ("/", [one, other]) => one / other,
        ("%", [one, other]) => one % other,
        ("max", [first, rest @ ..]) => rest.iter().copied().fold(*first, f64::max),
        ("min", [first, rest @ ..]) => rest.iter().copied().fold(*first, f64::min),
        _ => return refuse(format!("`{name}` with {} operands", numbers.len())),
    };
    match result.is_finite() {
        true => Ok(plain(result + 0.0)),
        false => refuse(format!("`{name}` of {}, which gives no number", json!(operands))),
    }
}

/// A number, or a text that is one for every engine.
fn summand(name: &str, value: &Value) -> Translated<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) if !text.trim().is_empty() => spelled(text)?,
        _ => None,
    };
    match number {
        Some(number) => Ok(number),
        None => refuse(format!("`{name}` of {value}, which is no number")),
    }
}
