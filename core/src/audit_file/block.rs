//! What happened to the records of one block, told from their own hashes and the hashes that the file states.

use super::Fault;
use crate::{
    merkle::{Frontier, Hash},
    record::Link,
    signing::{self, Signer},
};

/// A record as it stands in a file.
pub(super) struct Seen {
    pub hash: Hash,
    pub line: u64,
    /// `None` when it can't be read as a record.
    pub link: Option<Link>,
    /// Whether the columns beside it say what it says.
    pub columns: bool,
    /// Whose signature it holds, or what is wrong with that. `None` where it has none.
    pub signer: Option<Result<Signer, signing::Fault>>,
}

/// The first block in which records and hashes differ. What has become of a record may only be told by blocks that follow,
/// and whether the records or the hashes were altered only by the root.
pub(super) struct Suspect {
    /// What it is by all that is known so far.
    pub fault: Fault,
    /// The block's first record.
    pub from: u64,
    /// The line of its hashes.
    pub line: u64,
    /// The hash that no record of the block has, in the place of the fault.
    lost: Option<Hash>,
    /// The hash of the record that stands there, if the block has no place for it.
    strange: Option<(Hash, u64)>,
    /// The tree of the log with the records' own hashes, as long as there are as many as stated.
    pub own: Option<Frontier>,
}

/// Compares the records of a block with the hashes that are stated for it. `None` when they are the same.
pub(super) fn compare(from: u64, line: u64, seen: &[Seen], stated: &[Hash]) -> Option<Suspect> {
    let place = seen.iter().zip(stated).take_while(|(seen, stated)| seen.hash == **stated).count();
    let sequence = at(from, place);
    let (here, there) = (seen.get(place), stated.get(place));
    let later_here = seen.get(place..).unwrap_or_default();

    let (fault, lost, strange) = match (here, there) {
        (None, None) => return None,
        (None, Some(lost)) => (Fault::Missing { sequence }, Some(*lost), None),
        (Some(here), there) => {
            let belongs = stated.iter().position(|hash| *hash == here.hash);
            let copies = later_here.iter().filter(|seen| seen.hash == here.hash).count();
            let there_is_later = there.is_some_and(|there| later_here.iter().any(|seen| seen.hash == *there));
            let strange = belongs.is_none().then_some((here.hash, here.line));
            let lost = there.filter(|_| !there_is_later).copied();
            let fault = match (belongs, there) {
                (Some(place_of_it), _) if place_of_it < place || copies > 1 => {
                    Fault::Duplicate { sequence: at(from, place_of_it), line: here.line }
                }
                (Some(_), _) if there_is_later => Fault::Reordered { sequence },
                (Some(_), _) => Fault::Missing { sequence },
                (None, Some(_)) if !there_is_later => Fault::Rewritten { sequence, line: here.line },
                (None, _) => match here.link.map(|link| link.sequence).filter(|stated| *stated < from) {
                    Some(sequence) => Fault::Duplicate { sequence, line: here.line },
                    None => Fault::Inserted { before: sequence, line: here.line },
                },
            };
            (fault, lost, strange)
        }
    };
    Some(Suspect { fault, from, line, lost, strange, own: None })
}

impl Suspect {
    /// Looks in a block that follows for what this one has lost, and for the place of what it has too much.
    pub fn look_in(&mut self, from: u64, seen: &[Seen], stated: &[Hash]) {
        let first = match self.fault {
            Fault::Rewritten { sequence, .. } | Fault::Missing { sequence } => sequence,
            Fault::Inserted { before, .. } => before,
            _ => return,
        };
        if let Some((strange, line)) = self.strange
            && let Some(place) = stated.iter().position(|hash| *hash == strange)
        {
            self.fault = if seen.iter().any(|seen| seen.hash == strange) {
                Fault::Duplicate { sequence: at(from, place), line }
            } else {
                Fault::Reordered { sequence: first }
            };
        } else if self.lost.is_some_and(|lost| seen.iter().any(|seen| seen.hash == lost)) {
            self.fault = Fault::Reordered { sequence: first };
        }
    }
}

/// The record at a place of a block.
fn at(from: u64, place: usize) -> u64 {
    from.saturating_add(u64::try_from(place).unwrap_or(u64::MAX))
}
