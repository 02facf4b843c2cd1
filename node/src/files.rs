//! How many files this process may have open, and how many of them the listeners may take.
//!
//! A connection is a file. A node that has no more of them can't open its database's files either, so what clients can
//! take is less than all there are.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{ConfigError, ConnectionConfig};

/// Fewer files than this are enough for no node.
const FILES_MIN: u64 = 256;

/// How many connections each listener may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) clients: usize,
    pub(crate) peers: usize,
}

/// Raises this process's limit of open files to what it may be raised to, and shares it out.
///
/// # Errors
/// When there are too few to run a node with.
pub(crate) fn shares(wanted: &ConnectionConfig) -> Result<Shares, ConfigError> {
    let files = raised();
    let shares = shared_out(files, wanted)?;
    if shares.clients < wanted.clients_max || shares.peers < wanted.peers_max {
        tracing::warn!(
            files,
            clients = shares.clients,
            peers = shares.peers,
            "this process may open so few files that fewer connections are taken than the settings say; raise the \
             hard limit (ulimit -Hn, LimitNOFILE=)"
        );
    }
    Ok(shares)
}

/// The limit after it was raised. `u64::MAX`: there is none.
fn raised() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            current.unwrap_or(u64::MAX)
        }
    }
}

/// At most half of the files are for clients and a quarter for peers: the rest is for the database, the snapshots and
/// the connections that this node opens itself.
fn shared_out(files: u64, wanted: &ConnectionConfig) -> Result<Shares, ConfigError> {
    if files < FILES_MIN {
        return Err(ConfigError(format!(
            "this process may open {files} files, and a node needs {FILES_MIN}; raise the limit with ulimit -n, or \
             LimitNOFILE= of its service"
        )));
    }
    let at_most =
        |share: u64, wanted: usize| usize::try_from(share).map_or(wanted, |share| share.min(wanted));
    Ok(Shares {
        clients: at_most(files / 2, wanted.clients_max),
        peers: at_most(files / 4, wanted.peers_max),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_leaves_files_for_the_database() {
        let wanted = ConnectionConfig::default();
        let all = Shares { clients: wanted.clients_max, peers: wanted.peers_max };
        assert_eq!(shared_out(u64::MAX, &wanted), Ok(all));
        assert_eq!(shared_out(1 << 20, &wanted), Ok(all));
        assert_eq!(shared_out(1_024, &wanted), Ok(Shares { clients: 512, peers: 256 }));
        let error = shared_out(FILES_MIN - 1, &wanted).expect_err("too few");
        assert!(error.to_string().contains("ulimit -n"), "{error}");

        shares(&wanted).expect("this process may open enough");
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
