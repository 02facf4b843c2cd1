//! One case for each fault, with its place.

use flagraft_core::{
    audit_file::{Fault, Format, Why, Witnessed, WitnessedError},
    identity::History,
    merkle::leaf_hash,
    note::NoteError,
    record::Broken,
};

use crate::{
    log::{Export, HISTORY, Log, fit, node, signed, verify, verify_against},
    sequence::Sequence,
};

fn log() -> Log {
    Log::new(600, 3)
}

fn fault(lines: &[Vec<u8>]) -> Fault {
    verify(lines).expect_err("it was tampered with")
}

/// Lines of a whole file of 600 records: the header, 256 records, hashes, 256 records, hashes, 88 records, hashes, the end.
fn whole() -> Vec<Vec<u8>> {
    let lines = log().whole().lines();
    assert_eq!(lines.len(), 1 + 257 + 257 + 89 + 1);
    lines
}

/// Where a record stands in it, from 0.
fn at(sequence: usize) -> usize {
    1 + sequence + sequence / 256
}

/// The same as a number of a line.
fn line_of(sequence: usize) -> u64 {
    u64::try_from(at(sequence) + 1).expect("small")
}

fn replace(line: &mut Vec<u8>, from: &str, to: &str) {
    let text = std::str::from_utf8(line).expect("UTF-8");
    assert!(text.contains(from), "{text}");
    *line = text.replacen(from, to, 1).into_bytes();
}

#[test]
fn not_an_export() {
    assert_eq!(fault(&[]), Fault::NotAnExport);
    assert_eq!(fault(&[b"\n".to_vec()]), Fault::NotAnExport);
    assert_eq!(fault(&[b"{\"flagraft_audit\":1".to_vec()]), Fault::NotAnExport);
    let mut lines = whole();
    lines.remove(0);
    assert_eq!(fault(&lines), Fault::NotAnExport);
    let mut lines = whole();
    replace(&mut lines[0], "\"flagraft_audit\":1", "\"flagraft_audit\":2");
    assert_eq!(fault(&lines), Fault::TooNew(2));
    let windows: Vec<Vec<u8>> = whole()
        .into_iter()
        .map(|line| [line.strip_suffix(b"\n").expect("ended"), b"\r\n"].concat())
        .collect();
    let told = fault(&windows).to_string();
    assert!(told.contains("Windows"), "{told}");
}

#[test]
fn truncated_or_longer_than_its_end() {
    let mut lines = whole();
    lines.pop();
    assert_eq!(fault(&lines), Fault::Truncated { line: 604, next: 600 });
    lines.truncate(300);
    assert_eq!(fault(&lines), Fault::Truncated { line: 300, next: 256 });
    lines[299].pop();
    assert_eq!(fault(&lines), Fault::Truncated { line: 300, next: 256 });
    let mut lines = whole();
    lines[604].pop();
    assert_eq!(fault(&lines), Fault::Truncated { line: 605, next: 600 });
    let mut lines = whole();
    lines.push(b"{}\n".to_vec());
    assert_eq!(fault(&lines), Fault::AfterEnd { line: 606 });
}

#[test]
fn records_that_are_not_those_of_the_log() {
    let mut lines = whole();
    replace(&mut lines[at(300)], "step", "Step");
    assert_eq!(fault(&lines), Fault::Rewritten { sequence: 300, line: line_of(300) });

    let mut lines = whole();
    lines.remove(at(300));
    assert_eq!(fault(&lines), Fault::Missing { sequence: 300 });

    let mut lines = whole();
    lines.insert(at(301), lines[at(300)].clone());
    assert_eq!(fault(&lines), Fault::Duplicate { sequence: 300, line: line_of(301) });
    // Into a block that follows, and into one before.
    let mut lines = whole();
    lines.insert(at(550), lines[at(3)].clone());
    assert_eq!(fault(&lines), Fault::Duplicate { sequence: 3, line: line_of(550) });
    let mut lines = whole();
    lines.insert(at(3), lines[at(550)].clone());
    assert_eq!(fault(&lines), Fault::Duplicate { sequence: 550, line: line_of(3) });
    // Where no record is due.
    let mut lines = whole();
    lines.insert(604, lines[at(550)].clone());
    assert_eq!(fault(&lines), Fault::Duplicate { sequence: 550, line: 605 });

    let mut lines = whole();
    let mut forged = log().record(300);
    forged.reason = "never".to_owned();
    lines.insert(at(300), [forged.to_bytes().bytes, b"\n".to_vec()].concat());
    assert_eq!(fault(&lines), Fault::Inserted { before: 300, line: line_of(300) });
}

