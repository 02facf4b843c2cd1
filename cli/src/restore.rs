//! `flagraft restore`: a backup into an empty data folder, for a new cluster to be founded on.

use std::path::PathBuf;

use clap::Args;
use flagraft_node::backup::{StageError, Words, stage};

use crate::{
    backup::{Bar, describe, open, refused, shown},
    failure::{Exit, Failure},
    output::Output,
    session::{Global, Why},
};

/// What to restore and where to.
#[derive(Args, Debug)]
pub struct RestoreArgs {
    /// The backup, or - for standard input
    file: String,
    /// The data folder of the node that will found the new cluster: empty, or not there yet
    #[arg(long, env = "FLAGRAFT_DATA", value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    who: Operator,
    #[command(flatten)]
    why: Why,
}

/// Who does it. There is no cluster that could tell from a token.
#[derive(Args, Clone, Debug)]
pub struct Operator {
    /// Who you are: kept in the audit log
    #[arg(long, env = "FLAGRAFT_OPERATOR", value_name = "WHO")]
    pub operator: String,
}

/// Checks the backup and puts it into the folder.
pub fn run(args: &RestoreArgs, global: &Global) -> Result<(), Failure> {
    let words = Words {
        operator: args.who.operator.clone(),
        reason: args.why.reason.clone(),
        ticket: args.why.ticket.clone(),
    };
    let bar = Bar::default();
    let header =
        stage(open(&args.file)?, &args.data, words, |part| bar.step(part)).map_err(|error| match error {
            StageError::Backup(error) => refused(error),
            StageError::NotEmpty(_) | StageError::Words(_) => Failure::usage(error.to_string()),
            error => Failure::new(Exit::Other, error.to_string()),
        })?;
    bar.finish();
    let output = Output { format: global.output };
    let data = args.data.display();
    output.show(&shown(&header, &args.file), |_| {
        format!(
            "{}\nwaits in {data}. Start its node with `flagraft serve --bootstrap --data {data} ...`, and the other \
             members as at a first start, with empty folders and without --bootstrap.\nWhat was changed after revision \
             {} is lost, revocations too: a token that was revoked since is good again. Once the cluster runs, see \
             `flagraft token list`, and revoke those with `flagraft token revoke`",
            describe("the backup of", &header),
            header.revision
        )
    })
}
