//! The files with secrets that settings name.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use flagraft_core::{
    seat::JoinToken,
    token::{Secret, TokenKind},
};

use super::failure::StartError;
use crate::{peer::PeerSecret, random::random};

/// The secret that all members share. White space around it does not count.
pub(super) fn peer_secret(path: &Path) -> Result<PeerSecret, StartError> {
    let text = fs::read(path).map_err(|error| file("the peer secret", path, error.to_string()))?;
    warn_if_open(path);
    Ok(PeerSecret::new(text.trim_ascii().to_vec())?)
}

/// The first owner's token. The file is made, for its owner's eyes only, when it is missing.
pub(super) fn owner_token(path: &Path) -> Result<Secret, StartError> {
    let wrong = |why: String| file("the bootstrap token", path, why);
    match fs::read_to_string(path) {
        Ok(text) => {
            warn_if_open(path);
            let secret = Secret::parse(text.trim()).map_err(|invalid| wrong(invalid.message))?;
            if !secret.expose().starts_with(TokenKind::Admin.prefix()) {
                return Err(wrong("this is no admin token: one begins with fr_adm_".to_owned()));
            }
            Ok(secret)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let secret = Secret::new(TokenKind::Admin, random());
            let write = || {
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                writeln!(file, "{}", secret.expose())?;
                file.sync_all()
            };
            write().map_err(|error| wrong(error.to_string()))?;
            Ok(secret)
        }
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// The token that a new node joins with.
pub(super) fn join_token(path: &Path) -> Result<JoinToken, StartError> {
    let wrong = |why: String| file("the join token", path, why);
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    warn_if_open(path);
    JoinToken::parse(text.trim()).map_err(|invalid| wrong(invalid.message))
}

fn file(what: &'static str, path: &Path, why: String) -> StartError {
    StartError::File { what, path: path.to_owned(), why }
}

pub(super) fn warn_if_open(path: &Path) {
    if fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "a secret's file can be read by others; chmod 600 it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owners_token_is_made_once_for_its_owner_only_and_read_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("token");
        let made = owner_token(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(owner_token(&path).expect("read"), made);

        fs::write(&path, Secret::new(TokenKind::Service, [1; 32]).expose()).expect("written");
        assert!(owner_token(&path).expect_err("no admin token").to_string().contains("fr_adm_"));
        fs::write(&path, "nonsense").expect("written");
        let error = owner_token(&path).expect_err("no token").to_string();
        assert!(!error.contains("nonsense"), "{error}");
    }

    #[test]
    fn a_join_token_that_is_missing_or_wrong_is_named_and_not_repeated() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("join-token");
        assert!(matches!(join_token(&path), Err(StartError::File { .. })));
        let token = JoinToken::new([3; 32]);
        fs::write(&path, format!("{}\n", token.expose())).expect("written");
        assert_eq!(join_token(&path).expect("read"), token);
        fs::write(&path, format!("{}x", token.expose())).expect("written");
        let error = join_token(&path).expect_err("damaged").to_string();
        assert!(error.contains("checksum") && !error.contains(token.expose()), "{error}");
    }

    #[test]
    fn a_peer_secret_that_is_missing_or_short_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("secret");
        assert!(matches!(peer_secret(&path), Err(StartError::File { .. })));
        fs::write(&path, "short\n").expect("written");
        assert!(matches!(peer_secret(&path), Err(StartError::WeakSecret(_))));
        fs::write(&path, format!("{}\n", "s".repeat(64))).expect("written");
        peer_secret(&path).expect("long enough");
    }
}
