//! Catalog snapshots as files: built from an applied state, kept beside the database, read back to be installed
//! or sent.
//!
//! ```text
//! header (an envelope of kind Snapshot) | rows: key length u32, value length u32, key, value | SHA-256 of all that
//! ```
//!
//! The audit log is not in it: it is only ever appended to, so a receiver is sent the records that it lacks.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bincode::{Decode, Encode};
use flagraft_core::{digest::Digest, state::State};
use openraft::RaftSnapshotBuilder;
use sha2::{Digest as _, Sha256};

use super::{
    codec::{self, Kind},
    message::SnapshotMetaV1,
    types::{LogId, SnapshotMeta, StoredMembership, TypeConfig},
};
use crate::storage::{StateRow, Storage, StorageError, sync_dir};

const EXTENSION: &str = "snapshot";
const TEMPORARY: &str = "tmp";
const HASH_BYTES: usize = 32;

/// The header of a snapshot file.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct SnapshotHeaderV1 {
    group: u32,
    meta: SnapshotMetaV1,
    /// Audit records that the catalog counts, and the root of their tree.
    audit_size: u64,
    audit_root: [u8; 32],
    /// The state's digest, in hexadecimal.
    digest: String,
    rows: u64,
}

/// A snapshot that openraft hands around: a finished catalog file, and where it was received from another member
/// the audit records that came with it.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotData {
    /// Open for as long as somebody reads it, also when a newer snapshot has replaced it in the folder.
    pub(super) catalog: Arc<File>,
    /// Bytes of the catalog file.
    pub(super) catalog_bytes: u64,
    /// How many audit records the catalog counts.
    pub(super) audit_size: u64,
    /// The records that this node lacked when the transfer began.
    pub(super) audit: Option<Arc<File>>,
}

/// A snapshot in the folder, with what its header says.
pub(super) struct StoredSnapshot {
    pub path: PathBuf,
    pub meta: SnapshotMeta,
    pub audit_size: u64,
}

impl StoredSnapshot {
    /// Opens it for reading.
    pub(super) fn open(self) -> Result<openraft::alias::SnapshotOf<TypeConfig, SnapshotData>, io::Error> {
        let catalog = File::open(&self.path).map_err(StorageError::file(&self.path))?;
        let catalog_bytes = catalog.metadata().map_err(StorageError::file(&self.path))?.len();
        let snapshot = SnapshotData {
            catalog: Arc::new(catalog),
            catalog_bytes,
            audit_size: self.audit_size,
            audit: None,
        };
        Ok(openraft::Snapshot { meta: self.meta, snapshot })
    }
}

/// A catalog read back whole and checked.
pub(super) struct Catalog {
    pub meta: SnapshotMeta,
    pub state: State,
    pub rows: Vec<StateRow>,
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
        blocking(move || build(&storage, &state, meta)).await
    }
}

/// Runs what blocks for long on a thread for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, io::Error> + Send + 'static,
) -> Result<T, io::Error> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Writes the snapshot of `state` and puts it in place of the older ones.
fn build(
    storage: &Storage,
    state: &State,
    meta: SnapshotMeta,
) -> Result<openraft::alias::SnapshotOf<TypeConfig, SnapshotData>, io::Error> {
    let dir = storage.snapshot_dir();
    // Two builds can run at a time; each has a file of its own.
    static BUILDS: AtomicU64 = AtomicU64::new(0);
    let temporary = dir.join(format!("{}.{TEMPORARY}", BUILDS.fetch_add(1, Ordering::Relaxed)));
    let file = File::create(&temporary).map_err(StorageError::file(&temporary))?;
    write(&file, state, &meta).and_then(|()| file.sync_all()).map_err(StorageError::file(&temporary))?;
    // The state was written before it was published, but perhaps not yet synced. A snapshot must never be ahead
    // of it after a power cut.
    storage.sync_blocking()?;
    put_in_place(storage, &temporary, &meta)?;
    StoredSnapshot { path: path_of(&dir, &meta), meta, audit_size: state.sequence() }.open()
}

