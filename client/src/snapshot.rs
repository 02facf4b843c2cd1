//! Taking in a whole copy from a node.

use std::sync::Arc;

use flagraft_core::{
    feed::{FeedError, Replica},
    identity::RevisionToken,
};
use tokio::time::Instant;

use crate::{
    details::Source,
    fault::Fault,
    hedge::first_good,
    held::Held,
    observer::Request,
    place::Place,
    shared::{Known, Shared},
    transport::{Definitions, DefinitionsBody, Stamp},
};

/// Definitions of more bytes than this are read beside the other tasks, not between two of them.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// Definitions that a node has begun to give.
struct Opened {
    endpoint: usize,
    known: Known,
    /// `None` where they are those that are held, which the node has confirmed.
    fresh: Option<(DefinitionsBody, Stamp)>,
    asked_nanos: u64,
    begun: Instant,
}

/// Takes in the definitions of the first node that has good ones, unless they are polled and are those that are held; says
/// which one that was.
///
/// The first node whose answer begins well has the time to finish it: no second one is made to send all definitions too.
pub(crate) async fn take_first(shared: &Shared) -> Result<usize, Option<Fault>> {
    let (mut tried, mut last) = (Vec::new(), None);
    loop {
        let mut order = shared.endpoints.order();
        order.retain(|endpoint| !tried.contains(endpoint));
        let opening = first_good(order, shared.settings.hedge_after, async |endpoint| {
            open(shared, endpoint).await.inspect_err(|fault| shared.endpoints.failed(endpoint, fault))
        });
        let opened = match opening.await {
            Ok(opened) => opened,
            Err(fault) => return Err(fault.or(last)),
        };
        let endpoint = opened.endpoint;
        match finish(shared, opened).await {
            Ok(()) => {
                shared.endpoints.succeeded(endpoint);
                return Ok(endpoint);
            }
            Err(fault) => {
                shared.endpoints.failed(endpoint, &fault);
                tried.push(endpoint);
                last = Some(fault);
            }
        }
    }
}

/// Asks a node for its definitions.
async fn open(shared: &Shared, endpoint: usize) -> Result<Opened, Fault> {
    let known = shared.known(endpoint).await?;
    let node = shared.endpoints.url(endpoint).ok_or(Fault::Unreachable)?;
    let held = shared.followed().filter(|_| shared.is_polling()).and_then(|held| held.definitions());
    // Before the node is asked: it vouches for a time no later than this.
    let (asked_nanos, begun) = (shared.clock.boot_nanos(), Instant::now());
    let answer = shared.transport.definitions(node, &known.place, held).await;
    let fresh =
        match answer.inspect_err(|fault| shared.asked(endpoint, Request::Definitions, Some(fault), begun))? {
            Definitions::Unchanged(stamp) => {
                shared.asked(endpoint, Request::Definitions, None, begun);
                shared.sighted(stamp.definitions, stamp.age_ms, asked_nanos);
                None
            }
            Definitions::Fresh(body, stamp) => {
                shared.admits(stamp.definitions, stamp.age_ms)?;
                Some((body, stamp))
            }
        };
    Ok(Opened { endpoint, known, fresh, asked_nanos, begun })
}

/// Takes in what a node has begun to give.
async fn finish(shared: &Shared, opened: Opened) -> Result<(), Fault> {
    let Opened { endpoint, known, fresh, asked_nanos, begun } = opened;
    let Some((body, Stamp { definitions, age_ms })) = fresh else { return Ok(()) };
    let text = shared.transport.text(body).await;
    shared.asked(endpoint, Request::Definitions, text.as_ref().err(), begun);
    let text = text?;
    let bytes = text.len();
    let copy = read(text, definitions, &known).await?;
    if copy.replica.environment_revision() != definitions.revision {
        // What the node said of its age is of the revision that it named.
        return Err(Fault::Garbage("it holds another revision than its name says"));
    }
    if let Some(age_ms) = age_ms {
        copy.was_current(asked_nanos.saturating_sub(age_ms.saturating_mul(1_000_000)).max(1));
    }
    shared.install(copy, bytes);
    Ok(())
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
