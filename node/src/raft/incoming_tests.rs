//! A snapshot travels in pieces, goes on after every cut, is checked whole, and takes effect whole.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use flagraft_core::record::is_removed;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use tempfile::{TempDir, tempdir};

use super::{
    incoming::{Incoming, TransferRefusal},
    message::{AuditRecordsV1, RaftMessage, RaftReply, SnapshotOfferV2},
    outgoing::{Outgoing, SendError, Wire},
    snapshot::{CatalogFile, SnapshotData},
    state_machine::StateMachine,
    testing::{
        applied_in_batches, apply, entry, filled, log_id, open, recover, state_machine, with_removals,
    },
    transfer_metrics::TransferMetrics,
    types::Entry,
    wire::VoteV1,
};
use crate::storage::{MetaKey, Storage};

/// Small, so that few records make many messages.
const PIECE_BYTES: usize = 4_096;

const LEADER: VoteV1 = VoteV1 { term: 1, node_id: 1, committed: true };

fn metrics() -> TransferMetrics {
    TransferMetrics::register(&prometheus::Registry::new()).expect("fresh registry")
}

/// A node with a snapshot.
struct Sender {
    _dir: Option<TempDir>,
    storage: Arc<Storage>,
    catalog: CatalogFile,
}

/// A node with a snapshot of `proposals` proposals.
async fn sender(proposals: u64) -> Sender {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), proposals).await;
    Sender { _dir: Some(dir), ..sender_on(storage).await }
}

/// A node that has applied these entries, with a snapshot of that.
async fn sender_of(dir: &Path, entries: &[Entry]) -> Sender {
    sender_on(applied_in_batches(&dir.join("sender"), entries, 128).await).await
}

async fn sender_on(storage: Arc<Storage>) -> Sender {
    let mut machine = state_machine(&storage);
    let built = machine.get_snapshot_builder().await.build_snapshot().await.expect("built");
    let SnapshotData::Stored(catalog) = built.snapshot else { panic!("a built snapshot is stored") };
    Sender { _dir: None, storage, catalog }
}

impl Sender {
    async fn send(&self, link: &Link<'_>) -> Result<VoteV1, SendError<String>> {
        let outgoing = Outgoing {
            wire: link,
            storage: &self.storage,
            metrics: &metrics(),
            catalog: self.catalog.clone(),
            piece_bytes: PIECE_BYTES,
        };
        outgoing.send(LEADER, Duration::from_secs(1)).await
    }
}

/// A node that a snapshot comes to.
struct Receiver {
    storage: Arc<Storage>,
    machine: tokio::sync::Mutex<StateMachine>,
    incoming: Arc<Incoming>,
    metrics: TransferMetrics,
}

impl Receiver {
    /// A node that starts on what is on its disk.
    fn on(storage: Arc<Storage>) -> Self {
        let machine = state_machine(&storage);
        let metrics = metrics();
        let incoming = Incoming::new(Arc::clone(&storage), machine.publisher(), metrics.clone());
        Self { storage, machine: machine.into(), incoming: Arc::new(incoming), metrics }
    }

    async fn sequence(&self) -> u64 {
        self.machine.lock().await.publisher().current().state.sequence()
    }

    /// What [`super::Replica::handle_raft`] does, with the state machine in Raft's place.
    async fn handle(&self, message: RaftMessage) -> Result<RaftReply, TransferRefusal> {
        Ok(match message {
            RaftMessage::SnapshotOfferV2(offer) => {
                let (audit_size, catalog_bytes) = self.incoming.announce(offer)?;
                RaftReply::SnapshotOfferV2 { audit_size, catalog_bytes }
            }
            RaftMessage::AuditRecords(records) => {
                RaftReply::AuditRecords { audit_size: self.incoming.add_records(&records)? }
            }
            RaftMessage::CatalogPiece(piece) => {
                RaftReply::CatalogPiece { catalog_bytes: self.incoming.add_piece(&piece)? }
            }
            RaftMessage::SnapshotInstallV2(message) => {
                let arrived = self.incoming.begin_install(&message)?;
                let (meta, data) = arrived.check()?;
                let mut machine = self.machine.lock().await;
                // Raft installs nothing that it has committed already.
                if machine.applied_state().await.expect("reads").0 < meta.last_log_id {
                    machine.install_snapshot(&meta, data).await?;
                }
                arrived.installed();
                RaftReply::SnapshotInstall { vote: message.vote }
            }
            other => panic!("not of a transfer: {other:?}"),
        })
    }

