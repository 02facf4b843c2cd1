//! Answers that are too long to be held.

use std::time::Duration;

use reqwest::Response;
use tokio::time::timeout;

use super::{error::AdminError, rounds::broke_off};

/// The body of an answer that [`AdminClient::download`](super::AdminClient::download) gives piece by piece.
#[derive(Debug)]
pub struct File;

/// The body of a long answer.
#[derive(Debug)]
pub struct Download {
    pub(super) response: Response,
    /// How long nothing may come.
    pub(super) stall: Duration,
}

impl Download {
    /// How long all of one may take. What goes wrong shows long before, by nothing coming any more.
    pub(super) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

    /// The next piece; `None` at the end. Whether that is the end of what was sent is for the content to say.
    ///
    /// # Errors
    /// [`AdminError`] where it broke off, or nothing came for as long as an answer may take to begin.
    pub async fn piece(&mut self) -> Result<Option<impl AsRef<[u8]> + Send + 'static>, AdminError> {
        match timeout(self.stall, self.response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(AdminError::cut(format!("the answer {}", broke_off(&error)))),
            Err(_) => Err(AdminError::cut(format!("the answer stopped for {} s", self.stall.as_secs()))),
        }
    }
}
