//! The checker by revision on histories of a few lines whose verdicts are known: what is allowed though it looks odd, and
//! what is not though it looks harmless. Times are in milliseconds; the history begins at revision 10 with `f` and `g`
//! at 0.

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

#[test]
fn a_read_during_a_write_may_see_either_state() {
    good(vec![wrote(10, 20, 11, &[("f", 1)]), read(15, 16, 10, &[("f", 0)]), read(15, 16, 11, &[("f", 1)])]);
    good(vec![read(1, 2, 10, &[("f", 0), ("g", 0)]), read(1, 2, 10, &[("absent", 0)][..0])]);
    // What ends as it begins is not before it.
    good(vec![wrote(10, 20, 11, &[("f", 1)]), read(20, 21, 10, &[("f", 0)])]);
}

#[test]
fn after_a_write_its_revision_is_seen_by_who_confirms() {
    bad(Rule::Stale, &[1, 2], vec![wrote(10, 20, 11, &[("f", 1)]), read(21, 22, 10, &[("f", 0)])]);
    // Also if another read is all that tells that it is done.
    bad(
        Rule::Stale,
        &[2, 3],
        vec![wrote(10, 90, 11, &[("f", 1)]), read(21, 22, 11, &[("f", 1)]), read(23, 24, 10, &[("f", 0)])],
    );
    // Whoever does not confirm may see what is old.
    good(vec![wrote(10, 20, 11, &[("f", 1)]), read_local(21, 22, 10, Some(5), &[("f", 0)])]);
}

#[test]
fn a_later_write_has_a_later_revision() {
    bad(Rule::Stale, &[1, 2], vec![wrote(10, 20, 12, &[("f", 1)]), wrote(21, 22, 11, &[("g", 2)])]);
    good(vec![wrote(10, 20, 12, &[("f", 1)]), wrote(19, 22, 11, &[("g", 2)])]);
}

#[test]
fn a_revision_is_known_to_nobody_before_its_write_begins() {
    bad(Rule::Foreseen, &[1, 2], vec![read_local(1, 2, 11, None, &[]), wrote(10, 20, 11, &[("f", 1)])]);
}

#[test]
fn a_value_is_that_of_the_newest_write() {
    let writes = || vec![wrote(10, 20, 11, &[("f", 1)]), wrote(30, 40, 12, &[("f", 2)])];
    let with = |read: Operation| writes().into_iter().chain([read]).collect::<Vec<_>>();
    good(with(read(50, 51, 12, &[("f", 2)])));
    good(with(read_local(50, 51, 11, None, &[("f", 1)])));
    // The newer one is lost, or the older one came again.
    bad(Rule::Replay, &[1, 2, 3], with(read(50, 51, 13, &[("f", 1)])));
    // At a revision before its write.
    bad(Rule::Replay, &[1, 2, 3], with(read_local(35, 36, 11, None, &[("f", 2)])));
    bad(Rule::Replay, &[2, 3], with(read(50, 51, 12, &[("f", 0)])));
    // A flag does not vanish.
    let mut gone = read(50, 51, 12, &[]);
    if let Did::Read { saw, .. } = &mut gone.did {
        saw.push(("g".to_owned(), None));
    }
    bad(Rule::Replay, &[3], with(gone));
}

#[test]
fn a_revision_is_one_state() {
    let write = || may_have_written(5, &[("f", 1)]);
    bad(
        Rule::TwoStates,
        &[2, 3],
        vec![write(), read_local(10, 11, 12, None, &[("f", 0)]), read_local(10, 11, 12, None, &[("f", 1)])],
    );
    bad(Rule::SharedRevision, &[1, 2], vec![wrote(10, 20, 11, &[("f", 1)]), wrote(10, 20, 11, &[("g", 2)])]);
}

#[test]
fn nothing_is_invented_and_what_was_refused_never_was() {
    bad(Rule::Invented, &[1], vec![read(1, 2, 10, &[("f", 7)])]);
    let refused = operation(1, 2, Outcome::Failed, None, Did::Write { set: set(&[("f", 7)]) });
    good(vec![refused.clone(), read(3, 4, 11, &[("f", 0)])]);
    bad(Rule::Refused, &[1, 2], vec![refused.clone(), read(3, 4, 11, &[("f", 7)])]);
    // It is that which is wrong, and not what comes after it.
    bad(Rule::Refused, &[1, 2], vec![refused, read(3, 4, 11, &[("f", 7)]), read(5, 6, 12, &[("f", 0)])]);
}

