//! Standard output: tables for people, JSON for programs.

use std::io::{self, Write as _};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use flagraft_core::condition::Condition;
use serde::Deserialize as _;
use serde_json::Value;

use crate::failure::{Exit, Failure};

/// More of one text is not shown: a condition may list thousands of values.
const SHOWN_CHARS_MAX: usize = 200;

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned text for people. May change between versions.
    #[default]
    Table,
    /// JSON for programs: what the API answered.
    Json,
}

/// Writes to standard output in the format that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The format.
    pub format: Format,
}

impl Output {
    /// Whether the reader is a program.
    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Writes `value` for programs, or what `text` makes of it for people.
    pub fn show(self, value: &Value, text: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        match self.format {
            Format::Json => line(&pretty(value)),
            Format::Table => line(&text(value)),
        }
    }

    /// Writes a sentence for people; programs get `value`.
    pub fn say(self, value: &Value, sentence: impl Into<String>) -> Result<(), Failure> {
        let sentence = sentence.into();
        self.show(value, |_| sentence)
    }
}

/// Writes a line to standard output. A reader that has gone away (`flagraft flag list | head -1`) ends the
/// process quietly, as it does any other tool of a pipeline.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(Exit::Other, format!("could not write to standard output: {error}"))),
    }
}

/// JSON as people like to read it.
pub fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// Aligned columns. With no rows it is the sentence `empty`.
pub fn table(headers: &[&str], rows: Vec<Vec<String>>, empty: &str) -> String {
    if rows.is_empty() {
        return empty.to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers.iter().copied());
    table.add_rows(rows);
    // Columns are padded to the left edge of the next one; the spaces that end a line say nothing.
    let lines: Vec<String> = table.to_string().lines().map(|l| l.trim().to_owned()).collect();
    lines.join("\n")
}

/// A field of an answer as a table shows it: text bare, absent and `null` as `-`, lists joined by commas.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        // What others wrote must not move the cursor of who reads it.
        Value::String(text) => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Text of others in one line of a terminal: no control characters, and the middle of a long one left out.
pub fn shortened(text: &str) -> String {
    let shown = cell(&Value::String(text.to_owned()));
    let length = shown.chars().count();
    if length <= SHOWN_CHARS_MAX {
        return shown;
    }
    let part = SHOWN_CHARS_MAX / 2;
    let (first, last) = (shown.chars().take(part), shown.chars().skip(length - part));
    first.chain(" ... ".chars()).chain(last).collect()
}

/// A condition as its text; `everyone` where there is none. One of a kind that only a later version knows stays JSON.
pub fn condition(when: &Value) -> String {
    if when.is_null() {
        return "everyone".to_owned();
    }
    Condition::deserialize(when)
        .map_or_else(|_| cell(&Value::String(when.to_string())), |known| known.to_string())
}

/// What a rule or a default serves.
pub fn served(serve: &Value) -> String {
    if let Some(variant) = serve["variant"].as_str() {
        return variant.to_owned();
    }
    let rollout = &serve["rollout"];
    if !rollout["weights"].is_array() {
        return "the caller's own default".to_owned();
    }
    let method = rollout["method"].as_str().map(|method| format!(", method {method}")).unwrap_or_default();
    let by = rollout["by"].as_str().unwrap_or_default();
    format!("{} by {by}, seed {}{method}", shares(&rollout["weights"]), rollout["seed"])
}

/// The weights of a rollout, in their order.
pub fn shares(weights: &Value) -> String {
    let share =
        |share: &Value| format!("{} {}", share["variant"].as_str().unwrap_or_default(), share["weight"]);
    weights.as_array().into_iter().flatten().map(share).collect::<Vec<_>>().join(" : ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_align_and_name_what_is_missing() {
        let rows = vec![
            vec![cell(&json!("checkout-v2")), cell(&json!(true)), cell(&json!(["a", "b"]))],
            vec![cell(&json!("x")), cell(&json!(null)), cell(&json!([]))],
        ];
        let text = table(&["FLAG", "CRITICAL", "TAGS"], rows, "no flags");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let column = lines[0].find("CRITICAL").expect("a header");
        assert_eq!(&lines[1][column..column + 3], "yes");
        assert_eq!(&lines[2][column..=column], "-");
        assert!(lines.iter().all(|l| !l.ends_with(' ')), "no trailing spaces: {text:?}");
        assert_eq!(table(&["FLAG"], vec![], "no flags"), "no flags");
    }

    #[test]
    fn conditions_are_shown_as_text() {
        let rows = [
            (json!(null), "everyone"),
            (json!({"segment": "staff"}), r#"segment("staff")"#),
            (json!({"attribute": "country", "op": "in", "values": ["DE"]}), r#"country in ["DE"]"#),
            (json!({"of_a_later_version": true}), r#"{"of_a_later_version":true}"#),
        ];
        for (when, shown) in rows {
            assert_eq!(condition(&when), shown);
        }
    }

    #[test]
    fn the_middle_of_a_long_text_is_left_out() {
        assert_eq!(shortened(&"ä".repeat(SHOWN_CHARS_MAX)), "ä".repeat(SHOWN_CHARS_MAX));
        let long = format!("id in [{}\n]", "7, ".repeat(1_000));
        let short = shortened(&long);
        assert!(
            short.starts_with("id in [7, ") && short.contains(" ... ") && short.ends_with(" ]"),
            "{short}"
        );
        assert_eq!(short.chars().count(), SHOWN_CHARS_MAX + 5);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(cell(&json!("a\u{1b}[2Jb")), "a [2Jb");
    }
}
