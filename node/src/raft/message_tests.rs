//! What Raft's cores say to each other keeps its bytes, and comes out of the conversions as it went in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use bincode::{Decode, Encode};
use openraft::{
    EntryPayload,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};

use super::{
    codec::{self, Kind},
    message::{
        AuditRecordsV1, CatalogPieceV1, RaftMessage, RaftReply, SnapshotChunkV1, SnapshotInstallV1,
        SnapshotInstallV2, SnapshotMetaV1, SnapshotOfferV1, SnapshotOfferV2, SnapshotPart,
    },
    testing::log_id,
    types::{
        Command, Entry, MemberRole, Membership, NodeMeta, SnapshotMeta, StoredMembership, TypeConfig,
        VersionRange, Vote,
    },
};

/// One line for each message: its name and its bytes in hexadecimal.
const GOLDEN: &str = include_str!("golden/messages.txt");

fn check<T: Encode + Decode<()> + PartialEq + Debug>(name: &str, kind: Kind, message: &T) {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let golden = line.unwrap_or_else(|| panic!("no golden bytes for {name}"));
    let bytes = codec::encode(kind, message).expect("encodes");
    assert_eq!(hex::encode(&bytes), golden, "{name}: what is released is frozen");
    let decoded: T = codec::decode(kind, &bytes).expect("decodes");
    assert_eq!(&decoded, message, "{name}");
}

fn request(name: &str, message: impl Into<RaftMessage>) {
    check(name, Kind::PeerRequest, &message.into());
}

fn reply(name: &str, message: &RaftReply) {
    check(name, Kind::PeerReply, message);
}

fn leader() -> Vote {
    Vote::new_committed(3, 1)
}

fn candidate() -> Vote {
    Vote::new(4, 2)
}

fn stored_membership() -> StoredMembership {
    let meta = |node: u64, role| NodeMeta {
        peer_addr: format!("10.0.0.{node}:7501"),
        public_addr: format!("http://node-{node}:7401"),
        uid: format!("{node:032x}"),
        zone: "a".to_owned(),
        region: "eu".to_owned(),
        labels: BTreeMap::from([("rack".to_owned(), node.to_string())]),
        role,
        versions: VersionRange { min: 1, max: 2 },
    };
    let nodes = BTreeMap::from([
        (1, meta(1, MemberRole::Voter)),
        (2, meta(2, MemberRole::Voter)),
        (300, meta(300, MemberRole::Learner)),
    ]);
    let membership =
        Membership::new(vec![BTreeSet::from([1]), BTreeSet::from([1, 2])], nodes).expect("valid");
    StoredMembership::new(Some(log_id(3, 9)), membership)
}

#[test]
fn golden_bytes_of_requests() {
    let append = AppendEntriesRequest::<TypeConfig> {
        vote: leader(),
        prev_log_id: Some(log_id(3, 9)),
        entries: vec![
            Entry { log_id: log_id(3, 10), payload: EntryPayload::Normal(Command(b"{}".to_vec())) },
            Entry { log_id: log_id(3, 11), payload: EntryPayload::Blank },
        ],
        leader_commit: Some(log_id(3, 9)),
    };
    let heartbeat = AppendEntriesRequest {
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
        ..append.clone()
    };
    request("append", RaftMessage::Append(append.into()));
    request("append-heartbeat", RaftMessage::Append(heartbeat.into()));
    request("vote", RaftMessage::Vote(VoteRequest::new(candidate(), Some(log_id(3, 9))).into()));
    request("pre-vote", RaftMessage::PreVote(VoteRequest::new(candidate(), None).into()));
    let transfer = TransferLeaderRequest::new(leader(), 2, Some(log_id(3, 9)));
    request("transfer", RaftMessage::Transfer(transfer.into()));

    let meta = SnapshotMeta { last_log_id: Some(log_id(3, 9)), last_membership: stored_membership() };
    let meta = SnapshotMetaV1::from(&meta);
    request(
        "snapshot-offer",
        RaftMessage::SnapshotOffer(SnapshotOfferV1 {
            transfer: 77,
            meta,
            catalog_bytes: 5_000,
            audit_size: 6,
        }),
    );
    request(
        "snapshot-chunk",
        RaftMessage::SnapshotChunk(SnapshotChunkV1 {
            transfer: 77,
            part: SnapshotPart::Audit,
            offset: 1_048_576,
            bytes: vec![1, 2, 3],
        }),
    );
    request(
        "snapshot-install",
        RaftMessage::SnapshotInstall(SnapshotInstallV1 {
            transfer: 77,
            vote: (&leader()).into(),
            catalog_sha256: [1; 32],
            audit_sha256: [2; 32],
        }),
    );

    let meta = SnapshotMeta { last_log_id: Some(log_id(3, 9)), last_membership: stored_membership() };
    request(
        "snapshot-offer-v2",
        RaftMessage::SnapshotOfferV2(SnapshotOfferV2 {
            meta: (&meta).into(),
            catalog_bytes: 5_000,
            catalog_sha256: [1; 32],
            audit_size: 6,
        }),
    );
    request(
        "audit-records",
        RaftMessage::AuditRecords(AuditRecordsV1 {
            first: 1_048_576,
            records: vec![b"{}".to_vec(), Vec::new()],
        }),
    );
    request(
        "catalog-piece",
        RaftMessage::CatalogPiece(CatalogPieceV1 {
            catalog_sha256: [1; 32],
            offset: 1_048_576,
            bytes: vec![1, 2, 3],
        }),
    );
    request(
        "snapshot-install-v2",
        RaftMessage::SnapshotInstallV2(SnapshotInstallV2 {
            catalog_sha256: [1; 32],
            vote: (&leader()).into(),
        }),
    );
}

