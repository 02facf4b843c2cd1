//! Accounts: what reporters counted of evaluations and reads, as batches that the audit log keeps.
//!
//! A reporter (a node, or a program that evaluates in its own process) numbers its reports from 1 within each of its
//! boots, so that the log can tell a repeated one from a new one, and shows one that is missing. A report is of bounded
//! size: what finds no room in it is counted in [`Folded`], the lowest counts first. Nothing is lost of a sum by that.

mod counters;
mod own;

use std::{cmp::Reverse, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    identity::BootId,
    invalid::Invalid,
    key::{EnvironmentKey, FlagKey, ProjectKey, VariantKey},
    limits::{EXCEEDED_BYTES_MAX, INSTANCE_BYTES_MAX, REPORT_BYTES_MAX, SHORT_TEXT_BYTES_MAX},
    resolution::Reason,
    size::json_bytes,
    token::{ActorType, TokenId},
};

pub use self::{
    counters::{Counters, How},
    own::{OwnCount, OwnReport},
};

/// What a report needs beside its entries as long as the counts of what was folded are not known: their digits.
const FOLDED_DIGITS: usize = 40;

/// Whose report it is, and which one of its.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Who counted: `node-<id>`, or `client/<token id>/<instance>`.
    pub reporter: Arc<str>,
    /// The reporter's life: a new one each time it starts.
    pub boot: BootId,
    /// Which report of this life, from 1. Each is recorded once, whatever it counts.
    pub number: u64,
    /// The start of what is counted, in milliseconds since 1970 UTC by the reporter's clock.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
    /// Whether it is the last one of this life. A life without such a report ended by a crash, which may have lost what
    /// was counted since its last report.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends: bool,
    /// Reports of this life that the log does not have. Said by the record alone, whatever was proposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// The reporter's life before this one, where that ended without a last report. Said by the record alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<Unfinished>,
}

/// Reports that the log does not have, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// A life of a reporter that ended without a last report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unfinished {
    /// Which life.
    pub boot: BootId,
    /// The number of the last report that came of it.
    pub number: u64,
}

/// What was counted together because there was no room for it singly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folded {
    /// How many entries, as far as they were told apart.
    pub entries: u64,
    /// The sum of their counts.
    pub count: u64,
}

impl Folded {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_add(other.entries),
            count: self.count.saturating_add(other.count),
        }
    }
}

/// Evaluations in one environment, counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluations {
    /// Whose count it is.
    pub report: Report,
    /// Whether whoever evaluated says so itself, rather than the node that was asked.
    pub self_reported: bool,
    /// The project.
    pub project: ProjectKey,
    /// The environment.
    pub environment: EnvironmentKey,
    /// The counts, sorted. All evaluations are in them, those that are listed singly too.
    pub entries: Vec<EvaluationCount>,
    /// The evaluations that are not in `entries`.
    pub other: Folded,
    /// Evaluations of flags that ask for each one: those that this report lists, in the order in which they were made. They
    /// are counted in `entries` of a report of the same time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub full: Vec<ListedEvaluation>,
    /// Flags that ask for each evaluation and had more than are listed: how many were only counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_exceeded: Option<Exceeded>,
}

/// How often a flag was evaluated in one way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationCount {
    /// The flag.
    pub flag: FlagKey,
    /// What it served; `null`: the caller's code default.
    pub variant: Option<VariantKey>,
    /// Why.
    pub reason: Reason,
    /// The revision of the flag in the environment: the `version` of its answers.
    pub revision: u64,
    /// The token that was used.
    pub token: TokenId,
    /// How often, at least once.
    pub count: u64,
}

