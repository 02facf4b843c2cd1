//! JsonLogic as jsonlogic.com defines it, in the words of its reference, with flagd's own operators: the judge. Where it
//! and flagd's engines differ the translation names the contexts or refuses.

use std::cmp::Ordering;

use flagraft_core::bucketing::{Divider, Method};
use semver::Version;
use serde_json::{Map, Value, json};

/// What an expression gives for a context, which holds flagd's own properties too.
pub fn evaluate(expression: &Value, context: &Value) -> Value {
    let object = match expression {
        Value::Array(list) => return list.iter().map(|element| evaluate(element, context)).collect(),
        Value::Object(object) => object,
        constant => return constant.clone(),
    };
    let (name, arguments) = object.iter().next().expect("an operator");
    let list = match arguments {
        Value::Array(list) => list.clone(),
        single => vec![single.clone()],
    };
    let value = |i: usize| list.get(i).map_or(Value::Null, |argument| evaluate(argument, context));
    let values = || -> Vec<Value> { (0..list.len()).map(value).collect() };
    let ordered = |holds: fn(Ordering) -> bool| {
        Value::Bool(
            list.len() >= 2 && (1..list.len()).all(|i| compare(&value(i - 1), &value(i)).is_some_and(holds)),
        )
    };
    let numbers = || -> Vec<f64> { values().iter().map(number).collect() };
    let elements = || match value(0) {
        Value::Array(elements) => elements,
        _ => Vec::new(),
    };
    let body = |element: &Value| list.get(1).map_or(Value::Null, |body| evaluate(body, element));
    match name.as_str() {
        "var" => variable(&value(0), context).unwrap_or_else(|| value(1)),
        "missing" => missing(&flat(values()), context).into(),
        "missing_some" => {
            let names = flat(vec![value(1)]);
            let missing = missing(&names, context);
            let there = names.len() - missing.len();
            if there as f64 >= number(&value(0)) { json!([]) } else { missing.into() }
        }
        "==" => Value::Bool(equal(&value(0), &value(1))),
        "!=" => Value::Bool(!equal(&value(0), &value(1))),
        "===" => Value::Bool(identical(&value(0), &value(1))),
        "!==" => Value::Bool(!identical(&value(0), &value(1))),
        "<" => ordered(Ordering::is_lt),
        "<=" => ordered(Ordering::is_le),
        ">" => ordered(Ordering::is_gt),
        ">=" => ordered(Ordering::is_ge),
        "in" => Value::Bool(match (value(0), value(1)) {
            (needle, Value::Array(list)) => list.iter().any(|element| identical(&needle, element)),
            (needle, Value::String(haystack)) => haystack.contains(&text(&needle)),
            _ => false,
        }),
        "!" => Value::Bool(!truthy(&value(0))),
        "!!" => Value::Bool(truthy(&value(0))),
        "and" => decides(values(), |value| !truthy(value)),
        "or" => decides(values(), truthy),
        "if" | "?:" => {
            let mut i = 0;
            while i + 1 < list.len() {
                if truthy(&value(i)) {
                    return value(i + 1);
                }
                i += 2;
            }
            value(i)
        }
        "log" => value(0),
        "cat" => Value::String(values().iter().map(text).collect()),
        "substr" => {
            let letters: Vec<char> = text(&value(0)).chars().collect();
            let count = letters.len() as i64;
            let from = value(1).as_i64().expect("a whole number");
            let from = if from < 0 { (count + from).max(0) } else { from.min(count) };
            let rest = &letters[from as usize..];
            let kept = match value(2).as_i64() {
                None => rest.len() as i64,
                Some(length) if length < 0 => rest.len() as i64 + length,
                Some(length) => length.min(rest.len() as i64),
            };
            Value::String(rest[..kept.max(0) as usize].iter().collect())
        }
        "+" => json!(numbers().iter().sum::<f64>()),
        "*" => json!(numbers().iter().product::<f64>()),
        "-" => {
            json!(if list.len() == 1 { -number(&value(0)) } else { number(&value(0)) - number(&value(1)) })
        }
        "/" => json!(number(&value(0)) / number(&value(1))),
        "%" => json!(number(&value(0)) % number(&value(1))),
        "max" => json!(numbers().into_iter().fold(f64::NEG_INFINITY, f64::max)),
        "min" => json!(numbers().into_iter().fold(f64::INFINITY, f64::min)),
        "merge" => flat(values()).into(),
        "map" => elements().iter().map(body).collect(),
        "filter" => elements().into_iter().filter(|element| truthy(&body(element))).collect(),
        "reduce" => elements().into_iter().fold(value(2), |accumulator, current| {
            body(&json!({"current": current, "accumulator": accumulator}))
        }),
        "all" => Value::Bool(!elements().is_empty() && elements().iter().all(|e| truthy(&body(e)))),
        "some" => Value::Bool(elements().iter().any(|e| truthy(&body(e)))),
        "none" => Value::Bool(!elements().iter().any(|e| truthy(&body(e)))),
        "starts_with" | "ends_with" => match values().as_slice() {
            [Value::String(text), Value::String(part)] if name == "starts_with" => {
                text.starts_with(part).into()
            }
            [Value::String(text), Value::String(part)] => text.ends_with(part).into(),
            _ => Value::Null,
        },
        "sem_ver" => match values().as_slice() {
            [one, Value::String(operator), other] => sem_ver(one, operator, other),
            _ => Value::Null,
        },
        "fractional" => fractional(values(), context),
        other => panic!("no operator {other}"),
    }
}

