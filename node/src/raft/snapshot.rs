//! Catalog snapshots: built from an applied state, kept in a folder beside the database, handed to openraft.
//!
//! The audit log is not in them: it is only ever appended to, so a receiver is sent the records that it lacks.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use flagraft_core::state::State;
use openraft::RaftSnapshotBuilder;

use super::{
    catalog_file::{self, Summary},
    install::Checked,
    log_store::read_log_id,
    types::{LogId, SnapshotMeta, StoredMembership, TypeConfig},
};
use crate::storage::{MetaKey, Storage, StorageError, sync_dir};

const EXTENSION: &str = "snapshot";
const TEMPORARY: &str = "tmp";

/// A snapshot that openraft hands around.
#[derive(Clone, Debug)]
pub(crate) enum SnapshotData {
    /// A finished catalog of this node.
    Stored(CatalogFile),
    /// A catalog from another member, checked together with the audit records that came with it.
    Received(Box<Checked>),
    /// Nothing: another member has announced what this node has applied already.
    Covered,
}

/// A finished catalog file.
#[derive(Clone, Debug)]
pub(crate) struct CatalogFile {
    /// Open for as long as somebody reads it, also when a newer snapshot has replaced it in the folder.
    pub(super) file: Arc<File>,
    /// What it says of itself.
    pub(super) summary: Summary,
}

impl CatalogFile {
    /// A catalog file, of which only the header is looked at.
    pub(super) fn of(file: File) -> Result<Self, io::Error> {
        let summary = catalog_file::summary(&file)?;
        Ok(Self { file: Arc::new(file), summary })
    }
}

impl From<CatalogFile> for openraft::alias::SnapshotOf<TypeConfig, SnapshotData> {
    fn from(catalog: CatalogFile) -> Self {
        Self { meta: catalog.summary.meta.clone(), snapshot: SnapshotData::Stored(catalog) }
    }
}

/// What a snapshot is built from: one consistent view, because a [`State`] is never changed in place.
pub(crate) struct SnapshotBuilder {
    pub(super) storage: Arc<Storage>,
    pub(super) state: State,
    pub(super) last_applied: Option<LogId>,
    pub(super) membership: StoredMembership,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(
        &mut self,
    ) -> Result<openraft::alias::SnapshotOf<TypeConfig, SnapshotData>, io::Error> {
        let meta = SnapshotMeta { last_log_id: self.last_applied, last_membership: self.membership.clone() };
        let (storage, state) = (Arc::clone(&self.storage), self.state.clone());
        let built = blocking(move || build(&storage, &state, &meta)).await;
        self.storage.note_file(&built);
        Ok(built?.into())
    }
}

/// Runs what blocks for long on a thread for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, io::Error> + Send + 'static,
) -> Result<T, io::Error> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Writes the snapshot of `state` and puts it in place of the older ones.
fn build(storage: &Storage, state: &State, meta: &SnapshotMeta) -> Result<CatalogFile, io::Error> {
    let dir = storage.snapshot_dir();
    // Two builds can run at a time; each has a file of its own.
    static BUILDS: AtomicU64 = AtomicU64::new(0);
    let temporary = dir.join(format!("{}.{TEMPORARY}", BUILDS.fetch_add(1, Ordering::Relaxed)));
    let file = File::create(&temporary).map_err(StorageError::file(&temporary))?;
    catalog_file::write(&file, state, meta)
        .and_then(|()| file.sync_all())
        .map_err(StorageError::file(&temporary))?;
    // The state was written before it was published, but perhaps not yet synced. A snapshot must never be ahead
    // of it after a power cut.
    storage.sync_blocking()?;
    let built = open(&temporary)?;
    let finished = Finished::of(storage);
    // Another member's was installed meanwhile. Where that reaches to, the log starts: an older one beside it would be the
    // newest of this folder, and useless, if its own were not there after a crash.
    if read_log_id(storage, MetaKey::LastInstalled)? > meta.last_log_id {
        fs::remove_file(&temporary).map_err(StorageError::file(&temporary))?;
    } else {
        finished.put_in_place(&temporary, meta)?;
    }
    Ok(built)
}

/// The finished snapshots of this node, for one who changes or opens them at a time: a snapshot can be built while one of
/// another member is installed, and each removes what is older.
pub(super) struct Finished<'s> {
    dir: PathBuf,
    _alone: MutexGuard<'s, ()>,
}

