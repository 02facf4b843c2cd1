//! Changes of a small catalog, and contexts to evaluate it for, made of any bytes: for property tests and for fuzzing. A
//! file takes it in with `#[path]`, for not every one uses it.
//!
//! The names are few, so that flags, segments and attributes meet. Most of what is made is accepted by `apply`, and not
//! all: what is rejected must leave everything as it was. When this file makes something else of the same bytes, run
//! `scripts/fuzz evaluate`, and `scripts/fuzz minimise` after it: the corpus of that target is bytes.

use arbitrary::{Result, Unstructured};
use flagraft_core::bucketing::Method;
use serde_json::{Map, Value, json};

use super::common::PROJECT;

/// The environments that changes name. The last one comes and goes.
pub const ENVIRONMENTS: [&str; 3] = ["dev", "production", "qa"];
/// The flags that depend on each other: mostly each on those after it, so that cycles are tried and not the rule.
const FLAGS: [&str; 6] = ["alpha", "beta", "gamma", "delta", "ratio", "größe"];
/// The segments, which name each other in the same way.
const SEGMENTS: [&str; 4] = ["staff", "people", "beta testers", "europe"];
const VARIANTS: [&str; 3] = ["on", "off", "blue"];
const ATTRIBUTES: [&str; 11] = [
    "targetingKey",
    "email",
    "country",
    "user.plan",
    "user",
    "org.id",
    "version",
    "time",
    "address",
    "n",
    "tags",
];
/// How many flags come or go at once when many do, so that the maps of a project have more than one node.
const MANY: usize = 60;

/// Words that several things are made of, so that they meet too.
const WORDS: [&str; 12] =
    ["u1", "u2", "u3", "U1", "ann@example.com", "@example.com", "DE", "de", "pro", "größe", "7", ""];
// Of the following the last one is none.
const VERSIONS: [&str; 8] = [
    "1.0.0",
    "v1.2",
    "2",
    "2.1.0-rc.1",
    "2.1.0-rc.1+build",
    "2.1.0-rc.beta",
    "99999999999999999999.0.0",
    "01.0",
];
const TIMES: [&str; 6] = [
    "2027-03-01T00:00:00Z",
    "2027-03-01T01:00:00.5+01:00",
    "1970-01-01t00:00:00z",
    "2016-12-31T23:59:60Z",
    "9999-12-31T23:59:59.999999999-23:59",
    "2027-02-29T00:00:00Z",
];
const NETWORKS: [&str; 8] = [
    "10.0.0.0/8",
    "10.1.2.3",
    "::ffff:10.0.0.0/104",
    "2001:db8::/32",
    "2001:db8::1",
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/33",
];
const PATTERNS: [&str; 8] =
    ["^u[0-9]+$", "@example\\.com$", "(?i)de", "", "\\bpro\\b", "[^a-z]", "(a|b){2,9}", "("];

/// The operators, and what is given to those that take texts.
const OPERATORS: [(&str, &[&str]); 19] = [
    ("exists", &[]),
    ("in", &WORDS),
    ("eq", &WORDS),
    ("starts_with", &WORDS),
    ("ends_with", &WORDS),
    ("contains", &WORDS),
    ("matches", &PATTERNS),
    ("before", &TIMES),
    ("after", &TIMES),
    ("semver_eq", &VERSIONS),
    ("semver_lt", &VERSIONS),
    ("semver_lte", &VERSIONS),
    ("semver_gt", &VERSIONS),
    ("semver_gte", &VERSIONS),
    ("cidr", &NETWORKS),
    ("lt", &[]),
    ("lte", &[]),
    ("gt", &[]),
    ("gte", &[]),
];

/// What a catalog begins with: everything that changes name is there, and nothing is configured.
pub fn founding() -> Value {
    let environments = ENVIRONMENTS.map(|key| json!({"op": "environment.put", "environment": {"key": key}}));
    let segments =
        SEGMENTS.map(|key| json!({"op": "segment.put", "segment": {"key": key, "included": ["u1"]}}));
    let flags = FLAGS.map(|key| put_plain(key, ""));
    environments.into_iter().chain(segments).chain(flags).collect()
}

