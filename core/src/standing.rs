//! Whether what is known of a flag may still be served: by how old it is, and whether anybody confirmed it.

use crate::flag::{FlagSpec, OnStale, OnUnconfirmed};

/// What may be served of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What is known of it.
    Good,
    /// Its safe variant: what is known of it is too old, or nobody confirmed it.
    Safe,
    /// Nothing: it is too old, and the flag asks for an error rather than for either.
    Stale,
}

impl Standing {
    /// Of a flag that is not critical, known as of at most `age_ms` ago; `None`: as of nobody knows when.
    pub fn by_age(flag: &FlagSpec, age_ms: Option<u64>) -> Self {
        if !is_beyond(flag.max_age_ms, age_ms) {
            return Self::Good;
        }
        match flag.on_stale {
            OnStale::Serve => Self::Good,
            OnStale::SafeVariant => Self::Safe,
            OnStale::Error => Self::Stale,
        }
    }

    /// Of an effectively critical flag that nobody confirmed in time, known as of at most `age_ms` ago.
    pub fn unconfirmed(flag: &FlagSpec, age_ms: Option<u64>) -> Self {
        match (flag.on_unconfirmed, flag.grace_ms, age_ms) {
            (OnUnconfirmed::LastKnown, Some(grace_ms), Some(age_ms)) if age_ms <= grace_ms => Self::Good,
            _ => Self::Safe,
        }
    }
}

/// Whether an age is beyond a bound. Where there is none, nothing is; an age that is not known is beyond every bound.
pub fn is_beyond(max_age_ms: Option<u64>, age_ms: Option<u64>) -> bool {
    max_age_ms.is_some_and(|max_age_ms| age_ms.is_none_or(|age_ms| age_ms > max_age_ms))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn flag(fields: &Value) -> FlagSpec {
        let mut flag = json!({"key": "f", "type": "boolean", "variants": {"on": true, "off": false}, "safe_variant": "off"});
        for (name, value) in fields.as_object().expect("an object") {
            flag[name] = value.clone();
        }
        serde_json::from_value(flag).expect("a flag")
    }

    #[test]
    fn a_flag_without_a_bound_is_good_at_any_age() {
        let unbounded = flag(&json!({"on_stale": "error"}));
        for age_ms in [Some(0), Some(u64::MAX), None] {
            assert_eq!(Standing::by_age(&unbounded, age_ms), Standing::Good);
        }
    }

    #[test]
    fn beyond_its_bound_a_flag_is_what_it_asks_for() {
        for (on_stale, beyond) in
            [("serve", Standing::Good), ("safe-variant", Standing::Safe), ("error", Standing::Stale)]
        {
            let bounded = flag(&json!({"max_age_ms": 1_000, "on_stale": on_stale}));
            assert_eq!(Standing::by_age(&bounded, Some(1_000)), Standing::Good, "{on_stale}");
            assert_eq!(Standing::by_age(&bounded, Some(1_001)), beyond, "{on_stale}");
            assert_eq!(Standing::by_age(&bounded, None), beyond, "{on_stale}");
        }
    }

    #[test]
    fn an_unconfirmed_critical_flag_is_safe_but_within_the_grace_that_it_asks_for() {
        let strict = flag(&json!({"critical": true, "grace_ms": 5_000}));
        assert_eq!(Standing::unconfirmed(&strict, Some(0)), Standing::Safe);
        let lenient = flag(&json!({"critical": true, "on_unconfirmed": "last-known", "grace_ms": 5_000}));
        assert_eq!(Standing::unconfirmed(&lenient, Some(5_000)), Standing::Good);
        assert_eq!(Standing::unconfirmed(&lenient, Some(5_001)), Standing::Safe);
        assert_eq!(Standing::unconfirmed(&lenient, None), Standing::Safe);
        let no_grace = flag(&json!({"critical": true, "on_unconfirmed": "last-known"}));
        assert_eq!(Standing::unconfirmed(&no_grace, Some(0)), Standing::Safe);
    }
}
