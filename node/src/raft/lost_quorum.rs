//! A folder whose cluster has lost its quorum for good: what it holds, and how its node goes on alone.
//!
//! Both look at a folder that no node runs on. Whoever recovers takes the survivor's log as it is for the truth: two
//! entries are appended to it, a membership of this node alone, and behind that the proposal that gives the catalog a
//! new cluster and a new history. With that membership every entry in the log is on a quorum, so all are committed,
//! and the node applies them when it starts, before it answers anybody. The folder belongs to the new cluster from
//! then on, so the old members, should they come back, are refused by its id.

use std::{collections::BTreeMap, io, ops::ControlFlow};

use flagraft_core::{
    apply::apply,
    identity::{ClusterId, History, LogPosition},
    operation::{Member, Operation, RecoveredFrom, SystemRecover},
    proposal::{Actor, Body, Change, Proposal, RequestId},
    reply::Outcome,
    state::State,
};
use openraft::{EntryPayload, vote::RaftLeaderId};

use super::{
    floor::Synced,
    log_store::{last_entry, read_log_id, read_vote},
    recover::recover as start_up,
    types::{
        Command, Entry, LeaderId, LogId, MemberRole, Membership, NodeMeta, VersionRange, Vote, position,
    },
    wire::{decode_entry, encode_entry, encode_log_id, encode_vote},
};
use crate::{
    backup::Words,
    random::random,
    storage::{GROUP, Identity, MetaKey, Storage, StorageError},
};

/// What a node's folder holds, as far as it matters to whoever has to choose a survivor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderReport {
    /// Who the folder belongs to.
    pub identity: Identity,
    /// The history of its catalog; `None` before the founding.
    pub history: Option<History>,
    /// The members of its newest membership, committed or not, and whether each votes.
    pub members: BTreeMap<u64, bool>,
    /// The newest term that the node took part in.
    pub term: u64,
    /// The node that it voted for in that term, and whether it knew that one to lead.
    pub voted_for: Option<(u64, bool)>,
    /// The last entry of its log, which says how much it has: the newer, first by term and then by index, the more.
    pub last: Option<LogPosition>,
    /// The last entry that it knows to be committed.
    pub committed: Option<LogPosition>,
    /// The last entry whose effect is in its state.
    pub applied: Option<LogPosition>,
    /// The revision after the last committed entry.
    pub committed_revision: u64,
    /// The revision after the last entry.
    pub last_revision: u64,
    /// The audit records after the last entry.
    pub audit_size: u64,
}

impl FolderReport {
    /// What somebody has to say to recover on this folder, word for word.
    pub fn acceptance(&self) -> String {
        let last = self.last.map_or(0, |last| last.index);
        format!(
            "node {} goes on alone from entry {last}, and whatever was acknowledged after it is lost",
            self.identity.node_id
        )
    }
}

/// What was made of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The new cluster.
    pub cluster: ClusterId,
    /// The new history.
    pub history: History,
    /// What it goes on from.
    pub from: RecoveredFrom,
}

/// Why a folder is not recovered on. Unless it is the disk that failed, what the catalog and the log say is left as it
/// was.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The folder can't be trusted.
    #[error("the data folder can't be used: {0}")]
    Disk(#[from] io::Error),
    /// There is nothing to recover, or nobody to go on.
    #[error("{0}")]
    Nothing(String),
    /// The words can't be recorded.
    #[error("{0}")]
    Words(String),
    /// The catalog takes no recovery, whatever the words.
    #[error("the recovery would be refused: {0}")]
    Refused(String),
}

impl From<StorageError> for RecoverError {
    fn from(error: StorageError) -> Self {
        Self::Disk(error.into())
    }
}

/// Checks a folder as the start of a node does, and says what it holds. As at a start, what snapshots that were cut
/// short have left is removed; what the catalog and the log say is left as it was. This blocks.
///
/// # Errors
/// When it can't be trusted: another survivor has to be chosen, or a backup.
pub fn inspect(storage: &Storage) -> Result<FolderReport, RecoverError> {
    Ok(Survivor::read(storage)?.report())
}

