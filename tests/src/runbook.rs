//! Runbooks, and running what stands in them: word for word, by a shell, with the variables that the runbook names.
//!
//! A step is a fenced block of `sh` under a heading. It holds variables (`"$NEW"`) where a person would put something
//! of their own, so that the text that a person copies is the text that is tested. A block that is marked
//! `sh background` is one command that goes on running, such as a node.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::{settings, wait};

/// A runbook and its steps.
#[derive(Debug)]
pub struct Runbook {
    path: String,
    steps: Vec<Step>,
}

/// A block of commands.
#[derive(Debug)]
pub struct Step {
    /// The heading it stands under.
    pub heading: String,
    /// The commands, as they stand there.
    pub text: String,
    /// Whether it is one command that goes on running.
    pub is_background: bool,
    ran: AtomicBool,
}

impl Runbook {
    /// Reads a runbook, by its path in the repository: `docs/runbooks/x.md`.
    ///
    /// # Panics
    /// It can't be read, holds no steps, or has a block that does not end.
    pub fn read(path: &str) -> Self {
        let text = settings::read_file(&format!("../{path}"));
        let steps = steps(&text).unwrap_or_else(|fault| panic!("{path}: {fault}"));
        assert!(!steps.is_empty(), "{path} has no steps");
        Self { path: path.to_owned(), steps }
    }

    /// All steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The steps under a heading, in order.
    ///
    /// # Panics
    /// There are none.
    pub fn under(&self, heading: &str) -> Vec<&Step> {
        let found: Vec<&Step> = self.steps.iter().filter(|step| step.heading == heading).collect();
        assert!(!found.is_empty(), "{} has no steps under {heading:?}", self.path);
        found
    }

    /// Asserts that each step was run: a runbook is tested whole or not at all.
    ///
    /// # Panics
    /// One was not.
    pub fn assert_all_ran(&self) {
        let left: Vec<&Step> = self.steps.iter().filter(|step| !step.ran.load(Ordering::SeqCst)).collect();
        assert!(left.is_empty(), "{} has steps that no test ran: {left:#?}", self.path);
    }
}

/// The blocks of `sh` in a text of Markdown.
fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut heading = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let is_background = match info {
                "sh" => false,
                "sh background" => true,
                other if other.starts_with("sh") => {
                    return Err(format!("a block is marked {other:?}; mark it sh or sh background"));
                }
                _ => continue,
            };
            let text = block.join("\n");
            if text.trim().is_empty() {
                return Err(format!("an empty block under {heading:?}"));
            }
            steps.push(Step { heading: heading.clone(), text, is_background, ran: AtomicBool::new(false) });
        } else if let Some(title) = line.strip_prefix('#') {
            heading = title.trim_start_matches('#').trim().to_owned();
        }
    }
    Ok(steps)
}

/// Where steps are run: a folder, and the variables that the runbook names. `flagraft` is the binary under test.
#[derive(Debug)]
pub struct Shell {
    folder: PathBuf,
    envs: BTreeMap<String, String>,
}

