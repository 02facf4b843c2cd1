//! The connections of a listener: how many there may be, how long one may be silent, and how they end.
//!
//! Whoever reaches a listener can open connections and say nothing. So their number has a bound, a connection over
//! which nothing is asked is closed, and so is one over which a request's head takes too long, or nothing of an answer is
//! taken.

mod head;

use std::{
    convert::Infallible,
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{body::Body, http::Response};
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;

use self::head::HeadDeadline;

/// What a listener bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once. Beyond it new ones wait until one is closed.
    pub connections_max: usize,
    /// How long a new connection may take until its first byte.
    pub silence_max: Duration,
    /// How long a connection may take from the end of one answer to the end of the next request's head.
    pub idle_max: Duration,
    /// How long a connection may take nothing of what is to be written to it: whoever reads nothing of a long answer, or of
    /// a stream, holds its buffers.
    pub stall_max: Duration,
}

/// The pause after a connection could not be accepted, as when the process has no more files to open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often it is said that there are too many connections.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// Serves connections until `stop` completes; then takes no new ones, and returns once the requests under way are
/// answered. Whoever does not want to wait for that drops the future, and with it nothing is cut off: the tasks of the
/// connections end by themselves.
pub(crate) async fn serve<S>(
    listener: TcpListener,
    limits: Limits,
    service: S,
    stop: impl Future<Output = ()>,
) where
    S: Service<hyper::Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let (stopping, stopped) = watch::channel(());
    let mut acceptor = Acceptor {
        permits: Arc::new(Semaphore::new(limits.connections_max.max(1))),
        listener,
        complained: None,
    };
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            (stream, permit) = acceptor.accept() => {
                tokio::spawn(carry(stream, permit, limits, service.clone(), stopped.clone()));
            }
        }
    }
    drop((acceptor, stopped));
    stopping.send_replace(());
    stopping.closed().await;
}

struct Acceptor {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    /// When it was last said that there are too many.
    complained: Option<Instant>,
}

impl Acceptor {
    /// The next connection, once there is room for one more.
    async fn accept(&mut self) -> (TcpStream, OwnedSemaphorePermit) {
        let permit = self.room().await;
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return (stream, permit),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn room(&mut self) -> OwnedSemaphorePermit {
        if self.permits.available_permits() == 0
            && self.complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL)
        {
            self.complained = Some(Instant::now());
            let listener = self.listener.local_addr().ok();
            tracing::warn!(?listener, "as many connections are open as may be; new ones wait");
        }
        #[expect(clippy::expect_used, reason = "nobody closes the semaphore")]
        Arc::clone(&self.permits).acquire_owned().await.expect("open")
    }
}

/// Carries one connection to its end.
async fn carry<S>(
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
    limits: Limits,
    service: S,
    mut stopped: watch::Receiver<()>,
) where
    S: Service<hyper::Request<Incoming>, Response = Response<Body>, Error = Infallible>,
{
    // Answers are small and wanted at once: they must not wait for the acknowledgement of the one before.
    _ = stream.set_nodelay(true).is_ok();
    let mut first = [0];
    tokio::select! {
        // Looked at and not only waited for: a new socket may be called readable before anything has arrived.
        spoken = timeout(limits.silence_max, stream.peek(&mut first)) => match spoken {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) | Err(_) => return,
        },
        _ = stopped.changed() => return,
    }
    let head = HeadDeadline::default();
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.stall_max));
    let connection = http1::Builder::new()
        .timer(head.clone())
        .header_read_timeout(limits.idle_max)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = pin!(connection);
    let mut missed = pin!(head.missed(limits.idle_max));
    let mut is_stopping = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => break ended,
            () = missed.as_mut() => return,
            _ = stopped.changed(), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended otherwise than by a request's answer");
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use hyper_util::service::TowerToHyperService;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        sync::oneshot,
        task::JoinHandle,
    };

    use super::*;

    /// Long enough for a busy machine; nothing here takes as long when it works.
    const PATIENCE: Duration = Duration::from_secs(20);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";

    struct Served {
        address: std::net::SocketAddr,
        stop: oneshot::Sender<()>,
        serving: JoinHandle<()>,
    }

    async fn served(limits: Limits) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        let router = Router::new().route("/", axum::routing::get(async || "here"));
        let serving = tokio::spawn(serve(listener, limits, TowerToHyperService::new(router), async {
            _ = stopped.await.is_ok();
        }));
        Served { address, stop, serving }
    }

    fn limits() -> Limits {
        Limits {
            connections_max: 100,
            silence_max: PATIENCE * 3,
            idle_max: PATIENCE * 3,
            stall_max: PATIENCE * 3,
        }
    }

    async fn closed(stream: &mut TcpStream) {
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed");
        // A socket with unread bytes is reset, which says the same.
        _ = ended.is_ok();
    }

    async fn answer(stream: &mut TcpStream) {
        stream.write_all(REQUEST).await.expect("open");
        let mut answer = Vec::new();
        while !answer.ends_with(b"here") {
            let mut piece = [0; 512];
            let length = timeout(PATIENCE, stream.read(&mut piece)).await.expect("an answer").expect("open");
            assert_ne!(length, 0, "closed after {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..length]);
        }
    }

    #[tokio::test]
    async fn whoever_says_nothing_or_never_ends_saying_it_is_closed() {
        let short = Duration::from_millis(50);
        let served = served(Limits { silence_max: short, idle_max: short, ..limits() }).await;
        let connect = async || TcpStream::connect(served.address).await.expect("it listens");
        closed(&mut connect().await).await;
        let mut slow = connect().await;
        slow.write_all(&REQUEST[..20]).await.expect("open");
        closed(&mut slow).await;
        let mut idle = connect().await;
        answer(&mut idle).await;
        closed(&mut idle).await;
    }

    #[tokio::test]
    async fn silent_connections_take_no_more_room_than_there_is_and_only_for_a_while() {
        let limits = Limits { connections_max: 3, silence_max: Duration::from_millis(300), ..limits() };
        let served = served(limits).await;
        let mut silent = Vec::new();
        for _ in 0..10 {
            silent.push(TcpStream::connect(served.address).await.expect("the backlog has room"));
        }
        // It waits until one of those is closed, and is answered then.
        let begun = Instant::now();
        answer(&mut TcpStream::connect(served.address).await.expect("the backlog has room")).await;
        assert!(begun.elapsed() >= limits.silence_max, "it did not have to wait: {:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn an_answer_under_way_is_given_and_idle_connections_do_not_hold_up_the_end() {
        let served = served(limits()).await;
        let mut silent = TcpStream::connect(served.address).await.expect("it listens");
        let mut idle = TcpStream::connect(served.address).await.expect("it listens");
        answer(&mut idle).await;
        served.stop.send(()).expect("it waits for that");
        timeout(PATIENCE, served.serving).await.expect("it ends").expect("no panic");
        closed(&mut silent).await;
        closed(&mut idle).await;
        assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens any more");
    }
}
