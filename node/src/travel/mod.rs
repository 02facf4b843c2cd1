//! Time travel: what the catalog was at an earlier revision or time, made of the audit log.
//!
//! Where a revision stands in the log is found by halving it, for times and revisions only rise. The catalog is then
//! brought there from the nearest earlier one that is kept, on a thread for it, and a few that were asked for last stay
//! in memory. Beside that the node keeps catalogs on its disk, one every so many revisions ([`Keeper`]): copies that
//! spare the way from the start of the log, and are made anew when they are lost or damaged.
//!
//! Invariant: nothing here holds up the application of entries, or a read of what is now.

mod catalog_file;
mod checkpoints;
mod edge;
mod history;
mod keeper;
mod log;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use flagraft_core::{
    compiled::CompiledEnvironment,
    identity::{History, RevisionToken},
    key::{EnvironmentKey, FlagKey, ProjectKey},
    project::Project,
    retention::Edge,
    state::State,
    travel::{Catalog, Moment, NotReplayed},
};
use tokio::sync::Semaphore;

pub(crate) use self::edge::EdgeCheck;
use self::{checkpoints::Checkpoints, edge::moment_of, log::Log};
pub use self::{history::HistoryPage, keeper::Keeper};
use crate::{
    config::TravelConfig,
    storage::{Storage, StorageError},
};

/// Records that are taken in between two looks at the clock.
const RECORDS_PER_LOOK: u64 = 64;

/// Which catalog is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The one of this revision.
    Revision(u64),
    /// The one of this revision, which is of this history.
    Token(RevisionToken),
    /// The one that was in force at this time, in milliseconds since 1970 UTC.
    Time(i64),
}

/// Why there is no catalog of then.
#[derive(Debug, thiserror::Error)]
pub enum TravelError {
    /// It has still to come.
    #[error("revision {wanted} has still to come: the newest one here is {newest}")]
    Ahead {
        /// The revision that is asked for.
        wanted: u64,
        /// The newest one.
        newest: u64,
    },
    /// The revision is of another history.
    #[error("revision {wanted} is none of this log, in which that revision is of history {here}")]
    OtherHistory {
        /// What is asked for.
        wanted: RevisionToken,
        /// The history that the revision is of here, or the present one where it has still to come.
        here: History,
    },
    /// The log does not go back that far.
    #[error("what was then is not known")]
    Gone {
        /// The oldest later revision that is.
        oldest: u64,
    },
    /// Others ask for too much.
    #[error("this node looks into the past for others already")]
    Busy,
    /// It takes too long.
    #[error("it takes longer than {0:?} to find out what was then")]
    TooSlow(Duration),
    /// The log can't be read, or contradicts itself.
    #[error("{0}")]
    Log(#[from] LogError),
}

/// Why the audit log does not say what was.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed.
    #[error("the audit log could not be read: {0}")]
    Storage(#[from] StorageError),
    /// The records do.
    #[error("the audit log does not lead there: {0}")]
    Records(#[from] NotReplayed),
    /// The catalog in the log, which the kept changes go on from, is not as it must be.
    #[error(
        "the catalog of revision {revision} in the audit log can't be used ({why}); restore this node from its peers or a backup"
    )]
    Edge {
        /// Its revision.
        revision: u64,
        /// What is wrong with it.
        why: std::io::Error,
    },
    /// The work ended before its time.
    #[error("looking into the past failed: {0}")]
    Failed(String),
}

/// The catalog of an earlier revision.
#[derive(Debug)]
pub struct Travelled {
    moment: Moment,
    catalog: Catalog,
    compiled: Mutex<BTreeMap<(ProjectKey, EnvironmentKey), Arc<CompiledEnvironment>>>,
}

impl Travelled {
    fn new(moment: Moment, catalog: Catalog) -> Self {
        Self { moment, catalog, compiled: Mutex::default() }
    }

    /// The record that made the revision.
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// The project as it was.
    pub fn project(&self, key: &str) -> Option<&Project> {
        self.catalog.project(key)
    }

    /// An environment as it was, compiled for evaluation when it is asked for first. This blocks for as long as that
    /// takes.
    pub fn environment(
        &self,
        project: &ProjectKey,
        environment: &EnvironmentKey,
    ) -> Option<Arc<CompiledEnvironment>> {
        let stored = self.project(project)?;
        stored.environments.get(environment)?;
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (project.clone(), environment.clone());
        let compile = || Arc::new(CompiledEnvironment::compile(stored, environment));
        Some(Arc::clone(compiled.entry(place).or_insert_with(compile)))
    }
}