/// One change: mostly a few operations, now and then many.
pub fn change(u: &mut Unstructured<'_>) -> Result<Value> {
    match u.int_in_range(0..=63)? {
        0..=2 => return many(u),
        3 => return Ok(anew()),
        4..=6 => return two(u),
        _ => {}
    }
    some(u, 2, operation).map(Value::from)
}

/// The attributes of somebody to evaluate for.
pub fn context(u: &mut Unstructured<'_>) -> Result<Map<String, Value>> {
    let mut attributes = list(u, 7, |u| Ok((word(u, &ATTRIBUTES)?, attribute_value(u, 2)?)))?;
    if u.ratio(7, 8)? {
        attributes.push(("targetingKey".to_owned(), json!(word(u, &WORDS)?)));
    }
    Ok(attributes.into_iter().collect())
}

/// One operation of any kind that changes what is evaluated.
fn operation(u: &mut Unstructured<'_>) -> Result<Value> {
    match u.int_in_range(0..=19)? {
        0..=4 => flag_put(u),
        5..=8 => flag_configure(u),
        9 => on_a_flag(u),
        10 | 11 => switch(u),
        12..=14 => within_a_configuration(u),
        15 | 16 => segment_put(u),
        17 => segment_members(u),
        18 => Ok(json!({"op": "segment.delete", "segment": u.choose(&SEGMENTS)?})),
        _ => qa(u),
    }
}

/// Flags that come or go in one change.
fn many(u: &mut Unstructured<'_>) -> Result<Value> {
    let (from, count) = (u.int_in_range(0..=MANY)?, u.int_in_range(1..=MANY)?);
    let op = *u.choose(&["flag.put", "flag.put", "flag.archive", "flag.restore", "flag.delete"])?;
    let operation = |number: usize| {
        let key = format!("flag-{number:03}");
        if op == "flag.put" { put_one_of_many(&key, number) } else { json!({"op": op, "flag": key}) }
    };
    Ok((from..from + count).map(operation).collect())
}

fn put_one_of_many(key: &str, number: usize) -> Value {
    let depends = number.is_multiple_of(4);
    let prerequisites = if depends { json!([{"flag": "alpha", "variants": ["on"]}]) } else { json!([]) };
    json!({"op": "flag.put", "flag": {
        "key": key, "type": "boolean", "variants": variants("boolean", &VARIANTS),
        "critical": number.is_multiple_of(15), "safe_variant": "off",
        "environments": {"dev": {
            "enabled": true, "prerequisites": prerequisites, "default": {"variant": "on"},
        }},
    }})
}

/// Another project in the place of this one, under the same key.
pub fn anew() -> Value {
    let project =
        [json!({"op": "project.delete"}), json!({"op": "project.put", "project": {"key": PROJECT}})];
    let founding = founding();
    project.into_iter().chain(founding.as_array().into_iter().flatten().cloned()).collect()
}

/// Two operations on one thing in one change. What goes and comes back is not quite as it was.
fn two(u: &mut Unstructured<'_>) -> Result<Value> {
    let (flag, environment) = (u.choose(&FLAGS)?, environment(u)?);
    let on_flag = |op: &str| json!({"op": op, "flag": flag});
    let in_environment = |op: &str| json!({"op": op, "flag": flag, "environment": environment});
    Ok(match u.int_in_range(0..=4)? {
        0 => {
            let (mut default, mut weights) = (in_environment("default.set"), in_environment("rollout.set"));
            default["serve"] = rollout(u)?;
            weights["weights"] = json!([{"variant": "off", "weight": u.int_in_range(1..=100)?}]);
            json!([default, weights])
        }
        1 => json!([on_flag("flag.archive"), on_flag("flag.restore")]),
        2 => json!([on_flag("flag.delete"), on_flag("flag.restore")]),
        3 => json!([in_environment("flag.disable"), in_environment("flag.enable")]),
        _ => json!([
            {"op": "environment.delete", "environment": "qa"},
            {"op": "environment.put", "environment": {"key": "qa"}},
        ]),
    })
}

