//! `flagraft recover`: the way back when a quorum is lost for good. Works on the folder of a node that does not run.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use flagraft_core::identity::LogPosition;
use flagraft_node::{
    backup::Words,
    clock::wall_ms,
    raft::{FolderReport, RecoverError, Recovery, inspect, recover_alone},
    storage::{Storage, StorageError, StorageMetrics},
};
use serde_json::{Value, json};

use crate::{
    failure::{Exit, Failure},
    output::Output,
    session::Global,
};

/// Which folder, and whether only to look.
#[derive(Args, Debug)]
pub struct RecoverArgs {
    /// The survivor's data folder
    #[arg(long, env = "FLAGRAFT_DATA", value_name = "DIR")]
    data: PathBuf,
    /// Only say what the folder holds, to find the survivor that has most. It is opened as its node opens it, so copy
    /// it first
    #[arg(long, conflicts_with_all = ["i_accept_data_loss", "reason", "ticket"])]
    inspect: bool,
    /// Let this node go on alone. Takes the words that the command asks for, which say what is lost
    #[arg(long, value_name = "WORDS")]
    i_accept_data_loss: Option<String>,
    /// Who you are: kept in the audit log
    #[arg(long, env = "FLAGRAFT_OPERATOR", value_name = "WHO", required_unless_present = "inspect")]
    operator: Option<String>,
    /// Why: kept in the audit log
    #[arg(short, long, required_unless_present = "inspect")]
    reason: Option<String>,
    /// The ticket
    #[arg(short, long)]
    ticket: Option<String>,
}

/// Looks at the folder, or lets its node go on alone.
pub fn run(args: &RecoverArgs, global: &Global) -> Result<(), Failure> {
    let output = Output { format: global.output };
    let storage = open(args)?;
    let report = inspect(&storage).map_err(not_recovered)?;
    if args.inspect {
        return output.show(&shown(&report), |_| describe(&report));
    }
    let wanted = report.acceptance();
    if args.i_accept_data_loss.as_deref() != Some(wanted.as_str()) {
        return Err(Failure::usage(format!("nothing was recovered\n{}", describe(&report))).next(format!(
            "look at the folders of all survivors first (--inspect), and recover on the one whose last entry is the \
             newest. Make sure that no other member of this cluster ever runs again. To let this node go on alone, \
             give the same command with\n  --i-accept-data-loss \"{wanted}\""
        )));
    }
    let words = Words {
        operator: args.operator.clone().unwrap_or_default(),
        reason: args.reason.clone().unwrap_or_default(),
        ticket: args.ticket.clone(),
    };
    let recovery = recover_alone(&storage, &words, wall_ms()).map_err(not_recovered)?;
    output.show(&done(&report, &recovery), |_| told(&report, &recovery))
}

fn open(args: &RecoverArgs) -> Result<Arc<Storage>, Failure> {
    let failed = |why: String| Failure::new(Exit::Other, why);
    let metrics = StorageMetrics::detached().map_err(|e| failed(e.to_string()))?;
    Storage::open_existing(&args.data, metrics).map_err(|error| match error {
        StorageError::InUse(_) => Failure::new(Exit::Rejected, error.to_string()),
        StorageError::Missing(_) => Failure::usage(error.to_string()),
        StorageError::Corrupt(_) => not_recovered(RecoverError::from(error)),
        error => failed(format!("the data folder can't be used: {error}")),
    })
}

fn not_recovered(error: RecoverError) -> Failure {
    match error {
        RecoverError::Words(_) => Failure::usage(error.to_string()),
        RecoverError::Nothing(_) | RecoverError::Refused(_) => {
            Failure::new(Exit::Rejected, error.to_string())
        }
        RecoverError::Disk(_) => Failure::new(Exit::VerificationFailed, error.to_string())
            .next("choose another survivor, or restore a backup"),
    }
}

fn describe(report: &FolderReport) -> String {
    let id = |id: Option<String>| id.unwrap_or_else(|| "none".to_owned());
    let voters = report.members.iter().map(|(id, votes)| match votes {
        true => id.to_string(),
        false => format!("{id} (learner)"),
    });
    let kept = report.last_revision.saturating_sub(report.committed_revision);
    let unsure = match (report.committed, report.last) {
        (Some(committed), Some(last)) if committed < last => format!(
            "entries {} to {} are in its log and may never have been acknowledged: they hold {kept} revisions",
            committed.index.saturating_add(1),
            last.index
        ),
        _ => "every entry in its log is known to be committed".to_owned(),
    };
    [
        format!("node {}, data folder {}", report.identity.node_id, report.identity.member_uid),
        format!("cluster         {}", id(report.identity.cluster_id.map(|id| id.to_string()))),
        format!("history         {}", id(report.history.map(|history| history.to_string()))),
        format!("members         {}", voters.collect::<Vec<_>>().join(", ")),
        format!("last entry      {}", entry(report.last)),
        format!("committed       {}", entry(report.committed)),
        format!("applied         {}", entry(report.applied)),
        format!("vote            {}", vote(report)),
        format!("revision        {}", report.last_revision),
        format!("audit records   {}", report.audit_size),
        unsure,
    ]
    .join("\n")
}

fn entry(position: Option<LogPosition>) -> String {
    position.map_or_else(|| "none".to_owned(), |at| format!("{} of term {}", at.index, at.term))
}

fn vote(report: &FolderReport) -> String {
    match report.voted_for {
        None => "none".to_owned(),
        Some((node, true)) => format!("term {}, led by node {node}", report.term),
        Some((node, false)) => format!("term {}, for node {node}", report.term),
    }
}

fn shown(report: &FolderReport) -> Value {
    let at = |position: Option<LogPosition>| json!(position);
    json!({
        "node": report.identity.node_id, "uid": report.identity.member_uid,
        "cluster": report.identity.cluster_id, "history": report.history,
        "members": report.members.iter().map(|(id, votes)| json!({"id": id, "voter": votes})).collect::<Vec<_>>(),
        "last": at(report.last), "committed": at(report.committed), "applied": at(report.applied),
        "vote": report.voted_for.map(|(node, granted)| json!({"term": report.term, "node": node, "granted": granted})),
        "committed_revision": report.committed_revision, "revision": report.last_revision,
        "audit_size": report.audit_size, "acceptance": report.acceptance(),
    })
}

fn told(report: &FolderReport, recovery: &Recovery) -> String {
    let from = &recovery.from;
    let kept = match from.last_revision > from.committed_revision {
        true => format!(
            "Revisions {} to {} were kept although this node does not know whether they were ever acknowledged.\n",
            from.committed_revision.saturating_add(1),
            from.last_revision
        ),
        false => String::new(),
    };
    format!(
        "node {} is a cluster of its own now: cluster {}, history {}\n{kept}Revisions after {} of history {} are lost, \
         if there were any.\nStart it as before; what happened is in its audit log. The other members belong to a \
         cluster that is over: they come back with empty folders, under new ids, as new members",
        report.identity.node_id, recovery.cluster, recovery.history, from.last_revision, from.history
    )
}

fn done(report: &FolderReport, recovery: &Recovery) -> Value {
    json!({
        "node": report.identity.node_id, "cluster": recovery.cluster, "history": recovery.history,
        "from": recovery.from,
    })
}
