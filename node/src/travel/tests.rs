use std::{fs, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flagraft_core::{
    apply::apply,
    identity::LogPosition,
    proposal::{Body, Proposal, RequestId},
    retention::Edge,
};
use serde_json::json;

use super::{edge::EdgeCheck, *};
use crate::{
    raft::testing::{change, proposal},
    storage::{FatalHook, StorageMetrics, StorageOptions},
};

/// What stands for a record that was removed.
const REMOVED: [u8; 33] = [0; 33];

/// A log, and the state that each of its revisions made.
struct Past {
    _dir: tempfile::TempDir,
    storage: Arc<Storage>,
    states: Vec<State>,
}

fn config() -> TravelConfig {
    TravelConfig { every: 10, deadline: Duration::from_secs(60), ..TravelConfig::default() }
}

impl Past {
    /// So many revisions; after every third there is a record that makes none.
    fn new(revisions: u64) -> Self {
        let mut past = Self::empty();
        for number in 0..revisions {
            past.apply(number, &change(number));
            if number % 3 == 2 {
                past.apply(number, &proposal(1_000_000 + number));
            }
        }
        past
    }

    fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let metrics = StorageMetrics::register(&prometheus::Registry::new()).expect("fresh registry");
        let fatal: FatalHook = Arc::new(|why| panic!("{why}"));
        let options = StorageOptions { fatal, ..StorageOptions::new(dir.path(), 1, metrics) };
        let storage = Storage::open(options).expect("opens");
        Self { _dir: dir, storage, states: vec![State::empty()] }
    }

    /// A cluster that keeps changes for a day, and some changes.
    fn with_rule(changes: u64) -> Self {
        let mut past = Self::empty();
        past.apply(0, &by_the_cluster(json!([{
            "op": "system.bootstrap", "cluster": "0".repeat(32), "history": "0".repeat(16), "cluster_version": 2, "members": {},
        }])));
        past.apply(1, &by_the_cluster(json!([{"op": "audit.retention.put", "keep_days": {"change": 1}}])));
        for number in 1..=changes {
            past.apply(number + 1, &change(number));
        }
        past
    }

    fn apply(&mut self, index: u64, proposal: &Proposal) {
        let mut proposal = proposal.clone();
        // A second of the clock for each, so that times and revisions differ.
        proposal.proposed_at_ms = 1_700_000_000_000 + i64::try_from(index).expect("small") * 1_000;
        let applied = apply(self.now(), &proposal, LogPosition { term: 1, index });
        let record = applied.record.expect("a record");
        let mut batch = self.storage.batch();
        batch.record(record.sequence, &record.bytes);
        batch.commit().expect("written");
        if applied.state.revision() == self.now().revision() {
            self.states.pop();
        }
        self.states.push(applied.state);
    }

    fn now(&self) -> &State {
        self.states.last().expect("a state")
    }

    fn traveller(&self) -> Arc<Traveller> {
        self.with(config())
    }

    fn with(&self, config: TravelConfig) -> Arc<Traveller> {
        Traveller::open(&self.storage, config).expect("opens")
    }

    async fn at(&self, traveller: &Arc<Traveller>, when: When) -> Result<Arc<Travelled>, TravelError> {
        traveller.travel(self.now().clone(), when).await
    }

    /// Goes to a revision and makes sure that all is as it was.
    async fn is_as_it_was(&self, traveller: &Arc<Traveller>, revision: u64) {
        let found = self.at(traveller, When::Revision(revision)).await.expect("known");
        let then = &self.states[usize::try_from(revision).expect("small")];
        assert_eq!((found.moment().revision, then.revision()), (revision, revision));
        let rows = |catalog: &Catalog| catalog.rows().skip(1).collect::<Vec<_>>();
        assert!(rows(&found.catalog) == rows(&Catalog::of(then)), "revision {revision}");
    }

    fn kept(&self) -> Vec<PathBuf> {
        let dir = fs::read_dir(self.storage.catalog_dir()).expect("a folder");
        let mut paths: Vec<_> = dir.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths
    }

    fn made(&self, revision: u64) -> Moment {
        // Of before the edge too.
        let log = Log { end: self.now().sequence(), ..Log::of(&self.storage, &State::empty()) };
        log.made(revision).expect("reads").expect("there")
    }

    fn row(&self, revision: u64) -> Vec<u8> {
        self.storage.audit_rows(&[self.made(revision).sequence], usize::MAX).expect("reads").remove(0)
    }

    fn remove_record_of(&self, revision: u64) {
        let made = self.made(revision);
        let mut batch = self.storage.batch();
        batch.record(made.sequence, &REMOVED);
        batch.commit().expect("written");
    }
}

