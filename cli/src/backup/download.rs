//! A backup on its way: written as it comes, checked at the same time, and put in place only when it is good.

use std::io::{self, Read};

use flagraft_client::admin::Download;
use flagraft_node::backup::{BackupError, Header, check};
use tokio::sync::mpsc;

use super::{Bar, refused};
use crate::{
    failure::{Exit, Failure},
    target::Target,
};

/// Pieces that wait to be checked.
const PIECES_WAITING: usize = 8;

/// Takes a backup in, and gives what it says of itself once all of it is there and good.
pub async fn take(mut answer: Download, mut target: Target) -> Result<Header, Failure> {
    let (send, receive) = mpsc::channel(PIECES_WAITING);
    let checking = tokio::task::spawn_blocking(move || {
        let bar = Bar::default();
        let mut pieces = Pieces { receive, piece: None, at: 0 };
        let checked = check(&mut pieces, |part| {
            bar.step(&part);
            Ok(())
        });
        bar.finish();
        checked
    });
    let mut cut_off = None;
    loop {
        let piece = match answer.piece().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(error) => {
                cut_off = Some(Failure::from(error).next("run the command again"));
                break;
            }
        };
        target
            .write(piece.as_ref())
            .map_err(|e| Failure::new(Exit::Other, format!("could not write the backup: {e}")))?;
        // A checker that has gone away has found a fault, and says so below.
        if send.send(Piece(Box::new(piece))).await.is_err() {
            break;
        }
    }
    drop(send);
    let checked: Result<Header, BackupError> = checking
        .await
        .map_err(|e| Failure::new(Exit::Other, format!("the backup could not be checked: {e}")))?;
    // An answer that broke off explains what the checker then found.
    if let Some(failure) = cut_off {
        return Err(failure);
    }
    let header = checked.map_err(|error| match error {
        BackupError::Bad(what) => {
            Failure::new(Exit::VerificationFailed, format!("what the node sent is no good backup: {what}"))
                .next("run the command again, or ask another node with --endpoint")
        }
        error => refused(error),
    })?;
    target.finish()?;
    Ok(header)
}

/// A piece of an answer, whatever holds it.
struct Piece(Box<dyn AsRef<[u8]> + Send>);

/// The pieces of an answer, to be read by a thread that may wait for them.
struct Pieces {
    receive: mpsc::Receiver<Piece>,
    piece: Option<Piece>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let rest =
                self.piece.as_ref().and_then(|piece| (*piece.0).as_ref().get(self.at..)).unwrap_or_default();
            if !rest.is_empty() {
                let count = rest.len().min(buffer.len());
                let (Some(from), Some(to)) = (rest.get(..count), buffer.get_mut(..count)) else {
                    return Ok(0);
                };
                to.copy_from_slice(from);
                self.at += count;
                return Ok(count);
            }
            match self.receive.blocking_recv() {
                Some(piece) => (self.piece, self.at) = (Some(piece), 0),
                None => return Ok(0),
            }
        }
    }
}
