//! `flagraft cluster add|promote|remove|transfer|replace`: who belongs to the cluster, and who leads it.
//!
//! Each command states what is to be, in the log, and then watches until the cluster has made it so. The cluster goes
//! on with it by itself, so a command that is broken off is only watched no longer; and running it again is safe.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf, time::Duration};

use clap::Args;
use flagraft_client::admin::{AdminErrorKind, cluster};
use flagraft_core::seat::SeatRole;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    failure::{Exit, Failure},
    output::cell,
    session::{Session, Why, receipt},
};

/// Between two looks at the members.
const LOOK_PAUSE: Duration = Duration::from_millis(250);
/// What every join token begins with.
const JOIN_TOKEN_PREFIX: &str = "fr_join_";

/// A node to invite.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// The node's id: one that was never used in this cluster
    #[arg(long, value_name = "ID")]
    node_id: u64,
    /// It only follows: it receives everything, answers reads, and decides nothing
    #[arg(long)]
    learner: bool,
    /// For how many seconds the join token is good
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    expires_in_seconds: u64,
    /// Write the join token to this file, readable by its owner only, and not to standard output
    #[arg(long, value_name = "FILE")]
    join_token_file: Option<PathBuf>,
    #[command(flatten)]
    why: Why,
}

/// A learner to let vote.
#[derive(Args, Debug)]
pub struct PromoteArgs {
    /// The node's id
    node_id: u64,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    why: Why,
}

/// A member to remove.
#[derive(Args, Debug)]
pub struct RemoveArgs {
    /// The node's id; it is never used again
    node_id: u64,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    why: Why,
}

/// Who is to lead.
#[derive(Args, Debug)]
pub struct TransferArgs {
    /// The node that shall lead. Default: the voter whose log is most complete
    #[arg(long, value_name = "ID")]
    to: Option<u64>,
    #[command(flatten)]
    why: Why,
}

/// A member to put another one in the place of.
#[derive(Args, Debug)]
pub struct ReplaceArgs {
    /// The member that goes, dead or alive
    node_id: u64,
    /// The id of the node that takes its place: one that was never used in this cluster
    #[arg(long, value_name = "ID")]
    with: u64,
    /// The file for the join token that the new node starts with. One that is there from an earlier run is kept while it
    /// is good
    #[arg(long, value_name = "FILE")]
    join_token_file: PathBuf,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    why: Why,
}

/// How long to watch.
#[derive(Args, Clone, Copy, Debug)]
struct Watch {
    /// For how many seconds to watch until it is done. The cluster goes on by itself
    #[arg(long = "wait", value_name = "SECONDS", default_value_t = 600)]
    seconds: u64,
}

/// What is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Joined(u64),
    Votes(u64),
    Gone(u64),
}

impl Goal {
    fn is_reached(self, status: &Value) -> bool {
        let member = |id: u64| member(status, id);
        let settles = !status["membership"]["joint"].as_bool().unwrap_or(true);
        match self {
            Self::Joined(id) => member(id).is_some(),
            Self::Votes(id) => settles && member(id).is_some_and(|member| member["role"] == "voter"),
            Self::Gone(id) => settles && member(id).is_none(),
        }
    }

    fn says(self) -> String {
        match self {
            Self::Joined(id) => format!("node {id} is a member"),
            Self::Votes(id) => format!("node {id} votes"),
            Self::Gone(id) => format!("node {id} is no member any more"),
        }
    }

    /// What is in the way, as far as the status tells.
    fn waits_for(self, status: &Value) -> String {
        let said = status["membership"]["waits_for"].as_str();
        match (self, said) {
            (Self::Joined(id), _) => format!("start node {id} with its join token"),
            (_, Some(said)) => said.to_owned(),
            (Self::Votes(id), None) => lag(status, id),
            (Self::Gone(_), None) => "the membership is being changed".to_owned(),
        }
    }
}

fn member(status: &Value, id: u64) -> Option<&Value> {
    status["members"].as_array()?.iter().find(|member| member["id"] == id)
}

fn lag(status: &Value, id: u64) -> String {
    let index = |id: Option<u64>| member(status, id?)?["index"].as_u64();
    match (index(status["leader"].as_u64()), index(Some(id))) {
        (Some(leader), Some(own)) => format!("it is {} entries behind", leader.saturating_sub(own)),
        _ => "it has nothing yet".to_owned(),
    }
}

