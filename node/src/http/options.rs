//! The settings of the public listener, and its limits.

use std::time::Duration;

use super::limits::Rate;
use crate::config::NodeConfig;

/// How long a request may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlineLimits {
    /// When it does not say.
    pub default: Duration,
    /// At most.
    pub max: Duration,
}

/// The settings of the public listener.
#[derive(Clone, Debug)]
pub struct Options {
    /// The web origins that browsers may call from; `*` is any. Default: none.
    pub cors_origins: Vec<String>,
    /// Greatest body of a request in bytes; beyond it 413.
    pub body_max_bytes: usize,
    /// What contexts have as `region` where neither the request nor its token says one. Default: nothing.
    pub region: String,
    /// How long reads may wait.
    pub read_deadline: DeadlineLimits,
    /// How long writes may wait.
    pub write_deadline: DeadlineLimits,
    /// A node that was not known to be current within this time refuses admin tokens, which may be revoked by now.
    /// Default 60 s.
    pub admin_age_max: Duration,
    /// Requests under way at once; beyond it 503. Default 10,000.
    pub requests_max: usize,
    /// Evaluation requests per client token on this node; beyond it 429. One token serves all browsers of a site.
    /// Default 2,000 per second and as many at once.
    pub client_rate: Rate,
    /// KiB of reports of evaluations per service token on this node; beyond it 429. One token serves all instances of a program.
    /// Default 64 per second and 4,096 at once.
    pub report_rate: Rate,
    /// Callers whose rates are told apart; beyond it they share one. Default 10,000.
    pub limited_callers_max: usize,
    /// Unknown tokens looked for in a confirmed state at once; beyond it they are refused as unknown. Default 64.
    pub unknown_tokens_max: usize,
    /// Searches of the audit log under way at once; beyond it they wait, within their deadlines. Default 2.
    pub searches_max: usize,
    /// Backups made at once; beyond it 503. Default 2.
    pub backups_max: usize,
    /// Exports of the audit log made at once; beyond it 503. Default 2.
    pub exports_max: usize,
    /// How long the receiver of a backup or an export may take nothing of it; then it is given up. Default 60 s.
    pub backup_stall: Duration,
}

/// The longest deadline a write may ask for. Nothing that takes longer can end well.
const WRITE_DEADLINE_MAX: Duration = Duration::from_secs(30);

impl Options {
    /// The settings that follow from a node's.
    pub fn new(config: &NodeConfig) -> Self {
        let write = config.writes.deadline;
        Self {
            cors_origins: config.http.cors_origins.clone(),
            body_max_bytes: config.http.body_max_bytes,
            region: config.placement.region.clone(),
            read_deadline: DeadlineLimits { default: config.reads.deadline, max: config.reads.deadline_max },
            write_deadline: DeadlineLimits { default: write, max: write.max(WRITE_DEADLINE_MAX) },
            admin_age_max: Duration::from_secs(60),
            requests_max: 10_000,
            client_rate: Rate { per_second: 2_000, burst: 2_000 },
            report_rate: Rate { per_second: 64, burst: 4_096 },
            limited_callers_max: 10_000,
            unknown_tokens_max: 64,
            searches_max: 2,
            backups_max: 2,
            exports_max: 2,
            backup_stall: Duration::from_secs(60),
        }
    }
}
