//! How many flags were evaluated.

use flagraft_core::resolution::{Reason, Resolution};
use prometheus::IntCounter;

use crate::{http::consistency::Consistency, metrics::Metrics};

/// The counters by reason and consistency, looked up once and not for every answer.
pub(in crate::http) struct Evaluated([[IntCounter; Consistency::ALL.len()]; Reason::ALL.len()]);

impl Evaluated {
    pub(in crate::http) fn of(metrics: &Metrics) -> Self {
        Self(Reason::ALL.map(|reason| {
            Consistency::ALL.map(|consistency| metrics.evaluations(reason.as_str(), consistency.as_str()))
        }))
    }

    /// Counts the flags of an answer.
    pub(super) fn count<'a>(
        &self,
        resolutions: impl IntoIterator<Item = &'a Resolution<'a>>,
        consistency: Consistency,
    ) {
        let mut counts = [0; Reason::ALL.len()];
        for resolution in resolutions {
            let counted =
                Reason::ALL.iter().zip(&mut counts).find(|(reason, _)| **reason == resolution.reason);
            counted.into_iter().for_each(|(_, count)| *count += 1);
        }
        for (counters, count) in self.0.iter().zip(counts).filter(|(_, count)| *count > 0) {
            let counter = Consistency::ALL.iter().zip(counters).find(|(of, _)| **of == consistency);
            counter.into_iter().for_each(|(_, counter)| counter.inc_by(count));
        }
    }
}
