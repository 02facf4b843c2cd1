//! The frozen forms of the hop, and what is not taken from it.

use flagraft_core::proposal::{CauseKind, Denials};
use serde_json::Value;

use super::*;

fn denials() -> Submission {
    let body = Body::Denials(Denials { node: 2, from_ms: 0, to_ms: 1, count: 1 });
    Submission::new(Credentials::Member(2), body, RequestId { id: "one".to_owned(), client_given: false })
}

/// The client did nothing wrong, and nothing was done: 503.
#[test]
fn a_forwarded_write_that_is_sent_again_later_is_not_taken() {
    let sent = ForwardedWrite::new(&denials());
    assert!(sent.clone().into_submission(2).is_ok());
    let within = i64::try_from(SENT_WITHIN_MS).expect("minutes");
    for elsewhere in [-within - 1_000, within + 1_000] {
        let again = ForwardedWrite { sent_at_ms: sent.sent_at_ms + elsewhere, ..sent.clone() };
        assert_eq!(again.into_submission(2).err(), Some(NotTaken::ClockSkew));
    }
}

#[test]
fn golden_forwarded_writes() {
    let literals = include_str!("golden/forwarded.jsonl");
    for literal in literals.lines() {
        let write: ForwardedWrite = serde_json::from_str(literal).expect(literal);
        assert_eq!(serde_json::to_string(&write).expect("JSON"), literal);
    }
    assert_eq!(literals.lines().count(), 3);

    let [first, second, third] = literals.lines().collect::<Vec<_>>().try_into().expect("three lines");
    let now = |literal: &str| {
        let write: ForwardedWrite = serde_json::from_str(literal).expect(literal);
        ForwardedWrite { sent_at_ms: wall_ms(), ..write }.into_submission(3).expect("taken")
    };
    let submission = now(first);
    assert!(
        matches!(&submission.credentials, Credentials::Token(secret) if secret.expose().starts_with("fr_adm_"))
    );
    assert_eq!(submission.asks_sha256, Some([0xcd; 32]));
    assert_eq!(submission.caused_by.map(|cause| cause.kind), Some(CauseKind::Import));
    assert!(submission.dry_run && submission.request.client_given);
    assert!(matches!(now(second).credentials, Credentials::Member(3)));
    let signature = now(third).signature.expect("signed");
    assert_eq!(
        (&*signature.key, signature.signed_at_ms),
        ("key_fe812c12f3ab4ce6ac5db69ac352f906", 1_800_000_000_000)
    );
}

/// A member of a newer version says more than this one understands, and is answered all the same.
#[test]
fn what_a_newer_member_adds_is_left_out_of_account() {
    for literal in include_str!("golden/forwarded.jsonl").lines() {
        let mut write: Value = serde_json::from_str(literal).expect(literal);
        write["priority"] = 1.into();
        serde_json::from_value::<ForwardedWrite>(write).expect("understood");
    }
    for literal in include_str!("golden/answers.jsonl").lines() {
        let mut answer: Value = serde_json::from_str(literal).expect(literal);
        answer["took_ms"] = 1.into();
        serde_json::from_value::<LeaderAnswer>(answer).expect("understood");
    }
}

#[test]
fn golden_answers() {
    let literals = include_str!("golden/answers.jsonl");
    let mut names = std::collections::BTreeSet::new();
    for literal in literals.lines() {
        let answer: LeaderAnswer = serde_json::from_str(literal).expect(literal);
        assert_eq!(serde_json::to_string(&answer).expect("JSON"), literal);
        names.insert(match answer {
            LeaderAnswer::Done { .. } => "done",
            LeaderAnswer::NotLeader { .. } => "not_leader",
            LeaderAnswer::NoQuorum => "no_quorum",
            LeaderAnswer::Overloaded => "overloaded",
            LeaderAnswer::Unauthenticated { .. } => "unauthenticated",
            LeaderAnswer::Invalid { .. } => "invalid",
            LeaderAnswer::TooLarge { .. } => "too_large",
            LeaderAnswer::TooManyRejections => "too_many_rejections",
            LeaderAnswer::OutcomeUnknown => "outcome_unknown",
            LeaderAnswer::NoRoom { .. } => "no_room",
            LeaderAnswer::ClockSkew => "clock_skew",
            LeaderAnswer::NotUnderstood => "not_understood",
        });
    }
    assert_eq!(names.len(), 12, "a line for each answer");
}
