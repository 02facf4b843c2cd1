//! `flagraft audit verify`: an export, checked with nothing but the file and the keys that one trusts.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use clap::Args;
use flagraft_core::{
    audit_file::{Fault, LINE_BYTES_MAX, Summary, Verifier, Witnessed},
    note::TrustedKeys,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{checkpoint, export::json_of};
use crate::{
    failure::{Exit, Failure},
    output::{Output, cell},
    session::Global,
};

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;
/// Bytes in which the last line of a file is looked for.
const TAIL_BYTES: u64 = 4 << 20;

/// What to verify, and whom to believe.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The export, or - for standard input
    file: String,
    /// A file with the keys of the cluster's nodes, one a line, got from somebody whom you trust
    #[arg(long, value_name = "KEYS", required_unless_present = "untrusted")]
    trust: Option<PathBuf>,
    /// How many of the nodes whose keys these are must have signed. Default: more than half
    #[arg(long, value_name = "N", requires = "trust")]
    quorum: Option<usize>,
    /// A checkpoint that was seen before: the log must be the one that it is of. May be given several times
    #[arg(long, value_name = "CHECKPOINT")]
    witnessed: Vec<PathBuf>,
    /// Believe the keys that the file itself names: that finds damage, and no forgery
    #[arg(long, conflicts_with = "trust")]
    untrusted: bool,
}

/// The end of an export, as far as it names keys.
#[derive(Deserialize)]
struct Named {
    keys: Vec<String>,
}

/// Verifies an export.
pub fn run(args: &VerifyArgs, global: &Global) -> Result<(), Failure> {
    let keys = match &args.trust {
        Some(path) => checkpoint::trusted(path)?,
        None => named(&args.file)?,
    };
    let mut verifier = Verifier::new(keys, args.quorum).map_err(|error| match args.untrusted {
        true => Failure::new(Exit::VerificationFailed, format!("{} names no key of a node", args.file)),
        false => Failure::usage(error.to_string()),
    })?;
    for path in &args.witnessed {
        let wrong = |error| Failure::usage(format!("{}: {error}", path.display()));
        let seen: Witnessed = read(path)?.parse().map_err(wrong)?;
        verifier = verifier.witnessed(seen).map_err(wrong)?;
    }
    let summary = verify(open(&args.file)?, verifier, &args.file)?;
    let mut shown = serde_json::to_value(&summary).unwrap_or_default();
    shown["file"] = json!(args.file);
    shown["trusted"] = json!(!args.untrusted);
    let output = Output { format: global.output };
    output.show(&shown, |_| {
        let mut text = describe(&summary, &args.file);
        if args.untrusted {
            text.push_str(
                "\nNOT checked: whether the keys that signed are those of the cluster's nodes. Whoever made this file could \
                 have made them too; only --trust KEYS, with keys from elsewhere, proves anything against its maker",
            );
        }
        text
    })
}

fn verify(mut from: impl BufRead, mut verifier: Verifier, file: &str) -> Result<Summary, Failure> {
    let mut line = Vec::new();
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    loop {
        line.clear();
        // A line without end is as long as the file: the verifier need not see more of it than makes it too long.
        let read = from.by_ref().take(limit).read_until(b'\n', &mut line);
        if read.map_err(|e| Failure::new(Exit::Other, format!("could not read {file}: {e}")))? == 0 {
            break;
        }
        verifier.line(&line).map_err(|fault| refused(file, &fault))?;
    }
    verifier.finish().map_err(|fault| refused(file, &fault))
}

fn refused(file: &str, fault: &Fault) -> Failure {
    let mut failure = Failure::new(Exit::VerificationFailed, format!("{file} is not good: {fault}"));
    failure.code = fault.code().to_owned();
    failure.details = Some(Box::new(json!({"file": file, "sequence": fault.sequence()})));
    failure
}

fn open(file: &str) -> Result<Box<dyn BufRead>, Failure> {
    if file == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file).map_err(|e| Failure::usage(format!("could not read {file}: {e}")))?;
    Ok(Box::new(BufReader::with_capacity(READ_BYTES, opened)))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|e| Failure::usage(format!("could not read {}: {e}", path.display())))
}

/// The keys that a file names at its end.
fn named(file: &str) -> Result<TrustedKeys, Failure> {
    if file == "-" {
        return Err(Failure::usage("--untrusted reads the file twice, so it can't be standard input"));
    }
    let tail = || -> io::Result<Vec<u8>> {
        let mut opened = File::open(file)?;
        let length = opened.metadata()?.len();
        opened.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut tail = Vec::new();
        opened.read_to_end(&mut tail)?;
        Ok(tail)
    };
    let tail = tail().map_err(|e| Failure::usage(format!("could not read {file}: {e}")))?;
    let last = tail.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let named: Option<Named> = json_of(last).and_then(|json| serde_json::from_slice(json).ok());
    let keys = named.map(|named| named.keys.join("\n"));
    keys.and_then(|keys| TrustedKeys::parse(&keys).ok()).ok_or_else(|| {
        Failure::new(
            Exit::VerificationFailed,
            format!("{file} is not good: it is cut off, or no export at all"),
        )
    })
}

/// What a good file holds, in a few lines.
fn describe(summary: &Summary, file: &str) -> String {
    let time = |ms: i64| {
        let time = Timestamp::from_millisecond(ms).map(|time| time.strftime("%FT%TZ").to_string());
        time.unwrap_or_else(|_| ms.to_string())
    };
    let mut lines = vec![format!(
        "{file} is good: {} of the records from {} to before {} of {}",
        summary.records, summary.from, summary.to, summary.origin
    )];
    if let Some((first, last)) = summary.times_ms {
        lines.push(format!("  of             {} to {}", time(first), time(last)));
    }
    if summary.signed > 0 {
        lines.push(format!(
            "  signed changes {} by their authors, {} of them by keys that are registered in this file",
            summary.signed, summary.signed_by_registered
        ));
    }
    let skipped = summary.skipped;
    lines.push(format!(
        "  not in it      {} not asked for by range, {} by the filter, {} removed by retention",
        skipped.range, skipped.filter, skipped.removed
    ));
    if skipped.removed_unexplained > 0 {
        lines.push(format!(
            "                 of the removed, {} on the word of whoever made the file: an export of all records to the end of \
             the log shows who removed them",
            skipped.removed_unexplained
        ));
    }
    if let Some(filter) = &summary.filter {
        lines.push(format!("  filter         {}", cell(&Value::String(json!(filter).to_string()))));
    }
    lines.push(format!("  log            {} records until {}", summary.size, time(summary.time_ms)));
    lines.push(format!("  root           {}", hex::encode(summary.root)));
    lines.push(format!("  signed by      {} ({} needed)", summary.signers.join(", "), summary.quorum));
    if !summary.unknown_signers.is_empty() {
        // Anybody may have written these.
        let unknown = cell(&Value::String(summary.unknown_signers.join(", ")));
        lines.push(format!("  and by others  {unknown}: not trusted, so they count for nothing"));
    }
    if !summary.witnessed.is_empty() {
        let sizes: Vec<String> = summary.witnessed.iter().map(u64::to_string).collect();
        lines.push(format!("  agrees with    the checkpoints of {} that were seen before", sizes.join(", ")));
    }
    lines.join("\n")
}
