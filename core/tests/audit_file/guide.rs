//! The bytes of the examples in `docs/audit.md`, read out of it and checked.

use flagraft_core::{
    audit_file::{Format, Header, Verifier, Why, Writer},
    checkpoint::Checkpoint,
    merkle::{
        Frontier, Hash, consistency_proof, inclusion_proof, leaf_hash, node_hash, verify_consistency,
        verify_inclusion,
    },
    note::{Note, Signer, TrustedKeys, VerifierKey, node_key_name},
};

const GUIDE: &str = include_str!("../../../docs/audit.md");

/// What is fenced under these words.
fn fenced(words: &str) -> &'static str {
    let start = format!("\n```text {words}\n");
    let mut parts = GUIDE.split(start.as_str());
    let part = parts.nth(1).unwrap_or_else(|| panic!("the guide has no {words:?}"));
    assert!(parts.next().is_none(), "the guide has {words:?} twice");
    &part[..part.find("\n```").expect("the end of the fence") + 1]
}

fn hash(hexadecimal: &str) -> Hash {
    hex::decode(hexadecimal).expect("hexadecimal").try_into().expect("32 bytes")
}

fn hashes(words: &str) -> Vec<Hash> {
    fenced(words).lines().map(hash).collect()
}

/// The value of a line of the example's tree.
fn in_tree(name: &str) -> Hash {
    let line = fenced("tree").lines().find_map(|line| line.strip_prefix(name)).expect("a line of the tree");
    hash(line.trim())
}

fn records() -> Vec<&'static [u8]> {
    fenced("records").lines().map(str::as_bytes).collect()
}

#[test]
fn the_tree_and_its_proofs() {
    let leaves: Vec<Hash> = records().iter().map(|record| leaf_hash(record)).collect();
    assert_eq!(leaves, [in_tree("leaf 0"), in_tree("leaf 1"), in_tree("leaf 2")]);
    let node = node_hash(&leaves[0], &leaves[1]);
    assert_eq!(node, in_tree("node 0-1"));
    let root = in_tree("root");
    assert_eq!(node_hash(&node, &leaves[2]), root);
    let mut tree = Frontier::default();
    records().iter().for_each(|record| tree.push(record));
    assert_eq!(tree.root(), root);

    let subtree = |level, index: u64| match (level, index) {
        (0, index) => leaves.get(usize::try_from(index).expect("small")).copied().ok_or("no leaf"),
        (1, 0) => Ok(node),
        _ => Err("no subtree"),
    };
    let inclusion = hashes("inclusion 1 of 3");
    assert_eq!(inclusion_proof(1, 3, subtree), Ok(Some(inclusion.clone())));
    assert!(verify_inclusion(&leaves[1], 1, 3, &inclusion, &root));
    let consistency = hashes("consistency 2 to 3");
    assert_eq!(consistency_proof(2, 3, subtree), Ok(Some(consistency.clone())));
    assert!(verify_consistency(2, &node, 3, &root, &consistency));
}

#[test]
fn the_checkpoint() {
    let key: VerifierKey = fenced("key").trim_end().parse().expect("a key");
    let note: Note = fenced("note").parse().expect("a note");
    let checkpoint: Checkpoint = note.text().parse().expect("a checkpoint");
    assert_eq!((checkpoint.size, checkpoint.root), (3, in_tree("root")));
    let trusted = TrustedKeys::new(vec![key.clone()]).expect("a key");
    assert_eq!(note.signers(&trusted), Ok(vec![&key]));
    let signer = Signer::new(node_key_name(checkpoint.origin.cluster, 1), &[1; 32]).expect("a name");
    assert_eq!(signer.verifier(), &key);
    let mut again = Note::new(checkpoint.to_string()).expect("a text");
    again.sign(&signer).expect("room");
    assert_eq!(again, note);
}

#[test]
fn the_export() {
    let trusted = TrustedKeys::parse(fenced("trusted")).expect("keys");
    let mut verifier = Verifier::new(trusted.clone(), None).expect("keys");
    let export = fenced("export");
    for line in export.split_inclusive('\n') {
        verifier.line(line.as_bytes()).unwrap_or_else(|fault| panic!("{fault}"));
    }
    let summary = verifier.finish().unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!((summary.from, summary.to, summary.size, summary.records), (1, 3, 4, 2));
    assert_eq!((summary.skipped.range, summary.signers.len()), (2, 2));
    let leaves = hashes("leaves");
    let root = node_hash(&node_hash(&leaves[0], &leaves[1]), &node_hash(&leaves[2], &leaves[3]));
    assert_eq!(summary.root, root);
    assert!(GUIDE.contains(&format!("in hexadecimal `{}`", hex::encode(root))));

    // It is what we write, to the byte.
    let records = records();
    let header: Header = serde_json::from_str(export.lines().next().expect("a header")).expect("a header");
    let trailer: serde_json::Value =
        serde_json::from_str(export.lines().last().expect("an end")).expect("JSON");
    let note: Note = trailer["checkpoint"].as_str().expect("a note").parse().expect("a note");
    let mut out = Vec::new();
    let mut writer = Writer::begin(Format::Ndjson, &header, &mut out);
    writer.skip(1, Why::Range, &leaves[..1], &mut out);
    records[1..].iter().for_each(|record| writer.record(record, leaf_hash(record), &mut out));
    writer.skip(4, Why::Range, &leaves[3..], &mut out);
    writer.finish(&note, trusted.keys(), &mut out);
    assert_eq!(String::from_utf8(out).expect("UTF-8"), export);
}