/// Makes the folder's node the only member of a new cluster that goes on with all that is in its log. `now_ms` is the
/// wall clock. This blocks.
///
/// # Errors
/// When the words can't be recorded, the folder can't be trusted or has nothing to recover, or the disk fails. See
/// [`RecoverError`].
pub fn recover_alone(storage: &Storage, words: &Words, now_ms: i64) -> Result<Recovery, RecoverError> {
    words.validate().map_err(RecoverError::Words)?;
    let survivor = Survivor::read(storage)?;
    let identity = &survivor.identity;
    let node_id = identity.node_id;
    let (Some(founding), Some(last), Some(committed)) =
        (survivor.state.founding(), survivor.last, survivor.committed)
    else {
        return Err(RecoverError::Nothing(
            "this folder holds no catalog, so there is nothing to recover; choose another survivor, or restore a backup"
                .to_owned(),
        ));
    };
    let Some(meta) = survivor.members.get(&node_id).map(|(meta, _)| meta) else {
        return Err(RecoverError::Nothing(format!(
            "node {node_id} was no member any more when this folder was written; choose another survivor"
        )));
    };
    let meta = NodeMeta {
        uid: identity.member_uid.clone(),
        role: MemberRole::Voter,
        versions: VersionRange::OURS,
        ..meta.clone()
    };
    let cluster = ClusterId(u128::from_be_bytes(random()));
    let history = History(u64::from_be_bytes(random()));
    let from = RecoveredFrom {
        cluster: founding.cluster,
        history: founding.history,
        committed: position(&committed),
        committed_revision: survivor.committed_revision,
        last: position(&last),
        last_revision: survivor.state.revision(),
    };
    let seat = Member { uid: meta.uid.clone(), peer_address: meta.peer_addr.clone(), voter: true };
    let operation = Operation::SystemRecover(SystemRecover {
        cluster,
        history,
        members: BTreeMap::from([(node_id, seat)]),
        from: from.clone(),
        operator: words.operator.clone(),
        if_revision: None,
    });
    let proposal = Proposal {
        group: GROUP,
        // Nobody sends it again. Where many requests are remembered, this one just is not.
        request: RequestId { id: format!("recover-{cluster}"), client_given: false },
        body: Body::Change(Change {
            project: None,
            operations: vec![operation],
            reason: words.reason.clone(),
            ticket: words.ticket.clone(),
            expect_revision: None,
        }),
        actor: Actor::system(node_id),
        asks_sha256: None,
        signature: None,
        caused_by: None,
        proposed_at_ms: now_ms,
        salt: random(),
        node: node_id,
    };

    // Newer than every vote and every entry, so that nothing of the old cluster can follow.
    let newest = survivor.vote.map_or(0, |vote| vote.leader_id.term).max(last.leader_id.term);
    let leader_id = LeaderId::new(newest.saturating_add(1), node_id);
    let at = |steps: u64| LogId { leader_id, index: last.index.saturating_add(steps) };
    let membership = Membership::new(vec![[node_id].into()], BTreeMap::from([(node_id, meta)]))
        .map_err(io::Error::other)?;

    // Foreseen with the same function that will judge it: what would be rejected must not be written.
    let end = at(2);
    match apply(&survivor.state, &proposal, position(&end)).reply.outcome {
        Outcome::Accepted { .. } => {}
        Outcome::Rejected { rejection, .. } | Outcome::Refused { rejection } => {
            return Err(RecoverError::Refused(rejection.to_string()));
        }
        Outcome::Unchanged { .. } => {
            return Err(RecoverError::Refused("it would change nothing".to_owned()));
        }
    }
    let command = Command(proposal.encode().map_err(|error| RecoverError::Refused(error.to_string()))?);
    let mut batch = storage.batch();
    if let Some(installed) = survivor.beyond_its_log {
        // Raft would do so when it starts. The entries that follow must not stand behind a hole.
        let upto = encode_log_id(&installed).map_err(io::Error::from)?;
        batch.purge_log(0..installed.index.saturating_add(1), &upto);
    }
    for entry in [
        Entry { log_id: at(1), payload: EntryPayload::Membership(membership) },
        Entry { log_id: end, payload: EntryPayload::Normal(command) },
    ] {
        batch.entry(entry.log_id.index, &encode_entry(entry).map_err(io::Error::from)?);
    }
    let vote = Vote { leader_id, committed: true };
    batch.meta(MetaKey::Vote, Some(&encode_vote(&vote).map_err(io::Error::from)?));
    batch.meta(MetaKey::Committed, Some(&encode_log_id(&end).map_err(io::Error::from)?));
    batch.identity(&Identity { cluster_id: Some(cluster), ..identity.clone() });
    batch.commit()?;
    storage.sync_blocking()?;
    // A disk that forgets this must be found out when the node starts: it would be one of the old cluster again.
    Synced { vote: Some(vote), last: Some(end) }.keep(storage)?;
    Ok(Recovery { cluster, history, from })
}