#[tokio::test]
async fn every_revision_is_found_and_is_as_it_was() {
    let past = Past::new(120);
    let traveller = past.traveller();
    for revision in (1..=120).rev().chain([7, 120, 55]) {
        past.is_as_it_was(&traveller, revision).await;
    }
    // What the ways passed is kept: every ten, and from fifty flags on every fifty.
    assert!(!past.kept().is_empty());
    for revision in (1..=120).rev() {
        past.is_as_it_was(&past.traveller(), revision).await;
    }
    let newest = past.at(&traveller, When::Revision(121)).await.expect_err("ahead");
    assert!(matches!(newest, TravelError::Ahead { wanted: 121, newest: 120 }), "{newest}");
    let nothing = past.at(&traveller, When::Revision(0)).await.expect_err("before all");
    assert!(matches!(nothing, TravelError::Gone { oldest: 1 }), "{nothing}");
}

#[tokio::test]
async fn a_time_is_that_of_the_newest_revision_until_then() {
    let past = Past::new(30);
    let traveller = past.traveller();
    for (time_ms, revision) in
        [(0, 1), (999, 1), (1_000, 2), (1_500, 2), (28_999, 29), (29_000, 30), (1_000_000, 30)]
    {
        let found = past.at(&traveller, When::Time(1_700_000_000_000 + time_ms)).await.expect("known");
        assert_eq!(found.moment().revision, revision, "{time_ms}");
    }
    let early = past.at(&traveller, When::Time(1_699_999_999_999)).await.expect_err("before all");
    assert!(matches!(early, TravelError::Gone { oldest: 1 }), "{early}");
}

#[tokio::test]
async fn a_revision_of_another_history_is_none_of_this_log() {
    let past = Past::new(20);
    let traveller = past.traveller();
    let token =
        |history: u64, revision: u64| When::Token(RevisionToken { history: History(history), revision });
    assert_eq!(past.at(&traveller, token(0, 7)).await.expect("its own").moment().revision, 7);
    for (history, revision) in [(5, 7), (5, 70)] {
        let error = past.at(&traveller, token(history, revision)).await.expect_err("another");
        assert!(matches!(error, TravelError::OtherHistory { .. }), "{error}");
    }
    let ahead = past.at(&traveller, token(0, 70)).await.expect_err("ahead");
    assert!(matches!(ahead, TravelError::Ahead { .. }), "{ahead}");
}

/// A catalog that was changed on the disk is found by its hash, whichever byte it is, and made anew.
#[tokio::test]
async fn a_damaged_catalog_is_never_believed() {
    let past = Past::new(40);
    past.is_as_it_was(&past.traveller(), 29).await;
    let kept = past.kept();
    assert_eq!(kept.len(), 2, "of revisions 10 and 20: {kept:?}");
    let whole = fs::read(&kept[1]).expect("reads");
    for at in (0..whole.len()).step_by(7).chain(whole.len() - 40..whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&kept[1], &bytes).expect("writes");
        past.is_as_it_was(&past.traveller(), 25).await;
        assert!(fs::read(&kept[1]).expect("made anew") == whole, "byte {at}");
    }
    fs::write(&kept[1], &whole[..whole.len() / 2]).expect("writes");
    past.is_as_it_was(&past.traveller(), 25).await;
    assert!(fs::read(&kept[1]).expect("made anew") == whole, "cut off");
    // One that is whole and of another log is no better.
    fs::copy(&kept[0], &kept[1]).expect("copies");
    past.is_as_it_was(&past.traveller(), 25).await;
    assert!(fs::read(&kept[1]).expect("made anew") == whole, "another one's place");
}

