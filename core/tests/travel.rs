//! The catalog of an earlier revision, made anew of the audit log. That the records of every change make the same rows as
//! the change did, tokens, members, restores and all, is checked by each test in `apply`; here is what they are good for.

#[path = "common/answers.rs"]
mod answers;
#[path = "common/changes.rs"]
mod changes;
mod common;
#[path = "common/random.rs"]
mod random;

use answers::Answers;
use common::{Catalog, PROJECT};
use flagraft_core::{
    compiled::CompiledEnvironment,
    context::EvaluationContext,
    project::Project,
    travel::{self, CatalogLoader, NotReplayed, may_concern_flag, moment},
};
use proptest::{collection::vec, prelude::*};
use random::{context, founded, made};
use serde_json::{Value, json};

/// What stands for a record that was removed.
const REMOVED: [u8; 33] = [0; 33];

/// The catalog that these rows of the audit log make.
fn travelled(mut from: travel::Catalog, rows: &[Vec<u8>]) -> Result<travel::Catalog, NotReplayed> {
    rows.iter().try_for_each(|row| from.step(row))?;
    Ok(from)
}

/// Writes a catalog and reads it back.
fn stored(catalog: &travel::Catalog) -> travel::Catalog {
    let mut loader = CatalogLoader::default();
    for (key, value) in catalog.rows() {
        loader.row(&key, &value).expect("a row of a catalog");
    }
    loader.finish().expect("a catalog")
}

/// All that a project answers, and why.
fn answers(project: Option<&Project>, contexts: &[EvaluationContext]) -> Vec<(Answers, Vec<Value>)> {
    let Some(project) = project else { return Vec::new() };
    let environments = project.environments.keys().map(|key| CompiledEnvironment::compile(project, key));
    let answers = environments.map(|environment| {
        let asked = project.flags.keys().flat_map(|flag| contexts.iter().map(move |context| (flag, context)));
        let explained = asked.filter_map(|(flag, context)| environment.explain(flag, context).ok());
        (Answers::of(&environment, project, contexts), explained.map(|e| json!(e)).collect())
    });
    answers.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// From every catalog that was kept, to every later revision: what would this user have got then.
    #[test]
    fn what_was_answered_then_is_answered_now(
        history in vec(made(changes::change), 1..=24),
        contexts in vec(context(), 2),
        kept_at in any::<prop::sample::Index>(),
        asked_at in any::<prop::sample::Index>(),
    ) {
        let mut catalog = founded();
        let mut then = vec![catalog.state.clone()];
        for change in history {
            let _ = catalog.change(Some(PROJECT), change);
            then.push(catalog.state.clone());
        }
        let asked = asked_at.index(then.len());
        let (kept, asked) = (&then[kept_at.index(asked + 1)], &then[asked]);
        let rows = &catalog.records[usize::try_from(kept.sequence()).expect("small")..][..];
        let rows = &rows[..usize::try_from(asked.sequence() - kept.sequence()).expect("small")];
        let travelled = travelled(stored(&travel::Catalog::of(kept)), rows).expect("all records are there");
        let live = travel::Catalog::of(asked);
        prop_assert!(travelled.rows().eq(live.rows()));
        prop_assert_eq!(
            answers(travelled.project(PROJECT), &contexts),
            answers(asked.project(PROJECT).map(AsRef::as_ref), &contexts)
        );
    }
}

/// A catalog with a flag that was turned on and off, and a change that changed nothing between.
fn switched() -> Catalog {
    let mut catalog = founded();
    for op in ["flag.enable", "flag.enable", "flag.disable"] {
        catalog.must(json!([{"op": op, "flag": "alpha", "environment": "dev"}]));
    }
    catalog
}

#[test]
fn a_record_that_is_gone_is_missed_only_where_it_changed_something() {
    let catalog = switched();
    let rows = |gone: usize| {
        let mut rows = catalog.records.clone();
        let at = rows.len() - gone;
        rows[at] = REMOVED.to_vec();
        rows
    };
    let whole = travelled(travel::Catalog::empty(), &catalog.records).expect("whole");
    let revision = whole.revision();
    let unchanged = travelled(travel::Catalog::empty(), &rows(2)).expect("it changed nothing");
    assert!(unchanged.rows().eq(whole.rows()));
    assert_eq!(
        travelled(travel::Catalog::empty(), &rows(3)),
        Err(NotReplayed::Removed { after: revision - 2, before: revision - 1 })
    );
    // Nothing comes after the last one that could tell; that the log went further, its reader knows.
    assert_eq!(travelled(travel::Catalog::empty(), &rows(1)).expect("the rest").revision(), revision - 1);
}