#[test]
fn golden_bytes_of_replies() {
    for (name, response) in [
        ("append-success", AppendEntriesResponse::<TypeConfig>::Success),
        ("append-partial", AppendEntriesResponse::PartialSuccess(Some(log_id(3, 9)))),
        ("append-conflict", AppendEntriesResponse::Conflict),
        ("append-higher-vote", AppendEntriesResponse::HigherVote(leader())),
    ] {
        reply(name, &RaftReply::Append(response.into()));
    }
    let vote = VoteResponse::<TypeConfig>::new(candidate(), Some(log_id(3, 9)), true);
    reply("vote-reply", &RaftReply::Vote(vote.into()));
    let transfers: [(&str, TransferLeaderResponse<TypeConfig>); 3] = [
        ("transfer-accepted", Ok(())),
        (
            "transfer-vote-changed",
            Err(TransferLeaderError::VoteChanged { expected: leader(), actual: candidate() }),
        ),
        (
            "transfer-not-flushed",
            Err(TransferLeaderError::LogNotFlushed { expected: Some(log_id(3, 9)), actual: None }),
        ),
    ];
    for (name, response) in transfers {
        reply(name, &RaftReply::Transfer(response.into()));
    }
    reply("snapshot-offer-reply", &RaftReply::SnapshotOffer { audit_size: 6 });
    reply("snapshot-chunk-reply", &RaftReply::SnapshotChunk { offset: 1_048_579 });
    reply("snapshot-install-reply", &RaftReply::SnapshotInstall { vote: (&leader()).into() });
    let offered = RaftReply::SnapshotOfferV2 { audit_size: 6, catalog_bytes: 1_048_579 };
    reply("snapshot-offer-v2-reply", &offered);
    reply("audit-records-reply", &RaftReply::AuditRecords { audit_size: 1_048_579 });
    reply("catalog-piece-reply", &RaftReply::CatalogPiece { catalog_bytes: 1_048_579 });
}

#[test]
fn conversions_lose_nothing() {
    let append = AppendEntriesRequest::<TypeConfig> {
        vote: leader(),
        prev_log_id: Some(log_id(3, 9)),
        entries: vec![Entry {
            log_id: log_id(3, 10),
            payload: EntryPayload::Membership(stored_membership().membership().clone()),
        }],
        leader_commit: None,
    };
    let there = super::message::AppendV1::from(append.clone());
    let back = AppendEntriesRequest::try_from(there).expect("valid");
    assert_eq!(format!("{back:?}"), format!("{append:?}"));

    let mut vote = VoteRequest::<TypeConfig>::new(candidate(), Some(log_id(3, 9)));
    vote.leadership_transfer = true;
    assert_eq!(VoteRequest::from(super::message::VoteRequestV1::from(vote.clone())), vote);
    let granted = VoteResponse::<TypeConfig>::new(candidate(), None, true);
    assert_eq!(VoteResponse::from(super::message::VoteReplyV1::from(granted.clone())), granted);
    let transfer = TransferLeaderRequest::<TypeConfig>::new(leader(), 2, None);
    assert_eq!(TransferLeaderRequest::from(super::message::TransferV1::from(transfer.clone())), transfer);
    let response = AppendEntriesResponse::<TypeConfig>::PartialSuccess(None);
    assert_eq!(AppendEntriesResponse::from(super::message::AppendReplyV1::from(response.clone())), response);
    let meta = SnapshotMeta { last_log_id: None, last_membership: stored_membership() };
    assert_eq!(SnapshotMeta::try_from(SnapshotMetaV1::from(&meta)), Ok(meta));
}
