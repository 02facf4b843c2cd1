//! Seats: every node id that the cluster ever gave away, and what the member in it is meant to be.
//!
//! Raft's membership says who counts now; the seats say who is meant to. A change of membership is a change of seats,
//! with its reason, its ticket and its record, and the leader, whichever that is, makes Raft's membership follow. So a
//! change that is stated once goes on whoever dies.
//!
//! A seat goes one way: given away, taken, then removed. An id is never given away twice, for a node that starts from
//! an empty log under an id of the past would act on memberships of the past that name it.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    hexadecimal,
    invalid::Invalid,
    limits::{JOIN_TOKEN_MS_MAX, SHORT_TEXT_BYTES_MAX},
    operation::{Member, MemberAdmit, MemberInvite},
    token::{SecretHash, checksummed, is_checksummed},
};

/// A node id that was given away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seat {
    /// What the member in it is meant to be.
    pub role: SeatRole,
    /// The join token that nobody has come with yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<Invitation>,
    /// Who has taken it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occupant: Option<Occupant>,
    /// Set for good when the member is to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Removal>,
    /// The revision that changed it last.
    pub revision: u64,
}

/// What a member is meant to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeatRole {
    /// It counts towards the quorum, as soon as it has caught up.
    #[default]
    Voter,
    /// It receives everything and decides nothing.
    Learner,
}

/// A join token that nobody has come with yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// The SHA-256 of its secret.
    pub secret_sha256: SecretHash,
    /// The record time at which it ends, in milliseconds since 1970 UTC.
    pub expires_at_ms: i64,
}

/// The node that has taken a seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Occupant {
    /// The identity that its data folder minted.
    pub uid: String,
    /// Where its peers reach it.
    pub peer_address: String,
}

/// A member is to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// The member that takes its place: it goes no sooner than that one votes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<u64>,
}

/// Why a node is not let in by its join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinFault {
    /// The id was never given away.
    NotInvited,
    /// The id was given away with another token.
    WrongToken,
    /// The token's time is over.
    Expired,
    /// Another data folder came with the token before.
    Taken,
    /// The id was taken out of use.
    Removed,
}

impl fmt::Display for JoinFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotInvited => {
                "no node with this id was invited; invite it with: flagraft cluster add --node-id ID"
            }
            Self::WrongToken => {
                "the join token is not the one that was made last for this id; make one with: flagraft cluster add"
            }
            Self::Expired => "the join token's time is over; make another one with: flagraft cluster add",
            Self::Taken => {
                "another data folder has taken this id, and an id is used once; invite the node under a new one"
            }
            Self::Removed => {
                "this id was removed from the cluster, and an id is used once; invite the node under a new one"
            }
        })
    }
}

impl Seat {
    /// The seat of a node that the cluster was founded with.
    pub(crate) fn of_founder(member: &Member) -> Self {
        let occupant = Occupant { uid: member.uid.clone(), peer_address: member.peer_address.clone() };
        let role = if member.voter { SeatRole::Voter } else { SeatRole::Learner };
        Self { role, invitation: None, occupant: Some(occupant), removal: None, revision: 1 }
    }

    /// Whether the member in it is to go, or has gone.
    pub fn is_removed(&self) -> bool {
        self.removal.is_some()
    }

    /// Whether the member in it is meant to vote.
    pub fn is_meant_to_vote(&self) -> bool {
        self.role == SeatRole::Voter && !self.is_removed()
    }

    /// Whether it is this data folder that has taken it. What a seat says is about that one: a catalog that was restored
    /// elsewhere brings seats along that are not about the nodes there.
    pub fn is_of(&self, uid: &str) -> bool {
        self.occupant.as_ref().is_some_and(|occupant| occupant.uid == uid)
    }

    /// Whether a node with this data folder and join token may take the seat at this time, in milliseconds since 1970
    /// UTC, or has taken it already.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, uid: &str, secret: &SecretHash, now_ms: i64) -> Result<(), JoinFault> {
        if self.is_removed() {
            return Err(JoinFault::Removed);
        }
        match (&self.occupant, &self.invitation) {
            (Some(occupant), _) if occupant.uid == uid => Ok(()),
            (Some(_), _) => Err(JoinFault::Taken),
            (None, Some(invitation)) if invitation.secret_sha256 != *secret => Err(JoinFault::WrongToken),
            (None, Some(invitation)) if now_ms >= invitation.expires_at_ms => Err(JoinFault::Expired),
            (None, Some(_)) => Ok(()),
            (None, None) => Err(JoinFault::NotInvited),
        }
    }
}

