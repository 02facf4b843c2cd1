//! The last known good copy on disk, and the bootstrap file.
//!
//! A copy is a line that names the format and the SHA-256 of all that follows, a line of JSON about the copy, and the
//! snapshot. It is written beside the old one and put in its place at once, so there is always a whole one. What does not
//! match its hash is not used, no part of it.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flagraft_core::{feed::Replica, identity::History};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    context::Overlay, details::Source, held::Held, place::Place, settings::Settings, snapshot::check_place,
};

/// What a copy begins with.
const MAGIC: &str = "flagraft-copy 1 ";
/// The largest line about the copy: a token's context is small.
const ABOUT_BYTES_MAX: usize = 64 * 1024;

/// Nobody writes for so long.
const LEFT_AFTER: Duration = Duration::from_secs(60 * 60);

/// What is kept about a copy.
#[derive(Serialize, Deserialize)]
struct About {
    history: History,
    /// When it was last known to be current, in milliseconds since 1970 UTC by the clock of the machine that kept it.
    current_at_ms: i64,
    /// What the token lays over every context.
    context: BTreeMap<String, Value>,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is damaged, or none of this client's")]
    Damaged,
    #[error("it is older than a copy may be")]
    TooOld,
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
    #[error("{0}")]
    Feed(#[from] flagraft_core::feed::FeedError),
}

/// Where the copy of a token's environment is kept. A token is for one environment; its hash names the file, so that
/// neither the secret nor another token's copy gets there.
pub(crate) fn file_of(directory: &Path, token: &str) -> PathBuf {
    let hash = Sha256::new().chain_update(b"flagraft-copy\0").chain_update(token).finalize();
    directory.join(format!("flagraft-{}.copy", hex::encode(hash.get(..12).unwrap_or_default())))
}

/// The copy of a file; `None` where there is no such file.
pub(crate) fn load(
    file: &Path,
    stated: Option<&Place>,
    settings: &Settings,
    wall_ms: i64,
) -> Result<Option<Held>, Unusable> {
    let bytes_max = settings.definitions_bytes_max.saturating_add(ABOUT_BYTES_MAX);
    let Some(text) = read(file, bytes_max)? else { return Ok(None) };
    let (first, rest) = text.split_once('\n').ok_or(Unusable::Damaged)?;
    if first.strip_prefix(MAGIC) != Some(hex::encode(Sha256::digest(rest)).as_str()) {
        return Err(Unusable::Damaged);
    }
    let (about, snapshot) = rest.split_once('\n').ok_or(Unusable::Damaged)?;
    let About { history, current_at_ms, context } =
        serde_json::from_str(about).map_err(|_| Unusable::Damaged)?;
    let age = u64::try_from(wall_ms.saturating_sub(current_at_ms));
    match age {
        Ok(age_ms) if Duration::from_millis(age_ms) > settings.disk_age_max => return Err(Unusable::TooOld),
        Ok(_) => {}
        // A machine without a battery begins in 1970. Its copy is better than none.
        Err(_) => tracing::warn!(
            "the copy on disk is from the future by this machine's clock; it is used all the same"
        ),
    }
    let replica = Replica::from_snapshot(snapshot)?;
    if let Some(stated) = stated {
        check_place(&replica, stated)?;
    }
    let overlay = Overlay { region: settings.region.clone(), token: context };
    Ok(Some(Held::new(replica, Some(history), Source::Disk, Arc::new(overlay))))
}

/// The copy of a bootstrap file: a snapshot document, as `GET .../definitions` gives it.
pub(crate) fn load_bootstrap(
    file: &Path,
    stated: Option<&Place>,
    settings: &Settings,
) -> Result<Held, Unusable> {
    let text = read(file, settings.definitions_bytes_max)?;
    let text = text.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let replica = Replica::from_snapshot(&text)?;
    if let Some(stated) = stated {
        check_place(&replica, stated)?;
    }
    let overlay = Overlay { region: settings.region.clone(), token: BTreeMap::new() };
    let mut held = Held::new(replica, None, Source::Bootstrap, Arc::new(overlay));
    held.is_counted = stated.is_some();
    Ok(held)
}

/// Keeps a copy of a node's definitions, which was known to be current at this time.
pub(crate) fn save(file: &Path, held: &Held, current_at_ms: i64) -> io::Result<()> {
    let history = held.history.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let about = About { history, current_at_ms, context: held.overlay.token.clone() };
    let mut rest = serde_json::to_vec(&about)?;
    rest.push(b'\n');
    serde_json::to_writer(&mut rest, &held.replica.to_snapshot())?;
    let folder = file.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    fs::create_dir_all(folder)?;
    sweep(file, folder);
    // Of this attempt alone: two clients that share a folder, of one process or of two, must not write into each other's.
    let beside = file.with_extension(format!("copy.{:016x}", fastrand::u64(..)));
    let written =
        write(&beside, &[MAGIC.as_bytes(), hex::encode(Sha256::digest(&rest)).as_bytes(), b"\n", &rest]);
    let put = written.and_then(|()| fs::rename(&beside, file));
    if put.is_err() {
        let _ = fs::remove_file(&beside);
    }
    put?;
    // The new name must be on disk too.
    File::open(folder)?.sync_all()
}

/// Removes what earlier attempts left beside a copy when their process ended. What can't be removed does no harm.
fn sweep(file: &Path, folder: &Path) {
    let Some(name) = file.file_name().and_then(OsStr::to_str) else { return };
    let beside = format!("{name}.");
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(|name| name.starts_with(&beside)) {
            continue;
        }
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        // A younger one may be somebody's who is still writing it.
        if modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > LEFT_AFTER) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn write(file: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    // Rules and members are nobody else's business.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()
}

fn read(file: &Path, bytes_max: usize) -> Result<Option<String>, Unusable> {
    let file = match File::open(file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(Unusable::TooLarge(bytes_max));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| Unusable::Damaged)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

    fn held() -> Held {
        let flag = json!({"key": "a", "type": "boolean", "variants": {"on": true}, "configuration": null, "version": 1});
        let snapshot = json!({"format": 1, "revision": 7, "environment_revision": 5, "project": "demo",
            "environment": "dev", "flags": [flag], "segments": []});
        let replica = Replica::from_snapshot(&snapshot.to_string()).expect("a snapshot");
        let token = BTreeMap::from([("region".to_owned(), json!("eu"))]);
        Held::new(replica, Some(History(0xab)), Source::Node, Arc::new(Overlay { region: None, token }))
    }

    #[test]
    fn a_copy_comes_back_as_it_was_and_is_nobodys_age() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = file_of(&folder.path().join("made"), "fr_svc_secret");
        assert!(!file.to_string_lossy().contains("secret"));
        assert_ne!(file, file_of(&folder.path().join("made"), "fr_svc_other"));
        let settings = Settings::default();
        assert!(load(&file, None, &settings, 0).expect("none").is_none());
        for wall_ms in [1, 2] {
            save(&file, &held(), wall_ms).expect("saved");
        }
        let here = Place { project: "demo".to_owned(), environment: "dev".to_owned() };
        let loaded = load(&file, Some(&here), &settings, 7 * DAY_MS).expect("good").expect("there");
        assert_eq!(loaded.revision(), held().revision());
        assert_eq!(loaded.replica.environment_revision(), 5);
        assert_eq!(loaded.overlay, held().overlay);
        assert_eq!(loaded.source, Source::Disk);
        loaded.was_current(1);
        assert_eq!(loaded.age_ms(&crate::clock::SystemClock), None);
        assert_eq!(
            fs::read_dir(folder.path().join("made")).expect("a folder").count(),
            1,
            "nothing is left beside it"
        );

        assert!(load(&file, None, &settings, -DAY_MS).expect("a clock that was set back").is_some());
        assert!(matches!(load(&file, None, &settings, 8 * DAY_MS), Err(Unusable::TooOld)));
        let there = Place { environment: "qa".to_owned(), ..here };
        assert!(matches!(load(&file, Some(&there), &settings, 0), Err(Unusable::Feed(_))));
        let small = Settings { definitions_bytes_max: 0, ..settings };
        assert!(load(&file, None, &small, 0).is_ok(), "the line about it has room to spare");
    }

