//! Exports: records, and the hashes of what is not in the file, so that whoever has the file alone can tell that the log
//! which the cluster's nodes signed has exactly these records at these places.
//!
//! ```text
//! {"flagraft_audit":1,"origin":..,"from":..,"to":..,"size":..,"filter":..,"exported_at_ms":..}
//! a record, exactly as it is stored
//! {"hashes":{"from":..,"leaves":".."}}           leaf hashes of the up to 256 records before it
//! {"skipped":{"from":..,"to":..,"why":"..","hashes":[..]}}     roots of the perfect subtrees that cover a range
//! {"checkpoint":"..","keys":[..],"records":..}
//! ```

use std::{
    io::{self, Write},
    ops::{ControlFlow, Range},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flagraft_core::{
    checkpoint::Origin,
    merkle::{Hash, cover},
    record::row_leaf_hash,
};
use serde::{Deserialize, Serialize};

use super::{BLOCK, Filter, Search, csv, filter::Stated, tree::Tree};
use crate::storage::{Storage, StorageError};

/// The version of the format.
const VERSION: u32 = 1;

/// How an export is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// A line of JSON each.
    #[default]
    Ndjson,
    /// Records as rows of CSV, all else as comments.
    Csv,
}

/// What an export is of.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    /// The log.
    pub(crate) origin: Origin,
    /// The sequences that were asked for.
    pub(crate) range: Range<u64>,
    /// How many records the log has that is proved, those of `range` among them.
    pub(crate) size: u64,
    /// Which records of the range.
    pub(crate) filter: Filter,
    /// How it is written.
    pub(crate) format: Format,
    /// When it was asked for, in milliseconds since 1970 UTC.
    pub(crate) exported_at_ms: i64,
    /// The signed checkpoint of that size; none where the caller wants none.
    pub(crate) checkpoint: Option<String>,
    /// The public keys that the nodes are known to sign with. Whom to trust the reader has to know from elsewhere.
    pub(crate) keys: Vec<String>,
}

#[derive(Serialize)]
struct Header {
    flagraft_audit: u32,
    origin: String,
    from: u64,
    to: u64,
    size: u64,
    filter: Option<Stated>,
    exported_at_ms: i64,
}

#[derive(Serialize)]
struct HashesLine {
    hashes: Hashes,
}

#[derive(Serialize)]
struct Hashes {
    from: u64,
    leaves: String,
}

#[derive(Serialize)]
struct SkippedLine {
    skipped: Skipped,
}

#[derive(Serialize)]
struct Skipped {
    from: u64,
    to: u64,
    why: Why,
    hashes: Vec<String>,
}

/// Why records are not in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Why {
    /// They are not of the range.
    Range,
    /// They are not asked for, or not for the caller to see.
    Filter,
    /// Retention removed them.
    Removed,
}

#[derive(Serialize)]
struct Trailer<'a> {
    checkpoint: Option<&'a str>,
    keys: &'a [String],
    records: u64,
}

/// Writes an export. Records that a published state counts stay what they are however long this takes. This blocks.
///
/// # Errors
/// When the disk fails, or `to` does.
pub(crate) fn write(export: &Export, storage: &Storage, to: &mut impl Write) -> io::Result<()> {
    let mut writer = Writer {
        to,
        format: export.format,
        tree: Tree::new(storage, export.size),
        line: Vec::new(),
        records: 0,
        run: Run { from: 0, leaves: Vec::new() },
        skipping: None,
    };
    writer.header(export)?;
    let Range { start, end } = export.range;
    writer.skip(0..start, Why::Range)?;
    let search = Search::new(storage, &export.filter);
    let mut next = start;
    while next < end {
        let block = next / BLOCK;
        let part = next..end.min((block + 1).saturating_mul(BLOCK));
        next = part.end;
        if !export.filter.is_open() && !search.may_hold(block)? {
            writer.skip(part, Why::Filter)?;
            continue;
        }
        writer.block(block, part, storage, &export.filter)?;
    }
    writer.skip(end..export.size, Why::Range)?;
    writer.trailer(export)
}

struct Writer<'a, W> {
    to: &'a mut W,
    format: Format,
    tree: Tree<'a>,
    line: Vec<u8>,
    records: u64,
    run: Run,
    /// What is being skipped.
    skipping: Option<(Range<u64>, Why)>,
}

/// Records whose hashes are to be told.
struct Run {
    from: u64,
    leaves: Vec<u8>,
}

