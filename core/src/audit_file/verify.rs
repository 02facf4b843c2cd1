//! Verifies a file, line by line.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{
    BLOCK_RECORDS, FORMAT, Fault, Format, Header, LINE_BYTES_MAX, Why, Witnessed, WitnessedError,
    block::{self, Seen, Suspect},
    csv,
    line::{HashesLine, Kind, SkippedLine, Trailer, decode_hashes},
    removals::Removals,
    summary::{Skipped, Summary},
};
use crate::{
    base64_bytes,
    checkpoint::{Checkpoint, TrustedCheckpoint},
    merkle::{Frontier, Hash, cover, empty_root, leaf_hash},
    note::{TrustedKeys, VerifierKey},
    record::{Chain, Link, Record, RecordKind, removed_by},
    signing::{KnownKeys, verify_signature},
};

/// Records held at once. A block has 256; more come together only where the line between two blocks is gone.
const RUN_MAX: usize = 1_024;

/// Nobody is trusted, so nothing could ever be verified: there are no keys, or the quorum is 0 or more than the keys' owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTrust {
    /// How many there are whose keys are trusted.
    pub signers: usize,
}

impl fmt::Display for NoTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.signers {
            0 => f.write_str(
                "no key is trusted, so nothing can be verified; name the keys of the cluster's nodes",
            ),
            nodes => {
                write!(f, "keys of {nodes} nodes are trusted, so the quorum is a number from 1 to {nodes}")
            }
        }
    }
}

impl std::error::Error for NoTrust {}

/// Verifies a file of any length in little memory: that of a block's hashes, and of the longest line.
///
/// The first fault is the one that counts. Some are only known for what they are at the end, so a file is good when
/// [`finish`](Self::finish) says so, and not before.
pub struct Verifier {
    trusted: TrustedKeys,
    /// How many nodes must have signed; `None`: more than half of those that are trusted.
    quorum: Option<usize>,
    /// Checkpoints seen before, by size, each with the root that this log has at its size.
    witnessed: Vec<(Witnessed, Option<Hash>)>,
    /// The smallest of their sizes that is still to come.
    next_witnessed: Option<u64>,

    line: u64,
    /// Whether the last line has no end.
    cut: bool,
    opened: Option<Opened>,
    end: Option<End>,

    /// The leaf that comes next.
    next: u64,
    run: Vec<Seen>,
    tree: Frontier,
    suspect: Option<Suspect>,
    chain: Chain,
    sha256: Sha256,
    /// The keys of authors, as far as the file has their registrations.
    authors: KnownKeys,
    removals: Removals,

    records: u64,
    signed: u64,
    signed_by_registered: u64,
    kinds: BTreeMap<RecordKind, u64>,
    times_ms: Option<(i64, i64)>,
    skipped: Skipped,
}

/// What the beginning of a file says.
struct Opened {
    header: Header,
    format: Format,
    /// Whether the names of the columns come next.
    columns_next: bool,
}

/// What the end of a file says.
struct End {
    checkpoint: String,
    records: u64,
    /// Whether what is no record is what was written.
    unaltered: bool,
}

impl Verifier {
    /// A verifier that believes these keys: `quorum` of the nodes whose keys they are must have signed, without a number more
    /// than half of those of the cluster.
    ///
    /// # Errors
    /// When there is nobody to believe.
    pub fn new(trusted: TrustedKeys, quorum: Option<usize>) -> Result<Self, NoTrust> {
        let signers = trusted.keys().iter().map(VerifierKey::name).collect::<BTreeSet<_>>().len();
        if !(1..=signers).contains(&quorum.unwrap_or(1)) {
            return Err(NoTrust { signers });
        }
        Ok(Self {
            trusted,
            quorum,
            witnessed: Vec::new(),
            next_witnessed: None,
            line: 0,
            cut: false,
            opened: None,
            end: None,
            next: 0,
            run: Vec::new(),
            tree: Frontier::default(),
            suspect: None,
            chain: Chain::new(0),
            sha256: Sha256::new(),
            authors: KnownKeys::default(),
            removals: Removals::default(),
            records: 0,
            signed: 0,
            signed_by_registered: 0,
            kinds: BTreeMap::new(),
            times_ms: None,
            skipped: Skipped::default(),
        })
    }

