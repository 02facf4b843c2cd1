//! How a node comes to belong to a cluster: it founds one, it is found, it joins one (`joining`), or it belongs to one
//! already.
//!
//! Founding, on the node with `--bootstrap`: all configured peers say who they are, and that they know no cluster;
//! the cluster's id is minted and kept; the peers are told; Raft is initialized with all of them; and the first
//! entry brings the catalog's history and the owner's token. Cut short anywhere, it goes on after a restart.
//!
//! In a folder where a backup waits ([`crate::backup::Staged`]) it is the same, but that Raft begins with the backup's
//! catalog in place of an empty one, and that the first entry is the restore.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::Arc,
    time::Duration,
};

use flagraft_core::{
    identity::{ClusterId, History},
    operation::{Member, Operation, SystemBootstrap, SystemRestore, TokenCreate},
    proposal::{Body, Change, RequestId},
    record::{Record, RecordOutcome},
    rejection::Rejection,
    state::State,
    token::{ActorType, Grant, Role, Secret, TokenActor, TokenKind, TokenSpec},
    version::ClusterVersion,
};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{
    failure::Failure,
    joining::Joiner,
    submit::{Credentials, Submission, Writes},
};
use crate::{
    backup::{StageError, Staged},
    clock::wall_ms,
    config::PeerWaits,
    peer::{Found, FoundReply, HelloReply, PeerClient, PeerError, RefusalCode},
    raft::{NodeMeta, Replica, RestoreError, RestoredCatalog},
    random::random,
    storage::Storage,
};

/// How often waiting is mentioned in the log.
const MENTION: Duration = Duration::from_secs(10);

/// A node on its way into a cluster.
pub(super) struct Newcomer {
    pub(super) node_id: u64,
    pub(super) meta: NodeMeta,
    /// The configured members, this node included.
    pub(super) configured: BTreeSet<u64>,
    pub(super) storage: Arc<Storage>,
    pub(super) replica: Replica,
    pub(super) peers: PeerClient,
    pub(super) writes: Arc<Writes>,
    /// The secret of the first owner's token, on the node that founds.
    pub(super) founder: Option<Secret>,
    /// The backup that waits in the folder for the founding.
    pub(super) staged: Option<Staged>,
    /// On a node that is to come into a cluster that runs.
    pub(super) joiner: Option<Joiner>,
    pub(super) waits: PeerWaits,
}

impl Newcomer {
    /// Sees to it that this node belongs to a cluster. Returns when there is nothing more to do for that.
    ///
    /// # Errors
    /// When it can't, and a person has to decide.
    pub(super) async fn settle(self) -> Result<(), Failure> {
        if let Some(joiner) = &self.joiner {
            if self.replica.is_initialized().await {
                tracing::info!("--join is ignored: this node belongs to a cluster already");
                return Ok(());
            }
            return joiner.join().await;
        }
        let Some(secret) = &self.founder else {
            return match &self.staged {
                None if self.belongs().await => Ok(()),
                None => self.wait_to_be_found().await,
                Some(staged) if self.replica.published().state.history().is_some() => {
                    self.remove(staged).await;
                    Ok(())
                }
                // Only a founder writes the entry without which the catalog takes nothing.
                Some(_) => Err(Failure(
                    "a backup was restored into this data folder, and waits for a new cluster to be founded on it: \
                     start this node with --bootstrap, and the others without it"
                        .to_owned(),
                )),
            };
        };
        if self.belongs().await {
            tracing::info!("--bootstrap is ignored: this node belongs to a cluster already");
        } else {
            self.found(secret).await?;
        }
        self.write_first_entry(secret).await;
        if let Some(staged) = &self.staged {
            self.remove(staged).await;
        }
        Ok(())
    }

    /// Whether this node belongs to a cluster.
    async fn belongs(&self) -> bool {
        match &self.staged {
            // The vote under which a backup is installed is kept before the backup is: it alone says nothing yet.
            Some(_) => self.replica.published().position.is_some(),
            None => self.replica.is_initialized().await,
        }
    }

