//! What a flag and a segment may say: a row for each thing they may not, with the path to the fault, and the form
//! in which they are written.

use std::collections::BTreeMap;

use flagraft_core::{
    document::FlagDocument,
    flag::{FlagDefinition, FlagEnvironment, Serve},
    invalid::Invalid,
    key::EnvironmentKey,
    parse,
    segment::{Segment, SegmentSpec},
};
use serde_json::{Value, json};

/// A flag with something of everything; each row below breaks one thing in it.
fn flag() -> Value {
    json!({
        "key": "checkout-v2", "name": "Checkout v2", "type": "boolean", "description": "New checkout", "owner": "payments",
        "tags": ["checkout"], "links": [{"title": "RFC 88", "url": "https://example.com/88"}],
        "metadata": {"team": "payments"}, "purpose": "release", "temporary": true,
        "expires_at": "2027-03-01T00:00:00Z", "exit_criteria": "100 % for 14 days",
        "critical": true, "safe_variant": "off", "exposure": "server",
        "variants": {"on": true, "off": false}, "off_variant": "off",
        "tests": [{"name": "staff", "environment": "production", "context": {"staff": true}, "variant": "on"}],
        "environments": {"production": {
            "enabled": true,
            "prerequisites": [{"flag": "payments-core", "variants": ["on"]}],
            "targets": [{"by": "targetingKey", "values": ["u1", "u2"], "variant": "on"}],
            "rules": [
                {"id": "staff", "name": "Staff", "when": {"any": [{"segment": "staff"}, {"attribute": "email", "op": "ends_with", "values": ["@example.com"], "ignore_case": true}]},
                 "serve": {"variant": "on"}},
                {"id": "ramp", "when": {"all": [{"not": {"attribute": "country", "op": "in", "values": ["DE", 7]}}, {"bucket": {"by": "org", "seed": "layer-1", "from": 0, "to": 25, "of": 100}}]},
                 "serve": {"rollout": {"by": "targetingKey", "seed": "checkout-v2", "weights": [{"variant": "on", "weight": 10}, {"variant": "off", "weight": 90}]}}},
            ],
            "default": {"variant": "off"},
            "off_variant": "off", "safe_variant": "off", "hold": {"variant": "off", "id": "stop-1"},
        }},
    })
}

fn segment() -> Value {
    json!({
        "key": "staff", "name": "Staff", "included": ["ann"], "excluded": ["bob"],
        "when": {"attribute": "email", "op": "ends_with", "values": ["@example.com"]},
        "environments": {"dev": {"included": ["eve"], "excluded": [], "when": {"segment": "beta"}}},
    })
}

fn read_flag(flag: Value) -> Result<(FlagDefinition, BTreeMap<EnvironmentKey, FlagEnvironment>), Invalid> {
    let document = FlagDocument::from_value(flag)?;
    let definition = FlagDefinition::new(document.definition)?;
    let environments = document.environments.into_iter().map(|(environment, spec)| {
        let checked = FlagEnvironment::new(spec, &definition);
        let checked = checked.map_err(|invalid| invalid.under(&environment).under("environments"))?;
        Ok((environment, checked))
    });
    Ok((definition.clone(), environments.collect::<Result<_, Invalid>>()?))
}

fn read_segment(segment: Value) -> Result<Segment, Invalid> {
    Segment::new(parse::from_value::<SegmentSpec>(segment)?)
}

/// Puts `value` where `pointer` leads; a last segment that is not there yet is added.
fn set(document: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').expect("a pointer");
    let parent = document.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer} leads nowhere"));
    match parent {
        Value::Object(object) => {
            object.insert(last.to_owned(), value);
        }
        Value::Array(list) if last == "-" => list.push(value),
        Value::Array(list) => list[last.parse::<usize>().expect("an index")] = value,
        other => panic!("{pointer}: {other} holds nothing"),
    }
}

