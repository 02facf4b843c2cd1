//! The published OpenFeature clients, run as the programs that their users would write.

use std::{path::PathBuf, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::{api::Api, settings};

/// A published OFREP provider and its SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// `openfeature-provider-ofrep` with `openfeature-sdk`, of PyPI.
    Python,
    /// `@openfeature/ofrep-provider` with `@openfeature/server-sdk`, of npm.
    Node,
}

impl Sdk {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Python, Self::Node];

    /// Why the client can't run on this machine, where `scripts/setup` found that it can't.
    fn skipped(self) -> Option<String> {
        match self {
            Self::Python => None,
            Self::Node => std::fs::read_to_string(settings::clients_folder().join("node/skipped")).ok(),
        }
    }

    fn program(self) -> PathBuf {
        match self {
            Self::Python => settings::clients_folder().join("python/bin/python"),
            Self::Node => PathBuf::from("node"),
        }
    }

    fn script(self) -> PathBuf {
        match self {
            Self::Python => settings::file("clients/python/read_flags.py"),
            Self::Node => settings::file("clients/node/read-flags.mjs"),
        }
    }

    /// Reads flags from a node and compares what the SDK gives with what is expected:
    /// `{"flags": [{"key", "type", "value", "variant", "reason", "context"}], "missing": [key]}`.
    ///
    /// # Panics
    /// A flag differs, or the client is not installed. The message has the client's own words.
    pub async fn expect_flags(self, node: &Api, expected: &Value) {
        if let Some(reason) = self.skipped() {
            eprintln!("LEFT OUT: {reason}");
            return;
        }
        let program = self.program();
        let missing = "the published OpenFeature clients are not installed: run ./scripts/setup test";
        assert!(self == Self::Node || program.exists(), "{missing}");
        let output = Command::new(&program)
            .arg(self.script())
            .env("FLAGRAFT_CLIENTS", settings::clients_folder())
            .env("OFREP_BASE_URL", node.base())
            .env("OFREP_TOKEN", node.token().expect("evaluation needs a token"))
            .env("OFREP_EXPECTED", expected.to_string())
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap_or_else(|error| panic!("{}: {error}; {missing}", program.display()));
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{self:?} against {}:\n{said}", node.base());
        let count = expected["flags"].as_array().map_or(0, Vec::len);
        assert!(
            said.contains(&format!("{count} flags as expected")),
            "{self:?} read something else:\n{said}"
        );
    }
}

/// `@openfeature/ofrep-web-provider` with `@openfeature/web-sdk`, of npm: what a web page uses, in Node.js with an
/// `EventSource`. It does not poll.
#[derive(Debug)]
pub struct WebPage {
    lines: Lines<BufReader<ChildStdout>>,
    // Killed when it is dropped.
    _process: Child,
}

/// How long the web provider may take to say what it sees. It waits a little before it asks again.
const SEEN_WITHIN: Duration = Duration::from_secs(20);

impl WebPage {
    /// A page that reads a boolean flag from a node; `None` where `scripts/setup` found that this machine can't run it.
    ///
    /// # Panics
    /// It can't be started.
    pub fn open(node: &Api, flag: &str) -> Option<Self> {
        if let Some(reason) = Sdk::Node.skipped() {
            eprintln!("LEFT OUT: {reason}");
            return None;
        }
        let mut process = Command::new("node")
            .arg(settings::file("clients/node/follow-flag.mjs"))
            .env("FLAGRAFT_CLIENTS", settings::clients_folder())
            .env("OFREP_BASE_URL", node.base())
            .env("OFREP_TOKEN", node.token().expect("evaluation needs a token"))
            .env("OFREP_FLAG", flag)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("node: {error}; run ./scripts/setup test"));
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        Some(Self { lines, _process: process })
    }

    /// Reads what the page sees until it sees this.
    ///
    /// # Panics
    /// It does not.
    pub async fn sees(&mut self, wanted: &str) {
        let looking = async {
            let mut seen = Vec::new();
            while let Some(line) = self.lines.next_line().await.expect("text") {
                if line == wanted {
                    return;
                }
                seen.push(line);
            }
            panic!("the page ended before it saw {wanted:?}: {seen:?}");
        };
        let looked = tokio::time::timeout(SEEN_WITHIN, looking).await;
        assert!(looked.is_ok(), "the page does not see {wanted:?}");
    }
}
