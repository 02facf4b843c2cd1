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
    keys::{KeyFile, Standing},
    last_signed::LastSigned,
    metrics::CheckpointMetrics,
    signed::{SignedCheckpoint, SigningKeys},
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
    /// When the file can't be used, or the log is not the one of that checkpoint.
    pub(crate) async fn open(parts: CosignerParts) -> Result<Arc<Self>, StartError> {
        let CosignerParts { node_id, storage, replica, metrics, fail } = parts;
        let dir = storage.dir().to_owned();
        let keys = KeyFile::open(&dir)?;
        let published = replica.published();
        let newest = match storage.meta(MetaKey::AuditCheckpoint)? {
            None => None,
            // One of a cluster that was recovered says nothing of the one that came of it.
            Some(note) => SignedCheckpoint::of(&note, &published.state).ok(),
        };
        if let Some(newest) = &newest
            && newest.checkpoint.size <= published.state.sequence()
        {
            let own = own_checkpoint(&storage, &published, newest.checkpoint.size).await?;
            if own != newest.checkpoint {
                return Err(StorageError::corrupt(differs(&own, newest)).into());
            }
        }
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

    /// Makes one more key in this node's file, and forgets those that the cluster lists as retired. It signs once the
    /// cluster lists it. What is not listed yet stays: somebody may just be having it listed.
    ///
    /// # Errors
    /// When the file can't be written.
    pub(crate) async fn make_key(self: &Arc<Self>) -> io::Result<AuditPublicKey> {
        let cosigner = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || {
            let state = cosigner.replica.published().state.clone();
            lock(&cosigner.keys).add(|key| standing(&state, cosigner.node_id, key))
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
        LastSigned { size, root: checkpoint.root }.keep(last, &self.storage).await?;
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
            let key = AuditPublicKey(*signer.verifier().public_key());
            standing(state, self.node_id, &key) == Standing::Active
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
            return Err(format!(
                "{} of the {} nodes that sign stand by the checkpoint, which is no majority",
                taken.signers.len(),
                keys.nodes()
            ));
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

/// What the state says of a key of this node.
fn standing(state: &State, node_id: u64, key: &AuditPublicKey) -> Standing {
    let listed = state.audit_keys().find_map(|(node, keys)| Some((node, keys.get(key)?.is_active())));
    match listed {
        None => Standing::Unlisted,
        Some((node, true)) if node == node_id => Standing::Active,
        Some(_) => Standing::Spent,
    }
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
