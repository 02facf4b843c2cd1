//! Operations: the edits that a change is made of.
//!
//! Their JSON is what the API takes, what the log holds and what records keep: it is frozen. A field may be added
//! with a default; an operation that means something new gets a new name and a cluster version that allows it.

mod fields;

use std::{borrow::Cow, collections::BTreeMap};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, IgnoredAny},
};
use serde_json::Value;

pub use self::fields::*;
use crate::{
    canonical::Canonical,
    configuration::{check_target, check_weights},
    flag::{AuditEvaluations, Serve},
    invalid::Invalid,
    limits::SHORT_TEXT_BYTES_MAX,
    parse::{self, TakeFields, Without},
    retention::{check_part, check_removal},
    seat,
    segment::{Segment, check_members},
    signing::check_signing_key_id,
    text::check_text,
    token::check_token_id,
};

/// The name of an operation, whatever else is in the object.
#[derive(Deserialize)]
pub(crate) struct Op<'a> {
    #[serde(borrow)]
    pub op: Cow<'a, str>,
}

/// An operation's fields with its name among them.
#[derive(Serialize)]
struct Tagged<'a, T> {
    op: &'static str,
    #[serde(flatten)]
    fields: &'a T,
}

/// Reads an operation's fields from the text of the whole.
fn without_op<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, serde_json::Error> {
    struct TakeOp;

    impl<'de> TakeFields<'de> for TakeOp {
        fn takes(&self, name: &str) -> bool {
            name == "op"
        }

        fn take<D: Deserializer<'de>>(&mut self, _name: &str, value: D) -> Result<(), D::Error> {
            IgnoredAny::deserialize(value).map(drop)
        }
    }

    let mut inner = serde_json::Deserializer::from_str(text);
    let fields = T::deserialize(Without { inner: &mut inner, taker: &mut TakeOp })?;
    inner.end()?;
    Ok(fields)
}

/// Declares the operations: their wire names, in one table, and the struct that holds each one's fields.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:literal => $variant:ident,)*) => {
        /// One edit. In JSON an object with the field `op` beside the operation's own fields.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Operation {
            $($(#[$doc])* $variant($variant),)*
        }

        impl Operation {
            /// The wire names of all operations.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The operation's wire name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// Reads an operation; the error points at the field at fault.
            pub fn from_value(value: Value) -> Result<Self, Invalid> {
                let Value::Object(mut object) = value else {
                    return Err(Invalid::here("an operation is a JSON object with the field `op`"));
                };
                let name = match object.remove("op") {
                    Some(Value::String(name)) => name,
                    Some(_) => return Err(Invalid::new("/op", "`op` is the name of an operation, a string")),
                    None => return Err(Invalid::new("", format!("an operation needs the field `op`: one of {}", Self::NAMES.join(", ")))),
                };
                match name.as_str() {
                    $($name => parse::from_value(Value::Object(object)).map(Self::$variant),)*
                    _ => Err(Invalid::new("/op", format!("there is no operation {name:?}; use one of {}", Self::NAMES.join(", ")))),
                }
            }

            /// The `if_revision` that the operation carries.
            pub fn if_revision(&self) -> Option<u64> {
                match self { $(Self::$variant(fields) => fields.if_revision,)* }
            }

            /// Reads the JSON of an operation that was written by this program: faults are told, but not pointed at.
            ///
            /// # Errors
            /// When it is no operation.
            pub(crate) fn from_text(text: &str) -> Result<Self, serde_json::Error> {
                let Op { op } = serde_json::from_str(text)?;
                match op.as_ref() {
                    $($name => without_op(text).map(Self::$variant),)*
                    _ => Err(serde_json::Error::custom(format!("there is no operation {op:?}"))),
                }
            }

            fn to_canonical(&self) -> Result<Canonical, serde_json::Error> {
                match self { $(Self::$variant(fields) => Canonical::of(&Tagged { op: $name, fields }),)* }
            }
        }
    };
}

