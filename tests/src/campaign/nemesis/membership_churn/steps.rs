//! The steps of it, as an operator would do them: asked of one member after another, and asked again until they are done.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::{Answer, Api},
    wait,
};

/// How long a member may take to answer. It waits itself for what is asked of it.
const SAID_WITHIN: Duration = Duration::from_secs(6);
/// Between two looks at what has become of it.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a newcomer may take to be let in. Then it is invited once more: its token may have been made void by another
/// that was asked for before and came late, or its time be over by a clock that jumped.
const LET_IN_WITHIN: Duration = Duration::from_secs(6);

const MEMBERS: &str = "/api/v1/cluster/members";

/// How far it is, for whoever looks after the processes.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The newcomers that are to run.
    pub(super) wanted: BTreeSet<u64>,
    /// What was asked last, and what was said.
    pub(super) last: String,
}

/// A node that is to come.
pub(super) struct Newcomer {
    pub(super) id: u64,
    pub(super) token_file: PathBuf,
}

/// All that is to be done.
pub(super) struct Steps {
    /// Those that stay.
    pub(super) members: Vec<(u64, Api)>,
    pub(super) newcomers: Vec<Newcomer>,
    pub(super) as_voters: bool,
    /// How long the newcomers stay.
    pub(super) stay: Duration,
    pub(super) progress: Arc<Mutex<Progress>>,
}

impl Steps {
    /// Does them. Returns what shows that they were done.
    pub(super) async fn all(self) -> String {
        let three: Vec<u64> = self.members.iter().map(|(id, _)| *id).collect();
        let five: Vec<u64> = three.iter().copied().chain(self.newcomers.iter().map(|new| new.id)).collect();
        self.let_in(&five).await;
        wait::pace(self.stay).await;
        for new in &self.newcomers {
            // From now on its process is expected to end.
            self.progress.lock().expect("no holder panics").wanted.remove(&new.id);
            let path = format!("{MEMBERS}/{}?reason=enough", new.id);
            self.insist(&Method::DELETE, &path, None).await;
        }
        while !self.all_say(&three).await {
            wait::pace(PAUSE).await;
        }
        format!("each of the members {three:?} named the voters {five:?}, and then {three:?}")
    }

    /// Invites the newcomers, until every member says that these vote.
    async fn let_in(&self, five: &[u64]) {
        let mut invited = BTreeMap::new();
        for new in &self.newcomers {
            self.invite(new).await;
            invited.insert(new.id, Instant::now());
        }
        while !self.all_say(five).await {
            let status = self.status().await;
            for new in &self.newcomers {
                match status.as_ref().map(|status| member(status, new.id)) {
                    Some(None) if invited[&new.id].elapsed() > LET_IN_WITHIN => {
                        self.invite(new).await;
                        invited.insert(new.id, Instant::now());
                    }
                    Some(Some(member)) if member["aim"] == "learner" => {
                        let path = format!("{MEMBERS}/{}/promote", new.id);
                        self.insist(&Method::POST, &path, Some(&json!({"reason": "it is needed"}))).await;
                    }
                    _ => {}
                }
            }
            wait::pace(PAUSE).await;
        }
    }

    /// Gives an id away, and the newcomer its token.
    async fn invite(&self, new: &Newcomer) {
        let role = if self.as_voters { "voter" } else { "learner" };
        let body = json!({"node_id": new.id, "role": role, "reason": "two more"});
        let answer = self.insist(&Method::POST, MEMBERS, Some(&body)).await;
        let token = answer.body["join_token"].as_str().unwrap_or_default();
        // Under another name until it is whole: the node may be reading.
        let part = new.token_file.with_extension("part");
        fs::write(&part, token)
            .and_then(|()| fs::set_permissions(&part, fs::Permissions::from_mode(0o600)))
            .and_then(|()| fs::rename(&part, &new.token_file))
            .expect("the cluster's folder can be written");
        self.progress.lock().expect("no holder panics").wanted.insert(new.id);
    }

    /// Asks one member after another, until one does it.
    async fn insist(&self, method: &Method, path: &str, body: Option<&Value>) -> Answer {
        loop {
            for (id, api) in &self.members {
                let mut call = api.call(method.clone(), path).within(SAID_WITHIN);
                if let Some(body) = body {
                    call = call.json(body);
                }
                let said = call.send().await;
                self.progress.lock().expect("no holder panics").last =
                    format!("node {id}: {method} {path}: {said:?}");
                if let Ok(answer) = said
                    && answer.is_success()
                {
                    return answer;
                }
            }
            wait::pace(PAUSE).await;
        }
    }

    /// What the first member that knows a leader says of the cluster.
    async fn status(&self) -> Option<Value> {
        for (_, api) in &self.members {
            let answer = api.get("/api/v1/cluster").within(SAID_WITHIN).send().await;
            if let Some(answer) = answer.ok().filter(|answer| !answer.body["leader"].is_null()) {
                return Some(answer.body);
            }
        }
        None
    }

    /// Whether every member says that it is these that vote, and that no change is under way. One that was cut off may still
    /// say what was; that it says it of both shows that it heard of both.
    async fn all_say(&self, voters: &[u64]) -> bool {
        for (id, api) in &self.members {
            let said = api.get("/api/v1/cluster").within(SAID_WITHIN).send().await;
            let is_so = said.as_ref().is_ok_and(|answer| {
                answer.body["membership"]["settled"] == true && voters_in(&answer.body) == voters
            });
            if !is_so {
                let said = said.map(|answer| (voters_in(&answer.body), answer.body["membership"].clone()));
                self.progress.lock().expect("no holder panics").last =
                    format!("node {id} should name {voters:?}: {said:?}");
                return false;
            }
        }
        true
    }
}

fn member(status: &Value, id: u64) -> Option<&Value> {
    status["members"].as_array()?.iter().find(|member| member["id"] == id)
}

fn voters_in(status: &Value) -> Vec<u64> {
    let members = status["members"].as_array().into_iter().flatten();
    members.filter(|member| member["role"] == "voter").filter_map(|member| member["id"].as_u64()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_and_members_are_those_of_the_status() {
        let status = json!({"members": [{"id": 1, "role": "voter"}, {"id": 4, "role": "learner"}]});
        assert_eq!(voters_in(&status), [1]);
        assert_eq!(member(&status, 4).map(|member| member["role"] == "learner"), Some(true));
        assert_eq!(member(&status, 5), None);
        assert_eq!(voters_in(&json!({"error": {}})), [0; 0]);
    }
}