    fn refuses(&self, message: &AuditRecordsV1) -> TransferRefusal {
        self.incoming.add_records(message).expect_err("refused")
    }
}

/// What happens to messages on their way, by their number from 0.
#[derive(Default)]
struct Weather {
    /// This one is lost.
    lost_request: Option<usize>,
    /// The answer to this one is lost.
    lost_answer: Option<usize>,
    /// Somebody changes them.
    meddle: Option<fn(&mut RaftMessage)>,
}

/// The way to a receiver.
struct Link<'a> {
    receiver: &'a Receiver,
    weather: Weather,
    sent: Mutex<Vec<RaftMessage>>,
}

impl<'a> Link<'a> {
    fn to(receiver: &'a Receiver) -> Self {
        Self::in_weather(receiver, Weather::default())
    }

    fn in_weather(receiver: &'a Receiver, weather: Weather) -> Self {
        Self { receiver, weather, sent: Mutex::default() }
    }

    fn sent(&self) -> MutexGuard<'_, Vec<RaftMessage>> {
        self.sent.lock().expect("unpoisoned")
    }

    /// The sequences of the records that were sent, in the order of sending.
    fn records(&self) -> Vec<u64> {
        let of = |message: &RaftMessage| match message {
            RaftMessage::AuditRecords(AuditRecordsV1 { first, records }) => {
                (*first..).take(records.len()).collect()
            }
            _ => Vec::new(),
        };
        self.sent().iter().flat_map(of).collect()
    }

    /// How many bytes of the catalog were sent.
    fn catalog_bytes(&self) -> u64 {
        let of = |message: &RaftMessage| match message {
            RaftMessage::CatalogPiece(piece) => piece.bytes.len() as u64,
            _ => 0,
        };
        self.sent().iter().map(of).sum()
    }
}

impl Wire for Link<'_> {
    type Error = String;

    async fn call(&self, mut message: RaftMessage, _deadline: Duration) -> Result<RaftReply, String> {
        let number = {
            let mut sent = self.sent();
            sent.push(message.clone());
            sent.len() - 1
        };
        if self.weather.lost_request == Some(number) {
            return Err("lost".to_owned());
        }
        if let Some(meddle) = self.weather.meddle {
            meddle(&mut message);
        }
        let answer = self.receiver.handle(message).await.map_err(|refusal| refusal.to_string())?;
        if self.weather.lost_answer == Some(number) {
            return Err("lost".to_owned());
        }
        Ok(answer)
    }
}

fn assert_same(one: &Arc<Storage>, other: &Arc<Storage>) {
    let (a, b) = (recover(one).expect("sound"), recover(other).expect("sound"));
    assert_eq!(a.last_applied, b.last_applied);
    assert_eq!(a.state.digest(), b.state.digest());
    assert_eq!(a.state.audit_root(), b.state.audit_root());
    assert_eq!(
        one.audit_range(0, usize::MAX).expect("reads"),
        other.audit_range(0, usize::MAX).expect("reads")
    );
    assert_eq!(other.meta(MetaKey::AuditStaging).expect("reads"), None);
}

/// Receives nothing: the folder of incoming snapshots is empty.
fn assert_tidy(receiver: &Receiver) {
    let left: Vec<_> = fs::read_dir(receiver.storage.incoming_dir()).expect("lists").collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(receiver.incoming.progress(), None);
}