fn flag_put(u: &mut Unstructured<'_>) -> Result<Value> {
    let place = u.choose_index(FLAGS.len())?;
    let key = FLAGS[place];
    let flag_type = if u.ratio(1, 32)? {
        // It never changes.
        *u.choose(&["boolean", "string", "integer", "number", "object"])?
    } else {
        usual_type(key)
    };
    if u.ratio(1, 4)? {
        return Ok(put_plain(key, &word(u, &WORDS)?));
    }
    let given = if u.ratio(1, 16)? { &VARIANTS[..2] } else { &VARIANTS[..] };
    let critical = u.ratio(1, 4)?;
    let safe_variant = if critical || u.ratio(1, 4)? { Some(variant(u)?) } else { None };
    let environments = list(u, 2, |u| Ok((environment(u)?.to_owned(), configuration(u, place)?)))?;
    let environments: Map<String, Value> = environments.into_iter().collect();
    Ok(json!({"op": "flag.put", "flag": {
        "key": key, "type": flag_type, "variants": variants(flag_type, given), "critical": critical,
        "safe_variant": safe_variant, "off_variant": optional(u, variant)?,
        "metadata": {"team": word(u, &WORDS)?}, "environments": environments,
    }}))
}

/// A definition of which only the description, which nothing depends on, is ever another.
fn put_plain(key: &str, description: &str) -> Value {
    let flag_type = usual_type(key);
    json!({"op": "flag.put", "flag": {
        "key": key, "type": flag_type, "description": description, "variants": variants(flag_type, &VARIANTS),
        "off_variant": "off",
    }})
}

/// The type that goes with a flag's name.
fn usual_type(key: &str) -> &'static str {
    match key {
        "gamma" => "integer",
        "delta" => "object",
        "ratio" => "number",
        "größe" => "string",
        _ => "boolean",
    }
}

fn variants(flag_type: &str, names: &[&str]) -> Map<String, Value> {
    let value = |place: usize, name: &str| match flag_type {
        "boolean" => json!(place == 0),
        "string" => json!(name),
        "integer" => json!(place),
        // Two of them are equal, and not the same.
        "number" => json!([0.0, -0.0, 1e300][place]),
        _ => json!({"name": name, "list": [place, null]}),
    };
    names.iter().enumerate().map(|(place, name)| ((*name).to_owned(), value(place, name))).collect()
}

fn flag_configure(u: &mut Unstructured<'_>) -> Result<Value> {
    let place = u.choose_index(FLAGS.len())?;
    Ok(json!({
        "op": "flag.configure", "flag": FLAGS[place], "environment": environment(u)?,
        "configuration": configuration(u, place)?,
    }))
}

fn on_a_flag(u: &mut Unstructured<'_>) -> Result<Value> {
    let op = u.choose(&["flag.archive", "flag.restore", "flag.restore", "flag.delete"])?;
    Ok(json!({"op": op, "flag": u.choose(&FLAGS)?}))
}

fn switch(u: &mut Unstructured<'_>) -> Result<Value> {
    let (flag, environment) = (u.choose(&FLAGS)?, environment(u)?);
    Ok(match *u.choose(&["flag.enable", "flag.disable", "flag.copy"])? {
        "flag.copy" => {
            json!({"op": "flag.copy", "flag": flag, "from": self::environment(u)?, "to": environment})
        }
        op => json!({"op": op, "flag": flag, "environment": environment}),
    })
}

