//! The audit log: who changed what, when and why.

use std::vec;

use flagraft_core::record::{Record, RecordKind};
use serde_json::Value;

use super::{
    answer::{Lines, line},
    call::Call,
    client::AdminClient,
    error::AdminError,
};

/// Records of a page of [`AdminClient::records`], before those are left out that are not selected.
const PAGE_RECORDS: u64 = 1_000;
/// The header that says where the next page begins.
const NEXT: &str = "flagraft-next";

/// Which records. By default all that the token may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Those of this project.
    pub project: Option<String>,
    /// Those of this kind.
    pub kind: Option<RecordKind>,
}

/// The records of a window of the log: of `limit` (at most 10,000) from the sequence `from` on, those that are selected.
pub fn page(selection: Selection, from: u64, limit: u64) -> Call<Lines<Record>> {
    let kind = selection.kind.and_then(|kind| serde_json::to_value(kind).ok());
    Call::get(["api", "v1", "audit"])
        .query("from", Some(from.to_string()))
        .query("limit", Some(limit.to_string()))
        .query("project", selection.project)
        .query("kind", kind.as_ref().and_then(Value::as_str))
        .answering()
}

/// A record as it is stored: exactly the bytes that are hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLine(String);

impl RecordLine {
    /// Its JSON.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`AdminErrorKind::Unreadable`](super::AdminErrorKind::Unreadable) where it is of a later version.
    pub fn read(&self) -> Result<Record, AdminError> {
        line(&self.0)
    }
}

/// Audit records, from [`AdminClient::records`]: read a page at a time, so that a log of any length can be read.
#[derive(Debug)]
pub struct Records<'a> {
    client: &'a AdminClient,
    selection: Selection,
    /// Where the next page begins; `None` after the last one.
    next: Option<u64>,
    page: vec::IntoIter<String>,
}

impl<'a> Records<'a> {
    pub(super) fn new(client: &'a AdminClient, selection: Selection, from: u64) -> Self {
        Self { client, selection, next: Some(from), page: Vec::new().into_iter() }
    }

    /// The next record; `None` after the newest. After an error it asks for the same page again.
    pub async fn next(&mut self) -> Option<Result<RecordLine, AdminError>> {
        loop {
            if let Some(line) = self.page.next() {
                return Some(Ok(RecordLine(line)));
            }
            let call = page(self.selection.clone(), self.next?, PAGE_RECORDS);
            match self.client.send(&call).await {
                Ok(answer) => {
                    self.next = answer.header(NEXT).parse().ok();
                    let lines: Vec<String> = answer.text().lines().map(str::to_owned).collect();
                    self.page = lines.into_iter();
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