#[tokio::test]
async fn an_empty_and_a_lagging_node_take_a_snapshot_and_go_on() {
    let sender = sender(60).await;
    for present in [0, 25] {
        let dir = tempdir().expect("a temporary folder");
        let storage = if present == 0 { open(dir.path()) } else { filled(dir.path(), present).await };
        let receiver = Receiver::on(storage);
        let link = Link::to(&receiver);
        assert_eq!(sender.send(&link).await.expect("sent"), LEADER);
        assert_eq!(link.records(), (present..60).collect::<Vec<_>>(), "only what is missing travels");
        assert_eq!(link.catalog_bytes(), sender.catalog.summary.bytes);

        let mut machine = receiver.machine.lock().await;
        machine.publisher().await_index(60).await;
        let kept = machine.get_current_snapshot().await.expect("reads").expect("kept");
        assert_eq!(kept.meta, sender.catalog.summary.meta);
        drop(machine);
        assert_same(&sender.storage, &receiver.storage);
        assert_tidy(&receiver);

        let receiver = Receiver::on(receiver.storage);
        apply(&mut *receiver.machine.lock().await, vec![entry(1, 61)]).await.expect("applied");
        assert_eq!(receiver.sequence().await, 61);
    }
}

#[tokio::test]
async fn the_same_state_makes_the_same_file_on_every_node() {
    let (one, other) = (sender(60).await, sender(60).await);
    let read = |sender: &Sender| super::catalog_file::piece(&sender.catalog.file, 0, 1 << 20).expect("reads");
    assert_eq!(read(&one), read(&other));
}

#[tokio::test]
async fn a_transfer_cut_at_any_message_goes_on_where_it_was() {
    let sender = sender(60).await;
    let messages = {
        let dir = tempdir().expect("a temporary folder");
        let receiver = Receiver::on(open(dir.path()));
        let link = Link::to(&receiver);
        sender.send(&link).await.expect("sent");
        link.sent().len()
    };
    assert!(messages > 10, "there is something to cut: {messages}");
    for cut in 0..messages {
        for lose_answer in [false, true] {
            let dir = tempdir().expect("a temporary folder");
            let receiver = Receiver::on(open(dir.path()));
            let weather = match lose_answer {
                true => Weather { lost_answer: Some(cut), ..Weather::default() },
                false => Weather { lost_request: Some(cut), ..Weather::default() },
            };
            let (first, second) = (Link::in_weather(&receiver, weather), Link::to(&receiver));
            assert!(matches!(sender.send(&first).await, Err(SendError::Wire(_))), "cut at {cut}");
            sender.send(&second).await.unwrap_or_else(|error| panic!("cut at {cut}: {error:?}"));
            // What was lost on the way was sent for nothing, and nothing else was.
            let mut records = first.records();
            let mut bytes = first.catalog_bytes();
            if let (false, Some(lost)) = (lose_answer, first.sent().last()) {
                match lost {
                    RaftMessage::AuditRecords(lost) => records.truncate(records.len() - lost.records.len()),
                    RaftMessage::CatalogPiece(lost) => bytes -= lost.bytes.len() as u64,
                    _ => {}
                }
            }
            records.extend(second.records());
            assert_eq!(records, (0..60).collect::<Vec<_>>(), "cut at {cut}");
            assert_eq!(bytes + second.catalog_bytes(), sender.catalog.summary.bytes, "cut at {cut}");
            assert_same(&sender.storage, &receiver.storage);
            assert_tidy(&receiver);
        }
    }
}

/// Copies a folder as a killed process leaves it: all that was written, none of what was to come.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("lists") {
        let path = entry.expect("lists").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copies");
        }
    }
}