    /// The log must also be the one of a checkpoint that was seen before. To be said before the first line.
    ///
    /// # Errors
    /// When no trusted key signed that checkpoint.
    pub fn witnessed(mut self, seen: Witnessed) -> Result<Self, WitnessedError> {
        seen.check_signed(&self.trusted)?;
        let root = (seen.checkpoint().size == 0).then(empty_root);
        self.witnessed.push((seen, root));
        self.await_witnessed();
        Ok(self)
    }

    /// Takes the next line, with its end.
    ///
    /// # Errors
    /// When the file is not good, whatever follows.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.line = self.line.saturating_add(1);
        self.take(line).map_err(|fault| self.first(fault))
    }

    /// The file has ended: says what it holds.
    ///
    /// # Errors
    /// When the file is not good.
    pub fn finish(mut self) -> Result<Summary, Fault> {
        self.judge().map_err(|fault| self.first(fault))
    }

    /// The fault that was found before this one, if there was one.
    fn first(&mut self, fault: Fault) -> Fault {
        match (&fault, self.suspect.take()) {
            // That one is what the earlier one turned out to be.
            (Fault::Hashes { .. }, _) | (_, None) => fault,
            (_, Some(suspect)) => suspect.fault,
        }
    }

    fn take(&mut self, line: &[u8]) -> Result<(), Fault> {
        if line.len() > LINE_BYTES_MAX {
            return Err(self.malformed("it is longer than any line of an export"));
        }
        if self.end.is_some() {
            return Err(Fault::AfterEnd { line: self.line });
        }
        let Some(content) = line.strip_suffix(b"\n") else {
            self.cut = true;
            return if self.line == 1 { Err(Fault::NotAnExport) } else { Ok(()) };
        };
        let Some(opened) = &mut self.opened else { return self.open(content, line) };
        let format = opened.format;
        if opened.columns_next {
            opened.columns_next = false;
            self.sha256.update(line);
            return if line == csv::COLUMNS.as_bytes() {
                Ok(())
            } else {
                Err(self.malformed("it does not name the columns of an export"))
            };
        }
        match format {
            Format::Ndjson => self.json(content, line),
            Format::Csv => match content.strip_suffix(b"\r") {
                None => {
                    self.record(content, false);
                    Ok(())
                }
                Some(content) => match content.strip_prefix(b"#") {
                    // A record is a row: as a remark, whoever reads the table would never see it.
                    Some(json) if Kind::of(json) == Kind::Other => {
                        self.strange(json);
                        Ok(())
                    }
                    Some(json) => self.json(json, line),
                    None => {
                        self.row(content);
                        Ok(())
                    }
                },
            },
        }?;
        if self.run.len() > RUN_MAX { Err(self.no_hashes()) } else { Ok(()) }
    }

    /// The first line.
    fn open(&mut self, content: &[u8], line: &[u8]) -> Result<(), Fault> {
        /// What every version of the format begins with.
        #[derive(Deserialize)]
        struct AnyFormat {
            flagraft_audit: u64,
        }
        let (format, json) = match content.strip_prefix(b"#") {
            Some(rest) => (Format::Csv, rest.strip_suffix(b"\r").ok_or(Fault::NotAnExport)?),
            None => (Format::Ndjson, content),
        };
        if json.ends_with(b"\r") {
            return Err(self.malformed(
                "its lines end as those of a text on Windows; verify the file as it was exported",
            ));
        }
        let stated: AnyFormat = serde_json::from_slice(json).map_err(|_| Fault::NotAnExport)?;
        if stated.flagraft_audit != u64::from(FORMAT) {
            return Err(Fault::TooNew(stated.flagraft_audit));
        }
        let header: Header = serde_json::from_slice(json).map_err(|_| Fault::NotAnExport)?;
        if header.from > header.to || header.to > header.size {
            return Err(self.malformed("its range is not one within the log"));
        }
        self.chain = Chain::new(header.origin.group);
        self.opened = Some(Opened { header, format, columns_next: format == Format::Csv });
        self.sha256.update(line);
        Ok(())
    }

    /// A line of JSON.
    fn json(&mut self, json: &[u8], line: &[u8]) -> Result<(), Fault> {
        let kind = Kind::of(json);
        if matches!(kind, Kind::Hashes | Kind::Skipped | Kind::Header) {
            self.sha256.update(line);
        }
        match kind {
            Kind::Other => {
                self.record(json, true);
                Ok(())
            }
            Kind::Hashes => self.hashes(json),
            Kind::Skipped => self.skipped(json),
            Kind::Trailer => self.trailer(json),
            Kind::Header => Err(self.malformed("the first line is there a second time")),
        }
    }

    /// A row of a table, without its end.
    fn row(&mut self, row: &[u8]) {
        let text = str::from_utf8(row).ok();
        match text.and_then(|text| Some((text, csv::record(text)?))) {
            Some((text, json)) => {
                let columns = csv::row(&json).strip_suffix("\r\n") == Some(text);
                self.record(json.as_bytes(), columns);
            }
            None => self.record(row, false),
        }
    }

    fn record(&mut self, json: &[u8], columns: bool) {
        let Some(link) = Link::read(json) else { return self.strange(json) };
        let mut signer = None;
        if link.removes {
            self.removals.observe(link.sequence, removed_by(json).unwrap_or_default());
        }
        if link.signed || link.of_signing_keys {
            match serde_json::from_slice::<Record>(json) {
                Ok(record) => {
                    signer = verify_signature(&record, &self.authors).transpose();
                    self.authors.observe(&record);
                }
                // Of a later version: it can't be said whether it is signed well.
                Err(_) if link.signed => return self.strange(json),
                Err(_) => {}
            }
        }
        self.run.push(Seen { hash: leaf_hash(json), line: self.line, link: Some(link), columns, signer });
    }

    /// What is no record as this version knows them.
    fn strange(&mut self, json: &[u8]) {
        let hash = leaf_hash(json);
        self.run.push(Seen { hash, line: self.line, link: None, columns: false, signer: None });
    }

    fn hashes(&mut self, json: &[u8]) -> Result<(), Fault> {
        let line: Option<HashesLine<'_>> = serde_json::from_slice(json).ok();
        let stated = line.and_then(|line| Some((line.hashes.from, decode_hashes(&line.hashes.leaves)?)));
        let Some((from, leaves)) = stated.filter(|(_, leaves)| !leaves.is_empty()) else {
            return Err(self.malformed("it is not a line of hashes of records"));
        };
        let count = length(&leaves);
        if from < self.next {
            return Err(Fault::OutOfPlace { line: self.line, from, next: self.next });
        }
        if from > self.next {
            return Err(self.too_far(from, leaves.len()));
        }
        let to = from.saturating_add(count);
        if count > BLOCK_RECORDS.saturating_sub(from % BLOCK_RECORDS) {
            return Err(self.malformed("it has hashes of more than one block of 256 records"));
        }
        if to > self.header()?.size {
            return Err(self.malformed("it is for records behind the end of the log that line 1 states"));
        }

        let run = std::mem::take(&mut self.run);
        match &mut self.suspect {
            Some(suspect) => suspect.look_in(from, &run, &leaves),
            None => match block::compare(from, self.line, &run, &leaves) {
                Some(mut suspect) => {
                    suspect.own = Some(self.tree.clone());
                    self.suspect = Some(suspect);
                }
                None => run.iter().try_for_each(|seen| self.follow(seen))?,
            },
        }
        if let Some(suspect) = &mut self.suspect {
            suspect.own = suspect.own.take().filter(|_| run.len() == leaves.len());
            if let Some(own) = &mut suspect.own {
                run.iter().for_each(|seen| own.push_hash(seen.hash));
            }
        }
        for leaf in leaves {
            self.tree.push_hash(leaf);
            self.note_witnessed();
        }
        self.next = to;
        self.run = run;
        self.run.clear();
        Ok(())
    }

    /// A record that has the stated hash.
    fn follow(&mut self, seen: &Seen) -> Result<(), Fault> {
        let sequence = self.chain.next();
        let Some(link) = &seen.link else {
            return Err(Fault::Malformed {
                line: seen.line,
                what: "the record can't be read; if it was written by a newer version, verify with that",
            });
        };
        self.chain.follow(link).map_err(|how| Fault::Broken { sequence, how })?;
        if !seen.columns {
            return Err(Fault::Columns { sequence, line: seen.line });
        }
        match &seen.signer {
            Some(Err(how)) => return Err(Fault::Signature { sequence, how: how.clone() }),
            Some(Ok(signer)) => {
                self.signed = self.signed.saturating_add(1);
                let registered = u64::from(signer.registered.is_some());
                self.signed_by_registered = self.signed_by_registered.saturating_add(registered);
            }
            None => {}
        }
        self.records = self.records.saturating_add(1);
        let of_kind = self.kinds.entry(link.kind).or_default();
        *of_kind = of_kind.saturating_add(1);
        let first_ms = self.times_ms.map_or(link.time_ms, |(first_ms, _)| first_ms);
        self.times_ms = Some((first_ms, link.time_ms));
        Ok(())
    }

    fn skipped(&mut self, json: &[u8]) -> Result<(), Fault> {
        let line: Option<SkippedLine<'_>> = serde_json::from_slice(json).ok();
        let stated = line.map(|line| line.skipped).and_then(|skipped| {
            let hashes: Option<Vec<Hash>> =
                skipped.hashes.iter().map(|hash| base64_bytes::parse(hash)).collect();
            Some((skipped.from, skipped.to, skipped.why, hashes?))
        });
        let Some((from, to, why, hashes)) = stated else {
            return Err(self.malformed("it is not a line of records that are left out"));
        };
        self.end_run(from)?;
        if from < self.next {
            return Err(Fault::OutOfPlace { line: self.line, from, next: self.next });
        }
        if from > self.next {
            return Err(self.gap(from));
        }
        let header = self.header()?;
        if from >= to || to > header.size {
            return Err(self.malformed("it leaves out no records of the log"));
        }
        let outside = to <= header.from || from >= header.to;
        let inside = from >= header.from && to <= header.to;
        let holds = match why {
            Why::Range => outside,
            Why::Filter => inside && header.filter.is_some(),
            Why::Removed => true,
        };
        if !holds {
            return Err(Fault::Withheld { from, to, why });
        }
        if cover(from..to).count() != hashes.len() {
            return Err(self.malformed("it has not one hash for each subtree that the records make"));
        }
        for ((level, _), root) in cover(from..to).zip(&hashes) {
            // They begin where the tree ends, so they are aligned.
            let taken = self.tree.push_subtree(level, *root).is_ok();
            let own = self.suspect.as_mut().and_then(|suspect| suspect.own.as_mut());
            let own_taken = own.is_none_or(|own| own.push_subtree(level, *root).is_ok());
            if !taken || !own_taken {
                return Err(self.malformed("it leaves out more records than a log can have"));
            }
            self.note_witnessed();
        }
        let count = to.saturating_sub(from);
        let skipped = match why {
            Why::Range => &mut self.skipped.range,
            Why::Filter => &mut self.skipped.filter,
            Why::Removed => &mut self.skipped.removed,
        };
        *skipped = skipped.saturating_add(count);
        if why == Why::Removed {
            self.removals.leave_out(from..to);
        }
        self.chain.pass_over_to(to);
        self.next = to;
        Ok(())
    }

    fn trailer(&mut self, json: &[u8]) -> Result<(), Fault> {
        let Ok(trailer) = serde_json::from_slice::<Trailer<'_>>(json) else {
            return Err(self.malformed("it is not the end of an export"));
        };
        self.end_run(self.header()?.size)?;
        if trailer.keys.iter().any(|key| key.parse::<VerifierKey>().is_err()) {
            return Err(self.malformed("a key that it names is not one"));
        }
        let unaltered = trailer.sha256 == trailer.sha256_behind(&self.sha256);
        self.end =
            Some(End { checkpoint: trailer.checkpoint.into_owned(), records: trailer.records, unaltered });
        Ok(())
    }

    /// All lines are there: whether they are signed, and what was signed.
    fn judge(&mut self) -> Result<Summary, Fault> {
        let Some(end) = self.end.take() else { return Err(self.truncated()) };
        let header = self.header()?.clone();
        let root = self.tree.root();

        if let Some(suspect) = &self.suspect {
            // If the records make the root that was signed, it is the hashes that were altered.
            if let Some(own) = &suspect.own
                && let Ok(TrustedCheckpoint { checkpoint, .. }) = self.signed(&end)
                && own.size() == checkpoint.size
                && own.root() == checkpoint.root
            {
                return Err(Fault::Hashes { from: suspect.from, line: suspect.line });
            }
            return Err(suspect.fault.clone());
        }
        if self.next != header.size {
            return Err(self.gap(header.size));
        }
        let TrustedCheckpoint { checkpoint, note, signers, quorum } = self.signed(&end)?;
        if !end.unaltered {
            return Err(Fault::Altered);
        }
        if end.records != self.records {
            return Err(Fault::Count { stated: end.records, found: self.records });
        }
        if checkpoint.origin != header.origin {
            return Err(Fault::Origin { file: header.origin, checkpoint: checkpoint.origin });
        }
        if checkpoint.size != header.size {
            return Err(Fault::Size { file: header.size, checkpoint: checkpoint.size });
        }
        if checkpoint.root != root {
            return Err(Fault::Root);
        }
        self.compare_end(&checkpoint)?;
        self.compare_removals(&header)?;
        for (seen, root_here) in &self.witnessed {
            let Checkpoint { size, origin, .. } = *seen.checkpoint();
            match seen.agrees(root_here.as_ref(), checkpoint.size, &root) {
                Some(true) => {}
                Some(false) => return Err(Fault::Fork { size, seen: origin }),
                None => return Err(Fault::Unrelated { size }),
            }
        }

        let unknown = note
            .signatures()
            .iter()
            .filter(|signature| self.trusted.find(&signature.name, signature.key_id).is_none());
        Ok(Summary {
            origin: checkpoint.origin,
            from: header.from,
            to: header.to,
            filter: header.filter,
            exported_at_ms: header.exported_at_ms,
            size: checkpoint.size,
            root,
            time_ms: checkpoint.time_ms,
            records: self.records,
            kinds: std::mem::take(&mut self.kinds),
            times_ms: self.times_ms,
            skipped: self.skipped,
            signed: self.signed,
            signed_by_registered: self.signed_by_registered,
            signers,
            quorum,
            unknown_signers: unknown.map(|signature| signature.name.clone()).collect(),
            witnessed: self.witnessed.iter().map(|(seen, _)| seen.checkpoint().size).collect(),
        })
    }

    /// The checkpoint, if enough of the trusted nodes signed it.
    fn signed(&self, end: &End) -> Result<TrustedCheckpoint, Fault> {
        Ok(TrustedCheckpoint::read(&end.checkpoint, &self.trusted, self.quorum)?)
    }

    /// Whether what is left out as removed was removed. The records that say so are never removed themselves, and stand
    /// behind what they removed: a file that has all records to the end has them.
    fn compare_removals(&mut self, header: &Header) -> Result<(), Fault> {
        let unexplained = std::mem::take(&mut self.removals).unexplained();
        let has_all = header.filter.is_none() && header.to == header.size;
        match unexplained.first() {
            Some(run) if has_all => Err(Fault::Withheld { from: run.start, to: run.end, why: Why::Removed }),
            _ => {
                let records = unexplained.iter().map(|run| run.end.saturating_sub(run.start));
                self.skipped.removed_unexplained = records.fold(0, u64::saturating_add);
                Ok(())
            }
        }
    }

    /// Whether the checkpoint says of the last record what the record says.
    fn compare_end(&self, checkpoint: &Checkpoint) -> Result<(), Fault> {
        let Some(last) = self.chain.last() else { return Ok(()) };
        let is_the_last = last.sequence.checked_add(1) == Some(checkpoint.size);
        if is_the_last && last.history != checkpoint.origin.history {
            return Err(Fault::History { record: last.history, checkpoint: checkpoint.origin.history });
        }
        if last.time_ms > checkpoint.time_ms || is_the_last && last.time_ms != checkpoint.time_ms {
            return Err(Fault::Time { record_ms: last.time_ms, checkpoint_ms: checkpoint.time_ms });
        }
        Ok(())
    }

    /// Keeps the root, if the tree has just the size of a checkpoint that was seen before.
    fn note_witnessed(&mut self) {
        if self.next_witnessed.is_none_or(|size| size > self.tree.size()) {
            return;
        }
        let (size, root) = (self.tree.size(), self.tree.root());
        for (seen, root_here) in &mut self.witnessed {
            if seen.checkpoint().size == size {
                *root_here = Some(root);
            }
        }
        self.await_witnessed();
    }

    fn await_witnessed(&mut self) {
        let sizes = self.witnessed.iter().map(|(seen, _)| seen.checkpoint().size);
        self.next_witnessed = sizes.filter(|size| *size > self.tree.size()).min();
    }

    fn header(&self) -> Result<&Header, Fault> {
        self.opened.as_ref().map(|opened| &opened.header).ok_or(Fault::NotAnExport)
    }

    fn malformed(&self, what: &'static str) -> Fault {
        Fault::Malformed { line: self.line, what }
    }

    /// A line follows that goes on at `from`. Records before it that no hashes followed are too many, if the file had come to
    /// there without them.
    fn end_run(&mut self, from: u64) -> Result<(), Fault> {
        if self.run.is_empty() {
            return Ok(());
        }
        if from != self.next || self.strange_line().is_some() {
            return Err(self.no_hashes());
        }
        if self.suspect.is_none() {
            self.suspect = block::compare(self.next, self.line, &self.run, &[]);
        }
        self.run.clear();
        Ok(())
    }

    /// A line of `count` hashes from `from` on came, and an earlier record was due.
    fn too_far(&self, from: u64, count: usize) -> Fault {
        let first = self.run.first().and_then(|seen| seen.link).map(|link| link.sequence);
        if self.run.is_empty() || first == Some(from) {
            self.gap(from)
        } else if self.run.len() > count {
            self.no_hashes()
        } else {
            Fault::OutOfPlace { line: self.line, from, next: self.next }
        }
    }

    /// Records were not followed by their hashes: because the line is gone, or is not one any more.
    fn no_hashes(&self) -> Fault {
        self.strange_line().unwrap_or(Fault::NoHashes { from: self.next })
    }

    fn gap(&self, to: u64) -> Fault {
        self.strange_line().unwrap_or(Fault::Gap { from: self.next, to })
    }

    fn truncated(&self) -> Fault {
        if self.opened.is_none() {
            return Fault::NotAnExport;
        }
        let strange =
            self.run.last().filter(|seen| !self.cut && seen.line == self.line && seen.link.is_none());
        match strange {
            Some(_) => self.malformed(STRANGE),
            None => Fault::Truncated { line: self.line, next: self.next },
        }
    }

    /// The first line of those in hand that is neither a record nor anything else.
    fn strange_line(&self) -> Option<Fault> {
        let strange = self.run.iter().find(|seen| seen.link.is_none())?;
        Some(Fault::Malformed { line: strange.line, what: STRANGE })
    }
}

const STRANGE: &str = "it is no line of an export";

fn length(hashes: &[Hash]) -> u64 {
    u64::try_from(hashes.len()).unwrap_or(u64::MAX)
}
