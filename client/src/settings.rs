//! What a client is set to.

use std::{path::PathBuf, time::Duration};

/// The settings of a client. [`crate::Builder`] says what each is for.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How long reaching a node may take.
    pub connect_timeout: Duration,
    /// How long a small answer may take, and how long a large one may pause.
    pub request_timeout: Duration,
    /// How long all definitions may take.
    pub definitions_timeout: Duration,
    /// How long the first node has before a second one is asked as well.
    pub hedge_after: Duration,
    /// How often a node says that it is there.
    pub heartbeat: Duration,
    /// How often the age is bounded anew while no flag is critical.
    pub probe_every: Duration,
    /// The same while one is.
    pub probe_every_critical: Duration,
    /// The age at which the client calls itself stale.
    pub stale_after: Duration,
    /// How long the stream may be behind what another node has before it is given up.
    pub catch_up: Duration,
    /// Clients that lose a node at once come back spread over this time.
    pub reconnect_spread: Duration,
    /// The first pause after every node failed; doubles up to the next one.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// How long to poll before the stream is tried again, where it does not work.
    pub polling_for: Duration,
    /// How often a copy is written to disk, at most.
    pub save_every: Duration,
    /// The age at which a copy on disk is worth nothing any more.
    pub disk_age_max: Duration,
    /// Whether evaluations are reported.
    pub evaluation_reports: bool,
    /// How often, at most.
    pub report_every: Duration,
    /// How long the last report may take at the end.
    pub last_report_within: Duration,
    /// The name under which they are.
    pub instance: Option<String>,
    /// The largest definitions, in bytes, and the largest event of a stream.
    pub definitions_bytes_max: usize,
    /// Where copies are kept.
    pub directory: Option<PathBuf>,
    /// A snapshot to begin with where there is no copy.
    pub bootstrap: Option<PathBuf>,
    /// The region of contexts that name none.
    pub region: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
            definitions_timeout: Duration::from_secs(60),
            hedge_after: Duration::from_millis(300),
            heartbeat: Duration::from_secs(5),
            probe_every: Duration::from_secs(2),
            probe_every_critical: Duration::from_millis(300),
            stale_after: Duration::from_secs(10),
            catch_up: Duration::from_secs(2),
            reconnect_spread: Duration::from_secs(1),
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(10),
            polling_for: Duration::from_secs(60),
            save_every: Duration::from_secs(5),
            disk_age_max: Duration::from_secs(7 * 24 * 60 * 60),
            evaluation_reports: true,
            report_every: Duration::from_secs(60),
            last_report_within: Duration::from_secs(2),
            instance: None,
            definitions_bytes_max: 256 * 1024 * 1024,
            directory: None,
            bootstrap: None,
            region: None,
        }
    }
}
