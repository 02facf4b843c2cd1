//! `flagraft cluster ...`: who leads, who follows, and whether they agree. What changes that is in [`crate::member`].

use std::collections::BTreeMap;

use clap::Subcommand;
use flagraft_client::admin::cluster;
use serde_json::Value;

use crate::{
    failure::{Exit, Failure},
    member,
    output::{cell, table},
    session::{Global, Session},
};

/// Commands on the cluster.
#[derive(Subcommand, Debug)]
pub enum ClusterCommand {
    /// Show the members; exits with 8 if two of them differ at the same point of the log
    Status,
    /// Invite a node: gives it the join token that it starts with
    Add(member::AddArgs),
    /// Let a learner vote, once it has caught up
    Promote(member::PromoteArgs),
    /// Remove a member, as soon as the others are a quorum without it
    Remove(member::RemoveArgs),
    /// Let another member lead
    Transfer(member::TransferArgs),
    /// Put a new node in the place of a member, dead or alive
    Replace(member::ReplaceArgs),
}

/// Runs a command on the cluster.
pub async fn run(command: ClusterCommand, global: &Global) -> Result<(), Failure> {
    let session = global.management()?;
    match command {
        ClusterCommand::Status => status(&session).await,
        ClusterCommand::Add(args) => member::add(&session, &args).await,
        ClusterCommand::Promote(args) => member::promote(&session, &args).await,
        ClusterCommand::Remove(args) => member::remove(&session, &args).await,
        ClusterCommand::Transfer(args) => member::transfer(&session, &args).await,
        ClusterCommand::Replace(args) => member::replace(&session, &args).await,
    }
}

async fn status(session: &Session) -> Result<(), Failure> {
    let body = session.client.send(&cluster::status()).await?.into_json();
    session.output.show(&body, describe)?;
    let differing = disagreements(&body);
    if differing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::VerificationFailed, format!("members differ: {}", differing.join(", ")))
        .next("stop writing, keep the data folders, and look at the log of the node that is alone"))
}

fn describe(body: &Value) -> String {
    let members = body["members"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |member: &Value| {
        let leads = !body["leader"].is_null() && member["id"] == body["leader"];
        let age = match &member["age_ms"] {
            Value::Null => "unknown".to_owned(),
            age => format!("{age} ms"),
        };
        let digest: String = cell(&member["digest"]).chars().take(12).collect();
        vec![
            format!("{}{}", cell(&member["id"]), if leads { " *" } else { "" }),
            role(member),
            cell(&member["state"]),
            cell(&member["address"]),
            place(member),
            cell(&member["applied"]),
            cell(&member["revision"]),
            age,
            disk(member),
            digest,
        ]
    };
    let rows = members.iter().map(row).collect();
    let headers =
        ["NODE", "ROLE", "STATE", "ADDRESS", "PLACE", "APPLIED", "REVISION", "AGE", "DISK", "DIGEST"];
    let leader = match &body["leader"] {
        Value::Null => "no leader: writes and critical reads wait for one".to_owned(),
        leader => format!("node {leader} leads (*) in term {}", body["term"]),
    };
    format!(
        "cluster {}, history {}: {leader}\nrevision {}, {} audit records, root {}\n\n{}{}",
        cell(&body["cluster"]),
        cell(&body["history"]),
        cell(&body["revision"]),
        cell(&body["audit"]["size"]),
        cell(&body["audit"]["root"]).chars().take(12).collect::<String>(),
        table(&headers, rows, "no members"),
        members.iter().filter_map(catching_up).chain(members.iter().filter_map(unsigned)).collect::<String>()
    ) + &under_way(body)
}

/// What a member is, and what it is meant to be where that is another thing.
fn role(member: &Value) -> String {
    let (role, aim) = (cell(&member["role"]), &member["aim"]);
    if aim.is_null() || *aim == member["role"] { role } else { format!("{role} -> {}", cell(aim)) }
}

/// Where a member stands: its zone, its region and its labels, as far as it has them.
fn place(member: &Value) -> String {
    let named = ["zone", "region"].map(|name| cell(&member[name]));
    let labels = member["labels"].as_object().into_iter().flatten();
    let labels = labels.map(|(name, value)| format!("{name}={}", cell(value)));
    let parts: Vec<String> = named.into_iter().filter(|part| part != "-").chain(labels).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(",") }
}

/// What is left to be done about the members, a line each; empty where nothing is.
fn under_way(body: &Value) -> String {
    let mut text = String::new();
    let membership = &body["membership"];
    if membership["settled"] == false {
        let why = match (&membership["waits_for"], membership["joint"] == true) {
            (Value::String(why), _) => why.clone(),
            (_, true) => "old and new voters have to agree to everything until it is finished".to_owned(),
            _ => "the leader is at it".to_owned(),
        };
        text += &format!("\n\nthe members are being changed: {why}");
    }
    for invitation in body["invitations"].as_array().into_iter().flatten() {
        text += &format!(
            "\n\nnode {} is invited as a {} and has not come yet",
            cell(&invitation["node_id"]),
            cell(&invitation["role"])
        );
    }
    text
}

