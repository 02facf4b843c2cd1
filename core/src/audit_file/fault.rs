//! What is wrong with a file.

use std::fmt;

use super::{FORMAT, Why};
use crate::{
    checkpoint::{CheckpointError, NotBelieved, Origin},
    identity::History,
    note::NoteError,
    record::Broken,
    signing,
};

/// What is wrong with a file: the first that is found, and where. Lines are counted from 1, records by their sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its first line is not that of an export.
    NotAnExport,
    /// It is of a later version of the format.
    TooNew(u64),
    /// A line that is no record is not as it has to be.
    Malformed {
        /// Which.
        line: u64,
        /// What of it.
        what: &'static str,
    },
    /// It ends before its end.
    Truncated {
        /// The last line that there is.
        line: u64,
        /// The record up to which the file accounts for all.
        next: u64,
    },
    /// Something follows its end.
    AfterEnd {
        /// The line.
        line: u64,
    },
    /// A record is not the one that was recorded.
    Rewritten {
        /// Which.
        sequence: u64,
        /// Where it stands.
        line: u64,
    },
    /// A record is missing, though its hash is there.
    Missing {
        /// Which.
        sequence: u64,
    },
    /// A record is there a second time.
    Duplicate {
        /// Which.
        sequence: u64,
        /// Where the second one stands.
        line: u64,
    },
    /// There is a record that was never recorded.
    Inserted {
        /// The record before which it stands.
        before: u64,
        /// Where it stands.
        line: u64,
    },
    /// Records are there, but not in their order.
    Reordered {
        /// The first place that is not held by the record that belongs there.
        sequence: u64,
    },
    /// The records are good, and the line of their hashes is not.
    Hashes {
        /// The first record that it is for.
        from: u64,
        /// Where it stands.
        line: u64,
    },
    /// Records are not followed by a line of their hashes.
    NoHashes {
        /// The first of them.
        from: u64,
    },
    /// A line is for records that are accounted for already: it is there twice, or not in its place.
    OutOfPlace {
        /// The line.
        line: u64,
        /// The record from which on it is.
        from: u64,
        /// The record up to which the file had accounted for all.
        next: u64,
    },
    /// Records are neither there nor accounted for.
    Gap {
        /// The first.
        from: u64,
        /// The one behind the last.
        to: u64,
    },
    /// Records are left out for a reason that does not hold.
    Withheld {
        /// The first.
        from: u64,
        /// The one behind the last.
        to: u64,
        /// The reason that is given.
        why: Why,
    },
    /// The columns of a row do not say what its record says.
    Columns {
        /// The record.
        sequence: u64,
        /// Where it stands.
        line: u64,
    },
    /// A record does not go on from the one before it, and its hash says so as well.
    Broken {
        /// The record.
        sequence: u64,
        /// How.
        how: Broken,
    },
    /// A record holds a signature of its author that is not one.
    Signature {
        /// The record.
        sequence: u64,
        /// What is wrong with it.
        how: signing::Fault,
    },
    /// What is no record was altered, though not so that it would mean something else.
    Altered,
    /// It has another number of records than it says.
    Count {
        /// What it says.
        stated: u64,
        /// How many there are.
        found: u64,
    },
    /// The checkpoint is not a signed note, or a trusted key's signature is forged.
    Note(NoteError),
    /// Too few of the trusted nodes signed the checkpoint.
    Quorum {
        /// How many did.
        signed: usize,
        /// How many have to.
        needed: usize,
    },
    /// What was signed is not a checkpoint.
    Checkpoint(CheckpointError),
    /// The checkpoint is of another log than the file says.
    Origin {
        /// What the file says.
        file: Origin,
        /// What was signed.
        checkpoint: Origin,
    },
    /// The checkpoint is of another size than the file.
    Size {
        /// What the file accounts for.
        file: u64,
        /// What was signed.
        checkpoint: u64,
    },
    /// What the file accounts for does not have the root that was signed.
    Root,
    /// The last record is of another history than the checkpoint.
    History {
        /// The record's.
        record: History,
        /// The checkpoint's.
        checkpoint: History,
    },
    /// The checkpoint's time is not that of the last record, or is before that of a record.
    Time {
        /// The last record's that is in the file, in milliseconds since 1970 UTC.
        record_ms: i64,
        /// The checkpoint's.
        checkpoint_ms: i64,
    },
    /// The log is not the one that was seen before.
    Fork {
        /// The size of the checkpoint that was seen.
        size: u64,
        /// The log of which that was.
        seen: Origin,
    },
    /// Nothing in the file, and no proof, relates it to a checkpoint that was seen before.
    Unrelated {
        /// The size of the checkpoint that was seen.
        size: u64,
    },
}

