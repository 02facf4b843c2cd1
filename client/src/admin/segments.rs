//! Calls on segments: groups of users that rules share.

use flagraft_core::segment::{MemberList, SegmentSpec};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    answer::{Lines, Page},
    call::Call,
    change::{Change, Receipt},
    json::AsJson,
    stored::StoredSegment,
    why::Why,
};

/// A project's segments, in the order of their keys, without their members.
pub fn list(project: &str) -> Call<Page<StoredSegment>> {
    Call::get(["api", "v1", "projects", project, "segments"]).answering()
}

/// One segment, without its members.
pub fn get(project: &str, segment: &str) -> Call<StoredSegment> {
    Call::get(path(project, segment)).answering()
}

/// Creates or replaces a segment. Without its lists it keeps its members.
pub fn put(
    project: &str,
    segment: &str,
    object: &impl AsJson<SegmentSpec>,
    why: impl Into<Why>,
) -> Call<Receipt> {
    #[derive(Serialize)]
    struct Fields<'a, O> {
        segment: &'a O,
    }
    Call::put(path(project, segment), why.into().body(Fields { segment: object })).answering()
}

/// Changes fields of a segment: `patch` is a JSON merge patch (RFC 7396).
pub fn patch(project: &str, segment: &str, patch: &Value, why: impl Into<Why>) -> Call<Receipt> {
    Call::patch(path(project, segment), why.into().patch(patch)).answering()
}

/// Deletes a segment that no rule uses.
pub fn delete(project: &str, segment: &str, why: impl Into<Why>) -> Call<Receipt> {
    Call::delete(path(project, segment), why).answering()
}

/// The members of one of a segment's lists, in order and all of one revision.
pub fn members(project: &str, segment: &str, list: MemberList) -> Call<Lines<String>> {
    Call::get(["api", "v1", "projects", project, "segments", segment, "members"])
        .query("list", Some(list.name()))
        .answering()
}

/// Adds members to one of a segment's lists: as many as a request has room for, 1 MiB of them. Adding who is there already
/// changes nothing.
pub fn add_members<S: AsRef<str>>(
    project: &str,
    segment: &str,
    list: MemberList,
    members: &[S],
    why: impl Into<Why>,
) -> Call<Receipt> {
    of_members("segment.members.add", project, segment, list, members, why.into())
}

/// Removes members from one of a segment's lists. Removing who is not there changes nothing.
pub fn remove_members<S: AsRef<str>>(
    project: &str,
    segment: &str,
    list: MemberList,
    members: &[S],
    why: impl Into<Why>,
) -> Call<Receipt> {
    of_members("segment.members.remove", project, segment, list, members, why.into())
}

fn of_members<S: AsRef<str>>(
    op: &str,
    project: &str,
    segment: &str,
    list: MemberList,
    members: &[S],
    why: Why,
) -> Call<Receipt> {
    let members: Vec<&str> = members.iter().map(AsRef::as_ref).collect();
    let operation = json!({"op": op, "segment": segment, "list": list, "members": members});
    Change::new(project, why).operation(&operation).call()
}

fn path<'a>(project: &'a str, segment: &'a str) -> [&'a str; 6] {
    ["api", "v1", "projects", project, "segments", segment]
}
