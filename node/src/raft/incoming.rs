//! Receives a snapshot from the leader, in pieces that stay when the transfer breaks: audit records staged behind the
//! counted ones, the catalog in a file named by its hash. Whoever leads next goes on where they end, and so does this
//! node after a restart. Nothing of it counts before it is checked whole, and what fails the check is thrown away.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    install::{self, CheckError},
    message::{AuditRecordsV1, CatalogPieceV1, SnapshotInstallV2, SnapshotOfferV2},
    publish::Publisher,
    snapshot::{self, CatalogFile, SnapshotData},
    transfer_metrics::TransferMetrics,
    types::{SnapshotMeta, SnapshotProgress},
};
use crate::storage::{StageError, Storage, StorageError};

/// The extension of a catalog that has not arrived whole.
const PARTIAL: &str = "part";

/// Why a message of a transfer was not taken. The leader announces the snapshot again, and goes on.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferRefusal {
    /// Another snapshot was announced since, or none.
    #[error("this is not the snapshot that was announced here last")]
    Unannounced,
    /// The last one is being checked or installed.
    #[error("a snapshot is being installed here; ask again when that is done")]
    Busy,
    /// A message was lost, repeated or is not what was announced.
    #[error("{0}")]
    Mismatch(String),
    /// This node's disk failed.
    #[error("the snapshot could not be written or read: {0}")]
    Disk(#[from] io::Error),
}

impl From<StorageError> for TransferRefusal {
    fn from(error: StorageError) -> Self {
        Self::Disk(error.into())
    }
}

/// The one snapshot that is on its way to this node, if any.
pub(super) struct Incoming {
    storage: Arc<Storage>,
    publisher: Publisher,
    metrics: TransferMetrics,
    stage: Mutex<Stage>,
    /// For those who only look: it is never locked for long.
    progress: Mutex<Option<Progress>>,
}

#[derive(Default)]
enum Stage {
    #[default]
    Idle,
    Announced(Transfer),
    Installing,
}

struct Transfer {
    offer: SnapshotOfferV2,
    /// `None`: this node has applied all that the snapshot covers.
    catalog: Option<Partial>,
}

/// A catalog file that grows.
struct Partial {
    file: File,
    path: PathBuf,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Progress {
    /// The index up to which the snapshot covers the log.
    covers: u64,
    shown: SnapshotProgress,
}

impl Incoming {
    pub(super) fn new(storage: Arc<Storage>, publisher: Publisher, metrics: TransferMetrics) -> Self {
        Self { storage, publisher, metrics, stage: Mutex::default(), progress: Mutex::default() }
    }

    /// How far the snapshot that is on its way is. `None` when there is none that brings anything.
    pub(super) fn progress(&self) -> Option<SnapshotProgress> {
        let progress = *lock(&self.progress);
        let shown = progress.filter(|progress| !self.covers(progress.covers)).map(|progress| progress.shown);
        self.metrics.show(shown.as_ref());
        shown
    }

    /// A snapshot is announced, in place of any before. Returns how many audit records and how many bytes of its
    /// catalog are here already. This blocks.
    pub(super) fn announce(&self, offer: SnapshotOfferV2) -> Result<(u64, u64), TransferRefusal> {
        let mut stage = lock(&self.stage);
        if matches!(*stage, Stage::Installing) {
            return Err(TransferRefusal::Busy);
        }
        let entry = entry_of(&meta_of(&offer)?);
        if self.covers(entry) {
            let all = (offer.audit_size, offer.catalog_bytes);
            *stage = Stage::Announced(Transfer { offer, catalog: None });
            return Ok(all);
        }
        let catalog = self.partial(&offer)?;
        let counted = self.publisher.current().state.sequence();
        let records = self.storage.staged_end().min(offer.audit_size);
        if catalog.bytes > 0 || records > counted {
            self.metrics.resumed.inc();
            tracing::info!(entry, records, catalog_bytes = catalog.bytes, "a snapshot transfer goes on");
        } else {
            tracing::info!(entry, records = offer.audit_size, "a snapshot is on its way to this node");
        }
        let here = (records, catalog.bytes);
        let shown = SnapshotProgress {
            received_records: here.0,
            total_records: offer.audit_size,
            received_bytes: here.1,
            total_bytes: offer.catalog_bytes,
        };
        *lock(&self.progress) = Some(Progress { covers: entry, shown });
        self.metrics.show(Some(&shown));
        *stage = Stage::Announced(Transfer { offer, catalog: Some(catalog) });
        Ok(here)
    }

