//! The replicated state of one Raft group: the catalog, the tokens, the remembered requests, and the numbers that
//! order it all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::{
    audit_key::AuditKeys,
    digest::Digest,
    identity::{ClusterId, History},
    key::{HoldId, ProjectKey},
    limits::{REQUESTS_REMEMBERED_MS, REQUESTS_REMEMBERED_RECORDS},
    merkle::{Frontier, Hash},
    operation::Member,
    project::Project,
    reply::{Outcome, Reply},
    reporters::Reporters,
    retention::{Edge, HeldStretches, Hold, Retention, SequenceRange},
    seat::Seat,
    signing::{SigningKey, SigningKeyId},
    token::{SecretHash, Token, TokenId},
};

/// The state. Cheap to clone, for its maps are persistent: a clone is a consistent view at one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub(crate) meta: Meta,
    pub(crate) projects: OrdMap<ProjectKey, Arc<Project>>,
    pub(crate) tokens: OrdMap<TokenId, Arc<Token>>,
    /// Derived from `tokens`.
    pub(crate) token_ids: OrdMap<SecretHash, TokenId>,
    pub(crate) requests: RememberedRequests,
    /// By node id. Founders have one only once something about them was changed: see [`State::seat`].
    pub(crate) seats: OrdMap<u64, Arc<Seat>>,
    /// By node id.
    pub(crate) audit_keys: OrdMap<u64, Arc<AuditKeys>>,
    pub(crate) signing_keys: OrdMap<SigningKeyId, Arc<SigningKey>>,
    pub(crate) reporters: Reporters,
    pub(crate) retention: Option<Arc<Retention>>,
    pub(crate) holds: OrdMap<HoldId, Arc<Hold>>,
    pub(crate) edge: Option<Arc<Edge>>,
    /// The one that comes, as far as the log has it.
    pub(crate) next_edge: Option<Arc<Edge>>,
}

/// What the state holds beside its objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Meta {
    pub founding: Option<Arc<Founding>>,
    pub cluster_version: u32,
    pub revision: u64,
    pub last_at_ms: i64,
    pub digest: Digest,
    pub audit: Frontier,
}

/// What the cluster's first entry laid down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founding {
    /// The cluster's identity.
    pub cluster: ClusterId,
    /// The history.
    pub history: History,
    /// The members it was founded with.
    pub members: BTreeMap<u64, Member>,
}

/// What became of a request, kept so that a retry is not a second change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RememberedRequest {
    /// What the request asks for: [`crate::proposal::Proposal::asks_sha256`].
    #[serde(with = "crate::hexadecimal")]
    pub body_sha256: [u8; 32],
    /// Record time, in milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// The sequence of its record.
    pub sequence: u64,
    /// Whether the client gave the id.
    pub client_given: bool,
    /// The token it came with. Only that token's owner may ask what became of it.
    pub token: Option<TokenId>,
    /// What became of it.
    pub outcome: Outcome,
}

impl RememberedRequest {
    /// The answer to the same request when it comes again under `request_id`. Whether a flag became critical by it
    /// is not remembered: its audit record says whether it touched one.
    pub fn reply(&self, request_id: String) -> Reply {
        Reply { request_id, outcome: self.outcome.clone(), replayed: true, promotes_critical: false }
    }
}

/// The table of remembered requests, by id and in the order they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RememberedRequests {
    by_id: OrdMap<Arc<str>, Arc<RememberedRequest>>,
    /// By record sequence, which is the order of record time. Derived from `by_id`.
    by_sequence: OrdMap<u64, Arc<str>>,
    /// How many no client gave. Derived from `by_id`.
    minted: usize,
}

