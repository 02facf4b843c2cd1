//! `flagraft backup`: a backup of a cluster that runs, checked while it comes; and `flagraft backup verify`.

mod download;

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal as _, Read},
};

use clap::{Args, Subcommand};
use flagraft_client::admin::cluster;
use flagraft_node::backup::{BackupError, Header, Part, load};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    failure::{Exit, Failure},
    output::cell,
    session::Global,
    target::Target,
};

/// What to back up to, or which backup to verify.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct BackupArgs {
    #[command(subcommand)]
    command: Option<BackupCommand>,
    /// The file to make, or - for standard output. It must not exist
    #[arg(long, value_name = "FILE", required = true)]
    to: Option<String>,
    /// Take what the node has, without a quorum's word that it is current. For a cluster that has just lost its quorum:
    /// a minute later no node takes admin tokens any more
    #[arg(long)]
    local: bool,
}

/// Commands on backups.
#[derive(Subcommand, Debug)]
pub enum BackupCommand {
    /// Check a backup without a cluster; exits with 8 if it is no good
    Verify {
        /// The backup, or - for standard input
        file: String,
    },
}

/// Makes or verifies a backup.
pub async fn run(args: BackupArgs, global: &Global) -> Result<(), Failure> {
    match (args.command, args.to) {
        (Some(BackupCommand::Verify { file }), _) => verify(&file, global),
        (None, Some(to)) => make(&to, args.local, global).await,
        (None, None) => Err(Failure::usage("name the file to make with --to")),
    }
}

async fn make(to: &str, local: bool, global: &Global) -> Result<(), Failure> {
    let session = global.management()?;
    let target = Target::open(to)?;
    let mut call = cluster::backup();
    if !local {
        call = call.confirmed();
    }
    let answer = session.client.download(&call).await?;
    let header = download::take(answer, target).await?;
    if to == "-" {
        // Standard output holds the backup itself.
        eprintln!("{}", describe("backed up", &header));
        return Ok(());
    }
    session
        .output
        .show(&shown(&header, to), |_| format!("{}\nwritten to {to}", describe("backed up", &header)))
}

fn verify(file: &str, global: &Global) -> Result<(), Failure> {
    let bar = Bar::default();
    let (header, _) = load(open(file)?, |_, _| Ok(()), |part| bar.step(part)).map_err(refused)?;
    bar.finish();
    let output = crate::output::Output { format: global.output };
    output.show(&shown(&header, file), |_| format!("{}\n{file} is good", describe("a backup of", &header)))
}

/// A backup to be read, from a file or from standard input.
pub fn open(file: &str) -> Result<Box<dyn Read>, Failure> {
    if file == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file).map_err(|e| Failure::usage(format!("could not read {file}: {e}")))?;
    Ok(Box::new(BufReader::with_capacity(256 * 1024, opened)))
}

/// The failure of a command that was given a backup that is no good.
pub fn refused(error: BackupError) -> Failure {
    let exit = match error {
        BackupError::Bad(_) => Exit::VerificationFailed,
        BackupError::Read(_) | BackupError::TooNew(_) | BackupError::Taken(_) => Exit::Other,
    };
    Failure::new(exit, error.to_string())
}

/// What a backup is of, in a sentence.
pub fn describe(what: &str, header: &Header) -> String {
    format!(
        "{what} cluster {}: revision {} of history {}, {} audit records, made {} by node {}",
        header.cluster,
        header.revision,
        header.history,
        header.audit_size,
        time(header.made_at_ms),
        header.node
    )
}

/// The same for programs.
pub fn shown(header: &Header, file: &str) -> Value {
    json!({
        "file": file, "cluster": header.cluster, "history": header.history, "revision": header.revision,
        "term": header.position.term, "index": header.position.index, "digest": header.digest,
        "audit": {"size": header.audit_size, "root": hex::encode(header.audit_root)},
        "cluster_version": header.cluster_version, "node": header.node, "made_at": time(header.made_at_ms),
        "program": header.program,
    })
}

fn time(ms: i64) -> String {
    let time = Timestamp::from_millisecond(ms).map(|time| time.strftime("%FT%TZ").to_string());
    time.unwrap_or_else(|_| cell(&json!(ms)))
}

/// How far the reading of a backup is: its length in bytes is not known before its end, that of its audit log is.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Default for Bar {
    fn default() -> Self {
        let bar = ProgressBar::new(0);
        if !io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self(match ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} records {eta}") {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }
}

impl Bar {
    /// Takes note of a part.
    pub fn step(&self, part: &Part<'_>) {
        match part {
            Part::Header(header) => self.0.set_length(header.audit_size),
            Part::Row { .. } => self.0.tick(),
            Part::Record { .. } => self.0.inc(1),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::tempdir;

    use super::*;
    use crate::{fake::Fake, session::client};

    /// What comes is believed only once all of it is there: nothing else is ever found under the name of a backup.
    #[tokio::test]
    async fn what_is_no_backup_is_refused_and_leaves_nothing_behind() {
        let folder = tempdir().expect("a temporary folder");
        let to = folder.path().join("backup").display().to_string();
        for (sent, said) in [
            ("", "it ends within its first line"),
            ("flagraft backup\n\0\0", "it ends within its header"),
            ("<html>a proxy's page of two hundred words</html>", "does not begin as a backup does"),
        ] {
            let node = Fake::node(move |_| (200, "", sent.to_owned())).await;
            let second = Duration::from_secs(1);
            let client = client([node.url.as_str()], Some("fr_adm_x"), second, second).expect("a client");
            let target = Target::open(&to).expect("it is not there");
            let answer = client.download(&cluster::backup().confirmed()).await.expect("200");
            let failure = download::take(answer, target).await.expect_err("no backup");
            assert_eq!(failure.exit, Exit::VerificationFailed, "{failure}");
            assert!(failure.to_string().contains(said), "{failure}");
            assert_eq!(folder.path().read_dir().expect("lists").count(), 0);
        }
        let failure = refused(BackupError::TooNew("newer".to_owned()));
        assert_eq!(failure.exit, Exit::Other);
    }

    #[test]
    fn a_file_is_never_written_over() {
        let folder = tempdir().expect("a temporary folder");
        let path = folder.path().join("backup");
        std::fs::write(&path, "precious").expect("written");
        let failure = Target::open(&path.display().to_string()).err().expect("refused");
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.to_string().contains("exists already"), "{failure}");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "precious");
    }
}
