//! Reports of counts: each is recorded once, what is missing shows, and the sums are right whatever comes when.

use std::collections::BTreeMap;

use flagraft_core::{
    account::{
        Access, AccessCount, EvaluationCount, Evaluations, Folded, Missing, Reader, Report, StatusCount,
        Unfinished, client_reporter, node_reporter,
    },
    apply::apply,
    identity::{BootId, LogPosition},
    key::{EnvironmentKey, FlagKey, ProjectKey, VariantKey},
    limits::{REPORT_BYTES_MAX, REPORTERS_OF_TOKEN_MAX},
    proposal::{Actor, Body, Proposal},
    record::{RECORD_VERSION, RECORD_VERSION_2, Record, RecordKind, RecordOutcome},
    rejection::Rejection,
    reply::Outcome,
    resolution::Reason,
    state::State,
    token::ActorType,
};
use proptest::prelude::*;
use serde_json::json;

use crate::{
    golden::{compare, replay},
    world::{SHOP, START_MS, World, actor, ask, boolean_flag, code, token_create, token_id},
};

fn report(reporter: &str, boot: u64, number: u64) -> Report {
    Report {
        reporter: reporter.into(),
        boot: BootId(boot),
        number,
        from_ms: START_MS,
        to_ms: START_MS + 60_000,
        ends: false,
        missing: None,
        unfinished: None,
    }
}

fn entry(flag: &str, token: &str, count: u64) -> EvaluationCount {
    EvaluationCount {
        flag: FlagKey::new(flag).expect("a key"),
        variant: VariantKey::new("on").ok(),
        reason: Reason::Split,
        revision: 4,
        token: token.into(),
        count,
    }
}

/// A node's report of so many evaluations.
fn evaluated(boot: u64, number: u64, count: u64) -> Evaluations {
    Evaluations {
        report: report("node-1", boot, number),
        self_reported: false,
        project: ProjectKey::new(SHOP).expect("a key"),
        environment: EnvironmentKey::new("dev").expect("a key"),
        entries: vec![entry("flag", "tok_service0", count)],
        other: Folded::default(),
        full: Vec::new(),
        full_exceeded: None,
    }
}

/// A node's report of reads.
pub fn read(number: u64) -> Access {
    let read = AccessCount {
        actor: Reader { actor_type: ActorType::User, id: "ann@example.com".into() },
        token: "tok_owner000".into(),
        route: "/api/v1/projects/{project}/flags".into(),
        method: "GET".into(),
        project: ProjectKey::new(SHOP).ok(),
        count: 3,
        statuses: vec![StatusCount { status: 200, count: 2 }, StatusCount { status: 403, count: 1 }],
    };
    let other = Folded { entries: 2, count: 5 };
    Access { report: report("node-1", 1, number), entries: vec![read], other }
}

/// A shop in which a service token evaluates in `dev`.
fn world() -> World {
    let mut world = World::new();
    let mut service =
        token_create("service", &json!([{"role": "reader", "project": SHOP, "environments": ["dev"]}]));
    service["token"]["kind"] = json!("service");
    world.must(ask(json!([service])).project(None));
    world
}

/// The service's own report.
fn of_the_service(number: u64) -> Evaluations {
    let reporter = client_reporter(&token_id("service"), "pod-7").expect("a name");
    Evaluations {
        report: report(&reporter, 1, number),
        self_reported: true,
        entries: vec![entry("flag", &token_id("service"), 9)],
        ..evaluated(1, 1, 1)
    }
}

impl World {
    fn reports(&mut self, body: Body, actor: Actor) -> Outcome {
        let proposal = self.propose(body, actor, None);
        self.apply(&proposal).reply.outcome
    }

    fn node_reports(&mut self, evaluations: Evaluations) -> Outcome {
        self.reports(Body::Evaluations(evaluations), Actor::system(1))
    }
}

