//! A member's own part in checkpoints: it signs what its log is, and stops when its log is not its cluster's.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use flagraft_core::{
    audit_key::AuditPublicKey,
    checkpoint::{Checkpoint, Origin},
    identity::History,
    merkle::{Hash, root_at},
    note::{Note, Signer},
    state::State,
};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::timeout};

use super::{
    keys::KeyFile,
    metrics::CheckpointMetrics,
    signed::{NotSigned, SignedCheckpoint, SigningKeys},
};
use crate::{
    node::failure::{Failure, StartError},
    raft::{AuditTree, Published, Replica},
    storage::{MetaKey, Storage, StorageError},
};

/// What a node says of the checkpoints that it has and signs. JSON between members: fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointReport {
    /// Records of the newest checkpoint here that a majority signed; 0 when there is none.
    pub size: u64,
    /// The nodes whose signatures are under it.
    pub signers: Vec<u64>,
    /// Why this node signs nothing; `None` while it does.
    pub unsigned: Option<String>,
}

/// Why a member does not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsigned {
    /// It does not publish that size yet.
    #[error("it publishes {size} records of the audit log, and not as many as it is asked to sign")]
    Behind {
        /// What it publishes.
        size: u64,
    },
    /// The cluster knows no key of it.
    #[error(
        "none of its keys is listed in the cluster yet; it adds one by itself once the cluster version is 2"
    )]
    NoKey,
    /// Its log is not the one that it signed last.
    #[error("{0}")]
    AnotherLog(String),
    /// Its disk failed.
    #[error("its disk failed: {0}")]
    Disk(String),
}

impl Unsigned {
    fn reason(&self) -> &'static str {
        match self {
            Self::Behind { .. } => "behind",
            Self::NoKey => "no_key",
            Self::AnotherLog(_) => "another_log",
            Self::Disk(_) => "disk",
        }
    }
}

impl From<StorageError> for Unsigned {
    fn from(error: StorageError) -> Self {
        Self::Disk(error.to_string())
    }
}

/// What a [`Cosigner`] is made of.
pub(crate) struct CosignerParts {
    pub(crate) node_id: u64,
    pub(crate) storage: Arc<Storage>,
    pub(crate) replica: Replica,
    pub(crate) metrics: CheckpointMetrics,
    /// Told when this node can't go on.
    pub(crate) fail: watch::Sender<Option<Failure>>,
}

/// Signs, and holds what others signed against this node's log.
pub(crate) struct Cosigner {
    node_id: u64,
    storage: Arc<Storage>,
    replica: Replica,
    keys: Mutex<KeyFile>,
    /// One signature at a time, so that what was signed last is what is kept.
    turn: tokio::sync::Mutex<()>,
    newest: ArcSwapOption<SignedCheckpoint>,
    unsigned: Mutex<Option<String>>,
    metrics: CheckpointMetrics,
    fail: watch::Sender<Option<Failure>>,
}

impl Cosigner {
    /// Reads the key file, or makes it, and holds the newest checkpoint that was kept against the log.
    ///
    /// # Errors
    /// When the file can't be used, that checkpoint is not one that was kept, or the log is not the one of it.
    pub(crate) async fn open(parts: CosignerParts) -> Result<Arc<Self>, StartError> {
        let CosignerParts { node_id, storage, replica, metrics, fail } = parts;
        let dir = storage.dir().to_owned();
        let keys = KeyFile::open(&dir)?;
        let published = replica.published();
        let newest = kept(&storage, &published).await?;
        let cosigner = Self {
            node_id,
            storage,
            replica,
            keys: Mutex::new(keys),
            turn: tokio::sync::Mutex::new(()),
            newest: ArcSwapOption::empty(),
            unsigned: Mutex::new(None),
            metrics,
            fail,
        };
        if let Some(newest) = newest {
            cosigner.show(newest);
        }
        Ok(Arc::new(cosigner))
    }

    /// The newest checkpoint that a majority signed, as far as this node knows.
    pub(crate) fn newest(&self) -> Option<Arc<SignedCheckpoint>> {
        self.newest.load_full()
    }

    /// What the cluster's status says of it.
    pub(crate) fn report(&self) -> CheckpointReport {
        let newest = self.newest();
        CheckpointReport {
            size: newest.as_ref().map_or(0, |newest| newest.checkpoint.size),
            signers: newest.map(|newest| newest.signers.iter().copied().collect()).unwrap_or_default(),
            unsigned: lock(&self.unsigned).clone(),
        }
    }

