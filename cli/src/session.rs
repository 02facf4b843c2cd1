//! What all client commands share: where the nodes are, which token to use, and the options that say what a
//! command is about.

use std::{env, fs, path::PathBuf, time::Duration};

use clap::Args;
use flagraft_client::admin::{self, AdminClient, Call, Page};
use serde_json::{Value, json};

use crate::{
    failure::{Exit, Failure},
    output::{Format, Output},
    sign::SignArg,
};

/// The variable with the token for management.
const ADMIN_TOKEN: &str = "FLAGRAFT_ADMIN_TOKEN";
/// The variable with the token for evaluation.
const TOKEN: &str = "FLAGRAFT_TOKEN";

/// Options of every client command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection and output")]
pub struct Global {
    /// The nodes' HTTP addresses, separated by commas; tried in order
    #[arg(
        long = "endpoint",
        visible_alias = "endpoints",
        env = "FLAGRAFT_ENDPOINTS",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7401",
        global = true
    )]
    endpoints: Vec<String>,
    /// A file with the token. Otherwise FLAGRAFT_ADMIN_TOKEN, then FLAGRAFT_TOKEN; to evaluate, the reverse
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// How answers are written
    #[arg(long, value_enum, env = "FLAGRAFT_OUTPUT", default_value_t, global = true)]
    pub output: Format,
    /// How many seconds one node may take to answer
    #[arg(long, env = "FLAGRAFT_TIMEOUT", value_name = "SECONDS", default_value_t = 10, global = true)]
    timeout: u64,
    /// For how many seconds to go on asking while every node says that it is unavailable
    #[arg(long, env = "FLAGRAFT_RETRY", value_name = "SECONDS", default_value_t = 5, global = true)]
    retry: u64,
}

/// What a token is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Management,
    Evaluation,
}

/// A client and a way to answer.
#[derive(Debug)]
pub struct Session {
    /// The nodes.
    pub client: AdminClient,
    /// Standard output.
    pub output: Output,
}

impl Global {
    /// A session that reads and changes the catalog.
    pub fn management(&self) -> Result<Session, Failure> {
        self.session(Some(Purpose::Management))
    }

    /// A session that evaluates flags.
    pub fn evaluation(&self) -> Result<Session, Failure> {
        self.session(Some(Purpose::Evaluation))
    }

    /// A session that asks each node once and without a token: the one given, or all of them.
    pub fn probe(&self, endpoint: Option<String>) -> Result<Session, Failure> {
        let endpoints = endpoint.map_or_else(|| self.endpoints.clone(), |endpoint| vec![endpoint]);
        Self { endpoints, retry: 0, ..self.clone() }.session(None)
    }

    fn session(&self, purpose: Option<Purpose>) -> Result<Session, Failure> {
        let endpoints = self.endpoints.iter().map(|text| endpoint(text)).collect::<Result<Vec<_>, _>>()?;
        let token = purpose.map(|purpose| self.token(purpose)).transpose()?;
        let client = client(
            endpoints,
            token.as_deref(),
            Duration::from_secs(self.timeout.max(1)),
            Duration::from_secs(self.retry),
        )?;
        Ok(Session { client, output: Output { format: self.output } })
    }

    fn token(&self, purpose: Purpose) -> Result<String, Failure> {
        if let Some(path) = &self.token_file {
            let text = fs::read_to_string(path).map_err(|e| {
                Failure::new(Exit::Auth, format!("could not read the token file {}: {e}", path.display()))
            })?;
            let token = text.trim();
            return match token {
                "" => Err(Failure::new(Exit::Auth, format!("the token file {} is empty", path.display()))),
                token => Ok(token.to_owned()),
            };
        }
        let order = match purpose {
            Purpose::Management => [ADMIN_TOKEN, TOKEN],
            Purpose::Evaluation => [TOKEN, ADMIN_TOKEN],
        };
        first_token(order, |name| env::var(name).ok()).ok_or_else(|| {
            Failure::new(Exit::Auth, "there is no token")
                .next(format!("set {} or {}, or give --token-file FILE", order[0], order[1]))
        })
    }
}

