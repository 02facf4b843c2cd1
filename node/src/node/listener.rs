//! The listener that other members talk to.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::service::TowerToHyperService;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};

use super::desk::Desk;
use crate::{
    connections::{self, Limits},
    peer::{self, PeerClient},
};

/// The task that answers peers.
pub(super) struct PeerListener {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl PeerListener {
    /// Answers what comes in on `listener`, until it is told to stop.
    pub(super) fn start(listener: TcpListener, limits: Limits, peers: &PeerClient, desk: Arc<Desk>) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let service = TowerToHyperService::new(peer::server::router(peers, desk));
        let task = tokio::spawn(async move {
            let signal = async move {
                // A sender that is gone says the same.
                _ = stopped.wait_for(|stopped| *stopped).await.is_ok();
            };
            connections::serve(listener, limits, service, signal).await;
        });
        Self { stop, task }
    }

    /// Takes no new messages, and lets those that are being answered end within `patience`.
    pub(super) async fn stop(mut self, patience: Duration) {
        self.stop.send_replace(true);
        if timeout(patience, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Makes a bound listener this runtime's, and tells where it is.
pub(super) fn adopt(listener: std::net::TcpListener) -> io::Result<(SocketAddr, TcpListener)> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((address, TcpListener::from_std(listener)?))
}