    async fn wait_to_be_found(&self) -> Result<(), Failure> {
        let mut mention = Mention::new();
        let mut known_since: Option<Instant> = None;
        while !self.replica.is_initialized().await {
            let replies = self.hello().await;
            let ours = self.storage.identity().cluster_id;
            let mut knows = None;
            for (id, reply) in &replies {
                match reply {
                    Err(PeerError::Refused(refusal)) if refusal.code == RefusalCode::WrongUid => {
                        return Err(Failure(format!("node {id} refuses this node: {refusal}")));
                    }
                    Err(PeerError::Refused(refusal)) if refusal.code == RefusalCode::Removed => {
                        return Err(Failure(format!("node {id} refuses this node: {refusal}")));
                    }
                    // One that this node was found for too is being founded: its founder will go on with that.
                    Ok(reply) => {
                        let theirs = reply.cluster_id.filter(|theirs| Some(*theirs) != ours);
                        knows = knows.or(theirs.map(|cluster| (*id, cluster)));
                    }
                    Err(_) => {}
                }
            }
            // After the peers, who know better which id is free.
            self.refuse_if_claimed()?;
            if let (Some((id, cluster)), Some(since)) = (knows, known_since)
                && since.elapsed() > self.waits.join_grace
            {
                return Err(Failure(format!(
                    "node {id} belongs to cluster {cluster}, which does not know this node: its data folder is new. \
                     Add it to the cluster as a new member (`flagraft cluster add --node-id ID --join-token-file FILE`, \
                     then start it with `--join {id}=HOST:PORT --join-token-file FILE` in place of --bootstrap and \
                     --peers), or start it with the folder it had"
                )));
            }
            known_since = knows.and(known_since.or_else(|| Some(Instant::now())));
            if mention.is_due() {
                tracing::info!("this node belongs to no cluster yet; it waits for one to be founded with it");
            }
            sleep(self.waits.question_pause).await;
        }
        tracing::info!("this node belongs to a cluster now");
        Ok(())
    }

    async fn found(&self, secret: &Secret) -> Result<(), Failure> {
        let unfounded =
            |error: &dyn std::error::Error| Failure(format!("the cluster can't be founded: {error}"));
        // Before anybody is told of a cluster that could not be founded then.
        let catalog = match self.staged.clone() {
            None => None,
            Some(staged) => Some(self.read_in(staged, secret).await.map_err(|error| unfounded(&error))?),
        };
        let metas = self.meet_all().await?;
        let cluster_id = match self.storage.identity().cluster_id {
            Some(begun) => begun,
            None => ClusterId(u128::from_be_bytes(random())),
        };
        // Kept before anybody is told: a founding that is cut short goes on under the same id.
        self.storage
            .set_cluster_id(cluster_id)
            .await
            .map_err(|error| Failure(format!("the cluster's id can't be kept: {error}")))?;
        self.peers.set_cluster_id(cluster_id);
        if !self.tell_all(cluster_id).await? {
            tracing::warn!(
                "--bootstrap is ignored: another node, which was started with --bootstrap too, has founded a cluster \
                 with this node"
            );
            return Ok(());
        }
        match catalog {
            None => self.replica.initialize(metas).await.map_err(|error| unfounded(&error))?,
            Some(catalog) => {
                let restored = self.replica.initialize_restored(metas, catalog).await;
                restored.map_err(|error| unfounded(&error))?;
            }
        }
        tracing::info!(cluster = %cluster_id, members = self.configured.len(), "a new cluster is founded");
        Ok(())
    }

    async fn read_in(&self, staged: Staged, secret: &Secret) -> Result<RestoredCatalog, RestoreError> {
        let header = staged.header();
        tracing::info!(
            history = %header.history,
            revision = header.revision,
            audit_size = header.audit_size,
            "a backup is restored"
        );
        let secret = secret.clone();
        self.replica.load_restored(staged, move |state| check_owner(state, &secret)).await
    }

