//! Regular expressions, compiled once however many conditions have them.

use std::sync::{Arc, Weak};

use imbl::OrdMap;
use regex::RegexSet;

use crate::{condition::AttributeCondition, operand::pattern};

/// So many may have gone out of use before they are looked for.
const UNUSED_MIN: usize = 64;

/// The regular expressions of a project's conditions. They take the most time to compile and the most memory of all that
/// is compiled, and flags often have the same ones in every environment. A clone shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns {
    /// Whoever compares with them owns them.
    known: OrdMap<Arc<Key>, Weak<RegexSet>>,
    /// How many there were when those that nobody uses any more were last left out.
    swept_to: usize,
}

/// All that a compiled set of them is made of.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    patterns: Box<[Box<str>]>,
    ignore_case: bool,
}

impl Patterns {
    /// The regular expressions of a condition; `None` where they are none, which is refused when proposed.
    pub fn compiled(&mut self, condition: &AttributeCondition) -> Option<Arc<RegexSet>> {
        let (patterns, ignore_case) = (condition.patterns(), condition.ignore_case);
        let key = Key { patterns: patterns.iter().copied().map(Box::from).collect(), ignore_case };
        if let Some(known) = self.known.get(&key).and_then(Weak::upgrade) {
            return Some(known);
        }
        let compiled = Arc::new(pattern::compile(&patterns, ignore_case).ok()?);
        self.known.insert(Arc::new(key), Arc::downgrade(&compiled));
        Some(compiled)
    }

    /// Leaves out those that nobody uses any more, once they may be as many as the others.
    pub fn sweep(&mut self) {
        if self.known.len() > self.swept_to.saturating_mul(2).saturating_add(UNUSED_MIN) {
            let used = self.known.iter().filter(|(_, compiled)| compiled.strong_count() > 0);
            self.known = used.map(|(key, compiled)| (Arc::clone(key), Weak::clone(compiled))).collect();
            self.swept_to = self.known.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn condition(patterns: &[&str], ignore_case: bool) -> AttributeCondition {
        let condition =
            json!({"attribute": "a", "op": "matches", "values": patterns, "ignore_case": ignore_case});
        match serde_json::from_value(condition).expect("a condition") {
            crate::condition::Condition::Attribute(condition) => condition,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_the_same_is_compiled_once() {
        let mut patterns = Patterns::default();
        let mut compiled = |texts: &[&str], ignore_case| {
            patterns.compiled(&condition(texts, ignore_case)).expect("regular expressions")
        };
        let first = compiled(&["a", "b"], false);
        assert!(Arc::ptr_eq(&first, &compiled(&["a", "b"], false)));
        for (texts, ignore_case) in [(&["a", "b"][..], true), (&["b", "a"], false), (&["a"], false)] {
            assert!(!Arc::ptr_eq(&first, &compiled(texts, ignore_case)), "{texts:?}");
        }
        assert!(patterns.compiled(&condition(&["("], false)).is_none());
    }

    #[test]
    fn what_nobody_uses_goes() {
        let mut patterns = Patterns::default();
        let kept = patterns.compiled(&condition(&["kept"], false)).expect("a regular expression");
        for number in 0..=2 * UNUSED_MIN {
            assert!(patterns.compiled(&condition(&[&format!("a{number}")], false)).is_some());
            patterns.sweep();
            assert!(patterns.known.len() <= UNUSED_MIN + 2, "{}", patterns.known.len());
        }
        let again = patterns.compiled(&condition(&["kept"], false)).expect("a regular expression");
        assert!(Arc::ptr_eq(&kept, &again));
    }
}
