//! Writes of which nobody knows what became of them.

use flagraft_chaos::verdict::Rule;

use super::{bad, good, may_have_written, read, read_local, wrote};

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