/// Renames a finished and synced file to where [`newest`] finds it, and removes the older ones.
pub(super) fn put_in_place(storage: &Storage, file: &Path, meta: &SnapshotMeta) -> Result<(), io::Error> {
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

/// Removes what a crash left unfinished: half-built snapshots, and pieces from other members.
pub(super) fn remove_leftovers(storage: &Storage) -> Result<(), io::Error> {
    let mut leftovers = files(&storage.snapshot_dir(), TEMPORARY)?;
    leftovers.extend(files(&storage.incoming_dir(), TEMPORARY)?);
    for path in leftovers {
        fs::remove_file(&path).map_err(StorageError::file(&path))?;
    }
    Ok(())
}

/// The newest finished snapshot, its header checked.
///
/// # Errors
/// When the folder or the file can't be read, or the file is no snapshot: damaged is never "there is none".
pub(super) fn newest(storage: &Storage) -> Result<Option<StoredSnapshot>, io::Error> {
    let Some(path) = newest_path(&storage.snapshot_dir())? else { return Ok(None) };
    let bytes = fs::read(&path).map_err(StorageError::file(&path))?;
    let (header, _) = split(&bytes).map_err(|error| damaged(&path, &error))?;
    let meta = header.meta.try_into().map_err(|error| damaged(&path, &error))?;
    Ok(Some(StoredSnapshot { path, meta, audit_size: header.audit_size }))
}

/// Reads a catalog file from its start, and checks everything about it that can be checked.
///
/// # Errors
/// When it can't be read or does not fit together.
pub(super) fn read(mut file: &File) -> Result<Catalog, io::Error> {
    io::Seek::rewind(&mut file)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<Catalog, io::Error> {
    let (header, mut left) = split(bytes)?;
    let mut rows = Vec::new();
    while !left.is_empty() {
        let [key_bytes, value_bytes] = [take_length(&mut left)?, take_length(&mut left)?];
        rows.push((take(&mut left, key_bytes)?.to_vec(), take(&mut left, value_bytes)?.to_vec()));
    }
    if u64::try_from(rows.len()).ok() != Some(header.rows) {
        return Err(invalid(format!("a snapshot of {} rows that should have {}", rows.len(), header.rows)));
    }
    let state = State::from_rows(rows.iter().cloned()).map_err(|error| invalid(error.to_string()))?;
    let digest = state.recompute_digest();
    if digest != state.digest() || Digest::parse(&header.digest) != Some(digest) {
        return Err(invalid("a snapshot whose rows do not have the digest it states".to_owned()));
    }
    if state.sequence() != header.audit_size || state.audit_root() != header.audit_root {
        return Err(invalid("a snapshot whose state counts other audit records than its header".to_owned()));
    }
    Ok(Catalog { meta: header.meta.try_into()?, state, rows })
}

/// Writes the catalog of `state`.
///
/// # Errors
/// When the file can't be written.
pub(super) fn write(file: &File, state: &State, meta: &SnapshotMeta) -> Result<(), io::Error> {
    let rows: Vec<StateRow> = state.rows().collect();
    let header = SnapshotHeaderV1 {
        group: crate::storage::GROUP,
        meta: meta.into(),
        audit_size: state.sequence(),
        audit_root: state.audit_root(),
        digest: state.digest().to_string(),
        rows: u64::try_from(rows.len()).map_err(io::Error::other)?,
    };
    let mut out = BufWriter::with_capacity(1024 * 1024, file);
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hash.update(bytes);
        out.write_all(bytes)
    };
    put(&codec::encode(Kind::Snapshot, &header)?)?;
    for (key, value) in &rows {
        for part in [key, value] {
            put(&u32::try_from(part.len()).map_err(io::Error::other)?.to_be_bytes())?;
        }
        put(key)?;
        put(value)?;
    }
    let hash: [u8; HASH_BYTES] = hash.finalize().into();
    out.write_all(&hash)?;
    out.flush()
}

/// Checks a file's hash and header, and returns the header and the rows' bytes.
fn split(bytes: &[u8]) -> Result<(SnapshotHeaderV1, &[u8]), io::Error> {
    let (content, hash) = bytes
        .split_last_chunk::<HASH_BYTES>()
        .ok_or_else(|| invalid(format!("a snapshot of {} bytes", bytes.len())))?;
    if Sha256::digest(content).as_slice() != hash {
        return Err(invalid("a snapshot whose SHA-256 does not match".to_owned()));
    }
    let (header, rows) = codec::decode_first::<SnapshotHeaderV1>(Kind::Snapshot, content)?;
    if header.group != crate::storage::GROUP {
        return Err(invalid(format!("a snapshot of group {}", header.group)));
    }
    Ok((header, rows))
}

fn take<'a>(left: &mut &'a [u8], count: usize) -> Result<&'a [u8], io::Error> {
    let (taken, rest) = left
        .split_at_checked(count)
        .ok_or_else(|| invalid("a snapshot that ends within a row".to_owned()))?;
    *left = rest;
    Ok(taken)
}

fn take_length(left: &mut &[u8]) -> Result<usize, io::Error> {
    let bytes = take(left, 4)?;
    let length = bytes.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    usize::try_from(length).map_err(io::Error::other)
}

/// Names sort as their snapshots do.
fn path_of(dir: &Path, meta: &SnapshotMeta) -> PathBuf {
    let (index, term) = meta.last_log_id.map_or((0, 0), |id| (id.index, id.leader_id.term));
    dir.join(format!("{index:020}-{term:020}.{EXTENSION}"))
}

fn newest_path(dir: &Path) -> Result<Option<PathBuf>, io::Error> {
    Ok(files(dir, EXTENSION)?.into_iter().max())
}

fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, io::Error> {
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

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
