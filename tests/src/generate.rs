//! Catalogs and contexts out of a random number generator: every construct that a flag may have, and contexts that fall
//! just inside and just outside of what the conditions ask for.
//!
//! All that is made here is accepted when it is proposed. The same generator state gives the same catalog, so a seed is
//! all that is needed to have a failed case again.

mod conditions;
mod contexts;
mod flags;
mod pools;
mod segments;

use fastrand::Rng;
use serde_json::{Value, json};

use self::contexts::Probe;
use crate::naive::Catalog;

/// The environments that a generated catalog configures: everything in the first, some things in the second.
pub const ENVIRONMENTS: [&str; 2] = ["production", "dev"];

/// Whether catalogs hold the operators on patterns, times, versions and networks, and other systems' methods: an engine
/// that lacks them refuses such a catalog.
pub const WHOLE: bool = false;

/// A catalog, and what its contexts are made from.
#[derive(Debug)]
pub struct World {
    /// The catalog.
    pub catalog: Catalog,
    probes: Vec<Probe>,
}

impl World {
    /// A catalog with so many flags.
    pub fn new(rng: &mut Rng, flags: usize) -> Self {
        let attributes = pools::attributes(rng);
        let segments = segments::segments(rng, &attributes);
        let keys: Vec<&str> = segments.iter().filter_map(|segment| segment["key"].as_str()).collect();
        let flags = flags::flags(rng, flags, &attributes, &keys);
        let archived = flags::archivable(rng, &flags);
        let catalog = Catalog { segments, flags, archived };
        let probes = contexts::probes(&catalog);
        Self { catalog, probes }
    }

    /// The operations that write the catalog, in an order in which each is accepted, each a change of its own.
    pub fn operations(&self) -> Vec<Value> {
        let Catalog { segments, flags, archived } = &self.catalog;
        let segments = segments.iter().map(|segment| json!({"op": "segment.put", "segment": segment}));
        let flags = flags.iter().map(|flag| json!({"op": "flag.put", "flag": flag}));
        let archived = archived.iter().map(|key| json!({"op": "flag.archive", "flag": key}));
        segments.chain(flags).chain(archived).collect()
    }

    /// The keys of all flags, archived ones included.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.catalog.flags.iter().filter_map(|flag| flag["key"].as_str())
    }

    /// A context whose attributes lie near what the catalog asks for.
    pub fn context(&self, rng: &mut Rng) -> crate::naive::Context {
        contexts::context(rng, &self.probes)
    }

    /// The same as a request may have it: OFREP's targeting key is text.
    pub fn context_of_a_request(&self, rng: &mut Rng) -> crate::naive::Context {
        let mut context = self.context(rng);
        if context.get("targetingKey").is_some_and(|key| !key.is_string()) {
            context.remove("targetingKey");
        }
        context
    }
}

/// True so many times in a hundred.
fn chance(rng: &mut Rng, percent: u8) -> bool {
    rng.u8(0..100) < percent
}

/// One of them.
fn pick<'t, T>(rng: &mut Rng, all: &'t [T]) -> &'t T {
    rng.choice(all).expect("there is something to choose from")
}

/// Some of them, each once, in their order: at least `least`.
fn some<'t, T>(rng: &mut Rng, all: &'t [T], least: usize) -> Vec<&'t T> {
    let number = rng.usize(least..=all.len());
    let mut places: Vec<usize> = (0..all.len()).collect();
    rng.shuffle(&mut places);
    places.truncate(number);
    places.sort_unstable();
    places.into_iter().map(|place| &all[place]).collect()
}
