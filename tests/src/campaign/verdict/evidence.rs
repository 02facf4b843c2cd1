//! What is left of a run that did not pass: a folder with all that is known of it.

use std::{fmt::Write as _, fs, io, path::Path, path::PathBuf};

use flagraft_chaos::{history::Header, report::Report, schedule::Schedule, shrink::Offence};
use tempfile::TempDir;

use crate::cluster::Cluster;

/// What is said of the run in words.
pub(super) struct Lines<'a> {
    pub broken: &'a [String],
    pub invalid: &'a [String],
    /// The command that runs it again.
    pub again: &'a str,
    pub schedule: &'a Schedule,
}

/// Leaves the folder, with the history and the incidents that are in it, and adds the rest.
pub(super) fn keep(
    folder: TempDir,
    cluster: &Cluster,
    header: &Header,
    report: &Report<'_>,
    lines: &Lines<'_>,
) -> PathBuf {
    let folder = folder.keep();
    // The verdict is worth more than this: whoever reads it is told what is missing.
    if let Err(error) = fill(&folder, cluster, header, report, lines) {
        println!("{}: {error}", folder.display());
    }
    folder
}

fn fill(
    folder: &Path,
    cluster: &Cluster,
    header: &Header,
    report: &Report<'_>,
    lines: &Lines<'_>,
) -> io::Result<()> {
    let mut text = format!("Run it again:\n\n    {}\n\n", lines.again);
    for (what, lines) in [("Broken", lines.broken), ("Without proof", lines.invalid)] {
        for line in lines {
            let _ = writeln!(text, "{what}: {line}");
        }
    }
    let _ = write!(text, "\n{}\n{}", report.text(), lines.schedule);
    fs::write(folder.join("summary.txt"), text)?;
    fs::write(folder.join("report.html"), report.page())?;
    for (number, offence) in (1..).zip(report.offences) {
        fs::write(folder.join(format!("offence-{number}.jsonl")), shortened(header, offence)?)?;
    }
    for node in cluster.ids() {
        fs::write(folder.join(format!("node-{node}.log")), cluster.log(node))?;
    }
    Ok(())
}

/// A history of its own, of the operations that show what is wrong.
fn shortened(header: &Header, offence: &Offence) -> io::Result<String> {
    let mut text = serde_json::to_string(header)? + "\n";
    for operation in &offence.operations {
        text += &(serde_json::to_string(operation)? + "\n");
    }
    Ok(text)
}