/// Invites a node.
pub async fn add(session: &Session, args: &AddArgs) -> Result<(), Failure> {
    let mut invited = invite(session, args.node_id, args.learner, args.expires_in_seconds, &args.why).await?;
    let receipt = receipt(&invited, &format!("node {} is invited", args.node_id));
    let (token, place) = match &args.join_token_file {
        Some(path) => {
            keep(path, &token_of(&invited))?;
            if let Some(fields) = invited.as_object_mut() {
                fields.remove("join_token");
            }
            (format!("its join token is in {}", path.display()), path.display().to_string())
        }
        None => (format!("its join token, shown only now:\n{}", token_of(&invited)), "FILE".to_owned()),
    };
    let how = how_to_start(args.node_id, &invited, &place);
    session.output.say(&invited, format!("{receipt}; {token}\n{how}"))
}

/// Lets a learner vote.
pub async fn promote(session: &Session, args: &PromoteArgs) -> Result<(), Failure> {
    let answer = session.client.send(&cluster::promote(args.node_id, &args.why)).await?.into_json();
    watch(session, args.watch, &[Goal::Votes(args.node_id)]).await?;
    done(session, answer, &format!("node {} votes", args.node_id))
}

/// Removes a member.
pub async fn remove(session: &Session, args: &RemoveArgs) -> Result<(), Failure> {
    let answer = session.client.send(&cluster::remove(args.node_id, None, &args.why)).await?.into_json();
    watch(session, args.watch, &[Goal::Gone(args.node_id)]).await?;
    done(session, answer, &format!("node {} is removed", args.node_id))
}

/// Lets another member lead.
pub async fn transfer(session: &Session, args: &TransferArgs) -> Result<(), Failure> {
    let answer = session.client.send(&cluster::transfer(args.to, &args.why)).await?.into_json();
    let leader = cell(&answer["leader"]);
    session.output.say(&answer, receipt(&answer, &format!("node {leader} leads")))
}

/// Puts a new node in a member's place: invited, waited for, caught up, and changed places with. Run again it goes on
/// where it was.
pub async fn replace(session: &Session, args: &ReplaceArgs) -> Result<(), Failure> {
    let (old, new, path) = (args.node_id, args.with, &args.join_token_file);
    let status = session.client.send(&cluster::status()).await?.into_json();
    if member(&status, new).is_none() {
        let is_invited = status["invitations"]
            .as_array()
            .is_some_and(|invitations| invitations.iter().any(|invitation| invitation["node_id"] == new));
        if !is_invited || !holds_join_token(path) {
            let invited = invite(session, new, true, 86_400, &args.why).await?;
            keep(path, &token_of(&invited))?;
            note(session, &how_to_start(new, &invited, &path.display().to_string()));
        }
    }
    watch(session, args.watch, &[Goal::Joined(new)]).await?;
    let answer = session.client.send(&cluster::remove(old, Some(new), &args.why)).await?.into_json();
    watch(session, args.watch, &[Goal::Votes(new), Goal::Gone(old)]).await?;
    done(session, answer, &format!("node {new} is in the place of node {old}"))
}

async fn invite(
    session: &Session,
    node_id: u64,
    learner: bool,
    expires_in_seconds: u64,
    why: &Why,
) -> Result<Value, Failure> {
    let role = if learner { SeatRole::Learner } else { SeatRole::Voter };
    // Where the answer that held the token is lost, nobody has it, so another one takes its place.
    for _ in 0..2 {
        let call = cluster::invite(node_id, role, expires_in_seconds, why);
        let invited = session.client.send(&call).await?.into_json();
        if invited["join_token"].is_string() {
            return Ok(invited);
        }
    }
    Err(Failure::new(Exit::Other, "the answers that held the join token were lost")
        .next("run the command again"))
}

fn token_of(invited: &Value) -> String {
    invited["join_token"].as_str().unwrap_or_default().to_owned()
}

fn how_to_start(node_id: u64, invited: &Value, token_file: &str) -> String {
    format!(
        "start it with an empty folder, its own addresses and the peer secret of the cluster:\n  flagraft serve \
         --node-id {node_id} --join {} --join-token-file {token_file} --data DIR --listen ADDRESS --peer-listen \
         ADDRESS --peer-secret-file FILE",
        cell(&invited["join"])
    )
}

