//! `flag explain`: what a flag is for a context, and everything that was tried to find that out.

mod text;

use clap::Args;
use flagraft_client::{Context, admin::explanations};

use super::{FlagArg, context::ContextArgs, evaluate::provenance};
use crate::{
    failure::Failure,
    session::{EnvironmentArg, Session},
};

/// What to explain, for whom.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    #[command(flatten)]
    flag: FlagArg,
    #[command(flatten)]
    environment: EnvironmentArg,
    #[command(flatten)]
    context: ContextArgs,
}

/// Explains.
pub async fn run(session: &Session, args: &ExplainArgs) -> Result<(), Failure> {
    let FlagArg { key, project } = &args.flag;
    let context = Context::from(args.context.context()?);
    let call = explanations::get(&project.project, &args.environment.environment, key, &context);
    let answer = session.client.send(&call).await?;
    session.output.show(answer.json(), |explanation| {
        format!("{}\n\n{}", text::explanation(explanation), provenance(&answer))
    })
}

#[cfg(test)]
mod tests;
