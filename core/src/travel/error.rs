//! Why an earlier catalog can't be made anew.

use std::fmt;

use crate::rejection::Rejection;

/// Why the catalog can't be brought on from a record.
#[derive(Clone, Debug, PartialEq)]
pub enum NotReplayed {
    /// The changes that led from `after` to `before` are not in the log any more.
    Removed {
        /// The last revision that is known.
        after: u64,
        /// The revision from which on the log goes on.
        before: u64,
    },
    /// Another record belongs here.
    Misplaced {
        /// The sequence that is asked for.
        expected: u64,
        /// What the record says.
        actual: u64,
    },
    /// The record is none, or not one that this version can read.
    Unreadable {
        /// The record's sequence.
        sequence: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The record's revisions do not follow from those before it.
    Contradicts {
        /// The record's sequence.
        sequence: u64,
    },
    /// The change that the record says was accepted can't be made on the catalog that the records before it make.
    Rejected {
        /// The record's sequence.
        sequence: u64,
        /// Why it can't.
        rejection: Rejection,
    },
}

impl fmt::Display for NotReplayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Removed { after, before } => {
                write!(f, "the records that led from revision {after} to {before} are not kept any more")
            }
            Self::Misplaced { expected, actual } => write!(
                f,
                "the audit log has record {actual} where record {expected} belongs; restore this node from its peers or a backup"
            ),
            Self::Unreadable { sequence, why } => write!(
                f,
                "audit record {sequence} can't be read ({why}); run the version that its peers run, or restore this node from them"
            ),
            Self::Contradicts { sequence } => write!(
                f,
                "the revisions of audit record {sequence} do not follow from those before it; verify the audit log"
            ),
            Self::Rejected { sequence, rejection } => write!(
                f,
                "what audit record {sequence} says was done can't be done on what the records before it make ({rejection}); verify the audit log"
            ),
        }
    }
}

impl std::error::Error for NotReplayed {}