/// Writes a join token to a file that is readable by its owner only. A file that holds something else stays.
fn keep(path: &PathBuf, token: &str) -> Result<(), Failure> {
    if path.exists() && !holds_join_token(path) {
        return Err(Failure::usage(format!(
            "{} is there and holds no join token, so it is not written over",
            path.display()
        ))
        .next("give another --join-token-file, and run the command again"));
    }
    let write = || {
        // A new file each time: one that others could read would stay readable by them.
        let _ = fs::remove_file(path);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{token}")?;
        file.sync_all()
    };
    write().map_err(|error: std::io::Error| {
        Failure::new(Exit::Other, format!("could not write the join token to {}: {error}", path.display()))
            .next("run the command again with another --join-token-file; the token that was made is replaced")
    })
}

fn holds_join_token(path: &PathBuf) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.starts_with(JOIN_TOKEN_PREFIX))
}

/// Something for the person who waits; programs read the answer at the end.
fn note(session: &Session, text: &str) {
    if !session.output.is_json() {
        eprintln!("{text}");
    }
}

/// Watches the members until all goals are reached, telling a terminal what is waited for.
async fn watch(session: &Session, watch: Watch, goals: &[Goal]) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_secs(watch.seconds);
    let progress = ProgressBar::new_spinner();
    progress.enable_steady_tick(LOOK_PAUSE);
    loop {
        let (goal, waits_for) = match session.client.send(&cluster::status()).await {
            Ok(answer) => match goals.iter().find(|goal| !goal.is_reached(answer.json())) {
                None => break,
                Some(goal) => (*goal, goal.waits_for(answer.json())),
            },
            // A node that is being removed, or a leader that is being elected: the next look may tell.
            Err(error) if error.kind() == AdminErrorKind::Unavailable => match goals.first() {
                Some(goal) => (*goal, Failure::from(error).to_string()),
                None => break,
            },
            Err(error) => return Err(error.into()),
        };
        progress.set_message(format!("until {}: {waits_for}", goal.says()));
        if Instant::now() >= until {
            progress.finish_and_clear();
            let failure = Failure::new(
                Exit::Unavailable,
                format!("it is not so yet that {} within {} s: {waits_for}", goal.says(), watch.seconds),
            );
            return Err(failure.next(
                "the cluster goes on by itself; watch it with `flagraft cluster status`, or run this command again",
            ));
        }
        sleep(LOOK_PAUSE).await;
    }
    progress.finish_and_clear();
    Ok(())
}

/// The answer to a statement whose change was then seen to be done.
fn done(session: &Session, mut answer: Value, did: &str) -> Result<(), Failure> {
    answer["done"] = json!(true);
    answer["waits_for"] = Value::Null;
    session.output.say(&answer, receipt(&answer, did))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(joint: bool) -> Value {
        json!({
            "leader": 1, "membership": {"joint": joint, "settled": !joint, "waits_for": null},
            "members": [{"id": 1, "role": "voter", "index": 100}, {"id": 4, "role": "learner", "index": 40}],
        })
    }

    #[test]
    fn goals_are_reached_when_the_membership_is_not_half_way() {
        let now = status(false);
        assert!(Goal::Joined(4).is_reached(&now) && !Goal::Joined(5).is_reached(&now));
        assert!(Goal::Votes(1).is_reached(&now) && !Goal::Votes(4).is_reached(&now));
        assert!(Goal::Gone(5).is_reached(&now) && !Goal::Gone(4).is_reached(&now));
        let half_way = status(true);
        assert!(!Goal::Votes(1).is_reached(&half_way) && !Goal::Gone(5).is_reached(&half_way));
        assert_eq!(Goal::Votes(4).waits_for(&now), "it is 60 entries behind");
        let mut said = now.clone();
        said["membership"]["waits_for"] = json!("node 4 does not answer");
        assert_eq!(Goal::Votes(4).waits_for(&said), "node 4 does not answer");
    }

    #[test]
    fn a_join_token_is_kept_for_its_owner_and_writes_over_nothing_else() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        keep(&path, "fr_join_a").expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        keep(&path, "fr_join_b").expect("written over an older token");
        assert_eq!(fs::read_to_string(&path).expect("read"), "fr_join_b\n");
        fs::write(&path, "precious").expect("written");
        assert_eq!(keep(&path, "fr_join_c").expect_err("refused").exit, Exit::Usage);
        assert_eq!(fs::read_to_string(&path).expect("read"), "precious");
    }
}