#[test]
fn a_write_that_nobody_acknowledged_may_take_effect_late_or_never() {
    good(vec![may_have_written(5, &[("f", 1)]), read(100, 101, 10, &[("f", 0)])]);
    good(vec![
        may_have_written(5, &[("f", 1)]),
        read(50, 51, 10, &[("f", 0)]),
        read(100, 101, 11, &[("f", 1)]),
    ]);
    // But once, and to stay.
    bad(
        Rule::Replay,
        &[2, 3],
        vec![
            may_have_written(5, &[("f", 1)]),
            read(50, 51, 11, &[("f", 1)]),
            read(100, 101, 12, &[("f", 0)]),
        ],
    );
    bad(
        Rule::Replay,
        &[1, 3, 4],
        vec![
            may_have_written(5, &[("f", 1)]),
            read(10, 11, 11, &[("f", 1)]),
            wrote(12, 14, 12, &[("f", 2)]),
            read(20, 21, 13, &[("f", 1)]),
        ],
    );
    // Nor at a revision at which another gave the flag its value.
    bad(
        Rule::Replay,
        &[1, 2, 3],
        vec![wrote(6, 9, 11, &[("f", 2)]), may_have_written(5, &[("f", 1)]), read(20, 21, 11, &[("f", 1)])],
    );
    bad(
        Rule::Foreseen,
        &[1, 2],
        vec![read_local(1, 2, 11, None, &[("f", 1)]), may_have_written(5, &[("f", 1)])],
    );
    // Not at a revision that was there before it began, though nobody has seen the flag then.
    bad(
        Rule::Foreseen,
        &[1, 2, 3],
        vec![read(1, 2, 12, &[]), may_have_written(5, &[("f", 1)]), read_local(6, 7, 12, None, &[("f", 1)])],
    );
    // Not at a revision that is another write's.
    bad(
        Rule::SharedRevision,
        &[1, 3],
        vec![may_have_written(5, &[("f", 1)]), wrote(6, 9, 11, &[("g", 2)]), read(10, 11, 11, &[("f", 1)])],
    );
}

#[test]
fn a_change_is_seen_whole() {
    let both =
        |values: &[(&str, u64)]| vec![wrote(5, 9, 11, &[("f", 1), ("g", 1)]), read(10, 11, 11, values)];
    good(both(&[("f", 1), ("g", 1)]));
    bad(Rule::Replay, &[1, 2], both(&[("f", 1), ("g", 0)]));
    // Nobody knows its revision, but it has one.
    let unknown = || may_have_written(5, &[("f", 1), ("g", 1)]);
    good(vec![unknown(), read(10, 11, 11, &[("f", 1), ("g", 1)])]);
    bad(Rule::HalfChange, &[1, 2], vec![unknown(), read(10, 11, 11, &[("f", 1), ("g", 0)])]);
    // In two answers, of which the older one has what the newer one lacks.
    bad(
        Rule::HalfChange,
        &[1, 2, 3],
        vec![unknown(), read(10, 11, 11, &[("f", 1)]), read(12, 13, 12, &[("g", 0)])],
    );
    // The same when the newer one was followed by a third that has it.
    bad(
        Rule::HalfChange,
        &[1, 2, 3],
        vec![
            unknown(),
            read(10, 11, 11, &[("f", 1)]),
            read(12, 13, 12, &[("g", 0)]),
            read(14, 15, 13, &[("g", 1)]),
        ],
    );
    // The other flag was overwritten by a change that was known before this one began.
    bad(
        Rule::HalfChange,
        &[2, 3],
        vec![wrote(1, 2, 12, &[("g", 2)]), unknown(), read(10, 11, 14, &[("f", 1), ("g", 2)])],
    );
    // Both would have to be the one revision in between.
    bad(
        Rule::HalfChange,
        &[1, 3, 4],
        vec![
            unknown(),
            may_have_written(6, &[("g", 2)]),
            read(10, 11, 11, &[("f", 0), ("g", 0)]),
            read(12, 13, 12, &[("f", 1), ("g", 2)]),
        ],
    );
    // The other flag was overwritten before anybody looked.
    good(vec![
        unknown(),
        read(10, 11, 11, &[("f", 1)]),
        wrote(11, 12, 12, &[("g", 2)]),
        read(13, 14, 12, &[("g", 2)]),
    ]);
    // It was overwritten before that, so it was not there in between.
    bad(
        Rule::HalfChange,
        &[1, 3, 4],
        vec![
            unknown(),
            wrote(6, 8, 11, &[("g", 2)]),
            read(9, 10, 11, &[("f", 0)]),
            read(10, 11, 12, &[("f", 1), ("g", 2)]),
        ],
    );
}

