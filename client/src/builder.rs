//! Setting a client up.

use std::{fmt, future::Future, path::PathBuf, sync::Arc, time::Duration};

use flagraft_core::{account::check_instance, limits::INSTANCE_BYTES_MAX};
use reqwest::Url;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    client::Client,
    clock::{Clock, SystemClock},
    disk,
    endpoints::{Endpoints, Pause},
    held::Held,
    observer::Observer,
    place::Place,
    prober, reporter, saver,
    settings::Settings,
    shared::{Parts, Shared},
    transport::Transport,
    updater,
};

/// What a client is set up from.
#[derive(Default)]
pub struct Builder {
    endpoints: Vec<String>,
    token: String,
    stated: Option<Place>,
    settings: Settings,
    clock: Option<Arc<dyn Clock>>,
    observer: Option<Arc<dyn Observer>>,
}

impl fmt::Debug for Builder {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = if self.token.is_empty() { "none" } else { "redacted" };
        f.debug_struct("Builder")
            .field("endpoints", &self.endpoints)
            .field("token", &token)
            .field("stated", &self.stated)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Why a client can't start: something is wrong with what it was set up from. A cluster that is down is no reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no endpoint.
    #[error("name at least one node: .endpoint(\"http://10.0.0.1:7401\")")]
    NoEndpoint,
    /// An endpoint is no URL of a node.
    #[error("{0:?} is no endpoint; give one like http://10.0.0.1:7401, without a token in it")]
    Endpoint(String),
    /// The token can't be one.
    #[error("give a service token: .token(\"fr_svc_...\")")]
    Token,
    /// An instance's name is none.
    #[error(
        "an instance's name is 1 to {INSTANCE_BYTES_MAX} letters, digits, -, _ and .: .instance(\"shop-7\"), not {0:?}"
    )]
    Instance(String),
    /// The machine's certificates can't be used.
    #[error("TLS can't be set up on this machine; check that its root certificates are installed")]
    Tls,
}

/// Setters of one duration each.
macro_rules! durations {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(mut self, $name: Duration) -> Self {
                self.settings.$name = $name;
                self
            }
        )*
    };
}

impl Builder {
    /// A node's address, such as `http://10.0.0.1:7401`. Name several: any one of them is enough.
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoints.push(url.into());
        self
    }

    /// Several nodes' addresses.
    #[must_use]
    pub fn endpoints<S: Into<String>>(mut self, urls: impl IntoIterator<Item = S>) -> Self {
        self.endpoints.extend(urls.into_iter().map(Into::into));
        self
    }

    /// The service token. It names the project and the environment.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }

    /// The project and environment that are wanted. The token says which ones it is for; stating them makes sure that it is
    /// the right one, also of what lies on disk, and lets an admin token be used.
    #[must_use]
    pub fn environment(mut self, project: impl Into<String>, environment: impl Into<String>) -> Self {
        self.stated = Some(Place { project: project.into(), environment: environment.into() });
        self
    }

    /// Keeps the last known good copy in this folder, which is made if need be: a service then starts with the cluster down.
    /// The copy holds rules and segments' members; it is readable by the service's own user only.
    #[must_use]
    pub fn copies_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.settings.directory = Some(directory.into());
        self
    }

    /// Begins with this file where there is no other copy: the definitions as `GET .../definitions` gives them.
    #[must_use]
    pub fn bootstrap(mut self, file: impl Into<PathBuf>) -> Self {
        self.settings.bootstrap = Some(file.into());
        self
    }

    /// The `region` of contexts that name none, as a node with this region would add it.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.settings.region = Some(region.into());
        self
    }

    durations! {
        /// How long reaching a node may take. Default: 2 s.
        connect_timeout;
        /// How long a small answer may take, and how long a large one may pause. Default: 5 s.
        request_timeout;
        /// How long all definitions may take to come. Default: 60 s.
        definitions_timeout;
        /// How long a node has before another one is asked as well. Default: 300 ms.
        hedge_after;
        /// The nodes' heartbeat. A stream that is silent for three of them is given up. Default: 5 s, as the nodes'.
        heartbeat;
        /// How often the copy's age is bounded anew while no flag is critical. Default: 2 s.
        probe_every;
        /// The same while a flag is. Default: 300 ms.
        probe_every_critical;
        /// The age at which the client calls itself stale. Default: 10 s.
        stale_after;
        /// How long the stream may be behind what another node has before it is given up. Default: 2 s.
        catch_up;
        /// The time over which clients that lose a node at once come back to others. Default: 1 s.
        reconnect_spread;
        /// The first pause after every node failed; it doubles. Default: 250 ms.
        backoff_min;
        /// The longest pause. Default: 10 s.
        backoff_max;
        /// How long to poll before a stream is tried again where none comes through. Default: 60 s.
        polling_for;
        /// How often evaluations are reported, at most: see [`Self::evaluation_reports`]. An hour at most. Default: 60 s.
        report_every;
        /// How long [`Client::shutdown`] may wait until a node has taken the last report. Default: 2 s.
        last_report_within;
        /// How often a copy is written to disk, at most. Default: 5 s.
        save_every;
        /// The age at which a copy on disk is worth nothing any more, counted from when it was last known to be current. A copy
        /// that does not change is saved anew seven times in that time. Default: 7 days.
        disk_age_max;
    }

    /// Whether evaluations of the flags that ask for it (`audit_evaluations`) are counted, and the counts reported to the
    /// cluster for its audit log. Default: yes. Other flags' evaluations are not counted in any case.
    #[must_use]
    pub fn evaluation_reports(mut self, on: bool) -> Self {
        self.settings.evaluation_reports = on;
        self
    }

    /// The name under which evaluations are reported: what tells this client apart from all others with the same token, such
    /// as the name of a pod. One that stays the same over restarts lets the audit log tell a stop from a crash. Two that
    /// run at once must not share one: the log would take each for the other's next life, and could count a report that is
    /// sent twice twice. Default: another random name each time.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.settings.instance = Some(name.into());
        self
    }

    /// The largest definitions, in bytes. Default: 256 MiB.
    #[must_use]
    pub fn definitions_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.definitions_bytes_max = bytes;
        self
    }

    /// Counts ages with other clocks: for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Tells an observer what the client does.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Starts the client. It waits for no node: a copy from disk is there at once, one from a node a moment later, for which
    /// [`Client::ready`] waits. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] where the client could never work as it is set up.
    pub async fn start(self) -> Result<Client, StartError> {
        let Self { endpoints, token, stated, settings, clock, observer } = self;
        let urls = endpoints.iter().map(|text| endpoint(text)).collect::<Result<Vec<Url>, _>>()?;
        if urls.is_empty() {
            return Err(StartError::NoEndpoint);
        }
        if token.trim().is_empty() {
            return Err(StartError::Token);
        }
        if let Some(instance) = settings.instance.as_ref().filter(|name| check_instance(name).is_err()) {
            return Err(StartError::Instance(instance.clone()));
        }
        let transport = Transport::new(token.trim(), &settings)?;
        let pause = Pause { min: settings.backoff_min, max: settings.backoff_max };
        let endpoints = Endpoints::new(urls, pause);
        let clock = clock.unwrap_or_else(|| Arc::new(SystemClock));
        let file = settings.directory.as_ref().map(|directory| disk::file_of(directory, token.trim()));
        let shared = Arc::new(Shared::new(Parts { settings, transport, endpoints, clock, observer, stated }));
        if let Some((copy, bytes)) = first_copy(&shared, file.clone()).await {
            shared.install(copy, bytes);
        }

        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(until(stopped.clone(), Arc::clone(&shared), async |shared| updater::run(&shared).await));
        tasks.spawn(until(stopped.clone(), Arc::clone(&shared), async |shared| prober::run(&shared).await));
        if shared.tally.is_some() {
            let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
            tasks.spawn(async move {
                if let Some(tally) = &shared.tally {
                    reporter::run(&shared, tally, stopped).await;
                }
            });
        }
        if let Some(file) = file {
            let shared = Arc::clone(&shared);
            tasks.spawn(async move { saver::run(&shared, file, stopped).await });
        }
        Ok(Client::of(shared, stop, tasks))
    }
}