    /// Waits until all configured peers have answered, and none of them belongs to another cluster.
    async fn meet_all(&self) -> Result<BTreeMap<u64, NodeMeta>, Failure> {
        let ours = self.storage.identity().cluster_id;
        let mut mention = Mention::new();
        loop {
            let mut metas = BTreeMap::from([(self.node_id, self.meta.clone())]);
            let mut silent = Vec::new();
            for (id, reply) in self.hello().await {
                match reply {
                    Ok(HelloReply { cluster_id: Some(theirs), .. })
                        if Some(theirs) != ours && self.staged.is_some() =>
                    {
                        return Err(Failure(format!(
                            "node {id} belongs to cluster {theirs} already, so no cluster is founded with it on the \
                             backup that was restored here, which stays as it is. If it was started with --bootstrap \
                             too, start it without, with an empty folder: only this node founds"
                        )));
                    }
                    Ok(HelloReply { cluster_id: Some(theirs), .. }) if Some(theirs) != ours => {
                        return Err(Failure(format!(
                            "node {id} belongs to cluster {theirs} already, so no new cluster is founded with it. To \
                             join that cluster start this node without --bootstrap; to found a new one start all \
                             nodes with empty folders"
                        )));
                    }
                    Ok(HelloReply { meta, .. }) => drop(metas.insert(id, meta)),
                    Err(PeerError::Refused(refusal)) => {
                        return Err(Failure(format!("node {id} refuses to be founded with: {refusal}")));
                    }
                    Err(error) => silent.push(format!("node {id}: {error}")),
                }
            }
            if silent.is_empty() {
                return Ok(metas);
            }
            self.refuse_if_claimed()?;
            if mention.is_due() {
                tracing::info!(
                    silent = silent.join("; "),
                    "the new cluster waits for all its members to answer"
                );
            }
            sleep(self.waits.question_pause).await;
        }
    }

    /// Fails when a cluster takes this node, whose folder is new, for one of its members: the folder it had was lost.
    /// Nobody who says so need be among the configured peers, for members come and go.
    fn refuse_if_claimed(&self) -> Result<(), Failure> {
        let claim = self.peers.claimed_by().filter(|_| self.storage.identity().cluster_id.is_none());
        let Some((by, cluster)) = claim else { return Ok(()) };
        let (own, next) = (self.node_id, by.max(self.node_id).saturating_add(1));
        Err(Failure(format!(
            "node {by} of cluster {cluster} takes this node for a member, and its data folder is new: the folder that it \
             had is lost. Put a new member in its place with `flagraft cluster replace {own} --with {next} \
             --join-token-file TOKEN --reason REASON`, and start the node with its empty folder and `--node-id {next} \
             --join {by}=HOST:PORT --join-token-file TOKEN`"
        )))
    }

    /// Tells all peers which cluster they belong to, until all know. `false`: one of them has founded it meanwhile, with
    /// this node.
    async fn tell_all(&self, cluster_id: ClusterId) -> Result<bool, Failure> {
        let mut untold: BTreeSet<u64> = self.others().collect();
        let mut mention = Mention::new();
        while !untold.is_empty() {
            let told = untold.iter().map(async |id| {
                (*id, self.peers.found(*id, Found { cluster_id }, self.waits.question_timeout).await)
            });
            let mut refusals = Vec::new();
            for (id, reply) in join_all(told).await {
                match reply {
                    Ok(FoundReply::Joined) => drop(untold.remove(&id)),
                    Ok(FoundReply::KnowsAnother(theirs)) => {
                        return Err(Failure(format!(
                            "node {id} belongs to cluster {theirs} already; two nodes were started with --bootstrap"
                        )));
                    }
                    Err(error) => refusals.push(format!("node {id}: {error}")),
                }
            }
            if !untold.is_empty() {
                if self.belongs().await {
                    return Ok(false);
                }
                if mention.is_due() {
                    let untold = refusals.join("; ");
                    tracing::info!(untold, "the new cluster waits for all its members to be told of it");
                }
                sleep(self.waits.question_pause).await;
            }
        }
        Ok(true)
    }

