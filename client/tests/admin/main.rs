//! The management API: what leaves for a node, what comes back, and what becomes of a call that does not succeed.

#![cfg(feature = "admin")]

mod calls;
mod errors;
mod fake;
mod transport;

use std::time::Duration;

use flagraft_client::admin::{AdminBuilder, AdminClient};
use tokio::{io::AsyncReadExt as _, net::TcpListener};

use self::fake::at;

/// A client of these nodes that asks each of them once.
fn builder<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> AdminBuilder {
    AdminClient::builder()
        .endpoints(endpoints)
        .token("fr_adm_secret")
        .request_timeout(Duration::from_secs(5))
        .retry_for(Duration::ZERO)
}

fn client<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> AdminClient {
    builder(endpoints).build().expect("a client")
}

/// An address that nobody listens on.
async fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    at(listener.local_addr().expect("an address"))
}

/// A node that reads a request and dies before it answers.
async fn dying() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = at(listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
        }
    });
    url
}
