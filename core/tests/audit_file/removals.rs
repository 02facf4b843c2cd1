//! What is left out as removed by retention: the log's own records have to say so.

use flagraft_core::{
    audit_file::{Fault, Format, Why},
    record::{RecordKind, RecordedOperation},
};
use serde_json::json;

use super::log::{Export, Log, verify};

/// A log of 600 records and one more, which says that these were removed.
fn log(ranges: &[(u64, u64)]) -> Log {
    let mut log = Log::new(600, 21);
    let mut record = log.record(599);
    let ranges: Vec<_> = ranges.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
    let operation = json!({"op": "audit.remove", "ranges": ranges});
    record.sequence = 600;
    record.kind = RecordKind::System;
    record.project = None;
    record.outcome = flagraft_core::record::RecordOutcome::Accepted;
    record.revision_before = record.revision_after;
    record.revision_after += 1;
    record.operations = vec![RecordedOperation { operation, before: json!(null), after: json!(null) }];
    log.records.push(record.to_bytes().bytes);
    log
}

#[test]
fn what_no_record_says_was_removed_is_withheld() {
    let removed = |log: &Log, format| verify(&Export { removed: 100..200, format, ..log.whole() }.lines());
    for format in [Format::Ndjson, Format::Csv] {
        let summary = removed(&log(&[(50, 120), (120, 200)]), format).expect("two runs that were removed");
        assert_eq!((summary.skipped.removed, summary.skipped.removed_unexplained), (100, 0));
        for (ranges, from, to) in [
            (&[][..], 100, 200),
            (&[(100, 199)], 199, 200),
            (&[(101, 200)], 100, 101),
            (&[(0, 120), (140, 300)], 120, 140),
            // Nothing removes what comes after it.
            (&[(0, 601)], 100, 200),
        ] {
            assert_eq!(removed(&log(ranges), format), Err(Fault::Withheld { from, to, why: Why::Removed }));
        }
    }
}

#[test]
fn a_part_says_how_much_is_on_the_word_of_its_maker() {
    let log = log(&[(100, 150)]);
    let part = |export: Export<'_>| {
        let summary = verify(&export.lines()).expect("nothing tells");
        (summary.skipped.removed, summary.skipped.removed_unexplained)
    };
    assert_eq!(part(Export { to: 300, removed: 100..200, ..log.whole() }), (100, 100));
    assert_eq!(part(Export { keep: Some(5), removed: 100..200, ..log.whole() }).0, 20);
    // To the end of the log nothing is left to believe.
    let to_the_end =
        verify(&Export { from: 120, removed: 120..150, ..log.whole() }.lines()).expect("explained");
    assert_eq!(to_the_end.skipped.removed_unexplained, 0);
}
