//! `flagraft flag ...`: reading, changing and evaluating flags.

mod context;
mod define;
mod diff;
mod evaluate;
mod explain;
mod past;
mod view;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;

use crate::{
    client::Call,
    failure::Failure,
    input,
    session::{EnvironmentArg, Global, ProjectArg, Session, Why},
};

/// Commands on flags.
#[derive(Subcommand, Debug)]
pub enum FlagCommand {
    /// List a project's flags
    List(view::ListArgs),
    /// Show one flag; with --output json, what `flag create --file` and `flag update --file` take
    Get(view::GetArgs),
    /// Create a flag
    Create(Box<define::CreateArgs>),
    /// Change a flag's definition: only what is given changes
    Update(Box<define::UpdateArgs>),
    /// Turn a flag on in an environment
    Enable(SwitchArgs),
    /// Turn a flag off in an environment: it serves its off variant
    Disable(SwitchArgs),
    /// Take a flag out of service everywhere, for good measure before deleting it
    Archive(FlagWhy),
    /// Bring an archived or deleted flag back, disabled everywhere
    Restore(FlagWhy),
    /// Delete a flag; its key comes back only by restore
    Delete(FlagWhy),
    /// Copy a flag's configuration from one environment to another
    Copy(CopyArgs),
    /// List the changes of a flag, the newest first
    History(view::HistoryArgs),
    /// Show what differs between two revisions or times, of one flag or of the whole project
    Diff(diff::DiffArgs),
    /// Evaluate one flag, or every flag, as a service would; with --at-revision or --at, what it would have got then
    Eval(evaluate::EvalArgs),
    /// Explain an evaluation: each step that was tried, with what it saw
    Explain(explain::ExplainArgs),
    /// Set the weights of a rule's rollout, or of the default's
    Rollout(RolloutArgs),
    /// Set what is served where no target and no rule matches
    SetDefault(SetDefaultArgs),
}

/// One flag.
#[derive(Args, Debug)]
pub struct FlagArg {
    /// The flag's key
    key: String,
    #[command(flatten)]
    project: ProjectArg,
}

/// One flag, and why it is changed.
#[derive(Args, Debug)]
pub struct FlagWhy {
    #[command(flatten)]
    flag: FlagArg,
    #[command(flatten)]
    why: Why,
}

/// One flag in one environment, and why it is changed.
#[derive(Args, Debug)]
pub struct SwitchArgs {
    #[command(flatten)]
    flag: FlagArg,
    #[command(flatten)]
    environment: EnvironmentArg,
    #[command(flatten)]
    why: Why,
}

/// What to copy from where to where.
#[derive(Args, Debug)]
pub struct CopyArgs {
    #[command(flatten)]
    flag: FlagArg,
    /// The environment to copy from
    #[arg(long)]
    from: String,
    /// The environment to copy to
    #[arg(long)]
    to: String,
    /// The parts to copy, separated by commas; without it all but `enabled`, so that a copy turns nothing on
    #[arg(long, value_delimiter = ',', value_parser = ["enabled", "prerequisites", "targets", "rules", "default"])]
    parts: Vec<String>,
    #[command(flatten)]
    why: Why,
}

/// New weights.
#[derive(Args, Debug)]
pub struct RolloutArgs {
    #[command(flatten)]
    flag: FlagArg,
    #[command(flatten)]
    environment: EnvironmentArg,
    /// The rule that rolls out; without it, the default
    #[arg(long)]
    rule: Option<String>,
    /// The weights in order, such as on=10,off=90
    #[arg(long)]
    weights: String,
    #[command(flatten)]
    why: Why,
}

/// What is served: a variant or a rollout.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// The variant to serve
    #[arg(long, conflicts_with = "weights")]
    variant: Option<String>,
    /// Serve a rollout with these weights in order, such as on=10,off=90
    #[arg(long)]
    weights: Option<String>,
    /// The attribute that a rollout goes by
    #[arg(long, default_value = "targetingKey", requires = "weights")]
    by: String,
    /// What a rollout's hash begins with: flags that share it put the same users first. Without it, the
    /// flag's key
    #[arg(long, requires = "weights")]
    seed: Option<String>,
}

impl ServeArgs {
    /// As the API takes it.
    pub fn to_json(&self, flag: &str) -> Result<serde_json::Value, Failure> {
        match (&self.variant, &self.weights) {
            (Some(variant), _) => Ok(json!({"variant": variant})),
            (None, Some(weights)) => Ok(json!({"rollout": {
                "by": self.by,
                "seed": self.seed.as_deref().unwrap_or(flag),
                "weights": input::weights(weights)?,
            }})),
            (None, None) => Err(Failure::usage("say what to serve with --variant or --weights")),
        }
    }
}

