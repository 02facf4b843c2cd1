//! What a record's operations changed, in lines for people: what was there with `-`, what is there now with `+`.

use serde_json::{Map, Value};

use super::{is_about_flag, object_key, words};
use crate::output::{cell, condition, served, shares};

/// More lines than this, and a record would hide those around it: then so many are shown.
const LINES_MAX: usize = 30;
const LINES_SHOWN: usize = 20;
/// So much of a long text is shown, from a little before the place where it differs.
const SHOWN_CHARS_MAX: usize = 200;
/// How much of that is before it.
const BEFORE_CHARS: usize = 40;

/// The lines of a record: of several operations each with the object that it names, and under it what it changed of what
/// evaluation goes by. What stayed the same is not there.
pub fn changes(record: &Value) -> Vec<String> {
    let operations = record["operations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lines = Vec::new();
    for recorded in operations {
        if operations.len() > 1 {
            lines.push(format!("    {}", words(&recorded["operation"])));
        }
        let indent = if operations.len() > 1 { "      " } else { "    " };
        lines.extend(changed(recorded).into_iter().map(|line| format!("{indent}{line}")));
    }
    if lines.len() > LINES_MAX {
        let left = lines.len() - LINES_SHOWN;
        lines.truncate(LINES_SHOWN);
        lines.push(format!("    ... {left} more lines; --output json has all of it"));
    }
    lines
}

fn changed(recorded: &Value) -> Vec<String> {
    let operation = &recorded["operation"];
    let is_about_segment = operation["op"].as_str().is_some_and(|op| op.starts_with("segment."))
        && object_key(operation).is_some();
    if !is_about_flag(operation) && !is_about_segment {
        return Vec::new();
    }
    different(&Facts::of(&recorded["before"]), &Facts::of(&recorded["after"]))
}

/// The lines of two states of one flag, segment or environment, each as the API gives it: all in which they differ.
pub fn between(before: &Value, after: &Value) -> Vec<String> {
    different(&Facts::of_whole(before), &Facts::of_whole(after))
}

fn different(was: &Facts, is: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, old) in &was.0 {
        match is.get(name) {
            Some(new) if new == old => {}
            Some(new) => {
                let at = old.chars().zip(new.chars()).take_while(|(old, new)| old == new).count();
                lines.push(line('-', name, &excerpt(old, at)));
                lines.push(line('+', name, &excerpt(new, at)));
            }
            None => lines.push(line('-', name, &excerpt(old, 0))),
        }
    }
    let added = is.0.iter().filter(|(name, _)| was.get(name).is_none());
    lines.extend(added.map(|(name, new)| line('+', name, &excerpt(new, 0))));
    lines
}

/// What others wrote must not move the cursor of who reads it.
fn line(sign: char, name: &str, text: &str) -> String {
    cell(&Value::String(format!("{sign} {name}: {text}")))
}

/// A text, or of a long one what stands around a place in it.
fn excerpt(text: &str, at: usize) -> String {
    let length = text.chars().count();
    if length <= SHOWN_CHARS_MAX {
        return text.to_owned();
    }
    let from = at.saturating_sub(BEFORE_CHARS).min(length - SHOWN_CHARS_MAX);
    let shown: String = text.chars().skip(from).take(SHOWN_CHARS_MAX).collect();
    let before = if from > 0 { "... " } else { "" };
    let after = if from + SHOWN_CHARS_MAX < length { " ..." } else { "" };
    format!("{before}{shown}{after}")
}

/// What a recorded value says, each under a name, in the order of evaluation.
#[derive(Default)]
struct Facts(Vec<(String, String)>);

