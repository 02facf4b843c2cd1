//! Whoever knows how a node keeps its log, and makes another one that fits together.

use flagraft_core::record::{Record, RecordOutcome};

use super::sound::{SIZE, Sound, record};

/// What is made of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forgery {
    /// One record says something else.
    Rewrite,
    /// One record is earlier than it was, and than the one before it.
    BackDateBeforeLast,
    /// One record is earlier than it was, though not than the one before it.
    BackDate,
    /// One record is gone, and those after it are counted anew.
    Delete,
    /// One record is too many, and those after it are counted anew.
    Insert,
    /// Two records have changed their places.
    Reorder,
    /// The last records are gone.
    Truncate,
    /// All from one record on are others.
    Fork,
}

impl Forgery {
    pub(super) const ALL: [Self; 8] = [
        Self::Rewrite,
        Self::BackDateBeforeLast,
        Self::BackDate,
        Self::Delete,
        Self::Insert,
        Self::Reorder,
        Self::Truncate,
        Self::Fork,
    ];

    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Rewrite => "rewrite",
            Self::BackDateBeforeLast | Self::BackDate => "back-date",
            Self::Delete => "delete",
            Self::Insert => "insert",
            Self::Reorder => "reorder",
            Self::Truncate => "truncate",
            Self::Fork => "fork",
        }
    }

    /// The forged log, as it was before the record `at`.
    pub(super) fn made(self, sound: &Sound, at: u64, random: &mut fastrand::Rng) -> Vec<Vec<u8>> {
        let place = usize::try_from(at).expect("small");
        let mut rows = sound.rows[..usize::try_from(SIZE).expect("small")].to_vec();
        let mut tail: Vec<Record> = rows.split_off(place).iter().map(|row| record(row)).collect();
        let before = record(rows.last().expect("not the first one"));
        match self {
            Self::Rewrite => tail[0].reason = "nothing happened".to_owned(),
            Self::BackDateBeforeLast => tail[0].time_ms = before.time_ms - 1 - random.i64(0..100_000),
            Self::BackDate => tail[0].time_ms = random.i64(before.time_ms..tail[0].time_ms),
            Self::Delete => drop(tail.remove(0)),
            Self::Insert => {
                let mut made_up = tail[0].clone();
                made_up.outcome = RecordOutcome::Unchanged;
                made_up.revision_after = made_up.revision_before;
                made_up.salt = random.u128(..).to_be_bytes();
                tail.insert(0, made_up);
            }
            Self::Reorder => {
                let other = random.usize(1..tail.len());
                tail.swap(0, other);
                let times = (tail[0].time_ms, tail[other].time_ms);
                (tail[other].time_ms, tail[0].time_ms) = times;
            }
            Self::Truncate => tail.clear(),
            Self::Fork => {
                for record in &mut tail {
                    record.reason = "nothing happened".to_owned();
                    record.salt = random.u128(..).to_be_bytes();
                }
            }
        }
        rows.extend(counted_anew(&before, tail));
        rows
    }
}

/// The records as they go on from the one before them.
fn counted_anew(before: &Record, records: Vec<Record>) -> impl Iterator<Item = Vec<u8>> {
    let (mut sequence, mut revision) = (before.sequence, before.revision_after);
    records.into_iter().map(move |mut record| {
        let taken = record.revision_after - record.revision_before;
        sequence += 1;
        record.sequence = sequence;
        record.revision_before = revision;
        revision += taken;
        record.revision_after = revision;
        record.to_bytes().bytes
    })
}
