//! Putting a node together.

use std::{
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task::AbortHandle};

use super::{
    Node,
    accounts::{Accountant, AccountantParts},
    checkpoints::{CheckpointMetrics, Checkpointer, CheckpointerParts, Cosigner, CosignerParts},
    clocks::{self, ClockWatch},
    denials::{DenialCount, Reporter},
    desk::Desk,
    failure::StartError,
    founding::{Newcomer, failure_of},
    joining::{Joiner, announce},
    listener::{self, PeerListener},
    membership::{Steward, StewardParts},
    retention::{EdgeMetrics, Remover, RemoverParts},
    room::{Room, RoomKeeper},
    secrets,
    submit::{Writes, WritesParts},
};
use crate::{
    accounts::{AccountMetrics, Accounts},
    audit::Indexer,
    backup::Staged,
    canary,
    config::{ConfigError, NodeConfig},
    disk::Disk,
    feed::{Feed, FeedMetrics},
    files,
    metrics::Metrics,
    peer::{PeerClient, PeerOptions},
    raft::{MemberRole, NodeMeta, Replica, ReplicaOptions, TransferMetrics, VersionRange},
    reads::Reads,
    storage::{GROUP, Storage, StorageError, StorageMetrics, StorageOptions},
    travel::{self, Traveller},
};

