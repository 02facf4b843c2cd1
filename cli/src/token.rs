//! `flagraft token ...`: who may do what.

use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use flagraft_client::admin::tokens;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    failure::{Exit, Failure},
    input,
    output::{cell, table},
    session::{Global, Session, Why},
};

/// Commands on tokens.
#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Create a token; its secret is shown once
    Create(Box<CreateArgs>),
    /// List tokens, never their secrets
    List,
    /// Revoke a token: it is refused from then on
    Revoke(RevokeArgs),
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Reads and changes what its role allows
    Admin,
    /// A server-side program: evaluates every flag of one project and environment
    Service,
    /// A browser or phone: evaluates the flags of one project and environment that are exposed to clients
    Client,
}

/// What a grant allows; each may do all that the ones before it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Read
    #[default]
    Reader,
    /// Change flags and segments
    Writer,
    /// Change environments and their policies
    Operator,
    /// Everything, projects, tokens and the cluster included
    Owner,
}

/// A token to create.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// A name for people
    #[arg(long)]
    name: String,
    /// What it is for
    #[arg(long, value_enum)]
    kind: Kind,
    /// What an admin token may do
    #[arg(long, value_enum, default_value_t)]
    role: Role,
    /// The project it is for; without it an admin token is for all of them
    #[arg(short, long, env = "FLAGRAFT_PROJECT")]
    project: Option<String>,
    /// The environment it is for; repeat for more (admin tokens only)
    #[arg(
        short,
        long = "environment",
        env = "FLAGRAFT_ENVIRONMENT",
        requires = "project",
        value_delimiter = ','
    )]
    environments: Vec<String>,
    /// Let an admin token act on every project although FLAGRAFT_PROJECT is set
    #[arg(long)]
    all_projects: bool,
    /// Whom it stands for in the audit log; without it, its name
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// It stands for a person, not for a program
    #[arg(long)]
    user: bool,
    /// An attribute, NAME=VALUE, that overrides the one of every request made with it; repeat for more
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    attributes: Vec<String>,
    /// When it ends, such as 2027-03-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
    /// Write the secret to this new file, readable by its owner only, and not to standard output
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    #[command(flatten)]
    why: Why,
}

impl CreateArgs {
    fn token(&self) -> Result<Value, Failure> {
        let (kind, role) = (
            name_of(self.kind),
            if self.kind == Kind::Admin { name_of(self.role) } else { "reader".to_owned() },
        );
        let mut grant = Map::from_iter([("role".to_owned(), json!(role))]);
        if !self.all_projects {
            if let Some(project) = &self.project {
                grant.insert("project".to_owned(), json!(project));
            }
            if !self.environments.is_empty() {
                grant.insert("environments".to_owned(), json!(self.environments));
            }
        }
        if self.kind != Kind::Admin
            && (self.all_projects || self.project.is_none() || self.environments.len() != 1)
        {
            return Err(Failure::usage(format!("a {kind} token is for one project and one environment"))
                .next("name them with --project and --environment"));
        }
        let mut token = json!({
            "name": self.name,
            "kind": kind,
            "actor": {
                "type": if self.user { "user" } else { "service" },
                "id": self.actor.as_deref().unwrap_or(&self.name),
            },
            "grants": [grant],
        });
        let context = input::context(None, &self.attributes, None)?;
        if !context.is_empty() {
            token["context"] = Value::Object(context);
        }
        if let Some(time) = self.expires_at {
            token["expires_at"] = json!(time.to_string());
        }
        Ok(token)
    }
}

fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

/// A token to revoke.
#[derive(Args, Debug)]
pub struct RevokeArgs {
    /// The token's id, tok_...
    id: String,
    #[command(flatten)]
    why: Why,
}

/// Runs a command on tokens.
pub async fn run(command: TokenCommand, global: &Global) -> Result<(), Failure> {
    let session = global.management()?;
    match command {
        TokenCommand::Create(args) => create(&session, &args).await,
        TokenCommand::List => list(&session).await,
        TokenCommand::Revoke(args) => {
            session.write(&tokens::revoke(&args.id, &args.why), format!("{} is revoked", args.id)).await
        }
    }
}

async fn create(session: &Session, args: &CreateArgs) -> Result<(), Failure> {
    let call = tokens::create(&args.token()?, &args.why);
    // Before the token exists: one whose secret could not be kept would have to be revoked again.
    let file = args.secret_file.as_ref().map(|path| {
        let options = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        options.map_err(|e| Failure::usage(format!("could not create {}: {e}", path.display())))
    });
    let file = file.transpose()?;
    let sent = session.client.send(&call).await;
    let mut answer = match (sent, &args.secret_file) {
        (Ok(answer), _) => answer.into_json(),
        (Err(error), path) => {
            if let Some(path) = path {
                // Empty, and made by us a moment ago.
                let _ = std::fs::remove_file(path);
            }
            return Err(error.into());
        }
    };
    let id = cell(&answer["token"]["id"]);
    let Some(secret) = answer["secret"].as_str().map(str::to_owned) else {
        return Err(Failure::new(
            Exit::Other,
            format!("{id} exists, but its secret was shown before and is lost"),
        )
        .next(format!("revoke it with `flagraft token revoke {id}` and create another")));
    };
    match (file, &args.secret_file) {
        (Some(mut file), Some(path)) => {
            writeln!(file, "{secret}").map_err(|e| {
                Failure::new(Exit::Other, format!("could not write the secret to {}: {e}", path.display()))
                    .next(format!("revoke it with `flagraft token revoke {id}` and create another"))
            })?;
            if let Some(fields) = answer.as_object_mut() {
                fields.remove("secret");
            }
            session.output.say(&answer, format!("{id} is created; its secret is in {}", path.display()))
        }
        _ => session.output.say(&answer, format!("{id} is created; its secret, shown only now:\n{secret}")),
    }
}

async fn list(session: &Session) -> Result<(), Failure> {
    let row = |token: &Value| {
        let state = if token["revoked_at"].is_null() { "-" } else { "revoked" };
        let grants = token["grants"].as_array().into_iter().flatten().map(|grant| {
            let project = grant["project"].as_str().unwrap_or("every project");
            match grant["environments"].as_array() {
                Some(environments) if !environments.is_empty() => {
                    format!("{} of {project}/{}", cell(&grant["role"]), cell(&grant["environments"]))
                }
                _ => format!("{} of {project}", cell(&grant["role"])),
            }
        });
        let grants: Vec<String> = grants.collect();
        vec![
            cell(&token["id"]),
            cell(&token["name"]),
            cell(&token["kind"]),
            grants.join("; "),
            state.to_owned(),
            cell(&token["expires_at"]),
        ]
    };
    let table = |tokens: &[Value]| {
        let rows = tokens.iter().map(row).collect();
        table(&["TOKEN", "NAME", "KIND", "GRANTS", "STATE", "EXPIRES"], rows, "no tokens")
    };
    session.show_list(&tokens::list(), table).await
}