#[tokio::test]
async fn a_node_killed_after_any_message_starts_again_and_the_transfer_goes_on() {
    let sender = sender(60).await;
    let dir = tempdir().expect("a temporary folder");
    let receiver = Receiver::on(filled(&dir.path().join("receiver"), 25).await);
    let link = Link::to(&receiver);
    sender.send(&link).await.expect("sent");
    let messages = link.sent().clone();

    let receiver = Receiver::on(filled(&dir.path().join("killed"), 25).await);
    let mut staged = 25;
    for (number, message) in messages.into_iter().enumerate() {
        if let RaftMessage::AuditRecords(records) = &message {
            staged += records.records.len() as u64;
        }
        receiver.handle(message).await.expect("taken");
        let copy = dir.path().join(number.to_string());
        copy_folder(&dir.path().join("killed"), &copy);

        let started = Receiver::on(open(&copy));
        let installed = receiver.sequence().await == 60;
        assert_eq!(started.sequence().await, if installed { 60 } else { 25 });
        let link = Link::to(&started);
        sender.send(&link).await.unwrap_or_else(|error| panic!("after message {number}: {error:?}"));
        assert_eq!(link.records(), (staged..60).collect::<Vec<_>>(), "after message {number}");
        assert_same(&sender.storage, &started.storage);
    }
}

#[tokio::test]
async fn the_next_leader_goes_on_where_the_last_one_was_cut() {
    let (first, second) = (sender(60).await, sender(80).await);
    let dir = tempdir().expect("a temporary folder");
    let receiver = Receiver::on(open(dir.path()));
    let link = Link::in_weather(&receiver, Weather { lost_request: Some(5), ..Weather::default() });
    first.send(&link).await.expect_err("cut");
    let here = receiver.storage.staged_end();
    assert!(here > 0 && here < 60, "cut half-way: {here}");
    let seen = receiver.incoming.progress().expect("a snapshot is on its way");
    assert_eq!((seen.received_records, seen.total_records), (here, 60));

    let link = Link::to(&receiver);
    second.send(&link).await.expect("sent");
    assert_eq!(link.records(), (here..80).collect::<Vec<_>>(), "the audit log does not start over");
    assert_eq!(receiver.metrics.resumed.get(), 1);
    assert_same(&second.storage, &receiver.storage);
    assert_tidy(&receiver);
}

/// The new leader's snapshot is older than the one that its predecessor was cut in.
#[tokio::test]
async fn records_beyond_the_installed_snapshot_go() {
    let (ahead, behind) = (sender(80).await, sender(60).await);
    let dir = tempdir().expect("a temporary folder");
    let receiver = Receiver::on(open(dir.path()));
    let messages = {
        let other = tempdir().expect("a temporary folder");
        let receiver = Receiver::on(open(other.path()));
        let link = Link::to(&receiver);
        ahead.send(&link).await.expect("sent");
        link.sent().len()
    };
    // All but the end has arrived.
    let weather = Weather { lost_request: Some(messages - 1), ..Weather::default() };
    ahead.send(&Link::in_weather(&receiver, weather)).await.expect_err("cut");
    assert_eq!(receiver.storage.staged_end(), 80);

    let link = Link::to(&receiver);
    behind.send(&link).await.expect("sent");
    assert_eq!(link.records(), Vec::<u64>::new());
    assert_same(&behind.storage, &receiver.storage);
}

#[tokio::test]
async fn what_was_applied_since_the_transfer_began_stays() {
    let sender = sender(60).await;
    for lost in 1..8 {
        let dir = tempdir().expect("a temporary folder");
        let receiver = Receiver::on(filled(dir.path(), 25).await);
        let weather = Weather { lost_request: Some(lost), ..Weather::default() };
        sender.send(&Link::in_weather(&receiver, weather)).await.expect_err("cut");
        apply(&mut *receiver.machine.lock().await, (26..=40).map(|index| entry(1, index)).collect())
            .await
            .expect("applied");
        sender.send(&Link::to(&receiver)).await.expect("sent");
        assert_same(&sender.storage, &receiver.storage);
    }
}

