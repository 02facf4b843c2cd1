//! Followers of an environment's stream, which note all that they were sent, and the checker of their notes.
//!
//! A follower knows nothing of how flags are evaluated: it is any program that reads Server-Sent Events, keeps the last
//! id, and asks for what comes after it wherever it finds a node.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::{
    api::Api,
    stream::{Event, Stream},
    wait::pace,
};

/// What happened to a follower, in order.
#[derive(Clone, Debug)]
pub enum Note {
    /// It asked a node for what comes after this id.
    Asked(Option<String>),
    /// It was sent this.
    Sent(Event),
}

/// A client that follows one environment, now through this node and now through that.
#[derive(Debug)]
pub struct Follower {
    notes: Arc<Mutex<Vec<Note>>>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Starts one that asks `nodes` in an order that `seed` decides, and moves on after up to `events_max` events.
    pub fn start(nodes: Vec<Api>, path: String, seed: u64, events_max: usize) -> Self {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let (noted, mut rng) = (Arc::clone(&notes), fastrand::Rng::with_seed(seed));
        let task = tokio::spawn(async move {
            let mut last: Option<String> = None;
            loop {
                let node = &nodes[rng.usize(..nodes.len())];
                let stay_for = rng.usize(1..=events_max);
                follow(node, &path, &mut last, stay_for, &noted).await;
                pace(Duration::from_millis(5)).await;
            }
        });
        Self { notes, task }
    }

    /// The revision up to which it knows everything.
    pub fn position(&self) -> Option<u64> {
        let notes = self.notes.lock().expect("no holder panics");
        notes.iter().rev().find_map(|note| match note {
            Note::Sent(event) => Some(event.revision()),
            Note::Asked(_) => None,
        })
    }

    /// Ends it, and gives its notes.
    ///
    /// # Panics
    /// It did, of what it was sent.
    pub async fn finish(self) -> Vec<Note> {
        self.task.abort();
        if let Err(ended) = self.task.await {
            assert!(ended.is_cancelled(), "a follower ended by itself: {ended}");
        }
        self.notes.lock().expect("no holder panics").clone()
    }
}

/// Reads one stream until it breaks, or so many events came.
async fn follow(
    node: &Api,
    path: &str,
    last: &mut Option<String>,
    mut stay_for: usize,
    notes: &Mutex<Vec<Note>>,
) {
    let note = |note| notes.lock().expect("no holder panics").push(note);
    let mut call = node.get(path);
    if let Some(id) = last.as_deref() {
        call = call.header("last-event-id", id);
    }
    let Ok(answer) = call.begin().await else { return };
    if !answer.status().is_success() {
        assert!(answer.status().is_server_error(), "a good request was refused: {answer:?}");
        return;
    }
    note(Note::Asked(last.clone()));
    let mut stream = Stream::of(answer);
    while stay_for > 0 {
        let Some(event) = stream.next().await else { return };
        *last = Some(event.id.clone());
        note(Note::Sent(event));
        stay_for -= 1;
    }
}

/// What the notes of a follower came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Changes that it was sent one by one.
    pub changes: u64,
    /// Changes that a snapshot covered, which it was sent instead.
    pub covered: u64,
    /// How often it asked, not counting refusals.
    pub asked: u64,
}

/// Judges the notes of a follower of an environment: that it was sent every change once, whole and in order, or a
/// snapshot that covers those it missed; and that what it holds is what was written.
///
/// `changes` says of each revision that touched the environment which counter it set to what.
///
/// # Errors
/// The first thing that is wrong.
pub fn judge(notes: &[Note], changes: &BTreeMap<u64, (String, u64)>) -> Result<Followed, String> {
    let mut followed = Followed::default();
    // Everything up to here is known; and the last revision up to there that touched the environment.
    let mut position: Option<u64> = None;
    let mut touched = 0;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for note in notes {
        let event = match note {
            Note::Asked(last) => {
                followed.asked += 1;
                if let (Some(last), Some(position)) = (last, position)
                    && !last.ends_with(&format!(".{position}"))
                {
                    return Err(format!("asked for what comes after {last} at {position}"));
                }
                continue;
            }
            Note::Sent(event) => event,
        };
        let revision = event.revision();
        if number(event, "revision") != revision {
            return Err(format!("the id says another revision than the event: {event:?}"));
        }
        if position.is_some_and(|position| revision < position) {
            return Err(format!("an older state after {position:?}: {event:?}"));
        }
        match event.kind.as_str() {
            "snapshot" => {
                // The first snapshot is where it begins, and covers nothing that it missed.
                let known = position.unwrap_or(revision);
                let later = changes.range(known + 1..).take_while(|(at, _)| **at <= revision);
                followed.covered += later.count() as u64;
                touched = number(event, "environment_revision");
                counts = all_counts(&event.data);
            }
            "change" => {
                if Some(revision) == position {
                    return Err(format!("sent twice: {event:?}"));
                }
                if number(event, "previous") != touched {
                    return Err(format!("a gap after {touched}: {event:?}"));
                }
                let Some(written) = changes.get(&revision) else {
                    return Err(format!("a change that nobody made: {event:?}"));
                };
                let sent = changed_counts(&event.data);
                if sent != [written.clone()] {
                    return Err(format!("revision {revision} set {written:?}: {event:?}"));
                }
                counts.extend(sent);
                touched = revision;
                followed.changes += 1;
            }
            "progress" => {
                if number(event, "environment_revision") != touched {
                    return Err(format!(
                        "progress past a change that was not sent, after {touched}: {event:?}"
                    ));
                }
            }
            other => return Err(format!("no such event: {other}")),
        }
        position = Some(revision);
        let missed = changes.range(touched + 1..).next();
        if let Some((missed, _)) = missed.filter(|(missed, _)| **missed <= revision) {
            return Err(format!("revision {missed} is missing before {event:?}"));
        }
        let expected = changes.range(..=revision).map(|(_, (flag, count))| (flag.clone(), *count));
        // Only where something new came: the whole comparison for each event would take long.
        if event.kind == "snapshot" && counts != expected.collect::<BTreeMap<_, _>>() {
            return Err(format!("a snapshot of another state: {event:?}"));
        }
    }
    let end = position.ok_or("nothing was sent")?;
    let expected: BTreeMap<String, u64> =
        changes.range(..=end).map(|(_, (flag, count))| (flag.clone(), *count)).collect();
    if counts != expected {
        return Err(format!("what is known at {end} is {counts:?} and not {expected:?}"));
    }
    Ok(followed)
}

