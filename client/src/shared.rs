//! What the client's handles and its tasks share: the copy, and who may put another one in its place.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use flagraft_core::{
    feed::FeedError,
    identity::{History, RevisionToken},
    resolution::Resolution,
    token::TokenKind,
};
use tokio::{
    sync::{Notify, broadcast, watch},
    time::Instant,
};

use crate::{
    changes::{Change, Changed, Changes},
    clock::Clock,
    context::Overlay,
    details::Source,
    endpoints::Endpoints,
    fault::Fault,
    held::Held,
    observer::{Observer, Request},
    place::Place,
    settings::Settings,
    status::Status,
    tally::Tally,
    transport::Transport,
};

/// So many sightings wait at once for the copy to catch up with them.
const SIGHTINGS_MAX: usize = 16;
/// So many histories that were left are remembered.
const LEFT_MAX: usize = 16;

/// What the client's handles and its tasks share.
pub(crate) struct Shared {
    /// The copy. Put by the updater alone, once it runs.
    pub held: ArcSwapOption<Held>,
    pub settings: Settings,
    pub transport: Transport,
    pub endpoints: Endpoints,
    pub clock: Arc<dyn Clock>,
    pub observer: Option<Arc<dyn Observer>>,
    pub status: watch::Sender<Status>,
    pub changes: broadcast::Sender<Change>,
    /// The place that the caller stated.
    pub stated: Option<Place>,
    /// Rings when there is another copy to be saved.
    pub unsaved: Notify,
    /// Rings when the copy is behind what a node has, and its stream does not bring it.
    pub behind: Notify,
    /// Rings when the age of a copy is to be found out at once.
    pub unprobed: Notify,
    /// Whether the definitions are polled, so that nobody has to ask for their age besides.
    pub polling: AtomicBool,
    /// What was evaluated, where that is to be reported.
    pub tally: Option<Tally>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: Option<Known>,
    /// What nodes had that the copy had not yet.
    sightings: VecDeque<Sighting>,
    /// Histories that were left for another one. None of them comes back: a restore begins a new one.
    left: VecDeque<History>,
    round_failed: bool,
}

/// What is known of the token.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub place: Place,
    pub overlay: Arc<Overlay>,
    /// Whether what is evaluated with it may be reported.
    pub reports: bool,
}

/// A node had these definitions, and they were current as of then.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    definitions: RevisionToken,
    as_of_nanos: u64,
    since: Instant,
}

/// The parts of [`Shared`] that a builder brings.
pub(crate) struct Parts {
    pub settings: Settings,
    pub transport: Transport,
    pub endpoints: Endpoints,
    pub clock: Arc<dyn Clock>,
    pub observer: Option<Arc<dyn Observer>>,
    pub stated: Option<Place>,
}