    /// The public halves of the keys in this node's file, the oldest first.
    pub(super) fn public_keys(&self) -> Vec<AuditPublicKey> {
        lock(&self.keys).public_keys()
    }

    /// Makes one more key in this node's file, and forgets those that are not listed as active. It signs once the
    /// cluster lists it.
    ///
    /// # Errors
    /// When the file can't be written.
    pub(crate) async fn make_key(self: &Arc<Self>) -> io::Result<AuditPublicKey> {
        let cosigner = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || {
            let state = cosigner.replica.published().state.clone();
            let is_active = |key: &AuditPublicKey| is_active(&state, cosigner.node_id, key);
            lock(&cosigner.keys).add(is_active)
        });
        made.await.map_err(io::Error::other)?
    }

    /// This node's own checkpoint of its log's first `size` records, signed by it, once it publishes as many, within
    /// `patience`. What it has signed before binds it: the log of then must be the beginning of the log of now. Durable
    /// before it is returned.
    ///
    /// # Errors
    /// See [`Unsigned`].
    pub(crate) async fn sign(&self, size: u64, patience: Duration) -> Result<Note, Unsigned> {
        // One that does not come in time is refused below.
        _ = self.publishing(size, patience).await.is_ok();
        let signed = {
            let _turn = self.turn.lock().await;
            self.sign_in_turn(size).await
        };
        match &signed {
            Ok(_) => *lock(&self.unsigned) = None,
            Err(why) => {
                self.metrics.unsigned(why.reason());
                let said = why.to_string();
                // A member that catches up is no news, and signs the next one.
                if !matches!(why, Unsigned::Behind { .. })
                    && lock(&self.unsigned).replace(said.clone()).as_ref() != Some(&said)
                {
                    tracing::warn!(size, "this node signs no checkpoint of the audit log: {said}");
                }
            }
        }
        signed
    }

    async fn sign_in_turn(&self, size: u64) -> Result<Note, Unsigned> {
        let published = self.replica.published();
        let here = published.state.sequence();
        if size == 0 || size > here {
            return Err(Unsigned::Behind { size: here });
        }
        let signers = self.signers(&published.state);
        if signers.is_empty() {
            return Err(Unsigned::NoKey);
        }
        let last = LastSigned::read(&self.storage)?;
        if let Some(last) = &last {
            if last.size > here {
                return Err(Unsigned::AnotherLog(format!(
                    "this node signed {} records of the audit log and has only {here}: its disk has forgotten some",
                    last.size
                )));
            }
            let then = own_root(&self.storage, &published, last.size).await?;
            if then != last.root {
                return Err(Unsigned::AnotherLog(format!(
                    "the first {} records of the audit log are not those that this node signed: their root was {} and \
                     is {}",
                    last.size,
                    hex::encode(last.root),
                    hex::encode(then)
                )));
            }
        }
        let checkpoint = own_checkpoint(&self.storage, &published, size).await?;
        if last.is_none_or(|last| last.size < size) {
            LastSigned { size, root: checkpoint.root }.keep(&self.storage).await?;
        }
        let mut note =
            Note::new(checkpoint.to_string()).map_err(|error| Unsigned::Disk(error.to_string()))?;
        for signer in &signers {
            note.sign(signer).map_err(|error| Unsigned::Disk(error.to_string()))?;
        }
        Ok(note)
    }

    /// What this node signs with: those of its keys that the state lists as active.
    fn signers(&self, state: &State) -> Vec<Signer> {
        let Some(cluster) = state.cluster_id() else { return Vec::new() };
        let mut signers = lock(&self.keys).signers(cluster, self.node_id);
        signers.retain(|signer| {
            is_active(state, self.node_id, &AuditPublicKey(*signer.verifier().public_key()))
        });
        signers
    }

    /// Takes a checkpoint that others signed: once this node publishes its size, within `patience`, it is held against
    /// this node's log. If a majority signed another log than this node has, this node stops.
    ///
    /// # Errors
    /// Why it is not taken, for people.
    pub(crate) async fn take(&self, note: &[u8], patience: Duration) -> Result<(), String> {
        // Parsed before it is waited for: what is no checkpoint has no size.
        let size = SignedCheckpoint::of(note, &self.replica.published().state)
            .map_err(|error| error.to_string())?
            .checkpoint
            .size;
        let published = self.publishing(size, patience).await?;
        let taken = SignedCheckpoint::of(note, &published.state).map_err(|error| error.to_string())?;
        let keys = SigningKeys::of(&published.state, size);
        if !keys.is_majority(&taken.signers) {
            return Err(no_majority(&taken, &keys));
        }
        let own = own_checkpoint(&self.storage, &published, size).await.map_err(|error| error.to_string())?;
        let is_ours = own == taken.checkpoint;
        if is_ours && !self.is_news(&taken) {
            return Ok(());
        }
        // Kept even if it is not ours: then this node does not start on this folder again.
        let kept = async {
            self.storage.put_meta(MetaKey::AuditCheckpoint, note)?;
            self.storage.sync().await
        };
        kept.await.map_err(|error| error.to_string())?;
        if !is_ours {
            let why = differs(&own, &taken);
            tracing::error!("{why}");
            self.fail.send_replace(Some(Failure(why.clone())));
            return Err(why);
        }
        self.show(taken);
        Ok(())
    }

    /// The state published here once it has `size` audit records.
    async fn publishing(&self, size: u64, patience: Duration) -> Result<Arc<Published>, String> {
        let reached = async {
            loop {
                let published = self.replica.published();
                if published.state.sequence() >= size {
                    return published;
                }
                self.replica
                    .await_published(published.position.map_or(0, |at| at.index.saturating_add(1)))
                    .await;
            }
        };
        timeout(patience, reached).await.map_err(|_| format!("{size} records are not published here yet"))
    }

    /// Whether it says more than the one that is here: of a longer log, or by more nodes.
    fn is_news(&self, taken: &SignedCheckpoint) -> bool {
        self.newest().is_none_or(|newest| {
            let of = |signed: &SignedCheckpoint| (signed.checkpoint.size, signed.signers.len());
            of(taken) > of(&newest)
        })
    }

    fn show(&self, newest: SignedCheckpoint) {
        self.metrics.size.set(i64::try_from(newest.checkpoint.size).unwrap_or(i64::MAX));
        self.metrics.signers.set(i64::try_from(newest.signers.len()).unwrap_or(i64::MAX));
        self.newest.store(Some(Arc::new(newest)));
    }
}

