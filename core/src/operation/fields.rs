//! What each operation says: its fields, and what they are made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    audit_key::AuditPublicKey,
    document::FlagDocument,
    environment::{EnvironmentSpec, ProjectSpec},
    flag::{FlagEnvironmentSpec, Rule, Serve, WeightedVariant},
    identity::{ClusterId, History, LogPosition},
    invalid::Invalid,
    key::{EnvironmentKey, FlagKey, HoldId, RuleId, SegmentKey, VariantKey},
    limits::SHORT_TEXT_BYTES_MAX,
    retention::{EdgeCatalog, HoldSpec, KeepDays, SequenceRange},
    seat::SeatRole,
    segment::{MemberList, SegmentSpec},
    signing::{SigningKeyId, SigningKeySpec},
    text::check_attribute,
    token::{SecretHash, TokenId, TokenSpec},
    version::ClusterVersion,
};

/// Declares the fields of operations.
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
    /// Fields of `signing_key.put`.
    SigningKeyPut {
        /// The key. Of one that is registered only the name can be changed.
        signing_key: SigningKeySpec,
    }
    /// Fields of `signing_key.revoke`.
    SigningKeyRevoke {
        /// The key.
        signing_key: SigningKeyId,
    }
    /// Fields of `audit.retention.put`.
    AuditRetentionPut {
        /// For how many days records of each kind are kept. A kind that is left out is kept for ever.
        keep_days: KeepDays,
    }
    /// Fields of `audit.hold.put`.
    AuditHoldPut {
        /// The hold.
        hold: HoldSpec,
    }
    /// Fields of `audit.hold.delete`.
    AuditHoldDelete {
        /// The hold.
        hold: HoldId,
    }
    /// Fields of `audit.remove`. Its `if_revision` is the revision of the rule by which the records were picked.
    AuditRemove {
        /// The records, in order.
        ranges: Vec<SequenceRange>,
        /// How many those are.
        records: u64,
        /// All of them are older than this, in milliseconds since 1970 UTC.
        before_ms: i64,
    }
    /// Fields of `audit.catalog.put`. Its `if_revision` is the revision of the rule by which changes are to be removed.
    AuditCatalogPut {
        /// Which catalog it is.
        catalog: EdgeCatalog,
        /// Which of its parts, counted from 0.
        part: u32,
        /// The bytes of the part, in Base64.
        content: String,
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
    pub(super) fn check(parts: &[Self]) -> Result<(), Invalid> {
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
    pub(super) fn check_all(members: &BTreeMap<u64, Self>) -> Result<(), Invalid> {
        members.iter().try_for_each(|(id, member)| {
            for (field, text) in [("uid", &member.uid), ("peer_address", &member.peer_address)] {
                check_attribute("the text", text, SHORT_TEXT_BYTES_MAX)
                    .map_err(|invalid| invalid.under(field).under(id))?;
            }
            Ok(())
        })
    }
}
