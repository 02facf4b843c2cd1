//! A long body as a stream of pieces, for an answer that is sent while it is made: backups, and exports of the audit log.

use std::{
    io::{self, Write},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, mpsc, watch},
    time::timeout,
};

/// Bytes of one piece.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that wait for the receiver.
const PIECES_WAITING: usize = 4;

/// The bytes of a body. What goes wrong ends it with an error, which the receiver sees as an answer that was cut off.
pub struct PieceStream {
    pieces: mpsc::Receiver<Bytes>,
    /// Whether all of it was handed over.
    whole: Arc<AtomicBool>,
    failed: bool,
    what: &'static str,
}

impl PieceStream {
    /// Starts to make a body, `what` it is called, on a thread of its own, no faster than the receiver takes it. One that
    /// does not take another piece within `stall` is given up, and so is every one when `stop` says so. `permit` is kept
    /// until the end, however late that is.
    pub(crate) fn start(
        what: &'static str,
        stall: Duration,
        stop: watch::Receiver<bool>,
        permit: OwnedSemaphorePermit,
        make: impl FnOnce(&mut Pieces) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let (send, pieces) = mpsc::channel(PIECES_WAITING);
        let whole = Arc::new(AtomicBool::new(false));
        let (runtime, done) = (Handle::current(), Arc::clone(&whole));
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut pieces = Pieces { send, runtime, stall, stop, piece: BytesMut::new(), sent_bytes: 0 };
            let made = make(&mut pieces).and_then(|()| pieces.flush());
            let bytes = pieces.sent_bytes;
            match made {
                Ok(()) => {
                    done.store(true, Ordering::Release);
                    tracing::info!(bytes, "{what} was made");
                }
                Err(error) => tracing::warn!(%error, bytes, "{what} broke off"),
            }
        });
        Self { pieces, whole, failed: false, what }
    }
}

impl Stream for PieceStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.pieces.poll_recv(context));
        if next.is_none() && !self.whole.load(Ordering::Acquire) && !self.failed {
            self.failed = true;
            let why = format!("{} broke off; the node's log says why", self.what);
            return Poll::Ready(Some(Err(io::Error::other(why))));
        }
        Poll::Ready(next.map(Ok))
    }
}

/// Gathers what is written into pieces, and hands them over.
pub(crate) struct Pieces {
    send: mpsc::Sender<Bytes>,
    runtime: Handle,
    stall: Duration,
    stop: watch::Receiver<bool>,
    piece: BytesMut,
    sent_bytes: u64,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split().freeze();
        self.sent_bytes = self.sent_bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        let (send, stop, stall) = (&self.send, &mut self.stop, self.stall);
        self.runtime.block_on(async move {
            tokio::select! {
                sent = timeout(stall, send.send(piece)) => match sent {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => Err(io::Error::other("the receiver went away")),
                    Err(_) => Err(io::Error::other("the receiver takes nothing any more")),
                },
                // A sender that is gone says the same.
                _ = stop.wait_for(|stop| *stop) => Err(io::Error::other("this node is stopping")),
            }
        })
    }
}