impl Shared {
    pub fn new(parts: Parts) -> Self {
        let Parts { settings, transport, endpoints, clock, observer, stated } = parts;
        Self {
            held: ArcSwapOption::empty(),
            tally: settings.evaluation_reports.then(Tally::default),
            settings,
            transport,
            endpoints,
            clock,
            observer,
            status: watch::Sender::new(Status::NotReady),
            changes: Changes::channel(),
            stated,
            unsaved: Notify::new(),
            behind: Notify::new(),
            unprobed: Notify::new(),
            polling: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// Counts an evaluation of a flag that asks for it, where it is to be reported.
    #[inline]
    pub fn count(&self, held: &Held, resolution: &Resolution<'_>) {
        if let Some(tally) = self.tally.as_ref().filter(|_| held.is_counted) {
            tally.count(resolution);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The copy, if it came from a node of this run: what a stream may go on from.
    pub fn followed(&self) -> Option<Arc<Held>> {
        self.held.load_full().filter(|held| held.source == Source::Node)
    }

    /// How often the age is bounded anew.
    pub fn probe_every(&self) -> Duration {
        let held = self.held.load();
        let is_critical = held.as_ref().is_some_and(|held| !held.replica.environment().critical().is_empty());
        if is_critical { self.settings.probe_every_critical } else { self.settings.probe_every }
    }

    /// What the token is good for, from a node where it is not known yet.
    pub async fn known(&self, endpoint: usize) -> Result<Known, Fault> {
        if let Some(known) = self.state().known.clone() {
            return Ok(known);
        }
        let node = self.endpoints.url(endpoint).ok_or(Fault::Unreachable)?;
        let info = self.watched(endpoint, Request::Token, self.transport.token(node)).await?;
        let said = info.place();
        let place = match (&self.stated, said) {
            (Some(stated), Some(said)) if *stated != said => {
                let place = format!("{}/{}", said.project, said.environment);
                return Err(Fault::Feed(FeedError::OtherPlace(place)));
            }
            (Some(stated), _) => stated.clone(),
            (None, Some(said)) => said,
            (None, None) => {
                return Err(Fault::Garbage(
                    "it does not say which environment the token is for; state the project and environment",
                ));
            }
        };
        // An admin token lays nothing over anything: whoever manages asks about others.
        let reports = info.reports();
        let token = if info.kind == TokenKind::Service { info.context } else { BTreeMap::new() };
        let overlay = Arc::new(Overlay { region: self.settings.region.clone(), token });
        let known = Known { place, overlay, reports };
        // Several nodes may have been asked; the copy goes by one answer.
        Ok(self.state().known.get_or_insert(known).clone())
    }

    /// Whether a snapshot of these definitions, of a state of this age, may take the place of what is held.
    ///
    /// Revisions of two histories can't be compared. The one that a quorum stands behind now is followed: a node that a
    /// restored cluster left behind does not know how old its state is, or that it is old.
    pub fn admits(&self, definitions: RevisionToken, age_ms: Option<u64>) -> Result<(), Fault> {
        let held = self.held.load();
        let Some((held, history)) = held.as_ref().and_then(|held| Some((held, held.history?))) else {
            return Ok(());
        };
        if history == definitions.history {
            let is_older = definitions.revision < held.replica.environment_revision();
            return if is_older { Err(Fault::Older) } else { Ok(()) };
        }
        let is_left = self.state().left.contains(&definitions.history);
        if is_left || !self.is_recent(age_ms) { Err(Fault::LeftHistory) } else { Ok(()) }
    }

    fn is_recent(&self, age_ms: Option<u64>) -> bool {
        age_ms.is_some_and(|age_ms| Duration::from_millis(age_ms) <= self.settings.stale_after)
    }

    /// Takes in a whole copy.
    pub fn install(&self, copy: Held, bytes: usize) {
        let before = self.held.load_full();
        let same_history = |before: &&Arc<Held>| {
            before.history == copy.history && before.replica.project() == copy.replica.project()
        };
        let changed = match before.as_ref().filter(same_history) {
            Some(before) => {
                if before.replica.environment_revision() <= copy.replica.environment_revision() {
                    copy.was_current_with(before);
                }
                Changed::Flags(copy.replica.changed_since(&before.replica).into())
            }
            None => Changed::Everything,
        };
        if let Some(left) =
            before.and_then(|before| before.history).filter(|left| Some(*left) != copy.history)
        {
            tracing::warn!(%left, "the cluster has another history now; its definitions take the place of the old ones");
            let mut state = self.state();
            state.left.push_back(left);
            if state.left.len() > LEFT_MAX {
                state.left.pop_front();
            }
        }
        for (key, why) in copy.replica.unsupported() {
            tracing::warn!(key, why, "this version of the client does not understand a flag; upgrade it");
        }
        self.put(copy, changed, bytes);
    }

    /// Puts a copy in the place of the one before.
    pub fn put(&self, copy: Held, changed: Changed, bytes: usize) {
        let (revision, source) = (copy.revision(), copy.source);
        let (number, definitions) = (copy.replica.revision(), copy.definitions());
        let before = self.held.swap(Some(Arc::new(copy)));
        self.settle();
        if source == Source::Node {
            self.state().round_failed = false;
            // While only other environments change there is nothing new to be saved.
            let is_saved = before
                .is_some_and(|before| before.source == Source::Node && before.definitions() == definitions);
            if !is_saved {
                self.unsaved.notify_one();
            }
        }
        let is_nothing = matches!(&changed, Changed::Flags(flags) if flags.is_empty());
        if !is_nothing {
            if let Some(observer) = &self.observer {
                observer.updated(number, bytes);
            }
            // Nobody may be listening.
            let _ = self.changes.send(Change { revision, changed });
        }
        self.refresh_status();
    }

    /// A node had these definitions at this age when it was asked at `asked_nanos`. Once the copy has them too, it is known
    /// to be current as of the time that the node vouched for.
    pub fn sighted(&self, definitions: RevisionToken, age_ms: Option<u64>, asked_nanos: u64) {
        let held = self.held.load_full();
        let is_other = held.is_some_and(|held| held.history != Some(definitions.history));
        let Some(age_ms) = age_ms.filter(|_| !is_other || self.is_recent(age_ms)) else { return };
        let as_of_nanos = asked_nanos.saturating_sub(age_ms.saturating_mul(1_000_000)).max(1);
        {
            let mut state = self.state();
            if state.left.contains(&definitions.history) {
                return;
            }
            state.sightings.push_back(Sighting { definitions, as_of_nanos, since: Instant::now() });
            if state.sightings.len() > SIGHTINGS_MAX {
                // The oldest one stays: it is what says for how long the copy has been behind.
                state.sightings.remove(1);
            }
        }
        self.settle();
    }

    /// Tells the copy what of the sightings it has caught up with.
    fn settle(&self) {
        let mut state = self.state();
        let held = self.held.load();
        let Some(held) = held.as_ref() else { return };
        state.sightings.retain(|sighting| {
            let is_met = held.history == Some(sighting.definitions.history)
                && held.replica.environment_revision() >= sighting.definitions.revision;
            if is_met {
                held.was_current(sighting.as_of_nanos);
            }
            !is_met
        });
    }

    /// Rings `behind` if the copy has not caught up with a sighting for too long.
    pub fn check_behind(&self) {
        let mut state = self.state();
        let oldest = state.sightings.front();
        if oldest.is_some_and(|sighting| sighting.since.elapsed() >= self.settings.catch_up) {
            state.sightings.clear();
            self.behind.notify_one();
        }
    }

    /// No node gave what it was asked for.
    pub fn round_failed(&self) {
        self.state().round_failed = true;
        self.refresh_status();
    }

    /// Works out how the client does, and says so if that is something else.
    pub fn refresh_status(&self) {
        let status = self.find_status();
        let changed = self.status.send_if_modified(|known| std::mem::replace(known, status) != status);
        if changed {
            tracing::info!(%status, "the client's status changed");
            if let Some(observer) = &self.observer {
                observer.status(status);
            }
        }
    }

    fn find_status(&self) -> Status {
        if self.endpoints.all_refuse() {
            return Status::Fatal;
        }
        match self.held.load().as_ref() {
            None if self.state().round_failed => Status::Error,
            None => Status::NotReady,
            Some(held) => {
                let age = held.age_ms(&*self.clock).map(Duration::from_millis);
                let is_current = age.is_some_and(|age| age <= self.settings.stale_after);
                if is_current { Status::Ready } else { Status::Stale }
            }
        }
    }

    /// Asks a node, and tells how that went.
    pub async fn watched<T>(
        &self,
        endpoint: usize,
        request: Request,
        asked: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let begun = Instant::now();
        let answer = asked.await;
        self.asked(endpoint, request, answer.as_ref().err(), begun);
        answer
    }

    /// Tells how a node answered that was asked at `begun`.
    pub fn asked(&self, endpoint: usize, request: Request, fault: Option<&Fault>, begun: Instant) {
        let node = self.endpoints.name(endpoint);
        if let Some(observer) = &self.observer {
            observer.asked(node, request, fault.map_or("ok", Fault::word), begun.elapsed());
        }
        if let Some(fault) = fault {
            tracing::debug!(node, request = request.as_str(), %fault, "a node did not answer well");
        }
    }

    /// Whether the definitions are polled.
    pub fn is_polling(&self) -> bool {
        self.polling.load(Ordering::Relaxed)
    }
}