fn within_a_configuration(u: &mut Unstructured<'_>) -> Result<Value> {
    let mut operation = match u.int_in_range(0..=5)? {
        0 | 1 => {
            let id = u.int_in_range(0..=3)?;
            json!({"op": "rule.put", "rule": rule(u, id)?})
        }
        2 => json!({"op": "rule.delete", "rule": rule_id(u.int_in_range(0..=3)?)}),
        3 => json!({"op": "default.set", "serve": optional(u, serve)?}),
        4 => json!({"op": "targets.add", "variant": variant(u)?, "values": words(u)?}),
        _ => json!({"op": "targets.remove", "values": words(u)?}),
    };
    operation["flag"] = json!(u.choose(&FLAGS)?);
    operation["environment"] = json!(environment(u)?);
    Ok(operation)
}

/// The environment that comes and goes.
fn qa(u: &mut Unstructured<'_>) -> Result<Value> {
    Ok(if u.ratio(2, 3)? {
        json!({"op": "environment.put", "environment": {"key": "qa", "order": u.int_in_range(0..=3)?}})
    } else {
        json!({"op": "environment.delete", "environment": "qa"})
    })
}

fn segment_put(u: &mut Unstructured<'_>) -> Result<Value> {
    let place = u.choose_index(SEGMENTS.len())?;
    let mut segment = segment_parts(u, place)?;
    segment.insert("key".to_owned(), json!(SEGMENTS[place]));
    let environments =
        list(u, 2, |u| Ok((environment(u)?.to_owned(), Value::from(segment_parts(u, place)?))))?;
    segment.insert("environments".to_owned(), environments.into_iter().collect());
    Ok(json!({"op": "segment.put", "segment": segment}))
}

/// Some of what a segment has, and of what an environment may have in its place.
fn segment_parts(u: &mut Unstructured<'_>, place: usize) -> Result<Map<String, Value>> {
    let mut parts = Map::new();
    for list in ["included", "excluded"] {
        if u.ratio(1, 3)? {
            parts.insert(list.to_owned(), members(u)?);
        }
    }
    if u.ratio(2, 3)? {
        parts.insert("when".to_owned(), condition(u, 3, place + 1)?);
    }
    Ok(parts)
}

fn segment_members(u: &mut Unstructured<'_>) -> Result<Value> {
    Ok(json!({
        "op": u.choose(&["segment.members.add", "segment.members.remove"])?, "segment": u.choose(&SEGMENTS)?,
        "list": u.choose(&["included", "excluded"])?, "members": members(u)?,
    }))
}

fn members(u: &mut Unstructured<'_>) -> Result<Value> {
    let named = words(u)?.into_iter().filter(|word| !word.is_empty());
    // Now and then more than are looked through one by one.
    let many = if u.ratio(1, 8)? { 20 } else { 0 };
    Ok(named.chain((0..many).map(|number| format!("u{number}"))).collect())
}

/// A configuration of the flag at a place among [`FLAGS`].
fn configuration(u: &mut Unstructured<'_>, place: usize) -> Result<Value> {
    let prerequisites: Vec<Value> = match one_after(u, &FLAGS, place)? {
        Some(flag) => vec![json!({"flag": flag, "variants": [variant(u)?, "blue"]})],
        None => Vec::new(),
    };
    // A value is listed once.
    let targets = [&WORDS[..6], &WORDS[6..]].map(|pool| -> Result<Value> {
        Ok(json!({"by": by(u)?, "values": list(u, 2, |u| word(u, pool))?, "variant": variant(u)?}))
    });
    let targets: Vec<Value> = targets.into_iter().collect::<Result<_>>()?;
    let given = u.int_in_range(0..=4)?;
    let rules: Vec<Value> = (0..u.int_in_range(0..=3)?).map(|id| rule(u, id)).collect::<Result<_>>()?;
    let hold = if u.ratio(1, 16)? { json!({"variant": variant(u)?, "id": "incident"}) } else { Value::Null };
    Ok(json!({
        "enabled": u.ratio(7, 8)?, "prerequisites": prerequisites,
        "targets": targets.get(..given).unwrap_or_default(), "rules": rules, "default": optional(u, serve)?,
        "off_variant": optional(u, variant)?, "safe_variant": optional(u, variant)?, "hold": hold,
    }))
}

