//! Conditions.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{chance, pick, pools};

const ON_SCALARS: &[&str] = &["in", "eq", "exists"];
const ON_TEXTS: &[&str] = &["in", "starts_with", "ends_with", "contains", "matches"];
const ON_NUMBERS: &[&str] = &["eq", "lt", "lte", "gt", "gte"];
const ON_TIMES: &[&str] = &["before", "after"];
const ON_VERSIONS: &[&str] = &["semver_eq", "semver_lt", "semver_lte", "semver_gt", "semver_gte"];
const ON_NETWORKS: &[&str] = &["cidr"];

const KINDS: &[&[&str]] = &[ON_SCALARS, ON_TEXTS, ON_NUMBERS, ON_TIMES, ON_VERSIONS, ON_NETWORKS];

/// An attribute that a catalog asks for, mostly by the operators of one kind: were it asked for by all of them alike, a
/// context that fits one condition would fit no other.
#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) name: String,
    operators: &'static [&'static str],
}

impl Attribute {
    /// One of that name, of a kind that is drawn.
    pub(super) fn new(rng: &mut Rng, name: &str) -> Self {
        Self { name: name.to_owned(), operators: *pick(rng, KINDS) }
    }

    fn operator(&self, rng: &mut Rng) -> &'static str {
        let operators = if chance(rng, 85) { self.operators } else { *pick(rng, KINDS) };
        pick::<&str>(rng, operators)
    }
}

/// A condition, with groups nested at most `depth` deep.
pub(super) fn condition(rng: &mut Rng, attributes: &[Attribute], segments: &[&str], depth: u8) -> Value {
    match rng.u8(0..20) {
        0..3 if depth > 0 => json!({"all": group(rng, attributes, segments, depth)}),
        3..6 if depth > 0 => json!({"any": group(rng, attributes, segments, depth)}),
        6..8 if depth > 0 => json!({"not": condition(rng, attributes, segments, depth - 1)}),
        8..11 if !segments.is_empty() => json!({"segment": pick(rng, segments)}),
        11 => json!({"bucket": bucket(rng, attributes)}),
        _ => comparison(rng, attributes),
    }
}

/// Up to three conditions, seldom none.
fn group(rng: &mut Rng, attributes: &[Attribute], segments: &[&str], depth: u8) -> Vec<Value> {
    let number = *pick(rng, &[0, 1, 1, 2, 2, 2, 3]);
    (0..number).map(|_| condition(rng, attributes, segments, depth - 1)).collect()
}

fn bucket(rng: &mut Rng, attributes: &[Attribute]) -> Value {
    let of = *pick(rng, &[1, 2, 100, 1_000, 100_000, 2_147_483_647]);
    let (one, other) = (rng.u32(0..=of), rng.u32(0..=of));
    let mut bucket = json!({
        "seed": pools::seed(rng, "murmur3"), "from": one.min(other), "to": one.max(other), "of": of,
    });
    if chance(rng, 50) {
        bucket["by"] = json!(pick(rng, attributes).name);
    }
    bucket
}

fn comparison(rng: &mut Rng, attributes: &[Attribute]) -> Value {
    let attribute = pick(rng, attributes);
    let op = attribute.operator(rng);
    let mut comparison = json!({"attribute": attribute.name, "op": op});
    if op == "exists" {
        return comparison;
    }
    // Many at once are looked up in another way than few; patterns of many kinds would be too large together.
    let number = *pick(rng, if op == "matches" { &[1, 1, 2, 3] } else { &[1, 1, 1, 1, 2, 2, 3, 40] });
    comparison["values"] = (0..number).map(|_| operand(rng, op)).collect();
    let is_for_text = matches!(op, "in" | "eq" | "starts_with" | "ends_with" | "contains" | "matches");
    if is_for_text && chance(rng, 40) {
        comparison["ignore_case"] = json!(true);
    }
    comparison
}

fn operand(rng: &mut Rng, op: &str) -> Value {
    match op {
        "in" | "eq" => pools::scalar(rng),
        "starts_with" | "ends_with" | "contains" => json!(pools::text(rng)),
        "matches" => json!(pools::pattern(rng)),
        "lt" | "lte" | "gt" | "gte" => pools::number(rng),
        "before" | "after" => json!(pools::time(rng)),
        "cidr" => json!(pools::network(rng)),
        _ => json!(pools::version(rng)),
    }
}
