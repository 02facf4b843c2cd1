//! Whom this node takes for the leader, and waiting for that to change.

use std::future::pending;

use tokio::sync::watch;

use crate::raft::Replica;

/// Whom this node takes for the leader. Being named is no proof of leadership.
pub(crate) fn known_leader(replica: &Replica) -> Option<u64> {
    *replica.watch_leader().borrow()
}

/// Returns once another leader than `than`, or none, is known.
pub(crate) async fn leader_other_than(replica: &Replica, than: Option<u64>) {
    changed_from(replica.watch_leader(), than).await;
}

/// Returns once the leader that is known now is not any more.
pub(crate) async fn leader_change(replica: &Replica) {
    let leader = replica.watch_leader();
    let now = *leader.borrow();
    changed_from(leader, now).await;
}

async fn changed_from(mut leader: watch::Receiver<Option<u64>>, than: Option<u64>) {
    if leader.wait_for(|now| *now != than).await.is_err() {
        // Raft is gone, and with it all change.
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_change_is_noticed_once_it_is_there_and_not_before() {
        let (tell, leader) = watch::channel(Some(1));
        assert!(changed_from(leader.clone(), Some(1)).now_or_never().is_none());
        assert!(changed_from(leader.clone(), Some(2)).now_or_never().is_some());
        let waiting = tokio::spawn(changed_from(leader.clone(), Some(1)));
        tell.send_replace(None);
        waiting.await.expect("no panic");
        drop(tell);
        assert!(changed_from(leader, None).now_or_never().is_none(), "nothing changes any more");
    }
}
