//! Contexts near what a catalog asks for.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::{chance, pick, pools};
use crate::naive::{Catalog, Context};

/// Something that the catalog asks of an attribute.
#[derive(Debug)]
pub(super) struct Probe {
    attribute: String,
    asks: Asks,
}

#[derive(Debug)]
enum Asks {
    /// It is compared in this way with these values.
    Comparison { op: String, values: Vec<Value> },
    /// It is looked for in a list, or hashed.
    User { listed: Vec<Value> },
}

/// All that a catalog asks for.
pub(super) fn probes(catalog: &Catalog) -> Vec<Probe> {
    let mut probes = vec![user("targetingKey", &Value::Null)];
    for segment in &catalog.segments {
        for part in std::iter::once(segment)
            .chain(segment["environments"].as_object().into_iter().flat_map(Map::values))
        {
            probes.push(user("targetingKey", &part["included"]));
            probes.push(user("targetingKey", &part["excluded"]));
        }
        gather(segment, &mut probes);
    }
    for flag in &catalog.flags {
        gather(flag, &mut probes);
    }
    probes
}

fn gather(document: &Value, probes: &mut Vec<Probe>) {
    match document {
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
            if let (Some(attribute), Some(op)) = (text("attribute"), text("op")) {
                let values = document["values"].as_array().cloned().unwrap_or_default();
                probes.push(Probe { attribute, asks: Asks::Comparison { op, values } });
            } else if let Some(by) = text("by") {
                probes.push(user(&by, &document["values"]));
            }
            fields.values().for_each(|field| gather(field, probes));
        }
        Value::Array(elements) => elements.iter().for_each(|element| gather(element, probes)),
        _ => {}
    }
}

fn user(attribute: &str, listed: &Value) -> Probe {
    let listed = listed.as_array().cloned().unwrap_or_default();
    Probe { attribute: attribute.to_owned(), asks: Asks::User { listed } }
}

/// For each attribute a value near one of the things that are asked of it.
pub(super) fn context(rng: &mut Rng, probes: &[Probe]) -> Context {
    let mut context = Context::new();
    let names: BTreeSet<&str> = probes.iter().map(|probe| probe.attribute.as_str()).collect();
    for name in names {
        if chance(rng, 6) {
            continue;
        }
        let (compared, listed): (Vec<&Probe>, Vec<&Probe>) = probes
            .iter()
            .filter(|probe| probe.attribute == name)
            .partition(|probe| matches!(probe.asks, Asks::Comparison { .. }));
        let asked = match (compared.is_empty(), listed.is_empty()) {
            (false, true) => &compared,
            (true, _) => &listed,
            (false, false) => {
                if chance(rng, if name == "targetingKey" { 40 } else { 75 }) {
                    &compared
                } else {
                    &listed
                }
            }
        };
        let near = match &pick(rng, asked).asks {
            Asks::Comparison { op, values } => near(rng, op, values),
            Asks::User { listed } => near_user(rng, listed),
        };
        let value = shaped(rng, near);
        place(rng, &mut context, name, value);
    }
    context
}

/// The value itself, mostly, or in what it must not be found in.
fn shaped(rng: &mut Rng, value: Value) -> Value {
    match rng.u8(0..100) {
        0..76 => value,
        76..88 => {
            let mut elements = vec![pools::scalar(rng), value, Value::Null];
            rng.shuffle(&mut elements);
            elements.truncate(rng.usize(0..=3));
            json!(elements)
        }
        88..91 => json!([[value]]),
        91..93 => json!([{"x": value}]),
        93..96 => json!({"x": value}),
        _ => Value::Null,
    }
}

/// By its name, or where the dots in it lead; sometimes both, of which the name counts.
fn place(rng: &mut Rng, context: &mut Context, name: &str, value: Value) {
    let as_path = name.contains('.') && chance(rng, 60);
    if !as_path {
        context.insert(name.to_owned(), value);
        return;
    }
    let mut steps: Vec<&str> = name.split('.').collect();
    let last = steps.pop().expect("a split gives something");
    let mut object = &mut *context;
    for step in steps {
        let next = object.entry(step).or_insert_with(|| json!({}));
        if !next.is_object() {
            *next = json!({});
        }
        object = next.as_object_mut().expect("made one");
    }
    object.insert(last.to_owned(), value);
    if chance(rng, 10) {
        let hides = if rng.bool() { Value::Null } else { pools::scalar(rng) };
        context.insert(name.to_owned(), hides);
    }
}