/// What this node signed last: 8 bytes of size, big-endian, and 32 of root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LastSigned {
    size: u64,
    root: Hash,
}

impl LastSigned {
    fn read(storage: &Storage) -> Result<Option<Self>, StorageError> {
        let Some(bytes) = storage.meta(MetaKey::AuditSigned)? else { return Ok(None) };
        let read = || {
            let (size, root) = bytes.split_first_chunk::<8>()?;
            Some(Self { size: u64::from_be_bytes(*size), root: root.try_into().ok()? })
        };
        read().map(Some).ok_or_else(|| StorageError::corrupt("what this node signed last is damaged"))
    }

    /// Durable when it returns: a signature that is forgotten binds nobody.
    async fn keep(&self, storage: &Storage) -> Result<(), StorageError> {
        let bytes = [self.size.to_be_bytes().as_slice(), &self.root].concat();
        storage.put_meta(MetaKey::AuditSigned, &bytes)?;
        storage.sync().await
    }
}

/// The newest checkpoint that was kept here. `None`: there is none of this cluster. Only what a majority signed was ever
/// kept, so one that is not that was put there by somebody else: the log may be another one just as well.
///
/// # Errors
/// When it is not what was kept, or the log is not the one of it.
async fn kept(
    storage: &Arc<Storage>,
    published: &Published,
) -> Result<Option<SignedCheckpoint>, StorageError> {
    let Some(note) = storage.meta(MetaKey::AuditCheckpoint)? else { return Ok(None) };
    let altered = |how: String| {
        StorageError::corrupt(format!(
            "the checkpoint of the audit log that is kept here is not one that this node has kept: {how}"
        ))
    };
    let kept = match SignedCheckpoint::of(&note, &published.state) {
        Ok(kept) => kept,
        // One of a cluster that was recovered says nothing of the one that came of it.
        Err(NotSigned::OtherCluster) => return Ok(None),
        Err(why) => return Err(altered(why.to_string())),
    };
    let size = kept.checkpoint.size;
    // The state may be behind what was kept, and then does not know all keys either.
    if size > published.state.sequence() {
        return Ok(Some(kept));
    }
    let keys = SigningKeys::of(&published.state, size);
    if !keys.is_majority(&kept.signers) {
        return Err(altered(no_majority(&kept, &keys)));
    }
    let own = own_checkpoint(storage, published, size).await?;
    if own != kept.checkpoint {
        return Err(StorageError::corrupt(differs(&own, &kept)));
    }
    Ok(Some(kept))
}

