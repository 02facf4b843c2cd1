//! The catalogs that are kept in a folder, so that no way in the log is long.
//!
//! They are copies: one that is lost, or does not have its hash, is made anew. So none is synced. There is one every
//! `every` revisions, or where reading a catalog takes longer than bringing it on by so many, as many revisions as it
//! weighs: to keep them more closely would cost every change more than it would save anybody. When they fill what they
//! may, every second one goes where they stand closest.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use flagraft_core::travel::Catalog;

use super::{
    LogError,
    catalog_file::{self, Head},
    log::Log,
};
use crate::{config::TravelConfig, storage::StorageError};

const EXTENSION: &str = "catalog";
const TEMPORARY: &str = "tmp";

/// Catalogs that are kept, at most, whatever their size.
const FILES_MAX: usize = 10_000;

/// The kept catalogs.
#[derive(Debug)]
pub(super) struct Checkpoints {
    dir: PathBuf,
    every: u64,
    bytes_max: u64,
    /// By revision.
    files: Mutex<BTreeMap<u64, Kept>>,
}

/// A kept catalog.
#[derive(Clone, Copy, Debug)]
struct Kept {
    bytes: u64,
    /// The revision at which the next one is due.
    next: u64,
}

impl Checkpoints {
    /// The catalogs in a folder. It is made when missing.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn open(dir: PathBuf, config: &TravelConfig) -> Result<Self, StorageError> {
        fs::create_dir_all(&dir).map_err(StorageError::file(&dir))?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&dir).map_err(StorageError::file(&dir))? {
            let path = entry.map_err(StorageError::file(&dir))?.path();
            match kept(&path) {
                Ok((revision, kept)) if path == path_of(&dir, revision) => _ = files.insert(revision, kept),
                // What a crash left, or somebody else.
                _ => remove(&path),
            }
        }
        let opened =
            Self { dir, every: config.every.max(1), bytes_max: config.bytes_max, files: Mutex::new(files) };
        opened.thin();
        Ok(opened)
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<u64, Kept>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revision at which the next catalog is due after this one: the same on every node.
    pub fn due_after(&self, catalog: &Catalog) -> u64 {
        let weight = u64::try_from(catalog.weight()).unwrap_or(u64::MAX);
        let steps = weight.div_ceil(self.every).max(1);
        (catalog.revision() / self.every).saturating_add(steps).saturating_mul(self.every)
    }

    /// The revision at which the next catalog is due after all that there are.
    pub fn due(&self) -> u64 {
        self.files().last_key_value().map_or(self.every, |(_, kept)| kept.next)
    }

    /// The oldest catalog of at least a revision.
    pub fn first_after(&self, revision: u64) -> Option<u64> {
        self.files().range(revision..).next().map(|(revision, _)| *revision)
    }

    /// Keeps a catalog, and lets others go where there is no room for all.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put(&self, catalog: &Catalog) -> io::Result<()> {
        // The way there can be gone by two at a time; each has a file of its own.
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let temporary = self.dir.join(format!("{}.{TEMPORARY}", WRITES.fetch_add(1, Ordering::Relaxed)));
        let head = Head::new(catalog.revision(), self.due_after(catalog));
        let path = path_of(&self.dir, head.revision);
        let written = File::create(&temporary)
            .and_then(|file| catalog_file::write(&file, head, catalog))
            .and_then(|_| Ok(fs::metadata(&temporary)?.len()))
            .and_then(|bytes| fs::rename(&temporary, &path).map(|()| bytes));
        let bytes = written.inspect_err(|_| remove(&temporary))?;
        self.files().insert(head.revision, Kept { bytes, next: head.next });
        self.thin();
        Ok(())
    }

    /// Keeps a catalog that was passed on the way to another one, if nothing has to go for it.
    pub fn put_if_there_is_room(&self, catalog: &Catalog) {
        let has_room = {
            let files = self.files();
            let (all, greatest) = files
                .values()
                .fold((0_u64, 0), |(all, greatest), kept| (all + kept.bytes, kept.bytes.max(greatest)));
            !files.contains_key(&catalog.revision())
                && files.len() < FILES_MAX
                && all + greatest <= self.bytes_max
        };
        if has_room && let Err(error) = self.put(catalog) {
            tracing::warn!(%error, revision = catalog.revision(), "a catalog could not be kept");
        }
    }

    /// The newest kept catalog that is later than `after` and not later than `upto`. One that does not have its hash, or
    /// not its place in the log, goes.
    pub fn newest(&self, log: &Log<'_>, after: u64, upto: u64) -> Result<Option<Catalog>, LogError> {
        let revisions: Vec<u64> = match after.checked_add(1) {
            Some(from) if from <= upto => self.files().range(from..=upto).map(|(at, _)| *at).collect(),
            _ => Vec::new(),
        };
        for revision in revisions.into_iter().rev() {
            let path = path_of(&self.dir, revision);
            let catalog = match catalog_file::read(&path) {
                Ok(catalog) if has_its_place(log, &catalog)? => return Ok(Some(catalog)),
                Ok(_) => "it is none of this log".to_owned(),
                Err(error) => error.to_string(),
            };
            tracing::warn!(revision, why = catalog, "a kept catalog can't be used, and is made anew");
            self.files().remove(&revision);
            remove(&path);
        }
        Ok(None)
    }

    /// Lets the catalogs of before a revision go.
    pub fn forget_before(&self, revision: u64) {
        let mut files = self.files();
        let kept = files.split_off(&revision);
        for (revision, _) in std::mem::replace(&mut *files, kept) {
            remove(&path_of(&self.dir, revision));
        }
    }

    /// Lets catalogs go until the rest has room: never the newest, and of the others the one whose neighbours are nearest.
    fn thin(&self) {
        let mut files = self.files();
        let mut bytes: u64 = files.values().map(|kept| kept.bytes).sum();
        while bytes > self.bytes_max || files.len() > FILES_MAX {
            let revisions: Vec<u64> = files.keys().copied().collect();
            let before = std::iter::once(0).chain(revisions.iter().copied());
            let gaps = before.zip(&revisions).zip(revisions.iter().skip(1));
            let closest = gaps.min_by_key(|((before, _), after)| *after - before);
            let goes = closest.map(|((_, revision), _)| *revision);
            // The last one goes only where not even that has room.
            let Some(revision) = goes.or(revisions.first().copied()) else { break };
            let gone = files.remove(&revision);
            bytes -= gone.map_or(0, |kept| kept.bytes);
            remove(&path_of(&self.dir, revision));
        }
    }
}

/// Whether the log has the record that made a catalog where the catalog says. One that is gone can't tell.
fn has_its_place(log: &Log<'_>, catalog: &Catalog) -> Result<bool, LogError> {
    let made = log.made(catalog.revision())?;
    Ok(catalog.next_sequence() <= log.end
        && made.is_none_or(|moment| {
            moment.sequence < catalog.next_sequence() && catalog.history() == Some(moment.history)
        }))
}

/// Names sort as their revisions do.
fn path_of(dir: &Path, revision: u64) -> PathBuf {
    dir.join(format!("{revision:020}.{EXTENSION}"))
}

fn kept(path: &Path) -> io::Result<(u64, Kept)> {
    let head = catalog_file::head(path)?;
    Ok((head.revision, Kept { bytes: fs::metadata(path)?.len(), next: head.next }))
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a file could not be removed");
    }
}