/// Checks what needs no state.
pub(crate) fn validate_invitation(fields: &MemberInvite) -> Result<(), Invalid> {
    if fields.node_id == 0 {
        return Err(Invalid::new("/node_id", "ids of nodes begin with 1"));
    }
    if fields.expires_in_ms == 0 || fields.expires_in_ms > JOIN_TOKEN_MS_MAX {
        return Err(Invalid::new(
            "/expires_in_ms",
            format!("a join token is good for 1 to {JOIN_TOKEN_MS_MAX} ms"),
        ));
    }
    Ok(())
}

/// Checks what needs no state.
pub(crate) fn validate_admission(fields: &MemberAdmit) -> Result<(), Invalid> {
    if !hexadecimal::is_lower(&fields.uid, 32) {
        return Err(Invalid::new("/uid", "a data folder's id is 32 lower-case hexadecimal digits"));
    }
    let address = &fields.peer_address;
    if address.is_empty() || address.len() > SHORT_TEXT_BYTES_MAX || address.chars().any(char::is_control) {
        return Err(Invalid::new(
            "/peer_address",
            format!("an address is HOST:PORT in 1 to {SHORT_TEXT_BYTES_MAX} bytes"),
        ));
    }
    Ok(())
}

/// The secret of a join token: `fr_join_`, 256 bits in URL-safe Base64, `_` and a checksum, like an API token's. It is
/// good for one node to join with, and for nothing else. `Debug` never prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken(String);

/// What join tokens begin with.
const PREFIX: &str = "fr_join_";

impl JoinToken {
    /// The token with these random bits.
    pub fn new(random: [u8; 32]) -> Self {
        Self(checksummed(PREFIX, random))
    }

    /// Reads a token. The error says what is wrong without repeating it.
    ///
    /// # Errors
    /// When it is no join token, or a damaged one.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if !text.starts_with(PREFIX) {
            return Err(Invalid::here(
                "this is no join token: one begins with fr_join_, and `flagraft cluster add` makes it",
            ));
        }
        if !is_checksummed(text) {
            return Err(Invalid::here(
                "this join token is damaged: its checksum is wrong; was it copied whole?",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn sha256(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Secret, TokenKind};

    #[test]
    fn join_tokens_are_frozen_checked_and_never_printed() {
        let token = JoinToken::new([7; 32]);
        assert_eq!(token.expose(), "fr_join_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc_fea2005f");
        assert_eq!(JoinToken::parse(token.expose()), Ok(token.clone()));
        assert_eq!(format!("{token:?}"), "JoinToken(..)");
        assert!(Secret::parse(token.expose()).is_err(), "it opens nothing else");
        let cut = token.expose().trim_end_matches('f');
        for wrong in [cut, "", "fr_join_", Secret::new(TokenKind::Admin, [7; 32]).expose()] {
            let error = JoinToken::parse(wrong).expect_err(wrong);
            assert!(wrong.len() < 10 || !error.to_string().contains(wrong));
        }
    }

    #[test]
    fn who_is_let_in() {
        let (ours, theirs) = ("0a".repeat(16), "0b".repeat(16));
        let (good, bad) = (JoinToken::new([1; 32]).sha256(), JoinToken::new([2; 32]).sha256());
        let invitation = Invitation { secret_sha256: good, expires_at_ms: 100 };
        let invited = Seat {
            role: SeatRole::Voter,
            invitation: Some(invitation),
            occupant: None,
            removal: None,
            revision: 1,
        };
        let occupant = Occupant { uid: ours.clone(), peer_address: "a:1".to_owned() };
        let taken = Seat { invitation: None, occupant: Some(occupant), ..invited.clone() };
        let removed = Seat { removal: Some(Removal { successor: None }), ..taken.clone() };
        let cancelled = Seat { removal: Some(Removal { successor: None }), ..invited.clone() };
        for (seat, uid, secret, now_ms, expected) in [
            (&invited, &ours, good, 99, Ok(())),
            (&invited, &ours, good, 100, Err(JoinFault::Expired)),
            (&invited, &ours, bad, 99, Err(JoinFault::WrongToken)),
            // Whoever lost the answer asks again.
            (&taken, &ours, good, 99, Ok(())),
            (&taken, &ours, good, 1_000, Ok(())),
            (&taken, &theirs, good, 99, Err(JoinFault::Taken)),
            (&removed, &ours, good, 99, Err(JoinFault::Removed)),
            (&cancelled, &ours, good, 99, Err(JoinFault::Removed)),
        ] {
            assert_eq!(seat.admits(uid, &secret, now_ms), expected, "{seat:?} {uid} {now_ms}");
        }
    }
}
