//! One thing wrong, put into a history that was right: what a bug of the product would make a client see.

use crate::{
    dice::Dice,
    operation::{Asked, Consistency, Did, Event, Operation, Outcome},
    verdict::Rule,
};

use super::{BASE, Simulation, Truth};

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
        let places = self.places(simulation);
        let Some(place) = dice.pick(&places) else { return false };
        let Simulation { operations, truth, .. } = simulation;
        place.fill(self, operations, truth);
        true
    }

    /// Where it can be put.
    fn places(self, simulation: &Simulation) -> Vec<Place> {
        let Simulation { operations, truth, .. } = simulation;
        let indexes = 0..operations.len();
        match self {
            Self::StaleState | Self::Age => {
                indexes.filter_map(|read| stale_state(self, operations, truth, read)).collect()
            }
            Self::StaleValue | Self::DoubleApply | Self::LostWrite => {
                indexes.flat_map(|write| overwritten(self, operations, truth, write)).collect()
            }
            Self::FutureRead => indexes.flat_map(|write| foreseen(operations, write)).collect(),
            Self::Invented => {
                let confirmed =
                    |index: &usize| confirmed(&operations[*index]).is_some_and(|saw| !saw.is_empty());
                indexes.filter(confirmed).map(|index| Place { value: u64::MAX, ..Place::of(index) }).collect()
            }
            Self::RefusedTakesEffect => {
                let seen = |index: &usize| {
                    acknowledged(&operations[*index])
                        .is_some_and(|(_, set)| operations.iter().any(|o| saw(o, &set[0].0, set[0].1)))
                };
                indexes.filter(seen).map(Place::of).collect()
            }
            Self::HalfChange => indexes.flat_map(|index| half(operations, truth, index)).collect(),
            Self::SharedRevision => {
                let writes: Vec<usize> =
                    indexes.filter(|index| acknowledged(&operations[*index]).is_some()).collect();
                writes.windows(2).map(|two| Place { other: two[1], ..Place::of(two[0]) }).collect()
            }
            Self::SessionBack => indexes.flat_map(|index| session_back(operations, index)).collect(),
            Self::MinRevision => {
                let fits = |index: &usize| {
                    matches!(&operations[*index].did, Did::Read { asked: Asked::MinRevision(minimum), .. } if *minimum > BASE)
                        && operations[*index].outcome == Outcome::Ok
                };
                indexes.filter(fits).map(Place::of).collect()
            }
            Self::Unconfirmed => {
                let fits = |index: &usize| {
                    matches!(
                        &operations[*index].did,
                        Did::Read { asked: Asked::Critical | Asked::Linearizable, .. }
                    )
                };
                indexes.filter(fits).map(Place::of).collect()
            }
            Self::Unavailable => {
                let fits = |index: &usize| {
                    matches!(&operations[*index].did, Did::Read { asked: Asked::Ordinary, .. })
                };
                indexes.filter(fits).map(Place::of).collect()
            }
            Self::StreamLost
            | Self::StreamHidden
            | Self::StreamTwice
            | Self::StreamSwapped
            | Self::StreamAltered
            | Self::StreamHalf
            | Self::StreamOlder
            | Self::StreamElsewhere => {
                indexes.filter_map(|index| in_stream(self, operations, index)).collect()
            }
        }
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

    fn fill(&self, plant: Plant, operations: &mut Vec<Operation>, truth: &Truth) {
        let Self { index, other, flag, value, revision } = *self;
        match plant {
            Plant::StaleState | Plant::SessionBack => set_revision(&mut operations[index], revision, truth),
            Plant::Age => {
                if let Did::Read { age_ms, .. } = &mut operations[index].did {
                    *age_ms = Some(0);
                }
            }
            Plant::StaleValue | Plant::Invented => set_value(&mut operations[index], flag, Some(value)),
            Plant::HalfChange => {
                let Did::Read { saw, .. } = &operations[index].did else { return };
                let before = truth.value(&saw[flag].0, revision - 1);
                set_value(&mut operations[index], flag, before);
            }
            Plant::LostWrite | Plant::DoubleApply => {
                let Some((_, set)) = acknowledged(&operations[other]) else { return };
                let (name, newer) = set[0].clone();
                // A write that is lost never was: the value before it stays. One that comes again ends the newer one in
                // the midst of it.
                let from = if plant == Plant::LostWrite { 0 } else { operations[index].start_ns };
                let instead = Some(value).filter(|value| *value != u64::MAX);
                for operation in operations {
                    if operation.start_ns < from {
                        continue;
                    }
                    match &mut operation.did {
                        Did::Read { saw: seen, .. }
                        | Did::Stream { event: Event::Snapshot { flags: seen, .. }, .. } => {
                            for seen in seen.iter_mut().filter(|seen| seen.0 == name && seen.1 == Some(newer))
                            {
                                seen.1 = instead;
                            }
                        }
                        _ => {}
                    }
                }
            }
            Plant::FutureRead => set_value(&mut operations[index], flag, Some(value)),
            Plant::RefusedTakesEffect => {
                let write = &mut operations[index];
                (write.outcome, write.revision) = (Outcome::Failed, None);
            }
            Plant::SharedRevision => operations[index].revision = operations[other].revision,
            Plant::MinRevision => {
                let Did::Read { asked: Asked::MinRevision(minimum), .. } = operations[index].did else {
                    return;
                };
                set_revision(&mut operations[index], minimum - 1, truth);
            }
            Plant::Unconfirmed => {
                let read = &mut operations[index];
                if let Did::Read { consistency, .. } = &mut read.did {
                    *consistency = Some(Consistency::Local);
                }
            }
            Plant::Unavailable => {
                let read = &mut operations[index];
                (read.outcome, read.revision) = (Outcome::Failed, None);
                if let Did::Read { saw, consistency, age_ms, .. } = &mut read.did {
                    (*consistency, *age_ms) = (None, None);
                    saw.clear();
                }
            }
            Plant::StreamLost => {
                operations.remove(index);
            }
            Plant::StreamHidden => hide(operations, index),
            Plant::StreamTwice => {
                let again = Operation { op: operations.len() as u64 + 1, ..operations[index].clone() };
                operations.insert(index + 1, again);
            }
            Plant::StreamSwapped => {
                let (one, two) = (operations[index].clone(), operations[other].clone());
                (operations[index].revision, operations[index].did) = (two.revision, two.did);
                (operations[other].revision, operations[other].did) = (one.revision, one.did);
            }
            Plant::StreamAltered => {
                if let Did::Stream { event: Event::Change { set, .. }, .. } = &mut operations[index].did {
                    set[0].1 = value;
                }
            }
            Plant::StreamHalf => {
                if let Did::Stream { event: Event::Change { set, .. }, .. } = &mut operations[index].did {
                    set.pop();
                }
            }
            Plant::StreamOlder => {
                let Operation { client, node, end_ns, .. } = operations[index];
                let Did::Stream { stream, .. } = operations[index].did else { return };
                let event = Event::Snapshot { touched: truth.touched(revision), flags: truth.all(revision) };
                let older = Operation {
                    op: operations.len() as u64 + 1,
                    client,
                    node,
                    session: None,
                    start_ns: end_ns,
                    end_ns,
                    outcome: Outcome::Ok,
                    revision: Some(revision),
                    did: Did::Stream { stream, event },
                };
                operations.insert(index + 1, older);
            }
            Plant::StreamElsewhere => {
                if let Did::Stream { event: Event::Asked { after: Some(after) }, .. } =
                    &mut operations[index].did
                {
                    *after += 1;
                }
            }
        }
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

fn set_revision(operation: &mut Operation, revision: u64, truth: &Truth) {
    operation.revision = Some(revision);
    if let Did::Read { saw, age_ms, .. } = &mut operation.did {
        *age_ms = None;
        for (flag, value) in saw {
            *value = truth.value(flag, revision);
        }
    }
}

fn set_value(operation: &mut Operation, flag: usize, value: Option<u64>) {
    if let Did::Read { saw, .. } = &mut operation.did {
        saw[flag].1 = value;
    }
}

/// A read before which a revision was acknowledged that it does not get; or a read of an old state that may state an age.
fn stale_state(plant: Plant, operations: &[Operation], truth: &Truth, index: usize) -> Option<Place> {
    let read = &operations[index];
    let Did::Read { consistency: Some(consistency), .. } = read.did else { return None };
    let newest = operations
        .iter()
        .filter(|other| other.end_ns < read.start_ns)
        .filter_map(acknowledged)
        .map(|(r, _)| r)
        .max();
    let newest = newest.filter(|newest| *newest > BASE)?;
    match plant {
        Plant::Age => {
            (consistency == Consistency::Local && read.revision < Some(newest)).then(|| Place::of(index))
        }
        _ => {
            let revision = truth.touched(newest - 1);
            (consistency == Consistency::Linearizable).then(|| Place { revision, ..Place::of(index) })
        }
    }
}

/// Places around a write that another has overwritten, such that the first's value must not be seen any more.
fn overwritten(plant: Plant, operations: &[Operation], truth: &Truth, older: usize) -> Vec<Place> {
    let mut places = Vec::new();
    let Some((revision, set)) = acknowledged(&operations[older]) else { return places };
    let (name, value) = &set[0];
    // The next write of the flag.
    let next = truth.values[name].range(revision + 1..).next().map(|(at, _)| *at);
    let Some(newer) = operations
        .iter()
        .position(|other| acknowledged(other).is_some_and(|(at, set)| Some(at) == next && set[0].0 == *name))
    else {
        return places;
    };
    if operations[older].end_ns >= operations[newer].start_ns {
        return places;
    }
    let Some((newer_revision, newer_set)) = acknowledged(&operations[newer]) else { return places };
    let newer_value = newer_set[0].1;
    for (index, read) in operations.iter().enumerate() {
        let Some(seen) = confirmed(read) else { continue };
        let Some(flag) = seen.iter().position(|(flag, is)| flag == name && *is == Some(newer_value)) else {
            continue;
        };
        if read.start_ns > operations[newer].end_ns && read.revision > Some(newer_revision) {
            let first = Place { other: newer, flag, value: *value, ..Place::of(index) };
            // One that comes again comes when the newer one was seen.
            let was_seen = || {
                operations.iter().any(|other| other.end_ns < read.start_ns && saw(other, name, newer_value))
            };
            if plant != Plant::DoubleApply || was_seen() {
                places.push(first);
            }
        }
    }
    places
}

/// Confirmed reads that ended before the write began.
fn foreseen(operations: &[Operation], write: usize) -> Vec<Place> {
    let Some((_, set)) = acknowledged(&operations[write]) else { return Vec::new() };
    let (name, value) = &set[0];
    let before = operations.iter().enumerate().filter(|(_, read)| read.end_ns < operations[write].start_ns);
    let flag_in = |read| confirmed(read)?.iter().position(|(flag, _)| flag == name);
    before
        .filter_map(|(index, read)| Some(Place { flag: flag_in(read)?, value: *value, ..Place::of(index) }))
        .collect()
}

/// Reads that saw both flags of a change.
fn half(operations: &[Operation], truth: &Truth, index: usize) -> Vec<Place> {
    let read = &operations[index];
    let (Did::Read { saw, .. }, Some(at)) = (&read.did, read.revision) else { return Vec::new() };
    let mut places = Vec::new();
    for change in truth.changes.iter().filter(|change| change.set.len() == 2 && change.revision <= at) {
        let of = |(name, value): &(String, u64)| {
            saw.iter().position(|(flag, is)| flag == name && *is == Some(*value))
        };
        if let [Some(_), Some(flag)] = [of(&change.set[0]), of(&change.set[1])] {
            places.push(Place { flag, revision: change.revision, ..Place::of(index) });
        }
    }
    places
}

/// A read of a session before which the session knew more than the beginning.
fn session_back(operations: &[Operation], index: usize) -> Option<Place> {
    let read = &operations[index];
    let session = read.session?;
    let before = operations[..index].iter().filter(|other| other.session == Some(session));
    let known = before.filter_map(|other| other.revision).max()?;
    (read.revision.is_some() && known > BASE).then(|| Place { revision: known - 1, ..Place::of(index) })
}

fn change_of(operation: &Operation) -> Option<(u64, &Vec<(String, u64)>)> {
    match &operation.did {
        Did::Stream { stream, event: Event::Change { set, .. } } => Some((*stream, set)),
        _ => None,
    }
}

fn in_stream(plant: Plant, operations: &[Operation], index: usize) -> Option<Place> {
    let this = &operations[index];
    let place = Place::of(index);
    if plant == Plant::StreamElsewhere {
        let resumes = matches!(this.did, Did::Stream { event: Event::Asked { after: Some(_) }, .. });
        return resumes.then_some(place);
    }
    let (stream, set) = change_of(this)?;
    let of_stream = |other: &&Operation| matches!(other.did, Did::Stream { stream: of, .. } if of == stream);
    let next =
        operations[index + 1..].iter().position(|other| of_stream(&other)).map(|next| index + 1 + next);
    match plant {
        Plant::StreamTwice => Some(place),
        Plant::StreamAltered => Some(Place { value: u64::MAX, ..place }).map(|place| {
            // With a value that somebody else wrote.
            let another = operations
                .iter()
                .filter_map(acknowledged)
                .find(|(_, other)| other[0].0 == set[0].0 && other[0].1 != set[0].1);
            another.map(|(_, other)| Place { value: other[0].1, ..place })
        })?,
        Plant::StreamHalf => (set.len() == 2).then_some(place),
        Plant::StreamOlder => {
            let revision = this.revision?.checked_sub(1).filter(|older| *older >= BASE)?;
            Some(Place { revision, ..place })
        }
        Plant::StreamHidden => {
            let revision = this.revision;
            operations
                .iter()
                .any(|o| acknowledged(o).is_some_and(|(at, _)| Some(at) == revision))
                .then_some(place)?;
            // Somebody is sent a later one.
            let followed = operations.iter().any(|o| change_of(o).is_some() && o.revision > revision);
            followed.then_some(place)
        }
        Plant::StreamLost | Plant::StreamSwapped => {
            let next = next.filter(|next| change_of(&operations[*next]).is_some())?;
            Some(Place { other: next, ..place })
        }
        _ => None,
    }
}

/// Takes a change out of all streams, and out of what their events say of it.
fn hide(operations: &mut Vec<Operation>, index: usize) {
    let Some(hidden) = operations[index].revision else { return };
    let Did::Stream { event: Event::Change { previous: before, .. }, .. } = operations[index].did else {
        return;
    };
    let is_hidden = |o: &Operation| change_of(o).is_some() && o.revision == Some(hidden);
    operations.retain(|operation| !is_hidden(operation));
    for operation in operations {
        let Did::Stream { event, .. } = &mut operation.did else { continue };
        match event {
            Event::Change { previous: link, .. }
            | Event::Progress { touched: link }
            | Event::Snapshot { touched: link, .. }
                if *link == hidden =>
            {
                *link = before;
            }
            _ => {}
        }
    }
}