#[test]
fn a_session_does_not_go_back() {
    let in_session = |mut operation: Operation| {
        operation.session = Some(4);
        operation
    };
    let of = |first: u64, second: u64, start: u64| {
        let one = in_session(read_local(10, 11, first, None, &[]));
        vec![one, in_session(read_local(start, 20, second, None, &[]))]
    };
    good(of(11, 11, 12));
    good(of(12, 11, 11));
    bad(Rule::Session, &[1, 2], of(12, 11, 12));
    // The greatest one counts, also after a smaller one that was allowed.
    let third = in_session(read_local(12, 13, 11, None, &[]));
    bad(Rule::Session, &[1, 3], of(12, 11, 11).into_iter().chain([third]).collect());
}

#[test]
fn terms_are_kept() {
    let asked = |asked: Asked, consistency: Consistency, revision: u64| {
        let did = Did::Read { asked, saw: vec![], consistency: Some(consistency), age_ms: None };
        vec![operation(1, 2, Outcome::Ok, Some(revision), did)]
    };
    good(asked(Asked::MinRevision(12), Consistency::Local, 12));
    bad(Rule::MinRevision, &[1], asked(Asked::MinRevision(12), Consistency::Local, 11));
    good(asked(Asked::Critical, Consistency::SafeVariant, 10));
    bad(Rule::Unconfirmed, &[1], asked(Asked::Critical, Consistency::Local, 10));
    bad(Rule::Unconfirmed, &[1], asked(Asked::Linearizable, Consistency::SafeVariant, 10));
}

#[test]
fn an_age_is_never_below_the_truth() {
    let write = || wrote(10, 20, 11, &[("f", 1)]);
    let stated = |age| vec![write(), read_local(100, 101, 10, age, &[("f", 0)])];
    good(stated(Some(80)));
    good(stated(None));
    bad(Rule::Age, &[1, 2], stated(Some(79)));
    let bounded = |bound| {
        let did = Did::Read {
            asked: Asked::MaxAgeMs(bound),
            saw: saw(&[("f", 0)]),
            consistency: Some(Consistency::Local),
            age_ms: None,
        };
        vec![write(), operation(100, 101, Outcome::Ok, Some(10), did)]
    };
    good(bounded(80));
    bad(Rule::Age, &[1, 2], bounded(79));
    // Of what is asked for and what is stated, the lower one.
    let both = |bound, age| {
        let mut operations = bounded(bound);
        if let Did::Read { age_ms, .. } = &mut operations[1].did {
            *age_ms = Some(age);
        }
        operations
    };
    good(both(80, 90));
    bad(Rule::Age, &[1, 2], both(79, 90));
    bad(Rule::Age, &[1, 2], both(90, 79));
    // Who says that he is not sure has not promised what was asked for.
    let mut unsure = bounded(1);
    if let Did::Read { consistency, .. } = &mut unsure[1].did {
        *consistency = Some(Consistency::SafeVariant);
    }
    good(unsure);
    // Any later revision outdates it, not the next one alone.
    let writes = || vec![wrote(10, 20, 12, &[("f", 1)]), wrote(10, 50, 11, &[("g", 1)])];
    let stated = |age| writes().into_iter().chain([read_local(100, 101, 10, Some(age), &[])]).collect();
    good(stated(80));
    bad(Rule::Age, &[1, 3], stated(79));
}

#[test]
fn a_node_that_lives_answers_ordinary_reads() {
    let failed = |asked, start, end| {
        let did = Did::Read { asked, saw: vec![], consistency: None, age_ms: None };
        vec![operation(start, end, Outcome::Failed, None, did)]
    };
    bad(Rule::Unavailable, &[1], failed(Asked::Ordinary, 100, 101));
    // It fell meanwhile; or what was asked for could not be had.
    good(failed(Asked::Ordinary, 499, 501));
    good(failed(Asked::MaxAgeMs(1), 100, 101));
}

