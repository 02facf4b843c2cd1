//! `flagraft rule ...`: one rule of a flag in one environment.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    failure::Failure,
    flag::ServeArgs,
    input,
    session::{EnvironmentArg, Global, ProjectArg, SignedWhy},
};

/// Commands on rules.
#[derive(Subcommand, Debug)]
pub enum RuleCommand {
    /// Create a rule, or replace the one with its id
    Put(Box<PutArgs>),
    /// Delete a rule
    Delete(RuleWhy),
}

/// Which rule.
#[derive(Args, Debug)]
struct RuleArg {
    /// The flag's key
    flag: String,
    /// The rule's id
    rule: String,
    #[command(flatten)]
    project: ProjectArg,
    #[command(flatten)]
    environment: EnvironmentArg,
}

/// Which rule, and why it is changed.
#[derive(Args, Debug)]
pub struct RuleWhy {
    #[command(flatten)]
    rule: RuleArg,
    #[command(flatten)]
    why: SignedWhy,
}

/// A rule.
#[derive(Args, Debug)]
pub struct PutArgs {
    #[command(flatten)]
    rule: RuleArg,
    /// The condition, such as 'country in ["DE"] and segment("beta")', or as JSON; @FILE reads it from a file, `-` from
    /// standard input; without it the rule is for everyone
    #[arg(long, value_name = "CONDITION")]
    when: Option<String>,
    #[command(flatten)]
    serve: ServeArgs,
    /// The rule to put it before; without it, it stays where it is, and a new one goes last
    #[arg(long, value_name = "RULE")]
    before: Option<String>,
    #[command(flatten)]
    why: SignedWhy,
}

/// Runs a command on rules.
pub async fn run(command: RuleCommand, global: &Global) -> Result<(), Failure> {
    let session = global.management()?;
    match command {
        RuleCommand::Put(args) => {
            let RuleArg { flag, rule: id, project, environment } = &args.rule;
            let mut rule = json!({"id": id, "serve": args.serve.to_json(flag)?});
            if let Some(when) = &args.when {
                rule["when"] = input::condition_argument("--when", when)?;
            }
            let mut operation =
                json!({"op": "rule.put", "flag": flag, "environment": environment.environment, "rule": rule});
            if let Some(before) = &args.before {
                operation["before"] = json!(before);
            }
            let did = format!("rule {id} of {flag} is set in {}", environment.environment);
            session.change(&project.project, &args.why, &operation, did).await
        }
        RuleCommand::Delete(args) => {
            let RuleArg { flag, rule, project, environment } = &args.rule;
            let operation = json!({"op": "rule.delete", "flag": flag, "environment": environment.environment, "rule": rule});
            let did = format!("rule {rule} of {flag} is deleted in {}", environment.environment);
            session.change(&project.project, &args.why, &operation, did).await
        }
    }
}
