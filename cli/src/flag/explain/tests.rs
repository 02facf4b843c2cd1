use clap::Parser as _;
use serde_json::{Value, json};

use super::{ExplainArgs, text::explanation};

const GUIDE: &str = include_str!("../../../../docs/rules.md");
/// What the guide explains: the domain's tests make sure that it is explained so.
const EXPLAINED: &str = include_str!("../../../../tests/fixtures/explain/guide.json");

/// What is within a fence of the guide.
fn fenced(info: &str) -> &'static str {
    let (_, after) = GUIDE.split_once(&format!("```{info}\n")).expect(info);
    after.split_once("\n```").expect("its end").0
}

#[derive(clap::Parser)]
struct Explain {
    #[command(flatten)]
    args: ExplainArgs,
}

#[test]
fn the_guide_shows_what_its_command_prints() {
    let fixture: Value = serde_json::from_str(EXPLAINED).expect("JSON");
    let words = fenced("sh").strip_prefix("flagraft flag ").expect("a command").split_whitespace();
    let asked = Explain::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).args;
    assert_eq!(fixture["flag"], asked.flag.key);
    assert_eq!(fixture["context"], Value::Object(asked.context.context().expect("a context")));
    let printed = explanation(&fixture["explanation"]);
    assert_eq!(printed, fenced("text explanation"), "it prints:\n{printed}");
}

/// An explanation with nothing in it, and these fields.
fn with(fields: Value) -> Value {
    let mut explanation = json!({
        "flag": "f", "variant": "off", "value": false, "reason": "DEFAULT", "decided_by": {"step": "default"},
        "prerequisites": [], "targets": [], "rules": [], "default": {"variant": "off"},
    });
    let all = explanation.as_object_mut().expect("an object");
    all.extend(fields.as_object().cloned().expect("an object"));
    explanation
}

#[test]
fn what_decided_comes_first() {
    let rollout = json!({"rollout": {"by": "device", "method": "flagd", "seed": "", "of": 10, "saw": null,
                                     "shares": [{"variant": "on", "weight": 10, "below": 10}]}});
    let saw = |saw: Value, found: Value| {
        let mut serve = rollout.clone();
        serve["rollout"]["saw"] = saw;
        let fields = serve["rollout"].as_object_mut().expect("an object");
        fields.extend(found.as_object().cloned().expect("an object"));
        serve
    };
    let target = json!([{"by": "country", "values": 1, "variant": "on", "listed": true, "saw": "DE"}]);
    for (fields, line) in [
        (
            json!({"decided_by": {"step": "not_configured"}}),
            "nothing: the flag was never configured in this environment",
        ),
        (json!({"decided_by": {"step": "disabled"}}), "nothing: the flag is disabled in this environment"),
        (json!({"decided_by": {"step": "hold", "id": "stop-1"}}), "the hold stop-1"),
        (json!({"decided_by": {"step": "prerequisite", "flag": "p"}}), "prerequisite p, which is not met"),
        (
            json!({"decided_by": {"step": "target", "index": 0}, "targets": target}),
            "a target: it lists country \"DE\"",
        ),
        (json!({}), "the default"),
        (json!({"default": rollout}), "the off variant: device is missing"),
        (json!({"default": saw(json!(1.5), json!({}))}), "the off variant: device has no bucket"),
        (
            json!({"default": saw(json!("u1"), json!({"bucket": 10}))}),
            "the off variant: no share has bucket 10 of 10",
        ),
        (
            json!({"default": saw(json!("u1"), json!({"bucket": 7, "variant": "on"}))}),
            "the default: bucket 7 of 10",
        ),
        (json!({"decided_by": {"step": "of_a_later_version"}}), "of_a_later_version"),
    ] {
        let printed = explanation(&with(fields.clone()));
        assert_eq!(printed.lines().nth(3), Some(format!("decided by  {line}").as_str()), "{fields}");
    }
}

