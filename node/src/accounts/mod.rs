//! What a node counts for the audit log: evaluations of the flags that ask for it, and reads of what is managed.
//!
//! To count is all that an evaluation or a read does here; what was counted is taken away once an interval and becomes
//! reports (see `node::accounts`). Memory is bounded: what finds no room is counted without being told apart, which the
//! reports say.
//!
//! Invariant: nothing here waits for the log, the disk or a peer.

mod key_hash;
mod listed;
mod metrics;
mod reads;
mod tally;

use std::collections::BTreeMap;

use flagraft_core::{
    account::{AccessCount, EvaluationCount, Exceeded, FlagCount, Folded, How, ListedEvaluation},
    compiled::CompiledEnvironment,
    context::EvaluationContext,
    flag::AuditEvaluations,
    identity::ClusterId,
    key::{EnvironmentKey, FlagKey, ProjectKey},
    resolution::Resolution,
    token::TokenId,
};

pub use self::key_hash::KeyHasher;
use self::{listed::Listed, reads::Reads, tally::Tally};
pub(crate) use self::{metrics::AccountMetrics, reads::Read};
use crate::peer::PeerSecret;

/// Evaluations of one flag that are listed singly within one interval.
pub const LISTED_PER_FLAG_MAX: u32 = 1_000;
/// Evaluations of all flags together that are.
const LISTED_MAX: usize = 20_000;

/// An environment of a project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) project: ProjectKey,
    pub(crate) environment: EnvironmentKey,
}

/// For whom flags were evaluated, and where.
#[derive(Clone, Copy)]
pub(crate) struct Evaluated<'a> {
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) project: &'a ProjectKey,
    pub(crate) compiled: &'a CompiledEnvironment,
    pub(crate) token: &'a TokenId,
    pub(crate) context: &'a EvaluationContext,
}

impl Evaluated<'_> {
    fn place(&self) -> Place {
        Place { project: self.project.clone(), environment: self.compiled.key().clone() }
    }
}

/// What a node has counted since it was taken away last.
pub(crate) struct Accounts {
    tally: Tally,
    listed: Listed,
    reads: Reads,
}

impl Accounts {
    pub(crate) fn new(secret: Option<PeerSecret>) -> Self {
        Self { tally: Tally::default(), listed: Listed::new(secret), reads: Reads::default() }
    }

    /// Counts the flags of an answer, of those that ask for it.
    #[inline]
    pub(crate) fn evaluated<'a>(
        &self,
        of: &Evaluated<'_>,
        resolutions: impl IntoIterator<Item = &'a Resolution<'a>>,
    ) {
        let mut counted = resolutions.into_iter().filter(|resolution| resolution.is_audited).peekable();
        if counted.peek().is_none() {
            return;
        }
        let mut full = Vec::new();
        self.tally.count(of, counted, |resolution| {
            if resolution.flag.definition.audit_evaluations == AuditEvaluations::Full {
                full.push(resolution);
            }
        });
        if !full.is_empty() {
            self.listed.list(of, &full);
        }
    }

    /// Counts a read.
    pub(crate) fn read(&self, read: &Read<'_>, status: u16) {
        self.reads.count(read, status);
    }

    /// What was counted, which is not counted any more.
    pub(crate) fn take(&self) -> Taken {
        let mut places = self.tally.take();
        for (place, listed) in self.listed.take() {
            let counted = places.entry(place).or_default();
            counted.listed = listed.all;
            counted.unlisted = listed.beyond;
        }
        let (reads, reads_beyond) = self.reads.take();
        Taken { places, reads, reads_beyond }
    }
}

/// What was counted in an interval.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// By environment.
    pub(crate) places: BTreeMap<Place, Counted>,
    pub(crate) reads: Vec<AccessCount>,
    /// Reads that were not told apart.
    pub(crate) reads_beyond: u64,
}

/// What was counted in an environment.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    counts: BTreeMap<(How, TokenId), u64>,
    /// Evaluations that were not told apart.
    beyond: u64,
    listed: Vec<ListedEvaluation>,
    /// By flag, the evaluations that were to be listed and were only counted.
    unlisted: BTreeMap<FlagKey, u64>,
}

impl Counted {
    pub(crate) fn entries(&self) -> Vec<EvaluationCount> {
        let counts = self.counts.iter();
        counts.map(|((how, token), count)| EvaluationCount::of(how.clone(), token, *count)).collect()
    }

    pub(crate) fn other(&self) -> Folded {
        Folded { entries: 0, count: self.beyond }
    }

    pub(crate) fn listed(self) -> Vec<ListedEvaluation> {
        self.listed
    }

    /// `None` where all were listed that were to be.
    pub(crate) fn exceeded(&self) -> Option<Exceeded> {
        let flags = self.unlisted.iter().map(|(flag, count)| FlagCount { flag: flag.clone(), count: *count });
        let flags: Vec<FlagCount> = flags.collect();
        (!flags.is_empty()).then_some(Exceeded { flags, other: Folded::default() })
    }
}

#[cfg(test)]
mod tests;
