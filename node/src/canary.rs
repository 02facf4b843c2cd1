//! Planted bugs, for the tests to be tried on: a test that no bug can break shows nothing. One of them is planted by its
//! name in the environment variable `FLAGRAFT_CANARY`, in a build with the feature `canary`.
//!
//! Invariant: a build without that feature reads no such variable and has none of them: [`is_planted`] is `false` there
//! when it is compiled, and what it guards is left out.

pub(crate) mod apply;
pub(crate) mod lease;

use std::time::Duration;

/// How long a leader waits for its quorum with [`Canary::AcknowledgeUnknown`]: it has often not answered by then.
pub(crate) const PATIENCE: Duration = Duration::from_millis(10);

/// Names the planted bug.
#[cfg(feature = "canary")]
const VARIABLE: &str = "FLAGRAFT_CANARY";

/// Declares the bugs, each with its name.
macro_rules! canaries {
    ($($(#[$doc:meta])* $name:literal => $variant:ident,)*) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Canary {
            $($(#[$doc])* $variant,)*
        }

        #[cfg(any(test, feature = "canary"))]
        impl Canary {
            /// All of them, with their names.
            const ALL: &'static [(&'static str, Self)] = &[$(($name, Self::$variant),)*];
        }
    };
}

canaries! {
    /// What was appended to the Raft log, and every vote, is acknowledged without a sync.
    "skip-sync" => SkipSync,
    /// A write of which the leader does not know within [`PATIENCE`] what becomes of it is answered as done.
    "acknowledge-unknown" => AcknowledgeUnknown,
    /// A read that is to be confirmed is answered from what the node has.
    "confirm-locally" => ConfirmLocally,
    /// A leader that a quorum has confirmed takes itself for the leader for 10 s.
    "long-lease" => LongLease,
    /// A stream that goes on after an event leaves out the one after it.
    "lose-on-resume" => LoseOnResume,
    /// A request that comes again is done again.
    "apply-twice" => ApplyTwice,
    /// The operations of a change are applied in the order of a hash map, which is another one on each node.
    "order-by-hash" => OrderByHash,
    /// A change is applied at the time of the node that applies it.
    "clock-in-apply" => ClockInApply,
    /// Start-up takes a log that ends before what was synced for a whole one.
    "cut-damage" => CutDamage,
    /// Some audit records are stored otherwise than the tree has their hash.
    "rewrite-record" => RewriteRecord,
    /// A read does not wait for the revision that it asks for at least.
    "ignore-min-revision" => IgnoreMinRevision,
    /// What a node has is said to be current, however old it is.
    "always-young" => AlwaysYoung,
    /// No request is remembered by its `Idempotency-Key`.
    "forget-requests" => ForgetRequests,
}

/// Whether this bug is planted in this process.
#[cfg(not(feature = "canary"))]
pub(crate) const fn is_planted(_: Canary) -> bool {
    false
}

/// Whether this bug is planted in this process. A name that no bug has ends the process.
#[cfg(feature = "canary")]
pub(crate) fn is_planted(canary: Canary) -> bool {
    planted() == Some(canary)
}

/// Says at once what is planted, and not only when it first acts.
pub(crate) fn announce() {
    #[cfg(feature = "canary")]
    planted();
}

#[cfg(feature = "canary")]
fn planted() -> Option<Canary> {
    static PLANTED: std::sync::OnceLock<Option<Canary>> = std::sync::OnceLock::new();
    *PLANTED.get_or_init(|| {
        let name = std::env::var_os(VARIABLE)?;
        match named(&name.to_string_lossy()) {
            Ok(canary) => {
                tracing::warn!(
                    "{VARIABLE} is set: this node has the bug {canary:?}, ON PURPOSE; give it nothing to keep"
                );
                Some(canary)
            }
            Err(why) => {
                tracing::error!("{why}");
                std::process::exit(2)
            }
        }
    })
}

/// The bug with this name.
#[cfg(feature = "canary")]
fn named(name: &str) -> Result<Canary, String> {
    let found = Canary::ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, canary)| *canary).ok_or_else(|| {
        let names: Vec<_> = Canary::ALL.iter().map(|(name, _)| *name).collect();
        format!("{VARIABLE} names the bug {name:?}, which is none; use one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the feature too: no test of this crate sets the variable.
    #[test]
    fn none_is_planted_unless_it_is_named() {
        for (name, canary) in Canary::ALL {
            assert!(!is_planted(*canary), "{name}");
        }
    }

    /// A constant, so that what it guards is not even compiled in.
    #[cfg(not(feature = "canary"))]
    #[test]
    fn without_the_feature_none_can_be_planted() {
        const { assert!(!is_planted(Canary::SkipSync)) };
    }

    #[cfg(feature = "canary")]
    #[test]
    fn each_is_known_by_its_name_and_nothing_else_is() {
        for (name, canary) in Canary::ALL {
            assert_eq!(named(name), Ok(*canary));
        }
        let said = named("skip_sync").expect_err("an underscore");
        assert!(Canary::ALL.iter().all(|(name, _)| said.contains(name)), "{said}");
    }
}
