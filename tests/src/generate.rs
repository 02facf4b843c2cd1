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

/// A catalog, and what its contexts are made from.
#[derive(Debug)]
pub struct World {
    /// The catalog.
    pub catalog: Catalog,
    /// Other segments of the same keys, without lists, that the catalog's own replace.
    drafts: Vec<Value>,
    probes: Vec<Probe>,
}

impl World {
    /// A catalog with so many flags. One in eight is a wide one: it has more segments, a few flags more, and one that
    /// depends on nearly all of both.
    pub fn new(rng: &mut Rng, flags: usize) -> Self {
        let is_wide = rng.u8(0..8) == 0;
        let attributes = pools::attributes(rng);
        let width = if is_wide { 8 } else { 2 };
        let drafts = segments::segments(rng, &attributes, width).into_iter().map(segments::without_lists);
        let drafts = drafts.collect();
        let segments = segments::segments(rng, &attributes, width);
        let keys: Vec<&str> = segments.iter().filter_map(|segment| segment["key"].as_str()).collect();
        let mut flags = flags::flags(rng, if is_wide { flags.max(30) } else { flags }, &attributes, &keys);
        if is_wide {
            flags.push(flags::dependent_on_all(&flags, &keys));
        }
        let archived = flags::archivable(rng, &flags);
        let catalog = Catalog { segments, flags, archived };
        let probes = contexts::probes(&catalog);
        Self { catalog, drafts, probes }
    }

    /// The operations that write the catalog, in an order in which each is accepted. What is written first is written
    /// again, and what others depend on is written after them: an engine that takes over what a change leaves as it was
    /// has to notice.
    pub fn operations(&self) -> Vec<Value> {
        let put_segment = |segment: &Value| json!({"op": "segment.put", "segment": segment});
        let put_flag = |flag: &Value| json!({"op": "flag.put", "flag": flag});
        let bare = self.catalog.flags.iter().map(|flag| {
            let mut bare = flag.clone();
            bare["environments"] = json!({});
            put_flag(&bare)
        });
        let drafts = self.drafts.iter().map(put_segment);
        let flags = self.catalog.flags.iter().rev().map(put_flag);
        let segments = self.catalog.segments.iter().map(put_segment);
        let archived = self.catalog.archived.iter().map(|key| json!({"op": "flag.archive", "flag": key}));
        drafts.chain(bare).chain(flags).chain(segments).chain(archived).collect()
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
