//! How long an explanation may become.

use serde_json::Value;

use super::SHORT_BYTES_MAX;
use crate::size::json_bytes;

/// Bytes of JSON that go with every part of an explanation, whatever is in it: the names of its fields.
const PART_BYTES: usize = 100;

/// The bytes of JSON that are left until an explanation becomes short.
pub(super) struct Budget {
    left: usize,
    is_overdrawn: bool,
}

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self { left: bytes, is_overdrawn: false }
    }

    /// Whether there is anything left for what may be left out. It counts as left out where not.
    pub fn is_left(&mut self) -> bool {
        self.is_overdrawn |= self.left == 0;
        self.left > 0
    }

    /// Counts a part that is told, of so many bytes besides the names of its fields.
    pub fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes.saturating_add(PART_BYTES));
    }

    /// A text, which is cut where not enough is left for it.
    pub fn text(&mut self, text: String) -> String {
        let is_cut = text.len() > SHORT_BYTES_MAX && json_bytes(&text) > self.left;
        self.is_overdrawn |= is_cut;
        let text = if is_cut { beginning(&text) } else { text };
        self.spend(json_bytes(&text));
        text
    }

    /// Whether something had to be cut or left out.
    pub fn is_overdrawn(&self) -> bool {
        self.is_overdrawn
    }
}

/// The beginning of a long attribute; `None` of one that is short.
pub(super) fn shortened(value: &Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
        Value::String(text) => (text.len() > SHORT_BYTES_MAX).then(|| beginning(text).into()),
        Value::Array(_) | Value::Object(_) => {
            (json_bytes(value) > SHORT_BYTES_MAX).then(|| beginning(&value.to_string()).into())
        }
    }
}

/// The beginning of a long text.
fn beginning(text: &str) -> String {
    let mut ends = text.char_indices().map(|(at, letter)| at.saturating_add(letter.len_utf8()));
    let end = ends.by_ref().take_while(|end| *end <= SHORT_BYTES_MAX).last().unwrap_or_default();
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_short_stays() {
        for value in
            [json!(null), json!(true), json!(1.5), json!("a".repeat(SHORT_BYTES_MAX)), json!(["a", 1])]
        {
            assert_eq!(shortened(&value), None, "{value}");
        }
    }

    #[test]
    fn what_is_long_is_cut_between_letters() {
        let text = format!("a{}", "ö".repeat(SHORT_BYTES_MAX));
        let cut = format!("a{}…", "ö".repeat(SHORT_BYTES_MAX / 2 - 1));
        assert_eq!(shortened(&json!(text)), Some(json!(cut)));
        let list = json!(vec!["a"; SHORT_BYTES_MAX]);
        assert_eq!(shortened(&list), Some(json!(format!("{}…", &list.to_string()[..SHORT_BYTES_MAX]))));
    }

    #[test]
    fn a_text_is_cut_when_little_is_left() {
        let mut budget = Budget::new(5_000);
        let long = "a".repeat(4_000);
        assert_eq!(budget.text(long.clone()), long);
        assert!(!budget.is_overdrawn() && budget.is_left());
        assert_eq!(budget.text(long).len(), SHORT_BYTES_MAX + "…".len());
        assert!(!budget.is_left() && budget.is_overdrawn());
        assert_eq!(budget.text("a".repeat(SHORT_BYTES_MAX)).len(), SHORT_BYTES_MAX, "what is short is told");
    }
}