impl Facts {
    fn of(value: &Value) -> Self {
        let mut facts = Self::default();
        let Some(object) = value.as_object() else { return facts };
        if let Some(omitted) = object.get("omitted") {
            let text = format!("{} bytes, of which the record keeps only the hash", omitted["bytes"]);
            facts.add("", "omitted", text);
        }
        facts.configuration("", object);
        if let Some(rule) = object.get("rule") {
            facts.rule("", rule);
        }
        if let Some(position) = object.get("position").and_then(Value::as_u64) {
            let id = object.get("rule").map_or(&Value::Null, |rule| &rule["id"]);
            facts.add("", &format!("place of rule {}", cell(id)), (position + 1).to_string());
        }
        for (environment, configuration) in
            object.get("environments").and_then(Value::as_object).into_iter().flatten()
        {
            if let Some(configuration) = configuration.as_object() {
                facts.configuration(environment, configuration);
            }
        }
        facts
    }

    /// All that an object says, what evaluation does not go by too.
    fn of_whole(value: &Value) -> Self {
        /// What is told in words of its own.
        const TOLD: [&str; 10] = [
            "key",
            "enabled",
            "prerequisites",
            "targets",
            "rules",
            "default",
            "weights",
            "when",
            "environments",
            "system",
        ];
        let mut facts = Self::of(value);
        let environments = value["environments"].as_object().into_iter().flatten();
        let parts = environments.map(|(environment, part)| (environment.as_str(), part)).chain([("", value)]);
        for (environment, part) in parts {
            let fields = part.as_object().into_iter().flatten();
            for (name, field) in fields.filter(|(name, field)| {
                let is_empty = field.is_null() || field.as_array().is_some_and(Vec::is_empty);
                !TOLD.contains(&name.as_str()) && !is_empty
            }) {
                facts.add(environment, name, field.to_string());
            }
        }
        let system = &value["system"];
        if let Some(by) = system["archived"]["by"].as_str() {
            facts.add("", "archived", format!("by {by}"));
        }
        if let (Some(included), Some(excluded)) =
            (system["included_count"].as_u64(), system["excluded_count"].as_u64())
        {
            let revision = &system["revision"];
            let text = format!("{included} included, {excluded} excluded, as of revision {revision}");
            facts.add("", "members", text);
        }
        facts
    }

    /// A flag in one environment, or a part of that; a segment, or what an environment names otherwise.
    fn configuration(&mut self, environment: &str, fields: &Map<String, Value>) {
        let list = |field: &str| fields.get(field).and_then(Value::as_array).into_iter().flatten();
        if let Some(enabled) = fields.get("enabled") {
            self.add(environment, "enabled", cell(enabled));
        }
        for needed in list("prerequisites") {
            let variants = cell(&needed["variants"]).replace(',', " or ");
            self.add(environment, &format!("prerequisite {}", cell(&needed["flag"])), variants);
        }
        for target in list("targets") {
            let name = format!("target {} -> {}", cell(&target["by"]), cell(&target["variant"]));
            self.add(environment, &name, target["values"].to_string());
        }
        for rule in list("rules") {
            self.rule(environment, rule);
        }
        let order: Vec<String> = list("rules").map(|rule| cell(&rule["id"])).collect();
        if order.len() > 1 {
            self.add(environment, "order of rules", order.join(", "));
        }
        if let Some(default) = fields.get("default") {
            self.add(environment, "default", served(default));
        }
        if let Some(weights) = fields.get("weights") {
            self.add(environment, "weights", shares(weights));
        }
        if let Some(when) = fields.get("when") {
            let text = if when.is_null() { "none".to_owned() } else { condition(when) };
            self.add(environment, "when", text);
        }
    }

    fn rule(&mut self, environment: &str, rule: &Value) {
        let text = format!("{} -> {}", condition(&rule["when"]), served(&rule["serve"]));
        self.add(environment, &format!("rule {}", cell(&rule["id"])), text);
    }

