//! The signatures of authors, checked by the verifier: the nodes may sign what they like, they can't make up a change in
//! somebody's name.

use flagraft_core::{
    audit_file::Fault,
    record::Record,
    signing::{self, SignatureBytes},
    token::{ActorType, TokenActor},
};

use super::log::{Export, Log, verify};

/// A log of nine records: keys are registered, three changes signed, and one key is revoked.
fn log() -> Log {
    let lines = include_str!("../fixtures/signed_records.jsonl");
    let records: Vec<Vec<u8>> = lines.lines().map(|line| line.as_bytes().to_vec()).collect();
    let first: Record = serde_json::from_slice(&records[0]).expect("a record");
    Log { records, history: first.history }
}

/// What is wrong with a log in which one record was made up, and which the nodes signed all the same.
fn made_up(sequence: usize, forge: impl FnOnce(&mut Record)) -> Option<signing::Fault> {
    let mut log = log();
    let mut record = log.record(sequence);
    forge(&mut record);
    log.records[sequence] = record.to_bytes().bytes;
    match verify(&log.whole().lines()) {
        Err(Fault::Signature { sequence: found, how }) => {
            assert_eq!(found, u64::try_from(sequence).expect("small"));
            Some(how)
        }
        Ok(_) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn signed_changes_are_counted() {
    let log = log();
    let summary = verify(&log.whole().lines()).expect("good");
    assert_eq!((summary.signed, summary.signed_by_registered), (3, 3));
    // From behind the registration on, the keys' owners are on the records' word.
    let summary = verify(&Export { from: 3, ..log.whole() }.lines()).expect("good");
    assert_eq!((summary.signed, summary.signed_by_registered), (3, 0));
    let summary = verify(&Export { to: 5, ..log.whole() }.lines()).expect("good");
    assert_eq!((summary.signed, summary.signed_by_registered), (1, 1));
}

#[test]
fn a_change_that_nodes_made_up_in_somebodys_name_is_found() {
    for sequence in [4, 6, 7] {
        let arbitrary = |record: &mut Record| {
            record.signature.as_mut().expect("signed").signature = SignatureBytes([7; 64]);
        };
        assert_eq!(made_up(sequence, arbitrary), Some(signing::Fault::NotSigned));
        assert_eq!(made_up(sequence, |record| record.reason.push('!')), Some(signing::Fault::NotSigned));
        let late = |record: &mut Record| record.signature.as_mut().expect("signed").signed_at_ms -= 300_001;
        assert_eq!(made_up(sequence, late), Some(signing::Fault::OutOfTime));
    }
    let mallory = |record: &mut Record| record.actor.id = "mallory@example.com".to_owned();
    let owner = log().record(4).actor;
    let owner = TokenActor { actor_type: ActorType::User, id: owner.id };
    assert_eq!(made_up(4, mallory), Some(signing::Fault::OtherActor(owner)));
    // Signed well, and after the key was revoked.
    let signed = log().record(6);
    let after = |record: &mut Record| {
        *record = Record { sequence: 8, revision_before: record.revision_before, ..signed.clone() };
        record.revision_after = record.revision_before;
        record.time_ms = log().record(7).time_ms;
    };
    let faults = made_up(8, after);
    assert!(
        matches!(faults, Some(signing::Fault::Revoked(7)))
            || log().record(7).signature != log().record(6).signature,
        "{faults:?}"
    );
    assert_eq!(made_up(8, |_| {}), None);
}
