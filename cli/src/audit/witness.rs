//! `flagraft audit witness`: remembers the last checkpoint that it saw, and demands that each next one goes on from it.
//!
//! It runs where the cluster's operators have no say, needs a token that may read, and keeps one small file.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use flagraft_client::admin::Call;
use flagraft_core::{
    checkpoint::{Checkpoint, TrustedCheckpoint},
    merkle::verify_consistency,
    note::{NOTE_BYTES_MAX, Note, TrustedKeys},
};
use jiff::Timestamp;
use serde_json::json;

use super::checkpoint::{self, failed};
use crate::{
    failure::{Exit, Failure},
    session::Session,
};

/// How often a node is asked again whose log is shorter than the one that was seen: it may be catching up.
const LOOKS: u32 = 10;
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 1_000 });

/// What a witness needs.
#[derive(Args, Debug)]
pub struct WitnessArgs {
    /// The file with the last checkpoint that was seen; made at the first run
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// The file with the keys to trust, one a line, as `flagraft audit keys` prints them
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,
    /// Look once, for cron
    #[arg(long, conflicts_with = "interval")]
    once: bool,
    /// Seconds that the last record of the newest checkpoint may be old, by this machine's clock: a log that stands still may
    /// be kept from you. A cluster in which nothing happens writes no records, so choose it by how much happens in yours
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    max_age: Option<u32>,
}

/// Watches, until something is wrong with the log.
pub async fn run(session: &Session, args: &WitnessArgs) -> Result<(), Failure> {
    // A slip in the command line is told at once.
    checkpoint::trusted(&args.trust)?;
    loop {
        match look(session, args).await {
            Ok(seen) => session.output.say(&shown(&seen), said(&seen))?,
            // Whoever can't be asked now, or has no checkpoint yet, is asked later; only what is wrong with the log ends this.
            Err(failure) if !args.once && failure.exit != Exit::VerificationFailed => {
                eprintln!("flagraft: {failure}")
            }
            Err(failure) => return Err(failure),
        }
        if args.once {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(args.interval)).await;
    }
}

fn shown(seen: &Seen) -> serde_json::Value {
    let Seen { checkpoint, signers } = seen;
    json!({
        "origin": checkpoint.origin.to_string(),
        "size": checkpoint.size,
        "root": hex::encode(checkpoint.root),
        "time_ms": checkpoint.time_ms,
        "signers": signers,
    })
}

fn said(seen: &Seen) -> String {
    let Checkpoint { size, root, time_ms, .. } = seen.checkpoint;
    let until =
        Timestamp::from_millisecond(time_ms).map_or_else(|_| time_ms.to_string(), |time| time.to_string());
    format!("{size} records until {until}, root {}: good", hex::encode(root))
}

/// The newest checkpoint that was seen so far, and who signed it, where that was just now.
struct Seen {
    checkpoint: Checkpoint,
    signers: Vec<String>,
}

/// One look.
async fn look(session: &Session, args: &WitnessArgs) -> Result<Seen, Failure> {
    // Read anew each time: who rotates keys need not start the witness again.
    let seen = compared(session, &args.state, &checkpoint::trusted(&args.trust)?).await?;
    let now_ms = Timestamp::now().as_millisecond();
    let age_ms = now_ms.saturating_sub(seen.checkpoint.time_ms);
    match args.max_age.map(|seconds| i64::from(seconds) * 1_000).filter(|max_ms| age_ms > *max_ms) {
        None => Ok(seen),
        Some(max_ms) => Err(failed(format!(
            "the audit log stands still: the last of its {} records that are signed is {} s old, and --max-age allows {} s",
            seen.checkpoint.size,
            age_ms / 1_000,
            max_ms / 1_000
        ))
        .next("ask other nodes: if they have more records, somebody keeps them from you; if nothing happened, allow more")),
    }
}

