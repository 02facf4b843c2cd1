//! The catalog as a file: what a snapshot is on disk and on the wire.
//!
//! ```text
//! header (an envelope of kind Snapshot) | rows: key length u32, value length u32, key, value | SHA-256 of all that
//! ```
//!
//! The same state at the same log entry gives the same bytes on every node, so the hash at the end names the content.
//! Files are written and read in pieces: none is ever in memory whole.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::FileExt,
};

use bincode::{Decode, Encode};
use flagraft_core::{
    digest::Digest,
    rows::{CorruptRow, Loader},
    state::State,
};
use sha2::{Digest as _, Sha256};

use super::{
    codec::{self, Kind},
    message::SnapshotMetaV1,
    types::SnapshotMeta,
};

/// Bytes of the SHA-256 that ends a file.
const HASH_BYTES: u64 = 32;
/// Bytes read or written at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// The header of a catalog file.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct SnapshotHeaderV1 {
    group: u32,
    meta: SnapshotMetaV1,
    /// Audit records that the catalog counts, and the root of their tree.
    audit_size: u64,
    audit_root: [u8; 32],
    /// The state's digest, in hexadecimal.
    digest: String,
    rows: u64,
}

/// What can be said of a catalog file without reading its rows.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    /// What it covers.
    pub(super) meta: SnapshotMeta,
    /// How many audit records it counts.
    pub(super) audit_size: u64,
    /// Bytes of the file.
    pub(super) bytes: u64,
    /// The SHA-256 at its end. That it is true of the rest is for [`verify`] to say.
    pub(super) sha256: [u8; 32],
}

/// A catalog read back whole and checked.
#[derive(Clone, Debug)]
pub(super) struct Catalog {
    pub(super) meta: SnapshotMeta,
    pub(super) state: State,
}

/// Writes the catalog of `state`.
///
/// # Errors
/// When the file can't be written.
pub(super) fn write(file: &File, state: &State, meta: &SnapshotMeta) -> Result<(), io::Error> {
    let header = SnapshotHeaderV1 {
        group: crate::storage::GROUP,
        meta: meta.into(),
        audit_size: state.sequence(),
        audit_root: state.audit_root(),
        digest: state.digest().to_string(),
        rows: u64::try_from(state.row_count()).map_err(io::Error::other)?,
    };
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hash.update(bytes);
        out.write_all(bytes)
    };
    put(&codec::encode(Kind::Snapshot, &header)?)?;
    for (key, value) in state.rows() {
        for part in [&key, &value] {
            put(&u32::try_from(part.len()).map_err(io::Error::other)?.to_be_bytes())?;
        }
        put(&key)?;
        put(&value)?;
    }
    out.write_all(&hash.finalize())?;
    out.flush()
}

/// What a file says of itself. Its rows are not looked at.
///
/// # Errors
/// When it can't be read, or is no catalog.
pub(super) fn summary(file: &File) -> Result<Summary, io::Error> {
    let (header, _, bytes) = header(file)?;
    let mut sha256 = [0; 32];
    file.read_exact_at(&mut sha256, content_bytes(bytes)?)?;
    Ok(Summary { meta: header.meta.try_into()?, audit_size: header.audit_size, bytes, sha256 })
}

/// Reads a file through and checks that it has the hash that it ends in. Returns that.
///
/// # Errors
/// When it can't be read, or has another.
pub(super) fn verify(file: &File) -> Result<[u8; 32], io::Error> {
    let end = content_bytes(file.metadata()?.len())?;
    let mut hash = Sha256::new();
    io::copy(&mut Section::of(file, 0, end), &mut HashWriter(&mut hash))?;
    let mut stated = [0; 32];
    file.read_exact_at(&mut stated, end)?;
    if hash.finalize().as_slice() != stated {
        return Err(invalid("a snapshot whose SHA-256 does not match".to_owned()));
    }
    Ok(stated)
}

