//! A file on its way: written under another name, and put in place only when it is whole and good.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::failure::{Exit, Failure};

/// Where a download is written to.
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

    /// Writes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(bytes),
            Self::File { file, .. } => file.write_all(bytes),
        }
    }

    /// Puts it in place, durably.
    pub fn finish(&mut self) -> Result<(), Failure> {
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
                    // Not every file system has links, and a good download is not thrown away for that.
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
            .next("name another file; one that exists is never written over")),
        Err(e) => Err(Failure::usage(format!("could not look for {}: {e}", path.display()))),
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
