//! Damage to a dead node's data folder: a flipped bit, zeros, a file cut short; and the folder put back as it was.

use std::{
    fmt, fs, io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// This bit of the byte is turned over.
    Flip(u8),
    /// The byte and those after it are zeros, a page of them at most.
    Zeros,
    /// The byte and all after it are missing.
    Cut,
}

/// How many bytes are zeros at once.
const PAGE: usize = 4096;

/// The files of a data folder that hold data, in order: not RocksDB's diary and settings, nor its lock.
///
/// # Panics
/// It is no data folder.
pub fn data_files(data: &Path) -> Vec<PathBuf> {
    let mut files = vec![data.join("floor")];
    for folder in ["db", "snapshots"] {
        for file in fs::read_dir(data.join(folder)).expect("the folder is there") {
            let path = file.expect("it can be listed").path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let is_data = [".log", ".sst", ".snapshot"].iter().any(|end| name.ends_with(end));
            if is_data || name.starts_with("MANIFEST") || name == "CURRENT" {
                files.push(path);
            }
        }
    }
    files.retain(|path| fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0));
    files.sort();
    files
}

impl Damage {
    /// Does it to a file, from this byte on.
    ///
    /// # Errors
    /// The file can't be read or written, or has no such byte.
    pub fn to(self, path: &Path, at: usize) -> io::Result<()> {
        let mut bytes = fs::read(path)?;
        let length = bytes.len();
        let damaged = bytes.get_mut(at..).filter(|rest| !rest.is_empty());
        let damaged = damaged.ok_or_else(|| io::Error::other(format!("it has {length} bytes")))?;
        match self {
            Self::Flip(bit) => damaged[0] ^= 1 << (bit % 8),
            Self::Zeros => damaged.iter_mut().take(PAGE).for_each(|byte| *byte = 0),
            Self::Cut => bytes.truncate(at),
        }
        fs::write(path, bytes)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flip(bit) => write!(f, "bit {bit} flipped in byte"),
            Self::Zeros => f.write_str("zeros from byte"),
            Self::Cut => f.write_str("cut at byte"),
        }
    }
}

/// Whether nothing is written to this file any more once it is there.
pub fn is_written_once(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "sst" || end == "snapshot")
}

/// Turns a bit of a file back in its place.
///
/// # Errors
/// The file can't be read or written, or has no such byte.
pub fn turn_back(path: &Path, at: usize, bit: u8) -> io::Result<()> {
    let file = fs::File::options().read(true).write(true).open(path)?;
    let (mut byte, at) = ([0], at as u64);
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, at)
}

/// Copies a folder of files and folders of files.
///
/// # Errors
/// Something in it can't be read or written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Puts a folder back as it was when it was copied.
///
/// # Errors
/// It can't be removed or written.
pub fn put_back(copied: &Path, folder: &Path) -> io::Result<()> {
    fs::remove_dir_all(folder)?;
    copy(copied, folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::TempDir::with_prefix("flagraft-test-").expect("a temporary folder")
    }

    #[test]
    fn each_does_what_it_says_and_nothing_else() {
        let folder = folder();
        let path = folder.path().join("file");
        let after = |damage: Damage, at: usize| {
            fs::write(&path, [0xff; 10]).expect("written");
            damage.to(&path, at).map(|()| fs::read(&path).expect("it is there"))
        };
        let flipped = after(Damage::Flip(3), 4).expect("done");
        assert_eq!(flipped, [0xff, 0xff, 0xff, 0xff, 0xf7, 0xff, 0xff, 0xff, 0xff, 0xff]);
        turn_back(&path, 4, 3).expect("it can be written");
        assert_eq!(fs::read(&path).expect("it is there"), [0xff; 10]);
        assert!(turn_back(&path, 10, 3).is_err(), "there is no such byte");
        assert_eq!(after(Damage::Cut, 7).expect("done"), [0xff; 7]);
        assert!(after(Damage::Cut, 0).expect("done").is_empty());
        assert_eq!(after(Damage::Zeros, 8).expect("done")[7..], [0xff, 0, 0]);
        for damage in [Damage::Flip(0), Damage::Zeros, Damage::Cut] {
            assert!(after(damage, 10).is_err(), "{damage:?}: there is no such byte");
        }
    }

    #[test]
    fn a_folder_is_put_back_as_it_was() {
        let (folder, other) = (folder(), folder());
        let (data, copied) = (folder.path().join("data"), other.path().join("copy"));
        for folder in ["db", "snapshots"] {
            fs::create_dir_all(data.join(folder)).expect("made");
        }
        for (file, text) in
            [("floor", "1"), ("db/000004.log", "entries"), ("db/CURRENT", ""), ("db/LOG", "x")]
        {
            fs::write(data.join(file), text).expect("written");
        }
        assert_eq!(data_files(&data), ["db/000004.log", "floor"].map(|file| data.join(file)));
        copy(&data, &copied).expect("copied");
        Damage::Cut.to(&data.join("floor"), 0).expect("done");
        fs::write(data.join("db/000005.log"), "more").expect("written");
        put_back(&copied, &data).expect("put back");
        assert_eq!(data_files(&data), ["db/000004.log", "floor"].map(|file| data.join(file)));
        assert_eq!(fs::read_to_string(data.join("db/LOG")).expect("it is there"), "x");
    }
}
