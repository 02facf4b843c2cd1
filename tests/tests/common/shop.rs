//! A cluster with a project, an environment and a token that evaluates there.

use std::time::Duration;

use flagraft_tests::{
    api::{Answer, Api, Consistency},
    catalog::{Caller, ENVIRONMENT, PROJECT, counter, put},
    cluster::{Cluster, Setup},
    wait,
};
use serde_json::{Value, json};

pub struct Shop {
    pub cluster: Cluster,
    /// The secret of a service token.
    pub token: String,
}

impl Shop {
    /// Founds it with these flags, published on every node.
    pub async fn open(setup: Setup, flags: &[Value]) -> Self {
        Self::of(setup.start().await, flags).await
    }

    /// The same in a cluster that was founded otherwise.
    pub async fn of(cluster: Cluster, flags: &[Value]) -> Self {
        cluster.create_project(PROJECT, &[ENVIRONMENT]).await;
        let (_, token) = cluster.create_token(&Caller::service(PROJECT, ENVIRONMENT)).await;
        let shop = Self { cluster, token };
        shop.change(1, "the flags of a test", flags.iter().map(put).collect()).await;
        shop
    }

    /// A node, with the token that evaluates.
    pub fn reader(&self, id: u64) -> Api {
        self.cluster.with_token(id, &self.token)
    }

    /// Makes a change through a node and waits until every living node has published it.
    pub async fn change(&self, id: u64, reason: &str, operations: Vec<Value>) -> u64 {
        let answer = self.cluster.admin(id).change(PROJECT, reason, operations).ok().await;
        let revision = answer.body["revision"].as_u64().expect("a change has a revision");
        self.cluster.published(revision).await;
        revision
    }

    /// Waits until a node vouches for a critical flag again.
    pub async fn sure(&self, id: u64, flag: &str) {
        let node = self.reader(id);
        wait::until(&format!("node {id} to be sure of {flag}"), Duration::from_secs(20), || async {
            let answer = node.evaluate(flag, &json!({})).answer().await;
            match answer.consistency() {
                Consistency::Linearizable => Ok(()),
                _ => Err(format!("{answer:?}")),
            }
        })
        .await;
    }

    /// Sets a counter through a node, and waits for nobody.
    pub async fn count(&self, id: u64, flag: &str, count: u64, critical: bool) -> Answer {
        let operations = vec![put(&counter(flag, count, critical))];
        self.cluster.admin(id).change(PROJECT, &format!("{flag} is {count}"), operations).ok().await
    }
}
