//! What flagd's own testbed expects of its engines (<https://github.com/open-feature/flagd-testbed>, `evaluator/gherkin`:
//! fractional, semver, string, targeting and evaluator-refs): its keys, contexts and results, for flags of our making.

use flagraft_core::{compiled::CompiledEnvironment, context::EvaluationContext, key::EnvironmentKey};
use serde_json::{Value, json};

use crate::import::{
    catalog::{ENVIRONMENT, PROJECT, catalog},
    flagd,
};

/// Flags of texts by key: the variants, of which the last is the default, and the targeting.
fn file() -> Value {
    let suits = ["clubs", "diamonds", "hearts", "spades", "wild"];
    let by_suit = |by: Value| json!({"fractional": [by, ["clubs", 25], ["diamonds", 25], ["hearts", 25], ["spades", 25]]});
    let name = json!({"var": "user.name"});
    let key = json!({"var": "targetingKey"});
    let version = |operator: &str, with: &str| json!({"sem_ver": [{"var": "version"}, operator, with]});
    let tier = json!({"==": [{"var": "tier"}, "premium"]});
    let flags: Vec<(&str, &[&str], Value)> = vec![
        ("fractional-flag", &suits, by_suit(json!({"cat": [{"var": "$flagd.flagKey"}, name]}))),
        ("fractional-flag-A-shared-seed", &suits, by_suit(json!({"cat": ["shared-seed", name]}))),
        (
            "fractional-flag-shorthand",
            &["heads", "tails", "draw"],
            json!({"fractional": [["heads"], ["tails", 1]]}),
        ),
        ("fractional-single-entry-flag", &["single", "fallback"], json!({"fractional": [["single", 1]]})),
        (
            "fractional-hash-edge-flag",
            &["upper", "lower"],
            json!({"fractional": [key, ["lower", 50], ["upper", 50]]}),
        ),
        (
            "fractional-null-bucket-key-flag",
            &["one", "two", "fallback"],
            json!({"fractional": [{"var": "missing_key"}, ["one", 50], ["two", 50]]}),
        ),
        (
            "fractional-nested-if-flag",
            &["premium", "standard", "fallback"],
            json!({"fractional": [key, [{"if": [tier, "premium", "standard"]}, 50], ["standard", 50]]}),
        ),
        (
            "fractional-nested-var-flag",
            &["red", "green", "blue", "fallback"],
            json!({"fractional": [key, [{"var": "color"}, 50], ["blue", 50]]}),
        ),
        (
            "fractional-nested-weight-flag",
            &["red", "blue", "fallback"],
            json!({"fractional": [key, ["red", {"if": [tier, 100, 0]}], ["blue", 10]]}),
        ),
        (
            "fractional-as-condition-flag",
            &["hundreds", "ones", "zero"],
            json!({"if": [{"fractional": [[false, 0], [true, 100]]}, "hundreds", "ones"]}),
        ),
        (
            "fractional-as-condition-false-flag",
            &["hundreds", "ones", "zero"],
            json!({"if": [{"fractional": [[false, 100], [true, 0]]}, "hundreds", "ones"]}),
        ),
        (
            "starts-ends-flag",
            &["prefix", "postfix", "none"],
            json!({"if": [{"starts_with": [{"var": "id"}, "abc"]}, "prefix",
                          {"if": [{"ends_with": [{"var": "id"}, "xyz"]}, "postfix", "none"]}]}),
        ),
        (
            "equal-greater-lesser-version-flag",
            &["equal", "greater", "lesser", "none"],
            json!({"if": [version("=", "2.0.0"), "equal",
                          {"if": [version(">", "2.0.0"), "greater", {"if": [version("<", "2.0.0"), "lesser", "none"]}]}]}),
        ),
        (
            "major-minor-version-flag",
            &["minor", "major", "none"],
            json!({"if": [version("~", "3.0.0"), "minor", {"if": [version("^", "3.0.0"), "major", "none"]}]}),
        ),
        (
            "semver-v-prefix-flag",
            &["match", "no-match"],
            json!({"if": [version("=", "v1.0.0"), "match", "no-match"]}),
        ),
        (
            "semver-partial-version-flag",
            &["match", "no-match"],
            json!({"if": [version("^", "1"), "match", "no-match"]}),
        ),
        (
            "semver-build-metadata-flag",
            &["match", "no-match"],
            json!({"if": [version("=", "1.0.0+build"), "match", "no-match"]}),
        ),
        ("semver-invalid-operator-flag", &["match", "fallback"], version("===", "1.0.0")),
        ("semver-null-flag", &["true", "false", "fallback"], version("=", "1.0.0")),
        (
            "starts-with-non-string-flag",
            &["true", "false", "fallback"],
            json!({"starts_with": [{"var": "num"}, "abc"]}),
        ),
        ("ends-with-wrong-args-flag", &["true", "false", "fallback"], json!({"ends_with": ["xyz"]})),
        (
            "fractional-zero-weights-flag",
            &["one", "two", "fallback"],
            json!({"fractional": [key, ["one", 0], ["two", 0]]}),
        ),
        (
            "targeting-key-flag",
            &["hit", "miss"],
            json!({"if": [{"==": [key, "5c3d8535-f81a-4478-a6d3-afaa4d51199e"]}, "hit", null]}),
        ),
        (
            "some-email-targeted-flag",
            &["hi", "bye", "none"],
            json!({"if": [{"$ref": "is_ballmer"}, "hi", "bye"]}),
        ),
    ];
    let flag = |(key, variants, targeting): (&str, &[&str], Value)| {
        json!({
            "key": key, "state": "ENABLED", "defaultVariant": variants.last(), "targeting": targeting,
            "variants": variants.iter().map(|name| ((*name).to_owned(), json!(name))).collect::<serde_json::Map<_, _>>(),
        })
    };
    json!({
        "flags": flags.into_iter().map(flag).collect::<Vec<_>>(),
        "$evaluators": {"is_ballmer": {"==": ["ballmer@macrosoft.com", {"var": ["email"]}]}},
    })
}

