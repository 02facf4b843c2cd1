//! `flagraft segment ...`: groups of users that rules share.

use clap::{Args, Subcommand, ValueEnum};
use flagraft_client::admin::segments;
use flagraft_core::segment::MemberList;
use serde_json::{Value, json};

use crate::{
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

impl From<List> for MemberList {
    fn from(list: List) -> Self {
        match list {
            List::Included => Self::Included,
            List::Excluded => Self::Excluded,
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
        SegmentCommand::Get(SegmentArg { key, project }) => {
            session.show(&segments::get(&project.project, &key), pretty).await
        }
        SegmentCommand::Put(args) => put(&session, &args).await,
        SegmentCommand::Delete(args) => {
            let SegmentArg { key, project } = &args.segment;
            let call = segments::delete(&project.project, key, &args.why);
            session.write(&call, format!("segment {key} is deleted")).await
        }
        SegmentCommand::Members(MembersCommand::List(args)) => show_members(&session, &args).await,
        SegmentCommand::Members(MembersCommand::Add(args)) => {
            members(&session, &args, "add", "added to").await
        }
        SegmentCommand::Members(MembersCommand::Remove(args)) => {
            members(&session, &args, "remove", "removed from").await
        }
    }
}

async fn list(session: &Session, project: &str) -> Result<(), Failure> {
    let row = |segment: &Value| {
        let [key, name, description] = ["key", "name", "description"].map(|field| cell(&segment[field]));
        let when = match &segment["when"] {
            Value::Null => "-".to_owned(),
            when => condition(when),
        };
        vec![key, name, description, when]
    };
    let table = |segments: &[Value]| {
        let rows = segments.iter().map(row).collect();
        table(&["SEGMENT", "NAME", "DESCRIPTION", "WHEN"], rows, "no segments")
    };
    session.show_list(&segments::list(project), table).await
}

async fn put(session: &Session, args: &PutArgs) -> Result<(), Failure> {
    let mut segment = input::json_file(&args.file)?;
    if !segment.is_object() {
        return Err(Failure::usage(format!("{} holds no JSON object", args.file)));
    }
    let key = &args.segment.key;
    segment["key"] = json!(key);
    let call = segments::put(&args.segment.project.project, key, &segment, &args.why);
    session.write(&call, format!("segment {key} is set")).await
}

async fn show_members(session: &Session, args: &ListArgs) -> Result<(), Failure> {
    let (project, segment) = (&args.segment.project.project, &args.segment.key);
    let call = segments::members(project, segment, args.list.into());
    let members = session.client.send(&call).await?.lines()?;
    session.output.show(&json!(members), |_| members.join("\n"))
}

async fn members(session: &Session, args: &MembersArgs, verb: &str, done: &str) -> Result<(), Failure> {
    let mut members = args.members.clone();
    if let Some(file) = &args.file {
        let text = input::read(file)?;
        members.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
    }
    let list = MemberList::from(args.list);
    let (project, segment) = (&args.segment.project.project, &args.segment.key);
    let changes = chunks(&members);
    if changes.len() > 1 {
        let (members, changes) = (members.len(), changes.len());
        eprintln!("{members} members go in as {changes} changes; if it is cut off, run it again");
    }
    for chunk in changes {
        let operation = json!({
            "op": format!("segment.members.{verb}"), "segment": segment, "list": list, "members": chunk,
        });
        let did = format!("{} {done} the {} of segment {segment}", chunk.len(), list.name());
        session.change(project, &args.why, &operation, did).await?;
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