#[test]
fn a_report_is_noted_in_a_record_of_version_2() {
    let mut world = world();
    let (revision, sequence) = (world.state.revision(), world.state.sequence());
    let outcome = world.node_reports(evaluated(1, 1, 17));
    assert_eq!(outcome, Outcome::Unchanged { revision, sequence });
    let record = world.last_record();
    assert_eq!((record.kind, record.outcome), (RecordKind::Evaluations, RecordOutcome::Noted));
    assert_eq!((record.version, record.project.as_deref()), (RECORD_VERSION_2, Some(SHOP)));
    assert_eq!(record.evaluations.as_ref(), Some(&evaluated(1, 1, 17)));
    assert!(record.access.is_none() && record.operations.is_empty());

    world.reports(Body::Access(read(2)), Actor::system(1));
    let record = world.last_record();
    assert_eq!((record.kind, record.outcome), (RecordKind::Access, RecordOutcome::Noted));
    assert_eq!((record.version, record.project.as_ref()), (RECORD_VERSION_2, None));
    assert_eq!(record.access.as_ref(), Some(&read(2)), "nodes number all their reports in one row");

    world.reports(Body::Evaluations(of_the_service(1)), actor("service"));
    assert_eq!(world.last_record().evaluations.as_ref(), Some(&of_the_service(1)));
    // What is no report is recorded as before.
    world.must(ask(json!([{"op": "system.leadership", "to": 2}])).project(None));
    assert_eq!(world.last_record().version, RECORD_VERSION);
}

#[test]
fn a_repeated_number_leaves_no_record_and_a_gap_does() {
    let mut world = world();
    world.node_reports(evaluated(1, 1, 1));
    let first = world.state.sequence() - 1;
    let before = world.state.clone();
    // Under another id, and saying something else: it is the number that counts.
    let repeated = world.propose(Body::Evaluations(evaluated(1, 1, 5)), Actor::system(1), None);
    let applied = world.apply(&repeated);
    assert!(applied.reply.replayed && applied.record.is_none() && world.state == before);
    let revision = world.state.revision();
    assert_eq!(applied.reply.outcome, Outcome::Unchanged { revision, sequence: first });

    world.node_reports(evaluated(1, 5, 1));
    let noted = |world: &World| world.last_record().evaluations.clone().expect("evaluations").report;
    assert_eq!(noted(&world).missing, Some(Missing { from: 2, to: 4 }));
    // Whatever the reporter says of what is missing: the log knows.
    let mut lie = evaluated(1, 6, 1);
    lie.report.missing = Some(Missing { from: 1, to: 9 });
    lie.report.unfinished = Some(Unfinished { boot: BootId(9), number: 9 });
    world.node_reports(lie);
    assert_eq!(noted(&world), report("node-1", 1, 6));
    world.node_reports(evaluated(1, 3, 1));
    assert_eq!(noted(&world).number, 6, "what comes too late is not counted twice");
}

#[test]
fn a_new_life_begins_a_new_count_and_says_how_the_last_one_ended() {
    let mut world = world();
    world.node_reports(evaluated(1, 1, 1));
    world.node_reports(evaluated(2, 1, 1));
    let noted = |world: &World| world.last_record().evaluations.clone().expect("evaluations").report;
    assert_eq!(noted(&world).unfinished, Some(Unfinished { boot: BootId(1), number: 1 }));
    let mut last = evaluated(2, 2, 1);
    last.report.ends = true;
    world.node_reports(last);
    assert_eq!(noted(&world).unfinished, None);
    world.node_reports(evaluated(3, 2, 1));
    assert_eq!(noted(&world).unfinished, None, "it ended in order");
    assert_eq!(noted(&world).missing, Some(Missing { from: 1, to: 1 }));
}

