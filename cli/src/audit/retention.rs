//! `flagraft audit retention`: for how long the log keeps its records, and what is kept whatever its age.

use clap::{Args, Subcommand};
use flagraft_client::admin::{
    self,
    retention::{Stretch, delete_hold, get, put, put_hold},
};
use serde_json::{Map, Value, json};

use super::kinds;
use crate::{
    failure::Failure,
    output::{cell, table},
    session::{Session, Why},
};

/// What is done about retention.
#[derive(Subcommand, Debug)]
pub enum RetentionCommand {
    /// Show for how long records are kept, and what is held
    Show,
    /// Say for how many days records of each kind are kept; kinds that are not named are kept for ever
    ///
    /// Records that are older are removed within some hours, for good. Their hashes stay in the log, so it can be verified as before.
    /// Where changes are removed, the flags' past can be asked for as far back as changes are kept.
    /// With no kind at all everything is kept from now on.
    Set(SetArgs),
    /// Put a legal hold on a stretch of the log, or lift one: nothing that is held is removed
    #[command(subcommand)]
    Hold(HoldCommand),
}

/// For how long records are kept.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// A kind of record and a number of days: change, rejected, denied, access or evaluations
    #[arg(value_name = "KIND=DAYS", value_parser = rule)]
    rules: Vec<(String, u32)>,
    #[command(flatten)]
    why: Why,
}

/// What is done about holds.
#[derive(Subcommand, Debug)]
pub enum HoldCommand {
    /// Put a hold on a stretch of the log, or on another stretch than before
    Put(PutArgs),
    /// Lift a hold: what is too old goes then
    Delete(DeleteArgs),
}

/// A hold.
#[derive(Args, Debug)]
pub struct PutArgs {
    /// The hold's id: small letters, digits, - and _
    id: String,
    /// The sequence of the first record
    #[arg(long, value_name = "SEQUENCE", required_unless_present = "since", conflicts_with = "since")]
    from: Option<u64>,
    /// The sequence after the last record; without it and --until all that comes is held
    #[arg(long, value_name = "SEQUENCE", conflicts_with = "until")]
    to: Option<u64>,
    /// The time of the first record, as 2027-03-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// The time, one that is past, before which the last record is
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    #[command(flatten)]
    why: Why,
}

/// A hold that is lifted.
#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// The hold's id
    id: String,
    #[command(flatten)]
    why: Why,
}

fn rule(text: &str) -> Result<(String, u32), String> {
    let (kind, days) = text.split_once('=').ok_or("write KIND=DAYS, as access=30")?;
    if !kinds().contains(&kind) {
        return Err(format!("there is no kind {kind:?}; use one of {}", kinds().join(", ")));
    }
    let days = days.parse().map_err(|_| format!("{days:?} is no number of days"))?;
    Ok((kind.to_owned(), days))
}

/// Runs a command on retention.
pub async fn run(session: &Session, command: Option<RetentionCommand>) -> Result<(), Failure> {
    match command {
        None | Some(RetentionCommand::Show) => session.show(&get(), text).await,
        Some(RetentionCommand::Set(args)) => {
            let mut keep_days = Map::new();
            for (kind, days) in &args.rules {
                if keep_days.insert(kind.clone(), json!(days)).is_some() {
                    return Err(Failure::usage(format!("{kind} is given twice; say once for how many days")));
                }
            }
            let did = match args.rules.as_slice() {
                [] => "all records are kept for ever".to_owned(),
                rules => {
                    let rules: Vec<String> =
                        rules.iter().map(|(kind, days)| format!("{kind} for {days} days")).collect();
                    format!("records are kept: {}; all others for ever", rules.join(", "))
                }
            };
            session.write(&put(&Value::Object(keep_days), admin::Why::from(&args.why)), did).await
        }
        Some(RetentionCommand::Hold(command)) => hold(session, command).await,
    }
}

async fn hold(session: &Session, command: HoldCommand) -> Result<(), Failure> {
    match command {
        HoldCommand::Put(PutArgs { id, from, to, since, until, why }) => {
            let call = put_hold(&id, &Stretch { from, to, since, until }, admin::Why::from(&why));
            session.write(&call, format!("hold {id} is put; see `flagraft audit retention`")).await
        }
        HoldCommand::Delete(args) => {
            let call = delete_hold(&args.id, admin::Why::from(&args.why));
            session.write(&call, format!("hold {} is lifted", args.id)).await
        }
    }
}

/// What people read: the rule, and the holds under it.
fn text(retention: &Value) -> String {
    let days = |kind: &&str| match &retention["keep_days"][*kind] {
        Value::Null => vec![(*kind).to_owned(), "for ever".to_owned()],
        days => vec![(*kind).to_owned(), format!("{} days", cell(days))],
    };
    let rules = table(&["RECORDS", "KEPT"], kinds().iter().map(days).collect(), "");
    let hold = |hold: &Value| {
        let to = if hold["to"].is_null() { "all that comes".to_owned() } else { cell(&hold["to"]) };
        vec![cell(&hold["id"]), cell(&hold["from"]), to, cell(&hold["created_at"]), cell(&hold["reason"])]
    };
    let holds = retention["holds"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = holds.iter().map(hold).collect();
    let holds = table(&["HOLD", "FROM", "TO (BEFORE)", "SINCE", "WHY"], rows, "nothing is held");
    let edge = match &retention["edge"] {
        Value::Null => String::new(),
        edge => format!(
            "\n\nThe oldest catalog that can be asked for is the one of revision {}, from {}.",
            cell(&edge["revision"]),
            cell(&edge["time"])
        ),
    };
    format!("{rules}\n\n{holds}{edge}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_kept_ones_are_shown() {
        assert_eq!(rule("access=30"), Ok(("access".to_owned(), 30)));
        for wrong in ["access", "acces=30", "access=", "access=-1", "access=1.5", "=30"] {
            assert!(rule(wrong).is_err(), "{wrong}");
        }
        let hold = json!({"id": "case-7", "from": 3, "to": null, "created_at": "2027-03-01T00:00:00Z", "reason": "Case 7"});
        let shown = text(&json!({"keep_days": {"access": 30, "change": null}, "holds": [hold]}));
        assert!(shown.contains("access") && shown.contains("30 days"), "{shown}");
        let change = shown.lines().find(|line| line.starts_with("change")).expect("a line");
        assert!(change.ends_with("for ever"), "{shown}");
        let hold = shown.lines().find(|line| line.starts_with("case-7")).expect("a line");
        assert!(hold.contains("all that comes") && hold.ends_with("Case 7"), "{shown}");
        let edge = json!({"revision": 41, "time": "2027-03-01T00:00:00Z"});
        let shown = text(&json!({"keep_days": {}, "holds": [], "edge": edge}));
        assert!(
            shown.contains("nothing is held") && shown.contains("revision 41, from 2027-03-01"),
            "{shown}"
        );
    }
}
