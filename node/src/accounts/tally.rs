//! Counters of evaluations: one for each way in which a flag was evaluated with a token.
//!
//! Every thread counts in a part that it holds for the flags of one answer; so threads hardly ever meet.

use std::collections::{BTreeMap, HashMap};

use flagraft_core::{account::Counters, resolution::Resolution, shards::Shards, token::TokenId};

use super::{Counted, Evaluated, Place};

/// Counters of one part, and tables of tokens: what is more is not told apart. A counter takes some 100 bytes.
const COUNTERS_MAX: usize = 16_384;

/// The counters of all threads.
#[derive(Default)]
pub(super) struct Tally(Shards<Part>);

#[derive(Default)]
struct Part {
    tokens: HashMap<TokenId, OfToken>,
    /// How many counters and tokens there are.
    used: usize,
    /// What found no room.
    beyond: HashMap<Place, u64>,
}

/// The counters of one token, which evaluates in one environment.
struct OfToken {
    place: Place,
    counters: Counters,
    beyond: u64,
}

impl Tally {
    /// Counts, and says of what.
    #[inline]
    pub(super) fn count<'a>(
        &self,
        of: &Evaluated<'_>,
        resolutions: impl Iterator<Item = &'a Resolution<'a>>,
        mut counted: impl FnMut(&'a Resolution<'a>),
    ) {
        let mut part = self.0.lock();
        let Part { tokens, used, beyond } = &mut *part;
        let of_token = match tokens.get_mut(of.token) {
            Some(known) => known,
            None if *used >= COUNTERS_MAX => {
                let uncounted = beyond.entry(of.place()).or_default();
                for resolution in resolutions {
                    counted(resolution);
                    *uncounted += 1;
                }
                return;
            }
            None => {
                *used += 1;
                let new = OfToken { place: of.place(), counters: Counters::default(), beyond: 0 };
                tokens.entry(of.token.clone()).or_insert(new)
            }
        };
        for resolution in resolutions {
            counted(resolution);
            if of_token.counters.count(resolution) {
                continue;
            }
            if *used >= COUNTERS_MAX {
                of_token.beyond += 1;
            } else {
                *used += 1;
                of_token.counters.begin(resolution);
            }
        }
    }

    /// What was counted, by environment.
    pub(super) fn take(&self) -> BTreeMap<Place, Counted> {
        let mut places: BTreeMap<Place, Counted> = BTreeMap::new();
        for Part { tokens, beyond, used: _ } in self.0.take() {
            for (place, count) in beyond {
                places.entry(place).or_default().beyond += count;
            }
            for (token, OfToken { place, counters, beyond }) in tokens {
                let counts = counters.counts(&place.environment);
                let counted = places.entry(place).or_default();
                counted.beyond += beyond;
                for (how, count) in counts {
                    *counted.counts.entry((how, token.clone())).or_default() += count;
                }
            }
        }
        places
    }
}