#[test]
fn who_may_report_what() {
    let service = || Body::Evaluations(of_the_service(1));
    let named = |reporter: &str| {
        let report = Report { reporter: reporter.into(), ..of_the_service(1).report };
        Body::Evaluations(Evaluations { report, ..of_the_service(1) })
    };
    let of_node = || Body::Evaluations(evaluated(1, 1, 1));
    let elsewhere =
        Evaluations { environment: EnvironmentKey::new("production").expect("a key"), ..of_the_service(1) };
    let of_others = Evaluations { entries: vec![entry("flag", "tok_owner000", 1)], ..of_the_service(1) };
    let unsaid = Evaluations { self_reported: false, ..of_the_service(1) };
    let of_itself = Evaluations { self_reported: true, ..evaluated(1, 1, 1) };
    let empty = Evaluations { entries: vec![entry("flag", "tok_service0", 0)], ..evaluated(1, 1, 1) };
    let owner = format!("client/{}/x", token_id("owner"));
    let own = Evaluations {
        report: report(&owner, 1, 1),
        entries: vec![entry("flag", &token_id("owner"), 1)],
        ..of_the_service(1)
    };
    for (body, by, expected) in [
        (service(), actor("service"), "unchanged"),
        (of_node(), Actor::system(1), "unchanged"),
        (of_node(), Actor::system(2), "forbidden"),
        (of_node(), actor("service"), "forbidden"),
        (service(), actor("owner"), "forbidden"),
        (service(), Actor::system(1), "forbidden"),
        (Body::Evaluations(own), actor("owner"), "forbidden"),
        (service(), actor("revoked"), "unauthenticated"),
        (named("client/tok_service0"), actor("service"), "forbidden"),
        (named("client/tok_service01/x"), actor("service"), "forbidden"),
        (named("client/tok_service0/a b"), actor("service"), "invalid"),
        (Body::Evaluations(elsewhere), actor("service"), "forbidden"),
        (Body::Evaluations(of_others), actor("service"), "forbidden"),
        (Body::Evaluations(unsaid), actor("service"), "forbidden"),
        (Body::Evaluations(of_itself), Actor::system(1), "forbidden"),
        (Body::Evaluations(empty), Actor::system(1), "invalid"),
        (Body::Access(read(1)), Actor::system(1), "unchanged"),
        (Body::Access(read(1)), actor("owner"), "forbidden"),
    ] {
        let shown = format!("{by:?} {body:?}");
        let mut world = world();
        let got = match world.reports(body, by) {
            Outcome::Rejected { rejection, .. } => code(&rejection),
            Outcome::Unchanged { .. } => "unchanged".to_owned(),
            outcome => panic!("{outcome:?} for {shown}"),
        };
        assert_eq!(got, expected, "{shown}");
        let record = world.last_record();
        assert_eq!(record.evaluations.is_some() || record.access.is_some(), expected == "unchanged");
    }
    let mut unfounded = World::unfounded();
    assert!(unfounded.node_reports(evaluated(1, 1, 1)).rejection().is_some());
}

#[test]
fn what_counts_needs_cluster_version_2() {
    let mut world = World::of_version(1);
    for body in [Body::Evaluations(evaluated(1, 1, 1)), Body::Access(read(1))] {
        let outcome = world.reports(body, Actor::system(1));
        let rejection = outcome.rejection().expect("refused");
        assert!(matches!(rejection, Rejection::UnsupportedOperation { needs: 2, .. }), "{rejection:?}");
        assert_eq!(world.last_record().version, RECORD_VERSION);
    }
    let mut flag = boolean_flag("flag", &json!({"enabled": true}));
    for audit in ["summary", "full"] {
        flag["audit_evaluations"] = json!(audit);
        let put = ask(json!([{"op": "flag.put", "flag": flag}]));
        let rejection = world.refuse(put.clone());
        assert!(matches!(rejection, Rejection::UnsupportedOperation { needs: 2, .. }), "{rejection:?}");
        assert_eq!(rejection.path(), "/operations/0");
        let mut newer = World::new();
        newer.must(put);
        let stored = serde_json::to_value(&newer.flag("flag").definition).expect("JSON");
        assert_eq!(stored["audit_evaluations"], json!(audit));
    }
    world.must(ask(json!([{"op": "system.cluster_version", "version": 2}])).project(None));
    assert!(world.node_reports(evaluated(1, 1, 1)).rejection().is_none());
}

