//! The operations on the cluster's members: what the seats are changed to. Raft's membership follows them.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    canonical::Canonical,
    limits::SEATS_MAX,
    operation::{Member, MemberAdmit, MemberInvite, MemberPromote, MemberRemove},
    rejection::Rejection,
    rows::RowId,
    seat::{self, Invitation, JoinFault, Occupant, Removal, Seat, SeatRole},
    token::Role,
};
use serde_json::json;

use super::{
    authority::Authority,
    draft::{BeforeAfter, Draft},
    tenancy::limit,
};

impl Draft {
    pub(super) fn member_invite(
        &mut self,
        authority: &Authority,
        fields: &MemberInvite,
    ) -> Result<BeforeAfter, Rejection> {
        authority.require_everywhere(Role::Owner)?;
        let before = self.state.seat(fields.node_id);
        // Somebody who lost a token that nobody has used makes another one for the same id.
        if before.as_ref().is_some_and(|seat| seat.occupant.is_some() || seat.is_removed()) {
            let next = self.state.seats().last().map_or(1, |(last, _)| last.saturating_add(1));
            return Err(Rejection::Conflict {
                path: "/node_id".to_owned(),
                message: format!(
                    "node id {} was given away before, and an id is used once; use another one, such as {next}",
                    fields.node_id
                ),
            });
        }
        self.expect_seat(fields.node_id, fields.if_revision, before.as_deref())?;
        seat::validate_invitation(fields).map_err(Rejection::invalid)?;
        if before.is_none() && self.state.seats().count() >= SEATS_MAX {
            return Err(limit(format!("a cluster gives away at most {SEATS_MAX} node ids")));
        }
        let expires_in_ms = i64::try_from(fields.expires_in_ms).unwrap_or(i64::MAX);
        let invitation = Invitation {
            secret_sha256: fields.secret_sha256,
            expires_at_ms: self.now_ms.saturating_add(expires_in_ms),
        };
        let seat = Seat {
            role: fields.role,
            invitation: Some(invitation),
            occupant: None,
            removal: None,
            revision: self.revision,
        };
        Ok(self.put_seat(fields.node_id, before.as_deref(), seat))
    }

    /// The token is used up here, by the entry: of two data folders that come with it the log's order lets one in.
    pub(super) fn member_admit(
        &mut self,
        authority: &Authority,
        fields: &MemberAdmit,
    ) -> Result<BeforeAfter, Rejection> {
        authority.require_system()?;
        seat::validate_admission(fields).map_err(Rejection::invalid)?;
        let refuse = |fault: JoinFault| Rejection::Conflict {
            path: "/secret_sha256".to_owned(),
            message: format!("node {} can't join: {fault}", fields.node_id),
        };
        let before = self.state.seat(fields.node_id).ok_or_else(|| refuse(JoinFault::NotInvited))?;
        before.admits(&fields.uid, &fields.secret_sha256, self.now_ms).map_err(refuse)?;
        self.expect_seat(fields.node_id, fields.if_revision, Some(&before))?;
        let occupant = Occupant { uid: fields.uid.clone(), peer_address: fields.peer_address.clone() };
        let seat =
            Seat { invitation: None, occupant: Some(occupant), revision: self.revision, ..(*before).clone() };
        Ok(self.put_seat(fields.node_id, Some(&before), seat))
    }

    pub(super) fn member_promote(
        &mut self,
        authority: &Authority,
        fields: &MemberPromote,
    ) -> Result<BeforeAfter, Rejection> {
        authority.require_everywhere(Role::Owner)?;
        let before = self.seat_in_use(fields.node_id)?;
        self.expect_seat(fields.node_id, fields.if_revision, Some(&before))?;
        let seat = Seat { role: SeatRole::Voter, revision: self.revision, ..(*before).clone() };
        Ok(self.put_seat(fields.node_id, Some(&before), seat))
    }

