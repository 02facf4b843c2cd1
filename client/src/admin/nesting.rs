//! Answers that are nested deeper than serde_json reads by itself.
//!
//! serde_json stops at 128 levels, because what is nested costs the stack: to read, to write and to drop. An explanation
//! goes deeper: sixteen prerequisites, then sixteen segments with conditions of sixteen levels each, at two levels of
//! JSON per condition. So the levels are counted first, without recursion, and up to a bound of our own they are read.

use serde::Deserialize as _;
use serde_json::{Deserializer, Value};

/// The most levels that are read: more than the limits on prerequisites, segments and conditions allow, and few enough
/// for a stack of 2 MiB.
const LEVELS_MAX: usize = 1_024;

/// One JSON value; `None` where the text is none, or nested too deep.
pub fn parse(text: &str) -> Option<Value> {
    if levels(text) > LEVELS_MAX {
        return None;
    }
    let mut deserializer = Deserializer::from_str(text);
    deserializer.disable_recursion_limit();
    let value = Value::deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(value)
}

/// How deep arrays and objects are within each other.
fn levels(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    let (mut in_text, mut is_escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                open += 1;
                most = most.max(open);
            }
            b']' | b'}' if !in_text => open = open.saturating_sub(1),
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}1{}", r#"{"inner":["#.repeat(levels / 2), "]}".repeat(levels / 2))
    }

    #[test]
    fn levels_are_counted_outside_of_texts() {
        let cases = [
            ("7", 0),
            ("[]", 1),
            (r#"[[1],{"a":[]}]"#, 3),
            (r#"["[[[", "\"[[", "\\", []]"#, 2),
            (r#"{"\\\"{[": {}}"#, 2),
            ("]]]", 0),
        ];
        for (text, expected) in cases {
            assert_eq!(levels(text), expected, "{text}");
        }
    }

    /// Tests run on a stack of 2 MiB, which is less than a process has.
    #[test]
    fn what_is_nested_deep_is_read_written_and_dropped() {
        let text = nested(LEVELS_MAX);
        let value = parse(&text).expect("read");
        assert_eq!(value.to_string(), text);
        drop(value);
        assert_eq!(parse(&nested(LEVELS_MAX + 2)), None);
        assert_eq!(parse(&nested(1_000_000)), None);
    }

    #[test]
    fn what_is_no_json_is_none() {
        assert_eq!(parse(" {\"a\": 1}\n"), Some(json!({"a": 1})));
        for text in ["", "{", "[1] 2", "nul"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
