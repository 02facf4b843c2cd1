//! The checker by revision on histories of a few lines whose verdicts are known: what is allowed though it looks odd, and
//! what is not though it looks harmless. Times are in milliseconds; the history begins at revision 10 with `f` and `g`
//! at 0.

mod streams;
mod terms;
mod unknown;
mod values;

use flagraft_chaos::{
    history::{FORMAT, Header},
    incidents::{Incident, Lives, What},
    operation::{Asked, Consistency, Did, Event, Operation, Outcome},
    revisions,
    verdict::{Rule, Verdict},
};

const MS: u64 = 1_000_000;

fn operation(start: u64, end: u64, outcome: Outcome, revision: Option<u64>, did: Did) -> Operation {
    let (start_ns, end_ns) = (start * MS, end * MS);
    Operation { op: 0, client: 1, node: 1, session: None, start_ns, end_ns, outcome, revision, did }
}

fn set(values: &[(&str, u64)]) -> Vec<(String, u64)> {
    values.iter().map(|(flag, value)| ((*flag).to_owned(), *value)).collect()
}

fn saw(values: &[(&str, u64)]) -> Vec<(String, Option<u64>)> {
    values.iter().map(|(flag, value)| ((*flag).to_owned(), Some(*value))).collect()
}

fn wrote(start: u64, end: u64, revision: u64, values: &[(&str, u64)]) -> Operation {
    operation(start, end, Outcome::Ok, Some(revision), Did::Write { set: set(values) })
}

fn may_have_written(start: u64, values: &[(&str, u64)]) -> Operation {
    operation(start, start + 1, Outcome::Unknown, None, Did::Write { set: set(values) })
}

fn read(start: u64, end: u64, revision: u64, values: &[(&str, u64)]) -> Operation {
    let (asked, consistency) = (Asked::Critical, Some(Consistency::Linearizable));
    let did = Did::Read { asked, saw: saw(values), consistency, age_ms: None };
    operation(start, end, Outcome::Ok, Some(revision), did)
}

fn read_local(start: u64, end: u64, revision: u64, age_ms: Option<u64>, values: &[(&str, u64)]) -> Operation {
    let did =
        Did::Read { asked: Asked::Ordinary, saw: saw(values), consistency: Some(Consistency::Local), age_ms };
    operation(start, end, Outcome::Ok, Some(revision), did)
}

fn event(at: u64, revision: u64, event: Event) -> Operation {
    operation(at, at, Outcome::Ok, Some(revision), Did::Stream { stream: 1, event })
}

fn snapshot(at: u64, revision: u64, touched: u64, values: &[(&str, u64)]) -> Operation {
    event(at, revision, Event::Snapshot { touched, flags: saw(values) })
}

fn change(at: u64, revision: u64, previous: u64, values: &[(&str, u64)]) -> Operation {
    event(at, revision, Event::Change { previous, set: set(values) })
}

fn judge(mut operations: Vec<Operation>) -> Verdict {
    for (number, operation) in (1..).zip(&mut operations) {
        operation.op = number;
    }
    let header = Header {
        format: FORMAT,
        seed: 0,
        revision: 10,
        flags: set(&[("f", 0), ("g", 0)]).into_iter().collect(),
    };
    let lives = Lives::of(&[
        Incident { at_ns: 0, what: What::Serves { node: 1 } },
        Incident { at_ns: 500 * MS, what: What::Falls { node: 1 } },
    ]);
    revisions::check(&header, &lives, &operations)
}

#[track_caller]
fn good(operations: Vec<Operation>) {
    let verdict = judge(operations);
    assert!(verdict.is_good(), "{:#?}", verdict.violations);
}

/// It breaks this rule, no other, and these operations show it.
#[track_caller]
fn bad(rule: Rule, ops: &[u64], operations: Vec<Operation>) {
    let verdict = judge(operations);
    let found: Vec<(Rule, &[u64])> = verdict.violations.iter().map(|v| (v.rule, &v.ops[..])).collect();
    assert_eq!(found, [(rule, ops)], "{:#?}", verdict.violations);
}