#[tokio::test]
async fn a_lost_catalog_is_made_anew_and_what_is_kept_is_bounded() {
    let past = Past::new(200);
    let traveller = past.traveller();
    past.is_as_it_was(&traveller, 199).await;
    let kept = past.kept();
    assert!(kept.len() >= 5, "{kept:?}");
    kept.iter().for_each(|path| fs::remove_file(path).expect("removed"));
    past.is_as_it_was(&traveller, 198).await;
    assert_eq!(past.kept(), kept, "by one who knew of them");
    kept.iter().for_each(|path| fs::remove_file(path).expect("removed"));
    past.is_as_it_was(&past.traveller(), 199).await;
    assert_eq!(past.kept(), kept, "and by one who did not");

    let sizes: Vec<u64> = kept.iter().map(|path| fs::metadata(path).expect("there").len()).collect();
    let bytes_max = sizes.iter().sum::<u64>() * 3 / 4;
    let bounded = past.with(TravelConfig { bytes_max, ..config() });
    let left: u64 = past.kept().iter().map(|path| fs::metadata(path).expect("there").len()).sum();
    assert!(left <= bytes_max && past.kept().len() > 1, "{left} of {bytes_max}");
    assert_eq!(past.kept().last(), kept.last(), "the newest stays");
    past.is_as_it_was(&bounded, 130).await;
    let left: u64 = past.kept().iter().map(|path| fs::metadata(path).expect("there").len()).sum();
    assert!(left <= bytes_max, "passing by makes no room for itself: {left} of {bytes_max}");
}

/// Where a change is gone from the log, what came of it is told from the next catalog on that is kept; a record that
/// changed nothing is not missed.
#[tokio::test]
async fn what_is_not_known_any_more_is_said_to_be_gone() {
    let past = Past::new(40);
    past.is_as_it_was(&past.traveller(), 39).await;
    past.remove_record_of(15);
    let traveller = past.traveller();
    for revision in [15, 16, 19] {
        let error = past.at(&traveller, When::Revision(revision)).await.expect_err("gone");
        assert!(matches!(error, TravelError::Gone { oldest: 20 }), "{revision}: {error}");
    }
    for revision in [1, 14, 20, 21, 40] {
        past.is_as_it_was(&traveller, revision).await;
    }
    // Without any that is kept, only the present is known.
    past.kept().iter().for_each(|path| fs::remove_file(path).expect("removed"));
    let error = past.at(&past.traveller(), When::Revision(20)).await.expect_err("gone");
    assert!(matches!(error, TravelError::Gone { oldest: 40 }), "{error}");
}

#[tokio::test]
async fn a_look_that_takes_too_long_goes_on_when_it_is_asked_for_again() {
    let past = Past::new(400);
    let hasty = past.with(TravelConfig { deadline: Duration::ZERO, ..config() });
    // No turn is waited for without any time: the work itself is asked.
    let now = past.now();
    let mut tries = 0;
    while let Err(error) = hasty.go(now, When::Revision(399), Instant::now()) {
        assert!(matches!(error, TravelError::TooSlow(_)), "{error}");
        tries += 1;
        assert!(tries < 20, "it comes nearer each time");
    }
    assert!(tries > 2, "{tries}");
    past.is_as_it_was(&past.traveller(), 399).await;
}

#[tokio::test]
async fn no_more_look_at_once_than_may() {
    let past = Past::new(10);
    let traveller = past.with(TravelConfig { at_once: 1, deadline: Duration::from_millis(20), ..config() });
    let turn = traveller.turns.clone().acquire_owned().await.expect("open");
    let busy = past.at(&traveller, When::Revision(5)).await.expect_err("no turn");
    assert!(matches!(busy, TravelError::Busy), "{busy}");
    drop(turn);
    past.is_as_it_was(&traveller, 5).await;
}

