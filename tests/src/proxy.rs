//! A proxy before a node's public listener, which does to each connection what a test asks for.

use std::net::SocketAddr;

use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// Stands before one node. Ends when it is dropped, with the connections that it carries.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Stands before the node at `target` (`http://127.0.0.1:7401`): `carry` is given each client that connects, and the
    /// node's address.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn before<F>(
        target: &str,
        mut carry: impl FnMut(TcpStream, String) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let target = target.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let task = tokio::spawn(async move {
            let mut carrying = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                carrying.spawn(carry(client, target.clone()));
                while carrying.try_join_next().is_some() {}
            }
        });
        Self { address, task }
    }

    /// Where to send requests that are to go through it.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
