//! Operations: the edits that a change is made of.
//!
//! Their JSON is what the API takes, what the log holds and what records keep: it is frozen. A field may be added
//! with a default; an operation that means something new gets a new name and a cluster version that allows it.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, IgnoredAny},
};
use serde_json::Value;

use crate::{
    audit_key::AuditPublicKey,
    canonical::Canonical,
    configuration::{check_target, check_weights},
    document::FlagDocument,
    environment::{EnvironmentSpec, ProjectSpec},
    flag::{FlagEnvironmentSpec, Rule, Serve, WeightedVariant},
    identity::{ClusterId, History, LogPosition},
    invalid::Invalid,
    key::{EnvironmentKey, FlagKey, RuleId, SegmentKey, VariantKey},
    limits::SHORT_TEXT_BYTES_MAX,
    parse::{self, TakeFields, Without},
    seat::{self, SeatRole},
    segment::{MemberList, Segment, SegmentSpec, check_members},
    text::{check_attribute, check_text},
    token::{SecretHash, TokenId, TokenSpec, check_token_id},
    version::ClusterVersion,
};

/// The name of an operation, whatever else is in the object.
#[derive(Deserialize)]
struct Op<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
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

/// Declares the fields of operations that write one environment of a flag, or the flag itself.
macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $type,)*
                /// The revision that the written object must have; 0: it must not exist. Absent: any.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub if_revision: Option<u64>,
            }
        )*
    };
}