/// A number that an event must have.
pub(crate) fn number(event: &Event, field: &str) -> u64 {
    event.data[field].as_u64().unwrap_or_else(|| panic!("no {field}: {event:?}"))
}

fn count_of(flag: &Value) -> Option<(String, u64)> {
    Some((flag["key"].as_str()?.to_owned(), flag["variants"]["count"].as_u64()?))
}

/// The counters of a snapshot.
pub(crate) fn all_counts(snapshot: &Value) -> BTreeMap<String, u64> {
    snapshot["flags"].as_array().into_iter().flatten().filter_map(count_of).collect()
}

/// The counters of a change.
pub(crate) fn changed_counts(change: &Value) -> Vec<(String, u64)> {
    let changes = change["changes"].as_array().into_iter().flatten();
    changes.filter_map(|change| count_of(&change["flag"])).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flag(count: u64) -> Value {
        json!({"key": "f", "variants": {"count": count, "safe": -1}})
    }

    fn sent(kind: &str, revision: u64, data: Value) -> Note {
        let mut data = data;
        data["revision"] = revision.into();
        Note::Sent(Event { kind: kind.to_owned(), id: format!("h.{revision}"), data })
    }

    fn snapshot(revision: u64, touched: u64, count: u64) -> Note {
        sent("snapshot", revision, json!({"environment_revision": touched, "flags": [flag(count)]}))
    }

    fn change(revision: u64, previous: u64, count: u64) -> Note {
        sent("change", revision, json!({"previous": previous, "changes": [{"flag": flag(count)}]}))
    }

    fn progress(revision: u64, touched: u64) -> Note {
        sent("progress", revision, json!({"environment_revision": touched}))
    }

    /// Revisions 3, 5 and 6 set the flag to 1, 2 and 3.
    fn changes() -> BTreeMap<u64, (String, u64)> {
        [(3, 1), (5, 2), (6, 3)].map(|(revision, count)| (revision, ("f".to_owned(), count))).into()
    }

    #[test]
    fn what_is_sent_once_whole_and_in_order_is_good() {
        let notes = [
            Note::Asked(None),
            snapshot(4, 3, 1),
            progress(4, 3),
            change(5, 3, 2),
            Note::Asked(Some("h.5".to_owned())),
            change(6, 5, 3),
            progress(7, 6),
        ];
        let expected = Followed { changes: 2, covered: 0, asked: 2 };
        assert_eq!(judge(&notes, &changes()), Ok(expected));
        // A snapshot in place of what is not remembered any more.
        let notes = [snapshot(3, 3, 1), Note::Asked(Some("h.3".to_owned())), snapshot(6, 6, 3)];
        assert_eq!(judge(&notes, &changes()), Ok(Followed { changes: 0, covered: 2, asked: 1 }));
    }

    #[test]
    fn every_fault_is_found() {
        for (what, notes) in [
            ("a lost change", vec![snapshot(4, 3, 1), change(6, 5, 3)]),
            ("a lost change that progress hides", vec![snapshot(4, 3, 1), progress(5, 3)]),
            ("a change twice", vec![snapshot(4, 3, 1), change(5, 3, 2), change(5, 3, 2)]),
            ("out of order", vec![snapshot(4, 3, 1), change(6, 3, 3), change(5, 3, 2)]),
            ("an older snapshot", vec![snapshot(6, 6, 3), snapshot(4, 3, 1)]),
            ("another value", vec![snapshot(4, 3, 1), change(5, 3, 9)]),
            ("a snapshot of another state", vec![snapshot(6, 6, 2)]),
            ("a change that nobody made", vec![snapshot(4, 3, 1), change(4, 3, 1)]),
            (
                "a change without its content",
                vec![snapshot(4, 3, 1), sent("change", 5, json!({"previous": 3, "changes": []}))],
            ),
            ("nothing", vec![Note::Asked(None)]),
        ] {
            assert!(judge(&notes, &changes()).is_err(), "{what}");
        }
    }
}
