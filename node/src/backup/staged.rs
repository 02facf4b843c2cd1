//! A backup that waits in a data folder for the founding of its cluster.
//!
//! `restore` checks a backup and puts it into an empty folder, beside the words of whoever does it. The node that is
//! started there with `--bootstrap` founds its cluster on it. Until then the folder holds nothing else; once the
//! first entry of the new history is written, the staged backup goes.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufReader, Read, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use flagraft_core::{
    operation::{Operation, SystemLeadership, check_operator},
    proposal::Change,
    state::State,
};
use serde::{Deserialize, Serialize};

use super::{BackupError, Header, Part, head, load};
use crate::storage::{StorageError, sync_dir};

/// Where a folder keeps a staged backup.
const DIR: &str = "restore";
/// Its name until it is whole.
const UNFINISHED: &str = "restore.tmp";
/// Its name while it is being removed.
const DONE: &str = "restore.done";
const BACKUP: &str = "backup";
const WORDS: &str = "words.json";

/// Who restores, and why: part of the record that the restored cluster begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// Who, as that person gives it.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// The ticket, if there is one.
    pub ticket: Option<String>,
}

impl Words {
    /// What the log would refuse is refused here, where somebody can put it right.
    ///
    /// # Errors
    /// Says which word is no good, and why.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let change = Change {
            project: None,
            // Any one that is good in itself.
            operations: vec![Operation::SystemLeadership(SystemLeadership { to: 1, if_revision: None })],
            reason: self.reason.clone(),
            ticket: self.ticket.clone(),
            expect_revision: None,
        };
        change.validate().and_then(|()| check_operator(&self.operator)).map_err(|invalid| invalid.message)
    }
}

