//! The catalog at the edge of retention: made before changes are removed, and where the ways begin once they are gone.

use std::io;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flagraft_core::{
    limits::EDGE_PARTS_MAX,
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

impl EdgeCheck {
    /// What an error says of it: records that lead nowhere, or bytes that are no catalog, make another one.
    fn of(error: TravelError) -> Result<Self, TravelError> {
        match error {
            TravelError::Log(LogError::Records(_) | LogError::Edge { .. }) => {
                tracing::error!(%error, "the catalog of the edge can't be made");
                Ok(Self::Other)
            }
            error => Err(error),
        }
    }
}

impl Traveller {
    /// Makes the catalog that was in force right before a time, for the log, in parts of so many bytes. This blocks.
    ///
    /// # Errors
    /// See [`TravelError`].
    pub(crate) fn make_edge(
        &self,
        published: &State,
        before_ms: i64,
        part_bytes: usize,
    ) -> Result<NewEdge, TravelError> {
        let log = Log::of(&self.storage, published);
        let revision = log.revision_at(before_ms.saturating_sub(1))?.unwrap_or(published.revision());
        let (moment, catalog) = self.bring(None, None, published, revision)?;
        let mut bytes = Vec::new();
        let sha256 = catalog_file::write(&mut bytes, Head::of_edge(revision), &catalog)
            .map_err(|error| LogError::Failed(error.to_string()))?;
        let parts: Vec<String> =
            bytes.chunks(part_bytes.max(1)).map(|part| BASE64_STANDARD.encode(part)).collect();
        let count = u32::try_from(parts.len()).ok().filter(|count| *count <= EDGE_PARTS_MAX);
        let count = count.ok_or_else(|| {
            LogError::Failed(format!(
                "the catalog of revision {revision} has {} bytes, and the audit log takes {EDGE_PARTS_MAX} parts of {part_bytes}: \
                 keep changes for ever, or remove what the catalog does not need",
                bytes.len()
            ))
        })?;
        let Moment { sequence, history, time_ms, .. } = moment;
        let catalog = EdgeCatalog { revision, history, sequence, time_ms, sha256, parts: count };
        Ok(NewEdge { catalog, parts })
    }

    /// Reads the catalog of the edge from the log, makes it once more of this node's own records, beginning with the edge before
    /// if that is known, and compares. This blocks.
    ///
    /// # Errors
    /// When the disk fails, or it takes too long.
    pub(crate) fn check_edge(
        &self,
        published: &State,
        edge: &Edge,
        before: Option<&Edge>,
    ) -> Result<EdgeCheck, TravelError> {
        match self.edge(edge) {
            Ok(_) => {}
            Err(TravelError::CatchingUp) => return Ok(EdgeCheck::Unknown),
            Err(error) => return EdgeCheck::of(error),
        }
        let log = Log::of(&self.storage, published);
        let moment = moment_of(&edge.catalog);
        // Not with the catalog of the revision itself: that may be a copy of what is to be checked.
        let earlier = moment.revision.saturating_sub(1);
        let start = match self.start(&log, before, earlier) {
            Err(_) if before.is_some() => self.start(&log, None, earlier),
            start => start,
        };
        let own = match start.and_then(|start| self.arrive_in_time(start, &log, published, &moment)) {
            Ok(own) if own.revision() == moment.revision => own,
            // The record of the revision itself is gone too, so nothing on the way told that others are.
            Ok(_) | Err(TravelError::Gone { .. } | TravelError::CatchingUp) => return Ok(EdgeCheck::Unknown),
            Err(error) => return EdgeCheck::of(error),
        };
        let sha256 = catalog_file::write(io::sink(), Head::of_edge(moment.revision), &own)
            .map_err(|error| LogError::Failed(error.to_string()))?;
        Ok(if sha256 == edge.catalog.sha256 { EdgeCheck::Same } else { EdgeCheck::Other })
    }

    /// Forgets the catalogs of before the edge: what they were made of is to be forgotten.
    pub(crate) fn forget_before(&self, edge: &Edge) {
        let oldest = edge.catalog.revision;
        self.kept().retain(|kept| kept.moment().revision >= oldest);
        self.checkpoints.forget_before(oldest);
    }

    /// The catalog of the edge, as the log has it. This blocks.
    pub(super) fn edge(&self, edge: &Edge) -> Result<Catalog, TravelError> {
        let mut bytes = Vec::new();
        for sequence in &edge.records {
            for row in self.storage.audit_rows(&[*sequence], usize::MAX).map_err(LogError::from)? {
                // It is not removed before there is another edge, which is still to be published.
                let part = catalog_part(*sequence, &row).map_err(LogError::from)?;
                bytes.extend(part.ok_or(TravelError::CatchingUp)?);
            }
        }
        let revision = edge.catalog.revision;
        Ok(catalog_file::parse(&bytes, edge.catalog.sha256)
            .map_err(|why| LogError::Edge { revision, why })?)
    }
}

/// The record that made the edge's revision, which may be gone.
pub(super) fn moment_of(edge: &EdgeCatalog) -> Moment {
    let EdgeCatalog { revision, history, sequence, time_ms, .. } = *edge;
    Moment { sequence, history, time_ms, revision_before: revision.saturating_sub(1), revision }
}
