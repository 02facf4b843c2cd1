//! A proxy before a node's public listener that cuts every connection after so many bytes of its answers, in the middle
//! of whatever comes then.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::proxy::Proxy;

/// Stands before one node. Ends when it is dropped, with the connections that it carries.
#[derive(Debug)]
pub struct Cuts {
    proxy: Proxy,
    cut: Arc<AtomicU64>,
}

impl Cuts {
    /// Stands before the node at `target` (`http://127.0.0.1:7401`). Each connection carries up to `bytes_max` bytes of
    /// answers, how many `seed` decides.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn before(target: &str, bytes_max: usize, seed: u64) -> Self {
        let cut = Arc::new(AtomicU64::new(0));
        let (counter, mut rng) = (Arc::clone(&cut), fastrand::Rng::with_seed(seed));
        let proxy = Proxy::before(target, move |client, target| {
            carry(client, target, rng.usize(1..=bytes_max), Arc::clone(&counter))
        });
        Self { proxy: proxy.await, cut }
    }

    /// Where to send requests whose connections are to be cut.
    pub fn base(&self) -> String {
        self.proxy.base()
    }

    /// How many connections were cut while the node still sent.
    pub fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }
}

async fn carry(mut client: TcpStream, target: String, mut left: usize, cut: Arc<AtomicU64>) {
    let Ok(mut node) = TcpStream::connect(target).await else { return };
    let (mut from_client, mut from_node) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => match read {
                Ok(length @ 1..) if node.write_all(&from_client[..length]).await.is_ok() => {}
                _ => return,
            },
            read = node.read(&mut from_node) => match read {
                Ok(length @ 1..) => {
                    let passes = length.min(left);
                    if client.write_all(&from_node[..passes]).await.is_err() {
                        return;
                    }
                    left -= passes;
                    if passes < length {
                        cut.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}