/// Why a backup was not staged.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The backup is no good.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The folder is not an empty one.
    #[error(
        "{0} is not empty, and a backup is restored into an empty folder only; name another --data, or move away what \
         is in it"
    )]
    NotEmpty(PathBuf),
    /// The words can't be recorded.
    #[error("{0}")]
    Words(String),
    /// The folder can't be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A restore into this folder was cut short.
    #[error("{0}: a restore into this folder was cut short; remove the folder and restore again")]
    Unfinished(PathBuf),
    /// A staged backup can't be used.
    #[error(
        "the restored backup in {path} can't be used: {why}; if the cluster was founded on it already, remove that \
         folder alone; if not, remove the data folder and restore again"
    )]
    Damaged {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// A backup that waits in a data folder.
#[derive(Clone, Debug)]
pub struct Staged {
    dir: PathBuf,
    header: Header,
    words: Words,
}

/// Checks a backup and puts it into an empty data folder. `step` is called for each part of it. This blocks.
///
/// # Errors
/// When the backup is no good, or the folder not an empty one. Then nothing is left behind in it.
pub fn stage(
    backup: impl Read,
    data_dir: &Path,
    words: Words,
    step: impl FnMut(&Part<'_>),
) -> Result<Header, StageError> {
    words.validate().map_err(StageError::Words)?;
    let made = !exists(data_dir)?;
    fs::create_dir_all(data_dir).map_err(StorageError::file(data_dir))?;
    require_empty(data_dir)?;
    let unfinished = data_dir.join(UNFINISHED);
    // It holds every rule, and rules name customers: the folder and what is in it are for their owner's eyes.
    DirBuilder::new().mode(0o700).create(&unfinished).map_err(StorageError::file(&unfinished))?;
    let staged = fill(backup, &unfinished, &words, step).and_then(|header| {
        let dir = data_dir.join(DIR);
        fs::rename(&unfinished, &dir).map_err(StorageError::file(&dir))?;
        sync_dir(data_dir)?;
        if let Some(parent) = data_dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
        Ok(header)
    });
    if staged.is_err() {
        // Best effort: what stays behind is refused by whoever starts or restores here.
        _ = fs::remove_dir_all(&unfinished).is_ok();
        if made {
            _ = fs::remove_dir(data_dir).is_ok();
        }
    }
    staged
}

fn fill(
    backup: impl Read,
    dir: &Path,
    words: &Words,
    step: impl FnMut(&Part<'_>),
) -> Result<Header, StageError> {
    let path = dir.join(BACKUP);
    let mut copy = create_private(&path).map_err(StorageError::file(&path))?;
    let mut tee = Tee { from: backup, to: &mut copy };
    let (header, _) = load(BufReader::with_capacity(256 * 1024, &mut tee), |_, _| Ok(()), step)?;
    copy.sync_all().map_err(StorageError::file(&path))?;
    let path = dir.join(WORDS);
    let write = || {
        let mut file = create_private(&path)?;
        file.write_all(&serde_json::to_vec(words).map_err(io::Error::other)?)?;
        file.sync_all()
    };
    write().map_err(StorageError::file(&path))?;
    sync_dir(dir)?;
    Ok(header)
}

fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Whether there is something at this path. That it can't be told is an error: a backup that is not seen would be an
/// empty catalog that is founded in its place.
fn exists(path: &Path) -> Result<bool, StorageError> {
    path.try_exists().map_err(StorageError::file(path))
}

fn require_empty(dir: &Path) -> Result<(), StageError> {
    for entry in fs::read_dir(dir).map_err(StorageError::file(dir))? {
        let name = entry.map_err(StorageError::file(dir))?.file_name();
        // A file system of its own has this at its root.
        if name != "lost+found" {
            return Err(StageError::NotEmpty(dir.to_owned()));
        }
    }
    Ok(())
}

impl Staged {
    /// The backup that waits in this data folder, if one does.
    ///
    /// # Errors
    /// When a restore was cut short there, or what it left can't be read.
    pub fn find(data_dir: &Path) -> Result<Option<Self>, StageError> {
        let unfinished = data_dir.join(UNFINISHED);
        if exists(&unfinished)? {
            return Err(StageError::Unfinished(unfinished));
        }
        let done = data_dir.join(DONE);
        if exists(&done)? {
            fs::remove_dir_all(&done).map_err(StorageError::file(&done))?;
        }
        let dir = data_dir.join(DIR);
        if !exists(&dir)? {
            return Ok(None);
        }
        let damaged = |why: String| StageError::Damaged { path: dir.clone(), why };
        let backup = File::open(dir.join(BACKUP)).map_err(|error| damaged(error.to_string()))?;
        let header = head(BufReader::new(backup)).map_err(|error| damaged(error.to_string()))?;
        let words = fs::read(dir.join(WORDS)).map_err(|error| damaged(error.to_string()))?;
        let words = serde_json::from_slice(&words).map_err(|error| damaged(error.to_string()))?;
        Ok(Some(Self { dir, header, words }))
    }

    /// The folder that it is in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the backup says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Who restores, and why.
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// Reads the backup again, with every check. `record` is given each audit record. This blocks.
    ///
    /// # Errors
    /// When it is not what was staged any more, or `record` fails.
    pub fn load(&self, record: impl FnMut(u64, &[u8]) -> io::Result<()>) -> Result<State, StageError> {
        let damaged = |why: String| StageError::Damaged { path: self.dir.clone(), why };
        let backup = File::open(self.dir.join(BACKUP)).map_err(|error| damaged(error.to_string()))?;
        let (header, state) = load(BufReader::with_capacity(256 * 1024, backup), record, |_| ())
            .map_err(|error| damaged(error.to_string()))?;
        if header != self.header {
            return Err(damaged("it was exchanged for another one".to_owned()));
        }
        Ok(state)
    }

    /// Removes it: its cluster has its first entry.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove(&self) -> Result<(), StorageError> {
        // Renamed first, and that durably: half of it would be refused at the next start.
        let going = self.dir.with_file_name(DONE);
        fs::rename(&self.dir, &going).map_err(StorageError::file(&self.dir))?;
        if let Some(data_dir) = self.dir.parent() {
            sync_dir(data_dir)?;
        }
        fs::remove_dir_all(&going).map_err(StorageError::file(&going))
    }
}

/// Copies what is read.
struct Tee<'a, R> {
    from: R,
    to: &'a mut File,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.to.write_all(buffer.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}
