//! Sends a snapshot to a member that lacks too much for entries: first the audit records that it lacks, which every
//! leader has alike, then the catalog, of which each leader has one of its own and soon a newer one.

use std::{
    future::Future,
    io,
    ops::{ControlFlow, Range},
    sync::Arc,
    time::Duration,
};

use super::{
    catalog_file,
    message::{AuditRecordsV1, CatalogPieceV1, RaftMessage, RaftReply, SnapshotInstallV2, SnapshotOfferV2},
    snapshot::{CatalogFile, blocking},
    transfer_metrics::TransferMetrics,
    wire::VoteV1,
};
use crate::storage::{Storage, StorageError};

/// Bytes of one message, about: one that was cut off is sent again whole.
pub(super) const PIECE_BYTES: usize = 1024 * 1024;
/// How long the receiver may take for one message. The whole may take much longer, as long as it goes on.
const PIECE_DEADLINE: Duration = Duration::from_secs(15);

/// The way to the member that receives.
pub(super) trait Wire: Sync {
    /// Why there was no answer.
    type Error: Send;

    /// Asks it.
    fn call(
        &self,
        message: RaftMessage,
        deadline: Duration,
    ) -> impl Future<Output = Result<RaftReply, Self::Error>> + Send;
}

/// Why a snapshot did not arrive.
#[derive(Debug)]
pub(super) enum SendError<E> {
    /// The receiver did not answer, or refused.
    Wire(E),
    /// The receiver answered what does not fit.
    Answer(String),
    /// This node can't read what it must send.
    Disk(io::Error),
}

/// One attempt to send a snapshot.
pub(super) struct Outgoing<'a, W> {
    pub(super) wire: &'a W,
    pub(super) storage: &'a Arc<Storage>,
    pub(super) metrics: &'a TransferMetrics,
    pub(super) catalog: CatalogFile,
    /// Bytes of one message, about: [`PIECE_BYTES`] but in tests.
    pub(super) piece_bytes: usize,
}

impl<W: Wire> Outgoing<'_, W> {
    /// Sends what the receiver lacks and has it installed, within `install_deadline`. Returns the receiver's vote.
    ///
    /// # Errors
    /// See [`SendError`]. What has arrived need not be sent again.
    pub(super) async fn send(
        self,
        vote: VoteV1,
        install_deadline: Duration,
    ) -> Result<VoteV1, SendError<W::Error>> {
        // A damaged file is not for another member to find, and to be sent it again and again.
        let file = Arc::clone(&self.catalog.file);
        blocking(move || catalog_file::verify(&file)).await.map_err(SendError::Disk)?;

        let summary = &self.catalog.summary;
        let offer = RaftMessage::SnapshotOfferV2(SnapshotOfferV2 {
            meta: (&summary.meta).into(),
            catalog_bytes: summary.bytes,
            catalog_sha256: summary.sha256,
            audit_size: summary.audit_size,
        });
        let (records, bytes) = match self.call(offer, PIECE_DEADLINE).await? {
            RaftReply::SnapshotOfferV2 { audit_size, catalog_bytes } => (audit_size, catalog_bytes),
            other => return Err(unexpected(&other)),
        };
        self.send_records(records).await?;
        self.send_catalog(bytes).await?;
        let install = SnapshotInstallV2 { catalog_sha256: summary.sha256, vote };
        match self.call(RaftMessage::SnapshotInstallV2(install), install_deadline).await? {
            RaftReply::SnapshotInstall { vote } => Ok(vote),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends the audit records from `next` on.
    async fn send_records(&self, mut next: u64) -> Result<(), SendError<W::Error>> {
        let end = self.catalog.summary.audit_size;
        while next < end {
            let (storage, piece_bytes) = (Arc::clone(self.storage), self.piece_bytes);
            let (records, bytes) =
                blocking(move || records(&storage, next..end, piece_bytes)).await.map_err(SendError::Disk)?;
            let message = AuditRecordsV1 { first: next, records };
            match self.call(RaftMessage::AuditRecords(message), PIECE_DEADLINE).await? {
                RaftReply::AuditRecords { audit_size } if audit_size > next => next = audit_size,
                other => return Err(unexpected(&other)),
            }
            self.metrics.sent_bytes.inc_by(bytes);
        }
        Ok(())
    }

    /// Sends the catalog file from `offset` on.
    async fn send_catalog(&self, mut offset: u64) -> Result<(), SendError<W::Error>> {
        let CatalogFile { file, summary } = &self.catalog;
        while offset < summary.bytes {
            let (file, piece_bytes) = (Arc::clone(file), self.piece_bytes);
            let bytes = blocking(move || catalog_file::piece(&file, offset, piece_bytes))
                .await
                .map_err(SendError::Disk)?;
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let message = CatalogPieceV1 { catalog_sha256: summary.sha256, offset, bytes };
            match self.call(RaftMessage::CatalogPiece(message), PIECE_DEADLINE).await? {
                RaftReply::CatalogPiece { catalog_bytes } if catalog_bytes > offset => offset = catalog_bytes,
                other => return Err(unexpected(&other)),
            }
            self.metrics.sent_bytes.inc_by(length);
        }
        Ok(())
    }

    async fn call(&self, message: RaftMessage, deadline: Duration) -> Result<RaftReply, SendError<W::Error>> {
        self.wire.call(message, deadline).await.map_err(SendError::Wire)
    }
}

/// The first records of `range`, about `piece_bytes` of them and at least one, and their bytes.
fn records(
    storage: &Storage,
    range: Range<u64>,
    piece_bytes: usize,
) -> Result<(Vec<Vec<u8>>, u64), io::Error> {
    let mut records = Vec::new();
    let mut size = 0;
    storage.scan_audit::<StorageError>(range.start, |sequence, bytes| {
        if sequence >= range.end || (size > 0 && size + bytes.len() > piece_bytes) {
            return Ok(ControlFlow::Break(()));
        }
        size += bytes.len();
        records.push(bytes.to_vec());
        Ok(ControlFlow::Continue(()))
    })?;
    if records.is_empty() {
        return Err(StorageError::corrupt(format!("audit record {} is missing", range.start)).into());
    }
    Ok((records, u64::try_from(size).map_err(io::Error::other)?))
}

fn unexpected<E>(reply: &RaftReply) -> SendError<E> {
    SendError::Answer(format!("the receiver of a snapshot answered something else: {reply:?}"))
}
