//! Writes a file.

use sha2::{Digest as _, Sha256};

use super::{
    BLOCK_RECORDS, Format, Header, Why, csv,
    line::{Hashes, HashesLine, SkippedLine, SkippedRange, Trailer, encode_hashes},
};
use crate::{
    merkle::Hash,
    note::{Note, VerifierKey},
};

/// Writes a file line by line, into whatever buffer the caller hands in and empties. It holds the hashes of one block and
/// nothing that grows.
///
/// The caller gives every leaf of the log in order, from 0 to the header's size: records by [`record`](Self::record),
/// others by [`skip`](Self::skip).
#[derive(Debug)]
pub struct Writer {
    format: Format,
    /// The leaf that comes next.
    next: u64,
    /// The leaf hashes of the records since the last line that was none.
    run: Vec<Hash>,
    records: u64,
    sha256: Sha256,
}

impl Writer {
    /// Begins a file.
    pub fn begin(format: Format, header: &Header, out: &mut Vec<u8>) -> Self {
        let mut writer = Self { format, next: 0, run: Vec::new(), records: 0, sha256: Sha256::new() };
        writer.line(header, out);
        if format == Format::Csv {
            out.extend_from_slice(csv::COLUMNS.as_bytes());
            writer.sha256.update(csv::COLUMNS);
        }
        writer
    }

    /// The next record: exactly its stored bytes, and their leaf hash, which whoever holds them against the tree has made.
    pub fn record(&mut self, bytes: &[u8], leaf: Hash, out: &mut Vec<u8>) {
        match self.format {
            Format::Ndjson => {
                out.extend_from_slice(bytes);
                out.push(b'\n');
            }
            Format::Csv => out.extend_from_slice(csv::row(&String::from_utf8_lossy(bytes)).as_bytes()),
        }
        self.run.push(leaf);
        self.records = self.records.saturating_add(1);
        self.next = self.next.saturating_add(1);
        if self.next.is_multiple_of(BLOCK_RECORDS) {
            self.end_run(out);
        }
    }

    /// The records from the next one to before `to` are not in the file. `hashes` are the roots of the subtrees that
    /// [`cover`](crate::merkle::cover) names for them, in its order.
    pub fn skip(&mut self, to: u64, why: Why, hashes: &[Hash], out: &mut Vec<u8>) {
        self.end_run(out);
        let from = self.next;
        if from < to {
            let hashes = hashes.iter().map(|hash| encode_hashes(&[*hash]).into()).collect();
            self.line(&SkippedLine { skipped: SkippedRange { from, to, why, hashes } }, out);
            self.next = to;
        }
    }

    /// The leaf that comes next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Ends the file. `keys` are those that the cluster says are its nodes': for a reader to compare with the ones that it
    /// trusts, not to trust.
    pub fn finish(mut self, checkpoint: &Note, keys: &[VerifierKey], out: &mut Vec<u8>) {
        self.end_run(out);
        let mut trailer = Trailer {
            checkpoint: checkpoint.to_string().into(),
            keys: keys.iter().map(|key| key.to_string().into()).collect(),
            records: self.records,
            sha256: "".into(),
        };
        trailer.sha256 = trailer.sha256_behind(&self.sha256).into();
        self.line(&trailer, out);
    }

    fn end_run(&mut self, out: &mut Vec<u8>) {
        let leaves = u64::try_from(self.run.len()).unwrap_or(u64::MAX);
        if leaves > 0 {
            let hashes =
                Hashes { from: self.next.saturating_sub(leaves), leaves: encode_hashes(&self.run).into() };
            self.run.clear();
            self.line(&HashesLine { hashes }, out);
        }
    }

    fn line(&mut self, line: &impl serde::Serialize, out: &mut Vec<u8>) {
        let start = out.len();
        if self.format == Format::Csv {
            out.push(b'#');
        }
        // Numbers, texts and JSON values into memory: writing them cannot fail.
        let _ = serde_json::to_writer(&mut *out, line);
        out.extend_from_slice(if self.format == Format::Csv { b"\r\n" } else { b"\n" });
        self.sha256.update(out.get(start..).unwrap_or_default());
    }
}