/// A folder read to the end of its log.
struct Survivor {
    identity: Identity,
    vote: Option<Vote>,
    last: Option<LogId>,
    committed: Option<LogId>,
    applied: Option<LogId>,
    /// The last applied entry where the log ends before it: a snapshot was installed, and its log not cut back yet.
    beyond_its_log: Option<LogId>,
    committed_revision: u64,
    /// The state after the last entry.
    state: State,
    /// The members after the last entry, and whether each votes.
    members: BTreeMap<u64, (NodeMeta, bool)>,
}

impl Survivor {
    fn read(storage: &Storage) -> Result<Self, RecoverError> {
        let recovered = start_up(storage, u64::MAX)?;
        let applied = recovered.last_applied;
        let vote = read_vote(storage)?;
        let known = read_log_id(storage, MetaKey::Committed)?;
        let purged = read_log_id(storage, MetaKey::LastPurged)?;
        let log_end = last_entry(storage)?.or(purged);
        let mut survivor = Self {
            identity: storage.identity(),
            vote,
            last: purged.max(applied),
            committed: known.max(applied),
            applied,
            beyond_its_log: applied.filter(|applied| log_end.is_none_or(|end| end.index < applied.index)),
            committed_revision: recovered.state.revision(),
            state: recovered.state,
            members: members(recovered.membership.membership()),
        };
        let next = applied.map_or(0, |applied| applied.index.saturating_add(1));
        storage.scan_log(next..u64::MAX, |_, bytes| {
            survivor.follow(decode_entry(bytes)?)?;
            Ok::<_, io::Error>(ControlFlow::Continue(()))
        })?;
        Ok(survivor)
    }

    /// Does what the node will do with the entry once it is committed.
    fn follow(&mut self, entry: Entry) -> Result<(), io::Error> {
        self.last = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => self.members = members(&membership),
            EntryPayload::Normal(command) => {
                let proposal = Proposal::decode(&command.0).map_err(io::Error::other)?;
                self.state = apply(&self.state, &proposal, position(&entry.log_id)).state;
            }
        }
        if Some(entry.log_id) <= self.committed {
            self.committed_revision = self.state.revision();
        }
        Ok(())
    }

    fn report(&self) -> FolderReport {
        FolderReport {
            identity: self.identity.clone(),
            history: self.state.history(),
            members: self.members.iter().map(|(id, (_, voter))| (*id, *voter)).collect(),
            term: self.vote.map_or(0, |vote| vote.leader_id.term),
            voted_for: self.vote.map(|vote| (vote.leader_id.node_id, vote.committed)),
            last: self.last.as_ref().map(position),
            committed: self.committed.as_ref().map(position),
            applied: self.applied.as_ref().map(position),
            committed_revision: self.committed_revision,
            last_revision: self.state.revision(),
            audit_size: self.state.sequence(),
        }
    }
}

fn members(membership: &Membership) -> BTreeMap<u64, (NodeMeta, bool)> {
    let voters: Vec<u64> = membership.voter_ids().collect();
    membership.nodes().map(|(id, meta)| (*id, (meta.clone(), voters.contains(id)))).collect()
}