#[test]
fn what_does_not_follow_is_told() {
    let catalog = switched();
    let edited = |from: &str, to: &str| {
        let mut rows = catalog.records.clone();
        let last = rows.last_mut().expect("a record");
        let text = String::from_utf8(last.clone()).expect("UTF-8");
        assert!(text.contains(from), "{text}");
        *last = text.replacen(from, to, 1).into_bytes();
        travelled(travel::Catalog::empty(), &rows).expect_err(to)
    };
    let last = u64::try_from(catalog.records.len() - 1).expect("small");
    let revision = catalog.state.revision();
    let field = |name: &str, value: u64| format!("\"{name}\":{value},");
    assert_eq!(
        edited(&field("sequence", last), &field("sequence", 7)),
        NotReplayed::Misplaced { expected: last, actual: 7 }
    );
    for (name, value, other) in
        [("revision_before", revision - 1, 1), ("revision_after", revision, revision + 1)]
    {
        assert_eq!(
            edited(&field(name, value), &field(name, other)),
            NotReplayed::Contradicts { sequence: last }
        );
    }
    for (from, to) in [
        ("\"op\":\"flag.disable\"", "\"op\":\"flag.fly\""),
        ("\"version\":1", "\"version\":9"),
        ("\"time_ms\"", "\"time\""),
    ] {
        assert!(
            matches!(edited(from, to), NotReplayed::Unreadable { sequence, .. } if sequence == last),
            "{to}"
        );
    }
    assert!(matches!(
        edited("\"flag\":\"alpha\"", "\"flag\":\"omega\""),
        NotReplayed::Rejected { sequence, .. } if sequence == last
    ));
    let mut whole = travelled(travel::Catalog::empty(), &catalog.records).expect("whole");
    let before = whole.clone();
    assert!(whole.step(b"no record").is_err());
    assert_eq!(whole, before, "what can't be taken in changes nothing");
}

#[test]
fn rows_that_are_no_catalog_are_refused() {
    let catalog = switched();
    let rows: Vec<_> = travel::Catalog::of(&catalog.state).rows().collect();
    let read = |rows: &[(Vec<u8>, Vec<u8>)]| {
        let mut loader = CatalogLoader::default();
        rows.iter().try_for_each(|(key, value)| loader.row(key, value))?;
        loader.finish()
    };
    read(&rows).expect("whole");
    assert!(read(&[]).is_err());
    assert!(read(&rows[1..]).is_err(), "without its head");
    // The row of a state's numbers is none of a catalog's.
    let mut others = rows.clone();
    others.extend(catalog.state.rows().take(1));
    assert!(read(&others).is_err());
}

#[test]
fn a_record_says_where_it_stands_and_of_what_it_tells() {
    let mut catalog = switched();
    catalog.must(json!([{"op": "segment.put", "segment": {"key": "alpha"}}]));
    catalog.must(
        json!([{"op": "flag.put", "flag": {"key": "beta", "type": "boolean", "variants": {"on": true}}}]),
    );
    catalog.must(json!([{"op": "environment.delete", "environment": "qa"}]));
    let (project, flag) = (PROJECT.parse().expect("a key"), "alpha".parse().expect("a key"));
    let tells: Vec<bool> =
        catalog.records.iter().rev().take(6).map(|row| may_concern_flag(row, &project, &flag)).collect();
    assert_eq!(tells, [true, false, false, true, true, true]);
    let other = "other".parse().expect("a key");
    assert!(!catalog.records.iter().any(|row| may_concern_flag(row, &other, &flag)));
    assert!(!may_concern_flag(&REMOVED, &project, &flag));

    let last = u64::try_from(catalog.records.len() - 1).expect("small");
    let moment = |row: &[u8]| moment(last, row);
    let found = moment(catalog.records.last().expect("a record")).expect("a record").expect("there");
    assert_eq!(
        (found.sequence, found.revision, found.revision_before),
        (last, catalog.state.revision(), catalog.state.revision() - 1)
    );
    assert_eq!(Some(found.history), catalog.state.history());
    assert_eq!(moment(&REMOVED), Ok(None));
    assert!(moment(&catalog.records[0]).is_err() && moment(b"{}").is_err() && moment(&[0; 32]).is_err());
}
