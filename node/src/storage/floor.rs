//! The recovery floor: a small file beside the database that says what was surely on the disk.
//!
//! RocksDB's recovery stops quietly at the first damaged place of its write-ahead log: that is right for what a
//! power cut tore, which nobody was told of, and wrong for what had been synced and acknowledged. The database can't
//! tell the two apart, because what it would know it by is in the part that is gone. So it is kept apart, in a file
//! of its own that is synced after the database and before anybody is told, and start-up compares.
//!
//! The file has two slots, written in turn, each in a block of its own. A torn write of one leaves the other, which
//! is older by one write: a floor that is too low proves less, and is never wrong.
//!
//! ```text
//! slot: magic u32 | count of writes u64 | length u32 | payload | CRC-32C u32, and zeros up to 4 KiB
//! ```
//!
//! What the payload means is the business of [`crate::raft`].

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{error::StorageError, sync_dir};

/// The file's name in the data folder.
pub(super) const FILE_NAME: &str = "floor";

const SLOT_BYTES: usize = 4096;
const MAGIC: [u8; 4] = *b"FRFL";
const HEAD_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;

/// The file.
struct FloorFile {
    file: File,
    writes: u64,
}

impl FloorFile {
    /// Opens the file, or makes an empty one when `may_create`. Also gives the newest payload; it is empty when
    /// nothing was written yet.
    fn open(dir: &Path, may_create: bool) -> Result<(Self, Vec<u8>), StorageError> {
        let path = dir.join(FILE_NAME);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound && may_create => {
                return Self::create(dir, &path);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StorageError::corrupt(format!(
                    "{} is missing, which says what was surely on the disk",
                    path.display()
                )));
            }
            Err(error) => return Err(StorageError::file(&path)(error)),
        };
        let mut newest: Option<(u64, Vec<u8>)> = None;
        for slot in 0..2 {
            let mut bytes = vec![0; SLOT_BYTES];
            match file.read_exact_at(&mut bytes, offset(slot)) {
                Ok(()) => newest = newest.max(decode(&bytes)),
                // A file that was cut short: the other slot may be whole.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(StorageError::file(&path)(error)),
            }
        }
        match newest {
            Some((writes, payload)) => Ok((Self { file, writes }, payload)),
            None => Err(StorageError::corrupt(format!(
                "{} is damaged, which says what was surely on the disk",
                path.display()
            ))),
        }
    }

    fn create(dir: &Path, path: &Path) -> Result<(Self, Vec<u8>), StorageError> {
        // Under another name until both slots are there: a file that was cut short would be taken for damage.
        let unfinished = path.with_extension("tmp");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&unfinished)
            .map_err(StorageError::file(&unfinished))?;
        let mut floor = Self { file, writes: 0 };
        for _ in 0..2 {
            floor.write(&[]).map_err(StorageError::file(&unfinished))?;
        }
        std::fs::rename(&unfinished, path).map_err(StorageError::file(path))?;
        sync_dir(dir)?;
        Ok((floor, Vec::new()))
    }

    /// Writes the older slot, and returns once it is on the disk.
    fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        let writes = self.writes.saturating_add(1);
        let bytes = encode(writes, payload)?;
        self.file.write_all_at(&bytes, offset(writes % 2))?;
        self.file.sync_data()?;
        self.writes = writes;
        Ok(())
    }
}

fn offset(slot: u64) -> u64 {
    slot * SLOT_BYTES as u64
}

