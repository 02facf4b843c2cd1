//! What the fuzzers found worth keeping, run without them: `fuzz/corpus` has an input for everything that they reached.
//! `scripts/fuzz` looks for more.
#![expect(clippy::disallowed_methods, reason = "the corpus is files")]

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use std::{
    fs,
    path::{Path, PathBuf},
};

use fuzz::TARGETS;

/// Runs a target over its part of the corpus.
fn replay(name: &str) {
    let (_, run) = TARGETS.into_iter().find(|(target, _)| *target == name).expect("a target");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).expect("the folder of a target");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    assert!(!paths.is_empty(), "{} is empty; run scripts/fuzz minimise", folder.display());
    paths.sort();
    let breaks = |path: &&PathBuf| {
        let bytes = fs::read(path).expect("a file of the corpus");
        std::panic::catch_unwind(|| run(&bytes)).is_err()
    };
    let broken: Vec<&PathBuf> = paths.iter().filter(breaks).collect();
    assert!(broken.is_empty(), "above: why; with {broken:?}");
}

#[test]
fn conditions_and_flags_in_json() {
    replay("condition");
}

#[test]
fn contexts() {
    replay("context");
}

#[test]
fn catalogs_that_change() {
    replay("evaluate");
}

#[test]
fn conditions_as_text() {
    replay("expression");
}
