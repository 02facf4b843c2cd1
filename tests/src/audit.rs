//! What the audit log keeps, read back as a client would.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{api::Api, load::Written};

/// All records, in order.
///
/// # Panics
/// The log can't be read, or has a gap.
pub async fn records(node: &Api) -> Vec<Value> {
    read(node).await.unwrap_or_else(|fault| panic!("the audit log of {}: {fault}", node.base()))
}

/// [`records`] of a node that may not answer.
///
/// # Errors
/// Why the log can't be read, or where it has a gap.
pub async fn read(node: &Api) -> Result<Vec<Value>, String> {
    let records = read_selected(node, "").await?;
    let is_out_of_place = |(sequence, record): &(u64, &Value)| record["sequence"].as_u64() != Some(*sequence);
    match (0_u64..).zip(&records).find(is_out_of_place) {
        Some((_, record)) => Err(format!("it has a gap before {record}")),
        None => Ok(records),
    }
}

/// The records that a filter takes, as a query has it, in order: all that are there still where it is empty.
///
/// # Panics
/// The log can't be read.
pub async fn selected(node: &Api, filter: &str) -> Vec<Value> {
    let selected = read_selected(node, filter).await;
    selected.unwrap_or_else(|fault| panic!("the audit log of {}: {fault}", node.base()))
}

async fn read_selected(node: &Api, filter: &str) -> Result<Vec<Value>, String> {
    let (mut records, mut from) = (Vec::new(), "0".to_owned());
    loop {
        let page = node.get(&format!("/api/v1/audit?from={from}&limit=500&{filter}"));
        let page = page.send().await.map_err(|error| error.to_string())?;
        if !page.is_success() {
            return Err(format!("{page:?}"));
        }
        records.extend(lines(&page.body));
        match page.header("flagraft-next") {
            Some(next) => from = next.to_owned(),
            None => return Ok(records),
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
    changes_by_reason(records, "accepted")
}

/// How often each reason is that of a change with this outcome.
fn changes_by_reason(records: &[Value], outcome: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        if record["kind"] == "change" && record["outcome"] == outcome {
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
/// that was named, and no other write is there twice. A write that is done again while its flags have its values still
/// changes nothing, and has a record that says so: it counts too, for no writer writes what is there already, and a
/// request that is repeated makes no record.
///
/// # Errors
/// The first thing that is wrong.
pub fn compare(records: &[Value], written: &Written) -> Result<(), String> {
    let (accepted, unchanged) = (accepted_by_reason(records), changes_by_reason(records, "unchanged"));
    let count =
        |counts: &BTreeMap<String, usize>, reason: &str| counts.get(reason).copied().unwrap_or_default();
    let revisions: BTreeMap<&str, u64> = records
        .iter()
        .filter(|record| record["outcome"] == "accepted")
        .filter_map(|record| Some((record["reason"].as_str()?, record["revision_after"].as_u64()?)))
        .collect();
    for (reason, revision) in &written.acknowledged {
        let times = count(&accepted, reason);
        if times != 1 {
            return Err(format!("{reason:?} was acknowledged, and is there {times} times"));
        }
        let recorded = revisions.get(reason.as_str());
        if recorded != Some(revision) {
            return Err(format!("{reason:?} was answered with revision {revision}, and has {recorded:?}"));
        }
    }
    let acknowledged = written.acknowledged.iter().map(|(reason, _)| reason);
    for reason in acknowledged.chain(&written.unknown) {
        let (changed, again) = (count(&accepted, reason), count(&unchanged, reason));
        if changed > 1 {
            return Err(format!("{reason:?} is there {changed} times"));
        }
        if changed + again > 1 {
            return Err(format!("{reason:?} was done again, and changed nothing, {again} times"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(reason: &str, outcome: &str, revision: u64) -> Value {
        let kind = if outcome == "rejected" { "rejected" } else { "change" };
        json!({"kind": kind, "outcome": outcome, "reason": reason, "revision_after": revision})
    }

    fn written() -> Written {
        let acknowledged = vec![("one".to_owned(), 1), ("two".to_owned(), 2)];
        Written { acknowledged, unknown: vec!["three".to_owned()], ..Written::default() }
    }

    fn compared(more: &[Value]) -> Result<(), String> {
        let sound = [record("one", "accepted", 1), record("two", "accepted", 2)];
        compare(&[&sound, more].concat(), &written())
    }

    #[test]
    fn each_write_is_there_once_or_is_missed() {
        assert_eq!(compared(&[]), Ok(()));
        assert_eq!(compared(&[record("three", "accepted", 3)]), Ok(()), "nobody knew of it");
        assert_eq!(compared(&[record("three", "unchanged", 2)]), Ok(()), "it was done once");
        assert_eq!(compared(&[record("four", "accepted", 3), record("four", "unchanged", 3)]), Ok(()));
        let missed = compare(&[record("one", "accepted", 1)], &written()).expect_err("two is not there");
        assert!(missed.contains("\"two\" was acknowledged, and is there 0 times"), "{missed}");
        let other = compare(&[record("one", "accepted", 9)], &written()).expect_err("of another revision");
        assert!(other.contains("answered with revision 1, and has Some(9)"), "{other}");
    }

    #[test]
    fn a_write_that_is_done_again_is_found_whether_that_changed_anything_or_not() {
        for (more, said) in [
            (vec![record("one", "accepted", 3)], "\"one\" was acknowledged, and is there 2 times"),
            (vec![record("one", "unchanged", 2)], "\"one\" was done again"),
            (
                vec![record("three", "accepted", 3), record("three", "accepted", 4)],
                "\"three\" is there 2 times",
            ),
            (
                vec![record("three", "accepted", 3), record("three", "unchanged", 3)],
                "\"three\" was done again",
            ),
        ] {
            let found = compared(&more).expect_err(said);
            assert!(found.contains(said), "{found}");
        }
    }
}
