//! Records of what was counted, for people: what a count is of, its greatest entries, and what is missing before it.

use std::{cmp::Reverse, fs, io::Read as _, path::PathBuf};

use clap::Args;
use flagraft_core::{
    identity::ClusterId,
    key::{EnvironmentKey, ProjectKey},
};
use flagraft_node::{accounts::KeyHasher, peer::PeerSecret};
use serde_json::Value;

use crate::{
    failure::Failure,
    output::{self, cell},
};

/// Entries that are shown of one record. `--output json` shows all.
const SHOWN_MAX: usize = 10;

/// What the hash of a person depends on.
#[derive(Args, Clone, Debug)]
pub struct HashKeyArgs {
    /// The file with the secret that all members share. Without it: the hash of a cluster that has none
    #[arg(long, env = "FLAGRAFT_PEER_SECRET_FILE", value_name = "FILE")]
    peer_secret_file: Option<PathBuf>,
    /// The cluster's id, as `cluster status` says it
    #[arg(long, value_name = "ID")]
    cluster: ClusterId,
    /// The project
    #[arg(short, long, env = "FLAGRAFT_PROJECT")]
    project: ProjectKey,
    /// The environment
    #[arg(short, long, env = "FLAGRAFT_ENVIRONMENT")]
    environment: EnvironmentKey,
}

/// Hashes the targeting keys on standard input.
pub fn hash_keys(args: &HashKeyArgs) -> Result<(), Failure> {
    let secret = args.peer_secret_file.as_ref().map(|path| {
        let text = fs::read(path)
            .map_err(|error| Failure::usage(format!("the peer secret {}: {error}", path.display())))?;
        PeerSecret::new(text.trim_ascii().to_vec()).map_err(|error| Failure::usage(error.to_string()))
    });
    let hasher = KeyHasher::new(secret.transpose()?.as_ref(), args.cluster, &args.project, &args.environment);
    let mut keys = String::new();
    std::io::stdin()
        .read_to_string(&mut keys)
        .map_err(|error| Failure::usage(format!("standard input: {error}")))?;
    let hashes: Vec<String> = keys.lines().map(|key| hex::encode(hasher.hash(key).0)).collect();
    output::line(&hashes.join("\n"))
}

/// What a record counts, in a few words; `None` for one that counts nothing.
pub fn summary(record: &Value) -> Option<String> {
    let (counted, what) = match (&record["evaluations"], &record["access"]) {
        (Value::Null, Value::Null) => return None,
        (Value::Null, access) => (access, "reads".to_owned()),
        (evaluations, _) => {
            let place = format!("{}/{}", cell(&evaluations["project"]), cell(&evaluations["environment"]));
            let listed = items(&evaluations["full"]).len();
            let what = if listed > 0 {
                format!("evaluations in {place}, {listed} listed")
            } else {
                format!("evaluations in {place}")
            };
            (evaluations, what)
        }
    };
    let singly: u64 = items(&counted["entries"]).iter().filter_map(|entry| entry["count"].as_u64()).sum();
    let count = singly.saturating_add(counted["other"]["count"].as_u64().unwrap_or_default());
    let own_word = if counted["self_reported"] == true { " (self-reported)" } else { "" };
    Some(format!("{count} {what} by {}{own_word}", cell(&counted["report"]["reporter"])))
}

/// What stands under such a record.
pub fn lines(record: &Value) -> Vec<String> {
    let (counted, is_reads) = match (&record["evaluations"], &record["access"]) {
        (Value::Null, Value::Null) => return Vec::new(),
        (Value::Null, access) => (access, true),
        (evaluations, _) => (evaluations, false),
    };
    let mut lines = warnings(counted);
    let mut entries: Vec<&Value> = items(&counted["entries"]).iter().collect();
    entries.sort_by_key(|entry| Reverse(entry["count"].as_u64()));
    let words = if is_reads { read } else { evaluation };
    lines.extend(entries.iter().take(SHOWN_MAX).map(|entry| format!("    {}", words(entry))));
    let more = entries.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        lines.push(format!("    and {more} more entries; see them with --output json"));
    }
    let other = &counted["other"]["count"];
    if other.as_u64().is_some_and(|count| count > 0) {
        lines.push(format!("    {other} x others, not told apart"));
    }
    lines
}

