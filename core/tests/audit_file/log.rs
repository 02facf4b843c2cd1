//! Logs, checkpoints of them, and exports.

use flagraft_core::{
    audit_file::{Fault, Format, Header, Summary, Verifier, Why, Witnessed, Writer},
    checkpoint::{Checkpoint, Origin},
    identity::{ClusterId, History},
    merkle::{Frontier, Hash, consistency_proof, cover, leaf_hash},
    note::{Note, Signer, TrustedKeys, VerifierKey, node_key_name},
    record::{Record, RecordKind},
};
use serde_json::{Map, Value, json};

use crate::sequence::Sequence;

pub const HISTORY: History = History(0xfeed_0000_0000_0001);
pub const CLUSTER: ClusterId = ClusterId(0xc1);

/// A log of which everything is at hand.
#[derive(Clone)]
pub struct Log {
    pub records: Vec<Vec<u8>>,
    pub history: History,
}

/// A record by which all are made: the second of the golden ones.
pub fn template() -> Record {
    let lines = include_str!("../fixtures/records.jsonl");
    serde_json::from_str(lines.lines().nth(1).expect("records")).expect("a record")
}

fn founding() -> Record {
    let lines = include_str!("../fixtures/records.jsonl");
    let record: Record = serde_json::from_str(lines.lines().next().expect("records")).expect("a record");
    Record { history: HISTORY, ..record }
}

impl Log {
    /// A log of records that a seed makes.
    pub fn new(size: usize, seed: u64) -> Self {
        let mut log = Self { records: vec![founding().to_bytes().bytes], history: HISTORY };
        log.grow(size, &mut Sequence::new(seed));
        log
    }

    /// Grows to a size.
    pub fn grow(&mut self, size: usize, random: &mut Sequence) {
        let mut last = self.record(self.records.len() - 1);
        while self.records.len() < size {
            let mut record = template();
            let accepted = random.below(3) > 0;
            record.history = HISTORY;
            record.sequence = last.sequence + 1;
            record.time_ms = last.time_ms + i64::try_from(random.below(3) * 500).expect("small");
            record.revision_before = last.revision_after;
            record.revision_after = last.revision_after + u64::from(accepted);
            record.kind = if accepted { RecordKind::Change } else { RecordKind::Rejected };
            record.reason = format!("step {}, \"quoted\"", "x".repeat(random.below(40)));
            record.ticket = (random.below(2) == 0).then(|| format!("OPS-{}", random.below(1_000)));
            record.operations.clear();
            record.salt = random.bytes();
            self.records.push(record.to_bytes().bytes);
            last = record;
        }
    }

    pub fn record(&self, sequence: usize) -> Record {
        serde_json::from_slice(&self.records[sequence]).expect("a record")
    }

    pub fn size(&self) -> u64 {
        u64::try_from(self.records.len()).expect("small")
    }

    pub fn leaves(&self) -> Vec<Hash> {
        self.records.iter().map(|record| leaf_hash(record)).collect()
    }

    pub fn subtree(&self, level: u8, index: u64) -> Hash {
        let first = usize::try_from(index << level).expect("small");
        root(&self.leaves()[first..first + (1 << level)])
    }

    /// What the nodes sign of the log's beginning.
    pub fn checkpoint(&self, size: u64) -> Checkpoint {
        let count = usize::try_from(size).expect("small");
        Checkpoint {
            origin: Origin { cluster: CLUSTER, history: self.history, group: 1 },
            size,
            root: root(&self.leaves()[..count]),
            time_ms: count.checked_sub(1).map_or(0, |last| self.record(last).time_ms),
        }
    }

    pub fn consistency(&self, first: u64, second: u64) -> Vec<Hash> {
        consistency_proof(first, second, |level, index| Ok::<_, ()>(self.subtree(level, index)))
            .expect("at hand")
            .expect("in order")
    }

    pub fn whole(&self) -> Export<'_> {
        let size = self.size();
        Export { log: self, from: 0, to: size, size, keep: None, removed: 0..0, format: Format::Ndjson }
    }
}

pub fn root(leaves: &[Hash]) -> Hash {
    let mut tree = Frontier::default();
    leaves.iter().for_each(|leaf| tree.push_hash(*leaf));
    tree.root()
}

