//! What is good.

use flagraft_core::{
    audit_file::{Format, Skipped, Verifier, Witnessed},
    record::{Chain, Link, RecordKind},
};

use crate::log::{Export, Log, node, signed, trusted, verify, verify_against};

#[test]
fn a_whole_log_in_both_forms() {
    for size in [1, 2, 255, 256, 257, 600] {
        let log = Log::new(size, 7);
        for format in [Format::Ndjson, Format::Csv] {
            let lines = Export { format, ..log.whole() }.lines();
            let summary =
                verify(&lines).unwrap_or_else(|fault| panic!("{size} records as {format:?}: {fault}"));
            assert_eq!((summary.from, summary.to, summary.size), (0, log.size(), log.size()));
            assert_eq!(summary.records, log.size());
            assert_eq!(summary.root, log.checkpoint(log.size()).root);
            assert_eq!(summary.skipped, Skipped::default());
            assert_eq!(summary.kinds.values().sum::<u64>(), log.size());
            assert_eq!(summary.kinds[&RecordKind::System], 1);
            let times = summary.times_ms.expect("records");
            assert_eq!(times, (log.record(0).time_ms, log.record(size - 1).time_ms));
            assert_eq!(summary.signers.len(), 3);
            assert_eq!(summary.quorum, 2);
            assert!(serde_json::to_value(&summary).expect("JSON")["kinds"]["system"] == 1);
        }
    }
}

#[test]
fn parts_of_a_log() {
    let log = Log::new(600, 8);
    for (from, to, size) in [
        (0, 0, 600),
        (600, 600, 600),
        (100, 300, 600),
        (256, 512, 600),
        (0, 10, 10),
        (599, 600, 600),
        (0, 0, 0),
    ] {
        for keep in [None, Some(1), Some(2), Some(97)] {
            for removed in [0..0, 3..4, 120..290] {
                let export = Export { from, to, size, keep, removed: removed.clone(), ..log.whole() };
                if keep.is_none() && to == size && (from..to).any(|n| removed.contains(&n)) {
                    // No record says so: see `removals`.
                    assert_eq!(verify(&export.lines()).expect_err("unexplained").code(), "withheld");
                    continue;
                }
                let summary = verify(&export.lines()).unwrap_or_else(|fault| {
                    panic!("{from}..{to} of {size}, 1 of {keep:?}, {removed:?}: {fault}")
                });
                let kept =
                    (from..to).filter(|n| keep.is_none_or(|every| n % every == 0) && !removed.contains(n));
                assert_eq!(summary.records, u64::try_from(kept.count()).expect("small"));
                let Skipped { range, filter, removed, removed_unexplained } = summary.skipped;
                assert_eq!(range, size - (to - from));
                assert_eq!(removed_unexplained, removed, "by no record in the file");
                assert_eq!(summary.records + range + filter + removed, size);
                assert_eq!(summary.filter.is_some(), keep.is_some());
            }
        }
    }
}

#[test]
fn who_signs_counts_as_the_reader_says() {
    let log = Log::new(3, 9);
    let checkpoint = log.checkpoint(3);
    let with_a_stranger = log.whole().lines_with(&signed(&checkpoint, &[9, 3, 1]));
    let summary = verify(&with_a_stranger).expect("two of three are more than half");
    assert_eq!(summary.signers, [node(3), node(1)].map(|key| key.verifier().name().to_owned()));
    assert_eq!(summary.unknown_signers, [node(9).verifier().name()]);

    let with_quorum = |quorum, nodes: &[u8]| {
        let mut verifier = Verifier::new(trusted(), Some(quorum)).expect("keys");
        let lines = log.whole().lines_with(&signed(&checkpoint, nodes));
        lines.iter().try_for_each(|line| verifier.line(line))?;
        verifier.finish()
    };
    assert!(with_quorum(1, &[2]).is_ok());
    assert!(with_quorum(3, &[1, 2, 3]).is_ok());
    assert_eq!(with_quorum(3, &[1, 2]).expect_err("two of three").code(), "quorum");
    assert!(Verifier::new(trusted(), Some(0)).is_err());
    assert!(Verifier::new(trusted(), Some(4)).is_err());
    assert!(Verifier::new(Default::default(), None).is_err());
}

#[test]
fn a_checkpoint_that_was_seen_before() {
    let log = Log::new(600, 10);
    let seen =
        |size, proof| Witnessed::new(signed(&log.checkpoint(size), &[1]), proof).expect("a checkpoint");
    let whole = log.whole().lines();
    let sizes: Vec<Witnessed> = [0, 1, 77, 256, 600].map(|size| seen(size, None)).into();
    assert_eq!(verify_against(&whole, &sizes).expect("the same log").witnessed, [0, 1, 77, 256, 600]);

    // What is left out is crossed in steps; between them a proof is needed, and so beyond the end.
    let part = Export { from: 400, to: 500, size: 500, ..log.whole() }.lines();
    for (size, alone) in [(256, true), (384, true), (300, false), (450, true), (500, true), (550, false)] {
        let answer = verify_against(&part, &[seen(size, None)]);
        assert_eq!(
            answer.as_ref().err().map(|fault| fault.code()),
            (!alone).then_some("unrelated"),
            "{size}"
        );
        let proof = log.consistency(size.min(500), size.max(500));
        assert!(verify_against(&part, &[seen(size, Some(proof))]).is_ok(), "{size} with a proof");
    }
}

#[test]
fn real_logs_link() {
    for lines in
        [include_str!("../fixtures/records.jsonl"), include_str!("../fixtures/way_back_records.jsonl")]
    {
        let mut chain = Chain::new(1);
        for (line, sequence) in lines.lines().zip(0_u64..) {
            let link = Link::read(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(link.sequence, sequence);
            chain.follow(&link).unwrap_or_else(|broken| panic!("record {sequence}: {broken}"));
        }
        assert!(chain.next() > 5);
    }
}
