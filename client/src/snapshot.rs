//! Taking in a whole copy from a node.

use std::sync::Arc;

use flagraft_core::{
    feed::{FeedError, Replica},
    identity::RevisionToken,
};

use crate::{
    details::Source,
    fault::Fault,
    hedge::first_good,
    held::Held,
    observer::Request,
    place::Place,
    shared::{Known, Shared},
    transport::{Definitions, Stamp},
};

/// Definitions of more bytes than this are read beside the other tasks, not between two of them.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// Takes in the definitions of the first node that has good ones; says which one that was.
pub(crate) async fn take_first(shared: &Shared) -> Result<usize, Option<Fault>> {
    let order = shared.endpoints.order();
    let (copy, bytes, endpoint) =
        first_good(order, shared.settings.hedge_after, async |endpoint| {
            match fetch(shared, endpoint).await {
                Ok(Some((copy, bytes))) => {
                    shared.endpoints.succeeded(endpoint);
                    Ok((copy, bytes, endpoint))
                }
                Ok(None) => Err(Fault::Garbage("it says that nothing has changed, and was not asked")),
                Err(fault) => {
                    shared.endpoints.failed(endpoint, &fault);
                    Err(fault)
                }
            }
        })
        .await?;
    shared.install(copy, bytes);
    Ok(endpoint)
}

/// The definitions of a node; `None` when they are those that are held, which it then confirms.
pub(crate) async fn poll(shared: &Shared, endpoint: usize) -> Result<(), Fault> {
    if let Some((copy, bytes)) = fetch(shared, endpoint).await? {
        shared.install(copy, bytes);
    }
    Ok(())
}

async fn fetch(shared: &Shared, endpoint: usize) -> Result<Option<(Held, usize)>, Fault> {
    let known = shared.known(endpoint).await?;
    let node = shared.endpoints.url(endpoint).ok_or(Fault::Unreachable)?;
    let held = shared.followed().filter(|_| shared.is_polling()).and_then(|held| {
        Some(RevisionToken { history: held.history?, revision: held.replica.environment_revision() })
    });
    // Before the node is asked: it vouches for a time no later than this.
    let asked_nanos = shared.clock.boot_nanos();
    let asked = shared.transport.definitions(node, &known.place, held);
    let answer = shared.watched(endpoint, Request::Definitions, asked).await?;
    let (text, Stamp { definitions, age_ms }) = match answer {
        Definitions::Unchanged(stamp) => {
            shared.sighted(stamp.definitions, stamp.age_ms, asked_nanos);
            return Ok(None);
        }
        Definitions::Fresh(text, stamp) => (text, stamp),
    };
    shared.admits(definitions, age_ms)?;
    let bytes = text.len();
    let copy = read(text, definitions, &known).await?;
    if let Some(age_ms) = age_ms {
        copy.was_current(asked_nanos.saturating_sub(age_ms.saturating_mul(1_000_000)).max(1));
    }
    Ok(Some((copy, bytes)))
}

/// Reads a snapshot of a node, which said that it has these definitions.
pub(crate) async fn read(text: String, definitions: RevisionToken, known: &Known) -> Result<Held, Fault> {
    let replica = if text.len() > INLINE_BYTES_MAX {
        let reading = tokio::task::spawn_blocking(move || Replica::from_snapshot(&text));
        reading.await.map_err(|_| Fault::Garbage("reading it was given up"))??
    } else {
        Replica::from_snapshot(&text)?
    };
    check_place(&replica, &known.place)?;
    if replica.environment_revision() > definitions.revision {
        return Err(Fault::Garbage("it holds a later revision than its name says"));
    }
    Ok(Held::new(replica, Some(definitions.history), Source::Node, Arc::clone(&known.overlay)))
}

/// Makes sure that the definitions are those of the environment that is wanted.
pub(crate) fn check_place(replica: &Replica, place: &Place) -> Result<(), FeedError> {
    let (project, environment) = (replica.project(), replica.environment().key());
    if *project == *place.project && *environment == *place.environment {
        return Ok(());
    }
    Err(FeedError::OtherPlace(format!("{project}/{environment}")))
}
