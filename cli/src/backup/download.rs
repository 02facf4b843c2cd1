//! A backup on its way: written as it comes, checked at the same time, and put in place only when it is good.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use flagraft_client::admin::Download;
use flagraft_node::backup::{BackupError, Header, check};
use tokio::sync::mpsc;

use super::{Bar, refused};
use crate::failure::{Exit, Failure};

/// Pieces that wait to be checked.
const PIECES_WAITING: usize = 8;

/// Where a backup is written to.
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file, by another name until it is whole.
    File {
        /// What was asked for.
        path: PathBuf,
        /// Where it is meanwhile.
        temporary: PathBuf,
        /// That, open.
        file: File,
    },
}

impl Target {
    /// Opens it. A file that exists is never written over.
    pub fn open(to: &str) -> Result<Self, Failure> {
        if to == "-" {
            return Ok(Self::Stdout);
        }
        let path = PathBuf::from(to);
        require_absent(&path)?;
        let name = path.file_name().ok_or_else(|| Failure::usage(format!("{to:?} names no file")))?;
        let mut partial = name.to_owned();
        partial.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(partial);
        // It holds every rule, and rules name customers: the file is for its owner's eyes.
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(|e| {
                Failure::new(Exit::Other, format!("could not make {}: {e}", temporary.display()))
            })?;
        Ok(Self::File { path, temporary, file })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(bytes),
            Self::File { file, .. } => file.write_all(bytes),
        }
    }

    /// Puts it in place, durably.
    fn finish(&mut self) -> Result<(), Failure> {
        let failed = |what: &Path, e: io::Error| {
            Failure::new(Exit::Other, format!("could not write {}: {e}", what.display()))
        };
        match self {
            Self::Stdout => io::stdout().lock().flush().map_err(|e| failed(Path::new("-"), e)),
            Self::File { path, temporary, file } => {
                file.sync_all().map_err(|e| failed(temporary, e))?;
                // A link in place of a renaming: it fails where a file has come to be meanwhile.
                match fs::hard_link(&*temporary, &*path) {
                    Ok(()) => {}
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(failed(path, e)),
                    // Not every file system has links, and a good backup is not thrown away for that.
                    Err(_) => rename_to_absent(temporary, path)?,
                }
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(folder, e))
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Self::File { temporary, .. } = self {
            // Whether it is whole or not, it has no use under this name.
            _ = fs::remove_file(temporary).is_ok();
        }
    }
}

/// Renames a file unless there is one of that name. Between the look and the renaming another program could make one,
/// and would lose it: whatever can be linked is not put in place like this.
fn rename_to_absent(from: &Path, to: &Path) -> Result<(), Failure> {
    require_absent(to)?;
    fs::rename(from, to)
        .map_err(|e| Failure::new(Exit::Other, format!("could not write {}: {e}", to.display())))
}

fn require_absent(path: &Path) -> Result<(), Failure> {
    match path.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::usage(format!("{} exists already", path.display()))
            .next("name another file; a backup is never written over another one")),
        Err(e) => Err(Failure::usage(format!("could not look for {}: {e}", path.display()))),
    }
}

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

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    #[test]
    fn where_there_are_no_links_a_file_is_not_written_over_either() {
        let folder = tempdir().expect("a temporary folder");
        let (from, to) = (folder.path().join("backup.1.tmp"), folder.path().join("backup"));
        fs::write(&from, "whole").expect("written");
        fs::write(&to, "precious").expect("written");
        let failure = rename_to_absent(&from, &to).expect_err("it is there");
        assert!(failure.to_string().contains("exists already"), "{failure}");
        assert_eq!(fs::read_to_string(&to).expect("there"), "precious");
        fs::remove_file(&to).expect("removed");
        rename_to_absent(&from, &to).expect("it is gone");
        assert_eq!(fs::read_to_string(&to).expect("there"), "whole");
    }
}
