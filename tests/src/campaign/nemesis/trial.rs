//! A node that was started although something is wrong with it: it gets ready, or it ends by itself. Nobody expects
//! anything of it until it is known which.

use std::{process::ExitStatus, time::Duration};

use super::{Ground, asked::Asked, question};

/// How much longer than planned that may take: it can wait for others, to which something is done as well, and who may be
/// dead or cut off for long.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Trial {
    node: u64,
    /// How much it had logged before.
    logged: usize,
    ready: Asked<()>,
}

/// What became of it.
pub(super) enum Outcome {
    Ready {
        /// What it logged.
        said: String,
    },
    Ended {
        status: ExitStatus,
        /// What it logged.
        said: String,
    },
}

impl Trial {
    /// Starts a dead node.
    pub(super) fn start(node: u64, ground: &mut Ground) -> Self {
        let logged = ground.cluster.log(node).len();
        ground.launch(node);
        let ready = Asked::of(question::ready(ground.cluster.anonymous(node)));
        Self { node, logged, ready }
    }

    /// What became of it, once that is known.
    pub(super) fn outcome(&self, ground: &mut Ground) -> Option<Outcome> {
        let ended = ground.ended(self.node);
        if ended.is_none() && self.ready.answer().is_none() {
            return None;
        }
        let log = ground.cluster.log(self.node);
        let said = log.get(self.logged..).unwrap_or_default().to_owned();
        Some(match ended {
            Some(status) => Outcome::Ended { status, said },
            None => Outcome::Ready { said },
        })
    }
}

/// The line of what a node has logged that has these words, without what comes before them.
pub(super) fn line_with<'a>(said: &'a str, words: &str) -> Option<&'a str> {
    said.lines().find_map(|line| line.find(words).map(|at| &line[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_by_its_words() {
        let said = "one\n12:00 ERROR the data folder can't be used: it is damaged\nthree";
        assert_eq!(line_with(said, "can't be used"), Some("can't be used: it is damaged"));
        assert_eq!(line_with(said, "four"), None);
    }
}
