//! Room for new entries, on this node's disk and with a quorum: looked at again and again, and what is done about it
//! when there is none.
//!
//! A leader whose disk is low proposes nothing and hands over. A node whose disk is full refuses entries before its Raft
//! sees them, so to the leader it is a member that lags and answers heartbeats: it costs nobody an election, and catches
//! up by itself. What a quorum has no room for is not proposed at all: it would hang until there is room, its outcome
//! unknown.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::cluster;
use crate::{
    disk::{Disk, DiskState},
    leadership::leader_change,
    peer::{PeerClient, Refusal, RefusalCode},
    raft::{RaftMessage, RaftRole, RaftStatus, Replica},
};

/// Whether there is room for another entry, as this node last saw and heard.
pub(crate) struct Room {
    node_id: u64,
    disk: Arc<Disk>,
    /// While this node leads: a member for want of whose disk no quorum can take an entry. [`NOBODY`] if there is none.
    missed: AtomicU64,
}

/// No node has this id.
const NOBODY: u64 = 0;

impl Room {
    pub(super) fn new(node_id: u64, disk: Arc<Disk>) -> Self {
        Self { node_id, disk, missed: AtomicU64::new(NOBODY) }
    }

    /// The member whose disk keeps this node from proposing.
    pub(super) fn lacks(&self) -> Option<u64> {
        match self.disk.state() {
            DiskState::Ok => Some(self.missed.load(Ordering::Acquire)).filter(|id| *id != NOBODY),
            DiskState::Low | DiskState::Full | DiskState::Refusing => Some(self.node_id),
        }
    }

    /// Whether this node takes what a leader sends it: otherwise it stays where it is.
    pub(super) fn follows(&self) -> bool {
        matches!(self.disk.state(), DiskState::Ok | DiskState::Low)
    }

    /// Refuses what the disk has no room for.
    ///
    /// # Errors
    /// When it has none; the sender tries again later.
    pub(super) fn admit(&self, message: &RaftMessage, replica: &Replica) -> Result<(), Refusal> {
        if self.disk.state() == DiskState::Full && message.needs_room(replica.status().last_log) {
            let why =
                format!("the disk of node {} is full: it takes no entries until there is room", self.node_id);
            return Err(Refusal::new(RefusalCode::NoRoom, why));
        }
        Ok(())
    }
}

/// Looks after the room.
pub(super) struct RoomKeeper {
    room: Arc<Room>,
    replica: Replica,
    peers: PeerClient,
    /// How long another member may take to say how its disk is.
    patience: Duration,
    back: watch::Sender<bool>,
    handed_over: Option<Instant>,
}

impl RoomKeeper {
    /// `back` is told once a disk that had refused a write takes writes again.
    pub(super) fn new(
        room: Arc<Room>,
        replica: Replica,
        peers: PeerClient,
        patience: Duration,
        back: watch::Sender<bool>,
    ) -> Self {
        Self { room, replica, peers, patience, back, handed_over: None }
    }

    pub(super) async fn run(mut self) {
        let mut was = DiskState::Ok;
        loop {
            self.look().await;
            let now = self.room.disk.state();
            if now != was {
                self.say(now);
            }
            was = now;
            if now == DiskState::Refusing {
                if self.is_back().await {
                    tracing::info!("the disk takes writes again: this node starts anew");
                    self.back.send_replace(true);
                    return;
                }
            } else {
                self.ask_others().await;
            }
            tokio::select! {
                () = sleep(self.room.disk.config().check_interval) => {}
                // A new leader proposes at once, so it must know at once.
                () = leader_change(&self.replica) => {}
            }
        }
    }