/// Where it is broken, with what, where the fault is told, and a word that the message has.
type Row = (&'static str, Value, &'static str, &'static str);

fn check(document: &Value, read: impl Fn(Value) -> Result<(), Invalid>, rows: Vec<Row>) {
    read(document.clone()).expect("the document that rows break");
    let mut failures = Vec::new();
    for (pointer, value, path, word) in rows {
        let mut broken = document.clone();
        set(&mut broken, pointer, value.clone());
        let shown: String = value.to_string().chars().take(80).collect();
        match read(broken) {
            Ok(()) => failures.push(format!("{pointer} = {shown} was accepted")),
            Err(fault) if fault.path != path || !fault.message.contains(word) => {
                failures.push(format!(
                    "{pointer} = {shown}: expected {path:?} and {word:?}, got {:?} and {:?}",
                    fault.path, fault.message
                ));
            }
            Err(_) => {}
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn check_flag(rows: Vec<Row>) {
    check(&flag(), |flag| read_flag(flag).map(|_| ()), rows);
}

fn text(bytes: usize) -> Value {
    Value::String("x".repeat(bytes))
}

#[test]
fn definitions() {
    let many =
        |count: usize| (0..count).map(|n| (format!("v{n}"), json!(true))).collect::<serde_json::Map<_, _>>();
    check_flag(vec![
        ("/key", json!("a b"), "/key", "white space"),
        ("/key", json!("a/b"), "/key", "'/'"),
        ("/key", json!(7), "/key", "string"),
        ("/type", json!("bool"), "/type", "boolean"),
        ("/nmae", json!("x"), "/nmae", "unknown field"),
        ("/name", text(257), "/name", "256"),
        ("/name", json!("a\u{0}b"), "/name", "control"),
        ("/description", text(4_097), "/description", "4096"),
        ("/owner", text(257), "/owner", "256"),
        ("/exit_criteria", text(4_097), "/exit_criteria", "4096"),
        ("/tags", json!(vec!["t"; 51]), "/tags", "50"),
        ("/tags/0", text(257), "/tags/0", "256"),
        ("/links", json!(vec![json!({"title": "t", "url": "https://e.com"}); 21]), "/links", "20"),
        ("/links/0/url", json!("javascript:alert(1)"), "/links/0/url", "https://"),
        ("/links/0/href", json!("x"), "/links/0/href", "unknown field"),
        ("/metadata/team", json!(null), "/metadata/team", "strings"),
        ("/metadata/a~1b", json!([]), "/metadata/a~01b", "strings"),
        ("/purpose", json!("fun"), "/purpose", "kill-switch"),
        ("/temporary", json!("yes"), "/temporary", "boolean"),
        ("/expires_at", json!("tomorrow"), "/expires_at", "RFC 3339"),
        ("/safe_variant", json!(null), "/safe_variant", "safe variant"),
        ("/safe_variant", json!("of"), "/safe_variant", "off, on"),
        ("/off_variant", json!("of"), "/off_variant", "off, on"),
        ("/exposure", json!("public"), "/exposure", "client"),
        ("/max_age_ms", json!(86_400_001), "/max_age_ms", "day"),
        ("/max_age_ms", json!(-1), "/max_age_ms", "u64"),
        ("/on_stale", json!("explode"), "/on_stale", "safe-variant"),
        ("/on_unconfirmed", json!("last-known"), "/grace_ms", "for how long"),
        ("/audit_evaluations", json!("some"), "/audit_evaluations", "summary"),
        ("/variants", json!({}), "/variants", "1 to 100"),
        ("/variants", Value::Object(many(101)), "/variants", "1 to 100"),
        ("/variants/on", json!("true"), "/variants/on", "true or false"),
        ("/variants/on", json!(null), "/variants/on", "true or false"),
        ("/variants", json!({"on": true, "off": false, " a": true}), "/variants/ a", "space"),
        ("/tests/0/variant", json!("of"), "/tests/0/variant", "off, on"),
        ("/tests/0/environment", json!("PROD"), "/tests/0/environment", "a-z"),
        ("/tests/0/context", json!({"x": text(16 * 1024)}), "/tests/0/context", "16384"),
    ]);
    let fault = read_flag(json!([])).expect_err("not an object");
    assert_eq!((fault.path.as_str(), fault.message.as_str()), ("", "a flag is a JSON object"));
}

#[test]
fn a_flag_that_falls_back_on_its_safe_variant_has_one() {
    let stale = json!({"key": "k", "type": "boolean", "variants": {"on": true}, "on_stale": "safe-variant"});
    assert_eq!(read_flag(stale).expect_err("no safe variant").path, "/safe_variant");
}

#[test]
fn values_have_the_type_of_their_flag() {
    let of = |flag_type: &str, value: Value| {
        let flag = json!({"key": "k", "type": flag_type, "variants": {"v": value}});
        read_flag(flag).map(|(definition, _)| definition.variants["v"].to_string())
    };
    for (flag_type, value, form) in [
        ("boolean", json!(true), "true"),
        ("string", json!(""), "\"\""),
        ("integer", json!(1.0), "1"),
        ("integer", json!(-0.0), "0"),
        ("integer", json!(9_007_199_254_740_991_i64), "9007199254740991"),
        ("integer", json!(-9_007_199_254_740_991.0), "-9007199254740991"),
        ("number", json!(0), "0.0"),
        ("number", json!(-0.0), "-0.0"),
        ("number", json!(1_000_000), "1000000.0"),
        ("number", json!(0.1), "0.1"),
        ("object", json!({"b": 1, "a": [null]}), r#"{"a":[null],"b":1}"#),
    ] {
        assert_eq!(of(flag_type, value.clone()).as_deref(), Ok(form), "{flag_type} {value}");
    }
    // However large or small, a number has a fraction or an exponent.
    for value in [json!(1e300), json!(1e-300), json!(1e15), json!(1e16), json!(u64::MAX), json!(i64::MIN)] {
        let form = of("number", value.clone()).expect("a number");
        assert!(form.contains(['.', 'e']), "{value} is written {form}");
    }
    for (flag_type, value) in [
        ("boolean", json!(0)),
        ("string", json!(1)),
        ("integer", json!(1.5)),
        ("integer", json!(9_007_199_254_740_992_i64)),
        ("integer", json!(-9_007_199_254_740_992.0)),
        ("integer", json!(u64::MAX)),
        ("integer", json!("1")),
        ("number", json!("1")),
        ("object", json!([])),
        ("object", json!(null)),
    ] {
        assert_eq!(
            of(flag_type, value.clone()).expect_err("another type").path,
            "/variants/v",
            "{flag_type} {value}"
        );
    }
    assert!(of("string", text(64 * 1024 - 2)).is_ok());
    assert!(of("string", text(64 * 1024 - 1)).expect_err("too long").message.contains("65536"));
}

#[test]
fn configurations() {
    const P: &str = "/environments/production";
    let rules = |count: usize| {
        (0..count).map(|n| json!({"id": format!("r{n}"), "serve": {"variant": "on"}})).collect::<Value>()
    };
    let users = |count: usize| (0..count).map(|n| Value::String(format!("u{n}"))).collect::<Value>();
    let weights = "/environments/production/rules/1/serve/rollout/weights";
    check_flag(vec![
        ("/environments/PROD", json!({}), "/environments/PROD", "a-z"),
        (
            "/environments/production/enabledd",
            json!(true),
            "/environments/production/enabledd",
            "unknown field",
        ),
        (
            "/environments/production/off_variant",
            json!("x"),
            "/environments/production/off_variant",
            "off, on",
        ),
        (
            "/environments/production/safe_variant",
            json!("x"),
            "/environments/production/safe_variant",
            "off, on",
        ),
        (
            "/environments/production/hold/variant",
            json!("x"),
            "/environments/production/hold/variant",
            "off, on",
        ),
        (
            "/environments/production/default",
            json!({"variant": "x"}),
            "/environments/production/default/variant",
            "off, on",
        ),
        ("/environments/production/default", json!({}), "/environments/production/default", "either"),
        ("/environments/production/default", json!("on"), "/environments/production/default", "invalid type"),
        (
            "/environments/production/prerequisites/0/flag",
            json!("checkout-v2"),
            "/environments/production/prerequisites/0/flag",
            "itself",
        ),
        (
            "/environments/production/prerequisites/0/variants",
            json!([]),
            "/environments/production/prerequisites/0/variants",
            "at least one",
        ),
        (
            "/environments/production/prerequisites/-",
            json!({"flag": "payments-core", "variants": ["off"]}),
            "/environments/production/prerequisites/1/flag",
            "already",
        ),
        (
            "/environments/production/targets/0/variant",
            json!("x"),
            "/environments/production/targets/0/variant",
            "off, on",
        ),
        (
            "/environments/production/targets/0/values",
            users(10_001),
            "/environments/production/targets",
            "10000",
        ),
        (
            "/environments/production/targets/0/values/1",
            text(1_025),
            "/environments/production/targets/0/values/1",
            "1024",
        ),
        (
            "/environments/production/targets/0/values/1",
            json!(7),
            "/environments/production/targets/0/values/1",
            "string",
        ),
        (
            "/environments/production/targets/0/by",
            json!(""),
            "/environments/production/targets/0/by",
            "empty",
        ),
        (
            "/environments/production/targets/-",
            json!({"values": ["u1"], "variant": "off"}),
            "/environments/production/targets/1/values/0",
            "two variants",
        ),
        ("/environments/production/rules", rules(201), "/environments/production/rules", "200"),
        (
            "/environments/production/rules/1/id",
            json!("staff"),
            "/environments/production/rules/1/id",
            "unique",
        ),
        ("/environments/production/rules/0/name", text(257), "/environments/production/rules/0/name", "256"),
        (
            "/environments/production/rules/0/serve",
            json!({"variant": "x"}),
            "/environments/production/rules/0/serve/variant",
            "off, on",
        ),
        (
            "/environments/production/rules/0/serve",
            json!({"variant": "on", "rollout": {"seed": "s", "weights": [{"variant": "on", "weight": 1}]}}),
            "/environments/production/rules/0/serve",
            "either",
        ),
        (
            "/environments/production/rules/1/serve/rollout/method",
            json!("sha1"),
            "/environments/production/rules/1/serve/rollout/method",
            "give one of murmur3, unleash, ",
        ),
        (
            "/environments/production/rules/1/serve/rollout/method",
            json!("launchdarkly"),
            weights,
            "make them add up to 100000",
        ),
        (
            "/environments/production/rules/1/serve/rollout/seed",
            json!(""),
            "/environments/production/rules/1/serve/rollout/seed",
            "empty",
        ),
        (
            "/environments/production/rules/1/serve/rollout/by",
            json!(""),
            "/environments/production/rules/1/serve/rollout/by",
            "empty",
        ),
        (weights, json!([]), weights, "add up to 0"),
        (weights, json!([{"variant": "on", "weight": 0}]), weights, "add up to 0"),
        (
            weights,
            json!([{"variant": "on", "weight": 2_147_483_647}, {"variant": "off", "weight": 1}]),
            weights,
            "2147483648",
        ),
        (
            weights,
            json!([{"variant": "on", "weight": 1}, {"variant": "on", "weight": 1}]),
            "/environments/production/rules/1/serve/rollout/weights/1/variant",
            "already",
        ),
        (
            weights,
            json!([{"variant": "x", "weight": 1}]),
            "/environments/production/rules/1/serve/rollout/weights/0/variant",
            "off, on",
        ),
        (
            weights,
            json!([{"variant": "on", "weight": 0.5}]),
            "/environments/production/rules/1/serve/rollout/weights/0/weight",
            "u32",
        ),
        (
            weights,
            json!([{"variant": "on", "weight": -1}]),
            "/environments/production/rules/1/serve/rollout/weights/0/weight",
            "u32",
        ),
    ]);
    assert!(flag().pointer(P).is_some());
}

/// What a method asks of the weights and the seed: each pair is what it takes, and what it refuses with the path.
#[test]
fn rollouts_of_other_systems() {
    let rollout = |method: &str, seed: &str, on: u32, off: u32| {
        let weights = json!([{"variant": "on", "weight": on}, {"variant": "off", "weight": off}]);
        let serve = parse::from_value::<Serve>(
            json!({"rollout": {"method": method, "seed": seed, "weights": weights}}),
        );
        serve.and_then(|serve| serve.validate()).map_err(|invalid| invalid.path)
    };
    for (method, total) in [("launchdarkly", 100_000), ("flipt", 1_000), ("flipt_threshold", 100)] {
        assert_eq!(rollout(method, "s", 1, total - 1), Ok(()), "{method}");
        for off in [0, total - 2, total] {
            let refused = Err("/rollout/weights".to_owned());
            assert_eq!(rollout(method, "s", 1, off), refused, "{method} {off}");
        }
    }
    for method in [
        "murmur3",
        "unleash",
        "unleash_variant",
        "flagd",
        "flagd_percent",
        "go_feature_flag",
        "growthbook_v1",
        "growthbook_v2",
    ] {
        assert_eq!(rollout(method, "s", 1, 2_147_483_646), Ok(()), "{method}");
    }
    for method in ["murmur3", "unleash", "unleash_variant"] {
        assert_eq!(rollout(method, "", 50, 50), Err("/rollout/seed".to_owned()), "{method}");
    }
    assert_eq!(rollout("launchdarkly", "", 50_000, 50_000), Err("/rollout/seed".to_owned()));
    assert_eq!(rollout("flipt", "", 500, 500), Ok(()));
    for method in
        ["flagd", "flagd_percent", "flipt_threshold", "go_feature_flag", "growthbook_v1", "growthbook_v2"]
    {
        assert_eq!(rollout(method, "", 50, 50), Ok(()), "{method}");
        let too_long = "s".repeat(257);
        assert_eq!(rollout(method, &too_long, 50, 50), Err("/rollout/seed".to_owned()), "{method}");
    }
}

#[test]
fn conditions() {
    const WHEN: &str = "/environments/production/rules/0/when";
    let nested = |depth: usize| {
        (1..depth).fold(json!({"attribute": "a", "op": "exists"}), |inner, _| json!({"not": inner}))
    };
    let row = |value: Value, path: &'static str, word: &'static str| (WHEN, value, path, word);
    let many = |count: usize| Value::Array(vec![json!({"attribute": "a", "op": "exists"}); count]);
    let mut rows = vec![
        row(json!({}), WHEN, "exactly one"),
        row(json!("staff"), WHEN, "invalid type"),
        row(json!({"everybody": true}), "/environments/production/rules/0/when/everybody", "unknown field"),
        row(json!({"segment": "staff", "not": {"segment": "staff"}}), WHEN, "exactly one"),
        row(json!({"segment": "staff", "attribute": "a", "op": "exists"}), WHEN, "exactly one"),
        row(json!({"segment": "staff", "op": "exists"}), WHEN, "exactly one"),
        row(json!({"op": "eq", "values": [1]}), WHEN, "attribute"),
        row(json!({"attribute": "a"}), WHEN, "op"),
        row(json!({"segment": "a/b"}), "/environments/production/rules/0/when/segment", "'/'"),
        row(
            json!({"attribute": "", "op": "exists"}),
            "/environments/production/rules/0/when/attribute",
            "empty",
        ),
        row(
            json!({"attribute": text(257), "op": "exists"}),
            "/environments/production/rules/0/when/attribute",
            "256",
        ),
        row(
            json!({"attribute": "a", "op": "equals", "values": [1]}),
            "/environments/production/rules/0/when/op",
            "unknown variant",
        ),
        row(
            json!({"attribute": "a", "op": "eq"}),
            "/environments/production/rules/0/when/values",
            "1 to 10000",
        ),
        row(
            json!({"attribute": "a", "op": "in", "values": vec![1; 10_001]}),
            "/environments/production/rules/0/when/values",
            "1 to 10000",
        ),
        row(
            json!({"attribute": "a", "op": "in", "values": [1, null]}),
            "/environments/production/rules/0/when/values/1",
            "a string",
        ),
        row(
            json!({"attribute": "a", "op": "in", "values": [[1]]}),
            "/environments/production/rules/0/when/values/0",
            "a string",
        ),
        row(
            json!({"attribute": "a", "op": "in", "values": [text(1_025)]}),
            "/environments/production/rules/0/when/values/0",
            "1024",
        ),
        row(
            json!({"attribute": "a", "op": "contains", "values": ["x", 1]}),
            "/environments/production/rules/0/when/values/1",
            "text",
        ),
        row(
            json!({"attribute": "a", "op": "lt", "values": ["1"]}),
            "/environments/production/rules/0/when/values/0",
            "number",
        ),
        row(
            json!({"attribute": "a", "op": "exists", "values": [true]}),
            "/environments/production/rules/0/when/values",
            "nothing",
        ),
        row(
            json!({"attribute": "a", "op": "gt", "values": [1], "ignore_case": true}),
            "/environments/production/rules/0/when/ignore_case",
            "text",
        ),
        row(
            json!({"bucket": {"seed": "s", "from": 0, "to": 1, "of": 0}}),
            "/environments/production/rules/0/when/bucket/of",
            "1 to",
        ),
        row(
            json!({"bucket": {"seed": "s", "from": 0, "to": 11, "of": 10}}),
            "/environments/production/rules/0/when/bucket/to",
            "from <= to <= of",
        ),
        row(
            json!({"bucket": {"seed": "s", "from": 6, "to": 5, "of": 10}}),
            "/environments/production/rules/0/when/bucket/to",
            "from <= to <= of",
        ),
        row(
            json!({"bucket": {"seed": "", "from": 0, "to": 5, "of": 10}}),
            "/environments/production/rules/0/when/bucket/seed",
            "empty",
        ),
        row(
            json!({"bucket": {"from": 0, "to": 5, "of": 10}}),
            "/environments/production/rules/0/when/bucket",
            "seed",
        ),
        row(
            json!({"bucket": {"seed": "s", "from": 0, "to": 2_147_483_648_u32, "of": 2_147_483_648_u32}}),
            "/environments/production/rules/0/when/bucket/of",
            "2147483647",
        ),
        // The path reaches to the fault, however deep.
        row(
            json!({"all": [{"segment": "a"}, {"any": [{"not": {"attribute": "a", "op": "nope"}}]}]}),
            "/environments/production/rules/0/when/all/1/any/0/not/op",
            "unknown variant",
        ),
        row(
            json!({"all": [{"segment": "a"}, {"any": [{"not": {"attribute": "a", "op": "lt", "values": [true]}}]}]}),
            "/environments/production/rules/0/when/all/1/any/0/not/values/0",
            "number",
        ),
        row(json!({"any": many(1_000)}), WHEN, "1000"),
    ];
    for (op, value, word) in [
        ("matches", json!("("), "regular expression"),
        ("matches", json!("(?=a)"), "look-around"),
        ("matches", json!(r"\p{L}{1000}"), "too large"),
        ("matches", json!("a".repeat(1_025)), "at most 1024"),
        ("matches", json!(7), "regular expression"),
        ("before", json!("2027-02-29T00:00:00Z"), "RFC 3339"),
        ("after", json!(1_700_000_000), "RFC 3339"),
        ("semver_eq", json!("1.x"), "semantic version"),
        ("semver_lt", json!("01.0.0"), "semantic version"),
        ("semver_lte", json!(""), "semantic version"),
        ("semver_gt", json!(2), "semantic version"),
        ("semver_gte", json!("2.1.0-"), "semantic version"),
        ("cidr", json!("10.0.0.0/33"), "network"),
        ("cidr", json!("localhost"), "network"),
    ] {
        let condition = json!({"attribute": "a", "op": op, "values": ["1.0.0", value]});
        let good = match op {
            "matches" => json!("a"),
            "before" | "after" => json!("2027-03-01T00:00:00Z"),
            "cidr" => json!("::/0"),
            _ => json!("1.0.0"),
        };
        let mut condition = condition;
        condition["values"][0] = good;
        rows.push(row(condition, "/environments/production/rules/0/when/values/1", word));
    }
    for (op, value) in [("before", "2027-03-01T00:00:00Z"), ("semver_eq", "1.0.0"), ("cidr", "10.0.0.1")] {
        rows.push(row(
            json!({"attribute": "a", "op": op, "values": [value], "ignore_case": true}),
            "/environments/production/rules/0/when/ignore_case",
            "leave it out",
        ));
    }
    let wide = |count| json!({"attribute": "a", "op": "matches", "values": vec![r"\w{5}"; count]});
    rows.push(row(wide(50), "/environments/production/rules/0/when/values", "once compiled"));
    let narrow = |count| json!({"attribute": "a", "op": "matches", "values": vec!["a"; count]});
    rows.push(row(narrow(101), "/environments/production/rules/0/when", "at most 100"));
    check_flag(rows);

    let with = |condition: Value| {
        let mut flag = flag();
        set(&mut flag, WHEN, condition);
        read_flag(flag).map(|_| ())
    };
    with(nested(16)).expect("the greatest depth");
    assert!(with(nested(17)).expect_err("too deep").message.contains("16"));
    with(json!({"any": many(995)})).expect("the most conditions, with those of the other rule");
    assert_eq!(with(json!({"any": many(996)})).expect_err("too many").path, "/environments/production/rules");
}

#[test]
fn segments() {
    check(
        &segment(),
        |segment| read_segment(segment).map(|_| ()),
        vec![
            ("/key", json!("a/b"), "/key", "'/'"),
            ("/name", text(257), "/name", "256"),
            ("/description", text(4_097), "/description", "4096"),
            ("/members", json!([]), "/members", "unknown field"),
            ("/included/0", json!(7), "/included/0", "string"),
            ("/included/0", json!(""), "/included/0", "1024"),
            ("/excluded/0", text(1_025), "/excluded/0", "1024"),
            (
                "/when",
                json!({"all": [{"attribute": "a", "op": "cidr", "values": ["10.0.0.0/40"]}]}),
                "/when/all/0/values/0",
                "network",
            ),
            ("/environments/DEV", json!({}), "/environments/DEV", "a-z"),
            ("/environments/dev/key", json!("x"), "/environments/dev/key", "unknown field"),
            ("/environments/dev/included", json!([""]), "/environments/dev/included/0", "1024"),
            (
                "/environments/dev/when",
                json!({"attribute": "a", "op": "eq", "values": []}),
                "/environments/dev/when/values",
                "1 to 10000",
            ),
        ],
    );
}

/// The written form is what the log, the catalog and the audit records hold: it is frozen.
#[test]
fn the_written_form_of_a_flag() {
    let document = FlagDocument::from_value(flag()).expect("valid");
    let written = serde_json::to_string(&document).expect("written");
    assert_eq!(
        written,
        concat!(
            r#"{"audit_evaluations":"none","critical":true,"description":"New checkout","environments":{"production":{"#,
            r#""default":{"variant":"off"},"enabled":true,"hold":{"id":"stop-1","variant":"off"},"off_variant":"off","#,
            r#""prerequisites":[{"flag":"payments-core","variants":["on"]}],"rules":[{"id":"staff","name":"Staff","#,
            r#""serve":{"variant":"on"},"when":{"any":[{"segment":"staff"},{"attribute":"email","ignore_case":true,"#,
            r#""op":"ends_with","values":["@example.com"]}]}},{"id":"ramp","serve":{"rollout":{"by":"targetingKey","#,
            r#""seed":"checkout-v2","weights":[{"variant":"on","weight":10},{"variant":"off","weight":90}]}},"#,
            r#""when":{"all":[{"not":{"attribute":"country","op":"in","values":["DE",7]}},{"bucket":{"by":"org","#,
            r#""from":0,"of":100,"seed":"layer-1","to":25}}]}}],"safe_variant":"off","targets":[{"by":"targetingKey","#,
            r#""values":["u1","u2"],"variant":"on"}]}},"exit_criteria":"100 % for 14 days","#,
            r#""expires_at":"2027-03-01T00:00:00Z","exposure":"server","grace_ms":null,"key":"checkout-v2","#,
            r#""links":[{"title":"RFC 88","url":"https://example.com/88"}],"max_age_ms":null,"#,
            r#""metadata":{"team":"payments"},"name":"Checkout v2","off_variant":"off","on_stale":"serve","#,
            r#""on_unconfirmed":"safe-variant","owner":"payments","purpose":"release","safe_variant":"off","#,
            r#""tags":["checkout"],"temporary":true,"tests":[{"context":{"staff":true},"environment":"production","#,
            r#""name":"staff","variant":"on"}],"type":"boolean","variants":{"off":false,"on":true}}"#,
        )
    );
    let again: FlagDocument = serde_json::from_str(&written).expect("read again");
    assert_eq!(again, document);
}

#[test]
fn the_least_that_a_flag_says_and_what_it_then_has() {
    let flag = json!({"key": "k", "type": "boolean", "variants": {"on": true}, "environments": {"dev": {}}, "system": {"any": "thing"}});
    let (definition, environments) = read_flag(flag).expect("valid");
    assert_eq!(
        serde_json::to_string(&definition).expect("written"),
        concat!(
            r#"{"key":"k","name":"","type":"boolean","description":"","owner":"","tags":[],"links":[],"metadata":{},"#,
            r#""purpose":null,"temporary":false,"expires_at":null,"exit_criteria":"","critical":false,"#,
            r#""safe_variant":null,"max_age_ms":null,"on_stale":"serve","on_unconfirmed":"safe-variant","#,
            r#""grace_ms":null,"audit_evaluations":"none","tests":[],"exposure":"server","variants":{"on":true},"#,
            r#""off_variant":null}"#,
        )
    );
    assert_eq!(
        serde_json::to_string(&environments).expect("written"),
        r#"{"dev":{"enabled":false,"prerequisites":[],"targets":[],"rules":[],"default":null,"hold":null}}"#
    );
}

/// A condition of 127 levels gets through the JSON parser. Reading it must fit a thread's stack, also one of an
/// unoptimised build.
#[test]
#[expect(clippy::disallowed_types, reason = "only a thread has a stack of its own")]
fn a_deep_document_does_not_overflow_the_stack() {
    let depth = 100;
    let condition =
        format!(r#"{}{{"attribute":"a","op":"exists"}}{}"#, r#"{"not":"#.repeat(depth), "}".repeat(depth));
    let segment = format!(r#"{{"key":"deep","when":{condition}}}"#);
    let reader = std::thread::Builder::new().stack_size(1024 * 1024).spawn(move || {
        let value: Value = serde_json::from_str(&segment).expect("within the parser's bound");
        let spec: SegmentSpec = parse::from_value(value).expect("its depth is for validation to judge");
        Segment::new(spec).expect_err("too deep")
    });
    let fault = reader.expect("a thread").join().expect("no overflow");
    assert!(fault.message.contains("16"), "{fault}");
}
