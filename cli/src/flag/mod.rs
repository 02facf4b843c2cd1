//! `flagraft flag ...`: reading, changing and evaluating flags.

mod context;
mod define;
mod diff;
mod evaluate;
mod explain;
mod past;
mod view;

use clap::{Args, Subcommand, ValueEnum};
use flagraft_core::operation::CopyPart;
use serde_json::json;

use crate::{
    failure::Failure,
    input,
    session::{EnvironmentArg, Global, ProjectArg, Session, SignedWhy},
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
    why: SignedWhy,
}

/// One flag in one environment, and why it is changed.
#[derive(Args, Debug)]
pub struct SwitchArgs {
    #[command(flatten)]
    flag: FlagArg,
    #[command(flatten)]
    environment: EnvironmentArg,
    #[command(flatten)]
    why: SignedWhy,
}

/// A part of a flag's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Whether it is on
    Enabled,
    /// The prerequisites
    Prerequisites,
    /// The targets
    Targets,
    /// The rules
    Rules,
    /// What is served by default, and the off and safe variants
    Default,
}

impl From<Part> for CopyPart {
    fn from(part: Part) -> Self {
        match part {
            Part::Enabled => Self::Enabled,
            Part::Prerequisites => Self::Prerequisites,
            Part::Targets => Self::Targets,
            Part::Rules => Self::Rules,
            Part::Default => Self::Default,
        }
    }
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
    #[arg(long, value_delimiter = ',', value_enum)]
    parts: Vec<Part>,
    #[command(flatten)]
    why: SignedWhy,
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
    why: SignedWhy,
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
    why: SignedWhy,
}

/// Runs a command on flags.
pub async fn run(command: FlagCommand, global: &Global) -> Result<(), Failure> {
    match command {
        FlagCommand::Eval(args) if args.is_about_the_past() => {
            evaluate::run_then(&global.management()?, &args).await
        }
        FlagCommand::Eval(args) => evaluate::run(&global.evaluation()?, &args).await,
        command => manage(command, &global.management()?).await,
    }
}

async fn manage(command: FlagCommand, session: &Session) -> Result<(), Failure> {
    match command {
        FlagCommand::List(args) => view::list(session, args).await,
        FlagCommand::Get(args) => view::get(session, &args).await,
        FlagCommand::Create(args) => define::create(session, &args).await,
        FlagCommand::Update(args) => define::update(session, &args).await,
        FlagCommand::Enable(args) => switch(session, &args, "enable").await,
        FlagCommand::Disable(args) => switch(session, &args, "disable").await,
        FlagCommand::Archive(args) => operate(session, &args, "archive").await,
        FlagCommand::Restore(args) => operate(session, &args, "restore").await,
        FlagCommand::Delete(args) => operate(session, &args, "delete").await,
        FlagCommand::Copy(args) => copy(session, &args).await,
        FlagCommand::History(args) => view::history(session, &args).await,
        FlagCommand::Diff(args) => diff::run(session, &args).await,
        FlagCommand::Explain(args) => explain::run(session, &args).await,
        FlagCommand::Rollout(args) => rollout(session, &args).await,
        FlagCommand::SetDefault(args) => set_default(session, &args).await,
        // Is asked with another token.
        FlagCommand::Eval(_) => Ok(()),
    }
}

async fn switch(session: &Session, args: &SwitchArgs, verb: &str) -> Result<(), Failure> {
    let (flag, environment) = (&args.flag, &args.environment.environment);
    let operation = json!({"op": format!("flag.{verb}"), "flag": flag.key, "environment": environment});
    let did = format!("{} is {verb}d in {environment}", flag.key);
    session.change(&flag.project.project, &args.why, &operation, did).await
}

async fn operate(session: &Session, args: &FlagWhy, verb: &str) -> Result<(), Failure> {
    let flag = &args.flag;
    let operation = json!({"op": format!("flag.{verb}"), "flag": flag.key});
    session.change(&flag.project.project, &args.why, &operation, format!("{} is {verb}d", flag.key)).await
}

async fn copy(session: &Session, args: &CopyArgs) -> Result<(), Failure> {
    let CopyArgs { flag: FlagArg { key, project }, from, to, parts, why } = args;
    let parts: Vec<CopyPart> = parts.iter().copied().map(CopyPart::from).collect();
    let mut operation = json!({"op": "flag.copy", "flag": key, "from": from, "to": to});
    if !parts.is_empty() {
        operation["parts"] = json!(parts);
    }
    session.change(&project.project, why, &operation, format!("{key} in {to} is now as in {from}")).await
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
    session.change(&flag.project.project, &args.why, &operation, did).await
}

async fn set_default(session: &Session, args: &SetDefaultArgs) -> Result<(), Failure> {
    let (flag, environment) = (&args.flag, &args.environment.environment);
    let serve = if args.code_default { serde_json::Value::Null } else { args.serve.to_json(&flag.key)? };
    let operation =
        json!({"op": "default.set", "flag": flag.key, "environment": environment, "serve": serve});
    let did = format!("the default of {} in {environment} is set", flag.key);
    session.change(&flag.project.project, &args.why, &operation, did).await
}
