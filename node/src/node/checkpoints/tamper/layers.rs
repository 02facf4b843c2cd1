//! What finds tampering out: the checks in the order in which a log comes by them.

use std::{ops::Range, path::Path, sync::Arc};

use flagraft_core::{
    audit_file::{FORMAT, Fault, Format, Header, Verifier, Witnessed},
    checkpoint::{Checkpoint, Origin},
    merkle::{consistency_proof, root_at, verify_consistency},
    note::{Note, TrustedKeys},
};

use super::{
    NO_PATIENCE, PATIENCE,
    sound::{Member, Refused, SIGNED, SIZE, Sound, VOTERS, checkpoint, record, signed, signer, trusted},
};
use crate::{
    audit::{Export, Filter, write},
    raft::{AuditTree, testing},
    storage::Storage,
};

/// A check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    /// The folder is opened and read: rows, tiles, the state and its position fit together.
    Start,
    /// The log is that of the checkpoint that the node keeps.
    Kept,
    /// The log is that of which the node signed its last checkpoint.
    SignedLast,
    /// The log is that of the checkpoint that the others signed next.
    Others,
    /// An export is made of records that are those of the tree.
    Export,
    /// An export proves itself to who trusts the keys of all three nodes.
    Verify,
    /// The log goes on from the checkpoint that a witness saw; a file that says otherwise is refused even if one believes
    /// in the key of this node alone.
    Witness,
}

/// What a check said.
#[derive(Clone, Debug)]
pub(super) struct Caught {
    pub(super) layer: Layer,
    pub(super) said: String,
}

impl Caught {
    pub(super) fn new(layer: Layer, said: impl Into<String>) -> Self {
        Self { layer, said: said.into() }
    }
}

/// What a forger shows to who asks for an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The checkpoint of the log as it was.
    Genuine,
    /// One of the forged log, signed with this node's key, which stands on its disk.
    OwnKey,
    /// One of the forged log, signed in the names of all nodes with other keys.
    StrangeKeys,
    /// One of the forged log, with signatures that the nodes' keys never made.
    NoKeys,
}

impl Proof {
    pub(super) fn note(self, sound: &Sound, forged: &Checkpoint) -> Note {
        match self {
            Self::Genuine => sound.signed(SIGNED, &VOTERS),
            Self::OwnKey => signed(forged, &[1]),
            Self::StrangeKeys => {
                let mut note = Note::new(forged.to_string()).expect("a text");
                for node in VOTERS {
                    note.sign(&signer(node, &[0xbd; 32])).expect("room");
                }
                note
            }
            Self::NoKeys => {
                // The signatures of another checkpoint under the text of this one.
                let genuine = sound.signed(SIGNED, &VOTERS);
                let text = genuine.to_string().replacen(genuine.text(), &forged.to_string(), 1);
                text.parse().expect("a note")
            }
        }
    }
}

/// Lets all checks look at a folder, until the node does not start on it.
pub(super) async fn examine(dir: &Path, sound: &Sound, proof: Proof) -> Vec<Caught> {
    let storage = match testing::try_open(dir) {
        Ok(storage) => storage,
        Err(error) => return vec![Caught::new(Layer::Start, error.to_string())],
    };
    let member = match Member::start(&storage).await {
        Ok(member) => member,
        Err(Refused::Disk(said)) => return vec![Caught::new(Layer::Start, said)],
        Err(Refused::Cosigner(error)) => return vec![Caught::new(Layer::Kept, error.to_string())],
    };
    let mut caught = cosigned(&member, sound).await;
    caught.extend(exported(&member, &storage, sound, proof));
    member.replica.shutdown().await;
    caught
}

/// The other members ask for a signature, and tell what they signed.
async fn cosigned(member: &Member, sound: &Sound) -> Vec<Caught> {
    let mut caught = Vec::new();
    let size = member.replica.published().state.sequence();
    match member.cosigner.sign(size, NO_PATIENCE).await {
        Ok(_) => {}
        Err(other) => caught.push(Caught::new(Layer::SignedLast, other.to_string())),
    }
    let all = u64::try_from(sound.rows.len()).expect("small");
    let others = sound.signed(if size < all { SIZE } else { all }, &[2, 3]);
    let is_short = size < SIZE;
    let patience = if is_short { NO_PATIENCE } else { PATIENCE };
    match member.cosigner.take(others.to_string().as_bytes(), patience, &member.reads).await {
        Ok(()) => {}
        Err(why) if is_short && why.contains("are not published here yet") => {}
        Err(why) => caught.push(Caught::new(Layer::Others, why)),
    }
    caught
}