/// None, or one after a place; seldom any one, the last and itself included.
fn one_after(u: &mut Unstructured<'_>, names: &[&'static str], place: usize) -> Result<Option<&'static str>> {
    let after = if u.ratio(1, 32)? { names } else { names.get(place + 1..).unwrap_or_default() };
    if after.is_empty() || u.ratio(1, 2)? { Ok(None) } else { u.choose(after).copied().map(Some) }
}

fn rule(u: &mut Unstructured<'_>, id: usize) -> Result<Value> {
    let mut rule = json!({"id": rule_id(id), "serve": serve(u)?});
    if u.ratio(7, 8)? {
        rule["when"] = condition(u, 4, 0)?;
    }
    Ok(rule)
}

fn rule_id(place: usize) -> String {
    format!("r{place}")
}

fn serve(u: &mut Unstructured<'_>) -> Result<Value> {
    if u.ratio(1, 2)? { Ok(json!({"variant": variant(u)?})) } else { rollout(u) }
}

fn rollout(u: &mut Unstructured<'_>) -> Result<Value> {
    let method = *u.choose(&Method::ALL)?;
    let total = match method.total() {
        Some(total) => total,
        None => u.int_in_range(1..=1_000_000)?,
    };
    let first = u.int_in_range(0..=total)?;
    let second = u.int_in_range(0..=total - first)?;
    let weights = [("on", first), ("off", second), ("blue", total - first - second)];
    let weights = weights.map(|(variant, weight)| json!({"variant": variant, "weight": weight}));
    let seed = u.choose(&["checkout.salt", "u1", "größe"])?;
    Ok(json!({"rollout": {"by": by(u)?, "seed": seed, "weights": weights, "method": method}}))
}

/// Any condition, at most so many levels deep, that names segments from a place among [`SEGMENTS`] on.
fn condition(u: &mut Unstructured<'_>, levels: usize, segments_from: usize) -> Result<Value> {
    if levels > 1 && u.ratio(1, 3)? {
        let inner = |u: &mut Unstructured<'_>| condition(u, levels - 1, segments_from);
        return Ok(match u.int_in_range(0..=2)? {
            0 => json!({"not": inner(u)?}),
            1 => json!({"all": list(u, 3, inner)?}),
            _ => json!({"any": list(u, 3, inner)?}),
        });
    }
    let segments = SEGMENTS.get(segments_from..).filter(|segments| !segments.is_empty());
    match (u.int_in_range(0..=7)?, segments) {
        (0 | 1, Some(segments)) => Ok(json!({"segment": u.choose(segments)?})),
        (2, _) => {
            let of = u.int_in_range(1..=100_000_u32)?;
            let from = u.int_in_range(0..=of)?;
            let to = u.int_in_range(from..=of)?;
            let seed = *u.choose(&["layer-1", "u1"])?;
            Ok(json!({"bucket": {"by": by(u)?, "seed": seed, "from": from, "to": to, "of": of}}))
        }
        _ => comparison(u),
    }
}

fn comparison(u: &mut Unstructured<'_>) -> Result<Value> {
    let attribute = name(u)?;
    let (op, pool) = *u.choose(&OPERATORS)?;
    let values = match op {
        "exists" => Vec::new(),
        "in" | "eq" => some(u, 3, scalar)?,
        "lt" | "lte" | "gt" | "gte" => some(u, 3, number)?,
        // What is none is refused, so it is seldom given.
        _ => some(u, 3, |u| {
            let good = pool.get(..pool.len() - 1).unwrap_or(pool);
            let given = if u.ratio(1, 64)? { pool } else { good };
            Ok(json!(u.choose(given)?))
        })?,
    };
    let mut comparison = json!({"attribute": attribute, "op": op, "values": values});
    let takes_text = matches!(op, "eq" | "in" | "starts_with" | "ends_with" | "contains" | "matches");
    if takes_text && u.ratio(1, 3)? {
        comparison["ignore_case"] = json!(true);
    }
    Ok(comparison)
}

