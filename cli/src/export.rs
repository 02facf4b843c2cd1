//! `flagraft export`: a whole project as one file, which `import --format flagraft` reads.

use std::{collections::BTreeMap, io::Write as _, os::unix::fs::OpenOptionsExt as _};

use clap::Args;
use serde_json::{Value, json};

use crate::{
    client::Call,
    failure::{Exit, Failure},
    output::{self, pretty},
    session::{Global, ProjectArg, Session},
};

/// What to export and where to.
#[derive(Args, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    project: ProjectArg,
    /// Write to this file rather than to standard output
    #[arg(long, short = 'f', value_name = "FILE")]
    file: Option<String>,
}

/// Writes the project. Archived flags stay out: an import brings back what is in service.
pub async fn run(args: ExportArgs, global: &Global) -> Result<(), Failure> {
    let session = global.management()?;
    let document = read(&session, &args.project.project).await?;
    match &args.file {
        None => output::line(&pretty(&document)),
        Some(path) => {
            let failed = |e| Failure::new(Exit::Other, format!("could not write {path}: {e}"));
            // Rules name customers: the file is for its owner's eyes.
            let mut options = std::fs::OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
            writeln!(file, "{}", pretty(&document)).map_err(failed)?;
            let flags = document["flags"].as_array().map_or(0, Vec::len);
            session
                .output
                .say(&json!({"file": path, "flags": flags}), format!("{flags} flags written to {path}"))
        }
    }
}

/// Reads a project as the file's object.
///
/// The parts are read one after the other; where a change falls between two of them the revisions of the
/// lists differ, and the read begins again, so that the file is one state.
pub async fn read(session: &Session, project: &str) -> Result<Value, Failure> {
    const TRIES: usize = 5;
    let path = |tail: &'static str| ["api", "v1", "projects", project, tail];
    for _ in 0..TRIES {
        let before = revision(session, project).await?;
        let mut document = BTreeMap::new();
        let project_object = session.client.send(&Call::get(["api", "v1", "projects", project])).await?.body;
        document.insert("project", without_system(project_object));
        for part in ["environments", "flags"] {
            let items = session.client.list(Call::get(path(part))).await?;
            document.insert(part, items.into_iter().map(without_system).collect());
        }
        document.insert(
            "segments",
            segments(session, project, false).await?.into_iter().map(without_system).collect(),
        );
        if revision(session, project).await? == before {
            return Ok(json!(document));
        }
    }
    Err(Failure::new(Exit::Other, format!("{project} changed while it was read, {TRIES} times"))
        .next("try again when fewer changes are made"))
}

/// All segments of a project, with their members: lists of segments leave those out, for there may be a
/// million. `confirmed`: of the newest state, which needs a quorum.
pub async fn segments(session: &Session, project: &str, confirmed: bool) -> Result<Vec<Value>, Failure> {
    let path = ["api", "v1", "projects", project, "segments"];
    let read = |call: Call| if confirmed { call.confirmed() } else { call };
    let mut segments = Vec::new();
    for segment in session.client.list(read(Call::get(path))).await? {
        let key = segment["key"].as_str().unwrap_or_default();
        let whole = read(Call::get(path.into_iter().chain([key])));
        segments.push(session.client.send(&whole).await?.body);
    }
    Ok(segments)
}

/// The revision of the state that the node asked has now.
async fn revision(session: &Session, project: &str) -> Result<String, Failure> {
    let call = Call::get(["api", "v1", "projects", project]);
    Ok(session.client.send(&call).await?.header("flagraft-revision").to_owned())
}

/// What the cluster itself keeps about an object is no part of what one may put.
pub fn without_system(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("system");
    }
    object
}
