//! The cluster as the nemesis has it: whatever is done to a node is noted, so that nobody expects of it what it can't do.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, TcpStream},
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};

use flagraft_chaos::{
    incidents::{Log, What},
    recorder::Recorder,
};

use super::{leaders::Leaders, network::Network};
use crate::{
    campaign::stage::{Stage, Starts},
    cluster::Cluster,
};

/// A cluster to which things are done.
pub struct Ground {
    /// The cluster.
    pub cluster: Cluster,
    /// What is wrong between its members.
    pub(super) network: Network,
    leaders: Leaders,
    clock: Arc<Recorder>,
    incidents: Arc<Log>,
    starts: Starts,
    /// Nodes that nothing is done to, and that have not said yet that they are ready.
    awaited: BTreeSet<u64>,
    /// Nodes that were killed, paused or told to stop.
    down: BTreeSet<u64>,
    /// What nodes did that none may do, whatever is done to others.
    pub(in crate::campaign) misdeeds: Vec<String>,
}

impl Ground {
    /// A cluster to which nothing was done yet: every node serves.
    pub(in crate::campaign) fn of(cluster: Cluster, stage: &Stage) -> Self {
        let network = Network::of(cluster.links().clone(), cluster.ids());
        let leaders = Leaders::watch(&stage.writers, &stage.recorder, &stage.incidents);
        let ground = Self {
            network,
            leaders,
            clock: Arc::clone(&stage.recorder),
            incidents: Arc::clone(&stage.incidents),
            starts: stage.starts.clone(),
            awaited: BTreeSet::new(),
            down: BTreeSet::new(),
            misdeeds: Vec::new(),
            cluster,
        };
        for node in ground.ids() {
            ground.note(What::Serves { node });
        }
        ground
    }

    /// Notes what happens.
    pub(super) fn note(&self, what: What) {
        self.incidents.note(self.clock.now_ns(), what).expect("noted");
    }

    /// All nodes.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.cluster.ids()
    }

    /// Who leads, if somebody is known to.
    pub(super) fn leader(&self) -> Option<u64> {
        self.leaders.now()
    }

    /// From now on nobody expects anything of the node. To be called before anything is done to its process.
    pub(super) fn falls(&mut self, node: u64) {
        self.note(What::Falls { node });
        self.awaited.remove(&node);
        self.down.insert(node);
    }

    /// The node is expected to serve again, once it has said that it is ready.
    pub(super) fn rises(&mut self, node: u64) {
        self.down.remove(&node);
        self.awaited.insert(node);
    }

    /// SIGKILL to these nodes at once; gives their processes, which have ended.
    pub(super) fn kill(&mut self, nodes: &[u64]) -> Vec<u32> {
        nodes.iter().for_each(|node| self.falls(*node));
        let pids = nodes.iter().map(|node| self.cluster.pid(*node)).collect();
        self.cluster.kill_together(nodes);
        pids
    }

    /// Takes power from the disks of these nodes at the same moment. Their processes go on.
    pub(super) fn cut_power(&mut self, nodes: &[u64]) {
        nodes.iter().for_each(|node| self.falls(*node));
        self.cluster.cut_power(nodes);
    }

    /// Starts a dead node.
    pub(super) fn start(&mut self, node: u64) {
        self.launch(node);
        self.rises(node);
    }

    /// Starts a dead node of which nobody expects anything yet: not before [`Ground::rises`].
    pub(super) fn launch(&mut self, node: u64) {
        self.starts.another(node);
        self.cluster.launch(node);
    }

    /// SIGSTOP; gives its process.
    pub(super) fn pause(&mut self, node: u64) -> u32 {
        self.falls(node);
        self.cluster.pause(node);
        self.cluster.pid(node)
    }

    /// SIGCONT.
    pub(super) fn resume(&mut self, node: u64) {
        self.cluster.resume(node);
        self.rises(node);
    }

    /// SIGTERM; gives its process, which is about to end.
    pub(super) fn ask_to_end(&mut self, node: u64) -> u32 {
        self.falls(node);
        self.cluster.ask_to_end(node);
        self.cluster.pid(node)
    }

    /// How a node that was told to stop has ended, once it has.
    pub(super) fn ended(&mut self, node: u64) -> Option<ExitStatus> {
        self.cluster.exit(node)
    }

    /// Whether a node is ready, and nothing is done to its process.
    pub(super) fn serves(&self, node: u64) -> bool {
        !self.awaited.contains(&node) && !self.down.contains(&node)
    }

    /// Whether the port of a node refuses connections: nobody listens there.
    pub(super) fn is_refused(&self, node: u64) -> bool {
        let port = self.cluster.anonymous(node).port();
        let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        refused.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    }

    /// Looks which nodes are ready again, and whether one has ended that nobody ended.
    pub(super) async fn look(&mut self) {
        for node in self.ids() {
            if self.awaited.contains(&node) && self.cluster.ready_within(node, Duration::ZERO).await.is_ok() {
                self.awaited.remove(&node);
                self.note(What::Serves { node });
            }
            if !self.down.contains(&node)
                && let Some(status) = self.cluster.exit(node)
            {
                self.misdeeds.push(format!("node {node} ended by itself: {status}"));
                self.falls(node);
                self.start(node);
            }
        }
    }

    /// Waits until every node is ready. Nothing may be done to any of them any more.
    ///
    /// # Errors
    /// Not all are within `limit`: which.
    pub(in crate::campaign) async fn ready_within(&mut self, limit: Duration) -> Result<(), String> {
        let end = std::time::Instant::now() + limit;
        loop {
            self.look().await;
            match self.awaited.first() {
                None => return Ok(()),
                Some(node) if std::time::Instant::now() >= end => {
                    return Err(format!("node {node} was not ready {limit:?} after the last fault"));
                }
                Some(_) => crate::wait::pace(super::PAUSE).await,
            }
        }
    }
}
