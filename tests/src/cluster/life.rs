//! Nodes that are killed, paused, told to stop, cut off from power, and started again.

use std::{process::ExitStatus, sync::atomic::Ordering, time::Duration};

use super::{Cluster, SETTLED_WITHIN};
use crate::{disk::Disk, wait};

/// How long a node may take to say whether it is ready, before it is asked again.
const READY_SAID_WITHIN: Duration = Duration::from_secs(1);

impl Cluster {
    pub(super) fn spawn(&mut self, id: u64) {
        let node = self.node_mut(id);
        node.process.start();
        let pid = node.process.pid().expect("it was started");
        if let Some(links) = &self.links {
            links.learn(id, pid);
        }
    }

    pub(super) fn gone(&mut self, id: u64) {
        if self.liveness(id).life().is_some() {
            self.node(id).epoch.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn back(&mut self, id: u64) {
        if self.liveness(id).life().is_none() {
            self.node(id).epoch.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self, id: u64) {
        self.kill_together(&[id]);
    }

    /// SIGKILL to all, without a moment between.
    pub fn kill_all(&mut self) {
        self.kill_together(&self.ids());
    }

    /// SIGKILL to these nodes: every signal is sent before the end of any is waited for.
    pub fn kill_together(&mut self, ids: &[u64]) {
        ids.iter().for_each(|id| self.gone(*id));
        ids.iter().for_each(|id| self.node(*id).process.strike());
        ids.iter().for_each(|id| self.node_mut(*id).process.bury());
    }

    /// Takes power from the disks of these nodes at the same moment. Their processes go on, and find out: end them, or
    /// wait for their end, before [`Cluster::power_on`].
    pub fn cut_power(&mut self, ids: &[u64]) {
        let disks: Vec<&Disk> = ids.iter().map(|id| self.disk(*id)).collect();
        Disk::cut_power(&disks);
        ids.iter().for_each(|id| self.gone(*id));
    }

    /// Gives power back to the disk of a dead node.
    ///
    /// # Panics
    /// See [`Disk::power_on`].
    pub fn power_on(&self, id: u64) {
        self.disk(id).power_on();
    }

    /// SIGSTOP.
    pub fn pause(&mut self, id: u64) {
        self.gone(id);
        self.node_mut(id).process.pause();
    }

    /// SIGCONT.
    pub fn resume(&mut self, id: u64) {
        self.node_mut(id).process.resume();
        self.back(id);
    }

    /// SIGTERM, and waits for the end of the process. To a load, the node is gone once its end has begun: what it then
    /// still answers is for the test to say.
    pub async fn terminate(&mut self, id: u64, limit: Duration) -> ExitStatus {
        self.gone(id);
        self.node_mut(id).process.terminate(limit).await
    }

    /// SIGTERM, without waiting for the end of the process; see [`Cluster::terminate`].
    pub fn ask_to_end(&mut self, id: u64) {
        self.gone(id);
        self.node(id).process.ask_to_end();
    }

    /// Waits until a node ends by itself.
    pub async fn ended(&mut self, id: u64, limit: Duration) -> ExitStatus {
        let status = self.node_mut(id).process.ended(limit).await;
        self.gone(id);
        status
    }

    /// Waits whether a node ends by itself. `None`: it still runs.
    pub async fn ends_within(&mut self, id: u64, limit: Duration) -> Option<ExitStatus> {
        let status = self.node_mut(id).process.ends_within(limit).await?;
        self.gone(id);
        Some(status)
    }

    /// Starts a dead node, without waiting for it.
    pub fn launch(&mut self, id: u64) {
        self.spawn(id);
    }

    /// Sets or takes away a variable of the environment that a node is started with next.
    pub fn set_env(&mut self, id: u64, name: &str, value: Option<&str>) {
        self.node_mut(id).process.set_env(name, value);
    }

    /// Starts a dead node and waits until it is ready.
    pub async fn restart(&mut self, id: u64) {
        self.spawn(id);
        self.ready(id).await;
    }

    /// Waits until a started node is ready.
    ///
    /// # Panics
    /// It is not within half a minute.
    pub async fn ready(&mut self, id: u64) {
        let ready = self.ready_within(id, SETTLED_WITHIN).await;
        ready.unwrap_or_else(|seen| panic!("node {id} was not ready within {SETTLED_WITHIN:?}: {seen}"));
    }

    /// Waits until a started node is ready.
    ///
    /// # Errors
    /// It is not within `limit`: what it said instead.
    pub async fn ready_within(&mut self, id: u64, limit: Duration) -> Result<(), String> {
        let api = self.anonymous(id);
        wait::tried(limit, || async {
            // One that is paused takes the question and says nothing.
            match api.get("/readyz").within(READY_SAID_WITHIN).send().await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{answer:?}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        self.back(id);
        Ok(())
    }

    /// Waits until a started node is ready, or has ended by itself: then how.
    ///
    /// # Panics
    /// Neither within half a minute.
    pub async fn ready_or_ended(&mut self, id: u64) -> Option<ExitStatus> {
        let api = self.anonymous(id);
        let end = tokio::time::Instant::now() + SETTLED_WITHIN;
        loop {
            if let Some(status) = self.node_mut(id).process.exit() {
                // It has ended, so this only takes it off the list of children.
                self.ended(id, SETTLED_WITHIN).await;
                return Some(status);
            }
            if api.get("/readyz").send().await.is_ok_and(|answer| answer.status == 200) {
                self.back(id);
                return None;
            }
            assert!(tokio::time::Instant::now() < end, "node {id} neither got ready nor ended");
            wait::pace(Duration::from_millis(20)).await;
        }
    }
}
