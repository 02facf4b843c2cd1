//! `flagraft audit proof`: a record, the proof that it is in the log, and the checkpoint that the log is up to; verified
//! here.

use std::path::PathBuf;

use clap::Args;
use flagraft_client::admin::Call;
use flagraft_core::merkle::{leaf_hash, verify_inclusion};
use serde_json::{Value, json};

use super::checkpoint::{self, failed};
use crate::{
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
    let answer = session.client.send(&call).await?;
    let record = answer.text().strip_suffix('\n').unwrap_or(answer.text());
    let call = Call::get(["api", "v1", "audit", "proof"])
        .query("sequence", Some(sequence.to_string()))
        .query("size", Some(size.to_string()));
    let answer = session.client.send(&call).await?;
    // Of one that retention removed the node has the hash, which is still where it was.
    let removed = record.is_empty() && answer.json()["removed"] == true;
    let (leaf, read) = if removed {
        (checkpoint::hash(&answer.json()["leaf"])?, Value::Null)
    } else {
        let read: Value = serde_json::from_str(record).map_err(|error| {
            Failure::new(Exit::Other, format!("the node sent a record that is not JSON: {error}"))
        })?;
        if read["sequence"].as_u64() != Some(sequence) {
            return Err(failed(format!(
                "the node sent record {} for record {sequence}",
                cell(&read["sequence"])
            )));
        }
        (leaf_hash(record.as_bytes()), read)
    };
    let proof = checkpoint::hashes(answer.json())?;
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
        "removed": removed,
        "record": read,
    });
    session.output.show(&said, |_| {
        let whom = match &args.trust {
            Some(path) => format!("keys of {}", path.display()),
            None => "keys that the cluster lists itself; give --trust for a proof against it".to_owned(),
        };
        let said =
            if removed { "retention removed it; its hash says only that there was one" } else { record };
        format!(
            "record {sequence} is in the audit log of {size} records that {} signed ({whom})\n{said}",
            newest.signers.join(", ")
        )
    })
}
