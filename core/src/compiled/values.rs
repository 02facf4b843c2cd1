//! The values of an `in` condition, as sets.

use hashbrown::HashTable;
use serde_json::Value;

use super::hash::name_hash;
use crate::operand::{letters::LowerCase, number::Number};

/// Lists of texts up to this length are walked through: that is faster than to hash.
const WALKED_MAX: usize = 8;

/// Scalars, to be looked up. Strict by type, but for numbers: 1 equals 1.0.
#[derive(Clone, Debug)]
pub(super) struct ValueSet {
    texts: TextSet,
    /// In order.
    numbers: Box<[Number]>,
    has_true: bool,
    has_false: bool,
    ignore_case: bool,
    /// Bytes of the longest text. As small as it may be, for there are very many of these.
    longest: u32,
}

impl ValueSet {
    pub fn new(values: &[Value], ignore_case: bool) -> Self {
        let texts = values.iter().filter_map(Value::as_str);
        let texts = if ignore_case {
            TextSet::new(texts.map(|text| LowerCase::of(text).as_str().into()).collect())
        } else {
            TextSet::new(texts.map(Box::from).collect())
        };
        let longest = u32::try_from(texts.longest()).unwrap_or(u32::MAX);
        let mut numbers: Vec<Number> = values.iter().filter_map(Number::of).collect();
        numbers.sort_unstable();
        Self {
            texts,
            numbers: numbers.into(),
            has_true: values.contains(&Value::Bool(true)),
            has_false: values.contains(&Value::Bool(false)),
            ignore_case,
            longest,
        }
    }

    #[inline]
    pub fn contains(&self, value: &Value) -> bool {
        match value {
            Value::String(text) if self.ignore_case => {
                LowerCase::may_have_at_most(text, self.longest)
                    && self.texts.contains(LowerCase::of(text).as_str())
            }
            Value::String(text) => self.texts.contains(text),
            Value::Number(_) => {
                Number::of(value).is_some_and(|number| self.numbers.binary_search(&number).is_ok())
            }
            Value::Bool(true) => self.has_true,
            Value::Bool(false) => self.has_false,
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }
    }
}

/// Texts, to be looked up.
#[derive(Clone, Debug)]
pub(super) enum TextSet {
    Walked(Box<[Box<str>]>),
    Hashed(HashTable<Box<str>>),
}

impl TextSet {
    pub fn new(texts: Vec<Box<str>>) -> Self {
        if texts.len() <= WALKED_MAX {
            return Self::Walked(texts.into());
        }
        let mut table = HashTable::with_capacity(texts.len());
        for text in texts {
            let hash = name_hash(&text);
            if table.find(hash, |known| *known == text).is_none() {
                table.insert_unique(hash, text, |text| name_hash(text));
            }
        }
        Self::Hashed(table)
    }

    fn longest(&self) -> usize {
        let longest = match self {
            Self::Walked(texts) => texts.iter().map(|text| text.len()).max(),
            Self::Hashed(table) => table.iter().map(|text| text.len()).max(),
        };
        longest.unwrap_or_default()
    }

    #[inline]
    pub fn contains(&self, text: &str) -> bool {
        match self {
            Self::Walked(texts) => texts.iter().any(|known| **known == *text),
            Self::Hashed(table) => table.find(name_hash(text), |known| **known == *text).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn membership_is_strict_by_type() {
        let set = ValueSet::new(&[json!("a"), json!(1), json!(2.5), json!(true), json!(u64::MAX)], false);
        for member in [json!("a"), json!(1), json!(1.0), json!(2.5), json!(true), json!(u64::MAX)] {
            assert!(set.contains(&member), "{member}");
        }
        for stranger in [
            json!("A"),
            json!("1"),
            json!(false),
            json!("true"),
            json!(null),
            json!(["a"]),
            json!(1.8446744073709552e19),
        ] {
            assert!(!set.contains(&stranger), "{stranger}");
        }
        let set = ValueSet::new(&[json!("Straße"), json!("ÀB")], true);
        assert!(
            set.contains(&json!("STRAßE")) && set.contains(&json!("àb")) && !set.contains(&json!("strasse"))
        );
    }

    #[test]
    fn long_lists_are_sets_and_answer_alike() {
        let names: Vec<String> = (0..1_000).map(|n| format!("user-{n}")).collect();
        let set = TextSet::new(names.iter().chain(&names).map(|name| name.as_str().into()).collect());
        assert!(matches!(&set, TextSet::Hashed(table) if table.len() == 1_000));
        assert!(names.iter().all(|name| set.contains(name)) && !set.contains("user-1000"));
    }
}
