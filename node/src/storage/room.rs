//! Room on the disk: how much there is, and what a write that finds none looks like.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::Path,
};

use rustix::fs::statvfs;

use super::error::StorageError;

/// Written to find out whether the disk takes writes.
const PROBE: &str = "probe.tmp";
const PROBE_BYTES: usize = 4096;

/// What the system says when the disk is full, over its quota, or read-only. RocksDB hands it on as text only.
const REFUSALS: [&str; 3] = ["No space left on device", "Disk quota exceeded", "Read-only file system"];

/// How many bytes are free on the disk that a folder lies on, for a process without privileges. This may block.
///
/// # Errors
/// When the disk can't be asked.
pub(super) fn free_bytes(dir: &Path) -> Result<u64, StorageError> {
    let stat = statvfs(dir).map_err(io::Error::from).map_err(StorageError::file(dir))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Finds out whether a folder's disk takes writes: writes a small file, syncs it and removes it. This blocks.
///
/// # Errors
/// When it does not.
pub(super) fn probe(dir: &Path) -> Result<(), StorageError> {
    let path = dir.join(PROBE);
    let written = File::create(&path)
        .and_then(|mut file| file.write_all(&[0; PROBE_BYTES]).and_then(|()| file.sync_all()))
        .map_err(StorageError::file(&path));
    // Also when it could only be made and not written. On a read-only disk it can't be removed, and is not there.
    let removed = fs::remove_file(&path).map_err(StorageError::file(&path));
    written.and(removed)
}

/// Whether a write was refused for want of room, or because the disk takes no writes at all now: it did nothing, and
/// the same disk may take it later. Every other failure makes the disk one that can't be trusted.
pub(super) fn is_refusal(error: &StorageError) -> bool {
    match error {
        StorageError::Database(error) => {
            let said: &str = error.as_ref();
            REFUSALS.iter().any(|refusal| said.contains(refusal))
        }
        StorageError::File { source, .. } => matches!(
            source.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
        ),
        StorageError::Corrupt(_)
        | StorageError::Identity(_)
        | StorageError::InUse(_)
        | StorageError::Missing(_)
        | StorageError::Failed(_)
        | StorageError::Random(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_folder_has_room_and_takes_the_probe() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(free_bytes(dir.path()).expect("it is there") > 0);
        probe(dir.path()).expect("it is writable");
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0, "nothing is left behind");
        let nowhere = dir.path().join("nowhere");
        assert!(free_bytes(&nowhere).is_err());
        assert!(probe(&nowhere).is_err());
    }

    #[test]
    fn only_what_a_disk_refuses_is_a_refusal() {
        let of = |errno: Errno| StorageError::file("/data")(errno.into());
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::ROFS] {
            assert!(is_refusal(&of(errno)), "{errno:?}");
            // What RocksDB says holds what the system says, which is checked against the system here.
            let said = io::Error::from(errno).to_string();
            assert!(REFUSALS.iter().any(|refusal| said.contains(refusal)), "{said}");
        }
        assert!(!is_refusal(&of(Errno::IO)));
        assert!(
            !is_refusal(&StorageError::Failed("No space left on device".to_owned())),
            "a failed sync is none"
        );
    }
}