#[test]
fn flagd_s_own_vectors_hold() {
    let imported = flagd::read(&file(), ENVIRONMENT).expect("a flagd file");
    let puts = imported.into_iter().map(|imported| {
        let flag = imported.flag.unwrap_or_else(|why| panic!("{}: {why}", imported.key));
        json!({"op": "flag.put", "flag": flag})
    });
    let state = catalog(puts.collect());
    let environment = EnvironmentKey::new(ENVIRONMENT).expect("a key");
    let compiled = CompiledEnvironment::compile(state.project(PROJECT).expect("the project"), &environment);
    let named = |name: &str| json!({"user": {"name": name}});
    let keyed = |key: &str| json!({"targetingKey": key});
    let version = |version: &str| json!({"version": version});
    let tier = |key: &str, tier: &str| json!({"targetingKey": key, "tier": tier});
    let color = |key: &str, color: &str| json!({"targetingKey": key, "color": color});
    let id = |id: &str| json!({"id": id});
    let (jon, user) = ("jon@company.com", "user1");
    let vectors = [
        ("fractional-flag", named("jack"), "hearts"),
        ("fractional-flag", named("queen"), "spades"),
        ("fractional-flag", named("ten"), "clubs"),
        ("fractional-flag", named("nine"), "diamonds"),
        ("fractional-flag", named("3"), "clubs"),
        ("fractional-flag-A-shared-seed", named("seven"), "hearts"),
        ("fractional-flag-A-shared-seed", named("eight"), "diamonds"),
        ("fractional-flag-A-shared-seed", named("nine"), "clubs"),
        ("fractional-flag-A-shared-seed", named("two"), "spades"),
        ("fractional-flag-shorthand", keyed(jon), "heads"),
        ("fractional-flag-shorthand", keyed("jane@company.com"), "tails"),
        ("fractional-single-entry-flag", json!({}), "single"),
        ("fractional-hash-edge-flag", keyed("ejOoVL"), "lower"),
        ("fractional-hash-edge-flag", keyed("bY9fO-"), "lower"),
        ("fractional-hash-edge-flag", keyed("SI7p-"), "lower"),
        ("fractional-hash-edge-flag", keyed("6LvT0"), "upper"),
        ("fractional-hash-edge-flag", keyed("ceQdGm"), "upper"),
        ("fractional-null-bucket-key-flag", json!({}), "fallback"),
        ("fractional-nested-if-flag", tier(jon, "premium"), "premium"),
        ("fractional-nested-if-flag", tier(jon, "basic"), "standard"),
        ("fractional-nested-if-flag", tier(user, "premium"), "standard"),
        ("fractional-nested-if-flag", tier(user, "basic"), "standard"),
        ("fractional-nested-var-flag", color(jon, "red"), "red"),
        ("fractional-nested-var-flag", color(jon, "green"), "green"),
        ("fractional-nested-var-flag", color(user, "red"), "blue"),
        ("fractional-nested-var-flag", color(jon, "yellow"), "fallback"),
        ("fractional-nested-var-flag", color(jon, ""), "fallback"),
        ("fractional-nested-weight-flag", tier(jon, "premium"), "red"),
        ("fractional-nested-weight-flag", tier(jon, "basic"), "blue"),
        ("fractional-nested-weight-flag", tier(user, "premium"), "red"),
        ("fractional-nested-weight-flag", tier(user, "basic"), "blue"),
        ("fractional-as-condition-flag", keyed("some-targeting-key"), "hundreds"),
        ("fractional-as-condition-false-flag", keyed("some-targeting-key"), "ones"),
        ("starts-ends-flag", id("abcdef"), "prefix"),
        ("starts-ends-flag", id("uvwxyz"), "postfix"),
        ("starts-ends-flag", id("abcxyz"), "prefix"),
        ("starts-ends-flag", id("lmnopq"), "none"),
        ("equal-greater-lesser-version-flag", version("2.0.0"), "equal"),
        ("equal-greater-lesser-version-flag", version("2.1.0"), "greater"),
        ("equal-greater-lesser-version-flag", version("1.9.0"), "lesser"),
        ("equal-greater-lesser-version-flag", version("2.0.0-alpha"), "lesser"),
        ("equal-greater-lesser-version-flag", version("2.0.0.0"), "none"),
        ("major-minor-version-flag", version("3.0.1"), "minor"),
        ("major-minor-version-flag", version("3.1.0"), "major"),
        ("major-minor-version-flag", version("4.0.0"), "none"),
        ("semver-v-prefix-flag", version("1.0.0"), "match"),
        ("semver-v-prefix-flag", version("v1.0.0"), "match"),
        ("semver-v-prefix-flag", version("2.0.0"), "no-match"),
        ("semver-partial-version-flag", version("1.5.0"), "match"),
        ("semver-partial-version-flag", version("1.0.0"), "match"),
        ("semver-partial-version-flag", version("2.0.0"), "no-match"),
        ("semver-build-metadata-flag", version("1.0.0"), "match"),
        ("semver-build-metadata-flag", version("1.0.0+other"), "match"),
        ("semver-build-metadata-flag", version("2.0.0"), "no-match"),
        ("semver-invalid-operator-flag", version("1.0.0"), "fallback"),
        ("semver-null-flag", version("not-a-version"), "fallback"),
        ("starts-with-non-string-flag", json!({"num": 123}), "fallback"),
        ("ends-with-wrong-args-flag", json!({}), "fallback"),
        ("fractional-zero-weights-flag", keyed("any-user"), "fallback"),
        ("targeting-key-flag", keyed("5c3d8535-f81a-4478-a6d3-afaa4d51199e"), "hit"),
        ("targeting-key-flag", keyed("f20bd32d-703b-48b6-bc8e-79d53c85134a"), "miss"),
        ("some-email-targeted-flag", json!({"email": "ballmer@macrosoft.com"}), "hi"),
        ("some-email-targeted-flag", json!({"email": "user@example.com"}), "bye"),
    ];
    for (key, context, expected) in vectors {
        let context = context.as_object().expect("an object").clone();
        let resolution = compiled.evaluate(key, &EvaluationContext::new(context.clone())).expect("the flag");
        assert_eq!(resolution.variant, expected, "{key} for {context:?}");
    }
}
