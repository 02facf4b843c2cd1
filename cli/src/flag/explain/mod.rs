//! `flag explain`: what a flag is for a context, and everything that was tried to find that out.

mod text;

use clap::Args;
use flagraft_client::{Context, admin::explanations};

use super::{
    FlagArg,
    context::ContextArgs,
    evaluate::provenance,
    past::{PastArgs, when},
};
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
    #[command(flatten)]
    past: PastArgs,
}

/// Explains.
pub async fn run(session: &Session, args: &ExplainArgs) -> Result<(), Failure> {
    let FlagArg { key, project } = &args.flag;
    let context = Context::from(args.context.context()?);
    let call = explanations::get(&project.project, &args.environment.environment, key, &context);
    let answer = session.client.send(&args.past.on(call)).await?;
    session.output.show(answer.json(), |explanation| {
        let source = match explanation.get("at") {
            Some(at) => when(at),
            None => provenance(&answer),
        };
        format!("{}\n\n{source}", text::explanation(explanation))
    })
}

#[cfg(test)]
mod tests;
