//! Reading what a command is given: files, standard input, JSON on the command line.

use std::{
    fs,
    io::{self, Read as _},
};

use flagraft_core::expression;
use serde_json::{Map, Value, json};

use crate::failure::{Exit, Failure};

/// The text of a file, or of standard input for `-`.
pub fn read(path: &str) -> Result<String, Failure> {
    if path == "-" {
        let mut text = String::new();
        io::stdin()
            .lock()
            .read_to_string(&mut text)
            .map_err(|e| Failure::usage(format!("could not read standard input: {e}")))?;
        return Ok(text);
    }
    fs::read_to_string(path).map_err(|e| Failure::usage(format!("could not read {path}: {e}")))
}

/// A file, or standard input for `-`, as JSON.
pub fn json_file(path: &str) -> Result<Value, Failure> {
    let text = read(path)?;
    let name = if path == "-" { "standard input" } else { path };
    serde_json::from_str(&text).map_err(|e| Failure::usage(format!("{name} is not JSON: {e}")))
}

/// JSON written on the command line; `@FILE` reads it from a file and `-` from standard input.
pub fn json_argument(option: &str, text: &str) -> Result<Value, Failure> {
    match text.strip_prefix('@') {
        Some(path) => json_file(path),
        None if text == "-" => json_file("-"),
        None => json_text(option, text),
    }
}

fn json_text(option: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|e| {
        Failure::usage(format!("the value of {option} is not JSON: {e}"))
            .next("quote it, or give @FILE to read a file")
    })
}

/// A condition on the command line, as its text or, where it begins with a brace, as JSON; `@FILE` reads it from a file and
/// `-` from standard input. As JSON it goes to the node as it is: what a later version knows may be in it.
pub fn condition_argument(option: &str, argument: &str) -> Result<Value, Failure> {
    let path = argument.strip_prefix('@').or((argument == "-").then_some("-"));
    let from_file = path.map(read).transpose()?;
    let text = from_file.as_deref().unwrap_or(argument);
    if text.trim_start().starts_with('{') {
        return json_text(option, text);
    }
    let condition = expression::parse(text).map_err(|error| {
        let pointed: String = error.pointed_at(text).lines().map(|line| format!("\n  {line}")).collect();
        let mut failure = Failure::usage(format!("{option} is no condition: {error}{pointed}"));
        failure.details = Some(Box::new(json!({"column": error.column, "offset": error.offset})));
        failure
    })?;
    serde_json::to_value(condition)
        .map_err(|e| Failure::new(Exit::Other, format!("{option} could not be written as JSON: {e}")))
}

/// `NAME=VALUE`.
pub fn pair<'a>(option: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Failure::usage(format!("{option} takes NAME=VALUE, not {text:?}")))
}

/// `on=10,off=90` as weights in that order.
pub fn weights(text: &str) -> Result<Value, Failure> {
    let weight = |part: &str| {
        let (variant, weight) = pair("--weights", part)?;
        let weight: u32 = weight.trim().parse().map_err(|_| {
            Failure::usage(format!("the weight of {variant} is {weight:?}"))
                .next("give whole numbers, such as --weights on=10,off=90")
        })?;
        Ok(json!({"variant": variant.trim(), "weight": weight}))
    };
    text.split(',').map(weight).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

/// The attributes of an evaluation: JSON first, then single ones over it, then the targeting key.
///
/// A single attribute's value is JSON where it reads as JSON (`true`, `7`, `["a"]`) and text otherwise; quote
/// a number to make it text: `zip='"01067"'`.
pub fn context(
    json: Option<&str>,
    attributes: &[String],
    targeting_key: Option<&str>,
) -> Result<Map<String, Value>, Failure> {
    let mut context = match json.map(|text| json_argument("--context", text)).transpose()? {
        None => Map::new(),
        Some(Value::Object(context)) => context,
        Some(_) => {
            return Err(Failure::usage("--context takes a JSON object, such as '{\"country\": \"DE\"}'"));
        }
    };
    for attribute in attributes {
        let (name, text) = pair("--attribute", attribute)?;
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        context.insert(name.to_owned(), value);
    }
    if let Some(key) = targeting_key {
        context.insert("targetingKey".to_owned(), Value::String(key.to_owned()));
    }
    Ok(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_keep_their_order() {
        assert_eq!(
            weights("on=10, off=90").expect("weights"),
            json!([{"variant": "on", "weight": 10}, {"variant": "off", "weight": 90}])
        );
        for bad in ["", "on", "=1", "on=-1", "on=1.5", "on=10,", "on=99999999999"] {
            assert!(weights(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn contexts_are_typed() {
        let attributes =
            ["beta=true", "age=7", "country=DE", "zip=\"01067\"", "note=a=b", "empty="].map(str::to_owned);
        let context =
            context(Some(r#"{"age": 6, "plan": "pro"}"#), &attributes, Some("u1")).expect("context");
        assert_eq!(
            Value::Object(context),
            json!({
                "beta": true, "age": 7, "country": "DE", "zip": "01067", "note": "a=b", "empty": "", "plan": "pro",
                "targetingKey": "u1",
            })
        );
    }

    #[test]
    fn a_condition_is_text_or_json_here_or_in_a_file() {
        let when = json!({"attribute": "country", "op": "in", "values": ["DE"]});
        let file = tempfile::NamedTempFile::new().expect("a file");
        let at_file = format!("@{}", file.path().display());
        for written in ["country in [\"DE\"]\n".to_owned(), format!(" {when}\n")] {
            assert_eq!(condition_argument("--when", &written).expect("a condition"), when);
            fs::write(file.path(), &written).expect("written");
            assert_eq!(condition_argument("--when", &at_file).expect("a condition"), when);
        }
        let later = json!({"of_a_later_version": true});
        assert_eq!(condition_argument("--when", &later.to_string()).expect("JSON"), later);
        assert!(condition_argument("--when", "{").expect_err("half").to_string().contains("is not JSON"));
    }

    #[test]
    fn a_slip_in_a_condition_is_pointed_at() {
        let failure = condition_argument("--when", "country in \"DE\"").expect_err("no list");
        assert_eq!(
            failure.to_string(),
            "--when is no condition: column 12: in takes a list: [\"DE\"]\n  country in \"DE\"\n             ^"
        );
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.to_json()["error"]["details"]["column"], 12);
    }

    #[test]
    fn files_that_are_missing_or_no_json_are_named() {
        assert!(read("/nonexistent/file").expect_err("missing").to_string().contains("/nonexistent/file"));
        let failure = json_argument("--when", "{").expect_err("no JSON");
        assert!(failure.to_string().contains("--when"), "{failure}");
    }
}
