//! What the audit log keeps, read back as a client would.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{api::Api, load::Written};

/// All records, in order.
///
/// # Panics
/// The log can't be read, or has a gap.
pub async fn records(node: &Api) -> Vec<Value> {
    let records = selected(node, "").await;
    for (sequence, record) in (0_u64..).zip(&records) {
        assert_eq!(record["sequence"].as_u64(), Some(sequence), "the audit log has a gap: {record}");
    }
    records
}

/// The records that a filter takes, as a query has it, in order: all that are there still where it is empty.
///
/// # Panics
/// The log can't be read.
pub async fn selected(node: &Api, filter: &str) -> Vec<Value> {
    let (mut records, mut from) = (Vec::new(), "0".to_owned());
    loop {
        let page = node.get(&format!("/api/v1/audit?from={from}&limit=500&{filter}")).ok().await;
        records.extend(lines(&page.body));
        match page.header("flagraft-next") {
            Some(next) => from = next.to_owned(),
            None => return records,
        }
    }
}

/// The records of a page: NDJSON, of which a page with a single line is also JSON.
fn lines(body: &Value) -> Vec<Value> {
    match body {
        Value::Null => Vec::new(),
        Value::String(text) => text
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect(),
        record => vec![record.clone()],
    }
}

/// How often each reason was accepted as a change.
pub fn accepted_by_reason(records: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        if record["kind"] == "change" && record["outcome"] == "accepted" {
            let reason = record["reason"].as_str().expect("a change has a reason").to_owned();
            *counts.entry(reason).or_default() += 1;
        }
    }
    counts
}

/// Asserts that a node's audit log has every acknowledged write exactly once, under the revision that was named, and no
/// other write twice. Gives the number of records.
///
/// # Panics
/// It does not.
pub async fn each_once(node: &Api, written: &Written) -> u64 {
    let records = records(node).await;
    compare(&records, written).unwrap_or_else(|fault| panic!("the audit log of {}: {fault}", node.base()));
    records.len() as u64
}

/// Compares an audit log with what writers were told: every acknowledged write is there exactly once, under the revision
/// that was named, and no other write is there twice.
///
/// # Errors
/// The first thing that is wrong.
pub fn compare(records: &[Value], written: &Written) -> Result<(), String> {
    let accepted = accepted_by_reason(records);
    let times = |reason: &str| accepted.get(reason).copied().unwrap_or_default();
    let revisions: BTreeMap<&str, u64> = records
        .iter()
        .filter_map(|record| Some((record["reason"].as_str()?, record["revision_after"].as_u64()?)))
        .collect();
    for (reason, revision) in &written.acknowledged {
        if times(reason) != 1 {
            return Err(format!("{reason:?} was acknowledged, and is there {} times", times(reason)));
        }
        let recorded = revisions.get(reason.as_str());
        if recorded != Some(revision) {
            return Err(format!("{reason:?} was answered with revision {revision}, and has {recorded:?}"));
        }
    }
    match written.unknown.iter().find(|reason| times(reason) > 1) {
        Some(reason) => Err(format!("{reason:?} is there {} times", times(reason))),
        None => Ok(()),
    }
}
