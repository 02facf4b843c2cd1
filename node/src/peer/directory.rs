//! Who this node is to its peers, and who they are to it.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use flagraft_core::identity::ClusterId;

use super::{auth::PeerSecret, client::PeerOptions};
use crate::raft::{NodeMeta, VersionRange};
use tokio::sync::watch;

/// What one node knows for its talk with the others. Its client and its server share it.
pub(super) struct Directory {
    pub node_id: u64,
    pub uid: String,
    pub group: u32,
    pub versions: VersionRange,
    pub secret: Option<PeerSecret>,
    /// Addresses from this node's own configuration. They win over what the membership says: an operator who moved
    /// a member has told its neighbours before any log entry can.
    configured: BTreeMap<u64, String>,
    state: RwLock<Known>,
    /// What a peer said when it refused to talk to this node because it was removed.
    removed: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct Known {
    cluster_id: Option<ClusterId>,
    members: BTreeMap<u64, Member>,
    /// Who spoke to this node as to a member, before it had a cluster, and for which.
    claimed_by: Option<(u64, ClusterId)>,
    /// Where nodes can be found that no membership was heard of yet: what a node that joins was told.
    introduced: BTreeMap<u64, String>,
}

struct Member {
    address: String,
    uid: String,
}

impl Directory {
    pub fn new(options: PeerOptions) -> Self {
        let PeerOptions { node_id, uid, cluster_id, group, secret, peers, versions } = options;
        let state = RwLock::new(Known { cluster_id, ..Known::default() });
        let removed = watch::Sender::new(None);
        Self { node_id, uid, group, versions, secret, configured: peers, state, removed }
    }

    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).cluster_id
    }

    pub fn set_cluster_id(&self, cluster_id: ClusterId) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).cluster_id = Some(cluster_id);
    }

    /// Takes over what the membership says about a member.
    pub fn learn(&self, node_id: u64, meta: &NodeMeta) {
        let member = Member { address: meta.peer_addr.clone(), uid: meta.uid.clone() };
        self.state.write().unwrap_or_else(PoisonError::into_inner).members.insert(node_id, member);
    }

    /// Forgets who is no member any more.
    pub fn keep_members(&self, is_member: impl Fn(u64) -> bool) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.members.retain(|node_id, _| is_member(*node_id));
    }

    /// Takes over where a node is said to be. What the membership says wins over it.
    pub fn introduce(&self, node_id: u64, address: String) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).introduced.insert(node_id, address);
    }

    /// Takes over that a node speaks to this one as to a member of a cluster that it does not know.
    pub fn set_claimed_by(&self, node_id: u64, cluster_id: ClusterId) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).claimed_by = Some((node_id, cluster_id));
    }

    pub fn claimed_by(&self) -> Option<(u64, ClusterId)> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).claimed_by
    }

    /// Takes over that this node was removed.
    pub fn set_removed(&self, why: String) {
        self.removed.send_if_modified(|removed| {
            let is_news = removed.is_none();
            removed.get_or_insert(why);
            is_news
        });
    }

    pub fn watch_removed(&self) -> watch::Receiver<Option<String>> {
        self.removed.subscribe()
    }

    pub fn address(&self, node_id: u64) -> Option<String> {
        if let Some(address) = self.configured.get(&node_id) {
            return Some(address.clone());
        }
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let member = state.members.get(&node_id).map(|member| &member.address);
        member.filter(|address| !address.is_empty()).or_else(|| state.introduced.get(&node_id)).cloned()
    }

    /// Everybody else that has an address.
    pub fn others(&self) -> BTreeMap<u64, String> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let learned = state.members.iter().map(|(id, member)| (*id, member.address.clone()));
        let mut others: BTreeMap<u64, String> = learned.filter(|(_, address)| !address.is_empty()).collect();
        drop(state);
        others.extend(self.configured.clone());
        others.remove(&self.node_id);
        others
    }

    /// Whether `uid` is the data folder that the membership has for this node, as far as it says.
    pub fn is_known_as(&self, node_id: u64, uid: &str) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.members.get(&node_id).is_none_or(|member| member.uid.is_empty() || member.uid == uid)
    }
}
