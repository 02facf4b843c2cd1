//! `docs/rules.md`, run: what it states is put into a catalog, and what it says of that must be so.

mod common;

use std::collections::BTreeMap;

use common::{Catalog, PROJECT};
use flagraft_core::{
    bucketing::Method,
    compiled::{CompiledCatalog, CompiledEnvironment},
    condition::Condition,
    context::EvaluationContext,
    expression,
};
use serde_json::{Map, Value, json};

const GUIDE: &str = include_str!("../../docs/rules.md");
/// What the guide's last flag is for the context of its last command, explained: the command line's tests print it.
const EXPLAINED: &str = include_str!("../../tests/fixtures/explain/guide.json");
const ENVIRONMENT: &str = "production";

/// A part of the guide that is run, and the line that it begins on.
struct Part {
    line: usize,
    content: Content,
}

enum Content {
    /// The words behind the fence, and what is within.
    Fenced(String, String),
    /// The rows of a table, the header first.
    Table(Vec<Vec<String>>),
}

fn parts() -> Vec<Part> {
    let mut parts = Vec::new();
    let mut lines = GUIDE.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let content = if let Some(info) = line.strip_prefix("```") {
            let within: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            Content::Fenced(info.to_owned(), within.join("\n"))
        } else if line.starts_with('|') {
            let mut rows = vec![cells(line)];
            while let Some((_, row)) = lines.next_if(|(_, line)| line.starts_with('|')) {
                rows.push(cells(row));
            }
            // The line of dashes.
            rows.remove(1);
            Content::Table(rows)
        } else {
            continue;
        };
        parts.push(Part { line: index + 1, content });
    }
    parts
}