#[tokio::test]
async fn the_history_of_a_flag_is_paged_from_the_newest() {
    let past = Past::new(160);
    let traveller = past.traveller();
    let (project, flag): (ProjectKey, FlagKey) =
        ("shop".parse().expect("a key"), "flag-7".parse().expect("a key"));
    let (mut found, mut before) = (Vec::new(), past.now().sequence());
    loop {
        let page = traveller.history(project.clone(), flag.clone(), before, 2).await.expect("reads");
        assert!(page.records.len() <= 2);
        found.extend(page.records);
        match page.next {
            Some(next) => before = next,
            None => break,
        }
    }
    let revisions: Vec<u64> = found
        .iter()
        .map(|row| {
            let moment = flagraft_core::travel::moment(row.sequence, &row.bytes);
            moment.expect("a record").expect("there").revision
        })
        .collect();
    // The change of number n makes revision n + 1.
    assert_eq!(revisions, [158, 108, 58, 8]);
}

/// Puts the edge into the log, as the leader does three days later, for all changes of before the one that made a revision.
fn put_edge(past: &mut Past, revision: u64) -> Edge {
    let made = past
        .traveller()
        .make_edge(past.now(), past.made(revision).time_ms, 500)
        .expect("the records are there");
    assert!(made.parts.len() > 2, "of several parts");
    for (part, content) in (0..).zip(made.parts) {
        let operation =
            json!({"op": "audit.catalog.put", "catalog": made.catalog, "part": part, "content": content});
        let later = 3 * 24 * 60 * 60 + past.now().revision();
        past.apply(later, &by_the_cluster(json!([operation])));
    }
    past.now().edge().expect("it is whole").clone()
}

/// The cluster's own change.
fn by_the_cluster(operations: serde_json::Value) -> Proposal {
    let request = RequestId { id: operations.to_string(), client_given: false };
    let change = json!({"project": null, "operations": operations, "reason": "test"});
    let body = Body::Change(serde_json::from_value(change).expect("a change"));
    Proposal { request, body, ..proposal(0) }
}

/// The changes of before the edge are gone, and everything from the edge on is as it was: also where nothing is left but the log.
#[tokio::test]
async fn from_the_edge_on_every_revision_is_as_it_was() {
    let mut past = Past::with_rule(120);
    let edge = put_edge(&mut past, 60);
    let newest = past.now().revision();
    assert_eq!(edge.catalog.revision, 59, "the last one before that time");
    (2..=59).for_each(|revision| past.remove_record_of(revision));
    let traveller = past.traveller();
    for revision in (59..=newest).rev() {
        past.is_as_it_was(&traveller, revision).await;
    }
    fs::remove_dir_all(past.storage.catalog_dir()).expect("removed");
    let check = past.traveller().check_edge(past.now(), &edge, None).expect("reads");
    assert_eq!(check, EdgeCheck::Unknown, "what it stands for is gone, up to its own record");
    let traveller = past.traveller();
    for revision in [60, 59, 61, 90, newest] {
        past.is_as_it_was(&traveller, revision).await;
    }
    let token =
        |history: u64, revision: u64| When::Token(RevisionToken { history: History(history), revision });
    past.at(&traveller, token(0, 59)).await.expect("its own");
    let other = past.at(&traveller, token(5, 59)).await.expect_err("another");
    assert!(matches!(other, TravelError::OtherHistory { .. }), "{other}");
    let at_the_edge = past.at(&traveller, When::Time(edge.catalog.time_ms)).await.expect("the edge");
    assert_eq!(at_the_edge.moment().revision, 59);
    for when in [
        When::Revision(58),
        When::Revision(1),
        When::Revision(0),
        token(0, 58),
        When::Time(edge.catalog.time_ms - 1),
        When::Time(0),
    ] {
        let gone = past.at(&traveller, when).await.expect_err("gone");
        assert!(matches!(gone, TravelError::Gone { oldest: 59 }), "{when:?}: {gone}");
    }

    // Another edge, of the first one and the records since.
    let next = put_edge(&mut past, 100);
    assert_eq!(next.catalog.revision, 99);
    let check =
        |before: Option<&Edge>| past.traveller().check_edge(past.now(), &next, before).expect("reads");
    assert_eq!(check(Some(&edge)), EdgeCheck::Same);
    fs::remove_dir_all(past.storage.catalog_dir()).expect("removed");
    assert_eq!(check(None), EdgeCheck::Unknown);
    (60..=99).for_each(|revision| past.remove_record_of(revision));
    past.is_as_it_was(&past.traveller(), 110).await;
    let gone = past.at(&past.traveller(), When::Revision(98)).await.expect_err("gone");
    assert!(matches!(gone, TravelError::Gone { oldest: 99 }), "{gone}");
}