operations! {
    /// Creates or replaces the project.
    "project.put" => ProjectPut,
    /// Deletes the project and all that is in it.
    "project.delete" => ProjectDelete,
    /// Creates or replaces an environment.
    "environment.put" => EnvironmentPut,
    /// Deletes an environment and every flag's configuration in it.
    "environment.delete" => EnvironmentDelete,
    /// Creates a flag, or replaces its definition and the environments that it names.
    "flag.put" => FlagPut,
    /// Replaces a flag's configuration in one environment.
    "flag.configure" => FlagConfigure,
    /// Turns a flag on in one environment.
    "flag.enable" => FlagEnable,
    /// Turns a flag off in one environment: the kill switch.
    "flag.disable" => FlagDisable,
    /// Copies a flag's configuration from one environment to another.
    "flag.copy" => FlagCopy,
    /// Takes a flag out of service; it answers FLAG_NOT_FOUND until it is restored.
    "flag.archive" => FlagArchive,
    /// Brings an archived or deleted flag back, disabled everywhere.
    "flag.restore" => FlagRestore,
    /// Deletes a flag. Its key comes back only by `flag.restore`.
    "flag.delete" => FlagDelete,
    /// Creates or replaces a rule.
    "rule.put" => RulePut,
    /// Deletes a rule.
    "rule.delete" => RuleDelete,
    /// Sets the weights of a rule's or the default's rollout.
    "rollout.set" => RolloutSet,
    /// Sets what is served where no target and no rule matches.
    "default.set" => DefaultSet,
    /// Adds values to a target.
    "targets.add" => TargetsAdd,
    /// Removes values from the targets.
    "targets.remove" => TargetsRemove,
    /// Creates or replaces a segment.
    "segment.put" => SegmentPut,
    /// Deletes a segment.
    "segment.delete" => SegmentDelete,
    /// Adds members to a segment's list.
    "segment.members.add" => SegmentMembersAdd,
    /// Removes members from a segment's list.
    "segment.members.remove" => SegmentMembersRemove,
    /// Creates a token.
    "token.create" => TokenCreate,
    /// Revokes a token.
    "token.revoke" => TokenRevoke,
    /// Founds the cluster: the first entry of every history.
    "system.bootstrap" => SystemBootstrap,
    /// States a change of membership before Raft makes it.
    "system.membership" => SystemMembership,
    /// States a transfer of leadership before Raft makes it.
    "system.leadership" => SystemLeadership,
    /// Raises the cluster version.
    "system.cluster_version" => SystemClusterVersion,
    /// Gives a node id away, to whoever holds the join token.
    "system.member.invite" => MemberInvite,
    /// Takes in the node that came with the join token, which is used up by that.
    "system.member.admit" => MemberAdmit,
    /// Lets a learner vote once it has caught up.
    "system.member.promote" => MemberPromote,
    /// Removes a member, and takes its id out of use.
    "system.member.remove" => MemberRemove,
    /// Founds a cluster on a catalog that came from a backup: the first entry of its history.
    "system.restore" => SystemRestore,
    /// Makes the survivor of a lost quorum a cluster of its own, with a history of its own.
    "system.recover" => SystemRecover,
    /// Lets a node sign checkpoints of the audit log with a key.
    "system.audit_key.add" => AuditKeyAdd,
    /// Lets a node sign nothing more with a key.
    "system.audit_key.retire" => AuditKeyRetire,
    /// Registers the public key that an actor signs changes with.
    "signing_key.put" => SigningKeyPut,
    /// Revokes a signing key, for good.
    "signing_key.revoke" => SigningKeyRevoke,
    /// Says for how long records of the audit log are kept.
    "audit.retention.put" => AuditRetentionPut,
    /// Puts a legal hold on a stretch of the audit log, or changes one.
    "audit.hold.put" => AuditHoldPut,
    /// Lifts a legal hold.
    "audit.hold.delete" => AuditHoldDelete,
    /// Removes records from the audit log: their leaves stay.
    "audit.remove" => AuditRemove,
    /// Puts a part of the catalog into the audit log that the kept changes go on from.
    "audit.catalog.put" => AuditCatalogPut,
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        self.to_canonical().map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Operation {
    /// Checks what needs no state: what is wrong in itself is refused before it enters the log.
    ///
    /// # Errors
    /// [`Invalid`] with the path to the first fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        let (field, checked) = match self {
            Self::ProjectPut(fields) => ("project", fields.project.validate()),
            Self::EnvironmentPut(fields) => ("environment", fields.environment.validate()),
            Self::FlagPut(fields) => ("flag", fields.flag.checked().map(drop)),
            Self::FlagConfigure(fields) => ("configuration", fields.configuration.validate(&fields.flag)),
            Self::FlagCopy(fields) => ("parts", CopyPart::check(&fields.parts)),
            Self::RulePut(fields) if fields.before.as_ref() == Some(&fields.rule.id) => {
                ("before", Err(Invalid::here("a rule can't stand before itself; name another one")))
            }
            Self::RulePut(fields) => ("rule", fields.rule.validate()),
            Self::RolloutSet(fields) => ("weights", check_weights(&fields.weights)),
            Self::DefaultSet(fields) => ("serve", fields.serve.as_ref().map_or(Ok(()), Serve::validate)),
            // The fields of a target are the operation's own.
            Self::TargetsAdd(fields) => return check_target(&fields.by, &fields.values),
            Self::TargetsRemove(fields) => return check_target(&fields.by, &fields.values),
            Self::SegmentPut(fields) => ("segment", Segment::new(fields.segment.clone()).map(drop)),
            Self::SegmentMembersAdd(fields) => ("members", check_members(&fields.members)),
            Self::SegmentMembersRemove(fields) => ("members", check_members(&fields.members)),
            Self::TokenCreate(fields) => ("token", fields.token.validate()),
            Self::TokenRevoke(fields) => ("token", check_token_id(&fields.token)),
            Self::SystemBootstrap(fields) => ("members", Member::check_all(&fields.members)),
            Self::SystemMembership(fields) => ("members", Member::check_all(&fields.members)),
            Self::MemberInvite(fields) => return seat::validate_invitation(fields),
            Self::MemberAdmit(fields) => return seat::validate_admission(fields),
            Self::SystemRestore(fields) => return check_way_back(&fields.operator, &fields.members),
            Self::SystemRecover(fields) => return check_way_back(&fields.operator, &fields.members),
            Self::SigningKeyPut(fields) => ("signing_key", fields.signing_key.validate()),
            Self::SigningKeyRevoke(fields) => ("signing_key", check_signing_key_id(&fields.signing_key)),
            Self::AuditRetentionPut(fields) => ("keep_days", fields.keep_days.validate()),
            Self::AuditHoldPut(fields) => ("hold", fields.hold.validate()),
            Self::AuditRemove(fields) => return check_removal(&fields.ranges, fields.records),
            Self::AuditCatalogPut(fields) => return check_part(fields),
            // These are made of keys and numbers, which were checked when they were read.
            Self::ProjectDelete(_)
            | Self::EnvironmentDelete(_)
            | Self::FlagEnable(_)
            | Self::FlagDisable(_)
            | Self::FlagArchive(_)
            | Self::FlagRestore(_)
            | Self::FlagDelete(_)
            | Self::RuleDelete(_)
            | Self::SegmentDelete(_)
            | Self::SystemLeadership(_)
            | Self::SystemClusterVersion(_)
            | Self::MemberPromote(_)
            | Self::MemberRemove(_)
            | Self::AuditKeyAdd(_)
            | Self::AuditKeyRetire(_)
            | Self::AuditHoldDelete(_) => return Ok(()),
        };
        checked.map_err(|invalid| invalid.under(field))
    }

    /// The cluster version that allows the operation.
    pub fn needs_cluster_version(&self) -> u32 {
        match self {
            // Members of version 1 can't read a flag whose evaluations are recorded.
            Self::FlagPut(fields) if fields.flag.definition.audit_evaluations != AuditEvaluations::None => 2,
            Self::AuditKeyAdd(_)
            | Self::AuditKeyRetire(_)
            | Self::SigningKeyPut(_)
            | Self::SigningKeyRevoke(_)
            | Self::AuditRetentionPut(_)
            | Self::AuditHoldPut(_)
            | Self::AuditHoldDelete(_)
            | Self::AuditRemove(_)
            | Self::AuditCatalogPut(_) => 2,
            // The first release knew them; and whoever restores or recovers a cluster begins one that has no older members.
            _ => 1,
        }
    }

    /// Whether it carries the hash of a secret that its handler minted.
    pub(crate) fn carries_a_secret(&self) -> bool {
        matches!(self, Self::TokenCreate(_) | Self::MemberInvite(_) | Self::MemberAdmit(_))
    }

    /// The operation without what must not be shown, the hash of a new token's secret: what records keep.
    pub fn without_secrets(&self) -> Canonical {
        let canonical = if self.carries_a_secret() {
            let mut value = serde_json::to_value(self).unwrap_or_default();
            if let Some(object) = value.as_object_mut() {
                object.remove("secret_sha256");
            }
            Canonical::of(&value)
        } else {
            self.to_canonical()
        };
        // An operation is made of strings, integers and JSON values: nothing in it can fail to serialize.
        canonical.unwrap_or_else(|_| Canonical::null())
    }
}

fn check_way_back(operator: &str, members: &BTreeMap<u64, Member>) -> Result<(), Invalid> {
    check_operator(operator).map_err(|invalid| invalid.under("operator"))?;
    Member::check_all(members).map_err(|invalid| invalid.under("members"))
}

/// Checks who restored or recovered a cluster. That can't be told from a token, so a name has to be there.
///
/// # Errors
/// When there is none, or none that can be kept.
pub fn check_operator(operator: &str) -> Result<(), Invalid> {
    if operator.trim().is_empty() {
        return Err(Invalid::here("say who does this; it is kept in the audit log"));
    }
    check_text("an operator", operator, SHORT_TEXT_BYTES_MAX)
}
