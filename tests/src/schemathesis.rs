//! schemathesis, which makes up requests from an API's specification and judges the answers by it.

use std::{fs, path::PathBuf, process::Stdio};

use serde_json::Value;
use tokio::process::Command;

use crate::settings::{clients_folder, file, measured};

/// schemathesis as `scripts/setup` installed it.
#[derive(Clone, Debug)]
pub struct Schemathesis {
    bin: PathBuf,
}

impl Schemathesis {
    /// `None` where `scripts/setup` found that this machine can't run it.
    ///
    /// # Panics
    /// It is not installed.
    pub fn installed() -> Option<Self> {
        let folder = clients_folder().join("schemathesis");
        if let Ok(reason) = fs::read_to_string(folder.join("skipped")) {
            measured("NOT RUN HERE: OFREP against its specification", reason.trim());
            return None;
        }
        let bin = folder.join("bin");
        assert!(bin.join("python").exists(), "schemathesis is not installed: run ./scripts/setup test");
        Some(Self { bin })
    }

    /// A program of it (`python`, `st`) that finds the scripts of [`scripts`], and writes nothing beside them.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.env("PYTHONPATH", scripts()).env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
        command
    }

    /// The edited specification of OFREP, as `specification.py` sums it up.
    pub async fn specification(&self) -> Value {
        let said = output(self.command("python").arg(scripts().join("specification.py"))).await;
        serde_json::from_str(&said).expect("it prints JSON")
    }
}

/// The folder of the scripts that it runs.
pub fn scripts() -> PathBuf {
    file("clients/schemathesis")
}

/// What a command printed.
///
/// # Panics
/// It failed.
pub async fn output(command: &mut Command) -> String {
    let output = command.output().await.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    stdout.into_owned()
}