/// A new default.
#[derive(Args, Debug)]
pub struct SetDefaultArgs {
    #[command(flatten)]
    flag: FlagArg,
    #[command(flatten)]
    environment: EnvironmentArg,
    #[command(flatten)]
    serve: ServeArgs,
    /// Serve no value: callers use the default in their own code
    #[arg(long, conflicts_with_all = ["variant", "weights"])]
    code_default: bool,
    #[command(flatten)]
    why: Why,
}

/// Runs a command on flags.
pub async fn run(command: FlagCommand, global: &Global) -> Result<(), Failure> {
    match command {
        FlagCommand::List(args) => view::list(&global.management()?, &args).await,
        FlagCommand::Get(args) => view::get(&global.management()?, &args).await,
        FlagCommand::Create(args) => define::create(&global.management()?, &args).await,
        FlagCommand::Update(args) => define::update(&global.management()?, &args).await,
        FlagCommand::Enable(args) => switch(&global.management()?, &args, "enable").await,
        FlagCommand::Disable(args) => switch(&global.management()?, &args, "disable").await,
        FlagCommand::Archive(args) => operate(&global.management()?, &args, "archive").await,
        FlagCommand::Restore(args) => operate(&global.management()?, &args, "restore").await,
        FlagCommand::Delete(args) => delete(&global.management()?, &args).await,
        FlagCommand::Copy(args) => copy(&global.management()?, &args).await,
        FlagCommand::History(args) => view::history(&global.management()?, &args).await,
        FlagCommand::Diff(args) => diff::run(&global.management()?, &args).await,
        FlagCommand::Eval(args) if args.is_about_the_past() => {
            evaluate::run_then(&global.management()?, &args).await
        }
        FlagCommand::Eval(args) => evaluate::run(&global.evaluation()?, &args).await,
        FlagCommand::Explain(args) => explain::run(&global.management()?, &args).await,
        FlagCommand::Rollout(args) => rollout(&global.management()?, &args).await,
        FlagCommand::SetDefault(args) => set_default(&global.management()?, &args).await,
    }
}

async fn switch(session: &Session, args: &SwitchArgs, verb: &str) -> Result<(), Failure> {
    let (flag, environment) = (&args.flag, &args.environment.environment);
    let path = [
        "api",
        "v1",
        "projects",
        &flag.project.project,
        "flags",
        &flag.key,
        "environments",
        environment,
        verb,
    ];
    session
        .write(
            Method::POST,
            &path,
            Some(args.why.bare()),
            format!("{} is {verb}d in {environment}", flag.key),
        )
        .await
}

async fn operate(session: &Session, args: &FlagWhy, verb: &str) -> Result<(), Failure> {
    let flag = &args.flag;
    let operation = json!({"op": format!("flag.{verb}"), "flag": flag.key});
    session
        .change(&flag.project.project, &args.why, vec![operation], format!("{} is {verb}d", flag.key))
        .await
}

async fn delete(session: &Session, args: &FlagWhy) -> Result<(), Failure> {
    let flag = &args.flag;
    let path = ["api", "v1", "projects", &flag.project.project, "flags", &flag.key];
    let call = args.why.on(Call::write(Method::DELETE, path, None)?);
    session.finish(&call, format!("{} is deleted", flag.key)).await
}

async fn copy(session: &Session, args: &CopyArgs) -> Result<(), Failure> {
    let flag = &args.flag;
    let mut operation = json!({"op": "flag.copy", "flag": flag.key, "from": args.from, "to": args.to});
    if !args.parts.is_empty() {
        operation["parts"] = json!(args.parts);
    }
    let did = format!("{} in {} is now as in {}", flag.key, args.to, args.from);
    session.change(&flag.project.project, &args.why, vec![operation], did).await
}

async fn rollout(session: &Session, args: &RolloutArgs) -> Result<(), Failure> {
    let (flag, environment) = (&args.flag, &args.environment.environment);
    let mut operation = json!({
        "op": "rollout.set", "flag": flag.key, "environment": environment, "weights": input::weights(&args.weights)?,
    });
    if let Some(rule) = &args.rule {
        operation["rule"] = json!(rule);
    }
    let what = args.rule.as_deref().unwrap_or("the default");
    let did = format!("{what} of {} in {environment} now rolls out {}", flag.key, args.weights);
    session.change(&flag.project.project, &args.why, vec![operation], did).await
}

async fn set_default(session: &Session, args: &SetDefaultArgs) -> Result<(), Failure> {
    let (flag, environment) = (&args.flag, &args.environment.environment);
    let serve = if args.code_default { serde_json::Value::Null } else { args.serve.to_json(&flag.key)? };
    let operation =
        json!({"op": "default.set", "flag": flag.key, "environment": environment, "serve": serve});
    let did = format!("the default of {} in {environment} is set", flag.key);
    session.change(&flag.project.project, &args.why, vec![operation], did).await
}
