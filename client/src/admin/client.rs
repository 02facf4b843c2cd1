//! The client of the management API.

use serde_json::Value;

use super::{
    answer::{Answer, Page, Received},
    audit::{Records, Selection},
    builder::AdminBuilder,
    call::Call,
    download::{Download, File},
    error::AdminError,
    rounds::Rounds,
};

/// How many items a page of a list holds: the most that the API gives.
const PAGE_ITEMS: &str = "500";

/// The nodes, and the token to ask them with. See [the module](super).
#[derive(Debug)]
pub struct AdminClient {
    rounds: Rounds,
}

impl AdminClient {
    /// Sets a client up.
    pub fn builder() -> AdminBuilder {
        AdminBuilder::default()
    }

    pub(super) fn new(rounds: Rounds) -> Self {
        Self { rounds }
    }

    /// Makes the call.
    ///
    /// # Errors
    /// [`AdminError`] where no node answered that it is done. Of a write that may have been entered its kind is
    /// [`OutcomeUnknown`](super::AdminErrorKind::OutcomeUnknown), and never
    /// [`Unavailable`](super::AdminErrorKind::Unavailable).
    pub async fn send<T>(&self, call: &Call<T>) -> Result<Answer<T>, AdminError> {
        let request = &call.request;
        let received: Received = self.rounds.answer(request, None).await?;
        if received.is_unreadable() {
            return Err(AdminError::no_json(request, received.status));
        }
        Ok(Answer::new(received, request))
    }

    /// All items of a list, whose pages are asked for one after the other: each is of the state at its own time.
    ///
    /// # Errors
    /// [`AdminError`] where a page did not come.
    pub async fn list<T>(&self, call: &Call<Page<T>>) -> Result<Answer<Vec<T>>, AdminError> {
        let call = call.clone().query("limit", Some(PAGE_ITEMS));
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let answer = self.send(&call.clone().query("cursor", cursor)).await?;
            let Some(Value::Array(page)) = answer.json().get("items") else {
                return Err(AdminError::of_another_type("it is no list; is this a Flagraft node?", "", None));
            };
            items.extend(page.iter().cloned());
            cursor = answer.json().get("next").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                return Ok(answer.with_json(Value::Array(items)));
            }
        }
    }

    /// The audit records from the one with the sequence `from` on, as a stream that ends with the newest.
    pub fn records(&self, selection: Selection, from: u64) -> Records<'_> {
        Records::new(self, selection, from)
    }

    /// Makes a call whose answer may be long: its body is read by [`Download::piece`].
    ///
    /// # Errors
    /// As [`AdminClient::send`].
    pub async fn download(&self, call: &Call<File>) -> Result<Download, AdminError> {
        let response = self.rounds.answer(&call.request, Some(Download::LONGEST)).await?;
        Ok(Download { response, stall: self.rounds.timeout })
    }
}