#[test]
fn a_stream_is_ordered_unique_reliable_resumable_and_atomic() {
    let writes = || {
        vec![
            wrote(1, 2, 11, &[("f", 1)]),
            wrote(3, 4, 13, &[("f", 2), ("g", 2)]),
            wrote(5, 6, 14, &[("g", 3)]),
        ]
    };
    let with = |events: Vec<Operation>| writes().into_iter().chain(events).collect::<Vec<_>>();
    let begin = || snapshot(10, 12, 11, &[("f", 1), ("g", 0)]);
    let second = || change(11, 13, 11, &[("f", 2), ("g", 2)]);
    let third = || change(12, 14, 13, &[("g", 3)]);
    let asked = |after| {
        operation(11, 11, Outcome::Ok, None, Did::Stream { stream: 1, event: Event::Asked { after } })
    };
    good(with(vec![asked(None), begin(), second(), asked(Some(13)), third()]));
    good(with(vec![begin(), asked(Some(12)), snapshot(12, 14, 14, &[("f", 2), ("g", 3)])]));
    good(with(vec![begin(), second(), event(12, 13, Event::Progress { touched: 13 })]));

    bad(Rule::StreamReliable, &[4, 5], with(vec![begin(), third()]));
    bad(Rule::StreamReliable, &[2, 4], with(vec![snapshot(10, 13, 11, &[])]));
    bad(Rule::StreamReliable, &[2, 5], with(vec![begin(), event(12, 13, Event::Progress { touched: 11 })]));
    bad(Rule::StreamReliable, &[4, 5], with(vec![begin(), event(12, 14, Event::Progress { touched: 14 })]));
    bad(Rule::StreamReliable, &[2, 5], with(vec![begin(), change(12, 14, 11, &[("g", 3)])]));
    bad(Rule::StreamReliable, &[4], with(vec![second()]));
    bad(Rule::StreamReliable, &[4], with(vec![event(12, 13, Event::Progress { touched: 13 })]));
    // Two followers are told different things of what was between.
    let other = |mut operation: Operation| {
        if let Did::Stream { stream, .. } = &mut operation.did {
            *stream = 2;
        }
        operation
    };
    let both = vec![
        wrote(3, 4, 13, &[("f", 2)]),
        snapshot(10, 11, 10, &[]),
        change(11, 13, 10, &[("f", 2)]),
        other(snapshot(10, 12, 12, &[])),
        other(change(11, 13, 12, &[("f", 2)])),
    ];
    bad(Rule::StreamReliable, &[3, 5], both);
    bad(Rule::StreamUnique, &[5, 6], with(vec![begin(), second(), second()]));
    bad(Rule::StreamOrdered, &[6, 7], with(vec![begin(), second(), third(), second()]));
    bad(Rule::StreamOrdered, &[5, 6], with(vec![begin(), second(), snapshot(12, 12, 11, &[])]));
    bad(Rule::StreamResumable, &[4, 5], with(vec![begin(), asked(Some(11)), second()]));
    bad(Rule::StreamAtomic, &[2, 5], with(vec![begin(), change(11, 13, 11, &[("f", 2)])]));
    bad(Rule::Replay, &[1, 4], with(vec![snapshot(10, 12, 11, &[("f", 0)])]));
    bad(Rule::Invented, &[5], with(vec![begin(), change(11, 13, 11, &[("f", 9)])]));
}

#[test]
fn a_stream_tells_the_revision_of_a_write_that_nobody_acknowledged() {
    let unknown = || may_have_written(5, &[("f", 1)]);
    let told = || vec![unknown(), snapshot(6, 10, 10, &[]), change(7, 12, 10, &[("f", 1)])];
    good(told().into_iter().chain([read_local(8, 9, 11, None, &[("f", 0)])]).collect());
    bad(Rule::Replay, &[1, 4], told().into_iter().chain([read_local(8, 9, 11, None, &[("f", 1)])]).collect());
    bad(
        Rule::Foreseen,
        &[1, 2],
        vec![read(1, 2, 12, &[]), unknown(), snapshot(6, 10, 10, &[]), change(7, 12, 10, &[("f", 1)])],
    );
}

#[test]
fn what_cannot_be_judged_is_not_passed() {
    bad(Rule::Recorded, &[2], vec![wrote(1, 2, 11, &[("f", 1)]), wrote(3, 4, 12, &[("f", 1)])]);
    let without_revision = |mut operation: Operation| {
        operation.revision = None;
        vec![operation]
    };
    bad(Rule::Recorded, &[1], without_revision(wrote(1, 2, 11, &[("f", 1)])));
    bad(Rule::Recorded, &[1], without_revision(read(1, 2, 10, &[("f", 0)])));
    bad(Rule::Recorded, &[1], without_revision(snapshot(1, 10, 10, &[("f", 0)])));
}
