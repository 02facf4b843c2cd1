//! A node asks to be taken in, or a member to be known by another address or place. The leader answers.
//!
//! In this order: the leader makes sure that it leads and is current; it looks whether the seat lets the node in; the
//! log takes the token away; Raft gets a learner. Cut short anywhere, the node asks again and it goes on there: what
//! the log has given to a data folder stays its own.

use flagraft_core::{
    operation::{MemberAdmit, Operation},
    proposal::{Body, Change},
    seat::{JoinFault, Seat, SeatRole},
    token::SecretHash,
};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

use super::Steward;
use crate::{
    clock::wall_ms,
    leadership::known_leader,
    node::{Credentials, Submission, mint_request_id},
    peer::{Join, JoinReply},
    raft::{MemberRole, MembershipChange, NodeMeta},
};

/// How long the leader takes to make sure that it leads.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(1);
/// How long the log may take to take a token away.
const ADMIT_PATIENCE: Duration = Duration::from_secs(3);

impl Steward {
    /// Takes in the node `from` with the data folder `uid`, or knows it anew.
    pub(in crate::node) async fn admit(&self, from: u64, uid: &str, join: Join) -> JoinReply {
        match self.try_admit(from, uid, join).await {
            Ok(reply) => reply,
            Err(why) => JoinReply::Unavailable { why },
        }
    }

    async fn try_admit(&self, from: u64, uid: &str, join: Join) -> Result<JoinReply, String> {
        match known_leader(&self.replica) {
            Some(leader) if leader == self.node_id => {}
            leader => {
                let place = |leader| Some((leader, self.peers.address(leader)?));
                return Ok(JoinReply::NotLeader { leader: leader.and_then(place) });
            }
        }
        self.reads
            .confirm_patiently(CONFIRM_PATIENCE)
            .await
            .map_err(|unconfirmed| format!("the leader is not sure that it leads: {unconfirmed}"))?;
        let published = self.replica.published();
        let Some(cluster_id) = published.state.cluster_id() else {
            return Err("the cluster is being founded".to_owned());
        };
        if join.meta.uid != uid {
            return Ok(JoinReply::Refused {
                why: "the node names another data folder than it has".to_owned(),
            });
        }
        let secret = SecretHash(Sha256::digest(join.token.as_bytes()).into());
        let now_ms = wall_ms().max(published.state.last_at_ms());
        let seat = published.state.seat(from);
        let fits = seat.as_ref().map_or(Err(JoinFault::NotInvited), |seat| seat.admits(uid, &secret, now_ms));
        let Some(seat) = seat.filter(|_| fits.is_ok()) else {
            let why = fits.err().unwrap_or(JoinFault::NotInvited).to_string();
            tracing::warn!(node = from, "a node is not taken in: {why}");
            return Ok(JoinReply::Refused { why });
        };
        let meta = meta_in(&seat, join.meta);
        if self.is_known_as(from, &meta) {
            return Ok(JoinReply::Admitted { cluster_id });
        }
        if let Some(reply) = self.take_seat(from, uid, secret, &meta).await? {
            return Ok(reply);
        }
        self.make_known(from, meta).await?;
        Ok(JoinReply::Admitted { cluster_id })
    }

    fn is_known_as(&self, node_id: u64, meta: &NodeMeta) -> bool {
        let view = self.replica.membership();
        view.is_committed && view.members.get(&node_id) == Some(meta)
    }

    /// Lets the log give the seat to this data folder. `Some`: it did not.
    async fn take_seat(
        &self,
        node_id: u64,
        uid: &str,
        secret_sha256: SecretHash,
        meta: &NodeMeta,
    ) -> Result<Option<JoinReply>, String> {
        let admit = MemberAdmit {
            node_id,
            secret_sha256,
            uid: uid.to_owned(),
            peer_address: meta.peer_addr.clone(),
            if_revision: None,
        };
        let change = Change {
            project: None,
            operations: vec![Operation::MemberAdmit(admit)],
            reason: format!("node {node_id} asks to be a member at {}", meta.peer_addr),
            ticket: None,
            expect_revision: None,
        };
        if let Err(invalid) = change.validate().and_then(|()| change.validate_operations()) {
            return Ok(Some(JoinReply::Refused { why: invalid.to_string() }));
        }
        let credentials = Credentials::Member(self.node_id);
        let submission = Submission::new(credentials, Body::Change(change), mint_request_id());
        let submitted = self.writes.submit(&submission, ADMIT_PATIENCE).await;
        let submitted = submitted.map_err(|error| error.to_string())?;
        let rejection = submitted.reply.outcome.rejection();
        Ok(rejection.map(|rejection| JoinReply::Refused { why: rejection.to_string() }))
    }

    /// Makes the node a learner, or its description a new one.
    async fn make_known(&self, node_id: u64, meta: NodeMeta) -> Result<(), String> {
        let _guard = self.step.lock().await;
        let view = self.replica.membership();
        if !view.is_committed || view.is_joint() {
            return Err("the membership is being changed".to_owned());
        }
        let meta = Box::new(meta);
        let change = match view.members.get(&node_id) {
            None => MembershipChange::AddLearner(node_id, meta),
            Some(known) if *known == *meta => return Ok(()),
            Some(_) => MembershipChange::Describe(node_id, meta),
        };
        self.change(change, &view).await
    }
}

/// The description that a node gave of itself, with what the cluster means it to be.
fn meta_in(seat: &Seat, given: NodeMeta) -> NodeMeta {
    let role = match seat.role {
        SeatRole::Voter => MemberRole::Voter,
        SeatRole::Learner => MemberRole::Learner,
    };
    NodeMeta { role, ..given }
}
