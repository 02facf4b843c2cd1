//! The catalog at the edge of retention: made before changes are removed, and where the ways begin once they are gone.

use std::io;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flagraft_core::{
    limits::EDGE_PART_BYTES_MAX,
    retention::{Edge, EdgeCatalog},
    state::State,
    travel::{Catalog, Moment, catalog_part},
};

use super::{
    LogError, TravelError, Traveller,
    catalog_file::{self, Head},
    log::Log,
};

/// A catalog that is to be put into the log.
pub(crate) struct NewEdge {
    pub(crate) catalog: EdgeCatalog,
    /// Its bytes in Base64, in as many pieces as there are to be records.
    pub(crate) parts: Vec<String>,
}

/// What comes of holding the catalog in the log against a node's own records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EdgeCheck {
    /// They make the same.
    Same,
    /// They make another one.
    Other,
    /// They are not all there any more.
    Unknown,
}

impl Traveller {
    /// Makes the catalog that was in force right before a time, for the log. This blocks.
    ///
    /// # Errors
    /// See [`TravelError`].
    pub(crate) fn make_edge(&self, published: &State, before_ms: i64) -> Result<NewEdge, TravelError> {
        let log = Log { storage: &self.storage, end: published.sequence() };
        let revision = log.revision_at(before_ms.saturating_sub(1))?.unwrap_or(published.revision());
        let (moment, catalog) = self.bring(None, None, published, revision)?;
        let mut bytes = Vec::new();
        let sha256 = catalog_file::write(&mut bytes, Head::of_edge(revision), &catalog).map_err(failed)?;
        let parts: Vec<String> =
            bytes.chunks(EDGE_PART_BYTES_MAX).map(|part| BASE64_STANDARD.encode(part)).collect();
        let Moment { sequence, history, time_ms, .. } = moment;
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        Ok(NewEdge {
            catalog: EdgeCatalog { revision, history, sequence, time_ms, sha256, parts: count },
            parts,
        })
    }

    /// Makes the catalog of the edge once more, of this node's own records and of the edge before it, and compares. This
    /// blocks.
    ///
    /// # Errors
    /// See [`TravelError`].
    pub(crate) fn check_edge(
        &self,
        published: &State,
        edge: &Edge,
        before: Option<&Edge>,
    ) -> Result<EdgeCheck, TravelError> {
        let log = Log { storage: &self.storage, end: published.sequence() };
        let moment = moment_of(&edge.catalog);
        let own = self
            .start(&log, before, moment.revision)
            .map_err(TravelError::from)
            .and_then(|start| self.arrive_in_time(start, &log, published, &moment));
        let own = match own {
            Ok(own) => own,
            Err(TravelError::Gone { .. }) => return Ok(EdgeCheck::Unknown),
            Err(error) => return Err(error),
        };
        let sha256 = catalog_file::write(io::sink(), Head::of_edge(moment.revision), &own).map_err(failed)?;
        Ok(if sha256 == edge.catalog.sha256 { EdgeCheck::Same } else { EdgeCheck::Other })
    }

    /// Forgets the catalogs of before the edge: what they were made of is to be forgotten.
    pub(crate) fn forget_before(&self, edge: &Edge) {
        let oldest = edge.catalog.revision;
        self.kept().retain(|kept| kept.moment().revision >= oldest);
        self.checkpoints.forget_before(oldest);
    }

    /// The catalog of the edge, as the log has it. This blocks.
    pub(super) fn edge(&self, edge: &Edge) -> Result<Catalog, LogError> {
        let mut bytes = Vec::new();
        for sequence in &edge.records {
            for row in self.storage.audit_rows(&[*sequence], usize::MAX)? {
                bytes.extend(catalog_part(*sequence, &row)?);
            }
        }
        let revision = edge.catalog.revision;
        catalog_file::parse(&bytes, edge.catalog.sha256).map_err(|why| LogError::Edge { revision, why })
    }
}

/// The record that made the edge's revision, which may be gone.
pub(super) fn moment_of(edge: &EdgeCatalog) -> Moment {
    let EdgeCatalog { revision, history, sequence, time_ms, .. } = *edge;
    Moment { sequence, history, time_ms, revision_before: revision.saturating_sub(1), revision }
}

fn failed(error: io::Error) -> TravelError {
    LogError::Failed(error.to_string()).into()
}
