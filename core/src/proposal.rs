//! The proposal: what a person or program asks to change, with all that is not deterministic stamped in before
//! it enters the log.

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use sha2::{Digest as _, Sha256};

use crate::{
    account::{Access, Evaluations},
    canonical::{self, Canonical},
    invalid::Invalid,
    key::ProjectKey,
    limits::{ENTRY_BYTES_MAX, OPERATIONS_MAX, REASON_BYTES_MAX, TICKET_BYTES_MAX},
    operation::Operation,
    rejection::Rejection,
    signing::ChangeSignature,
    token::{ActorType, TokenId},
};

/// What an entry of the log proposes. Its JSON is the payload of the log's envelope and is frozen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// The Raft group: 1.
    pub group: u32,
    /// Identifies the request, so that a retry is not a second change.
    pub request: RequestId,
    /// What is asked for.
    pub body: Body,
    /// What tells whether two requests ask for the same, where that is not the body: see [`Proposal::asks_sha256`].
    #[serde(default, with = "optional_hex", skip_serializing_if = "Option::is_none")]
    pub asks_sha256: Option<[u8; 32]>,
    /// The author's signature of the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<ChangeSignature>,
    /// Who asks: from the token, never from the request's body.
    pub actor: Actor,
    /// What caused it, where that is not a person's request.
    #[serde(default)]
    pub caused_by: Option<Cause>,
    /// When the leader proposed it, in milliseconds since 1970 UTC.
    pub proposed_at_ms: i64,
    /// 16 random bytes, so that the leaf hash of a removed record cannot be guessed.
    #[serde(with = "crate::hexadecimal")]
    pub salt: [u8; 16],
    /// The node that stamped it.
    pub node: u64,
}

/// What is asked for: the part of a proposal that makes two requests the same or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// A change of the state.
    Change(Change),
    /// A node's count of requests that it refused because their token was missing or no good.
    Denials(Denials),
    /// A reporter's count of evaluations.
    Evaluations(Evaluations),
    /// A node's count of reads.
    Access(Access),
}

/// One change: 1 to 100 operations, all or nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The project whose objects the operations name. `None` for operations on tokens and the cluster.
    #[serde(default)]
    pub project: Option<ProjectKey>,
    /// The edits, in order.
    pub operations: Vec<Operation>,
    /// Why.
    pub reason: String,
    /// The ticket that asked for it, where a policy wants one.
    #[serde(default)]
    pub ticket: Option<String>,
    /// No object that the change writes may be newer than this revision.
    #[serde(default)]
    pub expect_revision: Option<u64>,
}

/// Requests that a node refused for want of a good token, counted so that an attack leaves a trace of bounded size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denials {
    /// The node that counted.
    pub node: u64,
    /// The start of what is counted, in milliseconds since 1970 UTC.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
    /// How many.
    pub count: u64,
}

/// Identifies a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestId {
    /// The client's `Idempotency-Key`, or an id that the first node minted.
    pub id: String,
    /// Whether the client gave it. Such ids are scoped to the client's token.
    pub client_given: bool,
}

impl RequestId {
    /// The id under which the state remembers the request.
    pub fn scoped(&self, token: Option<&str>) -> String {
        match (self.client_given, token) {
            (true, Some(token)) => format!("{token}/{}", self.id),
            _ => self.id.clone(),
        }
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// A person, a program or the cluster.
    #[serde(rename = "type")]
    pub actor_type: ActorType,
    /// The actor's id.
    pub id: String,
    /// A name for people.
    #[serde(default)]
    pub name: String,
    /// The groups it belongs to.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The token that was used. `None` only for the cluster itself.
    #[serde(default)]
    pub token: Option<TokenId>,
}

impl Actor {
    /// The cluster itself, as a node speaks for it.
    pub fn system(node: u64) -> Self {
        Self {
            actor_type: ActorType::System,
            id: format!("node-{node}"),
            name: String::new(),
            groups: Vec::new(),
            token: None,
        }
    }
}

/// What caused a proposal, where that is not a person's request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    /// The kind of cause.
    pub kind: CauseKind,
    /// Which one.
    pub id: String,
}

/// The kinds of cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// A schedule fell due.
    Schedule,
    /// A ramp took its next step.
    Ramp,
    /// A guard tripped.
    Guard,
    /// An approval completed it.
    Approval,
    /// It takes an earlier change back.
    Rollback,
    /// A file was imported.
    Import,
}

