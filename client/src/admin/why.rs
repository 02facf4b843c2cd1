//! Why something is changed.

use serde::Serialize;
use serde_json::Value;

/// Why something is changed: kept in the audit log, and what policies ask for.
///
/// A text is a reason without a ticket, so that `"launch"` will do where no policy asks for more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    /// Why, in 1 to 1,024 bytes.
    pub reason: String,
    /// The ticket, where the environment's policy asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

impl Why {
    /// For this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ticket: None }
    }

    /// The same, with a ticket.
    #[must_use]
    pub fn ticket(mut self, ticket: impl Into<String>) -> Self {
        self.ticket = Some(ticket.into());
        self
    }

    /// A body with the reason, the ticket and fields of its own.
    pub(super) fn body(self, fields: impl Serialize) -> impl Serialize {
        #[derive(Serialize)]
        struct Body<F> {
            #[serde(flatten)]
            why: Why,
            #[serde(flatten)]
            fields: F,
        }
        Body { why: self, fields }
    }

    /// The body of a `PATCH`.
    pub(super) fn patch(self, patch: &Value) -> impl Serialize {
        #[derive(Serialize)]
        struct Fields<'a> {
            patch: &'a Value,
        }
        self.body(Fields { patch })
    }
}

impl From<&str> for Why {
    fn from(reason: &str) -> Self {
        Self::new(reason)
    }
}

impl From<String> for Why {
    fn from(reason: String) -> Self {
        Self::new(reason)
    }
}

impl From<&Why> for Why {
    fn from(why: &Why) -> Self {
        why.clone()
    }
}
