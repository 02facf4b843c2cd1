//! The audit log: who changed what, when and why.

use std::vec;

use flagraft_core::record::{Record, RecordKind, RecordOutcome};
use serde::Serialize;
use serde_json::Value;

use super::{
    answer::{Lines, line},
    call::Call,
    client::AdminClient,
    download::File,
    error::AdminError,
};

/// Records of a page of [`AdminClient::records`], before those are left out that are not selected.
const PAGE_RECORDS: u64 = 1_000;
/// Where records are read.
const PATH: [&str; 3] = ["api", "v1", "audit"];
/// The header that says where the next page begins.
const NEXT: &str = "flagraft-next";

/// What records have to be about: of all that is given here at once. By default all that the token may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Those of this project.
    pub project: Option<String>,
    /// Those that touch this environment of the project, or name it.
    pub environment: Option<String>,
    /// Those that name this flag of the project.
    pub flag: Option<String>,
    /// Those that name this segment of the project.
    pub segment: Option<String>,
    /// Those of this actor: an id, or with its type before it, as `user/ada`.
    pub actor: Option<String>,
    /// Those under this ticket.
    pub ticket: Option<String>,
    /// Those of one of these kinds; all kinds where it is empty.
    pub kinds: Vec<RecordKind>,
    /// Those with one of these outcomes; all where it is empty.
    pub outcomes: Vec<RecordOutcome>,
    /// Those from this time on (RFC 3339).
    pub since: Option<String>,
    /// Those from before this time (RFC 3339).
    pub until: Option<String>,
}

impl Selection {
    /// The call that asks for these records.
    fn on<T>(self, call: Call<T>) -> Call<T> {
        call.query("project", self.project)
            .query("environment", self.environment)
            .query("flag", self.flag)
            .query("segment", self.segment)
            .query("actor", self.actor)
            .query("ticket", self.ticket)
            .query("kind", words(&self.kinds))
            .query("outcome", words(&self.outcomes))
            .query("since", self.since)
            .query("until", self.until)
    }
}

/// The names of some kinds or outcomes, as the API takes several; `None` where there are none.
fn words<T: Serialize>(all: &[T]) -> Option<String> {
    let words: Vec<Value> = all.iter().filter_map(|word| serde_json::to_value(word).ok()).collect();
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    Some(words.join(",")).filter(|words| !words.is_empty())
}

/// A page of the log: of the records from the sequence `from` on those that are selected, the oldest first, at most `limit`
/// (up to 10,000).
///
/// The header `flagraft-next` says where the next page begins; a page may be empty and not the last, for a node looks at so
/// many records for one request and no more.
pub fn page(selection: Selection, from: u64, limit: u64) -> Call<Lines<Record>> {
    let call = Call::get(PATH).query("from", Some(from.to_string())).query("limit", Some(limit.to_string()));
    selection.on(call).answering()
}

/// A page from the end of the log, or from before the sequence `before`, the newest record first. As [`page`] otherwise:
/// the header `flagraft-next` is the `before` of the next one.
pub fn newest(selection: Selection, before: Option<u64>, limit: u64) -> Call<Lines<Record>> {
    let call = Call::get(PATH)
        .query("order", Some("newest"))
        .query("limit", Some(limit.to_string()))
        .query("to", before.map(|before| before.to_string()));
    selection.on(call).answering()
}

/// How an export is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportFormat {
    /// A line of JSON for each record.
    #[default]
    Ndjson,
    /// A row for each record, with its JSON in the last column.
    Csv,
}

/// Which stretch of the log is exported, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The sequence of the first record. Default: 0.
    pub from: Option<u64>,
    /// The sequence behind the last one. Default: as far as the newest checkpoint goes.
    pub to: Option<u64>,
    /// How it is written.
    pub format: ExportFormat,
    /// Whether a checkpoint has to prove it. Without one it is a list that nothing proves.
    pub proved: bool,
}

/// An export: what is selected of a stretch of the log, in a file that proves itself (`docs/audit.md`). It is a stream; one
/// that ends without a trailer is not whole.
pub fn export(selection: Selection, export: Export) -> Call<File> {
    let Export { from, to, format, proved } = export;
    let format = match format {
        ExportFormat::Ndjson => "ndjson",
        ExportFormat::Csv => "csv",
    };
    let call = Call::get(["api", "v1", "audit", "export"])
        .query("from", from.map(|from| from.to_string()))
        .query("to", to.map(|to| to.to_string()))
        .query("format", Some(format))
        .query("checkpoint", (!proved).then_some("none"));
    selection.on(call).answering()
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
