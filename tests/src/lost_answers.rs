//! A proxy before a node's public listener that loses answers: the request arrives, the answer does not.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::proxy::Proxy;

/// Loses every answer of the node behind it. Ends when it is dropped.
#[derive(Debug)]
pub struct LostAnswers {
    proxy: Proxy,
    lost: Arc<AtomicU64>,
}

impl LostAnswers {
    /// Stands before the node at `target` (`http://127.0.0.1:7401`).
    ///
    /// # Panics
    /// There is no free port.
    pub async fn before(target: &str) -> Self {
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        let proxy = Proxy::before(target, move |client, target| lose(client, target, Arc::clone(&counter)));
        Self { proxy: proxy.await, lost }
    }

    /// Where to send requests whose answers are to be lost.
    pub fn base(&self) -> String {
        self.proxy.base()
    }

    /// How many answers were lost: each had been begun by the node.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Carries what the client sends until the node begins to answer, then hangs up on both.
async fn lose(mut client: TcpStream, target: String, lost: Arc<AtomicU64>) {
    let Ok(mut node) = TcpStream::connect(target).await else { return };
    let mut from_client = vec![0; 64 * 1024];
    let mut from_node = [0; 1];
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => match read {
                Ok(length @ 1..) if node.write_all(&from_client[..length]).await.is_ok() => {}
                _ => return,
            },
            read = node.read(&mut from_node) => {
                if matches!(read, Ok(1..)) {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
                return;
            }
        }
    }
}
