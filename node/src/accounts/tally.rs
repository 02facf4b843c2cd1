//! Counters of evaluations: one for each way in which a flag was evaluated with a token.
//!
//! Every thread counts in one of a few shards, which it holds for the flags of one answer; so threads hardly ever meet.
//! Within a token's counters one is found by the addresses of the flag and its variant, which costs less than to hash
//! their names. A counter holds its flag, so no other one comes to its address meanwhile.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use flagraft_core::{
    key::VariantKey,
    project::Flag,
    resolution::{Reason, Resolution},
    token::TokenId,
};
use hashbrown::HashTable;

use super::{Counted, Evaluated, Place};

/// How many shards there are: more than threads that evaluate, on most machines.
const SHARDS: usize = 16;
/// Counters of one shard, and tables of tokens: what is more is not told apart. A counter takes some 100 bytes.
const COUNTERS_MAX: usize = 16_384;

/// The shards.
#[derive(Default)]
pub(super) struct Tally {
    shards: [Shard; SHARDS],
}

/// Far enough from its neighbours in memory that the threads' caches do not fight over it.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Counters>);

#[derive(Default)]
struct Counters {
    tokens: HashMap<TokenId, OfToken>,
    /// How many counters and tokens there are.
    used: usize,
    /// What found no room.
    beyond: HashMap<Place, u64>,
}

/// The counters of one token, which evaluates in one environment.
struct OfToken {
    place: Place,
    counters: HashTable<Counter>,
    beyond: u64,
}

struct Counter {
    flag: Arc<Flag>,
    variant: Box<str>,
    reason: Reason,
    count: u64,
}

impl Counter {
    fn is_of(&self, resolution: &Resolution<'_>) -> bool {
        Arc::ptr_eq(&self.flag, resolution.flag)
            && self.reason == resolution.reason
            && *self.variant == *resolution.variant
    }
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
        let mut shard = self.shard().lock();
        let Counters { tokens, used, beyond } = &mut *shard;
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
                let new = OfToken { place: of.place(), counters: HashTable::new(), beyond: 0 };
                tokens.entry(of.token.clone()).or_insert(new)
            }
        };
        for resolution in resolutions {
            counted(resolution);
            let hash = hash(resolution);
            match of_token.counters.find_mut(hash, |counter| counter.is_of(resolution)) {
                Some(counter) => counter.count += 1,
                None if *used >= COUNTERS_MAX => of_token.beyond += 1,
                None => {
                    *used += 1;
                    of_token.insert(hash, resolution);
                }
            }
        }
    }

    /// What was counted, by environment. Each shard is held no longer than it takes to put an empty one in its place.
    pub(super) fn take(&self) -> BTreeMap<Place, Counted> {
        let mut places: BTreeMap<Place, Counted> = BTreeMap::new();
        for shard in &self.shards {
            let Counters { tokens, beyond, used: _ } = std::mem::take(&mut *shard.lock());
            for (place, count) in beyond {
                places.entry(place).or_default().beyond += count;
            }
            for (token, OfToken { place, counters, beyond }) in tokens {
                let environment = place.environment.clone();
                let counted = places.entry(place).or_default();
                counted.beyond += beyond;
                for Counter { flag, variant, reason, count } in counters {
                    let key = flag.definition.key.clone();
                    let revision = flag.evaluated_revision(&environment);
                    // No variant has an empty name: that is the caller's code default.
                    let how = (key, VariantKey::new(&variant).ok(), reason, revision, token.clone());
                    *counted.counts.entry(how).or_default() += count;
                }
            }
        }
        places
    }

    /// The calling thread's.
    fn shard(&self) -> &Shard {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static OWN: Cell<Option<usize>> = const { Cell::new(None) };
        }
        let own = OWN.get().unwrap_or_else(|| {
            let own = THREADS.fetch_add(1, Ordering::Relaxed);
            OWN.set(Some(own));
            own
        });
        &self.shards[own % SHARDS]
    }
}

impl OfToken {
    /// Seldom called: once for each way in an interval.
    #[cold]
    fn insert(&mut self, hash: u64, resolution: &Resolution<'_>) {
        let counter = Counter {
            flag: Arc::clone(resolution.flag),
            variant: resolution.variant.into(),
            reason: resolution.reason,
            count: 1,
        };
        self.counters.insert_unique(hash, counter, |counter| {
            mixed(Arc::as_ptr(&counter.flag).addr(), counter.variant.len(), counter.reason)
        });
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Counters> {
        // A panic while it was held leaves at worst a count that is one too low.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(resolution: &Resolution<'_>) -> u64 {
    mixed(Arc::as_ptr(resolution.flag).addr(), resolution.variant.len(), resolution.reason)
}

/// Variants of one length meet in one place and are told apart there: few flags have many that are served.
#[inline]
fn mixed(flag: usize, variant_bytes: usize, reason: Reason) -> u64 {
    let seed = (flag as u64) ^ ((variant_bytes as u64) << 48) ^ ((reason as u64) << 56);
    // Fibonacci hashing; the table takes its places from the low bits and its tags from the high ones.
    let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}
