//! The operations on what the audit log keeps: the rule, the holds, and the removals that follow from both.

use std::sync::Arc;

use crate::{
    limits::AUDIT_HOLDS_MAX,
    operation::{AuditCatalogPut, AuditHoldDelete, AuditHoldPut, AuditRemove, AuditRetentionPut},
    rejection::Rejection,
    retention::{Edge, Hold, Retention, check_part, check_removal, cutoff_ms},
    rows::RowId,
    token::Role,
};

use super::{
    authority::Authority,
    draft::{BeforeAfter, Draft, recorded},
    tenancy::limit,
};

/// What the rule is called in messages.
const RULE: &str = "the retention of the audit log";

impl Draft {
    pub(super) fn audit_retention_put(
        &mut self,
        authority: &Authority,
        fields: &AuditRetentionPut,
    ) -> Result<BeforeAfter, Rejection> {
        authority.require_everywhere(Role::Owner)?;
        let old = self.state.retention();
        self.expect(|| RULE.to_owned(), fields.if_revision, old.revision)?;
        fields.keep_days.validate().map_err(|invalid| Rejection::invalid(invalid.under("keep_days")))?;
        // They say for ever whose keys signed the log, who belonged to the cluster, and what was removed.
        if fields.keep_days.system.is_some() {
            return Err(Rejection::Invalid {
                path: "/keep_days/system".to_owned(),
                message: "records of the kind system are kept for ever: they say with which keys the log was signed, and what \
                          was removed from it; leave the kind out"
                    .to_owned(),
            });
        }
        if old.keep_days != fields.keep_days {
            let retention = Retention { keep_days: fields.keep_days, revision: self.revision };
            self.state.retention = Some(Arc::new(retention));
            self.wrote([RowId::Retention]);
            self.changed_the_cluster();
        }
        Ok((recorded(Some(&old.keep_days)), recorded(Some(&fields.keep_days))))
    }

    pub(super) fn audit_hold_put(
        &mut self,
        authority: &Authority,
        fields: &AuditHoldPut,
    ) -> Result<BeforeAfter, Rejection> {
        authority.require_everywhere(Role::Owner)?;
        let spec = &fields.hold;
        let old = self.state.holds.get(&spec.id).cloned();
        let revision = old.as_ref().map_or(0, |old| old.revision);
        self.expect(|| format!("hold {}", spec.id), fields.if_revision, revision)?;
        spec.validate().map_err(|invalid| Rejection::invalid(invalid.under("hold")))?;
        if old.is_none() && self.state.holds.len() >= AUDIT_HOLDS_MAX {
            return Err(limit(format!(
                "at most {AUDIT_HOLDS_MAX} holds are kept; delete one that is over, or widen one"
            )));
        }
        let before = recorded(old.as_ref().map(|old| &old.spec));
        if old.as_ref().is_none_or(|old| old.spec != *spec) {
            let hold = Hold {
                spec: spec.clone(),
                revision: self.revision,
                created_at_ms: old.map_or(self.now_ms, |old| old.created_at_ms),
            };
            self.state.holds.insert(spec.id.clone(), Arc::new(hold));
            self.wrote([RowId::Hold(spec.id.clone())]);
            self.changed_the_cluster();
        }
        Ok((before, recorded(Some(spec))))
    }

    pub(super) fn audit_hold_delete(
        &mut self,
        authority: &Authority,
        fields: &AuditHoldDelete,
    ) -> Result<BeforeAfter, Rejection> {
        authority.require_everywhere(Role::Owner)?;
        let id = &fields.hold;
        let missing = || Rejection::not_found("/hold", "hold", id);
        let old = self.state.holds.get(id).cloned().ok_or_else(missing)?;
        self.expect(|| format!("hold {id}"), fields.if_revision, old.revision)?;
        self.state.holds.remove(id);
        self.wrote([RowId::Hold(id.clone())]);
        self.changed_the_cluster();
        Ok((recorded(Some(&old.spec)), recorded::<()>(None)))
    }

