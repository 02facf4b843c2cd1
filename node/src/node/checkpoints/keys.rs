//! The file with the secret keys that a node signs checkpoints with. It stands beside the database, in no snapshot and
//! no backup: whoever copies those can't sign in this node's name.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use flagraft_core::{
    audit_key::AuditPublicKey,
    identity::ClusterId,
    limits::AUDIT_KEYS_MAX,
    note::{Signer, node_key_name},
};

use crate::{
    node::{failure::StartError, secrets::warn_if_open},
    random::random,
    storage::sync_dir,
};

/// The file, in the data folder.
const FILE: &str = "audit_key";
/// What it begins with.
const HEAD: &str = "# The secret keys with which this node signs checkpoints of the audit log, one a line, the oldest first.\n\
                    # They are this node's alone: copy them nowhere.\n";

/// Keys in the file that the cluster does not list, at most: as many as it ever lists of a node. Each attempt to add one
/// that fails leaves one behind.
const UNLISTED_MAX: usize = AUDIT_KEYS_MAX;

/// What the cluster says of a key of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing yet: it may be about to be added.
    Unlisted,
    /// The node signs with it.
    Active,
    /// It was retired, or is another node's: the node never signs with it again.
    Spent,
}

/// A node's secret keys.
pub(super) struct KeyFile {
    path: PathBuf,
    /// The oldest first; at least one.
    secrets: Vec<[u8; 32]>,
}

impl KeyFile {
    /// Reads the file of a data folder; makes it, with one key, where there is none.
    ///
    /// # Errors
    /// When it can't be read or made, or is not what was written.
    pub(super) fn open(dir: &Path) -> Result<Self, StartError> {
        let path = dir.join(FILE);
        let wrong = |why: String| StartError::File { what: "the audit key", path: dir.join(FILE), why };
        match fs::read_to_string(&path) {
            Ok(text) => {
                warn_if_open(&path);
                let secrets = parse(&text).ok_or_else(|| {
                    wrong(
                        "it does not hold a key a line; remove it, and the node makes another one".to_owned(),
                    )
                })?;
                Ok(Self { path, secrets })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let made = Self { path, secrets: vec![random()] };
                made.write().map_err(|error| wrong(error.to_string()))?;
                Ok(made)
            }
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// The public halves, the oldest first.
    pub(super) fn public_keys(&self) -> Vec<AuditPublicKey> {
        self.secrets.iter().filter_map(public_key).collect()
    }

    /// What signs in a cluster: each key under the node's name there.
    pub(super) fn signers(&self, cluster: ClusterId, node_id: u64) -> Vec<Signer> {
        let name = node_key_name(cluster, node_id);
        self.secrets.iter().filter_map(|secret| Signer::new(name.clone(), secret).ok()).collect()
    }

    /// Makes one more key, durably, and forgets those that are spent. Returns the public half of the new one.
    ///
    /// # Errors
    /// When the file can't be written: then all is as it was.
    pub(super) fn add(
        &mut self,
        standing: impl Fn(&AuditPublicKey) -> Standing,
    ) -> io::Result<AuditPublicKey> {
        let secret = random();
        let new =
            public_key(&secret).ok_or_else(|| io::Error::other("a key that nothing can be signed with"))?;
        let mut secrets: Vec<([u8; 32], Standing)> = self
            .secrets
            .iter()
            .filter_map(|secret| Some((*secret, standing(&public_key(secret)?))))
            .collect();
        secrets.retain(|(_, standing)| *standing != Standing::Spent);
        secrets.push((secret, Standing::Unlisted));
        let unlisted = secrets.iter().filter(|(_, standing)| *standing == Standing::Unlisted).count();
        let mut too_many = unlisted.saturating_sub(UNLISTED_MAX);
        secrets.retain(|(_, standing)| {
            let goes = too_many > 0 && *standing == Standing::Unlisted;
            too_many -= usize::from(goes);
            !goes
        });
        let secrets = secrets.into_iter().map(|(secret, _)| secret).collect();
        let next = Self { path: self.path.clone(), secrets };
        next.write()?;
        *self = next;
        Ok(new)
    }

    /// Replaces the file, for its owner's eyes only.
    fn write(&self) -> io::Result<()> {
        let fresh = self.path.with_extension("tmp");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(HEAD.as_bytes())?;
        for secret in &self.secrets {
            writeln!(file, "{}", hex::encode(secret))?;
        }
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        if let Some(dir) = self.path.parent() {
            sync_dir(dir)?;
        }
        Ok(())
    }
}

fn parse(text: &str) -> Option<Vec<[u8; 32]>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let secrets = lines.map(|line| hex::decode(line).ok()?.try_into().ok()).collect::<Option<Vec<_>>>()?;
    (!secrets.is_empty()).then_some(secrets)
}

fn public_key(secret: &[u8; 32]) -> Option<AuditPublicKey> {
    // The name does not matter to the key.
    Signer::new("key", secret).ok().map(|signer| AuditPublicKey(*signer.verifier().public_key()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_file_is_made_once_for_its_owner_only_and_read_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut made = KeyFile::open(dir.path()).expect("made");
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let first = made.public_keys();
        assert_eq!(KeyFile::open(dir.path()).expect("read").public_keys(), first);
        let second = made.add(|_| Standing::Active).expect("added");
        let both = KeyFile::open(dir.path()).expect("read").public_keys();
        assert_eq!(both, [first[0], second]);
        let is_second =
            |key: &AuditPublicKey| if *key == second { Standing::Active } else { Standing::Spent };
        let third = made.add(is_second).expect("added");
        assert_eq!(KeyFile::open(dir.path()).expect("read").public_keys(), [second, third]);
        let text = fs::read_to_string(&path).expect("there");
        fs::write(&path, text.replace('\n', "x\n")).expect("written");
        let error = KeyFile::open(dir.path()).map(drop).expect_err("damaged").to_string();
        assert!(error.contains("remove it") && !error.contains(&hex::encode(made.secrets[0])), "{error}");
    }

    /// Two rotations at once: the second one dropped the key that the first one was just having listed, and nobody had
    /// its secret any more.
    #[test]
    fn a_key_that_is_not_listed_yet_is_not_forgotten() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut file = KeyFile::open(dir.path()).expect("made");
        let first = file.public_keys()[0];
        let listed = |key: &AuditPublicKey| if *key == first { Standing::Active } else { Standing::Unlisted };
        let (second, third) = (file.add(listed).expect("added"), file.add(listed).expect("added"));
        assert_eq!(KeyFile::open(dir.path()).expect("read").public_keys(), [first, second, third]);
        // What comes to nothing again and again does not fill the disk, and costs no key that signs.
        for _ in 0..UNLISTED_MAX {
            file.add(listed).expect("added");
        }
        let all = KeyFile::open(dir.path()).expect("read").public_keys();
        assert_eq!((all.len(), all[0]), (1 + UNLISTED_MAX, first));
        assert!(!all.contains(&second) && !all.contains(&third), "the oldest go");
    }
}