/// Reads a catalog file, and checks everything about it that can be checked; its hash before anything else of it is
/// believed.
///
/// # Errors
/// When it can't be read or does not fit together.
pub(super) fn read(file: &File) -> Result<Catalog, io::Error> {
    verify(file)?;
    let (header, start, bytes) = header(file)?;
    let mut rows = RowReader::new(Section::of(file, start, content_bytes(bytes)?));
    let mut loader = Loader::default();
    let mut count = 0_u64;
    while let Some((key, value)) = rows.next()? {
        loader.row(key, value).map_err(|error: CorruptRow| invalid(error.to_string()))?;
        count += 1;
    }
    if count != header.rows {
        return Err(invalid(format!("a snapshot of {count} rows that should have {}", header.rows)));
    }
    let state = loader.finish();
    let digest = state.recompute_digest();
    if digest != state.digest() || Digest::parse(&header.digest) != Some(digest) {
        return Err(invalid("a snapshot whose rows do not have the digest it states".to_owned()));
    }
    if state.sequence() != header.audit_size || state.audit_root() != header.audit_root {
        return Err(invalid("a snapshot whose state counts other audit records than its header".to_owned()));
    }
    Ok(Catalog { meta: header.meta.try_into()?, state })
}

/// Copies a file to another one, from its start.
///
/// # Errors
/// When one can't be read or the other not be written.
pub(super) fn copy(from: &File, mut to: &File) -> Result<(), io::Error> {
    io::copy(&mut Section::of(from, 0, from.metadata()?.len()), &mut to).map(drop)
}

/// Reads up to `bytes` bytes at `offset`: fewer only at the end of the file.
///
/// # Errors
/// When the file can't be read.
pub(super) fn piece(file: &File, offset: u64, bytes: usize) -> Result<Vec<u8>, io::Error> {
    let mut piece = Vec::with_capacity(bytes);
    let end = offset.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    Section::of(file, offset, end).read_to_end(&mut piece)?;
    Ok(piece)
}

/// The header, the offset of what follows it, and the bytes of the file.
fn header(file: &File) -> Result<(SnapshotHeaderV1, u64, u64), io::Error> {
    let bytes = file.metadata()?.len();
    let mut whole = Section::of(file, 0, content_bytes(bytes)?);
    let mut envelope = vec![0; codec::HEADER_BYTES];
    whole.read_exact(&mut envelope)?;
    envelope.resize(codec::envelope_bytes(&envelope)?, 0);
    whole.read_exact(envelope.get_mut(codec::HEADER_BYTES..).unwrap_or_default())?;
    let header: SnapshotHeaderV1 = codec::decode(Kind::Snapshot, &envelope)?;
    if header.group != crate::storage::GROUP {
        return Err(invalid(format!("a snapshot of group {}", header.group)));
    }
    Ok((header, whole.at, bytes))
}

/// Bytes of a file before the hash at its end.
fn content_bytes(file_bytes: u64) -> Result<u64, io::Error> {
    file_bytes.checked_sub(HASH_BYTES).ok_or_else(|| invalid(format!("a snapshot of {file_bytes} bytes")))
}

/// A row's key and value.
type Row<'a> = (&'a [u8], &'a [u8]);

/// Reads the rows of a file one by one.
struct RowReader<'a> {
    from: BufReader<Section<'a>>,
    /// Bytes of rows that are left, so that a damaged length can't ask for more memory than there is file.
    left: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<'a> RowReader<'a> {
    fn new(section: Section<'a>) -> Self {
        let left = section.end.saturating_sub(section.at);
        let from = BufReader::with_capacity(BUFFER_BYTES, section);
        Self { from, left, key: Vec::new(), value: Vec::new() }
    }

    fn next(&mut self) -> Result<Option<Row<'_>>, io::Error> {
        const LENGTHS_BYTES: u64 = 8;
        if self.left == 0 {
            return Ok(None);
        }
        let mut lengths = [[0; 4]; 2];
        self.from.read_exact(lengths.as_flattened_mut()).map_err(within_a_row)?;
        let [key_bytes, value_bytes] = lengths.map(u32::from_be_bytes);
        self.left = self
            .left
            .checked_sub(LENGTHS_BYTES + u64::from(key_bytes) + u64::from(value_bytes))
            .ok_or_else(|| within_a_row(io::ErrorKind::UnexpectedEof.into()))?;
        for (part, bytes) in [(&mut self.key, key_bytes), (&mut self.value, value_bytes)] {
            part.resize(usize::try_from(bytes).map_err(io::Error::other)?, 0);
            self.from.read_exact(part).map_err(within_a_row)?;
        }
        Ok(Some((&self.key, &self.value)))
    }
}

