//! What is left of a run that did not pass: a folder with all that is known of it.

use std::{fs, io, path::Path};

use flagraft_chaos::{history::Header, report::Report, schedule::Schedule, shrink::Offence};

use crate::{campaign::stage::history_file, cluster::Cluster};

/// What is left of a run.
pub(super) struct Evidence<'a> {
    pub report: &'a Report<'a>,
    pub schedule: &'a Schedule,
    /// The command that runs it again.
    pub again: &'a str,
    /// Or only what is short: the summary and the report.
    pub is_whole: bool,
}

impl Evidence<'_> {
    /// Adds what is missing to the folder with the history and the incidents.
    pub(super) fn leave(&self, folder: &Path, cluster: &Cluster, header: &Header) {
        // The verdict is worth more than this: whoever reads it is told what is missing.
        if let Err(error) = self.fill(folder, cluster, header) {
            println!("{}: {error}", folder.display());
        }
    }

    fn fill(&self, folder: &Path, cluster: &Cluster, header: &Header) -> io::Result<()> {
        let Self { report, schedule, again, is_whole } = self;
        let text = format!("Run it again:\n\n    {again}\n\n{}\n{schedule}", report.text());
        fs::write(folder.join("summary.txt"), text)?;
        fs::write(folder.join("report.html"), report.page())?;
        if !is_whole {
            return fs::remove_file(history_file(folder));
        }
        for (number, offence) in (1..).zip(report.offences) {
            fs::write(folder.join(format!("offence-{number}.jsonl")), shortened(header, offence)?)?;
        }
        for node in cluster.ids() {
            fs::write(folder.join(format!("node-{node}.log")), cluster.log(node))?;
        }
        Ok(())
    }
}

/// A history of its own, of the operations that show what is wrong.
fn shortened(header: &Header, offence: &Offence) -> io::Result<String> {
    let mut text = serde_json::to_string(header)? + "\n";
    for operation in &offence.operations {
        text += &(serde_json::to_string(operation)? + "\n");
    }
    Ok(text)
}
