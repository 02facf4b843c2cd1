//! The operations on segments.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use crate::{
    canonical::Canonical,
    key::{EnvironmentKey, SegmentKey},
    limits::{RECORDED_MEMBERS_MAX, SEGMENTS_MAX},
    operation::{SegmentDelete, SegmentPut},
    project::StoredSegment,
    record::omitted,
    rejection::Rejection,
    rows::RowId,
    segment::{MemberList, Segment},
    token::Role,
};

use super::{
    authority::Authority,
    draft::{BeforeAfter, Draft, recorded},
    references,
    tenancy::limit,
};

impl Draft {
    pub(super) fn segment_put(
        &mut self,
        authority: &Authority,
        fields: &SegmentPut,
    ) -> Result<BeforeAfter, Rejection> {
        let (project, key) = (self.project_key()?, fields.segment.key.clone());
        for environment in fields.segment.environments.keys() {
            if !self.project()?.environments.contains_key(environment) {
                let path = format!("/segment/environments/{environment}");
                return Err(Rejection::not_found(path, "environment", environment));
            }
        }
        let touched = self.environments_using(&key)?;
        authority.require_on_all(Role::Writer, &project, &touched)?;
        let (old, count) = (self.project()?.segments.get(&key).cloned(), self.project()?.segments.len());
        self.expect(
            || format!("segment {key}"),
            fields.if_revision,
            old.as_ref().map_or(0, |stored| stored.revision),
        )?;
        let in_segment = |invalid: crate::invalid::Invalid| Rejection::invalid(invalid.under("segment"));
        let mut segment = Segment::new(fields.segment.clone()).map_err(in_segment)?;
        if let Some(old) = &old {
            let given = [
                (MemberList::Included, &fields.segment.included),
                (MemberList::Excluded, &fields.segment.excluded),
            ];
            for (list, _) in given.into_iter().filter(|(_, members)| members.is_none()) {
                segment.set_members(list, old.segment.members(list).clone());
            }
        }
        if old.is_none() && count >= SEGMENTS_MAX {
            return Err(limit(format!("a project has at most {SEGMENTS_MAX} segments")));
        }
        let before =
            old.as_ref().map_or_else(Canonical::null, |old| describe_replaced(&old.segment, &segment).into());
        let before_after = (before, describe(Some(&segment)));
        if old.as_ref().is_some_and(|stored| stored.segment == segment) {
            return Ok(before_after);
        }
        let mut rows: BTreeSet<RowId> = segment.row_ids(&project).collect();
        if let Some(old) = &old {
            rows.extend(old.segment.row_ids(&project));
        }
        let stored = StoredSegment { segment, revision: self.revision };
        self.project_mut()?.segments.insert(key.clone(), Arc::new(stored));
        references::check_segment(self.project()?, &key).map_err(in_segment)?;
        self.touch(&project, touched);
        self.wrote(rows);
        Ok(before_after)
    }

    pub(super) fn segment_delete(
        &mut self,
        authority: &Authority,
        fields: &SegmentDelete,
    ) -> Result<BeforeAfter, Rejection> {
        let (project, key) = (self.project_key()?, &fields.segment);
        let old = self.segment(key)?;
        authority.require_on_all(Role::Writer, &project, &self.environments_using(key)?)?;
        self.expect(|| format!("segment {key}"), fields.if_revision, old.revision)?;
        if let Some(user) = references::user_of_segment(self.project()?, key) {
            return Err(Rejection::InUse {
                path: "/segment".to_owned(),
                message: format!("segment {key} is used by {user}; take it out there first"),
            });
        }
        self.project_mut()?.segments.remove(key);
        self.wrote(old.segment.row_ids(&project).collect::<Vec<_>>());
        Ok((describe(Some(&old.segment)), Canonical::null()))
    }

    pub(super) fn segment_members(
        &mut self,
        authority: &Authority,
        key: &SegmentKey,
        list: MemberList,
        members: &[String],
        add: bool,
        if_revision: Option<u64>,
    ) -> Result<BeforeAfter, Rejection> {
        let project = self.project_key()?;
        let old = self.segment(key)?;
        let touched = self.environments_using(key)?;
        authority.require_on_all(Role::Writer, &project, &touched)?;
        self.expect(|| format!("segment {key}"), if_revision, old.revision)?;
        let mut segment = old.segment.clone();
        let changed =
            if add { segment.add_members(list, members) } else { Ok(segment.remove_members(list, members)) };
        let changed = changed.map_err(Rejection::invalid)?;
        if changed > 0 {
            let stored = StoredSegment { segment, revision: self.revision };
            self.project_mut()?.segments.insert(key.clone(), Arc::new(stored));
            self.touch(&project, touched);
            let member =
                |member: &String| RowId::Member(project.clone(), key.clone(), list, member.as_str().into());
            self.wrote(
                std::iter::once(RowId::Segment(project.clone(), key.clone()))
                    .chain(members.iter().map(member)),
            );
        }
        // The operation says which members; the whole list, of up to a million, has no place in a record.
        Ok((Canonical::null(), Canonical::null()))
    }

    fn segment(&self, key: &SegmentKey) -> Result<Arc<StoredSegment>, Rejection> {
        self.project()?
            .segments
            .get(key)
            .cloned()
            .ok_or_else(|| Rejection::not_found("/segment", "segment", key))
    }

    fn environments_using(&self, key: &SegmentKey) -> Result<BTreeSet<EnvironmentKey>, Rejection> {
        Ok(references::environments_using_segment(self.project()?, key))
    }
}

/// What is recorded of a segment that is replaced: what it was, and who is in its lists no more. Who is in them now is said
/// by the operation.
fn describe_replaced(old: &Segment, new: &Segment) -> Value {
    let mut described = serde_json::to_value(old.spec_without_members()).unwrap_or_default();
    let removed: serde_json::Map<String, Value> = [MemberList::Included, MemberList::Excluded]
        .into_iter()
        .filter_map(|list| {
            let kept = new.members(list);
            // A list that is left out of the put is the same one.
            let same = old.members(list).ptr_eq(kept);
            let mut gone =
                old.members(list).iter().filter(|member| !same && !kept.contains(*member)).peekable();
            gone.peek()?;
            Some((list.name().to_owned(), recorded_members(gone.map(|member| &**member))))
        })
        .collect();
    if let Some(fields) = described.as_object_mut().filter(|_| !removed.is_empty()) {
        fields.insert("removed".to_owned(), Value::Object(removed));
    }
    described
}

/// Members as a record keeps them: how many, and who; of very many their JSON's hash in place of their names.
fn recorded_members<'a>(members: impl Iterator<Item = &'a str>) -> Value {
    let members: Vec<&str> = members.collect();
    let named = if members.len() <= RECORDED_MEMBERS_MAX {
        json!(members)
    } else {
        omitted(&json!(members).to_string())
    };
    json!({"count": members.len(), "members": named})
}

fn describe(segment: Option<&Segment>) -> Canonical {
    recorded(segment.map(Segment::spec_without_members).as_ref())
}
