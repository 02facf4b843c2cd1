//! How members talk to each other: one POST route, messages of frozen structs, each authenticated and addressed.
//!
//! A request is whole before its seal can be checked. So it comes with a claim in a header, which is sealed too and says
//! how long it is: a node takes no body from whoever has no claim.
//!
//! Every request names the cluster, the group, the sender, the receiver, the sender's data folder and the versions
//! it speaks, and carries a nonce; the reply names the same from its side and repeats the nonce. Both end in an HMAC
//! over all of that, under the secret that the members share. So a message of another cluster, a misdirected one, one
//! from a node that lost its disk and came back empty, and a reply to an earlier request are each refused by name.
//!
//! A request that somebody records and sends again is *not* recognized here. Raft's messages may be repeated and
//! delayed by any network, and reads change nothing. A forwarded write says when it was sent, and is refused ten
//! minutes later; until then it is remembered by its request id.

mod auth;
mod client;
mod directory;
mod envelope;
mod message;
pub mod server;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::{
    auth::{PeerSecret, SECRET_BYTES_MIN, WeakSecret},
    client::{PeerClient, PeerError, PeerOptions},
    message::{
        CosignReply, Found, FoundReply, HandOverReply, HelloReply, Join, JoinReply, ReadIndexReply, Refusal,
        RefusalCode,
    },
    server::PeerHandler,
};

/// Bytes of one message, at most.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The path of the one route.
const PATH: &str = "/peer/v1";

/// The HTTP header with a request's claim: how long it is, sealed, so that nobody else can make a node wait for bytes.
const CLAIM: &str = "flagraft-peer-claim";

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
