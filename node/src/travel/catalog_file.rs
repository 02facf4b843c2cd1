//! A catalog as a file, or as the bytes of one.
//!
//! ```text
//! {"flagraft_catalog":1,"revision":R,"next":N}\n | LZ4 frame of rows: key length u32, value length u32, key, value | SHA-256
//! ```
//!
//! The hash is over the first line and the rows as they are before they are compressed: the same catalog has the same on
//! every node. What does not have it is never believed.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    os::unix::fs::FileExt as _,
    path::Path,
};

use flagraft_core::travel::{Catalog, CatalogLoader};
use lz4_flex::frame::{FrameDecoder, FrameEncoder};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes of the SHA-256 that ends a file.
const HASH_BYTES: u64 = 32;
/// Bytes of the first line, at most.
const HEAD_BYTES_MAX: u64 = 1_024;

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    /// The version of the format.
    flagraft_catalog: u32,
    /// The catalog's revision.
    pub revision: u64,
    /// The revision at which the next catalog is due.
    pub next: u64,
}

impl Head {
    pub fn new(revision: u64, next: u64) -> Self {
        Self { flagraft_catalog: 1, revision, next }
    }

    /// The first line of a catalog in the log: it says nothing of how a node keeps its own.
    pub fn of_edge(revision: u64) -> Self {
        Self::new(revision, revision.saturating_add(1))
    }

    fn parse(line: &[u8]) -> io::Result<Self> {
        let head: Self = serde_json::from_slice(line)?;
        if head.flagraft_catalog != 1 || head.next <= head.revision {
            return Err(invalid("a kept catalog of another version"));
        }
        Ok(head)
    }
}

/// Writes a catalog. Returns its hash.
pub(super) fn write(out: impl Write, head: Head, catalog: &Catalog) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut line = serde_json::to_vec(&head)?;
    line.push(b'\n');
    hash.update(&line);
    let mut out = BufWriter::new(out);
    out.write_all(&line)?;
    let mut rows = FrameEncoder::new(out);
    for (key, value) in catalog.rows() {
        let lengths = [u32::try_from(key.len()), u32::try_from(value.len())];
        for length in lengths {
            let length = length.map_err(io::Error::other)?.to_be_bytes();
            hash.update(length);
            rows.write_all(&length)?;
        }
        for part in [key, value] {
            hash.update(&part);
            rows.write_all(&part)?;
        }
    }
    let mut out = rows.finish().map_err(io::Error::other)?;
    let hash: [u8; 32] = hash.finalize().into();
    out.write_all(&hash)?;
    out.flush()?;
    Ok(hash)
}

/// What a file says of itself.
pub(super) fn head(path: &Path) -> io::Result<Head> {
    let mut line = Vec::new();
    BufReader::new(File::open(path)?.take(HEAD_BYTES_MAX)).read_until(b'\n', &mut line)?;
    Head::parse(&line)
}

/// Reads a catalog, and checks it by its hash.
///
/// # Errors
/// When the file can't be read, or was changed.
pub(super) fn read(path: &Path) -> io::Result<Catalog> {
    let file = File::open(path)?;
    let content = file.metadata()?.len().checked_sub(HASH_BYTES).ok_or_else(|| invalid("it is too short"))?;
    let mut stated = [0; 32];
    file.read_exact_at(&mut stated, content)?;
    decode(BufReader::new(file.take(content)), stated)
}

/// Reads the bytes of a whole file, which must have this hash.
///
/// # Errors
/// When they were changed.
pub(super) fn parse(bytes: &[u8], sha256: [u8; 32]) -> io::Result<Catalog> {
    match bytes.split_last_chunk() {
        Some((content, stated)) if *stated == sha256 => decode(content, sha256),
        Some(_) => Err(invalid("it has another SHA-256")),
        None => Err(invalid("it is too short")),
    }
}

fn decode(mut content: impl BufRead, stated: [u8; 32]) -> io::Result<Catalog> {
    let mut hash = Sha256::new();
    let mut line = Vec::new();
    (&mut content).take(HEAD_BYTES_MAX).read_until(b'\n', &mut line)?;
    let head = Head::parse(&line)?;
    hash.update(&line);
    let mut rows = FrameDecoder::new(content);
    let mut loader = CatalogLoader::default();
    let (mut key, mut value) = (Vec::new(), Vec::new());
    while let Some(lengths) = lengths(&mut rows)? {
        hash.update(lengths.as_flattened());
        for (part, length) in [&mut key, &mut value].into_iter().zip(lengths) {
            let length = u64::from(u32::from_be_bytes(length));
            part.clear();
            // No more memory than there are bytes, whatever a damaged length says.
            if (&mut rows).take(length).read_to_end(part)? as u64 != length {
                return Err(invalid("it ends within a row"));
            }
            hash.update(&*part);
        }
        loader.row(&key, &value).map_err(io::Error::other)?;
    }
    if hash.finalize().as_slice() != stated {
        return Err(invalid("its SHA-256 does not match"));
    }
    let catalog = loader.finish().map_err(io::Error::other)?;
    if catalog.revision() == head.revision { Ok(catalog) } else { Err(invalid("it is of another revision")) }
}

/// The lengths of the next row's key and value; `None` at the end.
fn lengths(rows: &mut impl Read) -> io::Result<Option<[[u8; 4]; 2]>> {
    let mut lengths = Vec::with_capacity(8);
    rows.take(8).read_to_end(&mut lengths)?;
    match <[u8; 8]>::try_from(lengths) {
        Ok([a, b, c, d, e, f, g, h]) => Ok(Some([[a, b, c, d], [e, f, g, h]])),
        Err(none) if none.is_empty() => Ok(None),
        Err(_) => Err(invalid("it ends within a row")),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
