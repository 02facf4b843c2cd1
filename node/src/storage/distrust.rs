//! What a node that ends because its data is damaged leaves behind, so that no node runs on that data again.
//!
//! Start-up reads what it needs. Damage elsewhere, in what RocksDB reads when it compacts, is found while the node runs: it
//! ends, its supervisor starts it, start-up finds nothing, and it serves until it finds the same place again.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
};

use super::StorageError;

/// The file's name in the data folder.
const FILE: &str = "damaged";
/// How much of what was found is kept.
const KEPT_BYTES: u64 = 4_096;

/// Notes that the folder is not to be used again, if that is why the node ends.
pub(super) fn note(dir: &Path, why: &str) {
    let Some(found) = StorageError::corruption_in(why) else { return };
    if let Err(error) = write(dir, found) {
        // The node ends all the same, and says why.
        tracing::error!(%error, "the folder is damaged, and can't be marked as such");
    }
}

fn write(dir: &Path, found: &str) -> io::Result<()> {
    let mut file = File::create(dir.join(FILE))?;
    file.write_all(found.as_bytes())?;
    file.sync_all()?;
    File::open(dir)?.sync_all()
}

/// Refuses a folder in which a node that ran on it found damage.
pub(super) fn require_none(dir: &Path) -> Result<(), StorageError> {
    let path = dir.join(FILE);
    let mut found = Vec::new();
    match File::open(&path).and_then(|file| file.take(KEPT_BYTES).read_to_end(&mut found)) {
        Ok(_) => Err(StorageError::corrupt(format!(
            "the node that ran on it last ended because of that, and left {}: {}",
            path.display(),
            String::from_utf8_lossy(&found)
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StorageError::file(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{
        super::{Storage, StorageMetrics, StorageOptions},
        *,
    };

    #[test]
    fn only_damage_makes_a_folder_one_that_is_not_used_again() {
        let folder = tempfile::tempdir().expect("a folder");
        note(folder.path(), "Raft has stopped: the database failed: no space");
        assert!(require_none(folder.path()).is_ok() && !folder.path().join(FILE).exists());

        let why = format!("Raft has stopped: when Write Vote: {}", StorageError::corrupt("block 7 differs"));
        note(folder.path(), &why);
        let refused = require_none(folder.path()).expect_err("it is not used again").to_string();
        let begins = "the data is corrupt: the node that ran on it last ended because of that, and left ";
        assert!(refused.starts_with(begins), "{refused}");
        assert!(refused.contains(": block 7 differs. A node never runs"), "{refused}");
        assert_eq!(refused.matches("never runs").count(), 1, "what to do is said once: {refused}");
    }

    /// A bit flipped in a block that no start-up reads. RocksDB read it when it compacted, and from then on refused every
    /// write: the node ended, was started by its supervisor, got ready, led, and ended again, 35 times in 30 seconds.
    #[test]
    fn a_node_that_found_damage_while_it_ran_is_not_started_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = StorageOptions {
            dir: folder.path().join("data"),
            node_id: 1,
            fatal: Arc::new(|_| {}),
            metrics: StorageMetrics::detached().expect("fresh"),
            fail_sync_after: None,
        };
        let storage = Storage::open(options.clone()).expect("a new folder");
        storage.fatal(&format!("Raft has stopped: {}", StorageError::corrupt("block 7 differs")));
        drop(storage);
        let Err(refused) = Storage::open(options) else { panic!("it is used again") };
        assert!(matches!(refused, StorageError::Corrupt(_)), "{refused}");
    }
}