/// The newest checkpoint, once it is found to go on from the one that was seen last.
async fn compared(session: &Session, state: &Path, trusted: &TrustedKeys) -> Result<Seen, Failure> {
    let last = remembered(state)?;
    let mut looks = 0;
    loop {
        let text = checkpoint::newest(session).await?;
        let TrustedCheckpoint { checkpoint: now, signers, .. } = checkpoint::verify(&text, trusted)?;
        let seen = Seen { checkpoint: now, signers };
        let Some(last) = last else {
            remember(state, &text)?;
            return Ok(seen);
        };
        if now.origin != last.origin {
            return Err(failed(format!(
                "the audit log is another one: it was {} and is {}",
                last.origin, now.origin
            ))
            .next(format!(
                "a restore or a recovery begins another log, and is recorded in it; if that was meant, remove {}",
                state.display()
            )));
        }
        match compare(session, &last, &now).await? {
            Compared::GoesOn => {
                remember(state, &text)?;
                return Ok(seen);
            }
            Compared::Same => return Ok(seen),
            Compared::Earlier => return Ok(Seen { checkpoint: last, signers: Vec::new() }),
            Compared::TooShort { size } => {
                looks += 1;
                if looks > LOOKS {
                    return Err(failed(format!(
                        "the audit log has shrunk: {} records were signed, and the node has {size}",
                        last.size
                    ))
                    .next("ask another node; if all say so, the log was cut back: see docs/runbooks/audit-log-differs.md"));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// How a checkpoint stands to the last one that was seen.
enum Compared {
    /// It is of a longer log that begins with that one.
    GoesOn,
    /// It is of the same log.
    Same,
    /// It is of an earlier size of the same log: another node was asked, which has not heard of the newer one yet.
    Earlier,
    /// The node's log is shorter than the one that was seen.
    TooShort { size: u64 },
}

async fn compare(session: &Session, then: &Checkpoint, now: &Checkpoint) -> Result<Compared, Failure> {
    let forked = || {
        failed(format!(
            "the audit log was rewritten: {} records with the root {} were signed, and {} with the root {} do not go on \
             from them",
            then.size,
            hex::encode(then.root),
            now.size,
            hex::encode(now.root)
        ))
        .next("keep both checkpoints and the data folders, and see docs/runbooks/audit-log-differs.md")
    };
    if then.size == now.size {
        return if then.root == now.root && then.time_ms == now.time_ms {
            Ok(Compared::Same)
        } else {
            Err(forked())
        };
    }
    let (first, second) = if then.size < now.size { (then, now) } else { (now, then) };
    let call = Call::get(["api", "v1", "audit", "proof"])
        .query("from", Some(first.size.to_string()))
        .query("to", Some(second.size.to_string()));
    let proof = match session.client.send(&call).await {
        Ok(answer) => checkpoint::hashes(answer.json())?,
        // What it published, it proves; a node that has fewer records says so.
        Err(error) if error.code() == Some("invalid") => return Ok(Compared::TooShort { size: now.size }),
        Err(error) => return Err(error.into()),
    };
    if !verify_consistency(first.size, &first.root, second.size, &second.root, &proof) {
        return Err(forked());
    }
    Ok(if then.size < now.size { Compared::GoesOn } else { Compared::Earlier })
}

/// The last checkpoint that was seen. Its signatures were checked when it was kept, by the keys of that day.
fn remembered(path: &Path) -> Result<Option<Checkpoint>, Failure> {
    let text = match fs::read(path) {
        Ok(bytes) if bytes.len() <= NOTE_BYTES_MAX => String::from_utf8(bytes).map_err(|_| damaged(path))?,
        Ok(_) => return Err(damaged(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::usage(format!("could not read {}: {error}", path.display()))),
    };
    let note: Note = text.parse().map_err(|_| damaged(path))?;
    note.text().parse().map(Some).map_err(|_| damaged(path))
}

fn damaged(path: &Path) -> Failure {
    failed(format!("{} is not what this witness wrote: somebody has altered it", path.display()))
        .next("bring it back from a copy; to begin anew without one, remove it")
}

/// Keeps a checkpoint: whole or not at all, and durable when it returns.
fn remember(path: &Path, note: &str) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
        fresh.write_all(note.as_bytes())?;
        fresh.as_file().sync_all()?;
        fresh.persist(path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| Failure::new(Exit::Other, format!("could not keep {}: {error}", path.display())))
}

#[cfg(test)]
mod tests;
