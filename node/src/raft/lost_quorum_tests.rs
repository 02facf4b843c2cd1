//! A folder that its node goes on from alone.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use flagraft_core::{
    identity::{ClusterId, History, LogPosition},
    operation::{Operation, SystemBootstrap},
    proposal::{Actor, Body, Change, Proposal, RequestId},
    version::ClusterVersion,
};
use openraft::EntryPayload;
use tempfile::tempdir;

use super::{
    RaftRole, RaftTuning, RecoverError, Replica,
    floor::Synced,
    inspect, recover_alone,
    testing::{
        append, apply, entry, filled, log_id, membership_of, nobody, open, proposal, recover, replica,
        state_machine,
    },
    types::{Command, Entry, Vote},
    wire::{encode_log_id, encode_vote},
};
use crate::{
    backup::Words,
    storage::{MetaKey, Storage, StorageError, StorageMetrics},
};

const OLD: (ClusterId, History) = (ClusterId(0xA), History(0xB));
/// Entries that the survivor knows to be committed: a membership, the founding, and denials.
const COMMITTED: u64 = 10;
/// The last entry in its log.
const LAST: u64 = 15;

fn founding() -> Proposal {
    let bootstrap = SystemBootstrap {
        cluster: OLD.0,
        history: OLD.1,
        cluster_version: ClusterVersion::NEWEST,
        members: BTreeMap::new(),
        if_revision: None,
    };
    let change = Change {
        project: None,
        operations: vec![Operation::SystemBootstrap(bootstrap)],
        reason: "the founding".to_owned(),
        ticket: None,
        expect_revision: None,
    };
    Proposal {
        request: RequestId { id: "bootstrap".to_owned(), client_given: true },
        body: Body::Change(change),
        actor: Actor::system(1),
        ..proposal(0)
    }
}

/// The log of node 1, one of three.
fn entries() -> Vec<Entry> {
    let founding = Command(founding().encode().expect("small enough"));
    let founding = Entry { log_id: log_id(2, 1), payload: EntryPayload::Normal(founding) };
    [membership_of(2, 0, &[1, 2, 3]), founding]
        .into_iter()
        .chain((2..=LAST).map(|index| entry(2, index)))
        .collect()
}

/// The folder of node 1 as a crash left it: five entries of its log are not known to be committed.
async fn survivor(dir: &Path) -> Arc<Storage> {
    let storage = open(dir);
    storage.set_cluster_id(OLD.0).await.expect("joined");
    append(&storage, entries()).await.expect("appended");
    let committed = entries().into_iter().filter(|entry| entry.log_id.index <= COMMITTED);
    apply(&mut state_machine(&storage), committed.collect()).await.expect("applied");
    let vote = Vote { leader_id: log_id(3, 0).leader_id, committed: false };
    storage.put_meta(MetaKey::Vote, &encode_vote(&vote).expect("encodes")).expect("written");
    let known = encode_log_id(&log_id(2, COMMITTED)).expect("encodes");
    storage.put_meta(MetaKey::Committed, &known).expect("written");
    storage.sync().await.expect("synced");
    storage
}

fn words() -> Words {
    Words { operator: "ann".to_owned(), reason: "a drill".to_owned(), ticket: Some("INC-1".to_owned()) }
}

async fn start(storage: &Arc<Storage>) -> Replica {
    replica(storage, nobody(storage), RaftTuning::default()).await.expect("a sound folder")
}

#[tokio::test]
async fn a_recovered_folder_is_in_its_new_history_before_it_answers_anybody() {
    let dir = tempdir().expect("a temporary folder");
    let storage = survivor(dir.path()).await;
    let before = inspect(&storage).expect("sound");
    assert_eq!(before.last, Some(LogPosition { term: 2, index: LAST }));
    assert_eq!(before.committed, Some(LogPosition { term: 2, index: COMMITTED }));
    assert_eq!((before.committed_revision, before.last_revision, before.audit_size), (1, 1, LAST));
    assert_eq!(before.members, BTreeMap::from([(1, true), (2, true), (3, true)]));
    assert_eq!((before.term, before.voted_for), (3, Some((1, false))));

    let recovery = recover_alone(&storage, &words(), 1).expect("recovered");
    assert_ne!((recovery.cluster, recovery.history), OLD);
    assert_eq!((recovery.from.cluster, recovery.from.history), OLD);
    assert_eq!((Some(recovery.from.last), Some(recovery.from.committed)), (before.last, before.committed));
    drop(storage);

    let storage = open(dir.path());
    assert_eq!(storage.identity().cluster_id, Some(recovery.cluster));
    let replica = start(&storage).await;
    // No election has been yet: nobody could be asked.
    let published = replica.published();
    assert_eq!(published.state.history(), Some(recovery.history));
    assert_eq!(published.state.cluster_id(), Some(recovery.cluster));
    assert_eq!(published.state.sequence(), LAST + 1, "every entry of its log, and the recovery");
    assert_eq!(published.position.map(|position| position.index), Some(LAST + 2));

    let leads = async {
        let mut leader = replica.watch_leader();
        leader.wait_for(|leader| *leader == Some(1)).await.expect("Raft runs");
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), leads).await.expect("it elects itself");
    let status = replica.status();
    assert_eq!((status.role, status.voters().collect::<Vec<_>>()), (RaftRole::Leader, vec![1]));
    let reply = replica.propose(&proposal(99)).await.expect("it takes writes alone");
    assert_eq!(reply.outcome.rejection(), None);
    replica.shutdown().await;
}