/// The bound of a record: 64 KiB, whatever the report and whoever sent it.
#[test]
fn the_record_of_the_largest_report_is_bounded() {
    let mut world = world();
    let long = "ü\"".repeat(80);
    let entries = (0..2_000).map(|n| EvaluationCount {
        variant: VariantKey::new("\"".repeat(120).as_str()).ok(),
        ..entry(&format!("{long}{n:04}"), "tok_service0", 1 + n % 7)
    });
    let mut whole = Evaluations { entries: entries.collect(), ..evaluated(u64::MAX, u64::MAX, 1) };
    whole.project = ProjectKey::new(&"p".repeat(64)).expect("a key");
    let total = whole.total();
    let folded = whole.folded();
    assert!(folded.entries.len() > 50 && folded.other.entries > 1_000);
    let proposal = world.propose(Body::Evaluations(folded), Actor::system(1), None);
    let record = world.apply(&proposal).record.expect("a record");
    assert!(record.bytes.len() <= 64 * 1024 && record.bytes.len() > REPORT_BYTES_MAX - 2_000);
    assert_eq!(world.last_record().evaluations.as_ref().map(Evaluations::total), Some(total));
}

/// Whoever reports under many names makes the state forget its own, and no node.
#[test]
fn the_reporters_are_bounded_and_the_one_silent_longest_makes_room() {
    let mut world = world();
    world.node_reports(evaluated(1, 1, 1));
    let mut state = world.state.clone();
    let take = |state: &mut State, evaluations: Evaluations, by: Actor| -> Record {
        let proposal = Proposal {
            group: 1,
            request: flagraft_core::proposal::RequestId { id: "r".to_owned(), client_given: true },
            body: Body::Evaluations(evaluations),
            asks_sha256: None,
            actor: by,
            caused_by: None,
            signature: None,
            proposed_at_ms: START_MS,
            salt: [0; 16],
            node: 1,
        };
        let applied = apply(state, &proposal, LogPosition { term: 1, index: 1 });
        *state = applied.state;
        serde_json::from_slice(&applied.record.expect("a record").bytes).expect("a record")
    };
    let client = |n: usize, number: u64| {
        let mut evaluations = of_the_service(number);
        evaluations.report.reporter =
            client_reporter(&token_id("service"), &format!("pod-{n}")).expect("a name");
        evaluations
    };
    let before = state.row_count();
    for n in 0..=REPORTERS_OF_TOKEN_MAX {
        take(&mut state, client(n, 1), actor("service"));
    }
    assert_eq!(state.row_count(), before + REPORTERS_OF_TOKEN_MAX);
    assert_eq!(state.digest(), state.recompute_digest());
    let missing = |record: Record| record.evaluations.and_then(|evaluations| evaluations.report.missing);
    assert_eq!(missing(take(&mut state, client(1, 2), actor("service"))), None, "it is known");
    let forgotten = missing(take(&mut state, client(0, 2), actor("service")));
    assert_eq!(forgotten, Some(Missing { from: 1, to: 1 }));
    assert_eq!(missing(take(&mut state, evaluated(1, 2, 1), Actor::system(1))), None);
    assert!(State::from_rows(state.rows()).expect("rows of a state") == state);
}

/// A copy of a report that was on its way while the reporter stopped and started is no other report; nor is a report of
/// the life before that was overtaken, if it never came.
#[test]
fn a_report_of_the_life_before_counts_once_however_late_it_comes() {
    let mut world = world();
    let total = |world: &World| {
        let counted = world.records.iter().filter_map(|record| record.evaluations.as_ref());
        counted.map(Evaluations::total).sum::<u64>()
    };
    world.node_reports(evaluated(1, 1, 5));
    world.node_reports(evaluated(2, 1, 7));
    assert_eq!(total(&world), 12);
    let records = world.records.len();
    world.node_reports(evaluated(1, 1, 5));
    assert_eq!((world.records.len(), total(&world)), (records, 12), "it is here already");
    world.node_reports(evaluated(1, 2, 11));
    assert_eq!(total(&world), 23);
    let overtaken = world.last_record().evaluations.as_ref().expect("counts").report.clone();
    assert_eq!((overtaken.missing, overtaken.unfinished), (None, None));
    world.node_reports(evaluated(2, 2, 13));
    let report = world.last_record().evaluations.as_ref().expect("counts").report.clone();
    assert_eq!((report.missing, report.unfinished), (None, None), "its own life is as it was");
    assert_eq!(total(&world), 36);
}