/// The node lags past removals: it has the bytes of records that the others have removed, and never applies the entries that
/// removed them. Their records came with the snapshot, and it does what they say before it serves anybody.
#[tokio::test]
async fn what_was_removed_meanwhile_is_removed_where_it_still_was() {
    let entries = with_removals(60, 50, [vec![(3, 9), (20, 22)], vec![(30, 33), (40, 41)]]);
    let dir = tempdir().expect("a temporary folder");
    let sender = sender_of(dir.path(), &entries).await;
    // Of those that it has, that come whole from a leader who had not removed them yet, and that come removed.
    for (present, staged) in [(0, 0), (25, 0), (25, 35), (10, 45)] {
        let place = dir.path().join(format!("{present}-{staged}"));
        let storage = applied_in_batches(&place, &entries[..=present], 128).await;
        let receiver = Receiver::on(storage);
        if staged > 0 {
            let full = applied_in_batches(&place.join("earlier"), &entries[..50], 128).await;
            let rows = full.audit_range(present as u64, staged - present).expect("reads");
            let records: Vec<Vec<u8>> = rows.into_iter().map(|row| row.bytes).collect();
            receiver.storage.stage_records(present as u64, &records).expect("staged");
        }
        let before = receiver.storage.audit_range(0, usize::MAX).expect("reads");
        assert!(before.iter().all(|row| !is_removed(&row.bytes)));
        sender.send(&Link::to(&receiver)).await.expect("sent");
        assert_same(&sender.storage, &receiver.storage);
        assert_tidy(&receiver);
        let rows = receiver.storage.audit_range(0, usize::MAX).expect("reads");
        let gone: Vec<u64> =
            rows.iter().filter(|row| is_removed(&row.bytes)).map(|row| row.sequence).collect();
        assert_eq!(gone, [3, 4, 5, 6, 7, 8, 20, 21, 30, 31, 32, 40]);
        // And what is left of the bytes in the files goes too, where there were any.
        assert_eq!(receiver.storage.compact_removed().expect("compacts").is_empty(), before.is_empty());
    }
}

#[tokio::test]
async fn a_received_record_never_replaces_a_counted_one() {
    let sender = sender(60).await;
    let dir = tempdir().expect("a temporary folder");
    let receiver = Receiver::on(filled(dir.path(), 25).await);
    let weather = Weather { lost_request: Some(1), ..Weather::default() };
    sender.send(&Link::in_weather(&receiver, weather)).await.expect_err("cut");
    let before = receiver.storage.audit_range(0, usize::MAX).expect("reads");

    // They come late, for the node has got on by entries since.
    apply(&mut *receiver.machine.lock().await, vec![entry(1, 26)]).await.expect("applied");
    let late = AuditRecordsV1 { first: 20, records: vec![b"{}".to_vec(); 6] };
    assert_eq!(receiver.incoming.add_records(&late).expect("passed over"), 26);
    let after = receiver.storage.audit_range(0, usize::MAX).expect("reads");
    assert_eq!(after[..25], before);
    assert_ne!(after[25].bytes, b"{}");
    assert_eq!(receiver.storage.staged_end(), 26);
}

#[tokio::test]
async fn what_is_not_as_announced_is_thrown_away_and_comes_again() {
    let sender = sender(60).await;
    type Change = fn(&mut RaftMessage);
    let changes: [(&str, Change); 3] = [
        ("a changed catalog", |message| {
            if let RaftMessage::CatalogPiece(piece) = message {
                piece.bytes[20] ^= 1;
            }
        }),
        ("a changed record", |message| {
            if let RaftMessage::AuditRecords(records) = message {
                records.records[0][20] ^= 1;
            }
        }),
        ("another size", |message| {
            if let RaftMessage::SnapshotOfferV2(offer) = message {
                offer.meta.last_log_id.as_mut().expect("an entry").index += 1;
            }
        }),
    ];
    for (what, change) in changes {
        let dir = tempdir().expect("a temporary folder");
        let receiver = Receiver::on(filled(dir.path(), 25).await);
        let counted = receiver.storage.audit_range(0, usize::MAX).expect("reads");
        let weather = Weather { meddle: Some(change), ..Weather::default() };
        let refused = sender.send(&Link::in_weather(&receiver, weather)).await;
        assert!(matches!(refused, Err(SendError::Wire(_))), "{what}: {refused:?}");
        assert_eq!(receiver.sequence().await, 25, "{what}: nothing is installed");
        assert_eq!(receiver.metrics.discarded.get(), 1, "{what}");
        let recovered = recover(&receiver.storage).expect("sound");
        assert_eq!((recovered.last_applied, recovered.state.sequence()), (Some(log_id(1, 25)), 25));
        assert_eq!(receiver.storage.audit_range(0, 25).expect("reads"), counted, "{what}");

        sender.send(&Link::to(&receiver)).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_same(&sender.storage, &receiver.storage);
        assert_tidy(&receiver);
    }
}