/// How far a member is that is being sent a snapshot.
fn catching_up(member: &Value) -> Option<String> {
    let snapshot = member.get("snapshot").filter(|snapshot| !snapshot.is_null())?;
    Some(format!(
        "\nnode {} is far behind and being sent a snapshot: {} of {} audit records, {} of {} bytes of the catalog",
        cell(&member["id"]),
        cell(&snapshot["received_records"]),
        cell(&snapshot["total_records"]),
        cell(&snapshot["received_bytes"]),
        cell(&snapshot["total_bytes"]),
    ))
}

/// Why a member signs no checkpoints of the audit log, if it does not.
fn unsigned(member: &Value) -> Option<String> {
    let why = member["checkpoint"]["unsigned"].as_str()?;
    Some(format!(
        "\nnode {} signs no checkpoint of the audit log: {}",
        cell(&member["id"]),
        cell(&why.into())
    ))
}

/// What a member's disk lets it do, and how much is free where that is of interest.
fn disk(member: &Value) -> String {
    let disk = &member["disk"];
    match (disk["state"].as_str(), disk["free_bytes"].as_u64()) {
        (Some(state), Some(free)) if state != "ok" => format!("{state}, {} MiB free", free / (1024 * 1024)),
        _ => cell(&disk["state"]),
    }
}

/// Members that publish the same entry and yet hold another state or another audit log.
fn disagreements(body: &Value) -> Vec<String> {
    let mut first: BTreeMap<u64, &Value> = BTreeMap::new();
    let mut found = Vec::new();
    for member in body["members"].as_array().into_iter().flatten() {
        let Some(index) = member["index"].as_u64() else { continue };
        if member["digest"].is_null() {
            continue;
        }
        let other = *first.entry(index).or_insert(member);
        if other["digest"] != member["digest"] || other["audit"] != member["audit"] {
            found.push(format!("nodes {} and {} at entry {index}", other["id"], member["id"]));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_members_at_the_same_entry_are_compared() {
        let member = |id: u64, index: Option<u64>, digest: Option<&str>| json!({"id": id, "index": index, "digest": digest});
        let members = |list: Vec<Value>| json!({ "members": list });
        let equal = members(vec![
            member(1, Some(9), Some("aa")),
            member(2, Some(9), Some("aa")),
            member(3, Some(8), Some("bb")),
            member(4, None, None),
            member(5, Some(9), None),
        ]);
        assert_eq!(disagreements(&equal), Vec::<String>::new());
        let differing = members(vec![member(1, Some(9), Some("aa")), member(2, Some(9), Some("ab"))]);
        assert_eq!(disagreements(&differing), ["nodes 1 and 2 at entry 9"]);
    }

    #[test]
    fn what_is_under_way_and_where_members_stand_is_told() {
        let body = json!({
            "leader": 1, "term": 1, "audit": {},
            "members": [
                {"id": 1, "role": "voter", "aim": "voter", "zone": "a", "region": "eu", "labels": {"rack": "7"}},
                {"id": 4, "role": "learner", "aim": "voter", "zone": "", "region": "", "labels": {}},
            ],
            "membership": {"settled": false, "joint": false, "waits_for": "node 4 lacks 9 entries"},
            "invitations": [{"node_id": 5, "role": "learner", "expires_at_ms": 1}],
        });
        let text = describe(&body);
        for said in
            ["a,eu,rack=7", "learner -> voter", "being changed: node 4 lacks 9 entries", "node 5 is invited"]
        {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert!(!text.contains("voter -> voter"), "{text}");
    }

    #[test]
    fn the_leader_is_marked_and_its_absence_said() {
        let body = json!({
            "cluster": "c", "history": "h", "node": 1, "leader": 2, "term": 3, "revision": 4,
            "digest": "d", "audit": {"size": 5, "root": "r"},
            "members": [
                {"id": 1, "role": "voter", "age_ms": null, "disk": {"state": "full", "free_bytes": 5_242_880}},
                {"id": 2, "role": "voter", "age_ms": 7, "disk": {"state": "ok", "free_bytes": 5_242_880_000_u64}},
            ],
        });
        let text = describe(&body);
        assert!(text.contains("node 2 leads (*) in term 3"), "{text}");
        assert!(text.lines().any(|l| l.starts_with("2 *")), "{text}");
        assert!(text.contains("unknown") && text.contains("7 ms"), "{text}");
        assert!(text.contains("full, 5 MiB free") && text.contains(" ok "), "{text}");
        assert!(describe(&json!({"leader": null, "members": []})).contains("no leader"));
    }

    #[test]
    fn a_member_that_is_sent_a_snapshot_is_said_to_be() {
        let snapshot =
            json!({"received_records": 5, "total_records": 9, "received_bytes": 0, "total_bytes": 70});
        let body =
            json!({"leader": 1, "members": [{"id": 1, "snapshot": null}, {"id": 3, "snapshot": snapshot}]});
        let text = describe(&body);
        assert!(text.contains("node 3 is far behind") && text.contains("5 of 9 audit records"), "{text}");
        assert!(text.contains("0 of 70 bytes") && !text.contains("node 1 is far behind"), "{text}");
        assert!(!text.contains("signs no checkpoint"), "{text}");
        let unsigned = json!({"size": 0, "signers": [], "unsigned": "its disk has forgotten some"});
        let text = describe(&json!({"leader": 1, "members": [{"id": 2, "checkpoint": unsigned}]}));
        assert!(
            text.contains("node 2 signs no checkpoint of the audit log: its disk has forgotten some"),
            "{text}"
        );
    }
}