impl From<NotBelieved> for Fault {
    fn from(why: NotBelieved) -> Self {
        match why {
            NotBelieved::Note(error) => Self::Note(error),
            NotBelieved::Checkpoint(error) => Self::Checkpoint(error),
            NotBelieved::Quorum { signed, needed } => Self::Quorum { signed, needed },
        }
    }
}

impl Fault {
    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAnExport => "not_an_export",
            Self::TooNew(_) => "too_new",
            Self::Malformed { .. } => "malformed",
            Self::Truncated { .. } => "truncated",
            Self::AfterEnd { .. } => "after_end",
            Self::Rewritten { .. } => "rewritten",
            Self::Missing { .. } => "missing",
            Self::Duplicate { .. } => "duplicate",
            Self::Inserted { .. } => "inserted",
            Self::Reordered { .. } => "reordered",
            Self::Hashes { .. } => "hashes",
            Self::NoHashes { .. } => "no_hashes",
            Self::OutOfPlace { .. } => "out_of_place",
            Self::Gap { .. } => "gap",
            Self::Withheld { .. } => "withheld",
            Self::Columns { .. } => "columns",
            Self::Broken { how, .. } => match how {
                Broken::Sequence { .. } => "sequence",
                Broken::Group { .. } => "foreign_group",
                Broken::History { .. } => "foreign_history",
                Broken::Revision { .. } => "revision",
                Broken::Time { .. } => "back_dated",
            },
            Self::Signature { .. } => "author_signature",
            Self::Altered => "altered",
            Self::Count { .. } => "count",
            Self::Note(NoteError::BadSignature(_)) => "forged_signature",
            Self::Note(_) => "bad_note",
            Self::Quorum { .. } => "quorum",
            Self::Checkpoint(_) => "bad_checkpoint",
            Self::Origin { .. } => "origin",
            Self::Size { .. } => "size",
            Self::Root => "root",
            Self::History { .. } => "foreign_history",
            Self::Time { .. } => "checkpoint_time",
            Self::Fork { .. } => "fork",
            Self::Unrelated { .. } => "unrelated",
        }
    }

    /// The record that it concerns, where it concerns one.
    pub fn sequence(&self) -> Option<u64> {
        match *self {
            Self::Rewritten { sequence, .. }
            | Self::Missing { sequence }
            | Self::Duplicate { sequence, .. }
            | Self::Reordered { sequence }
            | Self::Columns { sequence, .. }
            | Self::Signature { sequence, .. }
            | Self::Broken { sequence, .. } => Some(sequence),
            Self::Inserted { before, .. } => Some(before),
            Self::Hashes { from, .. }
            | Self::NoHashes { from }
            | Self::Gap { from, .. }
            | Self::Withheld { from, .. } => Some(from),
            Self::Truncated { next, .. } => Some(next),
            _ => None,
        }
    }
}

/// The records from one to before another, for people.
struct Records(u64, u64);

impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.1.saturating_sub(1);
        if self.0 == last { write!(f, "record {last}") } else { write!(f, "records {} to {last}", self.0) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnExport => f.write_str(
                "line 1 is not that of an audit export; name a file that `flagraft audit export` wrote, unaltered",
            ),
            Self::TooNew(format) => write!(
                f,
                "the file is of format {format}, and this program knows format {FORMAT}; use a newer flagraft"
            ),
            Self::Malformed { line, what } => write!(f, "line {line}: {what}"),
            Self::Truncated { line, next } => write!(
                f,
                "the file is cut off after line {line}: all is accounted for up to record {next}, and its end is missing"
            ),
            Self::AfterEnd { line } => write!(f, "line {line} follows the end of the file"),
            Self::Rewritten { sequence, line } => {
                write!(f, "record {sequence} (line {line}) was rewritten: it is not the record that the log has there")
            }
            Self::Missing { sequence } => {
                write!(f, "record {sequence} is missing: its hash is in the file, and the record is not")
            }
            Self::Duplicate { sequence, line } => write!(f, "line {line} is record {sequence} a second time"),
            Self::Inserted { before, line } => {
                write!(f, "line {line}, before record {before}, is a record that the log does not have")
            }
            Self::Reordered { sequence } => {
                write!(f, "the records are not in their order: another one stands in the place of record {sequence}")
            }
            Self::Hashes { from, line } => write!(
                f,
                "line {line}, the hashes of the records from {from} on, was altered; the records themselves are those of the log"
            ),
            Self::NoHashes { from } => write!(f, "the line with the hashes of the records from {from} on is missing"),
            Self::OutOfPlace { line, from, next } => write!(
                f,
                "line {line} is for the records from {from} on, and stands where record {next} comes next"
            ),
            Self::Gap { from, to } => write!(
                f,
                "there is a gap: {} can neither be found in the file nor be accounted for",
                Records(*from, *to)
            ),
            Self::Withheld { from, to, why } => write!(
                f,
                "{} should be in the file: it leaves them out by reason of {:?}, which does not hold for what was asked for",
                Records(*from, *to),
                why.word()
            ),
            Self::Columns { sequence, line } => write!(
                f,
                "the columns of line {line} were altered: they do not say what record {sequence} in the last one says"
            ),
            Self::Broken { sequence, how } => {
                write!(f, "record {sequence} does not go on from the one before it: {how}")
            }
            Self::Signature { sequence, how } => write!(
                f,
                "record {sequence} was not signed by whom it names, though the nodes signed for it: {how}. Somebody who runs \
                 nodes made it up"
            ),
            Self::Altered => f.write_str(
                "a part of the file that is not a record was altered, for instance what it says of its range, filter, time or keys",
            ),
            Self::Count { stated, found } => {
                write!(f, "the file says that it has {stated} records, and it has {found}")
            }
            Self::Note(error) => NotBelieved::Note(error.clone()).fmt(f),
            Self::Quorum { signed, needed } => NotBelieved::Quorum { signed: *signed, needed: *needed }.fmt(f),
            Self::Checkpoint(error) => NotBelieved::Checkpoint(*error).fmt(f),
            Self::Origin { file, checkpoint } => {
                write!(f, "the file says that it is of {file}, and its checkpoint is of {checkpoint}")
            }
            Self::Size { file, checkpoint } => write!(
                f,
                "the checkpoint proves {checkpoint} records, and the file accounts for {file}: they do not belong together"
            ),
            Self::Root => f.write_str(
                "the log was rewritten: what the file accounts for does not have the root that the nodes signed. \
                 Somebody altered a record, or what is left out, and the hashes with it",
            ),
            Self::History { record, checkpoint } => {
                write!(f, "the last record is of the history {record}, and the checkpoint of {checkpoint}")
            }
            Self::Time { record_ms, checkpoint_ms } => write!(
                f,
                "the checkpoint says that the last record is of {checkpoint_ms} ms since 1970, and a record is of {record_ms}"
            ),
            Self::Fork { size, seen } => write!(
                f,
                "the log has forked: its first {size} records are not those of the checkpoint of {seen} that was seen before. \
                 Both were signed, so somebody shows different logs to different people, or the cluster was restored to an \
                 earlier state since: compare the histories"
            ),
            Self::Unrelated { size } => write!(
                f,
                "the file can't be compared with the checkpoint of {size} records that was seen before; export from record \
                 {size} or an earlier one on, or add a consistency proof to that checkpoint"
            ),
        }
    }
}

impl std::error::Error for Fault {}
