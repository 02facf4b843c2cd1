//! Changes: what every write comes to.

use flagraft_core::{operation::Operation, proposal::Cause};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{call::Call, json::AsJson, why::Why};

/// Operations on a project that take effect together, or not at all: 1 to 100. One entry of the log, one audit record.
///
/// ```
/// use flagraft_client::admin::{Change, Why};
/// use flagraft_core::{key::{EnvironmentKey, FlagKey}, operation::{FlagDisable, Operation}};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let disable = FlagDisable {
///     flag: FlagKey::new("checkout-v2")?,
///     environment: EnvironmentKey::new("production")?,
///     if_revision: None,
/// };
/// let call = Change::new("shop", Why::new("checkout errors").ticket("OPS-812"))
///     .operation(&Operation::FlagDisable(disable))
///     .call();
/// # assert!(call.idempotency_key().is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Change {
    project: String,
    body: Body,
    /// Whether all operations could be written as JSON.
    is_good: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Body {
    #[serde(flatten)]
    why: Why,
    operations: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expect_revision: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    caused_by: Option<Cause>,
}

impl Change {
    /// A change in a project, without an operation yet.
    pub fn new(project: impl Into<String>, why: impl Into<Why>) -> Self {
        let body = Body {
            why: why.into(),
            operations: Vec::new(),
            expect_revision: None,
            dry_run: false,
            caused_by: None,
        };
        Self { project: project.into(), body, is_good: true }
    }

    /// The same with one more operation.
    #[must_use]
    pub fn operation(mut self, operation: &impl AsJson<Operation>) -> Self {
        match serde_json::to_value(operation) {
            Ok(operation) => self.body.operations.push(operation),
            Err(_) => self.is_good = false,
        }
        self
    }

    /// The same with more operations.
    #[must_use]
    pub fn operations<'o, O: AsJson<Operation> + 'o>(
        self,
        operations: impl IntoIterator<Item = &'o O>,
    ) -> Self {
        operations.into_iter().fold(self, Self::operation)
    }

    /// Refused if an object that it writes is newer than this revision.
    #[must_use]
    pub fn expect_revision(mut self, revision: u64) -> Self {
        self.body.expect_revision = Some(revision);
        self
    }

    /// Only says what would become of it.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.body.dry_run = true;
        self
    }

    /// What caused it, where that is no person's request.
    #[must_use]
    pub fn caused_by(mut self, cause: Cause) -> Self {
        self.body.caused_by = Some(cause);
        self
    }

    /// The call that makes it.
    pub fn call(self) -> Call<Receipt> {
        let call = Call::post(["api", "v1", "projects", &self.project, "changes"], &self.body);
        if self.is_good { call.answering() } else { call.without_good_body().answering() }
    }
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Receipt {
    /// The catalog's revision after it, in the history that the answer names.
    pub revision: u64,
    /// The sequence of its audit record.
    pub sequence: u64,
    /// Its request id: the `Idempotency-Key` that it went under.
    pub request_id: String,
    /// Whether there was nothing to change: it was so already. That is recorded too, and takes no revision.
    #[serde(rename = "outcome", deserialize_with = "is_unchanged")]
    pub unchanged: bool,
    /// Whether an earlier request with this id did it.
    #[serde(default)]
    pub replayed: bool,
    /// Whether nothing was done but to say what would become of it. `revision` and `sequence` are what they would be.
    #[serde(default)]
    pub dry_run: bool,
    /// After a flag became critical: nodes that may not know it yet, and so may answer it unconfirmed.
    #[serde(default)]
    pub not_yet_on: Vec<u64>,
}

fn is_unchanged<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(String::deserialize(deserializer)? == "unchanged")
}