#[tokio::test]
async fn a_catalog_that_a_nodes_records_do_not_make_is_told() {
    let mut past = Past::with_rule(40);
    let edge = put_edge(&mut past, 30);
    assert_eq!(past.traveller().check_edge(past.now(), &edge, None).expect("reads"), EdgeCheck::Same);
    // A copy of it is no witness.
    past.at(&past.traveller(), When::Revision(29)).await.expect("known");
    let traveller = past.traveller();
    past.at(&traveller, When::Revision(29)).await.expect("known");
    let mut other = edge.clone();
    other.catalog.sha256[7] ^= 1;
    assert_eq!(traveller.check_edge(past.now(), &other, None).expect("reads"), EdgeCheck::Other);
    let why = traveller.edge(&other).expect_err("another hash").to_string();
    assert!(why.contains("revision 29") && why.contains("another SHA-256"), "{why}");

    // The hash is right, and the bytes that stand for the records are not: a part is another one, and then is none.
    let row = past.storage.audit_rows(&edge.records[1..2], usize::MAX).expect("reads").remove(0);
    let place = row.windows(11).position(|bytes| bytes == b"\"content\":\"").expect("a part") + 20;
    let mut changed = row.clone();
    changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
    past.storage.alter_record(edge.records[1], &changed);
    assert_eq!(traveller.check_edge(past.now(), &edge, None).expect("reads"), EdgeCheck::Other);
    past.storage.alter_record(edge.records[1], b"{}");
    assert_eq!(traveller.check_edge(past.now(), &edge, None).expect("reads"), EdgeCheck::Other);
    // Parts go once there is another edge: this node has still to hear of that.
    past.storage.alter_record(edge.records[1], &REMOVED);
    assert_eq!(traveller.check_edge(past.now(), &edge, None).expect("reads"), EdgeCheck::Unknown);
    fs::remove_dir_all(past.storage.catalog_dir()).expect("removed");
    let behind = past.at(&past.traveller(), When::Revision(35)).await.expect_err("behind");
    assert!(matches!(behind, TravelError::CatchingUp), "{behind}");
    past.storage.alter_record(edge.records[1], &row);

    // Its own records lead nowhere.
    past.storage.alter_record(past.made(20).sequence, &past.row(21));
    assert_eq!(past.traveller().check_edge(past.now(), &edge, None).expect("reads"), EdgeCheck::Other);
}

/// It stands in the log for ever: whatever version reads it, it is the same, and has the same hash.
#[tokio::test]
async fn the_bytes_of_a_catalog_in_the_log_are_frozen() {
    let past = Past::with_rule(60);
    let made = past.traveller().make_edge(past.now(), i64::MAX, usize::MAX).expect("the records are there");
    let frozen = include_str!("golden/catalog.txt");
    let (hash, content) = frozen.trim_end().split_once('\n').expect("two lines");
    assert_eq!(hex::encode(made.catalog.sha256), hash);
    let bytes = BASE64_STANDARD.decode(content).expect("Base64");
    let read = catalog_file::parse(&bytes, made.catalog.sha256).expect("this version reads it");
    assert_eq!(read.revision(), past.now().revision());
    assert!(read.rows().skip(1).eq(Catalog::of(past.now()).rows().skip(1)));
}

#[tokio::test]
async fn what_is_kept_of_before_the_edge_is_forgotten() {
    let mut past = Past::with_rule(120);
    let traveller = past.traveller();
    for revision in [15, 55, 119] {
        past.is_as_it_was(&traveller, revision).await;
    }
    let kept = past.kept().len();
    let edge = put_edge(&mut past, 60);
    traveller.forget_before(&edge);
    let left = past.kept();
    assert!(!left.is_empty() && left.len() < kept, "{kept}: {left:?}");
    let oldest = |path: &PathBuf| catalog_file::head(path).expect("a catalog").revision;
    assert!(left.iter().map(oldest).all(|revision| revision >= edge.catalog.revision), "{left:?}");
    assert!(traveller.kept().iter().all(|kept| kept.moment.revision >= edge.catalog.revision));
}