/// A client of these nodes. `timeout` bounds one request to one of them, `retry_for` the repetition of rounds in which every
/// node was unavailable.
pub fn client<E: Into<String>>(
    endpoints: impl IntoIterator<Item = E>,
    token: Option<&str>,
    timeout: Duration,
    retry_for: Duration,
) -> Result<AdminClient, Failure> {
    let mut builder = AdminClient::builder()
        .endpoints(endpoints)
        .request_timeout(timeout)
        .retry_for(retry_for)
        .user_agent(concat!("flagraft-cli/", env!("CARGO_PKG_VERSION")));
    if let Some(token) = token {
        builder = builder.token(token);
    }
    Ok(builder.build()?)
}

/// The first of the variables that is set and not empty.
fn first_token(order: [&str; 2], get: impl Fn(&str) -> Option<String>) -> Option<String> {
    order.into_iter().filter_map(get).map(|t| t.trim().to_owned()).find(|t| !t.is_empty())
}

/// The address of a node, as far as this client speaks to it: what is wrong with it else is found when the client is set up.
fn endpoint(text: &str) -> Result<&str, Failure> {
    let text = text.trim();
    let bad = |why: &str| {
        // Not the text itself: a password may be in it.
        Err(Failure::usage(format!("an endpoint {why}"))
            .next("give URLs like http://127.0.0.1:7401 with --endpoint or FLAGRAFT_ENDPOINTS"))
    };
    match text.split_once("://") {
        Some(("https", _)) => bad("begins with https, which this client does not speak"),
        Some(("http", rest)) if rest.contains('@') => bad("holds a user name or password"),
        Some(("http", _)) => Ok(text),
        _ => bad("does not begin with http://"),
    }
}

/// The project that a command is about.
#[derive(Args, Clone, Debug)]
pub struct ProjectArg {
    /// The project
    #[arg(short, long, env = "FLAGRAFT_PROJECT")]
    pub project: String,
}

/// The environment that a command is about.
#[derive(Args, Clone, Debug)]
pub struct EnvironmentArg {
    /// The environment
    #[arg(short, long, env = "FLAGRAFT_ENVIRONMENT")]
    pub environment: String,
}

/// Why a change is made.
#[derive(Args, Clone, Debug)]
pub struct Why {
    /// Why: kept in the audit log
    #[arg(short, long)]
    pub reason: String,
    /// The ticket, where the environment's policy asks for one
    #[arg(short, long)]
    pub ticket: Option<String>,
}

/// Why a change is made, and with which key its author signs it.
#[derive(Args, Clone, Debug)]
pub struct SignedWhy {
    #[command(flatten)]
    pub why: Why,
    #[command(flatten)]
    pub sign: SignArg,
}

impl Why {
    /// A body with the reason, the ticket and one more field.
    pub fn body(&self, field: &str, value: Value) -> Value {
        let mut body = json!(admin::Why::from(self));
        body[field] = value;
        body
    }
}

impl From<&Why> for admin::Why {
    fn from(why: &Why) -> Self {
        Self { reason: why.reason.clone(), ticket: why.ticket.clone() }
    }
}

impl Session {
    /// Makes one change of one operation in a project and says what it did.
    pub async fn change(
        &self,
        project: &str,
        why: &SignedWhy,
        operation: &Value,
        did: impl AsRef<str>,
    ) -> Result<(), Failure> {
        let body = why.why.body("operations", json!([operation]));
        self.propose(Some(project), body, &why.sign, did).await
    }

    /// Makes the change of a body with operations, in a project or of what belongs to none, and says what it did. The body
    /// goes as it stands: what this version does not know may be in it.
    pub async fn propose(
        &self,
        project: Option<&str>,
        body: Value,
        sign: &SignArg,
        did: impl AsRef<str>,
    ) -> Result<(), Failure> {
        let in_project = project.map(|project| ["api", "v1", "projects", project, "changes"]);
        let path = in_project.as_ref().map_or(&["api", "v1", "changes"][..], |path| path);
        let call = match sign.key()? {
            None => Call::post(path, body),
            Some(key) => key.call(self, path, project, body).await?,
        };
        self.write(&call, did).await
    }