    /// The leader has picked records that are old enough, by a rule and by holds that may be others by now. What can be
    /// judged without reading the records is judged again here, by every member: whoever put a hold before this entry is
    /// sure of it. `if_revision` is the revision of the rule.
    pub(super) fn audit_remove(
        &mut self,
        authority: &Authority,
        fields: &AuditRemove,
    ) -> Result<BeforeAfter, Rejection> {
        authority.require_system()?;
        let AuditRemove { ranges, records, before_ms, if_revision } = fields;
        let rule = self.state.retention();
        let Some(days) = rule.keep_days.shortest() else {
            return conflict(String::new(), "all records are kept for ever; pick again".to_owned());
        };
        let newest_ms = cutoff_ms(self.now_ms, days);
        if *before_ms > newest_ms {
            return conflict(
                "/before_ms".to_owned(),
                format!("what is no older than {newest_ms} is kept by every rule; pick again"),
            );
        }
        let held = self.state.held();
        if let Some(index) = ranges.iter().position(|range| held.overlap(range)) {
            return conflict(
                format!("/ranges/{index}"),
                "a hold, or the edge, keeps records of this range; pick again".to_owned(),
            );
        }
        self.expect(|| RULE.to_owned(), *if_revision, rule.revision)?;
        check_removal(ranges, *records).map_err(Rejection::invalid)?;
        let size = self.state.sequence();
        if ranges.last().is_some_and(|last| last.to > size) {
            return Err(Rejection::Invalid {
                path: "/ranges".to_owned(),
                message: format!("the audit log has {size} records; name none that is still to come"),
            });
        }
        self.remove(ranges);
        self.changed_the_cluster();
        Ok((recorded::<()>(None), recorded::<()>(None)))
    }

    /// The leader has made the catalog of the time before which changes are to go. Each member has its parts with their
    /// records, in the order of the log: so before any change goes that it stands for.
    pub(super) fn audit_catalog_put(
        &mut self,
        authority: &Authority,
        fields: &AuditCatalogPut,
    ) -> Result<BeforeAfter, Rejection> {
        authority.require_system()?;
        let AuditCatalogPut { catalog, part, content: _, if_revision } = fields;
        let rule = self.state.retention();
        let Some(days) = rule.keep_days.change else {
            return conflict(
                String::new(),
                "changes are kept for ever: no catalog has to stand for any".to_owned(),
            );
        };
        self.expect(|| RULE.to_owned(), *if_revision, rule.revision)?;
        check_part(fields).map_err(Rejection::invalid)?;
        if catalog.time_ms >= cutoff_ms(self.now_ms, days) {
            return conflict(
                "/catalog/time_ms".to_owned(),
                "changes of that time are kept by the rule; make an earlier catalog".to_owned(),
            );
        }
        let oldest = self.state.edge().map_or(0, |edge| edge.catalog.revision);
        let is_there = catalog.revision <= self.state.revision() && catalog.sequence < self.state.sequence();
        if catalog.revision <= oldest || !is_there {
            return Err(Rejection::Invalid {
                path: "/catalog/revision".to_owned(),
                message: format!("the edge goes on from revision {oldest}, to one that there is"),
            });
        }
        let next = match self.state.next_edge.as_deref() {
            // Whoever began another catalog and did not end it led before.
            _ if *part == 0 => Edge { catalog: *catalog, records: Vec::new() },
            Some(next) if next.catalog == *catalog && u32::try_from(next.records.len()) == Ok(*part) => {
                next.clone()
            }
            _ => {
                return conflict(
                    "/part".to_owned(),
                    "the parts of a catalog come one after the other; begin with the first".to_owned(),
                );
            }
        };
        self.take_part(next);
        self.changed_the_cluster();
        Ok((recorded::<()>(None), recorded::<()>(None)))
    }

    /// Notes that the record of this entry has the next part of a catalog, which is the edge once it is whole.
    fn take_part(&mut self, mut next: Edge) {
        next.records.push(self.state.sequence());
        let next = Arc::new(next);
        if next.is_whole() {
            self.state.next_edge = None;
            self.state.edge = Some(next);
            self.wrote([RowId::Edge, RowId::NextEdge]);
        } else {
            self.state.next_edge = Some(next);
            self.wrote([RowId::NextEdge]);
        }
    }
}

fn conflict<T>(path: String, message: String) -> Result<T, Rejection> {
    Err(Rejection::Conflict { path, message })
}