#[test]
fn each_step_has_its_mark_and_what_it_saw() {
    let shares =
        json!([{"variant": "on", "weight": 1, "below": 0.5}, {"variant": "off", "weight": 1, "below": 1.0}]);
    let printed = explanation(&with(json!({
        "variant": "", "value": null, "reason": "DEFAULT", "default": null,
        "prerequisites": [
            {"flag": "a", "variants": ["on", "half"], "met": true, "served": "half"},
            {"flag": "b", "variants": ["on"], "met": false, "served": null},
            {"flag": "c", "variants": ["on"], "met": null, "served": null},
            {"flag": "d", "variants": ["on"], "met": false, "served": ""},
        ],
        "targets": [{"by": "country", "values": 1, "variant": "on", "listed": false, "saw": null},
                    {"by": "country", "values": 2, "variant": "on", "listed": null}],
        "rules": [
            {"id": "listed", "outcome": "no_match", "text": "segment(\"s\")", "serve": {"variant": "on"},
             "when": {"kind": "segment", "text": "segment(\"s\")", "holds": false, "saw": "u1", "listed": "excluded"}},
            {"id": "share", "outcome": "no_share", "text": null, "when": null, "serve": {"rollout": {
                "by": "device", "method": "growthbook_v1", "seed": "s", "of": 1, "saw": null, "shares": shares}}},
            {"id": "any", "outcome": "no_match", "text": "any()", "serve": {"variant": "on"},
             "when": {"kind": "any", "holds": false, "inner": [
                {"kind": "attribute", "text": "a == 1", "holds": false, "saw": null},
                {"kind": "attribute", "text": "b == \u{1b}1", "holds": null}]}},
            {"id": "later", "outcome": "not_reached", "text": null, "when": null, "serve": {"rollout": {
                "by": "targetingKey", "method": "murmur3", "seed": "s", "of": 1, "shares": shares}}},
        ],
    })));
    let expected = r#"f = null
variant     none: the caller's code default
reason      DEFAULT
decided by  the default

prerequisites
  ✓ a must be on or half, is half
  ✗ b must be on, serves nothing: disabled, or not there
  · c must be on
  ✗ d must be on, is none: the caller's code default

targets
  ✗ country in 1 value -> on  saw nothing
  · country in 2 values -> on

rules
  ✗ listed -> on
    ✗ segment("s")  saw "u1", excluded by name
  ✗ share -> rollout by device as growthbook_v1  saw nothing  of 1: on below 0.5, off below 1.0
    ✓ everyone
    no share: the next rule has its turn
  ✗ any -> on
    ✗ any of
      ✗ a == 1  saw nothing
      · b ==  1
  · later -> rollout by targetingKey  of 1: on below 0.5, off below 1.0
    · everyone

default
  ✓ none: the caller's code default"#;
    assert_eq!(printed, expected, "it prints:\n{printed}");
}

#[test]
fn a_default_that_says_nothing_has_not_decided() {
    let rollout = json!({"rollout": {"by": "account", "method": "murmur3", "seed": "s", "of": 10, "saw": 1.5,
                                     "shares": [{"variant": "on", "weight": 10, "below": 10}]}});
    let printed = explanation(&with(json!({ "default": rollout })));
    let (_, default) = printed.split_once("\ndefault\n").expect("a default");
    assert_eq!(
        default, "  ✗ rollout by account  saw 1.5  of 10: on below 10\n    no share: the off variant, off",
        "it prints:\n{printed}"
    );
    let reached = json!({"decided_by": {"step": "disabled"}, "default": rollout});
    assert!(explanation(&with(reached)).ends_with("  · rollout by account  saw 1.5  of 10: on below 10"));
}

/// As deep as segments in conditions in segments may go. Tests run on a stack of 2 MiB.
#[test]
fn the_deepest_condition_is_shown() {
    let mut condition = json!({"kind": "attribute", "text": "country == \"DE\"", "holds": true, "saw": "DE"});
    for _ in 0..500 {
        condition = json!({"kind": "all", "holds": true, "inner": [condition]});
    }
    let rule = json!({"id": "deep", "outcome": "serves", "serve": {"variant": "on"}, "when": condition});
    let printed = explanation(&with(json!({"decided_by": {"step": "rule", "id": "deep"}, "rules": [rule]})));
    let (_, rules) = printed.split_once("\nrules\n").expect("rules");
    assert_eq!(rules.lines().filter(|line| line.trim() == "✓ all of").count(), 500);
    assert!(rules.contains("✓ country == \"DE\"  saw \"DE\"\n"));
}
