//! `flag eval`: what a service would get, over OFREP like any OpenFeature client.

use clap::Args;
use flagraft_client::admin::{Answer, Call};
use serde_json::{Value, json};

use super::{
    context::ContextArgs,
    past::{PastArgs, when},
};
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
    #[command(flatten)]
    past: PastArgs,
}

impl EvalArgs {
    /// Whether an earlier moment is asked about.
    pub fn is_about_the_past(&self) -> bool {
        self.past.is_given()
    }
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
        None => resolved(body, &provenance(&answer)),
    })
}

/// Evaluates as it would have been then: an explanation has the answer in it. A token is good for the present only, so this
/// takes one that may read the project's audit log, and options that say where.
pub async fn run_then(session: &Session, args: &EvalArgs) -> Result<(), Failure> {
    let (Some(key), Some(project), Some(environment)) = (&args.key, &args.project, &args.environment) else {
        return Err(Failure::usage("what was then is told of one flag, in one environment of a project")
            .next("give the flag's key, -p PROJECT and -e ENVIRONMENT"));
    };
    let path = ["api", "v1", "projects", project, "environments", environment, "explain"];
    let body = json!({"flag": key, "context": args.context.context()?});
    let answer = session.client.send(&args.past.on(Call::ask(path, body))).await?;
    let mut then = json!({"key": key});
    for field in ["value", "variant", "reason", "at"] {
        if let Some(value) = answer.json().get(field) {
            then[field] = value.clone();
        }
    }
    session.output.show(&then, |then| resolved(then, &when(&then["at"])))
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

fn resolved(body: &Value, source: &str) -> String {
    let variant = match body["variant"].as_str() {
        Some("") | None => CODE_DEFAULT.to_owned(),
        Some(variant) => variant.to_owned(),
    };
    let value = body.get("value").map_or_else(|| "none".to_owned(), Value::to_string);
    format!(
        "{} = {value}\nvariant  {variant}\nreason   {}\n{source}",
        cell(&body["key"]),
        cell(&body["reason"]),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_then_says_when_that_was() {
        let at = json!({"history": "0123456789abcdef", "revision": 7, "time": "2027-03-01T12:00:00Z"});
        let then = json!({"key": "f", "value": true, "variant": "on", "reason": "STATIC", "at": at});
        assert_eq!(
            resolved(&then, &when(&then["at"])),
            "f = true\nvariant  on\nreason   STATIC\nrevision 7, made at 2027-03-01T12:00:00Z"
        );
    }
}
