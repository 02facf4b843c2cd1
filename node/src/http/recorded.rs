//! What the audit record of a change says of its first operation: what a reply does not.

use serde::Deserialize;
use serde_json::Value;

use super::{App, error::ApiError};

/// One operation of a record: what was asked, and the written object before.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Recorded {
    pub(super) operation: Value,
    pub(super) before: Value,
}

#[derive(Deserialize)]
struct Record {
    operations: Vec<Recorded>,
}

/// The first operation of the record with this sequence; `None` while the record is not published here.
pub(super) async fn first_operation(app: &App, sequence: u64) -> Result<Option<Recorded>, ApiError> {
    let failed =
        |cause: &dyn std::fmt::Display| ApiError::internal("reading the record of the change", cause);
    let rows = app.node.audit_page(sequence, 1).await.map_err(|error| failed(&error))?;
    let Some(row) = rows.first() else { return Ok(None) };
    let record: Record = serde_json::from_slice(&row.bytes).map_err(|error| failed(&error))?;
    Ok(record.operations.into_iter().next())
}
