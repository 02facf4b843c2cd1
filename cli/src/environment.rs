//! `flagraft environment ...`: the environments of a project and their policies.

use clap::{Args, Subcommand};
use flagraft_client::admin::environments;
use serde_json::{Map, Value, json};

use crate::{
    failure::Failure,
    input,
    output::{cell, pretty, table},
    session::{Global, ProjectArg, Session, Why},
};

/// Commands on environments.
#[derive(Subcommand, Debug)]
pub enum EnvironmentCommand {
    /// List a project's environments
    List(ProjectArg),
    /// Show one environment
    Get(EnvironmentKeyArg),
    /// Create or replace an environment
    Put(PutArgs),
    /// Delete an environment and every flag's configuration in it
    Delete(DeleteArgs),
}

/// One environment.
#[derive(Args, Debug)]
pub struct EnvironmentKeyArg {
    /// The environment's key
    key: String,
    #[command(flatten)]
    project: ProjectArg,
}

/// An environment's definition.
#[derive(Args, Debug)]
pub struct PutArgs {
    #[command(flatten)]
    environment: EnvironmentKeyArg,
    /// Read the whole environment from a JSON file (`-`: standard input); options go over it
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    /// Where it stands among the others, the smallest first
    #[arg(long)]
    order: Option<i32>,
    /// Refuse changes that name no ticket
    #[arg(long)]
    require_ticket: bool,
    /// Refuse changes that are not signed with a key of their author
    #[arg(long)]
    require_signature: bool,
    /// The regular expression that a ticket must match, such as '^[A-Z]+-[0-9]+$'
    #[arg(long, value_name = "REGEX")]
    ticket_pattern: Option<String>,
    #[command(flatten)]
    why: Why,
}

/// One environment, and why it goes.
#[derive(Args, Debug)]
pub struct DeleteArgs {
    #[command(flatten)]
    environment: EnvironmentKeyArg,
    #[command(flatten)]
    why: Why,
}

impl PutArgs {
    fn document(&self) -> Result<Value, Failure> {
        let mut environment = match &self.file {
            None => Map::new(),
            Some(file) => match input::json_file(file)? {
                Value::Object(object) => object,
                _ => return Err(Failure::usage(format!("{file} holds no JSON object"))),
            },
        };
        environment.insert("key".to_owned(), json!(self.environment.key));
        if let Some(name) = &self.name {
            environment.insert("name".to_owned(), json!(name));
        }
        if let Some(order) = self.order {
            environment.insert("order".to_owned(), json!(order));
        }
        let mut environment = Value::Object(environment);
        if self.require_ticket {
            environment["policy"]["ticket"]["required"] = json!(true);
        }
        if self.require_signature {
            environment["policy"]["signed"] = json!(true);
        }
        if let Some(pattern) = &self.ticket_pattern {
            environment["policy"]["ticket"]["pattern"] = json!(pattern);
        }
        Ok(environment)
    }
}

/// Runs a command on environments.
pub async fn run(command: EnvironmentCommand, global: &Global) -> Result<(), Failure> {
    let session = global.management()?;
    match command {
        EnvironmentCommand::List(project) => list(&session, &project.project).await,
        EnvironmentCommand::Get(EnvironmentKeyArg { key, project }) => {
            session.show(&environments::get(&project.project, &key), pretty).await
        }
        EnvironmentCommand::Put(args) => {
            let EnvironmentKeyArg { key, project } = &args.environment;
            let call = environments::put(&project.project, key, &args.document()?, &args.why);
            session.write(&call, format!("environment {key} is set")).await
        }
        EnvironmentCommand::Delete(DeleteArgs { environment: EnvironmentKeyArg { key, project }, why }) => {
            let call = environments::delete(&project.project, &key, &why);
            session.write(&call, format!("environment {key} is deleted")).await
        }
    }
}

async fn list(session: &Session, project: &str) -> Result<(), Failure> {
    let row = |environment: &Value| {
        let ticket = &environment["policy"]["ticket"];
        let policy = match ticket["required"].as_bool() {
            Some(true) => format!("required {}", ticket["pattern"].as_str().unwrap_or_default()),
            _ => "-".to_owned(),
        };
        vec![cell(&environment["key"]), cell(&environment["name"]), environment["order"].to_string(), policy]
    };
    let table = |environments: &[Value]| {
        let rows = environments.iter().map(row).collect();
        table(&["ENVIRONMENT", "NAME", "ORDER", "TICKET"], rows, "no environments")
    };
    session.show_list(&environments::list(project), table).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_make_a_policy() {
        let args = PutArgs {
            require_signature: false,
            environment: EnvironmentKeyArg {
                key: "production".to_owned(),
                project: ProjectArg { project: "demo".to_owned() },
            },
            file: None,
            name: Some("Production".to_owned()),
            order: Some(30),
            require_ticket: true,
            ticket_pattern: Some("^OPS-".to_owned()),
            why: Why { reason: "set up".to_owned(), ticket: None },
        };
        let expected = json!({
            "key": "production", "name": "Production", "order": 30,
            "policy": {"ticket": {"required": true, "pattern": "^OPS-"}},
        });
        assert_eq!(args.document().expect("a document"), expected);
    }
}
