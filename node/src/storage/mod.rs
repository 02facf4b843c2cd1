//! The disk: one RocksDB with one write-ahead log, and the only module that names RocksDB.
//!
//! One log for everything makes a crash leave a *prefix* of the order of writing: a vote is never lost behind an
//! entry written under it, nor an entry behind its effect. So the Raft log is synced, in groups, by one thread
//! ([`Storage::on_synced`]), and what `apply` writes rides unsynced behind it.
//!
//! This module stores bytes under names. What the bytes mean is the business of [`crate::raft`].

mod audit;
mod audit_index;
mod batch;
mod distrust;
mod error;
mod fatal;
mod floor;
mod identity;
mod log;
mod metrics;
mod recycled;
mod removed;
mod room;
mod schema;
mod staging;
mod syncer;
#[cfg(test)]
mod tamper;
mod tiles;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use arc_swap::ArcSwap;
use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, ReadOptions, WriteBatch};
use tokio::sync::oneshot;

pub use self::{
    audit::AuditRow,
    batch::Batch,
    error::StorageError,
    fatal::{FATAL_EXIT_CODE, FatalHook, exit_process},
    floor::Floor,
    identity::{Identity, random_uid},
    metrics::StorageMetrics,
    schema::MetaKey,
    staging::StageError,
    syncer::{Completion, Note},
};
use self::{recycled::require_readable, schema::RAFT_META, staging::AuditTail, syncer::Syncer};
use crate::canary::{self, Canary};

/// The Raft group of the one catalog there is today.
pub const GROUP: u32 = 1;

/// Test only: an environment variable that makes every sync after the n-th fail.
const FAIL_SYNC_AFTER: &str = "FLAGRAFT_FAIL_SYNC_AFTER";

/// A row as RocksDB hands it out: its key, with the group, and its value.
type RawRow = (Box<[u8]>, Box<[u8]>);

/// How to open a [`Storage`].
#[derive(Clone)]
pub struct StorageOptions {
    /// The node's data folder. It is created when missing.
    pub dir: PathBuf,
    /// The id that the folder must belong to, or will belong to when it is new.
    pub node_id: u64,
    /// Told when a sync fails.
    pub fatal: FatalHook,
    /// Where syncs are counted.
    pub metrics: StorageMetrics,
    /// Test only: how many syncs succeed before all others fail.
    pub fail_sync_after: Option<u64>,
}

impl StorageOptions {
    /// The options of a production node. The environment variable `FLAGRAFT_FAIL_SYNC_AFTER` (a number; for tests
    /// of the whole process) is read here and nowhere else.
    pub fn new(dir: impl Into<PathBuf>, node_id: u64, metrics: StorageMetrics) -> Self {
        let fail_sync_after = std::env::var(FAIL_SYNC_AFTER).ok().and_then(|text| text.parse().ok());
        if let Some(after) = fail_sync_after {
            tracing::warn!(after, "{FAIL_SYNC_AFTER} is set: this process will fail its disk on purpose");
        }
        Self { dir: dir.into(), node_id, fatal: exit_process(), metrics, fail_sync_after }
    }
}

/// One node's disk.
pub struct Storage {
    // Before `db`, so that on drop the thread has ended when the database closes.
    syncer: Syncer,
    floor: Floor,
    db: Arc<DB>,
    group: u32,
    dir: PathBuf,
    identity: ArcSwap<Identity>,
    fatal: FatalHook,
    failed: Arc<OnceLock<String>>,
    tail: Mutex<AuditTail>,
    /// The first write that the disk refused.
    refused: OnceLock<String>,
    snapshots: Mutex<()>,
}

impl Storage {
    /// Opens the folder, or makes a new one. This blocks: recovery reads the write-ahead log.
    ///
    /// # Errors
    /// When the folder can't be used, is open in another process, is damaged, or belongs to another node or format.
    pub fn open(options: StorageOptions) -> Result<Arc<Self>, StorageError> {
        let node_id = options.node_id;
        Self::open_as(options, |db, meta| identity::load_or_mint(db, meta, node_id))
    }