    pub(super) fn member_remove(
        &mut self,
        authority: &Authority,
        fields: &MemberRemove,
    ) -> Result<BeforeAfter, Rejection> {
        authority.require_everywhere(Role::Owner)?;
        let node_id = fields.node_id;
        let before = self.state.seat(node_id).ok_or_else(|| missing("/node_id", node_id))?;
        self.expect_seat(node_id, fields.if_revision, Some(&before))?;
        if let Some(successor) = fields.successor {
            let seat = self.state.seat(successor).filter(|_| successor != node_id);
            let seat = seat.ok_or_else(|| missing("/successor", successor))?;
            if !seat.is_meant_to_vote() || seat.occupant.is_none() {
                return Err(Rejection::Conflict {
                    path: "/successor".to_owned(),
                    message: format!(
                        "node {successor} takes nobody's place: it is no member that is to vote"
                    ),
                });
            }
        }
        let votes = |(id, seat): &(u64, Arc<Seat>)| {
            *id != node_id && seat.occupant.is_some() && seat.is_meant_to_vote()
        };
        if !self.state.seats().any(|seat| votes(&seat)) {
            return Err(Rejection::InUse {
                path: "/node_id".to_owned(),
                message: format!("node {node_id} is the last voter; add another one before you remove it"),
            });
        }
        let removal = Some(Removal { successor: fields.successor });
        let seat = Seat { invitation: None, removal, revision: self.revision, ..(*before).clone() };
        self.retire_audit_keys_of(node_id);
        Ok(self.put_seat(node_id, Some(&before), seat))
    }

    /// A catalog that was restored begins with the seats of its founders alone: the others were about nodes of the
    /// cluster that was backed up.
    pub(super) fn clear_seats(&mut self) {
        let seats = std::mem::take(&mut self.state.seats);
        self.wrote(seats.keys().copied().map(RowId::Seat));
    }

    /// The survivors of a lost quorum are the only members, and vote. All others are removed: their ids stand in
    /// memberships of the log, so they are not given away again.
    pub(super) fn leave_alone(&mut self, survivors: &BTreeMap<u64, Member>) {
        let seats: Vec<(u64, Arc<Seat>)> = self.state.seats().collect();
        for (node_id, before) in seats {
            let changed = Seat { revision: self.revision, ..(*before).clone() };
            let seat = if survivors.contains_key(&node_id) {
                Seat { role: SeatRole::Voter, removal: None, ..changed }
            } else {
                let removal = changed.removal.or(Some(Removal { successor: None }));
                Seat { invitation: None, removal, ..changed }
            };
            self.put_seat(node_id, Some(&before), seat);
        }
    }

    fn seat_in_use(&self, node_id: u64) -> Result<Arc<Seat>, Rejection> {
        let seat = self.state.seat(node_id).ok_or_else(|| missing("/node_id", node_id))?;
        if seat.is_removed() {
            return Err(Rejection::Conflict {
                path: "/node_id".to_owned(),
                message: format!(
                    "node {node_id} was removed, and an id is used once; add a node with a new one"
                ),
            });
        }
        Ok(seat)
    }

    fn expect_seat(
        &self,
        node_id: u64,
        if_revision: Option<u64>,
        before: Option<&Seat>,
    ) -> Result<(), Rejection> {
        self.expect(|| format!("node {node_id}"), if_revision, before.map_or(0, |seat| seat.revision))
    }

    /// Writes a seat, unless it says nothing new.
    fn put_seat(&mut self, node_id: u64, before: Option<&Seat>, seat: Seat) -> BeforeAfter {
        let is_news =
            before.is_none_or(|before| *before != Seat { revision: before.revision, ..seat.clone() });
        let recorded = (before.map_or_else(Canonical::null, shown), shown(&seat));
        if is_news {
            self.state.seats.insert(node_id, Arc::new(seat));
            self.wrote([RowId::Seat(node_id)]);
            self.changed_the_cluster();
        }
        recorded
    }
}

fn missing(path: &str, node_id: u64) -> Rejection {
    Rejection::not_found(path, "node", node_id)
}

/// What is recorded of a seat: all but the hash of its token.
fn shown(seat: &Seat) -> Canonical {
    Canonical::from(json!({
        "role": seat.role,
        "invited_until_ms": seat.invitation.as_ref().map(|invitation| invitation.expires_at_ms),
        "occupant": seat.occupant,
        "removed": seat.is_removed(),
        "successor": seat.removal.as_ref().and_then(|removal| removal.successor),
    }))
}
