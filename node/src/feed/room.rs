//! Room for streams: a node carries so many, and none of them may crowd out the others.
//!
//! Whoever reads a page has its client token. So notices have a share of their own, however many are asked for, and so
//! has each client token: definitions, which services live on, keep theirs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use flagraft_core::token::{Token, TokenId, TokenKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::StreamKind;
use crate::config::StreamConfig;

/// Why one more stream can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoom {
    /// The node stops.
    #[error("this node stops; ask another node")]
    Stopping,
    /// There are as many streams as may be.
    #[error(
        "this node carries as many streams as its setting --streams-max lets it; ask another node, or poll"
    )]
    Streams,
    /// There are as many streams of notices as may be.
    #[error(
        "this node carries as many streams of notices as its setting --notice-streams-max lets it; ask another node, or \
         poll"
    )]
    Notices,
    /// The client token has as many streams as it may have.
    #[error(
        "this client token has as many streams on this node as its setting --client-token-streams-max lets it; close \
         some, or poll"
    )]
    Token,
}

/// How many streams are open, and how many may be.
#[derive(Debug)]
pub(super) struct Room {
    all: Arc<Semaphore>,
    notices: Arc<Semaphore>,
    of_client_tokens: Arc<Mutex<HashMap<TokenId, usize>>>,
    client_token_max: usize,
}

/// The room that one stream takes; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    _all: OwnedSemaphorePermit,
    _notices: Option<OwnedSemaphorePermit>,
    _token: Option<TokenSeat>,
}

impl Room {
    pub fn new(config: &StreamConfig) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self {
            all: semaphore(config.streams_max),
            notices: semaphore(config.notices_max()),
            of_client_tokens: Arc::default(),
            client_token_max: config.client_token_max,
        }
    }

    /// Takes room for a stream of this token.
    ///
    /// # Errors
    /// When there is none; nothing is taken then.
    pub fn take(&self, kind: StreamKind, token: &Token) -> Result<Seat, NoRoom> {
        let token = match token.spec.kind {
            TokenKind::Client => Some(self.of_client_token(&token.spec.id).ok_or(NoRoom::Token)?),
            TokenKind::Service | TokenKind::Admin => None,
        };
        let notices = match kind {
            StreamKind::Notices => {
                Some(Arc::clone(&self.notices).try_acquire_owned().map_err(|_| NoRoom::Notices)?)
            }
            StreamKind::Definitions => None,
        };
        let all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| NoRoom::Streams)?;
        Ok(Seat { _all: all, _notices: notices, _token: token })
    }

    fn of_client_token(&self, id: &TokenId) -> Option<TokenSeat> {
        // Only tokens that have a stream are in the map: there are never more of them than streams.
        let mut open = self.of_client_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(id).copied().unwrap_or(0);
        if count >= self.client_token_max {
            return None;
        }
        open.insert(Arc::clone(id), count.saturating_add(1));
        drop(open);
        Some(TokenSeat { id: Arc::clone(id), open: Arc::clone(&self.of_client_tokens) })
    }
}

/// One of the streams that a client token has.
#[derive(Debug)]
struct TokenSeat {
    id: TokenId,
    open: Arc<Mutex<HashMap<TokenId, usize>>>,
}

impl Drop for TokenSeat {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.id) {
            Some(count) if *count > 1 => *count = count.saturating_sub(1),
            _ => _ = open.remove(&self.id),
        }
    }
}