/// What is missing before the record, or beyond it.
fn warnings(counted: &Value) -> Vec<String> {
    let report = &counted["report"];
    let mut lines = Vec::new();
    if let (Some(from), Some(to)) = (report["missing"]["from"].as_u64(), report["missing"]["to"].as_u64()) {
        lines.push(format!("    ! reports {from} to {to} of boot {} are missing", cell(&report["boot"])));
    }
    if let Some(boot) = report["unfinished"]["boot"].as_str() {
        let boot = cell(&Value::from(boot));
        lines.push(format!("    ! boot {boot} of this reporter crashed: what it counted last may be lost"));
    }
    for exceeded in items(&counted["full_exceeded"]["flags"]) {
        let (flag, count) = (cell(&exceeded["flag"]), &exceeded["count"]);
        lines.push(format!(
            "    ! {count} evaluations of {flag} are counted and not listed: beyond the ceiling"
        ));
    }
    lines
}

fn evaluation(entry: &Value) -> String {
    let variant = entry["variant"].as_str().unwrap_or("(code default)");
    format!(
        "{} x {} {} {} at revision {} with {}",
        entry["count"],
        cell(&entry["flag"]),
        cell(&Value::from(variant)),
        cell(&entry["reason"]),
        entry["revision"],
        cell(&entry["token"]),
    )
}

fn read(entry: &Value) -> String {
    let statuses = items(&entry["statuses"]).iter();
    let statuses: Vec<String> =
        statuses.map(|status| format!("{}: {}", status["status"], status["count"])).collect();
    let project = entry["project"].as_str().map(|project| format!(" of {}", cell(&Value::from(project))));
    format!(
        "{} x {} {}{} by {} with {} ({})",
        entry["count"],
        cell(&entry["method"]),
        cell(&entry["route"]),
        project.unwrap_or_default(),
        cell(&entry["actor"]["id"]),
        cell(&entry["token"]),
        statuses.join(", "),
    )
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_count_is_shown_with_its_greatest_entries_and_what_is_missing() {
        let entry = |flag: &str, count: u64| json!({"flag": flag, "variant": "on", "reason": "SPLIT", "revision": 4, "token": "tok_1", "count": count});
        let mut entries: Vec<Value> = (0..12).map(|n| entry(&format!("flag-{n:02}"), 2)).collect();
        entries.push(entry("much", 90));
        let record = json!({"kind": "evaluations", "evaluations": {
            "report": {"reporter": "client/tok_1/a", "boot": "00000000000000ab", "missing": {"from": 2, "to": 3},
                "unfinished": {"boot": "00000000000000aa", "number": 7}},
            "self_reported": true, "project": "shop", "environment": "live", "entries": entries,
            "other": {"entries": 1, "count": 5},
            "full_exceeded": {"flags": [{"flag": "much", "count": 8}], "other": {"entries": 0, "count": 0}},
        }});
        assert_eq!(
            summary(&record).as_deref(),
            Some("119 evaluations in shop/live by client/tok_1/a (self-reported)")
        );
        let lines = lines(&record);
        assert!(lines[0].contains("reports 2 to 3 of boot 00000000000000ab are missing"), "{lines:?}");
        assert!(
            lines[1].contains("00000000000000aa") && lines[2].contains("8 evaluations of much"),
            "{lines:?}"
        );
        assert_eq!(lines[3], "    90 x much on SPLIT at revision 4 with tok_1");
        assert!(
            lines.contains(&"    and 3 more entries; see them with --output json".to_owned()),
            "{lines:?}"
        );
        assert_eq!(lines.last().map(String::as_str), Some("    5 x others, not told apart"));
    }

    #[test]
    fn reads_are_shown_with_who_and_what() {
        let record = json!({"kind": "access", "access": {
            "report": {"reporter": "node-1", "boot": "00000000000000ab"},
            "entries": [{"actor": {"type": "user", "id": "ann"}, "token": "tok_1", "route": "/api/v1/projects/{project}",
                "method": "GET", "project": "shop", "count": 3,
                "statuses": [{"status": 200, "count": 2}, {"status": 404, "count": 1}]}],
            "other": {"entries": 0, "count": 0},
        }});
        assert_eq!(summary(&record).as_deref(), Some("3 reads by node-1"));
        assert_eq!(
            lines(&record),
            ["    3 x GET /api/v1/projects/{project} of shop by ann with tok_1 (200: 2, 404: 1)"]
        );
        assert_eq!(summary(&json!({"kind": "change"})), None);
        assert!(lines(&json!({"kind": "change"})).is_empty());
    }
}