/// Somebody asks for an export, and a witness for a consistency proof.
fn exported(member: &Member, storage: &Arc<Storage>, sound: &Sound, proof: Proof) -> Vec<Caught> {
    let mut caught = Vec::new();
    let published = member.replica.published();
    let size = published.state.sequence();
    let log = AuditTree::of(Arc::clone(storage), &published);
    let mut tree = log.clone();
    let mut subtree = |level, index| tree.subtree(level, index);
    let row = storage.audit_range(size - 1, 1).expect("reads").remove(0).bytes;
    let (time_ms, history) = (record(&row).time_ms, record(&row).history);
    let seen = checkpoint(&sound.rows[..usize::try_from(SIGNED).expect("small")]);
    let origin = Origin { history, ..seen.origin };
    let root = root_at(size, &mut subtree).expect("reads");
    let here = Checkpoint { origin, size, root, time_ms };

    match verified(storage, &log, &proof.note(sound, &here), 0..u64::MAX, &trusted(&VOTERS), None) {
        Ok(()) => {}
        Err(Found::Export(error)) => caught.push(Caught::new(Layer::Export, error.to_string())),
        Err(Found::Fault(fault)) => caught.push(Caught::new(Layer::Verify, named(&fault))),
    }
    if size < seen.size {
        caught.push(Caught::new(Layer::Witness, "shrunk"));
        return caught;
    }
    let consistency = consistency_proof(seen.size, size, &mut subtree).expect("reads").expect("in order");
    let goes_on = verify_consistency(seen.size, &seen.root, size, &root, &consistency);
    let witnessed = Witnessed::new(signed(&seen, &[1]), None).expect("a checkpoint");
    let alone = verified(storage, &log, &signed(&here, &[1]), 0..u64::MAX, &trusted(&[1]), Some(witnessed));
    match alone {
        Err(Found::Export(error)) => panic!("no export of what the node signs: {error}"),
        Err(Found::Fault(fault)) if !goes_on => caught.push(Caught::new(Layer::Witness, named(&fault))),
        Ok(()) => assert!(goes_on, "the file is believed, and the proof is not"),
        // It does go on from what was seen; what came later is wrong in itself.
        Err(Found::Fault(_)) => {}
    }
    caught
}

/// A fault's name, and the record that it names.
pub(super) fn named(fault: &Fault) -> String {
    match fault.sequence() {
        Some(sequence) => format!("{} {sequence}", fault.code()),
        None => fault.code().to_owned(),
    }
}

/// What is wrong with an export.
pub(super) enum Found {
    /// It is not made.
    Export(std::io::Error),
    /// It is not believed.
    Fault(Fault),
}

/// Makes an export, as far as its checkpoint goes, and verifies it.
pub(super) fn verified(
    storage: &Storage,
    tree: &AuditTree,
    note: &Note,
    range: Range<u64>,
    trusted: &TrustedKeys,
    witnessed: Option<Witnessed>,
) -> Result<(), Found> {
    let Checkpoint { origin, size, .. } = note.text().parse().expect("a checkpoint");
    let (from, to) = (range.start, range.end.min(size));
    let header = Header { format: FORMAT, origin, from, to, size, filter: None, exported_at_ms: 0 };
    let (checkpoint, keys) = (note.clone(), trusted.keys().to_vec());
    let export = Export { header, format: Format::Ndjson, filter: Filter::default(), checkpoint, keys };
    let mut file = Vec::new();
    write(&export, storage, tree, &mut file).map_err(Found::Export)?;
    let mut verifier = Verifier::new(trusted.clone(), None).expect("keys");
    if let Some(seen) = witnessed {
        verifier = verifier.witnessed(seen).expect("signed");
    }
    file.split_inclusive(|byte| *byte == b'\n')
        .try_for_each(|line| verifier.line(line))
        .map_err(Found::Fault)?;
    verifier.finish().map(drop).map_err(Found::Fault)
}