/// What a reporter does with its next report.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// It comes.
    Comes,
    /// It comes, and again, and once more after the next one.
    ComesThrice,
    /// It is lost.
    Lost,
    /// The reporter crashes.
    Crash,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What is recorded is what came, each once; and of every life the numbers that are not recorded are those that the
    /// records call missing, but for what was lost last.
    #[test]
    fn sums_are_right_under_repeats_gaps_and_crashes(
        steps in prop::collection::vec((0..3_usize, 1..100_u64, prop::sample::select(&[
            Step::Comes, Step::Comes, Step::ComesThrice, Step::Lost, Step::Crash,
        ][..])), 1..40)
    ) {
        let mut world = world();
        let mut lives = [(1_u64, 0_u64); 3];
        let (mut came, mut late, mut lost) = (0, Vec::new(), BTreeMap::new());
        for (who, count, step) in steps {
            let (boot, number) = &mut lives[who];
            if matches!(step, Step::Crash) {
                (*boot, *number) = (*boot + 1, 0);
                continue;
            }
            *number += 1;
            let node = u64::try_from(who).expect("small") + 1;
            let mut evaluations = evaluated(*boot, *number, count);
            evaluations.report.reporter = node_reporter(node);
            if matches!(step, Step::Lost) {
                lost.insert((node, *boot, *number), ());
                continue;
            }
            came += count;
            for report in std::iter::once((who, evaluations.clone())).chain(late.drain(..)) {
                let node = u64::try_from(report.0).expect("small") + 1;
                world.reports(Body::Evaluations(report.1), Actor::system(node));
            }
            if matches!(step, Step::ComesThrice) {
                world.reports(Body::Evaluations(evaluations.clone()), Actor::system(node));
                late.push((who, evaluations));
            }
        }
        let recorded: Vec<_> = world.records.iter().filter_map(|record| record.evaluations.as_ref()).collect();
        prop_assert_eq!(recorded.iter().map(|evaluations| evaluations.total()).sum::<u64>(), came);
        for evaluations in &recorded {
            let report = &evaluations.report;
            let node: u64 = report.reporter.trim_start_matches("node-").parse().expect("a node");
            for number in report.missing.into_iter().flat_map(|missing| missing.from..=missing.to) {
                prop_assert!(lost.remove(&(node, report.boot.0, number)).is_some(), "told once, and true");
            }
        }
        for (node, boot, number) in lost.into_keys() {
            let last = recorded.iter().filter(|evaluations| {
                evaluations.report.reporter == node_reporter(node) && evaluations.report.boot == BootId(boot)
            });
            let last = last.map(|evaluations| evaluations.report.number).max();
            prop_assert!(last.is_none_or(|last| last < number), "lost before a report that came, and not told");
        }
    }
}

/// The entries of `accounts_log.jsonl` are frozen as proposals, and so is what they make.
#[test]
fn a_log_of_reports_makes_what_it_always_made() {
    let log = include_str!("../fixtures/accounts_log.jsonl");
    for literal in log.lines() {
        let proposal = Proposal::decode(literal.as_bytes()).expect(literal);
        assert_eq!(proposal.encode().expect("fits an entry"), literal.as_bytes());
    }
    let made = replay(State::empty(), log, 1);
    compare("records", &made.records, include_str!("../fixtures/accounts_records.jsonl"));
    compare("rows", &made.rows(), include_str!("../fixtures/accounts_rows.txt"));
    assert_eq!(made.root(), include_str!("../fixtures/accounts_root.txt").trim_end());
    assert_eq!(log.lines().count(), made.records.lines().count() + 1, "one is repeated");
}
