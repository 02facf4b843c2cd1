//! A member's own part in checkpoints: it signs what its log is, and stops when its log is not its cluster's.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use flagraft_core::{
    audit_key::AuditPublicKey,
    checkpoint::Checkpoint,
    note::{Note, Signer},
    state::State,
};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::timeout};

use super::{
    keys::{KeyFile, Standing},
    last_signed::LastSigned,
    metrics::CheckpointMetrics,
    own_log::{OwnLog, own_root},
    signed::{NotSigned, SignedCheckpoint, SigningKeys},
};
use crate::{
    node::failure::{Failure, StartError},
    raft::{Published, Replica},
    reads::Reads,
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
        "none of its keys is listed in the cluster yet; it adds one by itself once the cluster version is 2, and its log \
         says why if that one is not taken"
    )]
    NoKey,
    /// Its log is not the one that it signed last.
    #[error("{0}")]
    AnotherLog(String),
    /// Retention removed what a checkpoint of that size says of the last record.
    #[error(
        "retention removed the last of the {size} records that it is asked to sign; it signs the next checkpoint"
    )]
    Removed {
        /// The size that it is asked to sign.
        size: u64,
    },
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
            Self::Removed { .. } => "removed",
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
    /// One newest checkpoint at a time, so that an older one never takes its place.
    keeping: tokio::sync::Mutex<()>,
    newest: ArcSwapOption<SignedCheckpoint>,
    unsigned: Mutex<Option<String>>,
    metrics: CheckpointMetrics,
    fail: watch::Sender<Option<Failure>>,
}