/// One evaluation of a flag that asks for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedEvaluation {
    /// When, in milliseconds since 1970 UTC by the reporter's clock.
    pub time_ms: i64,
    /// The token that was used.
    pub token: TokenId,
    /// For whom: the targeting key, hashed with the environment's key; `null`: the context had none.
    pub targeting_key: Option<KeyHash>,
    /// The flag.
    pub flag: FlagKey,
    /// What it served; `null`: the caller's code default.
    pub variant: Option<VariantKey>,
    /// Why.
    pub reason: Reason,
    /// The revision of the flag in the environment.
    pub revision: u64,
}

/// The first half of the HMAC-SHA256 of a targeting key, under a key that is no part of the replicated state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(#[serde(with = "crate::hexadecimal")] pub [u8; 16]);

/// Evaluations beyond what is listed singly of a flag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exceeded {
    /// By flag, sorted.
    pub flags: Vec<FlagCount>,
    /// Those of flags that are not in `flags`.
    pub other: Folded,
}

/// A flag, and how many.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagCount {
    /// The flag.
    pub flag: FlagKey,
    /// How many.
    pub count: u64,
}

/// Reads of what is managed, counted by caller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Whose count it is.
    pub report: Report,
    /// The counts, sorted.
    pub entries: Vec<AccessCount>,
    /// The reads that are not in `entries`.
    pub other: Folded,
}

/// How often a caller read something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessCount {
    /// Who.
    pub actor: Reader,
    /// The token that was used.
    pub token: TokenId,
    /// The route, with `{names}` where the path has keys: never a path that was sent.
    pub route: Arc<str>,
    /// The method.
    pub method: Arc<str>,
    /// The project that the path names, if it has the form of one.
    pub project: Option<ProjectKey>,
    /// How often, at least once: the sum over `statuses`.
    pub count: u64,
    /// How it was answered, sorted by status. A stream counts when it is opened.
    pub statuses: Vec<StatusCount>,
}

/// Who read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reader {
    /// A person or a program.
    #[serde(rename = "type")]
    pub actor_type: ActorType,
    /// The actor's id.
    pub id: Arc<str>,
}

/// An HTTP status, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusCount {
    /// The status.
    pub status: u16,
    /// How often.
    pub count: u64,
}

/// What is folded: entries that count something.
trait Counted: Serialize {
    fn count(&self) -> u64;
}

impl Counted for EvaluationCount {
    fn count(&self) -> u64 {
        self.count
    }
}

impl EvaluationCount {
    /// How often a flag was evaluated in one way with a token.
    pub fn of(how: How, token: &TokenId, count: u64) -> Self {
        let How { flag, variant, reason, revision } = how;
        Self { flag, variant, reason, revision, token: token.clone(), count }
    }
}

impl Counted for AccessCount {
    fn count(&self) -> u64 {
        self.count
    }
}

impl Counted for FlagCount {
    fn count(&self) -> u64 {
        self.count
    }
}

/// The name under which a node reports.
pub fn node_reporter(node_id: u64) -> Arc<str> {
    format!("node-{node_id}").into()
}

/// The name under which a program reports that holds this token; `instance` is its own name among all that hold it.
///
/// # Errors
/// Those of [`check_instance`].
pub fn client_reporter(token: &str, instance: &str) -> Result<Arc<str>, Invalid> {
    check_instance(instance)?;
    Ok(format!("client/{token}/{instance}").into())
}

/// Checks the name that tells a program apart from others that report with the same token.
///
/// # Errors
/// [`Invalid`], with an empty path, when the name is not as it must be.
pub fn check_instance(instance: &str) -> Result<(), Invalid> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if instance.is_empty() || instance.len() > INSTANCE_BYTES_MAX || !instance.bytes().all(is_good) {
        return Err(Invalid::here(format!(
            "an instance's name is 1 to {INSTANCE_BYTES_MAX} letters, digits, -, _ and ."
        )));
    }
    Ok(())
}

impl Report {
    /// Checks what needs no state.
    fn validate(&self) -> Result<(), Invalid> {
        if self.number == 0 {
            return Err(Invalid::new("/report/number", "reports are numbered from 1"));
        }
        if self.from_ms > self.to_ms {
            return Err(Invalid::new("/report/to_ms", "the time ends before it begins; set the clock right"));
        }
        Ok(())
    }
}