/// However wrong what was staged is, and whenever it came: the node gets over it.
#[tokio::test]
async fn staged_records_of_another_history_do_not_stay() {
    let sender = sender(60).await;
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 25).await;
    storage.stage_records(25, &vec![b"{}".to_vec(); 35]).expect("writes");
    let receiver = Receiver::on(storage);
    let link = Link::to(&receiver);
    let refused = sender.send(&link).await;
    assert!(matches!(&refused, Err(SendError::Wire(why)) if why.contains("root")), "{refused:?}");
    assert_eq!(link.records(), Vec::<u64>::new(), "they were taken for the right ones until the end");
    let link = Link::to(&receiver);
    sender.send(&link).await.expect("sent");
    assert_eq!(link.records(), (25..60).collect::<Vec<_>>());
    assert_same(&sender.storage, &receiver.storage);
}

#[tokio::test]
async fn messages_that_do_not_belong_to_the_announced_snapshot_are_refused_and_do_no_harm() {
    let (sender, other) = (sender(60).await, sender(50).await);
    let dir = tempdir().expect("a temporary folder");
    let receiver = Receiver::on(open(dir.path()));
    let records = |first, count| AuditRecordsV1 { first, records: vec![b"{}".to_vec(); count] };
    assert!(matches!(receiver.refuses(&records(0, 1)), TransferRefusal::Unannounced));

    let messages = {
        let dir = tempdir().expect("a temporary folder");
        let receiver = Receiver::on(open(dir.path()));
        let link = Link::to(&receiver);
        sender.send(&link).await.expect("sent");
        link.sent().clone()
    };
    let strangers = {
        let dir = tempdir().expect("a temporary folder");
        let receiver = Receiver::on(open(dir.path()));
        let link = Link::to(&receiver);
        other.send(&link).await.expect("sent");
        link.sent().clone()
    };
    // After the announcement, everything comes too early too, and mixed with another transfer's, and twice.
    receiver.handle(messages[0].clone()).await.expect("announced");
    assert!(matches!(receiver.refuses(&records(1, 1)), TransferRefusal::Mismatch(_)));
    assert!(matches!(receiver.refuses(&records(0, 61)), TransferRefusal::Mismatch(_)));
    let end = messages.len() - 1;
    for number in 1..end {
        // But not the word to install it: once all has come in whatever way, that is in order.
        let early = messages.iter().enumerate().take(end).skip(number + 2);
        for (other, stray) in early.chain(strangers.iter().enumerate().skip(1)) {
            let taken = receiver.handle(stray.clone()).await;
            // Records are the same whoever sends them, and the catalog does not wait for them.
            let harmless = match stray {
                RaftMessage::AuditRecords(_) => true,
                RaftMessage::CatalogPiece(piece) => piece.catalog_sha256 == sender.catalog.summary.sha256,
                _ => false,
            };
            assert!(harmless || taken.is_err(), "{other} before {number}");
            assert_eq!(receiver.sequence().await, 0);
            // A message that ends a transfer too early lets it go; it is announced again, as the sender would.
            receiver.handle(messages[0].clone()).await.expect("announced");
        }
        for _ in 0..2 {
            drop(receiver.handle(messages[number].clone()).await);
        }
    }
    receiver.handle(messages[end].clone()).await.expect("installed");
    assert_same(&sender.storage, &receiver.storage);
}