/// What goes back in time.
pub struct Traveller {
    storage: Arc<Storage>,
    checkpoints: Arc<Checkpoints>,
    /// What was asked for last, the newest in front.
    kept: Mutex<VecDeque<Arc<Travelled>>>,
    turns: Arc<Semaphore>,
    stopping: AtomicBool,
    config: TravelConfig,
}

impl Traveller {
    /// What goes back in the log on this disk.
    ///
    /// # Errors
    /// When the folder of the kept catalogs can't be used.
    pub fn open(storage: &Arc<Storage>, config: TravelConfig) -> Result<Arc<Self>, StorageError> {
        let checkpoints = Checkpoints::open(storage.catalog_dir(), &config)?;
        Ok(Arc::new(Self {
            storage: Arc::clone(storage),
            checkpoints: Arc::new(checkpoints),
            kept: Mutex::default(),
            turns: Arc::new(Semaphore::new(config.at_once)),
            stopping: AtomicBool::new(false),
            config,
        }))
    }

    /// Ends what is under way, and takes up nothing more: this node stops.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The catalog of then, as the log says that `published` counts.
    ///
    /// # Errors
    /// See [`TravelError`].
    pub async fn travel(
        self: &Arc<Self>,
        published: State,
        when: When,
    ) -> Result<Arc<Travelled>, TravelError> {
        let within = self.config.deadline;
        let until = Instant::now() + within;
        let turn = tokio::time::timeout(within, Arc::clone(&self.turns).acquire_owned()).await;
        // It is never closed.
        let Ok(Ok(turn)) = turn else { return Err(TravelError::Busy) };
        let traveller = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || {
            // Kept until the work ends, also where nobody waits for it any more.
            let _turn = turn;
            traveller.go(&published, when, until)
        });
        work.await.map_err(|panic| LogError::Failed(panic.to_string()))?
    }

    /// At most `limit` records that tell of a flag, the newest first, of those before sequence `before`.
    ///
    /// # Errors
    /// When others ask for too much, or the log can't be read.
    pub async fn history(
        self: &Arc<Self>,
        project: ProjectKey,
        flag: FlagKey,
        before: u64,
        limit: usize,
    ) -> Result<HistoryPage, TravelError> {
        let turn = tokio::time::timeout(self.config.deadline, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(TravelError::Busy) };
        let storage = Arc::clone(&self.storage);
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            history::page(&storage, &project, &flag, before, limit)
        });
        Ok(work.await.map_err(|panic| LogError::Failed(panic.to_string()))??)
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Travelled>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, travelled: &Arc<Travelled>) {
        let mut kept = self.kept();
        kept.retain(|other| other.moment.revision != travelled.moment.revision);
        kept.push_front(Arc::clone(travelled));
        kept.truncate(self.config.kept_max);
    }

    fn go(&self, published: &State, when: When, until: Instant) -> Result<Arc<Travelled>, TravelError> {
        let log = Log { storage: &self.storage, end: published.sequence() };
        let moment = self.find(&log, published, when)?;
        let known = self.kept().iter().find(|kept| kept.moment.revision == moment.revision).cloned();
        let travelled = match known {
            Some(known) => known,
            None => {
                let catalog = self.arrive(&log, published, &moment, until)?;
                Arc::new(Travelled::new(moment, catalog))
            }
        };
        self.keep(&travelled);
        Ok(travelled)
    }

    /// The record that made the revision of then.
    fn find(&self, log: &Log<'_>, published: &State, when: When) -> Result<Moment, TravelError> {
        let (newest, here) = (published.revision(), published.history().unwrap_or(History(0)));
        let (wanted, of) = match when {
            When::Revision(wanted) => (wanted, None),
            When::Token(token) => (token.revision, Some(token)),
            When::Time(time_ms) => (log.revision_at(time_ms)?.unwrap_or(newest), None),
        };
        let edge = published.edge().map(|edge| moment_of(&edge.catalog));
        if let Some(edge) = edge {
            let is_before = match when {
                // Between removed changes: the next record that is kept says what came of them all.
                When::Time(time_ms) => time_ms < edge.time_ms,
                When::Revision(_) | When::Token(_) => wanted < edge.revision,
            };
            if is_before {
                return Err(TravelError::Gone { oldest: edge.revision });
            }
        }
        match of {
            // Whatever comes will be of the present history.
            Some(token) if wanted > newest && token.history != here => {
                return Err(TravelError::OtherHistory { wanted: token, here });
            }
            _ if wanted > newest => return Err(TravelError::Ahead { wanted, newest }),
            _ => {}
        }
        let first = match edge.filter(|edge| edge.revision == wanted) {
            Some(edge) => Some(edge),
            None => log.made(wanted.max(1))?,
        };
        let Some(moment) = first.filter(|_| wanted > 0) else {
            // Before the first revision there was nothing, not even a history.
            return Err(match first {
                Some(first) => TravelError::Gone { oldest: first.revision },
                None => self.gone(published, wanted),
            });
        };
        match of {
            Some(token) if token.history != moment.history => {
                Err(TravelError::OtherHistory { wanted: token, here: moment.history })
            }
            _ => Ok(moment),
        }
    }

    /// What there is in place of a revision that can't be told any more: the edge, the next catalog that is kept, or the
    /// present.
    fn gone(&self, published: &State, wanted: u64) -> TravelError {
        let edge = published.edge().map(|edge| edge.catalog.revision).filter(|oldest| *oldest > wanted);
        let kept = edge.or_else(|| self.checkpoints.first_after(wanted));
        TravelError::Gone { oldest: kept.unwrap_or(published.revision()) }
    }

    /// The catalog right after a record.
    fn arrive(
        &self,
        log: &Log<'_>,
        published: &State,
        moment: &Moment,
        until: Instant,
    ) -> Result<Catalog, TravelError> {
        if published.revision() == moment.revision {
            return Ok(Catalog::right_after(published, moment.sequence));
        }
        let start = self.start(log, published.edge(), moment.revision)?;
        self.arrive_from(start, log, published, moment, until)
    }

    /// The same, from an earlier catalog.
    fn arrive_from(
        &self,
        mut catalog: Catalog,
        log: &Log<'_>,
        published: &State,
        moment: &Moment,
        until: Instant,
    ) -> Result<Catalog, TravelError> {
        let mut due = self.checkpoints.due_after(&catalog);
        let from = catalog.next_sequence();
        let mut taken = 0_u64;
        let mut late = false;
        let way = log.scan(from, moment.sequence + 1, |row| {
            catalog.step(row)?;
            taken += 1;
            if catalog.revision() == due {
                // One that was lost, or is not made yet: this way was long enough without it.
                self.checkpoints.put_if_there_is_room(&catalog);
                due = self.checkpoints.due_after(&catalog);
            }
            late = taken.is_multiple_of(RECORDS_PER_LOOK)
                && (Instant::now() >= until || self.stopping.load(Ordering::Acquire));
            Ok(!late)
        });
        match way {
            Ok(()) if late => {
                // The next who asks goes on from here.
                if let Ok(Some(reached)) = log.made(catalog.revision()) {
                    self.keep(&Arc::new(Travelled::new(reached, catalog)));
                }
                Err(TravelError::TooSlow(self.config.deadline))
            }
            Ok(()) => Ok(catalog),
            Err(LogError::Records(NotReplayed::Removed { before, .. })) => Err(self.gone(published, before)),
            Err(error) => Err(error.into()),
        }
    }

    /// The nearest catalog that is not later than a revision. None is earlier than the edge: the way from there has holes.
    fn start(&self, log: &Log<'_>, edge: Option<&Edge>, revision: u64) -> Result<Catalog, LogError> {
        let edge = edge.filter(|edge| edge.catalog.revision <= revision);
        let oldest = edge.map_or(0, |edge| edge.catalog.revision);
        let in_memory = {
            let kept = self.kept();
            let near = kept.iter().filter(|kept| (oldest..=revision).contains(&kept.moment.revision));
            near.max_by_key(|kept| kept.moment.revision).cloned()
        };
        let after = in_memory.as_ref().map_or(oldest.saturating_sub(1), |kept| kept.moment.revision);
        let on_disk = self.checkpoints.newest(log, after, revision)?;
        match (on_disk.or(in_memory.map(|kept| kept.catalog.clone())), edge) {
            (Some(catalog), _) => Ok(catalog),
            (None, Some(edge)) => self.edge(edge),
            (None, None) => Ok(Catalog::empty()),
        }
    }
}