    fn add(&mut self, environment: &str, name: &str, text: String) {
        let separator = if environment.is_empty() { "" } else { ", " };
        let name = format!("{environment}{separator}{name}");
        // Two lists of one variant are one.
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => known.push_str(&format!(", {text}")),
            None => self.0.push((name, text)),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(operations: &[(Value, Value, Value)]) -> Value {
        let recorded: Vec<Value> = operations
            .iter()
            .map(|(operation, before, after)| json!({"operation": operation, "before": before, "after": after}))
            .collect();
        json!({ "operations": recorded })
    }

    fn rule(id: &str, countries: &[&str], serve: Value) -> Value {
        json!({"id": id, "when": {"attribute": "country", "op": "in", "values": countries}, "serve": serve})
    }

    fn on() -> Value {
        json!({"variant": "on"})
    }

    #[test]
    fn a_rule_is_shown_before_and_after() {
        let put = json!({"op": "rule.put", "flag": "f", "environment": "live", "rule": {"id": "eu"}});
        let before = json!({"position": 1, "rule": rule("eu", &["DE"], on())});
        let after = json!({"position": 1, "rule": rule("eu", &["DE", "FR"], on())});
        assert_eq!(
            changes(&record(&[(put.clone(), before.clone(), after.clone())])),
            [r#"    - rule eu: country in ["DE"] -> on"#, r#"    + rule eu: country in ["DE", "FR"] -> on"#]
        );
        assert_eq!(changes(&record(&[(put.clone(), after.clone(), after.clone())])), Vec::<String>::new());
        let moved = json!({"position": 0, "rule": rule("eu", &["DE"], on())});
        assert_eq!(
            changes(&record(&[(put.clone(), before.clone(), moved)])),
            ["    - place of rule eu: 2", "    + place of rule eu: 1"]
        );
        let delete = json!({"op": "rule.delete", "flag": "f", "environment": "live", "rule": "eu"});
        assert_eq!(
            changes(&record(&[(delete, before, Value::Null)])),
            [r#"    - rule eu: country in ["DE"] -> on"#, "    - place of rule eu: 2"]
        );
    }

    #[test]
    fn the_guide_shows_what_is_printed() {
        let guide = include_str!("../../../docs/rules.md");
        let (_, shown) = guide.split_once("```text changes\n").expect("a block of changes");
        let (shown, _) = shown.split_once("\n```").expect("its end");
        let put = json!({"op": "rule.put", "flag": "f", "environment": "live", "rule": {"id": "ramp"}});
        let rule = |countries: &[&str]| json!({"position": 0, "rule": rule("ramp", countries, on())});
        let lines = changes(&record(&[(put, rule(&["DE"]), rule(&["DE", "FR"]))]));
        let lines: Vec<&str> = lines.iter().map(|line| line.trim_start()).collect();
        assert_eq!(lines, shown.lines().collect::<Vec<_>>());
    }

    #[test]
    fn of_a_whole_flag_only_what_changed_is_shown() {
        let rollout = json!({"rollout": {"by": "account", "seed": "s", "weights": [
            {"variant": "on", "weight": 1}, {"variant": "off", "weight": 9}]}});
        let configuration = |rules: Vec<Value>, default: Value| {
            json!({"enabled": true, "rules": rules, "default": default,
                   "targets": [{"by": "targetingKey", "values": ["ann"], "variant": "on"}],
                   "prerequisites": [{"flag": "p", "variants": ["a", "b"]}]})
        };
        let (de, fr) = (rule("de", &["DE"], on()), rule("fr", &["FR"], on()));
        let everyone = json!({"id": "all", "serve": rollout});
        let before = configuration(vec![de.clone(), fr.clone()], json!({"variant": "off"}));
        let after = configuration(vec![fr, de, everyone], Value::Null);
        let put = json!({"op": "flag.put", "flag": {"key": "f"}});
        let switch = json!({"op": "flag.disable", "flag": "g", "environment": "live"});
        let lines = changes(&record(&[
            (
                put,
                json!({"key": "f", "environments": {"live": before, "dev": before}}),
                json!({"key": "f", "environments": {"live": after, "dev": before}}),
            ),
            (switch, json!({"enabled": true}), json!({"enabled": false})),
            (json!({"op": "token.revoke", "token": "t"}), json!({"enabled": 1}), json!({"enabled": 2})),
        ]));
        assert_eq!(
            lines,
            [
                "    flag.put f",
                "      - live, order of rules: de, fr",
                "      + live, order of rules: fr, de, all",
                "      - live, default: off",
                "      + live, default: the caller's own default",
                r#"      + live, rule all: everyone -> on 1 : off 9 by account, seed "s""#,
                "    flag.disable g in live",
                "      - enabled: yes",
                "      + enabled: no",
                "    token.revoke t",
            ]
        );
    }

    #[test]
    fn narrow_operations_and_segments() {
        let on_flag = |op: &str| json!({"op": op, "flag": "f", "environment": "live"});
        let when = |country: &str| json!({"attribute": "country", "op": "eq", "values": [country]});
        let weights =
            |on: u32| json!({"weights": [{"variant": "on", "weight": on}, {"variant": "off", "weight": 9}]});
        let segment = |here: Value, there: Value| json!({"key": "s", "when": here, "environments": {"live": {"when": there}}});
        let cases = [
            (
                on_flag("rollout.set"),
                weights(1),
                weights(2),
                vec!["- weights: on 1 : off 9", "+ weights: on 2 : off 9"],
            ),
            (
                on_flag("default.set"),
                json!({"default": on()}),
                json!({"default": null}),
                vec!["- default: on", "+ default: the caller's own default"],
            ),
            (
                on_flag("targets.add"),
                json!({"targets": []}),
                json!({"targets": [{"by": "targetingKey", "values": ["a\u{1b}", "b"], "variant": "on"}]}),
                vec![r#"+ target targetingKey -> on: ["a\u001b","b"]"#],
            ),
            (
                json!({"op": "segment.put", "segment": {"key": "s"}}),
                segment(when("DE"), when("FR")),
                segment(when("AT"), Value::Null),
                vec![
                    r#"- when: country == "DE""#,
                    r#"+ when: country == "AT""#,
                    r#"- live, when: country == "FR""#,
                    "+ live, when: none",
                ],
            ),
            (
                on_flag("flag.configure"),
                json!({"omitted": {"bytes": 70_000, "sha256": "ab"}}),
                json!({"enabled": true}),
                vec!["- omitted: 70000 bytes, of which the record keeps only the hash", "+ enabled: yes"],
            ),
        ];
        for (operation, before, after, expected) in cases {
            let lines = changes(&record(&[(operation, before, after)]));
            assert_eq!(lines.iter().map(|line| line.trim_start()).collect::<Vec<_>>(), expected);
        }
    }

    /// Of two long conditions the part is shown in which they differ.
    #[test]
    fn a_record_of_many_operations_does_not_hide_the_others() {
        let operations = |count: usize| -> Vec<_> {
            let put = |n: usize| json!({"op": "project.put", "project": {"key": format!("p{n}")}});
            (0..count).map(|n| (put(n), Value::Null, Value::Null)).collect()
        };
        assert_eq!(changes(&record(&operations(LINES_MAX))).len(), LINES_MAX);
        let lines = changes(&record(&operations(LINES_MAX + 1)));
        assert_eq!(lines.len(), LINES_SHOWN + 1);
        assert_eq!(lines[0], "    project.put p0");
        assert_eq!(lines[LINES_SHOWN], "    ... 11 more lines; --output json has all of it");
    }

    #[test]
    fn long_texts_are_shown_where_they_differ() {
        let countries = |last: &str| -> Vec<String> {
            (0..200).map(|at| format!("c{at:03}")).chain([last.to_owned()]).collect()
        };
        let put = json!({"op": "rule.put", "flag": "f", "environment": "live", "rule": {"id": "eu"}});
        let rule = |last: &str| {
            let countries = countries(last);
            json!({"rule": rule("eu", &countries.iter().map(String::as_str).collect::<Vec<_>>(), on())})
        };
        let lines = changes(&record(&[(put, rule("DE"), rule("FR"))]));
        assert!(
            lines[0].starts_with("    - rule eu: ... ") && lines[0].ends_with(r#""DE"] -> on"#),
            "{lines:?}"
        );
        assert!(
            lines[1].starts_with("    + rule eu: ... ") && lines[1].ends_with(r#""FR"] -> on"#),
            "{lines:?}"
        );
        assert!(lines.iter().all(|line| line.chars().count() < 250), "{lines:?}");
    }
}