/// A value that matches, or nearly does.
fn near(rng: &mut Rng, op: &str, values: &[Value]) -> Value {
    if values.is_empty() || chance(rng, 8) {
        return pools::scalar(rng);
    }
    let value = pick(rng, values);
    match (op, value) {
        ("matches", Value::String(pattern)) => json!(pools::text_for_pattern(rng, pattern)),
        ("before" | "after", Value::String(time)) => json!(match rng.u8(0..10) {
            0 => time.clone(),
            1..4 => pools::time_within_the_second(rng, time),
            4..8 => pools::time(rng),
            _ => pools::no_time(rng),
        }),
        ("cidr", Value::String(network)) => json!(match rng.u8(0..10) {
            0..3 => network.split('/').next().unwrap_or_default().to_owned(),
            3..8 => pools::address(rng),
            8 => network.clone(),
            _ => pools::no_address(rng),
        }),
        (op, Value::String(version)) if op.starts_with("semver_") => json!(match rng.u8(0..10) {
            0..2 => version.clone(),
            2..8 => pools::version(rng),
            _ => pools::no_version(rng),
        }),
        (_, Value::String(text)) => near_text(rng, text),
        (_, Value::Number(_)) => near_number(rng, value),
        (_, Value::Bool(truth)) => match rng.u8(0..4) {
            0..2 => json!(truth),
            2 => json!(!truth),
            _ => json!(truth.to_string()),
        },
        _ => value.clone(),
    }
}

fn near_text(rng: &mut Rng, text: &str) -> Value {
    json!(match rng.u8(0..9) {
        0 | 1 => text.to_owned(),
        2 => text.to_uppercase(),
        3 => text.to_lowercase(),
        4 => format!("{text}x"),
        5 => format!("x{text}"),
        6 => format!("x{text}x").to_uppercase(),
        7 => text.chars().skip(1).collect(),
        _ => return text.parse().map_or_else(|_| json!(text), |number: i64| json!(number)),
    })
}

fn near_number(rng: &mut Rng, value: &Value) -> Value {
    let double = value.as_f64().expect("a number of JSON has a double");
    // What is beyond the largest double is no JSON.
    let finite = |double: f64| if double.is_finite() { json!(double) } else { value.clone() };
    match rng.u8(0..10) {
        0 | 1 => value.clone(),
        2 => finite(double),
        3 => finite(double.next_up()),
        4 => finite(double.next_down()),
        5 => finite(double + 0.5),
        6 => finite(double - 1.0),
        7 => match (value.as_i64(), value.as_u64()) {
            (Some(integer), _) => json!(integer.saturating_add(1)),
            (None, Some(integer)) => json!(integer.saturating_sub(1)),
            (None, None) => whole(double).unwrap_or_else(|| value.clone()),
        },
        8 => value.as_i64().map_or_else(|| value.clone(), |integer| json!(integer.saturating_sub(1))),
        _ => json!(value.to_string()),
    }
}

/// The integer that a double is.
fn whole(double: f64) -> Option<Value> {
    #[expect(clippy::cast_possible_truncation, reason = "a whole double below 2^63 is an i64")]
    (double.trunc() == double && double.abs() < 9e18).then(|| json!(double as i64))
}

fn near_user(rng: &mut Rng, listed: &[Value]) -> Value {
    let text = match rng.choice(listed).and_then(Value::as_str) {
        Some(listed) if chance(rng, 60) => listed.to_owned(),
        _ => pools::user(rng),
    };
    match rng.u8(0..12) {
        // What is listed or hashed as the same text.
        0 => text.parse().map_or_else(|_| json!(text), |integer: i64| json!(integer)),
        1 => text.parse().map_or_else(|_| json!(text), |integer: f64| json!(integer)),
        2 => text.parse().map_or_else(|_| json!(text), |truth: bool| json!(truth)),
        3 => pools::number(rng),
        4 if chance(rng, 30) => json!(rng.bool()),
        5 if chance(rng, 50) => {
            pick(rng, &[json!(1.5), json!(1e300), json!(-0.0), json!(42.0), json!([]), json!({})]).clone()
        }
        _ => json!(text),
    }
}
