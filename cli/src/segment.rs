//! `flagraft segment ...`: groups of users that rules share.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::Call,
    export,
    failure::Failure,
    input,
    output::{cell, condition, pretty, table},
    session::{Global, ProjectArg, Session, SignedWhy, Why},
};

/// Commands on segments.
#[derive(Subcommand, Debug)]
pub enum SegmentCommand {
    /// List a project's segments
    List(ProjectArg),
    /// Show one segment
    Get(SegmentArg),
    /// Create or replace a segment from a JSON file
    Put(PutArgs),
    /// Delete a segment that no rule uses
    Delete(DeleteArgs),
    /// Add or remove members of a segment's lists
    #[command(subcommand)]
    Members(MembersCommand),
}

/// Commands on a segment's members.
#[derive(Subcommand, Debug)]
pub enum MembersCommand {
    /// Show the members of a list, one a line
    List(ListArgs),
    /// Add members to a list
    Add(MembersArgs),
    /// Remove members from a list
    Remove(MembersArgs),
}

/// One segment.
#[derive(Args, Debug)]
pub struct SegmentArg {
    /// The segment's key
    key: String,
    #[command(flatten)]
    project: ProjectArg,
}

/// A segment's definition.
#[derive(Args, Debug)]
pub struct PutArgs {
    #[command(flatten)]
    segment: SegmentArg,
    /// The segment as JSON (`-`: standard input)
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    why: Why,
}

/// One segment, and why it goes.
#[derive(Args, Debug)]
pub struct DeleteArgs {
    #[command(flatten)]
    segment: SegmentArg,
    #[command(flatten)]
    why: Why,
}

/// Which of a segment's lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum List {
    /// Those who are in, whatever the segment's condition says
    #[default]
    Included,
    /// Those who are out, unless they are included
    Excluded,
}

impl List {
    fn name(self) -> &'static str {
        match self {
            Self::Included => "included",
            Self::Excluded => "excluded",
        }
    }
}

/// One of a segment's lists.
#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    segment: SegmentArg,
    /// Which list
    #[arg(long, value_enum, default_value_t)]
    list: List,
}

/// Members to add or remove.
#[derive(Args, Debug)]
pub struct MembersArgs {
    #[command(flatten)]
    segment: SegmentArg,
    /// The members' targeting keys
    #[arg(required_unless_present = "file")]
    members: Vec<String>,
    /// Read them from a file too, one a line (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// Which list
    #[arg(long, value_enum, default_value_t)]
    list: List,
    #[command(flatten)]
    why: SignedWhy,
}

/// Runs a command on segments.
pub async fn run(command: SegmentCommand, global: &Global) -> Result<(), Failure> {
    let session = global.management()?;
    match command {
        SegmentCommand::List(project) => list(&session, &project.project).await,
        SegmentCommand::Get(segment) => {
            let call =
                Call::get(["api", "v1", "projects", &segment.project.project, "segments", &segment.key]);
            let answer = session.client.send(&call).await?;
            session.output.show(&answer.body, pretty)
        }
        SegmentCommand::Put(args) => put(&session, &args).await,
        SegmentCommand::Delete(args) => {
            let segment = &args.segment;
            let path = ["api", "v1", "projects", &segment.project.project, "segments", &segment.key];
            let call = args.why.on(Call::write(Method::DELETE, path, None)?);
            session.finish(&call, format!("segment {} is deleted", segment.key)).await
        }
        SegmentCommand::Members(MembersCommand::List(args)) => show_members(&session, &args).await,
        SegmentCommand::Members(MembersCommand::Add(args)) => members(&session, &args, "add").await,
        SegmentCommand::Members(MembersCommand::Remove(args)) => members(&session, &args, "remove").await,
    }
}

async fn list(session: &Session, project: &str) -> Result<(), Failure> {
    let segments = session.client.list(Call::get(["api", "v1", "projects", project, "segments"])).await?;
    let row = |segment: &Value| {
        let [key, name, description] = ["key", "name", "description"].map(|field| cell(&segment[field]));
        let when = match &segment["when"] {
            Value::Null => "-".to_owned(),
            when => condition(when),
        };
        vec![key, name, description, when]
    };
    session.output.show(&json!({"items": segments}), |_| {
        let rows = segments.iter().map(row).collect();
        table(&["SEGMENT", "NAME", "DESCRIPTION", "WHEN"], rows, "no segments")
    })
}

async fn put(session: &Session, args: &PutArgs) -> Result<(), Failure> {
    let mut segment = input::json_file(&args.file)?;
    if !segment.is_object() {
        return Err(Failure::usage(format!("{} holds no JSON object", args.file)));
    }
    let key = &args.segment.key;
    segment["key"] = json!(key);
    let path = ["api", "v1", "projects", &args.segment.project.project, "segments", key];
    let body = args.why.body("segment", segment);
    session.write(Method::PUT, &path, Some(body), format!("segment {key} is set")).await
}

async fn show_members(session: &Session, args: &ListArgs) -> Result<(), Failure> {
    let (project, segment) = (&args.segment.project.project, &args.segment.key);
    let members = export::members(session, project, segment, args.list.name()).await?;
    session.output.show(&json!(members), |_| members.join("\n"))
}

async fn members(session: &Session, args: &MembersArgs, verb: &str) -> Result<(), Failure> {
    let mut members = args.members.clone();
    if let Some(file) = &args.file {
        let text = input::read(file)?;
        members.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
    }
    let list = args.list.name();
    let (project, segment) = (&args.segment.project.project, &args.segment.key);
    let done = if verb == "add" { "added to" } else { "removed from" };
    let changes = chunks(&members);
    if changes.len() > 1 {
        let (members, changes) = (members.len(), changes.len());
        eprintln!("{members} members go in as {changes} changes; if it is cut off, run it again");
    }
    for chunk in changes {
        let operation = json!({
            "op": format!("segment.members.{verb}"), "segment": segment, "list": list, "members": chunk,
        });
        let did = format!("{} {done} the {list} of segment {segment}", chunk.len());
        session.change(project, &args.why, vec![operation], did).await?;
    }
    Ok(())
}

/// Cuts members into changes that a node takes. Adding what is there already changes nothing, so a run that was cut
/// off is resumed by running it again.
fn chunks(members: &[String]) -> Vec<&[String]> {
    /// Bytes of members in one change. A node takes 1 MiB; the rest is for quotes, escapes and what is around them.
    const CHUNK_BYTES_MAX: usize = 512 * 1024;
    let (mut chunks, mut start, mut bytes) = (Vec::new(), 0, 0_usize);
    for (i, member) in members.iter().enumerate() {
        let size = Value::from(member.as_str()).to_string().len() + 1;
        if i > start && bytes + size > CHUNK_BYTES_MAX {
            chunks.push(&members[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += size;
    }
    chunks.push(&members[start..]);
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_members_are_cut_into_changes_and_none_is_lost() {
        let members: Vec<String> = (0..100_000).map(|i| format!("customer-{i:06}")).collect();
        let chunks = chunks(&members);
        assert!(chunks.len() > 1);
        assert!(chunks.iter().all(|chunk| json!(chunk).to_string().len() <= 600 * 1024));
        assert_eq!(chunks.concat(), members);
        assert_eq!(
            super::chunks(&[]).len(),
            1,
            "even nothing is asked for, so that the cluster says what is wrong"
        );
    }
}
