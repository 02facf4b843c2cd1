//! What the audit log keeps, read back as a client would.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::Api;

/// All records, in order.
///
/// # Panics
/// The log can't be read, or has a gap.
pub async fn records(node: &Api) -> Vec<Value> {
    let mut records: Vec<Value> = Vec::new();
    loop {
        let page = node.get(&format!("/api/v1/audit?from={}&limit=500", records.len())).ok().await;
        let before = records.len();
        records.extend(lines(&page.body));
        for (sequence, record) in (before as u64..).zip(&records[before..]) {
            assert_eq!(record["sequence"].as_u64(), Some(sequence), "the audit log has a gap: {record}");
        }
        if records.len() == before {
            return records;
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