impl Evaluations {
    /// The evaluations that it counts.
    pub fn total(&self) -> u64 {
        sum(&self.entries).saturating_add(self.other.count)
    }

    /// The same with its entries sorted and, where it would have too many bytes, the lowest counts folded.
    #[must_use]
    pub fn folded(mut self) -> Self {
        if let Some(exceeded) = &mut self.full_exceeded {
            exceeded.flags.sort_unstable();
            exceeded.other = exceeded.other.plus(fold(&mut exceeded.flags, EXCEEDED_BYTES_MAX));
        }
        let mut entries = std::mem::take(&mut self.entries);
        self.other = self.other.plus(fold_beside(&mut entries, &self));
        self.entries = entries;
        self
    }

    /// Checks what needs no state.
    ///
    /// # Errors
    /// [`Invalid`] with the path to the first fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.report.validate()?;
        check_entries(&self.entries, |a, b| {
            (&a.flag, &a.variant, a.reason, a.revision, &a.token)
                < (&b.flag, &b.variant, b.reason, b.revision, &b.token)
        })?;
        check_size(self)
    }
}

impl Access {
    /// The reads that it counts.
    pub fn total(&self) -> u64 {
        sum(&self.entries).saturating_add(self.other.count)
    }

    /// The same with its entries sorted and, where it would have too many bytes, the lowest counts folded.
    #[must_use]
    pub fn folded(mut self) -> Self {
        let mut entries = std::mem::take(&mut self.entries);
        self.other = self.other.plus(fold_beside(&mut entries, &self));
        self.entries = entries;
        self
    }

    /// Checks what needs no state.
    ///
    /// # Errors
    /// [`Invalid`] with the path to the first fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.report.validate()?;
        check_entries(&self.entries, |a, b| {
            (&a.actor, &a.token, &a.route, &a.method, &a.project)
                < (&b.actor, &b.token, &b.route, &b.method, &b.project)
        })?;
        for (index, entry) in self.entries.iter().enumerate() {
            let at = |field: &str| format!("/entries/{index}/{field}");
            let names = [("route", &entry.route), ("method", &entry.method), ("token", &entry.token)];
            if let Some((field, _)) = names.iter().find(|(_, name)| name.len() > SHORT_TEXT_BYTES_MAX) {
                return Err(Invalid::new(
                    at(field),
                    format!("this has at most {SHORT_TEXT_BYTES_MAX} bytes"),
                ));
            }
            let answers = entry.statuses.iter().fold(0_u64, |sum, status| sum.saturating_add(status.count));
            if answers != entry.count {
                return Err(Invalid::new(at("count"), "the count is not the sum of the statuses' counts"));
            }
        }
        check_size(self)
    }
}

/// Parts of a list that each find room in a report of their own.
pub fn parts(listed: Vec<ListedEvaluation>) -> Vec<Vec<ListedEvaluation>> {
    // A report without entries has the names of two places and a reporter, and numbers.
    let room = REPORT_BYTES_MAX.saturating_sub(EXCEEDED_BYTES_MAX);
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0_usize);
    for evaluation in listed {
        let more = json_bytes(&evaluation).saturating_add(1);
        bytes = bytes.saturating_add(more);
        if bytes > room && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = more;
        }
        part.push(evaluation);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

fn sum<T: Counted>(entries: &[T]) -> u64 {
    entries.iter().fold(0, |sum: u64, entry| sum.saturating_add(entry.count()))
}

/// Sorts a report's entries, and folds what finds no room beside the rest of it.
fn fold_beside<T: Counted + Ord>(entries: &mut Vec<T>, rest: &impl Serialize) -> Folded {
    entries.sort_unstable();
    fold(entries, REPORT_BYTES_MAX.saturating_sub(json_bytes(rest)).saturating_sub(FOLDED_DIGITS))
}

