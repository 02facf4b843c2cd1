//! The operations on what the audit log keeps: the rule, the holds, and the removals that follow from both.

use std::sync::Arc;

use crate::{
    limits::AUDIT_HOLDS_MAX,
    operation::{AuditHoldDelete, AuditHoldPut, AuditRemove, AuditRetentionPut},
    record::RecordKind,
    rejection::Rejection,
    retention::{HeldStretches, Hold, Retention, check_removal, cutoff_ms},
    rows::RowId,
    token::Role,
};

use super::{
    authority::Authority,
    draft::{BeforeAfter, Draft, recorded},
    tenancy::limit,
};

/// Whether accepted changes are of this kind.
fn makes_revisions(kind: RecordKind) -> bool {
    matches!(kind, RecordKind::Change | RecordKind::System)
}

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
        // What makes a revision is needed to make every later catalog anew.
        if let Some((kind, _)) = fields.keep_days.rules().find(|(kind, _)| makes_revisions(*kind)) {
            return Err(Rejection::Invalid {
                path: format!("/keep_days/{}", kind.name()),
                message: format!(
                    "records of the kind {} are kept for ever: the catalogs of the past are made of them; leave the kind \
                     out",
                    kind.name()
                ),
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
        let AuditRemove { ranges, records, before_ms, edge, if_revision } = fields;
        let conflict = |path: String, message: String| Err(Rejection::Conflict { path, message });
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
        let held = HeldStretches::of(self.state.holds.values().map(|hold| &hold.spec));
        if let Some(index) = ranges.iter().position(|range| held.overlap(range)) {
            return conflict(
                format!("/ranges/{index}"),
                "a hold keeps records of this range; pick again".to_owned(),
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
        let old = self.state.edge.clone();
        if let Some(edge) = edge {
            let oldest = old.as_ref().map_or(0, |old| old.revision);
            if edge.revision <= oldest || edge.revision > self.state.revision() {
                return Err(Rejection::Invalid {
                    path: "/edge/revision".to_owned(),
                    message: format!("the edge goes on from revision {oldest}, to one that there is"),
                });
            }
            self.state.edge = Some(Arc::new(*edge));
            self.wrote([RowId::Edge]);
        }
        self.remove(ranges);
        self.changed_the_cluster();
        Ok((recorded(old.as_deref()), recorded(self.state.edge.as_deref())))
    }
}