#[test]
fn records_that_are_not_in_their_order() {
    for (a, b) in [(300, 301), (300, 400), (3, 550)] {
        let mut lines = whole();
        lines.swap(at(a), at(b));
        assert_eq!(fault(&lines), Fault::Reordered { sequence: a as u64 }, "{a} and {b} have changed places");
        let mut lines = whole();
        let moved = lines.remove(at(a));
        lines.insert(at(b), moved);
        assert_eq!(fault(&lines), Fault::Reordered { sequence: a as u64 }, "{a} has moved to {b}");
        let mut lines = whole();
        let moved = lines.remove(at(b));
        lines.insert(at(a), moved);
        assert_eq!(fault(&lines), Fault::Reordered { sequence: a as u64 }, "{b} has moved to {a}");
    }
}

#[test]
fn hashes_that_are_not_those_of_the_records() {
    let (first, second) = (257, 514);
    let log = log();
    let mut lines = whole();
    let other = lines[second].clone();
    replace(&mut lines[second], "\"leaves\":\"", "\"leaves\":\"AAAA");
    assert_eq!(fault(&lines), Fault::Malformed { line: 515, what: "it is not a line of hashes of records" });
    // One hash for another.
    let leaves = log.leaves();
    let text = |leaf: &[u8; 32]| flagraft_base64(&leaf[..30]);
    lines[second] = other;
    let third = text(&leaves[256]);
    replace(&mut lines[second], &third, &text(&leaves[3]));
    assert_eq!(fault(&lines), Fault::Hashes { from: 256, line: 515 });

    let mut lines = whole();
    lines.remove(first);
    assert_eq!(fault(&lines), Fault::NoHashes { from: 0 });
    let mut lines = whole();
    lines.remove(603);
    assert_eq!(fault(&lines), Fault::NoHashes { from: 512 });
    let mut lines = whole();
    lines.insert(first, lines[first].clone());
    assert_eq!(fault(&lines), Fault::OutOfPlace { line: 259, from: 0, next: 256 });
    let mut lines = whole();
    lines.swap(first, second);
    assert_eq!(fault(&lines), Fault::OutOfPlace { line: 258, from: 256, next: 0 });
    let mut lines = whole();
    replace(&mut lines[first], "{\"hashes\"", "{\"hushes\"");
    assert_eq!(fault(&lines), Fault::Malformed { line: 258, what: "it is no line of an export" });
    let mut lines = whole();
    replace(&mut lines[604], "{\"checkpoint\"", "{\"chuckpoint\"");
    assert_eq!(fault(&lines), Fault::Malformed { line: 605, what: "it is no line of an export" });
}

/// The first 30 bytes of a hash where it is the first of a line: 40 characters of base64 by themselves.
fn flagraft_base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

#[test]
fn records_that_are_left_out() {
    let log = log();
    let export = Export { from: 100, to: 300, removed: 150..160, ..log.whole() };
    let lines = export.lines();
    assert!(verify(&lines).is_ok());
    let skips: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with(b"{\"skipped\"")).collect();
    for (skip, (from, to)) in skips.iter().zip([(0, 100), (150, 160), (300, 600)]) {
        let mut without = lines.clone();
        without.remove(*skip);
        assert_eq!(fault(&without), Fault::Gap { from, to });
        let mut twice = lines.clone();
        twice.insert(*skip, lines[*skip].clone());
        let line = u64::try_from(skip + 2).expect("small");
        assert_eq!(fault(&twice), Fault::OutOfPlace { line, from, next: to });
    }
    let mut withheld = lines.clone();
    replace(&mut withheld[skips[1]], "removed", "range");
    assert_eq!(fault(&withheld), Fault::Withheld { from: 150, to: 160, why: Why::Range });
    let mut withheld = lines.clone();
    replace(&mut withheld[skips[1]], "removed", "filter");
    assert_eq!(fault(&withheld), Fault::Withheld { from: 150, to: 160, why: Why::Filter });
    // A whole block with its hashes.
    let mut lines = whole();
    lines.drain(at(256)..at(512));
    assert_eq!(fault(&lines), Fault::Gap { from: 256, to: 512 });
    // The end of a longer log, and its own checkpoint.
    let mut lines = whole();
    lines.drain(at(512)..604);
    assert_eq!(fault(&lines), Fault::Gap { from: 512, to: 600 });
}

