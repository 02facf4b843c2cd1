//! Counters of reads of what is managed: one for each caller, route and project.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use flagraft_core::{
    account::{AccessCount, Reader, StatusCount},
    key::ProjectKey,
    token::{Token, TokenId},
};

/// Counters: what is more is not told apart.
const COUNTERS_MAX: usize = 10_000;

/// A read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read<'a> {
    pub(crate) token: &'a Token,
    pub(crate) method: &'static str,
    /// The route's template.
    pub(crate) route: &'a str,
    pub(crate) project: Option<&'a ProjectKey>,
}

/// What tells the counters apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct What {
    token: TokenId,
    route: Arc<str>,
    method: &'static str,
    project: Option<ProjectKey>,
}

/// The counters.
#[derive(Default)]
pub(super) struct Reads(Mutex<Counters>);

#[derive(Default)]
struct Counters {
    counted: HashMap<What, (Reader, BTreeMap<u16, u64>)>,
    beyond: u64,
}

impl Reads {
    pub(super) fn count(&self, read: &Read<'_>, status: u16) {
        let what = What {
            token: read.token.spec.id.clone(),
            route: read.route.into(),
            method: read.method,
            project: read.project.cloned(),
        };
        // A panic while it was held leaves at worst a count that is one too low.
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Counters { counted, beyond } = &mut *counters;
        if counted.len() >= COUNTERS_MAX && !counted.contains_key(&what) {
            *beyond += 1;
            return;
        }
        let actor = &read.token.spec.actor;
        let reader = || Reader { actor_type: actor.actor_type, id: actor.id.as_str().into() };
        let (_, statuses) = counted.entry(what).or_insert_with(|| (reader(), BTreeMap::new()));
        *statuses.entry(status).or_default() += 1;
    }

    /// What was counted, and how many were not told apart.
    pub(super) fn take(&self) -> (Vec<AccessCount>, u64) {
        let taken = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let entry = |(what, (actor, statuses)): (What, (Reader, BTreeMap<u16, u64>))| AccessCount {
            actor,
            token: what.token,
            route: what.route,
            method: what.method.into(),
            project: what.project,
            count: statuses.values().sum(),
            statuses: statuses.into_iter().map(|(status, count)| StatusCount { status, count }).collect(),
        };
        (taken.counted.into_iter().map(entry).collect(), taken.beyond)
    }
}
