//! Looks into RocksDB's logs for what it would never finish reading.
//!
//! Its log reader does not move on from a record whose type says that the file was used before, in a file that began with
//! others (`db/log_reader.cc`, `ReadPhysicalRecord`, RocksDB 10): one flipped bit of a type in a manifest or a write-ahead
//! log, and opening the database takes for ever. Such files are not recycled here, so no record has such a type, and one
//! that has is damaged.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::error::StorageError;

/// Bytes that the reader takes at once. No record crosses from one block into the next.
const BLOCK_BYTES: u64 = 32 * 1024;
/// Bytes before each record: checksum, length and type.
const HEADER_BYTES: usize = 7;
/// The types of records in files that were used before (`db/log_format.h`).
const RECYCLED: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// Requires that the reader gets through all logs of the database in this folder. This blocks.
///
/// # Errors
/// When it would not, or a file can't be read.
pub(super) fn require_readable(db: &Path) -> Result<(), StorageError> {
    for entry in fs::read_dir(db).map_err(StorageError::file(db))? {
        let entry = entry.map_err(StorageError::file(db))?;
        let (path, name) = (entry.path(), entry.file_name());
        let is_wal = path.extension().is_some_and(|end| end == "log");
        if !is_wal && !name.to_string_lossy().starts_with("MANIFEST-") {
            continue;
        }
        if !is_readable(&path).map_err(StorageError::file(&path))? {
            return Err(StorageError::corrupt(format!(
                "{} has a record of a kind that is never written there: the file is damaged",
                path.display()
            )));
        }
    }
    Ok(())
}

fn is_readable(path: &PathBuf) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut block = Vec::new();
    let mut began = false;
    loop {
        block.clear();
        file.by_ref().take(BLOCK_BYTES).read_to_end(&mut block)?;
        if !gets_through(&block, &mut began) {
            return Ok(false);
        }
        if u64::try_from(block.len()).unwrap_or(0) < BLOCK_BYTES {
            return Ok(true);
        }
    }
}

/// Whether the reader gets to the end of a block. `began`: whether it has read a record before.
fn gets_through(block: &[u8], began: &mut bool) -> bool {
    let mut rest = block;
    while let Some(([c0, c1, c2, c3, l0, l1, kind], body)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let length = usize::from(u16::from_le_bytes([*l0, *l1]));
        if RECYCLED.contains(kind) {
            return !*began;
        }
        // From here on it does as this does: what does not fit, or has another checksum, ends the block.
        let Some((data, after)) = body.split_at_checked(length) else { return true };
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&[*kind]), data);
        if masked(checksum) != u32::from_le_bytes([*c0, *c1, *c2, *c3]) {
            return true;
        }
        *began = true;
        rest = after;
    }
    true
}

/// A checksum as it is stored (`util/crc32c.h`, `Mask`).
fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, data: &[u8]) -> Vec<u8> {
        let checksum = masked(crc32c::crc32c_append(crc32c::crc32c(&[kind]), data));
        let length = u16::try_from(data.len()).expect("small").to_le_bytes();
        [&checksum.to_le_bytes()[..], &length, &[kind], data].concat()
    }

    fn gets_through(records: &[Vec<u8>]) -> bool {
        super::gets_through(&records.concat(), &mut false)
    }

    #[test]
    fn a_record_of_a_file_that_was_used_before_is_found_where_the_reader_gets_to_it() {
        let (full, last) = (record(1, b"one"), record(4, b""));
        let recycled = record(5, b"never");
        assert!(gets_through(&[full.clone(), last.clone()]));
        assert!(!gets_through(&[full.clone(), recycled.clone()]));
        assert!(gets_through(&[recycled.clone(), full.clone()]), "a file that begins so is read otherwise");
        let mut damaged = full.clone();
        damaged[9] ^= 1;
        assert!(
            gets_through(&[full.clone(), damaged, recycled.clone()]),
            "the reader has given the block up"
        );
        assert!(gets_through(&[full.clone(), recycled[..6].to_vec()]), "it was being written");
        assert!(!gets_through(&[full, recycled[..7].to_vec()]));
    }
}