fn encode(writes: u64, payload: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(SLOT_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&writes.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
    if bytes.len() > SLOT_BYTES {
        return Err(io::Error::other(format!("a floor of {} bytes does not fit its slot", payload.len())));
    }
    bytes.resize(SLOT_BYTES, 0);
    Ok(bytes)
}

/// A slot's count of writes and payload; `None` when it is not whole.
fn decode(slot: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (magic, rest) = slot.split_first_chunk::<4>()?;
    let (writes, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (payload, rest) = rest.split_at_checked(length)?;
    let (checksum, _) = rest.split_first_chunk::<CHECKSUM_BYTES>()?;
    let covered = slot.get(..HEAD_BYTES + length)?;
    let whole = *magic == MAGIC && crc32c::crc32c(covered) == u32::from_be_bytes(*checksum);
    whole.then(|| (u64::from_be_bytes(*writes), payload.to_vec()))
}

/// The floor of a data folder. Clones are handles to the same.
#[derive(Clone)]
pub struct Floor {
    shared: Arc<Shared>,
}

struct Shared {
    latest: Mutex<Vec<u8>>,
    file: Mutex<Written>,
}

struct Written {
    file: FloorFile,
    payload: Vec<u8>,
}

impl Floor {
    /// Opens the floor of a data folder, and makes one when the folder has no database yet (`is_new`).
    ///
    /// # Errors
    /// When it is damaged or can't be read, or is missing where there must be one.
    pub(super) fn open(dir: &Path, is_new: bool) -> Result<Self, StorageError> {
        let (file, payload) = FloorFile::open(dir, is_new)?;
        if is_new && !payload.is_empty() {
            return Err(StorageError::corrupt(
                "the database is gone, and something had been written to it: it was deleted or its disk was replaced",
            ));
        }
        let shared =
            Shared { latest: Mutex::new(payload.clone()), file: Mutex::new(Written { file, payload }) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The latest payload, written or not yet. It is empty when there never was one.
    pub fn latest(&self) -> Vec<u8> {
        lock(&self.shared.latest).clone()
    }

    /// Moves the floor. The file says so after [`Floor::write_latest`].
    pub fn set(&self, payload: Vec<u8>) {
        *lock(&self.shared.latest) = payload;
    }

    /// Moves the floor, and returns once the file says so. This blocks.
    ///
    /// # Errors
    /// When the file can't be written. The node must not go on.
    pub fn write(&self, payload: Vec<u8>) -> Result<(), StorageError> {
        self.set(payload);
        self.write_latest().map_err(StorageError::file(FILE_NAME))
    }

    /// Returns once the file says what is latest. This blocks, unless it says so already.
    pub(super) fn write_latest(&self) -> io::Result<()> {
        let mut written = lock(&self.shared.file);
        // Read under the lock of the file: of two writers the later one writes what is later.
        let latest = self.latest();
        if written.payload != latest {
            written.file.write(&latest)?;
            written.payload = latest;
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder whose floor was written twice, "one" and then "two".
    fn written() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let floor = Floor::open(dir.path(), true).expect("a new floor");
        assert!(floor.latest().is_empty());
        floor.write(b"one".to_vec()).expect("written");
        floor.set(b"two".to_vec());
        assert_eq!(read(dir.path()), Ok(b"one".to_vec()), "not written yet");
        floor.write_latest().expect("written");
        dir
    }

    fn read(dir: &Path) -> Result<Vec<u8>, String> {
        Floor::open(dir, false).map(|floor| floor.latest()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_written_last_is_read_again() {
        assert_eq!(read(written().path()), Ok(b"two".to_vec()));
    }

    #[test]
    fn the_bytes_of_a_slot_are_frozen() {
        let slot = encode(0x0102, b"floor").expect("encodes");
        assert_eq!(hex::encode(&slot[..25]), "4652464c000000000000010200000005666c6f6f7216aa8edc");
        assert!(slot[25..].iter().all(|byte| *byte == 0));
        assert_eq!((slot.len(), decode(&slot)), (SLOT_BYTES, Some((0x0102, b"floor".to_vec()))));
        assert!(encode(1, &[0; SLOT_BYTES]).is_err());
    }

    /// A torn or damaged slot leaves the other one; the floor is then an older one, and never something else.
    #[test]
    fn damage_anywhere_gives_an_older_floor_or_none() {
        let dir = written();
        let path = dir.path().join(FILE_NAME);
        let sound = fs::read(&path).expect("reads");
        for at in (0..40).chain(SLOT_BYTES..SLOT_BYTES + 40) {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x10;
            fs::write(&path, damaged).expect("writes");
            let found = read(dir.path()).expect("one slot is whole");
            assert!(found == b"one" || found == b"two", "byte {at}: {found:?}");
        }
        for length in [0, 1, SLOT_BYTES - 1, SLOT_BYTES, SLOT_BYTES + 10] {
            fs::write(&path, &sound[..length]).expect("writes");
            match read(dir.path()) {
                Ok(found) => assert!(found == b"one" || found == b"two", "{length}: {found:?}"),
                Err(said) => assert!(length < SLOT_BYTES && said.contains("is damaged"), "{length}: {said}"),
            }
        }
    }

    #[test]
    fn a_floor_without_its_database_and_a_database_without_its_floor_are_refused() {
        let dir = written();
        let said = Floor::open(dir.path(), true).err().expect("refused").to_string();
        assert!(said.contains("the database is gone"), "{said}");
        fs::remove_file(dir.path().join(FILE_NAME)).expect("removed");
        assert!(read(dir.path()).expect_err("refused").contains("is missing"));
        // A crash between the floor's making and the database's leaves this.
        let fresh = tempfile::tempdir().expect("a folder");
        drop(Floor::open(fresh.path(), true).expect("a new floor"));
        Floor::open(fresh.path(), true).expect("as new as before");
    }
}
