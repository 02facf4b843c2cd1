//! The wall clocks of some nodes jump by an hour or a day, and back when it ends. The clocks that count go on.

use std::time::Duration;

use flagraft_chaos::dice::Dice;
use serde_json::Value;

use super::{Ground, Wrong, asked::Asked};
use crate::{api::Api, wait};

const JUMPS_S: [i64; 4] = [3_600, -3_600, 86_400, -86_400];
/// How long a node may take to say what it sees of the others.
const SAID_WITHIN: Duration = Duration::from_secs(2);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);
/// What others see of a jump may be off by this much: an answer takes its time, and a paused node answers later.
const ABOUT_MS: u64 = 60_000;

pub(super) struct ClockJump {
    nodes: Vec<u64>,
    ahead_s: i64,
    seen: Option<Asked<String>>,
}

impl ClockJump {
    pub(super) fn of(nodes: Vec<u64>, dice: &mut Dice) -> Self {
        Self { nodes, ahead_s: dice.pick(&JUMPS_S).copied().unwrap_or_default(), seen: None }
    }
}

impl Wrong for ClockJump {
    fn begin(&mut self, ground: &mut Ground) {
        self.nodes.iter().for_each(|node| ground.cluster.set_clock(*node, self.ahead_s));
        let members = ground.ids().into_iter().map(|id| (id, ground.cluster.admin(id))).collect();
        self.seen = Some(Asked::of(seen(members, self.nodes.clone(), self.ahead_s * 1_000)));
    }

    fn look(&mut self, _: &mut Ground) -> Option<String> {
        self.seen.as_ref()?.answer().cloned()
    }

    fn end(&mut self, ground: &mut Ground) {
        self.seen = None;
        self.nodes.iter().for_each(|node| ground.cluster.set_clock(*node, 0));
    }
}

/// Asks the members until each of the jumped ones told another one a time that is off by as much as it should be.
async fn seen(members: Vec<(u64, Api)>, jumped: Vec<u64>, ahead_ms: i64) -> String {
    let mut all = Vec::new();
    for node in jumped {
        all.push(loop {
            if let Some((by, off_ms)) = seen_by_one(&members, node, ahead_ms).await {
                break format!("node {node} told node {by} a time that is {off_ms} ms off");
            }
            wait::pace(PAUSE).await;
        });
    }
    all.join(", ")
}

async fn seen_by_one(members: &[(u64, Api)], node: u64, ahead_ms: i64) -> Option<(u64, i64)> {
    for (by, api) in members.iter().filter(|(by, _)| *by != node) {
        let answer = api.get("/api/v1/cluster").within(SAID_WITHIN).send().await;
        let off_ms = answer.ok().and_then(|answer| off_ms(&answer.body, node));
        if let Some(off_ms) = off_ms.filter(|off_ms| off_ms.abs_diff(ahead_ms) <= ABOUT_MS) {
            return Some((*by, off_ms));
        }
    }
    None
}

/// How far a member's clock is ahead of that of the node that gives this status.
fn off_ms(status: &Value, node: u64) -> Option<i64> {
    let mut members = status["members"].as_array()?.iter();
    members.find(|member| member["id"] == node)?["clock_offset_ms"].as_i64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_status_says_of_a_clock_is_that_of_the_member() {
        let status = json!({"members": [
            {"id": 1, "clock_offset_ms": 0}, {"id": 2, "clock_offset_ms": -3_600_010}, {"id": 3, "clock_offset_ms": null}
        ]});
        assert_eq!(off_ms(&status, 2), Some(-3_600_010));
        assert_eq!(off_ms(&status, 3), None, "it did not answer");
        assert_eq!(off_ms(&status, 4), None);
        assert_eq!(off_ms(&json!({"error": {}}), 1), None);
    }
}