fn cells(row: &str) -> Vec<String> {
    row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// The spans of code in a cell.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What the guide has stated so far.
struct Stated {
    catalog: Catalog,
    /// The last flag, and its last rule.
    flag: String,
    rule: Value,
    /// The condition of the last rule or segment.
    when: Option<Condition>,
    rules: usize,
}

impl Stated {
    fn put_flag(&mut self, flag: &Value) {
        self.flag = flag["key"].as_str().expect("a key").to_owned();
        let rule = flag["environments"][ENVIRONMENT]["rules"].as_array().and_then(|rules| rules.last());
        self.rule = rule.cloned().unwrap_or_default();
        self.state_condition(&self.rule["when"].clone());
        self.catalog.must(json!([{"op": "flag.put", "flag": flag}]));
    }

    /// A flag with this one rule; each variant's value is its name.
    fn put_rule(&mut self, rule: &Value) {
        self.rules += 1;
        let weights = rule["serve"]["rollout"]["weights"].as_array().into_iter().flatten();
        let served = weights.chain([&rule["serve"]]).filter_map(|served| served["variant"].as_str());
        let variants: Map<String, Value> =
            served.chain(["off"]).map(|variant| (variant.to_owned(), variant.into())).collect();
        self.put_flag(&json!({
            "key": format!("rule-{}", self.rules), "type": "string", "variants": variants, "off_variant": "off",
            "environments": {ENVIRONMENT: {"enabled": true, "rules": [rule], "default": {"variant": "off"}}},
        }));
    }

    fn state_condition(&mut self, when: &Value) {
        self.when = (!when.is_null()).then(|| serde_json::from_value(when.clone()).expect("a condition"));
    }

    fn evaluated<T>(&self, ask: impl FnOnce(&CompiledEnvironment) -> T) -> T {
        let catalog = CompiledCatalog::compile(&self.catalog.state);
        ask(catalog.environment(PROJECT, ENVIRONMENT).expect("it is there"))
    }
}

fn context(attributes: Value) -> EvaluationContext {
    EvaluationContext::new(serde_json::from_value(attributes).expect("an object"))
}

fn variant(environment: &CompiledEnvironment, flag: &str, attributes: &Value) -> String {
    let resolution = environment.evaluate(flag, &context(attributes.clone())).expect(flag);
    resolution.variant.to_owned()
}

/// Each context gets the variants that stand beside it: of the flags that the header names, or of the last one.
fn check_contexts(stated: &Stated, rows: &[Vec<String>], faults: &mut Vec<String>) {
    let flags: Vec<&str> =
        rows[0][1..].iter().map(|name| code(name).first().copied().unwrap_or(&stated.flag)).collect();
    for row in &rows[1..] {
        let attributes = value(code(&row[0])[0]);
        for (flag, cell) in flags.iter().zip(&row[1..]) {
            let served = stated.evaluated(|environment| variant(environment, flag, &attributes));
            if code(cell) != [served.as_str()] {
                faults.push(format!("{flag} serves {served} for {attributes}, not {cell}"));
            }
        }
    }
}

/// How many of ten thousand users each variant has as the weights move, and how many get another one.
fn check_weights(stated: &mut Stated, rows: &[Vec<String>], faults: &mut Vec<String>) {
    let mut before: Option<Vec<String>> = None;
    for row in &rows[1..] {
        let weights: Vec<Value> = code(&row[0])[0]
            .split(',')
            .map(|weight| {
                let (variant, weight) = weight.split_once('=').expect("variant=weight");
                json!({"variant": variant, "weight": weight.parse::<u32>().expect("a weight")})
            })
            .collect();
        let set = json!([{"op": "rollout.set", "flag": stated.flag, "environment": ENVIRONMENT,
                          "rule": stated.rule["id"], "weights": weights}]);
        stated.catalog.must(set);
        let served: Vec<String> = stated.evaluated(|environment| {
            let users = (0..10_000).map(|user| json!({"targetingKey": format!("u{user}")}));
            users.map(|user| variant(environment, &stated.flag, &user)).collect()
        });
        let mut shown: Vec<String> = rows[0][1..rows[0].len() - 1]
            .iter()
            .map(|name| served.iter().filter(|served| *served == name).count().to_string())
            .collect();
        let moved = before.map(|before| before.iter().zip(&served).filter(|(a, b)| a != b).count());
        shown.push(moved.map(|moved| moved.to_string()).unwrap_or_default());
        if row[1..] != shown {
            faults.push(format!("{} gives {shown:?}, not {:?}", row[0], &row[1..]));
        }
        before = Some(served);
    }
}

/// Every operator is there, has a canonical text, and holds for what it is said to hold for.
fn check_operators(rows: &[Vec<String>], faults: &mut Vec<String>) {
    let mut left: Vec<Value> = json!([
        "in",
        "eq",
        "starts_with",
        "ends_with",
        "contains",
        "matches",
        "lt",
        "lte",
        "gt",
        "gte",
        "before",
        "after",
        "semver_eq",
        "semver_lt",
        "semver_lte",
        "semver_gt",
        "semver_gte",
        "cidr",
        "exists"
    ])
    .as_array()
    .cloned()
    .expect("a list");
    for row in &rows[1..] {
        let text = code(&row[1])[0];
        let when = check_text(text, faults);
        let when = serde_json::to_value(when).expect("JSON");
        assert_eq!(when["op"], code(&row[0])[0], "{text}");
        left.retain(|operator| *operator != when["op"]);
        let mut stated = stated();
        stated.put_rule(&json!({"id": "r", "when": when, "serve": {"variant": "on"}}));
        let name = when["attribute"].as_str().expect("a name");
        let held = |attributes: &Value| {
            stated.evaluated(|environment| variant(environment, &stated.flag, attributes)) == "on"
        };
        for (cell, expected) in [(&row[2], true), (&row[3], false)] {
            for example in code(cell) {
                if held(&json!({name: value(example)})) != expected {
                    faults.push(format!("{text} for {example}: {}", !expected));
                }
            }
        }
        assert!(!held(&json!({})), "{text} holds for what is missing");
    }
    assert_eq!(left, Vec::<Value>::new(), "operators that the table lacks");
}

fn check_text(text: &str, faults: &mut Vec<String>) -> Condition {
    let parsed = expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    if expression::text(&parsed) != text {
        faults.push(format!("the canonical text is {}", expression::text(&parsed)));
    }
    parsed
}

/// The methods are those that there are, and what they ask for is what is checked.
fn check_methods(rows: &[Vec<String>], faults: &mut Vec<String>) {
    let names: Vec<&str> = rows[1..].iter().map(|row| code(&row[0])[0]).collect();
    assert_eq!(names, Method::ALL.map(Method::as_str));
    for (method, row) in Method::ALL.into_iter().zip(&rows[1..]) {
        if method.may_lack_seed() != row[2].ends_with("may be empty") {
            faults.push(format!("{method}: the seed"));
        }
        if method.total() != row[3].parse().ok() {
            faults.push(format!("{method}: the total"));
        }
    }
}

fn stated() -> Stated {
    let catalog = Catalog::new(&[ENVIRONMENT]);
    Stated { catalog, flag: String::new(), rule: Value::Null, when: None, rules: 0 }
}

/// Puts all that the guide states, in its order, and checks what it says.
fn run() -> (Stated, BTreeMap<&'static str, usize>) {
    let mut stated = stated();
    // Rules name segments that the guide comes to later.
    for part in parts() {
        if let Content::Fenced(info, within) = part.content
            && info == "json segment"
        {
            stated.catalog.must(json!([{"op": "segment.put", "segment": value(&within)}]));
        }
    }
    let mut found = BTreeMap::new();
    let mut all = Vec::new();
    for Part { line, content } in parts() {
        let mut faults = Vec::new();
        let kind = match &content {
            Content::Fenced(info, within) => match info.as_str() {
                "json flag" => {
                    stated.put_flag(&value(within));
                    "flags"
                }
                "json rule" => {
                    stated.put_rule(&value(within));
                    "rules"
                }
                "json segment" => {
                    stated.state_condition(&value(within)["when"]);
                    "segments"
                }
                "text" => {
                    let parsed = check_text(within, &mut faults);
                    assert_eq!(Some(&parsed), stated.when.as_ref(), "line {line}: {within}");
                    "texts"
                }
                "text explanation" | "text changes" | "sh" => continue,
                other => panic!("line {line}: nobody runs {other:?}"),
            },
            Content::Table(rows) => match rows[0][0].as_str() {
                "Context" => {
                    check_contexts(&stated, rows, &mut faults);
                    "contexts"
                }
                "Weights" => {
                    check_weights(&mut stated, rows, &mut faults);
                    "weights"
                }
                "Operator" => {
                    check_operators(rows, &mut faults);
                    "operators"
                }
                "`method`" => {
                    check_methods(rows, &mut faults);
                    "methods"
                }
                "Step" | "There" => continue,
                other => panic!("line {line}: nobody checks a table of {other:?}"),
            },
        };
        *found.entry(kind).or_default() += 1;
        all.extend(faults.into_iter().map(|fault| format!("line {line}: {fault}")));
    }
    assert!(all.is_empty(), "docs/rules.md says otherwise:\n{}", all.join("\n"));
    (stated, found)
}

#[test]
fn what_the_guide_says_is_so() {
    let (_, found) = run();
    // None of it is skipped because it reads a little differently.
    for (kind, least) in [
        ("flags", 7),
        ("rules", 9),
        ("segments", 3),
        ("texts", 8),
        ("contexts", 10),
        ("weights", 2),
        ("operators", 1),
        ("methods", 1),
    ] {
        assert!(found.get(kind).is_some_and(|count| *count >= least), "{kind}: {found:?}");
    }
}

#[test]
fn what_the_guide_explains_is_explained_so() {
    let (stated, _) = run();
    let expected = value(EXPLAINED);
    let flag = expected["flag"].as_str().expect("a key");
    let explained = stated.evaluated(|environment| {
        serde_json::to_value(environment.explain(flag, &context(expected["context"].clone())).expect(flag))
    });
    let explained = explained.expect("JSON");
    assert_eq!(explained, expected["explanation"], "{explained:#}");
}
