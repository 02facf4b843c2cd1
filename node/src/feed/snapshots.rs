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
use tokio::sync::{OnceCell, Semaphore};

use super::{
    frame::{END, head},
    lines::{Place, environment},
};
use crate::raft::Published;

/// Snapshots that are made at once, at most: each may take a core for a second, and as much memory as it is long.
const MAKING_MAX: usize = 2;

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

/// Why a document was not made.
enum NotMade {
    /// While it waited for its turn, something newer came to be published.
    Outdated,
    No(NoSnapshot),
}

/// What names a document: the history, and the revision that last touched the environment.
type Version = (History, u64);

/// The newest snapshot of each environment that was asked for, as far as they fit.
#[derive(Debug)]
pub(super) struct Snapshots {
    made: Mutex<Made>,
    bytes_max: usize,
    making: Semaphore,
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
    /// Keeps at most so many bytes of snapshots that nobody is being sent any more; the one that was asked for last is
    /// kept whatever its size.
    pub fn new(bytes_max: usize) -> Self {
        Self { made: Mutex::default(), bytes_max, making: Semaphore::new(MAKING_MAX) }
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The environment as a state has it that `published` gives. Whoever asks while it is being made waits for that; and
    /// whoever had to wait for their turn is given what is published then.
    ///
    /// # Errors
    /// When there is no such environment, or it could not be made.
    pub async fn of(
        &self,
        published: impl Fn() -> Arc<Published> + Send + Sync,
        place: &Place,
    ) -> Result<Snapshot, NoSnapshot> {
        loop {
            let now = published();
            let version = version(&now.state, place).ok_or(NoSnapshot::Deleted)?;
            let cell = self.slot(place, version);
            let tail = match cell.get_or_try_init(|| self.make(&published, place, version)).await {
                Ok(tail) => tail.clone(),
                Err(NotMade::Outdated) => continue,
                Err(NotMade::No(why)) => return Err(why),
            };
            self.trim();
            let (history, environment_revision) = version;
            let revision = RevisionToken { history, revision: now.state.revision() };
            return Ok(Snapshot { revision, environment_revision, tail });
        }
    }

    async fn make(
        &self,
        published: impl Fn() -> Arc<Published> + Send + Sync,
        place: &Place,
        wanted: Version,
    ) -> Result<Bytes, NotMade> {
        // It is never closed.
        let _turn = self.making.acquire().await.ok();
        let now = published();
        if version(&now.state, place) != Some(wanted) {
            return Err(NotMade::Outdated);
        }
        let place = place.clone();
        // A project may have 50,000 flags: Raft's heartbeats can't wait for that.
        let making = tokio::task::spawn_blocking(move || make(&now.state, &place));
        let made = making.await.map_err(|panic| NoSnapshot::Failed(panic.to_string()));
        made.and_then(|made| made).map_err(NotMade::No)
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

    /// Forgets what was not asked for longest, until the rest fits. What was asked for last stays: made anew for each who
    /// asks, it would cost more than it does here.
    fn trim(&self) {
        let mut made = self.made();
        let mut bytes: usize = made.slots.values().map(Slot::bytes).sum();
        let newest = made.asked;
        while bytes > self.bytes_max {
            let others = made.slots.iter().filter(|(_, slot)| slot.bytes() > 0 && slot.asked != newest);
            let oldest = others.min_by_key(|(_, slot)| slot.asked);
            let Some((place, slot)) = oldest.map(|(place, slot)| (place.clone(), slot.bytes())) else {
                return;
            };
            made.slots.remove(&place);
            bytes = bytes.saturating_sub(slot);
        }
    }
}

/// What names the document of an environment in a state; `None` when it has no such environment.
fn version(state: &State, place: &Place) -> Option<Version> {
    Some((state.history()?, environment(state, place)?.touched_revision))
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::{FutureExt as _, future::join_all};

    use super::{
        super::tests::{production, since_production},
        *,
    };

    fn published() -> Vec<Arc<Published>> {
        since_production()
            .into_iter()
            .map(|state| Arc::new(Published::first(state, None, Arc::default())))
            .collect()
    }

    impl Snapshots {
        fn is_kept(&self, place: &Place) -> bool {
            self.made().slots.get(place).is_some_and(|slot| slot.bytes() > 0)
        }
    }

    /// However many states come to be published while snapshots wait to be made, those that wait are given the newest.
    #[tokio::test]
    async fn who_waited_is_given_what_is_newest_then() {
        let published = published();
        let snapshots = Snapshots::new(1 << 20);
        let newest = AtomicUsize::new(0);
        let now = || Arc::clone(&published[newest.load(Ordering::SeqCst)]);
        let turns = snapshots.making.acquire_many(2).await.expect("open");
        let place = production();
        let mut asking = Vec::new();
        for at in 0..published.len() {
            newest.store(at, Ordering::SeqCst);
            let mut one = Box::pin(snapshots.of(now, &place));
            assert!((&mut one).now_or_never().is_none(), "there is no turn");
            asking.push(one);
        }
        drop(turns);
        let last = version(&published.last().expect("some").state, &place).expect("there");
        for snapshot in join_all(asking).await {
            let snapshot = snapshot.expect("made");
            assert_eq!((snapshot.revision.history, snapshot.environment_revision), last);
            assert_eq!(snapshot.event().len(), 2);
        }
        assert_eq!(snapshots.making.available_permits(), MAKING_MAX);
    }

    /// One that is asked for as an older state has it is made, in its turn, and takes nothing from the others.
    #[tokio::test]
    async fn an_older_state_gets_its_own() {
        let published = published();
        let snapshots = Snapshots::new(1 << 20);
        let (old, new) = (&published[0], published.last().expect("some"));
        let of = async |published: &Arc<Published>| {
            snapshots.of(|| Arc::clone(published), &production()).await.expect("made")
        };
        let newer = of(new).await;
        let turns = snapshots.making.acquire_many(2).await.expect("open");
        let (late, again) = (of(old).now_or_never(), of(new).now_or_never());
        assert!(late.is_none(), "there is no turn");
        assert_eq!(again.expect("it is there").document(), newer.document());
        drop(turns);
        assert_eq!(of(old).await.revision.revision, old.state.revision());
    }

    #[tokio::test]
    async fn one_that_is_larger_than_all_may_be_is_made_once() {
        let published = published();
        let snapshots = Snapshots::new(1);
        let now = || Arc::clone(&published[0]);
        let dev: Place = ("shop".parse().expect("a key"), "dev".parse().expect("a key"));
        snapshots.of(now, &production()).await.expect("made");
        assert!(snapshots.is_kept(&production()));
        snapshots.of(now, &dev).await.expect("made");
        assert!(snapshots.is_kept(&dev) && !snapshots.is_kept(&production()));
    }
}
