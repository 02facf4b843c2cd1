//! `flagraft audit export`: a stretch of the audit log as a file that proves itself.

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use flagraft_client::admin::{
    AdminError,
    audit::{self, ExportFormat},
};
use flagraft_core::audit_file::Header;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::json;

use super::Filters;
use crate::{
    failure::{Exit, Failure},
    session::Session,
    target::Target,
};

/// Bytes of the end of an export that are kept to be looked at: more than its last line has.
const TAIL_BYTES: usize = 4 << 20;

/// What to export.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The first record
    #[arg(long, value_name = "SEQUENCE")]
    from: Option<u64>,
    /// The record behind the last one. Default: as far as the newest checkpoint goes
    #[arg(long, value_name = "SEQUENCE")]
    to: Option<u64>,
    // Not from the environment: what is left out of a file for an auditor should be said on the line that makes it.
    /// Only records of this project
    #[arg(short, long)]
    project: Option<String>,
    /// Only records that touch this environment of the project, or name it
    #[arg(short, long, requires = "project")]
    environment: Option<String>,
    #[command(flatten)]
    filters: Filters,
    /// How the file is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The file to make, or - for standard output. It must not exist
    #[arg(long, value_name = "FILE", default_value = "-")]
    file: String,
    /// Take records that nothing proves, where no checkpoint can be had
    #[arg(long)]
    without_checkpoint: bool,
}

/// How the file is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line of JSON for each record
    #[default]
    Ndjson,
    /// A row for each record, with its JSON in the last column
    Csv,
}

impl From<Format> for ExportFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Ndjson => Self::Ndjson,
            Format::Csv => Self::Csv,
        }
    }
}

/// What the last line says, as far as it is of interest here.
#[derive(Deserialize)]
struct Trailer {
    records: u64,
}

/// Exports.
pub async fn run(session: &Session, args: &ExportArgs) -> Result<(), Failure> {
    let mut target = Target::open(&args.file)?;
    let selection = args.filters.asked(args.project.clone(), args.environment.clone());
    let stretch = audit::Export {
        from: args.from,
        to: args.to,
        format: args.format.into(),
        proved: !args.without_checkpoint,
    };
    let mut answer = session.client.download(&audit::export(selection, stretch)).await?;
    let mut ends = Ends::default();
    let bar = bar();
    while let Some(piece) = answer.piece().await.map_err(|error: AdminError| cut_off(error.into()))? {
        let piece = piece.as_ref();
        target
            .write(piece)
            .map_err(|e| Failure::new(Exit::Other, format!("could not write the export: {e}")))?;
        ends.take(piece);
        bar.inc(u64::try_from(piece.len()).unwrap_or(0));
    }
    bar.finish_and_clear();
    let (header, trailer) = ends.read().ok_or_else(|| {
        cut_off(Failure::new(Exit::Unavailable, "what the node sent is no whole export: its end is missing"))
    })?;
    target.finish()?;
    let Header { origin, from, to, size, .. } = header;
    let words = format!(
        "exported {} of the records from {from} to before {to} of {origin}, {}",
        trailer.records,
        match args.without_checkpoint {
            true => "which nothing proves".to_owned(),
            false => format!("with a checkpoint of {size}"),
        }
    );
    if args.file == "-" {
        // Standard output holds the export itself.
        eprintln!("{words}");
        return Ok(());
    }
    let shown = json!({
        "file": args.file, "origin": origin.to_string(), "from": from, "to": to, "size": size,
        "records": trailer.records, "proved": !args.without_checkpoint,
    });
    session.output.say(&shown, format!("{words}\nwritten to {}", args.file))
}

/// A failure on the way. What had come is not kept: half an export proves nothing.
fn cut_off(failure: Failure) -> Failure {
    failure.next("run the command again; in parts, if need be, with --from and --to: each part proves itself")
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    match ProgressStyle::with_template("{spinner} {bytes} {bytes_per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The first line of what passes, and its last bytes.
#[derive(Default)]
struct Ends {
    first: Vec<u8>,
    first_is_whole: bool,
    last: Vec<u8>,
}

impl Ends {
    fn take(&mut self, piece: &[u8]) {
        if !self.first_is_whole {
            let line = piece.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
            self.first.extend_from_slice(line);
            // A first line without end is none of an export.
            self.first_is_whole = line.ends_with(b"\n") || self.first.len() > TAIL_BYTES;
        }
        self.last.extend_from_slice(piece);
        if self.last.len() > 2 * TAIL_BYTES {
            self.last.drain(..self.last.len() - TAIL_BYTES);
        }
    }

    /// What the first and the last line say; `None` where they are not those of an export.
    fn read(&self) -> Option<(Header, Trailer)> {
        let header = serde_json::from_slice(json_of(&self.first)?).ok()?;
        let lines = self.last.strip_suffix(b"\n")?;
        let last = lines.rsplit(|byte| *byte == b'\n').next()?;
        let json = json_of(last)?;
        let is_trailer = json.starts_with(b"{\"checkpoint\":");
        Some((header, serde_json::from_slice(json).ok().filter(|_| is_trailer)?))
    }
}

/// The JSON in a line that is no record, in either format.
pub(super) fn json_of(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_prefix(b"#").unwrap_or(line).trim_ascii_end();
    line.starts_with(b"{").then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "{\"flagraft_audit\":1,\"origin\":\"flagraft/000102030405060708090a0b0c0d0e0f/0000000000000001/1\",\
         \"from\":0,\"to\":2,\"size\":3,\"filter\":null,\"exported_at_ms\":0}";

    #[test]
    fn an_export_is_whole_when_its_last_line_is() {
        let end = "{\"checkpoint\":\"note\",\"keys\":[],\"records\":7}";
        let ndjson = format!("{HEADER}\n{{\"version\":1}}\n{end}\n");
        let csv = format!("#{HEADER}\r\nsequence,record\r\n1,\"{{}}\"\r\n#{end}\r\n");
        for text in [&ndjson, &csv] {
            for pieces in [1, 7, text.len()] {
                let mut ends = Ends::default();
                text.as_bytes().chunks(pieces).for_each(|piece| ends.take(piece));
                let (header, trailer) = ends.read().expect("whole");
                assert_eq!((header.size, trailer.records), (3, 7));
            }
            for cut in 0..text.len() {
                let mut ends = Ends::default();
                ends.take(&text.as_bytes()[..cut]);
                assert!(ends.read().is_none(), "cut to {cut}");
            }
        }
    }
}