#[test]
fn lines_that_nothing_signed() {
    for (from, to) in [("1900000000000", "1800000000000"), ("\"filter\":null", "\"filter\":{}")] {
        let mut lines = whole();
        replace(&mut lines[0], from, to);
        assert_eq!(fault(&lines), Fault::Altered);
        fit(&mut lines);
        assert!(
            verify(&lines).is_ok(),
            "the exporter's own words: whoever makes the file may say what it likes"
        );
    }
    let mut lines = whole();
    replace(&mut lines[604], "\"records\":600", "\"records\":60");
    assert_eq!(fault(&lines), Fault::Count { stated: 60, found: 600 });
    let mut lines = whole();
    replace(&mut lines[604], "node-2+", "node-2+0");
    assert_eq!(fault(&lines).code(), "malformed");
}

#[test]
fn who_signed_and_what() {
    let log = log();
    let checkpoint = log.checkpoint(600);
    let mut lines = whole();
    replace(&mut lines[604], "\\n600\\n", "\\n500\\n");
    assert_eq!(fault(&lines), Fault::Note(NoteError::BadSignature(node(1).verifier().name().to_owned())));
    let by = |nodes: &[u8]| fault(&log.whole().lines_with(&signed(&checkpoint, nodes)));
    assert_eq!(by(&[1]), Fault::Quorum { signed: 1, needed: 2 });
    assert_eq!(by(&[7, 8, 9]), Fault::Quorum { signed: 0, needed: 2 });
    let ending_in = |checkpoint| fault(&log.whole().lines_with(&signed(&checkpoint, &[1, 2, 3])));
    let mut other = checkpoint;
    other.origin.history = History(5);
    assert_eq!(ending_in(other), Fault::Origin { file: checkpoint.origin, checkpoint: other.origin });
    assert_eq!(ending_in(log.checkpoint(599)), Fault::Size { file: 600, checkpoint: 599 });
    let longer = Log::new(700, 3).checkpoint(700);
    assert_eq!(ending_in(longer), Fault::Size { file: 600, checkpoint: 700 });
    let mut other = checkpoint;
    other.root[0] ^= 1;
    assert_eq!(ending_in(other), Fault::Root);
    let mut other = checkpoint;
    other.time_ms += 1;
    assert_eq!(
        ending_in(other),
        Fault::Time { record_ms: checkpoint.time_ms, checkpoint_ms: checkpoint.time_ms + 1 }
    );
}

/// Whoever makes a file may make its hashes fit. A log that was made wrong is seen in the records, another log by the root.
#[test]
fn a_forger_who_makes_all_hashes_fit() {
    let honest = signed(&log().checkpoint(600), &[1, 2, 3]);
    let forged = |sequence: usize, alter: &dyn Fn(&mut flagraft_core::record::Record)| {
        let mut log = log();
        let mut record = log.record(sequence);
        alter(&mut record);
        log.records[sequence] = record.to_bytes().bytes;
        fault(&log.whole().lines_with(&honest))
    };
    assert_eq!(forged(300, &|record| record.reason = "another".to_owned()), Fault::Root);
    let before = log().record(299);
    assert_eq!(
        forged(300, &|record| record.time_ms = before.time_ms - 1),
        Fault::Broken {
            sequence: 300,
            how: Broken::Time { stated_ms: before.time_ms - 1, before_ms: before.time_ms }
        }
    );
    assert_eq!(
        forged(300, &|record| record.sequence = 7),
        Fault::Broken { sequence: 300, how: Broken::Sequence { stated: 7 } }
    );
    assert_eq!(
        forged(300, &|record| record.group = 2),
        Fault::Broken { sequence: 300, how: Broken::Group { stated: 2 } }
    );
    assert_eq!(
        forged(300, &|record| record.history = History(9)),
        Fault::Broken { sequence: 300, how: Broken::History { stated: History(9), before: HISTORY } }
    );
    let revision = before.revision_after;
    assert_eq!(
        forged(300, &|record| record.revision_before += 1),
        Fault::Broken { sequence: 300, how: Broken::Revision { stated: revision + 1, before: revision } }
    );
    // The last record, and the keys themselves in the forger's hand: what was signed must be of the last record.
    let mut log = log();
    let mut last = log.record(0);
    last.sequence = 600;
    last.history = History(9);
    last.time_ms = log.record(599).time_ms;
    (last.revision_before, last.revision_after) =
        (log.record(599).revision_after, log.record(599).revision_after);
    log.records.push(last.to_bytes().bytes);
    assert_eq!(fault(&log.whole().lines()), Fault::History { record: History(9), checkpoint: HISTORY });
}

