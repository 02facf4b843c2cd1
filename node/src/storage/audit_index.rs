//! Summaries of blocks of the audit log: derived, and made again where they are missing. What is in one is the business
//! of [`crate::audit`].

use super::{
    Storage,
    error::StorageError,
    schema::{AUDIT_INDEX, numbered},
};

impl Storage {
    /// What is kept of a block; `None` where nothing is.
    ///
    /// # Errors
    /// When the database fails.
    pub fn audit_summary(&self, block: u64) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.db.get_cf(self.family(AUDIT_INDEX), numbered(self.group, block))?)
    }

    /// Keeps something of a block. Durable after the next sync.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_audit_summary(&self, block: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.usable()?;
        let written = self.db.put_cf(self.family(AUDIT_INDEX), numbered(self.group, block), bytes);
        self.noted(written.map_err(Into::into))
    }
}
