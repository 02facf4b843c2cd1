//! A whole node: the member, its public listener and its metrics listener, started and stopped in the right order.

use std::{future::Future, net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    config::NodeConfig,
    files,
    http::{self, Door, Options},
    node::{Failure, Node, StartError},
};

/// Why a server ended otherwise than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The node can't go on.
    #[error(transparent)]
    Node(#[from] Failure),
    /// The disk refused a write, so that the node took no part in its cluster any more, and takes writes again now: a
    /// start with the same settings goes on where the disk left off.
    #[error("the disk takes writes again: this node has to be started anew")]
    DiskIsBack,
}

/// A running server.
pub struct Server {
    node: Arc<Node>,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    metrics: Option<JoinHandle<()>>,
}

impl Server {
    /// Opens the listeners, starts the node, and serves. The listeners answer before the node has read its disk: that
    /// it lives, and is not ready.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(mut config: NodeConfig) -> Result<Self, StartError> {
        config.validate()?;
        let (listener, address) = listen("--listen", config.http.listen).await?;
        let metrics_listener = match config.http.metrics_listen {
            Some(address) => Some(listen("--metrics-listen", address).await?),
            None => None,
        };
        // From here on the real port counts, where the setting said 0.
        config.http.listen = address;
        let (connections, drain) = (config.connections.clone(), config.shutdown.drain_timeout);
        let clients_max = files::shares(&connections)?.clients;
        let (stop, stopped) = watch::channel(false);
        let metrics_address = metrics_listener.as_ref().map(|(_, address)| *address);
        let (door, metrics_door) = (Door::default(), Door::default());
        let metrics = metrics_listener.map(|(listener, _)| {
            let limits = connections.limits(connections.metrics_max);
            tokio::spawn(http::serve(metrics_door.clone(), listener, limits, drain, told(stopped.clone())))
        });
        let limits = connections.limits(clients_max);
        let serving = tokio::spawn(http::serve(door.clone(), listener, limits, drain, told(stopped)));

        let options = Options::new(&config);
        // A node that does not start drops the sender, which ends the listeners.
        let node = Node::start(config).await?;
        metrics_door.open(http::metrics_router(Arc::clone(&node), options.clone()));
        door.open(http::router(Arc::clone(&node), options));
        tracing::info!(node = node.id(), http = %address, peers = %node.peer_address(), "this node has started");
        Ok(Self { node, address, metrics_address, stop, serving, metrics })
    }

    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Where the public listener is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the metrics listener is, if there is one.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Serves until `stop` completes, or the node can't go on. Then, in this order: the node is not ready any more;
    /// requests under way end; leadership is handed over; Raft stops; the data folder is closed.
    ///
    /// # Errors
    /// When it ended otherwise than by `stop`.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<(), ServerError> {
        let ended: Result<(), ServerError> = tokio::select! {
            () = stop => {
                tracing::info!("this node is asked to stop");
                Ok(())
            }
            failure = self.node.failed() => Err(failure.into()),
            () = self.node.disk_is_back() => Err(ServerError::DiskIsBack),
            // It ends only when it is told to, and nobody has.
            served = &mut self.serving => {
                let why = served.err().map_or("it ended".to_owned(), |panic| panic.to_string());
                Err(Failure(format!("the public listener failed: {why}")).into())
            }
        };
        self.node.fail_readiness();
        if ended.is_ok() {
            tokio::time::sleep(self.node.config().shutdown.drain_delay).await;
        }
        // They would go on for as long as requests may take to end.
        self.node.end_streams();
        self.stop.send_replace(true);
        if !self.serving.is_finished()
            && let Err(panic) = self.serving.await
        {
            tracing::error!(%panic, "the public listener failed while it drained");
        }
        if let Some(metrics) = self.metrics {
            // Whoever scrapes keeps the connection open; there is nothing to lose.
            metrics.abort();
        }
        self.node.close().await;
        ended
    }
}

async fn listen(setting: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { setting, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn told(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone says the same.
    _ = stopped.wait_for(|stopped| *stopped).await.is_ok();
}
