//! A catalog as a large company's might be: flags of three rules of three conditions and a rollout each, with every
//! operator, segments, targets and prerequisites among them. The same on every run.

use serde_json::{Map, Value, json};

/// How many segments there are.
pub const SEGMENTS: usize = 50;
/// Members that a segment lists.
const MEMBERS: usize = 200;

const COUNTRIES: [&str; 12] = ["AT", "BE", "CH", "DE", "DK", "ES", "FI", "FR", "IT", "NL", "PL", "SE"];
const PLANS: [&str; 4] = ["free", "pro", "business", "enterprise"];
const TEAMS: [&str; 6] = ["payments", "search", "growth", "mobile", "platform", "logistics"];

/// The operation that puts a flag. Another `version` makes it another flag of the same key.
pub fn flag(n: usize, version: usize, environments: &[String]) -> Value {
    let team = TEAMS[n % TEAMS.len()];
    let (kind, variants): (&str, Value) = match n % 4 {
        0 => ("string", json!({"on": format!("{team}-{n}"), "off": "classic"})),
        1 => ("integer", json!({"on": n, "off": 0})),
        _ => ("boolean", json!({"on": true, "off": false})),
    };
    let configuration = configuration(n, version);
    let environments: Map<String, Value> =
        environments.iter().map(|environment| (environment.clone(), configuration.clone())).collect();
    json!({"op": "flag.put", "flag": {
        "key": key(n), "name": format!("Feature {n} of {team}"), "type": kind, "owner": team, "tags": [team],
        "description": format!("What feature {n} does, and until when it is behind a flag."),
        "metadata": {"team": team}, "variants": variants, "off_variant": "off", "environments": environments,
    }})
}

/// The operation that puts a segment.
pub fn segment(n: usize, version: usize) -> Value {
    let members: Vec<String> = (0..MEMBERS).map(|m| format!("user-{n}-{version}-{m}")).collect();
    json!({"op": "segment.put", "segment": {
        "key": segment_key(n), "included": members, "excluded": [format!("user-{n}")],
        "when": {"any": [
            {"attribute": "email", "op": "ends_with", "values": [format!("@company-{n}.example")]},
            {"attribute": "company.size", "op": "gte", "values": [n * 10]},
        ]},
    }})
}

fn key(n: usize) -> String {
    format!("{}-feature-{n:05}", TEAMS[n % TEAMS.len()])
}

fn segment_key(n: usize) -> String {
    format!("segment-{n:02}")
}

fn configuration(n: usize, version: usize) -> Value {
    let rules: Vec<Value> = (0..3).map(|r| rule(n, r, version)).collect();
    let mut configuration = json!({"enabled": n % 10 != 9, "rules": rules, "default": {"variant": "off"}});
    if n % 20 == 3 {
        let values: Vec<String> = (0..10).map(|m| format!("user-{n}-{m}")).collect();
        configuration["targets"] = json!([{"by": "targetingKey", "values": values, "variant": "on"}]);
    }
    // A flag of the same team before it, which has none itself: no chain, and no cycle.
    if n % 50 == 24 {
        configuration["prerequisites"] = json!([{"flag": key(n - 6), "variants": ["on"]}]);
    }
    configuration
}

fn rule(n: usize, r: usize, version: usize) -> Value {
    // Of ten thousand, so that a version is never the same as the one before.
    let weight = (n + version) % 9_999 + 1;
    let conditions: Vec<Value> = (0..3).map(|c| condition(n * 9 + r * 3 + c)).collect();
    json!({
        "id": format!("rule-{r}"),
        "when": {"all": conditions},
        "serve": {"rollout": {
            "by": "targetingKey", "seed": format!("{}-{r}", key(n)),
            "weights": [{"variant": "on", "weight": weight}, {"variant": "off", "weight": 10_000 - weight}],
        }},
    })
}

/// One of the conditions, by a number: of any sixteen in a row most are lists and versions.
fn condition(n: usize) -> Value {
    let some = |of: &[&str], count: usize| {
        of.iter().copied().cycle().skip(n % of.len()).take(count).map(str::to_owned).collect::<Vec<_>>()
    };
    let attribute = |attribute: &str, op: &str, values: Value| json!({"attribute": attribute, "op": op, "values": values});
    match n % 16 {
        0..=3 => attribute("country", "in", json!(some(&COUNTRIES, 2 + n % 5))),
        4..=6 => attribute("plan", "in", json!(some(&PLANS, 1 + n % 3))),
        7..=9 => attribute("app.version", "semver_gte", json!([format!("{}.{}.{}", n % 7, n % 11, n % 13)])),
        10 => json!({"segment": segment_key(n / 16 % SEGMENTS)}),
        11 => attribute("email", "ends_with", json!([format!("@partner-{}.example", n % 97)])),
        12 => attribute("age_days", "gte", json!([n % 365])),
        13 => attribute(
            "signed_up_at",
            "after",
            json!([format!("20{:02}-0{}-01T00:00:00Z", 10 + n % 16, 1 + n % 9)]),
        ),
        // Of ten thousand flags a few hundred: a pattern takes more memory than all the rest of its flag.
        14 if n % 160 == 14 => attribute("url", "matches", json!([format!("^/shop/{}(/|$)", n % 89)])),
        14 => attribute("client_ip", "cidr", json!([format!("10.{}.0.0/16", n % 256)])),
        _ => json!({"not": attribute("beta", "eq", json!([false]))}),
    }
}