    async fn look(&self) {
        let disk = Arc::clone(&self.room.disk);
        match tokio::task::spawn_blocking(move || disk.look()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "how much of the disk is free can't be found out"),
            Err(error) => tracing::error!(%error, "looking at the disk failed"),
        }
    }

    async fn is_back(&self) -> bool {
        let disk = Arc::clone(&self.room.disk);
        tokio::task::spawn_blocking(move || disk.is_back()).await.unwrap_or(false)
    }

    fn say(&self, now: DiskState) {
        let disk = &self.room.disk;
        let (free_bytes, reserve_bytes) = (disk.report().free_bytes, disk.config().reserve_bytes);
        match now {
            DiskState::Ok => tracing::info!(free_bytes, "the disk has room again: this node takes changes"),
            DiskState::Low => tracing::warn!(
                free_bytes,
                reserve_bytes,
                "the disk is low: this node proposes no changes until an eighth more than --disk-reserve-bytes is free; \
                 remove what does not belong on the disk of --data, or make it larger"
            ),
            DiskState::Full => tracing::warn!(
                free_bytes,
                reserve_bytes,
                "the disk is full: this node takes no changes until an eighth more than half of --disk-reserve-bytes is \
                 free; remove what does not belong on the disk of --data, or make it larger"
            ),
            DiskState::Refusing => tracing::error!(
                free_bytes,
                "the disk refused a write: {}; this node reads what it has until the disk takes writes again, and then \
                 starts anew",
                disk.refused().unwrap_or_default()
            ),
        }
    }

    /// As the leader: hears how the others' disks are, and hands over to one of them if this one is full.
    async fn ask_others(&mut self) {
        let status = self.replica.status();
        if status.role != RaftRole::Leader {
            self.room.missed.store(NOBODY, Ordering::Release);
            return;
        }
        let own = self.room.disk.state();
        let asked = status.voters().map(async |id| {
            let disk = match id == self.room.node_id {
                true => Some(own),
                false => cluster::ask(&self.peers, id, self.patience).await.map(|report| report.disk_state()),
            };
            (id, disk)
        });
        let disks: BTreeMap<u64, Option<DiskState>> = join_all(asked).await.into_iter().collect();
        let missed = missed_by_quorum(&disks);
        if self.room.missed.swap(missed.unwrap_or(NOBODY), Ordering::AcqRel) != missed.unwrap_or(NOBODY) {
            match missed {
                Some(node) => tracing::warn!(
                    node,
                    "too few members have room on their disks for a quorum: no changes are taken until more have"
                ),
                None => tracing::info!("a quorum of the members has room for changes again"),
            }
        }
        if matches!(own, DiskState::Low | DiskState::Full) {
            self.hand_over(&status, &disks).await;
        }
    }

    async fn hand_over(&mut self, status: &RaftStatus, disks: &BTreeMap<u64, Option<DiskState>>) {
        let pause = self.room.disk.config().handover_pause;
        if self.handed_over.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        let with_room = disks.iter().filter(|(_, disk)| **disk == Some(DiskState::Ok)).map(|(id, _)| *id);
        // The one whose log is most complete: it has to take the missing entries before it can lead.
        let Some(to) = with_room.max_by_key(|id| status.matched.get(id).copied().flatten()) else { return };
        self.handed_over = Some(Instant::now());
        match self.replica.transfer_leadership(Some(to)).await {
            Ok(()) => {
                tracing::info!(to, "leadership is handed over: the disk of this node has too little room")
            }
            Err(error) => {
                tracing::warn!(%error, to, "leadership was not handed over, though the disk has too little room")
            }
        }
    }
}

/// A voter without room, if those with room are too few for a quorum. Who does not answer has none; but where nobody is
/// known to lack room, it is not room that is missing.
fn missed_by_quorum(disks: &BTreeMap<u64, Option<DiskState>>) -> Option<u64> {
    let with_room = disks.values().filter(|disk| **disk == Some(DiskState::Ok)).count();
    if with_room > disks.len() / 2 {
        return None;
    }
    let lacks = |disk: &Option<DiskState>| disk.is_some_and(|disk| disk != DiskState::Ok);
    disks.iter().find(|(_, disk)| lacks(disk)).map(|(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_disks_that_break_the_quorum_are_missed() {
        const OK: Option<DiskState> = Some(DiskState::Ok);
        const LOW: Option<DiskState> = Some(DiskState::Low);
        const FULL: Option<DiskState> = Some(DiskState::Full);
        let missed =
            |disks: &[Option<DiskState>]| missed_by_quorum(&(1..).zip(disks.iter().copied()).collect());
        assert_eq!(missed(&[OK, OK, OK]), None);
        assert_eq!(missed(&[OK, FULL, OK]), None, "two of three are enough");
        assert_eq!(missed(&[OK, FULL, FULL]), Some(2));
        assert_eq!(missed(&[OK, LOW, LOW]), Some(2), "they would take it, and come closer to the end");
        assert_eq!(missed(&[OK, None, FULL]), Some(3), "who does not answer can't take an entry");
        assert_eq!(missed(&[OK, None, None]), None, "that is no matter of room");
        assert_eq!(missed(&[OK, Some(DiskState::Refusing), FULL, OK]), Some(2), "two of four are not enough");
        assert_eq!(missed(&[FULL]), Some(1));
        assert_eq!(missed(&[OK]), None);
    }
}
