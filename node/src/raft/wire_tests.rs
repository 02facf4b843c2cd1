//! Everything that goes to the disk keeps its bytes for ever, and nothing else is taken for it.

use std::collections::{BTreeMap, BTreeSet};

use openraft::EntryPayload;

use super::{
    codec::{self, CodecError, Kind},
    floor::Synced,
    testing::log_id,
    types::{Command, Entry, MemberRole, Membership, NodeMeta, StoredMembership, VersionRange, Vote},
    wire::{
        decode_entry, decode_floor, decode_log_id, decode_membership, decode_vote, encode_entry,
        encode_floor, encode_log_id, encode_membership, encode_vote,
    },
};

/// One line for each value: its name and its bytes in hexadecimal.
const GOLDEN: &str = include_str!("golden/disk.txt");

fn golden(name: &str) -> Vec<u8> {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    hex::decode(line.unwrap_or_else(|| panic!("no golden bytes for {name}"))).expect("hexadecimal")
}

fn check(name: &str, bytes: &[u8]) {
    assert_eq!(hex::encode(bytes), hex::encode(golden(name)), "{name}: what is released is frozen");
}

fn members() -> Membership {
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
    Membership::new(vec![BTreeSet::from([1]), BTreeSet::from([1, 2])], nodes).expect("valid")
}

#[test]
fn golden_bytes_of_the_disk() {
    for (name, vote) in [("vote", Vote::new(3, 1)), ("vote-granted", Vote::new_committed(70_000, 2))] {
        check(name, &encode_vote(&vote).expect("encodes"));
        assert_eq!(decode_vote(&golden(name)), Ok(vote));
    }

    let id = log_id(5, u64::MAX);
    check("log-id", &encode_log_id(&id).expect("encodes"));
    assert_eq!(decode_log_id(&golden("log-id")), Ok(id));

    let synced = Synced { vote: Some(Vote::new(3, 1)), last: Some(log_id(9, 1_000)) };
    for (name, synced) in [("floor", synced), ("floor-none", Synced::default())] {
        check(name, &encode_floor(&synced).expect("encodes"));
        assert_eq!(decode_floor(&golden(name)), Ok(synced));
    }

    let stored = StoredMembership::new(Some(log_id(2, 7)), members());
    check("membership", &encode_membership(&stored).expect("encodes"));
    assert_eq!(decode_membership(&golden("membership")), Ok(stored));
    check("membership-none", &encode_membership(&StoredMembership::default()).expect("encodes"));
    assert_eq!(decode_membership(&golden("membership-none")), Ok(StoredMembership::default()));

    for (name, payload) in [
        ("entry-blank", EntryPayload::Blank),
        ("entry-proposal", EntryPayload::Normal(Command(br#"{"kind":"change"}"#.to_vec()))),
        ("entry-membership", EntryPayload::Membership(members())),
    ] {
        let entry = Entry { log_id: log_id(9, 1_000), payload };
        check(name, &encode_entry(entry.clone()).expect("encodes"));
        assert_eq!(decode_entry(&golden(name)), Ok(entry), "{name}");
    }
}

#[test]
fn damage_is_always_noticed() {
    for (name, sound) in [
        ("entry-proposal", golden("entry-proposal")),
        ("membership", golden("membership")),
        ("vote", golden("vote")),
    ] {
        let decodes = |bytes: &[u8]| match name {
            "entry-proposal" => decode_entry(bytes).is_ok(),
            "membership" => decode_membership(bytes).is_ok(),
            _ => decode_vote(bytes).is_ok(),
        };
        assert!(decodes(&sound));
        for at in 0..sound.len() {
            assert!(!decodes(&sound[..at]), "{name} cut at {at}");
            for bit in 0..8 {
                let mut flipped = sound.clone();
                flipped[at] ^= 1 << bit;
                assert!(!decodes(&flipped), "{name}: bit {bit} of byte {at}");
            }
        }
        assert!(!decodes(&[sound.as_slice(), &[0]].concat()), "{name} with a byte too many");
        assert!(!decodes(&vec![0; sound.len()]), "{name} zeroed");
    }
}

#[test]
fn each_fault_has_its_name() {
    let sound = golden("vote");
    let resealed = |change: fn(&mut Vec<u8>)| {
        let mut bytes = sound[..sound.len() - 4].to_vec();
        change(&mut bytes);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend(checksum.to_be_bytes());
        decode_vote(&bytes).expect_err("refused")
    };
    assert_eq!(resealed(|bytes| bytes[0] = 0), CodecError::Magic(0));
    assert_eq!(resealed(|bytes| bytes[1] = 2), CodecError::EnvelopeVersion(2));
    assert_eq!(resealed(|bytes| bytes[3] = 99), CodecError::Kind { expected: 2, found: 99 });
    assert_eq!(resealed(|bytes| bytes[5] = 2), CodecError::KindVersion { kind: 2, version: 2 });
    assert!(matches!(resealed(|bytes| bytes[9] += 1), CodecError::Length { .. }));
    assert!(matches!(resealed(|bytes| bytes[6] = 255), CodecError::TooLong(_)));
    // A payload that claims more than there is, sealed by somebody who knows how.
    assert!(matches!(resealed(|bytes| bytes[10] = 253), CodecError::Payload(_)));
    assert_eq!(decode_log_id(&sound), Err(CodecError::Kind { expected: 3, found: 2 }));
    let long = codec::encode(Kind::Entry, &vec![0_u8; 65 * 1024 * 1024]);
    assert!(matches!(long, Err(CodecError::TooLong(_) | CodecError::Payload(_))));
}