impl Cosigner {
    /// Reads the key file, or makes it, and holds the newest checkpoint that was kept against the log.
    ///
    /// # Errors
    /// When the file can't be used, that checkpoint is damaged, or the log is not the one that it is of.
    pub(crate) async fn open(parts: CosignerParts) -> Result<Arc<Self>, StartError> {
        let CosignerParts { node_id, storage, replica, metrics, fail } = parts;
        let dir = storage.dir().to_owned();
        let keys = KeyFile::open(&dir)?;
        let published = replica.published();
        let newest = match storage.meta(MetaKey::AuditCheckpoint)? {
            None => None,
            Some(note) => kept(&note, &storage, &published).await?,
        };
        let cosigner = Self {
            node_id,
            storage,
            replica,
            keys: Mutex::new(keys),
            turn: tokio::sync::Mutex::new(()),
            keeping: tokio::sync::Mutex::new(()),
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
        let own = OwnLog::of(&self.storage, &published, size).await?;
        // Of a record that was removed here, those who signed it before still say what it was.
        let known = || Some(self.newest()?.checkpoint).filter(|newest| own.is(newest));
        let checkpoint = own.checkpoint().or_else(known).ok_or(Unsigned::Removed { size })?;
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
    /// this node's log. If a majority signed another log than this node has, this node stops; of whom it is a majority,
    /// `reads` tells. One that is not newer than the newest one here says nothing, whoever signed it.
    ///
    /// # Errors
    /// Why it is not taken, for people.
    pub(crate) async fn take(&self, note: &[u8], patience: Duration, reads: &Reads) -> Result<(), String> {
        // Parsed before it is waited for: what is no checkpoint has no size.
        let said = SignedCheckpoint::of(note, &self.replica.published().state)
            .map_err(|error| error.to_string())?
            .checkpoint;
        if let Some(newest) = self.newest_beyond(&said) {
            return Err(format!(
                "this node has a checkpoint of {newest} records, and takes none of fewer, nor another one of as many"
            ));
        }
        let published = self.publishing(said.size, patience).await?;
        let taken = SignedCheckpoint::of(note, &published.state).map_err(|error| error.to_string())?;
        let keys = SigningKeys::of(&published.state, said.size);
        if !keys.is_majority(&taken.signers) {
            return Err(format!(
                "{} of the {} nodes that sign stand by the checkpoint, which is no majority",
                taken.signers.len(),
                keys.nodes()
            ));
        }
        let own =
            OwnLog::of(&self.storage, &published, said.size).await.map_err(|error| error.to_string())?;
        if !own.is(&taken.checkpoint) {
            return Err(self.stand_against(&own, &taken, patience, reads).await);
        }
        let _turn = self.keeping.lock().await;
        if self.is_news(&taken) {
            self.keep(&taken).await.map_err(|error| error.to_string())?;
            self.show(taken);
        }
        Ok(())
    }

    /// What follows from a checkpoint that is of another log than this node's, for people. This node stops, if those
    /// stand by it who sign now. That those of its own size did proves little: when the log had that size, a single node
    /// may have had a key, and some of the keys of then are retired because others know them. Nor is what is published
    /// here enough to know who signs now, on a node that still catches up.
    async fn stand_against(
        &self,
        own: &OwnLog,
        taken: &SignedCheckpoint,
        patience: Duration,
        reads: &Reads,
    ) -> String {
        let now = match reads.confirm_patiently(patience).await {
            Ok(now) => now.published,
            Err(unconfirmed) => {
                return format!(
                    "the checkpoint is not of this node's log, and this node can't make sure who signs now: {unconfirmed}"
                );
            }
        };
        if !taken.is_of_majority_now(&now.state) {
            let why = format!(
                "nodes {} signed a checkpoint of {} records that is not of this node's log. No majority of the nodes that \
                 sign now stands by it, so nothing follows; but one who has their keys signed what is not so \
                 (docs/runbooks/audit-log-differs.md)",
                taken.named_signers(),
                taken.checkpoint.size
            );
            tracing::warn!("{why}");
            return why;
        }
        let why = differs(own, taken);
        // Kept, so that this node does not start on this folder again.
        let _turn = self.keeping.lock().await;
        if let Err(error) = self.keep(taken).await {
            return error.to_string();
        }
        tracing::error!("{why}");
        self.fail.send_replace(Some(Failure(why.clone())));
        why
    }

    /// Durable when it returns.
    async fn keep(&self, signed: &SignedCheckpoint) -> Result<(), StorageError> {
        self.storage.put_meta(MetaKey::AuditCheckpoint, signed.note.to_string().as_bytes())?;
        self.storage.sync().await
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

    /// The size of the newest checkpoint here, if this one is of fewer records of the same cluster's log, or is another
    /// one of as many.
    fn newest_beyond(&self, said: &Checkpoint) -> Option<u64> {
        let newest = self.newest()?.checkpoint;
        let is_beyond = newest.size > said.size || (newest.size == said.size && newest != *said);
        (newest.origin.cluster == said.origin.cluster && is_beyond).then_some(newest.size)
    }

    /// Whether it says more than the one that is here: of a longer log, or by more nodes.
    fn is_news(&self, taken: &SignedCheckpoint) -> bool {
        self.newest().is_none_or(|newest| {
            // One of before a recovery says nothing of the cluster that came of it.
            let of = |signed: &SignedCheckpoint| (signed.checkpoint.size, signed.signers.len());
            newest.checkpoint.origin.cluster != taken.checkpoint.origin.cluster || of(taken) > of(&newest)
        })
    }

    fn show(&self, newest: SignedCheckpoint) {
        self.metrics.size.set(i64::try_from(newest.checkpoint.size).unwrap_or(i64::MAX));
        self.metrics.signers.set(i64::try_from(newest.signers.len()).unwrap_or(i64::MAX));
        self.newest.store(Some(Arc::new(newest)));
    }
}

/// The checkpoint that this node kept as its newest one, held against its log. `None`: it says nothing of that log.
async fn kept(
    note: &[u8],
    storage: &Arc<Storage>,
    published: &Published,
) -> Result<Option<SignedCheckpoint>, StorageError> {
    let damaged = |why: &dyn std::fmt::Display| {
        StorageError::corrupt(format!(
            "the newest checkpoint of the audit log that this node kept is damaged: {why}"
        ))
    };
    let kept = match SignedCheckpoint::of(note, &published.state) {
        Ok(kept) => kept,
        // One of a cluster that was recovered says nothing of the one that came of it.
        Err(NotSigned::OtherCluster) => return Ok(None),
        Err(why) => return Err(damaged(&why)),
    };
    let size = kept.checkpoint.size;
    if size > published.state.sequence() {
        // Nothing here says yet whether it is of this log. The others have one as new, and send it.
        return Ok(None);
    }
    if !SigningKeys::of(&published.state, size).is_majority(&kept.signers) {
        return Err(damaged(&"no majority of the nodes stands by it, and only then one is kept"));
    }
    let own = OwnLog::of(storage, published, size).await?;
    if !own.is(&kept.checkpoint) {
        return Err(StorageError::corrupt(differs(&own, &kept)));
    }
    Ok(Some(kept))
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
fn differs(own: &OwnLog, signed: &SignedCheckpoint) -> String {
    format!(
        "this node's audit log differs from its cluster's: nodes {} signed that {} records have the root {} at {} ms in {}, \
         and here they have {own}. This node stops, for what it answers can't be trusted \
         (docs/runbooks/audit-log-differs.md)",
        signed.named_signers(),
        signed.checkpoint.size,
        hex::encode(signed.checkpoint.root),
        signed.checkpoint.time_ms,
        signed.checkpoint.origin,
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
