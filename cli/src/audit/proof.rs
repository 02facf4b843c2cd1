//! `flagraft audit proof`: a record, the proof that it is in the log, and the checkpoint that the log is up to; verified
//! here.

use std::path::PathBuf;

use clap::Args;
use flagraft_core::merkle::{leaf_hash, verify_inclusion};
use serde_json::{Value, json};

use super::checkpoint::{self, failed};
use crate::{
    client::Call,
    failure::{Exit, Failure},
    output::cell,
    session::Session,
};

/// Which record, and whom to believe.
#[derive(Args, Debug)]
pub struct ProofArgs {
    /// The record's sequence
    sequence: u64,
    /// The file with the keys to trust, one a line. Default: those that the cluster lists, which is no proof against it
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
}

/// Fetches and verifies.
pub async fn run(session: &Session, args: &ProofArgs) -> Result<(), Failure> {
    let trusted = match &args.trust {
        Some(path) => checkpoint::trusted(path)?,
        None => checkpoint::listed(session).await?,
    };
    let newest = checkpoint::verify(&checkpoint::newest(session).await?, &trusted)?;
    let (sequence, size) = (args.sequence, newest.checkpoint.size);
    if sequence >= size {
        return Err(Failure::new(
            Exit::NotFound,
            format!("the newest checkpoint is of {size} records, and record {sequence} is not among them"),
        )
        .next("a new record is in a checkpoint within seconds; ask again"));
    }
    let call =
        Call::get(["api", "v1", "audit"]).query("from", Some(sequence.to_string())).query("limit", Some("1"));
    let text = session.client.send(&call).await?.text;
    let record = text.strip_suffix('\n').unwrap_or(&text);
    let read: Value = serde_json::from_str(record).map_err(|error| {
        Failure::new(Exit::Other, format!("the node sent a record that is not JSON: {error}"))
    })?;
    if read["sequence"].as_u64() != Some(sequence) {
        return Err(failed(format!(
            "the node sent record {} for record {sequence}",
            cell(&read["sequence"])
        )));
    }
    let call = Call::get(["api", "v1", "audit", "proof"])
        .query("sequence", Some(sequence.to_string()))
        .query("size", Some(size.to_string()));
    let proof = checkpoint::hashes(&session.client.send(&call).await?.body)?;
    let leaf = leaf_hash(record.as_bytes());
    if !verify_inclusion(&leaf, sequence, size, &proof, &newest.checkpoint.root) {
        return Err(failed(format!(
            "record {sequence} is not in the log of the checkpoint of {size} records: it was altered, or the node's log is \
             another one"
        ))
        .next("compare with another node (--endpoint), and see docs/runbooks/audit-log-differs.md"));
    }
    let said = json!({
        "sequence": sequence,
        "size": size,
        "root": hex::encode(newest.checkpoint.root),
        "leaf": hex::encode(leaf),
        "origin": newest.checkpoint.origin.to_string(),
        "signers": newest.signers,
        "trusted": args.trust.is_some(),
        "record": read,
    });
    session.output.show(&said, |_| {
        let whom = match &args.trust {
            Some(path) => format!("keys of {}", path.display()),
            None => "keys that the cluster lists itself; give --trust for a proof against it".to_owned(),
        };
        format!(
            "record {sequence} is in the audit log of {size} records that {} signed ({whom})\n{record}",
            newest.signers.join(", ")
        )
    })
}