/// Takes the lowest counts out until the others have at most `room` bytes as JSON, and returns what was taken. Of equal
/// counts the later entries go first.
fn fold<T: Counted>(entries: &mut Vec<T>, room: usize) -> Folded {
    let mut sized: Vec<(usize, usize, T)> = std::mem::take(entries)
        .into_iter()
        .enumerate()
        .map(|(place, entry)| (place, json_bytes(&entry).saturating_add(1), entry))
        .collect();
    let bytes = sized.iter().fold(0_usize, |bytes, (_, more, _)| bytes.saturating_add(*more));
    let mut folded = Folded::default();
    if bytes > room {
        sized.sort_by_key(|(place, _, entry)| (Reverse(entry.count()), *place));
        let mut used = 0_usize;
        let kept = sized
            .iter()
            .take_while(|(_, more, _)| {
                used = used.saturating_add(*more);
                used <= room
            })
            .count();
        for (_, _, entry) in sized.drain(kept..) {
            folded = folded.plus(Folded { entries: 1, count: entry.count() });
        }
        sized.sort_by_key(|(place, _, _)| *place);
    }
    entries.extend(sized.into_iter().map(|(_, _, entry)| entry));
    folded
}

fn check_entries<T: Counted>(entries: &[T], is_before: impl Fn(&T, &T) -> bool) -> Result<(), Invalid> {
    if let Some(index) = entries.iter().position(|entry| entry.count() == 0) {
        return Err(Invalid::new(
            format!("/entries/{index}/count"),
            "an entry counts at least one; leave it out",
        ));
    }
    match entries.windows(2).position(|pair| !matches!(pair, [a, b] if is_before(a, b))) {
        Some(index) => Err(Invalid::new(
            format!("/entries/{}", index.saturating_add(1)),
            "the entries are not sorted, or one is there twice; add their counts up",
        )),
        None => Ok(()),
    }
}