fn within_a_row(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => invalid("a snapshot that ends within a row".to_owned()),
        _ => error,
    }
}

/// A part of a file that is read without moving its cursor, for several may read one file at a time.
struct Section<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl<'a> Section<'a> {
    fn of(file: &'a File, at: u64, end: u64) -> Self {
        Self { file, at, end }
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let count = self.file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), self.at)?;
        self.at += u64::try_from(count).map_err(io::Error::other)?;
        Ok(count)
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            snapshot::SnapshotData,
            testing::{filled, state_machine},
        },
        *,
    };
    use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};

    /// A folder with a catalog of 20 proposals, and the file.
    async fn built() -> (tempfile::TempDir, super::super::snapshot::CatalogFile) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut machine = state_machine(&filled(dir.path(), 20).await);
        let built = machine.get_snapshot_builder().await.build_snapshot().await.expect("built");
        let SnapshotData::Stored(catalog) = built.snapshot else { panic!("a built snapshot is stored") };
        (dir, catalog)
    }

    fn bytes_of(catalog: &super::super::snapshot::CatalogFile) -> Vec<u8> {
        piece(&catalog.file, 0, usize::try_from(catalog.summary.bytes).expect("small")).expect("reads")
    }

    /// Another member, of this version or another, makes the same file, or it could not go on where this one was cut.
    #[tokio::test]
    async fn a_catalog_file_is_frozen() {
        let (_dir, catalog) = built().await;
        let Summary { bytes, sha256, audit_size, .. } = catalog.summary;
        assert_eq!((bytes, audit_size), (0, 20));
        assert_eq!(hex::encode(sha256), "");
    }

    #[tokio::test]
    async fn no_changed_byte_goes_unseen() {
        let (dir, catalog) = built().await;
        let whole = bytes_of(&catalog);
        read(&catalog.file).expect("whole");
        let path = dir.path().join("damaged");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).expect("writes");
            assert!(read(&File::open(&path).expect("opens")).is_err(), "a flipped bit in byte {at}");
            std::fs::write(&path, &whole[..at]).expect("writes");
            assert!(read(&File::open(&path).expect("opens")).is_err(), "cut to {at} bytes");
        }
    }

    /// Whoever can make the hash fit can still not make a state of rows that are none.
    #[tokio::test]
    async fn rows_that_do_not_fit_are_told_although_the_hash_does() {
        let (dir, catalog) = built().await;
        let whole = bytes_of(&catalog);
        let content = &whole[..whole.len() - 32];
        let (_, rows, _) = header(&catalog.file).expect("reads");
        let rows = usize::try_from(rows).expect("small");
        let mut longer = content.to_vec();
        longer[rows] = 0xff;
        let mut edited = content.to_vec();
        let last = edited.len() - 3;
        edited[last] ^= 1;
        for (what, content) in [
            ("a row longer than the file", longer),
            ("an edited row", edited),
            ("no rows", content[..rows].to_vec()),
        ] {
            let path = dir.path().join("forged");
            std::fs::write(&path, [&*content, &*Sha256::digest(&content)].concat()).expect("writes");
            let file = File::open(&path).expect("opens");
            verify(&file).expect("its hash is right");
            assert!(read(&file).is_err(), "{what}");
        }
    }
}