fields! {
    /// Fields of `project.put`.
    ProjectPut {
        /// The project; its key is the project of the proposal.
        project: ProjectSpec,
    }
    /// Fields of `project.delete`.
    ProjectDelete {}
    /// Fields of `environment.put`.
    EnvironmentPut {
        /// The environment.
        environment: EnvironmentSpec,
    }
    /// Fields of `environment.delete`.
    EnvironmentDelete {
        /// The environment.
        environment: EnvironmentKey,
    }
    /// Fields of `flag.put`.
    FlagPut {
        /// The flag.
        flag: FlagDocument,
    }
    /// Fields of `flag.configure`.
    FlagConfigure {
        /// The flag.
        flag: FlagKey,
        /// The environment.
        environment: EnvironmentKey,
        /// Its new configuration.
        configuration: FlagEnvironmentSpec,
    }
    /// Fields of `flag.enable`.
    FlagEnable {
        /// The flag.
        flag: FlagKey,
        /// The environment.
        environment: EnvironmentKey,
    }
    /// Fields of `flag.disable`.
    FlagDisable {
        /// The flag.
        flag: FlagKey,
        /// The environment.
        environment: EnvironmentKey,
    }
    /// Fields of `flag.copy`.
    FlagCopy {
        /// The flag.
        flag: FlagKey,
        /// The environment to copy from.
        from: EnvironmentKey,
        /// The environment to copy to.
        to: EnvironmentKey,
        /// The parts to copy. Default: all but `enabled`, so that a copy turns nothing on.
        #[serde(default = "CopyPart::all_but_enabled")]
        parts: Vec<CopyPart>,
    }
    /// Fields of `flag.archive`.
    FlagArchive {
        /// The flag.
        flag: FlagKey,
    }
    /// Fields of `flag.restore`.
    FlagRestore {
        /// The flag.
        flag: FlagKey,
    }
    /// Fields of `flag.delete`.
    FlagDelete {
        /// The flag.
        flag: FlagKey,
    }
    /// Fields of `rule.put`.
    RulePut {
        /// The flag.
        flag: FlagKey,
        /// The environment.
        environment: EnvironmentKey,
        /// The rule. One with its id is replaced where it stands, unless `before` moves it.
        rule: Rule,
        /// The rule to put it before. Default: where it stands, a new one at the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<RuleId>,
    }
    /// Fields of `rule.delete`.
    RuleDelete {
        /// The flag.
        flag: FlagKey,
        /// The environment.
        environment: EnvironmentKey,
        /// The rule.
        rule: RuleId,
    }
    /// Fields of `rollout.set`.
    RolloutSet {
        /// The flag.
        flag: FlagKey,
        /// The environment.
        environment: EnvironmentKey,
        /// The rule that rolls out. Absent: the default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<RuleId>,
        /// The new weights.
        weights: Vec<WeightedVariant>,
    }
    /// Fields of `default.set`.
    DefaultSet {
        /// The flag.
        flag: FlagKey,
        /// The environment.
        environment: EnvironmentKey,
        /// What is served; `null`: the caller's code default. Never left out, for that would be a `null` by mistake.
        #[serde(deserialize_with = "Option::deserialize")]
        serve: Option<Serve>,
    }
    /// Fields of `targets.add`.
    TargetsAdd {
        /// The flag.
        flag: FlagKey,
        /// The environment.
        environment: EnvironmentKey,
        /// The attribute whose values are listed. Default: `targetingKey`.
        #[serde(default = "crate::flag::targeting_key")]
        by: String,
        /// The variant they get. A value that another target of the same attribute lists moves here.
        variant: VariantKey,
        /// The values.
        values: Vec<String>,
    }
    /// Fields of `targets.remove`.
    TargetsRemove {
        /// The flag.
        flag: FlagKey,
        /// The environment.
        environment: EnvironmentKey,
        /// The attribute whose values are listed. Default: `targetingKey`.
        #[serde(default = "crate::flag::targeting_key")]
        by: String,
        /// The values.
        values: Vec<String>,
    }
    /// Fields of `segment.put`.
    SegmentPut {
        /// The segment.
        segment: SegmentSpec,
    }
    /// Fields of `segment.delete`.
    SegmentDelete {
        /// The segment.
        segment: SegmentKey,
    }
    /// Fields of `segment.members.add`.
    SegmentMembersAdd {
        /// The segment.
        segment: SegmentKey,
        /// The list.
        list: MemberList,
        /// The members.
        members: Vec<String>,
    }
    /// Fields of `segment.members.remove`.
    SegmentMembersRemove {
        /// The segment.
        segment: SegmentKey,
        /// The list.
        list: MemberList,
        /// The members.
        members: Vec<String>,
    }
    /// Fields of `token.create`.
    TokenCreate {
        /// The token.
        token: TokenSpec,
        /// The SHA-256 of its secret.
        secret_sha256: SecretHash,
    }
    /// Fields of `token.revoke`.
    TokenRevoke {
        /// The token.
        token: TokenId,
    }
    /// Fields of `system.bootstrap`.
    SystemBootstrap {
        /// The cluster's identity.
        cluster: ClusterId,
        /// The history that begins.
        history: History,
        /// The cluster version that it begins with: the newest that the founder knows.
        cluster_version: ClusterVersion,
        /// The members, by node id.
        members: BTreeMap<u64, Member>,
    }
    /// Fields of `system.membership`.
    SystemMembership {
        /// The members as they will be, by node id.
        members: BTreeMap<u64, Member>,
    }
    /// Fields of `system.leadership`.
    SystemLeadership {
        /// The node that shall lead.
        to: u64,
    }
    /// Fields of `system.cluster_version`.
    SystemClusterVersion {
        /// The new version. It never falls.
        version: ClusterVersion,
    }
    /// Fields of `system.member.invite`.
    MemberInvite {
        /// The id that is given away. One that was used before never is again.
        node_id: u64,
        /// What the member shall be once it is there. Default: a voter.
        #[serde(default)]
        role: SeatRole,
        /// The SHA-256 of its join token.
        secret_sha256: SecretHash,
        /// How long the token is good for, in milliseconds of record time.
        expires_in_ms: u64,
    }
    /// Fields of `system.member.admit`.
    MemberAdmit {
        /// The id that was given away.
        node_id: u64,
        /// The SHA-256 of the join token that the node came with.
        secret_sha256: SecretHash,
        /// The identity that its data folder minted.
        uid: String,
        /// Where its peers reach it.
        peer_address: String,
    }
    /// Fields of `system.member.promote`.
    MemberPromote {
        /// The member.
        node_id: u64,
    }
    /// Fields of `system.member.remove`.
    MemberRemove {
        /// The member.
        node_id: u64,
        /// The member that takes its place: it goes no sooner than that one votes. Default: none is waited for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        successor: Option<u64>,
    }
    /// Fields of `system.restore`.
    SystemRestore {
        /// The new cluster's identity.
        cluster: ClusterId,
        /// The history that begins.
        history: History,
        /// The members, by node id.
        members: BTreeMap<u64, Member>,
        /// The backup.
        from: RestoredFrom,
        /// Who restored it, as that person gave it.
        operator: String,
    }
    /// Fields of `system.recover`.
    SystemRecover {
        /// The new cluster's identity.
        cluster: ClusterId,
        /// The history that begins.
        history: History,
        /// The members, by node id: the survivor alone.
        members: BTreeMap<u64, Member>,
        /// The cluster that lost its quorum, and what the survivor had of it.
        from: RecoveredFrom,
        /// Who did it, as that person gave it.
        operator: String,
    }
    /// Fields of `system.audit_key.add`.
    AuditKeyAdd {
        /// The node.
        node: u64,
        /// Its new key. The node keeps those that it has.
        public_key: AuditPublicKey,
    }
    /// Fields of `system.audit_key.retire`.
    AuditKeyRetire {
        /// The node.
        node: u64,
        /// The key. The node needs another one that is active.
        public_key: AuditPublicKey,
    }
}