impl Node {
    /// Starts a member where it left off, or a new one. Returns once it answers its peers: whether it belongs to a
    /// cluster, leads, or is current shows later, in [`Reads::readiness`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: NodeConfig) -> Result<Arc<Self>, StartError> {
        config.validate()?;
        let address = config.peers.listen;
        let listener = TcpListener::bind(address).map_err(|source| StartError::Listen {
            setting: "--peer-listen",
            address,
            source,
        })?;
        Self::start_on(config, listener).await
    }

    /// [`Node::start`] with a peer listener that is bound already.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_on(mut config: NodeConfig, listener: TcpListener) -> Result<Arc<Self>, StartError> {
        config.validate()?;
        canary::announce();
        let address = config.peers.listen;
        let (peer_address, listener) = listener::adopt(listener).map_err(|source| StartError::Listen {
            setting: "--peer-listen",
            address,
            source,
        })?;
        if let Some(own) = config.peers.members.get_mut(&config.node_id).filter(|own| own.ends_with(":0")) {
            // The port was left to the system, so only now is there an address to tell.
            *own = peer_address.to_string();
        }
        let shares = files::shares(&config.connections)?;
        // The other half stays for whoever asks and goes.
        config.streams.streams_max = config.streams.streams_max.min(shares.clients.div_ceil(2));
        let secret = config.peers.secret_file.as_deref().map(secrets::peer_secret).transpose()?;
        let staged = Staged::find(&config.data_dir)?;
        if let Some(staged) = staged.as_ref().filter(|_| config.join.is_some()) {
            return Err(ConfigError(format!(
                "--join comes into a cluster that runs, and a backup was restored into {}, for a new one: start this \
                 node with --bootstrap in place of --join to found that, or with --join and an empty folder",
                staged.dir().display()
            ))
            .into());
        }
        let metrics = Metrics::new()?;
        let let_go = Arc::new(AtomicBool::new(false));
        let storage = open_storage(&config, &metrics, Arc::clone(&let_go)).await?;
        // Only now: in a folder that can't be used nothing is left behind.
        let founder = config.bootstrap.as_ref().map(|bootstrap| secrets::owner_token(&bootstrap.token_file));
        let founder = founder.transpose()?;
        let join = config.join.clone();
        // A folder that was let in before needs no token any more, and the file may be gone.
        let new = join.as_ref().filter(|_| storage.identity().cluster_id.is_none());
        let join_token = new.map(|join| secrets::join_token(&join.token_file)).transpose()?;

        let node_id = config.node_id;
        let traveller = Traveller::open(&storage, config.travel.clone())?;
        let identity = storage.identity();
        let meta = meta(&config, identity.member_uid.clone());
        let accounts = Arc::new(Accounts::new(secret.clone()));
        let peers = PeerClient::new(PeerOptions {
            node_id,
            uid: identity.member_uid,
            cluster_id: identity.cluster_id,
            group: GROUP,
            secret,
            peers: config.peers.members.clone(),
            versions: VersionRange::OURS,
        })?;
        for (id, address) in join.iter().flat_map(|join| &join.members) {
            peers.introduce(*id, address.clone());
        }
        let offset = clocks::offset_gauge(metrics.registry())?;
        let accounted = AccountMetrics::register(metrics.registry())?;
        let streamed = FeedMetrics::register(metrics.registry())?;
        let signed = CheckpointMetrics::register(metrics.registry())?;
        // The last step that can fail: what follows starts tasks, and nobody would stop them.
        let replica = Replica::open(ReplicaOptions {
            node_id,
            storage: Arc::clone(&storage),
            peers: peers.clone(),
            tuning: config.raft.clone(),
            transfers: TransferMetrics::register(metrics.registry())?,
        })
        .await?;
        let feed = match Feed::start(&replica, &config.streams, streamed) {
            Ok(feed) => feed,
            Err(error) => {
                replica.shutdown().await;
                return Err(StartError::Thread(error));
            }
        };
        let (fail, failure) = watch::channel(None);
        let cosigner = Cosigner::open(CosignerParts {
            node_id,
            storage: Arc::clone(&storage),
            replica: replica.clone(),
            metrics: signed,
            fail: fail.clone(),
        });
        let cosigner = match cosigner.await {
            Ok(cosigner) => cosigner,
            Err(error) => {
                replica.shutdown().await;
                return Err(error);
            }
        };
        let disk = Arc::new(Disk::new(Arc::clone(&storage), config.disk.clone()));
        let room = Arc::new(Room::new(node_id, Arc::clone(&disk)));
        let (back, disk_is_back) = watch::channel(false);
        let keeper = RoomKeeper::new(
            Arc::clone(&room),
            replica.clone(),
            peers.clone(),
            config.waits.status_timeout,
            back,
        );
        let reads = Arc::new(Reads::start(
            node_id,
            replica.clone(),
            peers.clone(),
            Arc::clone(&disk),
            config.reads.clone(),
        ));
        let writes = Arc::new(Writes::new(WritesParts {
            node_id,
            replica: replica.clone(),
            peers: peers.clone(),
            storage: Arc::clone(&storage),
            reads: Arc::clone(&reads),
            room: Arc::clone(&room),
            clock: config.clock,
            config: config.writes.clone(),
            metrics: metrics.clone(),
        }));
        let steward = Arc::new(Steward::new(StewardParts {
            node_id,
            storage: Arc::clone(&storage),
            replica: replica.clone(),
            peers: peers.clone(),
            reads: Arc::clone(&reads),
            writes: Arc::clone(&writes),
            silence_max: Duration::from_millis(config.raft.election_timeout_max_ms),
        }));
        let desk = Arc::new(Desk {
            meta: meta.clone(),
            storage: Arc::clone(&storage),
            replica: replica.clone(),
            peers: peers.clone(),
            reads: Arc::clone(&reads),
            writes: Arc::clone(&writes),
            room,
            disk: Arc::clone(&disk),
            steward: Arc::clone(&steward),
            cosigner: Arc::clone(&cosigner),
            joins: join.is_some(),
            clock: config.clock,
            restores: staged.is_some(),
            read_timeout: config.reads.deadline_max,
            await_published_max: config.waits.await_published_max,
            checkpoint_timeout: config.checkpoints.timeout,
        });
        let limits = config.connections.limits(shares.peers);
        let peer_listener = PeerListener::start(listener, limits, &peers, desk);

        let joiner = join.map(|join| Joiner {
            node_id,
            meta: meta.clone(),
            members: join.members.into_keys().filter(|id| *id != node_id).collect(),
            token: join_token,
            storage: Arc::clone(&storage),
            replica: replica.clone(),
            peers: peers.clone(),
            waits: config.waits.clone(),
        });
        let newcomer = Newcomer {
            node_id,
            meta: meta.clone(),
            configured: config.peers.members.keys().copied().collect(),
            storage: Arc::clone(&storage),
            replica: replica.clone(),
            peers: peers.clone(),
            writes: Arc::clone(&writes),
            founder,
            staged,
            joiner,
            waits: config.waits.clone(),
        };
        let denials = Arc::new(DenialCount::default());
        let reporter = Reporter::new(node_id, Arc::clone(&denials), Arc::clone(&writes), replica.clone());
        let accountant = Accountant::new(AccountantParts {
            node_id,
            accounts: Arc::clone(&accounts),
            writes: Arc::clone(&writes),
            replica: replica.clone(),
            config: config.accounts.clone(),
            metrics: accounted,
        });
        let clocks = ClockWatch {
            peers: peers.clone(),
            replica: replica.clone(),
            clock: config.clock,
            offset,
            waits: config.waits.clone(),
        };
        let indexer = Indexer { storage: Arc::clone(&storage), replica: replica.clone() };
        let checkpointer = Checkpointer::new(CheckpointerParts {
            node_id,
            cosigner: Arc::clone(&cosigner),
            replica: replica.clone(),
            peers: peers.clone(),
            reads: Arc::clone(&reads),
            writes: Arc::clone(&writes),
            config: config.checkpoints.clone(),
        });
        let remover = Remover::new(RemoverParts {
            node_id,
            storage: Arc::clone(&storage),
            replica: replica.clone(),
            writes: Arc::clone(&writes),
            clock: config.clock,
            traveller: Arc::clone(&traveller),
            metrics: EdgeMetrics::register(metrics.registry())?,
            config: config.retention.clone(),
        });
        let catalogs = travel::Keeper::new(Arc::clone(&traveller), replica.clone(), Arc::clone(&disk));
        let tasks = vec![
            tokio::spawn(async move {
                let failure = failure_of(newcomer).await;
                tracing::error!(%failure, "this node can't go on");
                fail.send_replace(Some(failure));
            })
            .abort_handle(),
            tokio::spawn(clocks.run()).abort_handle(),
            tokio::spawn(keeper.run()).abort_handle(),
            tokio::spawn(indexer.run()).abort_handle(),
            tokio::spawn(checkpointer.run()).abort_handle(),
            tokio::spawn(catalogs.run()).abort_handle(),
            tokio::spawn(remover.run()).abort_handle(),
            spawn_steward(&steward),
            spawn_announcer(meta.clone(), node_id, &replica, &peers, &steward, &config),
        ];
        let (stop, stopped) = watch::channel(false);
        let reporters = [
            tokio::spawn(reporter.run(config.writes.clone(), stopped.clone())),
            tokio::spawn(accountant.run(stopped)),
        ];
        Ok(Arc::new(Self {
            config,
            meta,
            storage,
            replica,
            peers,
            reads,
            feed,
            traveller,
            writes,
            steward,
            cosigner,
            metrics,
            denials,
            accounts,
            failure,
            peer_address,
            peer_listener: Mutex::new(Some(peer_listener)),
            tasks,
            disk,
            disk_is_back,
            stop,
            reporters: Mutex::new(Some(reporters)),
            let_go,
        }))
    }
}