    /// Audit records arrive. Returns how many are here then. This blocks.
    pub(super) fn add_records(&self, message: &AuditRecordsV1) -> Result<u64, TransferRefusal> {
        let stage = lock(&self.stage);
        let Stage::Announced(Transfer { offer, catalog: Some(_) }) = &*stage else {
            return Err(refusal(&stage));
        };
        let count = u64::try_from(message.records.len()).unwrap_or(u64::MAX);
        if message.first.saturating_add(count) > offer.audit_size {
            return Err(TransferRefusal::Mismatch(format!(
                "audit records beyond the {} that were announced",
                offer.audit_size
            )));
        }
        let here =
            self.storage.stage_records(message.first, &message.records).map_err(|error| match error {
                StageError::Gap { .. } => TransferRefusal::Mismatch(error.to_string()),
                StageError::Storage(error) => error.into(),
            })?;
        let here = here.min(offer.audit_size);
        let bytes: usize = message.records.iter().map(Vec::len).sum();
        self.metrics.received_bytes.inc_by(u64::try_from(bytes).unwrap_or(0));
        self.metrics.received_records.inc_by(count);
        self.note(|shown| shown.received_records = here);
        Ok(here)
    }

    /// A piece of the catalog arrives. Returns how many bytes of it are here then. This blocks.
    pub(super) fn add_piece(&self, piece: &CatalogPieceV1) -> Result<u64, TransferRefusal> {
        let mut stage = lock(&self.stage);
        let Stage::Announced(Transfer { offer, catalog: Some(catalog) }) = &mut *stage else {
            return Err(refusal(&stage));
        };
        if piece.catalog_sha256 != offer.catalog_sha256 {
            return Err(TransferRefusal::Unannounced);
        }
        let length = u64::try_from(piece.bytes.len()).unwrap_or(u64::MAX);
        let end = catalog.bytes.saturating_add(length);
        if piece.offset != catalog.bytes || end > offer.catalog_bytes {
            return Err(TransferRefusal::Mismatch(format!(
                "a piece of {length} bytes at {} where {} of {} have arrived",
                piece.offset, catalog.bytes, offer.catalog_bytes
            )));
        }
        catalog.file.write_all_at(&piece.bytes, piece.offset).map_err(StorageError::file(&catalog.path))?;
        catalog.bytes = end;
        self.metrics.received_bytes.inc_by(length);
        self.note(|shown| shown.received_bytes = end);
        Ok(end)
    }

    /// Everything has arrived: from now on nothing is taken until the result is let go.
    pub(super) fn begin_install(
        self: &Arc<Self>,
        message: &SnapshotInstallV2,
    ) -> Result<Arrived, TransferRefusal> {
        let mut stage = lock(&self.stage);
        let Stage::Announced(Transfer { offer, .. }) = &*stage else { return Err(refusal(&stage)) };
        if message.catalog_sha256 != offer.catalog_sha256 {
            return Err(TransferRefusal::Unannounced);
        }
        let last = offer.meta.last_log_id.map(|id| (id.term, id.node_id));
        if last > Some((message.vote.term, message.vote.node_id)) {
            return Err(TransferRefusal::Mismatch(
                "a snapshot of a later term than that of the leader who sends it".to_owned(),
            ));
        }
        let Stage::Announced(transfer) = std::mem::replace(&mut *stage, Stage::Installing) else {
            return Err(TransferRefusal::Unannounced);
        };
        Ok(Arrived { incoming: Arc::clone(self), transfer })
    }

    /// Whether this node publishes the effect of the entry at `index`.
    fn covers(&self, index: u64) -> bool {
        self.publisher.current().position.is_some_and(|position| position.index >= index)
    }