impl<W: Write> Writer<'_, W> {
    /// A part of a block, record by record.
    fn block(&mut self, block: u64, part: Range<u64>, storage: &Storage, filter: &Filter) -> io::Result<()> {
        // The hashes that the tree was made of, rather than of what the disk has now: so a record that was altered there
        // is the one that is named.
        let leaves = self.tree.leaves_of_block(block)?;
        let leaf = |sequence: u64, row: &[u8]| -> Option<Hash> {
            let Some(leaves) = &leaves else { return row_leaf_hash(row) };
            let at = usize::try_from(sequence % BLOCK).ok()? * size_of::<Hash>();
            leaves.get(at..at + size_of::<Hash>())?.try_into().ok()
        };
        let mut next = part.start;
        storage.scan_audit::<io::Error>(part.start, |sequence, row| {
            if sequence >= part.end {
                return Ok(ControlFlow::Break(()));
            }
            next = sequence + 1;
            if !row.starts_with(b"{") {
                self.skip(sequence..next, Why::Removed)?;
            } else if filter.takes(row) {
                let leaf = leaf(sequence, row);
                let leaf = leaf
                    .ok_or_else(|| StorageError::corrupt(format!("audit record {sequence} has no hash")))?;
                self.record(sequence, row, &leaf)?;
            } else {
                self.skip(sequence..next, Why::Filter)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if next != part.end {
            let why = format!("the audit log ends at {next} where {} was expected", part.end);
            return Err(StorageError::corrupt(why).into());
        }
        Ok(())
    }

    fn header(&mut self, export: &Export) -> io::Result<()> {
        self.json(&Header {
            flagraft_audit: VERSION,
            origin: export.origin.to_string(),
            from: export.range.start,
            to: export.range.end,
            size: export.size,
            filter: export.filter.stated(),
            exported_at_ms: export.exported_at_ms,
        })?;
        match self.format {
            Format::Ndjson => Ok(()),
            Format::Csv => self.to.write_all(csv::NAMES.as_bytes()),
        }
    }

    fn record(&mut self, sequence: u64, row: &[u8], leaf: &Hash) -> io::Result<()> {
        self.end_skip()?;
        if self.run.leaves.is_empty() {
            self.run.from = sequence;
        }
        self.run.leaves.extend_from_slice(leaf);
        self.records += 1;
        match self.format {
            Format::Ndjson => self.to.write_all(row)?,
            Format::Csv => {
                self.line.clear();
                csv::row(row, &mut self.line);
                self.to.write_all(&self.line)?;
            }
        }
        self.to.write_all(b"\n")?;
        if (sequence + 1).is_multiple_of(BLOCK) { self.end_run() } else { Ok(()) }
    }

    fn end_run(&mut self) -> io::Result<()> {
        if self.run.leaves.is_empty() {
            return Ok(());
        }
        let leaves = STANDARD.encode(&self.run.leaves);
        self.run.leaves.clear();
        self.json(&HashesLine { hashes: Hashes { from: self.run.from, leaves } })
    }

    fn skip(&mut self, range: Range<u64>, why: Why) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        self.end_run()?;
        match &mut self.skipping {
            Some((skipping, same)) if *same == why => skipping.end = range.end,
            _ => {
                self.end_skip()?;
                self.skipping = Some((range, why));
            }
        }
        Ok(())
    }

    fn end_skip(&mut self) -> io::Result<()> {
        let Some((Range { start: from, end: to }, why)) = self.skipping.take() else { return Ok(()) };
        let hashes =
            cover(from..to).map(|(level, index)| self.tree.subtree(level, index).map(|h| STANDARD.encode(h)));
        let hashes = hashes.collect::<Result<_, StorageError>>()?;
        self.json(&SkippedLine { skipped: Skipped { from, to, why, hashes } })
    }

    fn trailer(&mut self, export: &Export) -> io::Result<()> {
        self.end_run()?;
        self.end_skip()?;
        let Export { checkpoint, keys, .. } = export;
        self.json(&Trailer { checkpoint: checkpoint.as_deref(), keys, records: self.records })
    }

    /// A line that is no record.
    fn json(&mut self, line: &impl Serialize) -> io::Result<()> {
        if self.format == Format::Csv {
            self.to.write_all(csv::COMMENT)?;
        }
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        self.to.write_all(&self.line)
    }
}
