//! Keeping a catalog every so many revisions, in the background.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use flagraft_core::{
    state::State,
    travel::{Catalog, Moment},
};

use super::{LogError, TravelError, Traveller, log::Log};
use crate::{
    disk::{Disk, DiskState},
    raft::Replica,
};

/// Of the time that keeping catalogs may take, so many parts are rest for one that is work: it must never be felt.
const REST: u32 = 4;
/// After a failure.
const PAUSE: Duration = Duration::from_secs(10);
/// A catalog that has to be made of the log has this long for each.
const PATIENCE: Duration = Duration::from_secs(600);

/// What keeps them.
pub struct Keeper {
    traveller: Arc<Traveller>,
    replica: Replica,
    disk: Arc<Disk>,
}

impl Keeper {
    /// What keeps the catalogs that this replica publishes.
    pub(crate) fn new(traveller: Arc<Traveller>, replica: Replica, disk: Arc<Disk>) -> Self {
        Self { traveller, replica, disk }
    }

    /// Runs until it is aborted.
    pub async fn run(self) {
        // The one that was kept last, while the way goes on from it in the log.
        let mut last: Option<Catalog> = None;
        loop {
            let due = self.due(last.as_ref());
            let milestone = self.replica.milestone();
            let live = milestone.reached(due, || self.replica.published().state.clone()).await;
            if self.disk.report().state != DiskState::Ok {
                // What is kept here spares time; the room is needed for changes.
                last = None;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let begun = Instant::now();
            let (traveller, from) = (Arc::clone(&self.traveller), last.take());
            let published = self.replica.published().state.clone();
            let work = tokio::task::spawn_blocking(move || {
                let catalog = match published.edge() {
                    Some(edge) if due <= edge.catalog.revision => traveller.edge(edge)?,
                    _ => traveller.bring(live.as_ref(), from, &published, due)?.1,
                };
                traveller.checkpoints.put(&catalog).map_err(|error| LogError::Failed(error.to_string()))?;
                Ok::<_, TravelError>(catalog)
            });
            let kept = work.await.unwrap_or_else(|panic| Err(LogError::Failed(panic.to_string()).into()));
            match kept {
                Ok(catalog) => {
                    let is_behind = self.traveller.checkpoints.due_after(&catalog)
                        <= self.replica.published().state.revision();
                    last = is_behind.then_some(catalog);
                    tokio::time::sleep(begun.elapsed() * REST).await;
                }
                Err(TravelError::Gone { oldest }) => {
                    tracing::info!(due, oldest, "the log does not go back to where a catalog is due");
                    last = Some(Catalog::of(&self.replica.published().state));
                }
                Err(error) => {
                    tracing::warn!(%error, due, "a catalog could not be kept; it is tried again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn due(&self, last: Option<&Catalog>) -> u64 {
        let checkpoints = &self.traveller.checkpoints;
        last.map_or_else(|| checkpoints.due(), |last| checkpoints.due_after(last))
    }
}

impl Traveller {
    /// The record that made a revision, and the catalog right after it: from the state of it, or else from a catalog that
    /// is known, or one that is kept.
    pub(super) fn bring(
        &self,
        live: Option<&State>,
        from: Option<Catalog>,
        published: &State,
        revision: u64,
    ) -> Result<(Moment, Catalog), TravelError> {
        let log = Log { storage: &self.storage, end: published.sequence() };
        let Some(moment) = log.made(revision)? else { return Err(self.gone(published, revision)) };
        if let Some(state) = live {
            // The same bytes on every node, whatever came after it before it was looked at.
            return Ok((moment, Catalog::right_after(state, moment.sequence)));
        }
        let start = match from.filter(|from| from.revision() <= revision) {
            Some(from) => from,
            None => self.start(&log, published.edge(), revision)?,
        };
        Ok((moment, self.arrive_in_time(start, &log, published, &moment)?))
    }

    /// The catalog right after a record, for which there is time.
    pub(super) fn arrive_in_time(
        &self,
        start: Catalog,
        log: &Log<'_>,
        published: &State,
        moment: &Moment,
    ) -> Result<Catalog, TravelError> {
        self.arrive_from(start, log, published, moment, Instant::now() + PATIENCE)
    }
}
