//! A snapshot travels in pieces, is checked, and takes effect whole.

use std::{io::Read, sync::Arc};

use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use tempfile::{TempDir, tempdir};

use super::{
    message::{SnapshotChunkV1, SnapshotInstallV1, SnapshotOfferV1, SnapshotPart},
    snapshot::SnapshotData,
    testing::{apply, entry, filled, log_id, open, recover, state_machine},
    transfer::{Incoming, Pieces, TransferRefusal},
    types::SnapshotMeta,
};
use crate::storage::Storage;

const TRANSFER: u64 = 42;

/// What somebody on the way does to a piece.
type Meddling = fn(&mut SnapshotChunkV1);

struct Sender {
    _dir: TempDir,
    storage: Arc<Storage>,
    meta: SnapshotMeta,
    data: SnapshotData,
}

/// A node with a snapshot of `proposals` proposals.
async fn sender(proposals: u64) -> Sender {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), proposals).await;
    let mut machine = state_machine(&storage);
    let built = machine.get_snapshot_builder().await.build_snapshot().await.expect("built");
    Sender { _dir: dir, storage, meta: built.meta, data: built.snapshot }
}

impl Sender {
    /// Sends the snapshot to `receiver`, each message through `meddle`.
    fn send(
        &self,
        receiver: &Storage,
        incoming: &Incoming,
        mut meddle: impl FnMut(&mut SnapshotChunkV1),
    ) -> Result<(SnapshotMeta, SnapshotData), TransferRefusal> {
        let offer = SnapshotOfferV1 {
            transfer: TRANSFER,
            meta: (&self.meta).into(),
            catalog_bytes: self.data.catalog_bytes,
            audit_size: self.data.audit_size,
        };
        let present = incoming.begin(receiver, offer)?;
        let parts = [
            (SnapshotPart::Catalog, Pieces::of_catalog(Arc::clone(&self.data.catalog))),
            (SnapshotPart::Audit, Pieces::of_audit(Arc::clone(&self.storage), present, self.data.audit_size)),
        ];
        let mut hashes = Vec::new();
        for (part, mut pieces) in parts {
            while let Some((offset, bytes)) = pieces.next().expect("reads") {
                let end = offset + u64::try_from(bytes.len()).expect("small");
                let mut chunk = SnapshotChunkV1 { transfer: TRANSFER, part, offset, bytes };
                meddle(&mut chunk);
                assert_eq!(incoming.add(&chunk)?, end);
            }
            hashes.push(pieces.sha256());
        }
        incoming.finish(&SnapshotInstallV1 {
            transfer: TRANSFER,
            vote: super::wire::VoteV1 { term: 1, node_id: 1, committed: true },
            catalog_sha256: hashes[0],
            audit_sha256: hashes[1],
        })
    }
}

fn assert_same(one: &Arc<Storage>, other: &Arc<Storage>) {
    let (a, b) = (recover(one).expect("sound"), recover(other).expect("sound"));
    assert_eq!(a.last_applied, b.last_applied);
    assert_eq!(a.state.digest(), b.state.digest());
    assert_eq!(a.state.audit_root(), b.state.audit_root());
    assert_eq!(
        one.audit_range(0, usize::MAX).expect("reads"),
        other.audit_range(0, usize::MAX).expect("reads")
    );
}

#[tokio::test]
async fn an_empty_and_a_lagging_node_take_a_snapshot_and_go_on() {
    let sender = sender(60).await;
    for present in [None, Some(25)] {
        let dir = tempdir().expect("a temporary folder");
        let storage = match present {
            Some(proposals) => filled(dir.path(), proposals).await,
            None => open(dir.path()),
        };
        let mut machine = state_machine(&storage);
        let publisher = machine.publisher();
        let mut audit_bytes = 0;
        let (meta, data) = sender
            .send(&storage, &Incoming::default(), |chunk| {
                audit_bytes += if chunk.part == SnapshotPart::Audit { chunk.bytes.len() } else { 0 };
            })
            .expect("sent");
        let whole = sender.storage.audit_range(0, usize::MAX).expect("reads");
        let missing: usize = whole[usize::try_from(present.unwrap_or(0)).expect("small")..]
            .iter()
            .map(|row| row.bytes.len() + 12)
            .sum();
        assert_eq!(audit_bytes, missing, "only the records that are missing travel");

        machine.install_snapshot(&meta, data).await.expect("installed");
        publisher.await_index(60).await;
        assert_eq!(publisher.current().state.sequence(), 60);
        let kept = machine.get_current_snapshot().await.expect("reads").expect("kept");
        assert_eq!(kept.meta, sender.meta);
        drop(machine);
        assert_same(&sender.storage, &storage);

        let mut machine = state_machine(&storage);
        apply(&mut machine, vec![entry(1, 61)]).await.expect("applied");
        assert_eq!(machine.publisher().current().state.sequence(), 61);
    }
}

