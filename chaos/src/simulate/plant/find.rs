//! Where a history has a place for something wrong.

use crate::operation::{Asked, Consistency, Did, Event, Operation, Outcome};

use super::{
    super::{BASE, Simulation, Truth},
    Place, Plant, acknowledged, change_of, confirmed, saw,
};

/// Where something can be made wrong such that it is certainly wrong then.
pub(super) fn places(plant: Plant, simulation: &Simulation) -> Vec<Place> {
    let Simulation { operations, truth, .. } = simulation;
    let indexes = 0..operations.len();
    match plant {
        Plant::StaleState | Plant::Age => {
            indexes.filter_map(|read| stale_state(plant, operations, truth, read)).collect()
        }
        Plant::StaleValue | Plant::DoubleApply | Plant::LostWrite => {
            indexes.flat_map(|write| overwritten(plant, operations, truth, write)).collect()
        }
        Plant::FutureRead => indexes.flat_map(|write| foreseen(operations, write)).collect(),
        Plant::Invented => {
            let confirmed = |index: &usize| confirmed(&operations[*index]).is_some_and(|saw| !saw.is_empty());
            indexes.filter(confirmed).map(|index| Place { value: u64::MAX, ..Place::of(index) }).collect()
        }
        Plant::RefusedTakesEffect => {
            let seen = |index: &usize| {
                acknowledged(&operations[*index])
                    .is_some_and(|(_, set)| operations.iter().any(|o| saw(o, &set[0].0, set[0].1)))
            };
            indexes.filter(seen).map(Place::of).collect()
        }
        Plant::HalfChange => indexes.flat_map(|index| half(operations, truth, index)).collect(),
        Plant::SharedRevision => {
            let writes: Vec<usize> =
                indexes.filter(|index| acknowledged(&operations[*index]).is_some()).collect();
            writes.windows(2).map(|two| Place { other: two[1], ..Place::of(two[0]) }).collect()
        }
        Plant::SessionBack => indexes.flat_map(|index| session_back(operations, index)).collect(),
        Plant::MinRevision => {
            let fits = |index: &usize| {
                matches!(&operations[*index].did, Did::Read { asked: Asked::MinRevision(minimum), .. } if *minimum > BASE)
                    && operations[*index].outcome == Outcome::Ok
            };
            indexes.filter(fits).map(Place::of).collect()
        }
        Plant::Unconfirmed => {
            let fits = |index: &usize| {
                matches!(
                    &operations[*index].did,
                    Did::Read { asked: Asked::Critical | Asked::Linearizable, .. }
                )
            };
            indexes.filter(fits).map(Place::of).collect()
        }
        Plant::Unavailable => {
            let fits =
                |index: &usize| matches!(&operations[*index].did, Did::Read { asked: Asked::Ordinary, .. });
            indexes.filter(fits).map(Place::of).collect()
        }
        Plant::StreamLost
        | Plant::StreamHidden
        | Plant::StreamTwice
        | Plant::StreamSwapped
        | Plant::StreamAltered
        | Plant::StreamHalf
        | Plant::StreamOlder
        | Plant::StreamElsewhere => indexes.filter_map(|index| in_stream(plant, operations, index)).collect(),
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
        // With a value that somebody else wrote.
        Plant::StreamAltered => operations
            .iter()
            .filter_map(acknowledged)
            .find(|(_, other)| other[0].0 == set[0].0 && other[0].1 != set[0].1)
            .map(|(_, other)| Place { value: other[0].1, ..place }),
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
