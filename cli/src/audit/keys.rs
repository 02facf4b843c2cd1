//! `flagraft audit keys`: the keys that the nodes sign checkpoints with.

use clap::{Args, Subcommand};
use flagraft_client::admin::{self, Call};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    output::{self, cell},
    session::{Session, Why},
};

/// Changes of the keys.
#[derive(Subcommand, Debug)]
pub enum KeysCommand {
    /// Let the node that is asked sign with one more key, a new one; it signs with all of its keys until they are retired
    Rotate(RotateArgs),
    /// Let a node sign no more with one of its keys
    Retire(RetireArgs),
}

/// Why a key is made.
#[derive(Args, Debug)]
pub struct RotateArgs {
    #[command(flatten)]
    why: Why,
}

/// Which key is retired.
#[derive(Args, Debug)]
pub struct RetireArgs {
    /// The node whose key it is
    #[arg(long, value_name = "ID")]
    node: u64,
    /// The key, as `flagraft audit keys --output json` names it: `public_key`
    public_key: String,
    #[command(flatten)]
    why: Why,
}

/// Prints the active keys, a line each, as `--trust` takes them; or changes them.
pub async fn run(session: &Session, command: Option<KeysCommand>) -> Result<(), Failure> {
    match command {
        None if session.output.is_json() => session.output.show(&list(session).await?, |_| String::new()),
        None => output::line(&active(session).await?.join("\n")),
        Some(KeysCommand::Rotate(args)) => {
            let path = ["api", "v1", "audit", "keys", "rotate"];
            let call = Call::post(path, admin::Why::from(&args.why));
            session.show(&call, |body| {
                format!(
                    "node {} signs with one more key; add it to what your witnesses trust, then retire the old one\n{}",
                    cell(&body["node"]),
                    cell(&body["vkey"])
                )
            }).await
        }
        Some(KeysCommand::Retire(args)) => {
            let mut body = args.why.body("node", json!(args.node));
            body["public_key"] = json!(args.public_key);
            let did = format!("node {} signs no more with {}", args.node, args.public_key);
            session.write(&Call::post(["api", "v1", "audit", "keys", "retire"], body), did).await
        }
    }
}

/// The active keys as verifiers take them.
pub async fn active(session: &Session) -> Result<Vec<String>, Failure> {
    let list = list(session).await?;
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let active = items.iter().filter(|key| key["retired"].is_null());
    Ok(active.filter_map(|key| key["vkey"].as_str().map(str::to_owned)).collect())
}

async fn list(session: &Session) -> Result<Value, Failure> {
    Ok(session.client.send(&Call::get(["api", "v1", "audit", "keys"])).await?.into_json())
}