    /// Makes one write and says what it did.
    pub async fn write<T>(&self, call: &Call<T>, did: impl AsRef<str>) -> Result<(), Failure> {
        let answer = self.client.send(call).await?;
        self.output.say(answer.json(), receipt(answer.json(), did.as_ref()))
    }

    /// Makes one read and shows it: to people as `text` has it.
    pub async fn show<T>(&self, call: &Call<T>, text: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        self.output.show(self.client.send(call).await?.json(), text)
    }

    /// Reads a list to its end and shows it: to people as `text` has it.
    pub async fn show_list<T>(
        &self,
        call: &Call<Page<T>>,
        text: impl FnOnce(&[Value]) -> String,
    ) -> Result<(), Failure> {
        let items = self.client.list(call).await?.into_json();
        self.output.show(&json!({ "items": items }), |_| text(items.as_array().map_or(&[], Vec::as_slice)))
    }
}

/// What a person is told of a change: what was done, and where it stands in the log.
pub fn receipt(body: &Value, did: &str) -> String {
    let number = |name: &str| body.get(name).and_then(Value::as_u64);
    let mut text = match body.get("outcome").and_then(Value::as_str) {
        Some("unchanged") => format!("{did}: nothing to change, it was so already"),
        _ if body.get("dry_run") == Some(&Value::Bool(true)) => {
            format!("{did}: would be accepted; nothing was written")
        }
        _ => did.to_owned(),
    };
    if let Some(revision) = number("revision") {
        text.push_str(&format!(" (revision {revision}"));
        if let Some(sequence) = number("sequence") {
            text.push_str(&format!(", audit record {sequence}"));
        }
        text.push(')');
    }
    if let Some(missing) = body.get("not_yet_on").and_then(Value::as_array).filter(|nodes| !nodes.is_empty())
    {
        let nodes: Vec<String> = missing.iter().map(Value::to_string).collect();
        text.push_str(&format!(
            "\nnot yet known to node {}: until it is, that node may answer the flag from its memory, unconfirmed",
            nodes.join(", ")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_looked_up_in_the_order_of_their_purpose() {
        let get = |name: &str| match name {
            ADMIN_TOKEN => Some("admin\n".to_owned()),
            TOKEN => Some("  ".to_owned()),
            _ => None,
        };
        assert_eq!(
            first_token([TOKEN, ADMIN_TOKEN], get).as_deref(),
            Some("admin"),
            "an empty variable is none"
        );
        assert_eq!(first_token([ADMIN_TOKEN, TOKEN], |n| Some(n.to_owned())).as_deref(), Some(ADMIN_TOKEN));
        assert_eq!(first_token([ADMIN_TOKEN, TOKEN], |_| None), None);
    }

    #[test]
    fn endpoints_are_plain_http_without_secrets() {
        let set_up = |text: &str| client([endpoint(text)?], None, Duration::ZERO, Duration::ZERO);
        for good in ["http://127.0.0.1:7401", " http://node1:80/ ", "http://[::1]:7401"] {
            assert!(set_up(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:7401",
            "https://node1",
            "ftp://node1",
            "http://u:pw@node1",
            "http://:pw@node1",
            "http://",
        ] {
            let failure = set_up(bad).expect_err(bad);
            assert_eq!(failure.exit, Exit::Usage);
            assert!(!failure.to_string().contains("pw"), "{failure}");
        }
    }

    #[test]
    fn receipts() {
        let body = json!({"revision": 42, "sequence": 57, "request_id": "r", "not_yet_on": [3]});
        let text = receipt(&body, "disabled checkout-v2 in production");
        assert!(
            text.starts_with("disabled checkout-v2 in production (revision 42, audit record 57)\n"),
            "{text}"
        );
        assert!(text.contains("node 3"));
        let text = receipt(&json!({"revision": 42, "outcome": "unchanged"}), "enabled x");
        assert_eq!(text, "enabled x: nothing to change, it was so already (revision 42)");
    }
}