impl Shell {
    /// A shell in this folder.
    ///
    /// # Panics
    /// The folder can't be written to.
    pub fn new(folder: &Path) -> Self {
        let bin = folder.join("bin");
        fs::create_dir_all(&bin).unwrap_or_else(|error| panic!("{}: {error}", bin.display()));
        let link = bin.join("flagraft");
        if !link.exists() {
            symlink(settings::binary(), &link).unwrap_or_else(|error| panic!("{}: {error}", link.display()));
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let envs = BTreeMap::from([("PATH".to_owned(), format!("{}:{path}", bin.display()))]);
        Self { folder: folder.to_owned(), envs }
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.envs.insert(name.to_owned(), value.to_string());
        self
    }

    /// Runs a step to its end. It stops at the first command that fails, and at a variable that is not set.
    ///
    /// # Panics
    /// It fails, or the step is one that goes on running.
    pub async fn run(&self, step: &Step) -> Ran {
        let ran = self.try_run(step).await;
        assert!(ran.status.success(), "under {:?}: {ran:#?}", step.heading);
        ran
    }

    /// The same for a step that may fail.
    ///
    /// # Panics
    /// The step is one that goes on running.
    pub async fn try_run(&self, step: &Step) -> Ran {
        assert!(!step.is_background, "this step goes on running: {}", step.text);
        step.ran.store(true, Ordering::SeqCst);
        let mut command = tokio::process::Command::from(self.command(&step.text));
        let output = command.kill_on_drop(true).output().await.expect("the shell starts");
        Ran {
            text: step.text.clone(),
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts a step that goes on running. What it writes goes to `log` in the shell's folder.
    ///
    /// # Panics
    /// It can't be started, or the step is not of that kind.
    pub fn start(&self, step: &Step, log: &str) -> Running {
        assert!(step.is_background, "this step ends by itself: {}", step.text);
        step.ran.store(true, Ordering::SeqCst);
        let log = self.folder.join(log);
        let file = fs::File::create(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let errors = file.try_clone().expect("a file has a second handle");
        // In place of the shell, so that to end the child is to end the command.
        let child = self.command(&format!("exec {}", step.text)).stdout(file).stderr(errors).spawn();
        Running { child: child.expect("the shell starts"), log }
    }

    fn command(&self, text: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-eu", "-c", text]).current_dir(&self.folder).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FLAGRAFT_") {
                command.env_remove(name);
            }
        }
        command.envs(&self.envs).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// What a step did.
#[derive(Debug)]
pub struct Ran {
    /// Its commands.
    pub text: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote.
    pub stdout: String,
    /// What it wrote beside that.
    pub stderr: String,
}

/// A step that goes on running. It dies with this value.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// What it wrote so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// It does not within `limit`.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let log = self.log.clone();
        let child = std::cell::RefCell::new(&mut self.child);
        wait::until(&format!("the end of what writes to {}", log.display()), limit, || {
            let looked = child.borrow_mut().try_wait().expect("a child can be waited for");
            let seen = fs::read_to_string(&log).unwrap_or_default();
            async move { looked.ok_or(seen) }
        })
        .await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; nothing else can go wrong that a dropped value could tell anybody.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Title\n\ntext\n\n```sh\nfirst\nsecond\n```\n\n## Part\n\n```json\n{}\n```\n\n```sh background\nthird\n```\n";

    #[test]
    fn steps_are_the_blocks_of_sh_under_their_headings() {
        let steps = steps(TEXT).expect("a runbook");
        let seen: Vec<_> = steps
            .iter()
            .map(|step| (step.heading.as_str(), step.text.as_str(), step.is_background))
            .collect();
        assert_eq!(seen, [("Title", "first\nsecond", false), ("Part", "third", true)]);
        assert!(super::steps("```shell\nx\n```\n").is_err());
        assert!(super::steps("```sh\n```\n").is_err());
    }

    #[tokio::test]
    async fn a_step_stops_at_what_fails_and_at_what_is_not_set() {
        let folder = tempfile::tempdir().expect("a folder");
        // No binary is needed for this.
        let envs = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap_or_default())]);
        let mut shell = Shell { folder: folder.path().to_owned(), envs };
        let step = |text: &str| Step {
            heading: "h".to_owned(),
            text: text.to_owned(),
            is_background: false,
            ran: AtomicBool::new(false),
        };
        let ran = shell.try_run(&step("echo before; false\necho after")).await;
        assert!(!ran.status.success() && ran.stdout == "before\n", "{ran:?}");
        assert!(!shell.try_run(&step("echo \"$NEW\"")).await.status.success());
        shell.set("NEW", 4);
        assert_eq!(shell.run(&step("echo \"$NEW\"")).await.stdout, "4\n");
    }
}
