//! What the cluster says of itself, and waiting until its nodes agree.

use std::time::Duration;

use serde_json::Value;

use super::{Cluster, FOUNDED_WITHIN, SETTLED_WITHIN};
use crate::{api::Answer, wait};

/// What a node says of the catalog and the audit log; equal on all nodes that applied the same entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The catalog's revision.
    pub revision: u64,
    /// The state's digest.
    pub digest: String,
    /// The number of audit records.
    pub audit_size: u64,
    /// The root of the audit log's tree.
    pub audit_root: String,
}

impl Cluster {
    /// The status of the cluster as a node sees it.
    pub async fn status(&self, id: u64) -> Answer {
        self.admin(id).get("/api/v1/cluster").ok().await
    }

    /// The member that leads, as the living nodes agree.
    ///
    /// # Panics
    /// They do not within half a minute.
    pub async fn leader(&self) -> u64 {
        let living = self.living();
        wait::until("a leader that all living nodes agree on", SETTLED_WITHIN, || async {
            let mut seen = Vec::new();
            for id in &living {
                let leader = match self.admin(*id).get("/api/v1/cluster").send().await {
                    Ok(answer) => answer.body["leader"].as_u64(),
                    Err(_) => None,
                };
                seen.push(leader);
            }
            match seen[0] {
                Some(leader)
                    if living.contains(&leader) && seen.iter().all(|other| *other == Some(leader)) =>
                {
                    Ok(leader)
                }
                _ => Err(format!("{seen:?}")),
            }
        })
        .await
    }

    /// Whoever leads, as the living nodes agree, also if this harness did not start it.
    ///
    /// # Panics
    /// They do not within half a minute.
    pub async fn leader_of_any(&self) -> u64 {
        wait::until("a leader that all living nodes agree on", SETTLED_WITHIN, || async {
            let mut seen = Vec::new();
            for id in self.living() {
                let answer = self.admin(id).get("/api/v1/cluster").send().await;
                seen.push(answer.ok().and_then(|answer| answer.body["leader"].as_u64()));
            }
            match seen.first() {
                Some(Some(leader)) if seen.iter().all(|other| *other == Some(*leader)) => Ok(*leader),
                _ => Err(format!("{seen:?}")),
            }
        })
        .await
    }

    /// A living node that does not lead.
    pub async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        self.living().into_iter().find(|id| *id != leader).expect("more than one node lives")
    }

    /// What a node says of its catalog and audit log.
    ///
    /// # Panics
    /// It does not say so.
    pub async fn fingerprint(&self, id: u64) -> Fingerprint {
        self.asked_for_fingerprint(id).await.unwrap_or_else(|said| panic!("node {id} said {said}"))
    }

    async fn asked_for_fingerprint(&self, id: u64) -> Result<Fingerprint, String> {
        let answer = self.admin(id).get("/api/v1/cluster").send().await.map_err(|error| error.to_string())?;
        let text = |at: &str| answer.body.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let number = |at: &str| answer.body.pointer(at).and_then(Value::as_u64);
        let read = || {
            Some(Fingerprint {
                revision: number("/revision")?,
                digest: text("/digest")?,
                audit_size: number("/audit/size")?,
                audit_root: text("/audit/root")?,
            })
        };
        read().ok_or_else(|| format!("{answer:?}"))
    }

    /// Waits until all living nodes say the same of catalog and audit log. Nothing may be writing.
    ///
    /// # Panics
    /// They do not within half a minute.
    pub async fn agreed(&self) -> Fingerprint {
        let agreed = self.agreed_within(SETTLED_WITHIN).await;
        agreed.unwrap_or_else(|seen| {
            panic!("catalogs or audit logs of living nodes differ after {SETTLED_WITHIN:?}: {seen}")
        })
    }

    /// The same for whoever has something to do when they do not.
    ///
    /// # Errors
    /// They do not within `limit`: what each said.
    pub async fn agreed_within(&self, limit: Duration) -> Result<Fingerprint, String> {
        wait::tried(limit, || async {
            let mut seen = Vec::new();
            for id in self.living() {
                seen.push((id, self.asked_for_fingerprint(id).await));
            }
            match &seen[..] {
                [(_, Ok(first)), others @ ..]
                    if others.iter().all(|(_, other)| other.as_ref() == Ok(first)) =>
                {
                    Ok(first.clone())
                }
                _ => Err(format!("{seen:?}")),
            }
        })
        .await
    }

    /// Waits until every living node has published `revision`.
    pub async fn published(&self, revision: u64) {
        for id in self.living() {
            wait::until(&format!("revision {revision} on node {id}"), SETTLED_WITHIN, || async {
                let seen = self.status(id).await.body["revision"].clone();
                if seen.as_u64() >= Some(revision) { Ok(()) } else { Err(format!("it is at {seen}")) }
            })
            .await;
        }
    }

    /// The voters, by a node that answers, once every member is what it is meant to be.
    ///
    /// # Panics
    /// They are not within a minute.
    pub async fn settled(&self) -> Vec<u64> {
        wait::until("every member to be what it is meant to be", FOUNDED_WITHIN, || async {
            let mut seen = Vec::new();
            for id in self.living() {
                let Ok(answer) = self.admin(id).get("/api/v1/cluster").send().await else { continue };
                if answer.body["membership"]["settled"] == true {
                    seen.push(voters(&answer.body));
                } else {
                    return Err(format!("node {id}: {}", answer.body["membership"]));
                }
            }
            // A node that lags may still be settled in what was.
            let all_alike = seen.windows(2).all(|pair| pair[0] == pair[1]);
            match seen.first() {
                Some(voters) if all_alike => Ok(voters.clone()),
                _ => Err(format!("{seen:?}")),
            }
        })
        .await
    }
}

/// The voters that a status names.
fn voters(status: &Value) -> Vec<u64> {
    let members = status["members"].as_array().expect("members").iter();
    members.filter(|member| member["role"] == "voter").filter_map(|member| member["id"].as_u64()).collect()
}