    #[test]
    fn clients_that_share_a_folder_keep_out_of_each_others_way() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = file_of(folder.path(), "t");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        save(&file, &held(), 0).expect("saved");
                        load(&file, None, &Settings::default(), 0).expect("whole").expect("there");
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn what_an_ended_process_left_is_removed_and_what_is_being_written_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = file_of(folder.path(), "t");
        let beside = |end: &str| file.with_extension(format!("copy.{end}"));
        let others = file_of(folder.path(), "other").with_extension("copy.1");
        let long_ago = std::time::SystemTime::now() - LEFT_AFTER * 2;
        for path in [beside("0123"), others.clone()] {
            File::create(path).and_then(|file| file.set_modified(long_ago)).expect("left");
        }
        fs::write(beside("4567"), "half").expect("being written");
        save(&file, &held(), 0).expect("saved");
        assert!(file.exists() && beside("4567").exists() && others.exists());
        assert!(!beside("0123").exists());
    }

    #[test]
    fn a_copy_that_is_damaged_anywhere_is_not_used_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = file_of(folder.path(), "t");
        save(&file, &held(), 0).expect("saved");
        let good = fs::read(&file).expect("the file");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&file, &bad).expect("damaged");
            assert!(load(&file, None, &Settings::default(), 0).is_err(), "a bit of byte {at}");
            fs::write(&file, &good[..at]).expect("cut");
            assert!(load(&file, None, &Settings::default(), 0).is_err(), "cut at {at}");
        }
    }
}
