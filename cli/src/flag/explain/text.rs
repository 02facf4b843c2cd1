//! An explanation for a person: what decided, then every step with a mark, each within the one that it belongs to.

use serde_json::Value;

use crate::{
    flag::evaluate::CODE_DEFAULT,
    output::{cell, shortened},
};

/// It holds, or decided.
const YES: &str = "✓";
/// It was tried, and does not.
const NO: &str = "✗";
/// Evaluation did not come to it.
const NOT_REACHED: &str = "·";

/// An explanation, without a line break at the end.
pub fn explanation(explanation: &Value) -> String {
    let mut lines = Lines::default();
    head(explanation, &mut lines);
    steps(explanation, &mut lines);
    lines.text.trim_end().to_owned()
}

/// Lines that are indented.
#[derive(Default)]
struct Lines {
    text: String,
    depth: usize,
}

impl Lines {
    fn push(&mut self, line: &str) {
        self.text.extend(std::iter::repeat_n("  ", self.depth));
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// An empty line, if there is none yet.
    fn part(&mut self) {
        if !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    fn step(&mut self, mark: &str, line: &str) {
        self.push(&format!("{mark} {line}"));
    }

    /// What belongs to the line before.
    fn within(&mut self, write: impl FnOnce(&mut Self)) {
        self.depth += 1;
        write(self);
        self.depth -= 1;
    }
}

fn head(explanation: &Value, lines: &mut Lines) {
    let value = explanation.get("value").map_or_else(|| "none".to_owned(), json);
    lines.push(&format!("{} = {value}", cell(&explanation["flag"])));
    lines.push(&format!("variant     {}", variant(&explanation["variant"])));
    lines.push(&format!("reason      {}", cell(&explanation["reason"])));
    lines.push(&format!("decided by  {}", decided_by(explanation)));
}

fn decided_by(explanation: &Value) -> String {
    let by = &explanation["decided_by"];
    let step = by["step"].as_str().unwrap_or_default();
    match step {
        "not_configured" => "nothing: the flag was never configured in this environment".to_owned(),
        "hold" => format!("the hold {}", cell(&by["id"])),
        "disabled" => "nothing: the flag is disabled in this environment".to_owned(),
        "prerequisite" => format!("prerequisite {}, which is not met", cell(&by["flag"])),
        "target" => {
            let index = by["index"].as_u64().and_then(|index| usize::try_from(index).ok());
            let target = index.and_then(|index| explanation["targets"].get(index)).unwrap_or(&Value::Null);
            format!("a target: it lists {} {}", cell(&target["by"]), json(&target["saw"]))
        }
        "rule" => {
            let rules = explanation["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
            let rule = rules.iter().find(|rule| rule["id"] == by["id"]).unwrap_or(&Value::Null);
            format!("rule {}{}", cell(&by["id"]), in_bucket(&rule["serve"]))
        }
        "default" if is_without_share(&explanation["default"]) => {
            format!("the off variant{}", in_bucket(&explanation["default"]))
        }
        "default" => format!("the default{}", in_bucket(&explanation["default"])),
        // A step that only a later version knows.
        later => later.to_owned(),
    }
}

/// Whether a rollout was asked and said nothing.
fn is_without_share(serve: &Value) -> bool {
    serve["rollout"].is_object() && serve["rollout"]["variant"].is_null()
}

/// The bucket that decided within what is served.
fn in_bucket(serve: &Value) -> String {
    match (&serve["rollout"], &serve["rollout"]["bucket"]) {
        (Value::Null, _) => String::new(),
        (rollout, Value::Null) => {
            // A list, an object or a fraction is there and has none.
            let lacks = if rollout["saw"].is_null() { "is missing" } else { "has no bucket" };
            format!(": {} {lacks}", cell(&rollout["by"]))
        }
        (rollout, bucket) if rollout["variant"].is_null() => {
            format!(": no share has bucket {bucket} of {}", rollout["of"])
        }
        (rollout, bucket) => format!(": bucket {bucket} of {}", rollout["of"]),
    }
}

/// Prerequisites, targets, rules and the default, in the order of evaluation.
fn steps(explanation: &Value, lines: &mut Lines) {
    section("prerequisites", &explanation["prerequisites"], prerequisite, lines);
    section("targets", &explanation["targets"], target, lines);
    section("rules", &explanation["rules"], rule, lines);
    let decided = explanation["decided_by"]["step"] == "default";
    lines.part();
    lines.push("default");
    lines.within(|lines| {
        let says_nothing = decided && is_without_share(&explanation["default"]);
        let mark = match decided {
            true if says_nothing => NO,
            true => YES,
            false => NOT_REACHED,
        };
        match &explanation["default"] {
            Value::Null => lines.step(mark, "none: the caller's code default"),
            serve => lines.step(mark, &served(serve)),
        }
        if says_nothing {
            let off = format!("no share: the off variant, {}", variant(&explanation["variant"]));
            lines.within(|lines| lines.push(&off));
        }
    });
}

fn section(title: &str, items: &Value, write: fn(&Value, &mut Lines), lines: &mut Lines) {
    let Some(items) = items.as_array().filter(|items| !items.is_empty()) else { return };
    lines.part();
    lines.push(title);
    lines.within(|lines| items.iter().for_each(|item| write(item, lines)));
}

fn prerequisite(prerequisite: &Value, lines: &mut Lines) {
    let served = match (&prerequisite["met"], &prerequisite["served"]) {
        (Value::Null, _) => String::new(),
        (_, Value::Null) => ", serves nothing: disabled, or not there".to_owned(),
        (_, served) => format!(", is {}", variant(served)),
    };
    let wanted: Vec<String> = prerequisite["variants"].as_array().into_iter().flatten().map(cell).collect();
    let line = format!("{} must be {}{served}", cell(&prerequisite["flag"]), wanted.join(" or "));
    lines.step(mark(&prerequisite["met"]), &line);
    if let Some(explained) = prerequisite.get("explanation") {
        lines.within(|lines| {
            lines.push(&format!("decided by  {}", decided_by(explained)));
            steps(explained, lines);
            lines.part();
        });
    }
}

fn target(target: &Value, lines: &mut Lines) {
    let values = match target["values"].as_u64() {
        Some(1) => "1 value".to_owned(),
        _ => format!("{} values", target["values"]),
    };
    let line = format!("{} in {values} -> {}{}", cell(&target["by"]), cell(&target["variant"]), saw(target));
    lines.step(mark(&target["listed"]), &line);
}

fn rule(rule: &Value, lines: &mut Lines) {
    let outcome = rule["outcome"].as_str().unwrap_or_default();
    let mark = match outcome {
        "serves" => YES,
        "not_reached" => NOT_REACHED,
        _ => NO,
    };
    let name = match &rule["name"] {
        Value::Null => String::new(),
        name => format!(" ({})", cell(name)),
    };
    lines.step(mark, &format!("{}{name} -> {}", cell(&rule["id"]), served(&rule["serve"])));
    lines.within(|lines| {
        if rule["when"].is_object() && outcome != "not_reached" {
            condition(&rule["when"], lines);
        } else {
            let text = rule["text"].as_str().map_or_else(|| "everyone".to_owned(), shortened);
            lines.step(if outcome == "not_reached" { NOT_REACHED } else { YES }, &text);
        }
        if outcome == "no_share" {
            lines.push("no share: the next rule has its turn");
        }
    });
}

fn condition(condition: &Value, lines: &mut Lines) {
    let text = condition["text"].as_str().map(shortened);
    let line = text.unwrap_or_else(|| match condition["kind"].as_str() {
        Some("all") => "all of".to_owned(),
        Some("any") => "any of".to_owned(),
        Some(other) => other.to_owned(),
        None => "-".to_owned(),
    });
    let bucket = condition.get("bucket").map(|bucket| format!(", bucket {bucket}")).unwrap_or_default();
    let listed = condition.get("listed").map(|list| format!(", {} by name", cell(list))).unwrap_or_default();
    lines.step(mark(&condition["holds"]), &format!("{line}{}{bucket}{listed}", saw(condition)));
    lines.within(|lines| {
        condition["inner"].as_array().into_iter().flatten().for_each(|inner| self::condition(inner, lines));
    });
}

/// The attribute that was looked at.
fn saw(step: &Value) -> String {
    match step.get("saw") {
        None => String::new(),
        Some(Value::Null) => "  saw nothing".to_owned(),
        Some(value) => format!("  saw {}", json(value)),
    }
}

/// What is served, with the thresholds of a rollout.
fn served(serve: &Value) -> String {
    let rollout = match (serve.get("variant"), serve.get("rollout")) {
        (Some(one), _) => return variant(one),
        (None, Some(rollout)) => rollout,
        (None, None) => return cell(&Value::String(serve.to_string())),
    };
    let method = match rollout["method"].as_str() {
        None | Some("murmur3") => String::new(),
        Some(other) => format!(" as {other}"),
    };
    let chosen = rollout.get("variant").map(|chosen| format!("{} by ", cell(chosen))).unwrap_or_default();
    let bucket = match rollout.get("bucket") {
        None => format!("of {}", rollout["of"]),
        Some(bucket) => format!("bucket {bucket} of {}", rollout["of"]),
    };
    let shares = rollout["shares"].as_array().into_iter().flatten();
    let shares: Vec<String> =
        shares.map(|share| format!("{} below {}", cell(&share["variant"]), share["below"])).collect();
    format!(
        "{chosen}rollout by {}{method}{}  {bucket}: {}",
        cell(&rollout["by"]),
        saw(rollout),
        shortened(&shares.join(", "))
    )
}

fn mark(outcome: &Value) -> &'static str {
    match outcome {
        Value::Bool(true) => YES,
        Value::Bool(false) => NO,
        _ => NOT_REACHED,
    }
}

/// A variant; the empty one is the caller's code default.
fn variant(variant: &Value) -> String {
    match variant.as_str() {
        Some("") => CODE_DEFAULT.to_owned(),
        _ => cell(variant),
    }
}

/// JSON in one line.
fn json(value: &Value) -> String {
    shortened(&value.to_string())
}