fn spawn_steward(steward: &Arc<Steward>) -> AbortHandle {
    let steward = Arc::clone(steward);
    tokio::spawn(async move { steward.run().await }).abort_handle()
}

fn spawn_announcer(
    meta: NodeMeta,
    node_id: u64,
    replica: &Replica,
    peers: &PeerClient,
    steward: &Arc<Steward>,
    config: &NodeConfig,
) -> AbortHandle {
    let (replica, peers, steward) = (replica.clone(), peers.clone(), Arc::clone(steward));
    let waits = config.waits.clone();
    let announcing = async move { announce(node_id, &meta, &replica, &peers, &steward, &waits).await };
    tokio::spawn(announcing).abort_handle()
}

async fn open_storage(
    config: &NodeConfig,
    metrics: &Metrics,
    let_go: Arc<AtomicBool>,
) -> Result<Arc<Storage>, StartError> {
    let counted = StorageMetrics::register(metrics.registry())?;
    let mut options = StorageOptions::new(&config.data_dir, config.node_id, counted);
    let end_process = options.fatal;
    options.fatal = Arc::new(move |why| match let_go.load(Ordering::Acquire) {
        true => tracing::warn!("after this node was let go: {why}"),
        false => end_process(why),
    });
    let opened = tokio::task::spawn_blocking(move || Storage::open(options)).await;
    Ok(opened.map_err(|error| StorageError::Failed(error.to_string()))??)
}

fn meta(config: &NodeConfig, uid: String) -> NodeMeta {
    NodeMeta {
        peer_addr: config.peers.members.get(&config.node_id).cloned().unwrap_or_default(),
        public_addr: config.http.public_address(),
        uid,
        zone: config.placement.zone.clone(),
        region: config.placement.region.clone(),
        labels: config.placement.labels.clone(),
        role: MemberRole::Voter,
        versions: VersionRange::OURS,
    }
}
