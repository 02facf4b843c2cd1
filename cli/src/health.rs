//! `flagraft health`: whether one node is ready, for container health checks and scripts.

use clap::Args;
use flagraft_client::admin::Call;

use crate::{failure::Failure, session::Global};

/// Which node to ask.
#[derive(Args, Debug)]
pub struct HealthArgs {
    /// The node's address; without it, the first endpoint that answers
    #[arg(long)]
    url: Option<String>,
}

/// Exits with 0 when the node is ready and with 6 when it is not, or can't be reached.
pub async fn run(args: HealthArgs, global: &Global) -> Result<(), Failure> {
    let session = global.probe(args.url)?;
    session.client.send(&Call::get(["readyz"])).await?;
    session.output.say(&serde_json::json!({"ready": true}), "ready")
}