impl RememberedRequests {
    pub fn get(&self, id: &str) -> Option<&Arc<RememberedRequest>> {
        self.by_id.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<RememberedRequest>)> {
        self.by_id.iter()
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn minted(&self) -> usize {
        self.minted
    }

    pub fn insert(&mut self, id: Arc<str>, request: Arc<RememberedRequest>) {
        self.minted = self.minted.saturating_add(usize::from(!request.client_given));
        self.by_sequence.insert(request.sequence, id.clone());
        self.by_id.insert(id, request);
    }

    /// The oldest request, if it is over.
    pub fn oldest_over(&self, is_over: impl Fn(&RememberedRequest) -> bool) -> Option<Arc<str>> {
        let (_, id) = self.by_sequence.get_min()?;
        self.by_id.get(id).filter(|request| is_over(request)).map(|_| id.clone())
    }

    pub fn remove(&mut self, id: &str) {
        if let Some(request) = self.by_id.remove(id) {
            self.minted = self.minted.saturating_sub(usize::from(!request.client_given));
            self.by_sequence.remove(&request.sequence);
        }
    }
}

impl State {
    /// The state before the first entry.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The history; `None` before the cluster was founded.
    pub fn history(&self) -> Option<History> {
        self.meta.founding.as_ref().map(|founding| founding.history)
    }

    /// The cluster's identity; `None` before it was founded.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.meta.founding.as_ref().map(|founding| founding.cluster)
    }

    /// What the cluster's first entry laid down.
    pub fn founding(&self) -> Option<&Founding> {
        self.meta.founding.as_deref()
    }

    /// Whether it came from a backup and belongs to no history yet: see [`State::without_founding`].
    pub fn is_restored(&self) -> bool {
        self.meta.founding.is_none() && self.meta.revision > 0
    }

    /// The catalog without its founding: what a backup restores. All that is in it stays, but it belongs to no
    /// cluster and no history, so nothing can be changed until an entry of a new cluster gives it both.
    #[must_use]
    pub fn without_founding(mut self) -> Self {
        self.meta.founding = None;
        self
    }

    /// How many changes were accepted in this history and those that it goes on from.
    pub fn revision(&self) -> u64 {
        self.meta.revision
    }

    /// The sequence that the next record takes: the size of the audit log.
    pub fn sequence(&self) -> u64 {
        self.meta.audit.size()
    }

    /// The root of the audit log's Merkle tree.
    pub fn audit_root(&self) -> Hash {
        self.meta.audit.root()
    }

    /// The right edge of the audit log's Merkle tree: what it takes to go on from here.
    pub fn audit_frontier(&self) -> &Frontier {
        &self.meta.audit
    }

    /// The number of the cluster version: what every decision of `apply` is a function of. 0 before the founding.
    pub fn cluster_version(&self) -> u32 {
        self.meta.cluster_version
    }

    /// The time of the last record, in milliseconds since 1970 UTC.
    pub fn last_at_ms(&self) -> i64 {
        self.meta.last_at_ms
    }

    /// The digest of all rows, kept up to date by `apply`.
    pub fn digest(&self) -> Digest {
        self.meta.digest
    }

    /// The project.
    pub fn project(&self, key: &str) -> Option<&Arc<Project>> {
        self.projects.get(key)
    }

    /// All projects, in key order.
    pub fn projects(&self) -> impl Iterator<Item = &Arc<Project>> {
        self.projects.values()
    }

    /// The token with this id.
    pub fn token(&self, id: &str) -> Option<&Arc<Token>> {
        self.tokens.get(id)
    }

    /// The token whose secret has this hash. The look-up compares hashes of 256-bit secrets, whose prefixes an
    /// attacker can't choose; so its timing tells nothing about any secret.
    pub fn token_by_secret(&self, hash: &SecretHash) -> Option<&Arc<Token>> {
        self.tokens.get(self.token_ids.get(hash)?)
    }