    /// Brings the history and the owner's token into the log, unless they are there.
    async fn write_first_entry(&self, secret: &Secret) {
        let mut mention = Mention::new();
        loop {
            let published = self.replica.published();
            if published.state.history().is_some() {
                return;
            }
            let members = self.replica.status().members;
            if let Some(cluster) = self.storage.identity().cluster_id
                && !members.is_empty()
            {
                let members = members.into_iter().map(|(id, member)| {
                    let meta = member.meta;
                    (id, Member { uid: meta.uid, peer_address: meta.peer_addr, voter: member.voter })
                });
                let change = match &self.staged {
                    None => first_change(cluster, members.collect(), secret),
                    Some(staged) => {
                        restoring_change(cluster, members.collect(), secret, staged, &published.state)
                    }
                };
                let credentials = Credentials::Member(self.node_id);
                let request = RequestId { id: format!("bootstrap-{cluster}"), client_given: true };
                let submission = Submission::new(credentials, Body::Change(change), request);
                match self.writes.submit(&submission, self.waits.first_entry_timeout).await {
                    // One for the founding itself says that there is a history; the state will show it.
                    Ok(submitted) => match submitted.reply.outcome.rejection() {
                        None if self.staged.is_some() => {
                            tracing::info!("the catalog is restored and ready, in a history of its own")
                        }
                        None => {
                            tracing::info!("the catalog is empty and ready; the owner's token is in its file")
                        }
                        Some(rejection @ Rejection::Bootstrap { .. }) => {
                            tracing::debug!(%rejection, "the first entry was there already")
                        }
                        Some(rejection) if mention.is_due() => {
                            tracing::error!(%rejection, "the first entry of this cluster is refused; it is tried again")
                        }
                        Some(_) => {}
                    },
                    Err(error) => tracing::debug!(%error, "the first entry is not written yet"),
                }
            }
            sleep(self.waits.question_pause).await;
        }
    }

    /// Removes a backup that this node's catalog was founded on. Any other one is left: nobody has restored it.
    async fn remove(&self, staged: &Staged) {
        let folder = staged.dir().display();
        match self.is_founded_on(staged).await {
            Ok(true) => {
                if let Err(error) = staged.remove() {
                    tracing::warn!(
                        %error,
                        "the backup that was restored is still in the data folder, and may be removed"
                    );
                }
            }
            Ok(false) => tracing::warn!(
                %folder,
                "a backup waits in the data folder, and this node's catalog was not founded on it; it is left there: \
                 restore it elsewhere, and remove the folder"
            ),
            Err(error) => tracing::warn!(
                %error,
                %folder,
                "the backup is left in the data folder: whether this node's catalog was founded on it can't be told"
            ),
        }
    }

    /// Whether a restore of this backup is in the audit log, where no other record can be: behind those of the backup.
    async fn is_founded_on(&self, staged: &Staged) -> Result<bool, String> {
        let from = staged.header().origin();
        let (storage, sequence) = (Arc::clone(&self.storage), from.audit_size);
        let read = tokio::task::spawn_blocking(move || storage.audit_range(sequence, 1)).await;
        let rows = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let Some(row) = rows.first() else { return Ok(false) };
        let record: Record = serde_json::from_slice(&row.bytes).map_err(|error| error.to_string())?;
        let first = record.operations.first().map(|first| Operation::from_value(first.operation.clone()));
        Ok(record.outcome == RecordOutcome::Accepted
            && matches!(first, Some(Ok(Operation::SystemRestore(restore))) if restore.from == from))
    }