impl Change {
    /// Checks what needs no state. A faulty change is refused before it enters the log; `apply` checks again.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.operations.is_empty() || self.operations.len() > OPERATIONS_MAX {
            return Err(Invalid::new(
                "/operations",
                format!(
                    "a change has 1 to {OPERATIONS_MAX} operations, not {}; split it",
                    self.operations.len()
                ),
            ));
        }
        if self.operations.len() > 1
            && self.operations.iter().any(|operation| matches!(operation, Operation::AuditRemove(_)))
        {
            return Err(Invalid::new(
                "/operations",
                "records are removed by a change of their own, so that no entry has too much to do",
            ));
        }
        if self.reason.trim().is_empty() || self.reason.len() > REASON_BYTES_MAX {
            return Err(Invalid::new(
                "/reason",
                format!("say why in 1 to {REASON_BYTES_MAX} bytes; it is kept in the audit log"),
            ));
        }
        if let Some(ticket) = &self.ticket
            && (ticket.is_empty() || ticket.len() > TICKET_BYTES_MAX || ticket.chars().any(char::is_control))
        {
            return Err(Invalid::new(
                "/ticket",
                format!("a ticket has 1 to {TICKET_BYTES_MAX} bytes and no control characters"),
            ));
        }
        Ok(())
    }

    /// Checks each operation as far as that needs no state, so that what is wrong in itself is refused before it
    /// enters the log. `apply` checks the same again, after what comes before it in the order of precedence.
    ///
    /// # Errors
    /// [`Invalid`] with the path to the first fault.
    pub fn validate_operations(&self) -> Result<(), Invalid> {
        let mut indexed = self.operations.iter().enumerate();
        indexed.try_for_each(|(index, operation)| {
            operation.validate().map_err(|invalid| invalid.under(index).under("operations"))
        })
    }
}

/// The cluster version that allows a change to be signed.
const SIGNATURES_SINCE: u32 = 2;
/// The cluster version that allows reports.
const REPORTS_SINCE: u32 = 2;

impl Body {
    /// What a cluster of this version does not know yet of the body, or of the signature that it comes with. Members
    /// that run an older version can't read it: it must not enter the log, and `apply` refuses it if it did. 0, before the
    /// founding, stands for 1.
    ///
    /// # Errors
    /// [`Rejection::UnsupportedOperation`] for the first such part.
    pub fn check_cluster_version(
        &self,
        signature: Option<&ChangeSignature>,
        cluster_version: u32,
    ) -> Result<(), Rejection> {
        let allowed = cluster_version.max(1);
        let needed = |needs: u32, path: String, operation: &str| match needs <= allowed {
            true => Ok(()),
            false => Err(Rejection::UnsupportedOperation { path, operation: operation.to_owned(), needs }),
        };
        match self {
            Self::Change(change) => {
                for (index, operation) in change.operations.iter().enumerate() {
                    let needs = operation.needs_cluster_version();
                    needed(needs, format!("/operations/{index}"), operation.name())?;
                }
            }
            Self::Denials(_) => {}
            Self::Evaluations(_) => needed(REPORTS_SINCE, String::new(), "evaluations")?,
            Self::Access(_) => needed(REPORTS_SINCE, String::new(), "access")?,
        }
        match signature {
            Some(_) => needed(SIGNATURES_SINCE, "/signature".to_owned(), "a signature"),
            None => Ok(()),
        }
    }

    /// Whether it is a report: told from others by its reporter, boot and number, and never by the request's id.
    pub fn is_report(&self) -> bool {
        matches!(self, Self::Evaluations(_) | Self::Access(_))
    }

    /// The SHA-256 that tells whether two requests ask for the same. What handlers mint is left out of it: the
    /// secret and the id of a new token differ each time the same request is repeated.
    pub fn sha256(&self) -> [u8; 32] {
        self.texts().sha256
    }

    pub(crate) fn texts(&self) -> BodyTexts {
        let operations: Vec<Canonical> = match self {
            Self::Change(change) => change.operations.iter().map(Operation::without_secrets).collect(),
            Self::Denials(_) | Self::Evaluations(_) | Self::Access(_) => Vec::new(),
        };
        let mints = |change: &Change| change.operations.iter().any(Operation::carries_a_secret);
        let canonical = match self {
            Self::Change(change) if mints(change) => Ok(self.without_minted().to_string()),
            Self::Change(Change { project, operations: _, reason, ticket, expect_revision }) => {
                canonical::to_string(&ChangeForm {
                    kind: "change",
                    project,
                    operations: &operations,
                    reason,
                    ticket,
                    expect_revision: *expect_revision,
                })
            }
            Self::Denials(_) | Self::Evaluations(_) | Self::Access(_) => canonical::to_string(self),
        };
        // A body is made of strings, integers and JSON values: nothing in it can fail to serialize.
        let sha256 = Sha256::digest(canonical.unwrap_or_default().as_bytes()).into();
        BodyTexts { sha256, operations }
    }

    fn without_minted(&self) -> Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        let operations = value.get_mut("operations").and_then(Value::as_array_mut).into_iter().flatten();
        for operation in operations.filter_map(Value::as_object_mut) {
            if operation.remove("secret_sha256").is_some()
                && let Some(token) = operation.get_mut("token").and_then(Value::as_object_mut)
            {
                token.remove("id");
            }
        }
        value
    }
}

/// A proposal of a change whose operations are still text: nearly every entry of a log. An enum that is told by one of
/// its fields can only be read by way of a tree, which costs more than to judge the proposal; so this is tried first.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeProposal<'a> {
    group: u32,
    request: RequestId,
    #[serde(borrow)]
    body: ChangeText<'a>,
    #[serde(default, with = "optional_hex")]
    asks_sha256: Option<[u8; 32]>,
    #[serde(default)]
    signature: Option<ChangeSignature>,
    actor: Actor,
    #[serde(default)]
    caused_by: Option<Cause>,
    proposed_at_ms: i64,
    #[serde(with = "crate::hexadecimal")]
    salt: [u8; 16],
    node: u64,
}

