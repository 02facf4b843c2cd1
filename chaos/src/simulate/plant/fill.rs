//! How a history is made wrong, once it is decided where.

use crate::operation::{Asked, Consistency, Did, Event, Operation, Outcome};

use super::{super::Truth, Place, Plant, acknowledged, change_of};

/// Makes it wrong there.
pub(super) fn fill(place: &Place, plant: Plant, operations: &mut Vec<Operation>, truth: &Truth) {
    let Place { index, other, flag, value, revision } = *place;
    match plant {
        Plant::StaleState | Plant::SessionBack => set_revision(&mut operations[index], revision, truth),
        Plant::Age => {
            if let Did::Read { age_ms, .. } = &mut operations[index].did {
                *age_ms = Some(0);
            }
        }
        Plant::StaleValue | Plant::FutureRead | Plant::Invented => {
            set_value(&mut operations[index], flag, Some(value));
        }
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
            for operation in operations {
                if operation.start_ns < from {
                    continue;
                }
                match &mut operation.did {
                    Did::Read { saw: seen, .. }
                    | Did::Stream { event: Event::Snapshot { flags: seen, .. }, .. } => {
                        for seen in seen.iter_mut().filter(|seen| seen.0 == name && seen.1 == Some(newer)) {
                            seen.1 = Some(value);
                        }
                    }
                    _ => {}
                }
            }
        }
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
            if let Did::Stream { event: Event::Asked { after: Some(after) }, .. } = &mut operations[index].did
            {
                *after += 1;
            }
        }
    }
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
