//! Exports: a stretch of the audit log as a file that proves itself. What the file looks like is core's business; here is
//! which records and which hashes go into it.

use std::{
    io::{self, Write},
    ops::{ControlFlow, Range},
};

use flagraft_core::{
    audit_file::{Format, Header, Why, Writer},
    merkle::{Hash, cover},
    note::{Note, VerifierKey},
    record::{is_removed, removed_by, row_leaf_hash},
};

use super::{BLOCK, Filter, Search};
use crate::{
    raft::AuditTree,
    storage::{Storage, StorageError},
};

/// Bytes that are gathered before they are handed on.
const GATHERED_BYTES: usize = 64 * 1024;

/// What an export is of.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    /// What it says of itself. Its size is that of the checkpoint, and the log has that many records.
    pub(crate) header: Header,
    /// How it is written.
    pub(crate) format: Format,
    /// Which records of the range.
    pub(crate) filter: Filter,
    /// The checkpoint.
    pub(crate) checkpoint: Note,
    /// The keys that the nodes are known to sign with.
    pub(crate) keys: Vec<VerifierKey>,
}

/// Writes an export of a log that has at least the records of the checkpoint, whose tree this is. Records that a published
/// state counts keep their hashes however long this takes: they stay what they are, or are removed. This blocks.
///
/// # Errors
/// When the disk fails, a record on it is not the one that the tree was made of, or `to` fails.
pub(crate) fn write(
    export: &Export,
    storage: &Storage,
    tree: &AuditTree,
    to: &mut impl Write,
) -> io::Result<()> {
    let Export { header, format, filter, checkpoint, keys } = export;
    let mut out = Vec::with_capacity(2 * GATHERED_BYTES);
    let file = Writer::begin(*format, header, &mut out);
    let mut exporter = Exporter { to, out, file, tree: tree.clone(), skipping: None };
    exporter.skip(0..header.from, Why::Range)?;
    let mut search = Search::new(storage, filter, tree.clone());
    let mut next = header.from;
    while next < header.to {
        let block = next / BLOCK;
        let part = next..header.to.min((block + 1).saturating_mul(BLOCK));
        next = part.end;
        if !filter.is_open() && !search.may_hold(block)? {
            exporter.skip(part, Why::Filter)?;
        } else {
            exporter.block(part, storage, filter)?;
        }
    }
    exporter.skip(header.to..header.size, Why::Range)?;
    exporter.end_skip()?;
    // The file would lack records that nothing in it says were removed.
    if let Some(sequence) = removed_since(storage, header.size..u64::MAX, header.from..header.to)? {
        return Err(io::Error::other(format!(
            "record {sequence}, behind the end of this export, removed records of it; export again"
        )));
    }
    let Exporter { to, mut out, file, .. } = exporter;
    file.finish(checkpoint, keys, &mut out);
    to.write_all(&out)
}

/// The sequence of the last of the records of `by` that removed any of `records`. This blocks.
///
/// # Errors
/// When the database fails, or has no record there.
pub(crate) fn removed_since(
    storage: &Storage,
    by: Range<u64>,
    records: Range<u64>,
) -> Result<Option<u64>, StorageError> {
    let mut last = None;
    storage.scan_audit::<StorageError>(by.start, |sequence, row| {
        if sequence >= by.end {
            return Ok(ControlFlow::Break(()));
        }
        let removed = removed_by(row)
            .ok_or_else(|| StorageError::corrupt(format!("audit record {sequence} can't be read")))?;
        if removed.iter().any(|range| range.from < records.end && records.start < range.to) {
            last = Some(sequence);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(last)
}

struct Exporter<'a, W> {
    to: &'a mut W,
    out: Vec<u8>,
    file: Writer,
    tree: AuditTree,
    /// What is being left out, until it is known where that ends.
    skipping: Option<(Range<u64>, Why)>,
}

impl<W: Write> Exporter<'_, W> {
    /// A part of a block, record by record.
    fn block(&mut self, part: Range<u64>, storage: &Storage, filter: &Filter) -> io::Result<()> {
        let mut next = part.start;
        storage.scan_audit::<io::Error>(part.start, |sequence, row| {
            if sequence >= part.end {
                return Ok(ControlFlow::Break(()));
            }
            next = sequence + 1;
            // Of each, whether or not it is asked for: altered, it may look as if it were not. And the file would be
            // refused at its end, with nothing to say which record is at fault.
            let leaf = self.tree.leaf(sequence)?;
            if row_leaf_hash(row) != Some(leaf) {
                let why = format!("audit record {sequence} is not the one that the tree was made of");
                return Err(StorageError::corrupt(why).into());
            }
            if is_removed(row) {
                self.skip(sequence..next, Why::Removed)?;
            } else if filter.takes(row) {
                self.end_skip()?;
                self.file.record(row, leaf, &mut self.out);
                self.hand_on()?;
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

    fn skip(&mut self, range: Range<u64>, why: Why) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
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
        let Some((range, why)) = self.skipping.take() else { return Ok(()) };
        let to = range.end;
        let hashes = cover(range).map(|(level, index)| self.tree.subtree(level, index));
        let hashes = hashes.collect::<Result<Vec<Hash>, StorageError>>()?;
        self.file.skip(to, why, &hashes, &mut self.out);
        self.hand_on()
    }

    fn hand_on(&mut self) -> io::Result<()> {
        if self.out.len() >= GATHERED_BYTES {
            self.to.write_all(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }
}
