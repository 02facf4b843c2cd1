//! Snapshots of environments, each made once for all who ask at about the same time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use flagraft_core::{
    feed::{FORMAT, encode::snapshot},
    identity::{History, RevisionToken},
    state::State,
};
use tokio::sync::OnceCell;

use super::{
    frame::{END, head},
    lines::{Place, environment},
};
use crate::raft::Published;

/// An environment as one published state has it.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The revision of the state.
    pub(crate) revision: RevisionToken,
    /// The revision that last touched the environment.
    pub(crate) environment_revision: u64,
    /// The document from its second field on, with the end of an event behind it: the same for every state in which the
    /// environment was last touched by the same revision, and shared by all.
    tail: Bytes,
}

impl Snapshot {
    /// The document, in two pieces.
    pub(crate) fn document(&self) -> [Bytes; 2] {
        [prefix(self.revision.revision).into(), self.tail.slice(..self.tail.len().saturating_sub(END.len()))]
    }

    /// The event, in two pieces.
    pub(crate) fn event(&self) -> [Bytes; 2] {
        let mut event = head("snapshot", self.revision);
        event.extend_from_slice(prefix(self.revision.revision).as_bytes());
        [event.into(), self.tail.clone()]
    }
}

/// How every document begins: all of it that depends on more than the environment.
fn prefix(revision: u64) -> String {
    format!("{{\"format\":{FORMAT},\"revision\":{revision}")
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoSnapshot {
    /// There is no such environment.
    #[error("there is no such environment")]
    Deleted,
    /// It could not be made.
    #[error("a snapshot could not be made: {0}")]
    Failed(String),
}

/// What names a document: the history, and the revision that last touched the environment.
type Version = (History, u64);

/// The newest snapshot of each environment that was asked for, as far as they fit.
#[derive(Debug)]
pub(super) struct Snapshots {
    made: Mutex<Made>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Made {
    slots: BTreeMap<Place, Slot>,
    /// Counts what is asked for, so that what was not asked for longest is known.
    asked: u64,
}

#[derive(Clone, Debug)]
struct Slot {
    version: Version,
    tail: Arc<OnceCell<Bytes>>,
    asked: u64,
}

impl Slot {
    fn bytes(&self) -> usize {
        self.tail.get().map_or(0, Bytes::len)
    }
}

impl Snapshots {
    /// Keeps at most so many bytes of snapshots that nobody is being sent any more.
    pub fn new(bytes_max: usize) -> Self {
        Self { made: Mutex::default(), bytes_max }
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The environment as this state has it. Whoever asks while it is being made waits for that.
    ///
    /// # Errors
    /// When there is no such environment, or it could not be made.
    pub async fn of(&self, published: &Arc<Published>, place: &Place) -> Result<Snapshot, NoSnapshot> {
        let state = &published.state;
        let (Some(history), Some(stored)) = (state.history(), environment(state, place)) else {
            return Err(NoSnapshot::Deleted);
        };
        let environment_revision = stored.touched_revision;
        let cell = self.slot(place, (history, environment_revision));
        let made = cell.get_or_try_init(|| {
            let (published, place) = (Arc::clone(published), place.clone());
            async move {
                // A project may have 50,000 flags: Raft's heartbeats can't wait for that.
                let making = tokio::task::spawn_blocking(move || make(&published.state, &place));
                making.await.map_err(|panic| NoSnapshot::Failed(panic.to_string()))?
            }
        });
        let tail = made.await?.clone();
        self.trim();
        let revision = RevisionToken { history, revision: state.revision() };
        Ok(Snapshot { revision, environment_revision, tail })
    }

    fn slot(&self, place: &Place, version: Version) -> Arc<OnceCell<Bytes>> {
        let mut made = self.made();
        made.asked += 1;
        let asked = made.asked;
        let fresh = || Slot { version, tail: Arc::default(), asked };
        let slot = made.slots.entry(place.clone()).or_insert_with(fresh);
        if slot.version.0 == version.0 && slot.version.1 > version.1 {
            // Somebody looked at an older state: it is made for them, and the newer one stays for all others.
            return Arc::default();
        }
        if slot.version != version {
            *slot = fresh();
        }
        slot.asked = asked;
        Arc::clone(&slot.tail)
    }

    /// Forgets what was not asked for longest, until the rest fits.
    fn trim(&self) {
        let mut made = self.made();
        let mut bytes: usize = made.slots.values().map(Slot::bytes).sum();
        while bytes > self.bytes_max {
            let oldest =
                made.slots.iter().filter(|(_, slot)| slot.bytes() > 0).min_by_key(|(_, slot)| slot.asked);
            let Some((place, slot)) = oldest.map(|(place, slot)| (place.clone(), slot.bytes())) else {
                return;
            };
            made.slots.remove(&place);
            bytes = bytes.saturating_sub(slot);
        }
    }
}

/// Writes a document without its beginning, and with the end of an event.
fn make(state: &State, (project, environment): &Place) -> Result<Bytes, NoSnapshot> {
    let document = snapshot(state, project, environment).ok_or(NoSnapshot::Deleted)?;
    let mut bytes = Vec::new();
    serde_json::to_writer(&mut bytes, &document).map_err(|error| NoSnapshot::Failed(error.to_string()))?;
    bytes.extend_from_slice(END);
    let bytes = Bytes::from(bytes);
    let prefix = prefix(state.revision());
    if !bytes.starts_with(prefix.as_bytes()) {
        return Err(NoSnapshot::Failed("it begins otherwise than every snapshot does".to_owned()));
    }
    Ok(bytes.slice(prefix.len()..))
}