#[tokio::test]
async fn what_was_applied_since_the_transfer_began_is_skipped() {
    let sender = sender(60).await;
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 25).await;
    let mut machine = state_machine(&storage);
    let (meta, data) = sender.send(&storage, &Incoming::default(), |_| ()).expect("sent");
    apply(&mut machine, (26..=40).map(|index| entry(1, index)).collect()).await.expect("applied");
    machine.install_snapshot(&meta, data).await.expect("installed");
    assert_same(&sender.storage, &storage);
}

#[tokio::test]
async fn pieces_that_are_changed_repeated_or_strange_are_refused() {
    let sender = sender(30).await;
    let dir = tempdir().expect("a temporary folder");
    let storage = open(dir.path());
    let incoming = Incoming::default();
    let changes: [(&str, Meddling); 4] = [
        ("a changed catalog", |chunk| {
            if chunk.part == SnapshotPart::Catalog {
                chunk.bytes[20] ^= 1;
            }
        }),
        ("a changed record", |chunk| {
            if chunk.part == SnapshotPart::Audit {
                chunk.bytes[20] ^= 1;
            }
        }),
        ("a wrong offset", |chunk| chunk.offset += 1),
        ("another transfer", |chunk| chunk.transfer += 1),
    ];
    for (what, change) in changes {
        let refused = sender.send(&storage, &incoming, change);
        assert!(matches!(refused, Err(TransferRefusal::Mismatch(_) | TransferRefusal::Unknown(_))), "{what}");
    }
    assert!(matches!(
        incoming.add(&SnapshotChunkV1 {
            transfer: TRANSFER,
            part: SnapshotPart::Catalog,
            offset: 0,
            bytes: vec![0; usize::try_from(sender.data.catalog_bytes).expect("small") + 1],
        }),
        Err(TransferRefusal::Unknown(_) | TransferRefusal::Mismatch(_))
    ));
    sender.send(&storage, &incoming, |_| ()).expect("a fresh start works");
}

#[tokio::test]
async fn a_snapshot_that_lies_changes_nothing() {
    // The catalog of one history with the audit records of another.
    let (sender, stranger) = (sender(30).await, sender(30).await);
    let mut other = state_machine(&stranger.storage);
    apply(&mut other, vec![entry(1, 131)]).await.expect("applied");
    drop(other);

    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 10).await;
    let (meta, mut data) = sender.send(&storage, &Incoming::default(), |_| ()).expect("sent");
    let mut forged = Vec::new();
    std::io::Seek::rewind(&mut data.audit.as_deref().expect("records")).expect("rewinds");
    data.audit.as_deref().expect("records").read_to_end(&mut forged).expect("reads");
    let last = forged.len() - 2;
    forged[last] ^= 1;
    let path = dir.path().join("forged");
    std::fs::write(&path, forged).expect("writes");
    data.audit = Some(Arc::new(std::fs::File::open(&path).expect("opens")));

    let mut machine = state_machine(&storage);
    let said = machine.install_snapshot(&meta, data).await.expect_err("refused").to_string();
    assert!(said.contains("root"), "{said}");
    drop(machine);
    let recovered = recover(&storage).expect("sound");
    assert_eq!((recovered.last_applied, recovered.state.sequence()), (Some(log_id(1, 10)), 10));
}

#[tokio::test]
async fn building_replaces_older_snapshots() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 10).await;
    let mut machine = state_machine(&storage);
    for index in 11..=13 {
        apply(&mut machine, vec![entry(1, index)]).await.expect("applied");
        machine.get_snapshot_builder().await.build_snapshot().await.expect("built");
    }
    let files = std::fs::read_dir(storage.snapshot_dir()).expect("lists").count();
    assert_eq!(files, 1);
    let current = machine.get_current_snapshot().await.expect("reads").expect("one");
    assert_eq!(current.meta.last_log_id, Some(log_id(1, 13)));
}