    /// Opens the folder of whichever node it is, for one who looks at it or mends it while the node does not run.
    /// Where there is none, none is made. One that is there is opened as a node opens it, which writes to its files,
    /// but what the catalog and the log say is left as it was. This blocks.
    ///
    /// # Errors
    /// When there is no folder of a node, or as [`Storage::open`].
    pub fn open_existing(
        dir: impl Into<PathBuf>,
        metrics: StorageMetrics,
    ) -> Result<Arc<Self>, StorageError> {
        let dir = dir.into();
        if !dir.join("db").join("CURRENT").is_file() {
            return Err(StorageError::Missing(dir));
        }
        let options = StorageOptions {
            dir: dir.clone(),
            node_id: 0,
            fatal: exit_process(),
            metrics,
            fail_sync_after: None,
        };
        Self::open_as(options, |db, meta| identity::load(db, meta)?.ok_or(StorageError::Missing(dir)))
    }

    fn open_as(
        options: StorageOptions,
        identify: impl FnOnce(&DB, &ColumnFamily) -> Result<Identity, StorageError>,
    ) -> Result<Arc<Self>, StorageError> {
        let StorageOptions { dir, node_id: _, fatal, metrics, fail_sync_after } = options;
        for folder in [dir.clone(), dir.join("db"), dir.join("snapshots"), dir.join("incoming")] {
            fs::create_dir_all(&folder).map_err(StorageError::file(&folder))?;
        }
        distrust::require_none(&dir)?;
        let failed = Arc::new(OnceLock::new());
        let hook: FatalHook = {
            let (failed, fatal, dir) = (Arc::clone(&failed), Arc::clone(&fatal), dir.clone());
            Arc::new(move |why| {
                // Only the first failure is of interest.
                _ = failed.set(why.to_owned());
                distrust::note(&dir, why);
                fatal(why);
            })
        };
        // RocksDB names the newest of its manifests in `CURRENT`; without it there never was a database.
        let is_new = !dir.join("db").join("CURRENT").exists();
        let floor = Floor::open(&dir, is_new)?;
        require_readable(&dir.join("db"))?;
        if !is_new && !floor.latest().is_empty() {
            require_all_families(&dir)?;
        }
        let opened = DB::open_cf_descriptors(&schema::options(), dir.join("db"), schema::families());
        let db = Arc::new(opened.map_err(|error| not_opened(&dir, error))?);
        let meta = db.cf_handle(RAFT_META).ok_or_else(|| missing_family(RAFT_META))?;
        let identity = identify(&db, meta)?;

        let syncing = Arc::clone(&db);
        let mut left = fail_sync_after;
        let sync = move || {
            if let Some(left) = &mut left {
                *left = left.checked_sub(1).ok_or_else(|| io::Error::other("failing on purpose"))?;
            }
            syncing.flush_wal(!canary::is_planted(Canary::SkipSync)).map_err(io::Error::other)
        };
        let syncer = Syncer::start(Box::new(sync), floor.clone(), metrics, Arc::clone(&hook))
            .map_err(StorageError::file(&dir))?;
        let storage = Self {
            syncer,
            floor,
            db,
            group: GROUP,
            dir,
            identity: ArcSwap::from_pointee(identity),
            fatal: hook,
            failed,
            refused: OnceLock::new(),
            snapshots: Mutex::new(()),
            // What the state counts is known once it is read: see `settle_audit`.
            tail: Mutex::new(AuditTail { counted: 0, end: 0, marked: false }),
        };
        storage.count_all_stored()?;
        Ok(Arc::new(storage))
    }

    /// Who the folder belongs to.
    pub fn identity(&self) -> Identity {
        self.identity.load().as_ref().clone()
    }

    /// Joins the folder to a cluster, durably. Joining the same one again changes nothing.
    ///
    /// # Errors
    /// When the folder belongs to another cluster already, or the disk fails.
    pub async fn set_cluster_id(
        &self,
        cluster_id: flagraft_core::identity::ClusterId,
    ) -> Result<(), StorageError> {
        let identity = self.identity().joined_to(cluster_id)?;
        let mut batch = self.batch();
        batch.identity(&identity);
        batch.commit()?;
        self.sync().await?;
        self.identity.store(Arc::new(identity));
        Ok(())
    }

