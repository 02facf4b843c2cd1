//! `flagraft project ...`: the tenants of a cluster.

use clap::{Args, Subcommand};
use flagraft_client::admin::projects;
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    output::{cell, pretty, table},
    session::{Global, Session, Why},
};

/// Commands on projects.
#[derive(Subcommand, Debug)]
pub enum ProjectCommand {
    /// List the projects that the token may see
    List,
    /// Show one project
    Get {
        /// The project's key
        key: String,
    },
    /// Create or replace a project's name and description
    Put(PutArgs),
    /// Delete a project and all that is in it
    Delete(DeleteArgs),
}

/// A project's definition.
#[derive(Args, Debug)]
pub struct PutArgs {
    /// The project's key
    key: String,
    /// A name for people
    #[arg(long, default_value = "")]
    name: String,
    /// What the project is
    #[arg(long, default_value = "")]
    description: String,
    #[command(flatten)]
    why: Why,
}

/// One project, and why it goes.
#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// The project's key
    key: String,
    #[command(flatten)]
    why: Why,
}

/// Runs a command on projects.
pub async fn run(command: ProjectCommand, global: &Global) -> Result<(), Failure> {
    let session = global.management()?;
    match command {
        ProjectCommand::List => list(&session).await,
        ProjectCommand::Get { key } => session.show(&projects::get(&key), pretty).await,
        ProjectCommand::Put(args) => {
            let PutArgs { key, name, description, why } = &args;
            let project = json!({"key": key, "name": name, "description": description});
            session.write(&projects::put(key, &project, why), format!("project {key} is set")).await
        }
        ProjectCommand::Delete(args) => {
            let call = projects::delete(&args.key, &args.why);
            session.write(&call, format!("project {} is deleted", args.key)).await
        }
    }
}

async fn list(session: &Session) -> Result<(), Failure> {
    let row = |project: &Value| ["key", "name", "description"].map(|field| cell(&project[field])).to_vec();
    let table = |projects: &[Value]| {
        table(&["PROJECT", "NAME", "DESCRIPTION"], projects.iter().map(row).collect(), "no projects")
    };
    session.show_list(&projects::list(), table).await
}
