//! What a program reports of the evaluations that it made in its own process: the body of `POST .../evaluations`.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Counted, EvaluationCount, Evaluations, Folded, How, Report, client_reporter, fold_beside, sum};
use crate::{
    identity::BootId,
    invalid::Invalid,
    key::{EnvironmentKey, FlagKey, ProjectKey, VariantKey},
    resolution::Reason,
    token::TokenId,
};

/// What a program counted. Which token, project and environment it is for is said by the request that brings it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnReport {
    /// What tells those apart who report with one token: see [`super::check_instance`].
    pub instance: Arc<str>,
    /// The program's life: a new one each time it starts.
    pub boot: BootId,
    /// Which report of this life, from 1.
    pub number: u64,
    /// The start of what is counted, in milliseconds since 1970 UTC by the program's clock.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
    /// Whether it is the last one of this life.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends: bool,
    /// The counts.
    #[serde(default)]
    pub entries: Vec<OwnCount>,
    /// The evaluations that are not in `entries`.
    #[serde(default)]
    pub other: Folded,
}

/// How often a flag was evaluated in one way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnCount {
    /// The flag.
    pub flag: FlagKey,
    /// What it served; `null`: the caller's code default.
    #[serde(default)]
    pub variant: Option<VariantKey>,
    /// Why.
    pub reason: Reason,
    /// The revision of the flag in the environment: the `version` of its answers.
    pub revision: u64,
    /// How often.
    pub count: u64,
}

impl Counted for OwnCount {
    fn count(&self) -> u64 {
        self.count
    }
}

impl From<(How, u64)> for OwnCount {
    fn from((how, count): (How, u64)) -> Self {
        let How { flag, variant, reason, revision } = how;
        Self { flag, variant, reason, revision, count }
    }
}

impl OwnReport {
    /// The evaluations that it counts.
    pub fn total(&self) -> u64 {
        sum(&self.entries).saturating_add(self.other.count)
    }

    /// The same with its entries sorted and, where it would have too many bytes, the lowest counts folded. The record of it
    /// says more of each entry, so a node may fold more.
    #[must_use]
    pub fn folded(mut self) -> Self {
        let mut entries = std::mem::take(&mut self.entries);
        self.other = self.other.plus(fold_beside(&mut entries, &self));
        self.entries = entries;
        self
    }

    /// The account that the log keeps of it: what is there twice is added up, and what counts nothing left out.
    ///
    /// # Errors
    /// [`Invalid`] where the instance's name is not as it must be.
    pub fn of_token(
        self,
        token: &TokenId,
        project: &ProjectKey,
        environment: &EnvironmentKey,
    ) -> Result<Evaluations, Invalid> {
        let reporter = client_reporter(token, &self.instance).map_err(|invalid| invalid.under("instance"))?;
        let mut counts: BTreeMap<How, u64> = BTreeMap::new();
        for OwnCount { flag, variant, reason, revision, count } in self.entries {
            let sum = counts.entry(How { flag, variant, reason, revision }).or_default();
            *sum = sum.saturating_add(count);
        }
        let entries = counts.into_iter().filter(|(_, count)| *count > 0);
        let evaluations = Evaluations {
            report: Report {
                reporter,
                boot: self.boot,
                number: self.number,
                from_ms: self.from_ms,
                to_ms: self.to_ms,
                ends: self.ends,
                missing: None,
                unfinished: None,
            },
            self_reported: true,
            project: project.clone(),
            environment: environment.clone(),
            entries: entries.map(|(how, count)| EvaluationCount::of(how, token, count)).collect(),
            other: self.other,
            full: Vec::new(),
            full_exceeded: None,
        };
        Ok(evaluations.folded())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{limits::REPORT_BYTES_MAX, size::json_bytes};

    fn report(entries: Vec<OwnCount>) -> OwnReport {
        let other = Folded { entries: 2, count: 5 };
        let (instance, boot) = ("pod-7".into(), BootId(0xab));
        OwnReport { instance, boot, number: 3, from_ms: 1, to_ms: 2, ends: false, entries, other }
    }

    fn count(flag: &str, count: u64) -> OwnCount {
        let (flag, variant) = (FlagKey::new(flag).expect("a key"), VariantKey::new("on").ok());
        OwnCount { flag, variant, reason: Reason::Split, revision: 7, count }
    }

    fn recorded(report: OwnReport) -> Result<Evaluations, Invalid> {
        let (project, environment) = (ProjectKey::new("shop"), EnvironmentKey::new("dev"));
        report.of_token(&"tok_00000001".into(), &project.expect("a key"), &environment.expect("a key"))
    }

    #[test]
    fn what_a_program_sends_is_what_a_node_reads() {
        let sent = report(vec![count("a", 1)]);
        let text = serde_json::to_string(&sent).expect("JSON");
        assert_eq!(
            text,
            r#"{"instance":"pod-7","boot":"00000000000000ab","number":3,"from_ms":1,"to_ms":2,"entries":[{"flag":"a","variant":"on","reason":"SPLIT","revision":7,"count":1}],"other":{"entries":2,"count":5}}"#
        );
        assert_eq!(serde_json::from_str::<OwnReport>(&text).expect("read"), sent);
        let least = r#"{"instance":"a","boot":"00000000000000ab","number":1,"from_ms":0,"to_ms":0}"#;
        assert_eq!(serde_json::from_str::<OwnReport>(least).expect("read").total(), 0);
        assert!(serde_json::from_str::<OwnReport>(&text.replace("other", "others")).is_err());
    }

    #[test]
    fn its_account_is_sorted_added_up_and_has_what_was_sent() {
        let account = recorded(report(vec![count("b", 2), count("a", 1), count("b", 3), count("c", 0)]));
        let account = account.expect("an account");
        assert_eq!(account.validate(), Ok(()));
        let counts: Vec<_> = account.entries.iter().map(|entry| (&*entry.flag, entry.count)).collect();
        assert_eq!((counts, account.total()), (vec![("a", 1), ("b", 5)], 11));
        assert_eq!((&*account.report.reporter, account.report.number), ("client/tok_00000001/pod-7", 3));
        assert!(account.self_reported);
        let nameless = OwnReport { instance: "".into(), ..report(vec![]) };
        assert_eq!(recorded(nameless).expect_err("no name").path, "/instance");
    }

    #[test]
    fn one_that_is_too_large_is_folded_and_counts_the_same() {
        let entries: Vec<_> = (1..=2_000).map(|n| count(&format!("flag-{n:05}"), n)).collect();
        let whole = report(entries);
        let folded = whole.clone().folded();
        assert!(json_bytes(&folded) <= REPORT_BYTES_MAX && json_bytes(&whole) > REPORT_BYTES_MAX);
        assert_eq!(folded.total(), whole.total());
        assert_eq!(folded.entries.len() + usize::try_from(folded.other.entries).expect("few"), 2_002);
        let account = recorded(folded).expect("an account");
        assert_eq!((account.total(), account.validate()), (whole.total(), Ok(())));
    }
}
