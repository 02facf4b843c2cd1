//! The command line, run as a person or a script runs it.

use std::{
    collections::BTreeMap,
    process::{Output, Stdio},
};

use flagraft_tests::{cluster::Cluster, settings};
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, process::Command};

/// The command line with the environment that `scripts/flagraft` would give it.
pub struct Cli {
    envs: BTreeMap<String, String>,
}

impl Cli {
    /// With the first owner's token and the addresses of all nodes.
    pub fn of(cluster: &Cluster) -> Self {
        Self::at(cluster, cluster.endpoints())
    }

    /// With the first owner's token and the addresses of the nodes that live.
    pub fn of_living(cluster: &Cluster) -> Self {
        let bases = cluster.living().into_iter().map(|id| cluster.anonymous(id).base().to_owned());
        Self::at(cluster, bases.collect::<Vec<_>>().join(","))
    }

    fn at(cluster: &Cluster, endpoints: String) -> Self {
        let envs =
            [("FLAGRAFT_ENDPOINTS", endpoints), ("FLAGRAFT_ADMIN_TOKEN", cluster.admin_token().to_owned())];
        Self { envs: envs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
    }

    /// Runs a command.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with_input(arguments, "").await
    }

    /// Runs a command that reads standard input.
    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = Command::new(settings::binary());
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FLAGRAFT_") {
                command.env_remove(name);
            }
        }
        let mut child = command.envs(&self.envs).spawn().expect("the binary starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        // A command that reads nothing may be gone already.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.expect("its output can be read");
        Ran::of(arguments, &output)
    }
}

/// Runs a command that needs no cluster.
pub fn offline(arguments: &[&str]) -> Ran {
    let output = std::process::Command::new(settings::binary()).args(arguments).output();
    Ran::of(arguments, &output.expect("the binary starts"))
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub command: String,
    pub exit: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn of(arguments: &[&str], output: &Output) -> Self {
        Self {
            command: arguments.join(" "),
            exit: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn expect_exit(self, code: i32) -> Self {
        assert_eq!(self.exit, Some(code), "{self:#?}");
        self
    }

    /// What it wrote with `--output json`.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}