/// What is exported.
#[derive(Clone)]
pub struct Export<'a> {
    pub log: &'a Log,
    pub from: u64,
    pub to: u64,
    pub size: u64,
    /// Of every so many records one is kept.
    pub keep: Option<u64>,
    pub removed: std::ops::Range<u64>,
    pub format: Format,
}

impl Export<'_> {
    pub fn header(&self) -> Header {
        let mut filter = Map::new();
        filter.insert("project".to_owned(), json!("shop"));
        Header {
            format: 1,
            origin: self.log.checkpoint(0).origin,
            from: self.from,
            to: self.to,
            size: self.size,
            filter: self.keep.map(|_| filter),
            exported_at_ms: 1_900_000_000_000,
        }
    }

    /// Why a record is left out.
    fn why(&self, sequence: u64) -> Option<Why> {
        if sequence < self.from || sequence >= self.to {
            Some(Why::Range)
        } else if self.keep.is_some_and(|every| !sequence.is_multiple_of(every)) {
            Some(Why::Filter)
        } else {
            self.removed.contains(&sequence).then_some(Why::Removed)
        }
    }

    /// The file's lines, each with its end, with this note at the end.
    pub fn lines_with(&self, note: &Note) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut writer = Writer::begin(self.format, &self.header(), &mut out);
        while writer.next() < self.size {
            let from = writer.next();
            match self.why(from) {
                None => {
                    let record = &self.log.records[usize::try_from(from).expect("small")];
                    writer.record(record, leaf_hash(record), &mut out);
                }
                Some(why) => {
                    let to = (from..self.size).find(|at| self.why(*at) != Some(why)).unwrap_or(self.size);
                    let hashes: Vec<Hash> =
                        cover(from..to).map(|(level, index)| self.log.subtree(level, index)).collect();
                    writer.skip(to, why, &hashes, &mut out);
                }
            }
        }
        writer.finish(note, &keys(), &mut out);
        out.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    }

    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.lines_with(&signed(&self.log.checkpoint(self.size), &[1, 2, 3]))
    }
}

/// The key of a node.
pub fn node(n: u8) -> Signer {
    Signer::new(node_key_name(CLUSTER, n.into()), &[n; 32]).expect("a name")
}

pub fn keys() -> Vec<VerifierKey> {
    [1, 2, 3].map(|n| node(n).verifier().clone()).into()
}

pub fn trusted() -> TrustedKeys {
    TrustedKeys::new(keys()).expect("keys")
}

/// A checkpoint signed by some nodes.
pub fn signed(checkpoint: &Checkpoint, nodes: &[u8]) -> Note {
    let mut note = Note::new(checkpoint.to_string()).expect("a text");
    nodes.iter().for_each(|n| note.sign(&node(*n)).expect("room"));
    note
}

pub fn verify(lines: &[Vec<u8>]) -> Result<Summary, Fault> {
    verify_against(lines, &[])
}

pub fn verify_against(lines: &[Vec<u8>], seen: &[Witnessed]) -> Result<Summary, Fault> {
    let mut verifier = Verifier::new(trusted(), None).expect("keys");
    for seen in seen {
        verifier = verifier.witnessed(seen.clone()).expect("signed");
    }
    lines.iter().try_for_each(|line| verifier.line(line))?;
    verifier.finish()
}

/// Makes the trailer's hash fit again to what the lines before it have become, as a forger would.
pub fn fit(lines: &mut Vec<Vec<u8>>) {
    use sha2::{Digest as _, Sha256};
    let trailer = lines.pop().expect("a trailer");
    let mut sha256 = Sha256::new();
    for line in lines.iter().filter(|line| !line.starts_with(b"{\"version\":")) {
        sha256.update(line);
    }
    let mut trailer: Value = serde_json::from_slice(&trailer).expect("JSON");
    sha256.update(trailer["checkpoint"].as_str().expect("a note"));
    for key in trailer["keys"].as_array().expect("keys") {
        sha256.update(format!("{}\n", key.as_str().expect("a key")));
    }
    trailer["sha256"] = json!(hex::encode(sha256.finalize()));
    // The order of the fields, as it is written.
    let [checkpoint, keys, records, sha256] =
        ["checkpoint", "keys", "records", "sha256"].map(|name| &trailer[name]);
    lines.push(
        format!(r#"{{"checkpoint":{checkpoint},"keys":{keys},"records":{records},"sha256":{sha256}}}"#)
            .into_bytes(),
    );
    lines.last_mut().expect("a trailer").push(b'\n');
}
