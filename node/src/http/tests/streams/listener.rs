//! Streams over real connections: what the limits of connections mean for them.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

use super::{
    super::harness::Api,
    reader::{PATIENCE, STREAM},
};
use crate::{
    connections::Limits,
    http::{Door, serve},
};

struct Served {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

async fn served(api: &Api, limits: Limits) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(serve(Door::to(api.router.clone()), listener, limits, PATIENCE, async {
        _ = stopped.await.is_ok();
    }));
    Served { address, stop, serving }
}

/// A connection whose buffer for what arrives is small.
async fn stream(served: &Served, token: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut stream = socket.connect(served.address).await.expect("it listens");
    let request = format!("GET {STREAM} HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("open");
    stream
}

async fn until(stream: &mut TcpStream, text: &str) {
    let mut read = String::new();
    while !read.contains(text) {
        let mut piece = [0; 2048];
        let length =
            tokio::time::timeout(PATIENCE, stream.read(&mut piece)).await.expect(text).expect("open");
        assert_ne!(length, 0, "it ended before {text}: {read}");
        read.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
}

/// A stream on which nothing is said for longer than a connection may be idle goes on; and whoever waits for the node to
/// stop does not wait for its streams.
#[tokio::test]
async fn an_idle_stream_is_not_an_idle_connection_and_holds_up_no_stop() {
    let short = Duration::from_millis(100);
    let api = Api::shop_with(|config| config.streams.heartbeat = 10 * short).await;
    let token = api.service("production").await;
    let limits = Limits { connections_max: 10, silence_max: short, idle_max: short, stall_max: short };
    let served = served(&api, limits).await;
    let mut open = stream(&served, &token).await;
    until(&mut open, "event: snapshot").await;
    // The first is said at once, the next one after ten times as long as a connection may be idle.
    until(&mut open, "event: progress").await;
    until(&mut open, "event: progress").await;

    api.node.end_streams();
    served.stop.send(()).expect("it waits for that");
    tokio::time::timeout(PATIENCE / 2, served.serving).await.expect("it ends").expect("no panic");
    until(&mut open, "0\r\n\r\n").await;
}

/// A receiver that reads nothing holds a connection and its buffers: it is closed, and the stream is gone.
#[tokio::test]
async fn a_receiver_that_reads_nothing_is_disconnected() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    let limits = Limits { stall_max: Duration::from_millis(300), ..api.node.config().connections.limits(10) };
    let served = served(&api, limits).await;
    let mut open = stream(&served, &token).await;
    until(&mut open, "event: snapshot").await;
    let streams = async || {
        let metrics = api.get("/metrics").await.text;
        metrics.contains("flagraft_streams_open{kind=\"definitions\"} 1")
    };
    assert!(streams().await);
    // More than the buffers between them take.
    let large = "x".repeat(60_000);
    let changing = async {
        let mut number = 0;
        while streams().await {
            number += 1;
            let flag = json!({"key": "large", "type": "string", "variants": {"a": format!("{number}{large}"), "b": large}});
            api.change(json!({"reason": "r", "operations": [{"op": "flag.put", "flag": flag}]})).await;
        }
    };
    tokio::time::timeout(3 * PATIENCE, changing).await.expect("it is closed");
}