/// A value of an attribute, as deep as so many levels.
fn attribute_value(u: &mut Unstructured<'_>, levels: usize) -> Result<Value> {
    Ok(match u.int_in_range(0..=9)? {
        0 => Value::Null,
        1 => json!(word(u, &VERSIONS)?),
        2 => json!(word(u, &TIMES)?),
        3 => json!(word(u, &NETWORKS)?),
        4 if levels > 0 => list(u, 3, |u| attribute_value(u, levels - 1))?.into(),
        5 if levels > 0 => {
            let fields = list(u, 2, |u| {
                Ok((word(u, &["plan", "id", "plan.name", ""])?, attribute_value(u, levels - 1)?))
            })?;
            Value::Object(fields.into_iter().collect())
        }
        _ => scalar(u)?,
    })
}

fn scalar(u: &mut Unstructured<'_>) -> Result<Value> {
    Ok(match u.int_in_range(0..=7)? {
        0 => json!(u.ratio(1, 2)?),
        1 | 2 => number(u)?,
        _ => json!(word(u, &WORDS)?),
    })
}

fn number(u: &mut Unstructured<'_>) -> Result<Value> {
    Ok(match u.int_in_range(0..=5)? {
        0 | 1 => json!(u.int_in_range(-3..=3)?),
        2 => json!(f64::from(u.int_in_range(-3..=3_i8)?) / 2.0),
        3 => json!(u.arbitrary::<u64>()?),
        4 => json!(u.arbitrary::<i64>()?),
        _ => {
            let double: f64 = u.arbitrary()?;
            json!(if double.is_finite() { double } else { -0.0 })
        }
    })
}

/// A word of a pool, or now and then any other one.
fn word(u: &mut Unstructured<'_>, pool: &[&str]) -> Result<String> {
    if u.ratio(1, 32)? {
        let length = u.int_in_range(0..=12)?;
        let length = length.min(u.len());
        return Ok(String::from_utf8_lossy(u.bytes(length)?).into_owned());
    }
    u.choose(pool).map(|word| (*word).to_owned())
}

fn words(u: &mut Unstructured<'_>) -> Result<Vec<String>> {
    list(u, 3, |u| word(u, &WORDS))
}

/// The name of an attribute.
fn name(u: &mut Unstructured<'_>) -> Result<&'static str> {
    u.choose(&ATTRIBUTES).copied()
}

fn by(u: &mut Unstructured<'_>) -> Result<&'static str> {
    if u.ratio(3, 4)? { Ok("targetingKey") } else { name(u) }
}

fn variant(u: &mut Unstructured<'_>) -> Result<&'static str> {
    u.choose(&["on", "on", "on", "off", "off"]).copied()
}

fn environment(u: &mut Unstructured<'_>) -> Result<&'static str> {
    u.choose(&["dev", "dev", "dev", "dev", "production", "production", "qa"]).copied()
}

fn optional<'a, T>(
    u: &mut Unstructured<'a>,
    one: impl FnOnce(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Option<T>> {
    if u.ratio(1, 2)? { one(u).map(Some) } else { Ok(None) }
}

/// One to so many.
fn some<'a, T>(
    u: &mut Unstructured<'a>,
    max: usize,
    mut one: impl FnMut(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = u.int_in_range(1..=max)?;
    (0..count).map(|_| one(u)).collect()
}

/// None to so many.
fn list<'a, T>(
    u: &mut Unstructured<'a>,
    max: usize,
    one: impl FnMut(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    if u.ratio(1, 4)? { Ok(Vec::new()) } else { some(u, max, one) }
}
