//! `flagraft export`: a whole project as one file, which `import --format flagraft` reads.

use std::{collections::BTreeMap, io::Write as _, os::unix::fs::OpenOptionsExt as _};

use clap::Args;
use flagraft_client::admin::{
    Answer, environments,
    flags::{self, Filter},
    projects, segments,
};
use flagraft_core::segment::MemberList;
use serde_json::{Value, json};

use crate::{
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
    for _ in 0..TRIES {
        let before = revision(session, project).await?;
        let mut document = BTreeMap::new();
        let client = &session.client;
        document.insert("project", client.send(&projects::get(project)).await?.into_json());
        document.insert("environments", client.list(&environments::list(project)).await?.into_json());
        document.insert("flags", client.list(&flags::list(project, Filter::default())).await?.into_json());
        document.insert("segments", all_segments(session, project).await?.into());
        for part in document.values_mut() {
            *part = match part.take() {
                Value::Array(objects) => objects.into_iter().map(without_system).collect(),
                object => without_system(object),
            };
        }
        if revision(session, project).await? == before {
            return Ok(json!(document));
        }
    }
    Err(Failure::new(Exit::Other, format!("{project} changed while it was read, {TRIES} times"))
        .next("try again when fewer changes are made"))
}

/// All segments of a project, with their members: a segment is shown without those, for there may be a million.
pub async fn all_segments(session: &Session, project: &str) -> Result<Vec<Value>, Failure> {
    let mut all = objects(session.client.list(&segments::list(project).confirmed()).await?);
    for segment in &mut all {
        let key = segment["key"].as_str().unwrap_or_default().to_owned();
        for list in [MemberList::Included, MemberList::Excluded] {
            let members = session.client.send(&segments::members(project, &key, list)).await?.lines()?;
            segment[list.name()] = members.into();
        }
    }
    Ok(all)
}

/// The objects of a list, as they came.
pub fn objects<T>(answer: Answer<Vec<T>>) -> Vec<Value> {
    match answer.into_json() {
        Value::Array(objects) => objects,
        _ => Vec::new(),
    }
}

/// The revision of the state that the node asked has now.
async fn revision(session: &Session, project: &str) -> Result<String, Failure> {
    Ok(session.client.send(&projects::get(project)).await?.header("flagraft-revision").to_owned())
}

/// What the cluster itself keeps about an object is no part of what one may put.
pub fn without_system(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("system");
    }
    object
}
