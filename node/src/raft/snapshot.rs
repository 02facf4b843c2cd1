//! Catalog snapshots: built from an applied state, kept in a folder beside the database, handed to openraft.
//!
//! The audit log is not in them: it is only ever appended to, so a receiver is sent the records that it lacks.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flagraft_core::state::State;
use openraft::RaftSnapshotBuilder;

use super::{
    catalog_file::{self, Summary},
    install::Checked,
    types::{LogId, SnapshotMeta, StoredMembership, TypeConfig},
};
use crate::storage::{Storage, StorageError, sync_dir};

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
    put_in_place(storage, &temporary, meta)?;
    open(&path_of(&dir, meta))
}

/// Keeps a copy of an installed catalog as this node's own newest snapshot.
pub(super) fn keep(storage: &Storage, catalog: &CatalogFile) -> Result<(), io::Error> {
    let path = storage.snapshot_dir().join(format!("installed.{TEMPORARY}"));
    let copy = File::create(&path).map_err(StorageError::file(&path))?;
    catalog_file::copy(&catalog.file, &copy).map_err(StorageError::file(&path))?;
    copy.sync_all().map_err(StorageError::file(&path))?;
    put_in_place(storage, &path, &catalog.summary.meta)
}

/// Renames a finished and synced file to where [`newest`] finds it, and removes the older ones.
fn put_in_place(storage: &Storage, file: &Path, meta: &SnapshotMeta) -> Result<(), io::Error> {
    let dir = storage.snapshot_dir();
    let path = path_of(&dir, meta);
    fs::rename(file, &path).map_err(StorageError::file(&path))?;
    sync_dir(&dir)?;
    let newest = newest_path(&dir)?;
    for other in
        files(&dir, EXTENSION)?.into_iter().filter(|other| Some(other) < newest.as_ref() && *other != path)
    {
        fs::remove_file(&other).map_err(StorageError::file(&other))?;
    }
    Ok(())
}

/// Removes all finished snapshots, durably.
pub(super) fn remove_all(storage: &Storage) -> Result<(), io::Error> {
    let dir = storage.snapshot_dir();
    for path in files(&dir, EXTENSION)? {
        fs::remove_file(&path).map_err(StorageError::file(&path))?;
    }
    Ok(sync_dir(&dir)?)
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
    newest_path(&storage.snapshot_dir())?.map(|path| open(&path)).transpose()
}

/// [`newest`], read through and its hash checked.
///
/// # Errors
/// As [`newest`], and when the file was changed.
pub(super) fn newest_verified(storage: &Storage) -> Result<Option<CatalogFile>, io::Error> {
    let Some(path) = newest_path(&storage.snapshot_dir())? else { return Ok(None) };
    let catalog = open(&path)?;
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
