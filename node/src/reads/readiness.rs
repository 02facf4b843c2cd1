//! Whether a node should be sent requests.

use serde::Serialize;

use crate::disk::{DiskReport, DiskState};

/// What readiness is judged by.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) stopping: bool,
    pub(super) running: bool,
    pub(super) member: bool,
    pub(super) founded: bool,
    pub(super) leader: Option<u64>,
    pub(super) disk: DiskReport,
    pub(super) age_ms: Option<u64>,
    pub(super) age_max_ms: u64,
}

/// Whether a node should be sent requests, with everything that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether all checks passed that decide about it.
    pub ready: bool,
    /// What was checked, in the order an operator should read it.
    pub checks: Vec<Check>,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found, for a person.
    pub message: String,
}

impl Readiness {
    pub(super) fn of(facts: &Facts) -> Self {
        let check = |name, ok, message: String| Check { name, ok, message };
        let member = match facts.member {
            true => "this node is a member of its cluster",
            false => "this node belongs to no cluster yet; it waits until one is founded with it",
        };
        let founded = match facts.founded {
            true => "the catalog is there",
            false => "the catalog's first entry is not here yet",
        };
        // What was published before the disk refused a write is as good as ever, until it is too old.
        let refusing = facts.disk.state == DiskState::Refusing;
        let raft = match (facts.running, refusing) {
            (true, _) => "raft is running",
            (false, true) => "raft has stopped until the disk takes writes again; reads go on, and grow old",
            (false, false) => "raft has stopped; see the log of this node",
        };
        let free = match facts.disk.free_bytes {
            Some(bytes) => format!("{} MiB are free", bytes / (1024 * 1024)),
            None => "how much is free is not known".to_owned(),
        };
        let disk = match facts.disk.state {
            DiskState::Ok => format!("the disk has room: {free}"),
            DiskState::Low => format!("the disk is low, so this node proposes no changes: {free}"),
            DiskState::Full => {
                format!("the disk is full, so this node takes no changes, and falls behind: {free}")
            }
            DiskState::Refusing => format!("the disk refused a write, and takes none now: {free}"),
        };
        let stopping = match facts.stopping {
            true => "this node is shutting down",
            false => "this node is serving",
        };
        let (age_ok, age) = match facts.age_ms {
            None => (false, "the state was not confirmed as current since this node started".to_owned()),
            Some(age_ms) if age_ms > facts.age_max_ms => (
                false,
                format!(
                    "the state was last known to be current {age_ms} ms ago; at most {} ms is ready",
                    facts.age_max_ms
                ),
            ),
            Some(age_ms) => (true, format!("the state was current {age_ms} ms ago")),
        };
        // Not having a leader is told but decides nothing: ordinary reads go on without one, until they are too old.
        let leader = match facts.leader {
            Some(leader) => format!("node {leader} leads"),
            None => "no leader is known; writes wait for one".to_owned(),
        };
        let checks = vec![
            check("serving", !facts.stopping, stopping.to_owned()),
            check("raft", facts.running || refusing, raft.to_owned()),
            check("member", facts.member, member.to_owned()),
            check("catalog", facts.founded, founded.to_owned()),
            check("age", age_ok, age),
            check("leader", true, leader),
        ];
        let ready = checks.iter().all(|check| check.ok);
        // Told, and decides nothing either: what a node has it can read without room for more.
        let disk = check("disk", facts.disk.state == DiskState::Ok, disk);
        Self { ready, checks: checks.into_iter().chain([disk]).collect() }
    }

    /// What is not as it should be. Empty when the node is ready, but for its disk.
    pub fn reasons(&self) -> impl Iterator<Item = &str> {
        self.checks.iter().filter(|check| !check.ok).map(|check| check.message.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Facts = Facts {
        stopping: false,
        running: true,
        member: true,
        founded: true,
        leader: Some(2),
        age_ms: Some(250),
        age_max_ms: 10_000,
        disk: DiskReport { state: DiskState::Ok, free_bytes: Some(1 << 30) },
    };

    #[test]
    fn each_fault_alone_makes_a_node_unready_and_is_named() {
        assert!(Readiness::of(&GOOD).ready);
        assert!(Readiness::of(&Facts { leader: None, ..GOOD }).ready, "ordinary reads need no leader");
        assert!(Readiness::of(&Facts { age_ms: Some(10_000), ..GOOD }).ready);
        for (facts, said) in [
            (Facts { stopping: true, ..GOOD }, "shutting down"),
            (Facts { running: false, ..GOOD }, "raft has stopped"),
            (Facts { member: false, ..GOOD }, "belongs to no cluster"),
            (Facts { founded: false, ..GOOD }, "first entry"),
            (Facts { age_ms: None, ..GOOD }, "not confirmed"),
            (Facts { age_ms: Some(10_001), ..GOOD }, "10001 ms ago"),
        ] {
            let readiness = Readiness::of(&facts);
            assert!(!readiness.ready, "{facts:?}");
            let reasons: Vec<_> = readiness.reasons().collect();
            assert!(matches!(reasons.as_slice(), [one] if one.contains(said)), "{reasons:?}");
        }
    }

    #[test]
    fn a_disk_without_room_is_told_and_reads_go_on_until_they_are_too_old() {
        let disk = |state| DiskReport { state, free_bytes: Some(5 << 20) };
        let low = Facts { disk: disk(DiskState::Low), ..GOOD };
        let full = Facts { disk: disk(DiskState::Full), ..GOOD };
        let refusing = Facts { disk: disk(DiskState::Refusing), running: false, ..GOOD };
        for facts in [low, full, refusing] {
            let readiness = Readiness::of(&facts);
            assert!(readiness.ready, "{readiness:?}");
            let reasons: Vec<_> = readiness.reasons().collect();
            assert!(matches!(reasons.as_slice(), [one] if one.contains("5 MiB are free")), "{reasons:?}");
            assert!(!Readiness::of(&Facts { age_ms: Some(10_001), ..facts }).ready);
        }
    }
}