    /// What the folder says, outside of the database, was surely on the disk.
    pub fn floor(&self) -> &Floor {
        &self.floor
    }

    /// The node's data folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where finished snapshots are kept.
    pub fn snapshot_dir(&self) -> PathBuf {
        self.dir.join("snapshots")
    }

    /// Held by whoever changes which finished snapshots there are, or opens one. This blocks.
    pub(crate) fn alone_with_snapshots(&self) -> MutexGuard<'_, ()> {
        // It guards no data that could be left half changed.
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where snapshots from other members are put together.
    pub fn incoming_dir(&self) -> PathBuf {
        self.dir.join("incoming")
    }

    /// Where catalogs of earlier revisions are kept.
    pub fn catalog_dir(&self) -> PathBuf {
        self.dir.join("catalogs")
    }

    /// The value kept under `key`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn meta(&self, key: MetaKey) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.db.get_cf(self.family(RAFT_META), key.key(self.group))?)
    }

    /// Writes the value of `key`. Durable after the next sync.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_meta(&self, key: MetaKey, value: &[u8]) -> Result<(), StorageError> {
        self.usable()?;
        self.noted(self.db.put_cf(self.family(RAFT_META), key.key(self.group), value).map_err(Into::into))
    }

    /// Visits all rows of the state, in the order of their keys: key, without the group, and value. This blocks.
    ///
    /// # Errors
    /// When the database fails, or `visit` does.
    pub fn scan_state<E: From<StorageError>>(
        &self,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let rows =
            self.scan(schema::STATE, schema::prefixed(self.group, &[]), schema::end_of(self.group).to_vec());
        for row in rows {
            let (key, value) = row.map_err(StorageError::from)?;
            visit(key.get(4..).unwrap_or_default(), &value)?;
        }
        Ok(())
    }

    /// Starts a batch: what is put into it is written at once or not at all.
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Calls `complete` once everything written before this call is durable, in the order of the calls. Just before,
    /// `note` is called, and what it makes of the [`Floor`] is durable by then too.
    /// `entries` is how many log entries the caller wrote, for the metrics.
    pub fn on_synced(&self, entries: usize, note: Note, complete: Completion) {
        self.syncer.submit(entries, note, complete);
    }

    /// Returns once everything written before this call is durable.
    ///
    /// # Errors
    /// When this sync or an earlier one failed.
    pub async fn sync(&self) -> Result<(), StorageError> {
        self.sync_and_note(Box::new(|| Ok(()))).await
    }

    /// [`Storage::sync`], and what `note` makes of the [`Floor`] is durable too.
    ///
    /// # Errors
    /// When this sync or an earlier one failed.
    pub async fn sync_and_note(&self, note: Note) -> Result<(), StorageError> {
        let (tell, told) = oneshot::channel();
        // The receiver is dropped only together with this future, and then nobody wants to know.
        self.on_synced(0, note, Box::new(move |result| drop(tell.send(result))));
        match told.await {
            Ok(result) => result.map_err(|error| StorageError::Failed(error.to_string())),
            Err(_) => Err(StorageError::Failed("the syncer is gone".to_owned())),
        }
    }

    /// [`Storage::sync`] for a thread that may block.
    ///
    /// # Errors
    /// When this sync or an earlier one failed.
    pub fn sync_blocking(&self) -> Result<(), StorageError> {
        let (tell, told) = std::sync::mpsc::channel();
        self.on_synced(0, Box::new(|| Ok(())), Box::new(move |result| drop(tell.send(result))));
        match told.recv() {
            Ok(result) => result.map_err(|error| StorageError::Failed(error.to_string())),
            Err(_) => Err(StorageError::Failed("the syncer is gone".to_owned())),
        }
    }

    /// Reports that this node can't go on. In production this does not return.
    pub fn fatal(&self, why: &str) {
        (self.fatal)(why);
    }

    /// Notes what became of writing a file beside the database, if the disk refused it.
    pub(crate) fn note_file<T>(&self, written: &io::Result<T>) {
        let error = written.as_ref().err().and_then(|error| error.get_ref());
        if let Some(error) = error.and_then(|error| error.downcast_ref::<StorageError>())
            && room::is_refusal(error)
        {
            _ = self.refused.set(error.to_string());
        }
    }

    /// Why the disk refused a write: it is full, over its quota or read-only. From then on nothing is written here any
    /// more, for what comes after a write that is missing must not be there without it. What was acknowledged before
    /// is on the disk, and opening the folder anew goes on from there. `None`: no write was refused.
    pub fn refused(&self) -> Option<&str> {
        self.refused.get().map(String::as_str)
    }

    /// How many bytes are free on the disk. This may block.
    ///
    /// # Errors
    /// When the disk can't be asked.
    pub fn free_bytes(&self) -> Result<u64, StorageError> {
        room::free_bytes(&self.dir)
    }

    /// Finds out whether the disk takes writes, with a small file. This blocks.
    ///
    /// # Errors
    /// When it does not.
    pub fn probe(&self) -> Result<(), StorageError> {
        room::probe(&self.dir)
    }

    fn usable(&self) -> Result<(), StorageError> {
        let earlier = self.failed.get().or_else(|| self.refused.get());
        earlier.map_or(Ok(()), |why| Err(StorageError::Failed(why.clone())))
    }

    fn write(&self, batch: WriteBatch) -> Result<(), StorageError> {
        self.usable()?;
        self.noted(self.db.write(batch).map_err(Into::into))
    }

    /// A write's result, noted if the disk refused the write.
    fn noted(&self, written: Result<(), StorageError>) -> Result<(), StorageError> {
        written.inspect_err(|error| {
            if room::is_refusal(error) {
                // Only the first is of interest.
                _ = self.refused.set(error.to_string());
            }
        })
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        // `open` asks for all of them, and RocksDB refuses to open without any it was asked for.
        #[expect(clippy::expect_used, reason = "the families are opened with the database")]
        self.db.cf_handle(name).expect("a column family of the schema")
    }

    /// The rows of a family whose keys are in `[from, to)`.
    fn scan(
        &self,
        family: &str,
        from: Vec<u8>,
        to: Vec<u8>,
    ) -> impl Iterator<Item = Result<RawRow, rocksdb::Error>> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        self.db.iterator_cf_opt(self.family(family), options, IteratorMode::From(&from, Direction::Forward))
    }

    /// The last row of a family whose key is in `[from, to)`.
    fn last_row(&self, family: &str, from: &[u8], to: &[u8]) -> Result<Option<RawRow>, StorageError> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(to);
        let mut rows = self.db.iterator_cf_opt(self.family(family), options, IteratorMode::End);
        Ok(rows.next().transpose()?)
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage")
            .field("dir", &self.dir)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Makes the names in a folder durable: what was renamed into it, and what was removed.
///
/// # Errors
/// When the folder can't be opened or synced.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    fs::File::open(dir).and_then(|folder| folder.sync_all()).map_err(StorageError::file(dir))
}

/// RocksDB says of a folder that another process has open only which lock it could not take.
fn not_opened(dir: &Path, error: rocksdb::Error) -> StorageError {
    let said = error.to_string();
    match said.contains("lock") && said.contains("LOCK") {
        true => StorageError::InUse(dir.to_owned()),
        // RocksDB may find the damage as soon as it is opened.
        false => error.into(),
    }
}

/// RocksDB would make a family that its manifest does not have, empty, and drop what its write-ahead log holds for it. It
/// made all of these before anything was kept.
fn require_all_families(dir: &Path) -> Result<(), StorageError> {
    let listed = DB::list_cf(&schema::options(), dir.join("db")).map_err(|error| not_opened(dir, error))?;
    match schema::FIRST_FAMILIES.iter().find(|name| !listed.iter().any(|listed| listed == *name)) {
        None => Ok(()),
        Some(name) => Err(missing_family(name)),
    }
}

fn missing_family(name: &str) -> StorageError {
    StorageError::corrupt(format!(
        "the database has no column family {name}, which it had: the end of its manifest is damaged or gone"
    ))
}