/// A [`Body::Change`] whose operations are still text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeText<'a> {
    #[serde(rename = "kind")]
    _kind: OnlyChange,
    #[serde(default)]
    project: Option<ProjectKey>,
    #[serde(borrow)]
    operations: Vec<&'a RawValue>,
    reason: String,
    #[serde(default)]
    ticket: Option<String>,
    #[serde(default)]
    expect_revision: Option<u64>,
}

/// The kind of body that this is of.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum OnlyChange {
    Change,
}

impl ChangeProposal<'_> {
    /// `None` where it is none, or the whole way is needed to say what is wrong.
    fn read(bytes: &[u8]) -> Option<Proposal> {
        let ChangeProposal {
            group,
            request,
            body,
            asks_sha256,
            signature,
            actor,
            caused_by,
            proposed_at_ms,
            salt,
            node,
        } = serde_json::from_slice(bytes).ok()?;
        let ChangeText { _kind: OnlyChange::Change, project, operations, reason, ticket, expect_revision } =
            body;
        let operations = operations.iter().map(|text| Operation::from_text(text.get()));
        let operations = operations.collect::<Result<_, _>>().ok()?;
        let body = Body::Change(Change { project, operations, reason, ticket, expect_revision });
        Some(Proposal {
            group,
            request,
            body,
            asks_sha256,
            signature,
            actor,
            caused_by,
            proposed_at_ms,
            salt,
            node,
        })
    }
}

/// The body of a [`Body::Change`] around the texts of its operations.
#[derive(Serialize)]
struct ChangeForm<'a> {
    kind: &'static str,
    project: &'a Option<ProjectKey>,
    operations: &'a [Canonical],
    reason: &'a str,
    ticket: &'a Option<String>,
    expect_revision: Option<u64>,
}

/// What `apply` needs of a body as text.
pub(crate) struct BodyTexts {
    /// See [`Body::sha256`].
    pub sha256: [u8; 32],
    /// The operations without secrets.
    pub operations: Vec<Canonical>,
}

/// An entry of the log that this version does not understand: the node must stop, for to skip it would make this
/// node's state another one than its peers'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownProposal(String);

impl std::fmt::Display for UnknownProposal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the log holds a proposal that this version does not understand ({}); run the version that its peers run",
            self.0
        )
    }
}

impl std::error::Error for UnknownProposal {}

/// Why a proposal can't enter the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// It has this many bytes, which is more than an entry may have.
    TooLarge(usize),
    /// No member could read it back.
    Unreadable(String),
}

impl std::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge(bytes) => {
                write!(f, "the change has {bytes} bytes; one has at most {ENTRY_BYTES_MAX}; split it")
            }
            Self::Unreadable(why) => {
                write!(f, "the change could not be read back from the log ({why}); make it simpler")
            }
        }
    }
}

impl std::error::Error for EncodeError {}

impl Proposal {
    /// The bytes that enter the log: this is the only way to them. What they hold is read back here first, for an
    /// entry that can't be read would stop every member, for ever.
    ///
    /// # Errors
    /// [`EncodeError`] when they are more than an entry may have, or do not read back as what they were.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let bytes = serde_json::to_vec(self).map_err(|error| EncodeError::Unreadable(error.to_string()))?;
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(EncodeError::TooLarge(bytes.len()));
        }
        match Self::decode(&bytes) {
            Ok(read) if read == *self => Ok(bytes),
            Ok(_) => Err(EncodeError::Unreadable("it would read as something else".to_owned())),
            Err(UnknownProposal(why)) => Err(EncodeError::Unreadable(why)),
        }
    }

    /// Reads what [`Proposal::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, UnknownProposal> {
        match ChangeProposal::read(bytes) {
            Some(proposal) => Ok(proposal),
            None => serde_json::from_slice(bytes).map_err(|error| UnknownProposal(error.to_string())),
        }
    }

    /// The id under which the state remembers the request.
    pub fn scoped_request_id(&self) -> String {
        self.request.scoped(self.actor.token.as_deref())
    }

    /// The SHA-256 that tells whether two requests with one id ask for the same: that of the body, unless the proposal
    /// states another. A merge patch does: it is laid over the newest state before it is proposed, so the same patch
    /// sent again makes another body.
    pub fn asks_sha256(&self) -> [u8; 32] {
        self.asks_sha256.unwrap_or_else(|| self.body.sha256())
    }
}

/// A hash in hexadecimal, where there is one.
mod optional_hex {
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    struct Hash(#[serde(with = "hex")] [u8; 32]);

    pub fn serialize<S: Serializer>(hash: &Option<[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
        match hash {
            Some(hash) => hex::serialize(hash, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 32]>, D::Error> {
        Ok(Option::<Hash>::deserialize(deserializer)?.map(|hash| hash.0))
    }
}
