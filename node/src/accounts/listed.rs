//! Evaluations that are listed one by one, of the flags that ask for each: up to a ceiling for each flag.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use flagraft_core::{
    account::{KeyHash, ListedEvaluation},
    key::{FlagKey, VariantKey},
    resolution::Resolution,
};

use super::{Evaluated, KeyHasher, LISTED_MAX, LISTED_PER_FLAG_MAX, Place};
use crate::{clock::wall_ms, peer::PeerSecret};

/// The lists.
pub(super) struct Listed {
    secret: Option<PeerSecret>,
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    places: HashMap<Place, List>,
    /// How many there are in all lists.
    listed: usize,
}

/// What is listed of an environment.
#[derive(Default)]
pub(super) struct List {
    hasher: Option<KeyHasher>,
    pub(super) all: Vec<ListedEvaluation>,
    by_flag: HashMap<FlagKey, u32>,
    /// By flag, those that were only counted.
    pub(super) beyond: BTreeMap<FlagKey, u64>,
}

impl Listed {
    pub(super) fn new(secret: Option<PeerSecret>) -> Self {
        Self { secret, lists: Mutex::default() }
    }

    /// Lists the flags of one answer.
    pub(super) fn list(&self, of: &Evaluated<'_>, resolutions: &[&Resolution<'_>]) {
        let time_ms = wall_ms();
        // A panic while it was held leaves at worst a list that lacks one.
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let Lists { places, listed } = &mut *lists;
        let list = places.entry(of.place()).or_default();
        let targeting_key = list.hash(self.secret.as_ref(), of);
        for resolution in resolutions {
            let flag = &resolution.flag.definition.key;
            let of_flag = list.by_flag.entry(flag.clone()).or_default();
            if *of_flag >= LISTED_PER_FLAG_MAX || *listed >= LISTED_MAX {
                *list.beyond.entry(flag.clone()).or_default() += 1;
                continue;
            }
            *of_flag += 1;
            *listed += 1;
            list.all.push(ListedEvaluation {
                time_ms,
                token: of.token.clone(),
                targeting_key,
                flag: flag.clone(),
                variant: VariantKey::new(resolution.variant).ok(),
                reason: resolution.reason,
                revision: resolution.flag.evaluated_revision(of.compiled.key()),
            });
        }
    }

    pub(super) fn take(&self) -> HashMap<Place, List> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *lists).places
    }
}

impl List {
    fn hash(&mut self, secret: Option<&PeerSecret>, of: &Evaluated<'_>) -> Option<KeyHash> {
        let (targeting_key, cluster) = (of.context.targeting_key()?, of.cluster?);
        let hasher =
            self.hasher.get_or_insert_with(|| KeyHasher::new(secret, cluster, of.project, of.compiled.key()));
        Some(hasher.hash(targeting_key))
    }
}