    /// The file that the announced catalog goes into, with what has arrived of it earlier; all others go.
    fn partial(&self, offer: &SnapshotOfferV2) -> Result<Partial, TransferRefusal> {
        let dir = self.storage.incoming_dir();
        let path = dir.join(format!("{}.{PARTIAL}", hex::encode(offer.catalog_sha256)));
        for other in snapshot::files(&dir, PARTIAL)?.into_iter().filter(|other| *other != path) {
            fs::remove_file(&other).map_err(StorageError::file(&other))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(StorageError::file(&path))?;
        let mut bytes = file.metadata().map_err(StorageError::file(&path))?.len();
        if bytes > offer.catalog_bytes {
            file.set_len(0).map_err(StorageError::file(&path))?;
            bytes = 0;
        }
        Ok(Partial { file, path, bytes })
    }

    fn note(&self, change: impl FnOnce(&mut SnapshotProgress)) {
        if let Some(progress) = &mut *lock(&self.progress) {
            change(&mut progress.shown);
            self.metrics.show(Some(&progress.shown));
        }
    }
}

/// A snapshot that has arrived whole. While this lives, no other is taken.
pub(super) struct Arrived {
    incoming: Arc<Incoming>,
    transfer: Transfer,
}

impl Arrived {
    /// Checks it by what is on the disk. What is not as announced is thrown away, and comes again. This blocks.
    pub(super) fn check(&self) -> Result<(SnapshotMeta, SnapshotData), TransferRefusal> {
        let Incoming { storage, publisher, metrics, .. } = &*self.incoming;
        let offer = &self.transfer.offer;
        let meta = meta_of(offer)?;
        let Some(catalog) = &self.transfer.catalog else { return Ok((meta, SnapshotData::Covered)) };
        if catalog.bytes != offer.catalog_bytes {
            return Err(TransferRefusal::Mismatch(format!(
                "{} of {} bytes of the catalog have arrived",
                catalog.bytes, offer.catalog_bytes
            )));
        }
        let staged = storage.staged_end();
        if staged < offer.audit_size {
            return Err(TransferRefusal::Mismatch(format!(
                "{staged} of {} audit records have arrived",
                offer.audit_size
            )));
        }
        let checked =
            self.open(catalog).and_then(|file| install::check(storage, &publisher.current().tiles, file));
        let what = match checked {
            Ok(checked) => return Ok((meta, SnapshotData::Received(Box::new(checked)))),
            Err(CheckError::Storage(error)) => return Err(error.into()),
            Err(CheckError::Catalog(error)) => {
                fs::remove_file(&catalog.path).map_err(StorageError::file(&catalog.path))?;
                error.to_string()
            }
            Err(CheckError::Records(what)) => {
                storage.discard_staged()?;
                what
            }
        };
        metrics.discarded.inc();
        tracing::warn!(entry = entry_of(&meta), "what has arrived of a snapshot is thrown away: {what}");
        Err(TransferRefusal::Mismatch(what))
    }

    /// The catalog, when it is the announced one.
    fn open(&self, catalog: &Partial) -> Result<CatalogFile, CheckError> {
        let offer = &self.transfer.offer;
        let file = catalog.file.try_clone().and_then(CatalogFile::of).map_err(CheckError::Catalog)?;
        let said = &file.summary;
        if said.sha256 != offer.catalog_sha256
            || said.audit_size != offer.audit_size
            || super::message::SnapshotMetaV1::from(&said.meta) != offer.meta
        {
            let error = format!("a snapshot of {} where another was announced", said.meta);
            return Err(CheckError::Catalog(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        Ok(file)
    }

    /// The snapshot is installed: what it was made of is of no more use. This blocks.
    pub(super) fn installed(&self) {
        *lock(&self.incoming.progress) = None;
        self.incoming.metrics.show(None);
        if let Some(catalog) = &self.transfer.catalog
            && let Err(error) = fs::remove_file(&catalog.path)
        {
            // The next announcement tries again.
            tracing::warn!(path = %catalog.path.display(), %error, "a received snapshot could not be removed");
        }
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        *lock(&self.incoming.stage) = Stage::Idle;
    }
}

fn meta_of(offer: &SnapshotOfferV2) -> Result<SnapshotMeta, TransferRefusal> {
    let meta: Result<SnapshotMeta, super::codec::CodecError> = offer.meta.clone().try_into();
    meta.map_err(|error| TransferRefusal::Mismatch(error.to_string()))
}

/// The last entry whose effect is in a snapshot.
fn entry_of(meta: &SnapshotMeta) -> u64 {
    meta.last_log_id.map_or(0, |id| id.index)
}

fn refusal(stage: &Stage) -> TransferRefusal {
    match stage {
        Stage::Installing => TransferRefusal::Busy,
        Stage::Idle | Stage::Announced(_) => TransferRefusal::Unannounced,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
