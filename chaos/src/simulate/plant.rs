//! One thing wrong, put into a history that was right: what a bug of the product would make a client see.

mod fill;
mod find;

use crate::{
    dice::Dice,
    operation::{Consistency, Did, Event, Operation, Outcome},
    verdict::Rule,
};

use super::Simulation;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plant {
    /// A confirmed read gets a state that was outdated before it began.
    StaleState,
    /// A confirmed read gets the right revision with a value that was overwritten before it began.
    StaleValue,
    /// An acknowledged write is nowhere to be seen.
    LostWrite,
    /// A write is applied again, over a newer one.
    DoubleApply,
    /// A read gets a value before its write begins.
    FutureRead,
    /// A value that nobody wrote.
    Invented,
    /// A write was refused and took effect all the same.
    RefusedTakesEffect,
    /// One flag of a change of two is as it was before.
    HalfChange,
    /// Two writes are answered with one revision.
    SharedRevision,
    /// A session goes back.
    SessionBack,
    /// A minimum revision is not waited for.
    MinRevision,
    /// An old state is stated to be new.
    Age,
    /// A critical flag is answered from local state.
    Unconfirmed,
    /// A living node does not answer.
    Unavailable,
    /// A change is missing from a stream.
    StreamLost,
    /// A change is missing from all streams, and their links say nothing of it.
    StreamHidden,
    /// A change is sent twice.
    StreamTwice,
    /// Two changes are sent in the wrong order.
    StreamSwapped,
    /// A change is sent with another value.
    StreamAltered,
    /// Half of a change is sent.
    StreamHalf,
    /// A stream gets an older snapshot.
    StreamOlder,
    /// A stream goes on after another place than where it was.
    StreamElsewhere,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::StaleState,
        Self::StaleValue,
        Self::LostWrite,
        Self::DoubleApply,
        Self::FutureRead,
        Self::Invented,
        Self::RefusedTakesEffect,
        Self::HalfChange,
        Self::SharedRevision,
        Self::SessionBack,
        Self::MinRevision,
        Self::Age,
        Self::Unconfirmed,
        Self::Unavailable,
        Self::StreamLost,
        Self::StreamHidden,
        Self::StreamTwice,
        Self::StreamSwapped,
        Self::StreamAltered,
        Self::StreamHalf,
        Self::StreamOlder,
        Self::StreamElsewhere,
    ];

    /// The rules of which at least one is certainly broken by it.
    pub fn breaks(self) -> &'static [Rule] {
        match self {
            Self::StaleState => &[Rule::Stale],
            Self::StaleValue | Self::LostWrite | Self::DoubleApply | Self::HalfChange => {
                &[Rule::Replay, Rule::TwoStates]
            }
            Self::FutureRead => &[Rule::Foreseen],
            Self::Invented => &[Rule::Invented],
            Self::RefusedTakesEffect => &[Rule::Refused],
            Self::SharedRevision => &[Rule::SharedRevision],
            Self::SessionBack => &[Rule::Session],
            Self::MinRevision => &[Rule::MinRevision],
            Self::Age => &[Rule::Age],
            Self::Unconfirmed => &[Rule::Unconfirmed],
            Self::Unavailable => &[Rule::Unavailable],
            Self::StreamLost | Self::StreamHidden => &[Rule::StreamReliable],
            Self::StreamTwice => &[Rule::StreamUnique],
            Self::StreamSwapped | Self::StreamOlder => &[Rule::StreamOrdered],
            Self::StreamAltered | Self::StreamHalf => &[Rule::StreamAtomic],
            Self::StreamElsewhere => &[Rule::StreamResumable],
        }
    }

    /// Whether a checker that knows values and times alone is bound to see it too.
    pub fn breaks_zones(self) -> bool {
        let seen = [
            Self::StaleValue,
            Self::LostWrite,
            Self::DoubleApply,
            Self::FutureRead,
            Self::Invented,
            Self::RefusedTakesEffect,
        ];
        seen.contains(&self)
    }

    /// Puts it into the history, where the dice say. False: this history has no place for it, and is as it was.
    pub fn put(self, simulation: &mut Simulation, dice: &mut Dice) -> bool {
        let places = find::places(self, simulation);
        let Some(place) = dice.pick(&places) else { return false };
        let Simulation { operations, truth, .. } = simulation;
        fill::fill(place, self, operations, truth);
        true
    }
}

/// Where something is made wrong: an operation, and what else it takes.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    index: usize,
    other: usize,
    flag: usize,
    value: u64,
    revision: u64,
}

impl Place {
    fn of(index: usize) -> Self {
        Self { index, ..Self::default() }
    }
}

/// An acknowledged write: its revision, and what it set.
fn acknowledged(operation: &Operation) -> Option<(u64, &Vec<(String, u64)>)> {
    match (&operation.did, operation.outcome, operation.revision) {
        (Did::Write { set }, Outcome::Ok, Some(revision)) => Some((revision, set)),
        _ => None,
    }
}

/// A confirmed read: what it saw.
fn confirmed(operation: &Operation) -> Option<&Vec<(String, Option<u64>)>> {
    match &operation.did {
        Did::Read { saw, consistency: Some(Consistency::Linearizable), .. } => Some(saw),
        _ => None,
    }
}

/// Whether this is a confirmed read that saw the value.
fn saw(operation: &Operation, flag: &str, value: u64) -> bool {
    confirmed(operation).is_some_and(|saw| saw.iter().any(|(seen, is)| seen == flag && *is == Some(value)))
}

/// A change that a follower was sent: of which stream, and what it set.
fn change_of(operation: &Operation) -> Option<(u64, &Vec<(String, u64)>)> {
    match &operation.did {
        Did::Stream { stream, event: Event::Change { set, .. } } => Some((*stream, set)),
        _ => None,
    }
}