#[tokio::test]
async fn a_snapshot_of_what_is_applied_is_answered_and_changes_nothing() {
    let sender = sender(60).await;
    let dir = tempdir().expect("a temporary folder");
    let receiver = Receiver::on(filled(dir.path(), 70).await);
    let link = Link::to(&receiver);
    sender.send(&link).await.expect("answered");
    assert_eq!(link.sent().len(), 2, "an announcement and an end");
    assert_eq!(receiver.sequence().await, 70);
    assert_tidy(&receiver);
}

#[tokio::test]
async fn while_one_is_installed_no_other_is_taken() {
    let sender = sender(60).await;
    let dir = tempdir().expect("a temporary folder");
    let receiver = Receiver::on(open(dir.path()));
    let link = Link::to(&receiver);
    sender.send(&link).await.expect("sent");
    let sent = link.sent().clone();
    let [RaftMessage::SnapshotOfferV2(offer), .., RaftMessage::SnapshotInstallV2(end)] = &*sent else {
        panic!("the first and the last message of a transfer")
    };
    receiver.incoming.announce(offer.clone()).expect("announced");
    let arrived = receiver.incoming.begin_install(end).expect("here");
    let busy = |offer: SnapshotOfferV2| receiver.incoming.announce(offer).expect_err("busy");
    assert!(matches!(busy(offer.clone()), TransferRefusal::Busy));
    let records = AuditRecordsV1 { first: 60, records: vec![b"{}".to_vec()] };
    assert!(matches!(receiver.refuses(&records), TransferRefusal::Busy));
    drop(arrived);
    receiver.incoming.announce(offer.clone()).expect("announced");
}

#[tokio::test]
async fn a_snapshot_of_a_later_term_than_its_sender_s_never_reaches_raft() {
    let sender = sender(60).await;
    let dir = tempdir().expect("a temporary folder");
    let receiver = Receiver::on(open(dir.path()));
    let weather = Weather {
        meddle: Some(|message| {
            if let RaftMessage::SnapshotInstallV2(end) = message {
                end.vote.term = 0;
            }
        }),
        ..Weather::default()
    };
    let refused = sender.send(&Link::in_weather(&receiver, weather)).await;
    assert!(matches!(&refused, Err(SendError::Wire(why)) if why.contains("later term")), "{refused:?}");
}

#[tokio::test]
async fn a_damaged_file_is_not_sent() {
    let sender = sender(60).await;
    let file =
        fs::read_dir(sender.storage.snapshot_dir()).expect("lists").next().expect("one").expect("lists");
    let mut bytes = fs::read(file.path()).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file.path(), bytes).expect("writes");
    let dir = tempdir().expect("a temporary folder");
    let receiver = Receiver::on(open(dir.path()));
    let link = Link::to(&receiver);
    assert!(matches!(sender.send(&link).await, Err(SendError::Disk(_))));
    assert!(link.sent().is_empty());
}

/// What Raft never asks for, and what would be no snapshot if it did.
#[tokio::test]
async fn a_snapshot_that_has_not_come_is_not_installed() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 10).await;
    let mut machine = state_machine(&storage);
    let meta = sender(60).await.catalog.summary.meta;
    machine.install_snapshot(&meta, SnapshotData::Covered).await.expect_err("refused");
    assert_eq!(machine.publisher().current().state.sequence(), 10);
}

#[tokio::test]
async fn building_replaces_older_snapshots() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 10).await;
    let mut machine = state_machine(&storage);
    for index in 11..=13 {
        apply(&mut machine, vec![entry(1, index)]).await.expect("applied");
        machine.get_snapshot_builder().await.build_snapshot().await.expect("built");
    }
    let files = fs::read_dir(storage.snapshot_dir()).expect("lists").count();
    assert_eq!(files, 1);
    let current = machine.get_current_snapshot().await.expect("reads").expect("one");
    assert_eq!(current.meta.last_log_id, Some(log_id(1, 13)));
}