#[test]
fn a_table_says_what_its_records_say() {
    let log = log();
    let lines = Export { format: Format::Csv, ..log.whole() }.lines();
    // A line of a table more: the names of the columns.
    let row = at(300) + 1;
    let line = u64::try_from(row + 1).expect("small");
    let mut altered = lines.clone();
    replace(&mut altered[row], ",accepted,", ",rejected,");
    assert_eq!(fault(&altered), Fault::Columns { sequence: 300, line });
    let mut altered = lines.clone();
    replace(&mut altered[row], "\"\"reason\"\":\"\"step", "\"\"reason\"\":\"\"stop");
    assert_eq!(fault(&altered), Fault::Rewritten { sequence: 300, line });
    let mut altered = lines.clone();
    replace(&mut altered[row], "\r\n", "\n");
    assert_eq!(fault(&altered), Fault::Rewritten { sequence: 300, line });
    let mut altered = lines.clone();
    replace(&mut altered[1], "sequence", "Sequence");
    assert_eq!(fault(&altered).code(), "malformed");
    let mut altered = lines;
    altered.remove(row);
    assert_eq!(fault(&altered), Fault::Missing { sequence: 300 });
}

/// Two logs that the keys signed both: only who saw the other one can tell.
#[test]
fn a_log_that_forked() {
    let seen = log();
    let mut forked = seen.clone();
    forked.records.truncate(400);
    forked.grow(600, &mut Sequence::new(4));
    let lines = forked.whole().lines();
    assert!(verify(&lines).is_ok());
    let origin = seen.checkpoint(0).origin;
    let witness =
        |size, proof| Witnessed::new(signed(&seen.checkpoint(size), &[2]), proof).expect("a checkpoint");
    assert!(verify_against(&lines, &[witness(400, None)]).is_ok(), "the same up to there");
    for size in [401, 512, 600] {
        let answer = verify_against(&lines, &[witness(10, None), witness(size, None)]);
        assert_eq!(answer.expect_err("forked"), Fault::Fork { size, seen: origin });
    }
    let part = Export { from: 500, to: 600, ..forked.whole() }.lines();
    let proof = forked.consistency(450, 600);
    assert_eq!(
        verify_against(&part, &[witness(450, None)]).expect_err("nothing tells"),
        Fault::Unrelated { size: 450 }
    );
    let answer = verify_against(&part, &[witness(450, Some(proof))]);
    assert_eq!(answer.expect_err("forked"), Fault::Fork { size: 450, seen: origin });
}

#[test]
fn what_is_not_worth_comparing_with() {
    let note = signed(&log().checkpoint(5), &[1]).to_string();
    let json = |proof: &str| serde_json::json!({"checkpoint": note, "consistency": [proof]}).to_string();
    assert!(note.parse::<Witnessed>().is_ok());
    assert!(json("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").parse::<Witnessed>().is_ok());
    assert_eq!(json("AA").parse::<Witnessed>(), Err(WitnessedError::Form));
    assert_eq!("{}".parse::<Witnessed>(), Err(WitnessedError::Form));
    assert!(matches!("text\n".parse::<Witnessed>(), Err(WitnessedError::Note(_))));
    let verifier = || flagraft_core::audit_file::Verifier::new(crate::log::trusted(), None).expect("keys");
    let by_a_stranger = Witnessed::new(signed(&log().checkpoint(5), &[9]), None).expect("a checkpoint");
    assert_eq!(verifier().witnessed(by_a_stranger).err(), Some(WitnessedError::Unsigned));
    let forged: Witnessed = note.replace("\n5\n", "\n6\n").parse().expect("a note");
    assert!(matches!(verifier().witnessed(forged).err(), Some(WitnessedError::Note(_))));
}

/// The words are for people: they say where, and what to do or what it means.
#[test]
fn faults_in_words() {
    let log = log();
    assert_eq!(
        Fault::Rewritten { sequence: 7, line: 9 }.to_string(),
        "record 7 (line 9) was rewritten: it is not the record that the log has there"
    );
    assert_eq!(
        Fault::Gap { from: 7, to: 8 }.to_string(),
        "there is a gap: record 7 can neither be found in the file nor be accounted for"
    );
    assert_eq!(
        Fault::Gap { from: 7, to: 10 }.to_string(),
        "there is a gap: records 7 to 9 can neither be found in the file nor be accounted for"
    );
    assert_eq!(Fault::Rewritten { sequence: 7, line: 9 }.sequence(), Some(7));
    assert_eq!(leaf_hash(&log.records[0]), log.leaves()[0]);
}
