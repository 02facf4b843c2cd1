//! What the caller of the tests may set, and where things lie.

use std::{
    env,
    fmt::Display,
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    str::FromStr,
};

/// How often a test repeats what it repeats: `in_ci` of the `full` figure, unless `FLAGRAFT_TEST_ROUNDS` says `full`
/// or gives a percentage of it (`50%`). `scripts/measure` runs with `full`.
///
/// # Panics
/// The variable is neither.
pub fn rounds(in_ci: u32, full: u32) -> u32 {
    match env::var("FLAGRAFT_TEST_ROUNDS") {
        Err(_) => in_ci,
        Ok(text) if text == "full" => full,
        Ok(text) => {
            let percent: u32 =
                text.strip_suffix('%').and_then(|number| number.parse().ok()).unwrap_or_else(|| {
                    panic!("FLAGRAFT_TEST_ROUNDS is {text:?}; use `full` or a percentage such as 50%")
                });
            (full * percent / 100).max(1)
        }
    }
}

/// A random number generator that says its seed, so that a failed run can be run again: `FLAGRAFT_TEST_SEED`.
pub fn rng() -> fastrand::Rng {
    fastrand::Rng::with_seed(seed())
}

/// The seed of this run, which it says: `FLAGRAFT_TEST_SEED`, else any.
pub fn seed() -> u64 {
    let seed = env::var("FLAGRAFT_TEST_SEED")
        .ok()
        .and_then(|text| u64::from_str(&text).ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("seed: FLAGRAFT_TEST_SEED={seed}");
    seed
}

/// Whether what a run wrote down is to be left although it passed: `FLAGRAFT_TEST_KEEP`, with any value.
pub fn keeps() -> bool {
    env::var_os("FLAGRAFT_TEST_KEEP").is_some()
}

/// Says a figure that a person may want to read, and adds it to the file that `scripts/measure` prints.
pub fn measured(what: &str, value: impl Display) {
    println!("measured: {what}: {value}");
    if let Ok(path) = env::var("FLAGRAFT_MEASURE_FILE") {
        let line = format!("{what}: {value}\n");
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        written.unwrap_or_else(|error| panic!("FLAGRAFT_MEASURE_FILE={path} cannot be written: {error}"));
    }
}

/// The `flagraft` binary under test: `FLAGRAFT_BINARY`, else the one that was built beside this test.
///
/// # Panics
/// It is not there; the message says how to build it.
pub fn binary() -> PathBuf {
    let binary = match env::var_os("FLAGRAFT_BINARY") {
        Some(path) => PathBuf::from(path),
        None => profile_folder().join("flagraft"),
    };
    there(binary, "cargo build -p flagraft", "FLAGRAFT_BINARY")
}

/// The `flagraft-canary` binary, in whose nodes bugs can be planted: `FLAGRAFT_CANARY_BINARY`, else the one beside
/// [`binary`].
///
/// # Panics
/// It is not there; the message says how to build it.
pub fn canary_binary() -> PathBuf {
    let binary = env::var_os("FLAGRAFT_CANARY_BINARY")
        .map_or_else(|| binary().with_file_name("flagraft-canary"), PathBuf::from);
    there(binary, "cargo build -p flagraft --features canary --bin flagraft-canary", "FLAGRAFT_CANARY_BINARY")
}

fn there(binary: PathBuf, built_by: &str, variable: &str) -> PathBuf {
    assert!(
        binary.is_file(),
        "there is no {}. These tests run the real binary: build it with `{built_by}` (./scripts/check does), or name \
         another with {variable}",
        binary.display()
    );
    binary
}

/// `target/<profile>`: tests lie in its `deps`.
fn profile_folder() -> PathBuf {
    let this = env::current_exe().expect("a running test has a file");
    let mut folder = this.parent().expect("a file lies in a folder");
    if folder.ends_with("deps") {
        folder = folder.parent().expect("deps lies in the profile's folder");
    }
    folder.to_owned()
}

/// A file of this crate.
pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of a file of this crate.
///
/// # Panics
/// It cannot be read.
pub fn read_file(path: &str) -> String {
    let path = file(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Where `scripts/setup` put the published OpenFeature clients, and schemathesis.
pub fn clients_folder() -> PathBuf {
    let cache = || {
        env::var_os("FLAGRAFT_CACHE")
            .map(PathBuf::from)
            .or_else(|| env::var_os("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("flagraft")))
            .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache/flagraft")))
            .expect("FLAGRAFT_CLIENTS, FLAGRAFT_CACHE, XDG_CACHE_HOME or HOME is set")
            .join("clients")
    };
    env::var_os("FLAGRAFT_CLIENTS").map_or_else(cache, PathBuf::from)
}
