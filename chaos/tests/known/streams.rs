//! What followers are sent.

use flagraft_chaos::{
    operation::{Did, Event, Operation, Outcome},
    verdict::Rule,
};

use super::{bad, change, event, good, may_have_written, operation, read, read_local, snapshot, wrote};

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