    /// All tokens, in the order of their ids.
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.tokens.values()
    }

    /// What became of a request, by its scoped id, as far as it counts at `now_ms` (wall clock, since 1970 UTC): a row
    /// may linger past the time for which the request is remembered.
    pub fn remembered(&self, scoped_id: &str, now_ms: i64) -> Option<&Arc<RememberedRequest>> {
        self.request(scoped_id).filter(|first| !self.is_over(first, now_ms))
    }

    /// Whether a request is remembered no longer at `now_ms`: it is old in time, and in records, for a leader's clock that
    /// jumps makes all of them old in time at once.
    pub(crate) fn is_over(&self, request: &RememberedRequest, now_ms: i64) -> bool {
        let since_ms = now_ms.max(self.last_at_ms()).saturating_sub(REQUESTS_REMEMBERED_MS);
        let records_since = self.sequence().saturating_sub(request.sequence);
        request.at_ms < since_ms && records_since > REQUESTS_REMEMBERED_RECORDS
    }

    /// What became of a request, by its scoped id.
    pub fn request(&self, scoped_id: &str) -> Option<&Arc<RememberedRequest>> {
        self.requests.get(scoped_id)
    }

    /// What is known of a node id that was given away: one of a founder, or one of somebody who was invited.
    pub fn seat(&self, node_id: u64) -> Option<Arc<Seat>> {
        let founder =
            || self.founding()?.members.get(&node_id).map(|member| Arc::new(Seat::of_founder(member)));
        self.seats.get(&node_id).cloned().or_else(founder)
    }

    /// All node ids that were ever given away, in order, each with its seat.
    pub fn seats(&self) -> impl Iterator<Item = (u64, Arc<Seat>)> + '_ {
        let founders = self.founding().into_iter().flat_map(|founding| founding.members.keys().copied());
        let ids: BTreeSet<u64> = founders.chain(self.seats.keys().copied()).collect();
        ids.into_iter().filter_map(|node_id| Some((node_id, self.seat(node_id)?)))
    }

    /// The keys that a node signs checkpoints of the audit log with, or signed with; `None` when it never had one.
    pub fn audit_keys_of(&self, node_id: u64) -> Option<&Arc<AuditKeys>> {
        self.audit_keys.get(&node_id)
    }

    /// The keys of all nodes that ever had one, in the order of the nodes' ids.
    pub fn audit_keys(&self) -> impl Iterator<Item = (u64, &Arc<AuditKeys>)> {
        self.audit_keys.iter().map(|(node_id, keys)| (*node_id, keys))
    }

    /// The signing key with this id, be it revoked or not.
    pub fn signing_key(&self, id: &str) -> Option<&Arc<SigningKey>> {
        self.signing_keys.get(id)
    }

    /// All signing keys that were ever registered, in the order of their ids.
    pub fn signing_keys(&self) -> impl Iterator<Item = &Arc<SigningKey>> {
        self.signing_keys.values()
    }

    /// For how long records of the audit log are kept: all for ever, unless somebody said otherwise.
    pub fn retention(&self) -> Retention {
        self.retention.as_deref().copied().unwrap_or_default()
    }

    /// The legal hold with this id.
    pub fn hold(&self, id: &str) -> Option<&Arc<Hold>> {
        self.holds.get(id)
    }

    /// All legal holds on the audit log, in the order of their ids.
    pub fn holds(&self) -> impl Iterator<Item = &Arc<Hold>> {
        self.holds.values()
    }

    /// The catalog that the kept changes go on from; `None`: the audit log has all changes.
    pub fn edge(&self) -> Option<&Edge> {
        self.edge.as_deref()
    }

    /// The edge that comes, as far as its catalog is in the log.
    pub fn next_edge(&self) -> Option<&Edge> {
        self.next_edge.as_deref()
    }

    /// What of the audit log is not removed, however old: what is under a hold, and the catalogs of the edge and of the one
    /// that comes.
    pub fn held(&self) -> HeldStretches {
        let edges = [&self.edge, &self.next_edge].into_iter().flatten();
        let records = edges.flat_map(|edge| edge.records.iter().copied().map(SequenceRange::one));
        HeldStretches::of(self.holds.values().map(|hold| hold.spec.stretch()).chain(records))
    }

    pub(crate) fn put_token(&mut self, token: Arc<Token>) {
        self.token_ids.insert(token.secret_sha256, token.spec.id.clone());
        self.tokens.insert(token.spec.id.clone(), token);
    }

    pub(crate) fn remove_token(&mut self, id: &str) {
        if let Some(token) = self.tokens.remove(id) {
            self.token_ids.remove(&token.secret_sha256);
        }
    }

    /// The project, to be changed. The clone behind it is cheap: a project's maps are persistent.
    pub(crate) fn project_mut(&mut self, key: &str) -> Option<&mut Project> {
        self.projects.get_mut(key).map(Arc::make_mut)
    }
}