impl<'s> Finished<'s> {
    /// Waits until nobody else has them. This blocks.
    pub(super) fn of(storage: &'s Storage) -> Self {
        Self { dir: storage.snapshot_dir(), _alone: storage.alone_with_snapshots() }
    }

    /// The newest one and where it lies.
    fn newest(&self) -> Result<Option<(PathBuf, CatalogFile)>, io::Error> {
        let Some(path) = newest_path(&self.dir)? else { return Ok(None) };
        let catalog = open(&path)?;
        Ok(Some((path, catalog)))
    }

    /// Keeps a copy of an installed catalog as this node's own newest snapshot.
    pub(super) fn keep(&self, catalog: &CatalogFile) -> Result<(), io::Error> {
        let path = self.dir.join(format!("installed.{TEMPORARY}"));
        let copy = File::create(&path).map_err(StorageError::file(&path))?;
        catalog_file::copy(&catalog.file, &copy).map_err(StorageError::file(&path))?;
        copy.sync_all().map_err(StorageError::file(&path))?;
        self.put_in_place(&path, &catalog.summary.meta)
    }

    /// Renames a finished and synced file to where [`newest`] finds it, and removes the older ones.
    fn put_in_place(&self, file: &Path, meta: &SnapshotMeta) -> Result<(), io::Error> {
        let path = path_of(&self.dir, meta);
        fs::rename(file, &path).map_err(StorageError::file(&path))?;
        sync_dir(&self.dir)?;
        let newest = newest_path(&self.dir)?;
        for older in files(&self.dir, EXTENSION)?.into_iter().filter(|other| Some(other) < newest.as_ref()) {
            fs::remove_file(&older).map_err(StorageError::file(&older))?;
        }
        Ok(())
    }

    /// Removes all of them, durably.
    pub(super) fn remove_all(&self) -> Result<(), io::Error> {
        for path in files(&self.dir, EXTENSION)? {
            fs::remove_file(&path).map_err(StorageError::file(&path))?;
        }
        Ok(sync_dir(&self.dir)?)
    }
}

/// Removes what a crash left unfinished in the folder. What has arrived of another member's snapshot stays: its
/// transfer goes on where it was cut.
pub(super) fn remove_leftovers(storage: &Storage) -> Result<(), io::Error> {
    for path in files(&storage.snapshot_dir(), TEMPORARY)? {
        fs::remove_file(&path).map_err(StorageError::file(&path))?;
    }
    Ok(())
}

/// The newest finished snapshot, its header checked.
///
/// # Errors
/// When the folder or the file can't be read, or the file is no snapshot: damaged is never "there is none".
pub(super) fn newest(storage: &Storage) -> Result<Option<CatalogFile>, io::Error> {
    Ok(Finished::of(storage).newest()?.map(|(_, catalog)| catalog))
}

/// [`newest`], read through and its hash checked.
///
/// # Errors
/// As [`newest`], and when the file was changed.
pub(super) fn newest_verified(storage: &Storage) -> Result<Option<CatalogFile>, io::Error> {
    let Some((path, catalog)) = Finished::of(storage).newest()? else { return Ok(None) };
    catalog_file::verify(&catalog.file).map_err(|error| damaged(&path, &error))?;
    Ok(Some(catalog))
}

fn open(path: &Path) -> Result<CatalogFile, io::Error> {
    let file = File::open(path).map_err(StorageError::file(path))?;
    CatalogFile::of(file).map_err(|error| damaged(path, &error))
}

/// Names sort as their snapshots do.
fn path_of(dir: &Path, meta: &SnapshotMeta) -> PathBuf {
    let (index, term) = meta.last_log_id.map_or((0, 0), |id| (id.index, id.leader_id.term));
    dir.join(format!("{index:020}-{term:020}.{EXTENSION}"))
}

fn newest_path(dir: &Path) -> Result<Option<PathBuf>, io::Error> {
    Ok(files(dir, EXTENSION)?.into_iter().max())
}

/// The files of a folder with this extension.
pub(super) fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, io::Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(StorageError::file(dir))? {
        let path = entry.map_err(StorageError::file(dir))?.path();
        if path.extension().is_some_and(|end| end == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

fn damaged(path: &Path, error: &dyn std::error::Error) -> io::Error {
    StorageError::corrupt(format!("{}: {error}", path.display())).into()
}