/// The copy that lies on this machine: the last known good one, else the bootstrap file's.
async fn first_copy(shared: &Arc<Shared>, file: Option<PathBuf>) -> Option<(Held, usize)> {
    let shared = Arc::clone(shared);
    let reading = tokio::task::spawn_blocking(move || {
        let (stated, settings) = (shared.stated.as_ref(), &shared.settings);
        if let Some(file) = file {
            match disk::load(&file, stated, settings, shared.clock.wall_ms()) {
                Ok(Some(copy)) => return Some(copy),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "the copy on disk is not used");
                }
            }
        }
        let bootstrap = settings.bootstrap.as_ref()?;
        let loaded = disk::load_bootstrap(bootstrap, stated, settings);
        loaded
            .inspect_err(|error| {
                tracing::warn!(file = %bootstrap.display(), %error, "the bootstrap file is not used");
            })
            .ok()
    });
    Some((reading.await.ok().flatten()?, 0))
}

/// Runs until it is stopped.
async fn until<F: Future<Output = ()>>(
    mut stopped: watch::Receiver<bool>,
    shared: Arc<Shared>,
    run: impl FnOnce(Arc<Shared>) -> F,
) {
    tokio::select! {
        () = run(shared) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

/// The address of a node.
pub(crate) fn endpoint(text: &str) -> Result<Url, StartError> {
    // What is told may hold a password; it is not told then.
    let wrong = || StartError::Endpoint(if text.contains('@') { "...@..." } else { text }.to_owned());
    let url: Url = text.parse().map_err(|_| wrong())?;
    let is_tls = url.scheme() == "https" && cfg!(feature = "tls");
    let is_good = (is_tls || url.scheme() == "http")
        && url.host_str().is_some()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none();
    if is_good { Ok(url) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_the_address_of_a_node() {
        for good in ["http://10.0.0.1:7401", "http://[::1]:7401/", "http://flags.example.com/behind/a/path"] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in
            ["", "10.0.0.1:7401", "ftp://a", "http://", "http://a?token=x", "unix:/a", "http://u:secret@a"]
        {
            let error = endpoint(bad).expect_err(bad);
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn the_token_is_not_shown() {
        let builder = Client::builder().token("fr_svc_secret").endpoint("http://a");
        assert!(!format!("{builder:?}").contains("fr_svc_secret"));
    }
}
