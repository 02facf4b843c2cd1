//! The bytes of a catalog that stand in the log.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    error::NotReplayed,
    past::{Past, unreadable},
};
use crate::operation::Operation;

/// The part of a catalog that a record of the audit log has.
///
/// # Errors
/// When it is not the record of one.
pub fn catalog_part(sequence: u64, row: &[u8]) -> Result<Vec<u8>, NotReplayed> {
    let is_none = || NotReplayed::Unreadable { sequence, why: "it has no part of a catalog".to_owned() };
    let past = Past::read(sequence, row)?.ok_or_else(is_none)?;
    let [recorded] = past.operations.as_slice() else { return Err(is_none()) };
    match Operation::from_text(recorded.operation.get()).map_err(unreadable(sequence))? {
        Operation::AuditCatalogPut(fields) => BASE64_STANDARD.decode(fields.content).map_err(|_| is_none()),
        _ => Err(is_none()),
    }
}
