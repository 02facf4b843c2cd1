//! The gate that every evaluation passes: what may be served of a state, by how it is known.
//!
//! Invariant: of a critical flag nothing but its safe variant passes, unless a quorum confirmed the state, or the flag
//! itself asks for its last known value and the state is young enough for that.

use flagraft_core::{
    compiled::CompiledEnvironment,
    project::Flag,
    resolution::{EvaluationError, Resolution},
    standing::{Standing, is_beyond},
};

use super::{Place, request::Asked};
use crate::http::consistency::{Consistency, Stamp};

/// What is served of a flag.
pub(super) enum Passed<'s> {
    /// What it is for the context.
    Known(Resolution<'s>),
    /// Its safe variant.
    Safe(Resolution<'s>),
    /// Nothing: it is older than it may be, and asks for an error then.
    Stale,
}

/// What may be served of a flag that nobody confirmed, at this age.
fn unconfirmed(compiled: &CompiledEnvironment, flag: &Flag, age_ms: Option<u64>) -> Standing {
    if compiled.is_critical(&flag.definition.key) {
        Standing::unconfirmed(&flag.definition, age_ms)
    } else {
        Standing::by_age(&flag.definition, age_ms)
    }
}

/// How many of the flags that `sees` lets through are not served as they are known while nobody confirms them, at this
/// age; at an age that is not known it is all that ever are not.
pub(super) fn withheld(
    compiled: &CompiledEnvironment,
    sees: impl Fn(&Flag) -> bool,
    age_ms: Option<u64>,
) -> usize {
    // No other flag depends on whether it is confirmed.
    let bounded = compiled.max_ages().keys().filter(|key| !compiled.is_critical(key));
    let flags = compiled.critical().iter().chain(bounded).filter_map(|key| compiled.flag(key));
    flags.filter(|flag| sees(flag) && unconfirmed(compiled, flag, age_ms) != Standing::Good).count()
}

impl<'s> Place<'s> {
    /// Evaluates a flag in a state that is known as the stamp says.
    pub(super) fn pass(
        &self,
        key: &str,
        asked: &Asked,
        stamp: &Stamp,
    ) -> Result<Passed<'s>, EvaluationError> {
        let flag = self.compiled.flag(key).ok_or(EvaluationError::FlagNotFound)?;
        let standing = match stamp.consistency {
            Consistency::Linearizable => Standing::Good,
            Consistency::Local | Consistency::SafeVariant => unconfirmed(self.compiled, flag, stamp.age_ms),
        };
        Ok(match standing {
            Standing::Good => Passed::Known(self.compiled.evaluate(key, &asked.context)?),
            Standing::Safe => Passed::Safe(self.compiled.safe_resolution(key)?),
            Standing::Stale => Passed::Stale,
        })
    }

    /// Whether the answer about a flag should be confirmed: it is critical, or this state is older than it may be.
    pub(super) fn is_to_confirm(&self, key: &str, stamp: &Stamp) -> bool {
        let max_age_ms = || self.compiled.max_ages().get(key).copied();
        self.compiled.is_critical(key) || is_beyond(max_age_ms(), stamp.age_ms)
    }

    /// The same of an answer about all flags that the caller sees.
    pub(super) fn is_any_to_confirm(&self, asked: &Asked, stamp: &Stamp) -> bool {
        let mut beyond = self.compiled.max_ages().iter();
        self.compiled.critical().iter().any(|key| self.shows(asked, key))
            || beyond.any(|(key, max)| is_beyond(Some(*max), stamp.age_ms) && self.shows(asked, key))
    }
}

#[cfg(test)]
mod tests {
    use flagraft_core::{feed::Replica, flag::Exposure};
    use serde_json::{Value, json};

    use super::*;

    /// A flag that is on, with these fields more.
    fn flag(key: &str, more: &Value) -> Value {
        let mut flag = json!({"key": key, "type": "boolean", "variants": {"on": true, "off": false}, "safe_variant": "off",
            "configuration": {"enabled": true, "default": {"variant": "on"}}, "version": 1});
        for (name, value) in more.as_object().expect("an object") {
            flag[name] = value.clone();
        }
        flag
    }

    #[test]
    fn what_is_withheld_while_nobody_confirms_depends_on_the_age() {
        let flags = [
            flag("critical", &json!({"critical": true})),
            flag(
                "lenient",
                &json!({"critical": true, "max_age_ms": 10, "on_stale": "error", "on_unconfirmed": "last-known",
                    "grace_ms": 300}),
            ),
            flag("old-error", &json!({"max_age_ms": 200, "on_stale": "error"})),
            flag("old-safe", &json!({"max_age_ms": 100, "on_stale": "safe-variant", "exposure": "client"})),
            flag("old-serve", &json!({"max_age_ms": 100, "on_stale": "serve"})),
            flag("plain", &json!({})),
        ];
        let snapshot = json!({"format": 1, "revision": 1, "environment_revision": 1, "project": "shop",
            "environment": "production", "flags": flags, "segments": []});
        let replica = Replica::from_snapshot(&snapshot.to_string()).expect("a snapshot");
        assert_eq!(replica.unsupported().len(), 0);
        let compiled = replica.environment();
        for (age_ms, all, of_clients) in [
            (Some(0), 1, 0),
            (Some(100), 1, 0),
            (Some(101), 2, 1),
            (Some(201), 3, 1),
            (Some(301), 4, 1),
            (None, 4, 1),
        ] {
            assert_eq!(withheld(compiled, |_| true, age_ms), all, "{age_ms:?}");
            let exposed = |flag: &Flag| flag.definition.exposure == Exposure::Client;
            assert_eq!(withheld(compiled, exposed, age_ms), of_clients, "{age_ms:?}");
        }
    }
}