/// The first value that decides, else the last.
fn decides(values: Vec<Value>, does: impl Fn(&Value) -> bool) -> Value {
    values.iter().find(|value| does(value)).or(values.last()).cloned().expect("an operand")
}

fn variable(name: &Value, context: &Value) -> Option<Value> {
    let Some(name) = name.as_str().filter(|name| !name.is_empty()) else { return Some(context.clone()) };
    let found = name.split('.').try_fold(context, |value, field| value.get(field));
    found.filter(|found| !found.is_null()).cloned()
}

fn missing(names: &[Value], context: &Value) -> Vec<Value> {
    let is_missing = |name: &&Value| variable(name, context).is_none_or(|value| value == json!(""));
    names.iter().filter(is_missing).cloned().collect()
}

fn flat(values: Vec<Value>) -> Vec<Value> {
    let elements = values.into_iter().flat_map(|value| match value {
        Value::Array(list) => list,
        other => vec![other],
    });
    elements.collect()
}

pub fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(_) => number(value) != 0.0,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(_) => true,
    }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Null => 0.0,
        Value::Bool(truth) => f64::from(u8::from(*truth)),
        Value::String(text) if text.trim().is_empty() => 0.0,
        Value::String(text) => text.trim().parse().unwrap_or(f64::NAN),
        other => other.as_f64().unwrap_or(f64::NAN),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(truth) => truth.to_string(),
        Value::String(text) => text.clone(),
        other => other.as_f64().map(|number| number.to_string()).expect("no list"),
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => number(a).partial_cmp(&number(b)),
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::String(a), Value::String(b)) => a == b,
        _ => number(a) == number(b),
    }
}

fn identical(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => number(a) == number(b),
        _ => a == b,
    }
}

fn sem_ver(one: &Value, operator: &str, other: &Value) -> Value {
    let version = |value: &Value| {
        let text = value.as_str()?;
        let text = text.strip_prefix('v').unwrap_or(text);
        let is_short = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let missing = 2_usize.saturating_sub(text.matches('.').count());
        Version::parse(&if is_short { text.to_owned() + &".0".repeat(missing) } else { text.to_owned() }).ok()
    };
    let (Some(one), Some(other)) = (version(one), version(other)) else { return Value::Null };
    let order = one.cmp_precedence(&other);
    Value::Bool(match operator {
        "=" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        "^" => one.major == other.major,
        "~" => (one.major, one.minor) == (other.major, other.minor),
        _ => return Value::Null,
    })
}

fn fractional(mut values: Vec<Value>, context: &Value) -> Value {
    if values.iter().all(Value::is_array) && values.len() == 1 {
        return values[0][0].clone();
    }
    let by = match values.first() {
        Some(Value::String(by)) => Some(by.clone()),
        _ => None,
    };
    if by.is_some() || values.first() == Some(&Value::Null) {
        values.remove(0);
    }
    let key = || {
        let flag = context["$flagd"]["flagKey"].as_str().expect("the flag's key");
        Some(flag.to_owned() + context.get("targetingKey")?.as_str()?)
    };
    let Some(by) = by.or_else(key) else { return Value::Null };
    if values.iter().any(|share| !share.is_array()) {
        return Value::Null;
    }
    let weights =
        values.iter().map(|share| share.get(1).map_or(1, |weight| weight.as_u64().expect("a weight") as u32));
    let weights: Vec<u32> = weights.collect();
    if weights.iter().sum::<u32>() == 0 {
        return Value::Null;
    }
    // The text as it is: nothing is kept apart as a seed.
    let index = Divider::new(Method::Flagd, "", weights).choose(&by).index.expect("a share");
    values[index][0].clone()
}

/// A context with what flagd itself adds to it.
pub fn enriched(context: &Map<String, Value>, flag: &str) -> Value {
    let mut context = context.clone();
    context.insert("$flagd".to_owned(), json!({"flagKey": flag}));
    Value::Object(context)
}