#[tokio::test]
async fn it_is_all_or_nothing_and_can_be_done_again() {
    let dir = tempdir().expect("a temporary folder");
    let storage = survivor(dir.path()).await;
    let before = inspect(&storage).expect("sound");
    let refused = recover_alone(&storage, &Words { reason: " ".to_owned(), ..words() }, 1);
    assert!(matches!(refused, Err(RecoverError::Words(_))), "{refused:?}");
    assert_eq!(inspect(&storage).expect("sound"), before, "nothing was changed");

    let first = recover_alone(&storage, &words(), 1).expect("recovered");
    let second = recover_alone(&storage, &words(), 1).expect("once more, before it was started");
    assert_eq!((second.from.cluster, second.from.history), (first.cluster, first.history));
    let after = inspect(&storage).expect("sound");
    assert_eq!(after.history, Some(second.history));
    assert_eq!(after.last, after.committed);
    assert_eq!(after.members, BTreeMap::from([(1, true)]));
}

/// The floor says so too: a disk that comes back as it was before is not the old cluster's again.
#[tokio::test]
async fn a_disk_that_forgets_the_recovery_is_refused() {
    let dir = tempdir().expect("a temporary folder");
    let storage = survivor(dir.path()).await;
    drop(storage);
    let old = tempdir().expect("a temporary folder");
    copy(&dir.path().join("db"), &old.path().join("db"));
    let storage = open(dir.path());
    recover_alone(&storage, &words(), 1).expect("recovered");
    let last = log_id(4, LAST + 2);
    let floor = Synced::of(&storage).expect("decodes");
    assert_eq!((floor.vote.map(|vote| vote.leader_id), floor.last), (Some(last.leader_id), Some(last)));
    drop(storage);

    fs::remove_dir_all(dir.path().join("db")).expect("removed");
    copy(&old.path().join("db"), &dir.path().join("db"));
    let said = recover(&open(dir.path())).err().expect("refused").to_string();
    assert!(said.contains("was synced"), "{said}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new folder");
    for file in fs::read_dir(from).expect("lists") {
        let file = file.expect("lists");
        fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}

/// A crash between the installation of a snapshot and the purge that follows it leaves a log that ends before the state.
#[tokio::test]
async fn a_state_that_is_beyond_its_log_is_recovered_without_a_hole() {
    let dir = tempdir().expect("a temporary folder");
    let storage = survivor(dir.path()).await;
    let mut batch = storage.batch();
    let installed = encode_log_id(&log_id(2, COMMITTED)).expect("encodes");
    batch.meta(MetaKey::LastInstalled, Some(&installed));
    batch.commit().expect("written");
    storage.truncate_log(6).expect("written");
    // The floor goes down before a log is cut back.
    Synced { vote: None, last: Some(log_id(2, 5)) }.keep(&storage).expect("written");

    let recovery = recover_alone(&storage, &words(), 1).expect("recovered");
    assert_eq!(recovery.from.last, LogPosition { term: 2, index: COMMITTED });
    drop(storage);
    let storage = open(dir.path());
    let replica = start(&storage).await;
    let published = replica.published();
    assert_eq!(published.state.history(), Some(recovery.history));
    assert_eq!(published.position.map(|position| position.index), Some(COMMITTED + 2));
    replica.shutdown().await;
}

#[tokio::test]
async fn a_folder_without_a_catalog_and_one_that_is_damaged_are_refused() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 5).await;
    let nothing = recover_alone(&storage, &words(), 1);
    assert!(matches!(nothing, Err(RecoverError::Nothing(_))), "{nothing:?}");

    let dir = tempdir().expect("a temporary folder");
    let storage = survivor(dir.path()).await;
    storage.trim_audit(3).expect("written");
    let damaged = recover_alone(&storage, &words(), 1);
    assert!(matches!(damaged, Err(RecoverError::Disk(_))), "{damaged:?}");
}

#[tokio::test]
async fn a_folder_that_is_open_or_none_at_all_is_not_opened() {
    let dir = tempdir().expect("a temporary folder");
    let storage = survivor(dir.path()).await;
    let existing = |dir: &Path| Storage::open_existing(dir, StorageMetrics::detached().expect("fresh"));
    let in_use = existing(dir.path());
    assert!(matches!(in_use, Err(StorageError::InUse(_))), "{in_use:?}");
    drop(storage);
    assert_eq!(existing(dir.path()).expect("free now").identity().node_id, 1);
    let empty = tempdir().expect("a temporary folder");
    let missing = existing(empty.path());
    assert!(matches!(missing, Err(StorageError::Missing(_))), "{missing:?}");
    assert_eq!(empty.path().read_dir().expect("lists").count(), 0, "nothing was made");
}
