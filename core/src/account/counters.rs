//! Counters of evaluations: one for each way in which a flag was evaluated.
//!
//! One is found by the addresses of the flag and its variant, which costs less than to hash their names. A counter holds
//! its flag, so no other one comes to its address meanwhile. Where in memory flags lie thus decides how long it takes to
//! find a counter, and nothing else: what was counted comes out by name.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::HashTable;

use crate::{
    key::{EnvironmentKey, FlagKey, VariantKey},
    project::Flag,
    resolution::{Reason, Resolution},
};

/// How a flag was evaluated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct How {
    /// The flag.
    pub flag: FlagKey,
    /// What it served; `None`: the caller's code default.
    pub variant: Option<VariantKey>,
    /// Why.
    pub reason: Reason,
    /// The revision of the flag in the environment.
    pub revision: u64,
}

/// Counters of evaluations in one environment. One takes some 100 bytes, and holds its flag.
#[derive(Debug, Default)]
pub struct Counters(HashTable<Counter>);

#[derive(Debug)]
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

impl Counters {
    /// Counts an evaluation, if there is a counter for it: says whether there was.
    #[inline]
    pub fn count(&mut self, resolution: &Resolution<'_>) -> bool {
        match self.0.find_mut(hash(resolution), |counter| counter.is_of(resolution)) {
            Some(counter) => {
                counter.count = counter.count.saturating_add(1);
                true
            }
            None => false,
        }
    }

    /// Counts the first evaluation of its kind. Seldom called: once for each way in an interval.
    #[cold]
    pub fn begin(&mut self, resolution: &Resolution<'_>) {
        let counter = Counter {
            flag: Arc::clone(resolution.flag),
            variant: resolution.variant.into(),
            reason: resolution.reason,
            count: 1,
        };
        self.0.insert_unique(hash(resolution), counter, |counter| {
            mixed(Arc::as_ptr(&counter.flag).addr(), counter.variant.len(), counter.reason)
        });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was counted, by name.
    pub fn counts(self, environment: &EnvironmentKey) -> BTreeMap<How, u64> {
        let mut counts = BTreeMap::new();
        for Counter { flag, variant, reason, count } in self.0 {
            let how = How {
                flag: flag.definition.key.clone(),
                // No variant has an empty name: that is the caller's code default.
                variant: VariantKey::new(&variant).ok(),
                reason,
                revision: flag.evaluated_revision(environment),
            };
            let sum: &mut u64 = counts.entry(how).or_default();
            *sum = sum.saturating_add(count);
        }
        counts
    }
}

#[inline]
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