/// A part of a flag's configuration that `flag.copy` can copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyPart {
    /// Whether it is on.
    Enabled,
    /// The prerequisites.
    Prerequisites,
    /// The targets.
    Targets,
    /// The rules.
    Rules,
    /// What is served by default, and the off and safe variants.
    Default,
}

impl CopyPart {
    /// Checks a list of parts. The path is relative to it.
    fn check(parts: &[Self]) -> Result<(), Invalid> {
        if parts.is_empty() {
            return Err(Invalid::here(
                "name at least one part, or leave the field out to copy all but `enabled`",
            ));
        }
        let twice =
            parts.iter().enumerate().find(|(index, part)| parts.iter().take(*index).any(|p| p == *part));
        match twice {
            Some((index, _)) => Err(Invalid::here("this part is named already; leave it out").under(index)),
            None => Ok(()),
        }
    }

    /// The fields of a configuration that it is made of.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Enabled => &["enabled"],
            Self::Prerequisites => &["prerequisites"],
            Self::Targets => &["targets"],
            Self::Rules => &["rules"],
            Self::Default => &["default", "off_variant", "safe_variant"],
        }
    }

    fn all_but_enabled() -> Vec<Self> {
        vec![Self::Prerequisites, Self::Targets, Self::Rules, Self::Default]
    }
}

/// A cluster member as records name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The identity that its data folder minted.
    pub uid: String,
    /// Where its peers reach it.
    pub peer_address: String,
    /// Whether it votes.
    pub voter: bool,
}

/// What a restored catalog was a backup of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoredFrom {
    /// The cluster that the backup was made of.
    pub cluster: ClusterId,
    /// The history that the backup belongs to. It ends here: what happened in it after the backup is lost.
    pub history: History,
    /// The revision of the backup.
    pub revision: u64,
    /// The state's digest at that revision, in hexadecimal.
    pub digest: String,
    /// The audit records in the backup.
    pub audit_size: u64,
    /// The root of their tree.
    #[serde(with = "hex")]
    pub audit_root: [u8; 32],
    /// When the backup was made, in milliseconds since 1970 UTC, by the clock of the node that made it.
    pub made_at_ms: i64,
}

/// What the survivor of a lost quorum had.
///
/// Whatever the cluster acknowledged beyond `last` is lost. What lies between `committed` and `last` is kept,
/// although the survivor does not know whether it was ever acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveredFrom {
    /// The cluster that lost its quorum.
    pub cluster: ClusterId,
    /// Its history. It ends here.
    pub history: History,
    /// The last entry that the survivor knows to be committed.
    pub committed: LogPosition,
    /// The revision after that entry.
    pub committed_revision: u64,
    /// The last entry in the survivor's log.
    pub last: LogPosition,
    /// The revision after that entry.
    pub last_revision: u64,
}

impl Member {
    /// Checks the members of an operation. The path is relative to their map.
    fn check_all(members: &BTreeMap<u64, Self>) -> Result<(), Invalid> {
        members.iter().try_for_each(|(id, member)| {
            for (field, text) in [("uid", &member.uid), ("peer_address", &member.peer_address)] {
                check_attribute("the text", text, SHORT_TEXT_BYTES_MAX)
                    .map_err(|invalid| invalid.under(field).under(id))?;
            }
            Ok(())
        })
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
            | Self::AuditKeyRetire(_) => return Ok(()),
        };
        checked.map_err(|invalid| invalid.under(field))
    }

    /// The cluster version that allows the operation.
    pub fn needs_cluster_version(&self) -> u32 {
        match self {
            Self::AuditKeyAdd(_) | Self::AuditKeyRetire(_) => 2,
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
