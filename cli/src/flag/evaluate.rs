//! `flag eval`: what a service would get, over OFREP like any OpenFeature client.

use clap::Args;
use flagraft_client::admin::{Answer, Call};
use serde_json::{Value, json};

use super::context::ContextArgs;
use crate::{
    failure::{Exit, Failure},
    output::{cell, table},
    session::Session,
};

/// In place of a variant, where none is served.
pub const CODE_DEFAULT: &str = "none: the caller's code default";

/// What to evaluate, for whom.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// The flag's key; without it, every flag that the token may see
    key: Option<String>,
    /// The project that the token is expected to be for
    #[arg(short, long, env = "FLAGRAFT_PROJECT")]
    project: Option<String>,
    /// The environment that the token is expected to be for
    #[arg(short, long, env = "FLAGRAFT_ENVIRONMENT")]
    environment: Option<String>,
    #[command(flatten)]
    context: ContextArgs,
}

/// Evaluates. The token says in which project and environment.
pub async fn run(session: &Session, args: &EvalArgs) -> Result<(), Failure> {
    let context = args.context.context()?;
    let mut path = vec!["ofrep", "v1", "evaluate", "flags"];
    path.extend(args.key.as_deref());
    let answer = session.client.send(&Call::ask(path, json!({"context": context}))).await?;
    expected(args, answer.json())?;
    session.output.show(answer.json(), |body| match body.get("flags").and_then(Value::as_array) {
        Some(flags) => bulk(flags, &answer),
        None => single(body, &answer),
    })
}

/// Refuses an answer from another place than the one asked about: the token, not the options, decides where.
fn expected(args: &EvalArgs, body: &Value) -> Result<(), Failure> {
    let Some((project, environment)) =
        body["metadata"]["flagSetId"].as_str().and_then(|id| id.split_once('/'))
    else {
        return Ok(());
    };
    let differs =
        |wanted: &Option<String>, found: &str| wanted.as_deref().is_some_and(|wanted| wanted != found);
    if differs(&args.project, project) || differs(&args.environment, environment) {
        let message = format!("the token evaluates in environment {environment} of project {project}");
        return Err(Failure::new(Exit::Auth, message)
            .next("give a token for the one you mean, or leave -p and -e out"));
    }
    Ok(())
}

fn single(body: &Value, answer: &Answer) -> String {
    let variant = match body["variant"].as_str() {
        Some("") | None => CODE_DEFAULT.to_owned(),
        Some(variant) => variant.to_owned(),
    };
    let value = body.get("value").map_or_else(|| "none".to_owned(), Value::to_string);
    format!(
        "{} = {value}\nvariant  {variant}\nreason   {}\n{}",
        cell(&body["key"]),
        cell(&body["reason"]),
        provenance(answer)
    )
}

fn bulk(flags: &[Value], answer: &Answer) -> String {
    let row = |flag: &Value| {
        let value = flag.get("value").map_or_else(|| "-".to_owned(), Value::to_string);
        let reason = if flag.get("errorCode").is_some() { &flag["errorCode"] } else { &flag["reason"] };
        vec![cell(&flag["key"]), value, cell(&flag["variant"]), cell(reason)]
    };
    let rows = flags.iter().map(row).collect();
    format!("{}\n\n{}", table(&["FLAG", "VALUE", "VARIANT", "REASON"], rows, "no flags"), provenance(answer))
}

/// Which state answered, how old it was, and which node it was.
pub fn provenance<T>(answer: &Answer<T>) -> String {
    let header = |name: &str| match answer.header(name) {
        "" => "-".to_owned(),
        text => text.to_owned(),
    };
    let age = match answer.header("flagraft-age-ms") {
        "" | "null" => "unknown".to_owned(),
        age => format!("at most {age} ms"),
    };
    format!(
        "revision {}, {}, age {age}, node {}",
        header("flagraft-revision"),
        header("flagraft-consistency"),
        header("flagraft-node")
    )
}