    async fn hello(&self) -> Vec<(u64, Result<HelloReply, PeerError>)> {
        join_all(self.others().map(async |id| (id, self.peers.hello(id, self.waits.question_timeout).await)))
            .await
    }

    fn others(&self) -> impl Iterator<Item = u64> + '_ {
        self.configured.iter().copied().filter(|id| *id != self.node_id)
    }
}

/// Keeps a failure in sight, or waits for ever when there is none: the way into the cluster is barred, or the cluster
/// has removed this node.
pub(super) async fn failure_of(newcomer: Newcomer) -> Failure {
    let mut removed = newcomer.peers.watch_removed();
    let settled = async {
        match newcomer.settle().await {
            Err(failure) => failure,
            Ok(()) => pending().await,
        }
    };
    let told = async {
        match removed.wait_for(Option::is_some).await.map(|why| why.clone()) {
            Ok(Some(why)) => Failure(why),
            Ok(None) | Err(_) => pending().await,
        }
    };
    tokio::select! {
        failure = settled => failure,
        failure = told => failure,
    }
}

/// The first entry of an empty catalog.
fn first_change(cluster: ClusterId, members: BTreeMap<u64, Member>, secret: &Secret) -> Change {
    let bootstrap = SystemBootstrap {
        cluster,
        history: random_history(),
        cluster_version: ClusterVersion::NEWEST,
        members,
        if_revision: None,
    };
    Change {
        project: None,
        operations: vec![Operation::SystemBootstrap(bootstrap), owner_token(secret)],
        reason: "the cluster was founded".to_owned(),
        ticket: None,
        expect_revision: None,
    }
}

/// The first entry of a catalog that came from a backup. The owner's token is made unless it is in there.
fn restoring_change(
    cluster: ClusterId,
    members: BTreeMap<u64, Member>,
    secret: &Secret,
    staged: &Staged,
    restored: &State,
) -> Change {
    let words = staged.words();
    let restore = SystemRestore {
        cluster,
        history: random_history(),
        members,
        from: staged.header().origin(),
        operator: words.operator.clone(),
        if_revision: None,
    };
    let mut operations = vec![Operation::SystemRestore(restore)];
    if restored.token_by_secret(&secret.sha256()).is_none() {
        operations.push(owner_token(secret));
    }
    Change {
        project: None,
        operations,
        reason: words.reason.clone(),
        ticket: words.ticket.clone(),
        expect_revision: None,
    }
}

/// Refuses a backup that knows the bootstrap token as one that owns nothing: it could not be made anew.
fn check_owner(restored: &State, secret: &Secret) -> Result<(), StageError> {
    let known = restored.token_by_secret(&secret.sha256());
    match known.filter(|token| token.check(wall_ms()).is_err() || !token.spec.allows_everywhere(Role::Owner))
    {
        None => Ok(()),
        Some(_) => Err(StageError::Words(
            "the bootstrap token is in the backup, and owns nothing there any more; name another file with \
             --bootstrap-token-file, to have a new one made"
                .to_owned(),
        )),
    }
}

fn random_history() -> History {
    History(u64::from_be_bytes(random()))
}

fn owner_token(secret: &Secret) -> Operation {
    let token = TokenSpec {
        id: format!("tok_{}", hex::encode(random::<16>())).into(),
        name: "first owner".to_owned(),
        kind: TokenKind::Admin,
        actor: TokenActor { actor_type: ActorType::User, id: "owner".to_owned() },
        grants: vec![Grant { role: Role::Owner, project: None, environments: None }],
        context: BTreeMap::new(),
        expires_at_ms: None,
    };
    Operation::TokenCreate(TokenCreate { token, secret_sha256: secret.sha256(), if_revision: None })
}

/// Says when waiting should be mentioned again.
pub(super) struct Mention(Option<Instant>);

impl Mention {
    pub(super) fn new() -> Self {
        Self(None)
    }

    pub(super) fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|last| last.elapsed() >= MENTION);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}