/// What is said of a checkpoint that too few signed.
fn no_majority(signed: &SignedCheckpoint, keys: &SigningKeys) -> String {
    format!(
        "{} of the {} nodes that sign stand by the checkpoint, which is no majority",
        signed.signers.len(),
        keys.nodes()
    )
}

/// What of a record a checkpoint says.
#[derive(Deserialize)]
struct Head {
    history: History,
    group: u32,
    time_ms: i64,
}

/// What this node's log is, up to `size` records, at least one and no more than are published.
async fn own_checkpoint(
    storage: &Arc<Storage>,
    published: &Published,
    size: u64,
) -> Result<Checkpoint, StorageError> {
    let root = own_root(storage, published, size).await?;
    let missing = |what: &str| {
        StorageError::corrupt(format!("{what} of the audit log's first {size} records is missing"))
    };
    let cluster = published.state.cluster_id().ok_or_else(|| missing("the cluster"))?;
    let storage = Arc::clone(storage);
    let last = blocking(move || storage.audit_range(size.saturating_sub(1), 1)).await?;
    let row = last.first().ok_or_else(|| missing("the last"))?;
    let Head { history, group, time_ms } =
        serde_json::from_slice(&row.bytes).map_err(|_| missing("the head of the last"))?;
    Ok(Checkpoint { origin: Origin { cluster, history, group }, size, root, time_ms })
}

/// The root of this node's log when it had `size` records.
async fn own_root(storage: &Arc<Storage>, published: &Published, size: u64) -> Result<Hash, StorageError> {
    let mut tree = AuditTree::of(Arc::clone(storage), published);
    blocking(move || root_at(size, |level, index| tree.subtree(level, index))).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StorageError::Failed(error.to_string()))?
}

fn is_active(state: &State, node_id: u64, key: &AuditPublicKey) -> bool {
    let keys = state.audit_keys_of(node_id);
    keys.and_then(|keys| keys.get(key)).is_some_and(|key| key.is_active())
}

/// What a person is told whose node has another log than its cluster.
fn differs(own: &Checkpoint, signed: &SignedCheckpoint) -> String {
    let signers: Vec<String> = signed.signers.iter().map(u64::to_string).collect();
    format!(
        "this node's audit log differs from its cluster's: nodes {} signed that {} records have the root {} at {} ms in {}, \
         and here they have the root {} at {} ms in {}. This node stops, for what it answers can't be trusted \
         (docs/runbooks/audit-log-differs.md)",
        signers.join(", "),
        signed.checkpoint.size,
        hex::encode(signed.checkpoint.root),
        signed.checkpoint.time_ms,
        signed.checkpoint.origin,
        hex::encode(own.root),
        own.time_ms,
        own.origin
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::testing;

    /// A signature that the node would not remember after a power cut must not leave it.
    #[tokio::test]
    async fn what_was_signed_is_kept_before_anybody_hears_of_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let signed = LastSigned { size: 70_000, root: [7; 32] };
        let (failing, told) = testing::open_failing(dir.path(), Some(0));
        assert!(signed.keep(&failing).await.is_err(), "the disk does not have it");
        assert_eq!(told.lock().expect("unpoisoned").len(), 1, "and the node ends for that");
        drop(failing);
        let dir = tempfile::tempdir().expect("a folder");
        let storage = testing::open(dir.path());
        assert_eq!(LastSigned::read(&storage).expect("reads"), None);
        signed.keep(&storage).await.expect("durable");
        assert_eq!(LastSigned::read(&storage).expect("reads"), Some(signed));
        let bytes = storage.meta(MetaKey::AuditSigned).expect("reads").expect("there");
        assert_eq!(hex::encode(bytes), format!("0000000000011170{}", "07".repeat(32)), "frozen");
    }
}
