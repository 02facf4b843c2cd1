//! `flagraft change ...`: several operations as one change, and what became of one.

use clap::{Args, Subcommand};
use flagraft_client::admin::requests;
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    input,
    output::pretty,
    session::{Global, ProjectArg},
    sign::SignArg,
};

/// Commands on changes.
#[derive(Subcommand, Debug)]
pub enum ChangeCommand {
    /// Apply a file of operations as one change: all of them or none
    Apply(ApplyArgs),
    /// Tell what became of a request whose answer was lost
    Status {
        /// The request id, as the lost request's message gave it
        request: String,
    },
}

/// A file of operations.
#[derive(Args, Debug)]
pub struct ApplyArgs {
    /// A JSON file (`-`: standard input): a list of operations, or an object with `operations` and, if not
    /// given as options, `reason`, `ticket` and `expect_revision`
    file: String,
    #[command(flatten)]
    project: ProjectArg,
    /// Why: kept in the audit log
    #[arg(short, long)]
    reason: Option<String>,
    /// The ticket, where the environment's policy asks for one
    #[arg(short, long)]
    ticket: Option<String>,
    /// Refuse if an object that the change writes is newer than this revision
    #[arg(long, value_name = "REVISION")]
    expect_revision: Option<u64>,
    /// Only say whether it would be accepted
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    sign: SignArg,
}

impl ApplyArgs {
    fn body(&self, file: Value) -> Result<Value, Failure> {
        let mut body = match file {
            Value::Array(operations) => json!({ "operations": operations }),
            Value::Object(object) if object.contains_key("operations") => Value::Object(object),
            _ => {
                return Err(Failure::usage(
                    "the file is neither a list of operations nor an object with `operations`",
                )
                .next("see `flagraft change apply --help`"));
            }
        };
        if let Some(reason) = &self.reason {
            body["reason"] = json!(reason);
        }
        if let Some(ticket) = &self.ticket {
            body["ticket"] = json!(ticket);
        }
        if let Some(revision) = self.expect_revision {
            body["expect_revision"] = json!(revision);
        }
        if self.dry_run {
            body["dry_run"] = json!(true);
        }
        if body.get("reason").is_none() {
            return Err(Failure::usage("the change has no reason").next("say why with --reason"));
        }
        Ok(body)
    }
}

/// Runs a command on changes.
pub async fn run(command: ChangeCommand, global: &Global) -> Result<(), Failure> {
    let session = global.management()?;
    match command {
        ChangeCommand::Apply(args) => {
            let body = args.body(input::json_file(&args.file)?)?;
            let operations = body["operations"].as_array().map_or(0, Vec::len);
            let plural = if operations == 1 { "" } else { "s" };
            let did = format!("{operations} operation{plural}");
            session.propose(Some(&args.project.project), body, &args.sign, did).await
        }
        ChangeCommand::Status { request } => session.show(&requests::get(&request), pretty).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> ApplyArgs {
        ApplyArgs {
            file: "-".to_owned(),
            project: ProjectArg { project: "demo".to_owned() },
            reason: Some("why".to_owned()),
            ticket: None,
            expect_revision: Some(7),
            dry_run: true,
            sign: SignArg::default(),
        }
    }

    #[test]
    fn options_go_over_the_file() {
        let expected = json!({"operations": [], "reason": "why", "expect_revision": 7, "dry_run": true});
        assert_eq!(args().body(json!([])).expect("a list"), expected);
        assert_eq!(args().body(json!({"operations": [], "reason": "old"})).expect("an object"), expected);
        for bad in [json!({}), json!(7), json!(null)] {
            assert!(args().body(bad).is_err());
        }
        let unreasoned = ApplyArgs { reason: None, ..args() };
        assert!(unreasoned.body(json!([])).expect_err("no reason").to_string().contains("--reason"));
    }
}