fn check_size<T: Serialize>(report: &T) -> Result<(), Invalid> {
    let bytes = json_bytes(report);
    if bytes > REPORT_BYTES_MAX {
        return Err(Invalid::here(format!(
            "the report has {bytes} bytes of JSON; one has at most {REPORT_BYTES_MAX}; fold the lowest counts"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report() -> Report {
        Report {
            reporter: node_reporter(1),
            boot: BootId(1),
            number: 1,
            from_ms: 0,
            to_ms: 60_000,
            ends: false,
            missing: None,
            unfinished: None,
        }
    }

    fn evaluations(entries: Vec<EvaluationCount>, exceeded: Vec<FlagCount>) -> Evaluations {
        let exceeded = Exceeded { flags: exceeded, other: Folded::default() };
        Evaluations {
            report: report(),
            self_reported: false,
            project: ProjectKey::new("shop").expect("a key"),
            environment: EnvironmentKey::new("production").expect("a key"),
            entries,
            other: Folded { entries: 1, count: 5 },
            full: Vec::new(),
            full_exceeded: Some(exceeded).filter(|exceeded| !exceeded.flags.is_empty()),
        }
    }

    fn entry(flag: &str, count: u64) -> EvaluationCount {
        EvaluationCount {
            flag: FlagKey::new(flag).expect("a key"),
            variant: VariantKey::new("on").ok(),
            reason: Reason::Split,
            revision: 7,
            token: "tok_00000001".into(),
            count,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn folding_keeps_the_sum_the_bound_and_the_greatest(
            counts in prop::collection::btree_map("[a-z\"]{1,200}", 1..1_000_u64, 0..800),
            exceeded in prop::collection::btree_map("[a-z\"]{1,200}", 1..1_000_u64, 0..100),
        ) {
            let entries: Vec<_> = counts.iter().map(|(flag, count)| entry(flag, *count)).collect();
            let beyond: u64 = exceeded.values().sum();
            let exceeded = exceeded.iter();
            let exceeded = exceeded.map(|(flag, count)| FlagCount { flag: FlagKey::new(flag).expect("a key"), count: *count });
            let whole = evaluations(entries, exceeded.collect());
            let total = whole.total();
            let folded = whole.clone().folded();
            prop_assert_eq!(folded.total(), total);
            prop_assert_eq!(folded.validate(), Ok(()));
            let entries = whole.entries.len() + 1;
            prop_assert_eq!(folded.entries.len() + usize::try_from(folded.other.entries).expect("few"), entries);
            if let Some(exceeded) = &folded.full_exceeded {
                let listed: u64 = exceeded.flags.iter().map(|flag| flag.count).sum();
                prop_assert_eq!(listed + exceeded.other.count, beyond);
            }
            let least = folded.entries.iter().map(|entry| entry.count).min().unwrap_or(u64::MAX);
            let gone = whole.entries.iter().filter(|entry| !folded.entries.contains(entry));
            prop_assert!(gone.map(|entry| entry.count).all(|count| count <= least));
            // What fits is not touched.
            if json_bytes(&whole) < REPORT_BYTES_MAX - EXCEEDED_BYTES_MAX {
                prop_assert_eq!(folded.other, whole.other);
            }
        }

        #[test]
        fn parts_hold_all_in_order_and_each_finds_room(flags in prop::collection::vec("[a-z\"]{1,256}", 0..900)) {
            let listed: Vec<_> = flags.iter().zip(0..).map(|(flag, time_ms)| ListedEvaluation {
                time_ms,
                token: "tok_00000001".into(),
                targeting_key: Some(KeyHash([7; 16])),
                flag: FlagKey::new(flag).expect("a key"),
                variant: None,
                reason: Reason::Static,
                revision: 1,
            }).collect();
            let parts = parts(listed.clone());
            prop_assert_eq!(parts.concat(), listed);
            for full in parts {
                let report = Evaluations { full, ..evaluations(Vec::new(), Vec::new()) };
                prop_assert_eq!(report.validate(), Ok(()));
            }
        }
    }

    #[test]
    fn what_is_wrong_in_a_report_is_named() {
        let good = || evaluations(vec![entry("a", 1), entry("b", 2)], Vec::new());
        assert_eq!(good().validate(), Ok(()));
        let paths = [
            ("/report/number", Evaluations { report: Report { number: 0, ..report() }, ..good() }),
            ("/report/to_ms", Evaluations { report: Report { to_ms: -1, ..report() }, ..good() }),
            ("/entries/1/count", Evaluations { entries: vec![entry("a", 1), entry("b", 0)], ..good() }),
            ("/entries/1", Evaluations { entries: vec![entry("b", 1), entry("a", 1)], ..good() }),
            ("/entries/1", Evaluations { entries: vec![entry("a", 1), entry("a", 2)], ..good() }),
            (
                "",
                Evaluations {
                    entries: (100..900).map(|n| entry(&format!("flag-{n}"), 1)).collect(),
                    ..good()
                },
            ),
        ];
        for (path, report) in paths {
            assert_eq!(report.validate().expect_err("wrong").path, path);
        }
        let read = AccessCount {
            actor: Reader { actor_type: ActorType::User, id: "ann".into() },
            token: "tok_00000001".into(),
            route: "/api/v1/tokens".into(),
            method: "GET".into(),
            project: None,
            count: 2,
            statuses: vec![StatusCount { status: 200, count: 1 }],
        };
        let access = Access { report: report(), entries: vec![read], other: Folded::default() };
        assert_eq!(access.validate().expect_err("one is missing").path, "/entries/0/count");
        for instance in ["", "a/b", "a b", &"a".repeat(INSTANCE_BYTES_MAX + 1)] {
            assert!(client_reporter("tok_00000001", instance).is_err(), "{instance}");
        }
        assert_eq!(&*client_reporter("tok_00000001", "pod-7").expect("a name"), "client/tok_00000001/pod-7");
    }
}
