//! The runbooks in `docs/runbooks`, run as they are written.
//!
//! Each heading of the second level is a step. The `sh` blocks under it are what an operator would paste; what else has
//! to be done, such as starting a node, is said in words, and is the test's to do.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::settings;

/// A runbook: its steps, in order.
#[derive(Debug)]
pub struct Runbook {
    path: PathBuf,
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    title: String,
    commands: Vec<String>,
}

impl Runbook {
    /// Reads a page of `docs/runbooks`, by its name without the ending.
    ///
    /// # Panics
    /// It is not there.
    pub fn read(name: &str) -> Self {
        let path = settings::file(&format!("../docs/runbooks/{name}.md"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, steps: steps(&text) }
    }

    /// The titles of its steps, in order.
    pub fn titles(&self) -> Vec<&str> {
        self.steps.iter().map(|step| step.title.as_str()).collect()
    }

    /// The commands of the step with this title.
    ///
    /// # Panics
    /// There is no such step: the runbook was changed, and the test has to follow.
    pub fn commands(&self, title: &str) -> &[String] {
        let step = self.steps.iter().find(|step| step.title == title);
        let step = step.unwrap_or_else(|| {
            panic!("{} has no step {title:?}, only {:?}", self.path.display(), self.titles())
        });
        &step.commands
    }
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines() {
        match (&mut block, line) {
            (Some(commands), "```") => {
                let commands = std::mem::take(commands);
                block = None;
                if let Some(step) = steps.last_mut() {
                    step.commands.push(commands);
                }
            }
            (Some(commands), line) => {
                commands.push_str(line);
                commands.push('\n');
            }
            (None, "```sh") => block = Some(String::new()),
            (None, line) => {
                if let Some(title) = line.strip_prefix("## ") {
                    steps.push(Step { title: title.to_owned(), commands: Vec::new() });
                }
            }
        }
    }
    steps
}

/// An operator's shell: `flagraft` is in its path, and these variables are set.
#[derive(Debug)]
pub struct Shell {
    bin: TempDir,
    variables: BTreeMap<String, String>,
}

impl Shell {
    /// A shell with these variables.
    ///
    /// # Panics
    /// The binary under test can't be put into its path.
    pub fn new<const N: usize>(variables: [(&str, String); N]) -> Self {
        let bin = TempDir::with_prefix("flagraft-shell-").expect("a temporary folder");
        symlink(settings::binary(), bin.path().join("flagraft")).expect("the folder is new");
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { bin, variables }
    }

    /// Sets one more variable.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.insert(name.to_owned(), value.into());
    }

    /// Runs commands as they are written, and gives what they said on standard output.
    ///
    /// # Panics
    /// One of them fails.
    pub fn run(&self, commands: &str) -> String {
        let output = self.try_run(commands);
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert!(output.status.success(), "{commands}\n{}\n{out}\n{err}", output.status);
        out.into_owned()
    }

    /// The same for commands that may fail.
    ///
    /// # Panics
    /// There is no shell.
    pub fn try_run(&self, commands: &str) -> Output {
        let path = format!("{}:{}", self.bin.path().display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        command.args(["-eu", "-c", commands]).current_dir(Path::new("/"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FLAGRAFT_") {
                command.env_remove(name);
            }
        }
        command.envs(&self.variables).env("PATH", path).output().expect("sh runs")
    }
}
